//! The header, the walk over batches, and the gate of the produce path.

use bytes::Bytes;
use coretide_model::TopicConfig;
use coretide_model::topic_config::{CompressedCheck, TimestampType};
use proptest::prelude::*;

use super::*;
use crate::builder::BatchBuilder;
use crate::codec::{Codec, Compression};
use crate::records::{Header, Headers, Record, put_record};
use crate::samples::{Owned, build, codecs, read_back, records};

const NOW_MS: i64 = 1_700_000_050_000;

fn rules() -> ProduceRules {
    ProduceRules::from_config(&TopicConfig { max_message_bytes: i32::MAX, ..TopicConfig::default() }, NOW_MS)
}

fn verify(batch: &[u8], rules: &ProduceRules) -> Result<VerifiedBatch, BatchError> {
    verify_produced(Bytes::copy_from_slice(batch), rules)
}

/// One record at `NOW_MS`.
fn one(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    builder.push(NOW_MS, Some(b"key"), Some(b"value"), &[Header { key: b"h", value: None }]);
    builder.build().to_vec()
}

/// Changes header fields and makes the checksum right again.
fn altered(mut batch: Vec<u8>, change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = peek_header(&batch).unwrap();
    change(&mut header);
    header.write(&mut batch);
    header.crc = crc_of(&batch);
    header.write(&mut batch);
    batch
}

/// A batch of raw, perhaps wrong records.
fn of_raw(records: &[u8], count: i32) -> Vec<u8> {
    let mut batch = one(Compression::default())[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(records);
    let batch_len = (batch.len() - LENGTH_OVERHEAD_BYTES) as i32;
    altered(batch, |header| {
        header.batch_len = batch_len;
        header.record_count = count;
        header.last_offset_delta = count - 1;
    })
}

proptest! {
    #[test]
    fn a_good_batch_passes_with_its_very_bytes(codec in codecs(), records in records()) {
        let batch = Bytes::from(build(Compression::of(codec), &records));
        let verified = verify_produced(batch.clone(), &rules()).unwrap();
        prop_assert_eq!(verified.bytes().as_ptr(), batch.as_ptr());
        prop_assert_eq!(verified.len_bytes(), batch.len());
        let max = records.iter().map(|record| record.timestamp_ms).max().unwrap();
        prop_assert_eq!(verified.max_timestamp(), max);
        let delta = records.iter().position(|record| record.timestamp_ms == max).unwrap();
        prop_assert_eq!(verified.max_timestamp_offset_delta(), Some(delta as i32));
        prop_assert_eq!(verified.log_append_time_ms(), None);
    }

    #[test]
    fn any_flipped_bit_is_noticed(codec in codecs(), records in records(), place in 0.0..1.0, bit in 0u8..8) {
        let mut batch = build(Compression::of(codec), &records);
        let place = (batch.len() as f64 * place) as usize;
        batch[place] ^= 1 << bit;
        let leader_epoch = (AT_LEADER_EPOCH..AT_MAGIC).contains(&place);
        prop_assert_eq!(verify(&batch, &rules()).is_err(), !leader_epoch);
    }

    #[test]
    fn a_wrong_body_under_a_right_checksum_never_panics(
        codec in codecs(), records in records(), place in 0.0..1.0, byte: u8, header_too: bool,
    ) {
        let mut batch = build(Compression::of(codec), &records);
        let from = if header_too { CRC_FROM } else { HEADER_BYTES };
        let place = from + ((batch.len() - from) as f64 * place) as usize;
        batch[place] = byte;
        let batch = altered(batch, |_| {});
        if let Ok(verified) = verify(&batch, &rules()) {
            prop_assert_eq!(read_back(verified.bytes()).len() as i32, verified.header().record_count);
        }
    }

    #[test]
    fn a_cut_off_batch_is_an_error(codec in codecs(), records in records(), cut in 0.0..1.0) {
        let batch = build(Compression::of(codec), &records);
        let cut = (batch.len() as f64 * cut) as usize;
        prop_assert!(verify(&batch[..cut], &rules()).is_err());
        prop_assert!(VerifiedBatch::from_own_disk(Bytes::copy_from_slice(&batch[..cut])).is_err());
    }

    #[test]
    fn recompression_keeps_the_records(from in codecs(), to in codecs(), records in records()) {
        let batch = build(Compression::of(from), &records);
        let target = Some(Compression::of(to));
        let verified = verify(&batch, &ProduceRules { target, ..rules() }).unwrap();
        prop_assert_eq!(verified.header().codec().unwrap(), to);
        prop_assert_eq!(check_crc(verified.bytes()).unwrap(), *verified.header());
        prop_assert_eq!(read_back(verified.bytes()), records);
        prop_assert_eq!(from == to, verified.bytes() == &batch);
    }

    #[test]
    fn append_time_replaces_the_timestamps(codec in codecs(), records in records()) {
        let batch = build(Compression::of(codec), &records);
        let verified = verify(&batch, &ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..rules() }).unwrap();
        prop_assert_eq!(check_crc(verified.bytes()).unwrap(), *verified.header());
        prop_assert_eq!(verified.log_append_time_ms(), Some(NOW_MS));
        prop_assert_eq!((verified.max_timestamp(), verified.max_timestamp_offset_delta()), (NOW_MS, Some(0)));
        prop_assert_eq!(&verified.bytes()[HEADER_BYTES..], &batch[HEADER_BYTES..]);
    }

    #[test]
    fn walking_stops_at_zeros_and_at_a_cut(all in prop::collection::vec(records(), 1..5), zeros in 0usize..200, cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for records in &all {
            starts.push(bytes.len());
            bytes.extend(build(Compression::default(), records));
        }
        let end = bytes.len();
        bytes.resize(end + zeros, 0);
        let mut walk = walk_batches(&bytes);
        prop_assert_eq!(walk.by_ref().map(|(position, _)| position).collect::<Vec<_>>(), starts.clone());
        prop_assert_eq!((walk.position(), walk.rest().len()), (end, zeros));
        let cut = cut.index(end);
        let whole = starts.iter().skip(1).chain(&[end]).filter(|&&next| next <= cut).count();
        prop_assert_eq!(walk_batches(&bytes[..cut]).count(), whole);
    }
}

