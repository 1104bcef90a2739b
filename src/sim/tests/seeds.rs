//! Runs seeds of the simulation: some thousands by default, or as many as asked.
//!
//! `cargo test -p coretide-sim --test seeds -- [--seeds N] [--first S] [--solo | --whole] [--report] [--progress]`; `cargo x sim`
//! is short for it. A failure names its seed and the command that replays it. Must never touch: what a seed does.
#![allow(clippy::disallowed_methods, reason = "the runner measures real time, the runs do not")]
#![allow(clippy::disallowed_types, reason = "the threads of the runner add up what their runs reached")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use coretide_sim::coverage::{ALL, Coverage, LEFT_OUT};
use coretide_sim::solo::run_solo;
use coretide_sim::{run, run_covered};

/// Seeds of either kind when nothing is asked for.
const SOLO_SEEDS: u64 = 3000;
const WHOLE_SEEDS: u64 = 1000;
/// Of so many runs one is done twice, and both must leave the same trace.
const TWICE_EVERY: u64 = 25;
/// Failures after which the rest is not run.
const FAILURES_MAX: u64 = 5;

struct Asked {
    seeds: Option<u64>,
    first: u64,
    solo: bool,
    whole: bool,
    progress: bool,
    report: bool,
}

/// What the runs of one kind came to.
#[derive(Default)]
struct Totals {
    virtual_us: AtomicU64,
    answers: AtomicU64,
    acked: AtomicU64,
    blamed: AtomicU64,
    coverage: Mutex<Coverage>,
}

fn parse() -> Result<Option<Asked>, String> {
    let mut asked = Asked { seeds: None, first: 1, solo: true, whole: true, progress: false, report: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64, String> {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            value.parse().map_err(|_| format!("{argument} needs a number, not '{value}'"))
        };
        match argument.as_str() {
            "--seeds" => asked.seeds = Some(number()?),
            "--first" => asked.first = number()?,
            "--solo" => asked.whole = false,
            "--whole" => asked.solo = false,
            "--progress" => asked.progress = true,
            "--report" => (asked.report, asked.solo) = (true, false),
            // What cargo passes on to every test; a filter that names other tests is not for us.
            flag if flag.starts_with('-') => {}
            filter if "seeds".contains(filter) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(asked))
}

/// Runs one seed; a panic is a failure like any other.
fn guarded<T>(seed: u64, run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("seed {seed} panicked: {}", text.unwrap_or("without a word")))
    })
}

fn whole(seed: u64, asked: &Asked, totals: &Totals) -> Result<String, String> {
    let report = if asked.report {
        let (report, coverage) = run_covered(seed);
        totals.coverage.lock().expect("no run panics with it").merge(coverage);
        report
    } else {
        run(seed)
    };
    let report = report.map_err(|failure| failure.to_string())?;
    if seed.is_multiple_of(TWICE_EVERY) {
        let again = run(seed).map_err(|failure| failure.to_string())?;
        if again != report {
            return Err(format!("seed {seed} does not replay: {report:?}, then {again:?}"));
        }
    }
    totals.virtual_us.fetch_add(report.virtual_us, Ordering::Relaxed);
    totals.answers.fetch_add(report.answers, Ordering::Relaxed);
    totals.acked.fetch_add(report.acked, Ordering::Relaxed);
    totals.blamed.fetch_add(u64::from(report.blamed.is_some()), Ordering::Relaxed);
    Ok(format!("{report:?}"))
}

fn solo(seed: u64, _: &Asked, _: &Totals) -> Result<String, String> {
    run_solo(seed).map(|report| format!("{report:?}"))
}

type One = fn(u64, &Asked, &Totals) -> Result<String, String>;

/// CPU time of this process so far, in milliseconds; none where the system does not say.
fn cpu_ms() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    // User and system time, in the hundredths of a second that every Linux reports them in.
    Some((ticks(11)? + ticks(12)?) * 10)
}

