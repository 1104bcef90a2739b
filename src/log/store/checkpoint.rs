//! The checkpoint: all that a restart needs of a shard's logs besides the segments and the journal's newest files. Two files
//! are written in turn; each is a header of 64 bytes (magic, format, length, CRC-32C, sequence) and an rkyv archive, which
//! is validated before it is read.
//! Must never touch: how recovery uses it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coretide_model::{TopicId, TopicPartition};
use rkyv::rancor::Error as RkyvError;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::api::{BatchSummary, CommitSeq, LogConfig};
use super::index::{IndexEntry, MaxTimestamp, SegmentIndex, TimeEntry};
use super::jobs::RemoveSpec;
use super::ring::ReplayFrom;
use super::segment::{Log, Phase, Run, Segment};

/// The newest format of checkpoint and journal that this broker knows.
pub const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"CTCHECKP";
const HEADER_BYTES: usize = 64;

/// What kind of checkpoint it is.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointMeta {
    /// The shard.
    pub shard: u16,
    /// Which start of the broker wrote it; see `boot`.
    pub generation: u64,
    /// Grows with every checkpoint of the shard.
    pub seq: u64,
    /// The journal that goes with it.
    pub journal_id: u64,
    /// The newest commit that was done: the next one may have been lost.
    pub committed: u64,
    /// Written at the end of a clean stop: no commit follows, none is to be replayed.
    pub clean: bool,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayImage {
    pub file: u32,
    pub seq: u64,
    pub previous_crc: u32,
}

impl From<ReplayFrom> for ReplayImage {
    fn from(from: ReplayFrom) -> ReplayImage {
        ReplayImage { file: from.file, seq: from.seq, previous_crc: from.previous_crc }
    }
}

/// A shard at one moment.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CheckpointImage {
    pub meta: CheckpointMeta,
    /// Where to begin in the journal; none when nothing was written to it yet, or nothing of it is needed.
    pub replay: Option<ReplayImage>,
    pub logs: Vec<LogImage>,
    pub garbage: Vec<GarbageImage>,
}

