//! Broker keys about the cluster: controller, replication, tiering, metrics. Types, defaults and valid values are
//! those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::{High, Low, Medium};
use crate::config::key::Rule::{Any, AtLeast, ListOf, NonEmpty, Ratio};
use crate::config::key::ValueType::{Boolean, Class, Double, Int, List, Long, String};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("alter.config.policy.class.name", Class, None, Any, Low).unused()
        .doc("Java class that may veto changes of configuration."),
    key("alter.log.dirs.replication.quota.window.num", Int, Some("11"), AtLeast(1), Low).unused()
        .doc("Windows kept for the throttle of moves between folders."),
    key("alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low).unused()
        .doc("Length of a window for the throttle of moves between folders."),
    key("auto.leader.rebalance.enable", Boolean, Some("true"), Any, High).unused()
        .doc("Whether leadership is moved back to preferred replicas from time to time."),
    key("broker.heartbeat.interval.ms", Int, Some("2000"), Any, Medium).unused()
        .doc("How often a broker reports to the controller."),
    key("broker.id", Int, Some("-1"), Any, High)
        .doc("Older name of node.id; used when node.id is not given."),
    key("broker.rack", String, None, Any, Medium)
        .doc("Rack that this broker says it stands in."),
    key("broker.session.timeout.ms", Int, Some("9000"), Any, Medium).unused()
        .doc("Silence after which the controller takes a broker for dead."),
    key("config.providers", List, Some(""), Any, Low).dynamic().unused()
        .doc("Java classes that fetch configuration values from elsewhere; never followed here."),
    key("controlled.shutdown.enable", Boolean, Some("true"), Any, Medium).unused()
        .doc("Whether leaders are moved away before a broker stops."),
    key("controller.listener.names", List, Some("CONTROLLER"), Any, High)
        .doc("Listeners that belong to the controller; not opened here, since it lives inside the broker."),
    key("controller.performance.always.log.threshold.ms", Long, Some("2000"), AtLeast(0), Medium).internal().unused()
        .doc("Duration from which a controller event is always logged as slow."),
    key("controller.performance.sample.period.ms", Long, Some("60000"), AtLeast(100), Medium).internal().unused()
        .doc("How often the controller logs its slowest event."),
    key("controller.quorum.append.linger.ms", Int, Some("25"), AtLeast(0), Medium).unused()
        .doc("How long the controller gathers records before it writes them."),
    key("controller.quorum.auto.join.enable", Boolean, Some("false"), Any, Low).unused()
        .doc("Whether a new controller joins the quorum by itself."),
    key("controller.quorum.bootstrap.servers", List, Some(""), Any, High).unused()
        .doc("Addresses at which the controller quorum is found."),
    key("controller.quorum.election.backoff.max.ms", Int, Some("1000"), AtLeast(0), High).unused()
        .doc("Longest random pause before a new election."),
    key("controller.quorum.election.timeout.ms", Int, Some("1000"), AtLeast(0), High).unused()
        .doc("Longest wait for votes before a new election."),
    key("controller.quorum.fetch.max.bytes", Int, Some("1048576"), AtLeast(1), Low).unused()
        .doc("Most bytes that a voter fetches of the metadata log at a time."),
    key("controller.quorum.fetch.snapshot.max.bytes", Int, Some("1048576"), AtLeast(1), Low).unused()
        .doc("Most bytes that a voter fetches of a metadata snapshot at a time."),
    key("controller.quorum.fetch.timeout.ms", Int, Some("2000"), AtLeast(0), High).unused()
        .doc("Silence of the leader after which a voter calls an election."),
    key("controller.quorum.request.timeout.ms", Int, Some("2000"), AtLeast(0), Medium).unused()
        .doc("Longest wait for an answer between quorum members."),
    key("controller.quorum.retry.backoff.ms", Int, Some("20"), AtLeast(0), Low).unused()
        .doc("Pause before a failed quorum request is tried again."),
    key("controller.quorum.voters", List, Some(""), Any, High).unused()
        .doc("Members of the controller quorum, as id@host:port."),
    key("controller.quota.window.num", Int, Some("11"), AtLeast(1), Low).unused()
        .doc("Windows kept for quotas on metadata changes."),
    key("controller.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low).unused()
        .doc("Length of a window for quotas on metadata changes."),
    key("controller.socket.timeout.ms", Int, Some("30000"), Any, Medium).unused()
        .doc("Socket timeout between controller and brokers."),
    key("create.topic.policy.class.name", Class, None, Any, Low).unused()
        .doc("Java class that may veto new topics."),
    key("follower.fetch.last.tiered.offset.enable", Boolean, Some("false"), Any, Medium).dynamic().unused()
        .doc("Whether a new follower starts at the last tiered offset instead of the first local one."),
    key("initial.broker.registration.timeout.ms", Int, Some("60000"), Any, Medium).unused()
        .doc("How long a starting broker tries to register before it gives up."),
    key("inter.broker.listener.name", String, None, Any, Medium).unused()
        .doc("Listener that brokers use among themselves."),
    key("internal.metadata.delete.delay.millis", Long, Some("60000"), Any, Low).internal().unused()
        .doc("Pause before an old metadata segment is removed."),
    key("internal.metadata.log.segment.bytes", Int, None, Any, Low).internal().unused()
        .doc("Segment size of the metadata log, for tests of Kafka itself."),
    key("internal.metadata.max.batch.size.in.bytes", Int, Some("8388608"), Any, Low).internal().unused()
        .doc("Largest batch of the metadata log."),
    key("kafka.metrics.polling.interval.secs", Int, Some("10"), AtLeast(1), Low).unused()
        .doc("How often Kafka's own metrics reporters are called."),
    key("kafka.metrics.reporters", List, Some(""), Any, Low).unused()
        .doc("Java classes that report Kafka's older metrics."),
    key("leader.imbalance.check.interval.seconds", Long, Some("300"), AtLeast(1), High).unused()
        .doc("How often the spread of leaders is looked at."),
    key("metadata.log.dir", String, None, Any, High).unused()
        .doc("Folder of the metadata log; here it lives in the first log directory."),
    key("metadata.log.max.record.bytes.between.snapshots", Long, Some("20971520"), AtLeast(1), High).unused()
        .doc("Bytes of new metadata after which a snapshot is taken."),
    key("metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), AtLeast(0), High).unused()
        .doc("Longest time between two metadata snapshots."),
    key("metadata.log.segment.bytes", Int, Some("1073741824"), AtLeast(8388608), High).unused()
        .doc("Segment size of the metadata log."),
    key("metadata.log.segment.ms", Long, Some("604800000"), Any, High).unused()
        .doc("Age at which a metadata segment is closed."),
    key("metadata.max.idle.interval.ms", Int, Some("500"), AtLeast(0), Low).unused()
        .doc("How often an idle controller writes an empty record."),
    key("metadata.max.retention.bytes", Long, Some("104857600"), Any, High).unused()
        .doc("Size of metadata log and snapshots before old ones are removed."),
    key("metadata.max.retention.ms", Long, Some("604800000"), Any, High).unused()
        .doc("Age at which metadata segments and snapshots are removed."),
    key("metric.reporters", List, Some("org.apache.kafka.common.metrics.JmxReporter"), Any, Low).dynamic().unused()
        .doc("Java classes that report metrics."),
    key("metrics.num.samples", Int, Some("2"), AtLeast(1), Low).unused()
        .doc("Samples that a metric is computed from."),
    key("metrics.recording.level", String, Some("INFO"), Any, Low).unused()
        .doc("How detailed the recorded metrics are."),
    key("metrics.sample.window.ms", Long, Some("30000"), AtLeast(1), Low).unused()
        .doc("Length of one sample of a metric."),
    key("node.id", Int, Some("1"), AtLeast(0), High)
        .doc("Number of this node in the cluster."),
    key("num.replica.fetchers", Int, Some("1"), AtLeast(1), High).dynamic().unused()
        .doc("Threads that copy records from each other broker."),
    key("process.roles", List, Some("broker,controller"), ListOf(&["broker", "controller"]), High).unused()
        .doc("Whether this process is broker, controller or both; here it is always both."),
    key("remote.fetch.max.wait.ms", Int, Some("500"), AtLeast(1), Medium).dynamic().unused()
        .doc("Longest wait for remote storage in one fetch."),
    key("remote.list.offsets.request.timeout.ms", Long, Some("30000"), AtLeast(1), Medium).dynamic().unused()
        .doc("Longest wait for remote storage when offsets are listed."),
    key("remote.log.index.file.cache.total.size.bytes", Long, Some("1073741824"), AtLeast(1), Low).dynamic().unused()
        .doc("Disk space for cached indexes of remote segments."),
    key("remote.log.index.file.cache.ttl.ms", Long, Some("900000"), AtLeast(-1), Low).internal().unused()
        .doc("How long a cached index of a remote segment is kept."),
    key("remote.log.manager.copier.thread.pool.size", Int, Some("10"), AtLeast(1), Medium).dynamic().unused()
        .doc("Threads that copy segments to remote storage."),
    key("remote.log.manager.copy.max.bytes.per.second", Long, Some("9223372036854775807"),
        AtLeast(1), Medium).dynamic().unused()
        .doc("Ceiling for copying to remote storage."),
    key("remote.log.manager.copy.quota.window.num", Int, Some("11"), AtLeast(1), Medium).unused()
        .doc("Windows kept for the copy ceiling."),
    key("remote.log.manager.copy.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Medium).unused()
        .doc("Length of a window for the copy ceiling."),
    key("remote.log.manager.expiration.thread.pool.size", Int, Some("10"), AtLeast(1), Medium).dynamic().unused()
        .doc("Threads that remove expired remote segments."),
    key("remote.log.manager.fetch.max.bytes.per.second", Long, Some("9223372036854775807"),
        AtLeast(1), Medium).dynamic().unused()
        .doc("Ceiling for reading from remote storage."),
    key("remote.log.manager.fetch.quota.window.num", Int, Some("11"), AtLeast(1), Medium).unused()
        .doc("Windows kept for the read ceiling."),
    key("remote.log.manager.fetch.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Medium).unused()
        .doc("Length of a window for the read ceiling."),
    key("remote.log.manager.follower.thread.pool.size", Int, Some("2"), AtLeast(1), Medium).dynamic().unused()
        .doc("Threads that follow remote storage on followers."),
    key("remote.log.manager.task.interval.ms", Long, Some("30000"), AtLeast(1), Low).unused()
        .doc("How often tiering looks for work."),
    key("remote.log.manager.task.retry.backoff.max.ms", Long, Some("30000"), AtLeast(1), Low).internal().unused()
        .doc("Longest pause before a failed tiering task is tried again."),
    key("remote.log.manager.task.retry.backoff.ms", Long, Some("500"), AtLeast(1), Low).internal().unused()
        .doc("First pause before a failed tiering task is tried again."),
    key("remote.log.manager.task.retry.jitter", Double, Some("0.2"), Ratio(0.0, 0.5), Low).internal().unused()
        .doc("Random share of the pause before a tiering task is tried again."),
    key("remote.log.manager.thread.pool.size", Int, Some("2"), AtLeast(1), Medium).unused()
        .doc("Threads that schedule tiering."),
    key("remote.log.metadata.custom.metadata.max.bytes", Int, Some("128"), AtLeast(0), Low).unused()
        .doc("Largest custom metadata that a storage plug-in may attach to a segment."),
    key("remote.log.metadata.manager.class.name", String,
        Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"),
        NonEmpty, Medium).unused()
        .doc("Java class that keeps the metadata of remote segments."),
    key("remote.log.metadata.manager.class.path", String, None, Any, Medium).unused()
        .doc("Where the class for remote metadata is loaded from."),
    key("remote.log.metadata.manager.impl.prefix", String, Some("rlmm.config."), NonEmpty, Medium).unused()
        .doc("Prefix of the keys passed to the class for remote metadata."),
    key("remote.log.metadata.manager.listener.name", String, None, NonEmpty, Medium).unused()
        .doc("Listener that the class for remote metadata connects to."),
    key("remote.log.reader.max.pending.tasks", Int, Some("100"), AtLeast(1), Medium).unused()
        .doc("Reads from remote storage that may wait."),
    key("remote.log.reader.threads", Int, Some("10"), AtLeast(1), Medium).dynamic().unused()
        .doc("Threads that read from remote storage."),
    key("remote.log.storage.manager.class.name", String, None, NonEmpty, Medium).unused()
        .doc("Java class that moves segments to and from remote storage."),
    key("remote.log.storage.manager.class.path", String, None, Any, Medium).unused()
        .doc("Where the class for remote storage is loaded from."),
    key("remote.log.storage.manager.impl.prefix", String, Some("rsm.config."), NonEmpty, Medium).unused()
        .doc("Prefix of the keys passed to the class for remote storage."),
    key("remote.log.storage.system.enable", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether this broker tiers at all."),
    key("replica.fetch.backoff.ms", Int, Some("1000"), AtLeast(0), Medium).unused()
        .doc("Pause of a follower after a failed fetch."),
    key("replica.fetch.max.bytes", Int, Some("1048576"), AtLeast(0), Medium).unused()
        .doc("Bytes of one partition that a follower asks for."),
    key("replica.fetch.min.bytes", Int, Some("1"), Any, High).unused()
        .doc("Bytes that a leader gathers before it answers a follower."),
    key("replica.fetch.response.max.bytes", Int, Some("10485760"), AtLeast(0), Medium).unused()
        .doc("Bytes that one answer to a follower may have."),
    key("replica.fetch.wait.max.ms", Int, Some("500"), Any, High).unused()
        .doc("Longest wait of a follower's fetch."),
    key("replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"), Any, High).unused()
        .doc("How often high watermarks are written down."),
    key("replica.lag.time.max.ms", Long, Some("30000"), Any, High).unused()
        .doc("Lag after which a follower leaves the set of in-sync replicas."),
    key("replica.selector.class", String, None, Any, Medium).unused()
        .doc("Java class that picks the replica a consumer should read from."),
    key("replica.socket.receive.buffer.bytes", Int, Some("65536"), Any, High).unused()
        .doc("Receive buffer of a follower's socket."),
    key("replica.socket.timeout.ms", Int, Some("30000"), Any, High).unused()
        .doc("Socket timeout of a follower."),
    key("replication.quota.window.num", Int, Some("11"), AtLeast(1), Low).unused()
        .doc("Windows kept for replication throttles."),
    key("replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low).unused()
        .doc("Length of a window for replication throttles."),
    key("server.max.startup.time.ms", Long, Some("9223372036854775807"), AtLeast(0), Medium).internal().unused()
        .doc("Longest time that the start of the broker may take."),
    key("unclean.leader.election.enable", Boolean, Some("false"), Any, High).dynamic().unused()
        .doc("Whether leaders without all acknowledged records may be elected, where the topic does not say."),
    key("unclean.leader.election.interval.ms", Long, Some("300000"), AtLeast(1), Medium).internal().unused()
        .doc("How often partitions without a leader are looked at for an unclean election."),
    key("unstable.api.versions.enable", Boolean, Some("false"), Any, High).internal().unused()
        .doc("Whether unfinished versions of APIs are offered."),
    key("unstable.feature.versions.enable", Boolean, Some("false"), Any, High).internal().unused()
        .doc("Whether unfinished levels of features may be used."),
];
