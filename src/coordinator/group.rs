//! One classic group: its members, its generation, its committed offsets, and the questions that need no side effects.
//! The phases of a rebalance are in `join`, `sync` and `membership`. Must never touch: replies, writes, other groups.

use crate::command::{DescribedMember, Description, GroupState, JoinReply, JoinedMember, Protocol, SyncReply};
use crate::config::GroupConfig;
use crate::error::GroupError;
use crate::member::Member;
use crate::record::{GroupValue, MemberValue, OffsetValue, Record};
use crate::subscription;
use crate::timers::Timers;
use crate::writes::{Effects, Writes};
use bytes::Bytes;
use coretide_model::Now;
use coretide_stdx::prng::Prng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a group may use besides itself during one call.
pub(crate) struct Cx<'a> {
    pub now: Now,
    pub config: &'a GroupConfig,
    pub prng: &'a mut Prng,
    pub timers: &'a mut Timers,
    pub writes: &'a mut Writes,
    pub fx: &'a mut Effects,
}

/// The waiting time of the first rebalance of an empty group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitialDelay {
    /// The wait that is running.
    pub delay_ms: u64,
    /// What the rebalance timeout leaves after it.
    pub remaining_ms: u64,
    /// Somebody joined during this wait: wait once more.
    pub extend: bool,
}

/// A classic group.
#[derive(Debug)]
pub(crate) struct Group {
    pub id: Arc<str>,
    pub state: GroupState,
    /// Wall clock of the last change of state, or -1.
    pub state_since_ms: i64,
    pub generation: i32,
    /// None for a group that only ever committed.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol of the current generation.
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// By member id.
    pub members: BTreeMap<Arc<str>, Member>,
    /// Group instance id to member id.
    pub static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids handed out by KIP-394 and not used yet, with their deadline.
    pub pending_members: BTreeMap<Arc<str>, u64>,
    /// Members of the current generation that have not synced.
    pub pending_sync: BTreeSet<Arc<str>>,
    /// How many members know each protocol.
    pub supported: BTreeMap<Arc<str>, usize>,
    /// Bytes of all members' protocols.
    pub protocols_bytes: usize,
    /// Members with a parked JoinGroup.
    pub awaiting_join: usize,
    /// The topics of a consumer group, when all members' metadata says them.
    pub subscribed: Option<BTreeSet<Arc<str>>>,
    pub join_deadline_us: Option<u64>,
    pub sync_deadline_us: Option<u64>,
    pub initial: Option<InitialDelay>,
    /// The leader's assignment for this generation is on its way to the log.
    pub assignment_in_flight: bool,
    /// Committed offsets by topic and partition; only what is durable.
    pub offsets: BTreeMap<Arc<str>, BTreeMap<i32, OffsetValue>>,
    /// The group's record as it is in the log.
    pub stored: Option<Arc<GroupValue>>,
}

impl Group {
    pub fn new(id: Arc<str>, now: Now) -> Group {
        Group {
            id,
            state: GroupState::Empty,
            state_since_ms: now.wall_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            supported: BTreeMap::new(),
            protocols_bytes: 0,
            awaiting_join: 0,
            subscribed: Some(BTreeSet::new()),
            join_deadline_us: None,
            sync_deadline_us: None,
            initial: None,
            assignment_in_flight: false,
            offsets: BTreeMap::new(),
            stored: None,
        }
    }

    /// After a restart: the stored generation comes back to life. Sessions are armed by the caller.
    pub fn revive(&mut self) {
        let Some(stored) = self.stored.clone() else { return };
        self.generation = stored.generation;
        self.state_since_ms = stored.current_state_timestamp_ms;
        self.protocol_type = Some(stored.protocol_type.clone()).filter(|name| !name.is_empty());
        self.protocol = stored.protocol.clone().filter(|_| !stored.members.is_empty());
        self.state = if stored.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        for value in &stored.members {
            if !self.members.contains_key(&value.member_id) {
                self.insert(Member::from_value(value, self.protocol.as_ref()));
            }
        }
        self.leader = stored.leader.clone().filter(|id| self.members.contains_key(id));
        if self.leader.is_none() {
            self.leader = self.members.keys().next().cloned();
        }
        self.compute_subscribed();
    }

