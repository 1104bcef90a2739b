//! The controller against its rules, through commands only; one property test against an independent model.

use super::*;
use coretide_model::config::{ConfigMap, Source};
use coretide_model::{BrokerConfig, ShardId, TopicId};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A controller with one shard that applies every delta at once, beside that shard's image.
struct Rig {
    controller: Controller,
    image: Image,
    token: u64,
    log: Vec<Record>,
}

fn broker(pairs: &[(&str, &str)]) -> BrokerConfig {
    let given: Vec<_> = pairs
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string(), coretide_model::config::Origin::CommandLine))
        .collect();
    BrokerConfig::from_given(&given).expect("a valid configuration").0
}

impl Rig {
    fn new() -> Rig {
        Rig::with(&[])
    }

    fn with(pairs: &[(&str, &str)]) -> Rig {
        Rig::restart(pairs, Vec::new())
    }

    fn restart(pairs: &[(&str, &str)], log: Vec<Record>) -> Rig {
        let config = ControllerConfig { broker: broker(pairs), shards: 1, seed: 7 + log.len() as u64 };
        let mut controller = Controller::new(config);
        controller.replay(&log).expect("a sound log");
        let mut image = Image::new(broker(pairs));
        let delta = controller.start();
        image.apply(&delta.records).expect("a sound start");
        controller.on_applied(ShardId(0), delta.revision, &mut Effects::default());
        Rig { controller, image, token: 0, log }
    }

    /// Sends a command, applies what it wrote, returns its one reply and what the shard saw.
    fn ask(&mut self, command: Command) -> (Reply, Vec<Change>) {
        self.token += 1;
        let mut effects = Effects::default();
        self.controller.handle(command, self.token, &mut effects);
        let mut changes = Vec::new();
        for delta in std::mem::take(&mut effects.writes) {
            assert!(effects.replies.is_empty(), "a reply left before its records were known");
            self.log.extend(delta.records.iter().cloned());
            changes.extend(self.image.apply(&delta.records).expect("a sound delta"));
            self.controller.on_applied(ShardId(0), delta.revision, &mut effects);
        }
        assert_eq!(effects.replies.len(), 1);
        let (token, reply) = effects.replies.remove(0);
        assert_eq!(token, self.token);
        (reply, changes)
    }

    fn create(&mut self, topics: Vec<NewTopic>) -> Vec<Result<CreatedTopic, CommandError>> {
        match self.ask(Command::CreateTopics { topics, validate_only: false }).0 {
            Reply::CreateTopics(items) => items,
            other => panic!("{other:?}"),
        }
    }

    fn create_one(&mut self, name: &str, partitions: i32) -> Result<CreatedTopic, CommandError> {
        self.create(vec![new_topic(name, partitions)]).remove(0)
    }

    fn delete(&mut self, topics: Vec<TopicRef>) -> Vec<Result<DeletedTopic, CommandError>> {
        match self.ask(Command::DeleteTopics { topics }).0 {
            Reply::DeleteTopics(items) => items,
            other => panic!("{other:?}"),
        }
    }

    fn grow(&mut self, topics: Vec<MorePartitions>) -> Vec<Result<(), CommandError>> {
        match self.ask(Command::CreatePartitions { topics, validate_only: false }).0 {
            Reply::CreatePartitions(items) => items,
            other => panic!("{other:?}"),
        }
    }

