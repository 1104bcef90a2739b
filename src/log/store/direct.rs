//! Large runs that go straight to their segment: the whole blocks by a write of their own, the rest with the commit's entry
//! into the journal. The write does not wait for the commit before: it begins when the batches are there, and the commit that
//! names it is done when both are. A start believes such an entry only if another commit follows it, and looks at the segment
//! itself for the last one, so that a write ahead of its commit is no more than bytes behind the log's end.
//! Must never touch: what a commit's number means, the background.

use bytes::Bytes;
use coretide_model::Now;
use coretide_stdx::aligned::{AlignedBuf, BLOCK_BYTES, blocks_up};

use super::Store;
use super::api::{BatchSummary, CommitSeq, LogKey};
use super::commit::{IoKind, Meta};
use super::segment::{Busy, Log, Run, Staged, block_floor};
use crate::io::{Durability, IoError, Op};

/// How much that is not destaged yet a direct write takes along, in units of what is worth a destage: enough for a log to
/// come back to direct writes after a roll, under full load.
pub(super) const DIRECT_CARRY: u64 = 8;

/// Direct writes of one shard that are ahead of their commit, at most: as many as a device does at a time.
const AHEAD_MAX: usize = 16;

/// Batches of one log that one write takes to the segment.
#[derive(Debug)]
pub(super) struct DirectPart {
    pub key: LogKey,
    pub segment: i64,
    /// Where the first batch begins.
    pub position: u32,
    /// Where the segment's part ends; what follows is in the journal.
    pub block_end: u32,
    pub summaries: Vec<BatchSummary>,
    pub tail: Bytes,
    /// The memory it holds.
    pub buffer_bytes: usize,
}

impl Store {
    /// Begins direct writes of the commit whose turn is next. It must be certain of its place in the journal: while it
    /// waits, its logs cannot be destaged, and without that a full journal never has room again.
    pub(super) fn write_ahead(&mut self, now: Now) {
        if self.large.is_empty() || self.poisoned.is_some() || self.ended || self.is_memory_full() {
            return;
        }
        if !self.ring.has_room(blocks_up(self.limits.commit_bytes_max + BLOCK_BYTES) as u64) {
            return;
        }
        for key in std::mem::take(&mut self.large) {
            while self.ahead < AHEAD_MAX && self.write_log_ahead(key, now) {}
            if self.ahead >= AHEAD_MAX {
                self.large.insert(key);
            }
        }
    }

    /// Lays out what a log has staged for one commit; false if that is too little, or cannot go to the segment now.
    fn write_log_ahead(&mut self, key: LogKey, now: Now) -> bool {
        let carry_max = self.limits.destage_from_bytes as u64 * DIRECT_CARRY;
        let direct_from = self.limits.direct_from_bytes;
        let Some(log) = self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { return false };
        let Some(planned) = self.planned.front_mut() else { return false };
        let commit = planned.seq;
        let count = log.staged.partition_point(|staged| staged.commit <= commit);
        let pending: usize = log.staged.range(..count).map(|staged| staged.bytes.len()).sum();
        if pending < direct_from || log.offline.is_some() {
            return false;
        }
        let possible = log.announced && can_write_direct(log, commit, pending, carry_max, now);
        if possible {
            let batches: Vec<Staged> = log.staged.drain(..count).collect();
            log.staged_bytes -= pending;
            let buffer = self.pools.take(direct_buffer_bytes(log, &batches));
            let (part, op) = lay_out(key, log, buffer, &batches, commit, now);
            planned.parts.push(part);
            planned.parts_bytes += pending;
            planned.writing += 1;
            self.ahead += 1;
            self.issue(IoKind::Direct(key, commit), op);
            self.note_undestaged(key);
        }
        self.want_space(key, pending as u64, false);
        possible
    }

    /// A direct write of a commit whose turn has not come is done.
    pub(super) fn on_written_ahead(&mut self, key: LogKey, commit: CommitSeq, error: Option<IoError>) {
        self.ahead -= 1;
        if let Some(planned) = self.planned.iter_mut().find(|planned| planned.seq == commit) {
            planned.writing -= 1;
        }
        if let Some(error) = error {
            self.cut(key, commit - 1);
            self.take_offline(key, error);
        }
    }

