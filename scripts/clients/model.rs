//! `cargo x bench-model`: the producers that `coretide bench` models, held against the official Java producer and librdkafka: the
//! same settings and the same rate must give the same batches and requests within a tenth. The broker's own files say how large
//! the official producers' batches were, so nothing rests on what either client says about itself but the count of requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use coretide_errands::fetched::Missing;

use super::Places;
use super::broker::Broker;
use super::setup;

/// What `--help` prints.
pub const USAGE: &str =
    "usage: cargo x bench-model [--binary PATH] [--secs N] [--client java|librdkafka] [--data DIR] [NUMBER...]
  --binary PATH   the broker and bench to use instead of target/release/coretide
  --secs N        measured seconds of each run (10)
  --client NAME   only this of both clients
  --data DIR      in what folder the broker's data goes (memory, /dev/shm, where there is one: a disk that others use would
                  decide how long requests take)
  NUMBER...       only these of the 12 settings of each (1 to 12)
A setting that misses is measured twice again; the median of the three counts.";

/// Model and client may differ by this part.
const TOLERANCE: f64 = 0.10;
/// A client that falls behind its rate by more than this part says nothing.
const RATE_TOLERANCE: f64 = 0.03;
/// Where files are memory.
const MEMORY: &str = "/dev/shm";
/// Java's compiler needs some time.
const WARMUP_SECS: f64 = 5.0;

/// A client that is modelled.
struct Client {
    /// As `bench --client` calls it.
    name: &'static str,
    recipe: fn(&Places) -> Result<setup::Recipe, Missing>,
    settings: [Setting; 12],
}

/// One comparison: a load, and the client's settings beside its defaults.
#[derive(Clone, Copy)]
struct Setting {
    rate: u32,
    partitions: u32,
    record_bytes: u32,
    keys: u32,
    compressibility: f64,
    /// The client's name, the bench's flag, the value.
    client: &'static [(&'static str, &'static str, &'static str)],
}

const BASE: Setting =
    Setting { rate: 10_000, partitions: 1, record_bytes: 200, keys: 0, compressibility: 0.0, client: &[] };
const SLOW: Setting = Setting { rate: 1_000, client: &[("linger.ms", "linger-ms", "0")], ..BASE };
const UNACKED: Setting = Setting { client: &[("acks", "acks", "1"), ("linger.ms", "linger-ms", "50")], ..BASE };
const ONE_BY_ONE: Setting =
    Setting { client: &[("max.in.flight.requests.per.connection", "max-in-flight", "1")], rate: 5_000, ..BASE };

const JAVA: Client = Client {
    name: "java",
    recipe: setup::java_model,
    settings: [
        BASE,
        SLOW,
        Setting { client: &[("linger.ms", "linger-ms", "20"), ("batch.size", "batch-size", "65536")], ..BASE },
        Setting { partitions: 6, ..BASE },
        Setting { partitions: 6, keys: 10_000, ..BASE },
        Setting { partitions: 16, record_bytes: 1_000, client: &[("linger.ms", "linger-ms", "10")], ..BASE },
        Setting { partitions: 6, record_bytes: 1_000, client: &[("batch.size", "batch-size", "4096")], ..BASE },
        Setting {
            // Keyed: without keys a partition's turn often begins with a batch of one record, whose compression moves the learned
            // ratio far, and how many such records there are depends on microseconds.
            partitions: 4,
            keys: 10_000,
            compressibility: 0.5,
            record_bytes: 500,
            client: &[("compression.type", "compression", "lz4"), ("linger.ms", "linger-ms", "20")],
            ..BASE
        },
        UNACKED,
        ONE_BY_ONE,
        Setting { partitions: 100, keys: 100_000, client: &[("linger.ms", "linger-ms", "20")], ..BASE },
        Setting { rate: 1_000, partitions: 3, client: &[("linger.ms", "linger-ms", "100")], ..BASE },
    ],
};

