//! Finding a place in a segment: binary search in its index files, and windows of its log file.
//! Must never touch: what is done with the batches found.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coretide_stdx::aligned::{BLOCK_BYTES, blocks_up};

use super::{ReadFailure, data};
use crate::batch::{BatchHeader, HEADER_BYTES, check_crc, peek_header};
use crate::io::{FileId, Op, OpResult, SegmentFile};

/// The least that a cold read asks the disk for.
pub const CHUNK_BYTES: usize = 128 << 10;
/// How much of an index is read at once when the search has come that near.
const INDEX_LEAF_BYTES: u32 = 4096;

/// A segment as a job sees it: the file up to `file_end`, and a few bytes behind it in memory.
#[derive(Clone, Debug)]
pub struct ColdSource {
    pub dir: Arc<str>,
    pub segment: i64,
    pub file_end: u32,
    pub tail: Bytes,
    pub index_bytes: u32,
    /// Batches this far apart have index entries, about.
    pub interval_bytes: u32,
}

impl ColdSource {
    /// One of the segment's files.
    pub fn file(&self, kind: SegmentFile) -> FileId {
        FileId::Segment { dir: Arc::clone(&self.dir), base_offset: self.segment, kind }
    }

    /// Where the batches end.
    pub fn end(&self) -> u32 {
        self.file_end + self.tail.len() as u32
    }

    /// Something in the log file is not what was written.
    pub fn corrupt(&self, at: u32) -> ReadFailure {
        ReadFailure::Corrupt { path: self.file(SegmentFile::Log).path(), at: u64::from(at) }
    }

    /// The read of a window that holds `at` and at least `want` bytes from there, as far as the file goes; none when the
    /// tail in memory has it all.
    pub fn window(&self, at: u32, want: usize) -> Option<(u32, Op)> {
        if at >= self.file_end {
            return None;
        }
        let start = at / BLOCK_BYTES as u32 * BLOCK_BYTES as u32;
        let len = blocks_up((at - start) as usize + want).min((self.file_end - start) as usize);
        let file = self.file(SegmentFile::Log);
        Some((start, Op::Read { file, at: u64::from(start), len: len as u32, direct: true }))
    }

    /// What a window holds, given what was read: the tail follows when the window reaches it.
    pub fn window_bytes(&self, start: u32, read: Bytes) -> Result<Bytes, ReadFailure> {
        let reached = start + read.len() as u32;
        if reached > self.file_end {
            return Ok(read);
        }
        if reached < self.file_end || self.tail.is_empty() {
            return Ok(read);
        }
        let mut both = BytesMut::with_capacity(read.len() + self.tail.len());
        both.extend_from_slice(&read);
        both.extend_from_slice(&self.tail);
        Ok(both.freeze())
    }
}

/// Which batch must begin at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The one with this first offset.
    Base(i64),
    /// The one that ends with this offset.
    Last(i64),
    /// The same, but only an index file says so.
    Indexed(i64),
}

impl Expect {
    fn is_met(self, header: &BatchHeader) -> bool {
        match self {
            Expect::Base(offset) => header.base_offset == offset,
            Expect::Last(offset) | Expect::Indexed(offset) => header.last_offset() == offset,
        }
    }

    /// No batch from here on begins below this.
    pub fn at_least(self) -> i64 {
        match self {
            Expect::Base(offset) => offset,
            Expect::Last(_) | Expect::Indexed(_) => 0,
        }
    }
}

/// What lies at a place where a batch should begin.
#[allow(clippy::large_enum_variant)] // lives for one call
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// The batch expected, whole, its checksum good.
    Batch(BatchHeader),
    /// Perhaps that; more bytes must be seen.
    Cut,
    /// Something else.
    Bad,
}

/// Looks at the front of `bytes`; `left`: so many bytes of batches there are from here on, in memory or not.
pub fn look(bytes: &[u8], left: usize, expect: Expect) -> Look {
    let seen = &bytes[..bytes.len().min(left)];
    if seen.len() < HEADER_BYTES {
        return if seen.len() < left || left == 0 { Look::Cut } else { Look::Bad };
    }
    match peek_header(seen) {
        Ok(header) if header.total_bytes() > left || !expect.is_met(&header) => Look::Bad,
        Ok(header) if header.total_bytes() > seen.len() => Look::Cut,
        Ok(header) if check_crc(seen).is_ok() => Look::Batch(header),
        _ => Look::Bad,
    }
}

