//! Consumes as a member of a group: the classic protocol with the range assignor, offsets committed as records are
//! handed out.
//! Must never touch: the broker's side of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coretide_model::ErrorCode;
use coretide_wire::messages::heartbeat::HeartbeatRequest;
use coretide_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use coretide_wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use coretide_wire::messages::records::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
};
use coretide_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use coretide_wire::{Message, Reader, Writer};

use crate::client::{Backoff, Client, Place};
use crate::consumer::{Consumer, ConsumerConfig, Incoming, OffsetSpec, Reset};
use crate::error::ClientError;

/// The protocol type of consumers.
pub const CONSUMER_PROTOCOL: &str = "consumer";
const RANGE: &str = "range";
/// The version of subscriptions and assignments that is written; 0 to 3 are read.
const PROTOCOL_VERSION: i16 = 1;
const NEWEST_PROTOCOL_VERSION: i16 = 3;
/// LeaveGroup carries several members from here on.
const LEAVE_BATCHED_SINCE: i16 = 3;

/// How a member takes part in its group.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group_id: String,
    /// The topics it wants a share of.
    pub topics: Vec<String>,
    /// A name that outlives the process: a member that comes back under it causes no rebalance.
    pub instance_id: Option<String>,
    /// After this long without a heartbeat the group goes on without this member.
    pub session_timeout: Duration,
    /// How long the others wait for this member to rejoin.
    pub rebalance_timeout: Duration,
    /// How often it says that it is alive.
    pub heartbeat_interval: Duration,
    /// How often the offsets of what was handed out are committed; none leaves it to the caller.
    pub auto_commit: Option<Duration>,
    /// Where to begin without a committed offset. [`Reset::Fail`] makes that an error.
    pub reset: Reset,
}

impl GroupConfig {
    /// The Java client's times.
    pub fn new(group_id: &str, topics: &[String]) -> GroupConfig {
        GroupConfig {
            group_id: group_id.to_string(),
            topics: topics.to_vec(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(3),
            auto_commit: Some(Duration::from_secs(5)),
            reset: Reset::Latest,
        }
    }
}

/// A member of a group. Heartbeats are sent by [`GroupConsumer::poll`], which is to be called at least every few
/// seconds.
#[derive(Debug)]
pub struct GroupConsumer {
    consumer: Consumer,
    config: GroupConfig,
    member_id: String,
    generation: Option<i32>,
    last_heartbeat: Instant,
    last_commit: Instant,
    committed: BTreeMap<Place, i64>,
}

impl GroupConsumer {
    /// A member that takes over `client`. It joins at the first poll.
    pub fn new(client: Client, config: GroupConfig, consumer: ConsumerConfig) -> GroupConsumer {
        // A deleted position must not stop a group; without a wish it goes on at the end, as Kafka's clients do.
        let reset = if config.reset == Reset::Fail { Reset::Latest } else { config.reset };
        GroupConsumer {
            consumer: Consumer::new(client, ConsumerConfig { reset, ..consumer }),
            config,
            member_id: String::new(),
            generation: None,
            last_heartbeat: Instant::now(),
            last_commit: Instant::now(),
            committed: BTreeMap::new(),
        }
    }

    /// The consumer below, with the partitions that this member was given.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// The id that the group knows it by.
    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// True once it has its partitions.
    pub fn is_joined(&self) -> bool {
        self.generation.is_some()
    }

    /// Keeps the membership alive (joins if necessary) and fetches once.
    pub fn poll(&mut self, max_wait: Duration) -> Result<Vec<Incoming>, ClientError> {
        if let Some(every) = self.config.auto_commit
            && self.generation.is_some()
            && self.last_commit.elapsed() >= every
        {
            self.settle(|member| member.commit_positions())?;
        }
        if self.generation.is_some() && self.last_heartbeat.elapsed() >= self.config.heartbeat_interval {
            self.settle(GroupConsumer::heartbeat)?;
        }
        if self.generation.is_none() {
            self.join()?;
        }
        let until_heartbeat = self.config.heartbeat_interval.saturating_sub(self.last_heartbeat.elapsed());
        let max_wait = max_wait.min(until_heartbeat.max(Duration::from_millis(1)));
        if self.consumer.positions().is_empty() {
            std::thread::sleep(max_wait);
            return Ok(Vec::new());
        }
        self.consumer.poll(max_wait)
    }

