//! The sync phase: the leader's assignment goes to the log, then to everybody. Rules: protocol.md G5, KIP-559.
//! Must never touch: what an assignment says.

use crate::command::{GroupState, Reply, Sync, Token};
use crate::error::{GroupError, WriteError};
use crate::group::{Cx, Group};
use crate::record::GroupValue;
use crate::timers::Timer;
use crate::writes::Then;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Group {
    pub fn sync(&mut self, cx: &mut Cx<'_>, sync: Sync, token: Token) {
        if let Err(error) = self.validate_sync(&sync) {
            return cx.fx.reply(token, Reply::Sync(Err(error)));
        }
        self.pending_sync.remove(&sync.member_id);
        if self.state == GroupState::Stable {
            let member = &self.members[&sync.member_id];
            let session_timeout_ms = member.session_timeout_ms;
            let reply = self.sync_reply(member.assignment.clone());
            cx.fx.reply(token, Reply::Sync(Ok(reply)));
            return self.arm_session(cx, &sync.member_id, session_timeout_ms);
        }
        let member = self.members.get_mut(&sync.member_id).expect("it was just validated");
        if let Some(old) = member.awaiting_sync.replace(token) {
            cx.fx.reply(old, Reply::Sync(Err(GroupError::RebalanceInProgress)));
        }
        if !self.is_leader(&sync.member_id) || self.assignment_in_flight {
            return;
        }
        let assignments: BTreeMap<Arc<str>, Bytes> = sync.assignments.into_iter().collect();
        // The record says since when the group is stable, which it will be once the record is durable.
        self.state_since_ms = cx.now.wall_ms;
        let record = self.to_record(|member| assignments.get(&member.id).cloned().unwrap_or_default());
        self.assignment_in_flight = true;
        let then = Then::Assigned { group: self.id.clone(), generation: self.generation };
        cx.writes.push(cx.fx, vec![record], then);
    }

    fn validate_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        self.validate_member(&sync.member_id, sync.group_instance_id.as_ref())?;
        if sync.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |asked: &Option<Arc<str>>, own: &Option<Arc<str>>| asked.is_some() && asked != own;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol_name, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state {
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
        }
    }

    /// The assignment of a generation is durable. A generation that has passed meanwhile has no use for it.
    pub fn assigned(&mut self, cx: &mut Cx<'_>, generation: i32, value: &GroupValue) {
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        self.assignment_in_flight = false;
        for stored in &value.members {
            let Some(member) = self.members.get_mut(&stored.member_id) else { continue };
            member.assignment = stored.assignment.clone();
            let Some(token) = member.awaiting_sync.take() else { continue };
            let session_timeout_ms = member.session_timeout_ms;
            let reply = self.sync_reply(stored.assignment.clone());
            cx.fx.reply(token, Reply::Sync(Ok(reply)));
            self.arm_session(cx, &stored.member_id, session_timeout_ms);
        }
        self.state = GroupState::Stable;
    }

    /// The assignment could not be stored: nobody gets it, and the group tries again.
    pub fn assign_failed(&mut self, cx: &mut Cx<'_>, generation: i32, error: WriteError) {
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        self.fail_syncs(cx, error.for_group());
        self.prepare_rebalance(cx);
    }

    /// Answers every parked SyncGroup with an error and forgets the assignments.
    pub fn fail_syncs(&mut self, cx: &mut Cx<'_>, error: GroupError) {
        let mut answered = Vec::new();
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                cx.fx.reply(token, Reply::Sync(Err(error)));
                answered.push((member.id.clone(), member.session_timeout_ms));
            }
        }
        for (id, session_timeout_ms) in answered {
            self.arm_session(cx, &id, session_timeout_ms);
        }
    }

    /// Members that did not sync within the rebalance timeout are taken for gone.
    pub fn on_sync_timer(&mut self, cx: &mut Cx<'_>) {
        self.sync_deadline_us = None;
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) || self.pending_sync.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.remove_member(cx, &id);
        }
        self.prepare_rebalance(cx);
    }

    pub fn arm_sync(&mut self, cx: &mut Cx<'_>, timeout_ms: u64) {
        self.disarm_sync_timer(cx);
        let at_us = cx.now.after_ms(timeout_ms);
        cx.timers.insert(at_us, Timer::Sync(self.id.clone()));
        self.sync_deadline_us = Some(at_us);
    }

    /// The sync phase is over: nobody's SyncGroup is missed any more.
    pub fn disarm_sync(&mut self, cx: &mut Cx<'_>) {
        self.pending_sync.clear();
        self.disarm_sync_timer(cx);
    }

    fn disarm_sync_timer(&mut self, cx: &mut Cx<'_>) {
        if let Some(at_us) = self.sync_deadline_us.take() {
            cx.timers.remove(at_us, Timer::Sync(self.id.clone()));
        }
    }
}
