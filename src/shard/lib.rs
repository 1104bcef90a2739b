//! One core's whole brain, pure: the same state machine runs under the shell and under the simulator.
//!
//! ```text
//!                Event                                                             Output
//!   Opened · Frame · Sent · Closed ─► sessions ─► handlers ─┐          ┌─► Send · Close · PauseRead · ResumeRead
//!   Mail (from other shards) ──────────────────────────┐    ▼          │
//!                                                       ├► mail ──► logs (partitions, store) ─► Io · Job
//!   IoDone · JobDone ─► store ──────────────────────────┤          machines (controller, groups)
//!   Tick ─► timers ─────────────────────────────────────┘              └─► Mail (to other shards)
//!   Stop                                                                └─► Ready · Stopped · Fatal
//! ```
//!
//! A driver calls [`Shard::handle`] for every event of a turn of its loop, then [`Shard::end_of_tick`] once, and then does
//! the outputs in their order.
//!
//! Invariants: responses of a connection leave in the order of its requests; an ack leaves only after the commit that it
//! claims; what one shard sends another arrives in that order, so the appends of one connection to one partition keep
//! theirs; shards share nothing but frozen buffers; everything that grows has a limit in `config`.
//! Must never touch: sockets, files, clocks, randomness, threads, other shards' state.
//!
//! Reading order: `event`, `shard`, `session`, `connections`, `handlers`, `requests`, `mail`, `logs`, `machines`, `boot`.

mod admission;
mod boot;
pub mod config;
mod connections;
mod errors;
pub mod event;
mod group_log;
mod handlers;
mod logs;
mod machines;
pub mod mail;
mod pending;
pub mod placement;
mod requests;
pub mod session;
mod shard;
#[cfg(test)]
mod tests;
mod timers;

pub use config::{MemoryShares, ShardConfig, store_limits};
pub use connections::RequestMemory;
pub use event::{Event, Job, JobOutput, ListenerId, Output, Response};
pub use mail::Mail;
pub use session::frame::{FrameAssembler, FrameError};
pub use shard::Shard;
