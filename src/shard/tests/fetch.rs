//! Fetch: what is read, budgets, long polls, sessions; and ListOffsets with its kin.

use bytes::Bytes;
use coretide_log::batch::{HEADER_BYTES, crc_of, walk_batches};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_log::io::{FileId, Op, SegmentFile};
use coretide_model::{ConnId, TopicId};
use coretide_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use coretide_wire::messages::describe_producers::{DescribeProducersRequest, DescribeProducersResponse, TopicRequest};
use coretide_wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};
use coretide_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use coretide_wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use coretide_wire::messages::produce::ProduceResponse;

use super::rig::{Rig, START_MS, batch, batch_at, produce, produced, sequenced};
use crate::{Event, RequestMemory};

const VERSION: i16 = 12;

fn part(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }
}

/// Without a session, answered at once.
fn fetch(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: topic.into(), partitions, ..FetchTopic::default() }],
        ..FetchRequest::default()
    }
}

fn put(rig: &mut Rig, conn: ConnId, topic: &str, index: i32, values: &[&[u8]]) {
    let response: ProduceResponse = rig.call(conn, 9, &produce(topic, -1, &[(index, batch(values))]));
    assert_eq!(produced(&response)[0].1, 0);
}

fn parts(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

/// (index, error, base offsets of the batches).
fn shape(response: &FetchResponse) -> Vec<(i32, i16, Vec<i64>)> {
    let offsets = |records: &Option<Bytes>| {
        let records = records.clone().unwrap_or_default();
        let mut walk = walk_batches(&records);
        let offsets = walk.by_ref().map(|(_, header)| header.base_offset).collect();
        assert_eq!(walk.position(), records.len(), "F3: whole batches");
        offsets
    };
    parts(response).iter().map(|part| (part.partition_index, part.error_code, offsets(&part.records))).collect()
}

#[test]
fn what_was_produced_comes_back_byte_for_byte_from_every_shard() {
    let mut rig = Rig::new(3);
    rig.create("t", 6, &[]);
    let (writer, reader) = (rig.open(0), rig.open(2));
    for index in 0..6 {
        put(&mut rig, writer, "t", index, &[b"first", b"second"]);
        put(&mut rig, writer, "t", index, &[b"third"]);
    }
    let request = fetch("t", [3, 1, 5, 0, 2, 4].map(|index| part(index, 0)).to_vec());
    let response: FetchResponse = rig.call(reader, VERSION, &request);
    let expected: Vec<_> = [3, 1, 5, 0, 2, 4].map(|index| (index, 0, vec![0, 2])).to_vec();
    assert_eq!(shape(&response), expected, "W6: in the order of the request");
    for part in parts(&response) {
        let marks = (part.high_watermark, part.last_stable_offset, part.log_start_offset);
        assert_eq!(marks, (3, 3, 0), "F5");
        assert_eq!(part.aborted_transactions, None, "F4");
        let records = part.records.clone().unwrap();
        let sent = batch(&[b"first", b"second"]);
        assert_eq!(records[..8], [0; 8]);
        assert_eq!(records[16..sent.len()], sent[16..], "all but base offset and leader epoch is the producer's");
    }
}

#[test]
fn f8_topics_by_id_and_unknown_ones() {
    let mut rig = Rig::new(2);
    let topic_id = rig.create("t", 1, &[]);
    let conn = rig.open(0);
    put(&mut rig, conn, "t", 0, &[b"a"]);
    let mut request = fetch("", vec![part(0, 0), part(4, 0)]);
    request.topics[0].topic_id = topic_id;
    request.topics.push(FetchTopic { topic_id: TopicId(9), partitions: vec![part(0, 0)], ..FetchTopic::default() });
    let response: FetchResponse = rig.call(conn, 17, &request);
    assert_eq!(shape(&response), [(0, 0, vec![0]), (4, 3, vec![]), (0, 100, vec![])]);
    assert_eq!(response.responses[0].topic_id, topic_id);
    let response: FetchResponse = rig.call(conn, 4, &fetch("u", vec![part(0, 0)]));
    assert_eq!(shape(&response), [(0, 3, vec![])]);
}

#[test]
fn f4_read_committed_gets_a_list_of_aborted_transactions_and_f5_offsets_outside_get_1() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    let conn = rig.open(1);
    put(&mut rig, conn, "t", 0, &[b"a"]);
    let mut request = fetch("t", vec![part(0, 0)]);
    request.isolation_level = 1;
    let response: FetchResponse = rig.call(conn, VERSION, &request);
    assert_eq!(parts(&response)[0].aborted_transactions, Some(Vec::new()));
    let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(0, 2)]));
    assert_eq!(shape(&response), [(0, 1, vec![])]);
    assert_eq!((parts(&response)[0].high_watermark, parts(&response)[0].log_start_offset), (1, 0));
    let stale = FetchPartition { current_leader_epoch: 5, ..part(0, 0) };
    let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![stale]));
    assert_eq!(shape(&response), [(0, 75, vec![])], "F6");
}

