//! What the partition machine puts into the store's checkpoint (`aux`): leader epochs and producer state, compact, little
//! endian, versioned. The checkpoint carries the checksum; lengths are checked here all the same.
//!
//! ```text
//! u8  version (1)
//! u32 epochs     · each: i32 epoch, i64 start offset
//! u32 producers  · each: i64 id, i16 epoch, i64 last used (ms), u8 batches
//!                  · each batch: i32 first sequence, i32 last sequence, i64 base offset, i32 last offset delta, i64 timestamp
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::epochs::EpochCache;
use crate::producer_state::{KeptBatch, ProducerEntry, ProducerStates};

const VERSION: u8 = 1;
const EPOCH_BYTES: usize = 12;
const PRODUCER_BYTES: usize = 19;
const BATCH_BYTES: usize = 28;

/// A snapshot that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer (or no) version of this program.
    #[error("the partition's snapshot has version {0}; this program knows version {VERSION}")]
    UnknownVersion(u8),
    /// Shorter than its own counts say, or with bytes left over.
    #[error("the partition's snapshot does not hold what its counts say")]
    Malformed,
}

/// Writes the snapshot. Batches in flight are included: [`decode`]'s caller cuts off what a crash took back.
pub fn encode(epochs: &EpochCache, producers: &ProducerStates) -> Bytes {
    let bytes = 9 + epochs.entries().len() * EPOCH_BYTES + producers.len() * (PRODUCER_BYTES + 5 * BATCH_BYTES);
    let mut out = BytesMut::with_capacity(bytes);
    out.put_u8(VERSION);
    out.put_u32_le(epochs.entries().len() as u32);
    for entry in epochs.entries() {
        out.put_i32_le(entry.epoch);
        out.put_i64_le(entry.start_offset);
    }
    out.put_u32_le(producers.len() as u32);
    for (id, entry) in producers.iter() {
        out.put_i64_le(id);
        out.put_i16_le(entry.epoch);
        out.put_i64_le(entry.last_used_ms);
        out.put_u8(entry.batches.len() as u8);
        for batch in &entry.batches {
            out.put_i32_le(batch.base_sequence);
            out.put_i32_le(batch.last_sequence);
            out.put_i64_le(batch.base_offset);
            out.put_i32_le(batch.last_offset_delta);
            out.put_i64_le(batch.max_timestamp);
        }
    }
    out.freeze()
}

/// Reads a snapshot back. No bytes at all are the snapshot of a new partition.
pub fn decode(mut bytes: Bytes) -> Result<(EpochCache, ProducerStates), SnapshotError> {
    let (mut epochs, mut producers) = (EpochCache::default(), ProducerStates::default());
    if bytes.is_empty() {
        return Ok((epochs, producers));
    }
    match bytes.get_u8() {
        VERSION => {}
        other => return Err(SnapshotError::UnknownVersion(other)),
    }
    for _ in 0..count(&mut bytes, EPOCH_BYTES)? {
        let epoch = bytes.get_i32_le();
        epochs.assign(epoch, bytes.get_i64_le());
    }
    for _ in 0..count(&mut bytes, PRODUCER_BYTES)? {
        if bytes.len() < PRODUCER_BYTES {
            return Err(SnapshotError::Malformed);
        }
        let (id, epoch, last_used_ms) = (bytes.get_i64_le(), bytes.get_i16_le(), bytes.get_i64_le());
        let batches = usize::from(bytes.get_u8());
        if bytes.len() < batches * BATCH_BYTES {
            return Err(SnapshotError::Malformed);
        }
        let batches = (0..batches)
            .map(|_| KeptBatch {
                base_sequence: bytes.get_i32_le(),
                last_sequence: bytes.get_i32_le(),
                base_offset: bytes.get_i64_le(),
                last_offset_delta: bytes.get_i32_le(),
                max_timestamp: bytes.get_i64_le(),
                commit: 0,
            })
            .collect();
        producers.restore(id, ProducerEntry { epoch, batches, last_used_ms });
    }
    if bytes.is_empty() { Ok((epochs, producers)) } else { Err(SnapshotError::Malformed) }
}

/// A count that the bytes left can hold.
fn count(bytes: &mut Bytes, least_bytes_each: usize) -> Result<usize, SnapshotError> {
    if bytes.len() < 4 {
        return Err(SnapshotError::Malformed);
    }
    let count = bytes.get_u32_le() as usize;
    if count > bytes.len() / least_bytes_each {
        return Err(SnapshotError::Malformed);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer_state::SequencedBatch;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(
            starts in proptest::collection::vec(0i64..100, 0..6),
            appends in proptest::collection::vec((0i64..9, 0i16..2, any::<u16>(), 1i32..9), 0..60),
            cut in 0usize..3000,
        ) {
            let (mut epochs, mut producers) = (EpochCache::default(), ProducerStates::default());
            for (epoch, start) in starts.iter().enumerate() {
                epochs.assign(epoch as i32, *start);
            }
            let mut end = 0;
            for (producer_id, producer_epoch, sequence, records) in appends {
                let base_sequence = i32::from(sequence);
                let batch = SequencedBatch { producer_id, producer_epoch, base_sequence, last_offset_delta: records - 1 };
                producers.record(&batch, end, 77, 3, end, 5);
                end += i64::from(records);
            }
            let bytes = encode(&epochs, &producers);
            prop_assert_eq!(decode(bytes.clone()), Ok((epochs, producers)));
            if cut > 0 && cut < bytes.len() {
                prop_assert_eq!(decode(bytes.slice(..cut)), Err(SnapshotError::Malformed));
            }
        }

        #[test]
        fn garbage_is_an_error_or_a_snapshot_but_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut with_version = vec![VERSION];
            with_version.extend_from_slice(&bytes);
            let _ = decode(Bytes::from(with_version));
            let _ = decode(Bytes::from(bytes));
        }
    }

    #[test]
    fn a_new_partition_has_an_empty_snapshot_and_versions_are_checked() {
        assert_eq!(decode(Bytes::new()), Ok((EpochCache::default(), ProducerStates::default())));
        assert_eq!(decode(Bytes::from_static(&[2])), Err(SnapshotError::UnknownVersion(2)));
        let lying = Bytes::from_static(&[1, 255, 255, 255, 255]);
        assert_eq!(decode(lying), Err(SnapshotError::Malformed));
        let mut one_of_two = vec![1, 2, 0, 0, 0];
        one_of_two.extend_from_slice(&[0; EPOCH_BYTES]);
        assert_eq!(decode(Bytes::from(one_of_two)), Err(SnapshotError::Malformed));
    }
}
