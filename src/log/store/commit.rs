//! From staged batches to a commit: what goes into it, where each log's part is written, and what its completion means.
//! One commit is in flight at a time; everything staged meanwhile joins the next, whose large runs may be written already.
//! Must never touch: the jobs in the background, reads.

use bytes::Bytes;
use coretide_model::{Now, TopicPartition};
use coretide_stdx::aligned::blocks_up;
use smallvec::SmallVec;

use super::api::{BatchSummary, CommitSeq, LogKey, StoreError, StoreOut};
use super::cache::Cached;
use super::direct::{DIRECT_CARRY, DirectPart, can_write_direct, direct_buffer_bytes, lay_out};
use super::format::{Chain, CommitHeader, CommitWriter, DIRECT_HEAD_BYTES, ENTRY_BYTES, HEADER_BYTES, SUMMARY_BYTES};
use super::index::MaxTimestamp;
use super::segment::{Log, Phase, Run, Staged};
use super::{Store, segment_log};
use crate::batch::{BatchHeader, VerifiedBatch};
use crate::io::{Durability, FileId, IoError, Op, OpResult};

/// Up to this size the time of a commit is that of its flush.
const BRIEF_COMMIT_BYTES: usize = 128 << 10;

/// An entry of a commit that carries no batches.
#[derive(Clone, Debug)]
pub(super) enum Meta {
    Delete(TopicPartition),
    LogStart(TopicPartition, i64),
    Cut(TopicPartition, i64, u32),
}

/// A commit that still takes appends, or waits for its turn.
#[derive(Debug)]
pub(super) struct Planned {
    pub seq: CommitSeq,
    keys: Vec<LogKey>,
    /// What it will take in the journal, at most.
    bytes: usize,
    durable: bool,
    meta: Vec<Meta>,
    /// What was written to segments ahead of the commit, in the order of each log, and its batches' bytes.
    pub parts: Vec<DirectPart>,
    pub parts_bytes: usize,
    /// Writes of it that are not completed.
    pub writing: usize,
}

/// The commit that is being written.
#[derive(Debug)]
pub(super) struct InFlight {
    seq: CommitSeq,
    keys: Vec<LogKey>,
    staged_bytes: usize,
    /// Operations not completed yet.
    waiting: usize,
    /// Journal files to sync once everything is written.
    sync: Vec<u32>,
    directs: Vec<DirectDone>,
    failed: Vec<(LogKey, IoError)>,
}

impl InFlight {
    /// True when it is little more than a flush.
    pub fn is_brief(&self) -> bool {
        self.directs.is_empty() && self.staged_bytes <= BRIEF_COMMIT_BYTES
    }
}

#[derive(Clone, Copy, Debug)]
struct DirectDone {
    key: LogKey,
    segment: i64,
    block_end: u32,
}

/// What an operation of the hot ring was.
#[derive(Clone, Copy, Debug)]
pub(super) enum IoKind {
    Journal,
    /// Of this log, for this commit.
    Direct(LogKey, CommitSeq),
}

/// A run whose buffer is not frozen yet.
struct Cut {
    key: LogKey,
    segment: i64,
    position: u32,
    first_offset: i64,
    next_offset: i64,
    before: MaxTimestamp,
    at: usize,
    len: usize,
}

/// One commit under construction.
struct Building {
    seq: CommitSeq,
    writer: CommitWriter,
    cuts: Vec<Cut>,
    directs: Vec<DirectDone>,
    direct_bytes: usize,
    staged_bytes: usize,
    writing: usize,
    cached_keys: SmallVec<[LogKey; 4]>,
}

