//! The reports of `bench sweep` (heat maps, what nothing beats, what to use) and of `bench knee`.
//! Must never touch: how it was measured.

use super::chart::{Axis, Line, lines};
use super::page::{badge, escaped, number, table, time};
use super::parts::{quantile, verdict_cell};
use super::promised;
use super::run::{number_short, settings};
use crate::lab::result::{Cell, Knee, ResultFile, Run, Sweep};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A figure of a cell: its name, its value, how it is shown, whether more is better.
type Figure = (&'static str, fn(&Run) -> Option<f64>, fn(f64) -> String, bool);

const FIGURES: [Figure; 3] = [
    ("throughput, MB/s", throughput, number, true),
    ("p99 latency", p99, time, false),
    ("broker CPU s per GB", |run| run.broker_use.as_ref()?.cpu_secs_per_gb, number, false),
];

fn throughput(run: &Run) -> Option<f64> {
    run.produced.as_ref().map(|side| side.bytes_per_s / 1e6)
}

fn p99(run: &Run) -> Option<f64> {
    run.produced.as_ref().map(|side| side.latency.p99_us)
}

fn broker_of(file: &ResultFile, run: &Run) -> String {
    file.brokers.get(run.broker).map_or_else(|| "unknown broker".to_string(), promised)
}

/// The whole sweep.
pub fn section(file: &ResultFile, sweep: &Sweep) -> Result<String, String> {
    let broker = sweep.cells.first().map_or_else(String::new, |cell| broker_of(file, &cell.run));
    let invalid = sweep.cells.iter().filter(|cell| !cell.run.validity.is_valid()).count();
    let mut html = format!(
        "<p><strong>{}</strong></p><p>{} settings ({}), {} of them INVALID.</p><h2>What to use</h2>",
        escaped(&broker),
        sweep.cells.len(),
        escaped(&sweep.design),
        invalid
    );
    for recommendation in &sweep.recommendations {
        html.push_str(&format!("<h3>{}</h3><p>{}</p>", escaped(&recommendation.aim), escaped(&recommendation.because)));
        match recommendation.cell {
            Some(_) => html.push_str(&format!("<pre>{}</pre>", escaped(&recommendation.config_lines.join("\n")))),
            None => html.push_str(&format!("<p>{}</p>", badge("note", "NOTHING FULFILS IT"))),
        }
    }
    html.push_str("<h2>Throughput against p99</h2>");
    html.push_str(&pareto(&broker, sweep)?);
    html.push_str("<h2>Heat maps</h2><div class=\"grid\">");
    for figure in FIGURES {
        html.push_str(&heat_maps(&broker, sweep, figure));
    }
    html.push_str("</div>");
    html.push_str(&every_cell(&broker, sweep));
    if let Some(cell) = sweep.cells.first() {
        html.push_str(&settings(&cell.run.scenario));
    }
    Ok(html)
}

fn words(settings: &BTreeMap<String, String>) -> String {
    settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

fn pareto(broker: &str, sweep: &Sweep) -> Result<String, String> {
    let point = |cell: &Cell| Some((throughput(&cell.run)?, p99(&cell.run)?));
    let line = |name: &str, series: usize, is_joined: bool, cells: &mut dyn Iterator<Item = &Cell>| {
        let known: Vec<(&Cell, (f64, f64))> = cells.filter_map(|cell| Some((cell, point(cell)?))).collect();
        let text = |(cell, (rate, us)): &(&Cell, (f64, f64))| {
            let invalid = if cell.run.validity.is_valid() { "" } else { "\nINVALID" };
            format!("{}\n{} MB/s, p99 {}{invalid}", words(&cell.settings), number(*rate), time(*us))
        };
        Line {
            name: name.to_string(),
            texts: known.iter().map(text).collect(),
            points: known.into_iter().map(|(_, point)| point).collect(),
            series,
            is_joined,
        }
    };
    let is_front = |place: usize| sweep.pareto.contains(&place);
    let others = |valid: bool| {
        sweep
            .cells
            .iter()
            .enumerate()
            .filter(move |(place, cell)| !is_front(*place) && cell.run.validity.is_valid() == valid)
    };
    let drawn = [
        line("beaten", 4, false, &mut others(true).map(|(_, cell)| cell)),
        line("INVALID", 2, false, &mut others(false).map(|(_, cell)| cell)),
        line("front", 0, true, &mut sweep.pareto.iter().filter_map(|place| sweep.cells.get(*place))),
    ];
    let of = |value: fn(&(f64, f64)) -> f64| drawn.iter().flat_map(move |line| line.points.iter().map(value));
    let x = Axis::linear("MB/s", 0.0, of(|(x, _)| *x), number_short);
    let y = Axis::log("p99", of(|(_, y)| *y), time);
    let title = format!("What nothing beats in both (discs, joined), beaten (rings), INVALID (crosses): {broker}");
    let mut html = lines(&title, &x, &y, &drawn, None)?;
    let rows: Vec<Vec<String>> =
        sweep.pareto.iter().filter_map(|place| sweep.cells.get(*place)).map(cell_row).collect();
    html.push_str(&table(&format!("The front: {broker}"), &HEADS, &rows));
    Ok(html)
}

const HEADS: [&str; 5] = ["settings", "MB/s", "p99", "broker CPU s per GB", "verdict"];

fn cell_row(cell: &Cell) -> Vec<String> {
    let known = |value: Option<f64>, shown: fn(f64) -> String| value.map_or("–".to_string(), shown);
    let p99 = cell.run.produced.as_ref().map_or("–".to_string(), |side| match side.latency.to_histogram() {
        Ok(values) => {
            let (us, [low, high]) = quantile(&values, 0.99);
            format!("{}<br><small>{} – {}</small>", time(us), time(low), time(high))
        }
        Err(problem) => escaped(&problem),
    });
    vec![
        escaped(&words(&cell.settings)),
        known(throughput(&cell.run), number),
        p99,
        known((FIGURES[2].1)(&cell.run), number),
        verdict_cell(&cell.run.validity),
    ]
}

fn every_cell(broker: &str, sweep: &Sweep) -> String {
    let rows: Vec<Vec<String>> = sweep.cells.iter().map(cell_row).collect();
    super::page::details("Every setting", &table(broker, &HEADS, &rows))
}

/// The first two axes make a map; the others make more of them.
fn heat_maps(broker: &str, sweep: &Sweep, figure: Figure) -> String {
    let varied: Vec<_> = sweep.axes.iter().filter(|axis| axis.values.len() > 1).collect();
    let [across, down] = match varied[..] {
        [] => return String::new(),
        [only] => [only, only],
        [first, second, ..] => [second, first],
    };
    let (name, value, _, _) = figure;
    let of = |valid_only: bool| -> Vec<f64> {
        let cells = sweep.cells.iter().filter(|cell| !valid_only || cell.run.validity.is_valid());
        cells.filter_map(|cell| value(&cell.run)).collect()
    };
    let values = Some(of(true)).filter(|valid| !valid.is_empty()).unwrap_or_else(|| of(false));
    if values.is_empty() {
        return String::new();
    }
    let mut maps: BTreeMap<String, Vec<&Cell>> = BTreeMap::new();
    for cell in &sweep.cells {
        let others = cell.settings.iter().filter(|(name, _)| **name != across.name && **name != down.name);
        let others = others.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
        maps.entry(others).or_default().push(cell);
    }
    let mut html = String::new();
    for (others, cells) in maps {
        let of = if others.is_empty() { String::new() } else { format!(" at {others}") };
        let caption = format!("{name}{of}: {broker}");
        if across.name == down.name {
            html.push_str(&heat_map(
                &caption,
                "",
                &across.name,
                &[String::new()],
                &across.values,
                figure,
                &values,
                |_, x| cells.iter().copied().find(|cell| cell.settings.get(&across.name) == Some(x)),
            ));
        } else {
            html.push_str(&heat_map(
                &caption,
                &down.name,
                &across.name,
                &down.values,
                &across.values,
                figure,
                &values,
                |y, x| {
                    let fits = |cell: &&&Cell| {
                        cell.settings.get(&across.name) == Some(x) && cell.settings.get(&down.name) == Some(y)
                    };
                    cells.iter().find(fits).copied()
                },
            ));
        }
    }
    html
}

#[expect(clippy::too_many_arguments, reason = "a map has two axes with a name and values each")]
fn heat_map<'a>(
    caption: &str,
    down_name: &str,
    across_name: &str,
    down: &[String],
    across: &[String],
    (_, value, shown, more_is_better): Figure,
    all: &[f64],
    find: impl Fn(&String, &String) -> Option<&'a Cell>,
) -> String {
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let best = if more_is_better { high } else { low };
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"heat\"><caption>{}; outlined: the best of all that are valid</caption><thead><tr>\
         <th scope=\"col\">{} \\ {}</th>",
        escaped(caption),
        escaped(down_name),
        escaped(across_name)
    );
    for x in across {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escaped(x));
    }
    html.push_str("</tr></thead><tbody>");
    for y in down {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escaped(y));
        for x in across {
            let cell = find(y, x);
            match cell.and_then(|cell| Some((cell, value(&cell.run)?))) {
                Some((cell, figure)) => {
                    // Strength by the logarithm: latencies differ by orders of magnitude.
                    let span = (high / low).ln();
                    let share = if span > 0.0 { ((figure / low).ln() / span).clamp(0.0, 1.0) } else { 1.0 };
                    let strength = 8.0 + 52.0 * if more_is_better { share } else { 1.0 - share };
                    let class = if figure == best && cell.run.validity.is_valid() { " class=\"best\"" } else { "" };
                    let invalid = if cell.run.validity.is_valid() { "" } else { "<br><small>INVALID</small>" };
                    let _ = write!(
                        html,
                        "<td{class} style=\"background: color-mix(in srgb, var(--heat) {strength:.0}%, var(--paper))\">{}{invalid}</td>",
                        shown(figure)
                    );
                }
                None => html.push_str("<td>–</td>"),
            }
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// The report of `bench knee`.
pub fn knee(file: &ResultFile, knee: &Knee) -> Result<String, String> {
    let first = knee.steps.iter().flat_map(|step| &step.runs).next();
    let broker = first.map_or_else(String::new, |run| broker_of(file, run));
    let bound_us = knee.p99_below_ms * 1e3;
    let found = match (knee.rate, knee.rate_above) {
        (Some(rate), Some(above)) => format!(
            "p99 stays within {} up to {} records/s; at {} it does not.",
            time(bound_us),
            number(rate),
            number(above)
        ),
        (Some(rate), None) => {
            format!(
                "p99 stays within {} up to {} records/s, the highest rate that was tried.",
                time(bound_us),
                number(rate)
            )
        }
        (None, _) => format!("p99 stayed within {} at no rate that was tried.", time(bound_us)),
    };
    let mut html = format!("<p><strong>{}</strong></p><p>{found}</p>", escaped(&broker));
    let line = |name: &str, series: usize, within: bool| {
        let runs = knee.steps.iter().filter(|step| step.within == within);
        let known: Vec<(f64, f64, bool)> = runs
            .flat_map(|step| step.runs.iter().map(|run| (step.rate, run)))
            .filter_map(|(rate, run)| Some((rate, p99(run)?, run.validity.is_valid())))
            .collect();
        let text = |(rate, us, valid): &(f64, f64, bool)| {
            format!("{} records/s: p99 {}{}", number(*rate), time(*us), if *valid { "" } else { "\nINVALID" })
        };
        Line {
            name: name.to_string(),
            texts: known.iter().map(text).collect(),
            points: known.iter().map(|(rate, us, _)| (*rate, *us)).collect(),
            series,
            is_joined: false,
        }
    };
    let drawn = [line("within", 0, true), line("beyond", 2, false)];
    let of = |value: fn(&(f64, f64)) -> f64| drawn.iter().flat_map(move |line| line.points.iter().map(value));
    let x = Axis::log("records/s that were asked for", of(|(x, _)| *x), number_short);
    let y = Axis::log("p99", of(|(_, y)| *y).chain([bound_us]), time);
    let bound = Some((bound_us, format!("the bound: {}", time(bound_us))));
    html.push_str(&lines(
        &format!("Rates within the bound (discs) and beyond (crosses): {broker}"),
        &x,
        &y,
        &drawn,
        bound,
    )?);
    html.push_str(&every_repeat(&broker, knee));
    if let Some(run) = first {
        html.push_str(&settings(&run.scenario));
    }
    Ok(html)
}

fn every_repeat(broker: &str, knee: &Knee) -> String {
    let rows: Vec<Vec<String>> = knee
        .steps
        .iter()
        .flat_map(|step| step.runs.iter().map(move |run| (step, run)))
        .map(|(step, run)| {
            vec![
                number(step.rate),
                if step.within { "within" } else { "beyond" }.to_string(),
                run.produced.as_ref().map_or("–".to_string(), |side| number(side.records_per_s)),
                p99(run).map_or("–".to_string(), time),
                verdict_cell(&run.validity),
            ]
        })
        .collect();
    table(&format!("Every repeat: {broker}"), &["asked for", "most repeats", "records/s", "p99", "verdict"], &rows)
}
