//! The model of the partitions: what was acked, what was read.
//!
//! - Every acked record is at its acked offset for ever, byte-equal (L1).
//! - An offset has one value for all time (L3, R9); what was read is never taken back.
//! - Nothing is read that nobody sent (L2); idempotent producers' records are there once (T1) and in order.
//! - An ack is visible: a later question for the end answers past it; high watermark and log start do not go back.

use std::collections::BTreeMap;

use super::Verdict;
use crate::records::{ReadRecord, RecordId, value_bytes};

/// A partition by the topic's name.
pub type PartitionName = (String, i32);

/// What its producer may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Once, in the order of its lane (one idempotent producer and one partition).
    ExactlyOnce { lane: u32, place: u64 },
    /// At least once when acked.
    AtLeastOnce,
}

#[derive(Debug)]
struct Sent {
    partition: PartitionName,
    promise: Promise,
    timestamp_ms: i64,
    acked_at: Option<i64>,
}

#[derive(Debug, Default)]
struct PartitionModel {
    /// What is known to lie at an offset, by an ack or a read.
    known: BTreeMap<i64, RecordId>,
    acked_end: i64,
    /// The end that reads have reached.
    read_end: i64,
    /// The highest offset that DeleteRecords was asked for, whatever came of it.
    log_start: i64,
    /// The highest that was acked.
    deleted_to: i64,
}

/// How much of a topic must be kept.
#[derive(Clone, Copy, Debug)]
struct Retention {
    ms: Option<i64>,
    bytes: Option<u64>,
}

/// What a record adds to its batch beside its value, and its batch to the log, at most.
const RECORD_OVERHEAD_BYTES: u64 = 100;

/// All partitions.
#[derive(Debug, Default)]
pub struct LogJudge {
    /// The topics whose front may go by itself.
    retention: BTreeMap<String, Retention>,
    /// The latest time that the wall clock has shown.
    latest_ms: i64,
    sent: BTreeMap<RecordId, Sent>,
    partitions: BTreeMap<PartitionName, PartitionModel>,
    next_id: u64,
    /// Counts for the report.
    pub acked: u64,
    pub read: u64,
}

