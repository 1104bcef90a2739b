//! The command line: starts the broker, and talks to any Kafka-compatible cluster.
//!
//! One file per command; each parses its own arguments, calls `coretide-client`, and prints through `output`. Exit codes
//! are in `exit`.
//! Must never touch: the broker's logic, sockets (both are behind `node` and `client`).

mod args;
mod bench;
mod check;
mod config;
mod consume;
mod exit;
mod group;
mod output;
mod produce;
mod record_format;
mod serve;
mod suggest;
mod time;
mod topic;

use std::process::ExitCode;

use clap::CommandFactory;

use args::{Cli, Command};
use exit::CliError;

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; clap knows which stream each belongs to.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough.
        Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error, json);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(arguments)) => serve::run(&arguments),
        Some(Command::Topic(command)) => topic::run(&cli.global, command),
        Some(Command::Produce(arguments)) => produce::run(&cli.global, &arguments),
        Some(Command::Consume(arguments)) => consume::run(&cli.global, &arguments),
        Some(Command::Group(command)) => group::run(&cli.global, command),
        Some(Command::Config(command)) => config::run(&cli.global, command),
        Some(Command::Check(arguments)) => check::run(&cli.global, &arguments),
        Some(Command::Bench(command)) => bench::run(&cli.global, &command),
        Some(Command::Completions { shell }) => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "coretide", &mut std::io::stdout());
            Ok(())
        }
    }
}
