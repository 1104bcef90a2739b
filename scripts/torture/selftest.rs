//! Proof that the torture can fail: between a kill and the next start something is taken from the data behind the broker's
//! back, and the check must notice. Must never touch: the check.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coretide_stdx::prng::Prng;

use crate::broker::{Place, Settings, await_released};
use crate::crew;
use crate::verify;
use crate::world::World;

/// How long the producers work before the data is harmed.
const LOAD: Duration = Duration::from_millis(1200);

/// What is done to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Nothing: then nothing may be found.
    None,
    /// The last commits of each journal are zeros, as if they had been acknowledged before they were written.
    LastCommitsLost,
    /// The journals are zeros.
    JournalsEmptied,
    /// Half of a segment is cut off.
    SegmentCut,
    /// One bit of a segment is flipped.
    SegmentFlipped,
    /// A partition's folder is gone.
    FolderGone,
}

const HARMS: [Harm; 6] = [
    Harm::None,
    Harm::LastCommitsLost,
    Harm::JournalsEmptied,
    Harm::SegmentCut,
    Harm::SegmentFlipped,
    Harm::FolderGone,
];

/// How much of a journal goes with [`Harm::LastCommitsLost`].
const LOST_BYTES: usize = 64 << 10;

/// Runs all of them, each on data of its own below `place.data`.
pub fn run(place: &Place, seed: u64) -> Result<(), String> {
    for (number, harm) in HARMS.into_iter().enumerate() {
        let place = Place { data: place.data.with_extension(format!("self-test-{number}")), ..place.clone() };
        let said = one(&place, harm, seed + number as u64);
        fs::remove_dir_all(&place.data).map_err(|error| format!("{}: {error}", place.data.display()))?;
        match said? {
            None if harm == Harm::None => println!("self-test: without harm nothing is found"),
            None => return Err(format!("the self-test failed: {harm:?} was not noticed (seed {seed})")),
            Some(found) if harm == Harm::None => return Err(format!("without harm something was found: {found}")),
            Some(found) => println!("self-test: {harm:?} is noticed: {found}"),
        }
    }
    Ok(())
}

/// What the check, or the broker itself, says first.
fn one(place: &Place, harm: Harm, seed: u64) -> Result<Option<String>, String> {
    let world = World::new(place.address.clone());
    let mut prng = Prng::new(seed);
    let settings = Settings::lively(2, &[("coretide.destage.from.bytes", 64 << 10)]);
    let mut broker = place.start(&settings)?;
    broker.await_ready(place)?;
    crew::make_topics(&world, &mut prng)?;
    std::thread::scope(|scope| {
        let crew = crew::writers(scope, &world, &mut prng);
        world.open();
        world.rest(LOAD);
        // After a kill the journal still holds what the segments have, and a start mends them.
        let ended = match harm {
            Harm::SegmentCut | Harm::SegmentFlipped | Harm::FolderGone => {
                broker.ask_to_stop().and_then(|()| broker.await_stopped(place))
            }
            Harm::None | Harm::LastCommitsLost | Harm::JournalsEmptied => broker.kill(),
        };
        world.quit();
        crew.and(ended)
    })?;
    await_released(&place.data)?;
    do_harm(&place.data, harm)?;
    let mut broker = place.start(&settings)?;
    if let Err(refusal) = broker.await_ready(place) {
        return Ok(Some(format!("the broker does not start: {}", refusal.lines().last().unwrap_or_default())));
    }
    verify::check_all(&world, &mut prng);
    Ok(world.failures().into_iter().next())
}

fn do_harm(data: &Path, harm: Harm) -> Result<(), String> {
    let told = |error: std::io::Error| format!("harming {}: {error}", data.display());
    let mut files = Vec::new();
    collect(data, &mut files).map_err(told)?;
    let is_kept =
        |path: &&PathBuf| path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("kept-"));
    let segments = files.iter().filter(is_kept).filter(|path| path.extension().is_some_and(|name| name == "log"));
    let largest = segments.max_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    let largest = largest.ok_or("the topic 'kept' has no segment yet")?;
    let mut journals = files.iter().filter(|path| path.to_string_lossy().contains("journal-"));
    match harm {
        Harm::None => Ok(()),
        Harm::LastCommitsLost => journals.try_for_each(|path| change(path, Change::TailLost)).map_err(told),
        Harm::JournalsEmptied => journals.try_for_each(|path| change(path, Change::Emptied)).map_err(told),
        Harm::SegmentCut => change(largest, Change::Halved).map_err(told),
        Harm::SegmentFlipped => change(largest, Change::Flipped).map_err(told),
        Harm::FolderGone => {
            let folder = largest.parent().ok_or("a segment lies in no folder")?;
            fs::remove_dir_all(folder).map_err(told)
        }
    }
}

/// What becomes of a file's bytes.
#[derive(Clone, Copy, Debug)]
enum Change {
    TailLost,
    Emptied,
    Halved,
    Flipped,
}

fn change(path: &Path, change: Change) -> std::io::Result<()> {
    let mut bytes = fs::read(path)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match change {
        Change::TailLost => bytes[used.saturating_sub(LOST_BYTES)..used].fill(0),
        Change::Emptied => bytes.fill(0),
        Change::Halved => bytes.truncate(used / 2),
        Change::Flipped => bytes[used / 2] ^= 1,
    }
    fs::write(path, bytes)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
