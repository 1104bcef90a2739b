//! `cargo x deny`: every dependency's licence, source and version requirement against `.cargo/deny.toml`. Where cargo-deny is
//! installed it decides; to build it takes minutes, so without it this chore looks itself, by the same file. Advisories need
//! cargo-deny and its database, and are named as not run where either is missing.
//! Must never touch: the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x deny [--install]
  --install               build cargo-deny first, if it is not there (minutes)";

/// The version of cargo-deny that is installed.
const CARGO_DENY: &str = "0.20.2";
const RULES: &str = ".cargo/deny.toml";
/// The only registry.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Checks, and says by what.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let root = &crate::root()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["--install"] if is_installed() => {}
        ["--install"] => install()?,
        _ => return Err(USAGE.to_string()),
    }
    if !is_installed() {
        let checked = check_ourselves(root)?;
        println!("{checked} packages: licences, sources and versions are as {RULES} says (looked at by this chore)");
        println!("advisories: not run: cargo-deny is not installed (cargo x deny --install)");
        return Ok(());
    }
    let deny = |arguments: &[&str]| {
        let status = Command::new("cargo").arg("deny").args(arguments).current_dir(root).status();
        status.map_err(|error| format!("cargo deny does not start: {error}")).map(|status| status.success())
    };
    if !deny(&["check", "bans", "licenses", "sources"])? {
        return Err(format!("see above; the rules are in {RULES}"));
    }
    if !deny(&["fetch"])? {
        println!("advisories: not run: their database cannot be reached from here");
        return Ok(());
    }
    if deny(&["check", "advisories"])? { Ok(()) } else { Err("see the advisories above".to_string()) }
}

fn is_installed() -> bool {
    Command::new("cargo").args(["deny", "--version"]).output().is_ok_and(|output| output.status.success())
}

fn install() -> Result<(), String> {
    let status = Command::new("cargo").args(["install", "cargo-deny", "--locked", "--version", CARGO_DENY]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err("cargo-deny could not be installed".to_string()),
    }
}

/// The rules of the file that this chore knows how to hold.
struct Rules {
    allowed: BTreeSet<String>,
    /// By package.
    exceptions: BTreeMap<String, BTreeSet<String>>,
}

impl Rules {
    fn parse(text: &str) -> Result<Rules, String> {
        let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start));
        let missing = |what: &str| format!("{RULES}: there is no line '{what}'");
        let allowed = quoted(line("allow = [").ok_or_else(|| missing("allow = [...]"))?).map(str::to_string).collect();
        let exceptions = line("exceptions = [").ok_or_else(|| missing("exceptions = [...]"))?;
        let one = |part: &str| {
            let mut words = quoted(part).map(str::to_string);
            words.next().map(|name| (name, words.collect()))
        };
        Ok(Rules { allowed, exceptions: exceptions.split('{').skip(1).filter_map(one).collect() })
    }

    /// Whether a package may have this licence expression.
    fn admit(&self, package: &str, expression: &str) -> bool {
        let extra = self.exceptions.get(package);
        let is_named = |id: &str| self.allowed.contains(id) || extra.is_some_and(|extra| extra.contains(id));
        // "Or any later version" leaves the named one to choose.
        let is_allowed = |id: &str| is_named(id.strip_suffix('+').unwrap_or(id));
        let spaced =
            expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "-WITH-");
        let mut words = spaced.split_whitespace().peekable();
        any_of(&mut words, &is_allowed) == Some(true) && words.peek().is_none()
    }
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `all OR all ...`; none where it is no expression.
fn any_of(words: &mut Words<'_>, is_allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut good = all_of(words, is_allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        good |= all_of(words, is_allowed)?;
    }
    Some(good)
}

