//! OffsetDelete: wire to command and back (KIP-496).

use std::sync::Arc;

use coretide_coordinator::command::{OffsetDelete, PartitionResult};
use coretide_coordinator::{Command, GroupError, Reply};
use coretide_wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::group_wait::{ask_group, code_of, partition_exists};
use super::{Handled, Request};
use crate::shard::Shard;

/// Decodes, asks the coordinator, answers when the deletion is durable.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: OffsetDeleteRequest = request.decode()?;
    let group: Arc<str> = asked.group_id.as_str().into();
    let topics = asked.topics.into_iter().map(|topic| {
        let results = topic.partitions.iter().map(|asked| {
            let exists = partition_exists(shard, &topic.name, asked.partition_index);
            let error = (!exists).then_some(GroupError::UnknownTopicOrPartition);
            PartitionResult { partition: asked.partition_index, error }
        });
        let results = results.collect();
        (Arc::from(topic.name), results)
    });
    let command = Command::OffsetDelete(OffsetDelete { group: group.clone(), topics: topics.collect() });
    ask_group(shard, request, &group, command, |head, reply| {
        let Reply::OffsetDelete(result) = reply else { unreachable!("a coordinator answers what it was asked") };
        let error_code = code_of(result.as_ref().err().copied());
        let topics = result.unwrap_or_default().into_iter().map(|(name, results)| OffsetDeleteResponseTopic {
            name: name.to_string(),
            partitions: results
                .into_iter()
                .map(|result| OffsetDeleteResponsePartition {
                    partition_index: result.partition,
                    error_code: code_of(result.error),
                })
                .collect(),
        });
        head.encode(&OffsetDeleteResponse { error_code, topics: topics.collect(), ..OffsetDeleteResponse::default() })
    })
}
