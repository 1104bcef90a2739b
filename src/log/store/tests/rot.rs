//! Bit rot: one flipped bit anywhere on a disk at rest. What is read is what was written or an error that names the place, a check
//! tells of it, and only what cannot be told from a torn last commit is ever missing.

use bytes::Bytes;
use coretide_stdx::prng::Prng;

use super::disk::Disk;
use super::world::{Model, World, boot_config, check_disk, run_check, small_config, small_limits, try_boot};
use crate::batch::walk_batches;
use crate::io::Durability::Durable;
use crate::io::Job;
use crate::store::format::read_header;
use crate::store::{
    BootError, CheckConfig, CheckReport, Extent, LogConfig, LogKey, ReadFailure, ReadPlan, RecoveredLog, Severity,
    Store, StoreJobOutput, TimeLookup,
};
use crate::timestamps::TimestampOffset;

/// A disk at rest, and what was written to it.
struct Rest {
    disk: Disk,
    models: Vec<Model>,
    stopped: bool,
    /// Timestamps, and the record that each is to find in each log.
    lookups: Vec<(usize, i64, Option<TimestampOffset>)>,
}

fn at_rest(seed: u64, stopped: bool) -> Rest {
    let mut world = World::new(seed, small_limits(), small_config());
    let logs = [world.create(), world.create(), world.create()];
    for _ in 0..90 {
        let log = logs[world.prng.below(3) as usize];
        let bytes = match world.prng.below(8) {
            0 => 13_000 + world.prng.below(20_000),
            1 => 4000 + world.prng.below(6000),
            _ => 30 + world.prng.below(2000),
        };
        world.append(log, bytes as usize, Durable);
        world.now.wall_ms += 500;
        if world.prng.chance(1, 3) {
            world.settle();
        }
    }
    world.settle();
    let mut lookups = Vec::new();
    for (at, log) in logs.iter().enumerate() {
        for _ in 0..6 {
            let target = 1_700_000_000_000 - 1000 + world.prng.below(50_000) as i64;
            let key = world.logs[log].key;
            lookups.push((at, target, world.find(key, super::world::Lookup::AtLeast(target))));
        }
    }
    if stopped {
        world.stop();
    }
    world.kill();
    Rest { disk: world.disk.clone(), models: world.logs.values().cloned().collect(), stopped, lookups }
}

/// Where the newest commit lies: its file and its range. It cannot be told from one that a crash tore.
fn newest_commit(disk: &Disk) -> Option<(String, std::ops::Range<usize>)> {
    let mut newest: Option<(u64, String, std::ops::Range<usize>)> = None;
    for path in disk.paths().into_iter().filter(|path| path.contains("journal-")) {
        let bytes = disk.file(&path).expect("listed");
        for at in (0..bytes.len()).step_by(4096) {
            let Some(header) = read_header(&bytes[at..]) else { continue };
            if newest.as_ref().is_none_or(|(seq, ..)| header.chain.seq > *seq) {
                newest = Some((header.chain.seq, path.clone(), at..at + header.total_bytes() as usize));
            }
        }
    }
    newest.map(|(_, path, range)| (path, range))
}

struct Booted {
    disk: Disk,
    store: Store,
    recovered: Vec<RecoveredLog>,
}

fn start(mut disk: Disk) -> Result<Booted, BootError> {
    let report = try_boot(&mut disk, boot_config(1, 99, &small_limits()))?;
    let shard = report.shards.into_iter().next().expect("one shard was asked for");
    let (store, recovered) = Store::open(shard, small_limits());
    Ok(Booted { disk, store, recovered })
}

impl Booted {
    fn read(&mut self, key: LogKey, from: i64, want_file: bool) -> Result<(Bytes, i64), ReadFailure> {
        let ready = match self.store.plan_read(key, from, i64::MAX, 20_000, true) {
            ReadPlan::Ready(ready) => ready,
            ReadPlan::Cold(mut cold) => {
                cold.want_file = want_file;
                cold.epochs = vec![(0, 3)];
                let StoreJobOutput::Read(mut done) = cold.into_job().run(|op| self.disk.run(&op)) else {
                    panic!("a read")
                };
                self.store.note_read(&mut done);
                done.result?
            }
            other => panic!("nothing to read at {from}: {other:?}"),
        };
        let mut bytes = Vec::new();
        for extent in &ready.extents {
            match extent {
                Extent::Hot(hot) => bytes.extend_from_slice(hot),
                Extent::File { file, at, len } => {
                    let content = self.disk.file(&file.path()).expect("the segment exists");
                    bytes.extend_from_slice(&content[*at as usize..*at as usize + *len as usize]);
                }
            }
        }
        Ok((bytes.into(), ready.next_offset))
    }

