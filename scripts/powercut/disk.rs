//! A disk with a volatile write cache, in memory: what was not flushed is lost with the power, whole or sector by sector.
//! Fails once where it is told to. Must never touch: FUSE, file systems, what its bytes mean beyond the two marks by which
//! faults are aimed and those of what XFS must not have torn.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coretide_stdx::prng::Prng;

/// What a disk writes as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// The first bytes of a commit in the broker's journal. Commits begin on blocks of [`BLOCK_BYTES`].
pub const JOURNAL_MARK: &[u8; 8] = b"CTJOURNL";
/// Stands in every record that the load produces.
pub const RECORD_MARK: &[u8; 16] = b"<powercut-record";
const BLOCK_BYTES: usize = 4096;
/// The first bytes of a disk with XFS on it, and where its UUID lies then.
const XFS_MARK: &[u8; 4] = b"XFSB";
const XFS_UUID: Range<usize> = 32..48;
/// Each metadata block of XFS (directories, B+trees; V5) names its file system within its first bytes.
const XFS_HEADER_BYTES: usize = 128;

/// Why a request was not served. The kernel is told EIO in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The power is off.
    NoPower,
    /// The armed fault.
    Fault,
}

/// What happens to the unflushed writes when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// All are lost.
    Nothing,
    /// Some first writes had made it, and some sectors of the one after them.
    Prefix,
    /// Each sector of each write had made it, or not, by chance.
    Sectors,
    /// All had made it.
    All,
}

impl Survives {
    /// One of the kinds; losing everything and tearing are the frequent ones.
    pub fn choose(random: &mut Prng) -> Survives {
        match random.below(20) {
            0..=7 => Survives::Nothing,
            8..=11 => Survives::Prefix,
            12..=18 => Survives::Sectors,
            _ => Survives::All,
        }
    }
}

/// A cut at a request that is still to come.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At a flush; else at a write.
    pub at_flush: bool,
    /// So many of these still pass.
    pub after: u64,
    /// What survives.
    pub cut: Survives,
    /// What decides it sector by sector.
    pub random: Prng,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Writes that were not flushed.
    pub unflushed: usize,
    /// Their sectors that survived nonetheless.
    pub kept_sectors: usize,
    /// Their sectors that are gone.
    pub lost_sectors: usize,
}

/// A request that fails once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write of the broker's journal.
    JournalWrite,
    /// A write of records that does not begin a commit: a segment's nearly always, or the rest of a large commit, or a
    /// checkpoint, which holds the ends of logs.
    SegmentWrite,
    /// A flush while the cache holds writes of the broker's journal. They stay there: a later flush, whoever asks for it,
    /// pins them down. To lose them for good would be unfair: the flush may be the file system's own or another shard's,
    /// and then nobody tells whoever wrote them.
    Flush,
    /// A read that would have returned records.
    Read,
}

/// How often what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads served.
    pub reads: u64,
    /// Writes taken in.
    pub writes: u64,
    /// Flushes answered.
    pub flushes: u64,
}

/// The disk. Shared between the file system in front of it and whoever breaks it.
pub struct Disk {
    state: Mutex<State>,
}

struct State {
    /// What the platter holds.
    durable: Vec<u8>,
    /// What reads see.
    current: Vec<u8>,
    /// Writes that no flush has pinned down, in order.
    cache: VecDeque<Write>,
    /// How many writes left the cache before the first of it.
    settled: u64,
    has_power: bool,
    is_lying: bool,
    armed: Option<Fault>,
    plan: Option<Plan>,
    /// What a planned cut did.
    planned: Option<CutReport>,
    /// The longest that a flush takes, and what decides.
    flush_max_us: u64,
    random: Prng,
    counts: Counts,
}

struct Write {
    at: usize,
    bytes: Box<[u8]>,
}

