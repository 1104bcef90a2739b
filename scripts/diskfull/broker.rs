//! The broker as a process: started, stopped, killed, and refused a start.
//! Must never touch: what it holds.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How to run it.
pub struct Place {
    pub binary: PathBuf,
    pub data: PathBuf,
    pub log: PathBuf,
    pub overrides: Vec<String>,
}

/// A running broker; killed when dropped.
pub struct Broker {
    child: Child,
    address: SocketAddr,
}

impl Place {
    /// Everything it has said so far, in all its lives.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Broker, String> {
        let said_before = self.said().len();
        let address = free_address()?;
        let mut child = self.spawn(address)?;
        let ready = format!("ready {address}");
        let began = Instant::now();
        while !self.said()[said_before..].contains(&ready) {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("the broker ended at its start ({status}): {}", &self.said()[said_before..]));
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                return Err(format!("the broker does not get ready: {}", &self.said()[said_before..]));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(Broker { child, address })
    }

    /// Starts it where it must refuse: what it says, and how it ends.
    pub fn start_in_vain(&self) -> Result<(String, ExitStatus), String> {
        let said_before = self.said().len();
        let mut broker = Broker { child: self.spawn(free_address()?)?, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let status = broker.wait()?;
        Ok((self.said()[said_before..].to_string(), status))
    }

    fn spawn(&self, address: SocketAddr) -> Result<Child, String> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.log);
        let log = || open().map_err(|error| format!("{}: {error}", self.log.display()));
        let (out, err): (File, File) = (log()?, log()?);
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&self.data).args(["--listen", &address.to_string(), "--shards", "2"]);
        self.overrides.iter().for_each(|one| {
            command.args(["--override", one]);
        });
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        command.spawn().map_err(|error| format!("{}: {error}", self.binary.display()))
    }
}

impl Broker {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| error.to_string())?;
        self.wait().map(|_| ())
    }

    /// SIGTERM; it must leave with exit code 0.
    pub fn stop(mut self) -> Result<(), String> {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        sent.map_err(|error| format!("kill: {error}"))?;
        let status = self.wait()?;
        if status.code() == Some(0) { Ok(()) } else { Err(format!("the stop ended with {status}")) }
    }

    fn wait(&mut self) -> Result<ExitStatus, String> {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if began.elapsed() > PATIENCE => return Err("the broker does not end".to_string()),
                Ok(None) => thread::sleep(LOOK_EVERY),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map_err(|error| format!("no free port: {error}"))
}

/// The folder of the project: of the checkout that cargo runs this for, which may have been moved or copied since it was built.
pub fn project() -> Result<PathBuf, String> {
    let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|dir| dir.ends_with("scripts/diskfull"));
    let here = run.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(|| "the project's folder is gone".to_string())
}
