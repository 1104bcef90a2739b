//! The whole table: each row against the broker and against the limit by turns, so that the machine's moods meet both.

use crate::admin::{api_versions, connect, delete_topic};
use crate::bench::Target;
use crate::report::Outcome;
use crate::stats::{cpu_seconds, median, resident_mb};
use crate::{fetch, produce};
use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The table.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A running broker, host:port.
    #[arg(long, required_unless_present = "spawn", requires = "pid")]
    pub bootstrap: Option<String>,
    /// Its process.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Instead: the coretide binary to start, with empty data.
    #[arg(long, conflicts_with = "bootstrap")]
    pub spawn: Option<PathBuf>,
    /// An argument more for the broker that is started; as often as wanted.
    #[arg(long = "broker-arg", allow_hyphen_values = true)]
    pub broker_args: Vec<String>,
    /// A folder on the disk to be measured: the limit's journal, and the started broker's data.
    #[arg(long, default_value = "perf-data")]
    pub data: PathBuf,
    /// A config of the topics, key=value, for example flush.messages=1.
    #[arg(long = "topic-config")]
    pub topic_configs: Vec<String>,
    /// Rounds; every figure is the median of them.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Measured time of each run in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub secs: f64,
    /// Only rows whose name contains this; as often as wanted.
    #[arg(long = "row")]
    pub rows: Vec<String>,
    /// Leave the limit out.
    #[arg(long)]
    pub no_limit: bool,
    /// Measure the limit without its flush.
    #[arg(long)]
    pub limit_no_dsync: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a row sends.
#[derive(Clone, Copy)]
enum Load {
    Produce { conns: usize, depth: usize, records: usize, partitions: i32, rate: Option<f64> },
    Fetch { records: usize },
}

struct Row {
    name: &'static str,
    load: Load,
}

const RECORD_BYTES: usize = 1024;

const fn closed(conns: usize, depth: usize, records: usize, partitions: i32) -> Load {
    Load::Produce { conns, depth, records, partitions, rate: None }
}

const ROWS: &[Row] = &[
    Row { name: "produce 1 KiB, 16 x 5, 16 partitions", load: closed(16, 5, 1, 16) },
    Row { name: "produce 1 KiB, 16 x 5, 100 partitions", load: closed(16, 5, 1, 100) },
    Row { name: "produce 16 KiB, 4 x 4", load: closed(4, 4, 16, 16) },
    Row { name: "produce 256 KiB, 4 x 4", load: closed(4, 4, 256, 16) },
    Row { name: "produce 1 KiB, 1 x 1", load: closed(1, 1, 1, 16) },
    Row { name: "produce 1 KiB, open loop 1,000/s", load: open(1_000.0) },
    Row { name: "produce 1 KiB, open loop 5,000/s", load: open(5_000.0) },
    Row { name: "fetch 256 KiB batches, 1 MiB a piece, 4 conns", load: Load::Fetch { records: 256 } },
    Row { name: "fetch 1 KiB batches, 1 MiB a piece, 4 conns", load: Load::Fetch { records: 1 } },
];

const fn open(rate: f64) -> Load {
    Load::Produce { conns: 16, depth: 1, records: 1, partitions: 16, rate: Some(rate) }
}

/// A process of ours that is killed when it is no longer needed.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One row's outcomes, round by round.
#[derive(Default)]
struct Measured {
    broker: Vec<Outcome>,
    limit: Vec<Outcome>,
}

