//! The store's own jobs, each for itself: what they ask of the disk, and what they make of failures.

use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicId;
use coretide_stdx::aligned::BufPool;

use super::disk::Disk;
use super::world::batch_of;
use crate::batch::patch;
use crate::io::{Durability, FileId, IoError, Job, Op, OpOk, OpResult, SegmentFile};
use crate::store::StoreJob;
use crate::store::jobs::{
    AsideJob, DestageJob, IndexJob, IndexSpec, IndexWrite, OwnDone, OwnOk, PrepareSpec, RemoveJob, RemoveSpec,
    StoreJobOutput, index_file_ops, metadata_file, metadata_text,
};

const TOPIC: TopicId = TopicId(1);
const OTHER: TopicId = TopicId(2);
const SIZE: usize = 1000;

fn dir() -> Arc<str> {
    Arc::from("t-0")
}

fn segment_file(kind: SegmentFile) -> FileId {
    FileId::Segment { dir: dir(), base_offset: 0, kind }
}

fn put(disk: &mut Disk, file: FileId, bytes: Bytes) {
    let op = Op::Write { file, at: 0, bytes, direct: false, durability: Durability::Durable };
    disk.run(&op).expect("the disk is good");
}

fn failure(errno: i32) -> OpResult {
    Err(IoError { op: "any", path: String::new(), errno, message: String::new() })
}

/// Runs a job; what an operation comes to may be changed. Yields what it asked for, too.
fn run(disk: &mut Disk, job: StoreJob, change: impl Fn(&Op, OpResult) -> OpResult) -> (OwnDone, Vec<Op>) {
    let mut ops = Vec::new();
    let output = job.run(|op| {
        assert!(ops.len() < 50, "it does not end: {op:?}");
        let result = disk.run(&op);
        let result = change(&op, result);
        ops.push(op);
        result
    });
    match output {
        StoreJobOutput::Own(done) => (done, ops),
        other => panic!("{other:?}"),
    }
}

fn ten_batches() -> Vec<u8> {
    let mut bytes = Vec::new();
    for offset in 0..10 {
        let at = bytes.len();
        bytes.extend_from_slice(batch_of(SIZE).bytes());
        patch(&mut bytes[at..], offset, 3);
    }
    bytes
}

#[test]
fn an_index_is_made_of_the_file_however_it_comes_and_of_what_memory_has_behind_it() {
    let bytes = ten_batches();
    for short_reads in [false, true] {
        let mut disk = Disk::default();
        put(&mut disk, segment_file(SegmentFile::Log), Bytes::from([&bytes[..8 * SIZE], &[0; 500]].concat()));
        let tail = bytes[8 * SIZE..].chunks(SIZE).map(Bytes::copy_from_slice).collect();
        let spec = IndexSpec {
            dir: dir(),
            segment: 0,
            file_end: 8 * SIZE as u32,
            tail,
            end: 10 * SIZE as u32,
            next_offset: 10,
            interval_bytes: 1024,
            limit: u32::MAX,
            complete: true,
        };
        let (done, ops) = run(&mut disk, StoreJob::index(IndexJob::new(spec)), |_, result| match result {
            Ok(OpOk::Data(bytes)) if short_reads => Ok(OpOk::Data(bytes.slice(..bytes.len().div_ceil(2)))),
            other => other,
        });
        let last_timestamp = Some(1_700_000_000_000);
        assert_eq!(done, Ok(OwnOk::Index { index_bytes: 4 * 8, time_bytes: 12, last_timestamp }));
        let reads: Vec<u64> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Read { at, len, .. } => Some(at + u64::from(*len)),
                _ => None,
            })
            .collect();
        assert!(reads.iter().all(|end| *end == 8 * SIZE as u64), "up to the end of what counts: {reads:?}");
        assert_eq!(reads.len() == 1, !short_reads, "{reads:?}");
    }
}

#[test]
fn an_index_of_a_file_that_is_cut_off_comes_to_an_end() {
    let mut disk = Disk::default();
    put(&mut disk, segment_file(SegmentFile::Log), Bytes::from(ten_batches()[..4500].to_vec()));
    let spec = IndexSpec {
        dir: dir(),
        segment: 0,
        file_end: 10 * SIZE as u32,
        tail: Vec::new(),
        end: 10 * SIZE as u32,
        next_offset: 10,
        interval_bytes: 1024,
        limit: u32::MAX,
        complete: false,
    };
    let (done, _) = run(&mut disk, StoreJob::index(IndexJob::new(spec)), |_, result| result);
    assert!(matches!(done, Ok(OwnOk::Index { index_bytes: 8, .. })), "{done:?}");
}

#[test]
fn nothing_is_written_of_an_empty_index() {
    let ops = index_file_ops(&dir(), 0, Bytes::new(), Bytes::from_static(b"123456789012"));
    let written = ops.iter().filter(|op| matches!(op, Op::Write { .. })).count();
    assert_eq!(written, 1);
}

fn destage(check_dir: bool) -> DestageJob {
    let prepare = PrepareSpec { topic_id: TOPIC, check_dir, new_file: false, allocate: None };
    let pieces = [3000, 3000].map(|len| Bytes::from(vec![7; len])).to_vec();
    DestageJob::new(dir(), 0, prepare, 0, pieces, BufPool::new(4096, 1))
}

