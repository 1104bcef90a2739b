//! One coordinator with a log that the test controls.

use crate::command::*;
use crate::record::{GroupValue, OffsetValue};
use crate::{Effects, GroupConfig, GroupCoordinator, GroupError, Record, Write, WriteError};
use bytes::Bytes;
use coretide_model::{Now, TopicId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub fn s(text: &str) -> Arc<str> {
    Arc::from(text)
}

pub struct Lab {
    pub coordinator: GroupCoordinator,
    pub now: Now,
    pub log: Vec<Record>,
    pub log_start: i64,
    pub waiting: VecDeque<Write>,
    /// Writes become durable at once.
    pub auto_commit: bool,
    pub replies: BTreeMap<Token, Reply>,
    next_token: u64,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Lab {
        let mut lab = Lab {
            coordinator: GroupCoordinator::new(config, 7),
            now: Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            log: Vec::new(),
            log_start: 0,
            waiting: VecDeque::new(),
            auto_commit: true,
            replies: BTreeMap::new(),
            next_token: 0,
        };
        let mut fx = Effects::default();
        lab.coordinator.finish_load(lab.now, &mut fx);
        lab.take(fx);
        lab
    }

    pub fn take(&mut self, fx: Effects) {
        for (token, reply) in fx.replies {
            assert!(token.0 < self.next_token, "an answer to nothing");
            assert!(self.replies.insert(token, reply).is_none(), "two answers to {token:?}");
        }
        self.waiting.extend(fx.writes);
        if let Some(start) = fx.advance_log_start {
            assert!(start >= self.log_start && start < self.log.len() as i64);
            self.log_start = start;
        }
        if self.auto_commit {
            while self.commit_one() {}
        }
    }

    /// The oldest write becomes durable.
    pub fn commit_one(&mut self) -> bool {
        let Some(write) = self.waiting.pop_front() else { return false };
        let base = self.log.len() as i64;
        self.log.extend(write.records.iter().cloned());
        let mut fx = Effects::default();
        self.coordinator.on_committed(self.now, write.id, base, &mut fx);
        self.take(fx);
        true
    }

    /// The oldest write fails.
    pub fn fail_one(&mut self, error: WriteError) -> bool {
        let Some(write) = self.waiting.pop_front() else { return false };
        let mut fx = Effects::default();
        self.coordinator.on_write_failed(self.now, write.id, error, &mut fx);
        self.take(fx);
        true
    }

    /// The newest write fails.
    pub fn fail_newest(&mut self, error: WriteError) {
        let write = self.waiting.pop_back().expect("something is on its way");
        let mut fx = Effects::default();
        self.coordinator.on_write_failed(self.now, write.id, error, &mut fx);
        self.take(fx);
    }

    pub fn send(&mut self, command: Command) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut fx = Effects::default();
        self.coordinator.handle(self.now, command, token, &mut fx);
        self.take(fx);
        token
    }

    /// The answer to a command that must be there by now.
    pub fn answer(&mut self, token: Token) -> Reply {
        self.replies.remove(&token).expect("an answer")
    }

    pub fn is_parked(&self, token: Token) -> bool {
        !self.replies.contains_key(&token)
    }

    pub fn ask(&mut self, command: Command) -> Reply {
        let token = self.send(command);
        self.answer(token)
    }

    pub fn advance_ms(&mut self, ms: u64) {
        let end_us = self.now.mono_us + ms * 1000;
        while let Some(at_us) = self.coordinator.next_deadline_us().filter(|at_us| *at_us <= end_us) {
            self.set_clock(at_us.max(self.now.mono_us));
            let mut fx = Effects::default();
            self.coordinator.tick(self.now, &mut fx);
            self.take(fx);
        }
        self.set_clock(end_us);
    }

    fn set_clock(&mut self, mono_us: u64) {
        self.now.wall_ms += (mono_us - self.now.mono_us) as i64 / 1000;
        self.now.mono_us = mono_us;
    }

    /// A new coordinator that reads the log from its start.
    pub fn restart(&mut self) {
        self.coordinator = self.replayed();
        self.waiting.clear();
        let mut fx = Effects::default();
        self.coordinator.finish_load(self.now, &mut fx);
        self.take(fx);
    }

    pub fn replayed(&self) -> GroupCoordinator {
        let mut fresh = GroupCoordinator::new(GroupConfig::default(), self.now.mono_us + self.next_token);
        for record in &self.log[self.log_start as usize..] {
            fresh.replay(self.now, record);
        }
        fresh
    }

    // Questions in short form.

    pub fn join(&mut self, join: &Join) -> Token {
        self.send(Command::Join(join.clone()))
    }

    pub fn join_reply(&mut self, token: Token) -> JoinReply {
        match self.answer(token) {
            Reply::Join(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(&mut self, group: &str, generation: i32, member_id: &str, assignments: &[(&str, &str)]) -> Token {
        self.send(Command::Sync(Sync {
            group: s(group),
            generation,
            member_id: s(member_id),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.iter().map(|(m, a)| (s(m), Bytes::from(a.to_string()))).collect(),
        }))
    }

    pub fn assignment(&mut self, token: Token) -> Result<String, GroupError> {
        match self.answer(token) {
            Reply::Sync(result) => result.map(|r| String::from_utf8(r.assignment.to_vec()).expect("ASCII")),
            other => panic!("{other:?}"),
        }
    }

    pub fn heartbeat(&mut self, group: &str, generation: i32, member_id: &str) -> Result<(), GroupError> {
        let reply = self.ask(Command::Heartbeat(Heartbeat {
            group: s(group),
            generation,
            member_id: s(member_id),
            group_instance_id: None,
        }));
        match reply {
            Reply::Heartbeat(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(
        &mut self,
        group: &str,
        members: &[(&str, Option<&str>)],
    ) -> Result<Vec<Option<GroupError>>, GroupError> {
        let members = members.iter().map(|(m, i)| (s(m), i.map(s))).collect();
        match self.ask(Command::Leave(Leave { group: s(group), members })) {
            Reply::Leave(result) => result.map(|all| all.into_iter().map(|r| r.error).collect()),
            other => panic!("{other:?}"),
        }
    }

    pub fn describe(&mut self, group: &str) -> Result<Description, GroupError> {
        match self.ask(Command::DescribeGroup { group: s(group) }) {
            Reply::DescribeGroup(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&mut self, group: &str) -> GroupState {
        self.describe(group).expect("the group exists").state
    }

    pub fn commit_as(&mut self, group: &str, generation: i32, member_id: &str, topic: &str, offset: i64) -> Token {
        self.send(Command::OffsetCommit(commit(group, generation, member_id, topic, offset)))
    }

    pub fn commit_error(&mut self, token: Token) -> Option<GroupError> {
        match self.answer(token) {
            Reply::OffsetCommit(topics) => topics[0].1[0].error,
            other => panic!("{other:?}"),
        }
    }

    pub fn committed(&mut self, group: &str, topic: &str) -> i64 {
        let topics = Some(vec![(s(topic), vec![0])]);
        match self.ask(Command::OffsetFetch(OffsetFetch { group: s(group), topics })) {
            Reply::OffsetFetch(Ok(topics)) => topics[0].1[0].offset,
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, group: &str) -> Token {
        self.send(Command::DeleteGroup { group: s(group) })
    }

    /// A stable group of so many dynamic members, each with the assignment `a<n>`; returns the ids, the leader first.
    pub fn stable_group(&mut self, group: &str, members: usize) -> Vec<String> {
        let tokens: Vec<Token> = (0..members).map(|_| self.join(&join(group, ""))).collect();
        self.advance_ms(6_000);
        let replies: Vec<JoinReply> = tokens.into_iter().map(|t| self.join_reply(t)).collect();
        let leader = replies[0].leader.clone();
        let mut ids: Vec<String> = replies.iter().map(|r| r.member_id.to_string()).collect();
        ids.sort_by_key(|id| **id != *leader);
        let plan: Vec<(String, String)> = ids.iter().enumerate().map(|(n, id)| (id.clone(), format!("a{n}"))).collect();
        let plan: Vec<(&str, &str)> = plan.iter().map(|(m, a)| (m.as_str(), a.as_str())).collect();
        let mut syncs: Vec<Token> =
            ids[1..].iter().map(|id| self.sync(group, replies[0].generation, id, &[])).collect();
        syncs.insert(0, self.sync(group, replies[0].generation, &ids[0], &plan));
        for (n, token) in syncs.into_iter().enumerate() {
            assert_eq!(self.assignment(token), Ok(format!("a{n}")));
        }
        assert_eq!(self.state(group), GroupState::Stable);
        ids
    }
}

/// A JoinGroup as a client of version 3 sends it.
pub fn join(group: &str, member_id: &str) -> Join {
    Join {
        group: s(group),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: s(member_id),
        group_instance_id: None,
        protocol_type: s("consumer"),
        protocols: vec![protocol("range", &["t"])],
        client_id: s("client"),
        client_host: s("/127.0.0.1"),
        requires_known_member_id: false,
        supports_skip_assignment: false,
    }
}

pub fn static_join(group: &str, member_id: &str, instance: &str) -> Join {
    Join { group_instance_id: Some(s(instance)), ..join(group, member_id) }
}

/// A protocol with a subscription of version 0 to the topics.
pub fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let mut metadata = vec![0, 0];
    metadata.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        metadata.extend((topic.len() as i16).to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    metadata.extend((-1i32).to_be_bytes());
    Protocol { name: s(name), metadata: metadata.into() }
}

pub fn commit(group: &str, generation: i32, member_id: &str, topic: &str, offset: i64) -> OffsetCommit {
    OffsetCommit {
        group: s(group),
        generation,
        member_id: s(member_id),
        group_instance_id: None,
        retention_ms: None,
        topics: vec![CommitTopic {
            name: s(topic),
            topic_id: TopicId::ZERO,
            partitions: vec![CommitPartition {
                partition: 0,
                offset,
                leader_epoch: 3,
                metadata: s("note"),
                refused: None,
            }],
        }],
    }
}

/// What a log says, by the simplest reading: the last value of each key.
#[derive(Debug, Default, PartialEq)]
pub struct Durable {
    pub groups: BTreeMap<Arc<str>, Arc<GroupValue>>,
    pub offsets: BTreeMap<(Arc<str>, Arc<str>, i32), OffsetValue>,
}

impl Durable {
    pub fn of(log: &[Record]) -> Durable {
        let mut durable = Durable::default();
        for record in log.iter().cloned() {
            match record {
                Record::Group { group, value: Some(value) } => drop(durable.groups.insert(group, value)),
                Record::Group { group, value: None } => drop(durable.groups.remove(&group)),
                Record::Offset { group, topic, partition, value: Some(value) } => {
                    durable.offsets.insert((group, topic, partition), value);
                }
                Record::Offset { group, topic, partition, value: None } => {
                    durable.offsets.remove(&(group, topic, partition));
                }
            }
        }
        durable
    }
}
