//! What is built is read back, here and by another implementation.

use proptest::prelude::*;

use super::*;
use crate::batch::{check_crc, peek_header};
use crate::codec::Codec;
use crate::samples::{Owned, build, codecs, push, read_back, records};

proptest! {
    #[test]
    fn what_is_built_is_read_back(codec in codecs(), records in records()) {
        let batch = build(Compression::of(codec), &records);
        let header = check_crc(&batch).unwrap();
        prop_assert_eq!(header.total_bytes(), batch.len());
        prop_assert_eq!(header.codec().unwrap(), codec);
        prop_assert_eq!(header.record_count as usize, records.len());
        prop_assert_eq!(header.last_offset_delta, header.record_count - 1);
        prop_assert_eq!(header.max_timestamp, records.iter().map(|r| r.timestamp_ms).max().unwrap());
        prop_assert_eq!(read_back(&batch), records);
    }

    #[test]
    fn another_implementation_reads_the_same(records in records()) {
        // The oracle keeps headers in a map with text keys: one header per record, so that it loses none.
        let records: Vec<Owned> =
            records.into_iter().map(|mut record| { record.headers.truncate(1); record }).collect();
        let mut builder = BatchBuilder::new(Compression::default()).producer(7, 3, 11).transactional();
        records.iter().for_each(|record| push(&mut builder, record));
        let decoded = kafka_protocol::records::RecordBatchDecoder::decode(&mut builder.build()).unwrap().records;
        prop_assert_eq!(decoded.len(), records.len());
        for (index, (theirs, ours)) in decoded.iter().zip(&records).enumerate() {
            prop_assert_eq!(theirs.offset, index as i64);
            prop_assert_eq!(theirs.sequence, 11 + index as i32);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch, theirs.transactional), (7, 3, true));
            prop_assert_eq!(theirs.timestamp, ours.timestamp_ms);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
            let headers: Vec<_> = theirs.headers.iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.as_ref().map(|value| value.to_vec()))).collect();
            prop_assert_eq!(&headers, &ours.headers);
        }
    }
}

#[test]
fn a_batch_of_no_producer_has_minus_one_for_all_that_it_does_not_say() {
    let mut builder = BatchBuilder::new(Compression::default());
    builder.push(42, None, None, &[]);
    let header = peek_header(&builder.build()).unwrap();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (-1, -1, -1));
    assert!(!header.has_producer_id());
}

#[test]
fn a_control_batch_says_so() {
    let mut builder = BatchBuilder::new(Compression::default()).producer(5, 1, -1).transactional().control();
    builder.push(42, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 9]), &[]);
    let header = peek_header(&builder.build()).unwrap();
    assert!(header.is_control() && header.is_transactional() && header.has_producer_id());
    assert_eq!((header.base_sequence, header.max_timestamp, header.leader_epoch), (-1, 42, -1));
}

#[test]
fn duplicate_header_keys_and_null_values_survive_in_order() {
    let record = Owned {
        timestamp_ms: 1,
        key: None,
        value: Some(Vec::new()),
        headers: vec![
            (b"k".to_vec(), Some(b"1".to_vec())),
            (b"k".to_vec(), None),
            (Vec::new(), Some(Vec::new())),
            (b"k".to_vec(), Some(b"1".to_vec())),
        ],
    };
    let batch = build(Compression::of(Codec::Zstd), std::slice::from_ref(&record));
    assert_eq!(read_back(&batch), [record]);
}

#[test]
fn a_record_says_how_many_headers_it_has() {
    for count in 0..3 {
        let header = Header { key: b"k", value: None };
        let mut builder = BatchBuilder::new(Compression::default());
        builder.push(1, None, None, &vec![header; count]);
        let (batch, mut scratch) = (builder.build(), Vec::new());
        let (_, mut records) = crate::timestamps::batch_records(&batch, &mut scratch).unwrap();
        let headers = records.next().unwrap().unwrap().headers;
        assert_eq!((headers.len(), headers.is_empty()), (count, count == 0));
    }
}

#[test]
fn a_builder_says_the_timestamp_that_the_others_are_counted_from() {
    let mut builder = BatchBuilder::new(Compression::default());
    assert_eq!(builder.base_timestamp_ms(), 0);
    for timestamp_ms in [42, 7, 99] {
        builder.push(timestamp_ms, None, None, &[]);
        assert_eq!(builder.base_timestamp_ms(), 42);
    }
}

#[test]
fn a_builder_says_how_many_records_it_has_and_whose_timestamps() {
    let mut builder = BatchBuilder::new(Compression::default()).log_append_time();
    assert_eq!((builder.record_count(), builder.is_empty()), (0, true));
    for count in 1..4 {
        builder.push(42, None, None, &[]);
        assert_eq!((builder.record_count(), builder.is_empty()), (count, false));
    }
    let header = peek_header(&builder.build()).unwrap();
    assert_eq!(header.timestamp_type(), coretide_model::topic_config::TimestampType::LogAppendTime);
}

#[test]
fn a_builder_says_how_large_it_is_and_where_the_first_of_the_largest_timestamps_is() {
    let mut builder = BatchBuilder::new(Compression::default());
    assert_eq!(builder.plain_bytes(), crate::batch::HEADER_BYTES);
    for (timestamp_ms, delta) in [(5, 0), (9, 1), (9, 1), (7, 1), (10, 4)] {
        builder.push(timestamp_ms, Some(b"key"), Some(b"a value"), &[]);
        assert_eq!(builder.max_timestamp_delta(), delta);
    }
    let plain_bytes = builder.plain_bytes();
    assert_eq!(builder.build().len(), plain_bytes);
}
