//! What a configuration key is: its type, the values it takes, and the check of a value against both.
//! Must not touch: where a value comes from (`broker`, `resolve`).

use super::error::ConfigError;
use std::fmt;

/// Java's largest array, which Kafka uses as the upper end of a few sizes.
pub const MAX_ARRAY: i64 = 2_147_483_639;

/// Longest value that is looked at, in bytes. Kafka's own strings end at 32,767 on the wire.
pub const MAX_VALUE_BYTES: usize = 65_536;

/// Which resources a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Broker,
    Topic,
    Group,
    ClientMetrics,
}

/// The type of a value (`ConfigDef.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ValueType {
    /// The number that DescribeConfigs v3 gives it (`DescribeConfigsResponse.ConfigType`).
    pub const fn code(self) -> i8 {
        match self {
            ValueType::Boolean => 1,
            ValueType::String => 2,
            ValueType::Int => 3,
            ValueType::Short => 4,
            ValueType::Long => 5,
            ValueType::Double => 6,
            ValueType::List => 7,
            ValueType::Class => 8,
            ValueType::Password => 9,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            ValueType::Boolean => "true or false",
            ValueType::String => "a text",
            ValueType::Int | ValueType::Short | ValueType::Long => "a whole number",
            ValueType::Double => "a number",
            ValueType::List => "a list with commas between its items",
            ValueType::Class => "the name of a class",
            ValueType::Password => "a secret",
        }
    }

    /// The smallest and largest whole number of the type.
    const fn limits(self) -> (i64, i64) {
        match self {
            ValueType::Short => (i16::MIN as i64, i16::MAX as i64),
            ValueType::Int => (i32::MIN as i64, i32::MAX as i64),
            _ => (i64::MIN, i64::MAX),
        }
    }
}

/// `ConfigDef.Importance`, for documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    Any,
    /// Whole numbers from here on.
    AtLeast(i64),
    /// Whole numbers, both ends included.
    Between(i64, i64),
    /// As `Between`, and one number outside.
    BetweenOr(i64, i64, i64),
    /// Fractions, both ends included.
    Ratio(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any mixture of cases.
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of these words, each at most once.
    ListOf(&'static [&'static str]),
    /// Not the empty text.
    NonEmpty,
    /// `partition:broker` pairs, or `*` for all.
    ThrottledReplicas,
    /// `latest`, `earliest`, or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// One row of the tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    pub name: &'static str,
    pub value_type: ValueType,
    /// None: no value unless one is given.
    pub default: Option<&'static str>,
    pub rule: Rule,
    pub importance: Importance,
    /// One sentence for people.
    pub doc: &'static str,
    /// A broker key that can be changed while the broker runs.
    pub dynamic: bool,
    /// Not listed by DescribeConfigs.
    pub internal: bool,
    /// Accepted, stored and listed, but nothing in this broker reads it.
    pub unused: bool,
}

/// A row without marks.
pub(super) const fn key(
    name: &'static str,
    value_type: ValueType,
    default: Option<&'static str>,
    rule: Rule,
    importance: Importance,
) -> Key {
    Key { name, value_type, default, rule, importance, doc: "", dynamic: false, internal: false, unused: false }
}

/// A value that fits its key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<String>),
}

impl Key {
    pub(super) const fn doc(self, doc: &'static str) -> Key {
        Key { doc, ..self }
    }

    pub(super) const fn dynamic(self) -> Key {
        Key { dynamic: true, ..self }
    }

    pub(super) const fn internal(self) -> Key {
        Key { internal: true, ..self }
    }

    pub(super) const fn unused(self) -> Key {
        Key { unused: true, ..self }
    }

