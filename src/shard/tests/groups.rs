//! Group coordinators on their shards: routing, durability, restarts, stops.

use bytes::Bytes;
use coretide_controller::TopicRef;
use coretide_model::ConnId;
use coretide_model::ErrorCode;
use coretide_wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use coretide_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use coretide_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use coretide_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use coretide_wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use coretide_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use coretide_wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use coretide_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use super::rig::Rig;
use crate::Event;
use crate::handlers::group_wait::partition_of;

fn find(rig: &mut Rig, conn: ConnId) {
    let asked = FindCoordinatorRequest { coordinator_keys: vec!["g".into(), "h".into()], ..Default::default() };
    let found: FindCoordinatorResponse = rig.call(conn, 6, &asked);
    let errors: Vec<i16> = found.coordinators.iter().map(|one| one.error_code).collect();
    assert_eq!(errors, [0, 0], "the topic is made at the first look");
}

fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"\0\0") }],
        ..Default::default()
    }
}

/// A stable group with one member; its id.
fn stable(rig: &mut Rig, conn: ConnId, group: &str) -> String {
    let refused: JoinGroupResponse = rig.call(conn, 9, &join(group, ""));
    assert_eq!(refused.error_code, 79);
    rig.send(conn, 9, &join(group, &refused.member_id));
    assert_eq!(rig.waiting(conn), 0, "the first rebalance waits for company");
    rig.advance_ms(3_000);
    let joined: JoinGroupResponse = rig.receive(conn);
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1));
    let assignment = SyncGroupRequestAssignment { member_id: joined.member_id.clone(), assignment: "all".into() };
    let sync = SyncGroupRequest {
        group_id: group.into(),
        generation_id: 1,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![assignment],
        ..Default::default()
    };
    let synced: SyncGroupResponse = rig.call(conn, 5, &sync);
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    joined.member_id
}

fn heartbeat(rig: &mut Rig, conn: ConnId, group: &str, member_id: &str) -> i16 {
    let beat = HeartbeatRequest {
        group_id: group.into(),
        generation_id: 1,
        member_id: member_id.into(),
        ..Default::default()
    };
    rig.call::<_, HeartbeatResponse>(conn, 4, &beat).error_code
}

