//! Produces records: collected per partition, sent as one batch each, keyed as the Java client keys them.
//! Must never touch: how batches are laid out (that is `coretide-log`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_log::records::Header;
use coretide_model::ErrorCode;
use coretide_wire::messages::init_producer_id::InitProducerIdRequest;
use coretide_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};

use crate::client::{Backoff, Client, Place, Purpose};
use crate::error::ClientError;
use crate::partitioner::partition_of_key;

/// The first version of Produce that may carry zstd.
const ZSTD_SINCE: i16 = 7;
/// The most bytes that may wait in all partitions together before they are sent.
const PENDING_MAX_BYTES: usize = 16 << 20;

/// How records are produced.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// 1 and -1: the leader's, or all replicas' acknowledgement is waited for. 0: none.
    pub acks: i16,
    /// How batches are compressed.
    pub compression: Compression,
    /// How large a batch grows (before compression) until it is sent.
    pub batch_bytes: usize,
    /// Lets the broker drop what a repeated request would duplicate. Needs acks of -1.
    pub idempotent: bool,
    /// How long a batch is tried.
    pub delivery_timeout: Duration,
    /// Lets the broker create topics that are missing, if it is configured to.
    pub create_topics: bool,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: -1,
            compression: Compression::of(Codec::None),
            batch_bytes: 256 << 10,
            idempotent: true,
            delivery_timeout: Duration::from_secs(60),
            create_topics: false,
        }
    }
}

/// A record to be produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The partition; none lets the key, or else the fullest batch, decide.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; none is now.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers, in order; keys may repeat.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A batch that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of its first record; -1 with acks of 0.
    pub base_offset: i64,
    /// The number of its records.
    pub records: i32,
}

/// A producer on a client of its own.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    config: ProducerConfig,
    identity: Option<(i64, i16)>,
    sequences: BTreeMap<Place, i32>,
    filling: BTreeMap<Place, BatchBuilder>,
    filling_bytes: usize,
    sticky: BTreeMap<String, i32>,
    deliveries: Vec<Delivery>,
}

/// A finished batch on its way.
#[derive(Clone, Debug)]
struct Ready {
    topic: String,
    partition: i32,
    bytes: Bytes,
    records: i32,
}

impl Producer {
    /// A producer that takes over `client`.
    pub fn new(client: Client, config: ProducerConfig) -> Producer {
        let idempotent = config.idempotent && config.acks == -1;
        Producer {
            client,
            config: ProducerConfig { idempotent, ..config },
            identity: None,
            sequences: BTreeMap::new(),
            filling: BTreeMap::new(),
            filling_bytes: 0,
            sticky: BTreeMap::new(),
            deliveries: Vec::new(),
        }
    }

