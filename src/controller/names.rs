//! Rules for topic names (`org.apache.kafka.common.internals.Topic`).

use crate::error::CommandError;

/// Longest topic name in bytes: file names of the form `name-partition` must fit.
pub const MAX_NAME_BYTES: usize = 249;
/// Topic of the group coordinators.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Topic of the transaction coordinators.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Topic of the share coordinators.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// The metadata log; no topic of that name can exist.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// True for topics that clients may read but not write.
pub fn is_internal(name: &str) -> bool {
    [CONSUMER_OFFSETS, TRANSACTION_STATE, SHARE_GROUP_STATE].contains(&name)
}

/// What is wrong with a name, if anything.
pub fn check_name(name: &str) -> Result<(), CommandError> {
    let shown: String = name.chars().take(MAX_NAME_BYTES + 1).collect();
    let refuse = |reason: &str| Err(CommandError::InvalidName(format!("topic name '{shown}' is invalid: {reason}")));
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name == "." || name == ".." {
        return refuse("it may not be '.' or '..'");
    }
    if name.len() > MAX_NAME_BYTES {
        return refuse("it is longer than 249 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return refuse("only ASCII letters, digits, '.', '_' and '-' are allowed");
    }
    Ok(())
}

/// Metric names of Kafka's tools turn '.' into '_', so two names with the same form may not exist side by side.
pub fn collision_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c4_names() {
        let long = "x".repeat(249);
        for name in ["a", "A.b_c-9", "...", "__consumer_offsets", long.as_str()] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let too_long = "x".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "../x", "ä", "a\0", "a:b", too_long.as_str()] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn forms_collide_only_through_dots_and_underscores() {
        assert_eq!(collision_form("a.b_c"), collision_form("a_b.c"));
        assert_ne!(collision_form("a.b"), collision_form("a.c"));
        assert_eq!(collision_form("ab-c"), None);
    }
}
