//! The grammar of `coretide bench`: flags have the names of Kafka's settings, and make a scenario.
//! Must never touch: brokers.

use crate::lab::check;
use crate::lab::error::LabError;
use crate::lab::file;
use crate::lab::knee::Search;
use crate::lab::result::Axis;
use crate::lab::scenario::{
    Acks, ClientKind, CompressionType, ConsumerSettings, Consumers, KeyKind, Keys, Payload, PayloadKind,
    ProducerSettings, Producers, Rate, RecordSize, Records, Scenario, StartAt, Topics,
};
use crate::lab::shown::{ReportArgs, VersusArgs};
use crate::lab::sweep::{self, Aim, Design};
use clap::{Args, Subcommand};
use std::path::PathBuf;

// Lines of 80 columns at most: what is longer is broken on a terminal of that width.
const PRODUCE_EXAMPLES: &str = "\
Examples:
  # as much as goes, 1 KiB records, one partition
  coretide bench produce
  coretide bench produce --rate 50000 --record-bytes 200 --partitions 12
  coretide bench produce --batch-size 131072 --compression lz4 --payload json
  coretide bench produce --topic-config flush.messages=1 --out produce.json

With a rate the load is open: records are due by the clock, and latency counts
from when each one should have been sent.";
const CONSUME_EXAMPLES: &str = "\
Examples:
  # write 1 GB, then read it again and again
  coretide bench consume
  coretide bench consume --consumers 4 --partitions 16 --backlog-mb 4000";
const E2E_EXAMPLES: &str = "\
Examples:
  # from the intended send to the consumer
  coretide bench e2e --rate 1000
  coretide bench e2e --rate 20000 --producers 4 --consumers 4 --partitions 16";

const RUN_EXAMPLES: &str = "\
Examples:
  # the scenarios that come with the program, one of them, and one changed
  coretide bench run --list
  coretide bench run omb-latency
  coretide bench run --print catch-up > mine.toml
  coretide bench run mine.toml --secs 20 --out result.json";
const COMPARE_EXAMPLES: &str = "\
Examples:
  coretide bench compare ours=:9092 kafka=:9192 --topic-config flush.messages=1
  coretide bench compare a-1:9092 b-1:9092 --scenario omb-latency --pairs 7
  coretide bench compare ours=:9092 kafka=:9192 --rate 5000 --allow-unequal

Each round runs the scenario once on every broker, in an order drawn from
--seed, on fresh topics. Every figure of the others is divided by the first
one's of the same round; the table has the medians of these ratios with 95 %
intervals. ':9092' is a port of this machine.";
const SWEEP_EXAMPLES: &str = "\
Examples:
  coretide bench sweep --batch-size 16384,131072 --linger-ms 0,5 --p99-below 10
  coretide bench sweep --linger-ms 0,1,5 --acks 1,all --compression none,lz4 \\
    --design pairwise --rate 50000
  coretide bench sweep --scenario omb-throughput --partitions 10,100 \\
    --cpu-below 80";
const KNEE_EXAMPLES: &str = "\
Examples:
  coretide bench knee --p99-below 10
  coretide bench knee --p99-below 50 --scenario omb-latency --to 200000";

/// Measure any Kafka-compatible broker.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Produce records and measure throughput and latency
    #[command(after_help = PRODUCE_EXAMPLES)]
    Produce(ProduceArgs),
    /// Write a backlog, then consume it again and again
    #[command(after_help = CONSUME_EXAMPLES)]
    Consume(ConsumeArgs),
    /// Produce and consume; latency from the intended send to the arrival at the consumer
    #[command(after_help = E2E_EXAMPLES)]
    E2e(E2eArgs),
    /// Run a scenario from a file, or one that comes with the program
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Run the same scenario on several brokers by turns, and say how sure the differences are
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Vary a client's settings, and recommend some
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep(SweepArgs),
    /// Find the highest rate at which p99 stays below a bound
    #[command(after_help = KNEE_EXAMPLES)]
    Knee(KneeArgs),
    /// Measure this broker and another one by turns with raw frames: Apache Kafka, or one that runs already
    Versus(VersusArgs),
    /// Make one HTML page of results
    Report(ReportArgs),
}

