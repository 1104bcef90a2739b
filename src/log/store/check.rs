//! The offline verification of a data directory: what a start would read, and all that it would trust unread.
//!
//! ```text
//!   boot files ─► per shard of the generation that counts: both checkpoints ─► journal along its chain ─► per log:
//!   folder, owner, every segment's batches up to the checkpoint's (and the journal's) word, index files against them
//! ```
//!
//! Nothing is written, except with `repair`, and then only what is made again from bytes that were just verified: index files and
//! the file that says whose folder it is; or with `cut_journal`, which is there to give up what cannot be had back.
//! Must never touch: a directory that a broker holds; seeing to that is the caller's business.

mod index;
mod journal;
mod log;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicPartition;

use super::boot::BootError;
use super::boot::meta::{BOOT_FILES, BootFile, BootMeta, read_boot_file};
use super::boot::orphans::Orphans;
use super::checkpoint::{CheckpointImage, Decoded, FORMAT};
use super::jobs::data;
use super::states::{self, drive};
use crate::io::{FileId, IoError, Job, OWN_DIR, Op, OpOk, OpResult, Step};
pub(super) use index::IndexCheck;
use journal::{Cut, JournalCheck};
use log::LogCheck;
pub(super) use walk::Walk;

/// How a directory is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckConfig {
    /// Write anew what can be made again without loss. Nothing is while a boot file is damaged: then it is not known which
    /// state counts.
    pub repair: bool,
    /// Have a damaged journal end at the damage. What was acknowledged behind it is lost. Nothing is cut while a boot file is
    /// damaged.
    pub cut_journal: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Damaged, and made again without loss: now, or by the next start.
    Mendable,
    /// Damaged, and the bytes are nowhere else.
    Loss,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file below the data directory.
    pub path: String,
    /// The position in it, where there is one.
    pub at: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do about it, or what will happen by itself.
    pub remedy: String,
    /// It was repaired.
    pub repaired: bool,
}

/// What was verified of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSeen {
    /// Its folder.
    pub dir: String,
    /// The first readable offset.
    pub start_offset: i64,
    /// The offset after the last.
    pub end_offset: i64,
    /// Segments.
    pub segments: usize,
    /// Bytes of batches.
    pub bytes: u64,
    /// Whole batches read.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Offsets that cannot be read.
    pub lost_offsets: u64,
}

/// What was verified of a shard's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSeen {
    /// Its number.
    pub shard: u16,
    /// It was stopped cleanly: the journal is not needed.
    pub clean: bool,
    /// Whole commits behind the checkpoint.
    pub commits: u64,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The start that counts; 0 if there was none yet.
    pub generation: u64,
    /// Its shards.
    pub shards: Vec<ShardSeen>,
    /// Its logs, by folder.
    pub logs: Vec<LogSeen>,
    /// All that is not as it should be, in the order of the check.
    pub findings: Vec<Finding>,
    /// Bytes read.
    pub bytes_read: u64,
}

impl CheckReport {
    /// True when nothing is damaged, or all of it was repaired.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired || finding.severity == Severity::Note)
    }

    fn add(&mut self, severity: Severity, path: String, at: Option<u64>, what: String, remedy: &str) {
        let remedy = remedy.to_string();
        self.findings.push(Finding { severity, path, at, what, remedy, repaired: false });
    }
}

/// Why a directory cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// There is nothing of a broker's.
    #[error("there is no data of a broker")]
    NoData,
    /// A newer broker wrote it.
    #[error("the data was written in format {found}, and this program knows formats up to {known}")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The disk refused to read.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// How far a check is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// What is being read.
    pub path: String,
    /// Bytes of segments read, and bytes that there are as far as is known.
    pub read_bytes: u64,
    /// See `read_bytes`.
    pub known_bytes: u64,
    /// Findings so far that are no notes.
    pub damaged: usize,
}

#[derive(Debug)]
enum State {
    Begin,
    Own,
    Boots { slots: Vec<usize> },
    Orphans(Orphans),
    NextShard,
    Shard { names: Option<Vec<String>> },
    Slot { slots: Vec<(u8, u64)>, found: Vec<(u8, Bytes)>, journals: Vec<(u32, u64)> },
    Journal(Box<JournalCheck>),
    NextLog,
    Log(Box<LogCheck>),
    Strays,
}

