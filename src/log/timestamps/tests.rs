//! The search by time is exact to the record, whatever the codec.

use proptest::prelude::*;

use super::*;
use crate::batch::patch;
use crate::builder::BatchBuilder;
use crate::codec::Compression;
use crate::samples::{build, codecs, records};

proptest! {
    #[test]
    fn the_first_record_at_or_after_the_time_is_found(
        codec in codecs(), records in records(), target in 1_699_999_999_000i64..1_700_000_101_000, skip in 0usize..5,
    ) {
        let mut batch = build(Compression::of(codec), &records);
        patch(&mut batch, 1000, 3);
        let expected = records.iter().enumerate().skip(skip).find(|(_, record)| record.timestamp_ms >= target)
            .map(|(index, record)| TimestampOffset { offset: 1000 + index as i64, timestamp_ms: record.timestamp_ms });
        prop_assert_eq!(find_by_timestamp(&batch, target, 1000 + skip as i64).unwrap(), expected);
        let max = records.iter().map(|record| record.timestamp_ms).max().unwrap();
        let first = records.iter().position(|record| record.timestamp_ms == max).unwrap();
        let expected = TimestampOffset { offset: 1000 + first as i64, timestamp_ms: max };
        prop_assert_eq!(max_timestamp_offset(&batch).unwrap(), Some(expected));
    }
}

/// Redpanda answered with the batch's first offset, skipped batches, and gave the high watermark for "none".
#[test]
fn bug_redpanda_6606_the_answer_is_a_record_not_a_batch() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(Compression::of(codec));
        for timestamp_ms in [100, 300, 200, 400] {
            builder.push(timestamp_ms, None, Some(b"v"), &[]);
        }
        let batch = builder.build();
        let found =
            |target| find_by_timestamp(&batch, target, 0).unwrap().map(|found| (found.offset, found.timestamp_ms));
        assert_eq!(found(0), Some((0, 100)));
        assert_eq!(found(150), Some((1, 300)));
        assert_eq!(found(301), Some((3, 400)));
        assert_eq!(found(401), None);
    }
}

#[test]
fn under_log_append_time_every_record_has_the_append_time() {
    let mut builder = BatchBuilder::new(Compression::default()).log_append_time();
    builder.push(500, None, None, &[]);
    builder.push(500, None, None, &[]);
    let mut batch = builder.build().to_vec();
    patch(&mut batch, 10, 0);
    assert_eq!(find_by_timestamp(&batch, 500, 11).unwrap(), Some(TimestampOffset { offset: 11, timestamp_ms: 500 }));
    assert_eq!(find_by_timestamp(&batch, 501, 0).unwrap(), None);
}

#[test]
fn a_cut_off_batch_is_an_error() {
    let mut builder = BatchBuilder::new(Compression::of(Codec::Gzip));
    builder.push(500, None, Some(b"value"), &[]);
    let batch = builder.build();
    assert!(find_by_timestamp(&batch[..batch.len() - 1], 500, 0).is_err());
    assert!(find_by_timestamp(&[], 500, 0).is_err());
}

#[test]
fn a_batch_whose_header_says_that_it_has_no_such_record_is_not_unpacked() {
    let mut builder = BatchBuilder::new(Compression::of(Codec::Gzip));
    builder.push(500, None, Some(b"value"), &[]);
    let mut batch = builder.build().to_vec();
    batch[HEADER_BYTES..].fill(0);
    assert!(find_by_timestamp(&batch, 500, 0).is_err());
    assert_eq!(find_by_timestamp(&batch, 501, 0), Ok(None));
    assert_eq!(find_by_timestamp(&batch, 500, 1), Ok(None));
}
