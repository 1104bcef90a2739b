//! The threads of the generator: each drives its producers or its consumers, waits for their sockets, and never sleeps
//! longer than until the next record is due.
//! Must never touch: what is measured for (comparing, sweeping).

use crate::lab::accumulator::ProducerId;
use crate::lab::connection::SCRATCH_BYTES;
use crate::lab::consumer::Consumer;
use crate::lab::engine::GRACE_NS;
use crate::lab::error::LabError;
use crate::lab::producer::Producer;
use crate::lab::result::{LATENCY_MAX_NS, new_histogram};
use crate::lab::sys;
use crate::lab::tally::{Role, Second, Tally, Window};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest wait: signals and the end of the run are noticed after it at the latest.
const WAIT_MAX_NS: u64 = 50_000_000;

/// The engine's time: nanoseconds since 1970 at the start, from then on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    base_ns: u64,
}

impl Clock {
    /// From now on.
    pub fn start() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { base: Instant::now(), base_ns: since.as_nanos() as u64 }
    }

    /// Now.
    pub fn now_ns(&self) -> u64 {
        self.base_ns + self.base.elapsed().as_nanos() as u64
    }
}

/// What all threads of a run share.
#[derive(Debug)]
pub struct Shared {
    /// What all of them go by.
    pub clock: Clock,
    /// What is measured.
    pub window: Window,
    stop: Arc<AtomicBool>,
    broker_gone: AtomicBool,
    readers_per_record: u64,
    acknowledged: AtomicU64,
    received: AtomicU64,
    /// No more records will be acknowledged.
    pub producers_done: AtomicBool,
}

impl Shared {
    /// For a run. `readers_per_record`: how many groups of consumers there are.
    pub fn new(clock: Clock, window: Window, stop: Arc<AtomicBool>, readers_per_record: u64) -> Arc<Shared> {
        Arc::new(Shared {
            clock,
            window,
            stop,
            broker_gone: AtomicBool::new(false),
            readers_per_record,
            acknowledged: AtomicU64::new(0),
            received: AtomicU64::new(0),
            producers_done: AtomicBool::new(false),
        })
    }

    /// True once a signal has ended the run.
    pub fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The broker's process has ended: there is nothing to wait for.
    pub fn note_broker_gone(&self) {
        self.broker_gone.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_interrupted() || self.broker_gone.load(Ordering::Relaxed)
    }
}

/// What a thread leaves behind.
#[derive(Debug)]
pub struct ThreadReport {
    /// What its clients counted.
    pub tally: Tally,
    /// How late it woke up for records.
    pub late: Histogram<u64>,
    /// CPU it used in the window, in seconds.
    pub cpu_secs: f64,
    /// Records acknowledged or received in all, warm-up and grace included.
    pub records: u64,
    /// Producers that still waited for answers when the grace was over.
    pub unanswered: u64,
    /// Records that were due and never entered their client.
    pub unsent: u64,
}

/// Starts a thread of the generator.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, LabError> {
    let builder = std::thread::Builder::new().name(name.to_string());
    builder.spawn(work).map_err(|error| LabError::Failed(format!("no thread for the generator: {error}")))
}

/// Counts a thread's CPU time in the window.
#[derive(Debug, Default)]
struct CpuMeter {
    before: Option<Duration>,
    after: Option<Duration>,
}

impl CpuMeter {
    fn look(&mut self, now_ns: u64, window: &Window) {
        if self.before.is_none() && now_ns >= window.begin_ns {
            self.before = Some(sys::thread_cpu());
        }
        if self.after.is_none() && now_ns >= window.end_ns {
            self.after = Some(sys::thread_cpu());
        }
    }

    fn secs(&self) -> f64 {
        let after = self.after.unwrap_or_else(sys::thread_cpu);
        self.before.map_or(0.0, |before| after.saturating_sub(before).as_secs_f64())
    }
}

