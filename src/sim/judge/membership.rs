//! The model of classic groups: what their members were told, held against each other.
//!
//! - Generations of a group never go back, and what a newer one has replaced is fenced: no heartbeat, no assignment and no
//!   commit of an older one succeeds (C4). A static member's older id is fenced by its newer one, a member that left by that.
//! - A generation has one leader and one protocol, which all its members know; its leader saw each of them with what that
//!   member last said of itself.
//! - Everybody gets what the leader sent, of one of its requests and not of two; no partition has two owners (C1), and a
//!   partition that a member still holds is nobody else's in the generation that it joined with it.
//! - In the end all members are in one generation and every partition has its owner.
//!
//! A generation is on stable storage once a SyncGroup was answered; before that the broker's death may take it back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Verdict;
use super::log::PartitionName;

/// A request that names a member, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub group: String,
    pub member_id: String,
    pub instance: Option<String>,
    pub generation: i32,
    /// The simulation's event counter.
    pub sent_at: u64,
}

/// A JoinGroup that was answered without an error.
#[derive(Clone, Debug)]
pub struct Joined<'a> {
    pub member_id: &'a str,
    pub instance: Option<&'a str>,
    pub generation: i32,
    pub leader: &'a str,
    pub protocol: &'a str,
    /// The protocols that the member had offered.
    pub offered: &'a [String],
    /// What the member had said of itself.
    pub metadata: &'a Bytes,
    /// Partitions that it still holds.
    pub holds: &'a BTreeSet<PartitionName>,
    /// For the leader: every member's id, instance and metadata.
    pub members: Vec<(String, Option<String>, Bytes)>,
    pub sent_at: u64,
    pub at: u64,
}

/// A member across its ids: its instance if it is static.
type Who = String;

#[derive(Debug, Default)]
struct Generation {
    /// When the first of its members was seen to know of it.
    seen_at: u64,
    /// It is on stable storage.
    synced: bool,
    leader: Option<Who>,
    protocol: Option<String>,
    /// As the leader was told.
    told: Option<BTreeMap<Who, Bytes>>,
    /// As they said themselves, with their first JoinGroup of this generation.
    said: BTreeMap<Who, Bytes>,
    held: BTreeMap<PartitionName, Who>,
    given: BTreeMap<Who, BTreeSet<PartitionName>>,
}

#[derive(Debug, Default)]
struct Group {
    generations: BTreeMap<i32, Generation>,
    /// What leaders sent for each generation, by member id, and whether all that was given fits it.
    sent: BTreeMap<i32, Vec<BTreeMap<String, Bytes>>>,
    /// The newest id of each instance, and when it was known.
    instances: BTreeMap<String, (String, u64)>,
    /// Members that left, and when that was known.
    left: BTreeMap<String, u64>,
    /// What each of the simulated members works on now.
    working: BTreeMap<u32, Option<(i32, BTreeSet<PartitionName>)>>,
}

/// All groups.
#[derive(Debug, Default)]
pub struct MembershipJudge {
    groups: BTreeMap<String, Group>,
    /// Counts for the report.
    pub generations: u64,
    /// Requests in the name of the past that were refused.
    pub fenced: u64,
    /// How often the broker's process ended.
    pub deaths: u64,
}

impl MembershipJudge {
    /// The broker's process ended: what was not on stable storage may be forgotten.
    pub fn broker_died(&mut self) {
        self.deaths += 1;
        for group in self.groups.values_mut() {
            group.generations.retain(|_, generation| generation.synced);
            group.instances.clear();
            group.left.clear();
        }
    }

