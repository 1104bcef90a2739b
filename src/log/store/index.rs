//! Kafka's offset index and time index of a segment: which batches get an entry, and the entries' bytes.
//!
//! Offset index: 8 bytes, big endian: last offset of a batch relative to the segment's base, position of that batch.
//! Time index: 12 bytes: largest timestamp so far, relative last offset of the batch that has it.
//! Must never touch: files, batches' bytes.

/// The size of an offset index entry.
pub const INDEX_ENTRY_BYTES: usize = 8;
/// The size of a time index entry.
pub const TIME_ENTRY_BYTES: usize = 12;
/// Kafka's "no timestamp".
pub const NO_TIMESTAMP: i64 = -1;

/// An offset index entry and the time index entry that may go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Last offset of the batch, relative to the segment's base.
    pub relative_offset: u32,
    /// Where the batch begins.
    pub position: u32,
    /// The time index entry written at the same moment.
    pub time: Option<TimeEntry>,
}

/// A time index entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// The largest timestamp so far.
    pub timestamp: i64,
    /// Relative last offset of the batch that has it.
    pub relative_offset: u32,
}

/// The largest timestamp of a segment and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxTimestamp {
    /// In milliseconds; -1 when there is none.
    pub timestamp: i64,
    /// The last offset of the batch that has it.
    pub offset: i64,
}

impl MaxTimestamp {
    /// Before the first batch.
    pub const NONE: MaxTimestamp = MaxTimestamp { timestamp: NO_TIMESTAMP, offset: -1 };
}

/// The index files of a segment: what is in them, and what will be.
#[derive(Clone, Debug)]
pub struct SegmentIndex {
    /// Bytes of the offset index that are durable.
    pub index_bytes: u32,
    /// Bytes of the time index that are durable.
    pub time_bytes: u32,
    /// Position of the last batch with a durable entry; 0 before the first.
    pub flushed_position: u32,
    /// Timestamp of the last durable time entry.
    pub flushed_timestamp: i64,
    /// Entries that are not durable yet, in order.
    pub pending: Vec<IndexEntry>,
    /// The largest timestamp so far.
    pub max: MaxTimestamp,
}

impl Default for SegmentIndex {
    fn default() -> SegmentIndex {
        SegmentIndex {
            index_bytes: 0,
            time_bytes: 0,
            flushed_position: 0,
            flushed_timestamp: NO_TIMESTAMP,
            pending: Vec::new(),
            max: MaxTimestamp::NONE,
        }
    }
}

impl SegmentIndex {
    /// Notes a batch, as Kafka's `LogSegment.append` does.
    pub fn note_batch(
        &mut self,
        base_offset: i64,
        position: u32,
        last_offset: i64,
        max_timestamp: i64,
        interval_bytes: u32,
    ) {
        if max_timestamp > self.max.timestamp {
            self.max = MaxTimestamp { timestamp: max_timestamp, offset: last_offset };
        }
        let last_position = self.pending.last().map_or(self.flushed_position, |entry| entry.position);
        if position - last_position > interval_bytes {
            let time = self.next_time_entry(base_offset);
            let relative_offset = (last_offset - base_offset) as u32;
            self.pending.push(IndexEntry { relative_offset, position, time });
        }
    }

    fn last_timestamp(&self) -> i64 {
        let newest = self.pending.iter().rev().find_map(|entry| entry.time);
        newest.map_or(self.flushed_timestamp, |time| time.timestamp)
    }

    /// The time entry due now; none unless the largest timestamp has grown since the last one.
    pub fn next_time_entry(&self, base_offset: i64) -> Option<TimeEntry> {
        let grown = self.max.timestamp > self.last_timestamp();
        grown.then(|| TimeEntry {
            timestamp: self.max.timestamp,
            relative_offset: (self.max.offset - base_offset) as u32,
        })
    }

    /// True when `more` entries, and then another one, would not fit in `limit_bytes`; the time index keeps room for the
    /// entry at the segment's end, as Kafka's does.
    pub fn is_full(&self, more: usize, limit_bytes: u32) -> bool {
        let entries = self.pending.len() + more;
        let index = self.index_bytes as usize + (entries + 1) * INDEX_ENTRY_BYTES;
        let times = self.time_bytes as usize + (entries + 2) * TIME_ENTRY_BYTES;
        index.max(times) > limit_bytes as usize
    }

    /// The pending entries of batches that begin below `position`, as the bytes of both files, and their number.
    pub fn encode_pending(&self, position: u32) -> (Vec<u8>, Vec<u8>, usize) {
        let count = self.pending.partition_point(|entry| entry.position < position);
        let mut index = Vec::with_capacity(count * INDEX_ENTRY_BYTES);
        let mut times = Vec::new();
        for entry in &self.pending[..count] {
            index.extend_from_slice(&entry.relative_offset.to_be_bytes());
            index.extend_from_slice(&entry.position.to_be_bytes());
            if let Some(time) = entry.time {
                put_time(&mut times, time);
            }
        }
        (index, times, count)
    }

