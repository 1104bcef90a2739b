//! The produce load. Closed loop: every connection keeps its depth of requests in flight. Open loop: requests leave at
//! fixed times whatever comes back, and latency counts from the time they should have left.

use crate::admin::{connect, ensure_topic, unheard, unsent};
use crate::bench::{self, Target, Window};
use crate::frames::{self, Produced, read_produced};
use crate::lab::sys::precise_sleep;
use crate::report::Outcome;
use crate::stats::Tally;
use bytes::Bytes;
use clap::Args;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Frames up to this size are gathered into one write.
const GATHER_UP_TO_BYTES: usize = 64 * 1024;

/// The produce load.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub target: Target,
    /// Connections, one thread each.
    #[arg(long, default_value_t = 16)]
    pub conns: usize,
    /// Requests in flight on each connection (closed loop).
    #[arg(long, default_value_t = 5)]
    pub depth: usize,
    /// Bytes of each record's value.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Records in each request's only batch.
    #[arg(long, default_value_t = 1)]
    pub records_per_batch: usize,
    /// Partitions to spread over.
    #[arg(long, default_value_t = 16)]
    pub partitions: i32,
    /// Open loop: requests per second over all connections.
    #[arg(long)]
    pub rate: Option<f64>,
}

/// Runs and prints it.
pub fn run(options: &Options) -> Result<(), String> {
    let outcome = measure(options)?;
    outcome.print(options.target.json);
    Ok(())
}

/// Runs it.
pub fn measure(options: &Options) -> Result<Outcome, String> {
    measure_of(options, &frames::batch(options.records_per_batch, options.record_bytes))
}

/// The same with a batch made elsewhere, whatever the options say of records.
pub fn measure_of(options: &Options, batch: &Bytes) -> Result<Outcome, String> {
    let target = &options.target;
    if !target.no_create {
        ensure_topic(&target.bootstrap, &target.topic, options.partitions, &target.topic_configs)?;
    }
    if !target.no_create {
        // A leader that does not know yet that it leads refuses what comes.
        fill(&target.bootstrap, &target.topic, options.partitions, &frames::batch(1, 1), 1)?;
    }
    let frames = frames::produce(&target.topic, options.partitions, batch)?;
    let batch_bytes = batch.len() as u64;
    bench::run(target, options.conns, |connection, window| {
        let stream = connect(&target.bootstrap)?;
        match options.rate {
            Some(rate) => {
                let schedule = Schedule {
                    interval: Duration::from_secs_f64(options.conns as f64 / rate),
                    first: Duration::from_secs_f64(connection as f64 / rate),
                };
                open_loop(&stream, &frames, connection, &schedule, window, batch_bytes)
            }
            None => closed_loop(stream, &frames, connection, options.depth, window, batch_bytes),
        }
    })
}

fn closed_loop(
    mut stream: TcpStream,
    frames: &[Bytes],
    connection: usize,
    depth: usize,
    window: Window<'_>,
    batch_bytes: u64,
) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let mut responses = Responses::new();
    let mut in_flight: VecDeque<(Instant, i32)> = VecDeque::with_capacity(depth);
    let mut gathered = Vec::new();
    let mut next = connection;
    let mut to_send = depth;
    loop {
        for _ in 0..to_send {
            let partition = next % frames.len();
            next += 1;
            let frame = &frames[partition];
            in_flight.push_back((Instant::now(), partition as i32));
            if frame.len() > GATHER_UP_TO_BYTES {
                stream.write_all(frame).map_err(unsent)?;
            } else {
                gathered.extend_from_slice(frame);
            }
        }
        if !gathered.is_empty() {
            stream.write_all(&gathered).map_err(unsent)?;
            gathered.clear();
        }
        if in_flight.is_empty() {
            return Ok(tally);
        }
        responses.receive(&mut stream)?;
        let now = Instant::now();
        to_send = 0;
        while let Some(body) = responses.next() {
            let produced = read_produced(body).ok_or("a response could not be read")?;
            let (sent, correlation_id) = in_flight.pop_front().ok_or("a response that nobody asked for")?;
            if produced.correlation_id != correlation_id {
                return Err("responses are out of order".into());
            }
            if window.counts(now) {
                tally.record(now - sent, batch_bytes, produced.error_code);
                window.carried(batch_bytes);
            }
            to_send += usize::from(!window.is_over(now));
        }
    }
}

/// When a connection's requests leave.
pub struct Schedule {
    /// Time between two.
    pub interval: Duration,
    /// Time until the first.
    pub first: Duration,
}

fn open_loop(
    stream: &TcpStream,
    frames: &[Bytes],
    connection: usize,
    schedule: &Schedule,
    window: Window<'_>,
    batch_bytes: u64,
) -> Result<Tally, String> {
    open_loop_with(stream, frames, connection, schedule, window, batch_bytes, |_| ())
}

