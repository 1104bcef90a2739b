//! A member of a classic group: joins, syncs, fetches what it was assigned, commits, heartbeats, now and then leaves.
//! Two connections, as real clients have: one for the coordinator, one for fetching.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use coretide_model::TopicId;
use coretide_wire::api::ApiKey;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use coretide_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use coretide_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use coretide_wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use coretide_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use super::committer::{coordinator_error, fetched_offsets, find_coordinator, offset_fetch_request};
use super::{Answer, Client, Command, Cx, Shared, Slot, is_retriable};
use crate::judge::{CommitToken, PartitionName, Verdict};
use crate::records::decode_batches;

const RECONNECT: u32 = 1;
const JOIN: u32 = 2;
const BEAT: u32 = 3;
const COMMIT: u32 = 4;
const FETCH: u32 = 5;
const LEAVE: u32 = 6;

const COORDINATOR: Slot = 0;
const FETCHING: Slot = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Has no place in the group.
    Out,
    Joining,
    Syncing,
    /// Asks where to begin.
    Positioning,
    Stable,
}

/// The member.
#[derive(Debug)]
pub struct Member {
    group: String,
    label: u32,
    state: State,
    member_id: String,
    generation: i32,
    open: [bool; 2],
    positions: BTreeMap<PartitionName, i64>,
    committed: BTreeMap<PartitionName, i64>,
    committing: Vec<(PartitionName, i64, CommitToken)>,
    asked_at: u64,
    fetching: Option<BTreeMap<PartitionName, i64>>,
    leaves_left: u32,
}

impl Member {
    /// A member of `group` that leaves `leaves` times and comes back.
    pub fn new(group: String, label: u32, leaves: u32) -> Member {
        Member {
            group,
            label,
            state: State::Out,
            member_id: String::new(),
            generation: -1,
            open: [false; 2],
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            committing: Vec::new(),
            asked_at: 0,
            fetching: None,
            leaves_left: leaves,
        }
    }

