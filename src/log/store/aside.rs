//! Logs that nobody claims and nobody is known to have deleted: their folders are set aside, whole, and the store forgets
//! them. Nothing that a start is unsure about is ever removed.
//! Must never touch: who claims what.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coretide_model::{Notice, TopicId};

use super::Store;
use super::api::{CommitSeq, LogKey};
use super::background::Running;
use super::commit::Meta;
use super::jobs::{AsideJob, OwnDone, StoreJob, Tail, aside_dir};
use super::segment::{Busy, Log, Phase};

impl Store {
    /// Sets a log aside: what of it is only in memory is written to its segments, its folder is renamed to
    /// `<dir>.<topic id>-stray`, and then it is forgotten. Until all of that is durable, the log stays what it is.
    pub fn set_aside(&mut self, key: LogKey) {
        self.asides.insert(key);
    }

    /// Starts what is wanted and can be done.
    pub(super) fn start_asides(&mut self) {
        if self.asides.is_empty() || self.stopping {
            return;
        }
        let mut waiting = BTreeSet::new();
        for key in std::mem::take(&mut self.asides) {
            let room = self.running.len() < self.limits.jobs_max;
            let Some(log) = self.log_mut(key).filter(|log| log.offline.is_none()) else { continue };
            if !room || log.busy.is_some() || log.directs > 0 {
                waiting.insert(key);
                continue;
            }
            log.busy = Some(Busy::Destaging);
            let job = AsideJob::new(Arc::clone(&log.dir), log.tp.topic_id, log.tails());
            self.job(Running::SetAside { key }, StoreJob::aside(job));
        }
        self.asides = waiting;
    }

    /// It is done, or could not be: then the log is offline, and the next start tries again.
    pub(super) fn on_set_aside(&mut self, key: LogKey, output: OwnDone) {
        if let Err(error) = output {
            if let Some(log) = self.log_mut(key) {
                log.busy = None;
            }
            return self.take_offline(key, error);
        }
        let Some(log) = self.forget(key) else { return };
        self.plan_meta(Meta::Delete(log.tp));
        self.notice(aside_notice(&log.dir, log.tp.topic_id));
    }
}

fn aside_notice(dir: &str, topic_id: TopicId) -> Notice {
    Notice::error(format!(
        "{dir} holds records of topic {topic_id}, which the cluster's metadata neither knows nor says to have been deleted. Its \
         folder was set aside as {} with all its records, and is not served; the broker never removes it",
        aside_dir(dir, topic_id)
    ))
}

impl Log {
    /// What memory has of each segment whose files are not complete.
    fn tails(&self) -> Vec<Tail> {
        let unclosed = self.segments.iter().filter(|segment| segment.phase != Phase::Closed && segment.end > 0);
        let tail = |segment: &super::segment::Segment| {
            let mut bytes = BytesMut::new();
            for run in self.undestaged(segment, CommitSeq::MAX) {
                bytes.extend_from_slice(&run.bytes[segment.destaged.saturating_sub(run.position) as usize..]);
            }
            Tail { segment: segment.base_offset, at: segment.destaged, bytes: Bytes::from(bytes) }
        };
        unclosed.map(tail).collect()
    }
}
