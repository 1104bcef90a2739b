//! The bytes on disk: what is written is read back, and nothing else is taken for it.

use bytes::Bytes;
use coretide_model::{TopicId, TopicPartition};
use coretide_stdx::aligned::AlignedBuf;
use proptest::prelude::*;

use crate::store::BatchSummary;
use crate::store::checkpoint::{CheckpointImage, CheckpointMeta, Decoded, ReplayImage, image_of};
use crate::store::format::{Body, Chain, CommitWriter, read_commit, read_entries};
use crate::store::index::{IndexEntry, MaxTimestamp, SegmentIndex, TimeEntry, read_entry, read_time};
use crate::store::segment::{Log, Run};

const CHAIN: Chain = Chain { journal_id: 7, seq: 3, previous_crc: 99 };

fn tp(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(topic), partition }
}

fn summary(base_offset: i64, size_bytes: u32) -> BatchSummary {
    BatchSummary {
        base_offset,
        last_offset: base_offset + 4,
        leader_epoch: 5,
        attributes: 0x10,
        producer_id: 77,
        producer_epoch: 3,
        base_sequence: 21,
        max_timestamp: 1_700_000_000_000,
        size_bytes,
    }
}

fn commit(tail: &[u8]) -> Vec<u8> {
    let mut writer = CommitWriter::new(AlignedBuf::with_capacity(64 << 10));
    writer.create(tp(1, 0), "words-0", 12);
    writer.direct(tp(2, 9), 100, (4000, 8192), &[summary(100, 4000), summary(105, 192)], tail);
    writer.log_start(tp(3, 1), 44);
    writer.finish(CHAIN, true).0.as_slice().to_vec()
}

#[test]
fn a_commit_is_read_back() {
    let mut writer = CommitWriter::new(AlignedBuf::with_capacity(64 << 10));
    writer.create(tp(1, 0), "words-0", 12);
    let at = writer.data(tp(1, 0), 12, 400, 100);
    writer.batch(&[1; 100], 12, 6);
    writer.direct(tp(2, 9), 100, (4000, 8192), &[summary(100, 4000), summary(105, 192)], b"tail");
    writer.log_start(tp(3, 1), 44);
    writer.cut(tp(2, 9), 100, 4000);
    writer.delete(tp(4, 2));
    let (buffer, header) = writer.finish(CHAIN, true);
    assert_eq!(buffer.len() as u64, header.total_bytes());
    let (read, payload) = read_commit(buffer.as_slice(), CHAIN).expect("the commit is whole");
    assert_eq!(read, header);
    let entries = read_entries(payload, read.entries).expect("the entries are whole");
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[0].body, Body::Create { dir: "words-0", start_offset: 12 });
    let Body::Data { segment, position, batches, at: read_at } = entries[1].body else { panic!("data comes second") };
    assert_eq!((segment, position, batches.len(), read_at), (12, 400, 100, at));
    assert_eq!(&batches[..8], 12i64.to_be_bytes());
    assert_eq!(&buffer.as_slice()[at..at + 100], batches);
    let Body::Direct(direct) = entries[2].body else { panic!("direct comes third") };
    assert_eq!((direct.end, direct.block_end, direct.tail), (8196, 8192, &b"tail"[..]));
    assert_eq!(direct.summaries().collect::<Vec<_>>(), [summary(100, 4000), summary(105, 192)]);
    assert_eq!(&buffer.as_slice()[direct.tail_at..direct.tail_at + 4], b"tail");
    assert_eq!(entries[3].body, Body::LogStart { offset: 44 });
    assert_eq!(entries[4].body, Body::Cut { segment: 100, position: 4000 });
    assert_eq!((entries[5].tp, entries[5].body), (tp(4, 2), Body::Delete));
}

#[test]
fn a_stale_commit_of_a_recycled_block_is_refused() {
    let bytes = commit(b"x");
    assert!(read_commit(&bytes, CHAIN).is_some());
    assert!(read_commit(&bytes, Chain { journal_id: 8, ..CHAIN }).is_none());
    assert!(read_commit(&bytes, Chain { seq: 4, ..CHAIN }).is_none());
    assert!(read_commit(&bytes, Chain { previous_crc: 98, ..CHAIN }).is_none());
}

