//! What an operator asks of a cluster: topics, configs, groups, offsets.
//! Must never touch: the command line's words.

use std::collections::BTreeMap;

use coretide_model::ErrorCode;
use coretide_wire::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use coretide_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use coretide_wire::messages::delete_groups::DeleteGroupsRequest;
use coretide_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use coretide_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use coretide_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use coretide_wire::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use coretide_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use coretide_wire::messages::list_groups::{ListGroupsRequest, ListedGroup};
use coretide_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use coretide_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};

use crate::client::{Client, Place, Purpose};
use crate::consumer::{Isolation, OffsetSpec};
use crate::error::ClientError;

pub use coretide_wire::messages::describe_configs::DescribeConfigsResourceResult as Config;
pub use coretide_wire::messages::list_groups::ListedGroup as Group;

/// How long the broker may take over an administrative request.
const ADMIN_TIMEOUT_MS: i32 = 30_000;
/// Before this version of OffsetFetch a request concerns one group.
const OFFSET_FETCH_BATCHED_SINCE: i16 = 8;

/// `ListOffsets`' special timestamps.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

/// A topic to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// The number of partitions; none for the broker's default.
    pub partitions: Option<i32>,
    /// The number of replicas; none for the broker's default.
    pub replication_factor: Option<i16>,
    /// Its own configs.
    pub configs: Vec<(String, String)>,
    /// Only asks whether it could be created.
    pub validate_only: bool,
}

/// The kinds of things that have configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    Topic,
    Broker,
    Group,
}

impl ResourceKind {
    /// Kafka's number.
    pub const fn code(self) -> i8 {
        match self {
            ResourceKind::Topic => 2,
            ResourceKind::Broker => 4,
            ResourceKind::Group => 32,
        }
    }
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets it.
    Set(String, String),
    /// Back to the default.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes from a list.
    Subtract(String, String),
}

impl ConfigChange {
    fn to_wire(&self) -> AlterableConfig {
        let (name, config_operation, value) = match self {
            ConfigChange::Set(name, value) => (name, 0, Some(value)),
            ConfigChange::Delete(name) => (name, 1, None),
            ConfigChange::Append(name, value) => (name, 2, Some(value)),
            ConfigChange::Subtract(name, value) => (name, 3, Some(value)),
        };
        AlterableConfig { name: name.clone(), config_operation, value: value.cloned() }
    }
}

/// A group's committed offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset the group will consume.
    pub offset: i64,
    /// The leader epoch of the last consumed record, or -1.
    pub leader_epoch: i32,
    /// The group's own remark.
    pub metadata: String,
}

/// Partitions by topic, in order.
pub(crate) fn by_topic<T>(items: impl IntoIterator<Item = (Place, T)>) -> BTreeMap<String, Vec<(i32, T)>> {
    let mut topics: BTreeMap<String, Vec<(i32, T)>> = BTreeMap::new();
    for ((topic, partition), item) in items {
        topics.entry(topic).or_default().push((partition, item));
    }
    topics
}

