//! The search by time: time index, offset index, then batches, down to the record (KIP-79).
//!
//! An entry of the time index cannot be proved by looking at one batch. So the walk begins one entry before the one found, and both
//! must ascend: then a single wrong entry, whatever it says, leads to a longer walk at most. Every batch walked over has its checksum
//! and its offset looked at.
//! Must never touch: offsets above the limit it was given.

use bytes::Bytes;
use coretide_stdx::aligned::BLOCK_BYTES;

use super::locate::{CHUNK_BYTES, ColdSource, Expect, Look, Search, SearchStep, look};
use super::{Kind, ReadFailure, StoreJob, TimeDone, data};
use crate::batch::{BatchHeader, peek_header};
use crate::codec::Codec;
use crate::io::{Op, OpResult, SegmentFile, Step};
use crate::store::api::LogKey;
use crate::store::index::{self, INDEX_ENTRY_BYTES, TIME_ENTRY_BYTES};
use crate::timestamps::{TimestampOffset, find_by_timestamp, max_timestamp_offset};

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTarget {
    /// The first record with at least this timestamp.
    AtLeast(i64),
    /// The record with the largest timestamp of the batch that ends with this offset.
    MaxOf(i64),
}

/// A segment to search.
#[derive(Clone, Debug)]
pub struct TimeSegment {
    pub source: ColdSource,
    pub time_bytes: u32,
    /// Whole batches in memory, behind the source.
    pub runs: Vec<Bytes>,
}

/// A search by time in the segments on disk.
#[derive(Clone, Debug)]
pub struct TimeRead {
    /// The log.
    pub key: LogKey,
    pub(in crate::store) target: TimeTarget,
    /// Records from here on.
    pub(in crate::store) from_offset: i64,
    /// Records below this.
    pub(in crate::store) limit_offset: i64,
    /// The segments that may hold it, in order.
    pub(in crate::store) segments: Vec<TimeSegment>,
}

impl TimeRead {
    /// The job that does it.
    pub fn into_job(self) -> StoreJob {
        let (expect, state) = (Expect::Base(0), State::Begin);
        StoreJob(Kind::Time(Box::new(TimeJob { spec: self, segment: 0, at: 0, expect, suspect: None, state })))
    }
}

#[derive(Debug)]
enum State {
    Begin,
    Times(Search),
    /// The entry found, and the one before it.
    TimePair,
    Offsets(Search),
    Scan {
        start: u32,
        asked: usize,
    },
}

#[derive(Debug)]
pub struct TimeJob {
    spec: TimeRead,
    segment: usize,
    /// A batch begins here.
    at: u32,
    /// Which one.
    expect: Expect,
    suspect: Option<i64>,
    state: State,
}

/// What a walk came to.
enum Walked {
    Found(TimestampOffset),
    /// Nothing up to here.
    To(usize),
    /// The batch that the index named is not there.
    Distrust(i64),
}

fn time_key(entry: &[u8]) -> Option<i64> {
    index::read_time(entry).map(|time| time.timestamp)
}

fn offset_key(entry: &[u8]) -> Option<i64> {
    index::read_entry(entry).map(|(offset, _)| i64::from(offset))
}

impl TimeJob {
    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<TimeDone> {
        match self.advance(results) {
            Ok(step) => step,
            Err(failure) => self.done(Err(failure)),
        }
    }

    fn done(&self, result: Result<Option<TimestampOffset>, ReadFailure>) -> Step<TimeDone> {
        let limit = self.spec.limit_offset;
        let result = result.map(|found| found.filter(|found| found.offset < limit));
        let segment = self.spec.segments.get(self.segment).map(|segment| segment.source.segment);
        Step::Done(TimeDone { key: self.spec.key, result, segment, suspect: self.suspect })
    }

