//! What the clients know: what was sent, what was acknowledged where, what somebody has read; and the verdict on what comes
//! back. Must never touch: sockets, clocks, the broker's code.

use std::collections::{BTreeMap, BTreeSet};

use coretide_client::Place;

use crate::disk::RECORD_MARK;

/// A record's name: who sent it, and its number among those of this writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// Each life of each writer is a writer of its own.
    pub writer: u32,
    /// Increases in each partition.
    pub number: u64,
}

const HEAD_BYTES: usize = RECORD_MARK.len() + 12;

impl RecordId {
    /// The value of this record: the mark, the name, and `filler` bytes that follow from it.
    pub fn value(self, filler: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + filler + 8);
        value.extend_from_slice(RECORD_MARK);
        value.extend_from_slice(&self.writer.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        let mut random = coretide_stdx::prng::Prng::new(u64::from(self.writer) << 40 ^ self.number);
        while value.len() < HEAD_BYTES + filler {
            value.extend_from_slice(&random.next_u64().to_be_bytes());
        }
        value
    }

    /// The bytes that only this record begins with.
    pub fn front(self) -> Vec<u8> {
        let mut front = self.value(0);
        front.truncate(HEAD_BYTES);
        front
    }

    /// The name in a value; none if this is no record of ours.
    pub fn of(value: &[u8]) -> Option<RecordId> {
        let rest = value.strip_prefix(RECORD_MARK)?;
        let (writer, rest) = rest.split_first_chunk::<4>()?;
        let number = rest.first_chunk::<8>()?;
        Some(RecordId { writer: u32::from_be_bytes(*writer), number: u64::from_be_bytes(*number) })
    }
}

/// A record as it came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub offset: i64,
    /// Its name, where it has one.
    pub id: Option<RecordId>,
    /// The CRC-32C of its value.
    pub crc: u32,
}

impl Found {
    /// From the value.
    pub fn new(offset: i64, value: &[u8]) -> Found {
        Found { offset, id: RecordId::of(value), crc: crc32c::crc32c(value) }
    }
}

/// A topic that was made or deleted on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFate {
    /// Its creation was acknowledged.
    Made,
    /// Its deletion was acknowledged.
    Deleted,
    /// Some request about it had no answer.
    Unknown,
}

/// A committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Commit {
    acked: i64,
    asked: i64,
}

#[derive(Debug, Default)]
struct Partition {
    /// Acknowledged or read: these must stay.
    known: BTreeMap<i64, (RecordId, u32)>,
    /// Sent, outcome unknown: these may be there, once.
    open: BTreeMap<RecordId, u32>,
    /// Below this somebody asked for deletion.
    trim_asked: i64,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: BTreeMap<Place, Partition>,
    topics: BTreeMap<String, TopicFate>,
    commits: BTreeMap<(String, Place), Commit>,
    /// Records acknowledged.
    pub acked: u64,
    /// Refusals, by error code.
    pub refused: BTreeMap<i16, u64>,
    /// What was wrong while the broker ran.
    wrong: Vec<String>,
}

/// How the look at a partition ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records compared that had to be there.
    pub compared: u64,
    /// Records of unknown outcome that were there.
    pub found: u64,
}

impl Ledger {
    /// A record is about to be sent.
    pub fn sending(&mut self, place: &Place, id: RecordId, crc: u32) {
        self.partitions.entry(place.clone()).or_default().open.insert(id, crc);
    }

    /// The records were acknowledged, the first of them at `base`.
    pub fn acknowledged(&mut self, place: &Place, base: i64, ids: &[RecordId]) {
        let partition = self.partitions.entry(place.clone()).or_default();
        for (offset, id) in (base..).zip(ids) {
            // Read by somebody already: then it is known, and must be the same.
            let crc = partition.open.remove(id);
            match (partition.known.get(&offset), crc) {
                (Some((known, _)), _) if known == id => {}
                (None, Some(crc)) => {
                    partition.known.insert(offset, (*id, crc));
                }
                (other, _) => {
                    self.wrong.push(format!("{place:?}: {id:?} acknowledged at {offset}, where {other:?} stands"));
                }
            }
            self.acked += 1;
        }
    }

