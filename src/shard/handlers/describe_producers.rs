//! DescribeProducers (key 61): the idempotent producers of partitions (KIP-664).

use coretide_model::ErrorCode;
use coretide_wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use super::owners::{Question, Said, ask, find};
use super::{Handled, Head, Request};
use crate::mail::{PartitionQuestion, PartitionReply};
use crate::shard::Shard;

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: DescribeProducersRequest = request.decode()?;
    let mut questions: Vec<Question> = Vec::new();
    for topic in &asked.topics {
        for index in &topic.partition_indexes {
            questions.push(find(shard, &topic.name, *index).map(|tp| (tp, PartitionQuestion::DescribeProducers)));
        }
    }
    ask(shard, request, 0, asked, questions, encode)
}

fn encode(head: &Head, asked: DescribeProducersRequest, said: Vec<Said>) -> Handled {
    let mut said = said.into_iter();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partition_indexes.iter().zip(said.by_ref()).map(|(index, said)| {
            let (error, producers) = match said {
                Ok(PartitionReply::DescribeProducers(producers)) => (ErrorCode::None, producers),
                Ok(_) => (ErrorCode::UnknownServerError, Vec::new()),
                Err(error) => (error, Vec::new()),
            };
            let to_wire = |producer: &coretide_partition::ProducerDescription| ProducerState {
                producer_id: producer.producer_id,
                producer_epoch: i32::from(producer.producer_epoch),
                last_sequence: producer.last_sequence,
                last_timestamp: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_start_offset: producer.current_txn_start_offset,
            };
            PartitionResponse {
                partition_index: *index,
                error_code: error.code(),
                error_message: None,
                active_producers: producers.iter().map(to_wire).collect(),
            }
        });
        topics.push(TopicResponse { partitions: partitions.collect(), name: topic.name });
    }
    head.encode(&DescribeProducersResponse { throttle_time_ms: 0, topics })
}
