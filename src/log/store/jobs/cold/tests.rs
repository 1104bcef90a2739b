//! Cold reads of a segment that is put together by hand: what they return, what they ask the disk for, what they teach.

use std::sync::Arc;

use super::*;
use crate::batch::patch;
use crate::io::{Durability, FileId, Job};
use crate::store::jobs::StoreJobOutput;
use crate::store::tests::disk::Disk;
use crate::store::tests::world::batch_of;

const SIZE: usize = 1000;
const CHUNK: u32 = CHUNK_BYTES as u32;

/// A segment of batches of one record each, one after the other.
struct Cold {
    disk: Disk,
    read: ColdRead,
}

fn file(kind: SegmentFile) -> FileId {
    FileId::Segment { dir: Arc::from("t-0"), base_offset: 0, kind }
}

fn put(disk: &mut Disk, file: FileId, bytes: Vec<u8>) {
    let op = Op::Write { file, at: 0, bytes: bytes.into(), direct: false, durability: Durability::Durable };
    disk.run(&op).expect("the disk is good");
}

fn blocks(bytes: u32) -> u32 {
    bytes.next_multiple_of(BLOCK_BYTES as u32)
}

impl Cold {
    /// Batches of this size, the last `in_tail` of them in memory only, and an index with these entries.
    fn new(count: usize, size: usize, in_tail: usize, entries: &[(u32, u32)]) -> Cold {
        let mut bytes = Vec::new();
        let one = batch_of(size).bytes().to_vec();
        for offset in 0..count {
            let at = bytes.len();
            bytes.extend_from_slice(&one);
            patch(&mut bytes[at..], offset as i64, 3);
        }
        let tail = bytes.split_off((count - in_tail) * size);
        let file_end = bytes.len() as u32;
        let mut index = Vec::new();
        for (relative, position) in entries {
            index.extend_from_slice(&relative.to_be_bytes());
            index.extend_from_slice(&position.to_be_bytes());
        }
        let mut disk = Disk::default();
        let index_bytes = index.len() as u32;
        put(&mut disk, file(SegmentFile::Log), bytes);
        put(&mut disk, file(SegmentFile::Index), index);
        let source = ColdSource {
            dir: Arc::from("t-0"),
            segment: 0,
            file_end,
            tail: tail.into(),
            index_bytes,
            interval_bytes: 1024,
        };
        let read = ColdRead {
            key: LogKey(0),
            from_offset: 0,
            limit_offset: i64::MAX,
            max_bytes: 3 * SIZE,
            at_least_one: true,
            want_file: false,
            epochs: Vec::new(),
            source,
            start: ColdStart::Unknown,
            verified: None,
        };
        Cold { disk, read }
    }

    /// Reads so many bytes from an offset on.
    fn read(&mut self, from_offset: i64, max_bytes: usize, start: ColdStart) -> (ReadDone, Vec<(u32, u32)>) {
        let read = ColdRead { from_offset, max_bytes, start, ..self.read.clone() };
        let mut reads = Vec::new();
        let output = read.into_job().run(|op| {
            if let Op::Read { file: FileId::Segment { kind: SegmentFile::Log, .. }, at, len, .. } = &op {
                reads.push((*at as u32, *len));
                assert!(reads.len() < 9, "{reads:?}");
            }
            self.disk.run(&op)
        });
        match output {
            StoreJobOutput::Read(done) => (done, reads),
            other => panic!("{other:?}"),
        }
    }

    fn damage(&mut self, at: usize) {
        self.disk.flip("t-0/00000000000000000000.log", at, 0x10);
    }
}

/// A batch that ends with this offset begins there.
fn behind(batch: i64) -> ColdStart {
    ColdStart::Ends { position: batch as u32 * SIZE as u32, last_offset: batch }
}

/// What was read: bytes, and the offset behind them.
fn taken(done: &ReadDone) -> (usize, i64) {
    let ready = done.result.as_ref().expect("it can be read");
    (ready.bytes, ready.next_offset)
}

fn corrupt(done: &ReadDone) -> u64 {
    match done.result {
        Err(ReadFailure::Corrupt { at, .. }) => at,
        _ => panic!("{done:?}"),
    }
}

#[test]
fn a_window_has_the_range_asked_for_a_block_and_where_to_look_for_its_beginning() {
    let mut cold = Cold::new(800, SIZE, 0, &[]);
    assert_eq!(cold.read(0, 200_000, ColdStart::Exact(0)).1, [(0, blocks(200_000 + 4096))]);
    assert_eq!(cold.read(0, 10, ColdStart::Exact(0)).1, [(0, blocks(CHUNK + 4096))]);
    assert_eq!(cold.read(0, 200_000, behind(0)).1, [(0, blocks(200_000 + 4096 + CHUNK))]);
}