/// How long, and where the result goes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Measured time in seconds
    #[arg(long, default_value_t = 15.0, value_name = "SECONDS", allow_negative_numbers = true)]
    pub secs: f64,
    /// Time before it in seconds
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", allow_negative_numbers = true)]
    pub warmup_secs: f64,
    /// Write the result, with whole histograms and everything needed to repeat it, to this file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the randomness of records and keys begins
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The topics of a run.
#[derive(Args, Clone, Debug)]
pub struct TopicFlags {
    /// Topics: made for the run and deleted after it
    #[arg(long, default_value_t = 1)]
    pub topics: u32,
    /// Partitions of each topic
    #[arg(long, default_value_t = 1)]
    pub partitions: u32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 1)]
    pub replication_factor: i16,
    /// A config of the topics, NAME=VALUE; as often as wanted
    #[arg(long = "topic-config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub topic_configs: Vec<(String, String)>,
}

/// The records of a run.
#[derive(Args, Clone, Debug)]
pub struct RecordFlags {
    /// Bytes of a record's value: N, or MIN-MAX for sizes evenly between
    #[arg(long, default_value = "1024", value_parser = parse_size)]
    pub record_bytes: RecordSize,
    /// How keys are drawn: none, uniform, zipf
    #[arg(long, default_value = "none", value_parser = parse_word::<KeyKind>)]
    pub keys: KeyKind,
    /// How many different keys there are
    #[arg(long, default_value_t = 10_000)]
    pub key_count: u32,
    /// What values are made of: noise, json, lines
    #[arg(long, default_value = "noise", value_parser = parse_word::<PayloadKind>)]
    pub payload: PayloadKind,
    /// How much of the values repeats, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub compressibility: f64,
    /// The file that `--payload lines` takes its lines from
    #[arg(long, value_name = "FILE")]
    pub payload_file: Option<String>,
}

/// The producers of a run.
#[derive(Args, Clone, Debug)]
pub struct ProducerFlags {
    /// Producers, each with its own connections and memory
    #[arg(long, default_value_t = 1)]
    pub producers: u32,
    /// Threads that drive them; 0: half as many as there are cores
    #[arg(long, default_value_t = 0)]
    pub producer_threads: u32,
    /// Whose rules they follow, and whose defaults they have: java, librdkafka
    #[arg(long, default_value = "java", value_parser = parse_word::<ClientKind>)]
    pub client: ClientKind,
    /// batch.size in bytes [default: 16384; librdkafka 1000000]
    #[arg(long)]
    pub batch_size: Option<u32>,
    /// linger.ms
    #[arg(long, default_value_t = 5)]
    pub linger_ms: u64,
    /// sticky.partitioning.linger.ms of librdkafka [default: twice linger.ms]
    #[arg(long, value_name = "MS")]
    pub sticky_partitioning_linger_ms: Option<u64>,
    /// batch.num.messages of librdkafka [default: 10000]
    #[arg(long, value_name = "N")]
    pub batch_num_messages: Option<u32>,
    /// acks: 0, 1 or all
    #[arg(long, default_value = "all", value_parser = parse_word::<Acks>)]
    pub acks: Acks,
    /// compression.type: none, gzip, snappy, lz4, zstd
    #[arg(long, default_value = "none", value_parser = parse_word::<CompressionType>)]
    pub compression: CompressionType,
    /// max.in.flight.requests.per.connection [default: 5; librdkafka 1000000]
    #[arg(long)]
    pub max_in_flight: Option<u32>,
    /// buffer.memory in bytes [default: 33554432; librdkafka's queue.buffering.max.kbytes 1073741824]
    #[arg(long)]
    pub buffer_memory: Option<u64>,
    /// max.request.size in bytes [default: 1048576; librdkafka's message.max.bytes 1000000]
    #[arg(long)]
    pub max_request_size: Option<u32>,
    /// enable.idempotence=false (also librdkafka's default, and what acks 0 and 1 and more than 5 in flight mean)
    #[arg(long)]
    pub no_idempotence: bool,
}

