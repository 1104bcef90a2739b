//! A topic's effective settings out of its own overrides and the broker's layers, and the checks that join several
//! keys. Must not touch: how a topic is stored.

use super::error::ConfigError;
use super::key::{Scope, split_list};
use super::layers::{ConfigMap, Layers, Source, topic_synonyms};
use super::table;
use crate::topic_config::{CleanupPolicy, CompressedCheck, CompressionType, TimestampType, TopicConfig};

/// One topic key's effective value in its stored form and where it comes from; None for a key without any value.
pub fn effective(overrides: &ConfigMap, layers: &Layers<'_>, name: &str) -> (Option<String>, Source) {
    if let Some(value) = overrides.get(name) {
        return (Some(value.clone()), Source::Topic);
    }
    match layers.value(&topic_synonyms(name)) {
        Some((value, source)) => (Some(value), source),
        None => (table::find(Scope::Topic, name).and_then(|key| key.default).map(str::to_string), Source::Default),
    }
}

/// Reads effective values; every stored value has been checked, so a misfit is a defect of ours.
struct Reader<'a> {
    overrides: &'a ConfigMap,
    layers: &'a Layers<'a>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> String {
        effective(self.overrides, self.layers, name).0.expect("the topic keys read here have defaults")
    }

    fn number(&self, name: &str) -> i64 {
        // The range is not looked at: a broker's hours can exceed what the topic's own key allows, never the type.
        self.text(name).parse().expect("stored values have been checked")
    }

    fn small(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).expect("INT keys hold 32 bits")
    }
}

/// The settings that the machines read.
pub fn resolve(overrides: &ConfigMap, layers: &Layers<'_>) -> TopicConfig {
    let read = Reader { overrides, layers };
    let policy = split_list(&read.text("cleanup.policy"));
    TopicConfig {
        cleanup_policy: CleanupPolicy {
            delete: policy.iter().any(|word| word == "delete"),
            compact: policy.iter().any(|word| word == "compact"),
        },
        compressed_check: match read.text("coretide.compressed.check").as_str() {
            "header" => CompressedCheck::Header,
            _ => CompressedCheck::Records,
        },
        compression_type: match read.text("compression.type").as_str() {
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => CompressionType::Producer,
        },
        compression_gzip_level: read.small("compression.gzip.level"),
        compression_lz4_level: read.small("compression.lz4.level"),
        compression_zstd_level: read.small("compression.zstd.level"),
        delete_retention_ms: read.number("delete.retention.ms"),
        file_delete_delay_ms: read.number("file.delete.delay.ms"),
        flush_messages: read.number("flush.messages"),
        flush_ms: read.number("flush.ms"),
        index_interval_bytes: read.small("index.interval.bytes"),
        max_message_bytes: read.small("max.message.bytes"),
        max_decompressed_message_bytes: read.number("max.decompressed.message.bytes"),
        message_timestamp_type: match read.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        message_timestamp_before_max_ms: read.number("message.timestamp.before.max.ms"),
        message_timestamp_after_max_ms: read.number("message.timestamp.after.max.ms"),
        min_insync_replicas: read.small("min.insync.replicas"),
        retention_bytes: read.number("retention.bytes"),
        retention_ms: read.number("retention.ms"),
        segment_bytes: read.small("segment.bytes"),
        segment_index_bytes: read.small("segment.index.bytes"),
        segment_jitter_ms: read.number("segment.jitter.ms"),
        segment_ms: read.number("segment.ms"),
    }
}

/// What no single key can tell: values that exclude each other, and features that this broker does not have.
pub fn check_together(overrides: &ConfigMap, layers: &Layers<'_>) -> Result<(), ConfigError> {
    let read = Reader { overrides, layers };
    let (min, max) = (read.number("min.compaction.lag.ms"), read.number("max.compaction.lag.ms"));
    if min > max {
        let reason = format!("{min} is larger than max.compaction.lag.ms ({max})");
        return Err(ConfigError::Conflict { key: "min.compaction.lag.ms".to_string(), reason });
    }
    if overrides.get("remote.storage.enable").is_some_and(|value| value == "true") {
        let reason = "tiered storage is not offered by this broker".to_string();
        return Err(ConfigError::Conflict { key: "remote.storage.enable".to_string(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn without_overrides_the_defaults_stand() {
        let empty = ConfigMap::new();
        let layers = Layers { dynamic_broker: &empty, dynamic_default: &empty, statics: &empty };
        assert_eq!(resolve(&empty, &layers), TopicConfig::default());
    }

    #[test]
    fn own_then_dynamic_then_static_then_default() {
        let statics =
            map(&[("log.retention.hours", "2"), ("log.segment.bytes", "2000000"), ("message.max.bytes", "5")]);
        let dynamic_default = map(&[("message.max.bytes", "6"), ("log.flush.interval.messages", "1000")]);
        let dynamic_broker = map(&[("message.max.bytes", "7")]);
        let own =
            map(&[("segment.bytes", "1048576"), ("cleanup.policy", "compact,delete"), ("compression.type", "lz4")]);
        let layers = Layers { dynamic_broker: &dynamic_broker, dynamic_default: &dynamic_default, statics: &statics };
        let config = resolve(&own, &layers);
        assert_eq!(config.retention_ms, 7_200_000);
        assert_eq!(config.segment_bytes, 1_048_576);
        assert_eq!(config.max_message_bytes, 7);
        assert_eq!(config.flush_messages, 1000);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        assert_eq!(config.compression_type, CompressionType::Lz4);
        let source = |name| effective(&own, &layers, name).1;
        assert_eq!(source("segment.bytes"), Source::Topic);
        assert_eq!(source("max.message.bytes"), Source::DynamicBroker);
        assert_eq!(source("flush.messages"), Source::DynamicDefaultBroker);
        assert_eq!(source("retention.ms"), Source::StaticBroker);
        assert_eq!(source("segment.ms"), Source::Default);
        assert_eq!(source("leader.replication.throttled.replicas"), Source::Default);
    }

    #[test]
    fn values_that_exclude_each_other_are_refused() {
        let empty = ConfigMap::new();
        let layers = Layers { dynamic_broker: &empty, dynamic_default: &empty, statics: &empty };
        for (pairs, fine) in [
            (&[("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "4")][..], false),
            (&[("min.compaction.lag.ms", "4"), ("max.compaction.lag.ms", "4")][..], true),
            (&[("remote.storage.enable", "true")][..], false),
            (&[("remote.storage.enable", "false")][..], true),
        ] {
            assert_eq!(check_together(&map(pairs), &layers).is_ok(), fine, "{pairs:?}");
        }
    }
}
