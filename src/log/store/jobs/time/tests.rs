//! Searches by time in segments that are put together by hand: what they find, what they look at, what they suspect.

use std::sync::Arc;

use super::*;
use crate::batch::patch;
use crate::builder::BatchBuilder;
use crate::codec::Compression;
use crate::io::{Durability, FileId, IoError, Job};
use crate::store::jobs::StoreJobOutput;
use crate::store::tests::disk::Disk;

/// Entries of the time index: timestamp and relative offset.
type Times = Vec<(i64, u32)>;
/// Entries of the offset index: relative offset and position.
type Offsets = Vec<(u32, u32)>;

const BASE: i64 = 100;
const CHUNK: u32 = CHUNK_BYTES as u32;

/// A batch of one record.
fn batch(offset: i64, timestamp: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::default());
    builder.push(timestamp, None, Some(&[7; 930]), &[]);
    let mut batch = builder.build().to_vec();
    patch(&mut batch, offset, 3);
    batch
}

fn size() -> u32 {
    batch(0, 0).len() as u32
}

/// The timestamp of the record so many offsets behind the base.
fn timestamp(relative: i64) -> i64 {
    1000 + relative * 10
}

fn put(disk: &mut Disk, base_offset: i64, kind: SegmentFile, bytes: Vec<u8>) {
    let file = FileId::Segment { dir: Arc::from("t-0"), base_offset, kind };
    let op = Op::Write { file, at: 0, bytes: bytes.into(), direct: false, durability: Durability::Durable };
    disk.run(&op).expect("the disk is good");
}

/// So many batches from a base on, the last `in_tail` of them in memory only, with these entries of both indexes.
fn segment(
    disk: &mut Disk,
    base: i64,
    (count, in_tail): (i64, i64),
    times: &[(i64, u32)],
    offsets: &[(u32, u32)],
) -> TimeSegment {
    let of = |range: std::ops::Range<i64>| {
        range.flat_map(|n| batch(base + n, timestamp(base + n - BASE))).collect::<Vec<u8>>()
    };
    let (log, tail) = (of(0..count - in_tail), of(count - in_tail..count));
    let times: Vec<u8> = times
        .iter()
        .flat_map(|(timestamp, relative)| [&timestamp.to_be_bytes()[..], &relative.to_be_bytes()].concat())
        .collect();
    let index: Vec<u8> = offsets
        .iter()
        .flat_map(|(relative, position)| [relative.to_be_bytes(), position.to_be_bytes()].concat())
        .collect();
    let (file_end, index_bytes, time_bytes) = (log.len() as u32, index.len() as u32, times.len() as u32);
    put(disk, base, SegmentFile::Log, log);
    put(disk, base, SegmentFile::Index, index);
    put(disk, base, SegmentFile::TimeIndex, times);
    let tail = Bytes::from(tail);
    let source = ColdSource { dir: Arc::from("t-0"), segment: base, file_end, tail, index_bytes, interval_bytes: 1024 };
    TimeSegment { source, time_bytes, runs: Vec::new() }
}

/// Entries for every tenth batch from the fifth on.
fn indexed() -> (Times, Offsets) {
    [5u32, 15, 25].iter().map(|&n| ((timestamp(i64::from(n)), n), (n, n * size()))).unzip()
}

fn read(target: TimeTarget, segments: Vec<TimeSegment>) -> TimeRead {
    TimeRead { key: LogKey(0), target, from_offset: BASE, limit_offset: i64::MAX, segments }
}

/// Runs it with one of its operations failing, if any is to: how it ended, and what was read.
fn run(disk: &mut Disk, read: TimeRead, fails: Option<(usize, i32)>) -> (TimeDone, Vec<(SegmentFile, u32, u32)>) {
    let mut reads = Vec::new();
    let output = read.into_job().run(|op| {
        if let Op::Read { file: FileId::Segment { kind, .. }, at, len, .. } = &op {
            reads.push((*kind, *at as u32, *len));
            assert!(reads.len() < 20, "{reads:?}");
        }
        match fails {
            Some((at, errno)) if at == reads.len() => {
                Err(IoError { op: "read", path: String::new(), errno, message: String::new() })
            }
            _ => disk.run(&op),
        }
    });
    match output {
        StoreJobOutput::Time(done) => (done, reads),
        other => panic!("{other:?}"),
    }
}

