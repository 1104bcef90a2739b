//! Reads partitions back from end to end and holds them against their models. Must never touch: how the load is made.

use std::sync::Arc;

use bytes::Bytes;
use coretide_client::{Client, ClientError, Connection, Place};
use coretide_log::batch::{BatchHeader, walk_batches};
use coretide_model::ErrorCode;
use coretide_stdx::prng::Prng;

use crate::calls::{self, EARLIEST, LATEST};
use crate::content::check_batch;
use crate::model::{Pass, Sent};
use crate::world::{Topic, World, count, now_ms};

/// Bytes of one fetch.
const FETCH_BYTES: i32 = 4 << 20;
/// Places in the middle of a partition that are fetched besides.
const SAMPLES: u64 = 4;

/// Why a pass ended early.
#[derive(Debug)]
pub enum Trouble {
    /// The broker could not be asked: it is gone, or it refused.
    Call(ClientError),
    /// What it answered is wrong.
    Wrong(String),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Trouble {
        Trouble::Call(error)
    }
}

impl Trouble {
    /// In words.
    pub fn text(self) -> String {
        match self {
            Trouble::Call(error) => error.to_string(),
            Trouble::Wrong(text) => text,
        }
    }
}

/// One pass through a partition.
struct Scan<'a> {
    world: &'a World,
    topic: &'a Topic,
    index: i32,
    pass: Pass,
    /// The next offset.
    at: i64,
    leader_epoch: i32,
    records: u64,
    /// The timestamps of the batches by their first offset.
    timestamps: Vec<(i64, i64)>,
}

fn producer_of(header: &BatchHeader) -> Option<(i64, i16, i32)> {
    let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
    header.has_producer_id().then_some(producer)
}

/// Checks one batch that was read against its model.
pub fn check_one(topic: &Topic, index: i32, batch: &Bytes, header: &BatchHeader) -> Result<Sent, String> {
    let place = |reason: String| format!("{}-{index} at {}: {reason}", topic.name, header.base_offset);
    let stamp = check_batch(batch, header, topic.tag, index).map_err(place)?;
    if header.last_offset_delta + 1 != header.record_count {
        return Err(place("its last offset does not fit the number of its records".to_string()));
    }
    let who = (stamp.writer, stamp.n, header.record_count as u32);
    let mut model = topic.partition(index);
    model.seen(header.base_offset, who, header.max_timestamp, producer_of(header)).map_err(place)
}

impl Scan<'_> {
    fn place(&self, reason: String) -> Trouble {
        Trouble::Wrong(format!("{}-{} at {}: {reason}", self.topic.name, self.index, self.at))
    }

    fn take(&mut self, bytes: &Bytes, is_first: bool) -> Result<(), Trouble> {
        let mut whole = 0;
        for (at, header) in walk_batches(bytes) {
            let reaches_in = is_first && whole == 0 && header.base_offset <= self.at && header.next_offset() > self.at;
            if header.base_offset != self.at && !reaches_in {
                return Err(self.place(format!("the next batch begins at {}", header.base_offset)));
            }
            if header.leader_epoch < self.leader_epoch {
                return Err(self.place(format!("epoch {} after {}", header.leader_epoch, self.leader_epoch)));
            }
            let batch = bytes.slice(at..at + header.total_bytes());
            let sent = check_one(self.topic, self.index, &batch, &header).map_err(Trouble::Wrong)?;
            self.pass.step(header.base_offset, &sent).map_err(|reason| self.place(reason))?;
            whole += 1;
            self.leader_epoch = header.leader_epoch;
            self.timestamps.push((header.base_offset, header.max_timestamp));
            self.records += header.record_count as u64;
            self.at = header.next_offset();
        }
        if whole == 0 {
            return Err(self.place(format!("{} bytes without a whole batch", bytes.len())));
        }
        Ok(())
    }

    /// Reads up to `end`. Returns the offset of the first record, which retention may move meanwhile.
    fn run(&mut self, connection: &mut Connection, end: i64) -> Result<i64, Trouble> {
        let mut start = self.begin(connection)?;
        while self.at < end {
            let data = calls::fetch(connection, &self.topic.name, self.index, self.at, FETCH_BYTES)?;
            match ErrorCode::from_code(data.error_code) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::OffsetOutOfRange) => {
                    let was = start;
                    start = self.begin(connection)?;
                    if start <= was {
                        let marks = (data.log_start_offset, data.high_watermark);
                        return Err(self.place(format!("out of range, {marks:?}, though the log begins at {start}")));
                    }
                    continue;
                }
                _ => ClientError::check(data.error_code, None, || "fetching".to_string())?,
            }
            let bytes = data.records.unwrap_or_default();
            if bytes.is_empty() {
                let high = data.high_watermark;
                return Err(
                    self.place(format!("nothing comes, high watermark {high}, and {end} must be reached: lost"))
                );
            }
            let is_first = self.at == start;
            self.take(&bytes, is_first)?;
        }
        Ok(start)
    }

    fn begin(&mut self, connection: &mut Connection) -> Result<i64, Trouble> {
        let start = calls::list_offset(connection, &self.topic.name, self.index, EARLIEST)?.offset;
        self.topic
            .partition(self.index)
            .begins_at(start, now_ms(), self.topic.retention)
            .map_err(|reason| self.place(reason))?;
        self.pass = Pass::new(start);
        (self.at, self.leader_epoch) = (start, -1);
        self.timestamps.clear();
        Ok(start)
    }

    /// The offset of a timestamp must be that of the first batch that has it or a later one.
    fn check_timestamp(&self, connection: &mut Connection, prng: &mut Prng, start: i64) -> Result<(), Trouble> {
        let Some(last) = self.timestamps.len().checked_sub(1) else { return Ok(()) };
        let target = self.timestamps[prng.below(last as u64 + 1) as usize].1;
        let due =
            self.timestamps.iter().find(|(_, timestamp)| *timestamp >= target).map(|(base, _)| (*base).max(start));
        let found = calls::list_offset(connection, &self.topic.name, self.index, target)?;
        let start_now = calls::list_offset(connection, &self.topic.name, self.index, EARLIEST)?.offset;
        if start_now == start && Some(found.offset) != due {
            let text = format!("timestamp {target} is answered with {} where {due:?} is due", found.offset);
            return Err(self.place(text));
        }
        Ok(())
    }

    /// Fetches in the middle find what a pass from the start finds.
    fn check_sample(&self, connection: &mut Connection, offset: i64) -> Result<(), Trouble> {
        let data = calls::fetch(connection, &self.topic.name, self.index, offset, 1)?;
        if data.error_code == ErrorCode::OffsetOutOfRange as i16 {
            let begins_at = calls::list_offset(connection, &self.topic.name, self.index, EARLIEST)?.offset;
            let is_gone = begins_at > offset;
            return if is_gone {
                Ok(())
            } else {
                Err(self.place(format!("offset {offset} is said to be out of range")))
            };
        }
        ClientError::check(data.error_code, None, || "fetching".to_string())?;
        let bytes = data.records.unwrap_or_default();
        let Some((at, header)) = walk_batches(&bytes).next() else {
            return Err(self.place(format!("a fetch at {offset} brings no whole batch")));
        };
        if header.base_offset > offset || header.last_offset() < offset {
            let range = (header.base_offset, header.last_offset());
            return Err(self.place(format!("a fetch at {offset} brings the batch {range:?}")));
        }
        let batch = bytes.slice(at..at + header.total_bytes());
        check_one(self.topic, self.index, &batch, &header).map(|_| ()).map_err(Trouble::Wrong)
    }
}

