//! The report of `bench versus`: raw frames on both brokers by turns.
//! Must never touch: how it was measured.

use super::chart::{Axis, Bar, bars};
use super::page::{badge, details, escaped, number, table, time};
use super::parts::{
    PERCENTILE_HEADS, Percentiles, median_cell, percentile_cells, percentile_chart, range, ratio_cell, ratio_text,
    verdict_cell,
};
use crate::lab::versus::{
    CodecCost, PENALTY, PLAIN, Paired, Pairing, RawRatio, RawRow, RawSide, RawTable, RawTurn, Reached, RowKind, figures,
};
use crate::stats::median;

/// The whole table.
pub fn section(table: &RawTable) -> Result<String, String> {
    let run = table.rows.iter().filter(|row| row.not_run.is_none());
    // Those of codecs end before the others.
    let (brief, run): (Vec<&RawRow>, Vec<&RawRow>) = run.partition(|row| row.kind == RowKind::Packed);
    let run = if run.is_empty() { brief } else { run };
    let rounds = run.iter().map(|row| row.turns.iter().map(Vec::len).max().unwrap_or(0)).min().unwrap_or(0);
    let warm: Vec<String> = table.warmed_up_secs.iter().map(|secs| format!("{secs:.0} s")).collect();
    let mut html = format!(
        "<p>Prepared Produce and Fetch frames over plain connections, one thread each, so that the brokers' own cost is what \
         is seen; real clients in the rows that name one. Rounds measured whole: {rounds} of {}, {} s a turn at least, in an order shuffled from seed {}; a fresh topic \
         each turn; under load before the first turn: {}. A ratio is the median of the ratios within rounds, with its 95 % \
         interval by bootstrap; small figures are ranges over rounds. Turns of 256 KiB wrote {} GB at least, the backlog had {} \
         GB.</p>",
        table.rounds,
        number(table.secs),
        table.seed,
        warm.join(" and "),
        number(table.volume_gb),
        number(table.backlog_gb)
    );
    html.push_str(&left_out(table));
    for (place, pairing) in table.pairings.iter().enumerate() {
        html.push_str(&one_pairing(table, place, pairing)?);
    }
    html.push_str(&penalty(table));
    html.push_str(&codecs(table));
    html.push_str(&latencies(table)?);
    html.push_str("<h2>Every figure</h2>");
    for row in &table.rows {
        html.push_str(&details(&row.name, &every_figure(table, row)));
    }
    Ok(html)
}

/// A chart for each row that measured its latency itself: what real clients tell of themselves are a few percentiles, and
/// there is no line to draw.
fn latencies(table: &RawTable) -> Result<String, String> {
    let measured = |row: &&RawRow| row.kind != RowKind::Client && row.turns.iter().any(|turns| !turns.is_empty());
    let charts = table.rows.iter().filter(measured).map(|row| latency(table, row)).collect::<Result<Vec<_>, _>>()?;
    if charts.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("<h2>Latency by percentile</h2><div class=\"grid\">{}</div>", charts.concat()))
}

/// Rows without a figure, or that ended early, and why.
fn left_out(table: &RawTable) -> String {
    let rows: Vec<String> = table
        .rows
        .iter()
        .filter_map(|row| Some(format!("<li>{}: {}</li>", escaped(&row.name), escaped(row.not_run.as_ref()?))))
        .collect();
    if rows.is_empty() { String::new() } else { format!("<p>Left out:</p><ul>{}</ul>", rows.concat()) }
}

