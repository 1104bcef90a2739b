//! `coretide topic`: create, list, describe, alter, delete.
//! Must never touch: records.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use coretide_client::admin::{ConfigChange, NewTopic, ResourceKind};
use coretide_client::{Client, ClientError, Isolation, TopicInfo};
use coretide_model::ErrorCode;
use serde_json::{Value, json};

use crate::args::{Global, parse_pair};
use crate::config::{SOURCE_TOPIC, advise_on_keys};
use crate::exit::CliError;
use crate::output::{print, table};
use crate::suggest::did_you_mean;

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List the topics
    #[command(after_help = "Examples:\n  coretide topic list\n  coretide topic list --internal --json")]
    List {
        /// Show the broker's own topics too
        #[arg(long)]
        internal: bool,
    },
    /// Show partitions, offsets and changed configs of topics
    #[command(after_help = "Examples:\n  coretide topic describe orders\n  coretide topic describe --json")]
    Describe {
        /// The topics; all but the broker's own without a name
        topics: Vec<String>,
    },
    /// Add partitions, set and unset configs
    Alter(AlterArgs),
    /// Delete topics with all their records
    #[command(after_help = "Examples:\n  coretide topic delete orders\n  coretide topic delete a b c --if-exists")]
    Delete {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
        /// Do nothing, successfully, where a topic does not exist
        #[arg(long)]
        if_exists: bool,
    },
}

/// The flags of `topic create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coretide topic create orders
  coretide topic create orders --partitions 12 --config retention.ms=86400000
  coretide topic create users --config cleanup.policy=compact --if-not-exists")]
pub struct CreateArgs {
    /// Its name: letters, digits, '.', '_' and '-'
    pub topic: String,
    /// The number of partitions [default: the broker's num.partitions]
    #[arg(long, short)]
    pub partitions: Option<i32>,
    /// The number of replicas [default: the broker's default.replication.factor]
    #[arg(long, short)]
    pub replicas: Option<i16>,
    /// A config of its own; may be given often
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub config: Vec<(String, String)>,
    /// Do nothing, successfully, if it exists
    #[arg(long)]
    pub if_not_exists: bool,
    /// Only check whether it could be created
    #[arg(long)]
    pub dry_run: bool,
}

/// The flags of `topic alter`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coretide topic alter orders --partitions 24
  coretide topic alter orders --set retention.ms=3600000 --unset cleanup.policy")]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["partitions", "set", "unset"]))]
pub struct AlterArgs {
    /// The topic
    pub topic: String,
    /// Raise the number of partitions to this
    #[arg(long, short)]
    pub partitions: Option<i32>,
    /// Set a config; may be given often
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub set: Vec<(String, String)>,
    /// Take a config back to its default; may be given often
    #[arg(long, short, value_name = "KEY")]
    pub unset: Vec<String>,
}

/// Runs a command about topics.
pub fn run(global: &Global, command: TopicCommand) -> Result<(), CliError> {
    let mut client = global.connect()?;
    match command {
        TopicCommand::Create(arguments) => create(global, &mut client, arguments),
        TopicCommand::List { internal } => list(global, &mut client, internal),
        TopicCommand::Describe { topics } => describe(global, &mut client, &topics),
        TopicCommand::Alter(arguments) => alter(global, &mut client, &arguments),
        TopicCommand::Delete { topics, if_exists } => delete(global, &mut client, &topics, if_exists),
    }
}

fn create(global: &Global, client: &mut Client, arguments: CreateArgs) -> Result<(), CliError> {
    let topic = NewTopic {
        name: arguments.topic,
        partitions: arguments.partitions,
        replication_factor: arguments.replicas,
        configs: arguments.config,
        validate_only: arguments.dry_run,
    };
    let name = &topic.name;
    let created = match client.create_topic(&topic) {
        Ok(created) => Some(created),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && arguments.if_not_exists => None,
        Err(error) => {
            let keys = topic.configs.iter().map(|(key, _)| key.as_str());
            return Err(advise_on_keys(ResourceKind::Topic, keys, error));
        }
    };
    let Some(created) = created else {
        return print(
            global.json,
            || json!({"topic": name, "created": false}),
            || format!("topic '{name}' exists already\n"),
        );
    };
    if !topic.validate_only {
        client.await_topic(name)?;
    }
    let (partitions, replicas) = (created.num_partitions, created.replication_factor);
    let verb = if arguments.dry_run { "could be created" } else { "created" };
    print(
        global.json,
        || {
            let id = created.topic_id.to_string();
            json!({"topic": name, "created": !arguments.dry_run, "id": id, "partitions": partitions, "replicas": replicas})
        },
        || match partitions {
            // Old brokers do not say.
            ..=0 => format!("topic '{name}' {verb}\n"),
            1 => format!("topic '{name}' {verb} with 1 partition\n"),
            _ => format!("topic '{name}' {verb} with {partitions} partitions\n"),
        },
    )
}

fn list(global: &Global, client: &mut Client, internal: bool) -> Result<(), CliError> {
    let topics: Vec<TopicInfo> =
        client.all_topics()?.into_iter().filter(|topic| internal || !topic.is_internal).collect();
    let replicas = |topic: &TopicInfo| topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    print(
        global.json,
        || {
            let one = |topic: &TopicInfo| {
                json!({"name": topic.name, "id": topic.id.to_string(), "internal": topic.is_internal,
                    "partitions": topic.partitions.len(), "replicas": replicas(topic)})
            };
            topics.iter().map(one).collect()
        },
        || {
            let row = |topic: &TopicInfo| {
                vec![topic.partitions.len().to_string(), replicas(topic).to_string(), topic.name.clone()]
            };
            table(&["PARTITIONS", "REPLICAS", "TOPIC"], &topics.iter().map(row).collect::<Vec<_>>())
        },
    )
}

