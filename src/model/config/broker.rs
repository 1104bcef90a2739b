//! The broker's settings: given values out of file, command line and environment, checked and turned into typed fields
//! once, so that nothing else has to look texts up.
//! Must not touch: files, the environment itself, sockets.

use super::describe::{self, Described};
use super::error::ConfigError;
use super::key::{Key, Scope, Value, split_list};
use super::layers::{ConfigMap, Layers, broker_synonyms};
use super::listener::{Listener, Texts, listeners};
use super::{check, lookup, table, topic};
use crate::topic_config::TopicConfig;

/// Prefix of the environment variables that are read.
pub const ENV_PREFIX: &str = "CORETIDE_";

/// Variables with the prefix that belong to the command line's other commands.
const NOT_KEYS: [&str; 1] = ["BOOTSTRAP"];

/// Keys that belong to one listener or to a plug-in; Kafka takes any name after these.
const FOREIGN_PREFIXES: [&str; 4] = ["listener.name.", "config.providers.", "rsm.config.", "rlmm.config."];

/// Where a given value came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the properties file.
    File { line: usize },
    /// `--override` or one of the short flags.
    CommandLine,
    /// An environment variable.
    Environment,
}

/// Something that the user should know and that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A key of Kafka's that nothing here reads.
    NoMeaning { key: String },
    /// A key is given twice; the later value holds.
    GivenTwice { key: String },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::NoMeaning { key } => write!(f, "{key} is accepted, but has no meaning in this broker"),
            Note::GivenTwice { key } => write!(f, "{key} is given more than once; the last value is used"),
        }
    }
}