    fn change(
        &mut self,
        kind: ResourceType,
        name: &str,
        changes: &[(&str, ConfigOp, Option<&str>)],
    ) -> Result<(), CommandError> {
        let changes = changes
            .iter()
            .map(|(key, op, value)| IncrementalChange {
                name: key.to_string(),
                op: Some(*op),
                value: value.map(str::to_string),
            })
            .collect();
        let resources = vec![(resource(kind, name), changes)];
        match self.ask(Command::IncrementalAlterConfigs { resources, validate_only: false }).0 {
            Reply::IncrementalAlterConfigs(mut items) => items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn replace(&mut self, kind: ResourceType, name: &str, entries: &[(&str, &str)]) -> Result<(), CommandError> {
        let entries = entries.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))).collect();
        let resources = vec![(resource(kind, name), entries)];
        match self.ask(Command::AlterConfigs { resources, validate_only: false }).0 {
            Reply::AlterConfigs(mut items) => items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn overrides(&self, topic: &str) -> Vec<(String, String)> {
        self.image.topic_named(topic).expect(topic).overrides.clone().into_iter().collect()
    }
}

fn resource(kind: ResourceType, name: &str) -> ConfigResource {
    ConfigResource { resource_type: kind.code(), name: name.to_string() }
}

fn new_topic(name: &str, num_partitions: i32) -> NewTopic {
    NewTopic { name: name.to_string(), num_partitions, replication_factor: -1, ..NewTopic::default() }
}

/// The variant's name: what a handler's table of codes looks at.
fn kind<T: std::fmt::Debug>(result: &Result<T, CommandError>) -> String {
    match result {
        Ok(_) => "ok".to_string(),
        Err(error) => format!("{error:?}").split(['(', ' ']).next().unwrap_or_default().to_string(),
    }
}

#[test]
fn c4_every_reason_to_refuse_a_topic() {
    let mut rig = Rig::new();
    rig.create_one("taken", 1).unwrap();
    rig.create_one("a.b", 1).unwrap();
    let topic = |name: &str,
                 num_partitions,
                 replication_factor,
                 assignments: &[(i32, &[i32])],
                 configs: &[(&str, Option<&str>)]| NewTopic {
        name: name.to_string(),
        num_partitions,
        replication_factor,
        assignments: assignments.iter().map(|(p, b)| (*p, b.to_vec())).collect(),
        configs: configs.iter().map(|(k, v)| (k.to_string(), v.map(str::to_string))).collect(),
    };
    let cases = [
        ("ok", topic("t1", 3, 1, &[], &[])),
        ("ok", topic("t2", -1, -1, &[], &[("retention.ms", Some("5"))])),
        ("ok", topic("t3", -1, -1, &[(1, &[1]), (0, &[1])], &[])),
        ("TopicExists", topic("taken", 1, 1, &[], &[])),
        ("InvalidName", topic("..", 1, 1, &[], &[])),
        ("InvalidName", topic("", 1, 1, &[], &[])),
        ("InvalidName", topic("a_b", 1, 1, &[], &[])),
        ("Reserved", topic("__cluster_metadata", 1, 1, &[], &[])),
        ("InvalidPartitions", topic("x", 0, 1, &[], &[])),
        ("InvalidPartitions", topic("x", -2, 1, &[], &[])),
        ("InvalidReplicationFactor", topic("x", 1, 0, &[], &[])),
        ("InvalidReplicationFactor", topic("x", 1, 3, &[], &[])),
        ("InvalidRequest", topic("x", 1, -1, &[(0, &[1])], &[])),
        ("InvalidRequest", topic("x", -1, 1, &[(0, &[1])], &[])),
        ("InvalidAssignment", topic("x", -1, -1, &[(0, &[9])], &[])),
        ("InvalidAssignment", topic("x", -1, -1, &[(0, &[])], &[])),
        ("InvalidAssignment", topic("x", -1, -1, &[(0, &[1, 1])], &[])),
        ("InvalidAssignment", topic("x", -1, -1, &[(0, &[1]), (0, &[1])], &[])),
        ("InvalidAssignment", topic("x", -1, -1, &[(1, &[1])], &[])),
        ("InvalidConfig", topic("x", 1, 1, &[], &[("retention.mss", Some("5"))])),
        ("InvalidConfig", topic("x", 1, 1, &[], &[("segment.bytes", Some("100"))])),
        ("InvalidConfig", topic("x", 1, 1, &[], &[("segment.bytes", None)])),
        ("InvalidConfig", topic("x", 1, 1, &[], &[("remote.storage.enable", Some("true"))])),
    ];
    for (expected, topic) in cases {
        let text = format!("{topic:?}");
        assert_eq!(kind(&rig.create(vec![topic]).remove(0)), expected, "{text}");
    }
}

#[test]
fn c4_names_within_one_request() {
    let mut rig = Rig::new();
    let names = ["x", "y", "x", "p.q", "p_q"];
    let topics = names.iter().map(|name| new_topic(name, 1)).collect::<Vec<_>>();
    let dry = match rig.ask(Command::CreateTopics { topics: topics.clone(), validate_only: true }).0 {
        Reply::CreateTopics(items) => items,
        other => panic!("{other:?}"),
    };
    assert!(rig.log.is_empty(), "a request that only validates wrote something");
    let expected = ["InvalidRequest", "ok", "InvalidRequest", "ok", "InvalidName"];
    assert_eq!(dry.iter().map(kind).collect::<Vec<_>>(), expected);
    assert!(dry[1].as_ref().unwrap().topic_id == TopicId::ZERO);
    assert_eq!(rig.create(topics).iter().map(kind).collect::<Vec<_>>(), expected);
}

#[test]
fn a_created_topic_is_described_as_it_is() {
    let mut rig = Rig::with(&[("num.partitions", "4")]);
    let mut topic = new_topic("t", -1);
    topic.configs = vec![("cleanup.policy".to_string(), Some("compact, delete".to_string()))];
    let created = rig.create(vec![topic]).remove(0).unwrap();
    assert_eq!((created.num_partitions, created.replication_factor), (4, 1));
    let policy = created.configs.iter().find(|c| c.key.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.source), (Some("compact,delete"), Source::Topic));
    let image = rig.image.topic_named("t").unwrap();
    assert_eq!((image.id, image.partitions.len(), image.internal), (created.topic_id, 4, false));
    assert!(image.config.cleanup_policy.compact && image.config.cleanup_policy.delete);
    assert_ne!(created.topic_id, TopicId::ZERO);
}

