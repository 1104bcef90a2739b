//! Where a journal breaks off, and whether it may: a torn last commit is what crashes leave, a broken one that others
//! follow is damage.
//!
//! One commit is on its way at a time, so whoever wrote commit n + 1 had seen commit n done. Was it done durably? A header
//! says whether all commits before it were on stable storage when it was written: then a whole header that comes later in
//! the same chain proves that the disk has lost something that was acknowledged.
//! Must never touch: what commits mean for logs.

use coretide_stdx::aligned::BLOCK_BYTES;

use crate::store::format::{Chain, CommitHeader, read_header};

/// The headers of later commits of the chain in a journal file's bytes, from position `from` (a block border) on: what
/// stands there proves that `expected` and all before it were written. Positions come along.
pub fn later_commits(bytes: &[u8], from: usize, expected: Chain) -> impl Iterator<Item = (u64, CommitHeader)> + '_ {
    let borders = (from..bytes.len()).step_by(BLOCK_BYTES);
    borders.filter_map(move |at| {
        let header = read_header(&bytes[at..])?;
        is_later(&header, expected).then_some((at as u64, header))
    })
}

/// True for a commit of the same chain behind `expected`.
pub fn is_later(header: &CommitHeader, expected: Chain) -> bool {
    header.chain.journal_id == expected.journal_id && header.chain.seq > expected.seq
}

/// True when this later commit proves that all before it had reached stable storage.
pub fn proves_damage(header: &CommitHeader, expected: Chain) -> bool {
    is_later(header, expected) && header.all_before_durable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_commit_is_of_the_same_chain_and_has_a_larger_number() {
        let chain = |journal_id, seq| Chain { journal_id, seq, previous_crc: 0 };
        let head = |chain: Chain, durable: bool| {
            let writer =
                crate::store::format::CommitWriter::new(coretide_stdx::aligned::AlignedBuf::with_capacity(4096));
            writer.finish(chain, durable).1
        };
        let expected = chain(7, 5);
        for (found, later) in [((7, 4), false), ((7, 5), false), ((7, 6), true), ((7, 9), true), ((8, 6), false)] {
            let found = chain(found.0, found.1);
            assert_eq!(is_later(&head(found, false), expected), later, "{found:?}");
            assert_eq!(proves_damage(&head(found, true), expected), later);
            assert!(!proves_damage(&head(found, false), expected));
        }
    }
}
