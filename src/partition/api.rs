//! The words of the partition machine: what it is asked and what it answers, as data. Must never touch: wire types;
//! [`AppendError::code`] and its like are the only place here that knows Kafka's codes.

use coretide_model::ErrorCode;

use crate::epochs::EpochEnd;

/// How far a reader may see (FetchRequest and ListOffsetsRequest `isolation_level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark, aborted records included.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Produce request: producer sequences are checked.
    Client,
    /// A machine of this broker (coordinators, controller): its batches carry no sequences.
    Broker,
}

/// The marks of a partition at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The first offset that may be read.
    pub log_start_offset: i64,
    /// The end for `read_committed` readers.
    pub last_stable_offset: i64,
    /// The end for readers: all below may be the base of an ack.
    pub high_watermark: i64,
    /// The next offset that will be given out.
    pub log_end_offset: i64,
}

impl Marks {
    /// Where a reader of this isolation must stop.
    pub fn limit(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset,
        }
    }
}

/// A batch that was staged, or that had been before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendOk {
    /// The first record's offset.
    pub base_offset: i64,
    /// The last record's offset.
    pub last_offset: i64,
    /// The broker's time of the append under LogAppendTime, else -1 (ProduceResponse `log_append_time_ms`).
    pub log_append_time_ms: i64,
    /// The log start (ProduceResponse `log_start_offset`).
    pub log_start_offset: i64,
    /// The ack may leave once the store's committed sequence has reached this; 0 is always reached.
    pub commit: u64,
    /// True when nothing was appended because the batch had been appended before (I1).
    pub duplicate: bool,
}

/// The asker's idea of the leader epoch does not fit (F6, KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// The asker's epoch is older than ours.
    #[error("the leader epoch {asked} is over; it is {current} now")]
    Fenced { asked: i32, current: i32 },
    /// The asker's epoch is newer than ours.
    #[error("the leader epoch {asked} is not known here yet; it is {current}")]
    Unknown { asked: i32, current: i32 },
}

impl EpochError {
    /// Kafka's code: 74 or 75.
    pub fn code(&self) -> ErrorCode {
        match self {
            EpochError::Fenced { .. } => ErrorCode::FencedLeaderEpoch,
            EpochError::Unknown { .. } => ErrorCode::UnknownLeaderEpoch,
        }
    }
}

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The leader epoch does not fit.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The idempotent producer's numbers do not fit.
    #[error(transparent)]
    Sequence(#[from] crate::producer_state::SequenceError),
    /// A transactional batch without a transaction that is known to be open (T5).
    #[error("the batch is transactional, but no transaction of producer {producer_id} is open here")]
    NoTransaction { producer_id: i64 },
    /// The batch is larger than a segment (`segment.bytes`).
    #[error("the batch has {bytes} bytes, a segment at most {segment_bytes}")]
    LargerThanSegment { bytes: u64, segment_bytes: u64 },
    /// The volume is down to its reserve.
    #[error(transparent)]
    DiskLow(#[from] coretide_log::store::DiskLow),
    /// An earlier write or flush failed: nothing is appended any more (L9).
    #[error("the log is offline: {0}")]
    Offline(String),
}

impl AppendError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        use crate::producer_state::SequenceError;
        match self {
            AppendError::Epoch(error) => error.code(),
            AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
            AppendError::NoTransaction { .. } => ErrorCode::InvalidTxnState,
            AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            AppendError::DiskLow(_) | AppendError::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// One partition of a Fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSpec {
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// How far the reader may see.
    pub isolation: Isolation,
    /// The byte budget.
    pub max_bytes: u32,
    /// Return the first batch whole even beyond the budget (KIP-74).
    pub at_least_one: bool,
    /// The asker's idea of the leader epoch; -1 = none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record the asker has; -1 = none (KIP-595).
    pub last_fetched_epoch: i32,
}

/// An aborted transaction in the returned range (FetchResponse `aborted_transactions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The transaction's first offset in this partition.
    pub first_offset: i64,
}

/// The answer to a [`ReadSpec`], all from one moment.
#[derive(Debug)]
pub struct ReadOk<Plan> {
    /// The marks.
    pub marks: Marks,
    /// Set when the asker's log has parted from ours: no records then, and this is where ours ends (F6).
    pub diverging: Option<EpochEnd>,
    /// Aborted transactions that touch the range: none for `read_uncommitted`, a list for `read_committed` (F4).
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// What to send.
    pub plan: Plan,
}

/// Why a partition was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The leader epoch does not fit.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The offset is below the log start or above the log end; the marks are the real ones (F5).
    #[error("offset {offset} lies outside the log")]
    OutOfRange { offset: i64, marks: Marks },
}

impl ReadError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadError::Epoch(error) => error.code(),
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        }
    }
}

