//! `bench versus`: our broker and another one, by turns, with raw frames, so that the brokers' cost is what is seen.
//! Rounds are whole: each has every row on every side once, in an order of its own, and only ratios of the same round count.
//! Must never touch: how a result is shown.

mod paired;
mod rows;
mod sides;
mod table;
mod turns;

pub use rows::{HOLDS_FROM, ROWS};
pub use sides::{PROFILES, Profile};
pub use table::{Aims, Pairing, RawRatio, RawRow, RawSide, RawTable, RawTurn, Reached, figures};

use crate::bench::INTERRUPTED;
use crate::lab::kafka;
use crate::lab::machine::Machine;
use crate::lab::result::{FORMAT, Measured, ResultFile, Validity};
use clap::Args;
use coretide_stdx::prng::Prng;
use rows::Row;
use sides::{OTHER, OURS, Sides, Subject};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use turns::Turn;

/// What `versus` is told.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// `kafka` to fetch and start Apache Kafka, or HOST:PORT of a broker that runs already
    pub other: String,
    /// The version of Apache Kafka to fetch from Maven Central (KAFKA_HOME, an unpacked distribution, is used as it is)
    #[arg(long, default_value = kafka::VERSION, value_name = "VERSION")]
    pub kafka_version: String,
    /// A line more for Kafka's server.properties; as often as wanted
    #[arg(long = "kafka-config", value_name = "KEY=VALUE")]
    pub kafka_configs: Vec<String>,
    /// What to compare; all where none is given
    #[arg(long = "profile", value_enum, value_name = "PROFILE")]
    pub profiles: Vec<Profile>,
    /// Only rows whose name contains this; as often as wanted
    #[arg(long = "row", value_name = "TEXT")]
    pub rows: Vec<String>,
    /// Rounds; each measures every row on every side once
    #[arg(long, default_value_t = 5)]
    pub pairs: usize,
    /// Measured seconds of each turn
    #[arg(long, default_value_t = 10.0)]
    pub secs: f64,
    /// Seconds of load on Kafka (and 10 at most on ours) before the first turn
    #[arg(long, default_value_t = 60.0)]
    pub warmup_secs: f64,
    /// How much a turn of the 256 KiB row writes at least, in GB
    #[arg(long, default_value_t = 20.0)]
    pub volume_gb: f64,
    /// Where the order of the turns begins; any number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A folder on the disk to be measured, for both brokers' data, which is removed in the end
    #[arg(long, default_value = "versus-data", value_name = "DIR")]
    pub data: PathBuf,
    /// The coretide binary to measure [default: this program]
    #[arg(long, value_name = "PATH")]
    pub coretide: Option<PathBuf>,
    /// An argument more for our broker; as often as wanted
    #[arg(long = "broker-arg", allow_hyphen_values = true, value_name = "ARG")]
    pub broker_args: Vec<String>,
    /// The process of the broker that runs already, to measure its CPU
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// The result file, written anew after every round
    #[arg(long, default_value = "versus.json", value_name = "FILE")]
    pub out: PathBuf,
}

/// How long our own broker is warmed up at most: there is no just-in-time compiler in it.
const OURS_WARMUP_MAX_SECS: f64 = 10.0;
/// Seconds before the measured time of each turn.
const TURN_WARMUP_SECS: f64 = 1.0;

/// A comparison on its way.
struct Versus<'a> {
    options: &'a Options,
    stop: &'a Arc<AtomicBool>,
    subjects: [Subject; 2],
    sides: Sides,
    rows: Vec<&'static Row>,
    file: ResultFile,
}

/// Runs it (as the command line `command` asked), saying on standard error what it is at; writes the result file after every round, and hands each state of it to
/// `show`; ends early once `stop` is set. Errors say which broker failed at what; what was measured until then is in the file.
pub fn run(
    options: &Options,
    command: &[String],
    stop: &Arc<AtomicBool>,
    show: &mut dyn FnMut(&ResultFile) -> Result<(), String>,
) -> Result<(), String> {
    let wanted =
        |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part.as_str()));
    let rows: Vec<&'static Row> = ROWS.iter().filter(wanted).collect();
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row is called {}; there are: {}", options.rows.join(", "), names.join("; ")));
    }
    if options.pairs == 0 {
        return Err("--pairs: at least one round is needed, and five for an interval that says something".to_string());
    }
    fs::create_dir_all(&options.data).map_err(|e| format!("{}: {e}", options.data.display()))?;
    let cleared = Cleared(&options.data);
    let mut versus = Versus::start(options, rows, command, stop)?;
    versus.warm_up()?;
    let outcome = versus.rounds(show);
    drop(versus);
    drop(cleared);
    outcome
}

