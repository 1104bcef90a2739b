//! DeleteRecords (key 21): moves the start of logs (C3; KIP-107).

use coretide_model::ErrorCode;
use coretide_wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use super::owners::{Question, Said, ask, find};
use super::{Handled, Head, Request};
use crate::mail::{PartitionQuestion, PartitionReply};
use crate::shard::Shard;

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DeleteRecordsRequest = request.decode()?;
    let mut questions: Vec<Question> = Vec::new();
    for topic in &asked.topics {
        let is_internal = shard.image.topic_named(&topic.name).is_some_and(|topic| topic.internal);
        for partition in &topic.partitions {
            let question = PartitionQuestion::DeleteRecords { offset: partition.offset };
            questions.push(match find(shard, &topic.name, partition.partition_index) {
                Ok(_) if is_internal => Err(ErrorCode::InvalidTopicException),
                found => found.map(|tp| (tp, question)),
            });
        }
    }
    let timeout_ms = asked.timeout_ms;
    ask(shard, request, timeout_ms, asked, questions, encode)
}

fn encode(head: &Head, asked: DeleteRecordsRequest, said: Vec<Said>) -> Handled {
    let mut said = said.into_iter();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partitions.iter().zip(said.by_ref()).map(|(partition, said)| {
            let (error, low_watermark) = match said {
                Ok(PartitionReply::DeleteRecords(low_watermark)) => (ErrorCode::None, low_watermark),
                Ok(_) => (ErrorCode::UnknownServerError, -1),
                Err(error) => (error, -1),
            };
            let partition_index = partition.partition_index;
            DeleteRecordsPartitionResult { partition_index, low_watermark, error_code: error.code() }
        });
        topics.push(DeleteRecordsTopicResult { partitions: partitions.collect(), name: topic.name });
    }
    head.encode(&DeleteRecordsResponse { throttle_time_ms: 0, topics })
}
