//! The nearest known name to a mistyped one.

use super::key::{Key, Scope};
use super::layers::topic_synonyms;
use super::table;

/// Longer names than this are not compared.
const MAX_NAME_BYTES: usize = 96;

/// What a key of the other of broker and topic is called in this scope: the one name is often used for the other.
fn counterpart(scope: Scope, name: &str) -> Option<&'static str> {
    match scope {
        Scope::Broker => topic_synonyms(name).first().map(|synonym| synonym.name),
        Scope::Topic => {
            let is_behind = |key: &&Key| topic_synonyms(key.name).iter().any(|synonym| synonym.name == name);
            table::keys(scope).find(is_behind).map(|key| key.name)
        }
        _ => None,
    }
}

/// The key that was probably meant: the same one under the name that it has here, or the one whose name needs the fewest
/// edits, if they are few enough to be a slip.
pub fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    counterpart(scope, name).or_else(|| slip(scope, name))
}

fn slip(scope: Scope, name: &str) -> Option<&'static str> {
    let allowed = (name.len() / 4).clamp(1, 5);
    table::keys(scope)
        // Peers choose the names, so the comparison must stay cheap: names of quite another length cannot be near.
        .filter(|key| !key.internal && key.name.len().abs_diff(name.len()) <= allowed)
        .map(|key| (edits(name.as_bytes(), key.name.as_bytes()), key.name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance: insertions, deletions and replacements of one byte.
fn edits(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (left, right, expected) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("log.dir", "log.dirs", 1), ("abc", "cab", 2)]
        {
            assert_eq!(edits(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
        }
    }

    #[test]
    fn a_topics_key_given_to_a_broker_is_translated_and_the_other_way_round() {
        let cases = [
            (Scope::Broker, "file.delete.delay.ms", Some("log.segment.delete.delay.ms")),
            (Scope::Broker, "retention.ms", Some("log.retention.ms")),
            (Scope::Topic, "log.retention.hours", Some("retention.ms")),
            (Scope::Topic, "message.max.bytes", Some("max.message.bytes")),
            (Scope::Topic, "num.partitions", None),
            (Scope::Group, "retention.ms", None),
        ];
        for (scope, name, expected) in cases {
            assert_eq!(counterpart(scope, name), expected, "{name}");
        }
    }

    #[test]
    fn slips_find_their_key_and_nonsense_finds_none() {
        let cases = [
            ("log.retention.mss", Some("log.retention.ms")),
            ("log_retention_hours", Some("log.retention.hours")),
            ("advertised.listener", Some("advertised.listeners")),
            ("coretide.shard", Some("coretide.shards")),
            ("zookeeper.connect", None),
            ("x", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(nearest(Scope::Broker, typed), expected, "{typed}");
        }
    }
}