    /// A consumer was given a record: it may not vanish either.
    pub fn read(&mut self, place: &Place, found: &Found) {
        let Some(partition) = self.partitions.get_mut(place) else { return };
        match (partition.known.get(&found.offset), found.id) {
            (Some((id, crc)), Some(read)) if *id == read && *crc == found.crc => {}
            (None, Some(read)) if partition.open.get(&read) == Some(&found.crc) => {
                partition.open.remove(&read);
                partition.known.insert(found.offset, (read, found.crc));
            }
            (None, _) if found.offset < partition.trim_asked => {}
            (due, _) => self.wrong.push(format!("{place:?}: a consumer was given {found:?}, due is {due:?}")),
        }
    }

    /// The broker refused a request.
    pub fn refusal(&mut self, code: i16) {
        *self.refused.entry(code).or_default() += 1;
    }

    /// Somebody asks for the deletion of the records below `offset`.
    pub fn trimming(&mut self, place: &Place, offset: i64) {
        let partition = self.partitions.entry(place.clone()).or_default();
        partition.trim_asked = partition.trim_asked.max(offset);
    }

    /// What became of a topic.
    pub fn topic(&mut self, name: &str, fate: TopicFate) {
        self.topics.insert(name.to_string(), fate);
    }

    /// A commit is about to be sent. Offsets of one group and place must only grow.
    pub fn committing(&mut self, group: &str, place: &Place, offset: i64) {
        self.commits.entry((group.to_string(), place.clone())).or_default().asked = offset;
    }

    /// It was acknowledged.
    pub fn committed(&mut self, group: &str, place: &Place, offset: i64) {
        self.commits.entry((group.to_string(), place.clone())).or_default().acked = offset;
    }

    /// The end of what is known of a partition.
    pub fn end(&self, place: &Place) -> i64 {
        let known = self.partitions.get(place).and_then(|partition| partition.known.last_key_value());
        known.map_or(0, |(offset, _)| offset + 1)
    }

    /// A record that must be there, from the middle of the partition.
    pub fn some_record(&self, place: &Place) -> Option<(i64, RecordId)> {
        let known = &self.partitions.get(place)?.known;
        known.iter().nth(known.len() / 2).map(|(offset, (id, _))| (*offset, *id))
    }

    /// The partitions with something in them, but for topics that may be gone.
    pub fn places(&self) -> Vec<Place> {
        let is_sure = |topic: &str| self.topics.get(topic).is_none_or(|fate| *fate == TopicFate::Made);
        self.partitions.keys().filter(|(topic, _)| is_sure(topic)).cloned().collect()
    }

    /// The groups that committed.
    pub fn groups(&self) -> BTreeSet<String> {
        self.commits.keys().map(|(group, _)| group.clone()).collect()
    }