#[test]
fn what_is_read_ends_at_its_limits_and_says_where_the_next_one_begins() {
    let mut cold = Cold::new(10, SIZE, 1, &[]);
    for (max, count) in [(3 * SIZE - 1, 2), (3 * SIZE, 3), (1, 1)] {
        let (done, _) = cold.read(2, max, behind(0));
        assert_eq!(taken(&done), (count * SIZE, 2 + count as i64));
        let to = (2 + count) as u32 * SIZE as u32;
        assert_eq!(done.next, Some(ColdPlace { segment: 0, position: to, offset: 2 + count as i64 }));
        let verified = Verified { segment: 0, from: 2000, to, to_offset: 2 + count as i64 };
        assert_eq!((done.verified, done.suspect), (Some(verified), None));
    }
    let (done, _) = cold.read(8, 2 * SIZE, behind(0));
    assert_eq!((taken(&done), done.verified), ((2 * SIZE, 10), None), "the last one is not in the file");
    let (done, reads) = cold.read(10, SIZE, behind(5));
    assert_eq!((taken(&done), done.next, reads.len()), ((0, 0), None, 1), "nothing lies there");
    cold.read.at_least_one = false;
    let (done, _) = cold.read(2, SIZE - 1, behind(0));
    assert_eq!((taken(&done), done.next, done.verified), ((0, 0), None, None), "not one fits");
    cold.read.limit_offset = 4;
    let mut cold = Cold { read: cold.read.clone(), ..Cold::new(800, SIZE, 0, &[]) };
    cold.read.source.file_end = 800 * SIZE as u32;
    cold.read.source.tail = Bytes::new();
    let (done, reads) = cold.read(3, 9 * SIZE, behind(0));
    assert_eq!((taken(&done), reads.len()), ((SIZE, 4), 1), "there is nothing more to look for");
}

#[test]
fn a_batch_of_another_epoch_is_not_what_was_written() {
    let mut cold = Cold::new(10, SIZE, 0, &[]);
    cold.read.epochs = vec![(0, 9)];
    assert_eq!(corrupt(&cold.read(2, SIZE, ColdStart::Exact(2000)).0), 2000);
    cold.read.epochs = vec![(0, 3), (5, 9)];
    assert_eq!(taken(&cold.read(2, 9 * SIZE, ColdStart::Exact(2000)).0), (3 * SIZE, 5));
    cold.read.epochs = vec![(5, 3)];
    assert_eq!(taken(&cold.read(2, 9 * SIZE, ColdStart::Exact(2000)).0), (8 * SIZE, 10), "nothing is known below");
}

#[test]
fn a_damaged_batch_before_the_one_asked_for_is_passed_over_and_one_that_is_asked_for_is_told() {
    let mut cold = Cold::new(10, SIZE, 0, &[]);
    cold.damage(6500);
    assert_eq!(taken(&cold.read(8, SIZE, behind(5)).0), (SIZE, 9));
    assert_eq!(corrupt(&cold.read(6, SIZE, behind(5)).0), 6000);
    assert_eq!(corrupt(&cold.read(6, SIZE, ColdStart::Exact(6000)).0), 6000);
    assert_eq!(taken(&cold.read(4, 9 * SIZE, behind(3)).0), (2 * SIZE, 6), "it ends the range before it");
    assert_eq!(corrupt(&cold.read(3, SIZE, behind(5)).0), 5000, "a batch behind the offset is not the one");
}

#[test]
fn a_file_that_ends_too_early_is_corrupt_there_and_good_before() {
    let mut cold = Cold::new(10, SIZE, 0, &[]);
    let mut bytes = cold.disk.file("t-0/00000000000000000000.log").expect("it exists").to_vec();
    bytes.truncate(5500);
    let mut disk = Disk::default();
    put(&mut disk, file(SegmentFile::Log), bytes);
    cold.disk = disk;
    assert_eq!(corrupt(&cold.read(5, SIZE, ColdStart::Exact(5000)).0), 5000);
    assert_eq!(taken(&cold.read(0, 100_000, ColdStart::Exact(0)).0), (5 * SIZE, 5));
}

#[test]
fn a_range_that_a_window_cuts_off_is_read_in_another_one() {
    let mut cold = Cold::new(800, SIZE, 0, &[]);
    let first = (24_576, blocks(25_000 - 24_576 + 2 * CHUNK + 4096));
    let end = first.0 + first.1;
    let (done, reads) = cold.read(200, 100_000, behind(25));
    assert_eq!(taken(&done), (100_000, 300));
    assert_eq!(reads, [first, (196_608, blocks(200_000 - 196_608 + 100_000 + 4096))]);
    let whole = (end as usize - 200_000) / SIZE;
    let (done, reads) = cold.read(200, whole * SIZE + SIZE / 2, behind(25));
    assert_eq!(
        (taken(&done), reads),
        ((whole * SIZE, 200 + whole as i64), vec![first]),
        "no more than this may be had"
    );
}

