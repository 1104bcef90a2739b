//! The IO shell: it gathers the configuration, holds the data directory, boots, and runs one hot thread per shard.
//!
//! ```text
//!   serve ─► config ─► data_dir (lock, identity) ─► probe ─► bind ─► recover ─► one thread per shard ─► listen
//!
//!   hot thread (shell):  turn ─► completions ─► Event ─┐
//!        ▲                       mail, jobs, control ──┼─► Shard::handle … ─► Shard::end_of_tick ─► Output ─┐
//!        └───────────── operations: send · write · job · mail ◄─────────────────────────────────────────────┘
//! ```
//!
//! Invariants: a shard is touched by its own thread only; one clock reading and one system call per turn, and one before it for writes to files; nothing listens
//! before every shard is ready; nothing ends before every shard has stopped, unless asked twice.
//! Must never touch: decisions about Kafka. If a branch here is about a request, it is misplaced.

mod check;
mod config;
mod data_dir;
mod error;
mod files;
mod hot_jobs;
mod refusals;
mod seating;
mod serve;
mod shell;
mod start_lines;

use std::path::PathBuf;

pub use check::{CheckRefused, check};
pub use coretide_log::store::{CheckConfig, CheckProgress, CheckReport, Finding, LogSeen, Severity, ShardSeen};
pub use data_dir::FORMAT_VERSION;
pub use error::ServeError;
pub use serve::serve;

/// What the command line says about `serve`. Everything else comes from the configuration.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// A file in the format of Kafka's `server.properties`.
    pub config_file: Option<PathBuf>,
    /// Keys and values that win over file and environment.
    pub overrides: Vec<(String, String)>,
    /// Where the data lies.
    pub data: Option<PathBuf>,
    /// `HOST:PORT` to listen on.
    pub listen: Option<String>,
    /// How many shards to run; 0: one per core.
    pub shards: Option<u16>,
}
