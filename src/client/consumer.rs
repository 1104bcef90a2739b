//! Consumes records from assigned partitions: positions, fetches, and what a reader of committed data must not see.
//! Must never touch: group membership (that is `group`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coretide_log::batch::{BatchHeader, HEADER_BYTES, check_crc, walk_batches};
use coretide_log::codec::{Codec, DECOMPRESSED_MAX_BYTES, decompress};
use coretide_log::records::RecordIter;
use coretide_log::timestamps::record_timestamp;
use coretide_model::ErrorCode;
use coretide_model::topic_config::TimestampType;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};

use crate::client::{Client, Place, Purpose};
use crate::error::ClientError;

/// A pause before a partition without a leader is tried again.
const LEADERLESS_PAUSE: Duration = Duration::from_millis(100);
/// The type of an abort marker, in the second half of its key.
const MARKER_ABORT: &[u8] = &[0, 0];

/// Which transactional records are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All of them, those of open and aborted transactions too.
    ReadUncommitted,
    /// Those of committed transactions.
    ReadCommitted,
}

/// What to do when a position is not in the log (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Go on at the first offset.
    Earliest,
    /// Go on at the end.
    Latest,
    /// Return the broker's error.
    Fail,
}

/// How records are consumed.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Which transactional records are seen.
    pub isolation: Isolation,
    /// What to do when a position is not in the log.
    pub reset: Reset,
    /// The most bytes of one answer.
    pub max_bytes: i32,
    /// The most bytes of one partition in one answer.
    pub partition_max_bytes: i32,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            isolation: Isolation::ReadCommitted,
            reset: Reset::Fail,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
        }
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// At the first record.
    Earliest,
    /// At the end.
    Latest,
    /// At an offset.
    At(i64),
    /// At the first record with this timestamp or a later one (milliseconds since 1970); at the end if there is none.
    Timestamp(i64),
    /// At the record with the largest timestamp.
    MaxTimestamp,
}

/// A consumed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970, or -1.
    pub timestamp_ms: i64,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The leader epoch of its batch.
    pub leader_epoch: i32,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Where a consumer stands in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to be consumed.
    pub offset: i64,
    /// The leader epoch of the last consumed batch, or -1.
    pub leader_epoch: i32,
    /// The end of what may be read (high watermark or last stable offset), if it was heard of.
    pub end_offset: Option<i64>,
}

/// A consumer of assigned partitions, on a client of its own.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    positions: BTreeMap<Place, Position>,
    turn: usize,
}

impl Consumer {
    /// A consumer without partitions that takes over `client`.
    pub fn new(client: Client, config: ConsumerConfig) -> Consumer {
        Consumer { client, config, positions: BTreeMap::new(), turn: 0 }
    }

    /// The client below.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Gives the client back.
    pub fn into_client(self) -> Client {
        self.client
    }

    /// Adds partitions, each from its place.
    pub fn assign(&mut self, partitions: &[(String, i32, OffsetSpec)]) -> Result<(), ClientError> {
        let isolation = self.config.isolation;
        let found = self.client.retry(|client| client.resolve_offsets(isolation, partitions))?;
        for (key, offset) in found {
            self.positions.insert(key, Position { offset, leader_epoch: -1, end_offset: None });
        }
        Ok(())
    }

    /// Moves the position in an assigned partition.
    pub fn seek(&mut self, topic: &str, partition: i32, offset: i64) {
        if let Some(position) = self.positions.get_mut(&(topic.to_string(), partition)) {
            position.offset = offset;
        }
    }

    /// Drops all partitions.
    pub fn unassign_all(&mut self) {
        self.positions.clear();
    }

    /// Drops one partition.
    pub fn unassign(&mut self, topic: &str, partition: i32) {
        self.positions.remove(&(topic.to_string(), partition));
    }

    /// Where it stands in each partition.
    pub fn positions(&self) -> &BTreeMap<Place, Position> {
        &self.positions
    }

