//! Micro-benches of a whole shard without sockets and disk: an append alone in its commit, the group-commit loop with what 16
//! connections send in a turn, the same through another shard, and a fetch of what is in memory.
//! Must never touch: a broker, a disk, a network (those are measured in `perf/`).

mod rig;

use bytes::Bytes;
use coretide_model::ConnId;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rig::Rig;

const PARTITIONS: i32 = 16;
const CONNS: usize = 16;
const RECORD_BYTES: usize = 1024;

struct Bench {
    rig: Rig,
    conns: Vec<ConnId>,
    frames: Vec<Bytes>,
}

impl Bench {
    /// Connections at shard 0, and a frame of one batch for each partition that belongs to shard `owner`.
    fn new(shards: u16, owner: u16) -> Bench {
        let mut rig = Rig::new(shards, PARTITIONS);
        let conns: Vec<ConnId> = (0..CONNS).map(|_| rig.open(0)).collect();
        let mut frames = Vec::new();
        for partition in 0..PARTITIONS {
            let frame = rig::produce(partition, 1, RECORD_BYTES);
            let before = rig.mails;
            rig.push(0, conns[0], &frame);
            rig.settle();
            if (rig.mails > before) == (owner > 0) {
                frames.push(frame);
            }
        }
        assert!(!frames.is_empty(), "one of 16 partitions is at shard {owner}");
        Bench { rig, conns, frames }
    }

    /// So many requests in one turn, answered.
    fn turn(&mut self, requests: usize) {
        let before = self.rig.sent;
        for at in 0..requests {
            let frame = &self.frames[at % self.frames.len()];
            self.rig.push(0, self.conns[at % CONNS], frame);
        }
        self.rig.settle();
        assert_eq!(self.rig.sent - before, requests as u64, "every request has its response");
    }
}

fn shards(criterion: &mut Criterion) {
    for (name, shards, owner, requests) in [
        ("append, one in its commit", 1, 0, 1),
        ("group commit of 80 appends", 1, 0, 80),
        ("group commit of 80 appends through another shard", 2, 1, 80),
    ] {
        let mut bench = Bench::new(shards, owner);
        let mut group = criterion.benchmark_group("shard");
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(name, |bencher| bencher.iter(|| bench.turn(requests)));
        group.finish();
    }
}

fn fetch(criterion: &mut Criterion) {
    let mut bench = Bench::new(1, 0);
    for _ in 0..1_200 {
        bench.frames.truncate(1);
        bench.turn(1);
    }
    let mut group = criterion.benchmark_group("shard");
    for (name, max_bytes) in [("fetch plan, 64 KiB of 1 KiB batches", 64 << 10), ("fetch plan, 1 MiB", 1 << 20)] {
        bench.frames = vec![rig::fetch(0, 0, max_bytes)];
        group.throughput(Throughput::Bytes(max_bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| bench.turn(1)));
    }
    group.finish();
}

criterion_group!(benches, shards, fetch);
criterion_main!(benches);
