//! `cargo x report`: pages of the bench in a real headless browser, on a phone and on a wide screen, light and dark: no error on
//! the console, no request to anywhere, nothing wider than the screen, no text cut off, and the pointer is answered.
//! Must never touch: what is on a page.

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use browser::Browser;

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x report [--probe] [--out DIR] [PAGE.html...]
Opens pages in a headless Chromium (installed from the distribution's packages where it is missing and that is possible).
  --probe                 only find out whether there is a browser, or whether it can be installed
  --out DIR               where the screenshots go (target/report)
  PAGE.html...            pages of 'coretide bench report'; without one: made-up results of every kind";

/// Width and height of a screen, and how pages are to look on it.
const SCREENS: [(u32, u32, &str); 4] =
    [(390, 844, "light"), (390, 844, "dark"), (1600, 1000, "light"), (1600, 1000, "dark")];
/// How much of a page a screenshot shows.
const SHOT_HEIGHT_MAX: f64 = 9_000.0;

/// What is measured of a page: its width, what sticks out of it, text that its picture cuts off, and how the pointer is answered.
const PROBE: &str = r"(() => {
  const width = document.documentElement.clientWidth;
  const name = (element) => element.tagName + '.' + (element.getAttribute('class') || '') + ' ' + (element.textContent || '').trim().slice(0, 40);
  const out = [...document.querySelectorAll('body *')].filter((element) => {
    if (element.closest('.scroll') && !element.matches('.scroll')) return false;
    if (element.closest('svg') && element.tagName !== 'svg') return false;
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > width + 1 || box.left < -1);
  }).map(name);
  const cut = [...document.querySelectorAll('svg text')].filter((text) => {
    const frame = text.ownerSVGElement.getBoundingClientRect(), box = text.getBoundingClientRect();
    return frame.width > 0 && (box.left < frame.left - 2 || box.top < frame.top - 3 || box.right > frame.right + 2 || box.bottom > frame.bottom + 3);
  }).map((text) => text.textContent.trim());
  const shown = [...document.querySelectorAll('.chart')].filter((chart) => chart.offsetWidth > 0);
  const told = document.getElementById('told');
  let silent = 0, small = [];
  for (const chart of shown) {
    const svg = chart.querySelector('svg'), box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const size = 13 * scale;
    if (size < 10.5) small.push(size);
    const spots = JSON.parse(chart.dataset.spots);
    if (!spots.length) continue;
    chart.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + spots[0][0] * scale, clientY: box.top + spots[0][1] * scale }));
    if (told.hidden || !told.textContent) silent += 1;
    chart.dispatchEvent(new PointerEvent('pointerleave'));
  }
  return { width, scroll: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight,
    charts: shown.length, tables: document.querySelectorAll('table').length, out, cut, silent, small,
    paper: getComputedStyle(document.body).backgroundColor };
})()";

/// Looks at the pages.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let root = &crate::root()?;
    let mut out = root.join("target/report");
    let mut pages = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--probe" => return browser::find().map(|_| ()),
            "--out" => out = rest.next().ok_or(USAGE)?.into(),
            flag if flag.starts_with('-') => return Err(USAGE.to_string()),
            page => pages.push(PathBuf::from(page)),
        }
    }
    let program = browser::find()?;
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    if pages.is_empty() {
        pages = made_up(root, &out)?;
    }
    let mut browser = Browser::start(&program, &out)?;
    let mut problems = Vec::new();
    for page in &pages {
        for screen in SCREENS {
            problems.extend(look(&mut browser, page, screen, &out)?);
        }
    }
    println!("{} pages on {} screens, screenshots in {}", pages.len(), SCREENS.len(), out.display());
    if problems.is_empty() { Ok(()) } else { Err(format!("{} problem(s):\n{}", problems.len(), problems.join("\n"))) }
}

