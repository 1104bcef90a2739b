//! The coordinator of one `__consumer_offsets` partition: finds the group, keeps the log's order, runs the timers. What a
//! group does is in `group` and the files beside it. Must never touch: bytes, the log itself.

use crate::command::{
    ByTopic, Command, FetchedOffset, GroupState, Join, JoinReply, Leave, LeaveResult, ListedGroup, OffsetCommit,
    OffsetFetch, Reply, Token,
};
use crate::config::{GROUPS_MAX, GroupConfig};
use crate::dump::{Dump, split};
use crate::error::{GroupError, WriteError};
use crate::group::{Cx, Group};
use crate::offsets::{nothing, refused_commit};
use crate::record::Record;
use crate::timers::{Timer, Timers};
use crate::writes::{Effects, Then, WriteId, Writes, with_error};
use coretide_model::{Now, TopicId};
use coretide_stdx::prng::Prng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the room's picture in `lib.rs`.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    prng: Prng,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    timers: Timers,
    writes: Writes,
    dump: Dump,
    /// Keys that are alive in the log.
    live: u64,
    is_loaded: bool,
}

impl GroupCoordinator {
    /// A coordinator that has not read its log: it refuses everything until [`GroupCoordinator::finish_load`]. Member ids
    /// follow from `seed`, which must differ from one start of the broker to the next.
    pub fn new(config: GroupConfig, seed: u64) -> GroupCoordinator {
        GroupCoordinator {
            config,
            prng: Prng::new(seed),
            groups: BTreeMap::new(),
            timers: Timers::default(),
            writes: Writes::default(),
            dump: Dump::default(),
            live: 0,
            is_loaded: false,
        }
    }

    /// True once the log was read.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Takes one record of the log, in the log's order. Any order is survived: tombstones of unknown keys do nothing.
    pub fn replay(&mut self, now: Now, record: &Record) {
        assert!(!self.is_loaded, "a loaded coordinator changes by its own writes");
        self.dump.logged += 1;
        self.apply(now, record);
    }

    /// The log's end was reached: groups come to life, their members' sessions begin anew.
    pub fn finish_load(&mut self, now: Now, fx: &mut Effects) {
        assert!(!self.is_loaded, "a log is loaded once");
        self.is_loaded = true;
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in &ids {
            self.with_group(now, fx, id, |group, cx| {
                group.revive();
                let sessions: Vec<_> = group.members.values().map(|m| (m.id.clone(), m.session_timeout_ms)).collect();
                for (member_id, session_timeout_ms) in sessions {
                    group.arm_session(cx, &member_id, session_timeout_ms);
                }
                if group.members.len() > cx.config.max_size as usize {
                    group.prepare_rebalance(cx);
                }
            });
            self.drop_if_unused(id);
        }
        self.arm_expiry(now);
        self.settle(fx);
    }

    /// Handles one command. The answer is in `fx` now or comes with a later call, exactly once.
    pub fn handle(&mut self, now: Now, command: Command, token: Token, fx: &mut Effects) {
        if !self.is_loaded {
            return fx.reply(token, refused(&command, GroupError::Loading));
        }
        match command {
            Command::Join(join) => self.join(now, join, token, fx),
            Command::Sync(sync) => {
                let id = sync.group.clone();
                if self.with_group(now, fx, &id, |group, cx| group.sync(cx, sync, token)).is_none() {
                    fx.reply(token, Reply::Sync(Err(unknown_in(&id))));
                }
            }
            Command::Heartbeat(beat) => {
                let result = self.with_group(now, fx, &beat.group, |group, cx| group.heartbeat(cx, &beat));
                fx.reply(token, Reply::Heartbeat(result.unwrap_or(Err(unknown_in(&beat.group)))));
            }
            Command::Leave(leave) => {
                let id = leave.group.clone();
                let result = if id.is_empty() {
                    Err(GroupError::InvalidGroupId)
                } else if self.groups.contains_key(&id) {
                    let left = self.with_group(now, fx, &id, |group, cx| group.leave(cx, leave));
                    left.expect("the group was just found")
                } else {
                    Ok(strangers(leave))
                };
                fx.reply(token, Reply::Leave(result));
                self.drop_if_unused(&id);
            }
            Command::OffsetCommit(commit) => self.commit(now, commit, token, fx),
            Command::OffsetFetch(fetch) => fx.reply(token, Reply::OffsetFetch(Ok(self.fetch(fetch)))),
            Command::OffsetDelete(delete) => {
                let id = delete.group.clone();
                if self.with_group(now, fx, &id, |group, cx| group.delete_offsets(cx, delete, token)).is_none() {
                    fx.reply(token, Reply::OffsetDelete(Err(GroupError::GroupNotFound)));
                }
            }
            Command::DeleteGroup { group } => self.delete_group(now, &group, token, fx),
            Command::DescribeGroup { group } => {
                let found = self.groups.get(&group).map(Group::describe);
                fx.reply(token, Reply::DescribeGroup(found.ok_or(GroupError::GroupNotFound)));
            }
            Command::ListGroups => {
                let listed = self.groups.values().map(list).collect();
                fx.reply(token, Reply::ListGroups(Ok(listed)));
            }
        }
        self.settle(fx);
    }

