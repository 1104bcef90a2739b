//! `cargo x diskfull`: builds the broker and the program in `scripts/diskfull`, and runs it. A program of its own, so that this
//! one need not be built with the client. Must never touch: what it does.

use std::process::Command;

use crate::{EXIT_NOT_RUN, NOT_RUN};

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x diskfull [--short] [--mib N] [--binary PATH] [--probe]
  --short                 a volume of 256 MiB and one round
  --mib N                 the volume's size in MiB (512)
  --binary PATH           the broker to run (target/release/coretide, which is built first)
  --probe                 only says whether it can run here
It needs root, a loop device and mkfs.ext4, and says `not run` with exit code 77 where they are missing.";

/// Builds and runs.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let builds_broker = !arguments.iter().any(|argument| argument == "--probe" || argument == "--binary");
    let cargo = |arguments: &[&str]| {
        let status = Command::new(env!("CARGO")).args(arguments).status();
        status.map_err(|error| format!("cargo does not start: {error}")).map(|status| status.code())
    };
    if builds_broker && cargo(&["build", "--quiet", "--release", "--package", "coretide"])? != Some(0) {
        return Err("the broker does not build".to_string());
    }
    let mut all = vec!["run", "--quiet", "--package", "coretide-diskfull", "--"];
    all.extend(arguments.iter().map(String::as_str));
    match cargo(&all)? {
        Some(0) => Ok(()),
        // It has said why.
        Some(code) if code == i32::from(EXIT_NOT_RUN) => Err(format!("{NOT_RUN}see above")),
        _ => Err("see above".to_string()),
    }
}
