//! What the clients of one thread count, second by second, and how the threads' counts become one side of a result.
//! Must never touch: sockets.

use crate::lab::result::{Interval, LATENCY_MAX_NS, Latency, Side, new_histogram};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

/// Nanoseconds of a second.
pub const NS_PER_SEC: u64 = 1_000_000_000;

/// The measured time, in the engine's nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first nanosecond; the warm-up is before it.
    pub begin_ns: u64,
    /// The one after its last.
    pub end_ns: u64,
}

impl Window {
    /// True inside.
    pub fn contains(&self, at_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&at_ns)
    }

    /// Its length in seconds.
    pub fn secs(&self) -> f64 {
        (self.end_ns - self.begin_ns) as f64 / NS_PER_SEC as f64
    }

    /// Seconds since its begin, rounded down; negative in the warm-up.
    pub fn second_of(&self, at_ns: u64) -> i64 {
        (at_ns as i64 - self.begin_ns as i64).div_euclid(NS_PER_SEC as i64)
    }
}

/// Which side counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Producers.
    Produce,
    /// Consumers.
    Consume,
}

/// One second of one thread, sent to whoever shows it and adds it up.
#[derive(Debug)]
pub struct Second {
    /// Which side.
    pub role: Role,
    /// Which second, by [`Window::second_of`].
    pub index: i64,
    /// Records acknowledged or received in it.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Their latency.
    pub latency: Histogram<u64>,
}

/// What the clients of one thread have counted on one side.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    role: Role,
    /// Latency of records that should have been sent in the window.
    pub latency: Histogram<u64>,
    /// Latency of requests answered in the window.
    pub service: Histogram<u64>,
    /// From intended to entered, of the same records as `latency`.
    pub lag: Histogram<u64>,
    /// Records at any time.
    pub all_records: u64,
    /// Records in the window.
    pub records: u64,
    /// Bytes of keys and values in the window.
    pub bytes: u64,
    /// Bytes of batches in the window.
    pub batch_bytes: u64,
    /// Batches in the window.
    pub batches: u64,
    /// Requests in the window.
    pub requests: u64,
    /// What failed for good, at any time, by name.
    pub errors: BTreeMap<String, u64>,
    /// Batches sent again, at any time.
    pub retries: u64,
    second: Second,
    seconds: Sender<Second>,
}

impl Tally {
    /// Nothing yet. Seconds go to `seconds`.
    pub fn new(role: Role, window: Window, seconds: Sender<Second>) -> Tally {
        Tally {
            window,
            role,
            latency: new_histogram(),
            service: new_histogram(),
            lag: new_histogram(),
            all_records: 0,
            records: 0,
            bytes: 0,
            batch_bytes: 0,
            batches: 0,
            requests: 0,
            errors: BTreeMap::new(),
            retries: 0,
            second: Second { role, index: i64::MIN, records: 0, bytes: 0, latency: new_histogram() },
            seconds,
        }
    }

    /// A batch was acknowledged or received now. `intended` of its records, as far as they are known.
    pub fn batch(&mut self, now_ns: u64, records: u64, bytes: u64, batch_bytes: u64, intended: &[u64]) {
        self.turn(now_ns);
        self.all_records += records;
        self.second.records += records;
        self.second.bytes += bytes;
        if self.window.contains(now_ns) {
            self.records += records;
            self.bytes += bytes;
            self.batch_bytes += batch_bytes;
            self.batches += 1;
        }
        for &at in intended {
            let latency = now_ns.saturating_sub(at).min(LATENCY_MAX_NS);
            self.second.latency.saturating_record(latency);
            if self.window.contains(at) {
                self.latency.saturating_record(latency);
            }
        }
    }

    /// A request was answered now.
    pub fn request(&mut self, now_ns: u64, sent_ns: u64) {
        if self.window.contains(now_ns) {
            self.requests += 1;
            self.service.saturating_record(now_ns.saturating_sub(sent_ns).min(LATENCY_MAX_NS));
        }
    }

    /// A record entered a client now.
    pub fn entered(&mut self, now_ns: u64, intended_ns: u64) {
        if self.window.contains(intended_ns) {
            self.lag.saturating_record(now_ns.saturating_sub(intended_ns).min(LATENCY_MAX_NS));
        }
    }

    /// Something failed for good.
    pub fn error(&mut self, name: &str) {
        match self.errors.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(name.to_string(), 1);
            }
        }
    }

    /// Hands over the last second if a new one has begun.
    pub fn turn(&mut self, now_ns: u64) {
        let index = self.window.second_of(now_ns);
        if index != self.second.index {
            self.hand_over(index);
        }
    }

    /// Hands over the second that is not complete.
    pub fn finish(&mut self) {
        self.hand_over(i64::MIN);
    }

    fn hand_over(&mut self, index: i64) {
        let fresh = Second { role: self.role, index, records: 0, bytes: 0, latency: new_histogram() };
        let last = std::mem::replace(&mut self.second, fresh);
        if last.index != i64::MIN {
            // Nobody listens any more when the run was given up: then its seconds do not matter.
            let _ = self.seconds.send(last);
        }
    }
}

/// The seconds of one side in the window, added up over threads.
#[derive(Debug, Default)]
pub struct Seconds {
    by_index: BTreeMap<i64, (u64, u64, Option<Histogram<u64>>)>,
    cores: BTreeMap<i64, f64>,
}

