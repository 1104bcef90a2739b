//! The background's decisions, each for itself: a store in a known state, and what it wants next.

use super::super::checkpoint::Decoded;
use super::super::ring::Ring;
use super::*;
use crate::io::Durability::{self, Durable};
use crate::io::{Job, Op, Step};
use crate::store::tests::world::{World, small_config, small_limits};
use crate::store::{LogConfig, StoreLimits};

/// A number that no job has.
const JOB: u64 = 1 << 40;
const FULL: i32 = 28;
const BROKEN: i32 = 5;

/// A world with one log that has these batches, of one commit each, in the journal only.
fn world_of(batches: &[usize]) -> (World, LogKey) {
    let limits = StoreLimits { journal_file_bytes: 1 << 20, ..small_limits() };
    let mut world = World::new(1, limits, small_config());
    let log = world.create();
    world.settle();
    for bytes in batches {
        world.append(log, *bytes, Durable);
        world.settle();
    }
    let key = world.logs[&log].key;
    world.store.want_destage.clear();
    (world, key)
}

fn log_of(world: &mut World, key: LogKey) -> &mut Log {
    world.store.log_mut(key).expect("it exists")
}

fn error(errno: i32) -> IoError {
    IoError { op: "write", path: "x".to_string(), errno, message: String::new() }
}

/// A job ends.
fn end(world: &mut World, running: Running, output: OwnDone) {
    world.store.running.insert(JOB, running);
    world.store.on_job(world.now, JOB, output);
}

fn journals(world: &World) -> usize {
    world.disk.paths().iter().filter(|path| path.contains("journal-")).count()
}

/// A ring of files of two blocks: so many that are full, then one that holds so many bytes.
fn ring(full: u64, newest_bytes: u64, free: u32) -> Ring {
    let files = full as u32 + 1 + free;
    let mut ring = Ring::new((0..files).map(|no| JournalFile { no, bytes: 8192 }).collect());
    for n in 0..full {
        ring.place(n + 1, 8192, 0);
    }
    ring.place(full + 1, newest_bytes, 0);
    ring
}

#[test]
fn another_journal_file_is_made_when_the_newest_is_more_than_half_full() {
    let mut world = World::new(1, small_limits(), small_config());
    world.settle();
    assert_eq!(journals(&world), 1);
    let log = world.create();
    for _ in 0..16 {
        world.append(log, 300, Durable);
        world.settle();
    }
    assert_eq!(journals(&world), 1, "exactly half of it is written");
    world.append(log, 300, Durable);
    world.settle();
    assert_eq!(journals(&world), 2);
    world.settle();
    assert_eq!(journals(&world), 2, "one is free");
}

#[test]
fn there_are_never_more_journal_files_than_may_be() {
    let limits = StoreLimits { journal_files_max: 3, cache_bytes: 8 << 20, cache_bytes_max: 9 << 20, ..small_limits() };
    let mut world = World::new(1, limits, small_config());
    let log = world.create();
    // Only journal files are made.
    let held = |op: &Op| matches!(op, Op::MakeDir { .. }) || format!("{op:?}").contains("topic");
    for _ in 0..60 {
        world.append(log, 9000, Durable);
        world.go_on(2, held);
    }
    assert!(world.store.backlog_bytes() > 0, "the journal is full");
    assert_eq!(journals(&world), 3);
}

#[test]
fn only_as_much_is_let_go_as_is_too_much() {
    let limits = StoreLimits { cache_bytes: 8 * 4096, ..small_limits() };
    let mut world = World::new(1, limits, small_config());
    let log = world.create();
    for held in [1, 2, 3, 4, 5, 6, 7, 8, 8, 8] {
        world.append(log, 300, Durable);
        world.settle();
        assert_eq!(world.store.cache_bytes(), held * 4096);
    }
}

