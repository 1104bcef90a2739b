//! Plans of reads: which bytes are in memory, and what a job needs to find the others.
//! Must never touch: bytes on disk.

use bytes::Bytes;
use coretide_model::Notice;
use smallvec::SmallVec;

use super::Store;
use super::api::{Extent, Extents, LogKey, ReadPlan, ReadReady, TimeLookup};
use super::index::{IndexEntry, MaxTimestamp};
use super::jobs::{
    ColdPlace, ColdRead, ColdSource, ColdStart, ReadDone, ReadFailure, TimeDone, TimeRead, TimeSegment, TimeTarget,
    Verified,
};
use super::segment::{Log, Segment};
use crate::batch::{peek_header, walk_batches};

/// Places that sequential readers of one log come back to, at most.
const CURSORS_MAX: usize = 8;

/// Unreadable places of one log that are told to the operator.
const UNREADABLE_TOLD_MAX: usize = 8;
/// Ranges of one log that were verified, at most; the oldest is forgotten.
const VERIFIED_MAX: usize = 32;

/// What recent cold reads leave behind.
#[derive(Clone, Debug, Default)]
pub struct Cursors {
    /// Where they ended, the newest last.
    places: SmallVec<[ColdPlace; 2]>,
    /// What they found good, the newest last. Bytes of a segment's file are written once, so a range stays what it is.
    verified: SmallVec<[Verified; 1]>,
}

impl Cursors {
    fn find(&self, segment: i64, offset: i64) -> Option<ColdPlace> {
        self.places.iter().find(|place| place.segment == segment && place.offset == offset).copied()
    }

    fn push(&mut self, place: ColdPlace) {
        self.places.retain(|known| *known != place);
        if self.places.len() == CURSORS_MAX {
            self.places.remove(0);
        }
        self.places.push(place);
    }

    /// The verified range that goes on behind `position`.
    fn verified(&self, segment: i64, position: u32) -> Option<Verified> {
        let mine = |range: &&Verified| range.segment == segment && (range.from..range.to).contains(&position);
        self.verified.iter().find(mine).copied()
    }

    /// Notes a range, joined with what it touches.
    fn note_verified(&mut self, mut range: Verified) {
        self.verified.retain(|known| {
            if known.segment != range.segment || known.from > range.to || range.from > known.to {
                return true;
            }
            range.from = range.from.min(known.from);
            if known.to > range.to {
                (range.to, range.to_offset) = (known.to, known.to_offset);
            }
            false
        });
        if self.verified.len() == VERIFIED_MAX {
            self.verified.remove(0);
        }
        self.verified.push(range);
    }
}

