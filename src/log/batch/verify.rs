//! The gate of the produce path: what a batch must satisfy before it may be stored, and the rewriting that a topic's
//! config asks for. Who passes holds a [`VerifiedBatch`].
//! Must never touch: offsets and leader epochs (given at the append), sequence checks (the partition's).

use std::ops::RangeInclusive;

use bytes::Bytes;
use coretide_model::TopicConfig;
use coretide_model::topic_config::{CompressedCheck, TimestampType};

use super::error::{BatchError, RecordError, RecordReason};
use super::{
    ATTR_CODEC, ATTR_LOG_APPEND_TIME, BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, NO_TIMESTAMP, check_crc,
    crc_of, peek_header,
};
use crate::builder::BatchBuilder;
use crate::codec::{Codec, CodecError, Compression, DECOMPRESSED_MAX_BYTES, Decompressor, compress};
use crate::records::{Record, RecordIter, put_record};

/// How many rejected records of one batch are told to the producer.
const REJECTED_TOLD_MAX: usize = 100;
/// A scratch buffer larger than this is given back after the batch that needed it.
const SCRATCH_KEPT_BYTES: usize = 4 << 20;

/// What a topic demands of a produced batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceRules {
    /// `max.message.bytes`.
    pub max_message_bytes: u64,
    /// `max.decompressed.message.bytes`; [`DECOMPRESSED_MAX_BYTES`] holds besides.
    pub max_decompressed_bytes: u64,
    /// True for `cleanup.policy=compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// The broker's wall clock.
    pub now_ms: i64,
    /// The codec to store with; none keeps the producer's.
    pub target: Option<Compression>,
    /// `coretide.compressed.check`.
    pub compressed_check: CompressedCheck,
}

impl ProduceRules {
    /// The rules that follow from a topic's config at this moment of the wall clock.
    pub fn from_config(config: &TopicConfig, now_ms: i64) -> ProduceRules {
        ProduceRules {
            max_message_bytes: u64::try_from(config.max_message_bytes).unwrap_or(0),
            max_decompressed_bytes: u64::try_from(config.max_decompressed_message_bytes).unwrap_or(0),
            compacted: config.cleanup_policy.compact,
            timestamp_type: config.message_timestamp_type,
            timestamp_before_max_ms: config.message_timestamp_before_max_ms,
            timestamp_after_max_ms: config.message_timestamp_after_max_ms,
            now_ms,
            target: Compression::from_config(config),
            compressed_check: config.compressed_check,
        }
    }

    /// The timestamps that producers may send, both ends included; beside them [`NO_TIMESTAMP`].
    fn timestamps_ms(&self) -> RangeInclusive<i64> {
        match self.timestamp_type {
            TimestampType::LogAppendTime => i64::MIN..=i64::MAX,
            TimestampType::CreateTime => {
                let earliest_ms = self.now_ms.saturating_sub(self.timestamp_before_max_ms);
                earliest_ms..=self.now_ms.saturating_add(self.timestamp_after_max_ms)
            }
        }
    }
}

/// Exactly one batch that was checked, made by ourselves, or read back from our own disk with a good checksum. Base
/// offset and leader epoch are set later, by [`super::patch`], in the buffer it is written from.
#[derive(Clone, Debug)]
pub struct VerifiedBatch {
    bytes: Bytes,
    header: BatchHeader,
    max_timestamp_delta: Option<i32>,
}

impl VerifiedBatch {
    /// A batch made by this broker: coordinators, controller, markers.
    pub fn from_own_records(builder: BatchBuilder) -> VerifiedBatch {
        let max_timestamp_delta = Some(builder.max_timestamp_delta());
        let bytes = builder.build();
        let header = peek_header(&bytes).expect("the builder writes whole headers");
        VerifiedBatch { bytes, header, max_timestamp_delta }
    }

    /// A batch read from our own disk: exactly one, with a good checksum. Its records were checked when it was
    /// accepted.
    pub fn from_own_disk(bytes: Bytes) -> Result<VerifiedBatch, BatchError> {
        let header = check_crc(&bytes)?;
        if header.total_bytes() != bytes.len() {
            return Err(BatchError::NotAlone { trailing_bytes: (bytes.len() - header.total_bytes()) as u64 });
        }
        Ok(VerifiedBatch { bytes, header, max_timestamp_delta: None })
    }

