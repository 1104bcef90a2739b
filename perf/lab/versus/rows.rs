//! The loads of raw frames that brokers are compared by, and what each is to reach against Kafka as it comes.
//! Must never touch: which brokers there are.

use super::backlog;
use super::clients::{self, Client, Clients, Library, Role};
use super::table::RowKind;
use crate::bench::Target;
use crate::lab::result::Latency;
use crate::report::Outcome;
use crate::stats::Tally;
use crate::{e2e, fetch, frames, produce};
use coretide_log::codec::Codec;
use std::path::Path;

/// Bytes of a record's value, but for the end-to-end row.
const RECORD_BYTES: usize = 1024;
/// Bytes of a record's value from end to end.
const E2E_RECORD_BYTES: usize = 300;
/// Partitions of what is sent at fixed times, of what goes from end to end, and of what is fetched ([`fetch::Options::of_tables`]).
const OPEN_PARTITIONS: i32 = 16;
const E2E_PARTITIONS: i32 = 4;
const FETCH_PARTITIONS: i32 = 4;
/// How much of its rate an open loop must be served to hold it.
pub const HOLDS_FROM: f64 = 0.995;
/// How much of a backlog must have come from the disk, not from a cache.
pub const FROM_DISK_FROM: f64 = 0.9;
/// Small batches over many partitions, and large ones: what the first cost against the second is the small-batch penalty.
pub const PENALTY: [&str; 2] = ["1 KiB, 16 conns x 5, 100 partitions", "256 KiB, 4 conns x 4"];

/// Plain batches that are as large as the compressed ones: what a codec costs is told against these.
pub const PLAIN: &str = "compression none, batches of 16 KiB";
/// What each batch of the compressed rows takes on the wire, in bytes; their connections, requests in flight on each, partitions.
const PACKED_BYTES: usize = 16_384;
const PACKED_SHAPE: [usize; 2] = [4, 4];
const PACKED_PARTITIONS: i32 = 16;
/// Our broker takes compressed batches on checksum and header, where a topic says so; Kafka always unpacks them.
const BY_HEADER: &str = "coretide.compressed.check=header";
const BY_HEADER_SAID: &str = "unequal: our broker does not look into the batches (coretide.compressed.check=header); ";
/// The first so many rounds have the brief rows.
const BRIEF_ROUNDS: usize = 3;
/// Of the seconds of a turn, what those of a brief row take.
const BRIEF_SHARE: f64 = 0.375;

/// What a row sends.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Produce requests, as fast as the broker answers.
    Closed { conns: usize, depth: usize, records: usize, partitions: i32 },
    /// Produce requests of compressed batches that are alike on the wire, as fast as the broker answers. `by_header`: our
    /// broker does not look into them.
    Packed { codec: Codec, by_header: bool },
    /// Produce requests of one record each at fixed times over 16 connections.
    Open { rate: f64 },
    /// Records of 300 bytes at fixed times, and fetches that wait for them.
    EndToEnd { rate: f64 },
    /// What was just written, 1 MiB a piece over 4 connections, in batches of so many records.
    Fetch { records: usize },
    /// A backlog that no cache holds, drained while producers go on at a steady rate.
    Backlog,
    /// A real client.
    Client(Client),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What stands in front.
    pub name: &'static str,
    /// What it sends.
    pub load: Load,
    /// True where it runs until a given volume was written, so that no page cache swallows all of it.
    pub by_volume: bool,
    /// True where flushing says nothing: then only the first comparison is measured.
    pub once: bool,
    /// Ours / Kafka as it comes, ours durable: throughput at least, CPU at most, p50 at most, p99 at most, p99.9 at most.
    pub to_reach: Bounds,
    /// The same with an fsync before each ack on both sides.
    pub to_reach_fsync: Bounds,
}

