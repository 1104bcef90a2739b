//! Kafka's record accumulator: records gather in one queue of batches per partition until a batch is full, has lingered,
//! or memory is short; then every partition of a ready broker gives its oldest batch to one request.
//!
//! ```text
//!   append(record) ─► queue of its partition ─► ready(now): brokers ─► drain(broker): batches ─► complete | retry
//! ```
//!
//! Time is an argument, in nanoseconds; like Java's client it counts `linger.ms` in whole milliseconds. By librdkafka's
//! rules partitions do not take each other along, each request has one batch, and sizes count before compression.
//! Must never touch: sockets, clocks.

use crate::lab::scenario::{ClientKind, CompressionType, ProducerSettings};
use crate::lab::sticky::{Sticky, TimedSticky, crc32};
use bytes::Bytes;
use coretide_client::partitioner::partition_of_key;
use coretide_log::batch::HEADER_BYTES;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_stdx::prng::Prng;
use coretide_stdx::varint;
use std::collections::{BTreeSet, VecDeque};

/// What Kafka adds to an estimated compressed size, to be on the safe side.
const COMPRESSION_SAFETY: f64 = 1.05;
/// How fast the estimate of the compression ratio falls and rises, per batch.
const RATIO_IMPROVING_STEP: f64 = 0.005;
const RATIO_DETERIORATE_STEP: f64 = 0.05;
/// Kafka's upper bound of what a record needs beside key and value.
const RECORD_OVERHEAD_MAX_BYTES: usize = 21;
/// What a record without headers says of them.
const NO_HEADERS_BYTES: usize = 1;
/// What librdkafka thinks that a record may need beside key and value.
const LIBRDKAFKA_OVERHEAD_MAX_BYTES: usize = 36;
const NS_PER_MS: u64 = 1_000_000;

/// The codec of a batch.
pub fn codec_of(kind: CompressionType) -> Codec {
    match kind {
        CompressionType::None => Codec::None,
        CompressionType::Gzip => Codec::Gzip,
        CompressionType::Snappy => Codec::Snappy,
        CompressionType::Lz4 => Codec::Lz4,
        CompressionType::Zstd => Codec::Zstd,
    }
}

/// An idempotent producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    /// The id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// A record on its way in.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its topic's place.
    pub topic: usize,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: &'a [u8],
    /// Its timestamp in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// When it should have been sent, in the engine's nanoseconds.
    pub intended_ns: u64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in a batch. `wake`: the sender has something new to look at.
    Queued { wake: bool },
    /// `buffer.memory` is used up: to be tried again when a batch has left.
    NoMemory,
}

/// Records of one partition that travel together.
#[derive(Debug)]
pub struct Batch {
    /// The partition's place among all partitions of all topics.
    pub partition: usize,
    /// When each record should have been sent.
    pub intended_ns: Vec<u64>,
    /// Bytes of keys and values.
    pub payload_bytes: u64,
    /// How often it was sent.
    pub attempts: u32,
    builder: Option<BatchBuilder>,
    encoded: Bytes,
    /// What its compressed size is estimated by: the topic's ratio when it was opened.
    ratio: Option<f64>,
    /// The bytes that it may have: more than `batch.size` for a record that is larger than that.
    limit_bytes: usize,
    /// A record did not fit: it takes no more, not even smaller ones.
    closed: bool,
    created_ns: u64,
    retry_at_ms: Option<u64>,
    sequence: Option<i32>,
    /// What it takes of `buffer.memory`.
    reserved_bytes: u64,
}

impl Batch {
    /// The batch as it travels.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.intended_ns.len() as u64
    }

    /// What it will take on the wire, as far as one can know before it is compressed.
    fn estimated_bytes(&self) -> usize {
        let Some(builder) = &self.builder else { return self.encoded.len() };
        let plain = builder.plain_bytes();
        match self.ratio {
            None => plain,
            Some(ratio) => HEADER_BYTES + ((plain - HEADER_BYTES) as f64 * ratio * COMPRESSION_SAFETY) as usize,
        }
    }

    /// True if it takes no more. One that a single large record has filled is not full: it lingers.
    fn is_full(&self) -> bool {
        self.closed || self.builder.is_none() || self.estimated_bytes() >= self.limit_bytes
    }
}

