//! `coretide produce`: records from lines, JSON, or the command line.
//! Must never touch: how records are batched and partitioned (the client does).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Stdin};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use coretide_client::admin::NewTopic;
use coretide_client::{Bytes, Codec, Compression, Delivery, Outgoing, Producer, ProducerConfig};
use coretide_model::ErrorCode;
use serde_json::{Value, json};

use crate::args::{Global, parse_pair};
use crate::exit::CliError;
use crate::output::print;
use crate::record_format::record_of_json;
use crate::topic::existing;

/// The longest line that is read; no broker takes larger records.
const LINE_MAX_BYTES: u64 = 1 << 30;
/// How much input is read at once. When it is used up what was collected is sent.
const INPUT_BUFFER_BYTES: usize = 256 << 10;

/// The flags of `produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo 'a first record' | coretide produce orders
  coretide produce orders --value hello --key greeting --header lang=en
  coretide produce orders --file lines.txt --key-separator : --compression zstd
  tail -f app.log | coretide produce logs --acks 1
  echo '{\"key\": \"7\", \"value\": {\"total\": 12}, \"headers\": {\"v\": \"1\"}}' | coretide produce orders --format json
  coretide consume orders --from beginning --end --json | coretide produce copy --format json

A JSON record has key, value, headers, partition and timestamp, all optional. Bytes that are not text are written as
{\"base64\": \"...\"}; other JSON values are sent as their JSON text. What 'consume --json' prints can be read back.")]
pub struct ProduceArgs {
    /// The topic
    pub topic: String,
    /// A record's value on the command line; may be given often, nothing else is read then
    #[arg(long, short, conflicts_with = "file")]
    pub value: Vec<String>,
    /// Read from this file instead of standard input
    #[arg(long, short)]
    pub file: Option<PathBuf>,
    /// What the input holds
    #[arg(long, value_enum, default_value = "lines")]
    pub format: InputFormat,
    /// The key of every record
    #[arg(long, short, conflicts_with = "key_separator")]
    pub key: Option<String>,
    /// What stands between key and value in a line; a line without it has no key
    #[arg(long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// A value that stands for null (a tombstone in compacted topics)
    #[arg(long, value_name = "TEXT")]
    pub null: Option<String>,
    /// A header of every record; may be given often, also with the same name
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub header: Vec<(String, String)>,
    /// The partition [default: by key as Java's client does, else whole batches at random]
    #[arg(long, short)]
    pub partition: Option<i32>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(long, short, default_value = "none", value_parser = parse_codec)]
    pub compression: Codec,
    /// Whose acknowledgement is waited for
    #[arg(long, value_enum, default_value = "all")]
    pub acks: Acks,
    /// Create the topic first if it does not exist
    #[arg(long)]
    pub create: bool,
    /// Print nothing about what was sent
    #[arg(long, short)]
    pub quiet: bool,
}

/// What the input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// One record a line
    Lines,
    /// One JSON object a line
    Json,
}

/// Whose acknowledgement is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// All replicas in sync (and no duplicates when something is sent again)
    All,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// Nobody
    #[value(name = "0")]
    None,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::None => 0,
        }
    }
}

fn parse_codec(text: &str) -> Result<Codec, String> {
    text.parse()
}