    /// A member was let in.
    pub fn joined(&mut self, name: &str, joined: &Joined<'_>) -> Verdict {
        let group = self.groups.entry(name.to_string()).or_default();
        let number = joined.generation;
        let wrong = |what: String| Err(format!("G: {name}, generation {number}, {}: {what}", joined.member_id));
        if let Some(newer) = group.newer_than(number, joined.sent_at) {
            return wrong(format!("generation {newer} was there before it asked"));
        }
        let who = joined.instance.unwrap_or(joined.member_id).to_string();
        if let Some(instance) = joined.instance {
            group.instances.insert(instance.to_string(), (joined.member_id.to_string(), joined.at));
        }
        if !joined.offered.iter().any(|offered| offered == joined.protocol) {
            return wrong(format!("the protocol is {}, it offered {:?}", joined.protocol, joined.offered));
        }
        let generation = group.generation(number, joined.at);
        self.generations += u64::from(generation.said.is_empty());
        if generation.protocol.get_or_insert_with(|| joined.protocol.to_string()) != joined.protocol {
            return wrong(format!("the protocol is {} and {:?}", joined.protocol, generation.protocol));
        }
        if joined.leader == joined.member_id && generation.leader.get_or_insert_with(|| who.clone()) != &who {
            return wrong(format!("{:?} leads as well", generation.leader));
        }
        if !joined.members.is_empty() {
            let told = |(id, instance, metadata): &(String, Option<String>, Bytes)| {
                (instance.clone().unwrap_or_else(|| id.clone()), metadata.clone())
            };
            let told: BTreeMap<Who, Bytes> = joined.members.iter().map(told).collect();
            if told.len() < joined.members.len() {
                return wrong("the leader was told of somebody twice".to_string());
            }
            generation.told = Some(told);
        }
        if !generation.said.contains_key(&who) {
            generation.held.extend(joined.holds.iter().map(|held| (held.clone(), who.clone())));
            // A static member may come back to a generation and say something else of itself.
            if joined.instance.is_none() {
                generation.said.insert(who, joined.metadata.clone());
            }
        }
        let Some(told) = &generation.told else { return Ok(()) };
        let unknown = |(who, said): &(&Who, &Bytes)| told.get(*who) != Some(*said);
        match generation.said.iter().find(unknown) {
            Some((who, said)) => wrong(format!("{who} said {said:?}, the leader was told {:?}", told.get(who))),
            None => Ok(()),
        }
    }

    /// The leader sends what it gives to each member id.
    pub fn assigning(&mut self, name: &str, generation: i32, assignments: BTreeMap<String, Bytes>) {
        let group = self.groups.entry(name.to_string()).or_default();
        group.sent.entry(generation).or_default().push(assignments);
    }

    /// A member was given its part.
    pub fn assigned(&mut self, claim: &Claim, given: &Bytes, partitions: &BTreeSet<PartitionName>, at: u64) -> Verdict {
        self.accepted("SyncGroup", claim)?;
        let group = self.groups.entry(claim.group.clone()).or_default();
        let sent = group.sent.entry(claim.generation).or_default();
        let wrong = |what: String| Err(format!("C: {claim:?}: {what}"));
        // A static member that came back has its older id's part; of the others the ids say it.
        if claim.instance.is_none() {
            let fits = |sent: &BTreeMap<String, Bytes>| match sent.get(&claim.member_id) {
                Some(part) => part == given,
                None => given.is_empty(),
            };
            if !sent.iter().any(fits) {
                return wrong(format!("given {given:?}, the leader sent {sent:?}"));
            }
            sent.retain(fits);
        }
        let who = claim.instance.as_ref().unwrap_or(&claim.member_id).clone();
        let generation = group.generation(claim.generation, at);
        generation.synced = true;
        if let Some(before) = generation.given.insert(who.clone(), partitions.clone())
            && before != *partitions
        {
            return wrong(format!("given {partitions:?}, before that {before:?}"));
        }
        for (other, theirs) in generation.given.iter().filter(|(other, _)| **other != who) {
            if let Some(shared) = theirs.intersection(partitions).next() {
                return wrong(format!("C1: {shared:?} is {other}'s as well"));
            }
        }
        let held = |partition: &&PartitionName| generation.held.get(*partition).is_some_and(|owner| *owner != who);
        match partitions.iter().find(held) {
            Some(held) => wrong(format!("C1: given {held:?}, which {:?} still holds", generation.held.get(held))),
            None => Ok(()),
        }
    }