const LIBRDKAFKA: Client = Client {
    name: "librdkafka",
    recipe: setup::librdkafka_model,
    settings: [
        BASE,
        SLOW,
        Setting { client: &[("linger.ms", "linger-ms", "50")], ..BASE },
        Setting { partitions: 6, client: &[("linger.ms", "linger-ms", "20")], ..BASE },
        Setting { partitions: 6, keys: 10_000, client: &[("linger.ms", "linger-ms", "20")], ..BASE },
        Setting { client: &[("batch.num.messages", "batch-num-messages", "20")], ..BASE },
        Setting {
            record_bytes: 1_000,
            client: &[("batch.size", "batch-size", "16384"), ("linger.ms", "linger-ms", "20")],
            ..BASE
        },
        Setting {
            compressibility: 0.5,
            record_bytes: 500,
            client: &[
                ("compression.type", "compression", "lz4"),
                ("batch.size", "batch-size", "16384"),
                ("linger.ms", "linger-ms", "50"),
            ],
            ..BASE
        },
        UNACKED,
        ONE_BY_ONE,
        Setting {
            partitions: 6,
            client: &[("sticky.partitioning.linger.ms", "sticky-partitioning-linger-ms", "100")],
            ..BASE
        },
        Setting { rate: 1_000, partitions: 3, keys: 10_000, client: &[("linger.ms", "linger-ms", "100")], ..BASE },
    ],
};

/// What a producer made of a load.
#[derive(Clone, Copy)]
struct Made {
    records_per_batch: f64,
    requests_per_s: f64,
}

/// What both made of the same load.
#[derive(Clone, Copy)]
struct Pair {
    ours: Made,
    theirs: Made,
}

impl Pair {
    fn batches(&self) -> f64 {
        self.ours.records_per_batch / self.theirs.records_per_batch
    }

    fn requests(&self) -> f64 {
        self.ours.requests_per_s / self.theirs.requests_per_s
    }

    /// How far the farther one of both ratios is from 1.
    fn distance(&self) -> f64 {
        (self.batches() - 1.0).abs().max((self.requests() - 1.0).abs())
    }
}

/// Runs the comparisons.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let (mut binary, mut secs, mut only, mut client) = (None, 10.0, Vec::new(), None);
    let mut data = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (argument.as_str(), argument.parse::<usize>()) {
            ("--binary", _) => binary = Some(PathBuf::from(rest.next().ok_or(USAGE)?)),
            ("--secs", _) => secs = rest.next().and_then(|text| text.parse().ok()).ok_or(USAGE)?,
            ("--data", _) => data = Some(PathBuf::from(rest.next().ok_or(USAGE)?)),
            ("--client", _) => client = Some(rest.next().ok_or(USAGE)?.clone()),
            (_, Ok(number @ 1..=12)) => only.push(number),
            _ => return Err(USAGE.to_string()),
        }
    }
    let clients: Vec<Client> =
        [JAVA, LIBRDKAFKA].into_iter().filter(|known| client.as_ref().is_none_or(|name| name == known.name)).collect();
    if clients.is_empty() {
        return Err(USAGE.to_string());
    }
    let root = crate::root()?;
    let places = Places { work: root.join("target/clients"), root };
    fs::create_dir_all(places.work.join("logs")).map_err(|error| format!("target/clients: {error}"))?;
    let mut recipes = Vec::new();
    for client in &clients {
        recipes.push((client.recipe)(&places).map_err(|missing| match missing {
            Missing::NotInstalled(what) => format!("not run: {what}"),
            Missing::Broken(why) => why,
        })?);
    }
    let binary = match binary {
        Some(binary) => binary,
        None => super::built_binary(&places)?,
    };
    let memory = PathBuf::from(MEMORY);
    let folder = data.unwrap_or_else(|| if memory.is_dir() { memory } else { places.work.clone() });
    let data = folder.join(format!("coretide-bench-model-{}", std::process::id()));
    let mut failed = 0;
    for (client, recipe) in clients.iter().zip(&recipes) {
        println!("{:>2}  {:<60} {:>22} {:>22}", "", "", "records per batch", "requests/s");
        let head = ["client", "bench", "", "client", "bench", ""];
        println!(
            "{:>2}  {:<60} {:>7} {:>7} {:>6} {:>7} {:>7} {:>6}",
            "", client.name, head[0], head[1], head[2], head[3], head[4], head[5]
        );
        for (place, setting) in client.settings.iter().enumerate() {
            if only.is_empty() || only.contains(&(place + 1)) {
                let run = Run { places: &places, binary: &binary, data: &data, client, recipe, setting, secs };
                failed += usize::from(!compared(&run, place + 1)?);
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} settings differ by more than {:.0} %", TOLERANCE * 100.0)) }
}

/// One setting of one client.
struct Run<'a> {
    places: &'a Places,
    binary: &'a Path,
    data: &'a Path,
    client: &'a Client,
    recipe: &'a setup::Recipe,
    setting: &'a Setting,
    secs: f64,
}

