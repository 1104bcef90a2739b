//! Requests that wait: parking them, asking other shards for them, waking them.
//! Must never touch: what is asked.

use coretide_model::ShardId;

use crate::handlers::{Handled, Head, Outcome, Waiting, fetch};
use crate::machines::{controller, groups};
use crate::mail::{Answer, Ask, Asker, LogSizes, Mail, ReqId};
use crate::pending::Pending;
use crate::shard::Shard;
use crate::timers::Timer;

impl Shard {
    /// Parks a request. See `handlers` for what follows.
    pub(crate) fn wait(&mut self, head: Head, deadline_us: Option<u64>, waiting: Box<dyn Waiting>) -> ReqId {
        self.park(head, deadline_us, Pending::Other(waiting))
    }

    /// Parks something that no client waits for: it ends with [`Outcome::Silent`].
    pub(crate) fn wait_for_itself(&mut self, waiting: Box<dyn Waiting>) -> ReqId {
        self.pending.insert(Head::NOBODY, None, Pending::Other(waiting))
    }

    pub(crate) fn park(&mut self, head: Head, deadline_us: Option<u64>, pending: Pending) -> ReqId {
        let id = self.pending.insert(head, deadline_us, pending);
        if let Some(at_us) = deadline_us {
            self.timers.insert(at_us, Timer::Request(id));
        }
        self.note_waiting(&head, id);
        id
    }

    /// Tells the connection where its request waits, so that it can be abandoned with it.
    pub(crate) fn note_waiting(&mut self, head: &Head, id: ReqId) {
        if let Some(session) = self.sessions.get_mut(&head.conn) {
            session.waits(head.place, id);
        }
    }

    /// As [`Shard::note_waiting`], for a request that waits for a commit only.
    pub(crate) fn note_committing(&mut self, head: &Head, id: ReqId) {
        if let Some(session) = self.sessions.get_mut(&head.conn) {
            session.commits(head.place, id);
        }
    }

    /// Asks a shard something for a parked request; `place` comes back with the answer.
    pub(crate) fn ask(&mut self, to: ShardId, id: ReqId, place: u32, ask: Ask) {
        self.send(to, Mail::Ask { id, place, ask: Box::new(ask) });
    }

    /// Answers a question.
    pub(crate) fn answer(&mut self, asker: Asker, answer: Answer) {
        let Asker { shard, id, place } = asker;
        self.send(shard, Mail::Answer { id, place, answer: Box::new(answer) });
    }

    /// A question for this shard's machines and partitions.
    pub(crate) fn on_ask(&mut self, asker: Asker, ask: Ask) {
        match ask {
            Ask::Controller(command) => controller::on_command(self, asker, command),
            Ask::Group { partition, command } => groups::on_command(self, asker, partition, command),
            Ask::Partitions(asks) => self.on_partition_asks(asker, asks),
            Ask::LogSizes => {
                let sizes = LogSizes { sizes: self.logs.sizes(), volume: self.logs.store.volume() };
                self.answer(asker, Answer::LogSizes(sizes));
            }
        }
    }

    pub(crate) fn on_answer(&mut self, id: ReqId, place: u32, answer: Answer) {
        let Some((head, mut pending)) = self.pending.take(id) else { return };
        let handled = match &mut pending {
            Pending::Other(waiting) => waiting.on_answer(self, &head, place, answer),
            Pending::Produce(_) | Pending::Fetch(_) => Ok(Outcome::Later),
        };
        self.conclude(id, &head, handled, pending);
    }

    pub(crate) fn on_request_deadline(&mut self, id: ReqId) {
        let Some((head, mut pending)) = self.pending.take(id) else { return };
        let handled = match &mut pending {
            Pending::Other(waiting) => waiting.on_deadline(self, &head),
            Pending::Fetch(wait) => fetch::on_deadline(self, id, &head, wait),
            Pending::Produce(_) => Ok(Outcome::Later),
        };
        self.conclude(id, &head, handled, pending);
    }

    /// Puts a request back that goes on waiting, or ends it.
    pub(crate) fn conclude(&mut self, id: ReqId, head: &Head, handled: Handled, pending: Pending) {
        if matches!(handled, Ok(Outcome::Later)) {
            self.pending.put_back(id, pending);
        } else {
            self.end_wait(id);
            self.finish(head, handled);
        }
    }

    /// Takes a request out of the table, with its timer.
    pub(crate) fn end_wait(&mut self, id: ReqId) {
        if let Some(at_us) = self.pending.remove(id) {
            self.timers.remove(at_us, Timer::Request(id));
        }
    }

    /// The connection of a waiting request is gone.
    pub(crate) fn abandon(&mut self, id: ReqId) {
        let Some((head, pending)) = self.pending.take(id) else { return };
        self.end_wait(id);
        self.forget_frame(&head);
        if let Pending::Fetch(wait) = pending {
            fetch::on_abandoned(self, id, head.conn, &wait);
        }
    }
}
