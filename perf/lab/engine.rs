//! Runs one scenario on one broker: topics made, threads started, the window measured, everything joined and cleaned up.
//! Must never touch: what the figures are for (comparing, sweeping), how they are shown.

use crate::lab::cluster::{self, RunTopics};
use crate::lab::consumer::Consumer;
use crate::lab::error::LabError;
use crate::lab::payload::{Generator, STAMP_BYTES};
use crate::lab::process::{self, MachineTicks, Usage};
use crate::lab::producer::{Layout, Producer, ProducerParts, Schedule};
use crate::lab::result::{Broker, Interval, Latency, Run, new_histogram};
use crate::lab::scenario::{Rate, Scenario};
use crate::lab::tally::{NS_PER_SEC, Role, Second, Seconds, Window, side};
use crate::lab::threads::{self, Clock, Shared, ThreadReport};
use crate::lab::validity::{Facts, judge};
use crate::lab::{result, sys};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections are made before the load begins; this is how long the threads get to their start.
const START_AFTER_NS: u64 = 50_000_000;
/// How long answers and records may come in after the window.
pub const GRACE_NS: u64 = 10 * NS_PER_SEC;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A second of a run as it goes on, for whoever watches.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Seconds since the measured time began; negative in the warm-up.
    pub second: i64,
    /// Of producers.
    pub produced: Option<Interval>,
    /// Of consumers.
    pub consumed: Option<Interval>,
    /// The broker's CPU in it, in cores.
    pub broker_cores: Option<f64>,
}

/// Watches a run.
pub trait Watch {
    /// Something other than a second of load goes on.
    fn phase(&mut self, words: &str);
    /// A second is over.
    fn second(&mut self, progress: &Progress);
}

/// Watches nothing.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn phase(&mut self, _words: &str) {}
    fn second(&mut self, _progress: &Progress) {}
}

/// Runs a scenario. `place` is the broker's in the result file; `stop` ends the run early.
pub fn run(
    broker: &Broker,
    place: usize,
    scenario: &Scenario,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
) -> Result<Run, LabError> {
    let mut topics = RunTopics::create(&broker.address, &scenario.topic)?;
    let mut result = run_on(broker, place, scenario, &mut topics, stop, watch);
    watch.phase("deleting the topics");
    // What was measured is kept, also when the broker is gone by now.
    if let (Err(error), Ok(run)) = (topics.delete(), &mut result) {
        run.validity.remarks.push(error.to_string());
    }
    result
}

fn run_on(
    broker: &Broker,
    place: usize,
    scenario: &Scenario,
    topics: &mut RunTopics,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
) -> Result<Run, LabError> {
    let layout = Arc::new(topics.layout()?);
    let clock = Clock::start();
    if scenario.consumers.backlog_bytes > 0 {
        watch.phase("writing the backlog");
        write_backlog(scenario, &layout, topics, stop, clock)?;
    }
    let consumers = consumers(scenario, &layout, topics)?;
    let producers = producers(scenario, &layout, topics, clock.now_ns() + START_AFTER_NS)?;
    let start_ns = clock.now_ns() + START_AFTER_NS;
    let begin_ns = start_ns + (scenario.warmup_secs * NS_PER_SEC as f64) as u64;
    let window = Window { begin_ns, end_ns: begin_ns + (scenario.secs * NS_PER_SEC as f64) as u64 };
    let (sender, seconds) = channel();
    let readers_per_record = if consumers.is_empty() { 0 } else { u64::from(scenario.consumers.groups) };
    let shared = Shared::new(clock, window, Arc::clone(stop), readers_per_record);
    let mut threads = Threads { produce: Vec::new(), consume: Vec::new() };
    for group in consumers {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        threads.consume.push(threads::spawn("bench-consume", move || threads::consume(group, &shared, sender))?);
    }
    for group in producers {
        let (shared, sender, address) = (Arc::clone(&shared), sender.clone(), broker.address.clone());
        let new_id = move || cluster::producer_id(&address).map_err(|error| error.to_string());
        let work = move || threads::produce(group, &shared, sender, new_id);
        threads.produce.push(threads::spawn("bench-produce", work)?);
    }
    drop(sender);
    let observed = observe(broker, &shared, &seconds, watch);
    let finished = threads.join(&shared)?;
    finish(broker, place, scenario, observed, finished, &seconds)
}

