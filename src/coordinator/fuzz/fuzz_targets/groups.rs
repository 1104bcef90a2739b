//! See `entries::groups`.
#![no_main]

#[path = "../../tests/fuzz/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::groups(input));
