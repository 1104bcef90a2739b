//! A shard's life: start, the cluster's state as it arrives, stop.
//!
//! ```text
//!   Born ─ first call ─► Booting ─ first delta applied ─► Serving ─ Stop ─► Draining ─ all shards drained ─►
//!   Closing ─ store stopped ─► Stopped
//! ```
//! Must never touch: what requests mean.

use std::sync::Arc;

use coretide_controller::names::CONSUMER_OFFSETS;
use coretide_controller::{Change, Delta, TopicImage};
use coretide_model::{ConnId, ShardId, TopicPartition};

use crate::config::{IDLE_SCAN_US, STOP_GRACE_US};
use crate::event::Output;
use crate::machines::{controller, groups};
use crate::mail::Mail;
use crate::pending::Pending;
use crate::placement::CONTROLLER_SHARD;
use crate::shard::Shard;
use crate::timers::Timer;

/// Where in its life a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Made; nothing has begun.
    Born,
    /// Waiting for the cluster's state.
    Booting { stop_asked: bool },
    /// Connections are served.
    Serving,
    /// No new requests; `told`: the other shards know that none of ours is in progress any more.
    Draining { told: bool },
    /// The store stops.
    Closing,
    /// Over.
    Stopped,
}

impl Shard {
    /// The beginning, once: shard 0 reads the metadata log, the others wait for its first delta.
    pub(crate) fn start(&mut self) {
        if self.phase != Phase::Born {
            return;
        }
        self.phase = Phase::Booting { stop_asked: false };
        self.timers.insert(self.now.mono_us + IDLE_SCAN_US, Timer::IdleScan);
        let interval_ms = self.image.broker().log_retention_check_interval_ms.max(1) as u64;
        self.timers.insert(self.now.after_ms(interval_ms), Timer::Retention);
        if self.controller.is_some() {
            controller::start(self);
        }
    }

    /// Ends the process: going on would do harm.
    pub(crate) fn fatal(&mut self, reason: String) {
        self.out.push(Output::Fatal { reason });
    }

    /// The cluster's state has changed: durable, and in the order of revisions.
    pub(crate) fn apply(&mut self, delta: &Arc<Delta>) {
        let changes = match self.image.apply(&delta.records) {
            Ok(changes) => changes,
            Err(error) => return self.fatal(error.to_string()),
        };
        for change in &changes {
            match change {
                Change::TopicCreated(topic) => self.open_partitions(topic, 0),
                Change::PartitionsAdded { topic, first } => self.open_partitions(topic, *first),
                Change::TopicConfigured(topic) => {
                    for tp in partitions(topic) {
                        self.logs.configure(tp, &topic.config);
                    }
                }
                Change::TopicDeleted(topic) => {
                    for tp in partitions(topic) {
                        self.logs.delete_partition(tp);
                    }
                    self.wake_watchers();
                }
                Change::BrokerConfigured(_) => self.follow_limits(),
            }
        }
        groups::on_changes(self, &changes);
        if let Phase::Booting { stop_asked } = self.phase {
            self.logs.leave_unclaimed(&delta.removed);
            self.phase = Phase::Serving;
            self.out.push(Output::Ready);
            if stop_asked {
                self.on_stop();
            }
        }
        self.send(CONTROLLER_SHARD, Mail::Applied { revision: delta.revision });
    }

    fn open_partitions(&mut self, topic: &Arc<TopicImage>, first: i32) {
        for tp in partitions(topic).filter(|tp| tp.partition >= first) {
            if self.owner(tp) != self.config.shard {
                continue;
            }
            let leader_epoch = topic.partitions[tp.partition as usize].leader_epoch;
            let dir: Arc<str> = format!("{}-{}", topic.name, tp.partition).into();
            if let Err(error) = self.logs.open_partition(self.now, tp, dir, leader_epoch, topic.config.clone()) {
                return self.fatal(format!("partition {}-{}: {error}", topic.name, tp.partition));
            }
            if &*topic.name == CONSUMER_OFFSETS {
                groups::on_opened(self, tp);
            }
        }
    }

    /// A shard has applied a delta; only shard 0 is told.
    pub(crate) fn on_applied(&mut self, from: ShardId, revision: u64) {
        controller::on_applied(self, from, revision);
    }

    /// The broker is asked to stop: nothing new is read or begun, what is in progress is finished, what only waits for
    /// data is answered now.
    pub(crate) fn on_stop(&mut self) {
        match &mut self.phase {
            Phase::Born => unreachable!("whatever is called starts the shard"),
            Phase::Booting { stop_asked } => *stop_asked = true,
            Phase::Serving => {
                self.phase = Phase::Draining { told: false };
                self.pause_all_as_needed();
                self.timers.insert(self.now.mono_us + STOP_GRACE_US, Timer::StopGrace);
                groups::on_stop(self);
                for id in self.pending.select(|_, _, pending| matches!(pending, Pending::Fetch(_))) {
                    self.on_request_deadline(id);
                }
            }
            Phase::Draining { .. } | Phase::Closing | Phase::Stopped => {}
        }
    }

    /// The grace is over: connections are cut, whatever is in progress on them.
    pub(crate) fn stop_waiting(&mut self) {
        if self.phase == (Phase::Draining { told: false }) {
            self.tell_drained();
        }
    }

    /// Looks whether the stop can go on.
    pub(crate) fn on_quiet(&mut self) {
        if self.phase == (Phase::Draining { told: false }) {
            let in_progress = self.sessions.values().any(|session| !session.is_closing() && session.in_progress() > 0);
            if !in_progress && self.pending.len() == 0 {
                self.tell_drained();
            }
        }
    }

    /// Looks whether the stop is over.
    pub(crate) fn on_stopped(&mut self) {
        if self.phase == Phase::Closing && self.logs.store.is_stopped() {
            self.phase = Phase::Stopped;
            self.out.push(Output::Stopped);
        }
    }

    fn tell_drained(&mut self) {
        let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in conns {
            self.close_now(conn);
            self.on_closed(conn);
        }
        self.phase = Phase::Draining { told: true };
        for shard in (0..self.config.shards).map(ShardId) {
            self.send(shard, Mail::Drained);
        }
    }

    /// True while new requests may wait for something.
    pub(crate) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// A shard asks nothing of the others any more. When that is true of all, the store may stop.
    pub(crate) fn on_drained(&mut self) {
        // Another shard may be told to stop before we are.
        self.on_stop();
        self.drained_shards += 1;
        if self.phase == (Phase::Draining { told: true }) && self.drained_shards == self.config.shards {
            self.phase = Phase::Closing;
            self.logs.store.begin_stop(self.now);
        }
    }
}

fn partitions(topic: &Arc<TopicImage>) -> impl Iterator<Item = TopicPartition> + use<> {
    let topic_id = topic.id;
    (0..topic.partitions.len() as i32).map(move |partition| TopicPartition { topic_id, partition })
}
