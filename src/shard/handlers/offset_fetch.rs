//! OffsetFetch: wire to commands and back (O2); one group up to version 7, several from 8 on (KIP-709).

use std::sync::Arc;

use coretide_coordinator::command::{ByTopic, FetchedOffset, OffsetFetch};
use coretide_coordinator::{Command, GroupError, Reply};
use coretide_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::group_wait::{GroupAsk, ask_groups, code_of};
use super::{Handled, Request};
use crate::shard::Shard;

/// The first version with an error for the whole group.
const FIRST_WITH_ERROR: i16 = 2;
/// The first version that names several groups.
const FIRST_WITH_GROUPS: i16 = 8;

/// What one group is asked.
struct Asked {
    group: Arc<str>,
    topics: Option<ByTopic<i32>>,
}

/// Decodes, asks the coordinators, answers with what is durable. `require_stable` needs transactions to mean anything.
pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked = asked(request.decode()?, request.head.version);
    let asks = asked.iter().map(|one| {
        let (group, topics) = (one.group.clone(), one.topics.clone());
        GroupAsk { group: group.clone(), command: Command::OffsetFetch(OffsetFetch { group, topics }) }
    });
    let asks = asks.collect();
    ask_groups(shard, request, asks, move |head, replies| head.encode(&response(asked, replies, head.version)))
}

fn asked(request: OffsetFetchRequest, version: i16) -> Vec<Asked> {
    if version < FIRST_WITH_GROUPS {
        let topics = request.topics.map(|of| of.into_iter().map(|t| (t.name.into(), t.partition_indexes)).collect());
        return vec![Asked { group: request.group_id.into(), topics }];
    }
    let group = |group: coretide_wire::messages::offset_fetch::OffsetFetchRequestGroup| Asked {
        group: group.group_id.into(),
        topics: group.topics.map(|of| of.into_iter().map(|t| (t.name.into(), t.partition_indexes)).collect()),
    };
    request.groups.into_iter().map(group).collect()
}

fn response(asked: Vec<Asked>, replies: Vec<Reply>, version: i16) -> OffsetFetchResponse {
    let mut answered = asked.into_iter().zip(replies).map(|(asked, reply)| {
        let Reply::OffsetFetch(result) = reply else { unreachable!("a coordinator answers what it was asked") };
        (asked, result)
    });
    if version >= FIRST_WITH_GROUPS {
        let groups = answered.map(|(asked, result)| group_response(&asked.group, result)).collect();
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let Some((asked, result)) = answered.next() else { return OffsetFetchResponse::default() };
    match result {
        Ok(topics) => OffsetFetchResponse { topics: single_topics(topics, 0), ..OffsetFetchResponse::default() },
        Err(error) if version >= FIRST_WITH_ERROR => {
            OffsetFetchResponse { error_code: code_of(Some(error)), ..OffsetFetchResponse::default() }
        }
        Err(error) => {
            let topics = asked.topics.unwrap_or_default().into_iter();
            let unknown = topics.map(|(name, of)| (name, of.into_iter().map(unknown_offset).collect())).collect();
            OffsetFetchResponse {
                topics: single_topics(unknown, code_of(Some(error))),
                ..OffsetFetchResponse::default()
            }
        }
    }
}

fn unknown_offset(partition: i32) -> FetchedOffset {
    FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: "".into() }
}

fn single_topics(topics: ByTopic<FetchedOffset>, error_code: i16) -> Vec<OffsetFetchResponseTopic> {
    let partition = |offset: FetchedOffset| OffsetFetchResponsePartition {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata.to_string()),
        error_code,
    };
    topics
        .into_iter()
        .map(|(name, of)| OffsetFetchResponseTopic {
            name: name.to_string(),
            partitions: of.into_iter().map(partition).collect(),
        })
        .collect()
}

fn group_response(group: &str, result: Result<ByTopic<FetchedOffset>, GroupError>) -> OffsetFetchResponseGroup {
    let partition = |offset: FetchedOffset| OffsetFetchResponsePartitions {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata.to_string()),
        error_code: 0,
    };
    let error_code = code_of(result.as_ref().err().copied());
    let topics = result.unwrap_or_default().into_iter().map(|(name, of)| OffsetFetchResponseTopics {
        name: name.to_string(),
        partitions: of.into_iter().map(partition).collect(),
        ..OffsetFetchResponseTopics::default()
    });
    OffsetFetchResponseGroup { group_id: group.to_string(), topics: topics.collect(), error_code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_wire::encode_response;

    #[test]
    fn every_version_can_say_offsets_and_errors() {
        let found = FetchedOffset { partition: 1, offset: 5, leader_epoch: 2, metadata: "m".into() };
        let results =
            [Reply::OffsetFetch(Ok(vec![("t".into(), vec![found])])), Reply::OffsetFetch(Err(GroupError::Loading))];
        for version in 1..=9 {
            for reply in &results {
                let asked = vec![Asked { group: "g".into(), topics: Some(vec![("t".into(), vec![1])]) }];
                let response = response(asked, vec![reply.clone()], version);
                encode_response(&response, version, 1).expect("every version can say it");
                let is_error = *reply == results[1];
                let code = match version {
                    1 => response.topics[0].partitions[0].error_code,
                    2..8 => response.error_code,
                    _ => response.groups[0].error_code,
                };
                assert_eq!(code, if is_error { 14 } else { 0 }, "version {version}");
            }
        }
    }
}