/// Reads a partition from its start to its end (at least to what was acknowledged or read before) and checks all of it.
/// Returns how many records there are.
pub fn check_partition(
    world: &World,
    connection: &mut Connection,
    topic: &Topic,
    index: i32,
    prng: &mut Prng,
) -> Result<u64, Trouble> {
    let known_end = topic.partition(index).end();
    let end = calls::list_offset(connection, &topic.name, index, LATEST)?.offset;
    let pass = Pass::new(0);
    let timestamps = Vec::new();
    let mut scan = Scan { world, topic, index, pass, at: end, leader_epoch: -1, records: 0, timestamps };
    if end < known_end {
        return Err(scan.place(format!("the log ends here, but {known_end} was acknowledged or read: lost")));
    }
    let start = scan.run(connection, end)?;
    scan.check_timestamp(connection, prng, start)?;
    for _ in 0..SAMPLES {
        if scan.at > start {
            let offset = start + prng.below((scan.at - start) as u64) as i64;
            scan.check_sample(connection, offset)?;
        }
    }
    count(&scan.world.counters.read_records, scan.records);
    Ok(scan.records)
}

/// Checks all partitions of the topics of the run, on two connections.
pub fn check_all(world: &World, prng: &mut Prng) -> u64 {
    let work: Vec<(Arc<Topic>, i32)> = world
        .topics()
        .iter()
        .flat_map(|topic| (0..topic.partitions.len() as i32).map(|index| (Arc::clone(topic), index)))
        .collect();
    let (left, right): (Vec<_>, Vec<_>) = work.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
    let (mut one, mut two) = (prng.fork(), prng.fork());
    std::thread::scope(|scope| {
        let other = scope.spawn(move || check_some(world, right, &mut two));
        let mine = check_some(world, left, &mut one);
        mine + other.join().expect("the other half of the check does not panic")
    })
}

fn check_some(world: &World, work: Vec<(usize, (Arc<Topic>, i32))>, prng: &mut Prng) -> u64 {
    let mut records = 0;
    let mut connection = None;
    for (_, (topic, index)) in work {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => calls::connect(world, "check"),
        };
        let result = open.map_err(Trouble::Call).and_then(|mut open| {
            let found = check_partition(world, &mut open, &topic, index, prng);
            connection = found.is_ok().then_some(open);
            found
        });
        match result {
            Ok(found) => records += found,
            Err(trouble) => world.fail(format!("reading {}-{index} back: {}", topic.name, trouble.text())),
        }
    }
    records
}

/// Asks for every committed offset. No client may be committing meanwhile.
pub fn check_commits(world: &World) {
    let mut client = match Client::connect(world.patient_config("check-commits")) {
        Ok(client) => client,
        Err(error) => return world.fail(format!("reading the commits back: {error}")),
    };
    for (group, places) in world.groups() {
        match client.committed(&group, Some(&places)) {
            Ok(found) => {
                for place in places {
                    let offset: Option<i64> = found.get::<Place>(&place).map(|committed| committed.offset);
                    world.check_commit(&group, &place, offset);
                }
            }
            Err(error) => world.fail(format!("reading the commits of {group} back: {error}")),
        }
    }
}