/// Bounds of ratios.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Throughput, at least.
    pub throughput: Option<f64>,
    /// CPU for the same work, at most.
    pub cpu: Option<f64>,
    /// Median latency, at most.
    pub p50: Option<f64>,
    /// 99 % latency, at most.
    pub p99: Option<f64>,
    /// 99.9 % latency, at most.
    pub p999: Option<f64>,
    /// Not of the ratio but of our own value: the share of an asked rate, at least.
    pub held: Option<f64>,
    /// Not of the ratio but of our own value: producers' 99 % latency by that without the backlog, at most.
    pub growth: Option<f64>,
}

const NONE: Bounds = Bounds { throughput: None, cpu: None, p50: None, p99: None, p999: None, held: None, growth: None };

const fn bounds(throughput: f64, cpu: f64, p99: f64) -> Bounds {
    Bounds { throughput: Some(throughput), cpu: Some(cpu), p99: Some(p99), ..NONE }
}

const fn closed(name: &'static str, shape: [usize; 3], partitions: i32, to_reach: Bounds) -> Row {
    let [conns, depth, records] = shape;
    let load = Load::Closed { conns, depth, records, partitions };
    Row { name, load, by_volume: false, once: false, to_reach, to_reach_fsync: NONE }
}

const fn once(name: &'static str, load: Load, to_reach: Bounds) -> Row {
    Row { name, load, by_volume: false, once: true, to_reach, to_reach_fsync: NONE }
}

const fn packed(name: &'static str, codec: Codec) -> Row {
    once(name, Load::Packed { codec, by_header: false }, NONE)
}