    /// Fetches once from every leader, waiting up to `max_wait` for something to come.
    pub fn poll(&mut self, max_wait: Duration) -> Result<Vec<Incoming>, ClientError> {
        let begun = Instant::now();
        let by_leader = self.by_leader()?;
        let mut sent = Vec::new();
        for (leader, partitions) in by_leader {
            let request = self.fetch_request(&partitions, max_wait);
            let result = self.client.connection(leader, Purpose::Data).and_then(|connection| connection.send(&request));
            self.client.drop_broken(leader, Purpose::Data, &result);
            match result {
                Ok(()) => sent.push((leader, partitions)),
                Err(error) => self.survive(&partitions, error)?,
            }
        }
        let mut records = Vec::new();
        for (leader, partitions) in sent {
            let timeout = max_wait + self.client.config.request_timeout;
            let connection = self.client.connection(leader, Purpose::Data)?;
            let result = connection.receive::<FetchRequest>(timeout);
            self.client.drop_broken(leader, Purpose::Data, &result);
            match result {
                Ok(response) => self.take_in(response, &mut records)?,
                Err(error) => self.survive(&partitions, error)?,
            }
        }
        if records.is_empty() && begun.elapsed() < LEADERLESS_PAUSE && !max_wait.is_zero() {
            std::thread::sleep(LEADERLESS_PAUSE.min(max_wait));
        }
        Ok(records)
    }

    fn by_leader(&mut self) -> Result<BTreeMap<i32, Vec<Place>>, ClientError> {
        let mut keys: Vec<Place> = self.positions.keys().cloned().collect();
        // Whoever is first in a request is served first: everybody gets a turn.
        if !keys.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % keys.len();
            keys.rotate_left(first);
        }
        let mut by_leader: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
        for (topic, partition) in keys {
            match self.client.leader(&topic, partition) {
                Ok(leader) => by_leader.entry(leader).or_default().push((topic, partition)),
                Err(error) => self.survive(&[(topic, partition)], error)?,
            }
        }
        Ok(by_leader)
    }

    /// After a failure that may pass: asks for the leaders again at the next poll.
    fn survive(&mut self, partitions: &[Place], error: ClientError) -> Result<(), ClientError> {
        let missing = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
        let passing = error.is_retriable() && !missing && !matches!(error, ClientError::Connect { .. });
        if !passing {
            return Err(error);
        }
        for (topic, _) in partitions {
            self.client.forget_topic(topic);
        }
        Ok(())
    }

    fn fetch_request(&self, partitions: &[Place], max_wait: Duration) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (topic, partition) in partitions {
            let Some(position) = self.positions.get(&(topic.clone(), *partition)) else { continue };
            let wanted = FetchPartition {
                partition: *partition,
                current_leader_epoch: -1,
                fetch_offset: position.offset,
                partition_max_bytes: self.config.partition_max_bytes,
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|known| known.topic == *topic) {
                Some(known) => known.partitions.push(wanted),
                None => {
                    topics.push(FetchTopic { topic: topic.clone(), partitions: vec![wanted], ..FetchTopic::default() });
                }
            }
        }
        FetchRequest {
            max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: self.config.max_bytes,
            isolation_level: i8::from(self.config.isolation == Isolation::ReadCommitted),
            topics,
            ..FetchRequest::default()
        }
    }

    fn take_in(&mut self, response: FetchResponse, records: &mut Vec<Incoming>) -> Result<(), ClientError> {
        ClientError::check(response.error_code, None, || "fetching".to_string())?;
        for topic in response.responses {
            let name: Arc<str> = Arc::from(topic.topic.as_str());
            for data in topic.partitions {
                self.take_partition(&name, data, records)?;
            }
        }
        Ok(())
    }

    fn take_partition(
        &mut self,
        topic: &Arc<str>,
        data: PartitionData,
        records: &mut Vec<Incoming>,
    ) -> Result<(), ClientError> {
        let key = (topic.to_string(), data.partition_index);
        let Some(&position) = self.positions.get(&key) else { return Ok(()) };
        let what = || format!("fetching {topic}-{} at offset {}", data.partition_index, position.offset);
        match ErrorCode::from_code(data.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::OffsetOutOfRange) if self.config.reset != Reset::Fail => {
                let earliest = self.config.reset == Reset::Earliest;
                let place = if earliest { OffsetSpec::Earliest } else { OffsetSpec::Latest };
                return self.assign(&[(key.0, key.1, place)]);
            }
            // Kafka calls it retriable, but what is damaged on a disk stays so.
            Some(code) if code.is_retriable() && code != ErrorCode::CorruptMessage => {
                self.client.forget_topic(topic);
                return Ok(());
            }
            _ => return ClientError::check(data.error_code, None, what),
        }
        let committed = self.config.isolation == Isolation::ReadCommitted;
        let end_offset = if committed { data.last_stable_offset } else { data.high_watermark };
        let aborted = if committed { aborted_of(&data) } else { Vec::new() };
        let bytes = data.records.unwrap_or_default();
        let mut reader =
            BatchReader { topic, partition: data.partition_index, position, aborted, open: BTreeSet::new() };
        reader.read(&bytes, records)?;
        let position = Position { end_offset: Some(end_offset), ..reader.position };
        self.positions.insert(key, position);
        Ok(())
    }
}