    /// The first `count` pending entries are durable.
    pub fn flushed(&mut self, count: usize) {
        for entry in self.pending.drain(..count) {
            self.index_bytes += INDEX_ENTRY_BYTES as u32;
            self.flushed_position = entry.position;
            if let Some(time) = entry.time {
                self.time_bytes += TIME_ENTRY_BYTES as u32;
                self.flushed_timestamp = time.timestamp;
            }
        }
    }

    /// The index as it was when the segment ended at `position`, with the largest timestamp of that moment.
    pub fn as_of(&self, position: u32, max: MaxTimestamp) -> SegmentIndex {
        let mut then = self.clone();
        then.pending.retain(|entry| entry.position < position);
        then.max = max;
        then
    }
}

/// Appends the bytes of a time index entry.
pub fn put_time(out: &mut Vec<u8>, entry: TimeEntry) {
    out.extend_from_slice(&entry.timestamp.to_be_bytes());
    out.extend_from_slice(&entry.relative_offset.to_be_bytes());
}

/// Reads an offset index entry: relative offset and position.
pub fn read_entry(bytes: &[u8]) -> Option<(u32, u32)> {
    let (offset, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*offset), u32::from_be_bytes(*rest.first_chunk::<4>()?)))
}

/// Reads a time index entry.
pub fn read_time(bytes: &[u8]) -> Option<TimeEntry> {
    let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
    let relative_offset = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    Some(TimeEntry { timestamp: i64::from_be_bytes(*timestamp), relative_offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index with entries for batches of 100 bytes at an interval of 100.
    fn index(batches: u32) -> SegmentIndex {
        let mut index = SegmentIndex::default();
        for n in 0..batches {
            index.note_batch(50, n * 101, 50 + i64::from(n), 1000 + i64::from(n), 100);
        }
        index
    }

    #[test]
    fn an_entry_is_due_when_more_than_the_interval_lies_before() {
        let mut index = SegmentIndex::default();
        for (position, entries) in [(0, 0), (100, 0), (101, 1), (201, 1), (202, 2), (900, 3)] {
            index.note_batch(0, position, i64::from(position), 5, 100);
            assert_eq!(index.pending.len(), entries, "at {position}");
        }
        // The timestamp has not grown since the first entry.
        assert_eq!(index.pending.iter().filter(|entry| entry.time.is_some()).count(), 1);
    }

    #[test]
    fn of_equal_timestamps_the_first_is_the_largest() {
        let mut index = SegmentIndex::default();
        for (offset, timestamp) in [(1, 7), (2, 7), (3, 6)] {
            index.note_batch(0, 0, offset, timestamp, 100);
        }
        assert_eq!(index.max, MaxTimestamp { timestamp: 7, offset: 1 });
    }

    /// Kafka's: the offset index is full without room for an entry, the time index without room for that and the last one.
    #[test]
    fn an_index_is_full_when_the_next_entry_would_not_fit() {
        let mut index = index(5);
        assert_eq!(index.pending.len(), 4);
        let full = |index: &SegmentIndex, more, limit| index.is_full(more, limit);
        assert!(!full(&index, 0, 72) && full(&index, 0, 71), "4 entries, the next, and the last of the time index");
        assert!(!full(&index, 3, 108) && full(&index, 3, 107));
        index.flushed(4);
        assert_eq!((index.index_bytes, index.time_bytes), (32, 48));
        assert!(!full(&index, 0, 72) && full(&index, 0, 71), "in the files they count as much");
        // Without timestamps the offset index is the larger one.
        let mut plain = SegmentIndex { index_bytes: 800, time_bytes: 12, ..SegmentIndex::default() };
        assert!(!full(&plain, 0, 808) && full(&plain, 0, 807));
        assert!(!full(&plain, 9, 880) && full(&plain, 9, 879));
        plain.pending.push(IndexEntry { relative_offset: 1, position: 1, time: None });
        assert!(!full(&plain, 9, 888) && full(&plain, 9, 887));
    }

    #[test]
    fn an_index_as_of_a_position_has_the_entries_below_it() {
        let index = index(5);
        let max = MaxTimestamp { timestamp: 9, offset: 8 };
        for (position, entries) in [(0, 0), (101, 0), (102, 1), (303, 2), (1000, 4)] {
            let then = index.as_of(position, max);
            assert_eq!((then.pending.len(), then.max), (entries, max), "at {position}");
            assert_eq!(then.pending[..], index.pending[..entries]);
        }
    }
}
