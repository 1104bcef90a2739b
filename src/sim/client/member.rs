//! A member of a classic group: joins, syncs, fetches what it was assigned, commits, heartbeats, leaves, falls asleep and comes
//! back as another, static or not, eager or cooperative. Now and then it commits as what it was before, which must be refused.
//! Two connections, as real clients have: one for the coordinator, one for fetching.

mod assignor;
mod consume;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coretide_wire::api::ApiKey;
use coretide_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use coretide_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use coretide_wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use coretide_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use super::committer::{coordinator_error, fetched_offsets, find_coordinator, offset_fetch_request};
use super::worker::{Links, Worker};
use super::{Answer, Command, Cx, Shared, Slot, is_retriable};
use crate::judge::{Claim, CommitToken, Joined, PartitionName, Verdict};
use assignor::{decode_metadata, decode_partitions, divide, encode_metadata, encode_partitions};

pub use assignor::Style;

const JOIN: u32 = 1;
const FETCH: u32 = 2;
const LEAVE: u32 = 3;
const NAP: u32 = 4;
const WAKE: u32 = 5;
const HAUNT: u32 = 6;
/// These two are timers of one round; the number of the round is added.
const BEAT: u32 = 7;
const COMMIT: u32 = 8;
const ROUND: u32 = 16;

const COORDINATOR: Slot = 0;
const FETCHING: Slot = 1;

/// How long the group waits for its members to join, and how long it believes in a silent one.
const TIMEOUT_MS: i32 = 10_000;

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

/// What a member does beside its work.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub style: Style,
    /// It has an instance id.
    pub is_static: bool,
    /// How often it leaves and comes back.
    pub leaves: u32,
    /// How often it goes silent and comes back as a new process.
    pub naps: u32,
}

/// A JoinGroup, SyncGroup or OffsetFetch on its way.
#[derive(Debug, Default)]
struct Asked {
    at: u64,
    metadata: Bytes,
    holds: BTreeSet<PartitionName>,
}

/// The member.
#[derive(Debug)]
pub struct Member {
    group: String,
    label: u32,
    habits: Habits,
    state: State,
    member_id: String,
    generation: i32,
    /// How often the broker had died when it was let in.
    let_in_after: u64,
    asked: Asked,
    /// Changes now and then, so that what it says of itself changes.
    mood: u32,
    /// Counts its stable times; timers of an older one are void.
    round: u32,
    asleep: bool,
    positions: BTreeMap<PartitionName, i64>,
    committed: BTreeMap<PartitionName, i64>,
    committing: Vec<(PartitionName, i64, CommitToken)>,
    /// What the commit in flight, and the heartbeats, claim.
    commit_claim: Option<Claim>,
    beat_claims: BTreeMap<i32, Claim>,
    /// Something was given up, which the others wait for.
    gave_up: bool,
    fetching: Option<BTreeMap<PartitionName, i64>>,
    /// What it was before, and its requests in that name.
    past: Option<(String, i32)>,
    haunting: BTreeMap<i32, Claim>,
}

impl Member {
    /// A member of `group`.
    pub fn new(group: String, label: u32, habits: Habits) -> Member {
        Member {
            group,
            label,
            habits,
            state: State::Out,
            member_id: String::new(),
            generation: -1,
            let_in_after: 0,
            asked: Asked::default(),
            mood: 0,
            round: 0,
            asleep: false,
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            committing: Vec::new(),
            commit_claim: None,
            beat_claims: BTreeMap::new(),
            gave_up: false,
            fetching: None,
            past: None,
            haunting: BTreeMap::new(),
        }
    }

    fn instance(&self) -> Option<String> {
        self.habits.is_static.then(|| format!("{}-{}", self.group, self.label))
    }

    /// A version that knows of instances if this member has one; they came with `statics_from`.
    fn version(&self, cx: &mut Cx<'_>, least: i16, most: i16, statics_from: i16) -> i16 {
        cx.version(if self.habits.is_static { statics_from } else { least }, most)
    }

    fn claim(&self, sent_at: u64) -> Claim {
        let (group, member_id, instance) = (self.group.clone(), self.member_id.clone(), self.instance());
        Claim { group, member_id, instance, generation: self.generation, sent_at }
    }

    fn enter(&mut self, cx: &mut Cx<'_>, state: State) {
        self.state = state;
        let place = (state == State::Stable).then(|| (self.generation, self.positions.keys().cloned().collect()));
        cx.shared.members.works_on(&self.group, self.label, place);
    }

