//! The loads of raw frames that brokers are compared by, and what each is to reach against Kafka as it comes.
//! Must never touch: which brokers there are.

use crate::bench::Target;
use crate::report::Outcome;
use crate::{e2e, fetch, produce};

/// Bytes of a record's value, but for the end-to-end row.
const RECORD_BYTES: usize = 1024;
/// Bytes of a record's value from end to end.
const E2E_RECORD_BYTES: usize = 300;
/// How much of its rate an open loop must be served to hold it.
pub const HOLDS_FROM: f64 = 0.995;

/// What a row sends.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Produce requests, as fast as the broker answers.
    Closed { conns: usize, depth: usize, records: usize, partitions: i32 },
    /// Produce requests of one record each at fixed times over 16 connections.
    Open { rate: f64 },
    /// Records of 300 bytes at fixed times, and fetches that wait for them.
    EndToEnd { rate: f64 },
    /// What was just written, 1 MiB a piece over 4 connections, in batches of so many records.
    Fetch { records: usize },
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
}

const NONE: Bounds = Bounds { throughput: None, cpu: None, p50: None, p99: None, p999: None };

const fn bounds(throughput: f64, cpu: f64, p99: f64) -> Bounds {
    Bounds { throughput: Some(throughput), cpu: Some(cpu), p99: Some(p99), ..NONE }
}

const fn closed(name: &'static str, shape: [usize; 3], partitions: i32, to_reach: Bounds) -> Row {
    let [conns, depth, records] = shape;
    let load = Load::Closed { conns, depth, records, partitions };
    Row { name, load, by_volume: false, to_reach, to_reach_fsync: NONE }
}

const SMALL: Bounds = bounds(2.5, 0.2, 1.0 / 3.0);
const SMALL_FSYNC: Bounds = Bounds { throughput: Some(10.0), ..NONE };
const OPEN: Bounds = Bounds { throughput: None, cpu: Some(0.5), p50: None, p99: Some(1.0), p999: Some(0.5) };

/// The table.
pub const ROWS: &[Row] = &[
    Row { to_reach_fsync: SMALL_FSYNC, ..closed("1 KiB, 16 conns x 5, 16 partitions", [16, 5, 1], 16, SMALL) },
    Row { to_reach_fsync: SMALL_FSYNC, ..closed("1 KiB, 16 conns x 5, 100 partitions", [16, 5, 1], 100, SMALL) },
    Row { to_reach_fsync: SMALL_FSYNC, ..closed("1 KiB, 16 conns x 5, 1,000 partitions", [16, 5, 1], 1000, SMALL) },
    closed("16 KiB, 4 conns x 4", [4, 4, 16], 16, bounds(1.5, 0.25, 0.5)),
    Row { by_volume: true, ..closed("256 KiB, 4 conns x 4", [4, 4, 256], 16, bounds(4.0, 1.0 / 6.0, 1.0 / 3.0)) },
    Row { to_reach_fsync: Bounds { p50: Some(0.5), ..NONE }, ..closed("1 KiB, one at a time", [1, 1, 1], 16, NONE) },
    Row {
        name: "open loop, 1,000 requests/s of 1 KiB",
        load: Load::Open { rate: 1_000.0 },
        by_volume: false,
        to_reach: OPEN,
        to_reach_fsync: NONE,
    },
    Row {
        name: "open loop, 5,000 requests/s of 1 KiB",
        load: Load::Open { rate: 5_000.0 },
        by_volume: false,
        to_reach: OPEN,
        to_reach_fsync: NONE,
    },
    Row {
        name: "end to end, 1,000 records/s of 300 B",
        load: Load::EndToEnd { rate: 1_000.0 },
        by_volume: false,
        to_reach: Bounds { cpu: Some(1.0 / 3.0), p99: Some(1.0), ..NONE },
        to_reach_fsync: NONE,
    },
    Row {
        name: "fetch of cached 256 KiB batches, 1 MiB a piece",
        load: Load::Fetch { records: 256 },
        by_volume: false,
        to_reach: Bounds { throughput: Some(1.0), cpu: Some(0.8), ..NONE },
        to_reach_fsync: NONE,
    },
    Row {
        name: "fetch of cached 1 KiB batches, 1 MiB a piece",
        load: Load::Fetch { records: 1 },
        by_volume: false,
        to_reach: Bounds { throughput: Some(1.5), cpu: Some(0.8), ..NONE },
        to_reach_fsync: NONE,
    },
];

impl Row {
    /// The rate that it asks for; none for those that go as fast as they can.
    pub fn rate(&self) -> Option<f64> {
        match self.load {
            Load::Open { rate } | Load::EndToEnd { rate } => Some(rate),
            Load::Closed { .. } | Load::Fetch { .. } => None,
        }
    }

    /// True where bytes say more than requests.
    pub fn counts_bytes(&self) -> bool {
        matches!(self.load, Load::Fetch { .. } | Load::Closed { records: 16.., .. })
    }

    /// The settings of its clients, for whoever wants to repeat it with other means.
    pub fn settings(&self) -> String {
        let produce = "Produce v7, acks=-1, one batch of one partition a request, records of noise, no compression";
        match self.load {
            Load::Closed { conns, depth, records, partitions } => format!(
                "{produce}; {conns} connections, {depth} requests in flight on each; {records} records of {RECORD_BYTES} B \
                 a batch, {partitions} partitions"
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
        }
    }

    /// Runs it.
    pub fn measure(&self, target: Target) -> Result<Outcome, String> {
        match self.load {
            Load::Closed { conns, depth, records, partitions } => {
                produce::measure(&produced(target, conns, depth, records, partitions, None))
            }
            Load::Open { rate } => produce::measure(&produced(target, 16, 1, 1, 16, Some(rate))),
            Load::EndToEnd { rate } => {
                e2e::measure(&e2e::Options { target, partitions: 4, record_bytes: E2E_RECORD_BYTES, rate })
            }
            Load::Fetch { records } => fetch::measure(&fetch::Options::of_tables(target, records)),
        }
    }
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
