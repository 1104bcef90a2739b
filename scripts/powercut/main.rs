//! Power cuts on real file systems: a disk of ours behind FUSE and a loop device, ext4 or XFS on it, the real broker on
//! that, clients that remember what was acknowledged.
//!
//! ```text
//!   main ── cuts (and their proof), eio, flip ── lab ─┬─ broker      the real binary, a process of its own
//!                                                     ├─ load ─ ledger ─ verify
//!                                                     └─ volume ─ fuse ─ disk
//! ```
//!
//! Must never touch: the broker's rooms (it is a black box here).

mod broker;
mod cuts;
mod disk;
mod eio;
mod flip;
mod fuse;
mod lab;
mod ledger;
mod load;
mod verify;
mod volume;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use coretide_reactor::signals::Signals;
use coretide_reactor::wake::EventFd;

use crate::lab::Options;
use crate::volume::FileSystem;

/// The exit code that says that nothing was tried, since the machine cannot do it.
const EXIT_NOT_RUN: u8 = 77;

const USAGE: &str = "usage: powercut [--cuts N] [--fs ext4|xfs] [--seed S] [--binary PATH] [--prove] [--eio] [--flip] [--short] [--can] [--keep DIR]";

/// What was asked for.
struct Arguments {
    cuts: u32,
    wanted: Vec<FileSystem>,
    seed: u64,
    binary: PathBuf,
    prove: bool,
    eio: bool,
    flip: bool,
    short: bool,
    can: bool,
    keep: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut asked = Arguments {
        cuts: 100,
        wanted: FileSystem::ALL.to_vec(),
        seed: SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()),
        binary: PathBuf::from("target/release/coretide"),
        prove: false,
        eio: false,
        flip: false,
        short: false,
        can: false,
        keep: None,
    };
    let mut cuts = None;
    let mut short = false;
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--cuts" => cuts = Some(number(&value()?)? as u32),
            "--seed" => asked.seed = number(&value()?)?,
            "--fs" => {
                let name = value()?;
                asked.wanted = vec![FileSystem::named(&name).ok_or_else(|| format!("no such file system: {name}"))?];
            }
            "--binary" => asked.binary = PathBuf::from(value()?),
            "--keep" => asked.keep = Some(PathBuf::from(value()?)),
            "--prove" => asked.prove = true,
            "--eio" => asked.eio = true,
            "--flip" => asked.flip = true,
            "--short" => short = true,
            "--can" => asked.can = true,
            _ => return Err(format!("{argument} is unknown\n{USAGE}")),
        }
    }
    // Proof and faults stand alone unless cuts are asked for, too.
    let default = if short {
        3
    } else if asked.prove || asked.eio || asked.flip {
        0
    } else {
        100
    };
    asked.cuts = cuts.unwrap_or(default);
    if short {
        (asked.short, asked.prove, asked.eio) = (true, true, true);
    }
    Ok(asked)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn main() -> ExitCode {
    let asked = match arguments() {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = volume::missing(&asked.wanted) {
        eprintln!("not run: {why}");
        return ExitCode::from(EXIT_NOT_RUN);
    }
    if asked.can {
        return ExitCode::SUCCESS;
    }
    match prepared(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn prepared(asked: &Arguments) -> Result<(), String> {
    if !asked.binary.exists() {
        return Err(format!("{} is not there: cargo build --release", asked.binary.display()));
    }
    volume::sweep_stale();
    let root = volume::make_root()?;
    sweep_when_asked_to_end(root.clone())?;
    sweep_on_panic(root.clone());
    let options = Options {
        binary: asked.binary.canonicalize().map_err(|error| error.to_string())?,
        root: root.clone(),
        seed: asked.seed,
        keep: asked.keep.clone(),
    };
    println!("seed {}, broker {}", options.seed, options.binary.display());
    let result = asked.wanted.iter().try_for_each(|fs| on(asked, &options, *fs));
    match &result {
        Ok(()) => {
            // Only where all went well: what the broker said is evidence otherwise.
            let _ = std::fs::remove_file(root.join("broker.log"));
        }
        Err(_) => eprintln!("what the broker said is in {}", root.join("broker.log").display()),
    }
    volume::sweep(&root);
    result
}

fn on(asked: &Arguments, options: &Options, fs: FileSystem) -> Result<(), String> {
    let began = Instant::now();
    if asked.cuts > 0 {
        let totals = cuts::run(options, fs, asked.cuts)?;
        println!(
            "{}: {} cuts ({} while starting, {} after a clean stop), {} sectors lost, {} kept; {} records acknowledged, \
             {} comparisons, {} of unknown outcome found, {} committed offsets; slowest start {} ms; {} s. Nothing lost.",
            fs.name(),
            totals.cuts,
            totals.at_start,
            totals.after_stop,
            totals.lost_sectors,
            totals.kept_sectors,
            totals.acked,
            totals.compared,
            totals.found,
            totals.commits,
            totals.slowest_start.as_millis(),
            began.elapsed().as_secs()
        );
    }
    if asked.prove {
        let [relaxed, lying] = cuts::prove(options, fs)?;
        println!(
            "{}: caught losing records: told not to flush at cut {relaxed}, on a lying disk at cut {lying}",
            fs.name()
        );
    }
    if asked.eio {
        eio::run(options, fs, asked.short)?;
    }
    if asked.flip {
        flip::run(options, fs)?;
    }
    Ok(())
}

/// A panic ends the process at once (release builds abort), but not without sweeping up.
fn sweep_on_panic(root: PathBuf) {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        volume::sweep(&root);
    }));
}

/// Mounts and loop devices must not outlive this process when it is told to end.
fn sweep_when_asked_to_end(root: PathBuf) -> Result<(), String> {
    let signals = Signals::take().map_err(|error| error.to_string())?;
    let never = EventFd::new().map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        signals.wait(&never);
        eprintln!("ending: sweeping up {}", root.display());
        volume::sweep(&root);
        let _ = std::fs::remove_dir_all(&root);
        std::process::exit(130);
    });
    Ok(())
}
