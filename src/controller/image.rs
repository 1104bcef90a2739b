//! The state that records make: every shard holds one, and only records change it.
//! Must not touch: commands, checks of what clients ask.

use crate::error::ReplayError;
use crate::names;
use crate::record::{Record, ResourceType};
use coretide_model::config::{ConfigError, ConfigMap};
use coretide_model::{BrokerConfig, TopicConfig, TopicId};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    pub leader: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub replicas: Vec<i32>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub id: TopicId,
    /// Clients may not write to it.
    pub internal: bool,
    /// By partition index.
    pub partitions: Vec<PartitionImage>,
    /// What was set for this topic alone.
    pub overrides: ConfigMap,
    /// What holds for it.
    pub config: Arc<TopicConfig>,
}

/// What a delta meant, after it was applied as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    TopicCreated(Arc<TopicImage>),
    /// Partitions from `first` on are new.
    PartitionsAdded {
        topic: Arc<TopicImage>,
        first: i32,
    },
    /// Its overrides or its effective configuration changed.
    TopicConfigured(Arc<TopicImage>),
    /// The topic as it was.
    TopicDeleted(Arc<TopicImage>),
    BrokerConfigured(Arc<BrokerConfig>),
}

/// Everything that the metadata log says.
#[derive(Clone, Debug)]
pub struct Image {
    topics: BTreeMap<TopicId, Arc<TopicImage>>,
    by_name: BTreeMap<Arc<str>, TopicId>,
    by_collision_form: BTreeMap<String, TopicId>,
    partition_count: usize,
    /// Brokers, groups and client-metrics subscriptions; a topic carries its own.
    configs: BTreeMap<(ResourceType, String), ConfigMap>,
    next_producer_id: i64,
    broker: Arc<BrokerConfig>,
    /// What holds for topics without overrides; all of them share it.
    plain: Arc<TopicConfig>,
    refused_dynamic: Option<ConfigError>,
}

impl Image {
    /// A cluster without topics, and the broker's static configuration.
    pub fn new(broker: BrokerConfig) -> Image {
        Image {
            topics: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_collision_form: BTreeMap::new(),
            partition_count: 0,
            configs: BTreeMap::new(),
            next_producer_id: 0,
            plain: Arc::new(broker.topic(&ConfigMap::new())),
            broker: Arc::new(broker),
            refused_dynamic: None,
        }
    }

    /// The broker's configuration with everything dynamic in it.
    pub fn broker(&self) -> &Arc<BrokerConfig> {
        &self.broker
    }

    /// Why stored dynamic broker values are not in force, if they contradict the static ones.
    pub fn refused_dynamic(&self) -> Option<&ConfigError> {
        self.refused_dynamic.as_ref()
    }

