//! The jobs that write: destage, journal file, checkpoint, removal.
//! Must never touch: where the bytes come from.

use std::sync::Arc;

use bytes::Bytes;
use coretide_model::TopicId;
use coretide_stdx::aligned::BufPool;

use super::{OwnDone, OwnOk, data, first_error};
use crate::io::{Durability, FileId, IoError, OWN_DIR, Op, OpResult, SegmentFile, Step};
use crate::store::background::SEGMENT_FILES;
use crate::store::checkpoint::CheckpointImage;
use crate::store::gather::buffers_kept;

/// Kafka's file that says whose a partition folder is.
pub const METADATA_FILE: &str = "partition.metadata";
/// The file is one line of version and one of the id.
const METADATA_MAX_BYTES: u32 = 1024;

/// The file that says whose a folder is.
pub fn metadata_file(dir: &Arc<str>) -> FileId {
    FileId::Partition { dir: Arc::clone(dir), name: METADATA_FILE }
}

/// Asks whose a folder is.
pub fn ask_owner(dir: &Arc<str>) -> Op {
    Op::Read { file: metadata_file(dir), at: 0, len: METADATA_MAX_BYTES, direct: false }
}

/// What that file holds.
pub fn metadata_text(topic_id: TopicId) -> Bytes {
    format!("version: 0\ntopic_id: {topic_id}\n").into()
}

/// What a topic's folder is called while it is made.
fn claimed_dir(dir: &str, topic_id: TopicId) -> Arc<str> {
    Arc::from(format!("{dir}.{topic_id}-new"))
}

/// Whose folder it is; none if the file is absent or cut off.
pub fn metadata_owner(bytes: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"))?;
    id.trim().parse().ok()
}

/// What a destage needs before it writes.
#[derive(Clone, Debug)]
pub struct PrepareSpec {
    pub topic_id: TopicId,
    /// Make the folder, or see that it is this topic's.
    pub check_dir: bool,
    /// The segment's file is new to the folder.
    pub new_file: bool,
    /// Space to have in the log file.
    pub allocate: Option<u32>,
}

/// New entries of both index files.
#[derive(Clone, Debug)]
pub struct IndexWrite {
    pub index_at: u64,
    pub index: Bytes,
    pub time_at: u64,
    pub times: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DestageAt {
    Start,
    /// Whose the folder is was asked.
    Owner,
    /// The folder was made under another name, and given its own unless there was one of that name.
    Claiming,
    /// There was one: whose it is was asked again.
    Contested,
    Writing,
    Ending,
}

/// Writes batches from memory to a segment and its indexes, and makes them durable.
#[derive(Debug)]
pub struct DestageJob {
    dir: Arc<str>,
    segment: i64,
    prepare: PrepareSpec,
    at: u64,
    pieces: Vec<Bytes>,
    next_piece: usize,
    in_piece: usize,
    left: usize,
    buffers: BufPool,
    index: Option<IndexWrite>,
    exact: Option<u32>,
    state: DestageAt,
    wrote: bool,
    /// How many of the first buffers are yielded in the end.
    keep_buffers: usize,
    kept: Vec<Bytes>,
}

impl DestageJob {
    /// Writes `pieces` from position `from` (a block border) on, one of `buffers` at a time.
    pub fn new(
        dir: Arc<str>,
        segment: i64,
        prepare: PrepareSpec,
        from: u32,
        pieces: Vec<Bytes>,
        buffers: BufPool,
    ) -> DestageJob {
        let left = pieces.iter().map(Bytes::len).sum();
        DestageJob {
            dir,
            segment,
            prepare,
            at: u64::from(from),
            pieces,
            next_piece: 0,
            in_piece: 0,
            left,
            buffers,
            index: None,
            exact: None,
            state: DestageAt::Start,
            wrote: false,
            keep_buffers: 0,
            kept: Vec::new(),
        }
    }

    /// Yields what it writes first, as far as a cache of `cache_bytes` has use for it. At most how much memory that is.
    pub fn keep(&mut self, cache_bytes: usize) -> usize {
        let buffer_bytes = self.buffers.buffer_bytes();
        self.keep_buffers = buffers_kept(&self.pieces, buffer_bytes, cache_bytes);
        self.keep_buffers * buffer_bytes
    }

