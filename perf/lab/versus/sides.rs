//! The brokers of a comparison: ours on an empty folder, Apache Kafka on another one, or one that runs already; and the
//! sides that they are measured as, since a topic's configs decide what an acknowledgement is worth.
//! Must never touch: loads.

use super::table::{Aims, Pairing, RawSide};
use crate::admin::api_versions;
use crate::lab::cluster::{self, NEVER};
use crate::lab::error::LabError;
use crate::lab::guard::{Guarded, Started};
use crate::lab::kafka::{self, Kafka};
use crate::lab::result::{Broker, Durability};
use crate::lab::scenario::Topics;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// What both brokers get beyond their defaults: deleted topics must not stay on the disk while the next one is measured.
const DELETE_SOON: &str = "log.segment.delete.delay.ms=1000";
const FSYNC: &str = "fsync before ack";
const PAGE_CACHE: &str = "page cache: ack before the disk has it";
const UNKNOWN: &str = "durability unknown";
const WRITTEN: &str = "written to the device, no fsync";

/// A broker under measurement, with its process if that is ours or known.
pub struct Subject {
    /// For the result file.
    pub broker: Broker,
    /// Where its data lies, if it is on this machine and known.
    pub data: Option<PathBuf>,
    /// How it was started.
    pub command: Option<String>,
    process: Option<Process>,
}

enum Process {
    Ours(Guarded),
    Kafka(Kafka),
}

/// How often a broker that does not answer is asked again before it counts as gone, and how long after each time.
const ASKED_TIMES: u32 = 5;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Subject {
    /// Starts our broker on an empty folder in `data`.
    pub fn ours(binary: &Path, data: &Path, arguments: &[String], stop: &AtomicBool) -> Result<Subject, String> {
        let address = format!("127.0.0.1:{}", kafka::free_port()?);
        let folder = data.join("coretide");
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let folder = std::path::absolute(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut line: Vec<String> =
            ["serve", "--listen", &address, "--override", DELETE_SOON, "--data"].map(String::from).into();
        line.push(folder.display().to_string());
        line.extend(arguments.iter().cloned());
        let guarded = Guarded::start(Started {
            program: binary,
            arguments: line.iter().map(Into::into).collect(),
            environment: Vec::new(),
            folder: &folder,
            log: &data.join("coretide.log"),
            remove: Some(&folder),
        })?;
        kafka::wait_until_ready(&guarded, &address, "coretide", stop)?;
        let broker = cluster::describe(&address, Some("coretide"), &Topics::default()).map_err(|e| e.to_string())?;
        let broker = Broker { pid: Some(guarded.pid()), ..broker };
        let command = Some(format!("{} {}", binary.display(), line.join(" ")));
        Ok(Subject { broker, data: Some(folder), command, process: Some(Process::Ours(guarded)) })
    }

    /// Starts Apache Kafka on an empty folder in `data`.
    pub fn kafka(
        install: &kafka::Install,
        data: &Path,
        extra: &[String],
        stop: &AtomicBool,
    ) -> Result<Subject, String> {
        let folder = data.join("kafka");
        let lines: Vec<String> = std::iter::once(DELETE_SOON.to_string()).chain(extra.iter().cloned()).collect();
        let kafka = Kafka::start(install, &folder, &lines, stop)?;
        let name = install.name();
        let broker = cluster::describe(&kafka.address, Some(&name), &Topics::default()).map_err(|e| e.to_string())?;
        let broker = Broker { pid: Some(kafka.pid()), ..broker };
        let command = Some(kafka.command.clone());
        Ok(Subject { broker, data: Some(folder), command, process: Some(Process::Kafka(kafka)) })
    }

    /// A broker that runs already; its process, if it is on this machine and named.
    pub fn running(address: &str, pid: Option<u32>) -> Result<Subject, LabError> {
        let mut broker = cluster::describe(address, Some(address), &Topics::default())
            .map_err(|why| LabError::Failed(format!("the broker to compare with, {address}: {why}")))?;
        broker.pid = pid.or(broker.pid);
        Ok(Subject { broker, data: None, command: None, process: None })
    }
}

impl Subject {
    /// What became of it, if it does not run any more or answers nobody.
    pub fn gone(&self) -> Option<String> {
        let name = &self.broker.name;
        let process = match &self.process {
            Some(Process::Ours(guarded)) => Some(guarded),
            Some(Process::Kafka(kafka)) => Some(kafka.process()),
            None => None,
        };
        if let Some(process) = process.filter(|process| !process.is_running()) {
            return Some(format!("{name} has ended in the middle; {}", process.last_words()));
        }
        for _ in 0..ASKED_TIMES {
            if api_versions(&self.broker.address).is_ok() {
                return None;
            }
            thread::sleep(ASK_AGAIN_AFTER);
        }
        Some(format!("{name} does not answer any more at {}", self.broker.address))
    }
}

/// The place of our broker among the subjects.
pub const OURS: usize = 0;
/// The place of the other one.
pub const OTHER: usize = 1;

/// What is to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Kafka as it comes (page cache) against ours durable: unequal, in Kafka's favour
    AsItComes,
    /// Kafka as it comes against ours with Kafka's flush settings: no fsync on either side
    FlushSettings,
    /// An fsync before each ack on both sides
    Fsync,
}