/// Produces what the arguments say.
pub fn run(global: &Global, arguments: &ProduceArgs) -> Result<(), CliError> {
    // An input that cannot be read is told before the cluster is asked.
    let input = if arguments.value.is_empty() { Some(open(arguments)?) } else { None };
    let mut client = global.connect()?;
    if arguments.create {
        let topic = NewTopic { name: arguments.topic.clone(), ..NewTopic::default() };
        match client.create_topic(&topic) {
            Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error.into()),
            _ => client.await_topic(&arguments.topic)?,
        };
    } else {
        existing(&mut client, &arguments.topic)?;
    }
    let config = ProducerConfig {
        acks: arguments.acks.code(),
        compression: Compression::of(arguments.compression),
        delivery_timeout: global.request_timeout,
        ..ProducerConfig::default()
    };
    let mut run = Run { producer: Producer::new(client, config), arguments, sent: BTreeMap::new() };
    let result = match input {
        None => run.values(),
        Some(input) => run.input(input),
    };
    // What was collected is sent even after an error in the input.
    let flushed = run.producer.flush().map_err(CliError::from);
    run.note_deliveries();
    let outcome = result.and(flushed);
    let Run { producer, sent, .. } = run;
    let finished = producer.finish().map(|_| ()).map_err(CliError::from);
    report(global, arguments, &sent, outcome.and(finished))
}

/// Acknowledged batches of one partition: records, first and last offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    records: u64,
    first_offset: i64,
    last_offset: i64,
}

struct Run<'a> {
    producer: Producer,
    arguments: &'a ProduceArgs,
    sent: BTreeMap<i32, Sent>,
}

impl Run<'_> {
    fn values(&mut self) -> Result<(), CliError> {
        for value in &self.arguments.value {
            let record = self.line(value.as_bytes());
            self.send(&record)?;
        }
        Ok(())
    }

    fn input(&mut self, mut input: Input) -> Result<(), CliError> {
        let mut line = Vec::new();
        let mut number = 0u64;
        while input.next_line(&mut line)? {
            number += 1;
            let record = match self.arguments.format {
                InputFormat::Lines => self.line(&line),
                InputFormat::Json if line.iter().all(u8::is_ascii_whitespace) => continue,
                InputFormat::Json => {
                    let record = record_of_json(&line);
                    self.dress(record.map_err(|error| CliError::Usage(format!("line {number}: {error}")))?)
                }
            };
            self.send(&record)?;
            // The next line may be long in coming (a terminal, `tail -f`): what there is goes out now.
            if input.reader.buffer().is_empty() {
                self.producer.flush()?;
                self.note_deliveries();
            }
        }
        Ok(())
    }

    fn send(&mut self, record: &Outgoing) -> Result<(), CliError> {
        self.producer.send(&self.arguments.topic, record)?;
        self.note_deliveries();
        Ok(())
    }

    fn line(&self, line: &[u8]) -> Outgoing {
        let (key, value) = match &self.arguments.key_separator {
            Some(separator) => match find(line, separator.as_bytes()) {
                Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
                None => (None, line),
            },
            None => (None, line),
        };
        let is_null = self.arguments.null.as_ref().is_some_and(|null| null.as_bytes() == value);
        let record = Outgoing {
            key: key.map(Bytes::copy_from_slice),
            value: (!is_null).then(|| Bytes::copy_from_slice(value)),
            ..Outgoing::default()
        };
        self.dress(record)
    }

    /// Adds what the command line says about every record; what a record says itself wins.
    fn dress(&self, mut record: Outgoing) -> Outgoing {
        let bytes = |text: &String| Bytes::copy_from_slice(text.as_bytes());
        record.key = record.key.or_else(|| self.arguments.key.as_ref().map(bytes));
        record.partition = self.arguments.partition.or(record.partition);
        record.headers.extend(self.arguments.header.iter().map(|(name, value)| (bytes(name), Some(bytes(value)))));
        record
    }

    fn note_deliveries(&mut self) {
        for delivery in self.producer.take_deliveries() {
            note(&mut self.sent, &delivery);
        }
    }
}