    fn join(&mut self, cx: &mut Cx<'_>) {
        self.state = State::Joining;
        let protocol = JoinGroupRequestProtocol { name: "sim".to_string(), metadata: Bytes::from_static(b"any") };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            member_id: self.member_id.clone(),
            protocol_type: "simulation".to_string(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        let version = cx.version(1, 9);
        cx.send(COORDINATOR, ApiKey::JoinGroup, version, &request);
    }

    fn sync(&mut self, cx: &mut Cx<'_>, response: &JoinGroupResponse) {
        self.state = State::Syncing;
        let mut assignments = Vec::new();
        if response.leader == response.member_id {
            let partitions = cx.shared.partitions();
            let members = response.members.len();
            for (place, member) in response.members.iter().enumerate() {
                let mine = partitions.iter().enumerate().filter(|(at, _)| at % members == place).map(|(_, name)| name);
                let assignment = encode_assignment(mine);
                assignments.push(SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment });
            }
        }
        let version = cx.version(0, 5);
        let named = |name: &str| (version >= 5).then(|| name.to_string());
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            protocol_type: named("simulation"),
            protocol_name: named("sim"),
            assignments,
            ..SyncGroupRequest::default()
        };
        cx.send(COORDINATOR, ApiKey::SyncGroup, version, &request);
    }

    fn position(&mut self, cx: &mut Cx<'_>, assignment: &Bytes) -> Verdict {
        let assigned = decode_assignment(assignment).ok_or("C: SyncGroup gave another assignment than the leader's")?;
        self.positions.clear();
        self.committed.clear();
        if assigned.is_empty() {
            self.stable(cx);
            return Ok(());
        }
        self.state = State::Positioning;
        self.asked_at = cx.moment;
        let version = cx.version(1, 9);
        let request = offset_fetch_request(&self.group, cx.shared, version, &assigned);
        cx.send(COORDINATOR, ApiKey::OffsetFetch, version, &request);
        Ok(())
    }

    fn stable(&mut self, cx: &mut Cx<'_>) {
        self.state = State::Stable;
        cx.timer(1000, BEAT);
        cx.timer(100, COMMIT);
        cx.timer(1, FETCH);
        if self.leaves_left > 0 && !cx.shared.winding_down {
            cx.timer(3000, LEAVE);
        }
    }

    fn commit(&mut self, cx: &mut Cx<'_>) {
        let moved = |(partition, &position): (&PartitionName, &i64)| {
            (self.committed.get(partition).copied().unwrap_or(-1) < position).then(|| (partition.clone(), position))
        };
        let due: Vec<(PartitionName, i64)> = self.positions.iter().filter_map(moved).collect();
        if due.is_empty() || !self.committing.is_empty() {
            return;
        }
        let mut topics: BTreeMap<String, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, position) in due {
            let token = cx.shared.groups.committing(&self.group, &partition, position, cx.moment);
            let wanted = OffsetCommitRequestPartition {
                partition_index: partition.1,
                committed_offset: position,
                committed_metadata: Some("m".to_string()),
                ..OffsetCommitRequestPartition::default()
            };
            topics.entry(partition.0.clone()).or_default().push(wanted);
            self.committing.push((partition, position, token));
        }
        let topic = |(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            topics: topics.into_iter().map(topic).collect(),
            ..OffsetCommitRequest::default()
        };
        let version = cx.version(2, 9);
        cx.send(COORDINATOR, ApiKey::OffsetCommit, version, &request);
    }

    fn fetch(&mut self, cx: &mut Cx<'_>) {
        let mut topics: BTreeMap<String, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, &fetch_offset) in &self.positions {
            let wanted = FetchPartition {
                partition: partition.1,
                fetch_offset,
                partition_max_bytes: 20_000,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                ..FetchPartition::default()
            };
            topics.entry(partition.0.clone()).or_default().push(wanted);
        }
        let topic = |(name, partitions)| FetchTopic { topic: name, topic_id: TopicId::ZERO, partitions };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 200,
            min_bytes: 1,
            max_bytes: 100_000,
            session_epoch: -1,
            topics: topics.into_iter().map(topic).collect(),
            ..FetchRequest::default()
        };
        self.fetching = Some(self.positions.clone());
        cx.send(FETCHING, ApiKey::Fetch, 12, &request);
    }

    fn on_joined(&mut self, cx: &mut Cx<'_>, response: &JoinGroupResponse) -> Verdict {
        match response.error_code {
            0 => {
                self.generation = response.generation_id;
                self.member_id = response.member_id.clone();
                if response.leader == response.member_id && response.members.is_empty() {
                    return Err("G4: the leader got no members".to_string());
                }
                self.sync(cx, response);
            }
            79 => {
                self.member_id = response.member_id.clone();
                self.join(cx);
            }
            code => self.rejoin(cx, code)?,
        }
        Ok(())
    }

    /// After an error: forgets the member id when it is no longer known, and joins again later.
    fn rejoin(&mut self, cx: &mut Cx<'_>, code: i16) -> Verdict {
        match code {
            22 | 25 => {
                self.member_id.clear();
                self.generation = -1;
            }
            27 => {}
            code if is_retriable(code) => {}
            code => return Err(format!("group {}: error {code} in state {:?}", self.group, self.state)),
        }
        self.state = State::Out;
        self.positions.clear();
        cx.timer(20, JOIN);
        Ok(())
    }

    fn on_committed(&mut self, cx: &mut Cx<'_>, response: &OffsetCommitResponse) -> Verdict {
        let mut worst = 0;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let at = (topic.name.clone(), partition.partition_index);
                let place = self.committing.iter().position(|(name, ..)| *name == at);
                let place = place.ok_or_else(|| format!("OffsetCommit answers {at:?} once too often"))?;
                let (_, position, token) = self.committing.remove(place);
                match partition.error_code {
                    0 => {
                        cx.shared.groups.committed(&token, cx.moment);
                        self.committed.insert(at, position);
                    }
                    code @ (22 | 25 | 27) => {
                        cx.shared.groups.refused(&token);
                        worst = code;
                    }
                    code => worst = code,
                }
            }
        }
        if !self.committing.is_empty() {
            return Err("OffsetCommit leaves out partitions".to_string());
        }
        if worst != 0 && self.state == State::Stable {
            return self.rejoin(cx, worst);
        }
        Ok(())
    }

    fn on_positioned(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        match fetched_offsets(answer)? {
            Ok(offsets) => {
                for (partition, offset) in offsets {
                    cx.shared.groups.fetched(&self.group, &partition, offset, self.asked_at, cx.moment)?;
                    self.positions.insert(partition.clone(), offset.max(0));
                    self.committed.insert(partition, offset);
                }
                self.stable(cx);
                Ok(())
            }
            Err(code) => self.rejoin(cx, code),
        }
    }

    fn on_fetched(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: FetchResponse = answer.read()?;
        let asked = self.fetching.take().ok_or("a Fetch response nobody asked for")?;
        let pause_ms = 1 + cx.prng.below(60);
        cx.timer(pause_ms, FETCH);
        for topic in &response.responses {
            for data in &topic.partitions {
                let partition = (topic.topic.clone(), data.partition_index);
                let position = *asked.get(&partition).ok_or("Fetch gives a partition that nobody asked for")?;
                if matches!(data.error_code, 0 | 1) && data.log_start_offset >= 0 {
                    cx.shared.log.starts_at(&partition, data.log_start_offset)?;
                }
                match data.error_code {
                    0 => {}
                    1 if position < cx.shared.log.log_start(&partition) => {
                        self.move_on(&partition, position, data.log_start_offset);
                        continue;
                    }
                    code if is_retriable(code) => continue,
                    code => return Err(format!("Fetch of {partition:?} at {position}: error {code}")),
                }
                let records = decode_batches(data.records.as_deref().unwrap_or_default())?;
                cx.shared.log.read(&partition, position, &records, data.high_watermark)?;
                if let Some(last) = records.last() {
                    self.move_on(&partition, position, last.offset + 1);
                }
            }
        }
        Ok(())
    }

    /// Moves a position, unless the partition was given away (or given back elsewhere) meanwhile.
    fn move_on(&mut self, partition: &PartitionName, from: i64, to: i64) {
        if let Some(position) = self.positions.get_mut(partition)
            && *position == from
        {
            *position = to.max(from);
        }
    }
}