impl Store {
    /// Plans a read of whole batches from the one that holds `from_offset`, all below `limit_offset` (high watermark or
    /// last stable offset), at most `max_bytes`, but the first batch whatever its size with `at_least_one`.
    pub fn plan_read(
        &mut self,
        key: LogKey,
        from_offset: i64,
        limit_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> ReadPlan {
        let extents_max = self.limits.extents_max;
        let Some(log) = self.log(key) else { return ReadPlan::OutOfRange };
        if from_offset < log.log_start || from_offset > log.end_offset {
            return ReadPlan::OutOfRange;
        }
        let limit_offset = limit_offset.min(log.committed_end);
        if from_offset >= limit_offset {
            return ReadPlan::Empty;
        }
        let at = log.runs.partition_point(|run| run.next_offset <= from_offset);
        let is_hot = log.runs.get(at).is_some_and(|run| run.whole && (run.first_offset <= from_offset || at > 0));
        if is_hot {
            let budget = Budget { limit_offset, max_bytes, at_least_one, extents_max };
            return match log.read_hot(at, from_offset, &budget) {
                Some(ready) => ReadPlan::Ready(ready),
                None => ReadPlan::Empty,
            };
        }
        let Some(segment) = log.segment_of(from_offset) else { return ReadPlan::OutOfRange };
        let from_offset = from_offset.max(segment.base_offset);
        if from_offset >= limit_offset {
            return ReadPlan::Empty;
        }
        let (source, pending) = log.cold_source(segment, from_offset);
        let exact = log.cursors.find(segment.base_offset, from_offset);
        let start = exact.map_or(pending, |place| ColdStart::Exact(place.position));
        let verified = exact.and_then(|place| log.cursors.verified(segment.base_offset, place.position));
        ReadPlan::Cold(ColdRead {
            key,
            from_offset,
            limit_offset,
            max_bytes,
            at_least_one,
            want_file: false,
            epochs: Vec::new(),
            source,
            start,
            verified,
        })
    }

    /// Learns from a finished cold read where the next one begins, what of the file is good, and what is not. What is left
    /// as [`ReadFailure::Gone`] is in another place, or nowhere, when it is planned again.
    pub fn note_read(&mut self, done: &mut ReadDone) {
        self.judge_gone(done.key, Some(done.segment), &mut done.result);
        if let Err(failure) = &done.result {
            self.note_failed_read(done.key, failure);
        }
        if let Some(segment) = done.suspect {
            self.mend_index(done.key, segment);
        }
        let Some(log) = self.log_mut(done.key) else { return };
        done.next.into_iter().for_each(|place| log.cursors.push(place));
        done.verified.into_iter().for_each(|range| log.cursors.note_verified(range));
    }

    /// Learns from a finished search by time, like [`Store::note_read`].
    pub fn note_search(&mut self, done: &mut TimeDone) {
        self.judge_gone(done.key, done.segment, &mut done.result);
        if let Err(failure) = &done.result {
            self.note_failed_read(done.key, failure);
        }
        if let Some(segment) = done.suspect {
            self.mend_index(done.key, segment);
        }
    }

    /// A file that was not found is that of a deleted segment, or it is missing: who asks again would not find it either.
    fn judge_gone<T>(&self, key: LogKey, segment: Option<i64>, result: &mut Result<T, ReadFailure>) {
        if !matches!(result, Err(ReadFailure::Gone)) {
            return;
        }
        let (Some(log), Some(base_offset)) = (self.log(key), segment) else { return };
        if log.segment(base_offset).is_some() {
            let path = super::segment_file(&log.dir, base_offset).path();
            *result = Err(ReadFailure::Missing { path });
        }
    }

    /// Tells the operator what of a log cannot be read: each place once, some places at most.
    fn note_failed_read(&mut self, key: LogKey, failure: &ReadFailure) {
        let Some(log) = self.log_mut(key) else { return };
        let words = failure.to_string();
        let is_known = log.unreadable.len() >= UNREADABLE_TOLD_MAX || log.unreadable.contains(&words);
        if is_known || *failure == ReadFailure::Gone {
            return;
        }
        log.unreadable.push(words);
        let more = if log.unreadable.len() < UNREADABLE_TOLD_MAX { "" } else { "; further places are not logged" };
        let (dir, code) = (std::sync::Arc::clone(&log.dir), failure.code().name());
        self.notice(Notice::error(format!(
            "{dir} cannot be read: {failure}. Reads that need it get {code}, everything else goes on{more}. Check the disk; \
             `coretide check` on the stopped data directory says what is lost"
        )));
    }

    /// The first record below `limit_offset` with a timestamp of at least `target_ms` (ListOffsets).
    pub fn find_timestamp(&mut self, key: LogKey, target_ms: i64, limit_offset: i64) -> TimeLookup {
        let committed = self.committed;
        let Some(log) = self.log(key) else { return TimeLookup::Ready(None) };
        let may_hold = |segment: &&Segment| {
            segment.end > 0 && segment.index.max.timestamp >= target_ms && segment.next_offset > log.log_start
        };
        let segments: Vec<TimeSegment> =
            log.segments.iter().filter(may_hold).map(|segment| log.time_segment(segment, committed)).collect();
        if segments.is_empty() {
            return TimeLookup::Ready(None);
        }
        TimeLookup::Cold(TimeRead {
            key,
            target: TimeTarget::AtLeast(target_ms),
            from_offset: log.log_start,
            limit_offset: limit_offset.min(log.committed_end),
            segments,
        })
    }

    /// The record with the largest timestamp below `limit_offset` (ListOffsets, timestamp -3).
    pub fn max_timestamp(&mut self, key: LogKey, limit_offset: i64) -> TimeLookup {
        let committed = self.committed;
        let Some(log) = self.log(key) else { return TimeLookup::Ready(None) };
        let mut best: Option<(MaxTimestamp, &Segment)> = None;
        for segment in &log.segments {
            let open = log.runs.iter().find(|run| run.segment == segment.base_offset && run.commit > committed);
            let max = open.map_or(segment.index.max, |run| run.before);
            if max.timestamp > best.map_or(-1, |(best, _)| best.timestamp) {
                best = Some((max, segment));
            }
        }
        let Some((max, segment)) = best else { return TimeLookup::Ready(None) };
        TimeLookup::Cold(TimeRead {
            key,
            target: TimeTarget::MaxOf(max.offset),
            from_offset: log.log_start,
            limit_offset: limit_offset.min(log.committed_end),
            segments: vec![log.time_segment(segment, committed)],
        })
    }
}

impl ColdRead {
    /// True when it begins where another one ended: somebody reads from there to here and on.
    pub fn is_sequential(&self) -> bool {
        matches!(self.start, ColdStart::Exact(_))
    }

    /// True when what it begins with was read and found good before, and may be sent from the file.
    pub fn is_verified(&self) -> bool {
        self.verified.is_some()
    }

    /// What this read may have of batches that were read for it before it was planned; and the rest of them, when that is
    /// about as much again.
    pub fn take_from(&self, held: &ReadReady) -> (ReadReady, Option<ReadReady>) {
        if held.bytes <= self.max_bytes && held.next_offset <= self.limit_offset {
            return (held.clone(), None);
        }
        let budget = Budget {
            limit_offset: self.limit_offset,
            max_bytes: self.max_bytes,
            at_least_one: self.at_least_one,
            extents_max: usize::MAX,
        };
        let mut taken = ReadReady::default();
        for extent in &held.extents {
            let Extent::Hot(bytes) = extent else { break };
            if !take_batches(bytes, self.from_offset, &budget, &mut taken) {
                break;
            }
        }
        let rest = (taken.bytes > 0).then(|| held.behind(&taken)).flatten();
        (taken, rest.filter(|rest| rest.bytes + rest.first_batch_bytes >= self.max_bytes))
    }
}

impl ReadReady {
    /// True when all of it is in memory.
    pub fn is_in_memory(&self) -> bool {
        self.extents.iter().all(|extent| matches!(extent, Extent::Hot(_)))
    }

