//! End to end: records leave at fixed times, a fetch that waits for them brings each to a reader; latency is from the time
//! a record should have left to the time it was read.

use crate::admin::{connect, ensure_topic, exchange};
use crate::bench::{self, Target, Window};
use crate::frames::{self, fetch_offset_at, read_fetched};
use crate::produce::{Schedule, fill, open_loop_with};
use crate::report::Outcome;
use crate::stats::Tally;
use clap::Args;
use coretide_log::batch::walk_batches;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The most bytes asked for at once.
const PIECE_BYTES: i32 = 1 << 20;

/// The end-to-end load.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub target: Target,
    /// Partitions; each has a connection that writes and one that reads.
    #[arg(long, default_value_t = 4)]
    pub partitions: i32,
    /// Bytes of each record's value, one record a request.
    #[arg(long, default_value_t = 300)]
    pub record_bytes: usize,
    /// Records per second over all partitions.
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
}

/// Runs and prints it.
pub fn run(options: &Options) -> Result<(), String> {
    let outcome = measure(options)?;
    outcome.print(options.target.json);
    Ok(())
}

/// One partition's records: when each should have left, in the order of their offsets.
struct Lane {
    /// The offset of the first of them.
    first: i64,
    due: Mutex<Vec<Instant>>,
}

/// Runs it.
pub fn measure(options: &Options) -> Result<Outcome, String> {
    let target = &options.target;
    let partitions = options.partitions as usize;
    ensure_topic(&target.bootstrap, &target.topic, options.partitions, &target.topic_configs)?;
    let batch = frames::batch(1, options.record_bytes);
    // The one record that each partition gets first stands before what is measured.
    let firsts = fill(&target.bootstrap, &target.topic, options.partitions, &batch, 1)?;
    let lanes: Vec<Lane> = firsts.iter().map(|first| Lane { first: first + 1, due: Mutex::new(Vec::new()) }).collect();
    let frames = frames::produce(&target.topic, options.partitions, &batch)?;
    let batch_bytes = batch.len() as u64;
    let mut outcome = bench::run(target, 2 * partitions, |connection, window| {
        let partition = connection % partitions;
        let lane = &lanes[partition];
        if connection >= partitions {
            let frame = frames::fetch(&target.topic, partition as i32, lane.first, PIECE_BYTES)?;
            return read_lane(connect(&target.bootstrap)?, frame, lane, window, batch_bytes);
        }
        let schedule = Schedule {
            interval: Duration::from_secs_f64(partitions as f64 / options.rate),
            first: Duration::from_secs_f64(partition as f64 / options.rate),
        };
        let stream = connect(&target.bootstrap)?;
        let leaves = |due| lane.due.lock().expect("nobody panics with it").push(due);
        let acknowledged =
            open_loop_with(&stream, &frames[partition..=partition], 0, &schedule, window, batch_bytes, leaves)?;
        // Only arrivals are counted; a record that was refused never arrives, and shifts all that follow.
        match acknowledged.first_error {
            Some(code) => Err(format!("a record was refused with error {code}")),
            None => Ok(Tally::new()),
        }
    })?;
    outcome.cpu_us_per_request = outcome.cpu_secs.map(|cpu| cpu * 1e6 / outcome.requests as f64);
    Ok(outcome)
}

/// Fetches what comes until the measured time is over.
fn read_lane(
    mut stream: std::net::TcpStream,
    mut frame: Vec<u8>,
    lane: &Lane,
    window: Window<'_>,
    batch_bytes: u64,
) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let mut body = Vec::new();
    let mut offset = lane.first;
    let offset_at = fetch_offset_at(&frame);
    while !window.is_over(Instant::now()) {
        frame[offset_at..offset_at + 8].copy_from_slice(&offset.to_be_bytes());
        let length = exchange(&mut stream, &frame, &mut body)?;
        let now = Instant::now();
        let fetched = read_fetched(&body[..length]).ok_or("a response could not be read")?;
        if fetched.error_code != 0 {
            return Err(format!("a fetch ended with error {}", fetched.error_code));
        }
        let next = walk_batches(fetched.records).last().map_or(offset, |(_, header)| header.next_offset());
        let due = lane.due.lock().expect("nobody panics with it");
        for arrived in offset..next {
            let due = due.get((arrived - lane.first) as usize).ok_or("a record arrived that was never sent")?;
            if window.counts(now) {
                tally.record(now - *due, batch_bytes, 0);
            }
        }
        offset = next;
    }
    Ok(tally)
}