    fn advance(&mut self, results: Vec<OpResult>) -> Result<Step<TimeDone>, ReadFailure> {
        let mut result = results.into_iter().next();
        loop {
            let Some(segment) = self.spec.segments.get(self.segment) else { return Ok(self.done(Ok(None))) };
            let source = &segment.source;
            let base = source.segment;
            match &mut self.state {
                State::Begin => {
                    self.state = match self.spec.target {
                        TimeTarget::AtLeast(timestamp) => {
                            let file = source.file(SegmentFile::TimeIndex);
                            State::Times(Search::new(file, segment.time_bytes, TIME_ENTRY_BYTES, time_key, timestamp))
                        }
                        TimeTarget::MaxOf(offset) => offsets(source, offset - base),
                    };
                }
                State::Times(search) => match search.step(result.take())? {
                    SearchStep::Read(op) => return Ok(Step::Do(vec![op])),
                    SearchStep::Found(found) => {
                        if found.short {
                            self.suspect = Some(base);
                        }
                        if let Some(before) = found.no.checked_sub(1) {
                            self.state = State::TimePair;
                            let file = self.spec.segments[self.segment].source.file(SegmentFile::TimeIndex);
                            let at = u64::from(before) * TIME_ENTRY_BYTES as u64;
                            let len = 2 * TIME_ENTRY_BYTES as u32;
                            return Ok(Step::Do(vec![Op::Read { file, at, len, direct: false }]));
                        }
                        self.state = offsets(source, self.spec.from_offset - base);
                    }
                },
                State::TimePair => {
                    self.state = match data(result.take()) {
                        Ok(pair) => self.start_from_pair(&pair),
                        // If the segment is gone, too, its log file will say so.
                        Err(error) if error.is_not_found() => self.start_from_pair(&[]),
                        Err(error) => return Err(error.into()),
                    };
                }
                State::Offsets(search) => match search.step(result.take())? {
                    SearchStep::Read(op) => return Ok(Step::Do(vec![op])),
                    SearchStep::Found(found) => {
                        if found.short {
                            self.suspect = Some(base);
                        }
                        let entry = found.entry.as_deref().and_then(index::read_entry);
                        (self.at, self.expect) = match entry {
                            Some((relative, at)) if at < source.file_end => {
                                (at, Expect::Indexed(base + i64::from(relative)))
                            }
                            _ => (0, Expect::Base(base)),
                        };
                        if let Some(step) = self.window(CHUNK_BYTES) {
                            return Ok(step);
                        }
                        if let Some(found) = self.in_memory()? {
                            return Ok(self.done(Ok(Some(found))));
                        }
                    }
                },
                State::Scan { start, asked } => {
                    let (start, asked) = (*start, *asked);
                    if let Some(step) = self.scanned(start, asked, data(result.take())?)? {
                        return Ok(step);
                    }
                }
            }
        }
    }

    /// Where to begin in the offset index, given the time entry found and the one before it.
    fn start_from_pair(&mut self, pair: &[u8]) -> State {
        let source = &self.spec.segments[self.segment].source;
        let from = self.spec.from_offset - source.segment;
        let entries = (index::read_time(pair), pair.get(TIME_ENTRY_BYTES..).and_then(index::read_time));
        match entries {
            (Some(before), Some(found))
                if before.timestamp < found.timestamp && before.relative_offset < found.relative_offset =>
            {
                offsets(source, from.max(i64::from(before.relative_offset)))
            }
            _ => {
                self.suspect = Some(source.segment);
                offsets(source, from)
            }
        }
    }

    /// Looks through a window. Some if that leads to an operation or to the end.
    fn scanned(&mut self, start: u32, asked: usize, read: Bytes) -> Result<Option<Step<TimeDone>>, ReadFailure> {
        let source = &self.spec.segments[self.segment].source;
        if read.is_empty() {
            return Err(source.corrupt(start));
        }
        let bytes = source.window_bytes(start, read)?;
        let from = (self.at - start) as usize;
        // A batch may begin in the file and end in memory.
        let in_memory = !self.spec.segments[self.segment].runs.is_empty();
        let left = if in_memory { usize::MAX } else { (source.end() - self.at) as usize };
        let walked = match self.walk(&bytes, from, (start, left))? {
            Walked::Found(found) => return Ok(Some(self.done(Ok(Some(found))))),
            Walked::To(walked) => walked,
            Walked::Distrust(last_offset) => {
                let source = &self.spec.segments[self.segment].source;
                self.suspect = Some(source.segment);
                self.state = offsets(source, last_offset - source.segment - 1);
                return Ok(None);
            }
        };
        let source = &self.spec.segments[self.segment].source;
        self.at = start + walked as u32;
        if start + (bytes.len() as u32) < source.end() {
            let next = peek_header(&bytes[walked..]).map_or(0, |header| header.total_bytes());
            if walked == from && asked >= next + BLOCK_BYTES {
                return Err(source.corrupt(self.at));
            }
            if let Some(step) = self.window(next.max(CHUNK_BYTES) + BLOCK_BYTES) {
                return Ok(Some(step));
            }
        }
        Ok(self.in_memory()?.map(|found| self.done(Ok(Some(found)))))
    }

