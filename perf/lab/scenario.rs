//! What a run does, as data: topics, producers, consumers, records, rate, length. Settings of clients have Kafka's names.
//! Must never touch: sockets, clocks.

pub use crate::lab::settings::{ClientKind, ProducerSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One workload. Every field but the name has a default, so that a file says only what is special about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name.
    pub name: String,
    /// What it shows, in a sentence or two.
    #[serde(default)]
    pub description: String,
    /// Measured time in seconds.
    #[serde(default = "Scenario::default_secs")]
    pub secs: f64,
    /// Time before it in seconds.
    #[serde(default = "Scenario::default_warmup_secs")]
    pub warmup_secs: f64,
    /// Where the randomness of records and keys begins.
    #[serde(default = "Scenario::default_seed")]
    pub seed: u64,
    /// The topics it makes.
    #[serde(default)]
    pub topic: Topics,
    /// The records.
    #[serde(default)]
    pub record: Records,
    /// Who writes.
    #[serde(default)]
    pub producers: Producers,
    /// Who reads.
    #[serde(default)]
    pub consumers: Consumers,
}

impl Scenario {
    fn default_secs() -> f64 {
        30.0
    }

    fn default_warmup_secs() -> f64 {
        5.0
    }

    fn default_seed() -> u64 {
        1
    }

    /// One with all defaults.
    pub fn named(name: &str) -> Scenario {
        Scenario {
            name: name.to_string(),
            description: String::new(),
            secs: Scenario::default_secs(),
            warmup_secs: Scenario::default_warmup_secs(),
            seed: Scenario::default_seed(),
            topic: Topics::default(),
            record: Records::default(),
            producers: Producers::default(),
            consumers: Consumers::default(),
        }
    }
}

/// The topics of a run: made fresh before it, deleted after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// How many; producers and consumers use all of them.
    pub count: u32,
    /// Partitions of each.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// Their own configs.
    pub config: BTreeMap<String, String>,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { count: 1, partitions: 1, replication_factor: 1, config: BTreeMap::new() }
    }
}

/// What records look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Records {
    /// Bytes of the value.
    pub bytes: RecordSize,
    /// The keys.
    pub keys: Keys,
    /// What values consist of.
    pub payload: Payload,
}

/// Bytes of a record's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "record bytes are a number, { min, max } (uniform), or [{ bytes, weight }, …] (a mixture)"
)]
pub enum RecordSize {
    /// All the same.
    Fixed(u32),
    /// Evenly between two bounds, both included.
    Uniform { min: u32, max: u32 },
    /// A mixture of sizes.
    Mixture(Vec<WeightedSize>),
}

/// A size of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedSize {
    /// Bytes of the value.
    pub bytes: u32,
    /// How often it comes, relative to the others.
    pub weight: u32,
}

impl Default for RecordSize {
    fn default() -> RecordSize {
        RecordSize::Fixed(1024)
    }
}

impl RecordSize {
    /// The smallest and the largest size.
    pub fn bounds(&self) -> (u32, u32) {
        match self {
            RecordSize::Fixed(bytes) => (*bytes, *bytes),
            RecordSize::Uniform { min, max } => (*min, *max),
            RecordSize::Mixture(sizes) => {
                let least = sizes.iter().map(|size| size.bytes).min().unwrap_or(0);
                (least, sizes.iter().map(|size| size.bytes).max().unwrap_or(0))
            }
        }
    }

    /// The mean size.
    pub fn mean(&self) -> f64 {
        match self {
            RecordSize::Fixed(bytes) => f64::from(*bytes),
            RecordSize::Uniform { min, max } => f64::midpoint(f64::from(*min), f64::from(*max)),
            RecordSize::Mixture(sizes) => {
                let weights: f64 = sizes.iter().map(|size| f64::from(size.weight)).sum();
                let sum: f64 = sizes.iter().map(|size| f64::from(size.bytes) * f64::from(size.weight)).sum();
                if weights > 0.0 { sum / weights } else { 0.0 }
            }
        }
    }
}

/// Which keys records have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// No key: the sticky partitioner decides.
    #[default]
    None,
    /// Each of `count` keys equally often.
    Uniform,
    /// Few keys often, many seldom.
    Zipf,
}

