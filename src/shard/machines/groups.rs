//! The group coordinators of the partitions of `__consumer_offsets` that this shard owns: their logs are read when a
//! partition opens, their writes appended, their answers sent, their timers kept.
//! Must never touch: wire requests and responses.

use std::collections::BTreeMap;

use coretide_controller::Change;
use coretide_controller::names::CONSUMER_OFFSETS;
use coretide_coordinator::{
    Command, Effects, GroupConfig, GroupCoordinator, GroupError, Reply, Token, Write, WriteError, WriteId, added_bytes,
    refused,
};
use coretide_log::batch::VerifiedBatch;
use coretide_model::{BrokerConfig, TopicId, TopicPartition};
use coretide_partition::AppendError;
use coretide_stdx::prng::Prng;

use crate::config::{MemoryShares, ShardConfig};
use crate::group_log;
use crate::logs::{InternalResult, Loaded, Ticket};
use crate::mail::{Answer, AppendFailure, Asker};
use crate::shard::Shard;
use crate::timers::Timer;

/// Names the load of a partition's log; writes have their own numbers, and there is one load per partition.
const LOAD: WriteId = WriteId(0);

/// The machines and what waits around them.
pub(crate) struct GroupHost {
    /// By partition of `__consumer_offsets`.
    machines: BTreeMap<i32, Machine>,
    /// Where [`Timer::Groups`] stands.
    armed_us: Option<u64>,
    prng: Prng,
    size: Size,
}

/// What all groups of this shard take: counted now and then, and in between never guessed too low.
struct Size {
    bytes: usize,
    max_bytes: usize,
    /// Not counted again before this moment, in microseconds: counting looks at everything.
    count_again_us: u64,
}

/// How often the groups are counted at most, in microseconds.
const COUNT_EVERY_US: u64 = 100_000;

struct Machine {
    tp: TopicPartition,
    coordinator: GroupCoordinator,
    /// Who waits for which answer.
    askers: BTreeMap<Token, Asker>,
    next_token: u64,
    /// The log cannot be read: nothing is served.
    failed: bool,
}

impl GroupHost {
    pub fn new(config: &ShardConfig) -> GroupHost {
        let max_bytes = MemoryShares::of(&config.broker).groups_bytes;
        // Whatever the logs hold is counted with the first command that could add to it.
        let size = Size { bytes: max_bytes, max_bytes, count_again_us: 0 };
        GroupHost { machines: BTreeMap::new(), armed_us: None, prng: Prng::new(config.seed), size }
    }

    /// True when the groups have all the memory that they may have, and this command would need more.
    fn has_no_room(&mut self, now_us: u64, partition: i32, command: &Command) -> bool {
        self.size.bytes = self.size.bytes.saturating_add(added_bytes(command));
        if self.size.bytes <= self.size.max_bytes {
            return false;
        }
        if now_us >= self.size.count_again_us {
            self.size.bytes = self.machines.values().map(|machine| machine.coordinator.state_bytes()).sum();
            // With much room left, it takes many commands to come here again.
            let is_roomy = self.size.bytes < self.size.max_bytes / 2;
            self.size.count_again_us = if is_roomy { now_us } else { now_us + COUNT_EVERY_US };
        }
        let machine = self.machines.get(&partition);
        self.size.bytes > self.size.max_bytes && machine.is_some_and(|machine| machine.coordinator.is_growth(command))
    }
}

impl Shard {
    /// The coordinators' timers are due.
    pub(crate) fn on_groups_timer(&mut self) {
        self.groups.armed_us = None;
        let now = self.now;
        let is_due = |machine: &Machine| machine.coordinator.next_deadline_us().is_some_and(|at| at <= now.mono_us);
        let due: Vec<i32> = self.groups.machines.iter().filter(|(_, m)| is_due(m)).map(|(p, _)| *p).collect();
        for partition in due {
            act(self, partition, |machine, fx| machine.coordinator.tick(now, fx));
        }
        let next = self.groups.machines.values().filter_map(|m| m.coordinator.next_deadline_us()).min();
        if let Some(at_us) = next {
            self.arm_groups(at_us);
        }
    }

    fn arm_groups(&mut self, at_us: u64) {
        if self.groups.armed_us.is_some_and(|armed_us| armed_us <= at_us) {
            return;
        }
        if let Some(armed_us) = self.groups.armed_us.replace(at_us) {
            self.timers.remove(armed_us, Timer::Groups);
        }
        self.timers.insert(at_us, Timer::Groups);
    }
}

