//! The virtual clients' own record batches: a small writer and reader of the v2 format, written from the format alone so that a
//! mistake of the broker's is not shared. Also what a record of the simulation holds: a number and a content that follows from it.

mod codec;

use coretide_stdx::prng::Prng;

pub use codec::{CODECS, Codec};

/// Everything the judges know of a record is its number; who sent it and what it holds follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId(pub u64);

/// The value of a record: its number, then bytes that follow from it.
pub fn value_of(id: RecordId) -> Vec<u8> {
    let (mut word, filler) = filler_of(id);
    let mut value = Vec::with_capacity(8 + filler + 8);
    value.extend_from_slice(&id.0.to_be_bytes());
    while value.len() < 8 + filler {
        word = next_word(word);
        value.extend_from_slice(&word.to_le_bytes());
    }
    value.truncate(8 + filler);
    value
}

/// How many bytes the value of a record has.
pub fn value_bytes(id: RecordId) -> usize {
    8 + filler_of(id).1
}

/// Where the filler of a value begins, and its length.
fn filler_of(id: RecordId) -> (u64, usize) {
    let mut prng = Prng::new(id.0 ^ 0x5157_u64);
    let filler = match prng.below(10) {
        0 => 0,
        1..=7 => prng.below(120),
        8 => prng.below(2000),
        _ => prng.below(9000),
    };
    (prng.next_u64(), filler as usize)
}

/// A step of a generator with a multiplier by Knuth: nothing here needs more of it than to differ everywhere.
fn next_word(word: u64) -> u64 {
    (word ^ (word >> 29)).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// True when these are the bytes of [`value_of`], without making them.
fn is_value_of(id: RecordId, value: &[u8]) -> bool {
    let (mut word, filler) = filler_of(id);
    if value.len() != 8 + filler || value[..8] != id.0.to_be_bytes() {
        return false;
    }
    let (eights, rest) = value[8..].as_chunks::<8>();
    let is_whole = eights.iter().all(|eight| {
        word = next_word(word);
        u64::from_le_bytes(*eight) == word
    });
    is_whole && next_word(word).to_le_bytes()[..rest.len()] == *rest
}

/// One record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
}

impl ReadRecord {
    /// Its number, when it is byte for byte what somebody may have sent.
    pub fn id(&self) -> Option<RecordId> {
        let number = self.value.get(..8)?.try_into().ok()?;
        let id = RecordId(u64::from_be_bytes(number));
        is_value_of(id, &self.value).then_some(id)
    }
}

