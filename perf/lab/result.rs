//! What a measurement left behind: the types of the result file, one JSON document per command. Reports read nothing else.
//! Must never touch: how anything was measured or is shown.

use crate::lab::scenario::{CompressionType, Scenario};
use crate::lab::versus::RawTable;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The version of the format below.
pub const FORMAT: u32 = 1;

/// A result file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultFile {
    /// The version of this format: [`FORMAT`].
    pub format: u32,
    /// The version of coretide that measured.
    pub tool_version: String,
    /// The command line as it was typed, the program's name first.
    pub command: Vec<String>,
    /// When it began, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// The machine that the generator ran on.
    pub machine: Value,
    /// The brokers that were measured; runs name them by their place here.
    pub brokers: Vec<Broker>,
    /// False if the command was ended early: what was measured until then is here.
    pub complete: bool,
    /// What was measured.
    pub measured: Measured,
}

/// What a command measured; in JSON `{"kind": "run" | "compare" | "sweep" | "knee" | "raw", …}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Measured {
    /// One run.
    Run(Run),
    /// The same on several brokers by turns.
    Compare(Comparison),
    /// Many settings.
    Sweep(Sweep),
    /// The highest rate within a latency.
    Knee(Knee),
    /// Raw frames on several brokers by turns.
    Raw(RawTable),
}

/// A broker, or the cluster behind one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broker {
    /// Where it was reached: HOST:PORT.
    pub address: String,
    /// What it is called in tables.
    pub name: String,
    /// What it seems to be, from its API versions and configs; none if that says nothing.
    pub version_guess: Option<String>,
    /// What is safe when it acknowledges.
    pub durability: Durability,
    /// How that was found out, in words.
    pub durability_because: String,
    /// Its configs as it describes them.
    pub config: BTreeMap<String, Option<String>>,
    /// How many brokers the cluster has.
    pub nodes: u32,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
}

/// What has happened to a record when a producer with acks=all hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// It was flushed to the disk.
    #[serde(rename = "fsync before ack")]
    Fsync,
    /// It is in the page cache and may be lost with the machine.
    #[serde(rename = "page cache (flush.messages unset)")]
    PageCache,
    /// It is in the page cache; of each so many records of a partition the last waits for a flush.
    #[serde(rename = "page cache, an fsync every flush.messages messages")]
    FlushedNowAndThen,
    /// It was written to the device past the page cache, and may be lost in the device's own cache when the power fails.
    #[serde(rename = "written to the device, no fsync")]
    Written,
    /// Nothing is known.
    #[serde(rename = "unknown")]
    Unknown,
}

impl Durability {
    /// In the words of the file.
    pub const fn words(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync before ack",
            Durability::PageCache => "page cache (flush.messages unset)",
            Durability::FlushedNowAndThen => "page cache, an fsync every flush.messages messages",
            Durability::Written => "written to the device, no fsync",
            Durability::Unknown => "unknown",
        }
    }

    /// True if both promise the same for a power cut: that every acknowledged record is there after it, or nothing. False where
    /// one of them is not known.
    pub const fn promises_as(self, other: Durability) -> bool {
        let known = !matches!(self, Durability::Unknown) && !matches!(other, Durability::Unknown);
        known && matches!(self, Durability::Fsync) == matches!(other, Durability::Fsync)
    }
}

/// One run of one scenario on one broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The broker's place in [`ResultFile::brokers`].
    pub broker: usize,
    /// What was done, settings of the clients included.
    pub scenario: Scenario,
    /// When it began (with its warm-up), in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Length of the measured time in seconds.
    pub measured_secs: f64,
    /// What producers saw; none without producers.
    pub produced: Option<Side>,
    /// What consumers saw; none without consumers. Its latency is from the intended send to the record's arrival at the
    /// consumer (end to end), and is empty if there was no producer in the run.
    pub consumed: Option<Side>,
    /// What the broker used; none if it is not a process of this machine that we may look at.
    pub broker_use: Option<ProcessUse>,
    /// What the generator used.
    pub generator: GeneratorUse,
    /// Whether it may be believed.
    pub validity: Validity,
}

