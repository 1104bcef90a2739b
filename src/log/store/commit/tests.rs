//! What a commit takes: how much of the journal is kept for it, which logs write to their segments, what is synced.

use super::*;
use crate::io::Durability::{Durable, Written};
use crate::store::ring::{JournalFile, Ring};
use crate::store::tests::ahead::{append_large, in_commit};
use crate::store::tests::world::{World, batch_of, small_config, small_limits};
use crate::store::{LogConfig, StoreLimits};

fn stage(world: &mut World, key: LogKey, bytes: usize) {
    let end = world.store.end_offset(key);
    world.store.stage(key, world.now, &batch_of(bytes), end, 3, Durable).expect("the log is online");
}

/// What the next commit is found to need: bytes, logs that write to their segments, and whether it has to wait.
fn measured(world: &mut World) -> (Planned, usize, Vec<LogKey>, bool) {
    let planned = world.store.planned.pop_front().expect("something is staged");
    let (bytes, directs, blocked) = world.store.measure(&planned, world.now);
    (planned, bytes, directs.to_vec(), blocked)
}

/// A log whose segment has space for direct writes, and so much besides that is in the journal only.
fn with_space(limits: StoreLimits, journaled: usize) -> (World, LogKey) {
    let mut world = World::new(2, limits, small_config());
    let log = world.create();
    for bytes in [14_000, 14_000, journaled] {
        world.append(log, bytes, Durable);
        world.settle();
    }
    let key = world.logs[&log].key;
    (world, key)
}

#[test]
fn as_much_is_planned_as_is_measured() {
    let mut world = World::new(1, small_limits(), small_config());
    let keys = [world.create(), world.create()].map(|log| world.logs[&log].key);
    keys.iter().for_each(|&key| stage(&mut world, key, 700));
    for partition in 0..3 {
        world.store.plan_meta(Meta::Delete(TopicPartition { partition, ..world.logs[&1].tp }));
    }
    let (planned, bytes, directs, blocked) = measured(&mut world);
    let dirs: usize = world.logs.values().map(|model| model.dir.len()).sum();
    assert_eq!(bytes, HEADER_BYTES + 7 * ENTRY_BYTES + dirs + 2 * 700);
    assert_eq!((planned.bytes, directs, blocked), (bytes, Vec::new(), false));

    let (mut world, key) = with_space(small_limits(), 300);
    (0..5).for_each(|_| stage(&mut world, key, 700));
    let (planned, bytes, ..) = measured(&mut world);
    assert_eq!((planned.bytes, bytes), (bytes, HEADER_BYTES + 5 * (ENTRY_BYTES + 700)));
}

#[test]
fn a_commit_has_room_for_the_longest_tail_of_a_large_write() {
    let (mut world, log) = in_commit(1);
    let (key, tp) = (world.logs[&log].key, world.logs[&log].tp);
    stage(&mut world, key, 7000);
    stage(&mut world, key, 7000);
    world.tick();
    let (planned, bytes, ..) = measured(&mut world);
    let [part] = planned.parts.as_slice() else { panic!("one write is ahead: {planned:?}") };
    assert_eq!(part.summaries.len(), 2);
    let mut writer = CommitWriter::new(world.store.pools.take(1 << 16));
    let longest = vec![0; blocks_up(1) - 1];
    writer.direct(tp, part.segment, (part.position, part.block_end), &part.summaries, &longest);
    let (_, header) = writer.finish(Chain { journal_id: 0, seq: 0, previous_crc: 0 }, true);
    assert_eq!(bytes, HEADER_BYTES + header.payload_bytes as usize + 1);
}

#[test]
fn a_batch_joins_the_commit_that_it_just_fits_into() {
    for (spare, commits) in [(0, 1), (1, 2)] {
        let limits = StoreLimits { commit_bytes_max: HEADER_BYTES + 2 * (ENTRY_BYTES + 700) - spare, ..small_limits() };
        let (mut world, key) = with_space(limits, 300);
        (0..2).for_each(|_| stage(&mut world, key, 700));
        assert_eq!(world.store.planned.len(), commits);
    }
}

#[test]
fn a_batch_is_refused_when_it_is_larger_than_a_segment() {
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    let key = world.logs[&log].key;
    let segment_bytes = world.config.segment_bytes;
    let mut take = |bytes| world.store.stage(key, world.now, &batch_of(bytes), 0, 3, Durable);
    let refused = take(segment_bytes as usize + 1);
    assert_eq!(refused, Err(StoreError::LargerThanSegment { bytes: segment_bytes as usize + 1, segment_bytes }));
    assert!(take(segment_bytes as usize).is_ok());
}

#[test]
fn what_is_as_large_as_is_worth_a_write_goes_to_the_segment() {
    let from = small_limits().direct_from_bytes;
    for (bytes, is_direct) in [(from - 1, false), (from, true)] {
        let (mut world, key) = with_space(small_limits(), 300);
        stage(&mut world, key, bytes);
        let (_, _, directs, blocked) = measured(&mut world);
        assert_eq!((directs.contains(&key), blocked), (is_direct, false), "{bytes} bytes");
    }
}

#[test]
fn a_direct_write_takes_along_so_many_destages_worth_of_what_is_in_the_journal() {
    for (destage_from, is_direct) in [(1000, false), (1100, true)] {
        let (mut world, key) = with_space(small_limits(), 5000);
        let log = world.store.log(key).expect("it exists");
        let journaled = u64::from(log.open().end - log.written_to());
        assert!((1000 * DIRECT_CARRY + 1..1100 * DIRECT_CARRY).contains(&journaled), "{journaled} bytes");
        world.store.limits.destage_from_bytes = destage_from;
        stage(&mut world, key, small_limits().direct_from_bytes);
        let (_, _, directs, _) = measured(&mut world);
        assert_eq!(directs.contains(&key), is_direct, "up to {destage_from} times {DIRECT_CARRY}");
    }
}

