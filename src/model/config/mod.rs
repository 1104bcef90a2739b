//! Configuration: the tables of all keys, the check of values, where an effective value comes from, and the typed
//! settings of the broker and of a topic. Must not touch: files, environment, the wire.
//! Reading order: `key`, `table`, `properties`, `layers`, `broker`, `topic`, `describe`.

pub mod broker;
pub mod describe;
pub mod error;
pub mod key;
pub mod layers;
pub mod listener;
pub mod properties;
pub mod suggest;
pub mod table;
pub mod topic;

pub use broker::{BrokerConfig, Note, Origin};
pub use describe::{Described, SynonymValue};
pub use error::ConfigError;
pub use key::{Key, Scope, Value, ValueType};
pub use layers::{ConfigMap, Layers, Source};
pub use listener::Listener;

/// The key of that name and the value in its stored form, or what is wrong with either.
pub fn check(scope: Scope, name: &str, value: &str) -> Result<(&'static Key, String), ConfigError> {
    let key = lookup(scope, name)?;
    Ok((key, key.canonical(value)?))
}

/// The key of that name, or the error that suggests another one.
pub fn lookup(scope: Scope, name: &str) -> Result<&'static Key, ConfigError> {
    table::find(scope, name).ok_or_else(|| ConfigError::Unknown {
        scope,
        key: name.chars().take(200).collect(),
        nearest: suggest::nearest(scope, name).map(str::to_string),
    })
}