const fn client(name: &'static str, library: Library, role: Role, settings: &'static [&'static str]) -> Row {
    once(name, Load::Client(Client { library, role, settings }), NEVER_BEHIND)
}

const fn open(name: &'static str, load: Load, to_reach: Bounds) -> Row {
    Row { name, load, by_volume: false, once: false, to_reach, to_reach_fsync: NONE }
}

const SMALL: Bounds = bounds(2.5, 0.2, 1.0 / 3.0);
const SMALL_FSYNC: Bounds = Bounds { throughput: Some(10.0), ..NONE };
const OPEN: Bounds = Bounds { cpu: Some(0.5), p99: Some(1.0), p999: Some(0.5), held: Some(HOLDS_FROM), ..NONE };
const NEVER_BEHIND: Bounds = bounds(1.0, 0.25, 1.0);
const END_TO_END: Bounds = Bounds { cpu: Some(1.0 / 3.0), p99: Some(1.0), held: Some(HOLDS_FROM), ..NONE };
const CACHED: Bounds = Bounds { throughput: Some(1.0), cpu: Some(0.8), ..NONE };
const CACHED_SMALL: Bounds = Bounds { throughput: Some(1.5), ..CACHED };
const BACKLOG: Bounds = Bounds { throughput: Some(1.0), growth: Some(1.1), ..NONE };

/// What is not left at its default in the tuned rows.
const TUNED: &[&str] = &["batch.size=65536", "linger.ms=5", "compression.type=lz4"];

/// Of a consumer that has received 64 MB more than was taken from it: by default it asks for nothing for a second, so that
/// the faster broker may come out slower.
const PATIENT_FOR_LESS: &[&str] = &["fetch.queue.backoff.ms=10"];

/// The table.
pub const ROWS: &[Row] = &[
    Row { to_reach_fsync: SMALL_FSYNC, ..closed("1 KiB, 16 conns x 5, 16 partitions", [16, 5, 1], 16, SMALL) },
    Row { to_reach_fsync: SMALL_FSYNC, ..closed(PENALTY[0], [16, 5, 1], 100, SMALL) },
    Row { to_reach_fsync: SMALL_FSYNC, ..closed("1 KiB, 16 conns x 5, 1,000 partitions", [16, 5, 1], 1000, SMALL) },
    closed("16 KiB, 4 conns x 4", [4, 4, 16], 16, bounds(1.5, 0.25, 0.5)),
    Row { by_volume: true, ..closed(PENALTY[1], [4, 4, 256], 16, bounds(4.0, 1.0 / 6.0, 1.0 / 3.0)) },
    Row { to_reach_fsync: Bounds { p50: Some(0.5), ..NONE }, ..closed("1 KiB, one at a time", [1, 1, 1], 16, NONE) },
    open("open loop, 1,000 requests/s of 1 KiB", Load::Open { rate: 1_000.0 }, OPEN),
    open("open loop, 5,000 requests/s of 1 KiB", Load::Open { rate: 5_000.0 }, OPEN),
    open("end to end, 1,000 records/s of 300 B", Load::EndToEnd { rate: 1_000.0 }, END_TO_END),
    packed(PLAIN, Codec::None),
    packed("compression lz4, batches of 16 KiB", Codec::Lz4),
    packed("compression zstd, batches of 16 KiB", Codec::Zstd),
    packed("compression gzip, batches of 16 KiB", Codec::Gzip),
    once("compression lz4, ours by header only", Load::Packed { codec: Codec::Lz4, by_header: true }, NONE),
    once("fetch of cached 256 KiB batches, 1 MiB a piece", Load::Fetch { records: 256 }, CACHED),
    once("fetch of cached 1 KiB batches, 1 MiB a piece", Load::Fetch { records: 1 }, CACHED_SMALL),
    once("backlog that no cache holds, drained while producing", Load::Backlog, BACKLOG),
    client("Java producer, defaults", Library::Java, Role::Produce, &[]),
    client("Java producer, 64 KiB, 5 ms, lz4", Library::Java, Role::Produce, TUNED),
    client("Java consumer, defaults", Library::Java, Role::Consume, &[]),
    client("librdkafka producer, defaults", Library::Librdkafka, Role::Produce, &[]),
    client("librdkafka producer, 64 KiB, 5 ms, lz4", Library::Librdkafka, Role::Produce, TUNED),
    client("librdkafka consumer, defaults", Library::Librdkafka, Role::Consume, &[]),
    client("librdkafka consumer, back-off of 10 ms", Library::Librdkafka, Role::Consume, PATIENT_FOR_LESS),
];

/// What a row left behind.
pub struct Measured {
    /// The figures.
    pub outcome: Outcome,
    /// A real client's own word on its latency, in place of the figures'.
    pub told: Option<Latency>,
    /// What producers saw before the backlog was drained.
    pub alone: Option<Latency>,
    /// How much of the backlog came from the disk, if that can be told.
    pub from_disk: Option<f64>,
    /// What its batches would take unpacked by what they take, where they are of a kind that is compressed.
    pub unpacked: Option<f64>,
}

impl From<Outcome> for Measured {
    fn from(outcome: Outcome) -> Measured {
        Measured { outcome, told: None, alone: None, from_disk: None, unpacked: None }
    }
}

/// What a row needs beside a broker.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The real clients.
    pub clients: &'a Clients,
    /// Bytes of the backlog.
    pub backlog_bytes: u64,
    /// The broker's folder, if it is known.
    pub data: Option<&'a Path>,
}

