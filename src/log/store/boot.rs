//! The start: from what the last run left on disk to one [`ShardRecovered`] per shard.
//!
//! Every start is a *generation*. It reads the last generation's checkpoints and what their journals hold beyond them,
//! completes the segments, writes checkpoints of its own for the shards that are wanted now, and then makes them count by
//! writing one of two alternating `boot` files. A crash before that leaves the last generation as it was: nothing that it
//! needs is overwritten, and destaging again writes the same bytes to the same places.
//! Must never touch: the running store.

pub(super) mod chain;
pub(super) mod journal;
pub(super) mod meta;
pub(super) mod orphans;
pub(super) mod replay;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicPartition;
use coretide_stdx::aligned::BufPool;

use super::api::{LogKey, StoreLimits};
use super::background::{DestageRun, plan_destage};
use super::checkpoint::{CheckpointImage, CheckpointMeta, Decoded, FORMAT, GarbageImage, image_of};
use super::format::{Chain, CommitHeader};
use super::jobs::{DestageJob, JournalFileJob, OwnOk, RemoveJob, checkpoint_ops, data};
use super::ring::JournalFile;
use super::segment::Log;
use super::states::{self, drive};
use crate::io::{Durability, FileId, IoError, Job, OWN_DIR, Op, OpOk, OpResult, Step};
use meta::{BOOT_FILES, BootFile, BootMeta, boot_file, journal_id, read_boot_file};
use orphans::Orphans;
use replay::{Replay, Unproven};
use scan::Scan;

/// Replayed bytes that may wait in memory before they are destaged.
const PENDING_MAX_BYTES: u64 = 64 << 20;
/// Space that a destage of the start takes ahead of need: whoever starts on a full disk has none to spare.
const AHEAD_AT_BOOT_BYTES: u64 = 0;
/// How many places a refusal names.
const ORPHANS_NAMED_MAX: usize = 5;

/// The shard that owns a partition, given the number of shards.
pub type OwnerFn = Arc<dyn Fn(TopicPartition, u16) -> u16 + Send + Sync>;

/// How to start.
#[derive(Clone)]
pub struct BootConfig {
    /// Shards wanted; may differ from the last run's.
    pub shards: u16,
    /// Where each log goes.
    pub owner: OwnerFn,
    /// A random number, new with every start: commits of earlier runs must not look like ours.
    pub random: u64,
    /// As for `Store::open`.
    pub limits: StoreLimits,
    /// The log that says what the others are. A start that finds others and not this one refuses: nobody would claim them,
    /// and what nobody claims is set aside. None: there is no such log.
    pub vital: Option<TopicPartition>,
}

impl fmt::Debug for BootConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootConfig").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// Why the broker cannot start on this data directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// A newer broker wrote it.
    #[error("the data was written in format {found}, and this broker knows formats up to {known}: start a newer one")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// A file that says which generation counts is damaged, so that an older one might be taken for it.
    #[error("{path} is damaged from front to back, and it may be the newer of the two; `coretide check` says more")]
    BootFile {
        /// The file.
        path: String,
    },
    /// The journal has lost a commit that was acknowledged.
    #[error(
        "{path} is damaged at position {at}: commit {seq} was acknowledged and cannot be read (commit {newest} was written \
         after it). Nothing was changed; `coretide check` says what is concerned and what can be done"
    )]
    Journal {
        /// The journal's file.
        path: String,
        /// The position where it breaks off.
        at: u64,
        /// The commit that should be there.
        seq: u64,
        /// The newest commit that is known to have been done or begun.
        newest: u64,
    },
    /// Records are there, and what says which of them count is not.
    #[error(
        "there are records ({places}; {count} in all), but {missing}: a start would be one as an empty cluster, which does \
         not serve them. Nothing was changed. `coretide check` says what is there; restore what is missing from a copy, or move the \
         folders of partitions and .coretide away (delete them if nobody wants the records) to begin anew"
    )]
    Orphaned {
        /// How many.
        count: usize,
        /// The first folders and journals that hold some.
        places: String,
        /// What is not there, in words.
        missing: &'static str,
    },
    /// The disk refused something.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl BootError {
    fn orphaned<'a>(places: impl Iterator<Item = &'a str>, missing: &'static str) -> BootError {
        let all: Vec<&str> = places.collect();
        let more = if all.len() > ORPHANS_NAMED_MAX { ", ..." } else { "" };
        let places = all[..all.len().min(ORPHANS_NAMED_MAX)].join(", ") + more;
        BootError::Orphaned { count: all.len(), places, missing }
    }
}

