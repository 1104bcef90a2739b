//! The two boot files, which say in turn which generation counts. Each holds the same 80 bytes twice, a block apart, so that
//! one bad sector of it costs nothing.
//! Must never touch: what a generation consists of.

use bytes::Bytes;
use coretide_stdx::aligned::BLOCK_BYTES;

use super::BootError;
use crate::io::{FileId, Op};
use crate::store::checkpoint::{FORMAT, decode_file, encode_file};

/// The two files.
pub const BOOT_FILES: [&str; 2] = [".coretide/boot-0", ".coretide/boot-1"];
/// What is read of one at most.
const FILE_MAX_BYTES: u32 = 2 * BLOCK_BYTES as u32;
const MAGIC: [u8; 8] = *b"CTBOOTGN";
/// Shards that a boot file may name.
const SHARDS_MAX: u16 = 4096;

/// Which generation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootMeta {
    /// The number of the start.
    pub generation: u64,
    /// Its shards.
    pub shards: u16,
    /// What its journals' ids were made from.
    pub random: u64,
}

/// What a boot file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// Nothing: its first write did not happen.
    Empty,
    /// A generation; `marred`: the other copy is damaged.
    Good { meta: BootMeta, marred: bool },
    /// Bytes, but no whole copy. A crash cannot do that: a copy lies within one sector.
    Damaged,
}

impl BootMeta {
    /// The file's bytes.
    pub fn encode(self) -> Bytes {
        let mut payload = Vec::with_capacity(16);
        payload.extend_from_slice(&u64::from(self.shards).to_le_bytes());
        payload.extend_from_slice(&self.random.to_le_bytes());
        let copy = encode_file(MAGIC, self.generation, &payload);
        let mut both = copy.to_vec();
        both.resize(BLOCK_BYTES, 0);
        both.extend_from_slice(&copy);
        both.into()
    }

    fn decode_copy(bytes: &[u8]) -> Result<Option<BootMeta>, BootError> {
        let (generation, payload) = match decode_file(MAGIC, bytes) {
            Ok(found) => found,
            Err(None) => return Ok(None),
            Err(Some(found)) => return Err(BootError::NewerFormat { found, known: FORMAT }),
        };
        let number =
            |at: usize| payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (Some(shards), Some(random)) = (number(0), number(8)) else { return Ok(None) };
        let shards = u16::try_from(shards).ok().filter(|shards| *shards <= SHARDS_MAX);
        Ok(shards.map(|shards| BootMeta { generation, shards, random }))
    }

    /// Reads a file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<BootFile, BootError> {
        let halves = bytes.split_at(bytes.len().min(BLOCK_BYTES));
        let (mut best, mut marred): (Option<BootMeta>, bool) = (None, false);
        for half in [halves.0, halves.1] {
            match BootMeta::decode_copy(half)? {
                // A crash within the write leaves two whole copies, one of them older.
                Some(meta) => best = best.into_iter().chain([meta]).max_by_key(|meta| meta.generation),
                None => marred |= half.iter().any(|byte| *byte != 0),
            }
        }
        Ok(match best {
            Some(meta) => BootFile::Good { meta, marred },
            None if marred => BootFile::Damaged,
            None => BootFile::Empty,
        })
    }

    /// The id of a shard's journal in this generation.
    pub fn journal_id(self, shard: u16) -> u64 {
        journal_id(self.random, shard)
    }
}

/// The id of a shard's journal in the generation that drew `random`.
pub fn journal_id(random: u64, shard: u16) -> u64 {
    random ^ (u64::from(shard) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The file of a slot.
pub fn boot_file(slot: usize) -> FileId {
    FileId::Root { name: BOOT_FILES[slot] }
}

/// Reads the file of a slot.
pub fn read_boot_file(slot: usize) -> Op {
    Op::Read { file: boot_file(slot), at: 0, len: FILE_MAX_BYTES, direct: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What journals on disk were written with.
    #[test]
    fn a_journal_s_id_is_made_of_the_drawn_number_and_the_shard() {
        assert_eq!(journal_id(0, 0), 0x9E37_79B9_7F4A_7C15);
        assert_eq!(journal_id(u64::MAX, 0), !0x9E37_79B9_7F4A_7C15);
        assert_eq!(journal_id(0, 1), 0x3C6E_F372_FE94_F82A);
    }
}
