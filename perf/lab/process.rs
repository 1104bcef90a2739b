//! The broker's process, if it runs on this machine: found by the port it listens on, read from /proc.
//! Must never touch: the broker itself.

use crate::lab::result::ProcessUse;
use std::fs;
use std::net::{IpAddr, ToSocketAddrs};

/// The kernel's unit in /proc/<pid>/stat, the same on every Linux.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;
/// The state "listening" in /proc/net/tcp.
const LISTENING: &str = "0A";

/// The process that listens on HOST:PORT, if that is this machine and we may look at the process.
pub fn listening_on(address: &str) -> Option<u32> {
    let is_local = |ip: IpAddr| ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok();
    let resolved = address.to_socket_addrs().ok()?.find(|address| is_local(address.ip()))?;
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listeners(&table, resolved.port()))
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let links = fs::read_dir(entry.path().join("fd")).ok()?;
        let holds = links.flatten().any(|link| {
            fs::read_link(link.path()).is_ok_and(|target| sockets.iter().any(|own| target.as_os_str() == own.as_str()))
        });
        holds.then_some(pid)
    })
}

/// False once the process has ended, whether or not its parent knows.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the state may hold anything, so the last parenthesis is the one that ends it.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// The inodes of sockets that listen on the port, from a table of the kernel's.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&port) && fields[3] == LISTENING)
        .map(|fields| fields[9].to_string())
        .collect()
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    user_secs: f64,
    system_secs: f64,
    rss_bytes: u64,
    written_bytes: Option<u64>,
    read_bytes: Option<u64>,
    syscalls: Option<u64>,
    voluntary: u64,
    involuntary: u64,
    disk_flushes: Option<u64>,
}

impl Usage {
    /// CPU seconds, user and system.
    pub fn cpu_secs(&self) -> f64 {
        self.user_secs + self.system_secs
    }

    /// CPU seconds in user mode, in the kernel's ticks.
    pub fn user_ticks(&self) -> f64 {
        self.user_secs * CLOCK_TICKS_PER_SECOND
    }

    /// Of a process now; none if it has ended. `device`: the disk of its data, for the count of flushes.
    pub fn read(pid: u32, device: Option<&str>) -> Option<Usage> {
        let of = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let (user_secs, system_secs) = cpu_of(&of("stat")?)?;
        let io = of("io").unwrap_or_default();
        let io_field = |name: &str| field(&io, name);
        let (mut voluntary, mut involuntary) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Some(Usage {
            user_secs,
            system_secs,
            rss_bytes: field(&of("status")?, "VmRSS:").unwrap_or(0) << 10,
            written_bytes: io_field("write_bytes:"),
            read_bytes: io_field("read_bytes:"),
            syscalls: io_field("syscr:").zip(io_field("syscw:")).map(|(read, written)| read + written),
            voluntary,
            involuntary,
            disk_flushes: device.and_then(flushes),
        })
    }

    /// What was used between `before` and this, for `bytes` of keys and values in `records`.
    pub fn since(&self, before: &Usage, bytes: u64, records: u64) -> ProcessUse {
        let minus = |now: Option<u64>, then: Option<u64>| now.zip(then).map(|(now, then)| now.saturating_sub(then));
        let cpu = self.cpu_secs() - before.cpu_secs();
        ProcessUse {
            cpu_user_secs: self.user_secs - before.user_secs,
            cpu_system_secs: self.system_secs - before.system_secs,
            rss_bytes: self.rss_bytes,
            written_bytes: minus(self.written_bytes, before.written_bytes),
            read_bytes: minus(self.read_bytes, before.read_bytes),
            read_write_syscalls: minus(self.syscalls, before.syscalls),
            voluntary_switches: self.voluntary.saturating_sub(before.voluntary),
            involuntary_switches: self.involuntary.saturating_sub(before.involuntary),
            disk_flushes: minus(self.disk_flushes, before.disk_flushes),
            cpu_secs_per_gb: (bytes > 0).then(|| cpu * 1e9 / bytes as f64),
            cpu_secs_per_million_records: (records > 0).then(|| cpu * 1e6 / records as f64),
        }
    }
}

fn cpu_of(stat: &str) -> Option<(f64, f64)> {
    // The command's name is in parentheses and may hold anything; user and system time are the 12th and 13th behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let secs = |place: usize| Some(fields.get(place)?.parse::<f64>().ok()? / CLOCK_TICKS_PER_SECOND);
    Some((secs(11)?, secs(12)?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// The device (major:minor) that a folder lies on, if it is a disk of this machine.
pub fn device_of(folder: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata(folder).ok()?.dev();
    let name = format!("{}:{}", (device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    flushes(&name).map(|_| name)
}

/// Flushes that a device has finished: the 16th number behind its name (the 19th field) in the kernel's table.
fn flushes(device: &str) -> Option<u64> {
    let table = fs::read_to_string("/proc/diskstats").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = fields.len() > 18 && format!("{}:{}", fields[0], fields[1]) == device;
        if found { fields[18].parse().ok() } else { None }
    })
}

/// CPU time of the whole machine since it was started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineTicks {
    /// All of it, idle time too.
    pub all: u64,
    /// Of programs, their time in the kernel left out: the kernel works for the broker as well.
    pub user: u64,
    /// What others on the same host took.
    pub steal: u64,
}

/// CPU time of the whole machine.
pub fn machine_ticks() -> Option<MachineTicks> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    Some(MachineTicks {
        all: fields.iter().take(8).sum(),
        user: fields.first()? + fields.get(1)?,
        steal: *fields.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(listening_on(&address), Some(std::process::id()));
        drop(listener);
        assert_eq!(listening_on(&address), None);
    }

    #[test]
    fn tables_of_the_kernel_are_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 777 1\n\
            1: 0100007F:2384 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000  0 888 1\n";
        assert_eq!(listeners(table, 9092), ["777"]);
        assert_eq!(cpu_of("1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0"), Some((1.5, 0.5)));
    }

    #[test]
    fn a_process_that_nobody_has_waited_for_is_not_running() {
        assert!(is_running(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while is_running(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!is_running(child.id()));
    }

    #[test]
    fn our_own_use_can_be_read_and_grows() {
        let before = Usage::read(std::process::id(), None).unwrap();
        let mut sum = 0u64;
        while Usage::read(std::process::id(), None).unwrap().cpu_secs() < before.cpu_secs() + 0.03 {
            sum = sum.wrapping_mul(3) + 1;
        }
        let used = Usage::read(std::process::id(), None).unwrap().since(&before, 1_000_000_000, 1_000_000);
        assert!(used.cpu_user_secs + used.cpu_system_secs > 0.02, "{used:?} {sum}");
        assert!(used.rss_bytes > 1 << 20 && used.cpu_secs_per_gb > Some(0.02));
        assert!(machine_ticks().is_some_and(|ticks| ticks.all > ticks.steal + ticks.user && ticks.user > 0));
    }
}
