//! What all threads of a run share: the gate that is open while the broker should answer, the topics with their models,
//! the commits, what was counted, and what went wrong. Must never touch: sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coretide_client::{ClientConfig, Place};
use coretide_model::TopicId;

use crate::lag::Lag;
use crate::model::{CommitModel, PartitionModel, Retention};

/// No request may take longer. Far above what a healthy broker needs: machines that run tests stand still at times.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// More failures than this are not kept: the first ones tell.
const FAILURES_MAX: usize = 20;

/// A topic with its models.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its life: part of every record.
    pub tag: u64,
    /// The broker's id of it, once known.
    pub id: Mutex<TopicId>,
    /// When its records may go.
    pub retention: Retention,
    /// One for each partition.
    pub partitions: Vec<Mutex<PartitionModel>>,
}

impl Topic {
    /// A topic of which nothing was sent yet.
    pub fn new(name: &str, tag: u64, partitions: usize, retention: Retention) -> Topic {
        Topic {
            name: name.to_string(),
            tag,
            id: Mutex::new(TopicId::default()),
            retention,
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// The model of a partition.
    pub fn partition(&self, index: i32) -> MutexGuard<'_, PartitionModel> {
        lock(&self.partitions[index as usize])
    }
}

/// What clients have just done: the broker is killed at such moments, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    TopicCreated,
    TopicDeleted,
    RecordsDeleted,
    OffsetsCommitted,
    SegmentFull,
    GroupJoined,
}

impl Moment {
    /// All of them.
    pub const ALL: [Moment; 6] = [
        Moment::TopicCreated,
        Moment::TopicDeleted,
        Moment::RecordsDeleted,
        Moment::OffsetsCommitted,
        Moment::SegmentFull,
        Moment::GroupJoined,
    ];
}

/// What was done, for the summary.
#[derive(Debug, Default)]
pub struct Counters {
    pub acked_records: AtomicU64,
    pub acked_bytes: AtomicU64,
    pub repeated_batches: AtomicU64,
    pub read_records: AtomicU64,
    pub consumed_records: AtomicU64,
    pub commits: AtomicU64,
    pub joins: AtomicU64,
    pub topics_created: AtomicU64,
    pub topics_deleted: AtomicU64,
    pub trims: AtomicU64,
    pub connections: AtomicU64,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What a counter says.
pub fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct Gate {
    open: bool,
    quit: bool,
    /// The number of this life of the broker.
    life: u64,
    waiting: usize,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    /// HOST:PORT of the broker, the same in all its lives.
    pub address: String,
    gate: Mutex<Gate>,
    moved: Condvar,
    is_open: AtomicBool,
    topics: RwLock<Vec<Arc<Topic>>>,
    commits: Mutex<BTreeMap<(String, Place), CommitModel>>,
    next_commit: AtomicU64,
    producer_ids: Mutex<BTreeSet<i64>>,
    next_writer: AtomicU64,
    moments: [AtomicU64; Moment::ALL.len()],
    failures: Mutex<Vec<String>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    /// See [`Counters`].
    pub counters: Counters,
    /// See [`Lag`].
    pub lag: Lag,
}

/// The lock, whatever happened to its last holder: a panicked thread ends the run anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Before the first start.
    pub fn new(address: String) -> World {
        World {
            address,
            gate: Mutex::default(),
            moved: Condvar::new(),
            is_open: AtomicBool::new(false),
            topics: RwLock::default(),
            commits: Mutex::default(),
            next_commit: AtomicU64::new(1),
            producer_ids: Mutex::default(),
            next_writer: AtomicU64::new(1),
            moments: Default::default(),
            failures: Mutex::default(),
            refusals: Mutex::default(),
            counters: Counters::default(),
            lag: Lag::default(),
        }
    }

    /// Lets the clients in: a new life of the broker has begun.
    pub fn open(&self) {
        let mut gate = lock(&self.gate);
        gate.open = true;
        gate.life += 1;
        self.is_open.store(true, Ordering::Relaxed);
        self.moved.notify_all();
    }

