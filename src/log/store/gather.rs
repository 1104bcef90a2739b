//! What a destage wrote, kept in memory in the place of the commits' pieces that it was made of. Small batches lie scattered over
//! their commits; a consumer that comes a little later finds them side by side, in a few large extents instead of many small ones.
//! Must never touch: what is not destaged; what readers get, the bytes are the same.

use std::ops::Range;

use bytes::Bytes;

use super::cache::Cache;
use super::segment::{Log, Run};

/// Pieces that are larger than this on average stay as they are.
const PIECE_MAX_BYTES: usize = 16 << 10;
/// A run takes pieces until it is this large. A read walks over what its first run holds before the offset asked for.
const RUN_BYTES: u32 = 32 << 10;
/// What one destage may keep at most.
const KEEP_MAX_BYTES: usize = 1 << 20;
/// Its share of the cache at most.
const KEEP_SHARE: usize = 4;

/// How many of the buffers that a destage writes these pieces from are worth keeping.
pub fn buffers_kept(pieces: &[Bytes], buffer_bytes: usize, cache_bytes: usize) -> usize {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let is_scattered = pieces.len() > 1 && bytes / pieces.len() < PIECE_MAX_BYTES;
    let most = KEEP_MAX_BYTES.min(cache_bytes / KEEP_SHARE) / buffer_bytes;
    if is_scattered { bytes.div_ceil(buffer_bytes).min(most) } else { 0 }
}

/// What was written of a segment, from a position on, in buffers that take `buffer_bytes` of memory each.
#[derive(Debug)]
pub struct Written<'a> {
    pub segment: i64,
    pub from: u32,
    pub buffers: &'a [Bytes],
    pub buffer_bytes: usize,
}

impl Log {
    /// Replaces the runs that lie wholly in what was written by runs of its buffers, and those that lie across two of them by
    /// copies, so that nothing is left of the commits' buffers.
    pub(super) fn gather(&mut self, written: &Written<'_>, cache: &mut Cache) {
        let mut end = written.from + written.buffers.iter().map(Bytes::len).sum::<usize>() as u32;
        // The last one first: what lies behind is moved each time, and is little by then.
        for buffer in written.buffers.iter().rev() {
            let at = end - buffer.len() as u32;
            let first = self.runs.partition_point(|run| (run.segment, run.position) < (written.segment, at));
            let after = self.runs.partition_point(|run| (run.segment, run.end()) <= (written.segment, end));
            if let Some(run) = self.runs.get_mut(after)
                && run.segment == written.segment
                && (at..end).contains(&run.position)
                && run.whole
                && run.bytes.len() < PIECE_MAX_BYTES
            {
                cache.let_go(std::iter::once((run.commit, run.bytes.len())));
                cache.charge(run.commit, run.bytes.len());
                run.bytes = Bytes::copy_from_slice(&run.bytes);
            }
            let is_held = self.runs.get(first).is_some_and(|run| cache.has(run.commit));
            if is_held && first + 1 < after && self.runs.range(first..after).all(|run| run.whole) {
                self.gather_buffer(first..after, (at, buffer), written.buffer_bytes, cache);
            }
            end = at;
        }
    }