/// A topic with what has to be asked for one by one.
struct Described {
    info: TopicInfo,
    bounds: BTreeMap<(String, i32), (i64, i64)>,
    configs: Vec<(String, String)>,
}

fn describe(global: &Global, client: &mut Client, names: &[String]) -> Result<(), CliError> {
    let infos: Vec<TopicInfo> = if names.is_empty() {
        client.all_topics()?.into_iter().filter(|topic| !topic.is_internal).collect()
    } else {
        names.iter().map(|name| existing(client, name)).collect::<Result<_, _>>()?
    };
    let mut topics = Vec::new();
    for info in infos {
        let led = info.partitions.iter().filter(|partition| partition.leader >= 0);
        let partitions: Vec<(String, i32)> = led.map(|partition| (info.name.clone(), partition.index)).collect();
        let bounds = client.log_bounds(Isolation::ReadUncommitted, &partitions)?;
        let configs = client.describe_configs(ResourceKind::Topic, &info.name, None)?;
        let configs = configs
            .into_iter()
            .filter(|config| config.config_source == SOURCE_TOPIC)
            .map(|config| (config.name, config.value.unwrap_or_default()))
            .collect();
        topics.push(Described { info, bounds, configs });
    }
    print(global.json, || topics.iter().map(to_json).collect(), || topics.iter().map(to_text).collect())
}

fn to_json(topic: &Described) -> Value {
    let partitions: Vec<Value> = topic
        .info
        .partitions
        .iter()
        .map(|p| {
            let bounds = topic.bounds.get(&(topic.info.name.clone(), p.index));
            json!({"partition": p.index, "leader": p.leader, "leader_epoch": p.leader_epoch, "replicas": p.replicas,
                "isr": p.isr, "offline": p.offline, "first_offset": bounds.map(|bounds| bounds.0),
                "end_offset": bounds.map(|bounds| bounds.1)})
        })
        .collect();
    let configs: serde_json::Map<String, Value> =
        topic.configs.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect();
    json!({"name": topic.info.name, "id": topic.info.id.to_string(), "internal": topic.info.is_internal,
        "partitions": partitions, "configs": configs})
}

fn to_text(topic: &Described) -> String {
    let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let rows: Vec<Vec<String>> = topic
        .info
        .partitions
        .iter()
        .map(|p| {
            let bounds = topic.bounds.get(&(topic.info.name.clone(), p.index));
            let (first, end) = bounds.map_or(("-".into(), "-".into()), |b| (b.0.to_string(), b.1.to_string()));
            let leader = if p.leader < 0 { "none".to_string() } else { p.leader.to_string() };
            vec![p.index.to_string(), leader, p.leader_epoch.to_string(), list(&p.replicas), list(&p.isr), first, end]
        })
        .collect();
    let mut text = format!("topic {} (id {})\n", topic.info.name, topic.info.id);
    for (key, value) in &topic.configs {
        text.push_str(&format!("  {key} = {value}\n"));
    }
    text.push_str(&table(&["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "FIRST", "END"], &rows));
    text.push('\n');
    text
}

fn alter(global: &Global, client: &mut Client, arguments: &AlterArgs) -> Result<(), CliError> {
    let name = &arguments.topic;
    existing(client, name)?;
    if let Some(count) = arguments.partitions {
        client.create_partitions(name, count)?;
    }
    let set = arguments.set.iter().map(|(key, value)| ConfigChange::Set(key.clone(), value.clone()));
    let changes: Vec<ConfigChange> = set.chain(arguments.unset.iter().cloned().map(ConfigChange::Delete)).collect();
    if !changes.is_empty() {
        let keys = arguments.set.iter().map(|(key, _)| key.as_str()).chain(arguments.unset.iter().map(String::as_str));
        client
            .alter_configs(ResourceKind::Topic, name, &changes)
            .map_err(|error| advise_on_keys(ResourceKind::Topic, keys, error))?;
    }
    print(global.json, || json!({"topic": name, "altered": true}), || format!("topic '{name}' altered\n"))
}

fn delete(global: &Global, client: &mut Client, topics: &[String], if_exists: bool) -> Result<(), CliError> {
    let mut deleted = Vec::new();
    for name in topics {
        match client.delete_topic(name) {
            Ok(()) => deleted.push(name.as_str()),
            Err(error) if if_exists && is_unknown(&error) => {}
            Err(error) => return Err(advise_on_topic(client, name, error)),
        }
    }
    print(
        global.json,
        || json!({"deleted": deleted}),
        || deleted.iter().map(|name| format!("topic '{name}' deleted\n")).collect(),
    )
}

/// The topic, or an error that suggests another one.
pub fn existing(client: &mut Client, name: &str) -> Result<TopicInfo, CliError> {
    let found = client.retry(|client| client.topic(name, false));
    found.map_err(|error| advise_on_topic(client, name, error))
}

fn is_unknown(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::UnknownTopicOrPartition)
}

/// Adds a similar topic's name to "unknown topic".
pub fn advise_on_topic(client: &mut Client, name: &str, error: ClientError) -> CliError {
    if !is_unknown(&error) {
        return error.into();
    }
    // The advice is worth a question to the cluster, but not another error.
    let topics = client.all_topics().unwrap_or_default();
    let similar = did_you_mean(name, topics.iter().map(|topic| topic.name.as_str()));
    let create = format!("create it with: coretide topic create {name}");
    let advice = similar.map_or(create.clone(), |similar| format!("{similar} Otherwise {create}"));
    CliError::from(error).advise(Some(advice))
}