impl Client {
    /// Creates a topic.
    pub fn create_topic(&mut self, topic: &NewTopic) -> Result<CreatableTopicResult, ClientError> {
        let configs = topic
            .configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) });
        let wanted = CreatableTopic {
            name: topic.name.clone(),
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: configs.collect(),
        };
        let response = self.retry_unsent(|client| {
            client.call_controller(|_| CreateTopicsRequest {
                topics: vec![wanted.clone()],
                timeout_ms: ADMIN_TIMEOUT_MS,
                validate_only: topic.validate_only,
            })
        })?;
        let what = || format!("creating topic '{}'", topic.name);
        let result = response.topics.into_iter().next().ok_or_else(|| empty_answer(what()))?;
        ClientError::check(result.error_code, result.error_message.clone(), what)?;
        self.forget_topic(&topic.name);
        Ok(result)
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let response = self.retry_unsent(|client| {
            client.call_controller(|version| DeleteTopicsRequest {
                topics: match version {
                    6.. => vec![DeleteTopicState { name: Some(name.to_string()), ..DeleteTopicState::default() }],
                    _ => Vec::new(),
                },
                topic_names: if version < 6 { vec![name.to_string()] } else { Vec::new() },
                timeout_ms: ADMIN_TIMEOUT_MS,
            })
        })?;
        self.forget_topic(name);
        let what = || format!("deleting topic '{name}'");
        let result = response.responses.into_iter().next().ok_or_else(|| empty_answer(what()))?;
        ClientError::check(result.error_code, result.error_message, what)
    }

    /// Raises the number of a topic's partitions to `count`.
    pub fn create_partitions(&mut self, name: &str, count: i32) -> Result<(), ClientError> {
        let response = self.retry_unsent(|client| {
            client.call_controller(|_| CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic { name: name.to_string(), count, assignments: None }],
                timeout_ms: ADMIN_TIMEOUT_MS,
                validate_only: false,
            })
        })?;
        self.forget_topic(name);
        let what = || format!("raising the partitions of topic '{name}' to {count}");
        let result = response.results.into_iter().next().ok_or_else(|| empty_answer(what()))?;
        ClientError::check(result.error_code, result.error_message, what)
    }

    /// Deletes the records of a partition below `offset` (-1: all that are there) and returns its new first offset.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64, ClientError> {
        let response = self.retry(|client| {
            let leader = client.leader(topic, partition)?;
            client.call_broker(leader, |_| DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: topic.to_string(),
                    partitions: vec![DeleteRecordsPartition { partition_index: partition, offset }],
                }],
                timeout_ms: ADMIN_TIMEOUT_MS,
            })
        })?;
        let what = || format!("deleting records of {topic}-{partition}");
        let result = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let result = result.ok_or_else(|| empty_answer(what()))?;
        ClientError::check(result.error_code, None, what)?;
        Ok(result.low_watermark)
    }

    /// A thing's configs; `keys`: only these.
    pub fn describe_configs(
        &mut self,
        kind: ResourceKind,
        name: &str,
        keys: Option<&[String]>,
    ) -> Result<Vec<DescribeConfigsResourceResult>, ClientError> {
        let request = |_: i16| DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: kind.code(),
                resource_name: name.to_string(),
                configuration_keys: keys.map(<[String]>::to_vec),
            }],
            include_synonyms: true,
            include_documentation: true,
        };
        let response = self.retry(|client| match broker_id(kind, name) {
            Some(broker) => client.with_brokers(|client| client.call_broker(broker, request)),
            None => client.call_any(request),
        })?;
        let what = || format!("the configs of {name}");
        let result = response.results.into_iter().next().ok_or_else(|| empty_answer(what()))?;
        ClientError::check(result.error_code, result.error_message, what)?;
        Ok(result.configs)
    }

    /// Changes some of a thing's configs.
    pub fn alter_configs(
        &mut self,
        kind: ResourceKind,
        name: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        let request = |_: i16| IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: kind.code(),
                resource_name: name.to_string(),
                configs: changes.iter().map(ConfigChange::to_wire).collect(),
            }],
            validate_only: false,
        };
        let response = self.retry_unsent(|client| match broker_id(kind, name) {
            Some(broker) => client.with_brokers(|client| client.call_broker(broker, request)),
            None => client.call_any(request),
        })?;
        let what = || format!("altering the configs of {name}");
        let result = response.responses.into_iter().next().ok_or_else(|| empty_answer(what()))?;
        ClientError::check(result.error_code, result.error_message, what)
    }

    fn with_brokers<T>(&mut self, call: impl FnOnce(&mut Client) -> Result<T, ClientError>) -> Result<T, ClientError> {
        self.refresh(Some(&[]), false)?;
        call(self)
    }

    /// Every group of the cluster, by id.
    pub fn list_groups(&mut self) -> Result<Vec<ListedGroup>, ClientError> {
        let mut groups = BTreeMap::new();
        for broker in self.retry(Client::brokers)? {
            let response = self.retry(|client| {
                let response = client.call_broker(broker.id, |_| ListGroupsRequest::default())?;
                ClientError::check(response.error_code, None, || "listing groups".to_string())?;
                Ok(response)
            })?;
            groups.extend(response.groups.into_iter().map(|group| (group.group_id.clone(), group)));
        }
        Ok(groups.into_values().collect())
    }

    /// One group with its members.
    pub fn describe_group(&mut self, group: &str) -> Result<DescribedGroup, ClientError> {
        let timeout = self.config.request_timeout;
        self.retry(|client| {
            let response = client.call_coordinator(group, timeout, |_| DescribeGroupsRequest {
                groups: vec![group.to_string()],
                include_authorized_operations: false,
            })?;
            let what = || format!("group '{group}'");
            let result = response.groups.into_iter().next().ok_or_else(|| empty_answer(what()))?;
            client.check_group(group, result.error_code, result.error_message.clone(), what)?;
            Ok(result)
        })
    }

    /// Deletes a group without members.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let timeout = self.config.request_timeout;
        self.retry_unsent(|client| {
            let response = client
                .call_coordinator(group, timeout, |_| DeleteGroupsRequest { groups_names: vec![group.to_string()] })?;
            let what = || format!("deleting group '{group}'");
            let result = response.results.into_iter().next().ok_or_else(|| empty_answer(what()))?;
            client.check_group(group, result.error_code, result.error_message, what)
        })
    }

    /// As [`ClientError::check`]; an error that says "not here" also makes the next call look for the coordinator.
    pub(crate) fn check_group(
        &mut self,
        group: &str,
        code: i16,
        message: Option<String>,
        what: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        if matches!(
            ErrorCode::from_code(code),
            Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress)
        ) {
            self.forget_coordinator(group);
        }
        ClientError::check(code, message, what)
    }

    /// What a group has committed: of these partitions, or of all.
    pub fn committed(
        &mut self,
        group: &str,
        partitions: Option<&[Place]>,
    ) -> Result<BTreeMap<Place, Committed>, ClientError> {
        let timeout = self.config.request_timeout;
        let topics = partitions.map(|keys| by_topic(keys.iter().map(|key| (key.clone(), ()))));
        self.retry(|client| {
            let response = client
                .call_coordinator(group, timeout, |version| offset_fetch_request(group, topics.as_ref(), version))?;
            let (code, partitions) = flatten(response);
            client.check_group(group, code, None, || format!("the offsets of group '{group}'"))?;
            let mut found = BTreeMap::new();
            for ((topic, index), code, committed) in partitions {
                ClientError::check(code, None, || format!("the offset of group '{group}' in {topic}-{index}"))?;
                if committed.offset >= 0 {
                    found.insert((topic, index), committed);
                }
            }
            Ok(found)
        })
    }

    /// Commits offsets for a group without members.
    pub fn commit_as_operator(&mut self, group: &str, offsets: &BTreeMap<Place, i64>) -> Result<(), ClientError> {
        self.retry(|client| client.commit(group, -1, "", None, offsets))
    }

    pub(crate) fn commit(
        &mut self,
        group: &str,
        generation: i32,
        member_id: &str,
        instance_id: Option<&str>,
        offsets: &BTreeMap<Place, i64>,
    ) -> Result<(), ClientError> {
        let timeout = self.config.request_timeout;
        let topics: Vec<OffsetCommitRequestTopic> =
            by_topic(offsets.iter().map(|(key, offset)| (key.clone(), *offset)))
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic {
                    name,
                    partitions: partitions.into_iter().map(|(index, offset)| commit_of(index, offset)).collect(),
                    ..OffsetCommitRequestTopic::default()
                })
                .collect();
        let response = self.call_coordinator(group, timeout, |_| OffsetCommitRequest {
            group_id: group.to_string(),
            generation_id_or_member_epoch: generation,
            member_id: member_id.to_string(),
            group_instance_id: instance_id.map(str::to_string),
            topics: topics.clone(),
            ..OffsetCommitRequest::default()
        })?;
        for topic in response.topics {
            for partition in topic.partitions {
                let what =
                    || format!("committing the offset of {}-{} for '{group}'", topic.name, partition.partition_index);
                self.check_group(group, partition.error_code, None, what)?;
            }
        }
        Ok(())
    }

    /// Each partition's offset for a special timestamp or a time, with that record's timestamp; -1 where there is none.
    pub fn list_offsets(
        &mut self,
        isolation: Isolation,
        wanted: &[(String, i32, i64)],
    ) -> Result<BTreeMap<Place, (i64, i64)>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<(Place, i64)>> = BTreeMap::new();
        for (topic, partition, timestamp) in wanted {
            let leader = self.leader(topic, *partition)?;
            by_leader.entry(leader).or_default().push(((topic.clone(), *partition), *timestamp));
        }
        let mut found = BTreeMap::new();
        let timeout = self.config.request_timeout;
        for (leader, wanted) in by_leader {
            let topics: Vec<ListOffsetsTopic> = by_topic(wanted)
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic {
                    name,
                    partitions: partitions.into_iter().map(|(index, timestamp)| lookup(index, timestamp)).collect(),
                })
                .collect();
            let response = self.call_for(leader, Purpose::Data, timeout, |version| ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(isolation == Isolation::ReadCommitted),
                topics: topics.clone(),
                timeout_ms: if version >= 10 { ADMIN_TIMEOUT_MS } else { 0 },
            })?;
            for topic in response.topics {
                for partition in topic.partitions {
                    let index = partition.partition_index;
                    if partition.error_code != ErrorCode::None as i16 {
                        self.forget_topic(&topic.name);
                    }
                    let what = || format!("looking up an offset of {}-{index}", topic.name);
                    ClientError::check(partition.error_code, None, what)?;
                    found.insert((topic.name.clone(), index), (partition.offset, partition.timestamp));
                }
            }
        }
        Ok(found)
    }

    /// The offset of each place.
    pub(crate) fn resolve_offsets(
        &mut self,
        isolation: Isolation,
        places: &[(String, i32, OffsetSpec)],
    ) -> Result<BTreeMap<Place, i64>, ClientError> {
        let mut resolved = BTreeMap::new();
        let mut wanted = Vec::new();
        for (topic, partition, place) in places {
            let timestamp = match place {
                OffsetSpec::At(offset) => {
                    resolved.insert((topic.clone(), *partition), *offset);
                    continue;
                }
                OffsetSpec::Earliest => EARLIEST,
                OffsetSpec::Latest => LATEST,
                OffsetSpec::MaxTimestamp => MAX_TIMESTAMP,
                OffsetSpec::Timestamp(timestamp_ms) => *timestamp_ms,
            };
            wanted.push((topic.clone(), *partition, timestamp));
        }
        let mut beyond_the_end = Vec::new();
        for (key, (offset, _)) in self.list_offsets(isolation, &wanted)? {
            if offset < 0 {
                beyond_the_end.push((key.0, key.1, LATEST));
            } else {
                resolved.insert(key, offset);
            }
        }
        for (key, (offset, _)) in self.list_offsets(isolation, &beyond_the_end)? {
            resolved.insert(key, offset.max(0));
        }
        Ok(resolved)
    }

    /// The first offset and the end of each partition of some topics.
    pub fn log_bounds(
        &mut self,
        isolation: Isolation,
        partitions: &[Place],
    ) -> Result<BTreeMap<Place, (i64, i64)>, ClientError> {
        let at = |timestamp: i64| -> Vec<(String, i32, i64)> {
            partitions.iter().map(|(topic, partition)| (topic.clone(), *partition, timestamp)).collect()
        };
        let firsts = self.retry(|client| client.list_offsets(isolation, &at(EARLIEST)))?;
        let mut ends = self.retry(|client| client.list_offsets(isolation, &at(LATEST)))?;
        let bounds = firsts.into_iter().filter_map(|(key, (first, _))| {
            let (end, _) = ends.remove(&key)?;
            Some((key, (first, end)))
        });
        Ok(bounds.collect())
    }
}