    /// Reads a log from front to end, and compares. Returns the offsets of batches that were refused.
    fn read_all(&mut self, model: &Model, want_file: bool) -> Vec<i64> {
        let found = self.recovered.iter().find(|found| found.tp == model.tp).expect("the log is there").clone();
        let (mut offset, mut refused) = (found.log_start_offset, Vec::new());
        while offset < found.end_offset {
            let first = model.batches.partition_point(|batch| batch.base_offset <= offset) - 1;
            match self.read(found.key, offset, want_file) {
                Ok((bytes, next)) => {
                    assert!(next > offset, "a read at {offset} came to nothing");
                    let wanted = model.batches[first..].iter().take_while(|batch| batch.base_offset < next);
                    let wanted: Vec<u8> = wanted.flat_map(|batch| batch.bytes.to_vec()).collect();
                    assert!(bytes == wanted, "{}: other bytes from {offset} to {next}", model.dir);
                    offset = next;
                }
                Err(ReadFailure::Corrupt { path, .. }) => {
                    assert!(path.starts_with(&*model.dir), "{path}");
                    refused.push(offset);
                    offset = walk_batches(&model.batches[first].bytes).next().expect("a batch").1.next_offset();
                }
                Err(other) => panic!("{}: {other}", model.dir),
            }
        }
        refused
    }

    fn find(&mut self, key: LogKey, target: i64) -> Result<Option<TimestampOffset>, ReadFailure> {
        match self.store.find_timestamp(key, target, i64::MAX) {
            TimeLookup::Ready(found) => Ok(found),
            TimeLookup::Cold(search) => {
                let StoreJobOutput::Time(mut done) = search.into_job().run(|op| self.disk.run(&op)) else {
                    panic!("a search")
                };
                self.store.note_search(&mut done);
                done.result
            }
        }
    }
}

fn tells(report: &CheckReport, path: &str) -> bool {
    let damage = |severity| severity != Severity::Note;
    report.findings.iter().any(|finding| damage(finding.severity) && finding.path == path)
}