#[test]
fn the_header_survives_writing_and_reading() {
    let header = BatchHeader {
        base_offset: 0x0102_0304_0506_0708,
        batch_len: 49,
        leader_epoch: 0x1112_1314,
        magic: MAGIC,
        crc: 0xf1f2_f3f4,
        attributes: 0x2122,
        last_offset_delta: 0x3132_3334,
        base_timestamp: 0x4142_4344_4546_4748,
        max_timestamp: 0x5152_5354_5556_5758,
        producer_id: 0x6162_6364_6566_6768,
        producer_epoch: 0x7172,
        base_sequence: 0x0182_0384,
        record_count: 0x0192_0394,
    };
    let mut bytes = [0; HEADER_BYTES];
    header.write(&mut bytes);
    assert_eq!(peek_header(&bytes), Ok(header));
    assert_eq!((header.total_bytes(), header.next_offset()), (61, header.base_offset + 0x3132_3334 + 1));
    patch(&mut bytes, 77, 5);
    let patched = peek_header(&bytes).unwrap();
    assert_eq!(patched, BatchHeader { base_offset: 77, leader_epoch: 5, ..header });
}

#[test]
fn sequences_wrap() {
    let mut header = peek_header(&one(Compression::default())).unwrap();
    assert_eq!(header.last_sequence(), -1);
    (header.base_sequence, header.last_offset_delta) = (i32::MAX - 1, 3);
    assert_eq!(header.last_sequence(), 1);
    header.last_offset_delta = 1;
    assert_eq!(header.last_sequence(), i32::MAX);
}

