//! One simulated producer: records drawn and appended when they are due, batches sent, answers taken. Several of them
//! share a thread; none of them ever blocks it.
//! Must never touch: the clock (time is an argument), other producers.

use crate::lab::accumulator::{Accumulator, Appended, Batch, NewRecord, Outcome, ProducerId};
use crate::lab::connection::Connection;
use crate::lab::payload::Generator;
use crate::lab::scenario::{Acks, ProducerSettings, Rate};
use crate::lab::sys::Interest;
use crate::lab::tally::{NS_PER_SEC, Tally};
use coretide_model::ErrorCode;
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use std::sync::Arc;

/// A connection that was lost is made again after this (Kafka's `reconnect.backoff.ms`).
const RECONNECT_BACKOFF_NS: u64 = 50_000_000;
/// What is appended before the sockets get their turn.
const TURN_RECORDS: usize = 512;
const TURN_BYTES: usize = 128 << 10;
/// A rate of nothing is looked at again after this.
const IDLE_STEP_NS: f64 = 10e6;

/// Where partitions live, as all clients of a run see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Topics, with their numbers of partitions.
    pub topics: Vec<(String, usize)>,
    /// HOST:PORT of each broker that leads something.
    pub nodes: Vec<String>,
    /// The place in `nodes` of the leader of each partition of all topics.
    pub node_of: Vec<usize>,
    /// The version of Produce to speak.
    pub produce_version: i16,
    /// The version of Fetch to speak.
    pub fetch_version: i16,
}

impl Layout {
    /// The place of a partition among all.
    pub fn place(&self, topic: &str, index: i32) -> Option<usize> {
        let mut first = 0;
        for (name, partitions) in &self.topics {
            if name == topic {
                return usize::try_from(index).ok().filter(|index| index < partitions).map(|index| first + index);
            }
            first += partitions;
        }
        None
    }

    /// Topic and index of the partition at a place.
    pub fn partition(&self, place: usize) -> (&str, i32) {
        let mut rest = place;
        for (name, partitions) in &self.topics {
            if rest < *partitions {
                return (name, rest as i32);
            }
            rest -= partitions;
        }
        panic!("place {place} is beyond the topics");
    }
}

/// When a producer's records are due.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: Rate,
    /// The part of the rate that is this producer's.
    share: f64,
    start_ns: u64,
    /// Nanoseconds after the start.
    next: f64,
}

impl Schedule {
    /// The `place`-th of `count` producers that share a rate, from `start_ns` on: their records are spread evenly.
    pub fn new(rate: &Rate, place: usize, count: usize, start_ns: u64) -> Schedule {
        let share = 1.0 / count as f64;
        let first = match rate.at(0.0) {
            Some(rate) if rate > 0.0 => place as f64 / rate * NS_PER_SEC as f64,
            _ => 0.0,
        };
        Schedule { rate: rate.clone(), share, start_ns, next: first }
    }

    /// When the next record is due; none: whenever it fits.
    fn due_ns(&self) -> Option<u64> {
        match self.rate {
            Rate::Max => None,
            _ => Some(self.start_ns + self.next as u64),
        }
    }

    /// Skips a time in which the rate is 0, then says when the next record is due.
    fn settle(&mut self) -> Option<u64> {
        while self.rate.at(self.next / NS_PER_SEC as f64).is_some_and(|rate| rate <= 0.0) {
            self.next += IDLE_STEP_NS;
            if self.next > 1e6 * NS_PER_SEC as f64 {
                break;
            }
        }
        self.due_ns()
    }

    fn advance(&mut self) {
        if let Some(rate) = self.rate.at(self.next / NS_PER_SEC as f64) {
            self.next += NS_PER_SEC as f64 / (rate * self.share).max(1e-6);
        }
    }
}

/// A producer. See the module.
#[derive(Debug)]
pub struct Producer {
    settings: ProducerSettings,
    layout: Arc<Layout>,
    accumulator: Accumulator,
    generator: Generator,
    schedule: Schedule,
    connections: Vec<Option<Connection<Vec<Batch>>>>,
    reconnect_ns: u64,
    next_topic: usize,
    /// A record that the accumulator had no room for, by its intended time.
    held_ns: Option<u64>,
    /// What makes batches ready may have happened.
    changed: bool,
    next_check_ns: Option<u64>,
    /// No more records: the time is over, or the bytes that were asked for are written.
    ended: bool,
    /// Bytes of values that are still to be written; none for no bound.
    bytes_left: Option<u64>,
    /// The producer id is used up by a batch that failed for good.
    needs_id: bool,
}