fn commit(group: &str, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition(0), partition(9)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn errors(response: &OffsetCommitResponse) -> Vec<i16> {
    response.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

/// Every committed offset of the groups, as (group, topic, partition, offset).
fn committed(rig: &mut Rig, conn: ConnId, groups: &[&str]) -> Vec<(String, String, i32, i64)> {
    let group = |id: &&str| OffsetFetchRequestGroup { group_id: id.to_string(), topics: None, ..Default::default() };
    let asked = OffsetFetchRequest { groups: groups.iter().map(group).collect(), ..Default::default() };
    let fetched: OffsetFetchResponse = rig.call(conn, 9, &asked);
    let mut all = Vec::new();
    for group in fetched.groups {
        assert_eq!(group.error_code, 0);
        for topic in group.topics {
            let of = topic.partitions.iter().map(|p| (p.partition_index, p.committed_offset));
            all.extend(of.map(|(index, offset)| (group.group_id.clone(), topic.name.clone(), index, offset)));
        }
    }
    all
}

#[test]
fn groups_live_on_their_shard_whoever_asks_and_survive_the_process() {
    for (before, after) in [(2, 2), (2, 3), (3, 1)] {
        let mut rig = Rig::new(before);
        rig.create("t", 3, &[]);
        let conns = [rig.open(0), rig.open(1)];
        find(&mut rig, conns[0]);
        let members = ["g", "h", "i"].map(|group| stable(&mut rig, conns[1], group));
        for (place, group) in ["g", "h", "simple"].into_iter().enumerate() {
            if group != "simple" {
                assert_eq!(heartbeat(&mut rig, conns[0], group, &members[place]), 0);
                continue;
            }
            let answer: OffsetCommitResponse = rig.call(conns[0], 8, &commit(group, "t", 42));
            assert_eq!(errors(&answer), [0, 3], "the topic has three partitions");
        }
        let mut rig = rig.restart(after, &[]);
        let conn = rig.open(0);
        for (group, member_id) in ["g", "h", "i"].iter().zip(&members) {
            assert_eq!(heartbeat(&mut rig, conn, group, member_id), 0, "{group} needs no rebalance");
        }
        let expected = [("simple".to_string(), "t".to_string(), 0, 42)];
        assert_eq!(committed(&mut rig, conn, &["g", "simple", "unknown"]), expected);
        let listed: ListGroupsResponse = rig.call(conn, 5, &ListGroupsRequest::default());
        let mut names: Vec<_> = listed.groups.iter().map(|g| (g.group_id.as_str(), g.group_state.as_str())).collect();
        names.sort_unstable();
        assert_eq!(names, [("g", "Stable"), ("h", "Stable"), ("i", "Stable"), ("simple", "Empty")]);
        rig.advance_ms(10_000);
        assert_eq!(heartbeat(&mut rig, conn, "g", &members[0]), 25, "sessions run on after a restart");
    }
}

#[test]
fn c2_a_commit_is_answered_when_it_is_durable() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    find(&mut rig, conn);
    rig.hold_io = true;
    rig.send(conn, 8, &commit("g", "t", 7));
    assert_eq!(rig.waiting(conn), 0);
    let other = rig.open(1);
    assert_eq!(committed(&mut rig, other, &["g"]), [], "and not seen before");
    rig.release_io();
    let answer: OffsetCommitResponse = rig.receive(conn);
    assert_eq!(errors(&answer), [0, 3]);
    assert_eq!(committed(&mut rig, other, &["g"]).len(), 1);
}

#[test]
fn commits_of_one_connection_share_a_flush_and_the_last_one_counts() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    find(&mut rig, conn);
    rig.hold_io = true;
    for offset in 0..20 {
        rig.push(conn, 8, &commit("g", "t", offset));
    }
    rig.run();
    rig.release_io();
    for _ in 0..20 {
        let answer: OffsetCommitResponse = rig.receive(conn);
        assert_eq!(errors(&answer), [0, 3]);
    }
    let expected = [("g".to_string(), "t".to_string(), 0, 19)];
    assert_eq!(committed(&mut rig, conn, &["g"]), expected);
}

#[test]
fn bug_kafka_15784_a_commit_whose_write_failed_is_refused_and_has_not_happened() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    find(&mut rig, conn);
    let answer: OffsetCommitResponse = rig.call(conn, 8, &commit("g", "t", 7));
    assert_eq!(errors(&answer), [0, 3]);
    rig.disk.broken = true;
    let answer: OffsetCommitResponse = rig.call(conn, 8, &commit("g", "t", 8));
    assert_eq!(errors(&answer), [16, 3]);
    let expected = [("g".to_string(), "t".to_string(), 0, 7)];
    assert_eq!(committed(&mut rig, conn, &["g"]), expected);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut rig = Rig::new(2);
    rig.create("t", 1, &[]);
    rig.create("u", 1, &[]);
    let conn = rig.open(0);
    find(&mut rig, conn);
    for topic in ["t", "u"] {
        let _: OffsetCommitResponse = rig.call(conn, 8, &commit("g", topic, 7));
    }
    rig.command(coretide_controller::Command::DeleteTopics { topics: vec![TopicRef::Name("t".into())] });
    rig.create("t", 1, &[]);
    let left = [("g".to_string(), "u".to_string(), 0, 7)];
    assert_eq!(committed(&mut rig, conn, &["g"]), left);
    let mut rig = rig.restart(2, &[]);
    let conn = rig.open(1);
    assert_eq!(committed(&mut rig, conn, &["g"]), left);
}

#[test]
fn a_stop_answers_who_waits_for_other_members() {
    let mut rig = Rig::new(2);
    let conns = [rig.open(0), rig.open(1)];
    find(&mut rig, conns[0]);
    for (conn, group) in conns.into_iter().zip(["g", "h"]) {
        rig.send(conn, 3, &join(group, ""));
        assert_eq!(rig.waiting(conn), 0);
    }
    for shard in 0..2 {
        rig.event(shard, Event::Stop);
    }
    for conn in conns {
        let answer: JoinGroupResponse = rig.receive(conn);
        assert_eq!(answer.error_code, 16, "look for the coordinator again");
    }
    assert!(rig.stopped.iter().all(|stopped| *stopped), "and the stop need not wait");
}

