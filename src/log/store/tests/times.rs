//! What is said of a log's timestamps, and what they decide.

use super::world::{Lookup, World, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::store::segment::Segment;
use crate::store::{BatchSummary, LogConfig};

#[test]
fn the_largest_timestamp_is_that_of_a_committed_record() {
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    world.append_at(log, 500, Durable, 1_000_000);
    world.settle();
    world.append_at(log, 500, Durable, 2_000_000);
    world.append_at(log, 500, Durable, 3_000_000);
    world.tick();
    let model = world.logs[&log].clone();
    let first_end = model.batches[1].base_offset;
    let found = world.find(model.key, Lookup::Max).expect("there is one");
    assert_eq!((found.timestamp_ms, found.offset), (1_000_000, first_end - 1));
    world.settle();
    let found = world.find(model.key, Lookup::Max).expect("there is one");
    assert_eq!((found.timestamp_ms, found.offset), (3_000_000, model.end() - 1));
}

#[test]
fn of_equal_timestamps_the_first_counts_in_whatever_segment_it_is() {
    let mut world = World::new(2, small_limits(), small_config());
    let log = world.create();
    for _ in 0..40 {
        world.append_at(log, 8000, Durable, 1_000_000);
        world.settle();
    }
    let key = world.logs[&log].key;
    assert!(world.store.log(key).expect("it is there").segments.len() > 2);
    let found = world.find(key, Lookup::Max).expect("there is one");
    assert_eq!(found.offset, world.logs[&log].batches[1].base_offset - 1);
}

#[test]
fn the_first_moments_of_time_are_timestamps_and_none_is_none() {
    for timestamp in [0, 1] {
        let mut world = World::new(3, small_limits(), small_config());
        let log = world.create();
        let key = world.logs[&log].key;
        assert_eq!(world.find(key, Lookup::Max), None);
        world.append_at(log, 500, Durable, timestamp);
        world.settle();
        let found = world.find(key, Lookup::Max).expect("there is one");
        assert_eq!(found.timestamp_ms, timestamp);
    }
    let mut world = World::new(3, small_limits(), small_config());
    let log = world.create();
    world.append_at(log, 500, Durable, -1);
    world.settle();
    assert_eq!(world.find(world.logs[&log].key, Lookup::Max), None, "no record has one");
}

#[test]
fn a_segment_goes_when_its_youngest_record_is_older_than_retention_ms() {
    let mut world = World::new(4, small_limits(), LogConfig { segment_bytes: 40 << 10, ..small_config() });
    let log = world.create();
    for n in 0..20 {
        world.append_at(log, 8000, Durable, 1_000_000 + n);
        world.settle();
    }
    let (key, end) = (world.logs[&log].key, world.logs[&log].end());
    let first = world.store.log(key).expect("it is there").segments[0].clone();
    world.now.wall_ms = first.index.max.timestamp + 5000;
    assert_eq!(world.store.retention(key, world.now, 5000, -1, end), 0, "it is as old as it may be");
    world.now.wall_ms += 1;
    assert_eq!(world.store.retention(key, world.now, 5000, -1, end), first.next_offset);
}

fn summary(last_offset: i64, max_timestamp: i64, size_bytes: u32) -> BatchSummary {
    BatchSummary {
        base_offset: last_offset,
        last_offset,
        leader_epoch: 0,
        attributes: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        max_timestamp,
        size_bytes,
    }
}

/// One write may take several batches to an empty segment: the first of them says from when on its time counts.
#[test]
fn batches_fit_an_empty_segment_as_far_as_segment_ms_goes() {
    let config = LogConfig { segment_ms: 1000, ..small_config() };
    let fits = |timestamps: &[i64], created_ms: i64, now_ms: i64| {
        let segment = Segment { created_ms, ..Segment::new(0) };
        let batches: Vec<BatchSummary> =
            timestamps.iter().enumerate().map(|(n, ms)| summary(n as i64, *ms, 100)).collect();
        segment.fits(&config, batches.iter(), now_ms)
    };
    assert!(fits(&[5000, 6000], 0, 0));
    assert!(!fits(&[5000, 6001], 0, 0));
    assert!(fits(&[0, 1000], 0, 90_000) && !fits(&[0, 1001], 0, 0));
    // Without timestamps it is the broker's clock.
    assert!(fits(&[-1, -1], 4000, 5000) && !fits(&[-1, -1], 4000, 5001));
    assert!(fits(&[-1, 99_000], 4000, 5000), "none in the first: the clock");
}

#[test]
fn a_segment_rolls_before_a_batch_that_is_too_much_for_it() {
    let config = LogConfig { segment_ms: 1000, segment_bytes: 5000, segment_index_bytes: 60, ..small_config() };
    let segment = |end, roll_timestamp| Segment { end, roll_timestamp, created_ms: 4000, ..Segment::new(100) };
    let rolls = |segment: &Segment, last_offset, timestamp, bytes, now_ms| {
        segment.must_roll(&config, &summary(last_offset, timestamp, bytes), now_ms)
    };
    let begun = segment(1000, Some(7000));
    assert!(!rolls(&begun, 101, 7000, 4000, 0) && rolls(&begun, 101, 7000, 4001, 0), "segment.bytes");
    assert!(!rolls(&begun, 101, 8000, 10, 99_000) && rolls(&begun, 101, 8001, 10, 0), "segment.ms");
    assert!(!rolls(&begun, 101, -1, 10, 5000) && rolls(&begun, 101, -1, 10, 5001), "by the clock without a timestamp");
    let timeless = segment(1000, None);
    assert!(!rolls(&timeless, 101, 99_000, 10, 5000) && rolls(&timeless, 101, 99_000, 10, 5001), "in the first, too");
    let last = 100 + i64::from(i32::MAX);
    assert!(!rolls(&begun, last, 7000, 10, 0) && rolls(&begun, last + 1, 7000, 10, 0), "offsets have 32 bits");
    let empty = segment(0, None);
    assert!(!rolls(&empty, last + 9, 99_000, 9000, 99_000), "an empty one never does");
    let mut full = segment(1000, Some(7000));
    full.index.time_bytes = 36;
    assert!(!rolls(&full, 101, 7000, 10, 0), "room for this entry and the last one");
    full.index.time_bytes = 37;
    assert!(rolls(&full, 101, 7000, 10, 0), "segment.index.bytes");
    full.end = 0;
    assert!(!rolls(&full, 101, 7000, 10, 0));
}

#[test]
fn the_first_batch_says_from_when_on_a_segment_s_time_counts() {
    for (timestamp, wanted) in [(7000, Some(7000)), (0, Some(0)), (-1, None)] {
        let mut segment = Segment::new(5);
        segment.note_batch(&small_config(), &summary(5, timestamp, 100), 4000);
        segment.note_batch(&small_config(), &summary(6, 9000, 100), 6000);
        assert_eq!((segment.roll_timestamp, segment.created_ms), (wanted, 4000));
        assert_eq!((segment.end, segment.next_offset), (200, 7));
    }
}

#[test]
fn records_without_timestamps_are_as_old_as_their_segment() {
    let mut world = World::new(5, small_limits(), LogConfig { segment_bytes: 40 << 10, ..small_config() });
    let log = world.create();
    for _ in 0..20 {
        world.append_at(log, 8000, Durable, -1);
        world.settle();
    }
    let (key, end) = (world.logs[&log].key, world.logs[&log].end());
    let first = world.store.log(key).expect("it is there").segments[0].clone();
    assert_eq!(first.index.max.timestamp, -1);
    world.now.wall_ms = first.created_ms + 5000;
    assert_eq!(world.store.retention(key, world.now, 5000, -1, end), 0);
    world.now.wall_ms += 1;
    assert_eq!(world.store.retention(key, world.now, 5000, -1, end), first.next_offset);
}

#[test]
fn segments_go_by_size_while_what_is_left_is_enough() {
    let mut world = World::new(6, small_limits(), LogConfig { segment_bytes: 40 << 10, ..small_config() });
    let log = world.create();
    for _ in 0..40 {
        world.append(log, 8000, Durable);
        world.settle();
    }
    let (key, end) = (world.logs[&log].key, world.logs[&log].end());
    let segments: Vec<Segment> = world.store.log(key).expect("it is there").segments.iter().cloned().collect();
    let all = world.store.log_bytes(key) as i64;
    let two = i64::from(segments[0].end) + i64::from(segments[1].end);
    assert_eq!(
        world.store.retention(key, world.now, -1, all - i64::from(segments[0].end) + 1, end),
        0,
        "a byte too few"
    );
    assert_eq!(world.store.retention(key, world.now, -1, all - two + 1, end), segments[1].base_offset);
    assert_eq!(world.store.retention(key, world.now, -1, all - two, end), segments[2].base_offset);
    // Nothing above the caller's limit goes, however small the log is to be.
    let limit = segments[3].base_offset;
    assert_eq!(world.store.retention(key, world.now, -1, 0, limit - 1), segments[2].base_offset);
    assert_eq!(world.store.retention(key, world.now, -1, 0, limit), limit);
    assert_eq!(world.store.retention(key, world.now, -1, -1, end), limit, "-1 turns it off");
}

#[test]
fn a_segment_of_the_first_moment_of_time_is_old_however_young_its_file() {
    let mut world = World::new(4, small_limits(), small_config());
    let log = world.create();
    world.append_at(log, 500, Durable, 0);
    world.settle();
    let key = world.logs[&log].key;
    world.store.retention(key, world.now, 1_000_000, -1, i64::MAX);
    assert_eq!(world.store.log(key).expect("it is there").segments.len(), 2, "it is rolled, to go later");
}

#[test]
fn an_old_segment_is_not_rolled_while_batches_are_on_their_way_to_it_or_are_above_the_limit() {
    let segments = |staged: bool, limit_below_end: i64| {
        let mut world = World::new(5, small_limits(), small_config());
        let log = world.create();
        world.append_at(log, 500, Durable, 1000);
        world.settle();
        let limit = world.logs[&log].acked - limit_below_end;
        if staged {
            world.append_at(log, 500, Durable, 1000);
        }
        let key = world.logs[&log].key;
        world.store.retention(key, world.now, 1_000_000, -1, limit);
        world.store.log(key).expect("it is there").segments.len()
    };
    assert_eq!(segments(false, 0), 2);
    assert_eq!(segments(false, 1), 1);
    assert_eq!(segments(true, 0), 1);
}