    /// The header as it stands in the bytes.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The size of the whole batch in bytes.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The largest timestamp, computed from the records unless only the header was checked; the append time under
    /// LogAppendTime.
    pub fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    /// The offset delta of the first record with the largest timestamp; none when the records were not walked: the batch
    /// came from disk, or only its header was checked.
    pub fn max_timestamp_offset_delta(&self) -> Option<i32> {
        self.max_timestamp_delta
    }

    /// The Produce response's `log_append_time_ms`: the append time under LogAppendTime, else none (-1 on the wire).
    pub fn log_append_time_ms(&self) -> Option<i64> {
        match self.header.timestamp_type() {
            TimestampType::LogAppendTime => Some(self.header.max_timestamp),
            TimestampType::CreateTime => None,
        }
    }
}

/// Checks one produced batch with a scratch buffer of its own. A caller with many keeps a [`Verifier`].
pub fn verify_produced(bytes: Bytes, rules: &ProduceRules) -> Result<VerifiedBatch, BatchError> {
    Verifier::default().verify_produced(bytes, rules)
}

/// Checks produced batches, and keeps the buffers that compressed ones need.
#[derive(Debug, Default)]
pub struct Verifier {
    decompressor: Decompressor,
    scratch: Vec<u8>,
}

/// What the walk over the records found.
struct Walked {
    max_timestamp: i64,
    max_timestamp_delta: Option<i32>,
    offsets_in_order: bool,
}

impl Verifier {
    /// Checks a produced batch in Kafka's order: one batch of format 2, base offset 0, size, checksum, structure, then
    /// every record. The bytes stay as they are unless the topic's timestamp type or codec, a wrong max timestamp, or
    /// wrong offset deltas make a rewrite necessary. Wrong deltas are renumbered, compressed or not: Kafka does so for
    /// compressed batches and stores uncompressed ones as they are, which no consumer could make sense of. Of compressed
    /// ones the header may be all that is looked at ([`CompressedCheck::Header`]).
    pub fn verify_produced(&mut self, bytes: Bytes, rules: &ProduceRules) -> Result<VerifiedBatch, BatchError> {
        let verified = self.verify_within(&bytes, rules, &mut { u64::MAX })?;
        Ok(verified.expect("nothing unpacks to more than that"))
    }

    /// As [`Verifier::verify_produced`], but its records may unpack to no more than `budget_bytes`, from which what they
    /// unpack to is taken. None when that is not enough: then nothing is known of them, and the budget is used up.
    pub fn verify_within(
        &mut self,
        bytes: &Bytes,
        rules: &ProduceRules,
        budget_bytes: &mut u64,
    ) -> Result<Option<VerifiedBatch>, BatchError> {
        let header = check_envelope(bytes, rules)?;
        let codec = header.codec()?;
        check_structure(&header)?;
        if codec == Codec::None {
            let walked = walk(&bytes[HEADER_BYTES..], &header, rules)?;
            return finish(bytes, &bytes[HEADER_BYTES..], header, codec, walked, rules).map(Some);
        }
        if header_suffices(&header, bytes, codec, rules) {
            let walked =
                Walked { max_timestamp: header.max_timestamp, max_timestamp_delta: None, offsets_in_order: true };
            return finish(bytes, &[], header, codec, walked, rules).map(Some);
        }
        let result = self.unpack(&bytes[HEADER_BYTES..], codec, rules, budget_bytes).and_then(|unpacked| {
            if !unpacked {
                return Ok(None);
            }
            let walked = walk(&self.scratch, &header, rules)?;
            finish(bytes, &self.scratch, header, codec, walked, rules).map(Some)
        });
        if self.scratch.capacity() > SCRATCH_KEPT_BYTES {
            self.scratch = Vec::new();
        }
        result
    }

