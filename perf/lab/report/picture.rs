//! One picture (SVG) of what `bench versus` found, for where a page does not fit: each pairing's throughput, and the CPU of the
//! first. It names the durability of both sides over every part, as the page does.
//! Must never touch: how it was measured.

use std::fmt::Write;

use super::chart::{WIDE_PX, bars_alone};
use super::page::{escaped, picture_style};
use super::raw::{BROKER_CPU, THROUGHPUT, named, ratio_bars, ratios_of};
use crate::lab::result::{Measured, ResultFile};
use crate::lab::versus::RawTable;

const MARGIN_PX: u32 = 10;
/// Over each part: whose durability, and what is shown.
const HEADS_PX: u32 = 74;
const GAP_PX: u32 = 22;

/// The picture of a result. An error says why there is none.
pub fn picture(file: &ResultFile) -> Result<String, String> {
    let Measured::Raw(table) = &file.measured else {
        return Err("a picture is made of the results of `bench versus`; the page has all others".to_string());
    };
    let (mut parts, mut height) = (String::new(), MARGIN_PX);
    for place in 0..table.pairings.len() {
        let cpu = (place == 0).then_some(BROKER_CPU);
        for (what, wanted) in std::iter::once(THROUGHPUT).chain(cpu) {
            let ratios = ratios_of(table, place, wanted);
            if ratios.is_empty() {
                continue;
            }
            let (axis, bars) = ratio_bars(&ratios);
            let (svg, high) = bars_alone(&axis, &bars)?;
            let [side, base] = durability(table, place);
            let heads = [(18, 13, side), (37, 13, base), (62, 15, what.to_string())].map(|(down, size, text)| {
                let (y, text) = (height + down, escaped(&text));
                let style = "font-weight=\"600\" style=\"fill: var(--ink)\"";
                format!("<text x=\"16\" y=\"{y}\" font-size=\"{size}\" {style}>{text}</text>\n")
            });
            let top = height + HEADS_PX;
            let inner = svg.find('>').and_then(|at| svg[at + 1..].trim_end().strip_suffix("</svg>"));
            let inner = inner.ok_or("a picture that is none")?;
            let _ = writeln!(parts, "{}<g transform=\"translate({MARGIN_PX} {top})\">{inner}</g>", heads.concat());
            height = top + high + GAP_PX;
        }
    }
    if parts.is_empty() {
        return Err("there is no ratio to be shown".to_string());
    }
    let (width, style) = (WIDE_PX + 2 * MARGIN_PX, picture_style());
    let sides: Vec<String> = table.sides.iter().map(|side| escaped(&named(side))).collect();
    let label = format!("Ratios with 95 % intervals: throughput and broker CPU of {}", sides.join("; "));
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"{label}\"><style>\n{style}</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" style=\"fill: var(--panel)\"/>\n{parts}</svg>\n"
    ))
}

/// Both sides of a pairing, and whether what they promise is the same.
fn durability(table: &RawTable, place: usize) -> [String; 2] {
    let pairing = &table.pairings[place];
    let [side, base] = [pairing.side, pairing.base].map(|at| named(&table.sides[at]));
    let kind = if pairing.equal_durability { "Equal" } else { "UNEQUAL" };
    [format!("{kind} durability: {side}"), format!("against {base}")]
}