/// What one side (all producers or all consumers together) saw in the measured time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Records acknowledged or received.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Bytes of their batches as they travelled (headers, compression).
    pub batch_bytes: u64,
    /// Batches acknowledged or received.
    pub batches: u64,
    /// Requests answered.
    pub requests: u64,
    /// Batches that failed for good, with every record in them, or fetches that failed.
    pub errors: u64,
    /// Kafka's names of these errors, or what else went wrong, with how often.
    pub error_names: BTreeMap<String, u64>,
    /// Batches that were sent again.
    pub retries: u64,
    /// Records per second.
    pub records_per_s: f64,
    /// Bytes of keys and values per second.
    pub bytes_per_s: f64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Mean number of records of a batch.
    pub records_per_batch: f64,
    /// Latency of each record from the time it *should* have been sent: queueing in client and broker included.
    pub latency: Latency,
    /// Latency of each request from its write to its answer: what the broker and the network took.
    pub service: Latency,
    /// Second by second.
    pub intervals: Vec<Interval>,
}

/// Percentiles to look at, and the whole histogram to count with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many values there are.
    pub count: u64,
    /// Mean in microseconds.
    pub mean_us: f64,
    /// Median in microseconds.
    pub p50_us: f64,
    /// 90 % in microseconds.
    pub p90_us: f64,
    /// 99 % in microseconds.
    pub p99_us: f64,
    /// 99.9 % in microseconds.
    pub p999_us: f64,
    /// The largest in microseconds.
    pub max_us: f64,
    /// All values in nanoseconds: HdrHistogram's V2 format, deflated, in base64.
    pub histogram: String,
}

/// The largest latency that a histogram tells apart from larger ones.
pub const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// An empty histogram of nanoseconds: three digits from a microsecond to [`LATENCY_MAX_NS`].
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3).expect("the bounds are valid")
}

impl Latency {
    /// Of a histogram of nanoseconds.
    pub fn new(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("writing into memory does not fail");
        Latency {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
            histogram: STANDARD.encode(bytes),
        }
    }

    /// Itself, unless there is not one value.
    pub fn known(&self) -> Option<&Latency> {
        (self.count > 0).then_some(self)
    }

    /// All values, in nanoseconds; an error says what is wrong with the text.
    pub fn to_histogram(&self) -> Result<Histogram<u64>, String> {
        let bytes = STANDARD.decode(&self.histogram).map_err(|e| format!("a histogram is not base64: {e}"))?;
        Deserializer::new().deserialize(&mut &bytes[..]).map_err(|e| format!("a histogram cannot be read: {e}"))
    }
}

/// One second of a side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, in seconds after the measured time began.
    pub at_secs: f64,
    /// Its length in seconds.
    pub secs: f64,
    /// Records per second.
    pub records_per_s: f64,
    /// Bytes of keys and values per second.
    pub bytes_per_s: f64,
    /// Median of the latency from the intended send, in microseconds; none without a record.
    pub p50_us: Option<f64>,
    /// 99 % of it.
    pub p99_us: Option<f64>,
    /// The largest.
    pub max_us: Option<f64>,
    /// The broker's CPU in it, in cores; none if it is not known.
    pub broker_cores: Option<f64>,
}

/// What a process used in the measured time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Seconds of CPU in user mode.
    pub cpu_user_secs: f64,
    /// Seconds of CPU in the kernel on its behalf.
    pub cpu_system_secs: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// Bytes that it caused to be written to storage; none if that may not be read.
    pub written_bytes: Option<u64>,
    /// Bytes that it caused to be read from storage; none if that may not be read.
    pub read_bytes: Option<u64>,
    /// System calls that read and write, as the kernel counts them for the process; io_uring's are not among them.
    pub read_write_syscalls: Option<u64>,
    /// Context switches by its own wish (waits), all threads.
    pub voluntary_switches: u64,
    /// Context switches because others wanted the core, all threads.
    pub involuntary_switches: u64,
    /// Flushes that the data's disk finished meanwhile, whoever asked for them; none if the disk is not known.
    pub disk_flushes: Option<u64>,
    /// CPU seconds per 10^9 bytes of keys and values produced and consumed.
    pub cpu_secs_per_gb: Option<f64>,
    /// CPU seconds per 10^6 records produced and consumed.
    pub cpu_secs_per_million_records: Option<f64>,
}

/// What the generator used and how punctual it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorUse {
    /// Seconds of CPU of all its threads.
    pub cpu_secs: f64,
    /// The share of a core that its busiest thread used, 0 to 1.
    pub busiest_thread: f64,
    /// How long after its intended time each record entered the client (a full buffer.memory and a late thread are both
    /// in here). It is part of the latency.
    pub lag: Latency,
    /// How late the threads woke up for records that were due: what the generator itself added.
    pub late: Latency,
    /// Time of the machine taken by others on the same host, as a share of all its CPU time, 0 to 1; none if unknown.
    pub steal: Option<f64>,
    /// Records that were not sent because the run ended before the client could take them.
    pub unsent_records: u64,
}

