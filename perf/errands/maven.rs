//! Jars from Maven Central by `mvn`. Must not know what they are for.

use crate::fetched::{self, Missing};
use crate::process::{self, Log};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long Maven may take.
const FETCH_MAX: Duration = Duration::from_secs(300);
/// Maven's own plug-in that fetches jars, pinned as they are.
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// What to fetch, and where to.
pub struct Jars<'a> {
    /// The pom whose dependencies are wanted, with all that they need at run time.
    pub pom: &'a Path,
    /// The folder that gets `jars/` and a stamp, so that a second call costs nothing.
    pub home: &'a Path,
    /// Maven's local repository, where it is not to be the user's own.
    pub repository: Option<PathBuf>,
    /// More properties, `-Dkey=value`.
    pub properties: &'a [String],
    /// Where Maven's output goes.
    pub log: &'a Path,
    /// Asked again and again: true when nobody wants them any more.
    pub give_up: &'a dyn Fn() -> bool,
}

impl Jars<'_> {
    /// Fetches them unless they are there, and returns the class path of them all. Errors: there is no `mvn`, or it failed
    /// (no network, no such version), with the end of what it said.
    pub fn fetch(&self) -> Result<OsString, Missing> {
        fetched::need("mvn", &["--version"], "mvn is not installed")?;
        let folder = self.home.join("jars");
        fetched::once(&self.home.join("fetched"), &[self.pom], || {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", folder.display()));
                }
                _ => {}
            }
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B", COPY_JARS, "-DincludeScope=runtime", "-f"]).arg(self.pom).args(self.properties);
            maven.arg(format!("-DoutputDirectory={}", folder.display()));
            if let Some(repository) = &self.repository {
                maven.arg(format!("-Dmaven.repo.local={}", repository.display()));
            }
            process::run_unless(maven, &Log::create(self.log)?, FETCH_MAX, self.give_up)
        })?;
        Ok(folder.join("*").into_os_string())
    }
}
