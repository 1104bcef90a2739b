//! A client that creates a topic, writes to it, reads it back, deletes it and creates it again under the same name, all the
//! time. It is the only one that knows its topic, so it judges the topic itself: what was acked is there as long as the topic
//! is, what was deleted is gone, and nothing of a topic is found in the next one of the same name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coretide_model::TopicId;
use coretide_wire::api::ApiKey;
use coretide_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use coretide_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use coretide_wire::messages::fetch::FetchResponse;
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse};

use super::worker::{Links, Worker, fetch_request, fetch_topic, produce_topic, wanted};
use super::{Answer, Cx, Shared, Slot, is_retriable};
use crate::judge::Verdict;
use crate::records::{CODECS, RecordId, Sequenced, decode_batches, encode_batch_in};

const NEXT: u32 = 1;

const WORK: Slot = 0;
/// Where a fetch waits while the topic goes.
const WATCH: Slot = 1;

/// Records of churned topics have numbers of their own.
const FIRST_ID: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// Ask for its id.
    Find,
    Write,
    Read,
    Delete,
    /// It must not be found any more.
    Miss,
}

/// The client.
#[derive(Debug)]
pub struct Churner {
    label: u64,
    name: String,
    partitions: i32,
    step: Step,
    can_watch: bool,
    busy: bool,
    id: u128,
    /// The ids of all topics that had the name.
    gone: BTreeSet<u128>,
    acked: BTreeMap<(i32, i64), RecordId>,
    /// Sent to this topic, in whichever partition.
    sent: BTreeMap<RecordId, i32>,
    next_id: u64,
    writing: Option<(i32, Vec<RecordId>)>,
    writes_left: u64,
    reading: i32,
    watching: bool,
    rounds_left: u32,
}

impl Churner {
    /// Creates and deletes a topic `rounds` times.
    pub fn new(label: u64, rounds: u32) -> Churner {
        Churner {
            label,
            name: format!("churn{label}"),
            partitions: 1 + (label % 3) as i32,
            step: Step::Create,
            can_watch: false,
            busy: false,
            id: 0,
            gone: BTreeSet::new(),
            acked: BTreeMap::new(),
            sent: BTreeMap::new(),
            next_id: FIRST_ID + (label << 32),
            writing: None,
            writes_left: 0,
            reading: 0,
            watching: false,
            rounds_left: rounds,
        }
    }