/// Every profile.
pub const PROFILES: [Profile; 3] = [Profile::AsItComes, Profile::FlushSettings, Profile::Fsync];

/// The sides and the pairings of profiles.
pub struct Sides {
    /// Who is measured.
    pub sides: Vec<RawSide>,
    /// What is put against what.
    pub pairings: Vec<(Pairing, Aims)>,
}

impl Sides {
    /// Those of ours against Apache Kafka called `kafka`.
    pub fn against_kafka(kafka: &str, profiles: &[Profile]) -> Sides {
        let mut sides = Sides { sides: Vec::new(), pairings: Vec::new() };
        for profile in PROFILES.iter().filter(|profile| profiles.contains(profile)) {
            let (ours, theirs, equal, aims, question) = match profile {
                Profile::AsItComes => {
                    let question = "Kafka as it comes, ours with an fsync before every ack: unequal, in Kafka's favour";
                    (ours(FSYNC, None), theirs(kafka, PAGE_CACHE, None), false, Aims::AsItComes, question)
                }
                Profile::FlushSettings => {
                    let question = "no fsync on either side: Kafka as it comes, ours with Kafka's flush settings. Neither promises anything \
                                    for a power cut; what ours has acknowledged has left the page cache";
                    (ours(WRITTEN, Some(NEVER)), theirs(kafka, PAGE_CACHE, None), true, Aims::None, question)
                }
                Profile::Fsync => {
                    let question = "an fsync before every ack on both sides (Kafka: flush.messages=1)";
                    (ours(FSYNC, None), theirs(kafka, FSYNC, Some("1")), true, Aims::BothFsync, question)
                }
            };
            sides.pair(ours, theirs, equal, aims, question);
        }
        sides
    }

    /// Those of ours against a broker that runs already, as its topics come.
    pub fn against_running(other: &Broker) -> Sides {
        let mut sides = Sides { sides: Vec::new(), pairings: Vec::new() };
        let equal = other.durability.promises_as(Durability::Fsync);
        let (durability, aims) = match other.durability {
            Durability::Fsync => (FSYNC, Aims::BothFsync),
            Durability::PageCache => (PAGE_CACHE, Aims::None),
            Durability::Unknown => (UNKNOWN, Aims::None),
            other @ (Durability::FlushedNowAndThen | Durability::Written) => (other.words(), Aims::None),
        };
        let question = if equal {
            "an fsync before every ack on both sides"
        } else {
            "the other broker as its topics come, ours with an fsync before every ack: unequal, or not known to be equal"
        };
        sides.pair(ours(FSYNC, None), theirs(&other.name, durability, None), equal, aims, question);
        sides
    }

    /// The places of the sides that a row is measured on: all, or those of the first comparison.
    pub fn of(&self, once: bool) -> Vec<usize> {
        match self.pairings.first() {
            Some((first, _)) if once => vec![first.side, first.base],
            _ => (0..self.sides.len()).collect(),
        }
    }

    fn pair(&mut self, ours: RawSide, theirs: RawSide, equal_durability: bool, aims: Aims, question: &str) {
        let [side, base] = [ours, theirs].map(|wanted| {
            self.sides.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                self.sides.push(wanted);
                self.sides.len() - 1
            })
        });
        self.pairings.push((Pairing { side, base, equal_durability, question: question.to_string() }, aims));
    }
}

fn side(name: &str, broker: usize, durability: &str, flush_messages: Option<&str>) -> RawSide {
    let topic_config = flush_messages.map(|value| ("flush.messages".to_string(), value.to_string()));
    RawSide {
        name: name.to_string(),
        broker,
        durability: durability.to_string(),
        topic_config: topic_config.into_iter().collect(),
    }
}

fn ours(durability: &str, flush_messages: Option<&str>) -> RawSide {
    side("coretide", OURS, durability, flush_messages)
}

fn theirs(name: &str, durability: &str, flush_messages: Option<&str>) -> RawSide {
    side(name, OTHER, durability, flush_messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::result::Measured;
    use crate::lab::versus::RawTable;

    #[test]
    fn three_profiles_need_four_sides_and_name_what_is_unequal() {
        let sides = Sides::against_kafka("Apache Kafka 9", &PROFILES);
        assert_eq!(sides.sides.len(), 4);
        assert_eq!(sides.pairings.len(), 3);
        for (pairing, aims) in &sides.pairings {
            let (side, base) = (&sides.sides[pairing.side], &sides.sides[pairing.base]);
            assert_eq!((side.broker, base.broker), (OURS, OTHER));
            assert_eq!(pairing.equal_durability, *aims != Aims::AsItComes);
            assert_eq!((side.durability == FSYNC) == (base.durability == FSYNC), pairing.equal_durability);
        }
        assert_eq!((sides.of(true), sides.of(false)), (vec![0, 1], vec![0, 1, 2, 3]));
        let one = Sides::against_kafka("k", &[Profile::Fsync]);
        assert_eq!((one.sides.len(), one.pairings[0].1), (2, Aims::BothFsync));
        let mut other = crate::lab::result::tests::sample_file(Measured::Raw(RawTable::default())).brokers.remove(0);
        for (durability, equal) in
            [(Durability::Fsync, true), (Durability::PageCache, false), (Durability::Unknown, false)]
        {
            other.durability = durability;
            assert_eq!(Sides::against_running(&other).pairings[0].0.equal_durability, equal);
        }
    }
}
