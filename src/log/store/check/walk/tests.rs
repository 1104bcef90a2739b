//! The walk, fed in pieces of every size: what it counts, and what it calls lost.

use super::*;
use crate::batch::patch;
use crate::builder::BatchBuilder;
use crate::codec::Compression;

const BASE: i64 = 50;

/// A batch of three records in 400 bytes or more.
fn batch(offset: i64, codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    (0..3u8).for_each(|n| builder.push(1000, None, Some(&[n; 100]), &[]));
    let mut batch = builder.build().to_vec();
    patch(&mut batch, offset, 3);
    batch
}

fn batches(count: i64) -> Vec<Vec<u8>> {
    (0..count).map(|n| batch(BASE + 3 * n, Codec::None)).collect()
}

/// With what is wrong in it, but a good checksum.
fn changed(mut batch: Vec<u8>, change: impl Fn(&mut [u8])) -> Vec<u8> {
    change(&mut batch);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Walks over a segment of `end` bytes and the offsets up to `end_offset` that comes in pieces of this size.
fn walk_to(bytes: &[u8], piece: usize, end: usize, end_offset: i64) -> (Walk, Vec<u32>) {
    let mut walk = Walk::new(BASE, end as u32, end_offset);
    let mut places = Vec::new();
    bytes.chunks(piece).for_each(|piece| walk.feed(piece, |at, _| places.push(at)));
    walk.finish();
    (walk, places)
}

/// What of these batches is lost, whatever the size of the pieces.
fn lost(batches: &[Vec<u8>], end_offset: i64) -> Vec<(usize, usize, i64, i64)> {
    let bytes = batches.concat();
    let lost_of = |piece: usize| {
        let (walk, _) = walk_to(&bytes, piece, bytes.len(), end_offset);
        walk.lost.iter().map(|it| (it.at as usize, it.to as usize, it.from_offset, it.to_offset)).collect::<Vec<_>>()
    };
    let whole = lost_of(bytes.len());
    for piece in [1, 60, 61, 62, 500, 1000] {
        assert_eq!(lost_of(piece), whole, "in pieces of {piece} bytes");
    }
    whole
}

#[test]
fn good_batches_are_counted_and_told_whatever_the_pieces() {
    let batches = [batches(2), vec![batch(BASE + 6, Codec::Gzip), batch(BASE + 9, Codec::Zstd)]].concat();
    let bytes = batches.concat();
    for piece in [1, 60, 61, 62, 399, 1000, bytes.len()] {
        let (walk, places) = walk_to(&bytes, piece, bytes.len(), BASE + 12);
        assert_eq!((walk.batches, walk.records, walk.lost.len()), (4, 12, 0), "in pieces of {piece}: {:?}", walk.lost);
        let sizes = batches.iter().scan(0, |at, batch| Some(std::mem::replace(at, *at + batch.len() as u32)));
        assert_eq!(places, sizes.collect::<Vec<u32>>());
    }
    let more = [bytes.clone(), vec![7; 500]].concat();
    for piece in [100, more.len()] {
        let (walk, _) = walk_to(&more, piece, bytes.len(), BASE + 12);
        assert_eq!((walk.batches, walk.lost.len()), (4, 0), "what lies behind the end is not looked at");
    }
}

#[test]
fn behind_a_damaged_batch_the_walk_goes_on_with_the_next_whole_one() {
    let good = batches(4);
    let size = good[0].len();
    assert_eq!(lost(&good, BASE + 12), []);
    let with = |at: usize, batch: Vec<u8>| {
        let mut batches = good.clone();
        batches[at] = batch;
        batches
    };
    let mut damaged = good[1].clone();
    damaged[200] ^= 1;
    assert_eq!(lost(&with(1, damaged.clone()), BASE + 12), [(size, 2 * size, BASE + 3, BASE + 6)]);
    assert_eq!(lost(&with(3, damaged.clone()), BASE + 12), [(3 * size, 4 * size, BASE + 9, BASE + 12)]);
    let two = [good[0].clone(), damaged.clone(), damaged.clone(), good[3].clone()];
    assert_eq!(lost(&two, BASE + 12), [(size, 3 * size, BASE + 3, BASE + 9)]);
    let apart = [damaged.clone(), good[1].clone(), damaged, good[3].clone()];
    assert_eq!(lost(&apart, BASE + 12), [(0, size, BASE, BASE + 3), (2 * size, 3 * size, BASE + 6, BASE + 9)]);
}

#[test]
fn a_batch_is_damaged_when_its_records_are_not_what_its_header_says() {
    let good = batches(3);
    let size = good[0].len();
    for change in [
        |batch: &mut [u8]| batch[57..61].copy_from_slice(&2i32.to_be_bytes()),
        |batch: &mut [u8]| batch[57..61].copy_from_slice(&0i32.to_be_bytes()),
        |batch: &mut [u8]| batch[23..27].copy_from_slice(&1i32.to_be_bytes()),
        |batch: &mut [u8]| {
            batch[57..61].copy_from_slice(&0i32.to_be_bytes());
            batch[23..27].copy_from_slice(&(-1i32).to_be_bytes());
        },
        // The first record's own offset.
        |batch: &mut [u8]| batch[65] = 2,
    ] {
        let bad = [good[0].clone(), changed(good[1].clone(), change), good[2].clone()];
        assert_eq!(lost(&bad, BASE + 9), [(size, 2 * size, BASE + 3, BASE + 6)]);
    }
}

#[test]
fn compressed_batches_that_no_consumer_can_read_are_told_apart_from_damaged_ones() {
    let good = batches(3);
    let zipped = changed(batch(BASE + 3, Codec::Gzip), |batch| batch[61..].fill(0));
    let two = [good[0].clone(), zipped.clone(), changed(batch(BASE + 6, Codec::Zstd), |batch| batch[61..].fill(0))];
    let bytes = two.concat();
    let (walk, places) = walk_to(&bytes, 100, bytes.len(), BASE + 9);
    assert_eq!((walk.batches, walk.lost.len(), places.len()), (3, 0, 3));
    let seen = walk.unreadable.expect("some cannot be read");
    assert_eq!((seen.count, seen.at as usize, seen.from_offset), (2, good[0].len(), BASE + 3));
    assert!(!seen.what.is_empty());
    let mut rotten = zipped.clone();
    rotten[80] ^= 1;
    let size = good[0].len();
    let bad = [good[0].clone(), rotten, good[2].clone()];
    assert_eq!(lost(&bad, BASE + 9), [(size, size + zipped.len(), BASE + 3, BASE + 6)], "its checksum is wrong");
    let miscounted = changed(batch(BASE + 3, Codec::Gzip), |batch| batch[57..61].copy_from_slice(&2i32.to_be_bytes()));
    let bad = [good[0].clone(), miscounted.clone(), good[2].clone()];
    assert_eq!(lost(&bad, BASE + 9), [(size, size + miscounted.len(), BASE + 3, BASE + 6)], "no header says so");
}

/// What a search behind a damage must not take for the next batch: it would name other offsets as lost.
#[test]
fn behind_a_damage_only_a_batch_that_can_come_next_counts() {
    let good = batches(4);
    let size = good[0].len();
    let end = |last: Vec<u8>| lost(&[good[0].clone(), vec![0; size], last], BASE + 9);
    assert_eq!(end(good[2].clone()), [(size, 2 * size, BASE + 3, BASE + 6)]);
    let nothing = [(size, 3 * size, BASE + 3, BASE + 9)];
    assert_eq!(end(batch(BASE, Codec::None)), nothing, "it was there before");
    assert_eq!(end(batch(BASE + 9, Codec::None)), nothing, "the segment ends before it");
    assert_eq!(end(batch(BASE + 7, Codec::None)), nothing, "the segment ends in it");
    let negative = changed(good[2].clone(), |batch| batch[23..27].copy_from_slice(&(-1i32).to_be_bytes()));
    assert_eq!(end(negative), nothing, "it ends before it begins");
    let mut cut = good[2].clone();
    cut.truncate(size - 1);
    assert_eq!(end(cut), [(size, 3 * size - 1, BASE + 3, BASE + 9)], "it is not whole");
}

#[test]
fn a_header_that_reaches_beyond_the_end_and_a_batch_without_records_hide_nothing() {
    let good = batches(3);
    let size = good[0].len();
    let end = 4 * size + 1;
    let mut long = vec![0];
    long.extend_from_slice(&good[2]);
    long[9..13].copy_from_slice(&(end as i32 - 12).to_be_bytes());
    let pieces = [good[0].clone(), long, good[1].clone(), good[2].clone()];
    assert_eq!(lost(&pieces, BASE + 9), [(size, 2 * size + 1, BASE + 3, BASE + 3)]);
    let empty = changed(good[2][..HEADER_BYTES].to_vec(), |batch| {
        batch[8..12].copy_from_slice(&(HEADER_BYTES as i32 - 12).to_be_bytes());
        batch[57..61].fill(0);
    });
    let pieces = [good[0].clone(), vec![0; size], empty];
    let two = [(size, 2 * size, BASE + 3, BASE + 6), (2 * size, 2 * size + HEADER_BYTES, BASE + 6, BASE + 9)];
    assert_eq!(lost(&pieces, BASE + 9), two);
}

#[test]
fn what_is_wrong_is_said_of_the_place_and_not_of_the_end_of_the_file() {
    let bytes = batches(2).concat();
    let said = |bytes: &[u8], end: usize| walk_to(bytes, 100, end, BASE + 6).0.lost[0].what.clone();
    let beyond = said(&bytes, bytes.len() - 1);
    assert!(beyond.contains("goes beyond the end"), "{beyond}");
    let stray = [bytes[..bytes.len() / 2].to_vec(), vec![1; 10]].concat();
    assert_ne!(said(&stray, stray.len()), "the file ends here");
    assert_eq!(said(&stray, stray.len() + 1), "the file ends here");
}

#[test]
fn a_segment_that_ends_too_early_or_at_another_offset_has_lost_the_rest() {
    let bytes = batches(2).concat();
    let size = bytes.len() / 2;
    let rest = |there: usize, end: usize, end_offset: i64| {
        let (walk, _) = walk_to(&bytes[..there], 100, end, end_offset);
        walk.lost.iter().map(|it| (it.at as usize, it.to as usize, it.from_offset, it.to_offset)).collect::<Vec<_>>()
    };
    assert_eq!(rest(size + 10, 2 * size, BASE + 6), [(size, 2 * size, BASE + 3, BASE + 6)]);
    assert_eq!(rest(2 * size, 2 * size, BASE + 9), [(2 * size, 2 * size, BASE + 6, BASE + 9)]);
    assert_eq!(rest(2 * size, 2 * size - 1, BASE + 6), [(size, 2 * size - 1, BASE + 3, BASE + 6)]);
}
