//! The parts of a start, each for itself: what a scan finds in segments of every shape, what counts as records that nobody
//! claims, and what is refused.

use super::meta::{BOOT_FILES, BootFile, BootMeta};
use super::scan::partition_of;
use super::*;
use crate::batch::patch;
use crate::io::VolumeSpace;
use crate::store::jobs::{metadata_file, metadata_text};
use crate::store::segment::{Phase, block_floor};
use crate::store::tests::disk::Disk;
use crate::store::tests::world::{World, batch_of, boot, run_all, small_config, small_limits};
use crate::store::{Store, StoreLimits};
use coretide_model::TopicId;

const TOPIC: TopicId = TopicId(5);
const DIR: &str = "topic-3";
/// What the scan reads at once.
const CHUNK: usize = 1 << 20;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TOPIC, partition }
}

fn put(disk: &mut Disk, file: FileId, bytes: Vec<u8>) {
    let op = Op::Write { file, at: 0, bytes: bytes.into(), direct: false, durability: Durability::Durable };
    disk.run(&op).expect("the disk is good");
}

/// Batches of these sizes, one record each, from an offset on.
fn segment(base_offset: i64, sizes: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, size) in sizes.iter().enumerate() {
        let at = bytes.len();
        bytes.extend_from_slice(batch_of(*size).bytes());
        patch(&mut bytes[at..], base_offset + n as i64, 4);
    }
    bytes
}

struct Scanned {
    log: Log,
    notes: Vec<String>,
    /// Reads of segments, and their bytes.
    reads: usize,
    bytes: u64,
}

/// What a scan makes of a folder with these segments.
fn scan(segments: &[(i64, Vec<u8>)]) -> Scanned {
    let (mut disk, dir): (Disk, Arc<str>) = (Disk::default(), Arc::from(DIR));
    disk.run(&Op::MakeDir { dir: Arc::clone(&dir) }).expect("the disk is good");
    put(&mut disk, metadata_file(&dir), metadata_text(TOPIC).to_vec());
    for (base_offset, bytes) in segments {
        put(&mut disk, crate::store::segment_file(&dir, *base_offset), bytes.clone());
    }
    let (mut scan, mut results) = (Scan::new(BTreeSet::new()), Vec::new());
    let (mut reads, before) = (0, disk.bytes_read);
    for _ in 0..200 {
        match scan.step(results).expect("the disk is good") {
            Step::Do(ops) => {
                reads += ops.iter().filter(|op| matches!(op, Op::Read { .. })).count();
                results = run_all(&mut disk, &ops);
            }
            Step::Done(mut found) => {
                let log = found.pop().expect("the folder is a partition's");
                assert!(found.is_empty() && log.tp == tp(3));
                let metadata = metadata_text(TOPIC).len() as u64;
                return Scanned {
                    log,
                    notes: scan.notes,
                    reads: reads - 1,
                    bytes: disk.bytes_read - before - metadata,
                };
            }
        }
    }
    panic!("the scan does not end");
}

impl Scanned {
    /// The last segment holds what `file` does up to `end`, and what no whole block of it does is in memory.
    fn ends(&self, file: &[u8], end: usize, next_offset: i64) {
        let open = self.log.open();
        assert_eq!((open.end as usize, open.next_offset), (end, next_offset));
        assert_eq!(open.destaged, block_floor(open.end));
        assert!(open.created && open.phase == Phase::Open && self.log.announced);
        assert_eq!((self.log.end_offset, self.log.committed_end), (next_offset, next_offset));
        let runs = self.log.runs.iter().filter(|run| run.segment == open.base_offset);
        let mut at = open.destaged;
        for run in runs {
            assert_eq!(run.position, at);
            assert!(*run.bytes == file[at as usize..run.end() as usize], "other bytes at {at}");
            at = run.end();
        }
        assert_eq!(at as usize, end, "what is in memory reaches the end");
    }
}

#[test]
fn a_small_segment_is_read_once() {
    let file = segment(100, &[700, 900, 5000]);
    let found = scan(&[(100, file.clone())]);
    found.ends(&file, 6600, 103);
    assert_eq!((found.reads, found.bytes), (1, 6600));
    assert_eq!((found.log.log_start, found.notes.len()), (100, 0));
    let file = segment(0, &[700]);
    scan(&[(0, file.clone())]).ends(&file, 700, 1);
    let whole = segment(0, &[4000, 4192]);
    let found = scan(&[(0, whole.clone())]);
    found.ends(&whole, 8192, 2);
    assert!(found.log.runs.is_empty(), "whole blocks need no memory");
}