#[test]
fn e2_a_recreated_topic_has_another_id() {
    let mut rig = Rig::new();
    let first = rig.create_one("t", 1).unwrap().topic_id;
    rig.delete(vec![TopicRef::Name("t".to_string())]).remove(0).unwrap();
    let second = rig.create_one("t", 1).unwrap().topic_id;
    assert_ne!(first, second);
    assert_eq!(kind(&rig.delete(vec![TopicRef::Id(first)]).remove(0)), "UnknownTopicId");
}

#[test]
fn limits_have_names() {
    let mut rig = Rig::with(&[("coretide.max.topics", "2"), ("coretide.max.partitions", "5")]);
    rig.create_one("a", 2).unwrap();
    let refused = rig.create_one("b", 4).unwrap_err();
    assert!(matches!(&refused, CommandError::LimitReached(text) if text.contains("coretide.max.partitions")));
    rig.create_one("b", 1).unwrap();
    let refused = rig.create_one("c", 1).unwrap_err();
    assert!(matches!(&refused, CommandError::LimitReached(text) if text.contains("coretide.max.topics")));
    let more = |count| MorePartitions { name: "a".to_string(), count, assignments: None };
    assert_eq!(kind(&rig.grow(vec![more(5)]).remove(0)), "LimitReached");
    assert_eq!(kind(&rig.grow(vec![more(4)]).remove(0)), "ok");
    let mut rig = Rig::new();
    let items = rig.create(vec![new_topic("x", 9_999), new_topic("y", 2)]);
    assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), ["LimitReached", "LimitReached"]);
    assert_eq!(kind(&rig.create_one("x", i32::MAX)), "LimitReached");
    let items = rig.create((0..20_001).map(|at| new_topic(&format!("t{at}"), 0)).collect());
    assert!(items.len() == 20_001 && items.iter().all(|item| kind(item) == "LimitReached"));
    assert!(rig.log.is_empty());
}

#[test]
fn c5_auto_creation() {
    let mut rig = Rig::with(&[("num.partitions", "3"), ("offsets.topic.num.partitions", "7")]);
    let names = ["seen", "__consumer_offsets", "bad name", "seen"].map(str::to_string).to_vec();
    let Reply::AutoCreate(items) = rig.ask(Command::AutoCreate { names }).0 else { panic!() };
    assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), ["ok", "ok", "InvalidName", "ok"]);
    assert_eq!(rig.image.topic_named("seen").unwrap().partitions.len(), 3);
    let offsets = rig.image.topic_named("__consumer_offsets").unwrap();
    assert!(offsets.internal && offsets.config.cleanup_policy.compact && !offsets.config.cleanup_policy.delete);
    assert_eq!((offsets.partitions.len(), offsets.config.segment_bytes), (7, 104_857_600));
}