    /// The client below.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Adds a record; sends what has become full. An error may concern earlier records.
    pub fn send(&mut self, topic: &str, record: &Outgoing) -> Result<(), ClientError> {
        let partition = self.choose(topic, record)?;
        let key = (topic.to_string(), partition);
        if !self.filling.contains_key(&key) {
            let builder = self.builder(&key)?;
            self.filling.insert(key.clone(), builder);
        }
        let builder = self.filling.get_mut(&key).expect("just made");
        let before = builder.plain_bytes();
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(now_ms);
        builder.push(timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers);
        self.filling_bytes += builder.plain_bytes() - before;
        if builder.plain_bytes() >= self.config.batch_bytes || self.filling_bytes >= PENDING_MAX_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// What was acknowledged since the last call.
    pub fn take_deliveries(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }

    /// Sends everything and waits for the acknowledgements. Batches that are refused are lost; the first refusal is
    /// returned when the other batches are through.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.filling_bytes = 0;
        self.sticky.clear();
        let ready: Vec<Ready> = std::mem::take(&mut self.filling)
            .into_iter()
            .map(|((topic, partition), builder)| {
                let records = builder.record_count();
                Ready { topic, partition, bytes: builder.build(), records }
            })
            .collect();
        let mut backoff = Backoff::new(self.config.delivery_timeout);
        let mut refused = None;
        let mut left = ready;
        while !left.is_empty() {
            let mut again = Vec::new();
            let mut passing = None;
            for (batch, result) in self.round(left) {
                match result {
                    Ok(delivery) => self.deliveries.push(delivery),
                    Err(error) if error.is_retriable() => {
                        self.client.forget_topic(&batch.topic);
                        passing = Some(error);
                        again.push(batch);
                    }
                    Err(error) => {
                        refused.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = passing
                && let Err(gave_up) = backoff.pause(error)
            {
                refused.get_or_insert(gave_up);
                break;
            }
            left = again;
        }
        let Some(error) = refused else { return Ok(()) };
        // What follows must not be held against the sequence numbers of what was lost.
        self.identity = None;
        self.sequences.clear();
        Err(error)
    }

    fn choose(&mut self, topic: &str, record: &Outgoing) -> Result<i32, ClientError> {
        let count = self.partition_count(topic)?;
        if let Some(partition) = record.partition {
            if usize::try_from(partition).is_ok_and(|partition| partition < count) {
                return Ok(partition);
            }
            let there = format!("topic '{topic}' has {count} partitions, from 0 to {}", count - 1);
            return Err(ClientError::Usage(format!("there is no partition {partition}: {there}")));
        }
        if let Some(key) = &record.key {
            return Ok(partition_of_key(key, count));
        }
        if let Some(&partition) = self.sticky.get(topic) {
            return Ok(partition);
        }
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let partition = partition_of_key(&nanos.to_be_bytes(), count);
        self.sticky.insert(topic.to_string(), partition);
        Ok(partition)
    }

    /// How many partitions the topic has, at least one; waits for a topic that is just being created.
    fn partition_count(&mut self, topic: &str) -> Result<usize, ClientError> {
        let create = self.config.create_topics;
        let mut backoff = Backoff::new(self.config.delivery_timeout);
        loop {
            let error = match self.client.topic(topic, create) {
                Ok(info) if !info.partitions.is_empty() => return Ok(info.partitions.len()),
                Ok(_) => return Err(ClientError::Usage(format!("topic '{topic}' has no partitions"))),
                Err(error) => error,
            };
            let missing = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
            if !error.is_retriable() || missing && !create {
                return Err(error);
            }
            backoff.pause(error)?;
        }
    }

    fn builder(&mut self, key: &Place) -> Result<BatchBuilder, ClientError> {
        let builder = BatchBuilder::new(self.config.compression);
        if !self.config.idempotent {
            return Ok(builder);
        }
        let (id, epoch) = self.identity()?;
        let sequence = self.sequences.get(key).copied().unwrap_or(0);
        Ok(builder.producer(id, epoch, sequence))
    }

    fn identity(&mut self) -> Result<(i64, i16), ClientError> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        let response = self.client.retry(|client| {
            let response = client.call_any(|_| InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 60_000,
                ..InitProducerIdRequest::default()
            })?;
            ClientError::check(response.error_code, None, || "asking for a producer id".to_string())?;
            Ok(response)
        })?;
        let identity = (response.producer_id, response.producer_epoch);
        self.identity = Some(identity);
        Ok(identity)
    }

    /// Sends each batch once: one request per leader, all of them before the first answer is waited for.
    fn round(&mut self, batches: Vec<Ready>) -> Vec<(Ready, Result<Delivery, ClientError>)> {
        let mut done = Vec::new();
        let mut by_leader: BTreeMap<i32, Vec<Ready>> = BTreeMap::new();
        for batch in batches {
            match self.client.leader(&batch.topic, batch.partition) {
                Ok(leader) => by_leader.entry(leader).or_default().push(batch),
                Err(error) => done.push((batch, Err(error))),
            }
        }
        let mut sent = Vec::new();
        for (leader, batches) in by_leader {
            match self.send_to(leader, &batches) {
                Ok(()) => sent.push((leader, batches)),
                Err(error) => done.extend(batches.into_iter().map(|batch| (batch, Err(error.clone())))),
            }
        }
        for (leader, batches) in sent {
            match self.answers_of(leader) {
                Ok(answers) => {
                    for batch in batches {
                        let result = self.judge(&batch, &answers);
                        done.push((batch, result));
                    }
                }
                Err(error) => done.extend(batches.into_iter().map(|batch| (batch, Err(error.clone())))),
            }
        }
        done
    }

    fn send_to(&mut self, leader: i32, batches: &[Ready]) -> Result<(), ClientError> {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for batch in batches {
            let data = PartitionProduceData { index: batch.partition, records: Some(batch.bytes.clone()) };
            match topics.iter_mut().find(|topic| topic.name == batch.topic) {
                Some(topic) => topic.partition_data.push(data),
                None => topics.push(TopicProduceData {
                    name: batch.topic.clone(),
                    partition_data: vec![data],
                    ..TopicProduceData::default()
                }),
            }
        }
        let timeout_ms = i32::try_from(self.client.config.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = ProduceRequest { transactional_id: None, acks: self.config.acks, timeout_ms, topic_data: topics };
        let (acks, zstd) = (self.config.acks, self.config.compression.codec == Codec::Zstd);
        let connection = self.client.connection(leader, Purpose::Data)?;
        let version = connection.version::<ProduceRequest>()?;
        if zstd && version < ZSTD_SINCE {
            return Err(ClientError::Usage(format!("{} is too old for zstd", connection.address())));
        }
        let result = if acks == 0 { connection.send_unanswered(&request) } else { connection.send(&request) };
        self.client.drop_broken(leader, Purpose::Data, &result);
        result
    }

    /// The answers by topic and partition; empty with acks of 0.
    fn answers_of(&mut self, leader: i32) -> Result<BTreeMap<Place, PartitionProduceResponse>, ClientError> {
        if self.config.acks == 0 {
            return Ok(BTreeMap::new());
        }
        let timeout = self.client.config.request_timeout;
        let result = self.client.connection(leader, Purpose::Data)?.receive::<ProduceRequest>(timeout);
        self.client.drop_broken(leader, Purpose::Data, &result);
        let mut answers = BTreeMap::new();
        for topic in result?.responses {
            for partition in topic.partition_responses {
                answers.insert((topic.name.clone(), partition.index), partition);
            }
        }
        Ok(answers)
    }

    fn judge(
        &mut self,
        batch: &Ready,
        answers: &BTreeMap<Place, PartitionProduceResponse>,
    ) -> Result<Delivery, ClientError> {
        let key = (batch.topic.clone(), batch.partition);
        let (topic, partition, records) = (batch.topic.clone(), batch.partition, batch.records);
        if self.config.acks == 0 {
            return Ok(Delivery { topic, partition, base_offset: -1, records });
        }
        let answer = answers.get(&key).ok_or_else(|| ClientError::Protocol {
            address: format!("the leader of {topic}-{partition}"),
            reason: "an answer that leaves out a partition".to_string(),
        })?;
        // The broker has it already: an earlier attempt went through, only its answer was lost.
        if answer.error_code != ErrorCode::DuplicateSequenceNumber as i16 {
            let message = refusal(answer);
            ClientError::check(answer.error_code, message, || format!("producing to {topic}-{partition}"))?;
        }
        if self.config.idempotent {
            let sequence = self.sequences.entry(key).or_insert(0);
            *sequence = (i64::from(*sequence) + i64::from(records)).rem_euclid(1 << 31) as i32;
        }
        Ok(Delivery { topic, partition, base_offset: answer.base_offset, records })
    }

    /// Sends everything and gives the client back.
    pub fn finish(mut self) -> Result<Client, ClientError> {
        self.flush()?;
        if self.config.acks == 0 {
            self.settle();
        }
        Ok(self.client)
    }

    /// With acks of 0 nothing says that a request was read. One more call on each connection does.
    fn settle(&mut self) {
        let deadline = Instant::now() + self.client.config.request_timeout;
        let leaders: Vec<i32> = self.client.brokers_connected();
        for leader in leaders {
            let timeout = deadline.saturating_duration_since(Instant::now());
            let asked = self.client.call_for(leader, Purpose::Data, timeout, |_| {
                coretide_wire::messages::metadata::MetadataRequest { topics: Some(Vec::new()), ..Default::default() }
            });
            if asked.is_err() {
                self.client.disconnect(leader);
            }
        }
    }
}

fn refusal(answer: &PartitionProduceResponse) -> Option<String> {
    let first = answer.record_errors.first();
    let first = first.and_then(|error| Some((error.batch_index, error.batch_index_error_message.clone()?)));
    match (answer.error_message.clone(), first) {
        (Some(message), Some((_, reason))) if message.contains(&reason) => Some(message),
        (Some(message), Some((index, reason))) => Some(format!("{message} (record {index} of the batch: {reason})")),
        (None, Some((index, reason))) => Some(format!("record {index} of the batch: {reason}")),
        (message, None) => message,
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