#[test]
fn each_rule_has_its_own_error() {
    let good = || one(Compression::default());
    let refused = |batch: Vec<u8>| verify(&batch, &rules()).unwrap_err();
    assert_eq!(refused(Vec::new()), BatchError::Empty);
    assert_eq!(refused([good(), good()].concat()), BatchError::NotAlone { trailing_bytes: good().len() as u64 });
    assert_eq!(refused(altered(good(), |h| h.base_offset = 4)), BatchError::BaseOffset { base_offset: 4 });
    assert_eq!(refused(altered(good(), |h| h.batch_len = 48)), BatchError::BadLength { batch_len: 48 });
    assert_eq!(refused(altered(good(), |h| h.batch_len = -1)), BatchError::BadLength { batch_len: -1 });
    for magic in [0, 1, 3, -1] {
        assert_eq!(refused(altered(good(), |h| h.magic = magic)), BatchError::Magic { magic });
    }
    assert_eq!(refused(altered(good(), |h| h.attributes |= ATTR_CONTROL)), BatchError::Control);
    assert_eq!(refused(altered(good(), |h| h.attributes |= 5)), BatchError::UnknownCodec { id: 5 });
    let sequence = refused(altered(good(), |h| (h.producer_id, h.producer_epoch) = (9, 0)));
    assert_eq!(sequence, BatchError::Sequence { base_sequence: -1 });
    for (last_offset_delta, record_count) in [(0, 0), (-1, 0), (0, 2), (1, 1), (-2, -1), (i32::MAX, i32::MIN)] {
        let batch = altered(good(), |h| (h.last_offset_delta, h.record_count) = (last_offset_delta, record_count));
        assert_eq!(refused(batch), BatchError::Count { last_offset_delta, record_count });
    }
    let lie = altered(good(), |h| (h.last_offset_delta, h.record_count) = (i32::MAX - 1, i32::MAX));
    assert!(matches!(refused(lie), BatchError::MalformedRecord { index: 1, .. }));
    let mut crc = good();
    crc[HEADER_BYTES] ^= 1;
    assert_eq!(refused(crc).fault(), BatchFault::Corrupt);
}

#[test]
fn checks_come_in_kafkas_order() {
    let small = ProduceRules { max_message_bytes: 10, ..rules() };
    let mut bad = altered(one(Compression::default()), |h| {
        (h.base_offset, h.attributes, h.record_count) = (1, ATTR_CONTROL, 0);
    });
    bad[AT_CRC] ^= 1;
    assert!(matches!(verify(&bad, &small), Err(BatchError::BaseOffset { .. })));
    patch(&mut bad, 0, 0);
    assert_eq!(verify(&bad, &small).unwrap_err().fault(), BatchFault::TooLarge);
    assert_eq!(verify(&bad, &rules()).unwrap_err().fault(), BatchFault::Corrupt);
    bad[AT_CRC] ^= 1;
    assert!(matches!(verify(&bad, &rules()), Err(BatchError::Count { .. })));
}

#[test]
fn records_are_told_apart_when_some_are_rejected() {
    let mut builder = BatchBuilder::new(Compression::of(Codec::Lz4));
    builder.push(NOW_MS, Some(b"k"), None, &[]);
    builder.push(NOW_MS, None, Some(b"v"), &[]);
    builder.push(NOW_MS + 3_600_001, Some(b"k"), Some(b"v"), &[]);
    let batch = builder.build();
    let error = verify_produced(batch.clone(), &ProduceRules { compacted: true, ..rules() }).unwrap_err();
    let indexes: Vec<i32> = error.record_errors().iter().map(|record| record.index).collect();
    assert_eq!((indexes, error.fault()), (vec![1, 2], BatchFault::Invalid));
    let error = verify_produced(batch, &rules()).unwrap_err();
    let max_ms = NOW_MS + 3_600_000;
    let reason = RecordReason::Timestamp { timestamp_ms: max_ms + 1, min_ms: NOW_MS - i64::MAX, max_ms };
    assert_eq!(error.record_errors(), [RecordError { index: 2, reason }]);
    assert_eq!(error.fault(), BatchFault::Timestamp);
}