    fn next(&mut self, cx: &mut Cx<'_>) {
        self.busy = true;
        match self.step {
            Step::Create => {
                if self.rounds_left == 0 || cx.shared.winding_down {
                    (self.rounds_left, self.busy) = (0, false);
                    return;
                }
                let (name, num_partitions) = (self.name.clone(), self.partitions);
                let topic = CreatableTopic { name, num_partitions, replication_factor: 1, ..CreatableTopic::default() };
                let version = cx.version(2, 7);
                let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, validate_only: false };
                cx.send(WORK, ApiKey::CreateTopics, version, &request);
            }
            Step::Find | Step::Miss => {
                let topic = MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some(self.name.clone()) };
                let request = MetadataRequest {
                    topics: Some(vec![topic]),
                    allow_auto_topic_creation: false,
                    ..MetadataRequest::default()
                };
                let version = cx.version(10, 13);
                cx.send(WORK, ApiKey::Metadata, version, &request);
            }
            Step::Write => self.write(cx),
            Step::Read => self.fetch(cx, WORK, self.reading, 0),
            Step::Delete => self.delete(cx),
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>) {
        let partition = cx.prng.below(self.partitions as u64) as i32;
        let ids: Vec<RecordId> = (0..1 + cx.prng.below(5)).map(|delta| RecordId(self.next_id + delta)).collect();
        self.next_id += ids.len() as u64;
        self.sent.extend(ids.iter().map(|&id| (id, partition)));
        let codec = CODECS[cx.prng.below(CODECS.len() as u64) as usize];
        let records = Some(Bytes::from(encode_batch_in(codec, &ids, cx.wall_ms, Sequenced::NONE)));
        self.writing = Some((partition, ids));
        let version = cx.version(7, 13);
        let id = (version >= 13).then_some(self.id);
        let topic = produce_topic(&self.name, id, vec![PartitionProduceData { index: partition, records }]);
        let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] };
        cx.send(WORK, ApiKey::Produce, version, &request);
    }

    /// Writes to the topic by its id while it goes; nobody reads what comes of it.
    fn write_to_the_end(&mut self, cx: &mut Cx<'_>) {
        let id = RecordId(self.next_id);
        self.next_id += 1;
        let records = Some(Bytes::from(encode_batch_in(CODECS[0], &[id], cx.wall_ms, Sequenced::NONE)));
        let index = cx.prng.below(self.partitions as u64) as i32;
        let topic = produce_topic(&self.name, Some(self.id), vec![PartitionProduceData { index, records }]);
        let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] };
        cx.send(WATCH, ApiKey::Produce, 13, &request);
    }

    fn fetch(&mut self, cx: &mut Cx<'_>, slot: Slot, partition: i32, max_wait_ms: i32) {
        let by_id = slot == WORK || self.label.is_multiple_of(2);
        let from = if slot == WATCH { self.end(partition) } else { 0 };
        let topic = fetch_topic(&self.name, by_id.then_some(self.id), vec![wanted(partition, from, 1 << 20)]);
        let request = fetch_request(vec![topic], 4 << 20, max_wait_ms);
        cx.send(slot, ApiKey::Fetch, if by_id { 13 } else { 12 }, &request);
    }

    fn end(&self, partition: i32) -> i64 {
        self.acked.range((partition, 0)..(partition + 1, 0)).next_back().map_or(0, |((_, offset), _)| offset + 1)
    }

    fn delete(&mut self, cx: &mut Cx<'_>) {
        if self.can_watch && !self.watching {
            self.watching = true;
            if cx.prng.chance(1, 2) {
                self.fetch(cx, WATCH, 0, 3000);
            } else {
                self.write_to_the_end(cx);
            }
        }
        let version = cx.version(1, 6);
        let by_id = version >= 6 && cx.prng.chance(1, 2);
        let state = DeleteTopicState {
            name: (!by_id).then(|| self.name.clone()),
            topic_id: if by_id { TopicId(self.id) } else { TopicId::ZERO },
        };
        let request = DeleteTopicsRequest {
            topics: if version >= 6 { vec![state] } else { Vec::new() },
            topic_names: if version >= 6 { Vec::new() } else { vec![self.name.clone()] },
            timeout_ms: 5000,
        };
        cx.send(WORK, ApiKey::DeleteTopics, version, &request);
    }

    fn on_found(&mut self, response: &MetadataResponse) -> Verdict {
        let topic = response.topics.first().ok_or("Metadata answers without the topic")?;
        match (self.step, topic.error_code) {
            (Step::Find, 0) if self.gone.contains(&topic.topic_id.0) => {
                Err(format!("C: {} has the id of a topic that was deleted", self.name))
            }
            (Step::Find, 0) if topic.partitions.len() as i32 != self.partitions => {
                Err(format!("C: {} has {} partitions", self.name, topic.partitions.len()))
            }
            (Step::Find, 0) => {
                self.id = topic.topic_id.0;
                self.step = Step::Write;
                Ok(())
            }
            (Step::Miss, 3) => {
                self.gone.insert(self.id);
                self.acked.clear();
                self.sent.clear();
                self.rounds_left -= 1;
                self.step = Step::Create;
                Ok(())
            }
            (_, code) if code != 3 && is_retriable(code) => Ok(()),
            (step, code) => Err(format!("C: Metadata of {}: error {code} in step {step:?}", self.name)),
        }
    }

    fn on_written(&mut self, response: &ProduceResponse) -> Verdict {
        let (partition, ids) = self.writing.take().ok_or("a Produce response nobody asked for")?;
        let topic = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let found = topic.ok_or("Produce answers without the partition")?;
        match found.error_code {
            0 => {
                for (delta, id) in ids.into_iter().enumerate() {
                    let at = (partition, found.base_offset + delta as i64);
                    if let Some(before) = self.acked.insert(at, id) {
                        return Err(format!("L3: {} {at:?} was acked for {before:?} and {id:?}", self.name));
                    }
                }
                self.writes_left = self.writes_left.saturating_sub(1);
                if self.writes_left == 0 {
                    (self.step, self.reading) = (Step::Read, 0);
                }
                Ok(())
            }
            // It exists, but the disk may be bad.
            3 | 100 => Err(format!("C: Produce to {}, which exists: error {}", self.name, found.error_code)),
            code if is_retriable(code) => Ok(()),
            code => Err(format!("Produce to {}: error {code}", self.name)),
        }
    }

    fn on_read(&mut self, response: &FetchResponse) -> Verdict {
        let found = response.responses.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or("Fetch answers without the partition")?;
        match found.error_code {
            0 => {}
            3 | 100 => return Err(format!("C: Fetch of {}, which exists: error {}", self.name, found.error_code)),
            code if is_retriable(code) => return Ok(()),
            code => return Err(format!("Fetch of {}: error {code}", self.name)),
        }
        let records = decode_batches(found.records.as_deref().unwrap_or_default())?;
        let mut there = BTreeMap::new();
        for record in &records {
            let id = record.id().filter(|id| self.sent.get(id) == Some(&self.reading));
            let id =
                id.ok_or_else(|| format!("L2: {} holds at {} what nobody sent to it", self.name, record.offset))?;
            there.insert(record.offset, id);
        }
        // A response may end early; what it covers must be there.
        let end = records.last().map_or(0, |last| last.offset + 1);
        let due = self.acked.range((self.reading, 0)..(self.reading, end.max(1)));
        for (&(_, offset), id) in due {
            if there.get(&offset) != Some(id) {
                return Err(format!("L1: {} {offset}: acked {id:?}, there is {:?}", self.name, there.get(&offset)));
            }
        }
        self.reading += 1;
        if self.reading == self.partitions {
            self.step = Step::Delete;
        }
        Ok(())
    }

    fn on_deleted(&mut self, response: &DeleteTopicsResponse) -> Verdict {
        let code = response.responses.first().ok_or("DeleteTopics answers without the topic")?.error_code;
        match code {
            // Not found: an earlier request, whose answer was lost, has done it.
            0 | 3 | 100 => {
                self.step = Step::Miss;
                Ok(())
            }
            code if is_retriable(code) => Ok(()),
            code => Err(format!("DeleteTopics of {}: error {code}", self.name)),
        }
    }
}