impl Store {
    /// Takes a batch for the next commit; `base_offset` is the caller's, at or above the log's end. The append is done
    /// when [`Store::committed`] reaches the returned number and the log is not offline. `durability` is what the ack
    /// needs; a commit is as durable as its most demanding append.
    pub fn stage(
        &mut self,
        key: LogKey,
        _now: Now,
        batch: &VerifiedBatch,
        base_offset: i64,
        leader_epoch: i32,
        durability: Durability,
    ) -> Result<CommitSeq, StoreError> {
        if let Some(error) = &self.poisoned {
            return Err(StoreError::Offline(error.clone()));
        }
        if self.stopping {
            return Err(StoreError::Stopping);
        }
        let log = segment_log(&self.logs, key).ok_or(StoreError::Unknown)?;
        if let Some(error) = &log.offline {
            return Err(StoreError::Offline(error.clone()));
        }
        let direct_from = self.limits.direct_from_bytes;
        let bytes = batch.len_bytes();
        let segment_bytes = log.config.segment_bytes;
        if bytes > segment_bytes as usize {
            return Err(StoreError::LargerThanSegment { bytes, segment_bytes });
        }
        assert!(base_offset >= log.end_offset, "offsets of a log grow: {base_offset} after {}", log.end_offset);
        let create = if log.announced { 0 } else { ENTRY_BYTES + log.dir.len() };
        let planned = self.plan(bytes + ENTRY_BYTES + create);
        planned.durable |= durability == Durability::Durable;
        let commit = planned.seq;
        let summary = BatchSummary::of(&BatchHeader { base_offset, leader_epoch, ..*batch.header() });
        self.backlog_bytes += bytes;
        self.space.note_staged(bytes);
        self.touch(key);
        let log = self.log_mut(key).expect("looked up above");
        log.end_offset = summary.last_offset + 1;
        log.aux_dirty = true;
        log.staged.push_back(Staged { bytes: batch.bytes().clone(), summary, commit });
        log.staged_bytes += bytes;
        if log.staged_bytes >= direct_from {
            self.large.insert(key);
        }
        Ok(commit)
    }

    /// The planned commit that takes `bytes` more.
    fn plan(&mut self, bytes: usize) -> &mut Planned {
        let full = |planned: &Planned| planned.bytes + bytes > self.limits.commit_bytes_max;
        if self.planned.back().is_none_or(full) {
            self.planned_seq += 1;
            let seq = self.planned_seq;
            self.planned.push_back(Planned {
                seq,
                keys: Vec::new(),
                bytes: HEADER_BYTES,
                durable: false,
                meta: Vec::new(),
                parts: Vec::new(),
                parts_bytes: 0,
                writing: 0,
            });
        }
        let planned = self.planned.back_mut().expect("one was pushed if there was none");
        planned.bytes += bytes;
        planned
    }

    fn touch(&mut self, key: LogKey) {
        let Some(planned) = self.planned.back_mut() else { return };
        let Some(log) = self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { return };
        if log.planned != planned.seq {
            log.planned = planned.seq;
            planned.keys.push(key);
        }
    }

    /// Adds an entry without batches; its commit is durable.
    pub(super) fn plan_meta(&mut self, meta: Meta) -> CommitSeq {
        let planned = self.plan(ENTRY_BYTES);
        planned.durable = true;
        planned.meta.push(meta);
        planned.seq
    }

    /// A cut must be in the commit right after the one whose direct write failed: recovery looks for it there.
    pub(super) fn plan_cut(&mut self, cut: Meta) {
        let Some(next) = self.planned.front_mut() else {
            self.plan_meta(cut);
            return;
        };
        next.bytes += ENTRY_BYTES;
        next.durable = true;
        next.meta.push(cut);
    }

