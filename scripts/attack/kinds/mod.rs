//! The attacks: a list, and what they share. Each runs until its time is over and says what the broker did to it: Kafka's
//! answer, or a closed connection; anything else is an error.
//! Must never touch: the healthy clients' topic.

mod connections;
mod frames;
mod groups;
mod records;
mod requests;
mod state;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use coretide_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};

use crate::peer::Peer;

/// Whom to attack, and for how long.
pub struct Target {
    pub address: SocketAddr,
    pub until: Instant,
}

impl Target {
    /// True while there is time.
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Peer, String> {
        Peer::connect(self.address)
    }

    /// Sleeps, but not beyond the end.
    pub fn pause(&self, most: Duration) {
        std::thread::sleep(most.min(self.until.saturating_duration_since(Instant::now())));
    }

    /// Keeps what is open until the end.
    pub fn hold(&self) {
        self.pause(Duration::MAX);
    }

    /// Opens as many connections as are asked for; the broker may refuse some.
    fn open(&self, count: usize) -> Result<Vec<Peer>, String> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Creates a topic of the attacker's own; fine when it is there already.
    fn create_topic(
        &self,
        peer: &mut Peer,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), String> {
        let code = create(peer, name, partitions, configs)?;
        if code == 0 || code == 36 { Ok(()) } else { Err(format!("the topic {name} was refused with {code}")) }
    }
}

/// Asks for a topic; the error code.
fn create(peer: &mut Peer, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<i16, String> {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig { name: (*name).to_string(), value: Some((*value).to_string()) });
    let topic = CreatableTopic {
        name: name.to_string(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreateTopicsRequest::default() };
    let answer: CreateTopicsResponse = peer.call(&request, 5)?.map_err(|ended| ended.to_string())?;
    answer.topics.first().map(|topic| topic.error_code).ok_or_else(|| "an answer without the topic".to_string())
}

/// What an attack returns: a few words about what the broker did, for the table.
pub type Outcome = Result<String, String>;

/// One kind of attack.
pub struct Attack {
    pub name: &'static str,
    /// Settings of the broker beside the usual ones.
    pub overrides: &'static [&'static str],
    pub run: fn(&Target) -> Outcome,
}

const fn attack(name: &'static str, run: fn(&Target) -> Outcome) -> Attack {
    Attack { name, overrides: &[], run }
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
    attack("length-negative", frames::length_negative),
    attack("length-huge", frames::length_huge),
    attack("length-promised", frames::length_promised),
    attack("half-frames", frames::half_frames),
    attack("half-large-frames", frames::half_large_frames),
    attack("slow-writers", frames::slow_writers),
    attack("aborted-mid-frame", frames::aborted_mid_frame),
    attack("http", frames::http),
    attack("tls", frames::tls),
    attack("random-bytes", frames::random_bytes),
    attack("unknown-apis", frames::unknown_apis),
    attack("tag-flood", frames::tag_flood),
    attack("huge-client-ids", frames::huge_client_ids),
    attack("array-lies", frames::array_lies),
    attack("huge-arrays", frames::huge_arrays),
    attack("deep-arrays", frames::deep_arrays),
    attack("connection-hoard", connections::hoard),
    attack("connection-churn", connections::churn),
    Attack { name: "connections-per-ip", overrides: &["max.connections.per.ip=50"], run: connections::per_ip },
    attack("slow-readers", connections::slow_readers),
    attack("pipeline-unread", connections::pipeline_unread),
    attack("long-polls", connections::long_polls),
    attack("padded-polls", connections::padded_polls),
    attack("metadata-flood", requests::metadata_flood),
    attack("list-offsets-flood", requests::list_offsets_flood),
    attack("fetch-sessions", requests::fetch_sessions),
    attack("auto-created-topics", requests::auto_created_topics),
    attack("bomb-gzip", records::bomb_gzip),
    attack("bomb-snappy", records::bomb_snappy),
    attack("bomb-lz4", records::bomb_lz4),
    attack("bomb-zstd", records::bomb_zstd),
    attack("oversized-batches", records::oversized),
    attack("corrupt-batches", records::corrupt),
    attack("timestamps-far-away", records::timestamps),
    attack("acks-0-flood", records::acks_0_flood),
    attack("tiny-batches", records::tiny_batches),
    attack("producer-ids", state::producer_ids),
    Attack { name: "topics-without-end", overrides: &["coretide.max.topics=500"], run: state::topics },
    attack("partitions-2-31", state::partitions),
    attack("giant-configs", state::giant_configs),
    attack("groups-without-end", groups::groups),
    attack("members-without-end", groups::members),
    attack("padded-members", groups::padded_members),
    attack("pending-joins", groups::pending_joins),
    attack("padded-joins", groups::padded_joins),
    attack("same-member-twice", groups::same_member_twice),
    attack("offset-commits", groups::offset_commits),
];

/// Tallies outcomes by name, for the table.
#[derive(Default)]
pub struct Tally {
    counts: std::collections::BTreeMap<String, u64>,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// Counts an error code.
    pub fn code(&mut self, code: i16) {
        match coretide_model::ErrorCode::from_code(code) {
            Some(known) => self.add(known.name()),
            None => self.add(format!("error {code}")),
        }
    }

    /// How often it was counted.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// The words; an error when one of them is not `expected`, or nothing happened.
    pub fn expect(&self, expected: &[&str]) -> Outcome {
        let words = self.counts.iter().map(|(what, count)| format!("{what} x{count}")).collect::<Vec<_>>().join(", ");
        let odd = self.counts.keys().find(|what| !expected.contains(&what.as_str()));
        match odd {
            Some(odd) => Err(format!("'{odd}' was not expected: {words}")),
            None if self.counts.is_empty() => Err("nothing happened".to_string()),
            None => Ok(words),
        }
    }
}