/// A command of any shard.
pub(crate) fn on_command(shard: &mut Shard, asker: Asker, partition: i32, command: Command) {
    let now = shard.now;
    let refusal = match shard.groups.machines.get(&partition) {
        None => Some(GroupError::NotCoordinator),
        Some(machine) if machine.failed => Some(GroupError::NotAvailable),
        Some(_) => None,
    };
    let refusal = refusal.or_else(|| no_room(shard, partition, &command));
    if let Some(error) = refusal {
        let reply = refused(&command, error);
        return shard.answer(asker, Answer::Group(reply));
    }
    act(shard, partition, |machine, fx| {
        let token = Token(machine.next_token);
        machine.next_token += 1;
        machine.askers.insert(token, asker);
        machine.coordinator.handle(now, command, token, fx);
    });
}

/// Why a command is refused when the groups have all the memory that they may have.
fn no_room(shard: &mut Shard, partition: i32, command: &Command) -> Option<GroupError> {
    if !shard.groups.has_no_room(shard.now.mono_us, partition, command) {
        return None;
    }
    shard.metrics.groups_refused += 1;
    let is_join = matches!(command, Command::Join(_));
    Some(if is_join { GroupError::GroupFull } else { GroupError::OffsetMetadataTooLarge })
}

/// This shard has opened a partition of `__consumer_offsets`: its log is read from its start.
pub(crate) fn on_opened(shard: &mut Shard, tp: TopicPartition) {
    let config = group_config(shard.image.broker());
    let seed = shard.groups.prng.next_u64();
    let machine = Machine {
        tp,
        coordinator: GroupCoordinator::new(config, seed),
        askers: BTreeMap::new(),
        next_token: 0,
        failed: false,
    };
    shard.groups.machines.insert(tp.partition, machine);
    shard.load_internal(tp, Ticket::Group { partition: tp.partition, write: LOAD });
}

/// A part of a partition's log was read.
pub(crate) fn on_loaded(shard: &mut Shard, partition: i32, loaded: Loaded) {
    let now = shard.now;
    let Some(machine) = shard.groups.machines.get_mut(&partition) else { return };
    match loaded {
        Loaded::Batches(bytes) => {
            let read = group_log::read(&bytes, |record| machine.coordinator.replay(now, record));
            machine.failed |= read.is_err();
        }
        Loaded::Failed(_) => machine.failed = true,
        Loaded::End if machine.failed => {}
        Loaded::End => {
            act(shard, partition, |machine, fx| machine.coordinator.finish_load(now, fx));
            retain_topics(shard, partition);
        }
    }
}

/// A write is durable, or has failed.
pub(crate) fn on_appended(shard: &mut Shard, partition: i32, write: WriteId, result: InternalResult) {
    let now = shard.now;
    act(shard, partition, |machine, fx| match result {
        Ok(appended) => machine.coordinator.on_committed(now, write, appended.base_offset, fx),
        Err(failure) => machine.coordinator.on_write_failed(now, write, write_error(&failure), fx),
    });
}

/// The cluster's state has changed: offsets of deleted topics go, and with `__consumer_offsets` itself its coordinators.
pub(crate) fn on_changes(shard: &mut Shard, changes: &[Change]) {
    let deleted: Vec<TopicId> = changes
        .iter()
        .filter_map(|change| match change {
            Change::TopicDeleted(topic) => Some(topic.id),
            _ => None,
        })
        .collect();
    if deleted.is_empty() {
        return;
    }
    let partitions: Vec<(i32, TopicId)> = shard.groups.machines.iter().map(|(p, m)| (*p, m.tp.topic_id)).collect();
    for (partition, topic_id) in partitions {
        if deleted.contains(&topic_id) {
            resign(shard, partition);
        } else {
            retain_topics(shard, partition);
        }
    }
}

/// The broker stops: requests that wait for other members are answered, so that nobody has to wait for them.
pub(crate) fn on_stop(shard: &mut Shard) {
    let partitions: Vec<i32> = shard.groups.machines.keys().copied().collect();
    for partition in partitions {
        act(shard, partition, |machine, fx| machine.coordinator.release_parked(fx));
    }
}

