//! Raw frames (prepared requests over blocking connections) and the bench lab (`coretide bench`: modelled Kafka clients),
//! both against any Kafka-compatible broker. The limits of the machine stand beside them, in `main.rs`.
//! Black box: it knows the protocol and nothing of a broker's inside.

pub mod admin;
pub mod bench;
pub mod e2e;
pub mod fetch;
pub mod frames;
pub mod lab;
pub mod produce;
pub mod report;
pub mod stats;