/// What the start found and did.
#[derive(Debug)]
pub struct BootReport {
    /// One per wanted shard, by number.
    pub shards: Vec<ShardRecovered>,
    /// The last run stopped cleanly (or there was none).
    pub clean: bool,
    /// Bytes read from journals and checkpoints.
    pub bytes_read: u64,
    /// Things an operator should know, in words: a lost checkpoint, segments that had to be scanned.
    pub notes: Vec<String>,
}

/// A shard's logs and journal as recovery left them; made by [`Boot`], taken by `Store::open`.
#[derive(Debug)]
pub struct ShardRecovered {
    /// The shard's number.
    pub shard: u16,
    /// The id of the journal that it begins.
    pub journal_id: u64,
    pub(super) generation: u64,
    pub(super) files: Vec<JournalFile>,
    pub(super) checkpoint_slot: u8,
    pub(super) checkpoint_seq: u64,
    pub(super) logs: Vec<Log>,
}

impl ShardRecovered {
    /// A shard without logs on a disk without files: its first journal file is made in the background. For tests; what
    /// it writes is found again only if a [`Boot`] came before.
    pub fn empty(shard: u16, journal_id: u64) -> ShardRecovered {
        ShardRecovered {
            shard,
            journal_id,
            generation: 0,
            files: Vec::new(),
            checkpoint_slot: 1,
            checkpoint_seq: 0,
            logs: Vec::new(),
        }
    }
}

/// A shard of the last generation, as far as it has been read.
#[derive(Debug, Default)]
struct OldShard {
    no: u16,
    /// Its journal files with their sizes.
    files: Vec<JournalFile>,
    heads: Vec<(u32, CommitHeader)>,
    slot: u8,
    seq: u64,
    /// The commit that comes next in the chain.
    expected: Option<Chain>,
    /// The newest commit found: applied once it is known whether another one follows.
    held: Option<(Bytes, CommitHeader)>,
    /// Neither checkpoint is whole, or the journal does not begin where the one that is needs it to.
    lost: bool,
    /// The checkpoint begins with a commit that was done, so the journal must hold it; this is the file.
    replays: Option<u32>,
    /// Another slot of the checkpoint is not whole: the one that is may be the older.
    doubtful: bool,
    /// The newest commit that the checkpoint knows to be done.
    committed: u64,
    /// Where the chain breaks off, as far as it has been read.
    end: (u32, u64),
    /// The newest commit beyond that which proves damage.
    beyond: u64,
    /// Files that do not begin with a whole header.
    headless: Vec<u32>,
    /// The logs of the checkpoint.
    logs: Vec<TopicPartition>,
}

/// What remains of a shard of the last generation.
#[derive(Debug)]
struct Kept {
    files: Vec<JournalFile>,
    slot: u8,
    seq: u64,
}

#[derive(Debug)]
enum State {
    Begin,
    Listed,
    Metas {
        slots: Vec<usize>,
    },
    MetaKept,
    Orphans(Orphans),
    Shard,
    ShardListed,
    Lens {
        journals: Vec<u32>,
        slots: Vec<u8>,
    },
    Checkpoints {
        todo: Vec<(u8, u32)>,
        found: Vec<(u8, Bytes)>,
    },
    CheckpointKept(Option<Box<CheckpointImage>>),
    Heads,
    File(u32),
    Headless(u32),
    Proof(Vec<Unproven>),
    /// Completing segments; `resume`: the journal goes on afterwards.
    Destage {
        todo: Vec<TopicPartition>,
        job: Option<Box<(DestageRun, DestageJob)>>,
        resume: Option<u32>,
    },
    Scan(Box<Scan>),
    JournalsKept,
    TimeIndexes(Vec<(TopicPartition, FileId)>),
    Remove {
        job: Option<RemoveJob>,
    },
    Write,
    Commit,
    Committed,
    Clean,
}