/// The partition is gone: whoever still waits is told to look for the coordinator again.
fn resign(shard: &mut Shard, partition: i32) {
    act(shard, partition, |machine, fx| machine.coordinator.release_parked(fx));
    let Some(machine) = shard.groups.machines.remove(&partition) else { return };
    for asker in machine.askers.into_values() {
        shard.answer(asker, Answer::Unavailable);
    }
}

/// Drops the offsets of topics that are gone or were made anew.
fn retain_topics(shard: &mut Shard, partition: i32) {
    let now = shard.now;
    let Some(mut machine) = shard.groups.machines.remove(&partition) else { return };
    let mut fx = Effects::default();
    if machine.coordinator.is_loaded() {
        let image = &shard.image;
        machine.coordinator.retain_topics(now, &|name| image.topic_named(name).map(|topic| topic.id), &mut fx);
    }
    shard.groups.machines.insert(partition, machine);
    settle(shard, partition, fx);
}

/// Lets a machine act and does what it wants done.
fn act(shard: &mut Shard, partition: i32, with: impl FnOnce(&mut Machine, &mut Effects)) {
    let Some(machine) = shard.groups.machines.get_mut(&partition) else { return };
    let mut fx = Effects::default();
    with(machine, &mut fx);
    settle(shard, partition, fx);
}

fn settle(shard: &mut Shard, partition: i32, mut fx: Effects) {
    loop {
        let Some(machine) = shard.groups.machines.get_mut(&partition) else { return };
        let tp = machine.tp;
        let deadline_us = machine.coordinator.next_deadline_us();
        let answered: Vec<(Option<Asker>, Reply)> =
            fx.replies.drain(..).map(|(token, reply)| (machine.askers.remove(&token), reply)).collect();
        for (asker, reply) in answered {
            let asker = asker.expect("a coordinator answers each command once");
            shard.answer(asker, Answer::Group(reply));
        }
        if let Some(offset) = fx.advance_log_start.take() {
            shard.logs.advance_start(shard.now, tp, offset);
        }
        if let Some(at_us) = deadline_us {
            shard.arm_groups(at_us);
        }
        let writes = std::mem::take(&mut fx.writes);
        if writes.is_empty() {
            return;
        }
        for write in writes {
            append(shard, tp, &write, &mut fx);
        }
    }
}

/// Appends a write; one that no message can hold fails at once, into `fx`.
fn append(shard: &mut Shard, tp: TopicPartition, write: &Write, fx: &mut Effects) {
    let max_bytes = shard
        .image
        .topic_named(CONSUMER_OFFSETS)
        .map_or(usize::MAX, |topic| usize::try_from(topic.config.max_message_bytes).unwrap_or(0));
    let built = group_log::batch(&write.records, shard.now.wall_ms).map(VerifiedBatch::from_own_records);
    match built {
        Ok(batch) if batch.len_bytes() <= max_bytes => {
            shard.append_internal(tp, &batch, Ticket::Group { partition: tp.partition, write: write.id });
        }
        _ => {
            let now = shard.now;
            if let Some(machine) = shard.groups.machines.get_mut(&tp.partition) {
                machine.coordinator.on_write_failed(now, write.id, WriteError::TooLarge, fx);
            }
        }
    }
}

fn write_error(failure: &AppendFailure) -> WriteError {
    match failure {
        AppendFailure::Refused(AppendError::LargerThanSegment { .. }) => WriteError::TooLarge,
        AppendFailure::NotHere | AppendFailure::Refused(_) | AppendFailure::Storage(_) => WriteError::NotLeader,
    }
}

fn group_config(broker: &BrokerConfig) -> GroupConfig {
    let groups = &broker.groups;
    GroupConfig {
        min_session_timeout_ms: groups.group_min_session_timeout_ms,
        max_session_timeout_ms: groups.group_max_session_timeout_ms,
        max_size: u32::try_from(groups.group_max_size).unwrap_or(u32::MAX),
        initial_rebalance_delay_ms: groups.group_initial_rebalance_delay_ms,
        offset_metadata_max_bytes: i32::try_from(groups.offset_metadata_max_bytes).unwrap_or(i32::MAX),
        offsets_retention_ms: groups.offsets_retention_ms,
        offsets_retention_check_interval_ms: groups.offsets_retention_check_interval_ms,
    }
}
