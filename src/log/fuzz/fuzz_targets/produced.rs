//! A produced batch. The first byte chooses the topic's rules.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../tests/fuzz/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::produced(input));