type Next = states::Next<State, BootReport>;

/// The job that recovers a data directory.
#[derive(Debug)]
pub struct Boot {
    config: BootConfig,
    state: State,
    meta: Option<(BootMeta, usize)>,
    shard: OldShard,
    kept: BTreeMap<u16, Kept>,
    /// Folders of shards found, wanted or not.
    shard_dirs: BTreeSet<u16>,
    replay: Replay,
    destage_buffers: BufPool,
    scanned: bool,
    clean: bool,
    /// The last checkpoint of every shard is that of a clean stop.
    stopped: bool,
    bytes_read: u64,
    notes: Vec<String>,
    recovered: Vec<ShardRecovered>,
    /// Journal files of another size than is wanted now.
    odd_files: Vec<FileId>,
}

impl Boot {
    /// A start with this configuration.
    pub fn new(config: BootConfig) -> Boot {
        Boot {
            destage_buffers: BufPool::new(config.limits.destage_write_bytes, 1),
            config,
            state: State::Begin,
            meta: None,
            shard: OldShard::default(),
            kept: BTreeMap::new(),
            shard_dirs: BTreeSet::new(),
            replay: Replay::default(),
            scanned: false,
            clean: true,
            stopped: true,
            bytes_read: 0,
            notes: Vec::new(),
            recovered: Vec::new(),
            odd_files: Vec::new(),
        }
    }

    fn shard_dir(no: u16) -> Arc<str> {
        Arc::from(format!("{OWN_DIR}/shard-{no}"))
    }

    fn advance(&mut self, state: State, results: Vec<OpResult>) -> Result<Next, BootError> {
        match state {
            State::Begin => Ok(Next::Do(vec![Op::List { dir: Arc::from(OWN_DIR) }], State::Listed)),
            State::Listed => {
                let found = names(results.into_iter().next())?;
                let numbers = found.iter().filter_map(|name| name.strip_prefix("shard-")?.parse().ok());
                self.shard_dirs = numbers.collect();
                let is_there = |slot: &usize| found.iter().any(|name| BOOT_FILES[*slot].ends_with(name.as_str()));
                let slots: Vec<usize> = (0..BOOT_FILES.len()).filter(is_there).collect();
                Ok(Next::Do(slots.iter().map(|slot| read_boot_file(*slot)).collect(), State::Metas { slots }))
            }
            State::Metas { slots } => self.metas(&slots, results),
            State::MetaKept => self.check(&results, |_| Next::Go(State::Shard)),
            State::Orphans(orphans) => self.orphans(orphans, results),
            State::Shard => self.next_shard(),
            State::ShardListed => self.shard_listed(results),
            State::Lens { journals, slots } => self.lens(results, &journals, slots),
            State::Checkpoints { mut todo, mut found } => {
                if let Some(result) = results.into_iter().next()
                    && let Some((slot, _)) = todo.pop()
                {
                    // A slot that cannot be read may be the newest: to begin without it would write over what it says.
                    found.push((slot, data(Some(result))?));
                }
                match todo.last() {
                    Some(&(slot, len)) => {
                        let file = FileId::Checkpoint { shard: self.shard.no, slot };
                        let op = Op::Read { file, at: 0, len, direct: false };
                        Ok(Next::Do(vec![op], State::Checkpoints { todo, found }))
                    }
                    None => self.checkpoints(&found),
                }
            }
            State::CheckpointKept(image) => self.check(&results, |boot| boot.take_checkpoint(image)),
            State::Heads => self.heads(results),
            State::File(no) => self.file(no, results),
            State::Headless(no) => self.headless(no, results),
            State::Proof(mut unproven) => {
                let Some(read) = unproven.pop() else { return Ok(self.shard_done()) };
                // A segment that is not there was not written.
                match data(results.into_iter().next()) {
                    Ok(bytes) => self.replay.prove(&read, &bytes),
                    Err(error) if error.is_not_found() => self.replay.prove(&read, &[]),
                    Err(error) => return Err(error.into()),
                }
                Ok(self.next_proof(unproven))
            }
            State::Destage { todo, job, resume } => self.destage(todo, job, resume, results),
            State::Scan(scan) => self.scan(scan, results),
            State::JournalsKept => self.check(&results, |boot| {
                let todo = if boot.stopped { Vec::new() } else { boot.replay.time_indexes() };
                Boot::next_time_index(todo)
            }),
            State::TimeIndexes(todo) => self.time_index(todo, results),
            State::Remove { job } => self.remove(job, results),
            State::Write => self.check(&results, |boot| boot.write()),
            State::Commit => self.check(&results, |boot| boot.commit()),
            State::Committed => self.check(&results, Boot::clean_up),
            State::Clean => {
                // What of the old generation cannot be removed is only space.
                let mut notes = std::mem::take(&mut self.notes);
                notes.append(&mut self.replay.notes);
                let shards = std::mem::take(&mut self.recovered);
                Ok(Next::Done(BootReport { shards, clean: self.clean, bytes_read: self.bytes_read, notes }))
            }
        }
    }

