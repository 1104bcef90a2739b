//! In which order logs are wanted, and how long they wait.

use super::super::api::StoreLimits;
use super::*;
use crate::io::Durability::Durable;
use crate::store::tests::world::{World, small_config, small_limits};

const LOGS: u32 = 16;

#[test]
fn what_is_wanted_comes_in_the_order_in_which_it_was_and_once() {
    let [a, b, c] = [7, 3, 5].map(LogKey);
    let mut wanted: Wanted = [a, b, a].into_iter().collect();
    wanted.insert(c);
    wanted.insert(b);
    wanted.remove(LogKey(9));
    wanted.remove(b);
    assert_eq!([a, b, c].map(|key| wanted.contains(key)), [true, false, true]);
    wanted.insert(b);
    assert_eq!(std::iter::from_fn(|| wanted.pop()).collect::<Vec<_>>(), [a, c, b]);
    wanted.insert(a);
    assert_eq!(wanted.pop(), Some(a), "it may be wanted again");
}

/// Logs of which none ever has enough for a destage of its own, and room for 512 KiB of buffers.
fn many_slow_logs() -> (World, Vec<u32>) {
    let limits = StoreLimits {
        journal_file_bytes: 1 << 20,
        journal_files_max: 8,
        destage_from_bytes: 1 << 30,
        cache_bytes: 512 << 10,
        cache_bytes_max: 512 << 10,
        checkpoint_every_bytes: 1 << 30,
        ..small_limits()
    };
    let mut world = World::new(1, limits, small_config());
    let logs = (0..LOGS).map(|_| world.create()).collect();
    world.settle();
    (world, logs)
}

/// One commit with a batch that takes a block, padding and all.
fn append(world: &mut World, log: u32) {
    world.append(log, 3000, Durable);
    world.tick();
    world.write();
}

fn undestaged_bytes(world: &World, keys: &[LogKey]) -> u64 {
    keys.iter().map(|key| world.store.log(*key).expect("it exists").undestaged_bytes()).sum()
}

fn waiting(world: &World) -> Vec<LogKey> {
    world.store.waiting.iter().map(|(_, key)| *key).collect()
}

#[test]
fn logs_that_grow_at_the_same_pace_are_destaged_in_turn_and_long_before_memory_is_full() {
    let (mut world, logs) = many_slow_logs();
    let keys: Vec<LogKey> = logs.iter().map(|log| world.logs[log].key).collect();
    // Two blocks of each, less than a quarter of the memory.
    for log in logs.iter().chain(&logs) {
        append(&mut world, *log);
    }
    assert_eq!(waiting(&world), keys, "the first has waited longest");
    assert!(world.store.running.is_empty(), "none is due");
    let mut most = 0;
    for _ in 0..40 {
        for log in &logs {
            append(&mut world, *log);
            world.settle();
            most = most.max(undestaged_bytes(&world, &keys));
        }
    }
    let wait_max = world.store.limits.destage_wait_bytes();
    assert_eq!(wait_max, 256 << 10);
    assert!(most < wait_max, "{most} bytes waited of {wait_max}");
    let bytes: u64 = keys.iter().map(|key| world.store.log_bytes(*key)).sum();
    assert!(bytes > 4 * wait_max, "a test of something");
    world.check_all_reads();
}

#[test]
fn a_log_waits_from_its_first_bytes_that_only_the_journal_has_until_they_are_being_destaged() {
    let (mut world, logs) = many_slow_logs();
    let (log, other) = (logs[0], logs[1]);
    let key = world.logs[&log].key;
    let since = |world: &World| world.store.log(key).expect("it exists").waits_since;
    assert_eq!((since(&world), waiting(&world).len()), (None, 0));
    append(&mut world, log);
    let first = since(&world).expect("it waits");
    append(&mut world, log);
    append(&mut world, log);
    assert_eq!(since(&world), Some(first), "later bytes change nothing");
    world.store.want_destage.insert(key);
    world.tick();
    assert_eq!((since(&world), waiting(&world).len()), (None, 0), "its destage has begun");
    append(&mut world, log);
    let second = since(&world).expect("what came meanwhile waits");
    assert!(second > first);
    world.settle();
    append(&mut world, other);
    world.store.delete_log(world.logs[&other].key);
    world.logs.get_mut(&other).expect("it exists").deleted = true;
    assert!(!waiting(&world).contains(&world.logs[&other].key), "a deleted log waits for nothing");
    world.settle();
}

#[test]
fn less_than_a_block_waits_again() {
    let (mut world, logs) = many_slow_logs();
    let (small, large) = (logs[0], logs[1]);
    let key = world.logs[&small].key;
    world.append(small, 100, Durable);
    world.settle();
    let since = |world: &World| world.store.log(key).expect("it exists").waits_since;
    let first = since(&world).expect("it waits");
    for _ in 0..80 {
        append(&mut world, large);
        world.settle();
    }
    assert!(since(&world).expect("it still waits") > first);
    assert_eq!(world.store.log(key).expect("it exists").open().destaged, 0);
    assert!(world.store.undestaged.contains(&key), "a checkpoint looks at it");
}
