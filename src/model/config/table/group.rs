//! Group keys. Types, defaults and valid values are those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::{Low, Medium};
use crate::config::key::Rule::{Any, AtLeast, OffsetReset, OneOf};
use crate::config::key::ValueType::{Boolean, Int, List, Long, String};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("consumer.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium).unused()
        .doc("Pause that the coordinator leaves between two computations of a consumer group's assignment."),
    key("consumer.assignor.offload.enable", Boolean, Some("true"), Any, Medium).internal().unused()
        .doc("Whether a consumer group's assignment is computed off the coordinator's own thread."),
    key("consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("How often members of this consumer group are told to send heartbeats."),
    key("consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Silence after which a member of this consumer group is taken for dead."),
    key("errors.deadletterqueue.copy.record.enable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether a dead letter carries the whole record or only where it was."),
    key("errors.deadletterqueue.topic.name", String, Some(""), Any, Medium).unused()
        .doc("Topic that takes the records which this share group gave up on."),
    key("share.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium).unused()
        .doc("Pause that the coordinator leaves between two computations of a share group's assignment."),
    key("share.assignor.offload.enable", Boolean, Some("true"), Any, Medium).internal().unused()
        .doc("Whether a share group's assignment is computed off the coordinator's own thread."),
    key("share.auto.offset.reset", String, Some("latest"), OffsetReset, Medium).unused()
        .doc("Where a share group starts when it has no position yet."),
    key("share.delivery.count.limit", Int, Some("5"), AtLeast(2), Medium).unused()
        .doc("How often one record is handed out in this share group before it counts as failed."),
    key("share.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("How often members of this share group are told to send heartbeats."),
    key("share.isolation.level", String, Some("read_uncommitted"),
        OneOf(&["read_committed", "read_uncommitted"]), Medium).unused()
        .doc("Whether this share group sees records of open and aborted transactions."),
    key("share.partition.max.record.locks", Int, Some("2000"), AtLeast(100), Medium).unused()
        .doc("How many records of one partition this share group may hold at the same time."),
    key("share.record.lock.duration.ms", Int, Some("30000"), AtLeast(1000), Medium).unused()
        .doc("How long one acquired record stays reserved for its consumer."),
    key("share.renew.acknowledge.enable", Boolean, Some("true"), Any, Medium).unused()
        .doc("Whether members of this share group may prolong the lock of a record."),
    key("share.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Silence after which a member of this share group is taken for dead."),
    key("streams.acceptable.recovery.lag", Long, Some("10000"), AtLeast(0), Medium).internal().unused()
        .doc("How far a copy of state may lag and still count as caught up."),
    key("streams.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium).unused()
        .doc("Pause that the coordinator leaves between two computations of a streams group's tasks."),
    key("streams.assignor.name", String, None, Any, Medium).unused()
        .doc("Strategy that spreads this streams group's tasks over its members."),
    key("streams.assignor.offload.enable", Boolean, Some("true"), Any, Medium).internal().unused()
        .doc("Whether a streams group's tasks are computed off the coordinator's own thread."),
    key("streams.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("How often members of this streams group are told to send heartbeats."),
    key("streams.initial.rebalance.delay.ms", Int, Some("3000"), AtLeast(0), Medium).unused()
        .doc("How long the first assignment of a new streams group waits for more members."),
    key("streams.num.standby.replicas", Int, Some("0"), AtLeast(0), Medium).unused()
        .doc("How many spare copies of each stateful task this streams group keeps."),
    key("streams.num.warmup.replicas", Int, Some("2"), AtLeast(0), Medium).internal().unused()
        .doc("How many tasks of this streams group may warm up elsewhere at one time."),
    key("streams.rack.aware.assignment.tags", List, Some(""), Any, Low).unused()
        .doc("Client tags over which spare copies of tasks are spread."),
    key("streams.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Silence after which a member of this streams group is taken for dead."),
    key("streams.task.offset.interval.ms", Int, Some("60000"), AtLeast(1), Medium).internal().unused()
        .doc("How often members of this streams group report how far their tasks have come."),
];
