//! Random histories: appends of all sizes, retention, deletion, reads, power cuts with torn and lost writes, kills, clean
//! stops, crashes during the start. After every start the model must agree.

use super::disk::Disk;
use super::world::{World, boot, boot_partly, small_config, small_limits};
use crate::io::Durability;

fn step(world: &mut World, durable_only: bool) {
    let ids: Vec<u32> = world.logs.iter().filter(|(_, model)| !model.deleted).map(|(id, _)| *id).collect();
    let pick = world.prng.below(100);
    if ids.is_empty() || (pick == 0 && ids.len() < 6) {
        world.create();
        return;
    }
    let id = ids[world.prng.below(ids.len() as u64) as usize];
    let (key, start, acked) = {
        let model = &world.logs[&id];
        (model.key, model.start, model.acked)
    };
    match pick {
        0..=39 => {
            let bytes = match world.prng.below(10) {
                0 => 20_000 + world.prng.below(20_000),
                1..=2 => 5000 + world.prng.below(10_000),
                _ => 30 + world.prng.below(2500),
            };
            let written = !durable_only && world.prng.chance(1, 3);
            let durability = if written { Durability::Written } else { Durability::Durable };
            world.append(id, bytes as usize, durability);
        }
        40..=84 => {
            world.tick();
            world.work();
        }
        85..=88 => {
            if acked > start {
                let from = start + world.prng.below((acked - start) as u64) as i64;
                let max = 100 + world.prng.below(60_000) as usize;
                let want_file = world.prng.chance(1, 2);
                world.check_reads(id, from, max, want_file);
            }
        }
        89..=90 => {
            let start = world.store.retention(key, world.now, -1, 250_000, acked);
            world.logs.get_mut(&id).expect("exists").start = start;
        }
        91 => {
            let offset = start + world.prng.below((acked - start + 1) as u64) as i64;
            world.store.set_log_start(key, world.now, offset);
            let start = world.store.log_start_offset(key);
            world.logs.get_mut(&id).expect("exists").start = start;
        }
        92 if world.prng.chance(1, 6) => {
            world.store.delete_log(key);
            world.logs.get_mut(&id).expect("exists").deleted = true;
        }
        _ => {
            for _ in 0..20 {
                world.tick();
                world.work();
            }
        }
    }
}

fn same_logs_twice(world: &mut World, disk: &mut Disk) {
    let ends = |disk: &mut Disk, world: &mut World| {
        let config = world.boot_config(1);
        let report = boot(disk, config);
        let shard = report.shards.into_iter().next().expect("one shard");
        let describe = |log: &crate::store::segment::Log| (log.tp, log.log_start, log.end_offset, log.bytes());
        shard.logs.iter().map(describe).collect::<Vec<_>>()
    };
    let first = ends(disk, world);
    disk.kill();
    let second = ends(disk, world);
    assert_eq!(first, second, "recovering twice changes nothing (L8)");
}

fn storm(seed: u64, steps: usize) {
    let mut world = World::new(seed, small_limits(), small_config());
    // Records that were only written may be lost with the power, so such a history has no power cuts, only kills.
    let durable_only = seed.is_multiple_of(2);
    for _ in 0..steps {
        step(&mut world, durable_only);
        if !world.prng.chance(1, 250) {
            continue;
        }
        if world.prng.chance(1, 4) {
            world.stop();
        }
        if durable_only {
            world.crash();
        } else {
            world.kill();
        }
        if world.prng.chance(1, 3) {
            let mut copy = world.disk.clone();
            same_logs_twice(&mut world, &mut copy);
        }
        if world.prng.chance(1, 2) {
            let config = world.boot_config(1);
            let ops = world.prng.below(60);
            boot_partly(&mut world.disk, config, ops);
            world.crash();
        }
        world.reboot();
        world.check_all_reads();
    }
    world.settle();
    world.check_all_reads();
}

#[test]
fn bug_kafka_catalogue_random_histories_lose_and_change_nothing() {
    for seed in 0..60 {
        storm(seed, 1500);
    }
}
