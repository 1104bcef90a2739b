//! Framing of the records that the broker keeps in its own logs: what stands before the message itself.
//!
//! - Coordinators' keys and values, consumers' subscriptions and assignments, producer snapshots: an int16 version
//!   first. In a coordinator's *key* that number is the record's type, and the key itself always has version 0.
//! - Metadata records: frame version, record type and version, each an unsigned varint.

use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
use crate::messages::records::{
    ConfigRecord, FeatureLevelRecord, GroupMetadataKey, OffsetCommitKey, PartitionChangeRecord, PartitionRecord,
    ProducerIdsRecord, RemoveTopicRecord, TopicRecord,
};
use crate::reader::Reader;
use crate::writer::Writer;
use bytes::Bytes;

/// The version of the framing around metadata records.
const METADATA_FRAME_VERSION: u32 = 1;

/// A message behind its int16 version.
pub fn encode_versioned<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.i16(version);
    message.encode(&mut w, version)?;
    Ok(w.into_bytes())
}

/// Reads a message behind its int16 version; returns the version as well.
pub fn decode_versioned<M: Message>(bytes: &Bytes) -> Result<(i16, M), DecodeError> {
    let mut r = Reader::new(bytes);
    let version = r.i16()?;
    Ok((version, M::decode(&mut r, version)?))
}

/// As [`decode_versioned`], but a version newer than we know is read as the newest that we know: consumers'
/// subscriptions and assignments only ever grow at their end.
pub fn decode_versioned_or_newer<M: Message>(bytes: &Bytes) -> Result<(i16, M), DecodeError> {
    let mut r = Reader::new(bytes);
    let version = r.i16()?;
    Ok((version, M::decode(&mut r, version.min(M::MAX_VERSION))?))
}

/// The key of a record in `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecordKey {
    /// A committed offset.
    OffsetCommit(OffsetCommitKey),
    /// A classic group's state.
    GroupMetadata(GroupMetadataKey),
}

impl GroupRecordKey {
    /// The key's bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        match self {
            GroupRecordKey::OffsetCommit(key) => encode_key(key),
            GroupRecordKey::GroupMetadata(key) => encode_key(key),
        }
    }

    /// Reads a key; [`DecodeError::UnknownKey`] for types of other group protocols.
    pub fn decode(bytes: &Bytes) -> Result<GroupRecordKey, DecodeError> {
        let mut r = Reader::new(bytes);
        match r.i16()? {
            // Type 0 is the commit key of Kafka before 0.9, with the same fields.
            0 | 1 => OffsetCommitKey::decode(&mut r, 0).map(GroupRecordKey::OffsetCommit),
            2 => GroupMetadataKey::decode(&mut r, 0).map(GroupRecordKey::GroupMetadata),
            other => Err(DecodeError::UnknownKey(other)),
        }
    }
}

fn encode_key<M: Message>(key: &M) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.i16(M::API_KEY.expect("coordinator keys have a record type"));
    key.encode(&mut w, 0)?;
    Ok(w.into_bytes())
}

