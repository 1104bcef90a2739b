//! What can go wrong, by whose fault it is. The handlers turn `CommandError` into Kafka's codes.

use coretide_model::TopicId;
use coretide_model::config::ConfigError;

/// Why one item of a command was refused. The text is meant for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The name is not a legal topic name or collides with another.
    #[error("{0}")]
    InvalidName(String),
    /// The name belongs to the broker itself.
    #[error("topic '{0}' is managed by the broker and cannot be changed by clients")]
    Reserved(String),
    #[error("topic '{0}' already exists")]
    TopicExists(String),
    #[error("this cluster has no topic or partition '{0}'")]
    UnknownTopic(String),
    #[error("this cluster has no topic with the id {0}")]
    UnknownTopicId(TopicId),
    #[error("{0}")]
    InvalidPartitions(String),
    #[error("{0}")]
    InvalidReplicationFactor(String),
    #[error("{0}")]
    InvalidAssignment(String),
    #[error("{0}")]
    InvalidConfig(String),
    #[error("{0}")]
    InvalidRequest(String),
    /// A named limit would be exceeded.
    #[error("{0}")]
    LimitReached(String),
    #[error("topics cannot be deleted while delete.topic.enable is false")]
    DeletionDisabled,
    /// The metadata log failed; nothing changes any more until a restart.
    #[error("the metadata log is offline after a failed write; the broker must be restarted")]
    Offline,
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> CommandError {
        CommandError::InvalidConfig(error.to_string())
    }
}

/// A log that contradicts itself. The broker must not start on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("the metadata log creates topic '{0}' twice under different ids")]
    NameTaken(String),
    #[error("the metadata log gives id {0} to two topics")]
    IdTaken(TopicId),
    #[error("the metadata log speaks of topic id {0} before it creates it")]
    NoSuchTopic(TopicId),
    #[error("the metadata log configures topic '{0}' before it creates it")]
    NoSuchName(String),
    #[error("the metadata log creates partition {partition} of topic id {topic_id} out of order")]
    PartitionGap { topic_id: TopicId, partition: i32 },
}