fn encode_assignment<'a>(partitions: impl Iterator<Item = &'a PartitionName>) -> Bytes {
    let mut out = BytesMut::new();
    for (name, partition) in partitions {
        out.put_u16(name.len() as u16);
        out.put_slice(name.as_bytes());
        out.put_i32(*partition);
    }
    out.freeze()
}

fn decode_assignment(assignment: &Bytes) -> Option<Vec<PartitionName>> {
    let (mut rest, mut found) = (assignment.clone(), Vec::new());
    while !rest.is_empty() {
        if rest.len() < 2 {
            return None;
        }
        let length = usize::from(rest.get_u16());
        if rest.len() < length + 4 {
            return None;
        }
        let name = String::from_utf8(rest.split_to(length).to_vec()).ok()?;
        found.push((name, rest.get_i32()));
    }
    Some(found)
}

impl Client for Member {
    fn name(&self) -> String {
        format!("member {} of {}", self.label, self.group)
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        cx.timer(10 + 300 * u64::from(self.label), RECONNECT);
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict {
        self.open[usize::from(slot)] = true;
        if slot == COORDINATOR {
            find_coordinator(cx, slot, &self.group);
        } else {
            cx.timer(1, FETCH);
        }
        Ok(())
    }

    fn on_answer(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        match (answer.key, self.state) {
            (ApiKey::FindCoordinator, _) => match coordinator_error(answer)? {
                0 if self.state == State::Out => self.join(cx),
                0 => {}
                code if is_retriable(code) => cx.commands.push(Command::Close(COORDINATOR)),
                code => return Err(format!("FindCoordinator: error {code}")),
            },
            (ApiKey::JoinGroup, State::Joining) => self.on_joined(cx, &answer.read()?)?,
            (ApiKey::SyncGroup, State::Syncing) => {
                let response: SyncGroupResponse = answer.read()?;
                match response.error_code {
                    0 => self.position(cx, &response.assignment)?,
                    code => self.rejoin(cx, code)?,
                }
            }
            (ApiKey::OffsetFetch, State::Positioning) => self.on_positioned(cx, answer)?,
            (ApiKey::OffsetCommit, _) => self.on_committed(cx, &answer.read()?)?,
            (ApiKey::Heartbeat, State::Stable) => {
                let response: HeartbeatResponse = answer.read()?;
                if response.error_code != 0 {
                    self.rejoin(cx, response.error_code)?;
                }
            }
            (ApiKey::LeaveGroup, _) => {
                self.member_id.clear();
                self.generation = -1;
                cx.timer(500, JOIN);
            }
            (ApiKey::Fetch, _) => self.on_fetched(cx, answer)?,
            _ => {}
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, slot: Slot) {
        self.open[usize::from(slot)] = false;
        if slot == COORDINATOR {
            self.state = State::Out;
            self.committing.clear();
        } else {
            self.fetching = None;
        }
        cx.timer(20, RECONNECT);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, id: u32) -> Verdict {
        if !cx.shared.ready {
            cx.timer(20, id);
            return Ok(());
        }
        let stable = self.state == State::Stable && self.open[0];
        match id {
            RECONNECT => {
                for slot in [COORDINATOR, FETCHING] {
                    if !self.open[usize::from(slot)] {
                        cx.commands.push(Command::Connect(slot));
                    }
                }
            }
            JOIN if self.state == State::Out && self.open[0] => self.join(cx),
            BEAT if stable => {
                let request = HeartbeatRequest {
                    group_id: self.group.clone(),
                    generation_id: self.generation,
                    member_id: self.member_id.clone(),
                    ..HeartbeatRequest::default()
                };
                let version = cx.version(0, 4);
                cx.send(COORDINATOR, ApiKey::Heartbeat, version, &request);
                cx.timer(1000, BEAT);
            }
            COMMIT if stable => {
                self.commit(cx);
                cx.timer(300, COMMIT);
            }
            FETCH if self.open[1] && self.fetching.is_none() && !self.positions.is_empty() => self.fetch(cx),
            LEAVE if stable && self.leaves_left > 0 && self.committing.is_empty() => {
                self.leaves_left -= 1;
                self.state = State::Out;
                self.positions.clear();
                let version = cx.version(0, 5);
                let member = MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() };
                let (member_id, members) =
                    if version >= 3 { (String::new(), vec![member]) } else { (member.member_id, Vec::new()) };
                let request = LeaveGroupRequest { group_id: self.group.clone(), member_id, members };
                cx.send(COORDINATOR, ApiKey::LeaveGroup, version, &request);
            }
            _ => {}
        }
        Ok(())
    }

    /// It has a place in the group, and has read and committed all of what it was assigned.
    fn settled(&self, shared: &Shared) -> bool {
        let done = |(partition, &position): (&PartitionName, &i64)| {
            position >= shared.log.least_end(partition) && self.committed.get(partition) == Some(&position)
        };
        self.state == State::Stable && self.positions.iter().all(done)
    }
}
