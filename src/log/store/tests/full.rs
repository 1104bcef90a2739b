//! A disk without room, and a disk that fails once, at any moment: whatever was acknowledged is there afterwards.

use super::world::{World, boot, small_config, small_limits};
use crate::io::Durability::Durable;

/// A batch to one of the logs, or a step of the work, or room that comes and goes.
fn step(world: &mut World, logs: &[u32]) {
    match world.prng.below(100) {
        0..30 => {
            let (log, bytes) = (logs[world.prng.below(logs.len() as u64) as usize], 100 + world.prng.below(15_000));
            world.append(log, bytes as usize, Durable);
        }
        30..34 => world.disk.capacity = Some(world.disk.used() + world.prng.below(100 << 10)),
        34..36 => world.disk.capacity = None,
        36..38 => {
            let key = world.logs[&logs[0]].key;
            world.store.retention(key, world.now, -1, 60_000, i64::MAX);
            let start = world.store.log_start_offset(key);
            world.logs.get_mut(&logs[0]).expect("it exists").start = start;
        }
        38..70 => world.tick(),
        _ => drop(world.work()),
    }
}

fn goes_on(world: &mut World, logs: &[u32]) {
    world.check_all_reads();
    for &log in logs.iter().filter(|log| world.logs.contains_key(log)).collect::<Vec<_>>() {
        world.append(log, 5000, Durable);
    }
    world.settle();
    world.check_all_reads();
    for model in world.logs.values() {
        let what = (world.store.backlog_bytes(), world.store.next_deadline(), world.store.is_offline(model.key));
        assert_eq!(model.acked, model.end(), "with room everything is acknowledged: {what:?}");
    }
}

#[test]
fn bug_kafka_13773_no_room_at_any_moment_loses_nothing_and_needs_no_restart() {
    for seed in 0..60 {
        let mut world = World::new(seed, small_limits(), small_config());
        let logs = [world.create(), world.create(), world.create()];
        for _ in 0..800 {
            step(&mut world, &logs);
        }
        world.disk.capacity = None;
        world.settle();
        goes_on(&mut world, &logs);
        assert!(
            logs.iter().all(|log| world.store.is_offline(world.logs[log].key).is_none()),
            "a full disk is no failure"
        );
    }
}

#[test]
fn bug_kafka_10471_a_stop_without_room_ends_and_keeps_what_was_acknowledged() {
    let mut full_starts = 0;
    for seed in 100..160 {
        let mut world = World::new(seed, small_limits(), small_config());
        let logs = [world.create(), world.create(), world.create()];
        for _ in 0..600 {
            step(&mut world, &logs);
        }
        world.disk.capacity = Some(world.disk.used() + world.prng.below(20 << 10));
        world.stop();
        world.kill();
        full_starts += u64::from(world.reboot_with_room());
        goes_on(&mut world, &logs);
    }
    assert!(full_starts > 0, "some starts found too little room, and lost nothing by trying");
}

#[test]
fn bug_kafka_10471_a_stop_that_could_not_complete_its_segments_is_not_called_clean() {
    let mut world = World::new(7, small_limits(), small_config());
    let log = world.create();
    for _ in 0..4 {
        world.append(log, 4000, Durable);
        world.settle();
    }
    world.disk.faults.push(("allocate", "topic".to_string(), 28));
    world.stop();
    world.disk.faults.clear();
    world.kill();
    let config = world.boot_config(1);
    let report = boot(&mut world.disk.clone(), config);
    assert!(!report.clean, "its journal has to be read");
    world.reboot();
    world.check_all_reads();
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
}

#[test]
fn a_kill_without_room_loses_nothing_even_if_the_start_finds_too_little() {
    for seed in 200..260 {
        let mut world = World::new(seed, small_limits(), small_config());
        let logs = [world.create(), world.create(), world.create()];
        for _ in 0..600 {
            step(&mut world, &logs);
        }
        world.disk.capacity = Some(world.disk.used() + world.prng.below(20 << 10));
        for _ in 0..100 {
            step(&mut world, &logs[..1]);
        }
        world.crash();
        world.reboot_with_room();
        goes_on(&mut world, &logs);
    }
}

