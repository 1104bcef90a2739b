//! What the store does behind the commits: destaging, space ahead, journal files, checkpoints, removals, the clean stop.
//! Must never touch: how a job does it.

use bytes::Bytes;
use coretide_model::{Notice, Now};
use coretide_stdx::aligned::{BufPool, blocks_up};

use super::api::{CommitSeq, LogKey, StoreOut};
use super::checkpoint::{CheckpointImage, CheckpointMeta, GarbageImage, image_of};
use super::commit::IoKind;
use super::gather::Written;
use super::jobs::{
    CheckpointJob, DestageJob, IndexWrite, JournalFileJob, OwnDone, OwnOk, PrepareSpec, RemoveJob, RemoveSpec, StoreJob,
};
use super::mend::Mend;
use super::ring::JournalFile;
use super::segment::{Busy, Log, Phase, Segment, block_floor};
use super::{AuxFn, Store};
use crate::io::{FileId, IoError, SegmentFile};

/// The smallest and the largest step by which a segment's space grows.
const SPACE_STEP_MIN_BYTES: u64 = 64 << 10;
const SPACE_STEP_DIRECT_BYTES: u64 = 1 << 20;
const SPACE_STEP_MAX_BYTES: u64 = 64 << 20;
/// From how many bytes on index entries are worth a write before their segment closes.
const INDEX_FLUSH_BYTES: usize = 4096;
/// How long a log waits after the disk was full, or its folder still another topic's.
const RETRY_MS: u64 = 200;
/// How often a full disk is told of, in microseconds.
const FULL_TOLD_EVERY_US: u64 = 60_000_000;

/// A job in flight, and what its success means.
#[derive(Debug)]
pub(super) enum Running {
    Destage(DestageRun),
    JournalFile { no: u32 },
    Checkpoint { replay: CommitSeq, synced: CommitSeq, journal_bytes: u64, clean: bool },
    Remove { garbage: Garbage },
    Measure,
    Mend(Mend),
    SetAside { key: LogKey },
}

impl Running {
    /// True for a job that writes files of this log.
    fn is_of(&self, key: LogKey) -> bool {
        matches!(self, Running::Destage(run) if run.key == key)
            || matches!(self, Running::Mend(mend) if mend.key == key)
            || matches!(self, Running::SetAside { key: of } if *of == key)
    }

    /// True for a job that removes something of the folder that is to be removed.
    fn removes_beside(&self, folder: &RemoveSpec) -> bool {
        let RemoveSpec::Log { dir, topic_id } = folder else { return false };
        matches!(self, Running::Remove { garbage } if garbage.spec.is_segment_of(dir, *topic_id))
    }
}

#[derive(Debug)]
pub(super) struct DestageRun {
    key: LogKey,
    segment: i64,
    from: u32,
    to: u32,
    allocated: u32,
    index_entries: usize,
    final_time: bool,
    complete: bool,
    writes: bool,
    /// Of the cache, for what it yields.
    reserved_bytes: usize,
}

/// Where the next checkpoint stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum CheckpointState {
    #[default]
    Idle,
    /// Logs that need commits older than this are destaged first.
    Wanted(CommitSeq),
    /// The job runs.
    Writing,
}

/// Files to remove once a commit is done and a moment has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Garbage {
    pub after: CommitSeq,
    pub due_us: u64,
    /// A log of this key may still have a job in flight.
    pub key: Option<LogKey>,
    pub spec: RemoveSpec,
    /// The operator knows that it cannot be removed.
    pub told: bool,
}

impl Store {
    /// Starts all background work that is due.
    pub(super) fn run_background(&mut self, now: Now, aux: AuxFn<'_>) {
        if self.poisoned.is_some() {
            return;
        }
        self.evict();
        self.grow_journal();
        self.advance_stop();
        self.advance_checkpoint(aux);
        self.ripen();
        self.start_destages(now);
        self.start_mends();
        self.start_asides();
        self.start_removals(now);
    }

