//! The run: one queue of what happens when, and everything it happens to.

mod covering;
mod process;
mod traffic;

use std::collections::BTreeMap;

use coretide_model::Now;
use coretide_stdx::prng::Prng;

use crate::broker::Broker;
use crate::client::{Client, Command, Connected, Cx, Fetcher, Shared, Slot};
use crate::coverage::Coverage;
use crate::disk::{DiskFaults, SimDisk};
use crate::judge::{LogJudge, Verdict};
use crate::net::Conn;
use crate::plan::{DiskEvent, End, Plan};
use crate::trace::Trace;

/// The wall clock when a run begins.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// Virtual time that winding down, an audit or a stop may take.
const PATIENCE_US: u64 = 120_000_000;

/// How long an end waits for the operation that it is to meet.
const CRASH_POINT_WAIT_US: u64 = 1_500_000;

/// Events of one run; more is a loop.
const EVENTS_MAX: u64 = 3_000_000;

/// Something that happens at its time.
#[derive(Clone, Copy, Debug)]
enum Item {
    /// A shard's loop turns.
    Turn { life: u32, host: usize },
    /// A hot operation is done.
    Io { life: u32, host: usize, id: u64 },
    /// A background job's next operation is done.
    JobOp { life: u32, host: usize, id: u64 },
    /// The first letter of a lane arrives.
    Mail { life: u32, from: usize, to: usize },
    /// Recovery's next operation is done.
    BootOp { life: u32 },
    /// The broker is started.
    Start { life: u32 },
    /// The broker ends, as soon as the operation that the plan wants it to meet is in flight.
    PlannedEnd { place: usize, end: End },
    /// The broker ends.
    End(End),
    /// The broker ends although no such operation came.
    EndAnyway,
    /// Bytes arrive at the broker.
    ToServer { conn: u64 },
    /// Bytes arrive at a client.
    ToClient { conn: u64 },
    /// A connection attempt of a client is over.
    Connect { client: usize, slot: Slot, attempt: u64 },
    /// A client learns that a connection is gone.
    Gone { client: usize, slot: Slot, attempt: u64 },
    /// A client's timer.
    Timer { client: usize, id: u32 },
    /// Something happens to the disk.
    Disk(DiskEvent),
    /// The wall clock jumps by so many milliseconds.
    ClockJump(i64),
    /// Time to see whether the phase is over.
    Look,
}

/// What the run is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Clients work, things go wrong.
    Working,
    /// Nothing goes wrong any more; clients finish.
    WindingDown,
    /// A consumer reads everything; `again`: after a clean stop and a new start.
    Auditing { again: bool },
    /// The clean stop before the second audit.
    Stopping,
    /// All is said.
    Over,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The same for the same seed.
    pub trace_hash: u64,
    pub events: u64,
    pub virtual_us: u64,
    pub acked: u64,
    pub read: u64,
    pub commits: u64,
    pub starts: u32,
    pub answers: u64,
    /// The run ended with a broken promise that was the disk's, not the broker's.
    pub blamed: Option<String>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub at_us: u64,
    pub what: String,
    /// What was planned to go wrong.
    pub plan: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, at_us, what, plan } = self;
        write!(f, "seed {seed}, {at_us} us: {what}\n{plan}\nreplay it with: cargo x sim --seeds 1 --first {seed}")
    }
}

struct ClientSeat {
    /// Taken out while it runs.
    client: Option<Box<dyn Client>>,
    next_correlation: i32,
    /// Of each slot: the number of its last connection attempt, and its connection.
    slots: BTreeMap<Slot, (u64, Option<u64>)>,
}

