//! Reads of our partitions for Fetch requests of any shard, and the jobs that read from disk.
//! Must never touch: what a Fetch request still wants when it has this.

use std::collections::{BTreeMap, VecDeque};

use coretide_log::store::{
    ColdRead, Extents, LogKey, ReadDone, ReadFailure, ReadPlan, ReadReady, StoreJob, StoreJobOutput,
};
use coretide_model::config::broker::ColdFetch;
use coretide_model::{ErrorCode, ShardId, TopicPartition};
use coretide_partition::{Isolation, Marks, ReadError, ReadOk, ReadSpec};

use super::aheads::{self, Aheads};
use super::internal::Ticket;
use super::{Logs, asks};
use crate::config::{COLD_BYTES_MAX, COLD_WAITS_MAX};
use crate::event::Output;
use crate::handlers::produce;
use crate::mail::{Mail, ReadAnswer, ReadAsk, ReadItem, ReadPart, ReqId};
use crate::shard::Shard;

/// Our job ids have this bit; the store's own have not.
const JOB_BIT: u64 = 1 << 63;
/// No marks are known.
pub(super) const NO_MARKS: Marks =
    Marks { log_start_offset: -1, last_stable_offset: -1, high_watermark: -1, log_end_offset: -1 };

/// Who waits for a job.
pub(crate) enum JobOf {
    /// A part of a Fetch.
    Part { of: PartOf, sequential: bool },
    /// Nobody yet: a part of a Fetch that is expected.
    Ahead { key: LogKey, from_offset: i64 },
    /// A search by time.
    Asked(asks::Asked),
    /// One of our own machines reads its log.
    Load(Ticket),
    /// A Produce request whose batch unpacks to much.
    Unpacked(ReqId),
}

impl JobOf {
    /// What it may bring into memory, as far as that is limited for all together.
    fn budget_bytes(&self) -> u64 {
        match self {
            JobOf::Part { of, .. } => u64::from(of.spec.max_bytes),
            // Reads ahead have a limit of their own.
            JobOf::Ahead { .. } | JobOf::Asked(_) | JobOf::Load(_) | JobOf::Unpacked(_) => 0,
        }
    }
}

/// One partition's part of a Fetch that waits for the disk.
#[derive(Clone, Copy)]
pub(crate) struct PartOf {
    wait: u64,
    index: usize,
    tp: TopicPartition,
    spec: ReadSpec,
}

/// A Fetch that waits for the disk.
struct ColdWait {
    to: ShardId,
    id: ReqId,
    ask: ReadAsk,
    answer: ReadAnswer,
    left: usize,
}

/// The jobs under way and who waits for them.
pub(super) struct Jobs {
    next_id: u64,
    by_id: BTreeMap<u64, JobOf>,
    next_wait: u64,
    waits: BTreeMap<u64, ColdWait>,
    want_file: bool,
    /// Bytes that the parts being read may have.
    reading_bytes: u64,
    /// Parts that wait for others to be read.
    queue: VecDeque<(ColdRead, JobOf)>,
    aheads: Aheads<PartOf>,
}

impl Jobs {
    pub fn new(mode: ColdFetch) -> Jobs {
        let want_file = mode != ColdFetch::Direct;
        Jobs {
            next_id: 0,
            by_id: BTreeMap::new(),
            next_wait: 0,
            waits: BTreeMap::new(),
            want_file,
            reading_bytes: 0,
            queue: VecDeque::new(),
            aheads: Aheads::new(),
        }
    }

    /// A log is gone.
    pub fn forget(&mut self, key: LogKey) {
        self.aheads.forget(key);
    }
}

impl ReadPart {
    fn empty(place: u32, error: ErrorCode, marks: Marks) -> ReadPart {
        ReadPart {
            place,
            error,
            marks,
            diverging: None,
            aborted: None,
            extents: Extents::new(),
            bytes: 0,
            from_disk: false,
        }
    }

    fn fill(&mut self, ready: ReadReady) {
        self.bytes = ready.bytes;
        self.extents = ready.extents;
    }
}

impl Logs {
    /// Plans one partition's read. The second value is a read that must go to the disk.
    fn read_one(&mut self, item: &ReadItem) -> (ReadPart, Option<ColdRead>) {
        let Some(partition) = self.partitions.get(&item.tp) else {
            return (ReadPart::empty(item.place, ErrorCode::UnknownTopicOrPartition, NO_MARKS), None);
        };
        match partition.read(&mut self.store, &item.spec) {
            Ok(read) => {
                let mut part = ReadPart::empty(item.place, ErrorCode::None, read.marks);
                (part.diverging, part.aborted) = (read.diverging, read.aborted);
                match read.plan {
                    ReadPlan::Ready(ready) => part.fill(ready),
                    ReadPlan::Cold(cold) => return (part, Some(cold)),
                    ReadPlan::Empty | ReadPlan::OutOfRange => {}
                }
                (part, None)
            }
            Err(error) => {
                let marks = match error {
                    ReadError::OutOfRange { marks, .. } => marks,
                    ReadError::Epoch(_) => NO_MARKS,
                };
                (ReadPart::empty(item.place, error.code(), marks), None)
            }
        }
    }