    pub(super) fn job(&mut self, running: Running, job: StoreJob) {
        self.next_job += 1;
        self.running.insert(self.next_job, running);
        self.out.push(StoreOut::Job { id: self.next_job, job });
    }

    /// True while buffers that are not in their segments yet take all the memory that they may. A stop has to come to its
    /// end with what there is.
    pub(super) fn is_memory_full(&mut self) -> bool {
        if self.cache.bytes() <= self.limits.cache_bytes_max || self.stopping {
            return false;
        }
        self.evict();
        self.cache.bytes() > self.limits.cache_bytes_max
    }

    /// Lets go of the oldest buffers while there are too many.
    fn evict(&mut self) {
        while self.cache.bytes() > self.limits.cache_bytes {
            let Some(oldest) = self.cache.oldest() else { break };
            let commit = oldest.commit;
            if commit > self.committed {
                break;
            }
            let mut stuck = false;
            for key in oldest.keys.clone() {
                let released = self.log_mut(key).is_none_or(|log| log.release(commit));
                if !released {
                    stuck = true;
                    self.want_destage.insert(key);
                }
            }
            if stuck {
                break;
            }
            self.cache.pop();
        }
    }

    /// Makes another journal file when the newest is half full and none is free.
    fn grow_journal(&mut self) {
        let allowed = (self.ring.files() as u32) < self.limits.journal_files_max;
        let needed = self.ring.files() == 0 || self.journal_full || self.ring.is_half_full();
        if self.making_journal_file || self.ring.free_files() > 0 || !allowed || !needed || self.is_tight() {
            return;
        }
        self.making_journal_file = true;
        let no = self.ring.reserve_no();
        let job = JournalFileJob::new(self.shard, no, self.limits.journal_file_bytes);
        self.job(Running::JournalFile { no }, StoreJob::journal_file(job));
    }

    /// Notes that a log has much pending, so that space for direct writes is there next time.
    pub(super) fn want_space(&mut self, key: LogKey, pending: u64, urgent: bool) {
        let ahead_max = self.space.ahead_bytes_max();
        let Some(log) = self.log_mut(key) else { return };
        let closing = log.first_unclosed().phase == Phase::Closing;
        let segment_bytes = blocks_up(log.config.segment_bytes as usize) as u64;
        let open = log.open_mut();
        let needed = u64::from(open.end) + pending;
        let ahead = needed.clamp(SPACE_STEP_DIRECT_BYTES, SPACE_STEP_MAX_BYTES).min(ahead_max);
        let wanted = (needed + ahead / 2).min(segment_bytes);
        let short = u64::from(open.allocated) < wanted || !open.created;
        if short {
            log.space_target = (needed + ahead).min(segment_bytes) as u32;
        }
        if short || (urgent && closing) {
            self.want_destage.insert(key);
        }
    }

    fn start_destages(&mut self, now: Now) {
        let stopping = self.is_finishing();
        let mut not_now = Vec::new();
        while self.running.len() < self.limits.jobs_max {
            let Some(key) = self.want_destage.pop() else { break };
            let Some(log) = self.log_mut(key) else { continue };
            if log.offline.is_some() || log.finished {
                continue;
            }
            let wants_space = log.space_target > log.open().allocated;
            if log.busy.is_some() || (log.directs > 0 && !wants_space) {
                not_now.push(key);
                continue;
            }
            if now.mono_us < log.retry_at_us {
                let at = log.retry_at_us;
                not_now.push(key);
                self.note_retry(at);
                continue;
            }
            if log.directs > 0 {
                not_now.push(key);
            }
            self.start_destage(key, stopping);
        }
        not_now.into_iter().for_each(|key| self.want_destage.insert(key));
    }

    fn start_destage(&mut self, key: LogKey, stopping: bool) {
        let (committed, ahead_max) = (self.committed, self.space.ahead_bytes_max());
        let buffers = self.destage_buffers.clone();
        let Some(log) = self.log_mut(key) else { return };
        let Some((mut run, mut job)) = plan_destage(key, log, committed, stopping, ahead_max, &buffers) else { return };
        run.reserved_bytes = job.keep(self.limits.cache_bytes);
        self.cache.reserve(run.reserved_bytes);
        if run.writes {
            self.stop_waiting(key);
        }
        self.job(Running::Destage(run), StoreJob::destage(job));
    }

