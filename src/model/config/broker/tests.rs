//! The broker's settings out of given values: what is taken, what is refused, what is told.

use super::*;
use proptest::prelude::*;

fn given(pairs: &[(&str, &str)]) -> Vec<(String, String, Origin)> {
    pairs.iter().enumerate().map(|(i, (k, v))| (k.to_string(), v.to_string(), Origin::File { line: i + 1 })).collect()
}

#[test]
fn the_defaults_listen_on_loopback_and_acks_are_durable() {
    let config = BrokerConfig::default();
    assert_eq!((config.node_id, config.engine.shards), (1, 0));
    assert_eq!((config.listeners[0].host.as_str(), config.listeners[0].port), ("127.0.0.1", 9092));
    assert_eq!(config.log_dirs, ["./data"]);
    assert_eq!(config.topic(&ConfigMap::new()).flush_messages, 1);
    assert_eq!(config.groups.offsets_retention_ms, 604_800_000);
    assert_eq!(config.network.queued_max_request_bytes, None);
}

#[test]
fn kafkas_own_example_file_works() {
    let text = "process.roles=broker,controller\nnode.id=7\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
        num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nlog.dirs=/tmp/kraft-logs\n\
        num.partitions=3\noffsets.topic.replication.factor=1\nlog.retention.hours=168\n\
        log.segment.bytes=1073741824\n";
    let pairs: Vec<_> = crate::config::properties::parse_properties(text)
        .unwrap()
        .into_iter()
        .map(|p| (p.key, p.value, Origin::File { line: p.line }))
        .collect();
    let (config, notes) = BrokerConfig::from_given(&pairs).unwrap();
    assert_eq!((config.node_id, config.topics.num_partitions, config.listeners.len()), (7, 3, 1));
    assert_eq!(config.listeners[0].advertised, Some(("localhost".to_string(), 9092)));
    assert_eq!(config.log_dirs, ["/tmp/kraft-logs"]);
    assert!(notes.contains(&Note::NoMeaning { key: "num.io.threads".to_string() }));
    assert!(!notes.iter().any(|note| note.to_string().starts_with("log.retention.hours")));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let errors = BrokerConfig::from_given(&given(&[
        ("num.partitons", "3"),
        ("num.partitions", "0"),
        ("listener.name.internal.ssl.keystore.location", "x"),
        ("auto.create.topics.enable", "maybe"),
    ]))
    .unwrap_err();
    assert_eq!(errors.len(), 3);
    assert!(errors[0].to_string().contains("num.partitions"), "{}", errors[0]);
    for pairs in [
        [("group.min.session.timeout.ms", "9"), ("group.max.session.timeout.ms", "8")],
        [("log.dirs", "a,,b"), ("node.id", "1")],
        [("max.connections.per.ip.overrides", "10.0.0.1"), ("node.id", "1")],
    ] {
        assert!(BrokerConfig::from_given(&given(&pairs)).is_err(), "{pairs:?}");
    }
}

#[test]
fn later_values_win_and_doubles_in_one_file_are_told() {
    let mut pairs = given(&[("num.partitions", "2"), ("num.partitions", "4")]);
    pairs.push(("num.partitions".to_string(), "6".to_string(), Origin::CommandLine));
    let (config, notes) = BrokerConfig::from_given(&pairs).unwrap();
    assert_eq!(config.topics.num_partitions, 6);
    assert_eq!(notes, [Note::GivenTwice { key: "num.partitions".to_string() }]);
}

#[test]
fn older_names_still_work() {
    let (config, _) = BrokerConfig::from_given(&given(&[("broker.id", "4"), ("log.dir", "/d")])).unwrap();
    assert_eq!((config.node_id, config.log_dirs[0].as_str()), (4, "/d"));
    let (config, _) = BrokerConfig::from_given(&given(&[("broker.id", "4"), ("node.id", "5")])).unwrap();
    assert_eq!(config.node_id, 5);
}

#[test]
fn variables_name_keys() {
    for (variable, expected) in [
        ("CORETIDE_LOG_RETENTION_MS", Some("log.retention.ms")),
        ("CORETIDE_SHARDS", Some("coretide.shards")),
        ("CORETIDE_NUM_PARTITIONS", Some("num.partitions")),
        ("PATH", None),
        ("CORETIDE_BOOTSTRAP", None),
    ] {
        assert_eq!(key_of_env(variable).map(|key| key.unwrap()), expected, "{variable}");
    }
    assert!(key_of_env("CORETIDE_LOG_RETENTION_MSS").unwrap().is_err());
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![0, 1, -1, -2, 5, 4096, i64::MAX, i64::MIN, i32::MAX.into(), i32::MIN.into()])
            .prop_map(|number: i64| number.to_string()),
        any::<i32>().prop_map(|number| number.to_string()),
        prop::sample::select(vec!["true", "compact", "PLAINTEXT://h:1", "zstd", "", ",", "0.5", "LogAppendTime"])
            .prop_map(str::to_string),
        "[ -~]{0,12}",
    ]
}

fn picks() -> impl Strategy<Value = Vec<(prop::sample::Index, String)>> {
    prop::collection::vec((any::<prop::sample::Index>(), values()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_passes_the_check_can_be_read(picks in picks()) {
        let keys: Vec<&str> = table::keys(Scope::Broker).map(|key| key.name).collect();
        let pairs: Vec<_> = picks
            .iter()
            .map(|(index, value)| (index.get(&keys).to_string(), value.clone(), Origin::CommandLine))
            .collect();
        if let Ok((config, _)) = BrokerConfig::from_given(&pairs) {
            config.topic(&ConfigMap::new());
            config.describe();
        }
    }

    #[test]
    fn whatever_a_topic_may_say_can_be_read(picks in picks()) {
        let keys: Vec<&str> = table::keys(Scope::Topic).map(|key| key.name).collect();
        let checked = picks.iter().filter_map(|(index, value)| {
            let name: &str = keys[index.index(keys.len())];
            check(Scope::Topic, name, value).ok()
        });
        let overrides: ConfigMap = checked.map(|(key, value)| (key.name.to_string(), value)).collect();
        BrokerConfig::default().topic(&overrides);
    }
}

#[test]
fn dynamic_values_are_checked_and_move_typed_settings() {
    assert_eq!(check_dynamic("message.max.bytes", " 5 "), Ok("5".to_string()));
    assert!(matches!(check_dynamic("num.partitions", "5"), Err(ConfigError::NotDynamic { .. })));
    assert!(check_dynamic("message.max.bytes", "-1").is_err());
    let config = BrokerConfig::default();
    let dynamic = ConfigMap::from([("max.connections".to_string(), "10".to_string())]);
    let changed = config.with_dynamic(dynamic, ConfigMap::new()).unwrap();
    assert_eq!(changed.network.max_connections, 10);
    assert_eq!(changed.with_dynamic(ConfigMap::new(), ConfigMap::new()).unwrap(), config);
}
