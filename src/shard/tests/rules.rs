//! The rules of the wire (W1 to W8), limits, and what happens to those who do not keep to them.

use bytes::Bytes;
use coretide_model::ConnId;
use coretide_wire::api::SERVED;
use coretide_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use coretide_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use coretide_wire::messages::produce::ProduceResponse;
use coretide_wire::{ApiKey, Message, Reader, encode_request};

use super::rig::{Rig, batch, produce, produced};

fn frame<M: Message>(version: i16, request: &M) -> Bytes {
    encode_request(request, version, 1, Some("tests")).unwrap().slice(4..)
}

fn asked() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "tests".into(),
        client_software_version: "1.0".into(),
        ..ApiVersionsRequest::default()
    }
}

#[test]
fn api_versions_name_what_is_served_with_kafkas_ranges() {
    let mut rig = Rig::new(1);
    let conn = rig.open(0);
    for version in 0..=5 {
        let response: ApiVersionsResponse = rig.call(conn, version, &asked());
        assert_eq!(response.error_code, 0);
        for api in &response.api_keys {
            let served = SERVED.iter().find(|served| served.key.code() == api.api_key).unwrap();
            assert_eq!((api.min_version, api.max_version), (served.advertised_min, served.max));
        }
        assert_eq!(response.api_keys[0].min_version, 0, "KAFKA-18659");
        assert_eq!(response.finalized_features.len(), usize::from(version >= 3));
    }
}

#[test]
fn w2_an_unknown_version_of_api_versions_gets_version_0_and_35() {
    let mut rig = Rig::new(1);
    let conn = rig.open(0);
    rig.send_raw(conn, Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 9, 1, 2, 3]));
    let answer = rig.conns.get_mut(&conn).unwrap().received.pop_front().unwrap();
    let mut reader = Reader::new(&answer);
    assert_eq!(reader.i32(), Ok(9));
    let response = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!((response.error_code, reader.remaining()), (35, 0));
    let keys: Vec<_> = response.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
    assert_eq!(keys, [(18, 0, 5)]);
    assert!(!rig.conns[&conn].closed);
}

#[test]
fn w3_unknown_keys_and_versions_close_the_connection_without_an_answer() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    let cut = frame(9, &produce("t", -1, &[(0, batch(&[b"a"]))]));
    let frames = [
        Bytes::from_static(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        Bytes::from_static(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff]),
        Bytes::from_static(&[0, 4, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        Bytes::from_static(&[0]),
        Bytes::new(),
        cut.slice(..cut.len() - 1 - 40),
    ];
    for bad in frames {
        let conn = rig.open(0);
        rig.send_raw(conn, bad.clone());
        assert!(rig.conns[&conn].closed && rig.waiting(conn) == 0, "{bad:?}");
    }
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn a_bad_request_does_not_take_the_answers_of_those_before_it_along() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    rig.hold_io = true;
    rig.push(conn, 9, &produce("t", -1, &[(0, batch(&[b"a"]))]));
    rig.push_raw(conn, Bytes::from_static(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff]));
    rig.push_raw(conn, frame(9, &produce("t", -1, &[(0, batch(&[b"never"]))])));
    rig.run();
    assert!(!rig.conns[&conn].closed);
    rig.release_io();
    let response: ProduceResponse = rig.receive(conn);
    assert_eq!(produced(&response), [(0, 0, 0)]);
    assert!(rig.conns[&conn].closed);
    let other = rig.open(0);
    let response: ProduceResponse = rig.call(other, 9, &produce("t", -1, &[(0, batch(&[b"b"]))]));
    assert_eq!(produced(&response), [(0, 0, 1)], "what came behind the bad request was not done");
}

#[test]
fn w4_software_names_are_checked_and_kip_1242_sends_strays_back() {
    let mut rig = Rig::new(1);
    let conn = rig.open(0);
    let bad = ApiVersionsRequest { client_software_name: "-".into(), ..asked() };
    let response: ApiVersionsResponse = rig.call(conn, 3, &bad);
    assert_eq!((response.error_code, response.api_keys.len()), (42, 0));
    let mut meant = |cluster: Option<&str>, node_id| {
        let request = ApiVersionsRequest { cluster_id: cluster.map(str::to_string), node_id, ..asked() };
        let response: ApiVersionsResponse = rig.call(conn, 5, &request);
        response.error_code
    };
    let cluster = Some("cluster-of-the-tests-00");
    assert_eq!([meant(None, 7), meant(cluster, 1), meant(cluster, 2), meant(Some("x"), 1)], [0, 0, 129, 129]);
}

