//! Plans of reads, each for itself: what of memory they take, what they leave to a job, and what earlier reads taught.

use super::*;
use crate::batch::patch;
use crate::io::Durability::Durable;
use crate::store::tests::world::{World, batch_of, small_config, small_limits};

const SIZE: usize = 1000;

/// A world with one log and commits of so many batches of one record and 1,000 bytes each, all in memory.
fn hot(commits: &[usize]) -> (World, LogKey) {
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    let key = world.logs[&log].key;
    for batches in commits {
        (0..*batches).for_each(|_| stage(&mut world, key, 0));
        world.settle();
    }
    (world, key)
}

/// Stages a batch, so many offsets behind the end.
fn stage(world: &mut World, key: LogKey, gap: i64) {
    let end = world.store.end_offset(key);
    world.store.stage(key, world.now, &batch_of(SIZE), end + gap, 3, Durable).expect("the log is online");
}

/// The sizes of the extents of a read, and the offset behind it.
fn read(world: &mut World, key: LogKey, from: i64, limit: i64, max: usize) -> (Vec<usize>, i64) {
    match world.store.plan_read(key, from, limit, max, true) {
        ReadPlan::Ready(ready) => (ready.extents.iter().map(Extent::len).collect(), ready.next_offset),
        other => panic!("all of it is in memory: {other:?}"),
    }
}

#[test]
fn a_read_takes_runs_and_the_fronts_of_runs_up_to_its_limits() {
    let (mut world, key) = hot(&[1, 1, 5, 1]);
    let all = i64::MAX;
    assert_eq!(read(&mut world, key, 0, all, 1 << 20), (vec![SIZE, SIZE, 5 * SIZE, SIZE], 8));
    assert_eq!(read(&mut world, key, 3, all, 3 * SIZE), (vec![3 * SIZE], 6), "from within a run");
    assert_eq!(read(&mut world, key, 3, all, 3 * SIZE - 1), (vec![2 * SIZE], 5));
    assert_eq!(read(&mut world, key, 0, all, 7 * SIZE), (vec![SIZE, SIZE, 5 * SIZE], 7));
    assert_eq!(read(&mut world, key, 0, all, 7 * SIZE - 1), (vec![SIZE, SIZE, 4 * SIZE], 6));
    assert_eq!(read(&mut world, key, 0, 4, 1 << 20), (vec![SIZE, SIZE, 2 * SIZE], 4));
    assert_eq!(read(&mut world, key, 0, 2, 1 << 20), (vec![SIZE, SIZE], 2));
    assert_eq!(read(&mut world, key, 0, all, 1), (vec![SIZE], 1), "the first batch, whatever its size");
    assert!(matches!(world.store.plan_read(key, 0, all, SIZE - 1, false), ReadPlan::Empty));
    world.store.limits.extents_max = 2;
    assert_eq!(read(&mut world, key, 0, all, 1 << 20), (vec![SIZE, SIZE], 2));
}

#[test]
fn a_read_ends_before_a_run_that_has_only_the_end_of_its_batch() {
    let (mut world, key) = hot(&[1, 1, 1]);
    world.store.log_mut(key).expect("it exists").runs[2].whole = false;
    assert_eq!(read(&mut world, key, 0, i64::MAX, 1 << 20), (vec![SIZE, SIZE], 2));
}

#[test]
fn offsets_are_in_range_from_the_start_to_the_end_and_a_gap_is_read_over() {
    let (mut world, key) = hot(&[1, 1]);
    stage(&mut world, key, 10);
    world.settle();
    world.store.set_log_start(key, world.now, 1);
    let mut plan = |from| world.store.plan_read(key, from, i64::MAX, 1 << 20, true);
    assert!(matches!(plan(0), ReadPlan::OutOfRange));
    assert!(matches!(plan(1), ReadPlan::Ready(_)));
    assert!(matches!(plan(13), ReadPlan::Empty), "the end");
    assert!(matches!(plan(14), ReadPlan::OutOfRange));
    assert!(matches!(plan(5), ReadPlan::Ready(ready) if ready.next_offset == 13 && ready.bytes == SIZE));
}

fn range(from: u32, to: u32, segment: i64) -> Verified {
    Verified { segment, from, to, to_offset: i64::from(to) / 10 }
}

