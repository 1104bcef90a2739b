//! The journal's files as a ring: which one takes commits, which ones a restart still needs, which ones are free.
//! Must never touch: what is in a commit, files themselves.

use std::collections::{BTreeMap, VecDeque};

use super::api::CommitSeq;

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFile {
    /// The number in its name.
    pub no: u32,
    /// Its size.
    pub bytes: u64,
}

/// Where replay begins: at the front of this file, with this commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayFrom {
    /// The file.
    pub file: u32,
    /// The first commit in it.
    pub seq: CommitSeq,
    /// The header CRC of the commit before it.
    pub previous_crc: u32,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    file: JournalFile,
    first: CommitSeq,
    last: CommitSeq,
    previous_crc: u32,
}

/// The files of one shard's journal.
#[derive(Debug, Default)]
pub struct Ring {
    /// Files with commits, oldest first; the last one takes the next commit.
    used: VecDeque<Used>,
    write_at: u64,
    free: Vec<JournalFile>,
    next_no: u32,
    /// Files written without a sync, with the newest such commit.
    unsynced: BTreeMap<u32, CommitSeq>,
}

impl Ring {
    /// A ring of files that hold nothing of this journal.
    pub fn new(free: Vec<JournalFile>) -> Ring {
        let next_no = free.iter().map(|file| file.no + 1).max().unwrap_or(0);
        Ring { free, next_no, ..Ring::default() }
    }

    /// A new file's number.
    pub fn reserve_no(&mut self) -> u32 {
        self.next_no += 1;
        self.next_no - 1
    }

    /// A file is ready.
    pub fn add_free(&mut self, file: JournalFile) {
        self.free.push(file);
    }

    /// Files that hold nothing that is needed.
    pub fn free_files(&self) -> usize {
        self.free.len()
    }

    /// All files.
    pub fn files(&self) -> usize {
        self.free.len() + self.used.len()
    }

    /// True when the newest file is more than half full.
    pub fn is_half_full(&self) -> bool {
        self.used.back().is_some_and(|last| self.write_at > last.file.bytes / 2)
    }

    /// Finds room for the commit `seq` of `bytes`: file and position. None when no file is free; nothing changes then.
    pub fn place(&mut self, seq: CommitSeq, bytes: u64, previous_crc: u32) -> Option<(u32, u64)> {
        if let Some(last) = self.used.back_mut()
            && self.write_at + bytes <= last.file.bytes
        {
            last.last = seq;
            let at = self.write_at;
            self.write_at += bytes;
            return Some((last.file.no, at));
        }
        let fitting = self.free.iter().position(|file| file.bytes >= bytes)?;
        let file = self.free.swap_remove(fitting);
        self.used.push_back(Used { file, first: seq, last: seq, previous_crc });
        self.write_at = bytes;
        Some((file.no, 0))
    }

    /// True when a commit of `bytes` has room.
    pub fn has_room(&self, bytes: u64) -> bool {
        let last = self.used.back().is_some_and(|last| self.write_at + bytes <= last.file.bytes);
        last || self.free.iter().any(|file| file.bytes >= bytes)
    }

    /// Where replay must begin so that `seq` and all later commits are seen; none when nothing was written.
    pub fn replay_from(&self, seq: CommitSeq) -> Option<ReplayFrom> {
        let used = self.used.iter().rev().find(|used| used.first <= seq).or(self.used.front())?;
        Some(ReplayFrom { file: used.file.no, seq: used.first, previous_crc: used.previous_crc })
    }

    /// The first commit of the newest file; 0 when nothing was written.
    pub fn newest_file_seq(&self) -> CommitSeq {
        self.used.back().map_or(0, |used| used.first)
    }

    /// The first commit of the newest file that begins so many bytes before the newest commit's end, or of the oldest file.
    pub fn file_seq_before(&self, bytes: u64) -> CommitSeq {
        let mut behind = self.write_at;
        for (at, used) in self.used.iter().enumerate().rev() {
            if behind >= bytes || at == 0 {
                return used.first;
            }
            behind += self.used[at - 1].file.bytes;
        }
        0
    }

