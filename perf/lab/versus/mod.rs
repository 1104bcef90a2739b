//! `bench versus`: our broker and another one, by turns, with raw frames, so that the brokers' cost is what is seen.
//! Rounds are whole: each has every row on every side once, in an order of its own, and only ratios of the same round count.
//! Must never touch: how a result is shown.

mod backlog;
mod clients;
mod paired;
mod plan;
mod rows;
mod sides;
mod table;
mod turns;

pub use paired::Paired;
pub use rows::{HOLDS_FROM, PENALTY, PLAIN, ROWS, Row};
pub use sides::{PROFILES, Profile};
pub use table::{
    Aims, CodecCost, Pairing, RawRatio, RawRow, RawSide, RawTable, RawTurn, Reached, RowKind, SetAside, figures,
};

use crate::bench::INTERRUPTED;
use crate::lab::commands::result_can_be_written;
use crate::lab::error::LabError;
use crate::lab::kafka;
use crate::lab::machine::Machine;
use crate::lab::result::{FORMAT, Measured, ResultFile, Validity};
use crate::lab::sys;
use clap::Args;
use clients::{Client, Clients};
use coretide_stdx::prng::Prng;
use plan::minutes;
use rows::{Load, Means};
use sides::{OTHER, OURS, Sides, Subject};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use table::FAILED;
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
    #[arg(long, default_value_t = 4.0)]
    pub secs: f64,
    /// Seconds of load on Kafka (and 10 at most on ours) before the first turn
    #[arg(long, default_value_t = 60.0)]
    pub warmup_secs: f64,
    /// How much a turn of the 256 KiB row writes at least, in GB
    #[arg(long, default_value_t = 5.0)]
    pub volume_gb: f64,
    /// The backlog that is drained, in GB; it is taken out of the page cache before
    #[arg(long, default_value_t = 3.0)]
    pub backlog_gb: f64,
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
/// How often a turn is measured at most while others use the machine.
const TRIES_MAX: usize = 3;
/// Measured seconds of a turn of the warm-up.
const WARMUP_TURN_SECS: f64 = 2.0;
/// The folders of both brokers: never there before.
const FOLDERS: [&str; 2] = ["coretide", "kafka"];
/// How long the plan alone is believed of how long it takes, in seconds.
const PLAN_BELIEVED_SECS: f64 = 120.0;
/// The logs of what is started.
const LOGS: [&str; 3] = ["coretide.log", "kafka.log", clients::LOG];

/// A comparison on its way.
struct Versus<'a> {
    options: &'a Options,
    stop: &'a Arc<AtomicBool>,
    subjects: [Subject; 2],
    clients: Clients,
    sides: Sides,
    rows: Vec<&'static Row>,
    file: ResultFile,
    started: Instant,
    planned_secs: f64,
    done_secs: f64,
}

type Show<'a> = &'a mut dyn FnMut(&ResultFile) -> Result<(), String>;

/// Runs it (as the command line `command` asked), saying on standard error what it is at; writes the result file after every row, and hands each state of it to
/// `show`; ends early once `stop` is set. A row that fails is left out from then on and says why. Errors say which broker failed at
/// what; what was measured until then is in the file.
pub fn run(options: &Options, command: &[String], stop: &Arc<AtomicBool>, show: Show<'_>) -> Result<(), LabError> {
    let rows = checked(options)?;
    let failed = LabError::Failed;
    let fresh = !options.data.exists();
    fs::create_dir_all(&options.data).map_err(|e| failed(format!("{}: {e}", options.data.display())))?;
    let cleared = Cleared { folder: &options.data, fresh };
    let needed = plan::disk_bytes(&rows, options);
    let free = sys::volume_bytes(&options.data).map_err(|e| failed(format!("{}: {e}", options.data.display())))?.0;
    if free < needed {
        return Err(LabError::Usage(format!(
            "{} has {:.1} GB free, and these rows may need {:.1} GB: another --data, or less --volume-gb, --backlog-gb or --secs",
            options.data.display(),
            free as f64 / 1e9,
            needed as f64 / 1e9
        )));
    }
    let mut versus = Versus::start(options, rows, command, stop)?;
    let outcome = versus.warm_up().and_then(|()| versus.rounds(show));
    let saved = if outcome.is_err() { versus.save(show) } else { Ok(()) };
    let invalid = versus.invalid();
    drop(versus);
    drop(cleared);
    outcome.and(saved).map_err(failed)?;
    if invalid.is_empty() { Ok(()) } else { Err(LabError::Invalid(invalid.join("; "))) }
}

