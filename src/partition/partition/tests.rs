//! Tests of the leader machine on a real store whose disk says yes to everything.

use super::*;
use crate::producer_state::{ProducerEntry, SequenceError};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_log::io::{IoError, Job, Op, OpOk, OpResult, Step, VolumeSpace};
use coretide_log::store::{BatchSummary, ShardRecovered, StoreJob, StoreJobOutput, StoreLimits, StoreOut};
use coretide_model::topic_config::CleanupPolicy;
use coretide_model::{ErrorCode, TopicId};

const NOW: Now = Now { mono_us: 5_000_000, wall_ms: 1_700_000_000_000 };

struct Fixture {
    store: Store,
    partition: Partition,
    free_bytes: u64,
    /// Writes fail.
    broken: bool,
    /// What was asked of each write of the hot ring.
    written: Vec<Durability>,
}

fn yes(op: &Op, free_bytes: u64) -> OpResult {
    Ok(match op {
        Op::Volume => OpOk::Volume(VolumeSpace { total_bytes: 1 << 40, free_bytes }),
        Op::Len { .. } => OpOk::Len(0),
        Op::Read { .. } => OpOk::Data(Bytes::new()),
        Op::List { .. } => OpOk::Names(Vec::new()),
        _ => OpOk::Done,
    })
}

impl Fixture {
    fn new(config: TopicConfig) -> Fixture {
        let limits = StoreLimits { disk_reserve_bytes: Some(1 << 20), disk_check_ms: 1000, ..StoreLimits::default() };
        let (mut store, logs) = Store::open(ShardRecovered::empty(0, 1), limits);
        assert!(logs.is_empty());
        let tp = TopicPartition { topic_id: TopicId(9), partition: 0 };
        let partition = Partition::create(&mut store, tp, Arc::from("t-0"), 3, Arc::new(config));
        Fixture { store, partition, free_bytes: 1 << 39, broken: false, written: Vec::new() }
    }

    fn append(&mut self, batch: &VerifiedBatch) -> Result<AppendOk, AppendError> {
        self.partition.append(&mut self.store, NOW, batch, 3, Origin::Client)
    }

    /// Lets the store do all it wants; the tokens that were woken.
    fn settle(&mut self) -> Vec<u64> {
        self.settle_at(NOW)
    }

    fn settle_at(&mut self, now: Now) -> Vec<u64> {
        loop {
            let mut out = Vec::new();
            let aux = self.partition.aux();
            self.store.end_of_tick(now, &mut |_| aux.clone(), &mut out);
            if out.is_empty() {
                break;
            }
            for output in out {
                match output {
                    StoreOut::Notice(_) => {}
                    StoreOut::Io { id, op } => {
                        let result = self.write(&op);
                        self.store.on_io(now, id, result);
                    }
                    StoreOut::Job { id, job } => {
                        let done = run(job, self.free_bytes);
                        if let StoreJobOutput::Own(done) = done {
                            self.store.on_job(now, id, done);
                        }
                    }
                }
            }
        }
        let mut woken = Vec::new();
        self.partition.on_committed(&self.store, &mut woken);
        woken
    }

    fn write(&mut self, op: &Op) -> OpResult {
        if let Op::Write { durability, .. } = op {
            self.written.push(*durability);
            if self.broken {
                return Err(IoError { op: "write", path: "journal".into(), errno: 5, message: "broken".into() });
            }
        }
        yes(op, self.free_bytes)
    }

    fn read(&mut self, spec: ReadSpec) -> Result<ReadOk<ReadPlan>, ReadError> {
        self.partition.read(&mut self.store, &spec)
    }

