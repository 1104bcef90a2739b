//! The cold read: from an offset to whole batches of one segment, or to the range of the file that holds them.
//! Must never touch: the hot cache, offsets above the limit it was given.

use bytes::Bytes;
use coretide_stdx::aligned::BLOCK_BYTES;
use smallvec::smallvec;

pub use super::locate::ColdSource;
use super::locate::{CHUNK_BYTES, Search, SearchStep};
use super::{Kind, ReadDone, ReadFailure, StoreJob, data};
use crate::batch::{check_crc, peek_header, walk_batches};
use crate::io::{Op, OpResult, SegmentFile, Step};
use crate::store::api::{Extent, LogKey, ReadReady};
use crate::store::index::{self, INDEX_ENTRY_BYTES};

/// Bytes of one cold read at most, whatever was asked.
const READ_MAX_BYTES: usize = 16 << 20;

/// A place where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdPlace {
    pub segment: i64,
    pub position: u32,
    /// All earlier batches end below this offset; the batch here holds it when the place is exact.
    pub offset: i64,
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
    pub(in crate::store) source: ColdSource,
    /// A place at or before the batch, if one is known.
    pub(in crate::store) start: Option<ColdPlace>,
}

impl ColdRead {
    /// The job that does it.
    pub fn into_job(self) -> StoreJob {
        StoreJob(Kind::Cold(Box::new(ColdJob { spec: self, at: 0, state: State::Begin })))
    }
}