    /// A durable checkpoint replays from `seq` on: files with older commits only are free again.
    pub fn recycle(&mut self, seq: CommitSeq) {
        while self.used.len() > 1 && self.used[0].last < seq {
            let Some(used) = self.used.pop_front() else { break };
            self.unsynced.remove(&used.file.no);
            self.free.push(used.file);
        }
    }

    /// The commit `seq` was written to `file`, but not synced.
    pub fn note_unsynced(&mut self, file: u32, seq: CommitSeq) {
        self.unsynced.insert(file, seq);
    }

    /// Files that must be synced to make every commit so far durable.
    pub fn unsynced_files(&self) -> Vec<u32> {
        self.unsynced.keys().copied().collect()
    }

    /// All commits up to `seq` are durable.
    pub fn synced_to(&mut self, seq: CommitSeq) {
        self.unsynced.retain(|_, newest| *newest > seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(files: u32) -> Ring {
        Ring::new((0..files).map(|no| JournalFile { no, bytes: 100 }).collect())
    }

    #[test]
    fn commits_fill_a_file_and_go_on_in_the_next() {
        let mut ring = ring(2);
        let (first, at) = ring.place(1, 60, 0).expect("room");
        assert_eq!(at, 0);
        let (second, at) = ring.place(2, 60, 7).expect("room");
        assert_eq!(at, 0);
        assert_ne!(first, second);
        assert_eq!(ring.place(3, 60, 8), None);
        assert_eq!(ring.place(3, 40, 8), Some((second, 60)));
        assert_eq!(ring.replay_from(2), Some(ReplayFrom { file: second, seq: 2, previous_crc: 7 }));
        assert_eq!(ring.replay_from(1), Some(ReplayFrom { file: first, seq: 1, previous_crc: 0 }));
    }

    #[test]
    fn a_file_is_free_again_only_when_all_its_commits_are_old() {
        let mut ring = ring(2);
        ring.place(1, 50, 0);
        ring.place(2, 50, 0);
        ring.place(3, 50, 0);
        ring.recycle(2);
        assert_eq!(ring.free_files(), 0);
        ring.recycle(3);
        assert_eq!(ring.free_files(), 1);
        ring.recycle(9);
        assert_eq!(ring.free_files(), 1, "the newest file keeps taking commits");
    }

    #[test]
    fn a_file_is_half_full_behind_its_half_and_only_the_newest_counts() {
        let mut ring = ring(2);
        assert!(!ring.is_half_full() && ring.newest_file_seq() == 0);
        ring.place(5, 50, 0);
        assert!(!ring.is_half_full());
        ring.place(6, 1, 0);
        assert!(ring.is_half_full());
        assert_eq!(ring.newest_file_seq(), 5);
        ring.place(7, 50, 0);
        assert!(!ring.is_half_full());
        assert_eq!(ring.newest_file_seq(), 7);
    }

    #[test]
    fn a_new_file_has_a_number_that_none_had() {
        let mut ring = ring(3);
        assert_eq!([ring.reserve_no(), ring.reserve_no()], [3, 4]);
        assert_eq!(Ring::new(Vec::new()).reserve_no(), 0);
    }

    #[test]
    fn a_checkpoint_finds_the_file_that_begins_so_far_back() {
        assert_eq!(ring(1).file_seq_before(10), 0, "nothing was written");
        let mut ring = ring(3);
        ring.place(1, 100, 0);
        ring.place(2, 100, 0);
        ring.place(3, 30, 0);
        let from = [0, 30, 31, 130, 131, 230, 231, 1000].map(|bytes| ring.file_seq_before(bytes));
        assert_eq!(from, [3, 3, 2, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_file_needs_a_sync_until_one_came_behind_its_newest_commit() {
        let mut ring = ring(2);
        ring.note_unsynced(0, 4);
        ring.note_unsynced(1, 6);
        ring.synced_to(3);
        assert_eq!(ring.unsynced_files(), [0, 1]);
        ring.synced_to(4);
        assert_eq!(ring.unsynced_files(), [1]);
        ring.note_unsynced(1, 9);
        ring.synced_to(8);
        assert_eq!(ring.unsynced_files(), [1]);
        ring.synced_to(10);
        assert_eq!(ring.unsynced_files(), Vec::<u32>::new());
    }
}