#[test]
fn auto_creation_is_bounded_per_request_and_plain_topics_share_their_configuration() {
    let mut rig = Rig::with(&[("num.partitions", "4000")]);
    let names = ["a", "b", "c"].map(str::to_string).to_vec();
    let Reply::AutoCreate(items) = rig.ask(Command::AutoCreate { names }).0 else { panic!() };
    assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), ["ok", "ok", "LimitReached"]);
    let config = |name: &str| rig.image.topic_named(name).unwrap().config.clone();
    assert!(std::sync::Arc::ptr_eq(&config("a"), &config("b")));
}

#[test]
fn topics_are_deleted_by_name_and_id() {
    let mut rig = Rig::new();
    let id = rig.create_one("a", 1).unwrap().topic_id;
    rig.create_one("b", 1).unwrap();
    rig.create_one("c", 1).unwrap();
    let Reply::AutoCreate(_) = rig.ask(Command::AutoCreate { names: vec!["__consumer_offsets".to_string()] }).0 else {
        panic!()
    };
    let by_name = |name: &str| TopicRef::Name(name.to_string());
    let items = rig.delete(vec![
        TopicRef::Id(id),
        by_name("b"),
        by_name("nope"),
        by_name("__consumer_offsets"),
        by_name("c"),
        by_name("c"),
    ]);
    let expected = ["ok", "ok", "UnknownTopic", "Reserved", "InvalidRequest", "InvalidRequest"];
    assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), expected);
    assert_eq!(rig.image.topics().map(|t| t.name.to_string()).collect::<Vec<_>>(), ["__consumer_offsets", "c"]);
    assert_eq!(rig.image.partition_count(), 51);
    let mut rig = Rig::with(&[("delete.topic.enable", "false")]);
    rig.create_one("a", 1).unwrap();
    assert_eq!(kind(&rig.delete(vec![by_name("a")]).remove(0)), "DeletionDisabled");
}

#[test]
fn c8_partitions_grow_and_never_shrink() {
    let mut rig = Rig::new();
    rig.create_one("t", 3).unwrap();
    let more = |name: &str, count, assignments: Option<&[&[i32]]>| MorePartitions {
        name: name.to_string(),
        count,
        assignments: assignments.map(|all| all.iter().map(|brokers| brokers.to_vec()).collect()),
    };
    let cases = [
        ("UnknownTopic", more("nope", 5, None)),
        ("InvalidPartitions", more("t", 3, None)),
        ("InvalidPartitions", more("t", 2, None)),
        ("InvalidPartitions", more("t", -1, None)),
        ("InvalidAssignment", more("t", 5, Some(&[&[1]]))),
        ("InvalidAssignment", more("t", 4, Some(&[&[2]]))),
        ("ok", more("t", 4, Some(&[&[1]]))),
        ("LimitReached", more("t", 20_000, None)),
        ("ok", more("t", 6, None)),
    ];
    for (expected, topic) in cases {
        let text = format!("{topic:?}");
        assert_eq!(kind(&rig.grow(vec![topic]).remove(0)), expected, "{text}");
    }
    let items = rig.grow(vec![more("t", 9, None), more("t", 8, None)]);
    assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), ["InvalidRequest", "InvalidRequest"]);
    let command = Command::CreatePartitions { topics: vec![more("t", 9, None)], validate_only: true };
    assert_eq!(rig.ask(command), (Reply::CreatePartitions(vec![Ok(())]), Vec::new()));
    let command = Command::CreatePartitions { topics: vec![more("t", 8, None)], validate_only: false };
    let (_, changes) = rig.ask(command);
    let topic = rig.image.topic_named("t").unwrap().clone();
    assert_eq!(topic.partitions.len(), 8);
    assert_eq!(changes, [Change::PartitionsAdded { topic, first: 6 }]);
}

