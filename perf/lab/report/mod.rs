//! `bench report`: result files become one HTML page that needs nothing else: no network, no script to be read (the few lines
//! there are only tell what is under the pointer), tables beside pictures, every figure with its interval, the durability of
//! each broker in every table and picture, INVALID where a run says so.
//! Must never touch: brokers; it reads result files only.

mod chart;
mod comparison;
mod machine;
mod page;
mod parts;
mod picture;
mod raw;
mod run;
mod sweep;

pub use picture::picture;
pub use raw::markdown;

use crate::lab::result::{Broker, Measured, ResultFile};
use page::{badge, date, escaped};

/// A result with the name of the file it came from.
pub type Named<'a> = (&'a str, &'a ResultFile);

/// The page of all results, one after the other. An error says which picture could not be drawn.
pub fn html(results: &[Named<'_>]) -> Result<String, String> {
    let mut body = String::new();
    for (name, file) in results {
        body.push_str(&one(name, file).map_err(|problem| format!("{name}: {problem}"))?);
    }
    let title = match results {
        [(_, file)] => title(file),
        _ => format!("coretide bench: {} results", results.len()),
    };
    Ok(page::page(&title, &body))
}

fn title(file: &ResultFile) -> String {
    let brokers: Vec<&str> = file.brokers.iter().map(|broker| broker.name.as_str()).collect();
    let what = match &file.measured {
        Measured::Run(run) => format!("{} on {}", run.scenario.name, brokers.join(", ")),
        Measured::Compare(comparison) => {
            let scenario = comparison.rounds.iter().flatten().next().map_or("", |run| run.scenario.name.as_str());
            format!("{scenario}: {}", brokers.join(" and "))
        }
        Measured::Sweep(_) => format!("sweep on {}", brokers.join(", ")),
        Measured::Knee(_) => format!("knee of {}", brokers.join(", ")),
        Measured::Raw(_) => format!("{}, raw frames", brokers.join(" and ")),
    };
    format!("coretide bench: {what}")
}

fn one(name: &str, file: &ResultFile) -> Result<String, String> {
    let mut html = format!("<h1>{}</h1>", escaped(&title(file)));
    html.push_str(&format!(
        "<p class=\"soft\">{}, measured by coretide {}, from {}</p>",
        date(file.started_at_ms),
        escaped(&file.tool_version),
        escaped(name)
    ));
    if !file.complete {
        let why = "it was ended early; what was measured until then is below";
        html.push_str(&format!("<p class=\"banner\">{} {why}</p>", badge("bad", "INCOMPLETE")));
    }
    html.push_str(&format!("<pre>{}</pre>", escaped(&typed(&file.command))));
    html.push_str(&match &file.measured {
        Measured::Run(run) => run::section(file, run)?,
        Measured::Compare(comparison) => comparison::section(file, comparison)?,
        Measured::Sweep(sweep) => sweep::section(file, sweep)?,
        Measured::Knee(knee) => sweep::knee(file, knee)?,
        Measured::Raw(table) => raw::section(table)?,
    });
    html.push_str(&machine::section(file));
    Ok(html)
}

/// A command line that can be typed again.
fn typed(command: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    let quoted = command.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A broker's name with what its acknowledgement is worth.
fn promised(broker: &Broker) -> String {
    format!("{} ({})", broker.name, broker.durability.words())
}

#[cfg(test)]
mod tests;
