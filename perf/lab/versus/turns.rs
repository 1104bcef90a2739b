//! Turns: one row on one side, with a topic of its own, and what else happened on the machine meanwhile.
//! Must never touch: what is made of the figures.

use super::rows::{Means, Measured, Row};
use super::sides::{OURS, Subject};
use super::table::{RawSide, RawTurn};
use crate::admin::{create_topic, delete_topic};
use crate::bench::Target;
use crate::lab::cluster::fresh_name;
use crate::lab::machine::discards_and_in_flight;
use crate::lab::result::Latency;
use crate::lab::sys::{sync_file_system, volume_bytes};
use crate::stats::{cpu_user_seconds, own_user_seconds, resident_mb};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The kernel's unit in /proc/stat, the same on every Linux.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;
/// A little more than deleted topics are kept on the disk.
const DELETED_AFTER: Duration = Duration::from_millis(1200);

/// How long the disk may go on discarding what was deleted, and how often it is asked.
const DISCARDED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// It has nothing more to discard when so many looks found that it did not.
const QUIET_LOOKS: u32 = 4;

/// Less room than this may be why a broker failed.
const ROOM_LITTLE_BYTES: u64 = 1_000_000_000;

/// How a row is measured.
pub struct Turn<'a> {
    /// What.
    pub row: &'a Row,
    /// As what.
    pub side: &'a RawSide,
    /// On whom.
    pub subject: &'a Subject,
    /// What else it needs.
    pub means: Means<'a>,
    /// Measured seconds, at least.
    pub secs: f64,
    /// Seconds before it.
    pub warmup_secs: f64,
    /// Bytes that a row by volume must carry.
    pub volume_bytes: u64,
    /// Set when the whole comparison is to end.
    pub stop: &'a Arc<AtomicBool>,
}

impl Turn<'_> {
    /// Runs it, deletes the topic also if it failed, and waits until the disk is at rest, so that what one side leaves to be
    /// written is not paid by the next.
    pub fn run(&self, place: usize) -> Result<RawTurn, String> {
        let broker = &self.subject.broker;
        let topic = fresh_name("versus");
        let own = self.row.own_topic_config().filter(|_| self.side.broker == OURS);
        let of_side = self.side.topic_config.iter().map(|(key, value)| format!("{key}={value}"));
        let configs: Vec<String> = of_side.chain(own.map(str::to_string)).collect();
        let said = |why: String| format!("{} ({}), {}: {why}", self.side.name, self.side.durability, self.row.name);
        // Nobody else's topic is measured, and none is deleted: one that is there already is an error.
        create_topic(&broker.address, &topic, self.row.partitions(), &configs).map_err(said)?;
        let target = Target {
            bootstrap: broker.address.clone(),
            pid: broker.pid,
            topic: topic.clone(),
            topic_configs: configs,
            no_create: false,
            secs: self.secs,
            bytes_at_least: if self.row.by_volume { self.volume_bytes } else { 0 },
            warmup_secs: self.warmup_secs,
            json: false,
            stop: Arc::clone(self.stop),
        };
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let before = Elsewhere::now(broker.pid);
        let outcome = self.row.measure(target, self.means);
        let after = Elsewhere::now(broker.pid);
        let deleted = delete_topic(&broker.address, &topic);
        let Measured { outcome, told, alone, from_disk, unpacked } =
            outcome.map_err(|why| said(self.with_room(why)))?;
        deleted.map_err(said)?;
        self.settle()?;
        let (before, after) = (before?, after?);
        Ok(RawTurn {
            started_at_ms: started_at,
            place,
            secs: outcome.secs,
            requests: outcome.requests,
            bytes: outcome.bytes,
            errors: outcome.errors,
            latency: told.unwrap_or_else(|| Latency::new(&outcome.latency)),
            alone,
            from_disk,
            unpacked,
            cpu_secs: outcome.cpu_secs,
            rss_bytes: broker.pid.map(resident_mb).transpose()?.map(|mb| (mb * f64::from(1 << 20)) as u64),
            steal_percent: after.steal_percent_since(&before),
            others_cores: after.others_cores_since(&before),
        })
    }

    /// A failure with the room that its broker's disk has left, where that may be why.
    fn with_room(&self, why: String) -> String {
        let free =
            self.subject.data.as_deref().and_then(|data| volume_bytes(data).ok()).map_or(u64::MAX, |(free, _)| free);
        if free < ROOM_LITTLE_BYTES {
            return format!("{why}; its disk has only {} MB left", free / 1_000_000);
        }
        why
    }

    fn settle(&self) -> Result<(), String> {
        thread::sleep(DELETED_AFTER);
        let Some(data) = &self.subject.data else { return Ok(()) };
        sync_file_system(data).map_err(|e| format!("{}: {e}", data.display()))?;
        // What a file system discards it discards after it has said that all is written.
        let end = Instant::now() + DISCARDED_WITHIN;
        let mut discards = None;
        let mut quiet_looks = 0;
        while let Some((now, in_flight)) = discards_and_in_flight(data)
            && Instant::now() < end
            && !self.stop.load(Ordering::Relaxed)
        {
            quiet_looks = if discards == Some(now) { quiet_looks + 1 } else { 0 };
            // What is on its way may be somebody else's, who never rests.
            if quiet_looks >= QUIET_LOOKS || (quiet_looks > 0 && in_flight == 0) {
                break;
            }
            discards = Some(now);
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        Ok(())
    }
}

