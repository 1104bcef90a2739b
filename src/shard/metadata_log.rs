//! Between the controller's typed records and the bytes of Kafka's metadata records.
//! Must not touch: what a record means, where the log lies.

use bytes::Bytes;
use coretide_controller::{Record, ResourceType};
use coretide_wire::messages::records::{
    ConfigRecord, PartitionRecord, ProducerIdsRecord, RemoveTopicRecord, TopicRecord,
};
use coretide_wire::records::MetadataRecord;
use coretide_wire::{DecodeError, EncodeError};

/// The versions that are written. Readers take any version that Kafka 4.4 knows.
const VERSION: i16 = 0;

/// A record of the metadata log that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataLogError {
    /// Not a metadata record, or of a version that is newer than this broker.
    #[error("a record of the metadata log cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// Kafka has such records, this broker never writes them.
    #[error("the metadata log holds a record of type {0}, which this broker does not know")]
    UnknownType(i16),
    /// A kind of resource that nobody knows.
    #[error("the metadata log configures a resource of type {0}, which this broker does not know")]
    UnknownResource(i8),
}

/// The value of the log's record; its key is null.
pub fn encode(record: &Record) -> Result<Bytes, EncodeError> {
    to_wire(record).encode(VERSION)
}

/// The record in a value of the log.
pub fn decode(value: &Bytes) -> Result<Record, MetadataLogError> {
    from_wire(MetadataRecord::decode(value)?)
}

fn to_wire(record: &Record) -> MetadataRecord {
    match record {
        Record::Topic { name, topic_id } => TopicRecord { name: name.clone(), topic_id: *topic_id }.into(),
        Record::Partition { topic_id, partition, replicas, leader, leader_epoch, partition_epoch } => PartitionRecord {
            partition_id: *partition,
            topic_id: *topic_id,
            replicas: replicas.clone(),
            isr: replicas.clone(),
            leader: *leader,
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
            ..PartitionRecord::default()
        }
        .into(),
        Record::Config { resource_type, resource_name, name, value } => ConfigRecord {
            resource_type: resource_type.code(),
            resource_name: resource_name.clone(),
            name: name.clone(),
            value: value.clone(),
        }
        .into(),
        Record::RemoveTopic { topic_id } => RemoveTopicRecord { topic_id: *topic_id }.into(),
        Record::ProducerIds { broker_id, next_producer_id } => ProducerIdsRecord {
            broker_id: *broker_id,
            next_producer_id: *next_producer_id,
            ..ProducerIdsRecord::default()
        }
        .into(),
    }
}

fn from_wire(record: MetadataRecord) -> Result<Record, MetadataLogError> {
    Ok(match record {
        MetadataRecord::Topic(topic) => Record::Topic { name: topic.name, topic_id: topic.topic_id },
        MetadataRecord::Partition(partition) => Record::Partition {
            topic_id: partition.topic_id,
            partition: partition.partition_id,
            replicas: partition.replicas,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        },
        MetadataRecord::Config(config) => Record::Config {
            resource_type: ResourceType::from_code(config.resource_type)
                .ok_or(MetadataLogError::UnknownResource(config.resource_type))?,
            resource_name: config.resource_name,
            name: config.name,
            value: config.value,
        },
        MetadataRecord::RemoveTopic(topic) => Record::RemoveTopic { topic_id: topic.topic_id },
        MetadataRecord::ProducerIds(ids) => {
            Record::ProducerIds { broker_id: ids.broker_id, next_producer_id: ids.next_producer_id }
        }
        other => return Err(MetadataLogError::UnknownType(other.api_key())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_model::TopicId;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Record> {
        let id = any::<u128>().prop_map(TopicId);
        let kind =
            prop::sample::select(vec![2i8, 4, 8, 16, 32]).prop_map(|code| ResourceType::from_code(code).unwrap());
        prop_oneof![
            (".{0,30}", id.clone()).prop_map(|(name, topic_id)| Record::Topic { name, topic_id }),
            (id.clone(), any::<i32>(), prop::collection::vec(any::<i32>(), 0..4), any::<(i32, i32, i32)>()).prop_map(
                |(topic_id, partition, replicas, (leader, leader_epoch, partition_epoch))| Record::Partition {
                    topic_id,
                    partition,
                    replicas,
                    leader,
                    leader_epoch,
                    partition_epoch,
                }
            ),
            (kind, ".{0,30}", ".{0,30}", prop::option::of(".{0,30}")).prop_map(
                |(resource_type, resource_name, name, value)| Record::Config {
                    resource_type,
                    resource_name,
                    name,
                    value,
                }
            ),
            id.prop_map(|topic_id| Record::RemoveTopic { topic_id }),
            any::<(i32, i64)>()
                .prop_map(|(broker_id, next_producer_id)| Record::ProducerIds { broker_id, next_producer_id }),
        ]
    }

    proptest! {
        #[test]
        fn records_come_back_from_their_bytes(record in records()) {
            prop_assert_eq!(decode(&encode(&record).unwrap()), Ok(record));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&Bytes::from(bytes));
        }
    }

    #[test]
    fn a_topic_record_has_kafkas_bytes() {
        let record = Record::Topic { name: "ab".to_string(), topic_id: TopicId(5) };
        // Frame version 1, type 2, version 0, compact string of 2, uuid, no tags.
        let expected: Vec<u8> = [&[1, 2, 0, 3, b'a', b'b'][..], &[0; 15], &[5, 0]].concat();
        assert_eq!(encode(&record).unwrap(), expected);
    }
}
