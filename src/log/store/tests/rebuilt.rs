//! Starts that have to make good what the last run did not leave: lost checkpoints, unproven writes, full or broken disks.

use super::world::{World, boot, small_config, small_limits, try_boot};
use crate::io::Durability::Durable;
use crate::store::BootError;

fn lose_checkpoints(world: &mut World) {
    for path in world.disk.paths().iter().filter(|path| path.contains("checkpoint-")) {
        world.disk.corrupt(path, 100);
    }
}

/// A large write takes several batches to the segment up to a block's border; what is behind it only the journal has. A scan
/// finds the first ones there, and the journal's entry names all of them.
#[test]
fn of_large_writes_the_journal_adds_what_a_scan_did_not_find() {
    for seed in 0..12 {
        let mut world = World::new(seed, small_limits(), small_config());
        let logs = [world.create(), world.create()];
        for n in 0..30 {
            for _ in 0..3 + n % 2 {
                world.append(logs[n % 2], 4500 + n * 10, Durable);
            }
            world.settle();
        }
        world.kill();
        lose_checkpoints(&mut world);
        let ends = logs.map(|log| world.logs[&log].end());
        world.reboot();
        assert_eq!(logs.map(|log| world.logs[&log].acked), ends);
        assert!(world.report_notes.iter().any(|note| note.contains("2 logs were rebuilt")), "{:?}", world.report_notes);
        world.check_all_reads();
        for log in logs {
            world.append(log, 14_000, Durable);
        }
        world.settle();
        world.kill();
        world.reboot();
        world.check_all_reads();
    }
}

#[test]
fn a_lost_checkpoint_without_logs_is_told_and_nothing_is_called_rebuilt() {
    let mut world = World::new(1, small_limits(), small_config());
    world.kill();
    lose_checkpoints(&mut world);
    let config = world.boot_config(1);
    let report = boot(&mut world.disk, config);
    assert!(!report.clean);
    assert_eq!(report.notes, ["shard 0: both checkpoints are lost"]);
}

/// A world that was killed with everything in the journal.
fn in_journal() -> (World, u32) {
    let mut world = World::new(2, small_limits(), small_config());
    let log = world.create();
    for _ in 0..20 {
        world.append(log, 2000, Durable);
        world.go_on(3, |_| true);
    }
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.kill();
    (world, log)
}

#[test]
fn a_start_on_a_full_disk_refuses_and_leaves_what_was_there() {
    let (mut world, _) = in_journal();
    world.disk.faults.push(("allocate", "topic1-0".to_string(), 28));
    let config = world.boot_config(1);
    let refused = try_boot(&mut world.disk, config).expect_err("there is no room to empty the journal into");
    assert!(matches!(&refused, BootError::Io(error) if error.is_no_space()), "{refused}");
    world.disk.faults.clear();
    world.reboot();
    world.check_all_reads();
}

/// The folder of one log is broken: the start goes on with the others, and the checkpoint carries what it could not write.
#[test]
fn a_start_that_cannot_write_one_log_s_files_says_so_and_goes_on() {
    let (mut world, log) = in_journal();
    world.disk.faults.push(("allocate", "topic1-0".to_string(), 5));
    let config = world.boot_config(1);
    let report = boot(&mut world.disk, config);
    assert!(report.notes.iter().any(|note| note.starts_with("topic1-0: ")), "{:?}", report.notes);
    assert_eq!(report.shards[0].logs[0].end_offset, world.logs[&log].acked);
    world.disk.faults.clear();
    world.disk.kill();
    world.reboot();
    world.check_all_reads();
}

#[test]
fn a_stop_makes_no_file_for_a_segment_without_records() {
    let mut world = World::new(3, small_limits(), small_config());
    let log = world.create();
    for _ in 0..60 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    let (key, end) = (world.logs[&log].key, world.logs[&log].end());
    world.now.wall_ms += 1_000_000;
    for _ in 0..2 {
        world.store.retention(key, world.now, 1000, -1, end);
        world.settle();
    }
    assert_eq!(world.store.log_start_offset(key), end);
    let is_segment = |path: &&String| path.ends_with(".log");
    assert_eq!(world.disk.paths().iter().filter(is_segment).count(), 0, "all records went");
    world.stop();
    assert_eq!(world.disk.paths().iter().filter(is_segment).count(), 0, "an empty file is of no use");
    world.kill();
    world.reboot();
    assert_eq!((world.logs[&log].start, world.logs[&log].acked), (end, end));
}
