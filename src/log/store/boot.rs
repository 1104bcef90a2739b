//! The start: from what the last run left on disk to one [`ShardRecovered`] per shard.
//!
//! Every start is a *generation*. It reads the last generation's checkpoints and what their journals hold beyond them,
//! completes the segments, writes checkpoints of its own for the shards that are wanted now, and then makes them count by
//! writing one of two alternating `boot` files. A crash before that leaves the last generation as it was: nothing that it
//! needs is overwritten, and destaging again writes the same bytes to the same places.
//! Must never touch: the running store.

mod replay;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicPartition;
use coretide_stdx::aligned::{BLOCK_BYTES, BufPool};

use super::api::{LogKey, StoreLimits};
use super::background::{DestageRun, plan_destage};
use super::checkpoint::{
    CheckpointImage, CheckpointMeta, Decoded, FORMAT, GarbageImage, decode_file, encode_file, image_of,
};
use super::format::{Body, Chain, CommitHeader, read_commit, read_entries, read_header};
use super::jobs::{DestageJob, JournalFileJob, OwnOk, RemoveJob, checkpoint_ops, data};
use super::ring::JournalFile;
use super::segment::{Log, block_floor};
use crate::io::{Durability, FileId, IoError, Job, OWN_DIR, Op, OpOk, OpResult, Step};
use replay::{Replay, Unproven};
use scan::Scan;

/// The two files that say which generation counts.
const BOOT_FILES: [&str; 2] = [".coretide/boot-0", ".coretide/boot-1"];
const BOOT_MAGIC: [u8; 8] = *b"CTBOOTGN";
const BOOT_FILE_MAX_BYTES: u32 = 4096;
/// Replayed bytes that may wait in memory before they are destaged.
const PENDING_MAX_BYTES: u64 = 64 << 20;
/// Space that a destage of the start takes ahead of need: whoever starts on a full disk has none to spare.
const AHEAD_AT_BOOT_BYTES: u64 = 0;
/// Shards that a boot file may name.
const SHARDS_MAX: u16 = 4096;

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
    /// The disk refused something.
    #[error(transparent)]
    Io(#[from] IoError),
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

/// Which generation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BootMeta {
    generation: u64,
    shards: u16,
    random: u64,
}

impl BootMeta {
    fn encode(self) -> Bytes {
        let mut payload = Vec::with_capacity(16);
        payload.extend_from_slice(&u64::from(self.shards).to_le_bytes());
        payload.extend_from_slice(&self.random.to_le_bytes());
        encode_file(BOOT_MAGIC, self.generation, &payload)
    }

    /// None if the file is not whole.
    fn decode(bytes: &[u8]) -> Result<Option<BootMeta>, BootError> {
        let (generation, payload) = match decode_file(BOOT_MAGIC, bytes) {
            Ok(found) => found,
            Err(None) => return Ok(None),
            Err(Some(found)) => return Err(BootError::NewerFormat { found, known: FORMAT }),
        };
        let number =
            |at: usize| payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (Some(shards), Some(random)) = (number(0), number(8)) else { return Ok(None) };
        let shards = u16::try_from(shards).ok().filter(|shards| *shards <= SHARDS_MAX);
        Ok(shards.map(|shards| BootMeta { generation, shards, random }))
    }
}

