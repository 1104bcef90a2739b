//! The search by time: time index, offset index, then batches, down to the record (KIP-79).
//! Must never touch: offsets above the limit it was given.

use bytes::Bytes;
use coretide_stdx::aligned::BLOCK_BYTES;

use super::locate::{CHUNK_BYTES, ColdSource, Search, SearchStep};
use super::{Kind, ReadFailure, StoreJob, TimeDone, data};
use crate::batch::{BatchHeader, check_crc, peek_header, walk_batches};
use crate::io::{OpResult, SegmentFile, Step};
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
        StoreJob(Kind::Time(Box::new(TimeJob { spec: self, segment: 0, at: 0, state: State::Begin })))
    }
}

#[derive(Debug)]
enum State {
    Begin,
    Times(Search),
    Offsets(Search),
    Scan { start: u32, asked: usize },
}

#[derive(Debug)]
pub struct TimeJob {
    spec: TimeRead,
    segment: usize,
    at: u32,
    state: State,
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
        Step::Done(TimeDone { key: self.spec.key, result })
    }

    fn advance(&mut self, results: Vec<OpResult>) -> Result<Step<TimeDone>, ReadFailure> {
        let mut result = results.into_iter().next();
        loop {
            let Some(segment) = self.spec.segments.get(self.segment) else { return Ok(self.done(Ok(None))) };
            let source = &segment.source;
            match &mut self.state {
                State::Begin => {
                    self.at = 0;
                    self.state = match self.spec.target {
                        TimeTarget::AtLeast(timestamp) => {
                            let file = source.file(SegmentFile::TimeIndex);
                            State::Times(Search::new(file, segment.time_bytes, TIME_ENTRY_BYTES, time_key, timestamp))
                        }
                        TimeTarget::MaxOf(offset) => offsets(source, offset - source.segment),
                    };
                }
                State::Times(search) => match search.step(result.take())? {
                    SearchStep::Read(op) => return Ok(Step::Do(vec![op])),
                    SearchStep::Found(entry) => {
                        let time = entry.as_deref().and_then(index::read_time);
                        let relative = time.map_or(0, |time| i64::from(time.relative_offset));
                        self.state = offsets(source, relative.max(self.spec.from_offset - source.segment));
                    }
                },
                State::Offsets(search) => match search.step(result.take())? {
                    SearchStep::Read(op) => return Ok(Step::Do(vec![op])),
                    SearchStep::Found(entry) => {
                        self.at = entry.as_deref().and_then(index::read_entry).map_or(0, |(_, position)| position);
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
                    let read = data(result.take())?;
                    if read.is_empty() {
                        return Err(source.corrupt(start));
                    }
                    let bytes = source.window_bytes(start, read)?;
                    let from = (self.at - start) as usize;
                    let (found, walked) = self.walk(&bytes, from, start)?;
                    if found.is_some() {
                        return Ok(self.done(Ok(found)));
                    }
                    let source = &self.spec.segments[self.segment].source;
                    self.at = start + walked as u32;
                    if start + (bytes.len() as u32) < source.end() {
                        let next = peek_header(&bytes[walked..]).map_or(0, |header| header.total_bytes());
                        if walked == from && asked >= next + BLOCK_BYTES {
                            return Err(source.corrupt(self.at));
                        }
                        if let Some(step) = self.window(next.max(CHUNK_BYTES) + BLOCK_BYTES) {
                            return Ok(step);
                        }
                    }
                    if let Some(found) = self.in_memory()? {
                        return Ok(self.done(Ok(Some(found))));
                    }
                }
            }
        }
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
            let (found, _) = self.walk(&segment.source.tail, from, end)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        for run in &segment.runs {
            let (found, _) = self.walk(run, 0, end)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.segment += 1;
        self.state = State::Begin;
        Ok(None)
    }

    /// Looks through the batches of `bytes` from `from` on; `start` is where `bytes` lies in the segment. Also says where
    /// the walk ended.
    fn walk(&self, bytes: &Bytes, from: usize, start: u32) -> Result<(Option<TimestampOffset>, usize), ReadFailure> {
        let source = &self.spec.segments[self.segment].source;
        let Some(rest) = bytes.get(from..) else { return Ok((None, bytes.len())) };
        let mut walk = walk_batches(rest);
        for (position, header) in walk.by_ref() {
            if !self.is_candidate(&header) {
                continue;
            }
            let batch = &rest[position..];
            let corrupt = |_| source.corrupt(start + (from + position) as u32);
            check_crc(batch).map_err(corrupt)?;
            let found = match self.spec.target {
                TimeTarget::AtLeast(timestamp) => find_by_timestamp(batch, timestamp, self.spec.from_offset),
                TimeTarget::MaxOf(_) => max_timestamp_offset(batch),
            };
            if let Some(found) = found.map_err(corrupt)? {
                return Ok((Some(found), from + position));
            }
        }
        Ok((None, from + walk.position()))
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
