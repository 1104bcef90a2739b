//! What a comparison will take, told before it starts: minutes, and room on the disk.
//! Must never touch: brokers.

use super::Options;
use super::clients::{self, Role};
use super::rows::{Load, Row};
use std::time::Duration;

/// Warm-up, topic, settling and syncing of a turn, in seconds.
const AROUND_TURN_SECS: f64 = 3.5;
/// Making and deleting a partition, in seconds, where there are many.
const PARTITION_SECS: f64 = 0.006;
/// What brokers write of large batches, in bytes per second: between ours and Kafka's with an fsync before each ack.
const WRITES_PER_SEC: f64 = 0.5e9;
/// What they read from the disk, in bytes per second.
const READS_PER_SEC: f64 = 1.0e9;
/// What real clients send in a second, and what they take to start; consumers join a group.
const CLIENT_RECORDS_PER_SEC: f64 = 80_000.0;
const CLIENT_START_SECS: f64 = 1.5;
const CLIENT_JOIN_SECS: f64 = 4.0;
/// Until both brokers answer, in seconds.
const START_SECS: f64 = 10.0;
/// What the largest turn leaves room for beside its own topic: journals, logs, what is still being deleted.
const BESIDE_BYTES: f64 = 3e9;
/// The most that a row limited by time writes, in bytes per second.
const WRITES_MAX_PER_SEC: f64 = 1.5e9;

/// About how long a turn takes, in seconds.
pub fn turn_secs(row: &Row, options: &Options) -> f64 {
    let secs = row.secs(options.secs);
    AROUND_TURN_SECS
        + match row.load {
            Load::Closed { .. } if row.by_volume => secs.max(options.volume_gb * 1e9 / WRITES_PER_SEC),
            Load::Closed { partitions, .. } => secs + f64::from(partitions) * PARTITION_SECS,
            Load::Packed { .. } | Load::Open { .. } | Load::EndToEnd { .. } | Load::Fetch { .. } => secs,
            Load::Backlog => {
                let bytes = options.backlog_gb * 1e9;
                secs + bytes / WRITES_PER_SEC + 1.0 + bytes / READS_PER_SEC
            }
            Load::Client(client) => {
                let join = if client.role == Role::Consume { CLIENT_JOIN_SECS } else { 0.0 };
                CLIENT_START_SECS + join + clients::records(secs) as f64 / CLIENT_RECORDS_PER_SEC
            }
        }
}

/// The whole comparison: `turns` has every row with the number of sides that it is measured on.
pub fn whole_secs(turns: &[(&Row, usize)], options: &Options, warmup_secs: f64) -> f64 {
    let all = turns.iter().map(|(row, sides)| (sides * row.rounds(options.pairs)) as f64 * turn_secs(row, options));
    START_SECS + warmup_secs + all.sum::<f64>()
}

/// Room on the disk that the largest turn may need, in bytes.
pub fn disk_bytes(rows: &[&Row], options: &Options) -> u64 {
    let of = |row: &&Row| match row.load {
        Load::Closed { .. } if row.by_volume => options.volume_gb * 1e9 + WRITES_MAX_PER_SEC,
        Load::Backlog => options.backlog_gb * 1e9,
        Load::Closed { records: 2.., .. } | Load::Packed { .. } => options.secs * WRITES_MAX_PER_SEC / 2.0,
        Load::Closed { .. } => options.secs * WRITES_MAX_PER_SEC / 8.0,
        Load::Open { .. } | Load::EndToEnd { .. } | Load::Fetch { .. } => 0.0,
        Load::Client(_) => clients::records(options.secs) as f64 * 1100.0,
    };
    (rows.iter().map(of).fold(0.0, f64::max) + BESIDE_BYTES) as u64
}

/// Minutes in words.
pub fn minutes(secs: f64) -> String {
    let left = Duration::from_secs_f64(secs.max(0.0));
    match (left.as_secs() + 30) / 60 {
        0 => "less than a minute".to_string(),
        1 => "1 minute".to_string(),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROWS;
    use super::super::tests::options;
    use super::*;

    #[test]
    fn what_is_asked_for_without_a_word_takes_no_longer_than_50_minutes() {
        let options = options(&[]);
        let turns: Vec<(&Row, usize)> = ROWS.iter().map(|row| (row, if row.once { 2 } else { 4 })).collect();
        let secs = whole_secs(&turns, &options, options.warmup_secs + 10.0);
        assert!((30.0..50.0).contains(&(secs / 60.0)), "{}", minutes(secs));
        let twice = whole_secs(&turns, &Options { pairs: 2 * options.pairs, ..options.clone() }, 0.0);
        assert!(twice > 1.8 * secs);
        let brief: Vec<(&Row, usize)> = turns.into_iter().filter(|(row, _)| row.codec().is_some()).collect();
        assert_eq!(brief.len(), 5);
        let alone = whole_secs(&brief, &options, 0.0);
        assert!(alone - START_SECS <= 150.0, "{alone}");
        assert_eq!(
            whole_secs(&brief, &Options { pairs: 9, ..options.clone() }, 0.0),
            alone,
            "more rounds are none of theirs"
        );
    }

    #[test]
    fn room_is_needed_for_the_largest_turn() {
        let options = options(&["--volume-gb", "20", "--backlog-gb", "2"]);
        let all: Vec<&Row> = ROWS.iter().collect();
        assert!(disk_bytes(&all, &options) > 20_000_000_000);
        let fetches: Vec<&Row> = ROWS.iter().filter(|row| matches!(row.load, Load::Fetch { .. })).collect();
        assert!(disk_bytes(&fetches, &options) < 4_000_000_000);
    }

    #[test]
    fn minutes_are_whole() {
        assert_eq!(
            ["less than a minute", "1 minute", "2 minutes"],
            [20.0, 80.0, 119.0].map(minutes).each_ref().map(|s| s.as_str())
        );
    }
}