    /// Watches what had nothing more than it gave, for a read that wants to be told.
    fn watch_read(&mut self, to: ShardId, id: ReqId, ask: &ReadAsk, answer: &mut ReadAnswer) {
        let bytes: usize = answer.parts.iter().map(|part| part.bytes).sum();
        let failed = answer.parts.iter().any(|part| part.error != ErrorCode::None || part.diverging.is_some());
        if failed || bytes >= ask.watch_below_bytes as usize {
            return;
        }
        let isolation = ask.isolation;
        let at = |(item, part): (&ReadItem, &ReadPart)| {
            (item.tp, item.spec.fetch_offset.max(readable_end(&part.marks, isolation)))
        };
        self.watch(to, id, isolation, ask.items.iter().zip(&answer.parts).map(at));
        answer.watching = true;
    }
}

fn readable_end(marks: &Marks, isolation: Isolation) -> i64 {
    marks.limit(isolation)
}

impl Shard {
    /// Starts a job of ours.
    pub(crate) fn start_job(&mut self, job: StoreJob, of: JobOf) {
        let jobs = &mut self.logs.jobs;
        let id = jobs.next_id | JOB_BIT;
        jobs.next_id += 1;
        jobs.by_id.insert(id, of);
        self.out.push(Output::Job { id, job });
    }

    /// Reads what a Fetch of any shard wants of our partitions: in its order, within its budget, at least one batch.
    pub(crate) fn on_read(&mut self, from: ShardId, id: ReqId, ask: ReadAsk) {
        let mut answer = ReadAnswer { parts: Vec::with_capacity(ask.items.len()), watching: false };
        let mut left_bytes = ask.max_bytes;
        let mut found = false;
        let mut cold_reads = Vec::new();
        for (index, item) in ask.items.iter().enumerate() {
            let mut item = *item;
            item.spec.max_bytes = item.spec.max_bytes.min(left_bytes);
            item.spec.at_least_one &= !found;
            let (mut part, mut cold) = self.logs.read_one(&item);
            if let Some(read) = &cold
                && self.fill_from_ahead(&mut part, read, item.tp, &item.spec)
            {
                cold = None;
            }
            // Where nothing fits any more, nothing is read for it.
            let may_have_some = item.spec.max_bytes > 0 || item.spec.at_least_one;
            cold = cold.filter(|_| may_have_some && self.logs.jobs.waits.len() < COLD_WAITS_MAX);
            let promised = if cold.is_some() { item.spec.max_bytes } else { part.bytes as u32 };
            found |= promised > 0;
            left_bytes = left_bytes.saturating_sub(promised);
            answer.parts.push(part);
            cold_reads.extend(cold.map(|cold| (index, item, cold)));
        }
        if cold_reads.is_empty() {
            return self.send_read(from, id, &ask, answer);
        }
        let jobs = &mut self.logs.jobs;
        let wait = jobs.next_wait;
        jobs.next_wait += 1;
        jobs.waits.insert(wait, ColdWait { to: from, id, ask, answer, left: cold_reads.len() });
        for (index, item, cold) in cold_reads {
            self.start_cold(cold, PartOf { wait, index, tp: item.tp, spec: item.spec });
        }
    }

    /// Starts a read from disk, or has it wait for one that is under way, or while too much is being read.
    fn start_cold(&mut self, mut cold: ColdRead, of: PartOf) {
        let jobs = &mut self.logs.jobs;
        let Err(of) = jobs.aheads.wait(&cold, of) else { return };
        cold.want_file = jobs.want_file;
        // Who begins at the beginning goes on.
        let sequential = cold.is_sequential() || cold.from_offset == self.logs.store.log_start_offset(cold.key);
        jobs.queue.push_back((cold, JobOf::Part { of, sequential }));
        self.start_queued();
    }

    /// Takes what was read ahead for this part, if it was, and reads on behind it.
    fn fill_from_ahead(&mut self, part: &mut ReadPart, cold: &ColdRead, tp: TopicPartition, spec: &ReadSpec) -> bool {
        let Some(taken) = self.logs.jobs.aheads.take(cold) else { return false };
        part.fill(taken.ready);
        part.from_disk = true;
        self.read_ahead(tp, spec, taken.end_offset, (taken.asked_bytes, taken.found_bytes));
        true
    }

    /// Starts to read what one who read up to `from_offset` will want next, unless it is in memory, or can be sent from the
    /// file, or others wait for the disk. `last`: how much his last read asked for, and how much it found.
    fn read_ahead(&mut self, tp: TopicPartition, spec: &ReadSpec, from_offset: i64, last: (u32, usize)) {
        let logs = &mut self.logs;
        let (Some(partition), Some(full_bytes)) = (logs.partitions.get(&tp), aheads::size_for(spec.max_bytes)) else {
            return;
        };
        let max_bytes = aheads::next_size(full_bytes, last.0, last.1);
        let ahead = ReadSpec {
            fetch_offset: from_offset,
            max_bytes,
            at_least_one: false,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            ..*spec
        };
        let Ok(ReadOk { plan: ReadPlan::Cold(cold), .. }) = partition.read(&mut logs.store, &ahead) else { return };
        let jobs = &mut logs.jobs;
        let is_sent_from_file = jobs.want_file && cold.is_verified();
        let (key, from_offset) = (cold.key, cold.from_offset);
        if !is_sent_from_file && jobs.queue.is_empty() && jobs.aheads.begin(key, from_offset, max_bytes) {
            self.start_job(cold.into_job(), JobOf::Ahead { key, from_offset });
        }
    }

