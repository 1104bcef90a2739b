//! `coretide check`: verifies a data directory that no broker is using, and draws what it found.
//! Must never touch: what is verified and how.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use coretide_node::{CheckConfig, CheckProgress, CheckReport, Finding, LogSeen, Severity};
use serde_json::{Value, json};

use crate::args::Global;
use crate::exit::CliError;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  coretide check /var/lib/coretide
  coretide check ./data --repair
  coretide check ./data --json | jq '.findings[] | select(.severity == \"loss\")'

Verified are the boot files, both checkpoints and the journal of every shard, every batch of every segment (checksum,
records, offsets without a gap), and the index files against the batches. What can be made again from verified bytes
(index files, the file that names a folder's owner) is written anew with --repair, without loss. For the rest the answer
says what it takes. A broker does not start with a hole in its journal: without a copy of the file, --cut-journal gives up
the records behind the hole, and says which partitions they were of. Without these flags nothing is ever written.

Exit codes:
  0  everything is whole, or was repaired
  1  damage was found
  2  wrong usage, a broker is using the directory, or it cannot be read";

/// How often the progress line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// The flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Write anew what can be made again without loss
    #[arg(long)]
    pub repair: bool,
    /// Have a damaged journal end at the damage, so that the broker starts: loses what was acknowledged behind it
    #[arg(long)]
    pub cut_journal: bool,
}

/// Checks a directory.
pub fn run(global: &Global, arguments: &CheckArgs) -> Result<(), CliError> {
    let mut line = ProgressLine::new(!global.json && std::io::stderr().is_terminal());
    let config = CheckConfig { repair: arguments.repair, cut_journal: arguments.cut_journal };
    let report = coretide_node::check(&arguments.dir, config, &mut |progress| line.draw(progress));
    line.clear();
    let report = report.map_err(|refused| CliError::Usage(refused.to_string()))?;
    output::print(global.json, || document(&report), || text(&report))?;
    match report.is_whole() {
        true => Ok(()),
        false => Err(CliError::Damaged(format!("{} is damaged: {}", arguments.dir.display(), counts(&report)))),
    }
}

/// One line on standard error that is drawn over and over.
struct ProgressLine {
    shown: bool,
    drawn: Option<Instant>,
}

impl ProgressLine {
    fn new(shown: bool) -> ProgressLine {
        ProgressLine { shown, drawn: None }
    }

    fn draw(&mut self, progress: &CheckProgress) {
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < DRAW_EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        let found = if progress.damaged > 0 { format!(", {} damaged", progress.damaged) } else { String::new() };
        let read = format!("{} of {}", size(progress.read_bytes), size(progress.known_bytes.max(progress.read_bytes)));
        // A terminal that is gone needs no progress.
        let _ = write!(std::io::stderr(), "\r\x1b[2Kchecking {} ({read}{found})", progress.path);
    }

    fn clear(&self) {
        if self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Mendable => "mendable",
        Severity::Loss => "loss",
    }
}

fn document(report: &CheckReport) -> Value {
    let shard = |shard: &coretide_node::ShardSeen| json!({"shard": shard.shard, "stopped_cleanly": shard.clean, "commits_to_replay": shard.commits});
    let log = |log: &LogSeen| {
        json!({
            "log": log.dir, "start_offset": log.start_offset, "end_offset": log.end_offset, "segments": log.segments,
            "bytes": log.bytes, "batches": log.batches, "records": log.records, "unreadable_offsets": log.lost_offsets,
        })
    };
    let finding = |finding: &Finding| {
        json!({
            "severity": severity_name(finding.severity), "path": finding.path, "position": finding.at,
            "what": finding.what, "remedy": finding.remedy, "repaired": finding.repaired,
        })
    };
    json!({
        "whole": report.is_whole(),
        "generation": report.generation,
        "shards": report.shards.iter().map(shard).collect::<Vec<_>>(),
        "logs": report.logs.iter().map(log).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "bytes_read": report.bytes_read,
    })
}

