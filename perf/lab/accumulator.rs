//! Kafka's record accumulator: records gather in one queue of batches per partition until a batch is full, has lingered,
//! or memory is short; then every partition of a ready broker gives its oldest batch to one request.
//!
//! ```text
//!   append(record) ─► queue of its partition ─► ready(now): brokers ─► drain(broker): batches ─► complete | retry
//! ```
//!
//! Time is an argument, in nanoseconds; like Java's client it counts `linger.ms` in whole milliseconds.
//! Must never touch: sockets, clocks.

use crate::lab::scenario::{CompressionType, ProducerSettings};
use crate::lab::sticky::Sticky;
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
    created_ms: u64,
    last_attempt_ms: u64,
    retry_at_ms: Option<u64>,
    sequence: Option<i32>,
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

    fn plain_bytes(&self) -> usize {
        self.builder.as_ref().map_or(self.encoded.len(), BatchBuilder::plain_bytes)
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
}

#[derive(Debug)]
struct Topic {
    first_partition: usize,
    partitions: usize,
    sticky: Sticky,
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
                let topic = Topic { first_partition, partitions, sticky, ratio: 1.0 };
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

    /// Takes a record.
    pub fn append(&mut self, now_ns: u64, record: &NewRecord<'_>) -> Appended {
        let partition = self.partition_for(record);
        let now_ms = now_ns / NS_PER_MS;
        let appended = match self.append_to_last(partition, record) {
            Some(bytes) => (bytes, false),
            None => match self.open_batch(partition, now_ms, record) {
                Some(bytes) => (bytes, true),
                None => {
                    self.exhausted = true;
                    return Appended::NoMemory;
                }
            },
        };
        self.exhausted = false;
        let (bytes, opened) = appended;
        let full = self.is_full(partition);
        let wake = opened || full || self.queues[partition].batches.len() > 1;
        if record.key.is_none() {
            let topic = &mut self.topics[record.topic];
            topic.sticky.appended(bytes, full, topic.partitions, &mut self.rng);
        }
        Appended::Queued { wake }
    }

    fn partition_for(&mut self, record: &NewRecord<'_>) -> usize {
        let topic = &mut self.topics[record.topic];
        if let Some(key) = record.key {
            return topic.first_partition + partition_of_key(key, topic.partitions) as usize;
        }
        let first = topic.first_partition;
        let current = first + topic.sticky.current(topic.partitions, &mut self.rng);
        let full = self.is_full(current);
        let topic = &mut self.topics[record.topic];
        topic.sticky.moved_on(full, topic.partitions, &mut self.rng);
        first + topic.sticky.current(topic.partitions, &mut self.rng)
    }

    /// True if the partition's last batch takes no more, or there is none.
    fn is_full(&self, partition: usize) -> bool {
        match self.queues[partition].batches.back() {
            Some(last) => last.builder.is_none() || self.estimated_bytes(last) >= self.batch_bytes(),
            None => true,
        }
    }

    fn batch_bytes(&self) -> usize {
        self.settings.batch_size.max(1) as usize
    }

    /// What a batch will take on the wire, as far as one can know before it is compressed.
    fn estimated_bytes(&self, batch: &Batch) -> usize {
        let plain = batch.plain_bytes();
        if self.compression.codec == Codec::None || batch.builder.is_none() {
            return plain;
        }
        let ratio = self.topic_of(batch.partition).ratio;
        HEADER_BYTES + ((plain - HEADER_BYTES) as f64 * ratio * COMPRESSION_SAFETY) as usize
    }

    fn topic_of(&self, partition: usize) -> &Topic {
        let place = self.topics.partition_point(|topic| topic.first_partition <= partition);
        &self.topics[place - 1]
    }

    /// Appends to the partition's open batch if there is one with room. Gives the bytes it grew by.
    fn append_to_last(&mut self, partition: usize, record: &NewRecord<'_>) -> Option<u64> {
        let last = self.queues[partition].batches.back()?;
        let builder = last.builder.as_ref()?;
        let room = self.batch_bytes();
        let estimated = self.estimated_bytes(last);
        let bytes = record_bytes(builder.record_count(), record.key, record.value);
        if estimated >= room || estimated + bytes > room {
            return None;
        }
        let last = self.queues[partition].batches.back_mut()?;
        Some(push(last, record))
    }