#[test]
fn f2_budgets_hold_in_request_order_but_the_first_batch_is_always_whole() {
    let mut rig = Rig::new(2);
    rig.create("t", 4, &[]);
    let conn = rig.open(0);
    let big = [7u8; 1000];
    for index in 0..4 {
        put(&mut rig, conn, "t", index, &[&big]);
        put(&mut rig, conn, "t", index, &[&big]);
    }
    let one = batch(&[&big]).len() as i32;
    let limited = |max_bytes, each| {
        let partitions = (0..4).map(|p| FetchPartition { partition_max_bytes: each, ..part(p, 0) }).collect();
        FetchRequest { max_bytes, ..fetch("t", partitions) }
    };
    let mut batches = |request: FetchRequest| -> Vec<usize> {
        let response: FetchResponse = rig.call(conn, VERSION, &request);
        shape(&response).iter().map(|(_, _, offsets)| offsets.len()).collect()
    };
    assert_eq!(batches(limited(1, 1)), [1, 0, 0, 0], "KIP-74: one batch, whatever its size");
    assert_eq!(batches(limited(50 << 20, 1)), [1, 0, 0, 0], "only the first may break its partition's limit");
    assert_eq!(batches(limited(one * 3, 1 << 20)), [2, 1, 0, 0], "exact across shards");
    assert_eq!(batches(limited(one * 3 - 1, 1 << 20)), [2, 0, 0, 0]);
    assert_eq!(batches(limited(one * 5, one)), [1, 1, 1, 1]);
    assert_eq!(batches(limited(one * 5 - 1, 1 << 20)), [2, 2, 0, 0]);
}

#[test]
fn a_long_poll_is_woken_by_data_on_any_shard() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let (reader, writer) = (rig.open(0), rig.open(1));
    for shard in 0..2 {
        let index = rig.owned_by(topic, shard);
        let waits = FetchRequest { max_wait_ms: 500, ..fetch("t", vec![part(0, 0), part(1, 0)]) };
        let mut request = waits.clone();
        for part in &mut request.topics[0].partitions {
            part.fetch_offset = if part.partition == index { 0 } else { i64::from(shard) };
        }
        rig.send(reader, VERSION, &request);
        assert_eq!(rig.waiting(reader), 0, "nothing is there");
        put(&mut rig, writer, "t", index, &[b"a"]);
        let response: FetchResponse = rig.receive(reader);
        let found = shape(&response).into_iter().find(|(partition, ..)| *partition == index).unwrap();
        assert_eq!(found, (index, 0, vec![0]));
    }
    let watching: usize = rig.shards.iter().map(|shard| shard.logs.watching()).sum();
    assert_eq!(watching, 0, "answered requests leave no watches behind");
}

#[test]
fn a_long_poll_ends_at_its_deadline_and_waits_for_min_bytes() {
    let mut rig = Rig::new(2);
    rig.create("t", 2, &[]);
    let (reader, writer) = (rig.open(0), rig.open(1));
    let request = FetchRequest { max_wait_ms: 500, min_bytes: 2000, ..fetch("t", vec![part(0, 0), part(1, 0)]) };
    rig.send(reader, VERSION, &request);
    put(&mut rig, writer, "t", 0, &[&[1; 1000]]);
    rig.advance_ms(499);
    assert_eq!(rig.waiting(reader), 0, "1000 bytes are not enough");
    rig.advance_ms(1);
    let response: FetchResponse = rig.receive(reader);
    assert_eq!(shape(&response), [(0, 0, vec![0]), (1, 0, vec![])], "but they are given at the deadline");
    rig.send(reader, VERSION, &request);
    put(&mut rig, writer, "t", 1, &[&[1; 1000]]);
    let response: FetchResponse = rig.receive(reader);
    assert_eq!(shape(&response), [(0, 0, vec![0]), (1, 0, vec![0])], "enough from two shards together");
    assert!(rig.shards.iter().all(|shard| shard.logs.watching() == 0));
}

