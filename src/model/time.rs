//! Time as an argument. The drivers read the clocks; nothing below them does.

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Microseconds on a clock that never goes back: deadlines, sessions, timers.
    pub mono_us: u64,
    /// Milliseconds since 1970 on the wall clock, which may jump: record timestamps, retention.
    pub wall_ms: i64,
}

impl Now {
    /// The monotonic moment `ms` milliseconds from now, in microseconds, for deadlines.
    pub fn after_ms(self, ms: u64) -> u64 {
        self.mono_us.saturating_add(ms.saturating_mul(1000))
    }
}