    fn list(&mut self, target: ListTarget) -> ListedOffset {
        match self.partition.list_offsets(&mut self.store, target, Isolation::ReadUncommitted, -1) {
            Ok(Listed::Ready(listed)) => listed,
            Ok(Listed::Cold(read)) => match run(read.into_job(), self.free_bytes) {
                StoreJobOutput::Time(done) => self.partition.listed(&self.store, done.result.expect("in memory")),
                other => panic!("{other:?}"),
            },
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(mut job: StoreJob, free_bytes: u64) -> StoreJobOutput {
    let mut results = Vec::new();
    loop {
        match job.step(results) {
            Step::Do(ops) => results = ops.iter().map(|op| yes(op, free_bytes)).collect(),
            Step::Done(done) => return done,
        }
    }
}

fn batch(producer: Option<(i64, i16, i32)>, records: i64) -> VerifiedBatch {
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    for place in 0..records {
        builder.push(NOW.wall_ms + place, None, Some(b"value"), &[]);
    }
    VerifiedBatch::from_own_records(builder)
}

fn spec(fetch_offset: i64) -> ReadSpec {
    ReadSpec {
        fetch_offset,
        isolation: Isolation::ReadUncommitted,
        max_bytes: 10_000,
        at_least_one: true,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    }
}

fn ready_offsets(read: ReadOk<ReadPlan>) -> i64 {
    match read.plan {
        ReadPlan::Ready(ready) => ready.next_offset,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_visible_before_its_commit_and_watches_fire_with_it() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.settle();
    let ok = fixture.append(&batch(None, 3)).expect("room");
    assert_eq!((ok.base_offset, ok.last_offset, ok.duplicate, ok.log_append_time_ms), (0, 2, false, -1));
    assert!(fixture.store.committed() < ok.commit);
    let mut woken = Vec::new();
    fixture.partition.watch(Isolation::ReadUncommitted, 0, 7, &mut woken);
    fixture.partition.watch(Isolation::ReadCommitted, 3, 8, &mut woken);
    assert!(woken.is_empty());
    let before = fixture.read(spec(0)).expect("in range");
    assert!(matches!(before.plan, ReadPlan::Empty), "F5: between high watermark and log end there is nothing yet");
    assert_eq!((before.marks.high_watermark, before.marks.log_end_offset), (0, 3));
    assert_eq!(fixture.settle(), vec![7]);
    assert!(fixture.store.committed() >= ok.commit);
    assert_eq!(ready_offsets(fixture.read(spec(0)).expect("in range")), 3);
    fixture.partition.watch(Isolation::ReadUncommitted, 2, 9, &mut woken);
    assert_eq!(woken, vec![9], "what is there already fires at once");
    let Fixture { partition, .. } = fixture;
    partition.close(&mut woken);
    assert_eq!(woken, vec![9, 8], "a deletion wakes who waits");
}

#[test]
fn a_duplicate_of_a_batch_in_flight_waits_for_the_same_commit() {
    let mut fixture = Fixture::new(TopicConfig::default());
    let first = fixture.append(&batch(Some((5, 0, 0)), 2)).expect("first");
    let again = fixture.append(&batch(Some((5, 0, 0)), 2)).expect("again");
    assert_eq!(again, AppendOk { duplicate: true, ..first });
    fixture.settle();
    let later = fixture.append(&batch(Some((5, 0, 0)), 2)).expect("later");
    assert!(later.duplicate && later.commit <= fixture.store.committed());
    let gap = fixture.append(&batch(Some((5, 0, 3)), 1)).expect_err("a gap");
    assert!(matches!(gap, AppendError::Sequence(SequenceError::OutOfOrder { expected: 2, got: 3, .. })));
    let described = fixture.partition.describe_producers();
    assert_eq!((described[0].producer_id, described[0].last_sequence), (5, 1));
}

#[test]
fn bug_kafka_19690_a_transactional_batch_is_refused_by_its_epoch_first() {
    let mut fixture = Fixture::new(TopicConfig::default());
    let transactional = |epoch| {
        let mut builder = BatchBuilder::new(Compression::of(Codec::None)).producer(5, epoch, 0).transactional();
        builder.push(NOW.wall_ms, None, Some(b"value"), &[]);
        VerifiedBatch::from_own_records(builder)
    };
    fixture.append(&batch(Some((5, 2, 0)), 1)).expect("epoch 2");
    let code = |result: Result<AppendOk, AppendError>| result.expect_err("refused").code();
    assert_eq!(code(fixture.append(&transactional(1))), ErrorCode::InvalidProducerEpoch);
    assert_eq!(code(fixture.append(&transactional(2))), ErrorCode::InvalidTxnState);
}

#[test]
fn leader_epochs_fence_and_divergence_is_told() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.append(&batch(None, 4)).expect("room");
    fixture.settle();
    fixture.partition.set_leader_epoch(&fixture.store, 6);
    let fenced = fixture.append(&batch(None, 1)).expect_err("an old epoch");
    assert_eq!(fenced, AppendError::Epoch(EpochError::Fenced { asked: 3, current: 6 }));
    let unknown = fixture.read(ReadSpec { current_leader_epoch: 7, ..spec(0) }).expect_err("a new epoch");
    assert_eq!(unknown.code(), ErrorCode::UnknownLeaderEpoch);
    let same = fixture.read(ReadSpec { last_fetched_epoch: 3, ..spec(4) }).expect("no divergence");
    assert_eq!(same.diverging, None);
    let behind = fixture.read(ReadSpec { last_fetched_epoch: 3, ..spec(2) }).expect("still within that epoch");
    assert_eq!(behind.diverging, None);
    let parted = fixture.read(ReadSpec { last_fetched_epoch: 5, ..spec(4) }).expect("tells where");
    assert_eq!(parted.diverging, Some(EpochEnd { epoch: 3, end_offset: 4 }));
    assert!(matches!(parted.plan, ReadPlan::Empty), "F6: no records then");
    fixture.partition.append(&mut fixture.store, NOW, &batch(None, 2), 6, Origin::Client).expect("room");
    fixture.settle();
    let beyond = fixture.read(ReadSpec { last_fetched_epoch: 3, ..spec(5) }).expect("tells where");
    assert_eq!(beyond.diverging, Some(EpochEnd { epoch: 3, end_offset: 4 }), "epoch 3 ended before offset 5");
    assert_eq!(fixture.partition.offset_for_leader_epoch(3, -1), Ok(EpochEnd { epoch: 3, end_offset: 4 }));
    assert_eq!(fixture.partition.offset_for_leader_epoch(9, -1), Ok(EpochEnd::UNDEFINED));
    fixture.partition.set_leader_epoch(&fixture.store, 5);
    assert_eq!(fixture.partition.leader_epoch(), 6, "E2: never back");
}

#[test]
fn offsets_outside_the_log_get_its_real_marks() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.append(&batch(None, 4)).expect("room");
    fixture.settle();
    fixture.partition.delete_records(&mut fixture.store, NOW, 2).expect("below the high watermark");
    fixture.settle();
    for outside in [1, 5] {
        let Err(ReadError::OutOfRange { offset, marks }) = fixture.read(spec(outside)) else { panic!("{outside}") };
        assert_eq!((offset, marks.log_start_offset, marks.high_watermark), (outside, 2, 4));
    }
    assert_eq!(ready_offsets(fixture.read(spec(2)).expect("the log start")), 4);
    assert!(matches!(fixture.read(spec(4)).expect("the end").plan, ReadPlan::Empty));
    let committed = fixture.read(ReadSpec { isolation: Isolation::ReadCommitted, ..spec(2) }).expect("in range");
    assert_eq!(committed.aborted, Some(vec![]), "F4: a list, even if empty");
}

#[test]
fn delete_records_moves_the_start_up_to_the_high_watermark_and_producers_survive() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.append(&batch(Some((5, 0, 0)), 4)).expect("room");
    let early = fixture.partition.delete_records(&mut fixture.store, NOW, 1);
    assert_eq!(early, Err(DeleteRecordsError::OutOfRange { offset: 1, high_watermark: 0 }));
    fixture.settle();
    let (low, _) = fixture.partition.delete_records(&mut fixture.store, NOW, -1).expect("-1 is the high watermark");
    assert_eq!(low, 4);
    let (low, _) = fixture.partition.delete_records(&mut fixture.store, NOW, 2).expect("below the start is fine");
    assert_eq!(low, 4, "the log start never goes back");
    let (low, _) = fixture.partition.delete_records(&mut fixture.store, NOW, 0).expect("0 is an offset");
    assert_eq!(low, 4);
    let below = fixture.partition.delete_records(&mut fixture.store, NOW, -2);
    assert_eq!(below, Err(DeleteRecordsError::OutOfRange { offset: -2, high_watermark: 4 }));
    assert!(fixture.append(&batch(Some((5, 0, 0)), 4)).expect("known").duplicate);
    let cleanup_policy = CleanupPolicy { delete: false, compact: true };
    let mut compacted = Fixture::new(TopicConfig { cleanup_policy, ..TopicConfig::default() });
    let refused = compacted.partition.delete_records(&mut compacted.store, NOW, 0);
    assert_eq!(refused, Err(DeleteRecordsError::NotDeletable));
}

#[test]
fn bug_redpanda_6606_list_offsets_answers_records_and_their_epochs() {
    let mut fixture = Fixture::new(TopicConfig::default());
    assert_eq!(fixture.list(ListTarget::MaxTimestamp), ListedOffset::NONE, "an empty log");
    fixture.append(&batch(None, 4)).expect("room");
    fixture.settle();
    fixture.partition.set_leader_epoch(&fixture.store, 6);
    fixture.partition.append(&mut fixture.store, NOW, &batch(None, 2), 6, Origin::Client).expect("room");
    let at = |delta: i64| NOW.wall_ms + delta;
    let listed = |offset, timestamp_ms, leader_epoch| ListedOffset { offset, timestamp_ms, leader_epoch };
    assert_eq!(fixture.list(ListTarget::Latest), listed(4, -1, 6), "the high watermark, the current epoch");
    assert_eq!(fixture.list(ListTarget::Earliest), listed(0, -1, 3));
    assert_eq!(fixture.list(ListTarget::Timestamp(at(2))), listed(2, at(2), 3), "the record, not its batch");
    assert_eq!(fixture.list(ListTarget::MaxTimestamp), listed(3, at(3), 3));
    assert_eq!(fixture.list(ListTarget::Timestamp(at(4))), ListedOffset::NONE, "nothing so young: -1, no error");
    assert_eq!(fixture.list(ListTarget::Tiered), ListedOffset::NONE);
    fixture.settle();
    fixture.partition.delete_records(&mut fixture.store, NOW, 2).expect("below the high watermark");
    let found = |offset| Some(TimestampOffset { offset, timestamp_ms: at(offset) });
    let late = fixture.partition.listed(&fixture.store, found(1));
    assert_eq!(late, ListedOffset::NONE, "deleted while the search ran");
    assert_eq!(fixture.partition.listed(&fixture.store, found(2)), listed(2, at(2), 3));
}

#[test]
fn a_commit_wakes_whom_it_serves_and_going_offline_wakes_all_once() {
    let mut fixture = Fixture::new(TopicConfig::default());
    let mut woken = Vec::new();
    fixture.partition.watch(Isolation::ReadUncommitted, 1, 7, &mut woken);
    fixture.partition.watch(Isolation::ReadUncommitted, 0, 8, &mut woken);
    fixture.partition.unwatch(8);
    fixture.append(&batch(None, 1)).expect("room");
    assert_eq!(fixture.settle(), [0u64; 0], "7 waits for offset 1, 8 no longer waits");
    fixture.broken = true;
    fixture.append(&batch(None, 1)).expect("nobody knows yet");
    assert_eq!(fixture.settle(), [7]);
    fixture.partition.watch(Isolation::ReadUncommitted, 1, 9, &mut woken);
    assert_eq!(fixture.settle(), [0u64; 0], "who comes later has been told by its read");
    assert!(woken.is_empty());
    assert!(matches!(fixture.append(&batch(None, 1)), Err(AppendError::Offline(_))));
    let refused = fixture.partition.delete_records(&mut fixture.store, NOW, 0);
    assert_eq!(refused, Err(DeleteRecordsError::Offline));
}

#[test]
fn flush_messages_of_one_asks_for_durable_commits_and_more_does_not() {
    for (flush_messages, wanted) in [(1, Durability::Durable), (1000, Durability::Written)] {
        let mut fixture = Fixture::new(TopicConfig { flush_messages, ..TopicConfig::default() });
        fixture.settle();
        fixture.written.clear();
        fixture.append(&batch(None, 1)).expect("room");
        fixture.settle();
        assert_eq!(fixture.written, [wanted], "flush.messages={flush_messages}");
    }
}

#[test]
fn retention_is_for_topics_whose_policy_deletes() {
    for delete in [true, false] {
        let cleanup_policy = CleanupPolicy { delete, compact: !delete };
        let config = TopicConfig { cleanup_policy, retention_ms: 1000, segment_ms: 1000, ..TopicConfig::default() };
        let mut fixture = Fixture::new(config);
        fixture.append(&batch(None, 4)).expect("room");
        fixture.settle();
        let late = Now { mono_us: NOW.mono_us + 10_000_000, wall_ms: NOW.wall_ms + 10_000 };
        for _ in 0..2 {
            fixture.partition.tick(&mut fixture.store, late, 1_000_000);
            fixture.settle_at(late);
        }
        let start = fixture.partition.marks(&fixture.store).log_start_offset;
        assert_eq!(start, if delete { 4 } else { 0 });
    }
}

#[test]
fn known_producers_take_no_place_of_those_whose_beginning_was_refused() {
    let mut fixture = Fixture::new(TopicConfig::default());
    for id in 2..1100 {
        fixture.append(&batch(Some((id, 0, 0)), 1)).expect("room");
    }
    fixture.free_bytes = 1000;
    fixture.settle();
    assert!(matches!(fixture.append(&batch(Some((1, 0, 0)), 1)), Err(AppendError::DiskLow(_))));
    for id in 2..1100 {
        assert!(matches!(fixture.append(&batch(Some((id, 0, 1)), 1)), Err(AppendError::DiskLow(_))));
    }
    fixture.free_bytes = 1 << 39;
    fixture.settle_at(Now { mono_us: NOW.mono_us + 5_000_000, ..NOW });
    let gap = SequenceError::OutOfOrder { producer_id: 1, expected: 0, got: 1 };
    assert_eq!(fixture.append(&batch(Some((1, 0, 1)), 1)), Err(AppendError::Sequence(gap)));
}

#[test]
fn a_beginning_that_was_made_good_is_forgotten_and_an_old_one_expires() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.free_bytes = 1000;
    fixture.settle();
    for id in [5, 6] {
        assert!(matches!(fixture.append(&batch(Some((id, 0, 3)), 1)), Err(AppendError::DiskLow(_))));
    }
    fixture.free_bytes = 1 << 39;
    let later = Now { mono_us: NOW.mono_us + 5_000_000, wall_ms: NOW.wall_ms + 5000 };
    fixture.settle_at(later);
    fixture.append(&batch(Some((5, 0, 3)), 1)).expect("the one that was refused");
    fixture.partition.forget_idle_producers(0);
    assert!(fixture.partition.producers().is_empty());
    fixture.append(&batch(Some((5, 0, 9)), 1)).expect("of an expired producer any batch may be the first");
    fixture.partition.tick(&mut fixture.store, later, 5001);
    assert!(fixture.append(&batch(Some((6, 0, 4)), 1)).is_err(), "it is still on its way");
    fixture.partition.tick(&mut fixture.store, later, 5000);
    fixture.append(&batch(Some((6, 0, 4)), 1)).expect("its client gave up");
}

