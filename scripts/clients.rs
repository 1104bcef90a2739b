//! `cargo x clients`: the clients that people use, unmodified, against the real binary with two shards. Every client plays the
//! scenario of `scripts/clients/README.md` on a broker of its own, which is killed and restarted in the middle.
//! What is missing is named, and is a failure where `CI` is set. Everything installed goes to `target/clients/`.

mod broker;
mod kafka_tools;
pub mod model;
mod play;
mod setup;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::Broker;
use coretide_errands::fetched::Missing;
use coretide_errands::process::{self, Log};

/// How long one client may take with its scenario.
const SCENARIO_MAX: Duration = Duration::from_secs(150);
/// Where the records come from, seen from the project's folder.
const INPUT: &str = "scripts/clients/data/harbour.tsv";

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x clients [--binary PATH] [--bootstrap HOST:PORT] [CLIENT...]
  --binary PATH           the broker to start instead of target/release/coretide
  --bootstrap HOST:PORT   use a broker that runs already (any Kafka); it is not killed
  CLIENT...               only the clients whose names contain one of these";

/// What a client needs, and how its scenario is started once that is there.
struct Client {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    /// Makes ready what the client needs and says how to start its scenario.
    Scenario(fn(&Places) -> Result<setup::Recipe, Missing>),
    /// Kafka's own command line tools; runs last, because it also reads the segments that the others left.
    Tools,
}

const CLIENTS: &[Client] = &[
    Client { name: "java", kind: Kind::Scenario(setup::java_newest) },
    Client { name: "java-3.8", kind: Kind::Scenario(setup::java_older) },
    Client { name: "confluent-kafka-python", kind: Kind::Scenario(setup::confluent_python) },
    Client { name: "kafka-python-2.0.2", kind: Kind::Scenario(setup::kafka_python_old) },
    Client { name: "kafka-python", kind: Kind::Scenario(setup::kafka_python_newest) },
    Client { name: "kafkajs", kind: Kind::Scenario(setup::kafkajs) },
    Client { name: "kafka-go", kind: Kind::Scenario(setup::kafka_go) },
    Client { name: "kcat", kind: Kind::Scenario(setup::kcat) },
    Client { name: "kafka-tools", kind: Kind::Tools },
];

/// The folders of a run.
pub struct Places {
    /// The project's folder.
    root: PathBuf,
    /// Caches, logs and data directories of this suite.
    work: PathBuf,
}

impl Places {
    /// A folder of `scripts/clients/`.
    fn source(&self, name: &str) -> PathBuf {
        self.root.join("scripts/clients").join(name)
    }

    /// The data directory of the broker that `client` talks to.
    fn data(&self, client: &str) -> PathBuf {
        self.work.join("data").join(client)
    }
}

#[derive(Default)]
struct Options {
    binary: Option<PathBuf>,
    bootstrap: Option<String>,
    only: Vec<String>,
}

/// How one client ended.
enum Outcome {
    Passed(String),
    Failed(String),
    NotRun(String),
}

/// Runs the suite.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let options = parse(arguments)?;
    let root = crate::root()?;
    let places = Places { work: root.join("target/clients"), root };
    fs::create_dir_all(places.work.join("logs")).map_err(|error| format!("target/clients: {error}"))?;
    let chosen: Vec<&Client> = CLIENTS.iter().filter(|client| is_chosen(client.name, &options.only)).collect();
    if chosen.is_empty() {
        return Err(format!("no client is called {}\n{USAGE}", options.only.join(", ")));
    }
    let binary = match (&options.bootstrap, &options.binary) {
        (Some(_), _) => PathBuf::new(),
        (None, Some(path)) => path.clone(),
        (None, None) => built_binary(&places)?,
    };
    let mut results = Vec::new();
    for client in chosen {
        let started = Instant::now();
        let outcome = run_client(client, &places, &binary, options.bootstrap.as_deref());
        println!("{}", line(client.name, &outcome, started.elapsed()));
        results.push((client.name, outcome, started.elapsed()));
    }
    summarize(&results, env::var_os("CI").is_some())
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--binary" => options.binary = Some(rest.next().ok_or(USAGE)?.into()),
            "--bootstrap" => options.bootstrap = Some(rest.next().ok_or(USAGE)?.clone()),
            flag if flag.starts_with('-') => return Err(USAGE.to_string()),
            name => options.only.push(name.to_string()),
        }
    }
    Ok(options)
}

