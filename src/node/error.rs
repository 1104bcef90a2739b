//! Why the broker did not start or had to end, each as one message that says what to do.
//! Must never touch: printing.

use std::io;
use std::path::PathBuf;

use coretide_reactor::error::SetupError;

/// Why [`crate::serve`] ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    ConfigFile { path: PathBuf, error: io::Error },
    /// The configuration file is no properties file.
    #[error("{path}: {reason}")]
    ConfigSyntax { path: PathBuf, reason: String },
    /// Keys or values are refused; one line for each.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {reason}")]
    DataDir { path: PathBuf, reason: String },
    /// Another broker holds the data directory.
    #[error("another broker is using the data directory {path}; stop it, or choose another with --data")]
    DataDirLocked { path: PathBuf },
    /// A listener cannot be opened.
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: String, reason: String },
    /// The kernel refuses something that is needed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// What is on the disk cannot be recovered.
    #[error("cannot start from the data in {path}: {reason}")]
    Recovery { path: PathBuf, reason: String },
    /// A shard's thread ended though nobody asked it to.
    #[error("shard {shard} ended unexpectedly: {reason}")]
    ShardDied { shard: u16, reason: String },
}