    fn check(&mut self, results: &[OpResult], then: impl FnOnce(&mut Boot) -> Next) -> Result<Next, BootError> {
        match super::jobs::first_error(results) {
            Some(error) => Err(error.into()),
            None => Ok(then(self)),
        }
    }

    fn metas(&mut self, slots: &[usize], results: Vec<OpResult>) -> Result<Next, BootError> {
        for (&slot, result) in slots.iter().zip(results) {
            let path = || BOOT_FILES[slot].to_string();
            let meta = match BootMeta::decode(&data(Some(result))?)? {
                BootFile::Good { meta, marred } => {
                    if marred {
                        self.notes.push(format!("{}: one of its two copies is damaged", path()));
                    }
                    meta
                }
                BootFile::Empty => continue,
                BootFile::Damaged => return Err(BootError::BootFile { path: path() }),
            };
            if self.meta.is_none_or(|(best, _)| best.generation < meta.generation) {
                self.meta = Some((meta, slot));
            }
        }
        // Read, but perhaps not durable yet: this start writes over what the generation before it needs.
        let keep = self.meta.map(|(_, slot)| {
            let file = boot_file(slot);
            vec![Op::Sync { file }, Op::SyncDir { dir: Arc::from(OWN_DIR) }, Op::SyncDir { dir: Arc::from("") }]
        });
        Ok(Next::Do(keep.unwrap_or_default(), State::MetaKept))
    }

    /// The next shard of the last generation, or what comes after all of them.
    fn next_shard(&mut self) -> Result<Next, BootError> {
        let no = self.kept.len() as u16;
        if let Some((meta, _)) = self.meta
            && no < meta.shards
        {
            self.shard = OldShard { no, slot: 1, ..OldShard::default() };
            return Ok(Next::Do(vec![Op::List { dir: Boot::shard_dir(no) }], State::ShardListed));
        }
        if self.meta.is_none() && !self.scanned {
            return Ok(Next::Go(State::Orphans(Orphans::new(self.shard_dirs.iter().copied()))));
        }
        self.replay.finish();
        self.demand_vital()?;
        Ok(Next::Do(self.keep_journals(), State::JournalsKept))
    }

    fn time_index(
        &mut self,
        mut todo: Vec<(TopicPartition, FileId)>,
        results: Vec<OpResult>,
    ) -> Result<Next, BootError> {
        if let Some((tp, file)) = todo.pop() {
            self.replay.clamp_time_index(tp, &file, len(results.into_iter().next())?);
        }
        Ok(Boot::next_time_index(todo))
    }

