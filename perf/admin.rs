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
use std::io::{self, Read, Write};
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
/// How long a broker may be silent while it owes something; a little more than the time that requests give it.
const SILENT_AT_MOST: Duration = Duration::from_secs(35);
/// No broker sends more at once; a larger length is noise.
pub const FRAME_MAX_BYTES: usize = 512 << 20;

/// Connects without delay for small frames. Sends and receives fail with a broker that is silent for too long.
pub fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|e| format!("{address}: {e}"))?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(SILENT_AT_MOST)))
        .and_then(|()| stream.set_write_timeout(Some(SILENT_AT_MOST)))
        .map_err(|e| format!("{address}: {e}"))?;
    Ok(stream)
}

/// A failed send in words.
pub fn unsent(error: io::Error) -> String {
    in_words("send", "takes nothing", error)
}

/// A failed receive in words.
pub fn unheard(error: io::Error) -> String {
    in_words("receive", "does not answer", error)
}

fn in_words(doing: &str, silence: &str, error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("the broker {silence} for {} s", SILENT_AT_MOST.as_secs())
        }
        _ => format!("{doing}: {error}"),
    }
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
    stream.write_all(&frame).map_err(|e| format!("{}: {}", Q::NAME, unsent(e)))?;
    let body = read_frame(stream).map_err(|e| format!("{}: {}", A::NAME, unheard(e)))?;
    let mut r = Reader::new(&body);
    decode_response_header(&mut r, A::API_KEY.expect("responses have a key"), version).map_err(|e| e.to_string())?;
    A::decode(&mut r, version).map_err(|e| format!("{}: {e}", A::NAME))
}

/// Sends a frame and takes its answer, without its length, into the beginning of `body`, which only ever grows; yields how
/// long the answer is.
pub fn exchange(stream: &mut TcpStream, frame: &[u8], body: &mut Vec<u8>) -> Result<usize, String> {
    stream.write_all(frame).map_err(unsent)?;
    let length = read_length(stream).map_err(unheard)?;
    if body.len() < length {
        body.resize(length, 0);
    }
    stream.read_exact(&mut body[..length]).map_err(unheard)?;
    Ok(length)
}

/// The next whole frame without its length.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Bytes> {
    let mut body = vec![0; read_length(stream)?];
    stream.read_exact(&mut body)?;
    Ok(Bytes::from(body))
}

fn read_length(stream: &mut impl Read) -> io::Result<usize> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX_BYTES {
        let what = format!("an answer of {length} bytes: this is no Kafka broker");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_no_broker_sends_is_told_and_no_memory_is_taken_for_it() {
        let mut whole: &[u8] = &[0, 0, 0, 3, 7, 8, 9];
        assert_eq!(&read_frame(&mut whole).unwrap()[..], [7, 8, 9]);
        let mut web: &[u8] = b"HTTP/1.1 400 Bad Request";
        let told = unheard(read_frame(&mut web).unwrap_err());
        assert!(told.contains("1213486160 bytes") && told.contains("no Kafka broker"), "{told}");
    }
}
