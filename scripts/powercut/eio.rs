//! One EIO from the disk on a write, a flush or a read: what fails must go offline, say so, and stay so; the rest goes on;
//! after a restart nothing acknowledged is missing. Must never touch: how the fault is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use coretide_client::Place;
use coretide_model::ErrorCode;

use crate::broker::Broker;
use crate::cuts::{SMALL, shown};
use crate::disk::{Fault, Survives};
use crate::lab::{Lab, Options};
use crate::load::probe;
use crate::volume::FileSystem;

/// What the broker says when another journal file could not be made: that costs room and no record.
const JOURNAL_NOT_GROWN: &str = "Its journal stays at";
/// How long the load may take to meet the fault, on a machine that stands still for minutes.
const FAULT_MAX: Duration = Duration::from_secs(400);
/// How long clients go on after it.
const AFTERMATH: Duration = Duration::from_millis(300);
/// Who writes and flushes; reads have a test of their own.
const WRITE_FAULTS: [Fault; 3] = [Fault::JournalWrite, Fault::SegmentWrite, Fault::Flush];

/// Each fault with a cut at its end, and unless it must be `short` with a kill, too. The error says what was not as it
/// should be.
pub fn run(options: &Options, fs: FileSystem, short: bool) -> Result<(), String> {
    let endings: &[bool] = if short { &[true] } else { &[true, false] };
    for fault in WRITE_FAULTS {
        for &with_cut in endings {
            let said = write_fault(options, fs, fault, with_cut)
                .map_err(|error| format!("{}, {fault:?} (seed {}): {error}", fs.name(), options.seed))?;
            println!("{}: {fault:?} failed once: {said}", fs.name());
        }
    }
    let said = read_fault(options, fs).map_err(|error| format!("{}, Read: {error}", fs.name()))?;
    println!("{}: a read failed once: {said}", fs.name());
    Ok(())
}

fn write_fault(options: &Options, fs: FileSystem, fault: Fault, with_cut: bool) -> Result<String, String> {
    let seed = options.seed.wrapping_mul(8).wrapping_add(fault as u64 * 2 + u64::from(with_cut));
    let mut lab = Lab::new(options, fs, seed, SMALL)?;
    let said_before = lab.setup.said().len();
    let mut broker = lab.first_start()?;
    let batches = 20 + lab.random.below(100);
    let load = lab.load(&mut broker, batches, 0)?;
    lab.disk.arm(fault);
    let met = await_fault(&lab, &mut broker);
    std::thread::sleep(AFTERMATH);
    load.finish();
    met?;
    let offline = aftermath(&mut lab, &mut broker, said_before)?;
    // Where the file system has given up nothing but a new mount helps.
    let with_cut = with_cut || !lab.file_system_works();
    if with_cut {
        lab.cut(Survives::Nothing, || broker.kill())?;
        lab.power_on()?;
    } else {
        broker.kill();
    }
    let broker = lab.setup.start(&lab.data())?;
    let verified = lab.verify(&broker).map_err(|wrong| shown(&wrong))?;
    let codes = probed(&lab, &broker)?;
    if let Some((place, code)) = codes.iter().find(|(_, code)| **code != 0) {
        return Err(format!("after the restart {place:?} still answers {code}"));
    }
    broker.kill();
    let said = lab.setup.said().split_off(said_before);
    if !said.contains("errno 5") {
        return Err(format!("all went well, but the broker's log does not say what went offline and why: {said}"));
    }
    Ok(format!(
        "{offline} of {} partitions offline until the restart after a {}, {} records as they were, {} more",
        codes.len(),
        if with_cut { "power cut" } else { "kill" },
        verified.compared,
        verified.found
    ))
}

fn await_fault(lab: &Lab, broker: &mut Broker) -> Result<(), String> {
    let began = Instant::now();
    while lab.disk.is_armed() {
        if let Some(status) = broker.ended() {
            return Err(format!("the broker ended by itself ({status}): {}", lab.setup.last_words()));
        }
        if began.elapsed() > FAULT_MAX {
            return Err("nothing met the fault".to_string());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What is offline must say so, again and again, and still show what was acknowledged; the rest must take records. Returns
/// how many partitions are offline: none where only a journal file was being made, which no record is in yet.
fn aftermath(lab: &mut Lab, broker: &mut Broker, said_before: usize) -> Result<usize, String> {
    if let Some(status) = broker.ended() {
        return Err(format!("the broker ended by itself ({status}): {}", lab.setup.last_words()));
    }
    let first = offline(&probed(lab, broker)?)?;
    if first.is_empty() && !lab.setup.said()[said_before..].contains(JOURNAL_NOT_GROWN) {
        return Err("nothing went offline".to_string());
    }
    let all = probed(lab, broker)?.len();
    if first.len() == all && lab.file_system_works() {
        return Err("everything went offline, the shard that was not concerned, too".to_string());
    }
    if first.len() < all {
        lab.load(broker, 50, 100)?.finish();
    }
    let later = offline(&probed(lab, broker)?)?;
    if first != later {
        return Err(format!("first these were offline: {first:?}, later these: {later:?}"));
    }
    lab.glance(broker).map_err(|wrong| format!("while offline: {}", shown(&wrong)))?;
    Ok(first.len())
}

fn probed(lab: &Lab, broker: &Broker) -> Result<BTreeMap<Place, i16>, String> {
    probe(&broker.address, &lab.shared).map_err(|error| format!("probing: {error}"))
}

/// The partitions that refuse for the right reason; any other reason is an error.
fn offline(codes: &BTreeMap<Place, i16>) -> Result<BTreeSet<Place>, String> {
    let mut refusing = BTreeSet::new();
    for (place, code) in codes {
        match ErrorCode::from_code(*code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::KafkaStorageError) => {
                refusing.insert(place.clone());
            }
            _ => return Err(format!("{place:?} answers {code} where KAFKA_STORAGE_ERROR is due")),
        }
    }
    Ok(refusing)
}

/// A read that fails once may cost an answer, never a record, and never a wrong one.
fn read_fault(options: &Options, fs: FileSystem) -> Result<String, String> {
    let mut lab = Lab::new(options, fs, options.seed, SMALL)?;
    let mut broker = lab.first_start()?;
    let load = lab.load(&mut broker, 200, 200)?;
    load.finish();
    broker.kill();
    // Nothing is in the new process's memory: all that is read comes from the disk.
    let broker = lab.setup.start(&lab.data())?;
    lab.disk.arm(Fault::Read);
    let first = lab.glance(&broker);
    if lab.disk.is_armed() {
        return Err("nothing met the fault".to_string());
    }
    if let Err(wrong) = &first
        && !wrong.iter().all(|line| line.starts_with("not everything could be read back"))
    {
        return Err(shown(wrong));
    }
    let verified = lab.verify(&broker).map_err(|wrong| shown(&wrong))?;
    let cost = if first.is_ok() { "it cost nobody anything" } else { "one answer was an error" };
    Ok(format!("{cost}; then {} records as they were", verified.compared))
}
