//! A log's runs and segments, put together by hand.

use super::*;
use coretide_model::TopicId;

fn run(segment: i64, position: u32, len: usize, commit: CommitSeq, whole: bool) -> Run {
    let offset = i64::from(position);
    Run {
        segment,
        position,
        first_offset: offset,
        next_offset: offset + len as i64,
        bytes: Bytes::from(vec![position as u8; len]),
        commit,
        before: MaxTimestamp::NONE,
        whole,
    }
}

/// A log whose open segment has these runs, one byte per offset.
fn log(runs: Vec<Run>) -> Log {
    let tp = TopicPartition { topic_id: TopicId(1), partition: 0 };
    let mut log = Log::new(tp, Arc::from("t-0"), 0);
    for run in runs {
        let open = log.open_mut();
        (open.end, open.next_offset) = (run.end(), run.next_offset);
        log.push_run(run);
    }
    log
}

#[test]
fn a_run_that_loses_nothing_stays_whole() {
    let mut whole = run(0, 100, 50, 1, true);
    whole.keep_from(100);
    assert!(whole.whole && whole.bytes.len() == 50);
    whole.keep_from(101);
    assert_eq!((whole.whole, whole.position, whole.bytes.len()), (false, 101, 49));
}

#[test]
fn a_segment_is_written_to_where_the_last_direct_write_ends_while_there_is_one() {
    let mut log = log(vec![run(0, 0, 300, 1, true)]);
    (log.direct_end, log.open_mut().destaged) = (200, 100);
    assert_eq!(log.written_to(), 100);
    log.directs = 1;
    assert_eq!(log.written_to(), 200);
}

#[test]
fn a_log_has_to_be_destaged_for_a_block_or_a_rolled_segment_or_many_index_entries() {
    let mut log = log(vec![run(0, 0, 300, 1, true)]);
    assert!(!log.has_destage_work(1));
    let entry = super::super::index::IndexEntry { relative_offset: 0, position: 0, time: None };
    log.open_mut().index.pending = vec![entry; INDEX_PENDING_MAX - 1];
    assert!(!log.has_destage_work(1));
    log.open_mut().index.pending.push(entry);
    assert!(log.has_destage_work(1));
    log.open_mut().index.pending.clear();
    log.roll();
    assert!(log.has_destage_work(1));
    log.segments[0].phase = Phase::Open;
    log.segments[0].end = 4396;
    log.push_run(run(0, 300, 4096, 2, true));
    assert!(!log.has_destage_work(1) && log.has_destage_work(2), "a block, once it is committed");
}

#[test]
fn what_is_left_of_a_commit_that_is_let_go_is_copied_and_later_ones_are_not() {
    let mut log = log((0..4).map(|n| run(0, n * 10, 10, [1, 2, 2, 3][n as usize], true)).collect());
    let places = |log: &Log| log.runs.iter().map(|run| run.bytes.as_ptr()).collect::<Vec<_>>();
    let before = places(&log);
    assert!(log.release(2));
    let moved: Vec<bool> = places(&log).iter().zip(&before).map(|(now, before)| now != before).collect();
    assert_eq!(moved, [false, true, true, false]);
}

#[test]
fn the_front_of_what_was_cut_goes_with_what_is_destaged() {
    for (destaged, left) in [(4096, (4096, 204)), (4100, (4100, 200))] {
        let mut log = log(vec![run(0, 4096, 204, 1, false), run(0, 4300, 100, 2, true)]);
        log.destaged_to(0, destaged);
        let front = &log.runs[0];
        assert_eq!((front.position, front.bytes.len() as u32), left);
    }
    let mut log = log(vec![run(0, 4096, 204, 1, false), run(0, 4300, 100, 2, true)]);
    log.destaged_to(0, 4300);
    assert_eq!(log.runs.len(), 1);
}

#[test]
fn the_tail_behind_a_file_is_what_this_segment_has_above_its_end() {
    let mut log = log(vec![run(0, 100, 10, 0, false), run(0, 110, 20, 0, false)]);
    log.open_mut().destaged = 100;
    log.roll();
    log.open_mut().destaged = 0;
    let base = log.open().base_offset;
    log.push_run(run(base, 0, 7, 0, false));
    log.push_run(run(base, 7, 9, 1, true));
    assert_eq!(log.cold_tail(&log.segments[0]).len(), 30);
    assert_eq!(log.cold_tail(&log.segments[1]).len(), 7);
    log.segments[0].destaged = 110;
    assert_eq!(log.cold_tail(&log.segments[0]).len(), 20);
}

#[test]
fn a_cut_takes_back_segments_that_were_begun_behind_it() {
    let mut log = log(vec![run(0, 0, 300, 1, true), run(0, 300, 100, 2, true)]);
    log.roll();
    let base = log.open().base_offset;
    log.push_run(run(base, 0, 50, 2, true));
    (log.open_mut().end, log.open_mut().next_offset) = (50, base + 50);
    log.cut_to(1);
    assert_eq!((log.segments.len(), log.open().phase, log.open().end, log.runs.len()), (1, Phase::Open, 300, 1));
}
