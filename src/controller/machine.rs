//! The controller: takes commands, writes records, releases replies when every shard knows.
//! Must not touch: how records are stored or mailed.

use crate::command::{Command, ProducerIdBlock, Reply};
use crate::error::{CommandError, ReplayError};
use crate::image::Image;
use crate::record::{Delta, Record};
use coretide_model::{BrokerConfig, ShardId, TopicId};
use coretide_stdx::prng::Prng;
use std::collections::VecDeque;
use std::sync::Arc;

/// Producer ids in one block (KIP-730).
pub const PRODUCER_ID_BLOCK: i64 = 1000;
/// Most partitions that one request may create.
pub const MAX_PARTITIONS_PER_REQUEST: usize = 10_000;
/// Most topics or resources that one request may name.
pub const MAX_ITEMS_PER_REQUEST: usize = 20_000;
/// Most resources other than topics that may carry configuration.
pub const MAX_CONFIG_RESOURCES: usize = 10_000;
/// Replies that may wait for their records at one time.
pub const MAX_PARKED_REPLIES: usize = 10_000;
/// A snapshot is due once this many records follow the last one, or four times as many as the image needs.
const SNAPSHOT_AFTER_RECORDS: usize = 10_000;
/// Topic ids below this one are reserved.
const RESERVED_TOPIC_IDS: u128 = 100;

/// Names a caller of `handle`; comes back with the reply.
pub type Token = u64;

/// What the controller has to know about where it runs.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    pub broker: BrokerConfig,
    /// Every shard must apply a delta before its replies are released.
    pub shards: u16,
    /// Topic ids follow from it; it must differ from start to start.
    pub seed: u64,
}

/// What `handle` and its companions leave for the caller to do.
#[derive(Debug, Default)]
pub struct Effects {
    /// Append to the metadata log, each as one unit and in this order; when one is durable, broadcast it to all shards.
    pub writes: Vec<Arc<Delta>>,
    /// Send.
    pub replies: Vec<(Token, Reply)>,
}

struct Parked {
    revision: u64,
    token: Token,
    reply: Reply,
}

/// The machine on shard 0.
pub struct Controller {
    pub(crate) image: Image,
    pub(crate) prng: Prng,
    /// The last delta that was made.
    revision: u64,
    /// By shard: the last delta that it applied.
    applied: Vec<u64>,
    parked: VecDeque<Parked>,
    records_since_snapshot: usize,
    /// Topics that the replayed log says were deleted.
    removed: Vec<TopicId>,
    offline: bool,
}

impl Controller {
    /// A controller that knows nothing yet; `replay` the log into it, then `start`.
    pub fn new(config: ControllerConfig) -> Controller {
        assert!(config.shards > 0, "somebody must own the metadata log");
        Controller {
            image: Image::new(config.broker),
            prng: Prng::new(config.seed),
            revision: 0,
            applied: vec![0; usize::from(config.shards)],
            parked: VecDeque::new(),
            records_since_snapshot: 0,
            removed: Vec::new(),
            offline: false,
        }
    }

    /// Applies records of the log, in order. Only before `start`.
    pub fn replay(&mut self, records: &[Record]) -> Result<(), ReplayError> {
        assert_eq!(self.revision, 0, "the log is read before the first command");
        self.records_since_snapshot += records.len();
        self.removed.extend(records.iter().filter_map(|record| match record {
            Record::RemoveTopic { topic_id } => Some(*topic_id),
            _ => None,
        }));
        self.image.apply(records).map(|_| ())
    }

    /// Ends the replay: the delta that makes every shard's empty image equal to this one. It is durable already.
    pub fn start(&mut self) -> Arc<Delta> {
        assert_eq!(self.revision, 0, "there is one start");
        self.revision = 1;
        let removed = std::mem::take(&mut self.removed);
        Arc::new(Delta { revision: 1, records: self.image.to_records(), removed })
    }

