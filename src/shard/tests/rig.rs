//! The rig: shards, the disk between them, virtual connections and a clock that moves when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use coretide_controller::{Command, NewTopic};
use coretide_log::batch::VerifiedBatch;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_log::io::Job;
use coretide_log::store::{Boot, BootConfig, Extent, ShardRecovered};
use coretide_model::config::Origin;
use coretide_model::{BrokerConfig, ConnId, Notice, Now, ShardId, TopicId, TopicPartition};
use coretide_wire::header::decode_response_header;
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use coretide_wire::{Message, Reader, encode_request};

use super::disk::Disk;
use crate::mail::{Ask, ReqId};
use crate::{Event, ListenerId, Mail, Output, Shard, ShardConfig, placement, store_limits};

/// The wall clock at the start.
pub const START_MS: i64 = 1_700_000_000_000;

/// What a connection has seen.
#[derive(Default)]
pub struct Conn {
    shard: usize,
    pub received: VecDeque<Bytes>,
    pub closed: bool,
    pub paused: bool,
    next_correlation: i32,
    /// Correlation ids, keys and versions of requests in flight.
    asked: VecDeque<(i32, i16, i16)>,
}

pub struct Rig {
    pub shards: Vec<Shard>,
    pub disk: Disk,
    /// The number of this process.
    start: u64,
    pub now: Now,
    pub conns: BTreeMap<ConnId, Conn>,
    events: Vec<VecDeque<Event>>,
    pub ready: Vec<bool>,
    pub stopped: Vec<bool>,
    /// Hot writes are held back until `release_io`.
    pub hold_io: bool,
    held_io: Vec<(usize, Output)>,
    /// Jobs that read are held back until `release_reads`.
    pub hold_reads: bool,
    held_reads: Vec<(usize, Output)>,
    /// Mail is held back until `release_mail`.
    pub hold_mail: bool,
    held_mail: VecDeque<(usize, ShardId, Mail)>,
    /// The kernel takes no response bytes.
    pub slow_readers: bool,
    /// What the operator was told.
    pub notices: Vec<Notice>,
}

impl Rig {
    pub fn new(shards: u16) -> Rig {
        Rig::with(shards, &[])
    }

    /// Shards with these broker settings, on an empty disk.
    pub fn with(shards: u16, settings: &[(&str, &str)]) -> Rig {
        Rig::boot(Disk::default(), 1, shards, settings)
    }

    /// The same disk under a new process; what was in flight is lost.
    pub fn restart(self, shards: u16, settings: &[(&str, &str)]) -> Rig {
        let start = self.start + 1;
        let mut rig = Rig::boot(self.disk, start, shards, settings);
        rig.now = self.now;
        rig.run();
        rig
    }

    fn boot(mut disk: Disk, start: u64, shards: u16, settings: &[(&str, &str)]) -> Rig {
        // Small journals: a test zeroes them all.
        let small = [("coretide.journal.file.bytes", "1048576"), ("coretide.journal.files.max", "3")];
        let given: Vec<_> =
            small.iter().chain(settings).map(|(k, v)| (k.to_string(), v.to_string(), Origin::CommandLine)).collect();
        let broker = Arc::new(BrokerConfig::from_given(&given).unwrap().0);
        let owner = Arc::new(|tp, shards| placement::owner(tp, shards).0);
        let limits = store_limits(&broker);
        let vital = Some(placement::METADATA_PARTITION);
        let config = BootConfig { shards, owner, random: 77 + start, limits, vital };
        let report = Boot::new(config).run(|op| disk.run(op)).unwrap();
        let make = |recovered: ShardRecovered| {
            let shard = recovered.shard;
            let config = ShardConfig {
                shard: ShardId(shard),
                shards,
                broker: broker.clone(),
                cluster_id: "cluster-of-the-tests-00".into(),
                seed: start * 1000 + u64::from(shard),
            };
            Shard::new(config, recovered)
        };
        let count = usize::from(shards);
        let mut rig = Rig {
            shards: report.shards.into_iter().map(make).collect(),
            disk,
            start,
            now: Now { mono_us: 1_000_000, wall_ms: START_MS },
            conns: BTreeMap::new(),
            events: (0..count).map(|_| VecDeque::new()).collect(),
            ready: vec![false; count],
            stopped: vec![false; count],
            hold_io: false,
            held_io: Vec::new(),
            hold_reads: false,
            held_reads: Vec::new(),
            hold_mail: false,
            held_mail: VecDeque::new(),
            slow_readers: false,
            notices: Vec::new(),
        };
        rig.run();
        assert!(rig.ready.iter().all(|ready| *ready), "every shard is ready after the start");
        rig
    }

