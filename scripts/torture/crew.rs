//! Which topics and clients a run has. Must never touch: when the broker dies.

use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use coretide_client::Client;
use coretide_client::admin::NewTopic;
use coretide_stdx::prng::Prng;

use crate::churn::{Churner, Trimmer};
use crate::content::Flavour;
use crate::members::{Committer, Member};
use crate::model::Retention;
use crate::world::{Topic, World, lock};
use crate::writer::{Manner, SEGMENT_BYTES, Writer};

/// A topic that lives as long as the run.
struct Plan {
    name: &'static str,
    partitions: usize,
    retention: Retention,
    configs: &'static [(&'static str, &'static str)],
}

/// `retention.ms` of the topic `timed`, and `retention.bytes` of `sized`.
const TIMED_MS: i64 = 1500;
const SIZED_BYTES: u64 = 8 * SEGMENT_BYTES;

const PLANS: &[Plan] = &[
    Plan { name: "kept", partitions: 4, retention: Retention::Asked, configs: &[("retention.ms", "-1")] },
    Plan {
        name: "relaxed",
        partitions: 2,
        retention: Retention::Asked,
        configs: &[("retention.ms", "-1"), ("flush.messages", "100000")],
    },
    Plan {
        name: "timed",
        partitions: 2,
        retention: Retention::AfterMs(TIMED_MS),
        configs: &[("retention.ms", "1500"), ("segment.ms", "400")],
    },
    Plan {
        name: "sized",
        partitions: 2,
        retention: Retention::AboveBytes(SIZED_BYTES),
        configs: &[("retention.ms", "-1"), ("retention.bytes", "8388608")],
    },
    Plan { name: "trimmed", partitions: 2, retention: Retention::Asked, configs: &[("retention.ms", "-1")] },
];

const fn repeats(flavour: Flavour, depth: usize, records_max: u64, pause_us: u64) -> Manner {
    Manner { acks: -1, idempotent: true, flavour, depth, records_max, pause_us }
}

const fn plain(acks: i16, flavour: Flavour, depth: usize, records_max: u64, pause_us: u64) -> Manner {
    Manner { acks, idempotent: false, flavour, depth, records_max, pause_us }
}

const WRITERS: &[(&str, Manner)] = &[
    ("kept", repeats(Flavour::Small, 5, 20, 8_000)),
    ("kept", repeats(Flavour::Large, 2, 6, 100_000)),
    ("kept", repeats(Flavour::Packed, 3, 30, 20_000)),
    ("kept", plain(-1, Flavour::Keyed, 4, 10, 10_000)),
    ("kept", plain(1, Flavour::Small, 2, 5, 8_000)),
    ("kept", plain(0, Flavour::Keyed, 1, 5, 10_000)),
    ("relaxed", repeats(Flavour::Small, 5, 20, 10_000)),
    ("relaxed", plain(1, Flavour::Keyed, 3, 10, 10_000)),
    ("timed", repeats(Flavour::Small, 4, 10, 10_000)),
    ("timed", plain(-1, Flavour::Large, 2, 8, 100_000)),
    ("sized", repeats(Flavour::Large, 3, 10, 60_000)),
    ("sized", repeats(Flavour::Small, 5, 20, 10_000)),
    ("trimmed", repeats(Flavour::Keyed, 4, 20, 10_000)),
    ("trimmed", plain(0, Flavour::Small, 1, 10, 10_000)),
];

/// Makes a topic anew, in the broker and in the run.
fn make(world: &World, client: &mut Client, plan: &Plan, tag: u64) -> Result<(), String> {
    let topic = Arc::new(Topic::new(plan.name, tag, plan.partitions, plan.retention));
    let configs = [("segment.bytes", "1048576"), ("file.delete.delay.ms", "50")];
    let wanted = NewTopic {
        name: plan.name.to_string(),
        partitions: Some(plan.partitions as i32),
        configs: configs
            .iter()
            .chain(plan.configs)
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        ..NewTopic::default()
    };
    let made = client.create_topic(&wanted).map_err(|error| error.to_string())?;
    *lock(&topic.id) = made.topic_id;
    world.put_topic(topic);
    Ok(())
}

