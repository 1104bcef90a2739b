//! `cargo x diskfull`: the real broker on a small volume that runs full, is found full, and is found read-only.
//!
//! ```text
//!   volume (ext4 in an image behind a loop device) ◄── broker (a process) ◄── load (records that follow from their number)
//! ```
//!
//! Every step ends with all that was ever acknowledged being read back and compared.
//! Must never touch: the broker's rooms (it knows the protocol only).

mod broker;
mod load;
mod steps;
mod volume;

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use broker::{Place, project};
use steps::Run;
use volume::Volume;

const USAGE: &str = "usage: cargo x diskfull [--short] [--mib N] [--binary PATH] [--probe]
  --short                 a volume of 256 MiB and one round
  --mib N                 the volume's size in MiB (512)
  --binary PATH           the broker to run (target/release/coretide, which is built first)
  --probe                 only says whether it can run here";

/// Where the volume lies: below the build, not in memory.
const FOLDER: &str = "target/diskfull";

/// The exit code where this machine cannot run it.
const EXIT_NOT_RUN: u8 = 77;

struct Options {
    mib: u64,
    rounds: u32,
    binary: PathBuf,
    probe: bool,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let binary = project()?.join("target/release/coretide");
        let mut options = Options { mib: 512, rounds: 3, binary, probe: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--short" => (options.mib, options.rounds) = (256, 1),
                "--probe" => options.probe = true,
                "--mib" => {
                    let mib = arguments.next().and_then(|mib| mib.parse().ok()).filter(|mib| *mib >= 128);
                    options.mib = mib.ok_or("--mib wants a number of 128 or more")?;
                }
                "--binary" => options.binary = arguments.next().ok_or("--binary wants a path")?.into(),
                other => return Err(format!("{other} is not known\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::read(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = volume::why_not() {
        eprintln!("not run: {why}");
        return ExitCode::from(EXIT_NOT_RUN);
    }
    if options.probe {
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let folder = project()?.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let log = folder.join("broker.log");
    let _ = fs::remove_file(&log);
    for round in 1..=options.rounds {
        println!("round {round} of {}: a volume of {} MiB", options.rounds, options.mib);
        let volume = Volume::make(&folder, options.mib)?;
        let data = volume.folder("data");
        let overrides = ["log.segment.delete.delay.ms=500", "log.segment.bytes=16777216"].map(str::to_string).to_vec();
        let place = Place { binary: options.binary.clone(), data, log: log.clone(), overrides };
        let mut run = Run::new(volume, place);
        run.all().map_err(|problem| format!("{problem}\nwhat the broker said: {}", log.display()))?;
    }
    Ok(())
}
