//! The machine that a measurement ran on: facts that every result carries.
//! Must never touch: the broker.

use serde_json::{Value, json};
use std::fs;

/// What there is to know about this machine, as JSON; what cannot be read is null.
pub fn facts() -> Value {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_string());
    let cpu_info = read("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let memory = read("/proc/meminfo").unwrap_or_default();
    let memory_kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    json!({
        "cpu": cpu.map(|(_, name)| name.trim()),
        "cores": std::thread::available_parallelism().ok().map(usize::from),
        "memory_bytes": memory_kib.and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib << 10),
        "kernel": read("/proc/sys/kernel/osrelease"),
    })
}