    /// Unpacks records into the scratch buffer; false if the budget ends before they do.
    fn unpack(
        &mut self,
        packed: &[u8],
        codec: Codec,
        rules: &ProduceRules,
        budget_bytes: &mut u64,
    ) -> Result<bool, BatchError> {
        let limit_bytes = rules.max_decompressed_bytes.min(DECOMPRESSED_MAX_BYTES);
        let allowed_bytes = limit_bytes.min(*budget_bytes);
        let unpacked = self.decompressor.decompress(codec, packed, allowed_bytes, &mut self.scratch);
        *budget_bytes = budget_bytes.saturating_sub(self.scratch.len() as u64);
        match unpacked {
            Err(CodecError::TooLarge { .. }) if allowed_bytes < limit_bytes => {
                *budget_bytes = 0;
                Ok(false)
            }
            other => Ok(other.map(|()| true)?),
        }
    }
}

/// P1 and the first half of P2: what can be said without looking at the records.
fn check_envelope(bytes: &[u8], rules: &ProduceRules) -> Result<BatchHeader, BatchError> {
    let header = peek_header(bytes)?;
    let (needed, available) = (header.total_bytes() as u64, bytes.len() as u64);
    if needed > available {
        return Err(BatchError::Truncated { needed, available });
    }
    if needed < available {
        return Err(BatchError::NotAlone { trailing_bytes: available - needed });
    }
    if header.base_offset != 0 {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset });
    }
    check_size(bytes.len(), rules)?;
    let computed = crc_of(bytes);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    Ok(header)
}

fn check_size(bytes: usize, rules: &ProduceRules) -> Result<(), BatchError> {
    if bytes as u64 > rules.max_message_bytes {
        return Err(BatchError::TooLarge { bytes: bytes as u64, max_bytes: rules.max_message_bytes });
    }
    Ok(())
}

