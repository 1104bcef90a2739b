//! The broker under test: the real binary as a process of its own. Must never touch: the disk below it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a start may take before it counts as failed. Sized for machines that stand still for minutes, not for brokers.
const START_MAX: Duration = Duration::from_secs(400);
/// How long the end after SIGTERM may take.
const STOP_MAX: Duration = Duration::from_secs(400);

/// Kills brokers on data directories below `root`, whoever started them.
pub fn kill_below(root: &Path) {
    let data = format!("--data\0{}/", root.display());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_string_lossy().into_owned();
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if process.parse::<u32>().is_ok() && String::from_utf8_lossy(&command).contains(&data) {
            // Gone by now is fine.
            let _ = Command::new("kill").args(["-KILL", &process]).stderr(Stdio::null()).status();
        }
    }
}

/// How brokers are started here.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// Where it writes what it has to say; appended to.
    pub log: PathBuf,
    /// `KEY=VALUE` for `--override`.
    pub overrides: Vec<String>,
}

/// A process that was started.
pub struct Starting {
    child: Child,
    lines: Receiver<String>,
    began: Instant,
}

/// A broker that said it is ready.
pub struct Broker {
    child: Child,
    /// `HOST:PORT`.
    pub address: String,
    /// How long it took from the start of the process.
    pub took: Duration,
}

impl Setup {
    /// Starts the binary on a data directory.
    pub fn spawn(&self, data: &Path) -> Result<Starting, String> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0", "--shards", "2"]);
        self.overrides.iter().for_each(|pair| {
            command.args(["--override", pair]);
        });
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORETIDE_")) {
            command.env_remove(name);
        }
        let began = Instant::now();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut child = spawned.map_err(|error| format!("{} does not start: {error}", self.binary.display()))?;
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Starting { child, lines, began })
    }

    /// Starts the binary and waits until it is ready.
    pub fn start(&self, data: &Path) -> Result<Broker, String> {
        self.spawn(data)?.ready().map_err(|error| format!("{error}; it said: {}", self.last_words()))
    }

    /// All that brokers said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of it.
    pub fn last_words(&self) -> String {
        let text = self.said();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Starting {
    /// Waits until it says so.
    pub fn ready(mut self) -> Result<Broker, String> {
        loop {
            let left = START_MAX.saturating_sub(self.began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("ready ") {
                        let address = address.split(' ').next().unwrap_or(address).to_string();
                        return Ok(Broker { child: self.child, address, took: self.began.elapsed() });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    end(&mut self.child);
                    return Err(format!("the broker was not ready after {} s", START_MAX.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().map_err(|error| error.to_string())?;
                    return Err(format!("the broker ended at its start ({status})"));
                }
            }
        }
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(mut self) {
        end(&mut self.child);
    }
}

impl Broker {
    /// `kill -9`, and waits for the end.
    pub fn kill(mut self) {
        end(&mut self.child);
    }

    /// SIGTERM, and waits for the end; true if it left with exit code 0.
    pub fn stop(mut self) -> Result<bool, String> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        if !sent.is_ok_and(|status| status.success()) {
            return Err("SIGTERM could not be sent".to_string());
        }
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status.success()),
                Ok(None) if began.elapsed() < STOP_MAX => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => return Err(format!("the broker did not stop in {} s", STOP_MAX.as_secs())),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// One that has ended already is fine.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