    /// Commits the positions: everything that poll has returned counts as consumed.
    pub fn commit(&mut self) -> Result<(), ClientError> {
        let mut backoff = Backoff::new(self.consumer.client().config().retry_for);
        loop {
            match self.commit_positions() {
                Err(error) if error.is_retriable() => backoff.pause(error)?,
                other => return other,
            }
        }
    }

    /// Commits what was handed out and leaves the group (static members stay until their session ends).
    pub fn close(mut self) -> Result<Client, ClientError> {
        let committed =
            if self.config.auto_commit.is_some() && self.generation.is_some() { self.commit() } else { Ok(()) };
        if self.generation.is_some() && self.config.instance_id.is_none() {
            self.leave()?;
        }
        committed?;
        Ok(self.consumer.into_client())
    }

    fn leave(&mut self) -> Result<(), ClientError> {
        let (group, member_id) = (self.config.group_id.clone(), self.member_id.clone());
        let timeout = self.consumer.client().config.request_timeout;
        let response = self.consumer.client().call_coordinator(&group, timeout, |version| LeaveGroupRequest {
            group_id: group.clone(),
            member_id: if version < LEAVE_BATCHED_SINCE { member_id.clone() } else { String::new() },
            members: match version {
                LEAVE_BATCHED_SINCE.. => {
                    vec![MemberIdentity { member_id: member_id.clone(), ..MemberIdentity::default() }]
                }
                _ => Vec::new(),
            },
        })?;
        self.generation = None;
        ClientError::check(response.error_code, None, || format!("leaving group '{group}'"))
    }

    /// Runs a call of a member; a rebalance or a lost membership makes it join again at the next opportunity.
    fn settle(&mut self, call: impl FnOnce(&mut GroupConsumer) -> Result<(), ClientError>) -> Result<(), ClientError> {
        let Err(error) = call(self) else { return Ok(()) };
        match error.code() {
            Some(ErrorCode::RebalanceInProgress) => {
                if self.config.auto_commit.is_some() {
                    // The last chance to commit as an owner; what fails here is consumed twice, not lost.
                    let _ = self.commit_positions();
                }
                self.generation = None;
                Ok(())
            }
            Some(ErrorCode::IllegalGeneration) => {
                self.generation = None;
                Ok(())
            }
            Some(ErrorCode::UnknownMemberId) => {
                self.generation = None;
                self.member_id.clear();
                Ok(())
            }
            // The coordinator is away: the membership lives on until the session ends.
            _ if error.is_retriable() => Ok(()),
            _ => Err(error),
        }
    }

    fn heartbeat(&mut self) -> Result<(), ClientError> {
        let Some(generation_id) = self.generation else { return Ok(()) };
        let group = self.config.group_id.clone();
        let request = HeartbeatRequest {
            group_id: group.clone(),
            generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.instance_id.clone(),
        };
        let client = self.consumer.client();
        let timeout = client.config.request_timeout;
        let response = client.call_coordinator(&group, timeout, |_| request.clone())?;
        client.check_group(&group, response.error_code, None, || format!("a heartbeat to group '{group}'"))?;
        self.last_heartbeat = Instant::now();
        Ok(())
    }

    fn commit_positions(&mut self) -> Result<(), ClientError> {
        let positions = self.consumer.positions().iter().map(|(key, position)| (key.clone(), position.offset));
        let changed: BTreeMap<Place, i64> =
            positions.filter(|(key, offset)| self.committed.get(key) != Some(offset)).collect();
        self.last_commit = Instant::now();
        let Some(generation) = self.generation.filter(|_| !changed.is_empty()) else { return Ok(()) };
        let instance_id = self.config.instance_id.as_deref();
        let client = self.consumer.client();
        client.commit(&self.config.group_id, generation, &self.member_id, instance_id, &changed)?;
        self.committed.extend(changed);
        Ok(())
    }