#[test]
fn verified_ranges_are_joined_with_what_they_touch() {
    let joined = |known: Verified, range: Verified| {
        let mut cursors = Cursors::default();
        cursors.note_verified(known);
        cursors.note_verified(range);
        cursors.verified.iter().map(|it| (it.segment, it.from, it.to, it.to_offset)).collect::<Vec<_>>()
    };
    assert_eq!(joined(range(0, 100, 0), range(100, 200, 0)), [(0, 0, 200, 20)]);
    assert_eq!(joined(range(100, 200, 0), range(0, 100, 0)), [(0, 0, 200, 20)]);
    assert_eq!(joined(range(100, 200, 0), range(0, 300, 0)), [(0, 0, 300, 30)]);
    assert_eq!(joined(range(0, 300, 0), range(100, 200, 0)), [(0, 0, 300, 30)]);
    assert_eq!(joined(range(0, 100, 0), range(101, 200, 0)), [(0, 0, 100, 10), (0, 101, 200, 20)]);
    assert_eq!(joined(range(101, 200, 0), range(0, 100, 0)), [(0, 101, 200, 20), (0, 0, 100, 10)]);
    assert_eq!(joined(range(0, 100, 0), range(100, 200, 7)), [(0, 0, 100, 10), (7, 100, 200, 20)]);
}

/// Batches of one record and 1,000 bytes, from an offset on.
fn batches(from: i64, count: i64) -> Bytes {
    let mut bytes = Vec::new();
    for offset in from..from + count {
        let at = bytes.len();
        bytes.extend_from_slice(batch_of(SIZE).bytes());
        patch(&mut bytes[at..], offset, 3);
    }
    Bytes::from(bytes)
}

/// What was read ahead: one batch and two more.
fn held() -> ReadReady {
    let extents = [batches(0, 1), batches(1, 2)].into_iter().map(Extent::Hot).collect();
    ReadReady { extents, bytes: 3 * SIZE, first_batch_bytes: SIZE, next_offset: 3 }
}

/// A read of the first offset that finds nothing in memory.
fn cold(limit_offset: i64, max_bytes: usize, at_least_one: bool) -> ColdRead {
    let (mut world, key) = hot(&[1, 1, 1]);
    let log = world.store.log_mut(key).expect("it exists");
    log.runs.clear();
    match world.store.plan_read(key, 0, limit_offset, max_bytes, at_least_one) {
        ReadPlan::Cold(read) => read,
        other => panic!("nothing is in memory: {other:?}"),
    }
}

#[test]
fn a_read_takes_of_what_was_read_ahead_what_it_may_have_and_leaves_the_rest_if_that_is_as_much_again() {
    let take = |limit, max, at_least_one| {
        let (taken, rest) = cold(limit, max, at_least_one).take_from(&held());
        let sizes = |ready: &ReadReady| ready.extents.iter().map(Extent::len).collect::<Vec<_>>();
        let rest = rest.map(|rest| (sizes(&rest), rest.bytes, rest.first_batch_bytes, rest.next_offset));
        (sizes(&taken), taken.next_offset, rest)
    };
    assert_eq!(take(3, 3 * SIZE, true), (vec![SIZE, 2 * SIZE], 3, None), "all of it");
    assert_eq!(take(3, 3 * SIZE - 1, true), (vec![SIZE, SIZE], 2, None), "one batch is not as much again");
    assert_eq!(take(2, 3 * SIZE, true), (vec![SIZE, SIZE], 2, None));
    assert_eq!(take(3, 2 * SIZE, true), (vec![SIZE, SIZE], 2, Some((vec![SIZE], SIZE, SIZE, 3))));
    assert_eq!(take(3, SIZE, true), (vec![SIZE], 1, Some((vec![2 * SIZE], 2 * SIZE, SIZE, 3))));
    assert_eq!(take(3, SIZE - 1, false), (vec![], 0, None), "not one batch");
}

#[test]
fn what_is_behind_is_what_was_not_taken_and_only_memory_can_be_split() {
    let taken = |bytes| ReadReady { bytes, ..ReadReady::default() };
    let behind = held().behind(&taken(2 * SIZE)).expect("one batch");
    assert_eq!((behind.extents.as_slice(), behind.bytes), ([Extent::Hot(batches(2, 1))].as_slice(), SIZE));
    assert_eq!(held().behind(&taken(3 * SIZE)), None);
    let file = super::super::segment_file(&std::sync::Arc::from("t-0"), 0);
    let mut mixed = held();
    assert!(mixed.is_in_memory());
    mixed.extents.push(Extent::File { file, at: 0, len: 9 });
    assert!(!mixed.is_in_memory());
    assert_eq!(mixed.behind(&taken(SIZE)), None);
}