#[test]
fn c7_incremental_changes() {
    use ConfigOp::{Append, Delete, Set, Subtract};
    let mut rig = Rig::new();
    rig.create_one("t", 1).unwrap();
    let topic = ResourceType::Topic;
    type Changes<'a> = &'a [(&'a str, ConfigOp, Option<&'a str>)];
    type Overrides<'a> = &'a [(&'a str, &'a str)];
    let steps: &[(&str, Changes<'_>, Overrides<'_>)] = &[
        ("ok", &[("retention.ms", Set, Some("5"))], &[("retention.ms", "5")]),
        ("InvalidConfig", &[("retention.ms", Append, Some("5"))], &[("retention.ms", "5")]),
        ("InvalidConfig", &[("retention.ms", Set, Some("x"))], &[("retention.ms", "5")]),
        ("InvalidConfig", &[("retention", Set, Some("1"))], &[("retention.ms", "5")]),
        ("InvalidRequest", &[("retention.ms", Set, None)], &[("retention.ms", "5")]),
        (
            "InvalidRequest",
            &[("retention.ms", Set, Some("1")), ("retention.ms", Delete, None)],
            &[("retention.ms", "5")],
        ),
        (
            "InvalidConfig",
            &[("retention.ms", Set, Some("9")), ("segment.bytes", Set, Some("1"))],
            &[("retention.ms", "5")],
        ),
        ("ok", &[("retention.ms", Delete, None)], &[]),
        ("ok", &[("cleanup.policy", Append, Some("compact"))], &[("cleanup.policy", "delete,compact")]),
        ("ok", &[("cleanup.policy", Append, Some("compact"))], &[("cleanup.policy", "delete,compact")]),
        ("InvalidConfig", &[("cleanup.policy", Append, Some("shred"))], &[("cleanup.policy", "delete,compact")]),
        ("ok", &[("cleanup.policy", Subtract, Some("delete"))], &[("cleanup.policy", "compact")]),
        ("ok", &[("cleanup.policy", Delete, None), ("preallocate", Set, Some("TRUE"))], &[("preallocate", "true")]),
        ("ok", &[("preallocate", Delete, None)], &[]),
    ];
    for (expected, changes, overrides) in steps {
        assert_eq!(kind(&rig.change(topic, "t", changes)), *expected, "{changes:?}");
        let wanted: Vec<_> = overrides.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(rig.overrides("t"), wanted, "{changes:?}");
    }
    assert_eq!(kind(&rig.change(topic, "nope", &[])), "UnknownTopic");
    assert_eq!(kind(&rig.change(topic, "", &[])), "InvalidRequest");
    assert_eq!(kind(&rig.change(ResourceType::Group, "", &[])), "InvalidRequest");
    assert_eq!(kind(&rig.change(ResourceType::BrokerLogger, "1", &[])), "InvalidRequest");
}

#[test]
fn c7_every_public_topic_key_is_accepted_and_echoed() {
    let mut rig = Rig::new();
    rig.create_one("t", 1).unwrap();
    for key in coretide_model::config::table::keys(coretide_model::config::Scope::Topic) {
        let Some(default) = key.default else { continue };
        rig.change(ResourceType::Topic, "t", &[(key.name, ConfigOp::Set, Some(default))]).expect(key.name);
        assert_eq!(rig.image.topic_named("t").unwrap().overrides.get(key.name).map(String::as_str), Some(default));
    }
}

#[test]
fn c7_alter_configs_resets_what_it_does_not_name() {
    let mut rig = Rig::new();
    rig.create_one("t", 1).unwrap();
    let topic = ResourceType::Topic;
    rig.replace(topic, "t", &[("retention.ms", "5"), ("flush.messages", "9")]).unwrap();
    rig.replace(topic, "t", &[("flush.messages", "9"), ("segment.ms", "7")]).unwrap();
    assert_eq!(
        rig.overrides("t"),
        [("flush.messages", "9"), ("segment.ms", "7")].map(|(k, v)| (k.to_string(), v.to_string()))
    );
    assert_eq!(kind(&rig.replace(topic, "t", &[("segment.ms", "0")])), "InvalidConfig");
    let before = rig.log.len();
    rig.replace(topic, "t", &[("flush.messages", "9"), ("segment.ms", "7")]).unwrap();
    assert_eq!(rig.log.len(), before, "an unchanged configuration was written again");
    let resources = vec![(resource(topic, "t"), Vec::new()), (resource(topic, "t"), Vec::new())];
    let (reply, _) = rig.ask(Command::AlterConfigs { resources, validate_only: false });
    let Reply::AlterConfigs(items) = reply else { panic!() };
    assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), ["InvalidRequest", "InvalidRequest"]);
}

