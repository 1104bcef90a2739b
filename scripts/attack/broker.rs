//! The real binary under attack: started on a fresh data directory with small limits, watched from outside.
//! Must never touch: what is sent to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Shards of the attacked broker.
const SHARDS: u64 = 2;
/// `coretide.shard.memory.bytes` of the attacked broker.
const SHARD_MEMORY_BYTES: u64 = 128 << 20;
/// `coretide.shard.cache.bytes`.
const SHARD_CACHE_BYTES: u64 = 32 << 20;
/// How long a start may take; the machine may be busy.
const START_MAX: Duration = Duration::from_secs(400);

/// A running broker, killed when dropped.
pub struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    /// Starts `binary` on an empty `data` directory; its log goes to `log`.
    pub fn start(binary: &Path, data: &Path, log: &Path, overrides: &[&str]) -> Result<Broker, String> {
        let in_words = |what: &Path| {
            let what = what.display().to_string();
            move |error: std::io::Error| format!("{what}: {error}")
        };
        if data.exists() {
            fs::remove_dir_all(data).map_err(in_words(data))?;
        }
        fs::create_dir_all(data).map_err(in_words(data))?;
        let errors = fs::File::create(log).map_err(in_words(log))?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0", "--shards", &SHARDS.to_string()]);
        command.arg("--override").arg(format!("coretide.shard.memory.bytes={SHARD_MEMORY_BYTES}"));
        command.arg("--override").arg(format!("coretide.shard.cache.bytes={SHARD_CACHE_BYTES}"));
        command.args(["--override", "group.initial.rebalance.delay.ms=0"]);
        for one in overrides {
            command.args(["--override", one]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().map_err(in_words(binary))?;
        let stdout = child.stdout.take().ok_or("the broker's output is not there")?;
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Read to the end, whether or not anybody still listens: a full pipe would stop the broker.
                let _ = send.send(line);
            }
        });
        let mut broker = Broker { child, address: String::new() };
        loop {
            match lines.recv_timeout(START_MAX) {
                Ok(line) => {
                    if let Some(at) = line.split("ready ").nth(1) {
                        broker.address = at.split_whitespace().next().unwrap_or_default().to_string();
                        return Ok(broker);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err("the broker was not ready in time".to_string()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the broker ended at its start, see {}", log.display()));
                }
            }
        }
    }

    /// HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// An error when the process is gone.
    pub fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("THE BROKER DIED: {status}")),
            Err(error) => Err(format!("the broker cannot be looked at: {error}")),
        }
    }

    /// Resident bytes now, and the most since the start.
    pub fn resident_bytes(&self) -> Result<(u64, u64), String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).ok_or(format!("{path} has no {name}"))
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// What the broker may have resident by its own settings.
    pub fn limit_bytes() -> u64 {
        SHARDS * SHARD_MEMORY_BYTES
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be gone already, which the checks before have told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