/// Aborted transactions as (first offset, producer id), the last one first.
fn aborted_of(data: &PartitionData) -> Vec<(i64, i64)> {
    let listed = data.aborted_transactions.iter().flatten();
    let mut aborted: Vec<(i64, i64)> = listed.map(|one| (one.first_offset, one.producer_id)).collect();
    aborted.sort_unstable_by(|a, b| b.cmp(a));
    aborted
}

/// Turns the batches of one partition's answer into records.
struct BatchReader<'a> {
    topic: &'a Arc<str>,
    partition: i32,
    position: Position,
    aborted: Vec<(i64, i64)>,
    /// Producers inside an aborted transaction.
    open: BTreeSet<i64>,
}

impl BatchReader<'_> {
    fn read(&mut self, bytes: &Bytes, records: &mut Vec<Incoming>) -> Result<(), ClientError> {
        let mut whole = 0;
        for (at, header) in walk_batches(bytes) {
            whole += 1;
            let batch = bytes.slice(at..at + header.total_bytes());
            self.batch(&batch, &header, records)?;
            self.position.offset = self.position.offset.max(header.next_offset());
            self.position.leader_epoch = header.leader_epoch;
        }
        // A batch may be cut off at the end, but not the only one (KIP-74).
        if whole == 0 && !bytes.is_empty() {
            return Err(self.damaged(self.position.offset, "there is no whole batch in the answer".to_string()));
        }
        Ok(())
    }

    fn damaged(&self, offset: i64, reason: String) -> ClientError {
        ClientError::Damaged { topic: self.topic.to_string(), partition: self.partition, offset, reason }
    }

    fn batch(&mut self, batch: &Bytes, header: &BatchHeader, records: &mut Vec<Incoming>) -> Result<(), ClientError> {
        let damaged = |reader: &Self, reason: String| reader.damaged(header.base_offset, reason);
        check_crc(batch).map_err(|error| damaged(self, error.to_string()))?;
        while let Some(&(first_offset, producer)) = self.aborted.last() {
            if first_offset > header.last_offset() {
                break;
            }
            self.aborted.pop();
            self.open.insert(producer);
        }
        let hidden = header.is_transactional() && self.open.contains(&header.producer_id);
        if hidden && !header.is_control() {
            return Ok(());
        }
        let codec = header.codec().map_err(|error| damaged(self, error.to_string()))?;
        let body = batch.slice(HEADER_BYTES..);
        let plain = match codec {
            Codec::None => body,
            codec => {
                decompress(codec, &body, DECOMPRESSED_MAX_BYTES).map_err(|error| damaged(self, error.to_string()))?
            }
        };
        for record in RecordIter::new(&plain, header.record_count) {
            let record = record.map_err(|error| damaged(self, error.to_string()))?;
            if header.is_control() {
                if record.key.is_some_and(|key| key.get(2..4) == Some(MARKER_ABORT)) {
                    self.open.remove(&header.producer_id);
                }
                continue;
            }
            let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
            if offset < self.position.offset {
                continue;
            }
            let owned = |bytes: &[u8]| plain.slice_ref(bytes);
            records.push(Incoming {
                topic: self.topic.clone(),
                partition: self.partition,
                offset,
                timestamp_ms: record_timestamp(header, record.timestamp_delta),
                timestamp_type: header.timestamp_type(),
                leader_epoch: header.leader_epoch,
                key: record.key.map(owned),
                value: record.value.map(owned),
                headers: record.headers.map(|header| (owned(header.key), header.value.map(owned))).collect(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
