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
mod aside;
mod background;
mod boot;
mod cache;
mod check;
mod checkpoint;
mod commit;
mod direct;
mod due;
mod format;
mod gather;
mod index;
mod jobs;
mod mend;
mod read;
mod retention;
mod ring;
mod segment;
mod space;
mod states;
#[cfg(test)]
mod tests;

pub use api::{
    BatchSummary, CommitSeq, DiskLow, Extent, Extents, LogConfig, LogKey, ReadPlan, ReadReady, RecoveredLog,
    StoreError, StoreLimits, StoreOut, TimeLookup,
};
pub use boot::{Boot, BootConfig, BootError, BootReport, OwnerFn, ShardRecovered};
pub use check::{Check, CheckConfig, CheckError, CheckProgress, CheckReport, Finding, LogSeen, Severity, ShardSeen};
pub use jobs::{ColdRead, OwnDone, OwnOk, ReadDone, ReadFailure, StoreJob, StoreJobOutput, TimeDone, TimeRead};
pub use space::auto_reserve_bytes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use coretide_model::{Now, TopicPartition};
use coretide_stdx::aligned::BufPool;

use crate::io::{FileId, IoError, SegmentFile, VolumeSpace};
use background::{CheckpointState, Garbage, Running};
use cache::{Cache, Pools};
use commit::{InFlight, IoKind, Planned};
use due::Wanted;
use mend::Mends;
use ring::Ring;
use segment::Log;
use space::Space;

/// Gives the partition machine's opaque state of a log, as of everything staged so far, for a checkpoint.
pub type AuxFn<'a> = &'a mut dyn FnMut(LogKey) -> Bytes;

/// All logs of one shard.
pub struct Store {
    limits: StoreLimits,
    shard: u16,
    /// Which start of the broker this is; see `boot`.
    generation: u64,
    journal_id: u64,
    /// By key; none once deleted.
    logs: Vec<Option<Box<Log>>>,
    ring: Ring,
    pools: Pools,
    /// One of the pools: commits and destages take from it, and the cache gives back what it kept of either.
    destage_buffers: BufPool,
    cache: Cache,
    /// Collected for the end of the tick.
    out: Vec<StoreOut>,
    /// Commits that wait, oldest first; the last one takes appends.
    planned: VecDeque<Planned>,
    planned_seq: CommitSeq,
    in_flight: Option<InFlight>,
    /// Logs with enough staged for a direct write.
    large: BTreeSet<LogKey>,
    /// Direct writes on their way for commits whose turn has not come.
    ahead: usize,
    synced_by_flight: bool,
    committed: CommitSeq,
    /// The header CRC of the newest commit.
    previous_crc: u32,
    backlog_bytes: usize,
    /// Journal bytes written since the start, and at the last checkpoint.
    journal_bytes: u64,
    checkpoint_bytes: u64,
    /// The next commit found no room.
    journal_full: bool,
    making_journal_file: bool,
    io: BTreeMap<u64, IoKind>,
    next_io: u64,
    running: BTreeMap<u64, Running>,
    next_job: u64,
    moved: Vec<LogKey>,
    want_destage: Wanted,
    /// Logs that may have bytes that only the journal holds.
    undestaged: BTreeSet<LogKey>,
    /// Those of them that nothing else has had destaged yet, by the journal's bytes when they began to wait.
    waiting: BTreeSet<(u64, LogKey)>,
    checkpoint: CheckpointState,
    /// Logs that the wanted checkpoint waits for, or has waited for.
    pinning: Vec<LogKey>,
    checkpoint_slot: u8,
    checkpoint_seq: u64,
    pins_changed: bool,
    garbage: Vec<Garbage>,
    space: Space,
    mends: Mends,
    /// Logs that are to be set aside.
    asides: BTreeSet<LogKey>,
    disk_full_until_us: Option<u64>,
    full_told_us: Option<u64>,
    retry_at_us: Option<u64>,
    checkpoint_retry_us: Option<u64>,
    poisoned: Option<IoError>,
    stopping: bool,
    all_finished: bool,
    /// The last checkpoint of a stop was begun: no commit may follow it.
    ended: bool,
    stopped: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Store");
        out.field("shard", &self.shard).field("committed", &self.committed).finish_non_exhaustive()
    }
}