#[test]
fn timestamps_are_bounded_on_both_sides_but_absent_ones_pass() {
    let bounded = ProduceRules { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 2000, ..rules() };
    for (timestamp_ms, good) in [
        (NOW_MS - 1000, true),
        (NOW_MS - 1001, false),
        (NOW_MS + 2000, true),
        (NOW_MS + 2001, false),
        (-1, true),
        (i64::MIN, false),
        (i64::MAX, false),
    ] {
        let mut builder = BatchBuilder::new(Compression::default());
        builder.push(timestamp_ms, None, None, &[]);
        let batch = builder.build();
        assert_eq!(verify_produced(batch.clone(), &bounded).is_ok(), good, "{timestamp_ms}");
        let append_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..bounded };
        assert!(verify_produced(batch, &append_time).is_ok());
    }
}

#[test]
fn a_producer_may_not_claim_append_time() {
    let batch = altered(one(Compression::default()), |h| h.attributes |= ATTR_LOG_APPEND_TIME);
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let error = verify(&batch, &ProduceRules { timestamp_type, ..rules() }).unwrap_err();
        assert_eq!(error.record_errors(), [RecordError { index: 0, reason: RecordReason::ClaimsLogAppendTime }]);
        assert_eq!(error.fault(), BatchFault::Timestamp);
    }
}

#[test]
fn the_max_timestamp_is_not_trusted() {
    let batch = altered(one(Compression::of(Codec::Zstd)), |h| h.max_timestamp = i64::MAX);
    let verified = verify(&batch, &rules()).unwrap();
    assert_eq!(verified.max_timestamp(), NOW_MS);
    assert_eq!(check_crc(verified.bytes()).unwrap().max_timestamp, NOW_MS);
}

