//! Real clients as loads: the performance tools of Apache Kafka's own distribution, and librdkafka under Python. What they say of
//! themselves is taken as it is.
//! Must never touch: which brokers there are.

use crate::admin::ensure_topic;
use crate::bench::{INTERRUPTED, Target};
use crate::frames;
use crate::lab::guard::{Guarded, Started};
use crate::lab::kafka::Install;
use crate::lab::result::{Latency, new_histogram};
use crate::produce::fill;
use crate::stats::cpu_seconds;
use coretide_errands::fetched::{Missing, need, once};
use coretide_errands::process::{self, Log};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a record's value.
const RECORD_BYTES: usize = 1024;
/// Partitions of the topic.
pub const PARTITIONS: i32 = 16;
/// Records of a turn, for each of its seconds: about what such clients do on two cores that they share with the broker.
pub const RECORDS_PER_SEC: f64 = 100_000.0;
/// Records in each batch that consumers find.
const CONSUMED_BATCH_RECORDS: usize = 16;
/// The face of librdkafka.
const CONFLUENT: &str = "confluent-kafka==2.16.1";
const LIBRDKAFKA: &str = include_str!("librdkafka.py");
/// How long an installation may take.
const INSTALL_WITHIN: Duration = Duration::from_secs(300);
/// How long a client may take for each second of its turn, and beyond that.
const SLOWEST: (f64, Duration) = (30.0, Duration::from_secs(60));
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The official one, in its own performance tool.
    Java,
    /// librdkafka.
    Librdkafka,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends records of 1 KiB as fast as it can.
    Produce,
    /// Reads what lies there as fast as it can.
    Consume,
}

/// A client with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Whose.
    pub library: Library,
    /// What it does.
    pub role: Role,
    /// What is not left at its default, KEY=VALUE.
    pub settings: &'static [&'static str],
}

/// What a client said, and what it cost the broker from its start to its end.
pub struct Said {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How long it took by its own clock, in seconds.
    pub secs: f64,
    /// From the send to the acknowledgement; without a value where the tool does not tell.
    pub latency: Latency,
    /// The broker's CPU seconds.
    pub cpu_secs: Option<f64>,
}

/// The clients that are installed, or why they are not.
pub struct Clients {
    java: Result<Install, String>,
    python: Result<PathBuf, String>,
    folder: PathBuf,
}

