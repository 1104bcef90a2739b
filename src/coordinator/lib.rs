//! Consumer groups: the coordinator of one `__consumer_offsets` partition as a log machine.
//!
//! ```text
//!   Command ─┐                       ┌─► replies   (now: nothing durable is claimed)
//!   tick ────┼─► GroupCoordinator ───┼─► writes    (records to append, in order)
//!   committed┤   groups · timers     ├─► replies   (after their write is durable)
//!   failed ──┘                       └─► advance_log_start
//! ```
//!
//! Invariants:
//! - Each command gets exactly one reply. A commit, a deletion and an assignment are answered only when their records are
//!   durable; when the write fails, nothing of it has happened (KAFKA-15784).
//! - The durable state (offsets, stored generations) changes only by records, so replaying the log gives the same state.
//!   Joins, sessions and parked requests live in memory: after a restart members are known and their sessions start anew.
//! - Every state of a group has a timeout: a rebalance ends, whoever does not come back.
//! - Everything that grows has a limit in `config`.
//!
//! Must never touch: wire types, offsets in the log (but to say where it may begin), which shard it is on.
//! Reading order: `command`, `record`, `group`, `join`, `sync`, `membership`, `offsets`, `coordinator`, `dump`.

pub mod command;
pub mod config;
mod coordinator;
mod dump;
mod error;
mod group;
mod join;
mod member;
mod membership;
mod offsets;
pub mod record;
mod size;
mod subscription;
mod sync;
mod timers;
mod writes;

#[cfg(test)]
mod tests;

pub use command::{Command, Reply, Token};
pub use config::GroupConfig;
pub use coordinator::{GroupCoordinator, refused};
pub use error::{GroupError, WriteError};
pub use record::Record;
pub use size::added_bytes;
pub use writes::{Effects, Write, WriteId};
