//! The report of `bench compare`: the same scenario on several brokers by turns.
//! Must never touch: how it was measured.

use super::chart::{Axis, Bar, bars};
use super::page::{badge, details, escaped, number, table};
use super::parts::{Percentiles, percentile_chart, ratio_cell, ratio_text, verdict, verdict_cell};
use super::promised;
use super::run::{both_sides, costs, figures, latencies, over_time, settings};
use crate::lab::result::{Comparison, Ratio, ResultFile, Run};

/// The whole comparison.
pub fn section(file: &ResultFile, comparison: &Comparison) -> Result<String, String> {
    let name = |broker: usize| file.brokers.get(broker).map_or_else(|| format!("broker {broker}"), promised);
    let mark = if comparison.unequal_durability { ", UNEQUAL durability" } else { "" };
    let mut html = verdict(&comparison.validity);
    html.push_str(&if comparison.unequal_durability {
        format!(
            "<p>{} The brokers do not promise the same when they acknowledge.</p>",
            badge("note", "UNEQUAL DURABILITY")
        )
    } else {
        format!("<p>{}</p>", badge("good", "EQUAL DURABILITY"))
    });
    html.push_str(&format!(
        "<p>Rounds: {}, each broker once in each, in an order shuffled from seed {}. A ratio is the median of the ratios \
         within rounds, with its 95 % interval by bootstrap.</p>",
        comparison.rounds.len(),
        comparison.seed
    ));
    let mut bases: Vec<(usize, usize)> = comparison.ratios.iter().map(|ratio| (ratio.broker, ratio.base)).collect();
    bases.dedup();
    for (broker, base) in bases {
        let ratios: Vec<&Ratio> =
            comparison.ratios.iter().filter(|ratio| (ratio.broker, ratio.base) == (broker, base)).collect();
        let title = format!("{} / {}{mark}", name(broker), name(base));
        html.push_str(&format!("<h2>{}</h2>", escaped(&title)));
        html.push_str(&ratios_chart(&title, &ratios)?);
        html.push_str(&ratios_table(&title, &ratios, &name(broker), &name(base)));
    }
    html.push_str(&runs(comparison, &name, mark)?);
    Ok(html)
}

fn ratios_chart(title: &str, ratios: &[&Ratio]) -> Result<String, String> {
    let axis = Axis::log("ratio", ratios.iter().flat_map(|r| [r.interval[0], r.interval[1], 1.0]), ratio_text);
    let drawn: Vec<Bar> = ratios
        .iter()
        .map(|ratio| {
            let better = if ratio.more_is_better { "more" } else { "less" };
            let [low, high] = ratio.interval;
            Bar {
                name: format!("{} ({better} is better)", ratio.figure),
                value: ratio.ratio,
                interval: ratio.interval,
                aim: None,
                series: 0,
                text: format!("{}: {} ({} – {})", ratio.figure, ratio_text(ratio.ratio), number(low), number(high)),
                shown: ratio_text(ratio.ratio),
            }
        })
        .collect();
    bars(&format!("Ratios: {title}"), &axis, &drawn, true)
}

fn ratios_table(title: &str, ratios: &[&Ratio], name: &str, base: &str) -> String {
    let heads = ["figure", "better", name, base, "ratio", "pairs"];
    let rows: Vec<Vec<String>> = ratios
        .iter()
        .map(|ratio| {
            let pairs: Vec<String> = ratio.pairs.iter().map(|pair| number(*pair)).collect();
            vec![
                escaped(&ratio.figure),
                if ratio.more_is_better { "more" } else { "less" }.to_string(),
                number(ratio.median),
                number(ratio.base_median),
                ratio_cell(ratio.ratio, ratio.interval),
                pairs.join(", "),
            ]
        })
        .collect();
    table(title, &heads, &rows)
}

fn runs(comparison: &Comparison, name: &dyn Fn(usize) -> String, mark: &str) -> Result<String, String> {
    let all: Vec<&Run> = comparison.rounds.iter().flatten().collect();
    let mut brokers: Vec<usize> = all.iter().map(|run| run.broker).collect();
    brokers.sort_unstable();
    brokers.dedup();
    let mut percentiles = Vec::new();
    for broker in &brokers {
        let of_broker = || all.iter().filter(|run| run.broker == *broker);
        for side in ["produced", "consumed"] {
            let latencies = of_broker().flat_map(|run| both_sides(run)).filter(|(what, _)| *what == side);
            let label = format!("{}, {side}", name(*broker));
            percentiles.extend(Percentiles::of(label, latencies.map(|(_, side)| &side.latency), percentiles.len())?);
        }
    }
    let mut html = String::from("<h2>Latency and throughput</h2><div class=\"grid\">");
    html.push_str(&percentile_chart(&format!("Latency by percentile, all rounds merged{mark}"), &percentiles)?);
    if let Some(last) = comparison.rounds.last() {
        let named: Vec<(String, &Run)> = last.iter().map(|run| (name(run.broker), run)).collect();
        html.push_str(&over_time(&format!("the last round{mark}"), &named)?);
    }
    html.push_str("</div>");
    html.push_str(&latencies(&percentiles, &format!("all rounds merged{mark}")));
    let named: Vec<(String, &Run)> = comparison
        .rounds
        .iter()
        .enumerate()
        .flat_map(|(round, runs)| runs.iter().map(move |run| (round, run)))
        .map(|(round, run)| (format!("round {}: {}", round + 1, name(run.broker)), run))
        .collect();
    html.push_str(&figures(&named));
    html.push_str(&costs(&named));
    let invalid: Vec<Vec<String>> = named
        .iter()
        .filter(|(_, run)| !run.validity.is_valid())
        .map(|(name, run)| vec![escaped(name), verdict_cell(&run.validity)])
        .collect();
    if !invalid.is_empty() {
        html.push_str(&details("Runs that are not to be believed", &table("INVALID runs", &["run", "why"], &invalid)));
    }
    if let Some(run) = all.first() {
        html.push_str(&settings(&run.scenario));
    }
    Ok(html)
}