/// Whether a run may be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// VALID or INVALID.
    pub verdict: Verdict,
    /// Why it is INVALID, one reason each.
    pub reasons: Vec<String>,
    /// What to know when reading a valid one.
    pub remarks: Vec<String>,
}

/// Whether a run may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Valid,
    Invalid,
}

impl Validity {
    /// INVALID if there is a reason.
    pub fn new(reasons: Vec<String>, remarks: Vec<String>) -> Validity {
        let verdict = if reasons.is_empty() { Verdict::Valid } else { Verdict::Invalid };
        Validity { verdict, reasons, remarks }
    }

    /// True for VALID.
    pub fn is_valid(&self) -> bool {
        self.verdict == Verdict::Valid
    }

    /// The first reason, and how many more there are. All of them stand beside what was measured.
    pub fn in_short(&self) -> String {
        match self.reasons.as_slice() {
            [first, rest @ ..] if !rest.is_empty() => format!("{first}; {} more reasons stand above", rest.len()),
            reasons => reasons.concat(),
        }
    }
}

/// The same scenario on several brokers by turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Where the shuffling of the order began.
    pub seed: u64,
    /// True if the brokers' durability differs: every table and picture must say so.
    pub unequal_durability: bool,
    /// The rounds; each has one run per broker, in the order in which they ran.
    pub rounds: Vec<Vec<Run>>,
    /// Every other broker against the first one, figure by figure. Empty if a round is missing.
    pub ratios: Vec<Ratio>,
    /// Whether the comparison may be believed.
    pub validity: Validity,
}

/// A figure of one broker divided by the same of another in the same round: the median over rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// What is compared, with its unit: `records/s`, `p99 µs`, `broker CPU s/GB`, …
    pub figure: String,
    /// True if more is better.
    pub more_is_better: bool,
    /// The broker above the line, its place in [`ResultFile::brokers`].
    pub broker: usize,
    /// The one below the line.
    pub base: usize,
    /// The median of the broker's values.
    pub median: f64,
    /// The median of the base's values.
    pub base_median: f64,
    /// The median of the paired ratios.
    pub ratio: f64,
    /// Its 95 % interval by bootstrap.
    pub interval: [f64; 2],
    /// The paired ratios, in the order of the rounds.
    pub pairs: Vec<f64>,
}

/// Many settings on one broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// `grid` (every combination) or `pairwise` (every pair of values of two settings at least once).
    pub design: String,
    /// The settings that were varied, each with its values, in order.
    pub axes: Vec<Axis>,
    /// The combinations that were measured.
    pub cells: Vec<Cell>,
    /// Places in `cells` of those that nothing beats in both throughput and p99, by rising throughput.
    pub pareto: Vec<usize>,
    /// What to use; one for each aim that was asked for.
    pub recommendations: Vec<Recommendation>,
}

/// A setting that a sweep varies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Kafka's name: `batch.size`, `linger.ms`, `acks`, …; `partitions` for the topic's.
    pub name: String,
    /// The values, as text.
    pub values: Vec<String>,
}

/// One combination of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Setting → value.
    pub settings: BTreeMap<String, String>,
    /// How it went.
    pub run: Run,
}

/// What a sweep recommends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The aim: `p99 below 10 ms`, `at most 50 % CPU`, `most throughput`.
    pub aim: String,
    /// The place in `cells`; none if no cell fulfils it.
    pub cell: Option<usize>,
    /// Why this one, in sentences.
    pub because: String,
    /// Lines for the client's config file.
    pub config_lines: Vec<String>,
}

/// The search for the highest rate at which p99 stays within a bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The bound in milliseconds.
    pub p99_below_ms: f64,
    /// The steps, in the order in which they ran.
    pub steps: Vec<KneeStep>,
    /// The highest rate that was within the bound in most of its repeats, records per second; none if none was.
    pub rate: Option<f64>,
    /// The lowest rate above it that was not; none if every rate was within.
    pub rate_above: Option<f64>,
}

/// One rate of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KneeStep {
    /// Records per second that were asked for.
    pub rate: f64,
    /// Whether most repeats were valid, kept the rate and stayed within the bound.
    pub within: bool,
    /// The repeats.
    pub runs: Vec<Run>,
}

