//! `cargo x mutants`: bugs that the simulator and the tests must find. Each is a patch in `scripts/mutants/`, applied to a
//! copy of the project in `target/mutants/`; its second line says what must fail. A bug that nothing finds, or a patch that
//! does not fit the code any more, fails the chore. `--tool` runs cargo-mutants over the rooms that keep the promise: it
//! changes every function in turn. Must never touch: the project's own files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x mutants [--seeds N] [NAME...]
       cargo x mutants --tool [--room ROOM] [--shard K/N] [--list]
  --seeds N               seeds in which the simulator must find a bug (500)
  NAME...                 only the bugs whose names contain one of these
  --tool                  run cargo-mutants (installed if it is not there); what it leaves out stands in .cargo/mutants.toml
  --room ROOM             only partition, coordinator, session or log
  --shard K/N             only the K-th of N parts (0/N to N-1/N): all of it takes days
  --list                  only count what there is to change";

/// The version of cargo-mutants that is installed where there is none.
const CARGO_MUTANTS: &str = "27.1.0";
/// How long the tests may take with a change before it counts as found: they hang.
const TOOL_TIMEOUT_S: &str = "180";

/// What the tool changes, and whose tests must notice.
struct Room {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room { name: "partition", package: "coretide-partition", files: &["src/partition/**/*.rs"] },
    Room { name: "coordinator", package: "coretide-coordinator", files: &["src/coordinator/**/*.rs"] },
    Room { name: "session", package: "coretide-shard", files: &["src/shard/session/**/*.rs"] },
    Room { name: "log", package: "coretide-log", files: &["src/log/**/*.rs"] },
];

/// How long a run may take before it counts as found: it hangs.
const RUN_MAX: Duration = Duration::from_secs(900);

/// What must find a bug.
enum Finder {
    /// Seeds of this kind.
    Sim(&'static str),
    /// Tests of a package whose names contain this.
    Test { package: String, filter: String },
}

struct Mutant {
    name: String,
    about: String,
    finder: Finder,
    patch: PathBuf,
}

/// Applies one bug after the other and looks whether it is found.
pub fn run(arguments: &[String]) -> Result<(), String> {
    if arguments.first().is_some_and(|first| first == "--tool") {
        return run_tool(&arguments[1..]);
    }
    let (seeds, only) = parse(arguments)?;
    let root = &crate::root()?;
    let chosen: Vec<Mutant> = mutants(root)?
        .into_iter()
        .filter(|mutant| only.is_empty() || only.iter().any(|part| mutant.name.contains(part.as_str())))
        .collect();
    if chosen.is_empty() {
        return Err(format!("no bug is called {}", only.join(", ")));
    }
    let copy = root.join("target/mutants/copy");
    let mut survivors = Vec::new();
    for mutant in &chosen {
        let began = Instant::now();
        copy_project(root, &copy)?;
        let (found, verdict) = match look(mutant, &copy, seeds) {
            Ok(Some(by)) => (true, by),
            Ok(None) => (false, "NOT FOUND".to_string()),
            Err(problem) => (false, format!("NOT RUN: {problem}")),
        };
        println!("{:<34} {:>4} s  {verdict}\n    {}", mutant.name, began.elapsed().as_secs(), mutant.about);
        if !found {
            survivors.push(mutant.name.as_str());
        }
    }
    println!("{} bugs, {} found", chosen.len(), chosen.len() - survivors.len());
    if survivors.is_empty() { Ok(()) } else { Err(format!("not found: {}", survivors.join(", "))) }
}

fn parse(arguments: &[String]) -> Result<(u64, Vec<String>), String> {
    let (mut seeds, mut only) = (500, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seeds" => seeds = rest.next().and_then(|count| count.parse().ok()).ok_or(USAGE)?,
            flag if flag.starts_with('-') => return Err(USAGE.to_string()),
            name => only.push(name.to_string()),
        }
    }
    Ok((seeds, only))
}

