//! The slow way back when a checkpoint is lost: every partition folder is listed, and every segment read from front to
//! back. Indexes are rebuilt.
//! Must never touch: the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicPartition;

use super::{BootError, names};
use crate::batch::{check_crc, peek_header, walk_batches};
use crate::io::{Op, OpResult, Step};
use crate::store::api::BatchSummary;
use crate::store::index::MaxTimestamp;
use crate::store::jobs::{data, metadata_file, metadata_owner};
use crate::store::segment::{Log, Phase, Run, Segment, block_floor};

/// What is read of a segment at once; a larger batch is read whole.
const CHUNK_BYTES: u32 = 1 << 20;

#[derive(Debug)]
enum State {
    Begin,
    Folders,
    NextFolder,
    Files { dir: Arc<str> },
    Owner { dir: Arc<str>, bases: Vec<i64> },
    NextSegment,
    Chunk { at: u32, asked: u32 },
}

/// The scan of a data directory.
#[derive(Debug)]
pub struct Scan {
    /// Logs that need no scan.
    known: BTreeSet<TopicPartition>,
    state: State,
    folders: Vec<String>,
    /// Segments of the log at hand that are still to be read, the oldest last.
    bases: Vec<i64>,
    log: Option<Log>,
    found: Vec<Log>,
    /// What is missing.
    pub notes: Vec<String>,
}

impl Scan {
    /// A scan for the logs that are not among `known`.
    pub fn new(known: BTreeSet<TopicPartition>) -> Scan {
        let (folders, bases, found, notes) = Default::default();
        Scan { known, state: State::Begin, folders, bases, log: None, found, notes }
    }

    /// Goes on with the results of the last operations; yields the logs found.
    pub fn step(&mut self, results: Vec<OpResult>) -> Result<Step<Vec<Log>>, BootError> {
        let mut result = results.into_iter().next();
        loop {
            let state = std::mem::replace(&mut self.state, State::NextFolder);
            match state {
                State::Begin => {
                    self.state = State::Folders;
                    return Ok(Step::Do(vec![Op::List { dir: Arc::from("") }]));
                }
                State::Folders => {
                    self.folders = names(result.take())?;
                    self.folders.retain(|name| partition_of(name).is_some());
                }
                State::NextFolder => {
                    let Some(name) = self.folders.pop() else { return Ok(Step::Done(std::mem::take(&mut self.found))) };
                    let dir: Arc<str> = Arc::from(name);
                    self.state = State::Files { dir: Arc::clone(&dir) };
                    return Ok(Step::Do(vec![Op::List { dir }]));
                }
                State::Files { dir } => {
                    let base = |name: &String| name.strip_suffix(".log")?.parse::<i64>().ok();
                    let mut bases: Vec<i64> = names(result.take())?.iter().filter_map(base).collect();
                    if bases.is_empty() {
                        continue;
                    }
                    bases.sort_unstable_by(|a, b| b.cmp(a));
                    let read = Op::Read { file: metadata_file(&dir), at: 0, len: CHUNK_BYTES, direct: false };
                    self.state = State::Owner { dir, bases };
                    return Ok(Step::Do(vec![read]));
                }
                State::Owner { dir, bases } => {
                    let owner = data(result.take()).ok().and_then(|bytes| metadata_owner(&bytes));
                    let (Some(topic_id), Some(partition)) = (owner, partition_of(&dir)) else { continue };
                    let tp = TopicPartition { topic_id, partition };
                    if self.known.contains(&tp) {
                        continue;
                    }
                    let first = bases.last().copied().unwrap_or(0);
                    let mut log = Log::new(tp, dir, first);
                    log.announced = true;
                    log.segments.clear();
                    self.log = Some(log);
                    self.bases = bases;
                    self.state = State::NextSegment;
                }
                State::NextSegment => {
                    let Some(base) = self.bases.pop() else {
                        self.finish_log();
                        continue;
                    };
                    let Some(log) = &mut self.log else { continue };
                    if let Some(last) = log.segments.back_mut() {
                        last.phase = Phase::Closing;
                        self.notes.extend(gap(&log.dir, last.next_offset, base));
                    }
                    log.segments.push_back(Segment { created: true, ..Segment::new(base) });
                    return Ok(Step::Do(vec![self.read(0, CHUNK_BYTES)]));
                }
                State::Chunk { at, asked } => {
                    let bytes = data(result.take())?;
                    if let Some(op) = self.chunk(at, asked, &bytes) {
                        return Ok(Step::Do(vec![op]));
                    }
                    self.state = State::NextSegment;
                }
            }
        }
    }

