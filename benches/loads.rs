//! What one request costs a shard, in instructions: runs a load so many times and says how many responses left. Two runs of
//! different length under callgrind give instructions per request, whatever else the machine does (`cargo x instructions`).
//! Must never touch: a clock.

mod rig;

use bytes::Bytes;
use coretide_model::ConnId;
use rig::Rig;

const PARTITIONS: i32 = 16;
const CONNS: usize = 16;
const DEPTH: usize = 5;

/// What prepares a load.
type Make = fn() -> Load;

/// The loads by name.
const LOADS: [(&str, Make); 5] = [
    ("produce-1k", || Load::produce(1, 0, 1, 1024)),
    ("produce-1k-mail", || Load::produce(2, 1, 1, 1024)),
    ("produce-16k", || Load::produce(1, 0, 16, 1024)),
    ("produce-256k", || Load::produce(1, 0, 256, 1024)),
    ("fetch-1m-of-1k", Load::fetch),
];

/// Requests that are pushed again and again, a turn's worth at a time.
struct Load {
    rig: Rig,
    conns: Vec<ConnId>,
    frames: Vec<Bytes>,
}

impl Load {
    /// Produces through shard 0 to partitions of the shard `owner`.
    fn produce(shards: u16, owner: u16, records: usize, record_bytes: usize) -> Load {
        let mut rig = Rig::new(shards, PARTITIONS);
        let conns: Vec<ConnId> = (0..CONNS).map(|_| rig.open(0)).collect();
        let mut frames = Vec::new();
        for partition in 0..PARTITIONS {
            let frame = rig::produce(partition, records, record_bytes);
            let before = rig.mails;
            rig.push(0, conns[0], &frame);
            rig.settle();
            if (rig.mails > before) == (owner > 0) {
                frames.push(frame);
            }
        }
        assert!(!frames.is_empty(), "one of 16 partitions is at shard {owner}");
        Load { rig, conns, frames }
    }

    /// Fetches a mebibyte of batches of 1 KiB from memory.
    fn fetch() -> Load {
        let mut load = Load::produce(1, 0, 1, 1024);
        for _ in 0..1200 {
            load.rig.push(0, load.conns[0], &load.frames[0]);
            load.rig.settle();
        }
        load.frames = vec![rig::fetch(0, 0, 1 << 20)];
        load
    }

    fn run(&mut self, requests: usize) {
        let before = self.rig.sent;
        let mut pushed = 0;
        while pushed < requests {
            for at in 0..(CONNS * DEPTH).min(requests - pushed) {
                let frame = &self.frames[(pushed + at) % self.frames.len()];
                self.rig.push(0, self.conns[at % CONNS], frame);
            }
            pushed += CONNS * DEPTH;
            self.rig.settle();
        }
        assert_eq!(self.rig.sent - before, requests as u64, "every request has its response");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let names = || LOADS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let [name, requests] = &arguments[..] else {
        // `cargo bench` and `cargo test --benches` run this too: each load once shows that they work.
        for (name, make) in LOADS {
            let mut load = make();
            load.run(200);
            println!(
                "{name}: {} responses, {} bytes; count with cargo x instructions",
                load.rig.sent, load.rig.sent_bytes
            );
        }
        return;
    };
    let (_, make) =
        LOADS.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("a load is one of {}", names()));
    make().run(requests.parse().expect("a number of requests"));
}
