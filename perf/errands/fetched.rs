//! What has to be installed, fetched or built before something can run: done once, and named when it is missing.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why something cannot run.
#[derive(Debug)]
pub enum Missing {
    /// A toolchain is not on this machine: `go is not installed`.
    NotInstalled(String),
    /// It should have worked.
    Broken(String),
}

impl From<String> for Missing {
    fn from(why: String) -> Missing {
        Missing::Broken(why)
    }
}

impl Missing {
    /// The one line for whoever asked.
    pub fn into_message(self) -> String {
        match self {
            Missing::NotInstalled(what) | Missing::Broken(what) => what,
        }
    }
}

/// True when `program` starts and ends well with the arguments `probe`.
pub fn has(program: &str, probe: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(probe).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// As [`has`]; an error says `otherwise`.
pub fn need(program: &str, probe: &[&str], otherwise: &str) -> Result<(), Missing> {
    if has(program, probe) { Ok(()) } else { Err(Missing::NotInstalled(otherwise.to_string())) }
}

/// Does `work` unless it was done before with the same `inputs` (files); `stamp` remembers them.
pub fn once(stamp: &Path, inputs: &[&Path], work: impl FnOnce() -> Result<(), String>) -> Result<(), Missing> {
    let mut wanted = env::consts::ARCH.as_bytes().to_vec();
    for input in inputs {
        wanted.extend(fs::read(input).map_err(|error| format!("{}: {error}", input.display()))?);
    }
    if fs::read(stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    let folder = stamp.parent().ok_or_else(|| format!("{}: no folder", stamp.display()))?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    work()?;
    fs::write(stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_toolchain_is_named() {
        let missing = need("a-program-that-nobody-has", &[], "it is not installed");
        assert!(matches!(missing, Err(Missing::NotInstalled(why)) if why == "it is not installed"));
    }

    #[test]
    fn work_is_done_again_only_when_its_input_changed_or_it_failed() {
        let folder = env::temp_dir().join(format!("coretide-errands-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let (stamp, input) = (folder.join("stamp"), folder.join("input"));
        let mut done = 0;
        let mut errand = |text: &str, ends: Result<(), String>| {
            fs::write(&input, text).expect("the input is written");
            let outcome = once(&stamp, &[&input], || {
                done += 1;
                ends
            });
            (outcome.is_ok(), done)
        };
        assert_eq!(errand("a", Err("no network".into())), (false, 1));
        assert_eq!(errand("a", Ok(())), (true, 2));
        assert_eq!(errand("a", Ok(())), (true, 2));
        assert_eq!(errand("b", Ok(())), (true, 3));
        fs::remove_dir_all(&folder).expect("the folder is removed");
    }
}