/// The consumers of a run.
#[derive(Args, Clone, Debug)]
pub struct ConsumerFlags {
    /// Consumers of each group; they divide the partitions
    #[arg(long, default_value_t = 1)]
    pub consumers: u32,
    /// Groups: each reads everything
    #[arg(long, default_value_t = 1)]
    pub groups: u32,
    /// Threads that drive them; 0: half as many as there are cores
    #[arg(long, default_value_t = 0)]
    pub consumer_threads: u32,
    /// fetch.min.bytes
    #[arg(long, default_value_t = 1)]
    pub fetch_min_bytes: i32,
    /// fetch.max.wait.ms
    #[arg(long, default_value_t = 500)]
    pub fetch_max_wait_ms: i32,
    /// fetch.max.bytes
    #[arg(long, default_value_t = 50 << 20)]
    pub fetch_max_bytes: i32,
    /// max.partition.fetch.bytes
    #[arg(long, default_value_t = 1 << 20)]
    pub max_partition_fetch_bytes: i32,
    /// Ask for every partition each time, as clients without fetch sessions do
    #[arg(long)]
    pub no_fetch_sessions: bool,
}

/// `bench produce`
#[derive(Args, Clone, Debug)]
pub struct ProduceArgs {
    /// Records per second of all producers together, or max
    #[arg(long, default_value = "max", value_parser = parse_rate, allow_negative_numbers = true)]
    pub rate: Rate,
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub topic: TopicFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub producer: ProducerFlags,
}

/// `bench consume`
#[derive(Args, Clone, Debug)]
pub struct ConsumeArgs {
    /// MB of values that are written before
    #[arg(long, default_value_t = 1_000, value_name = "MB")]
    pub backlog_mb: u64,
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub topic: TopicFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    /// batch.size of the backlog in bytes
    #[arg(long, default_value_t = 131_072)]
    pub batch_size: u32,
    /// compression.type of the backlog: none, gzip, snappy, lz4, zstd
    #[arg(long, default_value = "none", value_parser = parse_word::<CompressionType>)]
    pub compression: CompressionType,
    #[command(flatten)]
    pub consumer: ConsumerFlags,
}

/// `bench e2e`
#[derive(Args, Clone, Debug)]
pub struct E2eArgs {
    /// Records per second of all producers together, or max
    #[arg(long, default_value = "1000", value_parser = parse_rate, allow_negative_numbers = true)]
    pub rate: Rate,
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub topic: TopicFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub producer: ProducerFlags,
    #[command(flatten)]
    pub consumer: ConsumerFlags,
}

/// `bench run`
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// A scenario file, or the name of a scenario that comes with the program
    #[arg(value_name = "FILE", required_unless_present_any = ["list", "print"])]
    pub file: Option<String>,
    /// List the scenarios that come with the program
    #[arg(long, conflicts_with = "file")]
    pub list: bool,
    /// Print one of them
    #[arg(long, conflicts_with = "file", value_name = "NAME")]
    pub print: Option<String>,
    #[command(flatten)]
    pub change: Change,
}

