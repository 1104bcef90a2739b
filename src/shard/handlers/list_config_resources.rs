//! ListConfigResources: the names of everything that can be configured (KIP-1142); version 0 lists subscriptions of
//! client metrics only (KIP-714).

use super::view::View;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::ResourceType;
use coretide_model::ErrorCode;
use coretide_wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

const ALL: [ResourceType; 5] = [
    ResourceType::Topic,
    ResourceType::Broker,
    ResourceType::BrokerLogger,
    ResourceType::ClientMetrics,
    ResourceType::Group,
];

/// Decodes, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: ListConfigResourcesRequest = request.decode()?;
    request.answer(&answer(&asked, request.head.version, &View::of(shard, &request.head)))
}

/// The answer. No types stand for all types.
pub(crate) fn answer(
    request: &ListConfigResourcesRequest,
    version: i16,
    view: &View<'_>,
) -> ListConfigResourcesResponse {
    let mut response = ListConfigResourcesResponse::default();
    let wanted: Vec<ResourceType> = if version == 0 {
        vec![ResourceType::ClientMetrics]
    } else if request.resource_types.is_empty() {
        ALL.to_vec()
    } else {
        if request.resource_types.iter().any(|code| ResourceType::from_code(*code).is_none()) {
            response.error_code = ErrorCode::UnsupportedVersion as i16;
            return response;
        }
        ALL.into_iter().filter(|kind| request.resource_types.contains(&kind.code())).collect()
    };
    for kind in wanted {
        let names: Vec<String> = match kind {
            ResourceType::Topic => view.image.topics().map(|topic| topic.name.to_string()).collect(),
            ResourceType::Broker | ResourceType::BrokerLogger => vec![view.node_id().to_string()],
            ResourceType::ClientMetrics | ResourceType::Group => {
                view.image.configured(kind).map(str::to_string).collect()
            }
        };
        let resource_type = kind.code();
        response
            .config_resources
            .extend(names.into_iter().map(|resource_name| ConfigResource { resource_name, resource_type }));
    }
    response
}
