//! The bench lab: workloads of modelled Kafka clients against any Kafka-compatible broker.
//!
//! ```text
//!   args, a scenario file ─► Scenario ─► engine ─► threads ─► Producer (Accumulator, Sticky)   Consumer
//!                                          │                      └────── Connection ────────────┘
//!                                          ├─ Watch (screen)
//!                                          └─► Run ─► validity ─► ResultFile
//! ```
//!
//! Invariants: latency runs from the intended send; histograms are merged, never averaged; a run that may not be believed
//! says so itself; topics of the bench are deleted however the command ends.
//! Must never touch: a broker's inside (it knows the protocol only).

pub mod accumulator;
pub mod args;
pub mod bootstrap;
pub mod check;
pub mod cluster;
pub mod commands;
pub mod compare;
pub mod connection;
pub mod consumer;
pub mod engine;
pub mod error;
pub mod file;
pub mod guard;
pub mod kafka;
pub mod knee;
pub mod machine;
pub mod payload;
pub mod process;
pub mod producer;
pub mod report;
pub mod result;
pub mod scenario;
pub mod screen;
pub mod settings;
pub mod shown;
pub mod sticky;
pub mod sweep;
pub mod sys;
pub mod tally;
pub mod threads;
pub mod validity;
pub mod versus;
