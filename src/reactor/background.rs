//! A background of one hot thread: a glommio executor on the same core, as a rule at a lower priority, which runs jobs that may
//! wait and take long. Jobs are state machines: they say which file operations they want and are stepped with the results.
//! The hot thread hands jobs over through a bounded lane and gets what came of them through another.
//! Must never touch: the hot ring; what the jobs are for.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::cpu;
use crate::error::SetupError;
use crate::fs::{Disk, FileOp, FileResult};
use crate::wake::{Doorbell, EventFd};

/// Jobs handed over and not yet taken back; more wait with the hot thread. Room for every result is thus reserved.
pub const JOBS_OUTSTANDING_MAX: usize = 1024;
/// Jobs that are stepped in turn; more wait in the lane.
pub const JOBS_AT_ONCE_MAX: usize = 16;
/// Threads that execute file operations which block.
const BLOCKING_THREADS: usize = 3;
/// Size of glommio's own rings and of its arena of registered memory, which we hardly use.
const RING_DEPTH: usize = 16;
const IO_MEMORY_BYTES: usize = 64 << 10;

/// After how long glommio asks its tasks to give way to others: never, as good as. glommio 0.9 parks with tasks that could
/// run, for good, when this time is over between its start and the first look at it (its run loop takes "I was told to
/// stop before the first task" for "there was no task"). With its own 100 ms a background that other processes kept from
/// the core for so long lost its jobs. Ours have only short steps, and one queue, so that nobody waits for them to give way.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a job wants next.
#[derive(Debug)]
pub enum JobStep<T> {
    /// Execute in order up to the first failure, then step with the results.
    Do(Vec<FileOp>),
    /// Over.
    Done(T),
}

/// A state machine that runs in the background.
pub trait BackgroundJob: Send + 'static {
    /// What it yields.
    type Output: Send + 'static;

    /// Goes on with the results of the last [`JobStep::Do`]; empty at first.
    fn step(&mut self, results: Vec<FileResult>) -> JobStep<Self::Output>;
}

/// A finished job.
#[derive(Debug)]
pub struct Finished<T> {
    /// As given to [`Background::submit`].
    pub id: u64,
    /// What it yielded.
    pub output: T,
    /// Files and folders whose open descriptors mean nothing any more.
    pub gone: Vec<String>,
}

/// Which kind of background there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackgroundKind {
    /// glommio: jobs overlap.
    Executor,
    /// A plain thread, one job after the other, because glommio did not start; with its reason.
    Plain(String),
}

/// The hot thread's end.
pub struct Background<J: BackgroundJob> {
    requests: Option<Producer<(u64, J)>>,
    results: Consumer<Finished<J::Output>>,
    waiting: VecDeque<(u64, J)>,
    outstanding: usize,
    posted: bool,
    bell: Arc<Doorbell>,
    kind: BackgroundKind,
    thread: Option<JoinHandle<()>>,
}

/// What a background needs.
pub struct BackgroundOptions {
    /// The thread's name.
    pub name: String,
    /// The core to share with the hot thread; `None`: any.
    pub core: Option<usize>,
    /// The niceness of its threads; 0: as the hot thread.
    pub nice: i32,
    /// The files.
    pub disk: Arc<Disk>,
    /// The hot thread's doorbell.
    pub hot: Arc<Doorbell>,
}

struct Worker<J: BackgroundJob> {
    requests: Consumer<(u64, J)>,
    results: Producer<Finished<J::Output>>,
    disk: Arc<Disk>,
    hot: Arc<Doorbell>,
    bell: Arc<Doorbell>,
}

