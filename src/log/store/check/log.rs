//! One log: its folder, its owner, and each segment with its index files, held against what checkpoint and journal say.
//! Must never touch: other logs.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::index::{BadEntry, IndexCheck};
use super::walk::{Lost, Unreadable, Walk};
use super::{CheckError, CheckReport, LogSeen, Severity, names};
use crate::io::{Durability, FileId, Op, OpOk, OpResult, SegmentFile, Step};
use crate::store::jobs::{data, index_file_ops, metadata_file, metadata_owner, metadata_text};
use crate::store::segment::{Log, Phase, Segment};

/// What is read of a segment at once.
const CHUNK_BYTES: u32 = 4 << 20;
/// Largest `partition.metadata`.
const METADATA_MAX_BYTES: u32 = 1024;

#[derive(Debug)]
enum State {
    Begin,
    Listed,
    Owner,
    Next,
    Len,
    Index {
        file_bytes: u64,
    },
    Times {
        file_bytes: u64,
        index: Bytes,
    },
    Chunk(Box<Reading>),
    /// Findings from this one on.
    Repaired(usize),
}

/// A segment that is being read.
#[derive(Debug)]
struct Reading {
    walk: Walk,
    index: IndexCheck,
    at: u32,
    /// What of the file counts.
    file_end: u32,
}

/// The check of one log.
#[derive(Debug)]
pub struct LogCheck {
    log: Log,
    repair: bool,
    state: State,
    segments: VecDeque<Segment>,
    /// Names in its folder.
    found: Vec<String>,
    seen: LogSeen,
}

enum Next {
    Do(Vec<Op>, State),
    Go(State),
    Done,
}

impl LogCheck {
    /// Of this log, as a start would find it.
    pub fn new(log: Log, repair: bool) -> LogCheck {
        let seen = LogSeen {
            dir: log.dir.to_string(),
            start_offset: log.log_start,
            end_offset: log.end_offset,
            segments: log.segments.len(),
            bytes: log.bytes(),
            batches: 0,
            records: 0,
            lost_offsets: 0,
        };
        LogCheck { segments: log.segments.clone(), log, repair, state: State::Begin, found: Vec::new(), seen }
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>, report: &mut CheckReport) -> Result<Step<LogSeen>, CheckError> {
        let mut results = results;
        loop {
            let state = std::mem::replace(&mut self.state, State::Begin);
            match self.advance(state, std::mem::take(&mut results), report)? {
                Next::Do(ops, state) => {
                    self.state = state;
                    return Ok(Step::Do(ops));
                }
                Next::Go(state) => self.state = state,
                Next::Done => return Ok(Step::Done(self.seen.clone())),
            }
        }
    }

    fn advance(&mut self, state: State, results: Vec<OpResult>, report: &mut CheckReport) -> Result<Next, CheckError> {
        let mut results = results.into_iter();
        let mut result = results.next();
        match state {
            State::Begin => Ok(Next::Do(vec![Op::List { dir: self.log.dir.clone() }], State::Listed)),
            State::Listed => {
                self.found = names(result)?;
                // Before the first destage is done the folder may be half made, or still a deleted topic's.
                if self.log.segments.iter().all(|segment| segment.destaged == 0) {
                    return Ok(Next::Go(State::Next));
                }
                let file = metadata_file(&self.log.dir);
                Ok(Next::Do(vec![Op::Read { file, at: 0, len: METADATA_MAX_BYTES, direct: false }], State::Owner))
            }
            State::Owner => Ok(self.owner(result, report)),
            State::Next => Ok(self.next_segment(report)),
            State::Len => {
                let file_bytes = match result.take() {
                    Some(Ok(OpOk::Len(len))) => len,
                    Some(Err(error)) if error.is_not_found() => 0,
                    Some(Err(error)) => return Err(error.into()),
                    _ => 0,
                };
                let bytes = self.segments[0].index.index_bytes;
                Ok(self.read_index(SegmentFile::Index, bytes, State::Index { file_bytes }))
            }
            State::Index { file_bytes } => {
                let index = absent_as_empty(result)?;
                let bytes = self.segments[0].index.time_bytes;
                Ok(self.read_index(SegmentFile::TimeIndex, bytes, State::Times { file_bytes, index }))
            }
            State::Times { file_bytes, index } => {
                let times = absent_as_empty(result)?;
                Ok(self.begin_reading(file_bytes, index, times))
            }
            State::Chunk(mut reading) => {
                let bytes = match result.take() {
                    // Nothing of the file counts.
                    None => Bytes::new(),
                    some => match data(some) {
                        Ok(bytes) => bytes,
                        Err(error) => {
                            let path = self.file(SegmentFile::Log).path();
                            let at = Some(u64::from(reading.at));
                            report.add(Severity::Loss, path, at, error.to_string(), "replace the disk");
                            Bytes::new()
                        }
                    },
                };
                reading.feed(&bytes);
                if reading.at < reading.file_end && !bytes.is_empty() {
                    return Ok(self.read_chunk(reading));
                }
                Ok(self.end_segment(*reading, report))
            }
            State::Repaired(at) => {
                repaired(at, result.into_iter().chain(results), report);
                Ok(Next::Go(State::Next))
            }
        }
    }

