//! The words of the store: keys, limits, read plans, outputs and errors.
//! Must never touch: how any of it is done.

use std::sync::Arc;

use bytes::Bytes;
use coretide_model::{Notice, TopicConfig, TopicPartition};
use smallvec::SmallVec;

use super::jobs::{ColdRead, StoreJob, TimeRead};
use crate::batch::BatchHeader;
use crate::io::{FileId, IoError, Op};
use crate::timestamps::TimestampOffset;

/// A log of this shard, for as long as the process lives. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogKey(pub u32);

/// The number of a journal commit. Grows by one with every commit; 0 is before the first.
pub type CommitSeq = u64;

/// What the store may use. All are per shard.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    /// The size of one journal file. A batch that does not fit goes straight to its segment.
    pub journal_file_bytes: u64,
    /// Journal files at most; when all are needed, appends wait.
    pub journal_files_max: u32,
    /// Bytes of batches in one commit, unless a single batch is larger.
    pub commit_bytes_max: usize,
    /// From how many pending bytes of one log on a commit writes its whole blocks straight to the segment.
    pub direct_from_bytes: usize,
    /// From how many bytes on that only the journal holds a log is destaged.
    pub destage_from_bytes: usize,
    /// The largest single write of a destage. A commit's flush takes all the longer for what else the device has just got:
    /// with 1 MiB a time, 1 in 100 commits took more than 1.1 ms, with 128 KiB 0.7.
    pub destage_write_bytes: usize,
    /// Memory for frozen append buffers.
    pub cache_bytes: usize,
    /// Memory that frozen append buffers may take while the newest of them are not in their segments yet; beyond it
    /// appends wait.
    pub cache_bytes_max: usize,
    /// Journal bytes between two checkpoints: what a start reads at most, about.
    pub checkpoint_every_bytes: u64,
    /// Background jobs of the store at a time.
    pub jobs_max: usize,
    /// Extents of one read plan at most.
    pub extents_max: usize,
    /// Free bytes of the volume that are not for clients; none: as [`super::auto_reserve_bytes`] says.
    pub disk_reserve_bytes: Option<u64>,
    /// How often the volume's free space is measured while it matters; 0: never, and clients are never refused for it.
    pub disk_check_ms: u64,
    /// How many shards share the volume.
    pub shards: u16,
}

impl StoreLimits {
    /// A commit must fit in a file, and an older file must be free while the newest takes commits.
    pub(super) fn made_to_fit(mut self) -> StoreLimits {
        self.commit_bytes_max = self.commit_bytes_max.min(self.journal_file_bytes as usize / 2);
        self.journal_files_max = self.journal_files_max.max(2);
        self
    }

    /// Journal bytes for which a log may wait to be destaged, however little it has: half of the cache fills up meanwhile
    /// with what cannot go, and a quarter of the journal.
    pub(super) fn destage_wait_bytes(&self) -> u64 {
        let journal = self.journal_file_bytes * u64::from(self.journal_files_max);
        (self.cache_bytes as u64 / 2).min(journal / 4).max(1)
    }
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
            journal_file_bytes: 16 << 20,
            journal_files_max: 16,
            commit_bytes_max: 4 << 20,
            direct_from_bytes: 64 << 10,
            destage_from_bytes: 1 << 20,
            destage_write_bytes: 128 << 10,
            cache_bytes: 64 << 20,
            cache_bytes_max: 96 << 20,
            checkpoint_every_bytes: 48 << 20,
            jobs_max: 16,
            extents_max: 512,
            disk_reserve_bytes: None,
            disk_check_ms: 0,
            shards: 1,
        }
    }
}

/// What of a topic's config the store needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`, the jitter taken off.
    pub segment_ms: i64,
    /// `segment.index.bytes`: the size at which an index is full and the segment rolls.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
}

impl From<&TopicConfig> for LogConfig {
    fn from(config: &TopicConfig) -> LogConfig {
        LogConfig {
            segment_bytes: config.segment_bytes.max(1) as u32,
            segment_ms: config.segment_ms.saturating_sub(config.segment_jitter_ms).max(1),
            segment_index_bytes: config.segment_index_bytes.max(12) as u32,
            index_interval_bytes: config.index_interval_bytes.max(0) as u32,
            file_delete_delay_ms: config.file_delete_delay_ms.max(0) as u64,
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig::from(&TopicConfig::default())
    }
}

/// What recovery knows of a batch, for the partition machine to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// First offset.
    pub base_offset: i64,
    /// Last offset.
    pub last_offset: i64,
    /// The epoch it was appended under.
    pub leader_epoch: i32,
    /// The header's attributes: transactional, control, ...
    pub attributes: i16,
    /// The producer's id, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The first sequence number, or -1.
    pub base_sequence: i32,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// The size of the whole batch in bytes.
    pub size_bytes: u32,
}

