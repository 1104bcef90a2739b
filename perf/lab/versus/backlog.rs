//! A backlog that no cache holds, drained while producers go on at a steady rate: how fast it is read, and what that costs them.
//! Must never touch: which brokers there are.

use crate::admin::{connect, ensure_topic, exchange};
use crate::bench::{self, INTERRUPTED, Target, Window};
use crate::frames::{self, fetch_offset_at, read_fetched};
use crate::lab::sys::{drop_from_page_cache, sync_file_system};
use crate::produce::{Schedule, fill, open_loop_with};
use crate::report::Outcome;
use crate::stats::Tally;
use coretide_log::batch::walk_batches;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Partitions of the topic.
pub const PARTITIONS: i32 = 16;
/// Producing connections.
pub const PRODUCERS: usize = 16;
/// Draining connections; each has its share of the partitions and asks them in turn.
pub const DRAINERS: usize = 4;
/// Requests per second of all producers together.
pub const RATE: f64 = 1_000.0;
/// Records of 1 KiB in each batch of the producers.
pub const PRODUCED_RECORDS: usize = 16;
/// Records of 1 KiB in each batch of the backlog.
const BACKLOG_RECORDS: usize = 256;
const RECORD_BYTES: usize = 1024;
/// The most bytes asked for at once.
const PIECE_BYTES: i32 = 1 << 20;
/// How often each partition is filled before it is looked whether somebody wants an early end: 64 MiB in all.
const FILL_BATCHES: u64 = 16;
/// A piece without a record is asked for again so often before the backlog counts as lost.
const EMPTY_MAX: u32 = 20;

/// What came of it.
pub struct Drained {
    /// Bytes, fetches and CPU of the drain; latency is the producers' meanwhile.
    pub outcome: Outcome,
    /// The producers before it.
    pub alone: Outcome,
    /// What the broker read from the disk meanwhile; none where its process is not known.
    pub read_bytes: Option<u64>,
}

/// Fills, empties the cache (`data`: the broker's folder, if it is known), measures the producers alone for the target's time, and
/// then with the drain of all `backlog_bytes`.
pub fn measure(target: &Target, backlog_bytes: u64, data: Option<&Path>) -> Result<Drained, String> {
    ensure_topic(&target.bootstrap, &target.topic, PARTITIONS, &target.topic_configs)?;
    let (firsts, bytes) = fill_backlog(target, backlog_bytes)?;
    if let Some(data) = data {
        let said = |e: std::io::Error| format!("{}: {e}", data.display());
        sync_file_system(data).map_err(said)?;
        drop_from_page_cache(data).map_err(said)?;
    }
    let batch = frames::batch(PRODUCED_RECORDS, RECORD_BYTES);
    let frames = frames::produce(&target.topic, PARTITIONS, &batch)?;
    let produce = |connection: usize, window: Window<'_>| {
        let schedule = Schedule {
            interval: Duration::from_secs_f64(PRODUCERS as f64 / RATE),
            first: Duration::from_secs_f64(connection as f64 / RATE),
        };
        let stream = connect(&target.bootstrap)?;
        open_loop_with(&stream, &frames, connection, &schedule, window, batch.len() as u64, |_| ())
    };
    let alone = bench::run(target, PRODUCERS, produce)?;
    let read_before = target.pid.and_then(read_bytes);
    let both = Target { secs: 0.0, bytes_at_least: bytes, ..target.clone() };
    let outcome = bench::run(&both, PRODUCERS + DRAINERS, |connection, window| {
        if connection >= PRODUCERS {
            let share = firsts.iter().enumerate().filter(|(place, _)| place % DRAINERS == connection - PRODUCERS);
            let lanes =
                share.map(|(place, [first, end])| lane(target, place, *first, *end)).collect::<Result<_, _>>()?;
            return drain(connect(&target.bootstrap)?, lanes, window);
        }
        // Their bytes are not the backlog's.
        produce(connection, window).map(|tally| Tally { requests: 0, bytes: 0, ..tally })
    })?;
    let read_bytes = read_before.zip(target.pid.and_then(read_bytes)).map(|(before, after)| after - before);
    Ok(Drained { outcome, alone, read_bytes })
}