    /// What lies behind `taken`, the front of this; none when nothing does.
    fn behind(&self, taken: &ReadReady) -> Option<ReadReady> {
        let mut skip = taken.bytes;
        let mut extents = Extents::new();
        for extent in &self.extents {
            let Extent::Hot(bytes) = extent else { return None };
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            if skipped < bytes.len() {
                extents.push(Extent::Hot(bytes.slice(skipped..)));
            }
        }
        let first_batch_bytes = match extents.first() {
            Some(Extent::Hot(bytes)) => peek_header(bytes).ok()?.total_bytes(),
            Some(Extent::File { .. }) | None => return None,
        };
        Some(ReadReady { extents, bytes: self.bytes - taken.bytes, first_batch_bytes, next_offset: self.next_offset })
    }
}

struct Budget {
    limit_offset: i64,
    max_bytes: usize,
    at_least_one: bool,
    extents_max: usize,
}

impl Log {
    /// Reads from the run at index `at` on, as far as memory and the budget go. None when the first batch is too large.
    fn read_hot(&self, at: usize, from_offset: i64, budget: &Budget) -> Option<ReadReady> {
        let mut ready = ReadReady::default();
        for (n, run) in self.runs.range(at..).enumerate() {
            let left = budget.max_bytes.saturating_sub(ready.bytes);
            if !run.whole || run.first_offset >= budget.limit_offset || ready.extents.len() >= budget.extents_max {
                break;
            }
            // A run that is wanted whole needs no look at its batches.
            if n > 0 && run.next_offset <= budget.limit_offset && run.bytes.len() <= left {
                ready.bytes += run.bytes.len();
                ready.next_offset = run.next_offset;
                ready.extents.push(Extent::Hot(run.bytes.clone()));
                continue;
            }
            let taken = take_batches(&run.bytes, from_offset, budget, &mut ready);
            if !taken {
                break;
            }
        }
        (ready.bytes > 0).then_some(ready)
    }

    /// What a job needs to read a segment's file; and where the batch of `from_offset` begins at the earliest, when the
    /// index entries in memory say it.
    fn cold_source(&self, segment: &Segment, from_offset: i64) -> (ColdSource, ColdStart) {
        let relative = from_offset - segment.base_offset;
        let is_before =
            |entry: &IndexEntry| i64::from(entry.relative_offset) <= relative && entry.position < segment.destaged;
        let after = segment.index.pending.partition_point(is_before);
        let known = after.checked_sub(1).and_then(|at| segment.index.pending.get(at));
        let start = known.map_or(ColdStart::Unknown, |entry| ColdStart::Ends {
            position: entry.position,
            last_offset: segment.base_offset + i64::from(entry.relative_offset),
        });
        let source = ColdSource {
            dir: std::sync::Arc::clone(&self.dir),
            segment: segment.base_offset,
            file_end: segment.destaged,
            tail: self.cold_tail(segment),
            index_bytes: segment.index.index_bytes,
            interval_bytes: self.config.index_interval_bytes,
        };
        (source, start)
    }

    fn time_segment(&self, segment: &Segment, committed: u64) -> TimeSegment {
        let (source, _) = self.cold_source(segment, segment.base_offset);
        let runs = self.undestaged(segment, committed).filter(|run| run.whole);
        let runs: Vec<Bytes> = runs.map(|run| run.bytes.clone()).collect();
        TimeSegment { source, time_bytes: segment.index.time_bytes, runs }
    }
}

/// Takes batches of one run from the one that holds `from_offset` on. False when the read ends within the run.
#[inline(always)] // every fetch walks in here: 6 % of one of small batches
fn take_batches(bytes: &Bytes, from_offset: i64, budget: &Budget, ready: &mut ReadReady) -> bool {
    let mut first = None;
    let mut end = 0;
    let mut whole = true;
    for (position, header) in walk_batches(bytes) {
        if header.last_offset() < from_offset {
            continue;
        }
        let size = header.total_bytes();
        let bytes_so_far = ready.bytes + end - first.unwrap_or(end);
        let over = bytes_so_far + size > budget.max_bytes && !(bytes_so_far == 0 && budget.at_least_one);
        if header.next_offset() > budget.limit_offset || over {
            whole = false;
            break;
        }
        first.get_or_insert(position);
        if bytes_so_far == 0 {
            ready.first_batch_bytes = size;
        }
        end = position + size;
        ready.next_offset = header.next_offset();
    }
    if let Some(first) = first {
        ready.bytes += end - first;
        ready.extents.push(Extent::Hot(bytes.slice(first..end)));
    }
    whole
}

#[cfg(test)]
mod tests;
