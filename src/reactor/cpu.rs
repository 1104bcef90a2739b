//! Cores, priorities and limits of this process.
//! Must never touch: rings, files.

use crate::error::SetupError;

/// The niceness of background threads: the kernel lets the hot thread of the same core go first. No more than this:
/// clients wait for what they do, and on a core whose time others take, too, 19 is next to nothing.
pub const BACKGROUND_NICE: i32 = 5;

/// The cores this process may run on (the affinity mask that a container or `taskset` left us), in order.
pub fn allowed_cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let mut cores: Vec<usize> = ids.into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// Pins the calling thread to `core`; false when the kernel refuses.
pub fn pin_to(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Lowers the priority of the calling thread, and with it of the threads that it starts later.
pub fn lower_priority(nice: i32) {
    // SAFETY: takes and returns plain integers; 0 names the calling thread on Linux.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } != 0;
    if refused {
        tracing::warn!("the background thread keeps normal priority: {}", std::io::Error::last_os_error());
    }
}

/// Raises the limit of open files to what the process may have, and returns it.
pub fn raise_open_files() -> Result<u64, SetupError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(SetupError::last("getrlimit(RLIMIT_NOFILE)"));
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: `raised` is a valid rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return Ok(raised.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// Aborts the whole process when any thread panics, after the panic was printed: a broker with one dead shard is the
/// worst state, and debug builds unwind.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinning_keeps_to_the_allowed_cores() {
        let cores = allowed_cores();
        assert!(!cores.is_empty());
        std::thread::spawn(move || {
            let last = *cores.last().expect("checked above");
            assert!(pin_to(last));
            assert_eq!(allowed_cores(), vec![last]);
        })
        .join()
        .expect("the pinned thread finishes");
    }
}