    fn note_retry(&mut self, at_us: u64) {
        self.retry_at_us = Some(self.retry_at_us.map_or(at_us, |earlier| earlier.min(at_us)));
    }

    /// Takes the output of a [`StoreOut::Job`]. Call [`Store::end_of_tick`] in the same turn.
    pub fn on_job(&mut self, now: Now, job_id: u64, output: OwnDone) {
        match self.running.remove(&job_id) {
            None => {}
            Some(Running::Destage(run)) => self.on_destage(now, run, output),
            Some(Running::JournalFile { no }) => self.on_journal_file(now, no, output),
            Some(Running::Checkpoint { replay, synced, journal_bytes, clean }) => match output {
                Ok(_) => {
                    self.checkpoint_slot ^= 1;
                    self.checkpoint_seq += 1;
                    self.checkpoint = CheckpointState::Idle;
                    self.checkpoint_bytes = journal_bytes;
                    self.ring.synced_to(synced);
                    self.ring.recycle(replay);
                    if self.journal_full && self.ring.free_files() == 0 {
                        // It freed nothing: the next one would not either, until something else changes.
                        let at = now.after_ms(RETRY_MS);
                        self.checkpoint_retry_us = Some(at);
                        self.note_retry(at);
                    }
                    self.stopped |= clean;
                }
                Err(error) if error.is_no_space() => {
                    self.checkpoint = CheckpointState::Idle;
                    self.stopped |= clean;
                    self.checkpoint_retry_us = Some(now.after_ms(RETRY_MS));
                    self.note_full(now, &error);
                }
                Err(error) => self.poison(error),
            },
            Some(Running::Remove { garbage }) => self.on_removed(now, garbage, output),
            Some(Running::Measure) => {
                let volume = match output {
                    Ok(OwnOk::Volume(volume)) => Some(volume),
                    Ok(_) | Err(_) => None,
                };
                self.out.extend(self.space.end(now, volume).map(StoreOut::Notice));
            }
            Some(Running::Mend(mend)) => self.on_mended(mend, output),
            Some(Running::SetAside { key }) => self.on_set_aside(key, output),
        }
    }

