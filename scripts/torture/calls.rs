//! The raw calls: one request, one answer, on one connection. Must never touch: retries, the models.

use bytes::Bytes;
use coretide_client::{ClientError, Connection};
use coretide_model::ErrorCode;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use coretide_wire::messages::init_producer_id::InitProducerIdRequest;
use coretide_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use coretide_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};

use crate::world::{REQUEST_TIMEOUT, World, count};

/// `ListOffsets`' special timestamps.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

/// Connects to the broker.
pub fn connect(world: &World, name: &str) -> Result<Connection, ClientError> {
    count(&world.counters.connections, 1);
    Connection::open(&world.address, name, REQUEST_TIMEOUT)
}

fn incomplete(api: &str) -> ClientError {
    ClientError::Protocol { address: api.to_string(), reason: "the answer leaves out what was asked for".to_string() }
}

/// Asks for a producer id; none when the broker refuses.
pub fn producer_id(connection: &mut Connection) -> Result<Option<(i64, i16)>, ClientError> {
    let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..InitProducerIdRequest::default() };
    let answer = connection.call(&request, REQUEST_TIMEOUT)?;
    let is_ok = answer.error_code == ErrorCode::None as i16;
    Ok(is_ok.then_some((answer.producer_id, answer.producer_epoch)))
}

/// The request for some batches of one topic.
pub fn produce_request(topic: &str, acks: i16, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let data = |(index, bytes): &(i32, Bytes)| PartitionProduceData { index: *index, records: Some(bytes.clone()) };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: REQUEST_TIMEOUT.as_millis() as i32,
        topic_data: vec![TopicProduceData {
            name: topic.to_string(),
            partition_data: batches.iter().map(data).collect(),
            ..TopicProduceData::default()
        }],
    }
}

/// The answer for one partition.
pub fn produced(response: &ProduceResponse, partition: i32) -> Result<&PartitionProduceResponse, ClientError> {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.find(|answer| answer.index == partition).ok_or_else(|| incomplete("Produce"))
}

/// Fetches from one partition.
pub fn fetch(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    offset: i64,
    max_bytes: i32,
) -> Result<PartitionData, ClientError> {
    let wanted = FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset: offset,
        partition_max_bytes: max_bytes,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes,
        topics: vec![FetchTopic { topic: topic.to_string(), partitions: vec![wanted], ..FetchTopic::default() }],
        ..FetchRequest::default()
    };
    let answer = connection.call(&request, REQUEST_TIMEOUT)?;
    ClientError::check(answer.error_code, None, || "fetching".to_string())?;
    let data = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
    data.ok_or_else(|| incomplete("Fetch"))
}

/// Asks one partition for the offset of a timestamp.
pub fn list_offset(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> Result<ListOffsetsPartitionResponse, ClientError> {
    let wanted = ListOffsetsPartition { partition_index: partition, current_leader_epoch: -1, timestamp };
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: 0,
        topics: vec![ListOffsetsTopic { name: topic.to_string(), partitions: vec![wanted] }],
        timeout_ms: REQUEST_TIMEOUT.as_millis() as i32,
    };
    let answer = connection.call(&request, REQUEST_TIMEOUT)?;
    let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let found = found.ok_or_else(|| incomplete("ListOffsets"))?;
    ClientError::check(found.error_code, None, || format!("the offset for {timestamp} in {topic}-{partition}"))?;
    Ok(found)
}
