//! What the store says of itself: how much it holds, whether the disk has room, how long a commit takes.

use super::ahead::{append_large, in_commit};
use super::world::{World, batch_of, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::io::Op;
use crate::store::{Extent, LogConfig, StoreLimits};

const RESERVE_BYTES: u64 = 1 << 20;

fn bytes_of(world: &World, log: u32) -> u64 {
    world.logs[&log].batches.iter().map(|batch| batch.bytes.len() as u64).sum()
}

#[test]
fn a_log_is_as_large_as_its_batches_and_what_is_hot_is_in_memory() {
    let mut world = World::new(1, small_limits(), small_config());
    assert_eq!(world.store.cache_bytes(), 0);
    let logs = [world.create(), world.create()];
    for n in 0..60 {
        world.append(logs[n % 2], 1000 + 3000 * (n % 2), Durable);
        world.settle();
    }
    for log in logs {
        assert_eq!(world.store.log_bytes(world.logs[&log].key), bytes_of(&world, log));
    }
    let held = world.store.cache_bytes();
    assert!((16 << 10..=world.limits.cache_bytes).contains(&held), "{held} bytes are in memory");
}

/// Commits of up to 1 MiB, which never go to segments directly.
fn roomy() -> World {
    let limits = StoreLimits {
        journal_file_bytes: 4 << 20,
        commit_bytes_max: 1 << 20,
        direct_from_bytes: 2 << 20,
        cache_bytes: 8 << 20,
        cache_bytes_max: 9 << 20,
        ..small_limits()
    };
    World::new(2, limits, LogConfig { segment_bytes: 8 << 20, ..small_config() })
}

#[test]
fn a_commit_is_brief_when_it_takes_as_long_as_its_flush() {
    for (bytes, is_brief) in [(1000, true), (128 << 10, true), ((128 << 10) + 1, false), (500_000, false)] {
        let mut world = roomy();
        let log = world.create();
        assert!(!world.store.is_in_brief_commit(), "nothing is on its way");
        let key = world.logs[&log].key;
        world.store.stage(key, world.now, &batch_of(bytes), 0, 3, Durable).expect("the log is online");
        assert!(!world.store.is_in_brief_commit(), "it is not on its way yet");
        world.tick();
        assert_eq!(world.store.is_in_brief_commit(), is_brief, "{bytes} bytes");
        world.write();
        world.tick();
        assert!(!world.store.is_in_brief_commit(), "it is done");
    }
}

#[test]
fn a_commit_with_large_writes_beside_it_or_in_it_is_not_brief() {
    let (mut world, log) = in_commit(3);
    assert!(world.store.is_in_brief_commit());
    append_large(&mut world, log);
    assert_eq!(world.writing().len(), 2, "a large write is ahead of its commit");
    assert!(!world.store.is_in_brief_commit());
    world.finish_write("journal");
    assert_eq!(world.writing().len(), 2, "its commit is on its way");
    assert!(!world.store.is_in_brief_commit());
    world.finish_write(".log");
    assert!(!world.store.is_in_brief_commit(), "it was one with a large write");
}

/// The volume is measured once a second.
fn measured() -> World {
    let limits = StoreLimits { disk_reserve_bytes: Some(RESERVE_BYTES), disk_check_ms: 1000, ..small_limits() };
    World::new(4, limits, small_config())
}

/// Lets the volume be measured again, and nothing else of the background be done.
fn measure(world: &mut World) {
    world.now.mono_us += 2_000_000;
    world.go_on(2, |op| !matches!(op, Op::Volume));
}

#[test]
fn clients_are_refused_from_the_byte_on_at_which_only_the_reserve_is_left() {
    let mut world = measured();
    let log = world.create();
    assert_eq!((world.store.volume(), world.store.refuses_clients()), (None, None), "nothing is known yet");
    world.append(log, 15_000, Durable);
    world.append(log, 4000, Durable);
    measure(&mut world);
    // Both are in the journal only, and this one waits for its commit.
    world.append(log, 3000, Durable);
    let taken = bytes_of(&world, log) + RESERVE_BYTES;
    for (room, is_refused) in [(taken, false), (taken - 1, true), (taken + taken / 4, false)] {
        let free_bytes = room;
        world.disk.capacity = Some(world.disk.used() + room);
        measure(&mut world);
        let volume = world.store.volume().expect("it was measured");
        assert_eq!((volume.free_bytes, volume.total_bytes), (free_bytes, world.disk.used() + room));
        let refused = world.store.refuses_clients();
        assert_eq!(refused.is_some(), is_refused, "{room} bytes are free, {taken} are needed");
        if let Some(low) = refused {
            assert_eq!((low.free_bytes, low.reserve_bytes), (Some(free_bytes), RESERVE_BYTES));
            assert!(low.to_string().contains(&free_bytes.to_string()), "{low}");
        }
    }
    assert!(!world.store.is_disk_full(), "the reserve is there");
}

#[test]
fn the_volume_is_measured_at_the_moment_that_was_wished_for() {
    let mut world = measured();
    world.disk.capacity = Some(world.disk.used() + (64 << 20));
    world.go_on(1, |_| false);
    let first = world.store.volume().expect("it is measured at once");
    world.disk.capacity = Some(world.disk.used() + (32 << 20));
    let due_us = world.store.next_deadline().expect("it will be again");
    // A turn is 1 ms later than the one before.
    world.now.mono_us = due_us - 1001;
    world.go_on(1, |_| false);
    assert_eq!(world.store.volume(), Some(first), "a microsecond early");
    world.now.mono_us = due_us - 1000;
    world.go_on(1, |_| false);
    assert_ne!(world.store.volume(), Some(first));
    world.store.begin_stop(world.now);
    world.disk.capacity = Some(world.disk.used() + (16 << 20));
    let last = world.store.volume();
    measure(&mut world);
    assert_eq!(world.store.volume(), last, "a stop asks no more");
}

/// Two journal files take turns; with one of them nothing could ever be recycled.
#[test]
fn a_volume_down_to_its_reserve_gets_two_journal_files_and_no_third() {
    let mut world = measured();
    world.disk.capacity = Some(world.disk.used() + RESERVE_BYTES / 2);
    let log = world.create();
    for _ in 0..200 {
        world.append(log, 2000, Durable);
        world.go_on(4, |_| false);
    }
    assert!(world.store.refuses_clients().is_some());
    let journals = world.disk.paths().iter().filter(|path| path.contains("journal-")).count();
    assert_eq!((journals, world.store.backlog_bytes()), (2, 0));
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
}

#[test]
fn an_extent_is_empty_without_bytes() {
    let file = crate::store::segment_file(&std::sync::Arc::from("t-0"), 0);
    let in_file = |len| Extent::File { file: file.clone(), at: 9, len };
    assert!(Extent::Hot(bytes::Bytes::new()).is_empty() && in_file(0).is_empty());
    assert!(!Extent::Hot(bytes::Bytes::from_static(b"x")).is_empty() && !in_file(1).is_empty());
    assert_eq!((Extent::Hot(bytes::Bytes::from_static(b"abc")).len(), in_file(7).len()), (3, 7));
}

#[test]
fn a_commit_never_outgrows_half_a_journal_file_and_two_files_are_the_least() {
    let limits =
        StoreLimits { journal_file_bytes: 64 << 10, commit_bytes_max: 1 << 30, journal_files_max: 1, ..small_limits() };
    let world = World::new(5, limits, small_config());
    assert_eq!((world.store.limits.commit_bytes_max, world.store.limits.journal_files_max), (32 << 10, 2));
}
