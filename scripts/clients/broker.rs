//! The broker that a client talks to: started on a fresh data directory and a free port, killed, restarted, stopped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use coretide_errands::process::{self, Log};

/// How long a broker may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a broker may take to stop after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often the port is tried while the broker starts.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// A running broker; ours are killed when dropped.
pub struct Broker {
    bootstrap: String,
    own: Option<Own>,
}

struct Own {
    binary: PathBuf,
    data: PathBuf,
    log: Log,
    child: Option<Child>,
}

impl Broker {
    /// A broker that somebody else runs; it cannot be killed.
    pub fn foreign(bootstrap: &str) -> Broker {
        Broker { bootstrap: bootstrap.to_string(), own: None }
    }

    /// Starts `binary` with two shards on an empty data directory and a free port, and waits for the port.
    pub fn start(binary: &Path, data: &Path, log: &Path) -> Result<Broker, String> {
        if data.exists() {
            fs::remove_dir_all(data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        fs::create_dir_all(data).map_err(|error| format!("{}: {error}", data.display()))?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let bootstrap = free.map_err(|error| format!("no free port: {error}"))?.to_string();
        let own = Own { binary: binary.to_path_buf(), data: data.to_path_buf(), log: Log::create(log)?, child: None };
        let mut broker = Broker { bootstrap, own: Some(own) };
        broker.launch()?;
        Ok(broker)
    }

    /// `HOST:PORT` to connect to.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The data directory, where it is ours.
    pub fn data(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.data.as_path())
    }

    /// `kill -9` and a restart on the same directory and port. Returns how long the port was closed after the kill, `None`
    /// for a broker that is not ours.
    pub fn kill_and_restart(&mut self) -> Result<Option<Duration>, String> {
        let Some(own) = &mut self.own else { return Ok(None) };
        if let Some(mut child) = own.child.take() {
            child.kill().map_err(|error| format!("the broker could not be killed: {error}"))?;
            let _ = child.wait();
        }
        let started = Instant::now();
        self.launch()?;
        Ok(Some(started.elapsed()))
    }

    /// SIGTERM, and the broker must leave with exit code 0.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let Some(mut child) = own.child.take() else { return Ok(()) };
        if matches!(child.try_wait(), Ok(Some(_))) {
            return Err(format!("the broker was gone before it was stopped; {}", own.log.tail()));
        }
        process::signal("TERM", &child.id().to_string());
        match process::wait(&mut child, STOP_MAX) {
            Some(true) => Ok(()),
            Some(false) => Err(format!("the broker failed while it was stopping; {}", own.log.tail())),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the broker did not stop in {} s; {}", STOP_MAX.as_secs(), own.log.tail()))
            }
        }
    }

    fn launch(&mut self) -> Result<(), String> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let mut command = Command::new(&own.binary);
        command.arg("serve").arg("--data").arg(&own.data).args(["--listen", &self.bootstrap, "--shards", "2"]);
        // kcat makes topics only by asking for them, and must get three partitions, too.
        command.args(["--override", "num.partitions=3"]);
        command.stdin(Stdio::null()).stdout(own.log.appender()?).stderr(own.log.appender()?);
        let said_before = own.log.text().len();
        let spawned = command.spawn();
        let child =
            own.child.insert(spawned.map_err(|error| format!("{} did not start: {error}", own.binary.display()))?);
        let ready = format!("ready {}", self.bootstrap);
        let started = Instant::now();
        // Its own word, then the port: a killed broker's port may take connections for a moment after its end.
        while !own.log.text()[said_before..].contains(&ready) || TcpStream::connect(&self.bootstrap).is_err() {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return Err(format!("the broker ended at its start; {}", own.log.tail()));
            }
            if started.elapsed() > START_MAX {
                return Err(format!("the broker opened no port in {} s; {}", START_MAX.as_secs(), own.log.tail()));
            }
            thread::sleep(TRY_EVERY);
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = self.own.as_mut().and_then(|own| own.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