/// The rows that are asked for; an error says what makes no sense.
fn checked(options: &Options) -> Result<Vec<&'static Row>, LabError> {
    let wanted =
        |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part.as_str()));
    let rows: Vec<&'static Row> = ROWS.iter().filter(wanted).collect();
    let refuse = |text: String| Err(LabError::Usage(text));
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        return refuse(format!("no row is called {}; there are: {}", options.rows.join(", "), names.join("; ")));
    }
    if options.pairs == 0 {
        return refuse(
            "--pairs: at least one round is needed, and five for an interval that says something".to_string(),
        );
    }
    for (flag, value, least) in [
        ("--secs", options.secs, 0.1),
        ("--warmup-secs", options.warmup_secs, 0.0),
        ("--volume-gb", options.volume_gb, 0.0),
        ("--backlog-gb", options.backlog_gb, 0.01),
    ] {
        if !(least..=1e6).contains(&value) {
            return refuse(format!("{flag}: {value} is not {least} to 1000000"));
        }
    }
    result_can_be_written(Some(&options.out))?;
    for name in FOLDERS {
        let folder = options.data.join(name);
        if folder.exists() {
            return refuse(format!(
                "{} is there already, and would be removed in the end: another --data, or remove it (a bench may be running there)",
                folder.display()
            ));
        }
    }
    Ok(rows)
}

/// Removes what was not there before: the logs, what a broker that did not even start has left behind, and the folder if it was
/// made for this and nothing else is left in it.
struct Cleared<'a> {
    folder: &'a Path,
    fresh: bool,
}

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        for log in LOGS {
            // A log that was never written, or that somebody took away.
            let _ = fs::remove_file(self.folder.join(log));
        }
        for folder in FOLDERS {
            // A broker that was started took its own with it.
            let _ = fs::remove_dir_all(self.folder.join(folder));
        }
        if self.fresh {
            // Kept where it holds anything else.
            let _ = fs::remove_dir(self.folder);
        }
    }
}

