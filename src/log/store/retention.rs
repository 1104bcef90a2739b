//! The front of the log: its start, old segments, whole logs.
//! Must never touch: the segment that takes appends, anything at or above the caller's limit.

use std::sync::Arc;

use coretide_model::Now;

use super::Store;
use super::api::{CommitSeq, LogKey};
use super::background::Garbage;
use super::commit::Meta;
use super::jobs::RemoveSpec;
use super::segment::{Log, Phase, Segment};

impl Store {
    /// Moves the log's start (DeleteRecords); segments wholly below it are deleted. Durable with the returned commit.
    pub fn set_log_start(&mut self, key: LogKey, now: Now, offset: i64) -> CommitSeq {
        let committed = self.committed;
        let Some(log) = self.log_mut(key) else { return committed };
        let offset = offset.min(log.committed_end);
        if offset <= log.log_start {
            // What moved it there may still be on its way.
            return log.log_start_commit;
        }
        log.log_start = offset;
        log.aux_dirty = true;
        let tp = log.tp;
        let commit = self.plan_meta(Meta::LogStart(tp, offset));
        if let Some(log) = self.log_mut(key) {
            log.log_start_commit = commit;
        }
        self.drop_segments(key, now, commit);
        commit
    }

    fn drop_segments(&mut self, key: LogKey, now: Now, after: CommitSeq) {
        let Some(log) = self.log_mut(key) else { return };
        let due_us = now.after_ms(log.config.file_delete_delay_ms);
        let (dir, topic_id) = (Arc::clone(&log.dir), log.tp.topic_id);
        for base_offset in log.drop_below_start(false) {
            let spec = RemoveSpec::Segment { dir: Arc::clone(&dir), topic_id, base_offset };
            self.discard(Garbage { after, due_us, key: None, spec, told: false });
        }
    }

    /// Deletes old segments that lie wholly below `limit_offset`: by the age of their youngest record and by the log's
    /// size; -1 turns either off. Returns the log's start.
    pub fn retention(
        &mut self,
        key: LogKey,
        now: Now,
        retention_ms: i64,
        retention_bytes: i64,
        limit_offset: i64,
    ) -> i64 {
        let Some(log) = self.log_mut(key) else { return 0 };
        let limit = limit_offset.min(log.committed_end);
        let expired = |segment: &Segment| {
            let youngest = match segment.index.max.timestamp {
                none if none < 0 => segment.created_ms,
                timestamp => timestamp,
            };
            retention_ms >= 0 && now.wall_ms.saturating_sub(youngest) > retention_ms
        };
        let mut surplus = if retention_bytes >= 0 { log.bytes() as i64 - retention_bytes } else { 0 };
        let mut start = log.log_start;
        let mut all = true;
        for at in 0..log.segments.len() - 1 {
            let (segment, next) = (&log.segments[at], log.segments[at + 1].base_offset);
            let bytes = i64::from(segment.end);
            let too_much = retention_bytes >= 0 && surplus >= bytes;
            let old = next <= start || expired(segment) || too_much;
            if segment.phase != Phase::Closed || next > limit || !old {
                all = false;
                break;
            }
            surplus -= bytes;
            start = start.max(next);
        }
        let open = log.open();
        let is_whole = open.next_offset <= limit && log.staged.is_empty() && log.runs_are_committed(limit);
        // Kafka rolls an expired active segment so that it can go too: here it goes with a later call, once it is closed.
        if all && open.end > 0 && is_whole && expired(open) && log.offline.is_none() {
            log.roll();
            self.want_destage.insert(key);
        }
        if start > self.log_start_offset(key) {
            self.set_log_start(key, now, start);
        }
        self.log_start_offset(key)
    }

    /// Forgets a log at once; its folder is renamed to `<dir>.<topic id>-delete` and removed in the background.
    pub fn delete_log(&mut self, key: LogKey) {
        let Some(log) = self.forget(key) else { return };
        if !log.announced {
            return;
        }
        let after = self.plan_meta(Meta::Delete(log.tp));
        // They go with their folder. On their own they would be looked for by name, and the next topic may have that by then.
        self.garbage.retain(|garbage| !garbage.spec.is_segment_of(&log.dir, log.tp.topic_id));
        let spec = RemoveSpec::Log { dir: log.dir, topic_id: log.tp.topic_id };
        self.discard(Garbage { after, due_us: 0, key: Some(key), spec, told: false });
    }

    /// Takes a log out of all that the store remembers of it.
    pub(super) fn forget(&mut self, key: LogKey) -> Option<Box<Log>> {
        self.stop_waiting(key);
        let log = self.logs.get_mut(key.0 as usize).and_then(Option::take)?;
        self.backlog_bytes -= log.staged.iter().map(|staged| staged.bytes.len()).sum::<usize>();
        self.undestaged.remove(&key);
        self.want_destage.remove(key);
        self.pins_changed = true;
        Some(log)
    }
}

impl Log {
    fn runs_are_committed(&self, limit: i64) -> bool {
        self.runs.back().is_none_or(|run| run.next_offset <= limit)
    }

    /// Drops closed segments (or `any`) wholly below the log's start, and returns their base offsets. One always stays.
    pub fn drop_below_start(&mut self, any: bool) -> Vec<i64> {
        let mut dropped = Vec::new();
        while self.segments.len() > 1 {
            let first = &self.segments[0];
            let droppable = any || first.phase == Phase::Closed;
            if !droppable || self.segments[1].base_offset > self.log_start {
                break;
            }
            let base = first.base_offset;
            self.segments.pop_front();
            while self.runs.front().is_some_and(|run| run.segment == base) {
                self.runs.pop_front();
            }
            dropped.push(base);
        }
        dropped
    }
}
