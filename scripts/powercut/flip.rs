//! One bit of a record flips while the power is off: whoever reads it must be told so, in the answer and in the broker's
//! log, and all the rest must be as it was. Must never touch: how bits flip.

use std::collections::BTreeSet;

use bytes::Bytes;
use coretide_client::Place;
use coretide_log::batch::{check_crc, walk_batches};

use crate::cuts::shown;
use crate::disk::Survives;
use crate::lab::{Lab, Options};
use crate::volume::FileSystem;

/// One partition whose records go through the journal, and one whose runs go straight to their segment.
const VICTIMS: [(&str, i32); 2] = [("lone", 0), ("large", 1)];
/// Where behind a record's front the bit is.
const SKIP_BYTES: usize = 5;

/// A flip after a clean stop, and one after a kill, in each of the victims.
pub fn run(options: &Options, fs: FileSystem) -> Result<(), String> {
    for (victim, is_stopped) in VICTIMS.into_iter().flat_map(|victim| [(victim, true), (victim, false)]) {
        let place: Place = (victim.0.to_string(), victim.1);
        let after = if is_stopped { "a clean stop" } else { "a kill" };
        let said = one(options, fs, &place, is_stopped).map_err(|error| {
            format!("{}, a bit of {place:?} after {after} (seed {}): {error}", fs.name(), options.seed)
        })?;
        println!("{}: a bit of {}-{} flipped after {after}: {said}", fs.name(), place.0, place.1);
    }
    Ok(())
}

fn one(options: &Options, fs: FileSystem, place: &Place, is_stopped: bool) -> Result<String, String> {
    let mut lab = Lab::new(options, fs, options.seed, &[])?;
    let mut broker = lab.first_start()?;
    lab.load(&mut broker, 200, 100)?.finish();
    if is_stopped {
        broker.stop()?;
    } else {
        broker.kill();
    }
    let (offset, id) = lab.shared.ledger().some_record(place).ok_or("nothing to flip")?;
    lab.cut(Survives::All, || ())?;
    let front = id.front();
    let copies = lab.disk.flip_behind(&front, front.len() + SKIP_BYTES).len();
    if copies == 0 {
        return Err("the record is nowhere on the disk".to_string());
    }
    lab.power_on()?;
    lab.keep_copy()?;
    let before = lab.setup.said().len();
    let broker = match lab.setup.start(&lab.data()) {
        Ok(broker) => broker,
        Err(_) => return refused(&lab, before).map(|said| format!("{copies} copies; it does not start: {said}")),
    };
    let told = answer(&broker.address, place, offset)?;
    lab.verify_but(&broker, place).map_err(|wrong| format!("{told}; elsewhere: {}", shown(&wrong)))?;
    broker.kill();
    let said = refused(&lab, before).map_err(|error| format!("{told}, but {error}"))?;
    Ok(format!("{copies} copies; {told}; the log says: {said}"))
}

/// What a fetch of the record is told. The record itself would be a lie.
fn answer(address: &str, place: &Place, offset: i64) -> Result<String, String> {
    let (code, bytes) = crate::verify::fetch(address, place, offset).map_err(|error| error.to_string())?;
    if code != 0 {
        return Ok(format!("a fetch is told {code}"));
    }
    let found = walk_batches(&bytes).find(|(_, header)| header.base_offset <= offset && offset < header.next_offset());
    let Some((at, header)) = found else {
        return Err(format!(
            "a fetch at {offset} is answered without an error and without the record: it is lost silently"
        ));
    };
    let batch: Bytes = bytes.slice(at..at + header.total_bytes());
    match check_crc(&batch) {
        Ok(_) => Err("the changed record is served under a good checksum".to_string()),
        Err(error) => Err(format!("damaged bytes are served: {error}")),
    }
}

/// The lines of the broker's log that tell of damage.
fn refused(lab: &Lab, before: usize) -> Result<String, String> {
    let said = lab.setup.said().split_off(before);
    let is_about =
        |line: &&str| ["CRC", "crc", "checksum", "damaged", "corrupt"].iter().any(|word| line.contains(word));
    let lines: BTreeSet<&str> = said.lines().filter(is_about).collect();
    if lines.is_empty() {
        return Err(format!("the broker's log does not tell of damage: {}", said.trim()));
    }
    Ok(lines.into_iter().collect::<Vec<_>>().join(" | "))
}