macro_rules! metadata_records {
    ($($variant:ident($message:ident): $doc:literal,)*) => {
        /// A record of the metadata log.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum MetadataRecord {
            $(#[doc = $doc] $variant($message),)*
        }

        impl MetadataRecord {
            /// The record's type.
            pub fn api_key(&self) -> i16 {
                match self {
                    $(MetadataRecord::$variant(_) => <$message as Message>::API_KEY,)*
                }
                .expect("metadata records have a type")
            }

            /// Its bytes with the framing, the message as of `version`.
            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut w = Writer::new();
                w.unsigned_varint(METADATA_FRAME_VERSION);
                w.unsigned_varint(self.api_key() as u32);
                w.unsigned_varint(version as u32);
                match self {
                    $(MetadataRecord::$variant(message) => message.encode(&mut w, version)?,)*
                }
                Ok(w.into_bytes())
            }

            /// Reads a record with its framing; nothing may follow it.
            pub fn decode(bytes: &Bytes) -> Result<MetadataRecord, DecodeError> {
                let mut r = Reader::new(bytes);
                let frame_version = r.unsigned_varint()?;
                if frame_version != METADATA_FRAME_VERSION {
                    let version = i16::try_from(frame_version).unwrap_or(i16::MAX);
                    return Err(DecodeError::Version { message: "metadata record frame", version });
                }
                let key = i16::try_from(r.unsigned_varint()?).map_err(|_| DecodeError::UnknownKey(i16::MAX))?;
                let version = i16::try_from(r.unsigned_varint()?).map_err(|_| DecodeError::Varint)?;
                let record = $(if Some(key) == <$message as Message>::API_KEY {
                    MetadataRecord::$variant($message::decode(&mut r, version)?)
                } else)* {
                    return Err(DecodeError::UnknownKey(key));
                };
                r.expect_end()?;
                Ok(record)
            }
        }

        $(impl From<$message> for MetadataRecord {
            fn from(message: $message) -> MetadataRecord {
                MetadataRecord::$variant(message)
            }
        })*
    };
}

metadata_records! {
    Topic(TopicRecord): "A topic was created.",
    Partition(PartitionRecord): "A partition was created.",
    RemoveTopic(RemoveTopicRecord): "A topic was deleted, its partitions with it.",
    Config(ConfigRecord): "A config was set, or with a null value removed.",
    ProducerIds(ProducerIdsRecord): "A block of producer ids was handed out.",
    PartitionChange(PartitionChangeRecord): "A partition's leader or replicas changed.",
    FeatureLevel(FeatureLevelRecord): "A feature's level was finalized.",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::records::{GroupMetadataValue, OffsetCommitValue};
    use coretide_model::TopicId;

    /// As Kafka writes them: frame 1, type 2, version 0, name, id, tags.
    #[test]
    fn metadata_records_have_kafkas_framing() {
        let record = MetadataRecord::from(TopicRecord { name: "ab".into(), topic_id: TopicId(1) });
        let bytes = record.encode(0).unwrap();
        let mut expected = vec![1, 2, 0, 3, b'a', b'b'];
        expected.extend([0; 15]);
        expected.extend([1, 0]);
        assert_eq!(bytes, expected);
        assert_eq!(MetadataRecord::decode(&bytes), Ok(record));
    }

    #[test]
    fn metadata_records_refuse_other_frames_types_and_trailing_bytes() {
        let decode = |bytes: &[u8]| MetadataRecord::decode(&Bytes::copy_from_slice(bytes));
        assert!(matches!(decode(&[0, 2, 0]), Err(DecodeError::Version { .. })));
        assert_eq!(decode(&[1, 99, 0]), Err(DecodeError::UnknownKey(99)));
        let mut bytes = MetadataRecord::from(ConfigRecord::default()).encode(0).unwrap().to_vec();
        bytes.push(0);
        assert_eq!(decode(&bytes), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn group_keys_start_with_their_type() {
        let key = GroupRecordKey::OffsetCommit(OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 });
        let bytes = key.encode().unwrap();
        assert_eq!(&bytes[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03");
        assert_eq!(GroupRecordKey::decode(&bytes), Ok(key));
        let key = GroupRecordKey::GroupMetadata(GroupMetadataKey { group: "g".into() });
        assert_eq!(&key.encode().unwrap()[..], b"\x00\x02\x00\x01g");
        assert_eq!(GroupRecordKey::decode(&Bytes::from_static(b"\x00\x03\x00\x01g")), Err(DecodeError::UnknownKey(3)));
    }

    #[test]
    fn values_carry_their_version() {
        let value = GroupMetadataValue { protocol_type: "consumer".into(), generation: 4, ..Default::default() };
        for version in 0..=4 {
            let bytes = encode_versioned(&value, version).unwrap();
            assert_eq!(decode_versioned::<GroupMetadataValue>(&bytes), Ok((version, value.clone())));
        }
        assert!(decode_versioned::<OffsetCommitValue>(&Bytes::from_static(&[0, 9, 0])).is_err());
    }
}