/// Drives producers until the window is over and everything is answered, or the grace is over.
pub fn produce(
    mut producers: Vec<Producer>,
    shared: &Shared,
    seconds: Sender<Second>,
    mut new_id: impl FnMut() -> Result<ProducerId, String>,
) -> Result<ThreadReport, String> {
    sys::precise_sleep();
    let now = || shared.clock.now_ns();
    let mut tally = Tally::new(Role::Produce, shared.window, seconds);
    let (mut late, mut cpu) = (new_histogram(), CpuMeter::default());
    let (mut interests, mut polls, mut scratch) = (Vec::new(), Vec::new(), vec![0; SCRATCH_BYTES]);
    let (mut counted, mut failed) = (0, false);
    loop {
        let now_ns = now();
        cpu.look(now_ns, &shared.window);
        tally.turn(now_ns);
        let over = now_ns >= shared.window.end_ns || shared.is_stopped();
        for producer in &mut producers {
            if over {
                producer.end();
            }
            if producer.wants_id() {
                match new_id() {
                    Ok(id) => producer.set_id(id, &mut tally),
                    // What was measured is kept: the run ends here, and says why it is INVALID.
                    Err(reason) => {
                        tally.error(&format!("no new producer id: {reason}"));
                        failed = true;
                    }
                }
            }
            producer.turn(now_ns, (now_ns / 1_000_000) as i64, &mut tally);
        }
        let given_up = now_ns >= shared.window.end_ns.saturating_add(GRACE_NS) || shared.is_stopped();
        if producers.iter().all(Producer::is_done) || given_up || failed {
            break;
        }
        let due_ns = producers.iter().filter_map(Producer::due_ns).min().unwrap_or(u64::MAX);
        let record_due_ns = producers.iter().filter_map(Producer::record_due_ns).min();
        interests.clear();
        producers.iter().for_each(|producer| producer.interests(&mut interests));
        let wait_ns = due_ns.saturating_sub(now()).min(WAIT_MAX_NS);
        sys::wait(&interests, Duration::from_nanos(wait_ns), &mut polls).map_err(|error| error.to_string())?;
        let woken_ns = now();
        if let Some(due_ns) = record_due_ns.filter(|&due| due <= woken_ns && due >= shared.window.begin_ns && !over) {
            late.saturating_record((woken_ns - due_ns).min(LATENCY_MAX_NS));
        }
        for producer in &mut producers {
            producer.io(&now, &mut scratch, &mut tally);
        }
        shared.acknowledged.fetch_add(tally.all_records - counted, Ordering::Relaxed);
        counted = tally.all_records;
    }
    shared.acknowledged.fetch_add(tally.all_records - counted, Ordering::Relaxed);
    tally.finish();
    let unanswered = producers.iter().filter(|producer| !producer.is_done()).count() as u64;
    let unsent = producers.iter().map(Producer::unsent).sum();
    Ok(ThreadReport { cpu_secs: cpu.secs(), records: tally.all_records, tally, late, unanswered, unsent })
}

/// Drives consumers until they have read what was acknowledged in the window, or the grace is over.
pub fn consume(mut consumers: Vec<Consumer>, shared: &Shared, seconds: Sender<Second>) -> Result<ThreadReport, String> {
    sys::precise_sleep();
    let now = || shared.clock.now_ns();
    let mut tally = Tally::new(Role::Consume, shared.window, seconds);
    let mut cpu = CpuMeter::default();
    let (mut interests, mut polls, mut scratch) = (Vec::new(), Vec::new(), vec![0; SCRATCH_BYTES]);
    let mut counted = 0;
    loop {
        let now_ns = now();
        cpu.look(now_ns, &shared.window);
        tally.turn(now_ns);
        let all_read = shared.producers_done.load(Ordering::Acquire)
            && shared.received.load(Ordering::Relaxed)
                >= shared.acknowledged.load(Ordering::Relaxed) * shared.readers_per_record;
        let over = now_ns >= shared.window.end_ns;
        let given_up = now_ns >= shared.window.end_ns.saturating_add(2 * GRACE_NS);
        if over && all_read || given_up || shared.is_stopped() {
            break;
        }
        consumers.iter_mut().for_each(|consumer| consumer.turn(now_ns, &mut tally));
        let due_ns = consumers.iter().filter_map(Consumer::due_ns).min().unwrap_or(u64::MAX);
        interests.clear();
        consumers.iter().for_each(|consumer| consumer.interests(&mut interests));
        let wait_ns = due_ns.saturating_sub(now()).min(WAIT_MAX_NS);
        sys::wait(&interests, Duration::from_nanos(wait_ns), &mut polls).map_err(|error| error.to_string())?;
        consumers.iter_mut().for_each(|consumer| consumer.io(&now, &mut scratch, &mut tally));
        shared.received.fetch_add(tally.all_records - counted, Ordering::Relaxed);
        counted = tally.all_records;
    }
    tally.finish();
    Ok(ThreadReport {
        cpu_secs: cpu.secs(),
        records: tally.all_records,
        tally,
        late: new_histogram(),
        unanswered: 0,
        unsent: 0,
    })
}