    fn on_journal_file(&mut self, now: Now, no: u32, output: OwnDone) {
        self.making_journal_file = false;
        match output {
            Ok(_) => self.ring.add_free(JournalFile { no, bytes: self.limits.journal_file_bytes }),
            // Without another file appends wait for the recycling of the others; nothing is lost.
            Err(error) if error.is_no_space() => self.note_full(now, &error),
            // Two files are enough to go on with, and nothing was in the new one.
            Err(error) if self.ring.files() >= 2 => {
                self.notice(Notice::error(format!(
                    "shard {}: {error}. Its journal stays at {} files; check the disk",
                    self.shard,
                    self.ring.files()
                )));
                self.limits.journal_files_max = self.ring.files() as u32;
            }
            Err(error) => self.poison(error),
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.out.push(StoreOut::Notice(notice));
    }

    /// The disk has no room. Said once a minute at most, and not at all where the reserve was reached and said.
    fn note_full(&mut self, now: Now, error: &IoError) {
        if !self.space.is_low() && self.full_told_us.is_none_or(|at| now.mono_us >= at + FULL_TOLD_EVERY_US) {
            self.full_told_us = Some(now.mono_us);
            self.notice(Notice::error(format!(
                "shard {}: the disk is full: {error}. Appends wait in the journal, then producers are refused; what was \
                 acknowledged is safe. Free some space: it goes on by itself",
                self.shard
            )));
        }
        let until = now.after_ms(RETRY_MS);
        self.disk_full_until_us = Some(until);
        self.note_retry(until);
    }

    fn on_destage(&mut self, now: Now, run: DestageRun, output: OwnDone) {
        let key = run.key;
        let destage_from = self.limits.destage_from_bytes as u64;
        let pressed = self.checkpoint != CheckpointState::Idle || self.stopping;
        let (committed, finishing) = (self.committed, self.is_finishing());
        self.cache.unreserve(run.reserved_bytes);
        let Some(log) = self.logs.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { return };
        log.busy = None;
        match output {
            Ok(done @ (OwnOk::Done | OwnOk::Written(_) | OwnOk::Volume(_) | OwnOk::Index { .. })) => {
                log.apply_destage(&run);
                if let OwnOk::Written(buffers) = done {
                    let buffer_bytes = self.destage_buffers.buffer_bytes();
                    let written = Written { segment: run.segment, from: run.from, buffers: &buffers, buffer_bytes };
                    log.gather(&written, &mut self.cache);
                }
                let again = log.first_unclosed().phase == Phase::Closing || log.undestaged_bytes() >= destage_from;
                let idle = !log.has_destage_work(committed);
                let empty = !log.has_destage_work(CommitSeq::MAX);
                let space = log.space_target > log.open().allocated;
                if ((again || pressed) && !idle) || space {
                    self.want_destage.insert(key);
                }
                if empty {
                    self.stop_waiting(key);
                    self.undestaged.remove(&key);
                } else {
                    self.note_undestaged(key);
                }
                self.pins_changed = true;
            }
            Ok(OwnOk::Busy) => {
                let at = now.after_ms(RETRY_MS);
                log.retry_at_us = at;
                self.want_destage.insert(key);
                self.note_retry(at);
            }
            Err(error) if error.is_no_space() => {
                log.retry_at_us = now.after_ms(RETRY_MS);
                // A stop does not wait for space: the journal and the last checkpoint have the rest.
                log.finished = finishing;
                self.want_destage.insert(key);
                self.note_full(now, &error);
            }
            Err(error) => self.take_offline(key, error),
        }
    }

    /// Files to remove later; a log's folder only after its jobs have ended.
    pub(super) fn discard(&mut self, garbage: Garbage) {
        self.garbage.push(garbage);
    }

    fn start_removals(&mut self, now: Now) {
        let mut at = 0;
        while at < self.garbage.len() {
            let garbage = &self.garbage[at];
            let busy = garbage.key.is_some_and(|key| {
                self.running.values().any(|running| running.is_of(key) || running.removes_beside(&garbage.spec))
                    || self.io.values().any(|kind| matches!(kind, IoKind::Direct(of, _) if *of == key))
            });
            if garbage.after > self.committed || busy || self.running.len() >= self.limits.jobs_max {
                at += 1;
            } else if garbage.due_us > now.mono_us && !self.stopping {
                self.note_retry(garbage.due_us);
                at += 1;
            } else {
                let garbage = self.garbage.swap_remove(at);
                let job = RemoveJob::new(garbage.spec.clone());
                self.job(Running::Remove { garbage }, StoreJob::remove(job));
            }
        }
    }

    fn on_removed(&mut self, now: Now, garbage: Garbage, output: OwnDone) {
        // What cannot be removed now is tried again at a restart, or a minute later: it is only space.
        let Err(error) = output else { return };
        if !garbage.told {
            let what = format!("{error}. The space stays taken; it is tried again every minute, and at the next start");
            self.notice(Notice::warning(what));
        }
        if !self.stopping {
            let due_us = now.after_ms(60_000);
            self.note_retry(due_us);
            self.garbage.push(Garbage { due_us, told: true, ..garbage });
        }
    }

    /// The commit from which on a checkpoint that is due now is to replay; none if none is due. Where the journal gets
    /// scarce logs are destaged for it; else it takes what they are at.
    fn checkpoint_due(&self) -> Option<CommitSeq> {
        let grown = self.journal_bytes - self.checkpoint_bytes >= self.limits.checkpoint_every_bytes;
        let files_max = self.ring.files() as u32 >= self.limits.journal_files_max;
        let scarce = self.ring.free_files() == 0 && (files_max || self.is_tight()) && self.ring.files() > 1;
        if self.journal_full || (scarce && self.ring.is_half_full()) {
            return Some(self.ring.newest_file_seq());
        }
        grown.then(|| self.ring.file_seq_before(self.limits.destage_wait_bytes()))
    }

    fn advance_checkpoint(&mut self, aux: AuxFn<'_>) {
        if self.checkpoint == CheckpointState::Idle {
            let last_one_follows = self.stopping && self.planned.is_empty();
            let Some(target) = self.checkpoint_due() else { return };
            if self.checkpoint_retry_us.is_some() || last_one_follows {
                return;
            }
            self.checkpoint = CheckpointState::Wanted(target);
            self.pinning = self.undestaged.iter().copied().filter(|&key| self.is_pinned(key, target)).collect();
            self.pinning.iter().for_each(|&key| self.want_destage.insert(key));
            self.pins_changed = true;
        }
        let CheckpointState::Wanted(target) = self.checkpoint else { return };
        if !std::mem::take(&mut self.pins_changed) {
            return;
        }
        // What is appended meanwhile is in younger commits, so a log that is through stays so.
        while let Some(&key) = self.pinning.last() {
            if self.is_pinned(key, target) {
                self.want_destage.insert(key);
                return;
            }
            self.pinning.pop();
        }
        self.write_checkpoint(aux, false);
    }

    /// True while a restart needs a commit for this log that is older than `target`.
    fn is_pinned(&self, key: LogKey, target: CommitSeq) -> bool {
        self.log(key).and_then(Log::pin).is_some_and(|pin| pin < target)
    }

    /// Takes the images of all logs and starts the job that writes them.
    pub(super) fn write_checkpoint(&mut self, aux: AuxFn<'_>, clean: bool) {
        let committed = self.committed;
        let mut replay = committed + 1;
        let mut logs = Vec::new();
        for at in 0..self.logs.len() {
            let Some(log) = self.logs[at].as_deref_mut() else { continue };
            if log.aux_dirty {
                log.aux = aux(LogKey(at as u32));
                log.aux_end = log.end_offset;
                log.aux_dirty = false;
                log.replay.clear();
            }
            if !log.announced {
                continue;
            }
            replay = replay.min(log.pin().unwrap_or(CommitSeq::MAX));
            logs.push(image_of(log, committed));
        }
        let removing = self.running.values().filter_map(|running| match running {
            Running::Remove { garbage } => Some(garbage),
            _ => None,
        });
        let garbage = self.garbage.iter().chain(removing).map(|garbage| GarbageImage::of(&garbage.spec)).collect();
        let from = self.ring.replay_from(replay);
        // A stop for which the disk had no room leaves something to replay.
        let nothing_left = clean && replay > committed;
        self.ended |= clean;
        let image = CheckpointImage {
            meta: CheckpointMeta {
                shard: self.shard,
                generation: self.generation,
                seq: self.checkpoint_seq + 1,
                journal_id: self.journal_id,
                committed,
                clean: nothing_left,
            },
            replay: from.filter(|_| !nothing_left).map(Into::into),
            logs,
            garbage,
        };
        let shard = self.shard;
        let sync = self.ring.unsynced_files().into_iter().map(|no| FileId::Journal { shard, no }).collect();
        let job = CheckpointJob::new(image, self.checkpoint_slot ^ 1, sync);
        // Whole files are replayed, so all of the first one must stay, whatever commit in it is needed.
        let replay = from.map_or(0, |from| from.seq);
        let running = Running::Checkpoint { replay, synced: committed, journal_bytes: self.journal_bytes, clean };
        self.checkpoint = CheckpointState::Writing;
        self.job(running, StoreJob::checkpoint(job));
    }

    /// Begins the clean stop: everything is committed, destaged, trimmed and checkpointed. Drive on until
    /// [`Store::is_stopped`].
    pub fn begin_stop(&mut self, _now: Now) {
        self.stopping = true;
        self.pins_changed = true;
    }

    /// True when nothing is left to do, or nothing more can be done because the journal failed.
    pub fn is_stopped(&self) -> bool {
        self.stopped || (self.stopping && self.poisoned.is_some())
    }

    /// True when a stop has done its last commit with batches.
    fn is_finishing(&self) -> bool {
        self.stopping && self.in_flight.is_none() && self.planned.is_empty()
    }

    /// During a stop: every log's files are completed once the last commit is done.
    fn advance_stop(&mut self) {
        // The journal is full, and there is no room to empty it into: what waits was never acknowledged and never will be.
        let stuck = matches!(self.checkpoint, CheckpointState::Wanted(_)) || self.checkpoint_retry_us.is_some();
        let full = self.stopping && self.journal_full && self.is_disk_full() && self.running.is_empty();
        if full && (stuck || self.ring.files() < 2) {
            self.poison(IoError {
                op: "allocate",
                path: format!("{}/shard-{}", crate::io::OWN_DIR, self.shard),
                errno: 28,
                message: "no room to empty the journal into".to_string(),
            });
        }
        if !self.is_finishing() || self.stopped {
            return;
        }
        let mut unfinished = false;
        for at in 0..self.logs.len() {
            let Some(log) = self.logs[at].as_deref_mut() else { continue };
            if !log.finished && log.offline.is_none() && log.announced {
                unfinished = true;
                self.want_destage.insert(LogKey(at as u32));
            }
        }
        self.all_finished = !unfinished;
    }

    /// True when a stop has only the last checkpoint before it.
    pub(super) fn wants_last_checkpoint(&self) -> bool {
        let idle = self.running.is_empty() && self.garbage.is_empty() && self.in_flight.is_none();
        self.stopping && self.all_finished && idle && !self.stopped && self.poisoned.is_none()
    }

    /// True while no journal file is to be made: there is no room, or only the reserve is left and two files are enough.
    fn is_tight(&self) -> bool {
        self.is_disk_full() || (self.space.is_low() && self.ring.files() >= 2)
    }

    /// True while the disk has no room for this shard's logs; appends may have to wait in the journal.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full_until_us.is_some()
    }