#[test]
fn what_the_checkpoint_keeps_is_what_is_known() {
    let mut fixture = Fixture::new(TopicConfig::default());
    for id in 0..9 {
        fixture.append(&batch(Some((id, 0, 0)), 2)).expect("room");
    }
    fixture.partition.set_leader_epoch(&fixture.store, 6);
    fixture.partition.forget_idle_producers(8);
    let (epochs, producers) = snapshot::decode(fixture.partition.aux()).expect("just written");
    let starts: Vec<_> = epochs.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect();
    assert_eq!(starts, [(3, 0), (6, 18)]);
    assert_eq!(producers.iter().map(|(id, _)| id).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((fixture.partition.epochs(), fixture.partition.producers()), (&epochs, &producers));
    let described = fixture.partition.describe_producers();
    let first = ProducerDescription {
        producer_id: 2,
        producer_epoch: 0,
        last_sequence: 1,
        last_timestamp_ms: NOW.wall_ms + 1,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    };
    assert_eq!((described.len(), described[0]), (7, first));
}

#[test]
fn a_producer_without_batches_is_described_and_may_go_on_anywhere() {
    let Fixture { mut store, partition, .. } = Fixture::new(TopicConfig::default());
    let (epochs, mut producers) = <(EpochCache, ProducerStates)>::default();
    producers.restore(5, ProducerEntry { epoch: 2, batches: Default::default(), last_used_ms: NOW.wall_ms });
    let recovered = RecoveredLog {
        key: partition.key(),
        tp: partition.topic_partition(),
        dir: Arc::from("t-0"),
        log_start_offset: 0,
        end_offset: 0,
        aux: snapshot::encode(&epochs, &producers),
        aux_end_offset: 0,
        replay: Vec::new(),
    };
    let config = Arc::new(TopicConfig::default());
    let mut partition = Partition::recover(&mut store, NOW, &recovered, 3, config).expect("a good snapshot");
    let described = partition.describe_producers()[0];
    assert_eq!((described.producer_epoch, described.last_sequence, described.last_timestamp_ms), (2, -1, -1));
    partition.append(&mut store, NOW, &batch(Some((5, 2, 77)), 1), 3, Origin::Client).expect("nothing is known");
}

#[test]
fn idle_producers_expire() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.append(&batch(Some((5, 0, 0)), 1)).expect("room");
    fixture.settle();
    let later = Now { mono_us: NOW.mono_us, wall_ms: NOW.wall_ms + 1000 };
    fixture.partition.tick(&mut fixture.store, later, 1001);
    assert_eq!(fixture.partition.describe_producers().len(), 1);
    fixture.partition.tick(&mut fixture.store, later, 1000);
    assert!(fixture.partition.describe_producers().is_empty());
}

