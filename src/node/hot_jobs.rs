//! Jobs that the hot thread steps itself: their segment writes go through the hot ring, one at a time, and all else that
//! they ask for goes to the background. A write then costs no change of threads, and never more than one of them stands
//! between a commit and the disk.
//! Must never touch: what the jobs are for.

use std::collections::{BTreeMap, VecDeque};

use coretide_log::io::{Job as _, Op, OpResult, Step};
use coretide_shard::{Job, JobOutput};

/// Marks the operations of these jobs among those of the shard.
const MARK: u64 = 1 << 63;

/// What a step of a job leads to.
pub(crate) enum Todo {
    /// The background executes these; [`HotJobs::step`] with their results.
    Background(u64, Vec<Op>),
    /// A write waits; see [`HotJobs::next_write`].
    Write,
    /// The job is over.
    Done(u64, Box<JobOutput>),
}

/// The jobs of one hot thread.
#[derive(Default)]
pub(crate) struct HotJobs {
    jobs: BTreeMap<u64, Job>,
    writes: VecDeque<(u64, Op)>,
    /// The job whose write is on its way.
    writing: Option<u64>,
}

impl HotJobs {
    /// Takes a job in and takes its first step.
    pub(crate) fn begin(&mut self, id: u64, job: Job) -> Option<Todo> {
        assert!(id & MARK == 0, "the shard counts its jobs from 1");
        self.jobs.insert(id, job);
        self.step(id | MARK, Vec::new())
    }

    /// True for the id of an operation of one of these jobs.
    pub(crate) fn owns(id: u64) -> bool {
        id & MARK != 0
    }

    /// Goes on with the results of the last operations.
    pub(crate) fn step(&mut self, marked: u64, results: Vec<OpResult>) -> Option<Todo> {
        let id = marked & !MARK;
        if self.writing == Some(id) {
            self.writing = None;
        }
        let mut ops = match self.jobs.get_mut(&id)?.step(results) {
            Step::Do(ops) => ops,
            Step::Done(output) => {
                self.jobs.remove(&id);
                return Some(Todo::Done(id, Box::new(output)));
            }
        };
        if let [Op::Write { direct: true, .. }] = ops.as_slice() {
            self.writes.extend(ops.pop().map(|write| (id, write)));
            return Some(Todo::Write);
        }
        assert!(!ops.is_empty(), "a job that wants nothing more is done");
        Some(Todo::Background(marked, ops))
    }

    /// The next write to submit, with its id; none while one is on its way.
    pub(crate) fn next_write(&mut self) -> Option<(u64, Op)> {
        if self.writing.is_some() {
            return None;
        }
        let (id, write) = self.writes.pop_front()?;
        self.writing = Some(id);
        Some((id | MARK, write))
    }
}
