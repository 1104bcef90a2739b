//! Clients at work: writers that pipeline, a reader, and one that makes and deletes topics, trims and commits. They end
//! with their connection. Must never touch: what is right (the ledger's).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coretide_client::admin::NewTopic;
use coretide_client::{
    Client, ClientConfig, ClientError, Codec, Compression, Connection, Consumer, ConsumerConfig, OffsetSpec, Place,
    Reset,
};
use coretide_log::builder::BatchBuilder;
use coretide_model::ErrorCode;
use coretide_stdx::prng::Prng;
use coretide_wire::messages::init_producer_id::InitProducerIdRequest;
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};

use crate::ledger::{Found, Ledger, RecordId, TopicFate};

/// How long an answer may take: long enough for a machine that stands still for minutes.
pub const ANSWER_MAX: Duration = Duration::from_secs(400);
/// How long those who judge repeat what is refused for a passing reason.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long those who only make load do.
const RETRY_AT_WORK: Duration = Duration::from_millis(300);
/// A pause after a refusal, so that a broker that refuses is not drowned in requests.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);
/// Topics of small segments, so that they roll.
const SEGMENT_BYTES: u64 = 1 << 20;
/// The group that commits.
const GROUP: &str = "powercut";

/// What a writer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A few records of up to 2 KB to two partitions at a time.
    Small,
    /// The same as an idempotent producer.
    Idempotent,
    /// Runs of 80 to 400 KB, which go straight to their segment.
    Large,
}

/// Writers, each with a topic of its own: kind, topic, partitions, requests on their way.
const WRITERS: &[(Kind, &str, i32, usize)] = &[
    (Kind::Small, "small", 4, 4),
    (Kind::Small, "lone", 1, 1),
    (Kind::Idempotent, "idempotent", 3, 3),
    (Kind::Large, "large", 2, 2),
];

/// What the clients share.
pub struct Shared {
    ledger: Mutex<Ledger>,
    stop: AtomicBool,
    acks: AtomicU64,
    lives: AtomicU64,
}

impl Shared {
    /// Nothing is known yet.
    pub fn new() -> Arc<Shared> {
        Arc::new(Shared {
            ledger: Mutex::new(Ledger::default()),
            stop: AtomicBool::new(false),
            acks: AtomicU64::new(0),
            lives: AtomicU64::new(1),
        })
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches acknowledged so far.
    pub fn acks(&self) -> u64 {
        self.acks.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A client with patience for slow machines; what is refused for a passing reason it repeats for `retry_for`.
pub fn client(address: &str, name: &str, retry_for: Duration) -> Result<Client, ClientError> {
    let mut config = ClientConfig::new(address);
    config.client_id = name.to_string();
    config.connect_timeout = ANSWER_MAX;
    config.request_timeout = ANSWER_MAX;
    config.retry_for = retry_for;
    Client::connect(config)
}

/// Makes the writers' topics.
pub fn prepare(address: &str, shared: &Shared) -> Result<(), ClientError> {
    let mut client = client(address, "powercut-setup", RETRY_MAX)?;
    for (_, topic, partitions, _) in WRITERS {
        client.create_topic(&new_topic(topic, *partitions))?;
        client.await_topic(topic)?;
        shared.ledger().topic(topic, TopicFate::Made);
    }
    Ok(())
}

fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_string(),
        partitions: Some(partitions),
        configs: vec![("segment.bytes".to_string(), SEGMENT_BYTES.to_string())],
        ..NewTopic::default()
    }
}

impl Load {
    /// Sets the clients to work.
    pub fn start(address: &str, shared: &Arc<Shared>, random: &mut Prng) -> Load {
        shared.stop.store(false, Ordering::Relaxed);
        let mut threads = Vec::new();
        for (kind, topic, partitions, depth) in WRITERS {
            let places = (0..*partitions).map(|index| ((*topic).to_string(), index)).collect();
            let mut writer = Writer::new(*kind, places, *depth, shared, random.fork());
            let address = address.to_string();
            // It ends with an error when the power goes, as it should.
            threads.push(std::thread::spawn(move || drop(writer.run(&address))));
        }
        let (reader, at, mut own) = (Arc::clone(shared), address.to_string(), random.fork());
        threads.push(std::thread::spawn(move || drop(read(&at, &reader, &mut own))));
        let (admin, at, mut own) = (Arc::clone(shared), address.to_string(), random.fork());
        threads.push(std::thread::spawn(move || drop(administer(&at, &admin, &mut own))));
        Load { shared: Arc::clone(shared), threads }
    }

