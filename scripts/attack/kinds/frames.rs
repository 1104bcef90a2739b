//! Streams that are no requests, or requests that lie about their insides.

use std::net::Shutdown;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use coretide_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

use super::{Outcome, Tally, Target};
use crate::peer::{PATIENCE, Peer, framed, header, put_varint};

const METADATA: i16 = 3;
/// Announced by those who promise much: just what `socket.request.max.bytes` allows.
const LARGE_FRAME_BYTES: i32 = 100 << 20;
/// Announced by those who stay below the size from which a frame gets memory of its own.
const SMALL_FRAME_BYTES: i32 = 60 << 10;
/// Connections of the attacks that open many.
const CONNECTIONS: usize = 3000;

/// Sends the same bytes on one connection after the other; each must be closed.
fn each_is_closed(target: &Target, bytes: &[u8]) -> Outcome {
    let mut tally = Tally::default();
    while target.goes_on() {
        let mut peer = target.connect()?;
        peer.send_raw(bytes);
        tally.add(if peer.is_closed(PATIENCE) { "closed" } else { "left open" });
    }
    tally.expect(&["closed"])
}

/// A length below zero.
pub fn length_negative(target: &Target) -> Outcome {
    each_is_closed(target, &(-1i32).to_be_bytes())
}

/// A length of two gigabytes.
pub fn length_huge(target: &Target) -> Outcome {
    each_is_closed(target, &i32::MAX.to_be_bytes())
}

/// Connections that announce the largest frame and send nothing of it.
pub fn length_promised(target: &Target) -> Outcome {
    let mut peers = target.open(CONNECTIONS / 10)?;
    for peer in &mut peers {
        peer.send_raw(&LARGE_FRAME_BYTES.to_be_bytes());
    }
    target.hold();
    still_served(target, "held")
}

/// Connections that send nearly all of a frame that fits into a receive block, and stop.
pub fn half_frames(target: &Target) -> Outcome {
    let mut peers = target.open(CONNECTIONS)?;
    let mut bytes = SMALL_FRAME_BYTES.to_be_bytes().to_vec();
    bytes.resize(SMALL_FRAME_BYTES as usize - 10, 0xff);
    for peer in peers.iter_mut().take_while(|_| target.goes_on()) {
        peer.send_raw(&bytes);
    }
    target.hold();
    still_served(target, "held")
}

/// Connections that send half of a large frame, and stop.
pub fn half_large_frames(target: &Target) -> Outcome {
    let mut peers = target.open(100)?;
    let chunk = vec![0xff; 1 << 20];
    for peer in &mut peers {
        peer.send_raw(&LARGE_FRAME_BYTES.to_be_bytes());
    }
    while target.goes_on() {
        for peer in &mut peers {
            // Whoever is not read any more, or was closed, has got what this attack deserves.
            let _ = peer.send_some(&chunk);
        }
        target.pause(Duration::from_millis(20));
    }
    still_served(target, "held")
}

/// Connections that send their frame a byte at a time.
pub fn slow_writers(target: &Target) -> Outcome {
    let mut peers = target.open(CONNECTIONS / 3)?;
    let mut frame = SMALL_FRAME_BYTES.to_be_bytes().to_vec();
    frame.extend_from_slice(&header(METADATA, 1, false));
    let mut at = 0;
    while target.goes_on() {
        for peer in &mut peers {
            peer.send_raw(&[frame.get(at).copied().unwrap_or(0)]);
        }
        at += 1;
        target.pause(Duration::from_millis(20));
    }
    still_served(target, "held")
}

