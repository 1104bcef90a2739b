//! The answers about topics, configurations and the cluster, rule by rule, through the same functions that the handlers
//! call; every answer is encoded in every version that is served.

use super::view::View;
use super::*;
use crate::mail::LogSizes;
use coretide_controller::{
    Command, ConfigOp, ConfigResource, Controller, ControllerConfig, Effects, Image, IncrementalChange, NewTopic,
    Reply, ResourceType,
};
use coretide_log::io::VolumeSpace;
use coretide_model::config::Origin;
use coretide_model::{BrokerConfig, ErrorCode, ShardId, TopicId, TopicPartition};
use coretide_wire::api::SERVED;
use coretide_wire::messages::alter_configs::AlterConfigsRequest;
use coretide_wire::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use coretide_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use coretide_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use coretide_wire::messages::describe_cluster::DescribeClusterRequest;
use coretide_wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use coretide_wire::messages::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use coretide_wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequestCursor, TopicRequest,
};
use coretide_wire::messages::incremental_alter_configs::{
    AlterConfigsResource as IncrementalResource, AlterableConfig as IncrementalConfig, IncrementalAlterConfigsRequest,
};
use coretide_wire::messages::list_config_resources::ListConfigResourcesRequest;
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};

struct Rig {
    controller: Controller,
    image: Image,
}

impl Rig {
    fn new(overrides: &[(&str, &str)]) -> Rig {
        let given: Vec<_> =
            overrides.iter().map(|(k, v)| (k.to_string(), v.to_string(), Origin::CommandLine)).collect();
        let broker = BrokerConfig::from_given(&given).expect("a valid configuration").0;
        let image = Image::new(broker.clone());
        let mut controller = Controller::new(ControllerConfig { broker, shards: 1, seed: 3 });
        let start = controller.start();
        controller.on_applied(ShardId(0), start.revision, &mut Effects::default());
        Rig { controller, image }
    }

    /// Topics `a` (3 partitions), `b.b` (2), `c` (1) and the internal one (2).
    fn filled() -> Rig {
        let mut rig = Rig::new(&[("offsets.topic.num.partitions", "2")]);
        for (name, num_partitions) in [("c", 1), ("a", 3), ("b.b", 2)] {
            let topic =
                NewTopic { name: name.to_string(), num_partitions, replication_factor: -1, ..NewTopic::default() };
            rig.ask(Command::CreateTopics { topics: vec![topic], validate_only: false });
        }
        rig.ask(Command::AutoCreate { names: vec!["__consumer_offsets".to_string()] });
        rig
    }

    fn ask(&mut self, command: Command) -> Reply {
        let mut effects = Effects::default();
        self.controller.handle(command, 1, &mut effects);
        for delta in std::mem::take(&mut effects.writes) {
            self.image.apply(&delta.records).expect("a sound delta");
            self.controller.on_applied(ShardId(0), delta.revision, &mut effects);
        }
        effects.replies.remove(0).1
    }

    fn set(&mut self, kind: ResourceType, name: &str, key: &str, value: &str) {
        let resource = ConfigResource { resource_type: kind.code(), name: name.to_string() };
        let change =
            IncrementalChange { name: key.to_string(), op: Some(ConfigOp::Set), value: Some(value.to_string()) };
        let command =
            Command::IncrementalAlterConfigs { resources: vec![(resource, vec![change])], validate_only: false };
        assert_eq!(self.ask(command), Reply::IncrementalAlterConfigs(vec![Ok(())]));
    }

    fn view(&self) -> View<'_> {
        View { image: &self.image, cluster_id: "the-cluster", host: "broker.example", port: 19_092 }
    }

    fn id(&self, name: &str) -> TopicId {
        self.image.topic_named(name).expect(name).id
    }
}

fn served(key: ApiKey) -> std::ops::RangeInclusive<i16> {
    let api = SERVED.iter().find(|served| served.key == key).expect("served");
    api.min..=api.max
}

