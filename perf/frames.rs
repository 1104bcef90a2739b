//! Prepared requests: everything is laid out before the clock starts.

use bytes::Bytes;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_stdx::prng::Prng;
use coretide_wire::encode_request;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of our Produce requests.
pub const PRODUCE_VERSION: i16 = 7;
/// The version of our Fetch requests.
pub const FETCH_VERSION: i16 = 4;
const CLIENT_ID: &str = "coretide-perf";

/// A batch of `records` records with `record_bytes` bytes of noise each: nothing that compresses, nothing shared.
pub fn batch(records: usize, record_bytes: usize) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let mut rng = Prng::new(records as u64 ^ (record_bytes as u64) << 32);
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    for _ in 0..records {
        let value: Vec<u8> = (0..record_bytes).map(|_| rng.next_u64() as u8).collect();
        builder.push(now, None, Some(&value), &[]);
    }
    builder.build()
}

/// One Produce request per partition, with acks=all; the correlation id is the partition.
pub fn produce(topic: &str, partitions: i32, batch: &Bytes) -> Result<Vec<Bytes>, String> {
    (0..partitions)
        .map(|index| {
            let partition_data = vec![PartitionProduceData { index, records: Some(batch.clone()) }];
            let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data, ..Default::default() }];
            let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() };
            encode_request(&request, PRODUCE_VERSION, index, Some(CLIENT_ID)).map_err(|e| e.to_string())
        })
        .collect()
}

/// A Fetch request of one partition; wants at least one byte and waits half a second for it.
pub fn fetch(topic: &str, partition: i32, offset: i64, max_bytes: i32) -> Result<Vec<u8>, String> {
    let wanted =
        FetchPartition { partition, fetch_offset: offset, partition_max_bytes: max_bytes, ..Default::default() };
    let topics = vec![FetchTopic { topic: topic.to_owned(), partitions: vec![wanted], ..Default::default() }];
    let request = FetchRequest { max_wait_ms: 500, min_bytes: 1, max_bytes, topics, ..Default::default() };
    encode_request(&request, FETCH_VERSION, partition, Some(CLIENT_ID))
        .map(|frame| frame.to_vec())
        .map_err(|e| e.to_string())
}

/// Where the fetch offset stands in a frame of [`fetch`]: eight bytes before the last four.
pub fn fetch_offset_at(frame: &[u8]) -> usize {
    frame.len() - 12
}

/// What a Produce response of one partition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The request's.
    pub correlation_id: i32,
    /// 0 for none.
    pub error_code: i16,
    /// The first record's offset.
    pub base_offset: i64,
}

/// Reads a response (without its length) to one of [`produce`]'s requests.
pub fn read_produced(body: &[u8]) -> Option<Produced> {
    let name_bytes = i16::from_be_bytes(body.get(8..10)?.try_into().ok()?);
    // Behind the name: partition count and index, then what we want.
    let outcome = body.get(10 + usize::try_from(name_bytes).ok()? + 8..)?;
    Some(Produced {
        correlation_id: i32::from_be_bytes(body.get(..4)?.try_into().ok()?),
        error_code: i16::from_be_bytes(outcome.get(..2)?.try_into().ok()?),
        base_offset: i64::from_be_bytes(outcome.get(2..10)?.try_into().ok()?),
    })
}

/// What a Fetch response of one partition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// 0 for none.
    pub error_code: i16,
    /// Up to where there is something to read.
    pub high_watermark: i64,
    /// Batches, the last one possibly cut off.
    pub records: &'a [u8],
}

/// Reads a response (without its length) to one of [`fetch`]'s requests.
pub fn read_fetched(body: &[u8]) -> Option<Fetched<'_>> {
    let name_bytes = i16::from_be_bytes(body.get(12..14)?.try_into().ok()?);
    let outcome = body.get(14 + usize::try_from(name_bytes).ok()? + 8..)?;
    let aborted = i32::from_be_bytes(outcome.get(18..22)?.try_into().ok()?);
    let behind_aborted = 22 + 16 * usize::try_from(aborted).unwrap_or(0);
    let length = i32::from_be_bytes(outcome.get(behind_aborted..behind_aborted + 4)?.try_into().ok()?);
    let records = outcome.get(behind_aborted + 4..)?;
    Some(Fetched {
        error_code: i16::from_be_bytes(outcome.get(..2)?.try_into().ok()?),
        high_watermark: i64::from_be_bytes(outcome.get(2..10)?.try_into().ok()?),
        records: records.get(..usize::try_from(length).unwrap_or(0))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_wire::encode_response;
    use coretide_wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
    use coretide_wire::messages::produce::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};

    #[test]
    fn the_shortcuts_find_what_the_codec_wrote() {
        let partition = PartitionProduceResponse { index: 3, error_code: 6, base_offset: 77, ..Default::default() };
        let topic =
            TopicProduceResponse { name: "abc".into(), partition_responses: vec![partition], ..Default::default() };
        let response = ProduceResponse { responses: vec![topic], ..Default::default() };
        let frame = encode_response(&response, PRODUCE_VERSION, 9).unwrap();
        assert_eq!(read_produced(&frame[4..]), Some(Produced { correlation_id: 9, error_code: 6, base_offset: 77 }));
        assert_eq!(read_produced(&frame[4..20]), None);
        for aborted in [None, Some(vec![Default::default(); 2])] {
            let records = Some(Bytes::from_static(b"xyz"));
            let partition =
                PartitionData { high_watermark: 5, aborted_transactions: aborted, records, ..Default::default() };
            let topic =
                FetchableTopicResponse { topic: "ab".into(), partitions: vec![partition], ..Default::default() };
            let response = FetchResponse { responses: vec![topic], ..Default::default() };
            let frame = encode_response(&response, FETCH_VERSION, 1).unwrap();
            let fetched = Fetched { error_code: 0, high_watermark: 5, records: b"xyz" };
            assert_eq!(read_fetched(&frame[4..]), Some(fetched));
        }
    }

    #[test]
    fn the_fetch_offset_lies_where_we_patch_it() {
        let frame = fetch("t", 1, 0x0102_0304_0506_0708, 9).unwrap();
        let at = fetch_offset_at(&frame);
        assert_eq!(frame[at..at + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