/// Connections that are reset in the middle of a frame.
pub fn aborted_mid_frame(target: &Target) -> Outcome {
    let mut tally = Tally::default();
    let mut bytes = LARGE_FRAME_BYTES.to_be_bytes().to_vec();
    bytes.resize(200_000, 7);
    let mut odd = false;
    while target.goes_on() {
        let mut peer = target.connect()?;
        odd = !odd;
        peer.send_some(if odd { &bytes } else { &bytes[..3] });
        if odd {
            // The other half is just dropped.
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
        tally.add("aborted");
    }
    tally.expect(&["aborted"])?;
    still_served(target, "aborted")
}

/// A new connection still gets an answer to ApiVersions.
fn still_served(target: &Target, words: &str) -> Outcome {
    let answer = target.connect()?.call::<_, ApiVersionsResponse>(&ApiVersionsRequest::default(), 0)?;
    match answer {
        Ok(answer) if answer.error_code == 0 => Ok(format!("{words}, others are served")),
        Ok(answer) => Err(format!("ApiVersions was refused with {}", answer.error_code)),
        Err(ended) => Err(format!("ApiVersions: {ended}")),
    }
}

/// A web browser. `GET ` is a length of 1.2 gigabytes.
pub fn http(target: &Target) -> Outcome {
    each_is_closed(target, b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: scanner\r\n\r\n")
}

/// A TLS client hello. Its first four bytes are a length of 369 megabytes.
pub fn tls(target: &Target) -> Outcome {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.resize(517, 0x5a);
    each_is_closed(target, &hello)
}

/// Frames of a right length full of noise.
pub fn random_bytes(target: &Target) -> Outcome {
    let mut tally = Tally::default();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    while target.goes_on() {
        let mut body: Vec<u8> = (0..random() % 3000).map(|_| random() as u8).collect();
        if body.len() > 4 {
            // Most of them name an API that exists.
            body[..4].copy_from_slice(&[0, (random() % 80) as u8, 0, (random() % 14) as u8]);
        }
        let mut peer = target.connect()?;
        peer.send_raw(&framed(&body));
        // Noise may be a request: whatever is answered or closed is fine, silence too (a long poll, acks=0).
        tally.add(match peer.frame(Duration::from_millis(20)) {
            Ok(_) => "answered",
            Err(crate::peer::Ended::Closed) => "closed",
            Err(crate::peer::Ended::Silent) => "waiting",
        });
    }
    tally.expect(&["answered", "closed", "waiting"])
}

/// APIs and versions that nobody has.
pub fn unknown_apis(target: &Target) -> Outcome {
    let mut tally = Tally::default();
    for turn in 0u64.. {
        if !target.goes_on() {
            break;
        }
        let (key, version) =
            [(-1, 0), (999, 0), (i16::MAX, i16::MAX), (METADATA, -1), (METADATA, 99), (4, 0)][(turn % 6) as usize];
        let mut peer = target.connect()?;
        peer.send_raw(&framed(&header(key, version, false)));
        tally.add(if peer.is_closed(PATIENCE) { "closed" } else { "left open" });
    }
    tally.expect(&["closed"])
}

/// Headers with millions of tagged fields, announced and real.
pub fn tag_flood(target: &Target) -> Outcome {
    let mut announced = header(METADATA, 12, false);
    put_varint(&mut announced, 20_000_000);
    let mut real = announced.clone();
    for tag in 0..2_000_000u32 {
        put_varint(&mut real, tag);
        real.put_u8(0);
    }
    let mut tally = Tally::default();
    while target.goes_on() {
        for body in [&announced, &real] {
            let mut peer = target.connect()?;
            peer.send_raw(&framed(body));
            tally.add(if peer.is_closed(PATIENCE) { "closed" } else { "left open" });
        }
    }
    tally.expect(&["closed"])
}

/// Requests with the longest client id there can be, a new one each time.
pub fn huge_client_ids(target: &Target) -> Outcome {
    let mut tally = Tally::default();
    let mut peer = target.connect()?;
    for number in 0u64.. {
        if !target.goes_on() {
            break;
        }
        let mut body = BytesMut::new();
        body.put_slice(&[0, METADATA as u8, 0, 1, 0, 0, 0, 7]);
        let id = format!("{number:032767}");
        body.put_i16(id.len() as i16);
        body.put_slice(id.as_bytes());
        body.put_i32(0);
        tally.add(if peer.send_raw(&framed(&body)) && peer.frame(PATIENCE).is_ok() { "answered" } else { "lost" });
    }
    tally.expect(&["answered"])
}

/// Arrays that announce more than their frame could hold.
pub fn array_lies(target: &Target) -> Outcome {
    let mut old = header(METADATA, 1, false);
    old.put_i32(i32::MAX);
    let mut compact = header(METADATA, 12, true);
    put_varint(&mut compact, u32::MAX);
    let mut text = header(METADATA, 1, false);
    text.put_i32(1);
    text.put_i16(i16::MAX);
    let mut tally = Tally::default();
    while target.goes_on() {
        for body in [&old, &compact, &text] {
            let mut peer = target.connect()?;
            peer.send_raw(&framed(body));
            tally.add(if peer.is_closed(PATIENCE) { "closed" } else { "left open" });
        }
    }
    tally.expect(&["closed"])
}

/// Arrays of millions of the smallest elements, all of them there: they must not grow much in memory.
pub fn huge_arrays(target: &Target) -> Outcome {
    let mut names = header(METADATA, 1, false);
    names.put_i32(5_000_000);
    names.put_bytes(0, 10_000_000);
    // ListOffsets: a topic of nothing but partitions.
    let mut partitions = header(2, 1, false);
    partitions.put_i32(-1);
    partitions.put_i32(1);
    partitions.put_i16(1);
    partitions.put_u8(b'x');
    partitions.put_i32(800_000);
    partitions.put_bytes(0, 800_000 * 12);
    let mut tally = Tally::default();
    while target.goes_on() {
        for body in [&names, &partitions] {
            let mut peer = target.connect()?;
            peer.send_raw(&framed(body));
            tally.add(match peer.frame(PATIENCE) {
                Ok(_) => "answered",
                Err(crate::peer::Ended::Closed) => "closed",
                Err(crate::peer::Ended::Silent) => "silence",
            });
        }
    }
    tally.expect(&["answered", "closed"])
}

/// Arrays of arrays: thousands of topics with as many partitions each as fit.
pub fn deep_arrays(target: &Target) -> Outcome {
    // Fetch version 4: each topic names thousands of partitions that do not exist.
    let mut body = header(1, 4, false);
    body.put_slice(&[0xff; 4]);
    body.put_i32(0);
    body.put_i32(0);
    body.put_i32(1 << 20);
    body.put_u8(0);
    body.put_i32(200);
    for topic in 0..200 {
        body.put_i16(4);
        body.put_slice(format!("{topic:04}").as_bytes());
        body.put_i32(500);
        for partition in 0..500 {
            body.put_i32(partition);
            body.put_i64(0);
            body.put_i32(1 << 20);
        }
    }
    let mut tally = Tally::default();
    let mut peer: Peer = target.connect()?;
    while target.goes_on() {
        peer.send_raw(&framed(&body));
        tally.add(match peer.frame(PATIENCE) {
            Ok(_) => "answered",
            Err(crate::peer::Ended::Closed) => "closed",
            Err(crate::peer::Ended::Silent) => "silence",
        });
    }
    tally.expect(&["answered"])
}
