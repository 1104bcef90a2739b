//! What a check says of a directory, and how far it is.

use super::disk::Disk;
use super::world::{World, run_all, run_check, small_config, small_limits, try_boot};
use crate::io::Durability::Durable;
use crate::io::{FileId, Job, Op, Step};
use crate::store::checkpoint::{CheckpointImage, Decoded};
use crate::store::{BootError, Check, CheckConfig, CheckError, CheckProgress, Severity};

fn filled(seed: u64) -> (World, u32) {
    let mut world = World::new(seed, small_limits(), small_config());
    let log = world.create();
    for _ in 0..60 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    (world, log)
}

#[test]
fn a_check_tells_how_far_it_is() {
    let (mut world, log) = filled(1);
    world.stop();
    world.kill();
    let index = format!("{}/00000000000000000000.index", world.logs[&log].dir);
    world.disk.corrupt(&index, 4);
    let (mut check, mut results, mut seen) = (Check::new(CheckConfig::default()), Vec::new(), Vec::new());
    let report = loop {
        match check.step(results) {
            Step::Do(ops) => results = run_all(&mut world.disk, &ops),
            Step::Done(report) => break report.expect("the disk can be read"),
        }
        seen.push(check.progress());
    };
    let damaged = report.findings.iter().filter(|finding| finding.severity != Severity::Note).count();
    assert!(damaged > 0);
    let last = seen.last().expect("it took some steps").clone();
    let bytes: u64 = world.logs[&log].batches.iter().map(|batch| batch.bytes.len() as u64).sum();
    let path = world.logs[&log].dir.to_string();
    assert_eq!(last, CheckProgress { path, read_bytes: report.bytes_read, known_bytes: bytes, damaged });
    assert_eq!(seen[0], CheckProgress::default());
    assert!(seen.iter().any(|seen| seen.path == ".coretide/shard-0"));
    assert!(seen.is_sorted_by_key(|seen| seen.read_bytes));
}

#[test]
fn a_directory_without_anything_of_a_broker_s_is_not_called_whole() {
    let check = |disk: &mut Disk| Check::new(CheckConfig::default()).run(|op| disk.run(&op));
    assert_eq!(check(&mut Disk::default()), Err(CheckError::NoData));
    // What a first start leaves that ended early: journals of zeros, and no boot file.
    let mut begun = Disk::default();
    let file = FileId::Journal { shard: 0, no: 0 };
    begun.run(&Op::Allocate { file, len: 8192, zeros: true }).expect("the disk is good");
    assert!(check(&mut begun).expect("there is something").is_whole());
    // A folder with records, and nothing that says what counts of them.
    let (mut world, log) = filled(2);
    world.kill();
    for path in world.disk.paths().iter().filter(|path| path.starts_with('.')) {
        world.disk.remove(path);
    }
    let report = check(&mut world.disk).expect("there are records");
    assert!(report.findings.iter().any(|finding| finding.path == *world.logs[&log].dir));
}

/// The checkpoint from which a cut journal is gone on with goes to the other slot: a crash in mid-write leaves the first.
#[test]
fn a_cut_leaves_the_checkpoint_that_it_began_with() {
    let mut slots = [false; 2];
    for appends in [10, 60, 90, 130, 170] {
        let (mut world, log) = filled(3);
        for _ in 0..appends {
            world.append(log, 2500, Durable);
            world.settle();
        }
        world.kill();
        let path = |slot: usize| format!(".coretide/shard-0/checkpoint-{slot}");
        let seq = |disk: &Disk, slot| match disk.file(&path(slot)).map(CheckpointImage::decode) {
            Some(Decoded::Good(image)) => image.meta.seq,
            _ => 0,
        };
        let seqs = [0, 1].map(|slot| seq(&world.disk, slot));
        let slot = usize::from(seqs[1] > seqs[0]);
        for path in world.disk.paths().into_iter().filter(|path| path.contains("journal-")) {
            world.disk.flip(&path, 20, 1);
        }
        let before = world.disk.file(&path(slot)).expect("a checkpoint").to_vec();
        let report = run_check(&mut world.disk, CheckConfig { repair: false, cut_journal: true });
        if report.findings.is_empty() {
            continue;
        }
        assert!(report.is_whole(), "{report:#?}");
        assert!(world.disk.file(&path(slot)).expect("a checkpoint") == before, "slot {slot} stays as it was");
        assert_eq!(seq(&world.disk, slot ^ 1), seqs[slot] + 1);
        slots[slot] = true;
    }
    assert_eq!(slots, [true; 2], "either slot had the newest");
}

