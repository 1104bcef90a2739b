//! Memory for frames that are not complete: who waits for it, and who is closed so that others get it.
//!
//! A frame that does not fit into a receive block gets memory of its own with its first bytes, whatever of it has come: a
//! peer that announces much and sends little would keep it from all others. So while somebody waits, a frame has
//! [`FRAME_GRACE_US`] to become complete. Blocks count together in the same way once a frame in them is larger than
//! what every connection may hold.
//! Must never touch: clocks (the moment is an argument), what frames mean.

use crate::conn::{CloseReason, Conn};
use crate::frames::{BLOCK_MIN_BYTES, Class};
use crate::reactor::{Event, Reactor};
use crate::slab::Key;

/// How long an incomplete frame may keep its memory while others wait for some, by its class, in microseconds.
const FRAME_GRACE_US: [u64; 2] = [2_000_000, 10_000_000];
/// How often such frames are looked for, in microseconds.
const RELIEF_EVERY_US: u64 = 250_000;
/// The part of the memory for large frames that incomplete small ones may hold in their blocks.
const BLOCKS_PART: usize = 4;

/// Who waits.
pub(crate) struct Relief {
    /// Connections whose large frame waits for memory, oldest first.
    starved: Vec<Key>,
    /// Memory in use by class when they were last looked at: with as much or more in use, nothing has changed for them.
    in_use_seen: [usize; 2],
    /// Connections that are not read since too much lies in blocks.
    cramped: Vec<Key>,
    /// Bytes of incomplete frames in blocks, of connections with more than their own share.
    in_blocks: usize,
    in_blocks_max: usize,
    next_us: u64,
}

impl Relief {
    pub(crate) fn new(frame_memory_bytes: usize) -> Relief {
        Relief {
            starved: Vec::new(),
            in_use_seen: [0; 2],
            cramped: Vec::new(),
            in_blocks: 0,
            in_blocks_max: frame_memory_bytes / BLOCKS_PART,
            next_us: 0,
        }
    }

    /// More than half of what may lie in blocks lies there.
    pub(crate) fn is_tight(&self) -> bool {
        self.in_blocks > self.in_blocks_max / 2
    }
}

impl Reactor {
    /// True while connections wait for memory: the caller looks again soon, since memory may come back from another
    /// thread without a wake-up, and calls [`Reactor::relieve`].
    pub fn is_starved(&self) -> bool {
        !self.relief.starved.is_empty() || !self.relief.cramped.is_empty()
    }

    /// A large frame found no memory.
    pub(crate) fn starve(&mut self, key: Key) {
        self.relief.starved.push(key);
        for class in Class::BOTH {
            let seen = &mut self.relief.in_use_seen[class as usize];
            *seen = (*seen).max(self.memory.in_use_of(class));
        }
    }

    /// Takes notice of what lies in a connection's block after a receive; false when the connection has to wait before it
    /// is read again.
    pub(crate) fn note_block(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return true };
        let held = Some(conn.reader.in_block_bytes()).filter(|bytes| *bytes > BLOCK_MIN_BYTES).unwrap_or(0);
        let before = std::mem::replace(&mut conn.held_in_block, held);
        self.relief.in_blocks = self.relief.in_blocks - before + held;
        if held == 0 || self.relief.in_blocks <= self.relief.in_blocks_max {
            return true;
        }
        self.relief.cramped.push(key);
        false
    }

    /// A connection is gone.
    pub(crate) fn forget_block(&mut self, conn: &Conn) {
        self.relief.in_blocks -= conn.held_in_block;
    }

    /// Gives memory that has come back to those who wait for it: in their order, but nobody holds up one who needs less.
    pub(crate) fn feed_starved(&mut self) {
        if self.relief.in_blocks <= self.relief.in_blocks_max {
            self.rearm.append(&mut self.relief.cramped);
        }
        let in_use = Class::BOTH.map(|class| self.memory.in_use_of(class));
        let has_fallen = in_use.iter().zip(&self.relief.in_use_seen).any(|(now, seen)| now < seen);
        if self.relief.starved.is_empty() || !has_fallen {
            return;
        }
        let (conns, memory, rearm) = (&mut self.conns, &self.memory, &mut self.rearm);
        self.relief.starved.retain(|key| {
            let Some(conn) = conns.get_mut(*key) else { return false };
            let fed = conn.reader.feed(memory);
            if fed {
                rearm.push(*key);
            }
            !fed
        });
        self.relief.in_use_seen = Class::BOTH.map(|class| self.memory.in_use_of(class));
    }

    /// Closes connections whose frame has kept its memory for long while others wait. To be called at every turn while
    /// [`Reactor::is_starved`].
    pub fn relieve(&mut self, now_us: u64, events: &mut Vec<Event>) {
        if now_us < self.relief.next_us {
            return;
        }
        self.relief.next_us = now_us + RELIEF_EVERY_US;
        let mut wanted = [false; 2];
        for key in &self.relief.starved {
            if let Some(class) = self.conns.get_mut(*key).and_then(|conn| conn.reader.starved_class(&self.memory)) {
                wanted[class as usize] = true;
            }
        }
        let blocks_wanted = !self.relief.cramped.is_empty();
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let class = conn.reader.large_class(&self.memory);
            let hinders = match class {
                Some(class) => wanted[class as usize],
                None => blocks_wanted && conn.held_in_block > 0,
            };
            // What we do not read ourselves is nobody's fault.
            if !hinders || conn.paused || self.reading_paused {
                conn.reader.forget_age();
                continue;
            }
            let grace_us = FRAME_GRACE_US[class.unwrap_or(Class::Medium) as usize];
            if conn.reader.age_us(now_us) >= grace_us {
                self.stats.slow_frames += 1;
                self.begin_close(key, CloseReason::SlowFrame, events);
            }
        }
    }
}

#[cfg(test)]
#[path = "relief/tests.rs"]
mod tests;