#[test]
fn a_batch_that_a_window_cuts_off_is_looked_for_in_another_one() {
    let mut cold = Cold::new(800, SIZE, 0, &[]);
    let first = (0, blocks(2 * CHUNK + 4096));
    let cut = i64::from(first.1) / SIZE as i64;
    let at = cut as u32 * SIZE as u32;
    let start = at / 4096 * 4096;
    let second = (start, blocks(at - start + CHUNK + 4096));
    let (done, reads) = cold.read(cut, 10 * SIZE, behind(0));
    assert_eq!((taken(&done), reads), ((10 * SIZE, cut + 10), vec![first, second]));
    // As much as the second window was asked for, and more than that.
    let asked = CHUNK as usize + 4096;
    let first = |max: usize| (0, blocks((max.max(CHUNK_BYTES) + 4096) as u32 + CHUNK));
    for (max, windows) in [(asked, 2), (asked + 4096, 3)] {
        let first = first(max);
        let cut = i64::from(first.1) / SIZE as i64;
        let (done, reads) = cold.read(cut, max, behind(0));
        assert_eq!((reads.len(), reads[0]), (windows, first), "{max} bytes");
        assert_eq!(taken(&done).0, max / SIZE * SIZE);
    }
}

#[test]
fn an_index_that_leads_to_far_before_the_batch_is_suspect() {
    // 64 intervals are less than the least that counts as far.
    let mut cold = Cold::new(600, 1024, 0, &[]);
    let far = i64::from(MISLED_BYTES) / 1024 + 1;
    assert_eq!(cold.read(far, SIZE, ColdStart::Unknown).0.suspect, None);
    assert_eq!(cold.read(far + 1, SIZE, ColdStart::Unknown).0.suspect, Some(0));
    cold.read.at_least_one = false;
    assert_eq!(cold.read(590, SIZE, ColdStart::Unknown).0.suspect, None, "nothing was found");
}

#[test]
fn an_entry_that_names_a_damaged_batch_is_right_and_one_behind_the_segment_is_not_believed() {
    let mut cold = Cold::new(10, SIZE, 0, &[(2, 2000), (5, 5000)]);
    cold.damage(5500);
    let (done, _) = cold.read(5, SIZE, ColdStart::Unknown);
    assert_eq!((corrupt(&done), done.suspect), (5000, None));
    let mut wrong = Cold::new(10, SIZE, 0, &[(2, 2000), (5, 5100)]);
    let (done, _) = wrong.read(5, SIZE, ColdStart::Unknown);
    assert_eq!((taken(&done), done.suspect), ((SIZE, 6), Some(0)));
    let mut behind = Cold::new(10, SIZE, 1, &[(9, 10_000)]);
    let (done, reads) = behind.read(9, SIZE, ColdStart::Unknown);
    assert_eq!((taken(&done), reads.len()), ((SIZE, 10), 1));
}

/// A stop writes the entries of what lies in the last block, which memory has after the next start.
#[test]
fn bug_ours_a_batch_in_memory_that_the_index_names_is_not_looked_for_from_the_segment_s_beginning() {
    let mut cold = Cold::new(600, 1024, 2, &[(2, 2048), (598, 598 * 1024)]);
    for from_offset in [598, 599] {
        let (done, reads) = cold.read(from_offset, 1024, ColdStart::Unknown);
        assert_eq!((taken(&done), done.suspect, reads.len()), ((1024, from_offset + 1), None, 0));
    }
    let mut wrong = Cold::new(600, 1024, 2, &[(2, 2048), (598, 598 * 1024 + 1)]);
    let (done, reads) = wrong.read(598, 1024, ColdStart::Unknown);
    assert_eq!((taken(&done), done.suspect), ((1024, 599), Some(0)));
    assert_eq!(reads[0].0, 0, "from the entry before");
}

#[test]
fn a_verified_range_is_named_as_a_part_of_the_file_after_a_look_at_its_ends() {
    let mut cold = Cold::new(10, SIZE, 0, &[]);
    cold.read.want_file = true;
    cold.read.verified = Some(Verified { segment: 0, from: 0, to: 10_000, to_offset: 10 });
    for (limit, in_file) in [(11, true), (10, true), (9, false)] {
        cold.read.limit_offset = limit;
        let (done, reads) = cold.read(5, 100_000, ColdStart::Exact(5000));
        let ready = done.result.expect("it can be read");
        let expected = Extent::File { file: file(SegmentFile::Log), at: 5000, len: 5000 };
        assert_eq!(ready.extents[0] == expected, in_file, "below {limit}");
        assert_eq!(reads[0], (4096, 8192));
    }
    cold.read.limit_offset = 11;
    let (done, _) = cold.read(9, 100_000, ColdStart::Exact(10_000));
    assert_eq!(taken(&done), (0, 0), "nothing lies between");
}
