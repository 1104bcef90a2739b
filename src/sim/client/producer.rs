//! A producer: idempotent with pipelining as Java's, or plain. It resends what is unanswered, in order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use coretide_wire::api::ApiKey;
use coretide_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse};

use super::worker::{Links, Worker, produce_topic};
use super::{Answer, Command, Cx, Shared, Slot, is_retriable};
use crate::judge::{PartitionName, Promise, Verdict};
use crate::records::{CODECS, Codec, RecordId, Sequenced, encode_batch_in};

const MORE: u32 = 1;

/// Requests in flight on the connection, as Java's `max.in.flight.requests.per.connection`.
const IN_FLIGHT_MAX: usize = 5;

/// How long the broker may take for a request.
const TIMEOUT_MS: i32 = 30_000;

/// REQUEST_TIMED_OUT.
const TIMED_OUT: i16 = 7;

/// How a producer produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerKind {
    /// Sequence numbers, acks=-1.
    Idempotent,
    /// No sequence numbers; acks 0, 1 or -1.
    Plain { acks: i16 },
}

/// A batch that is not acked.
#[derive(Debug)]
struct Pending {
    ids: Vec<RecordId>,
    batch: Bytes,
    in_flight: Option<i32>,
}

/// The batches of one partition, oldest first.
#[derive(Debug)]
struct Lane {
    partition: PartitionName,
    number: u32,
    next_place: u64,
    next_sequence: i32,
    pending: VecDeque<Pending>,
    /// Something failed: what is in flight must come back before anything is sent again.
    draining: bool,
}

/// The producer.
#[derive(Debug)]
pub struct Producer {
    kind: ProducerKind,
    version: i16,
    identity: Option<(i64, i16)>,
    lanes: Vec<Lane>,
    /// When each request in flight was sent, in microseconds, and the lanes of which it carries a batch.
    requests: BTreeMap<i32, (u64, Vec<usize>)>,
    batches_left: u32,
    pause_ms: u64,
    /// Chosen anew now and then.
    codec: Codec,
}

impl Producer {
    /// A producer of `batches` batches, with about `pause_ms` between them.
    pub fn new(kind: ProducerKind, version: i16, batches: u32, pause_ms: u64) -> Producer {
        let (identity, lanes, requests) = (None, Vec::new(), BTreeMap::new());
        Producer { kind, version, identity, lanes, requests, batches_left: batches, pause_ms, codec: Codec::None }
    }

    fn make_lanes(&mut self, cx: &mut Cx<'_>) {
        for partition in cx.shared.partitions() {
            if self.lanes.is_empty() || cx.prng.chance(1, 2) {
                let number = cx.shared.lanes;
                cx.shared.lanes += 1;
                let pending = VecDeque::new();
                self.lanes.push(Lane { partition, number, next_place: 0, next_sequence: 0, pending, draining: false });
            }
        }
    }

    /// Makes a batch if the lane has room: five unacked ones, as many as the broker remembers.
    fn make_batch(&mut self, cx: &mut Cx<'_>) {
        let place = cx.prng.below(self.lanes.len() as u64) as usize;
        let lane = &mut self.lanes[place];
        if lane.pending.len() >= IN_FLIGHT_MAX {
            return;
        }
        // Zstandard needs version 7 of Produce.
        if cx.shared.compressed && cx.prng.chance(1, 4) {
            self.codec = CODECS[cx.prng.below(if self.version >= 7 { 5 } else { 4 }) as usize];
        }
        let count = 1 + cx.prng.below(4);
        let mut ids = Vec::new();
        for _ in 0..count {
            let promise = match self.kind {
                ProducerKind::Idempotent => Promise::ExactlyOnce { lane: lane.number, place: lane.next_place },
                ProducerKind::Plain { .. } => Promise::AtLeastOnce,
            };
            lane.next_place += 1;
            ids.push(cx.shared.log.new_record(&lane.partition, promise, cx.wall_ms));
        }
        let sequenced = match (self.kind, self.identity) {
            (ProducerKind::Idempotent, Some((producer_id, producer_epoch))) => {
                let base_sequence = lane.next_sequence;
                lane.next_sequence += count as i32;
                Sequenced { producer_id, producer_epoch, base_sequence }
            }
            _ => Sequenced::NONE,
        };
        let batch = Bytes::from(encode_batch_in(self.codec, &ids, cx.wall_ms, sequenced));
        lane.pending.push_back(Pending { ids, batch, in_flight: None });
        self.batches_left -= 1;
    }