/// What a command changes about a scenario, and where its result goes.
#[derive(Args, Clone, Debug)]
pub struct Change {
    /// Measured time of each run in seconds, in place of the scenario's
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub secs: Option<f64>,
    /// Time before it in seconds, in place of the scenario's
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub warmup_secs: Option<f64>,
    /// Records per second or max, in place of the scenario's
    #[arg(long, value_parser = parse_rate, allow_negative_numbers = true)]
    pub rate: Option<Rate>,
    /// Bytes of a record's value: N or MIN-MAX, in place of the scenario's
    #[arg(long, value_parser = parse_size)]
    pub record_bytes: Option<RecordSize>,
    /// Whose rules the producers follow: java, librdkafka; what has the one's default gets the other's
    #[arg(long, value_parser = parse_word::<ClientKind>)]
    pub client: Option<ClientKind>,
    /// A config of the topics, NAME=VALUE, beside the scenario's; as often as wanted
    #[arg(long = "topic-config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub topic_configs: Vec<(String, String)>,
    /// Write the result to this file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The scenario of a command that runs it more than once.
#[derive(Args, Clone, Debug)]
pub struct Base {
    /// A scenario file, or the name of one that comes with the program; without it 4 producers send 1 KiB records to 16
    /// partitions, 10 seconds each time
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<String>,
    #[command(flatten)]
    pub change: Change,
}

/// `bench compare`
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// The brokers: HOST:PORT or NAME=HOST:PORT; the first one is what the others are divided by
    #[arg(value_name = "BROKER", required = true, num_args = 2..)]
    pub brokers: Vec<String>,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    pub pairs: u32,
    /// Where the shuffling of each round's order begins
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Run although the brokers' durability differs or is unknown; every table says so
    #[arg(long)]
    pub allow_unequal: bool,
    #[command(flatten)]
    pub base: Base,
}

/// `bench sweep`
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// Values of batch.size
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…")]
    pub batch_size: Vec<String>,
    /// Values of linger.ms
    #[arg(long, value_delimiter = ',', value_name = "MS,…")]
    pub linger_ms: Vec<String>,
    /// Values of acks
    #[arg(long, value_delimiter = ',', value_name = "ACKS,…")]
    pub acks: Vec<String>,
    /// Values of compression.type
    #[arg(long, value_delimiter = ',', value_name = "CODEC,…")]
    pub compression: Vec<String>,
    /// Values of max.in.flight.requests.per.connection
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub max_in_flight: Vec<String>,
    /// Numbers of partitions
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub partitions: Vec<String>,
    /// Every combination, or few in which every pair of values occurs
    #[arg(long, value_enum, default_value = "grid")]
    pub design: Design,
    /// Recommend for a p99 below so many milliseconds
    #[arg(long, value_name = "MS")]
    pub p99_below: Option<f64>,
    /// Recommend for a broker that uses at most so many percent of a core
    #[arg(long, value_name = "PERCENT")]
    pub cpu_below: Option<f64>,
    #[command(flatten)]
    pub base: Base,
}

/// `bench knee`
#[derive(Args, Clone, Debug)]
pub struct KneeArgs {
    /// The bound of p99 in milliseconds
    #[arg(long, value_name = "MS")]
    pub p99_below: f64,
    /// The first rate, records per second
    #[arg(long, default_value_t = 1_000.0)]
    pub from: f64,
    /// The highest rate to try
    #[arg(long, default_value_t = 1_000_000.0)]
    pub to: f64,
    /// Runs of each rate; most of them must be within the bound
    #[arg(long, default_value_t = 3)]
    pub repeats: u32,
    /// How near to the knee it gets, as a part of the rate
    #[arg(long, default_value_t = 0.05)]
    pub precision: f64,
    #[command(flatten)]
    pub base: Base,
}

impl Change {
    /// A scenario with the changes made.
    pub fn apply(&self, mut scenario: Scenario) -> Result<Scenario, LabError> {
        scenario.secs = self.secs.unwrap_or(scenario.secs);
        scenario.warmup_secs = self.warmup_secs.unwrap_or(scenario.warmup_secs);
        if let Some(rate) = &self.rate {
            scenario.producers.rate = rate.clone();
        }
        if let Some(bytes) = &self.record_bytes {
            scenario.record.bytes = bytes.clone();
        }
        if let Some(kind) = self.client {
            scenario.producers.client = scenario.producers.client.by_rules_of(kind);
        }
        scenario.topic.config.extend(self.topic_configs.iter().cloned());
        checked(scenario)
    }
}

