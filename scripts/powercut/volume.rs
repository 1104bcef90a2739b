//! A real file system on a loop device on the disk's file, by the system's own tools; and sweeping up whatever is left of
//! one, however this program ended. Must never touch: what lies on the file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;

use crate::broker::kill_below;
use crate::disk::Disk;
use crate::fuse;

/// No tool works longer than this, even on a machine that stands still for minutes at times.
const TOOL_MAX: Duration = Duration::from_secs(600);
/// How the folders of this program begin; the process id follows.
const ROOT_PREFIX: &str = "coretide-powercut-";

/// The file systems there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 with its journal.
    Ext4,
    /// XFS.
    Xfs,
}

impl FileSystem {
    /// Both.
    pub const ALL: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];

    /// Its name for mount.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<FileSystem> {
        FileSystem::ALL.into_iter().find(|one| one.name() == name)
    }

    fn mkfs(self) -> &'static [&'static str] {
        match self {
            FileSystem::Ext4 => {
                &["mkfs.ext4", "-q", "-F", "-O", "has_journal", "-E", "nodiscard,lazy_itable_init=0", "-J", "size=16"]
            }
            FileSystem::Xfs => &["mkfs.xfs", "-q", "-f", "-K"],
        }
    }
}

/// Why this machine cannot do it; none if it can. `fs` are those that are wanted. Installs xfsprogs where apt can.
pub fn missing(wanted: &[FileSystem]) -> Option<String> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !is_root {
        return Some("mounting file systems needs root".to_string());
    }
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse cannot be opened: {error}"));
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices (/dev/loop-control)".to_string());
    }
    for tool in ["mount", "umount", "losetup"] {
        if !is_there(tool) {
            return Some(format!("`{tool}` is missing"));
        }
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for fs in wanted {
        if !known.split_whitespace().any(|name| name == fs.name()) {
            return Some(format!("this kernel does not know {}", fs.name()));
        }
        let tool = fs.mkfs()[0];
        if *fs == FileSystem::Xfs && !is_there(tool) {
            // Whether it helped is what the next look says.
            let _ = run(Command::new("apt-get").args(["install", "-y", "-q", "xfsprogs"]));
        }
        if !is_there(tool) {
            return Some(format!("`{tool}` is missing"));
        }
    }
    None
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.into_iter().any(|folder| Path::new(folder).join(tool).exists())
}

/// The folder of this process's mounts; made, and empty.
pub fn make_root() -> Result<PathBuf, String> {
    let root = std::env::temp_dir().join(format!("{ROOT_PREFIX}{}", std::process::id()));
    fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(root)
}

/// The disk with a file system on it, mounted or not.
pub struct Volume {
    fs: FileSystem,
    mountpoint: PathBuf,
    image: PathBuf,
    device: Option<String>,
    is_mounted: bool,
    // Last: what is in front of it must be gone before.
    session: Option<BackgroundSession>,
}

