//! `coretide config`: describe and alter the configuration of topics, brokers and groups.
//! Must never touch: what a key means.

use clap::{Args, Subcommand, ValueEnum};
use coretide_client::ClientError;
use coretide_client::admin::{ConfigChange, ResourceKind};
use coretide_model::ErrorCode;
use coretide_model::config::{Scope, suggest};
use serde_json::{Value, json};

use crate::args::{Global, parse_pair};
use crate::exit::CliError;
use crate::output::{print, table};

/// The source of a topic's own config (`ConfigSource` of DescribeConfigs).
pub const SOURCE_TOPIC: i8 = 1;
/// The source of a config that nobody has set (`ConfigSource` of DescribeConfigs).
const SOURCE_DEFAULT: i8 = 5;

/// What can be done with configs.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show configs: those that were set, or all
    Describe(DescribeArgs),
    /// Set and unset configs
    Alter(AlterArgs),
}

/// What has configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Topic,
    Broker,
    Group,
}

impl Kind {
    fn resource(self) -> ResourceKind {
        match self {
            Kind::Topic => ResourceKind::Topic,
            Kind::Broker => ResourceKind::Broker,
            Kind::Group => ResourceKind::Group,
        }
    }
}

/// The flags of `config describe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coretide config describe topic orders
  coretide config describe topic orders retention.ms segment.bytes
  coretide config describe broker 1 --all --docs
  coretide config describe broker default")]
pub struct DescribeArgs {
    /// Topic, broker or group
    pub kind: Kind,
    /// The topic's or group's name, or the broker's id; 'default' for the defaults of all brokers
    pub name: String,
    /// Only these keys
    pub keys: Vec<String>,
    /// Show those too that nobody has set
    #[arg(long, short)]
    pub all: bool,
    /// Show what each key means
    #[arg(long)]
    pub docs: bool,
}

/// The flags of `config alter`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coretide config alter topic orders --set retention.ms=86400000
  coretide config alter topic orders --append cleanup.policy=compact
  coretide config alter broker default --set log.retention.ms=3600000
  coretide config alter topic orders --unset retention.ms")]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["set", "unset", "append", "subtract"]))]
pub struct AlterArgs {
    /// Topic, broker or group
    pub kind: Kind,
    /// The topic's or group's name, or the broker's id; 'default' for the defaults of all brokers
    pub name: String,
    /// Set a key; may be given often
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub set: Vec<(String, String)>,
    /// Take a key back to its default; may be given often
    #[arg(long, short, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Add to a key that holds a list; may be given often
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub append: Vec<(String, String)>,
    /// Take from a key that holds a list; may be given often
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub subtract: Vec<(String, String)>,
}

/// Runs a command about configs.
pub fn run(global: &Global, command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Describe(arguments) => describe(global, &arguments),
        ConfigCommand::Alter(arguments) => alter(global, &arguments),
    }
}

/// True when nobody has set a config of this source.
fn is_default(source: i8) -> bool {
    source == SOURCE_DEFAULT
}

fn source_name(source: i8) -> &'static str {
    match source {
        SOURCE_TOPIC => "topic",
        2 => "broker (dynamic)",
        3 => "all brokers (dynamic)",
        4 => "broker (file)",
        SOURCE_DEFAULT => "default",
        6 => "logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}

/// The wire's name of a resource: brokers' defaults have the empty one.
fn resource_name(kind: Kind, name: &str) -> Result<String, CliError> {
    match kind {
        Kind::Broker if name == "default" => Ok(String::new()),
        Kind::Broker if name.parse::<i32>().is_err() => {
            Err(CliError::Usage(format!("'{name}' is no broker: its id (a number) or 'default' is expected")))
        }
        _ => Ok(name.to_string()),
    }
}

fn describe(global: &Global, arguments: &DescribeArgs) -> Result<(), CliError> {
    let name = resource_name(arguments.kind, &arguments.name)?;
    let mut client = global.connect()?;
    let keys = if arguments.keys.is_empty() { None } else { Some(arguments.keys.as_slice()) };
    let kind = arguments.kind.resource();
    let mut configs = client.describe_configs(kind, &name, keys)?;
    for key in &arguments.keys {
        if !configs.iter().any(|config| config.name == *key) {
            let hint = nearest(kind, key).map(|hint| format!("; {hint}")).unwrap_or_default();
            return Err(CliError::NotFound(format!("{} has no config '{key}'{hint}", arguments.name)));
        }
    }
    let all = arguments.all || keys.is_some();
    configs.retain(|config| all || !is_default(config.config_source));
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = |value: &Option<String>, sensitive: bool| match value {
        _ if sensitive => "(hidden)".to_string(),
        Some(value) => value.clone(),
        None => "(none)".to_string(),
    };
    print(
        global.json,
        || {
            let one = |config: &coretide_client::admin::Config| {
                json!({"name": config.name, "value": config.value, "source": source_name(config.config_source),
                    "read_only": config.read_only, "sensitive": config.is_sensitive,
                    "documentation": if arguments.docs { Value::from(config.documentation.clone()) } else { Value::Null }})
            };
            configs.iter().map(one).collect()
        },
        || {
            if configs.is_empty() {
                return format!("nothing is set for {} {}; --all shows the defaults\n", label(kind), arguments.name);
            }
            let mut heading = vec!["SOURCE", "KEY", "VALUE"];
            if arguments.docs {
                heading.push("MEANING");
            }
            let rows: Vec<Vec<String>> = configs
                .iter()
                .map(|config| {
                    let value = shown(&config.value, config.is_sensitive);
                    let mut row = vec![source_name(config.config_source).to_string(), config.name.clone(), value];
                    if arguments.docs {
                        row.push(config.documentation.clone().unwrap_or_default());
                    }
                    row
                })
                .collect();
            table(&heading, &rows)
        },
    )
}

fn label(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Topic => "topic",
        ResourceKind::Broker => "broker",
        ResourceKind::Group => "group",
    }
}

