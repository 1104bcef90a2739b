//! Direct writes that are ahead of their commit: when they begin, and what of them counts after a crash.

use super::world::{World, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::store::StoreLimits;

/// A world in which a log's segment has space for direct writes, and a commit of a small append is on its way.
fn in_commit(seed: u64) -> (World, u32) {
    let mut world = World::new(seed, small_limits(), small_config());
    let log = world.create();
    for _ in 0..2 {
        world.append(log, 14_000, Durable);
        world.settle();
    }
    world.append(log, 300, Durable);
    world.tick();
    assert_eq!(world.writing().len(), 1, "the commit's journal write: {:?}", world.writing());
    (world, log)
}

fn append_large(world: &mut World, log: u32) {
    world.append(log, 13_000, Durable);
    world.tick();
}

#[test]
fn a_large_write_does_not_wait_for_the_commit_before() {
    let (mut world, log) = in_commit(1);
    let acked = world.logs[&log].acked;
    append_large(&mut world, log);
    append_large(&mut world, log);
    let segments = |world: &World| world.writing().iter().filter(|path| path.ends_with(".log")).count();
    assert_eq!(segments(&world), 2, "{:?}", world.writing());
    world.finish_write(".log");
    world.finish_write(".log");
    assert_eq!(world.logs[&log].acked, acked, "no commit names them yet");
    world.finish_write("journal");
    assert_eq!(world.logs[&log].acked, acked + small_batch(&world, log), "only the first commit is done");
    world.finish_write("journal");
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
    world.kill();
    world.reboot();
    world.check_all_reads();
}

/// Records of the third batch, the small one.
fn small_batch(world: &World, log: u32) -> i64 {
    let batches = &world.logs[&log].batches;
    batches[3].base_offset - batches[2].base_offset
}

#[test]
fn a_write_that_no_commit_names_counts_for_nothing() {
    let (mut world, log) = in_commit(2);
    append_large(&mut world, log);
    world.finish_write(".log");
    world.finish_write("journal");
    let acked = world.logs[&log].acked;
    // The second commit's journal write never reaches the disk.
    world.kill();
    world.reboot();
    assert_eq!(world.logs[&log].acked, acked);
    append_large(&mut world, log);
    world.settle();
    world.check_all_reads();
}

#[test]
fn the_last_commit_is_believed_as_far_as_its_segment_goes() {
    for written in 0..=2 {
        let (mut world, log) = in_commit(3);
        append_large(&mut world, log);
        append_large(&mut world, log);
        // Too little for a write of its own: it stays behind the others, in the journal.
        world.append(log, 200, Durable);
        world.finish_write("journal");
        for _ in 0..written {
            world.finish_write(".log");
        }
        let ends: Vec<i64> = world.logs[&log].batches[3..].iter().map(|batch| batch.base_offset).collect();
        world.finish_write("journal");
        world.kill();
        world.reboot();
        let expected = if written == 2 { world.logs[&log].end() } else { ends[written] };
        assert_eq!(world.logs[&log].acked, expected, "{written} of two writes were done");
        assert_eq!(world.logs[&log].batches.len(), if written == 2 { 6 } else { 3 + written });
        assert_eq!(world.report_notes, Vec::<String>::new());
        world.check_all_reads();
    }
}

/// The write of a large run that the crash tore: its front is in the segment, the commit that names it in the journal.
#[test]
fn a_torn_write_of_the_last_commit_never_happened() {
    for torn in [3, 4] {
        let (mut world, log) = in_commit(3);
        append_large(&mut world, log);
        append_large(&mut world, log);
        world.finish_write("journal");
        world.finish_write(".log");
        world.finish_write(".log");
        let acked = world.logs[&log].acked;
        world.finish_write("journal");
        world.kill();
        let model = world.logs.get_mut(&log).expect("it exists");
        // As if the crash had come before the write of the segment was done: nobody was told anything.
        model.acked = acked;
        let position: usize = model.batches[..torn].iter().map(|batch| batch.bytes.len()).sum();
        let path = format!("{}/00000000000000000000.log", model.dir);
        world.disk.flip(&path, position + 6000, 0x40);
        world.reboot();
        assert_eq!(world.logs[&log].batches.len(), torn);
        world.check_all_reads();
    }
}

#[test]
fn a_failed_write_ahead_takes_its_log_offline_and_leaves_the_commit_before() {
    let (mut world, log) = in_commit(4);
    let other = world.create();
    append_large(&mut world, log);
    append_large(&mut world, log);
    world.append(other, 500, Durable);
    world.disk.faults.push(("write", format!("{}/", world.logs[&log].dir), 5));
    world.finish_write(".log");
    world.disk.faults.clear();
    assert!(world.store.is_offline(world.logs[&log].key).is_some());
    world.settle();
    assert_eq!(world.logs[&other].acked, world.logs[&other].end(), "the other log goes on");
    assert_eq!(world.store.backlog_bytes(), 0);
    let small_end = world.logs[&log].batches[3].base_offset;
    world.kill();
    world.reboot();
    assert_eq!(world.logs[&log].acked, small_end, "the commit before was done");
    world.check_all_reads();
}

#[test]
fn a_log_deleted_in_mid_write_leaves_nothing() {
    let (mut world, log) = in_commit(5);
    append_large(&mut world, log);
    let (key, dir) = (world.logs[&log].key, world.logs[&log].dir.to_string());
    world.store.delete_log(key);
    world.logs.get_mut(&log).expect("it exists").deleted = true;
    world.settle();
    assert_eq!(world.store.backlog_bytes(), 0);
    assert!(!world.disk.paths().iter().any(|path| path.starts_with(&dir)), "{:?}", world.disk.paths());
    world.kill();
    world.reboot();
    assert!(world.recovered.is_empty());
}

/// A commit that waits for room in the journal, with writes ahead of it, keeps its log from being destaged; and the room
/// comes only when the log is destaged.
#[test]
fn bug_a_full_journal_waited_for_itself() {
    for seed in 0..40 {
        let limits = StoreLimits { journal_files_max: 2, checkpoint_every_bytes: 1 << 30, ..small_limits() };
        let mut world = World::new(seed, limits, small_config());
        let (log, other) = (world.create(), world.create());
        for n in 0..400 {
            world.append(log, if n % 5 == 0 { 13_000 } else { 300 }, Durable);
            world.append(other, 9_000, Durable);
            world.tick();
            for _ in 0..world.prng.below(4) {
                world.work();
            }
        }
        world.settle();
        for id in [log, other] {
            assert_eq!(world.logs[&id].acked, world.logs[&id].end(), "seed {seed}");
        }
    }
}

#[test]
fn a_full_journal_lets_nothing_be_written_ahead() {
    let limits = StoreLimits { journal_files_max: 2, ..small_limits() };
    let mut world = World::new(7, limits, small_config());
    let (log, other) = (world.create(), world.create());
    for _ in 0..2 {
        world.append(log, 14_000, Durable);
        world.settle();
    }
    // No destage and no checkpoint goes on, so that no journal file comes free.
    for _ in 0..100 {
        world.append(other, 9_000, Durable);
        world.tick();
        world.write();
        world.tick();
        if world.logs[&other].acked < world.logs[&other].end() {
            break;
        }
    }
    assert!(world.logs[&other].acked < world.logs[&other].end() && world.writing().is_empty(), "the journal is full");
    append_large(&mut world, log);
    assert_eq!(world.writing(), Vec::<String>::new());
    world.settle();
    for id in [log, other] {
        assert_eq!(world.logs[&id].acked, world.logs[&id].end());
    }
    world.check_all_reads();
}
