//! Direct writes that are ahead of their commit: when they begin, and what of them counts after a crash.

use super::world::{World, batch_of, check_disk, small_config, small_limits, try_boot};
use crate::io::Durability::Durable;
use crate::io::{IoError, Job, Op};
use crate::store::direct::{can_write_direct, direct_buffer_bytes};
use crate::store::ring::{JournalFile, Ring};
use crate::store::segment::{Busy, Log};
use crate::store::{Boot, BootError, Check, CheckConfig, CheckError, StoreLimits};

/// A world in which a log's segment has space for direct writes, and a commit of a small append is on its way.
pub(in crate::store) fn in_commit(seed: u64) -> (World, u32) {
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

pub(in crate::store) fn append_large(world: &mut World, log: u32) {
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

/// Both logs have a large write ahead in the same commit, and one of them fails.
#[test]
fn a_failed_write_ahead_takes_back_what_is_its_log_s_and_nothing_else() {
    let (mut world, log) = in_commit(6);
    let other = world.create();
    world.finish_write("journal");
    for _ in 0..2 {
        world.append(other, 14_000, Durable);
        world.settle();
    }
    world.append(log, 300, Durable);
    world.tick();
    append_large(&mut world, other);
    append_large(&mut world, log);
    let (bad, good) = (world.logs[&log].clone(), world.logs[&other].clone());
    world.disk.faults.push(("write", format!("{}/", bad.dir), 5));
    world.finish_write(&bad.dir);
    world.disk.faults.clear();
    world.settle();
    assert!(world.store.is_offline(bad.key).is_some() && world.store.is_offline(good.key).is_none());
    assert_eq!(world.logs[&other].acked, good.end());
    let bytes = |log: u32, count: usize| -> u64 {
        world.logs[&log].batches[..count].iter().map(|batch| batch.bytes.len() as u64).sum()
    };
    assert_eq!(world.store.log_bytes(good.key), bytes(other, 3));
    assert_eq!(world.store.log_bytes(bad.key), bytes(log, 4), "the large one was never there");
    world.check_all_reads();
    // The checkpoint of the stop carries all that an offline log has.
    world.stop();
    world.kill();
    world.reboot();
    assert_eq!(world.logs[&other].acked, good.end());
    assert_eq!(world.logs[&log].acked, bad.batches[4].base_offset);
    world.check_all_reads();
}

/// The segment of the last commit's large write is not there, or cannot be read: a write that did not happen, and a disk of which
/// nothing is known.
#[test]
fn a_last_write_whose_segment_is_gone_never_happened_and_one_that_cannot_be_read_stops_the_start() {
    let (mut world, log) = in_commit(7);
    append_large(&mut world, log);
    world.finish_write("journal");
    world.finish_write(".log");
    world.finish_write("journal");
    world.kill();
    let end = world.logs[&log].batches[3].base_offset;
    let mut broken = world.disk.clone();
    broken.faults.push(("read", ".log".to_string(), 5));
    let config = world.boot_config(1);
    let error = try_boot(&mut broken.clone(), config).expect_err("the segment cannot be read");
    assert!(matches!(&error, BootError::Io(io) if io.errno == 5), "{error}");
    let checked = Check::new(CheckConfig::default()).run(|op| broken.run(&op));
    assert!(matches!(&checked, Err(CheckError::Io(io)) if io.errno == 5), "{checked:?}");
    world.disk.remove("topic1-0/00000000000000000000.log");
    let report = check_disk(&mut world.disk.clone(), false);
    assert_eq!(report.logs[0].end_offset, end);
    let config = world.boot_config(1);
    let report = try_boot(&mut world.disk, config).expect("the write did not happen");
    assert_eq!(report.shards[0].logs[0].end_offset, end);
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

/// A large write under way keeps its log from being destaged, but not from getting the space that the next one needs.
#[test]
fn space_is_made_beside_a_large_write() {
    let (mut world, log) = in_commit(8);
    append_large(&mut world, log);
    let key = world.logs[&log].key;
    let space = |world: &World| world.store.log(key).expect("it exists").open().allocated;
    let before = space(&world);
    world.store.log_mut(key).expect("it exists").space_target = before + 4096;
    world.store.want_destage.insert(key);
    world.tick();
    let busy = world.store.log(key).expect("it exists").busy;
    assert_eq!(busy, Some(Busy::Preparing));
    assert!(world.store.want_destage.contains(key), "the destage is still to come");
    world.settle();
    assert_eq!(space(&world), before + 4096);
    world.check_all_reads();
}

/// A world in which a commit is on its way and each of these logs has a batch of so many bytes staged that may be written ahead.
fn staged_large(logs: usize, bytes: usize) -> World {
    let limits = StoreLimits { commit_bytes_max: 64 << 10, journal_file_bytes: 1 << 20, ..small_limits() };
    let mut world = World::new(9, limits, small_config());
    let ids: Vec<u32> = (0..logs).map(|_| world.create()).collect();
    for &log in ids.iter().chain(&ids) {
        world.append(log, 14_000, Durable);
        world.settle();
    }
    world.append(ids[0], 300, Durable);
    world.tick();
    for log in ids {
        let (key, now) = (world.logs[&log].key, world.now);
        let end = world.store.end_offset(key);
        world.store.stage(key, now, &batch_of(bytes), end, 3, Durable).expect("the log is online");
    }
    world
}

fn ahead_of(mut world: World) -> usize {
    world.store.write_ahead(world.now);
    world.store.ahead
}

#[test]
fn nothing_is_written_ahead_after_a_failure_or_the_last_checkpoint_or_without_memory() {
    const BYTES: usize = 12 << 10;
    assert_eq!(ahead_of(staged_large(1, BYTES)), 1);
    assert_eq!(ahead_of(staged_large(1, BYTES - 1)), 0, "that is too little");
    let mut world = staged_large(1, BYTES);
    world.store.poison(IoError { op: "x", path: String::new(), errno: 5, message: String::new() });
    assert_eq!(ahead_of(world), 0);
    let mut world = staged_large(1, BYTES);
    world.store.ended = true;
    assert_eq!(ahead_of(world), 0);
    let mut world = staged_large(1, BYTES);
    world.store.limits.cache_bytes_max = 0;
    assert_eq!(ahead_of(world), 0);
}

#[test]
fn nothing_is_written_ahead_of_a_commit_that_may_find_no_room_in_the_journal() {
    for (blocks, ahead) in [(16, 0), (17, 1)] {
        let mut world = staged_large(1, 12 << 10);
        world.store.ring = Ring::new(vec![JournalFile { no: 0, bytes: blocks * 4096 }]);
        assert_eq!(ahead_of(world), ahead, "{blocks} blocks, for a commit of 16 at most");
    }
}

#[test]
fn a_log_for_whose_large_write_there_is_no_place_waits_for_one() {
    let mut world = staged_large(3, 12 << 10);
    world.store.ahead = 14;
    world.store.write_ahead(world.now);
    assert_eq!((world.store.ahead, world.store.large.len()), (16, 2), "the last one looks again");
    let mut world = staged_large(3, 12 << 10);
    world.store.write_ahead(world.now);
    assert_eq!((world.store.ahead, world.store.large.len()), (3, 0));
}

#[test]
fn a_write_ahead_takes_along_so_many_destages_worth_of_what_is_in_the_journal() {
    for (destage_from, ahead) in [(400, 0), (500, 1)] {
        let mut world = staged_large(1, 12 << 10);
        let log = world.store.log(world.logs[&1].key).expect("it exists");
        let journaled = log.open().end - log.written_to();
        assert!((3201..4000).contains(&journaled), "{journaled} bytes");
        world.store.limits.destage_from_bytes = destage_from;
        assert_eq!(ahead_of(world), ahead);
    }
}

#[test]
fn what_a_failed_log_had_staged_and_on_its_way_is_counted_off() {
    let (mut world, log) = in_commit(4);
    let key = world.logs[&log].key;
    append_large(&mut world, log);
    append_large(&mut world, log);
    world.append(log, 200, Durable);
    assert_eq!(world.store.log(key).expect("it exists").directs, 2);
    world.disk.faults.push(("write", ".log".to_string(), 5));
    world.finish_write(".log");
    world.disk.faults.clear();
    let found = world.store.log(key).expect("it exists");
    assert_eq!((found.directs, found.staged_bytes), (0, 0));
    world.settle();
    assert_eq!((world.store.backlog_bytes(), world.store.ahead), (0, 0));
}

#[test]
fn a_large_write_needs_space_for_itself_and_a_buffer_for_what_it_takes_along() {
    let (mut world, log) = in_commit(5);
    let (key, now) = (world.logs[&log].key, world.now);
    let log = world.store.log_mut(key).expect("it exists");
    let (end, along) = (log.open().end, (log.open().end - log.written_to()) as usize);
    assert!(along > 0);
    assert_eq!(direct_buffer_bytes(log, &[]), along);
    let may = |log: &mut Log, allocated: u32, along_max: u64| {
        log.open_mut().allocated = allocated;
        can_write_direct(log, 0, 5000, along_max, now)
    };
    assert!(may(log, end + 5000, along as u64));
    assert!(!may(log, end + 4999, along as u64));
    assert!(!may(log, end + 5000, along as u64 - 1));
    let end = world.store.end_offset(key);
    let commit = world.store.stage(key, now, &batch_of(5000), end, 3, Durable).expect("the log is online");
    let log = world.store.log_mut(key).expect("it exists");
    assert!(can_write_direct(log, commit, 5000, along as u64, now));
    log.config.segment_bytes = log.open().end + 4999;
    assert!(!can_write_direct(log, commit, 5000, along as u64, now), "a roll falls into it");
    assert!(can_write_direct(log, commit - 1, 5000, along as u64, now), "not before a later commit");
}

#[test]
fn of_the_last_large_write_just_what_was_written_is_looked_at() {
    let (mut world, log) = in_commit(3);
    append_large(&mut world, log);
    world.finish_write("journal");
    world.finish_write(".log");
    world.finish_write("journal");
    world.kill();
    let batches = &world.logs[&log].batches;
    let sizes = batches.iter().map(|batch| batch.bytes.len() as u64).collect::<Vec<_>>();
    let (from, to) = (sizes[..3].iter().sum::<u64>() / 4096 * 4096, sizes.iter().sum::<u64>() / 4096 * 4096);
    let looked = |op: &Op| match op {
        Op::Read { file, at, len, .. } if file.path().ends_with(".log") => Some((*at, at + u64::from(*len))),
        _ => None,
    };
    let (mut by_start, mut by_check) = (Vec::new(), Vec::new());
    let mut disk = world.disk.clone();
    let checked = Check::new(CheckConfig::default()).run(|op| {
        by_check.extend(looked(&op));
        disk.run(&op)
    });
    assert!(checked.is_ok_and(|report| report.findings.is_empty()));
    let report = Boot::new(world.boot_config(1)).run(|op| {
        by_start.extend(looked(&op));
        world.disk.run(&op)
    });
    assert!(report.is_ok());
    assert_eq!((by_start[0], by_check[0]), ((from, to), (from, to)));
}