/// `licence AND licence ...`.
fn all_of(words: &mut Words<'_>, is_allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut good = true;
    loop {
        good &= match words.next()? {
            "(" => {
                let inner = any_of(words, is_allowed)?;
                words.next_if_eq(&")")?;
                inner
            }
            "OR" | "AND" | ")" => return None,
            id => is_allowed(id),
        };
        if words.next_if_eq(&"AND").is_none() {
            return Some(good);
        }
    }
}

/// Holds what cargo says of all packages against the rules; how many were looked at.
fn check_ourselves(root: &Path) -> Result<usize, String> {
    let text = fs::read_to_string(root.join(RULES)).map_err(|error| format!("{RULES}: {error}"))?;
    let rules = Rules::parse(&text)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", TARGET]);
    let output = cargo.current_dir(root).output().map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let used: BTreeSet<String> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| node["id"].to_string()).collect();
    let packages: Vec<Value> =
        list(&metadata["packages"]).into_iter().filter(|package| used.contains(&package["id"].to_string())).collect();
    let problems: Vec<String> = packages.iter().flat_map(|package| problems_of(package, &rules)).collect();
    if packages.is_empty() {
        return Err("cargo names no packages".to_string());
    }
    if problems.is_empty() { Ok(packages.len()) } else { Err(problems.join("\n")) }
}

/// What is wrong with one package of `cargo metadata`.
fn problems_of(package: &Value, rules: &Rules) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let mut problems = Vec::new();
    match package["license"].as_str() {
        Some(licence) if rules.admit(name, licence) => {}
        Some(licence) => problems.push(format!("{name}: the licence {licence} is not allowed")),
        None => problems.push(format!("{name}: it names no licence")),
    }
    match package["source"].as_str() {
        None => {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let wild = dependencies.filter(|one| one["req"] == "*" && one["path"].is_null());
            problems.extend(wild.map(|one| format!("{name}: any version of {} is accepted", one["name"])));
        }
        Some(CRATES_IO) => {}
        Some(source) => problems.push(format!("{name}: it comes from {source}")),
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules() -> Rules {
        Rules::parse("allow = [\"MIT\", \"Zlib\"]\nexceptions = [{ crate = \"b\", allow = [\"MPL-2.0\"] }]\n")
            .expect("whole")
    }

    #[test]
    fn a_licence_expression_is_allowed_when_what_it_leaves_to_choose_is() {
        let good = ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "MIT AND Zlib", "(GPL-3.0 OR Zlib) AND MIT"];
        let bad = ["GPL-3.0", "MIT AND GPL-3.0", "MIT WITH x", "(MIT", "MIT MIT", "", "OR MIT", "MPL-2.0"];
        assert!(good.iter().all(|expression| rules().admit("a", expression)));
        assert!(!bad.iter().any(|expression| rules().admit("a", expression)));
        assert!(rules().admit("b", "MPL-2.0+"));
    }

    #[test]
    fn foreign_sources_and_wild_versions_are_named() {
        let wild = json!({"name": "x", "req": "*", "path": null});
        let package = |source: Value| json!({"name": "a", "license": "MIT", "source": source, "dependencies": [wild]});
        assert_eq!(problems_of(&package(json!(CRATES_IO)), &rules()), Vec::<String>::new());
        assert_eq!(problems_of(&package(json!("git+https://x")), &rules()).len(), 1);
        assert_eq!(problems_of(&package(Value::Null), &rules()).len(), 1);
        assert_eq!(problems_of(&json!({"name": "a", "source": CRATES_IO}), &rules()), ["a: it names no licence"]);
    }

    #[test]
    fn the_rules_of_the_project_are_understood() {
        let root = &crate::root().expect("the project has a folder");
        let rules = Rules::parse(&fs::read_to_string(root.join(RULES)).expect("the file")).expect("whole");
        assert!(rules.allowed.len() >= 3 && !rules.exceptions.is_empty());
        assert!(rules.admit("any", "Apache-2.0 OR GPL-3.0") && !rules.admit("any", "GPL-3.0"));
    }
}