#[test]
fn a_read_says_whether_it_goes_on_where_another_ended_and_whether_that_was_verified() {
    let read = cold(i64::MAX, SIZE, true);
    assert!(!read.is_sequential() && !read.is_verified());
    let (mut world, key) = hot(&[1, 1, 1]);
    let log = world.store.log_mut(key).expect("it exists");
    log.runs.clear();
    log.cursors.push(ColdPlace { segment: 0, position: SIZE as u32, offset: 1 });
    let mut plan = |verified: Option<Verified>| {
        verified
            .into_iter()
            .for_each(|range| world.store.log_mut(key).expect("it exists").cursors.note_verified(range));
        match world.store.plan_read(key, 1, i64::MAX, SIZE, true) {
            ReadPlan::Cold(read) => (read.is_sequential(), read.is_verified()),
            other => panic!("nothing is in memory: {other:?}"),
        }
    };
    assert_eq!(plan(None), (true, false));
    assert_eq!(plan(Some(range(0, 2 * SIZE as u32, 0))), (true, true));
}

#[test]
fn a_cold_read_begins_at_the_last_entry_before_it_that_is_in_the_file() {
    let (mut world, key) = hot(&[1]);
    let log = world.store.log_mut(key).expect("it exists");
    let segment = log.open_mut();
    segment.base_offset = 50;
    segment.destaged = 4096;
    let entry = |relative_offset, position| IndexEntry { relative_offset, position, time: None };
    segment.index.pending = vec![entry(1, 100), entry(4, 4095), entry(6, 4096)];
    let start = |offset| match log.cold_source(log.open(), offset).1 {
        ColdStart::Ends { position, last_offset } => Some((position, last_offset)),
        ColdStart::Unknown => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [50, 51, 53, 54, 60].map(start),
        [None, Some((100, 51)), Some((100, 51)), Some((4095, 54)), Some((4095, 54))]
    );
}

/// Which segments a search by time looks at.
fn searched(world: &mut World, key: LogKey, target_ms: i64) -> Vec<i64> {
    match world.store.find_timestamp(key, target_ms, i64::MAX) {
        TimeLookup::Ready(found) => found.map_or_else(Vec::new, |_| panic!("nothing is known without a look")),
        TimeLookup::Cold(read) => read.segments.iter().map(|segment| segment.source.segment).collect(),
    }
}

#[test]
fn a_search_by_time_looks_only_at_segments_that_may_hold_the_record() {
    let (mut world, key) = hot(&[]);
    assert_eq!(searched(&mut world, key, -1), Vec::<i64>::new(), "an empty log");
    let log = world.create();
    for n in 0..6 {
        world.append_at(log, 100, Durable, 1000 + n * 100);
        world.settle();
        let key = world.logs[&log].key;
        world.store.log_mut(key).expect("it exists").roll();
    }
    let key = world.logs[&log].key;
    let bases: Vec<i64> = world.logs[&log].batches.iter().map(|batch| batch.base_offset).collect();
    assert_eq!(searched(&mut world, key, 1300), bases[3..]);
    assert_eq!(searched(&mut world, key, -1), bases, "the last segment has nothing yet");
    assert_eq!(searched(&mut world, key, 1501), Vec::<i64>::new());
    world.store.log_mut(key).expect("it exists").log_start = bases[4];
    assert_eq!(searched(&mut world, key, 1000), bases[4..], "what ends at the log's start is not in it");
}

#[test]
fn a_place_that_cannot_be_read_is_told_once_and_some_places_at_most() {
    let (mut world, key) = hot(&[1]);
    let tell = |world: &mut World, path: &str| {
        world.store.out.clear();
        world.store.note_failed_read(key, &ReadFailure::Missing { path: path.to_string() });
        let text = |out: &crate::store::StoreOut| match out {
            crate::store::StoreOut::Notice(notice) => notice.text.clone(),
            other => panic!("{other:?}"),
        };
        world.store.out.first().map(text)
    };
    for n in 1..=UNREADABLE_TOLD_MAX {
        let told = tell(&mut world, &format!("place {n}")).expect("it is new");
        assert_eq!(told.contains("further places"), n == UNREADABLE_TOLD_MAX, "{told}");
        assert_eq!(tell(&mut world, &format!("place {n}")), None, "once");
    }
    assert_eq!(tell(&mut world, "one more"), None);
    let (mut world, key) = hot(&[1]);
    world.store.note_failed_read(key, &ReadFailure::Gone);
    assert!(world.store.out.is_empty(), "a deleted segment is nothing to tell");
}

#[test]
fn a_search_learns_what_a_read_does() {
    let (mut world, key) = hot(&[1]);
    let mut done = TimeDone { key, segment: Some(0), result: Err(ReadFailure::Gone), suspect: Some(0) };
    world.store.note_search(&mut done);
    assert!(matches!(&done.result, Err(ReadFailure::Missing { path }) if path.ends_with(".log")), "{done:?}");
    assert_eq!(world.store.log(key).expect("it exists").unreadable.len(), 1);
    let mut deleted = TimeDone { key, segment: Some(77), result: Err(ReadFailure::Gone), suspect: None };
    world.store.note_search(&mut deleted);
    assert!(matches!(deleted.result, Err(ReadFailure::Gone)));
}
