//! The tables: every key of Kafka 4.4 and our own, by scope. Look-up and nothing else.
//! Must not touch: values.

mod broker_cluster;
mod broker_groups;
mod broker_log;
mod broker_net;
mod broker_security;
mod client_metrics;
mod coretide;
mod group;
mod topic;

use super::key::{Key, Scope};

/// The tables of one scope; each is sorted by name.
const fn tables(scope: Scope) -> &'static [&'static [Key]] {
    match scope {
        Scope::Broker => BROKER,
        Scope::Topic => TOPIC,
        Scope::Group => GROUP,
        Scope::ClientMetrics => CLIENT_METRICS,
    }
}

static BROKER: &[&[Key]] = &[
    broker_log::KEYS,
    broker_net::KEYS,
    broker_groups::KEYS,
    broker_cluster::KEYS,
    broker_security::KEYS,
    coretide::KEYS,
];
static TOPIC: &[&[Key]] = &[topic::KEYS];
static GROUP: &[&[Key]] = &[group::KEYS];
static CLIENT_METRICS: &[&[Key]] = &[client_metrics::KEYS];

/// The key of that name.
pub fn find(scope: Scope, name: &str) -> Option<&'static Key> {
    tables(scope).iter().find_map(|keys| {
        let place = keys.binary_search_by(|key| key.name.cmp(name)).ok()?;
        Some(&keys[place])
    })
}

/// All keys of a scope, table after table.
pub fn keys(scope: Scope) -> impl Iterator<Item = &'static Key> {
    tables(scope).iter().flat_map(|keys| keys.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SCOPES: [(Scope, usize); 4] =
        [(Scope::Broker, 0), (Scope::Topic, 39), (Scope::Group, 27), (Scope::ClientMetrics, 3)];

    #[test]
    fn tables_are_sorted_and_every_row_is_found() {
        for (scope, expected) in SCOPES {
            for table in tables(scope) {
                assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name), "{scope:?} is not sorted");
            }
            let names: BTreeSet<_> = keys(scope).map(|key| key.name).collect();
            assert_eq!(names.len(), keys(scope).count(), "{scope:?} names a key twice");
            assert!(expected == 0 || names.len() == expected, "{scope:?} has {} keys", names.len());
            for name in names {
                assert_eq!(find(scope, name).map(|key| key.name), Some(name));
            }
            assert!(find(scope, "no.such.key").is_none());
        }
    }

    #[test]
    fn every_default_is_valid_and_every_key_is_explained() {
        for (scope, _) in SCOPES {
            for key in keys(scope) {
                assert!(key.doc.len() > 15 && key.doc.ends_with('.'), "{} lacks a sentence", key.name);
                if let Some(default) = key.default {
                    assert!(key.parse(default).is_ok(), "{}: default {default}", key.name);
                }
            }
        }
    }
}
