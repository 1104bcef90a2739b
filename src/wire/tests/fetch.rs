//! The hand-written Fetch against the generated one.

use crate::arbitrary::any;
use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::fetch::{FetchOutcome, FetchRequest, FetchResponse, FetchResponseEncoder, Piece};
use coretide_wire::messages::fetch as generated;
use coretide_wire::{CurrentLeader, Message, NodeEndpoint, Reader, TopicRef, encode_response};
use proptest::prelude::*;

/// The generated request in the hand-written one's form.
fn translate(oracle: &generated::FetchRequest, version: i16) -> FetchRequest {
    use coretide_wire::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
    let mut partitions = Vec::new();
    let mut topics = Vec::new();
    for (place, topic) in oracle.topics.iter().enumerate() {
        let (name, topic_id) = (topic.topic.clone(), topic.topic_id);
        topics.push(FetchTopic { name, topic_id, partition_count: topic.partitions.len() });
        partitions.extend(topic.partitions.iter().map(|p| FetchPartition {
            topic_place: place as u32,
            index: p.partition,
            current_leader_epoch: p.current_leader_epoch,
            fetch_offset: p.fetch_offset,
            last_fetched_epoch: p.last_fetched_epoch,
            log_start_offset: p.log_start_offset,
            max_bytes: p.partition_max_bytes,
        }));
    }
    let forgotten = oracle.forgotten_topics_data.iter().map(|t| ForgottenTopic {
        name: t.topic.clone(),
        topic_id: t.topic_id,
        partitions: t.partitions.clone(),
    });
    FetchRequest {
        version,
        cluster_id: oracle.cluster_id.clone(),
        replica_id: if version >= 15 { oracle.replica_state.replica_id } else { oracle.replica_id },
        max_wait_ms: oracle.max_wait_ms,
        min_bytes: oracle.min_bytes,
        max_bytes: oracle.max_bytes,
        isolation_level: oracle.isolation_level,
        session_id: oracle.session_id,
        session_epoch: oracle.session_epoch,
        topics,
        partitions,
        forgotten: forgotten.collect(),
        rack_id: oracle.rack_id.clone(),
    }
}

fn encode_by_hand(oracle: &generated::FetchResponse, version: i16, correlation_id: i32) -> FetchResponse<Bytes> {
    let partitions = oracle.responses.iter().map(|t| t.partitions.len()).sum();
    let top = (oracle.throttle_time_ms, oracle.error_code, oracle.session_id);
    let mut encoder =
        FetchResponseEncoder::new(version, correlation_id, top, oracle.responses.len(), partitions).unwrap();
    for topic in &oracle.responses {
        let name = if version >= 13 { TopicRef::Id(topic.topic_id) } else { TopicRef::Name(&topic.topic) };
        encoder.topic(name, topic.partitions.len()).unwrap();
        for p in &topic.partitions {
            let aborted: Option<Vec<(i64, i64)>> =
                p.aborted_transactions.as_ref().map(|a| a.iter().map(|t| (t.producer_id, t.first_offset)).collect());
            let (diverging, leader) = (&p.diverging_epoch, &p.current_leader);
            let outcome = FetchOutcome {
                index: p.partition_index,
                error_code: p.error_code,
                high_watermark: p.high_watermark,
                last_stable_offset: p.last_stable_offset,
                log_start_offset: p.log_start_offset,
                aborted: aborted.as_deref(),
                preferred_read_replica: p.preferred_read_replica,
                diverging_epoch: (*diverging != Default::default()).then_some((diverging.epoch, diverging.end_offset)),
                current_leader: (*leader != Default::default())
                    .then_some(CurrentLeader { leader_id: leader.leader_id, leader_epoch: leader.leader_epoch }),
            };
            // Records come in two extents, to see that their order is kept.
            let records = p.records.clone().unwrap_or_default();
            let middle = records.len() / 2;
            let extents = [records.slice(..middle), records.slice(middle..)];
            encoder.partition(&outcome, extents, records.len()).unwrap();
        }
    }
    let endpoints: Vec<NodeEndpoint> = oracle
        .node_endpoints
        .iter()
        .map(|e| NodeEndpoint { node_id: e.node_id, host: e.host.clone(), port: e.port, rack: e.rack.clone() })
        .collect();
    encoder.finish(&endpoints).unwrap()
}

/// A response that both can express: no snapshot ids, and records empty instead of null.
fn any_response(seed: u64, version: i16) -> generated::FetchResponse {
    let mut response: generated::FetchResponse = any(&mut Prng::new(seed), version);
    for partition in response.responses.iter_mut().flat_map(|t| &mut t.partitions) {
        partition.snapshot_id = Default::default();
        partition.records.get_or_insert_default();
    }
    response
}

proptest! {
    #[test]
    fn the_request_reads_as_the_generated_decoder_reads_it(seed: u64, version in 4i16..=18) {
        let oracle: generated::FetchRequest = any(&mut Prng::new(seed), version);
        let bytes = oracle.to_bytes(version).unwrap();
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(FetchRequest::decode(&mut r, version), Ok(translate(&oracle, version)));
        prop_assert_eq!(r.remaining(), 0);
        for end in 0..bytes.len() {
            prop_assert!(FetchRequest::decode(&mut Reader::new(&bytes.slice(..end)), version).is_err());
        }
    }

    #[test]
    fn the_response_is_the_generated_one_with_its_holes_filled(seed: u64, version in 4i16..=18, correlation_id: i32) {
        let oracle = any_response(seed, version);
        let response = encode_by_hand(&oracle, version, correlation_id);
        let mut sent = Vec::new();
        for piece in &response.pieces {
            match piece {
                Piece::Head(bytes) | Piece::Hole(bytes) => sent.extend_from_slice(bytes),
            }
        }
        prop_assert_eq!(sent.len() as u64, response.bytes);
        prop_assert_eq!(sent, encode_response(&oracle, version, correlation_id).unwrap().to_vec());
    }
}

#[test]
fn record_bytes_are_handed_through_and_not_copied() {
    let oracle = any_response(3, 12);
    let with_records =
        oracle.responses.iter().flat_map(|t| &t.partitions).filter(|p| p.records.as_ref().is_some_and(|r| r.len() > 1));
    let addresses: Vec<*const u8> = with_records.map(|p| p.records.as_ref().unwrap().as_ptr()).collect();
    assert!(!addresses.is_empty(), "the seed gives records");
    let response = encode_by_hand(&oracle, 12, 1);
    for address in addresses {
        assert!(response.pieces.iter().any(|piece| matches!(piece, Piece::Hole(bytes) if bytes.as_ptr() == address)));
    }
}
