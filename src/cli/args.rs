//! The command line's grammar: commands, global flags, and the help that belongs to them.
//! Must never touch: what commands do.

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use coretide_client::{Client, ClientConfig};
use coretide_perf::lab::args::BenchCommand;

use crate::check::CheckArgs;
use crate::config::ConfigCommand;
use crate::consume::ConsumeArgs;
use crate::exit::{self, CliError};
use crate::group::GroupCommand;
use crate::produce::ProduceArgs;
use crate::serve::ServeArgs;
use crate::time::parse_duration;
use crate::topic::TopicCommand;

const EXAMPLES: &str = "\
Examples:
  coretide                                        start a broker on 127.0.0.1:9092, data in ./data
  coretide topic create orders --partitions 3
  echo 'a first record' | coretide produce orders
  coretide consume orders --from beginning --end
  coretide group describe billing --json
  coretide --bootstrap kafka-1:9092 topic list

Without a command the broker is started: 'coretide --listen HOST:PORT' is 'coretide serve --listen HOST:PORT'.";

/// A broker that speaks Apache Kafka's protocol, and a command line for any cluster that does.
#[derive(Debug, Parser)]
#[command(name = "coretide", version)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// Reads arguments, the program's name first. The broker's flags go with the broker only.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse_from(arguments)?;
        if cli.command.is_some() && cli.serve != ServeArgs::default() {
            let text = "the broker's flags (--config, --override, --data, --listen, --shards) stand behind 'serve', or \
                alone without a command";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, text));
        }
        Ok(cli)
    }
}

/// What every command that talks to a cluster takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Brokers to begin with: HOST:PORT, several separated by commas
    #[arg(long, short, global = true, env = "CORETIDE_BOOTSTRAP", default_value = "127.0.0.1:9092")]
    #[arg(value_name = "HOST:PORT", help_heading = "Global options")]
    pub bootstrap: String,
    /// Print JSON: one document per answer, one line per record, errors too
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// How long to wait for a broker, as in 500ms, 10s, 2m
    #[arg(long, global = true, default_value = "30s", value_name = "TIME", help_heading = "Global options")]
    #[arg(value_parser = parse_duration)]
    pub request_timeout: Duration,
}

impl Global {
    /// Connects to the cluster.
    pub fn connect(&self) -> Result<Client, CliError> {
        let mut config = ClientConfig::new(&self.bootstrap);
        config.client_id = "coretide-cli".to_string();
        config.request_timeout = self.request_timeout;
        config.retry_for = self.request_timeout;
        config.connect_timeout = config.connect_timeout.min(self.request_timeout);
        Ok(Client::connect(config)?)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a broker (also what happens without a command)
    Serve(ServeArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Send records from standard input, a file, or the command line
    Produce(ProduceArgs),
    /// Print records: from a place in the log, or as a member of a group
    Consume(ConsumeArgs),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show and change the configuration of topics, brokers and groups
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Verify a data directory that no broker is using
    Check(CheckArgs),
    /// Measure this broker, or any other that speaks Kafka's protocol
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  coretide completions bash > ~/.local/share/bash-completion/completions/coretide"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `name=value` of a flag.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_string(), value.to_string())),
        _ => Err(format!("'{text}' is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_broker_is_meant() {
        let cli = parse("coretide --data /d --listen 0.0.0.0:9000 --shards 2 --override a=b --override c=d=e").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.shards, Some(2));
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(cli.serve.overrides, [pair("a", "b"), pair("c", "d=e")]);
        let Some(Command::Serve(serve)) = parse("coretide serve --listen 0.0.0.0:9000").unwrap().command else {
            panic!("serve was expected");
        };
        assert_eq!(serve.listen.as_deref(), Some("0.0.0.0:9000"));
    }

    #[test]
    fn global_flags_may_stand_anywhere() {
        for line in ["coretide topic list --bootstrap h:1 --json", "coretide --json --bootstrap h:1 topic list"] {
            let cli = parse(line).unwrap();
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.bootstrap, "h:1", "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "coretide topic",
            "coretide --data /d topic list",
            "coretide --data /d serve",
            "coretide topic create",
            "coretide topics list",
            "coretide topic create t --partitions many",
            "coretide serve --override novalue",
            "coretide consume",
            "coretide consume t --from nowhere",
            "coretide consume t --from beginning --offset 5",
            "coretide consume t --request-timeout soon",
            "coretide produce t --acks 7",
            "coretide produce t --compression zip",
            "coretide group reset-offsets g --topic t",
            "coretide completions cmd.exe",
            "coretide check",
            "coretide check a b",
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }

    #[test]
    fn a_mistyped_command_is_answered_with_the_nearest() {
        let error = parse("coretide topc list").unwrap_err().to_string();
        assert!(error.contains("'topic'"), "{error}");
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        fn visit(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            if command.get_subcommands().next().is_none() {
                assert!(help.contains("Example"), "{path} has no example:\n{help}");
            }
            let names: Vec<String> =
                command.get_subcommands().map(|sub| sub.get_name().to_string()).filter(|name| name != "help").collect();
            for name in names {
                let sub = command.find_subcommand_mut(&name).expect("just listed");
                visit(sub, &format!("{path} {name}"));
            }
        }
        let mut command = Cli::command();
        command.build();
        visit(&mut command, "coretide");
    }
}
