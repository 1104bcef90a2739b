//! One connection: its requests in order, its responses in the same order, and when to stop reading it.
//!
//! ```text
//!   frame ─► backlog ─ may_begin ─► begin (takes the next place in line) ─► a handler
//!   handler's answer ─► fill(place) ─► drain: everything at the head of the line that is filled leaves
//! ```
//!
//! Requests that only append or read (`overlaps`) run beside each other; any other runs alone, as all do in Kafka, so that
//! it sees the effects of those before it and none of those behind it.
//!
//! A send costs as much for one response as for several, and wakes the client each time. So while more appends of the
//! connection wait for a commit than responses are ready, the ready ones wait for them a moment.
//! Must never touch: what requests mean, sockets.

pub mod frame;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use coretide_model::ConnId;

use crate::config::{
    BACKLOG_BYTES_MAX, BACKLOG_FRAMES_MAX, REQUESTS_IN_PROGRESS_MAX, RESPONSE_HOLD_US, UNSENT_BYTES_MAX,
};
use crate::event::{ListenerId, Output, Response};
use crate::mail::ReqId;

/// A place in a connection's line.
#[derive(Debug)]
enum Place {
    /// Its request is in progress; the id if it waits in the table.
    Waiting(Option<ReqId>),
    /// Its request waits in the table for a commit, which is a matter of microseconds.
    Committing(ReqId),
    /// May leave when it is at the head.
    Ready(Response),
    /// Nothing leaves for it (acks=0).
    Silent,
    /// The connection ends here.
    Close,
}

impl Place {
    /// Its request is not answered yet.
    fn is_open(&self) -> bool {
        matches!(self, Place::Waiting(_) | Place::Committing(_))
    }
}

/// Whether a connection is counted against the limits of all shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There is no limit.
    Free,
    /// Shard 0 has been asked: no request begins before its answer.
    Asked,
    Counted,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub conn: ConnId,
    pub listener: ListenerId,
    pub peer: SocketAddr,
    pub admission: Admission,
    /// When a frame last arrived or response bytes last left.
    pub last_active_us: u64,
    /// What the driver was told.
    pub paused: bool,
    line: VecDeque<Place>,
    /// The number of the place at the head.
    head: u64,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    in_progress: u32,
    /// The request in progress is one that runs alone.
    alone: bool,
    /// Places that are [`Place::Committing`].
    committing: usize,
    /// Since when the responses at the head have been ready, if they are being held.
    held_since_us: Option<u64>,
    /// Responses that have not left: bytes to go, and bytes in memory.
    unsent: VecDeque<(u64, u64)>,
    unsent_bytes: u64,
    held_bytes: u64,
    /// What its Fetches that are reading may bring.
    pub promised_bytes: u64,
    /// No more requests begin.
    closing: bool,
    /// The driver was told to close it: nothing more is sent.
    ended: bool,
}

impl Session {
    pub fn new(conn: ConnId, listener: ListenerId, peer: SocketAddr, now_us: u64) -> Session {
        Session {
            conn,
            listener,
            peer,
            admission: Admission::Free,
            last_active_us: now_us,
            paused: false,
            line: VecDeque::new(),
            head: 0,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            in_progress: 0,
            alone: false,
            committing: 0,
            held_since_us: None,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            held_bytes: 0,
            promised_bytes: 0,
            closing: false,
            ended: false,
        }
    }

    /// Takes a frame in. False: the connection is closing, and the frame is dropped.
    pub fn push(&mut self, frame: Bytes) -> bool {
        if self.closing {
            return false;
        }
        self.backlog_bytes += frame.len();
        self.backlog.push_back(frame);
        true
    }

    /// The next frame, if its request may begin now. `overlaps` says whether a request with this API key may run beside
    /// others.
    pub fn next(&mut self, overlaps: impl FnOnce(&[u8]) -> bool) -> Option<(Bytes, bool)> {
        let frame = self.backlog.front()?;
        let may_begin = !self.closing && self.admission != Admission::Asked;
        if !may_begin || self.in_progress >= REQUESTS_IN_PROGRESS_MAX || self.unsent_bytes > UNSENT_BYTES_MAX {
            return None;
        }
        let overlaps = overlaps(frame);
        if self.in_progress > 0 && (self.alone || !overlaps) {
            return None;
        }
        self.backlog_bytes -= frame.len();
        let frame = self.backlog.pop_front()?;
        Some((frame, overlaps))
    }

    /// A request begins; returns its place in line.
    pub fn begin(&mut self, overlaps: bool) -> u64 {
        debug_assert!(self.in_progress == 0 || (overlaps && !self.alone), "`next` said so");
        self.in_progress += 1;
        self.alone = !overlaps;
        self.line.push_back(Place::Waiting(None));
        self.head + self.line.len() as u64 - 1
    }

    fn place(&mut self, place: u64) -> &mut Place {
        let index = place.checked_sub(self.head).expect("a place leaves the line only when it is filled");
        self.line.get_mut(index as usize).expect("a place was given out by `begin`")
    }

    /// The request that has just begun runs alone after all: none behind it begins before it is answered.
    pub fn hold_up(&mut self) {
        self.alone = true;
    }

    /// Notes where the request of this place waits.
    pub fn waits(&mut self, place: u64, id: ReqId) {
        self.fill(place, Place::Waiting(Some(id)));
    }