impl Base {
    /// The scenario that is run again and again.
    pub fn scenario(&self) -> Result<Scenario, LabError> {
        let scenario = match &self.scenario {
            Some(name) => file::load(name)?,
            None => Scenario {
                secs: 10.0,
                warmup_secs: 3.0,
                topic: Topics { partitions: 16, ..Topics::default() },
                producers: Producers { count: 4, ..Producers::default() },
                ..Scenario::named("produce")
            },
        };
        self.change.apply(scenario)
    }
}

impl SweepArgs {
    /// The settings that are varied.
    pub fn axes(&self) -> Result<Vec<Axis>, LabError> {
        let given =
            [&self.batch_size, &self.linger_ms, &self.acks, &self.compression, &self.max_in_flight, &self.partitions];
        let axes = sweep::SETTINGS.iter().zip(given).filter(|(_, values)| !values.is_empty());
        let axes: Vec<Axis> =
            axes.map(|(name, values)| Axis { name: name.to_string(), values: values.clone() }).collect();
        if axes.is_empty() {
            return Err(LabError::Usage(
                "name the values of one setting at least, as in --linger-ms 0,5,20".to_string(),
            ));
        }
        Ok(axes)
    }

    /// What to recommend for.
    pub fn aims(&self) -> Vec<Aim> {
        let p99 = self.p99_below.map(Aim::P99BelowMs);
        let cpu = self.cpu_below.map(Aim::CpuAtMostPercent);
        p99.into_iter().chain(cpu).chain([Aim::MostThroughput]).collect()
    }
}

impl KneeArgs {
    /// What to search.
    pub fn search(&self) -> Result<Search, LabError> {
        let KneeArgs { p99_below, from, to, repeats, precision, .. } = *self;
        let sane = p99_below > 0.0 && from >= 1.0 && to >= from && repeats >= 1 && precision > 0.0;
        let text = "p99-below and precision must be above 0, from at least 1, to at least from, repeats at least 1";
        match sane {
            true => Ok(Search { p99_below_ms: p99_below, from, to, repeats, precision }),
            false => Err(LabError::Usage(text.to_string())),
        }
    }
}

impl TopicFlags {
    fn topics(&self) -> Topics {
        Topics {
            count: self.topics,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            config: self.topic_configs.iter().cloned().collect(),
        }
    }
}

impl RecordFlags {
    fn records(&self) -> Records {
        let (kind, compressibility, file) = (self.payload, self.compressibility, self.payload_file.clone());
        Records {
            bytes: self.record_bytes.clone(),
            keys: Keys { kind: self.keys, count: self.key_count, ..Keys::default() },
            payload: Payload { kind, compressibility, file },
        }
    }
}

impl ProducerFlags {
    fn producers(&self, rate: &Rate) -> Producers {
        let usual = ProducerSettings::of(self.client);
        let max_in_flight = self.max_in_flight.unwrap_or(usual.max_in_flight);
        let may_be_idempotent = usual.enable_idempotence && self.acks == Acks::All && max_in_flight <= 5;
        let client = ProducerSettings {
            batch_size: self.batch_size.unwrap_or(usual.batch_size),
            linger_ms: self.linger_ms,
            acks: self.acks,
            compression_type: self.compression,
            max_in_flight,
            buffer_memory: self.buffer_memory.unwrap_or(usual.buffer_memory),
            max_request_size: self.max_request_size.unwrap_or(usual.max_request_size),
            enable_idempotence: may_be_idempotent && !self.no_idempotence,
            sticky_linger_ms: self.sticky_partitioning_linger_ms.or(usual.sticky_linger_ms),
            batch_num_messages: self.batch_num_messages.unwrap_or(usual.batch_num_messages),
            ..usual
        };
        Producers { count: self.producers, threads: self.producer_threads, rate: rate.clone(), client }
    }
}