#[test]
fn space_for_direct_writes_is_asked_for_when_less_than_half_of_the_step_ahead_is_left() {
    const MIB: u32 = 1 << 20;
    let (mut world, key) = world_of(&[300]);
    log_of(&mut world, key).config = LogConfig { segment_bytes: 64 << 20, ..small_config() };
    let wish = |world: &mut World, allocated: u32, created: bool, urgent: bool| {
        let log = log_of(world, key);
        log.space_target = 0;
        (log.open_mut().allocated, log.open_mut().created) = (allocated, created);
        world.store.want_destage.clear();
        let pending = 2 * MIB - log_of(world, key).open().end;
        world.store.want_space(key, u64::from(pending), urgent);
        (log_of(world, key).space_target, world.store.want_destage.contains(key))
    };
    assert_eq!(wish(&mut world, 3 * MIB, true, false), (0, false));
    assert_eq!(wish(&mut world, 3 * MIB - 1, true, false), (4 * MIB, true));
    assert_eq!(wish(&mut world, 3 * MIB, false, false), (4 * MIB, true), "there is no file");
    assert_eq!(wish(&mut world, 3 * MIB, true, true), (0, false), "nothing is in the way");
    log_of(&mut world, key).roll();
    assert_eq!(wish(&mut world, 3 * MIB, true, false), (0, false));
    assert_eq!(wish(&mut world, 3 * MIB, true, true), (0, true), "the segment before has to be closed first");
}

#[test]
fn a_log_that_has_to_wait_is_destaged_at_the_very_moment() {
    let (mut world, key) = world_of(&[5000]);
    let due_us = world.now.mono_us + 5000;
    log_of(&mut world, key).retry_at_us = due_us;
    world.store.want_destage.insert(key);
    for (now_us, runs) in [(due_us - 1, false), (due_us, true)] {
        world.store.start_destages(Now { mono_us: now_us, wall_ms: 0 });
        assert_eq!(log_of(&mut world, key).busy.is_some(), runs);
    }
}

#[test]
fn a_checkpoint_that_fails_for_want_of_room_is_tried_again_and_any_other_failure_stops_the_shard() {
    for (errno, clean) in [(FULL, false), (FULL, true), (BROKEN, false)] {
        let (mut world, _) = world_of(&[300]);
        let running = Running::Checkpoint { replay: 0, synced: 0, journal_bytes: 0, clean };
        world.store.checkpoint = CheckpointState::Writing;
        end(&mut world, running, Err(error(errno)));
        assert_eq!(world.store.poisoned.is_some(), errno == BROKEN);
        assert_eq!(world.store.stopped, clean);
        assert_eq!(world.store.checkpoint_retry_us.is_some(), errno == FULL);
    }
}

#[test]
fn checkpoints_are_not_written_one_after_the_other_when_one_freed_nothing() {
    for (journal_full, free, waits) in [(true, 0, true), (true, 1, false), (false, 0, false), (false, 1, false)] {
        let (mut world, _) = world_of(&[]);
        world.store.ring = ring(0, 8192, free);
        world.store.journal_full = journal_full;
        let running = Running::Checkpoint { replay: 0, synced: 0, journal_bytes: 0, clean: false };
        end(&mut world, running, Ok(OwnOk::Done));
        assert_eq!(world.store.checkpoint_retry_us.is_some(), waits, "full {journal_full}, {free} free");
    }
}

#[test]
fn a_journal_file_that_cannot_be_made_matters_only_while_there_are_not_two() {
    for (errno, full, poisoned, files_max) in
        [(BROKEN, 0, true, 4), (BROKEN, 1, false, 2), (BROKEN, 2, false, 3), (FULL, 0, false, 4), (FULL, 1, false, 4)]
    {
        let (mut world, _) = world_of(&[]);
        world.store.ring = ring(full, 8192, 0);
        end(&mut world, Running::JournalFile { no: 9 }, Err(error(errno)));
        let found = (world.store.poisoned.is_some(), world.store.limits.journal_files_max);
        assert_eq!(found, (poisoned, files_max), "error {errno} with {} files", full + 1);
        assert_eq!(world.store.is_disk_full(), errno == FULL);
    }
}

