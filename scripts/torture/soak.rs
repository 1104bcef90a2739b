//! The soak: one life of the broker, long, under all clients, with its memory, open files and answer times sampled.
//! Must never touch: what the clients do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coretide_client::admin::NewTopic;
use coretide_client::{Client, ClientError};
use coretide_stdx::prng::Prng;
use coretide_wire::messages::produce::ProduceRequest;

use crate::broker::{Broker, Place, Settings, Usage};
use crate::calls;
use crate::content::{Flavour, Stamp, make_batch};
use crate::crew;
use crate::lag::percentile;
use crate::options::Options;
use crate::verify;
use crate::visitors::Visitor;
use crate::world::{REQUEST_TIMEOUT, World, lock, now_ms, value};

/// How often is sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Samples in a row without any acknowledged record after which the broker counts as stuck.
const SILENT_MAX: usize = 4;
/// How often all clients leave, everything is read back, and the large topics are made anew.
const REST_EVERY: Duration = Duration::from_secs(120);
/// When the values are taken that those at the end are held against; a third of the time in a shorter run.
const BASE_AT: Duration = Duration::from_secs(300);
/// Samples whose median counts.
const WINDOW: usize = 6;
/// How much more memory, and how much longer answers, are allowed at the end, in percent.
const MEMORY_MORE_MAX: f64 = 5.0;
const P99_MORE_MAX: f64 = 20.0;
/// Pause between two requests of the probe.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// What closed connections and deleted files may need until they are gone from the broker's tables.
const SETTLE: Duration = Duration::from_secs(3);

/// A sample.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    usage: Usage,
    p99_us: u32,
}

/// Asks one small, durable thing after the other and notes how long each takes.
struct Probe<'a> {
    shared: Arc<ProbeShared>,
    world: &'a World,
}

/// What the probe and the sampler share.
#[derive(Debug, Default)]
struct ProbeShared {
    times_us: Mutex<Vec<u32>>,
    over: AtomicBool,
}

impl Probe<'_> {
    fn run(self) -> Result<(), ClientError> {
        let mut connection = calls::connect(self.world, "soak-probe")?;
        let mut n = 0;
        while !self.shared.over.load(Ordering::Relaxed) {
            let stamp = Stamp { tag: 1, n, writer: 0, partition: 0, flavour: Flavour::Small };
            n += 1;
            let batch = make_batch(stamp, 4, now_ms(), None);
            let began = Instant::now();
            let request = calls::produce_request("probe", -1, &[(0, batch)]);
            let answer = connection.call::<ProduceRequest>(&request, REQUEST_TIMEOUT)?;
            let code = calls::produced(&answer, 0)?.error_code;
            ClientError::check(code, None, || "the probe".to_string())?;
            lock(&self.shared.times_us).push(began.elapsed().as_micros() as u32);
            std::thread::sleep(PROBE_EVERY);
        }
        Ok(())
    }
}

/// A run of the soak.
pub struct Soak<'a> {
    options: &'a Options,
    world: &'a World,
    place: &'a Place,
    prng: Prng,
    samples: Vec<Sample>,
    /// Sockets and the like while no client is there: after a while, and at the end.
    at_rest: Vec<(Duration, Usage)>,
}

