//! Floods of requests that cost more to answer than to send.

use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use coretide_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use super::{Outcome, Tally, Target};

/// Partitions of the topics that are asked about.
const PARTITIONS: i32 = 100;

/// Asks for everything about thousands of partitions, again and again, on several connections at once.
pub fn metadata_flood(target: &Target) -> Outcome {
    let mut peers = target.open(8)?;
    for topic in 0..20 {
        target.create_topic(&mut peers[0], &format!("many-{topic}"), PARTITIONS, &[])?;
    }
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let mut tally = Tally::default();
    while target.goes_on() {
        for peer in &mut peers {
            peer.send(&all, 9)?;
        }
        for peer in &mut peers {
            let answer = peer.answer::<MetadataResponse>(9)?.map_err(|ended| ended.to_string())?;
            tally.add(if answer.topics.len() >= 20 { "answered" } else { "topics are missing" });
        }
    }
    tally.expect(&["answered"])
}

/// Looks up offsets by time in thousands of partitions.
pub fn list_offsets_flood(target: &Target) -> Outcome {
    let mut peers = target.open(8)?;
    target.create_topic(&mut peers[0], "listed", PARTITIONS, &[])?;
    let ask = |times: i32| ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "listed".to_string(),
            partitions: (0..PARTITIONS * times)
                .map(|index| ListOffsetsPartition {
                    partition_index: index % PARTITIONS,
                    current_leader_epoch: -1,
                    timestamp: if index % 2 == 0 { 1 } else { -1 },
                })
                .collect(),
        }],
        ..ListOffsetsRequest::default()
    };
    let (once, often) = (ask(1), ask(100));
    let mut tally = Tally::default();
    while target.goes_on() {
        for (at, peer) in peers.iter_mut().enumerate() {
            peer.send(if at == 0 { &often } else { &once }, 5)?;
        }
        for peer in &mut peers {
            let answer = peer.answer::<ListOffsetsResponse>(5)?.map_err(|ended| ended.to_string())?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                tally.code(partition.error_code);
            }
        }
    }
    // The same partition twice in one request is a client's defect, and Kafka says so.
    tally.expect(&["NONE", "INVALID_REQUEST"])
}

/// Makes a new fetch session with every request and never uses it again.
pub fn fetch_sessions(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "sessions", 1000, &[])?;
    let partition = |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let request = FetchRequest {
        max_wait_ms: 0,
        max_bytes: 1 << 20,
        session_epoch: 0,
        topics: vec![FetchTopic {
            topic: "sessions".to_string(),
            partitions: (0..1000).map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let mut tally = Tally::default();
    while target.goes_on() {
        let answer = peer.call::<_, FetchResponse>(&request, 7)?.map_err(|ended| ended.to_string())?;
        tally.code(answer.error_code);
        tally.add(if answer.session_id == 0 { "without session" } else { "session" });
    }
    tally.expect(&["NONE", "session", "without session"])
}

/// Asks for topics that do not exist, so that they are created.
pub fn auto_created_topics(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    let mut tally = Tally::default();
    for turn in 0u64.. {
        if !target.goes_on() {
            break;
        }
        let topic = |number: u64| MetadataRequestTopic {
            name: Some(format!("auto-{turn}-{number}")),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest { topics: Some((0..20).map(topic).collect()), ..MetadataRequest::default() };
        let answer = peer.call::<_, MetadataResponse>(&request, 9)?.map_err(|ended| ended.to_string())?;
        answer.topics.iter().for_each(|topic| tally.code(topic.error_code));
    }
    tally.expect(&["UNKNOWN_TOPIC_OR_PARTITION"])
}
