//! The accumulator's rules one by one, and its invariants under random histories.

use super::*;
use coretide_log::batch::check_crc;
use proptest::prelude::*;

const MS: u64 = NS_PER_MS;

fn settings(batch_size: u32, linger_ms: u64) -> ProducerSettings {
    ProducerSettings { batch_size, linger_ms, ..ProducerSettings::default() }
}

fn record(value: &[u8]) -> NewRecord<'_> {
    NewRecord { topic: 0, key: None, value, timestamp_ms: 1, intended_ns: 7 }
}

fn keyed<'a>(key: &'a [u8], value: &'a [u8]) -> NewRecord<'a> {
    NewRecord { key: Some(key), ..record(value) }
}

fn one_partition(settings: &ProducerSettings) -> Accumulator {
    Accumulator::new(settings, &[1], &[0], 1)
}

#[test]
fn a_batch_leaves_when_it_has_lingered() {
    let mut acc = one_partition(&settings(16_384, 5));
    assert_eq!(acc.append(0, &record(b"a")), Appended::Queued { wake: true });
    assert_eq!(acc.append(MS, &record(b"b")), Appended::Queued { wake: false });
    // A millisecond is left by the clock's milliseconds, so a millisecond is slept.
    assert_eq!(acc.ready(4 * MS + MS - 1), Ready { nodes: vec![], next_ns: Some(6 * MS - 1) });
    assert_eq!(acc.ready(5 * MS).nodes, [0]);
    let batches = acc.drain(5 * MS, 0);
    assert_eq!((batches.len(), batches[0].records(), batches[0].payload_bytes), (1, 2, 2));
    assert_eq!(check_crc(batches[0].encoded()).unwrap().record_count, 2);
    assert!(acc.is_empty());
}

#[test]
fn a_full_batch_leaves_at_once() {
    let mut acc = one_partition(&settings(1_000, 1_000));
    for _ in 0..9 {
        acc.append(0, &record(&[0; 100]));
    }
    // 61 bytes of header, eight records of 107 or 108 bytes each fit into 1,000; the ninth opened another batch.
    assert_eq!(acc.ready(0).nodes, [0]);
    let batches = acc.drain(0, 0);
    assert_eq!(batches[0].records(), 8);
    assert!(batches[0].encoded().len() <= 1_000, "{}", batches[0].encoded().len());
    assert_eq!(acc.ready(0).nodes, [0usize; 0]);
}

#[test]
fn a_record_larger_than_a_batch_lingers_too() {
    let mut acc = one_partition(&settings(1_000, 5));
    assert_eq!(acc.append(0, &record(&[0; 4_000])), Appended::Queued { wake: true });
    assert_eq!(acc.ready(0).nodes, [0usize; 0]);
    assert_eq!(acc.ready(5 * MS).nodes, [0]);
    acc.append(5 * MS, &record(b"no room beside it"));
    assert_eq!(acc.queues[0].batches.len(), 2);
}

#[test]
fn what_does_not_fit_ends_a_batch_also_for_what_would() {
    let settings = ProducerSettings { buffer_memory: 1_500, ..settings(1_000, 1_000) };
    let mut acc = one_partition(&settings);
    acc.append(0, &record(&[0; 700]));
    assert_eq!(acc.append(0, &record(&[0; 500])), Appended::NoMemory);
    assert_eq!(acc.append(0, &record(b"small")), Appended::NoMemory);
}

