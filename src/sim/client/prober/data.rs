//! Probes about records and offsets.

use bytes::Bytes;
use coretide_model::TopicId;
use coretide_stdx::prng::Prng;
use coretide_wire::api::ApiKey;
use coretide_wire::messages as m;

use super::topics::describe_producers;
use super::{Learned, Probe, TOPIC};
use crate::records::{CODECS, RecordId, Sequenced, crc32c, encode_batch_in, value_bytes};

/// Numbers of records that nobody judges.
const FIRST_ID: u64 = 1 << 50;

pub fn probe(prng: &mut Prng, learned: &Learned) -> Probe {
    match prng.below(9) {
        0..=3 => produce(prng, learned),
        4 => fetch(prng),
        5 => list_offsets(prng),
        6 => epochs(prng),
        7 => describe_producers(prng),
        _ => init_producer_id(prng, learned),
    }
}

fn place(prng: &mut Prng) -> (String, i32) {
    match prng.below(5) {
        0 => ("nobody-made-this".to_string(), 0),
        1 => (TOPIC.to_string(), 99),
        _ => (TOPIC.to_string(), 0),
    }
}

fn produce(prng: &mut Prng, learned: &Learned) -> Probe {
    let ids: Vec<RecordId> = (0..1 + prng.below(4)).map(|_| RecordId(FIRST_ID + prng.below(1000))).collect();
    let codec = CODECS[prng.below(5) as usize];
    let sequenced = match learned.producer {
        Some((producer_id, producer_epoch)) if prng.chance(1, 2) => Sequenced {
            producer_id,
            producer_epoch: producer_epoch + prng.below(3) as i16 - 1,
            base_sequence: prng.below(5) as i32 * 4,
        },
        _ => Sequenced::NONE,
    };
    let timestamp_ms = match prng.below(10) {
        0 => learned.wall_ms + 100_000_000,
        1 => -2,
        _ => learned.wall_ms,
    };
    let mut batch = encode_batch_in(codec, &ids, timestamp_ms, sequenced);
    let (mut acks, mut records) = (-1, None);
    match prng.below(16) {
        0 => acks = 2,
        1 => {
            let at = prng.below(batch.len() as u64) as usize;
            batch[at] ^= 1 << prng.below(8);
        }
        2 => batch.truncate(prng.below(batch.len() as u64) as usize),
        3 => batch.extend(batch.clone()),
        4 => batch.clear(),
        5 => {
            // More than the topic takes.
            let many = vec![ids[0]; 65_000 / (value_bytes(ids[0]) + 8) + 1];
            batch = encode_batch_in(CODECS[0], &many, timestamp_ms, sequenced);
        }
        6 => batch[16] = 1,
        7 => make_transactional(&mut batch),
        8 if prng.chance(1, 8) => batch = larger_than_a_segment(timestamp_ms),
        _ => {}
    }
    if !prng.chance(1, 20) {
        records = Some(Bytes::from(batch));
    }
    let (name, index) = place(prng);
    let by_id = prng.chance(1, 6);
    let topic = m::produce::TopicProduceData {
        name: if by_id { String::new() } else { name },
        topic_id: if by_id { TopicId(99) } else { TopicId::ZERO },
        partition_data: vec![m::produce::PartitionProduceData { index, records }],
    };
    let transactional_id = prng.chance(1, 20).then(|| "tx".to_string());
    let timeout_ms = if prng.chance(1, 2) { 0 } else { 30_000 };
    let request = m::produce::ProduceRequest { transactional_id, acks, timeout_ms, topic_data: vec![topic] };
    let version = if by_id { 13 } else { 5 + prng.below(5) as i16 };
    Probe::new(ApiKey::Produce, version, &request)
}

/// Says that the batch is part of a transaction.
fn make_transactional(batch: &mut [u8]) {
    batch[22] |= 0x10;
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A batch of more than a segment of the least size, from one record that is large and many times the same.
fn larger_than_a_segment(timestamp_ms: i64) -> Vec<u8> {
    let large = (FIRST_ID..).map(RecordId).find(|&id| value_bytes(id) > 8000).expect("one in a hundred is");
    encode_batch_in(CODECS[0], &vec![large; 150], timestamp_ms, Sequenced::NONE)
}

fn fetch(prng: &mut Prng) -> Probe {
    let (topic, partition) = place(prng);
    let by_id = prng.chance(1, 5);
    let wanted = m::fetch::FetchPartition {
        partition,
        fetch_offset: [0, 1, 1 << 40, -5][prng.below(4) as usize],
        partition_max_bytes: prng.below(100_000) as i32,
        current_leader_epoch: [-1, 0, 77][prng.below(3) as usize],
        last_fetched_epoch: -1,
        log_start_offset: -1,
        ..Default::default()
    };
    let topic = m::fetch::FetchTopic {
        topic: if by_id { String::new() } else { topic },
        topic_id: if by_id { TopicId(99) } else { TopicId::ZERO },
        partitions: vec![wanted],
    };
    let (session_id, session_epoch) = [(0, -1), (0, -1), (0, 0), (77, 5), (0, 5)][prng.below(5) as usize];
    let request = m::fetch::FetchRequest {
        replica_id: -1,
        max_wait_ms: prng.below(100) as i32,
        min_bytes: 1,
        max_bytes: 100_000,
        session_id,
        session_epoch,
        topics: vec![topic],
        ..Default::default()
    };
    Probe::new(ApiKey::Fetch, if by_id { 13 } else { 12 }, &request)
}

fn list_offsets(prng: &mut Prng) -> Probe {
    let (name, partition_index) = place(prng);
    let asked = m::list_offsets::ListOffsetsPartition {
        partition_index,
        timestamp: -(prng.below(8) as i64),
        current_leader_epoch: [-1, 0, 77][prng.below(3) as usize],
    };
    let topics = vec![m::list_offsets::ListOffsetsTopic { name, partitions: vec![asked] }];
    let request = m::list_offsets::ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    Probe::new(ApiKey::ListOffsets, 9, &request)
}

fn epochs(prng: &mut Prng) -> Probe {
    let (topic, partition) = place(prng);
    let asked = m::offset_for_leader_epoch::OffsetForLeaderPartition {
        partition,
        current_leader_epoch: [-1, 0, 77][prng.below(3) as usize],
        leader_epoch: prng.below(3) as i32 - 1,
    };
    let topics = vec![m::offset_for_leader_epoch::OffsetForLeaderTopic { topic, partitions: vec![asked] }];
    let request = m::offset_for_leader_epoch::OffsetForLeaderEpochRequest { replica_id: -1, topics };
    Probe::new(ApiKey::OffsetForLeaderEpoch, 4, &request)
}

fn init_producer_id(prng: &mut Prng, learned: &Learned) -> Probe {
    let (producer_id, producer_epoch) = match (learned.producer, prng.below(3)) {
        (Some(known), 0) => known,
        (_, 1) => (987_654, 3),
        _ => (-1, -1),
    };
    let request = m::init_producer_id::InitProducerIdRequest {
        transactional_id: prng.chance(1, 8).then(|| ["tx", ""][prng.below(2) as usize].to_string()),
        transaction_timeout_ms: i32::MAX,
        producer_id,
        producer_epoch,
        ..Default::default()
    };
    Probe::new(ApiKey::InitProducerId, 4, &request)
}
