//! How much memory groups take, roughly: so that whoever runs the coordinators can hold all of them to a limit.
//! Must never touch: what a group does.

use crate::command::{Command, Join, OffsetCommit};
use crate::coordinator::GroupCoordinator;
use crate::group::Group;
use crate::member::protocols_bytes;

/// A group without members and offsets, its names and tree nodes included.
const GROUP_BYTES: usize = 1024;
/// A member beside its protocols and its assignment.
const MEMBER_BYTES: usize = 1024;
/// A member id that was handed out and not used yet.
const PENDING_MEMBER_BYTES: usize = 256;
/// An offset beside its note.
const OFFSET_BYTES: usize = 192;

impl GroupCoordinator {
    /// Roughly the bytes that all groups take. Looks at every one of them.
    pub fn state_bytes(&self) -> usize {
        self.groups.values().map(Group::state_bytes).sum()
    }

    /// Whether a command would make the state larger than it must be to go on with what there is: a group or a member
    /// that is not known, or notes beside offsets.
    pub fn is_growth(&self, command: &Command) -> bool {
        match command {
            Command::Join(join) => join.member_id.is_empty() || !self.groups.contains_key(&join.group),
            Command::OffsetCommit(commit) => notes_bytes(commit) > 0 || !self.groups.contains_key(&commit.group),
            _ => false,
        }
    }
}

impl Group {
    fn state_bytes(&self) -> usize {
        // What is stored of a member is a second reference to the same bytes.
        let members: usize = self.members.values().map(|member| MEMBER_BYTES + member.assignment.len()).sum();
        let offsets = self.offsets.values().flat_map(|partitions| partitions.values());
        let offsets: usize = offsets.map(|offset| OFFSET_BYTES + offset.metadata.len()).sum();
        let pending = self.pending_members.len() * PENDING_MEMBER_BYTES;
        GROUP_BYTES + members + self.protocols_bytes + pending + offsets
    }
}

fn notes_bytes(commit: &OffsetCommit) -> usize {
    commit.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.metadata.len()).sum()
}

