//! Where a broker value comes from: dynamic for this broker, dynamic for all brokers, static, default; and which broker
//! keys stand behind a topic's or a group's key (synonyms).
//! Must not touch: checking (`key`); what is stored here has been checked.

use super::key::Scope;
use super::table;
use std::collections::BTreeMap;

/// Checked values in their stored form, by name.
pub type ConfigMap = BTreeMap<String, String>;

/// `DescribeConfigsResponse.ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    BrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl Source {
    /// The number on the wire.
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// A broker key that gives a value where the resource itself has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker's key.
    pub name: &'static str,
    /// Factor from the broker's unit to the resource's.
    pub scale: i64,
}

/// One value that a layer holds for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerValue {
    pub name: &'static str,
    pub value: String,
    pub source: Source,
    pub scale: i64,
}

/// The broker's three layers of given values.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    pub dynamic_broker: &'a ConfigMap,
    pub dynamic_default: &'a ConfigMap,
    pub statics: &'a ConfigMap,
}

impl Layers<'_> {
    /// Every value given for the synonyms, strongest first: layer by layer, within a layer in the synonyms' order.
    pub fn chain(&self, synonyms: &[Synonym]) -> Vec<LayerValue> {
        let given = [
            (self.dynamic_broker, Source::DynamicBroker),
            (self.dynamic_default, Source::DynamicDefaultBroker),
            (self.statics, Source::StaticBroker),
        ];
        let mut chain = Vec::new();
        for (map, source) in given {
            for synonym in synonyms {
                if let Some(value) = map.get(synonym.name) {
                    chain.push(LayerValue { name: synonym.name, value: value.clone(), source, scale: synonym.scale });
                }
            }
        }
        for synonym in synonyms {
            if let Some(value) = table::find(Scope::Broker, synonym.name).and_then(|key| key.default) {
                let source = Source::Default;
                chain.push(LayerValue { name: synonym.name, value: value.to_string(), source, scale: synonym.scale });
            }
        }
        chain
    }

    /// The strongest value of the synonyms in the resource's unit.
    pub fn value(&self, synonyms: &[Synonym]) -> Option<(String, Source)> {
        self.chain(synonyms).first().map(|found| (found.scaled(), found.source))
    }
}

impl LayerValue {
    /// The value in the unit of the key that was asked for. -1 (no limit) has no unit.
    pub fn scaled(&self) -> String {
        match self.value.parse::<i64>() {
            Ok(number) if self.scale != 1 && number >= 0 => number.saturating_mul(self.scale).to_string(),
            _ => self.value.clone(),
        }
    }
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, scale: 1 }
}

const fn times(name: &'static str, scale: i64) -> Synonym {
    Synonym { name, scale }
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

static RETENTION: &[Synonym] =
    &[same("log.retention.ms"), times("log.retention.minutes", MINUTE_MS), times("log.retention.hours", HOUR_MS)];
static ROLL: &[Synonym] = &[same("log.roll.ms"), times("log.roll.hours", HOUR_MS)];
static ROLL_JITTER: &[Synonym] = &[same("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOUR_MS)];
static FLUSH_MS: &[Synonym] = &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")];

/// The broker keys behind a topic key, strongest first; none for keys that only topics have.
pub fn topic_synonyms(name: &str) -> Vec<Synonym> {
    let one = match name {
        "retention.ms" => return RETENTION.to_vec(),
        "segment.ms" => return ROLL.to_vec(),
        "segment.jitter.ms" => return ROLL_JITTER.to_vec(),
        "flush.ms" => return FLUSH_MS.to_vec(),
        "cleanup.policy" => "log.cleanup.policy",
        "compression.gzip.level" => "compression.gzip.level",
        "compression.lz4.level" => "compression.lz4.level",
        "compression.type" => "compression.type",
        "compression.zstd.level" => "compression.zstd.level",
        "coretide.compressed.check" => "coretide.compressed.check",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.decompressed.message.bytes" => "max.decompressed.message.bytes",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "min.insync.replicas" => "min.insync.replicas",
        "preallocate" => "log.preallocate",
        "remote.copy.lag.bytes" => "log.remote.copy.lag.bytes",
        "remote.copy.lag.ms" => "log.remote.copy.lag.ms",
        "retention.bytes" => "log.retention.bytes",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "unclean.leader.election.enable" => "unclean.leader.election.enable",
        _ => return Vec::new(),
    };
    vec![same(one)]
}

/// The broker keys that one broker key takes its value from, itself among them, strongest first.
pub fn broker_synonyms(name: &'static str) -> Vec<Synonym> {
    let families = [RETENTION, ROLL, ROLL_JITTER, FLUSH_MS];
    match families.iter().find(|family| family.iter().any(|synonym| synonym.name == name)) {
        Some(family) if name != "log.flush.scheduler.interval.ms" => {
            family.iter().map(|synonym| same(synonym.name)).collect()
        }
        _ => vec![same(name)],
    }
}

/// The broker key behind a group key: the same name after `group.`.
pub fn group_synonyms(name: &str) -> Vec<Synonym> {
    table::keys(Scope::Broker)
        .find(|key| key.name.strip_prefix("group.") == Some(name))
        .map(|key| vec![same(key.name)])
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_synonym_is_a_broker_key_of_the_same_type() {
        let mut found = 0;
        for key in table::keys(Scope::Topic) {
            for synonym in topic_synonyms(key.name) {
                let broker = table::find(Scope::Broker, synonym.name).expect(synonym.name);
                assert!(broker.value_type == key.value_type || synonym.scale > 1, "{} {}", key.name, broker.name);
                found += 1;
            }
        }
        assert!(found > 30);
        let groups = table::keys(Scope::Group).filter(|key| !group_synonyms(key.name).is_empty()).count();
        assert!(groups > 15, "{groups}");
    }

    #[test]
    fn the_strongest_layer_wins_before_the_closest_synonym() {
        let statics = ConfigMap::from([("log.retention.ms".to_string(), "5".to_string())]);
        let dynamic_default = ConfigMap::from([("log.retention.minutes".to_string(), "2".to_string())]);
        let layers = Layers { dynamic_broker: &ConfigMap::new(), dynamic_default: &dynamic_default, statics: &statics };
        assert_eq!(layers.value(RETENTION), Some(("120000".to_string(), Source::DynamicDefaultBroker)));
        let chain: Vec<_> = layers.chain(RETENTION).into_iter().map(|found| (found.name, found.source)).collect();
        assert_eq!(
            chain,
            [
                ("log.retention.minutes", Source::DynamicDefaultBroker),
                ("log.retention.ms", Source::StaticBroker),
                ("log.retention.hours", Source::Default)
            ]
        );
    }

    #[test]
    fn no_limit_is_not_multiplied() {
        let statics = ConfigMap::from([("log.retention.hours".to_string(), "-1".to_string())]);
        let empty = ConfigMap::new();
        let layers = Layers { dynamic_broker: &empty, dynamic_default: &empty, statics: &statics };
        assert_eq!(layers.value(RETENTION), Some(("-1".to_string(), Source::StaticBroker)));
    }
}
