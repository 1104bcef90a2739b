//! What shards say to each other: data only, never closures. What one shard sends to another arrives in that order.
//! Must never touch: who takes it there.

use std::net::IpAddr;
use std::sync::Arc;

use coretide_controller as controller;
use coretide_coordinator as coordinator;
use coretide_log::batch::VerifiedBatch;
use coretide_log::io::VolumeSpace;
use coretide_log::store::Extents;
use coretide_model::{ConnId, ErrorCode, ShardId, TopicPartition};
use coretide_partition::AbortedTransaction;
use coretide_partition::{
    AppendError, AppendOk, DeleteRecordsError, EpochEnd, EpochError, Isolation, ListTarget, ListedOffset, Marks,
    ProducerDescription, ReadSpec,
};
use smallvec::SmallVec;

/// A request that waits in the shard that received it. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReqId(pub u64);

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    /// The shard that asked.
    pub shard: ShardId,
    /// Its request.
    pub id: ReqId,
    /// The asker's number for the question; comes back with the answer.
    pub place: u32,
}

/// A letter.
#[derive(Debug)]
pub enum Mail {
    /// Batches of one Produce request for this shard's partitions.
    Append { id: ReqId, items: SmallVec<[AppendItem; 1]> },
    /// What became of them, when all of them are as durable as asked, or refused. In the order of the items.
    Appended { id: ReqId, results: SmallVec<[AppendResult; 1]> },
    /// Partitions of one Fetch request.
    Read { id: ReqId, ask: Box<ReadAsk> },
    /// What was read.
    ReadDone { id: ReqId, done: Box<ReadAnswer> },
    /// Something that a Fetch request watches has moved: it should read again.
    Woken { id: ReqId },
    /// The request is over: its watches may go.
    Unwatch { id: ReqId },
    /// Any other question.
    Ask { id: ReqId, place: u32, ask: Box<Ask> },
    /// Its answer.
    Answer { id: ReqId, place: u32, answer: Box<Answer> },
    /// From the controller: the cluster's state changed.
    Delta(Arc<controller::Delta>),
    /// To the controller: the deltas up to this one are applied.
    Applied { revision: u64 },
    /// To shard 0: may this connection be served?
    Admit { conn: ConnId, ip: IpAddr },
    /// From shard 0: it is counted, or this limit is reached.
    Admitted { conn: ConnId, ip: IpAddr, refusal: Option<ConnectionLimit> },
    /// To shard 0: a counted connection is gone.
    Left { ip: IpAddr },
    /// To shard 0: the sender's counted connections are these.
    Present { present: Vec<IpAddr> },
    /// This shard stops and has no more requests in progress.
    Drained,
}

impl Mail {
    /// True for letters that lead to a commit or follow one. A receiver with a commit on its way could not start the next
    /// one for them, and the answers that they carry leave together with those of that commit.
    pub fn is_of_commits(&self) -> bool {
        matches!(self, Mail::Append { .. } | Mail::Appended { .. })
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// `max.connections`.
    All,
    /// `max.connections.per.ip` or its overrides.
    PerIp,
}

const _: () = assert!(size_of::<Mail>() <= 256, "mail is moved by value through the lanes");

/// One batch to be appended.
#[derive(Debug)]
pub struct AppendItem {
    /// Where.
    pub tp: TopicPartition,
    /// The partition's place in the request.
    pub place: u32,
    /// What.
    pub batch: VerifiedBatch,
}

/// What became of one [`AppendItem`].
#[derive(Debug)]
pub struct AppendResult {
    /// The item's.
    pub place: u32,
    /// Offsets, or why not.
    pub result: Result<AppendOk, AppendFailure>,
}

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    /// The shard does not have the partition: it is deleted, or not made yet.
    #[error("this server does not host this topic-partition")]
    NotHere,
    /// The partition refused.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// The write failed after it had begun.
    #[error("the write failed: {0}")]
    Storage(String),
}

/// The partitions of one Fetch request that one shard owns, in request order.
#[derive(Debug)]
pub struct ReadAsk {
    /// How far the reader may see.
    pub isolation: Isolation,
    /// The byte budget of all of them.
    pub max_bytes: u32,
    /// Below so many bytes found here, watch all of them, so that [`Mail::Woken`] comes when one of them has more; 0: never.
    pub watch_below_bytes: u32,
    /// Each of them.
    pub items: Vec<ReadItem>,
}

