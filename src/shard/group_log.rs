//! Between the coordinators' typed records and the bytes of `__consumer_offsets`: OffsetCommitKey/Value and
//! GroupMetadataKey/Value, in the versions that Kafka 4.4 writes.
//! Must not touch: what a record means, where the log lies.

use std::sync::Arc;

use bytes::Bytes;
use coretide_coordinator::Record;
use coretide_coordinator::record::{GroupValue, MemberValue, OffsetValue};
use coretide_log::batch::{BatchError, check_crc, walk_batches};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, CodecError, Compression, decompress};
use coretide_log::records::RecordIter;
use coretide_model::TopicId;
use coretide_wire::messages::records::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use coretide_wire::records::{GroupRecordKey, decode_versioned, encode_versioned};
use coretide_wire::{DecodeError, EncodeError};

/// With an expiry of its own: the one version that has the field.
const OFFSET_WITH_EXPIRY: i16 = 1;
/// Without the topic's id.
const OFFSET_PLAIN: i16 = 3;
/// With the topic's id.
const OFFSET_WITH_TOPIC_ID: i16 = 4;
/// The newest without tagged fields.
const GROUP: i16 = 3;
/// What the records of one batch may decompress to: the log may have been written by another broker.
const DECOMPRESSED_MAX_BYTES: u64 = 128 << 20;