fn is_chosen(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
}

fn built_binary(places: &Places) -> Result<PathBuf, String> {
    let binary = places.root.join("target/release/coretide");
    if !binary.exists() {
        println!("building target/release/coretide");
        let log = Log::create(&places.work.join("logs/build.log"))?;
        let mut cargo = std::process::Command::new("cargo");
        cargo.args(["build", "--release"]).current_dir(&places.root);
        process::run(cargo, &log, Duration::from_secs(1800))?;
    }
    Ok(binary)
}

fn run_client(client: &Client, places: &Places, binary: &Path, bootstrap: Option<&str>) -> Outcome {
    let outcome = match client.kind {
        Kind::Scenario(prepare) => prepare(places).and_then(|recipe| {
            let mut broker = open_broker(places, client.name, binary, bootstrap)?;
            Ok(play::play(client.name, &recipe, places, &mut broker)?)
        }),
        Kind::Tools => setup::kafka_tools(places).and_then(|tools| {
            let mut broker = open_broker(places, client.name, binary, bootstrap)?;
            Ok(kafka_tools::run(&tools, places, &mut broker)?)
        }),
    };
    match outcome {
        Ok(what) => Outcome::Passed(what),
        Err(Missing::NotInstalled(what)) => Outcome::NotRun(what),
        Err(Missing::Broken(why)) => Outcome::Failed(why),
    }
}

fn open_broker(places: &Places, client: &str, binary: &Path, bootstrap: Option<&str>) -> Result<Broker, String> {
    match bootstrap {
        Some(address) => Ok(Broker::foreign(address)),
        None => Broker::start(binary, &places.data(client), &places.work.join(format!("logs/{client}.broker.log"))),
    }
}

fn line(name: &str, outcome: &Outcome, took: Duration) -> String {
    let secs = took.as_secs();
    match outcome {
        Outcome::Passed(what) => format!("ok       {name} ({secs} s): {what}"),
        Outcome::Failed(why) => format!("FAILED   {name} ({secs} s): {why}"),
        Outcome::NotRun(why) => format!("missing  {name}: not run: {why}"),
    }
}

fn summarize(results: &[(&str, Outcome, Duration)], in_ci: bool) -> Result<(), String> {
    let (mut passed, mut failed, mut missing) = (0, 0, 0);
    println!("\n== real clients");
    for (name, outcome, took) in results {
        println!("{}", line(name, outcome, *took));
        match outcome {
            Outcome::Passed(_) => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::NotRun(_) if in_ci => failed += 1,
            Outcome::NotRun(_) => missing += 1,
        }
    }
    let not_run = if missing > 0 { format!(", {missing} not run") } else { String::new() };
    println!("{passed} passed, {failed} failed{not_run}");
    if failed == 0 && passed > 0 { Ok(()) } else { Err("not every client passed".to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_client_is_a_failure_in_ci_only() {
        let some = Duration::from_secs(1);
        let missing = || ("b", Outcome::NotRun("go is not installed".to_string()), some);
        let passed = || ("a", Outcome::Passed(String::new()), some);
        assert!(summarize(&[passed(), missing()], false).is_ok());
        assert!(summarize(&[passed(), missing()], true).is_err());
        assert!(summarize(&[missing()], false).is_err(), "a run that ran nothing is no success");
    }

    #[test]
    fn the_input_is_varied_text() {
        let path = crate::root().expect("the project has a folder").join("scripts/clients/data/harbour.tsv");
        let text = fs::read_to_string(path).expect("the input is committed");
        let lines: std::collections::BTreeSet<&str> = text.lines().collect();
        assert!(lines.len() > 4_000, "{} different lines", lines.len());
        assert!(lines.iter().all(|line| line.split('\t').count() == 2));
    }
}
