//! The controller on shard 0: commands from all shards, its log, and the deltas that go to all shards once durable.
//! Must never touch: wire requests and responses.

use std::collections::BTreeMap;
use std::sync::Arc;

use coretide_controller::names::CLUSTER_METADATA;
use coretide_controller::{Command, Controller, ControllerConfig, Delta, Effects, Token};
use coretide_model::{ShardId, TopicConfig};

use super::metadata;
use crate::config::ShardConfig;
use crate::logs::{InternalResult, Loaded, Ticket};
use crate::mail::{Answer, Asker, Mail};
use crate::placement::{CONTROLLER_SHARD, METADATA_PARTITION};
use crate::shard::Shard;

/// The ticket's revision of an append that is a snapshot.
const SNAPSHOT: u64 = 0;

/// The machine and what waits around it.
pub(crate) struct ControllerHost {
    controller: Controller,
    /// Everything of the log is replayed.
    started: bool,
    next_token: Token,
    askers: BTreeMap<Token, Asker>,
    /// Deltas that are not durable yet.
    writing: BTreeMap<u64, Arc<Delta>>,
    snapshotting: bool,
}

impl ControllerHost {
    /// None on other shards than the first.
    pub fn new(config: &ShardConfig) -> Option<ControllerHost> {
        let broker = (*config.broker).clone();
        (config.shard == CONTROLLER_SHARD).then(|| ControllerHost {
            controller: Controller::new(ControllerConfig { broker, shards: config.shards, seed: config.seed }),
            started: false,
            next_token: 0,
            askers: BTreeMap::new(),
            writing: BTreeMap::new(),
            snapshotting: false,
        })
    }
}

/// The metadata log keeps what snapshots do not replace, and every ack of it is durable.
fn log_config() -> Arc<TopicConfig> {
    Arc::new(TopicConfig { retention_ms: -1, retention_bytes: -1, flush_messages: 1, ..TopicConfig::default() })
}

/// Opens and reads the metadata log.
pub(crate) fn start(shard: &mut Shard) {
    let dir: Arc<str> = format!("{CLUSTER_METADATA}-0").into();
    if let Err(error) = shard.logs.open_partition(shard.now, METADATA_PARTITION, dir, 0, log_config()) {
        return shard.fatal(format!("{CLUSTER_METADATA}: {error}"));
    }
    shard.load_internal(METADATA_PARTITION, Ticket::Metadata { revision: SNAPSHOT });
}

/// A part of the log was read.
pub(crate) fn on_loaded(shard: &mut Shard, loaded: Loaded) {
    let Some(host) = &mut shard.controller else { return };
    let failed = match loaded {
        Loaded::Batches(bytes) => match metadata::from_batches(&bytes) {
            Ok(batches) => {
                let mut replayed = batches.iter().map(|records| host.controller.replay(records));
                replayed.find_map(Result::err).map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        },
        Loaded::Failed(error) => Some(format!("the metadata log cannot be read: {error}")),
        Loaded::End => {
            host.started = true;
            let delta = host.controller.start();
            return broadcast(shard, &delta);
        }
    };
    if let Some(reason) = failed {
        shard.fatal(reason);
    }
}

/// A command of any shard.
pub(crate) fn on_command(shard: &mut Shard, asker: Asker, command: Command) {
    let Some(host) = shard.controller.as_mut().filter(|host| host.started) else {
        return shard.answer(asker, Answer::Unavailable);
    };
    let token = host.next_token;
    host.next_token += 1;
    host.askers.insert(token, asker);
    let mut effects = Effects::default();
    host.controller.handle(command, token, &mut effects);
    take_effects(shard, effects);
}

/// A delta or a snapshot is durable, or its write failed.
pub(crate) fn on_appended(shard: &mut Shard, revision: u64, result: InternalResult) {
    let Some(host) = &mut shard.controller else { return };
    match result {
        Ok(appended) if revision == SNAPSHOT => {
            host.snapshotting = false;
            shard.logs.advance_start(shard.now, METADATA_PARTITION, appended.base_offset);
        }
        Ok(_) => {
            if let Some(delta) = host.writing.remove(&revision) {
                broadcast(shard, &delta);
            }
        }
        Err(_) => {
            host.writing.clear();
            let mut effects = Effects::default();
            host.controller.on_write_failed(&mut effects);
            take_effects(shard, effects);
        }
    }
}

/// A shard has applied all deltas up to this one.
pub(crate) fn on_applied(shard: &mut Shard, from: ShardId, revision: u64) {
    let Some(host) = &mut shard.controller else { return };
    let mut effects = Effects::default();
    host.controller.on_applied(from, revision, &mut effects);
    take_effects(shard, effects);
}

fn broadcast(shard: &mut Shard, delta: &Arc<Delta>) {
    for to in (0..shard.config.shards).map(ShardId) {
        shard.send(to, Mail::Delta(delta.clone()));
    }
}

fn take_effects(shard: &mut Shard, effects: Effects) {
    for delta in effects.writes {
        let Some(host) = &mut shard.controller else { return };
        host.writing.insert(delta.revision, delta.clone());
        append(shard, &delta.records, delta.revision);
    }
    for (token, reply) in effects.replies {
        let asker = shard.controller.as_mut().and_then(|host| host.askers.remove(&token));
        if let Some(asker) = asker {
            shard.answer(asker, Answer::Controller(reply));
        }
    }
    let Some(host) = &mut shard.controller else { return };
    if host.controller.snapshot_due() && !host.snapshotting {
        host.snapshotting = true;
        let records = host.controller.snapshot();
        append(shard, &records, SNAPSHOT);
    }
}

fn append(shard: &mut Shard, records: &[coretide_controller::Record], revision: u64) {
    match metadata::to_batch(records, shard.now.wall_ms) {
        Ok(batch) => shard.append_internal(METADATA_PARTITION, &batch, Ticket::Metadata { revision }),
        Err(error) => shard.fatal(format!("a metadata record cannot be written: {error}")),
    }
}