/// Runs and prints it.
pub fn run(options: &Options) -> Result<(), String> {
    std::fs::create_dir_all(&options.data).map_err(|e| format!("{}: {e}", options.data.display()))?;
    let mut facts = machine_facts(&options.data);
    let started = options.spawn.as_ref().map(|binary| start_broker(options, binary, &mut facts)).transpose()?;
    let (bootstrap, pid) = match (&started, &options.bootstrap, options.pid) {
        (Some(served), ..) => (served.address.clone(), served.child.id()),
        (None, Some(bootstrap), Some(pid)) => (bootstrap.clone(), pid),
        _ => return Err("--bootstrap and --pid, or --spawn".into()),
    };
    idle_facts(&bootstrap, pid, &mut facts)?;
    let wanted =
        |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part.as_str()));
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    let mut measured: Vec<Measured> = rows.iter().map(|_| Measured::default()).collect();
    for round in 0..options.rounds {
        for (place, row) in rows.iter().enumerate() {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, row.name);
            let topic = format!("perf-{}-{place}-{round}", std::process::id());
            let target = target_of(options, &bootstrap, pid, &topic, false);
            measured[place].broker.push(measure(row.load, target)?);
            delete_topic(&bootstrap, &topic)?;
            if !options.no_limit {
                let served = start_limit(options, row.load)?;
                let target = target_of(options, &served.address, served.child.id(), "perf", true);
                measured[place].limit.push(measure(row.load, target)?);
            }
        }
    }
    print(options, &facts, &rows, &measured);
    Ok(())
}

fn target_of(options: &Options, bootstrap: &str, pid: u32, topic: &str, is_limit: bool) -> Target {
    Target {
        bootstrap: bootstrap.to_owned(),
        pid: Some(pid),
        topic: topic.to_owned(),
        topic_configs: options.topic_configs.clone(),
        no_create: is_limit,
        secs: options.secs,
        bytes_at_least: 0,
        warmup_secs: 1.0,
        json: false,
        stop: Arc::default(),
    }
}

fn measure(load: Load, target: Target) -> Result<Outcome, String> {
    match load {
        Load::Produce { conns, depth, records, partitions, rate } => produce::measure(&produce::Options {
            target,
            conns,
            depth,
            record_bytes: RECORD_BYTES,
            records_per_batch: records,
            partitions,
            rate,
        }),
        Load::Fetch { records } => fetch::measure(&fetch::Options::of_tables(target, records)),
    }
}

fn start_limit(options: &Options, load: Load) -> Result<Served, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    match load {
        Load::Produce { .. } => {
            command.arg("limit").arg("--journal").arg(options.data.join("limit-journal"));
            if options.limit_no_dsync {
                command.arg("--no-dsync");
            }
        }
        Load::Fetch { .. } => {
            command.arg("send-loop");
        }
    }
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("the limit: {e}"))?;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut served = Served { child, address: String::new() };
    BufReader::new(stdout).read_line(&mut line).map_err(|e| format!("the limit: {e}"))?;
    let address = line.trim().strip_prefix("listening on ").ok_or("the limit did not start")?;
    served.address = address.to_owned();
    Ok(served)
}

fn start_broker(options: &Options, binary: &Path, facts: &mut Vec<(String, String)>) -> Result<Served, String> {
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|e| e.to_string())?;
    let address = free.to_string();
    let data = options.data.join(format!("broker-{}", std::process::id()));
    let started = Instant::now();
    let child = Command::new(binary)
        .args(["serve", "--listen", &address, "--override", "log.segment.delete.delay.ms=1000", "--data"])
        .arg(&data)
        .args(&options.broker_args)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}", binary.display()))?;
    let mut served = Served { child, address };
    loop {
        if api_versions(&served.address).is_ok() {
            break;
        }
        if let Ok(Some(status)) = served.child.try_wait() {
            return Err(format!("{} ended at once: {status}", binary.display()));
        }
        if started.elapsed() > Duration::from_secs(60) {
            return Err(format!("{} does not answer", binary.display()));
        }
        thread::sleep(Duration::from_millis(1));
    }
    facts.push(("ready with an empty disk".into(), format!("{} ms", started.elapsed().as_millis())));
    Ok(served)
}

/// Memory at rest, and what a hundred connections cost that say nothing.
fn idle_facts(bootstrap: &str, pid: u32, facts: &mut Vec<(String, String)>) -> Result<(), String> {
    const IDLE: Duration = Duration::from_secs(5);
    facts.push(("resident before the load".into(), format!("{:.0} MB", resident_mb(pid)?)));
    let idle = (0..100).map(|_| connect(bootstrap)).collect::<Result<Vec<_>, _>>()?;
    let before = cpu_seconds(pid)?;
    thread::sleep(IDLE);
    let share = 100.0 * (cpu_seconds(pid)? - before) / IDLE.as_secs_f64();
    drop(idle);
    facts.push(("CPU with 100 idle connections".into(), format!("{share:.1} % of a core")));
    Ok(())
}

