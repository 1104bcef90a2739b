//! The durable store of one shard: a journal that every append of a tick is committed to with one write, the segments
//! that the data is destaged to later, and the hot cache between them. A pure state machine:
//!
//! ```text
//!   stage(batch) ─► pending ─ end_of_tick ─► commit ─► Io (journal, large runs: segment) ─ on_io ─► committed
//!   committed runs ─► Job (destage) ─ on_job ─► segment durable ─► runs evictable, journal files recyclable
//!   plan_read ─► hot extents │ ColdRead (job, run by the caller)
//! ```
//!
//! Invariants: what is committed is in the newest valid checkpoint, or in a segment below its log's destaged position, or in
//! journal commits from the checkpoint's replay position on; a failed write is never retried and never acknowledged.
//! Must never touch: producer state, high watermarks, clocks, files.

mod api;
mod boot;
mod jobs;

pub use api::{
    BatchSummary, CommitSeq, Extent, Extents, LogConfig, LogKey, ReadPlan, ReadReady, RecoveredLog, StoreError,
    StoreLimits, StoreOut, TimeLookup,
};
pub use boot::{Boot, BootConfig, BootError, BootReport, OwnerFn, ShardRecovered};
pub use jobs::{ColdRead, OwnDone, ReadDone, ReadFailure, StoreJob, StoreJobOutput, TimeDone, TimeRead};

use std::sync::Arc;

use bytes::Bytes;
use coretide_model::{Now, TopicPartition};

use crate::batch::VerifiedBatch;
use crate::io::{Durability, IoError, OpResult};

/// Gives the partition machine's opaque state of a log, as of everything staged so far, for a checkpoint.
pub type AuxFn<'a> = &'a mut dyn FnMut(LogKey) -> Bytes;

/// All logs of one shard.
#[derive(Debug)]
pub struct Store {
    limits: StoreLimits,
}

#[allow(unused_variables, clippy::unimplemented, clippy::needless_pass_by_value)]
impl Store {
    /// Takes over what recovery found.
    pub fn open(recovered: ShardRecovered, limits: StoreLimits) -> (Store, Vec<RecoveredLog>) {
        (Store { limits }, Vec::new())
    }

    /// Begins a log that starts at `start_offset`. `dir` is its folder below the data directory, `<topic>-<partition>`.
    /// No file is made until there is data.
    pub fn create_log(&mut self, tp: TopicPartition, dir: Arc<str>, start_offset: i64) -> LogKey {
        unimplemented!()
    }

    /// Forgets a log at once; its folder is renamed to `<dir>.<topic id>-delete` and removed in the background.
    pub fn delete_log(&mut self, key: LogKey) {
        unimplemented!()
    }

    /// Sets the limits at which a log rolls, from now on.
    pub fn configure(&mut self, key: LogKey, config: LogConfig) {
        unimplemented!()
    }

    /// Takes a batch for the next commit; `base_offset` is the caller's, at or above the log's end. The append is done
    /// when [`Store::committed`] reaches the returned number and the log is not offline. `durability` is what the ack
    /// needs; a commit is as durable as its most demanding append.
    pub fn stage(
        &mut self,
        key: LogKey,
        now: Now,
        batch: &VerifiedBatch,
        base_offset: i64,
        leader_epoch: i32,
        durability: Durability,
    ) -> Result<CommitSeq, StoreError> {
        unimplemented!()
    }

    /// Starts the next commit if none is in flight, and whatever background work is due. `aux` is asked for the logs
    /// that changed since the last checkpoint, when a new one begins.
    pub fn end_of_tick(&mut self, now: Now, aux: AuxFn<'_>, out: &mut Vec<StoreOut>) {
        unimplemented!()
    }

    /// Takes the result of a [`StoreOut::Io`]. Call [`Store::end_of_tick`] in the same turn.
    pub fn on_io(&mut self, now: Now, io_id: u64, result: OpResult) {
        unimplemented!()
    }

    /// Takes the output of a [`StoreOut::Job`]. Call [`Store::end_of_tick`] in the same turn.
    pub fn on_job(&mut self, now: Now, job_id: u64, output: OwnDone) {
        unimplemented!()
    }

    /// The newest commit that is done, to the durability that its appends asked for.
    pub fn committed(&self) -> CommitSeq {
        unimplemented!()
    }

    /// The logs whose committed end has moved, or that went offline, since the last call; each once.
    pub fn drain_committed(&mut self) -> Vec<LogKey> {
        unimplemented!()
    }

    /// Bytes staged and not committed yet: back-pressure.
    pub fn backlog_bytes(&self) -> usize {
        unimplemented!()
    }

    /// The offset after the last staged batch.
    pub fn end_offset(&self, key: LogKey) -> i64 {
        unimplemented!()
    }

    /// The offset after the last committed batch: what an ack and the high watermark may be based on.
    pub fn committed_end_offset(&self, key: LogKey) -> i64 {
        unimplemented!()
    }

    /// The first readable offset.
    pub fn log_start_offset(&self, key: LogKey) -> i64 {
        unimplemented!()
    }

    /// Why the log takes no appends, if it does not.
    pub fn is_offline(&self, key: LogKey) -> Option<&IoError> {
        unimplemented!()
    }

    /// True while the disk has no room for this shard's logs; appends may have to wait in the journal.
    pub fn is_disk_full(&self) -> bool {
        unimplemented!()
    }

    /// The size of the log's batches in bytes.
    pub fn log_bytes(&self, key: LogKey) -> u64 {
        unimplemented!()
    }

    /// Plans a read of whole batches from the one that holds `from_offset`, all below `limit_offset` (high watermark or
    /// last stable offset), at most `max_bytes`, but the first batch whatever its size with `at_least_one`.
    pub fn plan_read(
        &mut self,
        key: LogKey,
        from_offset: i64,
        limit_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> ReadPlan {
        unimplemented!()
    }

    /// Learns from a finished cold read where the next one begins.
    pub fn note_read(&mut self, done: &ReadDone) {
        unimplemented!()
    }

    /// The first record below `limit_offset` with a timestamp of at least `target_ms` (ListOffsets).
    pub fn find_timestamp(&mut self, key: LogKey, target_ms: i64, limit_offset: i64) -> TimeLookup {
        unimplemented!()
    }

    /// The record with the largest timestamp below `limit_offset` (ListOffsets, timestamp -3).
    pub fn max_timestamp(&mut self, key: LogKey, limit_offset: i64) -> TimeLookup {
        unimplemented!()
    }

    /// Moves the log's start (DeleteRecords); segments wholly below it are deleted. Durable with the returned commit.
    pub fn set_log_start(&mut self, key: LogKey, now: Now, offset: i64) -> CommitSeq {
        unimplemented!()
    }

    /// Deletes old segments that lie wholly below `limit_offset`: by the age of their youngest record and by the log's
    /// size; -1 turns either off. Returns the log's start.
    pub fn retention(
        &mut self,
        key: LogKey,
        now: Now,
        retention_ms: i64,
        retention_bytes: i64,
        limit_offset: i64,
    ) -> i64 {
        unimplemented!()
    }

    /// Begins the clean stop: everything is committed, destaged, trimmed and checkpointed. Drive on until
    /// [`Store::is_stopped`].
    pub fn begin_stop(&mut self, now: Now) {
        unimplemented!()
    }

    /// True when nothing is left to do.
    pub fn is_stopped(&self) -> bool {
        unimplemented!()
    }

    /// When [`Store::end_of_tick`] wants to be called at the latest, in microseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        unimplemented!()
    }
}
