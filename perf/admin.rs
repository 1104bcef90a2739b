//! One blocking connection for what a load needs before it starts: its topic.

use bytes::Bytes;
use coretide_wire::header::decode_response_header;
use coretide_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use coretide_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use coretide_wire::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use coretide_wire::{Message, Reader, encode_request};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const CREATE_TOPICS_VERSION: i16 = 5;
const DELETE_TOPICS_VERSION: i16 = 4;
const METADATA_VERSION: i16 = 5;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// How long a new topic may take until all its partitions have a leader.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Connects without delay for small frames.
pub fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|e| format!("{address}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| format!("{address}: {e}"))?;
    Ok(stream)
}

/// Makes the topic (an existing one is kept) and waits until every partition has a leader.
pub fn ensure_topic(address: &str, name: &str, partitions: i32, configs: &[String]) -> Result<(), String> {
    make_topic(address, name, partitions, configs, &[0, TOPIC_ALREADY_EXISTS])
}

/// Makes the topic and waits until every partition has a leader; one that is there already is an error.
pub fn create_topic(address: &str, name: &str, partitions: i32, configs: &[String]) -> Result<(), String> {
    make_topic(address, name, partitions, configs, &[0])
}

fn make_topic(address: &str, name: &str, partitions: i32, configs: &[String], fine: &[i16]) -> Result<(), String> {
    let mut stream = connect(address)?;
    let configs = configs
        .iter()
        .map(|text| {
            let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not key=value"))?;
            Ok(CreatableTopicConfig { name: key.to_owned(), value: Some(value.to_owned()) })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let response: CreateTopicsResponse = ask(&mut stream, &request, CREATE_TOPICS_VERSION)?;
    for result in response.topics {
        if result.error_code == TOPIC_ALREADY_EXISTS && !fine.contains(&TOPIC_ALREADY_EXISTS) {
            return Err(format!("topic {name} is there already, and is left alone"));
        }
        if !fine.contains(&result.error_code) {
            let message = result.error_message.unwrap_or_default();
            return Err(format!("creating topic {name}: error {} {message}", result.error_code));
        }
    }
    await_leaders(&mut stream, name, partitions)
}

fn await_leaders(stream: &mut TcpStream, name: &str, partitions: i32) -> Result<(), String> {
    let deadline = Instant::now() + LEADERS_WITHIN;
    loop {
        let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let response: MetadataResponse = ask(stream, &request, METADATA_VERSION)?;
        let led = response.topics.iter().flat_map(|t| &t.partitions).filter(|p| p.error_code == 0 && p.leader_id >= 0);
        let (led, all) = (led.count(), response.topics.iter().map(|t| t.partitions.len()).sum::<usize>());
        if led == all && led >= partitions as usize {
            return Ok(());
        }
        if led == all && led > 0 {
            return Err(format!("topic {name} has {led} partitions, {partitions} are needed"));
        }
        if Instant::now() > deadline {
            return Err(format!("topic {name}: {led} of {all} partitions have a leader after {LEADERS_WITHIN:?}"));
        }
        thread::sleep(ASK_AGAIN_AFTER);
    }
}

/// Deletes the topic; one that is not there is fine.
pub fn delete_topic(address: &str, name: &str) -> Result<(), String> {
    let request = DeleteTopicsRequest { topic_names: vec![name.to_owned()], timeout_ms: 30_000, ..Default::default() };
    let response: DeleteTopicsResponse = ask(&mut connect(address)?, &request, DELETE_TOPICS_VERSION)?;
    match response.responses.iter().find(|r| !matches!(r.error_code, 0 | UNKNOWN_TOPIC_OR_PARTITION)) {
        Some(refused) => Err(format!("deleting topic {name}: error {}", refused.error_code)),
        None => Ok(()),
    }
}

/// Asks for the broker's versions: the first thing any client does.
pub fn api_versions(address: &str) -> Result<(), String> {
    let response: ApiVersionsResponse = ask(&mut connect(address)?, &ApiVersionsRequest::default(), 0)?;
    if response.error_code == 0 { Ok(()) } else { Err(format!("ApiVersions: error {}", response.error_code)) }
}

fn ask<Q: Message, A: Message>(stream: &mut TcpStream, request: &Q, version: i16) -> Result<A, String> {
    let frame = encode_request(request, version, 1, Some("coretide-perf")).map_err(|e| e.to_string())?;
    stream.write_all(&frame).map_err(|e| format!("{}: {e}", Q::NAME))?;
    let body = read_frame(stream).map_err(|e| format!("{}: {e}", A::NAME))?;
    let mut r = Reader::new(&body);
    decode_response_header(&mut r, A::API_KEY.expect("responses have a key"), version).map_err(|e| e.to_string())?;
    A::decode(&mut r, version).map_err(|e| format!("{}: {e}", A::NAME))
}

/// The next whole frame without its length.
pub fn read_frame(stream: &mut impl Read) -> std::io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(Bytes::from(body))
}
