//! DescribeGroups: wire to commands and back. Up to version 5 a group that does not exist is called dead, from 6 on it is an
//! error (KIP-1043).

use std::sync::Arc;

use coretide_coordinator::command::{Description, GroupState};
use coretide_coordinator::{Command, GroupError, Reply};
use coretide_wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::group_wait::{GroupAsk, ask_groups, code_of};
use super::{Handled, Request};
use crate::shard::Shard;

/// Every operation on a group, as a mask (READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS): without an authorizer all
/// are allowed.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// The first version that calls a missing group an error.
const FIRST_WITH_NOT_FOUND: i16 = 6;

/// Decodes, asks the coordinators, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DescribeGroupsRequest = request.decode()?;
    let names: Vec<Arc<str>> = asked.groups.into_iter().map(Arc::from).collect();
    let operations = asked.include_authorized_operations.then_some(GROUP_OPERATIONS);
    let asks = names.iter().map(|group| {
        let command = Command::DescribeGroup { group: group.clone() };
        GroupAsk { group: group.clone(), command }
    });
    let asks = asks.collect();
    ask_groups(shard, request, asks, move |head, replies| {
        let groups = names.iter().zip(replies).map(|(group, reply)| {
            let Reply::DescribeGroup(result) = reply else { unreachable!("a coordinator answers what it was asked") };
            describe(group, result, head.version, operations)
        });
        head.encode(&DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() })
    })
}

fn describe(
    group: &str,
    result: Result<Description, GroupError>,
    version: i16,
    operations: Option<i32>,
) -> DescribedGroup {
    let mut described = DescribedGroup { group_id: group.to_string(), ..DescribedGroup::default() };
    match result {
        Ok(description) => {
            described.group_state = description.state.name().to_string();
            described.protocol_type = description.protocol_type.to_string();
            described.protocol_data = description.protocol_data.to_string();
            described.members = members(description);
            described.authorized_operations = operations.unwrap_or(described.authorized_operations);
        }
        Err(GroupError::GroupNotFound) => {
            described.group_state = GroupState::Dead.name().to_string();
            described.authorized_operations = operations.unwrap_or(described.authorized_operations);
            if version >= FIRST_WITH_NOT_FOUND {
                described.error_code = code_of(Some(GroupError::GroupNotFound));
                described.error_message = Some(format!("Group {group} not found."));
            }
        }
        Err(error) => described.error_code = code_of(Some(error)),
    }
    described
}

fn members(description: Description) -> Vec<DescribedGroupMember> {
    let member = |member: coretide_coordinator::command::DescribedMember| DescribedGroupMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.group_instance_id.as_deref().map(str::to_string),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    description.members.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_wire::encode_response;

    #[test]
    fn a_missing_group_is_dead_until_version_5_and_an_error_from_6_on() {
        for version in 0..=6 {
            let group = describe("g", Err(GroupError::GroupNotFound), version, None);
            assert_eq!((group.group_state.as_str(), group.error_code), ("Dead", if version < 6 { 0 } else { 69 }));
            let response = DescribeGroupsResponse { groups: vec![group], ..DescribeGroupsResponse::default() };
            encode_response(&response, version, 1).expect("every version can say it");
        }
    }
}