#[test]
fn a_large_segment_is_read_in_pieces_and_each_once() {
    let sizes = [9001; 300];
    let file = segment(0, &sizes);
    let found = scan(&[(0, file.clone())]);
    found.ends(&file, 300 * 9001, 300);
    assert_eq!(found.reads, 3);
    assert!(found.bytes < file.len() as u64 + 3 * 9001, "only cut batches are read twice: {}", found.bytes);
    let positions: Vec<u32> = found.log.open().index.pending.iter().map(|entry| entry.position).collect();
    assert!(positions.len() > 200 && positions.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_batch_larger_than_a_piece_is_read_whole() {
    for sizes in [vec![1000, 1_600_000, 1000], vec![1_600_000], vec![1_600_000, 1_700_000, 50_000]] {
        let file = segment(7, &sizes);
        scan(&[(7, file.clone())]).ends(&file, file.len(), 7 + sizes.len() as i64);
    }
}

#[test]
fn a_scan_ends_before_what_is_damaged() {
    let file = segment(0, &[9001; 300]);
    // The 116th is cut by the end of the first piece: the second begins with it, and its block's front lies in the first.
    for (broken, reads) in [(0, 1), (1, 1), (50, 1), (115, 1), (116, 3), (117, 2), (200, 2), (299, 3)] {
        let mut damaged = file.clone();
        damaged[broken * 9001 + 500] ^= 1;
        let found = scan(&[(0, damaged.clone())]);
        found.ends(&damaged, broken * 9001, broken as i64);
        assert_eq!(found.reads, reads, "batch {broken}: it does not read on");
    }
    // An offset that was there before is no next batch.
    let mut twice = segment(0, &[500, 600]);
    twice.extend_from_slice(&segment(1, &[700]));
    scan(&[(0, twice.clone())]).ends(&twice, 1100, 2);
}

#[test]
fn the_front_of_the_last_block_may_lie_in_the_piece_before() {
    let front = CHUNK - 8 * 9001;
    let filled =
        |sizes: &[usize]| segment(0, &[vec![9001; 8], vec![front - 500_000, 500_000], sizes.to_vec()].concat());
    // The last batch ends with the piece.
    let file = filled(&[]);
    scan(&[(0, file.clone())]).ends(&file, CHUNK, 10);
    // It ends a thousand bytes before, and a batch that is cut off follows.
    let sizes = [vec![9001; 8], vec![front - 501_000, 500_000, 5000]].concat();
    let file = segment(0, &sizes);
    let cut = &file[..CHUNK + 2000];
    let found = scan(&[(0, cut.to_vec())]);
    found.ends(cut, CHUNK - 1000, 10);
    assert_eq!(found.log.runs.iter().map(|run| run.bytes.len()).sum::<usize>(), 3096);
    // The same with a batch that is whole and ends in the next block, and in the same.
    for last in [1500, 400] {
        let sizes = [vec![9001; 8], vec![front - 501_000, 500_000, last]].concat();
        let file = segment(0, &sizes);
        scan(&[(0, file.clone())]).ends(&file, CHUNK - 1000 + last, 11);
    }
}

#[test]
fn space_that_was_taken_ahead_is_no_record() {
    for sizes in [vec![700, 900, 5000], vec![4000, 4192], vec![]] {
        let mut file = segment(0, &sizes);
        let end = file.len();
        file.resize(2 * CHUNK + 4096, 0);
        let found = scan(&[(0, file.clone())]);
        found.ends(&file, end, sizes.len() as i64);
        assert!(found.reads <= 3, "zeros are not read to their end: {} reads", found.reads);
    }
}

#[test]
fn segments_follow_each_other_and_a_gap_is_told() {
    let (first, second) = (segment(10, &[700; 5]), segment(15, &[900; 5]));
    let found = scan(&[(10, first.clone()), (15, second.clone())]);
    found.ends(&second, 4500, 20);
    assert_eq!((found.log.segments.len(), found.log.segments[0].phase), (2, Phase::Closing));
    assert!(found.log.log_start == 10 && found.notes.is_empty());
    let third = segment(30, &[100]);
    let found = scan(&[(10, first), (15, second), (30, third.clone())]);
    found.ends(&third, 100, 31);
    assert!(
        matches!(&found.notes[..], [note] if note.contains("10 records from offset 20 to 30")),
        "{:?}",
        found.notes
    );
}

#[test]
fn a_partition_s_folder_is_told_by_its_name() {
    let names = ["topic-7", "a-b-12", "t.u-0", "topic", "-3", ".hidden-3", "topic-", "topic-x", "topic-1.id-delete"];
    let wanted = [Some(7), Some(12), Some(0), None, None, None, None, None, None];
    assert_eq!(names.map(partition_of), wanted);
}

#[test]
fn a_boot_file_that_was_never_written_is_empty_and_not_damaged() {
    let meta = BootMeta { generation: 3, shards: 2, random: 9 };
    let good = meta.encode();
    assert_eq!(BootMeta::decode(&good), Ok(BootFile::Good { meta, marred: false }));
    for empty in [0, 1, 80, 4096, 8192] {
        assert_eq!(BootMeta::decode(&vec![0; empty]), Ok(BootFile::Empty), "{empty} zeros");
    }
    let mut marred = good.to_vec();
    marred[20] ^= 1;
    assert_eq!(BootMeta::decode(&marred), Ok(BootFile::Good { meta, marred: true }));
    marred[4096 + 20] ^= 1;
    assert_eq!(BootMeta::decode(&marred), Ok(BootFile::Damaged));
    assert_eq!(BOOT_FILES.len(), 2);
}

#[test]
fn a_refusal_names_five_places_and_counts_all() {
    let text = |places: &[&str]| BootError::orphaned(places.iter().copied(), "it").to_string();
    assert!(text(&["a-0", "b-0"]).contains("(a-0, b-0; 2 in all)"));
    assert!(text(&["a", "b", "c", "d", "e"]).contains("(a, b, c, d, e; 5 in all)"));
    assert!(text(&["a", "b", "c", "d", "e", "f"]).contains("(a, b, c, d, e, ...; 6 in all)"));
}

#[test]
fn logs_need_the_one_that_says_what_they_are() {
    let config =
        |vital| BootConfig { shards: 1, owner: Arc::new(|_, _| 0), random: 1, limits: StoreLimits::default(), vital };
    let demand = |vital: Option<TopicPartition>, logs: &[(i32, i64)]| {
        let mut boot = Boot::new(config(vital));
        for &(partition, end_offset) in logs {
            let mut log = Log::new(tp(partition), Arc::from(format!("t-{partition}")), 0);
            log.end_offset = end_offset;
            boot.replay.logs.insert(tp(partition), log);
        }
        boot.demand_vital()
    };
    let vital = Some(tp(0));
    assert_eq!(demand(None, &[(1, 5)]), Ok(()));
    assert_eq!(demand(vital, &[]), Ok(()), "a new directory");
    assert_eq!(demand(vital, &[(0, 0)]), Ok(()), "nothing is there but it");
    assert_eq!(demand(vital, &[(0, 1), (1, 5)]), Ok(()));
    for logs in [&[(1, 5)][..], &[(0, 0), (1, 5)]] {
        let error = demand(vital, logs).expect_err("nobody would claim the other").to_string();
        assert!(error.contains("(t-1; 1 in all)"), "{error}");
    }
}

#[test]
fn a_file_with_a_folder_s_name_holds_no_records_and_a_folder_that_cannot_be_read_stops_the_start() {
    let names = |names: &[&str]| vec![Ok(OpOk::Names(names.iter().map(|name| name.to_string()).collect()))];
    let failed = |errno| vec![Err(IoError { op: "list", path: "t-1".into(), errno, message: String::new() })];
    let asked = || {
        let mut orphans = Orphans::new(std::iter::empty());
        assert!(matches!(orphans.step(Vec::new()), Ok(Step::Do(ops)) if matches!(&ops[..], [Op::List { .. }])));
        assert!(matches!(orphans.step(names(&["t-1"])), Ok(Step::Do(ops)) if matches!(&ops[..], [Op::List { .. }])));
        orphans
    };
    for errno in [20, 2] {
        assert!(matches!(asked().step(failed(errno)), Ok(Step::Done(found)) if found.is_empty()));
    }
    assert!(matches!(asked().step(failed(5)), Err(BootError::Io(_))));
    assert!(matches!(asked().step(names(&["x"])), Ok(Step::Done(found)) if found.is_empty()));
    assert!(matches!(asked().step(names(&["0.log"])), Ok(Step::Done(found)) if found == ["t-1"]));
    let other = vec![Ok(OpOk::Volume(VolumeSpace { total_bytes: 1, free_bytes: 1 }))];
    assert!(matches!(asked().step(other), Ok(Step::Done(found)) if found.is_empty()));
}

/// What a start makes of a disk with one log on it, and what it leaves there.
fn started(disk: &mut Disk, shards: u16, owner: u16, journal_file_bytes: u64) -> BootReport {
    let limits = StoreLimits { journal_file_bytes, ..small_limits() };
    let owner = Arc::new(move |_: TopicPartition, _: u16| owner);
    boot(disk, BootConfig { shards, owner, random: 7, limits, vital: None })
}

fn journals(disk: &Disk) -> Vec<(String, usize)> {
    let paths = disk.paths().into_iter().filter(|path| path.contains("journal-"));
    paths.map(|path| (path.clone(), disk.file(&path).expect("listed").len())).collect()
}

#[test]
fn a_log_whose_owner_there_is_not_goes_to_the_last_shard() {
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    world.append(log, 300, Durability::Durable);
    world.settle();
    world.kill();
    let report = started(&mut world.disk, 3, 99, 128 << 10);
    assert_eq!(report.shards.iter().map(|shard| shard.logs.len()).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn a_start_keeps_journal_files_of_the_right_size_and_no_others() {
    let mut world = World::new(1, small_limits(), small_config());
    world.settle();
    world.kill();
    let before = journals(&world.disk);
    let report = started(&mut world.disk, 1, 0, 128 << 10);
    assert_eq!(journals(&world.disk), before);
    assert_eq!(report.shards[0].files.len(), before.len());
    let report = started(&mut world.disk, 1, 0, 256 << 10);
    let (store, _) = Store::open(report.shards.into_iter().next().expect("one"), small_limits());
    world.store = store;
    world.settle();
    assert_eq!(journals(&world.disk).iter().map(|(_, len)| *len).collect::<Vec<_>>(), [256 << 10]);
}

#[test]
fn a_start_writes_over_the_older_of_the_two_boot_files() {
    let mut disk = Disk::default();
    let mut last = None;
    for _ in 0..5 {
        let before = BOOT_FILES.map(|path| disk.file(path).map(<[u8]>::to_vec));
        started(&mut disk, 1, 0, 128 << 10);
        disk.kill();
        let changed: Vec<usize> =
            (0..2).filter(|&slot| disk.file(BOOT_FILES[slot]).map(<[u8]>::to_vec) != before[slot]).collect();
        assert_eq!(changed.len(), 1);
        assert_ne!(changed, last.unwrap_or_default());
        last = Some(changed);
    }
}

#[test]
fn a_start_removes_nothing_before_what_tells_it_to_is_durable() {
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    for _ in 0..20 {
        world.append(log, 9000, Durability::Durable);
        world.settle();
    }
    let model = &world.logs[&log];
    let (key, end) = (model.key, model.end());
    world.store.set_log_start(key, world.now, end);
    world.tick();
    world.write();
    world.kill();
    let owner = Arc::new(|_: TopicPartition, _: u16| 0);
    let mut start = Boot::new(BootConfig { shards: 1, owner, random: 7, limits: small_limits(), vital: None });
    let (mut results, mut kept, mut removed) = (Vec::new(), 0, 0);
    while let Step::Do(ops) = start.step(results) {
        for op in &ops {
            match op {
                Op::Sync { file: FileId::Journal { .. } } => kept += 1,
                Op::Remove { .. } | Op::RenameDir { .. } => {
                    assert_eq!(kept, journals(&world.disk).len(), "{op:?}");
                    removed += 1;
                }
                _ => {}
            }
        }
        results = run_all(&mut world.disk, &ops);
    }
    assert!(removed > 0);
}

#[test]
fn what_was_replayed_is_destaged_when_it_is_too_much_for_memory() {
    for (bytes, is_destaged) in [(64 << 20, false), ((64 << 20) + 1, true)] {
        let limits = small_limits();
        let owner = Arc::new(|_: TopicPartition, _: u16| 0);
        let mut boot = Boot::new(BootConfig { shards: 1, owner, random: 7, limits, vital: None });
        let mut log = Log::new(tp(0), Arc::from(DIR), 0);
        log.open_mut().end = bytes as u32;
        boot.replay.logs.insert(tp(0), log);
        let writer = crate::store::format::CommitWriter::new(coretide_stdx::aligned::AlignedBuf::with_capacity(4096));
        let chain = crate::store::format::Chain { journal_id: 1, seq: 1, previous_crc: 0 };
        let (_, header) = writer.finish(chain, true);
        boot.shard.heads = vec![(3, header)];
        boot.shard.expected = Some(chain);
        // A file that holds nothing leads to the next one.
        let next = boot.headless(9, vec![Ok(OpOk::Data(Bytes::new()))]).expect("nothing is damaged");
        assert_eq!(matches!(next, Next::Go(_)), is_destaged, "{bytes} bytes");
    }
}

#[test]
fn a_scan_tells_of_producers_and_of_the_first_batch_of_each_epoch() {
    let mut bytes = Vec::new();
    for (n, (producer, epoch)) in [(-1, 4), (-1, 4), (7, 4), (-1, 4), (-1, 5)].into_iter().enumerate() {
        let mut builder = crate::builder::BatchBuilder::new(crate::codec::Compression::default());
        if producer >= 0 {
            builder = builder.producer(producer, 0, 0);
        }
        builder.push(1000, None, Some(b"value"), &[]);
        let at = bytes.len();
        bytes.extend_from_slice(&builder.build());
        patch(&mut bytes[at..], n as i64, epoch);
    }
    let found = scan(&[(0, bytes)]);
    let told: Vec<i64> = found.log.replay.iter().map(|summary| summary.base_offset).collect();
    assert_eq!(told, [0, 2, 4]);
}
