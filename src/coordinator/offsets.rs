//! Committed offsets of one group: who may commit, what a fetch sees, what expires. Rules: protocol.md O1-O3, KIP-211,
//! KIP-496. What a fetch sees is durable; what is on its way to the log is in `writes`. Must never touch: rebalancing.

use crate::command::{
    ByTopic, FetchedOffset, GroupState, OffsetCommit, OffsetDelete, OffsetFetch, PartitionResult, Reply, Token,
};
use crate::error::GroupError;
use crate::group::{Cx, Group};
use crate::record::{OffsetValue, Record};
use crate::writes::Then;
use coretide_model::TopicId;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Group {
    pub fn commit(&mut self, cx: &mut Cx<'_>, commit: OffsetCommit, token: Token) {
        if let Err(error) = self.validate_commit(&commit) {
            return cx.fx.reply(token, refused_commit(&commit, error));
        }
        self.touch(cx, &commit.member_id);
        let (records, results) = commit_records(cx, &self.id, commit);
        let reply = Reply::OffsetCommit(results);
        if records.is_empty() {
            return cx.fx.reply(token, reply);
        }
        cx.writes.push(cx.fx, records, Then::Answer(token, reply));
    }

    fn validate_commit(&self, commit: &OffsetCommit) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        if commit.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        self.validate_member(&commit.member_id, commit.group_instance_id.as_ref())?;
        if commit.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    pub fn fetch(&self, fetch: OffsetFetch) -> ByTopic<FetchedOffset> {
        let Some(topics) = fetch.topics else {
            return self
                .offsets
                .iter()
                .map(|(topic, partitions)| (topic.clone(), partitions.iter().map(|(p, v)| fetched(*p, v)).collect()))
                .collect();
        };
        topics
            .into_iter()
            .map(|(topic, partitions)| {
                let known = self.offsets.get(&topic);
                let look_up = |p: i32| known.and_then(|of| of.get(&p)).map_or_else(|| nothing(p), |v| fetched(p, v));
                let fetched = partitions.into_iter().map(look_up).collect();
                (topic, fetched)
            })
            .collect()
    }

    pub fn delete_offsets(&mut self, cx: &mut Cx<'_>, delete: OffsetDelete, token: Token) {
        let refusal = match self.state {
            GroupState::Dead => Some(GroupError::GroupNotFound),
            GroupState::Empty => None,
            _ if self.is_consumer_group() => None,
            _ => Some(GroupError::NonEmptyGroup),
        };
        if let Some(error) = refusal {
            return cx.fx.reply(token, Reply::OffsetDelete(Err(error)));
        }
        let mut records = Vec::new();
        let mut topics = delete.topics;
        for (topic, partitions) in &mut topics {
            let subscribed = self.is_subscribed(topic);
            for result in partitions.iter_mut().filter(|result| result.error.is_none()) {
                if subscribed {
                    result.error = Some(GroupError::SubscribedToTopic);
                } else if self.has_offset(cx, topic, result.partition) {
                    records.push(self.offset_tombstone(topic, result.partition));
                }
            }
        }
        let reply = Reply::OffsetDelete(Ok(topics));
        if records.is_empty() {
            return cx.fx.reply(token, reply);
        }
        cx.writes.push(cx.fx, records, Then::Answer(token, reply));
    }

    fn has_offset(&self, cx: &Cx<'_>, topic: &str, partition: i32) -> bool {
        self.offsets.get(topic).is_some_and(|of| of.contains_key(&partition))
            || cx.writes.offsets_of(&self.id).any(|(of, p, value)| p == partition && &**of == topic && value.is_some())
    }

    /// Every offset, durable or on its way, as (topic, partition).
    pub fn all_offset_keys(&self, cx: &Cx<'_>) -> BTreeSet<(Arc<str>, i32)> {
        let durable = self.offsets.iter().flat_map(|(topic, of)| of.keys().map(move |p| (topic.clone(), *p)));
        let coming = cx.writes.offsets_of(&self.id).filter(|(_, _, value)| value.is_some());
        durable.chain(coming.map(|(topic, partition, _)| (topic.clone(), partition))).collect()
    }

    pub fn offset_tombstone(&self, topic: &Arc<str>, partition: i32) -> Record {
        Record::Offset { group: self.id.clone(), topic: topic.clone(), partition, value: None }
    }

    /// Tombstones for the offsets whose topic is gone or was made anew; `current` says a topic's id.
    pub fn offsets_of_gone_topics(&self, cx: &Cx<'_>, current: &dyn Fn(&str) -> Option<TopicId>) -> Vec<Record> {
        let is_gone = |topic: &str, value: &OffsetValue| match current(topic) {
            None => true,
            Some(id) => value.topic_id != TopicId::ZERO && value.topic_id != id,
        };
        let durable = self.offsets.iter().flat_map(|(topic, of)| of.iter().map(move |(p, v)| (topic, *p, v)));
        let coming = cx.writes.offsets_of(&self.id).filter_map(|(topic, p, value)| Some((topic, p, value?)));
        let gone: BTreeSet<(Arc<str>, i32)> = durable
            .chain(coming)
            .filter(|(topic, _, value)| is_gone(topic, value))
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect();
        gone.iter().map(|(topic, partition)| self.offset_tombstone(topic, *partition)).collect()
    }

    /// Tombstones for the offsets whose time is over, and whether that was all of them. Nothing expires while the group is
    /// rebalancing (KAFKA-13636).
    pub fn expired_offsets(&self, now_ms: i64, retention_ms: i64) -> (Vec<Record>, bool) {
        let mut expired = Vec::new();
        let mut left = false;
        for (topic, partitions) in &self.offsets {
            for (partition, value) in partitions {
                let over = match (self.expiry_base_ms(topic, value), value.expire_timestamp_ms) {
                    (None, _) => false,
                    (Some(_), Some(expire_ms)) => now_ms >= expire_ms,
                    (Some(base_ms), None) => now_ms.saturating_sub(base_ms) >= retention_ms,
                };
                if over {
                    expired.push(self.offset_tombstone(topic, *partition));
                } else {
                    left = true;
                }
            }
        }
        (expired, !left)
    }

    /// From when an offset's retention counts; none when it must stay.
    fn expiry_base_ms(&self, topic: &str, value: &OffsetValue) -> Option<i64> {
        match self.state {
            GroupState::Empty if self.protocol_type.is_none() => Some(value.commit_timestamp_ms),
            GroupState::Empty => Some(self.state_since_ms.max(value.commit_timestamp_ms)),
            GroupState::Stable if self.is_consumer_group() => {
                (!self.is_subscribed(topic)).then_some(value.commit_timestamp_ms)
            }
            _ => None,
        }
    }
}

