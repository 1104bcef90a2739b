//! `coretide serve`: the broker.
//! Must never touch: configuration keys (the node knows them).

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use coretide_node::ServeOptions;
use tracing_subscriber::EnvFilter;

use crate::args::parse_pair;
use crate::exit::CliError;

const EXAMPLES: &str = "\
Examples:
  coretide serve
  coretide serve --config server.properties --override log.retention.ms=3600000
  coretide serve --data /var/lib/coretide --listen 0.0.0.0:9092 --shards 4
  CORETIDE_LOG_RETENTION_MS=3600000 coretide serve

Keys and values are Kafka's own; keys of Coretide's begin with 'coretide.'. Where a key is given more than once,
--override wins over the environment (CORETIDE_LOG_RETENTION_MS for log.retention.ms), and that over the file.
RUST_LOG sets what is logged, as in RUST_LOG=debug.";

/// The flags of `serve`.
#[derive(Debug, Default, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// A configuration file in the format of Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a configuration key; may be given often
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub overrides: Vec<(String, String)>,
    /// Where the data lies [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// How many shards to run [default: one per core]
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,
}

/// Runs a broker until it is told to stop.
pub fn run(arguments: &ServeArgs) -> Result<(), CliError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    log.try_init().map_err(|error| CliError::Serve(format!("logging cannot be set up: {error}")))?;
    let options = ServeOptions {
        config_file: arguments.config.clone(),
        overrides: arguments.overrides.clone(),
        data: arguments.data.clone(),
        listen: arguments.listen.clone(),
        shards: arguments.shards,
    };
    coretide_node::serve(options).map_err(|error| CliError::Serve(error.to_string()))
}
