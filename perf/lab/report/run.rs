//! The report of one run: what both sides saw, over all its time and second by second, and what it cost.
//! Must never touch: how it was measured.

use super::chart::{Axis, Line, lines};
use super::page::{details, escaped, facts, number, table, time};
use super::parts::{
    PERCENTILE_HEADS, Percentiles, mean_of_seconds, percentile_cells, percentile_chart, verdict, verdict_cell,
};
use super::promised;
use crate::lab::result::{GeneratorUse, Interval, ProcessUse, ResultFile, Run, Side};
use crate::lab::scenario::Scenario;
use serde_json::Value;

/// The whole run.
pub fn section(file: &ResultFile, run: &Run) -> Result<String, String> {
    let name = file.brokers.get(run.broker).map_or_else(|| "unknown broker".to_string(), promised);
    let mut html = verdict(&run.validity);
    html.push_str(&format!("<p>{}</p><p><strong>{}</strong></p>", escaped(&run.scenario.description), escaped(&name)));
    html.push_str(&figures(&[(name.clone(), run)]));
    html.push_str("<div class=\"grid\">");
    let mut all = Vec::new();
    for (what, side) in both_sides(run) {
        all.extend(Percentiles::of(format!("{what}, intended"), [&side.latency], all.len())?);
        all.extend(Percentiles::of(format!("{what}, service"), [&side.service], all.len())?);
    }
    let mark = if run.validity.is_valid() { "" } else { " – INVALID" };
    html.push_str(&percentile_chart(&format!("Latency by percentile: {name}{mark}"), &all)?);
    html.push_str(&over_time(&format!("{name}{mark}"), &[(String::new(), run)])?);
    html.push_str("</div>");
    html.push_str(&latencies(&all, &name));
    html.push_str(&costs(&[(name, run)]));
    html.push_str(&settings(&run.scenario));
    Ok(html)
}

/// Producers and consumers, whichever there were.
pub fn both_sides(run: &Run) -> impl Iterator<Item = (&'static str, &Side)> {
    [("produced", &run.produced), ("consumed", &run.consumed)]
        .into_iter()
        .filter_map(|(what, side)| Some((what, side.as_ref()?)))
}

/// Throughput and verdicts of runs, a line for each side of each; throughput's interval is that of its seconds.
pub fn figures(runs: &[(String, &Run)]) -> String {
    let heads =
        ["broker", "side", "records/s", "MB/s", "requests/s", "records per batch", "errors", "retries", "verdict"];
    let mut rows = Vec::new();
    for (name, run) in runs {
        for (what, side) in both_sides(run) {
            let of = |value: fn(&Interval) -> f64| side.intervals.iter().map(value).collect::<Vec<f64>>();
            rows.push(vec![
                escaped(name),
                what.to_string(),
                with_seconds(side.records_per_s, &of(|second| second.records_per_s)),
                with_seconds(side.bytes_per_s / 1e6, &of(|second| second.bytes_per_s / 1e6)),
                number(side.requests_per_s),
                number(side.records_per_batch),
                errors(side),
                side.retries.to_string(),
                verdict_cell(&run.validity),
            ]);
        }
    }
    table("Throughput; small: the 95 % interval of the mean over seconds", &heads, &rows)
}

fn errors(side: &Side) -> String {
    let names: Vec<String> = side.error_names.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    format!("{}<br><small>{}</small>", side.errors, escaped(&names.join(", ")))
}

fn with_seconds(value: f64, seconds: &[f64]) -> String {
    match mean_of_seconds(seconds) {
        Some((_, [low, high])) => format!("{}<br><small>{} – {}</small>", number(value), number(low), number(high)),
        None => number(value),
    }
}

/// Percentiles with their intervals.
pub fn latencies(all: &[Percentiles], of: &str) -> String {
    let mut heads = vec!["latency"];
    heads.extend(PERCENTILE_HEADS);
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let mut cells = vec![escaped(&one.name)];
            cells.extend(percentile_cells(&one.values));
            cells
        })
        .collect();
    let caption = format!("Latency: {of}; small: the 95 % interval that the number of values leaves");
    table(&caption, &heads, &rows)
}

