//! Metadata: brokers, topics, partitions and their leaders (W9, C5).

use super::controller_wait::ask_controller;
use super::view::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, View, in_sync};
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{Command, TopicImage, names};
use coretide_model::{ErrorCode, TopicId};
use coretide_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use std::collections::BTreeSet;

/// Topics that one request may bring into being.
const AUTO_CREATE_MAX: usize = 1000;
/// The first version that may name a topic by its id (KIP-516).
const FIRST_WITH_IDS: i16 = 12;

/// Answers at once, unless topics are to be created: then the answer, which still calls them unknown, waits for the
/// controller, so that the client's next attempt finds them.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: MetadataRequest = request.decode()?;
    let (response, missing) = answer(&asked, request.head.version, &View::of(shard, &request.head));
    if missing.is_empty() {
        return request.answer(&response);
    }
    let command = Command::AutoCreate { names: missing };
    ask_controller(shard, request, command, move |head, _| head.encode(&response))
}

/// The answer, and the names of topics that the controller shall be asked to create.
pub(crate) fn answer(request: &MetadataRequest, version: i16, view: &View<'_>) -> (MetadataResponse, Vec<String>) {
    let mut response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: view.node_id(),
            host: view.host.to_string(),
            port: i32::from(view.port),
            rack: view.rack(),
        }],
        cluster_id: Some(view.cluster_id.to_string()),
        controller_id: view.node_id(),
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    let operations = request.include_topic_authorized_operations.then_some(TOPIC_OPERATIONS);
    let mut missing = Vec::new();
    match &request.topics {
        None => response.topics = view.image.topics().map(|topic| describe(topic, operations)).collect(),
        Some(asked) if version == 0 && asked.is_empty() => {
            response.topics = view.image.topics().map(|topic| describe(topic, operations)).collect();
        }
        Some(asked) if version < FIRST_WITH_IDS && asked.iter().any(names_by_id) => {
            let refuse = |topic: &MetadataRequestTopic| MetadataResponseTopic {
                error_code: ErrorCode::InvalidRequest as i16,
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..MetadataResponseTopic::default()
            };
            response.topics = asked.iter().map(refuse).collect();
        }
        Some(asked) => {
            // A topic is described once, however often it is asked for: a small request has no huge answer.
            let mut seen = BTreeSet::new();
            let distinct = asked.iter().filter(|topic| seen.insert((topic.topic_id, topic.name.as_deref())));
            response.topics = distinct.map(|topic| find(topic, view, operations, &mut missing)).collect();
        }
    }
    let creates = request.allow_auto_topic_creation && view.image.broker().topics.auto_create_topics_enable;
    missing.truncate(if creates { AUTO_CREATE_MAX } else { 0 });
    (response, missing)
}

fn names_by_id(topic: &MetadataRequestTopic) -> bool {
    topic.name.is_none() || topic.topic_id != TopicId::ZERO
}

fn find(
    asked: &MetadataRequestTopic,
    view: &View<'_>,
    operations: Option<i32>,
    missing: &mut Vec<String>,
) -> MetadataResponseTopic {
    let error = |error: ErrorCode| MetadataResponseTopic {
        error_code: error as i16,
        name: asked.name.clone().filter(|_| asked.topic_id == TopicId::ZERO),
        topic_id: asked.topic_id,
        ..MetadataResponseTopic::default()
    };
    if asked.topic_id != TopicId::ZERO {
        return match view.image.topic(asked.topic_id) {
            Some(topic) => describe(topic, operations),
            None => error(ErrorCode::UnknownTopicId),
        };
    }
    let Some(name) = &asked.name else { return error(ErrorCode::InvalidRequest) };
    match view.topic(name) {
        Ok(topic) => describe(topic, operations),
        Err(code) => {
            if code == ErrorCode::UnknownTopicOrPartition && name != names::CLUSTER_METADATA {
                missing.push(name.clone());
            }
            MetadataResponseTopic { is_internal: names::is_internal(name), ..error(code) }
        }
    }
}

fn describe(topic: &TopicImage, operations: Option<i32>) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| MetadataResponsePartition {
        partition_index: index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: in_sync(partition),
        ..MetadataResponsePartition::default()
    });
    let mut described = MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    };
    if let Some(operations) = operations {
        described.topic_authorized_operations = operations;
    }
    described
}