/// What a producer is made of.
#[derive(Debug)]
pub struct ProducerParts {
    /// Its settings.
    pub settings: ProducerSettings,
    /// Where partitions live.
    pub layout: Arc<Layout>,
    /// Its records.
    pub generator: Generator,
    /// When they are due.
    pub schedule: Schedule,
    /// Who it is, if it is idempotent.
    pub id: Option<ProducerId>,
    /// How many bytes of values it writes; none for no bound.
    pub bytes: Option<u64>,
    /// Where its randomness begins.
    pub seed: u64,
}

impl Producer {
    /// A producer with a connection to every broker.
    pub fn connect(parts: ProducerParts) -> Result<Producer, String> {
        let layout = parts.layout;
        let partitions: Vec<usize> = layout.topics.iter().map(|(_, partitions)| *partitions).collect();
        let mut accumulator = Accumulator::new(&parts.settings, &partitions, &layout.node_of, parts.seed);
        if let Some(id) = parts.id {
            accumulator.set_producer(id);
        }
        let connections: Result<Vec<_>, String> =
            layout.nodes.iter().map(|node| Connection::open(node).map(Some)).collect();
        Ok(Producer {
            settings: parts.settings,
            accumulator,
            generator: parts.generator,
            schedule: parts.schedule,
            connections: connections?,
            layout,
            reconnect_ns: 0,
            next_topic: 0,
            held_ns: None,
            changed: false,
            next_check_ns: None,
            ended: false,
            bytes_left: parts.bytes,
            needs_id: false,
        })
    }