    fn join(&mut self, cx: &mut Cx<'_>) {
        self.enter(cx, State::Joining);
        let holds = match self.habits.style {
            Style::Eager => BTreeSet::new(),
            Style::Cooperative => self.positions.keys().cloned().collect(),
        };
        self.mood += u32::from(cx.prng.chance(1, 3));
        let metadata = encode_metadata(self.mood, &holds);
        let protocol = |name: String| JoinGroupRequestProtocol { name, metadata: metadata.clone() };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: TIMEOUT_MS,
            rebalance_timeout_ms: TIMEOUT_MS,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance(),
            protocol_type: "simulation".to_string(),
            protocols: self.offered().into_iter().map(protocol).collect(),
            ..JoinGroupRequest::default()
        };
        self.asked = Asked { at: cx.moment, metadata, holds };
        let version = self.version(cx, 0, 9, 5);
        cx.send(COORDINATOR, ApiKey::JoinGroup, version, &request);
    }

    /// All know one of them; tastes differ.
    fn offered(&self) -> Vec<String> {
        let names: &[&str] = match self.label % 3 {
            0 => &["sim", "other"],
            1 => &["other", "sim"],
            _ => &["sim"],
        };
        names.iter().map(|name| name.to_string()).collect()
    }

    fn on_joined(&mut self, cx: &mut Cx<'_>, response: &JoinGroupResponse) -> Verdict {
        match response.error_code {
            0 => {}
            79 => {
                self.member_id = response.member_id.clone();
                self.join(cx);
                return Ok(());
            }
            code => return self.rejoin(cx, code),
        }
        let leads = response.leader == response.member_id;
        if leads && response.members.is_empty() {
            return Err("G4: the leader got no members".to_string());
        }
        let members = response.members.iter();
        let members = members.map(|m| (m.member_id.clone(), m.group_instance_id.clone(), m.metadata.clone())).collect();
        let (instance, offered) = (self.instance(), self.offered());
        let joined = Joined {
            member_id: &response.member_id,
            instance: instance.as_deref(),
            generation: response.generation_id,
            leader: &response.leader,
            protocol: response.protocol_name.as_deref().unwrap_or_default(),
            offered: &offered,
            metadata: &self.asked.metadata,
            holds: &self.asked.holds,
            members,
            sent_at: self.asked.at,
            at: cx.moment,
        };
        cx.shared.members.joined(&self.group, &joined)?;
        self.let_in_after = cx.shared.members.deaths;
        if (0..response.generation_id).contains(&self.generation) && cx.prng.chance(1, 3) {
            self.past = Some((self.member_id.clone(), self.generation));
        }
        if self.past.is_some() {
            cx.timer(5, HAUNT);
        }
        (self.generation, self.member_id) = (response.generation_id, response.member_id.clone());
        self.sync(cx, response, leads && !response.skip_assignment)
    }

    fn sync(&mut self, cx: &mut Cx<'_>, response: &JoinGroupResponse, divides: bool) -> Verdict {
        self.enter(cx, State::Syncing);
        let mut assignments = Vec::new();
        if divides {
            let mut members = BTreeMap::new();
            for member in &response.members {
                let holds = decode_metadata(&member.metadata).ok_or("G: the leader was told what nobody says")?;
                members.insert(member.member_id.clone(), holds);
            }
            let parts = divide(&cx.shared.partitions(), &members, self.label as usize);
            let parts: BTreeMap<String, Bytes> =
                parts.iter().map(|(id, part)| (id.clone(), encode_partitions(part))).collect();
            cx.shared.members.assigning(&self.group, self.generation, parts.clone());
            let assignment = |(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment };
            assignments = parts.into_iter().map(assignment).collect();
        }
        let version = self.version(cx, 0, 5, 3);
        let named = |name: &str| (version >= 5).then(|| name.to_string());
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance(),
            protocol_type: named("simulation"),
            protocol_name: named(response.protocol_name.as_deref().unwrap_or_default()),
            assignments,
        };
        self.asked.at = cx.moment;
        cx.send(COORDINATOR, ApiKey::SyncGroup, version, &request);
        Ok(())
    }

    fn on_synced(&mut self, cx: &mut Cx<'_>, response: &SyncGroupResponse) -> Verdict {
        if response.error_code != 0 {
            return self.rejoin(cx, response.error_code);
        }
        let given = decode_partitions(&response.assignment);
        let given = given.ok_or("C: SyncGroup gave another assignment than the leader's")?;
        let claim = self.claim(self.asked.at);
        cx.shared.members.assigned(&claim, &response.assignment, &given, cx.moment)?;
        let before = self.positions.len();
        self.positions.retain(|partition, _| given.contains(partition));
        self.committed.retain(|partition, _| given.contains(partition));
        self.gave_up |= self.positions.len() < before;
        let added: Vec<PartitionName> =
            given.into_iter().filter(|partition| !self.positions.contains_key(partition)).collect();
        if added.is_empty() {
            self.stable(cx);
            return Ok(());
        }
        self.enter(cx, State::Positioning);
        self.asked.at = cx.moment;
        let version = cx.version(1, 9);
        let request = offset_fetch_request(&self.group, cx.shared, version, &added);
        cx.send(COORDINATOR, ApiKey::OffsetFetch, version, &request);
        Ok(())
    }

    fn on_positioned(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        match fetched_offsets(answer)? {
            Ok(offsets) => {
                for (partition, offset) in offsets {
                    cx.shared.groups.fetched(&self.group, &partition, offset, self.asked.at, cx.moment)?;
                    self.positions.insert(partition.clone(), offset.max(0));
                    self.committed.insert(partition, offset);
                }
                self.stable(cx);
                Ok(())
            }
            Err(code) => self.rejoin(cx, code),
        }
    }

    fn stable(&mut self, cx: &mut Cx<'_>) {
        cx.timer(1, FETCH);
        if std::mem::take(&mut self.gave_up) {
            // The others wait for what it has given up. Without a change it would only be told what it knows.
            self.mood += 1;
            return self.join(cx);
        }
        self.enter(cx, State::Stable);
        self.round += 1;
        cx.timer(1000, BEAT + self.round * ROUND);
        cx.timer(100, COMMIT + self.round * ROUND);
        if self.habits.leaves > 0 {
            cx.timer(2000, LEAVE);
        }
        if self.habits.naps > 0 {
            cx.timer(2000, NAP);
        }
    }

    /// It holds nothing any more.
    fn lose_all(&mut self) {
        self.positions.clear();
        self.committed.clear();
    }

    fn forget_id(&mut self) {
        self.member_id.clear();
        self.generation = -1;
        self.lose_all();
    }

    /// After an error: forgets the member id when it is no longer known, and joins again later.
    fn rejoin(&mut self, cx: &mut Cx<'_>, code: i16) -> Verdict {
        match code {
            22 | 25 => self.forget_id(),
            // The broker may have died before it had stored this id in the place of the last one.
            82 if self.let_in_after < cx.shared.members.deaths => self.forget_id(),
            27 => {}
            // Members of before that sleep still count.
            81 if cx.shared.is_group_limited => self.forget_id(),
            // After a restart the others are known by the protocol that was chosen last, until they have joined again.
            23 if cx.shared.members.deaths > 0 => {}
            code if is_retriable(code) => {}
            code => return Err(format!("group {}: error {code} in state {:?}", self.group, self.state)),
        }
        if self.habits.style == Style::Eager {
            self.lose_all();
        }
        self.enter(cx, State::Out);
        cx.timer(20, JOIN);
        Ok(())
    }

    fn beat(&mut self, cx: &mut Cx<'_>) {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance(),
        };
        let version = self.version(cx, 0, 4, 3);
        let claim = self.claim(cx.moment);
        let correlation = cx.send(COORDINATOR, ApiKey::Heartbeat, version, &request);
        self.beat_claims.insert(correlation, claim);
    }

    fn on_beat(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: HeartbeatResponse = answer.read()?;
        let claim = self.beat_claims.remove(&answer.correlation).ok_or("a Heartbeat that nobody sent")?;
        match response.error_code {
            0 => cx.shared.members.accepted("Heartbeat", &claim),
            code if self.state == State::Stable && claim.generation == self.generation => self.rejoin(cx, code),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        self.habits.leaves -= 1;
        self.lose_all();
        self.enter(cx, State::Out);
        let version = self.version(cx, 0, 5, 3);
        // A static member does not leave by itself: somebody removes it by its instance.
        let member_id = if self.habits.is_static { String::new() } else { self.member_id.clone() };
        let member = MemberIdentity { member_id, group_instance_id: self.instance(), ..MemberIdentity::default() };
        let (member_id, members) =
            if version >= 3 { (String::new(), vec![member]) } else { (member.member_id, Vec::new()) };
        let request = LeaveGroupRequest { group_id: self.group.clone(), member_id, members };
        cx.send(COORDINATOR, ApiKey::LeaveGroup, version, &request);
    }

    fn on_left(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: LeaveGroupResponse = answer.read()?;
        let code = response.members.first().map_or(0, |member| member.error_code);
        if response.error_code == 0 && code == 0 {
            cx.shared.members.left(&self.group, &self.member_id, cx.moment);
            self.past = Some((self.member_id.clone(), self.generation));
            cx.timer(5, HAUNT);
        }
        self.forget_id();
        cx.timer(500, JOIN);
        Ok(())
    }

    /// The process is gone without a word; another comes later in its place.
    fn nap(&mut self, cx: &mut Cx<'_>) {
        self.habits.naps -= 1;
        self.asleep = true;
        // Without an instance the group still takes it for a member.
        self.past = self.habits.is_static.then(|| (self.member_id.clone(), self.generation));
        self.forget_id();
        // An instance that comes back is given its part without a rebalance, and what it had just given up would be nobody's.
        self.gave_up = self.habits.is_static && self.habits.style == Style::Cooperative;
        self.enter(cx, State::Out);
        cx.commands.extend([COORDINATOR, FETCHING].map(Command::Close));
        let least_ms = if cx.prng.chance(1, 2) { 500 } else { 8000 };
        cx.timer(least_ms, WAKE);
    }
}