/// What ListOffsets asks for (its special timestamps, decoded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTarget {
    /// -1: the high watermark or the last stable offset.
    Latest,
    /// -2: the log start.
    Earliest,
    /// -3: the record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// -4: the first local offset (KIP-405); the log start here.
    EarliestLocal,
    /// -5 and -6: tiered storage's marks (KIP-1005, KIP-1023); never any here.
    Tiered,
    /// The first record with this timestamp (milliseconds) or a later one.
    Timestamp(i64),
}

impl ListTarget {
    /// From ListOffsetsRequest `timestamp`; none when Kafka has no meaning for it.
    pub fn from_wire(timestamp: i64) -> Option<ListTarget> {
        match timestamp {
            -1 => Some(ListTarget::Latest),
            -2 => Some(ListTarget::Earliest),
            -3 => Some(ListTarget::MaxTimestamp),
            -4 => Some(ListTarget::EarliestLocal),
            -5 | -6 => Some(ListTarget::Tiered),
            0.. => Some(ListTarget::Timestamp(timestamp)),
            _ => None,
        }
    }
}

/// One partition's answer to ListOffsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 when there is none.
    pub offset: i64,
    /// The record's timestamp; -1 when the target is not a record.
    pub timestamp_ms: i64,
    /// The leader epoch of the offset (L3); -1 when unknown.
    pub leader_epoch: i32,
}

impl ListedOffset {
    /// Nothing fits: not an error (L2).
    pub const NONE: ListedOffset = ListedOffset { offset: -1, timestamp_ms: -1, leader_epoch: -1 };
}

/// Why DeleteRecords did not move the log start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// Above the high watermark, or below -1.
    #[error("offset {offset} lies above the high watermark {high_watermark}")]
    OutOfRange { offset: i64, high_watermark: i64 },
    /// The topic is compacted only (C3).
    #[error("the topic's cleanup.policy does not contain delete")]
    NotDeletable,
    /// The log takes no more writes.
    #[error("the log is offline")]
    Offline,
}

impl DeleteRecordsError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            DeleteRecordsError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            DeleteRecordsError::NotDeletable => ErrorCode::PolicyViolation,
            DeleteRecordsError::Offline => ErrorCode::KafkaStorageError,
        }
    }
}

/// One producer in DescribeProducers' answer (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// The last sequence number appended; -1 when unknown.
    pub last_sequence: i32,
    /// The largest timestamp of the last batch, in milliseconds; -1 when unknown.
    pub last_timestamp_ms: i64,
    /// The transaction coordinator's epoch of the last marker; -1 without transactions.
    pub coordinator_epoch: i32,
    /// Where the open transaction began; -1 without one.
    pub current_txn_start_offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer_state::SequenceError;

    #[test]
    fn codes_are_kafkas() {
        let code = |error: AppendError| error.code().code();
        assert_eq!(code(SequenceError::OutOfOrder { producer_id: 1, expected: 2, got: 3 }.into()), 45);
        assert_eq!(code(SequenceError::StaleEpoch { producer_id: 1, newest: 2, got: 1 }.into()), 47);
        assert_eq!(code(EpochError::Fenced { asked: 1, current: 2 }.into()), 74);
        assert_eq!(code(EpochError::Unknown { asked: 3, current: 2 }.into()), 75);
        assert_eq!(code(AppendError::NoTransaction { producer_id: 1 }), 48);
        assert_eq!(code(AppendError::LargerThanSegment { bytes: 2, segment_bytes: 1 }), 18);
        assert_eq!(code(AppendError::Offline(String::new())), 56);
        let low = coretide_log::store::DiskLow { free_bytes: Some(1), reserve_bytes: 2 };
        assert_eq!(code(low.into()), 56);
        assert_eq!(DeleteRecordsError::NotDeletable.code().code(), 44);
        assert_eq!(ReadError::OutOfRange { offset: 0, marks: Marks::default() }.code().code(), 1);
    }

    #[test]
    fn list_targets_are_the_special_timestamps() {
        let target = ListTarget::from_wire;
        let special = [-1, -2, -3, -4].map(|timestamp| target(timestamp).expect("known"));
        use ListTarget::{Earliest, EarliestLocal, Latest, MaxTimestamp, Tiered, Timestamp};
        assert_eq!(special, [Latest, Earliest, MaxTimestamp, EarliestLocal]);
        assert_eq!([target(-5), target(-6), target(-7)], [Some(Tiered), Some(Tiered), None]);
        assert_eq!([target(0), target(i64::MAX)], [Some(Timestamp(0)), Some(Timestamp(i64::MAX))]);
        let none = ListedOffset::NONE;
        assert_eq!((none.offset, none.timestamp_ms, none.leader_epoch), (-1, -1, -1));
    }
}
