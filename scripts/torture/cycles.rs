//! The torture: lives of the broker, one after the other, each ended at some moment, and the checks between them.
//! Must never touch: what the clients do.

use std::process::Command;
use std::time::{Duration, Instant};

use coretide_stdx::prng::Prng;

use crate::broker::{Broker, Place, Settings, await_released};
use crate::crew;
use crate::lag::percentile;
use crate::options::Options;
use crate::verify;
use crate::world::{Moment, World, value};

/// Topics that keep everything are made anew when their batches have this many bytes.
const KEPT_BYTES_MAX: u64 = 48 << 20;

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// `kill -9` after a time of load.
    After(Duration),
    /// `kill -9` this long after a client asked for something.
    At(Moment, Duration),
    /// `kill -9` this long after SIGTERM.
    WhileStopping(Duration),
    /// SIGTERM alone.
    Stop,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Log {
    /// From the start of the process to its first answer, in milliseconds.
    restarts_ms: Vec<u64>,
    kills: u64,
    kills_in_start: u64,
    stops: u64,
    renewed: usize,
    cycles: u64,
}

/// A run of the torture.
pub struct Torture<'a> {
    options: &'a Options,
    world: &'a World,
    place: &'a Place,
    prng: Prng,
    log: Log,
}

impl<'a> Torture<'a> {
    /// A run that has not begun.
    pub fn new(options: &'a Options, world: &'a World, place: &'a Place) -> Torture<'a> {
        let prng = Prng::new(options.seed);
        Torture { options, world, place, prng, log: Log::default() }
    }

    /// Runs all cycles. What went wrong stands in the world, or is returned.
    pub fn run(mut self) -> Result<(), String> {
        let begun = Instant::now();
        let world = self.world;
        let mut broker = self.start()?;
        crew::make_topics(world, &mut self.prng)?;
        let result = std::thread::scope(|scope| {
            scope.spawn(|| world.lag.run());
            let result = crew::embark(scope, world, &mut self.prng)
                .map_err(|error| (0, error))
                .and_then(|crew| self.cycles(&mut broker, crew.len(), begun).map_err(|error| (self.log.cycles, error)));
            // Whatever happened, the clients end; a dead broker ends their waiting.
            drop(broker);
            world.quit();
            world.lag.end();
            result
        });
        self.summarize(begun);
        result.map_err(|(cycle, error)| format!("cycle {cycle}: {error}"))
    }

    fn cycles(&mut self, broker: &mut Broker, clients: usize, begun: Instant) -> Result<(), String> {
        while self.log.cycles < self.options.cycles && begun.elapsed() < self.options.time {
            self.log.cycles += 1;
            let acked_before = value(&self.world.counters.acked_records);
            self.world.open();
            let how = self.end(broker)?;
            self.world.close();
            self.world.await_all_out(clients)?;
            self.rehearse(clients)?;
            self.keep_image()?;
            *broker = self.start()?;
            let restart_ms = self.log.restarts_ms.last().copied().unwrap_or(0);
            let began = Instant::now();
            let records = self.check()?;
            broker.still_lives(self.place)?;
            let acked = value(&self.world.counters.acked_records);
            println!(
                "cycle {:>4}  {how}; answers after {restart_ms} ms; {} acked, {records} read back in {} ms",
                self.log.cycles,
                acked - acked_before,
                began.elapsed().as_millis(),
            );
            if !self.world.failures().is_empty() {
                return Err("what was read back is not what was acknowledged".to_string());
            }
        }
        self.log.stops += 1;
        broker.ask_to_stop()?;
        broker.await_stopped(self.place)
    }

    /// Every life has other settings: all of them may change between two starts.
    fn settings(&mut self) -> Settings {
        let prng = &mut self.prng;
        let shards = 1 + prng.below(3);
        let more = [
            ("coretide.journal.file.bytes", 1 << (20 + prng.below(3))),
            ("coretide.journal.files.max", 3 + prng.below(6)),
            ("coretide.destage.from.bytes", 64 << (10 + prng.below(5))),
            ("coretide.direct.from.bytes", 16 << (10 + prng.below(4))),
            ("coretide.shard.cache.bytes", 1 << (20 + prng.below(5))),
        ];
        Settings::lively(shards, &more)
    }

    fn start(&mut self) -> Result<Broker, String> {
        let settings = self.settings();
        let mut broker = self.place.start(&settings)?;
        let took = broker.await_ready(self.place)?;
        self.log.restarts_ms.push(took.as_millis() as u64);
        Ok(broker)
    }

    /// Lets the broker work until its end. Returns how it ended, in words.
    fn end(&mut self, broker: &mut Broker) -> Result<String, String> {
        let micros = |prng: &mut Prng, below: u64| Duration::from_micros(prng.below(below));
        let prng = &mut self.prng;
        let end = match prng.below(12) {
            0..6 => End::After(Duration::from_millis(20) + micros(prng, self.options.load.as_micros() as u64)),
            6..10 => End::At(Moment::ALL[prng.below(Moment::ALL.len() as u64) as usize], micros(prng, 8_000)),
            10 => End::WhileStopping(micros(prng, 60_000)),
            _ => End::Stop,
        };
        match end {
            End::After(time) => self.world.rest(time),
            End::At(moment, delay) => {
                self.world.rest(self.options.load / 4);
                let before = self.world.moments(moment);
                let until = Instant::now() + 4 * self.options.load;
                while self.world.moments(moment) == before && Instant::now() < until {
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::thread::sleep(delay);
            }
            End::WhileStopping(_) | End::Stop => self.world.rest(self.options.load / 2),
        }
        broker.still_lives(self.place)?;
        if let End::WhileStopping(_) | End::Stop = end {
            broker.ask_to_stop()?;
        }
        match end {
            End::Stop => {
                self.log.stops += 1;
                broker.await_stopped(self.place)?;
            }
            End::WhileStopping(delay) => std::thread::sleep(delay),
            End::After(_) | End::At(..) => {}
        }
        if !matches!(end, End::Stop) {
            self.log.kills += 1;
            broker.kill()?;
        }
        Ok(match end {
            End::After(time) => format!("killed after {:.2} s", time.as_secs_f64()),
            End::At(moment, delay) => format!("killed {:.1} ms after {moment:?}", delay.as_secs_f64() * 1e3),
            End::WhileStopping(delay) => format!("killed {:.1} ms into its stop", delay.as_secs_f64() * 1e3),
            End::Stop => "stopped".to_string(),
        })
    }

    /// Starts that are killed before, or right after, they are ready.
    fn rehearse(&mut self, clients: usize) -> Result<(), String> {
        for _ in 0..self.prng.below(3) {
            let settings = self.settings();
            let mut broker = self.place.start(&settings)?;
            if self.prng.chance(2, 3) {
                std::thread::sleep(Duration::from_micros(self.prng.below(50_000)));
                self.log.kills_in_start += 1;
            } else {
                broker.await_ready(self.place)?;
                self.world.open();
                std::thread::sleep(Duration::from_micros(self.prng.below(200_000)));
                broker.still_lives(self.place)?;
            }
            self.log.kills += 1;
            broker.kill()?;
            self.world.close();
            self.world.await_all_out(clients)?;
        }
        Ok(())
    }

    /// Reads everything back: half of the time before the clients come back, half of the time while they are at it.
    fn check(&mut self) -> Result<u64, String> {
        verify::check_commits(self.world);
        let alone = self.prng.chance(1, 2);
        if !alone {
            self.world.open();
        }
        let records = verify::check_all(self.world, &mut self.prng);
        if alone && self.world.failures().is_empty() {
            self.log.renewed += crew::renew_topics(self.world, &mut self.prng, KEPT_BYTES_MAX)?;
        }
        Ok(records)
    }

    /// Keeps the data as the last life left it, if that is wanted.
    fn keep_image(&self) -> Result<(), String> {
        if !self.options.images {
            return Ok(());
        }
        await_released(&self.place.data)?;
        let image = self.place.data.with_extension("image");
        let script = "rm -rf \"$2\" && cp -a --sparse=always \"$1\" \"$2\"";
        let copied = Command::new("sh").args(["-c", script, "sh"]).arg(&self.place.data).arg(&image).status();
        match copied {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("the image could not be made: {other:?}")),
        }
    }

    fn summarize(&self, begun: Instant) {
        let (world, log) = (self.world, &self.log);
        let counters = &world.counters;
        let mut restarts = log.restarts_ms.clone();
        restarts.sort_unstable();
        let at = |percent: usize| percentile(&restarts, percent);
        let slow = restarts.iter().filter(|took| **took >= 1000).count();
        println!("\n== torture, seed {}, {} s", self.options.seed, begun.elapsed().as_secs());
        println!("cycles         {}", log.cycles);
        println!(
            "kills          {}, {} of them during a start; clean stops {}",
            log.kills, log.kills_in_start, log.stops
        );
        println!(
            "answers again  p50 {} ms, p90 {} ms, p99 {} ms, max {} ms; {slow} of {} took 1 s or more",
            at(50),
            at(90),
            at(99),
            at(100),
            restarts.len()
        );
        println!("the machine    {}", world.lag.text());
        let acked = (value(&counters.acked_records), value(&counters.acked_bytes) >> 20);
        println!(
            "acked          {} records, {} MiB; {} batches repeated",
            acked.0,
            acked.1,
            value(&counters.repeated_batches)
        );
        println!(
            "read back      {} records; {} consumed by groups",
            value(&counters.read_records),
            value(&counters.consumed_records)
        );
        println!("groups         {} commits, {} joins", value(&counters.commits), value(&counters.joins));
        println!(
            "topics         {} made, {} deleted, {} renewed; {} DeleteRecords",
            value(&counters.topics_created),
            value(&counters.topics_deleted),
            log.renewed,
            value(&counters.trims)
        );
        for (what, times) in world.refusals() {
            println!("  {times:>6} x {what}");
        }
    }
}
