//! DescribeCluster: the cluster's id, its brokers, its controller (KIP-700).

use super::view::{CLUSTER_OPERATIONS, View};
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_model::ErrorCode;
use coretide_wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Decodes, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DescribeClusterRequest = request.decode()?;
    request.answer(&answer(&asked, &View::of(shard, &request.head)))
}

/// The answer. Controllers have no listener of their own here, so asking for them is a mismatch (KIP-919).
pub(crate) fn answer(request: &DescribeClusterRequest, view: &View<'_>) -> DescribeClusterResponse {
    let mut response =
        DescribeClusterResponse { endpoint_type: request.endpoint_type, ..DescribeClusterResponse::default() };
    if request.endpoint_type != BROKERS {
        let (code, text) = match request.endpoint_type {
            CONTROLLERS => (ErrorCode::MismatchedEndpointType, "this listener belongs to a broker"),
            _ => (ErrorCode::UnsupportedEndpointType, "the endpoint type is not known"),
        };
        response.error_code = code as i16;
        response.error_message = Some(text.to_string());
        return response;
    }
    response.cluster_id = view.cluster_id.to_string();
    response.controller_id = view.node_id();
    response.brokers = vec![DescribeClusterBroker {
        broker_id: view.node_id(),
        host: view.host.to_string(),
        port: i32::from(view.port),
        rack: view.rack(),
        ..DescribeClusterBroker::default()
    }];
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}