    /// Ends them after what they are at; returns when all are gone.
    pub fn finish(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                eprintln!("a client panicked");
            }
        }
    }
}

struct Writer {
    kind: Kind,
    places: Vec<Place>,
    depth: usize,
    shared: Arc<Shared>,
    random: Prng,
    writer: u32,
    number: u64,
    /// Producer id, epoch, and the next sequence number of each partition.
    identity: Option<(i64, i16, BTreeMap<Place, i32>)>,
}

/// A request that waits for its answer: its batches by place.
type OnWay = Vec<(Place, Vec<RecordId>)>;

impl Writer {
    fn new(kind: Kind, places: Vec<Place>, depth: usize, shared: &Arc<Shared>, random: Prng) -> Writer {
        let writer = shared.lives.fetch_add(1, Ordering::Relaxed) as u32;
        Writer { kind, places, depth, shared: Arc::clone(shared), random, writer, number: 0, identity: None }
    }

    fn run(&mut self, address: &str) -> Result<(), ClientError> {
        let mut connection = Connection::open(address, "powercut-writer", ANSWER_MAX)?;
        let mut on_way: std::collections::VecDeque<OnWay> = std::collections::VecDeque::new();
        while !self.shared.is_over() {
            if self.kind == Kind::Idempotent && self.identity.is_none() {
                self.introduce(&mut connection)?;
                continue;
            }
            let (request, batches) = self.request();
            connection.send(&request)?;
            on_way.push_back(batches);
            if on_way.len() >= self.depth
                && let Some(oldest) = on_way.pop_front()
                && !self.receive(&mut connection, &oldest)?
            {
                // The others may have been refused for the same reason; what follows must not build on them.
                while let Some(next) = on_way.pop_front() {
                    self.receive(&mut connection, &next)?;
                }
                self.identity = None;
                std::thread::sleep(REFUSED_PAUSE);
            }
        }
        while let Some(next) = on_way.pop_front() {
            self.receive(&mut connection, &next)?;
        }
        Ok(())
    }

    fn introduce(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..InitProducerIdRequest::default() };
        let answer = connection.call(&request, ANSWER_MAX)?;
        if answer.error_code == ErrorCode::None as i16 {
            self.identity = Some((answer.producer_id, answer.producer_epoch, BTreeMap::new()));
        } else {
            self.shared.ledger().refusal(answer.error_code);
            std::thread::sleep(REFUSED_PAUSE);
        }
        Ok(())
    }

    fn request(&mut self) -> (ProduceRequest, OnWay) {
        let first = self.random.below(self.places.len() as u64) as usize;
        let count = if self.kind == Kind::Large { 1 } else { self.places.len().min(2) };
        let mut data = Vec::new();
        let mut batches = Vec::new();
        for step in 0..count {
            let place = self.places[(first + step) % self.places.len()].clone();
            let (bytes, ids) = self.batch(&place);
            data.push(PartitionProduceData { index: place.1, records: Some(bytes) });
            batches.push((place, ids));
        }
        let topic =
            TopicProduceData { name: self.places[0].0.clone(), partition_data: data, ..TopicProduceData::default() };
        let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] };
        (request, batches)
    }

    fn batch(&mut self, place: &Place) -> (Bytes, Vec<RecordId>) {
        let (records, filler_max) = match self.kind {
            Kind::Large => (5 + self.random.below(20), 30_000),
            _ => (1 + self.random.below(5), 2_000),
        };
        let mut builder = BatchBuilder::new(Compression::of(Codec::None));
        if let Some((id, epoch, sequences)) = &mut self.identity {
            let sequence = sequences.entry(place.clone()).or_default();
            builder = builder.producer(*id, *epoch, *sequence);
            *sequence += records as i32;
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut ids = Vec::new();
        let mut ledger = self.shared.ledger();
        for _ in 0..records {
            let id = RecordId { writer: self.writer, number: self.number };
            self.number += 1;
            let value = id.value(self.random.below(filler_max) as usize);
            ledger.sending(place, id, crc32c::crc32c(&value));
            builder.push(now_ms, None, Some(&value), &[]);
            ids.push(id);
        }
        drop(ledger);
        (builder.build(), ids)
    }

    /// Takes the answer to a request; false if some of it was refused.
    fn receive(&mut self, connection: &mut Connection, batches: &OnWay) -> Result<bool, ClientError> {
        let response = connection.receive::<ProduceRequest>(ANSWER_MAX)?;
        Ok(self.take(&response, batches))
    }

    fn take(&self, response: &ProduceResponse, batches: &OnWay) -> bool {
        let mut is_fine = true;
        let mut ledger = self.shared.ledger();
        for topic in &response.responses {
            for answer in &topic.partition_responses {
                let Some((place, ids)) = batches.iter().find(|(place, _)| place.1 == answer.index) else { continue };
                if answer.error_code == ErrorCode::None as i16 {
                    ledger.acknowledged(place, answer.base_offset, ids);
                    self.shared.acks.fetch_add(1, Ordering::Relaxed);
                } else {
                    ledger.refusal(answer.error_code);
                    is_fine = false;
                }
            }
        }
        is_fine
    }
}