/// Runs all seeds of one kind on all cores; the number of failures.
fn run_all(kind: &str, asked: &Asked, count: u64, one: One, totals: &Totals) -> u64 {
    let (next, failures, began) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count || failures.load(Ordering::Relaxed) >= FAILURES_MAX {
                return;
            }
            let seed = asked.first + place;
            match guarded(seed, || one(seed, asked, totals)) {
                Ok(report) if count <= 3 => println!("{kind} seed {seed}: {report}"),
                Ok(_) => {}
                Err(what) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    println!("FAILED ({kind}): {what}\n  cargo x sim --{kind} --seeds 1 --first {seed}");
                }
            }
            if asked.progress && (place + 1).is_multiple_of(100) {
                println!("{kind}: {} of {count} seeds, {:.0?}", place + 1, began.elapsed());
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let failed = failures.load(Ordering::Relaxed);
    println!("{kind}: {} seeds from {}, {failed} failed, {:.1?}", count, asked.first, began.elapsed());
    failed
}

/// The error codes that the rooms under the simulation name outside their tests, by Kafka's numbers.
fn codes_in_the_sources() -> Vec<(String, String)> {
    let rooms = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a room lies in src").to_path_buf();
    let table = std::fs::read_to_string(rooms.join("model/error.rs")).expect("the table of error codes");
    let mut names = BTreeSet::new();
    let mut todo: Vec<_> = ["shard", "partition", "coordinator", "controller"].map(|room| rooms.join(room)).into();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let below = std::fs::read_dir(&path).expect("a folder of the sources");
            todo.extend(below.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.to_string_lossy().contains("test") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for after in text.split("ErrorCode::").skip(1) {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
                names.insert(after[..end].to_string());
            }
        }
    }
    let number = |name: String| {
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{name} = ")));
        line.map(|number| (number.trim_end_matches(',').to_string(), name))
    };
    names.into_iter().filter_map(number).collect()
}

/// Prints what was reached of what there is.
fn print_coverage(coverage: &Coverage) {
    let mut codes = codes_in_the_sources();
    codes.retain(|(_, code)| LEFT_OUT.iter().all(|(left_out, _)| left_out != code));
    let numbers: Vec<&str> = codes.iter().map(|(number, _)| number.as_str()).collect();
    let (mut reached_all, mut all) = (0, 0);
    for (area, items) in ALL.iter().copied().chain([("error code", numbers.as_slice())]) {
        let (reached, missed) = coverage.split(area, items);
        (reached_all, all) = (reached_all + reached.len(), all + items.len());
        println!("{area}: {} of {}", reached.len(), items.len());
        for missed in missed {
            let name = codes.iter().find(|(number, _)| area == "error code" && number == missed);
            let name = name.map_or(missed, |(_, name)| name.as_str());
            println!("  not reached: {name}");
        }
    }
    for (left_out, why) in LEFT_OUT {
        println!("left out: {left_out}, {why}");
    }
    println!("reached: {reached_all} of {all} = {:.1} %", reached_all as f64 * 100.0 / all as f64);
}

fn main() -> ExitCode {
    let asked = match parse() {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let (mut failed, totals) = (0, Totals::default());
    if asked.solo {
        failed += run_all("solo", &asked, asked.seeds.unwrap_or(SOLO_SEEDS), solo, &totals);
    }
    if asked.whole {
        let before = cpu_ms();
        failed += run_all("whole", &asked, asked.seeds.unwrap_or(WHOLE_SEEDS), whole, &totals);
        let [virtual_us, answers, acked, blamed] =
            [&totals.virtual_us, &totals.answers, &totals.acked, &totals.blamed].map(|n| n.load(Ordering::Relaxed));
        let virtual_s = virtual_us as f64 / 1e6;
        println!(
            "whole: {virtual_s:.0} broker-seconds, {answers} answers, {acked} records acked, {blamed} runs that the disk broke"
        );
        if let (Some(before), Some(after)) = (before, cpu_ms()) {
            println!("whole: {:.0} broker-seconds per CPU-second", virtual_s * 1000.0 / (after - before).max(1) as f64);
        }
    }
    if asked.report {
        print_coverage(&totals.coverage.lock().expect("no run panics with it"));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
