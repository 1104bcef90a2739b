//! AlterConfigs: replaces all dynamic configuration of a resource (C7).

use super::controller_wait::ask_controller;
use super::view::outcome;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{Command, ConfigResource, Reply};
use coretide_wire::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

/// Decodes, asks the controller, answers with its reply.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: AlterConfigsRequest = request.decode()?;
    let command = command(&asked);
    ask_controller(shard, request, command, move |head, reply| head.encode(&response(&asked, reply)))
}

/// What the controller is asked.
pub(crate) fn command(request: &AlterConfigsRequest) -> Command {
    let resource = |resource: &AlterConfigsResource| {
        let name = resource.resource_name.clone();
        let entries = resource.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect();
        (ConfigResource { resource_type: resource.resource_type, name }, entries)
    };
    Command::AlterConfigs {
        resources: request.resources.iter().map(resource).collect(),
        validate_only: request.validate_only,
    }
}

/// The response to the request that `reply` answers.
pub(crate) fn response(request: &AlterConfigsRequest, reply: Reply) -> AlterConfigsResponse {
    let Reply::AlterConfigs(items) = reply else { unreachable!("the controller answers what it was asked") };
    let responses = request
        .resources
        .iter()
        .zip(&items)
        .map(|(resource, item)| {
            let (error_code, error_message) = outcome(item);
            AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            }
        })
        .collect();
    AlterConfigsResponse { throttle_time_ms: 0, responses }
}