    /// The topic with that id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// The topic with that name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name).and_then(|id| self.topics.get(id))
    }

    /// A topic whose name differs only in '.' and '_'.
    pub fn colliding(&self, name: &str) -> Option<&Arc<TopicImage>> {
        let form = names::collision_form(name)?;
        self.by_collision_form.get(&form).and_then(|id| self.topics.get(id)).filter(|topic| &*topic.name != name)
    }

    /// All topics in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.values().filter_map(|id| self.topics.get(id))
    }

    /// Topics in order of their names, from this name on.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        let range = (Bound::Included(name), Bound::Unbounded);
        self.by_name.range::<str, _>(range).filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The first producer id that nobody has been given.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// What is set for a broker, a group or a client-metrics subscription.
    pub fn config(&self, resource_type: ResourceType, name: &str) -> Option<&ConfigMap> {
        self.configs.get(&(resource_type, name.to_string()))
    }

    /// The names of the resources of a kind that have configuration, topics excepted.
    pub fn configured(&self, resource_type: ResourceType) -> impl Iterator<Item = &str> {
        let range = (resource_type, String::new())..;
        self.configs.range(range).take_while(move |((kind, _), _)| *kind == resource_type).map(|((_, name), _)| &**name)
    }

    /// Applies records as one step and says what they meant. After an error the image is unusable.
    pub fn apply(&mut self, records: &[Record]) -> Result<Vec<Change>, ReplayError> {
        let mut before: BTreeMap<TopicId, Option<Arc<TopicImage>>> = BTreeMap::new();
        let mut broker_changed = false;
        for record in records {
            if let Some(id) = self.touched(record) {
                let topics = &self.topics;
                before.entry(id).or_insert_with(|| topics.get(&id).cloned());
            }
            match record {
                Record::Topic { name, topic_id } => self.add_topic(name, *topic_id)?,
                Record::Partition { .. } => self.add_partition(record)?,
                Record::RemoveTopic { topic_id } => self.remove_topic(*topic_id)?,
                Record::ProducerIds { next_producer_id, .. } => {
                    self.next_producer_id = self.next_producer_id.max(*next_producer_id);
                }
                Record::Config { resource_type, resource_name, name, value } => {
                    broker_changed |= *resource_type == ResourceType::Broker;
                    self.set_config(*resource_type, resource_name, name, value.as_deref())?;
                }
            }
        }
        let mut changes = Vec::new();
        if broker_changed && self.refresh_broker() {
            changes.push(Change::BrokerConfigured(self.broker.clone()));
            for (id, topic) in &self.topics {
                before.entry(*id).or_insert_with(|| Some(topic.clone()));
            }
        }
        for (id, old) in before {
            self.refresh_topic(id);
            changes.extend(difference(old, self.topics.get(&id).cloned()));
        }
        Ok(changes)
    }

    /// The topic that a record is about, if it is about one.
    fn touched(&self, record: &Record) -> Option<TopicId> {
        match record {
            Record::Topic { topic_id, .. } | Record::Partition { topic_id, .. } | Record::RemoveTopic { topic_id } => {
                Some(*topic_id)
            }
            Record::Config { resource_type: ResourceType::Topic, resource_name, .. } => {
                self.by_name.get(resource_name.as_str()).copied()
            }
            Record::Config { .. } | Record::ProducerIds { .. } => None,
        }
    }

    /// A snapshot repeats what is already known, so the same topic may come again.
    fn add_topic(&mut self, name: &str, id: TopicId) -> Result<(), ReplayError> {
        match (self.topics.get(&id), self.by_name.get(name)) {
            (Some(topic), Some(known)) if &*topic.name == name && *known == id => return Ok(()),
            (Some(_), _) => return Err(ReplayError::IdTaken(id)),
            (None, Some(_)) => return Err(ReplayError::NameTaken(name.to_string())),
            (None, None) => {}
        }
        let name: Arc<str> = name.into();
        if let Some(form) = names::collision_form(&name) {
            self.by_collision_form.insert(form, id);
        }
        self.by_name.insert(name.clone(), id);
        let topic = TopicImage {
            internal: names::is_internal(&name),
            name,
            id,
            partitions: Vec::new(),
            overrides: ConfigMap::new(),
            config: self.plain.clone(),
        };
        self.topics.insert(id, Arc::new(topic));
        Ok(())
    }

    fn add_partition(&mut self, record: &Record) -> Result<(), ReplayError> {
        let Record::Partition { topic_id, partition, replicas, leader, leader_epoch, partition_epoch } = record else {
            unreachable!("the caller matched")
        };
        let topic = self.topics.get_mut(topic_id).ok_or(ReplayError::NoSuchTopic(*topic_id))?;
        let gap = ReplayError::PartitionGap { topic_id: *topic_id, partition: *partition };
        let at = usize::try_from(*partition).map_err(|_| gap.clone())?;
        let image = PartitionImage {
            leader: *leader,
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
            replicas: replicas.clone(),
        };
        let partitions = &mut Arc::make_mut(topic).partitions;
        match at.cmp(&partitions.len()) {
            std::cmp::Ordering::Less => partitions[at] = image,
            std::cmp::Ordering::Equal => {
                partitions.push(image);
                self.partition_count += 1;
            }
            std::cmp::Ordering::Greater => return Err(gap),
        }
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), ReplayError> {
        let topic = self.topics.remove(&id).ok_or(ReplayError::NoSuchTopic(id))?;
        self.by_name.remove(&topic.name);
        if let Some(form) = names::collision_form(&topic.name) {
            self.by_collision_form.remove(&form);
        }
        self.partition_count -= topic.partitions.len();
        Ok(())
    }

    fn set_config(
        &mut self,
        resource_type: ResourceType,
        resource_name: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ReplayError> {
        let resource = (resource_type, resource_name.to_string());
        let map = if resource_type == ResourceType::Topic {
            let topic = self.by_name.get(resource_name).and_then(|id| self.topics.get_mut(id));
            &mut Arc::make_mut(topic.ok_or_else(|| ReplayError::NoSuchName(resource_name.to_string()))?).overrides
        } else {
            self.configs.entry(resource.clone()).or_default()
        };
        match value {
            Some(value) => map.insert(name.to_string(), value.to_string()),
            None => map.remove(name),
        };
        if self.configs.get(&resource).is_some_and(ConfigMap::is_empty) {
            self.configs.remove(&resource);
        }
        Ok(())
    }

    /// True if the broker's effective configuration is another one now.
    fn refresh_broker(&mut self) -> bool {
        let map = |name: String| self.configs.get(&(ResourceType::Broker, name)).cloned().unwrap_or_default();
        let (default, own) = (map(String::new()), map(self.broker.node_id.to_string()));
        match self.broker.with_dynamic(default, own) {
            Ok(broker) => {
                self.refused_dynamic = None;
                let changed = broker != *self.broker;
                self.plain = Arc::new(broker.topic(&ConfigMap::new()));
                self.broker = Arc::new(broker);
                changed
            }
            Err(error) => {
                self.refused_dynamic = Some(error);
                false
            }
        }
    }

    fn refresh_topic(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let config = match topic.overrides.is_empty() {
            true => self.plain.clone(),
            false => Arc::new(self.broker.topic(&topic.overrides)),
        };
        if config != topic.config {
            Arc::make_mut(topic).config = config;
        }
    }

    /// The records that make this image out of an empty one.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for topic in self.topics() {
            let resource_name = topic.name.to_string();
            records.push(Record::Topic { name: resource_name.clone(), topic_id: topic.id });
            records.extend(topic.partitions.iter().zip(0..).map(|(image, partition)| Record::Partition {
                topic_id: topic.id,
                partition,
                replicas: image.replicas.clone(),
                leader: image.leader,
                leader_epoch: image.leader_epoch,
                partition_epoch: image.partition_epoch,
            }));
            let resource = (ResourceType::Topic, resource_name);
            records.extend(config_records(&resource, &topic.overrides));
        }
        for (resource, map) in &self.configs {
            records.extend(config_records(resource, map));
        }
        if self.next_producer_id > 0 {
            let (broker_id, next_producer_id) = (self.broker.node_id, self.next_producer_id);
            records.push(Record::ProducerIds { broker_id, next_producer_id });
        }
        records
    }
}

fn config_records<'a>(
    resource: &'a (ResourceType, String),
    map: &'a ConfigMap,
) -> impl Iterator<Item = Record> + use<'a> {
    map.iter().map(|(name, value)| Record::Config {
        resource_type: resource.0,
        resource_name: resource.1.clone(),
        name: name.clone(),
        value: Some(value.clone()),
    })
}

fn difference(old: Option<Arc<TopicImage>>, new: Option<Arc<TopicImage>>) -> Vec<Change> {
    match (old, new) {
        (None, Some(new)) => vec![Change::TopicCreated(new)],
        (Some(old), None) => vec![Change::TopicDeleted(old)],
        (None, None) => Vec::new(),
        (Some(old), Some(new)) => {
            let mut changes = Vec::new();
            if old.overrides != new.overrides || old.config != new.config {
                changes.push(Change::TopicConfigured(new.clone()));
            }
            if old.partitions.len() < new.partitions.len() {
                changes.push(Change::PartitionsAdded { first: old.partitions.len() as i32, topic: new });
            }
            changes
        }
    }
}