/// Each partition's first offset and the one behind its backlog, and the bytes of all.
fn fill_backlog(target: &Target, backlog_bytes: u64) -> Result<(Vec<[i64; 2]>, u64), String> {
    let batch = frames::batch(BACKLOG_RECORDS, RECORD_BYTES);
    let piece = batch.len() as u64 * FILL_BATCHES;
    let rounds = backlog_bytes.div_ceil(piece * PARTITIONS as u64).max(1);
    let mut begins = Vec::new();
    for round in 0..rounds {
        if target.stop.load(Ordering::Relaxed) {
            return Err(INTERRUPTED.to_string());
        }
        let firsts = fill(&target.bootstrap, &target.topic, PARTITIONS, &batch, piece)?;
        if round == 0 {
            begins = firsts;
        }
    }
    let records = (rounds * FILL_BATCHES) as i64 * BACKLOG_RECORDS as i64;
    let spans = begins.into_iter().map(|first| [first, first + records]).collect();
    Ok((spans, rounds * piece * PARTITIONS as u64))
}

/// A partition that is being drained.
struct Lane {
    frame: Vec<u8>,
    next: i64,
    end: i64,
    empty: u32,
}

fn lane(target: &Target, partition: usize, first: i64, end: i64) -> Result<Lane, String> {
    let frame = frames::fetch(&target.topic, partition as i32, first, PIECE_BYTES)?;
    Ok(Lane { frame, next: first, end, empty: 0 })
}

/// Reads all lanes in turn from the beginning of the measured time to their ends, then waits for the others.
fn drain(mut stream: TcpStream, mut lanes: Vec<Lane>, window: Window<'_>) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let mut body = Vec::new();
    thread::sleep(window.begin.saturating_duration_since(Instant::now()));
    while !lanes.is_empty() && !window.is_over(Instant::now()) {
        for lane in &mut lanes {
            let bytes = fetch_piece(&mut stream, lane, &mut body)?;
            tally.requests += 1;
            tally.bytes += bytes;
            window.carried(bytes);
        }
        lanes.retain(|lane| lane.next < lane.end);
    }
    // A thread that ends before the others would look as if it had given up.
    while !window.is_over(Instant::now()) {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(tally)
}

/// One fetch of a lane; the bytes of its whole batches that belong to the backlog.
fn fetch_piece(stream: &mut TcpStream, lane: &mut Lane, body: &mut Vec<u8>) -> Result<u64, String> {
    let at = fetch_offset_at(&lane.frame);
    lane.frame[at..at + 8].copy_from_slice(&lane.next.to_be_bytes());
    let length = exchange(stream, &lane.frame, body)?;
    let fetched = read_fetched(&body[..length]).ok_or("a response could not be read")?;
    if fetched.error_code != 0 {
        return Err(format!("a fetch of the backlog ended with error {}", fetched.error_code));
    }
    let (mut bytes, before) = (0, lane.next);
    for (_, header) in walk_batches(fetched.records) {
        if header.next_offset() > lane.next && header.next_offset() <= lane.end {
            bytes += header.total_bytes() as u64;
            lane.next = header.next_offset();
        }
    }
    lane.empty = if lane.next > before { 0 } else { lane.empty + 1 };
    if lane.empty > EMPTY_MAX {
        return Err(format!("the backlog has a hole at offset {}", lane.next));
    }
    Ok(bytes)
}

/// What a process has had read from disks since it began.
fn read_bytes(pid: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("read_bytes:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_reads_can_be_told() {
        assert!(read_bytes(std::process::id()).is_some());
        assert_eq!(read_bytes(u32::MAX), None);
    }
}