/// Removes the folder in the end if nothing but the brokers' logs is left in it.
struct Cleared<'a>(&'a Path);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        for log in ["coretide.log", "kafka.log"] {
            // A log that was never written, or that somebody took away.
            let _ = fs::remove_file(self.0.join(log));
        }
        // Kept where it holds anything else.
        let _ = fs::remove_dir(self.0);
    }
}

impl<'a> Versus<'a> {
    fn start(
        options: &'a Options,
        rows: Vec<&'static Row>,
        command: &[String],
        stop: &'a Arc<AtomicBool>,
    ) -> Result<Versus<'a>, String> {
        let mut machine = Machine::read(&[("data of both brokers", &options.data)]);
        let profiles = if options.profiles.is_empty() { &PROFILES[..] } else { &options.profiles };
        let (other, sides) = if options.other == "kafka" {
            let home = std::env::var_os("KAFKA_HOME").map(PathBuf::from);
            let install = kafka::install(home, &options.kafka_version, &kafka::cache_folder()?)?;
            machine.add_version("java", "java", &["-version"]);
            eprintln!("starting {}", install.name());
            let subject = Subject::kafka(&install, &options.data, &options.kafka_configs)?;
            (subject, Sides::against_kafka(&install.name(), profiles))
        } else {
            let subject = Subject::running(&options.other, options.pid)?;
            let sides = Sides::against_running(&subject.broker);
            (subject, sides)
        };
        let binary = match &options.coretide {
            Some(path) => path.clone(),
            None => std::env::current_exe().map_err(|e| format!("this program's path: {e}"))?,
        };
        let ours = Subject::ours(&binary, &options.data, &options.broker_args)?;
        let table = RawTable {
            seed: options.seed,
            rounds: options.pairs,
            secs: options.secs,
            warmed_up_secs: vec![0.0; 2],
            sides: sides.sides.clone(),
            pairings: sides.pairings.iter().map(|(pairing, _)| pairing.clone()).collect(),
            rows: rows.iter().map(|row| empty(row, sides.sides.len())).collect(),
        };
        let mut brokers = vec![ours.broker.clone(), other.broker.clone()];
        for (broker, subject) in brokers.iter_mut().zip([&ours, &other]) {
            if let Some(command) = &subject.command {
                broker.config.insert("(started by)".to_string(), Some(command.clone()));
            }
        }
        let file = ResultFile {
            format: FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_string(),
            command: command.to_vec(),
            started_at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
            machine: serde_json::to_value(&machine).map_err(|e| e.to_string())?,
            brokers,
            complete: false,
            measured: Measured::Raw(table),
        };
        Ok(Versus { options, stop, subjects: [ours, other], sides, rows, file })
    }

    fn table(&mut self) -> &mut RawTable {
        match &mut self.file.measured {
            Measured::Raw(table) => table,
            other => unreachable!("this file was begun as a raw table, and is {other:?}"),
        }
    }

    /// All rows again and again on both brokers until each has had its time.
    fn warm_up(&mut self) -> Result<(), String> {
        for broker in [OTHER, OURS] {
            let limit = if broker == OURS { OURS_WARMUP_MAX_SECS } else { f64::INFINITY };
            let wanted = self.options.warmup_secs.min(limit);
            let started = Instant::now();
            eprintln!("warming up {} for {wanted:.0} s", self.subjects[broker].broker.name);
            let side =
                self.sides.sides.iter().position(|side| side.broker == broker).ok_or("a broker without a side")?;
            for lap in 0.. {
                if started.elapsed() >= Duration::from_secs_f64(wanted) {
                    break;
                }
                let row = self.rows[lap % self.rows.len()];
                self.turn(row, side, &format!("warm-up-{lap}"), 2.0, 0).map(|_| ())?;
            }
            self.table().warmed_up_secs[broker] = started.elapsed().as_secs_f64();
        }
        Ok(())
    }

    fn rounds(&mut self, show: &mut dyn FnMut(&ResultFile) -> Result<(), String>) -> Result<(), String> {
        let mut rng = Prng::new(self.options.seed);
        let rounds = self.options.pairs;
        for round in 0..rounds {
            for row in 0..self.rows.len() {
                let mut order: Vec<usize> = (0..self.sides.sides.len()).collect();
                for last in (1..order.len()).rev() {
                    order.swap(last, rng.below(last as u64 + 1) as usize);
                }
                let mut measured = vec![None; order.len()];
                for (place, side) in order.into_iter().enumerate() {
                    let load = self.rows[row];
                    let RawSide { name, durability, .. } = &self.sides.sides[side];
                    eprint!("round {} of {rounds}: {} – {name} ({durability}): ", round + 1, load.name);
                    let turn = self.turn(load, side, &format!("{row}-{round}-{side}"), self.options.secs, place)?;
                    eprintln!("{}", line(&turn, load.counts_bytes()));
                    measured[side] = Some(turn);
                }
                self.keep(row, measured.into_iter().flatten().collect());
                self.save(show)?;
            }
        }
        self.file.complete = true;
        self.save(show)
    }

    fn turn(&self, row: &Row, side: usize, name: &str, secs: f64, place: usize) -> Result<RawTurn, String> {
        let side = &self.sides.sides[side];
        let turn = Turn {
            row,
            side,
            subject: &self.subjects[side.broker],
            topic: format!("versus-{}-{name}", std::process::id()),
            secs,
            warmup_secs: TURN_WARMUP_SECS,
            stop: self.stop,
            volume_bytes: if name.starts_with("warm") { 0 } else { (self.options.volume_gb * 1e9) as u64 },
        };
        let outcome = turn.run(place);
        if self.stop.load(Ordering::Relaxed) {
            return Err(format!("{INTERRUPTED}: whole rounds until then are in {}", self.options.out.display()));
        }
        outcome
    }

    /// Adds one round of a row: only a whole one, so that sides stay in pairs.
    fn keep(&mut self, row: usize, turns: Vec<RawTurn>) {
        let (sides, load, seed) = (self.sides.sides.clone(), self.rows[row], self.options.seed);
        let pairings = std::mem::take(&mut self.sides.pairings);
        let kept = &mut self.table().rows[row];
        for (of_side, turn) in kept.turns.iter_mut().zip(turns) {
            of_side.push(turn);
        }
        *kept = kept.clone().judged(load, &sides, &pairings, seed);
        self.sides.pairings = pairings;
    }

    fn save(&mut self, show: &mut dyn FnMut(&ResultFile) -> Result<(), String>) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&self.file).map_err(|e| e.to_string())?;
        let path = &self.options.out;
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        show(&self.file)
    }
}

fn empty(row: &Row, sides: usize) -> RawRow {
    RawRow {
        name: row.name.to_string(),
        settings: row.settings(),
        rate: row.rate(),
        counts_bytes: row.counts_bytes(),
        turns: vec![Vec::new(); sides],
        ratios: Vec::new(),
        validity: Validity::new(vec!["nothing was measured yet".to_string()], Vec::new()),
    }
}

fn line(turn: &RawTurn, counts_bytes: bool) -> String {
    let p99 = turn.latency.p99_us;
    if counts_bytes {
        let cpu = turn.cpu_secs_per_gb().map_or(String::new(), |cpu| format!(", {cpu:.2} CPU-s/GB"));
        format!("{:.0} MB/s{cpu}, p99 {p99:.0} µs", turn.mb_per_s())
    } else {
        let cpu = turn.cpu_us_per_request().map_or(String::new(), |cpu| format!(", {cpu:.1} CPU-µs/request"));
        format!("{:.0} requests/s{cpu}, p99 {p99:.0} µs", turn.requests_per_s())
    }
}