#[test]
fn f1_an_error_answers_at_once_and_a_gone_connection_leaves_nothing_behind() {
    let mut rig = Rig::new(2);
    rig.create("t", 2, &[]);
    let conn = rig.open(0);
    let request = FetchRequest { max_wait_ms: 500, ..fetch("t", vec![part(0, 0), part(1, 5)]) };
    let response: FetchResponse = rig.call(conn, VERSION, &request);
    assert_eq!(shape(&response), [(0, 0, vec![]), (1, 1, vec![])]);
    rig.send(conn, VERSION, &FetchRequest { max_wait_ms: 500, ..fetch("t", vec![part(0, 0), part(1, 0)]) });
    assert!(rig.shards.iter().any(|shard| shard.logs.watching() > 0));
    rig.hang_up(conn);
    assert!(rig.shards.iter().all(|shard| shard.logs.watching() == 0));
    assert_eq!(rig.shards[0].pending.len(), 0);
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn a_parked_fetch_holds_up_later_responses_but_not_later_appends() {
    let mut rig = Rig::new(2);
    rig.create("t", 2, &[]);
    let (conn, other) = (rig.open(0), rig.open(1));
    rig.push(conn, VERSION, &FetchRequest { max_wait_ms: 500, ..fetch("t", vec![part(0, 0)]) });
    rig.push(conn, 9, &produce("t", -1, &[(1, batch(&[b"a"]))]));
    rig.run();
    assert_eq!(rig.waiting(conn), 0);
    let response: FetchResponse = rig.call(other, VERSION, &fetch("t", vec![part(1, 0)]));
    assert_eq!(shape(&response), [(1, 0, vec![0])], "it was appended");
    rig.advance_ms(500);
    let fetched: FetchResponse = rig.receive(conn);
    assert_eq!(shape(&fetched), [(0, 0, vec![])]);
    let response: ProduceResponse = rig.receive(conn);
    assert_eq!(produced(&response), [(1, 0, 0)]);
}

#[test]
fn f7_a_session_tells_only_what_changed() {
    let mut rig = Rig::new(2);
    let topic_id = rig.create("t", 3, &[]);
    let conn = rig.open(0);
    put(&mut rig, conn, "t", 1, &[b"a"]);
    let mut first = fetch("", (0..3).map(|index| part(index, 0)).collect());
    (first.session_id, first.session_epoch, first.topics[0].topic_id) = (0, 0, topic_id);
    let response: FetchResponse = rig.call(conn, 17, &first);
    assert_eq!(shape(&response), [(0, 0, vec![]), (1, 0, vec![0]), (2, 0, vec![])]);
    let id = response.session_id;
    assert_ne!(id, 0);
    let next = |epoch, partitions: Vec<FetchPartition>| {
        let mut request = fetch("", partitions);
        (request.session_id, request.session_epoch, request.topics[0].topic_id) = (id, epoch, topic_id);
        if request.topics[0].partitions.is_empty() {
            request.topics.clear();
        }
        request
    };
    let response: FetchResponse = rig.call(conn, 17, &next(1, vec![part(1, 1)]));
    assert_eq!((shape(&response), response.session_id), (vec![], id));
    put(&mut rig, conn, "t", 2, &[b"b"]);
    let response: FetchResponse = rig.call(conn, 17, &next(2, vec![]));
    assert_eq!(shape(&response), [(2, 0, vec![0])]);
    // An empty incremental request still covers the session's partitions and waits for them (redpanda#1123).
    let mut request = next(3, vec![part(2, 1)]);
    request.max_wait_ms = 1000;
    request.forgotten_topics_data = vec![ForgottenTopic { topic_id, partitions: vec![0], ..Default::default() }];
    rig.send(conn, 17, &request);
    let mut request = next(4, vec![]);
    request.max_wait_ms = 1000;
    rig.advance_ms(1000);
    let response: FetchResponse = rig.receive(conn);
    assert_eq!(shape(&response), []);
    rig.send(conn, 17, &request);
    assert_eq!(rig.waiting(conn), 0, "bug_redpanda_1123: it waits");
    let writer = rig.open(1);
    put(&mut rig, writer, "t", 1, &[b"c"]);
    let response: FetchResponse = rig.receive(conn);
    assert_eq!(shape(&response), [(1, 0, vec![1])]);
    let error = |response: FetchResponse| (response.error_code, response.session_id, response.responses.len());
    assert_eq!(error(rig.call(conn, 17, &next(3, vec![]))), (71, 0, 0));
    let mut by_name = next(5, vec![]);
    by_name.topics.clear();
    assert_eq!(error(rig.call(conn, VERSION, &by_name)), (106, 0, 0));
    let mut unknown = next(1, vec![]);
    unknown.session_id = id ^ 1;
    assert_eq!(error(rig.call(conn, 17, &unknown)), (70, 0, 0));
    let mut last = next(5, vec![]);
    last.session_epoch = -1;
    assert_eq!(error(rig.call(conn, 17, &last)), (0, 0, 0));
    assert_eq!(error(rig.call(conn, 17, &next(5, vec![]))).0, 70, "it was closed");
}

#[test]
fn a_deleted_topic_wakes_its_readers() {
    let mut rig = Rig::new(2);
    rig.create("t", 2, &[]);
    let conn = rig.open(0);
    rig.send(conn, VERSION, &FetchRequest { max_wait_ms: 5000, ..fetch("t", vec![part(0, 0), part(1, 0)]) });
    let topics = vec![coretide_controller::TopicRef::Name("t".into())];
    rig.command(coretide_controller::Command::DeleteTopics { topics });
    let response: FetchResponse = rig.receive(conn);
    assert!(shape(&response).iter().any(|(_, error, _)| *error == 3));
}

fn list(timestamps: &[(i32, i64)]) -> ListOffsetsRequest {
    let partition = |(index, timestamp): &(i32, i64)| ListOffsetsPartition {
        partition_index: *index,
        timestamp: *timestamp,
        ..Default::default()
    };
    let partitions = timestamps.iter().map(partition).collect();
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions }];
    ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() }
}