/// What is to be done after an attempt.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "failures are rare, and it is taken apart at once")]
pub enum Outcome {
    /// It will be sent again.
    Retried,
    /// It has failed for good.
    Failed(Batch),
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    next_sequence: i32,
    /// First sequences of batches that were sent and are neither acknowledged nor given up.
    in_flight: BTreeSet<i32>,
    /// A batch is on its way and no other may be (`max.in.flight.requests.per.connection` = 1).
    muted: bool,
    /// It has had a batch.
    used: bool,
}

#[derive(Debug)]
struct Topic {
    first_partition: usize,
    partitions: usize,
    sticky: Sticky,
    timed: TimedSticky,
    ratio: f64,
}

#[derive(Debug)]
struct Node {
    partitions: Vec<usize>,
    drain_from: usize,
}

/// What [`Accumulator::ready`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Places of brokers that there is something to send to now.
    pub nodes: Vec<usize>,
    /// When to look again, in nanoseconds; none if nothing waits for time to pass.
    pub next_ns: Option<u64>,
}

/// A producer's memory. See the module.
#[derive(Debug)]
pub struct Accumulator {
    settings: ProducerSettings,
    compression: Compression,
    producer: Option<ProducerId>,
    topics: Vec<Topic>,
    queues: Vec<Queue>,
    nodes: Vec<Node>,
    node_of: Vec<usize>,
    free_bytes: u64,
    /// Records that were taken and are neither acknowledged nor given up.
    held_records: u64,
    exhausted: bool,
    flushing: bool,
    rng: Prng,
    spare: Vec<Vec<u64>>,
}

impl Accumulator {
    /// For topics with these numbers of partitions; `node_of` says which broker leads each of all partitions.
    pub fn new(settings: &ProducerSettings, topics: &[usize], node_of: &[usize], seed: u64) -> Accumulator {
        let mut first_partition = 0;
        let topics: Vec<Topic> = topics
            .iter()
            .map(|&partitions| {
                let sticky = Sticky::new(settings.batch_size);
                let timed = TimedSticky::new(settings.sticky_ms() * NS_PER_MS);
                let topic = Topic { first_partition, partitions, sticky, timed, ratio: 1.0 };
                first_partition += partitions;
                topic
            })
            .collect();
        assert_eq!(first_partition, node_of.len(), "every partition has a broker");
        let mut accumulator = Accumulator {
            settings: settings.clone(),
            compression: Compression::of(codec_of(settings.compression_type)),
            producer: None,
            topics,
            queues: (0..first_partition).map(|_| Queue::default()).collect(),
            nodes: Vec::new(),
            node_of: Vec::new(),
            free_bytes: settings.buffer_memory,
            held_records: 0,
            exhausted: false,
            flushing: false,
            rng: Prng::new(seed),
            spare: Vec::new(),
        };
        accumulator.set_leaders(node_of);
        accumulator
    }

    /// Which broker leads each partition from now on.
    pub fn set_leaders(&mut self, node_of: &[usize]) {
        let count = node_of.iter().max().map_or(0, |last| last + 1);
        self.nodes = (0..count).map(|_| Node { partitions: Vec::new(), drain_from: 0 }).collect();
        for (partition, &node) in node_of.iter().enumerate() {
            self.nodes[node].partitions.push(partition);
        }
        self.node_of = node_of.to_vec();
    }

    /// Who it is, for idempotent producers; sequences begin at 0. What has a sequence already fails: see the result.
    pub fn set_producer(&mut self, producer: ProducerId) -> Vec<Batch> {
        self.producer = Some(producer);
        let mut failed = Vec::new();
        for queue in &mut self.queues {
            queue.next_sequence = 0;
            queue.in_flight.clear();
            let (sent, fresh) = queue.batches.drain(..).partition::<VecDeque<_>, _>(|batch| batch.builder.is_none());
            queue.batches = fresh;
            failed.extend(sent);
        }
        for batch in &failed {
            self.free_bytes += batch.reserved_bytes;
            self.held_records -= batch.records();
        }
        failed
    }

