//! Index files made anew from their segment, when a read found that they say something that is not so.
//! Must never touch: the segment's batches, other than to read them.

use std::sync::Arc;

use bytes::Bytes;

use super::{OwnDone, OwnOk, data, first_error};
use crate::io::{Durability, FileId, Op, OpResult, SegmentFile, Step};
use crate::store::check::{IndexCheck, Walk};
use crate::store::index::{TIME_ENTRY_BYTES, read_time};

/// What is read of a segment at once.
const CHUNK_BYTES: u32 = 1 << 20;

/// Whose index files, and what goes into them.
#[derive(Clone, Debug)]
pub struct IndexSpec {
    pub dir: Arc<str>,
    pub segment: i64,
    /// Where the segment's file ends.
    pub file_end: u32,
    /// What memory has of the segment behind that.
    pub tail: Vec<Bytes>,
    /// Where the segment ends, and the offset there.
    pub end: u32,
    pub next_offset: i64,
    pub interval_bytes: u32,
    /// Only batches that begin below this get entries.
    pub limit: u32,
    /// The segment is complete: its last time entry, too.
    pub complete: bool,
}

#[derive(Debug)]
enum State {
    Begin,
    Chunk,
    Write { index_bytes: u32, times: Bytes },
}

/// The job that does it.
#[derive(Debug)]
pub struct IndexJob {
    spec: IndexSpec,
    walk: Walk,
    index: IndexCheck,
    at: u32,
    state: State,
}

impl IndexJob {
    /// For these.
    pub fn new(spec: IndexSpec) -> IndexJob {
        let nothing = || (Bytes::new(), 0);
        IndexJob {
            walk: Walk::new(spec.segment, spec.end, spec.next_offset),
            index: IndexCheck::new(spec.segment, spec.interval_bytes, nothing(), nothing()),
            spec,
            at: 0,
            state: State::Begin,
        }
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<OwnDone> {
        match &self.state {
            State::Begin => self.read(),
            State::Chunk => {
                let bytes = match data(results.into_iter().next()) {
                    Ok(bytes) => bytes,
                    Err(error) => return Step::Done(Err(error)),
                };
                self.feed(&bytes);
                self.at += bytes.len() as u32;
                if self.at < self.spec.file_end && !bytes.is_empty() {
                    return self.read();
                }
                for bytes in std::mem::take(&mut self.spec.tail) {
                    self.feed(&bytes);
                }
                self.write()
            }
            State::Write { index_bytes, times } => {
                if let Some(error) = first_error(&results) {
                    return Step::Done(Err(error));
                }
                let last = times.len().checked_sub(TIME_ENTRY_BYTES).and_then(|at| read_time(&times[at..]));
                let last_timestamp = last.map(|entry| entry.timestamp);
                let time_bytes = times.len() as u32;
                Step::Done(Ok(OwnOk::Index { index_bytes: *index_bytes, time_bytes, last_timestamp }))
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let index = &mut self.index;
        self.walk.feed(bytes, |position, header| index.note(position, header));
    }

    fn read(&mut self) -> Step<OwnDone> {
        self.state = State::Chunk;
        let len = CHUNK_BYTES.min(self.spec.file_end - self.at);
        let file = crate::store::segment_file(&self.spec.dir, self.spec.segment);
        Step::Do(vec![Op::Read { file, at: u64::from(self.at), len, direct: true }])
    }

    fn write(&mut self) -> Step<OwnDone> {
        let (index, times) = self.index.made(self.spec.limit, self.spec.complete);
        self.state = State::Write { index_bytes: index.len() as u32, times: times.clone() };
        Step::Do(index_file_ops(&self.spec.dir, self.spec.segment, index, times))
    }
}

/// The operations that write both index files from front to end.
pub fn index_file_ops(dir: &Arc<str>, base_offset: i64, index: Bytes, times: Bytes) -> Vec<Op> {
    let mut ops = Vec::new();
    for (kind, bytes) in [(SegmentFile::Index, index), (SegmentFile::TimeIndex, times)] {
        let file = FileId::Segment { dir: Arc::clone(dir), base_offset, kind };
        let len = bytes.len() as u64;
        ops.push(Op::Allocate { file: file.clone(), len: 0, zeros: false });
        if len > 0 {
            let file = file.clone();
            ops.push(Op::Write { file, at: 0, bytes, direct: false, durability: Durability::Written });
        }
        ops.push(Op::Truncate { file: file.clone(), len });
        ops.push(Op::Sync { file });
    }
    ops.push(Op::SyncDir { dir: Arc::clone(dir) });
    ops
}