/// The keys of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// How keys are drawn.
    pub kind: KeyKind,
    /// How many different ones there are.
    pub count: u32,
    /// Bytes of each.
    pub bytes: u32,
    /// Zipf's exponent: the n-th key comes in proportion to 1/n^exponent.
    pub exponent: f64,
}

impl Default for Keys {
    fn default() -> Keys {
        Keys { kind: KeyKind::None, count: 10_000, bytes: 16, exponent: 1.0 }
    }
}

/// What values consist of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadKind {
    /// Random bytes; `compressibility` of each value is zeros instead.
    #[default]
    Noise,
    /// Events as JSON; `compressibility` of their fields repeat.
    Json,
    /// The lines of `file` in turn, cut or repeated to the record's size.
    Lines,
}

/// The contents of values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Payload {
    /// What they are made of.
    pub kind: PayloadKind,
    /// From 0 (nothing compresses) to 1.
    pub compressibility: f64,
    /// Where `lines` come from.
    pub file: Option<String>,
}

/// How many records per second all producers send together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a rate is \"max\", records per second, { steps = [{ secs, rate }, …] }, or { base, peak, every_secs, burst_secs }"
)]
pub enum Rate {
    /// As much as goes.
    #[default]
    #[serde(with = "max_word")]
    Max,
    /// The same all the time.
    Fixed(f64),
    /// One after another; the last one stays.
    Steps { steps: Vec<Step> },
    /// `base`, and every so often `peak` for a while.
    Bursts { base: f64, peak: f64, every_secs: f64, burst_secs: f64 },
}

/// A step of a rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// How long it lasts.
    pub secs: f64,
    /// Records per second.
    pub rate: f64,
}

/// The unit variant of an untagged enum as the word "max".
mod max_word {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("max")
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        let word = String::deserialize(deserializer)?;
        if word == "max" { Ok(()) } else { Err(D::Error::custom("\"max\" is the only word for a rate")) }
    }
}

impl Rate {
    /// Records per second at a time since the run began (warm-up included); none for as much as goes.
    pub fn at(&self, secs: f64) -> Option<f64> {
        match self {
            Rate::Max => None,
            Rate::Fixed(rate) => Some(*rate),
            Rate::Steps { steps } => {
                let mut until = 0.0;
                for step in steps {
                    until += step.secs;
                    if secs < until {
                        return Some(step.rate);
                    }
                }
                Some(steps.last().map_or(0.0, |step| step.rate))
            }
            Rate::Bursts { base, peak, every_secs, burst_secs } => {
                Some(if secs % every_secs < *burst_secs { *peak } else { *base })
            }
        }
    }
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Producers {
    /// How many clients; each has its own connections and accumulator. 0: only readers.
    pub count: u32,
    /// Threads of the generator that drive them; 0: as many as half of the cores, one at least.
    pub threads: u32,
    /// Records per second of all together.
    pub rate: Rate,
    /// Their settings.
    pub client: ProducerSettings,
}

impl Default for Producers {
    fn default() -> Producers {
        Producers { count: 1, threads: 0, rate: Rate::Max, client: ProducerSettings::default() }
    }
}

/// Who must have a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AcksWord", into = "AcksWord")]
pub enum Acks {
    /// Nobody: no response at all.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas.
    #[default]
    All,
}

/// Acks as they are written: a number or a word.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "acks are 0, 1 or \"all\"")]
enum AcksWord {
    Number(i64),
    Word(String),
}

impl TryFrom<AcksWord> for Acks {
    type Error = String;

    fn try_from(word: AcksWord) -> Result<Acks, String> {
        let text = match word {
            AcksWord::Number(number) => number.to_string(),
            AcksWord::Word(word) => word,
        };
        match text.as_str() {
            "0" => Ok(Acks::None),
            "1" => Ok(Acks::Leader),
            "all" | "-1" => Ok(Acks::All),
            other => Err(format!("acks are 0, 1 or \"all\", not {other}")),
        }
    }
}

impl From<Acks> for AcksWord {
    fn from(acks: Acks) -> AcksWord {
        let word = match acks {
            Acks::None => "0",
            Acks::Leader => "1",
            Acks::All => "all",
        };
        AcksWord::Word(word.to_string())
    }
}

impl Acks {
    /// The number in a Produce request.
    pub const fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// A compression codec by Kafka's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionType {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Where consumers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// At what comes.
    #[default]
    End,
    /// At the first record.
    Beginning,
}

/// Who reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consumers {
    /// Clients in each group; the group's partitions are divided between them. 0: only writers.
    pub count: u32,
    /// Groups: each reads everything.
    pub groups: u32,
    /// Threads of the generator that drive them; 0: as many as half of the cores, one at least.
    pub threads: u32,
    /// Where they begin.
    pub from: StartAt,
    /// Bytes of values that are in the topics before the consumers begin: written at full speed before the warm-up.
    pub backlog_bytes: u64,
    /// Their settings.
    pub client: ConsumerSettings,
}