    /// A request that only a present member of the newest generation may make was answered without an error.
    pub fn accepted(&self, what: &str, claim: &Claim) -> Verdict {
        let Some(group) = self.groups.get(&claim.group) else { return Ok(()) };
        if let Some(newer) = group.newer_than(claim.generation, claim.sent_at) {
            return Err(format!("C4: {what} of {claim:?} succeeds, generation {newer} was there before"));
        }
        let current = claim.instance.as_ref().and_then(|instance| group.instances.get(instance));
        if let Some((newer_id, known_at)) = current
            && *known_at < claim.sent_at
            && *newer_id != claim.member_id
        {
            return Err(format!("C4: {what} of {claim:?} succeeds, the instance is {newer_id} since {known_at}"));
        }
        match group.left.get(&claim.member_id) {
            Some(known_at) if *known_at < claim.sent_at => {
                Err(format!("C4: {what} of {claim:?} succeeds, it has left"))
            }
            _ => Ok(()),
        }
    }

    /// A member's LeaveGroup was answered without an error.
    pub fn left(&mut self, name: &str, member_id: &str, at: u64) {
        self.groups.entry(name.to_string()).or_default().left.insert(member_id.to_string(), at);
    }

    /// What one of the simulated members works on; nothing while it has no place in the group.
    pub fn works_on(&mut self, name: &str, label: u32, place: Option<(i32, BTreeSet<PartitionName>)>) {
        self.groups.entry(name.to_string()).or_default().working.insert(label, place);
    }

    /// True when all simulated members of the group are in one generation and have all the partitions between them.
    pub fn is_at_rest(&self, name: &str, all: &[PartitionName]) -> bool {
        let Some(group) = self.groups.get(name) else { return false };
        let mut generations = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for place in group.working.values() {
            let Some((generation, partitions)) = place else { return false };
            generations.insert(*generation);
            owned.extend(partitions);
        }
        generations.len() == 1 && all.iter().all(|partition| owned.contains(partition))
    }
}

impl Group {
    /// The newest generation that somebody knew of before `moment`, if it is newer than this one.
    fn newer_than(&self, generation: i32, moment: u64) -> Option<i32> {
        let newer = self.generations.range(generation.saturating_add(1)..);
        newer.filter(|(_, there)| there.seen_at < moment).map(|(number, _)| *number).next_back()
    }

