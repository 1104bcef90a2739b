//! Broker keys about groups, committed offsets, transactions and share groups. Types, defaults and valid values are
//! those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::{High, Low, Medium};
use crate::config::key::Rule::{Any, AtLeast, Between, ListOf, OneOfIgnoringCase};
use crate::config::key::ValueType::{Boolean, Class, Int, List, Long, Short, String};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100"), AtLeast(0), High).unused()
        .doc("Longest pause between attempts to add a partition to a transaction on the client's behalf."),
    key("add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), AtLeast(1), High).unused()
        .doc("First pause between attempts to add a partition to a transaction on the client's behalf."),
    key("group.consumer.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium).dynamic().unused()
        .doc("Pause between two assignments, for consumer groups without a setting of their own."),
    key("group.consumer.assignor.offload.enable", Boolean, Some("true"), Any, Medium).dynamic().internal().unused()
        .doc("Whether consumer groups' assignments are computed off the coordinator's thread."),
    key("group.consumer.assignors", List, Some("uniform,range"), Any, Medium).unused()
        .doc("Assignment strategies offered to consumer groups, the first one being the default."),
    key("group.consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("Heartbeat interval handed to consumer groups without a setting of their own."),
    key("group.consumer.max.assignment.interval.ms", Int, Some("15000"), AtLeast(0), Medium).unused()
        .doc("Largest assignment interval that a consumer group may set."),
    key("group.consumer.max.heartbeat.interval.ms", Int, Some("15000"), AtLeast(1), Medium).unused()
        .doc("Largest heartbeat interval that a consumer group may set."),
    key("group.consumer.max.session.timeout.ms", Int, Some("60000"), AtLeast(1), Medium).unused()
        .doc("Largest session timeout that a consumer group may set."),
    key("group.consumer.max.size", Int, Some("2147483647"), AtLeast(1), Medium).unused()
        .doc("Most members of one consumer group."),
    key("group.consumer.migration.policy", String, Some("bidirectional"),
        OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), Medium).unused()
        .doc("Which way groups may change between the classic and the consumer protocol."),
    key("group.consumer.min.assignment.interval.ms", Int, Some("0"), AtLeast(0), Medium).unused()
        .doc("Smallest assignment interval that a consumer group may set."),
    key("group.consumer.min.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("Smallest heartbeat interval that a consumer group may set."),
    key("group.consumer.min.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Smallest session timeout that a consumer group may set."),
    key("group.consumer.regex.refresh.interval.ms", Int, Some("600000"), AtLeast(10000), Medium).internal().unused()
        .doc("How often pattern subscriptions are matched against the topics again."),
    key("group.consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Session timeout of consumer groups without a setting of their own."),
    key("group.coordinator.append.linger.ms", Int, Some("-1"), AtLeast(-1), Medium).unused()
        .doc("How long coordinator writes gather before they are appended; here every tick's writes share a commit."),
    key("group.coordinator.background.threads", Int, Some("2"), AtLeast(1), High).unused()
        .doc("Threads for the coordinator's background work."),
    key("group.coordinator.cached.buffer.max.bytes", Int, Some("1048588"), AtLeast(524288), Medium).dynamic().unused()
        .doc("Largest write buffer that the coordinator keeps for the next write."),
    key("group.coordinator.rebalance.protocols", List, Some("classic,consumer,streams"),
        ListOf(&["consumer", "classic", "share", "streams"]), Medium).unused()
        .doc("Group protocols that the broker offers."),
    key("group.coordinator.threads", Int, Some("4"), AtLeast(1), High).unused()
        .doc("Threads that run the coordinator; here it runs where its partition lives."),
    key("group.initial.rebalance.delay.ms", Int, Some("3000"), Any, Medium)
        .doc("How long the first rebalance of an empty classic group waits for more members."),
    key("group.max.session.timeout.ms", Int, Some("1800000"), Any, Medium)
        .doc("Largest session timeout that a member of a classic group may ask for."),
    key("group.max.size", Int, Some("2147483647"), AtLeast(1), Medium)
        .doc("Most members of one classic group."),
    key("group.min.session.timeout.ms", Int, Some("6000"), Any, Medium)
        .doc("Smallest session timeout that a member of a classic group may ask for."),
    key("group.share.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium).dynamic().unused()
        .doc("Pause between two assignments, for share groups without a setting of their own."),
    key("group.share.assignor.offload.enable", Boolean, Some("true"), Any, Medium).dynamic().internal().unused()
        .doc("Whether share groups' assignments are computed off the coordinator's thread."),
    key("group.share.assignors", List, Some("simple"), Any, Medium).unused()
        .doc("Assignment strategies offered to share groups."),
    key("group.share.delivery.count.limit", Int, Some("5"), Between(2, 10), Medium).unused()
        .doc("Deliveries of one record before it counts as failed, where the share group does not say."),
    key("group.share.dlq.manager.class.name", String,
        Some("org.apache.kafka.server.share.dlq.DefaultShareGroupDLQManager"),
        Any, Medium).internal().unused()
        .doc("Java class that runs the dead letter queues of share groups."),
    key("group.share.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("Heartbeat interval handed to share groups without a setting of their own."),
    key("group.share.initialize.retry.interval.ms", Int, Some("30000"), AtLeast(1), Low).internal().unused()
        .doc("Pause between attempts to set up the state of a share group's partitions."),
    key("group.share.max.assignment.interval.ms", Int, Some("15000"), AtLeast(0), Medium).unused()
        .doc("Largest assignment interval that a share group may set."),
    key("group.share.max.delivery.count.limit", Int, Some("10"), Between(5, 25), Medium).unused()
        .doc("Largest delivery limit that a share group may set."),
    key("group.share.max.heartbeat.interval.ms", Int, Some("15000"), AtLeast(1), Medium).unused()
        .doc("Largest heartbeat interval that a share group may set."),
    key("group.share.max.partition.max.record.locks", Int, Some("4000"), Between(2000, 10000), Medium).unused()
        .doc("Largest number of held records per partition that a share group may set."),
    key("group.share.max.record.lock.duration.ms", Int, Some("60000"), Between(30000, 3600000), Medium).unused()
        .doc("Longest record lock that a share group may set."),
    key("group.share.max.session.timeout.ms", Int, Some("60000"), AtLeast(1), Medium).unused()
        .doc("Largest session timeout that a share group may set."),
    key("group.share.max.share.sessions", Int, Some("2000"), AtLeast(1), Medium).unused()
        .doc("Most share sessions that the broker keeps."),
    key("group.share.max.size", Int, Some("200"), Between(1, 1000), Medium).unused()
        .doc("Most members of one share group."),
    key("group.share.min.assignment.interval.ms", Int, Some("0"), AtLeast(0), Medium).unused()
        .doc("Smallest assignment interval that a share group may set."),
    key("group.share.min.delivery.count.limit", Int, Some("2"), Between(2, 5), Medium).unused()
        .doc("Smallest delivery limit that a share group may set."),
    key("group.share.min.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("Smallest heartbeat interval that a share group may set."),
    key("group.share.min.partition.max.record.locks", Int, Some("100"), Between(100, 2000), Medium).unused()
        .doc("Smallest number of held records per partition that a share group may set."),
    key("group.share.min.record.lock.duration.ms", Int, Some("15000"), Between(1000, 30000), Medium).unused()
        .doc("Shortest record lock that a share group may set."),
    key("group.share.min.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Smallest session timeout that a share group may set."),
    key("group.share.partition.max.record.locks", Int, Some("2000"), Between(100, 10000), Medium).unused()
        .doc("Records of one partition that a share group may hold, where it does not say itself."),
    key("group.share.persister.class.name", String,
        Some("org.apache.kafka.server.share.persister.DefaultStatePersister"),
        Any, Medium).internal().unused()
        .doc("Java class that stores the state of share groups."),
    key("group.share.record.lock.duration.ms", Int, Some("30000"), Between(1000, 3600000), Medium).unused()
        .doc("Length of a record lock, for share groups without a setting of their own."),
    key("group.share.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Session timeout of share groups without a setting of their own."),
    key("group.streams.acceptable.recovery.lag", Long, Some("10000"), AtLeast(0), Medium).internal().unused()
        .doc("Lag at which a copy of state counts as caught up, where the streams group does not say."),
    key("group.streams.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium).dynamic().unused()
        .doc("Pause between two assignments, for streams groups without a setting of their own."),
    key("group.streams.assignor.offload.enable", Boolean, Some("true"), Any, Medium).dynamic().internal().unused()
        .doc("Whether streams groups' tasks are computed off the coordinator's thread."),
    key("group.streams.assignors", List, Some("sticky"), Any, Medium).unused()
        .doc("Task strategies offered to streams groups."),
    key("group.streams.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("Heartbeat interval handed to streams groups without a setting of their own."),
    key("group.streams.initial.rebalance.delay.ms", Int, Some("3000"), AtLeast(0), Medium).unused()
        .doc("Wait for more members before a new streams group's first assignment."),
    key("group.streams.max.assignment.interval.ms", Int, Some("15000"), AtLeast(0), Medium).unused()
        .doc("Largest assignment interval that a streams group may set."),
    key("group.streams.max.heartbeat.interval.ms", Int, Some("15000"), AtLeast(1), Medium).unused()
        .doc("Largest heartbeat interval that a streams group may set."),
    key("group.streams.max.session.timeout.ms", Int, Some("60000"), AtLeast(1), Medium).unused()
        .doc("Largest session timeout that a streams group may set."),
    key("group.streams.max.size", Int, Some("2147483647"), AtLeast(1), Medium).unused()
        .doc("Most members of one streams group."),
    key("group.streams.max.standby.replicas", Int, Some("2"), AtLeast(0), Medium).unused()
        .doc("Largest number of spare copies that a streams group may set."),
    key("group.streams.max.warmup.replicas", Int, Some("20"), AtLeast(0), Medium).internal().unused()
        .doc("Largest number of tasks warming up that a streams group may set."),
    key("group.streams.min.assignment.interval.ms", Int, Some("0"), AtLeast(0), Medium).unused()
        .doc("Smallest assignment interval that a streams group may set."),
    key("group.streams.min.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium).unused()
        .doc("Smallest heartbeat interval that a streams group may set."),
    key("group.streams.min.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Smallest session timeout that a streams group may set."),
    key("group.streams.min.task.offset.interval.ms", Int, Some("15000"), AtLeast(1), Medium).internal().unused()
        .doc("Smallest report interval of task offsets that a streams group may set."),
    key("group.streams.num.standby.replicas", Int, Some("0"), AtLeast(0), Medium).unused()
        .doc("Spare copies of stateful tasks, for streams groups without a setting of their own."),
    key("group.streams.num.warmup.replicas", Int, Some("2"), AtLeast(0), Medium).internal().unused()
        .doc("Tasks warming up at one time, for streams groups without a setting of their own."),
    key("group.streams.rack.aware.assignment.tags", List, Some(""), Any, Low).unused()
        .doc("Tags that spread spare copies, for streams groups without a setting of their own."),
    key("group.streams.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium).unused()
        .doc("Session timeout of streams groups without a setting of their own."),
    key("group.streams.task.offset.interval.ms", Int, Some("60000"), AtLeast(1), Medium).internal().unused()
        .doc("Report interval of task offsets, for streams groups without a setting of their own."),
    key("group.streams.topology.description.plugin.class", Class, None, Any, Medium).unused()
        .doc("Java class that keeps the descriptions of streams topologies."),
    key("offset.metadata.max.bytes", Int, Some("4096"), Any, High)
        .doc("Longest note that a client may store with a committed offset."),
    key("offsets.commit.timeout.ms", Int, Some("5000"), AtLeast(1), High).unused()
        .doc("How long an offset commit may wait for its replicas."),
    key("offsets.load.buffer.size", Int, Some("5242880"), AtLeast(1), High).unused()
        .doc("Bytes read at a time when committed offsets are loaded into memory."),
    key("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1), High)
        .doc("How often expired committed offsets are looked for."),
    key("offsets.retention.minutes", Int, Some("10080"), AtLeast(1), High)
        .doc("How long offsets of an empty group are kept."),
    key("offsets.topic.compression.codec", Int, Some("0"), Any, High).unused()
        .doc("Number of the codec that committed offsets are stored with."),
    key("offsets.topic.num.partitions", Int, Some("50"), AtLeast(1), High)
        .doc("Partitions of the topic that holds committed offsets; fixed once it exists."),
    key("offsets.topic.replication.factor", Short, Some("3"), AtLeast(1), High)
        .doc("Wanted replicas of the committed-offsets topic; limited to the brokers there are."),
    key("offsets.topic.segment.bytes", Int, Some("104857600"), AtLeast(1), High)
        .doc("Segment size of the topic that holds committed offsets."),
    key("share.coordinator.append.linger.ms", Int, Some("-1"), AtLeast(-1), Medium).unused()
        .doc("How long share-state writes gather before they are appended."),
    key("share.coordinator.cached.buffer.max.bytes", Int, Some("1048588"), AtLeast(524288), Medium).dynamic().unused()
        .doc("Largest write buffer that the share coordinator keeps for the next write."),
    key("share.coordinator.cold.partition.snapshot.interval.ms", Int, Some("300000"),
        AtLeast(1), Low).internal().unused()
        .doc("How often quiet partitions of share state are written out whole."),
    key("share.coordinator.load.buffer.size", Int, Some("5242880"), AtLeast(1), High).unused()
        .doc("Bytes read at a time when share state is loaded into memory."),
    key("share.coordinator.snapshot.update.records.per.snapshot", Int, Some("500"), Between(0, 500), Medium).unused()
        .doc("Small updates between two full writes of a partition's share state."),
    key("share.coordinator.state.topic.compression.codec", Int, Some("0"), Any, High).unused()
        .doc("Number of the codec that share state is stored with."),
    key("share.coordinator.state.topic.min.isr", Short, Some("2"), AtLeast(1), High).unused()
        .doc("Replicas that must be in sync for writes of share state."),
    key("share.coordinator.state.topic.num.partitions", Int, Some("50"), AtLeast(1), High).unused()
        .doc("Partitions of the topic that holds share state."),
    key("share.coordinator.state.topic.prune.interval.ms", Int, Some("300000"), AtLeast(1), Low).internal().unused()
        .doc("How often outdated share state is cut off."),
    key("share.coordinator.state.topic.replication.factor", Short, Some("3"), AtLeast(1), High).unused()
        .doc("Replicas of the topic that holds share state."),
    key("share.coordinator.state.topic.segment.bytes", Int, Some("104857600"), AtLeast(1), High).unused()
        .doc("Segment size of the topic that holds share state."),
    key("share.coordinator.threads", Int, Some("1"), AtLeast(1), Medium).unused()
        .doc("Threads that run the share coordinator."),
    key("share.coordinator.write.timeout.ms", Int, Some("5000"), AtLeast(1), High).unused()
        .doc("How long a write of share state may wait for its replicas."),
    key("share.fetch.purgatory.purge.interval.requests", Int, Some("1000"), Any, Medium).unused()
        .doc("How many finished waits pile up before the list of waiting share fetches is swept."),
    key("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), AtLeast(1), Low).unused()
        .doc("How often transactions past their timeout are looked for."),
    key("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), High).unused()
        .doc("Longest transaction timeout that a producer may ask for."),
    key("transaction.partition.verification.enable", Boolean, Some("true"), Any, Low).dynamic().unused()
        .doc("Whether a partition checks with the coordinator that a transaction is really open."),
    key("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), AtLeast(1), Low).unused()
        .doc("How often expired transactional ids are looked for."),
    key("transaction.state.log.load.buffer.size", Int, Some("5242880"), AtLeast(1), High).unused()
        .doc("Bytes read at a time when transaction state is loaded into memory."),
    key("transaction.state.log.min.isr", Int, Some("2"), AtLeast(1), High).unused()
        .doc("Replicas that must be in sync for writes of transaction state."),
    key("transaction.state.log.num.partitions", Int, Some("50"), AtLeast(1), High).unused()
        .doc("Partitions of the topic that holds transaction state."),
    key("transaction.state.log.replication.factor", Short, Some("3"), AtLeast(1), High).unused()
        .doc("Replicas of the topic that holds transaction state."),
    key("transaction.state.log.segment.bytes", Int, Some("104857600"), AtLeast(1), High).unused()
        .doc("Segment size of the topic that holds transaction state."),
    key("transaction.two.phase.commit.enable", Boolean, Some("false"), Any, Low).unused()
        .doc("Whether producers may leave a prepared transaction open for an outside coordinator."),
    key("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), High).unused()
        .doc("How long an unused transactional id is remembered."),
];
