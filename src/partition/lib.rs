//! One partition's leader: append, high watermark, waiters, read plans.
//!
//! ```text
//!  append(VerifiedBatch) ──► producer state ─ check ─► Store::stage ──► AppendOk { offsets, commit }
//!  on_committed() ─────────► high watermark (only forward) ──► woken watches
//!  read · list_offsets · offset_for_leader_epoch · delete_records ──► one snapshot of the marks + an owned plan
//! ```
//!
//! Invariants: log start <= last stable offset <= high watermark <= log end, and none of them goes back in the life of a
//! process; nothing above the high watermark is ever given to a reader; producer state is what a replay of the log gives.
//! Must never touch: wire types, which shard it is on, files.

pub mod api;
pub mod epochs;
pub mod partition;
pub mod producer_state;
mod refused;
pub mod snapshot;
mod watch;

pub use api::{
    AbortedTransaction, AppendError, AppendOk, DeleteRecordsError, EpochError, Isolation, ListTarget, ListedOffset,
    Marks, Origin, ProducerDescription, ReadError, ReadOk, ReadSpec,
};
pub use epochs::{EpochCache, EpochEnd, EpochStart};
pub use partition::{Listed, Partition};
pub use producer_state::SequenceError;
pub use snapshot::SnapshotError;
