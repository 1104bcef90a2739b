//! One member of a classic group. Must never touch: the group it is in, timers.

use crate::command::{Protocol, Token};
use crate::record::MemberValue;
use bytes::Bytes;
use std::sync::Arc;

/// A member, dynamic or static (with a group instance id, KIP-345).
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// Has not completed a join phase yet: it does not know its id and sends no heartbeats.
    pub is_new: bool,
    /// A parked JoinGroup.
    pub awaiting_join: Option<Token>,
    /// A parked SyncGroup.
    pub awaiting_sync: Option<Token>,
    /// When the session ends; none while a parked request of an old member stands for it.
    pub session_deadline_us: Option<u64>,
    /// Where its timer stands in the table: at the deadline or before it.
    pub timer_at_us: Option<u64>,
}

impl Member {
    /// The metadata for a protocol; empty when the member does not know it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|p| &*p.name == protocol).map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// Roughly the bytes its protocols hold.
    pub fn protocols_bytes(&self) -> usize {
        protocols_bytes(&self.protocols)
    }

    /// A parked request of a known member stands for its heartbeat.
    pub fn is_session_satisfied(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// As stored, with the metadata for the chosen protocol and the given assignment.
    pub fn to_value(&self, protocol: &str, assignment: Bytes) -> MemberValue {
        MemberValue {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    /// A stored member after a restart: its session starts anew.
    pub fn from_value(value: &MemberValue, protocol: Option<&Arc<str>>) -> Member {
        Member {
            id: value.member_id.clone(),
            instance_id: value.group_instance_id.clone(),
            client_id: value.client_id.clone(),
            client_host: value.client_host.clone(),
            rebalance_timeout_ms: match value.rebalance_timeout_ms {
                ..0 => value.session_timeout_ms,
                known => known,
            },
            session_timeout_ms: value.session_timeout_ms,
            protocols: protocol
                .map(|name| Protocol { name: name.clone(), metadata: value.subscription.clone() })
                .into_iter()
                .collect(),
            assignment: value.assignment.clone(),
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
            session_deadline_us: None,
            timer_at_us: None,
        }
    }
}

/// Roughly the bytes that protocols hold.
pub(crate) fn protocols_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum()
}
