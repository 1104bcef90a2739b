//! Every message in every version: what was written reads back as the same, and no shorter prefix reads at all.

use crate::all_messages::each_message;
use crate::arbitrary::any;
use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::{EncodeError, Message, Reader, messages};

const VALUES_PER_VERSION: u64 = 40;

fn survives<M: Message + crate::arbitrary::Arbitrary>() {
    for version in M::MIN_VERSION..=M::MAX_VERSION {
        for seed in 0..VALUES_PER_VERSION {
            let message: M = any(&mut Prng::new(seed), version);
            let bytes = message.to_bytes(version).unwrap_or_else(|e| panic!("{} v{version} seed {seed}: {e}", M::NAME));
            let mut r = Reader::new(&bytes);
            assert_eq!(M::decode(&mut r, version), Ok(message), "{} v{version} seed {seed}", M::NAME);
            assert_eq!(r.remaining(), 0, "{} v{version} seed {seed}", M::NAME);
            if bytes.len() < 300 {
                for end in 0..bytes.len() {
                    let cut: Bytes = bytes.slice(..end);
                    assert!(M::decode(&mut Reader::new(&cut), version).is_err(), "{} v{version} cut at {end}", M::NAME);
                }
            }
        }
    }
    for version in [M::MIN_VERSION - 1, M::MAX_VERSION + 1] {
        assert!(M::decode(&mut Reader::new(&Bytes::new()), version).is_err());
        assert_eq!(M::default().to_bytes(version), Err(EncodeError::Version { message: M::NAME, version }));
    }
}

macro_rules! round_trip {
    ($module:ident, $message:ident) => {
        survives::<messages::$module::$message>();
    };
}

#[test]
fn every_message_survives_a_round_trip_in_every_version() {
    each_message!(round_trip);
}

#[test]
fn a_field_that_the_version_does_not_know_is_an_error_unless_it_may_be_dropped() {
    use messages::metadata::MetadataRequest;
    let strict = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
    assert!(matches!(strict.to_bytes(3), Err(EncodeError::Field { version: 3, .. })));
    assert!(strict.to_bytes(4).is_ok());
    let null = MetadataRequest { topics: None, ..Default::default() };
    assert!(matches!(null.to_bytes(0), Err(EncodeError::Null { version: 0, .. })));
    assert!(null.to_bytes(1).is_ok());
    use messages::fetch::FetchRequest;
    let dropped = FetchRequest { rack_id: "r".into(), ..Default::default() };
    let bytes = dropped.to_bytes(10).unwrap();
    assert_eq!(FetchRequest::decode(&mut Reader::new(&bytes), 10).unwrap().rack_id, "");
}