    /// A time index may have been made anew behind the checkpoint's back, with an entry less: to write behind what the
    /// checkpoint counts would leave a hole.
    fn next_time_index(todo: Vec<(TopicPartition, FileId)>) -> Next {
        match todo.last() {
            Some((_, file)) => Next::Do(vec![Op::Len { file: file.clone() }], State::TimeIndexes(todo)),
            None => Next::Go(State::Remove { job: None }),
        }
    }

    /// Read, but perhaps not durable yet: what a commit says is of no use any more is removed for good.
    fn keep_journals(&self) -> Vec<Op> {
        if self.replay.garbage.is_empty() {
            return Vec::new();
        }
        let files = self.kept.iter().flat_map(|(&shard, kept)| kept.files.iter().map(move |file| (shard, file.no)));
        files.map(|(shard, no)| Op::Sync { file: FileId::Journal { shard, no } }).collect()
    }

    /// Refuses a directory with records in which no boot file says what counts.
    fn orphans(&mut self, mut orphans: Orphans, results: Vec<OpResult>) -> Result<Next, BootError> {
        match orphans.step(results)? {
            Step::Do(ops) => Ok(Next::Do(ops, State::Orphans(orphans))),
            Step::Done(found) if found.is_empty() => {
                self.scanned = true;
                Ok(Next::Go(State::Shard))
            }
            Step::Done(found) => Err(BootError::orphaned(
                found.iter().map(String::as_str),
                "no boot file in .coretide says which state of the journals and checkpoints counts",
            )),
        }
    }

    /// Refuses logs that nobody would claim, before anything is written.
    fn demand_vital(&self) -> Result<(), BootError> {
        let Some(vital) = self.config.vital else { return Ok(()) };
        let logs = &self.replay.logs;
        let has_records = |log: &Log| log.end_offset > 0;
        let mut others = logs.iter().filter(|(tp, _)| **tp != vital).map(|(_, log)| &*log.dir).peekable();
        if others.peek().is_none() || logs.get(&vital).is_some_and(has_records) {
            return Ok(());
        }
        Err(BootError::orphaned(others, "the log of the cluster's metadata (__cluster_metadata-0) is gone or empty"))
    }

    fn shard_listed(&mut self, results: Vec<OpResult>) -> Result<Next, BootError> {
        let found = names(results.into_iter().next())?;
        let number = |name: &String, prefix: &str| name.strip_prefix(prefix).and_then(|no| no.parse::<u32>().ok());
        let journals: Vec<u32> = found.iter().filter_map(|name| number(name, "journal-")).collect();
        let slots: Vec<u8> = found
            .iter()
            .filter_map(|name| number(name, "checkpoint-"))
            .filter_map(|slot| slot.try_into().ok())
            .collect();
        let shard = self.shard.no;
        let slot_files = slots.iter().map(|&slot| FileId::Checkpoint { shard, slot });
        let journal_files = journals.iter().map(|&no| FileId::Journal { shard, no });
        let lens = slot_files.chain(journal_files).map(|file| Op::Len { file }).collect();
        Ok(Next::Do(lens, State::Lens { journals, slots }))
    }

    fn lens(&mut self, results: Vec<OpResult>, journals: &[u32], slots: Vec<u8>) -> Result<Next, BootError> {
        let mut lens = Vec::with_capacity(results.len());
        for result in results {
            lens.push(match result? {
                OpOk::Len(len) => len,
                _ => 0,
            });
        }
        let of_slots = slots.iter().zip(&lens);
        let todo = of_slots.map(|(&slot, &len)| (slot, u32::try_from(len).unwrap_or(u32::MAX))).collect();
        let of_journals = journals.iter().zip(lens.iter().skip(slots.len()));
        self.shard.files = of_journals.map(|(&no, &bytes)| JournalFile { no, bytes }).collect();
        Ok(Next::Go(State::Checkpoints { todo, found: Vec::new() }))
    }

