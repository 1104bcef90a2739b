//! Reads everything back from a broker that has just started, and lets the ledger judge it. Must never touch: what is right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coretide_client::{ClientError, Connection, Consumer, ConsumerConfig, Isolation, OffsetSpec, Place, Reset};
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};

use crate::ledger::{Found, Tally};
use crate::load::{ANSWER_MAX, RETRY_MAX, Shared, client};

/// One record fits in.
const FETCH_BYTES: i32 = 1 << 20;

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    /// Records that had to be there, and were.
    pub compared: u64,
    /// Records of unknown outcome that were there.
    pub found: u64,
    /// Committed offsets.
    pub commits: u64,
}

/// Why it was not as it should be: each line is a finding.
pub type Wrongs = Vec<String>;

/// Reads all topics, offsets and records. `settles`: nothing is on its way any more, so that what is not there now may not
/// come later.
/// `except`: this partition is not looked at.
pub fn verify(address: &str, shared: &Shared, settles: bool, except: Option<&Place>) -> Result<Verified, Wrongs> {
    let mut wrong = shared.ledger().take_wrong();
    let mut verified = Verified::default();
    match all(address, shared, settles, except, &mut verified) {
        Ok(more) => wrong.extend(more),
        Err(error) => wrong.push(format!("not everything could be read back: {error}")),
    }
    if wrong.is_empty() { Ok(verified) } else { Err(wrong) }
}

fn all(
    address: &str,
    shared: &Shared,
    settles: bool,
    except: Option<&Place>,
    verified: &mut Verified,
) -> Result<Wrongs, ClientError> {
    let mut wrong = Vec::new();
    let mut client = client(address, "powercut-judge", RETRY_MAX)?;
    let there: BTreeSet<String> = client.all_topics()?.into_iter().map(|topic| topic.name).collect();
    if settles {
        wrong.extend(shared.ledger().judge_topics(&there).err().unwrap_or_default());
    }
    let groups = if settles { shared.ledger().groups() } else { BTreeSet::new() };
    for group in groups {
        let offsets = client.committed(&group, None)?;
        let offsets = offsets.into_iter().map(|(place, committed)| (place, committed.offset)).collect();
        match shared.ledger().judge_commits(&group, &offsets) {
            Ok(compared) => verified.commits += compared,
            Err(more) => wrong.extend(more),
        }
    }
    let places: Vec<Place> = shared.ledger().places().into_iter().filter(|(topic, _)| there.contains(topic)).collect();
    let places: Vec<Place> = places.into_iter().filter(|place| Some(place) != except).collect();
    let bounds = client.log_bounds(Isolation::ReadUncommitted, &places)?;
    let mut records = read_all(address, &bounds)?;
    for (place, (start, _)) in &bounds {
        match shared.ledger().judge(place, *start, &records.remove(place).unwrap_or_default(), settles) {
            Ok(Tally { compared, found }) => {
                verified.compared += compared;
                verified.found += found;
            }
            Err(more) => wrong.extend(more),
        }
    }
    Ok(wrong)
}

/// The records of each partition from its first offset to its end.
fn read_all(address: &str, bounds: &BTreeMap<Place, (i64, i64)>) -> Result<BTreeMap<Place, Vec<Found>>, ClientError> {
    let config = ConsumerConfig { reset: Reset::Fail, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(client(address, "powercut-judge", RETRY_MAX)?, config);
    let from: Vec<(String, i32, OffsetSpec)> =
        bounds.iter().map(|((topic, index), (start, _))| (topic.clone(), *index, OffsetSpec::At(*start))).collect();
    consumer.assign(&from)?;
    let mut records: BTreeMap<Place, Vec<Found>> = BTreeMap::new();
    let mut last_progress = Instant::now();
    loop {
        let at_end: Vec<Place> = consumer
            .positions()
            .iter()
            .filter(|(place, position)| bounds.get(*place).is_none_or(|(_, end)| position.offset >= *end))
            .map(|(place, _)| place.clone())
            .collect();
        at_end.iter().for_each(|(topic, index)| consumer.unassign(topic, *index));
        if consumer.positions().is_empty() {
            return Ok(records);
        }
        let got = consumer.poll(Duration::from_millis(50))?;
        if !got.is_empty() {
            last_progress = Instant::now();
        } else if last_progress.elapsed() > ANSWER_MAX {
            let stuck: Vec<String> = consumer.positions().iter().map(|one| format!("{one:?}")).collect();
            return Err(ClientError::Usage(format!("no record comes any more: {}", stuck.join(", "))));
        }
        for record in got {
            let place = (record.topic.to_string(), record.partition);
            let found = Found::new(record.offset, record.value.as_deref().unwrap_or_default());
            records.entry(place).or_default().push(found);
        }
    }
}

/// What a fetch at `offset` brings: the error code, and the bytes.
pub fn fetch(address: &str, place: &Place, offset: i64) -> Result<(i16, Bytes), ClientError> {
    let mut connection = Connection::open(address, "powercut-judge", ANSWER_MAX)?;
    let wanted = FetchPartition {
        partition: place.1,
        current_leader_epoch: -1,
        fetch_offset: offset,
        partition_max_bytes: FETCH_BYTES,
        ..FetchPartition::default()
    };
    let topics = vec![FetchTopic { topic: place.0.clone(), partitions: vec![wanted], ..FetchTopic::default() }];
    let request =
        FetchRequest { max_wait_ms: 100, min_bytes: 1, max_bytes: FETCH_BYTES, topics, ..FetchRequest::default() };
    let response = connection.call(&request, ANSWER_MAX)?;
    let data = response.responses.into_iter().flat_map(|topic| topic.partitions).next();
    let data = data.ok_or_else(|| ClientError::Usage("a fetch's answer leaves out what was asked for".to_string()))?;
    Ok((data.error_code, data.records.unwrap_or_default()))
}
