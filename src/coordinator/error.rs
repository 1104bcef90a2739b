//! What can go wrong, as types. Must never touch: Kafka's numbers; `shard/groups` maps these to them.

use thiserror::Error;

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    #[error("the coordinator is still reading its log")]
    Loading,
    #[error("the coordinator cannot serve this group now")]
    NotAvailable,
    #[error("this is not the coordinator of the group any more")]
    NotCoordinator,
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the session timeout is outside the broker's bounds")]
    InvalidSessionTimeout,
    #[error("the group does not know this member")]
    UnknownMember,
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    #[error("the member's protocols do not fit the group's")]
    InconsistentProtocol,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("another member has taken over this group instance id")]
    FencedInstance,
    #[error("join again with the member id in this answer")]
    MemberIdRequired,
    #[error("the group is full")]
    GroupFull,
    #[error("the offset's metadata is too long")]
    OffsetMetadataTooLarge,
    #[error("the commit does not fit into one message")]
    CommitTooLarge,
    #[error("no such topic or partition")]
    UnknownTopicOrPartition,
    #[error("the group is not empty")]
    NonEmptyGroup,
    #[error("no such group")]
    GroupNotFound,
    #[error("the group is subscribed to the topic")]
    SubscribedToTopic,
    #[error("the group's metadata does not fit into one message")]
    GroupTooLarge,
}

/// Why the log refused a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    #[error("the records do not fit into one message")]
    TooLarge,
    #[error("the log cannot take writes now")]
    Unavailable,
    #[error("this broker does not lead the partition, or its storage failed")]
    NotLeader,
}

impl WriteError {
    /// What a group whose metadata could not be stored is told.
    pub(crate) fn for_group(self) -> GroupError {
        match self {
            WriteError::TooLarge => GroupError::GroupTooLarge,
            WriteError::Unavailable => GroupError::NotAvailable,
            WriteError::NotLeader => GroupError::NotCoordinator,
        }
    }

    /// What a commit that could not be stored is told.
    pub(crate) fn for_offsets(self) -> GroupError {
        match self {
            WriteError::TooLarge => GroupError::CommitTooLarge,
            other => other.for_group(),
        }
    }
}
