//! `cargo x`: the project's chores, one module each. Nothing here is needed to build the broker.

mod clients;
mod codegen;
mod codegen_arbitrary;
mod codegen_emit;
mod codegen_errors;
mod codegen_schema;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

/// A chore: what `cargo x <name>` runs with the arguments that follow the name.
type Chore = fn(&[String]) -> Result<(), String>;

const CHORES: &[(&str, &str, Chore)] = &[
    ("test", "run everything CI runs (an argument: only the steps whose names contain it)", test::run),
    ("sim", "run seeds of the simulation (--seeds N, --first S, --solo or --whole)", sim::run),
    ("tidy", "check the rules of style and the map of rooms", tidy::run),
    ("codegen", "write the generated Rust from scripts/definitions (--check: only compare)", codegen::run),
    ("clients", "run the real clients against the binary (names: only these)", clients::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chore = arguments.first().and_then(|name| CHORES.iter().find(|(known, ..)| known == name));
    let Some((name, _, run)) = chore else {
        eprintln!("cargo x <chore>, one of:");
        for (name, help, _) in CHORES {
            eprintln!("  {name:<10} {help}");
        }
        return ExitCode::from(2);
    };
    match run(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cargo x {name}: {problem}");
            ExitCode::FAILURE
        }
    }
}