struct Threads {
    produce: Vec<JoinHandle<Result<ThreadReport, String>>>,
    consume: Vec<JoinHandle<Result<ThreadReport, String>>>,
}

struct Finished {
    produce: Vec<ThreadReport>,
    consume: Vec<ThreadReport>,
}

impl Threads {
    /// Producers end first; consumers then read what they have written.
    fn join(self, shared: &Shared) -> Result<Finished, LabError> {
        let join = |threads: Vec<JoinHandle<Result<ThreadReport, String>>>| {
            let results = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result.map_err(LabError::Failed),
                Err(_) => Err(LabError::Failed("a thread of the generator panicked".to_string())),
            });
            results.collect::<Result<Vec<_>, _>>()
        };
        let produce = join(self.produce);
        shared.producers_done.store(true, Ordering::Release);
        let consume = join(self.consume)?;
        Ok(Finished { produce: produce?, consume })
    }
}

/// How many threads drive `clients` clients.
fn thread_count(asked: u32, clients: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if asked > 0 { asked as usize } else { (cores / 2).max(1) };
    threads.min(clients)
}

/// Deals clients out to threads.
fn deal<T>(clients: Vec<T>, threads: usize) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, client) in clients.into_iter().enumerate() {
        groups[place % threads].push(client);
    }
    groups
}

/// True if consumers measure by what stands in the records.
fn is_stamped(scenario: &Scenario) -> bool {
    scenario.consumers.count > 0
        && scenario.producers.count > 0
        && scenario.record.bytes.bounds().0 as usize >= STAMP_BYTES
}

fn producers(
    scenario: &Scenario,
    layout: &Arc<Layout>,
    topics: &mut RunTopics,
    start_ns: u64,
) -> Result<Vec<Vec<Producer>>, LabError> {
    let count = scenario.producers.count as usize;
    let mut producers = Vec::with_capacity(count);
    for place in 0..count {
        let schedule = Schedule::new(&scenario.producers.rate, place, count, start_ns);
        producers.push(producer(scenario, layout, topics, place, schedule, None, is_stamped(scenario))?);
    }
    Ok(if count == 0 { Vec::new() } else { deal(producers, thread_count(scenario.producers.threads, count)) })
}

fn producer(
    scenario: &Scenario,
    layout: &Arc<Layout>,
    topics: &mut RunTopics,
    place: usize,
    schedule: Schedule,
    bytes: Option<u64>,
    stamped: bool,
) -> Result<Producer, LabError> {
    let settings = scenario.producers.client.clone();
    let seed = scenario.seed.wrapping_mul(0x9e37_79b9).wrapping_add(place as u64);
    let generator = Generator::new(&scenario.record, stamped, seed).map_err(LabError::Usage)?;
    let id = if settings.enable_idempotence { Some(topics.producer_id()?) } else { None };
    let layout = Arc::clone(layout);
    Producer::connect(ProducerParts { settings, layout, generator, schedule, id, bytes, seed })
        .map_err(LabError::Failed)
}

fn consumers(
    scenario: &Scenario,
    layout: &Arc<Layout>,
    topics: &mut RunTopics,
) -> Result<Vec<Vec<Consumer>>, LabError> {
    let wanted = &scenario.consumers;
    let offsets = topics.offsets(layout, wanted.from)?;
    let again = scenario.producers.count == 0;
    let mut consumers = Vec::new();
    for _ in 0..wanted.groups {
        for member in 0..wanted.count as usize {
            let own = offsets.iter().copied().enumerate().filter(|(place, _)| place % wanted.count as usize == member);
            let own: Vec<(usize, i64)> = own.collect();
            let consumer = Consumer::connect(&wanted.client, Arc::clone(layout), &own, is_stamped(scenario), again);
            consumers.push(consumer.map_err(LabError::Failed)?);
        }
    }
    let count = consumers.len();
    Ok(if count == 0 { Vec::new() } else { deal(consumers, thread_count(wanted.threads, count)) })
}

