//! `cargo x powercut [...]`: power cuts on real file systems. The work is the crate `scripts/powercut`, so that this program
//! need not be built with the broker's parts. Must never touch: what a cut does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What `--help` prints.
pub const USAGE: &str =
    "usage: cargo x powercut [--cuts N] [--fs ext4|xfs] [--seed S] [--binary PATH] [--prove] [--eio] [--flip] [--short]
  --cuts N                how many power cuts on each file system (100; 0 beside --prove, --eio, --flip)
  --fs ext4|xfs           only this file system
  --seed S                what everything but timing follows from (the time)
  --binary PATH           the broker (target/release/coretide)
  --prove                 the same broker without its flushes must be caught losing records
  --eio                   one EIO on a write, a flush, a read
  --flip                  one bit of a record flipped while the power is off, in a segment and in the journal
  --short                 3 cuts, the proof, and each EIO once: what cargo x test runs
  --keep DIR              keep a copy of the data directory from before each start that is judged
  --can                   only say whether this machine can do it
It needs root, FUSE and loop devices, and says `not run` with exit code 77 where they are missing.";

/// Runs it with these arguments.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--release", "--package", "coretide-powercut", "--"]).args(arguments);
    // What it cannot do it says on stderr, in one line that goes on to whoever asked.
    cargo.stderr(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| format!("cargo does not start: {error}"))?;
    let mut why = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()).map_while(Result::ok)
    {
        match line.strip_prefix(crate::NOT_RUN) {
            Some(reason) => why = reason.to_string(),
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(crate::EXIT_NOT_RUN) => Err(format!("{}{why}", crate::NOT_RUN)),
        _ => Err(status.to_string()),
    }
}
