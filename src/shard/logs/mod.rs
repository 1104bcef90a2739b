//! The partitions that this shard owns, and its store: appends that wait for their commit, reads that wait for the disk,
//! watches of fetches.
//!
//! ```text
//!   Mail::Append ─► append ─► CommitWait (in order of commits) ─ release_committed ─► Mail::Appended
//!   Mail::Read ─► read ─ hot ─► Mail::ReadDone        cold ─► Job ─► ColdWait ─► Mail::ReadDone
//!                   └─ nothing there ─► watch ─ high watermark moves ─► Mail::Woken
//! ```
//!
//! Invariant: no answer that claims an append leaves before the store's committed number covers it.
//! Must never touch: requests, connections, wire types.

mod aheads;
mod asks;
mod internal;
mod producers;
mod reads;
mod watches;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use coretide_log::store::{CommitSeq, LogKey, RecoveredLog, ShardRecovered, Store, StoreLimits, StoreOut};
use coretide_model::{Now, ShardId, TopicConfig, TopicId, TopicPartition};
use coretide_partition::{AppendOk, Origin, Partition, SnapshotError};
use smallvec::SmallVec;

use crate::config::{MemoryShares, ShardConfig, store_limits};
use crate::mail::{AppendFailure, AppendItem, AppendResult, Mail, ReqId};
use crate::shard::Shard;

pub(crate) use internal::{InternalResult, Loaded, Ticket};
pub(crate) use reads::JobOf;

/// Something that waits for a commit.
struct CommitWait {
    commit: CommitSeq,
    /// The logs that must not be offline then.
    keys: SmallVec<[LogKey; 1]>,
    then: Then,
}

/// What follows a commit.
enum Then {
    /// Batches of a Produce request.
    Append { to: ShardId, id: ReqId, results: SmallVec<[AppendResult; 1]> },
    /// A batch of one of our own machines.
    Internal { ticket: Ticket, appended: AppendOk },
    /// A new log start, part of the answer to a question.
    Asked(asks::Asked),
}

impl Then {
    /// Nothing of it waits any more: a journal that failed commits nothing, and whoever waits for it must be told.
    fn has_failed(&self) -> bool {
        match self {
            Then::Append { results, .. } => results.iter().all(|result| result.result.is_err()),
            Then::Internal { .. } => false,
            Then::Asked(asked) => asked.has_failed(),
        }
    }
}

/// The owner's side of this shard.
pub(crate) struct Logs {
    pub store: Store,
    partitions: BTreeMap<TopicPartition, Partition>,
    by_key: BTreeMap<LogKey, TopicPartition>,
    /// What recovery found and nobody has claimed yet.
    recovered: BTreeMap<TopicPartition, RecoveredLog>,
    /// In order of their commits.
    waits: VecDeque<CommitWait>,
    watches: watches::WatchTable,
    jobs: reads::Jobs,
    gathers: asks::Gathers,
    loads: BTreeMap<Ticket, internal::Load>,
    internal_done: VecDeque<(Ticket, InternalResult)>,
    woken: Vec<u64>,
    producers: producers::Count,
}

impl Logs {
    pub fn open(config: &ShardConfig, recovered: ShardRecovered) -> Logs {
        let limits = StoreLimits { shards: config.shards, ..store_limits(&config.broker) };
        let (store, logs) = Store::open(recovered, limits);
        let by_key = logs.iter().map(|log| (log.key, log.tp)).collect();
        Logs {
            store,
            partitions: BTreeMap::new(),
            by_key,
            recovered: logs.into_iter().map(|log| (log.tp, log)).collect(),
            waits: VecDeque::new(),
            watches: watches::WatchTable::default(),
            jobs: reads::Jobs::new(config.broker.engine.fetch_cold_mode),
            gathers: asks::Gathers::default(),
            loads: BTreeMap::new(),
            internal_done: VecDeque::new(),
            woken: Vec::new(),
            producers: producers::Count::new(MemoryShares::of(&config.broker).producers),
        }
    }

    /// Takes over the log that recovery found, or begins a new one. A partition that is open already stays as it is.
    pub fn open_partition(
        &mut self,
        now: Now,
        tp: TopicPartition,
        dir: Arc<str>,
        leader_epoch: i32,
        config: Arc<TopicConfig>,
    ) -> Result<(), SnapshotError> {
        if self.partitions.contains_key(&tp) {
            return Ok(());
        }
        let partition = match self.recovered.remove(&tp) {
            Some(log) => Partition::recover(&mut self.store, now, &log, leader_epoch, config)?,
            None => Partition::create(&mut self.store, tp, dir, leader_epoch, config),
        };
        self.by_key.insert(partition.key(), tp);
        self.partitions.insert(tp, partition);
        Ok(())
    }

    /// Forgets a partition and its log; whoever watches it is woken, and whoever waits for a commit of it is refused.
    pub fn delete_partition(&mut self, tp: TopicPartition) {
        let Some(partition) = self.partitions.remove(&tp) else { return };
        let key = partition.key();
        partition.close(&mut self.woken);
        self.by_key.remove(&key);
        self.fail_waits(|of| of == key, &AppendFailure::NotHere);
        self.jobs.forget(key);
        self.store.delete_log(key);
    }

    /// Parts with the recovered logs that belong to no topic: those of topics in `removed` are deleted, for the broker died
    /// before they were; all others are set aside, since the metadata may have lost what it knew of them.
    pub fn leave_unclaimed(&mut self, removed: &[TopicId]) {
        for (tp, log) in std::mem::take(&mut self.recovered) {
            self.by_key.remove(&log.key);
            if removed.contains(&tp.topic_id) {
                self.store.delete_log(log.key);
            } else {
                self.store.set_aside(log.key);
            }
        }
    }

