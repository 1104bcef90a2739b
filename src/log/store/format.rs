//! The journal's format. A commit is one aligned write: a header of 64 bytes, entries, zeros up to a whole block. All
//! numbers are little endian; positions are below 2 GiB because Kafka's segments are.
//!
//! ```text
//! header  0 magic "CTJOURNL"   8 version u16, flags u16  12 entries u32   16 journal id u64   24 commit seq u64
//!        32 payload bytes u32 36 payload CRC-32C        40 CRC of the header before          44 zeros   60 own CRC
//! entry   0 kind u8, zeros     4 partition i32            8 topic id [16]   24 segment base (or an offset) i64
//!        32 position u32      36 body bytes u32          40 body
//! ```
//!
//! Why a stale commit cannot pass: its journal id, sequence number or predecessor differs. Why a torn one cannot: the header
//! holds the payload's checksum. Flag 1: all commits before this one were on stable storage when it was written, so that a
//! hole before it is damage and no crash. A commit starts on a fresh block, so no durable block is ever written again.
//! Must never touch: where commits lie.

use coretide_model::{TopicId, TopicPartition};
use coretide_stdx::aligned::{AlignedBuf, blocks_up};

use super::api::BatchSummary;

/// The size of a commit's header.
pub const HEADER_BYTES: usize = 64;
/// The size of an entry without its body.
pub const ENTRY_BYTES: usize = 40;
/// The size of one batch summary in a direct entry.
pub const SUMMARY_BYTES: usize = 56;
/// The fixed part of a direct entry's body.
pub const DIRECT_HEAD_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"CTJOURNL";
const VERSION: u16 = 1;
const AT_HEADER_CRC: usize = 60;
const FLAG_ALL_BEFORE_DURABLE: u16 = 1;

const KIND_CREATE: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_DIRECT: u8 = 3;
const KIND_LOG_START: u8 = 4;
const KIND_CUT: u8 = 5;
const KIND_DELETE: u8 = 6;

/// A commit's place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The journal's id, new with every start of the broker.
    pub journal_id: u64,
    /// The commit's number.
    pub seq: u64,
    /// The header CRC of the commit before; 0 for a journal's first.
    pub previous_crc: u32,
}

/// A commit's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// Its place.
    pub chain: Chain,
    /// The number of entries.
    pub entries: u32,
    /// Bytes of entries.
    pub payload_bytes: u32,
    /// Their checksum.
    pub payload_crc: u32,
    /// All commits before it were on stable storage when it was written.
    pub all_before_durable: bool,
    /// The header's own checksum.
    pub crc: u32,
}

impl CommitHeader {
    /// The bytes that the commit takes in the file.
    pub fn total_bytes(&self) -> u64 {
        blocks_up(HEADER_BYTES + self.payload_bytes as usize) as u64
    }

