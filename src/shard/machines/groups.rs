//! The group coordinators of the partitions of `__consumer_offsets` that this shard owns.
//! Must never touch: wire requests and responses.

use coretide_controller::Change;
use coretide_coordinator::{Command, GroupError, WriteId, refused};
use coretide_model::TopicPartition;

use crate::config::ShardConfig;
use crate::logs::{InternalResult, Loaded};
use crate::mail::{Answer, Asker};
use crate::shard::Shard;

/// The machines and what waits around them.
pub(crate) struct GroupHost;

impl GroupHost {
    pub fn new(_config: &ShardConfig) -> GroupHost {
        GroupHost
    }
}

impl Shard {
    /// The coordinators' timers are due.
    pub(crate) fn on_groups_timer(&mut self) {}
}

/// A command of any shard.
pub(crate) fn on_command(shard: &mut Shard, asker: Asker, _partition: i32, command: Command) {
    let reply = refused(&command, GroupError::NotAvailable);
    shard.answer(asker, Answer::Group(reply));
}

/// This shard has opened a partition of `__consumer_offsets`: its log is to be read with `Shard::load_internal`.
pub(crate) fn on_opened(_shard: &mut Shard, _tp: TopicPartition) {}

/// A part of a partition's log was read.
pub(crate) fn on_loaded(_shard: &mut Shard, _partition: i32, _loaded: Loaded) {}

/// A write is durable, or has failed.
pub(crate) fn on_appended(_shard: &mut Shard, _partition: i32, _write: WriteId, _result: InternalResult) {}

/// The cluster's state has changed.
pub(crate) fn on_changes(_shard: &mut Shard, _changes: &[Change]) {}
