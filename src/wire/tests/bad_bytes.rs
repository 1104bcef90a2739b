//! Every decoder on mutated valid bytes and on noise. The fuzz targets in `src/wire/fuzz` run the same entries for
//! longer and under a limit on memory.

use crate::all_messages::each_message;
use crate::arbitrary::{Arbitrary, any};
use crate::entries::{ENTRIES, message};
use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::{DecodeError, Message, Reader, messages};

const ROUNDS: u64 = 60;

/// Overwrites, inserts, removes and truncates: mostly in the small, sometimes with a length that lies.
fn mutate(rng: &mut Prng, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u64() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at + 4 <= bytes.len() => bytes[at..at + 4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]),
            _ if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            _ => bytes.extend([0xff; 5]),
        }
    }
    Bytes::from(bytes)
}

fn endures<M: Message + Arbitrary>() {
    for version in M::MIN_VERSION..=M::MAX_VERSION {
        for seed in 0..ROUNDS {
            let rng = &mut Prng::new(seed);
            let valid = any::<M>(rng, version).to_bytes(version).unwrap();
            let mutated = mutate(rng, &valid);
            message::<M>(&mutated, version);
            for (_, entry) in ENTRIES {
                entry(&mutated, version);
            }
        }
    }
}

macro_rules! endure {
    ($module:ident, $message:ident) => {
        endures::<messages::$module::$message>();
    };
}

#[test]
fn no_decoder_panics_and_what_is_accepted_survives_a_round_trip() {
    each_message!(endure);
    for seed in 0..2000 {
        let rng = &mut Prng::new(seed);
        let noise: Bytes = any(rng, 0);
        for (_, entry) in ENTRIES {
            entry(&noise, (seed % 20) as i16 - 1);
        }
    }
}

fn accepted_with_huge_lengths<M: Message>(accepted: &mut Vec<String>) {
    let frame = Bytes::from_static(&[0x7f; 40]);
    for version in M::MIN_VERSION..=M::MAX_VERSION {
        if M::decode(&mut Reader::new(&frame), version).is_ok() {
            accepted.push(format!("{} v{version}", M::NAME));
        }
    }
}

/// In these forty bytes every length, whatever its form, is larger than what is left: only messages of plain numbers
/// may be read from them.
#[test]
fn lengths_that_lie_are_refused_by_every_decoder() {
    let mut accepted = Vec::new();
    macro_rules! try_huge_lengths {
        ($module:ident, $message:ident) => {
            accepted_with_huge_lengths::<messages::$module::$message>(&mut accepted);
        };
    }
    each_message!(try_huge_lengths);
    let plain_numbers = [
        ("ApiVersionsRequest", 0..=2),
        ("HeartbeatResponse", 0..=3),
        ("InitProducerIdResponse", 0..=1),
        ("LeaveGroupResponse", 0..=2),
        ("ListGroupsRequest", 0..=2),
    ];
    let expected = plain_numbers.into_iter().flat_map(|(name, versions)| versions.map(move |v| format!("{name} v{v}")));
    assert_eq!(accepted, expected.collect::<Vec<_>>());
}

/// What aborts kafka-protocol 0.18: four bytes of Metadata, eleven of Produce.
#[test]
fn the_frames_that_abort_other_decoders_are_refused() {
    let metadata = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let refused = messages::metadata::MetadataRequest::decode(&mut Reader::new(&metadata), 1);
    assert!(matches!(refused, Err(DecodeError::Truncated { .. })), "{refused:?}");
    let produce = Bytes::from_static(&[0, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0x7f]);
    let refused = messages::produce::ProduceRequest::decode(&mut Reader::new(&produce), 9);
    assert!(matches!(refused, Err(DecodeError::Truncated { .. })), "{refused:?}");
}
