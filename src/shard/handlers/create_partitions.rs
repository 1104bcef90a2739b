//! CreatePartitions: wire to command and back (C8).

use super::controller_wait::ask_controller;
use super::view::outcome;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{Command, MorePartitions, Reply};
use coretide_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use std::collections::BTreeSet;

/// Decodes, asks the controller, answers with its reply.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: CreatePartitionsRequest = request.decode()?;
    let command = command(&asked);
    ask_controller(shard, request, command, move |head, reply| head.encode(&response(&asked, reply)))
}

/// What the controller is asked.
pub(crate) fn command(request: &CreatePartitionsRequest) -> Command {
    let topic = |topic: &CreatePartitionsTopic| MorePartitions {
        name: topic.name.clone(),
        count: topic.count,
        assignments: topic
            .assignments
            .as_ref()
            .map(|assignments| assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect()),
    };
    Command::CreatePartitions {
        topics: request.topics.iter().map(topic).collect(),
        validate_only: request.validate_only,
    }
}

/// The response to the request that `reply` answers. A topic that was named twice is answered once.
pub(crate) fn response(request: &CreatePartitionsRequest, reply: Reply) -> CreatePartitionsResponse {
    let Reply::CreatePartitions(items) = reply else { unreachable!("the controller answers what it was asked") };
    let mut seen = BTreeSet::new();
    let results = request
        .topics
        .iter()
        .zip(&items)
        .filter(|(topic, _)| seen.insert(topic.name.as_str()))
        .map(|(topic, item)| {
            let (error_code, error_message) = outcome(item);
            CreatePartitionsTopicResult { name: topic.name.clone(), error_code, error_message }
        })
        .collect();
    CreatePartitionsResponse { throttle_time_ms: 0, results }
}
