//! DescribeConfigs: every key of a resource with its source, synonyms and documentation (C6).

use super::view::View;
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::ResourceType;
use coretide_model::ErrorCode;
use coretide_model::config::{ConfigMap, Described, describe};
use coretide_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use std::collections::BTreeSet;

/// The first version with types and documentation.
const FIRST_WITH_TYPES: i16 = 3;

/// Decodes, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DescribeConfigsRequest = request.decode()?;
    request.answer(&answer(&asked, request.head.version, &View::of(shard, &request.head)))
}

/// The answer. A resource is described once, however often it is asked for.
pub(crate) fn answer(request: &DescribeConfigsRequest, version: i16, view: &View<'_>) -> DescribeConfigsResponse {
    let mut seen = BTreeSet::new();
    let results = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name.as_str())))
        .map(|resource| result(request, version, resource, view))
        .collect();
    DescribeConfigsResponse { throttle_time_ms: 0, results }
}

fn result(
    request: &DescribeConfigsRequest,
    version: i16,
    resource: &DescribeConfigsResource,
    view: &View<'_>,
) -> DescribeConfigsResult {
    let base = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..DescribeConfigsResult::default()
    };
    match find(resource, view) {
        Err((code, text)) => DescribeConfigsResult { error_code: code as i16, error_message: Some(text), ..base },
        Ok(all) => {
            let wanted = |described: &Described| match &resource.configuration_keys {
                Some(keys) if !keys.is_empty() => keys.iter().any(|key| key == described.key.name),
                _ => true,
            };
            let show = |described| config(request, version, described);
            DescribeConfigsResult { configs: all.into_iter().filter(wanted).map(show).collect(), ..base }
        }
    }
}

fn find(resource: &DescribeConfigsResource, view: &View<'_>) -> Result<Vec<Described>, (ErrorCode, String)> {
    let refuse = |text: String| Err((ErrorCode::InvalidRequest, text));
    let name = resource.resource_name.as_str();
    let Some(kind) = ResourceType::from_code(resource.resource_type) else {
        return refuse(format!("resource type {} is not known", resource.resource_type));
    };
    let node_id = view.node_id().to_string();
    let empty = ConfigMap::new();
    let layers = view.image.broker().layers();
    let own = view.image.config(kind, name).unwrap_or(&empty);
    Ok(match kind {
        ResourceType::Topic => match view.topic(name) {
            Ok(topic) => describe::topic(&topic.overrides, &layers),
            Err(ErrorCode::InvalidTopicException) => {
                return Err((ErrorCode::InvalidTopicException, format!("'{name}' cannot be the name of a topic")));
            }
            Err(code) => return Err((code, format!("this cluster has no topic '{name}'"))),
        },
        ResourceType::Broker if name.is_empty() => describe::broker_defaults(own),
        ResourceType::Broker if name == node_id => describe::broker(&layers),
        // Loggers have no levels of their own here.
        ResourceType::BrokerLogger if name == node_id => Vec::new(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            return refuse(format!("broker '{name}' does not exist; this is broker {node_id}"));
        }
        ResourceType::ClientMetrics | ResourceType::Group if name.is_empty() => {
            return refuse("the name of the resource is missing".to_string());
        }
        ResourceType::ClientMetrics => describe::client_metrics(own),
        ResourceType::Group => describe::group(own, &layers),
    })
}

fn config(request: &DescribeConfigsRequest, version: i16, described: Described) -> DescribeConfigsResourceResult {
    let key = described.key;
    let synonym = |synonym: coretide_model::config::SynonymValue| DescribeConfigsSynonym {
        name: synonym.name.to_string(),
        value: synonym.value,
        source: synonym.source.code(),
    };
    let mut result = DescribeConfigsResourceResult {
        name: key.name.to_string(),
        value: described.value,
        read_only: described.read_only,
        config_source: described.source.code(),
        is_sensitive: key.is_sensitive(),
        ..DescribeConfigsResourceResult::default()
    };
    if request.include_synonyms {
        result.synonyms = described.synonyms.into_iter().map(synonym).collect();
    }
    if version >= FIRST_WITH_TYPES {
        result.config_type = key.value_type.code();
        result.documentation = request.include_documentation.then(|| key.doc.to_string());
    }
    result
}
