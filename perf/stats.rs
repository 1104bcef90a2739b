//! What is measured: latencies, counts, and the CPU time of another process.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The kernel's unit in /proc/<pid>/stat, the same on every Linux.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// What one connection, or all of them together, saw in the measured time.
#[derive(Debug)]
pub struct Tally {
    /// Nanoseconds from the (intended) send to the whole response.
    pub latency: Histogram<u64>,
    /// Responses without an error.
    pub requests: u64,
    /// Bytes of record batches in them.
    pub bytes: u64,
    /// Responses with an error code.
    pub errors: u64,
    /// The first error code seen.
    pub first_error: Option<i16>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Tally {
        let latency = Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3).expect("the bounds are valid");
        Tally { latency, requests: 0, bytes: 0, errors: 0, first_error: None }
    }

    /// One response.
    pub fn record(&mut self, latency: Duration, bytes: u64, error_code: i16) {
        if error_code != 0 {
            self.errors += 1;
            self.first_error.get_or_insert(error_code);
            return;
        }
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_MAX_NS));
        self.requests += 1;
        self.bytes += bytes;
    }

    /// Adds another connection's.
    pub fn merge(&mut self, other: &Tally) {
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.or(other.first_error);
    }
}

/// User and system time that the process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64, String> {
    cpu_times(pid).map(|[user, system, _]| user + system)
}

/// User time that the process has used, in seconds.
pub fn cpu_user_seconds(pid: u32) -> Result<f64, String> {
    cpu_times(pid).map(|[user, _, _]| user)
}

/// User time that this process has used, and its children that have ended, in seconds.
pub fn own_user_seconds() -> Result<f64, String> {
    cpu_times(std::process::id()).map(|[user, _, children]| user + children)
}

/// User and system time, and user time of children that were waited for.
fn cpu_times(pid: u32) -> Result<[f64; 3], String> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    // The command name is in parentheses and may hold anything; utime, stime and cutime are the 12th to 14th
    // field behind it.
    let behind_name = text.rsplit_once(')').ok_or_else(|| format!("{path}: not understood"))?.1;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|f| f.parse::<f64>().ok());
    match (ticks(11), ticks(12), ticks(13)) {
        (Some(user), Some(system), Some(children)) => {
            Ok([user, system, children].map(|ticks| ticks / CLOCK_TICKS_PER_SECOND))
        }
        _ => Err(format!("{path}: not understood")),
    }
}

/// Resident memory of the process in MB.
pub fn resident_mb(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{path}: no VmRSS"))
}

/// The middle one; the mean of the two middle ones.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "there is a value to take the median of");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn our_own_process_has_used_some_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(resident_mb(pid).unwrap() > 0.1);
        assert!(cpu_seconds(u32::MAX).is_err());
    }

    #[test]
    fn errors_count_apart() {
        let mut tally = Tally::new();
        tally.record(Duration::from_micros(5), 10, 0);
        tally.record(Duration::from_micros(5), 10, 6);
        assert_eq!((tally.requests, tally.bytes, tally.errors, tally.first_error), (1, 10, 1, Some(6)));
    }
}
