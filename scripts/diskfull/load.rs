//! What is written and read back: records whose bytes follow from their number, each acknowledgement remembered.
//! Must never touch: the broker's process, the volume.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coretide_client::admin::NewTopic;
use coretide_client::{Client, ClientConfig, Connection, Consumer, ConsumerConfig, OffsetSpec};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// Kafka's KAFKA_STORAGE_ERROR.
pub const STORAGE_ERROR: i16 = 56;
/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers without a record in a row that end a read: they are counted, since a process may be held up for long.
const POLLS_IN_VAIN_MAX: u32 = 60;
/// Records of one batch.
const BATCH_RECORDS: u64 = 4;

/// What came of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Acked,
    Refused(i16),
}

/// The topics with all that was acknowledged: by topic and partition, each offset with its record's number and size.
#[derive(Default)]
pub struct Load {
    acked: BTreeMap<(String, i32), BTreeMap<i64, (u64, usize)>>,
    next: u64,
    pub acked_bytes: u64,
}

fn value(number: u64, bytes: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut value = Vec::with_capacity(bytes + 8);
    value.extend_from_slice(&number.to_le_bytes());
    while value.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_le_bytes());
    }
    value.truncate(bytes.max(8));
    value.into()
}

/// A client with patience.
pub fn client(address: SocketAddr) -> Result<Client, String> {
    let config = ClientConfig { request_timeout: PATIENCE, ..ClientConfig::new(&address.to_string()) };
    Client::connect(config).map_err(|error| error.to_string())
}

/// Makes a topic.
pub fn create(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<(), String> {
    let topic = NewTopic {
        name: name.to_string(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        configs: configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        validate_only: false,
    };
    client.create_topic(&topic).map_err(|error| error.to_string())?;
    client.await_topic(name).map(|_| ()).map_err(|error| error.to_string())
}

/// A connection to produce on.
pub fn connect(address: SocketAddr) -> Result<Connection, String> {
    Connection::open(&address.to_string(), "diskfull", PATIENCE).map_err(|error| error.to_string())
}

impl Load {
    /// Sends one batch of records of `bytes` each. An error: there was no answer.
    pub fn put(&mut self, to: &mut Connection, topic: &str, partition: i32, bytes: usize) -> Result<Put, String> {
        let mut builder = BatchBuilder::new(Compression { codec: Codec::None, level: None });
        let numbers: Vec<u64> = (self.next..self.next + BATCH_RECORDS).collect();
        self.next += BATCH_RECORDS;
        for &number in &numbers {
            builder.push(1_700_000_000_000, None, Some(&value(number, bytes)), &[]);
        }
        let records = Some(builder.build());
        let data = TopicProduceData {
            name: topic.to_string(),
            partition_data: vec![PartitionProduceData { index: partition, records }],
            ..TopicProduceData::default()
        };
        let timeout_ms = PATIENCE.as_millis() as i32;
        let request = ProduceRequest { acks: -1, timeout_ms, topic_data: vec![data], ..ProduceRequest::default() };
        let response = to.call(&request, PATIENCE).map_err(|error| error.to_string())?;
        let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let answer = answer.ok_or("an answer without the partition")?;
        if answer.error_code != 0 {
            return Ok(Put::Refused(answer.error_code));
        }
        let acked = self.acked.entry((topic.to_string(), partition)).or_default();
        for (place, number) in numbers.into_iter().enumerate() {
            if acked.insert(answer.base_offset + place as i64, (number, bytes)).is_some() {
                return Err(format!("{topic}-{partition}: offset {} was given twice", answer.base_offset));
            }
        }
        self.acked_bytes += BATCH_RECORDS * bytes as u64;
        Ok(Put::Acked)
    }

    /// Fills all partitions of a topic until `refusals` batches in a row were refused; the batches that were taken.
    pub fn fill(
        &mut self,
        address: SocketAddr,
        (topic, partitions): (&str, i32),
        bytes: usize,
        refusals: u32,
    ) -> Result<u64, String> {
        let mut connection = connect(address)?;
        let (mut taken, mut refused) = (0, 0);
        for partition in (0..partitions).cycle() {
            match self.put(&mut connection, topic, partition, bytes)? {
                Put::Acked => (taken, refused) = (taken + 1, 0),
                Put::Refused(STORAGE_ERROR) => refused += 1,
                Put::Refused(other) => return Err(format!("{topic}-{partition}: error {other} instead of 56")),
            }
            if refused >= refusals {
                break;
            }
        }
        Ok(taken)
    }

    /// Tries until a batch is taken; how long that was.
    pub fn put_soon(
        &mut self,
        address: SocketAddr,
        topic: &str,
        bytes: usize,
        patience: Duration,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        let mut connection = connect(address)?;
        loop {
            match self.put(&mut connection, topic, 0, bytes)? {
                Put::Acked => return Ok(began.elapsed()),
                Put::Refused(STORAGE_ERROR) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Put::Refused(code) => return Err(format!("still error {code} after {:?}", began.elapsed())),
            }
        }
    }

    /// Deletes the records of a partition up to its end but one batch; what is gone need not be read any more.
    pub fn delete_records(&mut self, client: &mut Client, topic: &str, partition: i32) -> Result<(), String> {
        let place = (topic.to_string(), partition);
        let Some(acked) = self.acked.get_mut(&place) else { return Ok(()) };
        let Some(last) = acked.keys().next_back() else { return Ok(()) };
        let start = client.delete_records(topic, partition, *last).map_err(|error| error.to_string())?;
        *acked = acked.split_off(&start);
        Ok(())
    }

    /// The topic was deleted.
    pub fn forget(&mut self, topic: &str) {
        self.acked.retain(|(name, _), _| name != topic);
    }

    /// Reads everything that was acknowledged, and compares; the records read.
    pub fn verify(&self, address: SocketAddr) -> Result<u64, String> {
        let mut read = 0;
        for ((topic, partition), acked) in &self.acked {
            let Some((&first, _)) = acked.first_key_value() else { continue };
            let config = ConsumerConfig { partition_max_bytes: 8 << 20, ..ConsumerConfig::default() };
            let mut consumer = Consumer::new(client(address)?, config);
            let of = |error| format!("{topic}-{partition}: {error}");
            consumer
                .assign(&[(topic.clone(), *partition, OffsetSpec::At(first))])
                .map_err(|error| of(error.to_string()))?;
            let mut wanted = acked.iter().peekable();
            let mut in_vain = 0;
            while let Some(&(&next, _)) = wanted.peek() {
                if in_vain > POLLS_IN_VAIN_MAX {
                    return Err(of(format!("record {next} does not come")));
                }
                in_vain += 1;
                let found = consumer.poll(Duration::from_millis(500)).map_err(|error| of(error.to_string()))?;
                for record in found {
                    let Some(&(&offset, &(number, bytes))) = wanted.peek() else { break };
                    if record.offset > offset {
                        return Err(of(format!("acknowledged record {offset} is missing")));
                    }
                    if record.offset == offset {
                        if record.value != Some(value(number, bytes)) {
                            return Err(of(format!("record {offset} has other bytes than were acknowledged")));
                        }
                        wanted.next();
                        in_vain = 0;
                        read += 1;
                    }
                }
            }
        }
        Ok(read)
    }
}
