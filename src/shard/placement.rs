//! Which shard owns a partition: a function, so that nobody has to be asked.
//! Must never touch: state.

use coretide_model::{ShardId, TopicId, TopicPartition};

/// The topic id of `__cluster_metadata`, as in Kafka (KIP-631).
pub const METADATA_TOPIC_ID: TopicId = TopicId(1);
/// The one partition of `__cluster_metadata`.
pub const METADATA_PARTITION: TopicPartition = TopicPartition { topic_id: METADATA_TOPIC_ID, partition: 0 };
/// Where the controller and the metadata log are.
pub const CONTROLLER_SHARD: ShardId = ShardId(0);

/// The shard that owns a partition when there are `shards` of them. The partitions of one topic go round the shards,
/// from a start that differs from topic to topic.
pub fn owner(tp: TopicPartition, shards: u16) -> ShardId {
    assert!(shards > 0, "somebody owns every partition");
    if tp.topic_id == METADATA_TOPIC_ID {
        return CONTROLLER_SHARD;
    }
    let place = fnv1a64(&tp.topic_id.to_bytes()).wrapping_add(u64::from(tp.partition as u32));
    ShardId((place % u64::from(shards)) as u16)
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_go_round_the_shards_and_metadata_stays_on_the_first() {
        let at = |topic, partition, shards| owner(TopicPartition { topic_id: TopicId(topic), partition }, shards).0;
        for shards in [1, 2, 3, 7] {
            let first = at(77, 0, shards);
            for partition in 0..20 {
                assert_eq!(at(77, partition, shards), (first + partition as u16) % shards);
            }
            assert_eq!(at(1, 0, shards), 0);
        }
        let starts: std::collections::BTreeSet<u16> = (100..140).map(|topic| at(topic, 0, 4)).collect();
        assert_eq!(starts.len(), 4, "topics with one partition spread as well");
    }
}
