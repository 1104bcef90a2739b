//! Virtual clients: state machines that speak real Kafka bytes over virtual connections and tell the judges what they saw.

mod checker;
mod churner;
mod codes;
mod committer;
mod crowd;
mod deleter;
mod fetcher;
mod hostile;
mod member;
mod prober;
mod producer;
mod setup;
mod worker;

use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::Message;
use coretide_wire::api::ApiKey;
use coretide_wire::error::DecodeError;
use coretide_wire::reader::Reader;

use crate::judge::PartitionName;
use crate::judge::{GroupJudge, LogJudge, MembershipJudge, Verdict};
use crate::records::ReadRecord;

pub use checker::Checker;
pub use churner::Churner;
pub use codes::error_codes;
pub use committer::Committer;
pub use crowd::{CROWD, Crowd};
pub use deleter::Deleter;
pub use fetcher::Fetcher;
pub use hostile::Hostile;
pub use member::{Habits, Member, Style};
pub use prober::Prober;
pub use producer::{Producer, ProducerKind};
pub use setup::Setup;
pub use worker::{Connected, Worker};

/// One of a client's connections.
pub type Slot = u8;

/// A topic of the run.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: i32,
    pub configs: Vec<(String, String)>,
    /// Known once the set-up client has created it.
    pub id: u128,
}

/// What all clients share.
#[derive(Debug, Default)]
pub struct Shared {
    pub log: LogJudge,
    pub groups: GroupJudge,
    pub members: MembershipJudge,
    pub topics: Vec<TopicPlan>,
    /// True once all topics are there.
    pub ready: bool,
    /// True when no new work may begin.
    pub winding_down: bool,
    /// Producers compress.
    pub compressed: bool,
    /// Groups have a size that they may not exceed.
    pub is_group_limited: bool,
    /// Lanes given out so far.
    pub lanes: u32,
}

impl Shared {
    /// All partitions of the run.
    pub fn partitions(&self) -> Vec<PartitionName> {
        let of = |topic: &TopicPlan| (0..topic.partitions).map(|at| (topic.name.clone(), at)).collect::<Vec<_>>();
        self.topics.iter().flat_map(of).collect()
    }

    /// A topic's id.
    pub fn topic_id(&self, name: &str) -> u128 {
        self.topics.iter().find(|topic| topic.name == name).map_or(0, |topic| topic.id)
    }

    /// A topic's name.
    pub fn topic_name(&self, id: u128) -> String {
        self.topics.iter().find(|topic| topic.id == id).map_or_else(String::new, |topic| topic.name.clone())
    }
}

/// What a client wants done.
#[derive(Debug)]
pub enum Command {
    /// Open a connection; an open one is closed first.
    Connect(Slot),
    /// Close a connection.
    Close(Slot),
    /// Send a request. `answered`: false for acks=0.
    Send { slot: Slot, correlation: i32, key: ApiKey, version: i16, body: Bytes, answered: bool },
    /// Send bytes that may be anything. What comes back on this connection is thrown away from now on.
    Raw { slot: Slot, bytes: Bytes },
    /// Take nothing more from the connection.
    StopReading(Slot),
    /// Call [`Client::on_timer`] then.
    Timer { at_us: u64, id: u32 },
}

/// What a client may touch while it handles something.
pub struct Cx<'a> {
    pub now_us: u64,
    pub wall_ms: i64,
    /// The simulation's event counter: what came before what.
    pub moment: u64,
    pub prng: &'a mut Prng,
    pub shared: &'a mut Shared,
    pub commands: &'a mut Vec<Command>,
    pub next_correlation: &'a mut i32,
}

impl Cx<'_> {
    /// Sends a request and returns its correlation id.
    pub fn send<M: Message>(&mut self, slot: Slot, key: ApiKey, version: i16, request: &M) -> i32 {
        self.send_with(slot, key, version, request, true)
    }

    /// Sends a request that may go unanswered.
    pub fn send_with<M: Message>(&mut self, slot: Slot, key: ApiKey, version: i16, request: &M, answered: bool) -> i32 {
        *self.next_correlation += 1;
        let correlation = *self.next_correlation;
        let body = request.to_bytes(version).expect("the clients fill in only what the version has");
        self.commands.push(Command::Send { slot, correlation, key, version, body, answered });
        correlation
    }

    /// Calls back between `least_ms` and twice that.
    pub fn timer(&mut self, least_ms: u64, id: u32) {
        let at_us = self.now_us + least_ms * 1000 + self.prng.below(least_ms * 1000 + 1);
        self.commands.push(Command::Timer { at_us, id });
    }

    /// A version from the range.
    pub fn version(&mut self, least: i16, most: i16) -> i16 {
        least + self.prng.below((most - least + 1) as u64) as i16
    }
}

/// A response as it arrived.
#[derive(Clone, Debug)]
pub struct Answer {
    pub slot: Slot,
    pub correlation: i32,
    pub key: ApiKey,
    pub version: i16,
    pub body: Bytes,
}

impl Answer {
    /// The decoded body; bytes left over are an error.
    pub fn read<M: Message>(&self) -> Result<M, String> {
        let mut reader = Reader::new(&self.body);
        let decoded = M::decode(&mut reader, self.version).and_then(|message| {
            reader.expect_end()?;
            Ok::<M, DecodeError>(message)
        });
        decoded.map_err(|error| format!("W: {:?} version {} does not decode: {error}", self.key, self.version))
    }
}

/// A virtual client.
pub trait Client {
    /// What it is, for reports.
    fn name(&self) -> String;
    /// The run begins.
    fn on_start(&mut self, cx: &mut Cx<'_>);
    /// A connection is open.
    fn on_open(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict;
    /// A response, in the order of the requests.
    fn on_answer(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict;
    /// A connection broke or could not be opened.
    fn on_close(&mut self, cx: &mut Cx<'_>, slot: Slot);
    /// A timer fired.
    fn on_timer(&mut self, cx: &mut Cx<'_>, id: u32) -> Verdict;
    /// What it has read of a partition, if it keeps that.
    fn seen(&self, _partition: &PartitionName) -> &[ReadRecord] {
        &[]
    }
    /// True when it has nothing left to do while the run is winding down.
    fn settled(&self, shared: &Shared) -> bool;
}

/// Errors after which a client asks again.
pub(crate) fn is_retriable(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 7 | 9 | 13 | 14 | 15 | 16 | 19 | 20 | 56 | 100 | 103)
}
