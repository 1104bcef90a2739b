//! Apache Kafka beside us: fetched from Maven Central or taken from `KAFKA_HOME`, one KRaft node with the flags of its own
//! start script, gone without a trace when the bench ends.
//! Must not know what is measured with it.

mod config;

pub use config::{Ports, server_properties};

use crate::admin::api_versions;
use crate::bench::INTERRUPTED;
use crate::lab::guard::{Guarded, Started};
use coretide_errands::fetched::{self, Missing};
use coretide_errands::maven::Jars;
use coretide_errands::process::{self, Log};
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is started where nobody says otherwise: the newest that is whole on Maven Central.
pub const VERSION: &str = "4.3.1";
/// How long Kafka may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long formatting its storage may take.
const FORMAT_WITHIN: Duration = Duration::from_secs(120);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What its start script gives the JVM: heap, collector, management.
const JVM_FLAGS: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
    "-Dcom.sun.management.jmxremote",
    "-Dcom.sun.management.jmxremote.authenticate=false",
    "-Dcom.sun.management.jmxremote.ssl=false",
];

/// Where Kafka's programs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Install {
    /// A distribution that somebody unpacked: its own scripts are used.
    Home(PathBuf),
    /// Jars, as a class path.
    Jars {
        /// The version they are of.
        version: String,
        /// Where they lie.
        class_path: OsString,
    },
}

/// Kafka's programs: from the folder `home` if there is one, else by Maven into `cache` (once for each version). Errors: Java
/// or Maven is missing, there is no network, no such version, or `home` is no distribution.
pub fn install(home: Option<PathBuf>, version: &str, cache: &Path, stop: &AtomicBool) -> Result<Install, String> {
    if let Some(home) = home.as_ref().filter(|home| !home.join("bin/kafka-server-start.sh").is_file()) {
        return Err(format!("KAFKA_HOME is {}, which has no bin/kafka-server-start.sh", home.display()));
    }
    let pom_text = config::pom(version)?;
    fetched::need("java", &["-version"], "java is not installed: Apache Kafka needs it (17 or newer)")
        .map_err(Missing::into_message)?;
    if let Some(home) = home {
        return Ok(Install::Home(home));
    }
    let folder = cache.join(format!("kafka-{version}"));
    let pom = folder.join("pom.xml");
    let log = folder.join("mvn.log");
    write(&pom, &pom_text)?;
    let give_up = || stop.load(Ordering::Relaxed);
    let jars = Jars { pom: &pom, home: &folder, repository: None, properties: &[], log: &log, give_up: &give_up };
    if !folder.join("fetched").exists() {
        eprintln!("fetching Apache Kafka {version} from Maven Central into {}", folder.display());
    }
    match jars.fetch() {
        Ok(class_path) => Ok(Install::Jars { version: version.to_string(), class_path }),
        Err(_) if give_up() => Err(INTERRUPTED.to_string()),
        Err(Missing::NotInstalled(what)) => {
            Err(format!("{what}: it fetches Apache Kafka; set KAFKA_HOME to an unpacked distribution to do without"))
        }
        Err(Missing::Broken(why)) => {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let why = why_not_fetched(&said).map_or(why, |short| format!("{short}; see {}", log.display()));
            Err(format!("Apache Kafka {version} could not be fetched: {why}"))
        }
    }
}

/// What Maven's many lines come to, where that is known.
fn why_not_fetched(said: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["Could not find artifact", "was not found in"]) {
        Some("Maven Central has no such version")
    } else if says(&["Unknown host", "Connection refused", "timed out", "Name or service not known", "name resolution"])
    {
        Some("Maven Central cannot be reached")
    } else {
        None
    }
}

/// Where fetched programs are kept: `$XDG_CACHE_HOME/coretide` or `~/.cache/coretide`.
pub fn cache_folder() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("coretide")).ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set".to_string())
}

impl Install {
    /// What to call it in tables.
    pub fn name(&self) -> String {
        match self {
            Install::Home(home) => format!("Apache Kafka from {}", home.display()),
            Install::Jars { version, .. } => format!("Apache Kafka {version}"),
        }
    }