    fn checkpoints(&mut self, found: &[(u8, Bytes)]) -> Result<Next, BootError> {
        let (generation, random) = self.meta.map_or((0, 0), |(meta, _)| (meta.generation, meta.random));
        let journal_id = journal_id(random, self.shard.no);
        let mut best: Option<(Box<CheckpointImage>, u8)> = None;
        for (slot, bytes) in found {
            self.bytes_read += bytes.len() as u64;
            let image = match CheckpointImage::decode(bytes) {
                Decoded::Good(image) => image,
                Decoded::Newer(found) => return Err(BootError::NewerFormat { found, known: FORMAT }),
                Decoded::Bad => {
                    self.shard.doubtful |= !bytes.is_empty();
                    continue;
                }
            };
            // A generation's number comes again after both boot files were lost; its random number does not.
            let of_generation = image.meta.generation == generation && image.meta.journal_id == journal_id;
            let mine = of_generation && image.meta.shard == self.shard.no;
            if mine && best.as_ref().is_none_or(|(best, _)| best.meta.seq < image.meta.seq) {
                best = Some((image, *slot));
            }
        }
        let Some((image, slot)) = best else { return Ok(Next::Go(State::CheckpointKept(None))) };
        (self.shard.slot, self.shard.seq) = (slot, image.meta.seq);
        // Read, but perhaps not durable yet: this start writes over the other slot.
        let shard = self.shard.no;
        let file = FileId::Checkpoint { shard, slot };
        let keep = vec![Op::Sync { file }, Op::SyncDir { dir: Boot::shard_dir(shard) }];
        Ok(Next::Do(keep, State::CheckpointKept(Some(image))))
    }

    fn take_checkpoint(&mut self, image: Option<Box<CheckpointImage>>) -> Next {
        let journal_id = journal_id(self.meta.map_or(0, |(meta, _)| meta.random), self.shard.no);
        self.stopped &= image.as_ref().is_some_and(|image| image.meta.clean);
        let mut chain = Chain { journal_id, seq: 1, previous_crc: 0 };
        match image {
            Some(image) => {
                self.shard.logs = image.logs.iter().map(super::checkpoint::LogImage::tp).collect();
                if let Some(replay) = image.replay {
                    self.shard.replays = (replay.seq <= image.meta.committed).then_some(replay.file);
                    chain = Chain { journal_id, seq: replay.seq, previous_crc: replay.previous_crc };
                }
                self.shard.committed = image.meta.committed;
                self.take_image(&image);
                if image.meta.clean {
                    // Nothing follows a clean stop, and the journal is not looked at.
                    return self.shard_done();
                }
            }
            None => {
                self.clean = false;
                self.shard.lost = true;
                self.notes.push(format!("shard {}: both checkpoints are lost", self.shard.no));
            }
        }
        self.shard.expected = Some(chain);
        if self.shard.lost { self.begin_scan() } else { self.read_heads() }
    }

    /// Looks for logs that no checkpoint names, once.
    fn begin_scan(&mut self) -> Next {
        if self.scanned {
            return self.read_heads();
        }
        let known = self.replay.logs.keys().copied().collect();
        Next::Go(State::Scan(Box::new(Scan::new(known))))
    }

    fn take_image(&mut self, image: &CheckpointImage) {
        for log_image in &image.logs {
            match log_image.log() {
                Some(log) => {
                    self.replay.logs.insert(log_image.tp(), log);
                }
                None => self.notes.push(format!("{}: its checkpoint makes no sense", log_image.dir)),
            }
        }
        self.replay.garbage.extend(image.garbage.iter().map(GarbageImage::spec));
    }

    fn shard_done(&mut self) -> Next {
        let shard = std::mem::take(&mut self.shard);
        self.kept.insert(shard.no, Kept { files: shard.files, slot: shard.slot, seq: shard.seq });
        Next::Go(State::Shard)
    }

