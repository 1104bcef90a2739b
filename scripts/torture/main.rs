//! `cargo x torture` and `cargo x soak`: the real broker on a real file system under clients of many kinds, killed again
//! and again, and what it acknowledged held against what it gives back.
//!
//! ```text
//!   cycles ──► broker (a process: started, killed, started again)     soak ──► broker (one life, sampled)
//!      │          ▲ sockets
//!      ├─► crew: writer · members · churn ──► world: topics with their models, commits, failures
//!      └─► verify: every partition from end to end ──► model: what must, may, and must not be there
//! ```
//!
//! Must never touch: the broker's rooms (it knows the protocol only).

mod broker;
mod calls;
mod churn;
mod content;
mod crew;
mod cycles;
mod lag;
mod members;
mod model;
mod options;
mod selftest;
mod soak;
mod verify;
mod visitors;
mod world;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use broker::{Place, free_address};
use cycles::Torture;
use options::{Options, Task};
use soak::Soak;
use world::World;

/// Where the data goes when nobody says: on the file system of the build, not in memory.
const DEFAULT_FOLDER: &str = "target/torture";

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let folder = match &options.data {
        Some(folder) => folder.clone(),
        None => PathBuf::from(format!("{DEFAULT_FOLDER}-{}-{}", options.seed, std::process::id())),
    };
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let is_used = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?.next().is_some();
    if is_used {
        return Err(format!("{} is not empty", folder.display()));
    }
    if !options.binary.exists() {
        return Err(format!("{} is not there: cargo build --release", options.binary.display()));
    }
    let place = Place {
        binary: options.binary.clone(),
        data: folder.join("data"),
        log: folder.join("broker.log"),
        address: free_address(options.seed)?,
    };
    let result = tasks(options, &place);
    if result.is_ok() && options.data.is_none() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    result.map_err(|problem| failed(options, &folder, &problem))
}

fn tasks(options: &Options, place: &Place) -> Result<(), String> {
    if options.self_test {
        selftest::run(place, options.seed)?;
    }
    if options.cycles == 0 {
        return Ok(());
    }
    let world = World::new(place.address.clone());
    let result = match options.task {
        Task::Torture => Torture::new(options, &world, place).run(),
        Task::Soak => Soak::new(options, &world, place).run(),
    };
    let failures = world.failures();
    let mut said: Vec<String> = result.err().into_iter().collect();
    said.extend(failures.iter().map(|failure| format!("  - {failure}")));
    if said.is_empty() {
        return Ok(());
    }
    if let Some(longest) = world.lag.standstill() {
        let seconds = longest.as_secs();
        said.push(format!("Nothing of this process ran for {seconds} s meanwhile: what timed out may come of that."));
    }
    Err(said.join("\n"))
}

fn failed(options: &Options, folder: &Path, problem: &str) -> String {
    let again = match options.task {
        Task::Torture => format!(
            "The same schedule of loads, settings and kills (not the same interleaving) once more, keeping the data as each kill \
             leaves it:\n  cargo x torture --seed {} --images",
            options.seed
        ),
        Task::Soak => format!("Once more:\n  cargo x soak --seed {}", options.seed),
    };
    format!("FAILED: {problem}\nThe data and broker.log are kept in {}.\n{again}", folder.display())
}
