//! The cold read: from an offset to whole batches of one segment, or to the range of the file that holds them.
//!
//! Nothing leaves unchecked: every batch that is walked over has its checksum, its offset (which the checksum does not cover) and its
//! leader epoch looked at. Only a range that this process has read in that way since the segment's file was last written may be named
//! as a file range instead, to be sent without another look. An entry of the offset index counts once the batch at its place is the
//! one it names; where it is not, an earlier entry is taken, and the index is suspect.
//! Must never touch: the hot cache, offsets above the limit it was given.

use bytes::Bytes;
use coretide_stdx::aligned::BLOCK_BYTES;
use smallvec::smallvec;

pub use super::locate::ColdSource;
use super::locate::{CHUNK_BYTES, Expect, Look, Search, SearchStep, find_batch, look};
use super::{Kind, ReadDone, ReadFailure, StoreJob, data};
use crate::batch::peek_header;
use crate::io::{Op, OpResult, SegmentFile, Step};
use crate::store::api::{Extent, LogKey, ReadReady};
use crate::store::index::{self, INDEX_ENTRY_BYTES};

/// Bytes of one cold read at most, whatever was asked.
const READ_MAX_BYTES: usize = 16 << 20;

/// A search that ends more index intervals than this before the batch, and more bytes, was misled by a wrong entry.
const INTERVALS_MAX: u32 = 64;
const MISLED_BYTES: u32 = 256 << 10;

/// A place where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdPlace {
    pub segment: i64,
    pub position: u32,
    /// The batch's first offset.
    pub offset: i64,
}

/// A range of whole batches in a segment's file that were read and found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub segment: i64,
    pub from: u32,
    pub to: u32,
    /// The first offset behind it.
    pub to_offset: i64,
}

/// What is known of the place where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdStart {
    /// The index must say.
    Unknown,
    /// The batch here begins with the offset wanted.
    Exact(u32),
    /// At or before the batch: a batch here ends with this offset.
    Ends { position: u32, last_offset: i64 },
}

/// A read of whole batches from one segment on disk.
#[derive(Clone, Debug)]
pub struct ColdRead {
    /// The log.
    pub key: LogKey,
    /// The offset to read from.
    pub from_offset: i64,
    /// Only batches wholly below this.
    pub limit_offset: i64,
    /// Bytes at most.
    pub max_bytes: usize,
    /// The first batch is returned even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// Only locate, where the range allows it: the answer may hold [`Extent::File`] for splice.
    pub want_file: bool,
    /// From which offset on batches carry which leader epoch, ascending. Where it says nothing, any epoch is good.
    pub epochs: Vec<(i64, i32)>,
    pub(in crate::store) source: ColdSource,
    pub(in crate::store) start: ColdStart,
    /// What of the file was verified already around the start.
    pub(in crate::store) verified: Option<Verified>,
}

impl ColdRead {
    /// The job that does it.
    pub fn into_job(self) -> StoreJob {
        let expect = Expect::Base(self.source.segment);
        let job =
            ColdJob { spec: self, at: 0, expect, doubted: None, searched: None, skipped_bytes: 0, state: State::Begin };
        StoreJob(Kind::Cold(Box::new(job)))
    }
}

#[derive(Debug)]
enum State {
    Begin,
    /// In the offset index, by offset.
    Start(Search),
    /// In the offset index, by position: the last batch border that the range may end at.
    FileEnd(Search),
    /// The header at the front of the range, and the one behind it if the range's end is the index's word, which says that
    /// the batch there ends with this offset.
    FileCheck {
        end: u32,
        last_offset: Option<i64>,
    },
    /// A window of the log that begins here and was asked with this many bytes from the start on.
    Scan {
        start: u32,
        asked: usize,
    },
}

#[derive(Debug)]
pub struct ColdJob {
    spec: ColdRead,
    /// A batch begins here.
    at: u32,
    /// Which one.
    expect: Expect,
    /// The place of an index entry that did not hold the batch it names.
    doubted: Option<u32>,
    /// Where the index said to begin.
    searched: Option<u32>,
    /// The largest batch that was walked over since.
    skipped_bytes: usize,
    state: State,
}

/// What a walk over a window came to.
#[allow(clippy::large_enum_variant)] // lives for one call
enum Walked {
    /// The batches, where they begin in the segment, and where they end.
    Done(ReadReady, u32, u32),
    /// Another window is needed, from `at` on, of this many bytes.
    More(usize),
    /// The batch that the index named is not there.
    Distrust(i64),
}

fn offset_key(entry: &[u8]) -> Option<i64> {
    index::read_entry(entry).map(|(offset, _)| i64::from(offset))
}