/// The same error for every partition that the asker did not refuse itself.
pub(crate) fn refused_commit(commit: &OffsetCommit, error: GroupError) -> Reply {
    let topics = commit.topics.iter().map(|topic| {
        let results = topic
            .partitions
            .iter()
            .map(|p| PartitionResult { partition: p.partition, error: Some(p.refused.unwrap_or(error)) });
        (topic.name.clone(), results.collect())
    });
    Reply::OffsetCommit(topics.collect())
}

fn commit_records(cx: &Cx<'_>, group: &Arc<str>, commit: OffsetCommit) -> (Vec<Record>, ByTopic<PartitionResult>) {
    let now_ms = cx.now.wall_ms;
    let max_metadata = usize::try_from(cx.config.offset_metadata_max_bytes).unwrap_or(0);
    let expire_timestamp_ms = commit.retention_ms.map(|ms| now_ms.saturating_add(ms));
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(commit.topics.len());
    for topic in commit.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for part in topic.partitions {
            let too_large = || is_longer(&part.metadata, max_metadata).then_some(GroupError::OffsetMetadataTooLarge);
            let error = part.refused.or_else(too_large);
            partitions.push(PartitionResult { partition: part.partition, error });
            if error.is_none() {
                let value = OffsetValue {
                    offset: part.offset,
                    leader_epoch: part.leader_epoch,
                    metadata: part.metadata,
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms,
                    topic_id: topic.topic_id,
                };
                records.push(Record::Offset {
                    group: group.clone(),
                    topic: topic.name.clone(),
                    partition: part.partition,
                    value: Some(value),
                });
            }
        }
        results.push((topic.name, partitions));
    }
    (records, results)
}

/// Longer than so many UTF-16 units, which is how Kafka counts `offset.metadata.max.bytes`.
fn is_longer(text: &str, max: usize) -> bool {
    text.len() > max && text.encode_utf16().count() > max
}

fn fetched(partition: i32, value: &OffsetValue) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.clone(),
    }
}

/// Nothing was committed: no error (protocol.md O2).
pub(crate) fn nothing(partition: i32) -> FetchedOffset {
    FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: Arc::from("") }
}