    /// Joins until the group is stable with this member in it, and takes up its partitions.
    fn join(&mut self) -> Result<(), ClientError> {
        self.consumer.unassign_all();
        self.committed.clear();
        let mut backoff = Backoff::new(self.consumer.client().config().retry_for + self.config.rebalance_timeout);
        loop {
            let error = match self.join_once() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::MemberIdRequired) => {}
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.member_id.clear();
                    backoff.pause(error)?;
                }
                Some(ErrorCode::RebalanceInProgress) => backoff.pause(error)?,
                _ if error.is_retriable() && !matches!(error, ClientError::Connect { .. }) => backoff.pause(error)?,
                _ => return Err(error),
            }
        }
    }

    fn join_once(&mut self) -> Result<(), ClientError> {
        let joined = self.send_join()?;
        self.member_id.clone_from(&joined.member_id);
        let what = || format!("joining group '{}'", self.config.group_id);
        let group = self.config.group_id.clone();
        let what = what();
        self.consumer.client().check_group(&group, joined.error_code, None, || what)?;
        let assignments = if joined.leader == joined.member_id && !joined.skip_assignment {
            self.assign_all(&joined)?
        } else {
            Vec::new()
        };
        let protocol_name = joined.protocol_name.clone().unwrap_or_else(|| RANGE.to_string());
        let request = SyncGroupRequest {
            group_id: group.clone(),
            generation_id: joined.generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.instance_id.clone(),
            protocol_type: Some(CONSUMER_PROTOCOL.to_string()),
            protocol_name: Some(protocol_name),
            assignments,
        };
        let timeout = self.config.rebalance_timeout + self.consumer.client().config.request_timeout;
        let client = self.consumer.client();
        let synced = client.call_coordinator(&group, timeout, |_| request.clone())?;
        client.check_group(&group, synced.error_code, None, || format!("syncing with group '{group}'"))?;
        let mine = decode_assignment(&synced.assignment)?;
        self.take_up(&mine)?;
        self.generation = Some(joined.generation_id);
        self.last_heartbeat = Instant::now();
        self.last_commit = Instant::now();
        Ok(())
    }

    fn send_join(&mut self) -> Result<JoinGroupResponse, ClientError> {
        let subscription = ConsumerProtocolSubscription {
            topics: self.config.topics.clone(),
            ..ConsumerProtocolSubscription::default()
        };
        let metadata = with_version(&subscription)?;
        let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        let request = JoinGroupRequest {
            group_id: self.config.group_id.clone(),
            session_timeout_ms: millis(self.config.session_timeout),
            rebalance_timeout_ms: millis(self.config.rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: self.config.instance_id.clone(),
            protocol_type: CONSUMER_PROTOCOL.to_string(),
            protocols: vec![JoinGroupRequestProtocol { name: RANGE.to_string(), metadata }],
            reason: None,
        };
        let group = self.config.group_id.clone();
        let client = self.consumer.client();
        let timeout = self.config.rebalance_timeout + client.config.request_timeout;
        client.call_coordinator(&group, timeout, |_| request.clone())
    }

    /// The leader's duty: shares out the partitions.
    fn assign_all(&mut self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let mut members = Vec::new();
        let mut topics = BTreeSet::new();
        for member in &joined.members {
            let subscribed = decode_subscription(&member.metadata)?.topics;
            topics.extend(subscribed.iter().cloned());
            // Static members keep their place in the order when they come back under a new member id.
            let rank = member.group_instance_id.clone().unwrap_or_else(|| member.member_id.clone());
            members.push(RangeMember { rank, member_id: member.member_id.clone(), topics: subscribed });
        }
        let mut counts = BTreeMap::new();
        for topic in topics {
            self.consumer.client().forget_topic(&topic);
            match self.consumer.client().topic(&topic, false) {
                Ok(info) => {
                    counts.insert(topic, info.partitions.len() as i32);
                }
                Err(error) if error.code().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let shares = assign_ranges(members, &counts);
        shares
            .into_iter()
            .map(|(member_id, share)| {
                let assigned_partitions = share
                    .into_iter()
                    .map(|(topic, partitions)| ConsumerProtocolAssignmentTopicPartition { topic, partitions })
                    .collect();
                let assignment = with_version(&ConsumerProtocolAssignment { assigned_partitions, user_data: None })?;
                Ok(SyncGroupRequestAssignment { member_id, assignment })
            })
            .collect()
    }

    /// Sets the positions of the assigned partitions: committed ones, else as configured.
    fn take_up(&mut self, mine: &[Place]) -> Result<(), ClientError> {
        if mine.is_empty() {
            return Ok(());
        }
        let committed = self.consumer.client().committed(&self.config.group_id, Some(mine))?;
        let mut places = Vec::new();
        for (topic, partition) in mine {
            let key = (topic.clone(), *partition);
            let place = match (committed.get(&key), self.config.reset) {
                (Some(found), _) => {
                    self.committed.insert(key, found.offset);
                    OffsetSpec::At(found.offset)
                }
                (None, Reset::Earliest) => OffsetSpec::Earliest,
                (None, Reset::Latest) => OffsetSpec::Latest,
                (None, Reset::Fail) => {
                    let group = &self.config.group_id;
                    let text = format!("group '{group}' has no committed offset in {topic}-{partition}");
                    return Err(ClientError::Usage(text));
                }
            };
            places.push((topic.clone(), *partition, place));
        }
        self.consumer.assign(&places)
    }
}

/// A member as the range assignor sees it.
#[derive(Clone, Debug)]
struct RangeMember {
    rank: String,
    member_id: String,
    topics: Vec<String>,
}

/// Java's range assignor: each topic's partitions in consecutive ranges to its subscribers in the order of their names,
/// the first ones getting one more where it does not come out even.
fn assign_ranges(
    mut members: Vec<RangeMember>,
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, BTreeMap<String, Vec<i32>>> {
    members.sort_by(|a, b| a.rank.cmp(&b.rank));
    let mut shares: BTreeMap<String, BTreeMap<String, Vec<i32>>> =
        members.iter().map(|member| (member.member_id.clone(), BTreeMap::new())).collect();
    for (topic, &count) in counts {
        let takers: Vec<&RangeMember> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        if takers.is_empty() {
            continue;
        }
        let (each, more) = (count / takers.len() as i32, count % takers.len() as i32);
        let mut next = 0;
        for (place, taker) in takers.iter().enumerate() {
            let until = next + each + i32::from((place as i32) < more);
            if until > next {
                let share = shares.get_mut(&taker.member_id).expect("every member has a share");
                share.insert(topic.clone(), (next..until).collect());
            }
            next = until;
        }
    }
    shares
}

/// A subscription or an assignment with its version in front.
fn with_version<M: Message>(message: &M) -> Result<Bytes, ClientError> {
    let mut writer = Writer::new();
    writer.i16(PROTOCOL_VERSION);
    message.encode(&mut writer, PROTOCOL_VERSION)?;
    Ok(writer.into_bytes())
}

fn decode_versioned<M: Message>(bytes: &Bytes, what: &str) -> Result<M, ClientError> {
    let malformed = |error: coretide_wire::DecodeError| ClientError::Protocol {
        address: format!("a member's {what}"),
        reason: error.to_string(),
    };
    if bytes.is_empty() {
        return Ok(M::default());
    }
    let mut reader = Reader::new(bytes);
    let version = reader.i16().map_err(malformed)?;
    M::decode(&mut reader, version.clamp(0, NEWEST_PROTOCOL_VERSION)).map_err(malformed)
}

/// What a member subscribed to, from its metadata.
pub fn decode_subscription(bytes: &Bytes) -> Result<ConsumerProtocolSubscription, ClientError> {
    decode_versioned(bytes, "subscription")
}

/// The partitions of a member, from its assignment.
pub fn decode_assignment(bytes: &Bytes) -> Result<Vec<Place>, ClientError> {
    let assignment: ConsumerProtocolAssignment = decode_versioned(bytes, "assignment")?;
    let mut partitions = Vec::new();
    for topic in assignment.assigned_partitions {
        partitions.extend(topic.partitions.iter().map(|&partition| (topic.topic.clone(), partition)));
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, topics: &[&str]) -> RangeMember {
        let topics = topics.iter().map(|topic| topic.to_string()).collect();
        RangeMember { rank: name.to_string(), member_id: format!("id-{name}"), topics }
    }

    #[test]
    fn ranges_are_shared_out_as_java_does() {
        let counts = BTreeMap::from([("a".to_string(), 5), ("b".to_string(), 1)]);
        let members = vec![member("y", &["a", "b"]), member("x", &["a", "b", "missing"]), member("z", &["b"])];
        let shares = assign_ranges(members, &counts);
        assert_eq!(shares["id-x"], BTreeMap::from([("a".to_string(), vec![0, 1, 2]), ("b".to_string(), vec![0])]));
        assert_eq!(shares["id-y"], BTreeMap::from([("a".to_string(), vec![3, 4])]));
        assert!(shares["id-z"].is_empty());
    }

    #[test]
    fn assignments_survive_encoding_and_garbage_is_refused() {
        let assigned_partitions =
            vec![ConsumerProtocolAssignmentTopicPartition { topic: "t".to_string(), partitions: vec![2, 0] }];
        let bytes = with_version(&ConsumerProtocolAssignment { assigned_partitions, user_data: None }).unwrap();
        assert_eq!(decode_assignment(&bytes).unwrap(), [("t".to_string(), 2), ("t".to_string(), 0)]);
        assert_eq!(decode_assignment(&Bytes::new()).unwrap(), []);
        assert!(decode_assignment(&Bytes::from_static(&[0, 1, 0xff])).is_err());
    }
}