/// Compares and prints; true if both are near enough.
fn compared(run: &Run<'_>, number: usize) -> Result<bool, String> {
    let mut pairs = vec![measured(run)?];
    if pairs[0].distance() > TOLERANCE {
        pairs.extend([measured(run)?, measured(run)?]);
        pairs.sort_by(|a, b| a.distance().total_cmp(&b.distance()));
    }
    let pair = pairs[pairs.len() / 2];
    let near = pair.distance() <= TOLERANCE;
    println!(
        "{number:>2}  {:<60} {:>7.1} {:>7.1} {:>+5.0}% {:>7.1} {:>7.1} {:>+5.0}%{}{}",
        words(run.setting),
        pair.theirs.records_per_batch,
        pair.ours.records_per_batch,
        (pair.batches() - 1.0) * 100.0,
        pair.theirs.requests_per_s,
        pair.ours.requests_per_s,
        (pair.requests() - 1.0) * 100.0,
        if pairs.len() > 1 { "  median of 3" } else { "" },
        if near { "" } else { "  FAILED" },
    );
    Ok(near)
}

/// Both producers once, on a fresh broker.
fn measured(run: &Run<'_>) -> Result<Pair, String> {
    let mut broker = Broker::start(run.binary, run.data, &run.places.work.join("logs/bench-model.broker.log"))?;
    let ours = bench(run, broker.bootstrap())?;
    let theirs = official(run, &mut broker)?;
    drop(broker);
    fs::remove_dir_all(run.data).map_err(|error| format!("{}: {error}", run.data.display()))?;
    Ok(Pair { ours, theirs })
}

fn words(setting: &Setting) -> String {
    let Setting { rate, partitions, record_bytes, keys, .. } = setting;
    let mut words = format!("{rate}/s × {record_bytes} B, {partitions} p");
    if *keys > 0 {
        words.push_str(", keys");
    }
    for (name, _, value) in setting.client {
        let short = name.strip_suffix(".requests.per.connection").unwrap_or(name);
        words.push_str(&format!(", {short}={value}"));
    }
    words
}

/// The modelled producer.
fn bench(run: &Run<'_>, bootstrap: &str) -> Result<Made, String> {
    let Run { setting, binary, .. } = run;
    let mut command = Command::new(binary);
    command.args(["bench", "produce", "--json", "--client", run.client.name, "--bootstrap", bootstrap]);
    let mut flag = |name: &str, value: String| {
        command.args([format!("--{name}"), value]);
    };
    flag("secs", run.secs.to_string());
    flag("warmup-secs", "1".to_string());
    flag("rate", setting.rate.to_string());
    flag("partitions", setting.partitions.to_string());
    flag("record-bytes", setting.record_bytes.to_string());
    flag("compressibility", setting.compressibility.to_string());
    if setting.keys > 0 {
        flag("keys", "uniform".to_string());
        flag("key-count", setting.keys.to_string());
    }
    for (_, name, value) in setting.client {
        flag(name, value.to_string());
    }
    let output = command.output().map_err(|error| format!("{}: {error}", binary.display()))?;
    let result: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("bench: {}", String::from_utf8_lossy(&output.stderr)))?;
    let produced = &result["measured"]["produced"];
    let figure = |name: &str| produced[name].as_f64().ok_or(format!("the result has no {name}"));
    Ok(Made { records_per_batch: figure("records_per_batch")?, requests_per_s: figure("requests_per_s")? })
}

