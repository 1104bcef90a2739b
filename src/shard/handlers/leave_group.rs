//! LeaveGroup: wire to command and back (G7); one member up to version 2, several from 3 on (KIP-345).

use std::sync::Arc;

use coretide_coordinator::command::{Leave, LeaveResult};
use coretide_coordinator::{Command, GroupError, Reply};
use coretide_wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

use super::group_wait::{ask_group, code_of};
use super::{Handled, Request};
use crate::shard::Shard;

/// The first version that names several members.
const FIRST_WITH_MEMBERS: i16 = 3;

/// Decodes, asks the coordinator, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: LeaveGroupRequest = request.decode()?;
    let group: Arc<str> = asked.group_id.as_str().into();
    let members = if request.head.version < FIRST_WITH_MEMBERS {
        vec![(asked.member_id.into(), None)]
    } else {
        let named = asked.members.into_iter();
        named.map(|member| (member.member_id.into(), member.group_instance_id.map(Arc::from))).collect()
    };
    let command = Command::Leave(Leave { group: group.clone(), members });
    ask_group(shard, request, &group, command, |head, reply| {
        let Reply::Leave(result) = reply else { unreachable!("a coordinator answers what it was asked") };
        head.encode(&response(result, head.version))
    })
}

fn response(result: Result<Vec<LeaveResult>, GroupError>, version: i16) -> LeaveGroupResponse {
    match result {
        Err(error) => LeaveGroupResponse { error_code: code_of(Some(error)), ..LeaveGroupResponse::default() },
        Ok(left) if version < FIRST_WITH_MEMBERS => {
            let error = left.first().and_then(|one| one.error);
            LeaveGroupResponse { error_code: code_of(error), ..LeaveGroupResponse::default() }
        }
        Ok(left) => {
            let members = left.into_iter().map(|one| MemberResponse {
                member_id: one.member_id.to_string(),
                group_instance_id: one.group_instance_id.as_deref().map(str::to_string),
                error_code: code_of(one.error),
            });
            LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_have_one_error_new_ones_one_per_member() {
        let unknown = Some(GroupError::UnknownMember);
        let left = vec![LeaveResult { member_id: "m".into(), group_instance_id: None, error: unknown }];
        assert_eq!(response(Ok(left.clone()), 2).error_code, 25);
        let new = response(Ok(left), 3);
        assert_eq!((new.error_code, new.members[0].error_code), (0, 25));
        assert_eq!(response(Err(GroupError::NotCoordinator), 5).error_code, 16);
    }
}
