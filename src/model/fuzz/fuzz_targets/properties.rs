//! See `entries::properties`.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../tests/fuzz/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::properties(input));
