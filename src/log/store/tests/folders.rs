//! Two topics of one name, one after the other: their folder is never both's, whichever shards they are on.

use std::sync::Arc;

use bytes::Bytes;
use coretide_model::{TopicId, TopicPartition};
use coretide_stdx::aligned::BufPool;

use super::disk::Disk;
use super::world::{World, small_config, small_limits};
use crate::io::Durability::Durable;
use crate::io::{FileId, IoError, Op, SegmentFile, Step};
use crate::store::jobs::{DestageJob, OwnDone, OwnOk, PrepareSpec, RemoveJob, RemoveSpec};
use crate::store::{LogConfig, StoreJob};

const OLD: TopicId = TopicId(1 << 64);
const NEW: TopicId = TopicId(2 << 64);

fn dir() -> Arc<str> {
    Arc::from("t-0")
}

fn destage(topic_id: TopicId, byte: u8) -> DestageJob {
    let prepare = PrepareSpec { topic_id, check_dir: true, new_file: true, allocate: Some(8192) };
    DestageJob::new(dir(), 0, prepare, 0, vec![Bytes::from(vec![byte; 4096])], BufPool::new(4096, 1))
}

/// A job between two steps.
struct Halfway<J> {
    job: J,
    due: Vec<Op>,
}

trait Steps {
    fn go(&mut self, results: Vec<crate::io::OpResult>) -> Step<OwnDone>;
}

impl Steps for DestageJob {
    fn go(&mut self, results: Vec<crate::io::OpResult>) -> Step<OwnDone> {
        self.step(results)
    }
}

impl Steps for RemoveJob {
    fn go(&mut self, results: Vec<crate::io::OpResult>) -> Step<OwnDone> {
        self.step(results)
    }
}

impl<J: Steps> Halfway<J> {
    fn new(job: J) -> Halfway<J> {
        Halfway { job, due: Vec::new() }
    }

    /// Executes what the job wants, and asks it what it wants next.
    fn step(&mut self, disk: &mut Disk) -> Option<OwnDone> {
        let mut results = Vec::new();
        for op in self.due.drain(..) {
            results.push(disk.run(&op));
            if results.last().is_some_and(Result::is_err) {
                break;
            }
        }
        match self.job.go(results) {
            Step::Do(ops) => {
                self.due = ops;
                None
            }
            Step::Done(done) => Some(done),
        }
    }

    fn finish(&mut self, disk: &mut Disk) -> OwnDone {
        loop {
            if let Some(done) = self.step(disk) {
                return done;
            }
        }
    }
}

fn first_byte(disk: &mut Disk) -> Option<u8> {
    let file = FileId::Segment { dir: dir(), base_offset: 0, kind: SegmentFile::Log };
    match disk.run(&Op::Read { file, at: 0, len: 1, direct: false }) {
        Ok(crate::io::OpOk::Data(bytes)) => bytes.first().copied(),
        _ => None,
    }
}

#[test]
fn a_folder_that_two_topics_make_at_the_same_time_is_one_s_and_the_other_waits() {
    // However far the younger one's shard comes between two steps of the older one's.
    for lead in 1..6 {
        let mut disk = Disk::default();
        let (mut old, mut new) = (Halfway::new(destage(OLD, 7)), Halfway::new(destage(NEW, 9)));
        assert!(old.step(&mut disk).is_none(), "it asks whose the folder is");
        let ahead: Vec<bool> = (0..lead).map(|_| new.step(&mut disk).is_some()).collect();
        assert!(!ahead[..ahead.len() - 1].contains(&true));
        let first = old.finish(&mut disk);
        let second = if ahead.contains(&true) { Ok(OwnOk::Done) } else { new.finish(&mut disk) };
        let winners = [&first, &second].iter().filter(|done| matches!(done, Ok(OwnOk::Done))).count();
        let losers = [&first, &second].iter().filter(|done| matches!(done, Ok(OwnOk::Busy))).count();
        assert_eq!((winners, losers), (1, 1), "lead {lead}: {first:?}, {second:?}");
        let due = if matches!(first, Ok(OwnOk::Done)) { 7 } else { 9 };
        assert_eq!(first_byte(&mut disk), Some(due), "lead {lead}: what is there is the winner's alone");
        // The older one goes now: only what is its own.
        Halfway::new(RemoveJob::new(RemoveSpec::Log { dir: dir(), topic_id: OLD })).finish(&mut disk).expect("removed");
        assert_eq!(first_byte(&mut disk), (due == 9).then_some(9), "lead {lead}");
        assert!(matches!(Halfway::new(destage(NEW, 9)).finish(&mut disk), Ok(OwnOk::Done)));
        assert_eq!(first_byte(&mut disk), Some(9));
        assert!(disk.paths().iter().all(|path| path.starts_with("t-0/")), "{:?}", disk.paths());
    }
}

