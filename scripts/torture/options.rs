//! The flags. Must never touch: what they do.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Torture,
    Soak,
}

/// The flags of a run.
#[derive(Clone, Debug)]
pub struct Options {
    pub task: Task,
    /// The release binary of the broker.
    pub binary: PathBuf,
    /// Where the data and the broker's log go; none: a folder of our own that is removed when all went well.
    pub data: Option<PathBuf>,
    /// Everything random follows from it.
    pub seed: u64,
    /// At most so many cycles.
    pub cycles: u64,
    /// At most so long.
    pub time: Duration,
    /// How long a life lasts at most, about.
    pub load: Duration,
    /// First proves that it can fail.
    pub self_test: bool,
    /// Keeps a copy of the data as the last kill left it.
    pub images: bool,
}

const SHORT_CYCLES: u64 = 8;

impl Options {
    /// Reads the arguments: `torture` or `soak`, then flags.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
        let mut arguments = arguments.into_iter();
        let task = match arguments.next().as_deref() {
            Some("torture") => Task::Torture,
            Some("soak") => Task::Soak,
            other => return Err(format!("'torture' or 'soak' is expected, not {other:?}")),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let (mut cycles, mut minutes) = (None, None);
        let mut options = Options {
            task,
            binary: PathBuf::from("target/release/coretide"),
            data: None,
            seed: now % 1_000_000,
            cycles: u64::MAX,
            time: Duration::MAX,
            load: Duration::from_millis(2000),
            self_test: false,
            images: false,
        };
        while let Some(flag) = arguments.next() {
            let mut text = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--minutes" => minutes = Some(number(&flag, &text()?)?),
                "--cycles" => cycles = Some(number(&flag, &text()?)?),
                "--seed" => options.seed = number(&flag, &text()?)?,
                "--data" => options.data = Some(PathBuf::from(text()?)),
                "--binary" => options.binary = PathBuf::from(text()?),
                "--self-test" => options.self_test = true,
                "--images" => options.images = true,
                "--short" => {
                    (options.self_test, cycles) = (true, Some(SHORT_CYCLES));
                    options.load = Duration::from_millis(800);
                }
                _ => return Err(format!("there is no flag {flag}")),
            }
        }
        options.limit(cycles, minutes);
        Ok(options)
    }

    fn limit(&mut self, cycles: Option<u64>, minutes: Option<u64>) {
        let default_minutes = match (self.task, cycles) {
            (Task::Soak, _) => Some(30),
            (Task::Torture, None) => Some(10),
            (Task::Torture, Some(_)) => None,
        };
        self.cycles = cycles.unwrap_or(u64::MAX);
        let only_self_test = self.self_test && cycles.is_none() && minutes.is_none();
        if only_self_test {
            self.cycles = 0;
        }
        if let Some(minutes) = minutes.or(default_minutes) {
            self.time = Duration::from_secs(60 * minutes);
        }
    }
}

fn number(flag: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{flag} needs a number, not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn flags_and_limits() {
        let options = read("torture --cycles 200 --seed 7 --images").expect("valid");
        assert_eq!((options.cycles, options.seed, options.time, options.images), (200, 7, Duration::MAX, true));
        assert_eq!(read("torture").expect("valid").time, Duration::from_secs(600));
        assert_eq!(read("soak").expect("valid").time, Duration::from_secs(1800));
        assert_eq!(read("torture --self-test").expect("valid").cycles, 0);
        let short = read("torture --short").expect("valid");
        assert_eq!((short.cycles, short.self_test), (SHORT_CYCLES, true));
        for wrong in ["", "rest", "torture --seed", "torture --seed x", "torture --fast"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
