//! The small simulation: one store with its partitions on the virtual disk, no shard, no network. It reaches crash points of the
//! storage far more often than whole runs do.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coretide_log::batch::VerifiedBatch;
use coretide_log::io::Op;
use coretide_log::store::{
    Boot, BootConfig, Extent, LogKey, ReadPlan, ReadReady, Store, StoreJob, StoreJobOutput, StoreLimits, StoreOut,
};
use coretide_model::{Now, TopicConfig, TopicId, TopicPartition};
use coretide_partition::{Isolation, Marks, Origin, Partition, ReadSpec};
use coretide_stdx::prng::Prng;

use crate::disk::{CutMode, SimDisk};
use crate::job::JobRun;
use crate::judge::{Verdict, check_layout};
use crate::records::{RecordId, Sequenced, decode_batches, encode_batch};

/// Steps of one life of the store.
const STEPS: u64 = 400;
/// Lives of one run.
const LIVES: u64 = 4;
/// Steps that recovery, a stop or the catching up at the end may take.
const PATIENCE: u32 = 200_000;

/// One batch of the model.
#[derive(Clone, Debug)]
struct Batch {
    base_offset: i64,
    ids: Vec<RecordId>,
    sequenced: Sequenced,
    timestamp_ms: i64,
    commit: u64,
    acked: bool,
}

/// One partition of the model.
#[derive(Debug, Default)]
struct Model {
    batches: Vec<Batch>,
    log_start: i64,
    /// What was acked of DeleteRecords; a crash may keep more.
    log_start_acked: i64,
    /// The commits with which others are acked, and what they are.
    log_starts_due: Vec<(u64, i64)>,
    marks: Marks,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.base_offset + batch.ids.len() as i64)
    }

    fn next_sequence(&self, producer_id: i64) -> i32 {
        let last = self.batches.iter().rev().find(|batch| batch.sequenced.producer_id == producer_id);
        last.map_or(0, |batch| batch.sequenced.base_sequence + batch.ids.len() as i32)
    }
}

/// A read on disk and what it must yield.
struct ColdRun {
    job: JobRun<StoreJob>,
    partition: usize,
    from: i64,
    limit: i64,
}

/// What runs do beside what they once did. Drawn from a generator of its own: the seeds of bugs that were found without it keep
/// their meaning.
struct Twists {
    prng: Prng,
    /// A start may be killed, too, and leave in the page cache what the next start relies on.
    kills_in_boot: bool,
    /// The wall clock jumps.
    clock_jumps: bool,
}

impl Twists {
    fn of(seed: u64) -> Twists {
        let mut prng = Prng::new(seed ^ 0x7477_6973_7473);
        let (kills_in_boot, clock_jumps) = (prng.chance(2, 3), prng.chance(1, 3));
        Twists { prng, kills_in_boot, clock_jumps }
    }

    #[cfg(test)]
    fn none() -> Twists {
        Twists { prng: Prng::new(0), kills_in_boot: false, clock_jumps: false }
    }
}

struct Solo {
    prng: Prng,
    twists: Twists,
    now: Now,
    disk: SimDisk,
    limits: StoreLimits,
    config: Arc<TopicConfig>,
    store: Option<Store>,
    partitions: Vec<Partition>,
    models: Vec<Model>,
    ios: BTreeMap<u64, Op>,
    jobs: BTreeMap<u64, JobRun<StoreJob>>,
    cold: Vec<ColdRun>,
    appended: u64,
}

/// What a run of the small simulation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoloReport {
    pub appended: u64,
    pub records: u64,
}

/// Runs a seed.
pub fn run_solo(seed: u64) -> Result<SoloReport, String> {
    run_with(seed, Twists::of(seed))
}

