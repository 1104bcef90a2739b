//! The background jobs: what each is asked, what it yields.
//! Must never touch: the store's state; a job owns all that it needs.

mod aside;
mod cold;
mod files;
mod index;
mod locate;
mod time;

pub(super) use aside::{AsideJob, Tail, aside_dir};
pub use cold::ColdRead;
pub(super) use cold::{ColdPlace, ColdSource, ColdStart, Verified};
pub use files::RemoveSpec;
pub(super) use files::{
    CheckpointJob, DestageJob, IndexWrite, JournalFileJob, METADATA_FILE, PrepareSpec, RemoveJob, checkpoint_ops,
    metadata_file, metadata_owner, metadata_text,
};
pub(super) use index::{IndexJob, IndexSpec, index_file_ops};
pub use time::TimeRead;
pub(super) use time::{TimeSegment, TimeTarget};

use bytes::Bytes;
use coretide_model::ErrorCode;

use super::api::{LogKey, ReadReady};
use crate::batch::{BatchError, ProduceRules, VerifiedBatch, verify_produced};
use crate::io::{IoError, Job, Op, OpOk, OpResult, Step, VolumeSpace};
use crate::timestamps::TimestampOffset;

/// Why a read on disk failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// The segment is gone meanwhile: plan again.
    #[error("the segment was deleted")]
    Gone,
    /// A file is not there, and nobody deleted its segment.
    #[error("{path} is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// The bytes on disk are not what was written.
    #[error("{path} is corrupt at position {at}")]
    Corrupt {
        /// The file.
        path: String,
        /// The position.
        at: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(IoError),
}

impl ReadFailure {
    /// What a client is told of it.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadFailure::Corrupt { .. } => ErrorCode::CorruptMessage,
            ReadFailure::Gone | ReadFailure::Missing { .. } | ReadFailure::Io(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl From<IoError> for ReadFailure {
    fn from(error: IoError) -> ReadFailure {
        if error.is_not_found() { ReadFailure::Gone } else { ReadFailure::Io(error) }
    }
}

/// What a [`ColdRead`] found. Give it to `Store::note_read` before it is used.
#[derive(Clone, Debug)]
pub struct ReadDone {
    /// The log.
    pub key: LogKey,
    /// The batches; empty when the first one is larger than allowed or nothing lies below the limit.
    pub result: Result<ReadReady, ReadFailure>,
    /// The segment that was read.
    pub(super) segment: i64,
    pub(super) next: Option<ColdPlace>,
    /// What of the file was read and found good.
    pub(super) verified: Option<Verified>,
    /// The segment whose index files are not what they should be.
    pub(super) suspect: Option<i64>,
}

/// What a [`TimeRead`] found. Give it to `Store::note_search` before it is used.
#[derive(Clone, Debug)]
pub struct TimeDone {
    /// The log.
    pub key: LogKey,
    /// The record; none when no record is that young.
    pub result: Result<Option<TimestampOffset>, ReadFailure>,
    /// The segment that was searched last, if there was any.
    pub(super) segment: Option<i64>,
    /// The segment whose index files are not what they should be.
    pub(super) suspect: Option<i64>,
}

/// The outcome of one of the store's own jobs.
pub type OwnDone = Result<OwnOk, IoError>;

/// The success of one of the store's own jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnOk {
    /// Done.
    Done,
    /// A destage is done, and this is what it wrote first.
    Written(Vec<Bytes>),
    /// The index files are made; so many bytes they have, and this is the timestamp of the last entry.
    Index { index_bytes: u32, time_bytes: u32, last_timestamp: Option<i64> },
    /// Nothing was done: the folder is still another topic's, whose removal is under way. Try again.
    Busy,
    /// The volume was measured.
    Volume(VolumeSpace),
}

/// A background job of the store.
#[derive(Debug)]
pub struct StoreJob(Kind);

#[derive(Debug)]
enum Kind {
    Cold(Box<cold::ColdJob>),
    Time(Box<time::TimeJob>),
    Destage(Box<DestageJob>),
    Index(Box<IndexJob>),
    JournalFile(JournalFileJob),
    Checkpoint(Box<CheckpointJob>),
    Remove(RemoveJob),
    Aside(AsideJob),
    Measure,
    Verify(Bytes, Box<ProduceRules>),
}

impl StoreJob {
    /// True when a client waits for it: runs before destaging and housekeeping.
    pub fn is_read(&self) -> bool {
        matches!(self.0, Kind::Cold(_) | Kind::Time(_))
    }

