//! A store, a disk, and a model of what was appended.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coretide_model::{Notice, Now, TopicId, TopicPartition};
use coretide_stdx::prng::Prng;

use super::disk::Disk;
use crate::batch::{VerifiedBatch, patch, walk_batches};
use crate::builder::BatchBuilder;
use crate::codec::Compression;
use crate::io::{Durability, Job, Op, OpResult, Step};
use crate::store::{
    Boot, BootConfig, BootError, BootReport, Check, CheckConfig, CheckReport, Extent, LogConfig, LogKey, ReadPlan,
    RecoveredLog, Store, StoreJob, StoreJobOutput, StoreLimits, StoreOut, TimeLookup,
};
use crate::timestamps::TimestampOffset;

/// Small limits, so that everything happens often.
pub fn small_limits() -> StoreLimits {
    StoreLimits {
        journal_file_bytes: 128 << 10,
        journal_files_max: 4,
        commit_bytes_max: 32 << 10,
        direct_from_bytes: 12 << 10,
        destage_from_bytes: 24 << 10,
        destage_write_bytes: 16 << 10,
        cache_bytes: 128 << 10,
        cache_bytes_max: 160 << 10,
        checkpoint_every_bytes: 160 << 10,
        jobs_max: 4,
        extents_max: 64,
        ..StoreLimits::default()
    }
}

/// Small segments.
pub fn small_config() -> LogConfig {
    LogConfig {
        segment_bytes: 96 << 10,
        segment_ms: 1_000_000_000,
        segment_index_bytes: 4096,
        index_interval_bytes: 1024,
        file_delete_delay_ms: 5,
    }
}

#[derive(Clone, Debug)]
pub struct Appended {
    pub base_offset: i64,
    pub bytes: Bytes,
}

/// What a log should hold.
#[derive(Clone, Debug)]
pub struct Model {
    pub tp: TopicPartition,
    pub dir: Arc<str>,
    pub key: LogKey,
    pub batches: Vec<Appended>,
    pub start: i64,
    /// Acknowledged end.
    pub acked: i64,
    pub deleted: bool,
}

impl Model {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |last| last.base_offset + record_count(&last.bytes))
    }
}

fn record_count(batch: &[u8]) -> i64 {
    walk_batches(batch).next().map_or(0, |(_, header)| i64::from(header.last_offset_delta) + 1)
}

struct Running {
    id: u64,
    job: StoreJob,
    ops: Vec<Op>,
    results: Vec<OpResult>,
}

pub struct World {
    pub disk: Disk,
    pub store: Store,
    pub prng: Prng,
    pub now: Now,
    pub limits: StoreLimits,
    pub config: LogConfig,
    pub logs: BTreeMap<u32, Model>,
    pub recovered: Vec<RecoveredLog>,
    pub report_notes: Vec<String>,
    /// What the operator was told.
    pub notices: Vec<Notice>,
    ios: Vec<(u64, Op)>,
    jobs: Vec<Running>,
    next_topic: u32,
    generation: u64,
    pub bytes_read_by_boot: u64,
}

/// Runs a boot to its end.
pub fn boot(disk: &mut Disk, config: BootConfig) -> BootReport {
    try_boot(disk, config).expect("the disk is good")
}

pub fn try_boot(disk: &mut Disk, config: BootConfig) -> Result<BootReport, crate::store::BootError> {
    let mut boot = Boot::new(config);
    let mut results = Vec::new();
    let mut steps = 0;
    loop {
        match boot.step(std::mem::take(&mut results)) {
            Step::Done(report) => return report,
            Step::Do(ops) => {
                steps += 1;
                assert!(steps < 100_000, "the start does not end: {ops:?}");
                results = run_all(disk, &ops);
            }
        }
    }
}

pub fn run_all(disk: &mut Disk, ops: &[Op]) -> Vec<OpResult> {
    let mut results = Vec::new();
    for op in ops {
        let result = disk.run(op);
        let failed = result.is_err();
        results.push(result);
        if failed {
            break;
        }
    }
    results
}

