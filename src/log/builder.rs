//! Builds batches: for clients, coordinators, the controller, and tests.
//! Must never touch: offsets' assignment, the checks of produced batches.

use bytes::Bytes;

use crate::batch::{
    ATTR_CONTROL, ATTR_LOG_APPEND_TIME, ATTR_TRANSACTIONAL, BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, MAGIC,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, seal,
};
use crate::codec::{Compression, compress};
use crate::records::{Header, Record, encode_headers, put_record};

/// Collects records and makes one batch of them, with base offset 0 and no leader epoch (-1).
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    header: BatchHeader,
    max_timestamp_delta: i32,
    records: Vec<u8>,
    headers: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(compression: Compression) -> BatchBuilder {
        let header = BatchHeader {
            base_offset: 0,
            batch_len: 0,
            leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: i16::from(compression.codec.id()),
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            record_count: 0,
        };
        BatchBuilder { compression, header, max_timestamp_delta: 0, records: Vec::new(), headers: Vec::new() }
    }

    /// An idempotent producer's id, epoch, and the sequence number of the first record.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.header.attributes |= ATTR_TRANSACTIONAL;
        self
    }

    /// Marks the batch as a control batch.
    pub fn control(mut self) -> BatchBuilder {
        self.header.attributes |= ATTR_CONTROL;
        self
    }

    /// Marks the timestamps as the broker's; every record should be given the same one.
    pub fn log_append_time(mut self) -> BatchBuilder {
        self.header.attributes |= ATTR_LOG_APPEND_TIME;
        self
    }

    /// Adds a record. `timestamp_ms` may be -1 for none. Panics when the batch would not fit an `i32` length; callers
    /// keep it far below by [`BatchBuilder::plain_bytes`].
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = timestamp_ms;
        }
        if header.record_count == 0 || timestamp_ms > header.max_timestamp {
            header.max_timestamp = timestamp_ms;
            self.max_timestamp_delta = header.record_count;
        }
        let record = Record {
            attributes: 0,
            timestamp_delta: timestamp_ms.wrapping_sub(header.base_timestamp),
            offset_delta: header.record_count,
            key,
            value,
            headers: encode_headers(&mut self.headers, headers),
        };
        put_record(&mut self.records, &record);
        assert!(self.records.len() <= i32::MAX as usize / 2, "a batch is bounded by its maker");
        header.last_offset_delta = header.record_count;
        header.record_count += 1;
    }

    /// How many records there are.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// The timestamp that those of all records are counted from: the first one's. 0 without records.
    pub fn base_timestamp_ms(&self) -> i64 {
        if self.is_empty() { 0 } else { self.header.base_timestamp }
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// The size of the batch in bytes if it were not compressed.
    pub fn plain_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The offset delta of the first record with the largest timestamp.
    pub fn max_timestamp_delta(&self) -> i32 {
        self.max_timestamp_delta
    }

    /// The batch. Panics without records: Kafka knows no empty produced batch.
    pub fn build(mut self) -> Bytes {
        assert!(!self.is_empty(), "a batch has at least one record");
        let mut out = Vec::with_capacity(self.plain_bytes());
        out.resize(HEADER_BYTES, 0);
        compress(self.compression, &self.records, &mut out);
        self.header.batch_len = (out.len() - LENGTH_OVERHEAD_BYTES) as i32;
        seal(out, &mut self.header)
    }
}

#[cfg(test)]
mod tests;