fn text(report: &CheckReport) -> String {
    let damaged = |log: &LogSeen| {
        let inside = format!("{}/", log.dir);
        let mut about = report.findings.iter().filter(|finding| finding.path.starts_with(&inside));
        about.any(|finding| finding.severity != Severity::Note && !finding.repaired)
    };
    let (mut rows, mut empty) = (Vec::new(), 0);
    for log in &report.logs {
        let is_damaged = damaged(log);
        if log.bytes == 0 && !is_damaged {
            empty += 1;
            continue;
        }
        rows.push(vec![
            log.dir.clone(),
            format!("{}..{}", log.start_offset, log.end_offset),
            log.records.to_string(),
            log.batches.to_string(),
            log.segments.to_string(),
            size(log.bytes),
            if is_damaged { "DAMAGED".to_string() } else { "whole".to_string() },
        ]);
    }
    let mut text = String::new();
    if !rows.is_empty() {
        text = output::table(&["LOG", "OFFSETS", "RECORDS", "BATCHES", "SEGMENTS", "SIZE", "STATE"], &rows);
        text.push('\n');
    }
    for finding in &report.findings {
        let place = finding.at.map_or(String::new(), |at| format!(" at position {at}"));
        let severity = if finding.repaired { "repaired" } else { severity_name(finding.severity) };
        text += &format!("{severity}: {}{place}\n  {}\n", finding.path, finding.what);
        if !finding.repaired {
            text += &format!("  -> {}\n", finding.remedy);
        }
    }
    if !report.findings.is_empty() {
        text.push('\n');
    }
    let stops = match report.shards.iter().filter(|shard| !shard.clean).count() {
        0 => "stopped cleanly".to_string(),
        _ => format!("not stopped cleanly, {} commits to replay", report.shards.iter().map(|s| s.commits).sum::<u64>()),
    };
    text += &format!(
        "generation {}, {} shards, {stops}; {} logs ({empty} empty), {} read: {}\n",
        report.generation,
        report.shards.len(),
        report.logs.len(),
        size(report.bytes_read),
        if report.is_whole() { "whole".to_string() } else { counts(report) }
    );
    text
}

/// How many findings of which kind are left.
fn counts(report: &CheckReport) -> String {
    let count =
        |severity| report.findings.iter().filter(|finding| finding.severity == severity && !finding.repaired).count();
    let lost: u64 = report.logs.iter().map(|log| log.lost_offsets).sum();
    format!("with loss: {} ({lost} offsets unreadable), mendable: {}", count(Severity::Loss), count(Severity::Mendable))
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = None;
    let mut value = bytes as f64;
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(name);
    }
    match unit {
        Some(unit) => format!("{value:.1} {unit}"),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(0), size(1023), size(1536), size(5 << 40)], ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]);
    }

    #[test]
    fn findings_are_drawn_with_place_and_remedy_and_repaired_ones_without() {
        let finding = |severity, repaired| Finding {
            severity,
            path: "t-0/00000000000000000000.log".to_string(),
            at: Some(4096),
            what: "its checksum is wrong".to_string(),
            remedy: "restore it".to_string(),
            repaired,
        };
        let log = LogSeen {
            dir: "t-0".to_string(),
            start_offset: 0,
            end_offset: 10,
            segments: 1,
            bytes: 5000,
            batches: 9,
            records: 9,
            lost_offsets: 1,
        };
        let mut report = CheckReport { logs: vec![log], ..CheckReport::default() };
        report.findings = vec![finding(Severity::Loss, false)];
        let drawn = text(&report);
        assert!(drawn.contains("DAMAGED") && drawn.contains("at position 4096") && drawn.contains("-> restore it"));
        assert!(drawn.contains("with loss: 1 (1 offsets unreadable), mendable: 0"), "{drawn}");
        report.findings = vec![finding(Severity::Mendable, true), finding(Severity::Note, false)];
        let drawn = text(&report);
        assert!(report.is_whole() && !drawn.contains("DAMAGED") && drawn.contains("repaired: t-0/"), "{drawn}");
    }
}
