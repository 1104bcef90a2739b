//! Every generated decoder. The first byte chooses the message, the second the version.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../tests/entries.rs"]
mod entries;
#[path = "../../tests/all_messages.rs"]
mod all_messages;

use all_messages::each_message;
use bytes::Bytes;
use coretide_wire::{Message, messages};

fn targets() -> Vec<fn(&Bytes, i16)> {
    let mut targets: Vec<fn(&Bytes, i16)> = Vec::new();
    macro_rules! add {
        ($module:ident, $message:ident) => {
            targets.push(at_a_defined_version::<messages::$module::$message>);
        };
    }
    each_message!(add);
    targets
}

fn at_a_defined_version<M: Message>(bytes: &Bytes, version: i16) {
    let defined = M::MAX_VERSION - M::MIN_VERSION + 1;
    entries::message::<M>(bytes, M::MIN_VERSION + version % defined);
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let [message, version, rest @ ..] = input {
        let targets = targets();
        let target = targets[usize::from(*message) % targets.len()];
        target(&Bytes::copy_from_slice(rest), i16::from(*version));
    }
});