#[test]
fn w7_bytes_behind_the_body_are_ignored() {
    let mut rig = Rig::new(1);
    let conn = rig.open(0);
    let mut request = frame(0, &ApiVersionsRequest::default()).to_vec();
    request.extend_from_slice(b"and more");
    rig.send_raw(conn, request);
    assert_eq!((rig.waiting(conn), rig.conns[&conn].closed), (1, false));
}

#[test]
fn w8_acks_0_is_never_answered_and_an_error_closes_the_connection() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let conn = rig.open(0);
    for shard in [0, 1] {
        let part = rig.owned_by(topic, shard);
        rig.push_raw(conn, frame(9, &produce("t", 0, &[(part, batch(&[b"a"]))])));
    }
    let far = rig.owned_by(topic, 1);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(far, batch(&[b"b"]))]));
    assert_eq!(produced(&response), [(far, 0, 1)], "they were appended, and only this one is answered");
    rig.send_raw(conn, frame(9, &produce("u", 0, &[(0, batch(&[b"a"]))])));
    assert!(rig.conns[&conn].closed && rig.waiting(conn) == 0);
    let conn = rig.open(0);
    let gap = super::rig::sequenced(5, 0, 0, &[b"x"]);
    rig.send_raw(conn, frame(9, &produce("t", 0, &[(far, gap)])));
    let gap = super::rig::sequenced(5, 0, 9, &[b"x"]);
    rig.send_raw(conn, frame(9, &produce("t", 0, &[(far, gap)])));
    assert!(rig.conns[&conn].closed, "the owner's refusal closes it too");
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn w11_idle_connections_are_closed_and_busy_ones_are_not() {
    let mut rig = Rig::with(1, &[("connections.max.idle.ms", "30000")]);
    let (idle, busy) = (rig.open(0), rig.open(0));
    for _ in 0..6 {
        rig.advance_ms(10_000);
        let _: ApiVersionsResponse = rig.call(busy, 0, &ApiVersionsRequest::default());
    }
    assert!(rig.conns[&idle].closed);
    assert!(!rig.conns[&busy].closed);
}

#[test]
fn connections_are_limited() {
    let mut rig = Rig::with(1, &[("max.connections", "3")]);
    let conns: Vec<ConnId> = (0..4).map(|_| rig.open(0)).collect();
    let closed: Vec<bool> = conns.iter().map(|conn| rig.conns[conn].closed).collect();
    assert_eq!(closed, [false, false, false, true]);
    rig.hang_up(conns[0]);
    let next = rig.open(0);
    assert!(!rig.conns[&next].closed);
}

#[test]
fn bug_ours_connection_limits_hold_over_all_shards_together() {
    let mut rig = Rig::with(3, &[("max.connections.per.ip", "4"), ("max.connections", "6")]);
    let open = |rig: &mut Rig, shard: usize, host: u8| {
        let conn = rig.open_from(shard, format!("10.0.0.{host}:9"));
        (conn, !rig.conns[&conn].closed)
    };
    let first: Vec<(ConnId, bool)> = [2, 2, 2, 2].map(|shard| open(&mut rig, shard, 1)).to_vec();
    assert!(first.iter().all(|(_, served)| *served), "one shard may have all of them");
    assert_eq!([0, 1, 2].map(|shard| open(&mut rig, shard, 1).1), [false; 3], "and then no shard has more");
    assert_eq!([0, 1, 2].map(|shard| open(&mut rig, shard, 2).1), [true, true, false], "six in all");
    let refused = |rig: &Rig| -> (u64, u64) {
        let metrics = rig.shards.iter().map(|shard| shard.metrics());
        metrics.fold((0, 0), |sum, m| (sum.0 + m.connections_refused, sum.1 + m.connections_refused_per_ip))
    };
    assert_eq!(refused(&rig), (1, 3));
    rig.hang_up(first[0].0);
    rig.run();
    assert_eq!([1, 0].map(|shard| open(&mut rig, shard, 1).1), [true, false]);
}