/// Fills the topics at full speed, with large batches.
fn write_backlog(
    scenario: &Scenario,
    layout: &Arc<Layout>,
    topics: &mut RunTopics,
    stop: &Arc<AtomicBool>,
    clock: Clock,
) -> Result<(), LabError> {
    let now_ns = clock.now_ns();
    let schedule = Schedule::new(&Rate::Max, 0, 1, now_ns);
    let bytes = Some(scenario.consumers.backlog_bytes);
    let producer = producer(scenario, layout, topics, 0, schedule, bytes, false)?;
    // The window is never reached: the producer ends when its bytes are written.
    let never = Window { begin_ns: u64::MAX - 1, end_ns: u64::MAX };
    let shared = Shared::new(clock, never, Arc::clone(stop), 0);
    let (sender, _) = channel();
    let report = threads::produce(vec![producer], &shared, sender, || Err("a batch of the backlog failed".to_string()));
    let report = report.map_err(LabError::Failed)?;
    match report.tally.errors.first_key_value() {
        Some((name, _)) => Err(LabError::Failed(format!("writing the backlog: {name}"))),
        None if stop.load(Ordering::Relaxed) => Err(LabError::NothingMeasured),
        None => Ok(()),
    }
}

/// What the main thread saw while the others worked.
#[derive(Debug, Default)]
struct Observed {
    window: Option<Window>,
    produced: Seconds,
    consumed: Seconds,
    before: Option<Usage>,
    after: Option<Usage>,
    steal: Option<f64>,
    others: Option<f64>,
    interrupted: bool,
    broker_gone: bool,
}

fn observe(broker: &Broker, shared: &Shared, seconds: &Receiver<Second>, watch: &mut dyn Watch) -> Observed {
    let (window, clock) = (&shared.window, shared.clock);
    let device = data_folder(broker).and_then(|folder| process::device_of(&folder));
    let usage = || broker.pid.and_then(|pid| Usage::read(pid, device.as_deref()));
    let mut observed = Observed::default();
    let mut last = usage();
    let own = || Usage::read(std::process::id(), None);
    let mut ticks = None;
    let mut shown = window.second_of(clock.now_ns());
    loop {
        match seconds.recv_timeout(LOOK_EVERY) {
            Ok(second) => observed.add(&second),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_EVERY),
        }
        let now_ns = clock.now_ns();
        if observed.before.is_none() && now_ns >= window.begin_ns {
            observed.before = usage();
            ticks = process::machine_ticks().zip(own());
        }
        observed.interrupted = shared.is_interrupted();
        observed.broker_gone = broker.pid.is_some_and(|pid| !process::is_running(pid));
        if observed.broker_gone {
            shared.note_broker_gone();
        }
        let over = now_ns >= window.end_ns || observed.interrupted || observed.broker_gone;
        let current = window.second_of(now_ns);
        // A second is shown when the threads have had some time to hand it over.
        if current > shown && window.second_of(now_ns.saturating_sub(NS_PER_SEC / 5)) > shown || over {
            let now = usage();
            let cores =
                now.zip(last).map(|(now, last)| (now.cpu_secs() - last.cpu_secs()) / (current - shown).max(1) as f64);
            last = now;
            observed.show(shown, window, cores, watch);
            shown = current;
        }
        if over {
            observed.after = usage();
            observed.window = Some(Window { end_ns: window.end_ns.min(now_ns.max(window.begin_ns + 1)), ..*window });
            observed.compare_ticks(ticks, process::machine_ticks().zip(own()));
            return observed;
        }
    }
}

impl Observed {
    fn add(&mut self, second: &Second) {
        match second.role {
            Role::Produce => self.produced.add(second),
            Role::Consume => self.consumed.add(second),
        }
    }

    /// What the machine's CPU time went to between two looks, the generator's own use beside each.
    fn compare_ticks(&mut self, then: Option<(MachineTicks, Usage)>, now: Option<(MachineTicks, Usage)>) {
        let Some(((then, own_then), (now, own))) = then.zip(now) else { return };
        let all = now.all.saturating_sub(then.all) as f64;
        if all <= 0.0 {
            return;
        }
        self.steal = Some(now.steal.saturating_sub(then.steal) as f64 / all);
        // Without the broker's process one cannot tell it from others.
        if let Some((before, after)) = self.before.zip(self.after) {
            let known = after.user_ticks() - before.user_ticks() + own.user_ticks() - own_then.user_ticks();
            self.others = Some((now.user.saturating_sub(then.user) as f64 - known).max(0.0) / all);
        }
    }