/// A part of the log that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupLogError {
    /// A batch is damaged.
    #[error("a batch of __consumer_offsets cannot be read: {0}")]
    Batch(#[from] BatchError),
    /// A batch does not decompress.
    #[error("a batch of __consumer_offsets does not decompress: {0}")]
    Codec(#[from] CodecError),
    /// A record is no record of a group, or of a version that is newer than this broker.
    #[error("a record of __consumer_offsets cannot be read: {0}")]
    Record(#[from] DecodeError),
}

/// Key and value of a record.
pub(crate) fn encode(record: &Record) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    match record {
        Record::Offset { group, topic, partition, value } => {
            let key = GroupRecordKey::OffsetCommit(OffsetCommitKey {
                group: group.to_string(),
                topic: topic.to_string(),
                partition: *partition,
            });
            Ok((key.encode()?, value.as_ref().map(encode_offset).transpose()?))
        }
        Record::Group { group, value } => {
            let key = GroupRecordKey::GroupMetadata(GroupMetadataKey { group: group.to_string() });
            Ok((key.encode()?, value.as_deref().map(encode_group).transpose()?))
        }
    }
}

/// One batch with these records.
pub(crate) fn batch(records: &[Record], wall_ms: i64) -> Result<BatchBuilder, EncodeError> {
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    for record in records {
        let (key, value) = encode(record)?;
        builder.push(wall_ms, Some(&key), value.as_deref(), &[]);
    }
    Ok(builder)
}

/// The record of a key and a value; none for records of other group protocols.
pub(crate) fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<Record>, DecodeError> {
    match GroupRecordKey::decode(&key) {
        Ok(GroupRecordKey::OffsetCommit(key)) => {
            let value = value.map(|bytes| decode_offset(&bytes)).transpose()?;
            let (group, topic) = (key.group.into(), key.topic.into());
            Ok(Some(Record::Offset { group, topic, partition: key.partition, value }))
        }
        Ok(GroupRecordKey::GroupMetadata(key)) => {
            let value = value.map(|bytes| decode_group(&bytes)).transpose()?.map(Arc::new);
            Ok(Some(Record::Group { group: key.group.into(), value }))
        }
        Err(DecodeError::UnknownKey(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hands every record of whole batches on, in order.
pub(crate) fn read(bytes: &Bytes, mut each: impl FnMut(&Record)) -> Result<(), GroupLogError> {
    for (at, header) in walk_batches(bytes) {
        let batch = bytes.slice(at..at + header.total_bytes());
        check_crc(&batch)?;
        if header.is_control() {
            continue;
        }
        let packed = batch.slice(coretide_log::batch::HEADER_BYTES..);
        let plain = match header.codec()? {
            Codec::None => packed,
            codec => decompress(codec, &packed, DECOMPRESSED_MAX_BYTES)?,
        };
        for record in RecordIter::new(&plain, header.record_count) {
            let record = record?;
            let Some(key) = record.key else { continue };
            let value = record.value.map(|value| plain.slice_ref(value));
            if let Some(record) = decode(plain.slice_ref(key), value)? {
                each(&record);
            }
        }
    }
    Ok(())
}

fn encode_offset(value: &OffsetValue) -> Result<Bytes, EncodeError> {
    let message = OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.to_string(),
        commit_timestamp: value.commit_timestamp_ms,
        expire_timestamp: value.expire_timestamp_ms.unwrap_or(-1),
        topic_id: value.topic_id,
    };
    let version = match (value.expire_timestamp_ms, value.topic_id) {
        (Some(_), _) => OFFSET_WITH_EXPIRY,
        (None, TopicId::ZERO) => OFFSET_PLAIN,
        (None, _) => OFFSET_WITH_TOPIC_ID,
    };
    encode_versioned(&message, version)
}

fn decode_offset(bytes: &Bytes) -> Result<OffsetValue, DecodeError> {
    let (_, value): (i16, OffsetCommitValue) = decode_versioned(bytes)?;
    Ok(OffsetValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.into(),
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: Some(value.expire_timestamp).filter(|at_ms| *at_ms >= 0),
        topic_id: value.topic_id,
    })
}

fn encode_group(value: &GroupValue) -> Result<Bytes, EncodeError> {
    let member = |member: &MemberValue| MemberMetadata {
        member_id: member.member_id.to_string(),
        group_instance_id: member.group_instance_id.as_deref().map(str::to_string),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    };
    let message = GroupMetadataValue {
        protocol_type: value.protocol_type.to_string(),
        generation: value.generation,
        protocol: value.protocol.as_deref().map(str::to_string),
        leader: value.leader.as_deref().map(str::to_string),
        current_state_timestamp: value.current_state_timestamp_ms,
        members: value.members.iter().map(member).collect(),
    };
    encode_versioned(&message, GROUP)
}

fn decode_group(bytes: &Bytes) -> Result<GroupValue, DecodeError> {
    let (_, value): (i16, GroupMetadataValue) = decode_versioned(bytes)?;
    let member = |member: MemberMetadata| MemberValue {
        member_id: member.member_id.into(),
        group_instance_id: member.group_instance_id.map(Arc::from),
        client_id: member.client_id.into(),
        client_host: member.client_host.into(),
        rebalance_timeout_ms: member.rebalance_timeout,
        session_timeout_ms: member.session_timeout,
        subscription: member.subscription,
        assignment: member.assignment,
    };
    Ok(GroupValue {
        protocol_type: value.protocol_type.into(),
        generation: value.generation,
        protocol: value.protocol.map(Arc::from),
        leader: value.leader.map(Arc::from),
        current_state_timestamp_ms: value.current_state_timestamp,
        members: value.members.into_iter().map(member).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Arc<str>> {
        ".{0,20}".prop_map(Arc::from)
    }

    fn data() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn offset() -> impl Strategy<Value = OffsetValue> {
        let id = prop_oneof![Just(0u128), any::<u128>()].prop_map(TopicId);
        (any::<i64>(), any::<i32>(), text(), any::<i64>(), prop::option::of(0i64..), id).prop_map(
            |(offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id)| OffsetValue {
                offset,
                // Version 1, the only one with an expiry, has neither epoch nor topic id.
                leader_epoch: if expire_timestamp_ms.is_some() { -1 } else { leader_epoch },
                topic_id: if expire_timestamp_ms.is_some() { TopicId::ZERO } else { topic_id },
                metadata,
                commit_timestamp_ms,
                expire_timestamp_ms,
            },
        )
    }

    fn member() -> impl Strategy<Value = MemberValue> {
        (text(), prop::option::of(text()), text(), text(), any::<(i32, i32)>(), data(), data()).prop_map(
            |(member_id, group_instance_id, client_id, client_host, timeouts, subscription, assignment)| MemberValue {
                member_id,
                group_instance_id,
                client_id,
                client_host,
                rebalance_timeout_ms: timeouts.0,
                session_timeout_ms: timeouts.1,
                subscription,
                assignment,
            },
        )
    }

    fn group() -> impl Strategy<Value = GroupValue> {
        let members = prop::collection::vec(member(), 0..4);
        (text(), any::<i32>(), prop::option::of(text()), prop::option::of(text()), any::<i64>(), members).prop_map(
            |(protocol_type, generation, protocol, leader, current_state_timestamp_ms, members)| GroupValue {
                protocol_type,
                generation,
                protocol,
                leader,
                current_state_timestamp_ms,
                members,
            },
        )
    }

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            (text(), text(), any::<i32>(), prop::option::of(offset()))
                .prop_map(|(group, topic, partition, value)| Record::Offset { group, topic, partition, value }),
            (text(), prop::option::of(group().prop_map(Arc::new)))
                .prop_map(|(group, value)| Record::Group { group, value }),
        ]
    }

    proptest! {
        #[test]
        fn records_come_back_from_their_batch(records in prop::collection::vec(record(), 1..6)) {
            let bytes = batch(&records, 5).unwrap().build();
            let mut seen = Vec::new();
            read(&bytes, |record| seen.push(record.clone())).unwrap();
            prop_assert_eq!(seen, records);
        }

        #[test]
        fn no_bytes_make_it_panic(key in data(), value in data()) {
            let _ = decode(key, Some(value));
        }
    }

    #[test]
    fn a_committed_offset_has_kafkas_bytes() {
        let value = OffsetValue {
            offset: 7,
            leader_epoch: 2,
            metadata: "m".into(),
            commit_timestamp_ms: 9,
            expire_timestamp_ms: None,
            topic_id: TopicId::ZERO,
        };
        let record = Record::Offset { group: "g".into(), topic: "t".into(), partition: 3, value: Some(value) };
        let (key, value) = encode(&record).unwrap();
        assert_eq!(&key[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x03", "record type 1, group, topic, partition");
        let expected = b"\0\x03\0\0\0\0\0\0\0\x07\0\0\0\x02\0\x01m\0\0\0\0\0\0\0\x09";
        assert_eq!(&value.unwrap()[..], expected, "version 3, offset, epoch, metadata, time of the commit");
    }

    #[test]
    fn records_of_other_protocols_are_passed_over_and_damage_is_reported() {
        assert_eq!(decode(Bytes::from_static(b"\0\x03\0\x01g"), None), Ok(None));
        assert!(decode(Bytes::from_static(b"\0\x02\0\x09g"), None).is_err());
        let record = Record::Group { group: "g".into(), value: None };
        let mut bytes = batch(&[record], 5).unwrap().build().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(read(&Bytes::from(bytes), |_| ()).is_err());
    }
}