    fn generation(&mut self, number: i32, at: u64) -> &mut Generation {
        self.generations.entry(number).or_insert_with(|| Generation { seen_at: at, ..Generation::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(member: &str, generation: i32, sent_at: u64) -> Claim {
        let (group, member_id) = ("g".to_string(), member.to_string());
        Claim { group, member_id, instance: None, generation, sent_at }
    }

    fn partitions(of: &[i32]) -> BTreeSet<PartitionName> {
        of.iter().map(|&partition| ("t".to_string(), partition)).collect()
    }

    /// Lets `member` into a generation; the first one leads.
    fn join(judge: &mut MembershipJudge, member: &str, generation: i32, holds: &[i32], sent_at: u64) -> Verdict {
        let says = |member: &str| Bytes::from(format!("{member} says"));
        let all = ["a", "b"].map(|id| (id.to_string(), None, says(id))).to_vec();
        judge.joined(
            "g",
            &Joined {
                member_id: member,
                instance: None,
                generation,
                leader: "a",
                protocol: "p",
                offered: &["p".to_string()],
                metadata: &says(member),
                holds: &partitions(holds),
                members: if member == "a" { all } else { Vec::new() },
                sent_at,
                at: sent_at + 1,
            },
        )
    }

    fn part(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn assign(judge: &mut MembershipJudge, generation: i32) {
        let parts = [("a", "0"), ("b", "1")].map(|(id, given)| (id.to_string(), part(given)));
        judge.assigning("g", generation, BTreeMap::from(parts));
    }

    /// Two members with a partition each, in generation 1, at moment 10.
    fn settled() -> MembershipJudge {
        let mut judge = MembershipJudge::default();
        join(&mut judge, "a", 1, &[], 1).expect("fine");
        join(&mut judge, "b", 1, &[], 2).expect("fine");
        assign(&mut judge, 1);
        judge.assigned(&claim("a", 1, 5), &part("0"), &partitions(&[0]), 6).expect("fine");
        judge.assigned(&claim("b", 1, 7), &part("1"), &partitions(&[1]), 8).expect("fine");
        judge
    }

    #[test]
    fn an_older_generation_is_fenced_and_a_crash_takes_back_what_was_not_synced() {
        let mut judge = settled();
        assert!(judge.accepted("OffsetCommit", &claim("b", 1, 9)).is_ok());
        join(&mut judge, "a", 2, &[], 10).expect("fine");
        assert!(judge.accepted("OffsetCommit", &claim("b", 1, 11)).is_ok(), "sent before anybody knew");
        assert!(judge.accepted("OffsetCommit", &claim("b", 1, 12)).is_err());
        assert!(join(&mut judge, "b", 1, &[], 12).is_err(), "generations go back");
        judge.broker_died();
        assert!(judge.accepted("OffsetCommit", &claim("b", 1, 13)).is_ok(), "nobody had synced");
        judge.left("g", "b", 14);
        assert!(judge.accepted("Heartbeat", &claim("b", 1, 15)).is_err());
    }

    #[test]
    fn the_leader_is_told_what_everybody_said_and_there_is_one() {
        let mut judge = settled();
        let other = Bytes::from_static(b"something else");
        let mut joined = Joined {
            member_id: "c",
            instance: None,
            generation: 1,
            leader: "a",
            protocol: "p",
            offered: &["p".to_string()],
            metadata: &other,
            holds: &BTreeSet::new(),
            members: Vec::new(),
            sent_at: 9,
            at: 10,
        };
        assert!(judge.joined("g", &joined).is_err(), "the leader was not told of c");
        joined.member_id = "b";
        assert!(settled().joined("g", &joined).is_ok(), "a repeated question; the first one counts");
        joined.leader = "b";
        assert!(settled().joined("g", &joined).is_err(), "a and b lead");
        (joined.leader, joined.protocol) = ("a", "q");
        assert!(settled().joined("g", &joined).is_err(), "not its protocol");
    }

    #[test]
    fn partitions_have_one_owner_and_parts_are_of_one_assignment() {
        let mut judge = settled();
        assert!(judge.assigned(&claim("b", 1, 9), &part("0"), &partitions(&[0]), 10).is_err(), "a's part");
        let mut judge = settled();
        join(&mut judge, "a", 2, &[1], 10).expect("fine");
        join(&mut judge, "b", 2, &[], 11).expect("fine");
        assign(&mut judge, 2);
        assert!(judge.assigned(&claim("b", 2, 12), &part("1"), &partitions(&[1]), 13).is_err(), "a holds it");
        let mut judge = settled();
        join(&mut judge, "a", 2, &[], 10).expect("fine");
        assert!(judge.assigned(&claim("a", 2, 11), &part("0"), &partitions(&[0]), 12).is_err(), "nobody sent it");
    }

    #[test]
    fn a_group_is_at_rest_when_one_generation_has_everything() {
        let (mut judge, all) = (settled(), Vec::from_iter(partitions(&[0, 1])));
        judge.works_on("g", 0, Some((1, partitions(&[0]))));
        assert!(!judge.is_at_rest("g", &all), "partition 1 has no owner");
        judge.works_on("g", 1, Some((2, partitions(&[1]))));
        assert!(!judge.is_at_rest("g", &all), "two generations");
        judge.works_on("g", 0, Some((2, partitions(&[0]))));
        assert!(judge.is_at_rest("g", &all));
        judge.works_on("g", 0, None);
        assert!(!judge.is_at_rest("g", &all));
    }
}