/// The pages that the report's own tests make.
fn made_up(root: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = std::path::absolute(out.join("pages")).map_err(|e| e.to_string())?;
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut test = Command::new(env!("CARGO"));
    test.args(["test", "--quiet", "--package", "coretide-perf", "--lib", "lab::report::tests"]).current_dir(root);
    let status =
        test.env("CORETIDE_REPORT_PAGES", &folder).status().map_err(|e| format!("cargo does not start: {e}"))?;
    if !status.success() {
        return Err("the tests of the report fail".to_string());
    }
    let listed = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut pages: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "html"));
    pages.sort();
    if pages.is_empty() { Err("the tests of the report wrote no page".to_string()) } else { Ok(pages) }
}

/// Opens a page on a screen; what is wrong with it.
fn look(
    browser: &mut Browser,
    page: &Path,
    (width, height, scheme): (u32, u32, &str),
    out: &Path,
) -> Result<Vec<String>, String> {
    let path = page.canonicalize().map_err(|e| format!("{}: {e}", page.display()))?;
    let name = format!("{}-{width}-{scheme}", path.file_stem().unwrap_or_default().to_string_lossy());
    let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700});
    browser.call("Emulation.setDeviceMetricsOverride", metrics)?;
    let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    browser.call("Emulation.setEmulatedMedia", features)?;
    browser.open(&format!("file://{}", path.display()))?;
    let answer = browser.call("Runtime.evaluate", json!({"expression": PROBE, "returnByValue": true}))?;
    let seen = &answer["result"]["value"];
    let shot_height = seen["height"].as_f64().unwrap_or(f64::from(height)).min(SHOT_HEIGHT_MAX);
    browser.screenshot(f64::from(width), shot_height, &out.join(format!("{name}.png")))?;
    let mut problems: Vec<String> = wrong_with(seen, scheme);
    problems.extend(browser.take_complaints());
    Ok(problems.into_iter().map(|problem| format!("{name}: {problem}")).collect())
}

/// What a probe's answer says against a page.
fn wrong_with(seen: &Value, scheme: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let (Some(width), Some(scroll)) = (seen["width"].as_f64(), seen["scroll"].as_f64()) else {
        return vec![format!("the probe failed: {seen}")];
    };
    if scroll > width {
        problems.push(format!("it is {scroll} px wide on a screen of {width}"));
    }
    for (what, key) in [("sticks out", "out"), ("is cut off", "cut"), ("text is too small to read, px", "small")] {
        for one in seen[key].as_array().into_iter().flatten().take(5) {
            problems.push(format!("{what}: {one}"));
        }
    }
    if seen["silent"] != 0 {
        problems.push(format!("{} pictures do not answer the pointer", seen["silent"]));
    }
    if seen["charts"] == 0 || seen["tables"] == 0 {
        problems.push("there is no picture, or no table".to_string());
    }
    let is_dark = seen["paper"].as_str().is_some_and(|paper| !paper.contains("255, 255, 255"));
    if is_dark != (scheme == "dark") {
        problems.push(format!("the paper is {} where the screen is {scheme}", seen["paper"]));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_can_be_wrong_is_told() {
        let fine = json!({"width": 390, "scroll": 390, "out": [], "cut": [], "small": [], "silent": 0, "charts": 2,
            "tables": 3, "paper": "rgb(255, 255, 255)"});
        assert_eq!(wrong_with(&fine, "light"), Vec::<String>::new());
        for (key, value) in [
            ("scroll", json!(391)),
            ("out", json!(["TABLE"])),
            ("cut", json!(["p99"])),
            ("small", json!([7.1])),
            ("silent", json!(1)),
            ("charts", json!(0)),
            ("paper", json!("rgb(20, 23, 27)")),
            ("width", Value::Null),
        ] {
            let mut wrong = fine.clone();
            wrong[key] = value;
            assert_eq!(wrong_with(&wrong, "light").len(), 1, "{key}");
        }
    }
}