#[test]
fn a_journal_file_that_does_not_fit_leaves_nothing_behind() {
    let mut world = World::new(8, small_limits(), small_config());
    let log = world.create();
    world.disk.capacity = Some(world.disk.used() + (100 << 10));
    for _ in 0..300 {
        world.append(log, 3000, Durable);
        world.tick();
        world.work();
    }
    for _ in 0..3000 {
        world.tick();
        world.work();
    }
    let journals = world.disk.paths().iter().filter(|path| path.contains("journal-")).count();
    assert_eq!(journals, 1, "{:?}", world.disk.paths());
    let told: Vec<&str> = world.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert!(matches!(told[..], [one] if one.contains("the disk is full")), "said once: {told:?}");
    world.disk.capacity = None;
    world.settle();
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
}

#[test]
fn fsyncgate_one_error_at_every_operation_in_turn_acknowledges_nothing_that_a_power_cut_takes() {
    let mut failed = 0;
    for place in 0..180 {
        let mut world = World::new(9, small_limits(), small_config());
        let logs = [world.create(), world.create()];
        world.disk.fails_in = Some(place);
        for n in 0..120 {
            world.append(logs[n % 2], if n % 9 == 0 { 14_000 } else { 900 }, Durable);
            world.tick();
            world.work();
            world.work();
        }
        for _ in 0..300 {
            world.tick();
            world.work();
        }
        failed += u64::from(world.disk.fails_in.is_none());
        let offline = logs.iter().any(|log| world.store.is_offline(world.logs[log].key).is_some());
        assert!(!offline || !world.notices.is_empty(), "failure {place} was not told");
        world.disk.fails_in = None;
        world.check_all_reads();
        world.crash();
        world.reboot();
        goes_on(&mut world, &logs);
    }
    assert!(failed > 150, "{failed} of 180 places were reached");
}

#[test]
fn a_full_flush_is_a_failed_flush() {
    let mut world = World::new(10, small_limits(), small_config());
    let (bad, good) = (world.create(), world.create());
    let dir = world.logs[&bad].dir.to_string();
    world.disk.faults.push(("sync", format!("{dir}/"), 28));
    for _ in 0..40 {
        world.append(bad, 2000, Durable);
        world.append(good, 2000, Durable);
        world.settle();
    }
    assert!(world.store.is_offline(world.logs[&bad].key).is_some(), "what it was to save may be gone");
    assert!(world.store.is_offline(world.logs[&good].key).is_none());
    let told: Vec<&str> = world.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert!(
        matches!(told[..], [one] if one.contains(&dir) && one.contains("errno 28") && one.contains("restart")),
        "{told:?}"
    );
}

#[test]
fn what_cannot_be_removed_is_said_once_and_tried_again() {
    let mut world = World::new(11, small_limits(), small_config());
    let log = world.create();
    for _ in 0..100 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    let key = world.logs[&log].key;
    let dir = world.logs[&log].dir.to_string();
    world.disk.faults.push(("read", format!("{dir}/partition.metadata"), 5));
    world.store.retention(key, world.now, -1, 100_000, i64::MAX);
    let start = world.store.log_start_offset(key);
    world.logs.get_mut(&log).expect("it exists").start = start;
    let files = |world: &World| world.disk.paths().iter().filter(|path| path.ends_with(".log")).count();
    let before = files(&world);
    for _ in 0..3 {
        world.now.mono_us += 61_000_000;
        for _ in 0..50 {
            world.tick();
            world.work();
        }
    }
    assert_eq!(files(&world), before);
    assert!(world.notices.len() <= before, "each segment once: {:?}", world.notices);
    assert!(world.notices.iter().all(|notice| notice.text.contains("errno 5")), "{:?}", world.notices);
    world.disk.faults.clear();
    for _ in 0..50 {
        world.tick();
        world.work();
    }
    assert_eq!(files(&world), before, "not before a minute is over");
    world.now.mono_us += 61_000_000;
    world.settle();
    assert!(files(&world) < before, "the space comes back");
}