    fn scan(&mut self, mut scan: Box<Scan>, results: Vec<OpResult>) -> Result<Next, BootError> {
        match scan.step(results)? {
            Step::Do(ops) => Ok(Next::Do(ops, State::Scan(scan))),
            Step::Done(found) => {
                self.notes.append(&mut scan.notes);
                if !found.is_empty() {
                    let note = "a checkpoint was lost: {} logs were rebuilt by reading their segments";
                    self.notes.push(note.replace("{}", &found.len().to_string()));
                    self.clean = false;
                }
                for log in found {
                    self.replay.logs.insert(log.tp, log);
                }
                self.scanned = true;
                // The journal of a lost shard may go on where the segments end.
                if self.shard.lost { Ok(self.read_heads()) } else { Ok(Next::Go(State::Shard)) }
            }
        }
    }

    fn begin_destage(&self, resume: Option<u32>) -> State {
        let due = self.replay.logs.iter().filter(|(_, log)| log.has_destage_work(0));
        State::Destage { todo: due.map(|(tp, _)| *tp).collect(), job: None, resume }
    }

    fn destage(
        &mut self,
        mut todo: Vec<TopicPartition>,
        job: Option<Box<(DestageRun, DestageJob)>>,
        resume: Option<u32>,
        results: Vec<OpResult>,
    ) -> Result<Next, BootError> {
        if let Some(mut both) = job {
            let (run, job) = &mut *both;
            let tp = *todo.last().expect("a job belongs to the last log of the list");
            match job.step(results) {
                Step::Do(ops) => return Ok(Next::Do(ops, State::Destage { todo, job: Some(both), resume })),
                Step::Done(outcome) => {
                    let Some(log) = self.replay.logs.get_mut(&tp) else { return Ok(Next::Go(State::Shard)) };
                    log.busy = None;
                    match outcome {
                        Ok(OwnOk::Done | OwnOk::Written(_) | OwnOk::Volume(_) | OwnOk::Index { .. }) => {
                            log.apply_destage(run)
                        }
                        // Its folder is not free yet: the checkpoint carries the bytes.
                        Ok(OwnOk::Busy) => {
                            todo.pop();
                        }
                        Err(error) if error.is_no_space() => return Err(error.into()),
                        Err(error) => {
                            self.notes.push(format!("{}: {error}", log.dir));
                            todo.pop();
                        }
                    }
                }
            }
        }
        while let Some(tp) = todo.last() {
            let Some(log) = self.replay.logs.get_mut(tp) else { break };
            if log.has_destage_work(0)
                && let Some(planned) =
                    plan_destage(LogKey(0), log, 0, false, AHEAD_AT_BOOT_BYTES, &self.destage_buffers)
            {
                return Ok(Next::Go(State::Destage { todo, job: Some(Box::new(planned)), resume }));
            }
            // Lets go of the journal's memory.
            log.release(0);
            todo.pop();
        }
        match resume {
            Some(no) => Ok(self.read_file(no)),
            None => Ok(Next::Go(State::Write)),
        }
    }

    fn remove(&mut self, job: Option<RemoveJob>, results: Vec<OpResult>) -> Result<Next, BootError> {
        if let Some(mut job) = job {
            match job.step(results) {
                Step::Do(ops) => return Ok(Next::Do(ops, State::Remove { job: Some(job) })),
                Step::Done(Ok(_)) => {}
                Step::Done(Err(error)) => self.notes.push(format!("something old could not be removed: {error}")),
            }
        }
        match self.replay.garbage.pop() {
            Some(spec) => Ok(Next::Go(State::Remove { job: Some(RemoveJob::new(spec)) })),
            None => Ok(Next::Go(self.begin_destage(None))),
        }
    }

