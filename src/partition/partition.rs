//! The leader of one partition: decides what is appended where, what may be read, and who is woken. The bytes are the
//! store's. Must never touch: wire types, other partitions, when commits happen.

use std::sync::Arc;

use bytes::Bytes;
use coretide_log::batch::VerifiedBatch;
use coretide_log::io::Durability;
use coretide_log::store::{
    CommitSeq, LogConfig, LogKey, ReadPlan, RecoveredLog, Store, StoreError, TimeLookup, TimeRead,
};
use coretide_log::timestamps::TimestampOffset;
use coretide_model::{Now, TopicConfig, TopicPartition};

use crate::api::{
    AppendError, AppendOk, DeleteRecordsError, EpochError, Isolation, ListTarget, ListedOffset, Marks, Origin,
    ProducerDescription, ReadError, ReadOk, ReadSpec,
};
use crate::epochs::{EpochCache, EpochEnd};
use crate::producer_state::{ProducerStates, SequencedBatch, Verdict};
use crate::refused::RefusedBeginnings;
use crate::snapshot::{self, SnapshotError};
use crate::watch::Watches;

/// Idempotent producers one partition remembers; beyond it the longest idle are forgotten.
pub const PRODUCERS_MAX: usize = 100_000;

/// An answer to ListOffsets, or the search on disk that yields it.
#[derive(Debug)]
pub enum Listed {
    /// The answer.
    Ready(ListedOffset),
    /// Run it as a job and give its result to [`Partition::listed`].
    Cold(TimeRead),
}

/// The leader of one partition.
#[derive(Debug)]
pub struct Partition {
    tp: TopicPartition,
    key: LogKey,
    leader_epoch: i32,
    config: Arc<TopicConfig>,
    epochs: EpochCache,
    producers: ProducerStates,
    refused: RefusedBeginnings,
    high_watermark: i64,
    watches: Watches,
    offline_told: bool,
}

impl Partition {
    /// A new partition with an empty log in the folder `dir`.
    pub fn create(
        store: &mut Store,
        tp: TopicPartition,
        dir: Arc<str>,
        leader_epoch: i32,
        config: Arc<TopicConfig>,
    ) -> Partition {
        let key = store.create_log(tp, dir, 0);
        let (epochs, producers) = Default::default();
        Partition::lead(store, tp, key, leader_epoch, config, epochs, producers)
    }

    /// A partition whose log was found at the start. Recovered producers count as used now.
    pub fn recover(
        store: &mut Store,
        now: Now,
        recovered: &RecoveredLog,
        leader_epoch: i32,
        config: Arc<TopicConfig>,
    ) -> Result<Partition, SnapshotError> {
        let (mut epochs, mut producers) = snapshot::decode(recovered.aux.clone())?;
        producers.truncate_end(recovered.aux_end_offset);
        epochs.truncate_end(recovered.aux_end_offset);
        for batch in &recovered.replay {
            epochs.assign(batch.leader_epoch, batch.base_offset);
            if batch.producer_id >= 0 && batch.base_sequence >= 0 {
                let sequenced = SequencedBatch {
                    producer_id: batch.producer_id,
                    producer_epoch: batch.producer_epoch,
                    base_sequence: batch.base_sequence,
                    last_offset_delta: (batch.last_offset - batch.base_offset) as i32,
                };
                let end = recovered.end_offset;
                producers.record(&sequenced, batch.base_offset, batch.max_timestamp, 0, end, now.wall_ms);
            }
        }
        epochs.truncate_start(recovered.log_start_offset);
        let tp = recovered.tp;
        Ok(Partition::lead(store, tp, recovered.key, leader_epoch, config, epochs, producers))
    }

    fn lead(
        store: &mut Store,
        tp: TopicPartition,
        key: LogKey,
        leader_epoch: i32,
        config: Arc<TopicConfig>,
        mut epochs: EpochCache,
        producers: ProducerStates,
    ) -> Partition {
        store.configure(key, LogConfig::from(&*config));
        epochs.assign(leader_epoch, store.end_offset(key));
        let high_watermark = store.committed_end_offset(key);
        let (refused, watches, offline_told) = Default::default();
        Partition { tp, key, leader_epoch, config, epochs, producers, refused, high_watermark, watches, offline_told }
    }

    /// Whose log this is.
    pub fn topic_partition(&self) -> TopicPartition {
        self.tp
    }

    /// The store's key of the log.
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// The current leader epoch.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The topic's config.
    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    /// Goes on as leader of a newer epoch; an older one changes nothing (E2).
    pub fn set_leader_epoch(&mut self, store: &Store, leader_epoch: i32) {
        if leader_epoch > self.leader_epoch {
            self.leader_epoch = leader_epoch;
            self.epochs.assign(leader_epoch, store.end_offset(self.key));
        }
    }