impl Default for Consumers {
    fn default() -> Consumers {
        Consumers {
            count: 0,
            groups: 1,
            threads: 0,
            from: StartAt::End,
            backlog_bytes: 0,
            client: ConsumerSettings::default(),
        }
    }
}

/// A consumer's settings with the names and the defaults of Kafka 4's Java consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerSettings {
    /// The least an answer should hold, in bytes.
    #[serde(rename = "fetch.min.bytes")]
    pub fetch_min_bytes: i32,
    /// How long the broker may wait for that, in milliseconds.
    #[serde(rename = "fetch.max.wait.ms")]
    pub fetch_max_wait_ms: i32,
    /// The most an answer should hold, in bytes.
    #[serde(rename = "fetch.max.bytes")]
    pub fetch_max_bytes: i32,
    /// The most it should hold of one partition, in bytes.
    #[serde(rename = "max.partition.fetch.bytes")]
    pub max_partition_fetch_bytes: i32,
    /// Fetch sessions (KIP-227): only what has changed is asked for. Java's consumer always uses them.
    #[serde(rename = "fetch.sessions")]
    pub fetch_sessions: bool,
    /// Check the CRC of every batch.
    #[serde(rename = "check.crcs")]
    pub check_crcs: bool,
}

impl Default for ConsumerSettings {
    fn default() -> ConsumerSettings {
        ConsumerSettings {
            fetch_min_bytes: 1,
            fetch_max_wait_ms: 500,
            fetch_max_bytes: 50 << 20,
            max_partition_fetch_bytes: 1 << 20,
            fetch_sessions: true,
            check_crcs: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_words_numbers_or_tables() {
        let read = |text: &str| serde_json::from_str::<Rate>(text);
        assert_eq!(read("\"max\"").unwrap(), Rate::Max);
        assert_eq!(read("5000").unwrap(), Rate::Fixed(5000.0));
        let steps = read(r#"{"steps": [{"secs": 2, "rate": 10}, {"secs": 1, "rate": 30}]}"#).unwrap();
        assert_eq!([steps.at(0.0), steps.at(2.5), steps.at(9.0)], [Some(10.0), Some(30.0), Some(30.0)]);
        let bursts = read(r#"{"base": 1, "peak": 9, "every_secs": 10, "burst_secs": 2}"#).unwrap();
        assert_eq!([bursts.at(1.0), bursts.at(3.0), bursts.at(11.9)], [Some(9.0), Some(1.0), Some(9.0)]);
        assert!(read("\"fast\"").unwrap_err().to_string().contains("a rate is"));
        for rate in [Rate::Max, Rate::Fixed(1.5), steps, bursts] {
            let text = serde_json::to_string(&rate).unwrap();
            assert_eq!(read(&text).unwrap(), rate, "{text}");
        }
    }

    #[test]
    fn sizes_know_their_bounds_and_mean() {
        let mixture =
            RecordSize::Mixture(vec![WeightedSize { bytes: 100, weight: 3 }, WeightedSize { bytes: 900, weight: 1 }]);
        assert_eq!((mixture.bounds(), mixture.mean()), ((100, 900), 300.0));
        assert_eq!(RecordSize::Uniform { min: 10, max: 30 }.mean(), 20.0);
    }

    #[test]
    fn client_settings_have_kafkas_names() {
        let text = serde_json::to_string(&ProducerSettings::default()).unwrap();
        for name in ["\"batch.size\":16384", "\"linger.ms\":5", "\"acks\":\"all\"", "\"compression.type\":\"none\""] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(serde_json::from_str::<ProducerSettings>(r#"{"linger": 1}"#).is_err());
    }
}
