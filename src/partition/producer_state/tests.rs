//! Tests of the producer state: the rules one by one, then against a naive oracle.

use super::*;
use proptest::prelude::*;

fn batch(producer_id: i64, epoch: i16, base_sequence: i32, records: i32) -> SequencedBatch {
    SequencedBatch { producer_id, producer_epoch: epoch, base_sequence, last_offset_delta: records - 1 }
}

/// A state with its log end, durable at once.
#[derive(Default)]
struct Log {
    states: ProducerStates,
    end: i64,
}

impl Log {
    fn append(&mut self, batch: SequencedBatch) -> Result<Verdict, SequenceError> {
        let verdict = self.states.check(&batch)?;
        if verdict == Verdict::Append {
            self.states.record(&batch, self.end, 0, 1, self.end, 0);
            self.end += i64::from(batch.last_offset_delta) + 1;
        }
        Ok(verdict)
    }
}

fn original(verdict: Result<Verdict, SequenceError>) -> i64 {
    match verdict {
        Ok(Verdict::Duplicate(kept)) => kept.base_offset,
        other => panic!("a duplicate was expected, not {other:?}"),
    }
}

#[test]
fn i1_the_last_five_batches_answer_their_original_offset() {
    let mut log = Log::default();
    for place in 0..6 {
        assert_eq!(log.append(batch(7, 0, place * 10, 10)), Ok(Verdict::Append));
    }
    for place in 1..6 {
        assert_eq!(original(log.append(batch(7, 0, place * 10, 10))), i64::from(place) * 10);
    }
    let sixth = log.append(batch(7, 0, 0, 10));
    assert_eq!(sixth, Err(SequenceError::OutOfOrder { producer_id: 7, expected: 60, got: 0 }));
    let other_length = log.append(batch(7, 0, 50, 9));
    assert_eq!(other_length, Err(SequenceError::OutOfOrder { producer_id: 7, expected: 60, got: 50 }));
    let gap = log.append(batch(7, 0, 61, 1));
    assert_eq!(gap, Err(SequenceError::OutOfOrder { producer_id: 7, expected: 60, got: 61 }));
}

#[test]
fn i2_sequences_wrap_and_epochs_start_at_zero() {
    let mut log = Log::default();
    assert_eq!(log.append(batch(7, 3, i32::MAX - 1, 4)), Ok(Verdict::Append), "unknown producers start anywhere");
    assert_eq!(batch(7, 3, i32::MAX - 1, 4).last_sequence(), 1);
    assert_eq!(original(log.append(batch(7, 3, i32::MAX - 1, 4))), 0);
    assert_eq!(log.append(batch(7, 3, 2, 1)), Ok(Verdict::Append));
    let stale = log.append(batch(7, 2, 3, 1));
    assert_eq!(stale, Err(SequenceError::StaleEpoch { producer_id: 7, newest: 3, got: 2 }));
    let not_zero = log.append(batch(7, 4, 3, 1));
    assert_eq!(not_zero, Err(SequenceError::OutOfOrder { producer_id: 7, expected: 0, got: 3 }));
    assert_eq!(log.append(batch(7, 4, 0, 1)), Ok(Verdict::Append));
    assert!(log.append(batch(7, 3, 3, 1)).is_err(), "the older epoch is fenced from then on");
    let mut full = Log::default();
    assert_eq!(full.append(batch(1, 0, i32::MAX, 1)), Ok(Verdict::Append));
    assert_eq!(full.append(batch(1, 0, 0, 1)), Ok(Verdict::Append), "2147483647 is followed by 0");
}

#[test]
fn bug_redpanda_22670_an_expired_producer_may_go_on_at_any_sequence() {
    let mut log = Log::default();
    assert_eq!(log.append(batch(7, 0, 0, 5)), Ok(Verdict::Append));
    log.states.expire(99, 100);
    assert_eq!(log.states.len(), 1);
    log.states.expire(100, 100);
    assert!(log.states.is_empty());
    assert_eq!(log.append(batch(7, 0, 5, 5)), Ok(Verdict::Append));
}