    /// Everything that waits is ready at once: nothing more will come.
    pub fn flush(&mut self) {
        self.flushing = true;
    }

    /// True if no record waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.batches.is_empty())
    }

    fn is_librdkafka(&self) -> bool {
        self.settings.kind == ClientKind::Librdkafka
    }

    /// Takes a record.
    pub fn append(&mut self, now_ns: u64, record: &NewRecord<'_>) -> Appended {
        if self.is_librdkafka() {
            return self.append_to_queue(now_ns, record);
        }
        let mut partition = self.partition_for(record);
        let mut appended = self.append_to_last(partition, record);
        if appended.is_none() && self.move_on(record, partition) {
            // The batch that has just been closed was all that held the switch up.
            partition = self.partition_for(record);
            appended = self.append_to_last(partition, record);
        }
        let opened = appended.is_none();
        let Some(bytes) = appended.or_else(|| self.open_batch(partition, now_ns, record)) else {
            self.exhausted = true;
            return Appended::NoMemory;
        };
        self.exhausted = false;
        self.held_records += 1;
        let full = self.is_full(partition);
        let wake = opened || full || self.queues[partition].batches.len() > 1;
        if record.key.is_none() {
            let topic = &mut self.topics[record.topic];
            topic.sticky.appended(bytes, full, topic.partitions, &mut self.rng);
        }
        Appended::Queued { wake }
    }

    /// librdkafka's way: what the queue would be cut into when it is sent is cut at once.
    fn append_to_queue(&mut self, now_ns: u64, record: &NewRecord<'_>) -> Appended {
        let bytes = (record.key.map_or(0, <[u8]>::len) + record.value.len()) as u64;
        if self.held_records >= self.settings.queue_max_messages || self.free_bytes < bytes {
            return Appended::NoMemory;
        }
        let topic = &mut self.topics[record.topic];
        let place = match record.key {
            Some(key) if !key.is_empty() => crc32(key) as usize % topic.partitions,
            _ => topic.timed.current(now_ns, topic.partitions, &mut self.rng),
        };
        let partition = topic.first_partition + place;
        let first = self.queues[partition].batches.is_empty();
        if self.append_to_last(partition, record).is_none() {
            let limit_bytes = self.settings.batch_size.min(self.settings.max_request_size) as usize;
            self.push_batch(partition, now_ns, record, None, limit_bytes);
        }
        self.free_bytes -= bytes;
        self.held_records += 1;
        if let Some(last) = self.queues[partition].batches.back_mut() {
            last.reserved_bytes += bytes;
        }
        Appended::Queued { wake: first || self.is_due(&self.queues[partition], now_ns) }
    }

    fn partition_for(&mut self, record: &NewRecord<'_>) -> usize {
        let topic = &mut self.topics[record.topic];
        if let Some(key) = record.key {
            return topic.first_partition + partition_of_key(key, topic.partitions) as usize;
        }
        let current = topic.first_partition + topic.sticky.current(topic.partitions, &mut self.rng);
        self.move_on(record, current);
        let topic = &mut self.topics[record.topic];
        topic.first_partition + topic.sticky.current(topic.partitions, &mut self.rng)
    }

    /// Makes up for a switch of partitions that only waited for the current one's last batch; true if there was one.
    fn move_on(&mut self, record: &NewRecord<'_>, current: usize) -> bool {
        let full = self.is_full(current);
        let topic = &mut self.topics[record.topic];
        record.key.is_none() && topic.sticky.moved_on(full, topic.partitions, &mut self.rng)
    }

    /// True if the partition's last batch takes no more, or there is none.
    fn is_full(&self, partition: usize) -> bool {
        self.queues[partition].batches.back().is_none_or(Batch::is_full)
    }

    fn batch_bytes(&self) -> usize {
        self.settings.batch_size.max(1) as usize
    }

    fn topic_of(&self, partition: usize) -> &Topic {
        let place = self.topics.partition_point(|topic| topic.first_partition <= partition);
        &self.topics[place - 1]
    }

    /// Appends to the partition's open batch if there is one with room. Gives the bytes it grew by.
    fn append_to_last(&mut self, partition: usize, record: &NewRecord<'_>) -> Option<u64> {
        let last = self.queues[partition].batches.back_mut()?;
        let builder = last.builder.as_ref()?;
        let next_bytes = match self.settings.kind {
            ClientKind::Java => record_bytes(builder, record),
            ClientKind::Librdkafka => {
                LIBRDKAFKA_OVERHEAD_MAX_BYTES + record.key.map_or(0, <[u8]>::len) + record.value.len()
            }
        };
        let most = match self.settings.kind {
            ClientKind::Java => i32::MAX,
            ClientKind::Librdkafka => i32::try_from(self.settings.batch_num_messages).unwrap_or(i32::MAX),
        };
        let fits = builder.record_count() < most && last.estimated_bytes() + next_bytes <= last.limit_bytes;
        if last.is_full() || !fits {
            last.closed = true;
            return None;
        }
        Some(push(last, record))
    }

    /// Begins a batch if there is memory for it. Gives the bytes it has.
    fn open_batch(&mut self, partition: usize, now_ns: u64, record: &NewRecord<'_>) -> Option<u64> {
        let upper_bound =
            HEADER_BYTES + RECORD_OVERHEAD_MAX_BYTES + key_value_bytes(record.key, record.value) + NO_HEADERS_BYTES;
        let limit_bytes = self.batch_bytes().max(upper_bound);
        self.free_bytes = self.free_bytes.checked_sub(limit_bytes as u64)?;
        let compressed = self.compression.codec != Codec::None;
        let ratio = compressed.then(|| self.topic_of(partition).ratio);
        let bytes = self.push_batch(partition, now_ns, record, ratio, limit_bytes);
        if let Some(batch) = self.queues[partition].batches.back_mut() {
            batch.reserved_bytes = limit_bytes as u64;
        }
        Some(bytes)
    }

    /// Begins a batch. Gives the bytes it has.
    fn push_batch(
        &mut self,
        partition: usize,
        now_ns: u64,
        record: &NewRecord<'_>,
        ratio: Option<f64>,
        limit_bytes: usize,
    ) -> u64 {
        let mut batch = Batch {
            partition,
            intended_ns: self.spare.pop().unwrap_or_default(),
            payload_bytes: 0,
            attempts: 0,
            builder: Some(BatchBuilder::new(self.compression)),
            encoded: Bytes::new(),
            ratio,
            limit_bytes,
            closed: false,
            created_ns: now_ns,
            retry_at_ms: None,
            sequence: None,
            reserved_bytes: 0,
        };
        push(&mut batch, record);
        let bytes = batch.estimated_bytes() as u64;
        self.queues[partition].batches.push_back(batch);
        self.queues[partition].used = true;
        bytes
    }

    /// When a batch has waited for long enough, in nanoseconds.
    fn due_ns(&self, batch: &Batch) -> u64 {
        let linger_ns = self.settings.linger_ms * NS_PER_MS;
        match (batch.retry_at_ms, self.settings.kind) {
            (Some(at_ms), _) => at_ms * NS_PER_MS,
            (None, ClientKind::Java) => batch.created_ns / NS_PER_MS * NS_PER_MS + linger_ns,
            (None, ClientKind::Librdkafka) => batch.created_ns + linger_ns,
        }
    }

    /// True if the oldest batch of a queue should leave, if only something does not hold it back.
    fn is_due(&self, queue: &Queue, now_ns: u64) -> bool {
        let Some(first) = queue.batches.front() else { return false };
        let enough = self.is_librdkafka()
            && (first.records() >= u64::from(self.settings.batch_num_messages)
                || first.payload_bytes >= u64::from(self.settings.batch_size));
        let full = queue.batches.len() > 1 || first.is_full() || enough;
        full || self.exhausted || self.flushing || self.due_ns(first) <= now_ns
    }

    /// When somebody who sleeps until a time wakes up: both clients sleep for whole milliseconds.
    fn wake_ns(&self, now_ns: u64, due_ns: u64) -> u64 {
        match self.settings.kind {
            // Its clock's milliseconds are what is counted, from wherever in one of them it is.
            ClientKind::Java => now_ns + due_ns.saturating_sub(now_ns / NS_PER_MS * NS_PER_MS),
            ClientKind::Librdkafka => now_ns + due_ns.saturating_sub(now_ns).next_multiple_of(NS_PER_MS),
        }
    }

    /// Which brokers could be sent something now.
    pub fn ready(&mut self, now_ns: u64) -> Ready {
        let mut ready = vec![false; self.nodes.len()];
        let mut next_ns: Option<u64> = None;
        for (partition, queue) in self.queues.iter().enumerate() {
            let Some(first) = queue.batches.front() else { continue };
            let node = self.node_of[partition];
            if ready[node] || queue.muted {
                continue;
            }
            if !is_backing_off(first, now_ns) && self.is_due(queue, now_ns) {
                ready[node] = true;
            } else {
                let at = self.wake_ns(now_ns, self.due_ns(first));
                next_ns = Some(next_ns.map_or(at, |next| next.min(at)));
            }
        }
        let nodes = (0..ready.len()).filter(|&node| ready[node]).collect();
        self.update_stickiness();
        Ready { nodes, next_ns }
    }

    fn update_stickiness(&mut self) {
        let queues = &self.queues;
        for topic in &mut self.topics {
            if topic.partitions > 1 {
                let range = topic.first_partition..topic.first_partition + topic.partitions;
                // As long as one of them never had a batch, all are drawn alike.
                let known = queues[range.clone()].iter().all(|queue| queue.used);
                let sizes = queues[range].iter().map(|queue| queue.batches.len());
                topic.sticky.queue_sizes(sizes.take(if known { topic.partitions } else { 0 }));
            }
        }
    }

    /// The oldest batch of each of a broker's partitions, in turn, up to `max.request.size`. By librdkafka's rules one
    /// batch that is due.
    pub fn drain(&mut self, now_ns: u64, node: usize) -> Vec<Batch> {
        let count = self.nodes[node].partitions.len();
        let mut drained = Vec::new();
        let mut bytes = 0;
        let start = self.nodes[node].drain_from % count.max(1);
        for step in 0..count {
            let place = (start + step) % count;
            self.nodes[node].drain_from = place;
            let partition = self.nodes[node].partitions[place];
            let Some(first) = self.queues[partition].batches.front() else { continue };
            if self.queues[partition].muted || is_backing_off(first, now_ns) {
                continue;
            }
            if self.is_librdkafka() && !self.is_due(&self.queues[partition], now_ns) {
                continue;
            }
            if !drained.is_empty() && bytes + first.estimated_bytes() > self.settings.max_request_size as usize {
                break;
            }
            let first_in_flight = self.queues[partition].in_flight.first();
            if first.sequence.is_some_and(|own| first_in_flight.is_some_and(|&other| other != own)) {
                break;
            }
            let Some(mut batch) = self.queues[partition].batches.pop_front() else { continue };
            self.close(&mut batch);
            batch.attempts += 1;
            batch.retry_at_ms = None;
            bytes += batch.encoded.len();
            self.queues[partition].muted = self.settings.max_in_flight == 1;
            drained.push(batch);
            if self.is_librdkafka() {
                self.nodes[node].drain_from = (place + 1) % count;
                break;
            }
        }
        drained
    }

    /// Gives a batch its sequence and its final bytes.
    fn close(&mut self, batch: &mut Batch) {
        let Some(mut builder) = batch.builder.take() else { return };
        if let Some(producer) = self.producer {
            let queue = &mut self.queues[batch.partition];
            let sequence = queue.next_sequence;
            builder = builder.producer(producer.id, producer.epoch, sequence);
            batch.sequence = Some(sequence);
            queue.in_flight.insert(sequence);
            // Sequences go on with 0 behind the largest number.
            queue.next_sequence =
                ((i64::from(sequence) + i64::from(builder.record_count())) % (i64::from(i32::MAX) + 1)) as i32;
        }
        let plain = builder.plain_bytes() - HEADER_BYTES;
        batch.encoded = builder.build();
        if self.compression.codec != Codec::None {
            let observed = (batch.encoded.len() - HEADER_BYTES) as f64 / plain as f64;
            let place = self.topics.partition_point(|topic| topic.first_partition <= batch.partition) - 1;
            let ratio = &mut self.topics[place].ratio;
            *ratio = if observed > *ratio {
                observed.max(*ratio + RATIO_DETERIORATE_STEP)
            } else {
                observed.max(*ratio - RATIO_IMPROVING_STEP)
            };
        }
    }

    /// A batch was acknowledged: its memory is free again.
    pub fn complete(&mut self, mut batch: Batch) {
        self.release(&batch);
        batch.intended_ns.clear();
        self.spare.push(batch.intended_ns);
    }

    /// An attempt failed. `retriable`: another one may help.
    pub fn failed(&mut self, now_ns: u64, mut batch: Batch, retriable: bool) -> Outcome {
        let now_ms = now_ns / NS_PER_MS;
        let expired = now_ms.saturating_sub(batch.created_ns / NS_PER_MS) >= self.settings.delivery_timeout_ms;
        if !retriable || expired {
            self.release(&batch);
            return Outcome::Failed(batch);
        }
        let doublings = batch.attempts.saturating_sub(1).min(16);
        let pause_ms = (self.settings.retry_backoff_ms << doublings).min(self.settings.retry_backoff_max_ms);
        batch.retry_at_ms = Some(now_ms + pause_ms);
        let queue = &mut self.queues[batch.partition];
        queue.muted = false;
        // Retried batches stand in front of fresh ones, by their sequence.
        let sequence = batch.sequence.unwrap_or(i32::MIN);
        let place =
            queue.batches.iter().take_while(|other| other.sequence.is_some_and(|other| other < sequence)).count();
        queue.batches.insert(place, batch);
        Outcome::Retried
    }

    /// True if this batch is the oldest of its partition that is not acknowledged.
    pub fn is_first_in_flight(&self, batch: &Batch) -> bool {
        batch.sequence.is_none_or(|own| self.queues[batch.partition].in_flight.first() == Some(&own))
    }

    fn release(&mut self, batch: &Batch) {
        self.free_bytes += batch.reserved_bytes;
        self.held_records -= batch.records();
        assert!(self.free_bytes <= self.settings.buffer_memory, "no memory is given back twice");
        let queue = &mut self.queues[batch.partition];
        queue.muted = false;
        if let Some(sequence) = batch.sequence {
            queue.in_flight.remove(&sequence);
        }
    }
}

