//! Produce across shards: order, durability, duplicates, refusals.

use bytes::Bytes;
use coretide_log::batch::crc_of;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_wire::encode_request;
use coretide_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use coretide_wire::messages::produce::{ProduceResponse, TopicProduceData};

use super::rig::{Rig, START_MS, batch, produce, produced, sequenced};

#[test]
fn one_request_reaches_partitions_of_all_shards_and_is_answered_in_its_order() {
    let mut rig = Rig::new(3);
    rig.create("t", 6, &[]);
    let conn = rig.open(1);
    let parts: Vec<(i32, Bytes)> = [5, 0, 3, 1, 4, 2].map(|index| (index, batch(&[b"a", b"b"]))).to_vec();
    let first: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &parts));
    let expected: Vec<_> = [5, 0, 3, 1, 4, 2].map(|index| (index, 0, 0)).to_vec();
    assert_eq!(produced(&first), expected, "W6: responses follow the request");
    let second: ProduceResponse = rig.call(conn, 9, &produce("t", 1, &parts));
    assert!(produced(&second).iter().all(|(_, error, offset)| (*error, *offset) == (0, 2)));
}

#[test]
fn producers_of_all_partitions_together_are_limited_and_the_fullest_partition_pays() {
    let mut rig = Rig::with(1, &[("coretide.shard.memory.bytes", "16777216")]);
    rig.create("t", 2, &[]);
    let conn = rig.open(0);
    let honest: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(1, sequenced(9_999_999, 0, 0, &[b"a"]))]));
    assert_eq!(produced(&honest), [(1, 0, 0)]);
    for id in 0..4200 {
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, sequenced(id, 0, 0, &[b"a"]))]));
        assert_eq!(produced(&response)[0].1, 0);
    }
    assert!(rig.shards[0].metrics().producers_forgotten >= 104, "4096 fit into an eighth of 16 MiB");
    let again: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(1, sequenced(9_999_999, 0, 0, &[b"a"]))]));
    assert_eq!(produced(&again), [(1, 0, 0)], "the producer of the other partition is still known");
}

#[test]
fn topics_by_id_and_unknown_ones() {
    let mut rig = Rig::new(2);
    let topic_id = rig.create("t", 1, &[]);
    let conn = rig.open(0);
    let mut request = produce("", -1, &[(0, batch(&[b"a"])), (7, batch(&[b"a"]))]);
    request.topic_data[0].topic_id = topic_id;
    let unknown = TopicProduceData { topic_id: coretide_model::TopicId(99), ..request.topic_data[0].clone() };
    request.topic_data.push(unknown);
    let response: ProduceResponse = rig.call(conn, 13, &request);
    assert_eq!(produced(&response), [(0, 0, 0), (7, 3, -1), (0, 100, -1), (7, 100, -1)]);
    let response: ProduceResponse = rig.call(conn, 7, &produce("u", -1, &[(0, batch(&[b"a"]))]));
    assert_eq!(produced(&response), [(0, 3, -1)]);
}

#[test]
fn an_ack_leaves_only_after_its_commit() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    for shard in 0..2 {
        let conn = rig.open(0);
        rig.hold_io = true;
        let part = rig.owned_by(topic, shard);
        rig.send(conn, 9, &produce("t", -1, &[(part, batch(&[b"a"]))]));
        assert_eq!(rig.waiting(conn), 0, "nothing is durable yet");
        rig.release_io();
        let response: ProduceResponse = rig.receive(conn);
        assert_eq!(produced(&response), [(part, 0, 0)]);
    }
}

#[test]
fn w5_pipelined_requests_overlap_and_are_answered_in_order() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let conn = rig.open(0);
    let (near, far) = (rig.owned_by(topic, 0), rig.owned_by(topic, 1));
    rig.hold_mail = true;
    rig.push(conn, 9, &produce("t", -1, &[(far, batch(&[b"1"]))]));
    rig.push(conn, 9, &produce("t", -1, &[(near, batch(&[b"2"]))]));
    rig.push(conn, 9, &produce("t", -1, &[(far, batch(&[b"3"]))]));
    rig.run();
    assert_eq!(rig.waiting(conn), 0, "the second is done, but not its turn");
    rig.release_mail();
    for expected in [(far, 0, 0), (near, 0, 0), (far, 0, 1)] {
        let response: ProduceResponse = rig.receive(conn);
        assert_eq!(produced(&response), [expected]);
    }
}