    fn read(&mut self, at: u32, len: u32) -> Op {
        self.state = State::Chunk { at, asked: len };
        let log = self.log.as_ref().expect("a chunk belongs to a log");
        let file = crate::store::segment_file(&log.dir, log.open().base_offset);
        Op::Read { file, at: u64::from(at), len, direct: false }
    }

    /// Notes the batches of a chunk; some when more must be read.
    fn chunk(&mut self, at: u32, asked: u32, bytes: &Bytes) -> Option<Op> {
        let log = self.log.as_mut()?;
        let config = log.config;
        let open = log.segments.back_mut()?;
        let from = open.end - at;
        let rest = bytes.get(from as usize..)?;
        let mut broken = false;
        for (position, header) in walk_batches(rest) {
            if header.base_offset < open.next_offset || check_crc(&rest[position..]).is_err() {
                broken = true;
                break;
            }
            let summary = BatchSummary::of(&header);
            open.note_batch(&config, &summary, summary.max_timestamp);
            let last = log.replay.last().map(|last| last.leader_epoch);
            if summary.producer_id >= 0 || last != Some(summary.leader_epoch) {
                log.replay.push(summary);
            }
        }
        let walked = open.end - at;
        let next = bytes.get(walked as usize..).and_then(|rest| peek_header(rest).ok());
        let cut = next.map_or(HEADER_MAX, |header| header.total_bytes().min(i32::MAX as usize) as u32);
        let at_file_end = (bytes.len() as u32) < asked;
        let is_cut_short = (0..cut).contains(&asked);
        if !broken && !at_file_end && (walked > from || is_cut_short) {
            let at = open.end;
            return Some(self.read(at, CHUNK_BYTES.max(cut)));
        }
        let floor = block_floor(open.end);
        open.destaged = floor;
        let tail = bytes.get((floor.max(at) - at) as usize..(open.end - at) as usize).filter(|tail| !tail.is_empty());
        if floor < at {
            // The block's front lies in the chunk before: read it again from there.
            return Some(self.read(floor, CHUNK_BYTES));
        }
        if let Some(tail) = tail {
            let run = Run {
                segment: open.base_offset,
                position: floor.max(at),
                first_offset: open.next_offset,
                next_offset: open.next_offset,
                bytes: Bytes::copy_from_slice(tail),
                commit: 0,
                before: MaxTimestamp::NONE,
                whole: false,
            };
            log.push_run(run);
        }
        None
    }

    fn finish_log(&mut self) {
        let Some(mut log) = self.log.take() else { return };
        log.aux_end = log.log_start;
        if let Some(last) = log.segments.back_mut() {
            last.phase = Phase::Open;
        }
        log.end_offset = log.open().next_offset;
        log.committed_end = log.end_offset;
        self.found.push(log);
    }
}

const HEADER_MAX: u32 = crate::batch::HEADER_BYTES as u32;

/// What is said of records that a damage took from between two segments. Consumers go on behind them.
pub(super) fn gap(dir: &str, expected: i64, found: i64) -> Option<String> {
    let missing = found.checked_sub(expected).filter(|missing| *missing > 0)?;
    Some(format!("{dir}: the {missing} records from offset {expected} to {found} are missing; reads go on behind them"))
}

/// The partition's number in a folder's name, `<topic>-<partition>`.
pub(super) fn partition_of(name: &str) -> Option<i32> {
    let (topic, partition) = name.rsplit_once('-')?;
    let plain = !topic.is_empty() && !topic.starts_with('.');
    partition.parse().ok().filter(|_| plain)
}
