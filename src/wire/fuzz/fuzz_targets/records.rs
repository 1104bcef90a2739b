//! Records with their framing. The first byte is the version.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../tests/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some((version, rest)) = input.split_first() {
        entries::records(&bytes::Bytes::copy_from_slice(rest), i16::from(*version as i8));
    }
});
