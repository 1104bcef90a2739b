//! Topics, configurations and the cluster over real frames, through every shard.

use coretide_model::{ShardId, TopicId};
use coretide_partition::{Isolation, ListTarget};
use coretide_wire::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource as ReplacedResource, AlterConfigsResponse,
    AlterableConfig as ReplacedConfig,
};
use coretide_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use coretide_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use coretide_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use coretide_wire::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use coretide_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use coretide_wire::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use coretide_wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use coretide_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use coretide_wire::messages::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use coretide_wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use coretide_wire::messages::produce::ProduceResponse;

use super::rig::{Rig, batch, produce, produced};
use crate::mail::{Answer, Ask, PartitionAsk, PartitionQuestion, PartitionReply, ReqId};
use crate::placement::METADATA_PARTITION;
use crate::{Event, Mail, Output};

fn metadata_of(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }
}

fn creation(name: &str, num_partitions: i32) -> CreateTopicsRequest {
    let topic =
        CreatableTopic { name: name.into(), num_partitions, replication_factor: 1, ..CreatableTopic::default() };
    CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() }
}

fn deletion(id: TopicId) -> DeleteTopicsRequest {
    let topics = vec![DeleteTopicState { name: None, topic_id: id }];
    DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() }
}

#[test]
fn a_topic_lives_from_its_creation_to_its_deletion_on_every_shard() {
    let mut rig = Rig::new(3);
    let conns = [rig.open(0), rig.open(1), rig.open(2)];
    let created: CreateTopicsResponse = rig.call(conns[2], 7, &creation("t", 6));
    assert_eq!((created.topics[0].error_code, created.topics[0].num_partitions), (0, 6));
    let id = created.topics[0].topic_id;
    for conn in conns {
        let response: MetadataResponse = rig.call(conn, 12, &metadata_of("t"));
        assert_eq!((response.topics[0].topic_id, response.topics[0].partitions.len()), (id, 6));
        assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("127.0.0.1", 9092));
        assert_eq!(response.cluster_id.as_deref(), Some("cluster-of-the-tests-00"));
        let page: DescribeTopicPartitionsResponse =
            rig.call(conn, 0, &DescribeTopicPartitionsRequest { response_partition_limit: 100, ..Default::default() });
        assert_eq!((page.topics.len(), page.topics[0].partitions.len()), (1, 6));
    }
    let again: CreateTopicsResponse = rig.call(conns[1], 7, &creation("t", 1));
    assert_eq!(again.topics[0].error_code, 36);

    let topic = CreatePartitionsTopic { name: "t".into(), count: 8, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic], ..CreatePartitionsRequest::default() };
    let grown: CreatePartitionsResponse = rig.call(conns[0], 3, &request);
    assert_eq!(grown.results[0].error_code, 0);
    for partition in 0..8 {
        let request = produce("t", -1, &[(partition, batch(&[b"x"]))]);
        let response: ProduceResponse = rig.call(conns[partition as usize % 3], 9, &request);
        assert_eq!(produced(&response), [(partition, 0, 0)]);
    }

    let deleted: DeleteTopicsResponse = rig.call(conns[1], 6, &deletion(id));
    assert_eq!((deleted.responses[0].error_code, deleted.responses[0].name.as_deref()), (0, Some("t")));
    for conn in conns {
        let request = MetadataRequest { allow_auto_topic_creation: false, ..metadata_of("t") };
        let response: MetadataResponse = rig.call(conn, 12, &request);
        assert_eq!(response.topics[0].error_code, 3);
    }
    let logs: usize = rig.shards.iter().map(|shard| shard.logs.sizes().len()).sum();
    assert_eq!(logs, 1, "only the metadata log is left");
    let recreated: CreateTopicsResponse = rig.call(conns[0], 7, &creation("t", 1));
    assert_ne!(recreated.topics[0].topic_id, id);
}

#[test]
fn nothing_is_called_created_before_it_is_durable() {
    let mut rig = Rig::new(2);
    let (conn, other) = (rig.open(1), rig.open(0));
    rig.hold_io = true;
    rig.send(conn, 7, &creation("t", 2));
    let request = MetadataRequest { allow_auto_topic_creation: false, ..metadata_of("t") };
    let response: MetadataResponse = rig.call(other, 12, &request);
    assert_eq!((rig.waiting(conn), response.topics[0].error_code), (0, 3));
    rig.release_io();
    let created: CreateTopicsResponse = rig.receive(conn);
    assert_eq!(created.topics[0].error_code, 0);
    let response: MetadataResponse = rig.call(other, 12, &request);
    assert_eq!(response.topics[0].error_code, 0);
}