    /// Appends these index entries too.
    pub fn with_index(mut self, index: Option<IndexWrite>) -> DestageJob {
        self.index = index;
        self
    }

    /// Completes the segment: all files are cut to their exact size.
    pub fn with_exact_length(mut self, exact: Option<u32>) -> DestageJob {
        self.exact = exact;
        self
    }

    fn file(&self, kind: SegmentFile) -> FileId {
        FileId::Segment { dir: Arc::clone(&self.dir), base_offset: self.segment, kind }
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<OwnDone> {
        let mut ops = Vec::new();
        match self.state {
            DestageAt::Start if self.prepare.check_dir => return self.ask_owner(DestageAt::Owner),
            DestageAt::Owner | DestageAt::Contested => match data(results.into_iter().next()) {
                Err(error) if !error.is_not_found() => return Step::Done(Err(error)),
                found => match found.ok().and_then(|bytes| metadata_owner(&bytes)) {
                    Some(owner) if owner == self.prepare.topic_id => {}
                    Some(_) => return Step::Done(Ok(OwnOk::Busy)),
                    None if self.state == DestageAt::Owner => {
                        self.state = DestageAt::Claiming;
                        return Step::Do(self.claim());
                    }
                    None => self.adopt(&mut ops),
                },
            },
            DestageAt::Claiming if first_error(&results).is_some_and(|error: IoError| error.is_name_taken()) => {
                return self.ask_owner(DestageAt::Contested);
            }
            _ => {
                if let Some(error) = first_error(&results) {
                    return Step::Done(Err(error));
                }
            }
        }
        match self.state {
            DestageAt::Start | DestageAt::Owner | DestageAt::Claiming | DestageAt::Contested => {
                self.make_space(&mut ops);
                self.state = DestageAt::Writing;
                // Apart from the writes, since it may take long.
                if !ops.is_empty() {
                    return Step::Do(ops);
                }
            }
            DestageAt::Writing => {}
            DestageAt::Ending => return self.done(),
        }
        if let Some(write) = self.next_write() {
            return Step::Do(vec![write]);
        }
        self.state = DestageAt::Ending;
        self.end(&mut ops);
        if ops.is_empty() { self.done() } else { Step::Do(ops) }
    }

    fn done(&mut self) -> Step<OwnDone> {
        let kept = std::mem::take(&mut self.kept);
        Step::Done(Ok(if kept.is_empty() { OwnOk::Done } else { OwnOk::Written(kept) }))
    }

    fn ask_owner(&mut self, then: DestageAt) -> Step<OwnDone> {
        self.state = then;
        Step::Do(vec![ask_owner(&self.dir)])
    }

    /// Makes the folder whole under a name of its own and then gives it its name, which fails where there is one: another
    /// shard may be making it for an older or a younger topic of this name, and one folder must never be two topics'.
    fn claim(&self) -> Vec<Op> {
        let made: Arc<str> = claimed_dir(&self.dir, self.prepare.topic_id);
        let mut ops = vec![Op::MakeDir { dir: Arc::clone(&made) }];
        self.sign(&made, &mut ops);
        ops.push(Op::RenameDir { from: made, to: Arc::clone(&self.dir) });
        ops.push(Op::SyncDir { dir: Arc::from("") });
        ops
    }

    /// A folder that is nobody's: a power cut of old may have left it without its file.
    fn adopt(&self, ops: &mut Vec<Op>) {
        self.sign(&self.dir, ops);
    }

    fn sign(&self, dir: &Arc<str>, ops: &mut Vec<Op>) {
        let file = metadata_file(dir);
        let bytes = metadata_text(self.prepare.topic_id);
        ops.push(Op::Write { file: file.clone(), at: 0, bytes, direct: false, durability: Durability::Written });
        ops.push(Op::Sync { file });
        ops.push(Op::SyncDir { dir: Arc::clone(dir) });
    }

    fn make_space(&self, ops: &mut Vec<Op>) {
        if let Some(len) = self.prepare.allocate {
            ops.push(Op::Allocate { file: self.file(SegmentFile::Log), len: u64::from(len), zeros: false });
        }
        if self.prepare.new_file {
            ops.push(Op::SyncDir { dir: Arc::clone(&self.dir) });
        }
    }

    /// One aligned write of what comes next; the last one is padded with zeros.
    fn next_write(&mut self) -> Option<Op> {
        if self.left == 0 {
            return None;
        }
        let mut room = self.left.min(self.buffers.buffer_bytes());
        self.left -= room;
        let mut buffer = self.buffers.take(room);
        while room > 0 {
            let piece = &self.pieces[self.next_piece][self.in_piece..];
            let taken = piece.len().min(room);
            buffer.extend_from_slice(&piece[..taken]);
            room -= taken;
            self.in_piece += taken;
            if taken == piece.len() {
                self.next_piece += 1;
                self.in_piece = 0;
            }
        }
        buffer.pad_to_block();
        let at = self.at;
        self.at += buffer.len() as u64;
        self.wrote = true;
        let bytes = buffer.freeze();
        if self.kept.len() < self.keep_buffers {
            self.kept.push(bytes.clone());
        }
        let file = self.file(SegmentFile::Log);
        Some(Op::Write { file, at, bytes, direct: true, durability: Durability::Written })
    }

    fn end(&mut self, ops: &mut Vec<Op>) {
        let log = self.file(SegmentFile::Log);
        if let Some(exact) = self.exact {
            ops.push(Op::Truncate { file: log.clone(), len: u64::from(exact) });
        }
        if self.wrote || self.exact.is_some() {
            ops.push(Op::Sync { file: log });
        }
        let Some(write) = self.index.take() else { return };
        let new_files = write.index_at == 0 || write.time_at == 0;
        let files =
            [(SegmentFile::Index, write.index_at, write.index), (SegmentFile::TimeIndex, write.time_at, write.times)];
        for (kind, at, bytes) in files {
            let file = self.file(kind);
            let len = at + bytes.len() as u64;
            if at == 0 {
                ops.push(Op::Allocate { file: file.clone(), len: 0, zeros: false });
            }
            if !bytes.is_empty() {
                let file = file.clone();
                ops.push(Op::Write { file, at, bytes, direct: false, durability: Durability::Written });
            }
            // Entries of a crashed run may lie beyond.
            ops.push(Op::Truncate { file: file.clone(), len });
            ops.push(Op::Sync { file });
        }
        if new_files {
            ops.push(Op::SyncDir { dir: Arc::clone(&self.dir) });
        }
    }
}

/// Makes one journal file: every block written, so that commits change no metadata.
#[derive(Debug)]
pub struct JournalFileJob {
    shard: u16,
    no: u32,
    bytes: u64,
    asked: bool,
    failed: Option<IoError>,
}

impl JournalFileJob {
    /// The file `no` of `bytes`.
    pub fn new(shard: u16, no: u32, bytes: u64) -> JournalFileJob {
        JournalFileJob { shard, no, bytes, asked: false, failed: None }
    }

