//! Broker keys about topics, logs, produce and fetch. Types, defaults and valid values are those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::{High, Low, Medium};
use crate::config::key::Rule::{Any, AtLeast, Between, BetweenOr, ListOf, OneOf, Ratio};
use crate::config::key::ValueType::{Boolean, Double, Int, List, Long, String};
use crate::config::key::{Key, MAX_ARRAY, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("auto.create.topics.enable", Boolean, Some("true"), Any, High)
        .doc("Whether a topic is created when a client that allows it asks for a name that does not exist."),
    key("compression.gzip.level", Int, Some("-1"), BetweenOr(1, 9, -1), Medium).dynamic()
        .doc("Level for topics that the broker compresses again with gzip, unless the topic says otherwise."),
    key("compression.lz4.level", Int, Some("9"), Between(1, 17), Medium).dynamic()
        .doc("Level for topics that the broker compresses again with lz4, unless the topic says otherwise."),
    key("compression.type", String, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High).dynamic()
        .doc("Codec in which topics without one of their own are stored; producer keeps what was sent."),
    key("compression.zstd.level", Int, Some("3"), Between(-131072, 22), Medium).dynamic()
        .doc("Level for topics that the broker compresses again with zstd, unless the topic says otherwise."),
    key("cordoned.log.dirs", List, Some(""), Any, Medium).dynamic().unused()
        .doc("Log directories that receive no new partitions."),
    key("default.replication.factor", Int, Some("1"), Any, Medium)
        .doc("Replicas of a topic whose creator leaves the number to the broker."),
    key("delete.records.purgatory.purge.interval.requests", Int, Some("1"), Any, Medium).unused()
        .doc("How many finished waits pile up before the list of waiting DeleteRecords is swept."),
    key("delete.topic.enable", Boolean, Some("true"), Any, High)
        .doc("Whether topics may be deleted at all."),
    key("errors.deadletterqueue.auto.create.topics.enable", Boolean, Some("false"), Any, Medium).dynamic().unused()
        .doc("Whether the broker creates a share group's missing dead letter topic."),
    key("errors.deadletterqueue.topic.name.prefix", String, Some("dlq."), Any, Medium).dynamic().unused()
        .doc("Prefix that a dead letter topic's name must have."),
    key("fetch.max.bytes", Int, Some("57671680"), AtLeast(1024), Medium)
        .doc("Most bytes that one fetch response carries, whatever the client asks for."),
    key("fetch.purgatory.purge.interval.requests", Int, Some("1000"), Any, Medium).unused()
        .doc("How many finished waits pile up before the list of waiting fetches is swept."),
    key("log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(0), Medium).dynamic().unused()
        .doc("How long an idle cleaner waits before it looks for work again."),
    key("log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Any, Medium).dynamic().unused()
        .doc("Memory for finding the last record of each key, over all cleaner threads."),
    key("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0), Medium).dynamic()
        .doc("How long delete markers stay readable in compacted topics without a setting of their own."),
    key("log.cleaner.enable", Boolean, Some("true"), Any, Medium).unused()
        .doc("Whether compacted topics are cleaned at all."),
    key("log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Any, Medium).dynamic().unused()
        .doc("How full the cleaner's table of keys may become."),
    key("log.cleaner.io.buffer.size", Int, Some("524288"), AtLeast(0), Medium).dynamic().unused()
        .doc("Memory for the cleaner's reads and writes, over all its threads."),
    key("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"), Any, Medium).dynamic().unused()
        .doc("Ceiling for what the cleaner reads and writes per second."),
    key("log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1), Medium).dynamic()
        .doc("Longest time out of the cleaner's reach, for topics without a setting of their own."),
    key("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Ratio(0.0, 1.0), Medium).dynamic()
        .doc("Uncleaned share that makes a log eligible, for topics without a setting of their own."),
    key("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium).dynamic()
        .doc("Shortest untouched time, for topics without a setting of their own."),
    key("log.cleaner.threads", Int, Some("1"), AtLeast(0), Medium).dynamic().unused()
        .doc("How many threads compact logs."),
    key("log.cleanup.policy", List, Some("delete"), ListOf(&["compact", "delete"]), Medium).dynamic()
        .doc("How old data goes away in topics without a cleanup.policy of their own."),
    key("log.dir", List, None, Any, High)
        .doc("The one folder that holds all partitions; log.dirs goes before it."),
    key("log.dir.failure.timeout.ms", Long, Some("30000"), AtLeast(1), Low).unused()
        .doc("How long a broker may fail to report a broken log directory before it stops."),
    key("log.dirs", List, None, Any, High)
        .doc("The folders that hold the partitions; new partitions go into the first one."),
    key("log.flush.interval.messages", Long, Some("1"), AtLeast(1), High).dynamic()
        .doc("1: acks wait for stable storage (our default); larger: for the finished write only."),
    key("log.flush.interval.ms", Long, None, Any, High).dynamic()
        .doc("Longest time before written records are forced to stable storage; unset follows the scheduler."),
    key("log.flush.offset.checkpoint.interval.ms", Int, Some("60000"), AtLeast(0), High).unused()
        .doc("How often the recovery point is written down."),
    key("log.flush.scheduler.interval.ms", Long, Some("9223372036854775807"), Any, High)
        .doc("How often logs are looked at for a flush that is due."),
    key("log.flush.start.offset.checkpoint.interval.ms", Int, Some("60000"), AtLeast(0), High).unused()
        .doc("How often the first offset of each log is written down."),
    key("log.index.interval.bytes", Int, Some("4096"), AtLeast(0), Medium).dynamic()
        .doc("Bytes of records between two index entries, for topics without a setting of their own."),
    key("log.index.size.max.bytes", Int, Some("10485760"), AtLeast(4), Medium).dynamic()
        .doc("Largest offset index, for topics without a setting of their own."),
    key("log.initial.task.delay.ms", Long, Some("30000"), AtLeast(0), Low).internal().unused()
        .doc("Wait after the start before background work on logs begins."),
    key("log.local.retention.bytes", Long, Some("-2"), AtLeast(-2), Medium).dynamic().unused()
        .doc("Local share of tiered partitions by size, for topics without a setting of their own."),
    key("log.local.retention.ms", Long, Some("-2"), AtLeast(-2), Medium).dynamic().unused()
        .doc("Local share of tiered partitions by age, for topics without a setting of their own."),
    key("log.message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0), Medium).dynamic()
        .doc("How far in the future a timestamp may lie, for topics without a setting of their own."),
    key("log.message.timestamp.before.max.ms", Long, Some("9223372036854775807"), AtLeast(0), Medium).dynamic()
        .doc("How far in the past a timestamp may lie, for topics without a setting of their own."),
    key("log.message.timestamp.type", String, Some("CreateTime"),
        OneOf(&["CreateTime", "LogAppendTime"]), Medium).dynamic()
        .doc("Which timestamp is stored in topics that do not choose one themselves."),
    key("log.preallocate", Boolean, Some("false"), Any, Medium).dynamic().unused()
        .doc("Whether segment files get their full size at once; here they grow in prepared steps anyway."),
    key("log.remote.copy.lag.bytes", Long, Some("-1"), AtLeast(-1), Medium).dynamic().unused()
        .doc("Bytes that may wait before they are copied to remote storage, where the topic does not say."),
    key("log.remote.copy.lag.ms", Long, Some("0"), AtLeast(-1), Medium).dynamic().unused()
        .doc("Time that may pass before data is copied to remote storage, where the topic does not say."),
    key("log.retention.bytes", Long, Some("-1"), Any, High).dynamic()
        .doc("Largest partition size, for topics without retention.bytes; -1 sets no limit."),
    key("log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1), Medium)
        .doc("How often the broker looks for segments that retention lets go."),
    key("log.retention.hours", Int, Some("168"), Any, High)
        .doc("Age of deletion in hours; log.retention.minutes and log.retention.ms go before it."),
    key("log.retention.minutes", Int, None, Any, High)
        .doc("Age of deletion in minutes; log.retention.ms goes before it."),
    key("log.retention.ms", Long, None, Any, High).dynamic()
        .doc("Age of deletion in milliseconds, for topics without retention.ms; -1 keeps everything."),
    key("log.roll.hours", Int, Some("168"), AtLeast(1), High)
        .doc("Age in hours at which a segment is closed; log.roll.ms goes before it."),
    key("log.roll.jitter.hours", Int, Some("0"), AtLeast(0), High)
        .doc("Random part of the roll time in hours; log.roll.jitter.ms goes before it."),
    key("log.roll.jitter.ms", Long, None, Any, High).dynamic()
        .doc("Random part taken off the roll time, for topics without segment.jitter.ms."),
    key("log.roll.ms", Long, None, Any, High).dynamic()
        .doc("Age at which a segment is closed, for topics without segment.ms."),
    key("log.segment.bytes", Int, Some("1073741824"), AtLeast(1048576), High).dynamic()
        .doc("Size of a segment file, for topics without segment.bytes."),
    key("log.segment.delete.delay.ms", Long, Some("60000"), AtLeast(0), High).dynamic()
        .doc("Pause before a retired segment's file is removed, for topics without a setting of their own."),
    key("max.decompressed.message.bytes", Int, Some("2147483639"), Between(1, MAX_ARRAY), Medium).dynamic()
        .doc("Largest decompressed batch, for topics without a setting of their own."),
    key("max.incremental.fetch.session.cache.slots", Int, Some("1000"), AtLeast(0), Medium)
        .doc("How many incremental fetch sessions are remembered."),
    key("max.request.partition.size.limit", Int, Some("2000"), AtLeast(1), Medium)
        .doc("Most partitions that one answer to DescribeTopicPartitions lists."),
    key("message.max.bytes", Int, Some("1048588"), AtLeast(0), High).dynamic()
        .doc("Largest record batch, for topics without max.message.bytes."),
    key("min.insync.replicas", Int, Some("1"), AtLeast(1), High).dynamic()
        .doc("Replicas that must be in sync for acks=all, for topics without a setting of their own."),
    key("num.partitions", Int, Some("1"), AtLeast(1), Medium)
        .doc("Partitions of a topic whose creator leaves the number to the broker."),
    key("num.recovery.threads.per.data.dir", Int, Some("2"), AtLeast(1), High).dynamic().unused()
        .doc("Threads per folder that load logs at start and flush them at stop."),
    key("num.replica.alter.log.dirs.threads", Int, None, Any, High).unused()
        .doc("Threads that move replicas between folders."),
    key("producer.id.expiration.check.interval.ms", Int, Some("600000"), AtLeast(1), Low).internal().unused()
        .doc("How often producer ids without traffic are looked for."),
    key("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Low).dynamic()
        .doc("How long the sequence numbers of a silent producer are remembered."),
    key("producer.purgatory.purge.interval.requests", Int, Some("1000"), Any, Medium).unused()
        .doc("How many finished waits pile up before the list of waiting produce requests is swept."),
];