    /// True when the value must never leave the broker.
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.value_type, ValueType::Password)
    }

    /// The valid values in words, for error messages.
    pub fn expected(&self) -> String {
        let word = self.value_type.word();
        match self.rule {
            Rule::Any => match self.value_type {
                ValueType::Int | ValueType::Short => {
                    let (min, max) = self.value_type.limits();
                    format!("{word} in [{min},...,{max}]")
                }
                _ => word.to_string(),
            },
            Rule::AtLeast(min) => format!("{word} in [{min},...]"),
            Rule::Between(min, max) => format!("{word} in [{min},...,{max}]"),
            Rule::BetweenOr(min, max, other) => format!("{word} in [{min},...,{max}] or {other}"),
            Rule::Ratio(min, max) => format!("{word} in [{min},...,{max}]"),
            Rule::OneOf(words) => format!("one of [{}]", words.join(", ")),
            Rule::OneOfIgnoringCase(words) => format!("one of [{}] in any case", words.join(", ")),
            Rule::ListOf(words) => format!("a list of [{}], each at most once", words.join(", ")),
            Rule::NonEmpty => "a text that is not empty".to_string(),
            Rule::ThrottledReplicas => "* or [partition]:[broker],[partition]:[broker],...".to_string(),
            Rule::OffsetReset => "latest, earliest or by_duration: with a duration such as PT1H".to_string(),
        }
    }

    /// The value of a text, if the text has the key's type and lies in its range.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = self.parse_type(text).ok_or_else(|| self.refuse(text))?;
        if self.allows(&value) { Ok(value) } else { Err(self.refuse(text)) }
    }

    /// The text as it is stored and shown: trimmed, lists without spaces, truth values in lower case.
    pub fn canonical(&self, text: &str) -> Result<String, ConfigError> {
        Ok(match self.parse(text)? {
            Value::Boolean(value) => value.to_string(),
            Value::Whole(value) => value.to_string(),
            // Java and Rust print fractions differently, so the user's own form is kept.
            Value::Fraction(_) => text.trim().to_string(),
            Value::Text(value) => value,
            Value::List(items) => items.join(","),
        })
    }

    fn refuse(&self, text: &str) -> ConfigError {
        let shown = if self.is_sensitive() { "[hidden]".to_string() } else { text.chars().take(200).collect() };
        ConfigError::Invalid { key: self.name.to_string(), value: shown, expected: self.expected() }
    }

    fn parse_type(&self, text: &str) -> Option<Value> {
        if text.len() > MAX_VALUE_BYTES {
            return None;
        }
        let trimmed = text.trim();
        Some(match self.value_type {
            ValueType::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
            ValueType::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
            ValueType::Boolean => return None,
            ValueType::Int | ValueType::Short | ValueType::Long => {
                let number: i64 = trimmed.parse().ok()?;
                let (min, max) = self.value_type.limits();
                if number < min || number > max {
                    return None;
                }
                Value::Whole(number)
            }
            ValueType::Double => Value::Fraction(trimmed.parse().ok().filter(|number: &f64| !number.is_nan())?),
            ValueType::String | ValueType::Class => Value::Text(trimmed.to_string()),
            ValueType::Password => Value::Text(text.to_string()),
            ValueType::List => Value::List(split_list(trimmed)),
        })
    }

    fn allows(&self, value: &Value) -> bool {
        match (self.rule, value) {
            (Rule::Any, _) => true,
            (Rule::AtLeast(min), Value::Whole(number)) => *number >= min,
            (Rule::Between(min, max), Value::Whole(number)) => (min..=max).contains(number),
            (Rule::BetweenOr(min, max, other), Value::Whole(number)) => {
                (min..=max).contains(number) || *number == other
            }
            (Rule::Ratio(min, max), Value::Fraction(number)) => (min..=max).contains(number),
            (Rule::OneOf(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Rule::OneOfIgnoringCase(words), Value::Text(text)) => words.iter().any(|w| w.eq_ignore_ascii_case(text)),
            (Rule::ListOf(words), Value::List(items)) => {
                let known = items.iter().all(|item| words.contains(&item.as_str()));
                known && items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
            }
            (Rule::NonEmpty, Value::Text(text)) => !text.is_empty(),
            (Rule::ThrottledReplicas, Value::List(items)) => items.iter().all(|item| is_throttled_replica(item)),
            (Rule::OffsetReset, Value::Text(text)) => is_offset_reset(text),
            _ => unreachable!("{}: the rule does not fit the type", self.name),
        }
    }
}

