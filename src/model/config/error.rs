//! What can be wrong with a configuration, in words that name the key, the value and the way out.

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such key in this scope.
    #[error("unknown {scope} configuration '{key}'{}", hint(nearest))]
    Unknown { scope: super::Scope, key: String, nearest: Option<String> },
    /// The value has the wrong type or lies outside the range.
    #[error("invalid value '{value}' for configuration {key}: it must be {expected}")]
    Invalid { key: String, value: String, expected: String },
    /// Two values that exclude each other, or a value that this broker cannot honour.
    #[error("configuration {key}: {reason}")]
    Conflict { key: String, reason: String },
    /// A broker key that only a restart can change.
    #[error("configuration {key} can only be changed by a restart of the broker")]
    NotDynamic { key: String },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}
