//! The cluster under test: what it says about itself, and the topics of a run.
//! Must never touch: the load.

use crate::lab::accumulator::ProducerId;
use crate::lab::error::LabError;
use crate::lab::process;
use crate::lab::producer::Layout;
use crate::lab::result::{Broker, Durability};
use crate::lab::scenario::{StartAt, Topics};
use coretide_client::admin::{NewTopic, ResourceKind};
use coretide_client::{Client, ClientConfig, ClientError, Connection, Isolation};
use coretide_wire::ApiKey;
use coretide_wire::messages::fetch::FetchRequest;
use coretide_wire::messages::init_producer_id::InitProducerIdRequest;
use coretide_wire::messages::produce::ProduceRequest;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What topics of the bench are called: nobody else's topic may be deleted.
pub const TOPIC_PREFIX: &str = "coretide-bench-";
/// `ListOffsets`' special timestamps.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// What connections of the setup are counted under.
const CLIENT_ID: &str = "coretide-bench";
/// Kafka's default of `flush.messages`, in effect "never".
pub const NEVER: &str = "9223372036854775807";
/// A broker that does not answer a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what failed for a passing reason is tried again.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// Connects for administration.
pub fn connect(address: &str) -> Result<Client, ClientError> {
    let mut config = ClientConfig::new(address);
    config.client_id = CLIENT_ID.to_string();
    config.connect_timeout = CONNECT_TIMEOUT;
    config.retry_for = RETRY_FOR;
    Client::connect(config)
}

/// Asks a cluster what it is. Its durability is read from a topic with these configs, made for a moment.
pub fn describe(address: &str, name: Option<&str>, topics: &Topics) -> Result<Broker, LabError> {
    let mut client = connect(address)?;
    let nodes = client.brokers()?;
    let probe = fresh_name("probe");
    let topic = new_topic(&probe, &Topics { partitions: 1, ..topics.clone() });
    client.create_topic(&topic)?;
    let read = client.await_topic(&probe).and_then(|_| client.describe_configs(ResourceKind::Topic, &probe, None));
    client.delete_topic(&probe)?;
    let mut config = BTreeMap::new();
    for entry in read? {
        config.insert(format!("topic.{}", entry.name), entry.value);
    }
    if let Some(node) = nodes.first() {
        for entry in client.describe_configs(ResourceKind::Broker, &node.id.to_string(), None)? {
            config.insert(entry.name, entry.value);
        }
    }
    let kind = kind_of(&config);
    let (durability, durability_because) = durability_of(&config, kind);
    let first = nodes.first().map(|node| format!("{}:{}", node.host, node.port));
    Ok(Broker {
        address: address.to_string(),
        name: name.unwrap_or(kind).to_string(),
        version_guess: Some(version_guess(address, kind)?),
        durability,
        durability_because,
        config,
        nodes: nodes.len() as u32,
        pid: if nodes.len() == 1 { first.and_then(|address| process::listening_on(&address)) } else { None },
    })
}

fn kind_of(config: &BTreeMap<String, Option<String>>) -> &'static str {
    let has = |prefix: &str| config.keys().any(|key| key.starts_with(prefix));
    if has("coretide.") {
        "coretide"
    } else if has("redpanda.") || has("topic.redpanda.") {
        "redpanda"
    } else if has("process.roles") || has("zookeeper.connect") {
        "kafka"
    } else {
        "broker"
    }
}

/// What the broker's API versions say: few brokers tell their own version.
fn version_guess(address: &str, kind: &str) -> Result<String, LabError> {
    let first = address.split(',').next().unwrap_or(address).trim();
    let connection = Connection::open(first, CLIENT_ID, CONNECT_TIMEOUT)?;
    let newest = |key: ApiKey| connection.advertised().get(&key.code()).map_or(-1, |(_, newest)| *newest);
    Ok(format!(
        "{kind}, Produce up to version {}, Fetch up to {}, {} APIs",
        newest(ApiKey::Produce),
        newest(ApiKey::Fetch),
        connection.advertised().len()
    ))
}