fn listed(response: &ListOffsetsResponse) -> Vec<(i16, i64, i64)> {
    let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
    parts.map(|part| (part.error_code, part.offset, part.timestamp)).collect()
}

#[test]
fn bug_redpanda_6606_list_offsets_finds_records_and_special_offsets_on_all_shards() {
    let mut rig = Rig::new(2);
    rig.create("t", 3, &[]);
    let conn = rig.open(0);
    for time in [10, 20, 30] {
        let records = [(0, batch_at(START_MS + time, &[b"a", b"b"])), (1, batch_at(START_MS + time, &[b"a"]))];
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &records));
        assert!(produced(&response).iter().all(|(_, error, _)| *error == 0));
    }
    let mut ask = |version, asked: &[(i32, i64)]| -> Vec<(i16, i64, i64)> {
        let response: ListOffsetsResponse = rig.call(conn, version, &list(asked));
        listed(&response)
    };
    assert_eq!(ask(1, &[(0, -1), (1, -1), (2, -1)]), [(0, 6, -1), (0, 3, -1), (0, 0, -1)]);
    assert_eq!(ask(7, &[(0, -2), (1, -3)]), [(0, 0, -1), (0, 2, START_MS + 30)]);
    assert_eq!(ask(5, &[(0, START_MS + 11), (1, START_MS + 30)]), [(0, 2, START_MS + 20), (0, 2, START_MS + 30)]);
    assert_eq!(ask(5, &[(0, START_MS + 31), (2, 0)]), [(0, -1, -1); 2], "L2: none is no error");
    assert_eq!(ask(6, &[(0, -3), (9, -1)]), [(35, -1, -1), (3, -1, -1)], "L1");
    assert_eq!(ask(6, &[(0, -1), (0, -2)]), [(42, -1, -1); 2], "L3: named twice");
}

/// DeleteRecords of the topic's first partition, done down to the files.
fn delete_up_to(rig: &mut Rig, conn: ConnId, offset: i64) {
    let deletion = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset }],
        }],
        timeout_ms: 1000,
    };
    let deleted: DeleteRecordsResponse = rig.call(conn, 2, &deletion);
    assert_eq!(deleted.topics[0].partitions[0].low_watermark, offset);
    rig.advance_ms(1000);
}

/// Searches by time while the records up to 20 are deleted, in a topic with these configs.
fn search_overtaken_by_a_deletion(configs: &[(&str, &str)]) -> Vec<(i16, i64, i64)> {
    let mut rig = Rig::with(1, &[("coretide.shard.cache.bytes", "1048576")]);
    rig.create("t", 1, configs);
    let conn = rig.open(0);
    let large = vec![7; 200_000];
    for n in 0..30 {
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, batch_at(START_MS + n, &[&large]))]));
        assert_eq!(produced(&response), [(0, 0, n)]);
    }
    rig.hold_reads = true;
    rig.send(conn, 5, &list(&[(0, START_MS + 2)]));
    let other = rig.open(0);
    delete_up_to(&mut rig, other, 20);
    assert_eq!(rig.release_reads(), 1, "the search was on its way to the disk");
    let response: ListOffsetsResponse = rig.receive(conn);
    listed(&response)
}

#[test]
fn a_search_by_time_begins_anew_when_its_segments_are_deleted_meanwhile() {
    let found = search_overtaken_by_a_deletion(&[("segment.bytes", "1048576"), ("file.delete.delay.ms", "0")]);
    assert_eq!(found, [(0, 20, START_MS + 20)]);
}

