//! JoinGroup: wire to command and back (G1-G4, G6).

use std::sync::Arc;

use bytes::Bytes;
use coretide_coordinator::command::{Join, JoinReply, Protocol};
use coretide_coordinator::{Command, Reply};
use coretide_wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};

use super::group_wait::{ask_group, code_of};
use super::{Handled, Request};
use crate::shard::Shard;

/// The first version whose new members are first given an id (KIP-394).
const FIRST_WITH_KNOWN_ID: i16 = 4;
/// The first version without protocol name in a refusal.
const FIRST_WITH_NULL_PROTOCOL: i16 = 7;
/// The first version that may be told to skip the assignment (KIP-814).
const FIRST_WITH_SKIP: i16 = 9;

/// Decodes, asks the coordinator, answers when the next generation is complete.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: JoinGroupRequest = request.decode()?;
    let group: Arc<str> = asked.group_id.as_str().into();
    let client_id = request.client_id().unwrap_or("");
    let host = format!("/{}", request.peer.ip());
    let command = Command::Join(command(asked, request.head.version, &group, client_id, &host));
    ask_group(shard, request, &group, command, |head, reply| {
        let Reply::Join(reply) = reply else { unreachable!("a coordinator answers what it was asked") };
        head.encode(&response(reply, head.version))
    })
}

fn command(asked: JoinGroupRequest, version: i16, group: &Arc<str>, client_id: &str, client_host: &str) -> Join {
    Join {
        group: group.clone(),
        session_timeout_ms: asked.session_timeout_ms,
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        member_id: asked.member_id.into(),
        group_instance_id: asked.group_instance_id.map(Arc::from),
        protocol_type: asked.protocol_type.into(),
        protocols: asked
            .protocols
            .into_iter()
            // A copy: a group outlives the request, and a slice would keep the whole of its frame in memory.
            .map(|protocol| Protocol {
                name: protocol.name.into(),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            })
            .collect(),
        client_id: client_id.into(),
        client_host: client_host.into(),
        requires_known_member_id: version >= FIRST_WITH_KNOWN_ID,
        supports_skip_assignment: version >= FIRST_WITH_SKIP,
    }
}

fn response(reply: JoinReply, version: i16) -> JoinGroupResponse {
    let protocol_name = reply.protocol_name.as_deref().map(str::to_string);
    JoinGroupResponse {
        error_code: code_of(reply.error),
        generation_id: reply.generation,
        protocol_type: reply.protocol_type.as_deref().map(str::to_string),
        protocol_name: protocol_name.or((version < FIRST_WITH_NULL_PROTOCOL).then(String::new)),
        leader: reply.leader.to_string(),
        skip_assignment: reply.skip_assignment,
        member_id: reply.member_id.to_string(),
        members: reply
            .members
            .into_iter()
            .map(|member| JoinGroupResponseMember {
                member_id: member.member_id.to_string(),
                group_instance_id: member.group_instance_id.as_deref().map(str::to_string),
                metadata: member.metadata,
            })
            .collect(),
        ..JoinGroupResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_coordinator::GroupError;
    use coretide_wire::header::decode_request_header_view;
    use coretide_wire::messages::join_group::JoinGroupRequestProtocol;
    use coretide_wire::{Reader, encode_request, encode_response};

    #[test]
    fn refusals_and_answers_fit_into_every_version() {
        let joined = JoinReply {
            error: None,
            generation: 4,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            ..JoinReply::refused("m".into(), GroupError::UnknownMember)
        };
        for version in 0..=9 {
            for reply in [JoinReply::refused("m".into(), GroupError::MemberIdRequired), joined.clone()] {
                encode_response(&response(reply, version), version, 1).expect("every version can say it");
            }
        }
        assert_eq!(response(joined.clone(), 0).protocol_name.as_deref(), Some("range"));
        let refused = JoinReply::refused("m".into(), GroupError::UnknownMember);
        assert_eq!(response(refused.clone(), 6).protocol_name.as_deref(), Some(""));
        assert_eq!(response(refused, 7).protocol_name, None);
    }

    #[test]
    fn what_a_group_keeps_of_a_member_does_not_keep_the_request() {
        let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"m") };
        let asked = JoinGroupRequest {
            protocols: vec![protocol],
            reason: Some("x".repeat(30_000)),
            ..JoinGroupRequest::default()
        };
        let frame = encode_request(&asked, 9, 1, None).expect("valid").slice(4..);
        let mut reader = Reader::new(&frame);
        decode_request_header_view(&mut reader).expect("just written");
        let decoded = JoinGroupRequest::decode(&mut reader, 9).expect("just written");
        let kept = command(decoded, 9, &"g".into(), "c", "/127.0.0.1");
        assert_eq!(kept.protocols[0].metadata, &b"m"[..]);
        assert!(frame.is_unique(), "30 KB stay in memory for one byte");
    }

    #[test]
    fn versions_decide_what_a_new_member_must_do() {
        let asked = JoinGroupRequest { rebalance_timeout_ms: -1, ..JoinGroupRequest::default() };
        let of = |version| command(asked.clone(), version, &"g".into(), "c", "/127.0.0.1");
        assert_eq!([3, 4].map(|v| of(v).requires_known_member_id), [false, true]);
        assert_eq!([8, 9].map(|v| of(v).supports_skip_assignment), [false, true]);
        assert_eq!(of(0).rebalance_timeout_ms, -1, "version 0 has none: the coordinator takes the session timeout");
    }
}
