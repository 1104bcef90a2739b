//! What a run does, drawn from its seed: how many shards, topics and clients, and what goes wrong when. Each seed turns some
//! kinds of event off (swarm testing): what is rare when all happens is common when little does.

use coretide_stdx::prng::Prng;

use crate::client::{
    CROWD, Checker, Churner, Client, Committer, Connected, Crowd, Deleter, Fetcher, Habits, Hostile, Member, Prober,
    Producer, ProducerKind, Setup, Style, TopicPlan, Worker,
};
use crate::coverage::ALL;
use crate::disk::{CutMode, DiskFaults};

/// How the broker's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `kill -9`.
    Kill,
    /// The power goes.
    PowerCut(CutMode),
    /// SIGTERM, and after it the power goes all the same: a clean stop leaves nothing to lose.
    CleanStop,
}

/// What the network does beside being slow and cutting everything into pieces. Chances of one in so many deliveries; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkPlan {
    /// The connection is reset, and both ends learn of it soon.
    pub reset_one_in: u64,
    /// The connection goes silent: the client gives it up after a while, the broker is never told.
    pub vanish_one_in: u64,
    /// What is on its way waits for up to some seconds.
    pub stall_one_in: u64,
}

/// Limits of the broker that are so low that they are met. None: Kafka's default, which no run reaches.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitsPlan {
    /// `max.connections`, and a crowd that wants more.
    pub connections: Option<usize>,
    /// `max.connections.per.ip`, likewise.
    pub connections_per_ip: Option<usize>,
    /// `group.max.size`.
    pub group_size: Option<usize>,
    /// `coretide.shard.memory.bytes`.
    pub memory_bytes: Option<usize>,
    /// `delete.topic.enable=false`.
    pub deletes_disabled: bool,
}

/// What happens to the disk at a time.
#[derive(Clone, Copy, Debug)]
pub enum DiskEvent {
    /// It begins to fail now and then; it heals when work ends.
    Faults(DiskFaults),
    /// So many bytes are left.
    Full { free_bytes: u64 },
    /// There is room again.
    Freed,
    /// A bit flips.
    Rot,
}

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// Where all of it comes from.
    pub seed: u64,
    /// Shards of the broker at each start, the first one first; the last one repeats.
    pub shards: Vec<u16>,
    /// The topics.
    pub topics: Vec<TopicPlan>,
    /// When the broker ends, in microseconds, and how.
    pub ends: Vec<(u64, End)>,
    /// Each end waits, for half a second at most, until an operation of this kind is in flight.
    pub crash_points: Vec<&'static str>,
    /// When work ends and only the judging is left, in microseconds.
    pub work_us: u64,
    pub network: NetworkPlan,
    pub limits: LimitsPlan,
    /// What happens to the disk, and when, in microseconds.
    pub disk: Vec<(u64, DiskEvent)>,
    /// A disk operation takes very long one in so many times; 0 = never.
    pub slow_disk_one_in: u64,
    /// Every disk operation takes so many times as long.
    pub disk_factor: u64,
    /// A shard's core is taken away for up to half a second, one in so many turns; 0 = never.
    pub pause_one_in: u64,
    /// When the wall clock jumps, in microseconds, and by how many milliseconds. The monotonic clock never does.
    pub clock_jumps: Vec<(u64, i64)>,
    /// Producers compress.
    pub compressed: bool,
    /// Small journals and caches, so that files are recycled and reads go to disk.
    pub small_store: bool,
}

impl Plan {
    /// The plan of a seed. The second value draws everything that happens in the run.
    pub fn of(seed: u64) -> (Plan, Prng) {
        let mut prng = Prng::new(seed);
        let topics = plan_topics(&mut prng);
        let relaxed = acks_unflushed(&topics);
        // Some runs are long, for what has a timeout of minutes.
        let work_us = if prng.chance(1, 150) { 135_000_000 } else { (2000 + prng.below(6000)) * 1000 };
        let ends = plan_ends(&mut prng, work_us, relaxed);
        let first = 1 + prng.below(3) as u16;
        let mut shards = vec![first];
        for _ in &ends {
            shards.push(if prng.chance(1, 5) { 1 + prng.below(3) as u16 } else { first });
        }
        let crash_points = plan_crash_points(&mut prng, ends.len());
        let plan = Plan {
            seed,
            crash_points,
            shards,
            topics,
            ends,
            work_us,
            network: plan_network(&mut prng),
            limits: plan_limits(&mut prng),
            disk: plan_disk(&mut prng, work_us),
            slow_disk_one_in: one_in(&mut prng, 2, 20, 300),
            disk_factor: if prng.chance(1, 8) { 2 + prng.below(20) } else { 1 },
            pause_one_in: one_in(&mut prng, 4, 500, 5000),
            clock_jumps: plan_clock(&mut prng, work_us),
            compressed: prng.chance(1, 2),
            small_store: prng.chance(2, 3),
        };
        (plan, prng)
    }

    /// True when an ack may go out before its records were flushed.
    pub fn acks_unflushed(&self) -> bool {
        acks_unflushed(&self.topics)
    }

