//! Topics that are made, filled, read, and deleted, again under the same name; and DeleteRecords.
//! Must never touch: what is right inside a partition.

use std::sync::Arc;
use std::time::Duration;

use coretide_client::admin::NewTopic;
use coretide_client::{Client, ClientError, Connection, TopicInfo};
use coretide_model::ErrorCode;
use coretide_stdx::prng::Prng;

use crate::calls;
use crate::content::{Flavour, Stamp, make_batch};
use crate::model::{Retention, Sent};
use crate::verify::{Trouble, check_partition};
use crate::world::{Moment, REQUEST_TIMEOUT, Topic, World, count, lock, now_ms};
use crate::writer::kind_of;
use coretide_wire::messages::produce::ProduceRequest;

/// What the owner of a topic's name knows about it.
enum State {
    Absent,
    /// Asked for, and not answered.
    Creating(Arc<Topic>),
    Live(Arc<Topic>),
    /// Its deletion was asked for, and not answered.
    Deleting(Arc<Topic>),
}

/// True when the broker lives and may still do what it was asked.
fn is_late(error: &ClientError) -> bool {
    match error {
        ClientError::GaveUp { last, .. } => is_late(last),
        ClientError::Timeout { .. } => true,
        other => other.code() == Some(ErrorCode::RequestTimedOut),
    }
}

/// The only client of a topic that comes and goes.
pub struct Churner<'a> {
    world: &'a World,
    base_name: String,
    /// How many names were given up.
    names: u32,
    name: String,
    prng: Prng,
    state: State,
    writer: u32,
    /// Its numbers by partition.
    next_n: Vec<u64>,
    identity: Option<(i64, i16)>,
    /// The longest pause between two steps.
    pause_ms: u64,
}