impl<'a> Versus<'a> {
    fn start(
        options: &'a Options,
        rows: Vec<&'static Row>,
        command: &[String],
        stop: &'a Arc<AtomicBool>,
    ) -> Result<Versus<'a>, LabError> {
        let failed = LabError::Failed;
        let mut machine = Machine::read(&[("data of both brokers", &options.data)]);
        let cache = kafka::cache_folder().map_err(failed)?;
        let home = std::env::var_os("KAFKA_HOME").map(PathBuf::from);
        let install = || kafka::install(home.clone(), &options.kafka_version, &cache, stop);
        // Before anything is started: most mistakes are found here.
        let install = if options.other == "kafka" { Some(install().map_err(failed)?) } else { None }.ok_or(install);
        let wanted: Vec<Client> = rows.iter().filter_map(|row| row.client()).collect();
        let (other, sides, clients) = match install {
            Ok(install) => {
                machine.add_version("java", "java", &["-version"]);
                let clients = Clients::install(&wanted, || Ok(install.clone()), &cache, &options.data, stop);
                eprintln!("starting {}", install.name());
                let sides = Sides::against_kafka(&install.name(), options.profiles());
                let subject = Subject::kafka(&install, &options.data, &options.kafka_configs, stop).map_err(failed)?;
                (subject, sides, clients)
            }
            Err(install) => {
                let subject = Subject::running(&options.other, options.pid)?;
                let sides = Sides::against_running(&subject.broker);
                (subject, sides, Clients::install(&wanted, install, &cache, &options.data, stop))
            }
        };
        let binary = match &options.coretide {
            Some(path) => path.clone(),
            None => std::env::current_exe().map_err(|e| failed(format!("this program's path: {e}")))?,
        };
        let ours = Subject::ours(&binary, &options.data, &options.broker_args, stop).map_err(failed)?;
        let table = RawTable {
            seed: options.seed,
            rounds: options.pairs,
            secs: options.secs,
            warmed_up_secs: vec![0.0; 2],
            volume_gb: options.volume_gb,
            backlog_gb: options.backlog_gb,
            sides: sides.sides.clone(),
            pairings: sides.pairings.iter().map(|(pairing, _)| pairing.clone()).collect(),
            rows: rows.iter().map(|row| empty(row, sides.sides.len(), &clients)).collect(),
        };
        let file = result_file(command, &machine, table, [&ours, &other]).map_err(failed)?;
        let subjects = [ours, other];
        let started = Instant::now();
        let mut versus =
            Versus { options, stop, subjects, clients, sides, rows, file, started, planned_secs: 0.0, done_secs: 0.0 };
        versus.plan();
        Ok(versus)
    }

    /// Says how long it will take.
    fn plan(&mut self) {
        let mut turns: Vec<(&Row, usize)> = Vec::new();
        for place in 0..self.rows.len() {
            let row = self.rows[place];
            match &self.table().rows[place].not_run {
                Some(why) => eprintln!("{}: {why}", row.name),
                None => turns.push((row, self.sides.of(row.once).len())),
            }
        }
        let warmup_secs = self.options.warmup_secs + self.options.warmup_secs.min(OURS_WARMUP_MAX_SECS);
        self.planned_secs = plan::whole_secs(&turns, self.options, warmup_secs);
        let count: usize = turns.iter().map(|(row, sides)| sides * row.rounds(self.options.pairs)).sum();
        eprintln!(
            "{} rows, {} rounds, {count} turns, batches of 256 KiB by {} GB, a backlog of {} GB: about {}; Ctrl-C ends it and \
             keeps what is measured",
            turns.len(),
            self.options.pairs,
            self.options.volume_gb,
            self.options.backlog_gb,
            minutes(self.planned_secs)
        );
    }

    /// The rows that were run and may not be believed.
    fn invalid(&mut self) -> Vec<String> {
        let run =
            self.table().rows.iter().filter(|row| row.turns.iter().any(|turns| !turns.is_empty()) || row.failed());
        run.filter(|row| !row.validity.is_valid()).map(|row| row.name.clone()).collect()
    }

    fn table(&mut self) -> &mut RawTable {
        match &mut self.file.measured {
            Measured::Raw(table) => table,
            other => unreachable!("this file was begun as a raw table, and is {other:?}"),
        }
    }

    /// The rows of raw frames again and again on both brokers until each has had its time.
    fn warm_up(&mut self) -> Result<(), String> {
        let own = warming(self.rows.iter().copied());
        let rows = if own.is_empty() { warming(ROWS.iter()) } else { own };
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
                if let Err(why) = self.turn(rows[lap % rows.len()], side, WARMUP_TURN_SECS, 0, 0) {
                    eprintln!("in the warm-up: {}", self.unless_over(why)?);
                }
            }
            self.table().warmed_up_secs[broker] = started.elapsed().as_secs_f64();
            self.done_secs += wanted;
        }
        Ok(())
    }

    fn rounds(&mut self, show: Show<'_>) -> Result<(), String> {
        let mut rng = Prng::new(self.options.seed);
        for round in 0..self.options.pairs {
            for row in 0..self.rows.len() {
                if self.table().rows[row].not_run.is_none() && round < self.rows[row].rounds(self.options.pairs) {
                    self.row(round, row, &mut rng)?;
                    self.save(show)?;
                }
            }
        }
        self.file.complete = true;
        self.save(show)
    }

    /// One round of a row, on all its sides in an order of its own.
    fn row(&mut self, round: usize, row: usize, rng: &mut Prng) -> Result<(), String> {
        let load = self.rows[row];
        let mut order = self.sides.of(load.once);
        for last in (1..order.len()).rev() {
            order.swap(last, rng.below(last as u64 + 1) as usize);
        }
        let mut measured = vec![None; self.sides.sides.len()];
        for (place, side) in order.into_iter().enumerate() {
            let RawSide { name, durability, .. } = &self.sides.sides[side];
            eprint!(
                "[{} left] round {} of {}: {} – {name} ({durability}): ",
                self.left(),
                round + 1,
                self.options.pairs,
                load.name
            );
            let volume_bytes = (self.options.volume_gb * 1e9) as u64;
            let again = |turn: &RawTurn, why: &str| eprint!("{}; but {why}; again: ", line(turn, load.counts_bytes()));
            let secs = load.secs(self.options.secs);
            match undisturbed(|| self.turn(load, side, secs, place, volume_bytes), again) {
                Ok((turn, set_aside)) => {
                    eprintln!("{}", line(&turn, load.counts_bytes()));
                    let told = set_aside.into_iter().map(|(turn, why)| SetAside { round, side, why, turn });
                    self.table().rows[row].set_aside.extend(told);
                    measured[side] = Some(turn);
                }
                Err(why) => {
                    let why = self.unless_over(why).inspect_err(|_| eprintln!("ended early"))?;
                    eprintln!("failed\n{why}\nthis row is left out from here on");
                    self.judge(row, Some(format!("{FAILED} in round {}: {why}", round + 1)));
                    return Ok(());
                }
            }
            self.done_secs += plan::turn_secs(load, self.options);
        }
        for (turns, turn) in self.table().rows[row].turns.iter_mut().zip(measured) {
            turns.extend(turn);
        }
        self.judge(row, None);
        Ok(())
    }

    /// Minutes, from the plan and from how well it was kept until now.
    fn left(&self) -> String {
        let taken = self.started.elapsed().as_secs_f64() + PLAN_BELIEVED_SECS;
        let pace = taken / (self.done_secs + PLAN_BELIEVED_SECS);
        minutes((self.planned_secs - self.done_secs) * pace)
    }

    fn turn(&self, row: &Row, side: usize, secs: f64, place: usize, volume_bytes: u64) -> Result<RawTurn, String> {
        let side = &self.sides.sides[side];
        let subject = &self.subjects[side.broker];
        let means = Means {
            clients: &self.clients,
            backlog_bytes: (self.options.backlog_gb * 1e9) as u64,
            data: subject.data.as_deref(),
        };
        let (stop, warmup_secs) = (self.stop, TURN_WARMUP_SECS);
        Turn { row, side, subject, means, secs, warmup_secs, stop, volume_bytes }.run(place)
    }

    /// What went wrong in a turn, if the comparison can go on; else the error that ends it.
    fn unless_over(&self, why: String) -> Result<String, String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(INTERRUPTED.to_string());
        }
        match self.subjects.iter().find_map(Subject::gone) {
            Some(gone) => Err(format!("{gone}\nit was at: {why}")),
            None => Ok(why),
        }
    }

    /// What follows from the turns of a row: only whole rounds are among them, so that sides stay in pairs.
    fn judge(&mut self, row: usize, not_run: Option<String>) {
        let (sides, load, seed) = (self.sides.sides.clone(), self.rows[row], self.options.seed);
        let pairings = std::mem::take(&mut self.sides.pairings);
        let kept = &mut self.table().rows[row];
        kept.not_run = not_run;
        *kept = kept.clone().judged(load, &sides, &pairings, seed);
        self.sides.pairings = pairings;
    }

    fn save(&mut self, show: Show<'_>) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&self.file).map_err(|e| e.to_string())?;
        let path = &self.options.out;
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        show(&self.file)
    }
}