#[test]
fn a_full_disk_is_told_of_once_a_minute() {
    let (mut world, _) = world_of(&[]);
    let began_us = world.now.mono_us;
    for (after_us, told) in [(0, 1), (1, 1), (FULL_TOLD_EVERY_US - 1, 1), (FULL_TOLD_EVERY_US, 2)] {
        let now = Now { mono_us: began_us + after_us, ..world.now };
        world.store.note_full(now, &error(FULL));
        let is_notice = |out: &&StoreOut| matches!(out, StoreOut::Notice(_));
        assert_eq!(world.store.out.iter().filter(is_notice).count(), told, "after {after_us} us");
    }
}

/// Whether a log is to be destaged again after a destage that changed nothing.
fn again(world: &mut World, key: LogKey) -> bool {
    world.store.want_destage.clear();
    world.store.undestaged.insert(key);
    let segment = log_of(world, key).open();
    let run = DestageRun {
        key,
        segment: segment.base_offset,
        from: 0,
        to: 0,
        allocated: 4096,
        index_entries: 0,
        final_time: false,
        complete: false,
        writes: false,
        reserved_bytes: 0,
    };
    end(world, Running::Destage(run), Ok(OwnOk::Done));
    world.store.want_destage.contains(key)
}

#[test]
fn a_destage_follows_another_when_there_is_enough_or_something_waits_for_it() {
    let (mut world, key) = world_of(&[5000, 5000]);
    let pending = log_of(&mut world, key).undestaged_bytes() as usize;
    assert!(!again(&mut world, key), "{pending} bytes are few, and nothing waits");
    world.store.limits.destage_from_bytes = pending + 1;
    assert!(!again(&mut world, key));
    world.store.limits.destage_from_bytes = pending;
    assert!(again(&mut world, key));
    world.store.limits.destage_from_bytes = 1 << 20;
    world.store.checkpoint = CheckpointState::Wanted(1);
    assert!(again(&mut world, key), "a checkpoint waits");
    world.store.checkpoint = CheckpointState::Idle;
    world.store.stopping = true;
    assert!(again(&mut world, key), "a stop waits");
    world.store.stopping = false;
    log_of(&mut world, key).space_target = 4096;
    assert!(!again(&mut world, key), "there is as much space as is wanted");
    log_of(&mut world, key).space_target = 4097;
    assert!(again(&mut world, key));
    assert!(world.store.undestaged.contains(&key));
    log_of(&mut world, key).space_target = 0;
    log_of(&mut world, key).roll();
    assert!(again(&mut world, key), "the segment has to be closed");
}

#[test]
fn a_log_without_a_whole_block_has_nothing_to_destage_whoever_waits() {
    let (mut world, key) = world_of(&[300]);
    world.store.limits.destage_from_bytes = 1;
    assert!(!again(&mut world, key));
    assert!(!world.store.undestaged.contains(&key));
    log_of(&mut world, key).space_target = 4097;
    assert!(again(&mut world, key), "but space is wanted");
}

#[test]
fn a_segment_goes_at_the_very_moment_that_it_is_due() {
    let (mut world, _) = world_of(&[]);
    let due_us = world.now.mono_us + 5000;
    let spec = RemoveSpec::Segment { dir: "t-0".into(), topic_id: coretide_model::TopicId(1), base_offset: 0 };
    world.store.discard(Garbage { after: 0, due_us, key: None, spec, told: false });
    for (now_us, left) in [(due_us - 1, 1), (due_us, 0)] {
        world.store.start_removals(Now { mono_us: now_us, wall_ms: 0 });
        assert_eq!(world.store.garbage.len(), left);
    }
}

