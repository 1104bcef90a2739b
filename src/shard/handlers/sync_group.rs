//! SyncGroup: wire to command and back (G5, KIP-559).

use std::sync::Arc;

use coretide_coordinator::command::Sync;
use coretide_coordinator::{Command, GroupError, Reply, refused};
use coretide_wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::group_wait::{ask_group, code_of};
use super::{Handled, Head, Request};
use crate::shard::Shard;

/// The first version that must name protocol type and protocol.
const FIRST_WITH_PROTOCOL: i16 = 5;

/// Decodes, asks the coordinator, answers when the assignment is durable.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: SyncGroupRequest = request.decode()?;
    let group: Arc<str> = asked.group_id.as_str().into();
    let lacks_protocol = asked.protocol_type.is_none() || asked.protocol_name.is_none();
    let command = Command::Sync(Sync {
        group: group.clone(),
        generation: asked.generation_id,
        member_id: asked.member_id.into(),
        group_instance_id: asked.group_instance_id.map(Arc::from),
        protocol_type: asked.protocol_type.map(Arc::from),
        protocol_name: asked.protocol_name.map(Arc::from),
        assignments: asked.assignments.into_iter().map(|one| (one.member_id.into(), one.assignment)).collect(),
    });
    if request.head.version >= FIRST_WITH_PROTOCOL && lacks_protocol {
        return respond(&request.head, refused(&command, GroupError::InconsistentProtocol));
    }
    ask_group(shard, request, &group, command, respond)
}

fn respond(head: &Head, reply: Reply) -> Handled {
    let Reply::Sync(result) = reply else { unreachable!("a coordinator answers what it was asked") };
    head.encode(&match result {
        Err(error) => SyncGroupResponse { error_code: code_of(Some(error)), ..SyncGroupResponse::default() },
        Ok(reply) => SyncGroupResponse {
            protocol_type: reply.protocol_type.as_deref().map(str::to_string),
            protocol_name: reply.protocol_name.as_deref().map(str::to_string),
            assignment: reply.assignment,
            ..SyncGroupResponse::default()
        },
    })
}