/// The official producer, its batches counted in the broker's files.
fn official(run: &Run<'_>, broker: &mut Broker) -> Result<Made, String> {
    const TOPIC: &str = "official";
    let Run { recipe, setting, .. } = run;
    let name = run.client.name;
    let mut create = Command::new(run.binary);
    create.args(["topic", "create", TOPIC, "--bootstrap", broker.bootstrap(), "--partitions"]);
    create.arg(setting.partitions.to_string()).stdout(Stdio::null());
    let created = create.status().map_err(|error| error.to_string())?;
    if !created.success() {
        return Err("the topic could not be created".to_string());
    }
    let mut command = Command::new(&recipe.program);
    command.args(&recipe.arguments).envs(recipe.environment.iter().map(|(name, value)| (name, value)));
    command.args([
        broker.bootstrap(),
        TOPIC,
        &setting.rate.to_string(),
        &WARMUP_SECS.to_string(),
        &run.secs.to_string(),
    ]);
    command.args([setting.record_bytes.to_string(), setting.keys.to_string(), setting.compressibility.to_string()]);
    command.args(setting.client.iter().map(|(name, _, value)| format!("{name}={value}")));
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<&str> = text.split_whitespace().collect();
    let figure = |name: &str| {
        let place = fields.iter().position(|field| *field == name);
        let value = place.and_then(|place| fields.get(place + 1)?.parse::<f64>().ok());
        value.ok_or_else(|| format!("{name} said {text:?} and {}", String::from_utf8_lossy(&output.stderr)))
    };
    let requests_per_s = figure("requests/s")?;
    let from_ms = figure("from_ms")? as i64;
    let (reached, wanted) = (figure("records/s")?, f64::from(setting.rate));
    if reached < wanted * (1.0 - RATE_TOLERANCE) {
        return Err(format!("{name} sent {reached:.0} records/s for {wanted}: the machine is too slow or too busy"));
    }
    // A clean stop brings all records into the segments.
    broker.stop()?;
    let (batches, records) = count_batches(run.data, TOPIC, from_ms)?;
    if batches == 0 {
        return Err("the official producer's batches are not in the broker's files".to_string());
    }
    Ok(Made { records_per_batch: records as f64 / batches as f64, requests_per_s })
}

/// Batches and records of a topic whose first record is not older than `from_ms`.
fn count_batches(data: &Path, topic: &str, from_ms: i64) -> Result<(u64, u64), String> {
    const HEADER_BYTES: usize = 61;
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let (mut batches, mut records) = (0, 0);
    for folder in fs::read_dir(data).map_err(|error| failed(data, error))?.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if name.rsplit_once('-').is_none_or(|(of, _)| of != topic) {
            continue;
        }
        for file in fs::read_dir(folder.path()).map_err(|error| failed(&folder.path(), error))?.flatten() {
            if file.path().extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let bytes = fs::read(file.path()).map_err(|error| failed(&file.path(), error))?;
            let mut at = 0;
            while let Some(header) = bytes.get(at..at + HEADER_BYTES) {
                let number = |from: usize| i32::from_be_bytes(header[from..from + 4].try_into().unwrap_or_default());
                let length = number(8);
                if length <= 0 {
                    break;
                }
                let base_ms = i64::from_be_bytes(header[27..35].try_into().unwrap_or_default());
                if base_ms >= from_ms {
                    batches += 1;
                    records += number(57) as u64;
                }
                at += 12 + length as usize;
            }
        }
    }
    Ok((batches, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counted_from_a_time_on() {
        let data = std::env::temp_dir().join(format!("coretide-model-{}", std::process::id()));
        let folder = data.join("official-0");
        fs::create_dir_all(&folder).unwrap();
        let mut bytes = Vec::new();
        for (base_ms, count) in [(100i64, 5i32), (200, 7), (300, 9)] {
            let mut batch = vec![0u8; 80];
            batch[8..12].copy_from_slice(&(80i32 - 12).to_be_bytes());
            batch[27..35].copy_from_slice(&base_ms.to_be_bytes());
            batch[57..61].copy_from_slice(&count.to_be_bytes());
            bytes.extend(batch);
        }
        bytes.resize(bytes.len() + 500, 0);
        fs::write(folder.join("00000000000000000000.log"), bytes).unwrap();
        assert_eq!(count_batches(&data, "official", 200), Ok((2, 16)));
        assert_eq!(count_batches(&data, "other", 0), Ok((0, 0)));
        fs::remove_dir_all(&data).unwrap();
    }
}