/// The offset that was found, and the segment that is suspected.
fn found(done: &TimeDone) -> (Option<i64>, Option<i64>) {
    (done.result.as_ref().expect("it can be read").map(|found| found.offset), done.suspect)
}

fn corrupt(done: &TimeDone) -> u64 {
    match done.result {
        Err(ReadFailure::Corrupt { at, .. }) => at,
        _ => panic!("{done:?}"),
    }
}

fn block(position: u32) -> u32 {
    position / BLOCK_BYTES as u32 * BLOCK_BYTES as u32
}

/// The window in which a walk begins that has so many bytes of slack.
fn window(at: u32, want: u32, file_end: u32) -> (SegmentFile, u32, u32) {
    let len = (at - block(at) + want).next_multiple_of(BLOCK_BYTES as u32).min(file_end - block(at));
    (SegmentFile::Log, block(at), len)
}

#[test]
fn the_walk_begins_one_time_entry_before_the_one_found() {
    let (times, offsets) = indexed();
    let mut disk = Disk::default();
    let segment = segment(&mut disk, BASE, (40, 0), &times, &offsets);
    let end = segment.source.file_end;
    for (relative, before) in [(20, 0u32), (28, 1)] {
        let (done, reads) = run(&mut disk, read(TimeTarget::AtLeast(timestamp(relative)), vec![segment.clone()]), None);
        assert_eq!(found(&done), (Some(BASE + relative), None));
        let from = (5 + before * 10) * size();
        let pair = (SegmentFile::TimeIndex, before * 12, 24);
        assert_eq!(reads[..2], [(SegmentFile::TimeIndex, 0, 36), pair]);
        assert_eq!(reads[2..], [(SegmentFile::Index, 0, 24), window(from, CHUNK, end)]);
    }
}

#[test]
fn without_a_time_entry_the_offset_that_is_searched_from_leads_to_the_place() {
    let mut disk = Disk::default();
    let segment = segment(&mut disk, BASE, (40, 0), &[], &indexed().1);
    let end = segment.source.file_end;
    let search = TimeRead { from_offset: BASE + 10, ..read(TimeTarget::AtLeast(timestamp(0)), vec![segment.clone()]) };
    let (done, reads) = run(&mut disk, search, None);
    assert_eq!(found(&done), (Some(BASE + 10), None));
    assert_eq!(reads, [(SegmentFile::Index, 0, 24), window(5 * size(), CHUNK, end)]);
    let (done, reads) = run(&mut disk, read(TimeTarget::MaxOf(BASE + 20), vec![segment]), None);
    assert_eq!(found(&done), (Some(BASE + 20), None));
    assert_eq!(reads[1], window(15 * size(), CHUNK, end));
}

#[test]
fn only_records_below_the_limit_are_found() {
    let mut disk = Disk::default();
    let segment = segment(&mut disk, BASE, (40, 0), &[], &[]);
    for (limit_offset, expected) in [(BASE + 20, None), (BASE + 21, Some(BASE + 20))] {
        let search = read(TimeTarget::AtLeast(timestamp(20)), vec![segment.clone()]);
        let (done, _) = run(&mut disk, TimeRead { limit_offset, ..search }, None);
        assert_eq!(found(&done).0, expected);
    }
}

