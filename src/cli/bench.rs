//! `coretide bench`: hands over to the bench lab (`perf/lab`) and turns its errors into exit codes.
//! Must never touch: how anything is measured.

use coretide_perf::lab::args::BenchCommand;
use coretide_perf::lab::commands::{self, Context};
use coretide_perf::lab::error::LabError;

use crate::args::Global;
use crate::exit::CliError;

/// Runs a command of the lab.
pub fn run(global: &Global, command: &BenchCommand) -> Result<(), CliError> {
    let typed = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let context = Context { bootstrap: global.bootstrap.clone(), json: global.json, command: typed.collect() };
    commands::run(&context, command).map_err(|error| match error {
        LabError::Usage(text) => CliError::Usage(text),
        LabError::Client(error) => CliError::from(error),
        LabError::Failed(text) => CliError::Io(text),
        invalid @ LabError::Invalid(_) => CliError::Invalid(invalid.to_string()),
        interrupted @ (LabError::Interrupted | LabError::NothingMeasured) => {
            CliError::Incomplete(interrupted.to_string())
        }
        LabError::OutputClosed => CliError::OutputClosed,
    })
}
