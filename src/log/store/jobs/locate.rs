//! Finding a place in a segment: binary search in its index files, and windows of its log file.
//! Must never touch: what is done with the batches found.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coretide_stdx::aligned::{BLOCK_BYTES, blocks_up};

use super::{ReadFailure, data};
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

/// What a search wants next.
pub enum SearchStep {
    /// Read this, and give the result to the next step.
    Read(Op),
    /// The last entry whose key is not above the target; none when all are.
    Found(Option<Bytes>),
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
    reading: u32,
    leaf: bool,
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
            reading: 0,
            leaf: false,
        }
    }

    /// Goes on with the result of the last read (none at first).
    pub fn step(&mut self, result: Option<OpResult>) -> Result<SearchStep, ReadFailure> {
        if let Some(result) = result {
            self.take(&data(Some(result))?);
        }
        if self.low >= self.high {
            return Ok(SearchStep::Found(self.best.take()));
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
        if self.leaf || at == 0 {
            // All there was: a file that is shorter than it should be only costs a longer scan.
            self.high = self.low;
        }
    }
}