    /// What was wrong while the broker ran.
    pub fn take_wrong(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrong)
    }

    /// The verdict on a whole partition as read from `start` to its end. What was there must stay; `settles`: what had no
    /// answer and is not there may not come later.
    pub fn judge(&mut self, place: &Place, start: i64, records: &[Found], settles: bool) -> Result<Tally, Vec<String>> {
        let partition = self.partitions.entry(place.clone()).or_default();
        let mut wrong = Vec::new();
        let mut tally = Tally::default();
        let mut last_of: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now: BTreeMap<i64, (RecordId, u32)> = BTreeMap::new();
        for (due, found) in (start..).zip(records) {
            if found.offset != due {
                wrong.push(format!("{place:?}: offset {} where {due} is due", found.offset));
                break;
            }
            let Some(id) = found.id else {
                wrong.push(format!("{place:?}: nobody sent what stands at {due}"));
                continue;
            };
            match partition.known.get(&due) {
                Some((known, crc)) if *known == id && *crc == found.crc => tally.compared += 1,
                Some(known) => wrong.push(format!("{place:?}: at {due} stands {found:?} where {known:?} is due")),
                None if partition.open.remove(&id) == Some(found.crc) => tally.found += 1,
                // Deletion was asked for and did not last: what was there before may be again.
                None if due < partition.trim_asked => {}
                None => wrong.push(format!("{place:?}: {found:?} was never sent, or is doubled")),
            }
            let last = last_of.insert(id.writer, id.number);
            if last.is_some_and(|last| last >= id.number) {
                wrong.push(format!("{place:?}: {id:?} at {due} comes after {last:?} of the same writer"));
            }
            now.insert(due, (id, found.crc));
        }
        let mut lost: Vec<i64> = partition.known.keys().copied().filter(|offset| !now.contains_key(offset)).collect();
        lost.retain(|offset| *offset >= start || *offset >= partition.trim_asked);
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            let end = start + records.len() as i64;
            wrong.push(format!(
                "{place:?}: {} acknowledged or read records are lost, from {first} to {last}; the log goes from {start} to {end}",
                lost.len()
            ));
        }
        partition.known = now;
        if settles {
            partition.open.clear();
        }
        if wrong.is_empty() { Ok(tally) } else { Err(wrong) }
    }

    /// The verdict on the list of topics. Unknown outcomes are settled by it, and what is gone is forgotten.
    pub fn judge_topics(&mut self, there: &BTreeSet<String>) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        for (name, fate) in &self.topics {
            match (fate, there.contains(name)) {
                (TopicFate::Made, false) => wrong.push(format!("topic {name} was made, and is gone")),
                (TopicFate::Deleted, true) => wrong.push(format!("topic {name} was deleted, and is back")),
                _ => {}
            }
        }
        self.topics.retain(|_, fate| *fate == TopicFate::Made);
        let left: BTreeSet<&String> = self.topics.keys().collect();
        self.partitions.retain(|(topic, _), _| left.contains(topic));
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The verdict on a group's offsets.
    pub fn judge_commits(&mut self, group: &str, there: &BTreeMap<Place, i64>) -> Result<u64, Vec<String>> {
        let (mut wrong, mut compared) = (Vec::new(), 0);
        for ((name, place), commit) in &mut self.commits {
            if name != group || !self.topics.contains_key(&place.0) {
                continue;
            }
            let offset = there.get(place).copied().unwrap_or(0);
            if offset < commit.acked || offset > commit.asked.max(commit.acked) {
                wrong.push(format!("group {group}, {place:?}: {offset} is committed, due is {commit:?}"));
            }
            *commit = Commit { acked: offset, asked: offset };
            compared += 1;
        }
        if wrong.is_empty() { Ok(compared) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        ("t".to_string(), 0)
    }

    fn id(number: u64) -> RecordId {
        RecordId { writer: 1, number }
    }

    fn found(offset: i64, number: u64) -> Found {
        Found::new(offset, &id(number).value(10))
    }

    /// Records 0 to 4 acknowledged at 0 to 4, record 5 sent.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.topic("t", TopicFate::Made);
        for number in 0..6 {
            ledger.sending(&place(), id(number), found(0, number).crc);
        }
        ledger.acknowledged(&place(), 0, &[id(0), id(1), id(2), id(3), id(4)]);
        ledger
    }

    fn verdict(records: &[Found]) -> String {
        match ledger().judge(&place(), 0, records, true) {
            Ok(tally) => format!("{tally:?}"),
            Err(wrong) => wrong.join("; "),
        }
    }

    fn some(numbers: &[u64]) -> Vec<Found> {
        numbers.iter().enumerate().map(|(offset, number)| found(offset as i64, *number)).collect()
    }

    #[test]
    fn all_that_was_acknowledged_and_maybe_what_was_sent() {
        assert_eq!(verdict(&some(&[0, 1, 2, 3, 4])), "Tally { compared: 5, found: 0 }");
        assert_eq!(verdict(&some(&[0, 1, 2, 3, 4, 5])), "Tally { compared: 5, found: 1 }");
    }

    #[test]
    fn each_wrong_is_seen() {
        assert!(verdict(&some(&[0, 1, 2, 3])).contains("1 acknowledged or read records are lost, from 4 to 4"));
        assert!(verdict(&some(&[0, 1, 3, 2, 4])).contains("where"));
        assert!(verdict(&some(&[0, 1, 2, 3, 4, 4])).contains("doubled"));
        assert!(verdict(&some(&[0, 1, 2, 3, 4, 7])).contains("never sent"));
        let mut gap = some(&[0, 1, 2, 3, 4]);
        gap[2].offset = 7;
        assert!(verdict(&gap).contains("offset 7 where 2 is due"));
        let mut changed = some(&[0, 1, 2, 3, 4]);
        changed[2].crc ^= 1;
        assert!(verdict(&changed).contains("at 2 stands"));
        let mut foreign = some(&[0, 1, 2, 3, 4]);
        foreign.push(Found::new(5, b"hello"));
        assert!(verdict(&foreign).contains("nobody sent"));
    }

    #[test]
    fn what_was_found_once_must_stay_and_what_was_not_may_not_come_later() {
        let mut ledger = ledger();
        ledger.judge(&place(), 0, &some(&[0, 1, 2, 3, 4, 5]), true).expect("all is well");
        assert!(ledger.judge(&place(), 0, &some(&[0, 1, 2, 3, 4]), true).unwrap_err()[0].contains("lost"));
        let mut ledger = self::ledger();
        ledger.judge(&place(), 0, &some(&[0, 1, 2, 3, 4]), true).expect("all is well");
        assert!(ledger.judge(&place(), 0, &some(&[0, 1, 2, 3, 4, 5]), true).unwrap_err()[0].contains("never sent"));
    }

    #[test]
    fn what_a_consumer_was_given_must_stay() {
        let mut ledger = ledger();
        ledger.read(&place(), &found(5, 5));
        assert!(ledger.take_wrong().is_empty());
        assert!(ledger.judge(&place(), 0, &some(&[0, 1, 2, 3, 4]), true).unwrap_err()[0].contains("lost"));
        ledger.read(&place(), &found(3, 2));
        assert_eq!(ledger.take_wrong().len(), 1);
    }

    #[test]
    fn only_what_somebody_asked_to_delete_may_be_gone() {
        let late = || some(&[0, 1, 2, 3, 4])[2..].to_vec();
        assert!(ledger().judge(&place(), 2, &late(), true).unwrap_err()[0].contains("from 0 to 1"));
        let mut trimmed = ledger();
        trimmed.trimming(&place(), 2);
        assert_eq!(trimmed.judge(&place(), 2, &late(), true), Ok(Tally { compared: 3, found: 0 }));
        assert_eq!(trimmed.judge(&place(), 0, &some(&[0, 1, 2, 3, 4]), true), Ok(Tally { compared: 3, found: 0 }));
    }

    #[test]
    fn topics_and_commits() {
        let mut ledger = ledger();
        ledger.topic("gone", TopicFate::Deleted);
        ledger.topic("open", TopicFate::Unknown);
        let names = |list: &[&str]| -> BTreeSet<String> { list.iter().map(|name| (*name).to_string()).collect() };
        let wrong = ledger.judge_topics(&names(&["gone"])).unwrap_err();
        assert!(wrong[0].contains("is back") && wrong[1].contains("is gone"), "{wrong:?}");
        ledger.judge_topics(&names(&["t"])).expect("the rest is settled");
        ledger.committing("g", &place(), 5);
        ledger.committed("g", &place(), 5);
        ledger.committing("g", &place(), 9);
        let at = |offset| BTreeMap::from([(place(), offset)]);
        assert_eq!(ledger.judge_commits("g", &at(9)), Ok(1));
        assert!(ledger.judge_commits("g", &at(5)).unwrap_err()[0].contains("is committed"));
        assert!(ledger.judge_commits("g", &at(6)).unwrap_err()[0].contains("is committed"));
    }
}