/// Everything.
pub struct World {
    plan: Plan,
    prng: Prng,
    now_us: u64,
    next_item: u64,
    queue: BTreeMap<(u64, u64), Item>,
    trace: Trace,
    disk: SimDisk,
    broker: Broker,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    next_attempt: u64,
    clients: Vec<ClientSeat>,
    shared: Shared,
    phase: Phase,
    phase_since_us: u64,
    auditor: usize,
    starts: u32,
    answers: u64,
    /// The last clean stop has not been followed by a start yet.
    stopped_cleanly: bool,
    /// How often the disk had refused space when the last stop began.
    refusals_before_stop: u64,
    wall_offset_ms: i64,
    /// Where bits rotted.
    rotten: Vec<String>,
    /// A broken promise that was not the broker's.
    blamed: Option<String>,
    outbox: Vec<coretide_shard::Output>,
    /// An end that waits for an operation of this kind.
    armed: Option<(&'static str, End)>,
    /// What was reached, when anybody wants to know.
    coverage: Option<Coverage>,
}

/// Runs a seed.
pub fn run(seed: u64) -> Result<Report, Failure> {
    let (plan, prng) = Plan::of(seed);
    World::new(plan, prng).outcome()
}

/// Runs a seed and says what it reached. Slower; the run is the same.
pub fn run_covered(seed: u64) -> (Result<Report, Failure>, Coverage) {
    let (plan, prng) = Plan::of(seed);
    let mut world = World::new(plan, prng);
    world.coverage = Some(Coverage::default());
    let outcome = world.outcome();
    world.cover_life();
    let sins = world.disk.sins().clone();
    world.cover(|coverage| coverage.sins(&sins));
    (outcome, world.coverage.unwrap_or_default())
}

impl World {
    fn new(plan: Plan, mut prng: Prng) -> World {
        let disk = SimDisk::new(prng.fork());
        let clients = plan.clients(&mut prng);
        let seat = |client| ClientSeat { client: Some(client), next_correlation: 0, slots: BTreeMap::new() };
        let log = LogJudge::expecting(plan.topics.iter().map(|topic| (topic.name.clone(), &topic.configs[..])));
        let (compressed, is_group_limited) = (plan.compressed, plan.limits.group_size.is_some());
        let shared = Shared { log, topics: plan.topics.clone(), compressed, is_group_limited, ..Shared::default() };
        World {
            plan,
            prng,
            now_us: 0,
            next_item: 0,
            queue: BTreeMap::new(),
            trace: Trace::default(),
            disk,
            broker: Broker::default(),
            conns: BTreeMap::new(),
            next_conn: 0,
            next_attempt: 0,
            clients: clients.into_iter().map(seat).collect(),
            shared,
            phase: Phase::Working,
            phase_since_us: 0,
            auditor: 0,
            starts: 0,
            answers: 0,
            stopped_cleanly: false,
            refusals_before_stop: 0,
            wall_offset_ms: 0,
            rotten: Vec::new(),
            blamed: None,
            outbox: Vec::new(),
            armed: None,
            coverage: None,
        }
    }

    fn outcome(&mut self) -> Result<Report, Failure> {
        let Err(what) = self.drive() else { return Ok(self.report()) };
        self.blamed = self.blame(&what);
        if self.blamed.is_some() {
            return Ok(self.report());
        }
        let (seed, plan) = (self.plan.seed, format!("{:?}", self.plan));
        Err(Failure { seed, at_us: self.now_us, what, plan })
    }

    fn drive(&mut self) -> Verdict {
        self.at(0, Item::Start { life: 0 });
        for (place, (at_us, end)) in self.plan.ends.clone().into_iter().enumerate() {
            self.at(at_us, Item::PlannedEnd { place, end });
        }
        for (at_us, event) in self.plan.disk.clone() {
            self.at(at_us, Item::Disk(event));
        }
        for (at_us, jump_ms) in self.plan.clock_jumps.clone() {
            self.at(at_us, Item::ClockJump(jump_ms));
        }
        self.at(0, Item::Look);
        for client in 0..self.clients.len() {
            self.with_client(client, |client, cx| {
                client.on_start(cx);
                Ok(())
            })?;
        }
        while self.phase != Phase::Over {
            let ((at_us, _), item) = self.queue.pop_first().ok_or("nothing will ever happen again")?;
            self.now_us = at_us;
            self.next_event(item)?;
            if self.trace.events() > EVENTS_MAX {
                return Err(format!("more than {EVENTS_MAX} events: something spins"));
            }
        }
        Ok(())
    }

