//! What entries mean for a log, each for itself.

use coretide_model::TopicId;
use coretide_stdx::aligned::AlignedBuf;

use super::*;
use crate::batch::{BatchHeader, patch};
use crate::store::format::{Chain, CommitWriter, HEADER_BYTES, read_entries};
use crate::store::tests::world::batch_of;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(1), partition }
}

/// One record in so many bytes.
fn batch(offset: i64, bytes: usize) -> Vec<u8> {
    let mut batch = batch_of(bytes).bytes().to_vec();
    patch(&mut batch, offset, 3);
    batch
}

fn summary(batch: &[u8]) -> BatchSummary {
    BatchSummary::of(&peek_header(batch).expect("it is whole"))
}

/// A commit, and what it makes of the logs when another one follows it.
fn apply(replay: &mut Replay, write: impl Fn(&mut CommitWriter)) {
    let (commit, entries) = commit(write);
    let entries = read_entries(&commit[HEADER_BYTES..], entries).expect("they are whole");
    replay.apply(&commit, &entries, &BTreeSet::new());
}

/// The same of the last commit of a journal.
fn apply_last(replay: &mut Replay, write: impl Fn(&mut CommitWriter)) -> Vec<Unproven> {
    let (commit, entries) = commit(write);
    let entries = read_entries(&commit[HEADER_BYTES..], entries).expect("they are whole");
    replay.apply_last(&commit, &entries)
}

fn commit(write: impl Fn(&mut CommitWriter)) -> (Bytes, u32) {
    let mut writer = CommitWriter::new(AlignedBuf::with_capacity(1 << 20));
    write(&mut writer);
    let (buffer, header) = writer.finish(Chain { journal_id: 1, seq: 1, previous_crc: 0 }, true);
    let end = HEADER_BYTES + header.payload_bytes as usize;
    (Bytes::copy_from_slice(&buffer.as_slice()[..end]), header.entries)
}

fn put(writer: &mut CommitWriter, tp: TopicPartition, segment: i64, position: u32, batch: &[u8]) {
    writer.data(tp, segment, position, batch.len());
    let header = peek_header(batch).expect("a header");
    writer.batch(batch, header.base_offset, header.leader_epoch);
}

/// A log with one batch of 4,096 bytes.
fn replay() -> Replay {
    let mut replay = Replay::default();
    apply(&mut replay, |writer| {
        writer.create(tp(0), "t-0", 0);
        put(writer, tp(0), 0, 0, &batch(0, 4096));
    });
    replay
}

fn runs(replay: &Replay) -> Vec<(i64, u32, usize)> {
    replay.logs[&tp(0)].runs.iter().map(|run| (run.segment, run.position, run.bytes.len())).collect()
}

#[test]
fn a_log_start_behind_a_segment_drops_it() {
    let mut replay = replay();
    apply(&mut replay, |writer| {
        put(writer, tp(0), 1, 0, &batch(1, 500));
        writer.log_start(tp(0), 1);
    });
    let bases: Vec<i64> = replay.logs[&tp(0)].segments.iter().map(|segment| segment.base_offset).collect();
    assert_eq!(bases, [1]);
    let spec = RemoveSpec::Segment { dir: Arc::from("t-0"), topic_id: TopicId(1), base_offset: 0 };
    assert_eq!(replay.garbage, [spec]);
}

#[test]
fn a_segment_without_batches_becomes_the_one_that_the_journal_goes_on_with() {
    let mut replay = Replay::default();
    apply(&mut replay, |writer| {
        writer.create(tp(0), "t-0", 0);
        put(writer, tp(0), 7, 0, &batch(7, 500));
    });
    let log = &replay.logs[&tp(0)];
    assert_eq!((log.segments.len(), log.open().base_offset, log.open().end), (1, 7, 500));
}

#[test]
fn a_batch_that_is_cut_off_makes_no_run() {
    let mut replay = replay();
    let whole = batch(1, 500);
    apply(&mut replay, |writer| {
        let at = writer.data(tp(0), 0, 4096, 499);
        assert!(at > 0);
        writer.batch(&whole[..499], 1, 3);
    });
    assert_eq!(runs(&replay), [(0, 0, 4096)]);
}

#[test]
fn of_a_large_write_only_the_batches_that_are_not_known_yet_are_noted() {
    for known in 0..3 {
        let mut replay = Replay::default();
        let batches: Vec<Vec<u8>> = (0..3).map(|offset| batch(offset, 4096)).collect();
        apply(&mut replay, |writer| {
            writer.create(tp(0), "t-0", 0);
            (0..known).for_each(|n| put(writer, tp(0), 0, n as u32 * 4096, &batches[n]));
        });
        let summaries: Vec<BatchSummary> = batches.iter().map(|batch| summary(batch)).collect();
        apply(&mut replay, |writer| writer.direct(tp(0), 0, (0, 3 * 4096), &summaries, &[]));
        let open = replay.logs[&tp(0)].open();
        assert_eq!((open.end, open.next_offset, open.destaged), (3 * 4096, 3, 3 * 4096), "{known} are known");
    }
}