impl<'a> Churner<'a> {
    /// Before the first topic.
    pub fn new(world: &'a World, name: &str, pause_ms: u64, prng: Prng) -> Churner<'a> {
        let (state, next_n) = (State::Absent, Vec::new());
        let base_name = name.to_string();
        let name = base_name.clone();
        Churner { world, base_name, names: 0, name, prng, state, writer: 0, next_n, identity: None, pause_ms }
    }

    /// Makes and deletes topics until the run is over.
    pub fn run(mut self) {
        while self.world.enter().is_some() {
            match self.live() {
                Ok(()) => {}
                Err(Trouble::Wrong(problem)) => self.world.fail(format!("topic {}: {problem}", self.name)),
                Err(Trouble::Call(error)) => {
                    self.world.refusal(format!("churner: {}", kind_of(&error)));
                    if is_late(&error) {
                        // What was given up may still be done, whenever: to the next topic of this name, too.
                        self.names += 1;
                        self.name = format!("{}-{}", self.base_name, self.names);
                        self.state = State::Absent;
                    }
                    self.world.rest(Duration::from_millis(10));
                }
            }
        }
    }

    fn live(&mut self) -> Result<(), Trouble> {
        let mut client = Client::connect(self.world.client_config("torture-churner"))?;
        let mut connection = calls::connect(self.world, "torture-churner")?;
        self.resolve(&mut client, &mut connection)?;
        while self.world.is_open() {
            match &self.state {
                State::Absent => self.create(&mut client)?,
                State::Live(topic) => {
                    let topic = Arc::clone(topic);
                    match self.prng.below(10) {
                        0 | 1 => self.delete(&mut client, topic)?,
                        2 => self.read(&mut connection, &topic)?,
                        _ => self.produce(&mut connection, &topic)?,
                    }
                }
                State::Creating(_) | State::Deleting(_) => self.resolve(&mut client, &mut connection)?,
            }
            self.world.rest(Duration::from_millis(self.prng.below(self.pause_ms.max(1))));
        }
        Ok(())
    }

    /// What does the broker know of the topic? Nothing else than what it acknowledged, or was asked.
    fn resolve(&mut self, client: &mut Client, connection: &mut Connection) -> Result<(), Trouble> {
        client.forget_topic(&self.name);
        let found = match client.topic(&self.name, false) {
            Ok(info) => Some(info),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => None,
            Err(error) => return Err(error.into()),
        };
        let state = std::mem::replace(&mut self.state, State::Absent);
        self.state = match (state, found) {
            (State::Absent, Some(info)) => {
                return Err(Trouble::Wrong(format!("it was deleted, and is there as {}", info.id)));
            }
            (State::Live(topic), None) => {
                let gone = format!("it is gone, and nobody deleted it (its id was {})", lock(&topic.id));
                return Err(Trouble::Wrong(gone));
            }
            (State::Absent | State::Creating(_) | State::Deleting(_), None) => State::Absent,
            (State::Creating(topic), Some(info)) => {
                *lock(&topic.id) = info.id;
                self.is_as_made(&topic, &info)?;
                State::Live(topic)
            }
            (State::Live(topic) | State::Deleting(topic), Some(info)) => {
                self.is_as_made(&topic, &info)?;
                State::Live(topic)
            }
        };
        if let State::Live(topic) = &self.state {
            let topic = Arc::clone(topic);
            self.read(connection, &topic)?;
        }
        Ok(())
    }

    fn is_as_made(&self, topic: &Topic, info: &TopicInfo) -> Result<(), Trouble> {
        let due = (*lock(&topic.id), topic.partitions.len());
        if (info.id, info.partitions.len()) == due {
            return Ok(());
        }
        Err(Trouble::Wrong(format!("it has id {} and {} partitions, due are {due:?}", info.id, info.partitions.len())))
    }

    fn create(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let partitions = 1 + self.prng.below(4) as usize;
        let topic = Arc::new(Topic::new(&self.name, self.prng.next_u64(), partitions, Retention::Asked));
        self.writer = self.world.writer_number();
        self.next_n = vec![0; partitions];
        self.state = State::Creating(Arc::clone(&topic));
        let delay = self.prng.below(3) * 40;
        let pair = |name: &str, value: String| (name.to_string(), value);
        let wanted = NewTopic {
            name: self.name.clone(),
            partitions: Some(partitions as i32),
            configs: vec![
                pair("segment.bytes", "1048576".to_string()),
                pair("file.delete.delay.ms", delay.to_string()),
                pair("retention.ms", "-1".to_string()),
            ],
            ..NewTopic::default()
        };
        self.world.moment(Moment::TopicCreated);
        let made = client.create_topic(&wanted)?;
        count(&self.world.counters.topics_created, 1);
        *lock(&topic.id) = made.topic_id;
        self.state = State::Live(topic);
        Ok(())
    }

    fn delete(&mut self, client: &mut Client, topic: Arc<Topic>) -> Result<(), Trouble> {
        self.state = State::Deleting(topic);
        self.world.moment(Moment::TopicDeleted);
        client.delete_topic(&self.name)?;
        count(&self.world.counters.topics_deleted, 1);
        self.state = State::Absent;
        if self.prng.chance(1, 3) {
            client.forget_topic(&self.name);
            match client.topic(&self.name, false) {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
                Err(error) => return Err(error.into()),
                Ok(info) => return Err(Trouble::Wrong(format!("it was deleted, and is still there as {}", info.id))),
            }
        }
        Ok(())
    }

    /// One batch for each partition; in the numbers and sequences of this producer, which begin anew with each topic, the
    /// producer id does not.
    fn produce(&mut self, connection: &mut Connection, topic: &Topic) -> Result<(), Trouble> {
        if self.identity.is_none() {
            self.identity = calls::producer_id(connection)?;
            self.identity.iter().for_each(|(id, _)| self.world.producer_id(*id));
        }
        let flavour = Flavour::ALL[self.prng.below(4) as usize];
        let mut sent = Vec::new();
        for index in 0..topic.partitions.len() {
            sent.push(self.batch(topic, index, flavour));
        }
        let parts: Vec<_> = sent.iter().map(|(index, _, bytes)| (*index, bytes.clone())).collect();
        let request = calls::produce_request(&self.name, -1, &parts);
        let answer = connection.call::<ProduceRequest>(&request, REQUEST_TIMEOUT);
        if answer.is_err() {
            // What was sent may be there or not: a producer that does not repeat goes on under another id.
            self.identity = None;
        }
        let answer = answer?;
        for (index, sent, _) in sent {
            let answer = calls::produced(&answer, index)?;
            if answer.error_code != ErrorCode::None as i16 {
                self.identity = None;
                let what = || format!("producing {sent:?} to {}-{index}", self.name);
                let passes = ErrorCode::from_code(answer.error_code).is_some_and(ErrorCode::is_retriable);
                let error = ClientError::check(answer.error_code, answer.error_message.clone(), what);
                let Err(error) = error else { continue };
                return Err(if passes { Trouble::Call(error) } else { Trouble::Wrong(error.to_string()) });
            }
            topic.partition(index).acked(&sent, answer.base_offset).map_err(Trouble::Wrong)?;
            count(&self.world.counters.acked_records, u64::from(sent.count));
            count(&self.world.counters.acked_bytes, u64::from(sent.bytes));
        }
        Ok(())
    }

    fn batch(&mut self, topic: &Topic, index: usize, flavour: Flavour) -> (i32, Sent, bytes::Bytes) {
        let records = 1 + self.prng.below(12) as u32;
        let (first_n, timestamp_ms) = (self.next_n[index], now_ms());
        self.next_n[index] += u64::from(records);
        let partition = index as i32;
        let stamp = Stamp { tag: topic.tag, n: first_n, writer: self.writer, partition, flavour };
        // After a lost answer the producer has a new id, and its sequences begin where its numbers are.
        let producer = self.identity.map(|(id, epoch)| (id, epoch, first_n as i32));
        let bytes = make_batch(stamp, records, timestamp_ms, producer);
        let (writer, size) = (self.writer, bytes.len() as u32);
        let sent = Sent { writer, first_n, count: records, timestamp_ms, bytes: size, producer, gapless: false };
        topic.partition(partition).sending(sent);
        (partition, sent, bytes)
    }

    fn read(&mut self, connection: &mut Connection, topic: &Topic) -> Result<(), Trouble> {
        for index in 0..topic.partitions.len() as i32 {
            check_partition(self.world, connection, topic, index, &mut self.prng)?;
        }
        Ok(())
    }
}

/// Deletes records from the front of a topic's partitions.
pub struct Trimmer<'a> {
    /// The run.
    pub world: &'a World,
    /// The topic.
    pub topic: String,
    /// Its own randomness.
    pub prng: Prng,
    /// The longest pause between two deletions.
    pub pause_ms: u64,
}

