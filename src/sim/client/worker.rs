//! What most clients have in common: they begin once the topics are there, and open their connections again whenever they
//! break. Also the parts of requests that several of them send. Must never touch: what a client wants.

use coretide_model::TopicId;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use coretide_wire::messages::produce::{PartitionProduceData, TopicProduceData};

use super::{Answer, Client, Command, Cx, Shared, Slot};
use crate::judge::{PartitionName, Verdict};
use crate::records::ReadRecord;

/// The timer that opens what is closed; workers' own begin at 1.
const RECONNECT: u32 = 0;

/// Which of a worker's connections are open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links {
    open: [bool; 2],
}

impl Links {
    /// True while requests can be sent there.
    pub fn is_open(&self, slot: Slot) -> bool {
        self.open[usize::from(slot)]
    }
}

/// A client that works on one connection or two.
pub trait Worker {
    /// How many connections it has.
    const SLOTS: Slot = 1;
    /// What it is, for reports.
    fn name(&self) -> String;
    /// When it connects first.
    fn first_ms(&self) -> u64 {
        1
    }
    /// How long it waits before it connects again.
    fn again_ms(&self) -> u64 {
        10
    }
    /// True while it wants to be connected.
    fn wants_connection(&self, _shared: &Shared) -> bool {
        true
    }
    /// A connection is open.
    fn connected(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict;
    /// A response, in the order of the requests.
    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict;
    /// A connection broke: what was asked on it will not be answered.
    fn lost(&mut self, cx: &mut Cx<'_>, slot: Slot);
    /// One of its timers fired.
    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict;
    /// What it has read of a partition, if it keeps that.
    fn seen(&self, _partition: &PartitionName) -> &[ReadRecord] {
        &[]
    }
    /// True when it has nothing left to do while the run is winding down.
    fn settled(&self, shared: &Shared) -> bool;
}

/// A worker and its connections.
#[derive(Debug)]
pub struct Connected<W> {
    worker: W,
    links: Links,
}

impl<W: Worker> Connected<W> {
    /// The worker as a client of the run.
    pub fn new(worker: W) -> Connected<W> {
        Connected { worker, links: Links::default() }
    }
}

impl<W: Worker> Client for Connected<W> {
    fn name(&self) -> String {
        self.worker.name()
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        cx.timer(self.worker.first_ms(), RECONNECT);
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict {
        self.links.open[usize::from(slot)] = true;
        self.worker.connected(cx, slot)
    }

    fn on_answer(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        self.worker.answered(cx, answer)
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, slot: Slot) {
        self.links.open[usize::from(slot)] = false;
        self.worker.lost(cx, slot);
        cx.timer(self.worker.again_ms(), RECONNECT);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, id: u32) -> Verdict {
        if !cx.shared.ready {
            cx.timer(20, id);
            return Ok(());
        }
        if id != RECONNECT {
            return self.worker.due(cx, self.links, id);
        }
        if !self.worker.wants_connection(cx.shared) {
            return Ok(());
        }
        for slot in (0..W::SLOTS).filter(|&slot| !self.links.is_open(slot)) {
            cx.commands.push(Command::Connect(slot));
        }
        Ok(())
    }

    fn seen(&self, partition: &PartitionName) -> &[ReadRecord] {
        self.worker.seen(partition)
    }

    fn settled(&self, shared: &Shared) -> bool {
        self.worker.settled(shared)
    }
}

/// Any partition of the run's topics.
pub fn any_partition(cx: &mut Cx<'_>) -> PartitionName {
    let partitions = cx.shared.partitions();
    partitions[cx.prng.below(partitions.len() as u64) as usize].clone()
}

/// Asks for a partition from an offset on.
pub fn wanted(partition: i32, fetch_offset: i64, partition_max_bytes: i32) -> FetchPartition {
    FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes,
        ..FetchPartition::default()
    }
}

/// A Fetch without a session, not to be answered before a byte is there or the time is over.
pub fn fetch_request(topics: Vec<FetchTopic>, max_bytes: i32, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_wait_ms,
        min_bytes: 1,
        max_bytes,
        session_epoch: -1,
        topics,
        ..FetchRequest::default()
    }
}

/// A topic of a Fetch, by its id where one is given.
pub fn fetch_topic(name: &str, id: Option<u128>, partitions: Vec<FetchPartition>) -> FetchTopic {
    let (topic, topic_id) = by_name_or_id(name, id);
    FetchTopic { topic, topic_id, partitions }
}

/// A topic of a Produce, by its id where one is given.
pub fn produce_topic(name: &str, id: Option<u128>, partition_data: Vec<PartitionProduceData>) -> TopicProduceData {
    let (name, topic_id) = by_name_or_id(name, id);
    TopicProduceData { name, topic_id, partition_data }
}

fn by_name_or_id(name: &str, id: Option<u128>) -> (String, TopicId) {
    match id {
        Some(id) => (String::new(), TopicId(id)),
        None => (name.to_string(), TopicId::ZERO),
    }
}