    fn window(&mut self, want: usize) -> Option<Step<TimeDone>> {
        let (start, op) = self.spec.segments[self.segment].source.window(self.at, want)?;
        self.state = State::Scan { start, asked: want };
        Some(Step::Do(vec![op]))
    }

    /// Behind the file: the tail, if no window had it, and the runs. Goes to the next segment without a find.
    fn in_memory(&mut self) -> Result<Option<TimestampOffset>, ReadFailure> {
        let segment = self.spec.segments[self.segment].clone();
        let end = segment.source.file_end;
        if self.at >= end {
            let from = (self.at - end) as usize;
            let left = segment.source.tail.len().saturating_sub(from);
            if let Walked::Found(found) = self.walk(&segment.source.tail, from, (end, left))? {
                return Ok(Some(found));
            }
        }
        for run in &segment.runs {
            // What is in memory was written by this process, or checked when it was replayed.
            self.expect = peek_header(run).map_or(self.expect, |header| Expect::Base(header.base_offset));
            if let Walked::Found(found) = self.walk(run, 0, (end, run.len()))? {
                return Ok(Some(found));
            }
        }
        self.segment += 1;
        self.state = State::Begin;
        Ok(None)
    }

    /// Looks through the batches of `bytes` from `from` on; `start` is where `bytes` lies in the segment, and `left` how many
    /// bytes of batches there are from `from` on.
    fn walk(&mut self, bytes: &Bytes, from: usize, (start, left): (u32, usize)) -> Result<Walked, ReadFailure> {
        let source = &self.spec.segments[self.segment].source;
        let mut at = from;
        while let Some(rest) = bytes.get(at..) {
            let header = match look(rest, left - (at - from), self.expect) {
                Look::Batch(header) => header,
                Look::Cut => return Ok(Walked::To(at)),
                Look::Bad => match self.expect {
                    Expect::Indexed(last_offset) => return Ok(Walked::Distrust(last_offset)),
                    _ => return Err(source.corrupt(start + at as u32)),
                },
            };
            self.expect = Expect::Base(header.next_offset());
            if self.is_candidate(&header) {
                let found = match self.spec.target {
                    TimeTarget::AtLeast(timestamp) => find_by_timestamp(rest, timestamp, self.spec.from_offset),
                    TimeTarget::MaxOf(_) => max_timestamp_offset(rest),
                };
                match found {
                    Ok(None) => {}
                    Ok(Some(found)) => return Ok(Walked::Found(found)),
                    Err(_) if header.codec() == Ok(Codec::None) => return Err(source.corrupt(start + at as u32)),
                    Err(_) => return Ok(Walked::Found(self.by_header(&header))),
                }
            }
            at += header.total_bytes();
        }
        Ok(Walked::To(bytes.len()))
    }

    /// What can be said of a batch whose checksum is good and whose records cannot be told apart, which a topic may take from
    /// a producer (`coretide.compressed.check`): a consumer that begins there misses nothing.
    fn by_header(&self, header: &BatchHeader) -> TimestampOffset {
        let offset = header.base_offset.max(self.spec.from_offset);
        TimestampOffset { offset, timestamp_ms: header.max_timestamp }
    }

    fn is_candidate(&self, header: &BatchHeader) -> bool {
        match self.spec.target {
            TimeTarget::AtLeast(timestamp) => {
                header.max_timestamp >= timestamp && header.last_offset() >= self.spec.from_offset
            }
            TimeTarget::MaxOf(offset) => header.last_offset() >= offset,
        }
    }
}

fn offsets(source: &ColdSource, relative: i64) -> State {
    let file = source.file(SegmentFile::Index);
    State::Offsets(Search::new(file, source.index_bytes, INDEX_ENTRY_BYTES, offset_key, relative))
}

#[cfg(test)]
mod tests;