/// Boots until `steps` operations are done, then stops as a crash would.
pub fn boot_partly(disk: &mut Disk, config: BootConfig, mut steps: u64) {
    let mut boot = Boot::new(config);
    let mut results = Vec::new();
    while let Step::Do(ops) = boot.step(std::mem::take(&mut results)) {
        for op in &ops {
            if steps == 0 {
                disk.begin(op);
                return;
            }
            steps -= 1;
            let result = disk.run(op);
            let failed = result.is_err();
            results.push(result);
            if failed {
                break;
            }
        }
    }
}

/// A batch of one record and of exactly so many bytes.
pub fn batch_of(bytes: usize) -> VerifiedBatch {
    let mut value = vec![7; bytes.saturating_sub(80)];
    for _ in 0..9 {
        let mut builder = BatchBuilder::new(Compression::default());
        builder.push(1_700_000_000_000, None, Some(&value), &[]);
        let batch = VerifiedBatch::from_own_records(builder);
        if batch.len_bytes() == bytes {
            return batch;
        }
        value.resize(value.len() + bytes - batch.len_bytes(), 7);
    }
    panic!("no batch of one record has {bytes} bytes");
}

impl World {
    pub fn new(seed: u64, limits: StoreLimits, config: LogConfig) -> World {
        let mut disk = Disk::default();
        let mut prng = Prng::new(seed);
        let report = boot(&mut disk, boot_config(1, prng.next_u64(), &limits));
        let shard = report.shards.into_iter().next().expect("one shard was asked for");
        let (store, recovered) = Store::open(shard, limits.clone());
        World {
            disk,
            store,
            prng,
            now: Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            limits,
            config,
            logs: BTreeMap::new(),
            recovered,
            report_notes: report.notes,
            notices: Vec::new(),
            ios: Vec::new(),
            jobs: Vec::new(),
            next_topic: 1,
            generation: 0,
            bytes_read_by_boot: 0,
        }
    }

    pub fn create(&mut self) -> u32 {
        let topic = self.next_topic;
        self.next_topic += 1;
        let tp = TopicPartition { topic_id: TopicId(u128::from(topic) << 64 | 7), partition: 0 };
        self.create_as(topic, tp, &format!("topic{topic}-0"))
    }

    pub fn create_as(&mut self, id: u32, tp: TopicPartition, dir: &str) -> u32 {
        let dir: Arc<str> = Arc::from(dir);
        let key = self.store.create_log(tp, Arc::clone(&dir), 0);
        self.store.configure(key, self.config);
        let model = Model { tp, dir, key, batches: Vec::new(), start: 0, acked: 0, deleted: false };
        self.logs.insert(id, model);
        id
    }

    pub fn append(&mut self, id: u32, bytes: usize, durability: Durability) {
        let timestamp = self.now.wall_ms + self.prng.below(2000) as i64 - 1000;
        self.append_at(id, bytes, durability, timestamp);
    }

    pub fn append_at(&mut self, id: u32, bytes: usize, durability: Durability, timestamp: i64) {
        let mut builder = BatchBuilder::new(Compression { codec: crate::codec::Codec::None, level: None });
        let records = 1 + self.prng.below(3);
        for n in 0..records {
            let mut value = vec![0u8; bytes / records as usize];
            for chunk in value.chunks_mut(8) {
                let random = self.prng.next_u64().to_le_bytes();
                chunk.copy_from_slice(&random[..chunk.len()]);
            }
            builder.push(timestamp - (records - 1 - n) as i64, Some(b"k"), Some(&value), &[]);
        }
        let batch = VerifiedBatch::from_own_records(builder);
        let model = self.logs.get_mut(&id).expect("the log exists");
        let base_offset = self.store.end_offset(model.key);
        if self.store.is_offline(model.key).is_some() {
            return;
        }
        self.store.stage(model.key, self.now, &batch, base_offset, 3, durability).expect("the log is online");
        let mut bytes = BytesMut::from(&batch.bytes()[..]);
        patch(&mut bytes, base_offset, 3);
        model.batches.push(Appended { base_offset, bytes: bytes.freeze() });
    }

