//! Kafka's own command line tools against the broker, and `kafka-dump-log` over the segments that it and the other clients'
//! brokers left after their clean stop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::broker::Broker;
use super::setup::KafkaTools;
use super::{INPUT, Places};
use coretide_errands::process::{self, Log};

/// How long one tool may take.
const TOOL_MAX: Duration = Duration::from_secs(60);
const TOPIC: &str = "tools-log";
const GROUP: &str = "tools-group";
const PARTITIONS: usize = 2;
/// How often the input is produced, so that 1 MiB segments roll; once with each codec.
const CODECS: &[&str] = &["none", "none", "none", "gzip", "none", "lz4", "none", "zstd", "none", "snappy", "none"];
/// What `kafka-dump-log` prints where something is wrong.
const COMPLAINTS: &[&str] = &[
    "isvalid: false",
    "Mismatches in",
    "out of order",
    "corrupt",
    "Exception",
    "Could not",
    "Found timestamp mismatch",
    "Indexed offset",
    "is not a valid",
];

/// Runs the tools; what they showed, in one line.
pub fn run(tools: &KafkaTools, places: &Places, broker: &mut Broker) -> Result<String, String> {
    let session = Session { tools, places, bootstrap: broker.bootstrap().to_string() };
    let lines = produce(&session)?;
    let server = ["--bootstrap-server", &session.bootstrap];
    let described = session.tool("topics", TOPICS, &[&server[..], &["--describe", "--topic", TOPIC]].concat())?;
    expect(&described, "PartitionCount: 2")?;
    expect(&described, "segment.bytes=1048576")?;
    let count = lines.to_string();
    let from = ["--topic", TOPIC, "--group", GROUP, "--from-beginning", "--max-messages", &count];
    let read = session.tool("consumer", CONSUMER, &[&server[..], &from, &["--timeout-ms", "20000"]].concat())?;
    expect(&read, &format!("Processed a total of {lines} messages"))?;
    let group = session.tool("groups", GROUPS, &[&server[..], &["--describe", "--group", GROUP]].concat())?;
    expect_lag_free(&group, lines)?;
    let of_topic = ["--describe", "--entity-type", "topics", "--entity-name", TOPIC, "--all"];
    let config = session.tool("configs", CONFIGS, &[&server[..], &of_topic].concat())?;
    expect(&config, "segment.bytes=1048576")?;
    expect(&config, "retention.ms=604800000")?;
    let of_brokers = ["--describe", "--entity-type", "brokers", "--all"];
    expect(&session.tool("broker-configs", CONFIGS, &[&server[..], &of_brokers].concat())?, "log.segment.bytes=")?;
    let offsets = session.tool("offsets", OFFSETS, &[&server[..], &["--topic", TOPIC]].concat())?;
    expect_ends(&offsets, lines)?;
    broker.stop()?;
    let Some(data) = broker.data() else {
        return Ok(format!(
            "{lines} records through topics, console, groups, configs and get-offsets; no segments to dump"
        ));
    };
    let own = dump(&session, "dump-log", &segments_of(data, |name| name.starts_with(TOPIC))?)?;
    if own.records != lines || own.files < PARTITIONS * 3 {
        return Err(format!("kafka-dump-log found {} of {lines} records in {} segments", own.records, own.files));
    }
    let mut others = Vec::new();
    for entry in list(&places.work.join("data"))? {
        others.extend(segments_of(&entry, |name| !name.starts_with(TOPIC))?);
    }
    let rest = if others.is_empty() { Dumped::default() } else { dump(&session, "dump-log-others", &others)? };
    Ok(format!(
        "{lines} records through topics, console, groups, configs and get-offsets; kafka-dump-log: {} segments, {} records \
         without a complaint",
        own.files + rest.files,
        own.records + rest.records
    ))
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";

struct Session<'a> {
    tools: &'a KafkaTools,
    places: &'a Places,
    bootstrap: String,
}

impl Session<'_> {
    /// Runs one tool; its output.
    fn tool(&self, name: &str, class: &str, arguments: &[&str]) -> Result<String, String> {
        self.tool_with_input(name, class, arguments, Stdio::null())
    }

    fn tool_with_input(&self, name: &str, class: &str, arguments: &[&str], input: Stdio) -> Result<String, String> {
        let log = Log::create(&self.places.work.join(format!("logs/kafka-tools-{name}.log")))?;
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"]).arg(&self.tools.class_path).arg(class);
        process::run_with_input(java.args(arguments).env("LC_ALL", "C.UTF-8"), input, &log, TOOL_MAX)?;
        Ok(log.text())
    }
}