#[test]
fn a_batch_in_flight_is_a_duplicate_with_the_same_commit() {
    let mut states = ProducerStates::default();
    states.record(&batch(7, 0, 0, 3), 40, 0, 9, 40, 0);
    match states.check(&batch(7, 0, 0, 3)) {
        Ok(Verdict::Duplicate(kept)) => assert_eq!((kept.base_offset, kept.commit), (40, 9)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_crash_that_takes_back_everything_in_flight_leaves_the_last_five_that_are_durable() {
    let mut states = ProducerStates::default();
    for sequence in 0..30 {
        let durable_end = i64::from(sequence).min(8);
        states.record(&batch(7, 0, sequence, 1), i64::from(sequence), 0, 2, durable_end, 0);
    }
    states.truncate_end(8);
    assert_eq!(states.check(&batch(7, 0, 8, 1)), Ok(Verdict::Append));
    assert!(states.check(&batch(7, 0, 9, 1)).is_err(), "sequence 8 is missing");
    for sequence in 3..8 {
        assert_eq!(original(states.check(&batch(7, 0, sequence, 1))), i64::from(sequence));
    }
    states.truncate_end(0);
    assert!(states.is_empty());
}

#[test]
fn what_one_producer_keeps_in_flight_is_bounded() {
    let mut states = ProducerStates::default();
    for sequence in 0..1000 {
        states.record(&batch(7, 0, sequence, 1), i64::from(sequence), 0, 2, 0, 0);
    }
    let (_, entry) = states.iter().next().expect("one producer");
    assert_eq!(entry.batches.len(), BATCHES_IN_FLIGHT_MAX);
}

#[test]
fn too_many_producers_make_the_longest_idle_go() {
    let mut states = ProducerStates::default();
    for id in 0..100 {
        states.record(&batch(id, 0, 0, 1), id, 0, 1, 0, 1000 - id);
    }
    states.shrink_to(100);
    assert_eq!(states.len(), 100);
    states.shrink_to(80);
    let left: Vec<i64> = states.iter().map(|(id, _)| id).collect();
    assert_eq!(left, (0..70).collect::<Vec<_>>(), "the ids that were used last");
}

#[test]
fn no_more_than_a_duplicate_can_ask_for_is_kept_of_what_is_durable() {
    let mut log = Log::default();
    assert!(log.states.is_empty());
    for sequence in 0..20 {
        assert_eq!(log.append(batch(7, 0, sequence, 1)), Ok(Verdict::Append));
    }
    assert!(!log.states.is_empty());
    let (_, entry) = log.states.iter().next().expect("one producer");
    assert_eq!(entry.batches.len(), BATCHES_KEPT + 1, "the newest may be taken back by a crash");
}

#[test]
fn two_states_are_the_same_if_epoch_and_batches_are_whatever_the_clock_said() {
    let state = |epoch, sequence, now_ms| {
        let mut states = ProducerStates::default();
        states.record(&batch(7, epoch, sequence, 1), 40, 0, 9, 40, now_ms);
        states
    };
    assert_eq!(state(1, 5, 100), state(1, 5, 200));
    assert_ne!(state(1, 5, 100), state(2, 5, 100));
    assert_ne!(state(1, 5, 100), state(1, 6, 100));
}

/// The naive oracle: every batch ever appended, in order, and nothing clever.
#[derive(Default)]
struct Oracle {
    all: Vec<(SequencedBatch, i64)>,
}

impl Oracle {
    fn expected(&self, asked: &SequencedBatch) -> Result<Option<i64>, i16> {
        let mine: Vec<_> = self.all.iter().filter(|(kept, _)| kept.producer_id == asked.producer_id).collect();
        let Some(newest) = mine.iter().map(|(kept, _)| kept.producer_epoch).max() else { return Ok(None) };
        if asked.producer_epoch < newest {
            return Err(47);
        }
        if asked.producer_epoch > newest {
            return if asked.base_sequence == 0 { Ok(None) } else { Err(45) };
        }
        let epoch: Vec<_> = mine.into_iter().filter(|(kept, _)| kept.producer_epoch == newest).collect();
        if let Some((_, offset)) = epoch.iter().rev().take(5).find(|(kept, _)| kept == asked) {
            return Ok(Some(*offset));
        }
        let (last, _) = epoch.last().expect("the newest epoch has a batch");
        let due = (u64::from(last.base_sequence as u32) + u64::from(last.last_offset_delta as u32) + 1) % (1 << 31);
        if u64::from(asked.base_sequence as u32) == due { Ok(None) } else { Err(45) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// T1, T2: against the oracle, with sequences near the wrap and epochs that move both ways.
    #[test]
    fn agrees_with_the_oracle(
        steps in proptest::collection::vec((0i64..2, 0i16..3, -8i64..9, 1i32..4), 1..120),
        start in prop_oneof![Just(0i64), Just(i64::from(i32::MAX) - 6)],
    ) {
        let (mut log, mut oracle) = (Log::default(), Oracle::default());
        let mut due = [start; 2];
        for (producer_id, epoch, skew, records) in steps {
            // Mostly the due number, now and then one near it or zero.
            let place = &mut due[producer_id as usize];
            let base = match skew { -2..=2 => *place, 8 => 0, _ => *place + skew };
            let asked = batch(producer_id, epoch, (base.rem_euclid(1 << 31)) as i32, records);
            let offset = log.end;
            match (log.append(asked), oracle.expected(&asked)) {
                (Ok(Verdict::Append), Ok(None)) => {
                    oracle.all.push((asked, offset));
                    *place = (i64::from(asked.base_sequence) + i64::from(records)) % (1 << 31);
                }
                (Ok(Verdict::Duplicate(kept)), Ok(Some(original))) => prop_assert_eq!(kept.base_offset, original),
                (Err(SequenceError::OutOfOrder { .. }), Err(45)) | (Err(SequenceError::StaleEpoch { .. }), Err(47)) => {}
                (got, wanted) => prop_assert!(false, "{:?}: got {:?}, the oracle says {:?}", asked, got, wanted),
            }
        }
    }
}
