//! `coretide consume`: prints records, from a place in the log or as a member of a group.
//! Must never touch: how records are fetched (the client does).

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use coretide_client::{
    Client, Consumer, ConsumerConfig, GroupConfig, GroupConsumer, Incoming, Isolation, OffsetSpec, Reset,
};

use crate::args::Global;
use crate::exit::CliError;
use crate::output::output_error;
use crate::record_format::{Format, TEMPLATE_HELP, parse_format, write_record};
use crate::time::{now_ms, parse_duration, parse_moment};
use crate::topic::existing;

/// How long one fetch waits for something to come.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// Short, so that a group goes on soon after a member was interrupted.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  coretide consume orders                              what comes from now on
  coretide consume orders --from beginning --end       everything that is there, then stop
  coretide consume orders --offset -10 --end           the last 10 of each partition
  coretide consume orders --since 2h --partition 0
  coretide consume orders --group billing --from beginning
  coretide consume orders -n 1 --format json
  coretide consume orders --from beginning --format '%p/%o %k=%v'";

/// The flags of `consume`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{TEMPLATE_HELP}"))]
#[command(group = clap::ArgGroup::new("place").args(["from", "offset", "since"]))]
pub struct ConsumeArgs {
    /// The topics
    #[arg(required = true)]
    pub topics: Vec<String>,
    /// Where to begin; with --group: where nothing is committed [default: end]
    #[arg(long)]
    pub from: Option<From>,
    /// Begin at this offset; -N is N records before the end
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true, conflicts_with = "group")]
    pub offset: Option<i64>,
    /// Begin at a moment: 2026-11-21T10:30:00Z, milliseconds since 1970, or 2h (ago)
    #[arg(long, value_name = "MOMENT", conflicts_with = "group")]
    pub since: Option<String>,
    /// Only these partitions; may be given often
    #[arg(long, short, conflicts_with = "group")]
    pub partition: Vec<i32>,
    /// Consume as a member of this group, and commit
    #[arg(long, short)]
    pub group: Option<String>,
    /// With --group: commit nothing
    #[arg(long, requires = "group")]
    pub no_commit: bool,
    /// Stop after this many records
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Stop at what is now the end
    #[arg(long, short)]
    pub end: bool,
    /// Stop when nothing has come for this long (exit code 6 if --count or --end is not reached)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub idle: Option<Duration>,
    /// value, json, or a template such as '%o %k=%v' [default: value]
    #[arg(long, short, value_parser = parse_format)]
    pub format: Option<Format>,
    /// Which records of transactions are shown
    #[arg(long, default_value = "committed")]
    pub isolation: IsolationArg,
}

/// The two ends of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    Beginning,
    End,
}

/// Which records of transactions are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsolationArg {
    /// Those of committed transactions
    Committed,
    /// All
    Uncommitted,
}

/// Consumes as the arguments say.
pub fn run(global: &Global, arguments: &ConsumeArgs) -> Result<(), CliError> {
    let format = match &arguments.format {
        Some(format) => format.clone(),
        None if global.json => Format::Json,
        None => Format::Value,
    };
    let since = arguments.since.as_deref().map(|moment| parse_moment(moment, now_ms()));
    let since = since.transpose().map_err(CliError::Usage)?;
    let mut client = global.connect()?;
    let partitions = partitions(&mut client, arguments)?;
    let config = ConsumerConfig { isolation: isolation(arguments), ..ConsumerConfig::default() };
    let ends = if arguments.end { ends(&mut client, arguments, &partitions)? } else { BTreeMap::new() };
    let source = match &arguments.group {
        Some(group) => {
            let reset = if arguments.from == Some(From::Beginning) { Reset::Earliest } else { Reset::Latest };
            let auto_commit = (!arguments.no_commit).then_some(Duration::from_secs(5));
            let session = GroupConfig {
                reset,
                auto_commit,
                session_timeout: SESSION_TIMEOUT,
                ..GroupConfig::new(group, &arguments.topics)
            };
            Source::Group(Box::new(GroupConsumer::new(client, session, config)))
        }
        None => {
            let places = places(&mut client, arguments, &partitions, since)?;
            let mut consumer = Consumer::new(client, config);
            consumer.assign(&places)?;
            Source::Direct(Box::new(consumer))
        }
    };
    let waits = !arguments.end && arguments.from.is_none() && arguments.offset.is_none() && since.is_none();
    if waits && arguments.group.is_none() && std::io::stderr().is_terminal() {
        eprintln!("waiting for new records; --from beginning shows those that are there");
    }
    let printer = Printer { format, out: std::io::stdout(), buffer: Vec::new() };
    Run { arguments, source, ends, printer, printed: 0 }.run()
}

fn isolation(arguments: &ConsumeArgs) -> Isolation {
    match arguments.isolation {
        IsolationArg::Committed => Isolation::ReadCommitted,
        IsolationArg::Uncommitted => Isolation::ReadUncommitted,
    }
}

fn partitions(client: &mut Client, arguments: &ConsumeArgs) -> Result<Vec<(String, i32)>, CliError> {
    let mut partitions = Vec::new();
    for topic in &arguments.topics {
        let info = existing(client, topic)?;
        for &wanted in &arguments.partition {
            if !info.partitions.iter().any(|partition| partition.index == wanted) {
                let count = info.partitions.len();
                return Err(CliError::NotFound(format!(
                    "topic '{topic}' has no partition {wanted}: it has {count}, from 0 to {}",
                    count as i64 - 1
                )));
            }
        }
        let wanted = |index: &i32| arguments.partition.is_empty() || arguments.partition.contains(index);
        let indexes = info.partitions.iter().map(|partition| partition.index).filter(wanted);
        partitions.extend(indexes.map(|index| (topic.clone(), index)));
    }
    Ok(partitions)
}