fn alter(global: &Global, arguments: &AlterArgs) -> Result<(), CliError> {
    let name = resource_name(arguments.kind, &arguments.name)?;
    let kind = arguments.kind.resource();
    let pairs = |pairs: &[(String, String)], make: fn(String, String) -> ConfigChange| -> Vec<ConfigChange> {
        pairs.iter().map(|(key, value)| make(key.clone(), value.clone())).collect()
    };
    let mut changes = pairs(&arguments.set, ConfigChange::Set);
    changes.extend(pairs(&arguments.append, ConfigChange::Append));
    changes.extend(pairs(&arguments.subtract, ConfigChange::Subtract));
    changes.extend(arguments.unset.iter().cloned().map(ConfigChange::Delete));
    let lists = [&arguments.set, &arguments.append, &arguments.subtract];
    let keys = lists.into_iter().flatten().map(|(key, _)| key.as_str());
    let keys = keys.chain(arguments.unset.iter().map(String::as_str));
    let mut client = global.connect()?;
    client.alter_configs(kind, &name, &changes).map_err(|error| advise_on_keys(kind, keys, error))?;
    let (kind, name) = (label(kind), &arguments.name);
    print(global.json, || json!({"kind": kind, "name": name, "altered": true}), || format!("{kind} '{name}' altered\n"))
}

fn nearest(kind: ResourceKind, key: &str) -> Option<String> {
    let scope = match kind {
        ResourceKind::Topic => Scope::Topic,
        ResourceKind::Broker => Scope::Broker,
        ResourceKind::Group => Scope::Group,
    };
    let found = suggest::nearest(scope, key).filter(|found| *found != key);
    found.map(|found| format!("did you mean '{found}'?"))
}

/// Adds a similar key to "invalid config", unless the broker has said so itself.
pub fn advise_on_keys<'a>(kind: ResourceKind, keys: impl Iterator<Item = &'a str>, error: ClientError) -> CliError {
    let silent = !error.to_string().contains("did you mean");
    let advice = if error.code() == Some(ErrorCode::InvalidConfig) && silent {
        keys.filter_map(|key| nearest(kind, key)).next()
    } else {
        None
    };
    CliError::from(error).advise(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_key_is_named_once() {
        let error = |message: &str| ClientError::Broker {
            what: "topic".into(),
            code: ErrorCode::InvalidConfig as i16,
            message: Some(message.into()),
        };
        let advised = advise_on_keys(ResourceKind::Topic, ["retention.mss"].into_iter(), error("unknown")).to_string();
        assert!(advised.contains("did you mean 'retention.ms'?"), "{advised}");
        let broker_said = error("unknown; did you mean 'retention.ms'?");
        let advised = advise_on_keys(ResourceKind::Topic, ["retention.mss"].into_iter(), broker_said).to_string();
        assert_eq!(advised.matches("did you mean").count(), 1, "{advised}");
        let valid = advise_on_keys(ResourceKind::Topic, ["retention.ms"].into_iter(), error("bad value")).to_string();
        assert!(!valid.contains("did you mean"), "{valid}");
    }

    #[test]
    fn brokers_are_numbers_or_the_default() {
        assert_eq!(resource_name(Kind::Broker, "default").unwrap(), "");
        assert_eq!(resource_name(Kind::Broker, "7").unwrap(), "7");
        assert_eq!(resource_name(Kind::Broker, "seven").unwrap_err().exit_code(), 2);
        assert_eq!(resource_name(Kind::Topic, "default").unwrap(), "default");
    }
}