fn position_key(entry: &[u8]) -> Option<i64> {
    index::read_entry(entry).map(|(_, position)| i64::from(position))
}

impl ColdJob {
    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<ReadDone> {
        match self.advance(results) {
            Ok(step) => step,
            Err(failure) => self.done(Err(failure), None, None),
        }
    }

    fn done(
        &self,
        result: Result<ReadReady, ReadFailure>,
        next: Option<ColdPlace>,
        verified: Option<Verified>,
    ) -> Step<ReadDone> {
        // An entry that names a damaged batch is right.
        let damaged = match &result {
            Err(ReadFailure::Corrupt { at, .. }) => Some(*at),
            _ => None,
        };
        let suspect = self.doubted.is_some_and(|place| damaged != Some(u64::from(place)));
        let suspect = suspect.then_some(self.spec.source.segment);
        let (key, segment) = (self.spec.key, self.spec.source.segment);
        Step::Done(ReadDone { key, result, segment, next, verified, suspect })
    }

    fn advance(&mut self, results: Vec<OpResult>) -> Result<Step<ReadDone>, ReadFailure> {
        let mut results = results.into_iter();
        match &mut self.state {
            State::Begin => self.begin(),
            State::Start(search) => match search.step(results.next())? {
                SearchStep::Read(op) => Ok(Step::Do(vec![op])),
                SearchStep::Found(found) => {
                    if found.short {
                        self.doubted = Some(u32::MAX);
                    }
                    let entry = found.entry.as_deref().and_then(index::read_entry);
                    self.start_at(entry);
                    self.scan(CHUNK_BYTES)
                }
            },
            State::FileEnd(search) => match search.step(results.next())? {
                SearchStep::Read(op) => Ok(Step::Do(vec![op])),
                SearchStep::Found(found) => {
                    let entry = found.entry.as_deref().and_then(index::read_entry);
                    let (relative, end) = entry.unwrap_or_default();
                    self.check_file(end, Some(self.spec.source.segment + i64::from(relative)))
                }
            },
            State::FileCheck { end, last_offset } => {
                let (end, last_offset) = (*end, *last_offset);
                let first = data(results.next())?;
                let last = results.next().map_or(Ok(Bytes::new()), |result| data(Some(result)))?;
                self.file_or_scan(end, last_offset, &first, &last)
            }
            State::Scan { start, asked } => {
                let (start, asked) = (*start, *asked);
                let read = data(results.next())?;
                if read.is_empty() {
                    return Err(self.spec.source.corrupt(start));
                }
                let bytes = self.spec.source.window_bytes(start, read)?;
                self.scanned(start, asked, &bytes)
            }
        }
    }

    fn begin(&mut self) -> Result<Step<ReadDone>, ReadFailure> {
        self.spec.max_bytes = self.spec.max_bytes.min(READ_MAX_BYTES);
        let spec = &self.spec;
        match spec.start {
            ColdStart::Exact(position) => {
                (self.at, self.expect) = (position, Expect::Base(spec.from_offset));
                let Some(verified) = spec.verified.filter(|_| spec.want_file) else { return self.scan(0) };
                let target = position.saturating_add(spec.max_bytes as u32);
                if verified.to <= target {
                    return self.check_file(verified.to, None);
                }
                let (file, bytes) = (spec.source.file(SegmentFile::Index), spec.source.index_bytes);
                let search = Search::new(file, bytes, INDEX_ENTRY_BYTES, position_key, i64::from(target));
                self.search(State::FileEnd, search)
            }
            ColdStart::Ends { position, last_offset } => {
                (self.at, self.expect) = (position, Expect::Last(last_offset));
                self.scan(CHUNK_BYTES)
            }
            ColdStart::Unknown => self.search_start(spec.from_offset - spec.source.segment),
        }
    }

    /// Looks for the last entry up to a relative offset.
    fn search_start(&mut self, relative: i64) -> Result<Step<ReadDone>, ReadFailure> {
        let source = &self.spec.source;
        let file = source.file(SegmentFile::Index);
        let search = Search::new(file, source.index_bytes, INDEX_ENTRY_BYTES, offset_key, relative);
        self.search(State::Start, search)
    }

    fn start_at(&mut self, entry: Option<(u32, u32)>) {
        let source = &self.spec.source;
        (self.at, self.expect) = match entry {
            Some((relative, position)) if position < source.end() => {
                (position, Expect::Indexed(source.segment + i64::from(relative)))
            }
            _ => (0, Expect::Base(source.segment)),
        };
        (self.searched, self.skipped_bytes) = (Some(self.at), 0);
    }

