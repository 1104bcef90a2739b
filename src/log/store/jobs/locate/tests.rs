//! Windows, looks at batches, and searches in index files, each for itself.

use super::*;
use crate::batch::patch;
use crate::io::{IoError, OpOk};
use crate::store::index::{INDEX_ENTRY_BYTES, read_entry};
use crate::store::tests::world::batch_of;

const SIZE: usize = 1000;

/// A batch of one record.
fn batch(offset: i64) -> Vec<u8> {
    let mut batch = batch_of(SIZE).bytes().to_vec();
    patch(&mut batch, offset, 3);
    batch
}

fn source(file_end: u32, tail: usize) -> ColdSource {
    let tail = Bytes::from(vec![7; tail]);
    ColdSource { dir: Arc::from("t-0"), segment: 0, file_end, tail, index_bytes: 0, interval_bytes: 1024 }
}

#[test]
fn a_window_begins_at_a_block_and_has_what_is_wanted_as_far_as_the_file_goes() {
    let window = |at, want| {
        source(100_000, 0).window(at, want).map(|(start, op)| match op {
            Op::Read { at, len, direct: true, .. } if at == u64::from(start) => (start, len),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(window(5000, 1000), Some((4096, 4096)));
    assert_eq!(window(5000, 3192), Some((4096, 4096)));
    assert_eq!(window(5000, 3193), Some((4096, 8192)));
    assert_eq!(window(98_400, 10_000), Some((98_304, 100_000 - 98_304)));
    assert_eq!((window(99_999, 1), window(100_000, 1)), (Some((98_304, 100_000 - 98_304)), None));
}

#[test]
fn the_tail_follows_a_window_that_reaches_the_file_s_end_and_no_other() {
    let bytes =
        |tail, read| source(8192, tail).window_bytes(4096, Bytes::from(vec![1; read])).expect("no failure").len();
    assert_eq!([bytes(10, 4095), bytes(10, 4096), bytes(10, 4097), bytes(0, 4096)], [4095, 4106, 4097, 4096]);
}

fn outcome(bytes: &[u8], left: usize, expect: Expect) -> &'static str {
    match look(bytes, left, expect) {
        Look::Batch(_) => "batch",
        Look::Cut => "cut",
        Look::Bad => "bad",
    }
}

#[test]
fn what_lies_at_a_place_is_the_batch_expected_or_its_front_or_something_else() {
    let good = batch(5);
    for expect in [Expect::Base(5), Expect::Last(5), Expect::Indexed(5)] {
        assert_eq!(outcome(&good, SIZE, expect), "batch");
        assert_eq!(outcome(&good[..SIZE - 1], SIZE, expect), "cut");
        assert_eq!(outcome(&good, SIZE - 1, expect), "bad", "there is less than that");
    }
    for expect in [Expect::Base(4), Expect::Last(6), Expect::Indexed(4)] {
        assert_eq!(outcome(&good, SIZE, expect), "bad");
    }
    let mut damaged = good.clone();
    damaged[SIZE - 1] ^= 1;
    assert_eq!(outcome(&damaged, SIZE, Expect::Base(5)), "bad");
    for (seen, left, found) in [(10, 11, "cut"), (10, 10, "bad"), (0, 0, "cut"), (60, 61, "cut")] {
        assert_eq!(outcome(&good[..seen], left, Expect::Base(5)), found, "{seen} of {left} bytes");
    }
}

#[test]
fn a_batch_without_records_is_one() {
    let mut empty = batch(5)[..HEADER_BYTES].to_vec();
    empty[8..12].copy_from_slice(&(HEADER_BYTES as u32 - 12).to_be_bytes());
    empty[57..61].fill(0);
    let crc = crc32c::crc32c(&empty[21..]);
    empty[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(outcome(&empty, HEADER_BYTES, Expect::Base(5)), "batch");
}

#[test]
fn only_a_first_offset_says_what_no_later_batch_begins_below() {
    assert_eq!([Expect::Base(5), Expect::Last(5), Expect::Indexed(5)].map(Expect::at_least), [5, 0, 0]);
}

#[test]
fn a_batch_is_found_behind_the_front_whole_and_in_the_range() {
    let bytes = [vec![0xAB; 10], batch(5), batch(6), vec![0; 100]].concat();
    assert_eq!(find_batch(&bytes, 5..=6), Some((10, 5)));
    assert_eq!(find_batch(&bytes, 6..=9), Some((10 + SIZE, 6)));
    assert_eq!(find_batch(&bytes, 7..=9), None);
    assert_eq!(find_batch(&bytes[10..], 5..=5), None, "the front is where something else was expected");
    let mut damaged = bytes;
    damaged[500] ^= 1;
    assert_eq!(find_batch(&damaged, 5..=6), Some((10 + SIZE, 6)));
}

/// Searches a file of entries with the keys 0, 10, 20, ... of which so many are there: what was found, and the reads.
fn search(said: u32, there: u32, target: i64) -> (Option<i64>, u32, bool, Vec<(u64, u32)>) {
    let mut file = Vec::new();
    for n in 0..there {
        file.extend_from_slice(&(n * 10).to_be_bytes());
        file.extend_from_slice(&n.to_be_bytes());
    }
    let key = |entry: &[u8]| read_entry(entry).map(|(offset, _)| i64::from(offset));
    let id = source(0, 0).file(SegmentFile::Index);
    let mut search = Search::new(id, said * INDEX_ENTRY_BYTES as u32, INDEX_ENTRY_BYTES, key, target);
    let (mut result, mut reads) = (None, Vec::new());
    loop {
        match search.step(result).expect("no failure") {
            SearchStep::Found(found) => return (found.entry.as_deref().and_then(key), found.no, found.short, reads),
            SearchStep::Read(Op::Read { at, len, .. }) => {
                reads.push((at, len));
                assert!(reads.len() < 40 && at + u64::from(len) <= u64::from(said) * 8, "{reads:?}");
                let end = file.len().min(at as usize + len as usize);
                let bytes = file.get(at as usize..end).unwrap_or_default();
                result = Some(Ok(OpOk::Data(Bytes::copy_from_slice(bytes))));
            }
            SearchStep::Read(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_search_finds_the_last_entry_that_is_not_above_the_target() {
    for count in [1u32, 2, 511, 512, 513, 1500, 5000] {
        for target in [0, 5, 10, 2345, 5110, 5120, 14_990, 49_990, 90_000] {
            let no = (target / 10).min(i64::from(count) - 1);
            let (found, at, short, reads) = search(count, count, target);
            assert_eq!((found, i64::from(at), short), (Some(no * 10), no, false), "{target} of {count}");
            let last = reads.last().expect("at least one");
            assert!(reads[..reads.len() - 1].iter().all(|(_, len)| *len == 8) && last.1 <= 4096, "{reads:?}");
            assert!(reads.len() <= 6, "{reads:?}");
        }
        assert_eq!(search(count, count, -1).0, None);
    }
    assert_eq!(search(512, 512, 7).3, [(0, 4096)], "what is small is read at once");
    assert_eq!(search(513, 513, 7).3, [(256 * 8, 8), (0, 256 * 8)], "of what is larger the middle is looked at first");
    assert_eq!(search(1026, 1026, 90_000).3, [(513 * 8, 8), (514 * 8, 512 * 8)]);
}

#[test]
fn a_file_that_is_shorter_than_it_should_be_is_told() {
    assert_eq!(search(100, 40, 5000), (Some(390), 39, true, vec![(0, 800)]));
    let (found, _, short, reads) = search(5000, 1000, 49_990);
    assert_eq!((found, short, reads), (None, true, vec![(2500 * 8, 8)]));
    let (found, _, short, _) = search(100, 40, 200);
    assert_eq!((found, short), (Some(200), false), "what is missing was not needed");
}

#[test]
fn a_file_that_is_not_there_is_short_and_one_that_cannot_be_read_is_a_failure() {
    for (errno, is_short) in [(2, true), (5, false)] {
        let id = source(0, 0).file(SegmentFile::Index);
        let mut search = Search::new(id, 80, INDEX_ENTRY_BYTES, |_| None, 0);
        assert!(matches!(search.step(None), Ok(SearchStep::Read(_))));
        let error = IoError { op: "read", path: String::new(), errno, message: String::new() };
        let step = search.step(Some(Err(error)));
        assert_eq!(matches!(&step, Ok(SearchStep::Found(found)) if found.short), is_short, "error {errno}");
        assert_eq!(step.is_err(), !is_short);
    }
}