    pub fn transition(&mut self, state: GroupState, now: Now) {
        self.state = state;
        self.state_since_ms = now.wall_ms;
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The longest rebalance timeout of its members.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|m| m.rebalance_timeout_ms.max(0) as u64).max().unwrap_or(0)
    }

    /// Everybody who is known has a parked JoinGroup, and nobody was asked to come back with an id.
    pub fn has_all_members_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending_members.is_empty()
    }

    /// Checks that a request comes from the member it names.
    pub fn validate_member(&self, member_id: &str, instance_id: Option<&Arc<str>>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            return match self.static_members.get(instance_id) {
                None => Err(GroupError::UnknownMember),
                Some(current) if &**current != member_id => Err(GroupError::FencedInstance),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    /// The group has or will have room for this member.
    pub fn accepts_joining(&self, member_id: &str, max_size: u32) -> bool {
        let max_size = max_size as usize;
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                self.awaiting_join < max_size
                    || self.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some())
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.len() < max_size || self.members.contains_key(member_id)
            }
        }
    }

    /// A member with these protocols could be part of the group.
    pub fn supports_protocols(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return self.state == GroupState::Empty || self.protocol_type.as_deref() == Some(protocol_type);
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported.get(&p.name) == Some(&self.members.len()))
    }

    /// The protocol that all know and most prefer; of equals the one that comes first in the leader's list.
    pub fn select_protocol(&self) -> Option<Arc<str>> {
        let all = self.members.len();
        let is_candidate = |name: &Arc<str>| self.supported.get(name) == Some(&all);
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(vote) = member.protocols.iter().map(|p| &p.name).find(|name| is_candidate(name)) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id))?;
        let candidates = leader.protocols.iter().map(|p| &p.name).filter(|name| is_candidate(name));
        candidates.rev().max_by_key(|name| votes.get(name).copied().unwrap_or(0)).cloned()
    }

    /// Puts a member in. The first one decides the protocol type and leads.
    pub fn insert(&mut self, member: Member) {
        self.count_protocols(&member.protocols, true);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        let old = self.members.insert(member.id.clone(), member);
        assert!(old.is_none(), "member ids are unique");
    }

    /// Takes a member out, and chooses another leader if it led. The caller answers what the member had parked.
    pub fn take(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.count_protocols(&member.protocols, false);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        self.pending_sync.remove(member_id);
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(&member.id)
        {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Replaces a member's protocols and timeouts.
    pub fn update(&mut self, member_id: &str, protocols: Vec<Protocol>, rebalance_ms: i32, session_ms: i32) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.rebalance_timeout_ms = rebalance_ms;
        member.session_timeout_ms = session_ms;
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_protocols(&old, false);
        self.count_protocols(&protocols, true);
    }

    fn count_protocols(&mut self, protocols: &[Protocol], add: bool) {
        let bytes = crate::member::protocols_bytes(protocols);
        if add {
            self.protocols_bytes += bytes;
            for protocol in protocols {
                *self.supported.entry(protocol.name.clone()).or_default() += 1;
            }
            return;
        }
        self.protocols_bytes -= bytes;
        for protocol in protocols {
            let count = self.supported.get_mut(&protocol.name).expect("it was counted when the member came");
            *count -= 1;
            if *count == 0 {
                self.supported.remove(&protocol.name);
            }
        }
    }

    /// Reads the members' subscriptions; unknown when one does not parse. Means nothing in a group that is no consumer group.
    pub fn compute_subscribed(&mut self) {
        self.subscribed = match &self.protocol {
            _ if self.members.is_empty() => Some(BTreeSet::new()),
            Some(protocol) => self.members.values().map(|m| subscription::topics(&m.metadata(protocol))).try_fold(
                BTreeSet::new(),
                |mut all, topics| {
                    all.extend(topics?);
                    Some(all)
                },
            ),
            None => None,
        };
    }

    /// Members that could own partitions of the topic; a consumer group whose topics are unknown may own all.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_group(),
        }
    }

    pub fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The answer to a member's JoinGroup for the current generation.
    pub fn join_reply(&self, member_id: &Arc<str>, with_members: bool) -> JoinReply {
        JoinReply {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: if with_members { self.joined_members() } else { Vec::new() },
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        self.members
            .values()
            .map(|member| JoinedMember {
                member_id: member.id.clone(),
                group_instance_id: member.instance_id.clone(),
                metadata: member.metadata(protocol),
            })
            .collect()
    }

    pub fn sync_reply(&self, assignment: Bytes) -> SyncReply {
        SyncReply { protocol_type: self.protocol_type.clone(), protocol_name: self.protocol.clone(), assignment }
    }

    /// The record of the current generation with the assignment that each member gets.
    pub fn to_record(&self, assignment: impl Fn(&Member) -> Bytes) -> Record {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let members: Vec<MemberValue> =
            self.members.values().map(|member| member.to_value(protocol, assignment(member))).collect();
        Record::Group {
            group: self.id.clone(),
            value: Some(Arc::new(GroupValue {
                protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
                generation: self.generation,
                protocol: self.protocol.clone(),
                leader: self.leader.clone(),
                current_state_timestamp_ms: self.state_since_ms,
                members,
            })),
        }
    }

    pub fn describe(&self) -> Description {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_else(|| Arc::from(""));
        let members = self.members.values().map(|member| DescribedMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(&protocol) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        });
        Description {
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            members: members.collect(),
            protocol_data: protocol,
        }
    }
}

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";