#[test]
fn a_metadata_log_that_fails_creates_nothing_and_says_so() {
    let mut rig = Rig::new(2);
    let conn = rig.open(1);
    rig.disk.broken = true;
    let created: CreateTopicsResponse = rig.call(conn, 7, &creation("t", 2));
    assert_eq!(created.topics[0].error_code, 56);
    assert!(rig.shards.iter().all(|shard| shard.image.topic_named("t").is_none()));
    rig.disk.broken = false;
    let created: CreateTopicsResponse = rig.call(conn, 7, &creation("u", 2));
    assert_eq!(created.topics[0].error_code, 56, "a log that failed once is never trusted again");
}

#[test]
fn c5_the_first_metadata_request_says_unknown_and_the_next_one_finds_the_topic() {
    let mut rig = Rig::with(2, &[("num.partitions", "3")]);
    let conns = [rig.open(0), rig.open(1)];
    for version in [0, 4, 9, 13] {
        let name = format!("auto-{version}");
        let first: MetadataResponse = rig.call(conns[1], version, &metadata_of(&name));
        assert_eq!((first.topics[0].error_code, first.topics[0].partitions.len()), (3, 0));
        for conn in conns {
            let next: MetadataResponse = rig.call(conn, version, &metadata_of(&name));
            assert_eq!((next.topics[0].error_code, next.topics[0].partitions.len()), (0, 3));
        }
    }
}

#[test]
fn configurations_change_on_every_shard_and_are_described_as_they_are() {
    let mut rig = Rig::new(2);
    let id = rig.create("t", 2, &[]);
    let (conn, other) = (rig.open(1), rig.open(0));
    let config =
        |name: &str, value: &str| AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) };
    let resource = |resource_type, name: &str, configs| AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs,
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![
            resource(2, "t", vec![config("retention.ms", "123")]),
            resource(4, "", vec![config("log.segment.bytes", "2000000")]),
        ],
        validate_only: false,
    };
    let response: IncrementalAlterConfigsResponse = rig.call(conn, 1, &request);
    assert!(response.responses.iter().all(|resource| resource.error_code == 0), "{response:?}");
    for shard in &rig.shards {
        let config = &shard.image.topic(id).unwrap().config;
        assert_eq!((config.retention_ms, config.segment_bytes), (123, 2_000_000));
    }
    let asked = |name: &str, resource_type| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: Some(vec!["retention.ms".into(), "segment.bytes".into(), "num.partitions".into()]),
    };
    let request = DescribeConfigsRequest { resources: vec![asked("t", 2), asked("1", 4)], ..Default::default() };
    let described: DescribeConfigsResponse = rig.call(other, 4, &request);
    let rows: Vec<_> = described
        .results
        .iter()
        .flat_map(|result| &result.configs)
        .map(|config| (config.name.as_str(), config.value.as_deref().unwrap(), config.config_source))
        .collect();
    assert_eq!(rows, [("retention.ms", "123", 1), ("segment.bytes", "2000000", 3), ("num.partitions", "1", 5)]);

    let configs = vec![ReplacedConfig { name: "flush.messages".into(), value: Some("9".into()) }];
    let resources = vec![ReplacedResource { resource_type: 2, resource_name: "t".into(), configs }];
    let request = AlterConfigsRequest { resources, validate_only: false };
    let replaced: AlterConfigsResponse = rig.call(other, 2, &request);
    assert_eq!(replaced.responses[0].error_code, 0);
    for shard in &rig.shards {
        let config = &shard.image.topic(id).unwrap().config;
        assert_eq!((config.retention_ms, config.flush_messages), (604_800_000, 9));
    }
}

#[test]
fn the_size_of_a_topic_is_what_all_shards_hold_of_it() {
    let mut rig = Rig::new(3);
    rig.create("t", 5, &[]);
    let conn = rig.open(1);
    let mut expected = Vec::new();
    for partition in 0..5 {
        let bytes = batch(&[&vec![b'x'; 100 * (partition as usize + 1)]]);
        expected.push((partition, bytes.len() as i64));
        let response: ProduceResponse = rig.call(conn, 9, &produce("t", -1, &[(partition, bytes)]));
        assert_eq!(produced(&response), [(partition, 0, 0)]);
    }
    for version in 1..=5 {
        let request = DescribeLogDirsRequest { topics: None };
        let response: DescribeLogDirsResponse = rig.call(conn, version, &request);
        assert_eq!((response.results.len(), response.results[0].topics.len()), (1, 1));
        let sizes: Vec<_> = response.results[0].topics[0]
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.partition_size))
            .collect();
        assert_eq!(sizes, expected);
    }
}