/// One partition of a [`ReadAsk`].
#[derive(Clone, Copy, Debug)]
pub struct ReadItem {
    /// Which.
    pub tp: TopicPartition,
    /// Its place in the request.
    pub place: u32,
    /// What of it.
    pub spec: ReadSpec,
}

/// The answer to a [`ReadAsk`].
#[derive(Debug, Default)]
pub struct ReadAnswer {
    /// In the order of the items.
    pub parts: Vec<ReadPart>,
    /// Watches are set.
    pub watching: bool,
}

/// One partition of a [`ReadAnswer`].
#[derive(Debug)]
pub struct ReadPart {
    /// The item's.
    pub place: u32,
    /// None, or why there is nothing.
    pub error: ErrorCode,
    /// All from one moment; unknown (all -1) with most errors.
    pub marks: Marks,
    /// Where the reader's log parts from ours.
    pub diverging: Option<EpochEnd>,
    /// Aborted transactions in the range, for `read_committed`.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// Whole batches.
    pub extents: Extents,
    /// Their bytes.
    pub bytes: usize,
    /// They were read from disk for this.
    pub from_disk: bool,
}

/// A question of the colder kind.
#[derive(Debug)]
pub enum Ask {
    /// To shard 0.
    Controller(controller::Command),
    /// To the shard that owns this partition of `__consumer_offsets`.
    Group { partition: i32, command: coordinator::Command },
    /// To the shard that owns all these partitions.
    Partitions(Vec<PartitionAsk>),
    /// To any shard: the sizes of all its logs.
    LogSizes,
}

/// The answer to an [`Ask`] of the same name.
#[derive(Debug)]
pub enum Answer {
    Controller(controller::Reply),
    Group(coordinator::Reply),
    /// In the order asked.
    Partitions(Vec<PartitionAnswer>),
    LogSizes(LogSizes),
    /// The asked shard is stopping, or the machine is not there.
    Unavailable,
}

/// What a shard has on disk.
#[derive(Debug, Default)]
pub struct LogSizes {
    /// Bytes of batches by partition; internal logs that are no topics included.
    pub sizes: Vec<(TopicPartition, u64)>,
    /// The volume as the shard last measured it.
    pub volume: Option<VolumeSpace>,
}

/// One partition of [`Ask::Partitions`].
#[derive(Clone, Debug)]
pub struct PartitionAsk {
    /// Which.
    pub tp: TopicPartition,
    /// Its place in the request.
    pub place: u32,
    /// What about it.
    pub ask: PartitionQuestion,
}

/// What may be asked of a partition.
#[derive(Clone, Debug)]
pub enum PartitionQuestion {
    ListOffsets {
        target: ListTarget,
        isolation: Isolation,
        current_leader_epoch: i32,
    },
    EpochEnd {
        leader_epoch: i32,
        current_leader_epoch: i32,
    },
    /// -1 is the high watermark.
    DeleteRecords {
        offset: i64,
    },
    DescribeProducers,
}

/// One partition of [`Answer::Partitions`].
#[derive(Debug)]
pub struct PartitionAnswer {
    /// The question's.
    pub place: u32,
    /// The answer of the same name, or why there is none.
    pub answer: Result<PartitionReply, PartitionFailure>,
}

/// What a partition says.
#[derive(Debug)]
pub enum PartitionReply {
    ListOffsets(ListedOffset),
    EpochEnd(EpochEnd),
    /// The new log start.
    DeleteRecords(i64),
    DescribeProducers(Vec<ProducerDescription>),
}

/// Why a partition says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionFailure {
    /// The shard does not have the partition.
    #[error("this server does not host this topic-partition")]
    NotHere,
    /// The asker's leader epoch does not fit.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// DeleteRecords only.
    #[error(transparent)]
    DeleteRecords(#[from] DeleteRecordsError),
    /// The disk failed, or what is on it is corrupt.
    #[error("the log cannot be read: {0}")]
    Storage(String),
}
