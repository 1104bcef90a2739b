//! AlterConfigs and IncrementalAlterConfigs (`ConfigurationControlManager`, KIP-339).

use crate::command::{ConfigEntries, ConfigOp, ConfigResource, IncrementalChange};
use crate::error::CommandError;
use crate::machine::{Controller, MAX_CONFIG_RESOURCES};
use crate::record::{Record, ResourceType};
use coretide_model::config::key::{Scope, ValueType, split_list};
use coretide_model::config::{ConfigError, ConfigMap, broker, check, lookup, table, topic};
use std::collections::BTreeSet;

/// Keys that Kafka changes at run time and this broker reads at start only.
const START_ONLY: [&str; 2] = ["listeners", "listener.security.protocol.map"];

impl Controller {
    pub(crate) fn alter_configs(
        &mut self,
        resources: Vec<(ConfigResource, ConfigEntries)>,
        validate_only: bool,
        records: &mut Vec<Record>,
    ) -> Vec<Result<(), CommandError>> {
        let repeated = repeated(resources.iter().map(|(resource, _)| resource));
        let alter = |(resource, entries): (ConfigResource, ConfigEntries)| {
            check_once(&resource, &repeated)?;
            let kind = self.check_resource(&resource)?;
            check_keys_once(entries.iter().map(|(name, _)| name))?;
            let mut wanted = ConfigMap::new();
            for (name, value) in &entries {
                let value = value.as_ref().ok_or_else(|| no_value(name))?;
                wanted.insert(name.clone(), check_value(kind, name, value)?);
            }
            self.put(kind, &resource.name, wanted, validate_only, records)
        };
        resources.into_iter().map(alter).collect()
    }

    pub(crate) fn incremental_alter_configs(
        &mut self,
        resources: Vec<(ConfigResource, Vec<IncrementalChange>)>,
        validate_only: bool,
        records: &mut Vec<Record>,
    ) -> Vec<Result<(), CommandError>> {
        let repeated = repeated(resources.iter().map(|(resource, _)| resource));
        let alter = |(resource, changes): (ConfigResource, Vec<IncrementalChange>)| {
            check_once(&resource, &repeated)?;
            let kind = self.check_resource(&resource)?;
            check_keys_once(changes.iter().map(|change| &change.name))?;
            let mut wanted = self.current(kind, &resource.name);
            for change in &changes {
                apply_change(kind, change, &mut wanted)?;
            }
            self.put(kind, &resource.name, wanted, validate_only, records)
        };
        resources.into_iter().map(alter).collect()
    }

    /// The kind of the resource, if it is one whose configuration can be changed.
    fn check_resource(&self, resource: &ConfigResource) -> Result<ResourceType, CommandError> {
        let kind = resource.kind()?;
        let node_id = self.image.broker().node_id.to_string();
        match kind {
            ResourceType::Topic if resource.name.is_empty() => {
                Err(CommandError::InvalidRequest("a topic must be named".to_string()))
            }
            ResourceType::Topic if self.image.topic_named(&resource.name).is_none() => {
                Err(CommandError::UnknownTopic(resource.name.clone()))
            }
            ResourceType::Broker if !resource.name.is_empty() && resource.name != node_id => {
                let text = format!("broker '{}' does not exist: {node_id}, or an empty name for all", resource.name);
                Err(CommandError::InvalidRequest(text))
            }
            ResourceType::BrokerLogger => {
                Err(CommandError::InvalidRequest("log levels cannot be changed through this request".to_string()))
            }
            ResourceType::Group | ResourceType::ClientMetrics if resource.name.is_empty() => {
                Err(CommandError::InvalidRequest("the name of the resource is missing".to_string()))
            }
            _ => Ok(kind),
        }
    }

    fn current(&self, kind: ResourceType, name: &str) -> ConfigMap {
        let found = match kind {
            ResourceType::Topic => self.image.topic_named(name).map(|topic| &topic.overrides),
            _ => self.image.config(kind, name),
        };
        found.cloned().unwrap_or_default()
    }