    /// Takes over a changed topic config.
    pub fn set_config(&mut self, store: &mut Store, config: Arc<TopicConfig>) {
        store.configure(self.key, LogConfig::from(&*config));
        self.config = config;
    }

    /// The marks at this moment.
    pub fn marks(&self, store: &Store) -> Marks {
        Marks {
            log_start_offset: store.log_start_offset(self.key),
            last_stable_offset: self.high_watermark,
            high_watermark: self.high_watermark,
            log_end_offset: store.end_offset(self.key),
        }
    }

    /// The size of the log in bytes (DescribeLogDirs).
    pub fn log_bytes(&self, store: &Store) -> u64 {
        store.log_bytes(self.key)
    }

    /// Stages a batch. The ack may leave when the store has reached [`AppendOk::commit`] and the log is not offline.
    /// `expected_leader_epoch`: the epoch under which the asker was routed here, or -1.
    pub fn append(
        &mut self,
        store: &mut Store,
        now: Now,
        batch: &VerifiedBatch,
        expected_leader_epoch: i32,
        origin: Origin,
    ) -> Result<AppendOk, AppendError> {
        self.check_epoch(expected_leader_epoch)?;
        // Before the sequence check: the original of a duplicate may be among what the failed commit took along.
        if let Some(error) = store.is_offline(self.key) {
            return Err(AppendError::Offline(error.to_string()));
        }
        let header = batch.header();
        let log_append_time_ms = batch.log_append_time_ms().unwrap_or(-1);
        let log_start_offset = store.log_start_offset(self.key);
        let sequenced = (origin == Origin::Client && header.has_producer_id()).then_some(SequencedBatch {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_offset_delta: header.last_offset_delta,
        });
        if let Some(sequenced) = &sequenced {
            let verdict = self.producers.check(sequenced);
            // The epoch comes first (KAFKA-19690), then whether there is a transaction at all.
            if header.is_transactional() && !matches!(verdict, Err(crate::SequenceError::StaleEpoch { .. })) {
                return Err(AppendError::NoTransaction { producer_id: header.producer_id });
            }
            if let Verdict::Duplicate(original) = verdict? {
                let log_append_time_ms = if log_append_time_ms >= 0 { original.max_timestamp } else { -1 };
                return Ok(AppendOk {
                    base_offset: original.base_offset,
                    last_offset: original.last_offset(),
                    log_append_time_ms,
                    log_start_offset,
                    commit: original.commit,
                    duplicate: true,
                });
            }
        }
        let beginning = sequenced.filter(|sequenced| !self.producers.is_known(sequenced.producer_id));
        // After the look for duplicates: what is there already needs no room.
        if origin == Origin::Client
            && let Some(low) = store.refuses_clients()
        {
            beginning.iter().for_each(|beginning| self.refused.note(beginning, now.wall_ms));
            return Err(low.into());
        }
        beginning.map_or(Ok(()), |beginning| self.refused.check(&beginning))?;
        let base_offset = store.end_offset(self.key);
        let commit = self.stage(store, now, batch, base_offset)?;
        if let Some(sequenced) = &sequenced {
            let timestamp = batch.max_timestamp();
            self.producers.record(sequenced, base_offset, timestamp, commit, self.high_watermark, now.wall_ms);
            self.producers.shrink_to(PRODUCERS_MAX);
            self.refused.forget(sequenced.producer_id);
        }
        Ok(AppendOk {
            base_offset,
            last_offset: base_offset + i64::from(header.last_offset_delta),
            log_append_time_ms,
            log_start_offset,
            commit,
            duplicate: false,
        })
    }

    fn stage(
        &mut self,
        store: &mut Store,
        now: Now,
        batch: &VerifiedBatch,
        base_offset: i64,
    ) -> Result<CommitSeq, AppendError> {
        let durability = if self.config.flush_messages == 1 { Durability::Durable } else { Durability::Written };
        match store.stage(self.key, now, batch, base_offset, self.leader_epoch, durability) {
            Ok(commit) => Ok(commit),
            Err(StoreError::LargerThanSegment { bytes, segment_bytes }) => {
                Err(AppendError::LargerThanSegment { bytes: bytes as u64, segment_bytes: u64::from(segment_bytes) })
            }
            Err(error) => Err(AppendError::Offline(error.to_string())),
        }
    }

