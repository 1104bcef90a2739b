//! `cargo x sim [--seeds N] [--first S] [--solo | --whole]`: seeds of the simulation. The runner is a test of the room `sim`, so
//! that this program need not be built with the broker. Must never touch: what a seed does.

use std::process::Command;

/// Runs the seeds asked for.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--package", "coretide-sim", "--test", "seeds", "--", "--progress"]);
    let status = cargo.args(arguments).status().map_err(|error| format!("cargo does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err("some seeds failed".to_string()) }
}
