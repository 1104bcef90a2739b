//! DeleteTopics: by name, and by id from version 6 on (KIP-516).

use super::controller_wait::ask_controller;
use super::view::code;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{Command, CommandError, Reply, TopicRef};
use coretide_model::{ErrorCode, TopicId};
use coretide_wire::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use std::collections::VecDeque;

/// The first version that names topics in structures of their own.
const FIRST_WITH_IDS: i16 = 6;
/// The first version that knows TOPIC_DELETION_DISABLED.
const FIRST_WITH_DISABLED: i16 = 3;

/// Decodes, asks the controller, answers with its reply.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DeleteTopicsRequest = request.decode()?;
    let command = command(&asked, request.head.version);
    ask_controller(shard, request, command, move |head, reply| head.encode(&response(&asked, head.version, reply)))
}

/// What the request names, as (name, id); items that name a topic twice or not at all are answered here.
struct Asked {
    name: Option<String>,
    topic_id: TopicId,
}

impl Asked {
    fn reference(&self) -> Result<TopicRef, CommandError> {
        match &self.name {
            Some(_) if self.topic_id != TopicId::ZERO => {
                Err(CommandError::InvalidRequest("a topic is named by its name or its id, not by both".to_string()))
            }
            Some(name) => Ok(TopicRef::Name(name.clone())),
            None if self.topic_id == TopicId::ZERO => {
                Err(CommandError::InvalidRequest("neither a name nor an id is given".to_string()))
            }
            None => Ok(TopicRef::Id(self.topic_id)),
        }
    }
}

fn asked(request: &DeleteTopicsRequest, version: i16) -> Vec<Asked> {
    if version >= FIRST_WITH_IDS {
        request.topics.iter().map(|t| Asked { name: t.name.clone(), topic_id: t.topic_id }).collect()
    } else {
        request.topic_names.iter().map(|name| Asked { name: Some(name.clone()), topic_id: TopicId::ZERO }).collect()
    }
}

/// What the controller is asked.
pub(crate) fn command(request: &DeleteTopicsRequest, version: i16) -> Command {
    Command::DeleteTopics {
        topics: asked(request, version).iter().filter_map(|asked| asked.reference().ok()).collect(),
    }
}

/// The response to the request that `reply` answers.
pub(crate) fn response(request: &DeleteTopicsRequest, version: i16, reply: Reply) -> DeleteTopicsResponse {
    let Reply::DeleteTopics(items) = reply else { unreachable!("the controller answers what it was asked") };
    let mut items = VecDeque::from(items);
    let result = |asked: Asked| {
        let item = match asked.reference() {
            Ok(_) => items.pop_front().expect("one item for each topic that was asked for"),
            Err(error) => Err(error),
        };
        match item {
            Ok(deleted) => DeletableTopicResult {
                name: Some(deleted.name),
                topic_id: deleted.topic_id,
                ..DeletableTopicResult::default()
            },
            Err(error) => DeletableTopicResult {
                name: asked.name,
                topic_id: asked.topic_id,
                error_code: match code(&error) {
                    ErrorCode::TopicDeletionDisabled if version < FIRST_WITH_DISABLED => ErrorCode::InvalidRequest,
                    code => code,
                } as i16,
                error_message: Some(error.to_string()),
            },
        }
    };
    DeleteTopicsResponse { throttle_time_ms: 0, responses: asked(request, version).into_iter().map(result).collect() }
}