impl Worker for Churner {
    const SLOTS: Slot = 2;

    fn name(&self) -> String {
        format!("churner of {} in step {:?}", self.name, self.step)
    }

    fn first_ms(&self) -> u64 {
        20
    }

    fn connected(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict {
        match slot {
            WORK => self.next(cx),
            _ => self.can_watch = true,
        }
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        if answer.slot == WATCH {
            self.watching = false;
            let code = match answer.key {
                ApiKey::Fetch => {
                    let response: FetchResponse = answer.read()?;
                    let found = response.responses.first().and_then(|topic| topic.partitions.first());
                    found.map_or(0, |found| found.error_code)
                }
                _ => {
                    let response: ProduceResponse = answer.read()?;
                    let found = response.responses.first().and_then(|topic| topic.partition_responses.first());
                    found.ok_or("Produce answers without the partition")?.error_code
                }
            };
            return match code {
                0 | 1 => Ok(()),
                code if is_retriable(code) => Ok(()),
                code => Err(format!("{:?} of {} while it goes: error {code}", answer.key, self.name)),
            };
        }
        self.busy = false;
        match answer.key {
            ApiKey::CreateTopics => {
                let response: CreateTopicsResponse = answer.read()?;
                match response.topics.first().ok_or("CreateTopics answers without the topic")?.error_code {
                    // There already: an earlier request, whose answer was lost, has done it.
                    0 | 36 => {
                        self.writes_left = 1 + cx.prng.below(8);
                        self.step = Step::Find;
                    }
                    code if is_retriable(code) => {}
                    code => return Err(format!("CreateTopics of {}: error {code}", self.name)),
                }
            }
            ApiKey::Metadata => self.on_found(&answer.read()?)?,
            ApiKey::Produce => self.on_written(&answer.read()?)?,
            ApiKey::Fetch => self.on_read(&answer.read()?)?,
            _ => self.on_deleted(&answer.read()?)?,
        }
        cx.timer(1 + self.label * 7, NEXT);
        Ok(())
    }

    fn lost(&mut self, _: &mut Cx<'_>, slot: Slot) {
        if slot == WORK {
            (self.busy, self.writing) = (false, None);
        } else {
            (self.can_watch, self.watching) = (false, false);
        }
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        if timer == NEXT && links.is_open(WORK) && !self.busy {
            self.next(cx);
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        self.step == Step::Create && self.rounds_left == 0
    }
}
