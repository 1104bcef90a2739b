//! `cargo x test`: everything CI runs, in order, with a summary at the end. What cannot run is named, and is a failure
//! where `CI` is set.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::NOT_RUN;

/// How one step ended.
enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

struct Step {
    name: &'static str,
    command: &'static [&'static str],
    /// A command that must succeed for the step to be possible, and what to say where it does not, unless it says so itself
    /// behind [`NOT_RUN`].
    needs: Option<(&'static [&'static str], &'static str)>,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        command: &["cargo", "fmt", "--all", "--check"],
        needs: Some((&["cargo", "fmt", "--version"], "rustfmt is not installed (rustup component add rustfmt)")),
    },
    Step {
        name: "clippy",
        command: &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        needs: Some((&["cargo", "clippy", "--version"], "clippy is not installed (rustup component add clippy)")),
    },
    Step { name: "dependencies", command: &["cargo", "x", "deny"], needs: None },
    Step { name: "generated code", command: &["cargo", "x", "codegen", "--check"], needs: None },
    Step {
        name: "unit, property, simulator and black-box tests",
        command: &["cargo", "test", "--workspace"],
        needs: None,
    },
    Step { name: "release build", command: &["cargo", "build", "--release"], needs: None },
    Step { name: "crashes of the real binary", command: &["cargo", "x", "torture", "--short"], needs: None },
    Step {
        name: "fuzz targets, ten seconds each",
        command: &["cargo", "x", "fuzz", "--seconds", "10"],
        needs: Some((
            &["cargo", "+nightly", "--version"],
            "there is no nightly compiler (rustup toolchain install nightly)",
        )),
    },
    Step {
        name: "instructions per request",
        command: &["cargo", "x", "instructions"],
        needs: Some((&["valgrind", "--version"], "valgrind is not installed (apt-get install valgrind)")),
    },
    Step { name: "attacks", command: &["cargo", "x", "attack", "--short"], needs: None },
    Step { name: "real clients", command: &["cargo", "x", "clients"], needs: None },
    Step {
        name: "reports in a browser",
        command: &["cargo", "x", "report"],
        needs: Some((&["cargo", "x", "report", "--probe"], "its probe could not be built")),
    },
    Step {
        name: "power cuts",
        command: &["cargo", "x", "powercut", "--short"],
        needs: Some((&["cargo", "x", "powercut", "--can"], "its probe could not be built")),
    },
    Step {
        name: "full disk",
        command: &["cargo", "x", "diskfull", "--short"],
        needs: Some((&["cargo", "x", "diskfull", "--probe"], "it needs root, a loop device and mkfs.ext4")),
    },
];

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x test [PART]
  PART                    only the steps whose names contain it";

/// Runs the steps: all of them, or those whose names contain the first argument.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let root = &crate::root()?;
    let only = arguments.first().map(String::as_str);
    if run_steps(root, only) { Ok(()) } else { Err("not everything passed, see the summary".to_string()) }
}

fn run_steps(root: &Path, only: Option<&str>) -> bool {
    let in_ci = env::var_os("CI").is_some();
    let mut results = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_none_or(|part| step.name.contains(part))) {
        println!("\n== {} : {}", step.name, step.command.join(" "));
        let started = Instant::now();
        let outcome = run_step(root, step);
        results.push((step.name, outcome, started.elapsed().as_secs()));
    }
    summarize(&results, in_ci)
}

fn run_step(root: &Path, step: &Step) -> Outcome {
    if let Some((probe, why)) = step.needs {
        let possible = Command::new(probe[0]).args(&probe[1..]).current_dir(root).output();
        let said = possible.as_ref().map_or_else(|_| None, |output| reason(&String::from_utf8_lossy(&output.stderr)));
        if !possible.is_ok_and(|output| output.status.success()) {
            return Outcome::NotRun(said.unwrap_or_else(|| why.to_string()));
        }
    }
    match Command::new(step.command[0]).args(&step.command[1..]).current_dir(root).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(status.to_string()),
        Err(error) => Outcome::Failed(format!("{} could not be started: {error}", step.command[0])),
    }
}

/// What a chore says behind [`NOT_RUN`].
fn reason(said: &str) -> Option<String> {
    said.lines().find_map(|line| line.split_once(NOT_RUN)).map(|(_, why)| why.to_string())
}

fn summarize(results: &[(&str, Outcome, u64)], in_ci: bool) -> bool {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!("\n== summary");
    for (name, outcome, secs) in results {
        match outcome {
            Outcome::Passed => {
                passed += 1;
                println!("ok       {name} ({secs} s)");
            }
            Outcome::Failed(why) => {
                failed += 1;
                println!("FAILED   {name} ({secs} s): {why}");
            }
            Outcome::NotRun(why) if in_ci => {
                failed += 1;
                println!("FAILED   {name}: not run: {why}");
            }
            Outcome::NotRun(why) => {
                skipped += 1;
                println!("not run  {name}: {why}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0 && passed > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chore_says_why_it_was_not_run() {
        assert_eq!(reason("warning: x\ncargo x a: not run: no root\n").as_deref(), Some("no root"));
        assert_eq!(reason("error: y\n"), None);
    }

    #[test]
    fn what_was_not_run_is_no_success_in_ci() {
        let results = [("a", Outcome::Passed, 1), ("b", Outcome::NotRun("no tool".to_string()), 0)];
        assert!(summarize(&results, false));
        assert!(!summarize(&results, true));
        assert!(!summarize(&[("a", Outcome::Failed("exit 1".to_string()), 0)], false));
        assert!(!summarize(&[], false), "a run that ran nothing is no success");
    }
}