    /// The clients of the run.
    pub fn clients(&self, prng: &mut Prng) -> Vec<Box<dyn Client>> {
        let mut clients: Vec<Box<dyn Client>> = vec![Box::new(Setup::default()), connected(Checker::default())];
        for place in 0..1 + prng.below(4) {
            let kind = match prng.below(6) {
                _ if place == 0 => ProducerKind::Idempotent,
                0..=2 => ProducerKind::Idempotent,
                kind => ProducerKind::Plain { acks: kind as i16 - 4 },
            };
            let (version, batches) = (3 + prng.below(11) as i16, 10 + prng.below(80) as u32);
            clients.push(connected(Producer::new(kind, version, batches, 1 + prng.below(60))));
        }
        for _ in 0..prng.below(3) {
            let (version, bytes) = (4 + prng.below(14) as i16, [1, 500, 20_000, 1_000_000][prng.below(4) as usize]);
            let with_session = version >= 7 && prng.chance(1, 2);
            clients.push(connected(Fetcher::new(version, prng.below(2) as i8, bytes, with_session)));
        }
        if prng.chance(1, 2) {
            clients.push(connected(Committer::new("solo".to_string(), 5 + prng.below(40) as u32)));
        }
        if prng.chance(1, 3) {
            plan_group(prng, &mut clients);
        }
        if !self.limits.deletes_disabled && prng.chance(1, 3) {
            for label in 0..1 + prng.below(2) {
                clients.push(connected(Churner::new(label, 1 + prng.below(12) as u32)));
            }
        }
        if prng.chance(1, 3) {
            clients.push(connected(Prober::new(1 + prng.below(60))));
        }
        if prng.chance(1, 4) {
            for _ in 0..1 + prng.below(3) {
                clients.push(connected(Hostile::new(5 + prng.below(60) as u32)));
            }
        }
        if prng.chance(1, 4) {
            clients.push(connected(Deleter::new(1 + prng.below(6) as u32)));
        }
        if self.limits.connections.is_some() || self.limits.connections_per_ip.is_some() {
            clients.push(Box::new(Crowd::default()));
        }
        clients
    }
}

fn connected<W: Worker + 'static>(worker: W) -> Box<dyn Client> {
    Box::new(Connected::new(worker))
}

/// Simulated members of a group at most.
const GROUP_MEMBERS_MAX: u64 = 4;

/// The members of a group. All of them are of one style, as after an upgrade that is over; some have instance ids.
fn plan_group(prng: &mut Prng, clients: &mut Vec<Box<dyn Client>>) {
    let style = if prng.chance(1, 2) { Style::Eager } else { Style::Cooperative };
    let statics_of_3 = prng.below(4);
    let (leaves_most, naps_most) = (prng.below(3), prng.below(3));
    for label in 0..1 + prng.below(GROUP_MEMBERS_MAX) {
        let habits = Habits {
            style,
            is_static: prng.chance(statics_of_3, 3),
            leaves: prng.below(leaves_most + 1) as u32,
            naps: prng.below(naps_most + 1) as u32,
        };
        clients.push(connected(Member::new("crew".to_string(), label as u32, habits)));
    }
}

/// A chance between one in `least` and one in `most`, in one of `seeds_one_in` seeds; 0 in the others.
fn one_in(prng: &mut Prng, seeds_one_in: u64, least: u64, most: u64) -> u64 {
    if prng.chance(1, seeds_one_in) { least + prng.below(most - least) } else { 0 }
}

fn acks_unflushed(topics: &[TopicPlan]) -> bool {
    topics.iter().any(|topic| topic.configs.iter().any(|(name, _)| name == "flush.messages"))
}

fn plan_ends(prng: &mut Prng, work_us: u64, relaxed: bool) -> Vec<(u64, End)> {
    let mut ends: Vec<(u64, End)> = (0..prng.below(4))
        .map(|_| {
            let at_us = 300_000 + prng.below(work_us - 300_000);
            let end = match prng.below(6) {
                0 => End::CleanStop,
                1 | 2 => End::Kill,
                _ if relaxed => End::Kill,
                3 => End::PowerCut(CutMode::LoseAll),
                _ => End::PowerCut(CutMode::Torn),
            };
            (at_us, end)
        })
        .collect();
    // A second end while the start after the first one is still busy.
    if !ends.is_empty() && prng.chance(1, 3) {
        let (at_us, _) = ends[prng.below(ends.len() as u64) as usize];
        let end = if relaxed { End::Kill } else { End::PowerCut(CutMode::Torn) };
        ends.push((at_us + 1000 + prng.below(310_000), end));
    }
    // An end while a stop is under way.
    for place in 0..ends.len() {
        if ends[place].1 == End::CleanStop && prng.chance(1, 2) {
            let end = if relaxed || prng.chance(1, 2) { End::Kill } else { End::PowerCut(CutMode::Torn) };
            ends.push((ends[place].0 + prng.below(30_000), end));
        }
    }
    ends.sort_by_key(|&(at_us, _)| at_us);
    ends
}

