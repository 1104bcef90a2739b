//! A client that means harm, or is broken: bytes that are no requests, requests that lie, halves of requests, floods of them
//! without reading. What it gets back is nobody's business; that the others are served and the broker lives is judged elsewhere.

use bytes::Bytes;
use coretide_wire::api::{ApiKey, SERVED};
use coretide_wire::header::{RequestHeader, encode_request_header};
use coretide_wire::{Message, Writer};

use super::prober::{Learned, any_probe};
use super::worker::{Links, Worker, fetch_request, fetch_topic, wanted};
use super::{Answer, Command, Cx, Shared, Slot};
use crate::judge::Verdict;

const NEXT: u32 = 1;

/// The client.
#[derive(Debug)]
pub struct Hostile {
    left: u32,
}

impl Hostile {
    /// Does harm `times` times.
    pub fn new(times: u32) -> Hostile {
        Hostile { left: times }
    }

    fn harm(&mut self, cx: &mut Cx<'_>) {
        self.left -= 1;
        let bytes = match cx.prng.below(9) {
            0 => {
                let mut noise = noise(cx, 300);
                let length = (noise.len() as u32 - 4).to_be_bytes();
                noise[..4].copy_from_slice(&length);
                noise
            }
            1 => [-1i32, i32::MIN, i32::MAX, 0, 200 << 20][cx.prng.below(5) as usize].to_be_bytes().to_vec(),
            2 => {
                let served = &SERVED[cx.prng.below(SERVED.len() as u64) as usize];
                let version = cx.prng.below(16) as i16 - 1;
                let body = noise(cx, 200);
                frame(served.key.code(), version, &body)
            }
            3..=5 => {
                let (key, version, mut body) = valid(cx);
                for _ in 0..1 + cx.prng.below(3) {
                    if !body.is_empty() {
                        let at = cx.prng.below(body.len() as u64) as usize;
                        body[at] = cx.prng.next_u64() as u8;
                    }
                }
                frame(key, version, &body)
            }
            6 => {
                let (key, version, body) = valid(cx);
                let mut half = frame(key, version, &body);
                half.truncate(1 + cx.prng.below(half.len() as u64) as usize);
                half
            }
            7 => {
                let one = frame(ApiKey::Metadata.code(), 4, &[0xff, 0xff, 0xff, 0xff, 0]);
                one.repeat(50 + cx.prng.below(400) as usize)
            }
            _ => {
                cx.commands.push(Command::StopReading(0));
                greedy_fetch(cx).repeat(20 + cx.prng.below(200) as usize)
            }
        };
        cx.commands.push(Command::Raw { slot: 0, bytes: Bytes::from(bytes) });
    }
}

fn noise(cx: &mut Cx<'_>, most: u64) -> Vec<u8> {
    (0..8 + cx.prng.below(most)).map(|_| cx.prng.next_u64() as u8).collect()
}

/// A request as the prober sends it.
fn valid(cx: &mut Cx<'_>) -> (i16, i16, Vec<u8>) {
    let learned = Learned { wall_ms: cx.wall_ms, ..Learned::default() };
    let probe = any_probe(cx.prng, &learned);
    (probe.key.code(), probe.version, probe.body.to_vec())
}

/// A whole frame of these, with its length.
fn frame(api_key: i16, api_version: i16, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let header = RequestHeader { api_key, api_version, correlation_id: 7, client_id: Some("hostile".to_string()) };
    encode_request_header(&mut writer, &header).expect("short names");
    writer.raw(body);
    let mut frame = (writer.len() as u32).to_be_bytes().to_vec();
    frame.extend(writer.as_slice());
    frame
}

fn greedy_fetch(cx: &Cx<'_>) -> Vec<u8> {
    let of = |(name, partition): &(String, i32)| fetch_topic(name, None, vec![wanted(*partition, 0, 100_000)]);
    let topics = cx.shared.partitions().first().map(of).into_iter().collect();
    let request = fetch_request(topics, 100_000, 0);
    frame(ApiKey::Fetch.code(), 12, &request.to_bytes(12).expect("only what the version has"))
}

impl Worker for Hostile {
    fn name(&self) -> String {
        "hostile".to_string()
    }

    fn first_ms(&self) -> u64 {
        20
    }

    fn wants_connection(&self, shared: &Shared) -> bool {
        self.left > 0 && !shared.winding_down
    }

    fn connected(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        cx.timer(1, NEXT);
        Ok(())
    }

    fn answered(&mut self, _: &mut Cx<'_>, _: &Answer) -> Verdict {
        Ok(())
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {}

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        if cx.shared.winding_down {
            // Whoever is left hanging must not hold anybody up.
            cx.commands.push(Command::Close(0));
            return Ok(());
        }
        if timer == NEXT && links.is_open(0) {
            if self.left > 0 && cx.prng.chance(4, 5) {
                self.harm(cx);
            } else {
                cx.commands.push(Command::Close(0));
            }
            cx.timer(100, NEXT);
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        true
    }
}
