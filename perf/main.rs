//! `coretide-perf`: prepared frames over raw connections against any Kafka-compatible broker, and the programs that
//! show what the machine itself can do. Black box: it knows the protocol and nothing of a broker's inside.

mod limit;
mod send_loop;
mod suite;

use clap::{Parser, Subcommand};
use coretide_perf::{admin, bench, e2e, fetch, frames, produce, report, stats};
use std::process::ExitCode;

/// Loads and limits.
#[derive(Parser)]
#[command(name = "coretide-perf", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The reference: receives Produce frames, commits what has gathered with one write, answers. Runs until killed.
    Limit(limit::Options),
    /// The reference for reads: answers every request with one piece from memory. Runs until killed.
    SendLoop(send_loop::Options),
    /// Sends prepared Produce frames.
    Produce(produce::Options),
    /// Fetches what it has produced before, again and again.
    Fetch(fetch::Options),
    /// Sends records at a fixed rate and reads each as it comes.
    E2e(e2e::Options),
    /// Every row of the table, broker and limit by turns, medians of several rounds.
    Suite(suite::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Limit(options) => limit::run(&options),
        Command::SendLoop(options) => send_loop::run(&options),
        Command::Produce(options) => produce::run(&options),
        Command::Fetch(options) => fetch::run(&options),
        Command::E2e(options) => e2e::run(&options),
        Command::Suite(options) => suite::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("coretide-perf: {problem}");
            ExitCode::FAILURE
        }
    }
}