    /// A direct write failed: what it carried was never committed, and the log takes nothing more.
    pub(super) fn fail_direct(&mut self, key: LogKey, error: IoError, committed: CommitSeq) {
        self.cut(key, committed);
        let Some(log) = self.log(key) else { return };
        let open = log.open();
        let cut = Meta::Cut(log.tp, open.base_offset, open.end);
        self.plan_cut(cut);
        self.take_offline(key, error);
    }

    /// Takes back what a log has above a commit, the writes that are ahead included.
    fn cut(&mut self, key: LogKey, committed: CommitSeq) {
        let mut taken_back = 0;
        for planned in &mut self.planned {
            let before = planned.parts.len();
            planned.parts.retain(|part| part.key != key);
            taken_back += before - planned.parts.len();
        }
        let Some(log) = self.log_mut(key) else { return };
        let lost: usize = log.staged.iter().map(|staged| staged.bytes.len()).sum();
        log.directs -= taken_back;
        log.cut_to(committed);
        self.backlog_bytes -= lost;
    }
}

/// True when the log's part of the commit can be written to the open segment itself: space is there, nothing else writes
/// to it, no roll falls into it, and what is not destaged yet is little enough to be written along.
pub(super) fn can_write_direct(log: &Log, seq: CommitSeq, pending: usize, undestaged_max: u64, now: Now) -> bool {
    let open = log.open();
    let due = log.staged.iter().take_while(|staged| staged.commit <= seq).map(|staged| &staged.summary);
    log.busy != Some(Busy::Destaging)
        && open.created
        && log.first_unclosed().base_offset == open.base_offset
        && u64::from(open.end - log.written_to()) <= undestaged_max
        && u64::from(open.end) + pending as u64 <= u64::from(open.allocated)
        && open.fits(&log.config, due, now.wall_ms)
}

/// How large the buffer of a direct write must be.
pub(super) fn direct_buffer_bytes(log: &Log, batches: &[Staged]) -> usize {
    (log.open().end - log.written_to()) as usize + batches.iter().map(|staged| staged.bytes.len()).sum::<usize>()
}

/// Puts a log's batches into a buffer that begins at the last block border that was written, or is being: its whole blocks
/// are written to the segment, the rest goes into the journal.
pub(super) fn lay_out(
    key: LogKey,
    log: &mut Log,
    mut buffer: AlignedBuf,
    batches: &[Staged],
    commit: CommitSeq,
    now: Now,
) -> (DirectPart, Op) {
    let (segment, position, before) = (log.open().base_offset, log.open().end, log.open().index.max);
    let from = log.written_to();
    for run in log.undestaged(log.open(), CommitSeq::MAX).filter(|run| run.end() > from) {
        buffer.extend_from_slice(&run.bytes[from.saturating_sub(run.position) as usize..]);
    }
    assert_eq!(buffer.len(), (position - from) as usize, "runs cover what is not written");
    let config = log.config;
    for staged in batches {
        let at = buffer.len();
        buffer.extend_from_slice(&staged.bytes);
        let summary = &staged.summary;
        crate::batch::patch(&mut buffer.as_mut_slice()[at..], summary.base_offset, summary.leader_epoch);
        log.open_mut().note_batch(&config, summary, now.wall_ms);
    }
    let block_end = block_floor(log.open().end);
    let summaries: Vec<BatchSummary> = batches.iter().map(|staged| staged.summary).collect();
    let buffer_bytes = buffer.capacity();
    let frozen = buffer.freeze();
    let (blocks, tail) = ((block_end - from) as usize, frozen.slice((block_end - from) as usize..));
    log.push_run(Run {
        segment,
        position,
        first_offset: summaries[0].base_offset,
        next_offset: log.open().next_offset,
        bytes: frozen.slice((position - from) as usize..),
        commit,
        before,
        whole: true,
    });
    log.directs += 1;
    log.direct_end = block_end;
    let op = Op::Write {
        file: super::segment_file(&log.dir, segment),
        at: u64::from(from),
        bytes: frozen.slice(..blocks),
        direct: true,
        durability: Durability::Durable,
    };
    (DirectPart { key, segment, position, block_end, summaries, tail, buffer_bytes }, op)
}
