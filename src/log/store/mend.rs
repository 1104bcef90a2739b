//! Index files that were found wrong are made anew in the background, once per segment and process: reads go round them meanwhile,
//! and a segment that is damaged itself must not keep the disk busy.
//! Must never touch: how entries are made.

use std::collections::BTreeSet;

use coretide_model::Notice;

use super::Store;
use super::api::{CommitSeq, LogKey};
use super::background::Running;
use super::jobs::{IndexJob, IndexSpec, OwnDone, OwnOk, StoreJob};
use super::segment::{Busy, Phase, Run};

/// Segments that are remembered as mended; beyond that, all may be mended again.
const MENDED_MAX: usize = 10_000;

/// Index files to make anew.
#[derive(Debug, Default)]
pub(super) struct Mends {
    wanted: BTreeSet<(LogKey, i64)>,
    pub(super) tried: BTreeSet<(LogKey, i64)>,
}

/// Whose index files are being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mend {
    pub key: LogKey,
    segment: i64,
}

impl Store {
    /// The index files of a segment say something that is not so.
    pub(super) fn mend_index(&mut self, key: LogKey, segment: i64) {
        if !self.mends.tried.contains(&(key, segment)) {
            self.mends.wanted.insert((key, segment));
        }
    }

    /// Starts what is wanted and can be done.
    pub(super) fn start_mends(&mut self) {
        if self.mends.wanted.is_empty() || self.stopping {
            return;
        }
        for (key, base_offset) in std::mem::take(&mut self.mends.wanted) {
            let room = self.running.len() < self.limits.jobs_max;
            let Some(log) = self.log_mut(key) else { continue };
            if !room || log.busy.is_some() || log.directs > 0 {
                self.mends.wanted.insert((key, base_offset));
                continue;
            }
            let Some(segment) = log.segment(base_offset).filter(|_| log.offline.is_none()) else { continue };
            let complete = segment.phase == Phase::Closed;
            let flushed = segment.index.flushed_position.saturating_add(1);
            let behind = |run: &Run| run.bytes.slice(segment.destaged.saturating_sub(run.position) as usize..);
            let tail = log.undestaged(segment, CommitSeq::MAX).map(behind).collect();
            let spec = IndexSpec {
                dir: std::sync::Arc::clone(&log.dir),
                segment: base_offset,
                file_end: segment.destaged,
                tail,
                end: segment.end,
                next_offset: segment.next_offset,
                interval_bytes: log.config.index_interval_bytes,
                limit: if complete { segment.end } else { flushed },
                complete,
            };
            let path = super::segment_file(&log.dir, base_offset).path();
            log.busy = Some(Busy::Destaging);
            if self.mends.tried.len() >= MENDED_MAX {
                self.mends.tried.clear();
            }
            self.mends.tried.insert((key, base_offset));
            let mend = Mend { key, segment: base_offset };
            self.notice(Notice::warning(format!("the index files of {path} do not fit it; they are made anew")));
            self.job(Running::Mend(mend), StoreJob::index(IndexJob::new(spec)));
        }
    }

    /// They are made, or could not be: then reads go on going round them.
    pub(super) fn on_mended(&mut self, mend: Mend, output: OwnDone) {
        let Some(log) = self.log_mut(mend.key) else { return };
        log.busy = None;
        if let Ok(OwnOk::Index { index_bytes, time_bytes, last_timestamp }) = output
            && let Some(segment) = log.segment_mut(mend.segment)
        {
            segment.index.index_bytes = index_bytes;
            segment.index.time_bytes = time_bytes;
            segment.index.flushed_timestamp = last_timestamp.unwrap_or(super::index::NO_TIMESTAMP);
        }
        self.pins_changed = true;
    }
}