    pub fn configure(&mut self, tp: TopicPartition, config: &Arc<TopicConfig>) {
        if let Some(partition) = self.partitions.get_mut(&tp) {
            partition.set_config(&mut self.store, config.clone());
        }
    }

    /// Sizes of all logs in bytes.
    pub fn sizes(&self) -> Vec<(TopicPartition, u64)> {
        self.partitions.iter().map(|(tp, partition)| (*tp, partition.log_bytes(&self.store))).collect()
    }

    /// Retention and the expiry of idle producers.
    pub fn retain(&mut self, now: Now, producer_expiration_ms: i64) {
        for partition in self.partitions.values_mut() {
            partition.tick(&mut self.store, now, producer_expiration_ms);
        }
        self.recount_producers();
    }

    /// Starts the next commit and whatever background work is due.
    pub fn end_of_tick(&mut self, now: Now, out: &mut Vec<StoreOut>) {
        let (partitions, by_key, recovered) = (&self.partitions, &self.by_key, &self.recovered);
        let mut aux = |key: LogKey| {
            let tp = by_key.get(&key);
            let partition = tp.and_then(|tp| partitions.get(tp));
            // A log that nobody has claimed yet keeps what it had.
            let unclaimed = || tp.and_then(|tp| recovered.get(tp)).map(|log| log.aux.clone());
            partition.map(Partition::aux).or_else(unclaimed).unwrap_or_else(Bytes::new)
        };
        self.store.end_of_tick(now, &mut aux, out);
    }

    /// Keeps the waits in order of commits: a duplicate's commit is an old one, and simply waits its turn.
    fn push_wait(&mut self, commit: CommitSeq, keys: SmallVec<[LogKey; 1]>, then: Then) {
        let last = self.waits.back().map_or(0, |wait| wait.commit);
        self.waits.push_back(CommitWait { commit: commit.max(last), keys, then });
    }

    /// Turns what waits for these logs into failures. It keeps its place, and leaves in its turn.
    fn fail_waits(&mut self, is_lost: impl Fn(LogKey) -> bool, failure: &AppendFailure) {
        for wait in &mut self.waits {
            let lost = |place: usize| wait.keys.get(place).is_some_and(|key| is_lost(*key));
            match &mut wait.then {
                Then::Append { results, .. } => {
                    for (place, result) in results.iter_mut().enumerate() {
                        if lost(place) && result.result.is_ok() {
                            result.result = Err(failure.clone());
                        }
                    }
                }
                Then::Internal { ticket, .. } if lost(0) => {
                    self.internal_done.push_back((*ticket, Err(failure.clone())));
                    wait.then = Then::Asked(asks::Asked::NOTHING);
                }
                Then::Asked(asked) if lost(0) => asked.fail(),
                Then::Internal { .. } | Then::Asked(_) => {}
            }
        }
    }
}

impl Shard {
    /// Batches of a Produce request arrived for our partitions.
    pub(crate) fn on_append(&mut self, from: ShardId, id: ReqId, items: SmallVec<[AppendItem; 1]>) {
        let mut results: SmallVec<[AppendResult; 1]> = SmallVec::with_capacity(items.len());
        let mut keys: SmallVec<[LogKey; 1]> = SmallVec::with_capacity(items.len());
        let mut commit = 0;
        for AppendItem { tp, place, batch } in &items {
            let logs = &mut self.logs;
            let result = match logs.partitions.get_mut(tp) {
                None => Err(AppendFailure::NotHere),
                Some(partition) => {
                    keys.push(partition.key());
                    let known = partition.producers().len();
                    let appended = partition.append(&mut logs.store, self.now, batch, -1, Origin::Client);
                    logs.producers.note(known, partition.producers().len());
                    appended.map_err(AppendFailure::Refused)
                }
            };
            match &result {
                Ok(appended) => {
                    commit = commit.max(appended.commit);
                    self.metrics.batches_appended += u64::from(!appended.duplicate);
                    self.metrics.batches_duplicate += u64::from(appended.duplicate);
                    self.metrics.bytes_appended += batch.len_bytes() as u64;
                }
                Err(_) => {
                    // Keys stand at their results' places.
                    keys.resize(results.len() + 1, LogKey(u32::MAX));
                    self.metrics.batches_refused += 1;
                }
            }
            results.push(AppendResult { place: *place, result });
        }
        self.metrics.producers_forgotten += self.logs.forget_producers() as u64;
        if commit > self.logs.store.committed() {
            self.logs.push_wait(commit, keys, Then::Append { to: from, id, results });
        } else {
            self.send(from, Mail::Appended { id, results });
        }
    }

    /// Releases what the newest commits cover, and wakes whom they concern.
    pub(crate) fn release_committed(&mut self) {
        let moved = self.logs.store.drain_committed();
        for key in moved {
            let logs = &mut self.logs;
            if let Some(partition) = logs.by_key.get(&key).and_then(|tp| logs.partitions.get_mut(tp)) {
                partition.on_committed(&logs.store, &mut logs.woken);
            }
            if let Some(error) = logs.store.is_offline(key) {
                let failure = AppendFailure::Storage(error.to_string());
                logs.fail_waits(|of| of == key, &failure);
            }
        }
        let committed = self.logs.store.committed();
        self.metrics.commits = committed;
        while self.logs.waits.front().is_some_and(|wait| wait.commit <= committed || wait.then.has_failed()) {
            let wait = self.logs.waits.pop_front().expect("just seen");
            match wait.then {
                Then::Append { to, id, results } => self.send(to, Mail::Appended { id, results }),
                Then::Internal { ticket, appended } => self.logs.internal_done.push_back((ticket, Ok(appended))),
                Then::Asked(asked) => self.on_asked_committed(asked),
            }
        }
        self.wake_watchers();
    }
}