    /// The chain's next place.
    pub fn next(&self) -> Chain {
        Chain { journal_id: self.chain.journal_id, seq: self.chain.seq + 1, previous_crc: self.crc }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has the length asked for")
}

/// Reads a header; none if there is no whole one with a good checksum.
pub fn read_header(bytes: &[u8]) -> Option<CommitHeader> {
    let head = bytes.get(..HEADER_BYTES)?;
    let crc = u32::from_le_bytes(field(head, AT_HEADER_CRC));
    let known = head[..8] == MAGIC && u16::from_le_bytes(field(head, 8)) == VERSION;
    if !known || crc != crc32c::crc32c(&head[..AT_HEADER_CRC]) {
        return None;
    }
    Some(CommitHeader {
        chain: Chain {
            journal_id: u64::from_le_bytes(field(head, 16)),
            seq: u64::from_le_bytes(field(head, 24)),
            previous_crc: u32::from_le_bytes(field(head, 40)),
        },
        entries: u32::from_le_bytes(field(head, 12)),
        payload_bytes: u32::from_le_bytes(field(head, 32)),
        payload_crc: u32::from_le_bytes(field(head, 36)),
        all_before_durable: u16::from_le_bytes(field(head, 10)) & FLAG_ALL_BEFORE_DURABLE != 0,
        crc,
    })
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The log exists, in this folder, from this offset on.
    Create {
        /// The folder.
        dir: &'a str,
        /// The first offset.
        start_offset: i64,
    },
    /// Batches in a row.
    Data {
        /// The segment.
        segment: i64,
        /// Where the first batch begins in it.
        position: u32,
        /// The batches. `at` is where they lie in the commit.
        batches: &'a [u8],
        /// Where they lie in the commit, from its first byte.
        at: usize,
    },
    /// Batches that were written to the segment itself.
    Direct(DirectEntry<'a>),
    /// The log starts here now.
    LogStart {
        /// The offset.
        offset: i64,
    },
    /// A direct write failed: the log ends here, and takes nothing more in this journal.
    Cut {
        /// The segment.
        segment: i64,
        /// Its end.
        position: u32,
    },
    /// The log is deleted.
    Delete,
}

/// Batches that went straight to their segment, but for the bytes behind the last whole block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectEntry<'a> {
    /// The segment.
    pub segment: i64,
    /// Where the first of the batches begins.
    pub position: u32,
    /// Where the last of them ends.
    pub end: u32,
    /// The last block border before `end`: the segment is good up to here.
    pub block_end: u32,
    summaries: &'a [u8],
    /// The bytes from `block_end` to `end`.
    pub tail: &'a [u8],
    /// Where the tail lies in the commit, from its first byte.
    pub tail_at: usize,
}

impl DirectEntry<'_> {
    /// The batches, in order.
    pub fn summaries(&self) -> impl Iterator<Item = BatchSummary> {
        self.summaries.chunks_exact(SUMMARY_BYTES).map(read_summary)
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The log.
    pub tp: TopicPartition,
    /// What it says.
    pub body: Body<'a>,
}

fn read_summary(bytes: &[u8]) -> BatchSummary {
    BatchSummary {
        base_offset: i64::from_le_bytes(field(bytes, 0)),
        last_offset: i64::from_le_bytes(field(bytes, 8)),
        max_timestamp: i64::from_le_bytes(field(bytes, 16)),
        producer_id: i64::from_le_bytes(field(bytes, 24)),
        leader_epoch: i32::from_le_bytes(field(bytes, 32)),
        base_sequence: i32::from_le_bytes(field(bytes, 36)),
        size_bytes: u32::from_le_bytes(field(bytes, 40)),
        attributes: i16::from_le_bytes(field(bytes, 44)),
        producer_epoch: i16::from_le_bytes(field(bytes, 46)),
    }
}

fn put_summary(out: &mut AlignedBuf, summary: &BatchSummary) {
    let mut bytes = [0u8; SUMMARY_BYTES];
    bytes[..8].copy_from_slice(&summary.base_offset.to_le_bytes());
    bytes[8..16].copy_from_slice(&summary.last_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&summary.max_timestamp.to_le_bytes());
    bytes[24..32].copy_from_slice(&summary.producer_id.to_le_bytes());
    bytes[32..36].copy_from_slice(&summary.leader_epoch.to_le_bytes());
    bytes[36..40].copy_from_slice(&summary.base_sequence.to_le_bytes());
    bytes[40..44].copy_from_slice(&summary.size_bytes.to_le_bytes());
    bytes[44..46].copy_from_slice(&summary.attributes.to_le_bytes());
    bytes[46..48].copy_from_slice(&summary.producer_epoch.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Reads the entries of a payload whose checksum is good. Yields none for the first entry that makes no sense (which a
/// good checksum rules out, unless another version wrote it).
pub fn read_entries(payload: &[u8], count: u32) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::with_capacity((count as usize).min(payload.len() / ENTRY_BYTES));
    let mut at = 0;
    for _ in 0..count {
        let (entry, next) = read_entry(payload, at)?;
        entries.push(entry);
        at = next;
    }
    (at == payload.len()).then_some(entries)
}

fn read_entry(payload: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let head = payload.get(at..at + ENTRY_BYTES)?;
    let tp =
        TopicPartition { topic_id: TopicId::from_bytes(field(head, 8)), partition: i32::from_le_bytes(field(head, 4)) };
    let number = i64::from_le_bytes(field(head, 24));
    let position = u32::from_le_bytes(field(head, 32));
    let body_bytes = u32::from_le_bytes(field(head, 36)) as usize;
    let from = at + ENTRY_BYTES;
    let next = from.checked_add(body_bytes)?;
    let bytes = payload.get(from..next)?;
    let body = match head[0] {
        KIND_CREATE => Body::Create { dir: std::str::from_utf8(bytes).ok()?, start_offset: number },
        KIND_DATA => Body::Data { segment: number, position, batches: bytes, at: HEADER_BYTES + from },
        KIND_DIRECT => Body::Direct(read_direct(number, position, bytes, HEADER_BYTES + from)?),
        KIND_LOG_START => Body::LogStart { offset: number },
        KIND_CUT => Body::Cut { segment: number, position },
        KIND_DELETE => Body::Delete,
        _ => return None,
    };
    Some((Entry { tp, body }, next))
}

fn read_direct(segment: i64, position: u32, bytes: &[u8], at: usize) -> Option<DirectEntry<'_>> {
    let head = bytes.get(..DIRECT_HEAD_BYTES)?;
    let end = u32::from_le_bytes(field(head, 0));
    let block_end = u32::from_le_bytes(field(head, 4));
    let count = u32::from_le_bytes(field(head, 8)) as usize;
    let summaries_end = DIRECT_HEAD_BYTES.checked_add(count.checked_mul(SUMMARY_BYTES)?)?;
    let summaries = bytes.get(DIRECT_HEAD_BYTES..summaries_end)?;
    let tail = &bytes[summaries_end..];
    let fits = block_end <= end && (end - block_end) as usize == tail.len() && position <= end;
    fits.then_some(DirectEntry { segment, position, end, block_end, summaries, tail, tail_at: at + summaries_end })
}

/// Writes one commit into a buffer that was taken large enough.
pub struct CommitWriter {
    buffer: AlignedBuf,
    entries: u32,
}

impl CommitWriter {
    /// Begins a commit in an empty buffer.
    pub fn new(mut buffer: AlignedBuf) -> CommitWriter {
        assert!(buffer.is_empty(), "a commit begins in an empty buffer");
        buffer.zero_to(HEADER_BYTES);
        CommitWriter { buffer, entries: 0 }
    }

    fn head(&mut self, kind: u8, tp: TopicPartition, number: i64, position: u32, body_bytes: usize) {
        let mut head = [0u8; ENTRY_BYTES];
        head[0] = kind;
        head[4..8].copy_from_slice(&tp.partition.to_le_bytes());
        head[8..24].copy_from_slice(&tp.topic_id.to_bytes());
        head[24..32].copy_from_slice(&number.to_le_bytes());
        head[32..36].copy_from_slice(&position.to_le_bytes());
        head[36..40].copy_from_slice(&(body_bytes as u32).to_le_bytes());
        self.buffer.extend_from_slice(&head);
        self.entries += 1;
    }

    /// The log exists.
    pub fn create(&mut self, tp: TopicPartition, dir: &str, start_offset: i64) {
        self.head(KIND_CREATE, tp, start_offset, 0, dir.len());
        self.buffer.extend_from_slice(dir.as_bytes());
    }

    /// The log starts at `offset`.
    pub fn log_start(&mut self, tp: TopicPartition, offset: i64) {
        self.head(KIND_LOG_START, tp, offset, 0, 0);
    }

    /// The log was cut.
    pub fn cut(&mut self, tp: TopicPartition, segment: i64, position: u32) {
        self.head(KIND_CUT, tp, segment, position, 0);
    }

    /// The log is gone.
    pub fn delete(&mut self, tp: TopicPartition) {
        self.head(KIND_DELETE, tp, 0, 0, 0);
    }

    /// Begins batches in a row; exactly `bytes` of them must follow by [`CommitWriter::batch`]. Returns where they begin
    /// in the buffer.
    pub fn data(&mut self, tp: TopicPartition, segment: i64, position: u32, bytes: usize) -> usize {
        self.head(KIND_DATA, tp, segment, position, bytes);
        self.buffer.len()
    }

    /// One batch, with its final base offset and epoch: the one copy of an append.
    pub fn batch(&mut self, bytes: &[u8], base_offset: i64, leader_epoch: i32) {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        crate::batch::patch(&mut self.buffer.as_mut_slice()[at..], base_offset, leader_epoch);
    }

    /// Batches that went to the segment up to `block_end`; `tail` are the bytes behind it.
    pub fn direct(
        &mut self,
        tp: TopicPartition,
        segment: i64,
        (position, block_end): (u32, u32),
        summaries: &[BatchSummary],
        tail: &[u8],
    ) {
        let body_bytes = DIRECT_HEAD_BYTES + summaries.len() * SUMMARY_BYTES + tail.len();
        self.head(KIND_DIRECT, tp, segment, position, body_bytes);
        let mut head = [0u8; DIRECT_HEAD_BYTES];
        head[..4].copy_from_slice(&(block_end + tail.len() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&block_end.to_le_bytes());
        head[8..12].copy_from_slice(&(summaries.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&head);
        for summary in summaries {
            put_summary(&mut self.buffer, summary);
        }
        self.buffer.extend_from_slice(tail);
    }

    /// Pads, seals and returns the buffer and its header. `all_before_durable`: so are the commits before it.
    pub fn finish(mut self, chain: Chain, all_before_durable: bool) -> (AlignedBuf, CommitHeader) {
        let payload_bytes = (self.buffer.len() - HEADER_BYTES) as u32;
        let payload_crc = crc32c::crc32c(&self.buffer.as_slice()[HEADER_BYTES..]);
        let mut head = [0u8; HEADER_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        head[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let flags = if all_before_durable { FLAG_ALL_BEFORE_DURABLE } else { 0 };
        head[10..12].copy_from_slice(&flags.to_le_bytes());
        head[12..16].copy_from_slice(&self.entries.to_le_bytes());
        head[16..24].copy_from_slice(&chain.journal_id.to_le_bytes());
        head[24..32].copy_from_slice(&chain.seq.to_le_bytes());
        head[32..36].copy_from_slice(&payload_bytes.to_le_bytes());
        head[36..40].copy_from_slice(&payload_crc.to_le_bytes());
        head[40..44].copy_from_slice(&chain.previous_crc.to_le_bytes());
        let crc = crc32c::crc32c(&head[..AT_HEADER_CRC]);
        head[AT_HEADER_CRC..].copy_from_slice(&crc.to_le_bytes());
        self.buffer.as_mut_slice()[..HEADER_BYTES].copy_from_slice(&head);
        self.buffer.pad_to_block();
        let header = CommitHeader { chain, entries: self.entries, payload_bytes, payload_crc, all_before_durable, crc };
        (self.buffer, header)
    }
}

/// Reads the whole commit at the front of `bytes` if it is the one that the chain demands: its header and its payload
/// without padding.
pub fn read_commit(bytes: &[u8], expected: Chain) -> Option<(CommitHeader, &[u8])> {
    let header = read_header(bytes)?;
    if header.chain != expected {
        return None;
    }
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(header.payload_bytes as usize)?)?;
    (crc32c::crc32c(payload) == header.payload_crc).then_some((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: Chain = Chain { journal_id: 7, seq: 3, previous_crc: 99 };

    #[test]
    fn a_header_of_another_version_or_kind_is_none_of_ours() {
        for at in [0, 8] {
            let (buffer, _) = CommitWriter::new(AlignedBuf::with_capacity(8192)).finish(CHAIN, false);
            let mut head = buffer.as_slice()[..HEADER_BYTES].to_vec();
            assert!(read_header(&head).is_some());
            head[at] ^= 1;
            let crc = crc32c::crc32c(&head[..AT_HEADER_CRC]);
            head[AT_HEADER_CRC..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(read_header(&head), None);
        }
    }

    #[test]
    fn a_header_says_whether_all_before_it_is_durable() {
        for durable in [false, true] {
            let (buffer, header) = CommitWriter::new(AlignedBuf::with_capacity(8192)).finish(CHAIN, durable);
            assert_eq!(header.all_before_durable, durable);
            assert_eq!(read_header(buffer.as_slice()), Some(header));
        }
    }

    #[test]
    fn a_large_write_s_entry_has_to_fit_itself() {
        let read = |position: u32, change: fn(&mut [u8])| {
            let mut writer = CommitWriter::new(AlignedBuf::with_capacity(8192));
            let tp = TopicPartition { topic_id: TopicId(1), partition: 0 };
            writer.direct(tp, 0, (position, 8192), &[], b"tail");
            let (buffer, header) = writer.finish(CHAIN, true);
            let mut payload = buffer.as_slice()[HEADER_BYTES..][..header.payload_bytes as usize].to_vec();
            change(&mut payload[ENTRY_BYTES..]);
            read_entries(&payload, 1).is_some()
        };
        assert!(read(8196, |_| {}));
        assert!(!read(8197, |_| {}), "it begins behind its end");
        assert!(!read(0, |body| body[0] += 1), "its tail is too short");
        assert!(!read(0, |body| body[5] += 1), "its blocks end behind it");
    }
}
