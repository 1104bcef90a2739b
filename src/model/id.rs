//! Ids: topics, partitions, shards, connections. Offsets are `i64`, leader epochs `i32`, producer ids `i64` and producer
//! epochs `i16`, as on the wire.

use std::fmt;
use std::str::FromStr;

/// A topic's id: a UUID that a recreated topic does not inherit (KIP-516). All zeros means "none".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub u128);

impl TopicId {
    /// The absent id.
    pub const ZERO: TopicId = TopicId(0);

    /// The id in Kafka's own order of bytes (most significant first).
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id from Kafka's order of bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> TopicId {
        TopicId(u128::from_be_bytes(bytes))
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text form: 22 characters of URL-safe base64 without padding.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 22];
        for (place, character) in text.iter_mut().enumerate() {
            let shift = 122i32 - 6 * place as i32;
            let bits = if shift >= 0 { self.0 >> shift } else { self.0 << -shift };
            *character = BASE64_URL[(bits & 63) as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = String;

    fn from_str(text: &str) -> Result<TopicId, String> {
        let bad = || format!("'{text}' is not a topic id: 22 characters of URL-safe base64 were expected");
        if text.len() != 22 {
            return Err(bad());
        }
        let mut value: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let bits = BASE64_URL.iter().position(|&b| b == byte).ok_or_else(bad)? as u128;
            if place < 21 {
                value = value << 6 | bits;
            } else if bits & 15 != 0 {
                return Err(bad());
            } else {
                value = value << 2 | bits >> 4;
            }
        }
        Ok(TopicId(value))
    }
}

/// One partition of one topic, by the topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's index, from 0.
    pub partition: i32,
}

/// A shard of this broker, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A client connection of one shard. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_print_as_kafka_prints_them() {
        let id = TopicId(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
        assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!(id.to_string().parse::<TopicId>(), Ok(id));
        assert_eq!(TopicId::from_bytes(id.to_bytes()), id);
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert!("short".parse::<TopicId>().is_err());
        assert!("ASNFZ4mrze_-3LqYdlQyEB".parse::<TopicId>().is_err());
        assert!("ASNFZ4mrze/-3LqYdlQyEA".parse::<TopicId>().is_err());
    }
}
