//! Pictures as SVG, drawn by plotters twice: for wide screens and for phones, since text that shrinks with its picture cannot
//! be read. Colours are placeholders that the style sheet turns into those of the light or the dark page, with dashes of
//! their own, and every series has a mark and its name beside it, so that nothing needs colour to be told apart.
//! Must never touch: what is drawn.

use plotters::coord::ranged1d::{NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Write;

/// What the style sheet turns into the colour of text.
const INK: RGBColor = RGBColor(1, 1, 1);
/// What it turns into the colour of grids.
const GRID: RGBColor = RGBColor(2, 2, 2);
/// How many series have a colour, a dash and a mark of their own.
pub const SERIES_MAX: usize = 6;
const FONT: &str = "sans-serif";
/// plotters writes it divided by 1.24: 13 px on the screen.
const FONT_PX: i32 = 16;
/// Least distance of two labels beside lines.
const LABEL_GAP_PX: i32 = 15;

const fn color(series: usize) -> RGBColor {
    RGBColor(0, 0, 0xA0 + (series % SERIES_MAX) as u8)
}

/// Width and height of a rendering, and the class that shows it on the right screens.
#[derive(Clone, Copy)]
struct Size {
    width: u32,
    height: u32,
    class: &'static str,
}

const SIZES: [Size; 2] =
    [Size { width: 760, height: 340, class: "wide" }, Size { width: 356, height: 280, class: "narrow" }];

/// A place of an axis with what stands there.
pub type Tick = (f64, String);

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Its ends, in the space of its scale.
    pub range: (f64, f64),
    /// Where its lines are.
    pub ticks: Vec<Tick>,
    /// True where values are drawn by their logarithm.
    pub is_log: bool,
}

impl Axis {
    /// Equal steps from zero (or `from`) to a little more than the largest value.
    pub fn linear(label: &str, from: f64, values: impl Iterator<Item = f64>, name: fn(f64) -> String) -> Axis {
        let largest = values.filter(|value| value.is_finite()).fold(from, f64::max);
        let end = if largest > from { largest * 1.05 } else { from + 1.0 };
        let step = nice_step((end - from) / 5.0);
        let first = (from / step).ceil() as i64;
        let ticks = (first..).map(|n| n as f64 * step).take_while(|at| *at <= end).map(|at| (at, name(at)));
        Axis { label: label.to_string(), range: (from, end), ticks: ticks.collect(), is_log: false }
    }

    /// Equal ratios around all positive values.
    pub fn log(label: &str, values: impl Iterator<Item = f64>, name: fn(f64) -> String) -> Axis {
        let (low, high) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if high > 0.0 { (low / 1.15, high * 1.15) } else { (0.1, 10.0) };
        let (first, last) = (low.log10(), high.log10());
        let steps: &[f64] = match last - first {
            decades if decades < 1.6 => &[1.0, 2.0, 5.0],
            decades if decades < 3.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let ticks = (first.floor() as i32..=last.ceil() as i32)
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|value| (low..=high).contains(value))
            .map(|value| (value.log10(), name(value)))
            .collect();
        Axis { label: label.to_string(), range: (first, last), ticks, is_log: true }
    }

    /// Percentiles: equal distances for each further nine.
    pub fn percentiles(up_to: f64) -> Axis {
        let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
        let end = nines(up_to).clamp(1.0, 6.0);
        let ticks = names.iter().enumerate().map(|(at, name)| (at as f64, (*name).to_string()));
        let ticks = ticks.filter(|(at, _)| *at <= end + 1e-9).collect();
        Axis { label: "percentile".to_string(), range: (0.0, end), ticks, is_log: false }
    }

    fn at(&self, value: f64) -> f64 {
        if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    fn coordinate(&self) -> Coordinate {
        Coordinate { range: (self.range.0..self.range.1).into(), ticks: self.ticks.clone() }
    }
}

/// How many nines a quantile has: 0.9 → 1, 0.99 → 2.
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

fn nice_step(about: f64) -> f64 {
    let decade = 10f64.powf(about.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= about).unwrap_or(decade)
}

/// An axis as plotters wants it: with lines where we say.
struct Coordinate {
    range: RangedCoordf64,
    ticks: Vec<Tick>,
}

impl Ranged for Coordinate {
    type ValueType = f64;
    type FormatOption = NoDefaultFormatting;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.range()
    }
}