/// Encodes as of a version and reads it back.
fn through_the_wire<M: Message>(response: &M, version: i16) -> M {
    let bytes = response.to_bytes(version).unwrap_or_else(|error| panic!("{} v{version}: {error}", M::NAME));
    M::decode(&mut Reader::new(&bytes), version).unwrap_or_else(|error| panic!("{} v{version}: {error}", M::NAME))
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.to_string()), ..MetadataRequestTopic::default() }
}

fn metadata_request(topics: Option<Vec<MetadataRequestTopic>>) -> MetadataRequest {
    MetadataRequest { topics, ..MetadataRequest::default() }
}

#[test]
fn w9_metadata_lists_what_was_asked_for() {
    let rig = Rig::filled();
    let all = ["__consumer_offsets", "a", "b.b", "c"].as_slice();
    for version in served(ApiKey::Metadata) {
        let cases: &[(Option<Vec<MetadataRequestTopic>>, &[&str])] = &[
            (None, all),
            (Some(Vec::new()), if version == 0 { all } else { &[] }),
            (Some(vec![named("c"), named("a"), named("c")]), &["c", "a"]),
        ];
        for (topics, expected) in cases {
            let (response, missing) = metadata::answer(&metadata_request(topics.clone()), version, &rig.view());
            let response = through_the_wire(&response, version);
            let names: Vec<_> = response.topics.iter().map(|topic| topic.name.clone().unwrap()).collect();
            assert_eq!(names, *expected, "version {version}");
            assert!(missing.is_empty());
            assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("broker.example", 19_092));
            assert_eq!(response.brokers[0].node_id, 1);
            for topic in &response.topics {
                assert_eq!(topic.error_code, 0);
                assert_eq!(topic.is_internal, version >= 1 && topic.name.as_deref() == Some("__consumer_offsets"));
                assert_eq!(topic.topic_authorized_operations, i32::MIN);
                assert!(
                    topic.partitions.iter().all(|partition| partition.leader_id == 1 && partition.isr_nodes == [1])
                );
                if version >= 10 {
                    assert_eq!(topic.topic_id, rig.id(topic.name.as_deref().unwrap()));
                }
            }
            if version >= 2 {
                assert_eq!(response.cluster_id.as_deref(), Some("the-cluster"));
            }
        }
    }
}

#[test]
fn w9_c5_unknown_topics_and_auto_creation() {
    let rig = Rig::filled();
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    let invalid = ErrorCode::InvalidTopicException as i16;
    let topics = vec![named("new"), named("bad name"), named("a"), named("__cluster_metadata")];
    for (allow, version) in [(true, 0), (true, 9), (false, 9)] {
        let request = MetadataRequest { allow_auto_topic_creation: allow, ..metadata_request(Some(topics.clone())) };
        let (response, missing) = metadata::answer(&request, version, &rig.view());
        let codes: Vec<_> = through_the_wire(&response, version).topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [unknown, invalid, 0, unknown]);
        assert_eq!(missing, if allow { vec!["new".to_string()] } else { Vec::new() });
    }
    let rig = Rig::new(&[("auto.create.topics.enable", "false")]);
    assert!(metadata::answer(&metadata_request(Some(vec![named("new")])), 9, &rig.view()).1.is_empty());
}

#[test]
fn w9_topics_by_id() {
    let rig = Rig::filled();
    let by_id = |id: TopicId| MetadataRequestTopic { topic_id: id, name: None };
    let request = metadata_request(Some(vec![by_id(rig.id("a")), by_id(TopicId(12_345)), by_id(TopicId::ZERO)]));
    for version in 12..=13 {
        let response = through_the_wire(&metadata::answer(&request, version, &rig.view()).0, version);
        assert_eq!(response.topics[0].name.as_deref(), Some("a"));
        assert_eq!((response.topics[1].error_code, &response.topics[1].name), (100, &None));
        assert_eq!(response.topics[1].topic_id, TopicId(12_345));
        assert_eq!(response.topics[2].error_code, 42);
    }
    for version in 10..=11 {
        let response = through_the_wire(&metadata::answer(&request, version, &rig.view()).0, version);
        assert!(response.topics.iter().all(|topic| topic.error_code == 42), "version {version}");
    }
}

