//! Index files that are found wrong while the store runs: made anew once, when nothing else works on the log.

use super::world::{World, check_disk, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::io::Op;
use crate::store::{LogConfig, StoreLimits};

/// Far apart, so that the last time entry of a segment is one of its own.
fn sparse() -> LogConfig {
    LogConfig { index_interval_bytes: 8192, segment_bytes: 400 << 10, ..small_config() }
}

/// A log of two closed segments and an open one, none of which is in memory.
fn filled(limits: StoreLimits) -> (World, u32) {
    let mut world = World::new(5, limits, sparse());
    let log = world.create();
    world.fill_and_reboot(log, 550);
    world.settle();
    (world, log)
}

fn index_files(world: &World, log: u32) -> Vec<String> {
    let dir = world.logs[&log].dir.to_string();
    world.disk.paths().into_iter().filter(|path| path.starts_with(&dir) && path.ends_with(".index")).collect()
}

/// Every entry names another place than its batch's.
fn spoil(world: &mut World, path: &str) {
    let bytes = world.disk.file(path).expect("an index").len();
    assert!(bytes >= 40, "{path} has {bytes} bytes");
    (7..bytes).step_by(8).for_each(|at| world.disk.flip(path, at, 0x55));
}

/// Reads the log here and there, going round its indexes.
fn read_about(world: &mut World, log: u32) {
    for from in (0..world.logs[&log].acked).rev().step_by(7) {
        world.check_reads(log, from, 5000, false);
    }
}

fn told(world: &World) -> usize {
    world.notices.iter().filter(|notice| notice.text.contains("made anew")).count()
}

#[test]
fn the_indexes_of_closed_and_open_segments_become_what_they_were() {
    let (mut world, log) = filled(small_limits());
    let paths = index_files(&world, log);
    assert_eq!(paths.len(), 3);
    // Of the open segment the stop wrote a last entry, which comes again when it closes.
    let open = paths[2].trim_end_matches(".index");
    let is_closed = |path: &String| path.ends_with("index") && !path.starts_with(open);
    let all: Vec<String> = world.disk.paths().into_iter().filter(is_closed).collect();
    assert_eq!(all.len(), 4);
    let content =
        |world: &World| all.iter().map(|path| world.disk.file(path).expect("an index").to_vec()).collect::<Vec<_>>();
    let before = content(&world);
    paths.iter().for_each(|path| spoil(&mut world, path));
    read_about(&mut world, log);
    world.settle();
    assert_eq!(told(&world), 3, "{:?}", world.notices);
    assert!(content(&world) == before, "both closed segments' indexes are what they were");
    read_about(&mut world, log);
    world.settle();
    assert_eq!(told(&world), 3, "they are good now");
    world.stop();
    world.kill();
    assert!(check_disk(&mut world.disk, false).findings.is_empty(), "the open one's, too");
}

#[test]
fn appends_and_a_stop_go_on_behind_an_index_that_was_made_anew() {
    let (mut world, log) = filled(small_limits());
    let open = index_files(&world, log).pop().expect("three");
    for _ in 0..10 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    spoil(&mut world, &open);
    read_about(&mut world, log);
    world.settle();
    assert_eq!(told(&world), 1);
    for _ in 0..100 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    world.stop();
    world.kill();
    assert!(check_disk(&mut world.disk, false).findings.is_empty());
    world.reboot();
    world.check_all_reads();
}

/// A stop's last time entry is not made again, and the checkpoint still counts it.
#[test]
fn bug_ours_an_index_that_was_made_anew_before_a_kill_gets_no_hole() {
    let (mut world, log) = filled(small_limits());
    let open = index_files(&world, log).pop().expect("three");
    let times = open.replace(".index", ".timeindex");
    let len = |world: &World| world.disk.file(&times).expect("a time index").len();
    let before = len(&world);
    spoil(&mut world, &open);
    read_about(&mut world, log);
    world.settle();
    assert_eq!((told(&world), len(&world)), (1, before - 12));
    world.kill();
    world.reboot();
    for _ in 0..100 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    world.stop();
    world.kill();
    assert_eq!(check_disk(&mut world.disk, false).findings, []);
}

#[test]
fn an_index_is_not_made_while_its_log_is_written() {
    // By a destage.
    let (mut world, log) = filled(small_limits());
    let first = index_files(&world, log).remove(0);
    spoil(&mut world, &first);
    let destage = |op: &Op| !matches!(op, Op::Read { .. });
    for _ in 0..13 {
        world.append(log, 2000, Durable);
    }
    world.go_on(5, destage);
    read_about(&mut world, log);
    world.go_on(5, destage);
    assert_eq!(told(&world), 0, "a destage is under way: {:?}", world.notices);
    world.settle();
    assert_eq!(told(&world), 1);
    // By a large write.
    let (mut world, log) = filled(small_limits());
    world.append(log, 14_000, Durable);
    world.settle();
    spoil(&mut world, &first);
    world.append(log, 14_000, Durable);
    world.tick();
    assert!(world.writing().iter().any(|path| path.ends_with(".log")), "{:?}", world.writing());
    read_about(&mut world, log);
    world.tick();
    assert_eq!(told(&world), 0, "a large write is under way");
    world.settle();
    assert_eq!(told(&world), 1);
}

#[test]
fn an_index_waits_while_as_many_jobs_run_as_may() {
    let (mut world, log) = filled(StoreLimits { jobs_max: 1, ..small_limits() });
    let first = index_files(&world, log).remove(0);
    spoil(&mut world, &first);
    let other = world.create();
    for _ in 0..13 {
        world.append(other, 2000, Durable);
    }
    world.go_on(5, |_| true);
    read_about(&mut world, log);
    world.go_on(5, |_| true);
    assert_eq!(told(&world), 0, "the other log's destage is under way");
    world.settle();
    assert_eq!(told(&world), 1);
}

#[test]
fn an_index_that_cannot_be_made_is_not_tried_again_until_the_next_start() {
    let (mut world, log) = filled(small_limits());
    let paths = index_files(&world, log);
    world.disk.faults.push(("write", ".index".to_string(), 5));
    for path in &paths[..2] {
        spoil(&mut world, path);
        read_about(&mut world, log);
        world.settle();
    }
    for _ in 0..3 {
        read_about(&mut world, log);
        world.settle();
    }
    assert_eq!(told(&world), 2, "each once: {:?}", world.notices);
}
