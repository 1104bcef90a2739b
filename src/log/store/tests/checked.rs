//! What a check finds of one log and of whole directories, and what it repairs.

use super::checks::newest;
use super::disk::Disk;
use super::world::{World, boot, boot_config, check_disk, run_check, small_config, small_limits, try_boot};
use crate::io::Durability::Durable;
use crate::io::{FileId, IoError, Job, Op, OpOk, OpResult, SegmentFile};
use crate::store::{BootError, Check, CheckConfig, CheckError, CheckReport, Finding, LogConfig, Severity};

const LOG: &str = "topic1-0/00000000000000000000.log";

/// A log with closed segments and an open one.
fn running() -> World {
    running_with(0)
}

/// The same, with records so many milliseconds apart.
fn running_with(apart_ms: i64) -> World {
    let mut world = World::new(3, small_limits(), LogConfig { index_interval_bytes: 8192, ..small_config() });
    let log = world.create();
    for n in 0..70 {
        world.append_at(log, 3000, Durable, 1_700_000_000_000 + n * apart_ms);
        world.settle();
    }
    world
}

/// The same, killed, so that the journal has the end of it.
fn filled() -> World {
    let mut world = running();
    world.kill();
    world
}

fn told(report: &CheckReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity != Severity::Note).collect()
}

/// Checks with an executor that may change what an operation comes to.
fn check_with(disk: &mut Disk, change: impl Fn(&Op, OpResult) -> OpResult) -> Result<CheckReport, CheckError> {
    let mut steps = 0;
    Check::new(CheckConfig::default()).run(|op| {
        steps += 1;
        assert!(steps < 10_000, "it does not end: {op:?}");
        let result = disk.run(&op);
        change(&op, result)
    })
}

fn failure() -> OpResult {
    Err(IoError { op: "any", path: String::new(), errno: 5, message: String::new() })
}

fn is_log(op: &Op) -> bool {
    let file = match op {
        Op::Read { file, .. } | Op::Len { file } => file,
        _ => return false,
    };
    matches!(file, FileId::Segment { kind: SegmentFile::Log, .. })
}

#[test]
fn a_whole_log_is_counted() {
    let mut world = filled();
    let model = world.logs[&1].clone();
    for short_reads in [false, true] {
        let report = check_with(&mut world.disk, |op, result| match result {
            Ok(OpOk::Data(bytes)) if short_reads && is_log(op) => {
                Ok(OpOk::Data(bytes.slice(..bytes.len().div_ceil(2))))
            }
            other => other,
        });
        let report = report.expect("it can be read");
        assert_eq!(report.findings, [], "short reads: {short_reads}");
        let [seen] = report.logs.as_slice() else { panic!("{:?}", report.logs) };
        assert_eq!((seen.batches, seen.records as i64, seen.lost_offsets), (70, model.end(), 0));
        let bytes: usize = model.batches.iter().map(|batch| batch.bytes.len()).sum();
        assert!(report.bytes_read > bytes as u64 / 2, "{} bytes were read", report.bytes_read);
    }
}

#[test]
fn what_cannot_be_asked_of_the_disk_ends_the_check() {
    let mut world = filled();
    type Is = fn(&Op) -> bool;
    let length: Is = |op| matches!(op, Op::Len { .. }) && is_log(op);
    let list: Is = |op| matches!(op, Op::List { dir } if **dir == *"topic1-0");
    let index: Is = |op| matches!(op, Op::Read { file: FileId::Segment { kind: SegmentFile::Index, .. }, .. });
    for is_it in [length, list, index] {
        let report = check_with(&mut world.disk, |op, result| if is_it(op) { failure() } else { result });
        assert!(matches!(&report, Err(CheckError::Io(error)) if error.errno == 5), "{report:?}");
    }
}

