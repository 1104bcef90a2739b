//! Small scenarios, each with its name.

use super::world::{Lookup, World, boot, small_config, small_limits};
use crate::batch::walk_batches;
use crate::io::Durability::{Durable, Written};
use crate::store::segment::Log;
use crate::store::{BootConfig, ReadPlan};

fn world(seed: u64) -> World {
    World::new(seed, small_limits(), small_config())
}

#[test]
fn what_was_committed_is_read_back_hot() {
    let mut world = world(1);
    let log = world.create();
    for n in 0..20 {
        world.append(log, 100 + n * 50, Durable);
        world.settle();
    }
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
}

#[test]
fn a_kill_loses_nothing_that_was_acked() {
    let mut world = world(2);
    let logs = [world.create(), world.create(), world.create()];
    for n in 0..300usize {
        world.append(logs[n % 3], 300 + n % 7 * 100, if n % 2 == 0 { Durable } else { Written });
        if n % 5 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.kill();
    world.reboot();
    world.check_all_reads();
    assert_eq!(world.report_notes, Vec::<String>::new());
}

#[test]
fn a_clean_stop_leaves_whole_segments_and_nothing_to_replay() {
    let mut world = world(3);
    let log = world.create();
    for _ in 0..200 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    world.stop();
    let model = world.logs[&log].clone();
    let mut all = Vec::new();
    for path in world.disk.paths().iter().filter(|path| path.ends_with(".log")) {
        all.extend_from_slice(world.disk.file(path).expect("listed"));
    }
    let expected: Vec<u8> = model.batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
    assert!(all == expected, "the segments hold the batches, byte for byte, and nothing else");
    world.reboot();
    assert_eq!(world.report_notes, Vec::<String>::new());
    assert!(world.bytes_read_by_boot < 20_000, "{} bytes were read", world.bytes_read_by_boot);
    world.check_all_reads();
    world.append(log, 700, Durable);
    world.settle();
    world.kill();
    world.reboot();
    assert_eq!(world.report_notes, Vec::<String>::new());
    world.check_all_reads();
}

#[test]
fn large_runs_go_straight_to_their_segment() {
    let mut world = world(4);
    let log = world.create();
    for _ in 0..60 {
        world.append(log, 14_000, Durable);
        world.settle();
    }
    world.check_all_reads();
    world.kill();
    world.reboot();
    world.check_all_reads();
}

#[test]
fn a_batch_larger_than_a_journal_file_waits_for_its_segment() {
    let mut world = world(5);
    world.config.segment_bytes = 4 << 20;
    let log = world.create();
    world.append(log, 500, Durable);
    world.append(log, 300_000, Durable);
    world.append(log, 500, Durable);
    world.append(log, 400_000, Durable);
    world.settle();
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
    world.kill();
    world.reboot();
    world.check_all_reads();
}

#[test]
fn records_are_found_by_time() {
    let mut world = world(6);
    let log = world.create();
    for n in 0..150 {
        world.append_at(log, 3000, Durable, 1_000_000 + n * 1000);
        world.settle();
    }
    let model = world.logs[&log].clone();
    for n in [0i64, 1, 70, 149] {
        let found = world.find(model.key, Lookup::AtLeast(1_000_000 + n * 1000 - 500)).expect("there is one");
        let batch = &model.batches[n as usize];
        assert!(found.offset >= batch.base_offset && found.timestamp_ms > 1_000_000 + n * 1000 - 500);
        assert!(model.batches.get(n as usize + 1).is_none_or(|next| found.offset < next.base_offset));
    }
    assert_eq!(world.find(model.key, Lookup::AtLeast(9_000_000)), None);
    let last = world.find(model.key, Lookup::Max).expect("there is one");
    assert_eq!(last.timestamp_ms, 1_000_000 + 149 * 1000);
    assert_eq!(last.offset, model.end() - 1);
}

#[test]
fn old_segments_go_and_the_log_start_survives() {
    let mut world = world(7);
    let log = world.create();
    for _ in 0..300 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    let key = world.logs[&log].key;
    let end = world.logs[&log].end();
    let start = world.store.retention(key, world.now, -1, 200_000, end);
    assert!(start > 0 && world.store.log_bytes(key) < 300_000);
    world.settle();
    let files = world.disk.paths().iter().filter(|path| path.ends_with(".log")).count();
    assert!(files <= 4, "{files} segments are left");
    world.kill();
    world.reboot();
    assert_eq!(world.logs[&log].start, start);
    world.check_all_reads();
    world.now.wall_ms += 1_000_000;
    let key = world.logs[&log].key;
    world.store.retention(key, world.now, 1000, -1, end);
    world.settle();
    world.store.retention(key, world.now, 1000, -1, end);
    world.settle();
    assert_eq!(world.store.log_start_offset(key), end);
    world.kill();
    world.reboot();
    assert_eq!((world.logs[&log].start, world.logs[&log].acked), (end, end));
    world.append(log, 100, Durable);
    world.settle();
    world.check_all_reads();
}

#[test]
fn a_deleted_log_leaves_nothing_and_its_folder_can_be_used_again() {
    let mut world = world(8);
    let log = world.create();
    for _ in 0..50 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    let (key, dir) = (world.logs[&log].key, world.logs[&log].dir.to_string());
    world.store.delete_log(key);
    world.logs.get_mut(&log).expect("exists").deleted = true;
    let tp = coretide_model::TopicPartition { topic_id: coretide_model::TopicId(77 << 64), partition: 0 };
    let again = world.create_as(99, tp, &dir);
    for _ in 0..50 {
        world.append(again, 2000, Durable);
        world.tick();
    }
    world.settle();
    world.check_all_reads();
    world.kill();
    world.reboot();
    assert_eq!(world.logs.len(), 1);
    world.check_all_reads();
    assert!(world.disk.paths().iter().all(|path| !path.contains("-delete")));
}

#[test]
fn bug_kafka_10778_no_append_after_a_failed_write() {
    let mut world = world(9);
    let log = world.create();
    world.append(log, 100, Durable);
    world.settle();
    let acked = world.logs[&log].acked;
    world.disk.faults.push(("write", "journal-".to_string(), 5));
    world.append(log, 100, Durable);
    world.settle();
    world.disk.faults.clear();
    let key = world.logs[&log].key;
    assert!(world.store.is_offline(key).is_some());
    world.append(log, 100, Durable);
    world.settle();
    assert_eq!(world.logs[&log].acked, acked, "nothing is acked after the failure");
    world.check_all_reads();
}

#[test]
fn a_failed_segment_write_stops_one_log_only() {
    let mut world = world(10);
    let (bad, good) = (world.create(), world.create());
    let dir = world.logs[&bad].dir.to_string();
    for _ in 0..5 {
        world.append(bad, 14_000, Durable);
        world.settle();
    }
    let acked = world.logs[&bad].acked;
    world.disk.faults.push(("write", format!("{dir}/"), 5));
    world.append(bad, 14_000, Durable);
    world.append(good, 14_000, Durable);
    world.settle();
    world.disk.faults.clear();
    assert!(world.store.is_offline(world.logs[&bad].key).is_some());
    assert!(world.store.is_offline(world.logs[&good].key).is_none());
    assert_eq!(world.logs[&bad].acked, acked);
    for _ in 0..100 {
        world.append(good, 9000, Durable);
        world.settle();
    }
    world.check_all_reads();
    world.kill();
    world.reboot();
    assert!(world.logs[&bad].acked >= acked);
    let found = world.recovered.iter().find(|found| found.tp == world.logs[&bad].tp).expect("it is still there");
    assert_eq!(found.aux_end_offset, found.end_offset, "no commit is left that tells of its producers");
    world.check_all_reads();
    world.append(bad, 100, Durable);
    world.settle();
    world.check_all_reads();
}

#[test]
fn a_full_disk_makes_appends_wait_and_resumes_by_itself() {
    let mut world = world(11);
    let log = world.create();
    world.append(log, 5000, Durable);
    world.settle();
    world.disk.faults.push(("allocate", String::new(), 28));
    for _ in 0..400 {
        world.append(log, 3000, Durable);
        world.tick();
        world.work();
    }
    for _ in 0..2000 {
        world.tick();
        world.work();
    }
    assert!(world.store.backlog_bytes() > 0, "the journal is full");
    assert!(world.store.is_offline(world.logs[&log].key).is_none());
    world.disk.faults.clear();
    world.settle();
    assert_eq!(world.store.backlog_bytes(), 0);
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
}

#[test]
fn appends_wait_while_what_is_not_in_segments_takes_all_its_memory() {
    let mut world = world(12);
    let (limits, log) = (small_limits(), world.create());
    let most = limits.cache_bytes_max + limits.commit_bytes_max * 2;
    // Jobs do not move: only the hot writes are done.
    for _ in 0..400 {
        world.append(log, 3000, Durable);
        world.tick();
        world.write();
        assert!(world.store.cache_bytes() <= most, "{} bytes are held", world.store.cache_bytes());
    }
    assert!(world.store.backlog_bytes() > 0, "the last appends wait");
    world.settle();
    assert_eq!(world.store.backlog_bytes(), 0);
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
}

#[test]
fn the_number_of_shards_may_change() {
    let mut world = world(12);
    let logs = [world.create(), world.create(), world.create()];
    for n in 0..100usize {
        world.append(logs[n % 3], 1500, Durable);
        world.settle();
    }
    world.kill();
    for shards in [3u16, 2, 5, 1] {
        let config = world.boot_config(shards);
        let report = boot(&mut world.disk, config);
        let logs: usize = report.shards.iter().map(|shard| shard.logs.len()).sum();
        assert_eq!((report.shards.len(), logs), (shards as usize, 3));
        world.disk.kill();
    }
    world.reboot();
    world.check_all_reads();
}

#[test]
fn a_lost_checkpoint_costs_a_scan_and_no_record() {
    let mut world = world(13);
    let log = world.create();
    for _ in 0..200 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    world.kill();
    for path in world.disk.paths() {
        if path.contains("checkpoint-") {
            world.disk.corrupt(&path, 100);
        }
    }
    world.reboot();
    assert!(!world.report_notes.is_empty());
    assert_eq!(world.logs[&log].acked, world.logs[&log].end());
    world.check_all_reads();
    world.append(log, 2000, Durable);
    world.settle();
    world.kill();
    world.reboot();
    world.check_all_reads();
}

#[test]
fn reads_go_on_behind_a_segment_that_is_missing_and_the_start_tells_of_it() {
    let mut world = world(19);
    let log = world.create();
    for _ in 0..200 {
        world.append(log, 2000, Durable);
        world.settle();
    }
    world.kill();
    let (checkpoints, segments): (Vec<String>, Vec<String>) =
        world.disk.paths().into_iter().filter(|path| !path.contains("index")).partition(|path| path.contains("/check"));
    checkpoints.iter().for_each(|path| world.disk.corrupt(path, 100));
    let segments: Vec<&String> = segments.iter().filter(|path| path.ends_with(".log")).collect();
    let base = |path: &str| path.rsplit('/').next().and_then(|name| name[..20].parse::<i64>().ok()).expect("a segment");
    let (from, to) = (base(segments[1]), base(segments[2]));
    world.disk.remove(segments[1]);
    world.reboot();
    let told = format!("the {} records from offset {from} to {to} are missing", to - from);
    assert!(world.report_notes.iter().any(|note| note.contains(&told)), "{:?}", world.report_notes);
    let model = world.logs[&log].clone();
    assert_eq!(world.store.end_offset(model.key), model.acked);
    let (bytes, _) = world.read(model.key, from, model.acked, 1, true);
    let (_, first) = walk_batches(&bytes).next().expect("a batch");
    assert_eq!(first.base_offset, to);
    world.check_reads(log, to, 20_000, false);
}

#[test]
fn a_restart_reads_only_what_lies_past_the_checkpoint() {
    let mut world = world(14);
    let logs = [world.create(), world.create()];
    for n in 0..2000usize {
        world.append(logs[n % 2], 3000, Durable);
        if n % 4 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.kill();
    world.reboot();
    assert!(world.bytes_read_by_boot < 600_000, "{} of 6 MB were read", world.bytes_read_by_boot);
    world.check_all_reads();
}

#[test]
fn a_newer_format_is_refused() {
    let mut world = world(15);
    let log = world.create();
    world.append(log, 100, Durable);
    world.settle();
    world.kill();
    let path = ".coretide/boot-0";
    let mut head = world.disk.file(path).expect("boot file").to_vec();
    head[8..12].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32c::crc32c(&head[..60]);
    head[60..64].copy_from_slice(&crc.to_le_bytes());
    let op = crate::io::Op::Write {
        file: crate::io::FileId::Root { name: path },
        at: 0,
        bytes: head.into(),
        direct: false,
        durability: Durable,
    };
    world.disk.run(&op).expect("the disk is good");
    let config = world.boot_config(1);
    let error = super::world::try_boot(&mut world.disk, config).expect_err("a newer format");
    assert!(error.to_string().contains("format 9"), "{error}");
}

/// Writes segments to a real folder, for `kafka-dump-log` of Apache Kafka:
/// `CORETIDE_DUMP_DIR=/tmp/d cargo test -p coretide-log dump_for_kafka -- --ignored`.
#[test]
#[ignore = "writes real files, where CORETIDE_DUMP_DIR says"]
#[allow(clippy::disallowed_methods)]
fn dump_for_kafka() {
    let root = std::env::var("CORETIDE_DUMP_DIR").expect("CORETIDE_DUMP_DIR names a folder");
    for seed in 0..6u64 {
        let mut world = world(100 + seed);
        let log = world.create();
        for n in 0..400u64 {
            let bytes = if seed % 2 == 0 { 50 + (n * 37 % 3000) } else { 200 + (n * n * 13 % 25_000) };
            world.append(log, bytes as usize, Durable);
            if n % (1 + seed) == 0 {
                world.settle();
            }
            if n == 200 && seed >= 3 {
                world.kill();
                world.reboot();
            }
        }
        world.settle();
        if seed != 5 {
            world.stop();
        }
        for path in world.disk.paths().iter().filter(|path| !path.starts_with('.')) {
            let to = format!("{root}/seed-{seed}/{path}");
            std::fs::create_dir_all(to.rsplit_once('/').expect("a folder").0).expect("the folder can be made");
            std::fs::write(&to, world.disk.file(path).expect("listed")).expect("the file can be written");
        }
    }
}

#[test]
fn a_lost_newest_checkpoint_costs_no_record_though_the_journal_has_moved_on() {
    let mut world = world(16);
    let logs = [world.create(), world.create()];
    for n in 0..1500usize {
        world.append(logs[n % 2], 2500, Durable);
        if n % 3 == 0 {
            world.settle();
        }
    }
    world.settle();
    for slot in 0..2 {
        let mut disk = world.disk.clone();
        disk.kill();
        disk.corrupt(&format!(".coretide/shard-0/checkpoint-{slot}"), 200);
        let config = world.boot_config(1);
        let report = boot(&mut disk, config);
        let shard = report.shards.into_iter().next().expect("one shard");
        for id in logs {
            let model = &world.logs[&id];
            let log = shard.logs.iter().find(|log| log.tp == model.tp).expect("the log is found");
            assert_eq!(log.end_offset, model.acked, "slot {slot}, notes {:?}", report.notes);
        }
    }
}

#[test]
fn a_start_stops_when_its_boot_file_is_not_durable() {
    let mut world = world(19);
    let log = world.create();
    world.append(log, 700, Durable);
    world.settle();
    world.kill();
    for op in ["write", "sync"] {
        world.disk.faults.push((op, ".coretide/boot-".to_string(), 5));
        let config = world.boot_config(1);
        let refused = super::world::try_boot(&mut world.disk, config);
        assert!(refused.is_err(), "a failed {op} of the boot file was swallowed");
        world.disk.faults.clear();
    }
    world.crash();
    world.reboot();
    world.check_all_reads();
}

/// The start took a read that failed for a lost checkpoint, rebuilt the logs from their segments and wrote over the slot:
/// a log that only the checkpoint held was gone.
#[test]
fn bug_a_checkpoint_that_could_not_be_read_was_written_over() {
    let mut world = world(20);
    let log = world.create();
    world.append(log, 700, Durable);
    world.settle();
    world.stop();
    world.disk.faults.push(("read", "checkpoint-".to_string(), 5));
    let config = world.boot_config(1);
    assert!(super::world::try_boot(&mut world.disk, config).is_err(), "the start goes on without its checkpoint");
    world.disk.faults.clear();
    world.reboot();
    assert_eq!(world.report_notes, Vec::<String>::new());
    world.check_all_reads();
}

/// Without boot files the start took the directory for a new one, or what it could scan for all there was: topics that
/// nobody knew any more were then removed as leftovers.
#[test]
fn bug_ours_a_start_without_boot_files_removed_what_it_did_not_know() {
    for clean in [false, true] {
        let mut world = world(21);
        let log = world.create();
        for _ in 0..30 {
            world.append(log, 3000, Durable);
            world.settle();
        }
        if clean {
            world.stop();
        }
        world.kill();
        let whole = world.disk.clone();
        for path in world.disk.paths().iter().filter(|path| path.contains("/boot-")) {
            world.disk.remove(path);
        }
        let (paths, config) = (world.disk.paths(), world.boot_config(1));
        let error = super::world::try_boot(&mut world.disk, config).expect_err("there are logs").to_string();
        assert!(error.contains("topic1-0, .coretide"), "{error}");
        assert_eq!(world.disk.paths(), paths, "nothing was changed");
        world.disk = whole;
        world.reboot();
        world.check_all_reads();
    }
}

#[test]
fn logs_without_the_one_that_says_whose_they_are_are_refused() {
    let mut world = world(22);
    let logs = [world.create(), world.create()];
    world.append(logs[0], 700, Durable);
    world.settle();
    world.kill();
    let mut start = |log: u32| {
        let config = BootConfig { vital: Some(world.logs[&log].tp), ..world.boot_config(1) };
        super::world::try_boot(&mut world.disk.clone(), config).map(|report| report.clean)
    };
    assert_eq!(start(logs[0]), Ok(false));
    let error = start(logs[1]).expect_err("it is empty").to_string();
    assert!(error.contains("metadata") && error.contains("topic1-0"), "{error}");
}

#[test]
fn small_batches_lie_side_by_side_once_they_are_destaged() {
    let mut limits = small_limits();
    (limits.cache_bytes, limits.cache_bytes_max) = (512 << 10, 600 << 10);
    let mut world = World::new(21, limits, small_config());
    let logs = [world.create(), world.create()];
    for n in 0..120 {
        world.append(logs[n % 2], 500, Durable);
        world.append(logs[n % 2], 300, Durable);
        world.settle();
    }
    for log in logs {
        let model = world.logs[&log].clone();
        let (segment, runs) = {
            let log = world.store.log(model.key).expect("it is there");
            (log.open().clone(), log.runs.iter().map(|run| (run.position, run.bytes.len())).collect::<Vec<_>>())
        };
        assert!(segment.destaged > 20_000, "{segment:?}");
        let destaged = runs.iter().filter(|(position, _)| *position < segment.destaged).count();
        assert!(destaged * 4000 < segment.destaged as usize, "{destaged} runs for {} bytes", segment.destaged);
        let ReadPlan::Ready(ready) = world.store.plan_read(model.key, 0, model.acked, 20_000, true) else {
            panic!("it is in memory")
        };
        assert!(ready.extents.len() < 8, "{} extents", ready.extents.len());
    }
    world.check_all_reads();
    // What is held is counted, and all of it goes.
    for n in 0..2000 {
        world.append(logs[n % 2], 900, Durable);
        world.settle();
        let held = |log: &Log| log.runs.iter().map(|run| run.bytes.len()).sum::<usize>();
        let held: usize = world.logs.values().filter_map(|model| world.store.log(model.key).map(held)).sum();
        assert!(
            held <= world.store.cache_bytes(),
            "{held} bytes are in memory, {} are counted",
            world.store.cache_bytes()
        );
    }
    world.check_all_reads();
    world.kill();
    world.reboot();
    world.check_all_reads();
}

/// The second of two DeleteRecords was acked at once, and its mark could be gone after a power cut.
#[test]
fn bug_ours_a_repeated_delete_records_is_acked_with_the_one_before() {
    let mut world = world(22);
    let log = world.create();
    for _ in 0..8 {
        world.append(log, 500, Durable);
    }
    world.settle();
    let (key, now) = (world.logs[&log].key, world.now);
    let first = world.store.set_log_start(key, now, 5);
    assert!(first > world.store.committed());
    assert_eq!([5, 3].map(|offset| world.store.set_log_start(key, now, offset)), [first, first]);
    world.settle();
    assert!(world.store.set_log_start(key, now, 4) <= world.store.committed());
}