fn commit_of(partition_index: i32, committed_offset: i64) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(String::new()),
    }
}

fn lookup(partition_index: i32, timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition { partition_index, current_leader_epoch: -1, timestamp }
}

/// Asks one group's offsets, in the form of the version.
fn offset_fetch_request(
    group: &str,
    topics: Option<&BTreeMap<String, Vec<(i32, ())>>>,
    version: i16,
) -> OffsetFetchRequest {
    let indexes = |partitions: &[(i32, ())]| partitions.iter().map(|&(index, ())| index).collect();
    if version < OFFSET_FETCH_BATCHED_SINCE {
        let one = |(name, partitions): (&String, &Vec<(i32, ())>)| OffsetFetchRequestTopic {
            name: name.clone(),
            partition_indexes: indexes(partitions),
        };
        let topics = topics.map(|topics| topics.iter().map(one).collect());
        return OffsetFetchRequest { group_id: group.to_string(), topics, ..OffsetFetchRequest::default() };
    }
    let one = |(name, partitions): (&String, &Vec<(i32, ())>)| OffsetFetchRequestTopics {
        name: name.clone(),
        partition_indexes: indexes(partitions),
        ..OffsetFetchRequestTopics::default()
    };
    let topics = topics.map(|topics| topics.iter().map(one).collect());
    let asked = OffsetFetchRequestGroup { group_id: group.to_string(), topics, ..OffsetFetchRequestGroup::default() };
    OffsetFetchRequest { groups: vec![asked], ..OffsetFetchRequest::default() }
}

/// A group's error code and its partitions, from either form of the answer.
fn flatten(response: OffsetFetchResponse) -> (i16, Vec<(Place, i16, Committed)>) {
    let mut code = response.error_code;
    let mut partitions = Vec::new();
    for topic in response.topics {
        for p in topic.partitions {
            let committed = Committed {
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata.unwrap_or_default(),
            };
            partitions.push(((topic.name.clone(), p.partition_index), p.error_code, committed));
        }
    }
    for group in response.groups {
        code = group.error_code;
        for topic in group.topics {
            for p in topic.partitions {
                let committed = Committed {
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: p.metadata.unwrap_or_default(),
                };
                partitions.push(((topic.name.clone(), p.partition_index), p.error_code, committed));
            }
        }
    }
    (code, partitions)
}

/// Broker configs are that broker's own; an empty name means the cluster's defaults, which any broker knows.
fn broker_id(kind: ResourceKind, name: &str) -> Option<i32> {
    if kind == ResourceKind::Broker { name.parse().ok() } else { None }
}

fn empty_answer(what: String) -> ClientError {
    ClientError::Protocol { address: what, reason: "the answer does not contain what was asked for".to_string() }
}