/// The second half of P2.
fn check_structure(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { last_offset_delta, record_count, base_sequence, .. } = *header;
    if record_count <= 0 || last_offset_delta != record_count - 1 {
        return Err(BatchError::Count { last_offset_delta, record_count });
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.has_producer_id() && base_sequence < 0 {
        return Err(BatchError::Sequence { base_sequence });
    }
    Ok(())
}

/// True for a compressed batch that its topic lets in on its header, where nothing in that makes it necessary to see the
/// records: to refuse some of them by name, to find their keys, or to write them in another way.
fn header_suffices(header: &BatchHeader, bytes: &[u8], codec: Codec, rules: &ProduceRules) -> bool {
    let allowed_ms = rules.timestamps_ms();
    rules.compressed_check == CompressedCheck::Header
        && !rules.compacted
        && rules.target.is_none_or(|target| target.codec == codec)
        && header.timestamp_type() == TimestampType::CreateTime
        && header.base_timestamp <= header.max_timestamp
        && [header.base_timestamp, header.max_timestamp].iter().all(|&at_ms| is_allowed(at_ms, &allowed_ms))
        && bytes.len() > HEADER_BYTES
}

fn is_allowed(timestamp_ms: i64, allowed_ms: &RangeInclusive<i64>) -> bool {
    timestamp_ms == NO_TIMESTAMP || allowed_ms.contains(&timestamp_ms)
}

/// P3: every record.
fn walk(plain: &[u8], header: &BatchHeader, rules: &ProduceRules) -> Result<Walked, BatchError> {
    let claims_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    let allowed_ms = rules.timestamps_ms();
    let mut walked = Walked { max_timestamp: NO_TIMESTAMP, max_timestamp_delta: Some(0), offsets_in_order: true };
    let mut rejected = Vec::new();
    for (index, record) in RecordIter::new(plain, header.record_count).enumerate() {
        let record = record?;
        let index = index as i32;
        let overflow = BatchError::MalformedRecord { index, reason: "its timestamp overflows" };
        let timestamp_ms = header.base_timestamp.checked_add(record.timestamp_delta).ok_or(overflow)?;
        walked.offsets_in_order &= record.offset_delta == index;
        if timestamp_ms > walked.max_timestamp {
            walked.max_timestamp = timestamp_ms;
            walked.max_timestamp_delta = Some(index);
        }
        let reason = if rules.compacted && record.key.is_none() {
            RecordReason::NullKey
        } else if claims_append_time {
            RecordReason::ClaimsLogAppendTime
        } else if !is_allowed(timestamp_ms, &allowed_ms) {
            RecordReason::Timestamp { timestamp_ms, min_ms: *allowed_ms.start(), max_ms: *allowed_ms.end() }
        } else {
            continue;
        };
        if rejected.len() < REJECTED_TOLD_MAX {
            rejected.push(RecordError { index, reason });
        }
    }
    if rejected.is_empty() { Ok(walked) } else { Err(BatchError::Rejected { rejected }) }
}

/// P4 and P5: keeps the bytes, rewrites header fields, or builds the batch anew.
fn finish(
    bytes: &Bytes,
    plain: &[u8],
    mut header: BatchHeader,
    codec: Codec,
    walked: Walked,
    rules: &ProduceRules,
) -> Result<VerifiedBatch, BatchError> {
    let mut max_timestamp_delta = walked.max_timestamp_delta;
    let (old_attributes, old_max_timestamp) = (header.attributes, header.max_timestamp);
    header.max_timestamp = walked.max_timestamp;
    if rules.timestamp_type == TimestampType::LogAppendTime {
        header.attributes |= ATTR_LOG_APPEND_TIME;
        header.max_timestamp = rules.now_ms;
        max_timestamp_delta = Some(0);
    }
    let target = rules.target.filter(|target| target.codec != codec);
    let bytes = if target.is_some() || !walked.offsets_in_order {
        let compression = target.unwrap_or(rules.target.unwrap_or(Compression::of(codec)));
        let rebuilt = rebuild(plain, &mut header, compression, walked.offsets_in_order)?;
        check_size(rebuilt.len(), rules)?;
        rebuilt
    } else if header.attributes != old_attributes || header.max_timestamp != old_max_timestamp {
        seal(bytes.to_vec(), &mut header)
    } else {
        bytes.clone()
    };
    Ok(VerifiedBatch { bytes, header, max_timestamp_delta })
}

/// The batch with its records in another codec, renumbered if their offset deltas are wrong.
fn rebuild(
    plain: &[u8],
    header: &mut BatchHeader,
    compression: Compression,
    offsets_in_order: bool,
) -> Result<Bytes, BatchError> {
    let mut out = vec![0; HEADER_BYTES];
    if offsets_in_order {
        compress(compression, plain, &mut out);
    } else {
        let mut renumbered = Vec::with_capacity(plain.len());
        for (index, record) in RecordIter::new(plain, header.record_count).enumerate() {
            put_record(&mut renumbered, &Record { offset_delta: index as i32, ..record? });
        }
        compress(compression, &renumbered, &mut out);
    }
    header.attributes = header.attributes & !ATTR_CODEC | i16::from(compression.codec.id());
    let batch_len = i32::try_from(out.len() - LENGTH_OVERHEAD_BYTES);
    header.batch_len =
        batch_len.map_err(|_| BatchError::TooLarge { bytes: out.len() as u64, max_bytes: i32::MAX as u64 })?;
    Ok(seal(out, header))
}

/// Writes the header over the front of a whole batch, with the checksum that belongs to the result.
pub(crate) fn seal(mut batch: Vec<u8>, header: &mut BatchHeader) -> Bytes {
    header.write(&mut batch);
    header.crc = crc_of(&batch);
    header.write(&mut batch);
    Bytes::from(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::BatchBuilder;

    #[test]
    fn memory_for_what_a_batch_unpacks_to_is_kept_unless_it_was_much() {
        let mut verifier = Verifier::default();
        for (bytes, is_kept) in [(100_000, true), (6 << 20, false), (1000, true)] {
            let mut builder = BatchBuilder::new(Compression::of(Codec::Gzip));
            builder.push(1, None, Some(&vec![7; bytes]), &[]);
            let batch = builder.build();
            let rules = ProduceRules::from_config(&TopicConfig::default(), 1);
            verifier.verify_produced(batch, &rules).expect("a good batch");
            assert_eq!(verifier.scratch.capacity() > 0, is_kept, "{bytes} bytes");
        }
    }
}
