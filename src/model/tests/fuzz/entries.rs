//! What the fuzz targets and the tests of mutated bytes have in common: the texts that configure the broker, from files,
//! environments and clients.

use coretide_model::config::broker::key_of_env;
use coretide_model::config::key::Scope;
use coretide_model::config::properties::parse_properties;
use coretide_model::config::{BrokerConfig, ConfigMap, Origin, check, table};

/// A properties file, and the broker's settings out of it.
pub fn properties(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines = text.split(['\n', '\r']).count();
    let Ok(found) = parse_properties(&text) else { return };
    assert!(found.len() <= lines && found.iter().all(|one| (1..=lines).contains(&one.line)));
    let kept: usize = found.iter().map(|one| one.key.len() + one.value.len()).sum();
    assert!(kept <= 3 * text.len(), "nothing is made up");
    settle(found.into_iter().map(|one| (one.key, one.value, Origin::File { line: one.line })).collect());
}

/// Values for keys that exist: two bytes choose each key, the value goes up to the next zero.
pub fn settings(input: &[u8]) {
    let keys: Vec<_> = table::keys(Scope::Broker).collect();
    let mut given = Vec::new();
    for line in input.split(|byte| *byte == 0).filter(|line| line.len() >= 2) {
        let key = keys[usize::from(u16::from_le_bytes([line[0], line[1]])) % keys.len()];
        let value = String::from_utf8_lossy(&line[2..]).into_owned();
        for scope in [Scope::Broker, Scope::Topic, Scope::Group, Scope::ClientMetrics] {
            if let Ok((key, stored)) = check(scope, key.name, &value) {
                let again = check(scope, key.name, &stored).expect("what is stored is valid");
                assert_eq!(again.1, stored, "{}: the stored form is its own", key.name);
            }
        }
        // Names of variables come from outside, too.
        let _ = key_of_env(&format!("CORETIDE_{value}"));
        given.push((key.name.to_string(), value, Origin::CommandLine));
    }
    settle(given);
}

fn settle(given: Vec<(String, String, Origin)>) {
    match BrokerConfig::from_given(&given) {
        Ok((config, notes)) => {
            assert!(notes.len() <= 2 * given.len());
            assert!(!config.describe().is_empty() && !config.listeners.is_empty() && !config.log_dirs.is_empty());
            let _ = config.topic(&ConfigMap::new());
            config.with_dynamic(ConfigMap::new(), ConfigMap::new()).expect("what was valid stays valid");
        }
        Err(errors) => assert!(errors.iter().all(|error| !error.to_string().is_empty()) && !errors.is_empty()),
    }
}
