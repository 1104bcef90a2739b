//! `coretide group`: list, describe, reset offsets, delete.
//! Must never touch: membership (that is `consume --group`).

use std::collections::BTreeMap;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use coretide_client::admin::Committed;
use coretide_client::group::decode_assignment;
use coretide_client::{Client, ClientError, Isolation};
use coretide_model::ErrorCode;
use serde_json::{Value, json};

use crate::args::Global;
use crate::exit::CliError;
use crate::output::{print, table};
use crate::suggest::did_you_mean;
use crate::time::{now_ms, parse_moment};
use crate::topic::existing;

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List the groups
    #[command(after_help = "Examples:\n  coretide group list\n  coretide group list --json")]
    List,
    /// Show members, committed offsets and lag of a group
    #[command(after_help = "Examples:\n  coretide group describe billing\n  coretide group describe billing --json")]
    Describe {
        /// The group
        group: String,
    },
    /// Move the committed offsets of a group that has no members
    ResetOffsets(ResetArgs),
    /// Delete groups that have no members, with their offsets
    #[command(after_help = "Example:\n  coretide group delete billing")]
    Delete {
        /// The groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

/// The flags of `group reset-offsets`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coretide group reset-offsets billing --topic orders --to beginning --dry-run
  coretide group reset-offsets billing --topic orders --partition 2 --to-offset 1500
  coretide group reset-offsets billing --all-topics --to-time 2026-11-21T10:30:00Z
  coretide group reset-offsets billing --topic orders --by -100")]
#[command(group = ArgGroup::new("target").required(true).args(["to", "to_offset", "to_time", "by"]))]
#[command(group = ArgGroup::new("scope").required(true).args(["topic", "all_topics"]))]
pub struct ResetArgs {
    /// The group; it need not exist
    pub group: String,
    /// A topic; may be given often
    #[arg(long, short)]
    pub topic: Vec<String>,
    /// Every topic that the group has offsets of
    #[arg(long)]
    pub all_topics: bool,
    /// Only this partition of the topics; may be given often
    #[arg(long, short)]
    pub partition: Vec<i32>,
    /// To the first record or to the end
    #[arg(long)]
    pub to: Option<Place>,
    /// To this offset
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<i64>,
    /// To the first record at or after a moment: 2026-11-21T10:30:00Z, milliseconds since 1970, or 2h (ago)
    #[arg(long, value_name = "MOMENT")]
    pub to_time: Option<String>,
    /// Forward or back by this many offsets
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub by: Option<i64>,
    /// Only show what would be committed
    #[arg(long)]
    pub dry_run: bool,
}

/// The two ends of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    Beginning,
    End,
}

/// Runs a command about groups.
pub fn run(global: &Global, command: GroupCommand) -> Result<(), CliError> {
    let mut client = global.connect()?;
    match command {
        GroupCommand::List => list(global, &mut client),
        GroupCommand::Describe { group } => describe(global, &mut client, &group),
        GroupCommand::ResetOffsets(arguments) => reset(global, &mut client, &arguments),
        GroupCommand::Delete { groups } => delete(global, &mut client, &groups),
    }
}

fn list(global: &Global, client: &mut Client) -> Result<(), CliError> {
    let groups = client.list_groups()?;
    print(
        global.json,
        || {
            let one = |group: &coretide_client::admin::Group| {
                json!({"group": group.group_id, "state": group.group_state, "type": group.group_type,
                    "protocol_type": group.protocol_type})
            };
            groups.iter().map(one).collect()
        },
        || {
            let rows: Vec<Vec<String>> = groups
                .iter()
                .map(|group| vec![group.group_state.clone(), group.protocol_type.clone(), group.group_id.clone()])
                .collect();
            table(&["STATE", "PROTOCOL", "GROUP"], &rows)
        },
    )
}

/// One partition of a group.
struct Share {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<usize>,
}

impl Share {
    fn lag(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.committed?).max(0))
    }
}