impl BatchSummary {
    /// The summary of a batch with its final header.
    pub fn of(header: &BatchHeader) -> BatchSummary {
        BatchSummary {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            leader_epoch: header.leader_epoch,
            attributes: header.attributes,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            max_timestamp: header.max_timestamp,
            size_bytes: header.total_bytes() as u32,
        }
    }
}

/// A log that was found at the start.
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    /// Its key from now on.
    pub key: LogKey,
    /// Whose log it is.
    pub tp: TopicPartition,
    /// Its folder below the data directory.
    pub dir: Arc<str>,
    /// The first readable offset.
    pub log_start_offset: i64,
    /// The offset after the last batch.
    pub end_offset: i64,
    /// What the partition machine last gave for the checkpoint; empty if it never did.
    pub aux: Bytes,
    /// The log's end when `aux` was taken, or the log's end now if a crash took that back: whatever `aux` says of
    /// offsets from here on must be forgotten before `replay` is applied.
    pub aux_end_offset: i64,
    /// The batches from `aux_end_offset` on that carry a producer id or begin a leader epoch, in order.
    pub replay: Vec<BatchSummary>,
}

/// A piece of a fetch response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes in memory.
    Hot(Bytes),
    /// A range of a file, all of it durable: the splice or sendfile tier.
    File {
        /// The segment.
        file: FileId,
        /// Position of the first byte.
        at: u64,
        /// Number of bytes.
        len: u32,
    },
}

impl Extent {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Extent::Hot(bytes) => bytes.len(),
            Extent::File { len, .. } => *len as usize,
        }
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The pieces of a read, in order.
pub type Extents = SmallVec<[Extent; 4]>;

/// Whole batches, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReady {
    /// The batches' bytes.
    pub extents: Extents,
    /// Bytes in all.
    pub bytes: usize,
    /// The size of the first batch.
    pub first_batch_bytes: usize,
    /// The offset after the last batch.
    pub next_offset: i64,
}

/// Where the bytes of a read are.
#[derive(Clone, Debug)]
pub enum ReadPlan {
    /// In memory.
    Ready(ReadReady),
    /// On disk: run [`ColdRead`] as a job.
    Cold(ColdRead),
    /// Nothing to read below the limit, or the first batch is larger than allowed.
    Empty,
    /// The offset is below the log's start or beyond its end.
    OutOfRange,
}

/// Where the answer of a search by time is.
#[derive(Clone, Debug)]
pub enum TimeLookup {
    /// Known already; none when no record is that young.
    Ready(Option<TimestampOffset>),
    /// Run [`TimeRead`] as a job.
    Cold(TimeRead),
}

/// What the store wants done.
#[derive(Debug)]
pub enum StoreOut {
    /// A write or sync of the hot ring; the result goes to `Store::on_io`.
    Io {
        /// To be given back with the result.
        id: u64,
        /// The operation.
        op: Op,
    },
    /// A background job; its output goes to `Store::on_job`.
    Job {
        /// To be given back with the output.
        id: u64,
        /// The job.
        job: StoreJob,
    },
    /// A line for the operator.
    Notice(Notice),
}

/// The volume has no room for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk is almost full: {} bytes are free, and the last {reserve_bytes} are kept for deletes and commits",
    .free_bytes.map_or_else(|| "no".to_string(), |bytes| bytes.to_string())
)]
pub struct DiskLow {
    /// Free when it was last measured, if it ever was.
    pub free_bytes: Option<u64>,
    /// What is kept: `coretide.disk.reserve.bytes`.
    pub reserve_bytes: u64,
}

/// Why the store does not take an append.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A write of this log, or of the shard's journal, failed; it takes nothing more until the broker restarts.
    #[error("the log is offline: {0}")]
    Offline(IoError),
    /// No log has this key (any more).
    #[error("there is no such log")]
    Unknown,
    /// The batch is larger than a segment can be.
    #[error("a batch of {bytes} bytes is larger than segment.bytes = {segment_bytes}")]
    LargerThanSegment {
        /// The batch.
        bytes: usize,
        /// The limit.
        segment_bytes: u32,
    },
    /// The store is stopping.
    #[error("the store is stopping")]
    Stopping,
}