    fn gather_buffer(&mut self, range: Range<usize>, (at, buffer): (u32, &Bytes), held: usize, cache: &mut Cache) {
        let behind = self.runs.split_off(range.end);
        let pieces = self.runs.split_off(range.start);
        let newest = pieces.back().map_or(0, |piece| piece.commit);
        cache.let_go(pieces.iter().map(|piece| (piece.commit, piece.bytes.len())));
        let mut gathered: Vec<(Run, u32)> = Vec::new();
        for piece in pieces {
            match gathered.last_mut() {
                Some((run, end)) if *end - run.position < RUN_BYTES => {
                    (*end, run.next_offset, run.commit) = (piece.end(), piece.next_offset, piece.commit);
                }
                _ => {
                    let end = piece.end();
                    gathered.push((piece, end));
                }
            }
        }
        // A buffer goes with the last run in it. One that is mostly empty is not worth holding.
        let is_full = buffer.len() * 2 >= held;
        if is_full {
            cache.charge(newest, held);
        }
        for (mut run, end) in gathered {
            let bytes = buffer.slice((run.position - at) as usize..(end - at) as usize);
            debug_assert_eq!(bytes[..run.bytes.len()], run.bytes[..], "{}: other bytes were written", self.dir);
            run.bytes = if is_full {
                bytes
            } else {
                cache.charge(run.commit, bytes.len());
                Bytes::copy_from_slice(&bytes)
            };
            self.runs.push_back(run);
        }
        self.runs.extend(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: usize, bytes: usize, buffer_bytes: usize, cache_bytes: usize) -> usize {
        let pieces: Vec<Bytes> = (0..pieces).map(|_| Bytes::from(vec![0; bytes])).collect();
        buffers_kept(&pieces, buffer_bytes, cache_bytes)
    }

    #[test]
    fn buffers_are_kept_of_what_lies_scattered_up_to_a_share_of_the_cache() {
        let much = 1 << 30;
        assert_eq!(kept(1, 1000, 4096, much), 0, "one piece is as good where it is");
        assert_eq!(kept(2, 1000, 4096, much), 1);
        assert_eq!(kept(5, 1000, 4096, much), 2);
        assert_eq!(kept(8, PIECE_MAX_BYTES - 1, 128 << 10, much), 1);
        assert_eq!(kept(8, PIECE_MAX_BYTES, 128 << 10, much), 0, "large pieces stay");
        assert_eq!(kept(300, 8000, 128 << 10, much), 8, "1 MiB at most");
        assert_eq!(kept(300, 8000, 128 << 10, 1 << 20), 2, "a quarter of the cache at most");
        assert_eq!(kept(300, 8000, 128 << 10, 1000), 0);
    }

    fn piece(segment: i64, position: u32, len: usize, commit: u64) -> Run {
        Run {
            segment,
            position,
            first_offset: i64::from(position),
            next_offset: i64::from(position) + len as i64,
            bytes: Bytes::from(vec![7; len]),
            commit,
            before: super::super::index::MaxTimestamp::NONE,
            whole: true,
        }
    }

    /// Gathers pieces of these sizes, one per commit, from buffers of which so many bytes were written. Tells the runs that are
    /// left, and how many bytes the cache holds: 100,000 of each commit before.
    fn gathered(pieces: &[usize], buffers: &[usize], buffer_bytes: usize) -> (Vec<usize>, usize) {
        let tp = coretide_model::TopicPartition { topic_id: coretide_model::TopicId(1), partition: 0 };
        let mut log = Log::new(tp, std::sync::Arc::from("t-0"), 0);
        let mut cache = Cache::default();
        let mut position = 0;
        for (n, &len) in pieces.iter().enumerate() {
            let commit = n as u64 + 1;
            log.push_run(piece(0, position, len, commit));
            position += len as u32;
            let cached = super::super::cache::Cached {
                commit,
                buffer_bytes: 100_000,
                used_bytes: len,
                keys: smallvec::SmallVec::new(),
            };
            cache.push(cached);
        }
        // Of the next segment, which nothing was written of.
        log.push_run(piece(i64::from(position), 0, 10, 1000));
        let buffers: Vec<Bytes> = buffers.iter().map(|&len| Bytes::from(vec![7; len])).collect();
        log.gather(&Written { segment: 0, from: 0, buffers: &buffers, buffer_bytes }, &mut cache);
        assert_eq!(log.runs.back().map(|run| run.commit), Some(1000));
        let sizes = log.runs.iter().map(|run| run.bytes.len()).collect::<Vec<_>>();
        (sizes[..sizes.len() - 1].to_vec(), cache.bytes())
    }

    #[test]
    fn pieces_become_parts_of_the_buffers_and_what_lies_across_the_end_of_one_is_copied() {
        assert_eq!(gathered(&[1000; 5], &[4096], 4096), (vec![4000, 1000], 4096 + 1000));
        assert_eq!(gathered(&[1000; 5], &[4096, 904], 4096), (vec![4000, 1000], 4096 + 1000));
        assert_eq!(gathered(&[3000], &[4096], 4096), (vec![3000], 100_000), "one piece stays");
        let large = PIECE_MAX_BYTES - 1;
        assert_eq!(gathered(&[1000, 1000, large], &[4096], 4096), (vec![2000, large], 4096 + large));
        let large = PIECE_MAX_BYTES;
        assert_eq!(
            gathered(&[1000, 1000, large], &[4096], 4096),
            (vec![2000, large], 4096 + 100_000),
            "a large one stays"
        );
    }

    #[test]
    fn runs_take_pieces_until_they_are_large_enough() {
        let run = RUN_BYTES as usize;
        assert_eq!(gathered(&[8192; 8], &[64 << 10], 64 << 10), (vec![run, run], 64 << 10));
        assert_eq!(gathered(&[8191; 8], &[64 << 10], 64 << 10), (vec![5 * 8191, 3 * 8191], 64 << 10));
    }

    #[test]
    fn a_buffer_that_is_mostly_empty_is_not_held() {
        assert_eq!(gathered(&[1024; 4], &[4096], 8192), (vec![4096], 8192));
        assert_eq!(gathered(&[1024; 4], &[4096], 8193), (vec![4096], 4096));
    }
}