#[test]
fn a_checkpoint_is_due_when_the_journal_has_grown_is_full_or_runs_short_of_files() {
    let (mut world, _) = world_of(&[]);
    let store = &mut world.store;
    store.limits.checkpoint_every_bytes = 1000;
    store.ring = ring(0, 4096, 1);
    for (written, due) in [(999, false), (1000, true)] {
        (store.journal_bytes, store.checkpoint_bytes) = (5000 + written, 5000);
        assert_eq!(store.checkpoint_due().is_some(), due, "{written} bytes since the last one");
    }
    store.journal_bytes = 5000;
    store.journal_full = true;
    assert!(store.checkpoint_due().is_some());
    store.journal_full = false;
    let cases = [
        // Full files, what the newest holds, free files, files at most, a full disk: due?
        ((1, 4097, 0, 2, false), true),
        ((1, 4096, 0, 2, false), false),
        ((1, 4097, 1, 3, false), false),
        ((1, 4097, 0, 3, false), false),
        ((1, 4097, 0, 3, true), true),
        ((2, 4097, 0, 3, false), true),
        ((0, 4097, 0, 1, false), false),
    ];
    for ((full, newest, free, most, disk_full), due) in cases {
        store.ring = ring(full, newest, free);
        store.limits.journal_files_max = most;
        store.disk_full_until_us = disk_full.then_some(u64::MAX);
        assert_eq!(
            store.checkpoint_due().is_some(),
            due,
            "{full} full files, {newest} bytes, {free} free, {most} at most"
        );
    }
}

fn advance(world: &mut World) -> &CheckpointState {
    world.store.advance_checkpoint(&mut |_| Bytes::new());
    &world.store.checkpoint
}

#[test]
fn a_checkpoint_waits_for_logs_that_need_older_files_than_the_newest_and_for_its_moment() {
    // The log needs its first commit.
    let pinned = || {
        let (mut world, key) = world_of(&[5000]);
        assert_eq!(log_of(&mut world, key).pin(), Some(1));
        world.store.journal_full = true;
        (world, key)
    };
    let (mut world, _) = pinned();
    world.store.ring = ring(0, 8192, 0);
    assert_eq!(*advance(&mut world), CheckpointState::Writing, "the newest file has that commit");
    let (mut world, key) = pinned();
    world.store.ring = ring(1, 8192, 0);
    assert_eq!(*advance(&mut world), CheckpointState::Wanted(2));
    assert!(world.store.want_destage.contains(key));
    let (mut world, _) = pinned();
    world.store.checkpoint_retry_us = Some(u64::MAX);
    assert_eq!(*advance(&mut world), CheckpointState::Idle, "not before its moment");
    let (mut world, _) = pinned();
    world.store.stopping = true;
    assert_eq!(*advance(&mut world), CheckpointState::Idle, "the last one follows");
}

#[test]
fn a_checkpoint_takes_logs_as_they_are_unless_the_journal_runs_short() {
    for (full, then) in [(false, CheckpointState::Writing), (true, CheckpointState::Wanted(3))] {
        let (mut world, key) = world_of(&[5000]);
        world.store.ring = ring(2, 8192, 0);
        world.store.limits.checkpoint_every_bytes = 1;
        world.store.journal_full = full;
        assert_eq!(*advance(&mut world), then, "the log waits for less than half of the cache");
        assert_eq!(world.store.want_destage.contains(key), full);
    }
}

/// What a checkpoint that is written now has, and its slot.
fn checkpoint(world: &mut World, clean: bool) -> (CheckpointImage, u8) {
    world.store.out.clear();
    world.store.write_checkpoint(&mut |_| Bytes::from_static(b"new"), clean);
    let Some(StoreOut::Job { mut job, .. }) = world.store.out.pop() else { panic!("a job is started") };
    let Step::Do(ops) = job.step(Vec::new()) else { panic!("it writes") };
    let written = ops.iter().find_map(|op| match op {
        Op::Write { file: FileId::Checkpoint { slot, .. }, bytes, durability: Durability::Written, .. } => {
            Some((bytes, *slot))
        }
        _ => None,
    });
    let (bytes, slot) = written.expect("a checkpoint is written");
    let Decoded::Good(image) = CheckpointImage::decode(bytes) else { panic!("it can be read") };
    (*image, slot)
}