/// A search that was overtaken four times, as on a slow disk, was answered with KAFKA_STORAGE_ERROR.
#[test]
fn bug_ours_a_search_by_time_may_be_overtaken_by_deletions_for_as_long_as_they_go_on() {
    let mut rig = Rig::with(1, &[("coretide.shard.cache.bytes", "1048576")]);
    rig.create("t", 1, &[("segment.bytes", "1048576"), ("file.delete.delay.ms", "0")]);
    let conn = rig.open(0);
    let large = vec![7; 200_000];
    for n in 0..60 {
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, batch_at(START_MS + n, &[&large]))]));
        assert_eq!(produced(&response), [(0, 0, n)]);
    }
    rig.hold_reads = true;
    rig.send(conn, 5, &list(&[(0, START_MS + 2)]));
    let other = rig.open(0);
    for low in (6..=48).step_by(6) {
        delete_up_to(&mut rig, other, low);
        assert_eq!(rig.step_reads(), 1, "the search is on its way to the disk");
    }
    rig.release_reads();
    let response: ListOffsetsResponse = rig.receive(conn);
    assert_eq!(listed(&response), [(0, 48, START_MS + 48)]);
    assert_eq!(rig.notices, [], "all is as it should be");
}

/// A topic whose records are on disk only, and a connection to read it.
fn cold_topic(configs: &[(&str, &str)]) -> (Rig, ConnId) {
    let settings = [("coretide.shard.cache.bytes", "1048576"), ("coretide.fetch.cold.mode", "direct")];
    let mut rig = Rig::with(1, &settings);
    rig.create("t", 1, configs);
    let conn = rig.open(0);
    for number in 0..40u8 {
        put(&mut rig, conn, "t", 0, &[&vec![number; 150_000]]);
    }
    let mut rig = rig.restart(1, &settings);
    let conn = rig.open(0);
    (rig, conn)
}

/// The same, and a reader of it that is known to go on; offset 12 is next.
fn sequential_reader(configs: &[(&str, &str)]) -> (Rig, ConnId) {
    let (mut rig, conn) = cold_topic(configs);
    for from in [0, 6] {
        assert_eq!(read(&mut rig, conn, from), (from..from + 6).collect::<Vec<_>>());
    }
    (rig, conn)
}

/// The offsets that a fetch of 1 MiB finds, and each record is the one of its offset.
fn read(rig: &mut Rig, conn: ConnId, from: i64) -> Vec<i64> {
    rig.send(conn, VERSION, &fetch("t", vec![part(0, from)]));
    received(rig, conn)
}

fn received(rig: &mut Rig, conn: ConnId) -> Vec<i64> {
    let response: FetchResponse = rig.receive(conn);
    let records = parts(&response)[0].records.clone().unwrap_or_default();
    let value_of = |at: usize, size: usize| records[at + size / 2];
    for (at, header) in walk_batches(&records) {
        assert_eq!(i64::from(value_of(at, header.total_bytes())), header.base_offset);
    }
    shape(&response).remove(0).2
}

#[test]
fn what_a_sequential_reader_of_cold_data_asks_for_next_is_read_before_it_asks() {
    let (mut rig, conn) = sequential_reader(&[]);
    rig.hold_reads = true;
    assert_eq!(read(&mut rig, conn, 12), [12, 13, 14, 15, 16, 17], "no read stands between question and answer");
    assert_eq!(rig.release_reads(), 1, "what comes next");
    rig.hold_reads = true;
    assert_eq!(read(&mut rig, conn, 18), [18, 19, 20, 21, 22, 23]);
    // Whoever asks while it is being read waits for it, and does not read it again.
    rig.send(conn, VERSION, &fetch("t", vec![part(0, 24)]));
    let other = rig.open(0);
    rig.send(other, VERSION, &fetch("t", vec![part(0, 24)]));
    assert_eq!(rig.step_reads(), 1);
    assert_eq!(received(&mut rig, conn), [24, 25, 26, 27, 28, 29]);
    rig.release_reads();
    assert_eq!(received(&mut rig, other), [24, 25, 26, 27, 28, 29]);
}

#[test]
fn what_follows_the_beginning_is_read_before_anybody_asks_and_what_follows_any_other_place_is_not() {
    let (mut rig, conn) = cold_topic(&[]);
    assert_eq!(read(&mut rig, conn, 0), [0, 1, 2, 3, 4, 5]);
    rig.hold_reads = true;
    assert_eq!(read(&mut rig, conn, 6), [6, 7, 8, 9, 10, 11], "no read stands between question and answer");
    let (mut rig, conn) = cold_topic(&[]);
    assert_eq!(read(&mut rig, conn, 5), [5, 6, 7, 8, 9, 10]);
    rig.hold_reads = true;
    rig.send(conn, VERSION, &fetch("t", vec![part(0, 11)]));
    assert_eq!(rig.release_reads(), 1, "its own");
    assert_eq!(received(&mut rig, conn), [11, 12, 13, 14, 15, 16]);
}