/// The items of a list, trimmed; an empty text is an empty list.
pub fn split_list(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_string()).collect()
}

fn is_throttled_replica(item: &str) -> bool {
    if item == "*" {
        return true;
    }
    match item.split_once(':') {
        Some((partition, broker)) => partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok(),
        None => false,
    }
}

/// Case does not count; a duration must be positive as a whole, so only its form and digits are checked here.
fn is_offset_reset(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    if lower == "latest" || lower == "earliest" {
        return true;
    }
    let Some(duration) = lower.strip_prefix("by_duration:p") else { return false };
    let digits = duration.bytes().any(|b| b.is_ascii_digit());
    digits && duration.bytes().all(|b| b.is_ascii_digit() || b"dhmst.".contains(&b)) && !duration.ends_with('t')
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Broker => "broker",
            Scope::Topic => "topic",
            Scope::Group => "group",
            Scope::ClientMetrics => "client metrics",
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Scope, check};

    #[test]
    fn values_are_checked_against_type_and_range() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("retention.ms", "-1", Some("-1")),
            ("retention.ms", " 86400000 ", Some("86400000")),
            ("retention.ms", "-2", None),
            ("retention.ms", "9223372036854775808", None),
            ("retention.ms", "soon", None),
            ("retention.ms", "", None),
            ("segment.bytes", "1048575", None),
            ("segment.bytes", "1048576", Some("1048576")),
            ("segment.bytes", "2147483648", None),
            ("cleanup.policy", "compact, delete", Some("compact,delete")),
            ("cleanup.policy", "compact,compact", None),
            ("cleanup.policy", "shred", None),
            ("cleanup.policy", "", Some("")),
            ("preallocate", "TRUE", Some("true")),
            ("preallocate", "yes", None),
            ("min.cleanable.dirty.ratio", "0.25", Some("0.25")),
            ("min.cleanable.dirty.ratio", "1.01", None),
            ("min.cleanable.dirty.ratio", "NaN", None),
            ("compression.gzip.level", "-1", Some("-1")),
            ("compression.gzip.level", "0", None),
            ("compression.gzip.level", "9", Some("9")),
            ("compression.type", "zstd", Some("zstd")),
            ("compression.type", "none", None),
            ("max.decompressed.message.bytes", "2147483639", Some("2147483639")),
            ("max.decompressed.message.bytes", "2147483640", None),
            ("leader.replication.throttled.replicas", "*", Some("*")),
            ("leader.replication.throttled.replicas", "0:1, 3:2", Some("0:1,3:2")),
            ("leader.replication.throttled.replicas", "0-1", None),
        ];
        for (key, value, expected) in cases {
            let got = check(Scope::Topic, key, value);
            assert_eq!(got.as_ref().ok().map(|(_, text)| text.as_str()), *expected, "{key}={value}: {got:?}");
        }
        for (value, valid) in
            [("latest", true), ("by_duration:PT1H", true), ("by_duration:", false), ("by_duration:PT", false)]
        {
            assert_eq!(check(Scope::Group, "share.auto.offset.reset", value).is_ok(), valid, "{value}");
        }
        assert!(check(Scope::Broker, "group.consumer.migration.policy", "Disabled").is_ok());
    }

    #[test]
    fn an_error_names_key_value_range_and_the_nearest_key() {
        let text = check(Scope::Topic, "segment.bytes", "1").unwrap_err().to_string();
        for part in ["segment.bytes", "'1'", "[1048576,...]"] {
            assert!(text.contains(part), "{text}");
        }
        let text = check(Scope::Topic, "retention.msec", "1").unwrap_err().to_string();
        assert!(text.contains("retention.msec") && text.contains("retention.ms'"), "{text}");
        let text = check(Scope::Topic, "zzz", "1").unwrap_err().to_string();
        assert!(!text.contains("mean"), "{text}");
        let text = check(Scope::Broker, "ssl.key.password", &"x".repeat(70_000)).unwrap_err().to_string();
        assert!(!text.contains('x') || text.contains("[hidden]"), "{text}");
    }
}
