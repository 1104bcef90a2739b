//! The commands of `coretide bench`: from arguments to a result that is printed and kept.
//! Must never touch: how anything is measured.

use crate::lab::args::{BenchCommand, Common};
use crate::lab::cluster;
use crate::lab::engine;
use crate::lab::error::LabError;
use crate::lab::machine;
use crate::lab::result::{Broker, FORMAT, Measured, ResultFile, Run};
use crate::lab::scenario::Scenario;
use crate::lab::screen::{Screen, summary};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the command line says beside the command itself.
#[derive(Clone, Debug)]
pub struct Context {
    /// HOST:PORT of the broker, or several separated by commas.
    pub bootstrap: String,
    /// Print the result file's JSON to standard output in place of a summary.
    pub json: bool,
    /// The command line as it was typed.
    pub command: Vec<String>,
}

/// Runs a command.
pub fn run(context: &Context, command: &BenchCommand) -> Result<(), LabError> {
    match command {
        BenchCommand::Produce(args) => one(context, &args.scenario()?, &args.common),
        BenchCommand::Consume(args) => one(context, &args.scenario()?, &args.common),
        BenchCommand::E2e(args) => one(context, &args.scenario()?, &args.common),
    }
}

/// One run of one scenario on the broker of the command line.
fn one(context: &Context, scenario: &Scenario, common: &Common) -> Result<(), LabError> {
    let stop = stop_on_signals()?;
    let started_at_ms = now_ms();
    can_be_written(common.out.as_deref())?;
    let broker = cluster::describe(&context.bootstrap, None, &scenario.topic)?;
    let mut screen = Screen::new(&format!("bench {} on {}", scenario.name, broker.address));
    let run = engine::run(&broker, 0, scenario, &stop, &mut screen)?;
    let text = summary(&run, &broker.name, broker.durability.words());
    let complete = !stop.load(Ordering::Relaxed);
    let verdict = verdict(&run);
    let file = result_file(context, started_at_ms, vec![broker], complete, Measured::Run(run));
    keep(context, common.out.as_deref(), &file, &text)?;
    if complete { verdict } else { Err(LabError::Interrupted) }
}

/// INVALID is an error, after everything was printed and kept.
fn verdict(run: &Run) -> Result<(), LabError> {
    if run.validity.is_valid() { Ok(()) } else { Err(LabError::Invalid(run.validity.reasons.join("; "))) }
}

/// A flag that the first Ctrl-C (or SIGTERM) sets; a second one ends the process at once.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, LabError> {
    const ENDED_BY_SIGNAL: i32 = 130;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| LabError::Failed(format!("signals cannot be watched: {error}")))?;
    }
    Ok(stop)
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The document of a command.
pub fn result_file(
    context: &Context,
    started_at_ms: i64,
    brokers: Vec<Broker>,
    complete: bool,
    measured: Measured,
) -> ResultFile {
    ResultFile {
        format: FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
        command: context.command.clone(),
        started_at_ms,
        machine: machine::facts(),
        brokers,
        complete,
        measured,
    }
}

/// Fails before anything is measured if the result could not be written.
pub fn can_be_written(out: Option<&Path>) -> Result<(), LabError> {
    let Some(path) = out else { return Ok(()) };
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
        .map_err(|error| LabError::Usage(format!("the result cannot be written to {}: {error}", path.display())))
}

/// Writes the result where it was asked for, and prints it.
pub fn keep(context: &Context, out: Option<&Path>, file: &ResultFile, text: &str) -> Result<(), LabError> {
    let json = serde_json::to_string_pretty(file).map_err(|error| LabError::Failed(error.to_string()))? + "\n";
    if let Some(path) = out {
        std::fs::write(path, &json).map_err(|error| {
            LabError::Failed(format!("the result cannot be written to {}: {error}", path.display()))
        })?;
    }
    let shown = if context.json { &json } else { text };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| LabError::output(&error))
}
