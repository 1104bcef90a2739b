//! Replay: what journal entries mean for the logs of the last checkpoint. Entries that a log has seen already are
//! skipped, so replaying from an older place, or twice, changes nothing.
//! Must never touch: files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicPartition;

use super::scan::gap;
use crate::batch::{check_crc, peek_header, walk_batches};
use crate::io::{FileId, SegmentFile};
use crate::store::api::BatchSummary;
use crate::store::format::{Body, DirectEntry, Entry};
use crate::store::index::TIME_ENTRY_BYTES;
use crate::store::jobs::RemoveSpec;
use crate::store::segment::{Log, Phase, Run, Segment, block_floor};

/// The logs of one shard while its journal is replayed.
#[derive(Debug, Default)]
pub struct Replay {
    pub logs: BTreeMap<TopicPartition, Log>,
    pub garbage: Vec<RemoveSpec>,
    pub notes: Vec<String>,
    /// Appends of the last commit that follow a direct write of the same log in it.
    after_direct: Vec<(TopicPartition, i64, u32, Bytes)>,
    /// Logs of which a direct write of the last commit did not reach the segment.
    disproved: BTreeSet<TopicPartition>,
}

/// A direct write of the last commit, which may not have reached the segment.
#[derive(Clone, Debug)]
pub struct Unproven {
    pub tp: TopicPartition,
    pub dir: Arc<str>,
    pub segment: i64,
    pub position: u32,
    pub block_end: u32,
    summaries: Vec<BatchSummary>,
    tail: Bytes,
}