#[test]
fn the_cluster_and_its_resources() {
    let mut rig = Rig::with(2, &[("advertised.listeners", "PLAINTEXT://kafka.example:7000"), ("node.id", "9")]);
    rig.create("t", 1, &[]);
    let conn = rig.open(1);
    let cluster: DescribeClusterResponse = rig.call(conn, 2, &DescribeClusterRequest::default());
    let broker = &cluster.brokers[0];
    assert_eq!((broker.broker_id, broker.host.as_str(), broker.port), (9, "kafka.example", 7000));
    assert_eq!((cluster.controller_id, cluster.cluster_id.as_str()), (9, "cluster-of-the-tests-00"));
    let none: ListPartitionReassignmentsResponse = rig.call(conn, 0, &ListPartitionReassignmentsRequest::default());
    assert_eq!((none.error_code, none.topics.len()), (0, 0));
    let request = ListConfigResourcesRequest { resource_types: vec![2, 4] };
    let listed: ListConfigResourcesResponse = rig.call(conn, 1, &request);
    let rows: Vec<_> =
        listed.config_resources.iter().map(|found| (found.resource_type, found.resource_name.as_str())).collect();
    assert_eq!(rows, [(2, "t"), (4, "9")]);
}

/// What the shards believe, in the words of the metadata log.
fn beliefs(rig: &Rig) -> Vec<Vec<coretide_controller::Record>> {
    rig.shards.iter().map(|shard| shard.image.to_records()).collect()
}

#[test]
fn the_clusters_state_survives_a_restart_under_any_number_of_shards() {
    let mut rig = Rig::new(2);
    let gone = rig.create("gone", 2, &[]);
    rig.create("t", 3, &[("retention.ms", "5"), ("cleanup.policy", "compact")]);
    rig.create("u", 1, &[]);
    let conn = rig.open(1);
    let _: DeleteTopicsResponse = rig.call(conn, 6, &deletion(gone));
    let config = AlterableConfig { name: "message.max.bytes".into(), config_operation: 0, value: Some("4321".into()) };
    let resource = AlterConfigsResource { resource_type: 4, resource_name: "1".into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let _: IncrementalAlterConfigsResponse = rig.call(conn, 1, &request);
    let before = beliefs(&rig).remove(0);
    assert!(before.len() > 8, "{before:?}");
    for shards in [2, 1, 3] {
        rig = rig.restart(shards, &[]);
        assert!(beliefs(&rig).iter().all(|belief| *belief == before), "{shards} shards");
        let max_message_bytes = |shard: &crate::Shard| shard.image.topic_named("u").unwrap().config.max_message_bytes;
        assert!(rig.shards.iter().all(|shard| max_message_bytes(shard) == 4321));
    }
}

/// Asks shard 0 as shard 1 would, and reads its answer off the outputs.
fn metadata_log_start(rig: &mut Rig) -> i64 {
    let ask = PartitionQuestion::ListOffsets {
        target: ListTarget::Earliest,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: -1,
    };
    let ask = Ask::Partitions(vec![PartitionAsk { tp: METADATA_PARTITION, place: 0, ask }]);
    let mail = Mail::Ask { id: ReqId(u64::MAX), place: 0, ask: Box::new(ask) };
    let mut out = Vec::new();
    rig.shards[0].handle(rig.now, Event::Mail { from: ShardId(1), mail }, &mut out);
    let found = out.into_iter().find_map(|output| match output {
        Output::Mail { mail: Mail::Answer { answer, .. }, .. } => Some(*answer),
        _ => None,
    });
    match found {
        Some(Answer::Partitions(mut answers)) => match answers.remove(0).answer {
            Ok(PartitionReply::ListOffsets(listed)) => listed.offset,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_metadata_log_that_grew_is_replaced_by_its_snapshot() {
    let mut rig = Rig::new(2);
    rig.create("t", 3, &[]);
    let conn = rig.open(1);
    for round in 0..10_100 {
        let config =
            AlterableConfig { name: "retention.ms".into(), config_operation: 0, value: Some(round.to_string()) };
        let resource = AlterConfigsResource { resource_type: 2, resource_name: "t".into(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let changed: IncrementalAlterConfigsResponse = rig.call(conn, 1, &request);
        assert_eq!(changed.responses[0].error_code, 0);
    }
    assert!(metadata_log_start(&mut rig) > 10_000);
    let before = beliefs(&rig).remove(0);
    rig = rig.restart(2, &[]);
    assert!(beliefs(&rig).iter().all(|belief| *belief == before));
    assert_eq!(rig.shards[0].image.topic_named("t").unwrap().config.retention_ms, 10_099);
}