    fn search(&mut self, state: fn(Search) -> State, search: Search) -> Result<Step<ReadDone>, ReadFailure> {
        self.state = state(search);
        self.advance(Vec::new())
    }

    /// Reads the next window: the whole range asked for, and `slack` bytes to find its beginning in.
    fn scan(&mut self, slack: usize) -> Result<Step<ReadDone>, ReadFailure> {
        let want = self.spec.max_bytes.max(CHUNK_BYTES) + BLOCK_BYTES + slack;
        self.window(want)
    }

    fn window(&mut self, want: usize) -> Result<Step<ReadDone>, ReadFailure> {
        match self.spec.source.window(self.at, want) {
            Some((start, op)) => {
                self.state = State::Scan { start, asked: want };
                Ok(Step::Do(vec![op]))
            }
            None => {
                let start = self.spec.source.file_end;
                let tail = self.spec.source.tail.clone();
                self.scanned(start, usize::MAX, &tail)
            }
        }
    }

    fn scanned(&mut self, start: u32, asked: usize, bytes: &Bytes) -> Result<Step<ReadDone>, ReadFailure> {
        match self.walk(start, asked, bytes)? {
            Walked::More(want) => self.window(want),
            Walked::Distrust(last_offset) => {
                self.doubted = Some(self.at);
                self.search_start(last_offset - self.spec.source.segment - 1)
            }
            Walked::Done(ready, from, to) => {
                let segment = self.spec.source.segment;
                let far = MISLED_BYTES.max(self.spec.source.interval_bytes.saturating_mul(INTERVALS_MAX));
                let far = far.saturating_add(self.skipped_bytes as u32);
                if ready.bytes > 0 && self.searched.is_some_and(|place| from - place > far) {
                    self.doubted.get_or_insert(u32::MAX);
                }
                let to_offset = ready.next_offset;
                let place = ColdPlace { segment, position: to, offset: to_offset };
                let next = (ready.bytes > 0).then_some(place);
                let in_file = ready.bytes > 0 && to <= self.spec.source.file_end;
                let verified = in_file.then_some(Verified { segment, from, to, to_offset });
                Ok(self.done(Ok(ready), next, verified))
            }
        }
    }

    fn look(&self, rest: &[u8], position: u32, expect: Expect) -> Look {
        let found = look(rest, (self.spec.source.end() - position) as usize, expect);
        let Look::Batch(header) = found else { return found };
        let known = self.spec.epochs.iter().rev().find(|(from, _)| *from <= header.base_offset);
        if known.is_some_and(|(_, epoch)| *epoch != header.leader_epoch) { Look::Bad } else { found }
    }

    /// A batch that is not asked for may be damaged: the one that is may still be whole behind it.
    fn behind_damage(&self, rest: &[u8], expect: Expect) -> Option<(usize, i64)> {
        find_batch(rest, expect.at_least()..=self.spec.from_offset)
    }

    /// Takes the batches asked for from a window that holds `at`.
    fn walk(&mut self, start: u32, asked: usize, bytes: &Bytes) -> Result<Walked, ReadFailure> {
        let spec = &self.spec;
        let source = &spec.source;
        let from = (self.at - start) as usize;
        let mut ready = ReadReady::default();
        // Where the first batch taken lies, and its offset.
        let mut first: Option<(usize, i64)> = None;
        let (mut at, mut expect, mut full) = (from, self.expect, false);
        let mut skipped_bytes = self.skipped_bytes;
        loop {
            let rest = bytes.get(at..).ok_or_else(|| source.corrupt(start + at as u32))?;
            let header = match self.look(rest, start + at as u32, expect) {
                Look::Cut => break,
                Look::Batch(header) if first.is_some() || header.base_offset <= spec.from_offset => header,
                _ if first.is_some() => {
                    full = true;
                    break;
                }
                _ => {
                    if let Expect::Indexed(last_offset) = expect {
                        return Ok(Walked::Distrust(last_offset));
                    }
                    let behind = self.behind_damage(rest, expect);
                    let (skip, offset) = behind.ok_or_else(|| source.corrupt(start + at as u32))?;
                    (at, expect) = (at + skip, Expect::Base(offset));
                    continue;
                }
            };
            let size = header.total_bytes();
            expect = Expect::Base(header.next_offset());
            if first.is_none() && header.last_offset() < spec.from_offset {
                at += size;
                skipped_bytes = skipped_bytes.max(size);
                continue;
            }
            let over = ready.bytes + size > spec.max_bytes && !(ready.bytes == 0 && spec.at_least_one);
            if header.next_offset() > spec.limit_offset || over {
                full = true;
                break;
            }
            first.get_or_insert((at, header.base_offset));
            if ready.bytes == 0 {
                ready.first_batch_bytes = size;
            }
            ready.bytes += size;
            ready.next_offset = header.next_offset();
            at += size;
        }
        self.skipped_bytes = skipped_bytes;
        if full || start + bytes.len() as u32 >= self.spec.source.end() {
            if !full && first.is_none() && start + at as u32 != self.spec.source.end() {
                return Err(self.spec.source.corrupt(start + at as u32));
            }
            return Ok(finish(ready, first, start, bytes));
        }
        self.go_on(ready, first, (start, asked, bytes), (from, at, expect))
    }

