//! Beginnings that were refused: of a producer of which nothing is known, any batch may be the first (KIP-360). Once one was
//! refused for want of room, only that one may, or what its client had sent behind it would be appended before it.
//! Must never touch: producers of which something is known; their next sequence number says it all.

use std::collections::BTreeMap;

use crate::producer_state::{SequenceError, SequencedBatch};

/// Beginnings that are remembered; beyond it those of the oldest producer ids are forgotten.
const REFUSED_MAX: usize = 1000;

#[derive(Clone, Copy, Debug)]
struct Beginning {
    epoch: i16,
    sequence: i32,
    refused_at_ms: i64,
}

/// The refused beginnings of one partition, by producer id.
#[derive(Debug, Default)]
pub(crate) struct RefusedBeginnings {
    producers: BTreeMap<i64, Beginning>,
}

impl RefusedBeginnings {
    /// A batch of an unknown producer is refused; only the first one counts.
    pub fn note(&mut self, batch: &SequencedBatch, now_ms: i64) {
        let SequencedBatch { producer_epoch: epoch, base_sequence: sequence, .. } = *batch;
        let beginning = Beginning { epoch, sequence, refused_at_ms: now_ms };
        let there = self.producers.entry(batch.producer_id).or_insert(beginning);
        if there.epoch != epoch {
            *there = beginning;
        }
        if self.producers.len() > REFUSED_MAX {
            self.producers.pop_first();
        }
    }

    /// Whether a batch of an unknown producer may be its first one.
    pub fn check(&self, batch: &SequencedBatch) -> Result<(), SequenceError> {
        let (producer_id, got) = (batch.producer_id, batch.base_sequence);
        match self.producers.get(&producer_id) {
            Some(due) if due.epoch == batch.producer_epoch && due.sequence != got => {
                Err(SequenceError::OutOfOrder { producer_id, expected: due.sequence, got })
            }
            _ => Ok(()),
        }
    }

    /// The producer is known from now on.
    pub fn forget(&mut self, producer_id: i64) {
        self.producers.remove(&producer_id);
    }

    /// Forgets producers that did not come back.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, beginning| now_ms.saturating_sub(beginning.refused_at_ms) < expiration_ms);
    }
}
