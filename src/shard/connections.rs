//! Connections: accepting them, their frames, their responses, and when they are not read or closed.
//! Must never touch: what requests mean.

use std::net::SocketAddr;

use bytes::Bytes;
use coretide_metrics::ShardMetrics;
use coretide_model::{BrokerConfig, ConnId};
use coretide_wire::api::{Reception, receive};
use coretide_wire::header::decode_request_header_view;
use coretide_wire::{ApiKey, Reader};

use crate::boot::Phase;
use crate::config::{
    ANSWER_MIN_BYTES, HEAVY_BYTES, MemoryShares, REQUEST_OVERHEAD_BYTES, RESPONSE_HOLD_US, SLOW_READER_SCAN_US,
    SLOW_READER_US,
};
use crate::event::{ListenerId, Output};
use crate::handlers::{Fault, Handled, Head, Outcome, Request, api_versions, fetch, route};
use crate::session::Session;
use crate::shard::Shard;
use crate::timers::Timer;

/// The shard's memory budget: frames from their arrival until their request is over, responses until the kernel has
/// them.
#[derive(Debug)]
pub(crate) struct Memory {
    used_bytes: u64,
    /// What the Fetches that are reading may still bring.
    promised_bytes: u64,
    limit_bytes: u64,
    level: Level,
}

/// What requests and responses hold of the memory budget, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMemory {
    /// All of it.
    pub used_bytes: u64,
    /// The part of responses that wait for those before them on their connection.
    pub ready_bytes: u64,
    /// How much it may be before reading stops.
    pub limit_bytes: u64,
}

/// How much of the memory budget is in use, with some hysteresis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Enough,
    /// More than the limit: who holds much is not read.
    Spent,
    /// A quarter more than that: nobody is read.
    Exhausted,
}

impl Memory {
    /// Its share of the configured memory, or what `queued.max.request.bytes` says if that is less.
    pub fn new(broker: &BrokerConfig) -> Memory {
        let share = MemoryShares::of(broker).requests_bytes as u64;
        let limit_bytes = broker.network.queued_max_request_bytes.unwrap_or(u64::MAX).min(share);
        Memory { used_bytes: 0, promised_bytes: 0, limit_bytes, level: Level::Enough }
    }

    fn take(&mut self, bytes: u64) {
        self.used_bytes += bytes;
    }

    fn give(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used_bytes, "only what was taken is given back");
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }

    /// The new level, when it has changed; each is left at a quarter of the limit below where it begins.
    fn turn(&mut self) -> Option<Level> {
        let quarter = self.limit_bytes / 4;
        let begins = |level: Level, at: u64| if self.level >= level { at - quarter } else { at };
        let level = match self.used_bytes {
            used if used > begins(Level::Exhausted, self.limit_bytes.saturating_add(quarter)) => Level::Exhausted,
            used if used > begins(Level::Spent, self.limit_bytes) => Level::Spent,
            _ => Level::Enough,
        };
        (level != std::mem::replace(&mut self.level, level)).then_some(level)
    }

    /// Whether a connection whose unread responses hold so much is not read for now.
    fn pauses(&self, held_bytes: u64) -> bool {
        match self.level {
            Level::Enough => false,
            Level::Spent => held_bytes >= HEAVY_BYTES,
            Level::Exhausted => true,
        }
    }

    /// What one answer to a Fetch may hold: a quarter of what is left below three quarters of the limit, so that those
    /// who ask first leave some for those who ask later.
    pub fn answer_bytes(&self) -> u64 {
        let spoken_for = self.used_bytes + self.promised_bytes;
        ((self.limit_bytes / 4 * 3).saturating_sub(spoken_for) / 4).max(ANSWER_MIN_BYTES)
    }

    /// How much must be given back before there is comfort again: half of it.
    pub fn excess_bytes(&self) -> u64 {
        self.used_bytes.saturating_sub(self.limit_bytes / 2)
    }

    /// More than half of it is in use, or will be.
    pub fn is_tight(&self) -> bool {
        self.used_bytes + self.promised_bytes > self.limit_bytes / 2
    }

    #[cfg(test)]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }
}

/// What the frames that have not begun take of the memory budget.
fn backlog_cost(session: &Session) -> u64 {
    session.backlog_bytes() as u64 + session.backlog_frames() as u64 * REQUEST_OVERHEAD_BYTES
}

/// Sends what is ready on a connection.
fn send_ready(session: &mut Session, out: &mut Vec<Output>, metrics: &mut ShardMetrics) {
    metrics.bytes_out += session.drain(out);
}

/// Whether the request in this frame may run beside others of its connection.
fn overlaps(frame: &[u8]) -> bool {
    let key = frame.first_chunk::<2>().map(|key| i16::from_be_bytes(*key));
    key.and_then(ApiKey::from_code).and_then(route).is_some_and(|route| route.overlaps)
}

