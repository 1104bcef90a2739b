//! The healthy client beside the attack: appends small and large batches at a steady pace, reads each back, and holds
//! both the offset and the bytes against what it knows.
//! Must never touch: the attack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use coretide_client::{Bytes, Compression, Connection};
use coretide_log::builder::BatchBuilder;
use coretide_model::ErrorCode;
use coretide_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// The topic of the healthy clients, a partition for each.
pub const TOPIC: &str = "healthy";
/// How many there are: more than shards, so that every shard has one.
pub const CLIENTS: i32 = 4;
/// Steps (an append and a fetch) per second and client that are wanted.
const PACE_PER_S: u32 = 50;
/// Records of a small batch, each of 1 KiB.
const SMALL_RECORDS: usize = 4;
/// Every so many steps the batch is large: too large for a connection's receive block.
const LARGE_EVERY: u64 = 16;
/// Records of a large batch.
const LARGE_RECORDS: usize = 200;
/// No answer may take longer; the machine may stand still for minutes while others measure.
const PATIENCE: Duration = Duration::from_secs(400);
/// Bytes of a batch before its checksum: what the broker may change.
const PATCHED_BYTES: usize = 17;

/// One append that was acknowledged and read back right.
#[derive(Clone, Copy)]
pub struct Step {
    /// When it began.
    pub begun: Instant,
    /// How long append and fetch took.
    pub took: Duration,
    /// A batch that needs memory of its own.
    pub large: bool,
}

/// The running clients.
pub struct Healthy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Step>, String>>>,
}

impl Healthy {
    /// Creates the topic and starts the clients.
    pub fn start(address: &str) -> Result<Healthy, String> {
        let mut admin = open(address)?;
        let topic = CreatableTopic {
            name: TOPIC.to_string(),
            num_partitions: CLIENTS,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreateTopicsRequest::default() };
        let made = admin.call(&request, PATIENCE).map_err(|error| error.to_string())?;
        if let Some(refused) = made.topics.iter().find(|topic| topic.error_code != 0) {
            return Err(format!("the healthy topic was refused with {}", refused.error_code));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for partition in 0..CLIENTS {
            let (stop, connection) = (stop.clone(), open(address)?);
            threads.push(thread::spawn(move || Client { connection, partition, next_offset: 0 }.run(&stop)));
        }
        Ok(Healthy { stop, threads })
    }

    /// Ends the clients; their steps, or the first wrong answer.
    pub fn finish(self) -> Result<Vec<Step>, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut steps = Vec::new();
        for thread in self.threads {
            steps.extend(thread.join().map_err(|_| "a healthy client panicked")??);
        }
        Ok(steps)
    }

    /// True when a client has ended before it was told to.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

fn open(address: &str) -> Result<Connection, String> {
    Connection::open(address, "healthy", PATIENCE).map_err(|error| format!("the healthy client: {error}"))
}

struct Client {
    connection: Connection,
    partition: i32,
    next_offset: i64,
}

impl Client {
    fn run(mut self, stop: &AtomicBool) -> Result<Vec<Step>, String> {
        let begun = Instant::now();
        let mut steps = Vec::new();
        let mut due = 0u32;
        let mut number = 0u64;
        while !stop.load(Ordering::Relaxed) {
            let at = begun + Duration::from_secs(1) / PACE_PER_S * due;
            let now = Instant::now();
            if now < at {
                thread::sleep(at - now);
            } else if now - at > Duration::from_secs(1) {
                // What was missed is lost, as with a client that is held up: no burst makes up for it.
                due = (now - begun).as_millis() as u32 * PACE_PER_S / 1000;
            }
            due += 1;
            number += 1;
            let large = number.is_multiple_of(LARGE_EVERY);
            let started = Instant::now();
            self.step(number, large).map_err(|reason| format!("healthy partition {}: {reason}", self.partition))?;
            steps.push(Step { begun: started, took: started.elapsed(), large });
        }
        Ok(steps)
    }

    fn step(&mut self, number: u64, large: bool) -> Result<(), String> {
        let batch = self.batch(number, large);
        self.append(&batch)?;
        let read = self.read(batch.len())?;
        if read.get(PATCHED_BYTES..) != batch.get(PATCHED_BYTES..) {
            return Err(format!(
                "offset {} came back with other bytes ({} of {})",
                self.next_offset,
                read.len(),
                batch.len()
            ));
        }
        self.next_offset += if large { LARGE_RECORDS } else { SMALL_RECORDS } as i64;
        Ok(())
    }

    fn batch(&self, number: u64, large: bool) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::default());
        let mut value = vec![b'x'; 1024];
        for record in 0..if large { LARGE_RECORDS } else { SMALL_RECORDS } {
            let name = format!("{}/{number}/{record}", self.partition);
            value[..name.len()].copy_from_slice(name.as_bytes());
            builder.push(crate::wall_ms(), None, Some(&value), &[]);
        }
        builder.build()
    }

    fn append(&mut self, batch: &Bytes) -> Result<(), String> {
        let partition = PartitionProduceData { index: self.partition, records: Some(batch.clone()) };
        let topic = TopicProduceData {
            name: TOPIC.to_string(),
            partition_data: vec![partition],
            ..TopicProduceData::default()
        };
        // The request's own patience is the client's: a machine that stands still is no fault.
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: PATIENCE.as_millis() as i32,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        let answer = self.connection.call(&request, PATIENCE).map_err(|error| format!("produce: {error}"))?;
        let done = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let done = done.ok_or("an answer without its partition")?;
        if done.error_code != ErrorCode::None.code() {
            return Err(format!("produce was refused: {} {:?}", done.error_code, done.error_message));
        }
        if done.base_offset != self.next_offset {
            return Err(format!("appended at {} where {} was due", done.base_offset, self.next_offset));
        }
        Ok(())
    }

    fn read(&mut self, bytes: usize) -> Result<Bytes, String> {
        let partition = FetchPartition {
            partition: self.partition,
            fetch_offset: self.next_offset,
            partition_max_bytes: bytes as i32,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: 1000,
            min_bytes: 1,
            max_bytes: i32::MAX,
            session_epoch: -1,
            topics: vec![FetchTopic { topic: TOPIC.to_string(), partitions: vec![partition], ..FetchTopic::default() }],
            ..FetchRequest::default()
        };
        let answer = self.connection.call(&request, PATIENCE).map_err(|error| format!("fetch: {error}"))?;
        let read = answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let read = read.ok_or("an answer without its partition")?;
        if read.error_code != ErrorCode::None.code() {
            return Err(format!("fetch was refused: {}", read.error_code));
        }
        read.records.filter(|records| !records.is_empty()).ok_or_else(|| "nothing to read".to_string())
    }
}
