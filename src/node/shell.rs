//! One shard's hot thread: completions become events, the pure shard decides, its outputs become operations. One clock
//! reading per turn, one system call per turn, and one before it for writes to files.
//! Must never touch: what a request means. A branch about Kafka in here is misplaced.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coretide_log::io::{Durability, Job as _, Op, OpOk, OpResult, Step};
use coretide_log::store::Extent;
use coretide_model::{ConnId, Notice, Now, Severity, ShardId};
use coretide_reactor::background::{Background, BackgroundJob, JobStep};
use coretide_reactor::conn::Part;
use coretide_reactor::fs::{Commits, FileResult};
use coretide_reactor::lanes::Mailbox;
use coretide_reactor::reactor::{Event as Completed, Reactor};
use coretide_reactor::splice::FilePart;
use coretide_reactor::wake::{Doorbell, EventFd};
use coretide_shard::{Event, Job, JobOutput, ListenerId, Mail, Output, Shard};
use smallvec::SmallVec;

use crate::files::{HotFiles, to_file_op, to_io_error, to_op_result};
use crate::hot_jobs::{HotJobs, Todo, is_of_hot_job};
use crate::refusals::Refusals;

/// How long accepting pauses when the process has run out of descriptors.
const ACCEPT_PAUSE_US: u64 = 100_000;
/// The longest sleep while a connection waits for memory, which may come back without a wake-up.
const STARVED_WAIT: Duration = Duration::from_millis(1);

/// What goes from hot thread to hot thread.
pub(crate) enum Parcel {
    /// Between shards.
    Mail(Mail),
    /// A connection for the receiver to serve.
    Connection { stream: OwnedFd, listener: u8, peer: SocketAddr },
}

/// What the main thread tells a hot thread.
pub(crate) enum Control {
    /// Accept connections.
    Listen(Vec<(u8, TcpListener)>),
    /// Stop in good order.
    Stop,
    /// All shards have stopped: end.
    Exit,
}

/// What a hot thread tells the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Ready,
    Stopped,
}

/// Both clocks, from one origin for all threads.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    pub(crate) fn origin(self) -> Instant {
        self.origin
    }

    pub(crate) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.origin.elapsed().as_micros() as u64, wall_ms: wall.as_millis() as i64 }
    }
}

/// Work for the background: the shard's own jobs, and operations that must not block the hot thread.
pub(crate) enum Task {
    Job(Job),
    Ops(Vec<Op>),
}

pub(crate) enum TaskOutput {
    Job(Box<JobOutput>),
    Ops(Vec<OpResult>),
}

impl BackgroundJob for Task {
    type Output = TaskOutput;

    fn step(&mut self, results: Vec<FileResult>) -> JobStep<TaskOutput> {
        match self {
            Task::Job(job) => match job.step(results.into_iter().map(to_op_result).collect()) {
                Step::Do(ops) => JobStep::Do(ops.into_iter().map(to_file_op).collect()),
                Step::Done(output) => JobStep::Done(TaskOutput::Job(Box::new(output))),
            },
            Task::Ops(ops) if results.is_empty() => JobStep::Do(ops.drain(..).map(to_file_op).collect()),
            Task::Ops(_) => JobStep::Done(TaskOutput::Ops(results.into_iter().map(to_op_result).collect())),
        }
    }
}

/// The ends of a hot thread's lines to the others.
pub(crate) struct Lines {
    pub(crate) me: usize,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) mailbox: Mailbox<Parcel>,
    pub(crate) control: Receiver<Control>,
    pub(crate) reports: Sender<(usize, Report)>,
    pub(crate) main_bell: Arc<EventFd>,
}

fn in_ring(error: std::io::Error) -> String {
    format!("its ring is broken: {error}")
}

