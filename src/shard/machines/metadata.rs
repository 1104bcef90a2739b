//! The metadata log's records: Kafka's bytes and the controller's values, both ways.
//! Must never touch: what the records mean.

use bytes::Bytes;
use coretide_controller::{Record, ResourceType};
use coretide_log::batch::{VerifiedBatch, walk_batches};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_log::timestamps::batch_records;
use coretide_wire::messages::records::{
    ConfigRecord, PartitionRecord, ProducerIdsRecord, RemoveTopicRecord, TopicRecord,
};
use coretide_wire::records::MetadataRecord;
use coretide_wire::{DecodeError, EncodeError};

/// The version that all of these records are written in.
const VERSION: i16 = 0;

/// A metadata log that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("the metadata log holds a record that this version cannot read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the metadata log holds a damaged batch: {0}")]
    Batch(#[from] coretide_log::batch::BatchError),
    #[error("the metadata log configures the unknown resource type {0}")]
    ResourceType(i8),
    #[error("the metadata log holds a record of type {0}, which this version does not act on; a newer one wrote it")]
    Unsupported(i16),
    #[error("the metadata log ends inside a batch")]
    CutOff,
}

fn to_wire(record: &Record) -> MetadataRecord {
    match record {
        Record::Topic { name, topic_id } => {
            MetadataRecord::Topic(TopicRecord { name: name.clone(), topic_id: *topic_id })
        }
        Record::Partition { topic_id, partition, replicas, leader, leader_epoch, partition_epoch } => {
            MetadataRecord::Partition(PartitionRecord {
                partition_id: *partition,
                topic_id: *topic_id,
                replicas: replicas.clone(),
                isr: replicas.clone(),
                leader: *leader,
                leader_epoch: *leader_epoch,
                partition_epoch: *partition_epoch,
                ..PartitionRecord::default()
            })
        }
        Record::Config { resource_type, resource_name, name, value } => MetadataRecord::Config(ConfigRecord {
            resource_type: resource_type.code(),
            resource_name: resource_name.clone(),
            name: name.clone(),
            value: value.clone(),
        }),
        Record::RemoveTopic { topic_id } => MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: *topic_id }),
        Record::ProducerIds { broker_id, next_producer_id } => MetadataRecord::ProducerIds(ProducerIdsRecord {
            broker_id: *broker_id,
            broker_epoch: -1,
            next_producer_id: *next_producer_id,
        }),
    }
}

/// The controller's value. To go on without a record would be to serve another cluster than the one that was written.
fn from_wire(record: MetadataRecord) -> Result<Record, MetadataError> {
    Ok(match record {
        MetadataRecord::Topic(TopicRecord { name, topic_id }) => Record::Topic { name, topic_id },
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
                .ok_or(MetadataError::ResourceType(config.resource_type))?,
            resource_name: config.resource_name,
            name: config.name,
            value: config.value,
        },
        MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }) => Record::RemoveTopic { topic_id },
        MetadataRecord::ProducerIds(ids) => {
            Record::ProducerIds { broker_id: ids.broker_id, next_producer_id: ids.next_producer_id }
        }
        other => return Err(MetadataError::Unsupported(other.api_key())),
    })
}

/// Records that belong together, as one batch.
pub(crate) fn to_batch(records: &[Record], now_ms: i64) -> Result<VerifiedBatch, EncodeError> {
    let mut builder = BatchBuilder::new(Compression::of(Codec::None));
    for record in records {
        let value = to_wire(record).encode(VERSION)?;
        builder.push(now_ms, None, Some(&value), &[]);
    }
    Ok(VerifiedBatch::from_own_records(builder))
}

/// The records of whole batches, batch by batch.
pub(crate) fn from_batches(bytes: &Bytes) -> Result<Vec<Vec<Record>>, MetadataError> {
    let mut batches = Vec::new();
    let mut scratch = Vec::new();
    let mut walk = walk_batches(bytes);
    for (position, header) in walk.by_ref() {
        let (_, records) = batch_records(&bytes[position..position + header.total_bytes()], &mut scratch)?;
        let mut decoded = Vec::new();
        for record in records {
            let value = Bytes::copy_from_slice(record?.value.unwrap_or_default());
            decoded.push(from_wire(MetadataRecord::decode(&value)?)?);
        }
        batches.push(decoded);
    }
    if walk.position() < bytes.len() {
        return Err(MetadataError::CutOff);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_model::TopicId;
    use coretide_wire::messages::records::PartitionChangeRecord;

    #[test]
    fn every_record_reads_back_as_it_was_written() {
        let topic_id = TopicId(77);
        let records = vec![
            Record::Topic { name: "t".into(), topic_id },
            Record::Partition {
                topic_id,
                partition: 0,
                replicas: vec![1],
                leader: 1,
                leader_epoch: 3,
                partition_epoch: 4,
            },
            Record::Config {
                resource_type: ResourceType::Topic,
                resource_name: "t".into(),
                name: "retention.ms".into(),
                value: Some("5".into()),
            },
            Record::Config {
                resource_type: ResourceType::Broker,
                resource_name: String::new(),
                name: "message.max.bytes".into(),
                value: None,
            },
            Record::ProducerIds { broker_id: 1, next_producer_id: 2000 },
            Record::RemoveTopic { topic_id },
        ];
        let mut bytes = to_batch(&records, 5).unwrap().bytes().to_vec();
        bytes.extend_from_slice(to_batch(&records[..2], 6).unwrap().bytes());
        let read = from_batches(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!(read, [records.clone(), records[..2].to_vec()]);
        bytes.pop();
        assert!(matches!(from_batches(&Bytes::from(bytes)), Err(MetadataError::CutOff)));
    }

    #[test]
    fn a_record_that_a_newer_version_wrote_is_not_passed_over() {
        let change = MetadataRecord::from(PartitionChangeRecord::default());
        let mut builder = BatchBuilder::new(Compression::of(Codec::None));
        builder.push(5, None, Some(&change.encode(VERSION).unwrap()), &[]);
        let read = from_batches(&builder.build());
        assert!(matches!(read, Err(MetadataError::Unsupported(key)) if key == change.api_key()), "{read:?}");
    }
}
