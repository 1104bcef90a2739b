//! The grammar of `coretide bench`: flags have the names of Kafka's settings, and make a scenario.
//! Must never touch: brokers.

use crate::lab::check;
use crate::lab::error::LabError;
use crate::lab::scenario::{
    Acks, CompressionType, ConsumerSettings, Consumers, KeyKind, Keys, Payload, PayloadKind, ProducerSettings,
    Producers, Rate, RecordSize, Records, Scenario, StartAt, Topics,
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

const PRODUCE_EXAMPLES: &str = "\
Examples:
  coretide bench produce                                          as much as goes, 1 KiB records, one partition
  coretide bench produce --rate 50000 --record-bytes 200 --partitions 12 --producers 4
  coretide bench produce --batch-size 131072 --linger-ms 1 --compression lz4 --payload json --compressibility 0.7
  coretide bench produce --bootstrap kafka-1:9092 --topic-config flush.messages=1 --out produce.json

With a rate the load is open: records are due by the clock, and latency counts from when each one should have been sent.";
const CONSUME_EXAMPLES: &str = "\
Examples:
  coretide bench consume                                          write 1 GB, then read it again and again
  coretide bench consume --consumers 4 --partitions 16 --backlog-mb 4000 --max-partition-fetch-bytes 4194304";
const E2E_EXAMPLES: &str = "\
Examples:
  coretide bench e2e --rate 1000                                  from the intended send to the consumer
  coretide bench e2e --rate 20000 --producers 4 --consumers 4 --partitions 16 --linger-ms 0";

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
}

/// How long, and where the result goes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Measured time in seconds
    #[arg(long, default_value_t = 15.0, value_name = "SECONDS")]
    pub secs: f64,
    /// Time before it in seconds
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
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
    /// How keys are drawn
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
    /// batch.size in bytes
    #[arg(long, default_value_t = 16_384)]
    pub batch_size: u32,
    /// linger.ms
    #[arg(long, default_value_t = 5)]
    pub linger_ms: u64,
    /// acks: 0, 1 or all
    #[arg(long, default_value = "all", value_parser = parse_word::<Acks>)]
    pub acks: Acks,
    /// compression.type: none, gzip, snappy, lz4, zstd
    #[arg(long, default_value = "none", value_parser = parse_word::<CompressionType>)]
    pub compression: CompressionType,
    /// max.in.flight.requests.per.connection
    #[arg(long, default_value_t = 5)]
    pub max_in_flight: u32,
    /// buffer.memory in bytes
    #[arg(long, default_value_t = 32 << 20)]
    pub buffer_memory: u64,
    /// max.request.size in bytes
    #[arg(long, default_value_t = 1 << 20)]
    pub max_request_size: u32,
    /// enable.idempotence=false (also what acks 0 and 1 and more than 5 in flight mean)
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
    #[arg(long, default_value = "max", value_parser = parse_rate)]
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
    #[arg(long, default_value = "1000", value_parser = parse_rate)]
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
        let may_be_idempotent = self.acks == Acks::All && self.max_in_flight <= 5;
        let client = ProducerSettings {
            batch_size: self.batch_size,
            linger_ms: self.linger_ms,
            acks: self.acks,
            compression_type: self.compression,
            max_in_flight: self.max_in_flight,
            buffer_memory: self.buffer_memory,
            max_request_size: self.max_request_size,
            enable_idempotence: may_be_idempotent && !self.no_idempotence,
            ..ProducerSettings::default()
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
        let consume = scenario_of("bench consume --backlog-mb 5").unwrap();
        assert_eq!((consume.producers.count, consume.consumers.backlog_bytes), (0, 5_000_000));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (line, words) in [
            ("bench produce --rate fast", "neither 'max' nor a number"),
            ("bench produce --acks 2", "`0`, `1`, `all`"),
            ("bench produce --compression zip", "`none`, `gzip`, `snappy`, `lz4`, `zstd`"),
            ("bench produce --record-bytes 9-3", "MIN-MAX"),
            ("bench produce --secs 0", "secs: 0 is not above 0"),
            ("bench e2e --record-bytes 4", "at least 8"),
        ] {
            let refused = scenario_of(line).unwrap_err();
            assert!(refused.contains(words), "{line}: {refused}");
        }
    }
}
