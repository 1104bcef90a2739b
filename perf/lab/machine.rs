//! The machine that a measurement ran on: facts that every result carries, since no figure means anything without them.
//! Must never touch: the broker.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is known of the machine; what cannot be read is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: Option<String>,
    /// How many cores this process may use.
    pub cores: Option<usize>,
    /// Whose virtual machine this is; none on bare metal, or where the processor does not say.
    pub hypervisor: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Swap in bytes.
    pub swap_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The distribution.
    pub distribution: Option<String>,
    /// What the kernel takes the time from.
    pub clock_source: Option<String>,
    /// TCP's congestion control: some pace what they send, over loopback, too.
    pub congestion_control: Option<String>,
    /// How the cores' frequency is chosen; none where the machine does not choose it.
    pub governor: Option<String>,
    /// CPU time that the host gave to others since the start, as a share of all, in percent.
    pub steal_percent_since_boot: Option<f64>,
    /// Load over the last minute when the measurement began.
    pub load_before: Option<f64>,
    /// Folders that matter, each with what lies below it.
    pub places: Vec<Place>,
    /// Programs and their versions.
    pub versions: BTreeMap<String, String>,
}

/// What a folder lies on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// What the folder is for.
    pub what: String,
    /// The folder.
    pub path: String,
    /// ext4, xfs, …
    pub file_system: Option<String>,
    /// As it is mounted.
    pub mount_options: Option<String>,
    /// The device as the mount names it.
    pub device: Option<String>,
    /// The block device's scheduler.
    pub scheduler: Option<String>,
    /// Whether the device has a cache that a flush must empty: `write back` or `write through`.
    pub write_cache: Option<String>,
    /// Whether a single write can be forced through that cache.
    pub forced_unit_access: Option<bool>,
    /// Whether it is a spinning disk.
    pub rotational: Option<bool>,
}

/// All of it as JSON, with the current folder as the only place.
pub fn facts() -> Value {
    let current = std::env::current_dir().unwrap_or_default();
    serde_json::to_value(Machine::read(&[("the current folder", &current)])).unwrap_or(Value::Null)
}

impl Machine {
    /// Reads them, with what the folders `places` (what for, path) lie on.
    pub fn read(places: &[(&str, &Path)]) -> Machine {
        let cpu_info = text("/proc/cpuinfo").unwrap_or_default();
        let memory = text("/proc/meminfo").unwrap_or_default();
        let mounts = text("/proc/self/mounts").unwrap_or_default();
        Machine {
            cpu: field(&cpu_info, "model name").or_else(|| field(&cpu_info, "Hardware")),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            hypervisor: text("/sys/hypervisor/type").or_else(|| hypervisor(&cpu_info, &dmi_name())),
            memory_bytes: kib(&memory, "MemTotal"),
            swap_bytes: kib(&memory, "SwapTotal"),
            kernel: text("/proc/sys/kernel/osrelease"),
            distribution: text("/etc/os-release").and_then(|release| distribution(&release)),
            clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            congestion_control: text("/proc/sys/net/ipv4/tcp_congestion_control"),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            steal_percent_since_boot: text("/proc/stat").and_then(|stat| steal_percent(&stat)),
            load_before: text("/proc/loadavg").and_then(|load| load.split(' ').next()?.parse().ok()),
            places: places.iter().map(|(what, path)| Place::read(what, path, &mounts)).collect(),
            versions: BTreeMap::from([("coretide".to_string(), env!("CARGO_PKG_VERSION").to_string())]),
        }
    }

    /// Adds what `program` says about its version, first line; nothing where it does not start.
    pub fn add_version(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let Ok(output) = Command::new(program).args(arguments).output() else { return };
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let Some(line) = said.iter().flat_map(|text| text.lines()).find(|line| !line.trim().is_empty()) {
            self.versions.insert(name.to_string(), line.trim().to_string());
        }
    }
}

impl Place {
    /// What `path` lies on, after a table of mounts.
    fn read(what: &str, path: &Path, mounts: &str) -> Place {
        let path = existing(path);
        let mut place = Place { what: what.to_string(), path: path.display().to_string(), ..Place::default() };
        let Some(mount) = mount_of(mounts, &path) else { return place };
        let queue = queue_folder(&mount.device, &path);
        let of_queue = |name: &str| queue.as_ref().and_then(|folder| text(folder.join(name)));
        place.scheduler = of_queue("scheduler").map(|line| chosen(&line));
        place.write_cache = of_queue("write_cache");
        place.forced_unit_access = of_queue("fua").map(|flag| flag == "1");
        place.rotational = of_queue("rotational").map(|flag| flag == "1");
        place.file_system = Some(mount.file_system);
        place.mount_options = Some(mount.options);
        place.device = Some(mount.device);
        place
    }
}

/// The nearest folder above that is there already.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    path.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or(path)
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
}

/// The value behind `name` in lines of `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
}

fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn dmi_name() -> String {
    text("/sys/class/dmi/id/sys_vendor").unwrap_or_default()
}

/// The processor says when it is a virtual one; the board's maker is mostly the host's program.
fn hypervisor(cpu_info: &str, board: &str) -> Option<String> {
    let virtual_one = field(cpu_info, "flags")?.split_whitespace().any(|flag| flag == "hypervisor");
    let name = if board.is_empty() { "yes, unnamed" } else { board };
    virtual_one.then(|| name.to_string())
}

fn distribution(release: &str) -> Option<String> {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_string())
}

