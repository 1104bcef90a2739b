//! FindCoordinator: the broker itself, once `__consumer_offsets` is there. It is made when somebody first looks for a group's
//! coordinator. Transactions have no coordinator yet, share groups are not served.

use coretide_controller::Command;
use coretide_controller::names::CONSUMER_OFFSETS;
use coretide_model::ErrorCode;
use coretide_wire::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::view::View;
use super::{Handled, Head, Outcome, Request, Waiting};
use crate::mail::{Answer, Ask};
use crate::placement::CONTROLLER_SHARD;
use crate::shard::Shard;

/// The first version that names several keys (KIP-699).
const FIRST_WITH_KEYS: i16 = 4;
const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;

/// Answers at once when `__consumer_offsets` is there; else has it made first.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: FindCoordinatorRequest = request.decode()?;
    if asked.key_type != KEY_TYPE_GROUP || shard.image.topic_named(CONSUMER_OFFSETS).is_some() {
        let response = response(&asked, request.head.version, &View::of(shard, &request.head));
        return request.answer(&response);
    }
    let id = shard.wait(request.head, None, Box::new(CreationWait { asked }));
    let names = vec![CONSUMER_OFFSETS.to_string()];
    shard.ask(CONTROLLER_SHARD, id, 0, Ask::Controller(Command::AutoCreate { names }));
    Ok(Outcome::Later)
}

/// Waits for the controller, which answers when every shard knows the new topic.
struct CreationWait {
    asked: FindCoordinatorRequest,
}

impl Waiting for CreationWait {
    fn on_answer(&mut self, shard: &mut Shard, head: &Head, _place: u32, _answer: Answer) -> Handled {
        let response = response(&self.asked, head.version, &View::of(shard, head));
        head.encode(&response)
    }
}

fn response(asked: &FindCoordinatorRequest, version: i16, view: &View<'_>) -> FindCoordinatorResponse {
    let problem = match asked.key_type {
        KEY_TYPE_GROUP if view.image.topic_named(CONSUMER_OFFSETS).is_some() => None,
        KEY_TYPE_GROUP => Some((ErrorCode::CoordinatorNotAvailable, "the coordinators are not there yet")),
        KEY_TYPE_TRANSACTION => Some((ErrorCode::CoordinatorNotAvailable, "this broker has no transactions yet")),
        _ => Some((ErrorCode::InvalidRequest, "this broker has no coordinator of this type")),
    };
    let found = match problem {
        None => Coordinator {
            node_id: view.node_id(),
            host: view.host.to_string(),
            port: i32::from(view.port),
            ..Coordinator::default()
        },
        Some((error, message)) => Coordinator {
            node_id: -1,
            port: -1,
            error_code: error as i16,
            error_message: Some(message.to_string()),
            ..Coordinator::default()
        },
    };
    if version >= FIRST_WITH_KEYS {
        let keys = asked.coordinator_keys.iter();
        let coordinators = keys.map(|key| Coordinator { key: key.clone(), ..found.clone() }).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}