    fn file(&self, kind: SegmentFile) -> FileId {
        let base_offset = self.segments.front().map_or(0, |segment| segment.base_offset);
        FileId::Segment { dir: self.log.dir.clone(), base_offset, kind }
    }

    fn owner(&mut self, result: Option<OpResult>, report: &mut CheckReport) -> Next {
        let owner = data(result).ok().and_then(|bytes| metadata_owner(&bytes));
        if owner == Some(self.log.tp.topic_id) {
            return Next::Go(State::Next);
        }
        let file = metadata_file(&self.log.dir);
        let (what, mendable) = match owner {
            Some(other) => {
                (format!("it says that the folder is topic {other}'s, not {}'s", self.log.tp.topic_id), false)
            }
            None => ("it does not say whose folder it is".to_string(), true),
        };
        let severity = if mendable { Severity::Mendable } else { Severity::Loss };
        let remedy = if mendable { "--repair writes it anew" } else { "move the folder's files to where they belong" };
        report.add(severity, file.path(), None, what, remedy);
        if !(self.repair && mendable) {
            return Next::Go(State::Next);
        }
        let at = report.findings.len() - 1;
        let bytes = metadata_text(self.log.tp.topic_id);
        let len = bytes.len() as u64;
        let ops = vec![
            Op::Allocate { file: file.clone(), len: 0, zeros: false },
            Op::Write { file: file.clone(), at: 0, bytes, direct: false, durability: Durability::Written },
            Op::Truncate { file: file.clone(), len },
            Op::Sync { file },
            Op::SyncDir { dir: self.log.dir.clone() },
        ];
        Next::Do(ops, State::Repaired(at))
    }

    fn next_segment(&mut self, report: &mut CheckReport) -> Next {
        let Some(segment) = self.segments.front() else {
            self.leftovers(report);
            return Next::Done;
        };
        // Nothing of it is in a file.
        if segment.destaged == 0 && segment.index.index_bytes == 0 && segment.index.time_bytes == 0 {
            return self.begin_reading(0, Bytes::new(), Bytes::new());
        }
        Next::Do(vec![Op::Len { file: self.file(SegmentFile::Log) }], State::Len)
    }

    fn read_index(&self, kind: SegmentFile, len: u32, state: State) -> Next {
        Next::Do(vec![Op::Read { file: self.file(kind), at: 0, len, direct: false }], state)
    }

    fn begin_reading(&mut self, file_bytes: u64, index: Bytes, times: Bytes) -> Next {
        let segment = &self.segments[0];
        let reading = Box::new(Reading {
            walk: Walk::new(segment.base_offset, segment.end, segment.next_offset),
            index: IndexCheck::new(
                segment.base_offset,
                self.log.config.index_interval_bytes,
                (index, segment.index.index_bytes),
                (times, segment.index.time_bytes),
            ),
            at: 0,
            file_end: u32::try_from(file_bytes).unwrap_or(u32::MAX).min(segment.destaged),
        });
        self.read_chunk(reading)
    }

    fn read_chunk(&self, reading: Box<Reading>) -> Next {
        let len = CHUNK_BYTES.min(reading.file_end - reading.at);
        if len == 0 {
            return Next::Go(State::Chunk(reading));
        }
        let op = Op::Read { file: self.file(SegmentFile::Log), at: u64::from(reading.at), len, direct: false };
        Next::Do(vec![op], State::Chunk(reading))
    }

    /// The file has been read; what memory has of the segment follows.
    fn end_segment(&mut self, mut reading: Reading, report: &mut CheckReport) -> Next {
        let segment = self.segments[0].clone();
        if reading.at == segment.destaged {
            for run in self.log.undestaged(&segment, u64::MAX) {
                reading
                    .feed(run.bytes.get(segment.destaged.saturating_sub(run.position) as usize..).unwrap_or_default());
            }
        }
        reading.walk.finish();
        reading.index.finish();
        self.seen.batches += reading.walk.batches;
        self.seen.records += reading.walk.records;
        let path = self.file(SegmentFile::Log).path();
        for lost in &reading.walk.lost {
            self.report_lost(&path, lost, report);
        }
        if let Some(unreadable) = &reading.walk.unreadable {
            report_unreadable(&path, unreadable, report);
        }
        let next = self.report_index(&segment, &reading, report);
        self.segments.pop_front();
        next
    }