    /// True when most of it is writing what is in memory to segments: its direct writes do not block, and a thread that
    /// must not wait may do them.
    pub fn is_destage(&self) -> bool {
        matches!(self.0, Kind::Destage(_))
    }

    /// The check of a produced batch that takes too long for a thread that must not wait. It touches no file.
    pub fn verify(batch: Bytes, rules: ProduceRules) -> StoreJob {
        StoreJob(Kind::Verify(batch, Box::new(rules)))
    }

    pub(super) fn destage(job: DestageJob) -> StoreJob {
        StoreJob(Kind::Destage(Box::new(job)))
    }

    pub(super) fn index(job: IndexJob) -> StoreJob {
        StoreJob(Kind::Index(Box::new(job)))
    }

    pub(super) fn journal_file(job: JournalFileJob) -> StoreJob {
        StoreJob(Kind::JournalFile(job))
    }

    pub(super) fn checkpoint(job: CheckpointJob) -> StoreJob {
        StoreJob(Kind::Checkpoint(Box::new(job)))
    }

    pub(super) fn remove(job: RemoveJob) -> StoreJob {
        StoreJob(Kind::Remove(job))
    }

    pub(super) fn aside(job: AsideJob) -> StoreJob {
        StoreJob(Kind::Aside(job))
    }

    pub(super) fn measure() -> StoreJob {
        StoreJob(Kind::Measure)
    }
}

impl Job for StoreJob {
    type Output = StoreJobOutput;

    fn step(&mut self, results: Vec<OpResult>) -> Step<StoreJobOutput> {
        match &mut self.0 {
            Kind::Cold(job) => map(job.step(results), StoreJobOutput::Read),
            Kind::Time(job) => map(job.step(results), StoreJobOutput::Time),
            Kind::Destage(job) => map(job.step(results), StoreJobOutput::Own),
            Kind::Index(job) => map(job.step(results), StoreJobOutput::Own),
            Kind::JournalFile(job) => map(job.step(results), StoreJobOutput::Own),
            Kind::Checkpoint(job) => map(job.step(results), StoreJobOutput::Own),
            Kind::Remove(job) => map(job.step(results), StoreJobOutput::Own),
            Kind::Aside(job) => map(job.step(results), StoreJobOutput::Own),
            Kind::Measure => map(measure(results), StoreJobOutput::Own),
            Kind::Verify(batch, rules) => Step::Done(StoreJobOutput::Verified(verify_produced(batch.clone(), rules))),
        }
    }
}

fn measure(results: Vec<OpResult>) -> Step<OwnDone> {
    match results.into_iter().next() {
        None => Step::Do(vec![Op::Volume]),
        Some(Ok(OpOk::Volume(space))) => Step::Done(Ok(OwnOk::Volume(space))),
        Some(Ok(_)) => Step::Done(Ok(OwnOk::Done)),
        Some(Err(error)) => Step::Done(Err(error)),
    }
}

fn map<T, U>(step: Step<T>, f: impl FnOnce(T) -> U) -> Step<U> {
    match step {
        Step::Do(ops) => Step::Do(ops),
        Step::Done(output) => Step::Done(f(output)),
    }
}

/// What a [`StoreJob`] yields.
#[allow(clippy::large_enum_variant)] // one per job, moved at once
#[derive(Debug)]
pub enum StoreJobOutput {
    /// Of a [`ColdRead`]; for whoever planned it.
    Read(ReadDone),
    /// Of a [`TimeRead`]; for whoever planned it.
    Time(TimeDone),
    /// Of one of the store's own jobs; for `Store::on_job`.
    Own(OwnDone),
    /// Of [`StoreJob::verify`]; for whoever received the batch.
    Verified(Result<VerifiedBatch, BatchError>),
}

/// The first failure among the results of a step, if there is one.
pub(super) fn first_error(results: &[OpResult]) -> Option<IoError> {
    results.iter().find_map(|result| result.as_ref().err().cloned())
}

/// The bytes of a read; empty for any other success.
pub(super) fn data(result: Option<OpResult>) -> Result<bytes::Bytes, IoError> {
    match result {
        Some(Ok(OpOk::Data(bytes))) => Ok(bytes),
        Some(Ok(_)) | None => Ok(bytes::Bytes::new()),
        Some(Err(error)) => Err(error),
    }
}
