//! Probes about topics, configs and the cluster.

use coretide_model::TopicId;
use coretide_stdx::prng::Prng;
use coretide_wire::api::ApiKey;
use coretide_wire::messages as m;
use m::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};

use super::{Probe, TOPIC};

/// Names of topics that are there, may be there, and cannot be.
fn name(prng: &mut Prng) -> String {
    let name = match prng.below(9) {
        8 => "__cluster_metadata",
        0 => "topic0",
        1 => "nobody-made-this",
        2 => "bad name!",
        3 => "",
        _ => TOPIC,
    };
    name.to_string()
}

fn partition(prng: &mut Prng) -> i32 {
    prng.below(4) as i32 - 1
}

pub fn probe(prng: &mut Prng) -> Probe {
    match prng.below(15) {
        14 => api_versions(prng),
        0 => metadata(prng),
        1..=3 => create(prng),
        4 => delete(prng),
        5 => create_partitions(prng),
        6 => alter(prng),
        7 => incremental(prng),
        8 => describe_configs(prng),
        9 => Probe::new(
            ApiKey::DescribeTopicPartitions,
            0,
            &m::describe_topic_partitions::DescribeTopicPartitionsRequest {
                topics: vec![m::describe_topic_partitions::TopicRequest { name: name(prng) }],
                response_partition_limit: prng.below(4) as i32,
                cursor: None,
            },
        ),
        10 => Probe::new(
            ApiKey::DescribeLogDirs,
            1 + prng.below(4) as i16,
            &m::describe_log_dirs::DescribeLogDirsRequest::default(),
        ),
        11 => {
            let endpoint_type = 1 + prng.below(3) as i8;
            let request = m::describe_cluster::DescribeClusterRequest { endpoint_type, ..Default::default() };
            Probe::new(ApiKey::DescribeCluster, 1, &request)
        }
        12 => {
            let resource_types = vec![[2, 4, 8, 16, 32, 99][prng.below(6) as usize]];
            let request = m::list_config_resources::ListConfigResourcesRequest { resource_types };
            Probe::new(ApiKey::ListConfigResources, 1, &request)
        }
        _ => {
            let asked = m::list_partition_reassignments::ListPartitionReassignmentsTopics {
                name: name(prng),
                partition_indexes: vec![0],
            };
            let topics = Some(vec![asked]);
            let request =
                m::list_partition_reassignments::ListPartitionReassignmentsRequest { timeout_ms: 100, topics };
            Probe::new(ApiKey::ListPartitionReassignments, 0, &request)
        }
    }
}

/// Sometimes it means another cluster.
fn api_versions(prng: &mut Prng) -> Probe {
    let request = m::api_versions::ApiVersionsRequest {
        client_software_name: ["prober", ""][prng.below(2) as usize].to_string(),
        client_software_version: "1".to_string(),
        cluster_id: prng.chance(1, 2).then(|| "another".to_string()),
        node_id: 1,
    };
    Probe::new(ApiKey::ApiVersions, 5, &request)
}

fn metadata(prng: &mut Prng) -> Probe {
    let one = |name: Option<String>, id| Some(vec![m::metadata::MetadataRequestTopic { topic_id: TopicId(id), name }]);
    let topics = match prng.below(4) {
        0 => None,
        1 => one(None, 12345),
        _ => one(Some(name(prng)), 0),
    };
    let request = m::metadata::MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
    Probe::new(ApiKey::Metadata, 12, &request)
}

