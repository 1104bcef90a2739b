//! Random records and batches for the tests of this room.
//! Must never touch: anything outside the tests.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::builder::BatchBuilder;
use crate::codec::{Codec, Compression};
use crate::records::{Header, Record};
use crate::timestamps::batch_records;

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    /// A copy of what was read back.
    pub fn of(base_timestamp: i64, record: &Record<'_>) -> Owned {
        Owned {
            timestamp_ms: base_timestamp + record.timestamp_delta,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

pub fn push(builder: &mut BatchBuilder, record: &Owned) {
    let headers: Vec<Header<'_>> =
        record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
    builder.push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers);
}

pub fn build(compression: Compression, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for record in records {
        push(&mut builder, record);
    }
    builder.build().to_vec()
}

pub fn read_back(batch: &[u8]) -> Vec<Owned> {
    let mut scratch = Vec::new();
    let (header, records) = batch_records(batch, &mut scratch).expect("a good batch");
    records.map(|record| Owned::of(header.base_timestamp, &record.expect("a good record"))).collect()
}

pub fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

/// Header keys from a small alphabet, so that duplicates are common.
fn headers() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    vec((vec(97u8..100, 0..3), option::of(vec(any::<u8>(), 0..20))), 0..4)
}

/// Timestamps around one moment in any order, so that deltas are often negative.
pub fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || option::weighted(0.8, prop_oneof![vec(any::<u8>(), 0..40), vec(97u8..99, 0..3000)]);
    let record = (1_700_000_000_000i64..1_700_000_100_000, bytes(), bytes(), headers())
        .prop_map(|(timestamp_ms, key, value, headers)| Owned { timestamp_ms, key, value, headers });
    vec(record, 1..30)
}
