//! What makes no sense in a scenario, key by key.
//! Must never touch: where the scenario came from.

use crate::lab::payload::STAMP_BYTES;
use crate::lab::scenario::{Acks, KeyKind, PayloadKind, Rate, RecordSize, Scenario};

/// A mistake in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The table it is in (empty: the top).
    pub table: &'static str,
    /// The key.
    pub key: &'static str,
    /// What is wrong, and which values are right.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.table {
            "" => write!(f, "{}: {}", self.key, self.text),
            table => write!(f, "{table}.{}: {}", self.key, self.text),
        }
    }
}

/// The most partitions that one run makes in all topics.
const PARTITIONS_MAX: u64 = 100_000;
const CLIENTS_MAX: u32 = 10_000;
const SECS_MAX: f64 = 7.0 * 86_400.0;
/// What a record of the largest size may have, in bytes.
const RECORD_BYTES_MAX: u32 = 64 << 20;
const RATE_MAX: f64 = 1e9;
/// What a batch of one record has beside the record's value at most, keys apart, in bytes: the batch's header, the record's own.
const AROUND_RECORD_BYTES: u64 = 61 + 21;

/// All mistakes of a scenario.
pub fn problems(scenario: &Scenario) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut demand = |holds: bool, table: &'static str, key: &'static str, text: String| {
        if !holds {
            found.push(Problem { table, key, text });
        }
    };
    let Scenario { secs, warmup_secs, topic, producers, consumers, .. } = scenario;
    demand(*secs > 0.0 && *secs <= SECS_MAX, "", "secs", format!("{secs} is not above 0 and at most {SECS_MAX}"));
    demand((0.0..=SECS_MAX).contains(warmup_secs), "", "warmup_secs", format!("{warmup_secs} is not 0 to {SECS_MAX}"));
    demand(topic.count >= 1, "topic", "count", "at least 1 topic is needed".to_string());
    demand(topic.partitions >= 1, "topic", "partitions", "at least 1 partition is needed".to_string());
    let all = u64::from(topic.count) * u64::from(topic.partitions);
    demand(all <= PARTITIONS_MAX, "topic", "partitions", format!("{all} in all topics are more than {PARTITIONS_MAX}"));
    demand(topic.replication_factor >= 1, "topic", "replication_factor", "at least 1 replica is needed".to_string());
    for (table, count) in [("producers", producers.count), ("consumers", consumers.count)] {
        demand(count <= CLIENTS_MAX, table, "count", format!("{count} is more than {CLIENTS_MAX}"));
    }
    let somebody = producers.count > 0 || consumers.count > 0;
    demand(somebody, "producers", "count", "0 producers and 0 consumers do nothing".to_string());
    demand(consumers.groups >= 1, "consumers", "groups", "at least 1 group is needed".to_string());
    let something = producers.count > 0 || consumers.backlog_bytes > 0;
    demand(something, "consumers", "backlog_bytes", "without producers there is nothing to read but a backlog".into());
    let client = &producers.client;
    demand(client.max_in_flight >= 1, "producers.client", "max.in.flight.requests.per.connection", "at least 1".into());
    demand(client.batch_num_messages >= 1, "producers.client", "batch.num.messages", "at least 1".into());
    demand(client.queue_max_messages >= 1, "producers.client", "queue.buffering.max.messages", "at least 1".into());
    let idempotent = !client.enable_idempotence || client.acks == Acks::All && client.max_in_flight <= 5;
    let text = "true needs acks = \"all\" and at most 5 in flight".to_string();
    demand(idempotent, "producers.client", "enable.idempotence", text);
    let largest = scenario.record.bytes.bounds().1;
    let needed = u64::from(client.batch_size.max(1)).max(u64::from(largest) + 128);
    let memory = format!("{} is less than one batch of {needed} bytes", client.buffer_memory);
    demand(client.buffer_memory >= needed, "producers.client", "buffer.memory", memory);
    let request =
        format!("{} is less than a record of {largest} bytes with what stands around it", client.max_request_size);
    let sends = producers.count > 0 || consumers.backlog_bytes > 0;
    let fits = !sends || u64::from(client.max_request_size) >= u64::from(largest) + AROUND_RECORD_BYTES;
    demand(fits, "producers.client", "max.request.size", request);
    demand(consumers.client.fetch_max_wait_ms >= 0, "consumers.client", "fetch.max.wait.ms", "at least 0".into());
    demand(consumers.client.fetch_min_bytes >= 0, "consumers.client", "fetch.min.bytes", "at least 0".into());
    let positive = consumers.client.max_partition_fetch_bytes >= 1;
    demand(positive, "consumers.client", "max.partition.fetch.bytes", "at least 1".into());
    demand(consumers.client.fetch_max_bytes >= 1, "consumers.client", "fetch.max.bytes", "at least 1".into());
    record_problems(scenario, &mut found);
    rate_problems(&producers.rate, &mut found);
    found
}

