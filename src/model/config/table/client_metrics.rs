//! Keys of client-metrics subscriptions (KIP-714). Types, defaults and valid values are those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::Medium;
use crate::config::key::Rule::Any;
use crate::config::key::ValueType::{Int, List};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("interval.ms", Int, Some("300000"), Any, Medium).unused()
        .doc("How often a matching client sends its metrics."),
    key("match", List, Some(""), Any, Medium).unused()
        .doc("Patterns of client attributes that select the clients of this subscription."),
    key("metrics", List, Some(""), Any, Medium).unused()
        .doc("Prefixes of the metric names that this subscription asks for; empty asks for none."),
];