fn describe(global: &Global, client: &mut Client, name: &str) -> Result<(), CliError> {
    let group = match client.describe_group(name) {
        // Brokers before Kafka 4 call a group dead that does not exist.
        Ok(group) if group.group_state == "Dead" => return Err(unknown_group(client, name)),
        Ok(group) => group,
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Err(unknown_group(client, name)),
        Err(error) => return Err(error.into()),
    };
    let committed = client.committed(name, None)?;
    let mut owners: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for (place, member) in group.members.iter().enumerate() {
        // Other protocol types than consumers' have assignments of their own.
        for key in decode_assignment(&member.member_assignment).unwrap_or_default() {
            owners.insert(key, place);
        }
    }
    let shares = shares(client, &committed, &owners)?;
    let total_lag: i64 = shares.iter().filter_map(Share::lag).sum();
    print(
        global.json,
        || {
            let members = group.members.iter().map(|member| {
                json!({"member_id": member.member_id, "instance_id": member.group_instance_id,
                    "client_id": member.client_id, "host": member.client_host})
            });
            let partitions = shares.iter().map(|share| {
                let member = share.member.map(|place| group.members[place].member_id.clone());
                json!({"topic": share.topic, "partition": share.partition, "committed_offset": share.committed,
                    "end_offset": share.end, "lag": share.lag(), "member_id": member})
            });
            json!({"group": name, "state": group.group_state, "protocol_type": group.protocol_type,
                "protocol": group.protocol_data, "members": members.collect::<Vec<Value>>(),
                "partitions": partitions.collect::<Vec<Value>>(), "total_lag": total_lag})
        },
        || {
            let members = group.members.len();
            let mut text = format!("group {name}: {}, {members} member(s), lag {total_lag}\n", group.group_state);
            let number = |number: Option<i64>| number.map_or("-".to_string(), |number| number.to_string());
            let rows: Vec<Vec<String>> = shares
                .iter()
                .map(|share| {
                    let member = share.member.map(|place| &group.members[place]);
                    let member = member.map_or("-".to_string(), |m| format!("{} ({})", m.member_id, m.client_host));
                    let (topic, partition) = (share.topic.clone(), share.partition.to_string());
                    vec![topic, partition, number(share.committed), number(share.end), number(share.lag()), member]
                })
                .collect();
            text.push_str(&table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"], &rows));
            text
        },
    )
}

/// The partitions that the group has committed or was given.
fn shares(
    client: &mut Client,
    committed: &BTreeMap<(String, i32), Committed>,
    owners: &BTreeMap<(String, i32), usize>,
) -> Result<Vec<Share>, CliError> {
    let mut keys: Vec<(String, i32)> = committed.keys().chain(owners.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    // Offsets outlive their topics for a while.
    let there: Vec<(String, i32)> =
        keys.iter().filter(|(topic, partition)| client.leader(topic, *partition).is_ok()).cloned().collect();
    let bounds = client.log_bounds(Isolation::ReadCommitted, &there)?;
    let share = |key: (String, i32)| Share {
        committed: committed.get(&key).map(|committed| committed.offset),
        end: bounds.get(&key).map(|bounds| bounds.1),
        member: owners.get(&key).copied(),
        topic: key.0,
        partition: key.1,
    };
    Ok(keys.into_iter().map(share).collect())
}

fn unknown_group(client: &mut Client, name: &str) -> CliError {
    let groups = client.list_groups().unwrap_or_default();
    let similar = did_you_mean(name, groups.iter().map(|group| group.group_id.as_str()));
    let hint = similar.unwrap_or_else(|| "'coretide group list' shows what there is".to_string());
    CliError::NotFound(format!("there is no group '{name}'; {hint}"))
}

fn reset(global: &Global, client: &mut Client, arguments: &ResetArgs) -> Result<(), CliError> {
    let group = &arguments.group;
    if let Ok(described) = client.describe_group(group)
        && !matches!(described.group_state.as_str(), "Empty" | "Dead")
    {
        let what = format!("group '{group}' is {}, its offsets cannot be reset", described.group_state);
        return Err(ClientError::Broker { what, code: ErrorCode::NonEmptyGroup as i16, message: None }.into());
    }
    let committed = client.committed(group, None)?;
    let topics: Vec<String> = if arguments.all_topics {
        let mut topics: Vec<String> = committed.keys().map(|(topic, _)| topic.clone()).collect();
        topics.dedup();
        topics
    } else {
        arguments.topic.clone()
    };
    let mut partitions = Vec::new();
    for topic in &topics {
        let info = existing(client, topic)?;
        let wanted = |index: &i32| arguments.partition.is_empty() || arguments.partition.contains(index);
        let indexes = info.partitions.iter().map(|partition| partition.index).filter(wanted);
        partitions.extend(indexes.map(|index| (topic.clone(), index)));
    }
    if partitions.is_empty() {
        return Err(CliError::NotFound(format!("group '{group}' has no such partitions to reset")));
    }
    let offsets = targets(client, arguments, &partitions, &committed)?;
    if !arguments.dry_run {
        client.commit_as_operator(group, &offsets)?;
    }
    let before = |key: &(String, i32)| committed.get(key).map(|committed| committed.offset);
    print(
        global.json,
        || {
            let one = |(key, offset): (&(String, i32), &i64)| json!({"topic": key.0, "partition": key.1, "before": before(key), "offset": offset});
            let partitions: Vec<Value> = offsets.iter().map(one).collect();
            json!({"group": group, "committed": !arguments.dry_run, "partitions": partitions})
        },
        || {
            let row = |(key, offset): (&(String, i32), &i64)| {
                let before = before(key).map_or("-".to_string(), |offset| offset.to_string());
                vec![key.0.clone(), key.1.to_string(), before, offset.to_string()]
            };
            let rows: Vec<Vec<String>> = offsets.iter().map(row).collect();
            let heading = if arguments.dry_run { "WOULD BE" } else { "NOW" };
            table(&["TOPIC", "PARTITION", "BEFORE", heading], &rows)
        },
    )
}

/// The offset to commit for each partition, kept inside what the log holds.
fn targets(
    client: &mut Client,
    arguments: &ResetArgs,
    partitions: &[(String, i32)],
    committed: &BTreeMap<(String, i32), Committed>,
) -> Result<BTreeMap<(String, i32), i64>, CliError> {
    let bounds = client.log_bounds(Isolation::ReadCommitted, partitions)?;
    let mut by_time = BTreeMap::new();
    if let Some(moment) = &arguments.to_time {
        let at = parse_moment(moment, now_ms()).map_err(CliError::Usage)?;
        let wanted: Vec<(String, i32, i64)> =
            partitions.iter().map(|(topic, partition)| (topic.clone(), *partition, at)).collect();
        by_time = client.list_offsets(Isolation::ReadCommitted, &wanted)?;
    }
    let mut offsets = BTreeMap::new();
    for key in partitions {
        let (first, end) = bounds.get(key).copied().unwrap_or((0, 0));
        let target = match (arguments.to, arguments.to_offset, arguments.by) {
            (Some(Place::Beginning), _, _) => first,
            (Some(Place::End), _, _) => end,
            (_, Some(offset), _) => offset,
            (_, _, Some(by)) => committed.get(key).map_or(first, |committed| committed.offset).saturating_add(by),
            _ => by_time.get(key).map(|found| found.0).filter(|&offset| offset >= 0).unwrap_or(end),
        };
        offsets.insert(key.clone(), target.clamp(first, end));
    }
    Ok(offsets)
}

fn delete(global: &Global, client: &mut Client, groups: &[String]) -> Result<(), CliError> {
    for group in groups {
        match client.delete_group(group) {
            Ok(()) => {}
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Err(unknown_group(client, group)),
            Err(error) => return Err(error.into()),
        }
    }
    print(
        global.json,
        || json!({"deleted": groups}),
        || groups.iter().map(|group| format!("group '{group}' deleted\n")).collect(),
    )
}
