//! What a run does, drawn from its seed: how many shards, topics and clients, and what goes wrong when.

use coretide_stdx::prng::Prng;

use crate::client::{Checker, Client, Committer, Deleter, Fetcher, Member, Producer, ProducerKind, Setup, TopicPlan};
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
    /// When work ends and only the judging is left, in microseconds.
    pub work_us: u64,
    /// A connection is reset after one in so many deliveries; 0 = never.
    pub reset_one_in: u64,
    /// A disk operation takes very long one in so many times; 0 = never.
    pub stall_one_in: u64,
    /// From when on the disk fails now and then, in microseconds, and how; it heals when work ends.
    pub faults: Option<(u64, DiskFaults)>,
    /// Small journals and caches, so that files are recycled and reads go to disk.
    pub small_store: bool,
}

impl Plan {
    /// The plan of a seed. The second value draws everything that happens in the run.
    pub fn of(seed: u64) -> (Plan, Prng) {
        let mut prng = Prng::new(seed);
        let topics = plan_topics(&mut prng);
        let relaxed = topics.iter().any(|topic| topic.configs.iter().any(|(name, _)| name == "flush.messages"));
        let work_us = (2000 + prng.below(6000)) * 1000;
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
        ends.sort_by_key(|&(at_us, _)| at_us);
        let first = 1 + prng.below(3) as u16;
        let mut shards = vec![first];
        for _ in &ends {
            shards.push(if prng.chance(1, 5) { 1 + prng.below(3) as u16 } else { first });
        }
        let faults = prng.chance(1, 6).then(|| {
            let one_in = |prng: &mut Prng| if prng.chance(1, 2) { 30 + prng.below(300) } else { 0 };
            let (write_error_one_in, sync_error_one_in) = (one_in(&mut prng), one_in(&mut prng));
            let at_us = 200_000 + prng.below(work_us - 200_000);
            (at_us, DiskFaults { write_error_one_in, sync_error_one_in, read_error_one_in: 0 })
        });
        let plan = Plan {
            seed,
            faults,
            shards,
            topics,
            ends,
            work_us,
            reset_one_in: if prng.chance(1, 2) { 50 + prng.below(1000) } else { 0 },
            stall_one_in: if prng.chance(1, 2) { 20 + prng.below(300) } else { 0 },
            small_store: prng.chance(2, 3),
        };
        (plan, prng)
    }

    /// The clients of the run.
    pub fn clients(&self, prng: &mut Prng) -> Vec<Box<dyn Client>> {
        let mut clients: Vec<Box<dyn Client>> = vec![Box::new(Setup::default()), Box::new(Checker::default())];
        for place in 0..1 + prng.below(4) {
            let kind = match prng.below(6) {
                _ if place == 0 => ProducerKind::Idempotent,
                0..=2 => ProducerKind::Idempotent,
                kind => ProducerKind::Plain { acks: kind as i16 - 4 },
            };
            let (version, batches) = (3 + prng.below(11) as i16, 10 + prng.below(80) as u32);
            clients.push(Box::new(Producer::new(kind, version, batches, 1 + prng.below(60))));
        }
        for _ in 0..prng.below(3) {
            let (version, bytes) = (4 + prng.below(14) as i16, [1, 500, 20_000, 1_000_000][prng.below(4) as usize]);
            let with_session = version >= 7 && prng.chance(1, 2);
            clients.push(Box::new(Fetcher::new(version, prng.below(2) as i8, bytes, with_session)));
        }
        if prng.chance(1, 2) {
            clients.push(Box::new(Committer::new("solo".to_string(), 5 + prng.below(40) as u32)));
        }
        if prng.chance(1, 3) {
            for label in 0..1 + prng.below(3) {
                clients.push(Box::new(Member::new("crew".to_string(), label as u32, prng.below(2) as u32)));
            }
        }
        if prng.chance(1, 4) {
            clients.push(Box::new(Deleter::new(1 + prng.below(6) as u32)));
        }
        clients
    }
}

fn plan_topics(prng: &mut Prng) -> Vec<TopicPlan> {
    let relaxed = prng.chance(1, 5);
    let topic = |(place, prng): (u64, &mut Prng)| {
        let mut configs = Vec::new();
        let mut set = |name: &str, value: &str| configs.push((name.to_string(), value.to_string()));
        if relaxed {
            set("flush.messages", "1000");
        }
        if prng.chance(1, 2) {
            set("segment.ms", "400");
        }
        if prng.chance(1, 3) {
            set("index.interval.bytes", "0");
        }
        TopicPlan { name: format!("topic{place}"), partitions: 1 + prng.below(4) as i32, configs, id: 0 }
    };
    (0..1 + prng.below(2)).map(|place| topic((place, prng))).collect()
}
