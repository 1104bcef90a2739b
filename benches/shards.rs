//! Micro-benches of a whole shard without sockets and disk: an append alone in its commit, the group-commit loop with what 16
//! connections send in a turn, the same through another shard, and a fetch of what is in memory.
//! Must never touch: a broker, a disk, a network (those are measured in `perf/`).

mod rig;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rig::load::Load;

const RECORD_BYTES: usize = 1024;

fn shards(criterion: &mut Criterion) {
    for (name, shards, owner, requests) in [
        ("append, one in its commit", 1, 0, 1),
        ("group commit of 80 appends", 1, 0, 80),
        ("group commit of 80 appends through another shard", 2, 1, 80),
    ] {
        let mut load = Load::produce(shards, owner, 1, RECORD_BYTES);
        let mut group = criterion.benchmark_group("shard");
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(name, |bencher| bencher.iter(|| load.turn(requests)));
        group.finish();
    }
}

fn fetch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    for (name, max_bytes) in [("fetch plan, 64 KiB of 1 KiB batches", 64 << 10), ("fetch plan, 1 MiB", 1 << 20)] {
        let mut load = Load::fetch(max_bytes);
        group.throughput(Throughput::Bytes(max_bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| load.turn(1)));
    }
    group.finish();
}

criterion_group!(benches, shards, fetch);
criterion_main!(benches);
