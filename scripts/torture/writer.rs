//! Producers of every kind: idempotent ones that repeat what got no answer, plain ones that do not, and ones that ask for no
//! answer. Must never touch: what the records hold, what is right.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coretide_client::{ClientError, Connection};
use coretide_model::ErrorCode;
use coretide_stdx::prng::Prng;
use coretide_wire::messages::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse};

use crate::calls;
use crate::content::{Flavour, Stamp, make_batch};
use crate::model::Sent;
use crate::world::{Moment, REQUEST_TIMEOUT, Topic, World, count, now_ms};

/// Kafka lets an idempotent producer have this many batches of a partition unanswered.
const DEPTH_MAX: usize = 5;
/// Segments of all topics are this large, the least that Kafka's configuration allows.
pub const SEGMENT_BYTES: u64 = 1 << 20;

/// How a producer behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// 0, 1 or -1.
    pub acks: i16,
    /// It has a producer id and repeats what got no answer.
    pub idempotent: bool,
    /// What its records look like.
    pub flavour: Flavour,
    /// Requests that may be unanswered.
    pub depth: usize,
    /// Records of one batch at most.
    pub records_max: u64,
    /// The longest pause between two requests.
    pub pause_us: u64,
}

/// A batch that was sent or is to be sent again.
#[derive(Clone, Debug)]
struct Batch {
    lane: usize,
    sent: Sent,
    bytes: Bytes,
}

/// One partition of the producer.
#[derive(Debug, Default)]
struct Lane {
    index: i32,
    next_n: u64,
    /// The number that has the sequence 0.
    sequence_from: u64,
    again: VecDeque<Batch>,
    bytes: u64,
}

/// A producer to all partitions of one topic.
pub struct Writer<'a> {
    world: &'a World,
    topic: Arc<Topic>,
    number: u32,
    manner: Manner,
    prng: Prng,
    identity: Option<(i64, i16)>,
    lanes: Vec<Lane>,
    waiting: VecDeque<Vec<Batch>>,
}

/// What the answer for a batch means.
enum Verdict {
    /// Acknowledged, or given up: it may be there or not.
    Done,
    Again,
}

impl<'a> Writer<'a> {
    /// A producer that has sent nothing yet.
    pub fn new(world: &'a World, topic: Arc<Topic>, manner: Manner, prng: Prng) -> Writer<'a> {
        let lanes = (0..topic.partitions.len() as i32).map(|index| Lane { index, ..Lane::default() }).collect();
        let number = world.writer_number();
        let manner = Manner { depth: manner.depth.clamp(1, DEPTH_MAX), ..manner };
        Writer { world, topic, number, manner, prng, identity: None, lanes, waiting: VecDeque::new() }
    }

    /// Produces until the run is over, through all lives of the broker.
    pub fn run(mut self) {
        while self.world.enter().is_some() {
            self.take_stock();
            if let Err(error) = self.live() {
                self.world.refusal(format!("producer: {}", kind_of(&error)));
            }
            self.lose_answers();
            self.world.rest(Duration::from_millis(5));
        }
    }

    /// A new life: perhaps the topic is another one, perhaps the producer begins as a new one.
    fn take_stock(&mut self) {
        let is_idle = self.lanes.iter().all(|lane| lane.again.is_empty());
        let topic = self.world.topic(&self.topic.name).unwrap_or_else(|| Arc::clone(&self.topic));
        let is_new = topic.tag != self.topic.tag;
        if is_new || is_idle && self.prng.chance(1, 8) {
            let prng = self.prng.fork();
            *self = Writer::new(self.world, topic, self.manner, prng);
        } else if is_idle && self.prng.chance(1, 8) {
            self.identity = None;
        }
    }

    fn live(&mut self) -> Result<(), ClientError> {
        let mut connection = calls::connect(self.world, "torture-producer")?;
        if self.manner.idempotent && self.identity.is_none() {
            let Some(identity) = calls::producer_id(&mut connection)? else { return Ok(()) };
            self.world.producer_id(identity.0);
            self.identity = Some(identity);
            self.lanes.iter_mut().for_each(|lane| lane.sequence_from = lane.next_n);
        }
        while self.world.is_open() {
            let is_stuck = self.waiting.len() >= self.manner.depth || self.must_drain();
            if is_stuck && !self.waiting.is_empty() {
                self.receive(&mut connection)?;
                continue;
            }
            self.send(&mut connection)?;
            if self.manner.pause_us > 0 {
                std::thread::sleep(Duration::from_micros(self.prng.below(self.manner.pause_us)));
            }
        }
        while !self.waiting.is_empty() {
            self.receive(&mut connection)?;
        }
        Ok(())
    }

    /// What failed is sent again only when everything behind it has been answered, too: the order must stay.
    fn must_drain(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.again.is_empty()) && !self.waiting.is_empty()
    }