/// The log of a key, without borrowing the whole store.
fn segment_log(logs: &[Option<Box<Log>>], key: LogKey) -> Option<&Log> {
    logs.get(key.0 as usize).and_then(Option::as_deref)
}

/// The file of a segment's batches.
fn segment_file(dir: &Arc<str>, base_offset: i64) -> FileId {
    FileId::Segment { dir: Arc::clone(dir), base_offset, kind: SegmentFile::Log }
}

/// What the partition machine is told of a log that was found.
fn recovered_log(key: LogKey, log: &Log) -> RecoveredLog {
    RecoveredLog {
        key,
        tp: log.tp,
        dir: Arc::clone(&log.dir),
        log_start_offset: log.log_start,
        end_offset: log.end_offset,
        aux: log.aux.clone(),
        aux_end_offset: log.aux_end,
        replay: log.replay.clone(),
    }
}

impl Store {
    /// Takes over what recovery found.
    pub fn open(recovered: ShardRecovered, limits: StoreLimits) -> (Store, Vec<RecoveredLog>) {
        let limits = limits.made_to_fit();
        let mut found = Vec::with_capacity(recovered.logs.len());
        let mut logs = Vec::with_capacity(recovered.logs.len());
        let mut undestaged = BTreeSet::new();
        for log in recovered.logs {
            let key = LogKey(logs.len() as u32);
            found.push(recovered_log(key, &log));
            undestaged.insert(key);
            logs.push(Some(Box::new(log)));
        }
        let pools = Pools::new();
        let store = Store {
            shard: recovered.shard,
            generation: recovered.generation,
            journal_id: recovered.journal_id,
            logs,
            ring: Ring::new(recovered.files),
            destage_buffers: pools.class(limits.destage_write_bytes).clone(),
            pools,
            cache: Cache::default(),
            out: Vec::new(),
            planned: VecDeque::new(),
            planned_seq: 0,
            in_flight: None,
            large: BTreeSet::new(),
            ahead: 0,
            synced_by_flight: false,
            committed: 0,
            previous_crc: 0,
            backlog_bytes: 0,
            journal_bytes: 0,
            checkpoint_bytes: 0,
            journal_full: false,
            making_journal_file: false,
            io: BTreeMap::new(),
            next_io: 0,
            running: BTreeMap::new(),
            next_job: 0,
            moved: Vec::new(),
            want_destage: undestaged.iter().copied().collect(),
            undestaged,
            waiting: BTreeSet::new(),
            checkpoint: CheckpointState::Idle,
            pinning: Vec::new(),
            checkpoint_slot: recovered.checkpoint_slot,
            checkpoint_seq: recovered.checkpoint_seq,
            pins_changed: false,
            garbage: Vec::new(),
            space: Space::new(limits.disk_reserve_bytes, limits.disk_check_ms, recovered.shard, limits.shards),
            mends: Mends::default(),
            asides: BTreeSet::new(),
            disk_full_until_us: None,
            full_told_us: None,
            retry_at_us: None,
            checkpoint_retry_us: None,
            poisoned: None,
            stopping: false,
            all_finished: false,
            ended: false,
            stopped: false,
            limits,
        };
        (store, found)
    }

    /// Begins a log that starts at `start_offset`. `dir` is its folder below the data directory, `<topic>-<partition>`.
    /// No file is made until there is data.
    pub fn create_log(&mut self, tp: TopicPartition, dir: Arc<str>, start_offset: i64) -> LogKey {
        let key = LogKey(self.logs.len() as u32);
        self.logs.push(Some(Box::new(Log::new(tp, dir, start_offset))));
        key
    }

    /// Sets the limits at which a log rolls, from now on.
    pub fn configure(&mut self, key: LogKey, config: LogConfig) {
        if let Some(log) = self.log_mut(key) {
            log.config = config;
        }
    }

