//! A start on a damaged data directory. The first byte chooses the directory, then come damages.
#![no_main]

#[path = "../../tests/fuzz/disk.rs"]
mod disk;
#[path = "../../tests/fuzz/recovery.rs"]
mod recovery;

libfuzzer_sys::fuzz_target!(|input: &[u8]| recovery::recovery(input));