fn record_problems(scenario: &Scenario, found: &mut Vec<Problem>) {
    let mut demand = |holds: bool, key: &'static str, text: &str| {
        if !holds {
            found.push(Problem { table: "record", key, text: text.to_string() });
        }
    };
    let record = &scenario.record;
    let (least, most) = record.bytes.bounds();
    demand(most <= RECORD_BYTES_MAX, "bytes", "at most 67108864 (64 MiB)");
    demand(least <= most, "bytes", "min is larger than max");
    if let RecordSize::Mixture(sizes) = &record.bytes {
        demand(sizes.iter().any(|size| size.weight > 0), "bytes", "a mixture needs a size with a weight above 0");
    }
    let end_to_end = scenario.producers.count > 0 && scenario.consumers.count > 0;
    let stamp = "at least 8 with producers and consumers: a record's first 8 bytes say when it should have been sent";
    demand(!end_to_end || least as usize >= STAMP_BYTES, "bytes", stamp);
    let keyed = record.keys.kind != KeyKind::None;
    demand(!keyed || record.keys.count >= 1, "keys", "count: at least 1");
    demand(!keyed || record.keys.bytes >= 8, "keys", "bytes: at least 8");
    demand(record.keys.exponent >= 0.0, "keys", "exponent: at least 0");
    demand((0.0..=1.0).contains(&record.payload.compressibility), "payload", "compressibility: 0 to 1");
    let lines = record.payload.kind == PayloadKind::Lines;
    demand(lines == record.payload.file.is_some(), "payload", "kind = \"lines\" and file belong together");
}

fn rate_problems(rate: &Rate, found: &mut Vec<Problem>) {
    let sane = |rate: f64| (0.0..=RATE_MAX).contains(&rate);
    let text = match rate {
        Rate::Max => None,
        Rate::Fixed(rate) => {
            (!sane(*rate) || *rate == 0.0).then(|| format!("{rate} is not above 0 and at most {RATE_MAX}"))
        }
        Rate::Steps { steps } => {
            let fine = steps.iter().all(|step| sane(step.rate) && step.secs > 0.0);
            let some = steps.iter().any(|step| step.rate > 0.0);
            (!fine || !some).then(|| "steps need secs above 0 and a rate of 0 or more, one of them above 0".to_string())
        }
        Rate::Bursts { base, peak, every_secs, burst_secs } => {
            let fine = sane(*base) && sane(*peak) && *peak > 0.0 && (0.0..*every_secs).contains(burst_secs);
            (!fine).then(|| "bursts need a peak above 0, and burst_secs below every_secs".to_string())
        }
    };
    if let Some(text) = text {
        found.push(Problem { table: "producers", key: "rate", text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first problem of a scenario of which something was changed, as `table.key`.
    fn first(change: impl FnOnce(&mut Scenario)) -> String {
        let mut scenario = Scenario::named("x");
        change(&mut scenario);
        problems(&scenario).first().map(|problem| problem.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_default_is_sane() {
        assert_eq!(first(|_| {}), "");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(first(|s| s.secs = 0.0).starts_with("secs: 0 is not above 0"));
        assert!(first(|s| s.topic.partitions = 0).starts_with("topic.partitions"));
        assert!(first(|s| s.producers.count = 0).starts_with("producers.count"));
        assert!(first(|s| s.producers.rate = Rate::Fixed(-1.0)).starts_with("producers.rate"));
        assert!(first(|s| s.producers.client.acks = Acks::Leader).contains("enable.idempotence"));
        assert!(first(|s| s.producers.client.buffer_memory = 10).contains("buffer.memory"));
        assert!(first(|s| s.record.payload.compressibility = 2.0).starts_with("record.payload"));
        let short = |s: &mut Scenario| {
            s.consumers.count = 1;
            s.record.bytes = RecordSize::Fixed(4);
        };
        assert!(first(short).contains("at least 8"));
        let bursts = Rate::Bursts { base: 1.0, peak: 2.0, every_secs: 1.0, burst_secs: 2.0 };
        assert!(first(|s| s.producers.rate = bursts).contains("burst_secs"));
    }
}
