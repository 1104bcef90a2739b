//! OffsetCommit: wire to command and back (O1). The topics are checked here, where the cluster's state is.

use std::sync::Arc;

use coretide_coordinator::command::{ByTopic, CommitPartition, CommitTopic, OffsetCommit, PartitionResult};
use coretide_coordinator::{Command, GroupError, Reply};
use coretide_model::TopicId;
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};

use super::group_wait::{ask_group, code_of, partition_exists};
use super::{Handled, Request};
use crate::shard::Shard;

/// Decodes, asks the coordinator, answers when the offsets are durable.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: OffsetCommitRequest = request.decode()?;
    let group: Arc<str> = asked.group_id.as_str().into();
    let topics = asked.topics.into_iter().map(|topic| commit_topic(shard, topic)).collect();
    let command = Command::OffsetCommit(OffsetCommit {
        group: group.clone(),
        generation: asked.generation_id_or_member_epoch,
        member_id: asked.member_id.into(),
        group_instance_id: asked.group_instance_id.map(Arc::from),
        retention_ms: Some(asked.retention_time_ms).filter(|ms| *ms >= 0),
        topics,
    });
    ask_group(shard, request, &group, command, |head, reply| {
        let Reply::OffsetCommit(topics) = reply else { unreachable!("a coordinator answers what it was asked") };
        head.encode(&response(topics))
    })
}

fn commit_topic(shard: &Shard, topic: OffsetCommitRequestTopic) -> CommitTopic {
    let partitions = topic.partitions.into_iter().map(|asked| {
        let exists = partition_exists(shard, &topic.name, asked.partition_index);
        CommitPartition {
            partition: asked.partition_index,
            offset: asked.committed_offset,
            leader_epoch: asked.committed_leader_epoch,
            metadata: asked.committed_metadata.unwrap_or_default().into(),
            refused: (!exists).then_some(GroupError::UnknownTopicOrPartition),
        }
    });
    CommitTopic {
        partitions: partitions.collect(),
        topic_id: shard.image.topic_named(&topic.name).map_or(TopicId::ZERO, |known| known.id),
        name: topic.name.into(),
    }
}

fn response(topics: ByTopic<PartitionResult>) -> OffsetCommitResponse {
    let topic = |(name, partitions): (Arc<str>, Vec<PartitionResult>)| OffsetCommitResponseTopic {
        name: name.to_string(),
        partitions: partitions
            .into_iter()
            .map(|result| OffsetCommitResponsePartition {
                partition_index: result.partition,
                error_code: code_of(result.error),
            })
            .collect(),
        ..OffsetCommitResponseTopic::default()
    };
    OffsetCommitResponse { topics: topics.into_iter().map(topic).collect(), ..OffsetCommitResponse::default() }
}
