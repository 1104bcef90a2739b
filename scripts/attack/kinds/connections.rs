//! Many connections, and connections that do not take what they asked for.

use std::time::Duration;

use coretide_wire::messages::api_versions::ApiVersionsRequest;
use coretide_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use coretide_wire::messages::metadata::MetadataRequest;

use super::records::{batch_of, produce};
use super::{Outcome, Tally, Target};
use crate::peer::{Ended, PATIENCE, Peer, framed, put_varint};

/// As many as a process may open here, with room for the rest.
const HOARD: usize = 8000;

/// Opens thousands of connections, one request on each, and keeps them.
pub fn hoard(target: &Target) -> Outcome {
    let mut peers = Vec::new();
    let mut answered = 0;
    while peers.len() < HOARD && target.goes_on() {
        let mut peer = target.connect()?;
        peer.send(&ApiVersionsRequest::default(), 0)?;
        peers.push(peer);
        if peers.len() % 100 == 0 {
            answered += peers.iter_mut().rev().take(100).filter_map(|peer| peer.frame(PATIENCE).ok()).count();
        }
    }
    target.hold();
    if answered == peers.len() / 100 * 100 {
        Ok(format!("{} are open", peers.len()))
    } else {
        Err(format!("{answered} of {} were answered", peers.len()))
    }
}

/// Opens and closes connections as fast as it goes.
pub fn churn(target: &Target) -> Outcome {
    let mut opened = 0;
    while target.goes_on() {
        let peer = target.connect()?;
        opened += 1;
        drop(peer);
    }
    if opened > 0 { Ok(format!("opened {opened}")) } else { Err("none was opened".to_string()) }
}

/// Opens more connections than one address may have: the healthy clients hold some of the fifty.
pub fn per_ip(target: &Target) -> Outcome {
    let mut tally = Tally::default();
    while target.goes_on() {
        let mut kept: Vec<Peer> = Vec::new();
        let mut refused = 0;
        for _ in 0..100 {
            let mut peer = target.connect()?;
            peer.send(&ApiVersionsRequest::default(), 0)?;
            match peer.frame(PATIENCE) {
                Ok(_) => kept.push(peer),
                Err(Ended::Closed) => refused += 1,
                Err(Ended::Silent) => tally.add("silence"),
            }
        }
        let others = 50 - kept.len() as i64;
        tally.add(if refused > 0 && (0..=8).contains(&others) { "limited" } else { "not limited as told" });
        drop(kept);
        // Closes are noticed a moment later.
        target.pause(Duration::from_millis(300));
    }
    tally.expect(&["limited"])
}

/// Fills a topic for those who read.
fn fill(target: &Target, topic: &str, batches: usize) -> Result<(), String> {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, topic, 1, &[])?;
    let batch = batch_of(500);
    for _ in 0..batches {
        let code = produce(&mut peer, topic, 0, batch.clone())?;
        if code != 0 {
            return Err(format!("filling {topic} was refused with {code}"));
        }
    }
    Ok(())
}

fn fetch(topic: &str, max_wait_ms: i32, min_bytes: i32) -> FetchRequest {
    let partition =
        FetchPartition { partition: 0, fetch_offset: 0, partition_max_bytes: i32::MAX, ..FetchPartition::default() };
    FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: i32::MAX,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: topic.to_string(), partitions: vec![partition], ..FetchTopic::default() }],
        ..FetchRequest::default()
    }
}

/// Connections that ask for megabytes and read a few bytes of them now and then.
pub fn slow_readers(target: &Target) -> Outcome {
    fill(target, "slow", 40)?;
    let mut peers = target.open(200)?;
    for peer in &mut peers {
        for _ in 0..4 {
            peer.send(&fetch("slow", 100, 1), 4)?;
        }
    }
    let mut byte = [0];
    let mut reads = 0u64;
    while target.goes_on() {
        for peer in &mut peers {
            let waits = peer.stream.set_read_timeout(Some(Duration::from_millis(1)));
            if waits.is_ok() && std::io::Read::read(&mut peer.stream, &mut byte).is_ok_and(|read| read > 0) {
                reads += 1;
            }
        }
        target.pause(Duration::from_millis(50));
    }
    if reads > 0 { Ok(format!("{reads} bytes were read")) } else { Err("nothing could be read".to_string()) }
}