    fn pump(&mut self, cx: &mut Cx<'_>) {
        let ready = self.kind != ProducerKind::Idempotent || self.identity.is_some();
        while ready && self.requests.len() < IN_FLIGHT_MAX {
            let mut chosen: Vec<(usize, usize)> = Vec::new();
            for (place, lane) in self.lanes.iter().enumerate() {
                let first_waiting = lane.pending.iter().position(|pending| pending.in_flight.is_none());
                if let (false, Some(waiting)) = (lane.draining, first_waiting)
                    && (chosen.is_empty() || cx.prng.chance(2, 3))
                {
                    chosen.push((place, waiting));
                }
            }
            if chosen.is_empty() {
                return;
            }
            self.send(cx, &chosen);
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, chosen: &[(usize, usize)]) {
        let acks = match self.kind {
            ProducerKind::Idempotent => -1,
            ProducerKind::Plain { acks } => acks,
        };
        let mut topics: BTreeMap<String, Vec<PartitionProduceData>> = BTreeMap::new();
        for &(place, waiting) in chosen {
            let lane = &self.lanes[place];
            let records = Some(lane.pending[waiting].batch.clone());
            let data = PartitionProduceData { index: lane.partition.1, records };
            topics.entry(lane.partition.0.clone()).or_default().push(data);
        }
        let id = |name: &str| (self.version >= 13).then(|| cx.shared.topic_id(name));
        let topic_data = topics.into_iter().map(|(name, data)| produce_topic(&name, id(&name), data)).collect();
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms: TIMEOUT_MS, topic_data };
        let correlation = cx.send_with(0, ApiKey::Produce, self.version, &request, acks != 0);
        for &(place, waiting) in chosen {
            if acks == 0 {
                self.lanes[place].pending.remove(waiting);
            } else {
                self.lanes[place].pending[waiting].in_flight = Some(correlation);
            }
        }
        if acks != 0 {
            self.requests.insert(correlation, (cx.now_us, chosen.iter().map(|&(place, _)| place).collect()));
        }
    }

    fn on_produced(&mut self, cx: &mut Cx<'_>, correlation: i32, response: &ProduceResponse) -> Verdict {
        let asked = self.requests.remove(&correlation);
        let (sent_at_us, mut missing) = asked.ok_or("a Produce response nobody asked for")?;
        let waited_ms = (cx.now_us - sent_at_us) / 1000;
        for topic in &response.responses {
            let name = if self.version >= 13 { cx.shared.topic_name(topic.topic_id.0) } else { topic.name.clone() };
            for partition in &topic.partition_responses {
                let at = (name.clone(), partition.index);
                let found = missing.iter().position(|&lane| self.lanes[lane].partition == at);
                let found = found.ok_or_else(|| format!("Produce response names {at:?} once too often"))?;
                let lane = missing.remove(found);
                if partition.error_code == TIMED_OUT && waited_ms < TIMEOUT_MS as u64 {
                    return Err(format!("P6: Produce to {at:?} has timed out after {waited_ms} of {TIMEOUT_MS} ms"));
                }
                self.on_partition(cx, correlation, lane, partition.error_code, partition.base_offset)?;
            }
        }
        if missing.is_empty() { Ok(()) } else { Err("a Produce response leaves out partitions".to_string()) }
    }

    fn on_partition(&mut self, cx: &mut Cx<'_>, correlation: i32, lane: usize, code: i16, base_offset: i64) -> Verdict {
        let lane = &mut self.lanes[lane];
        let place = lane.pending.iter().position(|pending| pending.in_flight == Some(correlation));
        let place = place.expect("what is in flight is pending");
        if code == 0 {
            let pending = lane.pending.remove(place).expect("found above");
            if place > 0 && self.kind == ProducerKind::Idempotent && !lane.draining {
                return Err(format!("I5: {:?} was acked before an earlier batch", lane.partition));
            }
            cx.shared.log.acked(&lane.partition, &pending.ids, base_offset)?;
        } else {
            // Behind a failed batch a gap is the right answer; at the head it is a lost or forgotten batch.
            let gap_is_due = code == 45 && place > 0;
            if !is_retriable(code) && !gap_is_due {
                let ids = &lane.pending[place].ids;
                return Err(format!("Produce of {ids:?} to {:?} failed with error {code}", lane.partition));
            }
            lane.pending[place].in_flight = None;
            lane.draining = true;
        }
        if lane.pending.iter().all(|pending| pending.in_flight.is_none()) {
            lane.draining = false;
        }
        Ok(())
    }
}

impl Worker for Producer {
    fn name(&self) -> String {
        format!("producer {:?} v{}", self.kind, self.version)
    }

    fn connected(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        if self.lanes.is_empty() {
            self.make_lanes(cx);
            cx.timer(1, MORE);
        }
        if self.kind == ProducerKind::Idempotent && self.identity.is_none() {
            let version = cx.version(0, 4);
            let request =
                InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..InitProducerIdRequest::default() };
            cx.send(0, ApiKey::InitProducerId, version, &request);
        }
        self.pump(cx);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        if answer.key == ApiKey::InitProducerId {
            let response: InitProducerIdResponse = answer.read()?;
            match response.error_code {
                0 => self.identity = Some((response.producer_id, response.producer_epoch)),
                code if is_retriable(code) => cx.commands.push(Command::Close(0)),
                code => return Err(format!("InitProducerId: error {code}")),
            }
        } else {
            let response: ProduceResponse = answer.read()?;
            self.on_produced(cx, answer.correlation, &response)?;
        }
        self.pump(cx);
        Ok(())
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {
        self.requests.clear();
        for lane in &mut self.lanes {
            lane.draining = false;
            lane.pending.iter_mut().for_each(|pending| pending.in_flight = None);
        }
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        let may_begin = self.kind != ProducerKind::Idempotent || self.identity.is_some();
        if may_begin && self.batches_left > 0 && !cx.shared.winding_down {
            for _ in 0..=cx.prng.below(3).min(u64::from(self.batches_left) - 1) {
                self.make_batch(cx);
            }
            if links.is_open(0) {
                self.pump(cx);
            }
        }
        cx.timer(self.pause_ms, timer);
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        self.lanes.iter().all(|lane| lane.pending.is_empty())
    }
}