/// Sockets and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    pub socket_request_max_bytes: usize,
    /// None: the system's, which grows with what the connection needs.
    pub socket_send_buffer_bytes: Option<i32>,
    /// None: the system's.
    pub socket_receive_buffer_bytes: Option<i32>,
    pub socket_listen_backlog_size: i32,
    /// Negative: never.
    pub connections_max_idle_ms: i64,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`, by address.
    pub max_connections_per_ip_overrides: Vec<(String, usize)>,
    /// None: only the memory budget limits.
    pub queued_max_request_bytes: Option<u64>,
    pub fetch_max_bytes: i32,
    pub max_incremental_fetch_session_cache_slots: usize,
    pub max_request_partition_size_limit: i32,
}

/// Topics that are created without saying everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCreationConfig {
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    /// `coretide.max.topics`.
    pub max_topics: usize,
    /// `coretide.max.partitions`.
    pub max_partitions: usize,
}

/// Classic groups and committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_size: usize,
    pub offset_metadata_max_bytes: usize,
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_interval_ms: i64,
    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: i32,
}

/// What a fetch of data that is no longer in memory does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdFetch {
    Auto,
    Splice,
    Direct,
}

/// Our own keys (`coretide.*`) that shape the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// 0: one per core.
    pub shards: u16,
    pub pin_cores: bool,
    pub poll_idle_us: u64,
    pub fetch_cold_mode: ColdFetch,
    pub journal_file_bytes: u64,
    pub journal_files_max: u32,
    pub direct_from_bytes: usize,
    pub destage_from_bytes: usize,
    pub shard_cache_bytes: usize,
    pub shard_memory_bytes: usize,
    /// None: by the size of the volume.
    pub disk_reserve_bytes: Option<u64>,
    pub disk_check_interval_ms: u64,
}

/// Everything that is configured about this broker.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    pub node_id: i32,
    pub rack: Option<String>,
    /// Where clients connect; never empty.
    pub listeners: Vec<Listener>,
    /// Folders of the partitions; never empty.
    pub log_dirs: Vec<String>,
    pub log_retention_check_interval_ms: i64,
    pub producer_id_expiration_ms: i64,
    pub network: NetworkConfig,
    pub topics: TopicCreationConfig,
    pub groups: GroupConfig,
    pub engine: EngineConfig,
    statics: ConfigMap,
    dynamic_default: ConfigMap,
    dynamic_broker: ConfigMap,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::build(ConfigMap::new(), ConfigMap::new(), ConfigMap::new()).expect("the defaults are valid")
    }
}

impl BrokerConfig {
    /// The settings out of everything that was given, in order; later values win. All complaints are returned at once.
    pub fn from_given(given: &[(String, String, Origin)]) -> Result<(BrokerConfig, Vec<Note>), Vec<ConfigError>> {
        let (mut statics, mut notes, mut errors) = (ConfigMap::new(), Vec::new(), Vec::new());
        let mut origins: std::collections::BTreeMap<&str, &Origin> = std::collections::BTreeMap::new();
        for (name, value, origin) in given {
            if FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                notes.push(Note::NoMeaning { key: name.clone() });
                continue;
            }
            match check(Scope::Broker, name, value) {
                Ok((key, value)) => {
                    let before = origins.insert(key.name, origin);
                    // An override of the file is what overrides are for; twice in the same place is a slip.
                    if matches!((before, origin), (Some(Origin::File { .. }), Origin::File { .. })) {
                        notes.push(Note::GivenTwice { key: name.clone() });
                    }
                    if key.unused && before.is_none() {
                        notes.push(Note::NoMeaning { key: name.clone() });
                    }
                    statics.insert(name.clone(), value);
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        match BrokerConfig::build(statics, ConfigMap::new(), ConfigMap::new()) {
            Ok(config) => Ok((config, notes)),
            Err(error) => Err(vec![error]),
        }
    }

    /// The same static values under other dynamic ones.
    pub fn with_dynamic(&self, default: ConfigMap, broker: ConfigMap) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::build(self.statics.clone(), default, broker)
    }

    /// The three layers of given values.
    pub fn layers(&self) -> Layers<'_> {
        Layers { dynamic_broker: &self.dynamic_broker, dynamic_default: &self.dynamic_default, statics: &self.statics }
    }

    /// The effective settings of a topic with these overrides.
    pub fn topic(&self, overrides: &ConfigMap) -> TopicConfig {
        topic::resolve(overrides, &self.layers())
    }

    /// All public keys of this broker.
    pub fn describe(&self) -> Vec<Described> {
        describe::broker(&self.layers())
    }

    /// The effective value of one broker key in its stored form.
    pub fn value(&self, name: &str) -> Option<String> {
        let key = table::find(Scope::Broker, name)?;
        self.layers().value(&broker_synonyms(key.name)[..1]).map(|(value, _)| value).filter(|_| !key.is_sensitive())
    }

    fn build(
        statics: ConfigMap,
        dynamic_default: ConfigMap,
        dynamic_broker: ConfigMap,
    ) -> Result<BrokerConfig, ConfigError> {
        let layers = Layers { dynamic_broker: &dynamic_broker, dynamic_default: &dynamic_default, statics: &statics };
        topic::check_together(&ConfigMap::new(), &layers)?;
        let read = Reader { layers };
        let built = BrokerConfig {
            node_id: read.node_id(),
            rack: read.text("broker.rack"),
            listeners: read.listeners()?,
            log_dirs: read.log_dirs()?,
            log_retention_check_interval_ms: read.number("log.retention.check.interval.ms"),
            producer_id_expiration_ms: read.number("producer.id.expiration.ms"),
            network: read.network()?,
            topics: read.topics(),
            groups: read.groups()?,
            engine: read.engine(),
            statics: ConfigMap::new(),
            dynamic_default: ConfigMap::new(),
            dynamic_broker: ConfigMap::new(),
        };
        Ok(BrokerConfig { statics, dynamic_default, dynamic_broker, ..built })
    }
}

/// Reads checked values by name; a name that is not in the table or a value that does not fit is a defect of ours.
struct Reader<'a> {
    layers: Layers<'a>,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> &'static Key {
        table::find(Scope::Broker, name).expect("the typed settings name keys of the table")
    }

    fn text(&self, name: &str) -> Option<String> {
        let key = self.key(name);
        self.layers.value(&broker_synonyms(key.name)[..1]).map(|(value, _)| value)
    }

    fn value(&self, name: &str) -> Value {
        let text = self.text(name).expect("the keys read here have defaults");
        self.key(name).parse(&text).expect("stored values have been checked")
    }

    fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Whole(number) => number,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    fn small(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).expect("INT keys hold 32 bits")
    }

    /// Counts and sizes: whatever is below zero counts as zero.
    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name).max(0)).expect("not negative")
    }

    fn flag(&self, name: &str) -> bool {
        self.value(name) == Value::Boolean(true)
    }

    fn is_given(&self, name: &str) -> bool {
        let layers = &self.layers;
        [layers.statics, layers.dynamic_default, layers.dynamic_broker].iter().any(|map| map.contains_key(name))
    }

    fn node_id(&self) -> i32 {
        let older = self.small("broker.id");
        if !self.is_given("node.id") && older >= 0 { older } else { self.small("node.id") }
    }

    fn listeners(&self) -> Result<Vec<Listener>, ConfigError> {
        let text = |name| self.text(name).unwrap_or_default();
        // Kafka maps the controller's listener to PLAINTEXT unless the map says otherwise; it is never opened here.
        listeners(&Texts {
            listeners: &text("listeners"),
            advertised: self.text("advertised.listeners").as_deref(),
            protocols: &text("listener.security.protocol.map"),
            controller_names: &text("controller.listener.names").to_ascii_uppercase(),
        })
    }

    fn log_dirs(&self) -> Result<Vec<String>, ConfigError> {
        let given = ["log.dirs", "log.dir"].iter().find_map(|name| self.text(name));
        let dirs = split_list(&given.unwrap_or_else(|| self.text("coretide.data.dir").unwrap_or_default()));
        if dirs.is_empty() || dirs.iter().any(String::is_empty) {
            let reason = "at least one folder is needed, and none may be empty".to_string();
            return Err(ConfigError::Conflict { key: "log.dirs".to_string(), reason });
        }
        Ok(dirs)
    }

    /// A socket's buffer: Kafka's default would only keep the system from growing it.
    fn buffer(&self, name: &str) -> Option<i32> {
        Some(self.small(name)).filter(|bytes| *bytes > 0 && self.is_given(name))
    }

    fn network(&self) -> Result<NetworkConfig, ConfigError> {
        let queued = self.number("queued.max.request.bytes");
        Ok(NetworkConfig {
            socket_request_max_bytes: self.size("socket.request.max.bytes"),
            socket_send_buffer_bytes: self.buffer("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: self.buffer("socket.receive.buffer.bytes"),
            socket_listen_backlog_size: self.small("socket.listen.backlog.size"),
            connections_max_idle_ms: self.number("connections.max.idle.ms"),
            max_connections: self.size("max.connections"),
            max_connections_per_ip: self.size("max.connections.per.ip"),
            max_connections_per_ip_overrides: self.per_ip_overrides()?,
            queued_max_request_bytes: u64::try_from(queued).ok().filter(|bytes| *bytes > 0),
            fetch_max_bytes: self.small("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: self.size("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: self.small("max.request.partition.size.limit"),
        })
    }

    fn per_ip_overrides(&self) -> Result<Vec<(String, usize)>, ConfigError> {
        let key = "max.connections.per.ip.overrides";
        let entries = split_list(&self.text(key).unwrap_or_default());
        let parse = |entry: String| {
            let parts = entry.rsplit_once(':').map(|(host, number)| (host.trim().to_string(), number.trim().parse()));
            match parts {
                Some((host, Ok(number))) if !host.is_empty() => Ok((host, number)),
                _ => Err(ConfigError::Invalid {
                    key: key.to_string(),
                    value: entry,
                    expected: "address:number pairs with commas between them".to_string(),
                }),
            }
        };
        entries.into_iter().map(parse).collect()
    }

    fn topics(&self) -> TopicCreationConfig {
        TopicCreationConfig {
            auto_create_topics_enable: self.flag("auto.create.topics.enable"),
            delete_topic_enable: self.flag("delete.topic.enable"),
            num_partitions: self.small("num.partitions"),
            default_replication_factor: self.number("default.replication.factor").clamp(1, i16::MAX.into()) as i16,
            max_topics: self.size("coretide.max.topics"),
            max_partitions: self.size("coretide.max.partitions"),
        }
    }

    fn groups(&self) -> Result<GroupConfig, ConfigError> {
        let (min, max) = (self.small("group.min.session.timeout.ms"), self.small("group.max.session.timeout.ms"));
        if min > max {
            let reason = format!("{min} is larger than group.max.session.timeout.ms ({max})");
            return Err(ConfigError::Conflict { key: "group.min.session.timeout.ms".to_string(), reason });
        }
        Ok(GroupConfig {
            group_min_session_timeout_ms: min,
            group_max_session_timeout_ms: max,
            group_initial_rebalance_delay_ms: self.small("group.initial.rebalance.delay.ms"),
            group_max_size: self.size("group.max.size"),
            offset_metadata_max_bytes: self.size("offset.metadata.max.bytes"),
            offsets_retention_ms: self.number("offsets.retention.minutes") * 60_000,
            offsets_retention_check_interval_ms: self.number("offsets.retention.check.interval.ms"),
            offsets_topic_num_partitions: self.small("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: self.number("offsets.topic.replication.factor") as i16,
            offsets_topic_segment_bytes: self.small("offsets.topic.segment.bytes"),
        })
    }

    fn engine(&self) -> EngineConfig {
        EngineConfig {
            shards: self.number("coretide.shards") as u16,
            pin_cores: self.flag("coretide.pin.cores"),
            poll_idle_us: self.size("coretide.poll.idle.us") as u64,
            fetch_cold_mode: match self.text("coretide.fetch.cold.mode").as_deref() {
                Some("splice") => ColdFetch::Splice,
                Some("direct") => ColdFetch::Direct,
                _ => ColdFetch::Auto,
            },
            journal_file_bytes: self.size("coretide.journal.file.bytes") as u64,
            journal_files_max: self.number("coretide.journal.files.max") as u32,
            direct_from_bytes: self.size("coretide.direct.from.bytes"),
            destage_from_bytes: self.size("coretide.destage.from.bytes"),
            shard_cache_bytes: self.size("coretide.shard.cache.bytes"),
            shard_memory_bytes: self.size("coretide.shard.memory.bytes"),
            disk_reserve_bytes: u64::try_from(self.number("coretide.disk.reserve.bytes")).ok(),
            disk_check_interval_ms: self.size("coretide.disk.check.interval.ms") as u64,
        }
    }
}

/// The key that an environment variable names: `CORETIDE_LOG_RETENTION_MS` is `log.retention.ms`, and `CORETIDE_SHARDS`
/// is `coretide.shards`. None if the variable is not ours.
pub fn key_of_env(variable: &str) -> Option<Result<&'static str, ConfigError>> {
    let rest = variable.strip_prefix(ENV_PREFIX).filter(|rest| !NOT_KEYS.contains(rest))?;
    let dotted = rest.to_ascii_lowercase().replace('_', ".");
    let own = format!("coretide.{dotted}");
    Some(match table::find(Scope::Broker, &own) {
        Some(key) => Ok(key.name),
        None => lookup(Scope::Broker, &dotted).map(|key| key.name),
    })
}

/// A change of dynamic broker values, before it is stored: the key must exist, be dynamic, and the value must fit.
pub fn check_dynamic(name: &str, value: &str) -> Result<String, ConfigError> {
    let (key, value) = check(Scope::Broker, name, value)?;
    if key.dynamic { Ok(value) } else { Err(ConfigError::NotDynamic { key: name.to_string() }) }
}

#[cfg(test)]
mod tests;