fn mutants(root: &Path) -> Result<Vec<Mutant>, String> {
    let dir = root.join("scripts/mutants");
    let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let patch = entry.map_err(|error| error.to_string())?.path();
        let text = fs::read_to_string(&patch).map_err(|error| format!("{}: {error}", patch.display()))?;
        let mut lines = text.lines();
        let (about, by) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let finder = finder(by).ok_or_else(|| format!("{}: '{by}' does not say what finds it", patch.display()))?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push(Mutant { name, about: about.to_string(), finder, patch });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn finder(line: &str) -> Option<Finder> {
    let mut words = line.strip_prefix("found by: ")?.split_whitespace();
    match (words.next()?, words.next()?, words.next()) {
        ("sim", "--solo", None) => Some(Finder::Sim("--solo")),
        ("sim", "--whole", None) => Some(Finder::Sim("--whole")),
        ("test", package, filter) => {
            Some(Finder::Test { package: package.to_string(), filter: filter.unwrap_or("").to_string() })
        }
        _ => None,
    }
}

/// What found the bug, in words; none when nothing did.
fn look(mutant: &Mutant, copy: &Path, seeds: u64) -> Result<Option<String>, String> {
    let mut apply = Command::new("git");
    // Without this git would take the copy for a part of the project that it lies in.
    apply.args(["apply", "--whitespace=nowarn"]).arg(&mutant.patch).current_dir(copy);
    apply.env("GIT_CEILING_DIRECTORIES", copy.parent().unwrap_or(copy));
    let applied = apply.output().map_err(|error| format!("git does not start: {error}"))?;
    if !applied.status.success() {
        return Err(format!("{} does not fit: {}", mutant.name, String::from_utf8_lossy(&applied.stderr)));
    }
    let count = seeds.to_string();
    let (package, selection, arguments): (&str, &[&str], Vec<&str>) = match &mutant.finder {
        Finder::Sim(kind) => ("coretide-sim", &["--test", "seeds"], vec![kind, "--seeds", &count]),
        Finder::Test { package, filter } => (package, &["--lib"], vec![filter.as_str()]),
    };
    let cargo = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--quiet", "--package", package]).args(selection).args(extra);
        command.current_dir(copy).env("CARGO_TARGET_DIR", copy.with_file_name("target"));
        command
            .env("CARGO_PROFILE_TEST_DEBUG", "none")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        command
    };
    let built = cargo(&["--no-run"]).output().map_err(|error| format!("cargo does not start: {error}"))?;
    if !built.status.success() {
        return Err(format!("{} does not build:\n{}", mutant.name, String::from_utf8_lossy(&built.stderr)));
    }
    let log = copy.with_file_name(format!("{}.log", mutant.name));
    let file = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    let mut test = cargo(&["--"]);
    test.args(arguments).stdout(file).stderr(errors);
    let child = test.spawn().map_err(|error| format!("cargo does not start: {error}"))?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    match wait(child)? {
        None => Ok(Some(format!("found: still running after {} s", RUN_MAX.as_secs()))),
        Some(true) if matches!(mutant.finder, Finder::Test { .. }) && !ran_any(&said()) => {
            Err("no test has the name that is to find it".to_string())
        }
        Some(true) => Ok(None),
        Some(false) => Ok(Some(first_finding(&said()))),
    }
}