    fn next_event(&mut self, item: Item) -> Verdict {
        let life = self.broker.life;
        match item {
            Item::Turn { life: of, host } if of == life => self.turn(host),
            Item::Io { life: of, host, id } if of == life => self.io_done(host, id),
            Item::JobOp { life: of, host, id } if of == life => self.job_op(host, id),
            Item::Mail { life: of, from, to } if of == life => self.mail_arrives(from, to),
            Item::BootOp { life: of } if of == life => self.boot_op(),
            Item::Start { life: of } if of == life => self.start(),
            // Once work is over nothing goes wrong any more.
            Item::PlannedEnd { .. } | Item::End(_) | Item::EndAnyway if self.phase != Phase::Working => Ok(()),
            Item::PlannedEnd { place, end } => match self.plan.crash_points.get(place) {
                Some(wanted) => {
                    self.armed = Some((wanted, end));
                    self.at(self.now_us + CRASH_POINT_WAIT_US, Item::EndAnyway);
                    Ok(())
                }
                None => self.end(end),
            },
            Item::End(end) => self.end(end),
            Item::EndAnyway => self.armed.take().map_or(Ok(()), |(_, end)| self.end(end)),
            Item::ToServer { conn } => self.arrive_at_server(conn),
            Item::ToClient { conn } => self.arrive_at_client(conn),
            Item::Connect { client, slot, attempt } => self.connect(client, slot, attempt),
            Item::Gone { client, slot, attempt } => self.gone(client, slot, attempt),
            Item::Timer { client, id } => self.with_client(client, |client, cx| client.on_timer(cx, id)),
            Item::Disk(event) => {
                self.disk_event(event);
                Ok(())
            }
            Item::ClockJump(jump_ms) => {
                self.wall_offset_ms += jump_ms;
                let where_to = if jump_ms > 0 { "clock ahead" } else { "clock back" };
                self.cover(|coverage| coverage.note("fault", where_to));
                Ok(())
            }
            Item::Look => self.look(),
            _ => Ok(()),
        }
    }

    /// Schedules an item.
    fn at(&mut self, at_us: u64, item: Item) {
        self.next_item += 1;
        self.queue.insert((at_us.max(self.now_us), self.next_item), item);
    }

    /// Schedules an item between `least_us` and `most_us` from now.
    fn after(&mut self, least_us: u64, most_us: u64, item: Item) {
        let at_us = self.now_us + least_us + self.prng.below(most_us - least_us + 1);
        self.at(at_us, item);
    }

    fn now(&self) -> Now {
        let wall_ms = WALL_START_MS + (self.now_us / 1000) as i64 + self.wall_offset_ms;
        Now { mono_us: self.now_us, wall_ms }
    }

    fn disk_event(&mut self, event: DiskEvent) {
        // Once work is over nothing goes wrong any more.
        if self.phase != Phase::Working {
            return;
        }
        match event {
            DiskEvent::Faults(faults) => self.disk.set_faults(faults),
            DiskEvent::Full { free_bytes } => self.disk.set_free_bytes(free_bytes),
            DiskEvent::Freed => self.disk.free(),
            DiskEvent::Rot => {
                self.rotten.extend(self.disk.rot());
            }
        }
    }

    /// Whose fault a broken promise is, if it is not the broker's.
    fn blame(&self, what: &str) -> Option<String> {
        let sins = self.disk.sins();
        if sins.lost_by_lies > 0 {
            return Some(format!("the disk lied about {} sectors: {what}", sins.lost_by_lies));
        }
        // Rot may cost records, but what is served as good must be good.
        if what.contains("L2:") {
            return None;
        }
        // Such an ack promises to outlive the process. It does not outlive a disk that drops what was written.
        if self.plan.acks_unflushed() && sins.dropped_sectors > 0 {
            return Some(format!(
                "failed syncs dropped {} sectors of acks without flush: {what}",
                sins.dropped_sectors
            ));
        }
        (!self.rotten.is_empty()).then(|| format!("bits rotted ({:?}): {what}", self.rotten))
    }

