//! Shards in a loop of their own, without sockets and without a disk: what a request costs the pure part, and nothing else.
//! Must never touch: a judgement of what the shards answer (that is the tests' and the simulator's).

pub mod load;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use coretide_controller::{Command, NewTopic};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_log::io::{IoError, Job, Op, OpOk, OpResult};
use coretide_log::store::{Boot, BootConfig, ShardRecovered};
use coretide_model::config::Origin;
use coretide_model::{BrokerConfig, ConnId, Now, ShardId};
use coretide_shard::mail::{Ask, ReqId};
use coretide_shard::{Event, ListenerId, Mail, Output, Shard, ShardConfig, placement, store_limits};
use coretide_wire::encode_request;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// The topic that every rig has.
pub const TOPIC: &str = "bench";
const START_MS: i64 = 1_800_000_000_000;
const CACHE_BYTES: usize = 4 << 20;
const CLIENT: &str = "bench";

/// Shards, what is on its way to them, and what they sent.
pub struct Rig {
    shards: Vec<Shard>,
    events: Vec<VecDeque<Event>>,
    outputs: Vec<Output>,
    now: Now,
    conns: u64,
    /// Mail that went from one shard to another.
    pub mails: u64,
    /// Responses that left, and their bytes.
    pub sent: u64,
    pub sent_bytes: u64,
}

impl Rig {
    /// Shards that are ready, with a topic of so many partitions.
    pub fn new(shards: u16, partitions: i32) -> Rig {
        // A small cache is full at once: what is counted is how it goes on, and not how memory is first taken.
        let given = [("coretide.shard.cache.bytes".to_string(), CACHE_BYTES.to_string(), Origin::CommandLine)];
        let broker = Arc::new(BrokerConfig::from_given(&given).expect("good settings").0);
        let owner = Arc::new(|tp, shards| placement::owner(tp, shards).0);
        let limits = store_limits(&broker);
        let vital = Some(placement::METADATA_PARTITION);
        let report = Boot::new(BootConfig { shards, owner, random: 77, limits, vital })
            .run(execute)
            .expect("an empty disk boots");
        let make = |recovered: ShardRecovered| {
            let shard = ShardId(recovered.shard);
            let cluster_id = "cluster-of-the-bench-00".into();
            Shard::new(ShardConfig { shard, shards, broker: broker.clone(), cluster_id, seed: 7 }, recovered)
        };
        let mut rig = Rig {
            shards: report.shards.into_iter().map(make).collect(),
            events: (0..shards).map(|_| VecDeque::new()).collect(),
            outputs: Vec::new(),
            now: Now { mono_us: 1_000_000, wall_ms: START_MS },
            conns: 0,
            mails: 0,
            sent: 0,
            sent_bytes: 0,
        };
        rig.settle();
        rig.create(partitions);
        rig
    }

    /// A new connection at a shard.
    pub fn open(&mut self, shard: usize) -> ConnId {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let peer = "127.0.0.1:1000".parse().expect("an address");
        self.events[shard].push_back(Event::Opened { conn, listener: ListenerId(0), peer });
        self.settle();
        conn
    }

    /// A request's frame has arrived, without its length.
    pub fn push(&mut self, shard: usize, conn: ConnId, frame: &Bytes) {
        self.events[shard].push_back(Event::Frame { conn, bytes: frame.clone() });
    }

    /// Turns the shards' loops until nothing is on its way any more; every loop takes what has gathered, as the shell does.
    pub fn settle(&mut self) {
        while self.turn() {}
        self.now.mono_us += 100;
    }

    fn turn(&mut self) -> bool {
        for at in 0..self.shards.len() {
            let mut outputs = std::mem::take(&mut self.outputs);
            for _ in 0..self.events[at].len() {
                let event = self.events[at].pop_front().expect("counted");
                self.shards[at].handle(self.now, event, &mut outputs);
            }
            self.shards[at].end_of_tick(self.now, &mut outputs);
            for output in outputs.drain(..) {
                self.perform(at, output);
            }
            self.outputs = outputs;
        }
        self.events.iter().any(|events| !events.is_empty())
    }

    fn perform(&mut self, at: usize, output: Output) {
        let event = match output {
            Output::Send { conn, response } => {
                self.sent += 1;
                self.sent_bytes += response.bytes;
                Event::Sent { conn, bytes: response.bytes }
            }
            Output::Mail { to, mail } => {
                let from = ShardId(at as u16);
                self.mails += u64::from(to != from);
                return self.events[to.index()].push_back(Event::Mail { from, mail });
            }
            Output::Io { id, op } => Event::IoDone { id, result: execute(op) },
            Output::Job { id, job } => Event::JobDone { id, output: Box::new(job.run(execute)) },
            Output::Ready | Output::PauseRead { .. } | Output::ResumeRead { .. } | Output::Notice(_) => return,
            other => panic!("a bench brings no shard to this: {other:?}"),
        };
        self.events[at].push_back(event);
    }

    fn create(&mut self, num_partitions: i32) {
        let (name, assignments, configs) = (TOPIC.into(), Vec::new(), Vec::new());
        let topic = NewTopic { name, num_partitions, replication_factor: 1, assignments, configs };
        let command = Command::CreateTopics { topics: vec![topic], validate_only: false };
        let mail = Mail::Ask { id: ReqId(u64::MAX), place: 0, ask: Box::new(Ask::Controller(command)) };
        self.events[0].push_back(Event::Mail { from: ShardId(0), mail });
        self.settle();
    }
}

/// A disk that takes everything and has nothing.
fn execute(op: Op) -> OpResult {
    let nothing = |op, path| Err(IoError { op, path, errno: 2, message: "a bench has no disk".into() });
    match op {
        Op::Read { file, .. } => nothing("read", file.path()),
        Op::Len { file } => nothing("len", file.path()),
        Op::Volume => nothing("volume", String::new()),
        Op::List { .. } => Ok(OpOk::Names(Vec::new())),
        _ => Ok(OpOk::Done),
    }
}

/// A Produce request's frame: one batch for one partition.
pub fn produce(partition: i32, records: usize, record_bytes: usize) -> Bytes {
    let value: Vec<u8> = (0..record_bytes).map(|at| (at * 31 % 251) as u8).collect();
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    for _ in 0..records {
        builder.push(START_MS, None, Some(&value), &[]);
    }
    let partition_data = vec![PartitionProduceData { index: partition, records: Some(builder.build()) }];
    let topic = TopicProduceData { name: TOPIC.into(), partition_data, ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    encode_request(&request, 7, 1, Some(CLIENT)).expect("a request").slice(4..)
}

/// A Fetch request's frame for one partition, answered at once.
pub fn fetch(partition: i32, fetch_offset: i64, max_bytes: i32) -> Bytes {
    let part = FetchPartition { partition, fetch_offset, partition_max_bytes: max_bytes, ..FetchPartition::default() };
    let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![part], ..FetchTopic::default() };
    let request =
        FetchRequest { max_wait_ms: 0, min_bytes: 1, max_bytes, topics: vec![topic], ..FetchRequest::default() };
    encode_request(&request, 4, 1, Some(CLIENT)).expect("a request").slice(4..)
}
