//! One log of the shard as the store knows it: its segments, and the runs of its batches that are in memory.
//! Must never touch: other logs, the journal's files.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coretide_model::TopicPartition;
use coretide_stdx::aligned::BLOCK_BYTES;

use super::api::{BatchSummary, CommitSeq, LogConfig};
use super::index::{MaxTimestamp, SegmentIndex};
use super::read::Cursors;
use crate::io::IoError;

const BLOCK: u32 = BLOCK_BYTES as u32;

/// Index entries that may wait in memory (and in checkpoints) before they are worth a write of their own.
const INDEX_PENDING_MAX: usize = 4096;

/// Rounds a position down to whole blocks.
pub const fn block_floor(position: u32) -> u32 {
    position / BLOCK * BLOCK
}

/// Where a segment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The last one: takes appends.
    Open,
    /// Rolled; its files are not complete yet.
    Closing,
    /// All files complete, durable and cut to their exact size.
    Closed,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The offset in its name.
    pub base_offset: i64,
    /// Bytes of batches, committed or in the commit in flight.
    pub end: u32,
    /// The offset after the last of them.
    pub next_offset: i64,
    /// Its index files.
    pub index: SegmentIndex,
    /// The timestamp that `segment.ms` counts from: the first batch's.
    pub roll_timestamp: Option<i64>,
    /// When its first batch came, for batches without timestamps.
    pub created_ms: i64,
    /// What is durable in the file; whole blocks until it is closed.
    pub destaged: u32,
    /// What the file has space for.
    pub allocated: u32,
    /// The file exists.
    pub created: bool,
    /// Its life.
    pub phase: Phase,
}

impl Segment {
    /// An empty segment.
    pub fn new(base_offset: i64) -> Segment {
        Segment {
            base_offset,
            end: 0,
            next_offset: base_offset,
            index: SegmentIndex::default(),
            roll_timestamp: None,
            created_ms: 0,
            destaged: 0,
            allocated: 0,
            created: false,
            phase: Phase::Open,
        }
    }

    /// True when Kafka would begin a new segment before this batch: size, time, a full index, or an offset that does not
    /// fit the index's 32 bits.
    pub fn must_roll(&self, config: &LogConfig, batch: &BatchSummary, now_ms: i64) -> bool {
        let full = self.end > 0 && self.index.is_full(0, config.segment_index_bytes);
        full || self.is_over(config, batch, (self.end, self.roll_timestamp), now_ms)
    }

    /// Size, time and offset, for a segment that ends at `end` and whose time counts from `first`.
    fn is_over(&self, config: &LogConfig, batch: &BatchSummary, (end, first): (u32, Option<i64>), now_ms: i64) -> bool {
        let waited = match first {
            Some(first) if batch.max_timestamp >= 0 => batch.max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        let too_large = u64::from(end) + u64::from(batch.size_bytes) > u64::from(config.segment_bytes);
        let too_far = batch.last_offset - self.base_offset > i64::from(i32::MAX);
        end > 0 && (waited > config.segment_ms || too_large || too_far)
    }

    /// True when these batches fit one after the other without a roll. May say no a little early.
    pub fn fits<'a>(&self, config: &LogConfig, batches: impl Iterator<Item = &'a BatchSummary>, now_ms: i64) -> bool {
        let (mut end, mut first) = (self.end, self.roll_timestamp);
        for (n, batch) in batches.enumerate() {
            if self.index.is_full(n, config.segment_index_bytes) || self.is_over(config, batch, (end, first), now_ms) {
                return false;
            }
            if end == 0 {
                first = (batch.max_timestamp >= 0).then_some(batch.max_timestamp);
            }
            end += batch.size_bytes;
        }
        true
    }

    /// Notes a batch at the segment's end.
    pub fn note_batch(&mut self, config: &LogConfig, batch: &BatchSummary, now_ms: i64) {
        if self.end == 0 {
            self.created_ms = now_ms;
            self.roll_timestamp = (batch.max_timestamp >= 0).then_some(batch.max_timestamp);
        }
        self.index.note_batch(
            self.base_offset,
            self.end,
            batch.last_offset,
            batch.max_timestamp,
            config.index_interval_bytes,
        );
        self.end += batch.size_bytes;
        self.next_offset = batch.last_offset + 1;
    }
}

