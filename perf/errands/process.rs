//! Child processes with a time limit and a log. Must not know what they are run for.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How many of a log's last lines an error shows.
const TAIL_LINES: usize = 12;
/// How often a process without output is asked whether it has ended.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// A file that takes the output of processes.
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// An empty log at `path`.
    pub fn create(path: &Path) -> Result<Log, String> {
        File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Log { path: path.to_path_buf() })
    }

    /// A handle that appends.
    pub fn appender(&self) -> Result<File, String> {
        let opened = File::options().append(true).open(&self.path);
        opened.map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// The whole text so far.
    pub fn text(&self) -> String {
        fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines, indented, with where to find the rest; for error messages.
    pub fn tail(&self) -> String {
        let text = self.text();
        // Where Java was when it threw says nothing to whoever started it.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("\tat ")).collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        let mut shown = format!("see {}", self.path.display());
        for line in &lines[from..] {
            shown.push_str("\n    | ");
            shown.push_str(line);
        }
        shown
    }
}

/// Runs a command to its end with its output in `log`. An error: it failed, could not be started or took too long.
pub fn run(command: Command, log: &Log, limit: Duration) -> Result<(), String> {
    run_unless(command, log, limit, &|| false)
}

/// As [`run`], ended early once `give_up` says so, which is an error.
pub fn run_unless(mut command: Command, log: &Log, limit: Duration, give_up: &dyn Fn() -> bool) -> Result<(), String> {
    to_the_end(&mut command, Stdio::null(), log, limit, give_up)
}

/// As [`run`], with something to read from.
pub fn run_with_input(command: &mut Command, input: Stdio, log: &Log, limit: Duration) -> Result<(), String> {
    to_the_end(command, input, log, limit, &|| false)
}

fn to_the_end(
    command: &mut Command,
    input: Stdio,
    log: &Log,
    limit: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<(), String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    command.stdin(input).stdout(log.appender()?).stderr(log.appender()?).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("{shown} could not be started: {error}"))?;
    match wait_unless(&mut child, limit, give_up) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{shown} failed; {}", log.tail())),
        None => {
            kill_group(&mut child);
            if give_up() {
                return Err(format!("{shown} was ended early"));
            }
            Err(format!("{shown} took longer than {} s; {}", limit.as_secs(), log.tail()))
        }
    }
}

/// Waits for the end of a process; whether it ended well, `None` when it had not ended in time.
pub fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    wait_unless(child, limit, &|| false)
}

fn wait_unless(child: &mut Child, limit: Duration, give_up: &dyn Fn() -> bool) -> Option<bool> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if started.elapsed() >= limit || give_up() => return None,
            Ok(None) => thread::sleep(ASK_EVERY),
            Err(_) => return Some(false),
        }
    }
}

/// Sends `signal` (a name such as `TERM`) to a process, or with a leading `-` in `target` to its group.
pub fn signal(signal: &str, target: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {target}")]).stderr(Stdio::null()).status();
}

/// Kills a process that was started in its own group, and all that it started.
fn kill_group(child: &mut Child) {
    signal("KILL", &format!("-{}", child.id()));
    let _ = child.wait();
}

/// A process that talks in lines. Killed with all that it started when dropped.
pub struct Talker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Talker {
    /// Starts a command whose stdout is read line by line and whose stderr goes to `log`; stdout's lines go there, too.
    pub fn start(mut command: Command, log: &Log, limit: Duration) -> Result<Talker, String> {
        let shown = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.appender()?).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("{shown} could not be started: {error}"))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut copy = log.appender()?;
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let _ = copy.write_all(&bytes);
                if to.send(String::from_utf8_lossy(&bytes).trim_end().to_string()).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        Ok(Talker { stdin: child.stdin.take(), child, lines, deadline: Instant::now() + limit })
    }

    /// The next line; `None` at the end of its output. An error: the time is over.
    pub fn next_line(&mut self) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err("took too long".to_string()),
        }
    }

    /// Says one line to the process.
    pub fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        }
    }

    /// Waits for its end; whether it ended well.
    pub fn ended_well(&mut self) -> bool {
        self.stdin = None;
        wait(&mut self.child, self.deadline.saturating_duration_since(Instant::now())) == Some(true)
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_wants_any_more_is_ended() {
        let path = std::env::temp_dir().join(format!("coretide-errands-given-up-{}", std::process::id()));
        let log = Log::create(&path).expect("a log");
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let ended = run_unless(sleep, &log, Duration::from_secs(600), &|| true);
        assert_eq!(ended, Err("sleep was ended early".to_string()));
        fs::remove_file(&path).expect("the log is removed");
    }
}
