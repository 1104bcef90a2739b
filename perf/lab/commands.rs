//! The commands of `coretide bench`: from arguments to a result that is printed and kept.
//! Must never touch: how anything is measured.

use crate::lab::args::{BenchCommand, CompareArgs, KneeArgs, RunArgs, SweepArgs};
use crate::lab::cluster;
use crate::lab::compare;
use crate::lab::engine;
use crate::lab::error::LabError;
use crate::lab::file::{self, SHIPPED};
use crate::lab::knee;
use crate::lab::machine;
use crate::lab::result::{Broker, FORMAT, Measured, ResultFile, Validity};
use crate::lab::scenario::Scenario;
use crate::lab::screen::{Screen, summary};
use crate::lab::shown;
use crate::lab::sweep;
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
        BenchCommand::Produce(args) => one(context, &args.scenario()?, args.common.out.as_deref()),
        BenchCommand::Consume(args) => one(context, &args.scenario()?, args.common.out.as_deref()),
        BenchCommand::E2e(args) => one(context, &args.scenario()?, args.common.out.as_deref()),
        BenchCommand::Run(args) => scenario(context, args),
        BenchCommand::Compare(args) => compared(context, args),
        BenchCommand::Sweep(args) => swept(context, args),
        BenchCommand::Knee(args) => searched(context, args),
        BenchCommand::Versus(args) => shown::versus(context, args),
        BenchCommand::Report(args) => shown::report(args),
    }
}

fn scenario(context: &Context, args: &RunArgs) -> Result<(), LabError> {
    if args.list {
        let mut text = String::new();
        for (name, _) in SHIPPED {
            text.push_str(&format!("{name:<28}{}\n", file::load(name)?.description));
        }
        return print(&text);
    }
    if let Some(name) = &args.print {
        return print(file::shipped(name)?);
    }
    let scenario = file::load(args.file.as_deref().unwrap_or_default())?;
    one(context, &args.change.apply(scenario)?, args.change.out.as_deref())
}

fn compared(context: &Context, args: &CompareArgs) -> Result<(), LabError> {
    let scenario = args.base.scenario()?;
    let out = args.base.change.out.as_deref();
    result_can_be_written(out)?;
    let stop = stop_on_signals()?;
    let started_at_ms = now_ms();
    compare::check_pairs(args.pairs)?;
    let mut brokers = Vec::new();
    for text in &args.brokers {
        let (name, address) = named(text);
        let mut broker = cluster::describe(&address, name, &scenario.topic)?;
        if brokers.iter().any(|other: &Broker| other.name == broker.name) {
            broker.name = format!("{} {}", broker.name, brokers.len() + 1);
        }
        brokers.push(broker);
    }
    compare::check(&brokers, args.allow_unequal)?;
    let (comparison, failed) =
        compare::measure(&brokers, &scenario, (args.pairs, args.seed), &stop, |round, rounds, broker| {
            Box::new(Screen::new(&format!(
                "round {} of {rounds}: {} [{}]",
                round + 1,
                broker.name,
                broker.durability.words()
            )))
        })?;
    let text = compare::table(&comparison, &brokers, &scenario);
    let validity = comparison.validity.clone();
    end(context, out, (started_at_ms, brokers), (&stop, failed), Measured::Compare(comparison), &text)?;
    verdict(&validity)
}

fn swept(context: &Context, args: &SweepArgs) -> Result<(), LabError> {
    let scenario = args.base.scenario()?;
    let axes = args.axes()?;
    let out = args.base.change.out.as_deref();
    result_can_be_written(out)?;
    let stop = stop_on_signals()?;
    let started_at_ms = now_ms();
    let broker = cluster::describe(&context.bootstrap, None, &scenario.topic)?;
    let (sweep, failed) =
        sweep::measure(&broker, &scenario, axes, args.design, &args.aims(), &stop, |place, count, words| {
            Box::new(Screen::new(&format!("{} of {count}: {words}", place + 1)))
        })?;
    let text = sweep::table(&sweep, &broker);
    let undecided = sweep::undecided(&sweep);
    end(context, out, (started_at_ms, vec![broker]), (&stop, failed), Measured::Sweep(sweep), &text)?;
    undecided.map_or(Ok(()), |why| Err(LabError::Invalid(why)))
}

fn searched(context: &Context, args: &KneeArgs) -> Result<(), LabError> {
    let (scenario, search) = (args.base.scenario()?, args.search()?);
    let out = args.base.change.out.as_deref();
    result_can_be_written(out)?;
    let stop = stop_on_signals()?;
    let started_at_ms = now_ms();
    let broker = cluster::describe(&context.bootstrap, None, &scenario.topic)?;
    let (knee, failed) = knee::measure(&broker, &scenario, search, &stop, |rate, repeat| {
        Box::new(Screen::new(&format!("{rate:.0} records/s, repeat {}", repeat + 1)))
    })?;
    let text = knee::table(&knee, &broker);
    let undecided = knee::undecided(&knee);
    end(context, out, (started_at_ms, vec![broker]), (&stop, failed), Measured::Knee(knee), &text)?;
    match undecided {
        Some(rate) => Err(LabError::Invalid(format!("the search ended at {rate:.0} records/s"))),
        None => Ok(()),
    }
}

