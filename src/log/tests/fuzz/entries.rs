//! What the fuzz targets and the test of mutated bytes have in common: every decoder of this room fed with anything.
//! An entry fails by panicking, by allocating without bound, or by a broken promise that it asserts.

use bytes::Bytes;
use coretide_log::batch::{
    BatchError, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, ProduceRules, VerifiedBatch, Verifier, check_crc, crc_of, patch,
    peek_header, walk_batches,
};
use coretide_log::codec::{Codec, Compression, Decompressor};
use coretide_log::records::RecordIter;
use coretide_log::timestamps::{batch_records, find_by_timestamp, max_timestamp_offset};
use coretide_model::TopicConfig;
use coretide_model::topic_config::TimestampType;

/// Decompression is held to this.
const LIMIT_BYTES: u64 = 1 << 20;
const NOW_MS: i64 = 1_700_000_000_000;

/// A produced batch. The first byte chooses the rules, and whether length and checksum are made right so that what lies
/// behind them is reached.
pub fn produced(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut batch = rest.to_vec();
    if choice & 0x80 != 0 && batch.len() >= HEADER_BYTES {
        let batch_len = (batch.len() - LENGTH_OVERHEAD_BYTES) as i32;
        batch[8..12].copy_from_slice(&batch_len.to_be_bytes());
        batch[16] = 2;
        patch(&mut batch, 0, 0);
        let crc = crc_of(&batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let config = TopicConfig { max_decompressed_message_bytes: LIMIT_BYTES as i64, ..TopicConfig::default() };
    let mut rules = ProduceRules::from_config(&config, NOW_MS);
    rules.compacted = choice & 1 != 0;
    if choice & 2 != 0 {
        rules.timestamp_type = TimestampType::LogAppendTime;
    }
    rules.target = Codec::from_id(choice >> 2 & 7).map(Compression::of);
    let mut verifier = Verifier::default();
    match verifier.verify_produced(Bytes::from(batch), &rules) {
        Ok(verified) => promises(&verified, &rules, &mut verifier),
        Err(error) => {
            let _ = (error.fault(), error.to_string());
            assert!(matches!(error, BatchError::Rejected { .. }) != error.record_errors().is_empty());
        }
    }
}

/// What holds for every batch that passed.
fn promises(verified: &VerifiedBatch, rules: &ProduceRules, verifier: &mut Verifier) {
    let header = check_crc(verified.bytes()).expect("a verified batch has a good checksum");
    assert_eq!(header, *verified.header());
    assert_eq!(header.total_bytes(), verified.len_bytes());
    let mut scratch = Vec::new();
    let (_, records) = batch_records(verified.bytes(), &mut scratch).expect("a verified batch is readable");
    for (index, record) in records.enumerate() {
        let record = record.expect("verified records are readable");
        assert_eq!(record.offset_delta, index as i32);
        assert_eq!(record.headers.count(), record.headers.len());
        assert!(!rules.compacted || record.key.is_some());
    }
    VerifiedBatch::from_own_disk(verified.bytes().clone()).expect("what was accepted can be read back");
    let latest = max_timestamp_offset(verified.bytes()).expect("readable");
    if header.max_timestamp >= 0 {
        assert!(latest.is_some(), "the largest timestamp belongs to a record");
    }
    if rules.timestamp_type == TimestampType::CreateTime {
        let again = verifier.verify_produced(verified.bytes().clone(), rules).expect("what passed passes again");
        assert_eq!(again.bytes(), verified.bytes());
    }
}

/// Bytes from a disk: several batches in a row, or anything.
pub fn stored(input: &[u8]) {
    let mut walk = walk_batches(input);
    let mut next = 0;
    for (position, header) in walk.by_ref() {
        assert_eq!(position, next);
        next = position + header.total_bytes();
        assert!(next <= input.len());
        let batch = &input[position..next];
        let _ = find_by_timestamp(batch, NOW_MS, i64::MIN);
        let _ = (header.next_offset(), header.last_sequence(), header.codec(), header.delete_horizon_ms());
    }
    assert_eq!(walk.position(), next);
    let _ = peek_header(input);
    let _ = VerifiedBatch::from_own_disk(Bytes::copy_from_slice(input));
}

/// Compressed data. The first byte is the codec.
pub fn codec(input: &[u8]) {
    let Some((&id, rest)) = input.split_first() else { return };
    let Some(codec) = Codec::from_id(id % 5) else { return };
    let mut out = Vec::new();
    let mut decompressor = Decompressor::default();
    for _ in 0..2 {
        if decompressor.decompress(codec, rest, LIMIT_BYTES, &mut out).is_ok() {
            assert!(out.len() as u64 <= LIMIT_BYTES);
        }
        assert!(out.capacity() as u64 <= 4 * LIMIT_BYTES, "{codec} made room for {} bytes", out.capacity());
    }
}

/// Uncompressed records. The first byte is their announced number.
pub fn records(input: &[u8]) {
    let Some((&count, rest)) = input.split_first() else { return };
    let mut good = 0;
    for record in RecordIter::new(rest, i32::from(count as i8)) {
        let Ok(record) = record else { return };
        good += 1;
        assert_eq!(record.headers.count(), record.headers.len());
    }
    assert_eq!(good, i32::from(count as i8).max(0));
}