    /// Begins a batch if there is memory for it. Gives the bytes it has.
    fn open_batch(&mut self, partition: usize, now_ms: u64, record: &NewRecord<'_>) -> Option<u64> {
        let key_bytes = record.key.map_or(0, <[u8]>::len);
        let upper_bound = HEADER_BYTES + RECORD_OVERHEAD_MAX_BYTES + key_bytes + record.value.len();
        let reserved_bytes = self.batch_bytes().max(upper_bound) as u64;
        self.free_bytes = self.free_bytes.checked_sub(reserved_bytes)?;
        let mut batch = Batch {
            partition,
            intended_ns: self.spare.pop().unwrap_or_default(),
            payload_bytes: 0,
            attempts: 0,
            builder: Some(BatchBuilder::new(self.compression)),
            encoded: Bytes::new(),
            created_ms: now_ms,
            last_attempt_ms: now_ms,
            retry_at_ms: None,
            sequence: None,
            reserved_bytes,
        };
        push(&mut batch, record);
        let bytes = batch.plain_bytes() as u64;
        self.queues[partition].batches.push_back(batch);
        Some(bytes)
    }

    /// Which brokers could be sent something now.
    pub fn ready(&mut self, now_ns: u64) -> Ready {
        let now_ms = now_ns / NS_PER_MS;
        let mut ready = vec![false; self.nodes.len()];
        let mut next_ms: Option<u64> = None;
        for (partition, queue) in self.queues.iter().enumerate() {
            let Some(first) = queue.batches.front() else { continue };
            let node = self.node_of[partition];
            if ready[node] || queue.muted {
                continue;
            }
            let due_ms = first.retry_at_ms.unwrap_or(first.last_attempt_ms + self.settings.linger_ms);
            let backing_off = first.retry_at_ms.is_some_and(|at| at > now_ms);
            let full = queue.batches.len() > 1 || self.is_full(partition);
            if !backing_off && (full || self.exhausted || self.flushing || due_ms <= now_ms) {
                ready[node] = true;
            } else {
                next_ms = Some(next_ms.map_or(due_ms, |next| next.min(due_ms)));
            }
        }
        let nodes = (0..ready.len()).filter(|&node| ready[node]).collect();
        self.update_stickiness();
        Ready { nodes, next_ns: next_ms.map(|at| at * NS_PER_MS) }
    }

    fn update_stickiness(&mut self) {
        let queues = &self.queues;
        for topic in &mut self.topics {
            if topic.partitions > 1 {
                let range = topic.first_partition..topic.first_partition + topic.partitions;
                topic.sticky.queue_sizes(queues[range].iter().map(|queue| queue.batches.len()));
            }
        }
    }

    /// The oldest batch of each of a broker's partitions, in turn, up to `max.request.size`.
    pub fn drain(&mut self, now_ns: u64, node: usize) -> Vec<Batch> {
        let now_ms = now_ns / NS_PER_MS;
        let count = self.nodes[node].partitions.len();
        let mut drained = Vec::new();
        let mut bytes = 0;
        let start = self.nodes[node].drain_from % count.max(1);
        for step in 0..count {
            let place = (start + step) % count;
            self.nodes[node].drain_from = place;
            let partition = self.nodes[node].partitions[place];
            let Some(first) = self.queues[partition].batches.front() else { continue };
            if self.queues[partition].muted || first.retry_at_ms.is_some_and(|at| at > now_ms) {
                continue;
            }
            if !drained.is_empty() && bytes + self.estimated_bytes(first) > self.settings.max_request_size as usize {
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
            batch.last_attempt_ms = now_ms;
            bytes += batch.encoded.len();
            self.queues[partition].muted = self.settings.max_in_flight == 1;
            drained.push(batch);
            self.nodes[node].drain_from = (place + 1) % count;
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
        let expired = now_ms.saturating_sub(batch.created_ms) >= self.settings.delivery_timeout_ms;
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
        assert!(self.free_bytes <= self.settings.buffer_memory, "no memory is given back twice");
        let queue = &mut self.queues[batch.partition];
        queue.muted = false;
        if let Some(sequence) = batch.sequence {
            queue.in_flight.remove(&sequence);
        }
    }
}

fn push(batch: &mut Batch, record: &NewRecord<'_>) -> u64 {
    let builder = batch.builder.as_mut().expect("only open batches are appended to");
    let before = builder.plain_bytes();
    builder.push(record.timestamp_ms, record.key, Some(record.value), &[]);
    let grown = builder.plain_bytes() - before;
    batch.intended_ns.push(record.intended_ns);
    batch.payload_bytes += (record.key.map_or(0, <[u8]>::len) + record.value.len()) as u64;
    grown as u64
}

/// The bytes that a record will take in a batch, but for its timestamp, which is taken for the batch's first one plus
/// less than a minute.
fn record_bytes(offset_delta: i32, key: Option<&[u8]>, value: &[u8]) -> usize {
    const TIMESTAMP_DELTA_BYTES: usize = 1;
    let key_bytes = key.map_or(1, |key| varint::len_i32(key.len() as i32) + key.len());
    let value_bytes = varint::len_i32(value.len() as i32) + value.len();
    let body = 1 + TIMESTAMP_DELTA_BYTES + varint::len_i32(offset_delta) + key_bytes + value_bytes + 1;
    varint::len_i32(body as i32) + body
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