/// Name and address of `NAME=HOST:PORT` or `HOST:PORT`; without a host it is this machine.
fn named(text: &str) -> (Option<&str>, String) {
    let (name, address) = text.split_once('=').map_or((None, text), |(name, at)| (Some(name), at));
    let host = if address.starts_with(':') { "127.0.0.1" } else { "" };
    (name, format!("{host}{address}"))
}

/// Keeps and prints what was measured; an error if a signal ended it early, or that which did.
fn end(
    context: &Context,
    out: Option<&Path>,
    (started_at_ms, brokers): (i64, Vec<Broker>),
    (stop, failed): (&AtomicBool, Option<LabError>),
    measured: Measured,
    text: &str,
) -> Result<(), LabError> {
    let stopped = stop.load(Ordering::Relaxed);
    let complete = !stopped && failed.is_none();
    let text = if complete {
        text.to_string()
    } else {
        format!("{text}INCOMPLETE: this is what was measured until it ended early\n")
    };
    keep(context, out, &result_file(context, started_at_ms, brokers, complete, measured), &text)?;
    match failed {
        _ if stopped => Err(LabError::Interrupted),
        Some(failed) => Err(failed),
        None => Ok(()),
    }
}

/// One run of one scenario on the broker of the command line.
fn one(context: &Context, scenario: &Scenario, out: Option<&Path>) -> Result<(), LabError> {
    result_can_be_written(out)?;
    let stop = stop_on_signals()?;
    let started_at_ms = now_ms();
    let broker = cluster::describe(&context.bootstrap, None, &scenario.topic)?;
    let mut screen = Screen::new(&format!("bench {} on {}", scenario.name, broker.address));
    let run = engine::run(&broker, 0, scenario, &stop, &mut screen)?;
    let text = summary(&run, &broker.name, broker.durability.words());
    let verdict = verdict(&run.validity);
    end(context, out, (started_at_ms, vec![broker]), (&stop, None), Measured::Run(run), &text)?;
    verdict
}

/// INVALID is an error, after everything was printed and kept.
fn verdict(validity: &Validity) -> Result<(), LabError> {
    if validity.is_valid() { Ok(()) } else { Err(LabError::Invalid(validity.in_short())) }
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

/// Fails before anything is measured if the result could not be written, or is named like a page.
pub fn result_can_be_written(out: Option<&Path>) -> Result<(), LabError> {
    let Some(path) = out else { return Ok(()) };
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("html")) {
        return Err(LabError::Usage(format!(
            "--out {}: the result is JSON; name it so, and `coretide bench report` makes a page of it (versus also with --html)",
            path.display()
        )));
    }
    can_be_written(path)
}

/// Fails if this file could not be written. Leaves what is there, and nothing where nothing is.
pub fn can_be_written(path: &Path) -> Result<(), LabError> {
    let fresh = !path.exists();
    let tried = std::fs::OpenOptions::new().create(true).append(true).open(path).map(drop);
    tried
        .and_then(|()| if fresh { std::fs::remove_file(path) } else { Ok(()) })
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
    print(if context.json { &json } else { text })
}

fn print(text: &str) -> Result<(), LabError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| LabError::output(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_have_names_and_ports_of_this_machine_need_no_host() {
        assert_eq!(named("ours=:9092"), (Some("ours"), "127.0.0.1:9092".to_string()));
        assert_eq!(named("kafka-1:9092"), (None, "kafka-1:9092".to_string()));
    }

    #[test]
    fn asking_whether_a_result_can_be_written_leaves_no_empty_file_and_touches_no_old_one() {
        let folder = std::env::temp_dir().join(format!("coretide-bench-out-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (fresh, old) = (folder.join("fresh.json"), folder.join("old.json"));
        std::fs::write(&old, "kept").unwrap();
        result_can_be_written(Some(&fresh)).unwrap();
        can_be_written(&folder.join("page.html")).unwrap();
        can_be_written(&old).unwrap();
        assert!(!fresh.exists());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept");
        let page = result_can_be_written(Some(&folder.join("page.html"))).unwrap_err();
        assert!(page.to_string().contains("the result is JSON"), "{page}");
        let refused = result_can_be_written(Some(&folder.join("none/x.json"))).unwrap_err();
        assert!(matches!(&refused, LabError::Usage(why) if why.contains("none/x.json")), "{refused}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