impl<'a> Soak<'a> {
    /// A run that has not begun.
    pub fn new(options: &'a Options, world: &'a World, place: &'a Place) -> Soak<'a> {
        let prng = Prng::new(options.seed);
        Soak { options, world, place, prng, samples: Vec::new(), at_rest: Vec::new() }
    }

    /// Runs it. Exceeded limits are an error.
    pub fn run(mut self) -> Result<(), String> {
        let mut broker = self.place.start(&Settings::lively(2, &[]))?;
        broker.await_ready(self.place)?;
        crew::make_topics(self.world, &mut self.prng)?;
        let mut client = Client::connect(self.world.client_config("soak-setup")).map_err(|error| error.to_string())?;
        let configs = [("retention.bytes", "8388608"), ("segment.bytes", "1048576"), ("file.delete.delay.ms", "50")];
        let probe = NewTopic {
            name: "probe".to_string(),
            partitions: Some(1),
            configs: configs.map(|(name, value)| (name.to_string(), value.to_string())).to_vec(),
            ..NewTopic::default()
        };
        client.create_topic(&probe).map_err(|error| error.to_string())?;
        drop(client);
        let shared = Arc::new(ProbeShared::default());
        let world = self.world;
        let probe = Probe { shared: Arc::clone(&shared), world };
        let result = std::thread::scope(|scope| {
            scope.spawn(|| world.lag.run());
            let probe = scope.spawn(move || probe.run());
            let result = crew::embark(scope, world, &mut self.prng).and_then(|crew| {
                let visitor = Visitor { world, prng: self.prng.fork() };
                scope.spawn(move || visitor.run());
                self.samples(&mut broker, crew.len() + 1, &shared)
            });
            shared.over.store(true, Ordering::Relaxed);
            world.quit();
            world.lag.end();
            let probed = probe.join().map_err(|_| "the probe panicked".to_string())?;
            result.and(probed.map_err(|error| format!("the probe: {error}")))
        });
        for (what, times) in world.refusals() {
            println!("  {times:>6} x {what}");
        }
        result?;
        broker.ask_to_stop()?;
        broker.await_stopped(self.place)?;
        self.judge()
    }

    fn samples(&mut self, broker: &mut Broker, clients: usize, shared: &ProbeShared) -> Result<(), String> {
        println!("  minute  resident  sockets  segments open  deleted open  other   p99    acked/s");
        let began = Instant::now();
        let (mut rested, mut acked_before, mut silent) = (Instant::now(), 0, 0);
        self.world.open();
        while began.elapsed() < self.options.time {
            let from = Instant::now();
            std::thread::sleep(SAMPLE_EVERY);
            broker.still_lives(self.place)?;
            let p99_us = p99_of(std::mem::take(&mut *lock(&shared.times_us)));
            let sample = Sample { at: began.elapsed(), usage: broker.usage()?, p99_us };
            self.samples.push(sample);
            let acked = value(&self.world.counters.acked_records);
            let rate = (acked - acked_before) as f64 / from.elapsed().as_secs_f64();
            silent = if acked == acked_before { silent + 1 } else { 0 };
            if silent >= SILENT_MAX {
                let seconds = SAMPLE_EVERY.as_secs() * SILENT_MAX as u64;
                return Err(format!("no producer got an answer for {seconds} s"));
            }
            acked_before = acked;
            if self.samples.len().is_multiple_of(WINDOW) {
                println!("  {}  {rate:>8.0}", row(&sample));
            }
            if rested.elapsed() >= REST_EVERY {
                self.rest(broker, clients, began)?;
                self.world.open();
                rested = Instant::now();
                acked_before = value(&self.world.counters.acked_records);
                lock(&shared.times_us).clear();
            }
            if !self.world.failures().is_empty() {
                return Err("something was lost or wrong without any crash".to_string());
            }
        }
        self.rest(broker, clients, began)
    }

    /// Sends all clients away, reads everything back, and looks at what the broker still holds.
    fn rest(&mut self, broker: &Broker, clients: usize, began: Instant) -> Result<(), String> {
        self.world.close();
        self.world.await_all_out(clients)?;
        verify::check_commits(self.world);
        verify::check_all(self.world, &mut self.prng);
        crew::renew_topics(self.world, &mut self.prng, 0)?;
        std::thread::sleep(SETTLE);
        let sample = Sample { at: began.elapsed(), usage: broker.usage()?, p99_us: 0 };
        println!("  {}  at rest: {} records read back", row(&sample), value(&self.world.counters.read_records));
        self.at_rest.push((sample.at, sample.usage));
        Ok(())
    }

    fn judge(&self) -> Result<(), String> {
        let time = self.options.time;
        let base_at = if time > BASE_AT + BASE_AT / 2 { BASE_AT } else { time / 3 };
        let base: Vec<Sample> = self.samples.iter().filter(|sample| sample.at <= base_at).copied().collect();
        let (base, end) = (last(&base), last(&self.samples));
        let median = |samples: &[Sample], of: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let more = |of: fn(&Sample) -> f64| {
            let (before, after) = (median(base, of), median(end, of));
            (before, after, (after / before.max(1.0) - 1.0) * 100.0)
        };
        let memory = more(|sample| sample.usage.resident_kib as f64 / 1024.0);
        let p99 = more(|sample| f64::from(sample.p99_us));
        let rest_base = self.at_rest.iter().rev().find(|(at, _)| *at <= base_at + REST_EVERY).or(self.at_rest.first());
        let held = |usage: &Usage| usage.sockets + usage.deleted + usage.other;
        let (held_base, held_end) = (rest_base, self.at_rest.last());
        let (before, after) =
            (held_base.map_or(0, |(_, usage)| held(usage)), held_end.map_or(0, |(_, usage)| held(usage)));
        println!("\n== soak, seed {}, {} s", self.options.seed, time.as_secs());
        println!("medians of {WINDOW} samples up to {} s, and of the last {WINDOW}:", base_at.as_secs());
        println!(
            "  resident memory  {:.1} -> {:.1} MiB ({:+.1} %, limit {MEMORY_MORE_MAX} %)",
            memory.0, memory.1, memory.2
        );
        println!("  p99 of a produce {:.0} -> {:.0} us ({:+.1} %, limit {P99_MORE_MAX} %)", p99.0, p99.1, p99.2);
        println!("  sockets, deleted files, other handles without clients {before} -> {after} (limit 0 more)");
        println!("  the machine: {}", self.world.lag.text());
        let counters = &self.world.counters;
        println!(
            "  {} records acked, {} read back, {} connections, {} topics made, {} joins, {} commits",
            value(&counters.acked_records),
            value(&counters.read_records),
            value(&counters.connections),
            value(&counters.topics_created),
            value(&counters.joins),
            value(&counters.commits)
        );
        let mut over = Vec::new();
        if memory.2 > MEMORY_MORE_MAX {
            over.push("resident memory");
        }
        if p99.2 > P99_MORE_MAX {
            over.push("p99");
        }
        if after > before {
            over.push("open files");
        }
        if over.is_empty() { Ok(()) } else { Err(format!("over the limit: {}", over.join(", "))) }
    }
}

fn last(samples: &[Sample]) -> &[Sample] {
    &samples[samples.len().saturating_sub(WINDOW)..]
}

fn p99_of(mut times_us: Vec<u32>) -> u32 {
    times_us.sort_unstable();
    percentile(&times_us, 99)
}

fn row(sample: &Sample) -> String {
    let usage = &sample.usage;
    format!(
        "{:>6.1}  {:>4} MiB  {:>7}  {:>13}  {:>12}  {:>5}  {:>5} us",
        sample.at.as_secs_f64() / 60.0,
        usage.resident_kib / 1024,
        usage.sockets,
        usage.files,
        usage.deleted,
        usage.other,
        sample.p99_us
    )
}
