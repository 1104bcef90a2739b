//! Whatever the broker has to remember: producers, topics, partitions, settings.

use coretide_log::builder::BatchBuilder;
use coretide_log::codec::Compression;
use coretide_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use coretide_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use coretide_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};

use super::{Outcome, Tally, Target, create};

/// Producer ids in flight at a time.
const WINDOW: i64 = 200;
/// Partitions that each new producer writes to.
const PARTITIONS: i32 = 16;

/// A new producer id for every request, each used once on every partition.
pub fn producer_ids(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "ids", PARTITIONS, &[("retention.bytes", "67108864")])?;
    let mut tally = Tally::default();
    while target.goes_on() {
        for _ in 0..WINDOW {
            let ask = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
            peer.send(&ask, 4)?;
        }
        let mut first = i64::MAX;
        for _ in 0..WINDOW {
            let given = peer.answer::<InitProducerIdResponse>(4)?.map_err(|ended| ended.to_string())?;
            tally.code(given.error_code);
            first = first.min(given.producer_id);
        }
        for id in first..first + WINDOW {
            let partition = |index| {
                let mut builder = BatchBuilder::new(Compression::default()).producer(id, 0, 0);
                builder.push(crate::wall_ms(), None, Some(b"1"), &[]);
                PartitionProduceData { index, records: Some(builder.build()) }
            };
            let data = TopicProduceData {
                name: "ids".to_string(),
                partition_data: (0..PARTITIONS).map(partition).collect(),
                ..TopicProduceData::default()
            };
            peer.send(
                &ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![data], ..Default::default() },
                9,
            )?;
        }
        for _ in 0..WINDOW {
            let answer = peer.answer::<ProduceResponse>(9)?.map_err(|ended| ended.to_string())?;
            let parts = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            parts.for_each(|partition| tally.code(partition.error_code));
        }
    }
    tally.expect(&["NONE"])
}

/// Topics until `coretide.max.topics` is reached, and then on.
pub fn topics(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    let mut tally = Tally::default();
    for number in 0u64.. {
        if !target.goes_on() {
            break;
        }
        tally.code(create(&mut peer, &format!("endless-{number}"), 3, &[])?);
    }
    tally.expect(&["NONE", "POLICY_VIOLATION"])
}

/// Topics of two thousand million partitions, at once and by growing.
pub fn partitions(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "growing", 1, &[])?;
    let mut tally = Tally::default();
    while target.goes_on() {
        for count in [i32::MAX, 1_000_000, -7, 0] {
            tally.code(create(&mut peer, "wide", count, &[])?);
        }
        let topic = CreatePartitionsTopic { name: "growing".to_string(), count: i32::MAX, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
        let answer = peer.call::<_, CreatePartitionsResponse>(&request, 3)?.map_err(|ended| ended.to_string())?;
        answer.results.iter().for_each(|result| tally.code(result.error_code));
    }
    tally.expect(&["POLICY_VIOLATION", "INVALID_PARTITIONS"])
}

/// Settings of hundreds of kilobytes, known and unknown, at creation and later.
pub fn giant_configs(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "set", 1, &[])?;
    let giant = "x".repeat(30_000);
    let list = vec!["1:1"; 8000].join(",");
    let mut tally = Tally::default();
    for number in 0u64.. {
        if !target.goes_on() {
            break;
        }
        tally.code(create(&mut peer, &format!("set-{number}"), 1, &[("cleanup.policy", &giant)])?);
        tally.code(create(&mut peer, &format!("set-{number}"), 1, &[(&giant, "1")])?);
        let values =
            [("no.such.key", &giant), ("follower.replication.throttled.replicas", &list), ("retention.ms", &giant)];
        for (name, value) in values {
            let config = AlterableConfig { name: name.to_string(), config_operation: 0, value: Some(value.clone()) };
            let resource =
                AlterConfigsResource { resource_type: 2, resource_name: "set".to_string(), configs: vec![config] };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
            let answer =
                peer.call::<_, IncrementalAlterConfigsResponse>(&request, 1)?.map_err(|ended| ended.to_string())?;
            answer.responses.iter().for_each(|one| tally.code(one.error_code));
        }
    }
    tally.expect(&["INVALID_CONFIG", "NONE"])
}
