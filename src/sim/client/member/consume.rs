//! A member's work on its partitions: fetching and committing, the latter now and then in the name of what it was before. Must
//! never touch: its place in the group.

use std::collections::BTreeMap;

use coretide_wire::api::ApiKey;
use coretide_wire::messages::fetch::{FetchPartition, FetchResponse};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};

use super::super::worker::{fetch_request, fetch_topic, wanted};
use super::super::{Answer, Cx, is_retriable};
use super::{COORDINATOR, FETCH, FETCHING, Member, State};
use crate::judge::{Claim, PartitionName, Verdict};
use crate::records::decode_batches;

/// No member ever reaches this offset.
const HAUNTED_OFFSET: i64 = 1_000_000_000;

impl Member {
    pub(super) fn commit(&mut self, cx: &mut Cx<'_>) {
        let moved = |(partition, &position): (&PartitionName, &i64)| {
            (self.committed.get(partition).copied().unwrap_or(-1) < position).then(|| (partition.clone(), position))
        };
        let due: Vec<(PartitionName, i64)> = self.positions.iter().filter_map(moved).collect();
        if due.is_empty() || !self.committing.is_empty() {
            return;
        }
        for (partition, position) in &due {
            let token = cx.shared.groups.committing(&self.group, partition, *position, cx.moment);
            self.committing.push((partition.clone(), *position, token));
        }
        let claim = self.claim(cx.moment);
        self.send_commit(cx, &claim, due);
        self.commit_claim = Some(claim);
    }

    fn send_commit(&self, cx: &mut Cx<'_>, claim: &Claim, offsets: Vec<(PartitionName, i64)>) -> i32 {
        let mut topics: BTreeMap<String, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((name, partition_index), committed_offset) in offsets {
            topics.entry(name).or_default().push(OffsetCommitRequestPartition {
                partition_index,
                committed_offset,
                committed_metadata: Some("m".to_string()),
                ..OffsetCommitRequestPartition::default()
            });
        }
        let topic = |(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: claim.group.clone(),
            generation_id_or_member_epoch: claim.generation,
            member_id: claim.member_id.clone(),
            group_instance_id: claim.instance.clone(),
            topics: topics.into_iter().map(topic).collect(),
            ..OffsetCommitRequest::default()
        };
        let version = self.version(cx, 2, 9, 7);
        cx.send(COORDINATOR, ApiKey::OffsetCommit, version, &request)
    }

    pub(super) fn on_committed(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: OffsetCommitResponse = answer.read()?;
        if let Some(claim) = self.haunting.remove(&answer.correlation) {
            return haunted(cx, &claim, &response);
        }
        let claim = self.commit_claim.take().ok_or("a commit that nobody sent")?;
        let mut worst = 0;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let at = (topic.name.clone(), partition.partition_index);
                let place = self.committing.iter().position(|(name, ..)| *name == at);
                let place = place.ok_or_else(|| format!("OffsetCommit answers {at:?} once too often"))?;
                let (_, position, token) = self.committing.remove(place);
                match partition.error_code {
                    0 => {
                        cx.shared.members.accepted("OffsetCommit", &claim)?;
                        cx.shared.groups.committed(&token, cx.moment);
                        if self.positions.contains_key(&at) {
                            self.committed.insert(at, position);
                        }
                    }
                    code @ (22 | 25 | 27 | 82) => {
                        cx.shared.groups.refused(&token);
                        worst = code;
                    }
                    code => worst = code,
                }
            }
        }
        if !self.committing.is_empty() {
            return Err("OffsetCommit leaves out partitions".to_string());
        }
        if worst != 0 && self.state == State::Stable && claim.generation == self.generation {
            return self.rejoin(cx, worst);
        }
        Ok(())
    }

    /// Commits as what it was before. The judge of offsets is not told, so that any effect of it is found.
    pub(super) fn haunt(&mut self, cx: &mut Cx<'_>) {
        let Some((member_id, generation)) = self.past.take() else { return };
        let claim = Claim { member_id, generation, ..self.claim(cx.moment) };
        // A death of the broker may have taken back what made this the past.
        if cx.shared.members.accepted("OffsetCommit", &claim).is_ok() {
            return;
        }
        let offsets = cx.shared.partitions().into_iter().map(|partition| (partition, HAUNTED_OFFSET)).collect();
        let correlation = self.send_commit(cx, &claim, offsets);
        self.haunting.insert(correlation, claim);
    }

    pub(super) fn fetch(&mut self, cx: &mut Cx<'_>) {
        let mut topics: BTreeMap<&String, Vec<FetchPartition>> = BTreeMap::new();
        for ((name, partition), &position) in &self.positions {
            topics.entry(name).or_default().push(wanted(*partition, position, 20_000));
        }
        let topics = topics.into_iter().map(|(name, partitions)| fetch_topic(name, None, partitions)).collect();
        self.fetching = Some(self.positions.clone());
        cx.send(FETCHING, ApiKey::Fetch, 12, &fetch_request(topics, 100_000, 200));
    }

    pub(super) fn on_fetched(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: FetchResponse = answer.read()?;
        let asked = self.fetching.take().ok_or("a Fetch response nobody asked for")?;
        let pause_ms = 1 + cx.prng.below(60);
        cx.timer(pause_ms, FETCH);
        for topic in &response.responses {
            for data in &topic.partitions {
                let partition = (topic.topic.clone(), data.partition_index);
                let position = *asked.get(&partition).ok_or("Fetch gives a partition that nobody asked for")?;
                if matches!(data.error_code, 0 | 1) && data.log_start_offset >= 0 {
                    cx.shared.log.starts_at(&partition, data.log_start_offset)?;
                }
                match data.error_code {
                    0 => {}
                    1 if position < cx.shared.log.log_start(&partition) => {
                        self.move_on(&partition, position, data.log_start_offset);
                        continue;
                    }
                    code if is_retriable(code) => continue,
                    code => return Err(format!("Fetch of {partition:?} at {position}: error {code}")),
                }
                let records = decode_batches(data.records.as_deref().unwrap_or_default())?;
                cx.shared.log.read(&partition, position, &records, data.high_watermark)?;
                if let Some(last) = records.last() {
                    self.move_on(&partition, position, last.offset + 1);
                }
            }
        }
        Ok(())
    }

    /// Moves a position, unless the partition was given away (or given back elsewhere) meanwhile.
    fn move_on(&mut self, partition: &PartitionName, from: i64, to: i64) {
        if let Some(position) = self.positions.get_mut(partition)
            && *position == from
        {
            *position = to.max(from);
        }
    }
}

/// What came of a request in the name of the past.
fn haunted(cx: &mut Cx<'_>, claim: &Claim, response: &OffsetCommitResponse) -> Verdict {
    for code in response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code) {
        match code {
            0 => {
                cx.shared.members.accepted("OffsetCommit", claim)?;
                return Err(format!("C4: the past commits: {claim:?}"));
            }
            22 | 25 | 27 | 82 => {}
            code if is_retriable(code) => {}
            code => return Err(format!("C4: {claim:?} is refused with error {code}")),
        }
    }
    cx.shared.members.fenced += 1;
    Ok(())
}