/// Batches of one log that follow each other in one commit and one segment, in memory.
#[derive(Clone, Debug)]
pub struct Run {
    /// The segment's base offset.
    pub segment: i64,
    /// Where the bytes begin in the segment.
    pub position: u32,
    /// The first offset of the first batch; unknown (and the log's old end at most) when not `whole`.
    pub first_offset: i64,
    /// The offset after the last batch.
    pub next_offset: i64,
    /// The bytes.
    pub bytes: Bytes,
    /// The commit that they are in; 0 when a checkpoint had them.
    pub commit: CommitSeq,
    /// The segment's largest timestamp before this run.
    pub before: MaxTimestamp,
    /// False when the first batch begins before the run: what is left above the last durable block.
    pub whole: bool,
}

impl Run {
    /// Where the bytes end in the segment.
    pub fn end(&self) -> u32 {
        self.position + self.bytes.len() as u32
    }

    /// Forgets the bytes below `position`, and lets go of the large buffer that the rest may be part of.
    fn keep_from(&mut self, position: u32) {
        if position > self.position {
            self.bytes = self.bytes.slice((position - self.position) as usize..);
            self.position = position;
            self.whole = false;
        }
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }
}

/// A batch that waits for its commit.
#[derive(Clone, Debug)]
pub struct Staged {
    /// As the client sent it.
    pub bytes: Bytes,
    /// Its final header's numbers.
    pub summary: BatchSummary,
    /// The commit that takes it.
    pub commit: CommitSeq,
}

/// What runs in the background for a log. One thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Making the folder, or space for direct writes: appends go on in every way.
    Preparing,
    /// Writing to the segment's files.
    Destaging,
}

/// One log.
#[derive(Debug)]
pub struct Log {
    pub tp: TopicPartition,
    pub dir: Arc<str>,
    pub config: LogConfig,
    pub log_start: i64,
    /// The commit that made it so.
    pub log_start_commit: CommitSeq,
    /// The offset after the last staged batch.
    pub end_offset: i64,
    /// The offset after the last committed batch.
    pub committed_end: i64,
    /// Never empty; only the last is open.
    pub segments: VecDeque<Segment>,
    /// By position, the newest last. Covers everything above the segments' destaged positions.
    pub runs: VecDeque<Run>,
    pub staged: VecDeque<Staged>,
    pub staged_bytes: usize,
    pub offline: Option<IoError>,
    /// What the operator was told of places that cannot be read.
    pub unreadable: Vec<String>,
    /// A create entry of this journal, or the checkpoint it began with, names the log.
    pub announced: bool,
    pub busy: Option<Busy>,
    /// Direct writes whose commits are not done.
    pub directs: usize,
    /// Up to where the last of them writes the open segment.
    pub direct_end: u32,
    /// The folder was made, or found to be this topic's, by this process.
    pub prepared: bool,
    /// What the open segment should have space for, for direct writes.
    pub space_target: u32,
    /// The journal's bytes when what only it holds of this log began to wait; none once that is being destaged.
    pub waits_since: Option<u64>,
    /// No background work before this moment: the disk was full, or the folder still another topic's.
    pub retry_at_us: u64,
    pub aux: Bytes,
    pub aux_end: i64,
    /// Batches since `aux` was taken.
    pub aux_dirty: bool,
    pub replay: Vec<BatchSummary>,
    /// Told to the caller by the next `drain_committed`.
    pub moved: bool,
    /// The newest planned commit that touches the log.
    pub planned: CommitSeq,
    pub cursors: Cursors,
    /// The clean stop has completed the open segment's files.
    pub finished: bool,
}

impl Log {
    /// A log without batches.
    pub fn new(tp: TopicPartition, dir: Arc<str>, start_offset: i64) -> Log {
        Log {
            tp,
            dir,
            config: LogConfig::default(),
            log_start: start_offset,
            log_start_commit: 0,
            end_offset: start_offset,
            committed_end: start_offset,
            segments: VecDeque::from([Segment::new(start_offset)]),
            runs: VecDeque::new(),
            staged: VecDeque::new(),
            staged_bytes: 0,
            offline: None,
            unreadable: Vec::new(),
            announced: false,
            busy: None,
            directs: 0,
            direct_end: 0,
            prepared: false,
            space_target: 0,
            waits_since: None,
            retry_at_us: 0,
            aux: Bytes::new(),
            aux_end: start_offset,
            aux_dirty: false,
            replay: Vec::new(),
            moved: false,
            planned: 0,
            cursors: Cursors::default(),
            finished: false,
        }
    }

