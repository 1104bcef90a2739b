//! Jobs through a real executor.

use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::fs::FileOk;

/// How often, and at which moments after a job was handed over, its background is interrupted.
const AWAY_ROUNDS: u64 = 96;
const AWAY_STEP: Duration = Duration::from_micros(3);

/// Writes `rounds` times, then reads the whole back.
struct Append {
    rounds: u64,
    done: u64,
    path: String,
}

impl BackgroundJob for Append {
    type Output = Result<Bytes, String>;

    fn step(&mut self, results: Vec<FileResult>) -> JobStep<Self::Output> {
        if let Some(Err(error)) = results.iter().find(|result| result.is_err()) {
            return JobStep::Done(Err(error.to_string()));
        }
        if let Some(Ok(FileOk::Data(bytes))) = results.last() {
            return JobStep::Done(Ok(bytes.clone()));
        }
        if self.done < self.rounds {
            let bytes = Bytes::from(vec![self.done as u8; 10]);
            let at = self.done * 10;
            self.done += 1;
            let write = FileOp::Write { path: self.path.clone(), at, bytes, direct: false, durable: false };
            return JobStep::Do(vec![write, FileOp::Sync { path: self.path.clone() }]);
        }
        JobStep::Do(vec![FileOp::Read { path: self.path.clone(), at: 0, len: 1000, direct: true }])
    }
}

/// Sleeps on the hot thread's doorbell until `count` jobs are back.
fn collect(background: &mut Background<Append>, hot: &Doorbell, count: usize) -> Vec<Finished<Result<Bytes, String>>> {
    let mut all = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while all.len() < count {
        assert!(Instant::now() < end, "the background lost a job: {} of {count} are back", all.len());
        hot.announce_sleep();
        if !background.has_results() {
            let mut poll = libc::pollfd { fd: hot.event().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid entry.
            if unsafe { libc::poll(&mut poll, 1, 5000) } == 1 {
                hot.event().wait();
            }
        }
        hot.awake();
        while let Some(finished) = background.next_result() {
            all.push(finished);
        }
        background.flush();
    }
    all
}

fn start() -> (tempfile::TempDir, Arc<Doorbell>, Background<Append>) {
    let dir = crate::folder_on_a_real_disk();
    let hot = Doorbell::new().expect("eventfd");
    let direct = crate::probe::takes_direct_io(dir.path()).is_ok();
    let disk = Arc::new(Disk::new(dir.path(), direct));
    let options =
        BackgroundOptions { name: "background-test".into(), core: None, nice: 19, disk, hot: Arc::clone(&hot) };
    let background = Background::start(options).expect("a background");
    (dir, hot, background)
}

#[test]
fn jobs_run_to_their_end_and_all_come_back() {
    let (_dir, hot, mut background) = start();
    assert_eq!(*background.kind(), BackgroundKind::Executor);
    let count = JOBS_AT_ONCE_MAX * 3;
    for id in 0..count as u64 {
        background.submit(id, Append { rounds: 1 + id % 5, done: 0, path: format!("d/{id}") });
    }
    background.flush();
    let all = collect(&mut background, &hot, count);
    for finished in all {
        let expected: Vec<u8> = (0..1 + finished.id % 5).flat_map(|round| [round as u8; 10]).collect();
        assert_eq!(finished.output.expect("a healthy disk"), expected);
    }
    assert_eq!(background.outstanding(), 0);
}

#[test]
fn more_jobs_than_fit_wait_and_a_failed_operation_reaches_its_job() {
    let (dir, hot, mut background) = start();
    std::fs::write(dir.path().join("file"), b"not a folder").expect("a file");
    let count = JOBS_OUTSTANDING_MAX + 50;
    for id in 0..count as u64 {
        background.submit(id, Append { rounds: 1, done: 0, path: "file/below".into() });
    }
    background.flush();
    assert_eq!(background.outstanding(), count);
    let all = collect(&mut background, &hot, count);
    assert!(all.iter().all(|finished| finished.output.is_err()));
}

#[test]
fn dropping_waits_for_the_jobs_that_run() {
    let (dir, _hot, mut background) = start();
    background.submit(1, Append { rounds: 20, done: 0, path: "x".into() });
    background.flush();
    drop(background);
    assert_eq!(std::fs::metadata(dir.path().join("x")).expect("written").len(), 200);
}

/// Keeps the thread that it interrupts from its core, for longer than glommio lets a task run by default.
extern "C" fn away(_: libc::c_int) {
    let while_away = libc::timespec { tv_sec: 0, tv_nsec: 110_000_000 };
    // SAFETY: one valid time; the answer is not asked for.
    unsafe { libc::nanosleep(&raw const while_away, std::ptr::null_mut()) };
}

#[test]
fn a_background_that_is_kept_from_its_core_at_any_moment_loses_no_job() {
    let (_dir, hot, background) = start();
    // A background that lost a job never ends, and waiting for it would hide what this test found.
    let mut background = ManuallyDrop::new(background);
    // SAFETY: the handler calls only what is safe in handlers, and nothing else in this process uses this signal.
    let before = unsafe { libc::signal(libc::SIGUSR2, away as *const () as libc::sighandler_t) };
    assert_eq!(before, libc::SIG_DFL);
    for id in 0..AWAY_ROUNDS {
        background.submit(id, Append { rounds: 1, done: 0, path: format!("d/{id}") });
        background.flush();
        let sent = Instant::now();
        while sent.elapsed() < AWAY_STEP * (id % 32) as u32 {
            std::hint::spin_loop();
        }
        let thread = background.thread.as_ref().expect("it runs").as_pthread_t();
        // SAFETY: the thread has not been joined.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR2) }, 0);
        assert_eq!(collect(&mut background, &hot, 1)[0].id, id);
    }
    drop(ManuallyDrop::into_inner(background));
}