    /// Sticky: this log takes nothing more.
    pub(super) fn take_offline(&mut self, key: LogKey, error: IoError) {
        let Some(log) = self.log_mut(key) else { return };
        if log.offline.is_none() {
            let dir = std::sync::Arc::clone(&log.dir);
            self.notice(Notice::error(format!(
                "{dir} is offline: {error}. It takes nothing more until the broker is restarted, but what it acknowledged is \
                 served; the other partitions go on. Check the disk, then restart the broker"
            )));
        }
        if let Some(log) = self.log_mut(key) {
            log.offline.get_or_insert(error);
        }
        self.pins_changed = true;
        self.stop_waiting(key);
        self.undestaged.remove(&key);
        self.mark_moved(key);
    }

    /// Sticky: no log of this shard takes anything more.
    pub(super) fn poison(&mut self, error: IoError) {
        if self.poisoned.is_none() {
            self.notice(Notice::error(format!(
                "shard {} is offline: {error}. Its partitions take nothing more until the broker is restarted, but what they \
                 acknowledged is served; the other shards go on. Check the disk, then restart the broker",
                self.shard
            )));
        }
        self.poisoned.get_or_insert(error);
        for at in 0..self.logs.len() {
            self.mark_moved(LogKey(at as u32));
        }
    }
}

