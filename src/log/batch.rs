//! Kafka's record batch, format 2 (KIP-98): the 61 bytes of its header, what may be patched in place, and the walk over
//! several batches in a row. The proof that a batch is good is `verify::VerifiedBatch`.
//! Must never touch: offsets' assignment, sequence checks, files.

mod error;
mod verify;

pub use error::{BatchError, BatchFault, RecordError, RecordReason};
pub(crate) use verify::seal;
pub use verify::{ProduceRules, VerifiedBatch, Verifier, verify_produced};

use coretide_model::topic_config::TimestampType;

use crate::codec::Codec;

/// The size of a batch header in bytes.
pub const HEADER_BYTES: usize = 61;
/// The bytes of a batch that its own length field does not count: base offset and length.
pub const LENGTH_OVERHEAD_BYTES: usize = 12;
/// The least `batch_len` of a whole header.
pub const MIN_BATCH_LEN: i32 = (HEADER_BYTES - LENGTH_OVERHEAD_BYTES) as i32;
/// The only format spoken here.
pub const MAGIC: i8 = 2;
/// "No producer id".
pub const NO_PRODUCER_ID: i64 = -1;
/// "No producer epoch".
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// "No sequence".
pub const NO_SEQUENCE: i32 = -1;
/// "No timestamp".
pub const NO_TIMESTAMP: i64 = -1;

/// Where the checksummed part begins: at the attributes.
pub(crate) const CRC_FROM: usize = 21;
pub(crate) const AT_LENGTH: usize = 8;
pub(crate) const AT_LEADER_EPOCH: usize = 12;
pub(crate) const AT_MAGIC: usize = 16;
pub(crate) const AT_CRC: usize = 17;
pub(crate) const AT_MAX_TIMESTAMP: usize = 35;

pub(crate) const ATTR_CODEC: i16 = 0x07;
pub(crate) const ATTR_LOG_APPEND_TIME: i16 = 0x08;
pub(crate) const ATTR_TRANSACTIONAL: i16 = 0x10;
pub(crate) const ATTR_CONTROL: i16 = 0x20;
pub(crate) const ATTR_DELETE_HORIZON: i16 = 0x40;