    /// The operations.
    pub fn ops(&self) -> Vec<Op> {
        let file = FileId::Journal { shard: self.shard, no: self.no };
        vec![
            Op::Allocate { file: file.clone(), len: self.bytes, zeros: true },
            Op::Sync { file },
            Op::SyncDir { dir: Arc::from(format!("{OWN_DIR}/shard-{}", self.shard)) },
        ]
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<OwnDone> {
        if !self.asked {
            self.asked = true;
            return Step::Do(self.ops());
        }
        if let Some(error) = self.failed.take() {
            // Whether it could be removed or not: the first failure is what counts.
            return Step::Done(Err(error));
        }
        self.failed = first_error(&results);
        if self.failed.is_none() {
            return Step::Done(Ok(OwnOk::Done));
        }
        // A file that is not whole is of no use, and holds the space that others need.
        Step::Do(vec![Op::Remove { file: FileId::Journal { shard: self.shard, no: self.no } }])
    }
}

/// Writes a checkpoint into one of the two slots.
#[derive(Debug)]
pub struct CheckpointJob {
    image: Option<CheckpointImage>,
    slot: u8,
    sync: Vec<FileId>,
}

impl CheckpointJob {
    /// `sync`: journal files that must be durable before it.
    pub fn new(image: CheckpointImage, slot: u8, sync: Vec<FileId>) -> CheckpointJob {
        CheckpointJob { image: Some(image), slot, sync }
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<OwnDone> {
        let Some(image) = self.image.take() else {
            return Step::Done(first_error(&results).map_or(Ok(OwnOk::Done), Err));
        };
        let mut ops: Vec<Op> = self.sync.drain(..).map(|file| Op::Sync { file }).collect();
        ops.extend(checkpoint_ops(&image, self.slot));
        Step::Do(ops)
    }
}

/// The operations that write a checkpoint.
pub fn checkpoint_ops(image: &CheckpointImage, slot: u8) -> Vec<Op> {
    let shard = image.meta.shard;
    let file = FileId::Checkpoint { shard, slot };
    let bytes = image.encode();
    let len = bytes.len() as u64;
    let dir: Arc<str> = Arc::from(format!("{OWN_DIR}/shard-{shard}"));
    vec![
        Op::MakeDir { dir: Arc::clone(&dir) },
        Op::Allocate { file: file.clone(), len: 0, zeros: false },
        Op::Write { file: file.clone(), at: 0, bytes, direct: false, durability: Durability::Written },
        Op::Truncate { file: file.clone(), len },
        Op::Sync { file },
        Op::SyncDir { dir },
    ]
}

/// What to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoveSpec {
    /// A log's folder, if it still is this topic's.
    Log {
        /// The folder.
        dir: Arc<str>,
        /// The topic.
        topic_id: TopicId,
    },
    /// A segment's files.
    Segment {
        /// The folder.
        dir: Arc<str>,
        /// The topic, to leave the files of another one with the same name alone.
        topic_id: TopicId,
        /// The segment.
        base_offset: i64,
    },
}

impl RemoveSpec {
    /// True for a segment in this topic's folder.
    pub fn is_segment_of(&self, folder: &str, topic: TopicId) -> bool {
        matches!(self, RemoveSpec::Segment { dir, topic_id, .. } if **dir == *folder && *topic_id == topic)
    }
}

/// Removes a log's folder or a segment's files.
#[derive(Debug)]
pub struct RemoveJob {
    spec: RemoveSpec,
    stage: u8,
}

impl RemoveJob {
    /// Removes this.
    pub fn new(spec: RemoveSpec) -> RemoveJob {
        RemoveJob { spec, stage: 0 }
    }