    /// Ends a tick: collects what the store wants done.
    pub fn tick(&mut self) {
        self.now.mono_us += 1000;
        self.now.wall_ms += 1;
        let mut out = Vec::new();
        self.store.end_of_tick(self.now, &mut |key| Bytes::from(format!("aux of {}", key.0)), &mut out);
        for out in out {
            match out {
                StoreOut::Io { id, op } => self.ios.push((id, op)),
                StoreOut::Notice(notice) => self.notices.push(notice),
                StoreOut::Job { id, job } => {
                    self.jobs.push(Running { id, job, ops: Vec::new(), results: Vec::new() });
                    self.step_job(self.jobs.len() - 1);
                }
            }
        }
        for key in self.store.drain_committed() {
            for model in self.logs.values_mut().filter(|model| model.key == key && !model.deleted) {
                model.acked = model.acked.max(self.store.committed_end_offset(key));
            }
        }
    }

    /// Lets a job that has no operations left go on.
    fn step_job(&mut self, at: usize) {
        let running = &mut self.jobs[at];
        match running.job.step(std::mem::take(&mut running.results)) {
            Step::Do(ops) => running.ops = ops,
            Step::Done(output) => {
                let id = self.jobs.swap_remove(at).id;
                match output {
                    StoreJobOutput::Own(done) => self.store.on_job(self.now, id, done),
                    other => panic!("the store runs no reads itself: {other:?}"),
                }
            }
        }
    }

    /// So many turns, in which operations of jobs that are `held` wait.
    pub fn go_on(&mut self, turns: usize, held: impl Fn(&Op) -> bool) {
        for _ in 0..turns {
            self.tick();
            self.write();
            while let Some(at) = self.jobs.iter().position(|job| job.ops.first().is_some_and(|op| !held(op))) {
                self.work_on(at);
            }
        }
    }

    /// Does one outstanding operation, any one. False if there is none.
    pub fn work(&mut self) -> bool {
        let choices = self.ios.len() + self.jobs.len();
        if choices == 0 {
            return false;
        }
        let choice = self.prng.below(choices as u64) as usize;
        if choice < self.ios.len() {
            let (id, op) = self.ios.swap_remove(choice);
            let result = self.disk.run(&op);
            self.store.on_io(self.now, id, result);
        } else {
            self.work_on(choice - self.ios.len());
        }
        true
    }

    /// Does the next operation of a job.
    fn work_on(&mut self, at: usize) {
        let op = self.jobs[at].ops.remove(0);
        let result = self.disk.run(&op);
        let failed = result.is_err();
        self.jobs[at].results.push(result);
        if failed || self.jobs[at].ops.is_empty() {
            self.step_job(at);
        }
    }

    /// The files that have writes of the hot ring on their way.
    pub fn writing(&self) -> Vec<String> {
        let path = |op: &Op| match op {
            Op::Write { file, .. } => Some(file.path()),
            _ => None,
        };
        self.ios.iter().filter_map(|(_, op)| path(op)).collect()
    }

    /// Does the oldest write of the hot ring whose file's path contains `part`.
    pub fn finish_write(&mut self, part: &str) {
        let at = self.writing().iter().position(|path| path.contains(part)).expect("such a write is on its way");
        let (id, op) = self.ios.remove(at);
        let result = self.disk.run(&op);
        self.store.on_io(self.now, id, result);
        self.tick();
    }

    /// Does all outstanding writes of the hot ring.
    pub fn write(&mut self) {
        for (id, op) in std::mem::take(&mut self.ios) {
            let result = self.disk.run(&op);
            self.store.on_io(self.now, id, result);
        }
    }

