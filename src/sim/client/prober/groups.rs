//! Probes about groups.

use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::api::ApiKey;
use coretide_wire::messages as m;

use super::{GROUP, Learned, Probe, TOPIC};

pub fn probe(prng: &mut Prng, learned: &Learned) -> Probe {
    match prng.below(13) {
        0 => {
            let groups = vec![group(prng), "crew".to_string(), "nobody".to_string()];
            let request = m::describe_groups::DescribeGroupsRequest { groups, ..Default::default() };
            Probe::new(ApiKey::DescribeGroups, 6, &request)
        }
        1 => {
            let states_filter = if prng.chance(1, 2) { vec!["Stable".to_string()] } else { Vec::new() };
            let request = m::list_groups::ListGroupsRequest { states_filter, types_filter: Vec::new() };
            Probe::new(ApiKey::ListGroups, 5, &request)
        }
        2 => {
            let request = m::delete_groups::DeleteGroupsRequest { groups_names: vec![group(prng)] };
            Probe::new(ApiKey::DeleteGroups, 2, &request)
        }
        3 => offset_delete(prng),
        4 | 5 => join(prng, learned),
        6 => sync(prng, learned),
        7 => {
            let request = m::heartbeat::HeartbeatRequest {
                group_id: group(prng),
                generation_id: learned.generation + prng.below(2) as i32,
                member_id: member(prng, learned),
                group_instance_id: prng.chance(1, 3).then(|| "probe-instance".to_string()),
            };
            Probe::new(ApiKey::Heartbeat, 4, &request)
        }
        8 => {
            let group_instance_id = prng.chance(1, 3).then(|| "probe-instance".to_string());
            let member =
                m::leave_group::MemberIdentity { member_id: member(prng, learned), group_instance_id, reason: None };
            let request = m::leave_group::LeaveGroupRequest {
                group_id: group(prng),
                members: vec![member],
                ..Default::default()
            };
            Probe::new(ApiKey::LeaveGroup, 5, &request)
        }
        9 | 10 => commit(prng, learned),
        11 => {
            let (key_type, key) = (prng.below(3) as i8, group(prng));
            let request = m::find_coordinator::FindCoordinatorRequest {
                key_type,
                coordinator_keys: vec![key],
                ..Default::default()
            };
            Probe::new(ApiKey::FindCoordinator, 4, &request)
        }
        _ => offset_fetch(prng),
    }
}

fn group(prng: &mut Prng) -> String {
    let name = match prng.below(8) {
        0 => "",
        1 => "nobody",
        _ => GROUP,
    };
    name.to_string()
}

fn member(prng: &mut Prng, learned: &Learned) -> String {
    if prng.chance(2, 3) { learned.member.clone() } else { "nobody".to_string() }
}

fn join(prng: &mut Prng, learned: &Learned) -> Probe {
    let name = ["range", "roundrobin"][prng.below(2) as usize].to_string();
    let protocol = m::join_group::JoinGroupRequestProtocol { name, metadata: Bytes::from_static(b"any") };
    let request = m::join_group::JoinGroupRequest {
        group_id: group(prng),
        session_timeout_ms: if prng.chance(1, 8) { 1 } else { 6000 },
        rebalance_timeout_ms: 1000,
        member_id: if prng.chance(1, 3) { String::new() } else { member(prng, learned) },
        group_instance_id: prng.chance(1, 4).then(|| "probe-instance".to_string()),
        protocol_type: if prng.chance(1, 10) { "connect" } else { "consumer" }.to_string(),
        protocols: if prng.chance(1, 12) { Vec::new() } else { vec![protocol] },
        reason: None,
    };
    Probe::new(ApiKey::JoinGroup, 9, &request)
}

fn sync(prng: &mut Prng, learned: &Learned) -> Probe {
    let member_id = member(prng, learned);
    let assignment = m::sync_group::SyncGroupRequestAssignment {
        member_id: member_id.clone(),
        assignment: Bytes::from_static(b"x"),
    };
    let request = m::sync_group::SyncGroupRequest {
        group_id: group(prng),
        generation_id: learned.generation + i32::from(prng.chance(1, 4)),
        member_id,
        group_instance_id: prng.chance(1, 5).then(|| "probe-instance".to_string()),
        protocol_type: Some(if prng.chance(1, 8) { "connect" } else { "consumer" }.to_string()),
        protocol_name: Some(["range", "roundrobin"][prng.below(2) as usize].to_string()),
        assignments: vec![assignment],
    };
    Probe::new(ApiKey::SyncGroup, 5, &request)
}

fn commit(prng: &mut Prng, learned: &Learned) -> Probe {
    let simple = prng.chance(1, 3);
    let partition = m::offset_commit::OffsetCommitRequestPartition {
        partition_index: if prng.chance(1, 5) { 99 } else { 0 },
        committed_offset: prng.below(100) as i64,
        committed_metadata: Some("m".repeat(if prng.chance(1, 6) { 10_000 } else { 1 })),
        ..Default::default()
    };
    let name = if prng.chance(1, 5) { "nobody-made-this" } else { TOPIC }.to_string();
    let mut partitions = vec![partition];
    if prng.chance(1, 20) {
        // More than a message may have.
        partitions[0].committed_metadata = Some("m".repeat(4000));
        partitions = vec![partitions[0].clone(); 300];
    }
    let topic = m::offset_commit::OffsetCommitRequestTopic { name, partitions, ..Default::default() };
    let request = m::offset_commit::OffsetCommitRequest {
        group_id: group(prng),
        generation_id_or_member_epoch: if simple { -1 } else { learned.generation + prng.below(2) as i32 },
        member_id: if simple { String::new() } else { member(prng, learned) },
        group_instance_id: prng.chance(1, 5).then(|| "probe-instance".to_string()),
        topics: vec![topic],
        ..Default::default()
    };
    Probe::new(ApiKey::OffsetCommit, 9, &request)
}

fn offset_fetch(prng: &mut Prng) -> Probe {
    let topics = vec![m::offset_fetch::OffsetFetchRequestTopics {
        name: TOPIC.to_string(),
        partition_indexes: vec![0, 99],
        ..Default::default()
    }];
    let topics = if prng.chance(1, 2) { Some(topics) } else { None };
    let asked =
        m::offset_fetch::OffsetFetchRequestGroup { group_id: group(prng), topics, member_id: None, member_epoch: -1 };
    let request =
        m::offset_fetch::OffsetFetchRequest { groups: vec![asked], topics: Some(Vec::new()), ..Default::default() };
    Probe::new(ApiKey::OffsetFetch, 8, &request)
}

fn offset_delete(prng: &mut Prng) -> Probe {
    let partitions =
        vec![m::offset_delete::OffsetDeleteRequestPartition { partition_index: prng.below(2) as i32 * 99 }];
    let topics = vec![m::offset_delete::OffsetDeleteRequestTopic { name: TOPIC.to_string(), partitions }];
    let request = m::offset_delete::OffsetDeleteRequest { group_id: group(prng), topics };
    Probe::new(ApiKey::OffsetDelete, 0, &request)
}