/// Throughput and latency, second by second.
pub fn over_time(title: &str, runs: &[(String, &Run)]) -> Result<String, String> {
    let mut throughput = Vec::new();
    let mut latency = Vec::new();
    for (name, run) in runs {
        for (what, side) in both_sides(run) {
            let name = if name.is_empty() { what.to_string() } else { format!("{name}, {what}") };
            let series = throughput.len();
            throughput.push(over_seconds(&name, side, series, |s| Some(s.bytes_per_s / 1e6), |v| number(v) + " MB/s"));
            let series = latency.len();
            latency.push(over_seconds(&format!("{name} p99"), side, series, |second| second.p99_us, time));
            if runs.len() == 1 {
                let series = latency.len();
                latency.push(over_seconds(&format!("{name} p50"), side, series, |second| second.p50_us, time));
            }
        }
    }
    let seconds = || throughput.iter().flat_map(|line: &Line| line.points.iter().map(|(at, _)| *at));
    let x = Axis::linear("seconds", 0.0, seconds(), number_short);
    let values = throughput.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let y = Axis::linear("MB/s", 0.0, values, number_short);
    let mut html = lines(&format!("Throughput over time: {title}"), &x, &y, &throughput, None)?;
    let values = latency.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let y = Axis::log("latency", values, time);
    html.push_str(&lines(&format!("Latency over time: {title}"), &x, &y, &latency, None)?);
    Ok(html)
}

/// A number on an axis.
pub fn number_short(value: f64) -> String {
    let text = number(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

fn over_seconds(
    name: &str,
    side: &Side,
    series: usize,
    value: fn(&Interval) -> Option<f64>,
    shown: fn(f64) -> String,
) -> Line {
    let known = side.intervals.iter().filter_map(|second| Some((second.at_secs, value(second)?)));
    let points: Vec<(f64, f64)> = known.collect();
    let texts = points.iter().map(|(at, value)| format!("{name}\nsecond {at:.0}: {}", shown(*value))).collect();
    Line { name: name.to_string(), points, texts, series, is_joined: true }
}

/// What broker and generator used.
pub fn costs(runs: &[(String, &Run)]) -> String {
    let heads = [
        "broker",
        "CPU s per GB",
        "CPU s per million records",
        "CPU user + system s",
        "resident MB",
        "written MB",
        "flushes",
        "context switches",
        "read/write calls",
    ];
    let rows: Vec<Vec<String>> = runs
        .iter()
        .filter_map(|(name, run)| run.broker_use.as_ref().map(|used| (name, used)))
        .map(|(name, used)| cost_cells(name, used))
        .collect();
    let mut html = if rows.is_empty() {
        "<p>What the broker used is not known: it is no process of this machine that the bench may look at.</p>"
            .to_string()
    } else {
        table("What the broker used in the measured time", &heads, &rows)
    };
    let heads = [
        "generator",
        "CPU s",
        "busiest thread",
        "entered late, p99",
        "woke late, p99",
        "CPU taken by others",
        "unsent",
    ];
    let rows: Vec<Vec<String>> = runs.iter().map(|(name, run)| generator_cells(name, &run.generator)).collect();
    html.push_str(&table("What the generator used, and how punctual it was", &heads, &rows));
    html
}

fn cost_cells(name: &str, used: &ProcessUse) -> Vec<String> {
    let known = |value: Option<f64>| value.map_or("–".to_string(), number);
    vec![
        escaped(name),
        known(used.cpu_secs_per_gb),
        known(used.cpu_secs_per_million_records),
        format!("{} + {}", number(used.cpu_user_secs), number(used.cpu_system_secs)),
        number(used.rss_bytes as f64 / 1e6),
        known(used.written_bytes.map(|bytes| bytes as f64 / 1e6)),
        known(used.disk_flushes.map(|count| count as f64)),
        number((used.voluntary_switches + used.involuntary_switches) as f64),
        known(used.read_write_syscalls.map(|count| count as f64)),
    ]
}

fn generator_cells(name: &str, used: &GeneratorUse) -> Vec<String> {
    vec![
        escaped(name),
        number(used.cpu_secs),
        format!("{:.0} % of a core", used.busiest_thread * 100.0),
        time(used.lag.p99_us),
        time(used.late.p99_us),
        used.steal.map_or("–".to_string(), |share| format!("{:.1} %", share * 100.0)),
        used.unsent_records.to_string(),
    ]
}

/// Every setting of a scenario, clients' by Kafka's names.
pub fn settings(scenario: &Scenario) -> String {
    let mut pairs = Vec::new();
    flatten("", &serde_json::to_value(scenario).unwrap_or(Value::Null), &mut pairs);
    details(&format!("Scenario and client settings: {}", scenario.name), &facts(&pairs))
}

fn flatten(path: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
                flatten(&path, value, pairs);
            }
        }
        Value::String(text) => pairs.push((path.to_string(), escaped(text))),
        Value::Null => pairs.push((path.to_string(), "–".to_string())),
        other => pairs.push((path.to_string(), escaped(&other.to_string()))),
    }
}