    /// The store has committed something of this log, or it went offline: moves the high watermark and puts the tokens
    /// of the watches that fire into `woken`.
    pub fn on_committed(&mut self, store: &Store, woken: &mut Vec<u64>) {
        let committed = store.committed_end_offset(self.key);
        assert!(committed >= self.high_watermark, "the high watermark never goes back");
        self.high_watermark = committed;
        self.watches.wake_below(committed, woken);
        if !self.offline_told && store.is_offline(self.key).is_some() {
            self.offline_told = true;
            self.watches.wake_all(woken);
        }
    }

    /// Watches once for the readable end to pass `offset`. Fires at once, into `woken`, if it has.
    pub fn watch(&mut self, isolation: Isolation, offset: i64, token: u64, woken: &mut Vec<u64>) {
        // Without transactions both isolations end at the same mark, so one table serves both.
        let (Isolation::ReadUncommitted | Isolation::ReadCommitted) = isolation;
        if self.high_watermark > offset {
            self.watches.remove(token);
            woken.push(token);
        } else {
            woken.extend(self.watches.add(offset, token));
        }
    }

    /// Takes a watch back.
    pub fn unwatch(&mut self, token: u64) {
        self.watches.remove(token);
    }

    /// The partition is being deleted: everybody who waits is woken.
    pub fn close(mut self, woken: &mut Vec<u64>) {
        self.watches.wake_all(woken);
    }

    /// Plans a read; marks, aborted list and plan are of one moment (F4 to F6).
    pub fn read(&self, store: &mut Store, spec: &ReadSpec) -> Result<ReadOk<ReadPlan>, ReadError> {
        self.check_epoch(spec.current_leader_epoch)?;
        let marks = self.marks(store);
        let offset = spec.fetch_offset;
        let out_of_range = ReadError::OutOfRange { offset, marks };
        if offset < marks.log_start_offset {
            return Err(out_of_range);
        }
        let aborted = match spec.isolation {
            Isolation::ReadUncommitted => None,
            Isolation::ReadCommitted => Some(Vec::new()),
        };
        if spec.last_fetched_epoch >= 0 {
            let end = self.epochs.end_of(spec.last_fetched_epoch, marks.log_end_offset);
            if end == EpochEnd::UNDEFINED {
                return Err(out_of_range);
            }
            if end.epoch < spec.last_fetched_epoch || end.end_offset < offset {
                return Ok(ReadOk { marks, diverging: Some(end), aborted, plan: ReadPlan::Empty });
            }
        }
        if offset > marks.log_end_offset {
            return Err(out_of_range);
        }
        let limit = marks.limit(spec.isolation);
        let plan = if offset >= limit {
            ReadPlan::Empty
        } else {
            store.plan_read(self.key, offset, limit, spec.max_bytes as usize, spec.at_least_one)
        };
        match plan {
            ReadPlan::Cold(mut cold) => {
                // No checksum covers the leader epoch that a batch on disk carries.
                let epochs = self.epochs.entries_from(offset).iter();
                cold.epochs = epochs.map(|entry| (entry.start_offset, entry.epoch)).collect();
                Ok(ReadOk { marks, diverging: None, aborted, plan: ReadPlan::Cold(cold) })
            }
            ReadPlan::OutOfRange => Err(out_of_range),
            plan => Ok(ReadOk { marks, diverging: None, aborted, plan }),
        }
    }

    /// ListOffsets (L1 to L3).
    pub fn list_offsets(
        &self,
        store: &mut Store,
        target: ListTarget,
        isolation: Isolation,
        current_leader_epoch: i32,
    ) -> Result<Listed, EpochError> {
        self.check_epoch(current_leader_epoch)?;
        let marks = self.marks(store);
        let limit = marks.limit(isolation);
        let lookup = match target {
            ListTarget::Latest => {
                let leader_epoch = self.leader_epoch;
                return Ok(Listed::Ready(ListedOffset { offset: limit, timestamp_ms: -1, leader_epoch }));
            }
            ListTarget::Earliest | ListTarget::EarliestLocal => {
                let offset = marks.log_start_offset;
                let leader_epoch = self.epochs.epoch_of(offset).unwrap_or(-1);
                return Ok(Listed::Ready(ListedOffset { offset, timestamp_ms: -1, leader_epoch }));
            }
            ListTarget::Tiered => return Ok(Listed::Ready(ListedOffset::NONE)),
            ListTarget::MaxTimestamp => store.max_timestamp(self.key, limit),
            ListTarget::Timestamp(target_ms) => store.find_timestamp(self.key, target_ms, limit),
        };
        Ok(match lookup {
            TimeLookup::Ready(found) => Listed::Ready(self.listed(store, found)),
            TimeLookup::Cold(read) => Listed::Cold(read),
        })
    }