impl LogJudge {
    /// A judge of topics with these configs.
    pub fn expecting<'a>(topics: impl Iterator<Item = (String, &'a [(String, String)])>) -> LogJudge {
        let limit = |configs: &[(String, String)], key: &str| {
            configs.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.parse::<i64>().ok())
        };
        let mut retention = BTreeMap::new();
        for (name, configs) in topics {
            let (ms, bytes) = (limit(configs, "retention.ms"), limit(configs, "retention.bytes"));
            if ms.is_some() || bytes.is_some() {
                retention.insert(name, Retention { ms, bytes: bytes.map(|bytes| bytes as u64) });
            }
        }
        LogJudge { retention, ..LogJudge::default() }
    }

    /// The wall clock shows this.
    pub fn note_wall(&mut self, wall_ms: i64) {
        self.latest_ms = self.latest_ms.max(wall_ms);
    }

    /// True when the partition's front may go without anybody asking for it.
    pub fn expires(&self, partition: &PartitionName) -> bool {
        self.retention.contains_key(&partition.0)
    }

    /// The partition said that it starts at `start`: what went must have been old enough, or enough must be left.
    pub fn starts_at(&mut self, partition: &PartitionName, start: i64) -> Verdict {
        let before = self.log_start(partition);
        if start <= before {
            return Ok(());
        }
        let Some(retention) = self.retention.get(&partition.0) else {
            return Err(format!("L1: {partition:?} starts at {start}, nobody asked for more than {before}"));
        };
        let model = self.partitions.entry(partition.clone()).or_default();
        let too_old = |id: &RecordId| retention.ms.is_some_and(|ms| self.sent[id].timestamp_ms + ms <= self.latest_ms);
        let mut gone = model.known.range(before..start);
        if let Some((offset, id)) = gone.find(|(_, id)| !too_old(id)) {
            let bytes = |(id, sent): (&RecordId, &Sent)| {
                let is_left = sent.partition == *partition && sent.acked_at.is_none_or(|at| at >= start);
                if is_left { value_bytes(*id) as u64 + RECORD_OVERHEAD_BYTES } else { 0 }
            };
            let left: u64 = self.sent.iter().map(bytes).sum();
            // Records that are sent again without sequence numbers may be there any number of times.
            let may_repeat =
                self.sent.values().any(|sent| sent.partition == *partition && sent.promise == Promise::AtLeastOnce);
            if retention.bytes.is_none_or(|bytes| left < bytes && !may_repeat) {
                return Err(format!(
                    "L1: {partition:?} starts at {start}, but {id:?} at {offset} was not due: {left} bytes are left at most"
                ));
            }
        }
        model.log_start = start;
        Ok(())
    }

    /// A new record that is about to be sent.
    pub fn new_record(&mut self, partition: &PartitionName, promise: Promise, timestamp_ms: i64) -> RecordId {
        let id = RecordId(self.next_id);
        self.next_id += 1;
        self.sent.insert(id, Sent { partition: partition.clone(), promise, timestamp_ms, acked_at: None });
        id
    }

    /// A batch was acked at `base_offset`.
    pub fn acked(&mut self, partition: &PartitionName, ids: &[RecordId], base_offset: i64) -> Verdict {
        if base_offset < 0 {
            return Err(format!("W5: an ack of {partition:?} says offset {base_offset}"));
        }
        for (delta, &id) in ids.iter().enumerate() {
            let offset = base_offset + delta as i64;
            let sent = self.sent.get_mut(&id).expect("acks are for records that were sent");
            if let (Promise::ExactlyOnce { .. }, Some(before)) = (sent.promise, sent.acked_at)
                && before != offset
            {
                return Err(format!("T1: {id:?} of {partition:?} was acked at {before}, then at {offset}"));
            }
            sent.acked_at = Some(offset);
            self.acked += 1;
            self.learn(partition, offset, id, "acked")?;
        }
        let model = self.partitions.entry(partition.clone()).or_default();
        model.acked_end = model.acked_end.max(base_offset + ids.len() as i64);
        Ok(())
    }

    /// Records were read, starting the search at `fetch_offset`.
    pub fn read(&mut self, partition: &PartitionName, fetch_offset: i64, records: &[ReadRecord], hw: i64) -> Verdict {
        let mut last = None;
        for record in records {
            if last.is_some_and(|last| record.offset <= last) {
                return Err(format!("L4: offset {} of {partition:?} follows {last:?}", record.offset));
            }
            last = Some(record.offset);
            if record.offset >= hw {
                return Err(format!("L7: {partition:?} gave offset {} at high watermark {hw}", record.offset));
            }
            let Some(id) = record.id() else {
                return Err(format!("L2: {partition:?} holds at {} what nobody sent", record.offset));
            };
            let Some(sent) = self.sent.get(&id) else {
                return Err(format!("L2: {partition:?} holds at {} the unknown {id:?}", record.offset));
            };
            if sent.partition != *partition {
                return Err(format!("W3: {id:?} of {:?} was read from {partition:?}", sent.partition));
            }
            if sent.timestamp_ms != record.timestamp_ms {
                return Err(format!("L3: {id:?} was sent with time {}, is {}", sent.timestamp_ms, record.timestamp_ms));
            }
            if let (Promise::ExactlyOnce { .. }, Some(at)) = (sent.promise, sent.acked_at)
                && at != record.offset
            {
                return Err(format!("T1: {id:?} of {partition:?}, acked at {at}, was read at {}", record.offset));
            }
            self.read += 1;
            self.learn(partition, record.offset, id, "read")?;
        }
        // Without compaction and transactions offsets have no gaps: nothing between the asked offset and the last is left out.
        if let (Some(last), Some(model)) = (last, self.partitions.get_mut(partition)) {
            let from = fetch_offset.max(model.log_start);
            let given = records.iter().filter(|record| record.offset >= from).count() as i64;
            if last >= from && given != last - from + 1 {
                return Err(format!("L1: a read of {partition:?} from {from} to {last} gave {given} records"));
            }
            model.read_end = model.read_end.max(last + 1);
        }
        Ok(())
    }

    /// The end that a question sent now must at least answer.
    pub fn least_end(&self, partition: &PartitionName) -> i64 {
        self.partitions.get(partition).map_or(0, |model| model.acked_end.max(model.read_end))
    }

    /// The first offset that may be asked for, as far as DeleteRecords has moved it.
    pub fn log_start(&self, partition: &PartitionName) -> i64 {
        self.partitions.get(partition).map_or(0, |model| model.log_start)
    }

    /// DeleteRecords was sent up to `offset`: what lies below may be gone from now on.
    pub fn may_delete(&mut self, partition: &PartitionName, offset: i64) {
        let model = self.partitions.entry(partition.clone()).or_default();
        model.log_start = model.log_start.max(offset);
    }

    /// DeleteRecords was acked: the partition starts at `low_watermark` from now on.
    pub fn deleted(&mut self, partition: &PartitionName, low_watermark: i64) -> Verdict {
        let model = self.partitions.entry(partition.clone()).or_default();
        model.deleted_to = model.deleted_to.max(low_watermark);
        self.starts_at(partition, low_watermark)
    }

    /// The least offset that a question sent now must find at the partition's start.
    pub fn least_start(&self, partition: &PartitionName) -> i64 {
        self.partitions.get(partition).map_or(0, |model| model.deleted_to)
    }

    /// ListOffsets for `target_ms` answered `offset` with `timestamp_ms`; below `least_end` the question must have seen all.
    pub fn found_by_time(
        &self,
        partition: &PartitionName,
        target_ms: i64,
        offset: i64,
        timestamp_ms: i64,
        least_end: i64,
    ) -> Verdict {
        let Some(model) = self.partitions.get(partition) else { return Ok(()) };
        // What is still there of a topic that expires is known only when it says so.
        let least_end = if self.expires(partition) { 0 } else { least_end };
        let late_enough = |(_, id): &(&i64, &RecordId)| self.sent[*id].timestamp_ms >= target_ms;
        let first = model.known.range(model.log_start..).find(late_enough);
        let said = format!("L2: ListOffsets of {partition:?} for {target_ms} answers {offset} with {timestamp_ms}");
        match first {
            Some((&due, _)) if due < least_end && (offset == -1 || offset > due) => {
                Err(format!("{said}, the record at {due} is earlier"))
            }
            _ if offset == -1 => Ok(()),
            _ => match model.known.get(&offset) {
                Some(id) if self.sent[id].timestamp_ms != timestamp_ms || timestamp_ms < target_ms => {
                    Err(format!("{said}, the record has {}", self.sent[id].timestamp_ms))
                }
                _ => Ok(()),
            },
        }
    }

    /// At the end: everything that lies in the partition, from the log start to the end.
    pub fn finally(&self, partition: &PartitionName, records: &[ReadRecord]) -> Verdict {
        let log_start = self.log_start(partition);
        let there: BTreeMap<i64, RecordId> =
            records.iter().filter_map(|record| record.id().map(|id| (record.offset, id))).collect();
        for (&id, sent) in self.sent.iter().filter(|(_, sent)| sent.partition == *partition) {
            if let Some(at) = sent.acked_at
                && at >= log_start
                && there.get(&at) != Some(&id)
            {
                return Err(format!("L1: {id:?}, acked at {at} of {partition:?}, is not there: {:?}", there.get(&at)));
            }
        }
        let mut lanes: BTreeMap<u32, u64> = BTreeMap::new();
        for (offset, id) in &there {
            if let Promise::ExactlyOnce { lane, place } = self.sent[id].promise
                && let Some(before) = lanes.insert(lane, place)
                && before >= place
            {
                let what = if before == place { "twice" } else { "out of order" };
                return Err(format!(
                    "T1: {id:?} at {offset} of {partition:?} is there {what} ({before} before {place})"
                ));
            }
        }
        Ok(())
    }

    /// All partitions that were written to.
    pub fn partitions(&self) -> Vec<PartitionName> {
        self.partitions.keys().cloned().collect()
    }

    fn learn(&mut self, partition: &PartitionName, offset: i64, id: RecordId, how: &str) -> Verdict {
        let model = self.partitions.entry(partition.clone()).or_default();
        match model.known.insert(offset, id) {
            Some(before) if before != id => {
                Err(format!("L3: offset {offset} of {partition:?} held {before:?}, now {id:?} was {how} there"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::value_of;

    fn record(offset: i64, id: RecordId) -> ReadRecord {
        ReadRecord { offset, timestamp_ms: 5, value: value_of(id) }
    }

    fn judge() -> (LogJudge, PartitionName, Vec<RecordId>) {
        let (mut judge, partition) = (LogJudge::default(), ("t".to_string(), 0));
        let promise = |place| Promise::ExactlyOnce { lane: 1, place };
        let ids = (0..3).map(|place| judge.new_record(&partition, promise(place), 5)).collect();
        (judge, partition, ids)
    }

    #[test]
    fn a_faithful_log_passes() {
        let (mut judge, partition, ids) = judge();
        judge.acked(&partition, &ids, 0).expect("fine");
        let records: Vec<_> = ids.iter().enumerate().map(|(at, &id)| record(at as i64, id)).collect();
        judge.read(&partition, 0, &records, 3).expect("fine");
        judge.finally(&partition, &records).expect("fine");
        assert_eq!(judge.least_end(&partition), 3);
    }

    #[test]
    fn every_kind_of_lie_is_noticed() {
        type Lie = fn(&mut LogJudge, &PartitionName, &[RecordId]) -> Verdict;
        let lies: [Lie; 9] = [
            |judge, at, ids| judge.acked(at, &ids[..1], 1),
            |judge, at, ids| judge.read(at, 0, &[record(0, ids[1])], 3),
            |judge, at, ids| judge.read(at, 0, &[record(0, ids[0]), record(2, ids[2])], 3),
            |judge, at, ids| judge.read(at, 0, &[record(0, ids[0])], 0),
            |judge, at, _| judge.read(at, 0, &[record(0, RecordId(99))], 3),
            |judge, _, ids| judge.read(&("u".to_string(), 0), 0, &[record(0, ids[0])], 3),
            |judge, at, ids| judge.finally(at, &[record(0, ids[0]), record(1, ids[1])]),
            |judge, at, ids| {
                judge.finally(
                    at,
                    &[0, 1, 2, 2]
                        .map(|place| record(place, ids[place as usize]))
                        .into_iter()
                        .chain([record(3, ids[0])])
                        .collect::<Vec<_>>(),
                )
            },
            |judge, at, ids| judge.read(at, 0, &[ReadRecord { timestamp_ms: 6, ..record(0, ids[0]) }], 3),
        ];
        for (place, lie) in lies.iter().enumerate() {
            let (mut judge, partition, ids) = judge();
            judge.acked(&partition, &ids, 0).expect("fine");
            assert!(lie(&mut judge, &partition, &ids).is_err(), "lie {place} passed");
        }
    }

    #[test]
    fn what_expires_must_have_been_due() {
        let configs =
            [("retention.ms".to_string(), "100".to_string()), ("retention.bytes".to_string(), "5000".to_string())];
        let mut judge = LogJudge::expecting([("t".to_string(), &configs[..])].into_iter());
        let partition = ("t".to_string(), 0);
        let ids: Vec<RecordId> = (0..3)
            .map(|n| judge.new_record(&partition, Promise::ExactlyOnce { lane: 0, place: n as u64 }, 1000 + n * 50))
            .collect();
        judge.acked(&partition, &ids, 0).expect("fine");
        judge.note_wall(1110);
        assert_eq!(judge.starts_at(&partition, 1), Ok(()), "older than 100 ms");
        let left: u64 = ids.iter().map(|&id| value_bytes(id) as u64 + RECORD_OVERHEAD_BYTES).sum();
        assert!(left < 5000, "the values of the first records are small: {left}");
        assert!(judge.starts_at(&partition, 2).is_err(), "too young, and too few bytes are left");
        let other = ("u".to_string(), 0);
        assert!(judge.starts_at(&other, 1).is_err(), "nothing of this topic expires");
    }
}
