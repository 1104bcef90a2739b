//! What answers about the cluster are made from, and the tables from typed errors to Kafka's codes.
//! Must not touch: single requests.

use super::Head;
use crate::shard::Shard;
use coretide_controller::{CommandError, Image, PartitionImage, TopicImage, names};
use coretide_model::ErrorCode;
use std::sync::Arc;

/// Every operation on a topic, as a mask (`AclEntry.supportedOperations`): without an authorizer all are allowed.
pub(crate) const TOPIC_OPERATIONS: i32 =
    operations(&[READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS]);
/// Every operation on the cluster, as a mask.
pub(crate) const CLUSTER_OPERATIONS: i32 =
    operations(&[CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE]);

const READ: u32 = 3;
const WRITE: u32 = 4;
const CREATE: u32 = 5;
const DELETE: u32 = 6;
const ALTER: u32 = 7;
const DESCRIBE: u32 = 8;
const CLUSTER_ACTION: u32 = 9;
const DESCRIBE_CONFIGS: u32 = 10;
const ALTER_CONFIGS: u32 = 11;
const IDEMPOTENT_WRITE: u32 = 12;

const fn operations(codes: &[u32]) -> i32 {
    let (mut mask, mut at) = (0, 0);
    while at < codes.len() {
        mask |= 1 << codes[at];
        at += 1;
    }
    mask
}

/// The cluster as a client of one listener sees it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub image: &'a Image,
    pub cluster_id: &'a str,
    /// Where clients of this listener reach the broker.
    pub host: &'a str,
    pub port: u16,
}

impl<'a> View<'a> {
    /// What the client of this request sees.
    pub fn of(shard: &'a Shard, head: &Head) -> View<'a> {
        let listener = &shard.config.broker.listeners[usize::from(head.listener.0)];
        let (host, port) = match &listener.advertised {
            Some((host, port)) => (host.as_str(), *port),
            // All addresses and no name for them: only clients on this machine can be told one that works.
            None => ("localhost", listener.port),
        };
        View { image: &shard.image, cluster_id: &shard.config.cluster_id, host, port }
    }

    pub fn node_id(&self) -> i32 {
        self.image.broker().node_id
    }

    pub fn rack(&self) -> Option<String> {
        self.image.broker().rack.clone()
    }

    /// The topic of that name, or why there is none: an unknown name or one that no topic can have.
    pub fn topic(&self, name: &str) -> Result<&'a Arc<TopicImage>, ErrorCode> {
        self.image.topic_named(name).ok_or_else(|| match names::check_name(name) {
            Ok(()) => ErrorCode::UnknownTopicOrPartition,
            Err(_) => ErrorCode::InvalidTopicException,
        })
    }
}

/// The replicas of a partition that are in sync: with one broker, all.
pub(crate) fn in_sync(partition: &PartitionImage) -> Vec<i32> {
    partition.replicas.clone()
}

/// The code that a client sees for a refused change.
pub(crate) const fn code(error: &CommandError) -> ErrorCode {
    match error {
        CommandError::InvalidName(_) => ErrorCode::InvalidTopicException,
        CommandError::Reserved(_) => ErrorCode::TopicAuthorizationFailed,
        CommandError::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        CommandError::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
        CommandError::UnknownTopicId(_) => ErrorCode::UnknownTopicId,
        CommandError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        CommandError::InvalidReplicationFactor(_) => ErrorCode::InvalidReplicationFactor,
        CommandError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
        CommandError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        CommandError::InvalidRequest(_) => ErrorCode::InvalidRequest,
        CommandError::LimitReached(_) => ErrorCode::PolicyViolation,
        CommandError::DeletionDisabled => ErrorCode::TopicDeletionDisabled,
        CommandError::Offline => ErrorCode::KafkaStorageError,
    }
}

/// Code and message of an item; no message without an error.
pub(crate) fn outcome<T>(item: &Result<T, CommandError>) -> (i16, Option<String>) {
    match item {
        Ok(_) => (ErrorCode::None as i16, None),
        Err(error) => (code(error) as i16, Some(error.to_string())),
    }
}