/// At most how many bytes of state this command adds, roughly.
pub fn added_bytes(command: &Command) -> usize {
    match command {
        Command::Join(Join { protocols, .. }) => GROUP_BYTES + MEMBER_BYTES + protocols_bytes(protocols),
        Command::OffsetCommit(commit) => {
            let count: usize = commit.topics.iter().map(|topic| topic.partitions.len()).sum();
            GROUP_BYTES + count * OFFSET_BYTES + notes_bytes(commit)
        }
        Command::Sync(sync) => sync.assignments.iter().map(|(_, assignment)| assignment.len()).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommitPartition, CommitTopic, Leave, Protocol, Sync, Token};
    use crate::config::GroupConfig;
    use crate::writes::Effects;
    use bytes::Bytes;
    use coretide_model::{Now, TopicId};

    const NOW: Now = Now { mono_us: 1_000_000, wall_ms: 1_000_000 };

    fn commit(group: &str, note: &str) -> Command {
        let partition =
            CommitPartition { partition: 0, offset: 1, leader_epoch: -1, metadata: note.into(), refused: None };
        let topic = CommitTopic { name: "t".into(), topic_id: TopicId::ZERO, partitions: vec![partition] };
        Command::OffsetCommit(OffsetCommit {
            group: group.into(),
            generation: -1,
            member_id: "".into(),
            group_instance_id: None,
            retention_ms: None,
            topics: vec![topic],
        })
    }

    fn join(group: &str, member_id: &str) -> Command {
        Command::Join(Join {
            group: group.into(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            member_id: member_id.into(),
            group_instance_id: None,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from(vec![1; 5000]) }],
            client_id: "c".into(),
            client_host: "/h".into(),
            requires_known_member_id: false,
            supports_skip_assignment: false,
        })
    }

    #[test]
    fn what_a_command_may_add_is_no_less_than_what_it_adds() {
        let mut coordinator = GroupCoordinator::new(GroupConfig::default(), 1);
        let mut fx = Effects::default();
        coordinator.finish_load(NOW, &mut fx);
        let mut most = 0;
        for (number, command) in [join("a", ""), join("a", ""), join("b", "")].into_iter().enumerate() {
            most += added_bytes(&command);
            coordinator.handle(NOW, command, Token(number as u64), &mut fx);
            let state = coordinator.state_bytes();
            assert!(state > 5000 * (number + 1) && state <= most, "{state} of {most}");
        }
    }

    #[test]
    fn members_notes_assignments_and_ids_that_were_handed_out_are_counted_once() {
        let mut coordinator = GroupCoordinator::new(GroupConfig::default(), 1);
        let mut fx = Effects::default();
        coordinator.finish_load(NOW, &mut fx);
        coordinator.handle(NOW, commit("a", "a note"), Token(0), &mut fx);
        let write = fx.writes.remove(0);
        coordinator.on_committed(NOW, write.id, 0, &mut fx);
        let of_notes = GROUP_BYTES + OFFSET_BYTES + 6;
        assert_eq!(coordinator.state_bytes(), of_notes);
        assert_eq!(added_bytes(&commit("a", "a note")), of_notes);
        let Command::Join(new) = join("a", "") else { unreachable!() };
        let unknown = Command::Join(Join { requires_known_member_id: true, ..new });
        coordinator.handle(NOW, unknown, Token(1), &mut fx);
        assert_eq!(coordinator.state_bytes(), of_notes + PENDING_MEMBER_BYTES);
        coordinator.handle(NOW, join("a", ""), Token(2), &mut fx);
        let of_member = MEMBER_BYTES + 5 + 5000;
        assert_eq!(coordinator.state_bytes(), of_notes + PENDING_MEMBER_BYTES + of_member);
        assert_eq!(added_bytes(&join("a", "")), GROUP_BYTES + of_member);

        let id = coordinator.groups["a"].members.keys().next().expect("one member").clone();
        let later = Now { mono_us: NOW.mono_us + 60_000_000, wall_ms: NOW.wall_ms + 60_000 };
        coordinator.tick(later, &mut fx);
        let sync = Command::Sync(Sync {
            group: "a".into(),
            generation: 1,
            member_id: id.clone(),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: vec![(id.clone(), Bytes::from(vec![2; 300])), ("gone".into(), Bytes::from(vec![2; 40]))],
        });
        assert_eq!(added_bytes(&sync), 340);
        assert_eq!(added_bytes(&Command::ListGroups), 0);
        coordinator.handle(later, sync, Token(3), &mut fx);
        let write = fx.writes.remove(0);
        coordinator.on_committed(later, write.id, 1, &mut fx);
        assert_eq!(coordinator.state_bytes(), of_notes + of_member + 300, "the id that was not used is gone");
        let leave = Command::Leave(Leave { group: "a".into(), members: vec![(id, None)] });
        coordinator.handle(later, leave, Token(4), &mut fx);
        assert_eq!(coordinator.state_bytes(), of_notes, "and the member with all it held");
    }

    #[test]
    fn what_goes_on_with_known_groups_is_no_growth() {
        let mut coordinator = GroupCoordinator::new(GroupConfig::default(), 1);
        let mut fx = Effects::default();
        coordinator.finish_load(NOW, &mut fx);
        coordinator.handle(NOW, join("a", ""), Token(1), &mut fx);
        for (command, expected) in [
            (join("a", ""), true),
            (join("a", "known"), false),
            (join("b", ""), true),
            (commit("a", ""), false),
            (commit("a", "a note"), true),
            (commit("b", ""), true),
            (Command::ListGroups, false),
        ] {
            assert_eq!(coordinator.is_growth(&command), expected, "{command:?}");
        }
    }
}