    /// No more records; what waits leaves at once.
    pub fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.changed = true;
            self.accumulator.flush();
        }
    }

    /// True when nothing waits for an answer or for room.
    pub fn is_done(&self) -> bool {
        self.ended && self.accumulator.is_empty() && self.in_flight() == 0
    }

    fn in_flight(&self) -> usize {
        self.connections.iter().flatten().map(Connection::in_flight).sum()
    }

    /// Records that were due and could not enter before the end.
    pub fn unsent(&self) -> u64 {
        u64::from(self.held_ns.is_some())
    }

    /// True if a new producer id is needed, and nothing is on its way under the old one.
    pub fn wants_id(&self) -> bool {
        self.needs_id && self.in_flight() == 0
    }

    /// Goes on under a new id.
    pub fn set_id(&mut self, id: ProducerId, tally: &mut Tally) {
        self.needs_id = false;
        self.changed = true;
        for _ in self.accumulator.set_producer(id) {
            tally.error("given up with its producer id");
        }
    }

    /// When it wants to be called again, whatever the sockets do; none: only a socket can change something.
    pub fn due_ns(&self) -> Option<u64> {
        if self.changed {
            return Some(0);
        }
        let record = match (self.ended || self.held_ns.is_some(), self.schedule.due_ns()) {
            (true, _) => None,
            (false, None) => Some(0),
            (false, due) => due,
        };
        let broken = self.connections.iter().any(Option::is_none).then_some(self.reconnect_ns);
        [record, self.next_check_ns, broken].into_iter().flatten().min()
    }

    /// When its next record is due, if it is the clock that it waits for.
    pub fn record_due_ns(&self) -> Option<u64> {
        if self.ended || self.held_ns.is_some() { None } else { self.schedule.due_ns() }
    }

    /// The sockets to wait for.
    pub fn interests(&self, out: &mut Vec<Interest>) {
        out.extend(self.connections.iter().flatten().map(Connection::interest));
    }

    /// Appends what is due and sends what is ready.
    pub fn turn(&mut self, now_ns: u64, wall_ms: i64, tally: &mut Tally) {
        self.append_due(now_ns, wall_ms, tally);
        let check = self.changed || self.next_check_ns.is_some_and(|at| at <= now_ns);
        if check && !self.needs_id {
            self.send_ready(now_ns, tally);
        }
        self.watch(now_ns, tally);
    }

    fn append_due(&mut self, now_ns: u64, wall_ms: i64, tally: &mut Tally) {
        let (mut records, mut bytes) = (0, 0);
        while !self.ended && records < TURN_RECORDS && bytes < TURN_BYTES {
            let intended_ns = match self.held_ns {
                Some(at) => at,
                None => match self.schedule.settle() {
                    None => now_ns,
                    Some(due) if due <= now_ns => due,
                    Some(_) => return,
                },
            };
            if self.held_ns.is_none() {
                self.generator.draw(intended_ns);
            }
            let (key, value) = self.generator.current();
            let topic = self.next_topic;
            let record = NewRecord { topic, key, value, timestamp_ms: wall_ms, intended_ns };
            match self.accumulator.append(now_ns, &record) {
                Appended::Queued { wake } => {
                    self.changed |= wake;
                    records += 1;
                    bytes += value.len();
                    let left = self.bytes_left.map(|left| left.saturating_sub(value.len() as u64));
                    self.bytes_left = left;
                    self.held_ns = None;
                    self.next_topic = (topic + 1) % self.layout.topics.len();
                    self.schedule.advance();
                    tally.entered(now_ns, intended_ns);
                    if left == Some(0) {
                        self.end();
                    }
                }
                Appended::NoMemory => {
                    self.changed |= self.held_ns.is_none();
                    self.held_ns = Some(intended_ns);
                    return;
                }
            }
        }
    }

    fn send_ready(&mut self, now_ns: u64, tally: &mut Tally) {
        let ready = self.accumulator.ready(now_ns);
        self.next_check_ns = ready.next_ns;
        let mut sent = false;
        for node in ready.nodes {
            let Some(connection) = &self.connections[node] else { continue };
            if connection.in_flight() >= self.settings.max_in_flight as usize || !connection.is_flushed() {
                continue;
            }
            let batches = self.accumulator.drain(now_ns, node);
            if !batches.is_empty() {
                sent = true;
                self.send(now_ns, node, batches, tally);
            }
        }
        // As Kafka's sender: after a send there may be more, else something must happen first.
        self.changed = sent;
    }

    fn send(&mut self, now_ns: u64, node: usize, batches: Vec<Batch>, tally: &mut Tally) {
        tally.retries += batches.iter().filter(|batch| batch.attempts > 1).count() as u64;
        let request = self.request(&batches);
        let Some(connection) = &mut self.connections[node] else { return };
        let result = connection.send(&request, self.layout.produce_version, now_ns, batches);
        if self.settings.acks == Acks::None
            && let Some(sent) = connection.forget_newest()
        {
            for batch in sent.what {
                acknowledge(&mut self.accumulator, now_ns, batch, tally);
            }
        }
        if let Err(reason) = result {
            self.lost(now_ns, node, &reason, tally);
        }
    }

    fn request(&self, batches: &[Batch]) -> ProduceRequest {
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        for batch in batches {
            let (topic, index) = self.layout.partition(batch.partition);
            let data = PartitionProduceData { index, records: Some(batch.encoded().clone()) };
            match topic_data.iter_mut().find(|known| known.name == topic) {
                Some(known) => known.partition_data.push(data),
                None => topic_data.push(TopicProduceData {
                    name: topic.to_string(),
                    partition_data: vec![data],
                    ..TopicProduceData::default()
                }),
            }
        }
        let timeout_ms = i32::try_from(self.settings.request_timeout_ms).unwrap_or(i32::MAX);
        ProduceRequest { transactional_id: None, acks: self.settings.acks.code(), timeout_ms, topic_data }
    }

    /// Reads and writes what the sockets have. `now` is the clock: it is read once for each answer.
    pub fn io(&mut self, now: &impl Fn() -> u64, scratch: &mut [u8], tally: &mut Tally) {
        for node in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[node] else { continue };
            if let Err(reason) = connection.write().and_then(|()| connection.read(scratch)) {
                self.answers(node, now, tally);
                self.lost(now(), node, &reason, tally);
                continue;
            }
            self.answers(node, now, tally);
        }
    }

    fn answers(&mut self, node: usize, now: &impl Fn() -> u64, tally: &mut Tally) {
        while let Some(connection) = &mut self.connections[node] {
            match connection.next_answer::<ProduceResponse>() {
                None => return,
                Some(Ok((sent, response))) => {
                    let now_ns = now();
                    tally.request(now_ns, sent.sent_ns);
                    self.answered(now_ns, sent.what, &response, tally);
                    self.changed = true;
                }
                Some(Err(reason)) => {
                    self.lost(now(), node, &reason, tally);
                }
            }
        }
    }

    fn answered(&mut self, now_ns: u64, mut batches: Vec<Batch>, response: &ProduceResponse, tally: &mut Tally) {
        for topic in &response.responses {
            for outcome in &topic.partition_responses {
                let place = self.layout.place(&topic.name, outcome.index);
                let found = batches.iter().position(|batch| Some(batch.partition) == place);
                let Some(batch) = found.map(|found| batches.swap_remove(found)) else { continue };
                self.decide(now_ns, batch, outcome.error_code, tally);
            }
        }
        for batch in batches {
            self.give_up(batch, "not in the answer", tally);
        }
    }

    fn decide(&mut self, now_ns: u64, batch: Batch, code: i16, tally: &mut Tally) {
        let known = ErrorCode::from_code(code);
        let retriable = match known {
            Some(ErrorCode::None | ErrorCode::DuplicateSequenceNumber) => {
                acknowledge(&mut self.accumulator, now_ns, batch, tally);
                return;
            }
            // It came before one that is tried again: it will be in order then.
            Some(ErrorCode::OutOfOrderSequenceNumber) => !self.accumulator.is_first_in_flight(&batch),
            Some(code) => code.is_retriable(),
            None => false,
        };
        if let Outcome::Failed(batch) = self.accumulator.failed(now_ns, batch, retriable) {
            let name = known.map_or_else(|| format!("error {code}"), |code| code.name().to_string());
            self.give_up(batch, &name, tally);
        }
    }

    fn give_up(&mut self, batch: Batch, name: &str, tally: &mut Tally) {
        tally.error(name);
        drop(batch);
        self.needs_id |= self.settings.enable_idempotence;
    }

    fn lost(&mut self, now_ns: u64, node: usize, reason: &str, tally: &mut Tally) {
        let Some(connection) = self.connections[node].take() else { return };
        self.reconnect_ns = now_ns + RECONNECT_BACKOFF_NS;
        self.changed = true;
        let batches: Vec<Batch> = connection.close().flatten().collect();
        for batch in batches {
            if let Outcome::Failed(batch) = self.accumulator.failed(now_ns, batch, true) {
                self.give_up(batch, &format!("connection lost: {reason}"), tally);
            }
        }
    }

    /// Makes lost connections again and gives up those whose answers are overdue.
    fn watch(&mut self, now_ns: u64, tally: &mut Tally) {
        for node in 0..self.connections.len() {
            match &self.connections[node] {
                None if now_ns >= self.reconnect_ns => match Connection::open(&self.layout.nodes[node]) {
                    Ok(connection) => {
                        self.connections[node] = Some(connection);
                        self.changed = true;
                    }
                    Err(_) => self.reconnect_ns = now_ns + RECONNECT_BACKOFF_NS,
                },
                Some(connection) => {
                    let overdue_ns = self.settings.request_timeout_ms * 1_000_000;
                    if connection.oldest_sent_ns().is_some_and(|sent| now_ns > sent + overdue_ns) {
                        self.lost(now_ns, node, "no answer in request.timeout.ms", tally);
                    }
                }
                None => {}
            }
        }
    }
}