/// The first whole batch behind the front of `bytes` whose first offset is one of `offsets`: its place and that offset.
pub fn find_batch(bytes: &[u8], offsets: std::ops::RangeInclusive<i64>) -> Option<(usize, i64)> {
    (1..bytes.len().saturating_sub(HEADER_BYTES)).find_map(|at| {
        let header = peek_header(&bytes[at..]).ok().filter(|header| offsets.contains(&header.base_offset))?;
        check_crc(&bytes[at..]).ok().map(|_| (at, header.base_offset))
    })
}

/// What a search wants next.
pub enum SearchStep {
    /// Read this, and give the result to the next step.
    Read(Op),
    /// The end.
    Found(Found),
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// The last entry whose key is not above the target; none when all are.
    pub entry: Option<Bytes>,
    /// Its number in the file.
    pub no: u32,
    /// The file has fewer entries than it should.
    pub short: bool,
}

/// A binary search for the last entry whose key is not above a target, in a file of equal entries sorted by that key.
#[derive(Debug)]
pub struct Search {
    file: FileId,
    entry_bytes: u32,
    key: fn(&[u8]) -> Option<i64>,
    target: i64,
    /// Entries below `low` are not above the target; `best` is the last of them. Entries from `high` on are above.
    low: u32,
    high: u32,
    best: Option<Bytes>,
    best_no: u32,
    reading: u32,
    leaf: bool,
    short: bool,
}

impl Search {
    /// Over the first `bytes` of a file.
    pub fn new(file: FileId, bytes: u32, entry_bytes: usize, key: fn(&[u8]) -> Option<i64>, target: i64) -> Search {
        let entry_bytes = entry_bytes as u32;
        Search {
            file,
            entry_bytes,
            key,
            target,
            low: 0,
            high: bytes / entry_bytes,
            best: None,
            best_no: 0,
            reading: 0,
            leaf: false,
            short: false,
        }
    }

    /// Goes on with the result of the last read (none at first).
    pub fn step(&mut self, result: Option<OpResult>) -> Result<SearchStep, ReadFailure> {
        match result.map(|result| data(Some(result))) {
            None => {}
            Some(Ok(read)) => self.take(&read),
            // If the segment is gone, too, its log file will say so.
            Some(Err(error)) if error.is_not_found() => self.end_short(),
            Some(Err(error)) => return Err(error.into()),
        }
        if self.low >= self.high {
            let found = Found { entry: self.best.take(), no: self.best_no, short: self.short };
            return Ok(SearchStep::Found(found));
        }
        let left = self.high - self.low;
        self.leaf = left * self.entry_bytes <= INDEX_LEAF_BYTES;
        self.reading = if self.leaf { self.low } else { self.low + left / 2 };
        let len = if self.leaf { left * self.entry_bytes } else { self.entry_bytes };
        let at = u64::from(self.reading) * u64::from(self.entry_bytes);
        Ok(SearchStep::Read(Op::Read { file: self.file.clone(), at, len, direct: false }))
    }

    fn take(&mut self, read: &Bytes) {
        let mut at = 0;
        while let Some(entry) = read.get(at..at + self.entry_bytes as usize) {
            match (self.key)(entry) {
                Some(key) if key <= self.target => {
                    self.best = Some(read.slice(at..at + self.entry_bytes as usize));
                    self.best_no = self.reading;
                    self.low = self.reading + 1;
                }
                _ => {
                    self.high = self.reading;
                    return;
                }
            }
            self.reading += 1;
            at += self.entry_bytes as usize;
        }
        if at == 0 || (self.leaf && self.low < self.high) {
            self.end_short();
        }
    }

    /// A file that is shorter than it should be only costs a longer scan.
    fn end_short(&mut self) {
        self.short = true;
        self.high = self.low;
    }
}

#[cfg(test)]
mod tests;