impl Volume {
    /// Makes the file system on the disk and mounts it. `root` is the folder for the mounts.
    pub fn create(disk: &Arc<Disk>, fs: FileSystem, root: &Path) -> Result<Volume, String> {
        let (below, mountpoint) = (root.join("fuse"), root.join(fs.name()));
        for folder in [&below, &mountpoint] {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let session = fuse::mount(Arc::clone(disk), &below)?;
        let image = below.join(fuse::FILE);
        let mut volume = Volume { fs, mountpoint, image, device: None, is_mounted: false, session: Some(session) };
        volume.attach()?;
        let device = volume.device.clone().unwrap_or_default();
        let mkfs = fs.mkfs();
        must(Command::new(mkfs[0]).args(&mkfs[1..]).arg(device))?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where the file system can be reached.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// Puts the loop device on the disk and mounts the file system; its journal is replayed by that.
    pub fn mount(&mut self) -> Result<(), String> {
        if self.device.is_none() {
            self.attach()?;
        }
        let device = self.device.clone().unwrap_or_default();
        must(Command::new("mount").args(["-t", self.fs.name(), "-o", "noatime"]).arg(device).arg(&self.mountpoint))?;
        self.is_mounted = true;
        Ok(())
    }

    fn attach(&mut self) -> Result<(), String> {
        // Direct IO: each write of the file system reaches the disk as it is, and each flush as fsync.
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--direct-io=on"]).arg(&self.image);
        let output = must(&mut command)?;
        let device = String::from_utf8_lossy(&output.stdout).trim().to_string();
        self.device = Some(device);
        Ok(())
    }

    /// Takes file system and loop device away, whatever state they are in. Nothing must hold files on them.
    pub fn unmount(&mut self) -> Result<(), String> {
        if self.is_mounted {
            unmount_when_free(&self.mountpoint)?;
            self.is_mounted = false;
        }
        if let Some(device) = self.device.take() {
            must(Command::new("losetup").arg("--detach").arg(&device))?;
            await_detached(&device)?;
        }
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = self.unmount();
        if let (Err(error), Some(root)) = (&unmounted, self.mountpoint.parent()) {
            eprintln!("{error}");
            sweep(root);
        }
        let ended = self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join);
        if let (Ok(()), Err(error)) = (unmounted, ended) {
            eprintln!("FUSE did not end well: {error}");
        }
    }
}

/// A killed process's ring may hold its files for a moment after the process is gone.
fn unmount_when_free(mountpoint: &Path) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match must(Command::new("umount").arg(mountpoint)) {
            Ok(_) => return Ok(()),
            Err(error) if !error.contains("busy") || began.elapsed() > TOOL_MAX => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Detaching is done when the last holder is gone, which udev and its like may be for a moment.
fn await_detached(device: &str) -> Result<(), String> {
    let name = device.trim_start_matches("/dev/");
    let backing = PathBuf::from(format!("/sys/block/{name}/loop/backing_file"));
    let began = Instant::now();
    while backing.exists() {
        if began.elapsed() > TOOL_MAX {
            return Err(format!("{device} is still held by somebody"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Sweeps up after processes of this program that are gone.
pub fn sweep_stale() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(ROOT_PREFIX) else { continue };
        if !Path::new("/proc").join(process).exists() {
            sweep(&entry.path());
        }
    }
}

/// Ends brokers, unmounts and detaches everything below `root`, and removes it if it is empty then. Needs nothing but the
/// folder's name.
pub fn sweep(root: &Path) {
    kill_below(root);
    let shown = root.to_string_lossy().into_owned();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut ours: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| path.starts_with(&format!("{shown}/")))
        .collect();
    // What was mounted last stands on what was mounted first.
    ours.reverse();
    let (below, above): (Vec<&str>, Vec<&str>) = ours.into_iter().partition(|path| path.ends_with("/fuse"));
    for path in above {
        report(run(Command::new("umount").args(["--lazy", path])));
    }
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if backing.starts_with(&shown) {
            let device = Path::new("/dev").join(entry.file_name());
            report(run(Command::new("losetup").arg("--detach").arg(device)));
        }
    }
    for path in below {
        report(run(Command::new("umount").args(["--lazy", path])));
    }
    // A kept image or log makes it stay, as it should.
    for folder in ["fuse", "ext4", "xfs"] {
        let _ = fs::remove_dir(root.join(folder));
    }
    let _ = fs::remove_dir(root);
}

fn report(result: Result<Output, String>) {
    match result {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!("{}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => eprintln!("{error}"),
    }
}

fn must(command: &mut Command) -> Result<Output, String> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Runs a tool, but not forever: one that hangs in the kernel must not take this program with it.
fn run(command: &mut Command) -> Result<Output, String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("{command:?} does not start: {error}"))?;
    if !ends(&mut child)? {
        let _ = child.kill();
        return Err(format!("{command:?} does not end"));
    }
    child.wait_with_output().map_err(|error| format!("{command:?}: {error}"))
}

fn ends(child: &mut Child) -> Result<bool, String> {
    let began = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if began.elapsed() > TOOL_MAX {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}
