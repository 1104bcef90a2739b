//! Runs seeds of the simulation: some hundreds by default, or as many as asked.
//!
//! `cargo test -p coretide-sim --test seeds -- [--seeds N] [--first S] [--solo | --whole] [--progress]`; `cargo x sim` is
//! short for it. A failure names its seed and the command that replays it. Must never touch: what a seed does.
#![allow(clippy::disallowed_methods, reason = "the runner measures real time, the runs do not")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use coretide_sim::run;
use coretide_sim::solo::run_solo;

/// Seeds of either kind when nothing is asked for.
const SOLO_SEEDS: u64 = 400;
const WHOLE_SEEDS: u64 = 250;
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
}

fn parse() -> Result<Option<Asked>, String> {
    let mut asked = Asked { seeds: None, first: 1, solo: true, whole: true, progress: false };
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

fn whole(seed: u64) -> Result<String, String> {
    let report = run(seed).map_err(|failure| failure.to_string())?;
    if seed.is_multiple_of(TWICE_EVERY) {
        let again = run(seed).map_err(|failure| failure.to_string())?;
        if again != report {
            return Err(format!("seed {seed} does not replay: {report:?}, then {again:?}"));
        }
    }
    Ok(format!("{report:?}"))
}

fn solo(seed: u64) -> Result<String, String> {
    run_solo(seed).map(|report| format!("{report:?}"))
}

/// Runs all seeds of one kind on all cores; the number of failures.
fn run_all(kind: &str, asked: &Asked, count: u64, one: fn(u64) -> Result<String, String>) -> u64 {
    let (next, failures, began) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count || failures.load(Ordering::Relaxed) >= FAILURES_MAX {
                return;
            }
            let seed = asked.first + place;
            match guarded(seed, || one(seed)) {
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

fn main() -> ExitCode {
    let asked = match parse() {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    if asked.solo {
        failed += run_all("solo", &asked, asked.seeds.unwrap_or(SOLO_SEEDS), solo);
    }
    if asked.whole {
        failed += run_all("whole", &asked, asked.seeds.unwrap_or(WHOLE_SEEDS), whole);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
