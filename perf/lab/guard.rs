//! A broker's process that never outlives the bench: a small shell stands between, starts it, and kills it and removes its
//! data when the bench ends in whatever way: returns, panics, gets Ctrl-C or is killed.
//! Must not know which broker it is.

use crate::lab::process;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Starts what stands behind the first two arguments (log file, folder to remove at the end), says its process id, and
/// waits for its own input to end, which the kernel sees to when the bench is gone. The process is the shell's own child,
/// so its id cannot mean another one. Signals of a terminal go to the bench's group, of which the shell is no part.
const GUARD: &str = r#"
log=$1; folder=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 &
echo $!
cat >/dev/null
kill -KILL $! 2>/dev/null
wait $! 2>/dev/null
[ -z "$folder" ] || rm -rf -- "$folder"
"#;
/// How many of a log's last lines an error shows.
const TAIL_LINES: usize = 12;

/// A running process, ended and cleaned up when dropped.
#[derive(Debug)]
pub struct Guarded {
    shell: Child,
    /// Its end is the signal to clean up.
    leash: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
}

/// What to start.
pub struct Started<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables on top of the bench's own.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working folder.
    pub folder: &'a Path,
    /// Takes stdout and stderr.
    pub log: &'a Path,
    /// A folder that is removed when all is over.
    pub remove: Option<&'a Path>,
}

impl Guarded {
    /// Starts it. An error: there is no shell, or a path cannot be made absolute.
    pub fn start(what: Started<'_>) -> Result<Guarded, String> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()));
        let log = absolute(what.log)?;
        let remove = what.remove.map(absolute).transpose()?.unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARD, "sh"]).arg(&log).arg(&remove).arg(what.program).args(&what.arguments);
        shell.envs(what.environment).current_dir(what.folder).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell =
            shell.spawn().map_err(|e| format!("sh, which guards a broker's process, does not start: {e}"))?;
        let leash = shell.stdin.take();
        let said = shell.stdout.take().map(BufReader::new).and_then(|mut out| {
            let mut line = String::new();
            out.read_line(&mut line).ok().and_then(|_| line.trim().parse().ok())
        });
        let mut guarded = Guarded { shell, leash, pid: 0, log };
        guarded.pid = said.ok_or_else(|| format!("{} was not started", what.program.display()))?;
        Ok(guarded)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// True until it has ended.
    pub fn is_running(&self) -> bool {
        // The shell reaps it only at the end, so an ended process is still listed, as a zombie.
        process::is_running(self.pid)
    }

    /// The last lines that it said, with where the rest is.
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }

    /// Ends it and waits until its folder is gone.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.leash = None;
        // There is nothing left to do about a shell that cannot be waited for.
        let _ = self.shell.wait();
    }
}

/// The last lines of a log for an error message.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    // Where Java was when it threw says nothing to whoever started it.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("\tat ")).collect();
    let shown = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    | ");
    format!("the end of {}:\n    | {shown}", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn sleeper(name: &str) -> (PathBuf, Guarded) {
        let folder = std::env::temp_dir().join(format!("coretide-guard-{name}-{}", std::process::id()));
        let data = folder.join("data");
        fs::create_dir_all(&data).unwrap();
        let guarded = Guarded::start(Started {
            program: Path::new("sleep"),
            arguments: vec!["600".into()],
            environment: Vec::new(),
            folder: &folder,
            log: &folder.join("log"),
            remove: Some(&data),
        });
        (folder, guarded.unwrap())
    }

    fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !holds() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    #[test]
    fn what_was_started_ends_with_its_guard_and_its_folder_is_removed() {
        let (folder, guarded) = sleeper("drop");
        let process = PathBuf::from(format!("/proc/{}", guarded.pid()));
        assert!(guarded.is_running() && folder.join("data").exists());
        guarded.stop();
        assert!(!process.exists() && !folder.join("data").exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_process_that_ends_by_itself_is_noticed() {
        let (folder, guarded) = sleeper("ends");
        assert!(Command::new("kill").args(["-KILL", &guarded.pid().to_string()]).status().unwrap().success());
        assert!(within(Duration::from_secs(60), || !guarded.is_running()));
        drop(guarded);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_was_started_ends_also_when_the_bench_is_killed() {
        // A stand-in for the bench: it starts the same guard, and is killed without a chance to clean up.
        let folder = std::env::temp_dir().join(format!("coretide-guard-killed-{}", std::process::id()));
        fs::create_dir_all(folder.join("data")).unwrap();
        let mut bench = Command::new("sh")
            .args(["-c", r#"mkfifo fifo; setsid sh -c "$1" sh log data sleep 600 <fifo >pid & exec 3>fifo; sleep 600"#])
            .args(["sh", GUARD])
            .current_dir(&folder)
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = || fs::read_to_string(folder.join("pid")).ok().and_then(|text| text.trim().parse::<u32>().ok());
        assert!(within(Duration::from_secs(60), || pid().is_some()));
        let pid = pid().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        let group = format!("-{}", bench.id());
        assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
        bench.wait().unwrap();
        assert!(within(Duration::from_secs(60), || !Path::new(&format!("/proc/{pid}")).exists()));
        assert!(within(Duration::from_secs(60), || !folder.join("data").exists()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