    /// Makes the next commit and its writes, if there is one to make, none is in flight, and there is room.
    pub(super) fn build_commit(&mut self, now: Now) {
        if self.in_flight.is_some() || self.poisoned.is_some() || self.ended {
            return;
        }
        // With writes ahead it must go on: its logs cannot be destaged before it is done.
        if self.planned.front().is_some_and(|next| next.parts.is_empty()) && self.is_memory_full() {
            return;
        }
        let Some(planned) = self.planned.pop_front() else { return };
        let (bytes, directs, blocked) = self.measure(&planned, now);
        let has_room = !blocked && self.ring.has_room(blocks_up(bytes) as u64);
        self.journal_full = !blocked && !has_room;
        if !has_room {
            self.planned.push_front(planned);
            return;
        }
        let mut building = Building {
            seq: planned.seq,
            writer: CommitWriter::new(self.pools.take(bytes)),
            cuts: Vec::new(),
            directs: Vec::new(),
            direct_bytes: 0,
            staged_bytes: planned.parts_bytes,
            writing: planned.writing,
            cached_keys: SmallVec::new(),
        };
        self.ahead -= planned.writing;
        for part in &planned.parts {
            if let Some(log) = segment_log(&self.logs, part.key) {
                building.part(log.tp, part);
                if !building.cached_keys.contains(&part.key) {
                    building.cached_keys.push(part.key);
                }
            }
        }
        for &key in &planned.keys {
            self.build_log(&mut building, key, directs.contains(&key), now);
        }
        for meta in &planned.meta {
            match *meta {
                Meta::Delete(tp) => building.writer.delete(tp),
                Meta::LogStart(tp, offset) => building.writer.log_start(tp, offset),
                Meta::Cut(tp, segment, position) => building.writer.cut(tp, segment, position),
            }
        }
        self.write_commit(building, planned);
    }

    /// The journal bytes of a commit at most, the logs whose part goes to the segment itself, and whether it must wait:
    /// for a batch that is too large for the journal and whose segment has no space yet.
    fn measure(&mut self, planned: &Planned, now: Now) -> (usize, SmallVec<[LogKey; 8]>, bool) {
        let direct_bytes = |count: usize| ENTRY_BYTES + DIRECT_HEAD_BYTES + count * SUMMARY_BYTES + blocks_up(1);
        let mut bytes = HEADER_BYTES + planned.meta.len() * ENTRY_BYTES;
        bytes += planned.parts.iter().map(|part| direct_bytes(part.summaries.len())).sum::<usize>();
        let mut directs = SmallVec::new();
        let mut blocked = false;
        let journal_max = self.limits.journal_file_bytes as usize;
        let direct_from = self.limits.direct_from_bytes;
        let carry_max = self.limits.destage_from_bytes as u64 * DIRECT_CARRY;
        for &key in &planned.keys {
            let Some(log) = self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { continue };
            let due = || log.staged.iter().take_while(|staged| staged.commit <= planned.seq);
            let (count, pending) = due().fold((0, 0), |(count, sum), staged| (count + 1, sum + staged.bytes.len()));
            let head = if log.announced { 0 } else { ENTRY_BYTES + log.dir.len() };
            let plain = head + pending + count * ENTRY_BYTES;
            let giant = blocks_up(HEADER_BYTES + plain) > journal_max;
            if pending < direct_from && !giant {
                bytes += plain;
                continue;
            }
            let first = log.staged.front().expect("a log with pending bytes has a batch").summary;
            if giant && log.open().must_roll(&log.config, &first, now.wall_ms) {
                log.roll();
            }
            if can_write_direct(log, planned.seq, pending, if giant { u64::MAX } else { carry_max }, now) {
                bytes += head + direct_bytes(count);
                directs.push(key);
            } else {
                blocked |= giant;
                bytes += plain;
            }
            self.want_space(key, pending as u64, giant);
        }
        (bytes, directs, blocked)
    }