fn acknowledge(accumulator: &mut Accumulator, now_ns: u64, batch: Batch, tally: &mut Tally) {
    tally.batch(now_ns, batch.records(), batch.payload_bytes, batch.encoded().len() as u64, &batch.intended_ns);
    accumulator.complete(batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::scenario::Step;

    fn layout() -> Layout {
        Layout {
            topics: vec![("a".into(), 2), ("b".into(), 3)],
            nodes: vec!["x:1".into()],
            node_of: vec![0; 5],
            produce_version: 9,
            fetch_version: 12,
        }
    }

    #[test]
    fn places_and_partitions_are_each_others_inverse() {
        let layout = layout();
        for place in 0..5 {
            let (topic, index) = layout.partition(place);
            assert_eq!(layout.place(topic, index), Some(place));
        }
        assert_eq!((layout.place("b", 3), layout.place("c", 0), layout.place("a", -1)), (None, None, None));
    }

    #[test]
    fn producers_share_a_rate_evenly() {
        let mut due: Vec<u64> = Vec::new();
        for place in 0..4 {
            let mut schedule = Schedule::new(&Rate::Fixed(1_000.0), place, 4, 500);
            for _ in 0..250 {
                due.push(schedule.settle().unwrap());
                schedule.advance();
            }
        }
        due.sort_unstable();
        assert_eq!(due.len(), 1_000);
        assert!(due.windows(2).all(|pair| (999_998..=1_000_002).contains(&(pair[1] - pair[0]))), "{due:?}");
    }

    #[test]
    fn steps_of_nothing_are_skipped() {
        let rate = Rate::Steps { steps: vec![Step { secs: 1.0, rate: 0.0 }, Step { secs: 1.0, rate: 10.0 }] };
        let mut schedule = Schedule::new(&rate, 0, 1, 0);
        assert_eq!(schedule.settle(), Some(NS_PER_SEC));
        schedule.advance();
        assert_eq!(schedule.settle(), Some(NS_PER_SEC + NS_PER_SEC / 10));
        assert_eq!(Schedule::new(&Rate::Max, 0, 1, 0).settle(), None);
    }
}
