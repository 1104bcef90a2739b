//! Staying and going: heartbeats, sessions, leaving. Rules: protocol.md G5, G7. Must never touch: offsets.

use crate::command::{GroupState, Heartbeat, JoinReply, Leave, LeaveResult, Reply};
use crate::error::GroupError;
use crate::group::{Cx, Group};
use crate::member::Member;
use crate::timers::Timer;
use crate::writes::Effects;
use std::sync::Arc;

impl Group {
    pub fn heartbeat(&mut self, cx: &mut Cx<'_>, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        self.validate_member(&heartbeat.member_id, heartbeat.group_instance_id.as_ref())?;
        if heartbeat.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.touch(cx, &heartbeat.member_id);
        if self.state == GroupState::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    pub fn leave(&mut self, cx: &mut Cx<'_>, leave: Leave) -> Result<Vec<LeaveResult>, GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        let mut results = Vec::with_capacity(leave.members.len());
        for (member_id, group_instance_id) in leave.members {
            let error = self.leave_one(cx, &member_id, group_instance_id.as_ref()).err();
            results.push(LeaveResult { member_id, group_instance_id, error });
        }
        if results.iter().any(|result| result.error.is_none()) {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(cx),
                _ => self.maybe_complete_join(cx),
            }
        }
        Ok(results)
    }

    /// An administrator may remove a static member by its instance id alone (KIP-345).
    fn leave_one(&mut self, cx: &mut Cx<'_>, member_id: &str, instance: Option<&Arc<str>>) -> Result<(), GroupError> {
        if member_id.is_empty() {
            let id = instance.and_then(|id| self.static_members.get(id)).cloned().ok_or(GroupError::UnknownMember)?;
            self.remove_member(cx, &id);
            return Ok(());
        }
        if self.remove_pending(cx, member_id) {
            return Ok(());
        }
        self.validate_member(member_id, instance)?;
        self.remove_member(cx, member_id);
        Ok(())
    }

    /// A request of this member arrived: its session begins anew.
    pub fn touch(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            let (id, session_timeout_ms) = (member.id.clone(), member.session_timeout_ms);
            self.arm_session(cx, &id, session_timeout_ms);
        }
    }

    /// A member's timer fired. The true deadline may have moved on since it was set.
    pub fn on_session_timer(&mut self, cx: &mut Cx<'_>, member_id: &Arc<str>, at_us: u64) {
        if self.pending_members.get(member_id) == Some(&at_us) {
            self.pending_members.remove(member_id);
            return self.maybe_complete_join(cx);
        }
        let Some(member) = self.members.get_mut(member_id).filter(|m| m.timer_at_us == Some(at_us)) else { return };
        member.timer_at_us = None;
        match member.session_deadline_us {
            None => {}
            Some(later_us) if later_us > at_us => {
                member.timer_at_us = Some(later_us);
                cx.timers.insert(later_us, Timer::Session(self.id.clone(), member_id.clone()));
            }
            Some(_) if member.is_session_satisfied() => member.session_deadline_us = None,
            Some(_) => {
                self.remove_member(cx, member_id);
                match self.state {
                    GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(cx),
                    _ => self.maybe_complete_join(cx),
                }
            }
        }
    }

    /// Takes a member out with all that hangs on it; what it had parked is answered so that a live client joins anew.
    pub fn remove_member(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        if let Some(member) = self.take(member_id) {
            self.answer_parked(cx, &member, GroupError::UnknownMember);
            self.disarm(cx, &member);
        }
    }

    /// Forgets an id that was handed out and not used.
    pub fn remove_pending(&mut self, cx: &mut Cx<'_>, member_id: &str) -> bool {
        let Some((id, at_us)) = self.pending_members.remove_entry(member_id) else { return false };
        cx.timers.remove(at_us, Timer::Session(self.id.clone(), id));
        true
    }

    /// Answers a removed member's parked requests.
    pub fn answer_parked(&mut self, cx: &mut Cx<'_>, member: &Member, error: GroupError) {
        if let Some(token) = member.awaiting_join {
            cx.fx.reply(token, Reply::Join(JoinReply::refused(member.id.clone(), error)));
        }
        if let Some(token) = member.awaiting_sync {
            cx.fx.reply(token, Reply::Sync(Err(error)));
        }
    }

    /// Answers whatever the members have parked; they stay members.
    pub fn release_parked(&mut self, error: GroupError, fx: &mut Effects) {
        self.awaiting_join = 0;
        for member in self.members.values_mut() {
            if let Some(token) = member.awaiting_join.take() {
                fx.reply(token, Reply::Join(JoinReply::refused(member.id.clone(), error)));
            }
            if let Some(token) = member.awaiting_sync.take() {
                fx.reply(token, Reply::Sync(Err(error)));
            }
        }
    }

    /// Takes a removed member's timer out of the table.
    pub fn disarm(&mut self, cx: &mut Cx<'_>, member: &Member) {
        if let Some(at_us) = member.timer_at_us {
            cx.timers.remove(at_us, Timer::Session(self.id.clone(), member.id.clone()));
        }
    }

    /// Lets a member's session end after this time. The timer in the table is only moved when it stands too late, so a
    /// heartbeat does not touch the table.
    pub fn arm_session(&mut self, cx: &mut Cx<'_>, member_id: &Arc<str>, timeout_ms: i32) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let deadline_us = cx.now.after_ms(timeout_ms.max(0) as u64);
        member.session_deadline_us = Some(deadline_us);
        if member.timer_at_us.is_some_and(|at_us| at_us <= deadline_us) {
            return;
        }
        if let Some(at_us) = member.timer_at_us.replace(deadline_us) {
            cx.timers.remove(at_us, Timer::Session(self.id.clone(), member_id.clone()));
        }
        cx.timers.insert(deadline_us, Timer::Session(self.id.clone(), member_id.clone()));
    }

    pub fn arm_join(&mut self, cx: &mut Cx<'_>, timeout_ms: u64) {
        self.disarm_join(cx);
        let at_us = cx.now.after_ms(timeout_ms);
        cx.timers.insert(at_us, Timer::Join(self.id.clone()));
        self.join_deadline_us = Some(at_us);
    }

    pub fn disarm_join(&mut self, cx: &mut Cx<'_>) {
        if let Some(at_us) = self.join_deadline_us.take() {
            cx.timers.remove(at_us, Timer::Join(self.id.clone()));
        }
    }
}
