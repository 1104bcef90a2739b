//! What the records hold: all of it follows from a stamp that stands at the front of the value, so that whoever reads a
//! record knows who sent it and can make every byte of it again. Must never touch: sockets, the model.

use bytes::Bytes;
use coretide_client::{Codec, Compression};
use coretide_log::batch::{BatchHeader, HEADER_BYTES, check_crc};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{DECOMPRESSED_MAX_BYTES, decompress};
use coretide_log::records::{Header, Record, RecordIter};
use coretide_stdx::prng::Prng;

/// How long the stamp is: tag, number, writer, partition, flavour.
const STAMP_BYTES: usize = 25;
const HEADER_KEY: &[u8] = b"stamp";

/// What a writer's records look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Short values.
    Small,
    /// Short values with keys and headers.
    Keyed,
    /// Values of up to 40 KB: runs that go straight to their segment.
    Large,
    /// Values that compress well, compressed.
    Packed,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Flavour; 4] = [Flavour::Small, Flavour::Keyed, Flavour::Large, Flavour::Packed];

    /// How its batches are compressed; `n` lets the codecs take turns.
    fn compression(self, n: u64) -> Compression {
        match self {
            Flavour::Packed => Compression::of(Codec::ALL[n as usize % Codec::ALL.len()]),
            _ => Compression::of(Codec::None),
        }
    }

    fn value_bytes(self, prng: &mut Prng) -> usize {
        STAMP_BYTES
            + match self {
                Flavour::Small => prng.below(400),
                Flavour::Keyed => prng.below(1500),
                Flavour::Large => 1000 + prng.below(40_000),
                Flavour::Packed => prng.below(3000),
            } as usize
    }
}

/// Which record of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The life of the topic: another one after it was deleted and made again.
    pub tag: u64,
    /// Its number among those of this writer in this partition, from 0 without gaps.
    pub n: u64,
    /// Who sent it.
    pub writer: u32,
    /// Where to.
    pub partition: i32,
    /// What it looks like.
    pub flavour: Flavour,
}

/// A record as it is sent and as it must come back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    key: Option<[u8; 12]>,
    value: Vec<u8>,
    header: Option<[u8; 8]>,
}

impl Stamp {
    fn write(&self, value: &mut Vec<u8>) {
        value.extend_from_slice(&self.tag.to_be_bytes());
        value.extend_from_slice(&self.n.to_be_bytes());
        value.extend_from_slice(&self.writer.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        value.push(self.flavour as u8);
    }

    /// The stamp of a value; none if there cannot be one.
    fn read(value: &[u8]) -> Option<Stamp> {
        let bytes = value.first_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_be_bytes).ok();
        let half = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        Some(Stamp {
            tag: word(0)?,
            n: word(8)?,
            writer: half(16)?,
            partition: half(20)? as i32,
            flavour: *Flavour::ALL.get(usize::from(bytes[24]))?,
        })
    }