#[test]
fn only_what_no_journal_file_can_take_waits_for_its_segment() {
    let limits = StoreLimits { direct_from_bytes: 1 << 20, ..small_limits() };
    let file = limits.journal_file_bytes as usize;
    let mut world = World::new(1, limits, LogConfig { segment_bytes: 1 << 20, ..small_config() });
    let log = world.create();
    let key = world.logs[&log].key;
    world.append(log, 300, Durable);
    world.settle();
    for (bytes, waits) in [(file - HEADER_BYTES - ENTRY_BYTES, false), (file - HEADER_BYTES - ENTRY_BYTES + 1, true)] {
        stage(&mut world, key, bytes);
        let (_, _, directs, blocked) = measured(&mut world);
        assert_eq!((directs, blocked), (Vec::new(), waits), "{bytes} bytes");
        world.store.log_mut(key).expect("it exists").staged.clear();
    }
}

#[test]
fn a_cut_joins_the_commit_that_is_next_and_needs_its_own_room_and_sync() {
    let (mut world, log) = in_commit(1);
    let (key, tp) = (world.logs[&log].key, world.logs[&log].tp);
    let end = world.store.end_offset(key);
    world.store.stage(key, world.now, &batch_of(300), end, 3, Written).expect("the log is online");
    let before = world.store.planned[0].bytes;
    world.store.plan_cut(Meta::Cut(tp, 0, 9));
    let next = &world.store.planned[0];
    assert_eq!((next.bytes, next.meta.len(), next.durable), (before + ENTRY_BYTES, 1, true));
    world.store.planned.clear();
    world.store.plan_cut(Meta::Cut(tp, 0, 9));
    assert_eq!(world.store.planned[0].meta.len(), 1, "it has a commit of its own if there is none");
}

#[test]
fn no_commit_follows_a_failure_or_the_last_checkpoint() {
    type Change = fn(&mut Store);
    let failed: Change =
        |store| store.poison(IoError { op: "x", path: String::new(), errno: 5, message: String::new() });
    let ended: Change = |store| store.ended = true;
    for (change, is_built) in [(failed, false), (ended, false), ((|_| {}) as Change, true)] {
        let (mut world, key) = with_space(small_limits(), 300);
        stage(&mut world, key, 700);
        change(&mut world.store);
        world.store.build_commit(world.now);
        assert_eq!(world.store.in_flight.is_some(), is_built);
    }
}

#[test]
fn a_durable_commit_syncs_each_file_that_was_only_written_and_its_own() {
    let files = |world: &World| world.store.in_flight.as_ref().expect("a commit is in flight").sync.clone();
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    world.append(log, 300, Written);
    world.settle();
    world.append(log, 300, Durable);
    world.tick();
    assert_eq!(files(&world).len(), 1, "they are in one file");
    world.settle();
    // A full file with a commit that was only written, and an empty one.
    world.store.ring = Ring::new(vec![JournalFile { no: 3, bytes: 8192 }, JournalFile { no: 4, bytes: 1 << 20 }]);
    assert_eq!(world.store.ring.place(1, 8192, 0), Some((3, 0)));
    world.store.ring.note_unsynced(3, 1);
    world.append(log, 300, Durable);
    world.tick();
    assert_eq!(files(&world), [3, 4]);
}

#[test]
fn batches_of_a_log_in_one_commit_are_one_run_and_are_counted_off() {
    let (mut world, key) = with_space(small_limits(), 300);
    let runs = |world: &World| world.store.log(key).expect("it exists").runs.len();
    let before = runs(&world);
    (0..3).for_each(|_| stage(&mut world, key, 700));
    assert_eq!(world.store.log(key).expect("it exists").staged_bytes, 2100);
    world.tick();
    assert_eq!(runs(&world), before + 1);
    assert_eq!(world.store.log(key).expect("it exists").staged_bytes, 0);
}

#[test]
fn writes_ahead_are_counted_off_whether_they_or_their_commit_end_first() {
    for order in [[".log", "journal", "journal"], ["journal", ".log", "journal"]] {
        let (mut world, log) = in_commit(1);
        let key = world.logs[&log].key;
        let held = world.store.cache_bytes();
        append_large(&mut world, log);
        assert_eq!(world.store.ahead, 1);
        assert_eq!(world.store.log(key).expect("it exists").staged_bytes, 0);
        order.iter().for_each(|part| world.finish_write(part));
        assert_eq!((world.store.ahead, world.store.backlog_bytes()), (0, 0), "{order:?}");
        assert_eq!(world.store.log(key).expect("it exists").directs, 0);
        let newest = world.store.cache_bytes() - held;
        assert!(newest >= 13_000, "its buffer is held: {newest} bytes");
        let mut keys = Vec::new();
        while let Some(oldest) = world.store.cache.oldest() {
            keys = oldest.keys.to_vec();
            world.store.cache.pop();
        }
        assert_eq!(keys, [key], "the log has to let it go");
    }
}

#[test]
fn a_large_write_that_fails_in_the_turn_of_its_commit_is_taken_back() {
    let (mut world, log) = in_commit(1);
    let key = world.logs[&log].key;
    let before = world.store.log_bytes(key);
    append_large(&mut world, log);
    world.finish_write("journal");
    let acked = world.logs[&log].acked;
    world.disk.faults.push(("write", ".log".to_string(), 5));
    world.finish_write(".log");
    world.disk.faults.clear();
    world.finish_write("journal");
    assert!(world.store.is_offline(key).is_some());
    assert_eq!((world.store.log_bytes(key), world.store.committed_end_offset(key)), (before, acked));
}