/// The next write of a log to its files, if there is anything to write. `ahead_max`: space to take beyond it, at most.
pub(super) fn plan_destage(
    key: LogKey,
    log: &mut Log,
    committed: CommitSeq,
    stopping: bool,
    ahead_max: u64,
    buffers: &BufPool,
) -> Option<(DestageRun, DestageJob)> {
    let segment = log.first_unclosed();
    let (base, from) = (segment.base_offset, segment.destaged);
    let committed_end = log.committed_position(segment, committed);
    let is_open = segment.phase == Phase::Open;
    // An open segment may only end, at a stop, once nothing is staged; a direct write in flight lets only space be made.
    let ends = log.directs == 0 && (!is_open || (stopping && log.staged.is_empty()));
    let complete = ends && committed_end == segment.end;
    if complete && is_open && segment.end == 0 && !segment.created {
        log.finished = true;
        return None;
    }
    let to = match complete {
        true => segment.end,
        false if log.directs > 0 => from,
        false => block_floor(committed_end),
    };
    let space = if is_open && !stopping { log.space_target } else { 0 };
    let (index, times, count) = segment.index.encode_pending(to);
    let flush_index = log.directs == 0 && (complete || index.len() + times.len() >= INDEX_FLUSH_BYTES);
    let count = if flush_index { count } else { 0 };
    let writes = to > from || complete || flush_index;
    if !writes && space <= segment.allocated {
        return None;
    }
    let pieces = undestaged_pieces(log, segment, committed, to);
    let step = u64::from(to).clamp(SPACE_STEP_MIN_BYTES, SPACE_STEP_MAX_BYTES).min(ahead_max);
    let segment_bytes = blocks_up(log.config.segment_bytes as usize) as u64;
    let ahead = if is_open && !stopping { (u64::from(to) + step).min(segment_bytes) as u32 } else { 0 };
    let least = blocks_up(to as usize) as u32;
    let allocate = (!segment.created || segment.allocated < least || segment.allocated < space)
        .then_some(ahead.max(least).max(space));
    let final_time = complete.then(|| segment.index.next_time_entry(base)).flatten();
    let index_write = flush_index.then(|| {
        let mut times = times;
        final_time.into_iter().for_each(|entry| super::index::put_time(&mut times, entry));
        let (index_at, time_at) = (u64::from(segment.index.index_bytes), u64::from(segment.index.time_bytes));
        IndexWrite { index_at, index: index.into(), time_at, times: times.into() }
    });
    let run = DestageRun {
        key,
        segment: base,
        from,
        to,
        allocated: allocate.unwrap_or(segment.allocated),
        index_entries: count,
        final_time: final_time.is_some(),
        complete,
        writes,
        reserved_bytes: 0,
    };
    let prepare =
        PrepareSpec { topic_id: log.tp.topic_id, check_dir: !log.prepared, new_file: !segment.created, allocate };
    let job = DestageJob::new(std::sync::Arc::clone(&log.dir), base, prepare, from, pieces, buffers.clone())
        .with_index(index_write)
        .with_exact_length(complete.then_some(to));
    log.busy = Some(if writes { Busy::Destaging } else { Busy::Preparing });
    Some((run, job))
}

