//! Consumer groups: groups, members and offsets without end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coretide_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use coretide_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use super::connections::padded;
use super::{Outcome, Tally, Target};
use crate::peer::{Ended, Peer};

/// Requests in flight at a time.
const WINDOW: usize = 50;

fn join(group: &str, member_id: &str, metadata: Bytes) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_string(),
        session_timeout_ms: 600_000,
        rebalance_timeout_ms: 600_000,
        member_id: member_id.to_string(),
        protocol_type: "consumer".to_string(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".to_string(), metadata }],
        ..JoinGroupRequest::default()
    }
}

/// A first request that makes the broker create its internal topic, repeated until the coordinator is there.
fn first_join(target: &Target) -> Result<Peer, String> {
    let mut peer = target.connect()?;
    let find = coretide_wire::messages::find_coordinator::FindCoordinatorRequest {
        key: "first".to_string(),
        ..Default::default()
    };
    for _ in 0..100 {
        let found = peer
            .call::<_, coretide_wire::messages::find_coordinator::FindCoordinatorResponse>(&find, 1)?
            .map_err(|ended| ended.to_string())?;
        if found.error_code == 0 {
            return Ok(peer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("there is no coordinator".to_string())
}

/// A new group with one member for every request.
pub fn groups(target: &Target) -> Outcome {
    let mut peer = first_join(target)?;
    let mut tally = Tally::default();
    for turn in 0u64.. {
        if !target.goes_on() {
            break;
        }
        for number in 0..WINDOW {
            peer.send(&join(&format!("group-{turn}-{number}"), "", Bytes::from(vec![1; 500])), 3)?;
        }
        for _ in 0..WINDOW {
            tally.code(peer.answer::<JoinGroupResponse>(3)?.map_err(|ended| ended.to_string())?.error_code);
        }
    }
    tally.expect(&["NONE", "GROUP_MAX_SIZE_REACHED"])
}

/// One group, and a new member id for every request: none of them ever joins.
pub fn members(target: &Target) -> Outcome {
    let mut peer = first_join(target)?;
    let mut tally = Tally::default();
    while target.goes_on() {
        for _ in 0..WINDOW {
            peer.send(&join("members", "", Bytes::from(vec![1; 500])), 5)?;
        }
        for _ in 0..WINDOW {
            tally.code(peer.answer::<JoinGroupResponse>(5)?.map_err(|ended| ended.to_string())?.error_code);
        }
    }
    tally.expect(&["MEMBER_ID_REQUIRED", "GROUP_MAX_SIZE_REACHED"])
}

/// Members with a byte of metadata in a request that is large for another reason: what is kept must be the byte.
pub fn padded_members(target: &Target) -> Outcome {
    let mut peer = first_join(target)?;
    let mut tally = Tally::default();
    for number in 0u64.. {
        if !target.goes_on() {
            break;
        }
        let group = format!("padded-{number}");
        let padded =
            JoinGroupRequest { reason: Some("x".repeat(32_000)), ..join(&group, "", Bytes::from_static(b"m")) };
        let padded = JoinGroupRequest { group_instance_id: Some("static".to_string()), ..padded };
        let joined = peer.call::<_, JoinGroupResponse>(&padded, 9)?.map_err(|ended| ended.to_string())?;
        tally.code(joined.error_code);
        let assignment =
            |bytes: Bytes| SyncGroupRequestAssignment { member_id: joined.member_id.clone(), assignment: bytes };
        let padding = BytesMut::zeroed(300_000);
        let stranger = SyncGroupRequestAssignment { member_id: "nobody".to_string(), assignment: padding.freeze() };
        let sync = SyncGroupRequest {
            group_id: group,
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: Some("static".to_string()),
            protocol_type: Some("consumer".to_string()),
            protocol_name: Some("range".to_string()),
            assignments: vec![assignment(Bytes::from_static(b"a")), stranger],
        };
        let synced = peer.call::<_, SyncGroupResponse>(&sync, 5)?.map_err(|ended| ended.to_string())?;
        tally.code(synced.error_code);
    }
    tally.expect(&["NONE", "GROUP_MAX_SIZE_REACHED", "UNKNOWN_MEMBER_ID"])
}

/// Members whose join waits for others for as long as they may.
pub fn pending_joins(target: &Target) -> Outcome {
    let leader_of = |group: usize| format!("pending-{group}");
    let mut leader = first_join(target)?;
    // A first member that never answers the next rebalance holds up all that come later.
    for group in 0..4 {
        let joined = leader
            .call::<_, JoinGroupResponse>(&join(&leader_of(group), "", Bytes::from_static(b"m")), 3)?
            .map_err(|ended| ended.to_string())?;
        if joined.error_code != 0 {
            return Err(format!("the first member got {}", joined.error_code));
        }
    }
    let mut peers = target.open(1000)?;
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.send(&join(&leader_of(number % 4), "", Bytes::from(vec![2; 5000])), 3)?;
    }
    expect_waiting(target, &mut peers)
}

/// Holds the attack to its end, and demands that the peers are still kept waiting then.
fn expect_waiting(target: &Target, peers: &mut [Peer]) -> Outcome {
    target.hold();
    let mut tally = Tally::default();
    for peer in peers.iter_mut().take(20) {
        tally.add(match peer.frame(Duration::from_millis(5)) {
            Err(Ended::Silent) => "waiting",
            Err(Ended::Closed) => "closed",
            Ok(_) => "answered early",
        });
    }
    tally.expect(&["waiting"])
}

/// Members that wait for others with requests that are large for no reason.
pub fn padded_joins(target: &Target) -> Outcome {
    let mut leader = first_join(target)?;
    let first = join("waiting", "", Bytes::from_static(b"m"));
    let joined = leader.call::<_, JoinGroupResponse>(&first, 3)?.map_err(|ended| ended.to_string())?;
    if joined.error_code != 0 {
        return Err(format!("the first member got {}", joined.error_code));
    }
    let mut peers = target.open(200)?;
    for (number, peer) in peers.iter_mut().enumerate().take_while(|_| target.goes_on()) {
        // Static members join at once, whatever the version.
        let member = JoinGroupRequest { group_instance_id: Some(format!("static-{number}")), ..first.clone() };
        peer.send_raw(&padded(&member, 9, 900_000)?);
    }
    expect_waiting(target, &mut peers)
}

/// The same static member from two connections, over and over: each newcomer fences the other.
pub fn same_member_twice(target: &Target) -> Outcome {
    let mut peers = [first_join(target)?, target.connect()?];
    let mut ids = [String::new(), String::new()];
    let mut tally = Tally::default();
    for turn in 0usize.. {
        if !target.goes_on() {
            break;
        }
        let mine = turn % 2;
        let instance = |member: &str| JoinGroupRequest {
            group_instance_id: Some("twin".to_string()),
            ..join("twins", member, Bytes::from_static(b"m"))
        };
        let joined = peers[mine].call::<_, JoinGroupResponse>(&instance(""), 5)?.map_err(|ended| ended.to_string())?;
        tally.code(joined.error_code);
        ids[mine] = joined.member_id;
        if turn > 0 {
            // The other one has been replaced, and must learn it.
            let other = 1 - mine;
            let old = instance(&ids[other].clone());
            let fenced = peers[other].call::<_, JoinGroupResponse>(&old, 5)?.map_err(|ended| ended.to_string())?;
            if fenced.error_code != 82 {
                return Err(format!("the replaced member got {}", fenced.error_code));
            }
            tally.add("fenced");
        }
    }
    tally.expect(&["NONE", "fenced"])
}

/// Offsets for thousands of partitions of group after group, with the longest notes that are let in, and longer ones.
pub fn offset_commits(target: &Target) -> Outcome {
    let mut peer = first_join(target)?;
    target.create_topic(&mut peer, "committed", 100, &[])?;
    let mut tally = Tally::default();
    for number in 0u64.. {
        if !target.goes_on() {
            break;
        }
        let partition = |index: i32| OffsetCommitRequestPartition {
            partition_index: index,
            committed_offset: number as i64,
            committed_metadata: Some("n".repeat(if index == 0 { 30_000 } else { 4096 })),
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: "committed".to_string(),
            partitions: (0..100).map(partition).collect(),
            ..OffsetCommitRequestTopic::default()
        };
        let request = OffsetCommitRequest {
            group_id: format!("committing-{number}"),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let answer = peer.call::<_, OffsetCommitResponse>(&request, 7)?.map_err(|ended| ended.to_string())?;
        answer.topics.iter().flat_map(|topic| &topic.partitions).for_each(|one| tally.code(one.error_code));
    }
    let words = tally.expect(&["NONE", "OFFSET_METADATA_TOO_LARGE"])?;
    if tally.of("OFFSET_METADATA_TOO_LARGE") == 0 {
        return Err(format!("the long notes were let in: {words}"));
    }
    Ok(words)
}