/// What is safe when the broker acknowledges, and how one knows.
fn durability_of(config: &BTreeMap<String, Option<String>>, kind: &str) -> (Durability, String) {
    let value = |key: &str| config.get(key).and_then(|value| value.as_deref());
    match (value("topic.write.caching"), value("topic.flush.messages")) {
        (Some(caching @ ("false" | "disabled")), _) => {
            (Durability::Fsync, format!("the topic's write.caching is {caching}"))
        }
        (Some(caching), _) => (Durability::PageCache, format!("the topic's write.caching is {caching}")),
        (None, Some("1")) => (Durability::Fsync, "the topic's flush.messages is 1".to_string()),
        (None, Some(messages)) if kind == "coretide" => {
            let what = "coretide flushes before an ack only where it is 1, and writes past the page cache always";
            (Durability::Written, format!("the topic's flush.messages is {messages}: {what}"))
        }
        (None, Some(NEVER)) => (Durability::PageCache, format!("the topic's flush.messages is {NEVER}: never")),
        (None, Some(messages)) => {
            let what = "a partition is flushed after so many messages, not before each ack";
            (Durability::FlushedNowAndThen, format!("the topic's flush.messages is {messages}: {what}"))
        }
        (None, None) => (Durability::Unknown, "the broker describes no flush.messages".to_string()),
    }
}

/// A name that no topic has yet: time, process, count.
pub fn fresh_name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{TOPIC_PREFIX}{now_ms:x}-{:x}-{what}-{count}", std::process::id())
}

fn new_topic(name: &str, topics: &Topics) -> NewTopic {
    NewTopic {
        name: name.to_string(),
        partitions: i32::try_from(topics.partitions).ok(),
        replication_factor: Some(topics.replication_factor),
        configs: topics.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        validate_only: false,
    }
}

/// A new idempotent producer's id, over a connection of its own.
pub fn producer_id(address: &str) -> Result<ProducerId, LabError> {
    ask_producer_id(&mut connect(address)?)
}

fn ask_producer_id(client: &mut Client) -> Result<ProducerId, LabError> {
    let response = client.retry(|client| {
        let response = client.call_any(|_| InitProducerIdRequest {
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        })?;
        ClientError::check(response.error_code, None, || "asking for a producer id".to_string())?;
        Ok(response)
    })?;
    Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch })
}

/// The topics of one run: deleted when they are dropped, whatever the reason.
#[derive(Debug)]
pub struct RunTopics {
    client: Client,
    names: Vec<String>,
}

impl RunTopics {
    /// Makes them, and waits until all partitions have a leader.
    pub fn create(address: &str, topics: &Topics) -> Result<RunTopics, LabError> {
        let mut made = RunTopics { client: connect(address)?, names: Vec::new() };
        for _ in 0..topics.count {
            let name = fresh_name("topic");
            made.client.create_topic(&new_topic(&name, topics))?;
            made.names.push(name);
        }
        for name in made.names.clone() {
            made.client.await_topic(&name)?;
        }
        Ok(made)
    }

    /// Where their partitions live, and which versions to speak.
    pub fn layout(&mut self) -> Result<Layout, LabError> {
        let brokers = self.client.brokers()?;
        let mut layout = Layout {
            topics: Vec::new(),
            nodes: Vec::new(),
            node_of: Vec::new(),
            produce_version: i16::MAX,
            fetch_version: i16::MAX,
        };
        let mut ids = Vec::new();
        for name in &self.names {
            let info = self.client.await_topic(name)?;
            layout.topics.push((name.clone(), info.partitions.len()));
            for partition in &info.partitions {
                let known = ids.iter().position(|id| *id == partition.leader);
                layout.node_of.push(known.unwrap_or(ids.len()));
                if known.is_none() {
                    ids.push(partition.leader);
                }
            }
        }
        for id in ids {
            let broker = brokers.iter().find(|broker| broker.id == id);
            let broker = broker.ok_or_else(|| LabError::Failed(format!("broker {id} has no address")))?;
            let address = format!("{}:{}", broker.host, broker.port);
            let connection = Connection::open(&address, CLIENT_ID, CONNECT_TIMEOUT)?;
            layout.produce_version = layout.produce_version.min(connection.version::<ProduceRequest>()?);
            layout.fetch_version = layout.fetch_version.min(connection.version::<FetchRequest>()?);
            layout.nodes.push(address);
        }
        Ok(layout)
    }

