//! What the fuzz target and the test of random bytes have in common: a coordinator under commands that bytes choose, with
//! whatever metadata and names are in them. Each command is answered once, and what was written can be read back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use coretide_coordinator::command::{
    Command, CommitPartition, CommitTopic, Heartbeat, Join, Leave, OffsetCommit, OffsetDelete, OffsetFetch,
    PartitionResult, Protocol, Reply, Sync, Token,
};
use coretide_coordinator::{Effects, GroupConfig, GroupCoordinator, Record, Write};
use coretide_model::{Now, TopicId};

/// Bytes to choose by; zeros when they are spent.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn text(&mut self) -> Arc<str> {
        Arc::from(&*String::from_utf8_lossy(self.bytes()))
    }

    fn group(&mut self) -> Arc<str> {
        match self.byte() {
            choice @ 0..=250 => Arc::from(["g", "h", ""][usize::from(choice % 3).min(2)]),
            _ => self.text(),
        }
    }
}

struct World {
    coordinator: GroupCoordinator,
    now: Now,
    waiting: Vec<Write>,
    log: Vec<Record>,
    members: Vec<Arc<str>>,
    open: BTreeSet<u64>,
    next_token: u64,
}

impl World {
    fn take(&mut self, fx: Effects) {
        for (token, reply) in fx.replies {
            assert!(self.open.remove(&token.0), "an answer to nothing, or a second one");
            if let Reply::Join(joined) = reply {
                self.members.push(joined.member_id);
            }
        }
        self.waiting.extend(fx.writes);
    }

    fn with(&mut self, act: impl FnOnce(&mut GroupCoordinator, Now, &mut Effects)) {
        let mut fx = Effects::default();
        act(&mut self.coordinator, self.now, &mut fx);
        self.take(fx);
    }

    fn member(&self, choices: &mut Choices<'_>) -> Arc<str> {
        let choice = usize::from(choices.byte());
        let known = self.members.len().checked_sub(1 + choice % 8).and_then(|at| self.members.get(at));
        known.cloned().unwrap_or_else(|| Arc::from(""))
    }

    fn write(&mut self, fails: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let write = self.waiting.remove(0);
        if fails {
            return self.with(|coordinator, now, fx| {
                coordinator.on_write_failed(now, write.id, coretide_coordinator::WriteError::NotLeader, fx);
            });
        }
        let base = self.log.len() as i64;
        self.log.extend(write.records.iter().cloned());
        self.with(|coordinator, now, fx| coordinator.on_committed(now, write.id, base, fx));
    }

    fn command(&mut self, choices: &mut Choices<'_>) -> Command {
        let (group, member_id) = (choices.group(), self.member(choices));
        let instance = |choices: &mut Choices<'_>| choices.byte().is_multiple_of(4).then(|| choices.text());
        match choices.byte() % 9 {
            0 | 1 => Command::Join(Join {
                group,
                session_timeout_ms: 6000 + i32::from(choices.byte()) * 100,
                rebalance_timeout_ms: i32::from(choices.byte() as i8) * 100,
                member_id,
                group_instance_id: instance(choices),
                protocol_type: Arc::from("consumer"),
                protocols: (0..1 + choices.byte() % 3)
                    .map(|_| Protocol { name: choices.text(), metadata: Bytes::copy_from_slice(choices.bytes()) })
                    .collect(),
                client_id: choices.text(),
                client_host: Arc::from("/h"),
                requires_known_member_id: choices.byte() & 1 == 0,
                supports_skip_assignment: choices.byte() & 1 == 0,
            }),
            2 => Command::Sync(Sync {
                group,
                generation: i32::from(choices.byte() % 8),
                member_id: member_id.clone(),
                group_instance_id: instance(choices),
                protocol_type: None,
                protocol_name: None,
                assignments: vec![(member_id, Bytes::copy_from_slice(choices.bytes()))],
            }),
            3 => Command::Heartbeat(Heartbeat {
                group,
                generation: i32::from(choices.byte() % 8),
                member_id,
                group_instance_id: instance(choices),
            }),
            4 => Command::Leave(Leave { group, members: vec![(member_id, instance(choices))] }),
            5 => Command::OffsetCommit(OffsetCommit {
                group,
                generation: i32::from(choices.byte() % 8) - 1,
                member_id,
                group_instance_id: None,
                retention_ms: None,
                topics: vec![CommitTopic {
                    name: choices.text(),
                    topic_id: TopicId::ZERO,
                    partitions: vec![CommitPartition {
                        partition: i32::from(choices.byte()),
                        offset: i64::from(choices.byte()),
                        leader_epoch: -1,
                        metadata: choices.text(),
                        refused: None,
                    }],
                }],
            }),
            6 => Command::OffsetFetch(OffsetFetch { group, topics: None }),
            7 => {
                let partition = PartitionResult { partition: i32::from(choices.byte()), error: None };
                Command::OffsetDelete(OffsetDelete { group, topics: vec![(choices.text(), vec![partition])] })
            }
            _ => match choices.byte() % 3 {
                0 => Command::DeleteGroup { group },
                1 => Command::DescribeGroup { group },
                _ => Command::ListGroups,
            },
        }
    }
}

/// Commands, time and the fates of writes, as the bytes say.
pub fn groups(input: &[u8]) {
    let mut choices = Choices(input);
    let mut world = World {
        coordinator: GroupCoordinator::new(GroupConfig::default(), 7),
        now: Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 },
        waiting: Vec::new(),
        log: Vec::new(),
        members: Vec::new(),
        open: BTreeSet::new(),
        next_token: 0,
    };
    world.with(|coordinator, now, fx| coordinator.finish_load(now, fx));
    while !choices.0.is_empty() {
        match choices.byte() % 8 {
            0 => world.write(false),
            1 => world.write(choices.byte().is_multiple_of(8)),
            2 => {
                let ms = u64::from(choices.byte()) * 100;
                world.now = Now { mono_us: world.now.mono_us + ms * 1000, wall_ms: world.now.wall_ms + ms as i64 };
                world.with(|coordinator, now, fx| coordinator.tick(now, fx));
            }
            _ => {
                let command = world.command(&mut choices);
                let token = Token(world.next_token);
                world.next_token += 1;
                world.open.insert(token.0);
                world.with(|coordinator, now, fx| coordinator.handle(now, command, token, fx));
            }
        }
        assert!(world.coordinator.state_bytes() <= (64 << 10) + 64 * input.len() + (input.len() << 11));
    }
    let mut again = GroupCoordinator::new(GroupConfig::default(), 8);
    world.log.iter().for_each(|record| again.replay(world.now, record));
    again.finish_load(world.now, &mut Effects::default());
}