impl<J: BackgroundJob> Background<J> {
    /// Starts the thread and waits until it runs.
    pub fn start(options: BackgroundOptions) -> Result<Background<J>, SetupError> {
        let bell = Doorbell::new()?;
        let (requests, take_requests) = RingBuffer::new(JOBS_OUTSTANDING_MAX);
        let (give_results, results) = RingBuffer::new(JOBS_OUTSTANDING_MAX);
        let BackgroundOptions { name, core, nice, disk, hot } = options;
        let worker = Worker { requests: take_requests, results: give_results, disk, hot, bell: Arc::clone(&bell) };
        let (started, has_started) = mpsc::channel();
        let wake_fd = bell.event().duplicate()?;
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run((core, nice), worker, wake_fd, &started))
            .map_err(|error| SetupError::System { what: "starting a thread", error })?;
        let kind = has_started.recv().map_err(|_| SetupError::System {
            what: "the background",
            error: std::io::Error::other("it ended at once"),
        })?;
        Ok(Background {
            requests: Some(requests),
            results,
            waiting: VecDeque::new(),
            outstanding: 0,
            posted: false,
            bell,
            kind,
            thread: Some(thread),
        })
    }

    /// Which kind started.
    pub fn kind(&self) -> &BackgroundKind {
        &self.kind
    }

    /// Jobs that are not back yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding + self.waiting.len()
    }

    /// Hands over a job; the background learns of it at [`Background::flush`].
    pub fn submit(&mut self, id: u64, job: J) {
        self.waiting.push_back((id, job));
        self.post();
    }

    fn post(&mut self) {
        let Some(requests) = &mut self.requests else { return };
        while self.outstanding < JOBS_OUTSTANDING_MAX {
            let Some(next) = self.waiting.pop_front() else { return };
            if let Err(PushError::Full(next)) = requests.push(next) {
                self.waiting.push_front(next);
                return;
            }
            self.outstanding += 1;
            self.posted = true;
        }
    }

    /// Wakes the background if it sleeps and something was handed over; once per turn.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.posted) {
            self.bell.ring();
        }
    }

    /// True when a job is back.
    pub fn has_results(&self) -> bool {
        !self.results.is_empty()
    }

    /// Takes back the next finished job.
    pub fn next_result(&mut self) -> Option<Finished<J::Output>> {
        let finished = self.results.pop().ok()?;
        self.outstanding -= 1;
        self.post();
        Some(finished)
    }
}

impl<J: BackgroundJob> Drop for Background<J> {
    /// Lets the jobs that run finish, and waits for the thread. Their results are lost.
    fn drop(&mut self) {
        self.requests = None;
        self.bell.force();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, and aborts the process where that is wanted.
            let _ = thread.join();
        }
    }
}

