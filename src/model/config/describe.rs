//! All keys of a resource with value, source and synonyms: what DescribeConfigs shows and CreateTopics returns.
//! Must not touch: the wire's own structures.

use super::key::{Key, Scope};
use super::layers::{ConfigMap, LayerValue, Layers, Source, Synonym};
use super::layers::{broker_synonyms, group_synonyms, topic_synonyms};
use super::table;

/// One key of a resource, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub key: &'static Key,
    /// None: no value, or one that must not be shown.
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    /// Every value that was given for it or one of its synonyms, strongest first.
    pub synonyms: Vec<SynonymValue>,
}

/// One given value of a key or of a synonym.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
}

/// A topic's keys, in order of their names.
pub fn topic(overrides: &ConfigMap, layers: &Layers<'_>) -> Vec<Described> {
    resource(Scope::Topic, Source::Topic, overrides, |name| layers.chain(&topic_synonyms(name)))
}

/// A group's keys, in order of their names.
pub fn group(overrides: &ConfigMap, layers: &Layers<'_>) -> Vec<Described> {
    let own_default = |name: &'static str| {
        let value = table::find(Scope::Group, name).and_then(|key| key.default)?;
        Some(LayerValue { name, value: value.to_string(), source: Source::Default, scale: 1 })
    };
    resource(Scope::Group, Source::Group, overrides, |name| match group_synonyms(name).as_slice() {
        [] => own_default(name).into_iter().collect(),
        synonyms => layers.chain(synonyms),
    })
}

/// The keys of a client-metrics subscription, in order of their names.
pub fn client_metrics(overrides: &ConfigMap) -> Vec<Described> {
    resource(Scope::ClientMetrics, Source::ClientMetrics, overrides, |_| Vec::new())
}

fn resource(
    scope: Scope,
    own: Source,
    overrides: &ConfigMap,
    chain: impl Fn(&'static str) -> Vec<LayerValue>,
) -> Vec<Described> {
    let describe = |key: &'static Key| {
        let own = overrides.get(key.name).map(|value| LayerValue {
            name: key.name,
            value: value.clone(),
            source: own,
            scale: 1,
        });
        let chain: Vec<LayerValue> = own.into_iter().chain(chain(key.name)).collect();
        let (value, source) = match chain.first() {
            Some(found) => (Some(found.scaled()), found.source),
            None => (key.default.map(str::to_string), Source::Default),
        };
        Described { key, value: shown(key, value), source, read_only: false, synonyms: synonyms(key, chain) }
    };
    table::keys(scope).filter(|key| !key.internal).map(describe).collect()
}

/// This broker's keys, in order of their names.
pub fn broker(layers: &Layers<'_>) -> Vec<Described> {
    let mut all: Vec<Described> =
        table::keys(Scope::Broker).filter(|key| !key.internal).map(|key| broker_key(key, layers)).collect();
    all.sort_by_key(|described| described.key.name);
    all
}

fn broker_key(key: &'static Key, layers: &Layers<'_>) -> Described {
    let own = Synonym { name: key.name, scale: 1 };
    let value = layers.value(&[own]).map(|(value, _)| value);
    // The broker lists a synonym only below the key's own value (`ConfigHelper.configSynonyms`).
    let chain: Vec<LayerValue> =
        layers.chain(&broker_synonyms(key.name)).into_iter().skip_while(|found| found.name != key.name).collect();
    let source = chain.first().map_or(Source::Default, |found| found.source);
    Described { key, value: shown(key, value), source, read_only: !key.dynamic, synonyms: synonyms(key, chain) }
}

/// The values that hold for every broker of the cluster and nothing else (broker resource with an empty name).
pub fn broker_defaults(dynamic_default: &ConfigMap) -> Vec<Described> {
    dynamic_default
        .iter()
        .filter_map(|(name, value)| {
            let key = table::find(Scope::Broker, name)?;
            let source = Source::DynamicDefaultBroker;
            let value = shown(key, Some(value.clone()));
            let synonyms = vec![SynonymValue { name: key.name, value: value.clone(), source }];
            Some(Described { key, value, source, read_only: !key.dynamic, synonyms })
        })
        .collect()
}

