//! When the files of what was deleted go: not while a job of theirs runs, and for the sake of no other log's.

use super::ahead::{append_large, in_commit};
use super::world::{World, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::store::background::Running;

/// A world with two logs, the first of which has a closed segment.
fn filled() -> (World, u32, u32) {
    let mut world = World::new(3, small_limits(), small_config());
    let (log, other) = (world.create(), world.create());
    for _ in 0..60 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    (world, log, other)
}

fn running(world: &World, is_one: impl Fn(&Running) -> bool) -> usize {
    world.store.running.values().filter(|running| is_one(running)).count()
}

fn removals(world: &World) -> usize {
    running(world, |running| matches!(running, Running::Remove { .. }))
}

/// Enough to be destaged, which does not get on.
fn begin_destage(world: &mut World, log: u32) {
    for _ in 0..13 {
        world.append(log, 2000, Durable);
    }
    world.go_on(4, |_| true);
    assert_eq!(running(world, |running| matches!(running, Running::Destage(_))), 1);
}

/// Deletes a log and lets that be committed, while no job gets on.
fn delete(world: &mut World, log: u32) {
    world.store.delete_log(world.logs[&log].key);
    world.logs.get_mut(&log).expect("it exists").deleted = true;
    world.go_on(4, |_| true);
    assert_eq!(world.store.backlog_bytes(), 0);
}

fn has_files(world: &World, log: u32) -> bool {
    world.disk.paths().iter().any(|path| path.starts_with(&*world.logs[&log].dir))
}

#[test]
fn a_folder_is_not_removed_while_a_destage_or_an_index_job_writes_into_it() {
    let (mut world, log, _) = filled();
    begin_destage(&mut world, log);
    delete(&mut world, log);
    assert_eq!(removals(&world), 0, "its destage runs");
    world.settle();
    assert!(!has_files(&world, log));

    let (mut world, log, _) = filled();
    world.store.mend_index(world.logs[&log].key, 0);
    world.go_on(1, |_| true);
    assert_eq!(running(&world, |running| matches!(running, Running::Mend(_))), 1);
    delete(&mut world, log);
    assert_eq!(removals(&world), 0, "its index is being made");
    world.settle();
    assert!(!has_files(&world, log));
}

#[test]
fn a_folder_is_not_removed_while_one_of_its_segments_is() {
    let (mut world, log, _) = filled();
    let (key, acked) = (world.logs[&log].key, world.logs[&log].acked);
    world.store.set_log_start(key, world.now, acked);
    world.go_on(20, |_| true);
    assert_eq!(removals(&world), 1, "the closed segment's");
    delete(&mut world, log);
    assert_eq!(removals(&world), 1);
    world.settle();
    assert!(!has_files(&world, log));
}

#[test]
fn a_folder_is_removed_whatever_runs_for_other_logs() {
    let (mut world, log, other) = filled();
    begin_destage(&mut world, other);
    delete(&mut world, log);
    assert_eq!(removals(&world), 1);
    world.settle();
    assert!(!has_files(&world, log) && has_files(&world, other));
}

/// The first of two writes fails: no commit waits for the other one any more, and the log may be deleted meanwhile.
#[test]
fn a_folder_is_not_removed_while_a_large_write_to_it_is_on_its_way() {
    let (mut world, log) = in_commit(3);
    append_large(&mut world, log);
    append_large(&mut world, log);
    world.disk.faults.push(("write", ".log".to_string(), 5));
    world.finish_write(".log");
    world.disk.faults.clear();
    world.store.delete_log(world.logs[&log].key);
    world.logs.get_mut(&log).expect("it exists").deleted = true;
    world.finish_write("journal");
    world.finish_write("journal");
    assert_eq!(world.writing().len(), 1, "the second large write: {:?}", world.writing());
    assert_eq!(removals(&world), 0);
    world.finish_write(".log");
    assert_eq!(removals(&world), 1);
    world.settle();
    assert!(!has_files(&world, log));
}

#[test]
fn a_deleted_log_s_batches_wait_for_no_commit() {
    let (mut world, log, _) = filled();
    world.append(log, 700, Durable);
    assert!(world.store.backlog_bytes() > 700);
    world.store.delete_log(world.logs[&log].key);
    assert_eq!(world.store.backlog_bytes(), 0);
}

#[test]
fn a_stop_makes_no_index_anew() {
    let (mut world, log, _) = filled();
    world.store.mend_index(world.logs[&log].key, 0);
    world.stop();
    assert_eq!(world.notices, []);
}