/// Whether it succeeded; none if it had to be ended.
fn wait(mut child: Child) -> Result<Option<bool>, String> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status.success()));
        }
        if began.elapsed() > RUN_MAX {
            child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a run of cargo's tests had any.
fn ran_any(log: &str) -> bool {
    log.lines().any(|line| line.starts_with("running ") && !line.starts_with("running 0 "))
}

/// Runs cargo-mutants over the rooms asked for, at the lowest priority.
fn run_tool(arguments: &[String]) -> Result<(), String> {
    let (mut rooms, mut list) = (ROOMS.iter().collect::<Vec<_>>(), false);
    let mut shard = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--room" => {
                let name = rest.next().ok_or(USAGE)?;
                rooms.retain(|room| room.name == *name);
            }
            "--shard" => shard = Some(rest.next().ok_or(USAGE)?),
            "--list" => list = true,
            _ => return Err(USAGE.to_string()),
        }
    }
    if rooms.is_empty() {
        return Err(USAGE.to_string());
    }
    let root = &crate::root()?;
    install_tool()?;
    let mut survived = Vec::new();
    for room in rooms {
        let mut command = tool(root, room)?;
        if let Some(shard) = shard {
            command.args(["--shard", shard]);
        }
        if list {
            let output = command.arg("--list").output().map_err(|error| format!("cargo mutants: {error}"))?;
            println!("{:<12} {}", room.name, String::from_utf8_lossy(&output.stdout).lines().count());
            continue;
        }
        // The tests are known to pass: what is judged is whether they fail with a change.
        command.args(["--baseline", "skip", "--timeout", TOOL_TIMEOUT_S, "--jobs", "1", "--colors", "never"]);
        command.args(["--", "--lib", "--tests"]);
        let status = command.status().map_err(|error| format!("cargo mutants does not start: {error}"))?;
        if !status.success() {
            survived.push(room.name);
        }
    }
    if survived.is_empty() { Ok(()) } else { Err(format!("changes went unnoticed in: {}", survived.join(", "))) }
}

/// The tool over one room's files, its copy of the project and its findings below `target/mutants`.
fn tool(root: &Path, room: &Room) -> Result<Command, String> {
    let folder = root.join("target/mutants/tool").join(room.name);
    let scratch = folder.join("copy");
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let mut command = Command::new("nice");
    command.args(["-n", "19", env!("CARGO"), "mutants", "--package", room.package, "--output"]).arg(&folder);
    for files in room.files {
        command.args(["--file", files]);
    }
    command.current_dir(root).env("TMPDIR", scratch).env("CARGO_PROFILE_TEST_DEBUG", "none");
    Ok(command)
}

fn install_tool() -> Result<(), String> {
    let version = Command::new(env!("CARGO")).args(["mutants", "--version"]).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let mut install = Command::new(env!("CARGO"));
    install.args(["install", "cargo-mutants", "--locked", "--version", CARGO_MUTANTS]);
    match install.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err("cargo-mutants could not be installed".to_string()),
    }
}

fn first_finding(log: &str) -> String {
    let is_finding = |line: &&str| line.starts_with("FAILED") || line.contains("panicked at");
    let line = log.lines().find(is_finding).unwrap_or("the tests fail");
    format!("found: {}", line.chars().take(140).collect::<String>())
}

/// Brings the copy to the project's state. Files that are the same are left alone, so that little is built again.
fn copy_project(root: &Path, copy: &Path) -> Result<(), String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let listed = listed.map_err(|error| format!("git does not start: {error}"))?.stdout;
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let (from, to) = (root.join(&name), copy.join(&name));
        // Deleted, and not committed yet.
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        let dir = to.parent().ok_or("a file without a folder")?;
        fs::create_dir_all(dir).and_then(|()| fs::write(&to, bytes)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_says_what_finds_it_and_a_run_without_tests_finds_nothing() {
        let root = &crate::root().expect("the project has a folder");
        assert!(mutants(root).expect("every patch names its finder").len() >= 25);
        assert!(ran_any("running 0 tests\n\nrunning 1 test\n.\n") && !ran_any("\nrunning 0 tests\n"));
    }

    #[test]
    fn the_tool_changes_files_that_are_there() {
        let root = &crate::root().expect("the project has a folder");
        for files in ROOMS.iter().flat_map(|room| room.files) {
            let folder = files.strip_suffix("/**/*.rs").expect("a folder's files");
            assert!(root.join(folder).is_dir(), "{folder}");
        }
    }
}