fn run_with(seed: u64, twists: Twists) -> Result<SoloReport, String> {
    let mut prng = Prng::new(seed);
    let limits = StoreLimits {
        journal_file_bytes: 64 << 10 << prng.below(3),
        journal_files_max: 4 + prng.below(4) as u32,
        commit_bytes_max: 32 << 10,
        direct_from_bytes: 8 << 10 << prng.below(3),
        destage_from_bytes: 8 << 10 << prng.below(3),
        destage_write_bytes: 8 << 10,
        cache_bytes: 8 << 10 << prng.below(5),
        checkpoint_every_bytes: 32 << 10 << prng.below(4),
        ..StoreLimits::default()
    };
    let config = TopicConfig {
        segment_bytes: 64 << 10 << prng.below(4),
        segment_ms: if prng.chance(1, 2) { 300 } else { 604_800_000 },
        index_interval_bytes: if prng.chance(1, 2) { 0 } else { 4096 },
        retention_ms: -1,
        ..TopicConfig::default()
    };
    let disk = SimDisk::new(prng.fork());
    let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
    let mut solo = Solo {
        prng,
        twists,
        now,
        disk,
        limits,
        config: Arc::new(config),
        store: None,
        partitions: Vec::new(),
        models: Vec::new(),
        ios: BTreeMap::new(),
        jobs: BTreeMap::new(),
        cold: Vec::new(),
        appended: 0,
    };
    solo.run().map_err(|what| format!("solo seed {seed}: {what}"))?;
    let records = solo.models.iter().map(|model| model.batches.iter().map(|batch| batch.ids.len() as u64).sum::<u64>());
    Ok(SoloReport { appended: solo.appended, records: records.sum() })
}

