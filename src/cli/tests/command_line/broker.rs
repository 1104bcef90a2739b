//! Runs the binary: once for a command, or as a broker until the test is over.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_coretide");
/// How long a broker may take to be ready, and a command to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its standard output, if it succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Its standard output as one JSON document.
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Its standard error, if it ended with this code.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }
}

/// Runs a command with arguments separated by spaces ('_' stands for a space inside one).
pub fn run(bootstrap: &str, line: &str, input: &str) -> Ended {
    let arguments = line.split_whitespace().map(|argument| argument.replace('_', " "));
    let mut command = Command::new(BINARY);
    command.args(arguments).env("CORETIDE_BOOTSTRAP", bootstrap).env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_string();
    let writer = std::thread::spawn(move || {
        // A command that ends before it has read everything closes the pipe.
        let _ = stdin.write_all(input.as_bytes());
    });
    let (sender, ended) = mpsc::channel();
    let id = child.id();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        panic!("'{line}' did not end within {PATIENCE:?}");
    };
    let output = output.expect("a child's output");
    writer.join().expect("the writer does not panic");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A broker of our own, or another one that was named.
pub struct Broker {
    pub bootstrap: String,
    child: Option<Child>,
}

impl Broker {
    /// Starts one on a free port with its data in `data`, and waits until it says that it is ready.
    pub fn start(data: &Path) -> Broker {
        if let Ok(bootstrap) = std::env::var("CORETIDE_TEST_BOOTSTRAP") {
            return Broker { bootstrap, child: None };
        }
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--data"]).arg(data);
        command.args(["--override", "group.initial.rebalance.delay.ms=0"]);
        command.env_remove("CORETIDE_BOOTSTRAP").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(addresses) = line.strip_prefix("ready ") {
                    let _ = sender.send(addresses.to_string());
                }
            }
        });
        let ready = ready.recv_timeout(PATIENCE);
        let bootstrap = ready.unwrap_or_else(|error| {
            let _ = child.kill();
            panic!("the broker is not ready: {error}");
        });
        Broker { bootstrap, child: Some(child) }
    }

    /// True when it is our own.
    pub fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.end("-9");
    }

    /// Asks it to stop, and returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.end("-15")
    }

    fn end(&mut self, signal: &str) -> Option<i32> {
        let mut child = self.child.take()?;
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                return status.code();
            }
            if Instant::now() > until {
                let _ = child.kill();
                panic!("the broker did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a command against it.
    pub fn run(&self, line: &str) -> Ended {
        run(&self.bootstrap, line, "")
    }

    /// Runs a command against it with something on its standard input.
    pub fn feed(&self, line: &str, input: &str) -> Ended {
        run(&self.bootstrap, line, input)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A name that no other test and no earlier run has used.
pub fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