    fn send(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let mut batches = Vec::new();
        let first = self.prng.below(self.lanes.len() as u64) as usize;
        let width = 1 + self.prng.below(self.lanes.len().min(3) as u64) as usize;
        for lane in 0..self.lanes.len() {
            if let Some(batch) = self.lanes[lane].again.pop_front() {
                count(&self.world.counters.repeated_batches, 1);
                batches.push(batch);
            }
        }
        if batches.is_empty() {
            for step in 0..width {
                let batch = self.fresh((first + step) % self.lanes.len());
                batches.push(batch);
            }
        }
        let parts: Vec<(i32, Bytes)> =
            batches.iter().map(|batch| (self.lanes[batch.lane].index, batch.bytes.clone())).collect();
        let request = calls::produce_request(&self.topic.name, self.manner.acks, &parts);
        if self.manner.acks == 0 {
            return connection.send_unanswered(&request);
        }
        // What cannot be sent whole got no answer either.
        self.waiting.push_back(batches);
        connection.send(&request)
    }

    fn fresh(&mut self, at: usize) -> Batch {
        let manner = self.manner;
        let records = 1 + self.prng.below(manner.records_max) as u32;
        let lane = &mut self.lanes[at];
        let (first_n, timestamp_ms) = (lane.next_n, now_ms());
        lane.next_n += u64::from(records);
        let producer = self.identity.map(|(id, epoch)| (id, epoch, (first_n - lane.sequence_from) as i32));
        let first = Stamp {
            tag: self.topic.tag,
            n: first_n,
            writer: self.number,
            partition: lane.index,
            flavour: manner.flavour,
        };
        let bytes = make_batch(first, records, timestamp_ms, producer);
        let sent = Sent {
            writer: self.number,
            first_n,
            count: records,
            timestamp_ms,
            bytes: bytes.len() as u32,
            producer,
            gapless: manner.idempotent,
        };
        let index = lane.index;
        self.topic.partition(index).sending(sent);
        Batch { lane: at, sent, bytes }
    }

    fn receive(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let response = connection.receive::<ProduceRequest>(REQUEST_TIMEOUT)?;
        let batches = self.waiting.pop_front().unwrap_or_default();
        self.take_answers(batches, &response)
    }

    fn take_answers(&mut self, batches: Vec<Batch>, response: &ProduceResponse) -> Result<(), ClientError> {
        for batch in batches {
            let answer = calls::produced(response, self.lanes[batch.lane].index)?;
            match self.judge(&batch, answer) {
                Verdict::Done => {}
                Verdict::Again => self.lanes[batch.lane].again.push_back(batch),
            }
        }
        Ok(())
    }

    fn judge(&mut self, batch: &Batch, answer: &PartitionProduceResponse) -> Verdict {
        let lane = &mut self.lanes[batch.lane];
        let place = format!("{}-{}", self.topic.name, lane.index);
        let code = ErrorCode::from_code(answer.error_code);
        match code {
            Some(ErrorCode::None) => {
                if let Err(problem) = self.topic.partition(lane.index).acked(&batch.sent, answer.base_offset) {
                    self.world.fail(format!("{place}: {problem}"));
                }
                count(&self.world.counters.acked_records, u64::from(batch.sent.count));
                count(&self.world.counters.acked_bytes, u64::from(batch.sent.bytes));
                let before = lane.bytes / SEGMENT_BYTES;
                lane.bytes += u64::from(batch.sent.bytes);
                if lane.bytes / SEGMENT_BYTES > before {
                    self.world.moment(Moment::SegmentFull);
                }
                Verdict::Done
            }
            // Its predecessor failed, and both are sent again.
            Some(ErrorCode::OutOfOrderSequenceNumber) if !lane.again.is_empty() => Verdict::Again,
            Some(code) if code.is_retriable() && code != ErrorCode::UnknownTopicOrPartition => {
                self.world.refusal(format!("producer: {}", code.name()));
                if self.manner.idempotent { Verdict::Again } else { Verdict::Done }
            }
            _ => {
                let name = code.map_or("an unknown code", ErrorCode::name);
                self.world.fail(format!("{place}: {:?} was refused with {name} ({})", batch.sent, answer.error_code));
                Verdict::Done
            }
        }
    }

    /// The broker is gone: what got no answer is repeated by those that do so, in the order in which it was sent.
    fn lose_answers(&mut self) {
        let lost: Vec<Batch> = self.waiting.drain(..).flatten().collect();
        if !self.manner.idempotent {
            return;
        }
        // What already waits to be repeated was sent before, or failed before, what waits for its answer.
        for batch in lost {
            self.lanes[batch.lane].again.push_back(batch);
        }
        for lane in &mut self.lanes {
            lane.again.make_contiguous().sort_by_key(|batch| batch.sent.first_n);
        }
    }
}

/// An error without its particulars, to be counted.
pub fn kind_of(error: &ClientError) -> String {
    match error {
        ClientError::Connect { .. } => "no connection".to_string(),
        ClientError::Lost { .. } => "connection lost".to_string(),
        ClientError::Timeout { request, .. } => format!("{request} was not answered in time"),
        ClientError::GaveUp { last, .. } => kind_of(last),
        other => other.code().map_or_else(|| other.to_string(), |code| code.name().to_string()),
    }
}