/// The share of stolen time of all time in /proc/stat's first line.
fn steal_percent(stat: &str) -> Option<f64> {
    let ticks: Vec<f64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
    let all: f64 = ticks.get(..8)?.iter().sum();
    (all > 0.0).then(|| (ticks[7] / all * 10_000.0).round() / 100.0)
}

struct Mount {
    device: String,
    file_system: String,
    options: String,
}

/// The mount that holds `path`: the longest one above it, of two at the same place the later one.
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (device, place) = (words.next()?, unescaped(words.next()?));
        let (file_system, options) = (words.next()?.to_string(), words.next()?.to_string());
        let mount = Mount { device: device.to_string(), file_system, options };
        path.starts_with(&place).then_some((place.len(), mount))
    });
    holding.max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

/// Blanks in mount points are written as octal numbers.
fn unescaped(place: &str) -> String {
    place.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// The queue of the device's disk, of which a partition has none of its own.
fn queue_folder(device: &str, path: &Path) -> Option<PathBuf> {
    let device = match device.strip_prefix("/dev/") {
        Some("root") | None => by_number(path)?,
        Some(_) => fs::canonicalize(device).ok()?.file_name()?.to_str()?.to_string(),
    };
    let of_disk = fs::canonicalize(format!("/sys/class/block/{device}")).ok()?;
    [of_disk.join("queue"), of_disk.parent()?.join("queue")].into_iter().find(|folder| folder.is_dir())
}

/// The name of the device with the file's device number.
fn by_number(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let number = fs::metadata(path).ok()?.dev();
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    device.file_name()?.to_str().map(str::to_string)
}

/// What the disk that holds `path` has done and has to do: discards done, and operations on their way. `None` where the
/// kernel does not say.
pub fn discards_and_in_flight(path: &Path) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(Path::new("/sys/class/block").join(by_number(path)?).join("stat")).ok()?;
    let fields: Vec<u64> = stat.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Some((*fields.get(11)?, *fields.get(8)?))
}

/// The scheduler in brackets.
fn chosen(line: &str) -> String {
    let inner = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(line, |(name, _)| name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU_INFO: &str =
        "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\nflags\t\t: fpu sse hypervisor lahf_lm\n";

    #[test]
    fn a_processor_says_its_name_and_whether_it_is_a_virtual_one() {
        assert_eq!(field(CPU_INFO, "model name").as_deref(), Some("AMD EPYC 7763 64-Core Processor"));
        assert_eq!(hypervisor(CPU_INFO, "QEMU").as_deref(), Some("QEMU"));
        assert_eq!(hypervisor(CPU_INFO, "").as_deref(), Some("yes, unnamed"));
        assert_eq!(hypervisor("flags : fpu sse\n", "Dell Inc."), None);
        assert_eq!(field("model name :\n", "model name"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let text = "MemTotal:       24659068 kB\nMemFree:         1 kB\nSwapTotal:             0 kB\n";
        assert_eq!(kib(text, "MemTotal"), Some(24_659_068 << 10));
        assert_eq!(kib(text, "SwapTotal"), Some(0));
        assert_eq!(kib(text, "Nothing"), None);
    }

    #[test]
    fn the_distribution_is_named_without_its_quotes() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(distribution(text).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(distribution("ID=x\n"), None);
    }

    #[test]
    fn stolen_time_is_a_share_of_all_without_what_counts_twice() {
        assert_eq!(steal_percent("cpu  50 0 20 20 5 0 0 5 50 0\ncpu0 1 2\n"), Some(5.0));
        assert_eq!(steal_percent("cpu  0 0 0 0 0 0 0 0 0 0\n"), None);
        assert_eq!(steal_percent("cpu  1 2 3\n"), None);
    }

    #[test]
    fn the_mount_is_the_longest_and_the_last_above_the_folder() {
        let mounts = "/dev/vda1 / ext4 rw,relatime 0 0\ntmpfs /data tmpfs rw 0 0\n/dev/nvme0n1 /data xfs rw,noatime 0 0\n\
                      /dev/sdb /my\\040disk ext4 rw 0 0\n";
        let found = |path: &str| mount_of(mounts, Path::new(path)).unwrap();
        assert_eq!(found("/data/kafka").file_system, "xfs");
        assert_eq!(found("/data/kafka").options, "rw,noatime");
        assert_eq!(found("/database").device, "/dev/vda1");
        assert_eq!(found("/my disk/x").device, "/dev/sdb");
    }

    #[test]
    fn the_scheduler_in_use_stands_in_brackets() {
        assert_eq!(chosen("none [mq-deadline] kyber bfq"), "mq-deadline");
        assert_eq!(chosen("none"), "none");
    }

    #[test]
    fn this_machine_has_a_kernel_cores_and_memory_and_its_folders_lie_on_something() {
        let mut machine = Machine::read(&[("a folder that is not there yet", Path::new("/tmp/not/there/yet"))]);
        assert!(machine.kernel.is_some() && machine.cores.unwrap() > 0 && machine.memory_bytes.unwrap() > 0);
        assert!(machine.places[0].file_system.is_some(), "{machine:?}");
        machine.add_version("sh", "sh", &["-c", "echo; echo version 5"]);
        machine.add_version("none", "a-program-that-nobody-has", &[]);
        assert_eq!(machine.versions.get("sh").map(String::as_str), Some("version 5"));
        assert!(!machine.versions.contains_key("none"));
        let value = serde_json::to_value(&machine).unwrap();
        assert_eq!(serde_json::from_value::<Machine>(value).unwrap(), machine);
        assert!(
            facts().get("kernel").is_some() && facts().get("congestion_control").is_some_and(|found| found.is_string())
        );
    }
}
