//! The entries of the fuzz targets, run on good bytes that were damaged: a short fuzz without a fuzzer.

mod disk;
mod entries;
mod recovery;

use coretide_log::builder::BatchBuilder;
use coretide_log::codec::{Codec, Compression, compress};
use coretide_log::records::Header;
use coretide_stdx::prng::Prng;

const ROUNDS: usize = 3000;

/// Good inputs of each kind to begin with.
fn batches() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(Compression::of(codec)).producer(7, 1, 5);
        for n in 0..6i64 {
            let key = [b'k', n as u8];
            let headers = [Header { key: b"h", value: None }, Header { key: b"h", value: Some(&key) }];
            let value = vec![b'v'; 40 * n as usize];
            builder.push(1_700_000_000_000 - n * 77, Some(&key), Some(&value), &headers[..n as usize % 3]);
        }
        seeds.push(builder.build().to_vec());
    }
    seeds
}

fn compressed() -> Vec<Vec<u8>> {
    let text = b"some text that repeats, some text that repeats, and does not".repeat(30);
    let pack = |codec: Codec| {
        let mut out = vec![codec.id()];
        compress(Compression::of(codec), &text, &mut out);
        out
    };
    Codec::ALL.into_iter().map(pack).collect()
}

/// Flips, overwrites, cuts, repeats and splices.
fn damage(prng: &mut Prng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |prng: &mut Prng, len: usize| prng.below(len.max(1) as u64) as usize;
    let mut bytes = seeds[pick(prng, seeds.len())].clone();
    for _ in 0..=prng.below(4) {
        let at = pick(prng, bytes.len());
        match prng.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << prng.below(8),
            1 if !bytes.is_empty() => bytes[at] = prng.next_u64() as u8,
            2 if !bytes.is_empty() => bytes[at] = [0x00, 0x7f, 0x80, 0xff][pick(prng, 4)],
            3 => bytes.truncate(at),
            4 => {
                let other = &seeds[pick(prng, seeds.len())];
                let from = pick(prng, other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let run = bytes[at..bytes.len().min(at + 20)].to_vec();
                bytes.splice(at..at, run);
            }
        }
    }
    bytes
}

fn run(seed: u64, seeds: &[Vec<u8>], entry: impl Fn(&mut Prng, Vec<u8>)) {
    let mut prng = Prng::new(seed);
    for good in seeds {
        entry(&mut prng, good.clone());
    }
    for _ in 0..ROUNDS {
        let damaged = damage(&mut prng, seeds);
        entry(&mut prng, damaged);
    }
}

#[test]
fn damaged_batches_are_refused_or_keep_the_promises() {
    run(1, &batches(), |prng, batch| {
        let mut input = vec![prng.next_u64() as u8 | 0x80];
        input.extend(batch);
        entries::produced(&input);
        input[0] &= 0x7f;
        entries::produced(&input);
    });
}

#[test]
fn damaged_logs_are_walked_to_an_end() {
    let batches = batches();
    let mut logs: Vec<Vec<u8>> = vec![batches.concat(), batches.iter().rev().flatten().copied().collect()];
    logs[1].extend([0; 300]);
    run(2, &logs, |_, log| entries::stored(&log));
}

#[test]
fn damaged_compressed_data_stay_inside_the_cap() {
    run(3, &compressed(), |_, data| entries::codec(&data));
}

#[test]
fn damaged_records_end_in_an_error() {
    let uncompressed = batches()[0][61..].to_vec();
    run(4, &[uncompressed], |_, records| {
        for count in [0, 1, 6, 7, 0xff] {
            let mut input = vec![count];
            input.extend_from_slice(&records);
            entries::records(&input);
        }
    });
}

#[test]
fn starts_on_damaged_files_end_and_the_next_start_agrees() {
    let mut prng = Prng::new(5);
    for round in 0..400 {
        let mut input = vec![round as u8];
        for _ in 0..=prng.below(6) {
            input.extend_from_slice(&prng.next_u64().to_le_bytes()[..5]);
        }
        recovery::recovery(&input);
    }
}

/// With the boot file, the start forgot which generation it is, and wrote the number of one that had left a checkpoint
/// behind: the next start believed that one, a clean stop, and did not look at the journal.
#[test]
fn bug_ours_a_lost_boot_file_brings_no_old_checkpoint_back() {
    const BOOT_0: u8 = 0;
    const REMOVE: u8 = 7;
    for directory in [0, 1] {
        recovery::recovery(&[directory, BOOT_0, REMOVE, 0, 0, 0]);
    }
}

/// An offset in a journal that jumps ahead: reads stood still at the last record before it.
#[test]
fn bug_ours_a_gap_between_segments_does_not_stop_reads() {
    recovery::recovery(include_bytes!("../../fuzz/seeds/recovery/sealed-gap"));
}
