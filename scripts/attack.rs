//! `cargo x attack [--seconds N] [--short] [--list] [NAME...]`: bad clients against the real binary, with healthy ones beside
//! them. The attacks are a program of their own (`scripts/attack`), so that this one need not be built with the broker.
//! Must never touch: what an attack does.

use std::path::Path;
use std::process::Command;

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x attack [--seconds N] [--short] [--list] [NAME...]
  NAME...                 only these attacks (all)
  --seconds N             how long each attack lasts (5)
  --short                 0.7 s for each attack: what cargo x test runs
  --list                  the names of the attacks";

/// Builds the broker and the attacks in release form, and runs those asked for.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let root = &crate::root()?;
    let target = root.join("target");
    let run = |program: &Path, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).current_dir(root).status();
        let status = status.map_err(|error| format!("{} does not start: {error}", program.display()))?;
        if status.success() { Ok(()) } else { Err(status.to_string()) }
    };
    let packages = ["build", "--quiet", "--release", "--package", "coretide", "--package", "coretide-attack"];
    run(Path::new(env!("CARGO")), &packages).map_err(|error| format!("the build failed: {error}"))?;
    let (binary, data) = (target.join("release/coretide"), target.join("attack"));
    let (binary, data) = (binary.to_string_lossy(), data.to_string_lossy());
    let mut all = vec!["--binary", &binary, "--data", &data];
    all.extend(arguments.iter().map(String::as_str));
    run(&target.join("release/attack"), &all).map_err(|error| format!("the attacks: {error}"))
}