impl Row {
    /// Its rounds, of so many: CPU per byte moves little from round to round, so some are enough.
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.codec().is_some() { rounds.min(BRIEF_ROUNDS) } else { rounds }
    }

    /// The seconds of its turns where the others have so many.
    pub fn secs(&self, secs: f64) -> f64 {
        if self.codec().is_some() { secs * BRIEF_SHARE } else { secs }
    }

    /// The codec of its batches, where it is one of those that differ by it.
    pub fn codec(&self) -> Option<Codec> {
        match self.load {
            Load::Packed { codec, .. } => Some(codec),
            _ => None,
        }
    }

    /// A config that its topic gets on our broker only.
    pub fn own_topic_config(&self) -> Option<&'static str> {
        matches!(self.load, Load::Packed { by_header: true, .. }).then_some(BY_HEADER)
    }

    /// The rate that it asks for; none for those that go as fast as they can.
    pub fn rate(&self) -> Option<f64> {
        match self.load {
            Load::Open { rate } | Load::EndToEnd { rate } => Some(rate),
            Load::Closed { .. } | Load::Packed { .. } | Load::Fetch { .. } | Load::Backlog | Load::Client(_) => None,
        }
    }

    /// Partitions of its topic.
    pub fn partitions(&self) -> i32 {
        match self.load {
            Load::Closed { partitions, .. } => partitions,
            Load::Packed { .. } => PACKED_PARTITIONS,
            Load::Open { .. } => OPEN_PARTITIONS,
            Load::EndToEnd { .. } => E2E_PARTITIONS,
            Load::Fetch { .. } => FETCH_PARTITIONS,
            Load::Backlog => backlog::PARTITIONS,
            Load::Client(_) => clients::PARTITIONS,
        }
    }

    /// The real client that it runs, if it runs one.
    pub fn client(&self) -> Option<Client> {
        match self.load {
            Load::Client(client) => Some(client),
            _ => None,
        }
    }

    /// What its figures are.
    pub fn kind(&self) -> RowKind {
        match self.load {
            Load::Closed { .. } | Load::Open { .. } | Load::EndToEnd { .. } | Load::Fetch { .. } => RowKind::Frames,
            Load::Packed { .. } => RowKind::Packed,
            Load::Backlog => RowKind::Backlog,
            Load::Client(_) => RowKind::Client,
        }
    }

    /// True where bytes say more than requests.
    pub fn counts_bytes(&self) -> bool {
        match self.load {
            Load::Closed { records, .. } => records >= 16,
            Load::Packed { .. } | Load::Fetch { .. } | Load::Backlog | Load::Client(_) => true,
            Load::Open { .. } | Load::EndToEnd { .. } => false,
        }
    }

    /// The settings of its clients, for whoever wants to repeat it with other means.
    pub fn settings(&self) -> String {
        let produce = "Produce v7, acks=-1, one batch of one partition a request, records of noise, no compression";
        let [conns, depth] = PACKED_SHAPE;
        match self.load {
            Load::Closed { conns, depth, records, partitions } => format!(
                "{produce}; {conns} connections, {depth} requests in flight on each; {records} records of {RECORD_BYTES} B \
                 a batch, {partitions} partitions"
            ),
            Load::Packed { codec, by_header } => format!(
                "{}Produce v7, acks=-1, one batch of one partition a request; JSON events of {} B, compressed with {codec} at its \
                 default level, as many of them as make {PACKED_BYTES} B on the wire, so that each codec's broker takes in, writes and \
                 answers the same; {conns} connections, {depth} requests in flight on each, {PACKED_PARTITIONS} partitions; \
                 the first {BRIEF_ROUNDS} rounds only, turns of {BRIEF_SHARE} of the others' length",
                if by_header { BY_HEADER_SAID } else { "" },
                frames::EVENT_BYTES
            ),
            Load::Open { rate } => format!(
                "{produce}; {rate} requests/s at fixed times over 16 connections, latency from the intended time; one \
                 record of {RECORD_BYTES} B a batch, 16 partitions"
            ),
            Load::EndToEnd { rate } => format!(
                "{produce}; {rate} records/s of {E2E_RECORD_BYTES} B at fixed times, 4 partitions with a connection each; \
                 Fetch v4 with fetch.min.bytes=1, fetch.max.wait.ms=500, a connection for each partition; latency from \
                 the intended time to the arrival"
            ),
            Load::Fetch { records } => format!(
                "Fetch v4, fetch.min.bytes=1, 1 MiB a piece, 4 connections with a partition each, around and around in the \
                 8 MiB written just before; {records} records of {RECORD_BYTES} B a batch"
            ),
            Load::Backlog => format!(
                "written first in batches of 256 KiB, synced, taken out of the page cache; Fetch v4, 1 MiB a piece, {} \
                 connections with a fourth of {} partitions each; latency is that of the producers: {produce}; {} requests/s at fixed \
                 times over {} connections, latency from the intended time, {} records of {RECORD_BYTES} B a batch",
                backlog::DRAINERS,
                backlog::PARTITIONS,
                backlog::RATE,
                backlog::PRODUCERS,
                backlog::PRODUCED_RECORDS
            ),
            Load::Client(client) => client_settings(&client),
        }
    }

    /// Runs it.
    pub fn measure(&self, target: Target, means: Means<'_>) -> Result<Measured, String> {
        let outcome = match self.load {
            Load::Closed { conns, depth, records, partitions } => {
                produce::measure(&produced(target, conns, depth, records, partitions, None))
            }
            Load::Packed { codec, .. } => return packed_load(target, codec),
            Load::Open { rate } => produce::measure(&produced(target, 16, 1, 1, OPEN_PARTITIONS, Some(rate))),
            Load::EndToEnd { rate } => {
                e2e::measure(&e2e::Options { target, partitions: E2E_PARTITIONS, record_bytes: E2E_RECORD_BYTES, rate })
            }
            Load::Fetch { records } => fetch::measure(&fetch::Options::of_tables(target, records)),
            Load::Backlog => return drained(&target, means),
            Load::Client(client) => {
                let said = means.clients.measure(&client, &target)?;
                let tally = Tally { requests: said.records, bytes: said.bytes, ..Tally::new() };
                let outcome = Outcome::new(tally, said.secs, said.cpu_secs);
                return Ok(Measured { told: Some(said.latency), ..outcome.into() });
            }
        };
        outcome.map(Measured::from)
    }
}

