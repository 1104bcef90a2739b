//! What several reports have in common: percentiles with their intervals, lines of latency, medians with their ranges.
//! Must never touch: result files as a whole.

use super::chart::{Axis, Line, lines, nines};
use super::page::{badge, escaped, number, time};
use crate::lab::result::{Latency, Validity};
use crate::stats::median;
use hdrhistogram::Histogram;

/// Points of a latency line for each further nine.
const POINTS_PER_NINE: usize = 8;

/// A latency line's input: its name, all its values (several runs: merged), and which series it looks like.
pub struct Percentiles {
    /// What stands beside it.
    pub name: String,
    /// All values in nanoseconds.
    pub values: Histogram<u64>,
    /// Which of the series it looks like.
    pub series: usize,
}

impl Percentiles {
    /// Of one or several latencies, merged: percentiles are never averaged. None without a value.
    pub fn of<'a>(
        name: String,
        latencies: impl IntoIterator<Item = &'a Latency>,
        series: usize,
    ) -> Result<Option<Percentiles>, String> {
        let mut values: Option<Histogram<u64>> = None;
        for latency in latencies {
            let more = latency.to_histogram()?;
            match &mut values {
                Some(all) => all.add(&more).map_err(|e| format!("histograms do not fit together: {e}"))?,
                None => values = Some(more),
            }
        }
        Ok(values.filter(|values| !values.is_empty()).map(|values| Percentiles { name, values, series }))
    }
}

/// Latency by percentile, on the axis where each further nine has the same length.
pub fn percentile_chart(title: &str, all: &[Percentiles]) -> Result<String, String> {
    let most = all.iter().map(|one| one.values.len()).max().unwrap_or(0);
    // Beyond this a line would be about a handful of values.
    let up_to = 1.0 - 10.0 / (most.max(100) as f64);
    let x = Axis::percentiles(up_to);
    let drawn: Vec<Line> = all.iter().map(|one| percentile_line(one, x.range.1)).collect();
    let values = drawn.iter().flat_map(|line| line.points.iter().map(|(_, us)| *us));
    let y = Axis::log("latency", values, time);
    lines(title, &x, &y, &drawn, None)
}

fn percentile_line(one: &Percentiles, end: f64) -> Line {
    let last = nines(1.0 - 10.0 / (one.values.len().max(20) as f64)).min(end);
    let steps = (last * POINTS_PER_NINE as f64).floor() as usize;
    let at = (0..=steps).map(|step| step as f64 / POINTS_PER_NINE as f64);
    let points: Vec<(f64, f64)> =
        at.map(|nines| (nines, one.values.value_at_quantile(1.0 - 10f64.powf(-nines)) as f64 / 1e3)).collect();
    let text = |(nines, us): &(f64, f64)| {
        let percent = 100.0 * (1.0 - 10f64.powf(-nines));
        format!("{}\n{percent:.*} %: {}", one.name, nines.floor() as usize, time(*us))
    };
    let texts = points.iter().map(text).collect();
    Line { name: one.name.clone(), points, texts, series: one.series, is_joined: true }
}

/// A percentile in microseconds with the 95 % interval that the number of values leaves (ranks of a binomial).
pub fn quantile(values: &Histogram<u64>, quantile: f64) -> (f64, [f64; 2]) {
    let count = values.len() as f64;
    let spread = 1.96 * (quantile * (1.0 - quantile) / count.max(1.0)).sqrt();
    let at = |quantile: f64| values.value_at_quantile(quantile.clamp(0.0, 1.0)) as f64 / 1e3;
    (at(quantile), [at(quantile - spread), at(quantile + spread)])
}

/// The usual percentiles of a latency as cells, each with its interval.
pub fn percentile_cells(values: &Histogram<u64>) -> Vec<String> {
    let mut cells: Vec<String> = [0.5, 0.9, 0.99, 0.999]
        .map(|at| {
            let (us, [low, high]) = quantile(values, at);
            format!("{}<br><small>{} – {}</small>", time(us), time(low), time(high))
        })
        .into();
    cells.push(time(values.max() as f64 / 1e3));
    cells
}

