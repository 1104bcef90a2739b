//! Bytes from a disk: batches in a row.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../tests/fuzz/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::stored(input));