fn create(prng: &mut Prng) -> Probe {
    let mut topic = CreatableTopic {
        name: TOPIC.to_string(),
        num_partitions: 1 + prng.below(2) as i32,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let config =
        |name: &str, value: &str| CreatableTopicConfig { name: name.to_string(), value: Some(value.to_string()) };
    match prng.below(10) {
        0 => topic.name = name(prng),
        1 => topic.num_partitions = 0,
        2 => topic.replication_factor = 3,
        3 => topic.configs.push(config("retention.ms", "forever")),
        4 => topic.configs.push(config("no.such.key", "1")),
        5 => {
            let broker_ids = vec![prng.below(3) as i32];
            (topic.num_partitions, topic.replication_factor) = (-1, -1);
            topic.assignments.push(CreatableReplicaAssignment { partition_index: 0, broker_ids });
        }
        6 => topic.num_partitions = 1_000_000,
        _ => topic.configs.push(config("max.message.bytes", "60000")),
    }
    let mut topics = vec![topic];
    if prng.chance(1, 12) {
        topics.push(topics[0].clone());
    }
    let request = CreateTopicsRequest { topics, timeout_ms: 5000, validate_only: prng.chance(1, 4) };
    Probe::new(ApiKey::CreateTopics, 7, &request)
}

fn delete(prng: &mut Prng) -> Probe {
    let name = if prng.chance(1, 2) { TOPIC } else { "nobody-made-this" };
    let by_id = m::delete_topics::DeleteTopicState { name: None, topic_id: TopicId(4711) };
    let by_name = m::delete_topics::DeleteTopicState { name: Some(name.to_string()), topic_id: TopicId::ZERO };
    let both = m::delete_topics::DeleteTopicState { name: Some(name.to_string()), topic_id: TopicId(4711) };
    let state = [by_name.clone(), by_name, by_id, both][prng.below(4) as usize].clone();
    let request = m::delete_topics::DeleteTopicsRequest { topics: vec![state], timeout_ms: 5000, ..Default::default() };
    Probe::new(ApiKey::DeleteTopics, 6, &request)
}

fn create_partitions(prng: &mut Prng) -> Probe {
    let name = if prng.chance(1, 4) { "nobody-made-this" } else { TOPIC };
    let count = [0, 1, 2, 3, 4, 1_000_000][prng.below(6) as usize];
    let assignment = m::create_partitions::CreatePartitionsAssignment { broker_ids: vec![77] };
    let assignments = prng.chance(1, 5).then(|| vec![assignment]);
    let topic = m::create_partitions::CreatePartitionsTopic { name: name.to_string(), count, assignments };
    let validate_only = prng.chance(1, 3);
    let request =
        m::create_partitions::CreatePartitionsRequest { topics: vec![topic], timeout_ms: 5000, validate_only };
    Probe::new(ApiKey::CreatePartitions, 3, &request)
}

/// A config of a topic, good or bad.
fn setting(prng: &mut Prng) -> (String, Option<String>) {
    let (name, value) = match prng.below(9) {
        6 => ("min.insync.replicas", Some("2")),
        7 => ("max.message.bytes", Some("3000000")),
        8 => ("segment.bytes", Some("1048576")),
        0 => ("retention.ms", Some("100000")),
        1 => ("segment.ms", Some("500")),
        2 => ("cleanup.policy", Some("shred")),
        3 => ("no.such.key", Some("1")),
        4 => ("index.interval.bytes", Some("100")),
        _ => ("retention.bytes", None),
    };
    (name.to_string(), value.map(str::to_string))
}

/// A topic, or something that has no configs or is not there.
fn resource(prng: &mut Prng) -> (i8, String) {
    match prng.below(6) {
        0 => (2, "nobody-made-this".to_string()),
        1 => (99, TOPIC.to_string()),
        2 => (4, "no-broker".to_string()),
        _ => (2, TOPIC.to_string()),
    }
}

fn alter(prng: &mut Prng) -> Probe {
    let ((resource_type, resource_name), (name, value)) = (resource(prng), setting(prng));
    let configs = vec![m::alter_configs::AlterableConfig { name, value }];
    let resource = m::alter_configs::AlterConfigsResource { resource_type, resource_name, configs };
    let request = m::alter_configs::AlterConfigsRequest { resources: vec![resource], validate_only: prng.chance(1, 3) };
    Probe::new(ApiKey::AlterConfigs, 2, &request)
}

fn incremental(prng: &mut Prng) -> Probe {
    let ((resource_type, resource_name), (name, value)) = (resource(prng), setting(prng));
    let config_operation = prng.below(5) as i8;
    let configs = vec![m::incremental_alter_configs::AlterableConfig { name, config_operation, value }];
    let resource = m::incremental_alter_configs::AlterConfigsResource { resource_type, resource_name, configs };
    let resources = if prng.chance(1, 8) { vec![resource.clone(), resource] } else { vec![resource] };
    let request =
        m::incremental_alter_configs::IncrementalAlterConfigsRequest { resources, validate_only: prng.chance(1, 3) };
    Probe::new(ApiKey::IncrementalAlterConfigs, 1, &request)
}

fn describe_configs(prng: &mut Prng) -> Probe {
    let (resource_type, resource_name) = if prng.chance(1, 4) { (4, "1".to_string()) } else { resource(prng) };
    let resource =
        m::describe_configs::DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
    let request = m::describe_configs::DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    Probe::new(ApiKey::DescribeConfigs, 4, &request)
}

/// Records of producers, for the reports of DescribeProducers.
pub fn describe_producers(prng: &mut Prng) -> Probe {
    let topic = m::describe_producers::TopicRequest { name: name(prng), partition_indexes: vec![partition(prng)] };
    let request = m::describe_producers::DescribeProducersRequest { topics: vec![topic] };
    Probe::new(ApiKey::DescribeProducers, 0, &request)
}