fn ends(
    client: &mut Client,
    arguments: &ConsumeArgs,
    partitions: &[(String, i32)],
) -> Result<BTreeMap<(String, i32), i64>, CliError> {
    let bounds = client.log_bounds(isolation(arguments), partitions)?;
    Ok(bounds.into_iter().map(|(key, (_, end))| (key, end)).collect())
}

fn places(
    client: &mut Client,
    arguments: &ConsumeArgs,
    partitions: &[(String, i32)],
    since: Option<i64>,
) -> Result<Vec<(String, i32, OffsetSpec)>, CliError> {
    let place = match (arguments.from, arguments.offset, since) {
        (_, Some(offset), _) if offset < 0 => {
            let bounds = client.log_bounds(isolation(arguments), partitions)?;
            let before_end = |((topic, partition), (first, end)): ((String, i32), (i64, i64))| {
                (topic, partition, OffsetSpec::At(end.saturating_add(offset).max(first)))
            };
            return Ok(bounds.into_iter().map(before_end).collect());
        }
        (_, Some(offset), _) => OffsetSpec::At(offset),
        (_, _, Some(at)) => OffsetSpec::Timestamp(at),
        (Some(From::Beginning), _, _) => OffsetSpec::Earliest,
        _ => OffsetSpec::Latest,
    };
    Ok(partitions.iter().map(|(topic, partition)| (topic.clone(), *partition, place)).collect())
}

enum Source {
    Direct(Box<Consumer>),
    Group(Box<GroupConsumer>),
}

impl Source {
    fn poll(&mut self) -> Result<Vec<Incoming>, CliError> {
        Ok(match self {
            Source::Direct(consumer) => consumer.poll(POLL_WAIT)?,
            Source::Group(member) => member.poll(POLL_WAIT)?,
        })
    }

    fn consumer(&mut self) -> &mut Consumer {
        match self {
            Source::Direct(consumer) => consumer,
            Source::Group(member) => member.consumer(),
        }
    }

    /// True when every partition that it reads has been read to its end.
    fn is_at(&mut self, ends: &BTreeMap<(String, i32), i64>) -> bool {
        let joined = match self {
            Source::Direct(_) => true,
            Source::Group(member) => member.is_joined(),
        };
        let reached = |key: &(String, i32), offset: i64| ends.get(key).is_none_or(|&end| offset >= end);
        joined && self.consumer().positions().iter().all(|(key, position)| reached(key, position.offset))
    }

    fn close(self) -> Result<(), CliError> {
        if let Source::Group(member) = self {
            member.close()?;
        }
        Ok(())
    }
}

struct Printer<W> {
    format: Format,
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, records: &[&Incoming]) -> Result<(), CliError> {
        self.buffer.clear();
        for record in records {
            write_record(&mut self.buffer, &self.format, record);
        }
        self.out.write_all(&self.buffer).and_then(|()| self.out.flush()).map_err(|error| output_error(&error))
    }
}

struct Run<'a> {
    arguments: &'a ConsumeArgs,
    source: Source,
    ends: BTreeMap<(String, i32), i64>,
    printer: Printer<std::io::Stdout>,
    printed: u64,
}

impl Run<'_> {
    fn run(mut self) -> Result<(), CliError> {
        let outcome = self.print_all();
        let closed = self.source.close();
        outcome.and(closed)
    }

    fn print_all(&mut self) -> Result<(), CliError> {
        let mut last_record = Instant::now();
        loop {
            if self.arguments.count.is_some_and(|count| self.printed >= count) {
                return Ok(());
            }
            if self.arguments.end && self.source.is_at(&self.ends) {
                return Ok(());
            }
            let records = self.source.poll()?;
            if !records.is_empty() {
                last_record = Instant::now();
                self.take(&records)?;
            } else if self.arguments.idle.is_some_and(|idle| last_record.elapsed() >= idle) {
                return self.idle();
            }
        }
    }

    fn idle(&self) -> Result<(), CliError> {
        match self.arguments.count {
            Some(count) => Err(CliError::Incomplete(format!("only {} of {count} records came in time", self.printed))),
            None if self.arguments.end => Err(CliError::Incomplete("the end was not reached in time".to_string())),
            None => Ok(()),
        }
    }

    /// Prints what is wanted of these records. What is not counts as not consumed.
    fn take(&mut self, records: &[Incoming]) -> Result<(), CliError> {
        let mut wanted = Vec::with_capacity(records.len());
        let mut left: BTreeMap<(String, i32), i64> = BTreeMap::new();
        for record in records {
            let key = (record.topic.to_string(), record.partition);
            let enough = self.arguments.count.is_some_and(|count| self.printed + wanted.len() as u64 >= count);
            let beyond = self.ends.get(&key).is_some_and(|&end| record.offset >= end);
            if enough || beyond {
                left.entry(key).or_insert(record.offset);
            } else {
                wanted.push(record);
            }
        }
        self.printer.print(&wanted)?;
        self.printed += wanted.len() as u64;
        for ((topic, partition), offset) in left {
            self.source.consumer().seek(&topic, partition, offset);
        }
        Ok(())
    }
}
