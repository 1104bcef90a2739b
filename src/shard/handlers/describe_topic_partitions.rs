//! DescribeTopicPartitions: topics page by page, in the order of their names (KIP-966).

use super::view::{TOPIC_OPERATIONS, View, in_sync};
use super::{Handled, Request};
use crate::shard::Shard;
use coretide_controller::{TopicImage, names};
use coretide_model::ErrorCode;
use coretide_wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseCursor,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, TopicRequest,
};
use std::collections::BTreeSet;

/// Decodes, answers.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DescribeTopicPartitionsRequest = request.decode()?;
    request.answer(&answer(&asked, &View::of(shard, &request.head)))
}

/// The answer. A cursor at a negative partition makes every topic an error.
pub(crate) fn answer(request: &DescribeTopicPartitionsRequest, view: &View<'_>) -> DescribeTopicPartitionsResponse {
    let (start_name, start_partition) = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => return refuse(request),
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index as usize),
        None => ("", 0),
    };
    let limit = request.response_partition_limit.min(view.image.broker().network.max_request_partition_size_limit);
    let mut page = Page { response: DescribeTopicPartitionsResponse::default(), left: limit.max(1) as usize };
    let start = |name: &str| if name == start_name { start_partition } else { 0 };
    if request.topics.is_empty() {
        for topic in view.image.topics_from(start_name) {
            if !page.add(&topic.name, Ok(topic), start(&topic.name)) {
                break;
            }
        }
    } else {
        let asked: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
        for name in asked.range(start_name..) {
            if !page.add(name, view.topic(name), start(name)) {
                break;
            }
        }
    }
    page.response
}

fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topic = |topic: &TopicRequest| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest as i16,
        name: Some(topic.name.clone()),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let topics = request.topics.iter().map(topic).collect();
    DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() }
}

struct Page {
    response: DescribeTopicPartitionsResponse,
    /// How many more partitions fit.
    left: usize,
}

impl Page {
    /// Adds a topic from a partition on; false when the page is full and the cursor is set.
    fn add(&mut self, name: &str, topic: Result<&std::sync::Arc<TopicImage>, ErrorCode>, start: usize) -> bool {
        if self.left == 0 {
            self.stop_at(name, 0);
            return false;
        }
        let topic = match topic {
            Ok(topic) => topic,
            Err(error) => {
                self.response.topics.push(DescribeTopicPartitionsResponseTopic {
                    error_code: error as i16,
                    name: Some(name.to_string()),
                    is_internal: names::is_internal(name),
                    ..DescribeTopicPartitionsResponseTopic::default()
                });
                return true;
            }
        };
        let end = topic.partitions.len().min(start.saturating_add(self.left));
        let range = start.min(end)..end;
        self.left -= range.len();
        self.response.topics.push(describe(topic, range));
        if end < topic.partitions.len() {
            self.stop_at(name, end as i32);
            return false;
        }
        true
    }

    fn stop_at(&mut self, topic_name: &str, partition_index: i32) {
        self.response.next_cursor =
            Some(DescribeTopicPartitionsResponseCursor { topic_name: topic_name.to_string(), partition_index });
    }
}

fn describe(topic: &TopicImage, range: std::ops::Range<usize>) -> DescribeTopicPartitionsResponseTopic {
    let partitions = range.map(|index| {
        let partition = &topic.partitions[index];
        DescribeTopicPartitionsResponsePartition {
            partition_index: index as i32,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: in_sync(partition),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    });
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