/// Makes the topic and produces the input some times. Returns how many records there are.
fn produce(session: &Session<'_>) -> Result<usize, String> {
    let server = ["--bootstrap-server", &session.bootstrap];
    let _ = session.tool("delete", TOPICS, &[&server[..], &["--delete", "--if-exists", "--topic", TOPIC]].concat());
    let partitions = PARTITIONS.to_string();
    let shape = ["--create", "--topic", TOPIC, "--partitions", &partitions, "--config", "segment.bytes=1048576"];
    session.tool("create", TOPICS, &[&server[..], &shape].concat())?;
    let input = session.places.root.join(INPUT);
    let text = fs::read_to_string(&input).map_err(|error| format!("{}: {error}", input.display()))?;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let times = CODECS.iter().filter(|of| **of == codec).count();
        let path = session.places.work.join(format!("tools-input-{codec}.tsv"));
        fs::write(&path, text.repeat(times)).map_err(|error| format!("{}: {error}", path.display()))?;
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let how = ["--topic", TOPIC, "--compression-codec", codec, "--reader-property", "parse.key=true"];
        let name = format!("producer-{codec}");
        session.tool_with_input(&name, PRODUCER, &[&server[..], &how].concat(), file.into())?;
    }
    Ok(text.lines().count() * CODECS.len())
}

fn expect(text: &str, wanted: &str) -> Result<(), String> {
    if text.contains(wanted) {
        return Ok(());
    }
    let shown: String = text.chars().take(1500).collect();
    Err(format!("a tool did not show \"{wanted}\" but: {shown}"))
}

/// The rows of `kafka-consumer-groups --describe` must say that the group has read everything.
fn expect_lag_free(text: &str, lines: usize) -> Result<(), String> {
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|row| row.starts_with(GROUP)).map(|row| row.split_whitespace().collect()).collect();
    let read: usize = rows.iter().filter_map(|row| row.get(3)?.parse::<usize>().ok()).sum();
    if rows.len() == PARTITIONS && read == lines && rows.iter().all(|row| row.get(5) == Some(&"0")) {
        return Ok(());
    }
    Err(format!("kafka-consumer-groups does not say that {lines} records are read: {text}"))
}

/// The rows `topic:partition:end` of `kafka-get-offsets` must add up.
fn expect_ends(text: &str, lines: usize) -> Result<(), String> {
    let rows = text.lines().filter(|row| row.starts_with(TOPIC));
    let sum: usize = rows.filter_map(|row| row.rsplit(':').next()?.parse::<usize>().ok()).sum();
    if sum == lines { Ok(()) } else { Err(format!("kafka-get-offsets adds up to {sum}, not {lines}: {text}")) }
}

#[derive(Default)]
struct Dumped {
    files: usize,
    records: usize,
}

/// Runs `kafka-dump-log` over segments and their indexes.
fn dump(session: &Session<'_>, name: &str, files: &[PathBuf]) -> Result<Dumped, String> {
    let names: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let list = names.join(",");
    let text = session.tool(name, DUMP, &["--deep-iteration", "--index-sanity-check", "--files", &list])?;
    if let Some(line) = text.lines().find(|line| is_complaint(line)) {
        return Err(format!("kafka-dump-log complains: {line} (see logs/kafka-tools-{name}.log)"));
    }
    let logs: Vec<&PathBuf> = files.iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    for file in files {
        expect(&text, &format!("Dumping {}", file.display()))?;
    }
    let records = text.lines().filter(|line| line.starts_with("| offset: ")).count();
    Ok(Dumped { files: logs.len(), records })
}

/// Kafka 4.3.1's tool takes the first record of a segment that does not begin at 0, its own segments too, for one that
/// follows -1; all other gaps count.
fn is_complaint(line: &str) -> bool {
    let gap = line.contains(" is followed by ") && !line.trim_start().starts_with("-1 ");
    gap || COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}

/// The segments of some topics in a data directory, with their indexes.
fn segments_of(data: &Path, wanted: fn(&str) -> bool) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for folder in list(data)?.iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_partition = name.rsplit_once('-').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
        if is_partition && wanted(&name) {
            files.extend(list(folder)?.into_iter().filter(|path| is_segment_file(path)));
        }
    }
    Ok(files)
}

fn is_segment_file(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    ["log", "index", "timeindex"].contains(&extension.as_str())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dump_log_complains_of_is_heard() {
        assert!(is_complaint("  7791 is followed by 7793"));
        assert!(is_complaint("Mismatches in :/data/log-0/00000000000000000000.index"));
        assert!(is_complaint("baseOffset: 0 lastOffset: 1 count: 2 isvalid: false"));
        assert!(!is_complaint("  -1 is followed by 7792"), "how it says that a segment does not begin at 0");
        assert!(!is_complaint("| offset: 1 CreateTime: 5 keySize: 14 valueSize: 67 sequence: 1 headerKeys: []"));
    }
}