#[test]
fn what_a_large_write_has_put_into_its_segment_is_not_held_in_memory() {
    let mut replay = replay();
    let next = summary(&batch(3, 600));
    apply(&mut replay, |writer| {
        put(writer, tp(0), 1, 0, &batch(1, 4096));
        put(writer, tp(0), 1, 4096, &batch(2, 300));
        writer.direct(tp(0), 1, (4396, 4096), &[next], &[0; 900]);
    });
    assert_eq!(runs(&replay), [(0, 0, 4096), (1, 4096, 300), (1, 4096, 900)]);
}

#[test]
fn appends_of_the_last_commit_wait_only_for_large_writes_of_their_own_log() {
    let mut replay = replay();
    let large = summary(&batch(1, 4096));
    let unproven = apply_last(&mut replay, |writer| {
        writer.direct(tp(0), 0, (4096, 8192), &[large], &[]);
        writer.create(tp(1), "t-1", 0);
        put(writer, tp(1), 0, 0, &batch(0, 500));
        put(writer, tp(0), 0, 8192, &batch(2, 500));
    });
    assert_eq!(unproven.len(), 1);
    assert_eq!(replay.logs[&tp(1)].open().end, 500, "it waits for nothing");
    assert_eq!(replay.logs[&tp(0)].open().end, 4096);
    replay.prove(&unproven[0], &batch(1, 4096));
    replay.apply_after_direct();
    assert_eq!(replay.logs[&tp(0)].open().end, 8692);
}

#[test]
fn behind_a_large_write_that_did_not_happen_nothing_happened() {
    let mut replay = replay();
    let summaries = [summary(&batch(1, 4096)), summary(&batch(2, 4096))];
    let mut unproven = apply_last(&mut replay, |writer| {
        writer.direct(tp(0), 0, (4096, 8192), &summaries[..1], &[]);
        writer.direct(tp(0), 0, (8192, 12_288), &summaries[1..], &[]);
    });
    let first = unproven.pop().expect("two");
    replay.prove(&first, &[0; 4096]);
    assert_eq!(replay.logs[&tp(0)].open().end, 4096);
    // The bytes are there, but what came before them is not.
    replay.prove(&first, &batch(1, 4096));
    assert_eq!(replay.logs[&tp(0)].open().end, 4096);
}

#[test]
fn a_log_whose_records_are_all_below_its_start_begins_a_new_segment_there() {
    for (log_start, bases) in [(0, vec![0]), (1, vec![1])] {
        let mut replay = replay();
        apply(&mut replay, |writer| writer.log_start(tp(0), log_start));
        replay.finish();
        let log = &replay.logs[&tp(0)];
        assert_eq!(log.segments.iter().map(|segment| segment.base_offset).collect::<Vec<_>>(), bases);
        assert_eq!((log.end_offset, log.committed_end, log.log_start), (1, 1, log_start));
    }
}

#[test]
fn after_a_replay_segments_have_the_space_that_is_written_and_what_is_new_is_to_be_told() {
    let mut replay = replay();
    let log = replay.logs.get_mut(&tp(0)).expect("it exists");
    (log.open_mut().allocated, log.open_mut().destaged) = (90_000, 4095);
    log.roll();
    log.segments[0].phase = Phase::Closed;
    (log.segments[0].allocated, log.segments[0].destaged) = (4096, 4000);
    (log.open_mut().allocated, log.open_mut().destaged) = (90_000, 8200);
    replay.finish();
    let log = replay.logs.get_mut(&tp(0)).expect("it exists");
    assert_eq!((log.segments[0].allocated, log.segments[1].allocated), (4096, 8192));
    assert!(log.aux_dirty, "a batch was replayed");
    log.replay.clear();
    replay.finish();
    assert!(!replay.logs[&tp(0)].aux_dirty);
}

#[test]
fn what_no_segment_has_is_pending() {
    let mut replay = replay();
    assert_eq!(replay.pending_bytes(), 4096);
    apply(&mut replay, |writer| {
        writer.create(tp(1), "t-1", 0);
        put(writer, tp(1), 0, 0, &batch(0, 500));
    });
    assert_eq!(replay.pending_bytes(), 4596);
    replay.logs.get_mut(&tp(0)).expect("it exists").open_mut().destaged = 4096;
    assert_eq!(replay.pending_bytes(), 500);
}

#[test]
fn batches_that_matter_are_those_of_producers_and_the_first_of_each_epoch() {
    let header = peek_header(&batch(0, 100)).expect("it is whole");
    let told = |batches: &[(i64, i64, i32)]| {
        let mut log = Log::new(tp(0), Arc::from("t-0"), 0);
        log.aux_end = 10;
        for &(base_offset, producer_id, leader_epoch) in batches {
            log.note_replayed(&BatchSummary::of(&BatchHeader { base_offset, producer_id, leader_epoch, ..header }));
        }
        log.replay.iter().map(|summary| summary.base_offset).collect::<Vec<_>>()
    };
    assert_eq!(told(&[(9, 7, 1), (10, -1, 1), (11, -1, 1), (12, 0, 1), (13, -1, 1), (14, -1, 2)]), [10, 12, 14]);
}