#[test]
fn broker_values_reach_every_topic_that_has_none_of_its_own() {
    let mut rig = Rig::with(&[("log.retention.hours", "1")]);
    rig.create_one("own", 1).unwrap();
    rig.create_one("plain", 1).unwrap();
    rig.change(ResourceType::Topic, "own", &[("retention.ms", ConfigOp::Set, Some("77"))]).unwrap();
    let retention = |rig: &Rig, name: &str| rig.image.topic_named(name).unwrap().config.retention_ms;
    assert_eq!((retention(&rig, "own"), retention(&rig, "plain")), (77, 3_600_000));
    let set = |value: &'static str| [("log.retention.ms", ConfigOp::Set, Some(value))];
    rig.change(ResourceType::Broker, "", &set("500")).unwrap();
    assert_eq!((retention(&rig, "own"), retention(&rig, "plain")), (77, 500));
    rig.change(ResourceType::Broker, "1", &set("600")).unwrap();
    assert_eq!((retention(&rig, "own"), retention(&rig, "plain")), (77, 600));
    rig.change(ResourceType::Broker, "1", &[("log.retention.ms", ConfigOp::Delete, None)]).unwrap();
    assert_eq!(retention(&rig, "plain"), 500);
    for (name, key, value) in [
        ("2", "log.retention.ms", "5"),
        ("x", "log.retention.ms", "5"),
        ("1", "num.partitions", "5"),
        ("1", "log.retention.ms", "x"),
        ("1", "no.such.key", "x"),
        ("1", "listeners", "PLAINTEXT://:9099"),
        ("1", "max.connections.per.ip.overrides", "broken"),
    ] {
        let result = rig.change(ResourceType::Broker, name, &[(key, ConfigOp::Set, Some(value))]);
        assert_eq!(kind(&result), "InvalidRequest", "{name} {key} {value}");
    }
    let again = Rig::restart(&[("log.retention.hours", "1")], rig.log.clone());
    assert_eq!((retention(&again, "own"), retention(&again, "plain")), (77, 500));
}

#[test]
fn stored_dynamic_values_that_contradict_a_new_static_file_do_not_stop_the_start() {
    let mut rig = Rig::new();
    rig.change(ResourceType::Broker, "", &[("log.cleaner.min.compaction.lag.ms", ConfigOp::Set, Some("100"))]).unwrap();
    let again = Rig::restart(&[("log.cleaner.max.compaction.lag.ms", "50")], rig.log.clone());
    assert!(again.image.refused_dynamic().is_some());
    assert!(Rig::restart(&[], rig.log).image.refused_dynamic().is_none());
}

#[test]
fn group_and_subscription_configs_are_kept() {
    let mut rig = Rig::new();
    let set = [("consumer.session.timeout.ms", ConfigOp::Set, Some("50000"))];
    rig.change(ResourceType::Group, "g", &set).unwrap();
    rig.change(ResourceType::ClientMetrics, "m", &[("interval.ms", ConfigOp::Set, Some("100"))]).unwrap();
    assert_eq!(rig.image.configured(ResourceType::Group).collect::<Vec<_>>(), ["g"]);
    assert_eq!(rig.image.configured(ResourceType::ClientMetrics).collect::<Vec<_>>(), ["m"]);
    assert_eq!(
        kind(&rig.change(ResourceType::Group, "g", &[("retention.ms", ConfigOp::Set, Some("1"))])),
        "InvalidConfig"
    );
    rig.change(ResourceType::Group, "g", &[("consumer.session.timeout.ms", ConfigOp::Delete, None)]).unwrap();
    assert_eq!(rig.image.configured(ResourceType::Group).count(), 0);
}

