//! Consumers in groups that come and go, and committers that use groups without members. Must never touch: what is right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coretide_client::{Client, ClientError, ConsumerConfig, GroupConfig, GroupConsumer, Place, Reset};
use coretide_model::ErrorCode;
use coretide_stdx::prng::Prng;

use crate::model::CommitModel;
use crate::world::{Moment, World, count};
use crate::writer::kind_of;

/// The shortest session that the broker is told to allow.
pub const SESSION_MS_MIN: u64 = 500;

/// A consumer that joins a group, reads and commits for a while, and leaves, or is gone without a word.
pub struct Member<'a> {
    /// The run.
    pub world: &'a World,
    /// Its group.
    pub group: String,
    /// What it reads.
    pub topics: Vec<String>,
    /// Its own randomness.
    pub prng: Prng,
}

/// True when the broker refused the request as a whole, so that it had no effect.
fn is_refusal(error: &ClientError) -> bool {
    use ErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, GroupIdNotFound, IllegalGeneration, NonEmptyGroup,
        NotCoordinator, RebalanceInProgress, UnknownMemberId,
    };
    let whole = [
        CoordinatorLoadInProgress,
        CoordinatorNotAvailable,
        GroupIdNotFound,
        IllegalGeneration,
        NonEmptyGroup,
        NotCoordinator,
        RebalanceInProgress,
        UnknownMemberId,
    ];
    matches!(error, ClientError::Broker { .. }) && error.code().is_some_and(|code| whole.contains(&code))
}

/// How a commit ended.
fn settle(world: &World, id: u64, result: &Result<(), ClientError>) {
    match result {
        Ok(()) => {
            count(&world.counters.commits, 1);
            world.committed(id, CommitModel::acked);
        }
        Err(error) if is_refusal(error) => world.committed(id, CommitModel::refused),
        Err(_) => world.committed(id, CommitModel::unknown),
    }
}

impl Member<'_> {
    /// Takes part until the run is over.
    pub fn run(mut self) {
        while let Some(life) = self.world.enter() {
            if let Err(error) = self.membership(life) {
                self.world.refusal(format!("consumer: {}", kind_of(&error)));
                self.world.rest(Duration::from_millis(10));
            }
        }
    }

    fn membership(&mut self, life: u64) -> Result<(), ClientError> {
        let client = Client::connect(self.world.client_config("torture-consumer"))?;
        count(&self.world.counters.connections, 1);
        let mut config = GroupConfig::new(&self.group, &self.topics);
        config.session_timeout = Duration::from_millis(SESSION_MS_MIN + self.prng.below(1500));
        config.heartbeat_interval = Duration::from_millis(100);
        config.rebalance_timeout = Duration::from_millis(1500);
        config.auto_commit = None;
        config.reset = Reset::Earliest;
        let mut member = GroupConsumer::new(client, config, ConsumerConfig::default());
        let until = Instant::now() + Duration::from_millis(200 + self.prng.below(4000));
        let mut was_joined = false;
        while self.world.is_open() && Instant::now() < until {
            let records = member.poll(Duration::from_millis(50))?;
            if member.is_joined() && !was_joined {
                self.world.moment(Moment::GroupJoined);
                count(&self.world.counters.joins, 1);
            }
            was_joined = member.is_joined();
            for record in &records {
                if let Some(topic) = self.world.topic(&record.topic) {
                    topic.partition(record.partition).consumed(record.offset);
                }
            }
            count(&self.world.counters.consumed_records, records.len() as u64);
            if was_joined && self.prng.chance(1, 3) {
                self.commit(&mut member, life)?;
            }
        }
        if was_joined && self.prng.chance(1, 2) {
            member.close()?;
        }
        Ok(())
    }

    fn commit(&mut self, member: &mut GroupConsumer, life: u64) -> Result<(), ClientError> {
        let places: BTreeMap<Place, i64> =
            member.consumer().positions().iter().map(|(place, position)| (place.clone(), position.offset)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let id = self.world.committing(&self.group, &places, life);
        self.world.moment(Moment::OffsetsCommitted);
        let result = member.commit();
        settle(self.world, id, &result);
        // A rebalance is noticed by the next poll.
        match result {
            Err(error) if is_refusal(&error) => {
                self.world.refusal(format!("commit: {}", kind_of(&error)));
                Ok(())
            }
            other => other,
        }
    }
}

/// Commits to groups without members, one after the other, as fast as they are acknowledged, and deletes such groups.
pub struct Committer<'a> {
    /// The run.
    pub world: &'a World,
    /// The front of its groups' names.
    pub name: String,
    /// Where to.
    pub topic: String,
    /// Its own randomness.
    pub prng: Prng,
    /// The longest pause between two commits.
    pub pause_ms: u64,
}

impl Committer<'_> {
    /// Commits until the run is over.
    pub fn run(mut self) {
        while let Some(life) = self.world.enter() {
            if let Err(error) = self.live(life) {
                self.world.refusal(format!("committer: {}", kind_of(&error)));
                self.world.rest(Duration::from_millis(10));
            }
        }
    }

    fn live(&mut self, life: u64) -> Result<(), ClientError> {
        let mut client = Client::connect(self.world.client_config("torture-committer"))?;
        count(&self.world.counters.connections, 1);
        while self.world.is_open() {
            let group = format!("{}-{}", self.name, self.prng.below(8));
            if self.prng.chance(1, 40) {
                self.delete(&mut client, &group, life)?;
            } else {
                self.commit(&mut client, &group, life)?;
            }
            std::thread::sleep(Duration::from_millis(self.prng.below(self.pause_ms.max(1))));
        }
        Ok(())
    }

    fn commit(&mut self, client: &mut Client, group: &str, life: u64) -> Result<(), ClientError> {
        let Some(topic) = self.world.topic(&self.topic) else { return Ok(()) };
        let mut places = BTreeMap::new();
        for index in 0..topic.partitions.len() as i32 {
            if self.prng.chance(2, 3) {
                places.insert((self.topic.clone(), index), self.prng.below(1 << 40) as i64);
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let id = self.world.committing(group, &places, life);
        self.world.moment(Moment::OffsetsCommitted);
        let result = client.commit_as_operator(group, &places);
        settle(self.world, id, &result);
        result
    }

    fn delete(&mut self, client: &mut Client, group: &str, life: u64) -> Result<(), ClientError> {
        let id = self.world.deleting_group(group, life);
        let result = client.delete_group(group);
        match result {
            Ok(()) => self.world.committed(id, CommitModel::acked),
            Err(error) if is_refusal(&error) => self.world.committed(id, CommitModel::refused),
            Err(error) => {
                self.world.committed(id, CommitModel::unknown);
                return Err(error);
            }
        }
        Ok(())
    }
}
