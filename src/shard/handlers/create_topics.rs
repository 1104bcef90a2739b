//! CreateTopics: wire to command and back (C4).

use super::controller_wait::ask_controller;
use super::view::outcome;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{Command, CommandError, CreatedTopic, NewTopic, Reply};
use coretide_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use std::collections::BTreeSet;

/// Decodes, asks the controller, answers with its reply.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: CreateTopicsRequest = request.decode()?;
    let command = command(&asked);
    ask_controller(shard, request, command, move |head, reply| head.encode(&response(&asked, head.version, reply)))
}

/// What the controller is asked. The request's timeout is not: a change that was taken up is finished.
pub(crate) fn command(request: &CreateTopicsRequest) -> Command {
    let topic = |topic: &CreatableTopic| NewTopic {
        name: topic.name.clone(),
        num_partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(|a| (a.partition_index, a.broker_ids.clone())).collect(),
        configs: topic.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect(),
    };
    Command::CreateTopics { topics: request.topics.iter().map(topic).collect(), validate_only: request.validate_only }
}

/// The response to the request that `reply` answers. A topic that was named twice is answered once.
pub(crate) fn response(request: &CreateTopicsRequest, version: i16, reply: Reply) -> CreateTopicsResponse {
    let Reply::CreateTopics(items) = reply else { unreachable!("the controller answers what it was asked") };
    let mut seen = BTreeSet::new();
    let topics = request
        .topics
        .iter()
        .zip(items)
        .filter(|(topic, _)| seen.insert(topic.name.as_str()))
        .map(|(topic, item)| result(&topic.name, version, item))
        .collect();
    CreateTopicsResponse { throttle_time_ms: 0, topics }
}

fn result(name: &str, version: i16, item: Result<CreatedTopic, CommandError>) -> CreatableTopicResult {
    let (error_code, error_message) = outcome(&item);
    let base =
        CreatableTopicResult { name: name.to_string(), error_code, error_message, ..CreatableTopicResult::default() };
    match item {
        Err(_) => base,
        Ok(created) if version < 5 => CreatableTopicResult { topic_id: created.topic_id, ..base },
        Ok(created) => CreatableTopicResult {
            topic_id: created.topic_id,
            num_partitions: created.num_partitions,
            replication_factor: created.replication_factor,
            configs: Some(created.configs.into_iter().map(config).collect()),
            ..base
        },
    }
}

fn config(described: coretide_model::config::Described) -> CreatableTopicConfigs {
    CreatableTopicConfigs {
        name: described.key.name.to_string(),
        value: described.value,
        read_only: described.read_only,
        config_source: described.source.code(),
        is_sensitive: described.key.is_sensitive(),
    }
}