fn shown(key: &Key, value: Option<String>) -> Option<String> {
    value.filter(|_| !key.is_sensitive())
}

fn synonyms(key: &Key, chain: Vec<LayerValue>) -> Vec<SynonymValue> {
    chain
        .into_iter()
        .map(|found| SynonymValue { name: found.name, value: shown(key, Some(found.value)), source: found.source })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn find<'a>(all: &'a [Described], name: &str) -> &'a Described {
        all.iter().find(|described| described.key.name == name).expect(name)
    }

    #[test]
    fn a_topic_shows_every_public_key_and_nothing_else() {
        let statics = map(&[("log.retention.hours", "1")]);
        let empty = ConfigMap::new();
        let layers = Layers { dynamic_broker: &empty, dynamic_default: &empty, statics: &statics };
        let all = topic(&map(&[("segment.bytes", "1048576")]), &layers);
        assert_eq!(all.len(), 38);
        let segment = find(&all, "segment.bytes");
        assert_eq!((segment.value.as_deref(), segment.source), (Some("1048576"), Source::Topic));
        let names: Vec<_> = segment.synonyms.iter().map(|s| (s.name, s.source)).collect();
        assert_eq!(names, [("segment.bytes", Source::Topic), ("log.segment.bytes", Source::Default)]);
        let retention = find(&all, "retention.ms");
        assert_eq!((retention.value.as_deref(), retention.source), (Some("3600000"), Source::StaticBroker));
        assert_eq!(find(&all, "flush.messages").value.as_deref(), Some("1"));
        let throttled = find(&all, "leader.replication.throttled.replicas");
        assert_eq!((throttled.value.as_deref(), throttled.synonyms.len()), (Some(""), 0));
    }

    #[test]
    fn the_broker_shows_kafkas_names_and_hides_secrets() {
        let statics = map(&[("ssl.key.password", "hush"), ("log.retention.hours", "5")]);
        let dynamic = map(&[("message.max.bytes", "77")]);
        let empty = ConfigMap::new();
        let layers = Layers { dynamic_broker: &dynamic, dynamic_default: &empty, statics: &statics };
        let all = broker(&layers);
        assert!(all.windows(2).all(|pair| pair[0].key.name < pair[1].key.name));
        for name in ["num.partitions", "default.replication.factor", "min.insync.replicas", "delete.topic.enable"] {
            assert!(find(&all, name).value.is_some(), "{name}");
        }
        let secret = find(&all, "ssl.key.password");
        assert_eq!((&secret.value, secret.source), (&None, Source::StaticBroker));
        assert!(secret.synonyms.iter().all(|synonym| synonym.value.is_none()));
        let size = find(&all, "message.max.bytes");
        assert_eq!((size.value.as_deref(), size.source, size.read_only), (Some("77"), Source::DynamicBroker, false));
        assert!(find(&all, "num.partitions").read_only);
        assert_eq!(find(&all, "log.retention.ms").value, None);
        assert_eq!(find(&all, "log.retention.hours").value.as_deref(), Some("5"));
    }

    #[test]
    fn a_group_takes_the_brokers_value_or_its_own_default() {
        let dynamic = map(&[("group.consumer.assignment.interval.ms", "7")]);
        let empty = ConfigMap::new();
        let layers = Layers { dynamic_broker: &empty, dynamic_default: &dynamic, statics: &empty };
        let all = group(&map(&[("share.isolation.level", "read_committed")]), &layers);
        let interval = find(&all, "consumer.assignment.interval.ms");
        assert_eq!((interval.value.as_deref(), interval.source), (Some("7"), Source::DynamicDefaultBroker));
        let reset = find(&all, "share.auto.offset.reset");
        assert_eq!((reset.value.as_deref(), reset.synonyms.len()), (Some("latest"), 1));
        let isolation = find(&all, "share.isolation.level");
        assert_eq!((isolation.source, isolation.synonyms.len()), (Source::Group, 2));
    }

    #[test]
    fn cluster_wide_values_are_listed_alone() {
        let all = broker_defaults(&map(&[("message.max.bytes", "9")]));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].source, Source::DynamicDefaultBroker);
    }
}