/// One shard with all that moves for it.
pub(crate) struct Shell {
    pub(crate) shard: Shard,
    pub(crate) reactor: Reactor,
    pub(crate) background: Background<Task>,
    /// A background of its own for what clients wait for, so that no other job holds it up.
    pub(crate) reads: Background<Task>,
    pub(crate) files: HotFiles,
    /// Told of each write that clients wait for.
    pub(crate) commits: Arc<Commits>,
    pub(crate) lines: Lines,
    pub(crate) clock: Clock,
    /// How many shards share the connections that this one accepts.
    pub(crate) shards: usize,
    /// Microseconds that the thread goes on looking before it sleeps.
    pub(crate) spin_us: u64,
    pub(crate) next_shard: usize,
    pub(crate) accept_again_us: Option<u64>,
    /// Events that came of outputs themselves, for the next turn.
    pub(crate) deferred: VecDeque<Event>,
    pub(crate) hot_jobs: HotJobs<Job>,
    pub(crate) last_event_us: u64,
    pub(crate) refusals: Refusals,
    pub(crate) exit: bool,
}

impl Shell {
    /// Runs until told to exit. An error says why the shard cannot go on: its data, or a broken ring.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut completed = Vec::new();
        let mut outputs = Vec::new();
        let mut now = self.clock.now();
        self.shard.end_of_tick(now, &mut outputs);
        self.perform(now, &mut outputs)?;
        while !self.exit {
            let wait = self.prepare_sleep(now);
            self.reactor.turn(wait, &mut completed).map_err(in_ring)?;
            self.lines.bell.awake();
            now = self.clock.now();
            if self.reactor.is_starved() {
                self.reactor.relieve(now.mono_us, &mut completed);
            }
            let mut active = !completed.is_empty();
            for event in completed.drain(..) {
                self.on_completed(now, event, &mut outputs);
            }
            active |= self.take_in(now, &mut outputs);
            if active {
                self.last_event_us = now.mono_us;
            }
            if self.shard.next_deadline_us().is_some_and(|deadline| deadline <= now.mono_us) {
                self.shard.handle(now, Event::Tick, &mut outputs);
            }
            self.shard.end_of_tick(now, &mut outputs);
            self.perform(now, &mut outputs)?;
            if self.refusals.are_due(now.mono_us) {
                for line in self.refusals.look(now.mono_us, self.shard.metrics(), &self.reactor.stats()) {
                    tracing::warn!(shard = self.lines.me, "{line}");
                }
            }
        }
        Ok(())
    }

    /// How long the next turn may sleep; announces the sleep and looks once more at all that can be looked at.
    fn prepare_sleep(&mut self, now: Now) -> Option<Duration> {
        if !self.deferred.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.spin_us > 0 && now.mono_us.saturating_sub(self.last_event_us) < self.spin_us {
            return Some(Duration::ZERO);
        }
        // What only concerns commits can wait for ours: its completion wakes this thread.
        if self.shard.is_in_brief_commit() {
            self.lines.bell.announce_doze();
        } else {
            self.lines.bell.announce_sleep();
        }
        if self.lines.mailbox.has_mail() || self.background.has_results() || self.reads.has_results() {
            return Some(Duration::ZERO);
        }
        let deadline = match (self.shard.next_deadline_us(), self.accept_again_us) {
            (Some(shard), Some(accept)) => Some(shard.min(accept)),
            (shard, accept) => shard.or(accept),
        };
        let wait = deadline.map(|deadline| Duration::from_micros(deadline.saturating_sub(now.mono_us)));
        if self.reactor.is_starved() { Some(wait.map_or(STARVED_WAIT, |wait| wait.min(STARVED_WAIT))) } else { wait }
    }

    fn on_completed(&mut self, now: Now, event: Completed, out: &mut Vec<Output>) {
        let event = match event {
            Completed::Frame { conn, bytes } => Event::Frame { conn: ConnId(conn), bytes },
            Completed::Sent { conn, bytes } => Event::Sent { conn: ConnId(conn), bytes },
            Completed::FileDone { id, result } => {
                let result = result.map(|()| OpOk::Done).map_err(to_io_error);
                if is_of_hot_job(id) {
                    return self.step_hot_job(id, vec![result]);
                }
                Event::IoDone { id, result }
            }
            Completed::Closed { conn, reason } => {
                tracing::debug!(conn, ?reason, "connection closed");
                Event::Closed { conn: ConnId(conn) }
            }
            Completed::Accepted { listener, stream, peer } => {
                return self.hand_over(now, stream, listener, peer, out);
            }
            Completed::AcceptPaused { listener, errno } => {
                tracing::warn!(listener, errno, "no connection can be accepted for now; raise the limit of open files");
                self.accept_again_us = Some(now.mono_us + ACCEPT_PAUSE_US);
                return;
            }
        };
        self.shard.handle(now, event, out);
    }

    /// Gives a new connection to the next shard in turn.
    fn hand_over(&mut self, now: Now, stream: OwnedFd, listener: u8, peer: SocketAddr, out: &mut Vec<Output>) {
        let target = self.next_shard;
        self.next_shard = (target + 1) % self.shards;
        if target == self.lines.me {
            self.adopt(now, stream, listener, peer, out);
        } else {
            self.lines.mailbox.post(target, Parcel::Connection { stream, listener, peer }, false);
        }
    }

    fn adopt(&mut self, now: Now, stream: OwnedFd, listener: u8, peer: SocketAddr, out: &mut Vec<Output>) {
        let Some(conn) = self.reactor.adopt(stream) else {
            tracing::debug!(%peer, "a connection was refused: this shard has as many as it may");
            return;
        };
        let event = Event::Opened { conn: ConnId(conn), listener: ListenerId(listener), peer };
        self.shard.handle(now, event, out);
    }

    /// Takes in what did not come through the ring; true when there was something.
    fn take_in(&mut self, now: Now, out: &mut Vec<Output>) -> bool {
        let mut active = !self.deferred.is_empty();
        while let Some(event) = self.deferred.pop_front() {
            self.shard.handle(now, event, out);
        }
        let mut connections = Vec::new();
        let shard = &mut self.shard;
        let received = self.lines.mailbox.receive(|from, parcel| match parcel {
            Parcel::Mail(mail) => shard.handle(now, Event::Mail { from: ShardId(from as u16), mail }, out),
            Parcel::Connection { stream, listener, peer } => connections.push((stream, listener, peer)),
        });
        active |= received > 0;
        for (stream, listener, peer) in connections {
            self.adopt(now, stream, listener, peer, out);
        }
        while let Some(finished) = self.reads.next_result().or_else(|| self.background.next_result()) {
            active = true;
            self.files.forget(&finished.gone);
            let id = finished.id;
            let event = match finished.output {
                TaskOutput::Job(output) => Event::JobDone { id, output },
                TaskOutput::Ops(results) if is_of_hot_job(id) => {
                    self.step_hot_job(id, results);
                    continue;
                }
                TaskOutput::Ops(mut results) => {
                    Event::IoDone { id, result: results.pop().expect("one operation was submitted") }
                }
            };
            self.shard.handle(now, event, out);
        }
        while let Ok(control) = self.lines.control.try_recv() {
            active = true;
            match control {
                Control::Listen(sockets) => {
                    sockets.into_iter().for_each(|(listener, socket)| self.reactor.listen(listener, socket));
                }
                Control::Stop => {
                    self.reactor.stop_listening();
                    self.shard.handle(now, Event::Stop, out);
                }
                Control::Exit => self.exit = true,
            }
        }
        if self.accept_again_us.is_some_and(|at| at <= now.mono_us) {
            self.accept_again_us = None;
            self.reactor.resume_accept();
        }
        active
    }

    fn perform(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), String> {
        for output in outputs.drain(..) {
            match output {
                Output::Send { conn, response } => self.send(conn, response.extents),
                Output::Close { conn } => self.reactor.close(conn.0),
                Output::PauseRead { conn } => self.reactor.pause(conn.0),
                Output::ResumeRead { conn } => self.reactor.resume(conn.0),
                Output::Mail { to, mail } if to.index() == self.lines.me => {
                    self.deferred.push_back(Event::Mail { from: to, mail });
                }
                Output::Mail { to, mail } => {
                    let patient = mail.is_of_commits();
                    self.lines.mailbox.post(to.index(), Parcel::Mail(mail), patient);
                }
                Output::Io { id, op } => {
                    self.commits.note(now.mono_us);
                    self.io(id, op).map_err(in_ring)?;
                }
                Output::Job { id, job } if job.is_destage() && self.files.is_direct() => {
                    let todo = self.hot_jobs.begin(id, job);
                    self.advance_hot_job(todo);
                }
                Output::Job { id, job } if job.is_read() => self.reads.submit(id, Task::Job(job)),
                Output::Job { id, job } => self.background.submit(id, Task::Job(job)),
                Output::Notice(notice) => self.log(&notice),
                Output::Ready => self.report(Report::Ready),
                Output::Stopped => self.report(Report::Stopped),
                Output::Fatal { reason } => return Err(reason),
            }
        }
        while let Some((id, write)) = self.hot_jobs.next_write() {
            self.io(id, write).map_err(in_ring)?;
        }
        self.reactor.start_writes().map_err(in_ring)?;
        self.background.flush();
        self.reads.flush();
        let reactor = &mut self.reactor;
        let blocked = self.lines.mailbox.flush(|bell| reactor.poke(bell));
        self.reactor.pause_all(blocked);
        Ok(())
    }

    fn send(&mut self, conn: ConnId, extents: SmallVec<[Extent; 1]>) {
        let files = &mut self.files;
        let mut lost = None;
        let parts = extents.into_iter().map_while(|extent| match extent {
            Extent::Hot(bytes) => Some(Part::Bytes(bytes)),
            Extent::File { file, at, len } => match files.readable(file) {
                Ok(file) => Some(Part::File(FilePart { file, at, len })),
                Err(error) => {
                    lost = Some(error);
                    None
                }
            },
        });
        self.reactor.send(conn.0, parts);
        if let Some(error) = lost {
            tracing::error!("a response cannot be finished, its file is gone: {error}");
            self.reactor.abort(conn.0);
        }
    }

    fn step_hot_job(&mut self, id: u64, results: Vec<OpResult>) {
        let todo = self.hot_jobs.step(id, results);
        self.advance_hot_job(todo);
    }

    fn advance_hot_job(&mut self, todo: Option<Todo<JobOutput>>) {
        match todo {
            Some(Todo::Background(id, ops)) => self.background.submit(id, Task::Ops(ops)),
            Some(Todo::Done(id, output)) => self.deferred.push_back(Event::JobDone { id, output }),
            Some(Todo::Write) | None => {}
        }
    }

    /// Writes and syncs go to the hot ring; whatever may block goes to the background.
    fn io(&mut self, id: u64, op: Op) -> std::io::Result<()> {
        let opened = match &op {
            Op::Write { file, direct, .. } => self.files.writable(file.clone(), *direct),
            Op::Sync { file } => self.files.writable(file.clone(), false),
            _ => {
                self.background.submit(id, Task::Ops(vec![op]));
                return Ok(());
            }
        };
        match (opened, op) {
            (Ok(file), Op::Write { at, bytes, durability, .. }) => {
                self.reactor.write(id, &file, at, bytes, durability == Durability::Durable)
            }
            (Ok(file), _) => self.reactor.sync(id, &file),
            (Err(error), _) if is_of_hot_job(id) => {
                self.step_hot_job(id, vec![Err(error)]);
                Ok(())
            }
            (Err(error), _) => {
                self.deferred.push_back(Event::IoDone { id, result: Err(error) });
                Ok(())
            }
        }
    }

    fn log(&self, notice: &Notice) {
        let shard = self.lines.me;
        match notice.severity {
            Severity::Info => tracing::info!(shard, "{notice}"),
            Severity::Warning => tracing::warn!(shard, "{notice}"),
            Severity::Error => tracing::error!(shard, "{notice}"),
        }
    }

    fn report(&self, report: Report) {
        // The main thread outlives all shards; without it there is nobody to tell.
        let _ = self.lines.reports.send((self.lines.me, report));
        self.lines.main_bell.signal();
    }
}
