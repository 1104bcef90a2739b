//! Heartbeat: wire to command and back (G5).

use std::sync::Arc;

use coretide_coordinator::command::Heartbeat;
use coretide_coordinator::{Command, Reply};
use coretide_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::group_wait::{ask_group, code_of};
use super::{Handled, Request};
use crate::shard::Shard;

/// Decodes, asks the coordinator, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: HeartbeatRequest = request.decode()?;
    let group: Arc<str> = asked.group_id.into();
    let command = Command::Heartbeat(Heartbeat {
        group: group.clone(),
        generation: asked.generation_id,
        member_id: asked.member_id.into(),
        group_instance_id: asked.group_instance_id.map(Arc::from),
    });
    ask_group(shard, request, &group, command, |head, reply| {
        let Reply::Heartbeat(result) = reply else { unreachable!("a coordinator answers what it was asked") };
        head.encode(&HeartbeatResponse { error_code: code_of(result.err()), ..HeartbeatResponse::default() })
    })
}
