//! One measurement's figures, as a line of text or as JSON.

use crate::stats::Tally;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Responses per second.
    pub requests_per_s: f64,
    /// Bytes of record batches per second, in 10^6.
    pub mb_per_s: f64,
    /// Latency percentiles in µs: 50, 90, 99, 99.9 and the largest.
    pub latency_us: [f64; 5],
    /// The broker's CPU time per request in µs, if its process is known.
    pub cpu_us_per_request: Option<f64>,
    /// The broker's CPU time per 10^9 bytes of record batches in seconds, if its process is known.
    pub cpu_s_per_gb: Option<f64>,
    /// Responses with an error code.
    pub errors: u64,
    /// Length of the measured time in seconds.
    pub secs: f64,
    /// Responses without an error.
    pub requests: u64,
    /// Bytes of record batches in them.
    pub bytes: u64,
    /// The broker's CPU time in seconds, if its process is known.
    pub cpu_secs: Option<f64>,
    /// All latencies in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// The figures of a tally over `secs`, in which the broker used `cpu_secs`.
    pub fn new(tally: Tally, secs: f64, cpu_secs: Option<f64>) -> Outcome {
        let at = |quantile: f64| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
        let (requests, bytes) = (tally.requests as f64, tally.bytes as f64);
        Outcome {
            requests_per_s: requests / secs,
            mb_per_s: bytes / secs / 1e6,
            latency_us: [at(0.5), at(0.9), at(0.99), at(0.999), tally.latency.max() as f64 / 1e3],
            cpu_us_per_request: cpu_secs.filter(|_| tally.requests > 0).map(|cpu| cpu * 1e6 / requests),
            cpu_s_per_gb: cpu_secs.filter(|_| tally.bytes > 0).map(|cpu| cpu * 1e9 / bytes),
            errors: tally.errors,
            secs,
            requests: tally.requests,
            bytes: tally.bytes,
            cpu_secs,
            latency: tally.latency,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let [p50, p90, p99, p999, max] = self.latency_us;
        json!({
            "requests_per_s": self.requests_per_s,
            "mb_per_s": self.mb_per_s,
            "latency_us": {"p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max},
            "cpu_us_per_request": self.cpu_us_per_request,
            "cpu_s_per_gb": self.cpu_s_per_gb,
            "errors": self.errors,
        })
    }

    /// Prints it.
    pub fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", self.to_json());
            return;
        }
        let [p50, p90, p99, p999, max] = self.latency_us;
        println!("{:.0} requests/s, {:.1} MB/s", self.requests_per_s, self.mb_per_s);
        println!("latency µs: p50 {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}");
        if let (Some(per_request), Some(per_gb)) = (self.cpu_us_per_request, self.cpu_s_per_gb) {
            println!("broker CPU: {per_request:.1} µs per request, {per_gb:.2} s per GB");
        }
        if self.errors > 0 {
            println!("{} responses with an error", self.errors);
        }
    }
}