    /// Adds one log's part to the commit.
    fn build_log(&mut self, building: &mut Building, key: LogKey, direct: bool, now: Now) {
        let Some(log) = self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { return };
        if log.staged.front().is_none_or(|staged| staged.commit != building.seq) {
            return;
        }
        if !log.announced {
            log.announced = true;
            building.writer.create(log.tp, &log.dir, log.segments[0].base_offset);
        }
        let count = log.staged.partition_point(|staged| staged.commit <= building.seq);
        let batches: Vec<Staged> = log.staged.drain(..count).collect();
        let staged_bytes = batches.iter().map(|staged| staged.bytes.len()).sum::<usize>();
        log.staged_bytes -= staged_bytes;
        building.staged_bytes += staged_bytes;
        if !building.cached_keys.contains(&key) {
            building.cached_keys.push(key);
        }
        if direct {
            let buffer = self.pools.take(direct_buffer_bytes(log, &batches));
            let (part, op) = lay_out(key, log, buffer, &batches, building.seq, now);
            building.part(log.tp, &part);
            building.writing += 1;
            self.issue(IoKind::Direct(key, building.seq), op);
        } else {
            building.journal(key, log, &batches, now);
        }
        self.note_undestaged(key);
    }

    /// Seals the commit, hands its writes out, and makes its batches readable (below the committed end only).
    fn write_commit(&mut self, building: Building, planned: Planned) {
        let Building { seq, writer, cuts, directs, direct_bytes, staged_bytes, writing, cached_keys } = building;
        let chain = Chain { journal_id: self.journal_id, seq, previous_crc: self.previous_crc };
        let (buffer, header) = writer.finish(chain, self.ring.unsynced_files().is_empty());
        let total = header.total_bytes();
        let (no, at) =
            self.ring.place(seq, total, self.previous_crc).expect("there was room for the largest form of the commit");
        self.note_chain(&header, total);
        let (mut buffer_bytes, mut used_bytes) = (direct_bytes, direct_bytes);
        if !cuts.is_empty() {
            buffer_bytes += buffer.capacity();
            used_bytes += cuts.iter().map(|cut| cut.len).sum::<usize>();
        }
        let frozen = buffer.freeze();
        for cut in cuts {
            let bytes = frozen.slice(cut.at..cut.at + cut.len);
            self.push_cut(cut, bytes, seq);
        }
        self.cache.push(Cached { commit: seq, buffer_bytes, used_bytes, keys: cached_keys });
        let mut sync = Vec::new();
        let mut durability = Durability::Written;
        if planned.durable {
            sync = self.ring.unsynced_files();
            if sync.is_empty() {
                durability = Durability::Durable;
            } else if !sync.contains(&no) {
                sync.push(no);
            }
        } else {
            self.ring.note_unsynced(no, seq);
        }
        let file = FileId::Journal { shard: self.shard, no };
        let keys = planned.keys;
        let failed = Vec::new();
        self.in_flight = Some(InFlight { seq, keys, staged_bytes, waiting: 1 + writing, sync, directs, failed });
        self.issue(IoKind::Journal, Op::Write { file, at, bytes: frozen, direct: true, durability });
    }

    fn note_chain(&mut self, header: &CommitHeader, total: u64) {
        self.previous_crc = header.crc;
        self.journal_bytes += total;
    }

    fn push_cut(&mut self, cut: Cut, bytes: Bytes, commit: CommitSeq) {
        let Some(log) = self.log_mut(cut.key) else { return };
        log.push_run(Run {
            segment: cut.segment,
            position: cut.position,
            first_offset: cut.first_offset,
            next_offset: cut.next_offset,
            bytes,
            commit,
            before: cut.before,
            whole: true,
        });
    }

    pub(super) fn issue(&mut self, kind: IoKind, op: Op) {
        self.next_io += 1;
        self.io.insert(self.next_io, kind);
        self.out.push(StoreOut::Io { id: self.next_io, op });
    }