#[test]
fn idempotent_producers_get_the_original_offset_for_a_duplicate_and_45_for_a_gap() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    let (a, b) = (rig.open(0), rig.open(1));
    let ids: Vec<InitProducerIdResponse> =
        [a, b, a].map(|conn| rig.call(conn, 4, &InitProducerIdRequest::default())).to_vec();
    assert!(ids.iter().all(|id| (id.error_code, id.producer_epoch) == (0, 0)));
    let mut numbers: Vec<i64> = ids.iter().map(|id| id.producer_id).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 3, "I6: no id is given twice, whatever the shard");
    let id = ids[0].producer_id;
    let mut send = |conn, sequence: i32| {
        let response: ProduceResponse =
            rig.call(conn, 9, &produce("t", -1, &[(0, sequenced(id, 0, sequence, &[b"x", b"y"]))]));
        produced(&response)[0]
    };
    assert_eq!(send(a, 0), (0, 0, 0));
    assert_eq!(send(b, 2), (0, 0, 2), "the next sequence, by another connection");
    assert_eq!(send(a, 0), (0, 0, 0), "I1: a duplicate");
    assert_eq!(send(b, 9), (0, 45, -1));
    assert_eq!(send(a, 4), (0, 0, 4));
}

#[test]
fn bug_sarama_two_requests_in_flight_are_appended_in_order_of_arrival() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let conn = rig.open(0);
    let far = rig.owned_by(topic, 1);
    for sequence in 0..5 {
        rig.push(conn, 9, &produce("t", -1, &[(far, sequenced(7, 0, sequence, &[b"x"]))]));
    }
    rig.run();
    for sequence in 0..5 {
        let response: ProduceResponse = rig.receive(conn);
        assert_eq!(produced(&response), [(far, 0, i64::from(sequence))]);
    }
}

#[test]
fn refusals_leave_the_other_partitions_alone() {
    let mut rig = Rig::new(2);
    rig.create("t", 4, &[("max.message.bytes", "200")]);
    let conn = rig.open(0);
    let mut corrupt = batch(&[b"a"]).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let two = [batch(&[b"a"]), batch(&[b"a"])].concat();
    let parts = [(0, corrupt.into()), (1, batch(&[&[0; 300]])), (2, two.into()), (3, batch(&[b"good"]))];
    let response: ProduceResponse = rig.call(conn, 8, &produce("t", -1, &parts));
    assert_eq!(produced(&response), [(0, 2, -1), (1, 10, -1), (2, 87, -1), (3, 0, 0)]);
    assert!(response.responses[0].partition_responses[0].error_message.is_some());
    assert_eq!(response.responses[0].partition_responses[3].error_message, None);
}

#[test]
fn p3_rejected_records_are_named() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[("cleanup.policy", "compact")]);
    let conn = rig.open(0);
    let response: ProduceResponse = rig.call(conn, 8, &produce("t", -1, &[(0, sequenced(1, 0, 0, &[b"no key"]))]));
    assert_eq!(produced(&response), [(0, 87, -1)]);
    assert_eq!(response.responses[0].partition_responses[0].record_errors[0].batch_index, 0);
}

#[test]
fn p6_acks_and_insync_replicas() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    rig.create("two", 1, &[("min.insync.replicas", "2")]);
    let conn = rig.open(0);
    let mut error = |topic: &str, acks| {
        let response: ProduceResponse = rig.call(conn, 9, &produce(topic, acks, &[(0, batch(&[b"a"]))]));
        produced(&response)[0].1
    };
    assert_eq!([error("t", 2), error("t", -2)], [21, 21]);
    assert_eq!([error("two", -1), error("two", 1)], [19, 0]);
}

#[test]
fn p4_log_append_time_is_told() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let conn = rig.open(0);
    rig.advance_ms(5000);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, batch(&[b"a"]))]));
    assert_eq!(response.responses[0].partition_responses[0].log_append_time_ms, START_MS + 5000);
}

#[test]
fn a_failed_write_is_never_acked_and_the_log_stays_closed() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let conn = rig.open(0);
    let far = rig.owned_by(topic, 1);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(far, batch(&[b"a"]))]));
    assert_eq!(produced(&response), [(far, 0, 0)]);
    rig.disk.broken = true;
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(far, batch(&[b"b"]))]));
    assert_eq!(produced(&response), [(far, 56, -1)]);
    rig.disk.broken = false;
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(far, batch(&[b"c"]))]));
    assert_eq!(produced(&response), [(far, 56, -1)], "L9: nothing is acked after a failed write");
}

