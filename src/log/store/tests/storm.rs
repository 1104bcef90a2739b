//! Random histories: appends of all sizes, retention, deletion, reads, power cuts with torn and lost writes, kills, clean
//! stops, crashes during the start. After every start the model must agree.

use super::disk::Disk;
use super::world::{World, boot, boot_partly, check_disk, small_config, small_limits};
use crate::io::Durability;
use crate::store::{Finding, Severity};

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

/// Makes some operation fail until the next crash, or (a full disk) for a while.
fn fault(world: &mut World) {
    const PLACES: [&str; 8] =
        ["journal-", "topic1-0", "topic2-0", "topic3-0", ".log", ".index", "checkpoint-", "topic"];
    let place = PLACES[world.prng.below(PLACES.len() as u64) as usize].to_string();
    let (op, errno) = match world.prng.below(4) {
        0 => ("write", 5),
        1 => ("sync", 5),
        2 => ("allocate", 28),
        _ => ("allocate", 5),
    };
    world.disk.faults.push((op, place, errno));
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

/// Whatever a crash leaves behind is no damage, but for a checkpoint that was being written.
fn no_damage(disk: &mut Disk, when: &str) {
    let report = check_disk(disk, false);
    let is_damage = |finding: &&Finding| match finding.severity {
        Severity::Note => false,
        Severity::Mendable => !finding.path.contains("checkpoint-"),
        Severity::Loss => true,
    };
    let damage: Vec<&Finding> = report.findings.iter().filter(is_damage).collect();
    assert!(damage.is_empty(), "{when}: {damage:#?}");
}

fn storm(seed: u64, steps: usize) {
    let mut world = World::new(seed, small_limits(), small_config());
    // Records that were only written may be lost with the power, so such a history has no power cuts, only kills.
    let durable_only = seed.is_multiple_of(2);
    for _ in 0..steps {
        step(&mut world, durable_only);
        if seed.is_multiple_of(3) && world.prng.chance(1, 300) {
            fault(&mut world);
        }
        if world.prng.chance(1, 100) {
            world.disk.faults.retain(|(_, _, errno)| *errno != 28);
        }
        if !world.prng.chance(1, 250) {
            continue;
        }
        if world.prng.chance(1, 4) {
            world.disk.faults.retain(|(_, _, errno)| *errno != 28);
            world.stop();
        }
        if durable_only {
            world.crash();
        } else {
            world.kill();
        }
        no_damage(&mut world.disk, &format!("seed {seed}"));
        if world.prng.chance(1, 3) {
            let mut copy = world.disk.clone();
            same_logs_twice(&mut world, &mut copy);
        }
        if world.prng.chance(1, 2) {
            let config = world.boot_config(1);
            let ops = world.prng.below(60);
            boot_partly(&mut world.disk, config, ops);
            world.crash();
            no_damage(&mut world.disk, &format!("seed {seed}, within a start"));
        }
        world.reboot();
        assert_eq!(world.report_notes, Vec::<String>::new(), "no crash leads to a scan");
        world.check_all_reads();
    }
    world.disk.faults.retain(|(_, _, errno)| *errno != 28);
    world.settle();
    world.check_all_reads();
    assert!(world.store.mends.tried.is_empty(), "a good index is not suspected: {:?}", world.store.mends);
}

#[test]
fn bug_kafka_catalogue_random_histories_lose_and_change_nothing() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first = number("CORETIDE_STORE_FIRST", 0);
    for seed in first..first + number("CORETIDE_STORE_SEEDS", 120) {
        println!("CORETIDE_STORE_FIRST={seed} CORETIDE_STORE_SEEDS=1");
        storm(seed, 1500);
    }
}