impl ConsumerFlags {
    fn consumers(&self) -> Consumers {
        let client = ConsumerSettings {
            fetch_min_bytes: self.fetch_min_bytes,
            fetch_max_wait_ms: self.fetch_max_wait_ms,
            fetch_max_bytes: self.fetch_max_bytes,
            max_partition_fetch_bytes: self.max_partition_fetch_bytes,
            fetch_sessions: !self.no_fetch_sessions,
            ..ConsumerSettings::default()
        };
        let (count, groups, threads) = (self.consumers, self.groups, self.consumer_threads);
        Consumers { count, groups, threads, client, ..Consumers::default() }
    }
}

/// The parts that all three workloads have.
fn scenario(name: &str, common: &Common, topic: &TopicFlags, record: &RecordFlags) -> Scenario {
    Scenario {
        secs: common.secs,
        warmup_secs: common.warmup_secs,
        seed: common.seed,
        topic: topic.topics(),
        record: record.records(),
        ..Scenario::named(name)
    }
}

fn checked(scenario: Scenario) -> Result<Scenario, LabError> {
    match check::problems(&scenario).first() {
        Some(problem) => Err(LabError::Usage(problem.to_string())),
        None => Ok(scenario),
    }
}

impl ProduceArgs {
    /// What the flags ask for.
    pub fn scenario(&self) -> Result<Scenario, LabError> {
        let producers = self.producer.producers(&self.rate);
        checked(Scenario { producers, ..scenario("produce", &self.common, &self.topic, &self.record) })
    }
}

impl ConsumeArgs {
    /// What the flags ask for.
    pub fn scenario(&self) -> Result<Scenario, LabError> {
        let client = ProducerSettings {
            batch_size: self.batch_size,
            compression_type: self.compression,
            ..ProducerSettings::default()
        };
        let producers = Producers { count: 0, client, ..Producers::default() };
        let backlog_bytes = self.backlog_mb.saturating_mul(1_000_000);
        let consumers = Consumers { from: StartAt::Beginning, backlog_bytes, ..self.consumer.consumers() };
        checked(Scenario { producers, consumers, ..scenario("consume", &self.common, &self.topic, &self.record) })
    }
}

impl E2eArgs {
    /// What the flags ask for.
    pub fn scenario(&self) -> Result<Scenario, LabError> {
        let (producers, consumers) = (self.producer.producers(&self.rate), self.consumer.consumers());
        checked(Scenario { producers, consumers, ..scenario("e2e", &self.common, &self.topic, &self.record) })
    }
}

/// A word of a scenario, as in its file.
fn parse_word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_string())).map_err(|error| error.to_string())
}

/// `NAME=VALUE`
fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(format!("'{text}' is not NAME=VALUE")),
    }
}

/// `max` or a number.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Rate::Max),
        (_, Ok(rate)) if rate > 0.0 => Ok(Rate::Fixed(rate)),
        _ => Err(format!("'{text}' is neither 'max' nor a number of records per second above 0")),
    }
}