    /// Turns every shard's loop until nothing happens any more.
    pub fn run(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the shards come to rest");
            for shard in 0..self.shards.len() {
                let mut out = Vec::new();
                for event in std::mem::take(&mut self.events[shard]) {
                    self.shards[shard].handle(self.now, event, &mut out);
                }
                self.shards[shard].end_of_tick(self.now, &mut out);
                for output in out {
                    self.take(shard, output);
                }
            }
            if self.events.iter().all(VecDeque::is_empty) {
                return;
            }
        }
    }

    fn take(&mut self, shard: usize, output: Output) {
        match output {
            Output::Send { conn, response } => {
                let mut frame = Vec::new();
                for extent in &response.extents {
                    match extent {
                        Extent::Hot(bytes) => frame.extend_from_slice(bytes),
                        Extent::File { file, at, len } => {
                            frame.extend_from_slice(&self.disk.read(file, *at, *len).unwrap());
                        }
                    }
                }
                assert_eq!(frame.len() as u64, response.bytes, "the response says how long it is");
                assert_eq!(frame[..4], (frame.len() as i32 - 4).to_be_bytes(), "and its prefix does");
                self.conns.get_mut(&conn).unwrap().received.push_back(Bytes::from(frame).slice(4..));
                if !self.slow_readers {
                    self.events[shard].push_back(Event::Sent { conn, bytes: response.bytes });
                }
            }
            Output::Close { conn } => {
                self.conns.get_mut(&conn).unwrap().closed = true;
                self.events[shard].push_back(Event::Closed { conn });
            }
            Output::PauseRead { conn } => self.conns.get_mut(&conn).unwrap().paused = true,
            Output::ResumeRead { conn } => self.conns.get_mut(&conn).unwrap().paused = false,
            Output::Mail { to, mail } if self.hold_mail => self.held_mail.push_back((shard, to, mail)),
            Output::Mail { to, mail } => {
                self.events[to.index()].push_back(Event::Mail { from: ShardId(shard as u16), mail });
            }
            output @ Output::Io { .. } if self.hold_io => self.held_io.push((shard, output)),
            Output::Io { id, op } => {
                let result = self.disk.run(op);
                self.events[shard].push_back(Event::IoDone { id, result });
            }
            Output::Job { id, job } if self.hold_reads && job.is_read() => {
                self.held_reads.push((shard, Output::Job { id, job }));
            }
            Output::Job { id, job } => {
                let output = job.run(|op| self.disk.run(op));
                self.events[shard].push_back(Event::JobDone { id, output: Box::new(output) });
            }
            Output::Notice(notice) => self.notices.push(notice),
            Output::Ready => self.ready[shard] = true,
            Output::Stopped => self.stopped[shard] = true,
            Output::Fatal { reason } => panic!("shard {shard}: {reason}"),
        }
    }

    /// Does the writes that were held back.
    pub fn release_io(&mut self) {
        self.hold_io = false;
        for (shard, output) in std::mem::take(&mut self.held_io) {
            self.take(shard, output);
        }
        self.run();
    }

    /// Does the reads that were held back, and returns how many there were.
    pub fn release_reads(&mut self) -> usize {
        self.hold_reads = false;
        let held = std::mem::take(&mut self.held_reads);
        let count = held.len();
        for (shard, output) in held {
            self.take(shard, output);
        }
        self.run();
        count
    }

    /// Does the reads that were held back, and holds back those that they lead to.
    pub fn step_reads(&mut self) -> usize {
        self.hold_reads = false;
        let held = std::mem::take(&mut self.held_reads);
        let count = held.len();
        for (shard, output) in held {
            self.take(shard, output);
        }
        self.hold_reads = true;
        self.run();
        count
    }

    /// Delivers the mail that was held back.
    pub fn release_mail(&mut self) {
        self.hold_mail = false;
        for (from, to, mail) in std::mem::take(&mut self.held_mail) {
            self.take(from, Output::Mail { to, mail });
        }
        self.run();
    }

    /// Moves the clocks and lets timers fire.
    pub fn advance_ms(&mut self, ms: u64) {
        self.now.mono_us += ms * 1000;
        self.now.wall_ms += ms as i64;
        self.run();
    }

    pub fn event(&mut self, shard: usize, event: Event) {
        self.events[shard].push_back(event);
        self.run();
    }

    pub fn open(&mut self, shard: usize) -> ConnId {
        let peer = format!("10.0.0.{}:1000", (self.conns.len() + 1) % 250);
        self.open_from(shard, peer)
    }

    pub fn open_from(&mut self, shard: usize, peer: String) -> ConnId {
        let conn = ConnId(self.conns.len() as u64 + 1);
        self.conns.insert(conn, Conn { shard, ..Conn::default() });
        self.event(shard, Event::Opened { conn, listener: ListenerId(0), peer: peer.parse().unwrap() });
        conn
    }

    pub fn hang_up(&mut self, conn: ConnId) {
        let shard = self.conns[&conn].shard;
        self.event(shard, Event::Closed { conn });
    }

    /// Delivers a frame without its prefix; nothing is turned.
    pub fn push_raw(&mut self, conn: ConnId, frame: impl Into<Bytes>) {
        let shard = self.conns[&conn].shard;
        self.events[shard].push_back(Event::Frame { conn, bytes: frame.into() });
    }

    pub fn send_raw(&mut self, conn: ConnId, frame: impl Into<Bytes>) {
        self.push_raw(conn, frame);
        self.run();
    }

    /// Delivers a request; nothing is turned.
    pub fn push<M: Message>(&mut self, conn: ConnId, version: i16, request: &M) {
        let state = self.conns.get_mut(&conn).unwrap();
        state.next_correlation += 1;
        let correlation = state.next_correlation;
        state.asked.push_back((correlation, M::API_KEY.unwrap(), version));
        let frame = encode_request(request, version, correlation, Some("tests")).unwrap();
        self.push_raw(conn, frame.slice(4..));
    }

    pub fn send<M: Message>(&mut self, conn: ConnId, version: i16, request: &M) {
        self.push(conn, version, request);
        self.run();
    }

    /// The next response, which must be the one to the oldest request.
    pub fn receive<M: Message>(&mut self, conn: ConnId) -> M {
        let state = self.conns.get_mut(&conn).unwrap();
        let (correlation, api_key, version) = state.asked.pop_front().expect("something was asked");
        let frame =
            state.received.pop_front().unwrap_or_else(|| panic!("no response has come; closed: {}", state.closed));
        assert_eq!(Some(api_key), M::API_KEY);
        let mut reader = Reader::new(&frame);
        assert_eq!(decode_response_header(&mut reader, api_key, version), Ok(correlation), "responses are in order");
        let response = M::decode(&mut reader, version).unwrap();
        assert_eq!(reader.remaining(), 0, "nothing follows the response");
        response
    }

    pub fn call<Q: Message, A: Message>(&mut self, conn: ConnId, version: i16, request: &Q) -> A {
        self.send(conn, version, request);
        self.receive(conn)
    }

    /// How many responses have come and were not looked at.
    pub fn waiting(&self, conn: ConnId) -> usize {
        self.conns[&conn].received.len()
    }

    /// Creates a topic and returns its id.
    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        let topic = NewTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: configs.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))).collect(),
        };
        let command = Command::CreateTopics { topics: vec![topic], validate_only: false };
        self.command(command);
        self.shards[0].image.topic_named(name).expect("it was created").id
    }

    pub fn command(&mut self, command: Command) {
        let mail = Mail::Ask { id: ReqId(u64::MAX), place: 0, ask: Box::new(Ask::Controller(command)) };
        self.event(0, Event::Mail { from: ShardId(0), mail });
    }

    /// The first partition of a topic that this shard owns.
    pub fn owned_by(&self, topic_id: TopicId, shard: u16) -> i32 {
        let owner = |partition| placement::owner(TopicPartition { topic_id, partition }, self.shards.len() as u16);
        (0..1000).find(|partition| owner(*partition) == ShardId(shard)).unwrap()
    }
}

/// A batch of records with these values, all at one time.
pub fn batch(values: &[&[u8]]) -> Bytes {
    batch_at(START_MS, values)
}

pub fn batch_at(timestamp_ms: i64, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    for value in values {
        builder.push(timestamp_ms, Some(b"k"), Some(value), &[]);
    }
    builder.build()
}

/// A batch of an idempotent producer.
pub fn sequenced(producer_id: i64, epoch: i16, base_sequence: i32, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(Codec::None)).producer(producer_id, epoch, base_sequence);
    for value in values {
        builder.push(START_MS, None, Some(value), &[]);
    }
    VerifiedBatch::from_own_records(builder).bytes().clone()
}

/// A Produce request for one topic.
pub fn produce(topic: &str, acks: i16, parts: &[(i32, Bytes)]) -> ProduceRequest {
    let data = |(index, records): &(i32, Bytes)| PartitionProduceData { index: *index, records: Some(records.clone()) };
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: parts.iter().map(data).collect(),
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// (index, error, base offset) of every partition of a response.
pub fn produced(response: &ProduceResponse) -> Vec<(i32, i16, i64)> {
    let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    parts.map(|part| (part.index, part.error_code, part.base_offset)).collect()
}