/// The slot of the newest checkpoint, and its image.
pub(super) fn newest(disk: &Disk) -> (usize, CheckpointImage) {
    let image =
        |slot: usize| match disk.file(&format!(".coretide/shard-0/checkpoint-{slot}")).map(CheckpointImage::decode) {
            Some(Decoded::Good(image)) => Some((slot, *image)),
            _ => None,
        };
    (0..2).filter_map(image).max_by_key(|(_, image)| image.meta.seq).expect("there is one")
}

#[test]
fn a_checkpoint_of_another_start_does_not_count_whatever_its_number() {
    type Change = fn(&mut CheckpointImage);
    let other_id: Change = |image| image.meta.journal_id ^= 1;
    let other_generation: Change = |image| image.meta.generation += 1;
    let other_shard: Change = |image| image.meta.shard += 1;
    for change in [other_id, other_generation, other_shard] {
        let (mut world, _) = filled(4);
        world.kill();
        let (slot, mut image) = newest(&world.disk);
        image.meta.seq += 10;
        image.logs.clear();
        change(&mut image);
        let file = FileId::Checkpoint { shard: 0, slot: 1 - slot as u8 };
        let bytes = image.encode();
        let op = Op::Write { file, at: 0, bytes, direct: false, durability: Durable };
        world.disk.run(&op).expect("the disk is good");
        let found = run_check(&mut world.disk.clone(), CheckConfig::default());
        assert_eq!(found.logs.len(), 1, "the check does not believe it either");
        world.reboot();
        world.check_all_reads();
    }
}

/// The journal may have gone on without what the older checkpoint needs. Then the segments are looked through.
#[test]
fn a_start_goes_on_without_the_newest_checkpoint_when_that_is_damaged() {
    let mut scans = 0;
    for appends in (100..220).step_by(15) {
        let mut world = World::new(5, small_limits(), small_config());
        let log = world.create();
        for _ in 0..appends {
            world.append(log, 2500, Durable);
            world.settle();
        }
        world.kill();
        let (slot, _) = newest(&world.disk);
        world.disk.flip(&format!(".coretide/shard-0/checkpoint-{slot}"), 60, 1);
        let config = world.boot_config(1);
        let checked = run_check(&mut world.disk.clone(), CheckConfig::default());
        let report = try_boot(&mut world.disk, config).expect("what is left is enough");
        let is_older = checked.findings.iter().any(|finding| finding.what.ends_with("that is the older one"));
        let scanned = report.notes.iter().any(|note| note.contains("does not begin where its checkpoint says"));
        assert_eq!(is_older, scanned, "the check says what the start does");
        scans += usize::from(scanned);
    }
    assert!(scans > 0, "what the test is about");
}

#[test]
fn a_start_does_not_guess_when_both_checkpoints_are_whole_and_the_journal_is_not_there() {
    let (mut world, _) = filled(6);
    world.kill();
    for path in world.disk.paths().into_iter().filter(|path| path.contains("journal-")) {
        world.disk.flip(&path, 20, 1);
    }
    let (slot, _) = newest(&world.disk);
    let empty = Op::Truncate { file: FileId::Checkpoint { shard: 0, slot: 1 - slot as u8 }, len: 0 };
    world.disk.run(&empty).expect("the disk is good");
    let config = world.boot_config(1);
    assert!(matches!(try_boot(&mut world.disk, config), Err(BootError::Journal { .. })));
}
