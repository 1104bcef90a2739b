//! The frame around every load: warm-up, measured time, the broker's CPU in it, and the threads' tallies together.

use crate::report::Outcome;
use crate::stats::{Tally, cpu_seconds};
use clap::Args;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// The error of a load that was ended early: half a measurement is none.
pub const INTERRUPTED: &str = "interrupted";
/// How often it is looked whether enough was carried.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// What every load needs to know.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The broker, host:port.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The broker's process, to measure its CPU time.
    #[arg(long)]
    pub pid: Option<u32>,
    /// The topic; created if missing.
    #[arg(long, default_value = "perf")]
    pub topic: String,
    /// A config of the topic when it is created, key=value; as often as wanted.
    #[arg(long = "topic-config")]
    pub topic_configs: Vec<String>,
    /// Do not create the topic: the target is no whole broker.
    #[arg(long)]
    pub no_create: bool,
    /// Measured time in seconds.
    #[arg(long, default_value_t = 10.0)]
    pub secs: f64,
    /// Measure until this many bytes of batches were carried, too.
    #[arg(long, default_value_t = 0)]
    pub bytes_at_least: u64,
    /// Time before it in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub warmup_secs: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Set by whoever wants the load to end early: then there is no outcome.
    #[arg(skip)]
    pub stop: Arc<AtomicBool>,
}

/// When a load's measured time begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Responses count from here.
    pub begin: Instant,
    /// To here at least.
    pub end: Instant,
    gate: &'a Gate,
    stop: &'a AtomicBool,
}

/// What all connections know of each other: how much has been carried, and since when that is enough.
#[derive(Debug, Default)]
struct Gate {
    bytes_at_least: u64,
    bytes: AtomicU64,
    closed_at: OnceLock<Instant>,
}

impl Window<'_> {
    /// True when a response at `now` counts.
    pub fn counts(&self, now: Instant) -> bool {
        now >= self.begin && !self.is_over(now)
    }

    /// True when nothing more is to be sent at `now`: the time is over, and all bytes that were asked for were carried.
    /// Or somebody wants an early end.
    pub fn is_over(&self, now: Instant) -> bool {
        match self.gate.closed_at.get() {
            Some(closed_at) => now >= *closed_at,
            None => {
                let over = now >= self.end && self.gate.bytes.load(Ordering::Relaxed) >= self.gate.bytes_at_least;
                (over || self.is_stopped()) && now >= *self.gate.closed_at.get_or_init(|| now)
            }
        }
    }

    /// True while a request that is due then may still leave: to the end of the time, or, where bytes were asked for, until all
    /// of them were carried.
    pub fn sends(&self, due: Instant) -> bool {
        let by_volume = self.gate.bytes_at_least > 0;
        !self.is_stopped() && if by_volume { !self.is_over(Instant::now()) } else { due < self.end }
    }

    /// True when somebody wants an early end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A response that counts carried this much.
    pub fn carried(&self, bytes: u64) {
        if self.gate.bytes_at_least > 0 {
            self.gate.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Sleeps until it is over; how long it was, in seconds. A load that gives up never gets there: `gave_up` tells.
    fn wait_until_over(&self, gave_up: impl Fn() -> bool) -> f64 {
        while !self.is_over(Instant::now()) && !gave_up() {
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        // Who gave up carries nothing any more: the others must not wait for that.
        let closed_at = self.gate.closed_at.get_or_init(Instant::now);
        closed_at.saturating_duration_since(self.begin).as_secs_f64()
    }
}

/// Runs one thread per connection with `load(connection, window)` and puts their figures together.
pub fn run(
    target: &Target,
    connections: usize,
    load: impl Fn(usize, Window<'_>) -> Result<Tally, String> + Sync,
) -> Result<Outcome, String> {
    let gate = Gate { bytes_at_least: target.bytes_at_least, ..Gate::default() };
    let begin = Instant::now() + Duration::from_secs_f64(target.warmup_secs);
    let window = Window { begin, end: begin + Duration::from_secs_f64(target.secs), gate: &gate, stop: &target.stop };
    let (used, tallies) = thread::scope(|scope| {
        let load = &load;
        let threads: Vec<_> =
            (0..connections).map(|connection| scope.spawn(move || load(connection, window))).collect();
        let used = measure(target.pid, window, || threads.iter().any(thread::ScopedJoinHandle::is_finished));
        let tallies: Result<Vec<Tally>, String> =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a load thread panicked".to_owned())?).collect();
        (used, tallies)
    });
    if window.is_stopped() {
        return Err(INTERRUPTED.to_owned());
    }
    let mut all = Tally::new();
    for tally in &tallies? {
        all.merge(tally);
    }
    if all.requests == 0 {
        let code = all.first_error.map_or("no response at all".to_owned(), |code| format!("error code {code}"));
        return Err(format!("not one request succeeded: {code}"));
    }
    let (secs, cpu_secs) = used?;
    Ok(Outcome::new(all, secs, cpu_secs))
}

/// The length of the measured time, and the process's CPU seconds in it.
fn measure(pid: Option<u32>, window: Window<'_>, gave_up: impl Fn() -> bool) -> Result<(f64, Option<f64>), String> {
    while Instant::now() < window.begin && !window.is_stopped() {
        thread::sleep(LOOK_AGAIN_AFTER.min(window.begin.saturating_duration_since(Instant::now())));
    }
    let before = pid.map(cpu_seconds).transpose()?;
    let secs = window.wait_until_over(gave_up);
    let after = pid.map(cpu_seconds).transpose()?;
    Ok((secs, after.zip(before).map(|(after, before)| after - before)))
}