    /// The answer that follows from what a search found.
    pub fn listed(&self, store: &Store, found: Option<TimestampOffset>) -> ListedOffset {
        // The log start may have moved while the search ran.
        match found {
            Some(found) if found.offset >= store.log_start_offset(self.key) => ListedOffset {
                offset: found.offset,
                timestamp_ms: found.timestamp_ms,
                leader_epoch: self.epochs.epoch_of(found.offset).unwrap_or(-1),
            },
            _ => ListedOffset::NONE,
        }
    }

    /// OffsetForLeaderEpoch (E1). The newest epoch ends at the high watermark: beyond it nothing is certain yet.
    pub fn offset_for_leader_epoch(&self, asked: i32, current_leader_epoch: i32) -> Result<EpochEnd, EpochError> {
        self.check_epoch(current_leader_epoch)?;
        Ok(self.epochs.end_of(asked, self.high_watermark))
    }

    /// DeleteRecords (C3): moves the log start to `offset`, -1 for the high watermark. Returns the low watermark and
    /// the commit with which it is durable.
    pub fn delete_records(
        &mut self,
        store: &mut Store,
        now: Now,
        offset: i64,
    ) -> Result<(i64, CommitSeq), DeleteRecordsError> {
        if !self.config.cleanup_policy.delete {
            return Err(DeleteRecordsError::NotDeletable);
        }
        self.advance_log_start(store, now, offset)
    }

    /// What DeleteRecords does, whatever the topic's policy: for the machines that repeat their live state in place of
    /// compaction.
    pub fn advance_log_start(
        &mut self,
        store: &mut Store,
        now: Now,
        offset: i64,
    ) -> Result<(i64, CommitSeq), DeleteRecordsError> {
        if store.is_offline(self.key).is_some() {
            return Err(DeleteRecordsError::Offline);
        }
        let high_watermark = self.high_watermark;
        let target = if offset == -1 { high_watermark } else { offset };
        if target < 0 || target > high_watermark {
            return Err(DeleteRecordsError::OutOfRange { offset, high_watermark });
        }
        let log_start = store.log_start_offset(self.key);
        if target <= log_start {
            // An earlier request may still be under way, and its mark must not be reported before it is durable.
            return Ok((log_start, store.set_log_start(self.key, now, log_start)));
        }
        let commit = store.set_log_start(self.key, now, target);
        self.epochs.truncate_start(target);
        Ok((target, commit))
    }

    /// DescribeProducers (KIP-664).
    pub fn describe_producers(&self) -> Vec<ProducerDescription> {
        let describe = |(producer_id, entry): (i64, &crate::producer_state::ProducerEntry)| ProducerDescription {
            producer_id,
            producer_epoch: entry.epoch,
            last_sequence: entry.last_sequence().unwrap_or(-1),
            last_timestamp_ms: entry.batches.last().map_or(-1, |batch| batch.max_timestamp),
            coordinator_epoch: -1,
            current_txn_start_offset: -1,
        };
        self.producers.iter().map(describe).collect()
    }

    /// Housekeeping, now and then: retention and the expiry of idle producers (`producer.id.expiration.ms`).
    pub fn tick(&mut self, store: &mut Store, now: Now, producer_expiration_ms: i64) {
        self.producers.expire(now.wall_ms, producer_expiration_ms);
        self.refused.expire(now.wall_ms, producer_expiration_ms);
        if self.config.cleanup_policy.delete && store.is_offline(self.key).is_none() {
            let (age, bytes) = (self.config.retention_ms, self.config.retention_bytes);
            let log_start = store.retention(self.key, now, age, bytes, self.high_watermark);
            self.epochs.truncate_start(log_start);
        }
    }

    /// What the store's checkpoint is to keep for this partition: as of everything staged so far.
    pub fn aux(&self) -> Bytes {
        snapshot::encode(&self.epochs, &self.producers)
    }

    /// The leader epochs.
    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }

    /// Forgets the longest idle producers until at most seven eighths of `limit` are left, if there are more than `limit`.
    pub fn forget_idle_producers(&mut self, limit: usize) {
        self.producers.shrink_to(limit);
    }

    /// The idempotent producers.
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    fn check_epoch(&self, asked: i32) -> Result<(), EpochError> {
        let current = self.leader_epoch;
        match asked {
            ..0 => Ok(()),
            asked if asked < current => Err(EpochError::Fenced { asked, current }),
            asked if asked > current => Err(EpochError::Unknown { asked, current }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