impl Shard {
    /// What requests and responses hold of the memory budget.
    pub fn request_memory(&self) -> RequestMemory {
        let ready_bytes = self.sessions.values().map(Session::ready_bytes).sum();
        RequestMemory { used_bytes: self.memory.used_bytes, ready_bytes, limit_bytes: self.memory.limit_bytes }
    }

    pub(crate) fn on_opened(&mut self, conn: ConnId, listener: ListenerId, peer: SocketAddr) {
        if self.phase != Phase::Serving {
            self.metrics.connections_unserved += 1;
            self.out.push(Output::Close { conn });
            return;
        }
        self.follow_limits();
        self.metrics.connections_opened += 1;
        let session = Session::new(conn, listener, peer, self.now.mono_us);
        self.sessions.insert(conn, session);
        self.ask_admission(conn);
        self.pause_as_needed(conn);
    }

    pub(crate) fn on_frame(&mut self, conn: ConnId, frame: Bytes) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.last_active_us = self.now.mono_us;
        let frame_bytes = frame.len() as u64;
        if session.push(frame) {
            self.metrics.bytes_in += frame_bytes;
            self.memory.take(frame_bytes + REQUEST_OVERHEAD_BYTES);
            self.pump(conn);
        }
    }

    pub(crate) fn on_sent(&mut self, conn: ConnId, bytes: u64) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.last_active_us = self.now.mono_us;
        let was_blocked = session.wants_pause();
        let has_backlog = session.backlog_frames() > 0;
        let freed_bytes = session.sent(bytes);
        self.memory.give(freed_bytes);
        self.balance();
        if was_blocked || has_backlog {
            self.dirty.push(conn);
        }
    }

    pub(crate) fn on_closed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        self.note_left(session.admission, session.peer.ip());
        self.memory.give(session.held_bytes() + backlog_cost(&session));
        for id in session.waiting() {
            self.abandon(id);
        }
        self.balance();
    }

    /// Begins as many requests of the connection as may begin.
    pub(crate) fn pump(&mut self, conn: ConnId) {
        while self.is_serving()
            && let Some(session) = self.sessions.get_mut(&conn)
        {
            // Who leaves much unread, or will have much to read, gets no more of what is scarce; a Sent, a Closed or the
            // answer follows, and then this again.
            if session.held_bytes() + session.promised_bytes >= HEAVY_BYTES && self.memory.is_tight() {
                break;
            }
            let Some((frame, overlaps)) = session.next(overlaps) else { break };
            let place = session.begin(overlaps);
            let (listener, peer) = (session.listener, session.peer);
            self.begin(conn, place, listener, peer, frame);
        }
        self.pause_as_needed(conn);
        self.balance();
    }

    fn begin(&mut self, conn: ConnId, place: u64, listener: ListenerId, peer: SocketAddr, frame: Bytes) {
        let mut reader = Reader::new(&frame);
        let frame_bytes = frame.len() as u32;
        // Bytes whose header cannot be read close the connection at this place; the head is only for the accounts.
        let mut head =
            Head { conn, place, api: ApiKey::ApiVersions, version: 0, correlation_id: 0, listener, frame_bytes };
        let header = match decode_request_header_view(&mut reader) {
            Ok(header) => header,
            Err(error) => return self.finish(&head, Err(Fault::Decode(error))),
        };
        (head.version, head.correlation_id) = (header.api_version, header.correlation_id);
        self.metrics.count_request(header.api_key);
        let handle = match receive(header.api_key, header.api_version) {
            Reception::Serve(api) => {
                head.api = api;
                route(api).map(|route| route.handle)
            }
            Reception::AnswerApiVersionsV0 => Some(api_versions::unsupported as crate::handlers::Handler),
            Reception::Close => None,
        };
        let body_at = reader.position();
        let Some(handle) = handle else { return self.finish(&head, Ok(Outcome::Close)) };
        let request = Request { head, body_at, peer, frame };
        let handled = handle(self, &request);
        self.finish(&head, handled);
    }

    /// Takes what became of a request. After anything but `Later` and `Silent` the request is over.
    pub(crate) fn finish(&mut self, head: &Head, handled: Handled) {
        if matches!(handled, Ok(Outcome::Later)) {
            return;
        }
        let is_silent = matches!(handled, Ok(Outcome::Silent));
        if !is_silent {
            self.memory.give(head.cost_bytes());
        }
        let Some(session) = self.sessions.get_mut(&head.conn) else { return };
        match handled {
            Ok(Outcome::Answer(response)) => self.memory.take(session.answer(head.place, response)),
            Ok(Outcome::Silent) => session.silence(head.place),
            Ok(Outcome::Nothing) => {
                session.silence(head.place);
                session.finish_silent();
            }
            Ok(Outcome::Close | Outcome::Later) | Err(_) => {
                self.metrics.connections_faulted += 1;
                self.memory.give(backlog_cost(session));
                session.close_at(head.place);
            }
        }
        if !session.holds(self.now.mono_us) {
            send_ready(session, &mut self.out, &mut self.metrics);
        } else if self.held.last() != Some(&head.conn) {
            if self.held.is_empty() {
                self.timers.insert(self.now.mono_us + RESPONSE_HOLD_US, Timer::HeldResponses);
            }
            self.held.push(head.conn);
        }
        self.dirty.push(head.conn);
    }

    /// Sends all responses that waited for more of their connection.
    pub(crate) fn send_held(&mut self) {
        for conn in std::mem::take(&mut self.held) {
            if let Some(session) = self.sessions.get_mut(&conn) {
                send_ready(session, &mut self.out, &mut self.metrics);
            }
        }
    }

    /// A request that gets no response is over; with a fault the connection ends at once (W8).
    pub(crate) fn finish_silent(&mut self, head: &Head, failed: bool) {
        self.memory.give(head.cost_bytes());
        let Some(session) = self.sessions.get_mut(&head.conn) else { return };
        session.finish_silent();
        if failed && !session.is_closing() {
            self.metrics.connections_faulted += 1;
            self.memory.give(backlog_cost(session));
            session.end(&mut self.out);
        }
        self.dirty.push(head.conn);
    }

    /// The frame of a request that waits is not needed any more: its memory is given back, only the wait is paid for.
    pub(crate) fn let_go_of_frame(&mut self, head: &mut Head) {
        self.memory.give(u64::from(std::mem::take(&mut head.frame_bytes)));
    }

    /// A Fetch of the connection reads so much at most.
    pub(crate) fn promise(&mut self, conn: ConnId, bytes: u64) {
        self.memory.promised_bytes += bytes;
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.promised_bytes += bytes;
        }
    }

    /// It has read.
    pub(crate) fn keep_promise(&mut self, conn: ConnId, bytes: u64) {
        self.memory.promised_bytes -= bytes;
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.promised_bytes -= bytes;
            self.dirty.push(conn);
        }
    }

    /// Gives back what an abandoned request held.
    pub(crate) fn forget_frame(&mut self, head: &Head) {
        self.memory.give(head.cost_bytes());
    }

    fn pause_as_needed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let pause = session.wants_pause() || self.memory.pauses(session.held_bytes()) || self.phase != Phase::Serving;
        if pause != session.paused {
            session.paused = pause;
            self.out.push(if pause { Output::PauseRead { conn } } else { Output::ResumeRead { conn } });
        }
    }

    pub(crate) fn pause_all_as_needed(&mut self) {
        let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in conns {
            self.pause_as_needed(conn);
        }
    }

    /// Stops or resumes reading for everybody when the memory budget's marks are passed.
    fn balance(&mut self) {
        if let Some(level) = self.memory.turn() {
            if level > Level::Enough {
                self.metrics.memory_pauses += 1;
                self.timers.insert(self.now.mono_us, Timer::SlowScan);
            }
            self.pause_all_as_needed();
        }
    }

    /// Closes connections on which nothing happens (W11), neither in nor out. A request that waits on purpose keeps its
    /// connection.
    pub(crate) fn close_idle(&mut self) {
        let idle_ms = self.image.broker().network.connections_max_idle_ms;
        let idle_us = u64::try_from(idle_ms).map_or(u64::MAX, |ms| ms.saturating_mul(1000));
        let closed = self.close_quiet(idle_us, |session| session.is_idle() || session.unsent_bytes() > 0);
        self.metrics.connections_expired += closed;
    }

    /// While memory is spent, answers who waits on purpose, and closes connections that hold some of it and take nothing.
    pub(crate) fn close_slow(&mut self) {
        if self.memory.level > Level::Enough {
            fetch::end_polls(self, self.memory.excess_bytes());
            self.metrics.connections_slow +=
                self.close_quiet(SLOW_READER_US, |session| session.held_bytes() > 0 && session.unsent_bytes() > 0);
            self.timers.insert(self.now.mono_us + SLOW_READER_SCAN_US, Timer::SlowScan);
        }
    }

    fn close_quiet(&mut self, quiet_us: u64, test: impl Fn(&Session) -> bool) -> u64 {
        let now_us = self.now.mono_us;
        let is_quiet = |session: &&Session| now_us.saturating_sub(session.last_active_us) >= quiet_us;
        let open = self.sessions.values().filter(|session| !session.is_closing());
        let conns: Vec<ConnId> = open.filter(is_quiet).filter(|session| test(session)).map(|s| s.conn).collect();
        let closed = conns.len() as u64;
        conns.into_iter().for_each(|conn| self.close_now(conn));
        closed
    }

    /// Ends a connection whatever is in progress on it.
    pub(crate) fn close_now(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        self.memory.give(backlog_cost(session));
        session.end(&mut self.out);
    }
}
