//! Jobs that the hot thread steps itself: their segment writes go through the hot ring, one at a time, and all else that
//! they ask for goes to the background. A write then costs no change of threads, and never more than one of them stands
//! between a commit and the disk.
//! Must never touch: what the jobs are for.

use std::collections::{BTreeMap, VecDeque};

use coretide_log::io::{Job, Op, OpResult, Step};

/// Marks the operations of these jobs among those of the shard.
const MARK: u64 = 1 << 63;

/// What a step of a job leads to.
pub(crate) enum Todo<T> {
    /// The background executes these; [`HotJobs::step`] with their results.
    Background(u64, Vec<Op>),
    /// A write waits; see [`HotJobs::next_write`].
    Write,
    /// The job is over.
    Done(u64, Box<T>),
}

/// The jobs of one hot thread.
pub(crate) struct HotJobs<J> {
    jobs: BTreeMap<u64, J>,
    writes: VecDeque<(u64, Op)>,
    /// The job whose write is on its way.
    writing: Option<u64>,
}

/// True for the id of an operation of one of these jobs.
pub(crate) fn is_of_hot_job(id: u64) -> bool {
    id & MARK != 0
}

impl<J: Job> HotJobs<J> {
    /// No jobs.
    pub(crate) fn new() -> HotJobs<J> {
        HotJobs { jobs: BTreeMap::new(), writes: VecDeque::new(), writing: None }
    }

    /// Takes a job in and takes its first step.
    pub(crate) fn begin(&mut self, id: u64, job: J) -> Option<Todo<J::Output>> {
        assert!(id & MARK == 0, "the shard counts its jobs from 1");
        self.jobs.insert(id, job);
        self.step(id | MARK, Vec::new())
    }

    /// Goes on with the results of the last operations.
    pub(crate) fn step(&mut self, marked: u64, results: Vec<OpResult>) -> Option<Todo<J::Output>> {
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

#[cfg(test)]
mod tests {
    use coretide_log::io::{Durability, FileId, IoError, OpOk};

    use super::*;

    /// Makes space, writes twice, syncs; yields how many results it was given, or the first error.
    struct Writer {
        steps: usize,
        results: usize,
    }

    const FILE: FileId = FileId::Journal { shard: 0, no: 0 };

    fn writer() -> Writer {
        Writer { steps: 0, results: 0 }
    }

    fn write(at: u64) -> Op {
        Op::Write { file: FILE, at, bytes: Default::default(), direct: true, durability: Durability::Written }
    }

    impl Job for Writer {
        type Output = Result<usize, IoError>;

        fn step(&mut self, results: Vec<OpResult>) -> Step<Self::Output> {
            self.steps += 1;
            self.results += results.len();
            if let Some(Err(error)) = results.into_iter().find(Result::is_err) {
                return Step::Done(Err(error));
            }
            match self.steps {
                1 => Step::Do(vec![Op::Allocate { file: FILE, len: 1, zeros: false }, Op::Sync { file: FILE }]),
                2 | 3 => Step::Do(vec![write(self.steps as u64)]),
                4 => Step::Do(vec![Op::Sync { file: FILE }]),
                _ => Step::Done(Ok(self.results)),
            }
        }
    }

    fn in_background<T>(todo: Option<Todo<T>>) -> (u64, usize) {
        match todo {
            Some(Todo::Background(id, ops)) => (id, ops.len()),
            _ => panic!("something else than work for the background"),
        }
    }

    #[test]
    fn writes_take_the_hot_ring_one_at_a_time_and_all_else_the_background() {
        let mut jobs = HotJobs::new();
        let (one, count) = in_background(jobs.begin(1, writer()));
        assert!(is_of_hot_job(one) && count == 2);
        let (two, _) = in_background(jobs.begin(2, writer()));
        assert!(matches!(jobs.step(one, vec![Ok(OpOk::Done), Ok(OpOk::Done)]), Some(Todo::Write)));
        assert!(matches!(jobs.step(two, vec![Ok(OpOk::Done), Ok(OpOk::Done)]), Some(Todo::Write)));
        let order: Vec<u64> = std::iter::from_fn(|| {
            let (id, _) = jobs.next_write()?;
            assert!(jobs.next_write().is_none(), "one is on its way");
            let todo = jobs.step(id, vec![Ok(OpOk::Done)]);
            assert!(matches!(todo, Some(Todo::Write | Todo::Background(..))));
            Some(id)
        })
        .collect();
        assert_eq!(order, [one, two, one, two]);
        match jobs.step(one, vec![Ok(OpOk::Done)]) {
            Some(Todo::Done(1, output)) => assert_eq!(*output, Ok(5)),
            _ => panic!("its sync was the last of it"),
        }
        assert!(jobs.step(one, vec![Ok(OpOk::Done)]).is_none(), "it is over");
    }

    #[test]
    fn a_failed_write_ends_its_job_and_lets_the_next_go() {
        let mut jobs = HotJobs::new();
        let ids: Vec<u64> = [1, 2].into_iter().map(|id| in_background(jobs.begin(id, writer())).0).collect();
        for id in &ids {
            assert!(matches!(jobs.step(*id, vec![Ok(OpOk::Done), Ok(OpOk::Done)]), Some(Todo::Write)));
        }
        let (failing, _) = jobs.next_write().expect("two wait");
        let error = IoError { op: "write", path: FILE.path(), errno: 5, message: "input/output error".to_string() };
        match jobs.step(failing, vec![Err(error.clone())]) {
            Some(Todo::Done(1, output)) => assert_eq!(*output, Err(error)),
            _ => panic!("it was told of the failure"),
        }
        assert_eq!(jobs.next_write().map(|(id, _)| id), Some(ids[1]));
    }
}