    fn show(&mut self, index: i64, window: &Window, cores: Option<f64>, watch: &mut dyn Watch) {
        if let Some(cores) = cores {
            self.produced.set_cores(index, cores);
            self.consumed.set_cores(index, cores);
        }
        watch.second(&Progress {
            second: index,
            produced: self.produced.interval(index, window),
            consumed: self.consumed.interval(index, window),
            broker_cores: cores,
        });
    }
}

/// The folder of a local broker's data.
fn data_folder(broker: &Broker) -> Option<String> {
    broker.pid?;
    let value = |key: &str| broker.config.get(key).cloned().flatten();
    let folders = value("log.dirs").or_else(|| value("log.dir")).or_else(|| value("coretide.data.dir"))?;
    folders.split(',').next().map(|first| first.trim().to_string())
}

fn finish(
    broker: &Broker,
    place: usize,
    scenario: &Scenario,
    mut observed: Observed,
    finished: Finished,
    seconds: &Receiver<Second>,
) -> Result<Run, LabError> {
    seconds.try_iter().for_each(|second| observed.add(&second));
    let window = observed.window.ok_or_else(|| LabError::Failed("the run has no window".to_string()))?;
    let mut generator = generator_use(&finished, window.secs());
    generator.steal = observed.steal;
    let tallies = |reports: Vec<ThreadReport>| reports.into_iter().map(|report| report.tally).collect::<Vec<_>>();
    let unanswered = finished.produce.iter().map(|report| report.unanswered).sum();
    let (acknowledged, received) = (total(&finished.produce), total(&finished.consume));
    let produced = side(&tallies(finished.produce), &observed.produced, &window);
    let consumed = side(&tallies(finished.consume), &observed.consumed, &window);
    let sides = [&produced, &consumed];
    let bytes = sides.iter().filter_map(|side| side.as_ref()).map(|side| side.bytes).sum();
    let records = sides.iter().filter_map(|side| side.as_ref()).map(|side| side.records).sum();
    let broker_use = observed.before.zip(observed.after).map(|(before, after)| after.since(&before, bytes, records));
    let volume = data_folder(broker).and_then(|folder| sys::volume_bytes(Path::new(&folder)).ok());
    let facts = Facts {
        scenario,
        produced: produced.as_ref(),
        consumed: consumed.as_ref(),
        generator: &generator,
        interrupted: observed.interrupted,
        others: observed.others,
        unanswered,
        missing: missing(scenario, acknowledged, received),
        volume,
        broker_gone: observed.broker_gone,
    };
    let validity = judge(&facts);
    Ok(Run {
        broker: place,
        scenario: scenario.clone(),
        started_at_ms: (window.begin_ns / 1_000_000) as i64 - (scenario.warmup_secs * 1e3) as i64,
        measured_secs: window.secs(),
        produced,
        consumed,
        broker_use,
        generator,
        validity,
    })
}

fn total(reports: &[ThreadReport]) -> u64 {
    reports.iter().map(|report| report.records).sum()
}

/// Acknowledged records that no consumer got.
fn missing(scenario: &Scenario, acknowledged: u64, received: u64) -> u64 {
    let (producers, consumers) = (&scenario.producers, &scenario.consumers);
    if producers.count == 0 || consumers.count == 0 || consumers.backlog_bytes > 0 {
        return 0;
    }
    (acknowledged * u64::from(consumers.groups)).saturating_sub(received)
}

fn generator_use(finished: &Finished, window_secs: f64) -> result::GeneratorUse {
    let (mut lag, mut late) = (new_histogram(), new_histogram());
    let (mut cpu_secs, mut busiest): (f64, f64) = (0.0, 0.0);
    for report in finished.produce.iter().chain(&finished.consume) {
        lag.add(&report.tally.lag).expect("all histograms have the same bounds");
        late.add(&report.late).expect("all histograms have the same bounds");
        cpu_secs += report.cpu_secs;
        busiest = busiest.max(report.cpu_secs / window_secs);
    }
    result::GeneratorUse {
        cpu_secs,
        busiest_thread: busiest,
        lag: Latency::new(&lag),
        late: Latency::new(&late),
        steal: None,
        unsent_records: finished.produce.iter().map(|report| report.unsent).sum(),
    }
}
