//! Prepared requests: everything is laid out before the clock starts.

use crate::lab::payload::Generator;
use crate::lab::scenario::{Payload, PayloadKind, RecordSize, Records};
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

/// Bytes of an event's value in [`packed`] batches: small against a batch, so that batches come close to the size they should have.
pub const EVENT_BYTES: u32 = 256;
/// How much of those events' values repeats.
const EVENTS_REPEAT: f64 = 0.7;
/// No codec makes less than one byte of so many of them.
const PACKS_AT_MOST: usize = 8;

/// A batch of JSON events that is as large as wanted on the wire, whatever its codec makes of them.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The batch.
    pub batch: Bytes,
    /// Records in it.
    pub records: usize,
    /// How large it would be unpacked, in bytes.
    pub plain_bytes: u64,
}

/// The largest such batch of no more than `wire_bytes` (but of one event at least), at its codec's default level; the events are
/// the same, in the same order, with each codec.
pub fn packed(codec: Codec, wire_bytes: usize) -> Result<Packed, String> {
    let payload = Payload { kind: PayloadKind::Json, compressibility: EVENTS_REPEAT, file: None };
    let wanted = Records { bytes: RecordSize::Fixed(EVENT_BYTES), payload, ..Records::default() };
    let mut generator = Generator::new(&wanted, false, 1)?;
    let events: Vec<Vec<u8>> = (0..1 + PACKS_AT_MOST * wire_bytes / EVENT_BYTES as usize)
        .map(|_| {
            generator.draw(0);
            generator.current().1.to_vec()
        })
        .collect();
    // Of one that fits and one that does not, as sizes grow with the events but for a few bytes.
    let (mut fits, mut does_not) = (1, events.len() + 1);
    while does_not - fits > 1 {
        let tried = fits.midpoint(does_not);
        if batch_of(codec, &events[..tried]).batch.len() <= wire_bytes { fits = tried } else { does_not = tried }
    }
    Ok(batch_of(codec, &events[..fits]))
}

fn batch_of(codec: Codec, events: &[Vec<u8>]) -> Packed {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for event in events {
        builder.push(now, None, Some(event), &[]);
    }
    let plain_bytes = builder.plain_bytes() as u64;
    Packed { batch: builder.build(), records: events.len(), plain_bytes }
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
    use coretide_log::batch::{ProduceRules, verify_produced};
    use coretide_model::topic_config::TopicConfig;
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
    fn packed_batches_are_alike_on_the_wire_and_hold_what_they_say() {
        let plain = packed(Codec::None, 16_384).unwrap();
        assert_eq!(plain.plain_bytes, plain.batch.len() as u64);
        let mut sizes = Vec::new();
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Gzip] {
            let packed = packed(codec, 16_384).unwrap();
            assert!((16_000..=16_384).contains(&packed.batch.len()), "{codec}: {}", packed.batch.len());
            let verified = verify_produced(
                packed.batch.clone(),
                &ProduceRules::from_config(&TopicConfig::default(), i64::MAX / 2),
            );
            let header = *verified.unwrap().header();
            assert_eq!((header.codec(), header.record_count as usize), (Ok(codec), packed.records));
            sizes.push(packed.plain_bytes);
        }
        assert!(sizes.is_sorted() && sizes[1] > 3 * sizes[0] / 2, "they are worth packing: {sizes:?}");
        assert_eq!(packed(Codec::None, 1).unwrap().records, 1);
    }

    #[test]
    fn the_fetch_offset_lies_where_we_patch_it() {
        let frame = fetch("t", 1, 0x0102_0304_0506_0708, 9).unwrap();
        let at = fetch_offset_at(&frame);
        assert_eq!(frame[at..at + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