/// True if a batch that failed is not to be tried again yet.
fn is_backing_off(batch: &Batch, now_ns: u64) -> bool {
    batch.retry_at_ms.is_some_and(|at_ms| at_ms > now_ns / NS_PER_MS)
}

/// Appends and gives the bytes that the batch is estimated to have grown by.
fn push(batch: &mut Batch, record: &NewRecord<'_>) -> u64 {
    let before = batch.estimated_bytes();
    let builder = batch.builder.as_mut().expect("only open batches are appended to");
    builder.push(record.timestamp_ms, record.key, Some(record.value), &[]);
    batch.intended_ns.push(record.intended_ns);
    batch.payload_bytes += (record.key.map_or(0, <[u8]>::len) + record.value.len()) as u64;
    (batch.estimated_bytes() - before) as u64
}

/// The bytes that a record will take in a batch.
fn record_bytes(batch: &BatchBuilder, record: &NewRecord<'_>) -> usize {
    const ATTRIBUTES_BYTES: usize = 1;
    let body = ATTRIBUTES_BYTES
        + varint::len_i64(record.timestamp_ms - batch.base_timestamp_ms())
        + varint::len_i32(batch.record_count())
        + key_value_bytes(record.key, record.value)
        + NO_HEADERS_BYTES;
    varint::len_i32(body as i32) + body
}

/// The bytes of a key and a value with their lengths.
fn key_value_bytes(key: Option<&[u8]>, value: &[u8]) -> usize {
    let key_bytes = key.map_or(varint::len_i32(-1), |key| varint::len_i32(key.len() as i32) + key.len());
    key_bytes + varint::len_i32(value.len() as i32) + value.len()
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