    /// Sends the clients away: the broker is about to go.
    pub fn close(&self) {
        lock(&self.gate).open = false;
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// Ends the clients.
    pub fn quit(&self) {
        self.close();
        lock(&self.gate).quit = true;
        self.moved.notify_all();
    }

    /// Waits until the broker should answer; none when all is over. Returns the number of the broker's life.
    pub fn enter(&self) -> Option<u64> {
        let mut gate = lock(&self.gate);
        gate.waiting += 1;
        self.moved.notify_all();
        while !gate.open && !gate.quit {
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        gate.waiting -= 1;
        if gate.quit { None } else { Some(gate.life) }
    }

    /// Waits until `clients` threads wait at the gate.
    pub fn await_all_out(&self, clients: usize) -> Result<(), String> {
        let until = Instant::now() + 2 * REQUEST_TIMEOUT;
        let mut gate = lock(&self.gate);
        while gate.waiting < clients {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("only {} of {clients} clients came back from a dead broker", gate.waiting));
            }
            gate = self.moved.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// True while the broker should answer.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// A pause that ends early when the broker goes.
    pub fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.is_open() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// How clients of the room `client` reach the broker.
    pub fn client_config(&self, name: &str) -> ClientConfig {
        let mut config = ClientConfig::new(&self.address);
        config.client_id = name.to_string();
        config.request_timeout = REQUEST_TIMEOUT;
        config.retry_for = Duration::from_millis(500);
        config
    }

    /// How the checks reach it: they wait for what passes.
    pub fn patient_config(&self, name: &str) -> ClientConfig {
        ClientConfig { retry_for: REQUEST_TIMEOUT, ..self.client_config(name) }
    }

    /// Something that must not be. The first ones are kept.
    pub fn fail(&self, what: String) {
        let mut failures = lock(&self.failures);
        if failures.len() < FAILURES_MAX && !failures.contains(&what) {
            failures.push(what);
        }
    }

    /// What went wrong so far.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    /// An answer with an error that may happen; for the summary.
    pub fn refusal(&self, what: impl Into<String>) {
        *lock(&self.refusals).entry(what.into()).or_insert(0) += 1;
    }

    /// All such answers.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        lock(&self.refusals).clone()
    }

    /// The topics that live as long as the run.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a topic in place of the one of the same name.
    pub fn put_topic(&self, topic: Arc<Topic>) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|other| other.name != topic.name);
        topics.push(topic);
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics().into_iter().find(|topic| topic.name == name)
    }

    /// A number for a writer that nobody had before.
    pub fn writer_number(&self) -> u32 {
        self.next_writer.fetch_add(1, Ordering::Relaxed) as u32
    }

    /// A producer id that the broker gave away: never twice.
    pub fn producer_id(&self, id: i64) {
        if id < 0 || !lock(&self.producer_ids).insert(id) {
            self.fail(format!("producer id {id} was given away twice, or is none"));
        }
    }

    /// A commit is about to be sent.
    pub fn committing(&self, group: &str, places: &BTreeMap<Place, i64>, life: u64) -> u64 {
        let id = self.next_commit.fetch_add(1, Ordering::Relaxed);
        let mut commits = lock(&self.commits);
        for (place, offset) in places {
            let model = commits.entry((group.to_string(), place.clone())).or_default();
            model.sending(id, life, Some(*offset));
        }
        id
    }

    /// A group is about to be deleted.
    pub fn deleting_group(&self, group: &str, life: u64) -> u64 {
        let id = self.next_commit.fetch_add(1, Ordering::Relaxed);
        for ((of, _), model) in lock(&self.commits).iter_mut() {
            if of == group {
                model.sending(id, life, None);
            }
        }
        id
    }

    /// How a commit or a deletion ended.
    pub fn committed(&self, id: u64, how: impl Fn(&mut CommitModel, u64)) {
        for model in lock(&self.commits).values_mut() {
            how(model, id);
        }
    }

    /// The groups that committed something, with their places.
    pub fn groups(&self) -> BTreeMap<String, Vec<Place>> {
        let mut groups: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for (group, place) in lock(&self.commits).keys() {
            groups.entry(group.clone()).or_default().push(place.clone());
        }
        groups
    }

    /// Holds what the broker says is committed against what was acknowledged.
    pub fn check_commit(&self, group: &str, place: &Place, found: Option<i64>) {
        let mut commits = lock(&self.commits);
        let Some(model) = commits.get_mut(&(group.to_string(), place.clone())) else { return };
        if let Err(problem) = model.check(found) {
            self.fail(format!("group {group}, {}-{}: {problem}", place.0, place.1));
        }
    }

    /// Forgets the commits of a topic that is made anew.
    pub fn forget_commits(&self, topic: &str) {
        let mut commits = lock(&self.commits);
        commits.iter_mut().filter(|((_, place), _)| place.0 == topic).for_each(|(_, model)| model.forget());
    }

    /// Something has just been asked for.
    pub fn moment(&self, moment: Moment) {
        self.moments[moment as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was asked for.
    pub fn moments(&self, moment: Moment) -> u64 {
        self.moments[moment as usize].load(Ordering::Relaxed)
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