/// Sends `frames` around and around at their times, beginning with number `connection`; `leaves` is told each time before
/// the request is sent.
pub fn open_loop_with(
    stream: &TcpStream,
    frames: &[Bytes],
    connection: usize,
    schedule: &Schedule,
    window: Window<'_>,
    batch_bytes: u64,
    leaves: impl Fn(Instant) + Send,
) -> Result<Tally, String> {
    let (sent, intended) = channel();
    thread::scope(|scope| {
        let due_at = move |due| {
            leaves(due);
            sent.send(due).is_ok()
        };
        let sender = scope.spawn(move || send_on_time(stream, frames, connection, schedule, window, due_at));
        let tally = receive_all(stream, &intended, window, batch_bytes);
        // A receiver that gave up must not leave the sender blocked.
        if tally.is_err() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        let sender = sender.join().map_err(|_| "the sender panicked".to_owned())?;
        tally.and_then(|tally| sender.map(|()| tally))
    })
}

fn send_on_time(
    mut stream: &TcpStream,
    frames: &[Bytes],
    connection: usize,
    schedule: &Schedule,
    window: Window<'_>,
    due_at: impl Fn(Instant) -> bool,
) -> Result<(), String> {
    precise_sleep();
    let mut due = Instant::now() + schedule.first;
    let mut next = connection;
    while window.sends(due) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // Told before it is sent: a fast broker's answer must not overtake the word of it.
        if !due_at(due) {
            return Ok(());
        }
        stream.write_all(&frames[next % frames.len()]).map_err(unsent)?;
        next += 1;
        due += schedule.interval;
    }
    Ok(())
}

fn receive_all(
    mut stream: &TcpStream,
    intended: &Receiver<Instant>,
    window: Window<'_>,
    batch_bytes: u64,
) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let mut responses = Responses::new();
    // The sender drops its end after the last request: then everything that was asked has been answered.
    while let Ok(due) = intended.recv() {
        let produced = responses.next_produced(&mut stream)?;
        let now = Instant::now();
        if window.counts(now) {
            tally.record(now - due, batch_bytes, produced.error_code);
        }
    }
    Ok(tally)
}

/// Cuts what arrives into frames.
struct Responses {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Responses {
    fn new() -> Responses {
        Responses { buffer: vec![0; 64 * 1024], start: 0, end: 0 }
    }

    fn receive(&mut self, stream: &mut impl Read) -> Result<(), String> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => Err("the broker closed the connection".into()),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(e) => Err(unheard(e)),
        }
    }

    /// The next response, waited for.
    fn next_produced(&mut self, stream: &mut impl Read) -> Result<Produced, String> {
        loop {
            if let Some(body) = self.next() {
                return read_produced(body).ok_or_else(|| "a response could not be read".to_owned());
            }
            self.receive(stream)?;
        }
    }

    fn next(&mut self) -> Option<&[u8]> {
        let filled = &self.buffer[self.start..self.end];
        let length = u32::from_be_bytes(filled.get(..4)?.try_into().ok()?) as usize;
        let whole = filled.get(4..4 + length)?;
        self.start += 4 + length;
        Some(whole)
    }
}

/// Fills each partition with at least `bytes_per_partition`; returns each partition's first offset.
pub fn fill(
    address: &str,
    topic: &str,
    partitions: i32,
    batch: &Bytes,
    bytes_per_partition: u64,
) -> Result<Vec<i64>, String> {
    let frames = frames::produce(topic, partitions, batch)?;
    let rounds = bytes_per_partition.div_ceil(batch.len() as u64);
    let mut stream = connect(address)?;
    let mut responses = Responses::new();
    let mut firsts = Vec::with_capacity(frames.len());
    for frame in &frames {
        firsts.push(fill_first(&mut stream, &mut responses, frame)?);
    }
    for _ in 1..rounds {
        for frame in &frames {
            stream.write_all(frame).map_err(unsent)?;
        }
        for _ in &frames {
            let produced = responses.next_produced(&mut stream)?;
            if produced.error_code != 0 {
                return Err(format!("filling {topic}: error {}", produced.error_code));
            }
        }
    }
    Ok(firsts)
}

/// A partition's first batch: a broker may name a leader that does not know yet that it leads.
fn fill_first(stream: &mut TcpStream, responses: &mut Responses, frame: &Bytes) -> Result<i64, String> {
    const WITHIN: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + WITHIN;
    loop {
        stream.write_all(frame).map_err(unsent)?;
        let produced = responses.next_produced(stream)?;
        match produced.error_code {
            0 => return Ok(produced.base_offset),
            code if Instant::now() > deadline => return Err(format!("filling: still error {code} after {WITHIN:?}")),
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}