/// What small batches cost against large ones, side by side.
fn penalty(table_of: &RawTable) -> String {
    let rows: Vec<Vec<String>> = table_of
        .small_batch_penalty()
        .into_iter()
        .map(|(side, Paired { ratio, interval, .. })| {
            vec![escaped(&named(&table_of.sides[side])), ratio_cell(ratio, interval)]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let [small, large] = PENALTY;
    let caption =
        format!("Bytes per second: \u{201c}{small}\u{201d} by \u{201c}{large}\u{201d}; 1 would be no penalty");
    format!("<h2>Small-batch penalty</h2>{}", table(&caption, &["side", "small / large"], &rows))
}

/// What compressed batches cost each side against plain ones.
fn codecs(table_of: &RawTable) -> String {
    let costs = table_of.codec_costs();
    if costs.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = costs
        .into_iter()
        .map(|CodecCost { side, row, unpacked, per_gb, per_unpacked_gb }| {
            vec![
                escaped(row),
                escaped(&named(&table_of.sides[side])),
                format!("{unpacked:.2}"),
                ratio_cell(per_gb.ratio, per_gb.interval),
                ratio_cell(per_unpacked_gb.ratio, per_unpacked_gb.interval),
            ]
        })
        .collect();
    let caption = format!("Broker CPU by that of \u{201c}{PLAIN}\u{201d}; 1 would be: no more than plain batches");
    let heads = ["load", "side", "unpacks to", "for the same bytes on the wire", "for the same bytes of events"];
    format!(
        "<h2>Compressed batches</h2><p>A broker looks at each record, and so unpacks what it takes in. Batches are alike on the \
         wire: the better a codec packs, the more there is to unpack in them.</p>{}",
        table(&caption, &heads, &rows)
    )
}

/// What a picture shows: its name, and the figures of which each row has one at most.
pub(super) type Shown = (&'static str, &'static [&'static str]);

pub(super) const THROUGHPUT: Shown = ("Throughput (more is better)", &["requests/s", "MB/s"]);
pub(super) const BROKER_CPU: Shown =
    ("Broker CPU for the same work (less is better)", &["broker CPU µs per request", "broker CPU s per GB"]);

/// The rows of a pairing that have one of these figures.
pub(super) fn ratios_of<'a>(table: &'a RawTable, place: usize, wanted: &[&str]) -> Vec<(&'a RawRow, &'a RawRatio)> {
    let of_row = |row: &'a RawRow| {
        let found = row.ratios.iter().find(|r| r.pairing == place && wanted.contains(&r.figure.as_str()));
        found.map(|ratio| (row, ratio))
    };
    table.rows.iter().filter_map(of_row).collect()
}

pub(super) fn named(side: &RawSide) -> String {
    format!("{}, {}", side.name, side.durability)
}

fn one_pairing(table: &RawTable, place: usize, pairing: &Pairing) -> Result<String, String> {
    let (side, base) = (&table.sides[pairing.side], &table.sides[pairing.base]);
    let mut html = format!("<h2>{} against {}</h2>", escaped(&named(side)), escaped(&named(base)));
    let equal =
        if pairing.equal_durability { badge("good", "EQUAL DURABILITY") } else { badge("note", "UNEQUAL DURABILITY") };
    html.push_str(&format!("<p>{equal} {}</p>", escaped(&pairing.question)));
    html.push_str(&aims(table, place));
    let unequal = if pairing.equal_durability { "" } else { ", UNEQUAL durability" };
    let title = |what: &str| format!("{what}: {} / {}{unequal}", named(side), named(base));
    html.push_str("<div class=\"grid\">");
    for (what, wanted) in [
        THROUGHPUT,
        BROKER_CPU,
        ("p99 latency (less is better)", &["p99 µs"]),
        ("p99.9 latency (less is better)", &["p99.9 µs"]),
    ] {
        let all = ratios_of(table, place, wanted);
        if !all.is_empty() {
            html.push_str(&ratios_chart(&title(what), &all)?);
        }
    }
    html.push_str("</div>");
    let heads = ["load", "figure", &named(side), &named(base), "ratio", "to reach", ""];
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .flat_map(|row| row.ratios.iter().filter(|ratio| ratio.pairing == place).map(move |ratio| (row, ratio)))
        .map(|(row, ratio)| ratio_row(row, ratio, pairing))
        .collect();
    html.push_str(&super::page::table(&title("All ratios"), &heads, &rows));
    Ok(html)
}

/// How many aims of a pairing were reached; those of INVALID rows count apart.
fn aims(table: &RawTable, place: usize) -> String {
    let count = |wanted: Option<Reached>| -> usize {
        let of_row = |row: &RawRow| {
            let valid = row.validity.is_valid();
            let ratios = row.ratios.iter().filter(|ratio| ratio.pairing == place);
            ratios
                .filter_map(|ratio| ratio.reached.map(|reached| valid.then_some(reached)))
                .filter(|r| *r == wanted)
                .count()
        };
        table.rows.iter().map(of_row).sum()
    };
    let [yes, median, no] = [Reached::Yes, Reached::ByTheMedian, Reached::No].map(|reached| count(Some(reached)));
    let invalid = count(None);
    if yes + median + no + invalid == 0 {
        return String::new();
    }
    format!(
        "<p>Aims: <strong>{yes}</strong> reached, <strong>{median}</strong> by the median only, <strong>{no}</strong> missed, \
         <strong>{invalid}</strong> of rows that are INVALID.</p>"
    )
}

fn ratios_chart(title: &str, all: &[(&RawRow, &RawRatio)]) -> Result<String, String> {
    let (axis, drawn) = ratio_bars(all);
    bars(title, &axis, &drawn, true)
}

/// One line for each ratio, and the axis that all of them fit.
pub(super) fn ratio_bars(all: &[(&RawRow, &RawRatio)]) -> (Axis, Vec<Bar>) {
    let values = all.iter().flat_map(|(_, ratio)| {
        let [low, high] = ratio.paired.interval;
        [low, high, 1.0].into_iter().chain(ratio.to_reach)
    });
    let axis = Axis::log("ratio; the tall mark is what is to be reached", values, ratio_text);
    let drawn: Vec<Bar> = all
        .iter()
        .map(|(row, ratio)| {
            let [low, high] = ratio.paired.interval;
            let text = format!(
                "{}\n{}: {} ({} – {})",
                row.name,
                ratio.figure,
                ratio_text(ratio.paired.ratio),
                number(low),
                number(high)
            );
            let invalid = if row.validity.is_valid() { "" } else { " INVALID" };
            Bar {
                name: format!("{}{invalid}", row.name),
                value: ratio.paired.ratio,
                interval: ratio.paired.interval,
                aim: ratio.to_reach,
                series: usize::from(!row.validity.is_valid()),
                text,
                shown: ratio_text(ratio.paired.ratio),
            }
        })
        .collect();
    (axis, drawn)
}

fn ratio_row(row: &RawRow, ratio: &RawRatio, pairing: &Pairing) -> Vec<String> {
    let figure = figures(row).into_iter().find(|figure| figure.name == ratio.figure);
    let values = |side: usize| figure.as_ref().map_or_else(Vec::new, |figure| row.values(figure, side));
    let shown: fn(f64) -> String = if ratio.figure.ends_with("µs") { time } else { number };
    let aim = ratio.to_reach.map_or_else(String::new, |aim| {
        let aim = if ratio.of_itself { format!("{aim} of itself") } else { ratio_text(aim) };
        format!("{} {aim}", if ratio.more_is_better { "≥" } else { "≤" })
    });
    let reached = match ratio.reached {
        Some(Reached::Yes) => badge("good", "reached"),
        Some(Reached::ByTheMedian) => badge("note", "by the median"),
        Some(Reached::No) => badge("bad", "missed"),
        None => String::new(),
    };
    let invalid = if row.validity.is_valid() { String::new() } else { format!(" {}", badge("bad", "INVALID")) };
    vec![
        format!("{}{invalid}", escaped(&row.name)),
        escaped(&ratio.figure),
        median_cell(&values(pairing.side), shown),
        median_cell(&values(pairing.base), shown),
        ratio_cell(ratio.paired.ratio, ratio.paired.interval),
        aim,
        reached,
    ]
}

fn latency(table: &RawTable, row: &RawRow) -> Result<String, String> {
    let mut all = Vec::new();
    for (place, (side, turns)) in table.sides.iter().zip(&row.turns).enumerate() {
        all.extend(Percentiles::of(named(side), turns.iter().map(|turn| &turn.latency), place)?);
    }
    let invalid = if row.validity.is_valid() { "" } else { " – INVALID" };
    percentile_chart(&format!("{}{invalid}", row.name), &all)
}

fn every_figure(table_of: &RawTable, row: &RawRow) -> String {
    let mut html = format!("<p class=\"soft\">{}</p><p>{}</p>", escaped(&row.settings), verdict_cell(&row.validity));
    for remark in &row.validity.remarks {
        html.push_str(&format!("<p>{}</p>", escaped(remark)));
    }
    let heads = ["side", "requests/s", "MB/s", "CPU s per GB", "CPU s per million requests", "resident MB"];
    let rows: Vec<Vec<String>> = sides(table_of, row)
        .map(|(side, turns)| {
            let of = |figure: fn(&RawTurn) -> Option<f64>| turns.iter().filter_map(figure).collect::<Vec<f64>>();
            vec![
                escaped(&named(side)),
                median_cell(&of(|turn| Some(turn.requests_per_s())), number),
                median_cell(&of(|turn| Some(turn.mb_per_s())), number),
                median_cell(&of(RawTurn::cpu_secs_per_gb), number),
                median_cell(&of(RawTurn::cpu_us_per_request), number),
                median_cell(&of(|turn| turn.rss_bytes.map(|bytes| bytes as f64 / 1e6)), number),
            ]
        })
        .collect();
    html.push_str(&table("Throughput and CPU: medians and ranges over rounds", &heads, &rows));
    let mut heads = vec!["side"];
    heads.extend(PERCENTILE_HEADS);
    let rows: Vec<Vec<String>> = sides(table_of, row)
        .filter_map(|(side, turns)| {
            let all = Percentiles::of(named(side), turns.iter().map(|turn| &turn.latency), 0).ok()??;
            let mut cells = vec![escaped(&all.name)];
            cells.extend(percentile_cells(&all.values));
            Some(cells)
        })
        .collect();
    html.push_str(&table("Latency of all rounds together, with the 95 % interval of each percentile", &heads, &rows));
    html
}

fn sides<'a>(table: &'a RawTable, row: &'a RawRow) -> impl Iterator<Item = (&'a RawSide, &'a Vec<RawTurn>)> {
    table.sides.iter().zip(&row.turns).filter(|(_, turns)| !turns.is_empty())
}

/// The same as a table in Markdown, for a terminal and for notes.
pub fn markdown(table: &RawTable) -> String {
    let mut text = String::new();
    for (place, pairing) in table.pairings.iter().enumerate() {
        if table.rows.iter().all(|row| row.ratios.iter().all(|ratio| ratio.pairing != place)) {
            continue;
        }
        let (side, base) = (&table.sides[pairing.side], &table.sides[pairing.base]);
        let equal = if pairing.equal_durability { "equal durability" } else { "UNEQUAL durability" };
        text.push_str(&format!(
            "\n{equal}: {}\n\n| load | | {} | {} | ratio (95 %) | to reach |\n|---|---|---|---|---|---|\n",
            pairing.question,
            named(side),
            named(base)
        ));
        for row in &table.rows {
            for ratio in row.ratios.iter().filter(|ratio| ratio.pairing == place) {
                text.push_str(&markdown_row(row, ratio, pairing));
            }
        }
    }
    for (side, Paired { ratio, interval: [low, high], .. }) in table.small_batch_penalty() {
        let (name, [small, large]) = (named(&table.sides[side]), PENALTY);
        text.push_str(&format!(
            "\nsmall-batch penalty ({small} / {large}, bytes/s), {name}: {ratio:.3} ({low:.3}–{high:.3})"
        ));
    }
    for CodecCost { side, row, unpacked, per_gb, per_unpacked_gb } in table.codec_costs() {
        let ([low, high], [low_unpacked, high_unpacked]) = (per_gb.interval, per_unpacked_gb.interval);
        text.push_str(&format!(
            "\nbroker CPU by that of plain batches, {row} (unpacks to {unpacked:.2} times as much), {}: {:.2} ({low:.2}–{high:.2}) for \
             the same bytes on the wire, {:.2} ({low_unpacked:.2}–{high_unpacked:.2}) for the same bytes of events",
            named(&table.sides[side]),
            per_gb.ratio,
            per_unpacked_gb.ratio
        ));
    }
    for row in table.rows.iter().filter(|row| !row.validity.is_valid()) {
        text.push_str(&format!("\nINVALID: {}: {}", row.name, row.validity.reasons.join("; ")));
    }
    text + "\n"
}

fn markdown_row(row: &RawRow, ratio: &RawRatio, pairing: &Pairing) -> String {
    let Some(figure) = figures(row).into_iter().find(|figure| figure.name == ratio.figure) else {
        return String::new();
    };
    let digits = figure.digits;
    let cell = |side: usize| {
        let values = row.values(&figure, side);
        let (low, high) = range(&values);
        format!("{:.digits$} ({low:.digits$}–{high:.digits$})", median(&values))
    };
    let [low, high] = ratio.paired.interval;
    let sign = if ratio.more_is_better { "≥" } else { "≤" };
    let aim = ratio.to_reach.map_or("–".to_string(), |aim| {
        let word = if ratio.reached == Some(Reached::No) { "missed" } else { "reached" };
        let aim = if ratio.of_itself { format!("{aim} of itself") } else { format!("{aim:.2}") };
        format!("{sign} {aim}: {word}")
    });
    let invalid = if row.validity.is_valid() { "" } else { " INVALID" };
    let (name, figure_name) = (&row.name, &ratio.figure);
    let (ours, theirs, middle) = (cell(pairing.side), cell(pairing.base), ratio.paired.ratio);
    format!("| {name}{invalid} | {figure_name} | {ours} | {theirs} | {middle:.2} ({low:.2}–{high:.2}) | {aim} |\n")
}
