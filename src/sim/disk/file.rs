//! One file of the virtual disk: what is on stable storage, and which sectors have newer versions that are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use coretide_stdx::prng::Prng;

use super::{CutMode, SECTOR_BYTES};

type Sector = Arc<[u8; SECTOR_BYTES]>;

/// Unsynced versions of one sector that a power cut may choose from; older ones are forgotten.
const VERSIONS_MAX: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct SimFile {
    /// Sectors on stable storage; an absent one is zeros.
    stable: BTreeMap<u64, Sector>,
    /// Newer versions of sectors, oldest first.
    unsynced: BTreeMap<u64, Vec<Sector>>,
    stable_len: u64,
    len: u64,
    /// Lengths the file had since its last sync, oldest first.
    unsynced_lens: Vec<u64>,
    /// Sectors that were said to be stable and are not, as they were then.
    lied: BTreeMap<u64, Sector>,
    /// The length was said to be stable.
    lied_len: Option<u64>,
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CutCost {
    pub lost_sectors: u64,
    /// Of sectors and lengths that had been said to be durable.
    pub lost_by_lies: u64,
}

impl SimFile {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let end = (at + len).min(self.len);
        let mut out = Vec::with_capacity(end.saturating_sub(at) as usize);
        let mut here = at;
        while here < end {
            let (sector, skip) = place(here);
            let take = (SECTOR_BYTES - skip).min((end - here) as usize);
            out.extend_from_slice(&self.newest(sector)[skip..skip + take]);
            here += take as u64;
        }
        out
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        self.write_chosen(at, bytes, |_| true);
        self.set_len(self.len.max(at + bytes.len() as u64));
    }

    /// Any of the write's sectors, as a process or device that dies half-way leaves it.
    pub fn write_some(&mut self, at: u64, bytes: &[u8], prng: &mut Prng) {
        let (kind, upto) = (prng.below(3), prng.below(bytes.len() as u64 / SECTOR_BYTES as u64 + 1));
        let mut reached = self.len;
        let first = at / SECTOR_BYTES as u64;
        self.write_chosen(at, bytes, |sector| {
            let chosen = match kind {
                0 => sector - first < upto,
                1 => sector - first >= upto,
                _ => prng.chance(1, 2),
            };
            if chosen {
                reached = reached.max(((sector + 1) * SECTOR_BYTES as u64).min(at + bytes.len() as u64));
            }
            chosen
        });
        self.set_len(reached);
    }

    pub fn truncate(&mut self, len: u64) {
        if len < self.len {
            // What lay beyond reads as zeros if the file grows again.
            let (first, skip) = place(len);
            let gone: Vec<u64> = self.unsynced.range(first..).map(|(&sector, _)| sector).collect();
            let stable: Vec<u64> = self.stable.range(first..).map(|(&sector, _)| sector).collect();
            for sector in gone.into_iter().chain(stable) {
                let mut content = *self.newest(sector);
                let from = if sector == first { skip } else { 0 };
                content[from..].fill(0);
                self.push_version(sector, Arc::new(content));
            }
        }
        self.set_len(len);
    }

    /// Everything becomes stable.
    pub fn sync(&mut self) {
        for (sector, mut versions) in std::mem::take(&mut self.unsynced) {
            self.stable.extend(versions.pop().map(|newest| (sector, newest)));
        }
        self.stable_len = self.len;
        self.unsynced_lens.clear();
        self.lied.clear();
        self.lied_len = None;
    }

    /// These bytes are said to be stable, and a length that reaches them. They are not.
    pub fn lie(&mut self, at: u64, len: u64) {
        let (first, _) = place(at);
        let (last, _) = place(at + len.max(1) - 1);
        for (&sector, versions) in self.unsynced.range(first..=last) {
            self.lied.extend(versions.last().map(|newest| (sector, newest.clone())));
        }
        if self.stable_len != self.len {
            self.lied_len = Some(at + len);
        }
    }

    /// True when anything was ever written to it.
    pub fn has_content(&self) -> bool {
        self.len > 0 && !(self.stable.is_empty() && self.unsynced.is_empty())
    }

    /// A bit of a written sector flips; its place in the file.
    pub fn rot(&mut self, prng: &mut Prng) -> u64 {
        let inside = |sector: &&u64| **sector * (SECTOR_BYTES as u64) < self.len;
        let not_zeros = |sector: &&u64| self.newest(**sector).iter().any(|&byte| byte != 0);
        let written: Vec<u64> = self.stable.keys().filter(inside).filter(not_zeros).copied().collect();
        let sectors =
            if written.is_empty() { vec![prng.below(self.len.div_ceil(SECTOR_BYTES as u64))] } else { written };
        let sector = sectors[prng.below(sectors.len() as u64) as usize];
        let (byte, bit) = (prng.below(SECTOR_BYTES as u64), prng.below(8));
        let flip = |content: &[u8; SECTOR_BYTES]| {
            let mut content = *content;
            content[byte as usize] ^= 1 << bit;
            Arc::new(content)
        };
        let stable = flip(self.stable.get(&sector).map_or(&[0; SECTOR_BYTES], |content| content));
        self.stable.insert(sector, stable);
        for version in self.unsynced.get_mut(&sector).into_iter().flatten() {
            *version = flip(version);
        }
        sector * SECTOR_BYTES as u64 + byte
    }

    /// A durable write: these bytes, and a length that reaches them.
    pub fn pin(&mut self, at: u64, len: u64) {
        let (first, _) = place(at);
        let (last, _) = place(at + len.max(1) - 1);
        for sector in first..=last {
            if let Some(mut versions) = self.unsynced.remove(&sector) {
                self.stable.extend(versions.pop().map(|newest| (sector, newest)));
            }
            self.lied.remove(&sector);
        }
        if self.stable_len < at + len {
            self.stable_len = self.len;
            self.unsynced_lens.clear();
        }
    }

    /// A failed sync: what was pending never gets to stable storage, nor is it readable any more.
    pub fn forget_unsynced(&mut self) -> CutCost {
        self.power_cut(CutMode::LoseAll, &mut Prng::new(0))
    }

    pub fn power_cut(&mut self, mode: CutMode, prng: &mut Prng) -> CutCost {
        let mut cost = CutCost::default();
        let lied = std::mem::take(&mut self.lied);
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            let chosen = match mode {
                CutMode::KeepAll => versions.len(),
                CutMode::LoseAll => 0,
                CutMode::Torn => prng.below(versions.len() as u64 + 1) as usize,
            };
            cost.lost_sectors += u64::from(chosen < versions.len());
            if let Some(said) = lied.get(&sector) {
                let place = versions.iter().position(|version| Arc::ptr_eq(version, said)).unwrap_or(0);
                cost.lost_by_lies += u64::from(chosen < place + 1);
            }
            if let Some(place) = chosen.checked_sub(1) {
                self.stable.insert(sector, versions[place].clone());
            }
        }
        let lens = std::mem::take(&mut self.unsynced_lens);
        let chosen = match mode {
            CutMode::KeepAll => lens.len(),
            CutMode::LoseAll => 0,
            CutMode::Torn => prng.below(lens.len() as u64 + 1) as usize,
        };
        if let Some(place) = chosen.checked_sub(1) {
            self.stable_len = lens[place];
        }
        self.len = self.stable_len;
        cost.lost_by_lies += u64::from(self.lied_len.take().is_some_and(|said| self.len < said));
        let (first, skip) = place(self.len);
        self.stable.retain(|&sector, _| sector < first || (sector == first && skip > 0));
        if skip > 0
            && let Some(last) = self.stable.get_mut(&first)
        {
            Arc::make_mut(last)[skip..].fill(0);
        }
        cost
    }

    fn write_chosen(&mut self, at: u64, bytes: &[u8], mut choose: impl FnMut(u64) -> bool) {
        let mut done = 0;
        while done < bytes.len() {
            let (sector, skip) = place(at + done as u64);
            let take = (SECTOR_BYTES - skip).min(bytes.len() - done);
            let piece = &bytes[done..done + take];
            done += take;
            if !choose(sector) || (is_zeros(piece) && !self.is_there(sector)) {
                continue;
            }
            let content = match <&[u8; SECTOR_BYTES]>::try_from(piece) {
                Ok(whole) => Arc::new(*whole),
                Err(_) => {
                    let mut content = *self.newest(sector);
                    content[skip..skip + take].copy_from_slice(piece);
                    Arc::new(content)
                }
            };
            self.push_version(sector, content);
        }
    }

    /// True when it has a version; one that has none is zeros, whatever a power cut takes.
    fn is_there(&self, sector: u64) -> bool {
        self.unsynced.contains_key(&sector) || self.stable.contains_key(&sector)
    }

    fn push_version(&mut self, sector: u64, content: Sector) {
        let versions = self.unsynced.entry(sector).or_default();
        if versions.len() == VERSIONS_MAX {
            versions.remove(0);
        }
        versions.push(content);
    }

    fn set_len(&mut self, len: u64) {
        if len != self.len {
            self.len = len;
            self.unsynced_lens.push(len);
        }
    }

    fn newest(&self, sector: u64) -> &[u8; SECTOR_BYTES] {
        const ZEROS: &[u8; SECTOR_BYTES] = &[0; SECTOR_BYTES];
        let unsynced = self.unsynced.get(&sector).and_then(|versions| versions.last());
        unsynced.or_else(|| self.stable.get(&sector)).map_or(ZEROS, |content| content)
    }
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn place(at: u64) -> (u64, usize) {
    (at / SECTOR_BYTES as u64, (at % SECTOR_BYTES as u64) as usize)
}
