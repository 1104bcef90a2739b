//! How late this machine wakes who sleeps: what times mean that were taken beside other work.
//! Must never touch: the broker.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::world::lock;

const SLEEP: Duration = Duration::from_millis(5);
/// From here on clocks, sessions and timeouts on both sides are out of step.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Sleeps, and notes how much longer it took.
#[derive(Debug, Default)]
pub struct Lag {
    late_us: Mutex<Vec<u32>>,
    over: AtomicBool,
}

impl Lag {
    /// Measures until [`Lag::end`].
    pub fn run(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            std::thread::sleep(SLEEP);
            let late = began.elapsed().saturating_sub(SLEEP);
            lock(&self.late_us).push(u32::try_from(late.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// Ends [`Lag::run`].
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The longest, if it was so long that requests may have been given up although the broker was well.
    pub fn standstill(&self) -> Option<Duration> {
        let longest = lock(&self.late_us).iter().copied().max().map(|late| Duration::from_micros(u64::from(late)));
        longest.filter(|longest| *longest >= STANDSTILL)
    }

    /// In words.
    pub fn text(&self) -> String {
        let mut late_us = lock(&self.late_us).clone();
        late_us.sort_unstable();
        let ms = |percent: usize| f64::from(percentile(&late_us, percent)) / 1000.0;
        format!(
            "a sleep of {} ms took longer by p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms",
            SLEEP.as_millis(),
            ms(50),
            ms(99),
            ms(100)
        )
    }
}

/// The value below which so many percent of the sorted ones lie; 0 when there is none.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}
