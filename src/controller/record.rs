//! What the metadata log says, as typed values, one for each of Kafka's record types that are used. The shard turns
//! them into Kafka's bytes and back.
//! Must not touch: bytes.

use coretide_model::TopicId;

/// Kinds of resources that carry configuration (`ConfigResource.Type`, KIP-133, KIP-714, KIP-1043).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    /// The kind with that number.
    pub const fn from_code(code: i8) -> Option<ResourceType> {
        Some(match code {
            2 => ResourceType::Topic,
            4 => ResourceType::Broker,
            8 => ResourceType::BrokerLogger,
            16 => ResourceType::ClientMetrics,
            32 => ResourceType::Group,
            _ => return None,
        })
    }

    /// The number on the wire and in the log.
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// One change of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `TopicRecord`: a topic exists.
    Topic { name: String, topic_id: TopicId },
    /// `PartitionRecord`: a partition exists. Partitions of a topic follow each other from 0.
    Partition {
        topic_id: TopicId,
        partition: i32,
        replicas: Vec<i32>,
        leader: i32,
        leader_epoch: i32,
        partition_epoch: i32,
    },
    /// `ConfigRecord`: a key of a resource has this value, or none any more.
    Config { resource_type: ResourceType, resource_name: String, name: String, value: Option<String> },
    /// `RemoveTopicRecord`: the topic, its partitions and its configuration are gone.
    RemoveTopic { topic_id: TopicId },
    /// `ProducerIdsRecord`: ids below this one have been handed out.
    ProducerIds { broker_id: i32, next_producer_id: i64 },
}

/// Records that are appended together and become visible together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Counts the deltas of this process's life from 1; 1 is the whole state found at boot.
    pub revision: u64,
    pub records: Vec<Record>,
    /// With the state found at boot: topics of which the log says that they were deleted. What is left of them may go.
    pub removed: Vec<TopicId>,
}