    /// A window ended in the middle of the batch at `at`: what was taken so far is enough, or another window is needed.
    fn go_on(
        &mut self,
        ready: ReadReady,
        first: Option<(usize, i64)>,
        (start, asked, bytes): (u32, usize, &Bytes),
        (from, at, expect): (usize, usize, Expect),
    ) -> Result<Walked, ReadFailure> {
        let (spec, source) = (&self.spec, &self.spec.source);
        let next = peek_header(&bytes[at..]).map_or(CHUNK_BYTES, |header| header.total_bytes());
        match first {
            None => {
                if at == from && asked >= next + BLOCK_BYTES {
                    return Err(source.corrupt(start + at as u32));
                }
                (self.at, self.expect) = (start + at as u32, expect);
                Ok(Walked::More(next.max(CHUNK_BYTES) + BLOCK_BYTES))
            }
            Some((place, offset))
                if ready.bytes + next <= spec.max_bytes && (place > from || asked < spec.max_bytes) =>
            {
                (self.at, self.expect) = (start + place as u32, Expect::Base(offset));
                Ok(Walked::More(self.spec.max_bytes + BLOCK_BYTES))
            }
            Some(_) => Ok(finish(ready, first, start, bytes)),
        }
    }

    /// Looks at the ends of a range of the file that was verified before.
    fn check_file(&mut self, end: u32, last_offset: Option<i64>) -> Result<Step<ReadDone>, ReadFailure> {
        if end <= self.at || end > self.spec.source.file_end {
            return self.scan(0);
        }
        let block = |at: u32| {
            let start = at / BLOCK_BYTES as u32 * BLOCK_BYTES as u32;
            let file = self.spec.source.file(SegmentFile::Log);
            Op::Read { file, at: u64::from(start), len: 2 * BLOCK_BYTES as u32, direct: true }
        };
        let mut ops = vec![block(self.at)];
        ops.extend(last_offset.map(|_| block(end)));
        self.state = State::FileCheck { end, last_offset };
        Ok(Step::Do(ops))
    }

    fn file_or_scan(
        &mut self,
        end: u32,
        last_offset: Option<i64>,
        first: &Bytes,
        last: &Bytes,
    ) -> Result<Step<ReadDone>, ReadFailure> {
        let spec = &self.spec;
        let header_at = |bytes: &Bytes, at: u32| {
            let within = at as usize % BLOCK_BYTES;
            bytes.get(within..).and_then(|bytes| peek_header(bytes).ok())
        };
        let begin = header_at(first, self.at).filter(|header| header.base_offset == spec.from_offset);
        let end_offset = match last_offset {
            None => spec.verified.map(|verified| verified.to_offset),
            Some(named) => {
                let behind = header_at(last, end).filter(|header| header.last_offset() == named);
                behind.map(|header| header.base_offset)
            }
        };
        let (Some(begin), Some(end_offset)) = (begin, end_offset) else { return self.scan(0) };
        if end_offset > spec.limit_offset {
            return self.scan(0);
        }
        let len = end - self.at;
        let extent = Extent::File { file: spec.source.file(SegmentFile::Log), at: u64::from(self.at), len };
        let ready = ReadReady {
            extents: smallvec![extent],
            bytes: len as usize,
            first_batch_bytes: begin.total_bytes(),
            next_offset: end_offset,
        };
        let place = ColdPlace { segment: spec.source.segment, position: end, offset: end_offset };
        Ok(self.done(Ok(ready), Some(place), None))
    }
}

fn finish(mut ready: ReadReady, first: Option<(usize, i64)>, start: u32, bytes: &Bytes) -> Walked {
    let Some((first, _)) = first else { return Walked::Done(ReadReady::default(), start, start) };
    let end = first + ready.bytes;
    ready.extents.push(Extent::Hot(bytes.slice(first..end)));
    Walked::Done(ready, start + first as u32, start + end as u32)
}

#[cfg(test)]
mod tests;