impl Options {
    fn profiles(&self) -> &[Profile] {
        if self.profiles.is_empty() { &PROFILES } else { &self.profiles }
    }
}

/// The rows that warm a broker up, in an order in which a minute reaches each kind of work: what few rows do first (fetching,
/// unpacking), what many do behind, and what loads little last.
fn warming(rows: impl DoubleEndedIterator<Item = &'static Row>) -> Vec<&'static Row> {
    let frames = rows.rev().filter(|row| matches!(row.kind(), RowKind::Frames | RowKind::Packed));
    let (idle, busy): (Vec<&Row>, Vec<&Row>) = frames.partition(|row| matches!(row.load, Load::Open { .. }));
    [busy, idle].concat()
}

/// The file at the beginning: the brokers as they describe themselves and how they were started.
fn result_file(
    command: &[String],
    machine: &Machine,
    table: RawTable,
    subjects: [&Subject; 2],
) -> Result<ResultFile, String> {
    let brokers = subjects.map(|subject| {
        let mut broker = subject.broker.clone();
        if let Some(command) = &subject.command {
            broker.config.insert("(started by)".to_string(), Some(command.clone()));
        }
        broker
    });
    Ok(ResultFile {
        format: FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
        command: command.to_vec(),
        started_at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
        machine: serde_json::to_value(machine).map_err(|e| e.to_string())?,
        brokers: brokers.into(),
        complete: false,
        measured: Measured::Raw(table),
    })
}

fn empty(row: &Row, sides: usize, clients: &Clients) -> RawRow {
    let missing = row.client().and_then(|client| clients.missing(&client).map(|why| format!("not run: {why}")));
    let reason = missing.clone().unwrap_or_else(|| "nothing was measured yet".to_string());
    RawRow {
        name: row.name.to_string(),
        settings: row.settings(),
        rate: row.rate(),
        counts_bytes: row.counts_bytes(),
        kind: row.kind(),
        not_run: missing,
        turns: vec![Vec::new(); sides],
        set_aside: Vec::new(),
        ratios: Vec::new(),
        validity: Validity::new(vec![reason], Vec::new()),
    }
}

/// Runs a turn again, [`TRIES_MAX`] times in all, while others use the machine; with those that do not count, and why. A
/// last one counts whatever others did: its row says that it is not to be believed.
fn undisturbed(
    mut run: impl FnMut() -> Result<RawTurn, String>,
    mut again: impl FnMut(&RawTurn, &str),
) -> Result<(RawTurn, Vec<(RawTurn, String)>), String> {
    let mut set_aside = Vec::new();
    loop {
        let turn = run()?;
        match turn.disturbed() {
            Some(why) if set_aside.len() + 1 < TRIES_MAX => {
                again(&turn, &why);
                set_aside.push((turn, why));
            }
            _ => return Ok((turn, set_aside)),
        }
    }
}

fn line(turn: &RawTurn, counts_bytes: bool) -> String {
    let p99 = turn.latency.known().map_or(String::new(), |latency| format!(", p99 {:.0} µs", latency.p99_us));
    if counts_bytes {
        let cpu = turn.cpu_secs_per_gb().map_or(String::new(), |cpu| format!(", {cpu:.2} CPU-s/GB"));
        format!("{:.0} MB/s{cpu}{p99}", turn.mb_per_s())
    } else {
        let cpu = turn.cpu_us_per_request().map_or(String::new(), |cpu| format!(", {cpu:.1} CPU-µs/request"));
        format!("{:.0} requests/s{cpu}{p99}", turn.requests_per_s())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::{Latency, new_histogram};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    /// What `versus kafka` with these further words is told.
    pub fn options(words: &[&str]) -> Options {
        Line::parse_from(["versus", "kafka"].iter().chain(words)).options
    }

    #[test]
    fn a_minute_of_warming_up_reaches_each_kind_of_work() {
        let rows = warming(ROWS.iter());
        let frames = ROWS.iter().filter(|row| !matches!(row.kind(), RowKind::Backlog | RowKind::Client));
        assert_eq!(rows.len(), frames.count());
        // What plan.rs says of a turn.
        let lap = &rows[..(60.0 / (WARMUP_TURN_SECS + 3.5)) as usize];
        let has = |of: fn(&Load) -> bool| lap.iter().any(|row| of(&row.load));
        assert!(has(|load| matches!(load, Load::Fetch { .. })) && has(|load| matches!(load, Load::EndToEnd { .. })));
        assert!(has(|load| matches!(load, Load::Closed { records: 1, .. })));
        assert_eq!(lap.iter().filter(|row| row.codec().is_some()).count(), 5);
    }

    fn turn(others_cores: f64, steal_percent: f64) -> RawTurn {
        RawTurn {
            started_at_ms: 0,
            place: 0,
            secs: 1.0,
            requests: 1,
            bytes: 1,
            errors: 0,
            latency: Latency::new(&new_histogram()),
            alone: None,
            from_disk: None,
            unpacked: None,
            cpu_secs: None,
            rss_bytes: None,
            steal_percent,
            others_cores,
        }
    }

    #[test]
    fn a_turn_beside_others_is_measured_again_and_not_for_ever() {
        let measured = |turns: &[(f64, f64)]| {
            let (mut left, mut said) = (turns.iter(), 0);
            let run = || left.next().map(|&(others, steal)| turn(others, steal)).ok_or("one too many".to_string());
            let (counts, set_aside) = undisturbed(run, |_, _| said += 1).unwrap();
            assert_eq!((left.len(), said), (0, set_aside.len()), "all of them were asked for");
            (counts.disturbed(), set_aside.into_iter().map(|(_, why)| why).collect::<Vec<_>>())
        };
        assert_eq!(measured(&[(0.1, 5.0)]), (None, vec![]), "as much as that is allowed");
        let why = [
            "other processes used 0.2 cores".to_string(),
            "the machine lost 6 % of its CPU to others on its host".to_string(),
        ];
        assert_eq!(measured(&[(0.2, 0.0), (0.0, 6.0), (0.0, 0.0)]), (None, why.to_vec()));
        let last = measured(&[(0.2, 0.0), (0.2, 0.0), (0.0, 6.0)]);
        assert_eq!(last.0.as_ref(), Some(&why[1]), "the third counts, and its row is INVALID");
        assert_eq!(undisturbed(|| Err("broken".to_string()), |_, _| ()).unwrap_err(), "broken");
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_starts() {
        let folder = std::env::temp_dir().join(format!("coretide-versus-refused-{}", std::process::id()));
        let path = |name: &str| folder.join(name).display().to_string();
        fs::create_dir_all(folder.join("used/kafka")).unwrap();
        let (data, used, out) = (path("data"), path("used"), path("out.json"));
        let stop = Arc::new(AtomicBool::new(false));
        for (words, text) in [
            (vec!["--row", "512 MiB", "--data", &data], "no row is called 512 MiB; there are: 1 KiB"),
            (vec!["--pairs", "0", "--data", &data], "--pairs: at least one"),
            (vec!["--secs", "0", "--data", &data], "--secs: 0 is not 0.1 to"),
            (vec!["--volume-gb", "900000", "--data", &data], "GB free, and these rows may need 900"),
            (vec!["--data", &used], "is there already, and would be removed"),
        ] {
            let options = options(&[&words[..], &["--out", &out]].concat());
            let refused = run(&options, &[], &stop, &mut |_| panic!("nothing is measured"));
            assert!(matches!(&refused, Err(LabError::Usage(why)) if why.contains(text)), "{refused:?}");
            assert!(!Path::new(&data).exists(), "no folder is left behind");
        }
        assert!(folder.join("used/kafka").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
