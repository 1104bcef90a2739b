//! SyncGroup: wire to command and back (G5, KIP-559).

use std::sync::Arc;

use bytes::Bytes;
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
    let command = Command::Sync(command(asked, &group));
    if request.head.version >= FIRST_WITH_PROTOCOL && lacks_protocol {
        return respond(&request.head, refused(&command, GroupError::InconsistentProtocol));
    }
    ask_group(shard, request, &group, command, respond)
}

fn command(asked: SyncGroupRequest, group: &Arc<str>) -> Sync {
    // Copies: a group outlives the request, and a slice would keep the whole of its frame in memory.
    let assignments =
        asked.assignments.into_iter().map(|one| (one.member_id.into(), Bytes::copy_from_slice(&one.assignment)));
    Sync {
        group: group.clone(),
        generation: asked.generation_id,
        member_id: asked.member_id.into(),
        group_instance_id: asked.group_instance_id.map(Arc::from),
        protocol_type: asked.protocol_type.map(Arc::from),
        protocol_name: asked.protocol_name.map(Arc::from),
        assignments: assignments.collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_wire::header::decode_request_header_view;
    use coretide_wire::messages::sync_group::SyncGroupRequestAssignment;
    use coretide_wire::{Reader, encode_request};

    #[test]
    fn what_a_group_keeps_of_an_assignment_does_not_keep_the_request() {
        let one = |bytes: usize| SyncGroupRequestAssignment {
            member_id: bytes.to_string(),
            assignment: Bytes::from(vec![1; bytes]),
        };
        let asked = SyncGroupRequest { assignments: vec![one(1), one(30_000)], ..SyncGroupRequest::default() };
        let frame = encode_request(&asked, 3, 1, None).expect("valid").slice(4..);
        let mut reader = Reader::new(&frame);
        decode_request_header_view(&mut reader).expect("just written");
        let decoded = SyncGroupRequest::decode(&mut reader, 3).expect("just written");
        let kept = command(decoded, &"g".into());
        assert_eq!(kept.assignments[0].1.len(), 1);
        assert!(frame.is_unique(), "30 KB stay in memory for one byte");
    }
}
