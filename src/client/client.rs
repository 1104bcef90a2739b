//! A cluster as a client sees it: brokers, topics and coordinators as last heard of, a connection to each broker, and
//! the retries that follow from knowing them.
//! Must never touch: what is inside a batch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coretide_model::{ErrorCode, TopicId};
use coretide_wire::messages::find_coordinator::FindCoordinatorRequest;
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::connection::Connection;
use crate::error::ClientError;
use crate::request::Request;

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// `key_type` of FindCoordinator for consumer groups.
const KEY_TYPE_GROUP: i8 = 0;

/// How a client reaches its cluster.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// HOST:PORT of brokers to begin with; one that answers is enough.
    pub bootstrap: Vec<String>,
    /// The name that brokers log and count this client under.
    pub client_id: String,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// How long what failed for a passing reason is tried again.
    pub retry_for: Duration,
}

impl ClientConfig {
    /// Sensible times, and the given brokers (HOST:PORT, several separated by commas).
    pub fn new(bootstrap: &str) -> ClientConfig {
        ClientConfig {
            bootstrap: bootstrap.split(',').map(|address| address.trim().to_string()).collect(),
            client_id: "coretide-client".to_string(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(30),
        }
    }
}

/// A partition by its topic's name and its index.
pub type Place = (String, i32);

/// A topic as last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id; zero from brokers before Kafka 2.8.
    pub id: TopicId,
    /// True for the broker's own topics.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its index in the topic.
    pub index: i32,
    /// The broker that leads it, or -1.
    pub leader: i32,
    /// The leader's epoch, or -1.
    pub leader_epoch: i32,
    /// The brokers that should hold it.
    pub replicas: Vec<i32>,
    /// The brokers that hold all of it.
    pub isr: Vec<i32>,
    /// The brokers that should hold it and are away.
    pub offline: Vec<i32>,
}

/// A broker as last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its id.
    pub id: i32,
    /// Where it says it can be reached.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// What a connection is for. A group's calls may wait for minutes and must not wait behind one another's fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Data,
    Group,
}

/// A client of one cluster.
#[derive(Debug)]
pub struct Client {
    pub(crate) config: ClientConfig,
    seed: Option<Connection>,
    connections: BTreeMap<(i32, Purpose), Connection>,
    brokers: BTreeMap<i32, BrokerInfo>,
    controller: i32,
    cluster_id: Option<String>,
    topics: BTreeMap<String, TopicInfo>,
    coordinators: BTreeMap<String, i32>,
}