impl Disk {
    /// A disk of zeros with the power on. `bytes` must be whole sectors.
    pub fn new(bytes: usize) -> Disk {
        assert!(bytes.is_multiple_of(SECTOR_BYTES), "disks have whole sectors");
        let state = State {
            durable: vec![0; bytes],
            current: vec![0; bytes],
            cache: VecDeque::new(),
            settled: 0,
            has_power: true,
            is_lying: false,
            armed: None,
            plan: None,
            planned: None,
            flush_max_us: 0,
            random: Prng::new(0),
            counts: Counts::default(),
        };
        Disk { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its size.
    pub fn len_bytes(&self) -> usize {
        self.state().current.len()
    }

    /// How often what was asked for so far.
    #[cfg(test)]
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Hands what lies at `at` to `then`; less than `len` at the end of the disk.
    pub fn read<T>(&self, at: usize, len: usize, then: impl FnOnce(&[u8]) -> T) -> Result<T, Refused> {
        let mut state = self.state();
        state.check_power()?;
        let from = at.min(state.current.len());
        let to = from.saturating_add(len).min(state.current.len());
        if state.armed == Some(Fault::Read) && contains(&state.current[from..to], RECORD_MARK) {
            state.armed = None;
            return Err(Refused::Fault);
        }
        state.counts.reads += 1;
        Ok(then(&state.current[from..to]))
    }

    /// Takes a write into the cache. It must lie within the disk.
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Refused> {
        let mut state = self.state();
        state.follow_plan(false);
        state.check_power()?;
        let is_journal = has_journal_mark(bytes);
        let fails = match state.armed {
            Some(Fault::JournalWrite) => is_journal,
            Some(Fault::SegmentWrite) => !is_journal && contains(bytes, RECORD_MARK),
            _ => false,
        };
        if fails {
            state.armed = None;
            return Err(Refused::Fault);
        }
        state.counts.writes += 1;
        state.current[at..at + bytes.len()].copy_from_slice(bytes);
        state.cache.push_back(Write { at, bytes: bytes.into() });
        Ok(())
    }

    /// Makes durable what was written before it was called, unless the disk lies. Takes a while where that was asked for;
    /// what is written meanwhile has to wait for the next one.
    pub fn flush(&self) -> Result<(), Refused> {
        let (target, pause_us) = {
            let mut state = self.state();
            state.follow_plan(true);
            state.check_power()?;
            if state.armed == Some(Fault::Flush) && state.cache.iter().any(|write| has_journal_mark(&write.bytes)) {
                state.armed = None;
                return Err(Refused::Fault);
            }
            state.counts.flushes += 1;
            if state.is_lying {
                return Ok(());
            }
            let max = state.flush_max_us + 1;
            (state.settled + state.cache.len() as u64, state.random.below(max))
        };
        if pause_us > 0 {
            std::thread::sleep(Duration::from_micros(pause_us));
        }
        let mut state = self.state();
        state.check_power()?;
        while state.settled < target
            && let Some(write) = state.cache.pop_front()
        {
            state.settled += 1;
            state.settle(write.at, &write.bytes);
        }
        Ok(())
    }

    /// From now on flushes take up to `max_us`.
    pub fn pause_flushes(&self, max_us: u64, random: Prng) {
        let mut state = self.state();
        (state.flush_max_us, state.random) = (max_us, random);
    }

    /// From now on flushes are answered and do nothing, or do what they should again.
    pub fn lie(&self, is_lying: bool) {
        self.state().is_lying = is_lying;
    }

    /// The next request of the kind fails.
    pub fn arm(&self, fault: Fault) {
        let mut state = self.state();
        state.armed = Some(fault);
    }

    /// False once the fault has happened.
    pub fn is_armed(&self) -> bool {
        self.state().armed.is_some()
    }

    /// The power will go at a request that is still to come.
    pub fn plan_cut(&self, plan: Plan) {
        self.state().plan = Some(plan);
    }

    /// False after a cut.
    pub fn has_power(&self) -> bool {
        self.state().has_power
    }

    /// Takes the power away, unless a planned cut has done so. What survives follows from `random`, or from the plan.
    pub fn cut(&self, cut: Survives, random: &mut Prng) -> CutReport {
        let mut state = self.state();
        (state.armed, state.plan) = (None, None);
        match state.planned.take() {
            Some(report) => report,
            None => state.cut(cut, random),
        }
    }

    /// Gives the power back.
    pub fn power_on(&self) {
        let mut state = self.state();
        assert!(state.cache.is_empty(), "a disk without power takes nothing into its cache");
        state.has_power = true;
    }

    /// Flips one bit of each durable copy of `needle`, `skip` bytes behind its start. Only while the power is off.
    /// Returns the places.
    pub fn flip_behind(&self, needle: &[u8], skip: usize) -> Vec<usize> {
        let mut state = self.state();
        assert!(!state.has_power, "bits rot while nobody looks");
        let mut places = Vec::new();
        let mut from = 0;
        while let Some(found) = find(&state.durable[from..], needle) {
            let at = from + found + skip;
            if at < state.durable.len() {
                state.durable[at] ^= 0x10;
                state.current[at] = state.durable[at];
                places.push(at);
            }
            from += found + needle.len();
        }
        places
    }
}

impl State {
    fn check_power(&self) -> Result<(), Refused> {
        if self.has_power { Ok(()) } else { Err(Refused::NoPower) }
    }

    /// Cuts the power if this request, a flush or a write, is the one that was planned for it.
    fn follow_plan(&mut self, is_flush: bool) {
        let Some(plan) = self.plan.as_mut().filter(|plan| plan.at_flush == is_flush && self.has_power) else { return };
        if plan.after > 0 {
            plan.after -= 1;
        } else if let Some(mut plan) = self.plan.take() {
            self.planned = Some(self.cut(plan.cut, &mut plan.random));
        }
    }

    fn cut(&mut self, cut: Survives, random: &mut Prng) -> CutReport {
        self.has_power = false;
        self.armed = None;
        let writes = std::mem::take(&mut self.cache);
        self.settled += writes.len() as u64;
        let mut report = CutReport { unflushed: writes.len(), ..CutReport::default() };
        let whole = match cut {
            Survives::Prefix if !writes.is_empty() => random.below(writes.len() as u64) as usize,
            Survives::All => writes.len(),
            _ => 0,
        };
        // Out of 8; one for the whole cut, so that some cuts keep nearly all and some nearly nothing.
        let kept_of_8 = 1 + random.below(7);
        let uuid = self.xfs_uuid();
        for (index, write) in writes.iter().enumerate() {
            let torn = cut == Survives::Sectors || cut == Survives::Prefix && index == whole;
            for piece in pieces(write, uuid.as_ref()) {
                let is_kept = index < whole || torn && random.chance(kept_of_8, 8);
                let sectors = piece.len().div_ceil(SECTOR_BYTES);
                if is_kept {
                    self.settle(write.at + piece.start, &write.bytes[piece]);
                    report.kept_sectors += sectors;
                } else {
                    report.lost_sectors += sectors;
                }
            }
        }
        for Write { at, bytes } in &writes {
            let place = *at..*at + bytes.len();
            self.current[place.clone()].copy_from_slice(&self.durable[place]);
        }
        report
    }

    fn xfs_uuid(&self) -> Option<[u8; 16]> {
        let is_xfs = self.durable.starts_with(XFS_MARK);
        self.durable.get(XFS_UUID).filter(|_| is_xfs).and_then(|uuid| uuid.try_into().ok())
    }

    fn settle(&mut self, at: usize, bytes: &[u8]) {
        self.durable[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// What of a write survives or not by its own luck, in order: sectors; but a metadata block of XFS as one. Its recovery goes
/// by the LSN in a block's first sector and leaves a block alone that claims to be new, so a torn one is beyond it
/// (xfs_buf_item_recover.c): such a disk loses the file system, whoever writes to it.
fn pieces(write: &Write, xfs: Option<&[u8; 16]>) -> Vec<Range<usize>> {
    let mut pieces = Vec::with_capacity(write.bytes.len() / SECTOR_BYTES + 1);
    let mut from = 0;
    while from < write.bytes.len() {
        let block = &write.bytes[from..write.bytes.len().min(from + BLOCK_BYTES)];
        let is_aligned = (write.at + from).is_multiple_of(BLOCK_BYTES) && block.len() == BLOCK_BYTES;
        let is_whole = is_aligned && xfs.is_some_and(|uuid| contains(&block[..XFS_HEADER_BYTES], uuid));
        let len = if is_whole { BLOCK_BYTES } else { SECTOR_BYTES.min(block.len()) };
        pieces.push(from..from + len);
        from += len;
    }
    pieces
}

fn has_journal_mark(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK_BYTES).any(|block| block.starts_with(JOURNAL_MARK))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    find(bytes, needle).is_some()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(step) = bytes[from..].iter().position(|&byte| byte == needle[0]) {
        let at = from + step;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 * SECTOR_BYTES;

    fn read(disk: &Disk, at: usize, len: usize) -> Vec<u8> {
        disk.read(at, len, <[u8]>::to_vec).expect("served")
    }

    fn after_cut(disk: &Disk, cut: Survives, seed: u64) -> CutReport {
        let report = disk.cut(cut, &mut Prng::new(seed));
        assert_eq!(disk.read(0, 1, |_| ()), Err(Refused::NoPower));
        assert_eq!(disk.write(0, &[1]), Err(Refused::NoPower));
        assert_eq!(disk.flush(), Err(Refused::NoPower));
        disk.power_on();
        report
    }

    #[test]
    fn only_what_was_flushed_survives_a_cut() {
        let disk = Disk::new(SIZE);
        disk.write(0, &[1; 1024]).expect("written");
        disk.flush().expect("flushed");
        disk.write(512, &[2; 1024]).expect("written");
        assert_eq!(read(&disk, 512, 4), [2; 4], "reads see the cache");
        let report = after_cut(&disk, Survives::Nothing, 1);
        assert_eq!(report, CutReport { unflushed: 1, kept_sectors: 0, lost_sectors: 2 });
        assert_eq!((read(&disk, 512, 2), read(&disk, 1024, 2)), (vec![1; 2], vec![0; 2]));
    }

    #[test]
    fn a_planned_cut_comes_at_its_request_and_with_what_that_was_to_pin_down() {
        let disk = Disk::new(SIZE);
        let plan = Plan { at_flush: true, after: 1, cut: Survives::Nothing, random: Prng::new(1) };
        disk.plan_cut(plan);
        disk.write(0, &[1; 512]).expect("written");
        disk.flush().expect("not this one");
        disk.write(512, &[2; 512]).expect("written");
        assert!(disk.has_power());
        assert_eq!(disk.flush(), Err(Refused::NoPower));
        assert!(!disk.has_power());
        assert_eq!(after_cut(&disk, Survives::All, 1).lost_sectors, 1, "the plan's cut, not the later one");
        assert_eq!((read(&disk, 0, 1), read(&disk, 512, 1)), (vec![1], vec![0]));
        disk.plan_cut(Plan { at_flush: false, after: 0, cut: Survives::Nothing, random: Prng::new(1) });
        assert_eq!(disk.write(0, &[3; 512]), Err(Refused::NoPower));
    }

    #[test]
    fn what_is_written_during_a_flush_waits_for_the_next_one() {
        let disk = Disk::new(SIZE);
        disk.pause_flushes(200_000, Prng::new(3));
        disk.write(0, &[1; 512]).expect("written");
        std::thread::scope(|scope| {
            let flushing = scope.spawn(|| disk.flush());
            // Counted as soon as it began.
            while disk.counts().flushes == 0 {
                std::thread::yield_now();
            }
            disk.write(512, &[2; 512]).expect("written");
            assert_eq!(flushing.join().expect("no panic"), Ok(()));
        });
        after_cut(&disk, Survives::Nothing, 1);
        assert_eq!((read(&disk, 0, 1), read(&disk, 512, 1)), (vec![1], vec![0]));
    }

    #[test]
    fn a_lying_disk_loses_what_it_said_was_flushed() {
        let disk = Disk::new(SIZE);
        disk.lie(true);
        disk.write(0, &[1; 512]).expect("written");
        disk.flush().expect("it says so");
        after_cut(&disk, Survives::Nothing, 1);
        assert_eq!(read(&disk, 0, 1), [0]);
    }

    #[test]
    fn a_torn_write_keeps_whole_sectors_and_the_same_ones_for_the_same_seed() {
        let torn = |seed| {
            let disk = Disk::new(SIZE);
            disk.write(0, &[7; SIZE]).expect("written");
            let report = after_cut(&disk, Survives::Sectors, seed);
            assert_eq!(report.kept_sectors + report.lost_sectors, 64);
            let bytes = read(&disk, 0, SIZE);
            for sector in bytes.chunks(SECTOR_BYTES) {
                assert!(sector.iter().all(|&byte| byte == sector[0]));
            }
            (report, bytes)
        };
        assert_eq!(torn(3), torn(3));
        let kept: Vec<usize> = (0..20).map(|seed| torn(seed).0.kept_sectors).collect();
        assert!(kept.iter().any(|&kept| kept > 40) && kept.iter().any(|&kept| kept < 24), "{kept:?}");
    }

    #[test]
    fn a_metadata_block_of_xfs_is_never_torn_and_all_else_is() {
        let mut superblock = [0; SECTOR_BYTES];
        superblock[..4].copy_from_slice(XFS_MARK);
        superblock[XFS_UUID].copy_from_slice(&[0xA5; 16]);
        let mut metadata = [3; BLOCK_BYTES];
        metadata[24..40].copy_from_slice(&[0xA5; 16]);
        let places = |seed, is_xfs: bool| {
            let disk = Disk::new(SIZE);
            if is_xfs {
                disk.write(0, &superblock).expect("written");
            }
            disk.flush().expect("flushed");
            // Not aligned at its start, as the write of a whole extent may be.
            let write = [&[3; SECTOR_BYTES][..], &metadata, &[3; BLOCK_BYTES]].concat();
            disk.write(BLOCK_BYTES - SECTOR_BYTES, &write).expect("written");
            after_cut(&disk, Survives::Sectors, seed);
            let kept =
                |block: usize| (0..8).filter(|n| read(&disk, block * BLOCK_BYTES + n * 512 + 511, 1) == [3]).count();
            [kept(1), kept(2)]
        };
        let seen: Vec<[usize; 2]> = (0..40).map(|seed| places(seed, true)).collect();
        assert!(seen.iter().all(|kept| kept[0] == 0 || kept[0] == 8), "{seen:?}");
        assert!(seen.iter().any(|kept| kept[0] == 0) && seen.iter().any(|kept| kept[0] == 8), "{seen:?}");
        assert!(seen.iter().any(|kept| kept[1] % 8 != 0), "{seen:?}");
        assert!((0..40).any(|seed| places(seed, false)[0] % 8 != 0), "any other file system's blocks are torn");
    }

    #[test]
    fn a_prefix_is_a_prefix_and_all_is_all() {
        for seed in 0..20 {
            let disk = Disk::new(SIZE);
            (0..8).for_each(|n| disk.write(n * 1024, &[9; 1024]).expect("written"));
            after_cut(&disk, Survives::Prefix, seed);
            let kept: Vec<bool> = (0..16).map(|sector| read(&disk, sector * 512, 1) == [9]).collect();
            let whole = kept.chunks(2).take_while(|write| write[0] && write[1]).count();
            assert!(kept[2 * whole..].iter().skip(2).all(|kept| !kept), "{kept:?}");
        }
        let disk = Disk::new(SIZE);
        disk.write(0, &[9; 1024]).expect("written");
        assert_eq!(after_cut(&disk, Survives::All, 1).lost_sectors, 0);
        assert_eq!(read(&disk, 1023, 1), [9]);
    }

    #[test]
    fn faults_hit_what_they_are_aimed_at_and_once() {
        let disk = Disk::new(SIZE);
        let mut journal = vec![0; BLOCK_BYTES];
        journal[..8].copy_from_slice(JOURNAL_MARK);
        let mut records = vec![0; BLOCK_BYTES];
        records[100..116].copy_from_slice(RECORD_MARK);
        disk.arm(Fault::JournalWrite);
        disk.write(0, &records).expect("not aimed at");
        assert_eq!(disk.write(0, &journal), Err(Refused::Fault));
        disk.write(0, &journal).expect("once only");
        disk.arm(Fault::SegmentWrite);
        disk.write(0, &journal).expect("not aimed at");
        assert_eq!(disk.write(8192, &records), Err(Refused::Fault));
        assert_eq!(read(&disk, 8192 + 100, 1), [0], "a failed write wrote nothing");
        disk.write(8192, &records).expect("once only");
        disk.arm(Fault::Read);
        assert!(disk.read(0, 512, |_| ()).is_ok());
        assert_eq!(disk.read(8192, 512, |_| ()), Err(Refused::Fault));
        assert!(disk.read(8192, 512, |_| ()).is_ok());
        assert!(!disk.is_armed());
    }

    #[test]
    fn a_flush_that_fails_pins_nothing_down() {
        let disk = Disk::new(SIZE);
        let mut journal = vec![0; BLOCK_BYTES];
        journal[..8].copy_from_slice(JOURNAL_MARK);
        disk.arm(Fault::Flush);
        disk.write(8192, &[5; 512]).expect("the file system's own");
        disk.flush().expect("nothing of a journal yet");
        disk.write(0, &journal).expect("written");
        assert_eq!(disk.flush(), Err(Refused::Fault));
        assert_eq!(read(&disk, 0, 8), JOURNAL_MARK, "it still reads as if");
        after_cut(&disk, Survives::Nothing, 1);
        assert_eq!((read(&disk, 0, 1), read(&disk, 8192, 1)), (vec![0], vec![5]));
    }

    #[test]
    fn bits_flip_behind_each_copy() {
        let disk = Disk::new(SIZE);
        disk.write(100, b"needle__").expect("written");
        disk.write(9000, b"needle__").expect("written");
        disk.cut(Survives::All, &mut Prng::new(1));
        assert_eq!(disk.flip_behind(b"needle", 7), [107, 9007]);
        disk.power_on();
        assert_eq!(read(&disk, 107, 1), [b'_' ^ 0x10]);
    }
}
