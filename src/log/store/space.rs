//! How full the volume is, and when clients must be refused so that deletes, commits and the store itself still have room.
//!
//! ```text
//!   total ─┬───────────────────── free ───────────────────────┐
//!          │ pending: accepted, │ headroom: what clients may  │ reserve: deletes, commits of
//!          │ has no space yet   │ still fill                  │ groups, checkpoints, journals
//! ```
//!
//! The volume is measured now and then; between two measurements what was staged since counts as used up.
//! Must never touch: files, what is staged.

use coretide_model::{Notice, Now};

use crate::io::VolumeSpace;

/// The reserve where none is configured: a part of the volume, but this much at least, and never more than the other part.
const AUTO_RESERVE_PART: u64 = 20;
const AUTO_RESERVE_MIN_BYTES: u64 = 1 << 30;
const AUTO_RESERVE_MAX_PART: u64 = 10;
/// Clients are let in again when there is this part of the reserve more than it, so that a disk at its limit does not
/// open and close with every batch.
const LEAVE_PART: u64 = 8;
/// Another measurement is due when this part of a shard's share of the headroom was staged since the last one.
const SHARE_PART: u64 = 2;
/// Measurements are not closer than this, in microseconds.
const MEASURE_GAP_US: u64 = 5_000;
/// How many intervals pass without anything staged until the volume is looked at all the same.
const IDLE_INTERVALS: u64 = 10;
/// Preallocation takes this part of the headroom at a time, at most.
const AHEAD_PART: u64 = 64;

/// The reserve on a volume of this size when `coretide.disk.reserve.bytes` leaves it to us.
pub fn auto_reserve_bytes(total_bytes: u64) -> u64 {
    (total_bytes / AUTO_RESERVE_PART).max(AUTO_RESERVE_MIN_BYTES).min(total_bytes / AUTO_RESERVE_MAX_PART)
}

/// What is known of the volume.
#[derive(Debug)]
pub(super) struct Space {
    /// None: [`auto_reserve_bytes`].
    reserve: Option<u64>,
    /// 0: never measured.
    interval_us: u64,
    shards: u64,
    /// This shard speaks for the broker.
    speaks: bool,
    measured: Option<VolumeSpace>,
    /// When a measurement last ended, one that failed included.
    tried_at_us: Option<u64>,
    /// Accepted bytes without space on the volume when it was measured.
    pending_bytes: u64,
    /// Staged since then.
    staged_bytes: u64,
    /// Both numbers when the measurement that is under way began.
    measuring: Option<(u64, u64)>,
    /// A measurement found the reserve begun.
    low: bool,
}

impl Space {
    pub fn new(reserve: Option<u64>, interval_ms: u64, shard: u16, shards: u16) -> Space {
        Space {
            reserve,
            interval_us: interval_ms * 1000,
            shards: u64::from(shards.max(1)),
            speaks: shard == 0,
            measured: None,
            tried_at_us: None,
            pending_bytes: 0,
            staged_bytes: 0,
            measuring: None,
            low: false,
        }
    }

    /// The last measurement.
    pub fn measured(&self) -> Option<VolumeSpace> {
        self.measured
    }