#[test]
fn i6_producer_ids_never_repeat_across_restarts() {
    let mut rig = Rig::new();
    let mut next = 0;
    for round in 0..4 {
        for _ in 0..3 {
            let Reply::AllocateProducerIds(Ok(block)) = rig.ask(Command::AllocateProducerIds).0 else { panic!() };
            assert!(block.first >= next && block.count > 0, "round {round}");
            next = block.first + block.count;
        }
        rig = if round == 2 {
            let log = rig.controller.snapshot();
            Rig::restart(&[], log)
        } else {
            Rig::restart(&[], rig.log)
        };
    }
}

#[test]
fn created_means_known_on_every_shard() {
    let mut controller = Controller::new(ControllerConfig { broker: BrokerConfig::default(), shards: 3, seed: 1 });
    let mut effects = Effects::default();
    let start = controller.start();
    for shard in 0..3 {
        controller.on_applied(ShardId(shard), start.revision, &mut effects);
    }
    let create = |name: &str| Command::CreateTopics { topics: vec![new_topic(name, 1)], validate_only: false };
    controller.handle(create("a"), 10, &mut effects);
    controller.handle(create("b"), 11, &mut effects);
    // Refused at once, but only because of "a", which nobody may know of yet.
    controller.handle(create("a"), 12, &mut effects);
    assert_eq!((effects.writes.len(), effects.replies.len()), (2, 0));
    let revisions: Vec<u64> = effects.writes.iter().map(|delta| delta.revision).collect();
    assert_eq!(revisions, [2, 3]);
    controller.on_applied(ShardId(0), 3, &mut effects);
    controller.on_applied(ShardId(2), 2, &mut effects);
    assert!(effects.replies.is_empty());
    controller.on_applied(ShardId(1), 2, &mut effects);
    assert_eq!(effects.replies.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [10]);
    controller.on_applied(ShardId(1), 3, &mut effects);
    controller.on_applied(ShardId(2), 3, &mut effects);
    assert_eq!(effects.replies.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [10, 11, 12]);
    assert!(matches!(&effects.replies[2].1, Reply::CreateTopics(items) if kind(&items[0]) == "TopicExists"));
}

#[test]
fn after_a_failed_write_nothing_is_promised() {
    let mut controller = Controller::new(ControllerConfig { broker: BrokerConfig::default(), shards: 1, seed: 1 });
    let mut effects = Effects::default();
    let start = controller.start();
    controller.on_applied(ShardId(0), start.revision, &mut effects);
    controller.handle(Command::AutoCreate { names: vec!["a".to_string()] }, 1, &mut effects);
    controller.on_write_failed(&mut effects);
    controller.handle(Command::AllocateProducerIds, 2, &mut effects);
    assert_eq!(
        effects.replies,
        [
            (1, Reply::AutoCreate(vec![Err(CommandError::Offline)])),
            (2, Reply::AllocateProducerIds(Err(CommandError::Offline)))
        ]
    );
}

#[test]
fn logs_that_contradict_themselves_are_refused() {
    let topic = |name: &str, id| Record::Topic { name: name.to_string(), topic_id: TopicId(id) };
    let partition = |id, partition| Record::Partition {
        topic_id: TopicId(id),
        partition,
        replicas: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
    };
    let config = Record::Config {
        resource_type: ResourceType::Topic,
        resource_name: "a".to_string(),
        name: "retention.ms".to_string(),
        value: Some("1".to_string()),
    };
    for records in [
        vec![topic("a", 200), topic("a", 201)],
        vec![topic("a", 200), topic("b", 200)],
        vec![partition(200, 0)],
        vec![topic("a", 200), partition(200, 1)],
        vec![topic("a", 200), partition(200, -1)],
        vec![Record::RemoveTopic { topic_id: TopicId(200) }],
        vec![config],
    ] {
        assert!(Image::new(BrokerConfig::default()).apply(&records).is_err(), "{records:?}");
    }
}