fn note(sent: &mut BTreeMap<i32, Sent>, delivery: &Delivery) {
    let records = delivery.records as u64;
    let last_offset = delivery.base_offset.saturating_add(i64::from(delivery.records) - 1);
    let fresh = Sent { records: 0, first_offset: delivery.base_offset, last_offset };
    let entry = sent.entry(delivery.partition).or_insert(fresh);
    entry.records += records;
    entry.last_offset = last_offset;
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn report(
    global: &Global,
    arguments: &ProduceArgs,
    sent: &BTreeMap<i32, Sent>,
    outcome: Result<(), CliError>,
) -> Result<(), CliError> {
    let records: u64 = sent.values().map(|sent| sent.records).sum();
    if let Err(error) = outcome {
        let advice = (records > 0).then(|| format!("{records} record(s) were acknowledged before"));
        return Err(error.advise(advice));
    }
    if arguments.quiet {
        return Ok(());
    }
    let known = arguments.acks != Acks::None;
    print(
        global.json,
        || {
            let one = |(partition, sent): (&i32, &Sent)| {
                let offset = |offset: i64| if known { Value::from(offset) } else { Value::Null };
                json!({"partition": partition, "records": sent.records, "first_offset": offset(sent.first_offset),
                    "last_offset": offset(sent.last_offset)})
            };
            json!({"topic": arguments.topic, "records": records, "partitions": sent.iter().map(one).collect::<Vec<_>>()})
        },
        || {
            let one = |(partition, sent): (&i32, &Sent)| match sent {
                Sent { records: 1, first_offset, .. } if known => {
                    format!("partition {partition} offset {first_offset}")
                }
                Sent { first_offset, last_offset, .. } if known => {
                    format!("partition {partition} offsets {first_offset} to {last_offset}")
                }
                Sent { records, .. } => format!("partition {partition}: {records}, not acknowledged"),
            };
            let places: Vec<String> = sent.iter().map(one).collect();
            let noun = if records == 1 { "record" } else { "records" };
            format!("{records} {noun} to '{}' ({})\n", arguments.topic, places.join("; "))
        },
    )
}

enum Source {
    File(File),
    Stdin(Stdin),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::File(file) => file.read(buffer),
            Source::Stdin(stdin) => stdin.lock().read(buffer),
        }
    }
}

struct Input {
    reader: BufReader<Source>,
    name: String,
}

impl Input {
    /// Reads one line without its newline; false at the end.
    fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool, CliError> {
        line.clear();
        let read = (&mut self.reader).take(LINE_MAX_BYTES).read_until(b'\n', line);
        let read = read.map_err(|error| CliError::Usage(format!("cannot read {}: {error}", self.name)))?;
        if read as u64 == LINE_MAX_BYTES {
            return Err(CliError::Usage(format!("{} has a line of more than {LINE_MAX_BYTES} bytes", self.name)));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(read > 0)
    }
}

fn open(arguments: &ProduceArgs) -> Result<Input, CliError> {
    let (source, name) = match &arguments.file {
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| CliError::Usage(format!("cannot open {}: {error}", path.display())))?;
            (Source::File(file), path.display().to_string())
        }
        None => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                eprintln!("reading records from the terminal, one a line; Ctrl-D ends");
            }
            (Source::Stdin(stdin), "standard input".to_string())
        }
    };
    Ok(Input { reader: BufReader::with_capacity(INPUT_BUFFER_BYTES, source), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_found_at_their_first_place() {
        assert_eq!(find(b"a::b::c", b"::"), Some(1));
        assert_eq!(find(b"abc", b":"), None);
        assert_eq!((find(b"", b":"), find(b"abc", b"")), (None, None));
    }

    #[test]
    fn deliveries_add_up_by_partition() {
        let delivery =
            |partition, base_offset, records| Delivery { topic: "t".into(), partition, base_offset, records };
        let mut sent = BTreeMap::new();
        note(&mut sent, &delivery(0, 10, 5));
        note(&mut sent, &delivery(1, 0, 1));
        note(&mut sent, &delivery(0, 15, 2));
        assert_eq!(sent[&0], Sent { records: 7, first_offset: 10, last_offset: 16 });
        assert_eq!(sent[&1], Sent { records: 1, first_offset: 0, last_offset: 0 });
    }
}
