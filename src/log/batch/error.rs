//! Why a batch was refused, with enough detail for the answer to the producer.
//! Must never touch: Kafka's error codes; the edge maps [`BatchFault`] to them.

use crate::codec::{Codec, CodecError};

/// A batch that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There are no bytes at all.
    #[error("the record set is empty")]
    Empty,
    /// The bytes end before the batch does.
    #[error("the batch is cut off: {needed} bytes were announced, {available} are there")]
    Truncated { needed: u64, available: u64 },
    /// More bytes follow the batch (a second one, or garbage).
    #[error("exactly one record batch was expected, {trailing_bytes} bytes follow it")]
    NotAlone { trailing_bytes: u64 },
    /// A format other than 2.
    #[error("record format (magic) {magic} is not supported, only 2 is")]
    Magic { magic: i8 },
    /// A length field that cannot be true.
    #[error("the batch length {batch_len} is too small for a batch header")]
    BadLength { batch_len: i32 },
    /// The producer's base offset is not 0.
    #[error("the base offset of a produced batch must be 0, not {base_offset}")]
    BaseOffset { base_offset: i64 },
    /// Larger than `max.message.bytes`, as sent or after recompression.
    #[error("the batch has {bytes} bytes, the topic takes at most {max_bytes} (max.message.bytes)")]
    TooLarge { bytes: u64, max_bytes: u64 },
    /// The checksum is wrong.
    #[error("the batch's checksum is {stored:#010x}, its bytes have {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    /// Count and last offset delta do not fit each other, or there is no record.
    #[error("{record_count} records and a last offset delta of {last_offset_delta} do not fit each other")]
    Count { last_offset_delta: i32, record_count: i32 },
    /// A producer may not write control batches.
    #[error("clients may not write control batches")]
    Control,
    /// A producer id without a sequence number.
    #[error("sequence number {base_sequence} in a batch with a producer id")]
    Sequence { base_sequence: i32 },
    /// The codec bits 5 to 7.
    #[error("unknown compression codec {id}")]
    UnknownCodec { id: u8 },
    /// The compressed records cannot be decompressed.
    #[error("the records do not decompress as {codec}: {reason}")]
    Decompress { codec: Codec, reason: &'static str },
    /// The records decompress to more than is allowed.
    #[error("the records decompress to more than {max_bytes} bytes")]
    DecompressedTooLarge { max_bytes: u64 },
    /// A record whose bytes do not make sense.
    #[error("record {index} is malformed: {reason}")]
    MalformedRecord { index: i32, reason: &'static str },
    /// Bytes after the last record.
    #[error("{bytes} bytes follow the last record")]
    TrailingBytes { bytes: u64 },
    /// Well-formed records that this topic does not take.
    #[error("records rejected: {}; the first is {}", .rejected.len(), first_reason(.rejected))]
    Rejected { rejected: Vec<RecordError> },
}

fn first_reason(rejected: &[RecordError]) -> String {
    rejected.first().map(|first| first.to_string()).unwrap_or_default()
}

/// One rejected record (`record_errors` of the Produce response, KIP-467).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {reason}")]
pub struct RecordError {
    /// The record's place in the batch, from 0.
    pub index: i32,
    /// What is wrong with it.
    pub reason: RecordReason,
}

/// Why one record was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordReason {
    /// A compacted topic needs a key in every record.
    #[error("a compacted topic takes no record without a key")]
    NullKey,
    /// The timestamp lies too far from the broker's clock.
    #[error("timestamp {timestamp_ms} lies outside [{min_ms}, {max_ms}]")]
    Timestamp { timestamp_ms: i64, min_ms: i64, max_ms: i64 },
    /// Only the broker may set the timestamp type to LogAppendTime.
    #[error("a producer may not set the timestamp type to LogAppendTime")]
    ClaimsLogAppendTime,
}

/// The kinds of refusal that producers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFault {
    /// Damaged on the way: sending it again may help (`CORRUPT_MESSAGE`).
    Corrupt,
    /// Wrong in itself (`INVALID_RECORD`).
    Invalid,
    /// Too large (`MESSAGE_TOO_LARGE`).
    TooLarge,
    /// A timestamp out of bounds (`INVALID_TIMESTAMP`).
    Timestamp,
    /// A codec nobody knows (`UNSUPPORTED_COMPRESSION_TYPE`).
    Codec,
}

impl BatchError {
    /// The kind of refusal. Rejected records: the first one decides, as in Kafka.
    pub fn fault(&self) -> BatchFault {
        match self {
            BatchError::BadLength { .. } | BatchError::Crc { .. } => BatchFault::Corrupt,
            BatchError::TooLarge { .. } | BatchError::DecompressedTooLarge { .. } => BatchFault::TooLarge,
            BatchError::UnknownCodec { .. } => BatchFault::Codec,
            BatchError::Rejected { rejected } => match rejected.first().map(|first| &first.reason) {
                Some(RecordReason::Timestamp { .. } | RecordReason::ClaimsLogAppendTime) => BatchFault::Timestamp,
                Some(RecordReason::NullKey) | None => BatchFault::Invalid,
            },
            _ => BatchFault::Invalid,
        }
    }

    /// The records that were rejected one by one; empty when the batch was refused as a whole.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            BatchError::Rejected { rejected } => rejected,
            _ => &[],
        }
    }
}

impl From<CodecError> for BatchError {
    fn from(error: CodecError) -> BatchError {
        match error {
            CodecError::TooLarge { max_bytes } => BatchError::DecompressedTooLarge { max_bytes },
            CodecError::Malformed { codec, reason } => BatchError::Decompress { codec, reason },
        }
    }
}