#[test]
fn a_checkpoint_never_overwrites_the_one_before() {
    let (mut world, _) = world_of(&[300]);
    for _ in 0..3 {
        let before = world.store.checkpoint_slot;
        let (_, slot) = checkpoint(&mut world, false);
        assert_eq!(slot, 1 - before);
        let running = Running::Checkpoint { replay: 0, synced: 0, journal_bytes: 0, clean: false };
        end(&mut world, running, Ok(OwnOk::Done));
        assert_eq!(world.store.checkpoint_slot, slot);
    }
}

#[test]
fn a_checkpoint_asks_of_all_logs_that_changed_and_of_no_others() {
    for (dirty, offline) in [(true, false), (true, true), (false, false), (false, true)] {
        let (mut world, key) = world_of(&[300]);
        let log = log_of(&mut world, key);
        log.aux = Bytes::from_static(b"old");
        log.aux_dirty = dirty;
        log.offline = offline.then(|| error(BROKEN));
        checkpoint(&mut world, false);
        let aux = if dirty { "new" } else { "old" };
        assert_eq!(log_of(&mut world, key).aux, aux, "dirty {dirty}, offline {offline}");
    }
}

#[test]
fn a_checkpoint_names_what_is_being_removed_as_well_as_what_will_be() {
    let (mut world, _) = world_of(&[300]);
    let garbage = |base_offset| {
        let spec = RemoveSpec::Segment { dir: "t-0".into(), topic_id: coretide_model::TopicId(1), base_offset };
        Garbage { after: 0, due_us: 0, key: None, spec, told: false }
    };
    world.store.discard(garbage(1));
    world.store.running.insert(JOB, Running::Remove { garbage: garbage(2) });
    let (image, _) = checkpoint(&mut world, false);
    let named: Vec<RemoveSpec> = image.garbage.iter().map(GarbageImage::spec).collect();
    assert_eq!(named, [garbage(1).spec, garbage(2).spec]);
}

#[test]
fn a_stop_is_clean_when_no_commit_has_to_be_read_again() {
    for (bytes, is_clean) in [(300, true), (5000, false)] {
        let (mut world, key) = world_of(&[bytes]);
        assert_eq!(log_of(&mut world, key).pin().is_none(), is_clean, "less than a block is carried");
        let (image, _) = checkpoint(&mut world, true);
        assert_eq!((image.meta.clean, image.replay.is_none()), (is_clean, is_clean));
        assert!(world.store.ended);
        let (image, _) = checkpoint(&mut world_of(&[bytes]).0, false);
        assert!(!image.meta.clean && image.replay.is_some());
    }
}

#[test]
fn a_stop_gives_up_when_the_journal_is_full_and_there_is_no_room_to_empty_it() {
    for (full, waits, gives_up) in
        [(0, false, true), (1, false, false), (1, true, true), (2, true, true), (2, false, false)]
    {
        let (mut world, _) = world_of(&[]);
        let store = &mut world.store;
        store.ring = ring(full, 8192, 0);
        (store.stopping, store.journal_full, store.disk_full_until_us) = (true, true, Some(u64::MAX));
        store.checkpoint_retry_us = waits.then_some(u64::MAX);
        store.advance_stop();
        assert_eq!(store.poisoned.is_some(), gives_up, "{} files, waits {waits}", full + 1);
    }
}

#[test]
fn the_last_checkpoint_comes_when_nothing_else_runs_or_will() {
    let ready = || {
        let (mut world, _) = world_of(&[300]);
        (world.store.stopping, world.store.all_finished) = (true, true);
        assert!(world.store.wants_last_checkpoint());
        world
    };
    let mut world = ready();
    world.store.running.insert(JOB, Running::Measure);
    assert!(!world.store.wants_last_checkpoint());
    let mut world = ready();
    let spec = RemoveSpec::Segment { dir: "t-0".into(), topic_id: coretide_model::TopicId(1), base_offset: 0 };
    world.store.discard(Garbage { after: 0, due_us: 0, key: None, spec, told: false });
    assert!(!world.store.wants_last_checkpoint());
    let mut world = world_of(&[300]).0;
    world.append(1, 300, Durable);
    world.tick();
    (world.store.stopping, world.store.all_finished) = (true, true);
    assert!(!world.store.wants_last_checkpoint(), "a commit is in flight");
}

