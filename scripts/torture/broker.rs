//! The broker's process: starts, `kill -9`, stops, what it said, and what it uses. Must never touch: Kafka.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use coretide_client::Connection;

use crate::members::SESSION_MS_MIN;
use crate::world::REQUEST_TIMEOUT;

/// A start that takes longer has failed.
const START_MAX: Duration = Duration::from_secs(60);
/// A stop that takes longer has failed.
const STOP_MAX: Duration = Duration::from_secs(60);

/// What one life of the broker is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--shards`.
    pub shards: u64,
    /// Keys and values.
    pub overrides: Vec<(String, String)>,
}

impl Settings {
    /// Settings under which everything happens often: checks of retention, rolls, short sessions.
    pub fn lively(shards: u64, more: &[(&str, u64)]) -> Settings {
        let fixed = [
            ("log.retention.check.interval.ms", 150),
            ("group.initial.rebalance.delay.ms", 0),
            ("group.min.session.timeout.ms", SESSION_MS_MIN),
            ("offsets.topic.num.partitions", 4),
        ];
        let pair = |(key, value): &(&str, u64)| ((*key).to_string(), value.to_string());
        Settings { shards, overrides: fixed.iter().chain(more).map(pair).collect() }
    }
}

/// Where a broker lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// The program.
    pub binary: PathBuf,
    /// Its data.
    pub data: PathBuf,
    /// What it says, all lives one after the other.
    pub log: PathBuf,
    /// HOST:PORT.
    pub address: String,
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    lines: Receiver<String>,
    started: Instant,
}

/// A port below the range that the system gives to clients: nobody takes it between two lives of the broker.
pub fn free_address(random: u64) -> Result<String, String> {
    for step in 0..1000 {
        let address = format!("127.0.0.1:{}", 15_000 + (random + step * 7) % 15_000);
        if TcpListener::bind(&address).is_ok() {
            return Ok(address);
        }
    }
    Err("no port between 15000 and 30000 is free".to_string())
}

impl Place {
    /// Starts a life of the broker; it is not ready yet.
    pub fn start(&self, settings: &Settings) -> Result<Broker, String> {
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(|error| self.told(error))?;
        writeln!(log, "== {settings:?}").map_err(|error| self.told(error))?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&self.data).args(["--listen", &self.address]);
        command.args(["--shards", &settings.shards.to_string()]);
        for (key, value) in &settings.overrides {
            command.arg("--override").arg(format!("{key}={value}"));
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORETIDE_")) {
            command.env_remove(name);
        }
        let started = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let out = child.stdout.take().ok_or("its output is not piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Broker { child, lines, started })
    }

    fn told(&self, error: std::io::Error) -> String {
        format!("{}: {error}", self.log.display())
    }

    /// The end of what the broker said.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Broker {
    /// Waits until it says that it is ready and answers a request. Returns the time since its start.
    pub fn await_ready(&mut self, place: &Place) -> Result<Duration, String> {
        let until = Instant::now() + START_MAX;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with("ready ") => break,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(format!("it is not ready after {START_MAX:?}")),
                Err(RecvTimeoutError::Disconnected) => {
                    let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(format!("it ended at its start ({how}); it said:\n{}", place.tail()));
                }
            }
        }
        match Connection::open(&place.address, "torture-first", REQUEST_TIMEOUT) {
            Ok(_) => Ok(self.started.elapsed()),
            Err(error) => Err(format!("it says that it is ready, but {error}")),
        }
    }

    /// An error if it has ended although nobody ended it.
    pub fn still_lives(&mut self, place: &Place) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the broker ended by itself ({status}); it said:\n{}", place.tail())),
            Err(error) => Err(format!("the broker's process: {error}")),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| format!("kill -9: {error}"))?;
        self.child.wait().map(|_| ()).map_err(|error| format!("waiting for the killed broker: {error}"))
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_stop(&self) -> Result<(), String> {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill -TERM: {other:?}")),
        }
    }

    /// Waits for the end of a broker that was asked to stop: it must end well.
    pub fn await_stopped(&mut self, place: &Place) -> Result<(), String> {
        let until = Instant::now() + STOP_MAX;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("it stopped with {status}; it said:\n{}", place.tail())),
                Err(error) => return Err(format!("the broker's process: {error}")),
            }
        }
        Err(format!("it did not stop in {STOP_MAX:?}; it said:\n{}", place.tail()))
    }

    /// What it uses now.
    pub fn usage(&self) -> Result<Usage, String> {
        let told = |error: std::io::Error| format!("/proc: {error}");
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(folder.join("status")).map_err(told)?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().split(' ').next()?.parse().ok());
        let resident_kib = resident.ok_or("/proc/PID/status has no VmRSS")?;
        let mut usage = Usage { resident_kib, ..Usage::default() };
        for entry in fs::read_dir(folder.join("fd")).map_err(told)?.flatten() {
            // A handle that was closed meanwhile is none.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            match &*target {
                socket if socket.starts_with("socket:") => usage.sockets += 1,
                file if file.ends_with(" (deleted)") => usage.deleted += 1,
                file if file.starts_with('/') && !file.starts_with("/dev/") => usage.files += 1,
                _ => usage.other += 1,
            }
        }
        Ok(usage)
    }
}

/// What a broker uses at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory.
    pub resident_kib: u64,
    /// Open sockets.
    pub sockets: usize,
    /// Open files that exist.
    pub files: usize,
    /// Open files that were deleted.
    pub deleted: usize,
    /// Other handles: rings, pipes, events.
    pub other: usize,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whatever happened, no broker stays behind; one that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until nobody has the data directory any more: the kernel takes down a killed broker's rings after its end.
pub fn await_released(data: &Path) -> Result<(), String> {
    let Ok(lock) = File::open(data.join(".lock")) else { return Ok(()) };
    lock.lock().map_err(|error| format!("{}: {error}", data.display()))
}