#[test]
fn a_reader_of_little_at_a_time_gets_it_from_one_read_ahead() {
    let (mut rig, conn) = sequential_reader(&[]);
    rig.hold_reads = true;
    for from in (12..18).step_by(2) {
        let little = FetchPartition { partition_max_bytes: 310_000, ..part(0, from) };
        rig.send(conn, VERSION, &fetch("t", vec![little]));
        assert_eq!(received(&mut rig, conn), [from, from + 1]);
    }
}

#[test]
fn a_partition_for_which_the_budget_has_nothing_left_costs_no_read_and_loses_nothing() {
    let (mut rig, conn) = sequential_reader(&[]);
    rig.create("u", 1, &[]);
    put(&mut rig, conn, "u", 0, &[b"small"]);
    rig.hold_reads = true;
    let mut request = FetchRequest { max_bytes: 10, ..fetch("u", vec![part(0, 0)]) };
    for from in [12, 20] {
        request.topics.truncate(1);
        request.topics.extend(fetch("t", vec![part(0, from)]).topics);
        let response: FetchResponse = rig.call(conn, VERSION, &request);
        assert_eq!(shape(&response), [(0, 0, vec![0]), (0, 0, vec![])]);
    }
    assert_eq!(read(&mut rig, conn, 12)[0], 12, "it is still there");
}

/// The rest of one reader's took the place of another's under way: who waited for that was never answered.
#[test]
fn bug_ours_readers_ahead_meet_at_an_offset_and_both_are_answered() {
    let (mut rig, conn) = sequential_reader(&[]);
    let other = rig.open(0);
    rig.hold_reads = true;
    let of = |from, bytes| fetch("t", vec![FetchPartition { partition_max_bytes: bytes, ..part(0, from) }]);
    rig.send(other, VERSION, &of(6, 1_250_000));
    assert_eq!(rig.step_reads(), 1);
    assert_eq!(received(&mut rig, other), (6..14).collect::<Vec<_>>());
    rig.send(other, VERSION, &of(14, 1_250_000));
    rig.send(conn, VERSION, &of(12, 310_000));
    assert_eq!(received(&mut rig, conn), [12, 13], "and the rest begins at 14, too");
    rig.release_reads();
    assert_eq!(received(&mut rig, other), (14..22).collect::<Vec<_>>());
    rig.send(conn, VERSION, &of(14, 310_000));
    assert_eq!(received(&mut rig, conn), [14, 15]);
}

#[test]
fn what_was_read_ahead_goes_with_its_records() {
    let (mut rig, conn) = sequential_reader(&[("segment.bytes", "2097152"), ("file.delete.delay.ms", "0")]);
    delete_up_to(&mut rig, conn, 20);
    let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(0, 12)]));
    assert_eq!(shape(&response), [(0, 1, vec![])], "it was in memory, but it is deleted");
    assert_eq!(read(&mut rig, conn, 20)[0], 20);
}

#[test]
fn a_read_ahead_that_fails_harms_only_those_who_ask_for_its_records() {
    let (mut rig, conn) = sequential_reader(&[("segment.bytes", "2097152")]);
    rig.hold_reads = true;
    assert_eq!(read(&mut rig, conn, 12), [12], "the last of its segment");
    let file = FileId::Segment { dir: "t-0".into(), base_offset: 13, kind: SegmentFile::Log };
    rig.disk.run(Op::Remove { file }).unwrap();
    rig.send(conn, VERSION, &fetch("t", vec![part(0, 13)]));
    assert_eq!(rig.release_reads(), 1, "the read ahead");
    let response: FetchResponse = rig.receive(conn);
    assert_eq!(shape(&response), [(0, 56, vec![])]);
    assert_eq!(read(&mut rig, conn, 26)[0], 26);
}

/// A client got KAFKA_STORAGE_ERROR and nobody else was told anything.
#[test]
fn bug_ours_a_segment_whose_file_is_missing_is_told_to_the_operator() {
    let settings = [("coretide.shard.cache.bytes", "1048576")];
    let mut rig = Rig::with(1, &settings);
    rig.create("t", 1, &[("segment.bytes", "1048576")]);
    let conn = rig.open(0);
    for number in 0..30u8 {
        put(&mut rig, conn, "t", 0, &[&vec![number; 100_000]]);
    }
    let mut rig = rig.restart(1, &settings);
    let conn = rig.open(0);
    let file = FileId::Segment { dir: "t-0".into(), base_offset: 0, kind: SegmentFile::Log };
    rig.disk.run(Op::Remove { file }).unwrap();
    for _ in 0..2 {
        let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(0, 0)]));
        assert_eq!(shape(&response), [(0, 56, vec![])]);
        let response: ListOffsetsResponse = rig.call(conn, 5, &list(&[(0, START_MS)]));
        assert_eq!(listed(&response), [(56, -1, -1)]);
    }
    let missing = "00000000000000000000.log is missing";
    let told = rig.notices.iter().filter(|notice| notice.text.contains(missing)).count();
    assert_eq!(told, 1, "once: {:?}", rig.notices);
}