impl CompressionType {
    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            CompressionType::None => "none",
            CompressionType::Gzip => "gzip",
            CompressionType::Snappy => "snappy",
            CompressionType::Lz4 => "lz4",
            CompressionType::Zstd => "zstd",
        }
    }
}

/// Reads a result file; the error says what is wrong with it.
pub fn read(text: &str) -> Result<ResultFile, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("it is not JSON: {e}"))?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => return Err(format!("it has format {format}, this version reads format {FORMAT}")),
        None => return Err("it is no result of coretide bench: it has no \"format\"".to_string()),
    }
    serde_json::from_value(value).map_err(|e| format!("it is damaged: {e}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run with some figures.
    pub fn sample_run() -> Run {
        let mut histogram = new_histogram();
        for us in 1..=1000u64 {
            histogram.saturating_record(us * 1_000);
        }
        let latency = Latency::new(&histogram);
        let interval = Interval {
            at_secs: 0.0,
            secs: 1.0,
            records_per_s: 1000.0,
            bytes_per_s: 1e6,
            p50_us: Some(500.0),
            p99_us: Some(990.0),
            max_us: None,
            broker_cores: Some(0.3),
        };
        let side = Side {
            records: 1000,
            bytes: 1_000_000,
            batch_bytes: 1_100_000,
            batches: 100,
            requests: 50,
            errors: 0,
            error_names: BTreeMap::new(),
            retries: 0,
            records_per_s: 1000.0,
            bytes_per_s: 1e6,
            requests_per_s: 50.0,
            records_per_batch: 10.0,
            latency: latency.clone(),
            service: latency.clone(),
            intervals: vec![interval],
        };
        Run {
            broker: 0,
            scenario: Scenario::named("sample"),
            started_at_ms: 1,
            measured_secs: 1.0,
            produced: Some(side),
            consumed: None,
            broker_use: None,
            generator: GeneratorUse {
                cpu_secs: 0.1,
                busiest_thread: 0.1,
                lag: latency.clone(),
                late: latency,
                steal: Some(0.0),
                unsent_records: 0,
            },
            validity: Validity::new(Vec::new(), Vec::new()),
        }
    }

    /// A whole file around a measurement.
    pub fn sample_file(measured: Measured) -> ResultFile {
        ResultFile {
            format: FORMAT,
            tool_version: "0".to_string(),
            command: vec!["coretide".to_string(), "bench".to_string()],
            started_at_ms: 1,
            machine: Value::Null,
            brokers: vec![Broker {
                address: "127.0.0.1:9092".to_string(),
                name: "coretide".to_string(),
                version_guess: None,
                durability: Durability::Fsync,
                durability_because: String::new(),
                config: BTreeMap::from([("flush.messages".to_string(), Some("1".to_string()))]),
                nodes: 1,
                pid: None,
            }],
            complete: true,
            measured,
        }
    }

    #[test]
    fn a_verdict_in_short_is_its_first_reason_and_a_count() {
        let short = |reasons: &[&str]| {
            Validity::new(reasons.iter().map(ToString::to_string).collect(), vec!["known".to_string()]).in_short()
        };
        assert_eq!(short(&["late"]), "late");
        assert_eq!(short(&["late", "busy", "full"]), "late; 2 more reasons stand above");
        assert_eq!(short(&[]), "");
    }

    #[test]
    fn what_is_written_is_read() {
        let file = sample_file(Measured::Run(sample_run()));
        let text = serde_json::to_string_pretty(&file).unwrap();
        assert!(text.contains("\"kind\": \"run\"") && text.contains("\"fsync before ack\""), "{text}");
        assert!(text.contains("\"verdict\": \"VALID\""), "{text}");
        assert_eq!(read(&text).unwrap(), file);
    }

    #[test]
    fn histograms_survive_whole() {
        let latency = sample_run().generator.lag;
        let histogram = latency.to_histogram().unwrap();
        assert_eq!(histogram.len(), 1000);
        assert_eq!(Latency::new(&histogram), latency);
        assert!((latency.p99_us - 990.0).abs() < 2.0, "{latency:?}");
        assert!(Latency { histogram: "?".to_string(), ..latency }.to_histogram().is_err());
    }

    #[test]
    fn files_of_others_are_refused_in_words() {
        assert!(read("{").unwrap_err().contains("not JSON"));
        assert!(read("{}").unwrap_err().contains("no \"format\""));
        assert!(read("{\"format\": 9}").unwrap_err().contains("format 9"));
        assert!(read("{\"format\": 1}").unwrap_err().contains("damaged"));
    }
}