/// Makes the topics of the run.
pub fn make_topics(world: &World, prng: &mut Prng) -> Result<(), String> {
    let mut client = Client::connect(world.patient_config("torture-setup")).map_err(|error| error.to_string())?;
    PLANS.iter().try_for_each(|plan| make(world, &mut client, plan, prng.next_u64()))
}

/// Deletes those topics that have grown beyond `bytes_max` and makes them anew under the same names. All their records
/// must have been checked, and nobody may be using them. Returns how many.
pub fn renew_topics(world: &World, prng: &mut Prng, bytes_max: u64) -> Result<usize, String> {
    let grown: Vec<&Plan> = PLANS.iter().filter(|plan| bytes_of(world, plan.name) > bytes_max).collect();
    if grown.is_empty() {
        return Ok(0);
    }
    let mut client = Client::connect(world.patient_config("torture-renewal")).map_err(|error| error.to_string())?;
    for plan in &grown {
        client.delete_topic(plan.name).map_err(|error| error.to_string())?;
        world.forget_commits(plan.name);
        make(world, &mut client, plan, prng.next_u64())?;
    }
    Ok(grown.len())
}

fn bytes_of(world: &World, name: &str) -> u64 {
    let topic = world.topic(name);
    topic.map_or(0, |topic| topic.partitions.iter().map(|partition| lock(partition).size().1).sum())
}

/// The clients, one thread each.
pub type Crew<'scope> = Vec<ScopedJoinHandle<'scope, ()>>;

/// Starts all clients.
pub fn embark<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    world: &'env World,
    prng: &mut Prng,
) -> Result<Crew<'scope>, String> {
    let mut crew = writers(scope, world, prng)?;
    for (number, (group, topics)) in
        [("readers", &["kept", "trimmed"][..]), ("readers", &["kept", "trimmed"]), ("others", &["kept", "relaxed"])]
            .into_iter()
            .enumerate()
    {
        let topics = topics.iter().map(|name| name.to_string()).collect();
        let member = Member { world, group: group.to_string(), topics, prng: prng.fork() };
        crew.push(spawn(scope, &format!("member-{number}"), move || member.run())?);
    }
    for (name, topic, pause_ms) in [("ledger", "kept", 4), ("accounts", "relaxed", 10)] {
        let (name, topic) = (name.to_string(), topic.to_string());
        let committer = Committer { world, name, topic, prng: prng.fork(), pause_ms };
        crew.push(spawn(scope, "committer", move || committer.run())?);
    }
    for name in ["coming-a", "coming-b"] {
        let churner = Churner::new(world, name, 25, prng.fork());
        crew.push(spawn(scope, name, move || churner.run())?);
    }
    let trimmer = Trimmer { world, topic: "trimmed".to_string(), prng: prng.fork(), pause_ms: 150 };
    crew.push(spawn(scope, "trimmer", move || trimmer.run())?);
    Ok(crew)
}

/// Starts the producers alone.
pub fn writers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    world: &'env World,
    prng: &mut Prng,
) -> Result<Crew<'scope>, String> {
    let mut crew = Vec::new();
    for (number, (name, manner)) in WRITERS.iter().enumerate() {
        let topic = world.topic(name).ok_or_else(|| format!("there is no topic {name}"))?;
        let writer = Writer::new(world, topic, *manner, prng.fork());
        crew.push(spawn(scope, &format!("writer-{number}"), move || writer.run())?);
    }
    Ok(crew)
}

fn spawn<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    name: &str,
    run: impl FnOnce() + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, ()>, String> {
    let builder = std::thread::Builder::new().name(name.to_string());
    builder.spawn_scoped(scope, run).map_err(|error| format!("no thread for {name}: {error}"))
}
