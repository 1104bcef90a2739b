//! IncrementalAlterConfigs: sets, deletes, appends to and subtracts from single keys (C7, KIP-339).

use super::controller_wait::ask_controller;
use super::view::outcome;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{Command, ConfigOp, ConfigResource, IncrementalChange, Reply};
use coretide_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

/// Decodes, asks the controller, answers with its reply.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: IncrementalAlterConfigsRequest = request.decode()?;
    let command = command(&asked);
    ask_controller(shard, request, command, move |head, reply| head.encode(&response(&asked, reply)))
}

/// What the controller is asked.
pub(crate) fn command(request: &IncrementalAlterConfigsRequest) -> Command {
    let resource = |resource: &AlterConfigsResource| {
        let changes = resource.configs.iter().map(|config| IncrementalChange {
            name: config.name.clone(),
            op: ConfigOp::from_code(config.config_operation),
            value: config.value.clone(),
        });
        let name = resource.resource_name.clone();
        (ConfigResource { resource_type: resource.resource_type, name }, changes.collect())
    };
    Command::IncrementalAlterConfigs {
        resources: request.resources.iter().map(resource).collect(),
        validate_only: request.validate_only,
    }
}

/// The response to the request that `reply` answers.
pub(crate) fn response(request: &IncrementalAlterConfigsRequest, reply: Reply) -> IncrementalAlterConfigsResponse {
    let Reply::IncrementalAlterConfigs(items) = reply else { unreachable!("the controller answers what it was asked") };
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
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses }
}