/// `N` or `MIN-MAX`.
fn parse_size(text: &str) -> Result<RecordSize, String> {
    let wrong = || format!("'{text}' is neither a number of bytes nor MIN-MAX");
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    match text.split_once('-') {
        None => Ok(RecordSize::Fixed(number(text)?)),
        Some((min, max)) => {
            let (min, max) = (number(min)?, number(max)?);
            if min > max { Err(wrong()) } else { Ok(RecordSize::Uniform { min, max }) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(subcommand)]
        command: BenchCommand,
    }

    fn scenario_of(line: &str) -> Result<Scenario, String> {
        let probe = Probe::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let scenario = match &probe.command {
            BenchCommand::Produce(args) => args.scenario(),
            BenchCommand::Consume(args) => args.scenario(),
            BenchCommand::E2e(args) => args.scenario(),
            BenchCommand::Run(args) => args.change.apply(Scenario::named("x")),
            BenchCommand::Compare(args) => args.base.scenario(),
            BenchCommand::Sweep(args) => args.axes().and_then(|_| args.base.scenario()),
            BenchCommand::Knee(args) => args.search().and_then(|_| args.base.scenario()),
            other => panic!("{other:?} has no scenario"),
        };
        scenario.map_err(|error| error.to_string())
    }

    #[test]
    fn the_grammar_is_consistent_and_defaults_are_kafkas() {
        Probe::command().debug_assert();
        let scenario = scenario_of("bench produce").unwrap();
        assert_eq!(scenario.producers.client, ProducerSettings::default());
        assert_eq!(scenario_of("bench e2e").unwrap().consumers.client, ConsumerSettings::default());
    }

    #[test]
    fn flags_make_scenarios() {
        let line = "bench produce --rate 500 --acks 1 --compression zstd --record-bytes 10-20 --topic-config a=b=c";
        let scenario = scenario_of(line).unwrap();
        assert_eq!(scenario.producers.rate, Rate::Fixed(500.0));
        assert!(!scenario.producers.client.enable_idempotence, "acks=1 turns it off");
        assert_eq!(scenario.record.bytes, RecordSize::Uniform { min: 10, max: 20 });
        assert_eq!(scenario.topic.config["a"], "b=c");
        let other = scenario_of("bench produce --client librdkafka --linger-ms 7").unwrap().producers.client;
        assert_eq!(other, ProducerSettings { linger_ms: 7, ..ProducerSettings::of(ClientKind::Librdkafka) });
        let swept = scenario_of("bench sweep --linger-ms 1,2 --client librdkafka").unwrap().producers.client;
        assert_eq!(swept, ProducerSettings::of(ClientKind::Librdkafka));
        let consume = scenario_of("bench consume --backlog-mb 5").unwrap();
        assert_eq!((consume.producers.count, consume.consumers.backlog_bytes), (0, 5_000_000));
    }

    #[test]
    fn what_stands_below_help_fits_eighty_columns() {
        for command in Probe::command().get_subcommands() {
            let below = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(below.starts_with("Examples:"), "{} has no examples", command.get_name());
            for line in below.lines() {
                assert!(line.chars().count() <= 80, "bench {}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (line, words) in [
            ("bench produce --rate fast", "neither 'max' nor a number"),
            ("bench produce --rate -5", "neither 'max' nor a number"),
            ("bench produce --secs -1", "secs: -1 is not above 0"),
            ("bench produce --warmup-secs -1", "warmup_secs: -1 is not 0 to"),
            ("bench run idle --secs -1", "secs: -1 is not above 0"),
            ("bench produce --record-bytes 2000000", "max.request.size: 1048576 is less than a record of 2000000"),
            ("bench produce --acks 2", "acks are 0, 1 or"),
            ("bench produce --compression zip", "`none`, `gzip`, `snappy`, `lz4`, `zstd`"),
            ("bench produce --record-bytes 9-3", "MIN-MAX"),
            ("bench produce --secs 0", "secs: 0 is not above 0"),
            ("bench e2e --record-bytes 4", "at least 8"),
            ("bench run", "<FILE>"),
            ("bench compare a:1", "2 values required"),
            ("bench compare a:1 b:1 --scenario nowhere", "omb-latency"),
            ("bench produce --client sarama", "`java` or `librdkafka`"),
            ("bench sweep", "one setting at least"),
            ("bench knee --p99-below 0", "above 0"),
        ] {
            let refused = scenario_of(line).unwrap_err();
            assert!(refused.contains(words), "{line}: {refused}");
        }
    }
}