#[test]
fn s4_operations_are_told_only_on_request() {
    let rig = Rig::filled();
    let request = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..metadata_request(None)
    };
    let response = through_the_wire(&metadata::answer(&request, 8, &rig.view()).0, 8);
    // READ 3, WRITE 4, CREATE 5, DELETE 6, ALTER 7, DESCRIBE 8, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11.
    assert!(response.topics.iter().all(|topic| topic.topic_authorized_operations == 3576));
    // CREATE, ALTER, DESCRIBE, CLUSTER_ACTION 9, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE 12.
    assert_eq!(response.cluster_authorized_operations, 8096);
    for (asked, expected) in [(true, 8096), (false, i32::MIN)] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: asked,
            ..DescribeClusterRequest::default()
        };
        assert_eq!(describe_cluster::answer(&request, &rig.view()).cluster_authorized_operations, expected);
    }
}

#[test]
fn describe_cluster_names_the_listener_that_was_reached() {
    let rig = Rig::new(&[("broker.rack", "r1"), ("node.id", "5")]);
    for version in served(ApiKey::DescribeCluster) {
        let response = describe_cluster::answer(&DescribeClusterRequest::default(), &rig.view());
        let response = through_the_wire(&response, version);
        assert_eq!((response.cluster_id.as_str(), response.controller_id), ("the-cluster", 5));
        let broker = &response.brokers[0];
        assert_eq!((broker.broker_id, broker.host.as_str(), broker.port), (5, "broker.example", 19_092));
        assert_eq!(broker.rack.as_deref(), Some("r1"));
    }
    for (endpoint_type, expected) in [(2, 114), (9, 115)] {
        let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
        assert_eq!(through_the_wire(&describe_cluster::answer(&request, &rig.view()), 1).error_code, expected);
    }
}

/// Pages through everything; every page as (topic, first partition, number of partitions or error).
fn pages(rig: &Rig, topics: &[&str], limit: i32) -> Vec<Vec<(String, i32, i32)>> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: name.to_string() }).collect(),
            response_partition_limit: limit,
            cursor,
        };
        let response = through_the_wire(&describe_topic_partitions::answer(&request, &rig.view()), 0);
        let row = |topic: &coretide_wire::messages::describe_topic_partitions::DescribeTopicPartitionsResponseTopic| {
            let name = topic.name.clone().unwrap();
            match topic.partitions.first() {
                Some(first) => (name, first.partition_index, topic.partitions.len() as i32),
                None => (name, -1, i32::from(topic.error_code)),
            }
        };
        pages.push(response.topics.iter().map(row).collect());
        assert!(pages.len() < 50, "the pages never end");
        cursor = match response.next_cursor {
            Some(next) => Some(DescribeTopicPartitionsRequestCursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
            }),
            None => return pages,
        };
    }
}

#[test]
fn describe_topic_partitions_pages_by_cursor() {
    let rig = Rig::filled();
    let row = |name: &str, first, count| (name.to_string(), first, count);
    assert_eq!(
        pages(&rig, &[], 2000),
        [vec![row("__consumer_offsets", 0, 2), row("a", 0, 3), row("b.b", 0, 2), row("c", 0, 1)]]
    );
    assert_eq!(
        pages(&rig, &[], 2),
        [
            vec![row("__consumer_offsets", 0, 2)],
            vec![row("a", 0, 2)],
            vec![row("a", 2, 1), row("b.b", 0, 1)],
            vec![row("b.b", 1, 1), row("c", 0, 1)],
        ]
    );
    assert_eq!(pages(&rig, &[], -5).len(), 8, "at least one partition a page");
    assert_eq!(
        pages(&rig, &["c", "nope", "a", "bad name", "a"], 3),
        [vec![row("a", 0, 3)], vec![row("bad name", -1, 17), row("c", 0, 1), row("nope", -1, 3)]]
    );
    let cursor = Some(DescribeTopicPartitionsRequestCursor { topic_name: "a".to_string(), partition_index: -1 });
    let topics = vec![TopicRequest { name: "a".to_string() }];
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: 5, cursor };
    assert_eq!(describe_topic_partitions::answer(&request, &rig.view()).topics[0].error_code, 42);
}