impl ValueFormatter<f64> for Coordinate {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        self.ticks.iter().find(|(at, _)| at == value).map_or_else(String::new, |(_, name)| name.clone())
    }
}

/// Something that is told when the pointer is near.
struct Spot {
    x: i32,
    y: i32,
    text: String,
}

/// A line of values.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What stands beside it.
    pub name: String,
    /// Its points, in the units of the axes.
    pub points: Vec<(f64, f64)>,
    /// What is told of each.
    pub texts: Vec<String>,
    /// Which of the series it looks like.
    pub series: usize,
    /// False for points that belong to no line.
    pub is_joined: bool,
}

type Problem = Box<dyn std::error::Error>;

/// Lines over two axes. `bound`: a horizontal line at a value, with its name.
pub fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line], bound: Option<(f64, String)>) -> Result<String, String> {
    let html = figure(title, |size, svg| {
        let root = SVGBackend::with_string(svg, (size.width, size.height)).into_drawing_area();
        let labels_px = label_room(size, lines);
        let mut chart = ChartBuilder::on(&root)
            .margin_top(8)
            .margin_left(8)
            .margin_right(labels_px)
            .x_label_area_size(44)
            .y_label_area_size(62)
            .build_cartesian_2d(x.coordinate(), y.coordinate())?;
        let text = (FONT, FONT_PX).into_font().color(&INK);
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GRID)
            .label_style(text.clone())
            .axis_desc_style(text.clone())
            .x_desc(&x.label)
            .y_desc(&y.label)
            .x_label_formatter(&|value| name_of(&x.ticks, *value))
            .y_label_formatter(&|value| name_of(&y.ticks, *value))
            .draw()?;
        if let Some((value, name)) = &bound {
            let ends = [x.range.0, x.range.1].map(|end| (end, y.at(*value)));
            chart.draw_series(LineSeries::new(ends, INK.stroke_width(1)))?;
            chart.draw_series(std::iter::once(Text::new(name.clone(), (x.range.0, y.at(*value)), text.clone())))?;
        }
        let mut spots = Vec::new();
        let mut ends = Vec::new();
        for line in lines {
            let points: Vec<(f64, f64)> = line.points.iter().map(|(a, b)| (x.at(*a), y.at(*b))).collect();
            if line.is_joined {
                chart.draw_series(LineSeries::new(points.clone(), color(line.series).stroke_width(2)))?;
            }
            let places: Vec<(i32, i32)> = points.iter().map(|point| chart.backend_coord(point)).collect();
            let every = if line.is_joined { places.len().div_ceil(8).max(1) } else { 1 };
            for place in places.iter().step_by(every) {
                mark(&root, *place, line.series)?;
            }
            ends.extend(places.last().filter(|_| line.is_joined).map(|(_, y)| (*y, line)));
            let told = places.iter().zip(&line.texts);
            spots.extend(told.map(|((x, y), text)| Spot { x: *x, y: *y, text: text.clone() }));
        }
        if size.class == "wide" {
            beside(&root, size, labels_px, ends)?;
        }
        root.present()?;
        Ok(spots)
    })?;
    let legend: String = lines
        .iter()
        .map(|line| {
            let series = line.series % SERIES_MAX;
            format!("<span class=\"s{series}\">{} {}</span> ", MARKS[series], super::page::escaped(&line.name))
        })
        .collect();
    Ok(format!("<div>{html}<p class=\"legend\">{legend}</p></div>"))
}

/// The series' marks as signs, in the order of [`mark`].
const MARKS: [&str; SERIES_MAX] = ["●", "▲", "✕", "■", "○", "□"];

fn name_of(ticks: &[Tick], value: f64) -> String {
    ticks.iter().find(|(at, _)| *at == value).map_or_else(String::new, |(_, name)| name.clone())
}

/// Room for the longest name beside the lines, a third of the picture at most; on phones names stand below only.
fn label_room(size: Size, lines: &[Line]) -> u32 {
    if size.class == "narrow" {
        return 20;
    }
    let longest = lines.iter().filter(|line| line.is_joined).map(|line| line.name.chars().count()).max().unwrap_or(0);
    ((longest as u32) * 7 + 20).clamp(20, size.width / 3)
}

