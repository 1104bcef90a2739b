//! Batches that are not what they should be, or too many of them.

use bytes::{Bytes, BytesMut};
use coretide_log::batch::{LENGTH_OVERHEAD_BYTES, crc_of};
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression};
use coretide_wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};

use super::{Outcome, Tally, Target};
use crate::peer::Peer;

/// What a bomb's one record unpacks to.
const BOMB_BYTES: usize = 1 << 30;
/// A codec that packs worse must stay below the largest batch, too.
const SNAPPY_BOMB_BYTES: usize = 20 << 20;
const LZ4_BOMB_BYTES: usize = 240 << 20;

/// A batch of so many records of 1 KiB.
pub fn batch_of(records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::default());
    for _ in 0..records {
        builder.push(crate::wall_ms(), None, Some(&[b'a'; 1024]), &[]);
    }
    builder.build()
}

fn request(topic: &str, index: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData { index, records: Some(records) };
    let data =
        TopicProduceData { name: topic.to_string(), partition_data: vec![partition], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![data], ..ProduceRequest::default() }
}

/// Appends; the error code.
pub fn produce(peer: &mut Peer, topic: &str, index: i32, records: Bytes) -> Result<i16, String> {
    let answer = peer.call(&request(topic, index, -1, records), 9)?;
    code_of(answer.map_err(|ended| ended.to_string())?)
}

fn code_of(answer: ProduceResponse) -> Result<i16, String> {
    let done = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    done.map(|partition| partition.error_code).ok_or_else(|| "an answer without its partition".to_string())
}

/// Appends the batches in turn until the end, each once at least.
fn produce_all(target: &Target, topic: &str, batches: &[Bytes], expected: &[&str]) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, topic, 1, &[("retention.bytes", "67108864")])?;
    let mut tally = Tally::default();
    for (number, batch) in batches.iter().cycle().enumerate() {
        if number >= batches.len() && !target.goes_on() {
            break;
        }
        tally.code(produce(&mut peer, topic, 0, batch.clone())?);
    }
    tally.expect(expected)
}

/// A batch of one record of zeros, compressed.
fn bomb(codec: Codec, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    builder.push(crate::wall_ms(), None, Some(&vec![0; bytes]), &[]);
    builder.build()
}

fn throw(target: &Target, codec: Codec, bytes: usize) -> Outcome {
    let bomb = bomb(codec, bytes - 1024);
    let words = format!("{} KiB unpack to {} MiB", bomb.len() >> 10, bytes >> 20);
    // Kafka unpacks while it checks and so takes what is no larger than its limit; what is larger is refused.
    let told =
        produce_all(target, &format!("bomb-{codec}"), &[bomb], &["NONE", "MESSAGE_TOO_LARGE", "INVALID_RECORD"])?;
    Ok(format!("{words}: {told}"))
}

/// A gigabyte of zeros in a megabyte.
pub fn bomb_gzip(target: &Target) -> Outcome {
    throw(target, Codec::Gzip, BOMB_BYTES * 9 / 10)
}

/// Snappy packs zeros to a twentieth only.
pub fn bomb_snappy(target: &Target) -> Outcome {
    throw(target, Codec::Snappy, SNAPPY_BOMB_BYTES)
}

/// Lz4 packs them to a two hundred and fiftieth.
pub fn bomb_lz4(target: &Target) -> Outcome {
    throw(target, Codec::Lz4, LZ4_BOMB_BYTES)
}

/// A gigabyte of zeros in some kilobytes.
pub fn bomb_zstd(target: &Target) -> Outcome {
    throw(target, Codec::Zstd, BOMB_BYTES)
}

/// Batches above `max.message.bytes`, up to the largest request.
pub fn oversized(target: &Target) -> Outcome {
    produce_all(target, "oversized", &[batch_of(1100), batch_of(9000), batch_of(60_000)], &["MESSAGE_TOO_LARGE"])
}

/// Batches with bad checksums, lengths, counts and records.
pub fn corrupt(target: &Target) -> Outcome {
    let good = batch_of(4);
    let with = |at: usize, bytes: &[u8], seal: bool| {
        let mut bad = BytesMut::from(&good[..]);
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        if seal {
            let crc = crc_of(&bad);
            bad[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        bad.freeze()
    };
    let longer = (good.len() as i32 - LENGTH_OVERHEAD_BYTES as i32 + 1).to_be_bytes();
    let bad = [
        with(100, &[1, 2, 3, 4], false),
        with(8, &longer, false),
        with(8, &i32::MAX.to_be_bytes(), false),
        with(8, &(-1i32).to_be_bytes(), false),
        with(16, &[9], false),
        with(57, &i32::MAX.to_be_bytes(), true),
        with(23, &i32::MAX.to_be_bytes(), true),
        with(61, &[0xff, 0xff, 0xff, 0xff, 0x0f], true),
        good.slice(..good.len() - 1),
        good.slice(..30),
    ];
    let expected = ["CORRUPT_MESSAGE", "INVALID_RECORD", "MESSAGE_TOO_LARGE", "UNSUPPORTED_FOR_MESSAGE_FORMAT"];
    produce_all(target, "corrupt", &bad, &expected)
}

/// Records from the far future and from before the epoch.
pub fn timestamps(target: &Target) -> Outcome {
    let at = |timestamp_ms: i64| {
        let mut builder = BatchBuilder::new(Compression::default());
        builder.push(timestamp_ms, None, Some(b"when"), &[]);
        builder.build()
    };
    let future = [at(i64::MAX), at(i64::MAX / 2), at(crate::wall_ms() + 86_400_000)];
    let told = produce_all(target, "future", &future, &["INVALID_TIMESTAMP"])?;
    // The past is let in (message.timestamp.before.max.ms), and below zero only -1 means anything.
    let code = produce(&mut target.connect()?, "future", 0, at(0))?;
    if code == 0 { Ok(told) } else { Err(format!("a record of 1970 got {code}")) }
}

/// Appends that ask for no answer, as many as the socket takes.
pub fn acks_0_flood(target: &Target) -> Outcome {
    let mut peers = target.open(4)?;
    target.create_topic(&mut peers[0], "unasked", 4, &[("retention.bytes", "67108864")])?;
    let mut sent = 0u64;
    let batch = batch_of(16);
    while target.goes_on() {
        for (partition, peer) in peers.iter_mut().enumerate() {
            if !peer.send(&request("unasked", partition as i32, 0, batch.clone()), 9)? {
                return Err("a connection was closed".to_string());
            }
            sent += 1;
        }
    }
    Ok(format!("{sent} appends"))
}

/// Batches of one tiny record, pipelined: the most work for the fewest bytes.
pub fn tiny_batches(target: &Target) -> Outcome {
    let mut peer = target.connect()?;
    target.create_topic(&mut peer, "tiny", 1, &[("retention.bytes", "67108864")])?;
    let mut builder = BatchBuilder::new(Compression::default());
    builder.push(crate::wall_ms(), None, Some(b"1"), &[]);
    let batch = builder.build();
    let mut tally = Tally::default();
    while target.goes_on() {
        for _ in 0..200 {
            peer.send(&request("tiny", 0, 1, batch.clone()), 9)?;
        }
        for _ in 0..200 {
            tally.code(code_of(peer.answer(9)?.map_err(|ended| ended.to_string())?)?);
        }
    }
    tally.expect(&["NONE"])
}
