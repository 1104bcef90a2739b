//! The hand-written Produce against the generated one.

use crate::arbitrary::any;
use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::messages::produce::{ProduceRequest, ProduceResponse};
use coretide_wire::produce::{ProduceOutcome, ProducePlace, ProduceRequestView, ProduceResponseEncoder};
use coretide_wire::{CurrentLeader, Message, NodeEndpoint, Reader, TopicRef, encode_response};
use proptest::prelude::*;

fn topic_ref<'a>(version: i16, name: &'a str, id: &coretide_model::TopicId) -> TopicRef<'a> {
    if version >= 13 { TopicRef::Id(*id) } else { TopicRef::Name(name) }
}

fn check_view(frame: &Bytes, oracle: &ProduceRequest, version: i16) {
    let mut r = Reader::new(frame);
    let view = ProduceRequestView::decode(&mut r, version).unwrap();
    assert_eq!(r.remaining(), 0);
    assert_eq!(view.transactional_id, oracle.transactional_id.as_deref());
    assert_eq!((view.acks, view.timeout_ms), (oracle.acks, oracle.timeout_ms));
    let mut wanted = Vec::new();
    for (place, topic) in oracle.topic_data.iter().enumerate() {
        let name = topic_ref(version, &topic.name, &topic.topic_id);
        wanted.extend(topic.partition_data.iter().map(move |p| (name, place, p.index, p.records.clone())));
    }
    let found: Vec<_> = view.partitions().map(|p| (p.topic, p.topic_place, p.index, p.records)).collect();
    assert_eq!(found, wanted);
    assert_eq!((view.topic_count, view.partition_count), (oracle.topic_data.len(), wanted.len()));
    let places: Vec<_> = view.outline().places(frame).collect();
    let mut wanted_places = Vec::new();
    for topic in &oracle.topic_data {
        let name = topic_ref(version, &topic.name, &topic.topic_id);
        wanted_places.push(ProducePlace::Topic(name, topic.partition_data.len()));
        wanted_places.extend(topic.partition_data.iter().map(|p| ProducePlace::Partition(p.index)));
    }
    assert_eq!(places, wanted_places);
}

fn encode_by_hand(oracle: &ProduceResponse, version: i16, correlation_id: i32) -> Bytes {
    let partitions = oracle.responses.iter().map(|t| t.partition_responses.len()).sum();
    let mut encoder = ProduceResponseEncoder::new(version, correlation_id, oracle.responses.len(), partitions).unwrap();
    for topic in &oracle.responses {
        let name = topic_ref(version, &topic.name, &topic.topic_id);
        encoder.topic(name, topic.partition_responses.len()).unwrap();
        for p in &topic.partition_responses {
            let record_errors: Vec<_> =
                p.record_errors.iter().map(|e| (e.batch_index, e.batch_index_error_message.clone())).collect();
            let leader = &p.current_leader;
            let hint = CurrentLeader { leader_id: leader.leader_id, leader_epoch: leader.leader_epoch };
            encoder
                .partition(&ProduceOutcome {
                    index: p.index,
                    error_code: p.error_code,
                    base_offset: p.base_offset,
                    log_append_time_ms: p.log_append_time_ms,
                    log_start_offset: p.log_start_offset,
                    record_errors: &record_errors,
                    error_message: p.error_message.as_deref(),
                    current_leader: (*leader != Default::default()).then_some(hint),
                })
                .unwrap();
        }
    }
    let endpoints: Vec<NodeEndpoint> = oracle
        .node_endpoints
        .iter()
        .map(|e| NodeEndpoint { node_id: e.node_id, host: e.host.clone(), port: e.port, rack: e.rack.clone() })
        .collect();
    encoder.finish(oracle.throttle_time_ms, &endpoints).unwrap()
}

proptest! {
    #[test]
    fn the_view_reads_what_the_generated_decoder_reads(seed: u64, version in 3i16..=13) {
        let request: ProduceRequest = any(&mut Prng::new(seed), version);
        check_view(&request.to_bytes(version).unwrap(), &request, version);
    }

    #[test]
    fn the_view_accepts_and_refuses_mutated_bytes_as_the_generated_decoder_does(seed: u64, version in 3i16..=13) {
        let rng = &mut Prng::new(seed);
        let request: ProduceRequest = any(rng, version);
        let mut bytes = request.to_bytes(version).unwrap().to_vec();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let bytes = Bytes::from(bytes);
        let view = ProduceRequestView::decode(&mut Reader::new(&bytes), version);
        match ProduceRequest::decode(&mut Reader::new(&bytes), version) {
            Ok(oracle) => {
                prop_assert!(view.is_ok());
                let mut r = Reader::new(&bytes);
                ProduceRequest::decode(&mut r, version).unwrap();
                check_view(&bytes.slice(..r.position()), &oracle, version);
            }
            Err(_) => prop_assert!(view.is_err()),
        }
    }

    #[test]
    fn the_response_is_the_generated_encoder_s_byte_for_byte(seed: u64, version in 3i16..=13, correlation_id: i32) {
        let response: ProduceResponse = any(&mut Prng::new(seed), version);
        let wanted = encode_response(&response, version, correlation_id).unwrap();
        prop_assert_eq!(encode_by_hand(&response, version, correlation_id), wanted);
    }
}
