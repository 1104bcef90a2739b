//! Micro-benches of the pure loops of the produce path: checksum, and the whole gate with its walk over the records.
//! Must never touch: a broker, a disk, a network (those are measured in `perf/`).

use std::hint::black_box;

use bytes::Bytes;
use coretide_log::batch::{ProduceRules, verify_produced};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_model::TopicConfig;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const NOW_MS: i64 = 1_800_000_000_000;

fn batch(records: usize, record_bytes: usize) -> Bytes {
    let value: Vec<u8> = (0..record_bytes).map(|at| (at * 31 % 251) as u8).collect();
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    for _ in 0..records {
        builder.push(NOW_MS, None, Some(&value), &[]);
    }
    builder.build()
}

fn gate(criterion: &mut Criterion) {
    let rules = ProduceRules::from_config(&TopicConfig::default(), NOW_MS);
    for (name, records, record_bytes) in
        [("1 x 1 KiB", 1, 1024), ("163 x 100 B", 163, 100), ("16 x 16 KiB", 16, 16_384)]
    {
        let bytes = batch(records, record_bytes);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("crc32c alone", |bencher| bencher.iter(|| crc32c::crc32c(black_box(&bytes[21..]))));
        group.bench_function("the produce gate", |bencher| {
            bencher.iter_batched(
                || bytes.clone(),
                |bytes| verify_produced(black_box(bytes), &rules).expect("a good batch"),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, gate);
criterion_main!(benches);