    /// A read ahead is over. Whoever waits for it takes what it found, or reads for himself.
    fn on_ahead(&mut self, key: LogKey, from_offset: i64, done: ReadDone) {
        let found = done.result.ok().filter(|ready| ready.bytes > 0);
        for of in self.logs.jobs.aheads.finish(key, from_offset, found) {
            self.plan_part_again(of);
        }
    }

    fn plan_part_again(&mut self, of: PartOf) {
        let place = self.logs.jobs.waits[&of.wait].answer.parts[of.index].place;
        let (mut part, cold) = self.logs.read_one(&ReadItem { tp: of.tp, place, spec: of.spec });
        match cold {
            Some(cold) if !self.fill_from_ahead(&mut part, &cold, of.tp, &of.spec) => self.start_cold(cold, of),
            Some(_) | None => self.settle_part(of, part),
        }
    }

    /// A part has what it will have.
    fn settle_part(&mut self, of: PartOf, part: ReadPart) {
        let waiting = self.logs.jobs.waits.get_mut(&of.wait).expect("its jobs are not over");
        waiting.answer.parts[of.index] = part;
        waiting.left -= 1;
        if waiting.left == 0 {
            let done = self.logs.jobs.waits.remove(&of.wait).expect("just seen");
            self.send_read(done.to, done.id, &done.ask, done.answer);
        }
    }

    fn start_queued(&mut self) {
        loop {
            let jobs = &mut self.logs.jobs;
            let Some((_, of)) = jobs.queue.front() else { return };
            let bytes = of.budget_bytes();
            if jobs.reading_bytes > 0 && jobs.reading_bytes + bytes > COLD_BYTES_MAX {
                return;
            }
            let Some((cold, of)) = jobs.queue.pop_front() else { return };
            jobs.reading_bytes += bytes;
            self.start_job(cold.into_job(), of);
        }
    }

    fn send_read(&mut self, to: ShardId, id: ReqId, ask: &ReadAsk, mut answer: ReadAnswer) {
        if ask.watch_below_bytes > 0 {
            self.logs.watch_read(to, id, ask, &mut answer);
            self.wake_watchers();
        }
        self.send(to, Mail::ReadDone { id, done: Box::new(answer) });
    }

    /// A job of ours is over.
    pub(crate) fn on_read_job(&mut self, id: u64, output: StoreJobOutput) {
        let Some(of) = self.logs.jobs.by_id.remove(&id) else { return };
        self.logs.jobs.reading_bytes -= of.budget_bytes();
        self.start_queued();
        match (output, of) {
            (StoreJobOutput::Read(mut done), JobOf::Part { of, sequential }) => {
                self.logs.store.note_read(&mut done);
                self.on_cold_part(done, of, sequential);
            }
            (StoreJobOutput::Read(mut done), JobOf::Ahead { key, from_offset }) => {
                self.logs.store.note_read(&mut done);
                self.on_ahead(key, from_offset, done);
            }
            (StoreJobOutput::Read(mut done), JobOf::Load(ticket)) => {
                self.logs.store.note_read(&mut done);
                self.on_load_read(ticket, done.result);
            }
            (StoreJobOutput::Time(mut done), JobOf::Asked(asked)) => {
                self.logs.store.note_search(&mut done);
                self.on_time_found(asked, done.result);
            }
            (StoreJobOutput::Verified(result), JobOf::Unpacked(id)) => produce::on_unpacked(self, id, result),
            _ => unreachable!("a job yields what its kind yields"),
        }
    }

    fn on_cold_part(&mut self, done: ReadDone, of: PartOf, sequential: bool) {
        let planned =
            &mut self.logs.jobs.waits.get_mut(&of.wait).expect("its jobs are not over").answer.parts[of.index];
        let place = planned.place;
        let part = match done.result {
            Ok(ready) => {
                let mut part = std::mem::replace(planned, ReadPart::empty(place, ErrorCode::None, NO_MARKS));
                let goes_on = sequential && ready.bytes > 0 && ready.is_in_memory();
                let (next_offset, found_bytes) = (ready.next_offset, ready.bytes);
                part.fill(ready);
                part.from_disk = true;
                if goes_on {
                    self.read_ahead(of.tp, &of.spec, next_offset, (of.spec.max_bytes, found_bytes));
                }
                part
            }
            // Its segment was deleted: so this ends, for a log has only so many.
            Err(ReadFailure::Gone) => return self.plan_part_again(of),
            Err(failure) => ReadPart::empty(place, failure.code(), NO_MARKS),
        };
        self.settle_part(of, part);
    }
}