#[test]
fn c4_create_topics_in_every_version() {
    for version in served(ApiKey::CreateTopics) {
        let mut rig = Rig::filled();
        let topic = |name: &str, num_partitions, configs: &[(&str, &str)]| CreatableTopic {
            name: name.to_string(),
            num_partitions,
            replication_factor: 1,
            configs: configs
                .iter()
                .map(|(k, v)| CreatableTopicConfig { name: k.to_string(), value: Some(v.to_string()) })
                .collect(),
            ..CreatableTopic::default()
        };
        let topics = vec![
            topic("new", 2, &[("retention.ms", "-1")]),
            topic("a", 1, &[]),
            topic("b_b", 1, &[]),
            topic("x", 0, &[]),
            CreatableTopic { replication_factor: 3, ..topic("x2", 1, &[]) },
            topic("x3", 1, &[("segment.bytes", "1")]),
            topic("twice", 1, &[]),
            topic("twice", 1, &[]),
        ];
        let request = CreateTopicsRequest { topics, timeout_ms: 0, validate_only: false };
        let reply = rig.ask(create_topics::command(&request));
        let response = through_the_wire(&create_topics::response(&request, version, reply), version);
        let rows: Vec<_> = response.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
        assert_eq!(
            rows,
            [("new", 0), ("a", 36), ("b_b", 17), ("x", 37), ("x2", 38), ("x3", 40), ("twice", 42)],
            "version {version}"
        );
        for topic in &response.topics {
            assert_eq!(topic.error_message.is_none(), topic.error_code == 0, "{topic:?}");
        }
        let new = &response.topics[0];
        if version >= 5 {
            assert_eq!((new.num_partitions, new.replication_factor), (2, 1));
            let retention = new.configs.as_ref().unwrap().iter().find(|c| c.name == "retention.ms").unwrap();
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("-1"), 1));
        }
        if version >= 7 {
            assert_eq!(new.topic_id, rig.id("new"));
        }
    }
}

#[test]
fn delete_topics_in_every_version() {
    for version in served(ApiKey::DeleteTopics) {
        let mut rig = Rig::filled();
        let id = rig.id("c");
        let by_name = |name: &str| DeleteTopicState { name: Some(name.to_string()), topic_id: TopicId::ZERO };
        let request = if version < 6 {
            let topic_names = ["a", "nope", "__consumer_offsets"].map(str::to_string).to_vec();
            DeleteTopicsRequest { topic_names, ..DeleteTopicsRequest::default() }
        } else {
            let topics = vec![
                by_name("a"),
                by_name("nope"),
                by_name("__consumer_offsets"),
                DeleteTopicState { name: None, topic_id: TopicId(999) },
                DeleteTopicState { name: None, topic_id: TopicId::ZERO },
                DeleteTopicState { name: Some("b.b".to_string()), topic_id: rig.id("b.b") },
                DeleteTopicState { name: None, topic_id: id },
            ];
            DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() }
        };
        let reply = rig.ask(delete_topics::command(&request, version));
        let response = through_the_wire(&delete_topics::response(&request, version, reply), version);
        let codes: Vec<_> = response.responses.iter().map(|topic| topic.error_code).collect();
        let expected = [0, 3, 29, 100, 42, 42, 0];
        assert_eq!(codes, expected[..codes.len()], "version {version}");
        assert_eq!(codes.len(), if version < 6 { 3 } else { 7 });
        if version >= 6 {
            assert_eq!((response.responses[6].name.as_deref(), response.responses[6].topic_id), (Some("c"), id));
            assert_eq!(response.responses[3].name, None);
        }
    }
    for (version, expected) in [(1, 42), (3, 73)] {
        let mut rig = Rig::new(&[("delete.topic.enable", "false")]);
        let request = DeleteTopicsRequest { topic_names: vec!["a".to_string()], ..DeleteTopicsRequest::default() };
        let reply = rig.ask(delete_topics::command(&request, version));
        assert_eq!(delete_topics::response(&request, version, reply).responses[0].error_code, expected);
    }
}

