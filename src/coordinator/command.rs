//! What a coordinator can be asked, and what it answers. No wire types: `shard/handlers` translates.

use crate::error::GroupError;
use bytes::Bytes;
use coretide_model::TopicId;
use std::sync::Arc;

/// The asker's own number for a command; comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A question to the coordinator of one `__consumer_offsets` partition. Each gets exactly one [`Reply`], now or later.
#[derive(Clone, Debug)]
pub enum Command {
    Join(Join),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    OffsetCommit(OffsetCommit),
    OffsetFetch(OffsetFetch),
    OffsetDelete(OffsetDelete),
    DeleteGroup { group: Arc<str> },
    DescribeGroup { group: Arc<str> },
    ListGroups,
}

/// JoinGroup.
#[derive(Clone, Debug)]
pub struct Join {
    pub group: Arc<str>,
    pub session_timeout_ms: i32,
    /// Below 0 (version 0 has none): the session timeout.
    pub rebalance_timeout_ms: i32,
    /// Empty for a new member.
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub protocol_type: Arc<str>,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Version 4 and later (KIP-394): a new dynamic member must come back with the id it is given.
    pub requires_known_member_id: bool,
    /// Version 9 and later (KIP-814).
    pub supports_skip_assignment: bool,
}

/// A way of assigning that a member offers, with its metadata for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug)]
pub struct Sync {
    pub group: Arc<str>,
    pub generation: i32,
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    /// Version 5 and later: must be the group's.
    pub protocol_type: Option<Arc<str>>,
    /// Version 5 and later: must be the chosen one.
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// Heartbeat.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: Arc<str>,
    pub generation: i32,
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
}

/// LeaveGroup.
#[derive(Clone, Debug)]
pub struct Leave {
    pub group: Arc<str>,
    /// Member id (empty: by instance id only) and instance id.
    pub members: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// OffsetCommit.
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    pub group: Arc<str>,
    /// -1 from a client that is no member.
    pub generation: i32,
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    /// Versions 2-4, where not -1.
    pub retention_ms: Option<i64>,
    pub topics: Vec<CommitTopic>,
}

/// A topic of a commit.
#[derive(Clone, Debug)]
pub struct CommitTopic {
    pub name: Arc<str>,
    /// Zero when the asker does not know it.
    pub topic_id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

/// A partition of a commit.
#[derive(Clone, Debug)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
    /// Set by the asker, who knows the topics; such a partition is not stored and answered with this.
    pub refused: Option<GroupError>,
}

/// OffsetFetch for one group.
#[derive(Clone, Debug)]
pub struct OffsetFetch {
    pub group: Arc<str>,
    /// None: every offset of the group.
    pub topics: Option<ByTopic<i32>>,
}

/// OffsetDelete.
#[derive(Clone, Debug)]
pub struct OffsetDelete {
    pub group: Arc<str>,
    /// Topics and their partitions; those of unknown topics come already refused.
    pub topics: ByTopic<PartitionResult>,
}

/// A partition and, where it was refused, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionResult {
    pub partition: i32,
    pub error: Option<GroupError>,
}

/// Something per partition, by topic.
pub type ByTopic<T> = Vec<(Arc<str>, Vec<T>)>;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Join(JoinReply),
    Sync(Result<SyncReply, GroupError>),
    Heartbeat(Result<(), GroupError>),
    /// Per member, in the order asked; an error at the top when nothing was looked at.
    Leave(Result<Vec<LeaveResult>, GroupError>),
    /// Topics and partitions in the order asked.
    OffsetCommit(ByTopic<PartitionResult>),
    OffsetFetch(Result<ByTopic<FetchedOffset>, GroupError>),
    /// Topics and partitions in the order asked; an error at the top when the group refuses all.
    OffsetDelete(Result<ByTopic<PartitionResult>, GroupError>),
    DeleteGroup(Result<(), GroupError>),
    DescribeGroup(Result<Description, GroupError>),
    ListGroups(Result<Vec<ListedGroup>, GroupError>),
}

/// The answer to JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReply {
    pub error: Option<GroupError>,
    /// -1 with an error.
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    /// Empty with an error.
    pub leader: Arc<str>,
    /// Only for a leader that must not compute an assignment (KIP-814).
    pub skip_assignment: bool,
    pub member_id: Arc<str>,
    /// All members for the leader, none for the others.
    pub members: Vec<JoinedMember>,
}

impl JoinReply {
    /// An answer that is an error.
    pub fn refused(member_id: Arc<str>, error: GroupError) -> JoinReply {
        JoinReply {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

/// The answer to SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReply {
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    pub assignment: Bytes,
}

/// What became of one member of a LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveResult {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub error: Option<GroupError>,
}

/// One partition of an OffsetFetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub partition: i32,
    /// -1: nothing was committed.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
}

/// A group's state as Kafka names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members; offsets may be there.
    Empty,
    /// Members are asked to join the next generation.
    PreparingRebalance,
    /// The generation is complete; the leader's assignment is awaited.
    CompletingRebalance,
    /// Every member has an assignment.
    Stable,
    /// Being deleted.
    Dead,
}

impl GroupState {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

/// The answer to DescribeGroups for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub state: GroupState,
    pub protocol_type: Arc<str>,
    /// The chosen protocol, only while stable.
    pub protocol_data: Arc<str>,
    pub members: Vec<DescribedMember>,
}

/// A member of a [`Description`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Only while stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A line of ListGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group: Arc<str>,
    pub protocol_type: Arc<str>,
    pub state: GroupState,
}