    /// The checkpoints and first journal files of the new generation.
    fn write(&mut self) -> Next {
        let generation = self.meta.map_or(0, |(meta, _)| meta.generation) + 1;
        let wanted = self.config.shards;
        let mut logs: BTreeMap<u16, Vec<Log>> = BTreeMap::new();
        for (tp, mut log) in std::mem::take(&mut self.replay.logs) {
            log.release(0);
            let owner = (self.config.owner)(tp, wanted).min(wanted - 1);
            logs.entry(owner).or_default().push(log);
        }
        let mut ops = Vec::new();
        let journal_bytes = self.config.limits.journal_file_bytes;
        for shard in 0..wanted {
            let kept = self.kept.remove(&shard);
            let (slot, seq) = kept.as_ref().map_or((0, 1), |kept| (kept.slot ^ 1, kept.seq + 1));
            let mut files = kept.map_or_else(Vec::new, |kept| kept.files);
            let unused = files.iter().map(|file| file.no + 1).max().unwrap_or(0);
            let odd = files.iter().filter(|file| file.bytes != journal_bytes).map(|file| file.no);
            self.odd_files.extend(odd.map(|no| FileId::Journal { shard, no }));
            files.retain(|file| file.bytes == journal_bytes);
            if files.is_empty() {
                let no = unused;
                ops.extend(JournalFileJob::new(shard, no, journal_bytes).ops());
                files.push(JournalFile { no, bytes: journal_bytes });
            }
            let logs = logs.remove(&shard).unwrap_or_default();
            let journal_id = journal_id(self.config.random, shard);
            let image = CheckpointImage {
                meta: CheckpointMeta { shard, generation, seq, journal_id, committed: 0, clean: false },
                replay: None,
                logs: logs.iter().map(|log| image_of(log, 0)).collect(),
                garbage: Vec::new(),
            };
            ops.extend(checkpoint_ops(&image, slot));
            self.recovered.push(ShardRecovered {
                shard,
                journal_id,
                generation,
                files,
                checkpoint_slot: slot,
                checkpoint_seq: seq,
                logs,
            });
        }
        Next::Do(ops, State::Commit)
    }

    /// From here on the new generation counts.
    fn commit(&mut self) -> Next {
        let slot = self.meta.map_or(0, |(_, slot)| slot ^ 1);
        let generation = self.meta.map_or(0, |(meta, _)| meta.generation) + 1;
        let meta = BootMeta { generation, shards: self.config.shards, random: self.config.random };
        let file = boot_file(slot);
        let ops = vec![
            Op::Write {
                file: file.clone(),
                at: 0,
                bytes: meta.encode(),
                direct: false,
                durability: Durability::Written,
            },
            Op::Sync { file },
            Op::SyncDir { dir: Arc::from(OWN_DIR) },
            Op::SyncDir { dir: Arc::from("") },
        ];
        Next::Do(ops, State::Committed)
    }

    /// Removes what only the last generation had.
    fn clean_up(&mut self) -> Next {
        let odd = self.odd_files.drain(..).map(|file| Op::Remove { file });
        let stale = self.shard_dirs.iter().filter(|no| **no >= self.config.shards);
        let ops = odd.chain(stale.map(|&no| Op::RemoveDir { dir: Boot::shard_dir(no) })).collect();
        Next::Do(ops, State::Clean)
    }
}

impl Job for Boot {
    type Output = Result<BootReport, BootError>;

    fn step(&mut self, results: Vec<OpResult>) -> Step<Result<BootReport, BootError>> {
        let state = std::mem::replace(&mut self.state, State::Begin);
        let (state, step) = drive(state, results, |state, results| self.advance(state, results));
        if let Some(state) = state {
            self.state = state;
        }
        step
    }
}

/// A file's length; 0 if it is absent.
fn len(result: Option<OpResult>) -> Result<u64, BootError> {
    match result {
        Some(Ok(OpOk::Len(len))) => Ok(len),
        Some(Err(error)) if !error.is_not_found() => Err(error.into()),
        _ => Ok(0),
    }
}

/// The names in a folder; none if it is absent.
fn names(result: Option<OpResult>) -> Result<Vec<String>, BootError> {
    match result {
        Some(Ok(OpOk::Names(names))) => Ok(names),
        Some(Err(error)) if !error.is_not_found() => Err(error.into()),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