#[test]
fn who_waits_for_other_members_does_not_hold_its_request_in_memory() {
    let mut rig = Rig::new(1);
    let conn = rig.open(0);
    find(&mut rig, conn);
    stable(&mut rig, conn, "g");
    let before = rig.shards[0].memory.used_bytes();
    let second = rig.open(0);
    let large = JoinGroupRequest { reason: Some("r".repeat(30_000)), ..join("g", "") };
    rig.send(second, 9, &JoinGroupRequest { group_instance_id: Some("i".into()), ..large });
    assert_eq!(rig.waiting(second), 0, "the first member has not come back");
    let held = rig.shards[0].memory.used_bytes() - before;
    assert!(held < 2000, "{held} bytes are paid for while it waits");
    rig.hang_up(second);
    assert_eq!(rig.shards[0].memory.used_bytes(), before);
}

#[test]
fn groups_that_have_all_their_memory_take_no_new_ones_and_go_on() {
    let mut rig =
        Rig::with(1, &[("coretide.shard.memory.bytes", "16777216"), ("coretide.shard.cache.bytes", "1048576")]);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    find(&mut rig, conn);
    let member = stable(&mut rig, conn, "old");
    let padded = |group: &str| {
        let mut request = commit(group, "t", 1);
        request.topics[0].partitions[0].committed_metadata = Some("n".repeat(4000));
        request
    };
    let mut refused = 0;
    for number in 0..1000 {
        let response: OffsetCommitResponse = rig.call(conn, 7, &padded(&format!("g-{number}")));
        refused += usize::from(errors(&response)[0] == ErrorCode::OffsetMetadataTooLarge as i16);
    }
    assert!((400..900).contains(&refused), "{refused} of 1000 found no room in 2 MiB");
    assert_eq!(rig.shards[0].metrics().groups_refused, refused as u64);
    rig.advance_ms(200);
    let new: JoinGroupResponse = rig.call(conn, 3, &join("new", ""));
    assert_eq!(new.error_code, ErrorCode::GroupMaxSizeReached as i16);
    assert_eq!(heartbeat(&mut rig, conn, "old", &member), 0);
}

#[test]
fn before_there_is_a_coordinator_there_are_no_groups() {
    let mut rig = Rig::new(2);
    let conn = rig.open(1);
    let listed: ListGroupsResponse = rig.call(conn, 5, &ListGroupsRequest::default());
    assert_eq!((listed.error_code, listed.groups.len()), (0, 0));
    assert_eq!(heartbeat(&mut rig, conn, "g", "m"), 16);
    let asked = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    let described: DescribeGroupsResponse = rig.call(conn, 6, &asked);
    assert_eq!(described.groups[0].error_code, 16);
    for (key_type, error) in [(1, 15), (2, 42), (9, 42)] {
        let asked = FindCoordinatorRequest { key: "k".into(), key_type, ..Default::default() };
        let found: FindCoordinatorResponse = rig.call(conn, 1, &asked);
        assert_eq!((found.error_code, found.node_id), (error, -1));
    }
}

#[test]
fn a_long_log_of_commits_is_cut() {
    let mut rig = Rig::new(1);
    rig.create("t", 1, &[]);
    let conn = rig.open(0);
    find(&mut rig, conn);
    for offset in 0..11_000 {
        let answer: OffsetCommitResponse = rig.call(conn, 8, &commit("g", "t", offset));
        assert_eq!(errors(&answer), [0, 3]);
    }
    let partition = partition_of("g", 50);
    let asked = ListOffsetsPartition { partition_index: partition, timestamp: -2, ..Default::default() };
    let topic = ListOffsetsTopic { name: "__consumer_offsets".into(), partitions: vec![asked] };
    let asked = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let listed: ListOffsetsResponse = rig.call(conn, 5, &asked);
    assert!(listed.topics[0].partitions[0].offset > 10_000, "{listed:?}");
    let mut rig = rig.restart(2, &[]);
    let conn = rig.open(0);
    let expected = [("g".to_string(), "t".to_string(), 0, 10_999)];
    assert_eq!(committed(&mut rig, conn, &["g"]), expected);
}