#[test]
fn c8_create_partitions_in_every_version() {
    for version in served(ApiKey::CreatePartitions) {
        let mut rig = Rig::filled();
        let topic = |name: &str, count| CreatePartitionsTopic { name: name.to_string(), count, assignments: None };
        let topics = vec![topic("a", 5), topic("b.b", 2), topic("c", 0), topic("nope", 3)];
        let request = CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() };
        let reply = rig.ask(create_partitions::command(&request));
        let response = through_the_wire(&create_partitions::response(&request, reply), version);
        let rows: Vec<_> = response.results.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
        assert_eq!(rows, [("a", 0), ("b.b", 37), ("c", 37), ("nope", 3)]);
        assert_eq!(rig.image.topic_named("a").unwrap().partitions.len(), 5);
    }
}

fn describe_one(
    rig: &Rig,
    version: i16,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> coretide_wire::messages::describe_configs::DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.to_string(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| key.to_string()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource.clone(), resource],
        include_synonyms: true,
        include_documentation: version >= 3,
    };
    let mut response = through_the_wire(&describe_configs::answer(&request, version, &rig.view()), version);
    assert_eq!(response.results.len(), 1, "asked twice, described once");
    response.results.remove(0)
}

#[test]
fn c6_describe_configs_of_a_topic() {
    let mut rig = Rig::filled();
    rig.set(ResourceType::Topic, "a", "retention.ms", "77");
    rig.set(ResourceType::Broker, "", "message.max.bytes", "5000");
    for version in served(ApiKey::DescribeConfigs) {
        let result = describe_one(&rig, version, 2, "a", None);
        assert_eq!((result.error_code, result.error_message.clone(), result.configs.len()), (0, None, 38));
        let get = |name: &str| result.configs.iter().find(|config| config.name == name).expect(name);
        let retention = get("retention.ms");
        assert_eq!((retention.value.as_deref(), retention.config_source, retention.read_only), (Some("77"), 1, false));
        assert_eq!((retention.synonyms[0].name.as_str(), retention.synonyms[0].source), ("retention.ms", 1));
        assert_eq!((retention.synonyms[1].name.as_str(), retention.synonyms[1].source), ("log.retention.hours", 5));
        let size = get("max.message.bytes");
        assert_eq!((size.value.as_deref(), size.config_source), (Some("5000"), 3));
        assert_eq!((get("flush.messages").value.as_deref(), get("flush.messages").config_source), (Some("1"), 5));
        assert_eq!(retention.config_type, if version >= 3 { 5 } else { 0 });
        assert_eq!(retention.documentation.is_some(), version >= 3);
    }
    let picked = describe_one(&rig, 4, 2, "a", Some(&["cleanup.policy", "no.such"]));
    assert_eq!(picked.configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>(), ["cleanup.policy"]);
    assert_eq!(describe_one(&rig, 4, 2, "a", Some(&[])).configs.len(), 38);
}