#[test]
fn a_destage_holds_as_much_as_its_buffers_have() {
    assert_eq!(destage(false).keep(1 << 20), 2 * 4096);
    assert_eq!(destage(false).keep(4 * 4096), 4096);
}

#[test]
fn a_destage_into_a_folder_that_cannot_be_looked_at_or_claimed_has_failed() {
    let claims = |op: &Op| matches!(op, Op::RenameDir { .. });
    let asks = |op: &Op| matches!(op, Op::Read { .. });
    for is_it in [claims as fn(&Op) -> bool, asks] {
        let job = StoreJob::destage(destage(true));
        let (done, ops) = run(&mut Disk::default(), job, |op, result| if is_it(op) { failure(5) } else { result });
        assert!(matches!(&done, Err(error) if error.errno == 5), "{done:?}");
        assert!(is_it(ops.last().expect("some")), "nothing follows: {ops:?}");
    }
}

#[test]
fn a_folder_is_synced_when_it_gets_an_index_file() {
    for (index_at, time_at, is_synced) in [(0, 0, true), (8, 0, true), (0, 12, true), (8, 12, false)] {
        let mut disk = Disk::default();
        for kind in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
            put(&mut disk, segment_file(kind), Bytes::from(vec![0; 12]));
        }
        let (index, times) = (Bytes::from_static(b"12345678"), Bytes::from_static(b"123456789012"));
        let job = destage(false).with_index(Some(IndexWrite { index_at, index, time_at, times }));
        let (done, ops) = run(&mut disk, StoreJob::destage(job), |_, result| result);
        assert!(done.is_ok(), "{done:?}");
        let synced = ops.iter().any(|op| matches!(op, Op::SyncDir { dir } if **dir == *"t-0"));
        assert_eq!(synced, is_synced, "{index_at} and {time_at}");
    }
}

fn removal(of_segment: bool) -> RemoveJob {
    RemoveJob::new(match of_segment {
        true => RemoveSpec::Segment { dir: dir(), topic_id: TOPIC, base_offset: 0 },
        false => RemoveSpec::Log { dir: dir(), topic_id: TOPIC },
    })
}

/// A folder of this topic with a segment.
fn folder_of(topic_id: TopicId) -> Disk {
    let mut disk = Disk::default();
    put(&mut disk, metadata_file(&dir()), metadata_text(topic_id));
    put(&mut disk, segment_file(SegmentFile::Log), Bytes::from_static(b"x"));
    disk
}

#[test]
fn only_what_is_the_topic_s_own_is_removed() {
    for of_segment in [true, false] {
        for (owner, is_left) in [(TOPIC, false), (OTHER, true)] {
            let mut disk = folder_of(owner);
            let (done, _) = run(&mut disk, StoreJob::remove(removal(of_segment)), |_, result| result);
            assert_eq!(done, Ok(OwnOk::Done));
            assert_eq!(disk.file("t-0/00000000000000000000.log").is_some(), is_left, "{owner}, segment {of_segment}");
        }
    }
    let segment = RemoveSpec::Segment { dir: dir(), topic_id: TOPIC, base_offset: 0 };
    assert!(segment.is_segment_of("t-0", TOPIC));
    assert!(!segment.is_segment_of("t-1", TOPIC) && !segment.is_segment_of("t-0", OTHER));
    assert!(!RemoveSpec::Log { dir: dir(), topic_id: TOPIC }.is_segment_of("t-0", TOPIC));
}

#[test]
fn what_is_gone_already_needs_no_removal_and_what_cannot_be_removed_is_told() {
    for of_segment in [true, false] {
        let (done, _) = run(&mut Disk::default(), StoreJob::remove(removal(of_segment)), |_, result| result);
        assert_eq!(done, Ok(OwnOk::Done), "there is no folder");
        for (errno, is_told) in [(2, false), (5, true)] {
            let fails = |op: &Op, result| match op {
                Op::Remove { .. } | Op::RemoveDir { .. } => failure(errno),
                _ => result,
            };
            let (done, _) = run(&mut folder_of(TOPIC), StoreJob::remove(removal(of_segment)), fails);
            assert_eq!(done.is_err(), is_told, "{done:?}");
        }
        let fails = |op: &Op, result| if matches!(op, Op::Read { .. }) { failure(5) } else { result };
        let (done, _) = run(&mut folder_of(TOPIC), StoreJob::remove(removal(of_segment)), fails);
        assert!(done.is_err(), "whose folder it is cannot be read");
    }
}

#[test]
fn a_log_whose_folder_was_never_made_is_set_aside_in_one() {
    let mut disk = Disk::default();
    let (done, _) = run(&mut disk, StoreJob::aside(AsideJob::new(dir(), TOPIC, Vec::new())), |_, result| result);
    assert_eq!(done, Ok(OwnOk::Done));
    assert!(disk.paths()[0].starts_with("t-0.") && disk.paths()[0].contains("-stray/"), "{:?}", disk.paths());
}
