//! What the pure part may ask of a disk: files by what they are, operations as data, results as data.
//! The shell and the simulator execute them; nothing here does.

use std::sync::Arc;

use bytes::Bytes;

/// The hidden folder of the data directory that holds what Kafka's layout has no place for.
pub const OWN_DIR: &str = ".coretide";

/// A file of the data directory, named by what it is. [`FileId::path`] is the only place that spells paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileId {
    /// One of a shard's journal files, preallocated, pre-written and recycled.
    Journal { shard: u16, no: u32 },
    /// One of a shard's two alternating checkpoints.
    Checkpoint { shard: u16, slot: u8 },
    /// A file of a segment of a partition, in Kafka's layout.
    Segment { dir: Arc<str>, base_offset: i64, kind: SegmentFile },
    /// A file of a partition's folder that belongs to no segment (`partition.metadata`, `leader-epoch-checkpoint`).
    Partition { dir: Arc<str>, name: &'static str },
    /// A file of the data directory itself (`meta.properties`).
    Root { name: &'static str },
}

/// The files of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SegmentFile {
    /// The record batches.
    Log,
    /// Offset index: relative offset to position.
    Index,
    /// Time index: timestamp to relative offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Producer state at the segment's base offset.
    Snapshot,
}

impl SegmentFile {
    /// Kafka's file name extension.
    pub const fn extension(self) -> &'static str {
        match self {
            SegmentFile::Log => "log",
            SegmentFile::Index => "index",
            SegmentFile::TimeIndex => "timeindex",
            SegmentFile::TxnIndex => "txnindex",
            SegmentFile::Snapshot => "snapshot",
        }
    }
}

impl FileId {
    /// The path below the data directory.
    pub fn path(&self) -> String {
        match self {
            FileId::Journal { shard, no } => format!("{OWN_DIR}/shard-{shard}/journal-{no:05}"),
            FileId::Checkpoint { shard, slot } => format!("{OWN_DIR}/shard-{shard}/checkpoint-{slot}"),
            FileId::Segment { dir, base_offset, kind } => format!("{dir}/{base_offset:020}.{}", kind.extension()),
            FileId::Partition { dir, name } => format!("{dir}/{name}"),
            FileId::Root { name } => (*name).to_string(),
        }
    }
}

/// How durable a write is when its completion arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Handed to the device: survives the process, not a power cut.
    Written,
    /// On stable storage (`RWF_DSYNC`, or write then fdatasync).
    Durable,
}

/// One operation on the data directory. Every path is below it.
#[derive(Clone, Debug)]
pub enum Op {
    /// Reads up to `len` bytes; fewer come back only at the end of the file. `direct`: past the page cache, and the
    /// driver does the rounding to blocks.
    Read { file: FileId, at: u64, len: u32, direct: bool },
    /// Writes all of `bytes`. `direct`: past the page cache; offset, length and address are whole blocks.
    Write { file: FileId, at: u64, bytes: Bytes, direct: bool, durability: Durability },
    /// Makes what was written to the file durable (fdatasync).
    Sync { file: FileId },
    /// Makes a folder's entries durable. Empty: the data directory.
    SyncDir { dir: Arc<str> },
    /// Creates the file if it is absent (its folder too), and extends it to `len` bytes of allocated space
    /// (`fallocate` with the size moved). `zeros`: also writes zeros, so that later writes change no metadata.
    Allocate { file: FileId, len: u64, zeros: bool },
    /// Cuts or extends the file to `len` bytes.
    Truncate { file: FileId, len: u64 },
    /// The length of the file.
    Len { file: FileId },
    /// Removes the file; an absent file is fine.
    Remove { file: FileId },
    /// Creates a folder with its parents; an existing one is fine.
    MakeDir { dir: Arc<str> },
    /// Renames a folder below the data directory.
    RenameDir { from: Arc<str>, to: Arc<str> },
    /// Removes a folder with all it holds; an absent one is fine.
    RemoveDir { dir: Arc<str> },
    /// The names in a folder (empty: the data directory), sorted.
    List { dir: Arc<str> },
    /// How much room there is on the volume of the data directory.
    Volume,
}

/// The volume of the data directory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeSpace {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Bytes of it that this process may still fill.
    pub free_bytes: u64,
}

/// What came of an [`Op`].
pub type OpResult = Result<OpOk, IoError>;

/// The success of an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpOk {
    /// Done; nothing to report.
    Done,
    /// The bytes read.
    Data(Bytes),
    /// A file's length.
    Len(u64),
    /// The names in a folder.
    Names(Vec<String>),
    /// The volume's size and room.
    Volume(VolumeSpace),
}

/// A failed operation: what, on which file, and the system's error number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op} of {path} failed: {message} (errno {errno})")]
pub struct IoError {
    /// The operation's name; that of a flush has "sync" in it.
    pub op: &'static str,
    /// The path below the data directory.
    pub path: String,
    /// The system's error number; `ENOENT` is 2, `EIO` 5, `ENOSPC` 28, `EDQUOT` 122.
    pub errno: i32,
    /// The system's words.
    pub message: String,
}

impl IoError {
    /// A folder was to get a name that another one has.
    pub fn is_name_taken(&self) -> bool {
        self.op == "rename" && matches!(self.errno, 17 | 39)
    }

    /// True when the file or folder does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno == 2
    }

    /// True when the disk (or the quota) was full before anything happened, so that the operation may be tried again. A
    /// flush that fails is a failed flush, whatever its reason: what it was to save may be gone from the page cache.
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno, 28 | 122) && !self.op.contains("sync")
    }
}

/// What a background job wants next. A job is a state machine: it is stepped with the results of what it asked for.
#[derive(Debug)]
pub enum Step<T> {
    /// Do these in this order, stop at the first failure, and step again with the results so far.
    Do(Vec<Op>),
    /// The job is over.
    Done(T),
}

/// A background job without IO of its own.
pub trait Job {
    /// What it yields in the end.
    type Output;

    /// Goes on with the results of the operations of the last [`Step::Do`] (empty at the first call).
    fn step(&mut self, results: Vec<OpResult>) -> Step<Self::Output>;

    /// Runs it to its end by what executes one operation.
    fn run(mut self, mut execute: impl FnMut(Op) -> OpResult) -> Self::Output
    where
        Self: Sized,
    {
        let mut results = Vec::new();
        loop {
            let ops = match self.step(results) {
                Step::Done(output) => return output,
                Step::Do(ops) => ops,
            };
            results = Vec::with_capacity(ops.len());
            for op in ops {
                results.push(execute(op));
                if results.last().is_some_and(Result::is_err) {
                    break;
                }
            }
        }
    }
}