/// One bit of one file is flipped.
fn rot(rest: &Rest, path: &str, at: usize, bit: u8) {
    let case = format!("bit {bit} of byte {at} of {path}, {}", if rest.stopped { "stopped" } else { "killed" });
    let mut disk = rest.disk.clone();
    disk.flip(path, at, 1 << bit);
    let report = check_disk(&mut disk.clone(), false);
    let told = tells(&report, path);
    let torn = !rest.stopped && newest_commit(&rest.disk).is_some_and(|(of, range)| of == path && range.contains(&at));
    let segments: Vec<String> = rest.disk.paths().into_iter().filter(|path| path.ends_with(".log")).collect();
    let dir = path.split('/').next().expect("a folder");
    let is_last = segments.iter().rfind(|segment| segment.starts_with(dir)).is_some_and(|last| last == path);
    let counts = match path {
        _ if path.contains("checkpoint-") => true,
        _ if path.contains("boot-") => at % 4096 < 80,
        _ if path.ends_with(".log") => rest.stopped && !is_last,
        _ => rest.stopped && path.ends_with("index"),
    };
    assert!(told || !counts, "{case}: the check says {:#?}", report.findings);
    let mut booted = match start(disk) {
        Ok(booted) => booted,
        Err(error) => {
            assert!(told || path.contains("journal-") && !report.is_whole(), "{case}: {error}, unknown to the check");
            assert!(matches!(error, BootError::Journal { .. } | BootError::BootFile { .. }), "{case}: {error}");
            return;
        }
    };
    for model in &rest.models {
        let found = booted.recovered.iter().find(|found| found.tp == model.tp);
        let (end, is_found) = (found.map_or(0, |found| found.end_offset), found.is_some());
        assert!(end == model.acked || torn, "{case}: {} ends at {end}, not {}", model.dir, model.acked);
        for want_file in [false, true] {
            if !is_found {
                continue;
            }
            let refused = booted.read_all(model, want_file);
            assert!(refused.is_empty() || (told && path.ends_with(".log")), "{case}: {refused:?} are refused");
            let is_here = path.starts_with(&*model.dir) && path.ends_with(".log");
            assert!(!refused.is_empty() || !is_here || !counts, "{case}: nothing is refused");
        }
    }
    for (log, target, wanted) in rest.lookups.iter().filter(|_| !torn) {
        let tp = rest.models[*log].tp;
        let key = booted.recovered.iter().find(|found| found.tp == tp).expect("seen above").key;
        match booted.find(key, *target) {
            Ok(found) => assert_eq!(found, *wanted, "{case}: looking for {target}"),
            Err(ReadFailure::Corrupt { .. }) => assert!(path.ends_with(".log"), "{case}: looking for {target}"),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn bug_par_one_flipped_bit_is_told_and_never_served() {
    const KINDS: [&str; 6] = ["boot-", "checkpoint-", "journal-", ".log", ".index", ".timeindex"];
    let seeds = std::env::var("CORETIDE_ROT_SEEDS").map_or(6, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        let rest = at_rest(seed, seed % 2 == 0);
        assert!(check_disk(&mut rest.disk.clone(), false).findings.is_empty(), "seed {seed} begins whole");
        let mut prng = Prng::new(seed);
        let paths = rest.disk.paths();
        for _ in 0..10 {
            for kind in KINDS {
                let mine: Vec<&String> = paths.iter().filter(|path| path.contains(kind)).collect();
                let path = mine[prng.below(mine.len() as u64) as usize];
                let bytes = rest.disk.file(path).expect("listed").len() as u64;
                // Most of a journal file is what came before; half of the flips go where it matters.
                let newest = newest_commit(&rest.disk).filter(|(of, _)| of == path).map(|(_, range)| range.end as u64);
                let end = newest.filter(|_| prng.chance(1, 2)).unwrap_or(bytes);
                if end > 0 {
                    rot(&rest, path, prng.below(end) as usize, prng.below(8) as u8);
                }
            }
        }
    }
}

#[test]
fn a_hole_in_the_journal_stops_the_start_and_is_named() {
    let rest = at_rest(1, false);
    let (path, newest) = newest_commit(&rest.disk).expect("commits");
    let before = (0..newest.start)
        .step_by(4096)
        .filter(|at| read_header(&rest.disk.file(&path).expect("a file")[*at..]).is_some());
    let hole = before.max().expect("another commit of the same file");
    let mut disk = rest.disk.clone();
    disk.flip(&path, hole + 70, 4);
    let report = check_disk(&mut disk, false);
    let finding = report.findings.iter().find(|finding| finding.severity == Severity::Loss).expect("it is damage");
    assert_eq!((&finding.path, finding.at), (&path, Some(hole as u64)));
    let error = start(disk.clone()).err().expect("no start").to_string();
    assert!(error.contains(&path) && error.contains(&format!("position {hole}")), "{error}");
    // With the journal cut there, what lies before it is whole, and all of what is in segments.
    let report = run_check(&mut disk, CheckConfig { repair: false, cut_journal: true });
    assert!(report.is_whole(), "{report:#?}");
    assert!(check_disk(&mut disk, false).is_whole());
    let mut booted = start(disk).expect("the damage is given up");
    for model in &rest.models {
        let found = booted.recovered.iter().find(|found| found.tp == model.tp).expect("the log is there").clone();
        assert!(found.end_offset <= model.acked);
        assert_eq!(booted.read_all(model, false), Vec::<i64>::new());
    }
    let end = |found: &RecoveredLog| found.end_offset;
    let (kept, acked): (i64, i64) = (booted.recovered.iter().map(end).sum(), rest.models.iter().map(|m| m.acked).sum());
    assert!(kept < acked, "two commits are given up");
}

#[test]
fn a_journal_whose_first_commit_is_damaged_can_be_cut_to_nothing() {
    let rest = at_rest(1, false);
    let (path, _) = newest_commit(&rest.disk).expect("commits");
    let mut disk = rest.disk.clone();
    for path in rest.disk.paths().into_iter().filter(|path| path.contains("journal-")) {
        disk.flip(&path, 20, 1);
    }
    assert!(matches!(start(disk.clone()), Err(BootError::Journal { .. })), "{path}");
    assert!(!check_disk(&mut disk, false).is_whole());
    assert!(run_check(&mut disk, CheckConfig { repair: false, cut_journal: true }).is_whole());
    let mut booted = start(disk).expect("the damage is given up");
    for model in &rest.models {
        assert_eq!(booted.read_all(model, false), Vec::<i64>::new());
    }
}

#[test]
fn a_damaged_boot_file_never_brings_an_older_generation_back() {
    let rest = at_rest(3, false);
    let mut again = start(rest.disk.clone()).expect("the disk is good").disk;
    again.kill();
    for slot in 0..2 {
        let path = format!(".coretide/boot-{slot}");
        let mut disk = again.clone();
        disk.flip(&path, 20, 1);
        let booted = start(disk.clone()).expect("the other copy is good");
        let ends = |models: &[Model]| models.iter().map(|model| model.acked).collect::<Vec<_>>();
        let found: Vec<i64> = booted.recovered.iter().map(|log| log.end_offset).collect();
        assert_eq!(found, ends(&rest.models));
        disk.flip(&path, 4096 + 20, 1);
        assert!(matches!(start(disk.clone()), Err(BootError::BootFile { .. })));
        assert!(!check_disk(&mut disk, false).is_whole());
    }
}

#[test]
fn wrong_index_files_are_made_anew_and_absent_ones_too() {
    for (at, kind) in [(0, ".index"), (1, ".timeindex"), (2, "")] {
        let config = LogConfig { segment_bytes: 700 << 10, ..small_config() };
        let mut world = World::new(40 + at, small_limits(), config);
        let log = world.create();
        world.fill_and_reboot(log, 450);
        let (index, times) = ("topic1-0/00000000000000000000.index", "topic1-0/00000000000000000000.timeindex");
        let before = [index, times].map(|path| world.disk.file(path).expect("an index").to_vec());
        match kind {
            ".index" => (0..before[0].len()).for_each(|at| world.disk.flip(index, at, 0x55)),
            // Zeros, as after a lost block.
            ".timeindex" => (0..before[1].len()).for_each(|at| world.disk.flip(times, at, before[1][at])),
            _ => [index, times].iter().for_each(|path| world.disk.remove(path)),
        }
        world.check_all_reads();
        for from in (0..world.logs[&log].acked).rev().step_by(7) {
            world.check_reads(log, from, 5000, false);
        }
        let key = world.logs[&log].key;
        for target in 0..20 {
            let target = 1_700_000_000_000 + target * 100_000;
            let model = &world.logs[&log];
            let wanted = model
                .batches
                .iter()
                .find_map(|batch| crate::timestamps::find_by_timestamp(&batch.bytes, target, 0).expect("a good batch"));
            assert_eq!(world.find(key, super::world::Lookup::AtLeast(target)), wanted, "{kind} {target}");
        }
        world.settle();
        let after = [index, times].map(|path| world.disk.file(path).expect("made anew").to_vec());
        assert!(before == after, "{kind}: the index is what it was");
        assert!(check_disk(&mut world.disk, false).is_whole());
    }
}

#[test]
fn a_file_range_is_given_only_of_what_was_read_before() {
    let mut world = World::new(50, small_limits(), small_config());
    let log = world.create();
    for _ in 0..40 {
        world.append(log, 2000, Durable);
    }
    world.stop();
    world.kill();
    let mut booted = start(world.disk.clone()).expect("the disk is good");
    let model = &world.logs[&log];
    let key = booted.recovered.iter().find(|found| found.tp == model.tp).expect("the log").key;
    let mut extents = |from: i64| match booted.store.plan_read(key, from, i64::MAX, 9000, true) {
        ReadPlan::Cold(mut cold) => {
            cold.want_file = true;
            let StoreJobOutput::Read(mut done) = cold.into_job().run(|op| booted.disk.run(&op)) else {
                panic!("a read")
            };
            booted.store.note_read(&mut done);
            let ready = done.result.expect("the disk is good");
            (matches!(ready.extents[0], Extent::File { .. }), ready.next_offset)
        }
        other => panic!("{other:?}"),
    };
    let (mut offset, mut places) = (0, Vec::new());
    for _ in 0..4 {
        places.push(offset);
        let (is_file, next) = extents(offset);
        assert!(!is_file, "offset {offset} was never read");
        offset = next;
    }
    for place in &places[1..] {
        assert!(extents(*place).0, "offset {place} was read and found good");
    }
}

/// With the newer boot file damaged, the check went by the older one: `--repair` signed folders for topics of that state, and
/// `--cut-journal`, which it advised, wrote over the checkpoints and journals of the state that counts.
#[test]
fn bug_ours_nothing_is_repaired_or_cut_while_it_is_not_known_which_state_counts() {
    let rest = at_rest(3, false);
    let mut again = start(rest.disk.clone()).expect("the disk is good").disk;
    again.kill();
    for slot in 0..2 {
        let mut disk = again.clone();
        let path = format!(".coretide/boot-{slot}");
        disk.flip(&path, 20, 1);
        disk.flip(&path, 4096 + 20, 1);
        let metadata = disk.paths().into_iter().find(|path| path.ends_with("partition.metadata")).expect("a folder");
        disk.remove(&metadata);
        let content = |disk: &Disk| -> Vec<(String, Vec<u8>)> {
            disk.paths().into_iter().map(|path| (path.clone(), disk.file(&path).expect("listed").to_vec())).collect()
        };
        let before = content(&disk);
        let report = run_check(&mut disk, CheckConfig { repair: true, cut_journal: true });
        assert!(!report.is_whole() && report.findings.iter().all(|finding| !finding.repaired), "{report:#?}");
        assert!(content(&disk) == before, "nothing was written");
    }
}