    /// Goes on with the results of the last operations.
    pub fn step(&mut self, results: Vec<OpResult>) -> Step<OwnDone> {
        self.stage += 1;
        let (RemoveSpec::Log { dir, topic_id } | RemoveSpec::Segment { dir, topic_id, .. }) = &self.spec;
        if self.stage == 1 {
            return Step::Do(vec![ask_owner(dir)]);
        }
        if self.stage > 2 {
            let failed = first_error(&results).filter(|error: &IoError| !error.is_not_found());
            return Step::Done(failed.map_or(Ok(OwnOk::Done), Err));
        }
        let mine = match data(results.into_iter().next()) {
            Err(error) if !error.is_not_found() => return Step::Done(Err(error)),
            found => found.ok().and_then(|bytes| metadata_owner(&bytes)) == Some(*topic_id),
        };
        let ops = self.remove_ops(mine);
        if ops.is_empty() { Step::Done(Ok(OwnOk::Done)) } else { Step::Do(ops) }
    }

    fn remove_ops(&self, mine: bool) -> Vec<Op> {
        match &self.spec {
            RemoveSpec::Log { dir, topic_id } => {
                let to: Arc<str> = Arc::from(format!("{dir}.{topic_id}-delete"));
                let rename = Op::RenameDir { from: Arc::clone(dir), to: Arc::clone(&to) };
                let sync = Op::SyncDir { dir: Arc::from("") };
                let remove = Op::RemoveDir { dir: to };
                let unclaimed = Op::RemoveDir { dir: claimed_dir(dir, *topic_id) };
                let synced = sync.clone();
                if mine { vec![rename, sync, remove, synced] } else { vec![remove, unclaimed, synced] }
            }
            RemoveSpec::Segment { dir, base_offset, .. } if mine => {
                let file = |kind| FileId::Segment { dir: Arc::clone(dir), base_offset: *base_offset, kind };
                // Synced, or a power cut could bring back a file that nobody remembers.
                let sync = Op::SyncDir { dir: Arc::clone(dir) };
                SEGMENT_FILES.iter().map(|&kind| Op::Remove { file: file(kind) }).chain([sync]).collect()
            }
            RemoveSpec::Segment { .. } => Vec::new(),
        }
    }
}