/// The job that checks a data directory.
#[derive(Debug)]
pub struct Check {
    config: CheckConfig,
    state: State,
    meta: Option<BootMeta>,
    next_shard: u16,
    logs: Vec<super::segment::Log>,
    known: BTreeMap<TopicPartition, Arc<str>>,
    /// Some log may be missing, since a checkpoint was unreadable.
    incomplete: bool,
    /// What the hidden folder holds.
    own: Vec<String>,
    report: CheckReport,
    progress: CheckProgress,
}

type Next = states::Next<State, CheckReport>;

fn names(result: Option<OpResult>) -> Result<Vec<String>, IoError> {
    match result {
        Some(Ok(OpOk::Names(names))) => Ok(names),
        Some(Err(error)) if !error.is_not_found() => Err(error),
        _ => Ok(Vec::new()),
    }
}

/// What the start's own code says of a file.
fn own_error(error: BootError) -> CheckError {
    match error {
        BootError::NewerFormat { found, known } => CheckError::NewerFormat { found, known },
        BootError::Io(error) => CheckError::Io(error),
        other => CheckError::Io(IoError { op: "read", path: OWN_DIR.into(), errno: 0, message: other.to_string() }),
    }
}

fn number(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.parse().ok()
}

impl Check {
    /// A check with this configuration.
    pub fn new(config: CheckConfig) -> Check {
        Check {
            config,
            state: State::Begin,
            meta: None,
            next_shard: 0,
            logs: Vec::new(),
            known: BTreeMap::new(),
            incomplete: false,
            own: Vec::new(),
            report: CheckReport::default(),
            progress: CheckProgress::default(),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> CheckProgress {
        let damaged = self.report.findings.iter().filter(|finding| finding.severity != Severity::Note).count();
        CheckProgress { damaged, read_bytes: self.report.bytes_read, ..self.progress.clone() }
    }

    fn advance(&mut self, state: State, results: Vec<OpResult>) -> Result<Next, CheckError> {
        let count = |result: &OpResult| if let Ok(OpOk::Data(bytes)) = result { bytes.len() as u64 } else { 0 };
        self.report.bytes_read += results.iter().map(count).sum::<u64>();
        let mut result = results.into_iter();
        match state {
            State::Begin => Ok(Next::Do(vec![Op::List { dir: Arc::from(OWN_DIR) }], State::Own)),
            State::Own => {
                self.own = names(result.next())?;
                let is_there = |slot: &usize| self.own.iter().any(|name| BOOT_FILES[*slot].ends_with(name.as_str()));
                let slots: Vec<usize> = (0..BOOT_FILES.len()).filter(is_there).collect();
                let ops = slots.iter().map(|slot| read_boot_file(*slot)).collect();
                Ok(Next::Do(ops, State::Boots { slots }))
            }
            State::Boots { slots } => self.boots(&slots, result),
            State::Orphans(mut orphans) => match orphans.step(result.collect()).map_err(own_error)? {
                Step::Do(ops) => Ok(Next::Do(ops, State::Orphans(orphans))),
                Step::Done(found) if found.is_empty() && self.own.is_empty() => Err(CheckError::NoData),
                Step::Done(found) => {
                    let remedy = "the broker does not start: restore .coretide from a copy";
                    for place in found {
                        let what = "records, but no boot file says which state counts".to_string();
                        self.report.add(Severity::Loss, place, None, what, remedy);
                    }
                    Ok(Next::Done(std::mem::take(&mut self.report)))
                }
            },
            State::NextShard => {
                if self.meta.is_none_or(|meta| self.next_shard >= meta.shards) {
                    return Ok(Next::Go(State::NextLog));
                }
                self.report.shards.push(ShardSeen { shard: self.next_shard, clean: false, commits: 0 });
                self.next_shard += 1;
                self.progress.path = self.shard_dir();
                let dir = Arc::from(self.progress.path.as_str());
                Ok(Next::Do(vec![Op::List { dir }], State::Shard { names: None }))
            }
            State::Shard { names: None } => {
                let found = names(result.next())?;
                let ops = self.slot_and_journal_files(&found).into_iter().map(|file| Op::Len { file }).collect();
                Ok(Next::Do(ops, State::Shard { names: Some(found) }))
            }
            State::Shard { names: Some(found) } => self.shard_files(&found, result),
            State::Slot { slots, found, journals } => self.slot(slots, found, journals, result.next()),
            State::Journal(mut journal) => match journal.step(result.collect(), &mut self.report)? {
                Step::Do(ops) => Ok(Next::Do(ops, State::Journal(journal))),
                Step::Done(logs) => {
                    self.take_logs(logs);
                    Ok(Next::Go(State::NextShard))
                }
            },
            State::NextLog => Ok(match self.logs.pop() {
                Some(log) => {
                    self.progress.path = log.dir.to_string();
                    Next::Go(State::Log(Box::new(LogCheck::new(log, self.config.repair))))
                }
                None => Next::Do(vec![Op::List { dir: Arc::from("") }], State::Strays),
            }),
            State::Log(mut log) => match log.step(result.collect(), &mut self.report)? {
                Step::Do(ops) => Ok(Next::Do(ops, State::Log(log))),
                Step::Done(seen) => {
                    self.report.logs.push(seen);
                    Ok(Next::Go(State::NextLog))
                }
            },
            State::Strays => {
                self.strays(&names(result.next())?);
                Ok(Next::Done(std::mem::take(&mut self.report)))
            }
        }
    }

    fn shard(&self) -> u16 {
        self.next_shard.saturating_sub(1)
    }

    fn shard_dir(&self) -> String {
        format!("{OWN_DIR}/shard-{}", self.shard())
    }

    fn slot_and_journal_files(&self, found: &[String]) -> Vec<FileId> {
        let shard = self.shard();
        let slot = |name: &String| {
            let slot = number(name, "checkpoint-")?.try_into().ok()?;
            Some(FileId::Checkpoint { shard, slot })
        };
        let journal = |name: &String| Some(FileId::Journal { shard, no: number(name, "journal-")? });
        found.iter().filter_map(|name| slot(name).or_else(|| journal(name))).collect()
    }

    fn shard_files(&mut self, found: &[String], lens: impl Iterator<Item = OpResult>) -> Result<Next, CheckError> {
        let (mut slots, mut journals) = (Vec::new(), Vec::new());
        for (file, len) in self.slot_and_journal_files(found).into_iter().zip(lens) {
            let OpOk::Len(len) = len? else { continue };
            match file {
                FileId::Checkpoint { slot, .. } => slots.push((slot, len)),
                FileId::Journal { no, .. } => journals.push((no, len)),
                _ => {}
            }
        }
        Ok(self.next_slot(slots, Vec::new(), journals))
    }

    /// Takes what was read of the last of `slots`.
    fn slot(
        &mut self,
        mut slots: Vec<(u8, u64)>,
        mut found: Vec<(u8, Bytes)>,
        journals: Vec<(u32, u64)>,
        result: Option<OpResult>,
    ) -> Result<Next, CheckError> {
        if let Some((slot, _)) = slots.pop() {
            match data(result) {
                Ok(bytes) => found.push((slot, bytes)),
                Err(error) => {
                    let path = FileId::Checkpoint { shard: self.shard(), slot }.path();
                    self.report.add(Severity::Mendable, path, None, error.to_string(), "replace the disk");
                }
            }
        }
        match slots.is_empty() {
            true => self.checkpoints(&found, journals),
            false => Ok(self.next_slot(slots, found, journals)),
        }
    }

    fn boots(&mut self, slots: &[usize], mut results: impl Iterator<Item = OpResult>) -> Result<Next, CheckError> {
        let mut damaged = Vec::new();
        for &slot in slots {
            let path = BOOT_FILES[slot].to_string();
            let file = BootMeta::decode(&data(results.next())?).map_err(own_error)?;
            match file {
                BootFile::Empty => {}
                BootFile::Damaged => damaged.push(path),
                BootFile::Good { meta, marred } => {
                    if marred {
                        let what = "one of its two copies is damaged".to_string();
                        self.report.add(Severity::Mendable, path, None, what, "the other copy is used");
                    }
                    if self.meta.is_none_or(|best| best.generation < meta.generation) {
                        self.meta = Some(meta);
                    }
                }
            }
        }
        if !damaged.is_empty() {
            // The state that is left may be the older one: what it says is no reason to write anything.
            self.config = CheckConfig::default();
        }
        for path in damaged {
            let what = "neither of its two copies is whole".to_string();
            let remedy = "the broker does not start, since it may be the newer of the two: restore it from a copy. If the \
                generations of the checkpoints are those of the other one, it was the older: remove it then. Until that is \
                done nothing is written, whatever was asked for, and what is said of the rest may be of an older state";
            self.report.add(Severity::Loss, path, Some(0), what, remedy);
        }
        let Some(meta) = self.meta else {
            let shards = self.own.iter().filter_map(|name| number(name, "shard-")?.try_into().ok());
            return Ok(Next::Go(State::Orphans(Orphans::new(shards))));
        };
        self.report.generation = meta.generation;
        Ok(Next::Go(State::NextShard))
    }

    /// Reads the last of `slots`, or goes on when there is none.
    fn next_slot(&mut self, slots: Vec<(u8, u64)>, found: Vec<(u8, Bytes)>, journals: Vec<(u32, u64)>) -> Next {
        let ops = slots.last().map(|&(slot, len)| Op::Read {
            file: FileId::Checkpoint { shard: self.shard(), slot },
            at: 0,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            direct: false,
        });
        Next::Do(ops.into_iter().collect(), State::Slot { slots, found, journals })
    }

    fn checkpoints(&mut self, found: &[(u8, Bytes)], journals: Vec<(u32, u64)>) -> Result<Next, CheckError> {
        let shard = self.shard();
        let Some(meta) = self.meta else { return Ok(Next::Go(State::NextShard)) };
        let mut best: Option<(Box<CheckpointImage>, u8)> = None;
        let mut bad = Vec::new();
        for (slot, bytes) in found {
            match CheckpointImage::decode(bytes) {
                Decoded::Newer(found) => return Err(CheckError::NewerFormat { found, known: FORMAT }),
                Decoded::Bad if bytes.is_empty() => {}
                Decoded::Bad => bad.push(FileId::Checkpoint { shard, slot: *slot }.path()),
                Decoded::Good(image) => {
                    let mine = image.meta.generation == meta.generation
                        && image.meta.journal_id == meta.journal_id(shard)
                        && image.meta.shard == shard;
                    if mine && best.as_ref().is_none_or(|(best, _)| best.meta.seq < image.meta.seq) {
                        best = Some((image, *slot));
                    }
                }
            }
        }
        let Some((image, slot)) = best else {
            self.incomplete = true;
            for path in bad {
                let remedy = "the next start reads every segment and what the journal still holds instead; what only the \
                    checkpoint had (less than a block of each log, after a crash) is lost unless a copy is restored";
                self.report.add(Severity::Loss, path, Some(0), "its checksum is wrong".to_string(), remedy);
            }
            let what = "no checkpoint of the generation that counts is whole".to_string();
            self.report.add(Severity::Loss, format!("{OWN_DIR}/shard-{shard}"), None, what, "see its checkpoint files");
            return Ok(Next::Go(State::NextShard));
        };
        let doubtful = !bad.is_empty();
        for path in bad {
            let what = "it is not whole: cut off by a crash, or damaged".to_string();
            let remedy = "the other slot and the journal are used; the next start writes it anew";
            self.report.add(Severity::Mendable, path, None, what, remedy);
        }
        let cut = self.config.cut_journal.then(|| Cut { image: (*image).clone(), other_slot: slot ^ 1 });
        let seen = self.report.shards.last_mut().expect("pushed for this shard");
        seen.clean = image.meta.clean;
        Ok(Next::Go(State::Journal(Box::new(JournalCheck::new(&image, meta, journals, doubtful, cut)))))
    }

    fn take_logs(&mut self, logs: Vec<super::segment::Log>) {
        for log in logs {
            self.known.insert(log.tp, Arc::clone(&log.dir));
            self.progress.known_bytes += log.bytes();
            self.logs.push(log);
        }
        self.logs.sort_by(|a, b| b.dir.cmp(&a.dir));
    }

    /// Folders that look like a partition's, but are nobody's.
    fn strays(&mut self, found: &[String]) {
        for name in found {
            let partition = name.rsplit_once('-').and_then(|(_, partition)| partition.parse::<i32>().ok());
            if partition.is_none() || name.starts_with('.') || self.known.values().any(|dir| **dir == **name) {
                continue;
            }
            let remedy = match self.incomplete {
                true => "the next start reads it, since a checkpoint is lost",
                false => "it is not read; remove it if it is not wanted",
            };
            let what = "no checkpoint and no journal names this log".to_string();
            self.report.add(Severity::Note, name.clone(), None, what, remedy);
        }
    }
}

impl Job for Check {
    type Output = Result<CheckReport, CheckError>;

    fn step(&mut self, results: Vec<OpResult>) -> Step<Result<CheckReport, CheckError>> {
        let state = std::mem::replace(&mut self.state, State::Begin);
        let (state, step) = drive(state, results, |state, results| self.advance(state, results));
        if let Some(state) = state {
            self.state = state;
        }
        step
    }
}
