//! What a partition knows of its idempotent producers: epoch and last batches of each (KIP-98, KIP-360). State moves when a
//! batch is *staged*, so that pipelined batches see each other; each entry names the commit it waits for.
//! Must never touch: the log's bytes, the codes of the wire.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Batches per producer that are recognised as duplicates (I1), as many as a client may have in flight.
pub const BATCHES_KEPT: usize = 5;

/// Batches one producer may have in flight (staged, not committed) on one partition before older ones are forgotten
/// although they are not durable yet.
pub const BATCHES_IN_FLIGHT_MAX: usize = 64;

/// The batch of an idempotent producer as the state sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencedBatch {
    /// The producer's id, not negative.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The first record's sequence number.
    pub base_sequence: i32,
    /// Records in the batch minus one, as in the batch's header.
    pub last_offset_delta: i32,
}

impl SequencedBatch {
    /// The last record's sequence number; numbers wrap from 2147483647 to 0 (I2).
    pub fn last_sequence(&self) -> i32 {
        ((i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) & i64::from(i32::MAX)) as i32
    }
}

/// One appended batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBatch {
    /// First sequence number.
    pub base_sequence: i32,
    /// Last sequence number.
    pub last_sequence: i32,
    /// First offset.
    pub base_offset: i64,
    /// Last offset minus first offset.
    pub last_offset_delta: i32,
    /// The largest timestamp of its records, in milliseconds.
    pub max_timestamp: i64,
    /// The commit that makes it durable; 0 when it came from a recovered log.
    pub commit: u64,
}

impl KeptBatch {
    /// The last offset.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }
}

/// What is known of one producer.
#[derive(Clone, Debug)]
pub struct ProducerEntry {
    /// Its newest epoch.
    pub epoch: i16,
    /// Its last batches under that epoch, oldest first.
    pub batches: SmallVec<[KeptBatch; BATCHES_KEPT]>,
    /// When it last appended, wall clock of the broker, in milliseconds.
    pub last_used_ms: i64,
}

/// The moment of the last append follows the broker's clock and so is no part of what replay must rebuild.
impl PartialEq for ProducerEntry {
    fn eq(&self, other: &ProducerEntry) -> bool {
        let ignoring_commit = |batch: &KeptBatch| KeptBatch { commit: 0, ..*batch };
        let kept = |entry: &ProducerEntry| {
            let skip = entry.batches.len().saturating_sub(BATCHES_KEPT);
            entry.batches.iter().skip(skip).map(ignoring_commit).collect::<Vec<_>>()
        };
        self.epoch == other.epoch && kept(self) == kept(other)
    }
}

impl ProducerEntry {
    /// The last sequence number appended; none when every known batch was lost with a crash.
    pub fn last_sequence(&self) -> Option<i32> {
        self.batches.last().map(|batch| batch.last_sequence)
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Next in sequence, or the first that is known of this producer: append it.
    Append,
    /// Appended before: answer with the original's offsets once the original's commit is done (I1).
    Duplicate(KeptBatch),
}

/// A batch that may not be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The sequence number is not the next one, nor that of a batch still kept (error 45).
    #[error("producer {producer_id}: sequence {got} came where {expected} was due")]
    OutOfOrder { producer_id: i64, expected: i32, got: i32 },
    /// The epoch is older than the newest one seen (error 47).
    #[error("producer {producer_id}: epoch {got} is older than {newest}")]
    StaleEpoch { producer_id: i64, newest: i16, got: i16 },
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerEntry>,
}