/// The committed bytes of a segment between what is destaged and `to`.
fn undestaged_pieces(log: &Log, segment: &Segment, committed: CommitSeq, to: u32) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    for run in log.undestaged(segment, committed) {
        let start = segment.destaged.max(run.position);
        let end = run.end().min(to);
        if start < end {
            pieces.push(run.bytes.slice((start - run.position) as usize..(end - run.position) as usize));
        }
    }
    pieces
}

impl Log {
    /// Takes notice of a destage that succeeded.
    pub(super) fn apply_destage(&mut self, run: &DestageRun) {
        self.prepared = true;
        let Some(segment) = self.segment_mut(run.segment) else { return };
        segment.created = true;
        segment.allocated = segment.allocated.max(run.allocated);
        if !run.writes {
            return;
        }
        segment.index.flushed(run.index_entries);
        if run.final_time {
            segment.index.time_bytes += super::index::TIME_ENTRY_BYTES as u32;
            segment.index.flushed_timestamp = segment.index.max.timestamp;
        }
        if run.complete && segment.phase == Phase::Open {
            // The clean stop: the padded last block is written, but stays in the checkpoint, to be written over later.
            segment.allocated = block_floor(run.to);
            self.finished = true;
            self.destaged_to(run.segment, block_floor(run.to));
            return;
        }
        if run.complete {
            segment.phase = Phase::Closed;
            segment.allocated = run.to;
        }
        self.destaged_to(run.segment, run.to);
    }
}

/// The files of a segment that go with it.
pub(super) const SEGMENT_FILES: [SegmentFile; 5] =
    [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex, SegmentFile::TxnIndex, SegmentFile::Snapshot];

#[cfg(test)]
mod tests;