    /// A write is durable; `base_offset` is where its first record stands. Writes become durable in order.
    pub fn on_committed(&mut self, now: Now, id: WriteId, base_offset: i64, fx: &mut Effects) {
        let pending = self.writes.pop(id);
        for record in pending.records.iter() {
            self.apply(now, record);
        }
        match pending.then {
            Then::Nothing => {}
            Then::Answer(token, reply) => fx.reply(token, reply),
            Then::Assigned { group, generation } => {
                if let Some(Record::Group { value: Some(value), .. }) = pending.records.first() {
                    self.with_group(now, fx, &group, |group, cx| group.assigned(cx, generation, value));
                }
            }
            Then::StaticReplaced(replaced) => {
                let group = replaced.group.clone();
                self.with_group(now, fx, &group, |group, cx| group.static_replaced(cx, *replaced));
            }
            Then::Deleted { group, token } => {
                self.groups.remove(&group);
                if let Some(token) = token {
                    fx.reply(token, Reply::DeleteGroup(Ok(())));
                }
            }
            Then::Dumped(dump) => self.dump.on_part_durable(dump, base_offset, &self.groups, &mut self.writes, fx),
        }
        self.settle(fx);
    }

    /// A write failed: nothing of it has happened, and whoever waits for it is told so.
    pub fn on_write_failed(&mut self, now: Now, id: WriteId, error: WriteError, fx: &mut Effects) {
        let pending = self.writes.remove(id);
        self.dump.give_up();
        match pending.then {
            Then::Nothing | Then::Dumped(_) => {}
            Then::Answer(token, reply) => fx.reply(token, with_error(reply, error)),
            Then::Assigned { group, generation } => {
                self.with_group(now, fx, &group, |group, cx| group.assign_failed(cx, generation, error));
            }
            Then::StaticReplaced(replaced) => {
                let group = replaced.group.clone();
                let error = error.for_group();
                self.with_group(now, fx, &group, |group, cx| group.static_replace_failed(cx, *replaced, error));
            }
            Then::Deleted { group, token } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.state = GroupState::Empty;
                }
                if let Some(token) = token {
                    fx.reply(token, Reply::DeleteGroup(Err(error.for_group())));
                }
            }
        }
        self.settle(fx);
    }

    /// Drops the offsets of topics that are gone or were made anew; `current` says a topic's id. To be called after the load
    /// and when topics were deleted.
    pub fn retain_topics(&mut self, now: Now, current: &dyn Fn(&str) -> Option<TopicId>, fx: &mut Effects) {
        let mut gone = Vec::new();
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in &ids {
            let of_group = self.with_group(now, fx, id, |group, cx| group.offsets_of_gone_topics(cx, current));
            gone.extend(of_group.unwrap_or_default());
        }
        for part in split(gone) {
            self.writes.push(fx, part, Then::Nothing);
        }
        self.settle(fx);
    }

    /// Answers every request that waits for other members: this coordinator is about to go, and the clients shall look for
    /// the next one. Commits on their way to the log are answered by it.
    pub fn release_parked(&mut self, fx: &mut Effects) {
        for group in self.groups.values_mut() {
            group.release_parked(GroupError::NotCoordinator, fx);
        }
    }

    /// When [`GroupCoordinator::tick`] wants to be called, on the monotonic clock.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.timers.next_deadline_us()
    }

    /// Fires every timer that is due.
    pub fn tick(&mut self, now: Now, fx: &mut Effects) {
        while let Some((at_us, timer)) = self.timers.pop_due(now.mono_us) {
            let group = match &timer {
                Timer::Join(id) | Timer::Sync(id) | Timer::Session(id, _) => id.clone(),
                Timer::Expiry => {
                    self.expire(now, fx);
                    continue;
                }
            };
            self.with_group(now, fx, &group, |group, cx| match &timer {
                Timer::Join(_) => group.on_join_timer(cx),
                Timer::Sync(_) => group.on_sync_timer(cx),
                Timer::Session(_, member_id) => group.on_session_timer(cx, member_id, at_us),
                Timer::Expiry => {}
            });
            self.drop_if_unused(&group);
        }
        self.settle(fx);
    }

    fn join(&mut self, now: Now, mut join: Join, token: Token, fx: &mut Effects) {
        let bounds = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        let is_known = self.groups.contains_key(&join.group);
        let refusal = if join.group.is_empty() {
            Some(GroupError::InvalidGroupId)
        } else if !bounds.contains(&join.session_timeout_ms) {
            Some(GroupError::InvalidSessionTimeout)
        } else if !is_known && !join.member_id.is_empty() {
            Some(GroupError::UnknownMember)
        } else if !is_known && self.groups.len() >= GROUPS_MAX {
            Some(GroupError::NotAvailable)
        } else {
            None
        };
        if let Some(error) = refusal {
            return fx.reply(token, Reply::Join(JoinReply::refused(join.member_id, error)));
        }
        let mut names = BTreeSet::new();
        join.protocols.retain(|protocol| names.insert(protocol.name.clone()));
        let id = join.group.clone();
        self.groups.entry(id.clone()).or_insert_with(|| Group::new(id.clone(), now));
        self.with_group(now, fx, &id, |group, cx| group.join(cx, join, token));
        self.drop_if_unused(&id);
    }

    /// A commit to an unknown group makes a group that only commits, once it is durable.
    fn commit(&mut self, now: Now, commit: OffsetCommit, token: Token, fx: &mut Effects) {
        let id = commit.group.clone();
        if self.groups.contains_key(&id) {
            self.with_group(now, fx, &id, |group, cx| group.commit(cx, commit, token));
            return;
        }
        if commit.generation >= 0 {
            return fx.reply(token, refused_commit(&commit, GroupError::IllegalGeneration));
        }
        if self.groups.len() >= GROUPS_MAX {
            return fx.reply(token, refused_commit(&commit, GroupError::NotAvailable));
        }
        let mut group = Group::new(id, now);
        group.commit(&mut self.cx(now, fx), commit, token);
    }

    fn fetch(&self, fetch: OffsetFetch) -> ByTopic<FetchedOffset> {
        if let Some(group) = self.groups.get(&fetch.group) {
            return group.fetch(fetch);
        }
        let topics = fetch.topics.unwrap_or_default();
        topics.into_iter().map(|(topic, of)| (topic, of.into_iter().map(nothing).collect())).collect()
    }

    fn delete_group(&mut self, now: Now, id: &Arc<str>, token: Token, fx: &mut Effects) {
        let result = self.with_group(now, fx, id, |group, cx| match group.state {
            GroupState::Dead => Err(GroupError::GroupNotFound),
            GroupState::Empty => {
                let mut records: Vec<Record> = group
                    .all_offset_keys(cx)
                    .iter()
                    .map(|(topic, partition)| group.offset_tombstone(topic, *partition))
                    .collect();
                records.push(Record::Group { group: group.id.clone(), value: None });
                bury(group, cx, records, Some(token));
                Ok(())
            }
            _ => Err(GroupError::NonEmptyGroup),
        });
        if let Err(error) = result.unwrap_or(Err(GroupError::GroupNotFound)) {
            fx.reply(token, Reply::DeleteGroup(Err(error)));
        }
    }

    fn expire(&mut self, now: Now, fx: &mut Effects) {
        self.arm_expiry(now);
        let busy: BTreeSet<Arc<str>> = self.writes.records().map(|record| record.group().clone()).collect();
        let ids: Vec<Arc<str>> = self.groups.keys().filter(|id| !busy.contains(*id)).cloned().collect();
        let mut tombstones = Vec::new();
        for id in &ids {
            let Some(group) = self.groups.get(id) else { continue };
            let (mut expired, all) = group.expired_offsets(now.wall_ms, self.config.offsets_retention_ms);
            let is_unused = group.state == GroupState::Empty && group.pending_members.is_empty();
            if !(all && is_unused) {
                tombstones.append(&mut expired);
                continue;
            }
            if expired.is_empty() && group.stored.is_none() {
                self.groups.remove(id);
                continue;
            }
            expired.push(Record::Group { group: id.clone(), value: None });
            self.with_group(now, fx, id, |group, cx| bury(group, cx, expired, None));
        }
        for part in split(tombstones) {
            self.writes.push(fx, part, Then::Nothing);
        }
    }

    fn arm_expiry(&mut self, now: Now) {
        let interval_ms = self.config.offsets_retention_check_interval_ms.max(1) as u64;
        self.timers.insert(now.after_ms(interval_ms), Timer::Expiry);
    }

    /// The only way the durable state changes: by a record, from the log at the start, or written and durable since.
    fn apply(&mut self, now: Now, record: &Record) {
        let is_value = matches!(record, Record::Offset { value: Some(_), .. } | Record::Group { value: Some(_), .. });
        let id = record.group();
        if is_value && !self.groups.contains_key(id) {
            self.groups.insert(id.clone(), Group::new(id.clone(), now));
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        let was_there = match record {
            Record::Group { value, .. } => std::mem::replace(&mut group.stored, value.clone()).is_some(),
            Record::Offset { topic, partition, value: Some(value), .. } => {
                group.offsets.entry(topic.clone()).or_default().insert(*partition, value.clone()).is_some()
            }
            Record::Offset { topic, partition, value: None, .. } => {
                let Some(of) = group.offsets.get_mut(topic) else { return };
                let was_there = of.remove(partition).is_some();
                if of.is_empty() {
                    group.offsets.remove(topic);
                }
                was_there
            }
        };
        self.live = self.live + u64::from(is_value) - u64::from(was_there);
    }

    /// A group that nobody is in and of which nothing is stored need not be kept.
    fn drop_if_unused(&mut self, id: &Arc<str>) {
        let is_unused = self.groups.get(id).is_some_and(|group| {
            group.state == GroupState::Empty
                && group.generation == 0
                && group.pending_members.is_empty()
                && group.stored.is_none()
                && group.offsets.is_empty()
        });
        if is_unused {
            self.groups.remove(id);
        }
    }

    /// After every call: counts what was handed out and starts a dump when the log has grown too long.
    fn settle(&mut self, fx: &mut Effects) {
        self.dump.logged += self.writes.take_issued();
        if self.is_loaded && self.dump.is_due(self.live) {
            self.dump.start(&self.groups, &mut self.writes, fx);
            self.dump.logged += self.writes.take_issued();
        }
    }

    fn with_group<R>(
        &mut self,
        now: Now,
        fx: &mut Effects,
        id: &Arc<str>,
        act: impl FnOnce(&mut Group, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(id)?;
        let mut cx = Cx {
            now,
            config: &self.config,
            prng: &mut self.prng,
            timers: &mut self.timers,
            writes: &mut self.writes,
            fx,
        };
        Some(act(group, &mut cx))
    }

    fn cx<'a>(&'a mut self, now: Now, fx: &'a mut Effects) -> Cx<'a> {
        Cx { now, config: &self.config, prng: &mut self.prng, timers: &mut self.timers, writes: &mut self.writes, fx }
    }
}

/// The group takes no more part in anything until its tombstones are durable.
fn bury(group: &mut Group, cx: &mut Cx<'_>, records: Vec<Record>, token: Option<Token>) {
    group.state = GroupState::Dead;
    let pending: Vec<Arc<str>> = group.pending_members.keys().cloned().collect();
    for id in pending {
        group.remove_pending(cx, &id);
    }
    let mut parts = split(records);
    let last = parts.pop().expect("a group's own tombstone is always there");
    for part in parts {
        cx.writes.push(cx.fx, part, Then::Nothing);
    }
    cx.writes.push(cx.fx, last, Then::Deleted { group: group.id.clone(), token });
}

fn list(group: &Group) -> ListedGroup {
    ListedGroup {
        group: group.id.clone(),
        protocol_type: group.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
        state: group.state,
    }
}

/// Everybody is a stranger to a group that does not exist.
fn strangers(leave: Leave) -> Vec<LeaveResult> {
    let error = Some(GroupError::UnknownMember);
    leave
        .members
        .into_iter()
        .map(|(member_id, group_instance_id)| LeaveResult { member_id, group_instance_id, error })
        .collect()
}

/// What a member of a group that does not exist is told.
fn unknown_in(group: &str) -> GroupError {
    if group.is_empty() { GroupError::InvalidGroupId } else { GroupError::UnknownMember }
}

/// The answer to a command that was not looked at.
pub fn refused(command: &Command, error: GroupError) -> Reply {
    match command {
        Command::Join(join) => Reply::Join(JoinReply::refused(join.member_id.clone(), error)),
        Command::Sync(_) => Reply::Sync(Err(error)),
        Command::Heartbeat(_) => Reply::Heartbeat(Err(error)),
        Command::Leave(_) => Reply::Leave(Err(error)),
        Command::OffsetCommit(commit) => refused_commit(commit, error),
        Command::OffsetFetch(_) => Reply::OffsetFetch(Err(error)),
        Command::OffsetDelete(_) => Reply::OffsetDelete(Err(error)),
        Command::DeleteGroup { .. } => Reply::DeleteGroup(Err(error)),
        Command::DescribeGroup { .. } => Reply::DescribeGroup(Err(error)),
        Command::ListGroups => Reply::ListGroups(Err(error)),
    }
}