#[test]
fn c6_describe_configs_of_everything_else() {
    let mut rig = Rig::filled();
    rig.set(ResourceType::Broker, "1", "message.max.bytes", "5000");
    rig.set(ResourceType::Broker, "", "log.retention.ms", "9");
    rig.set(ResourceType::Group, "g", "consumer.session.timeout.ms", "50000");
    for (kind, name, code, count) in [
        (2, "nope", 3, 0),
        (2, "bad name", 17, 0),
        (2, "", 17, 0),
        (4, "2", 42, 0),
        (4, "x", 42, 0),
        (4, "", 0, 1),
        (8, "1", 0, 0),
        (8, "2", 42, 0),
        (16, "m", 0, 3),
        (16, "", 42, 0),
        (32, "g", 0, 21),
        (32, "", 42, 0),
        (7, "x", 42, 0),
    ] {
        let result = describe_one(&rig, 4, kind, name, None);
        assert_eq!((result.error_code, result.configs.len()), (code, count), "{kind} '{name}'");
        assert_eq!(result.error_message.is_some(), code != 0);
    }
    let broker = describe_one(&rig, 4, 4, "1", None);
    let get = |name: &str| broker.configs.iter().find(|config| config.name == name).expect(name);
    let size = get("message.max.bytes");
    assert_eq!((size.value.as_deref(), size.config_source, size.read_only), (Some("5000"), 2, false));
    assert_eq!((get("log.retention.ms").value.as_deref(), get("log.retention.ms").config_source), (Some("9"), 3));
    let secret = get("ssl.keystore.password");
    assert_eq!((secret.value.as_deref(), secret.is_sensitive, secret.config_type), (None, true, 9));
    for name in ["num.partitions", "auto.create.topics.enable", "delete.topic.enable", "default.replication.factor"] {
        assert!(get(name).value.is_some() && get(name).read_only, "{name}");
    }
    let group = describe_one(&rig, 4, 32, "g", Some(&["consumer.session.timeout.ms"]));
    assert_eq!((group.configs[0].value.as_deref(), group.configs[0].config_source), (Some("50000"), 8));
    assert_eq!(group.configs[0].synonyms[1].name, "group.consumer.session.timeout.ms");
}

#[test]
fn c7_alter_configs_over_the_wire() {
    use coretide_wire::messages::alter_configs::{AlterConfigsResource, AlterableConfig};
    for version in served(ApiKey::AlterConfigs) {
        let mut rig = Rig::filled();
        rig.set(ResourceType::Topic, "a", "segment.ms", "5");
        let resource = |kind, name: &str, key: &str, value: Option<&str>| AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_string(),
            configs: vec![AlterableConfig { name: key.to_string(), value: value.map(str::to_string) }],
        };
        let resources = vec![
            resource(2, "a", "retention.ms", Some("9")),
            resource(2, "c", "retention.ms", None),
            resource(2, "nope", "retention.ms", Some("9")),
            resource(2, "b.b", "retention.ms", Some("many")),
            resource(4, "1", "num.partitions", Some("9")),
            resource(77, "1", "num.partitions", Some("9")),
        ];
        let request = AlterConfigsRequest { resources, validate_only: false };
        let reply = rig.ask(alter_configs::command(&request));
        let response = through_the_wire(&alter_configs::response(&request, reply), version);
        let codes: Vec<_> = response.responses.iter().map(|resource| resource.error_code).collect();
        assert_eq!(codes, [0, 42, 3, 40, 42, 42]);
        assert_eq!(response.responses[5].resource_type, 77);
        let own: Vec<_> = rig.image.topic_named("a").unwrap().overrides.keys().cloned().collect();
        assert_eq!(own, ["retention.ms"], "what is not named is reset");
    }
}

#[test]
fn c7_incremental_alter_configs_over_the_wire() {
    for version in served(ApiKey::IncrementalAlterConfigs) {
        let mut rig = Rig::filled();
        let resource = |name: &str, key: &str, config_operation, value: Option<&str>| IncrementalResource {
            resource_type: 2,
            resource_name: name.to_string(),
            configs: vec![IncrementalConfig {
                name: key.to_string(),
                config_operation,
                value: value.map(str::to_string),
            }],
        };
        let ask = |rig: &mut Rig, resources: Vec<IncrementalResource>, validate_only| {
            let request = IncrementalAlterConfigsRequest { resources, validate_only };
            let reply = rig.ask(incremental_alter_configs::command(&request));
            let response = incremental_alter_configs::response(&request, reply);
            let response = through_the_wire(&response, version);
            response.responses.iter().map(|resource| resource.error_code).collect::<Vec<_>>()
        };
        let resources = vec![
            resource("a", "cleanup.policy", 2, Some("compact")),
            resource("c", "retention.ms", 2, Some("5")),
            resource("b.b", "retention.ms", 9, Some("5")),
            resource("nope", "retention.ms", 0, Some("5")),
        ];
        assert_eq!(ask(&mut rig, resources.clone(), true), [0, 40, 42, 3]);
        assert!(rig.image.topic_named("a").unwrap().overrides.is_empty());
        assert_eq!(ask(&mut rig, resources, false), [0, 40, 42, 3]);
        assert!(rig.image.topic_named("a").unwrap().config.cleanup_policy.compact);
        let twice = vec![resource("a", "retention.ms", 1, None), resource("a", "segment.ms", 1, None)];
        assert_eq!(ask(&mut rig, twice, false), [42, 42]);
    }
}