/// A log at that moment.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct LogImage {
    topic_id: [u8; 16],
    partition: i32,
    pub dir: String,
    pub log_start: i64,
    segment_bytes: u32,
    segment_ms: i64,
    segment_index_bytes: u32,
    index_interval_bytes: u32,
    file_delete_delay_ms: u64,
    segments: Vec<SegmentImage>,
    aux: Vec<u8>,
    aux_end: i64,
    replay: Vec<SummaryImage>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct SegmentImage {
    base_offset: i64,
    end: u32,
    next_offset: i64,
    index_bytes: u32,
    time_bytes: u32,
    flushed_position: u32,
    flushed_timestamp: i64,
    pending: Vec<EntryImage>,
    max_timestamp: i64,
    max_offset: i64,
    roll_timestamp: Option<i64>,
    created_ms: i64,
    destaged: u32,
    allocated: u32,
    created: bool,
    phase: u8,
    /// The bytes from `destaged` to `end`.
    tail: Vec<u8>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
struct EntryImage {
    relative_offset: u32,
    position: u32,
    time: Option<(i64, u32)>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
struct SummaryImage {
    base_offset: i64,
    last_offset: i64,
    leader_epoch: i32,
    attributes: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    max_timestamp: i64,
    size_bytes: u32,
}

/// Files that are to be removed.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct GarbageImage {
    dir: String,
    topic_id: [u8; 16],
    segment: Option<i64>,
}

impl GarbageImage {
    /// Of what is to be removed.
    pub fn of(spec: &RemoveSpec) -> GarbageImage {
        match spec {
            RemoveSpec::Log { dir, topic_id } => {
                GarbageImage { dir: dir.to_string(), topic_id: topic_id.to_bytes(), segment: None }
            }
            RemoveSpec::Segment { dir, topic_id, base_offset } => {
                GarbageImage { dir: dir.to_string(), topic_id: topic_id.to_bytes(), segment: Some(*base_offset) }
            }
        }
    }

    /// What is to be removed.
    pub fn spec(&self) -> RemoveSpec {
        let dir: Arc<str> = Arc::from(self.dir.as_str());
        let topic_id = TopicId::from_bytes(self.topic_id);
        match self.segment {
            None => RemoveSpec::Log { dir, topic_id },
            Some(base_offset) => RemoveSpec::Segment { dir, topic_id, base_offset },
        }
    }
}

impl SummaryImage {
    fn of(summary: &BatchSummary) -> SummaryImage {
        SummaryImage {
            base_offset: summary.base_offset,
            last_offset: summary.last_offset,
            leader_epoch: summary.leader_epoch,
            attributes: summary.attributes,
            producer_id: summary.producer_id,
            producer_epoch: summary.producer_epoch,
            base_sequence: summary.base_sequence,
            max_timestamp: summary.max_timestamp,
            size_bytes: summary.size_bytes,
        }
    }

    fn summary(self) -> BatchSummary {
        BatchSummary {
            base_offset: self.base_offset,
            last_offset: self.last_offset,
            leader_epoch: self.leader_epoch,
            attributes: self.attributes,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            max_timestamp: self.max_timestamp,
            size_bytes: self.size_bytes,
        }
    }
}

fn segment_image(segment: &Segment, phase: Phase, tail: Vec<u8>) -> SegmentImage {
    let index = &segment.index;
    let entry = |entry: &IndexEntry| EntryImage {
        relative_offset: entry.relative_offset,
        position: entry.position,
        time: entry.time.map(|time| (time.timestamp, time.relative_offset)),
    };
    SegmentImage {
        base_offset: segment.base_offset,
        end: segment.end,
        next_offset: segment.next_offset,
        index_bytes: index.index_bytes,
        time_bytes: index.time_bytes,
        flushed_position: index.flushed_position,
        flushed_timestamp: index.flushed_timestamp,
        pending: index.pending.iter().map(entry).collect(),
        max_timestamp: index.max.timestamp,
        max_offset: index.max.offset,
        roll_timestamp: segment.roll_timestamp,
        created_ms: segment.created_ms,
        destaged: segment.destaged,
        allocated: segment.allocated,
        created: segment.created,
        phase: match phase {
            Phase::Open => 0,
            Phase::Closing => 1,
            Phase::Closed => 2,
        },
        tail,
    }
}

fn segment_of(image: &SegmentImage) -> Segment {
    let entry = |entry: &EntryImage| IndexEntry {
        relative_offset: entry.relative_offset,
        position: entry.position,
        time: entry.time.map(|(timestamp, relative_offset)| TimeEntry { timestamp, relative_offset }),
    };
    Segment {
        base_offset: image.base_offset,
        end: image.end,
        next_offset: image.next_offset,
        index: SegmentIndex {
            index_bytes: image.index_bytes,
            time_bytes: image.time_bytes,
            flushed_position: image.flushed_position,
            flushed_timestamp: image.flushed_timestamp,
            pending: image.pending.iter().map(entry).collect(),
            max: MaxTimestamp { timestamp: image.max_timestamp, offset: image.max_offset },
        },
        roll_timestamp: image.roll_timestamp,
        created_ms: image.created_ms,
        destaged: image.destaged,
        allocated: image.allocated,
        created: image.created,
        phase: match image.phase {
            0 => Phase::Open,
            1 => Phase::Closing,
            _ => Phase::Closed,
        },
    }
}

/// A log as of `committed`, or of an earlier moment from which on the journal is replayed for it.
pub fn image_of(log: &Log, committed: CommitSeq) -> LogImage {
    let cut_at = log.checkpoint_cut(committed);
    let cut = log.runs.get(cut_at);
    let mut segments = Vec::with_capacity(log.segments.len());
    for segment in &log.segments {
        if cut.is_some_and(|run| run.segment < segment.base_offset) {
            break;
        }
        let mut tail = Vec::new();
        if segment.phase != Phase::Closed {
            let first = log.first_undestaged(segment);
            let count = cut_at.saturating_sub(first);
            for run in log.undestaged(segment, CommitSeq::MAX).take(count) {
                tail.extend_from_slice(&run.bytes[segment.destaged.saturating_sub(run.position) as usize..]);
            }
        }
        match cut.filter(|run| run.segment == segment.base_offset) {
            None => segments.push(segment_image(segment, segment.phase, tail)),
            Some(run) => segments.push(segment_image(&segment_before(segment, run), Phase::Open, tail)),
        }
    }
    let config = log.config;
    LogImage {
        topic_id: log.tp.topic_id.to_bytes(),
        partition: log.tp.partition,
        dir: log.dir.to_string(),
        log_start: log.log_start,
        segment_bytes: config.segment_bytes,
        segment_ms: config.segment_ms,
        segment_index_bytes: config.segment_index_bytes,
        index_interval_bytes: config.index_interval_bytes,
        file_delete_delay_ms: config.file_delete_delay_ms,
        segments,
        aux: log.aux.to_vec(),
        aux_end: log.aux_end,
        replay: log.replay.iter().map(SummaryImage::of).collect(),
    }
}

/// The segment as it was before a run.
fn segment_before(segment: &Segment, run: &Run) -> Segment {
    let mut then = segment.clone();
    then.end = run.position;
    then.next_offset = run.first_offset;
    then.index = segment.index.as_of(run.position, run.before);
    if run.position == 0 {
        then.roll_timestamp = None;
        then.next_offset = segment.base_offset;
    }
    then
}

impl LogImage {
    /// Whose log it is.
    pub fn tp(&self) -> TopicPartition {
        TopicPartition { topic_id: TopicId::from_bytes(self.topic_id), partition: self.partition }
    }

    /// The log; none if the image makes no sense, which its checksum rules out.
    pub fn log(&self) -> Option<Log> {
        let mut log = Log::new(self.tp(), Arc::from(self.dir.as_str()), self.log_start);
        log.config = LogConfig {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            segment_index_bytes: self.segment_index_bytes,
            index_interval_bytes: self.index_interval_bytes,
            file_delete_delay_ms: self.file_delete_delay_ms,
        };
        log.segments = self.segments.iter().map(segment_of).collect();
        if log.segments.back()?.phase != Phase::Open {
            return None;
        }
        for image in self.segments.iter().filter(|image| !image.tail.is_empty()) {
            if image.destaged as usize + image.tail.len() != image.end as usize {
                return None;
            }
            log.runs.push_back(Run {
                segment: image.base_offset,
                position: image.destaged,
                first_offset: if image.destaged == 0 { image.base_offset } else { image.next_offset },
                next_offset: image.next_offset,
                bytes: Bytes::copy_from_slice(&image.tail),
                commit: 0,
                before: MaxTimestamp::NONE,
                whole: image.destaged == 0,
            });
        }
        log.end_offset = log.open().next_offset;
        log.committed_end = log.end_offset;
        log.announced = true;
        log.aux = Bytes::copy_from_slice(&self.aux);
        log.aux_end = self.aux_end;
        log.replay = self.replay.iter().map(|summary| summary.summary()).collect();
        Some(log)
    }
}

/// What a file of a checkpoint slot holds.
#[derive(Debug)]
pub enum Decoded {
    /// A checkpoint.
    Good(Box<CheckpointImage>),
    /// Nothing whole.
    Bad,
    /// Something of a newer format.
    Newer(u32),
}

impl CheckpointImage {
    /// The file's bytes.
    pub fn encode(&self) -> Bytes {
        let archive: AlignedVec = rkyv::to_bytes::<RkyvError>(self).expect("plain data always serialises");
        encode_file(MAGIC, self.meta.seq, &archive)
    }

    /// Reads a file's bytes.
    pub fn decode(bytes: &[u8]) -> Decoded {
        let payload = match decode_file(MAGIC, bytes) {
            Ok((_, payload)) => payload,
            Err(None) => return Decoded::Bad,
            Err(Some(newer)) => return Decoded::Newer(newer),
        };
        let mut aligned: AlignedVec = AlignedVec::with_capacity(payload.len());
        aligned.extend_from_slice(payload);
        match rkyv::from_bytes::<CheckpointImage, RkyvError>(&aligned) {
            Ok(image) => Decoded::Good(Box::new(image)),
            Err(_) => Decoded::Bad,
        }
    }
}

/// A file of our own: header and payload.
pub fn encode_file(magic: [u8; 8], seq: u64, payload: &[u8]) -> Bytes {
    let mut head = [0u8; HEADER_BYTES];
    head[..8].copy_from_slice(&magic);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[16..24].copy_from_slice(&seq.to_le_bytes());
    head[24..32].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    head[32..36].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = crc32c::crc32c(&head[..60]);
    head[60..].copy_from_slice(&crc.to_le_bytes());
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.freeze()
}

/// The sequence and the payload of a file of our own; an error of none when it is not whole, of the format when that is newer.
pub fn decode_file(magic: [u8; 8], bytes: &[u8]) -> Result<(u64, &[u8]), Option<u32>> {
    let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(None)?;
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| head[at + n]));
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| head[at + n]));
    if head[..8] != magic || u32_at(60) != crc32c::crc32c(&head[..60]) {
        return Err(None);
    }
    if u32_at(8) > FORMAT {
        return Err(Some(u32_at(8)));
    }
    let end = usize::try_from(u64_at(24)).ok().and_then(|len| len.checked_add(HEADER_BYTES)).ok_or(None)?;
    let payload = bytes.get(HEADER_BYTES..end).ok_or(None)?;
    if crc32c::crc32c(payload) == u32_at(32) { Ok((u64_at(16), payload)) } else { Err(None) }
}