/// Sends one record to each partition on a connection of its own; returns the error codes.
pub fn probe(address: &str, shared: &Arc<Shared>) -> Result<BTreeMap<Place, i16>, ClientError> {
    let mut connection = Connection::open(address, "powercut-probe", ANSWER_MAX)?;
    let mut codes = BTreeMap::new();
    for (_, topic, partitions, _) in WRITERS {
        for index in 0..*partitions {
            let place = ((*topic).to_string(), index);
            let mut writer = Writer::new(Kind::Small, vec![place.clone()], 1, shared, Prng::new(1));
            let (request, batches) = writer.request();
            let response = connection.call(&request, ANSWER_MAX)?;
            writer.take(&response, &batches);
            let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            codes.extend(answers.map(|answer| (place.clone(), answer.error_code)));
        }
    }
    Ok(codes)
}

/// Follows all partitions from their ends on: what it was given must stay.
fn read(address: &str, shared: &Shared, random: &mut Prng) -> Result<(), ClientError> {
    let config = ConsumerConfig { reset: Reset::Latest, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(client(address, "powercut-reader", RETRY_AT_WORK)?, config);
    let mut places = Vec::new();
    for (_, topic, partitions, _) in WRITERS {
        for index in 0..*partitions {
            let known_end = shared.ledger().end(&((*topic).to_string(), index));
            // Some from further back: these come from the disk.
            let from = if random.chance(1, 4) { 0 } else { known_end };
            places.push(((*topic).to_string(), index, OffsetSpec::At(from)));
        }
    }
    consumer.assign(&places)?;
    while !shared.is_over() {
        for record in consumer.poll(Duration::from_millis(20))? {
            let found = Found::new(record.offset, record.value.as_deref().unwrap_or_default());
            shared.ledger().read(&(record.topic.to_string(), record.partition), &found);
        }
    }
    Ok(())
}

/// Makes and deletes topics, trims, and commits.
fn administer(address: &str, shared: &Shared, random: &mut Prng) -> Result<(), ClientError> {
    let mut client = client(address, "powercut-admin", RETRY_AT_WORK)?;
    let mut made: Vec<String> = Vec::new();
    while !shared.is_over() {
        match random.below(10) {
            0..=1 => {
                let name = format!("churn-{}", shared.lives.fetch_add(1, Ordering::Relaxed));
                shared.ledger().topic(&name, TopicFate::Unknown);
                client.create_topic(&new_topic(&name, 2))?;
                shared.ledger().topic(&name, TopicFate::Made);
                made.push(name);
            }
            2 if made.len() > 2 => {
                let name = made.remove(random.below(made.len() as u64) as usize);
                shared.ledger().topic(&name, TopicFate::Unknown);
                client.delete_topic(&name)?;
                shared.ledger().topic(&name, TopicFate::Deleted);
            }
            3 => {
                let place = ("small".to_string(), random.below(4) as i32);
                let end = shared.ledger().end(&place);
                if end > 0 {
                    let offset = random.below(end as u64) as i64;
                    shared.ledger().trimming(&place, offset);
                    client.delete_records(&place.0, place.1, offset)?;
                }
            }
            _ => commit(&mut client, shared, random)?,
        }
        std::thread::sleep(Duration::from_millis(random.below(10)));
    }
    Ok(())
}

fn commit(client: &mut Client, shared: &Shared, random: &mut Prng) -> Result<(), ClientError> {
    let place = ("idempotent".to_string(), random.below(3) as i32);
    let offset = shared.ledger().end(&place);
    shared.ledger().committing(GROUP, &place, offset);
    client.commit_as_operator(GROUP, &BTreeMap::from([(place.clone(), offset)]))?;
    shared.ledger().committed(GROUP, &place, offset);
    Ok(())
}
