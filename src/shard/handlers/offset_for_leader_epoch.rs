//! OffsetForLeaderEpoch (key 23): where a leader epoch ends (E1; KIP-101, KIP-320).

use coretide_model::ErrorCode;
use coretide_partition::EpochEnd;
use coretide_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use super::owners::{Question, Said, ask, find};
use super::{Handled, Head, Request};
use crate::mail::{PartitionQuestion, PartitionReply};
use crate::shard::Shard;

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: OffsetForLeaderEpochRequest = request.decode()?;
    let mut questions: Vec<Question> = Vec::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            let question = PartitionQuestion::EpochEnd {
                leader_epoch: partition.leader_epoch,
                current_leader_epoch: partition.current_leader_epoch,
            };
            questions.push(find(shard, &topic.topic, partition.partition).map(|tp| (tp, question)));
        }
    }
    ask(shard, request, 0, asked, questions, encode)
}

fn encode(head: &Head, asked: OffsetForLeaderEpochRequest, said: Vec<Said>) -> Handled {
    let mut said = said.into_iter();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partitions.iter().zip(said.by_ref()).map(|(partition, said)| {
            let (error, end) = match said {
                Ok(PartitionReply::EpochEnd(end)) => (ErrorCode::None, end),
                Ok(_) => (ErrorCode::UnknownServerError, EpochEnd::UNDEFINED),
                Err(error) => (error, EpochEnd::UNDEFINED),
            };
            EpochEndOffset {
                error_code: error.code(),
                partition: partition.partition,
                leader_epoch: end.epoch,
                end_offset: end.end_offset,
            }
        });
        topics.push(OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic });
    }
    head.encode(&OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics })
}
