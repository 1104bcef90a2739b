//! Scenario files: TOML into a [`Scenario`], and mistakes with their line, their key, and what would be right.
//! Must never touch: brokers.

use crate::lab::check::{Problem, problems};
use crate::lab::error::LabError;
use crate::lab::scenario::Scenario;
use std::path::Path;

/// The scenarios that come with the program, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("omb-100-topics", include_str!("../scenarios/omb-100-topics.toml")),
    ("omb-latency", include_str!("../scenarios/omb-latency.toml")),
    ("omb-max-rate", include_str!("../scenarios/omb-max-rate.toml")),
    ("omb-throughput", include_str!("../scenarios/omb-throughput.toml")),
    ("kreps-2014-one-producer", include_str!("../scenarios/kreps-2014-one-producer.toml")),
    ("kreps-2014-three-producers", include_str!("../scenarios/kreps-2014-three-producers.toml")),
    ("kreps-2014-end-to-end", include_str!("../scenarios/kreps-2014-end-to-end.toml")),
    ("many-small-batches", include_str!("../scenarios/many-small-batches.toml")),
    ("catch-up", include_str!("../scenarios/catch-up.toml")),
    ("fan-out", include_str!("../scenarios/fan-out.toml")),
    ("idle", include_str!("../scenarios/idle.toml")),
];

/// The file of a shipped scenario.
pub fn shipped(name: &str) -> Result<&'static str, LabError> {
    let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    found.map(|(_, text)| *text).ok_or_else(|| {
        LabError::Usage(format!("no scenario that comes with the program is called {name}; there are {}", names()))
    })
}

fn names() -> String {
    SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<&str>>().join(", ")
}

/// A scenario by its file's path or a shipped one's name.
pub fn load(name: &str) -> Result<Scenario, LabError> {
    if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return parse(text, name).map_err(LabError::Usage);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).map_err(|error| {
        LabError::Usage(format!("{name}: {error}; the scenarios that need no file are {}", names()))
    })?;
    parse(&text, name).map_err(LabError::Usage)
}

/// Reads a scenario; the error names file, line and key of every mistake.
pub fn parse(text: &str, file: &str) -> Result<Scenario, String> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
        let hint = dotted_hint(error.message());
        let within = if shown.is_empty() { String::new() } else { format!("\n  in: {shown}") };
        format!("{file}, line {line}: {}{hint}{within}", error.message())
    })?;
    let found = problems(&scenario);
    if found.is_empty() {
        return Ok(scenario);
    }
    let lines: Vec<String> = found
        .iter()
        .map(|problem| match line_of(text, problem) {
            Some(line) => format!("{file}, line {line}: {problem}"),
            None => format!("{file}: {problem}"),
        })
        .collect();
    Err(lines.join("\n"))
}

/// In TOML a bare `batch.size` is a table: that is the commonest mistake.
fn dotted_hint(message: &str) -> &'static str {
    if message.contains("unknown field") && message.contains("`batch.size`") || message.contains("`fetch.min.bytes`") {
        " (names with dots stand in quotes: \"linger.ms\" = 5)"
    } else {
        ""
    }
}

/// The line in which a key of a table is set.
fn line_of(text: &str, problem: &Problem) -> Option<usize> {
    let mut table = String::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.trim().to_string();
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim().trim_matches('"');
            let within = format!("{}.{}", problem.table, problem.key);
            // `[record] keys.kind = …` and `[record.keys] kind = …` are both the key `keys` of `record`.
            let own = table == problem.table && (key == problem.key || key.starts_with(&format!("{}.", problem.key)));
            if own || table == within {
                return Some(place + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::scenario::{Acks, KeyKind, Rate};

    #[test]
    fn every_shipped_scenario_is_sane_and_says_what_it_shows() {
        for (name, text) in SHIPPED {
            let scenario = parse(text, name).unwrap();
            assert_eq!(scenario.name, *name);
            assert!(scenario.description.len() > 30, "{name}: {}", scenario.description);
        }
    }

    #[test]
    fn no_shipped_file_is_forgotten() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn a_file_says_only_what_is_special() {
        let text = "name = \"x\"\n[producers]\nrate = { steps = [{ secs = 1, rate = 5.0 }] }\n[producers.client]\n\
            \"linger.ms\" = 7\nacks = 1\n\"enable.idempotence\" = false\n[record]\nkeys.kind = \"zipf\"\n";
        let scenario = parse(text, "f").unwrap();
        assert_eq!((scenario.producers.client.linger_ms, scenario.producers.client.acks), (7, Acks::Leader));
        assert_eq!(scenario.record.keys.kind, KeyKind::Zipf);
        assert!(matches!(scenario.producers.rate, Rate::Steps { .. }));
    }

    #[test]
    fn mistakes_have_line_key_and_what_would_be_right() {
        let refused = |text: &str| parse(text, "f.toml").unwrap_err();
        let says = |text: &str, words: &[&str]| {
            let refused = refused(text);
            for word in words {
                assert!(refused.contains(word), "{word} in: {refused}");
            }
        };
        says("name = \"x\"\n\nsecs = \"long\"\n", &["f.toml, line 3", "expected f64", "secs = \"long\""]);
        says("name = \"x\"\n[producers]\nrates = 1\n", &["line 3", "`rates`", "`rate`"]);
        says("name = \"x\"\n[producers]\nrate = \"fast\"\n", &["line 3", "a rate is \"max\""]);
        says("name = \"x\"\n[producers.client]\n\"compression.type\" = \"zip\"\n", &["line 3", "`gzip`, `snappy`"]);
        says("name = \"x\"\n[producers.client]\nbatch.size = 1\n", &["line 3", "stand in quotes"]);
        says("name = \"x\"\n[producers.client]\nacks = 2\n", &["line 3", "\"all\""]);
        says("name = \"x\"\n[topic]\npartitions = 0\n", &["f.toml, line 3: topic.partitions", "at least 1"]);
        says(
            "name = \"x\"\nsecs = 0\n[record.payload]\ncompressibility = 2.0\n",
            &["line 2: secs", "line 4: record.payload"],
        );
        says("name = \"x\n", &["line 1"]);
        assert_eq!(refused(""), "f.toml, line 1: missing field `name`");
        let unknown = shipped("perf/scenarios/idle.toml").unwrap_err().to_string();
        assert!(unknown.contains("is called perf/scenarios/idle.toml; there are omb-100-topics, "), "{unknown}");
        assert!(shipped("idle").unwrap().starts_with("name = \"idle\""));
    }
}