impl Worker for Member {
    const SLOTS: Slot = 2;

    fn name(&self) -> String {
        let (habits, state, generation, positions) = (self.habits, self.state, self.generation, &self.positions);
        format!("member {} of {} ({habits:?}), {state:?} in {generation} at {positions:?}", self.label, self.group)
    }

    fn first_ms(&self) -> u64 {
        10 + 300 * u64::from(self.label)
    }

    fn again_ms(&self) -> u64 {
        20
    }

    fn wants_connection(&self, _: &Shared) -> bool {
        !self.asleep
    }

    fn connected(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict {
        if slot == COORDINATOR {
            find_coordinator(cx, slot, &self.group);
        } else {
            cx.timer(1, FETCH);
        }
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        match (answer.key, self.state) {
            (ApiKey::FindCoordinator, _) => match coordinator_error(answer)? {
                0 if self.state == State::Out && !self.asleep => self.join(cx),
                0 => {}
                code if is_retriable(code) => cx.commands.push(Command::Close(COORDINATOR)),
                code => return Err(format!("FindCoordinator: error {code}")),
            },
            (ApiKey::JoinGroup, State::Joining) => self.on_joined(cx, &answer.read()?)?,
            (ApiKey::SyncGroup, State::Syncing) => self.on_synced(cx, &answer.read()?)?,
            (ApiKey::OffsetFetch, State::Positioning) => self.on_positioned(cx, answer)?,
            (ApiKey::OffsetCommit, _) => self.on_committed(cx, answer)?,
            (ApiKey::Heartbeat, _) => self.on_beat(cx, answer)?,
            (ApiKey::LeaveGroup, _) => self.on_left(cx, answer)?,
            (ApiKey::Fetch, _) => self.on_fetched(cx, answer)?,
            _ => {}
        }
        Ok(())
    }

    fn lost(&mut self, cx: &mut Cx<'_>, slot: Slot) {
        if slot == COORDINATOR {
            self.enter(cx, State::Out);
            self.committing.clear();
            self.commit_claim = None;
            self.beat_claims.clear();
            self.haunting.clear();
        } else {
            self.fetching = None;
        }
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        let is_open = links.is_open(COORDINATOR);
        let stable = self.state == State::Stable && is_open;
        let of_this_round = timer / ROUND == self.round;
        match timer % ROUND {
            JOIN if self.state == State::Out && is_open && !self.asleep => self.join(cx),
            BEAT if stable && of_this_round => {
                self.beat(cx);
                cx.timer(1000, timer);
            }
            COMMIT if stable && of_this_round => {
                self.commit(cx);
                cx.timer(300, timer);
            }
            FETCH if links.is_open(FETCHING) && self.fetching.is_none() && !self.positions.is_empty() => self.fetch(cx),
            LEAVE if stable && self.habits.leaves > 0 && self.committing.is_empty() && !cx.shared.winding_down => {
                self.leave(cx);
            }
            NAP if stable && self.habits.naps > 0 && !cx.shared.winding_down => self.nap(cx),
            WAKE => {
                self.asleep = false;
                cx.commands.extend([COORDINATOR, FETCHING].map(Command::Connect));
            }
            HAUNT if is_open => self.haunt(cx),
            _ => {}
        }
        Ok(())
    }

    /// It has a place in the group, whose partitions are all somebody's, and has read and committed all of its own.
    fn settled(&self, shared: &Shared) -> bool {
        let done = |(partition, &position): (&PartitionName, &i64)| {
            position >= shared.log.least_end(partition) && self.committed.get(partition) == Some(&position)
        };
        self.state == State::Stable
            && self.positions.iter().all(done)
            && shared.members.is_at_rest(&self.group, &shared.partitions())
    }
}
