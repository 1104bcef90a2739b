//! What must be on stable storage before something else may rely on it.

use super::world::{World, run_all, small_config, small_limits};
use crate::io::Durability::{Durable, Written};
use crate::io::{FileId, Job, Op, Step};
use crate::store::Boot;

/// What a producer with acks=all was told stands behind what others had only written: it is worth nothing without them.
#[test]
fn a_durable_commit_takes_along_those_that_were_only_written() {
    for seed in 0..30 {
        let mut world = World::new(seed, small_limits(), small_config());
        let (log, other) = (world.create(), world.create());
        for _ in 0..3 {
            for _ in 0..12 {
                world.append(log, 900, Written);
                world.settle();
            }
            world.append(other, 300, Durable);
            world.settle();
        }
        world.crash();
        world.reboot();
        assert_eq!(world.logs[&log].batches.len(), 36, "seed {seed}");
        world.check_all_reads();
    }
}

#[test]
fn a_moved_log_start_stays_moved_once_its_commit_is_done() {
    for seed in 0..10 {
        let mut world = World::new(seed, small_limits(), small_config());
        let log = world.create();
        for _ in 0..10 {
            world.append(log, 400, Durable);
            world.settle();
        }
        let (key, start) = (world.logs[&log].key, world.logs[&log].batches[5].base_offset);
        let commit = world.store.set_log_start(key, world.now, start);
        world.settle();
        assert!(world.store.committed() >= commit);
        world.crash();
        world.reboot();
        assert_eq!(world.logs[&log].start, start, "seed {seed}");
    }
}

/// A kill leaves checkpoints that were written and not synced. A start that read one writes over the other slot: what it
/// read must be durable before, or a power cut takes both.
#[test]
fn a_start_syncs_the_checkpoint_that_it_read_before_it_writes_over_the_other() {
    let mut world = World::new(1, small_limits(), small_config());
    let log = world.create();
    for _ in 0..60 {
        world.append(log, 5000, Durable);
        world.settle();
    }
    world.kill();
    let (mut boot, mut results, mut synced) = (Boot::new(world.boot_config(1)), Vec::new(), Vec::new());
    while let Step::Do(ops) = boot.step(results) {
        for op in &ops {
            match op {
                Op::Sync { file: FileId::Checkpoint { slot, .. } } => synced.push(*slot),
                Op::Write { file: FileId::Checkpoint { slot, .. }, .. } => {
                    assert_eq!(synced, [slot ^ 1], "the slot that stays is durable, and only that one was relied on");
                    return;
                }
                _ => {}
            }
        }
        results = run_all(&mut world.disk, &ops);
    }
    panic!("a start writes a checkpoint");
}

#[test]
fn no_segment_outgrows_segment_bytes() {
    let mut world = World::new(2, small_limits(), small_config());
    let log = world.create();
    for n in 0..300usize {
        world.append(log, 200 + n * 37 % 9000, Durable);
        if n % 3 == 0 {
            world.settle();
        }
    }
    world.stop();
    let is_segment = |path: &&String| path.ends_with(".log");
    let sizes: Vec<usize> =
        world.disk.paths().iter().filter(is_segment).map(|path| world.disk.file(path).expect("listed").len()).collect();
    let largest = small_config().segment_bytes as usize;
    assert!(sizes.len() > 5 && sizes.iter().all(|size| *size <= largest), "{sizes:?} of {largest}");
}