/// The header of a batch, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The field `batchLength`: the bytes after it.
    pub batch_len: i32,
    /// The leader epoch under which the batch was appended.
    pub leader_epoch: i32,
    /// The format, 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec (bits 0-2), timestamp type (3), transactional (4), control (5), delete horizon (6).
    pub attributes: i16,
    /// The last record's offset, relative to the base offset. Compaction may leave it larger than the count says.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to, in milliseconds.
    pub base_timestamp: i64,
    /// The largest timestamp of the records, or the append time, in milliseconds.
    pub max_timestamp: i64,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// The idempotent producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// The number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// The size of the whole batch in bytes. Checked by [`peek_header`] to be at least the header's.
    pub const fn total_bytes(&self) -> usize {
        LENGTH_OVERHEAD_BYTES + self.batch_len as usize
    }

    /// The last record's offset.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// The offset after the last record's.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The sequence number of the last record, wrapping from 2147483647 to 0; -1 without a sequence.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        let last = self.base_sequence as i64 + self.last_offset_delta as i64;
        if last > i32::MAX as i64 { (last - i32::MAX as i64 - 1) as i32 } else { last as i32 }
    }

    /// True when an idempotent producer made it.
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// True when it belongs to a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes & ATTR_TRANSACTIONAL != 0
    }

    /// True when it holds a marker and no data.
    pub const fn is_control(&self) -> bool {
        self.attributes & ATTR_CONTROL != 0
    }

    /// The compaction's delete horizon in milliseconds, when there is one (it stands in the base timestamp).
    pub const fn delete_horizon_ms(&self) -> Option<i64> {
        if self.attributes & ATTR_DELETE_HORIZON != 0 { Some(self.base_timestamp) } else { None }
    }

    /// How the records are compressed; an error for the unknown ids 5 to 7.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let id = (self.attributes & ATTR_CODEC) as u8;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec { id })
    }

    /// Whose timestamps the records carry.
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & ATTR_LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Writes the header over the first [`HEADER_BYTES`] of `dst`.
    pub(crate) fn write(&self, dst: &mut [u8]) {
        dst[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        dst[8..12].copy_from_slice(&self.batch_len.to_be_bytes());
        dst[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        dst[16] = self.magic as u8;
        dst[17..21].copy_from_slice(&self.crc.to_be_bytes());
        dst[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        dst[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        dst[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        dst[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        dst[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        dst[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        dst[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        dst[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }
}

fn at<const N: usize>(bytes: &[u8; HEADER_BYTES], from: usize) -> [u8; N] {
    bytes[from..from + N].try_into().expect("a constant range of a header")
}

/// Reads the header at the front of `bytes`: the magic and the length field are checked against their bounds, the
/// checksum and the rest of the batch are not, and the batch may reach beyond `bytes`.
pub fn peek_header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Empty);
    }
    if bytes.len() > AT_MAGIC && bytes[AT_MAGIC] as i8 != MAGIC {
        return Err(BatchError::Magic { magic: bytes[AT_MAGIC] as i8 });
    }
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(BatchError::Truncated { needed: HEADER_BYTES as u64, available: bytes.len() as u64 });
    };
    let header = BatchHeader {
        base_offset: i64::from_be_bytes(at(head, 0)),
        batch_len: i32::from_be_bytes(at(head, AT_LENGTH)),
        leader_epoch: i32::from_be_bytes(at(head, AT_LEADER_EPOCH)),
        magic: head[AT_MAGIC] as i8,
        crc: u32::from_be_bytes(at(head, AT_CRC)),
        attributes: i16::from_be_bytes(at(head, CRC_FROM)),
        last_offset_delta: i32::from_be_bytes(at(head, 23)),
        base_timestamp: i64::from_be_bytes(at(head, 27)),
        max_timestamp: i64::from_be_bytes(at(head, AT_MAX_TIMESTAMP)),
        producer_id: i64::from_be_bytes(at(head, 43)),
        producer_epoch: i16::from_be_bytes(at(head, 51)),
        base_sequence: i32::from_be_bytes(at(head, 53)),
        record_count: i32::from_be_bytes(at(head, 57)),
    };
    if header.batch_len < MIN_BATCH_LEN {
        return Err(BatchError::BadLength { batch_len: header.batch_len });
    }
    Ok(header)
}

/// The checksum that belongs to a whole batch.
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[CRC_FROM..])
}

/// Reads the header of the batch at the front of `bytes`, demands that all of it is there, and checks its checksum.
pub fn check_crc(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = peek_header(bytes)?;
    let Some(batch) = bytes.get(..header.total_bytes()) else {
        return Err(BatchError::Truncated { needed: header.total_bytes() as u64, available: bytes.len() as u64 });
    };
    let computed = crc_of(batch);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    Ok(header)
}

/// Sets base offset and leader epoch in a batch's own bytes. Both lie outside the checksum.
pub fn patch(dst: &mut [u8], base_offset: i64, leader_epoch: i32) {
    dst[..AT_LENGTH].copy_from_slice(&base_offset.to_be_bytes());
    dst[AT_LEADER_EPOCH..AT_MAGIC].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// The whole batches at the front of `bytes`, with their positions. Ends at zeros, at a batch that is cut off and at
/// anything that is no batch header; [`BatchWalk::position`] then says where. Checksums are not looked at.
pub fn walk_batches(bytes: &[u8]) -> BatchWalk<'_> {
    BatchWalk { bytes, position: 0 }
}

/// See [`walk_batches`].
#[derive(Clone, Debug)]
pub struct BatchWalk<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BatchWalk<'a> {
    /// Where the next batch would begin.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What has not been walked yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }
}

impl Iterator for BatchWalk<'_> {
    type Item = (usize, BatchHeader);

    fn next(&mut self) -> Option<(usize, BatchHeader)> {
        let rest = self.rest();
        let header = peek_header(rest).ok()?;
        if header.total_bytes() > rest.len() {
            return None;
        }
        let position = self.position;
        self.position += header.total_bytes();
        Some((position, header))
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