/// Connections that send requests without end and read nothing.
pub fn pipeline_unread(target: &Target) -> Outcome {
    fill(target, "unread", 10)?;
    let mut peers = target.open(100)?;
    let encode = |error: coretide_wire::EncodeError| error.to_string();
    let mut bytes = Vec::new();
    for _ in 0..50 {
        bytes.extend(coretide_wire::encode_request(&ApiVersionsRequest::default(), 0, 1, None).map_err(encode)?);
        bytes.extend(coretide_wire::encode_request(&MetadataRequest::default(), 1, 1, None).map_err(encode)?);
        bytes.extend(coretide_wire::encode_request(&fetch("unread", 0, 0), 4, 1, None).map_err(encode)?);
    }
    let mut sent = 0;
    let mut rests: Vec<usize> = vec![0; peers.len()];
    while target.goes_on() {
        for (peer, rest) in peers.iter_mut().zip(&mut rests) {
            let taken = peer.send_some(&bytes[*rest..]).unwrap_or(0);
            sent += taken;
            *rest = (*rest + taken) % bytes.len();
        }
        target.pause(Duration::from_millis(5));
    }
    Ok(format!("{} MiB of requests were taken", sent >> 20))
}

/// Long polls whose requests are large for no reason: what waits must not hold up what does not.
pub fn padded_polls(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "quiet", 1, &[])?;
    let mut peers = target.open(20)?;
    let frame = padded(&fetch("quiet", i32::MAX, i32::MAX), 12, 900_000)?;
    let mut rests = vec![0; peers.len()];
    let mut sent = 0;
    while target.goes_on() {
        for (peer, rest) in peers.iter_mut().zip(&mut rests) {
            let taken = peer.send_some(&frame[*rest..]).ok_or("a connection was closed")?;
            sent += taken;
            *rest = (*rest + taken) % frame.len();
            peer.drain();
        }
        target.pause(Duration::from_millis(5));
    }
    Ok(format!("{} MiB of requests were taken", sent >> 20))
}

/// A request with an unknown tagged field of so many bytes at its end, in a flexible version.
pub fn padded<M: coretide_wire::Message>(request: &M, version: i16, bytes: u32) -> Result<Vec<u8>, String> {
    let encoded = coretide_wire::encode_request(request, version, 1, None).map_err(|error| error.to_string())?;
    // The last byte is the empty tag section of the body.
    let mut frame = bytes::BytesMut::from(&encoded[4..encoded.len() - 1]);
    put_varint(&mut frame, 1);
    put_varint(&mut frame, 9999);
    put_varint(&mut frame, bytes);
    bytes::BufMut::put_bytes(&mut frame, 0, bytes as usize);
    Ok(framed(&frame).to_vec())
}

/// Connections that wait for data that never come, for as long as they may.
pub fn long_polls(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "quiet", 1, &[])?;
    let mut peers = target.open(2000)?;
    for peer in &mut peers {
        for _ in 0..20 {
            peer.send(&fetch("quiet", i32::MAX, i32::MAX), 4)?;
        }
    }
    target.hold();
    // All of them are woken by one append, and none may be answered: less than they wait for has come.
    let code = produce(&mut peer, "quiet", 0, batch_of(1))?;
    let early = peers.iter_mut().take(50).filter(|peer| {
        let quiet = peer.stream.set_read_timeout(Some(Duration::from_millis(1)));
        quiet.is_ok() && peer.stream.peek(&mut [0]).is_ok()
    });
    match (code, early.count()) {
        (0, 0) => Ok("40000 wait".to_string()),
        (code, early) => Err(format!("{early} of 50 were answered or closed, the append got {code}")),
    }
}