/// The answer was -1, "no record is that young", although there were such records behind the new log start.
#[test]
fn bug_a_search_by_time_found_a_deleted_record_and_answered_that_there_is_none() {
    assert_eq!(search_overtaken_by_a_deletion(&[]), [(0, 20, START_MS + 20)]);
}

#[test]
fn delete_records_moves_the_start_everywhere() {
    let mut rig = Rig::new(2);
    let topic = rig.create("t", 2, &[]);
    let conn = rig.open(0);
    let far = rig.owned_by(topic, 1);
    for _ in 0..3 {
        put(&mut rig, conn, "t", far, &[b"a"]);
    }
    let delete = |offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition { partition_index: far, offset }],
        }],
        timeout_ms: 1000,
    };
    let low = |rig: &mut Rig, offset| {
        let response: DeleteRecordsResponse = rig.call(conn, 2, &delete(offset));
        let part = &response.topics[0].partitions[0];
        (part.error_code, part.low_watermark)
    };
    assert_eq!(low(&mut rig, 4), (1, -1));
    assert_eq!(low(&mut rig, 2), (0, 2));
    let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(far, 1)]));
    assert_eq!(shape(&response), [(far, 1, vec![])]);
    let response: ListOffsetsResponse = rig.call(conn, 1, &list(&[(far, -2)]));
    assert_eq!(listed(&response), [(0, 2, -1)]);
    assert_eq!(low(&mut rig, -1), (0, 3), "C3: -1 is the high watermark");
}

#[test]
fn epochs_and_producers_are_told_by_their_owners() {
    let mut rig = Rig::new(2);
    rig.create("t", 2, &[]);
    let conn = rig.open(0);
    for index in 0..2 {
        let records = sequenced(40 + i64::from(index), 3, 0, &[b"a", b"b"]);
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(index, records)]));
        assert_eq!(produced(&response)[0].1, 0);
    }
    let epoch = |leader_epoch| OffsetForLeaderPartition { partition: 1, current_leader_epoch: -1, leader_epoch };
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic { topic: "t".into(), partitions: vec![epoch(0), epoch(7)] }],
    };
    let response: OffsetForLeaderEpochResponse = rig.call(conn, 3, &request);
    let ends: Vec<_> = response.topics[0].partitions.iter().map(|p| (p.leader_epoch, p.end_offset)).collect();
    assert_eq!(ends, [(0, 2), (-1, -1)], "E1");
    let topics = vec![TopicRequest { name: "t".into(), partition_indexes: vec![1, 0, 5] }];
    let response: DescribeProducersResponse = rig.call(conn, 0, &DescribeProducersRequest { topics });
    let partitions = &response.topics[0].partitions;
    assert_eq!(partitions.iter().map(|p| p.error_code).collect::<Vec<_>>(), [0, 0, 3]);
    let producer = &partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch, producer.last_sequence), (41, 3, 1));
}

#[test]
fn a_read_that_the_disk_fails_is_error_56_and_everything_else_goes_on() {
    let settings = [("coretide.shard.cache.bytes", "1048576")];
    let mut rig = Rig::with(2, &settings);
    rig.create("t", 2, &[("segment.bytes", "2097152")]);
    let conn = rig.open(0);
    for number in 0..40u8 {
        for index in 0..2 {
            put(&mut rig, conn, "t", index, &[&vec![number; 100_000]]);
        }
    }
    let mut rig = rig.restart(2, &settings);
    let conn = rig.open(1);
    rig.disk.unreadable = Some("t-0/".to_string());
    for _ in 0..3 {
        let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(0, 0), part(1, 0)]));
        let found = shape(&response);
        assert_eq!((found[0].1, found[0].2.len()), (56, 0), "KAFKA_STORAGE_ERROR, and no bytes");
        assert_eq!(found[1].1, 0, "the other partition is read");
        let listed: ListOffsetsResponse = rig.call(
            conn,
            7,
            &ListOffsetsRequest {
                topics: vec![ListOffsetsTopic {
                    name: "t".into(),
                    partitions: vec![ListOffsetsPartition { timestamp: START_MS, ..ListOffsetsPartition::default() }],
                }],
                ..ListOffsetsRequest::default()
            },
        );
        assert_eq!(listed.topics[0].partitions[0].error_code, 56, "a search by time, too");
    }
    for index in 0..2 {
        put(&mut rig, conn, "t", index, &[b"appends go on"]);
    }
    let told = rig.notices.iter().filter(|notice| notice.text.contains("t-0 cannot be read")).count();
    assert!((1..=2).contains(&told), "told, and not with every read: {:?}", rig.notices);
    rig.disk.unreadable = None;
    let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(0, 0)]));
    assert_eq!(shape(&response)[0].1, 0, "a disk that comes back is read again");
}

