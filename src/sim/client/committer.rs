//! A client that commits offsets without being a member of the group ("simple" group) and asks for them again: the register test
//! of committed offsets, undisturbed by rebalances.

use coretide_wire::api::ApiKey;
use coretide_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use coretide_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use coretide_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};

use super::worker::{Links, Worker};
use super::{Answer, Command, Cx, Shared, Slot, is_retriable};
use crate::judge::{CommitToken, PartitionName, Verdict};

const NEXT: u32 = 1;

/// The client.
#[derive(Debug)]
pub struct Committer {
    group: String,
    committing: Vec<(PartitionName, CommitToken)>,
    fetching_since: Option<u64>,
    next_offset: i64,
    rounds_left: u32,
}

impl Committer {
    /// Commits and asks about `rounds` times.
    pub fn new(group: String, rounds: u32) -> Committer {
        Committer { group, committing: Vec::new(), fetching_since: None, next_offset: 0, rounds_left: rounds }
    }

    fn next(&mut self, cx: &mut Cx<'_>) {
        if self.rounds_left == 0 || (cx.shared.winding_down && self.rounds_left > 1) {
            self.rounds_left = self.rounds_left.min(1);
        }
        // The last round asks, so that what was committed before the last crash is looked at after it.
        match self.rounds_left {
            0 => {}
            1 => self.ask(cx),
            _ if cx.prng.chance(2, 3) => self.commit(cx),
            _ => self.ask(cx),
        }
    }

    fn commit(&mut self, cx: &mut Cx<'_>) {
        self.next_offset += 1;
        let mut topics = Vec::new();
        for topic in cx.shared.topics.clone() {
            let partition = cx.prng.below(topic.partitions as u64) as i32;
            let name = (topic.name.clone(), partition);
            let token = cx.shared.groups.committing(&self.group, &name, self.next_offset, cx.moment);
            self.committing.push((name, token));
            let partitions = vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: self.next_offset,
                committed_metadata: Some(String::new()),
                ..OffsetCommitRequestPartition::default()
            }];
            topics.push(OffsetCommitRequestTopic { name: topic.name, partitions, ..Default::default() });
        }
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: -1,
            topics,
            ..OffsetCommitRequest::default()
        };
        let version = cx.version(2, 9);
        cx.send(0, ApiKey::OffsetCommit, version, &request);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        self.fetching_since = Some(cx.moment);
        let version = cx.version(1, 9);
        let request = offset_fetch_request(&self.group, cx.shared, version, &cx.shared.partitions());
        cx.send(0, ApiKey::OffsetFetch, version, &request);
    }
}

/// An OffsetFetch for these partitions in the form of the version.
pub(super) fn offset_fetch_request(
    group: &str,
    shared: &Shared,
    version: i16,
    partitions: &[PartitionName],
) -> OffsetFetchRequest {
    let of = |name: &str| partitions.iter().filter(|at| at.0 == name).map(|at| at.1).collect::<Vec<i32>>();
    let wanted: Vec<(String, Vec<i32>)> = shared
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), of(&topic.name)))
        .filter(|(_, all)| !all.is_empty())
        .collect();
    if version >= 8 {
        let topic =
            |(name, partition_indexes)| OffsetFetchRequestTopics { name, partition_indexes, ..Default::default() };
        let topics = Some(wanted.into_iter().map(topic).collect());
        let group = OffsetFetchRequestGroup { group_id: group.to_string(), topics, member_id: None, member_epoch: -1 };
        OffsetFetchRequest { groups: vec![group], topics: Some(Vec::new()), ..OffsetFetchRequest::default() }
    } else {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes };
        let topics = Some(wanted.into_iter().map(topic).collect());
        OffsetFetchRequest { group_id: group.to_string(), topics, ..OffsetFetchRequest::default() }
    }
}