    /// Takes the result of a [`StoreOut::Io`]. Call [`Store::end_of_tick`] in the same turn.
    pub fn on_io(&mut self, _now: Now, io_id: u64, result: OpResult) {
        let Some(kind) = self.io.remove(&io_id) else { return };
        let in_flight = self.in_flight.as_ref().map_or(self.committed, |flight| flight.seq);
        if let IoKind::Direct(key, commit) = kind
            && commit > in_flight
        {
            self.on_written_ahead(key, commit, result.err());
            return;
        }
        let Some(mut flight) = self.in_flight.take() else { return };
        flight.waiting -= 1;
        match (kind, result) {
            (IoKind::Journal, Err(error)) => {
                self.in_flight = Some(flight);
                self.poison(error);
                return;
            }
            (IoKind::Direct(key, _), Err(error)) => flight.failed.push((key, error)),
            (_, Ok(_)) => {}
        }
        if flight.waiting == 0 && self.poisoned.is_none() {
            let files = std::mem::take(&mut flight.sync);
            if files.is_empty() {
                self.finish_commit(flight);
                return;
            }
            flight.waiting = files.len();
            for no in files {
                self.issue(IoKind::Journal, Op::Sync { file: FileId::Journal { shard: self.shard, no } });
            }
            self.synced_by_flight = true;
        }
        self.in_flight = Some(flight);
    }

    fn finish_commit(&mut self, flight: InFlight) {
        if std::mem::take(&mut self.synced_by_flight) {
            self.ring.synced_to(flight.seq);
        }
        self.committed = flight.seq;
        self.backlog_bytes -= flight.staged_bytes;
        for done in &flight.directs {
            if let Some(log) = self.log_mut(done.key) {
                log.directs -= 1;
            }
        }
        for (key, error) in flight.failed {
            self.fail_direct(key, error, flight.seq - 1);
        }
        for done in flight.directs {
            let Some(log) = self.log_mut(done.key) else { continue };
            if log.offline.is_none() {
                log.destaged_to(done.segment, done.block_end);
            }
        }
        let destage_from = self.limits.destage_from_bytes as u64;
        for key in flight.keys {
            let Some(log) = self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { continue };
            if log.offline.is_some() {
                continue;
            }
            let newest = log.runs.iter().rev().find(|run| run.commit <= flight.seq);
            log.committed_end = newest.map_or(log.committed_end, |run| run.next_offset.max(log.committed_end));
            let rolled = log.first_unclosed().phase == Phase::Closing;
            if rolled || log.undestaged_bytes() >= destage_from {
                self.want_destage.insert(key);
            }
            self.mark_moved(key);
        }
    }
}

impl Building {
    /// The log's batches into the journal, with a new run wherever the segment rolls.
    fn journal(&mut self, key: LogKey, log: &mut Log, batches: &[Staged], now: Now) {
        let mut rest = batches;
        while let Some(first) = rest.first() {
            if log.open().must_roll(&log.config, &first.summary, now.wall_ms) {
                log.roll();
            }
            let config = log.config;
            let tp = log.tp;
            let open = log.open_mut();
            let (segment, position, before) = (open.base_offset, open.end, open.index.max);
            let mut count = 0;
            for staged in rest {
                if count > 0 && open.must_roll(&config, &staged.summary, now.wall_ms) {
                    break;
                }
                open.note_batch(&config, &staged.summary, now.wall_ms);
                count += 1;
            }
            let (group, later) = rest.split_at(count);
            rest = later;
            let len = (open.end - position) as usize;
            let at = self.writer.data(tp, segment, position, len);
            for staged in group {
                self.writer.batch(&staged.bytes, staged.summary.base_offset, staged.summary.leader_epoch);
            }
            let (first_offset, next_offset) = (first.summary.base_offset, open.next_offset);
            self.cuts.push(Cut { key, segment, position, first_offset, next_offset, before, at, len });
        }
    }

    /// An entry for what a write takes to a segment.
    fn part(&mut self, tp: TopicPartition, part: &DirectPart) {
        let DirectPart { key, segment, position, block_end, ref summaries, ref tail, buffer_bytes } = *part;
        self.writer.direct(tp, segment, (position, block_end), summaries, tail);
        self.direct_bytes += buffer_bytes;
        self.directs.push(DirectDone { key, segment, block_end });
    }
}

#[cfg(test)]
mod tests;