#[test]
fn a_partition_keeps_its_turn_until_its_batches_are_full() {
    let mut acc = Accumulator::new(&settings(1_000, 1_000), &[8], &[0; 8], 1);
    let sizes = |acc: &Accumulator| -> Vec<u64> {
        acc.queues.iter().map(|queue| queue.batches.iter().map(Batch::records).sum()).collect()
    };
    let places: Vec<usize> = (0..160)
        .map(|_| {
            let before = sizes(&acc);
            acc.append(0, &record(&[0; 100]));
            sizes(&acc).iter().zip(before).position(|(now, then)| *now > then).unwrap()
        })
        .collect();
    // Eight records make 918 bytes, too few for a switch; with sixteen it is due, and the seventeenth opens no third batch.
    assert!(places.chunks(16).all(|turn| turn.iter().all(|place| *place == turn[0])), "{places:?}");
    assert!(places.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn partitions_are_drawn_alike_until_all_of_them_were_used() {
    let mut acc = Accumulator::new(&settings(100, 0), &[3], &[0; 3], 1);
    let key = (0..64u8).find(|&n| partition_of_key(&[n], 3) == 0).unwrap();
    acc.append(0, &keyed(&[key], b"x"));
    acc.ready(0);
    assert!(!acc.topics[0].sticky.is_weighted(), "two partitions never had a batch");
    acc.queues.iter_mut().for_each(|queue| queue.used = true);
    acc.ready(0);
    assert!(acc.topics[0].sticky.is_weighted());
}

#[test]
fn a_drain_begins_where_the_last_one_ended() {
    let mut acc = Accumulator::new(&settings(1_000, 0), &[4], &[0; 4], 1);
    let mut order = Vec::new();
    for _ in 0..3 {
        for partition in 0..4 {
            let key = (0..64u8).find(|&n| partition_of_key(&[n], 4) == partition).unwrap();
            acc.append(0, &keyed(&[key], b"x"));
        }
        order.push(acc.drain(0, 0).iter().map(|batch| batch.partition).collect::<Vec<_>>());
    }
    assert_eq!(order, [[0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1]]);
}

#[test]
fn compressed_bytes_count_for_a_partitions_turn_by_the_ratio_when_the_batch_was_opened() {
    let settings = ProducerSettings { compression_type: CompressionType::Zstd, ..settings(1_000, 1_000) };
    let mut acc = Accumulator::new(&settings, &[8], &[0; 8], 1);
    acc.topics[0].ratio = 0.1;
    acc.append(0, &record(&[0; 100]));
    acc.topics[0].ratio = 1.0;
    for _ in 0..70 {
        acc.append(0, &record(&[0; 100]));
    }
    let counts: Vec<u64> = acc.queues.iter().flat_map(|queue| &queue.batches).map(Batch::records).collect();
    assert_eq!(counts, [71], "7,700 bytes count as 809, so they are one batch");
}

#[test]
fn without_batching_each_record_travels_alone() {
    let mut acc = one_partition(&settings(0, 5));
    acc.append(0, &record(&[b'a'; 40]));
    acc.append(0, &record(&[b'b'; 40]));
    assert_eq!(acc.ready(0).nodes, [0]);
    assert_eq!(acc.drain(0, 0)[0].records(), 1);
    assert_eq!(acc.drain(0, 0)[0].records(), 1);
}

#[test]
fn a_ready_broker_gets_the_oldest_batch_of_all_its_partitions() {
    let mut acc = Accumulator::new(&settings(300, 1_000), &[4], &[0, 0, 1, 1], 1);
    let mut key_of = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for n in 0..64u8 {
        key_of[partition_of_key(&[n], 4) as usize] = vec![n];
    }
    acc.append(0, &keyed(&key_of[0], &[0; 200]));
    acc.append(0, &keyed(&key_of[0], &[0; 200]));
    acc.append(0, &keyed(&key_of[1], b"small"));
    acc.append(0, &keyed(&key_of[2], b"small"));
    // Partition 0 is full, so its broker is ready and takes partition 1 along; the other broker waits.
    assert_eq!(acc.ready(0).nodes, [0]);
    let partitions: Vec<usize> = acc.drain(0, 0).iter().map(|batch| batch.partition).collect();
    assert_eq!(partitions, [0, 1]);
    assert_eq!(acc.ready(0), Ready { nodes: vec![], next_ns: Some(1_000 * MS) });
}

#[test]
fn a_request_ends_at_max_request_size_and_the_next_goes_on_there() {
    let settings = ProducerSettings { max_request_size: 250, ..settings(100, 0) };
    let mut acc = Accumulator::new(&settings, &[8], &[0; 8], 1);
    for n in 0..64u8 {
        acc.append(0, &keyed(&[n], &[0; 10]));
    }
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let batches = acc.drain(0, 0);
        assert_eq!(batches.len(), 2, "two batches of at most 100 bytes fit, a third does not");
        seen.extend(batches.iter().map(|batch| batch.partition));
    }
    assert_eq!(seen.len(), 8, "each partition had its turn: {seen:?}");
}

#[test]
fn memory_ends_and_comes_back() {
    let settings = ProducerSettings { buffer_memory: 2_000, ..settings(1_000, 1_000) };
    let mut acc = one_partition(&settings);
    let value = [0; 700];
    assert_ne!(acc.append(0, &record(&value)), Appended::NoMemory);
    assert_ne!(acc.append(0, &record(&value)), Appended::NoMemory);
    assert_eq!(acc.append(0, &record(&value)), Appended::NoMemory);
    let mut batches = acc.drain(0, 0);
    assert_eq!(acc.append(0, &record(&value)), Appended::NoMemory, "it is free only when it is acknowledged");
    acc.complete(batches.remove(0));
    assert_ne!(acc.append(0, &record(&value)), Appended::NoMemory);
}

#[test]
fn short_memory_makes_every_batch_ready() {
    let settings = ProducerSettings { buffer_memory: 1_000, ..settings(1_000, 1_000) };
    let mut acc = Accumulator::new(&settings, &[2], &[0, 0], 1);
    let other = (0..64u8).find(|&n| partition_of_key(&[n], 2) != partition_of_key(&[0], 2)).unwrap();
    acc.append(0, &keyed(&[0], b"x"));
    assert_eq!(acc.ready(0).nodes, [0usize; 0]);
    assert_eq!(acc.append(0, &keyed(&[other], b"x")), Appended::NoMemory);
    assert_eq!(acc.ready(0).nodes, [0]);
}

#[test]
fn one_in_flight_keeps_the_partition_for_itself() {
    let settings = ProducerSettings { max_in_flight: 1, ..settings(0, 0) };
    let mut acc = one_partition(&settings);
    acc.append(0, &record(&[b'a'; 40]));
    acc.append(0, &record(&[b'b'; 40]));
    let mut first = acc.drain(0, 0);
    assert_eq!(acc.ready(0).nodes, [0usize; 0]);
    assert!(acc.drain(0, 0).is_empty());
    acc.complete(first.remove(0));
    assert_eq!(acc.ready(0).nodes, [0]);
}

#[test]
fn a_retry_waits_and_goes_first_with_the_same_bytes() {
    let mut acc = one_partition(&settings(0, 0));
    acc.set_producer(ProducerId { id: 9, epoch: 1 });
    for value in [&[b'a'; 40], &[b'b'; 40], &[b'c'; 40]] {
        acc.append(0, &record(value));
    }
    let first = acc.drain(0, 0).remove(0);
    let second = acc.drain(0, 0).remove(0);
    let bytes = first.encoded().clone();
    assert!(acc.is_first_in_flight(&first) && !acc.is_first_in_flight(&second));
    // The second fails first: it stands behind the first one all the same.
    assert!(matches!(acc.failed(0, second, true), Outcome::Retried));
    assert!(matches!(acc.failed(0, first, true), Outcome::Retried));
    assert!(acc.ready(99 * MS).nodes.is_empty() && acc.drain(99 * MS, 0).is_empty(), "it backs off");
    let again = acc.drain(100 * MS, 0).remove(0);
    assert_eq!((again.encoded(), again.attempts), (&bytes, 2));
    assert!(acc.drain(100 * MS, 0).is_empty(), "the second one waits for the first");
    acc.complete(again);
    let second = acc.drain(100 * MS, 0).remove(0);
    assert_eq!(check_crc(second.encoded()).unwrap().base_sequence, 1);
    acc.complete(second);
    let third = acc.drain(100 * MS, 0).remove(0);
    assert_eq!(check_crc(third.encoded()).unwrap().base_sequence, 2);
}

#[test]
fn what_cannot_be_retried_or_is_too_old_fails() {
    let settings = ProducerSettings { delivery_timeout_ms: 10, ..settings(0, 0) };
    let mut acc = one_partition(&settings);
    acc.append(0, &record(&[b'a'; 40]));
    acc.append(0, &record(&[b'b'; 40]));
    let first = acc.drain(0, 0).remove(0);
    assert!(matches!(acc.failed(0, first, false), Outcome::Failed(_)));
    let second = acc.drain(0, 0).remove(0);
    assert!(matches!(acc.failed(10 * MS, second, true), Outcome::Failed(_)));
    assert_eq!(acc.free_bytes, settings.buffer_memory);
}

#[test]
fn compressed_batches_grow_as_the_ratio_is_learned() {
    let settings = ProducerSettings { compression_type: CompressionType::Zstd, ..settings(1_000, 0) };
    let mut acc = one_partition(&settings);
    let mut counts = Vec::new();
    for _ in 0..60 {
        while acc.queues[0].batches.len() < 2 {
            acc.append(0, &record(&[b'z'; 100]));
        }
        counts.push(acc.drain(0, 0).remove(0).records());
    }
    assert_eq!(counts[0], 8);
    assert!(counts.windows(2).all(|pair| pair[0] <= pair[1]), "{counts:?}");
    assert!(counts[59] > counts[0], "{counts:?}");
}

fn librdkafka(batch_size: u32, linger_ms: u64) -> ProducerSettings {
    ProducerSettings { batch_size, linger_ms, ..ProducerSettings::of(ClientKind::Librdkafka) }
}

#[test]
fn librdkafkas_partitions_wait_for_themselves_and_travel_alone() {
    let mut acc = Accumulator::new(&librdkafka(1_000_000, 5), &[2], &[0, 0], 1);
    let key_of = |partition| (0..64u8).find(|&n| crc32(&[n]) % 2 == partition).unwrap();
    acc.append(100, &keyed(&[key_of(0)], b"x"));
    acc.append(2 * MS, &keyed(&[key_of(1)], b"y"));
    assert_eq!(acc.append(2 * MS, &keyed(&[key_of(1)], b"y")), Appended::Queued { wake: false });
    // 3 ms and a little are left: four whole milliseconds of sleep.
    assert_eq!(acc.ready(2 * MS), Ready { nodes: vec![], next_ns: Some(6 * MS) });
    assert_eq!(acc.append(5 * MS + 100, &keyed(&[key_of(0)], b"x")), Appended::Queued { wake: true });
    assert_eq!(acc.ready(5 * MS + 100).nodes, [0]);
    let places =
        |batches: Vec<Batch>| batches.iter().map(|batch| (batch.partition, batch.records())).collect::<Vec<_>>();
    assert_eq!(places(acc.drain(5 * MS + 100, 0)), [(0, 2)]);
    assert!(acc.drain(5 * MS + 100, 0).is_empty(), "the other one still lingers");
    assert_eq!(places(acc.drain(7 * MS, 0)), [(1, 2)]);
}

#[test]
fn librdkafkas_batches_end_by_count_and_by_bytes_before_compression() {
    let counted = ProducerSettings { batch_num_messages: 3, ..librdkafka(1_000_000, 1_000) };
    let mut acc = one_partition(&counted);
    for _ in 0..7 {
        acc.append(0, &record(b"x"));
    }
    let counts = |acc: &mut Accumulator| -> Vec<u64> {
        std::iter::from_fn(|| acc.drain(0, 0).pop()).map(|batch| batch.records()).collect()
    };
    assert_eq!(counts(&mut acc), [3, 3]);
    let sized = ProducerSettings { compression_type: CompressionType::Zstd, ..librdkafka(1_000, 1_000) };
    let mut acc = one_partition(&sized);
    for _ in 0..60 {
        acc.append(0, &record(&[0; 100]));
    }
    assert!(counts(&mut acc).iter().all(|count| *count == 8));
}

#[test]
fn librdkafkas_queue_ends_by_messages_and_by_bytes() {
    let mut acc = one_partition(&ProducerSettings { queue_max_messages: 2, ..librdkafka(1_000, 0) });
    acc.append(0, &record(b"x"));
    acc.append(0, &record(b"x"));
    assert_eq!(acc.append(0, &record(b"x")), Appended::NoMemory);
    let batch = acc.drain(0, 0).remove(0);
    assert_eq!(acc.append(0, &record(b"x")), Appended::NoMemory, "it is free only when it is acknowledged");
    acc.complete(batch);
    assert_ne!(acc.append(0, &record(b"x")), Appended::NoMemory);
    let mut acc = one_partition(&ProducerSettings { buffer_memory: 10, ..librdkafka(1_000, 0) });
    assert_eq!(acc.append(0, &record(&[0; 11])), Appended::NoMemory);
    assert_ne!(acc.append(0, &record(&[0; 10])), Appended::NoMemory);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Append { key: Option<u8>, bytes: usize },
    Wait(u64),
    Send,
    Answer { place: usize, fails: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (proptest::option::of(any::<u8>()), 0usize..600).prop_map(|(key, bytes)| Step::Append { key, bytes }),
        2 => (0u64..20).prop_map(Step::Wait),
        3 => Just(Step::Send),
        3 => (any::<usize>(), proptest::bool::weighted(0.2)).prop_map(|(place, fails)| Step::Answer { place, fails }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens: each record arrives exactly once, those of one key in order, sequences without a gap, batches
    /// within their size, memory within its bound and whole at the end.
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        steps in proptest::collection::vec(step(), 1..300), batch_size in 0u32..2_000, linger in 0u64..10,
        kind in prop_oneof![Just(ClientKind::Java), Just(ClientKind::Librdkafka)],
    ) {
        let settings = ProducerSettings { kind, buffer_memory: 8_000, max_request_size: 1_500, ..settings(batch_size, linger) };
        let mut acc = Accumulator::new(&settings, &[3, 2], &[0, 1, 0, 1, 0], 11);
        acc.set_producer(ProducerId { id: 1, epoch: 0 });
        let mut world = World { acc, now_ns: 0, sent: 0, in_flight: Vec::new(), logs: vec![Vec::new(); 5], expected: vec![0; 5] };
        for step in steps {
            world.play(&step, &settings)?;
        }
        world.acc.flush();
        for _ in 0..2_000 {
            world.now_ns += 100 * MS;
            world.play(&Step::Send, &settings)?;
            world.play(&Step::Answer { place: 0, fails: false }, &settings)?;
        }
        prop_assert!(world.acc.is_empty() && world.in_flight.is_empty());
        prop_assert_eq!(world.acc.free_bytes, settings.buffer_memory);
        let mut all: Vec<u64> = world.logs.concat();
        for log in &world.logs {
            prop_assert!(log.is_sorted(), "records of a partition in the order of their appends: {:?}", log);
        }
        all.sort_unstable();
        prop_assert_eq!(all, (0..world.sent).collect::<Vec<u64>>());
    }
}

struct World {
    acc: Accumulator,
    now_ns: u64,
    sent: u64,
    in_flight: Vec<Batch>,
    logs: Vec<Vec<u64>>,
    /// The next sequence of each partition at the broker.
    expected: Vec<i32>,
}

impl World {
    fn play(&mut self, step: &Step, settings: &ProducerSettings) -> Result<(), TestCaseError> {
        match step {
            Step::Wait(ms) => self.now_ns += ms * MS,
            Step::Append { key, bytes } => {
                let (key, value) = (key.map(|key| [key]), vec![0; *bytes]);
                let key = key.as_ref().map(|key| &key[..]);
                let topic = bytes % 2;
                let record = NewRecord { topic, key, value: &value, timestamp_ms: 0, intended_ns: self.sent };
                if self.acc.append(self.now_ns, &record) != Appended::NoMemory {
                    self.sent += 1;
                }
            }
            Step::Send => {
                for node in self.acc.ready(self.now_ns).nodes {
                    let batches = self.acc.drain(self.now_ns, node);
                    for batch in batches {
                        let whole = batch.encoded().len();
                        // One that begins with a large record has as much room as that might have needed.
                        let bound =
                            (settings.batch_size as usize).max(HEADER_BYTES + RECORD_OVERHEAD_MAX_BYTES + 600 + 8);
                        prop_assert!(whole <= batch.limit_bytes || batch.records() == 1, "{} > {}", whole, bound);
                        prop_assert!(batch.limit_bytes <= bound, "{} > {}", batch.limit_bytes, bound);
                        self.in_flight.push(batch);
                    }
                }
            }
            Step::Answer { place, fails } if !self.in_flight.is_empty() => {
                let batch = self.in_flight.remove(place % self.in_flight.len());
                let header = check_crc(batch.encoded()).unwrap();
                let expected = self.expected[batch.partition];
                if *fails || header.base_sequence != expected {
                    // A broker refuses what is out of order; the client tries it again.
                    let outcome = self.acc.failed(self.now_ns, batch, true);
                    prop_assert!(matches!(outcome, Outcome::Retried));
                } else {
                    self.expected[batch.partition] = expected + header.record_count;
                    self.logs[batch.partition].extend(&batch.intended_ns);
                    self.acc.complete(batch);
                }
            }
            Step::Answer { .. } => {}
        }
        Ok(())
    }
}