    /// Starts the next commit if none is in flight, and whatever background work is due. `aux` is asked for the logs
    /// that changed since the last checkpoint, when a new one begins.
    pub fn end_of_tick(&mut self, now: Now, aux: AuxFn<'_>, out: &mut Vec<StoreOut>) {
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now.mono_us);
        if is_due(self.disk_full_until_us) {
            self.disk_full_until_us = None;
        }
        if is_due(self.checkpoint_retry_us) {
            self.checkpoint_retry_us = None;
        }
        if is_due(self.retry_at_us) {
            self.retry_at_us = None;
        }
        self.measure_volume(now);
        self.build_commit(now);
        self.write_ahead(now);
        self.run_background(now, aux);
        if self.wants_last_checkpoint() && self.checkpoint == CheckpointState::Idle {
            self.write_checkpoint(aux, true);
        }
        out.append(&mut self.out);
    }

    /// When [`Store::end_of_tick`] wants to be called at the latest, in microseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        let measure = if self.stopping { None } else { self.space.due_us() };
        // One wish for a retry must not swallow a later one.
        let retries = [self.retry_at_us, self.checkpoint_retry_us, self.disk_full_until_us];
        retries.into_iter().chain([measure]).flatten().min()
    }

    /// True while a commit is on its way that takes as long as a flush does, and not as long as its bytes do.
    pub fn is_in_brief_commit(&self) -> bool {
        !self.io.is_empty() && self.ahead == 0 && self.in_flight.as_ref().is_some_and(InFlight::is_brief)
    }

    /// The newest commit that is done, to the durability that its appends asked for.
    pub fn committed(&self) -> CommitSeq {
        self.committed
    }

    /// The logs whose committed end has moved, or that went offline, since the last call; each once.
    pub fn drain_committed(&mut self) -> Vec<LogKey> {
        let moved = std::mem::take(&mut self.moved);
        for &key in &moved {
            if let Some(log) = self.log_mut(key) {
                log.moved = false;
            }
        }
        moved
    }

    /// Bytes staged and not committed yet: back-pressure.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// The offset after the last staged batch.
    pub fn end_offset(&self, key: LogKey) -> i64 {
        self.log(key).map_or(0, |log| log.end_offset)
    }

    /// The offset after the last committed batch: what an ack and the high watermark may be based on.
    pub fn committed_end_offset(&self, key: LogKey) -> i64 {
        self.log(key).map_or(0, |log| log.committed_end)
    }

    /// The first readable offset.
    pub fn log_start_offset(&self, key: LogKey) -> i64 {
        self.log(key).map_or(0, |log| log.log_start)
    }

    /// Why the log takes no appends, if it does not.
    pub fn is_offline(&self, key: LogKey) -> Option<&IoError> {
        self.poisoned.as_ref().or_else(|| self.log(key).and_then(|log| log.offline.as_ref()))
    }

    /// The size of the log's batches in bytes.
    pub fn log_bytes(&self, key: LogKey) -> u64 {
        self.log(key).map_or(0, Log::bytes)
    }

    /// Memory held by frozen append buffers.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Why producers must be refused for now, if they must: the volume is down to its reserve, or was just found full. What
    /// the broker itself appends is taken all the same.
    pub fn refuses_clients(&self) -> Option<DiskLow> {
        (self.space.is_low() || self.is_disk_full()).then(|| DiskLow {
            free_bytes: self.space.measured().map(|volume| volume.free_bytes),
            reserve_bytes: self.space.reserve_bytes(),
        })
    }

    /// The volume as last measured.
    pub fn volume(&self) -> Option<VolumeSpace> {
        self.space.measured()
    }

    /// Has the volume measured when it is time.
    fn measure_volume(&mut self, now: Now) {
        if self.stopping || self.space.due_us().is_none_or(|at| at > now.mono_us) {
            return;
        }
        let logs = self.undestaged.iter().filter_map(|&key| segment_log(&self.logs, key));
        let pending: u64 = logs.map(Log::bytes_without_space).sum();
        self.space.begin(pending + self.backlog_bytes as u64);
        self.job(Running::Measure, StoreJob::measure());
    }

    fn log(&self, key: LogKey) -> Option<&Log> {
        segment_log(&self.logs, key)
    }

    fn log_mut(&mut self, key: LogKey) -> Option<&mut Log> {
        self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut)
    }

    fn mark_moved(&mut self, key: LogKey) {
        let Some(log) = self.log_mut(key) else { return };
        if !std::mem::replace(&mut log.moved, true) {
            self.moved.push(key);
        }
    }
}