#[test]
fn a_folder_without_an_owner_is_adopted() {
    let mut disk = Disk::default();
    let stray = FileId::Partition { dir: dir(), name: "stray" };
    disk.run(&Op::MakeDir { dir: dir() }).expect("made");
    disk.run(&Op::Allocate { file: stray, len: 10, zeros: false }).expect("made");
    assert!(matches!(Halfway::new(destage(NEW, 9)).finish(&mut disk), Ok(OwnOk::Done)));
    assert_eq!(first_byte(&mut disk), Some(9));
    assert!(matches!(Halfway::new(destage(OLD, 7)).finish(&mut disk), Ok(OwnOk::Busy)));
}

/// A segment that DeleteRecords left to be removed later, when its whole topic was deleted meanwhile and another one has
/// its name: its removal found the folder to be the old topic's, and removed a file of the new one.
#[test]
fn bug_ours_segments_of_a_deleted_topic_are_never_looked_for_in_the_folder_of_the_next() {
    let config = LogConfig { file_delete_delay_ms: 50, ..small_config() };
    let mut world = World::new(1, small_limits(), config);
    let tp = |id: u128| TopicPartition { topic_id: TopicId(id << 64), partition: 0 };
    world.create_as(1, tp(1), "t-0");
    for _ in 0..120 {
        world.append(1, 2500, Durable);
        world.settle();
    }
    let (key, end) = (world.logs[&1].key, world.logs[&1].acked);
    world.store.set_log_start(key, world.now, end);
    world.store.delete_log(key);
    world.logs.remove(&1);
    // The segments' moment comes while the folder is about to be moved away, ...
    let is_removal = |op: &Op| matches!(op, Op::Remove { .. });
    world.go_on(100, |op| is_removal(op) || matches!(op, Op::RenameDir { .. }));
    // ... and they go once the next topic has it.
    world.create_as(2, tp(2), "t-0");
    for _ in 0..60 {
        world.append(2, 2500, Durable);
        world.go_on(10, is_removal);
    }
    let has_file = |world: &World| world.disk.paths().iter().any(|path| path == "t-0/00000000000000000000.log");
    assert!(has_file(&world), "what the test is about");
    world.settle();
    assert!(has_file(&world), "{:?}", world.disk.paths());
    world.check_all_reads();
}

#[test]
fn a_job_says_who_waits_for_it_and_whether_it_may_be_done_beside_the_ring() {
    let mut world = World::new(4, small_limits(), small_config());
    let log = world.create();
    for _ in 0..60 {
        world.append(log, 3000, Durable);
        world.settle();
    }
    let key = world.logs[&log].key;
    let crate::store::ReadPlan::Cold(read) = world.store.plan_read(key, 0, i64::MAX, 1000, true) else {
        panic!("the oldest records are not in memory")
    };
    let crate::store::TimeLookup::Cold(search) = world.store.max_timestamp(key, i64::MAX) else {
        panic!("there are records")
    };
    let kinds = |job: StoreJob| (job.is_read(), job.is_destage());
    assert_eq!(kinds(read.into_job()), (true, false));
    assert_eq!(kinds(search.into_job()), (true, false));
    assert_eq!(kinds(StoreJob::destage(destage(NEW, 1))), (false, true));
    assert_eq!(kinds(StoreJob::measure()), (false, false));
}

#[test]
fn a_name_is_taken_when_a_folder_could_not_get_it_and_not_when_something_else_failed() {
    let is_taken = |op, errno| IoError { op, path: String::new(), errno, message: String::new() }.is_name_taken();
    assert!(is_taken("rename", 17) && is_taken("rename", 39));
    assert!(!is_taken("rename", 5) && !is_taken("write", 17));
}