#[test]
fn a_produce_that_waits_too_long_is_told_so_and_the_connection_goes_on() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    rig.hold_io = true;
    let mut request = produce("t", -1, &[(0, batch(&[b"a"]))]);
    request.timeout_ms = 1000;
    rig.send(conn, 9, &request);
    rig.advance_ms(900);
    assert_eq!(rig.waiting(conn), 0);
    rig.advance_ms(700);
    let response: ProduceResponse = rig.receive(conn);
    assert_eq!(produced(&response), [(0, 7, -1)]);
    rig.release_io();
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, batch(&[b"b"]))]));
    assert_eq!(produced(&response), [(0, 0, 1)], "what timed out was appended all the same");
}

/// Records of a few MiB that are all the same.
fn bomb(mib: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(Codec::Lz4));
    builder.push(START_MS, None, Some(&vec![0; mib << 20]), &[]);
    builder.build()
}

/// Its own connection waits for it, with everything behind it; others do not.
#[test]
fn a_batch_that_unpacks_to_much_keeps_its_place_and_holds_up_no_other_connection() {
    for acks in [-1, 0] {
        let mut rig = Rig::new(2);
        let topic = rig.create("t", 2, &[]);
        let (conn, other) = (rig.open(0), rig.open(0));
        let (near, far) = (rig.owned_by(topic, 0), rig.owned_by(topic, 1));
        let first = produce("t", acks, &[(far, bomb(5)), (near, batch(&[b"small"]))]);
        match acks {
            0 => rig.push_raw(conn, encode_request(&first, 9, 0, None).unwrap().slice(4..)),
            _ => rig.push(conn, 9, &first),
        }
        rig.push(conn, 9, &produce("t", -1, &[(far, batch(&[b"behind"]))]));
        rig.push(other, 9, &produce("t", -1, &[(near, batch(&[b"other"])), (far, batch(&[b"other"]))]));
        rig.run();
        let response: ProduceResponse = rig.receive(other);
        assert_eq!(produced(&response), [(near, 0, 0), (far, 0, 0)], "it came later and did not wait");
        if acks != 0 {
            let response: ProduceResponse = rig.receive(conn);
            assert_eq!(produced(&response), [(far, 0, 1), (near, 0, 1)], "nothing of a request goes ahead of the rest");
        }
        let response: ProduceResponse = rig.receive(conn);
        assert_eq!(produced(&response), [(far, 0, 2)]);
    }
}

#[test]
fn batches_of_one_request_share_what_is_unpacked_at_once_and_each_gets_its_answer() {
    let mut rig = Rig::new(2);
    rig.create("t", 5, &[]);
    let conn = rig.open(1);
    let mut damaged = bomb(6).to_vec();
    let middle = damaged.len() / 2;
    damaged.truncate(middle);
    damaged[8..12].copy_from_slice(&(middle as i32 - 12).to_be_bytes());
    let crc = crc_of(&damaged);
    damaged[17..21].copy_from_slice(&crc.to_be_bytes());
    let parts = [(0, bomb(3)), (1, bomb(3)), (2, damaged.into()), (3, bomb(129)), (4, bomb(1))];
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &parts));
    assert_eq!(produced(&response), [(0, 0, 0), (1, 0, 0), (2, 87, -1), (3, 10, -1), (4, 0, 0)]);
    assert_eq!(rig.shards[1].metrics().batches_refused, 2);
    let only_bad: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &parts[3..4]));
    assert_eq!(produced(&only_bad), [(3, 10, -1)]);
}

#[test]
fn a_connection_that_ends_while_its_batch_is_unpacked_leaves_nothing_and_the_next_one_goes_on() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    let (conn, other) = (rig.open(0), rig.open(0));
    rig.push(conn, 9, &produce("t", -1, &[(0, bomb(5))]));
    rig.push(other, 9, &produce("t", -1, &[(0, bomb(5))]));
    rig.hang_up(conn);
    rig.run();
    let response: ProduceResponse = rig.receive(other);
    assert_eq!(produced(&response), [(0, 0, 0)]);
}