fn machine_facts(data: &Path) -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let cores = thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor".into(), format!("{}, {cores} cores", field(&read("/proc/cpuinfo"), "model name"))),
        ("memory".into(), field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel".into(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("file system".into(), file_system(data, &read("/proc/mounts"))),
    ]
}

/// Type and device of the mount that holds the path.
fn file_system(path: &Path, mounts: &str) -> String {
    let path = path.canonicalize().unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(place).then_some((place.len(), format!("{kind} on {device}")))
    });
    holding.max_by_key(|(length, _)| *length).map_or("unknown".into(), |(_, text)| text)
}

fn print(options: &Options, facts: &[(String, String)], rows: &[&Row], measured: &[Measured]) {
    if options.json {
        let outcomes = |of: &[Outcome]| of.iter().map(Outcome::to_json).collect::<Vec<Value>>();
        let rows: Vec<Value> = rows
            .iter()
            .zip(measured)
            .map(|(row, m)| json!({"row": row.name, "broker": outcomes(&m.broker), "limit": outcomes(&m.limit)}))
            .collect();
        let facts: serde_json::Map<String, Value> = facts.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        println!("{}", json!({"machine": facts, "secs": options.secs, "rows": rows}));
        return;
    }
    for (name, value) in facts {
        println!("- {name}: {value}");
    }
    println!("- medians (ranges) of {} rounds of {} s\n", options.rounds, options.secs);
    println!("| load | | broker | limit | broker / limit |\n|---|---|---|---|---|");
    for (row, m) in rows.iter().zip(measured) {
        for (name, digits, figure) in figures(row.load) {
            let cell = |of: &[Outcome]| cell(of, digits, figure);
            let middle = |of: &[Outcome]| {
                let values: Vec<f64> = of.iter().filter_map(figure).collect();
                (!values.is_empty()).then(|| median(&values))
            };
            let ratio = match (middle(&m.broker), middle(&m.limit)) {
                (Some(broker), Some(limit)) if limit > 0.0 => format!("{:.2}", broker / limit),
                _ => "–".into(),
            };
            println!("| {} | {name} | {} | {} | {ratio} |", row.name, cell(&m.broker), cell(&m.limit));
        }
    }
}

type Figure = fn(&Outcome) -> Option<f64>;

/// Name, digits behind the point, and value of what a row is about.
fn figures(load: Load) -> Vec<(&'static str, usize, Figure)> {
    let large = matches!(load, Load::Fetch { .. } | Load::Produce { records: 16.., .. });
    let rate: (&str, usize, Figure) =
        if large { ("MB/s", 0, |o| Some(o.mb_per_s)) } else { ("requests/s", 0, |o| Some(o.requests_per_s)) };
    let cpu: (&str, usize, Figure) = if large {
        ("CPU-s per GB", 2, |o| o.cpu_s_per_gb)
    } else {
        ("CPU µs per request", 1, |o| o.cpu_us_per_request)
    };
    vec![rate, cpu, ("p50 µs", 0, |o| Some(o.latency_us[0])), ("p99 µs", 0, |o| Some(o.latency_us[2]))]
}

fn cell(outcomes: &[Outcome], digits: usize, figure: Figure) -> String {
    let values: Vec<f64> = outcomes.iter().filter_map(figure).collect();
    if values.is_empty() {
        return "–".into();
    }
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    format!("{:.digits$} ({low:.digits$}–{high:.digits$})", median(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_longest_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /proc tmpfs rw 0 0\n";
        assert_eq!(file_system(Path::new("/proc/self/.."), mounts), "tmpfs on tmpfs");
        assert_eq!(file_system(Path::new("/"), mounts), "ext4 on /dev/a");
    }
}
