//! A background job driven on the virtual disk, one operation at a time.

use std::collections::VecDeque;

use coretide_log::io::{Job, Op, OpResult, Step};

use crate::disk::SimDisk;

/// A background job and the operations it waits for.
#[derive(Debug)]
pub struct JobRun<J> {
    job: J,
    due: VecDeque<Op>,
    results: Vec<OpResult>,
}

/// Steps of one job without an operation in between: more is a loop.
const EMPTY_STEPS_MAX: u32 = 1000;

impl<J: Job> JobRun<J> {
    /// Begins the job; an output if it is over at once.
    pub fn begin(job: J) -> (JobRun<J>, Option<J::Output>) {
        let mut run = JobRun { job, due: VecDeque::new(), results: Vec::new() };
        let output = run.step();
        (run, output)
    }

    /// Executes the next operation; an output if the job is over with it.
    pub fn execute_one(&mut self, disk: &mut SimDisk) -> Option<J::Output> {
        let op = self.due.pop_front().expect("a job without operations is over");
        let result = disk.execute(&op);
        if result.is_err() {
            self.due.clear();
        }
        self.results.push(result);
        if self.due.is_empty() { self.step() } else { None }
    }

    /// The operation that is under way.
    pub fn in_flight(&self) -> Option<&Op> {
        self.due.front()
    }

    fn step(&mut self) -> Option<J::Output> {
        for _ in 0..EMPTY_STEPS_MAX {
            match self.job.step(std::mem::take(&mut self.results)) {
                Step::Do(ops) if ops.is_empty() => {}
                Step::Do(ops) => {
                    self.due = ops.into();
                    return None;
                }
                Step::Done(output) => return Some(output),
            }
        }
        panic!("a job asks for nothing and does not end");
    }
}