    fn report_lost(&mut self, path: &str, lost: &Lost, report: &mut CheckReport) {
        let count = (lost.to_offset - lost.from_offset).max(0);
        self.seen.lost_offsets += count as u64;
        let what = match count {
            0 => lost.what.clone(),
            _ => format!("{}: offsets {} to {} cannot be read", lost.what, lost.from_offset, lost.to_offset - 1),
        };
        let remedy = format!(
            "restore the file from a copy; without one, consumers go on from offset {} (reads before it are refused)",
            lost.to_offset
        );
        report.add(Severity::Loss, path.to_string(), Some(u64::from(lost.at)), what, &remedy);
    }

    /// Tells what is wrong with the index files, and writes them anew if that is wanted.
    fn report_index(&self, segment: &Segment, reading: &Reading, report: &mut CheckReport) -> Next {
        let bad = [(SegmentFile::Index, &reading.index.bad_index), (SegmentFile::TimeIndex, &reading.index.bad_times)];
        let bad: Vec<(SegmentFile, &BadEntry)> =
            bad.into_iter().filter_map(|(kind, bad)| Some((kind, bad.as_ref()?))).collect();
        // Without all of the batches nothing can be said of entries.
        if bad.is_empty() || !reading.walk.lost.is_empty() {
            return Next::Go(State::Next);
        }
        let first = report.findings.len();
        for (kind, bad) in bad {
            let remedy = "it is made anew when it is first used, or now by --repair";
            report.add(Severity::Mendable, self.file(kind).path(), Some(bad.at), bad.what.clone(), remedy);
        }
        if !self.repair {
            return Next::Go(State::Next);
        }
        let closed = segment.phase == Phase::Closed;
        let limit = if closed { segment.end } else { segment.index.flushed_position.saturating_add(1) };
        let (index, times) = reading.index.made(limit, closed);
        let same =
            (index.len(), times.len()) == (segment.index.index_bytes as usize, segment.index.time_bytes as usize);
        if !closed && !same {
            return Next::Go(State::Next);
        }
        let ops = index_file_ops(&self.log.dir, segment.base_offset, index, times);
        Next::Do(ops, State::Repaired(first))
    }

    /// Segments in the folder that the log does not have.
    fn leftovers(&self, report: &mut CheckReport) {
        let known: BTreeSet<i64> = self.log.segments.iter().map(|segment| segment.base_offset).collect();
        for name in &self.found {
            let base = name.strip_suffix(".log").and_then(|base| base.parse::<i64>().ok());
            if base.is_some_and(|base| !known.contains(&base)) {
                let path = format!("{}/{name}", self.log.dir);
                let what = "the log has no such segment: it was to be removed, or never counted".to_string();
                report.add(Severity::Note, path, None, what, "it is not read");
            }
        }
    }
}

impl Reading {
    fn feed(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u32;
        let index = &mut self.index;
        self.walk.feed(bytes, |position, header| index.note(position, header));
    }
}

fn report_unreadable(path: &str, unreadable: &Unreadable, report: &mut CheckReport) {
    let Unreadable { count, at, from_offset, what } = unreadable;
    let batches = if *count == 1 { "batch" } else { "batches" };
    let what =
        format!("{count} compressed {batches} that no consumer can read, the first at offset {from_offset}: {what}");
    let remedy = "the checksum is good, so a producer sent it like this and the topic looks at headers only \
        (coretide.compressed.check); consumers must go on behind it";
    report.add(Severity::Note, path.to_string(), Some(u64::from(*at)), what, remedy);
}

/// An absent index file is one without entries.
fn absent_as_empty(result: Option<OpResult>) -> Result<Bytes, CheckError> {
    match data(result) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        found => Ok(found.unwrap_or_default()),
    }
}

/// What a repair came to: of all findings from `at` on.
pub fn repaired(at: usize, mut results: impl Iterator<Item = OpResult>, report: &mut CheckReport) {
    let failed = results.find_map(Result::err);
    for finding in &mut report.findings[at..] {
        match &failed {
            None => finding.repaired = true,
            Some(error) => finding.remedy = format!("the repair failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_model::{TopicId, TopicPartition};

    #[test]
    fn a_place_without_offsets_is_told_without_any() {
        let tp = TopicPartition { topic_id: TopicId(1), partition: 0 };
        let mut check = LogCheck::new(Log::new(tp, "t-0".into(), 0), false);
        let mut report = CheckReport::default();
        let lost = |to_offset| Lost { at: 1, to: 2, from_offset: 5, to_offset, what: "wrong".to_string() };
        check.report_lost("t-0/x.log", &lost(5), &mut report);
        check.report_lost("t-0/x.log", &lost(7), &mut report);
        let said: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(said, ["wrong", "wrong: offsets 5 to 6 cannot be read"]);
        assert_eq!(check.seen.lost_offsets, 2);
    }
}