/// An idempotent producer's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl Sequenced {
    /// What a plain producer sends.
    pub const NONE: Sequenced = Sequenced { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

/// An uncompressed batch of these records, all with the same timestamp.
pub fn encode_batch(ids: &[RecordId], timestamp_ms: i64, sequenced: Sequenced) -> Vec<u8> {
    encode_batch_in(Codec::None, ids, timestamp_ms, sequenced)
}

/// A batch of these records, all with the same timestamp, compressed in this way.
pub fn encode_batch_in(codec: Codec, ids: &[RecordId], timestamp_ms: i64, sequenced: Sequenced) -> Vec<u8> {
    let mut records = Vec::with_capacity(ids.len() * 300);
    for (delta, &id) in ids.iter().enumerate() {
        let value = value_of(id);
        let mut head = vec![0];
        put_varint(&mut head, 0);
        put_varint(&mut head, delta as i64);
        put_varint(&mut head, -1);
        put_varint(&mut head, value.len() as i64);
        put_varint(&mut records, (head.len() + value.len()) as i64 + 1);
        records.extend_from_slice(&head);
        records.extend_from_slice(&value);
        put_varint(&mut records, 0);
    }
    if codec != Codec::None {
        records = codec.compress(&records);
    }
    let mut batch = Vec::with_capacity(61 + records.len());
    batch.extend(0i64.to_be_bytes());
    batch.extend((records.len() as i32 + 49).to_be_bytes());
    batch.extend((-1i32).to_be_bytes());
    batch.push(2);
    batch.extend([0; 4]);
    batch.extend((codec as i16).to_be_bytes());
    batch.extend((ids.len() as i32 - 1).to_be_bytes());
    batch.extend(timestamp_ms.to_be_bytes());
    batch.extend(timestamp_ms.to_be_bytes());
    batch.extend(sequenced.producer_id.to_be_bytes());
    batch.extend(sequenced.producer_epoch.to_be_bytes());
    batch.extend(sequenced.base_sequence.to_be_bytes());
    batch.extend((ids.len() as i32).to_be_bytes());
    batch.extend_from_slice(&records);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Every whole batch's records; a partial batch at the end is left out, as clients do. An error says what is broken.
pub fn decode_batches(mut bytes: &[u8]) -> Result<Vec<ReadRecord>, String> {
    let mut found = Vec::new();
    while bytes.len() >= 12 {
        let base_offset = i64::from_be_bytes(bytes[..8].try_into().expect("eight"));
        let length = i32::from_be_bytes(bytes[8..12].try_into().expect("four"));
        if length < 49 {
            return Err(format!("batch at offset {base_offset} says it has {length} bytes"));
        }
        let total = 12 + length as usize;
        if bytes.len() < total {
            break;
        }
        decode_batch(&bytes[..total], base_offset, &mut found)?;
        bytes = &bytes[total..];
    }
    Ok(found)
}

fn decode_batch(batch: &[u8], base_offset: i64, found: &mut Vec<ReadRecord>) -> Result<(), String> {
    let bad = |what: &str| format!("batch at offset {base_offset}: {what}");
    if batch[16] != 2 {
        return Err(bad("magic is not 2"));
    }
    let body = &batch[21..];
    if crc32c(body) != u32::from_be_bytes(batch[17..21].try_into().expect("four")) {
        return Err(bad("wrong CRC"));
    }
    let attributes = i16::from_be_bytes([body[0], body[1]]);
    if attributes & !0x0f != 0 {
        return Err(bad("attributes that no client of the simulation sends"));
    }
    let codec = Codec::of(attributes).ok_or_else(|| bad("a codec that does not exist"))?;
    let base_timestamp = i64::from_be_bytes(body[6..14].try_into().expect("eight"));
    let max_timestamp = i64::from_be_bytes(body[14..22].try_into().expect("eight"));
    let count = i32::from_be_bytes(body[36..40].try_into().expect("four"));
    let plain = codec.decompress(&body[40..]).map_err(|what| bad(&what))?;
    let mut rest = plain.as_slice();
    for _ in 0..count {
        let short = || bad("records end early");
        let length = take_varint(&mut rest).ok_or_else(short)?;
        let (mut record, after) = rest.split_at_checked(length as usize).ok_or_else(short)?;
        rest = after;
        record = record.get(1..).ok_or_else(short)?;
        let timestamp_delta = take_varint(&mut record).ok_or_else(short)?;
        let offset_delta = take_varint(&mut record).ok_or_else(short)?;
        let key = take_varint(&mut record).ok_or_else(short)?;
        let value = take_varint(&mut record).ok_or_else(short)?;
        if key != -1 || value < 0 {
            return Err(bad("a record with a key or without a value"));
        }
        let value = record.get(..value as usize).ok_or_else(short)?.to_vec();
        let timestamp_ms = if attributes & 0x08 != 0 { max_timestamp } else { base_timestamp + timestamp_delta };
        found.push(ReadRecord { offset: base_offset + offset_delta, timestamp_ms, value });
    }
    if rest.is_empty() { Ok(()) } else { Err(bad("bytes after the last record")) }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    None
}

/// Table `n` says what a byte does to the checksum `n` bytes later.
const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut later = 1;
    while later < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[later - 1][byte];
            tables[later][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        later += 1;
    }
    tables
}

static CRC_TABLES: [[u32; 256]; 8] = crc_tables();

/// CRC-32C (Castagnoli), from its definition, eight bytes at a time.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut crc = !0u32;
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ u64::from(crc);
        crc = (0..8).fold(0, |sum, place| sum ^ CRC_TABLES[7 - place][(word >> (8 * place)) as usize & 0xff]);
    }
    !rest.iter().fold(crc, |crc, &byte| (crc >> 8) ^ CRC_TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "RFC 3720's check value");
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa, "RFC 3720, 32 zeros");
    }

    #[test]
    fn a_value_is_known_without_making_it() {
        for id in (0..200).map(RecordId) {
            let mut value = value_of(id);
            assert_eq!(value.len(), value_bytes(id));
            assert!(is_value_of(id, &value));
            assert!(!is_value_of(RecordId(id.0 + 1), &value));
            if let Some(last) = value[8..].last_mut() {
                *last ^= 1;
                assert!(!is_value_of(id, &value));
            }
        }
    }

    #[test]
    fn every_codec_survives_the_round_trip() {
        let ids: Vec<RecordId> = (0..40).map(RecordId).collect();
        for codec in CODECS {
            let batch = encode_batch_in(codec, &ids, 5, Sequenced::NONE);
            let read = decode_batches(&batch).expect("well formed");
            assert!(read.iter().map(ReadRecord::id).eq(ids.iter().map(|&id| Some(id))), "{codec:?}");
        }
    }

    #[test]
    fn batches_survive_the_round_trip_and_one_flipped_bit_does_not() {
        let ids = [RecordId(7), RecordId(8), RecordId(9)];
        let batch = encode_batch(&ids, 1234, Sequenced { producer_id: 3, producer_epoch: 0, base_sequence: 0 });
        let read = decode_batches(&batch).expect("well formed");
        assert_eq!(read.iter().map(ReadRecord::id).collect::<Vec<_>>(), ids.map(Some).to_vec());
        assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), vec![0, 1, 2]);
        assert_eq!(decode_batches(&batch[..batch.len() - 1]), Ok(vec![]));
        let mut flipped = batch.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        assert!(decode_batches(&flipped).is_err());
        let mut changed = read[0].clone();
        changed.value[8..].iter_mut().for_each(|byte| *byte ^= 1);
        assert!(changed.id().is_none() || changed.value.len() == 8);
    }
}