/// For each end the kind of operation that it should meet, in half of the seeds.
fn plan_crash_points(prng: &mut Prng, ends: usize) -> Vec<&'static str> {
    let (_, kinds) = ALL.iter().find(|(area, _)| *area == "crash while in flight").expect("it is in the table");
    let wanted = if prng.chance(1, 2) { ends } else { 0 };
    let pick = |kinds: &[&'static str], prng: &mut Prng| kinds[prng.below(kinds.len() as u64) as usize];
    // Some are rare, and short.
    let any =
        |_| if prng.chance(1, 4) { pick(&["remove log", "rename dir", "remove dir"], prng) } else { pick(kinds, prng) };
    (0..wanted).map(any).collect()
}

fn plan_network(prng: &mut Prng) -> NetworkPlan {
    NetworkPlan {
        reset_one_in: one_in(prng, 2, 50, 1050),
        vanish_one_in: one_in(prng, 4, 200, 2000),
        stall_one_in: one_in(prng, 4, 100, 1000),
    }
}

fn plan_limits(prng: &mut Prng) -> LimitsPlan {
    let mut limits = LimitsPlan::default();
    match prng.below(12) {
        // Enough for all the others together.
        0 => limits.connections = Some(32),
        1 => limits.connections_per_ip = Some(CROWD - 8),
        _ => {}
    }
    limits.group_size = prng.chance(1, 6).then_some(GROUP_MEMBERS_MAX as usize);
    limits.memory_bytes = prng.chance(1, 6).then(|| (1 << 20) << prng.below(3));
    limits.deletes_disabled = prng.chance(1, 16);
    limits
}

fn plan_disk(prng: &mut Prng, work_us: u64) -> Vec<(u64, DiskEvent)> {
    let at_us = 200_000 + prng.below(work_us - 200_000);
    let mut events = Vec::new();
    match prng.below(24) {
        0..4 => {
            let faults = DiskFaults {
                write_error_one_in: one_in(prng, 2, 30, 330),
                sync_error_one_in: one_in(prng, 2, 30, 330),
                read_error_one_in: one_in(prng, 2, 200, 1000),
                lie_one_in: 0,
            };
            events.push((at_us, DiskEvent::Faults(faults)));
        }
        4 => {
            let faults = DiskFaults { lie_one_in: 1 + prng.below(20), ..DiskFaults::default() };
            events.push((at_us, DiskEvent::Faults(faults)));
        }
        5 | 6 => {
            for _ in 0..1 + prng.below(3) {
                let at_us = 200_000 + prng.below(work_us - 200_000);
                events.push((at_us, DiskEvent::Full { free_bytes: prng.below(300_000) }));
                events.push((at_us + prng.below(2_000_000), DiskEvent::Freed));
            }
        }
        7 => {
            for _ in 0..1 + prng.below(3) {
                events.push((200_000 + prng.below(work_us - 200_000), DiskEvent::Rot));
            }
        }
        _ => {}
    }
    events.sort_by_key(|&(at_us, _)| at_us);
    events
}

/// Together less than the hour that a record's time may be ahead of the broker's.
fn plan_clock(prng: &mut Prng, work_us: u64) -> Vec<(u64, i64)> {
    let jumps = if prng.chance(1, 3) { 1 + prng.below(4) } else { 0 };
    let (mut offset_ms, mut planned) = (0, Vec::new());
    let mut times: Vec<u64> = (0..jumps).map(|_| 100_000 + prng.below(work_us)).collect();
    times.sort_unstable();
    for at_us in times {
        let target_ms = match prng.below(3) {
            0 => prng.below(3_000_000) as i64 - 1_500_000,
            1 => prng.below(4000) as i64 - 2000,
            _ => 0,
        };
        planned.push((at_us, target_ms - offset_ms));
        offset_ms = target_ms;
    }
    planned
}

fn plan_topics(prng: &mut Prng) -> Vec<TopicPlan> {
    let relaxed = prng.chance(1, 5);
    let topic = |(place, prng): (u64, &mut Prng)| {
        let mut configs = Vec::new();
        let mut set = |name: &str, value: &str| configs.push((name.to_string(), value.to_string()));
        if relaxed {
            set("flush.messages", "1000");
        }
        if prng.chance(1, 8) {
            set("compression.type", ["gzip", "snappy", "lz4", "zstd", "uncompressed"][prng.below(5) as usize]);
        }
        if prng.chance(1, 5) {
            set("segment.ms", "400");
            match prng.below(3) {
                0 => set("retention.ms", "1500"),
                1 => set("retention.bytes", "20000"),
                _ => {
                    set("retention.ms", "600000");
                    set("retention.bytes", "60000");
                }
            }
        } else if prng.chance(1, 2) {
            set("segment.ms", "400");
        }
        if prng.chance(1, 3) {
            set("index.interval.bytes", "0");
        }
        TopicPlan { name: format!("topic{place}"), partitions: 1 + prng.below(4) as i32, configs, id: 0 }
    };
    (0..1 + prng.below(2)).map(|place| topic((place, prng))).collect()
}
