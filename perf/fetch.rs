//! The fetch load: fills partitions, then reads the newest part of them around and around.

use crate::admin::{connect, ensure_topic, exchange};
use crate::bench::{self, Target, Window};
use crate::frames::{self, fetch_offset_at, read_fetched};
use crate::produce::fill;
use crate::report::Outcome;
use crate::stats::Tally;
use clap::Args;
use coretide_log::batch::walk_batches;
use std::net::TcpStream;
use std::time::Instant;

/// The fetch load.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub target: Target,
    /// Connections, one thread each.
    #[arg(long, default_value_t = 4)]
    pub conns: usize,
    /// Bytes of each record's value.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Records in each batch.
    #[arg(long, default_value_t = 256)]
    pub records_per_batch: usize,
    /// Partitions; connection i reads partition i modulo this.
    #[arg(long, default_value_t = 4)]
    pub partitions: i32,
    /// How much is written to each partition and then read again and again, in MiB.
    #[arg(long, default_value_t = 8)]
    pub span_mib: u64,
    /// The most bytes asked for at once.
    #[arg(long, default_value_t = 1 << 20)]
    pub piece_bytes: i32,
}

impl Options {
    /// The load of the tables: 4 connections, one for each of 4 partitions, a mebibyte at a time; batches of so many records of
    /// 1 KiB.
    pub fn of_tables(target: Target, records_per_batch: usize) -> Options {
        let (conns, partitions, record_bytes) = (4, 4, 1024);
        Options { target, conns, record_bytes, records_per_batch, partitions, span_mib: 8, piece_bytes: 1 << 20 }
    }
}

/// Runs and prints it.
pub fn run(options: &Options) -> Result<(), String> {
    let outcome = measure(options)?;
    outcome.print(options.target.json);
    Ok(())
}

/// Runs it.
pub fn measure(options: &Options) -> Result<Outcome, String> {
    let target = &options.target;
    let mut firsts = vec![0; options.partitions as usize];
    if !target.no_create {
        ensure_topic(&target.bootstrap, &target.topic, options.partitions, &target.topic_configs)?;
        let batch = frames::batch(options.records_per_batch, options.record_bytes);
        firsts = fill(&target.bootstrap, &target.topic, options.partitions, &batch, options.span_mib << 20)?;
    }
    bench::run(target, options.conns, |connection, window| {
        let partition = connection as i32 % options.partitions;
        let first = firsts[partition as usize];
        let frame = frames::fetch(&target.topic, partition, first, options.piece_bytes)?;
        around(connect(&target.bootstrap)?, frame, first, window)
    })
}

/// Fetches from `first` to the end, again and again.
fn around(mut stream: TcpStream, mut frame: Vec<u8>, first: i64, window: Window<'_>) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let mut offset = first;
    let mut body = Vec::new();
    let offset_at = fetch_offset_at(&frame);
    loop {
        let sent = Instant::now();
        if window.is_over(sent) {
            return Ok(tally);
        }
        frame[offset_at..offset_at + 8].copy_from_slice(&offset.to_be_bytes());
        let length = exchange(&mut stream, &frame, &mut body)?;
        let now = Instant::now();
        let fetched = read_fetched(&body[..length]).ok_or("a response could not be read")?;
        if window.counts(now) {
            tally.record(now - sent, fetched.records.len() as u64, fetched.error_code);
            window.carried(fetched.records.len() as u64);
        }
        if fetched.error_code == 0 && fetched.records.is_empty() && offset == first {
            return Err("there is nothing to read".into());
        }
        let next = walk_batches(fetched.records).last().map(|(_, header)| header.next_offset());
        offset = next.filter(|next| *next < fetched.high_watermark).unwrap_or(first);
    }
}