fn packed_load(target: Target, codec: Codec) -> Result<Measured, String> {
    let packed = frames::packed(codec, PACKED_BYTES)?;
    let [conns, depth] = PACKED_SHAPE;
    let options = produced(target, conns, depth, packed.records, PACKED_PARTITIONS, None);
    let outcome = produce::measure_of(&options, &packed.batch)?;
    let unpacked = Some(packed.plain_bytes as f64 / packed.batch.len() as f64);
    Ok(Measured { unpacked, ..outcome.into() })
}

fn drained(target: &Target, means: Means<'_>) -> Result<Measured, String> {
    let drained = backlog::measure(target, means.backlog_bytes, means.data)?;
    let alone = Some(Latency::new(&drained.alone.latency));
    let bytes = drained.outcome.bytes as f64;
    let from_disk = drained.read_bytes.map(|read| read as f64 / bytes);
    Ok(Measured { alone, from_disk, ..drained.outcome.into() })
}

fn client_settings(client: &Client) -> String {
    let settings = if client.settings.is_empty() { "all defaults".to_string() } else { client.settings.join(" ") };
    let partitions = clients::PARTITIONS;
    let tool = match (client.library, client.role) {
        (Library::Java, Role::Produce) => "kafka-producer-perf-test, latency as it tells it, in whole ms",
        (Library::Java, Role::Consume) => {
            "kafka-consumer-perf-test, its time of fetching, records from batches of 16 KiB"
        }
        (Library::Librdkafka, Role::Produce) => "librdkafka under Python (confluent-kafka), latency from produce() on",
        (Library::Librdkafka, Role::Consume) => {
            "librdkafka under Python (confluent-kafka), from its first records on, records from batches of 16 KiB"
        }
    };
    format!(
        "{tool}; {settings}; {} records of {RECORD_BYTES} B for each second of a turn, as fast as it goes, {partitions} \
         partitions; the broker's CPU from the client's start to its end",
        clients::RECORDS_PER_SEC
    )
}

fn produced(
    target: Target,
    conns: usize,
    depth: usize,
    records: usize,
    partitions: i32,
    rate: Option<f64>,
) -> produce::Options {
    produce::Options { target, conns, depth, record_bytes: RECORD_BYTES, records_per_batch: records, partitions, rate }
}
