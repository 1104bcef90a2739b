//! The background jobs: what each is asked, what it yields.

use std::sync::Arc;

use bytes::Bytes;

use super::api::{LogKey, ReadReady};
use crate::io::{IoError, Job, OpResult, Step};
use crate::timestamps::TimestampOffset;

/// A read of whole batches from one segment on disk.
#[derive(Clone, Debug)]
pub struct ColdRead {
    /// The log.
    pub key: LogKey,
    pub(crate) dir: Arc<str>,
    /// The offset to read from.
    pub from_offset: i64,
    /// Only batches wholly below this.
    pub limit_offset: i64,
    /// Bytes at most.
    pub max_bytes: usize,
    /// The first batch is returned even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// Only locate, where the range allows it: the answer may hold `Extent::File` for splice.
    pub want_file: bool,
    pub(crate) tail: Bytes,
}

impl ColdRead {
    /// The job that does it.
    pub fn into_job(self) -> StoreJob {
        StoreJob(Box::new(self))
    }
}

/// A search by time in the segments on disk.
#[derive(Clone, Debug)]
pub struct TimeRead {
    /// The log.
    pub key: LogKey,
}

impl TimeRead {
    /// The job that does it.
    pub fn into_job(self) -> StoreJob {
        unimplemented!()
    }
}

/// Why a read on disk failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// The segment is gone meanwhile: plan again.
    #[error("the segment was deleted")]
    Gone,
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
    Io(#[from] IoError),
}

/// What a [`ColdRead`] found. Give it to `Store::note_read` before it is used.
#[derive(Clone, Debug)]
pub struct ReadDone {
    /// The log.
    pub key: LogKey,
    /// The batches; empty when the first one is larger than allowed or nothing lies below the limit.
    pub result: Result<ReadReady, ReadFailure>,
}

/// What a [`TimeRead`] found.
#[derive(Clone, Debug)]
pub struct TimeDone {
    /// The log.
    pub key: LogKey,
    /// The record; none when no record is that young.
    pub result: Result<Option<TimestampOffset>, ReadFailure>,
}

/// A background job of the store.
#[derive(Debug)]
pub struct StoreJob(Box<ColdRead>);

impl StoreJob {
    /// True when a client waits for it: runs before destaging and housekeeping.
    pub fn is_read(&self) -> bool {
        unimplemented!()
    }
}

impl Job for StoreJob {
    type Output = StoreJobOutput;

    fn step(&mut self, _results: Vec<OpResult>) -> Step<StoreJobOutput> {
        unimplemented!()
    }
}

/// What a [`StoreJob`] yields.
#[derive(Debug)]
pub enum StoreJobOutput {
    /// Of a [`ColdRead`]; for whoever planned it.
    Read(ReadDone),
    /// Of a [`TimeRead`]; for whoever planned it.
    Time(TimeDone),
    /// Of one of the store's own jobs; for `Store::on_job`.
    Own(OwnDone),
}

/// The outcome of one of the store's own jobs.
#[derive(Debug)]
pub struct OwnDone(());