impl Clients {
    /// Installs what `wanted` needs: Python's in `cache`; `java` says where Kafka's tools are. `folder`: for their output.
    pub fn install(
        wanted: &[Client],
        java: impl FnOnce() -> Result<Install, String>,
        cache: &Path,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Clients {
        let needs = |library: Library| wanted.iter().any(|client| client.library == library);
        let unneeded = || "nobody asked for it".to_string();
        let java = if needs(Library::Java) { java() } else { Err(unneeded()) };
        let python = if needs(Library::Librdkafka) {
            librdkafka(cache, stop).map_err(Missing::into_message)
        } else {
            Err(unneeded())
        };
        Clients { java, python, folder: folder.to_path_buf() }
    }

    /// Why this client cannot run here, if so.
    pub fn missing(&self, client: &Client) -> Option<&str> {
        match client.library {
            Library::Java => self.java.as_ref().err().map(String::as_str),
            Library::Librdkafka => self.python.as_ref().err().map(String::as_str),
        }
    }

    /// Runs it to its end.
    pub fn measure(&self, client: &Client, target: &Target) -> Result<Said, String> {
        ensure_topic(&target.bootstrap, &target.topic, PARTITIONS, &target.topic_configs)?;
        let records = records(target.secs);
        if client.role == Role::Consume {
            let batch = frames::batch(CONSUMED_BATCH_RECORDS, RECORD_BYTES);
            let batches = records.div_ceil(CONSUMED_BATCH_RECORDS as u64 * PARTITIONS as u64);
            fill(&target.bootstrap, &target.topic, PARTITIONS, &batch, batches * batch.len() as u64)?;
        }
        let (program, arguments) = self.command(client, target, records)?;
        let log = self.folder.join(LOG);
        fs::write(&log, "").map_err(|e| format!("{}: {e}", log.display()))?;
        let before = target.pid.map(cpu_seconds).transpose()?;
        let process = Guarded::start(Started {
            program: &program,
            arguments,
            environment: vec![("KAFKA_HEAP_OPTS".into(), "-Xmx512M".into())],
            folder: &self.folder,
            log: &log,
            remove: None,
        })?;
        let limit = SLOWEST.1 + Duration::from_secs_f64(target.secs * SLOWEST.0);
        let started = Instant::now();
        while process.is_running() {
            if target.stop.load(Ordering::Relaxed) {
                return Err(INTERRUPTED.to_string());
            }
            if started.elapsed() > limit {
                return Err(format!("it took longer than {} s; {}", limit.as_secs(), process.last_words()));
            }
            thread::sleep(LOOK_EVERY);
        }
        let after = target.pid.map(cpu_seconds).transpose()?;
        let words = process.last_words();
        // Only now is its CPU time counted as ours.
        process.stop();
        let text = fs::read_to_string(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let said = match (client.library, client.role) {
            (Library::Java, Role::Produce) => producer_tool(&text),
            (Library::Java, Role::Consume) => consumer_tool(&text),
            (Library::Librdkafka, _) => one_line_of_json(&text),
        };
        let said = said.ok_or_else(|| format!("it did not say what it did; {words}"))?;
        Ok(Said { cpu_secs: after.zip(before).map(|(after, before)| after - before), ..said })
    }

    fn command(&self, client: &Client, target: &Target, records: u64) -> Result<(PathBuf, Vec<OsString>), String> {
        let (bootstrap, topic, records) = (target.bootstrap.as_str(), target.topic.as_str(), records.to_string());
        let size = RECORD_BYTES.to_string();
        if client.library == Library::Librdkafka {
            let python = self.python.as_ref().map_err(Clone::clone)?;
            let role = if client.role == Role::Produce { "produce" } else { "consume" };
            let mut arguments = vec![script_of(python).into_os_string()];
            arguments.extend([role, bootstrap, topic, &records].map(OsString::from));
            arguments.extend(client.settings.iter().map(OsString::from));
            return Ok((python.clone(), arguments));
        }
        let install = self.java.as_ref().map_err(Clone::clone)?;
        let flags = ["-Xmx512M", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"].map(OsString::from);
        let (program, mut arguments) = match client.role {
            Role::Produce => {
                install.command("kafka-producer-perf-test.sh", "org.apache.kafka.tools.ProducerPerformance", &flags)
            }
            Role::Consume => {
                install.command("kafka-consumer-perf-test.sh", "org.apache.kafka.tools.ConsumerPerformance", &flags)
            }
        };
        let server = format!("bootstrap.servers={bootstrap}");
        let words: Vec<&str> = match client.role {
            Role::Produce => {
                ["--topic", topic, "--num-records", &records, "--record-size", &size, "--throughput", "-1"]
                    .into_iter()
                    .chain(["--producer-props", &server])
                    .chain(client.settings.iter().copied())
                    .collect()
            }
            Role::Consume => {
                vec!["--bootstrap-server", bootstrap, "--topic", topic, "--messages", &records, "--timeout", "30000"]
            }
        };
        arguments.extend(words.into_iter().map(OsString::from));
        Ok((program, arguments))
    }
}

/// What clients say goes there.
pub const LOG: &str = "clients.log";

/// How many records a turn of so many seconds has.
pub fn records(secs: f64) -> u64 {
    (secs * RECORDS_PER_SEC) as u64
}

/// A Python that has it; the script lies beside it.
fn librdkafka(cache: &Path, stop: &AtomicBool) -> Result<PathBuf, Missing> {
    need("python3", &["--version"], "python3 is not installed")?;
    need("python3", &["-c", "import venv, ensurepip"], "python3 has no venv (python3-venv is not installed)")?;
    let home = cache.join("librdkafka");
    let wanted = home.join("requirements.txt");
    let said = |path: &Path| format!("{}: cannot be written", path.display());
    fs::create_dir_all(&home).map_err(|_| said(&home))?;
    fs::write(&wanted, CONFLUENT).map_err(|_| said(&wanted))?;
    let python = home.join("venv/bin/python");
    let give_up = || stop.load(Ordering::Relaxed);
    once(&home.join("installed"), &[&wanted], || {
        eprintln!("installing {CONFLUENT} into {}", home.display());
        let log = Log::create(&home.join("pip.log"))?;
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(home.join("venv"));
        process::run_unless(venv, &log, INSTALL_WITHIN, &give_up)?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "-r"]).arg(&wanted);
        process::run_unless(pip, &log, INSTALL_WITHIN, &give_up)
    })?;
    let script = script_of(&python);
    fs::write(&script, LIBRDKAFKA).map_err(|e| format!("{}: {e}", script.display()))?;
    Ok(python)
}

fn script_of(python: &Path) -> PathBuf {
    python.with_file_name("bench-librdkafka.py")
}

/// The last line of kafka-producer-perf-test: counts, rates and percentiles in whole milliseconds.
fn producer_tool(text: &str) -> Option<Said> {
    let line = text.lines().rev().find(|line| line.contains("99.9th"))?;
    let before = |unit: &str| -> Option<f64> {
        let text = line.split(unit).next()?;
        text.rsplit([' ', '(']).next()?.parse().ok()
    };
    let (records, per_sec) = (before(" records sent")?, before(" records/sec")?);
    let us = |unit: &str| before(unit).map(|ms| ms * 1e3);
    let percentiles = [us(" ms 50th")?, us(" ms 95th")?, us(" ms 99th")?, us(" ms 99.9th")?];
    let [p50_us, _, p99_us, p999_us] = percentiles;
    let latency = Latency {
        count: records as u64,
        mean_us: us(" ms avg latency")?,
        p50_us,
        // The tool does not tell it.
        p90_us: 0.0,
        p99_us,
        p999_us,
        max_us: us(" ms max latency")?,
        ..unknown()
    };
    let bytes = records as u64 * RECORD_BYTES as u64;
    Some(Said { records: records as u64, bytes, secs: records / per_sec, latency, cpu_secs: None })
}

/// The last line of kafka-consumer-perf-test; its time of fetching, without that of joining a group.
fn consumer_tool(text: &str) -> Option<Said> {
    let fields: Vec<&str> =
        text.lines().rev().map(|line| line.split(", ").collect::<Vec<_>>()).find(|f| f.len() == 10)?;
    let number = |place: usize| fields.get(place)?.trim().parse::<f64>().ok();
    let (megabytes, records, fetch_ms) = (number(2)?, number(4)?, number(7)?);
    let secs = (fetch_ms / 1e3).max(1e-3);
    let bytes = (megabytes * f64::from(1 << 20)) as u64;
    Some(Said { records: records as u64, bytes, secs, latency: unknown(), cpu_secs: None })
}

fn one_line_of_json(text: &str) -> Option<Said> {
    let value: Value = text.lines().rev().find_map(|line| serde_json::from_str(line).ok())?;
    let number = |name: &str| value.get(name)?.as_f64();
    let records = number("records")? as u64;
    let latency = match value.get("latency_us")? {
        Value::Null => unknown(),
        us => {
            let at = |name: &str| us.get(name)?.as_f64();
            Latency {
                count: records,
                mean_us: at("mean")?,
                p50_us: at("p50")?,
                p90_us: at("p90")?,
                p99_us: at("p99")?,
                p999_us: at("p999")?,
                max_us: at("max")?,
                ..unknown()
            }
        }
    };
    Some(Said { records, bytes: number("bytes")? as u64, secs: number("secs")?, latency, cpu_secs: None })
}

/// No value, and an empty histogram: percentiles that somebody else told cannot be merged.
fn unknown() -> Latency {
    Latency::new(&new_histogram())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_producers_tool_says_is_understood() {
        let text = "50001 records sent, 9999.0 records/sec (9.76 MB/sec), 1.0 ms avg latency, 9.0 ms max latency.\n\
                    400000 records sent, 100000.0 records/sec (97.66 MB/sec), 240.07 ms avg latency, 493.00 ms max latency, \
                    260 ms 50th, 480 ms 95th, 490 ms 99th, 492 ms 99.9th.\n\n";
        let said = producer_tool(text).unwrap();
        assert_eq!((said.records, said.bytes, said.secs), (400_000, 400_000 * 1024, 4.0));
        let Latency { count, mean_us, p50_us, p99_us, p999_us, max_us, .. } = said.latency;
        assert_eq!((count, p50_us, p99_us, p999_us), (400_000, 260e3, 490e3, 492e3));
        assert_eq!((mean_us, max_us), (240_070.0, 493e3));
        assert!(producer_tool("org.apache.kafka.common.errors.TimeoutException: no").is_none());
    }

    #[test]
    fn what_the_consumers_tool_says_is_understood() {
        let text = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, \
                    fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
                    2026-11-21 10:00:00:000, 2026-11-21 10:00:06:000, 400.0000, 66.6, 409600, 68266.6, 3500, 2500, 160.0, 163840.0\n";
        let said = consumer_tool(text).unwrap();
        assert_eq!((said.records, said.bytes, said.secs, said.latency.count), (409_600, 400 << 20, 2.5, 0));
        assert!(consumer_tool("nothing").is_none());
    }

    #[test]
    fn what_librdkafka_says_is_understood() {
        let text = "%4|warning\n{\"records\": 10, \"bytes\": 10240, \"secs\": 0.5, \"latency_us\": null}\n";
        assert_eq!(
            one_line_of_json(text).map(|said| (said.records, said.secs, said.latency.count)),
            Some((10, 0.5, 0))
        );
        let text = text.replace("null", r#"{"p50": 1, "p90": 2, "p99": 3, "p999": 4, "max": 5, "mean": 1.5}"#);
        assert_eq!(one_line_of_json(&text).map(|said| said.latency.p999_us), Some(4.0));
        assert!(one_line_of_json("Traceback\n").is_none());
    }
}