#[test]
fn wrong_offset_deltas_are_renumbered_under_every_codec() {
    for codec in Codec::ALL {
        let mut plain = Vec::new();
        for (offset_delta, value) in [(5, b"a"), (5, b"b"), (-1, b"c")] {
            let headers = Headers::default();
            let record =
                Record { attributes: 0, timestamp_delta: 1, offset_delta, key: None, value: Some(value), headers };
            put_record(&mut plain, &record);
        }
        let uncompressed = of_raw(&plain, 3);
        let mut packed = uncompressed[..HEADER_BYTES].to_vec();
        crate::codec::compress(Compression::of(codec), &plain, &mut packed);
        let batch_len = (packed.len() - LENGTH_OVERHEAD_BYTES) as i32;
        let batch = altered(packed, |h| (h.batch_len, h.attributes) = (batch_len, i16::from(codec.id())));
        let verified = verify(&batch, &rules()).unwrap();
        let values: Vec<Owned> = read_back(verified.bytes());
        assert_eq!(values.iter().map(|record| record.value.clone().unwrap()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(verify(verified.bytes(), &rules()).unwrap().bytes(), verified.bytes(), "{codec}: a fixed point");
        assert_eq!(verified.header().codec(), Ok(codec));
    }
}

#[test]
fn malformed_records_are_refused() {
    let cases: [(&str, &[u8]); 9] = [
        ("length beyond the batch", &[40, 0, 0, 0, 1, 1, 0]),
        ("negative length", &[1, 0, 0, 0, 1, 1, 0]),
        ("longer than its fields", &[14, 0, 0, 0, 1, 1, 0, 0]),
        ("key length -2", &[12, 0, 0, 0, 3, 1, 0]),
        ("value beyond the record", &[12, 0, 0, 0, 1, 20, 0]),
        ("negative header count", &[12, 0, 0, 0, 1, 1, 1]),
        ("more headers than bytes", &[12, 0, 0, 0, 1, 1, 126]),
        ("null header key", &[16, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("empty", &[0]),
    ];
    for (what, record) in cases {
        let refused = verify(&of_raw(record, 1), &rules()).unwrap_err();
        assert!(matches!(refused, BatchError::MalformedRecord { index: 0, .. }), "{what}: {refused}");
        assert_eq!(refused.fault(), BatchFault::Invalid);
    }
    let good: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    assert!(verify(&of_raw(good, 1), &rules()).is_ok());
    let trailing = verify(&of_raw(&[good, good].concat(), 1), &rules()).unwrap_err();
    assert_eq!(trailing, BatchError::TrailingBytes { bytes: 7 });
    let mut overflow = Vec::new();
    let (key, value, headers) = (None, None, Headers::default());
    put_record(
        &mut overflow,
        &Record { attributes: 0, timestamp_delta: i64::MAX, offset_delta: 0, key, value, headers },
    );
    assert!(matches!(verify(&of_raw(&overflow, 1), &rules()), Err(BatchError::MalformedRecord { .. })));
}

#[test]
fn a_recompressed_batch_is_measured_again() {
    let mut builder = BatchBuilder::new(Compression::of(Codec::Zstd));
    builder.push(NOW_MS, None, Some(&[7; 5000]), &[]);
    let batch = builder.build();
    let rules = ProduceRules { max_message_bytes: 1000, target: Some(Compression::default()), ..rules() };
    assert_eq!(verify_produced(batch, &rules).unwrap_err().fault(), BatchFault::TooLarge);
}

#[test]
fn records_that_decompress_without_end_are_refused() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(Compression::of(codec));
        builder.push(NOW_MS, None, Some(&vec![0; 8 << 20]), &[]);
        let rules = ProduceRules { max_decompressed_bytes: 1 << 20, ..rules() };
        let error = verify_produced(builder.build(), &rules).unwrap_err();
        assert_eq!(
            (error.fault(), error),
            (BatchFault::TooLarge, BatchError::DecompressedTooLarge { max_bytes: 1 << 20 })
        );
    }
}

#[test]
fn our_own_batches_carry_the_token() {
    let mut builder = BatchBuilder::new(Compression::default()).producer(1, 0, -1).transactional().control();
    builder.push(5, Some(b"marker"), None, &[]);
    let own = VerifiedBatch::from_own_records(builder);
    assert!(own.header().is_control());
    assert_eq!((own.max_timestamp(), own.max_timestamp_offset_delta()), (5, Some(0)));
    let read = VerifiedBatch::from_own_disk(own.bytes().clone()).unwrap();
    assert_eq!(read.header(), own.header());
    let two = Bytes::from([&own.bytes()[..], &own.bytes()[..]].concat());
    assert!(matches!(VerifiedBatch::from_own_disk(two), Err(BatchError::NotAlone { .. })));
}

#[test]
fn a_batch_as_large_as_is_allowed_passes_and_one_byte_more_does_not() {
    let batch = one(Compression::default());
    let most = |max_message_bytes| ProduceRules { max_message_bytes, ..rules() };
    assert!(verify(&batch, &most(batch.len() as u64)).is_ok());
    let refused = verify(&batch, &most(batch.len() as u64 - 1)).unwrap_err();
    assert_eq!(refused.fault(), BatchFault::TooLarge);
}

#[test]
fn the_first_of_the_largest_timestamps_is_the_one_that_counts() {
    let mut builder = BatchBuilder::new(Compression::default());
    for timestamp_ms in [NOW_MS - 1, NOW_MS, NOW_MS] {
        builder.push(timestamp_ms, None, Some(b"value"), &[]);
    }
    let verified = verify(&builder.build(), &rules()).unwrap();
    assert_eq!((verified.max_timestamp(), verified.max_timestamp_offset_delta()), (NOW_MS, Some(1)));
}

#[test]
fn timestamps_may_lie_as_far_from_the_clock_as_the_topic_says() {
    let strict = ProduceRules { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 2000, ..rules() };
    for (delta_ms, passes) in [(-1000, true), (-1001, false), (2000, true), (2001, false)] {
        let mut builder = BatchBuilder::new(Compression::default());
        builder.push(NOW_MS + delta_ms, None, Some(b"value"), &[]);
        let result = verify(&builder.build(), &strict);
        assert_eq!(result.is_ok(), passes, "{delta_ms}");
        if let Err(error) = result {
            assert_eq!(error.fault(), BatchFault::Timestamp);
            let said = error.to_string();
            assert!(said.contains("record 0") && said.contains(&(NOW_MS + delta_ms).to_string()), "{said}");
        }
    }
}

#[test]
fn what_does_not_fit_the_budget_uses_it_up_and_what_no_topic_takes_is_an_error() {
    let batch = Bytes::from(one(Compression::of(Codec::Gzip)));
    let mut verifier = Verifier::default();
    let mut budget_bytes = 5;
    assert!(verifier.verify_within(&batch, &rules(), &mut budget_bytes).unwrap().is_none());
    assert_eq!(budget_bytes, 0);
    let mut budget_bytes = 1000;
    assert!(verifier.verify_within(&batch, &rules(), &mut budget_bytes).unwrap().is_some());
    assert!((900..1000).contains(&budget_bytes));
    let small = ProduceRules { max_decompressed_bytes: 5, ..rules() };
    let refused = verifier.verify_within(&batch, &small, &mut { 1000 }).unwrap_err();
    assert_eq!(refused.fault(), BatchFault::TooLarge);
    let refused = verifier.verify_within(&batch, &small, &mut { 5 }).unwrap_err();
    assert_eq!(refused.fault(), BatchFault::TooLarge, "more budget would not help");
}

#[test]
fn a_codec_that_nobody_knows_is_told_apart_and_so_are_bytes_behind_a_batch() {
    let odd = altered(one(Compression::default()), |header| header.attributes |= 5);
    assert_eq!(verify(&odd, &rules()).unwrap_err().fault(), BatchFault::Codec);
    let mut two = one(Compression::default());
    let len = two.len();
    two.extend_from_slice(&two.clone()[..7]);
    let behind = VerifiedBatch::from_own_disk(Bytes::from(two.clone())).unwrap_err();
    assert_eq!(behind, BatchError::NotAlone { trailing_bytes: 7 });
    two.truncate(len);
    assert!(VerifiedBatch::from_own_disk(Bytes::from(two)).is_ok());
}

#[test]
fn what_the_attributes_say() {
    let header = peek_header(&one(Compression::default())).unwrap();
    assert!(!header.is_transactional() && header.delete_horizon_ms().is_none());
    let of = |attributes| BatchHeader { attributes, base_timestamp: 77, ..header };
    assert!(of(ATTR_TRANSACTIONAL).is_transactional() && !of(!ATTR_TRANSACTIONAL).is_transactional());
    assert_eq!(of(ATTR_DELETE_HORIZON).delete_horizon_ms(), Some(77));
    assert_eq!(of(!ATTR_DELETE_HORIZON).delete_horizon_ms(), None);
    let of = |base_sequence| BatchHeader { base_sequence, last_offset_delta: 4, ..header }.last_sequence();
    assert_eq!([of(-1), of(0), of(i32::MAX - 4), of(i32::MAX - 3)], [-1, 4, i32::MAX, 0]);
}

#[test]
fn a_hundred_rejected_records_are_named_and_the_others_only_refused() {
    for (records, named) in [(99, 99), (100, 100), (150, 100)] {
        let mut builder = BatchBuilder::new(Compression::default());
        (0..records).for_each(|_| builder.push(NOW_MS, None, Some(b"value"), &[]));
        let error = verify(&builder.build(), &ProduceRules { compacted: true, ..rules() }).unwrap_err();
        assert_eq!(error.record_errors().len(), named);
        assert_eq!(error.record_errors()[named - 1].index, named as i32 - 1);
    }
}

/// A batch whose records no decompressor can read, with a good checksum.
fn unreadable(change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut batch = one(Compression::of(Codec::Zstd));
    batch[HEADER_BYTES..].fill(0xA5);
    altered(batch, change)
}

fn by_header() -> ProduceRules {
    ProduceRules { compressed_check: CompressedCheck::Header, ..rules() }
}

#[test]
fn a_compressed_batch_is_let_in_on_its_header_where_the_topic_says_so() {
    let batch = Bytes::from(unreadable(|_| ()));
    assert_eq!(verify_produced(batch.clone(), &rules()).unwrap_err().fault(), BatchFault::Invalid);
    let mut budget_bytes = 0;
    let verified = Verifier::default().verify_within(&batch, &by_header(), &mut budget_bytes).unwrap().unwrap();
    assert_eq!(verified.bytes().as_ptr(), batch.as_ptr());
    assert_eq!((verified.max_timestamp(), verified.max_timestamp_offset_delta()), (NOW_MS, None));
    let torn = altered(batch.to_vec(), |header| header.record_count = 2);
    assert_eq!(verify(&torn, &by_header()).unwrap_err().fault(), BatchFault::Invalid);
    let mut rotten = batch.to_vec();
    rotten[HEADER_BYTES] ^= 1;
    assert_eq!(verify(&rotten, &by_header()).unwrap_err().fault(), BatchFault::Corrupt);
}

#[test]
fn the_append_time_needs_no_records() {
    let rules = ProduceRules { timestamp_type: TimestampType::LogAppendTime, timestamp_after_max_ms: 0, ..by_header() };
    let stamped = verify(&unreadable(|header| header.max_timestamp = NOW_MS + 5), &rules).unwrap();
    assert_eq!(stamped.log_append_time_ms(), Some(NOW_MS));
    assert_eq!(check_crc(stamped.bytes()).unwrap(), *stamped.header());
}

#[test]
fn the_header_does_not_suffice_where_records_must_be_seen() {
    let bounded = ProduceRules { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 2000, ..by_header() };
    let stamped = |base_ms: i64, max_ms: i64| {
        unreadable(|header| (header.base_timestamp, header.max_timestamp) = (base_ms, max_ms))
    };
    for (base_ms, max_ms) in [(-1000, 2000), (0, 0)] {
        assert!(verify(&stamped(NOW_MS + base_ms, NOW_MS + max_ms), &bounded).is_ok(), "{base_ms} to {max_ms}");
    }
    assert!(verify(&stamped(NO_TIMESTAMP, NO_TIMESTAMP), &bounded).is_ok(), "no timestamps at all");
    let lz4 = Some(Compression::of(Codec::Lz4));
    let empty = {
        let mut batch = unreadable(|_| ());
        batch.truncate(HEADER_BYTES);
        altered(batch, |header| header.batch_len = (HEADER_BYTES - LENGTH_OVERHEAD_BYTES) as i32)
    };
    for (what, batch, rules) in [
        ("keys", unreadable(|_| ()), ProduceRules { compacted: true, ..by_header() }),
        ("another codec", unreadable(|_| ()), ProduceRules { target: lz4, ..by_header() }),
        ("claims the append time", unreadable(|header| header.attributes |= ATTR_LOG_APPEND_TIME), by_header()),
        ("too old", stamped(NOW_MS - 1001, NOW_MS), bounded),
        ("too new", stamped(NOW_MS, NOW_MS + 2001), bounded),
        ("ends before it begins", stamped(NOW_MS, NOW_MS - 1), bounded),
        ("nothing there", empty, by_header()),
        ("not compressed", of_raw(&[0xA5; 40], 1), by_header()),
    ] {
        assert!(verify(&batch, &rules).is_err(), "{what}");
    }
    let zstd = ProduceRules { target: Some(Compression::of(Codec::Zstd)), ..by_header() };
    assert!(verify(&unreadable(|_| ()), &zstd).is_ok(), "the codec that it has");
}
