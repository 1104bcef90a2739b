//! One shard's journal behind its checkpoint: followed along its chain as a start does, without writing anything.
//! Must never touch: segments, but for the direct writes of the last commit.

use std::collections::BTreeSet;

use bytes::Bytes;
use coretide_model::TopicPartition;
use coretide_stdx::aligned::BLOCK_BYTES;

use super::log::repaired;
use super::{CheckError, CheckReport, Severity};
use crate::io::{Durability, FileId, Op, OpResult, Step};
use crate::store::boot::chain::{is_later, later_commits, proves_damage};
use crate::store::boot::journal::entries_of;
use crate::store::boot::meta::BootMeta;
use crate::store::boot::replay::{Replay, Unproven};
use crate::store::checkpoint::{CheckpointImage, LogImage};
use crate::store::format::{Body, Chain, CommitHeader, read_commit, read_header};
use crate::store::jobs::{checkpoint_ops, data};
use crate::store::segment::{Log, block_floor};

#[derive(Debug)]
enum State {
    Begin,
    Heads,
    File(u32),
    /// A file whose first commit cannot be read.
    Headless(u32),
    /// A file that begins with a later commit.
    Later(u32),
    Cut,
    Proof(Vec<Unproven>),
    Over,
}

/// What it takes to have a damaged journal end at the damage.
#[derive(Debug)]
pub struct Cut {
    /// The checkpoint that it goes with, and the slot of the other one.
    pub image: CheckpointImage,
    pub other_slot: u8,
}

/// The check of one journal.
#[derive(Debug)]
pub struct JournalCheck {
    state: State,
    shard: u16,
    /// Files and their sizes.
    files: Vec<(u32, u64)>,
    heads: Vec<(u32, CommitHeader)>,
    headless: Vec<u32>,
    expected: Chain,
    /// The file in which the chain must begin, if it must.
    begins: Option<u32>,
    committed: u64,
    /// Another slot of the checkpoint is not whole.
    doubtful: bool,
    clean: bool,
    replay: Replay,
    held: Option<(Bytes, CommitHeader)>,
    end: (u32, u64),
    /// Where commits beyond the end begin.
    later: Vec<(u32, u64)>,
    /// What to cut a damaged journal with.
    cut: Option<Cut>,
    /// The newest commit beyond the end that proves damage, and the logs that commits there are about.
    beyond: u64,
    concerned: BTreeSet<TopicPartition>,
    commits: u64,
    senseless: Vec<String>,
}

enum Next {
    Do(Vec<Op>, State),
    Done,
}

impl JournalCheck {
    /// Of the shard whose checkpoint this is.
    /// `cut`: a damaged journal is to end at the damage, whatever that loses.
    pub fn new(
        image: &CheckpointImage,
        meta: BootMeta,
        files: Vec<(u32, u64)>,
        doubtful: bool,
        cut: Option<Cut>,
    ) -> JournalCheck {
        let journal_id = meta.journal_id(image.meta.shard);
        let mut expected = Chain { journal_id, seq: 1, previous_crc: 0 };
        let mut begins = None;
        if let Some(from) = image.replay {
            expected = Chain { journal_id, seq: from.seq, previous_crc: from.previous_crc };
            begins = (from.seq <= image.meta.committed).then_some(from.file);
        }
        let mut replay = Replay::default();
        let mut senseless = Vec::new();
        for log_image in &image.logs {
            match LogImage::log(log_image) {
                Some(log) => drop(replay.logs.insert(log_image.tp(), log)),
                None => senseless.push(log_image.dir.clone()),
            }
        }
        JournalCheck {
            state: State::Begin,
            shard: image.meta.shard,
            files,
            heads: Vec::new(),
            headless: Vec::new(),
            expected,
            begins,
            committed: image.meta.committed,
            doubtful,
            clean: image.meta.clean,
            replay,
            held: None,
            end: (begins.unwrap_or(0), 0),
            later: Vec::new(),
            cut,
            beyond: 0,
            concerned: BTreeSet::new(),
            commits: 0,
            senseless,
        }
    }

