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