impl ProducerStates {
    /// Decides about a batch; changes nothing.
    pub fn check(&self, batch: &SequencedBatch) -> Result<Verdict, SequenceError> {
        // Expired or never seen: any sequence is accepted (I3, KIP-360), or idle producers would die for good.
        let Some(entry) = self.producers.get(&batch.producer_id) else { return Ok(Verdict::Append) };
        let producer_id = batch.producer_id;
        let got = batch.base_sequence;
        if batch.producer_epoch < entry.epoch {
            return Err(SequenceError::StaleEpoch { producer_id, newest: entry.epoch, got: batch.producer_epoch });
        }
        if batch.producer_epoch > entry.epoch {
            return if got == 0 {
                Ok(Verdict::Append)
            } else {
                Err(SequenceError::OutOfOrder { producer_id, expected: 0, got })
            };
        }
        let last_sequence = batch.last_sequence();
        let same = |kept: &&KeptBatch| kept.base_sequence == got && kept.last_sequence == last_sequence;
        if let Some(original) = entry.batches.iter().rev().take(BATCHES_KEPT).find(same) {
            return Ok(Verdict::Duplicate(*original));
        }
        match entry.last_sequence() {
            None => Ok(Verdict::Append),
            Some(last) => {
                let expected = next_sequence(last);
                if got == expected {
                    Ok(Verdict::Append)
                } else {
                    Err(SequenceError::OutOfOrder { producer_id, expected, got })
                }
            }
        }
    }

    /// Notes a batch that was staged at `base_offset` and becomes durable with `commit`, or (commit 0) was found in the
    /// log. `durable_end_offset`: what lies below is durable already.
    pub fn record(
        &mut self,
        batch: &SequencedBatch,
        base_offset: i64,
        max_timestamp: i64,
        commit: u64,
        durable_end_offset: i64,
        now_ms: i64,
    ) {
        let entry = self.producers.entry(batch.producer_id).or_insert_with(|| ProducerEntry {
            epoch: batch.producer_epoch,
            batches: SmallVec::new(),
            last_used_ms: now_ms,
        });
        if entry.epoch != batch.producer_epoch {
            entry.epoch = batch.producer_epoch;
            entry.batches.clear();
        }
        entry.last_used_ms = now_ms;
        // A crash takes back what is in flight, and then the last five of what is left must be known as a replay of the log
        // would know them (T3): the oldest goes only when five durable ones follow it.
        let five_durable_follow = |entry: &ProducerEntry| {
            entry.batches.get(BATCHES_KEPT).is_some_and(|batch| batch.last_offset() < durable_end_offset)
        };
        while five_durable_follow(entry) || entry.batches.len() >= BATCHES_IN_FLIGHT_MAX {
            entry.batches.remove(0);
        }
        entry.batches.push(KeptBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
            last_offset_delta: batch.last_offset_delta,
            max_timestamp,
            commit,
        });
    }

    /// Forgets batches at or above `end_offset`: a crash took them back.
    pub fn truncate_end(&mut self, end_offset: i64) {
        self.producers.retain(|_, entry| {
            let before = entry.batches.len();
            entry.batches.retain(|batch| batch.last_offset() < end_offset);
            before == entry.batches.len() || !entry.batches.is_empty()
        });
    }

    /// Forgets producers that did not append for `expiration_ms` (I4: `producer.id.expiration.ms`).
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, entry| now_ms.saturating_sub(entry.last_used_ms) < expiration_ms);
    }

    /// Forgets the longest idle producers until at most seven eighths of `limit` are left, if there are more than `limit`.
    pub fn shrink_to(&mut self, limit: usize) {
        if self.producers.len() <= limit {
            return;
        }
        let mut idle: Vec<(i64, i64)> = self.producers.iter().map(|(&id, entry)| (entry.last_used_ms, id)).collect();
        idle.sort_unstable();
        let excess = self.producers.len() - limit * 7 / 8;
        for (_, id) in idle.into_iter().take(excess) {
            self.producers.remove(&id);
        }
    }

    /// True when something is known of the producer's batches.
    pub fn is_known(&self, producer_id: i64) -> bool {
        self.producers.get(&producer_id).is_some_and(|entry| !entry.batches.is_empty())
    }

    /// The producers by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter().map(|(&id, entry)| (id, entry))
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// True when no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Puts back a producer that a snapshot held.
    pub fn restore(&mut self, producer_id: i64, entry: ProducerEntry) {
        self.producers.insert(producer_id, entry);
    }
}

/// The sequence number after `last`, which wraps at 2147483647 (I2).
fn next_sequence(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
#[path = "producer_state/tests.rs"]
mod tests;