    /// Works until nothing is outstanding.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            self.tick();
            let worked = self.work();
            if !worked && self.store.next_deadline().is_none_or(|at| at > self.now.mono_us + 1_000_000_000) {
                self.tick();
                if self.ios.is_empty() && self.jobs.is_empty() {
                    return;
                }
            }
        }
        panic!("the store does not come to rest");
    }

    pub fn stop(&mut self) {
        self.store.begin_stop(self.now);
        for _ in 0..100_000 {
            self.tick();
            if self.store.is_stopped() {
                return;
            }
            self.work();
        }
        panic!("the store does not stop: {:?}", self.store);
    }

    /// Power fails with operations under way.
    pub fn crash(&mut self) {
        for (_, op) in std::mem::take(&mut self.ios) {
            self.disk.begin(&op);
        }
        for job in std::mem::take(&mut self.jobs) {
            if let Some(op) = job.ops.first() {
                self.disk.begin(op);
            }
        }
        self.disk.crash(&mut self.prng);
    }

    /// The process dies, the disk keeps what was written.
    pub fn kill(&mut self) {
        self.ios.clear();
        self.jobs.clear();
        self.disk.kill();
    }

    pub fn boot_config(&mut self, shards: u16) -> BootConfig {
        boot_config(shards, self.prng.next_u64(), &self.limits)
    }

    /// Boots again; a disk that is too full for a start gets room first. True if it was.
    pub fn reboot_with_room(&mut self) -> bool {
        let config = self.boot_config(1);
        let full = match try_boot(&mut self.disk, config) {
            Ok(_) => false,
            Err(error) => {
                assert!(matches!(&error, BootError::Io(io) if io.is_no_space()), "{error}");
                true
            }
        };
        self.disk.kill();
        self.disk.capacity = None;
        self.reboot();
        full
    }

    /// Appends so many records of 2,000 bytes, five seconds apart, then stops and boots again: all of them are on disk only.
    pub fn fill_and_reboot(&mut self, log: u32, records: usize) {
        for n in 0..records {
            self.append(log, 2000, Durability::Durable);
            self.now.wall_ms += 5000;
            if n % 4 == 0 {
                self.settle();
            }
        }
        self.stop();
        self.kill();
        self.reboot();
    }

    /// Boots again, and compares what was recovered with the model, which then is cut to it.
    pub fn reboot(&mut self) {
        let config = self.boot_config(1);
        let before = self.disk.bytes_read;
        let report = boot(&mut self.disk, config);
        self.bytes_read_by_boot = self.disk.bytes_read - before;
        self.report_notes = report.notes;
        self.generation += 1;
        let shard = report.shards.into_iter().next().expect("one shard was asked for");
        let (store, recovered) = Store::open(shard, self.limits.clone());
        self.ios.clear();
        self.jobs.clear();
        self.store = store;
        self.recovered = recovered;
        self.adopt();
    }

    fn adopt(&mut self) {
        let config = self.config;
        let mut gone = Vec::new();
        for (id, model) in &mut self.logs {
            let Some(found) = self.recovered.iter().find(|found| found.tp == model.tp) else {
                assert!(model.deleted || model.acked == 0, "log {id} is lost with {} acked", model.acked);
                gone.push(*id);
                continue;
            };
            let end = found.end_offset;
            assert!(end >= model.acked || model.deleted, "log {id} ends at {end}, but {} was acked", model.acked);
            assert!(end <= model.end(), "log {id} ends at {end}, beyond what was ever appended");
            model.batches.retain(|batch| batch.base_offset < end);
            assert_eq!(model.end(), end, "log {id} ends within a batch");
            assert!(found.log_start_offset <= end);
            model.start = found.log_start_offset;
            model.key = found.key;
            model.acked = end;
            self.store.configure(found.key, config);
        }
        for id in gone {
            self.logs.remove(&id);
        }
    }

    /// Reads a log from an offset to its acked end, and compares.
    pub fn check_reads(&mut self, id: u32, from: i64, max_bytes: usize, want_file: bool) {
        let model = self.logs[&id].clone();
        let mut offset = from.max(model.start);
        let mut reads = 0;
        while offset < model.acked {
            let (bytes, next) = self.read(model.key, offset, model.acked, max_bytes, want_file);
            let first = model.batches.partition_point(|batch| batch.base_offset <= offset) - 1;
            let mut expected = Vec::new();
            for batch in &model.batches[first..] {
                if batch.base_offset >= next {
                    break;
                }
                expected.extend_from_slice(&batch.bytes);
            }
            assert!(bytes == expected, "log {id} reads other bytes from {offset} to {next}");
            assert!(next > offset, "a read at {offset} came to nothing");
            offset = next;
            reads += 1;
            assert!(reads < 10_000);
        }
    }

    pub fn read(&mut self, key: LogKey, from: i64, limit: i64, max: usize, want_file: bool) -> (Vec<u8>, i64) {
        let ready = match self.store.plan_read(key, from, limit, max, true) {
            ReadPlan::Ready(ready) => ready,
            ReadPlan::Cold(mut cold) => {
                cold.want_file = want_file;
                match cold.into_job().run(|op| self.disk.run(&op)) {
                    StoreJobOutput::Read(mut done) => {
                        self.store.note_read(&mut done);
                        done.result.unwrap_or_else(|failure| panic!("reading {key:?} at {from}: {failure}"))
                    }
                    other => panic!("{other:?} is no read"),
                }
            }
            other => panic!("nothing to read at {from} below {limit}: {other:?}"),
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
        assert_eq!(bytes.len(), ready.bytes);
        let first = walk_batches(&bytes).next().expect("at least one batch").1;
        assert_eq!(first.total_bytes(), ready.first_batch_bytes);
        assert!(ready.bytes <= max || ready.bytes == ready.first_batch_bytes);
        (bytes, ready.next_offset)
    }

    pub fn find(&mut self, key: LogKey, lookup: Lookup) -> Option<TimestampOffset> {
        let lookup = match lookup {
            Lookup::AtLeast(timestamp) => self.store.find_timestamp(key, timestamp, i64::MAX),
            Lookup::Max => self.store.max_timestamp(key, i64::MAX),
        };
        match lookup {
            TimeLookup::Ready(found) => found,
            TimeLookup::Cold(read) => match read.into_job().run(|op| self.disk.run(&op)) {
                StoreJobOutput::Time(mut done) => {
                    self.store.note_search(&mut done);
                    done.result.expect("the disk is good")
                }
                other => panic!("{other:?} is no search"),
            },
        }
    }

    pub fn check_all_reads(&mut self) {
        for id in self.logs.keys().copied().collect::<Vec<_>>() {
            if !self.logs[&id].deleted {
                let start = self.logs[&id].start;
                self.check_reads(id, start, 20_000, false);
                self.check_reads(id, start, 30_000, true);
            }
        }
    }
}

/// Checks a disk that nobody uses.
pub fn check_disk(disk: &mut Disk, repair: bool) -> CheckReport {
    run_check(disk, CheckConfig { repair, cut_journal: false })
}

pub fn run_check(disk: &mut Disk, config: CheckConfig) -> CheckReport {
    Check::new(config).run(|op| disk.run(&op)).expect("the disk can be read")
}

pub enum Lookup {
    AtLeast(i64),
    Max,
}

pub fn boot_config(shards: u16, random: u64, limits: &StoreLimits) -> BootConfig {
    let owner = Arc::new(|tp: TopicPartition, shards: u16| ((tp.topic_id.0 >> 64) % u128::from(shards)) as u16);
    BootConfig { shards, owner, random, limits: limits.clone(), vital: None }
}