/// The names of lines at their right ends, moved apart where they would cover each other.
fn beside<DB: DrawingBackend>(
    root: &DrawingArea<DB, plotters::coord::Shift>,
    size: Size,
    room_px: u32,
    mut ends: Vec<(i32, &Line)>,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
{
    ends.sort_by_key(|(y, _)| *y);
    let lowest = size.height as i32 - 60;
    let mut above = i32::MIN / 2;
    let mut placed: Vec<(i32, &Line)> = Vec::new();
    for (y, line) in ends {
        above = y.max(above + LABEL_GAP_PX).max(10);
        placed.push((above, line));
    }
    let over = placed.last().map_or(0, |(y, _)| (*y - lowest).max(0));
    let fits = (room_px as usize).saturating_sub(14) / 7;
    for (y, line) in placed {
        let at = (size.width as i32 - room_px as i32 + 6, y - over);
        let mut name: String = line.name.chars().take(fits).collect();
        if name.len() < line.name.len() {
            name.pop();
            name.push('…');
        }
        let style = (FONT, FONT_PX).into_font().color(&color(line.series)).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw_text(&name, &style, at)?;
    }
    Ok(())
}

/// A series' own mark: filled or open circle, triangle, cross, square, plus.
fn mark<DB: DrawingBackend>(
    root: &DrawingArea<DB, plotters::coord::Shift>,
    place: (i32, i32),
    series: usize,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
{
    let (x, y) = place;
    let stroke = color(series).stroke_width(2);
    match series % SERIES_MAX {
        0 => root.draw(&Circle::new(place, 4, color(series).filled()))?,
        1 => root.draw(&TriangleMarker::new(place, 6, color(series).filled()))?,
        2 => root.draw(&Cross::new(place, 4, stroke))?,
        3 => root.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], color(series).filled()))?,
        4 => root.draw(&Circle::new(place, 4, stroke))?,
        _ => root.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], stroke))?,
    }
    Ok(())
}

/// A value with its interval.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What stands in front.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Its interval.
    pub interval: [f64; 2],
    /// What it is to reach, if there is such an aim.
    pub aim: Option<f64>,
    /// Which of the series it looks like.
    pub series: usize,
    /// What is told of it.
    pub text: String,
    /// The value in words, at the right end.
    pub shown: String,
}

/// Values with their intervals, a line each; `one`: a vertical line at 1, for ratios.
pub fn bars(title: &str, axis: &Axis, bars: &[Bar], one: bool) -> Result<String, String> {
    figure(title, |size, svg| draw_bars(size, svg, axis, bars, one))
}

/// The same without a page around it: the wide one, with a line at 1, and how high it is.
pub fn bars_alone(axis: &Axis, bars: &[Bar]) -> Result<(String, u32), String> {
    let mut svg = String::new();
    draw_bars(SIZES[0], &mut svg, axis, bars, true).map_err(|problem| problem.to_string())?;
    Ok((svg, bars_height(bars)))
}

/// How wide pictures are where there is room.
pub const WIDE_PX: u32 = SIZES[0].width;

fn bars_height(bars: &[Bar]) -> u32 {
    const BAR_PX: u32 = 34;
    BAR_PX * bars.len() as u32 + 58
}

