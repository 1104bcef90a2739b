//! Memory that is full of what no segment has yet: commits wait until some of it can go.

use super::world::{World, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::store::StoreLimits;

const BUFFER: usize = 4096;
const MEMORY_BYTES: usize = 40 * BUFFER;

/// Appends, and lets the commit be done if it begins; jobs do not get on.
fn append(world: &mut World, log: u32, bytes: usize) -> bool {
    world.append(log, bytes, Durable);
    world.tick();
    let begun = !world.writing().is_empty();
    world.write();
    begun
}

#[test]
fn a_commit_waits_while_memory_is_full_and_goes_on_in_the_turn_in_which_there_is_room() {
    let limits = StoreLimits {
        journal_file_bytes: 1 << 20,
        cache_bytes: MEMORY_BYTES,
        cache_bytes_max: MEMORY_BYTES,
        ..small_limits()
    };
    let mut world = World::new(1, limits, small_config());
    let (stuck, log) = (world.create(), world.create());
    world.settle();
    // A whole block, which has to be destaged before it can go.
    assert!(append(&mut world, stuck, 5000));
    for _ in 0..38 {
        // What is destaged for having waited long would hold memory, too.
        world.store.stop_waiting(world.logs[&stuck].key);
        world.store.stop_waiting(world.logs[&log].key);
        assert!(append(&mut world, log, 300));
    }
    assert_eq!(world.store.cache_bytes(), MEMORY_BYTES);
    assert!(append(&mut world, log, 5000), "as much as may be held is held");
    assert_eq!(world.store.cache_bytes(), MEMORY_BYTES + 2 * BUFFER);
    for _ in 0..3 {
        assert!(!append(&mut world, log, 300), "memory is full");
    }
    world.store.delete_log(world.logs[&stuck].key);
    world.logs.get_mut(&stuck).expect("it exists").deleted = true;
    assert!(
        append(&mut world, log, 300),
        "the deleted log's buffer was let go, and the rest is as much as may be held"
    );
    world.settle();
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
}
