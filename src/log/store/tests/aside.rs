//! Logs that are set aside: what becomes of their folders, and when.

use super::world::{World, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::io::Op;
use crate::store::StoreLimits;

const STRAY: &str = "-stray/";

/// A log with closed segments, whole blocks, and a tail that only memory and the journal have.
fn filled(limits: StoreLimits) -> (World, u32) {
    let mut world = World::new(6, limits, small_config());
    let log = world.create();
    for _ in 0..70 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    (world, log)
}

fn set_aside(world: &mut World, log: u32) {
    world.store.set_aside(world.logs[&log].key);
}

fn stray_files(world: &World) -> Vec<String> {
    world.disk.paths().into_iter().filter(|path| path.contains(STRAY)).collect()
}

#[test]
fn a_log_that_is_set_aside_is_whole_in_its_new_folder_and_forgotten() {
    let (mut world, log) = filled(small_limits());
    let model = world.logs[&log].clone();
    let closed = world.store.log(model.key).expect("it is there").segments.len() - 1;
    assert!(closed > 0);
    set_aside(&mut world, log);
    world.settle();
    let mut all = Vec::new();
    let segments: Vec<String> = stray_files(&world).into_iter().filter(|path| path.ends_with(".log")).collect();
    assert_eq!(segments.len(), closed + 1);
    segments.iter().for_each(|path| all.extend_from_slice(world.disk.file(path).expect("listed")));
    let expected: Vec<u8> = model.batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
    assert!(all == expected, "all records are there, and no byte more");
    assert!(world.store.log(model.key).is_none() && world.store.is_offline(model.key).is_none());
    let told: Vec<&str> = world.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert!(matches!(told[..], [one] if one.contains(&*model.dir) && one.contains("-stray")), "{told:?}");
    assert!(!world.disk.paths().iter().any(|path| path.starts_with(&format!("{}/", model.dir))));
    world.kill();
    let files = stray_files(&world);
    world.logs.get_mut(&log).expect("it exists").deleted = true;
    world.reboot();
    world.settle();
    assert!(world.recovered.is_empty() && world.logs.is_empty());
    assert_eq!(stray_files(&world), files, "no start removes it");
}

#[test]
fn a_segment_without_records_leaves_no_file_in_the_new_folder() {
    let (mut world, log) = filled(small_limits());
    let (key, end) = (world.logs[&log].key, world.logs[&log].end());
    world.now.wall_ms += 1_000_000;
    for _ in 0..2 {
        world.store.retention(key, world.now, 1000, -1, end);
        world.settle();
    }
    set_aside(&mut world, log);
    world.settle();
    assert!(stray_files(&world).iter().all(|path| !path.ends_with(".log")), "{:?}", stray_files(&world));
    assert!(world.store.log(key).is_none());
}

#[test]
fn a_log_is_not_set_aside_while_it_is_written_or_as_many_jobs_run_as_may() {
    // By a destage.
    let (mut world, log) = filled(small_limits());
    for _ in 0..10 {
        world.append(log, 3000, Durable);
    }
    let held = |op: &Op| !matches!(op, Op::Volume);
    world.go_on(4, held);
    set_aside(&mut world, log);
    world.go_on(4, held);
    assert!(world.store.log(world.logs[&log].key).is_some() && stray_files(&world).is_empty());
    world.settle();
    assert!(!stray_files(&world).is_empty());
    // By a large write.
    let (mut world, log) = filled(small_limits());
    let dir = world.logs[&log].dir.to_string();
    for _ in 0..2 {
        world.append(log, 14_000, Durable);
        world.settle();
    }
    world.append(log, 14_000, Durable);
    world.tick();
    assert!(world.writing().iter().any(|path| path.starts_with(&dir)), "{:?}", world.writing());
    set_aside(&mut world, log);
    world.tick();
    assert!(world.store.log(world.logs[&log].key).expect("it is there").busy.is_none(), "nothing was begun");
    world.settle();
    assert!(!stray_files(&world).is_empty());
    // While another log has the only job.
    let (mut world, log) = filled(StoreLimits { jobs_max: 1, ..small_limits() });
    let other = world.create();
    for _ in 0..13 {
        world.append(other, 2000, Durable);
    }
    world.go_on(4, held);
    set_aside(&mut world, log);
    world.go_on(4, held);
    assert!(world.store.log(world.logs[&log].key).expect("it is there").busy.is_none(), "nothing was begun");
    world.settle();
    assert!(!stray_files(&world).is_empty());
}

#[test]
fn a_log_that_cannot_be_set_aside_stays_and_is_offline() {
    let (mut world, log) = filled(small_limits());
    let model = world.logs[&log].clone();
    world.disk.faults.push(("read", "partition.metadata".to_string(), 5));
    set_aside(&mut world, log);
    world.settle();
    assert!(world.store.is_offline(model.key).is_some() && stray_files(&world).is_empty());
    world.check_all_reads();
    world.disk.faults.clear();
    set_aside(&mut world, log);
    world.settle();
    assert!(stray_files(&world).is_empty(), "an offline log is left as it is until the next start");
    world.kill();
    world.reboot();
    assert_eq!(world.logs[&log].acked, model.acked);
    world.check_all_reads();
}

#[test]
fn a_stop_sets_nothing_aside() {
    let (mut world, log) = filled(small_limits());
    set_aside(&mut world, log);
    world.stop();
    assert!(stray_files(&world).is_empty(), "{:?}", stray_files(&world));
    world.kill();
    world.reboot();
    world.check_all_reads();
}