impl Client {
    /// Connects to the first broker of the config that answers.
    pub fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        let mut client = Client {
            config,
            seed: None,
            connections: BTreeMap::new(),
            brokers: BTreeMap::new(),
            controller: -1,
            cluster_id: None,
            topics: BTreeMap::new(),
            coordinators: BTreeMap::new(),
        };
        client.seed()?;
        Ok(client)
    }

    /// How it reaches its cluster.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    fn seed(&mut self) -> Result<&mut Connection, ClientError> {
        if self.seed.is_none() {
            let mut last = ClientError::Address { address: String::new() };
            for address in &self.config.bootstrap {
                match Connection::open(address, &self.config.client_id, self.config.connect_timeout) {
                    Ok(connection) => {
                        self.seed = Some(connection);
                        break;
                    }
                    Err(error) => last = error,
                }
            }
            if self.seed.is_none() {
                return Err(last);
            }
        }
        Ok(self.seed.as_mut().expect("just opened"))
    }

    /// Asks any broker.
    pub fn call_any<R: Request>(&mut self, build: impl Fn(i16) -> R) -> Result<R::Response, ClientError> {
        let timeout = self.config.request_timeout;
        let connection = self.seed()?;
        let result = connection.version::<R>().and_then(|version| connection.call(&build(version), timeout));
        if result.as_ref().is_err_and(breaks_connection) {
            self.seed = None;
        }
        result
    }

    /// Asks one broker by its id.
    pub fn call_broker<R: Request>(
        &mut self,
        broker: i32,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let timeout = self.config.request_timeout;
        self.call_for(broker, Purpose::Data, timeout, build)
    }

    pub(crate) fn call_for<R: Request>(
        &mut self,
        broker: i32,
        purpose: Purpose,
        timeout: Duration,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(broker, purpose)?;
        let result = connection.version::<R>().and_then(|version| connection.call(&build(version), timeout));
        self.drop_broken(broker, purpose, &result);
        result
    }

    /// Asks the controller; any broker passes such requests on where the controller cannot be reached.
    pub fn call_controller<R: Request>(&mut self, build: impl Fn(i16) -> R) -> Result<R::Response, ClientError> {
        if self.brokers.is_empty() {
            self.refresh(Some(&[]), false)?;
        }
        match self.controller {
            id if self.brokers.contains_key(&id) => self.call_broker(id, build),
            _ => self.call_any(build),
        }
    }

    /// Asks a group's coordinator.
    pub fn call_coordinator<R: Request>(
        &mut self,
        group: &str,
        timeout: Duration,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let broker = self.coordinator(group)?;
        let result = self.call_for(broker, Purpose::Group, timeout, build);
        if result.is_err() {
            self.forget_coordinator(group);
        }
        result
    }

    pub(crate) fn connection(&mut self, broker: i32, purpose: Purpose) -> Result<&mut Connection, ClientError> {
        let key = (broker, purpose);
        if !self.connections.contains_key(&key) {
            let info = self.brokers.get(&broker).ok_or_else(|| leader_away(&format!("broker {broker}")))?;
            let address = format!("{}:{}", info.host, info.port);
            let opened = Connection::open(&address, &self.config.client_id, self.config.connect_timeout)?;
            self.connections.insert(key, opened);
        }
        Ok(self.connections.get_mut(&key).expect("just opened"))
    }

    pub(crate) fn drop_broken<T>(&mut self, broker: i32, purpose: Purpose, result: &Result<T, ClientError>) {
        if result.as_ref().is_err_and(breaks_connection) {
            self.connections.remove(&(broker, purpose));
        }
    }

    /// Closes the connections to a broker.
    pub(crate) fn disconnect(&mut self, broker: i32) {
        self.connections.remove(&(broker, Purpose::Data));
    }

    /// The brokers that a data connection is open to.
    pub(crate) fn brokers_connected(&self) -> Vec<i32> {
        let data = self.connections.keys().filter(|(_, purpose)| *purpose == Purpose::Data);
        data.map(|&(broker, _)| broker).collect()
    }

    fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        if let Some(&broker) = self.coordinators.get(group) {
            return Ok(broker);
        }
        let response = self.call_any(|version| FindCoordinatorRequest {
            key: if version <= 3 { group.to_string() } else { String::new() },
            key_type: KEY_TYPE_GROUP,
            coordinator_keys: if version >= 4 { vec![group.to_string()] } else { Vec::new() },
        })?;
        let what = || format!("finding the coordinator of group '{group}'");
        let (id, host, port) = match response.coordinators.into_iter().next() {
            Some(found) => {
                ClientError::check(found.error_code, found.error_message, what)?;
                (found.node_id, found.host, found.port)
            }
            None => {
                ClientError::check(response.error_code, response.error_message, what)?;
                (response.node_id, response.host, response.port)
            }
        };
        let port = u16::try_from(port).unwrap_or(0);
        self.brokers.entry(id).or_insert(BrokerInfo { id, host, port, rack: None });
        self.coordinators.insert(group.to_string(), id);
        Ok(id)
    }

    /// Makes the next call of this group look for its coordinator again.
    pub fn forget_coordinator(&mut self, group: &str) {
        self.coordinators.remove(group);
    }

    /// Asks for the cluster and for some topics (none: all) and remembers the answer.
    pub fn refresh(&mut self, topics: Option<&[&str]>, create: bool) -> Result<MetadataResponse, ClientError> {
        let response = self.call_any(|_| MetadataRequest {
            topics: topics.map(|names| names.iter().map(|name| by_name(name)).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        })?;
        self.brokers.clear();
        for broker in &response.brokers {
            let port = u16::try_from(broker.port).unwrap_or(0);
            let (id, host, rack) = (broker.node_id, broker.host.clone(), broker.rack.clone());
            self.brokers.insert(id, BrokerInfo { id, host, port, rack });
        }
        self.controller = response.controller_id;
        self.cluster_id.clone_from(&response.cluster_id);
        for topic in &response.topics {
            let Some(name) = topic.name.clone() else { continue };
            if topic.error_code != ErrorCode::None as i16 {
                self.topics.remove(&name);
                continue;
            }
            let mut partitions: Vec<PartitionInfo> = topic.partitions.iter().map(partition_info).collect();
            partitions.sort_by_key(|partition| partition.index);
            let info = TopicInfo { name, id: topic.topic_id, is_internal: topic.is_internal, partitions };
            self.topics.insert(info.name.clone(), info);
        }
        Ok(response)
    }

    /// The brokers, by id.
    pub fn brokers(&mut self) -> Result<Vec<BrokerInfo>, ClientError> {
        self.refresh(Some(&[]), false)?;
        Ok(self.brokers.values().cloned().collect())
    }

    /// The cluster's id and its controller's, as of the last refresh.
    pub fn cluster(&self) -> (Option<&str>, i32) {
        (self.cluster_id.as_deref(), self.controller)
    }

    /// Every topic.
    pub fn all_topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        self.retry(|client| {
            client.topics.clear();
            client.refresh(None, false)
        })?;
        Ok(self.topics.values().cloned().collect())
    }

    /// A topic, from memory if it is known. `create`: let the broker create it if it is configured to.
    pub fn topic(&mut self, name: &str, create: bool) -> Result<TopicInfo, ClientError> {
        if let Some(known) = self.topics.get(name) {
            return Ok(known.clone());
        }
        let response = self.refresh(Some(&[name]), create)?;
        for topic in &response.topics {
            ClientError::check(topic.error_code, None, || format!("topic '{name}'"))?;
        }
        self.topics.get(name).cloned().ok_or_else(|| ClientError::Broker {
            what: format!("topic '{name}'"),
            code: ErrorCode::UnknownTopicOrPartition as i16,
            message: None,
        })
    }

    /// Waits for a topic that was just created: brokers hear of it a moment after its creator does.
    pub fn await_topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        let mut backoff = Backoff::new(self.config.retry_for);
        loop {
            match self.topic(name, false) {
                Ok(info) if info.partitions.iter().all(|partition| partition.leader >= 0) => return Ok(info),
                Ok(_) => {
                    self.forget_topic(name);
                    backoff.pause(leader_away(&format!("topic '{name}'")))?;
                }
                Err(error) if error.is_retriable() => backoff.pause(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the next look at this topic ask the cluster.
    pub fn forget_topic(&mut self, name: &str) {
        self.topics.remove(name);
    }

    /// The broker that leads a partition.
    pub fn leader(&mut self, topic: &str, partition: i32) -> Result<i32, ClientError> {
        let info = self.topic(topic, false)?;
        let found = info.partitions.iter().find(|info| info.index == partition);
        let found = found.ok_or_else(|| {
            ClientError::Usage(format!(
                "topic '{topic}' has no partition {partition}: it has {} (0 to {})",
                info.partitions.len(),
                info.partitions.len() as i64 - 1
            ))
        })?;
        if found.leader < 0 {
            self.forget_topic(topic);
            return Err(leader_away(&format!("partition {topic}-{partition}")));
        }
        Ok(found.leader)
    }

    /// Repeats `call` while it fails for a passing reason, with growing pauses, as long as the config says. Only for
    /// calls that may be repeated without harm.
    pub fn retry<T>(&mut self, call: impl FnMut(&mut Client) -> Result<T, ClientError>) -> Result<T, ClientError> {
        self.retry_if(ClientError::is_retriable, call)
    }

    /// As [`Client::retry`], but only when the failed call certainly had no effect.
    pub fn retry_unsent<T>(
        &mut self,
        call: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.retry_if(ClientError::is_retriable_always, call)
    }

    fn retry_if<T>(
        &mut self,
        worth: impl Fn(&ClientError) -> bool,
        mut call: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut backoff = Backoff::new(self.config.retry_for);
        loop {
            let error = match call(self) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // A topic that is missing and a broker that is not there are answers, not passing states.
            let passing = worth(&error)
                && error.code() != Some(ErrorCode::UnknownTopicOrPartition)
                && !matches!(error, ClientError::Connect { .. });
            if !passing {
                return Err(error);
            }
            backoff.pause(error)?;
        }
    }
}

/// Growing pauses until a time is over.
#[derive(Debug)]
pub(crate) struct Backoff {
    begun: Instant,
    until: Instant,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(patience: Duration) -> Backoff {
        let begun = Instant::now();
        Backoff { begun, until: begun + patience, next: BACKOFF_MIN }
    }

    /// Pauses, or gives up with the error that made it necessary.
    pub(crate) fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        if Instant::now() + self.next > self.until {
            return Err(ClientError::GaveUp { waited: self.begun.elapsed(), last: Box::new(error) });
        }
        std::thread::sleep(self.next);
        self.next = (self.next * 2).min(BACKOFF_MAX);
        Ok(())
    }
}

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.to_string()), ..MetadataRequestTopic::default() }
}

fn partition_info(partition: &coretide_wire::messages::metadata::MetadataResponsePartition) -> PartitionInfo {
    PartitionInfo {
        index: partition.partition_index,
        leader: partition.leader_id,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
    }
}

fn leader_away(what: &str) -> ClientError {
    ClientError::Broker {
        what: format!("{what} has no leader"),
        code: ErrorCode::LeaderNotAvailable as i16,
        message: None,
    }
}

/// True when nothing more can be read from the connection: it is gone, or its answers no longer match its requests.
fn breaks_connection(error: &ClientError) -> bool {
    matches!(error, ClientError::Lost { .. } | ClientError::Timeout { .. } | ClientError::Protocol { .. })
}