#[derive(Debug)]
enum State {
    Begin,
    /// In the offset index, by offset.
    Start(Search),
    /// In the offset index, by position: the last batch border that the range may end at.
    FileEnd(Search),
    /// Both ends of the range, to see their headers.
    FileCheck {
        end: u32,
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
    state: State,
}

/// What a walk over a window came to.
#[allow(clippy::large_enum_variant)] // lives for one call
enum Walked {
    Done(ReadReady, u32),
    /// Another window is needed, from `at` on, of this many bytes.
    More(usize),
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
            Err(failure) => Step::Done(ReadDone { key: self.spec.key, result: Err(failure), next: None }),
        }
    }

    fn advance(&mut self, results: Vec<OpResult>) -> Result<Step<ReadDone>, ReadFailure> {
        let mut results = results.into_iter();
        match &mut self.state {
            State::Begin => self.begin(),
            State::Start(search) => match search.step(results.next())? {
                SearchStep::Read(op) => Ok(Step::Do(vec![op])),
                SearchStep::Found(entry) => {
                    let found = entry.as_deref().and_then(index::read_entry);
                    self.at = self.at.max(found.map_or(0, |(_, position)| position));
                    self.scan(CHUNK_BYTES)
                }
            },
            State::FileEnd(search) => match search.step(results.next())? {
                SearchStep::Read(op) => Ok(Step::Do(vec![op])),
                SearchStep::Found(entry) => {
                    let end = entry.as_deref().and_then(index::read_entry).map_or(0, |(_, position)| position);
                    self.check_file(end)
                }
            },
            State::FileCheck { end } => {
                let end = *end;
                let (first, last) = (data(results.next())?, data(results.next())?);
                self.file_or_scan(end, &first, &last)
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
        let source = &spec.source;
        let relative = spec.from_offset - source.segment;
        let file = source.file(SegmentFile::Index);
        match spec.start {
            Some(place) if place.offset == spec.from_offset => {
                self.at = place.position;
                if !spec.want_file {
                    return self.scan(0);
                }
                let target = i64::from(place.position) + spec.max_bytes as i64;
                let search = Search::new(file, source.index_bytes, INDEX_ENTRY_BYTES, position_key, target);
                self.search(State::FileEnd, search)
            }
            known => {
                self.at = known.map_or(0, |place| place.position);
                let search = Search::new(file, source.index_bytes, INDEX_ENTRY_BYTES, offset_key, relative);
                self.search(State::Start, search)
            }
        }
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
            Walked::Done(ready, next) => {
                let key = self.spec.key;
                let segment = self.spec.source.segment;
                let offset = ready.next_offset;
                let place = ColdPlace { segment, position: next, offset };
                let next = (ready.bytes > 0).then_some(place);
                Ok(Step::Done(ReadDone { key, result: Ok(ready), next }))
            }
        }
    }

    /// Takes the batches asked for from a window that holds `at`.
    fn walk(&mut self, start: u32, asked: usize, bytes: &Bytes) -> Result<Walked, ReadFailure> {
        let spec = &self.spec;
        let source = &spec.source;
        let from = (self.at - start) as usize;
        let mut ready = ReadReady::default();
        let mut first = None;
        let mut walk = walk_batches(bytes.get(from..).ok_or_else(|| source.corrupt(self.at))?);
        let mut full = false;
        for (position, header) in walk.by_ref() {
            let at = from + position;
            if first.is_none() && header.last_offset() < spec.from_offset {
                continue;
            }
            let size = header.total_bytes();
            let over = ready.bytes + size > spec.max_bytes && !(ready.bytes == 0 && spec.at_least_one);
            if header.next_offset() > spec.limit_offset || over {
                full = true;
                break;
            }
            if check_crc(&bytes[at..]).is_err() {
                if ready.bytes > 0 {
                    full = true;
                    break;
                }
                return Err(source.corrupt(start + at as u32));
            }
            first.get_or_insert(at);
            if ready.bytes == 0 {
                ready.first_batch_bytes = size;
            }
            ready.bytes += size;
            ready.next_offset = header.next_offset();
        }
        let walked = from + walk.position();
        let window_end = start + bytes.len() as u32;
        if full || window_end >= source.end() {
            if !full && first.is_none() && start + walked as u32 != source.end() {
                return Err(source.corrupt(start + walked as u32));
            }
            return Ok(finish(ready, first, start, bytes));
        }
        // The window ended in the middle of a batch.
        let next = peek_header(&bytes[walked..]).map_or(CHUNK_BYTES, |header| header.total_bytes());
        match first {
            None => {
                if walked == from && asked >= next + BLOCK_BYTES {
                    return Err(source.corrupt(start + walked as u32));
                }
                self.at = start + walked as u32;
                Ok(Walked::More(next.max(CHUNK_BYTES) + BLOCK_BYTES))
            }
            Some(at) if ready.bytes + next <= spec.max_bytes && (at > from || asked < spec.max_bytes) => {
                self.at = start + at as u32;
                Ok(Walked::More(spec.max_bytes + BLOCK_BYTES))
            }
            Some(_) => Ok(finish(ready, first, start, bytes)),
        }
    }

    fn check_file(&mut self, end: u32) -> Result<Step<ReadDone>, ReadFailure> {
        if end <= self.at || end >= self.spec.source.file_end {
            return self.scan(0);
        }
        let block = |at: u32| {
            let start = at / BLOCK_BYTES as u32 * BLOCK_BYTES as u32;
            let file = self.spec.source.file(SegmentFile::Log);
            Op::Read { file, at: u64::from(start), len: 2 * BLOCK_BYTES as u32, direct: true }
        };
        let ops = vec![block(self.at), block(end)];
        self.state = State::FileCheck { end };
        Ok(Step::Do(ops))
    }

    fn file_or_scan(&mut self, end: u32, first: &Bytes, last: &Bytes) -> Result<Step<ReadDone>, ReadFailure> {
        let header_at = |bytes: &Bytes, at: u32| {
            let within = at as usize % BLOCK_BYTES;
            bytes.get(within..).and_then(|bytes| peek_header(bytes).ok())
        };
        let (Some(begin), Some(behind)) = (header_at(first, self.at), header_at(last, end)) else {
            return self.scan(0);
        };
        let spec = &self.spec;
        if behind.base_offset > spec.limit_offset || begin.last_offset() < spec.from_offset {
            return self.scan(0);
        }
        let len = end - self.at;
        let extent = Extent::File { file: spec.source.file(SegmentFile::Log), at: u64::from(self.at), len };
        let ready = ReadReady {
            extents: smallvec![extent],
            bytes: len as usize,
            first_batch_bytes: begin.total_bytes(),
            next_offset: behind.base_offset,
        };
        let place = ColdPlace { segment: spec.source.segment, position: end, offset: behind.base_offset };
        Ok(Step::Done(ReadDone { key: spec.key, result: Ok(ready), next: Some(place) }))
    }
}

fn finish(mut ready: ReadReady, first: Option<usize>, start: u32, bytes: &Bytes) -> Walked {
    let Some(first) = first else { return Walked::Done(ReadReady::default(), start) };
    let end = first + ready.bytes;
    ready.extents.push(Extent::Hot(bytes.slice(first..end)));
    Walked::Done(ready, start + end as u32)
}
