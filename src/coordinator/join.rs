//! The join phase: who is in the next generation. Rules: protocol.md G1-G4, G6; KIP-62, KIP-134, KIP-345, KIP-394, KIP-814.
//! Must never touch: assignments' content.

use crate::command::{GroupState, Join, JoinReply, Reply, Token};
use crate::config::{GROUP_PROTOCOLS_MAX_BYTES, JOIN_RETRY_MIN_MS, NEW_MEMBER_JOIN_TIMEOUT_MS, PENDING_MEMBERS_MAX};
use crate::error::GroupError;
use crate::group::{Cx, Group, InitialDelay};
use crate::member::{Member, protocols_bytes};
use crate::timers::Timer;
use crate::writes::{StaticReplaced, Then};
use coretide_stdx::prng::Prng;
use std::sync::Arc;

impl Group {
    pub fn join(&mut self, cx: &mut Cx<'_>, join: Join, token: Token) {
        let refuse = |cx: &mut Cx<'_>, error| {
            cx.fx.reply(token, Reply::Join(JoinReply::refused(join.member_id.clone(), error)));
        };
        if self.state == GroupState::Dead {
            return refuse(cx, GroupError::NotAvailable);
        }
        if !self.accepts_joining(&join.member_id, cx.config.max_size) {
            self.remove_member(cx, &join.member_id);
            self.maybe_complete_join(cx);
            return refuse(cx, GroupError::GroupFull);
        }
        if !self.supports_protocols(&join.protocol_type, &join.protocols) {
            return refuse(cx, GroupError::InconsistentProtocol);
        }
        let held = self.members.get(&join.member_id).map_or(0, Member::protocols_bytes);
        if self.protocols_bytes - held + protocols_bytes(&join.protocols) > GROUP_PROTOCOLS_MAX_BYTES {
            return refuse(cx, GroupError::GroupFull);
        }
        if join.member_id.is_empty() {
            return self.join_new(cx, join, token);
        }
        if self.pending_members.contains_key(&join.member_id) && join.group_instance_id.is_none() {
            self.remove_pending(cx, &join.member_id);
            let id = join.member_id.clone();
            return self.add_member(cx, join, id, token);
        }
        match self.validate_member(&join.member_id, join.group_instance_id.as_ref()) {
            Ok(()) => self.join_known(cx, join, token),
            Err(error) => refuse(cx, error),
        }
    }

    fn join_new(&mut self, cx: &mut Cx<'_>, join: Join, token: Token) {
        let prefix = join.group_instance_id.as_ref().unwrap_or(&join.client_id);
        let id: Arc<str> = Arc::from(format!("{prefix}-{}", uuid(cx.prng)));
        if let Some(instance_id) = &join.group_instance_id {
            return match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.replace_static(cx, join, &old_id, id, token),
                None => self.add_member(cx, join, id, token),
            };
        }
        if !join.requires_known_member_id {
            return self.add_member(cx, join, id, token);
        }
        if self.pending_members.len() >= PENDING_MEMBERS_MAX {
            return cx.fx.reply(token, Reply::Join(JoinReply::refused(join.member_id, GroupError::GroupFull)));
        }
        let deadline_us = cx.now.after_ms(join.session_timeout_ms.max(0) as u64);
        cx.timers.insert(deadline_us, Timer::Session(self.id.clone(), id.clone()));
        self.pending_members.insert(id.clone(), deadline_us);
        cx.fx.reply(token, Reply::Join(JoinReply::refused(id, GroupError::MemberIdRequired)));
    }

    fn join_known(&mut self, cx: &mut Cx<'_>, join: Join, token: Token) {
        let member = &self.members[&join.member_id];
        let unchanged = member.protocols == join.protocols;
        let leads = self.is_leader(&join.member_id);
        match self.state {
            // A lost answer: the generation is complete, this member is part of it.
            GroupState::CompletingRebalance if unchanged => {
                let reply = self.join_reply(&join.member_id, leads);
                cx.fx.reply(token, Reply::Join(reply));
            }
            GroupState::Stable if unchanged && !leads => {
                let reply = self.join_reply(&join.member_id, false);
                cx.fx.reply(token, Reply::Join(reply));
            }
            _ => {
                let id = join.member_id.clone();
                let rebalance_ms = effective_rebalance_ms(&join);
                self.update(&id, join.protocols, rebalance_ms, join.session_timeout_ms);
                self.park_join(cx, &id, token);
                self.rebalance_or_complete(cx);
            }
        }
    }

    fn add_member(&mut self, cx: &mut Cx<'_>, join: Join, id: Arc<str>, token: Token) {
        if let Some(initial) = &mut self.initial {
            initial.extend = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.insert(Member {
            id: id.clone(),
            instance_id: join.group_instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: effective_rebalance_ms(&join),
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: bytes::Bytes::new(),
            is_new: true,
            awaiting_join: Some(token),
            awaiting_sync: None,
            session_deadline_us: None,
            timer_at_us: None,
        });
        self.arm_session(cx, &id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_complete(cx);
    }

    /// A static member came back without its id: the new one takes the old one's place, and whoever still uses the old id is
    /// fenced. In a stable group nothing else changes, unless its protocols would change the choice.
    fn replace_static(&mut self, cx: &mut Cx<'_>, join: Join, old_id: &str, new_id: Arc<str>, token: Token) {
        let old_leader = self.leader.clone().unwrap_or_else(|| Arc::from(""));
        let was_pending_sync = self.pending_sync.contains(old_id);
        let old = self.take(old_id).expect("static ids name members");
        self.answer_parked(cx, &old, GroupError::FencedInstance);
        self.disarm(cx, &old);
        let rebalance_ms = effective_rebalance_ms(&join);
        self.insert(Member {
            id: new_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: rebalance_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            awaiting_join: Some(token),
            awaiting_sync: None,
            timer_at_us: None,
            ..old.clone()
        });
        if *old_leader == *old_id {
            self.leader = Some(new_id.clone());
        }
        if was_pending_sync {
            self.pending_sync.insert(new_id.clone());
        }
        self.arm_session(cx, &new_id, join.session_timeout_ms);
        if self.state != GroupState::Stable || self.select_protocol() != self.protocol {
            return self.rebalance_or_complete(cx);
        }
        let record = self.to_record(|member| member.assignment.clone());
        let replaced = StaticReplaced {
            group: self.id.clone(),
            generation: self.generation,
            token,
            new_member_id: new_id,
            old,
            supports_skip_assignment: join.supports_skip_assignment,
            old_leader,
        };
        cx.writes.push(cx.fx, vec![record], Then::StaticReplaced(Box::new(replaced)));
    }

    /// The static member's new id is durable: it may know.
    pub fn static_replaced(&mut self, cx: &mut Cx<'_>, replaced: StaticReplaced) {
        if !self.is_replacement_waiting(&replaced) {
            return;
        }
        self.unpark_join(&replaced.new_member_id);
        self.touch(cx, &replaced.new_member_id);
        let leads = self.is_leader(&replaced.new_member_id);
        let mut reply = self.join_reply(&replaced.new_member_id, leads && replaced.supports_skip_assignment);
        if replaced.supports_skip_assignment {
            reply.skip_assignment = leads;
        } else {
            reply.leader = replaced.old_leader;
        }
        cx.fx.reply(replaced.token, Reply::Join(reply));
    }

    /// The static member's new id could not be stored: the old one is the member again.
    pub fn static_replace_failed(&mut self, cx: &mut Cx<'_>, replaced: StaticReplaced, error: GroupError) {
        if !self.is_replacement_waiting(&replaced) {
            return;
        }
        let was_leader = self.is_leader(&replaced.new_member_id);
        let failed = self.take(&replaced.new_member_id).expect("it waits");
        self.disarm(cx, &failed);
        let (id, session_timeout_ms) = (replaced.old.id.clone(), replaced.old.session_timeout_ms);
        self.insert(Member { awaiting_join: None, timer_at_us: None, ..replaced.old });
        if was_leader {
            self.leader = Some(id.clone());
        }
        self.arm_session(cx, &id, session_timeout_ms);
        cx.fx.reply(replaced.token, Reply::Join(JoinReply::refused(Arc::from(""), error)));
    }

    /// A rebalance that began meanwhile answers the member itself.
    fn is_replacement_waiting(&self, replaced: &StaticReplaced) -> bool {
        self.state == GroupState::Stable
            && self.generation == replaced.generation
            && self.members.get(&replaced.new_member_id).is_some_and(|m| m.awaiting_join == Some(replaced.token))
    }

    pub fn rebalance_or_complete(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => self.prepare_rebalance(cx),
            GroupState::PreparingRebalance | GroupState::Dead => self.maybe_complete_join(cx),
        }
    }

    /// Starts the join phase: every member has to come back.
    pub fn prepare_rebalance(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.fail_syncs(cx, GroupError::RebalanceInProgress);
        }
        self.assignment_in_flight = false;
        self.disarm_sync(cx);
        let first = self.state == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, cx.now);
        if first {
            let delay_ms = cx.config.initial_rebalance_delay_ms.max(0) as u64;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial = Some(InitialDelay { delay_ms, remaining_ms, extend: false });
            return self.arm_join(cx, delay_ms);
        }
        if self.has_all_members_joined() {
            return self.complete_join(cx);
        }
        let timeout_ms = self.rebalance_timeout_ms();
        self.arm_join(cx, timeout_ms);
    }

    /// Ends the join phase when everybody is there, but not before the first rebalance's delay is over.
    pub fn maybe_complete_join(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::PreparingRebalance && self.initial.is_none() && self.has_all_members_joined() {
            self.complete_join(cx);
        }
    }

    pub fn on_join_timer(&mut self, cx: &mut Cx<'_>) {
        self.join_deadline_us = None;
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        if let Some(initial) = self.initial
            && initial.extend
            && initial.remaining_ms > 0
        {
            let delay_ms = (cx.config.initial_rebalance_delay_ms.max(0) as u64).min(initial.remaining_ms);
            let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
            self.initial = Some(InitialDelay { delay_ms, remaining_ms, extend: false });
            return self.arm_join(cx, delay_ms);
        }
        self.complete_join(cx);
    }

    /// The next generation: those who joined, and the static members who may come back within their session.
    fn complete_join(&mut self, cx: &mut Cx<'_>) {
        self.disarm_join(cx);
        self.initial = None;
        let gone: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in gone {
            self.remove_member(cx, &id);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // A rebalance timeout of 0 must not make this a busy loop.
            let timeout_ms = self.rebalance_timeout_ms().max(JOIN_RETRY_MIN_MS);
            return self.arm_join(cx, timeout_ms);
        }
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.compute_subscribed();
            self.transition(GroupState::Empty, cx.now);
            let record = self.to_record(|member| member.assignment.clone());
            return cx.writes.push(cx.fx, vec![record], Then::Nothing);
        }
        self.protocol = self.select_protocol();
        self.compute_subscribed();
        self.transition(GroupState::CompletingRebalance, cx.now);
        self.answer_joined(cx);
        let timeout_ms = self.rebalance_timeout_ms();
        self.arm_sync(cx, timeout_ms);
    }

    fn answer_joined(&mut self, cx: &mut Cx<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(token) = self.unpark_join(&id) {
                let reply = self.join_reply(&id, self.is_leader(&id));
                cx.fx.reply(token, Reply::Join(reply));
            }
            let member = self.members.get_mut(&id).expect("it was just listed");
            member.is_new = false;
            let session_timeout_ms = member.session_timeout_ms;
            self.arm_session(cx, &id, session_timeout_ms);
            self.pending_sync.insert(id);
        }
    }

    /// The leader, if it joined; else the first who did.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        if self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(joined) {
            return true;
        }
        let Some(next) = self.members.values().find(|m| joined(m)).map(|m| m.id.clone()) else { return false };
        self.leader = Some(next);
        true
    }

    /// Parks a JoinGroup; one that was parked before is answered, since its client has come back.
    fn park_join(&mut self, cx: &mut Cx<'_>, member_id: &Arc<str>, token: Token) {
        let member = self.members.get_mut(member_id).expect("only members park");
        match member.awaiting_join.replace(token) {
            None => self.awaiting_join += 1,
            Some(old) => {
                let reply = JoinReply::refused(member_id.clone(), GroupError::RebalanceInProgress);
                cx.fx.reply(old, Reply::Join(reply));
            }
        }
    }

    fn unpark_join(&mut self, member_id: &str) -> Option<Token> {
        let token = self.members.get_mut(member_id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(token)
    }
}

/// Version 0 has no rebalance timeout; -1 must not become a deadline in the past (brod #465 against Redpanda).
fn effective_rebalance_ms(join: &Join) -> i32 {
    if join.rebalance_timeout_ms < 0 { join.session_timeout_ms } else { join.rebalance_timeout_ms }
}

/// A version 4 UUID in its usual text form.
fn uuid(prng: &mut Prng) -> String {
    let high = prng.next_u64() & !0xf000 | 0x4000;
    let low = prng.next_u64() & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random_and_the_rest_of_it_is() {
        let mut prng = Prng::new(5);
        let (mut always, mut ever) = (u128::MAX, 0);
        for _ in 0..300 {
            let text = uuid(&mut prng);
            let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
            assert_eq!((text.len(), dashes), (36, vec![8, 13, 18, 23]));
            let bits = u128::from_str_radix(&text.replace('-', ""), 16).expect("hexadecimal");
            always &= bits;
            ever |= bits;
        }
        assert_eq!(always, 0x4000 << 64 | 1 << 63, "version 4, variant 1");
        assert_eq!(!ever, 0xb000 << 64 | 1 << 62);
    }
}
