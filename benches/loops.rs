//! Micro-benches of small pure loops: varints, the borrowed view of a Produce request, the walk over batches, and the lanes
//! that mail goes through.
//! Must never touch: a broker, a disk, a network (those are measured in `perf/`), a second thread.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use coretide_log::batch::walk_batches;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_reactor::lanes::mailboxes;
use coretide_reactor::wake::Doorbell;
use coretide_stdx::varint;
use coretide_wire::header::decode_request_header_view;
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use coretide_wire::produce::ProduceRequestView;
use coretide_wire::{Reader, encode_request};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const VERSION: i16 = 12;
const PARTITIONS: i32 = 16;
const LENGTH_BYTES: usize = 4;

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    builder.push(1_800_000_000_000, None, Some(&[7; 1024]), &[]);
    builder.build()
}

fn varints(criterion: &mut Criterion) {
    let numbers: Vec<i64> = (0..1_000).map(|place: i64| (place % 7 - 3) << (place % 50)).collect();
    let mut encoded = Vec::new();
    numbers.iter().for_each(|&number| varint::put_i64(&mut encoded, number));
    let mut group = criterion.benchmark_group("1,000 varints");
    group.throughput(Throughput::Elements(numbers.len() as u64));
    group.bench_function("put", |bencher| {
        let mut out = Vec::with_capacity(encoded.len());
        bencher.iter(|| {
            out.clear();
            black_box(&numbers).iter().for_each(|&number| varint::put_i64(&mut out, number));
            out.len()
        });
    });
    group.bench_function("take", |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(&encoded[..]);
            std::iter::from_fn(|| varint::take_i64(&mut rest)).fold(0i64, i64::wrapping_add)
        });
    });
    group.finish();
}

fn produce_decode(criterion: &mut Criterion) {
    let data = |index| PartitionProduceData { index, records: Some(batch()) };
    let topic = TopicProduceData {
        name: "bench".into(),
        partition_data: (0..PARTITIONS).map(data).collect(),
        ..TopicProduceData::default()
    };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    let frame = encode_request(&request, VERSION, 1, Some("bench")).expect("a request").slice(LENGTH_BYTES..);
    criterion.bench_function("produce decode, 16 partitions x 1 KiB", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&frame));
            decode_request_header_view(&mut reader).expect("a header");
            let view = ProduceRequestView::decode(&mut reader, VERSION).expect("a body");
            view.partitions().map(|partition| partition.records.map_or(0, |records| records.len())).sum::<usize>()
        });
    });
}

fn walk(criterion: &mut Criterion) {
    let bytes: Vec<u8> = std::iter::repeat_n(batch(), 960).flatten().collect();
    let mut group = criterion.benchmark_group("batch walk");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("1 MiB of 1 KiB batches", |bencher| {
        bencher.iter(|| walk_batches(black_box(&bytes)).map(|(_, header)| header.record_count).sum::<i32>());
    });
    group.finish();
}

/// A hop without its wake-up: what two threads that are awake pay.
fn mail(criterion: &mut Criterion) {
    const LETTERS: usize = 16;
    let bells: Vec<Arc<Doorbell>> = (0..2).map(|_| Doorbell::new().expect("an eventfd")).collect();
    let mut boxes = mailboxes::<[u64; 16]>(&bells);
    let mut group = criterion.benchmark_group("mail hop");
    group.throughput(Throughput::Elements(LETTERS as u64));
    group.bench_function("16 letters of 128 bytes, awake", |bencher| {
        bencher.iter(|| {
            (0..LETTERS).for_each(|_| boxes[0].post(1, black_box([7; 16]), false));
            boxes[0].flush(|_| panic!("nobody sleeps"));
            boxes[1].receive(|_, letter| {
                black_box(letter);
            })
        });
    });
    group.finish();
}

criterion_group!(benches, varints, produce_decode, walk, mail);
criterion_main!(benches);