    /// Goes on with the results of the last operations; yields the logs as a start would find them.
    pub fn step(&mut self, results: Vec<OpResult>, report: &mut CheckReport) -> Result<Step<Vec<Log>>, CheckError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match self.advance(state, results, report)? {
            Next::Do(ops, state) => {
                self.state = state;
                Ok(Step::Do(ops))
            }
            Next::Done => Ok(Step::Done(self.finish(report))),
        }
    }

    fn advance(&mut self, state: State, results: Vec<OpResult>, report: &mut CheckReport) -> Result<Next, CheckError> {
        match state {
            State::Begin if self.clean || self.files.is_empty() => Ok(self.chain_ended(report)),
            State::Begin => {
                let head = |&(no, _): &(u32, u64)| self.read(no, BLOCK_BYTES as u32);
                Ok(Next::Do(self.files.iter().map(head).collect(), State::Heads))
            }
            State::Heads => {
                for (&(no, _), result) in self.files.iter().zip(results) {
                    match read_header(&data(Some(result))?) {
                        Some(header) => self.heads.push((no, header)),
                        None => self.headless.push(no),
                    }
                }
                Ok(self.next_file(report))
            }
            State::File(no) => {
                let bytes = data(results.into_iter().next())?;
                self.follow(no, &bytes);
                Ok(self.next_file(report))
            }
            State::Headless(no) => {
                let bytes = data(results.into_iter().next())?;
                let known = self.beyond > 0;
                self.note_beyond(no, &bytes, 0);
                if !known && self.beyond > 0 {
                    self.end = (no, 0);
                }
                Ok(self.next_file(report))
            }
            State::Later(no) => {
                let bytes = data(results.into_iter().next())?;
                self.note_beyond(no, &bytes, 0);
                Ok(self.next_file(report))
            }
            State::Cut => {
                repaired(report.findings.len() - 1, results.into_iter(), report);
                Ok(self.begin_proof())
            }
            State::Proof(mut unproven) => {
                if let Some(direct) = unproven.pop() {
                    match data(results.into_iter().next()) {
                        Ok(bytes) => self.replay.prove(&direct, &bytes),
                        Err(error) if error.is_not_found() => self.replay.prove(&direct, &[]),
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(self.next_proof(unproven))
            }
            State::Over => Ok(Next::Done),
        }
    }

    fn read(&self, no: u32, len: u32) -> Op {
        Op::Read { file: FileId::Journal { shard: self.shard, no }, at: 0, len, direct: false }
    }

    fn read_whole(&self, no: u32) -> Op {
        let bytes = self.files.iter().find(|(of, _)| *of == no).map_or(0, |(_, bytes)| *bytes);
        self.read(no, u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Applies the commits of a file as far as the chain goes in it.
    fn follow(&mut self, no: u32, bytes: &Bytes) {
        let mut at = 0;
        while let Some((header, _)) = bytes.get(at..).and_then(|rest| read_commit(rest, self.expected)) {
            let end = (at + header.total_bytes() as usize).min(bytes.len());
            let commit = bytes.slice(at..end);
            let Some(entries) = entries_of(&commit, &header) else { break };
            if let Some((before, before_header)) = self.held.take()
                && let Some(earlier) = entries_of(&before, &before_header)
            {
                let cut = entries.iter().filter(|entry| matches!(entry.body, Body::Cut { .. }));
                self.replay.apply(&before, &earlier, &cut.map(|entry| entry.tp).collect());
            }
            self.expected = header.next();
            self.held = Some((commit, header));
            self.commits += 1;
            at = end;
        }
        self.end = (no, at as u64);
        self.note_beyond(no, bytes, at);
    }

    fn note_beyond(&mut self, no: u32, bytes: &Bytes, from: usize) {
        let expected = self.expected;
        for (at, header) in later_commits(bytes, from, expected) {
            if proves_damage(&header, expected) {
                self.beyond = self.beyond.max(header.chain.seq);
            }
            self.later.push((no, at));
            let commit = bytes.slice(at as usize..);
            if read_commit(&commit, header.chain).is_some()
                && let Some(entries) = entries_of(&commit, &header)
            {
                self.concerned.extend(entries.iter().map(|entry| entry.tp));
            }
        }
    }

    fn next_file(&mut self, report: &mut CheckReport) -> Next {
        if let Some(at) = self.heads.iter().position(|(_, head)| head.chain == self.expected) {
            let (no, _) = self.heads.swap_remove(at);
            return Next::Do(vec![self.read_whole(no)], State::File(no));
        }
        // The commit that should come next may have been the first one of a file.
        if let Some(no) = self.headless.pop() {
            return Next::Do(vec![self.read_whole(no)], State::Headless(no));
        }
        // What lies in files that begin with a later commit tells what is concerned. They are whole themselves.
        if let Some(at) = self.heads.iter().position(|(_, head)| is_later(head, self.expected)) {
            let (no, _) = self.heads.swap_remove(at);
            return Next::Do(vec![self.read_whole(no)], State::Later(no));
        }
        self.chain_ended(report)
    }

    fn chain_ended(&mut self, report: &mut CheckReport) -> Next {
        let demanded =
            !self.clean && (self.expected.seq <= self.committed || (self.begins.is_some() && self.commits == 0));
        if self.beyond > 0 || demanded {
            self.report_damage(report);
            if let Some(cut) = self.cut.take() {
                return Next::Do(self.cut_ops(cut), State::Cut);
            }
        }
        self.begin_proof()
    }

    /// The last commit that was found, but for its direct writes, which must be looked at.
    fn begin_proof(&mut self) -> Next {
        let Some((commit, header)) = self.held.take() else { return Next::Done };
        let Some(entries) = entries_of(&commit, &header) else { return Next::Done };
        let unproven = self.replay.apply_last(&commit, &entries);
        self.next_proof(unproven)
    }

    /// Wipes the heads of all commits behind the damage, and says in a new checkpoint that they were never done.
    fn cut_ops(&self, cut: Cut) -> Vec<Op> {
        let shard = self.shard;
        let mut image = cut.image;
        image.meta.committed = image.meta.committed.min(self.expected.seq - 1);
        image.meta.seq += 1;
        let mut ops = checkpoint_ops(&image, cut.other_slot);
        for &(no, at) in &self.later {
            let bytes = Bytes::from(vec![0; BLOCK_BYTES]);
            let file = FileId::Journal { shard, no };
            ops.push(Op::Write { file: file.clone(), at, bytes, direct: false, durability: Durability::Written });
            ops.push(Op::Sync { file });
        }
        ops
    }

    fn report_damage(&self, report: &mut CheckReport) {
        let (no, at) = self.end;
        let path = FileId::Journal { shard: self.shard, no }.path();
        if self.doubtful && self.commits == 0 {
            let what = "the journal does not begin where the only whole checkpoint says: that is the older one";
            let remedy = "the next start reads every segment and what the journal still holds; what only the newer \
                checkpoint had is lost unless a copy of it is restored";
            return report.add(Severity::Loss, path, Some(at), what.to_string(), remedy);
        }
        let dirs: Vec<&str> = self.concerned.iter().filter_map(|tp| Some(&*self.replay.logs.get(tp)?.dir)).collect();
        let newest = self.beyond.max(self.committed);
        let mut what =
            format!("commit {} was acknowledged and cannot be read (the newest is {newest})", self.expected.seq);
        if !dirs.is_empty() {
            what = format!("{what}; the commits after it are about {}", dirs.join(", "));
        }
        let remedy = "the broker does not start, to overwrite nothing: restore this file from a copy, or give up this commit \
            and all after it with --cut-journal";
        report.add(Severity::Loss, path, Some(at), what, remedy);
    }

    fn finish(&mut self, report: &mut CheckReport) -> Vec<Log> {
        self.replay.finish();
        let dir = FileId::Journal { shard: self.shard, no: self.end.0 }.path();
        for note in std::mem::take(&mut self.replay.notes) {
            report.add(Severity::Loss, dir.clone(), None, note, "restore the journal or the checkpoint from a copy");
        }
        for log in std::mem::take(&mut self.senseless) {
            let remedy = "restore the checkpoint from a copy";
            report.add(Severity::Loss, log, None, "its checkpoint makes no sense".to_string(), remedy);
        }
        if let Some(seen) = report.shards.last_mut() {
            seen.commits = self.commits;
        }
        std::mem::take(&mut self.replay.logs).into_values().collect()
    }

    fn next_proof(&mut self, unproven: Vec<Unproven>) -> Next {
        let Some(last) = unproven.last() else {
            self.replay.apply_after_direct();
            return Next::Done;
        };
        let at = block_floor(last.position);
        let file = crate::store::segment_file(&last.dir, last.segment);
        let op = Op::Read { file, at: u64::from(at), len: last.block_end - at, direct: false };
        Next::Do(vec![op], State::Proof(unproven))
    }
}