/// The id of a shard's journal in the generation that drew `random`.
fn journal_id(random: u64, shard: u16) -> u64 {
    random ^ (u64::from(shard) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
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
    /// The checkpoint begins with a commit that was done, so the journal must hold it.
    replays: bool,
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
    File,
    Proof(Vec<Unproven>),
    /// Completing segments; `resume`: the journal goes on afterwards.
    Destage {
        todo: Vec<TopicPartition>,
        job: Option<Box<(DestageRun, DestageJob)>>,
        resume: Option<u32>,
    },
    Scan(Box<Scan>),
    Remove {
        job: Option<RemoveJob>,
    },
    Write,
    Commit,
    Committed,
    Clean,
}

/// What a state wants.
enum Next {
    Do(Vec<Op>, State),
    Go(State),
    Done(BootReport),
}

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
                let read = |&slot: &usize| Op::Read {
                    file: FileId::Root { name: BOOT_FILES[slot] },
                    at: 0,
                    len: BOOT_FILE_MAX_BYTES,
                    direct: false,
                };
                Ok(Next::Do(slots.iter().map(read).collect(), State::Metas { slots }))
            }
            State::Metas { slots } => self.metas(&slots, results),
            State::MetaKept => self.check(&results, |_| Next::Go(State::Shard)),
            State::Shard => Ok(self.next_shard()),
            State::ShardListed => self.shard_listed(results),
            State::Lens { journals, slots } => self.lens(results, &journals, slots),
            State::Checkpoints { mut todo, mut found } => {
                if let Some(result) = results.into_iter().next()
                    && let Some((slot, _)) = todo.pop()
                {
                    // A slot that cannot be read is as good as lost: the other one may do.
                    found.push((slot, data(Some(result)).unwrap_or_default()));
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
            State::File => self.file(results),
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
            let meta = BootMeta::decode(&data(Some(result))?)?;
            if let Some(meta) = meta
                && self.meta.is_none_or(|(best, _)| best.generation < meta.generation)
            {
                self.meta = Some((meta, slot));
            }
        }
        // Read, but perhaps not durable yet: this start writes over what the generation before it needs.
        let keep = self.meta.map(|(_, slot)| {
            let file = FileId::Root { name: BOOT_FILES[slot] };
            vec![Op::Sync { file }, Op::SyncDir { dir: Arc::from(OWN_DIR) }, Op::SyncDir { dir: Arc::from("") }]
        });
        Ok(Next::Do(keep.unwrap_or_default(), State::MetaKept))
    }

    /// The next shard of the last generation, or what comes after all of them.
    fn next_shard(&mut self) -> Next {
        let no = self.kept.len() as u16;
        if let Some((meta, _)) = self.meta
            && no < meta.shards
        {
            self.shard = OldShard { no, slot: 1, ..OldShard::default() };
            return Next::Do(vec![Op::List { dir: Boot::shard_dir(no) }], State::ShardListed);
        }
        if self.meta.is_none() && !self.scanned {
            return self.begin_scan();
        }
        self.replay.finish();
        Next::Go(State::Remove { job: None })
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
        let generation = self.meta.map_or(0, |(meta, _)| meta.generation);
        let mut best: Option<(Box<CheckpointImage>, u8)> = None;
        for (slot, bytes) in found {
            self.bytes_read += bytes.len() as u64;
            let image = match CheckpointImage::decode(bytes) {
                Decoded::Good(image) => image,
                Decoded::Newer(found) => return Err(BootError::NewerFormat { found, known: FORMAT }),
                Decoded::Bad => continue,
            };
            let mine = image.meta.generation == generation && image.meta.shard == self.shard.no;
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
        let mut chain = Chain { journal_id, seq: 1, previous_crc: 0 };
        match image {
            Some(image) => {
                self.shard.logs = image.logs.iter().map(super::checkpoint::LogImage::tp).collect();
                if let Some(replay) = image.replay {
                    self.shard.replays = replay.seq <= image.meta.committed;
                    chain = Chain { journal_id, seq: replay.seq, previous_crc: replay.previous_crc };
                }
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

    /// Reads the first block of every journal file.
    fn read_heads(&mut self) -> Next {
        let shard = self.shard.no;
        let head = |file: &JournalFile| Op::Read {
            file: FileId::Journal { shard, no: file.no },
            at: 0,
            len: BLOCK_BYTES as u32,
            direct: true,
        };
        Next::Do(self.shard.files.iter().map(head).collect(), State::Heads)
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

    fn heads(&mut self, results: Vec<OpResult>) -> Result<Next, BootError> {
        for (file, result) in self.shard.files.iter().zip(results) {
            let bytes = data(Some(result))?;
            self.bytes_read += bytes.len() as u64;
            if let Some(header) = read_header(&bytes) {
                self.shard.heads.push((file.no, header));
            }
        }
        let expected = self.shard.expected;
        let begins = self.shard.heads.iter().any(|(_, head)| Some(head.chain) == expected);
        if self.shard.replays && !begins && !self.shard.lost {
            // An older checkpoint, the newer one being broken: the journal has gone on without it.
            self.shard.lost = true;
            self.shard.heads.clear();
            self.notes.push(format!("shard {}: the journal does not begin where its checkpoint says", self.shard.no));
            for tp in std::mem::take(&mut self.shard.logs) {
                self.replay.logs.remove(&tp);
            }
            return Ok(self.begin_scan());
        }
        if self.shard.lost {
            // Without a checkpoint, the oldest commit that is left begins the chain.
            let journal_id = self.shard.expected.map_or(0, |chain| chain.journal_id);
            let mine =
                self.shard.heads.iter().map(|(_, head)| head.chain).filter(|chain| chain.journal_id == journal_id);
            self.shard.expected = mine.min_by_key(|chain| chain.seq);
        }
        Ok(self.next_file())
    }

    /// The file in which the chain goes on, or what comes after the last one.
    fn next_file(&mut self) -> Next {
        let expected = self.shard.expected;
        let found = self.shard.heads.iter().position(|(_, head)| Some(head.chain) == expected);
        if let Some(at) = found {
            // Each file is read once: the head of a torn commit would lead to it again.
            let (no, _) = self.shard.heads.swap_remove(at);
            return if self.replay.pending_bytes() > PENDING_MAX_BYTES {
                Next::Go(self.begin_destage(Some(no)))
            } else {
                self.read_file(no)
            };
        }
        let Some((commit, header)) = self.shard.held.take() else { return self.shard_done() };
        self.clean = false;
        let Some(entries) = entries_of(&commit, &header) else { return self.shard_done() };
        let unproven = self.replay.apply_last(&commit, &entries);
        self.next_proof(unproven)
    }

    fn next_proof(&mut self, unproven: Vec<Unproven>) -> Next {
        let Some(last) = unproven.last() else {
            self.replay.apply_after_direct();
            return self.shard_done();
        };
        let at = block_floor(last.position);
        let file = super::segment_file(&last.dir, last.segment);
        let op = Op::Read { file, at: u64::from(at), len: last.block_end - at, direct: true };
        Next::Do(vec![op], State::Proof(unproven))
    }

    fn read_file(&self, no: u32) -> Next {
        let file = FileId::Journal { shard: self.shard.no, no };
        let bytes = self.shard.files.iter().find(|file| file.no == no).map_or(0, |file| file.bytes);
        let len = u32::try_from(bytes).unwrap_or(u32::MAX);
        Next::Do(vec![Op::Read { file, at: 0, len, direct: true }], State::File)
    }

    fn file(&mut self, results: Vec<OpResult>) -> Result<Next, BootError> {
        let bytes = data(results.into_iter().next())?;
        self.bytes_read += bytes.len() as u64;
        let mut at = 0;
        while let Some(expected) = self.shard.expected
            && let Some((header, _)) = bytes.get(at..).and_then(|rest| read_commit(rest, expected))
        {
            let end = (at + header.total_bytes() as usize).min(bytes.len());
            let commit = bytes.slice(at..end);
            let Some(entries) = entries_of(&commit, &header) else { break };
            if let Some((before, before_header)) = self.shard.held.take()
                && let Some(earlier) = entries_of(&before, &before_header)
            {
                let is_cut = |entry: &super::format::Entry<'_>| matches!(entry.body, Body::Cut { .. });
                let cut = entries.iter().filter(|entry| is_cut(entry)).map(|entry| entry.tp).collect();
                self.replay.apply(&before, &earlier, &cut);
            }
            self.shard.expected = Some(header.next());
            self.shard.held = Some((commit, header));
            at = end;
        }
        Ok(self.next_file())
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
                        Ok(OwnOk::Done | OwnOk::Volume(_)) => log.apply_destage(run),
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
        let file = FileId::Root { name: BOOT_FILES[slot] };
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
        let mut results = results;
        loop {
            let state = std::mem::replace(&mut self.state, State::Begin);
            match self.advance(state, std::mem::take(&mut results)) {
                Ok(Next::Go(state)) => self.state = state,
                Ok(Next::Do(ops, state)) if ops.is_empty() => self.state = state,
                Ok(Next::Do(ops, state)) => {
                    self.state = state;
                    return Step::Do(ops);
                }
                Ok(Next::Done(report)) => return Step::Done(Ok(report)),
                Err(error) => return Step::Done(Err(error)),
            }
        }
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

fn entries_of<'a>(commit: &'a Bytes, header: &CommitHeader) -> Option<Vec<super::format::Entry<'a>>> {
    let from = super::format::HEADER_BYTES;
    let payload = commit.get(from..from + header.payload_bytes as usize)?;
    read_entries(payload, header.entries)
}
