//! The volume's reserve: producers are refused before the disk is full, and everything else goes on.

use coretide_controller::{Command, TopicRef};
use coretide_log::io::VolumeSpace;
use coretide_model::{ConnId, Severity};
use coretide_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use coretide_wire::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use coretide_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use coretide_wire::messages::produce::ProduceResponse;

use super::rig::{Rig, batch, produce, produced, sequenced};

const MIB: u64 = 1 << 20;
/// All shards have looked at the volume after this.
const LOOKED_MS: u64 = 10_000;

fn rig() -> Rig {
    let mut rig = Rig::with(2, &[("coretide.disk.reserve.bytes", "10485760")]);
    rig.create("t", 4, &[]);
    rig
}

fn has_free(rig: &mut Rig, free_bytes: u64) {
    rig.disk.volume = Some(VolumeSpace { total_bytes: 1000 * MIB, free_bytes });
    rig.advance_ms(LOOKED_MS);
}

/// Error codes of a batch to each of the four partitions.
fn put(rig: &mut Rig, conn: ConnId) -> Vec<i16> {
    let parts: Vec<_> = (0..4).map(|index| (index, batch(&[b"x"]))).collect();
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &parts));
    produced(&response).iter().map(|(_, error, _)| *error).collect()
}

fn fetched_bytes(rig: &mut Rig, conn: ConnId) -> usize {
    let part = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topics = vec![FetchTopic { topic: "t".into(), partitions: vec![part], ..FetchTopic::default() }];
    let request = FetchRequest { max_bytes: 1 << 20, session_epoch: -1, topics, ..FetchRequest::default() };
    let response: FetchResponse = rig.call(conn, 12, &request);
    let part = &response.responses[0].partitions[0];
    assert_eq!(part.error_code, 0);
    part.records.as_ref().map_or(0, |records| records.len())
}

fn commit(rig: &mut Rig, conn: ConnId, offset: i64) -> i16 {
    let ask = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let _: FindCoordinatorResponse = rig.call(conn, 4, &ask);
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    let response: OffsetCommitResponse = rig.call(conn, 8, &request);
    response.topics[0].partitions[0].error_code
}

fn delete_records(rig: &mut Rig, conn: ConnId, offset: i64) -> (i16, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
    let response: DeleteRecordsResponse = rig.call(conn, 2, &request);
    (response.topics[0].partitions[0].error_code, response.topics[0].partitions[0].low_watermark)
}

#[test]
fn at_the_reserve_producers_are_refused_and_everything_else_goes_on() {
    let mut rig = rig();
    let conn = rig.open(1);
    has_free(&mut rig, 11 * MIB);
    assert_eq!(put(&mut rig, conn), [0; 4]);
    has_free(&mut rig, 9 * MIB);
    for _ in 0..3 {
        assert_eq!(put(&mut rig, conn), [56; 4], "KAFKA_STORAGE_ERROR, on both shards");
    }
    assert!(fetched_bytes(&mut rig, conn) > 0, "reads go on");
    assert_eq!(commit(&mut rig, conn, 1), 0, "commits go on");
    assert_eq!(delete_records(&mut rig, conn, 1), (0, 1), "records are deleted");
    rig.create("u", 2, &[]);
    rig.command(Command::DeleteTopics { topics: vec![TopicRef::Name("u".into())] });
    assert!(rig.shards.iter().all(|shard| shard.image.topic_named("u").is_none()), "topics come and go");
    has_free(&mut rig, 12 * MIB);
    assert_eq!(put(&mut rig, conn), [0; 4], "and it ends by itself");
    let told: Vec<Severity> = rig.notices.iter().map(|notice| notice.severity).collect();
    assert_eq!(told, [Severity::Warning, Severity::Info], "{:?}", rig.notices);
}

#[test]
fn at_the_reserve_a_duplicate_is_still_answered_with_its_offset() {
    let mut rig = rig();
    let conn = rig.open(0);
    has_free(&mut rig, 11 * MIB);
    let first = sequenced(7, 0, 0, &[b"a", b"b"]);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, first.clone())]));
    assert_eq!(produced(&response), [(0, 0, 0)]);
    has_free(&mut rig, 0);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, first)]));
    assert_eq!(produced(&response), [(0, 0, 0)], "its ack may have been lost; it needs no room");
    let next = sequenced(7, 0, 2, &[b"c"]);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, next.clone())]));
    assert_eq!(produced(&response), [(0, 56, -1)]);
    has_free(&mut rig, 500 * MIB);
    let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(0, next)]));
    assert_eq!(produced(&response), [(0, 0, 2)], "its sequence was not used up");
}

#[test]
fn an_acks_0_producer_is_refused_by_the_end_of_its_connection() {
    let mut rig = rig();
    has_free(&mut rig, MIB);
    let conn = rig.open(0);
    rig.send(conn, 9, &produce("t", 0, &[(0, batch(&[b"x"]))]));
    assert!(rig.conns[&conn].closed, "it has no other way to know");
}

#[test]
fn describe_log_dirs_says_how_large_the_volume_is() {
    let mut rig = rig();
    let conn = rig.open(1);
    let describe = |rig: &mut Rig| {
        let request = DescribeLogDirsRequest { topics: None };
        let response: DescribeLogDirsResponse = rig.call(conn, 4, &request);
        (response.results[0].total_bytes, response.results[0].usable_bytes)
    };
    assert_eq!(describe(&mut rig), (-1, -1), "this disk has not said it");
    has_free(&mut rig, 77 * MIB);
    assert_eq!(describe(&mut rig), (1000 << 20, 77 << 20));
}

#[test]
fn without_a_reserve_nobody_is_refused_for_it() {
    let mut rig = Rig::with(1, &[("coretide.disk.reserve.bytes", "0")]);
    rig.create("t", 4, &[]);
    let conn = rig.open(0);
    has_free(&mut rig, MIB);
    assert_eq!(put(&mut rig, conn), [0; 4]);
    assert_eq!(rig.notices, []);
}