#[test]
fn time_entries_that_do_not_ascend_are_suspect_and_mislead_nobody() {
    let late = timestamp(15);
    for (pair, is_good) in [
        ([(timestamp(5), 5), (late, 15)], true),
        ([(timestamp(5), 15), (late, 15)], false),
        ([(timestamp(5), 16), (late, 15)], false),
        ([(late, 5), (late, 15)], false),
        ([(late + 1, 5), (late, 15)], false),
    ] {
        let mut disk = Disk::default();
        let segment = segment(&mut disk, BASE, (40, 0), &pair, &indexed().1);
        let (done, _) = run(&mut disk, read(TimeTarget::AtLeast(late + 5), vec![segment.clone()]), None);
        assert_eq!(found(&done).0, Some(BASE + 16), "{pair:?}");
        let mut job = TimeJob {
            spec: read(TimeTarget::AtLeast(late), vec![segment]),
            segment: 0,
            at: 0,
            expect: Expect::Base(0),
            suspect: None,
            state: State::Begin,
        };
        let bytes = pair.map(|(timestamp, relative): (i64, u32)| {
            let mut bytes = Vec::new();
            index::put_time(&mut bytes, index::TimeEntry { timestamp, relative_offset: relative });
            bytes
        });
        job.start_from_pair(&bytes.concat());
        assert_eq!(job.suspect.is_none(), is_good, "{pair:?}");
    }
}

#[test]
fn a_time_index_that_goes_away_is_suspect_and_one_that_cannot_be_read_is_a_failure() {
    let (times, offsets) = indexed();
    let mut disk = Disk::default();
    let segment = segment(&mut disk, BASE, (40, 0), &times, &offsets);
    let search = read(TimeTarget::AtLeast(timestamp(20)), vec![segment]);
    let (done, _) = run(&mut disk, search.clone(), Some((2, 2)));
    assert_eq!(found(&done), (Some(BASE + 20), Some(BASE)));
    let (done, _) = run(&mut disk, search, Some((2, 5)));
    assert!(matches!(&done.result, Err(ReadFailure::Io(error)) if error.errno == 5), "{done:?}");
}

#[test]
fn an_entry_behind_the_file_is_not_believed_and_the_tail_is_searched() {
    let mut disk = Disk::default();
    let segment = segment(&mut disk, BASE, (10, 1), &[], &[(9, 9 * size())]);
    let end = segment.source.file_end;
    assert_eq!(end, 9 * size());
    let (done, reads) = run(&mut disk, read(TimeTarget::MaxOf(BASE + 9), vec![segment]), None);
    assert_eq!(found(&done), (Some(BASE + 9), None));
    assert_eq!(reads[1..], [window(0, CHUNK, end)]);
}

#[test]
fn an_offset_entry_that_names_no_batch_is_suspect_and_an_earlier_one_is_taken() {
    let mut disk = Disk::default();
    let mut offsets = indexed().1;
    offsets[1].1 += 8;
    let segment = segment(&mut disk, BASE, (40, 0), &[], &offsets);
    let end = segment.source.file_end;
    let (done, reads) = run(&mut disk, read(TimeTarget::MaxOf(BASE + 20), vec![segment]), None);
    assert_eq!(found(&done), (Some(BASE + 20), Some(BASE)));
    let index = (SegmentFile::Index, 0, 24);
    assert_eq!(reads, [index, window(15 * size() + 8, CHUNK, end), index, window(5 * size(), CHUNK, end)]);
}

#[test]
fn a_long_walk_goes_from_window_to_window() {
    let mut disk = Disk::default();
    let segment = segment(&mut disk, BASE, (400, 0), &[], &[]);
    let end = segment.source.file_end;
    let (done, reads) = run(&mut disk, read(TimeTarget::AtLeast(timestamp(390)), vec![segment]), None);
    assert_eq!(found(&done), (Some(BASE + 390), None));
    let mut expected = vec![window(0, CHUNK, end)];
    while let Some((_, start, len)) = expected.last().copied().filter(|(_, start, len)| start + len < end) {
        let cut = (start + len) / size() * size();
        expected.push(window(cut, CHUNK + BLOCK_BYTES as u32, end));
    }
    assert_eq!(reads, expected);
    assert!(reads.len() > 2);
}

