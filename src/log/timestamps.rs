//! Looks into single batches: their records whatever the codec, and the record-exact search by time (KIP-79).
//! Must never touch: segments and time indexes, which find the batch.

use coretide_model::topic_config::TimestampType;

use crate::batch::{BatchError, BatchHeader, HEADER_BYTES, peek_header};
use crate::codec::{Codec, DECOMPRESSED_MAX_BYTES, Decompressor};
use crate::records::RecordIter;

/// A record's offset and timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp in milliseconds; the append time under LogAppendTime.
    pub timestamp_ms: i64,
}

/// The header and the records of the batch at the front of `batch`. Compressed records are decompressed into `scratch`.
/// The checksum is not looked at.
pub fn batch_records<'a>(
    batch: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<(BatchHeader, RecordIter<'a>), BatchError> {
    let header = peek_header(batch)?;
    let truncated = BatchError::Truncated { needed: header.total_bytes() as u64, available: batch.len() as u64 };
    let records = batch.get(HEADER_BYTES..header.total_bytes()).ok_or(truncated)?;
    let plain = match header.codec()? {
        Codec::None => records,
        codec => {
            Decompressor::default().decompress(codec, records, DECOMPRESSED_MAX_BYTES, scratch)?;
            scratch.as_slice()
        }
    };
    Ok((header, RecordIter::new(plain, header.record_count)))
}

/// The timestamp of a record of this batch.
pub fn record_timestamp(header: &BatchHeader, timestamp_delta: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.saturating_add(timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

/// The first record of the batch at or after `from_offset` whose timestamp is at least `target_ms`.
pub fn find_by_timestamp(
    batch: &[u8],
    target_ms: i64,
    from_offset: i64,
) -> Result<Option<TimestampOffset>, BatchError> {
    let header = peek_header(batch)?;
    if header.max_timestamp < target_ms || header.last_offset() < from_offset {
        return Ok(None);
    }
    let mut scratch = Vec::new();
    let (header, records) = batch_records(batch, &mut scratch)?;
    for record in records {
        let record = record?;
        let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
        let timestamp_ms = record_timestamp(&header, record.timestamp_delta);
        if offset >= from_offset && timestamp_ms >= target_ms {
            return Ok(Some(TimestampOffset { offset, timestamp_ms }));
        }
    }
    Ok(None)
}

/// The first record of the batch that carries the batch's largest timestamp; none in a batch without records.
pub fn max_timestamp_offset(batch: &[u8]) -> Result<Option<TimestampOffset>, BatchError> {
    let header = peek_header(batch)?;
    find_by_timestamp(batch, header.max_timestamp, header.base_offset)
}

#[cfg(test)]
mod tests;