fn draw_bars(size: Size, svg: &mut String, axis: &Axis, bars: &[Bar], one: bool) -> Result<Vec<Spot>, Problem> {
    let height = bars_height(bars);
    let root = SVGBackend::with_string(svg, (size.width, height)).into_drawing_area();
    let (left, right) = if size.class == "wide" { (400, 70) } else { (12, 66) };
    let end = bars.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .margin_top(4)
        .margin_left(left)
        .margin_right(right)
        .x_label_area_size(44)
        .build_cartesian_2d(axis.coordinate(), 0.0..end)?;
    let text = (FONT, FONT_PX).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .x_desc(&axis.label)
        .x_label_formatter(&|value| name_of(&axis.ticks, *value))
        .draw()?;
    let at_one = axis.at(1.0);
    if one && (axis.range.0..=axis.range.1).contains(&at_one) {
        chart.draw_series(LineSeries::new([(at_one, 0.0), (at_one, end)], INK.stroke_width(1)))?;
    }
    let mut spots = Vec::new();
    for (place, bar) in bars.iter().enumerate() {
        let middle = end - place as f64 - 0.5;
        let to = |value: f64| chart.backend_coord(&(axis.at(value).clamp(axis.range.0, axis.range.1), middle));
        let ((low, y), (high, _), (x, _)) = (to(bar.interval[0]), to(bar.interval[1]), to(bar.value));
        // Where there is no room in front, the name stands above.
        let y = if size.class == "wide" { y } else { y + 7 };
        let stroke = color(bar.series).stroke_width(2);
        root.draw(&PathElement::new([(low, y), (high, y)], stroke))?;
        for cap in [low, high] {
            root.draw(&PathElement::new([(cap, y - 4), (cap, y + 4)], stroke))?;
        }
        if let Some(aim) = bar.aim {
            let (aim, _) = to(aim);
            root.draw(&PathElement::new([(aim, y - 9), (aim, y + 9)], INK.stroke_width(2)))?;
        }
        mark(&root, (x, y), bar.series)?;
        let (anchor, name_at) =
            if size.class == "wide" { (HPos::Right, (left - 8, y)) } else { (HPos::Left, (left, y - 15)) };
        root.draw_text(&bar.name, &text.clone().pos(Pos::new(anchor, VPos::Center)), name_at)?;
        let shown_at = ((size.width - right) as i32 + 6, y);
        root.draw_text(&bar.shown, &text.clone().pos(Pos::new(HPos::Left, VPos::Center)), shown_at)?;
        spots.push(Spot { x, y, text: bar.text.clone() });
    }
    root.present()?;
    Ok(spots)
}

/// A picture in both sizes, with its name and what the pointer is told.
fn figure(
    title: &str,
    mut draw: impl FnMut(Size, &mut String) -> Result<Vec<Spot>, Problem>,
) -> Result<String, String> {
    let title = super::page::escaped(title);
    let mut html = format!("<figure><figcaption>{title}</figcaption>");
    for size in SIZES {
        let mut svg = String::new();
        let spots = draw(size, &mut svg).map_err(|problem| format!("the picture '{title}': {problem}"))?;
        let spots: Vec<_> = spots.iter().map(|spot| serde_json::json!([spot.x, spot.y, spot.text])).collect();
        let spots = super::page::escaped(&serde_json::Value::from(spots).to_string());
        let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1);
        let _ = write!(html, "<div class=\"chart {}\" data-spots=\"{spots}\">{svg}</div>", size.class);
    }
    html.push_str("</figure>");
    Ok(html)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        format!("{value}")
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::linear("x", 0.0, [3.0, 97.0, f64::NAN].into_iter(), plain);
        assert_eq!(axis.ticks.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0.0, 50.0, 100.0]);
        let axis = Axis::log("y", [0.5, 10.0, -1.0].into_iter(), plain);
        let names: Vec<&str> = axis.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0.5", "1", "2", "5", "10"]);
        let axis = Axis::percentiles(0.9995);
        assert_eq!(axis.ticks.len(), 4);
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_to_draw_is_still_a_picture() {
        let none = Axis::linear("x", 0.0, std::iter::empty(), plain);
        let log = Axis::log("y", std::iter::empty(), plain);
        assert!(lines("empty", &none, &log, &[], None).unwrap().contains("<svg"));
    }

    #[test]
    fn a_picture_is_drawn_for_both_screens_with_names_marks_and_words() {
        let line = |series: usize| Line {
            name: format!("line & {series}"),
            points: vec![(0.0, 1.0), (1.0, 10.0)],
            texts: vec!["<first>".to_string(), "second".to_string()],
            series,
            is_joined: true,
        };
        let x = Axis::linear("seconds", 0.0, [1.0].into_iter(), plain);
        let y = Axis::log("ms", [1.0, 10.0].into_iter(), plain);
        let html = lines("a < b", &x, &y, &[line(0), line(1)], Some((5.0, "bound".to_string()))).unwrap();
        assert_eq!(html.matches("<svg ").count(), 2);
        assert!(html.contains("a &lt; b") && html.contains("&lt;first&gt;") && !html.contains("<first>"));
        assert!(html.contains("line &amp; 1") && html.contains("bound"));
        let bar = Bar {
            name: "row".to_string(),
            value: 2.0,
            interval: [1.5, 2.5],
            aim: Some(2.2),
            series: 3,
            text: "2".to_string(),
            shown: "2 x".to_string(),
        };
        let axis = Axis::log("ratio", [0.5, 4.0].into_iter(), plain);
        assert!(bars("ratios", &axis, &[bar], true).unwrap().contains("2 x"));
    }
}