    fn make(&self, made: &mut Made) {
        let place = u64::from(self.writer) << 32 | u64::from(self.partition as u32);
        let mut prng = Prng::new(self.tag ^ self.n.rotate_left(20) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        made.value.clear();
        self.write(&mut made.value);
        let length = self.flavour.value_bytes(&mut prng);
        let mask = if self.flavour == Flavour::Packed { 0x0303_0303_0303_0303 } else { u64::MAX };
        while made.value.len() < length {
            let word = (prng.next_u64() & mask).to_be_bytes();
            let left = (length - made.value.len()).min(word.len());
            made.value.extend_from_slice(&word[..left]);
        }
        (made.key, made.header) = (None, None);
        if self.flavour == Flavour::Keyed {
            let mut key = [0; 12];
            key[..8].copy_from_slice(&prng.next_u64().to_be_bytes());
            key[8..].copy_from_slice(&self.writer.to_be_bytes());
            (made.key, made.header) = (Some(key), Some(prng.next_u64().to_be_bytes()));
        }
    }
}

/// The batch of `count` records from `first` on. All carry the same timestamp.
pub fn make_batch(first: Stamp, count: u32, timestamp_ms: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    let mut builder = BatchBuilder::new(first.flavour.compression(first.n));
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    let mut made = Made::default();
    for n in first.n..first.n + u64::from(count) {
        Stamp { n, ..first }.make(&mut made);
        let header = made.header.as_ref().map(|value| Header { key: HEADER_KEY, value: Some(value) });
        let headers: Vec<Header<'_>> = header.into_iter().collect();
        builder.push(timestamp_ms, made.key.as_ref().map(|key| &key[..]), Some(&made.value), &headers);
    }
    builder.build()
}

/// Checks every byte of a batch that came back, and returns the stamp of its first record.
pub fn check_batch(batch: &Bytes, header: &BatchHeader, tag: u64, partition: i32) -> Result<Stamp, String> {
    check_crc(batch).map_err(|error| error.to_string())?;
    let body = batch.slice(HEADER_BYTES..);
    let plain = match header.codec().map_err(|error| error.to_string())? {
        Codec::None => body,
        codec => decompress(codec, &body, DECOMPRESSED_MAX_BYTES).map_err(|error| error.to_string())?,
    };
    let mut made = Made::default();
    let mut first: Option<Stamp> = None;
    for (place, record) in RecordIter::new(&plain, header.record_count).enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let stamp = record.value.and_then(Stamp::read).ok_or("a record that nobody here sent")?;
        let begin = *first.get_or_insert(stamp);
        let due = Stamp { n: begin.n + place as u64, ..begin };
        if stamp != due {
            return Err(format!("record {place} of the batch is {stamp:?} where {due:?} is due"));
        }
        stamp.make(&mut made);
        if !is_same(&record, &made) || record.timestamp_delta != 0 || record.offset_delta as usize != place {
            return Err(format!("the bytes of {stamp:?} were changed"));
        }
    }
    let first = first.ok_or("a batch without records")?;
    if (first.tag, first.partition) != (tag, partition) {
        return Err(format!("{first:?} belongs to another partition, or to an earlier topic of this name"));
    }
    Ok(first)
}

fn is_same(record: &Record<'_>, made: &Made) -> bool {
    let mut headers = record.headers;
    let header = headers.next();
    let same_header = match (&header, &made.header) {
        (None, None) => true,
        (Some(there), Some(value)) => there.key == HEADER_KEY && there.value == Some(&value[..]),
        _ => false,
    };
    same_header
        && headers.next().is_none()
        && record.key == made.key.as_ref().map(|key| &key[..])
        && record.value == Some(&made.value[..])
}

#[cfg(test)]
mod tests {
    use coretide_log::batch::peek_header;

    use super::*;

    fn check(bytes: &[u8], tag: u64, partition: i32) -> Result<Stamp, String> {
        let batch = Bytes::copy_from_slice(bytes);
        check_batch(&batch, &peek_header(&batch).expect("a header"), tag, partition)
    }

    #[test]
    fn batches_of_each_flavour_are_known_again_and_any_change_is_seen() {
        for (n, flavour) in Flavour::ALL.into_iter().enumerate() {
            let first = Stamp { tag: 7, n: n as u64 + 2, writer: 3, partition: 1, flavour };
            let batch = make_batch(first, 4, 1_000, Some((5, 0, 9)));
            assert_eq!(check(&batch, 7, 1), Ok(first));
            assert!(check(&batch, 8, 1).unwrap_err().contains("earlier topic"));
            assert!(check(&batch, 7, 2).unwrap_err().contains("another partition"));
            for at in (HEADER_BYTES..batch.len()).step_by(97) {
                let mut changed = batch.to_vec();
                changed[at] ^= 1;
                assert!(check(&changed, 7, 1).is_err(), "byte {at} of {flavour:?}");
            }
        }
    }

    #[test]
    fn foreign_bytes_with_a_good_checksum_are_seen() {
        let first = Stamp { tag: 7, n: 0, writer: 3, partition: 1, flavour: Flavour::Small };
        let mut made = Made::default();
        first.make(&mut made);
        *made.value.last_mut().expect("a value") ^= 1;
        let mut builder = BatchBuilder::new(Compression::of(Codec::None));
        builder.push(0, None, Some(&made.value), &[]);
        assert!(check(&builder.build(), 7, 1).unwrap_err().contains("changed"));
        let mut builder = BatchBuilder::new(Compression::of(Codec::None));
        builder.push(0, None, Some(b"hello"), &[]);
        assert!(check(&builder.build(), 7, 1).unwrap_err().contains("nobody"));
    }
}