impl Seconds {
    /// Adds one thread's second.
    pub fn add(&mut self, second: &Second) {
        let sums = self.by_index.entry(second.index).or_default();
        sums.0 += second.records;
        sums.1 += second.bytes;
        match &mut sums.2 {
            Some(latency) => latency.add(&second.latency).expect("all histograms have the same bounds"),
            None => sums.2 = Some(second.latency.clone()),
        }
    }

    /// The broker's CPU in a second, in cores.
    pub fn set_cores(&mut self, index: i64, cores: f64) {
        self.cores.insert(index, cores);
    }

    /// One second, if anything happened in it.
    pub fn interval(&self, index: i64, window: &Window) -> Option<Interval> {
        let (records, bytes, latency) = self.by_index.get(&index)?;
        let begin_ns = window.begin_ns as i64 + index * NS_PER_SEC as i64;
        let end_ns = (begin_ns + NS_PER_SEC as i64).min(window.end_ns as i64);
        let secs = ((end_ns - begin_ns) as f64 / NS_PER_SEC as f64).max(1e-9);
        let latency = latency.as_ref().filter(|latency| !latency.is_empty());
        let at = |quantile: f64| latency.map(|latency| latency.value_at_quantile(quantile) as f64 / 1e3);
        Some(Interval {
            at_secs: index as f64,
            secs,
            records_per_s: *records as f64 / secs,
            bytes_per_s: *bytes as f64 / secs,
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: latency.map(|latency| latency.max() as f64 / 1e3),
            broker_cores: self.cores.get(&index).copied(),
        })
    }

    /// All seconds of the window; one in which nothing happened has zeros.
    pub fn intervals(&self, window: &Window) -> Vec<Interval> {
        let count = window.secs().ceil() as i64;
        let empty = |index: i64| Interval {
            at_secs: index as f64,
            secs: (window.secs() - index as f64).min(1.0),
            records_per_s: 0.0,
            bytes_per_s: 0.0,
            p50_us: None,
            p99_us: None,
            max_us: None,
            broker_cores: self.cores.get(&index).copied(),
        };
        (0..count).map(|index| self.interval(index, window).unwrap_or_else(|| empty(index))).collect()
    }
}

/// One side of a result, from all threads' tallies; none without any.
pub fn side(tallies: &[Tally], seconds: &Seconds, window: &Window) -> Option<Side> {
    let first = tallies.first()?;
    let (mut latency, mut service) = (first.latency.clone(), first.service.clone());
    for tally in &tallies[1..] {
        latency.add(&tally.latency).expect("all histograms have the same bounds");
        service.add(&tally.service).expect("all histograms have the same bounds");
    }
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (records, bytes, batches, requests) =
        (sum(|t| t.records), sum(|t| t.bytes), sum(|t| t.batches), sum(|t| t.requests));
    let mut error_names: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in tallies.iter().flat_map(|tally| &tally.errors) {
        *error_names.entry(name.clone()).or_default() += count;
    }
    let secs = window.secs();
    Some(Side {
        records,
        bytes,
        batch_bytes: sum(|t| t.batch_bytes),
        batches,
        requests,
        errors: error_names.values().sum(),
        error_names,
        retries: sum(|t| t.retries),
        records_per_s: records as f64 / secs,
        bytes_per_s: bytes as f64 / secs,
        requests_per_s: requests as f64 / secs,
        records_per_batch: if batches > 0 { records as f64 / batches as f64 } else { 0.0 },
        latency: Latency::new(&latency),
        service: Latency::new(&service),
        intervals: seconds.intervals(window),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const S: u64 = NS_PER_SEC;

    #[test]
    fn seconds_are_added_over_threads_and_the_warm_up_is_left_out() {
        let window = Window { begin_ns: 2 * S, end_ns: 4 * S + S / 2 };
        let (sender, receiver) = channel();
        let mut tallies: Vec<Tally> = (0..2).map(|_| Tally::new(Role::Produce, window, sender.clone())).collect();
        for tally in &mut tallies {
            tally.batch(S, 5, 50, 60, &[S - 1_000_000]);
            tally.batch(2 * S, 10, 100, 120, &[2 * S - 5_000_000]);
            tally.batch(4 * S + S / 4, 10, 100, 120, &[4 * S]);
            // Meant for the window, answered behind it: latency counts, throughput does not.
            tally.batch(5 * S, 10, 100, 120, &[4 * S]);
            tally.request(4 * S, 3 * S);
            tally.error("X");
            tally.finish();
        }
        let mut seconds = Seconds::default();
        receiver.try_iter().for_each(|second| seconds.add(&second));
        let side = side(&tallies, &seconds, &window).unwrap();
        assert_eq!((side.records, side.batches, side.requests, side.errors), (40, 4, 2, 2));
        assert_eq!(side.latency.count, 4);
        assert!((side.latency.max_us - 1e6).abs() < 1e3, "{}", side.latency.max_us);
        let rates: Vec<f64> = side.intervals.iter().map(|interval| interval.records_per_s).collect();
        assert_eq!(rates, [20.0, 0.0, 40.0], "the last one is half a second");
        assert_eq!(window.second_of(0), -2);
    }
}