#[test]
fn snapshots_become_due_and_say_the_same() {
    let mut rig = Rig::new();
    rig.create_one("t", 1).unwrap();
    for round in 0..=10_000 {
        assert!(!rig.controller.snapshot_due(), "round {round}");
        let value = (round + 1).to_string();
        rig.change(ResourceType::Topic, "t", &[("retention.ms", ConfigOp::Set, Some(&value))]).unwrap();
        if rig.controller.snapshot_due() {
            break;
        }
    }
    assert!(rig.controller.snapshot_due());
    let records = rig.controller.snapshot();
    assert!(records.len() < 5 && !rig.controller.snapshot_due());
    let mut image = Image::new(BrokerConfig::default());
    image.apply(&records).unwrap();
    assert_eq!(image.to_records(), rig.image.to_records());
}

/// What a test may do; names and keys come from small sets, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Create(usize, i32),
    Delete(usize),
    Grow(usize, i32),
    Set(usize, i64),
    Restart,
    Snapshot,
}

const NAMES: [&str; 5] = ["a", "b", "c.d", "c_d", "__consumer_offsets"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..NAMES.len(), 1..6i32).prop_map(|(name, count)| Step::Create(name, count)),
        (0..NAMES.len()).prop_map(Step::Delete),
        (0..NAMES.len(), 1..9i32).prop_map(|(name, count)| Step::Grow(name, count)),
        (0..NAMES.len(), -1..100i64).prop_map(|(name, value)| Step::Set(name, value)),
        Just(Step::Restart),
        Just(Step::Snapshot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn r8_every_image_is_the_replay_of_the_log(steps in prop::collection::vec(step(), 1..40)) {
        let mut rig = Rig::new();
        let mut model: BTreeMap<&str, (i32, Option<i64>)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Create(name, count) => {
                    let name = NAMES[name];
                    let taken = model.contains_key(name)
                        || (name == "c.d" && model.contains_key("c_d"))
                        || (name == "c_d" && model.contains_key("c.d"));
                    prop_assert_eq!(rig.create_one(name, count).is_ok(), !taken);
                    if !taken {
                        model.insert(name, (count, None));
                    }
                }
                Step::Delete(name) => {
                    let name = NAMES[name];
                    let ok = rig.delete(vec![TopicRef::Name(name.to_string())]).remove(0).is_ok();
                    prop_assert_eq!(ok, name != "__consumer_offsets" && model.contains_key(name));
                    if ok {
                        model.remove(name);
                    }
                }
                Step::Grow(name, count) => {
                    let name = NAMES[name];
                    let more = MorePartitions { name: name.to_string(), count, assignments: None };
                    let ok = rig.grow(vec![more]).remove(0).is_ok();
                    let fits = name != "__consumer_offsets" && model.get(name).is_some_and(|(now, _)| *now < count);
                    prop_assert_eq!(ok, fits);
                    if ok {
                        model.get_mut(name).unwrap().0 = count;
                    }
                }
                Step::Set(name, value) => {
                    let text = value.to_string();
                    let change = [("retention.ms", ConfigOp::Set, Some(text.as_str()))];
                    let ok = rig.change(ResourceType::Topic, NAMES[name], &change).is_ok();
                    prop_assert_eq!(ok, model.contains_key(NAMES[name]));
                    if ok {
                        model.get_mut(NAMES[name]).unwrap().1 = Some(value);
                    }
                }
                Step::Restart => rig = Rig::restart(&[], rig.log),
                Step::Snapshot => {
                    let log = rig.controller.snapshot();
                    rig.log.extend(log);
                }
            }
            let seen: BTreeMap<&str, (i32, Option<i64>)> = NAMES
                .iter()
                .filter_map(|name| rig.image.topic_named(name).map(|topic| (*name, topic)))
                .map(|(name, topic)| {
                    let own: &ConfigMap = &topic.overrides;
                    (name, (topic.partitions.len() as i32, own.get("retention.ms").map(|v| v.parse().unwrap())))
                })
                .collect();
            prop_assert_eq!(&seen, &model);
            prop_assert_eq!(rig.image.partition_count() as i32, model.values().map(|(count, _)| count).sum::<i32>());
            prop_assert_eq!(rig.image.to_records(), rig.controller.image().to_records());
        }
    }
}