/// The heads above [`percentile_cells`].
pub const PERCENTILE_HEADS: [&str; 5] = ["p50", "p90", "p99", "p99.9", "largest"];

/// The median of values with their range, as a cell; a dash without a value.
pub fn median_cell(values: &[f64], shown: fn(f64) -> String) -> String {
    if values.is_empty() {
        return "–".to_string();
    }
    let (low, high) = range(values);
    format!("{}<br><small>{} – {}</small>", shown(median(values)), shown(low), shown(high))
}

/// The smallest and the largest.
pub fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// A mean of seconds with its 95 % interval (normal, from their spread): for what one run saw second by second.
pub fn mean_of_seconds(values: &[f64]) -> Option<(f64, [f64; 2])> {
    if values.len() < 2 {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let spread = 1.96 * (variance / count).sqrt();
    Some((mean, [mean - spread, mean + spread]))
}

/// A ratio with its interval, as a cell.
pub fn ratio_cell(ratio: f64, [low, high]: [f64; 2]) -> String {
    format!("<strong>{}</strong><br><small>{} – {}</small>", ratio_text(ratio), ratio_text(low), ratio_text(high))
}

/// A ratio in words.
pub fn ratio_text(ratio: f64) -> String {
    let text = if (0.001..0.1).contains(&ratio) { format!("{ratio:.3}") } else { number(ratio) };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} ×")
}

/// The verdict of a run with its reasons, and its remarks.
pub fn verdict(validity: &Validity) -> String {
    let mut html = String::new();
    let list = |lines: &[String]| lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect::<String>();
    if validity.is_valid() {
        html.push_str(&format!("<p>{}</p>", badge("good", "VALID")));
    } else {
        let reasons = list(&validity.reasons);
        html.push_str(&format!(
            "<div class=\"banner\">{} not to be believed:<ul>{reasons}</ul></div>",
            badge("bad", "INVALID")
        ));
    }
    if !validity.remarks.is_empty() {
        html.push_str(&format!("<ul>{}</ul>", list(&validity.remarks)));
    }
    html
}

/// The verdict in a cell.
pub fn verdict_cell(validity: &Validity) -> String {
    if validity.is_valid() {
        badge("good", "VALID")
    } else {
        format!("{}<br><small>{}</small>", badge("bad", "INVALID"), escaped(&validity.reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::new_histogram;

    fn up_to(most: u64) -> Histogram<u64> {
        let mut values = new_histogram();
        for us in 1..=most {
            values.saturating_record(us * 1_000);
        }
        values
    }

    #[test]
    fn the_interval_of_a_percentile_holds_it_and_narrows_with_more_values() {
        let (p99, [low, high]) = quantile(&up_to(1_000), 0.99);
        assert!((p99 - 990.0).abs() < 2.0 && low < p99 && p99 < high, "{p99} {low} {high}");
        assert!((low - 984.0).abs() < 3.0 && (high - 996.0).abs() < 3.0, "{low} {high}");
    }

    #[test]
    fn merged_latencies_are_as_if_measured_together() {
        let halves = [Latency::new(&up_to(500)), Latency::new(&up_to(1500))];
        let merged = Percentiles::of("x".to_string(), &halves, 0).unwrap().unwrap();
        assert_eq!(merged.values.len(), 2_000);
        assert!(Percentiles::of("x".to_string(), &[Latency::new(&new_histogram())], 0).unwrap().is_none());
    }

    #[test]
    fn a_line_ends_where_its_values_end() {
        let line = percentile_line(&Percentiles { name: "n".to_string(), values: up_to(1_000), series: 0 }, 6.0);
        let (last, us) = line.points.last().copied().unwrap();
        assert!((1.8..=2.0).contains(&last) && us <= 1_000.0, "{last} {us}");
        assert!(line.texts[8].contains("90.0 %"), "{}", line.texts[8]);
    }

    #[test]
    fn seconds_have_a_mean_with_an_interval() {
        assert_eq!(mean_of_seconds(&[1.0]), None);
        let (mean, [low, high]) = mean_of_seconds(&[9.0, 11.0, 10.0, 10.0]).unwrap();
        assert_eq!(mean, 10.0);
        assert!(low > 9.0 && low < 10.0 && high < 11.0);
    }
}
