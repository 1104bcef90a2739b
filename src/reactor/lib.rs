//! The only room that talks to the kernel: one io_uring ring per hot thread, files, sockets, wake-ups, and a background
//! executor beside each hot thread. It moves bytes and knows nothing of what they mean.
//!
//! ```text
//!   operations: send · close · pause · write · sync · poke        jobs (state machines of file operations)
//!        │                                                              │            ▲
//!        ▼                                                              ▼ bounded    │ lane + doorbell
//!   ┌─ Reactor, one per hot thread ───────────────┐            ┌─ Background, same core, nice 19 ─┐
//!   │ turn(): submit what is due, sleep, reap —   │            │ glommio executor + blocking      │
//!   │ one io_uring_enter                          │            │ threads, Disk                    │
//!   └─────────────────────────────────────────────┘            └──────────────────────────────────┘
//!        │                        ▲
//!        ▼ events                 │ MSG_RING or eventfd, only when the target sleeps (Doorbell)
//!   frame · sent · closed · file done        Mailbox: one bounded lane per ordered pair of threads
//! ```
//!
//! Invariants: memory that the kernel may touch lives in a slot that is freed only after the completion; a connection
//! has at most one receive and one send (or splice) in flight; nothing is dropped or refused on the way between
//! threads; everything that grows has a named limit.
//!
//! What the simulator cannot see, and the test that does: short and torn receives (`frames::tests`), partial sends
//! (`a_slow_reader_gets_everything…`), direct IO's alignment and ends of files (`fs::tests`), stale descriptors after a
//! rename (`a_recreated_folder…`), splice into a full socket (`files_are_written…`), missed wake-ups (`lanes`, `wake`,
//! `background::tests`), memory of operations that never finish (`dropping_with_everything_in_flight…`).
//!
//! Must never touch: Kafka's words, shards, models, decisions.

#![allow(unsafe_code)] // this room is the border to the kernel; every block says why it is sound

pub mod background;
pub mod conn;
pub mod cpu;
pub mod error;
pub mod facts;
pub mod frames;
pub mod fs;
pub mod hotfile;
pub mod lanes;
pub mod net;
pub mod probe;
pub mod reactor;
mod relief;
pub mod ring;
pub mod signals;
mod slab;
pub mod splice;
mod sys;
pub mod wake;

/// A folder beside the test's own program: on a disk, and where what a killed test leaves is in nobody's way.
#[cfg(test)]
fn folder_on_a_real_disk() -> tempfile::TempDir {
    let program = std::env::current_exe().expect("it runs");
    tempfile::tempdir_in(program.parent().expect("it lies in a folder")).expect("a folder on a real disk")
}