    /// The segment that takes appends.
    pub fn open(&self) -> &Segment {
        self.segments.back().expect("a log always has an open segment")
    }

    /// The segment that takes appends.
    pub fn open_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log always has an open segment")
    }

    /// The segment with this base offset.
    pub fn segment(&self, base_offset: i64) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&base_offset, |segment| segment.base_offset).ok()?;
        self.segments.get(at)
    }

    /// The segment with this base offset.
    pub fn segment_mut(&mut self, base_offset: i64) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&base_offset, |segment| segment.base_offset).ok()?;
        self.segments.get_mut(at)
    }

    /// The segment that holds `offset`, or the next one where a damage left a gap between two.
    pub fn segment_of(&self, offset: i64) -> Option<&Segment> {
        self.segments.get(self.segments.partition_point(|segment| segment.next_offset <= offset))
    }

    /// The oldest segment whose files are not complete.
    pub fn first_unclosed(&self) -> &Segment {
        let at = self.segments.partition_point(|segment| segment.phase == Phase::Closed);
        &self.segments[at]
    }

    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.end)).sum()
    }

    /// Closes the open segment and begins one at its end.
    pub fn roll(&mut self) {
        self.space_target = 0;
        let open = self.open_mut();
        open.phase = Phase::Closing;
        let next = Segment::new(open.next_offset);
        assert!(next.base_offset > open.base_offset, "an empty segment never rolls");
        self.segments.push_back(next);
    }

    /// Index of the first run with bytes that its segment's file does not hold yet.
    pub fn first_undestaged(&self, segment: &Segment) -> usize {
        let below = (segment.base_offset, segment.destaged);
        self.runs.partition_point(|run| (run.segment, run.end()) <= below)
    }

    /// The runs of `segment` that are committed and not (wholly) destaged.
    pub fn undestaged<'a>(&'a self, segment: &Segment, committed: CommitSeq) -> impl Iterator<Item = &'a Run> {
        let base = segment.base_offset;
        self.runs
            .range(self.first_undestaged(segment)..)
            .take_while(move |run| run.segment == base && run.commit <= committed)
    }

    /// Where the committed bytes of a segment end.
    pub fn committed_position(&self, segment: &Segment, committed: CommitSeq) -> u32 {
        let base = segment.base_offset;
        let after = self.runs.partition_point(|run| run.segment <= base && run.commit <= committed);
        let last = after.checked_sub(1).and_then(|at| self.runs.get(at));
        let end = last.filter(|run| run.segment == base).map_or(segment.destaged, Run::end);
        end.max(segment.destaged)
    }

    /// Up to where the open segment is durable, or will be when the direct writes on their way are done.
    pub fn written_to(&self) -> u32 {
        let destaged = self.open().destaged;
        if self.directs > 0 { self.direct_end.max(destaged) } else { destaged }
    }

    fn unclosed(&self) -> impl Iterator<Item = &Segment> {
        let first = self.segments.partition_point(|segment| segment.phase == Phase::Closed);
        self.segments.range(first..)
    }

    /// Bytes that only the journal holds, over all segments.
    pub fn undestaged_bytes(&self) -> u64 {
        self.unclosed().map(|segment| u64::from(segment.end.saturating_sub(segment.destaged))).sum()
    }

    /// Bytes that have no space in a segment's file yet.
    pub fn bytes_without_space(&self) -> u64 {
        let lacks = |segment: &Segment| segment.end.saturating_sub(segment.allocated.max(segment.destaged));
        self.unclosed().map(|segment| u64::from(lacks(segment))).sum()
    }

    /// True when a destage would write something: a whole block, a rolled segment, many index entries.
    pub fn has_destage_work(&self, committed: CommitSeq) -> bool {
        let segment = self.first_unclosed();
        let committed_end = self.committed_position(segment, committed);
        let complete = segment.phase == Phase::Closing && committed_end == segment.end;
        let index = segment.index.pending.len() >= INDEX_PENDING_MAX;
        complete || index || committed_end - segment.destaged >= BLOCK
    }

    /// The oldest commit that a restart needs for this log, given that a checkpoint carries what fits in less than a
    /// block; none if it needs none. An offline log's bytes are all carried.
    pub fn pin(&self) -> Option<CommitSeq> {
        self.first_pinned().map(|at| self.runs[at].commit)
    }

    /// The first run that a checkpoint does not carry, because a segment or the journal's replay is to have it. A commit
    /// may hold several runs of a log, some of them destaged: so it is the run that counts.
    fn first_pinned(&self) -> Option<usize> {
        if self.offline.is_some() {
            return None;
        }
        let mut carried = 0;
        for segment in self.unclosed() {
            let first = self.first_undestaged(segment);
            for (n, run) in self.undestaged(segment, CommitSeq::MAX).enumerate() {
                carried += run.end() - run.position.max(segment.destaged);
                if carried >= BLOCK && run.commit > 0 {
                    return Some(first + n);
                }
            }
        }
        None
    }

    /// The runs that a checkpoint as of `committed` leaves to replay begin here.
    pub fn checkpoint_cut(&self, committed: CommitSeq) -> usize {
        let uncommitted = self.runs.partition_point(|run| run.commit <= committed);
        self.first_pinned().map_or(uncommitted, |pinned| pinned.min(uncommitted))
    }

    /// Lets go of the memory of commits up to `commit`, as far as their bytes are durable in a segment or fit in less than
    /// a block, which is copied out. False when a destage must come first.
    pub fn release(&mut self, commit: CommitSeq) -> bool {
        while let Some(run) = self.runs.front() {
            if run.commit > commit {
                break;
            }
            let destaged = self.segment(run.segment).map_or(u32::MAX, |segment| segment.destaged);
            if run.end() > destaged {
                break;
            }
            self.runs.pop_front();
        }
        if self.offline.is_none() && self.has_destage_work(commit) {
            return false;
        }
        let first = self.runs.partition_point(|run| run.commit < commit);
        for at in first..self.runs.len() {
            if self.runs[at].commit > commit {
                break;
            }
            let segment = self.runs[at].segment;
            let destaged = self.segment(segment).map_or(0, |segment| segment.destaged);
            self.runs[at].keep_from(destaged);
        }
        true
    }

    /// Takes notice that a segment is durable up to `destaged`.
    pub fn destaged_to(&mut self, base_offset: i64, destaged: u32) {
        let Some(segment) = self.segment_mut(base_offset) else { return };
        segment.destaged = destaged;
        let useless = |run: &Run| !run.whole && run.segment == base_offset && run.end() <= destaged;
        while self.runs.front().is_some_and(useless) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut()
            && run.segment == base_offset
            && !run.whole
            && run.position < destaged
        {
            run.keep_from(destaged);
        }
    }

    /// The bytes of a cut batch behind the file's end, when no whole run has them.
    pub fn cold_tail(&self, segment: &Segment) -> Bytes {
        let cut = self.runs.iter().take_while(|run| !run.whole);
        let mine = cut.filter(|run| run.segment == segment.base_offset && run.position >= segment.destaged);
        let pieces: Vec<&Run> = mine.collect();
        match pieces.as_slice() {
            [] => Bytes::new(),
            [run] => run.bytes.clone(),
            many => {
                let mut tail = BytesMut::new();
                many.iter().for_each(|run| tail.extend_from_slice(&run.bytes));
                tail.freeze()
            }
        }
    }

    /// Takes back everything above the last committed commit: a write of the one in flight failed.
    pub fn cut_to(&mut self, committed: CommitSeq) {
        while self.runs.back().is_some_and(|run| run.commit > committed) {
            let Some(run) = self.runs.pop_back() else { break };
            while self.open().base_offset > run.segment {
                self.segments.pop_back();
            }
            let open = self.open_mut();
            open.phase = Phase::Open;
            open.end = run.position;
            open.next_offset = run.first_offset;
            open.index = open.index.as_of(run.position, run.before);
        }
        self.staged.clear();
        self.staged_bytes = 0;
        self.end_offset = self.committed_end;
    }

    /// Adds a run at the end of its segment, which must have been told of its batches.
    pub fn push_run(&mut self, run: Run) {
        debug_assert!(self.runs.back().is_none_or(|last| last.segment < run.segment || last.end() == run.position));
        self.runs.push_back(run);
    }
}

#[cfg(test)]
mod tests;