/// Offsets of an OffsetFetch response in the form of its version, or the group's error.
pub(super) fn fetched_offsets(answer: &Answer) -> Result<Result<Vec<(PartitionName, i64)>, i16>, String> {
    let response: OffsetFetchResponse = answer.read()?;
    let mut found = Vec::new();
    if answer.version >= 8 {
        let group = response.groups.first().ok_or("OffsetFetch answers without the group")?;
        if group.error_code != 0 {
            return Ok(Err(group.error_code));
        }
        for topic in &group.topics {
            for partition in &topic.partitions {
                if partition.error_code != 0 {
                    return Ok(Err(partition.error_code));
                }
                found.push(((topic.name.clone(), partition.partition_index), partition.committed_offset));
            }
        }
        return Ok(Ok(found));
    }
    if response.error_code != 0 {
        return Ok(Err(response.error_code));
    }
    for topic in &response.topics {
        for partition in &topic.partitions {
            if partition.error_code != 0 {
                return Ok(Err(partition.error_code));
            }
            found.push(((topic.name.clone(), partition.partition_index), partition.committed_offset));
        }
    }
    Ok(Ok(found))
}

/// FindCoordinator for a group.
pub(super) fn find_coordinator(cx: &mut Cx<'_>, slot: Slot, group: &str) {
    let version = cx.version(0, 6);
    let request = if version >= 4 {
        FindCoordinatorRequest { coordinator_keys: vec![group.to_string()], ..FindCoordinatorRequest::default() }
    } else {
        FindCoordinatorRequest { key: group.to_string(), ..FindCoordinatorRequest::default() }
    };
    cx.send(slot, ApiKey::FindCoordinator, version, &request);
}

/// The error of a FindCoordinator response.
pub(super) fn coordinator_error(answer: &Answer) -> Result<i16, String> {
    let response: FindCoordinatorResponse = answer.read()?;
    if answer.version < 4 {
        return Ok(response.error_code);
    }
    let first = response.coordinators.first().ok_or("FindCoordinator answers without the group")?;
    Ok(first.error_code)
}

impl Worker for Committer {
    fn name(&self) -> String {
        format!("committer {}", self.group)
    }

    fn connected(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict {
        find_coordinator(cx, slot, &self.group);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        match answer.key {
            ApiKey::FindCoordinator => match coordinator_error(answer)? {
                0 => cx.timer(1, NEXT),
                code if is_retriable(code) => cx.commands.push(Command::Close(0)),
                code => return Err(format!("FindCoordinator: error {code}")),
            },
            ApiKey::OffsetCommit => {
                let response: OffsetCommitResponse = answer.read()?;
                for topic in &response.topics {
                    for partition in &topic.partitions {
                        let at = (topic.name.clone(), partition.partition_index);
                        let place = self.committing.iter().position(|(name, _)| *name == at);
                        let place = place.ok_or_else(|| format!("OffsetCommit answers {at:?} once too often"))?;
                        let (_, token) = self.committing.remove(place);
                        match partition.error_code {
                            0 => cx.shared.groups.committed(&token, cx.moment),
                            code if is_retriable(code) => {}
                            code => return Err(format!("OffsetCommit of {} {at:?}: error {code}", self.group)),
                        }
                    }
                }
                if !self.committing.is_empty() {
                    return Err("OffsetCommit leaves out partitions".to_string());
                }
                self.rounds_left -= 1;
                cx.timer(20, NEXT);
            }
            _ => {
                let asked_at = self.fetching_since.take().ok_or("an OffsetFetch response nobody asked for")?;
                match fetched_offsets(answer)? {
                    Ok(offsets) => {
                        for (partition, offset) in offsets {
                            cx.shared.groups.fetched(&self.group, &partition, offset, asked_at, cx.moment)?;
                        }
                        self.rounds_left -= 1;
                    }
                    Err(code) if is_retriable(code) => {}
                    Err(code) => return Err(format!("OffsetFetch of {}: error {code}", self.group)),
                }
                cx.timer(20, NEXT);
            }
        }
        Ok(())
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {
        self.committing.clear();
        self.fetching_since = None;
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        let idle = self.committing.is_empty() && self.fetching_since.is_none();
        if timer == NEXT && links.is_open(0) && idle {
            self.next(cx);
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        self.rounds_left == 0
    }
}
