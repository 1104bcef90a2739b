//! What one request costs a shard, in instructions: runs a load so many times and says how many responses left. Two runs of
//! different length under callgrind give instructions per request, whatever else the machine does (`cargo x instructions`).
//! Must never touch: a clock.

mod rig;

use rig::load::{CONNS, Load};

const DEPTH: usize = 5;

/// What prepares a load.
type Make = fn() -> Load;

/// The loads by name.
const LOADS: [(&str, Make); 5] = [
    ("produce-1k", || Load::produce(1, 0, 1, 1024)),
    ("produce-1k-mail", || Load::produce(2, 1, 1, 1024)),
    ("produce-16k", || Load::produce(1, 0, 16, 1024)),
    ("produce-256k", || Load::produce(1, 0, 256, 1024)),
    ("fetch-1m-of-1k", || Load::fetch(1 << 20)),
];

/// A shard's loop with all that the connections have on their way, until so many requests are answered.
fn run(load: &mut Load, requests: usize) {
    let mut left = requests;
    while left > 0 {
        let turn = left.min(CONNS * DEPTH);
        load.turn(turn);
        left -= turn;
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let names = || LOADS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let [name, requests] = &arguments[..] else {
        // `cargo bench` and `cargo test --benches` run this too: each load once shows that they work.
        for (name, make) in LOADS {
            let mut load = make();
            run(&mut load, 200);
            println!(
                "{name}: {} responses, {} bytes; count with cargo x instructions",
                load.rig.sent, load.rig.sent_bytes
            );
        }
        return;
    };
    let (_, make) =
        LOADS.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("a load is one of {}", names()));
    run(&mut make(), requests.parse().expect("a number of requests"));
}
