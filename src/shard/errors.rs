//! The one table from typed errors to Kafka's codes.
//! Must never touch: decisions; by the time an error is here, it is settled.

use coretide_log::batch::{BatchError, BatchFault};
use coretide_model::ErrorCode;

use crate::mail::{AppendFailure, PartitionFailure};

/// A batch that was refused before it reached its partition (P1 to P5).
pub(crate) fn batch(error: &BatchError) -> ErrorCode {
    match error.fault() {
        BatchFault::Corrupt => ErrorCode::CorruptMessage,
        BatchFault::Invalid => ErrorCode::InvalidRecord,
        BatchFault::TooLarge => ErrorCode::MessageTooLarge,
        BatchFault::Timestamp => ErrorCode::InvalidTimestamp,
        BatchFault::Codec => ErrorCode::UnsupportedCompressionType,
    }
}

/// A batch that its partition refused or lost.
pub(crate) fn append(failure: &AppendFailure) -> ErrorCode {
    match failure {
        AppendFailure::NotHere => ErrorCode::NotLeaderOrFollower,
        AppendFailure::Refused(error) => error.code(),
        AppendFailure::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

/// A question that a partition did not answer.
pub(crate) fn partition(failure: &PartitionFailure) -> ErrorCode {
    match failure {
        PartitionFailure::NotHere => ErrorCode::NotLeaderOrFollower,
        PartitionFailure::Epoch(error) => error.code(),
        PartitionFailure::DeleteRecords(error) => error.code(),
        PartitionFailure::Storage(_) => ErrorCode::KafkaStorageError,
    }
}
