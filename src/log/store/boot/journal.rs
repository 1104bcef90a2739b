//! The journal of one shard, from its files' heads along the chain to its end.
//! Must never touch: what entries mean (`replay`), checkpoints.

use bytes::Bytes;
use coretide_stdx::aligned::BLOCK_BYTES;

use super::chain::{later_commits, proves_damage};
use super::replay::Unproven;
use super::{Boot, BootError, Next, PENDING_MAX_BYTES, State};
use crate::io::{FileId, Op, OpResult};
use crate::store::format::{Body, CommitHeader, Entry, HEADER_BYTES, read_commit, read_entries, read_header};
use crate::store::jobs::data;
use crate::store::ring::JournalFile;
use crate::store::segment::block_floor;

impl Boot {
    /// Reads the first block of every journal file.
    pub(super) fn read_heads(&mut self) -> Next {
        let shard = self.shard.no;
        let head = |file: &JournalFile| Op::Read {
            file: FileId::Journal { shard, no: file.no },
            at: 0,
            len: BLOCK_BYTES as u32,
            direct: true,
        };
        Next::Do(self.shard.files.iter().map(head).collect(), State::Heads)
    }

    pub(super) fn heads(&mut self, results: Vec<OpResult>) -> Result<Next, BootError> {
        self.shard.headless.clear();
        for (file, result) in self.shard.files.iter().zip(results) {
            let bytes = data(Some(result))?;
            self.bytes_read += bytes.len() as u64;
            match read_header(&bytes) {
                Some(header) => self.shard.heads.push((file.no, header)),
                None => self.shard.headless.push(file.no),
            }
        }
        let expected = self.shard.expected;
        let begins = self.shard.heads.iter().any(|(_, head)| Some(head.chain) == expected);
        if let Some(no) = self.shard.replays
            && !begins
            && !self.shard.lost
        {
            if !self.shard.doubtful {
                self.shard.end = (no, 0);
                return Err(self.damaged(self.shard.committed));
            }
            // An older checkpoint, the newer one being broken: the journal has gone on without it.
            self.shard.lost = true;
            self.shard.committed = 0;
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
        self.next_file()
    }

    /// The file in which the chain goes on, or what comes after the last one.
    fn next_file(&mut self) -> Result<Next, BootError> {
        let expected = self.shard.expected;
        let found = self.shard.heads.iter().position(|(_, head)| Some(head.chain) == expected);
        if let Some(at) = found {
            // Each file is read once: the head of a torn commit would lead to it again.
            let (no, _) = self.shard.heads.swap_remove(at);
            return Ok(if self.replay.pending_bytes() > PENDING_MAX_BYTES {
                Next::Go(self.begin_destage(Some(no)))
            } else {
                self.read_file(no)
            });
        }
        let Some(expected) = expected else { return Ok(self.chain_ended()) };
        let heads = self.shard.heads.iter().filter(|(_, head)| proves_damage(head, expected));
        let newest = heads.map(|(_, head)| head.chain.seq).max().unwrap_or(0).max(self.shard.beyond);
        let newest = if expected.seq <= self.shard.committed { newest.max(self.shard.committed) } else { newest };
        if newest > 0 {
            return Err(self.damaged(newest));
        }
        // The commit that should come next may have been the first one of a file.
        match self.shard.headless.pop() {
            Some(no) => {
                self.shard.heads.retain(|(of, _)| *of != no);
                Ok(Next::Do(vec![self.whole_file(no)], State::Headless(no)))
            }
            None => Ok(self.chain_ended()),
        }
    }

    pub(super) fn headless(&mut self, no: u32, results: Vec<OpResult>) -> Result<Next, BootError> {
        let bytes = data(results.into_iter().next())?;
        self.bytes_read += bytes.len() as u64;
        self.note_beyond(&bytes, 0);
        if self.shard.beyond > 0 {
            self.shard.end = (no, 0);
        }
        self.next_file()
    }

    /// Looks for later commits behind the place where the chain breaks off.
    fn note_beyond(&mut self, bytes: &[u8], from: usize) {
        let Some(expected) = self.shard.expected else { return };
        let later = later_commits(bytes, from, expected).filter(|(_, header)| proves_damage(header, expected));
        self.shard.beyond = later.map(|(_, header)| header.chain.seq).max().unwrap_or(0).max(self.shard.beyond);
    }

    fn damaged(&self, newest: u64) -> BootError {
        let (no, at) = self.shard.end;
        let path = FileId::Journal { shard: self.shard.no, no }.path();
        BootError::Journal { path, at, seq: self.shard.expected.map_or(0, |chain| chain.seq), newest }
    }

    fn chain_ended(&mut self) -> Next {
        let Some((commit, header)) = self.shard.held.take() else { return self.shard_done() };
        self.clean = false;
        let Some(entries) = entries_of(&commit, &header) else { return self.shard_done() };
        let unproven = self.replay.apply_last(&commit, &entries);
        self.next_proof(unproven)
    }

    pub(super) fn next_proof(&mut self, unproven: Vec<Unproven>) -> Next {
        let Some(last) = unproven.last() else {
            self.replay.apply_after_direct();
            return self.shard_done();
        };
        let at = block_floor(last.position);
        let file = crate::store::segment_file(&last.dir, last.segment);
        let op = Op::Read { file, at: u64::from(at), len: last.block_end - at, direct: true };
        Next::Do(vec![op], State::Proof(unproven))
    }

    pub(super) fn read_file(&self, no: u32) -> Next {
        Next::Do(vec![self.whole_file(no)], State::File(no))
    }

    fn whole_file(&self, no: u32) -> Op {
        let file = FileId::Journal { shard: self.shard.no, no };
        let bytes = self.shard.files.iter().find(|file| file.no == no).map_or(0, |file| file.bytes);
        let len = u32::try_from(bytes).unwrap_or(u32::MAX);
        Op::Read { file, at: 0, len, direct: true }
    }

    pub(super) fn file(&mut self, no: u32, results: Vec<OpResult>) -> Result<Next, BootError> {
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
                let is_cut = |entry: &Entry<'_>| matches!(entry.body, Body::Cut { .. });
                let cut = entries.iter().filter(|entry| is_cut(entry)).map(|entry| entry.tp).collect();
                self.replay.apply(&before, &earlier, &cut);
            }
            self.shard.expected = Some(header.next());
            self.shard.held = Some((commit, header));
            at = end;
        }
        self.shard.end = (no, at as u64);
        self.note_beyond(&bytes, at);
        self.next_file()
    }
}

/// The entries of a whole commit.
pub fn entries_of<'a>(commit: &'a Bytes, header: &CommitHeader) -> Option<Vec<Entry<'a>>> {
    let from = HEADER_BYTES;
    let payload = commit.get(from..from + header.payload_bytes as usize)?;
    read_entries(payload, header.entries)
}
