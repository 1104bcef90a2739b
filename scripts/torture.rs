//! `cargo x torture`, `cargo x soak`: builds the broker and `scripts/torture`, and runs the latter.
//! Must never touch: what is tortured, and how.

use std::path::PathBuf;
use std::process::Command;

/// What `cargo x torture --help` prints.
pub const USAGE: &str = "usage: cargo x torture [--minutes N] [--cycles N] [--seed S] [--data DIR] [--binary PATH] [--self-test] [--images] [--short]
Kills the real broker again and again under clients of many kinds, and reads back all that it acknowledged.
  --minutes N             ends after N minutes (10, unless --cycles is given)
  --cycles N              ends after N cycles: load, kill, perhaps starts that are killed, a start, the check
  --seed S                what the schedule of loads, settings and kills follows from (the clock)
  --data DIR              an empty folder for the data, which stays there (target/torture-..., removed when all went well)
  --binary PATH           a broker that is there already (builds target/release/coretide)
  --self-test             first harms the data behind the broker's back, and fails if the check does not notice
  --images                keeps a copy of the data as the last kill left it, beside the data
  --short                 what cargo x test runs: the self-test and 8 short cycles";

/// What `cargo x soak --help` prints.
pub const SOAK_USAGE: &str = "usage: cargo x soak [--minutes N] [--seed S] [--data DIR] [--binary PATH]
One long life of the broker under the same clients; memory, open files and p99 at the end against those after 5 minutes.
  --minutes N             how long (30)
  --seed, --data, --binary  as for cargo x torture";

/// Runs the torture.
pub fn run(arguments: &[String]) -> Result<(), String> {
    start("torture", arguments)
}

/// Runs the soak.
pub fn soak(arguments: &[String]) -> Result<(), String> {
    start("soak", arguments)
}

fn start(task: &str, arguments: &[String]) -> Result<(), String> {
    let root = &crate::root()?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--package", "coretide-torture"]).current_dir(root);
    if !arguments.iter().any(|argument| argument == "--binary") {
        build.args(["--package", "coretide"]);
    }
    succeed(&mut build, "it was not built")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut torture = Command::new(target.join("release/torture"));
    torture.arg(task).args(arguments).current_dir(root);
    succeed(&mut torture, "see above")
}

fn succeed(command: &mut Command, otherwise: &str) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?} does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(otherwise.to_string()) }
}
