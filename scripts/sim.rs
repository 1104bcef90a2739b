//! `cargo x sim [--seeds N] [--first S] [--solo | --whole] [--report]`: seeds of the simulation. The runner is a test of the room `sim`, so
//! that this program need not be built with the broker. Must never touch: what a seed does.

use std::process::Command;

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x sim [--seeds N] [--first S] [--solo | --whole] [--report]
  --seeds N               how many seeds of each kind (3000 and 1000)
  --first S               the first of them (1)
  --solo                  only the store, on a disk that fails and loses power
  --whole                 only whole shards with their clients
  --report                whole shards, and what they reached of all error codes, states, crash points and faults";

/// Runs the seeds asked for.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let is_known = match argument.as_str() {
            "--seeds" | "--first" => rest.next().is_some(),
            flag => matches!(flag, "--solo" | "--whole" | "--report"),
        };
        if !is_known {
            return Err(USAGE.to_string());
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args("test --quiet --profile sim --package coretide-sim --test seeds -- --progress".split(' '));
    let status = cargo.args(arguments).status().map_err(|error| format!("cargo does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err("some seeds failed".to_string()) }
}
