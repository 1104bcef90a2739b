//! CreateTopics and automatic creation (`ReplicationControlManager.createTopics`).

use crate::command::{CreatedTopic, NewTopic};
use crate::error::CommandError;
use crate::machine::{Controller, MAX_PARTITIONS_PER_REQUEST};
use crate::names;
use crate::record::{Record, ResourceType};
use coretide_model::TopicId;
use coretide_model::config::key::Scope;
use coretide_model::config::{ConfigMap, check, describe, topic};
use std::collections::{BTreeMap, BTreeSet};

/// Smallest segment that a topic may have (`segment.bytes`).
const MIN_SEGMENT_BYTES: i32 = 1_048_576;

/// A new topic after all checks.
struct Plan {
    num_partitions: usize,
    replication_factor: i16,
    overrides: ConfigMap,
}

impl Controller {
    pub(crate) fn create_topics(
        &mut self,
        topics: Vec<NewTopic>,
        validate_only: bool,
        records: &mut Vec<Record>,
    ) -> Vec<Result<CreatedTopic, CommandError>> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        topics.iter().for_each(|topic| *times.entry(&topic.name).or_default() += 1);
        let repeated: BTreeSet<String> =
            times.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_string()).collect();
        let wanted: usize = topics.iter().map(|topic| self.wanted_partitions(topic)).fold(0, usize::saturating_add);
        if wanted > MAX_PARTITIONS_PER_REQUEST {
            let text =
                format!("{wanted} partitions in one request are too many: {MAX_PARTITIONS_PER_REQUEST} are allowed");
            return topics.iter().map(|_| Err(CommandError::LimitReached(text.clone()))).collect();
        }
        // A request that only validates must still see collisions among its own topics.
        let mut seen_forms: BTreeMap<String, String> = BTreeMap::new();
        let create = |topic: NewTopic| {
            if repeated.contains(&topic.name) {
                return Err(CommandError::InvalidRequest(format!("topic '{}' is named twice", topic.name)));
            }
            let plan = self.plan(&topic)?;
            if let Some(form) = names::collision_form(&topic.name)
                && let Some(other) = seen_forms.insert(form, topic.name.clone())
            {
                return Err(collision(&topic.name, &other));
            }
            Ok(self.create(&topic.name, plan, validate_only, records))
        };
        topics.into_iter().map(create).collect()
    }

    /// How many partitions the request asks for, however wrong it may be otherwise.
    fn wanted_partitions(&self, topic: &NewTopic) -> usize {
        if !topic.assignments.is_empty() {
            return topic.assignments.len();
        }
        let default = self.image.broker().topics.num_partitions;
        let count = if topic.num_partitions == -1 { default } else { topic.num_partitions };
        usize::try_from(count).unwrap_or(0)
    }

    fn plan(&self, topic: &NewTopic) -> Result<Plan, CommandError> {
        names::check_name(&topic.name)?;
        if topic.name == names::CLUSTER_METADATA {
            return Err(CommandError::Reserved(topic.name.clone()));
        }
        if self.image.topic_named(&topic.name).is_some() {
            return Err(CommandError::TopicExists(topic.name.clone()));
        }
        if let Some(other) = self.image.colliding(&topic.name) {
            return Err(collision(&topic.name, &other.name));
        }
        let overrides = self.check_overrides(&topic.configs)?;
        let (num_partitions, replication_factor) =
            if topic.assignments.is_empty() { self.plan_counts(topic)? } else { self.plan_assignment(topic)? };
        self.check_room(1, num_partitions)?;
        Ok(Plan { num_partitions, replication_factor, overrides })
    }

    /// The named limits of topics and partitions.
    pub(crate) fn check_room(&self, topics: usize, partitions: usize) -> Result<(), CommandError> {
        let limits = &self.image.broker().topics;
        let refuse = |what: &str, limit: usize, key: &str| {
            Err(CommandError::LimitReached(format!("the limit of {limit} {what} ({key}) would be exceeded")))
        };
        if self.image.topic_count() + topics > limits.max_topics {
            return refuse("topics", limits.max_topics, "coretide.max.topics");
        }
        if self.image.partition_count() + partitions > limits.max_partitions {
            return refuse("partitions", limits.max_partitions, "coretide.max.partitions");
        }
        Ok(())
    }

    fn check_overrides(&self, configs: &[(String, Option<String>)]) -> Result<ConfigMap, CommandError> {
        let mut overrides = ConfigMap::new();
        for (name, value) in configs {
            let Some(value) = value else {
                return Err(CommandError::InvalidConfig(format!("configuration {name} has no value")));
            };
            let (key, value) = check(Scope::Topic, name, value)?;
            overrides.insert(key.name.to_string(), value);
        }
        topic::check_together(&overrides, &self.image.broker().layers())?;
        Ok(overrides)
    }

    fn plan_counts(&self, topic: &NewTopic) -> Result<(usize, i16), CommandError> {
        let defaults = &self.image.broker().topics;
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            return Err(CommandError::InvalidReplicationFactor(
                "the replication factor must be positive, or -1 for the broker's default".to_string(),
            ));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            return Err(CommandError::InvalidPartitions(
                "the number of partitions must be positive, or -1 for the broker's default".to_string(),
            ));
        }
        let replicas = match topic.replication_factor {
            -1 => defaults.default_replication_factor,
            given => given,
        };
        if replicas > 1 {
            return Err(CommandError::InvalidReplicationFactor(format!(
                "a replication factor of {replicas} needs {replicas} brokers, and this cluster has 1"
            )));
        }
        let partitions = if topic.num_partitions == -1 { defaults.num_partitions } else { topic.num_partitions };
        Ok((usize::try_from(partitions).expect("checked to be positive"), replicas))
    }

    fn plan_assignment(&self, topic: &NewTopic) -> Result<(usize, i16), CommandError> {
        for (given, what) in [
            (i32::from(topic.replication_factor), "replication factor"),
            (topic.num_partitions, "number of partitions"),
        ] {
            if given != -1 {
                let text = format!("with an assignment of replicas the {what} must be -1");
                return Err(CommandError::InvalidRequest(text));
            }
        }
        let mut brokers_of: BTreeMap<i32, &[i32]> = BTreeMap::new();
        for (partition, brokers) in &topic.assignments {
            if brokers_of.insert(*partition, brokers).is_some() {
                let text = format!("partition {partition} is assigned twice");
                return Err(CommandError::InvalidAssignment(text));
            }
            self.check_brokers(*partition, brokers)?;
        }
        if brokers_of.keys().zip(0..).any(|(partition, expected)| *partition != expected) {
            return Err(CommandError::InvalidAssignment("partitions must be numbered from 0 without gaps".to_string()));
        }
        Ok((brokers_of.len(), 1))
    }

    /// The replicas of one partition: with one broker there is only one right answer.
    pub(crate) fn check_brokers(&self, partition: i32, brokers: &[i32]) -> Result<(), CommandError> {
        let node_id = self.image.broker().node_id;
        let refuse = |text: String| Err(CommandError::InvalidAssignment(text));
        if brokers.is_empty() {
            return refuse(format!("partition {partition} is assigned to no broker"));
        }
        if let Some(unknown) = brokers.iter().find(|id| **id != node_id) {
            return refuse(format!("partition {partition} is assigned to broker {unknown}, which does not exist"));
        }
        if brokers.len() > 1 {
            return refuse(format!("partition {partition} is assigned to broker {node_id} more than once"));
        }
        Ok(())
    }

    fn create(&mut self, name: &str, plan: Plan, validate_only: bool, records: &mut Vec<Record>) -> CreatedTopic {
        let configs = describe::topic(&plan.overrides, &self.image.broker().layers());
        let num_partitions = plan.num_partitions as i32;
        let mut created = CreatedTopic {
            topic_id: TopicId::ZERO,
            num_partitions,
            replication_factor: plan.replication_factor,
            configs,
        };
        if validate_only {
            return created;
        }
        let topic_id = self.new_topic_id();
        created.topic_id = topic_id;
        let mut made = vec![Record::Topic { name: name.to_string(), topic_id }];
        made.extend(self.partition_records(topic_id, 0..num_partitions));
        made.extend(plan.overrides.into_iter().map(|(key, value)| Record::Config {
            resource_type: ResourceType::Topic,
            resource_name: name.to_string(),
            name: key,
            value: Some(value),
        }));
        self.commit(made, records);
        created
    }

    pub(crate) fn partition_records(&self, topic_id: TopicId, range: std::ops::Range<i32>) -> Vec<Record> {
        let node_id = self.image.broker().node_id;
        let record = |partition| Record::Partition {
            topic_id,
            partition,
            replicas: vec![node_id],
            leader: node_id,
            leader_epoch: 0,
            partition_epoch: 0,
        };
        range.map(record).collect()
    }

    pub(crate) fn auto_create(
        &mut self,
        names: Vec<String>,
        records: &mut Vec<Record>,
    ) -> Vec<Result<(), CommandError>> {
        let mut left = MAX_PARTITIONS_PER_REQUEST;
        let create = |name: String| {
            if self.image.topic_named(&name).is_some() {
                return Ok(());
            }
            let topic = self.auto_topic(name);
            let plan = self.plan(&topic)?;
            left = left.checked_sub(plan.num_partitions).ok_or_else(|| {
                CommandError::LimitReached(format!("more than {MAX_PARTITIONS_PER_REQUEST} partitions at once"))
            })?;
            self.create(&topic.name, plan, false, records);
            Ok(())
        };
        names.into_iter().map(create).collect()
    }

    /// What a topic that nobody described looks like. The broker's own topics have settings of their own.
    fn auto_topic(&self, name: String) -> NewTopic {
        let mut topic =
            NewTopic { name, num_partitions: -1, replication_factor: -1, assignments: Vec::new(), configs: Vec::new() };
        if topic.name == names::CONSUMER_OFFSETS {
            let groups = &self.image.broker().groups;
            topic.num_partitions = groups.offsets_topic_num_partitions;
            // Kafka would refuse three replicas on one broker and no group could ever form.
            topic.replication_factor = groups.offsets_topic_replication_factor.min(1);
            let segment_bytes = groups.offsets_topic_segment_bytes.max(MIN_SEGMENT_BYTES).to_string();
            topic.configs = [("cleanup.policy", "compact"), ("compression.type", "producer")]
                .into_iter()
                .map(|(key, value)| (key.to_string(), Some(value.to_string())))
                .chain([("segment.bytes".to_string(), Some(segment_bytes))])
                .collect();
        }
        topic
    }
}

fn collision(name: &str, other: &str) -> CommandError {
    let text = format!("topic '{name}' collides with '{other}': '.' and '_' count as the same character");
    CommandError::InvalidName(text)
}