    /// How to run a class of it, or the script that does.
    pub fn command(&self, script: &str, class: &str, flags: &[OsString]) -> (PathBuf, Vec<OsString>) {
        match self {
            Install::Home(home) => (home.join("bin").join(script), Vec::new()),
            Install::Jars { class_path, .. } => {
                let mut arguments = flags.to_vec();
                arguments.extend(["-cp".into(), class_path.clone(), class.into()]);
                (PathBuf::from("java"), arguments)
            }
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Kafka {
    process: Guarded,
    /// Where it is reached.
    pub address: String,
    /// Its whole `server.properties`.
    pub config: String,
    /// How it was started: program and flags, without the class path.
    pub command: String,
}

impl Kafka {
    /// Formats `folder` and starts a node on it; `folder` is removed when the node is dropped or the bench ends. `extra`:
    /// lines on top of its `server.properties`; `stop`: somebody wants
    /// an early end. Errors say what Kafka said.
    pub fn start(install: &Install, folder: &Path, extra: &[String], stop: &AtomicBool) -> Result<Kafka, String> {
        let ports = Ports { broker: free_port()?, controller: free_port()? };
        let folder = std::path::absolute(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let properties = folder.join("server.properties");
        let config = server_properties(ports, &folder.join("data"), extra);
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
        write(&properties, &config)?;
        let log = folder.with_extension("log");
        format_storage(install, &properties, &logs, &log, stop)?;
        let mut flags: Vec<OsString> = JVM_FLAGS.iter().map(OsString::from).collect();
        flags.push(
            format!("-Xlog:gc*:file={}/kafkaServer-gc.log:time,tags:filecount=10,filesize=100M", logs.display()).into(),
        );
        if let Install::Jars { .. } = install {
            flags.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".into());
        }
        let (program, mut arguments) = install.command("kafka-server-start.sh", "kafka.Kafka", &flags);
        arguments.push(properties.into());
        let process = Guarded::start(Started {
            program: &program,
            arguments,
            environment: vec![("LOG_DIR".into(), logs.into())],
            folder: &folder,
            log: &log,
            remove: Some(&folder),
        })?;
        let command = match install {
            Install::Home(home) => format!("{}/bin/kafka-server-start.sh server.properties", home.display()),
            Install::Jars { .. } => {
                let flags: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
                format!("java {} kafka.Kafka server.properties", flags.join(" "))
            }
        };
        let kafka = Kafka { process, address: format!("127.0.0.1:{}", ports.broker), config, command };
        wait_until_ready(&kafka.process, &kafka.address, &install.name(), stop)?;
        Ok(kafka)
    }

    /// Its process's id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process.
    pub fn process(&self) -> &Guarded {
        &self.process
    }
}

fn format_storage(
    install: &Install,
    properties: &Path,
    logs: &Path,
    log: &Path,
    stop: &AtomicBool,
) -> Result<(), String> {
    let (program, arguments) = install.command("kafka-storage.sh", "kafka.tools.StorageTool", &["-Xmx256M".into()]);
    let mut command = Command::new(program);
    command.args(arguments).args(["format", "--standalone", "-t", config::CLUSTER_ID, "-c"]).arg(properties);
    command.env("LOG_DIR", logs);
    process::run_unless(command, &Log::create(log)?, FORMAT_WITHIN, &|| stop.load(Ordering::Relaxed))
        .map_err(|why| format!("{}: its storage was not formatted: {why}", install.name()))
}

/// Waits until the broker at `address` answers; an error if it ends before, takes too long, or
/// somebody wants an early end.
pub fn wait_until_ready(process: &Guarded, address: &str, name: &str, stop: &AtomicBool) -> Result<(), String> {
    let started = Instant::now();
    while api_versions(address).is_err() {
        if stop.load(Ordering::Relaxed) {
            return Err(INTERRUPTED.to_string());
        }
        if !process.is_running() {
            return Err(format!("{name} ended at once; {}", process.last_words()));
        }
        if started.elapsed() > READY_WITHIN {
            return Err(format!("{name} does not answer after {} s; {}", READY_WITHIN.as_secs(), process.last_words()));
        }
        thread::sleep(ASK_AGAIN_AFTER);
    }
    Ok(())
}

/// A port that nobody listens on right now.
pub fn free_port() -> Result<u16, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_is_no_distribution_is_named() {
        let stop = AtomicBool::new(false);
        let refused = install(Some("/nowhere".into()), VERSION, Path::new("/nowhere"), &stop).unwrap_err();
        assert_eq!(refused, "KAFKA_HOME is /nowhere, which has no bin/kafka-server-start.sh");
        let refused = install(None, "newest!", Path::new("/nowhere"), &stop).unwrap_err();
        assert_eq!(refused, "'newest!' is no version of Kafka; as in 4.3.1");
    }

    #[test]
    fn mavens_many_lines_come_to_one() {
        let none =
            "[ERROR] dependency: org.apache.kafka:kafka_2.13:jar:9.9.9\n[ERROR]   Could not find artifact org.apache";
        assert_eq!(why_not_fetched(none), Some("Maven Central has no such version"));
        assert_eq!(why_not_fetched("repo.maven.apache.org: Unknown host"), Some("Maven Central cannot be reached"));
        assert_eq!(why_not_fetched("[ERROR] something else"), None);
    }

    #[test]
    fn jars_are_run_by_class_and_distributions_by_script() {
        let home = Install::Home("/opt/kafka".into());
        let (program, arguments) = home.command("a.sh", "a.Main", &["-Xmx1M".into()]);
        assert_eq!((program, arguments.len()), (PathBuf::from("/opt/kafka/bin/a.sh"), 0));
        let jars = Install::Jars { version: "9".into(), class_path: "x/*".into() };
        let (program, arguments) = jars.command("a.sh", "a.Main", &["-Xmx1M".into()]);
        assert_eq!(program, PathBuf::from("java"));
        assert_eq!(arguments, ["-Xmx1M", "-cp", "x/*", "a.Main"].map(OsString::from));
    }
}