#[test]
fn a_flood_of_fetches_of_one_connection_does_not_outgrow_the_memory_of_all() {
    let settings = [("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "4194304")];
    let mut rig = Rig::with(2, &settings);
    let topic_id = rig.create("t", 2, &[]);
    let index = rig.owned_by(topic_id, 1);
    let writer = rig.open(1);
    for _ in 0..8 {
        put(&mut rig, writer, "t", index, &[&[7; 90_000]]);
    }
    let conn = rig.open(0);
    (rig.hold_mail, rig.slow_readers) = (true, true);
    // All of them arrive before the first is answered.
    for _ in 0..60 {
        rig.push(conn, VERSION, &fetch("t", vec![part(index, 0)]));
    }
    rig.run();
    rig.release_mail();
    let RequestMemory { used_bytes, limit_bytes, .. } = rig.shards[0].request_memory();
    assert!(used_bytes > limit_bytes / 4, "they do get something: {used_bytes} of {limit_bytes}");
    assert!(used_bytes < limit_bytes, "{used_bytes} of {limit_bytes}");
    rig.slow_readers = false;
    let bytes = rig.conns[&conn].received.iter().map(|frame| frame.len() as u64 + 4).sum();
    rig.event(0, Event::Sent { conn, bytes });
    assert_eq!(rig.waiting(conn), 60, "who reads gets everything");
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn answers_that_wait_for_a_slow_one_before_them_count_for_memory() {
    let settings = [("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "4194304")];
    let mut rig = Rig::with(1, &settings);
    rig.create("t", 1, &[]);
    let writer = rig.open(0);
    for _ in 0..8 {
        put(&mut rig, writer, "t", 0, &[&[7; 90_000]]);
    }
    let conn = rig.open(0);
    rig.hold_io = true;
    rig.send(conn, 9, &produce("t", -1, &[(0, batch(&[b"slow"]))]));
    for _ in 0..200 {
        rig.send(conn, VERSION, &fetch("t", vec![part(0, 0)]));
    }
    assert_eq!(rig.waiting(conn), 0, "all wait for the Produce");
    let RequestMemory { used_bytes, ready_bytes, limit_bytes } = rig.shards[0].request_memory();
    assert!(ready_bytes > limit_bytes / 4, "some are read: {ready_bytes} bytes");
    assert!(ready_bytes <= used_bytes && used_bytes < limit_bytes, "{ready_bytes}, {used_bytes} of {limit_bytes}");
    rig.release_io();
    assert_eq!(rig.waiting(conn), 201);
    assert_eq!(rig.shards[0].memory.used_bytes(), 0);
}

#[test]
fn what_a_topic_took_on_its_header_is_served_as_it_came_and_found_by_time() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[("coretide.compressed.check", "header")]);
    let conn = rig.open(0);
    let mut odd = BatchBuilder::new(Compression::of(Codec::Lz4));
    (0..3).for_each(|n| odd.push(START_MS + 10 + n, None, Some(b"x"), &[]));
    let mut odd = odd.build().to_vec();
    odd[HEADER_BYTES..].fill(0xA5);
    let crc = crc_of(&odd);
    odd[17..21].copy_from_slice(&crc.to_be_bytes());
    let odd = Bytes::from(odd);
    for (records, base_offset) in [(odd.clone(), 0), (batch_at(START_MS + 20, &[b"a"]), 3)] {
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, records)]));
        assert_eq!(produced(&response), [(0, 0, base_offset)]);
    }
    let response: FetchResponse = rig.call(conn, VERSION, &fetch("t", vec![part(0, 0)]));
    let served = response.responses[0].partitions[0].records.clone().expect("records");
    assert_eq!(served[HEADER_BYTES..odd.len()], odd[HEADER_BYTES..]);
    let response: ListOffsetsResponse = rig.call(conn, 7, &list(&[(0, START_MS + 11)]));
    assert_eq!(listed(&response), [(0, 0, START_MS + 12)]);
    let response: ListOffsetsResponse = rig.call(conn, 7, &list(&[(0, START_MS + 13)]));
    assert_eq!(listed(&response), [(0, 3, START_MS + 20)]);
}
