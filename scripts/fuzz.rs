//! `cargo x fuzz [--minutes N | --seconds N] [--list] [TARGET...]`: the fuzz targets of all rooms, one after the other, at the
//! lowest priority, with a limit on what one allocation may take. Needs a nightly compiler; installs cargo-fuzz.
//! Must never touch: what a target feeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x fuzz [--minutes N | --seconds N] [--list] [TARGET...]
  TARGET...               only these, as room/target (all)
  --minutes N             how long each of them runs (1)
  --seconds N             the same in seconds
  --list                  the names of the targets";

/// The version of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// An allocation above this is a finding.
const ALLOCATION_MAX_MB: u32 = 256;
/// Resident memory of a target above this is a finding.
const RESIDENT_MAX_MB: u32 = 2048;

struct Target {
    /// The folder of its fuzz crate.
    folder: PathBuf,
    room: String,
    name: String,
}

/// Runs the targets asked for.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let root = &crate::root()?;
    let mut seconds = 60;
    let mut names = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--list" => {
                targets(root)?.iter().for_each(|target| println!("{}/{}", target.room, target.name));
                return Ok(());
            }
            "--minutes" | "--seconds" => {
                let unit = if argument == "--minutes" { 60 } else { 1 };
                let number = rest.next().and_then(|number| number.parse::<u32>().ok()).filter(|number| *number > 0);
                seconds = number.ok_or(USAGE)?.saturating_mul(unit);
            }
            flag if flag.starts_with('-') => return Err(USAGE.to_string()),
            name => names.push(name.to_string()),
        }
    }
    let chosen = choose(targets(root)?, &names)?;
    install()?;
    let mut failed = Vec::new();
    let mut rows = Vec::new();
    for target in &chosen {
        let name = format!("{}/{}", target.room, target.name);
        println!("== {name}");
        let (row, good) = run_one(root, target, seconds)?;
        rows.push(format!("{name:<24} {row}"));
        failed.extend((!good).then_some(name));
    }
    println!("\n{}", rows.join("\n"));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("findings, see above and in fuzz/artifacts: {}", failed.join(", ")))
    }
}

/// Every `src/<room>/fuzz/fuzz_targets/<target>.rs`.
fn targets(root: &Path) -> Result<Vec<Target>, String> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        Ok(paths)
    };
    let text = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for room in list(&root.join("src"))? {
        let folder = room.join("fuzz");
        if folder.is_dir() {
            for file in list(&folder.join("fuzz_targets"))? {
                let (room, name) = (text(room.file_name()), text(file.file_stem()));
                found.push(Target { folder: folder.clone(), room, name });
            }
        }
    }
    Ok(found)
}

fn choose(all: Vec<Target>, names: &[String]) -> Result<Vec<Target>, String> {
    let is = |target: &Target, name: &str| format!("{}/{}", target.room, target.name) == name;
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|target| is(target, name))) {
        return Err(format!("there is no target '{unknown}': see --list"));
    }
    Ok(all.into_iter().filter(|target| names.is_empty() || names.iter().any(|name| is(target, name))).collect())
}

fn install() -> Result<(), String> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !works("cargo", &["+nightly", "--version"]) {
        return Err("there is no nightly compiler (rustup toolchain install nightly)".to_string());
    }
    if works("cargo", &["fuzz", "--version"]) {
        return Ok(());
    }
    let status = Command::new("cargo").args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err("cargo-fuzz could not be installed".to_string()),
    }
}

/// Runs a target; its row of the table, and whether it found nothing.
fn run_one(root: &Path, target: &Target, seconds: u32) -> Result<(String, bool), String> {
    let corpus = target.folder.join("corpus").join(&target.name);
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut command = Command::new("nice");
    command.args(["-n", "19", "cargo", "+nightly", "fuzz", "run", "--target-dir"]);
    // One folder for all rooms: what they have in common is built once.
    command.arg(root.join("target/fuzz")).arg("--fuzz-dir").arg(&target.folder).arg(&target.name).arg(&corpus);
    let seeds = target.folder.join("seeds").join(&target.name);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    command.arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-malloc_limit_mb={ALLOCATION_MAX_MB}"),
        format!("-rss_limit_mb={RESIDENT_MAX_MB}"),
        "-print_final_stats=1".to_string(),
        "-verbosity=0".to_string(),
    ]);
    let output = command.current_dir(root).output().map_err(|error| format!("cargo fuzz does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    if !output.status.success() {
        eprintln!("{said}");
        return Ok((format!("FAILED: {}", output.status), false));
    }
    let executions = executions.ok_or("libFuzzer said nothing of its executions")?;
    Ok((format!("{} executions in {seconds} s", executions.trim()), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_every_room_is_found_and_named_in_its_manifest() {
        let root = &crate::root().expect("the project has a folder");
        let found = targets(root).expect("readable");
        assert!(found.iter().any(|target| target.room == "wire") && found.iter().any(|target| target.room == "log"));
        for target in &found {
            let manifest = fs::read_to_string(target.folder.join("Cargo.toml")).expect("a manifest");
            let path = format!("path = \"fuzz_targets/{}.rs\"", target.name);
            assert!(manifest.contains(&path), "{}/{} is not in its manifest", target.room, target.name);
        }
        assert!(choose(found, &["wire/none".to_string()]).is_err());
    }
}
