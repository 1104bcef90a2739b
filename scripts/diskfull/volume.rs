//! A small ext4 file system in an image behind a loop device: it can be filled up, cleared and made read-only.
//! Must never touch: the broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Image and mount point below the work folder.
const IMAGE: &str = "volume.img";
const MOUNT: &str = "mnt";
/// What takes the room that the broker is not to have.
const BALLAST: &str = "ballast";

/// A mounted volume; unmounted when dropped.
pub struct Volume {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

/// Why such a volume cannot be had on this machine, if it cannot.
pub fn why_not() -> Option<String> {
    let root = run("id", &["-u"]).is_ok_and(|id| id.trim() == "0");
    if !root {
        return Some("mounting a volume needs root".to_string());
    }
    for tool in ["mkfs.ext4", "losetup", "mount", "umount", "fallocate", "df"] {
        if run("sh", &["-c", &format!("command -v {tool}")]).is_err() {
            return Some(format!("{tool} is not installed"));
        }
    }
    run("losetup", &["--find"]).err().map(|problem| format!("no loop device: {problem}"))
}

impl Volume {
    /// Makes and mounts a volume of `mib` MiB in `folder`, in place of an earlier one.
    pub fn make(folder: &Path, mib: u64) -> Result<Volume, String> {
        let (image, mount) = (folder.join(IMAGE), folder.join(MOUNT));
        // What an earlier run that was killed may have left.
        let _ = run("umount", &[&text(&mount)]);
        fs::create_dir_all(&mount).map_err(|error| format!("{}: {error}", mount.display()))?;
        let _ = fs::remove_file(&image);
        run("fallocate", &["-l", &format!("{mib}MiB"), &text(&image)])?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&image)])?;
        let mut volume = Volume { image, mount, mounted: false };
        volume.mount("rw")?;
        Ok(volume)
    }

    /// A folder on it.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// Mounts it anew, `rw` or `ro`.
    pub fn remount(&mut self, mode: &str) -> Result<(), String> {
        self.unmount()?;
        self.mount(mode)
    }

    /// Free bytes.
    pub fn free_bytes(&self) -> Result<u64, String> {
        let said = run("df", &["--output=avail", "--block-size=1", &text(&self.mount)])?;
        let number = said.lines().nth(1).unwrap_or_default().trim();
        number.parse().map_err(|_| format!("df says {said:?}"))
    }

    /// Takes all room but `left_bytes`.
    pub fn fill(&self, left_bytes: u64) -> Result<(), String> {
        let ballast = self.mount.join(BALLAST);
        let had = fs::metadata(&ballast).map_or(0, |found| found.len());
        let size = had + self.free_bytes()?.saturating_sub(left_bytes);
        // The last blocks go to the file's own tree; what could be had is what counts.
        let _ = run("fallocate", &["-l", &size.to_string(), &text(&ballast)]);
        let mut step = 1 << 20;
        while left_bytes == 0 && step >= 4096 {
            let at = fs::metadata(&ballast).map_or(0, |found| found.len());
            if run("fallocate", &["-o", &at.to_string(), "-l", &step.to_string(), &text(&ballast)]).is_err() {
                step /= 2;
            }
        }
        Ok(())
    }

    /// Takes so much room.
    pub fn hold(&self, mib: u64) -> Result<(), String> {
        run("fallocate", &["-l", &format!("{mib}MiB"), &text(&self.mount.join(BALLAST))]).map(|_| ())
    }

    /// Gives the room back.
    pub fn clear(&self) -> Result<(), String> {
        fs::remove_file(self.mount.join(BALLAST)).map_err(|error| format!("the ballast cannot be removed: {error}"))
    }

    fn mount(&mut self, mode: &str) -> Result<(), String> {
        run("mount", &["-o", &format!("loop,{mode}"), &text(&self.image), &text(&self.mount)])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        run("umount", &[&text(&self.mount)])?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted
            && let Err(problem) = self.unmount()
        {
            eprintln!("{} stays mounted: {problem}", self.mount.display());
            return;
        }
        let _ = fs::remove_file(&self.image);
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Runs a command and gives its output, or its complaint.
fn run(command: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(command).args(arguments).output();
    let output = output.map_err(|error| format!("{command} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(format!("{command} {}: {complaint}", arguments.join(" ")))
}
