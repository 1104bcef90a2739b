//! The logs of our own machines: appending records to a partition of this shard and being told when they are durable, and
//! reading such a log from its start.
//! Must never touch: what the records say.

use bytes::{Bytes, BytesMut};
use coretide_coordinator::WriteId;
use coretide_log::batch::VerifiedBatch;
use coretide_log::store::{Extent, ReadFailure, ReadPlan, ReadReady};
use coretide_model::TopicPartition;
use coretide_partition::{AppendOk, DeleteRecordsError, Origin};
use smallvec::smallvec;

use super::reads::JobOf;
use super::{Logs, Then};
use crate::machines::{controller, groups};
use crate::mail::AppendFailure;
use crate::shard::Shard;

/// Bytes of one step of a load.
const LOAD_STEP_BYTES: usize = 4 << 20;

/// Which machine appended or reads, and its own number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ticket {
    /// The controller: the delta's revision, or 0 for a snapshot.
    Metadata { revision: u64 },
    /// A coordinator: its partition of `__consumer_offsets` and its write.
    Group { partition: i32, write: WriteId },
}

/// What became of an internal append.
pub(crate) type InternalResult = Result<AppendOk, AppendFailure>;

/// What a load has for its machine.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Whole batches, in order.
    Batches(Bytes),
    /// That was all.
    End,
    /// The log cannot be read.
    Failed(ReadFailure),
}

/// A load in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    tp: TopicPartition,
    next_offset: i64,
    end_offset: i64,
}

impl Logs {
    /// The next finished internal append.
    pub fn take_internal(&mut self) -> Option<(Ticket, InternalResult)> {
        self.internal_done.pop_front()
    }

    /// Moves the start of an internal log, whose owner does not wait for it.
    pub fn advance_start(&mut self, now: coretide_model::Now, tp: TopicPartition, offset: i64) {
        if let Some(partition) = self.partitions.get_mut(&tp) {
            let moved = partition.advance_log_start(&mut self.store, now, offset);
            let is_expected = matches!(moved, Ok(_) | Err(DeleteRecordsError::Offline));
            debug_assert!(is_expected, "machines advance their log to what is durable: {moved:?}");
        }
    }
}

impl Shard {
    /// Appends a batch to a partition that this shard owns. `on_internal` is told with the ticket once it is durable or
    /// has failed, never before this call returns, and in the order of the appends.
    pub(crate) fn append_internal(&mut self, tp: TopicPartition, batch: &VerifiedBatch, ticket: Ticket) {
        let Logs { partitions, store, .. } = &mut self.logs;
        let appended = match partitions.get_mut(&tp) {
            None => Err(AppendFailure::NotHere),
            Some(partition) => match partition.append(store, self.now, batch, -1, Origin::Broker) {
                Ok(appended) => Ok((appended, partition.key())),
                Err(error) => Err(AppendFailure::Refused(error)),
            },
        };
        match appended {
            Ok((appended, key)) => {
                self.logs.push_wait(appended.commit, smallvec![key], Then::Internal { ticket, appended });
            }
            Err(failure) => self.logs.internal_done.push_back((ticket, Err(failure))),
        }
    }

    /// Tells the machine that appended.
    pub(crate) fn on_internal(&mut self, ticket: Ticket, result: InternalResult) {
        match ticket {
            Ticket::Metadata { revision } => controller::on_appended(self, revision, result),
            Ticket::Group { partition, write } => groups::on_appended(self, partition, write, result),
        }
    }

    /// Reads a log of this shard from its start to its present end, for the machine that the ticket names.
    pub(crate) fn load_internal(&mut self, tp: TopicPartition, ticket: Ticket) {
        let logs = &mut self.logs;
        let Some(partition) = logs.partitions.get(&tp) else { return };
        let marks = partition.marks(&logs.store);
        let load = Load { tp, next_offset: marks.log_start_offset, end_offset: marks.high_watermark };
        self.go_on_loading(ticket, load);
    }

    fn go_on_loading(&mut self, ticket: Ticket, mut load: Load) {
        loop {
            let logs = &mut self.logs;
            let Some(partition) = logs.partitions.get(&load.tp) else { return };
            let plan = if load.next_offset >= load.end_offset {
                ReadPlan::Empty
            } else {
                let key = partition.key();
                logs.store.plan_read(key, load.next_offset, load.end_offset, LOAD_STEP_BYTES, true)
            };
            match plan {
                ReadPlan::Ready(ready) => {
                    load.next_offset = ready.next_offset;
                    self.on_loaded(ticket, Loaded::Batches(joined(ready)));
                }
                ReadPlan::Cold(cold) => {
                    self.logs.loads.insert(ticket, load);
                    return self.start_job(cold.into_job(), JobOf::Load(ticket));
                }
                ReadPlan::Empty | ReadPlan::OutOfRange => return self.on_loaded(ticket, Loaded::End),
            }
        }
    }

    /// A step of a load came from disk.
    pub(super) fn on_load_read(&mut self, ticket: Ticket, result: Result<ReadReady, ReadFailure>) {
        let Some(mut load) = self.logs.loads.remove(&ticket) else { return };
        match result {
            Ok(ready) if ready.bytes == 0 => self.on_loaded(ticket, Loaded::End),
            Ok(ready) => {
                load.next_offset = ready.next_offset;
                self.on_loaded(ticket, Loaded::Batches(joined(ready)));
                self.go_on_loading(ticket, load);
            }
            Err(failure) => self.on_loaded(ticket, Loaded::Failed(failure)),
        }
    }

    fn on_loaded(&mut self, ticket: Ticket, loaded: Loaded) {
        match ticket {
            Ticket::Metadata { .. } => controller::on_loaded(self, loaded),
            Ticket::Group { partition, .. } => groups::on_loaded(self, partition, loaded),
        }
    }
}

/// The bytes of a read in one piece. Loads never ask for file ranges.
fn joined(mut ready: ReadReady) -> Bytes {
    if let ([Extent::Hot(_)], Some(Extent::Hot(bytes))) = (ready.extents.as_slice(), ready.extents.first()) {
        return bytes.clone();
    }
    let mut all = BytesMut::with_capacity(ready.bytes);
    for extent in ready.extents.drain(..) {
        if let Extent::Hot(bytes) = extent {
            all.extend_from_slice(&bytes);
        }
    }
    all.freeze()
}