proptest! {
    #[test]
    fn a_damaged_commit_is_refused(at in 0usize..500, flip in 1u8..=255, cut in 0usize..600) {
        let bytes = commit(&[5; 100]);
        let (header, payload) = read_commit(&bytes, CHAIN).expect("whole");
        let used = 64 + payload.len();
        prop_assert!(header.payload_bytes as usize == payload.len());
        let mut damaged = bytes.clone();
        damaged[at % used] ^= flip;
        prop_assert!(read_commit(&damaged, CHAIN).is_none());
        prop_assert!(read_commit(&bytes[..cut % used], CHAIN).is_none());
    }

    #[test]
    fn any_payload_is_read_without_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..600), count in 0u32..20) {
        let _ = read_entries(&payload, count);
    }

    #[test]
    fn any_file_is_no_checkpoint(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(matches!(CheckpointImage::decode(&bytes), Decoded::Bad));
    }
}

#[test]
fn index_entries_have_kafkas_bytes() {
    let mut index = SegmentIndex::default();
    index.note_batch(100, 0, 104, 50, 1000);
    index.note_batch(100, 900, 109, 70, 1000);
    index.note_batch(100, 1001, 114, 60, 1000);
    index.note_batch(100, 2001, 119, 60, 1000);
    index.note_batch(100, 2002, 124, 90, 1000);
    let time = TimeEntry { timestamp: 70, relative_offset: 9 };
    let second = TimeEntry { timestamp: 90, relative_offset: 24 };
    assert_eq!(
        index.pending,
        [
            IndexEntry { relative_offset: 14, position: 1001, time: Some(time) },
            IndexEntry { relative_offset: 24, position: 2002, time: Some(second) },
        ]
    );
    let (entries, times, count) = index.encode_pending(2002);
    assert_eq!((count, read_entry(&entries), read_time(&times)), (1, Some((14, 1001)), Some(time)));
    assert_eq!(entries, [0, 0, 0, 14, 0, 0, 3, 233]);
    index.flushed(1);
    assert_eq!((index.index_bytes, index.time_bytes, index.flushed_position), (8, 12, 1001));
    assert_eq!(index.next_time_entry(100), None, "the newest entry has the largest timestamp");
}

#[test]
fn a_checkpoint_is_read_back_and_a_flipped_bit_is_seen() {
    let mut log = Log::new(tp(5, 3), "words-3".into(), 10);
    let batch = summary(10, 300);
    let config = log.config;
    log.open_mut().note_batch(&config, &batch, 1);
    log.aux = Bytes::from_static(b"opaque");
    log.replay.push(batch);
    log.push_run(Run {
        segment: 10,
        position: 0,
        first_offset: 10,
        next_offset: 15,
        bytes: Bytes::from(vec![3; 300]),
        commit: 2,
        before: MaxTimestamp::NONE,
        whole: true,
    });
    let image = CheckpointImage {
        meta: CheckpointMeta { shard: 1, generation: 2, seq: 3, journal_id: 4, committed: 5, clean: false },
        replay: Some(ReplayImage { file: 1, seq: 2, previous_crc: 3 }),
        logs: vec![image_of(&log, 2)],
        garbage: Vec::new(),
    };
    let bytes = image.encode();
    let Decoded::Good(read) = CheckpointImage::decode(&bytes) else { panic!("the checkpoint is whole") };
    assert_eq!(*read, image);
    let restored = read.logs[0].log().expect("the log makes sense");
    assert_eq!((restored.tp, restored.end_offset, restored.aux.clone()), (log.tp, 15, log.aux.clone()));
    assert_eq!((restored.runs[0].bytes.clone(), &restored.replay), (log.runs[0].bytes.clone(), &log.replay));
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        assert!(!matches!(CheckpointImage::decode(&damaged), Decoded::Good(_)), "byte {at}");
    }
    // As of the commit before, the log has nothing yet.
    let before = image_of(&log, 1).log().expect("the log makes sense");
    assert_eq!((before.end_offset, before.runs.len(), before.open().end), (10, 0, 0));
}
