//! The frame around every load: warm-up, measured time, the broker's CPU in it, and the threads' tallies together.

use crate::report::Outcome;
use crate::stats::{Tally, cpu_seconds};
use clap::Args;
use std::thread;
use std::time::{Duration, Instant};

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
    /// Time before it in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub warmup_secs: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// When a load's measured time begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Responses count from here.
    pub begin: Instant,
    /// To here; nothing is sent afterwards.
    pub end: Instant,
}

impl Window {
    /// True when a response at `now` counts.
    pub fn counts(&self, now: Instant) -> bool {
        (self.begin..self.end).contains(&now)
    }
}

/// Runs one thread per connection with `load(connection, window)` and puts their figures together.
pub fn run(
    target: &Target,
    connections: usize,
    load: impl Fn(usize, Window) -> Result<Tally, String> + Sync,
) -> Result<Outcome, String> {
    let begin = Instant::now() + Duration::from_secs_f64(target.warmup_secs);
    let window = Window { begin, end: begin + Duration::from_secs_f64(target.secs) };
    let (cpu, tallies) = thread::scope(|scope| {
        let load = &load;
        let threads: Vec<_> =
            (0..connections).map(|connection| scope.spawn(move || load(connection, window))).collect();
        let cpu = target.pid.map(|pid| measure_cpu(pid, window)).transpose();
        let tallies: Result<Vec<Tally>, String> =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a load thread panicked".to_owned())?).collect();
        (cpu, tallies)
    });
    let mut all = Tally::new();
    for tally in &tallies? {
        all.merge(tally);
    }
    if all.requests == 0 {
        let code = all.first_error.map_or("no response at all".to_owned(), |code| format!("error code {code}"));
        return Err(format!("not one request succeeded: {code}"));
    }
    Ok(Outcome::new(&all, target.secs, cpu?))
}

fn measure_cpu(pid: u32, window: Window) -> Result<f64, String> {
    thread::sleep(window.begin.saturating_duration_since(Instant::now()));
    let before = cpu_seconds(pid)?;
    thread::sleep(window.end.saturating_duration_since(Instant::now()));
    Ok(cpu_seconds(pid)? - before)
}