    /// The free bytes that are not for clients.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve.unwrap_or_else(|| self.measured.map_or(0, |volume| auto_reserve_bytes(volume.total_bytes)))
    }

    /// Bytes that clients may still fill, by the last measurement; none while nothing is known.
    fn headroom_bytes(&self) -> Option<u64> {
        let taken = self.reserve_bytes() + self.pending_bytes;
        self.measured.map(|volume| volume.free_bytes.saturating_sub(taken))
    }

    /// True when what clients send must be refused.
    pub fn is_low(&self) -> bool {
        self.low || self.headroom_bytes().is_some_and(|headroom| headroom < self.staged_bytes)
    }

    /// The most that may be allocated ahead of need at a time, in bytes.
    pub fn ahead_bytes_max(&self) -> u64 {
        match self.headroom_bytes() {
            _ if self.low => 0,
            None => u64::MAX,
            Some(headroom) => headroom.saturating_sub(self.staged_bytes) / AHEAD_PART,
        }
    }

    /// These bytes were staged.
    pub fn note_staged(&mut self, bytes: usize) {
        self.staged_bytes += bytes as u64;
    }

    /// When the volume should be measured next, in microseconds; none if never, or if it is being measured.
    pub fn due_us(&self) -> Option<u64> {
        if self.interval_us == 0 || self.measuring.is_some() {
            return None;
        }
        let Some(tried_at_us) = self.tried_at_us else { return Some(0) };
        let share = self.headroom_bytes().unwrap_or(u64::MAX) / self.shards / SHARE_PART;
        let wait_us = if self.staged_bytes > share && !self.low {
            MEASURE_GAP_US.min(self.interval_us)
        } else if self.staged_bytes > 0 || self.low || self.speaks {
            self.interval_us
        } else {
            self.interval_us * IDLE_INTERVALS
        };
        Some(tried_at_us.saturating_add(wait_us))
    }

    /// A measurement begins: what is staged from now on may not be in it. `pending_bytes`: what is accepted and has no
    /// space yet.
    pub fn begin(&mut self, pending_bytes: u64) {
        self.measuring = Some((pending_bytes, self.staged_bytes));
    }

    /// A measurement is over; none: it failed, and the last one stays. Says so when the reserve is reached or left.
    pub fn end(&mut self, now: Now, volume: Option<VolumeSpace>) -> Option<Notice> {
        let (pending_bytes, staged_bytes) = self.measuring.take()?;
        self.tried_at_us = Some(now.mono_us);
        let volume = volume?;
        self.measured = Some(volume);
        self.pending_bytes = pending_bytes;
        self.staged_bytes -= staged_bytes;
        let reserve = self.reserve_bytes();
        let enough = if self.low { reserve + reserve / LEAVE_PART } else { reserve };
        let low = volume.free_bytes < enough + pending_bytes;
        if std::mem::replace(&mut self.low, low) == low || !self.speaks {
            return None;
        }
        let VolumeSpace { total_bytes, free_bytes } = volume;
        Some(if low {
            Notice::warning(format!(
                "the disk is almost full: {free_bytes} of {total_bytes} bytes are free, and the last {reserve} \
                 (coretide.disk.reserve.bytes) are not for producers. They get KAFKA_STORAGE_ERROR and try again; reads, \
                 deletes and commits go on. Delete topics or records, shorten retention, or enlarge the volume"
            ))
        } else {
            Notice::info(format!(
                "the disk has room again: {free_bytes} of {total_bytes} bytes are free; producers are served"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(ms: u64) -> Now {
        Now { mono_us: ms * 1000, wall_ms: 0 }
    }

    fn volume(free_mib: u64) -> Option<VolumeSpace> {
        Some(VolumeSpace { total_bytes: 1000 * MIB, free_bytes: free_mib * MIB })
    }

    /// A reserve of 100 MiB, measured once a second by the first of two shards.
    fn space() -> Space {
        Space::new(Some(100 * MIB), 1000, 0, 2)
    }

    fn measure(space: &mut Space, now: Now, volume: Option<VolumeSpace>, pending: u64) -> Option<Notice> {
        space.begin(pending);
        space.end(now, volume)
    }

    #[test]
    fn the_reserve_fits_volumes_of_every_size() {
        let gib = 1 << 30;
        assert_eq!(auto_reserve_bytes(336 * MIB), 336 * MIB / 10, "a tenth at most");
        assert_eq!(auto_reserve_bytes(12 * gib), gib, "1 GiB at least");
        assert_eq!(auto_reserve_bytes(1000 * gib), 50 * gib, "5 %");
        assert_eq!(auto_reserve_bytes(0), 0);
        let mut space = Space::new(None, 1000, 0, 1);
        measure(&mut space, at(1), volume(101), 0);
        assert!(!space.is_low());
        measure(&mut space, at(2), volume(99), 0);
        assert!(space.is_low(), "the reserve of 1000 MiB is 100 MiB");
    }

    #[test]
    fn the_reserve_is_said_once_when_reached_and_once_when_left() {
        let mut space = space();
        assert_eq!(measure(&mut space, at(0), volume(100), 0), None, "the reserve is whole");
        let reached = measure(&mut space, at(1000), volume(99), 0).expect("reached");
        assert!(reached.text.contains("coretide.disk.reserve.bytes") && reached.text.contains("Delete topics"));
        assert_eq!(measure(&mut space, at(2000), volume(50), 0), None);
        assert_eq!(measure(&mut space, at(3000), volume(112), 0), None, "a little more is not room again");
        assert!(space.is_low());
        assert!(measure(&mut space, at(4000), volume(113), 0).is_some_and(|left| left.text.contains("room again")));
        assert!(!space.is_low());
        let mut other = Space::new(Some(100 * MIB), 1000, 1, 2);
        assert_eq!(measure(&mut other, at(0), volume(1), 0), None, "one shard speaks for all");
        assert!(other.is_low());
    }

    #[test]
    fn what_was_accepted_counts_before_it_is_on_the_disk() {
        let mut space = space();
        measure(&mut space, at(0), volume(130), 10 * MIB);
        space.note_staged(20 * MIB as usize);
        assert!(!space.is_low(), "130 free, 100 reserved, 10 pending, 20 staged");
        space.note_staged(1);
        assert!(space.is_low(), "one byte more");
        space.begin(31 * MIB);
        assert!(space.is_low(), "while it is measured, too");
        space.note_staged(MIB as usize);
        assert_eq!(space.end(at(1), volume(133)), None, "most of it took no new space");
        assert!(!space.is_low(), "133 free, 100 reserved, 31 pending, 1 staged since");
        space.note_staged(MIB as usize + 1);
        assert!(space.is_low());
        assert!(measure(&mut space, at(2), volume(130), 31 * MIB).is_some(), "pending bytes will need space");
    }

    #[test]
    fn the_volume_is_measured_when_something_may_have_changed() {
        let mut space = space();
        assert_eq!(space.due_us(), Some(0), "at once");
        space.begin(0);
        assert_eq!(space.end(at(3), None), None);
        assert_eq!(space.due_us(), Some(1_003_000), "what fails is tried again, but not at once");
        measure(&mut space, at(10), volume(500), 0);
        assert_eq!(space.due_us(), Some(1_010_000));
        space.note_staged(100 * MIB as usize);
        assert_eq!(space.due_us(), Some(1_010_000));
        space.note_staged(1);
        assert_eq!(space.due_us(), Some(15_000), "half of this shard's half of 400 MiB is spent");
        space.begin(0);
        assert_eq!(space.due_us(), None, "one at a time");
        assert_eq!(space.end(at(20), None), None, "a failure is no news");
        assert_eq!((space.measured(), space.due_us()), (volume(500), Some(25_000)));
        let mut quiet = Space::new(None, 1000, 1, 2);
        measure(&mut quiet, at(0), volume(500), 0);
        assert_eq!(quiet.due_us(), Some(10_000_000), "an idle shard that need not speak looks less often");
        quiet.note_staged(1);
        assert_eq!(quiet.due_us(), Some(1_000_000), "unless it takes something");
        measure(&mut quiet, at(0), volume(5), 0);
        assert_eq!(quiet.due_us(), Some(1_000_000), "or waits for room");
        assert_eq!(Space::new(None, 0, 0, 1).due_us(), None, "turned off");
    }

    #[test]
    fn space_ahead_of_need_shrinks_with_the_headroom() {
        let mut space = space();
        assert_eq!(space.ahead_bytes_max(), u64::MAX, "nothing is known yet");
        measure(&mut space, at(0), volume(164), 0);
        assert_eq!(space.ahead_bytes_max(), MIB);
        measure(&mut space, at(1), volume(90), 0);
        assert_eq!(space.ahead_bytes_max(), 0);
        measure(&mut space, at(2), volume(110), 0);
        assert_eq!(space.ahead_bytes_max(), 0, "until there is room again");
    }
}