impl Replay {
    /// Applies a commit that another one follows, so that its direct writes are known to have succeeded, but for those
    /// that the next commit takes back.
    pub fn apply(&mut self, commit: &Bytes, entries: &[Entry<'_>], cut: &BTreeSet<TopicPartition>) {
        for entry in entries {
            let is_append = matches!(entry.body, Body::Data { .. } | Body::Direct(_));
            if is_append && cut.contains(&entry.tp) {
                continue;
            }
            match entry.body {
                Body::Direct(direct) => {
                    let tail = commit.slice(direct.tail_at..direct.tail_at + direct.tail.len());
                    self.direct(entry.tp, &direct, tail);
                }
                _ => self.apply_plain(commit, entry),
            }
        }
    }

    /// Applies the last commit, but for its direct writes and what follows them: these must be looked at, the last of the
    /// list first.
    pub fn apply_last(&mut self, commit: &Bytes, entries: &[Entry<'_>]) -> Vec<Unproven> {
        let mut unproven: Vec<Unproven> = Vec::new();
        for entry in entries {
            let direct = match entry.body {
                Body::Direct(direct) => direct,
                Body::Data { segment, position, batches, at } if unproven.iter().any(|it| it.tp == entry.tp) => {
                    let bytes = commit.slice(at..at + batches.len());
                    self.after_direct.push((entry.tp, segment, position, bytes));
                    continue;
                }
                _ => {
                    self.apply_plain(commit, entry);
                    continue;
                }
            };
            let Some(log) = self.logs.get(&entry.tp) else { continue };
            unproven.push(Unproven {
                tp: entry.tp,
                dir: Arc::clone(&log.dir),
                segment: direct.segment,
                position: direct.position,
                block_end: direct.block_end,
                summaries: direct.summaries().collect(),
                tail: commit.slice(direct.tail_at..direct.tail_at + direct.tail.len()),
            });
        }
        unproven.reverse();
        unproven
    }

    /// Once every direct write of the last commit was looked at: what followed those that hold.
    pub fn apply_after_direct(&mut self) {
        let disproved = std::mem::take(&mut self.disproved);
        for (tp, segment, position, bytes) in std::mem::take(&mut self.after_direct) {
            if !disproved.contains(&tp) {
                self.data(tp, segment, position, bytes);
            }
        }
    }

    fn apply_plain(&mut self, commit: &Bytes, entry: &Entry<'_>) {
        let tp = entry.tp;
        match entry.body {
            Body::Create { dir, start_offset } => {
                self.logs.entry(tp).or_insert_with(|| {
                    let mut log = Log::new(tp, Arc::from(dir), start_offset);
                    log.announced = true;
                    log
                });
            }
            Body::Data { segment, position, batches, at } => {
                self.data(tp, segment, position, commit.slice(at..at + batches.len()));
            }
            Body::LogStart { offset } => {
                let Some(log) = self.logs.get_mut(&tp) else { return };
                log.log_start = log.log_start.max(offset);
                self.drop_old(tp);
            }
            Body::Delete => {
                if let Some(log) = self.logs.remove(&tp) {
                    self.garbage.push(RemoveSpec::Log { dir: log.dir, topic_id: tp.topic_id });
                }
            }
            Body::Cut { .. } | Body::Direct(_) => {}
        }
    }

    fn drop_old(&mut self, tp: TopicPartition) {
        let Some(log) = self.logs.get_mut(&tp) else { return };
        for base_offset in log.drop_below_start(true) {
            let dir = Arc::clone(&log.dir);
            self.garbage.push(RemoveSpec::Segment { dir, topic_id: tp.topic_id, base_offset });
        }
    }

    /// Brings the log to `segment`. Some if an append at `position` may be looked at there: how many of its bytes are
    /// known already.
    fn enter(&mut self, tp: TopicPartition, segment: i64, position: u32) -> Option<u32> {
        let log = self.logs.get_mut(&tp)?;
        let open = log.open();
        if segment < open.base_offset {
            return None;
        }
        if segment > open.base_offset {
            self.notes.extend(gap(&log.dir, open.next_offset, segment));
            if open.end > 0 {
                log.roll();
            }
            let open = log.open_mut();
            (open.base_offset, open.next_offset) = (segment, segment);
            self.drop_old(tp);
        }
        let log = self.logs.get(&tp)?;
        let end = log.open().end;
        if position > end {
            let note = format!("{}: the journal goes on at {position} where {end} was expected", log.dir);
            self.notes.push(note);
            return None;
        }
        Some(end - position)
    }

    fn data(&mut self, tp: TopicPartition, segment: i64, position: u32, bytes: Bytes) {
        let Some(known) = self.enter(tp, segment, position) else { return };
        if known as usize >= bytes.len() {
            return;
        }
        let Some(log) = self.logs.get_mut(&tp) else { return };
        let bytes = bytes.slice(known as usize..);
        let config = log.config;
        let before = log.open().index.max;
        let start = log.open().end;
        let mut walk = walk_batches(&bytes);
        for (_, header) in walk.by_ref() {
            let summary = BatchSummary::of(&header);
            log.open_mut().note_batch(&config, &summary, summary.max_timestamp);
            log.note_replayed(&summary);
        }
        let len = walk.position();
        let Some(first) = peek_header(&bytes).ok().filter(|_| len > 0) else { return };
        let next_offset = log.open().next_offset;
        log.push_run(Run {
            segment,
            position: start,
            first_offset: first.base_offset,
            next_offset,
            bytes: bytes.slice(..len),
            commit: 0,
            before,
            whole: true,
        });
    }

    fn direct(&mut self, tp: TopicPartition, direct: &DirectEntry<'_>, tail: Bytes) {
        let Some(known) = self.enter(tp, direct.segment, direct.position) else { return };
        let Some(log) = self.logs.get_mut(&tp) else { return };
        if direct.end <= log.open().end {
            return;
        }
        let config = log.config;
        let before = log.open().index.max;
        let mut skip = known;
        for summary in direct.summaries() {
            if skip >= summary.size_bytes {
                skip -= summary.size_bytes;
                continue;
            }
            log.open_mut().note_batch(&config, &summary, summary.max_timestamp);
            log.note_replayed(&summary);
        }
        let open = log.open_mut();
        open.created = true;
        open.destaged = open.destaged.max(direct.block_end);
        let (next_offset, destaged) = (open.next_offset, open.destaged);
        log.runs.retain(|run| run.segment != direct.segment || run.end() > destaged);
        if !tail.is_empty() {
            log.runs.push_back(Run {
                segment: direct.segment,
                position: direct.block_end,
                first_offset: next_offset,
                next_offset,
                bytes: tail,
                commit: 0,
                before,
                whole: false,
            });
        }
    }

    /// Takes a direct write of the last commit, if what its segment holds from the block of `position` on is what was to
    /// be written; it then is as if the journal had held it. Otherwise it never happened, and nobody was told it did.
    pub fn prove(&mut self, unproven: &Unproven, read: &[u8]) {
        match unproven.found_in(read) {
            Some(bytes) if !self.disproved.contains(&unproven.tp) => {
                self.data(unproven.tp, unproven.segment, unproven.position, bytes);
            }
            _ => {
                self.disproved.insert(unproven.tp);
            }
        }
    }

    /// Once nothing more is to be replayed.
    pub fn finish(&mut self) {
        for tp in self.logs.keys().copied().collect::<Vec<_>>() {
            let Some(log) = self.logs.get_mut(&tp) else { continue };
            let open = log.open();
            // Retention may have rolled and removed the last segment: no entry says so before the next append.
            if open.end > 0 && log.log_start >= open.next_offset {
                log.roll();
                self.drop_old(tp);
            }
            let Some(log) = self.logs.get_mut(&tp) else { continue };
            log.end_offset = log.open().next_offset;
            log.committed_end = log.end_offset;
            log.log_start = log.log_start.min(log.end_offset);
            log.aux_end = log.aux_end.min(log.end_offset);
            log.aux_dirty = !log.replay.is_empty();
            for segment in log.segments.iter_mut().filter(|segment| segment.phase != Phase::Closed) {
                segment.allocated = block_floor(segment.destaged);
            }
        }
    }

    /// The time indexes that are written on behind what they have.
    pub fn time_indexes(&self) -> Vec<(TopicPartition, FileId)> {
        let file = |log: &Log, segment: &Segment| FileId::Segment {
            dir: Arc::clone(&log.dir),
            base_offset: segment.base_offset,
            kind: SegmentFile::TimeIndex,
        };
        let of_log = |(tp, log): (&TopicPartition, &Log)| {
            let growing = log.segments.iter().filter(|it| it.phase != Phase::Closed && it.index.time_bytes > 0);
            growing.map(|segment| (*tp, file(log, segment))).collect::<Vec<_>>()
        };
        self.logs.iter().flat_map(of_log).collect()
    }

    /// A time index goes on where its file ends, if that is sooner. What it says is no later than the last entry that it had.
    pub fn clamp_time_index(&mut self, tp: TopicPartition, file: &FileId, len: u64) {
        let FileId::Segment { base_offset, .. } = file else { return };
        let Some(segment) = self.logs.get_mut(&tp).and_then(|log| log.segment_mut(*base_offset)) else { return };
        let whole = len - len % TIME_ENTRY_BYTES as u64;
        segment.index.time_bytes = segment.index.time_bytes.min(u32::try_from(whole).unwrap_or(u32::MAX));
    }

    /// Bytes in memory that no segment holds.
    pub fn pending_bytes(&self) -> u64 {
        self.logs.values().map(Log::undestaged_bytes).sum()
    }
}

impl Unproven {
    /// The batches, if all of them are whole in what the segment holds from the block of their position on.
    fn found_in(&self, read: &[u8]) -> Option<Bytes> {
        let skip = (self.position - block_floor(self.position)) as usize;
        let len = self.block_end.saturating_sub(self.position) as usize;
        let in_file = read.get(skip..skip + len)?;
        let mut bytes = Vec::with_capacity(len + self.tail.len());
        bytes.extend_from_slice(in_file);
        bytes.extend_from_slice(&self.tail);
        let mut at = 0;
        for summary in &self.summaries {
            let header = check_crc(bytes.get(at..at + summary.size_bytes as usize)?).ok()?;
            if BatchSummary::of(&header) != *summary {
                return None;
            }
            at += summary.size_bytes as usize;
        }
        (at == bytes.len()).then(|| bytes.into())
    }
}

impl Log {
    /// Keeps what the partition machine must know of a batch that came after its state was taken.
    fn note_replayed(&mut self, summary: &BatchSummary) {
        let last_epoch = self.replay.last().map(|last| last.leader_epoch);
        let matters = summary.producer_id >= 0 || last_epoch != Some(summary.leader_epoch);
        if summary.base_offset >= self.aux_end && matters {
            self.replay.push(*summary);
        }
    }
}

#[cfg(test)]
mod tests;