impl Trimmer<'_> {
    /// Deletes until the run is over.
    pub fn run(mut self) {
        while self.world.enter().is_some() {
            if let Err(error) = self.live() {
                self.world.refusal(format!("trimmer: {}", kind_of(&error)));
                self.world.rest(Duration::from_millis(10));
            }
        }
    }

    fn live(&mut self) -> Result<(), ClientError> {
        let mut client = Client::connect(self.world.client_config("torture-trimmer"))?;
        while self.world.is_open() {
            self.world.rest(Duration::from_millis(self.prng.below(self.pause_ms.max(1))));
            let Some(topic) = self.world.topic(&self.topic) else { return Ok(()) };
            let index = self.prng.below(topic.partitions.len() as u64) as i32;
            let target = {
                let mut model = topic.partition(index);
                let (low, end) = (model.trim_asked, model.end());
                let target = low + self.prng.below((end - low).max(0) as u64 + 1) as i64;
                model.trim_asked = target;
                target
            };
            self.world.moment(Moment::RecordsDeleted);
            let low = client.delete_records(&self.topic, index, target)?;
            count(&self.world.counters.trims, 1);
            let mut model = topic.partition(index);
            if low < target {
                self.world.fail(format!("{}-{index}: DeleteRecords up to {target} reached {low}", self.topic));
            }
            model.trim_acked = model.trim_acked.max(target);
        }
        Ok(())
    }
}