impl Solo {
    fn run(&mut self) -> Verdict {
        self.boot(true)?;
        for _ in 0..1 + self.prng.below(4) {
            let place = self.models.len();
            let tp = TopicPartition { topic_id: TopicId(77), partition: place as i32 };
            let dir = Arc::from(format!("solo-{place}"));
            let store = self.store.as_mut().expect("booted");
            self.partitions.push(Partition::create(store, tp, dir, 0, self.config.clone()));
            self.models.push(Model::default());
        }
        for life in 0..LIVES {
            for _ in 0..STEPS {
                self.step()?;
            }
            if life + 1 == LIVES || self.prng.chance(1, 5) {
                self.stop()?;
            } else {
                self.crash();
            }
            self.boot(false)?;
            self.read_everything()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Verdict {
        let us = self.prng.below(20_000);
        self.now = Now { mono_us: self.now.mono_us + us, wall_ms: self.now.wall_ms + (us / 1000) as i64 };
        if self.twists.clock_jumps && self.twists.prng.chance(1, 100) {
            self.now.wall_ms += self.twists.prng.below(20_000) as i64 - 10_000;
        }
        match self.prng.below(20) {
            0..=6 => self.append()?,
            7..=11 => self.finish_io(),
            12..=15 => self.finish_job_op()?,
            16 | 17 => self.read_somewhere()?,
            18 => self.append_again()?,
            _ if self.prng.chance(1, 10) => self.delete_records(),
            _ => {}
        }
        if self.prng.chance(2, 3) {
            self.end_of_tick()?;
        }
        Ok(())
    }

    fn end_of_tick(&mut self) -> Verdict {
        let store = self.store.as_mut().expect("alive");
        let partitions = &self.partitions;
        let mut out = Vec::new();
        let mut aux = |key: LogKey| -> Bytes {
            let found = partitions.iter().find(|partition| partition.key() == key);
            found.map_or_else(Bytes::new, Partition::aux)
        };
        store.end_of_tick(self.now, &mut aux, &mut out);
        for output in out {
            match output {
                StoreOut::Io { id, op } => {
                    self.ios.insert(id, op);
                }
                StoreOut::Notice(_) => {}
                StoreOut::Job { id, job } => {
                    let (run, done) = JobRun::begin(job);
                    match done {
                        None => {
                            self.jobs.insert(id, run);
                        }
                        Some(done) => self.job_done(id, done),
                    }
                }
            }
        }
        self.look_at_marks()
    }

    fn look_at_marks(&mut self) -> Verdict {
        let store = self.store.as_mut().expect("alive");
        store.drain_committed();
        for (partition, model) in self.partitions.iter_mut().zip(&mut self.models) {
            partition.on_committed(store, &mut Vec::new());
            let marks = partition.marks(store);
            let before = model.marks;
            let back = marks.log_start_offset < before.log_start_offset
                || marks.high_watermark < before.high_watermark
                || marks.log_end_offset < before.log_end_offset;
            let ordered = marks.log_start_offset <= marks.last_stable_offset
                && marks.last_stable_offset <= marks.high_watermark
                && marks.high_watermark <= marks.log_end_offset;
            if back || !ordered {
                return Err(format!("L7: marks went from {before:?} to {marks:?}"));
            }
            model.marks = marks;
            let committed = store.committed();
            let is_offline = store.is_offline(partition.key()).is_some();
            model.log_starts_due.retain(|&(commit, low_watermark)| {
                let is_acked = commit <= committed && !is_offline;
                if is_acked {
                    model.log_start_acked = model.log_start_acked.max(low_watermark);
                }
                commit > committed
            });
            for batch in model.batches.iter_mut().rev().take_while(|batch| !batch.acked) {
                let end = batch.base_offset + batch.ids.len() as i64;
                batch.acked = batch.commit <= committed;
                if batch.acked != (end <= marks.high_watermark) {
                    return Err(format!("L7: {batch:?} is committed: {}, but the marks are {marks:?}", batch.acked));
                }
            }
        }
        Ok(())
    }

    fn append(&mut self) -> Verdict {
        let place = self.prng.below(self.models.len() as u64) as usize;
        let producer_id = self.prng.below(4) as i64 - 1;
        let model = &self.models[place];
        let sequenced = match producer_id {
            -1 => Sequenced::NONE,
            _ => Sequenced { producer_id, producer_epoch: 0, base_sequence: model.next_sequence(producer_id) },
        };
        let ids: Vec<RecordId> =
            (0..1 + self.prng.below(6)).map(|delta| RecordId(self.appended * 10 + delta)).collect();
        self.appended += 1;
        let timestamp_ms = self.now.wall_ms;
        let batch = Batch { base_offset: model.end(), ids, sequenced, timestamp_ms, commit: 0, acked: false };
        let ok = self.stage(place, &batch)?;
        if ok.0 != batch.base_offset || ok.2 {
            return Err(format!("{batch:?} went to offset {} (duplicate: {})", ok.0, ok.2));
        }
        self.models[place].batches.push(Batch { commit: ok.1, ..batch });
        Ok(())
    }

    /// Base offset, commit, and whether it was a duplicate.
    fn stage(&mut self, place: usize, batch: &Batch) -> Result<(i64, u64, bool), String> {
        let bytes = Bytes::from(encode_batch(&batch.ids, batch.timestamp_ms, batch.sequenced));
        let verified = VerifiedBatch::from_own_disk(bytes).map_err(|error| error.to_string())?;
        let store = self.store.as_mut().expect("alive");
        let appended = self.partitions[place].append(store, self.now, &verified, -1, Origin::Client);
        let appended = appended.map_err(|error| format!("{batch:?} was refused: {error}"))?;
        Ok((appended.base_offset, appended.commit, appended.duplicate))
    }

    /// I1, T1, T3: one of a producer's last five batches is sent again.
    fn append_again(&mut self) -> Verdict {
        let place = self.prng.below(self.models.len() as u64) as usize;
        let producer_id = self.prng.below(3) as i64;
        let of_producer = |batch: &&Batch| batch.sequenced.producer_id == producer_id;
        let nth = self.prng.below(5) as usize;
        let original = self.models[place].batches.iter().rev().filter(of_producer).nth(nth).cloned();
        let Some(original) = original else { return Ok(()) };
        let (base_offset, commit, duplicate) = self.stage(place, &original)?;
        if !duplicate || base_offset != original.base_offset {
            return Err(format!("T1: {original:?} sent again went to {base_offset} (duplicate: {duplicate})"));
        }
        // Of a batch that is not durable yet the answer must wait for the same commit.
        if !original.acked && commit < original.commit {
            return Err(format!("T1: {original:?} sent again would be acked with commit {commit}"));
        }
        Ok(())
    }

    fn delete_records(&mut self) {
        let place = self.prng.below(self.models.len() as u64) as usize;
        let high_watermark = self.models[place].marks.high_watermark;
        let target = self.prng.below(high_watermark as u64 + 1) as i64;
        let store = self.store.as_mut().expect("alive");
        if let Ok(due) = self.partitions[place].delete_records(store, self.now, target) {
            let model = &mut self.models[place];
            model.log_start = model.log_start.max(target);
            model.log_starts_due.push((due.1, due.0));
        }
    }

    fn finish_io(&mut self) {
        let Some(&id) = pick(&mut self.prng, &self.ios) else { return };
        let op = self.ios.remove(&id).expect("picked");
        let result = self.disk.execute(&op);
        self.store.as_mut().expect("alive").on_io(self.now, id, result);
    }

    fn finish_job_op(&mut self) -> Verdict {
        if !self.cold.is_empty() && self.prng.chance(1, 2) {
            let place = self.prng.below(self.cold.len() as u64) as usize;
            if let Some(done) = self.cold[place].job.execute_one(&mut self.disk) {
                let cold = self.cold.remove(place);
                self.cold_done(cold, done)?;
            }
            return Ok(());
        }
        let Some(&id) = pick(&mut self.prng, &self.jobs) else { return Ok(()) };
        if let Some(done) = self.jobs.get_mut(&id).expect("picked").execute_one(&mut self.disk) {
            self.jobs.remove(&id);
            self.job_done(id, done);
        }
        Ok(())
    }

    fn job_done(&mut self, id: u64, done: StoreJobOutput) {
        match done {
            StoreJobOutput::Own(own) => self.store.as_mut().expect("alive").on_job(self.now, id, own),
            other => panic!("the store began a job for somebody else: {other:?}"),
        }
    }

    fn read_somewhere(&mut self) -> Verdict {
        let place = self.prng.below(self.models.len() as u64) as usize;
        let marks = self.partitions[place].marks(self.store.as_ref().expect("alive"));
        let span = (marks.high_watermark - marks.log_start_offset) as u64;
        let from = marks.log_start_offset + self.prng.below(span + 1) as i64;
        let max_bytes = [1, 3000, 30_000][self.prng.below(3) as usize];
        self.read(place, from, max_bytes).map(|_| ())
    }

    /// Reads; the offset after what was read at once, none when it became a job.
    fn read(&mut self, place: usize, from: i64, max_bytes: u32) -> Result<Option<i64>, String> {
        let spec = ReadSpec {
            fetch_offset: from,
            isolation: Isolation::ReadUncommitted,
            max_bytes,
            at_least_one: true,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let store = self.store.as_mut().expect("alive");
        let read = self.partitions[place].read(store, &spec);
        let read = read.map_err(|error| format!("read of {place} at {from}: {error}"))?;
        let limit = read.marks.high_watermark;
        match read.plan {
            ReadPlan::Ready(ready) => self.check_read(place, from, limit, &ready).map(Some),
            ReadPlan::Empty if from < limit => Err(format!("L1: {place} gives nothing at {from}, end {limit}")),
            ReadPlan::Empty => Ok(Some(from)),
            ReadPlan::Cold(cold) => {
                let (job, done) = JobRun::begin(cold.into_job());
                let cold = ColdRun { job, partition: place, from, limit };
                match done {
                    Some(done) => self.cold_done(cold, done).map(Some),
                    None => {
                        self.cold.push(cold);
                        Ok(None)
                    }
                }
            }
            ReadPlan::OutOfRange => Err(format!("L1: {place} has no {from}")),
        }
    }

    /// The offset after what was read.
    fn cold_done(&mut self, cold: ColdRun, done: StoreJobOutput) -> Result<i64, String> {
        let StoreJobOutput::Read(mut done) = done else { return Err(format!("a cold read yields {done:?}")) };
        self.store.as_mut().expect("alive").note_read(&mut done);
        match done.result {
            Ok(ready) => self.check_read(cold.partition, cold.from, cold.limit, &ready),
            Err(_) if cold.from < self.models[cold.partition].log_start => Ok(cold.from),
            Err(error) => Err(format!("cold read of {} at {}: {error}", cold.partition, cold.from)),
        }
    }

    fn check_read(&mut self, place: usize, from: i64, limit: i64, ready: &ReadReady) -> Result<i64, String> {
        let mut bytes = Vec::new();
        for extent in &ready.extents {
            match extent {
                Extent::Hot(hot) => bytes.extend_from_slice(hot),
                Extent::File { file, at, len } => {
                    let read = Op::Read { file: file.clone(), at: *at, len: *len, direct: false };
                    match self.disk.execute(&read) {
                        Ok(coretide_log::io::OpOk::Data(data)) => bytes.extend_from_slice(&data),
                        other => return Err(format!("splice: {other:?}")),
                    }
                }
            }
        }
        let records = decode_batches(&bytes)?;
        let mut due = None;
        for record in &records {
            let model = &self.models[place];
            let within = model.batches.partition_point(|batch| batch.base_offset <= record.offset);
            let batch = within.checked_sub(1).map(|at| &model.batches[at]);
            let expected = batch.and_then(|batch| batch.ids.get((record.offset - batch.base_offset) as usize));
            if expected.is_none() || record.id() != expected.copied() {
                let got = record.id();
                return Err(format!("L3: {place} holds {got:?} at {}, {expected:?} was appended", record.offset));
            }
            if record.offset >= limit || due.is_some_and(|due| due != record.offset) {
                return Err(format!("L7: read of {place} from {from}: offset {} at limit {limit}", record.offset));
            }
            due = Some(record.offset + 1);
        }
        match due {
            Some(next) if next > from && records[0].offset <= from && ready.next_offset == next => Ok(next),
            _ => Err(format!("L1: read of {place} from {from} to {limit}: {due:?}, says {}", ready.next_offset)),
        }
    }

    /// The process or the machine dies: what was not acked may be gone, in order from the end.
    fn crash(&mut self) {
        let cold = self.cold.iter().filter_map(|cold| cold.job.in_flight());
        let jobs = self.jobs.values().filter_map(JobRun::in_flight);
        let in_flight: Vec<Op> = self.ios.values().chain(jobs).chain(cold).cloned().collect();
        match self.prng.below(4) {
            0 => self.disk.kill(&in_flight),
            1 => self.disk.power_cut(&in_flight, CutMode::LoseAll),
            _ => self.disk.power_cut(&in_flight, CutMode::Torn),
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.ios.clear();
        self.jobs.clear();
        self.cold.clear();
        self.store = None;
        self.partitions.clear();
    }

    fn stop(&mut self) -> Verdict {
        self.store.as_mut().expect("alive").begin_stop(self.now);
        for _ in 0..PATIENCE {
            self.finish_io();
            self.finish_job_op()?;
            self.end_of_tick()?;
            if self.store.as_ref().is_some_and(Store::is_stopped) {
                self.disk.power_cut(&[], CutMode::LoseAll);
                check_layout(&self.disk.files())?;
                self.forget();
                return Ok(());
            }
            self.now.mono_us += 1000;
        }
        let waiting = (self.ios.len(), self.jobs.len(), self.cold.len());
        Err(format!("the store does not stop; writes, jobs and reads in flight: {waiting:?}"))
    }

    fn boot(&mut self, first: bool) -> Verdict {
        loop {
            let config = BootConfig {
                shards: 1,
                owner: Arc::new(|_, _| 0),
                random: self.prng.next_u64(),
                limits: self.limits.clone(),
                vital: None,
            };
            let (mut run, mut output) = JobRun::begin(Boot::new(config));
            // Recovery itself may be interrupted, and then begins again.
            let mut left = if self.prng.chance(1, 3) { self.prng.below(60) as u32 } else { PATIENCE };
            while output.is_none() && left > 0 {
                output = run.execute_one(&mut self.disk);
                left -= 1;
            }
            if let Some(output) = output {
                let report = output.map_err(|error| format!("L8: no start: {error}"))?;
                let recovered = report.shards.into_iter().next().ok_or("one shard was wanted")?;
                return self.open(recovered, first);
            }
            if left == 0 && run.in_flight().is_none() {
                return Err("recovery never ends".to_string());
            }
            let in_flight: Vec<Op> = run.in_flight().cloned().into_iter().collect();
            if self.twists.kills_in_boot && self.twists.prng.chance(1, 2) {
                self.disk.kill(&in_flight);
            } else {
                self.disk.power_cut(&in_flight, CutMode::Torn);
            }
        }
    }

    fn open(&mut self, recovered: coretide_log::store::ShardRecovered, first: bool) -> Verdict {
        let (mut store, logs) = Store::open(recovered, self.limits.clone());
        let mut partitions: BTreeMap<usize, Partition> = BTreeMap::new();
        for log in &logs {
            let place = log.tp.partition as usize;
            let partition = Partition::recover(&mut store, self.now, log, 0, self.config.clone());
            partitions.insert(place, partition.map_err(|error| error.to_string())?);
        }
        for (place, model) in self.models.iter_mut().enumerate() {
            // A log of which nothing was ever committed need not be there: the controller knows it.
            let partition = partitions.entry(place).or_insert_with(|| {
                let tp = TopicPartition { topic_id: TopicId(77), partition: place as i32 };
                let dir = Arc::from(format!("solo-{place}"));
                Partition::create(&mut store, tp, dir, 0, self.config.clone())
            });
            let marks = partition.marks(&store);
            let acked_end = model
                .batches
                .iter()
                .filter(|batch| batch.acked)
                .map(|batch| batch.base_offset + batch.ids.len() as i64)
                .max();
            let acked_end = acked_end.unwrap_or(0);
            let whole =
                model.batches.iter().any(|batch| batch.base_offset + batch.ids.len() as i64 == marks.log_end_offset);
            if marks.log_end_offset < acked_end || !(whole || marks.log_end_offset == 0) {
                return Err(format!("L8: partition {place} ends at {}, acked was {acked_end}", marks.log_end_offset));
            }
            if marks.log_start_offset > model.log_start || marks.log_start_offset < model.log_start_acked {
                return Err(format!(
                    "L12: partition {place} starts at {}, asked was {}",
                    marks.log_start_offset, model.log_start
                ));
            }
            model.batches.retain(|batch| batch.base_offset < marks.log_end_offset);
            // What survived is durable and visible now.
            model.batches.iter_mut().for_each(|batch| {
                batch.acked = true;
                batch.commit = 0;
            });
            model.log_start = marks.log_start_offset;
            model.log_start_acked = marks.log_start_offset;
            model.log_starts_due.clear();
            model.marks = marks;
        }
        assert!(!first || logs.is_empty(), "the first start finds nothing");
        self.partitions = partitions.into_values().collect();
        self.store = Some(store);
        Ok(())
    }

    /// L1: everything that survived is readable from start to end, and T3: every producer's last batches are known.
    fn read_everything(&mut self) -> Verdict {
        for place in 0..self.models.len() {
            let mut from = self.models[place].log_start;
            while from < self.models[place].marks.high_watermark {
                match self.read(place, from, 20_000)? {
                    Some(next) => from = next,
                    None => {
                        let mut cold = self.cold.pop();
                        while let Some(run) = &mut cold {
                            if let Some(done) = run.job.execute_one(&mut self.disk) {
                                let run = cold.take().expect("it ran");
                                from = self.cold_done(run, done)?;
                            }
                        }
                    }
                }
            }
            for _ in 0..10 {
                self.append_again()?;
            }
        }
        Ok(())
    }
}

fn pick<'a, T>(prng: &mut Prng, from: &'a BTreeMap<u64, T>) -> Option<&'a u64> {
    if from.is_empty() {
        return None;
    }
    from.keys().nth(prng.below(from.len() as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(seed: u64) {
        run_with(seed, Twists::none()).map(|_| ()).unwrap_or_else(|what| panic!("{what}"));
    }

    /// A stop closed the open segment while batches still waited for their commit; the rolled rest was never written.
    #[test]
    fn bug_a_stop_closed_a_segment_that_still_grew() {
        passes(18);
    }

    /// A stop made no checkpoint, so the journal files that the last commits waited for never came free.
    #[test]
    fn bug_a_stop_with_a_full_journal_never_ended() {
        passes(61);
    }

    /// The removal of a segment was not synced: a power cut brought its file back for good.
    #[test]
    fn bug_a_removed_segment_came_back() {
        passes(3);
    }

    /// The first commit of a journal file was torn behind its header: recovery read the file for ever.
    #[test]
    fn bug_recovery_never_left_a_file_with_a_torn_first_commit() {
        passes(201);
    }

    /// A kill left a whole checkpoint that was not synced; the start wrote over the older one, and a power cut took both.
    #[test]
    fn bug_a_start_relied_on_a_checkpoint_that_was_not_durable() {
        passes(900_501);
    }

    /// A kill left a commit that was not durable; the start removed the segments that it let go, and a power cut took the
    /// commit.
    #[test]
    fn bug_a_start_removed_segments_for_a_commit_that_was_not_durable() {
        run_solo(1400).map(|_| ()).unwrap_or_else(|what| panic!("{what}"));
    }
}
