//! ListOffsets (key 2): offsets by time and by special timestamps (L1 to L3; KIP-79, KIP-207, KIP-734).

use std::collections::BTreeMap;

use coretide_model::ErrorCode;
use coretide_partition::{Isolation, ListTarget, ListedOffset};
use coretide_wire::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use super::owners::{Question, Said, ask, find};
use super::{Handled, Head, Request};
use crate::mail::{PartitionQuestion, PartitionReply};
use crate::shard::Shard;

/// The special timestamps that not every version knows, with the first one that does.
const SPECIAL_FROM: [(i64, i16); 4] = [(-3, 7), (-4, 8), (-5, 9), (-6, 11)];
/// The first version whose answer has a leader epoch (KIP-320).
const LEADER_EPOCH_FROM: i16 = 4;

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: ListOffsetsRequest = request.decode()?;
    let mut times: BTreeMap<(&str, i32), u32> = BTreeMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            *times.entry((&topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let isolation = if asked.isolation_level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let mut questions: Vec<Question> = Vec::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let question = || {
                if times.get(&(topic.name.as_str(), index)).is_some_and(|times| *times > 1) {
                    return Err(ErrorCode::InvalidRequest);
                }
                let target = target(partition.timestamp, request.head.version)?;
                let tp = find(shard, &topic.name, index)?;
                let current_leader_epoch = partition.current_leader_epoch;
                Ok((tp, PartitionQuestion::ListOffsets { target, isolation, current_leader_epoch }))
            };
            questions.push(question());
        }
    }
    let timeout_ms = asked.timeout_ms;
    ask(shard, request, timeout_ms, asked, questions, encode)
}

/// What a timestamp means in a version of the request (L1).
fn target(timestamp: i64, version: i16) -> Result<ListTarget, ErrorCode> {
    if SPECIAL_FROM.iter().any(|(special, from)| *special == timestamp && version < *from) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    ListTarget::from_wire(timestamp).ok_or(ErrorCode::UnsupportedVersion)
}

fn encode(head: &Head, asked: ListOffsetsRequest, said: Vec<Said>) -> Handled {
    let mut said = said.into_iter();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partitions.iter().zip(said.by_ref()).map(|(partition, said)| {
            let (error, listed) = match said {
                Ok(PartitionReply::ListOffsets(listed)) => (ErrorCode::None, listed),
                Ok(_) => (ErrorCode::UnknownServerError, ListedOffset::NONE),
                Err(error) => (error, ListedOffset::NONE),
            };
            ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code: error.code(),
                timestamp: listed.timestamp_ms,
                offset: listed.offset,
                leader_epoch: if head.version >= LEADER_EPOCH_FROM { listed.leader_epoch } else { -1 },
            }
        });
        topics.push(ListOffsetsTopicResponse { partitions: partitions.collect(), name: topic.name });
    }
    head.encode(&ListOffsetsResponse { throttle_time_ms: 0, topics })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_special_timestamps_have_a_first_version() {
        for (timestamp, from) in SPECIAL_FROM {
            assert_eq!(target(timestamp, from - 1), Err(ErrorCode::UnsupportedVersion));
            assert!(target(timestamp, from).is_ok());
        }
        assert_eq!(target(-1, 1), Ok(ListTarget::Latest));
        assert_eq!(target(-7, 11), Err(ErrorCode::UnsupportedVersion));
    }
}