/// What the next destage of a log is, with a change to it first.
fn plan(batches: &[usize], stopping: bool, change: impl Fn(&mut Log)) -> Option<DestageRun> {
    let (mut world, key) = world_of(batches);
    let (committed, buffers) = (world.store.committed, world.store.destage_buffers.clone());
    let log = log_of(&mut world, key);
    change(log);
    plan_destage(key, log, committed, stopping, u64::MAX, &buffers).map(|(run, _)| run)
}

#[test]
fn a_destage_takes_space_ahead_when_the_file_is_too_short_and_only_for_a_segment_that_goes_on() {
    const STEP: u32 = 4096 + (64 << 10);
    let with_space = |created: bool, allocated: u32, target: u32| {
        move |log: &mut Log| {
            (log.open_mut().created, log.open_mut().allocated, log.space_target) = (created, allocated, target);
        }
    };
    let allocated = |stopping: bool, created: bool, allocated: u32, target: u32| {
        plan(&[5000], stopping, with_space(created, allocated, target)).map(|run| run.allocated)
    };
    assert_eq!(allocated(false, false, 0, 0), Some(STEP));
    assert_eq!(allocated(false, false, 8192, 0), Some(STEP), "there is no file");
    assert_eq!(allocated(false, true, 4096, 0), Some(4096), "there is as much as is needed");
    assert_eq!(allocated(false, true, 4095, 0), Some(STEP));
    assert_eq!(allocated(false, true, 8192, 8192), Some(8192), "there is as much as is wanted");
    assert_eq!(allocated(false, true, 8192, 8193), Some(STEP));
    assert_eq!(allocated(false, true, 8192, 80_000), Some(80_000));
    assert_eq!(allocated(true, true, 4096, 80_000), Some(8192), "a stop takes the two blocks that are written");
    let closing = |log: &mut Log| {
        log.roll();
        log.space_target = 80_000;
    };
    assert_eq!(plan(&[5000], false, closing).map(|run| run.allocated), Some(8192), "a closing segment, too");
}

#[test]
fn index_entries_are_written_when_there_are_many_or_the_segment_ends() {
    // 20 entries are 160 bytes of the one file, and up to 240 of the other.
    let batches = [1500; 20];
    let few = plan(&batches, false, |_| {}).expect("there are whole blocks");
    assert_eq!(few.index_entries, 0);
    let last = plan(&batches, true, |_| {}).expect("it ends");
    assert!(last.index_entries > 10 && last.complete, "{last:?}");
    // As many as are worth a write, of blocks that are in the file already.
    let many = |directs: usize| {
        move |log: &mut Log| {
            log.directs = directs;
            let open = log.open_mut();
            (open.created, open.allocated, open.destaged) = (true, 4096, 4096);
            for n in 0..INDEX_FLUSH_BYTES as u32 / 8 {
                open.index.note_batch(0, 1 + n, 0, -1, 0);
            }
        }
    };
    let run = plan(&[5000], false, many(0)).expect("the entries");
    assert_eq!((run.from, run.to, run.writes, run.index_entries), (4096, 4096, true, INDEX_FLUSH_BYTES / 8));
    assert!(plan(&[5000], false, many(1)).is_none(), "nothing is written beside a direct write");
}

#[test]
fn a_destage_takes_no_pieces_without_bytes() {
    let (mut world, key) = world_of(&[5000, 300, 300]);
    let committed = world.store.committed;
    let log = log_of(&mut world, key);
    let pieces = |to: u32| undestaged_pieces(log, log.open(), committed, to).iter().map(Bytes::len).collect::<Vec<_>>();
    let first = log.runs[0].bytes.len();
    assert_eq!(pieces(first as u32), [first]);
    assert_eq!(pieces(first as u32 + 1), [first, 1]);
}