#[test]
fn a_batch_behind_a_refused_first_one_is_not_appended_before_it() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.free_bytes = 1000;
    fixture.settle();
    let (first, second) = (batch(Some((5, 0, 0)), 3), batch(Some((5, 0, 3)), 1));
    assert!(matches!(fixture.append(&first), Err(AppendError::DiskLow(_))));
    fixture.free_bytes = 1 << 39;
    fixture.settle_at(Now { mono_us: NOW.mono_us + 5_000_000, ..NOW });
    let gap = SequenceError::OutOfOrder { producer_id: 5, expected: 0, got: 3 };
    assert_eq!(fixture.append(&second), Err(AppendError::Sequence(gap)), "it was on its way when room was made");
    assert_eq!(fixture.append(&first).expect("room").base_offset, 0);
    assert_eq!(fixture.append(&second).expect("in its place").base_offset, 3);
    let other = batch(Some((6, 0, 70)), 1);
    assert!(fixture.append(&other).is_ok(), "of whom nothing was refused may begin anywhere");
}

#[test]
fn what_was_replayed_tells_duplicates_and_batches_without_a_sequence_tell_nothing() {
    let mut fixture = Fixture::new(TopicConfig::default());
    fixture.append(&batch(None, 16)).expect("room");
    fixture.settle();
    let Fixture { mut store, partition, .. } = fixture;
    let summary = |producer_id, base_offset, base_sequence| BatchSummary {
        base_offset,
        last_offset: base_offset + 2,
        leader_epoch: 2,
        attributes: 0,
        producer_id,
        producer_epoch: 0,
        base_sequence,
        max_timestamp: NOW.wall_ms,
        size_bytes: 100,
    };
    let recovered = RecoveredLog {
        key: partition.key(),
        tp: partition.topic_partition(),
        dir: Arc::from("t-0"),
        log_start_offset: 0,
        end_offset: 16,
        aux: Bytes::new(),
        aux_end_offset: 0,
        replay: vec![summary(7, 10, 5), summary(8, 13, -1)],
    };
    let config = Arc::new(TopicConfig::default());
    let mut partition = Partition::recover(&mut store, NOW, &recovered, 3, config).expect("an empty snapshot is good");
    let known: Vec<_> = partition.describe_producers().iter().map(|one| (one.producer_id, one.last_sequence)).collect();
    assert_eq!(known, [(7, 7)]);
    let again = partition.append(&mut store, NOW, &batch(Some((7, 0, 5)), 3), 3, Origin::Client).expect("known");
    assert!(again.duplicate && (again.base_offset, again.last_offset) == (10, 12), "{again:?}");
    let earliest = partition.list_offsets(&mut store, ListTarget::Earliest, Isolation::ReadUncommitted, -1);
    let Ok(Listed::Ready(earliest)) = earliest else { panic!("{earliest:?}") };
    assert_eq!((earliest.offset, earliest.leader_epoch), (0, -1), "nobody knows its epoch");
    let found = partition.listed(&store, Some(TimestampOffset { offset: 1, timestamp_ms: 5 }));
    assert_eq!((found.offset, found.leader_epoch), (1, -1));
}

#[test]
fn a_changed_config_counts_from_now_on_and_the_size_is_that_of_the_batches() {
    let mut fixture = Fixture::new(TopicConfig { segment_bytes: 100, ..TopicConfig::default() });
    assert_eq!(fixture.partition.config().segment_bytes, 100);
    let one = batch(None, 20);
    assert!(matches!(fixture.append(&one), Err(AppendError::LargerThanSegment { .. })));
    let larger = TopicConfig { segment_bytes: 1 << 20, ..TopicConfig::default() };
    fixture.partition.set_config(&mut fixture.store, Arc::new(larger));
    assert_eq!(fixture.partition.config().segment_bytes, 1 << 20);
    fixture.append(&one).expect("it fits now");
    fixture.settle();
    assert_eq!(fixture.partition.log_bytes(&fixture.store), one.len_bytes() as u64);
}
