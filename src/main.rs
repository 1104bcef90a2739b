//! The one binary: everything is in `coretide-cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    coretide_cli::main()
}
