//! The commands `coretide bench versus` and `coretide bench report`: what they are told, and pages written from results.
//! Must never touch: how anything is measured or drawn.

use crate::lab::commands::{Context, can_be_written, stop_on_signals};
use crate::lab::error::LabError;
use crate::lab::report;
use crate::lab::result::{self, Measured, ResultFile};
use crate::lab::versus;
use clap::Args;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Shown below `bench versus --help`.
pub const VERSUS_EXAMPLES: &str = "\
Examples:
  # Apache Kafka, by Maven, one KRaft node; about 50 minutes
  coretide bench versus kafka
  coretide bench versus kafka --secs 2 --pairs 3 --warmup-secs 10 --row '1 KiB'
  coretide bench versus kafka --profile fsync --data /mnt/fast/bench
  KAFKA_HOME=/opt/kafka coretide bench versus kafka
  coretide bench versus 'redpanda-1:9092' --pid 4711

Both brokers run side by side on this machine and are measured by turns, with
raw frames, and with Java's and librdkafka's clients where they can be
installed. The durability of each side is named in every row; 'versus kafka'
compares Kafka as it comes (page cache) with ours durable and with ours under
Kafka's flush settings, and Kafka with flush.messages=1 with ours durable. What
it starts it ends, also on Ctrl-C; its folders are removed. It says how long it
will take before it starts.";
/// Shown below `bench report --help`.
pub const REPORT_EXAMPLES: &str = "\
Examples:
  coretide bench report compare.json --out compare.html
  coretide bench report monday.json tuesday.json --out both.html";

/// What `versus` is told.
#[derive(Args, Clone, Debug)]
#[command(after_help = VERSUS_EXAMPLES)]
pub struct VersusArgs {
    #[command(flatten)]
    pub versus: versus::Options,
    /// The page, written anew with every row; the result itself is in --out
    #[arg(long, default_value = "versus.html", value_name = "FILE")]
    pub html: PathBuf,
}

/// What `report` is told.
#[derive(Args, Clone, Debug)]
#[command(after_help = REPORT_EXAMPLES)]
pub struct ReportArgs {
    /// Result files of bench commands
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The page: one HTML file that needs no network
    #[arg(long, default_value = "report.html", value_name = "FILE")]
    pub out: PathBuf,
    /// Draw the ratios of a `bench versus` result as one picture (SVG), too; of the first file
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
}

/// Measures, and keeps result and page after each row.
pub fn versus(context: &Context, args: &VersusArgs) -> Result<(), LabError> {
    can_be_written(&args.html)?;
    let stop = stop_on_signals()?;
    let name = args.versus.out.display().to_string();
    let mut last = None;
    let ended = versus::run(&args.versus, &context.command, &stop, &mut |file| {
        write_page(&args.html, &[(&name, file)])?;
        last = Some(file.clone());
        Ok(())
    });
    if let Some(ResultFile { measured: Measured::Raw(table), .. }) = &last {
        let kept = format!("{}\nresult: {name}\npage: {}\n", report::markdown(table), args.html.display());
        print(if context.json { &name } else { &kept })?;
    }
    match ended {
        Ok(()) => Ok(()),
        Err(_) if stop.load(Ordering::Relaxed) => Err(LabError::Interrupted),
        Err(problem) => Err(problem),
    }
}

/// Makes a page of result files.
pub fn report(args: &ReportArgs) -> Result<(), LabError> {
    let mut results = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|e| LabError::Usage(format!("{name}: {e}")))?;
        let file = result::read(&text).map_err(|problem| LabError::Usage(format!("{name}: {problem}")))?;
        results.push((name, file));
    }
    let named: Vec<report::Named<'_>> = results.iter().map(|(name, file)| (name.as_str(), file)).collect();
    let picture = match (&args.picture, named.first()) {
        (Some(path), Some((name, file))) => {
            let svg =
                report::picture(file).map_err(|problem| LabError::Usage(format!("--picture: {name}: {problem}")))?;
            Some((path, svg))
        }
        _ => None,
    };
    write_page(&args.out, &named).map_err(LabError::Failed)?;
    print(&format!("{}\n", args.out.display()))?;
    if let Some((path, svg)) = picture {
        fs::write(path, svg).map_err(|e| LabError::Failed(format!("{}: {e}", path.display())))?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

fn write_page(path: &Path, results: &[report::Named<'_>]) -> Result<(), String> {
    let html = report::html(results)?;
    fs::write(path, html).map_err(|e| format!("{}: {e}", path.display()))
}

fn print(text: &str) -> Result<(), LabError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| LabError::output(&error))
}