    /// Notes where the request of this place waits for a commit.
    pub fn commits(&mut self, place: u64, id: ReqId) {
        self.fill(place, Place::Committing(id));
        self.committing += 1;
    }

    fn fill(&mut self, place: u64, with: Place) {
        let before = std::mem::replace(self.place(place), with);
        self.committing -= usize::from(matches!(before, Place::Committing(_)));
    }

    /// The request is answered. It is no longer in progress. Returns how many bytes of the response are in memory: from now
    /// on, also while it waits for those before it.
    pub fn answer(&mut self, place: u64, response: Response) -> u64 {
        let held_bytes = response.held_bytes();
        self.held_bytes += held_bytes;
        self.fill(place, Place::Ready(response));
        self.in_progress -= 1;
        held_bytes
    }

    /// Of what is held, the bytes of responses that wait for those before them.
    pub fn ready_bytes(&self) -> u64 {
        let ready = self.line.iter().map(|place| match place {
            Place::Ready(response) => response.held_bytes(),
            _ => 0,
        });
        ready.sum()
    }

    /// The request gets no response, but is still in progress: [`Session::finish_silent`] follows.
    pub fn silence(&mut self, place: u64) {
        self.fill(place, Place::Silent);
    }

    /// A request without response is over.
    pub fn finish_silent(&mut self) {
        self.in_progress -= 1;
    }

    /// The connection ends when everything before this place has left; what comes behind it is dropped.
    pub fn close_at(&mut self, place: u64) {
        self.fill(place, Place::Close);
        self.in_progress -= 1;
        self.stop();
    }

    /// Begins no more requests and forgets those that have not begun.
    pub fn stop(&mut self) {
        self.closing = true;
        self.backlog.clear();
        self.backlog_bytes = 0;
    }

    /// Ends the connection now. What is in progress is abandoned when the driver says that it is closed.
    pub fn end(&mut self, out: &mut Vec<Output>) {
        self.stop();
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Output::Close { conn: self.conn });
        }
    }

    /// True while the responses at the head of the line should wait for the appends behind them, for
    /// [`RESPONSE_HOLD_US`] at most: then [`Session::drain`] is due.
    pub fn holds(&mut self, now_us: u64) -> bool {
        let ready = self.line.iter().take_while(|place| !place.is_open()).count();
        if ready == 0 || ready >= self.committing {
            self.held_since_us = None;
            return false;
        }
        now_us.saturating_sub(*self.held_since_us.get_or_insert(now_us)) < RESPONSE_HOLD_US
    }

    /// Sends everything at the head of the line that is ready. Returns the bytes of the responses.
    pub fn drain(&mut self, out: &mut Vec<Output>) -> u64 {
        let mut sent_bytes = 0;
        self.held_since_us = None;
        while !self.ended
            && let Some(place) = self.line.front()
        {
            if place.is_open() {
                break;
            }
            self.head += 1;
            match self.line.pop_front().expect("just seen") {
                Place::Ready(response) => {
                    self.unsent.push_back((response.bytes, response.held_bytes()));
                    sent_bytes += response.bytes;
                    out.push(Output::Send { conn: self.conn, response });
                }
                Place::Close => self.end(out),
                Place::Silent | Place::Waiting(_) | Place::Committing(_) => {}
            }
        }
        self.unsent_bytes += sent_bytes;
        sent_bytes
    }

    /// The kernel took response bytes. Returns the bytes in memory of the responses that have left whole.
    pub fn sent(&mut self, mut bytes: u64) -> u64 {
        let mut freed_bytes = 0;
        while let Some((left, held)) = self.unsent.front_mut() {
            let taken = bytes.min(*left);
            *left -= taken;
            bytes -= taken;
            self.unsent_bytes -= taken;
            if *left > 0 {
                break;
            }
            freed_bytes += *held;
            self.unsent.pop_front();
        }
        self.held_bytes -= freed_bytes;
        freed_bytes
    }

    /// The requests in progress that wait in the table.
    pub fn waiting(&self) -> impl Iterator<Item = ReqId> {
        self.line.iter().filter_map(|place| match place {
            Place::Waiting(id) => *id,
            Place::Committing(id) => Some(*id),
            _ => None,
        })
    }

    /// Whether its socket should be left unread. Has some hysteresis, so that the driver is not told at every frame.
    pub fn wants_pause(&self) -> bool {
        let shift = usize::from(self.paused);
        self.closing
            || self.backlog.len() >= BACKLOG_FRAMES_MAX >> (2 * shift)
            || self.backlog_bytes >= BACKLOG_BYTES_MAX >> shift
            || self.unsent_bytes >= UNSENT_BYTES_MAX >> shift
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    pub fn in_progress(&self) -> u32 {
        self.in_progress
    }

    pub fn unsent_bytes(&self) -> u64 {
        self.unsent_bytes
    }

    /// Bytes in memory of responses that have not left whole.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Frames that have not begun.
    pub fn backlog_frames(&self) -> usize {
        self.backlog.len()
    }

    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// Nothing in progress, nothing waiting, nothing unsent.
    pub fn is_idle(&self) -> bool {
        self.in_progress == 0 && self.backlog.is_empty() && self.unsent_bytes == 0
    }
}
