//! `cargo x instructions`: counts, under callgrind, the instructions that one request costs a shard, and holds them against
//! `benches/instructions.txt`. Counts do not depend on what else the machine does, so a regression shows without timing.
//! Must never touch: what the loads are (`benches/loads.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::NOT_RUN;

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x instructions [--write] [--binary PATH] [LOAD...]
Instructions per request of the pure part (benches/loads.rs), counted by valgrind's callgrind.
  --write                 writes the counts to benches/instructions.txt in place of comparing with it
  --binary PATH           a built benches/loads, say of another commit (builds this one)
  LOAD...                 only these (all)";

/// The table of counts, below the project's folder.
const TABLE: &str = "benches/instructions.txt";
/// A count may grow by so many percent.
const GROWTH_MAX_PERCENT: u64 = 5;
/// What begins a line of callgrind's summary.
const COLLECTED: &str = "Collected : ";

struct Arguments {
    write: bool,
    binary: Option<PathBuf>,
    loads: Vec<String>,
}

/// Runs the counts.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let arguments = parse(arguments)?;
    let root = &crate::root()?;
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err(format!("{NOT_RUN}valgrind is not installed"));
    }
    let table = fs::read_to_string(root.join(TABLE)).map_err(|error| format!("{TABLE}: {error}"))?;
    let known = rows(&table)?;
    if let Some(unknown) = arguments.loads.iter().find(|load| !known.iter().any(|row| row.load == **load)) {
        let names: Vec<&str> = known.iter().map(|row| row.load.as_str()).collect();
        return Err(format!("no load is called {unknown}; there are {}", names.join(", ")));
    }
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => build(root)?,
    };
    let mut counted = Vec::new();
    for row in known.into_iter().filter(|row| arguments.loads.is_empty() || arguments.loads.contains(&row.load)) {
        let now = count(&binary, &row)?;
        let change = now as f64 / row.instructions as f64 * 100.0 - 100.0;
        println!("{:<20} {now:>9} instructions per request, {change:+.1} % of {}", row.load, row.instructions);
        counted.push((row, now));
    }
    if arguments.write {
        return write(&root.join(TABLE), &table, &counted);
    }
    let grown = |(row, now): &&(Row, u64)| *now * 100 > row.instructions * (100 + GROWTH_MAX_PERCENT);
    let grown: Vec<&str> = counted.iter().filter(grown).map(|(row, _)| row.load.as_str()).collect();
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} cost over {GROWTH_MAX_PERCENT} % more than {TABLE} says; where it is worth that, --write, and say so in the commit",
        grown.join(", ")
    ))
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let mut parsed = Arguments { write: false, binary: None, loads: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--write" => parsed.write = true,
            "--binary" => parsed.binary = Some(rest.next().ok_or("--binary needs a path")?.into()),
            flag if flag.starts_with('-') => return Err(format!("{flag} is unknown\n{USAGE}")),
            load => parsed.loads.push(load.to_string()),
        }
    }
    Ok(parsed)
}

/// A line of the table.
struct Row {
    load: String,
    /// The shorter and the longer run: what both do once falls out of the difference.
    requests: (u64, u64),
    instructions: u64,
}

fn rows(table: &str) -> Result<Vec<Row>, String> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| row(line).ok_or_else(|| format!("{TABLE}: not a row: {line}"))).collect()
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace();
    let load = words.next()?.to_string();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (fewer, more, instructions) = (number()?, number()?, number()?);
    (fewer < more && instructions > 0).then_some(Row { load, requests: (fewer, more), instructions })
}

fn build(root: &Path) -> Result<PathBuf, String> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["bench", "--quiet", "--no-run", "--bench", "loads", "--message-format", "json"]).current_dir(root);
    let output = build.output().map_err(|error| format!("{build:?} does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("the loads were not built:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = |message: serde_json::Value| {
        let of_loads = message["target"]["name"] == "loads";
        of_loads.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    messages.filter_map(executable).next_back().ok_or_else(|| "cargo names no executable of the loads".to_string())
}

fn count(binary: &Path, row: &Row) -> Result<u64, String> {
    let (fewer, more) = row.requests;
    Ok((collected(binary, &row.load, more)? - collected(binary, &row.load, fewer)?) / (more - fewer))
}

fn collected(binary: &Path, load: &str, requests: u64) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(binary);
    valgrind.args([load, &requests.to_string()]);
    let output = valgrind.output().map_err(|error| format!("{valgrind:?} does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once(COLLECTED));
    let number = line.and_then(|(_, number)| number.trim().parse().ok());
    number.filter(|_| output.status.success()).ok_or_else(|| format!("{load} was not counted:\n{said}"))
}

/// Replaces the counts in the table's text.
fn write(path: &Path, table: &str, counted: &[(Row, u64)]) -> Result<(), String> {
    let line = |line: &str| {
        let name = line.split_whitespace().next();
        let new = counted.iter().find(|(row, _)| name == Some(row.load.as_str()));
        let (row, now) = new?;
        Some(format!("{:<20} {:>6} {:>6} {now:>9}", row.load, row.requests.0, row.requests.1))
    };
    let text: Vec<String> = table.lines().map(|old| line(old).unwrap_or_else(|| old.to_string())).collect();
    fs::write(path, text.join("\n") + "\n").map_err(|error| format!("{}: {error}", path.display()))
}