fn run<J: BackgroundJob>(
    (core, nice): (Option<usize>, i32),
    worker: Worker<J>,
    wake_fd: OwnedFd,
    started: &mpsc::Sender<BackgroundKind>,
) {
    // First, so that the threads that glommio starts inherit both.
    if nice > 0 {
        cpu::lower_priority(nice);
    }
    if let Some(core) = core {
        cpu::pin_to(core);
    }
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(GIVE_WAY_AFTER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make();
    match executor {
        Ok(executor) => {
            let _ = started.send(BackgroundKind::Executor);
            executor.run(worker.serve(wake_fd));
        }
        Err(error) => {
            let _ = started.send(BackgroundKind::Plain(error.to_string()));
            worker.serve_plainly();
        }
    }
}

impl<J: BackgroundJob> Worker<J> {
    async fn serve(self, wake_fd: OwnedFd) {
        // SAFETY: the descriptor is ours alone, and `into_raw_fd` gives it away.
        let wake = unsafe { BufferedFile::from_raw_fd(wake_fd.into_raw_fd()) };
        self.work(&wake).await;
        if let Err(error) = wake.close().await {
            tracing::debug!("closing the background's eventfd: {error}");
        }
    }

    async fn work(mut self, wake: &BufferedFile) {
        let running = Rc::new(Cell::new(0));
        let results = Rc::new(Cell::new(Some(self.results)));
        let mut rung = Box::pin(wake.read_at(0, size_of::<u64>()));
        loop {
            while running.get() < JOBS_AT_ONCE_MAX
                && let Ok((id, job)) = self.requests.pop()
            {
                running.set(running.get() + 1);
                let (disk, hot, bell) = (Arc::clone(&self.disk), Arc::clone(&self.hot), Arc::clone(&self.bell));
                let (running, results) = (Rc::clone(&running), Rc::clone(&results));
                let task = glommio::spawn_local(async move {
                    let finished = run_job(id, job, &disk).await;
                    deliver(&results, finished);
                    hot.ring();
                    running.set(running.get() - 1);
                    bell.ring();
                });
                task.detach();
            }
            if self.requests.is_abandoned() && self.requests.is_empty() && running.get() == 0 {
                break;
            }
            self.bell.announce_sleep();
            let has_room = running.get() < JOBS_AT_ONCE_MAX;
            let ended = self.requests.is_abandoned() && running.get() == 0;
            if ended || (has_room && !self.requests.is_empty()) {
                self.bell.awake();
                continue;
            }
            match rung.as_mut().await {
                Ok(_) => rung.set(wake.read_at(0, size_of::<u64>())),
                Err(error) => {
                    tracing::error!("the background cannot sleep on its eventfd: {error}");
                    return;
                }
            }
            self.bell.awake();
        }
        // The read on its way ends before its descriptor is closed.
        self.bell.force();
        if let Err(error) = rung.await {
            tracing::debug!("the last read of the background's eventfd: {error}");
        }
    }

    fn serve_plainly(mut self) {
        let wake: &EventFd = self.bell.event();
        loop {
            while let Ok((id, mut job)) = self.requests.pop() {
                let (mut results, mut gone) = (Vec::new(), Vec::new());
                let output = loop {
                    match job.step(results) {
                        JobStep::Do(ops) => {
                            results = self.disk.execute_all(&ops);
                            note_gone(&ops, &results, &mut gone);
                        }
                        JobStep::Done(output) => break output,
                    }
                };
                push_result(&mut self.results, Finished { id, output, gone });
                self.hot.ring();
            }
            if self.requests.is_abandoned() {
                return;
            }
            self.bell.announce_sleep();
            if self.requests.is_empty() && !self.requests.is_abandoned() {
                wake.wait();
            }
            self.bell.awake();
        }
    }
}

async fn run_job<J: BackgroundJob>(id: u64, mut job: J, disk: &Arc<Disk>) -> Finished<J::Output> {
    let (mut results, mut gone) = (Vec::new(), Vec::new());
    loop {
        match job.step(results) {
            JobStep::Do(ops) => {
                let disk = Arc::clone(disk);
                let executed = glommio::executor().spawn_blocking(move || {
                    let results = disk.execute_all(&ops);
                    (ops, results)
                });
                let ops;
                (ops, results) = executed.await;
                note_gone(&ops, &results, &mut gone);
            }
            JobStep::Done(output) => return Finished { id, output, gone },
        }
    }
}

fn note_gone(ops: &[FileOp], results: &[FileResult], gone: &mut Vec<String>) {
    let succeeded = ops.iter().zip(results).filter(|(_, result)| result.is_ok());
    gone.extend(succeeded.filter_map(|(op, _)| op.invalidates()).map(str::to_string));
}

fn deliver<T>(results: &Cell<Option<Producer<Finished<T>>>>, finished: Finished<T>) {
    let mut lane = results.take().expect("tasks of one thread never overlap here");
    push_result(&mut lane, finished);
    results.set(Some(lane));
}

fn push_result<T>(lane: &mut Producer<Finished<T>>, finished: Finished<T>) {
    if let Err(PushError::Full(finished)) = lane.push(finished) {
        // The lane has room for every outstanding job: it is only full when the hot thread has gone.
        debug_assert!(lane.is_abandoned());
        drop(finished);
    }
}

#[cfg(test)]
mod tests;