/// CPU of the whole machine and of those who may use it, at one moment.
struct Elsewhere {
    at: Instant,
    all_ticks: f64,
    stolen_ticks: f64,
    user_secs: f64,
    broker_and_bench_user_secs: f64,
}

impl Elsewhere {
    fn now(broker: Option<u32>) -> Result<Elsewhere, String> {
        let stat = fs::read_to_string("/proc/stat").map_err(|e| format!("/proc/stat: {e}"))?;
        let [user, nice, all, stolen] = machine_ticks(&stat).ok_or("/proc/stat: not understood")?;
        let mut known = own_user_seconds()?;
        if let Some(pid) = broker {
            known += cpu_user_seconds(pid)?;
        }
        Ok(Elsewhere {
            at: Instant::now(),
            all_ticks: all,
            stolen_ticks: stolen,
            user_secs: (user + nice) / CLOCK_TICKS_PER_SECOND,
            broker_and_bench_user_secs: known,
        })
    }

    fn steal_percent_since(&self, before: &Elsewhere) -> f64 {
        let all = self.all_ticks - before.all_ticks;
        if all > 0.0 { 100.0 * (self.stolen_ticks - before.stolen_ticks) / all } else { 0.0 }
    }

    /// User time only: what the kernel's own threads do, they do for the broker.
    fn others_cores_since(&self, before: &Elsewhere) -> f64 {
        let known = self.broker_and_bench_user_secs - before.broker_and_bench_user_secs;
        let others = self.user_secs - before.user_secs - known;
        (others / self.at.duration_since(before.at).as_secs_f64()).max(0.0)
    }
}

/// User, nice, all and stolen time of the first line.
fn machine_ticks(stat: &str) -> Option<[f64; 4]> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // What follows the eighth is part of user and nice.
    let first = ticks.get(..8)?;
    Some([first[0], first[1], first.iter().sum(), first[7]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_its_ticks() {
        assert_eq!(machine_ticks("cpu  10 1 20 30 4 0 5 6 9 9\n"), Some([10.0, 1.0, 76.0, 6.0]));
        assert_eq!(machine_ticks("cpu  10 1\n"), None);
        assert_eq!(machine_ticks("intr 5\n"), None);
    }

    #[test]
    fn what_others_use_is_what_neither_broker_nor_bench_used() {
        let at = Instant::now();
        let before =
            Elsewhere { at, all_ticks: 0.0, stolen_ticks: 0.0, user_secs: 5.0, broker_and_bench_user_secs: 1.0 };
        let after = Elsewhere {
            at: at + Duration::from_secs(2),
            all_ticks: 400.0,
            stolen_ticks: 40.0,
            user_secs: 9.0,
            broker_and_bench_user_secs: 4.0,
        };
        assert_eq!(after.others_cores_since(&before), 0.5);
        assert_eq!(after.steal_percent_since(&before), 10.0);
    }
}
