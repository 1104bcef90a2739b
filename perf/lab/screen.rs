//! What a run shows while it goes on: a few lines that are drawn anew each second on a terminal, else a line per second.
//! Must never touch: what is measured.

use crate::lab::engine::{Progress, Watch};
use crate::lab::result::{Interval, Latency, Run, Side};
use std::io::{IsTerminal, Write};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Seconds that the sparkline shows.
const SPARK_SECS: usize = 60;

/// Draws to standard error, so that standard output has the result only.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    title: String,
    drawn_lines: usize,
    rates: Vec<f64>,
}

impl Screen {
    /// For a run with a title.
    pub fn new(title: &str) -> Screen {
        let terminal = std::io::stderr().is_terminal();
        Screen { terminal, title: title.to_string(), drawn_lines: 0, rates: Vec::new() }
    }

    fn draw(&mut self, lines: &[String]) {
        let mut out = String::new();
        if self.terminal && self.drawn_lines > 0 {
            // Up to the first of our lines, and clear from there on.
            out.push_str(&format!("\x1b[{}A\x1b[J", self.drawn_lines));
        }
        for line in lines {
            out.push_str(line);
            out.push('\n');
        }
        self.drawn_lines = if self.terminal { lines.len() } else { 0 };
        // A screen that cannot be drawn to does not end the measurement.
        let _ = std::io::stderr().write_all(out.as_bytes());
    }
}

impl Watch for Screen {
    fn phase(&mut self, words: &str) {
        if !self.terminal {
            self.draw(&[format!("{}: {words}", self.title)]);
        }
    }

    fn second(&mut self, progress: &Progress) {
        let main = progress.consumed.as_ref().or(progress.produced.as_ref());
        self.rates.push(main.map_or(0.0, |interval| interval.records_per_s));
        let when = if progress.second < 0 { "warm-up".to_string() } else { format!("{:>4} s", progress.second + 1) };
        let cpu = progress.broker_cores.map_or(String::new(), |cores| format!("  broker {:.0} % CPU", cores * 100.0));
        let sides = [("produced", &progress.produced), ("consumed", &progress.consumed)];
        let sides: Vec<String> = sides
            .iter()
            .filter_map(|(name, interval)| interval.as_ref().map(|interval| format!("{name} {}", of(interval))))
            .collect();
        if self.terminal {
            let mut lines = vec![format!("{}  {when}{cpu}", self.title)];
            lines.extend(sides.iter().map(|side| format!("  {side}")));
            lines.push(format!("  {}", sparkline(&self.rates)));
            self.draw(&lines);
        } else {
            self.draw(&[format!("{when}  {}{cpu}", sides.join("  "))]);
        }
    }
}

fn of(interval: &Interval) -> String {
    let rate = format!("{:>9} records/s {:>8.1} MB/s", grouped(interval.records_per_s), interval.bytes_per_s / 1e6);
    match (interval.p50_us, interval.p99_us, interval.max_us) {
        (Some(p50), Some(p99), Some(max)) => {
            format!("{rate}  p50 {} p99 {} max {}", time(p50), time(p99), time(max))
        }
        _ => rate,
    }
}

/// The last values as bars between 0 and the largest of them.
pub fn sparkline(values: &[f64]) -> String {
    let shown = &values[values.len().saturating_sub(SPARK_SECS)..];
    let largest = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| match largest > 0.0 {
        true => BARS[((value / largest * 8.0) as usize).min(7)],
        false => BARS[0],
    };
    shown.iter().map(|&value| bar(value)).collect()
}

/// Microseconds in the unit that fits.
pub fn time(us: f64) -> String {
    if us < 1_000.0 {
        format!("{us:.0} µs")
    } else if us < 100_000.0 {
        format!("{:.2} ms", us / 1e3)
    } else if us < 1_000_000.0 {
        format!("{:.0} ms", us / 1e3)
    } else {
        format!("{:.2} s", us / 1e6)
    }
}

/// A number with commas between its thousands.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A run in some lines.
pub fn summary(run: &Run, name: &str, durability: &str) -> String {
    let mut text = format!("{name} ({durability}), {}\n", run.scenario.name);
    for (what, side) in [("produced", &run.produced), ("consumed", &run.consumed)] {
        if let Some(side) = side {
            text.push_str(&side_lines(what, side));
        }
    }
    if let Some(used) = &run.broker_use {
        let secs = run.measured_secs;
        text.push_str(&format!(
            "  broker     {:.2} cores (user {:.2}, system {:.2})",
            (used.cpu_user_secs + used.cpu_system_secs) / secs,
            used.cpu_user_secs / secs,
            used.cpu_system_secs / secs
        ));
        if let Some(per_gb) = used.cpu_secs_per_gb {
            text.push_str(&format!(", {per_gb:.2} CPU-s/GB"));
        }
        if let Some(per_million) = used.cpu_secs_per_million_records {
            text.push_str(&format!(", {per_million:.2} CPU-s per million records"));
        }
        text.push_str(&format!(", {} MB resident\n", used.rss_bytes >> 20));
    }
    let generator = &run.generator;
    text.push_str(&format!(
        "  generator  {:.2} cores, busiest thread {:.0} %, woke up {} late at p99, records entered {} late at p99\n",
        generator.cpu_secs / run.measured_secs,
        generator.busiest_thread * 100.0,
        time(generator.late.p99_us),
        time(generator.lag.p99_us)
    ));
    text.push_str(if run.validity.is_valid() { "  VALID\n" } else { "  INVALID\n" });
    for reason in run.validity.reasons.iter().chain(&run.validity.remarks) {
        text.push_str(&format!("    {reason}\n"));
    }
    text
}

fn side_lines(what: &str, side: &Side) -> String {
    let percentiles = |latency: &Latency| {
        format!(
            "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            time(latency.p50_us),
            time(latency.p90_us),
            time(latency.p99_us),
            time(latency.p999_us),
            time(latency.max_us)
        )
    };
    let mut text = format!(
        "  {what:<10} {} records/s, {:.1} MB/s, {} requests/s, {:.1} records per batch\n",
        grouped(side.records_per_s),
        side.bytes_per_s / 1e6,
        grouped(side.requests_per_s),
        side.records_per_batch
    );
    if side.latency.count > 0 {
        text.push_str(&format!("  latency    {} (from the intended send)\n", percentiles(&side.latency)));
    }
    text.push_str(&format!("  service    {} (request to answer)\n", percentiles(&side.service)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::tests::sample_run;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([grouped(1.0), grouped(1234.4), grouped(1234567.0)], ["1", "1,234", "1,234,567"]);
        assert_eq!([time(12.0), time(1_234.0), time(250_000.0), time(2e6)], ["12 µs", "1.23 ms", "250 ms", "2.00 s"]);
        assert_eq!(sparkline(&[0.0, 50.0, 100.0]), "▁▅█");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn a_summary_has_verdict_and_durability() {
        let text = summary(&sample_run(), "coretide", "fsync before ack");
        assert!(text.contains("coretide (fsync before ack), sample") && text.contains("  VALID"), "{text}");
        assert!(text.contains("1,000 records/s"), "{text}");
    }
}