    /// The newest state, which may not be durable yet: for checks, never for answers.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Takes a command. Its reply comes at once if it changes nothing and everybody knows all that it saw.
    pub fn handle(&mut self, command: Command, token: Token, effects: &mut Effects) {
        if self.offline {
            effects.replies.push((token, command.refuse(&CommandError::Offline)));
            return;
        }
        if self.parked.len() >= MAX_PARKED_REPLIES {
            let error = CommandError::LimitReached("too many changes are waiting; try again".to_string());
            effects.replies.push((token, command.refuse(&error)));
            return;
        }
        if command.items() > MAX_ITEMS_PER_REQUEST {
            let text = format!("one request may name {MAX_ITEMS_PER_REQUEST} topics or resources, not more");
            effects.replies.push((token, command.refuse(&CommandError::LimitReached(text))));
            return;
        }
        let mut records = Vec::new();
        let reply = match command {
            Command::CreateTopics { topics, validate_only } => {
                Reply::CreateTopics(self.create_topics(topics, validate_only, &mut records))
            }
            Command::AutoCreate { names } => Reply::AutoCreate(self.auto_create(names, &mut records)),
            Command::DeleteTopics { topics } => Reply::DeleteTopics(self.delete_topics(&topics, &mut records)),
            Command::CreatePartitions { topics, validate_only } => {
                Reply::CreatePartitions(self.create_partitions(&topics, validate_only, &mut records))
            }
            Command::AlterConfigs { resources, validate_only } => {
                Reply::AlterConfigs(self.alter_configs(resources, validate_only, &mut records))
            }
            Command::IncrementalAlterConfigs { resources, validate_only } => {
                Reply::IncrementalAlterConfigs(self.incremental_alter_configs(resources, validate_only, &mut records))
            }
            Command::AllocateProducerIds => Reply::AllocateProducerIds(self.allocate_producer_ids(&mut records)),
        };
        if !records.is_empty() {
            self.revision += 1;
            self.records_since_snapshot += records.len();
            effects.writes.push(Arc::new(Delta { revision: self.revision, records, removed: Vec::new() }));
        }
        if self.known_everywhere() >= self.revision {
            effects.replies.push((token, reply));
        } else {
            self.parked.push_back(Parked { revision: self.revision, token, reply });
        }
    }

    /// Makes records part of the state. They were checked by whoever made them.
    pub(crate) fn commit(&mut self, made: Vec<Record>, records: &mut Vec<Record>) {
        self.image.apply(&made).expect("the controller makes records that fit its own image");
        records.extend(made);
    }

    /// A shard has applied all deltas up to this one.
    pub fn on_applied(&mut self, shard: ShardId, revision: u64, effects: &mut Effects) {
        assert!(revision <= self.revision, "a shard cannot apply what was never sent");
        let applied = &mut self.applied[shard.index()];
        assert!(revision >= *applied, "deltas arrive in order");
        *applied = revision;
        let known = self.known_everywhere();
        while self.parked.front().is_some_and(|parked| parked.revision <= known) {
            let parked = self.parked.pop_front().expect("just seen");
            effects.replies.push((parked.token, parked.reply));
        }
    }

    /// A write of the metadata log failed: what waits is refused, and so is everything that comes.
    pub fn on_write_failed(&mut self, effects: &mut Effects) {
        self.offline = true;
        for mut parked in self.parked.drain(..) {
            parked.reply.fail(&CommandError::Offline);
            effects.replies.push((parked.token, parked.reply));
        }
    }

    fn known_everywhere(&self) -> u64 {
        self.applied.iter().copied().min().unwrap_or(0)
    }

    /// True when the log has grown well beyond what the state needs.
    pub fn snapshot_due(&self) -> bool {
        let live = self.image.topic_count() + self.image.partition_count();
        !self.offline && self.records_since_snapshot > SNAPSHOT_AFTER_RECORDS.max(4 * live)
    }

    /// The whole state as records, to be appended as one unit; once they are durable the log may start there.
    pub fn snapshot(&mut self) -> Vec<Record> {
        let records = self.image.to_records();
        self.records_since_snapshot = records.len();
        records
    }

    fn allocate_producer_ids(&mut self, records: &mut Vec<Record>) -> Result<ProducerIdBlock, CommandError> {
        let first = self.image.next_producer_id();
        let Some(next_producer_id) = first.checked_add(PRODUCER_ID_BLOCK) else {
            return Err(CommandError::LimitReached("all producer ids have been given out".to_string()));
        };
        let broker_id = self.image.broker().node_id;
        self.commit(vec![Record::ProducerIds { broker_id, next_producer_id }], records);
        Ok(ProducerIdBlock { first, count: PRODUCER_ID_BLOCK })
    }

    /// A fresh id. Ids whose text begins with '-' are left out, since tools would take them for options.
    pub(crate) fn new_topic_id(&mut self) -> TopicId {
        loop {
            let id = TopicId(u128::from(self.prng.next_u64()) << 64 | u128::from(self.prng.next_u64()));
            if id.0 >= RESERVED_TOPIC_IDS && !id.to_string().starts_with('-') && self.image.topic(id).is_none() {
                return id;
            }
        }
    }
}
