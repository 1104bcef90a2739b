//! Why a command of the lab ended without a result.
//! Must never touch: how errors are printed.

use coretide_client::ClientError;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The command line or a scenario makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A broker could not be reached or refused.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Something on this machine failed: a file, a socket, a thread.
    #[error("{0}")]
    Failed(String),
    /// It was measured, but what came out may not be believed; the text says why.
    #[error("INVALID: {0}")]
    Invalid(String),
    /// It was ended by a signal; what was measured until then was kept.
    #[error("ended early by a signal; what was measured until then is in the result")]
    Interrupted,
    /// It was ended by a signal before there was anything to keep.
    #[error("ended early by a signal, before anything was measured")]
    NothingMeasured,
    /// Nobody reads our output any more.
    #[error("the output was closed")]
    OutputClosed,
}

impl LabError {
    /// What a failed write to standard output means.
    pub fn output(error: &std::io::Error) -> LabError {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => LabError::OutputClosed,
            _ => LabError::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}
