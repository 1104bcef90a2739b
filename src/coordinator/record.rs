//! The records of `__consumer_offsets` as types. Their bytes (Kafka's OffsetCommitKey/Value and GroupMetadataKey/Value)
//! are made and read by `shard/groups`. Must never touch: the wire format.

use bytes::Bytes;
use coretide_model::TopicId;
use std::sync::Arc;

/// One record; `None` as a value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A committed offset.
    Offset { group: Arc<str>, topic: Arc<str>, partition: i32, value: Option<OffsetValue> },
    /// A group's generation with its members and their assignments.
    Group { group: Arc<str>, value: Option<Arc<GroupValue>> },
}

impl Record {
    /// The group it belongs to.
    pub fn group(&self) -> &Arc<str> {
        match self {
            Record::Offset { group, .. } | Record::Group { group, .. } => group,
        }
    }

    /// Roughly the bytes it takes in a batch.
    pub(crate) fn approximate_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 64;
        OVERHEAD_BYTES
            + match self {
                Record::Offset { group, topic, value, .. } => {
                    group.len() + topic.len() + value.as_ref().map_or(0, |v| v.metadata.len())
                }
                Record::Group { group, value } => {
                    group.len()
                        + value.as_ref().map_or(0, |v| v.members.iter().map(MemberValue::approximate_bytes).sum())
                }
            }
    }
}

/// A committed offset (OffsetCommitValue).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: Arc<str>,
    /// Wall clock of the commit.
    pub commit_timestamp_ms: i64,
    /// Set by OffsetCommit v2-v4 with a retention time: then it alone decides when the offset goes.
    pub expire_timestamp_ms: Option<i64>,
    /// The topic's id at the commit, or zero when not known. An offset of an earlier topic of that name is dropped.
    pub topic_id: TopicId,
}

/// A group's stored generation (GroupMetadataValue).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupValue {
    /// `consumer`, `connect`...; empty for groups that only commit.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    /// The chosen protocol; none while there are no members.
    pub protocol: Option<Arc<str>>,
    /// The leader's member id; none while there are no members.
    pub leader: Option<Arc<str>>,
    /// When the group entered its state, or -1 in old records.
    pub current_state_timestamp_ms: i64,
    pub members: Vec<MemberValue>,
}

/// One member of a stored generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// -1 in the oldest records, which means the session timeout.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl MemberValue {
    fn approximate_bytes(&self) -> usize {
        self.member_id.len()
            + self.client_id.len()
            + self.client_host.len()
            + self.subscription.len()
            + self.assignment.len()
            + 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_counts_every_name_note_and_byte_once() {
        let value = OffsetValue {
            offset: 1,
            leader_epoch: 2,
            metadata: "note".into(),
            commit_timestamp_ms: 3,
            expire_timestamp_ms: None,
            topic_id: TopicId::ZERO,
        };
        let offset = |value| Record::Offset { group: "group".into(), topic: "topic-7".into(), partition: 0, value };
        assert_eq!(offset(None).approximate_bytes(), 64 + 5 + 7);
        assert_eq!(offset(Some(value)).approximate_bytes(), 64 + 5 + 7 + 4);
        let member = MemberValue {
            member_id: "0123456789".into(),
            group_instance_id: None,
            client_id: "012345".into(),
            client_host: "0123456".into(),
            rebalance_timeout_ms: 1,
            session_timeout_ms: 1,
            subscription: Bytes::from(vec![0; 300]),
            assignment: Bytes::from(vec![0; 2000]),
        };
        let value = GroupValue {
            protocol_type: "consumer".into(),
            generation: 1,
            protocol: None,
            leader: None,
            current_state_timestamp_ms: -1,
            members: vec![member.clone(), member],
        };
        let group = Record::Group { group: "group".into(), value: Some(Arc::new(value)) };
        assert_eq!(group.approximate_bytes(), 64 + 5 + 2 * (10 + 6 + 7 + 300 + 2000 + 32));
    }
}