#[test]
fn list_config_resources_by_version_and_type() {
    let mut rig = Rig::filled();
    rig.set(ResourceType::Group, "g", "consumer.session.timeout.ms", "50000");
    rig.set(ResourceType::ClientMetrics, "m", "interval.ms", "100");
    let list = |version, resource_types: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
        let response = list_config_resources::answer(&request, version, &rig.view());
        let response = through_the_wire(&response, version);
        let rows: Vec<_> =
            response.config_resources.into_iter().map(|found| (found.resource_type, found.resource_name)).collect();
        (response.error_code, rows)
    };
    let row = |kind, name: &str| (kind, name.to_string());
    assert_eq!(list(0, &[]), (0, vec![row(16, "m")]));
    assert_eq!(list(1, &[32, 4]), (0, vec![row(4, "1"), row(32, "g")]));
    assert_eq!(list(1, &[]).1.len(), 4 + 1 + 1 + 1 + 1);
    assert_eq!(list(1, &[2, 3]), (35, Vec::new()));
}

#[test]
fn describe_log_dirs_sums_over_shards_and_hides_what_is_no_topic() {
    let rig = Rig::filled();
    let at = |name: &str, partition| TopicPartition { topic_id: rig.id(name), partition };
    let metadata = TopicPartition { topic_id: TopicId(1), partition: 0 };
    let sizes = [(at("a", 2), 30), (metadata, 5), (at("c", 0), 7), (at("a", 0), 10)];
    let describe = |version, topics: Option<Vec<DescribableLogDirTopic>>| {
        let found =
            LogSizes { sizes: sizes.to_vec(), volume: Some(VolumeSpace { total_bytes: 1000, free_bytes: 600 }) };
        let response = describe_log_dirs::response(&DescribeLogDirsRequest { topics }, &rig.view(), found);
        let response = through_the_wire(&response, version);
        assert_eq!((response.error_code, response.results.len()), (0, 1));
        assert_eq!((response.results[0].error_code, response.results[0].log_dir.as_str()), (0, "./data"));
        let volume = (response.results[0].total_bytes, response.results[0].usable_bytes);
        assert_eq!(volume, if version >= 4 { (1000, 600) } else { (-1, -1) }, "KIP-827 begins with version 4");
        let row = |topic: &coretide_wire::messages::describe_log_dirs::DescribeLogDirsTopic| {
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .map(|partition| (partition.partition_index, partition.partition_size))
                .collect();
            (topic.name.clone(), partitions)
        };
        response.results[0].topics.iter().map(row).collect::<Vec<_>>()
    };
    for version in served(ApiKey::DescribeLogDirs) {
        let all = vec![("a".to_string(), vec![(0, 10), (2, 30)]), ("c".to_string(), vec![(0, 7)])];
        assert_eq!(describe(version, None), all);
        let wanted = vec![
            DescribableLogDirTopic { topic: "a".to_string(), partitions: vec![2, 9] },
            DescribableLogDirTopic { topic: "nope".to_string(), partitions: vec![0] },
        ];
        assert_eq!(describe(version, Some(wanted)), [("a".to_string(), vec![(2, 30)])]);
    }
}

#[test]
fn kafka_topics_describe_finds_no_reassignment() {
    let response = through_the_wire(&list_partition_reassignments::answer(), 0);
    assert_eq!((response.error_code, response.topics.len()), (0, 0));
}
