//! Topic keys. Types, defaults and valid values are those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::Medium;
use crate::config::key::Rule::{Any, AtLeast, Between, BetweenOr, ListOf, OneOf, Ratio, ThrottledReplicas};
use crate::config::key::ValueType::{Boolean, Double, Int, List, Long, String};
use crate::config::key::{Key, MAX_ARRAY, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("cleanup.policy", List, Some("delete"), ListOf(&["compact", "delete"]), Medium)
        .doc("How old data goes away: delete whole old segments, compact to the last record of each key, or both."),
    key("compression.gzip.level", Int, Some("-1"), BetweenOr(1, 9, -1), Medium)
        .doc("Level used when this topic's records are compressed again with gzip."),
    key("compression.lz4.level", Int, Some("9"), Between(1, 17), Medium)
        .doc("Level used when this topic's records are compressed again with lz4."),
    key("compression.type", String, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium)
        .doc("Codec that the broker stores records in; producer keeps whatever the producer sent."),
    key("compression.zstd.level", Int, Some("3"), Between(-131072, 22), Medium)
        .doc("Level used when this topic's records are compressed again with zstd."),
    key("coretide.compressed.check", String, Some("records"), OneOf(&["records", "header"]), Medium)
        .doc("Of compressed batches every record is checked, as Kafka does, or only checksum and header, which costs no unpacking."),
    key("delete.retention.ms", Long, Some("86400000"), AtLeast(0), Medium)
        .doc("How long a delete marker stays readable in a compacted topic after its first cleaning."),
    key("errors.deadletterqueue.group.enable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Lets share groups use this topic as their dead letter queue."),
    key("file.delete.delay.ms", Long, Some("60000"), AtLeast(0), Medium)
        .doc("Pause between taking a segment out of service and removing its file."),
    key("flush.messages", Long, Some("1"), AtLeast(1), Medium)
        .doc("1: an ack waits for stable storage (our default); larger: an ack waits for the finished write only."),
    key("flush.ms", Long, Some("9223372036854775807"), AtLeast(0), Medium)
        .doc("Longest time that written records may wait before they are forced to stable storage."),
    key("follower.replication.throttled.replicas", List, Some(""), ThrottledReplicas, Medium).unused()
        .doc("Follower replicas whose replication traffic is held below the throttle rate."),
    key("index.interval.bytes", Int, Some("4096"), AtLeast(0), Medium)
        .doc("How many bytes of records lie between two entries of the offset index."),
    key("internal.segment.bytes", Int, None, Any, Medium).internal().unused()
        .doc("Segment size without its lower bound, for tests of Kafka itself."),
    key("leader.replication.throttled.replicas", List, Some(""), ThrottledReplicas, Medium).unused()
        .doc("Leader replicas whose replication traffic is held below the throttle rate."),
    key("local.retention.bytes", Long, Some("-2"), AtLeast(-2), Medium).unused()
        .doc("How much of a tiered partition stays on local disks; -2 follows retention.bytes."),
    key("local.retention.ms", Long, Some("-2"), AtLeast(-2), Medium).unused()
        .doc("How long segments of a tiered partition stay on local disks; -2 follows retention.ms."),
    key("max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1), Medium)
        .doc("Longest time that a record of a compacted topic may stay out of the cleaner's reach."),
    key("max.decompressed.message.bytes", Int, Some("2147483639"), Between(1, MAX_ARRAY), Medium)
        .doc("Largest size that a compressed batch may grow to when it is decompressed."),
    key("max.message.bytes", Int, Some("1048588"), AtLeast(0), Medium)
        .doc("Largest record batch, after compression, that this topic takes."),
    key("message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0), Medium)
        .doc("How far ahead of the broker's clock a record's timestamp may lie."),
    key("message.timestamp.before.max.ms", Long, Some("9223372036854775807"), AtLeast(0), Medium)
        .doc("How far behind the broker's clock a record's timestamp may lie."),
    key("message.timestamp.type", String, Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium)
        .doc("Whether the producer's timestamp is kept or the time of the append replaces it."),
    key("min.cleanable.dirty.ratio", Double, Some("0.5"), Ratio(0.0, 1.0), Medium)
        .doc("Share of a log that must be uncleaned before the compactor takes it up."),
    key("min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium)
        .doc("Shortest time that a record stays untouched by the compactor."),
    key("min.insync.replicas", Int, Some("1"), AtLeast(1), Medium)
        .doc("How many replicas must be in sync for a write with acks=all to be taken."),
    key("preallocate", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether a new segment file gets its full size at once; segments here always grow in prepared steps."),
    key("remote.copy.lag.bytes", Long, Some("-1"), AtLeast(-1), Medium).unused()
        .doc("How many bytes may wait before a closed segment is copied to remote storage."),
    key("remote.copy.lag.ms", Long, Some("0"), AtLeast(-1), Medium).unused()
        .doc("How long a closed segment may wait before it is copied to remote storage."),
    key("remote.log.copy.disable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Stops the copying of a tiered topic to remote storage and leaves the rest readable."),
    key("remote.log.delete.on.disable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether the remote part of a topic is removed once tiering is switched off for it."),
    key("remote.storage.enable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether closed segments of this topic move to remote storage; not offered by this broker."),
    key("retention.bytes", Long, Some("-1"), Any, Medium)
        .doc("Largest size of one partition before its oldest segments are deleted; -1 sets no limit."),
    key("retention.ms", Long, Some("604800000"), AtLeast(-1), Medium)
        .doc("Age at which a segment is deleted; -1 keeps segments for ever."),
    key("segment.bytes", Int, Some("1073741824"), AtLeast(1048576), Medium)
        .doc("Size at which a segment file is closed and a new one begun."),
    key("segment.index.bytes", Int, Some("10485760"), AtLeast(4), Medium)
        .doc("Largest size of a segment's offset index; a full index closes the segment."),
    key("segment.jitter.ms", Long, Some("0"), AtLeast(0), Medium)
        .doc("Largest random time taken off segment.ms so that segments do not all roll at once."),
    key("segment.ms", Long, Some("604800000"), AtLeast(1), Medium)
        .doc("Age at which a segment is closed although it is not full."),
    key("unclean.leader.election.enable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether a replica that lacks acknowledged records may become leader as a last resort."),
];
