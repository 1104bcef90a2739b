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

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(producer_id: i64, producer_epoch: i16, base_sequence: i32) -> SequencedBatch {
        SequencedBatch { producer_id, producer_epoch, base_sequence, last_offset_delta: 0 }
    }

    #[test]
    fn the_first_refused_batch_of_the_newest_epoch_is_the_one_that_is_due() {
        let mut refused = RefusedBeginnings::default();
        refused.note(&batch(7, 0, 3), 0);
        refused.note(&batch(7, 0, 4), 0);
        assert!(refused.check(&batch(7, 0, 3)).is_ok());
        assert!(refused.check(&batch(7, 0, 4)).is_err());
        refused.note(&batch(7, 1, 0), 0);
        assert!(refused.check(&batch(7, 1, 0)).is_ok());
        assert!(refused.check(&batch(7, 1, 1)).is_err());
    }

    #[test]
    fn as_many_as_are_remembered_are_remembered() {
        let mut refused = RefusedBeginnings::default();
        for id in 0..REFUSED_MAX as i64 {
            refused.note(&batch(id, 0, 0), 0);
        }
        assert!(refused.check(&batch(0, 0, 1)).is_err());
        refused.note(&batch(REFUSED_MAX as i64, 0, 0), 0);
        assert!(refused.check(&batch(0, 0, 1)).is_ok(), "the oldest is forgotten");
        assert_eq!(refused.producers.len(), REFUSED_MAX);
    }
}