    /// A new idempotent producer's id.
    pub fn producer_id(&mut self) -> Result<ProducerId, LabError> {
        ask_producer_id(&mut self.client)
    }

    /// Where consumers begin in each partition of all topics.
    pub fn offsets(&mut self, layout: &Layout, from: StartAt) -> Result<Vec<i64>, LabError> {
        let timestamp = if from == StartAt::End { LATEST } else { EARLIEST };
        let places = 0..layout.node_of.len();
        let wanted: Vec<(String, i32, i64)> = places
            .map(|place| {
                let (topic, index) = layout.partition(place);
                (topic.to_string(), index, timestamp)
            })
            .collect();
        let found = self.client.retry(|client| client.list_offsets(Isolation::ReadUncommitted, &wanted))?;
        Ok(wanted.iter().map(|(topic, index, _)| found.get(&(topic.clone(), *index)).map_or(0, |at| at.0)).collect())
    }

    /// Deletes them.
    pub fn delete(mut self) -> Result<(), LabError> {
        self.delete_all()
    }

    fn delete_all(&mut self) -> Result<(), LabError> {
        let mut result = Ok(());
        for name in std::mem::take(&mut self.names) {
            assert!(name.starts_with(TOPIC_PREFIX), "only topics of the bench are deleted");
            if result.is_err() {
                continue;
            }
            if let Err(error) = self.client.delete_topic(&name) {
                result = Err(LabError::Failed(format!("topic {name} could not be deleted: {error}")));
            }
        }
        result
    }
}

impl Drop for RunTopics {
    fn drop(&mut self) {
        if let Err(error) = self.delete_all() {
            eprintln!("coretide bench: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> BTreeMap<String, Option<String>> {
        entries.iter().map(|(key, value)| (key.to_string(), Some(value.to_string()))).collect()
    }

    #[test]
    fn durability_is_read_from_the_topics_config() {
        let of = |entries: &[(&str, &str)]| durability_of(&config(entries), "kafka").0;
        assert_eq!(of(&[("topic.flush.messages", "1")]), Durability::Fsync);
        assert_eq!(of(&[("topic.flush.messages", "9223372036854775807")]), Durability::PageCache);
        assert_eq!(of(&[("topic.flush.messages", "1000")]), Durability::FlushedNowAndThen);
        for (messages, ours) in [("1", Durability::Fsync), ("1000", Durability::Written), (NEVER, Durability::Written)]
        {
            assert_eq!(durability_of(&config(&[("topic.flush.messages", messages)]), "coretide").0, ours);
        }
        assert!(Durability::Written.promises_as(Durability::PageCache));
        assert!(!Durability::Written.promises_as(Durability::Fsync));
        assert!(!Durability::Unknown.promises_as(Durability::Unknown));
        assert_eq!(of(&[("topic.write.caching", "true"), ("topic.flush.messages", "1")]), Durability::PageCache);
        assert_eq!(of(&[("topic.write.caching", "false")]), Durability::Fsync);
        assert_eq!(of(&[]), Durability::Unknown);
    }

    #[test]
    fn brokers_are_told_apart_by_their_configs() {
        assert_eq!(kind_of(&config(&[("coretide.shards", "2"), ("process.roles", "")])), "coretide");
        assert_eq!(kind_of(&config(&[("process.roles", "broker")])), "kafka");
        assert_eq!(kind_of(&config(&[])), "broker");
        assert_ne!(fresh_name("a"), fresh_name("a"));
    }
}