#[test]
fn a_connection_that_waits_for_its_admission_begins_nothing() {
    let mut rig = Rig::with(2, &[("max.connections", "1")]);
    rig.hold_mail = true;
    let (a, b) = (rig.open(1), rig.open(1));
    rig.send(a, 0, &ApiVersionsRequest::default());
    rig.send(b, 0, &ApiVersionsRequest::default());
    let gone = rig.open(1);
    rig.hang_up(gone);
    assert_eq!((rig.waiting(a), rig.waiting(b)), (0, 0));
    rig.release_mail();
    assert_eq!((rig.waiting(a), rig.waiting(b)), (1, 0));
    assert!(!rig.conns[&a].closed && rig.conns[&b].closed);
}

#[test]
fn a_limit_that_is_set_later_counts_who_is_there() {
    let mut rig = Rig::new(2);
    let conns: Vec<ConnId> = (0..4).map(|number| rig.open(number % 2)).collect();
    let set = |rig: &mut Rig, value: &str| {
        let config = AlterableConfig { name: "max.connections".into(), config_operation: 0, value: Some(value.into()) };
        let resource = AlterConfigsResource { resource_type: 4, resource_name: "".into(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer: IncrementalAlterConfigsResponse = rig.call(conns[0], 1, &request);
        assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    };
    set(&mut rig, "5");
    let serves = |rig: &mut Rig, shard: usize| {
        let conn = rig.open(shard);
        !rig.conns[&conn].closed
    };
    let served: Vec<bool> = [1, 0].into_iter().map(|shard| serves(&mut rig, shard)).collect();
    assert_eq!(served, [true, false]);
    set(&mut rig, "2147483647");
    assert!((0..4).all(|number| serves(&mut rig, number % 2)));
    set(&mut rig, "9");
    let late = rig.open(1);
    assert!(rig.conns[&late].closed, "nine are there");
}

#[test]
fn spent_memory_stops_the_reading_of_all_and_its_return_resumes_it() {
    let mut rig =
        Rig::with(1, &[("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "1048576")]);
    rig.create("t", 1, &[("max.message.bytes", "10000000")]);
    let (a, b) = (rig.open(0), rig.open(0));
    rig.hold_io = true;
    let large = vec![7u8; 6 << 20];
    for _ in 0..3 {
        rig.send(a, 9, &produce("t", -1, &[(0, batch(&[&large]))]));
    }
    assert_eq!(rig.waiting(a), 0);
    assert!(rig.conns[&a].paused && rig.conns[&b].paused);
    let late = rig.open(0);
    assert!(rig.conns[&late].paused, "a new connection is not read either");
    rig.release_io();
    for offset in 0..3 {
        let response: ProduceResponse = rig.receive(a);
        assert_eq!(produced(&response), [(0, 0, offset)]);
    }
    assert!([a, b, late].iter().all(|conn| !rig.conns[conn].paused));
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn a_connection_that_does_not_take_its_responses_is_closed_in_time() {
    let mut rig = Rig::with(1, &[("connections.max.idle.ms", "60000")]);
    let conn = rig.open(0);
    rig.slow_readers = true;
    rig.send(conn, 0, &ApiVersionsRequest::default());
    for _ in 0..8 {
        rig.advance_ms(10_000);
    }
    assert!(rig.conns[&conn].closed);
    assert_eq!(rig.shards[0].memory.used_bytes(), 0, "what it held is free again");
}

#[test]
fn every_route_is_a_served_api() {
    for served in SERVED {
        let routed = crate::handlers::route(served.key).is_some();
        assert!(routed || served.key != ApiKey::Produce, "{served:?}");
    }
    assert!(crate::handlers::route(ApiKey::SaslHandshake).is_none());
}

#[test]
fn w11_while_memory_is_spent_who_takes_nothing_is_cut_off_and_the_others_go_on() {
    let memory = [("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "1048576")];
    let mut rig = Rig::with(1, &memory);
    rig.create("t", 1, &[("max.message.bytes", "10000000")]);
    let (writer, slow) = (rig.open(0), rig.open(0));
    let large = vec![7u8; 6 << 20];
    for _ in 0..3 {
        let response: ProduceResponse = rig.call(writer, 9, &produce("t", -1, &[(0, batch(&[&large]))]));
        assert_eq!(produced(&response)[0].1, 0);
    }
    rig.slow_readers = true;
    let request = FetchRequest {
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition { fetch_offset: 2, partition_max_bytes: 50 << 20, ..Default::default() }],
            ..Default::default()
        }],
        ..FetchRequest::default()
    };
    let more: Vec<ConnId> = (0..3).map(|_| rig.open(0)).collect();
    for conn in &more {
        rig.send(*conn, 12, &request);
    }
    assert!(rig.conns[&slow].paused && rig.conns[&writer].paused, "three unread responses are too much");
    rig.advance_ms(500);
    assert!(!more.iter().any(|conn| rig.conns[conn].closed));
    rig.advance_ms(1000);
    assert!(more.iter().all(|conn| rig.conns[conn].closed));
    assert!(!rig.conns[&slow].closed && !rig.conns[&slow].paused && !rig.conns[&writer].paused);
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn who_holds_much_is_held_back_before_the_others_are() {
    let memory = [("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "1048576")];
    let mut rig = Rig::with(1, &memory);
    rig.create("t", 1, &[("max.message.bytes", "10000000")]);
    let (writer, heavy) = (rig.open(0), rig.open(0));
    let large = vec![7u8; 1 << 20];
    for _ in 0..12 {
        let response: ProduceResponse = rig.call(writer, 9, &produce("t", -1, &[(0, batch(&[&large]))]));
        assert_eq!(produced(&response)[0].1, 0);
    }
    rig.slow_readers = true;
    let request = |fetch_offset| FetchRequest {
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition { fetch_offset, partition_max_bytes: 50 << 20, ..Default::default() }],
            ..Default::default()
        }],
        ..FetchRequest::default()
    };
    for offset in 0..12 {
        rig.send(heavy, 12, &request(offset));
    }
    let held = rig.shards[0].memory.used_bytes();
    assert!(held < 8 << 20, "{held} bytes are held for one connection");
    rig.slow_readers = false;
    for other in 0..3 {
        let conn = rig.open(0);
        assert!(!rig.conns[&conn].paused, "{other} pays for another one");
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, batch(&[b"x"]))]));
        assert_eq!(produced(&response)[0].1, 0);
    }
}

#[test]
fn large_requests_that_wait_on_purpose_are_answered_when_memory_is_spent() {
    let memory = [("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "1048576")];
    let mut rig = Rig::with(1, &memory);
    rig.create("t", 1, &[]);
    let poll = FetchRequest {
        max_wait_ms: i32::MAX,
        min_bytes: i32::MAX,
        max_bytes: 1 << 20,
        session_epoch: -1,
        rack_id: "r".repeat(32_000),
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }],
            ..Default::default()
        }],
        ..FetchRequest::default()
    };
    let conns: Vec<ConnId> = (0..8).map(|_| rig.open(0)).collect();
    for conn in &conns {
        (0..60).for_each(|_| rig.send(*conn, 11, &poll));
    }
    rig.advance_ms(300);
    let answered: usize = conns.iter().map(|conn| rig.waiting(*conn)).sum();
    assert!(answered > 100, "{answered} of 480 were answered early");
    let late = rig.open(0);
    assert!(!rig.conns[&late].paused);
    let response: ProduceResponse = rig.call(late, 9, &produce("t", -1, &[(0, batch(&[b"x"]))]));
    assert_eq!(produced(&response)[0].1, 0);
}

#[test]
fn connections_of_one_address_are_limited() {
    let mut rig = Rig::with(1, &[("max.connections.per.ip", "1"), ("max.connections.per.ip.overrides", "10.0.0.7:3")]);
    let mut open = |shard, host: u8| {
        let conn = rig.open_from(shard, format!("10.0.0.{host}:9"));
        rig.conns[&conn].closed
    };
    assert_eq!([open(0, 1), open(0, 1), open(0, 2)], [false, true, false]);
    assert_eq!([open(0, 7), open(0, 7), open(0, 7), open(0, 7)], [false, false, false, true]);
}
