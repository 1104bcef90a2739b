//! Bytes that are no requests, or almost: the connection that sent them may end, nothing else may happen.

use bytes::Bytes;
use coretide_model::ConnId;
use coretide_wire::api::SERVED;
use coretide_wire::messages::produce::ProduceResponse;
use coretide_wire::{Message, encode_request};
use proptest::prelude::*;

use super::rig::{Rig, batch, produce, produced, sequenced};

/// A good request with some bytes changed or the end cut off.
fn almost<M: Message>(version: i16, request: &M, changes: &[(usize, u8)], cut: usize) -> Bytes {
    let frame = encode_request(request, version, 1, Some("tests")).unwrap();
    let mut bytes = frame[4..].to_vec();
    for (place, byte) in changes {
        // The key stays: what is to be tested is the body.
        let place = 2 + place % (bytes.len() - 2);
        bytes[place] = *byte;
    }
    bytes.truncate(bytes.len() - cut % bytes.len());
    bytes.into()
}

/// A header of a served API and anything behind it.
fn anything(api: usize, version: i16, body: &[u8]) -> Bytes {
    let served = SERVED[api % SERVED.len()];
    let version = served.min + version.rem_euclid(served.max - served.min + 1);
    let mut bytes = served.key.code().to_be_bytes().to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
    bytes.extend(body);
    bytes.into()
}

fn fetch() -> coretide_wire::messages::fetch::FetchRequest {
    use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
    let partitions = vec![FetchPartition { partition_max_bytes: 1000, ..FetchPartition::default() }];
    FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1000,
        topics: vec![FetchTopic { topic: "t".into(), partitions, ..FetchTopic::default() }],
        ..FetchRequest::default()
    }
}

fn open(rig: &mut Rig) -> ConnId {
    let shard = rig.conns.len() % 2;
    rig.open(shard)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_one_client_sends_the_others_notice_nothing(
        sent in proptest::collection::vec(
            (0u8..3, any::<usize>(), 3i16..13, proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
             prop_oneof![3 => Just(0usize), 1 => any::<usize>()], proptest::collection::vec(any::<u8>(), 0..80)),
            1..30,
        ),
    ) {
        let mut rig = Rig::new(2);
        rig.create("t", 2, &[]);
        rig.create("good", 1, &[]);
        let good = rig.open(0);
        let mut bad = open(&mut rig);
        for (turn, (kind, api, version, changes, cut, body)) in sent.iter().enumerate() {
            let records = [(0, batch(&[b"a"])), (1, sequenced(3, 0, turn as i32, &[b"b"]))];
            let frame = match kind {
                0 => almost(*version, &produce("t", 1, &records), changes, *cut),
                1 => almost((*version).clamp(4, 12), &fetch(), changes, *cut),
                _ => anything(*api, *version, body),
            };
            rig.send_raw(bad, frame);
            rig.advance_ms(150);
            if rig.conns[&bad].closed {
                bad = open(&mut rig);
            }
            let response: ProduceResponse = rig.call(good, 9, &produce("good", -1, &[(0, batch(&[b"x"]))]));
            prop_assert_eq!(produced(&response), [(0, 0, turn as i64)]);
        }
        rig.hang_up(bad);
        prop_assert!(rig.shards.iter().all(|shard| shard.logs.watching() == 0));
        prop_assert!(rig.shards.iter().all(|shard| shard.memory.used_bytes() == 0), "everything is given back");
    }
}
