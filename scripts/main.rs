//! `cargo x`: the project's chores, one module each. Nothing here is needed to build the broker.

mod attack;
mod clients;
mod codegen;
mod codegen_arbitrary;
mod codegen_emit;
mod codegen_errors;
mod codegen_schema;
mod deny;
mod diskfull;
mod fuzz;
mod instructions;
mod mutants;
mod powercut;
mod report;
mod sim;
mod test;
mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `cargo x <name>` runs with the arguments that follow the name.
struct Chore {
    name: &'static str,
    about: &'static str,
    /// What `--help` prints.
    usage: &'static str,
    run: fn(&[String]) -> Result<(), String>,
}

const CHORES: &[Chore] = &[
    Chore { name: "test", about: "run everything that CI runs", usage: test::USAGE, run: test::run },
    Chore {
        name: "deny",
        about: "check the licences, sources and versions of all dependencies",
        usage: deny::USAGE,
        run: deny::run,
    },
    Chore { name: "sim", about: "run seeds of the simulation", usage: sim::USAGE, run: sim::run },
    Chore {
        name: "torture",
        about: "kill the real broker again and again, read back what it acknowledged",
        usage: torture::USAGE,
        run: torture::run,
    },
    Chore {
        name: "soak",
        about: "run the real broker for long, watch memory, files and p99",
        usage: torture::SOAK_USAGE,
        run: torture::soak,
    },
    Chore { name: "tidy", about: "check the rules of style and the map of rooms", usage: tidy::USAGE, run: tidy::run },
    Chore {
        name: "codegen",
        about: "write the generated Rust from scripts/definitions",
        usage: codegen::USAGE,
        run: codegen::run,
    },
    Chore {
        name: "attack",
        about: "run bad clients against the binary, with healthy ones beside them",
        usage: attack::USAGE,
        run: attack::run,
    },
    Chore { name: "fuzz", about: "run the fuzz targets of all rooms", usage: fuzz::USAGE, run: fuzz::run },
    Chore {
        name: "instructions",
        about: "count the instructions of a request under callgrind, against the table",
        usage: instructions::USAGE,
        run: instructions::run,
    },
    Chore {
        name: "mutants",
        about: "plant known bugs in a copy, and see them found",
        usage: mutants::USAGE,
        run: mutants::run,
    },
    Chore {
        name: "clients",
        about: "run the real clients against the binary",
        usage: clients::USAGE,
        run: clients::run,
    },
    Chore {
        name: "bench-model",
        about: "hold the producer that bench models against the official Java one",
        usage: clients::model::USAGE,
        run: clients::model::run,
    },
    Chore {
        name: "report",
        about: "look at the bench's pages in a real browser",
        usage: report::USAGE,
        run: report::run,
    },
    Chore {
        name: "powercut",
        about: "cut the power under the real broker on ext4 and XFS (needs root and FUSE)",
        usage: powercut::USAGE,
        run: powercut::run,
    },
    Chore {
        name: "diskfull",
        about: "run the real broker on a volume that runs full (needs root)",
        usage: diskfull::USAGE,
        run: diskfull::run,
    },
];

/// The exit code of a chore that this machine cannot run at all.
const EXIT_NOT_RUN: u8 = 77;
/// How the message of such a chore begins.
const NOT_RUN: &str = "not run: ";

fn help() -> String {
    let mut text = "usage: cargo x <chore>, one of (each has a --help):".to_string();
    for chore in CHORES {
        text.push_str(&format!("\n  {:<12} {}", chore.name, chore.about));
    }
    text
}

fn is_help(argument: &String) -> bool {
    argument == "--help" || argument == "-h"
}

/// The project's folder: that of the checkout which cargo runs this for. Where it was built may be another one, since a
/// checkout can be moved or copied with all that was built in it.
fn root() -> Result<PathBuf, String> {
    let built = env!("CARGO_MANIFEST_DIR");
    let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|dir| dir.ends_with("scripts"));
    let scripts = run.unwrap_or_else(|| PathBuf::from(built));
    scripts.parent().map(Path::to_path_buf).ok_or_else(|| "the project's folder is gone".to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.first();
    let Some(chore) = CHORES.iter().find(|chore| named.is_some_and(|name| name == chore.name)) else {
        if named.is_some_and(is_help) {
            println!("{}", help());
            return ExitCode::SUCCESS;
        }
        eprintln!("{}", help());
        return ExitCode::from(2);
    };
    if arguments[1..].iter().any(is_help) {
        println!("{}", chore.usage);
        return ExitCode::SUCCESS;
    }
    match (chore.run)(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cargo x {}: {problem}", chore.name);
            if problem.starts_with(NOT_RUN) { ExitCode::from(EXIT_NOT_RUN) } else { ExitCode::FAILURE }
        }
    }
}