    /// Runs a client and does what it wants.
    fn with_client(&mut self, place: usize, run: impl FnOnce(&mut dyn Client, &mut Cx<'_>) -> Verdict) -> Verdict {
        let mut client = self.clients[place].client.take().expect("clients do not run each other");
        let mut commands = Vec::new();
        let wall_ms = self.now().wall_ms;
        self.shared.log.note_wall(wall_ms);
        let mut cx = Cx {
            now_us: self.now_us,
            wall_ms,
            moment: self.next_item,
            prng: &mut self.prng,
            shared: &mut self.shared,
            commands: &mut commands,
            next_correlation: &mut self.clients[place].next_correlation,
        };
        let verdict = run(&mut *client, &mut cx);
        let verdict = verdict.map_err(|what| format!("{}: {what}", client.name()));
        self.clients[place].client = Some(client);
        // A moment of its own for whatever the judges compare.
        self.next_item += 1;
        verdict?;
        for command in commands {
            match command {
                Command::Connect(slot) => self.dial(place, slot),
                Command::Close(slot) => self.hang_up(place, slot),
                Command::Send { slot, correlation, key, version, body, answered } => {
                    self.send_request(place, slot, correlation, key, version, &body, answered);
                }
                Command::Raw { slot, bytes } => self.send_raw(place, slot, &bytes),
                Command::StopReading(slot) => self.stop_reading(place, slot),
                Command::Timer { at_us, id } => self.at(at_us, Item::Timer { client: place, id }),
            }
        }
        Ok(())
    }

    /// Moves on to the next phase when this one is over.
    fn look(&mut self) -> Verdict {
        self.after(20_000, 100_000, Item::Look);
        let settled = |seat: &ClientSeat| seat.client.as_ref().is_some_and(|client| client.settled(&self.shared));
        let late = self.now_us - self.phase_since_us > PATIENCE_US;
        if let Some(what) = self.overdue() {
            return Err(what);
        }
        match self.phase {
            Phase::Working => {
                if self.now_us >= self.plan.work_us {
                    self.shared.winding_down = true;
                    self.enter(Phase::WindingDown);
                    // After a full disk the broker recovers by itself.
                    self.disk.free();
                    if self.disk.has_faults() {
                        // What failed stays offline for the life of the process.
                        self.disk.set_faults(DiskFaults::default());
                        self.end(End::Kill)?;
                    }
                }
            }
            Phase::WindingDown => {
                if self.clients.iter().all(settled) && self.broker.is_up() {
                    self.audit(false)?;
                } else if late {
                    return Err(format!("R11: still waiting for {}", self.unsettled()));
                }
            }
            Phase::Auditing { again } => {
                if settled(&self.clients[self.auditor]) {
                    self.judge_audit()?;
                    if again {
                        self.enter(Phase::Over);
                    } else {
                        self.enter(Phase::Stopping);
                        self.begin_stop();
                    }
                } else if late {
                    return Err(format!("R11: still waiting for {}", self.unsettled()));
                }
            }
            Phase::Stopping => {
                if self.broker.is_up() {
                    self.audit(true)?;
                } else if late {
                    return Err("R11: a clean stop and a start take for ever".to_string());
                }
            }
            Phase::Over => {}
        }
        Ok(())
    }

    fn unsettled(&self) -> String {
        let waiting = self.clients.iter().flat_map(|seat| &seat.client).filter(|client| !client.settled(&self.shared));
        let names: Vec<String> = waiting.map(|client| client.name()).collect();
        format!("{names:?}; the broker is up: {}", self.broker.is_up())
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_since_us = self.now_us;
    }

    fn audit(&mut self, again: bool) -> Verdict {
        self.enter(Phase::Auditing { again });
        self.auditor = self.clients.len();
        let auditor = Box::new(Connected::new(Fetcher::new(12, 0, 1_000_000, false)));
        self.clients.push(ClientSeat { client: Some(auditor), next_correlation: 0, slots: BTreeMap::new() });
        self.with_client(self.auditor, |client, cx| {
            client.on_start(cx);
            Ok(())
        })
    }

    fn judge_audit(&mut self) -> Verdict {
        let auditor = self.clients[self.auditor].client.as_ref().expect("nobody is running");
        for partition in self.shared.log.partitions() {
            self.shared.log.finally(&partition, auditor.seen(&partition))?;
        }
        Ok(())
    }

    fn report(&self) -> Report {
        Report {
            trace_hash: self.trace.hash(),
            events: self.trace.events(),
            virtual_us: self.now_us,
            acked: self.shared.log.acked,
            read: self.shared.log.read,
            commits: self.shared.groups.commits,
            starts: self.starts,
            answers: self.answers,
            blamed: self.blamed.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::CutMode;

    #[test]
    fn an_end_that_is_planned_for_after_the_work_does_not_come() {
        let (mut plan, prng) = Plan::of(1);
        let over_us = plan.work_us + 150_000;
        plan.disk.clear();
        plan.crash_points.clear();
        plan.ends = (0..400).map(|place| (over_us + place * 1000, End::PowerCut(CutMode::Torn))).collect();
        let report = World::new(plan, prng).outcome().expect("a run like any other");
        assert_eq!(report.starts, 2, "the first one, and one after the clean stop");
    }
}