#[test]
fn a_file_that_ends_too_early_is_corrupt_there() {
    let mut disk = Disk::default();
    let mut whole = segment(&mut disk, BASE, (10, 0), &[], &[]);
    let cut = 5 * size() + size() / 2;
    let bytes = disk.file("t-0/00000000000000000100.log").expect("it exists")[..cut as usize].to_vec();
    disk.remove("t-0/00000000000000000100.log");
    put(&mut disk, BASE, SegmentFile::Log, bytes);
    whole.source.index_bytes = 0;
    let (done, reads) = run(&mut disk, read(TimeTarget::AtLeast(timestamp(8)), vec![whole]), None);
    assert_eq!((corrupt(&done), reads.len()), (u64::from(5 * size()), 2));
}

#[test]
fn what_one_segment_does_not_have_is_looked_for_in_the_next() {
    let mut disk = Disk::default();
    let segments = [100, 200, 300].map(|base| segment(&mut disk, base, (5, 0), &[], &[]));
    let (done, reads) = run(&mut disk, read(TimeTarget::AtLeast(timestamp(202)), segments.to_vec()), None);
    assert_eq!((found(&done), reads.len()), ((Some(302), None), 3));
    let (done, _) = run(&mut disk, read(TimeTarget::AtLeast(timestamp(205)), segments.to_vec()), None);
    assert_eq!((found(&done), done.segment), ((None, None), None));
}

#[test]
fn a_damaged_batch_is_told_where_it_lies() {
    let at = 12 * size() as usize;
    for with_good_checksum in [false, true] {
        let mut disk = Disk::default();
        let segment = segment(&mut disk, BASE, (40, 0), &[], &indexed().1);
        let mut bad = batch(BASE + 12, timestamp(12));
        bad[61..].fill(0xFF);
        if with_good_checksum {
            let crc = crc32c::crc32c(&bad[21..]);
            bad[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let path = "t-0/00000000000000000100.log";
        let mut bytes = disk.file(path).expect("it exists").to_vec();
        bytes[at..at + bad.len()].copy_from_slice(&bad);
        put(&mut disk, BASE, SegmentFile::Log, bytes);
        let search = read(TimeTarget::AtLeast(timestamp(12)), vec![segment]);
        let (done, _) = run(&mut disk, TimeRead { from_offset: BASE + 7, ..search }, None);
        assert_eq!(corrupt(&done), at as u64, "good checksum: {with_good_checksum}");
    }
}

/// A batch of two records that nobody can tell apart any more, with a good checksum.
fn unreadable(offset: i64, codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    (0..2).for_each(|n| builder.push(timestamp(offset - BASE + n), None, Some(&[7; 100]), &[]));
    let mut batch = builder.build().to_vec();
    batch[crate::batch::HEADER_BYTES..].fill(0xA5);
    let crc = crate::batch::crc_of(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    patch(&mut batch, offset, 3);
    batch
}

#[test]
fn a_compressed_batch_that_nobody_can_read_is_found_by_its_header() {
    let mut disk = Disk::default();
    let mut segment = segment(&mut disk, BASE, (1, 0), &[], &[]);
    let mut with = |codec| {
        segment.source.tail = [unreadable(BASE + 1, codec), batch(BASE + 3, timestamp(3))].concat().into();
        read(TimeTarget::AtLeast(timestamp(2)), vec![segment.clone()])
    };
    let packed = with(Codec::Zstd);
    let (done, _) = run(&mut disk, packed.clone(), None);
    let expected = TimestampOffset { offset: BASE + 1, timestamp_ms: timestamp(2) };
    assert!(matches!(done.result, Ok(Some(found)) if found == expected), "{done:?}");
    let (done, _) = run(&mut disk, TimeRead { from_offset: BASE + 2, ..packed.clone() }, None);
    assert_eq!(found(&done).0, Some(BASE + 2));
    let later = TimeRead { target: TimeTarget::AtLeast(timestamp(3)), ..packed.clone() };
    assert_eq!(found(&run(&mut disk, later, None).0).0, Some(BASE + 3));
    let (done, _) = run(&mut disk, TimeRead { target: TimeTarget::MaxOf(BASE + 2), ..packed }, None);
    assert_eq!(found(&done).0, Some(BASE + 1));
    let (done, _) = run(&mut disk, with(Codec::None), None);
    assert_eq!(corrupt(&done), u64::from(size()), "nobody lets in a plain one like this");
}