    /// Checks the configuration as a whole and writes what differs from the present one.
    fn put(
        &mut self,
        kind: ResourceType,
        name: &str,
        wanted: ConfigMap,
        validate_only: bool,
        records: &mut Vec<Record>,
    ) -> Result<(), CommandError> {
        let current = self.current(kind, name);
        match kind {
            ResourceType::Topic => topic::check_together(&wanted, &self.image.broker().layers())?,
            ResourceType::Broker => self.check_broker(name, &current, &wanted)?,
            _ if current.is_empty() && self.configured_resources() >= MAX_CONFIG_RESOURCES => {
                let text = format!("more than {MAX_CONFIG_RESOURCES} groups and subscriptions cannot be configured");
                return Err(CommandError::LimitReached(text));
            }
            _ => {}
        }
        if validate_only {
            return Ok(());
        }
        let record = |key: &String, value: Option<String>| Record::Config {
            resource_type: kind,
            resource_name: name.to_string(),
            name: key.clone(),
            value,
        };
        let gone = current.keys().filter(|key| !wanted.contains_key(*key)).map(|key| record(key, None));
        let set = wanted
            .iter()
            .filter(|(key, value)| current.get(*key) != Some(*value))
            .map(|(key, value)| record(key, Some(value.clone())));
        let made: Vec<Record> = gone.chain(set).collect();
        self.commit(made, records);
        Ok(())
    }

    fn configured_resources(&self) -> usize {
        [ResourceType::Group, ResourceType::ClientMetrics]
            .into_iter()
            .map(|kind| self.image.configured(kind).count())
            .sum()
    }

    /// A broker's dynamic values must fit its static ones. Kafka answers INVALID_REQUEST here (KAFKA-13609).
    fn check_broker(&self, name: &str, current: &ConfigMap, wanted: &ConfigMap) -> Result<(), CommandError> {
        let as_request = |error: ConfigError| CommandError::InvalidRequest(error.to_string());
        for key in START_ONLY {
            if wanted.contains_key(key) && wanted.get(key) != current.get(key) {
                return Err(as_request(ConfigError::NotDynamic { key: key.to_string() }));
            }
        }
        let node_id = self.image.broker().node_id.to_string();
        let (default, own) = if name.is_empty() {
            (wanted.clone(), self.current(ResourceType::Broker, &node_id))
        } else {
            (self.current(ResourceType::Broker, ""), wanted.clone())
        };
        self.image.broker().with_dynamic(default, own).map(|_| ()).map_err(as_request)
    }
}

fn repeated<'a>(resources: impl Iterator<Item = &'a ConfigResource>) -> BTreeSet<ConfigResource> {
    let mut seen = BTreeSet::new();
    resources.filter(|resource| !seen.insert(*resource)).cloned().collect()
}

fn check_once(resource: &ConfigResource, repeated: &BTreeSet<ConfigResource>) -> Result<(), CommandError> {
    if repeated.contains(resource) {
        return Err(CommandError::InvalidRequest(format!("resource '{}' is named twice", resource.name)));
    }
    Ok(())
}

fn check_keys_once<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), CommandError> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(CommandError::InvalidRequest(format!("configuration {name} is named twice"))),
        None => Ok(()),
    }
}

fn no_value(name: &str) -> CommandError {
    CommandError::InvalidRequest(format!("configuration {name} has no value"))
}

const fn scope_of(kind: ResourceType) -> Scope {
    match kind {
        ResourceType::Topic => Scope::Topic,
        ResourceType::Broker | ResourceType::BrokerLogger => Scope::Broker,
        ResourceType::ClientMetrics => Scope::ClientMetrics,
        ResourceType::Group => Scope::Group,
    }
}

/// The value in its stored form.
fn check_value(kind: ResourceType, name: &str, value: &str) -> Result<String, CommandError> {
    if kind == ResourceType::Broker {
        return broker::check_dynamic(name, value).map_err(|error| CommandError::InvalidRequest(error.to_string()));
    }
    Ok(check(scope_of(kind), name, value)?.1)
}

fn apply_change(kind: ResourceType, change: &IncrementalChange, wanted: &mut ConfigMap) -> Result<(), CommandError> {
    let name = &change.name;
    let op = change
        .op
        .ok_or_else(|| CommandError::InvalidRequest(format!("the operation on configuration {name} is not known")))?;
    if op == ConfigOp::Delete {
        wanted.remove(name);
        return Ok(());
    }
    let value = change.value.as_ref().ok_or_else(|| no_value(name))?;
    if op == ConfigOp::Set {
        wanted.insert(name.clone(), check_value(kind, name, value)?);
        return Ok(());
    }
    let key = lookup(scope_of(kind), name)?;
    if key.value_type != ValueType::List {
        let text = format!("configuration {name} is not a list, so nothing can be added to it or taken from it");
        return Err(CommandError::InvalidConfig(text));
    }
    let default = table::find(scope_of(kind), name).and_then(|key| key.default).unwrap_or("");
    let mut items = split_list(wanted.get(name).map_or(default, String::as_str));
    let given = split_list(value);
    match op {
        ConfigOp::Append => items.extend(given.into_iter().filter(|item| !items.contains(item)).collect::<Vec<_>>()),
        _ => items.retain(|item| !given.contains(item)),
    }
    wanted.insert(name.clone(), check_value(kind, name, &items.join(","))?);
    Ok(())
}
