//! The offline check of a data directory: takes the lock that brokers take, and runs the pure job on the real disk.
//! Must never touch: what is verified and how.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use coretide_log::io::{Job, OWN_DIR, Step};
use coretide_log::store::{Check, CheckConfig, CheckError, CheckProgress, CheckReport, Finding, Severity};
use coretide_reactor::fs::{Disk, FileOp};

use crate::data_dir::{LOCK_FILE, META_FILE, Meta, in_words, take_lock};
use crate::error::ServeError;
use crate::files::{to_file_op, to_op_result};

/// Why a directory was not checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckRefused {
    /// It is not there, or may not be read.
    #[error("cannot check the data directory {path}: {reason}")]
    DataDir { path: PathBuf, reason: String },
    /// A broker holds it.
    #[error("a broker is using the data directory {path}; stop it first, or check a copy")]
    InUse { path: PathBuf },
}

/// Checks the data directory `path`, which no broker may be using; `progress` is told often how far it is. Writes nothing
/// unless `config` says so.
pub fn check(
    path: &Path,
    config: CheckConfig,
    progress: &mut dyn FnMut(&CheckProgress),
) -> Result<CheckReport, CheckRefused> {
    let refuse = |reason: String| CheckRefused::DataDir { path: path.to_path_buf(), reason };
    fs::read_dir(path).map_err(|error| refuse(in_words(&error)))?;
    if !path.join(OWN_DIR).is_dir() && !path.join(META_FILE).is_file() {
        return Err(refuse(CheckError::NoData.to_string()));
    }
    // A copy on read-only media can be checked, too: then nobody else can change it.
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_FILE));
    let _held = match lock.or_else(|_| OpenOptions::new().read(true).open(path.join(LOCK_FILE))) {
        Ok(lock) => {
            take_lock(&lock, path).map_err(|error| match error {
                ServeError::DataDirLocked { path } => CheckRefused::InUse { path },
                other => refuse(other.to_string()),
            })?;
            Some(lock)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && config == CheckConfig::default() => None,
        Err(error) => return Err(refuse(in_words(&error))),
    };
    let mut report = run(path, config, progress).map_err(|error| refuse(error.to_string()))?;
    report.findings.extend(meta_finding(path));
    Ok(report)
}

fn run(path: &Path, config: CheckConfig, progress: &mut dyn FnMut(&CheckProgress)) -> Result<CheckReport, CheckError> {
    let disk = Disk::new(path, false);
    let mut job = Check::new(config);
    let mut results = Vec::new();
    loop {
        match job.step(results) {
            Step::Do(ops) => {
                progress(&job.progress());
                let ops: Vec<FileOp> = ops.into_iter().map(to_file_op).collect();
                results = disk.execute_all(&ops).into_iter().map(to_op_result).collect();
            }
            Step::Done(report) => return report,
        }
    }
}

/// What is wrong with the directory's identity.
fn meta_finding(path: &Path) -> Option<Finding> {
    let read = fs::read_to_string(path.join(META_FILE)).map_err(|error| in_words(&error));
    let wrong = read.and_then(|text| Meta::parse(&text)).err()?;
    Some(Finding {
        severity: Severity::Loss,
        path: META_FILE.to_string(),
        at: None,
        what: wrong,
        remedy: "the broker does not start without: restore it from a copy, or write it with the ids that the clients \
                 know (four lines: version, cluster.id, node.id, directory.id, and coretide.format.version)"
            .to_string(),
        repaired: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    fn refusal(path: &Path) -> String {
        check(path, CheckConfig::default(), &mut |_| {}).expect_err("must be refused").to_string()
    }

    #[test]
    fn what_is_no_data_directory_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let absent = dir.path().join("absent");
        assert!(refusal(&absent).contains("absent"));
        assert!(!absent.exists());
        assert!(refusal(dir.path()).contains("no data of a broker"));
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing was made");
    }

    #[test]
    fn a_directory_in_use_is_refused_and_a_damaged_identity_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data");
        let held = DataDir::open(&path, 1).expect("a new directory");
        fs::create_dir(path.join(OWN_DIR)).expect("made");
        fs::write(path.join(OWN_DIR).join("boot-0"), b"").expect("written");
        assert!(matches!(check(&path, CheckConfig::default(), &mut |_| {}), Err(CheckRefused::InUse { .. })));
        drop(held);
        let report = check(&path, CheckConfig::default(), &mut |_| {}).expect("free now");
        assert!(report.is_whole(), "{report:?}");
        fs::write(path.join(META_FILE), "version=9\n").expect("written");
        let report = check(&path, CheckConfig::default(), &mut |_| {}).expect("free");
        assert!(!report.is_whole() && report.findings[0].path == META_FILE, "{report:?}");
    }
}