#[test]
fn a_damaged_batch_is_a_loss_of_its_offsets_and_says_nothing_of_the_index() {
    let mut world = filled();
    let model = world.logs[&1].clone();
    let position: usize = model.batches[..6].iter().map(|batch| batch.bytes.len()).sum();
    world.disk.flip(LOG, position + 1000, 1);
    let report = check_disk(&mut world.disk, true);
    let (from, to) = (model.batches[6].base_offset, model.batches[7].base_offset);
    let [loss] = told(&report)[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((loss.severity, loss.at), (Severity::Loss, Some(position as u64)));
    assert!(loss.what.contains(&format!("offsets {from} to {} cannot be read", to - 1)), "{loss:?}");
    assert_eq!(report.logs[0].lost_offsets as i64, to - from);
}

#[test]
fn a_file_that_is_cut_off_ends_there() {
    let mut world = filled();
    let file = FileId::Segment { dir: "topic1-0".into(), base_offset: 0, kind: SegmentFile::Log };
    world.disk.run(&Op::Truncate { file, len: 10_000 }).expect("the disk is good");
    let report = check_with(&mut world.disk, |_, result| result).expect("it can be read");
    assert!(
        told(&report).iter().any(|finding| finding.path == LOG && finding.severity == Severity::Loss),
        "{report:#?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_lost_and_the_check_goes_on() {
    let mut world = filled();
    let report = check_with(&mut world.disk, |op, result| match op {
        Op::Read { .. } if is_log(op) => failure(),
        _ => result,
    });
    let report = report.expect("the rest can be read");
    assert!(
        told(&report).iter().any(|finding| finding.path == LOG && finding.remedy == "replace the disk"),
        "{report:#?}"
    );
    assert_eq!(report.logs.len(), 1);
}

/// Of an open segment a stop may have written one more time entry than its index has when it is made anew.
#[test]
fn index_files_are_repaired_only_when_that_is_asked_for() {
    for (apart_ms, with_open) in [(0, true), (1000, false)] {
        let mut world = running_with(apart_ms);
        world.stop();
        world.kill();
        let mut paths: Vec<String> = world.disk.paths().into_iter().filter(|path| path.ends_with(".index")).collect();
        assert_eq!(paths.len(), 3, "{paths:?}");
        paths.truncate(if with_open { 3 } else { 2 });
        let all: Vec<String> = world.disk.paths().into_iter().filter(|path| path.ends_with("index")).collect();
        let content =
            |disk: &Disk| all.iter().map(|path| disk.file(path).expect("listed").to_vec()).collect::<Vec<_>>();
        let before = content(&world.disk);
        paths.iter().for_each(|path| world.disk.flip(path, 7, 0x55));
        let spoilt = content(&world.disk);
        let report = check_disk(&mut world.disk, false);
        assert_eq!(told(&report).len(), paths.len(), "{:#?}", report.findings);
        assert!(report.findings.iter().all(|finding| !finding.repaired) && content(&world.disk) == spoilt);
        let report = check_disk(&mut world.disk, true);
        assert!(told(&report).iter().all(|finding| finding.repaired), "{:#?}", report.findings);
        assert!(content(&world.disk) == before, "records {apart_ms} ms apart");
    }
}

#[test]
fn the_folder_s_owner_is_looked_at_and_written_anew() {
    let mut world = filled();
    world.disk.remove("topic1-0/partition.metadata");
    // Told before it.
    let slot = if world.disk.file(".coretide/shard-0/checkpoint-1").is_some() { 1 } else { 0 };
    assert!(world.disk.file(&format!(".coretide/shard-0/checkpoint-{slot}")).is_some());
    let report = check_disk(&mut world.disk, false);
    let [owner] = told(&report)[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((owner.severity, owner.path.as_str()), (Severity::Mendable, "topic1-0/partition.metadata"));
    let report = check_disk(&mut world.disk, true);
    assert!(told(&report)[0].repaired, "{:#?}", report.findings);
    assert_eq!(check_disk(&mut world.disk, false).findings, []);
}

#[test]
fn a_log_without_files_is_not_looked_for() {
    let mut world = World::new(4, small_limits(), small_config());
    let log = world.create();
    world.append(log, 300, Durable);
    world.settle();
    world.kill();
    let report = check_with(&mut world.disk, |op, result| {
        assert!(!is_log(op), "{op:?}");
        result
    });
    let report = report.expect("it can be read");
    assert_eq!((report.findings.as_slice(), report.logs[0].batches), ([].as_slice(), 1));
}

#[test]
fn segments_and_folders_that_nobody_knows_are_noted() {
    let mut world = filled();
    let put = |disk: &mut Disk, file: FileId| {
        let op = Op::Allocate { file, len: 10, zeros: true };
        disk.run(&op).expect("the disk is good");
    };
    let segment = |dir: &str, base_offset| FileId::Segment { dir: dir.into(), base_offset, kind: SegmentFile::Log };
    put(&mut world.disk, segment("topic1-0", 777_777));
    put(&mut world.disk, segment("stray-7", 0));
    put(&mut world.disk, segment("lost+found", 0));
    put(&mut world.disk, segment(".hidden-7", 0));
    let report = check_disk(&mut world.disk, false);
    let mut noted: Vec<&str> = report.findings.iter().map(|finding| finding.path.as_str()).collect();
    noted.sort_unstable();
    assert_eq!(noted, ["stray-7", "topic1-0/00000000000000777777.log"]);
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Note));
}

#[test]
fn every_shard_is_looked_at() {
    let mut world = World::new(5, small_limits(), small_config());
    for _ in 0..2 {
        let log = world.create();
        world.append(log, 300, Durable);
        world.settle();
    }
    world.kill();
    boot(&mut world.disk, boot_config(2, 9, &small_limits()));
    world.disk.kill();
    let report = check_disk(&mut world.disk, false);
    let mut dirs: Vec<&str> = report.logs.iter().map(|log| log.dir.as_str()).collect();
    dirs.sort_unstable();
    assert_eq!((report.shards.len(), report.findings.len()), (2, 0), "{report:#?}");
    assert_eq!(dirs, ["topic1-0", "topic2-0"]);
}

#[test]
fn a_checkpoint_file_without_bytes_is_one_that_was_never_written() {
    let mut world = filled();
    for slot in 0..2 {
        let mut disk = world.disk.clone();
        let op = Op::Truncate { file: FileId::Checkpoint { shard: 0, slot }, len: 0 };
        disk.run(&op).expect("the disk is good");
        let path = format!(".coretide/shard-0/checkpoint-{slot}");
        let report = run_check(&mut disk, CheckConfig::default());
        assert!(report.findings.iter().all(|finding| finding.path != path), "{:#?}", report.findings);
    }
    world.reboot();
}

/// The first commit of a journal file cannot be read, and others follow it. Where a later file began with one of these, the check
/// named that file, which was whole, as the one to restore.
#[test]
fn bug_ours_a_damage_at_the_front_of_a_journal_file_is_told_of_that_file() {
    let mut found = 0;
    for appends in [40, 50, 60, 70] {
        let mut world = World::new(6, small_limits(), small_config());
        let log = world.create();
        for _ in 0..appends {
            world.append(log, 3000, Durable);
            world.settle();
        }
        world.kill();
        for path in world.disk.paths().into_iter().filter(|path| path.contains("journal-")) {
            let mut disk = world.disk.clone();
            disk.flip(&path, 20, 1);
            let report = check_disk(&mut disk, false);
            let started = try_boot(&mut disk, world.boot_config(1));
            assert_eq!(started.is_err(), !told(&report).is_empty());
            if let Err(BootError::Journal { path: told, at, .. }) = &started {
                assert_eq!((told, *at), (&path, 0), "{started:?}");
            }
            for finding in told(&report) {
                assert!(
                    finding.what.starts_with("commit ") && finding.what.ends_with("are about topic1-0"),
                    "{finding:?}"
                );
                assert_eq!((finding.path.as_str(), finding.at), (path.as_str(), Some(0)), "{finding:?}");
                found += 1;
            }
        }
    }
    assert!(found > 0, "what the test is about");
}

/// A file that the chain does not need has lost its front as well: nothing is missing there.
#[test]
fn a_damage_within_a_journal_file_is_told_of_that_file_whatever_another_one_begins_with() {
    let mut world = World::new(6, small_limits(), small_config());
    let log = world.create();
    for _ in 0..50 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    world.kill();
    let paths: Vec<String> = world.disk.paths().into_iter().filter(|path| path.contains("journal-")).collect();
    let mut found = 0;
    for path in &paths {
        for at in (4096..world.disk.file(path).expect("listed").len()).step_by(4096) {
            for other in paths.iter().filter(|other| *other != path) {
                let mut disk = world.disk.clone();
                disk.flip(path, at + 20, 1);
                disk.flip(other, 20, 1);
                let report = check_disk(&mut disk, false);
                let Err(BootError::Journal { path: broken, at: broken_at, .. }) =
                    try_boot(&mut disk, world.boot_config(1))
                else {
                    continue;
                };
                if (&broken, broken_at) == (path, at as u64) {
                    let [finding] = told(&report)[..] else { panic!("{:#?}", report.findings) };
                    assert_eq!((&finding.path, finding.at), (path, Some(at as u64)), "{other}: {finding:?}");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 0, "what the test is about");
}

/// What the checkpoint knows to be committed is not there, and nothing behind it either.
#[test]
fn a_journal_that_ends_before_the_last_commit_that_was_acknowledged_is_damaged() {
    let mut world = filled();
    let (_, image) = newest(&world.disk);
    let replay = image.replay.expect("some of it is needed");
    assert!(replay.seq + 1 < image.meta.committed);
    let ends_in = FileId::Journal { shard: 0, no: replay.file }.path();
    for path in world.disk.paths().into_iter().filter(|path| path.contains("journal-")) {
        let keep = if path == ends_in { 4096 } else { 0 };
        let bytes = world.disk.file(&path).expect("listed").len();
        (keep..bytes).for_each(|at| {
            let bits = world.disk.file(&path).expect("listed")[at];
            if bits != 0 {
                world.disk.flip(&path, at, bits);
            }
        });
    }
    let report = check_disk(&mut world.disk.clone(), false);
    let [finding] = told(&report)[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.path.as_str(), finding.at), (ends_in.as_str(), Some(4096)), "{finding:?}");
    let config = world.boot_config(1);
    let Err(BootError::Journal { path, at, .. }) = try_boot(&mut world.disk, config) else { panic!("it is damaged") };
    assert_eq!((path, at), (ends_in, 4096));
}

#[test]
fn an_open_segment_s_index_that_would_get_another_size_is_left_alone() {
    let mut world = running();
    let key = world.logs[&1].key;
    world.store.configure(key, LogConfig { index_interval_bytes: 1024, ..small_config() });
    world.stop();
    world.kill();
    let open = world.disk.paths().into_iter().rfind(|path| path.ends_with(".index")).expect("three");
    world.disk.flip(&open, 7, 0x55);
    let before = world.disk.file(&open).expect("listed").to_vec();
    let report = check_disk(&mut world.disk, true);
    let [finding] = told(&report)[..] else { panic!("{:#?}", report.findings) };
    assert!(finding.path == open && !finding.repaired, "{finding:?}");
    assert!(world.disk.file(&open).expect("listed") == before);
}
