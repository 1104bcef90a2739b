//! The run's network: connections, requests, responses.

use std::net::SocketAddr;

use bytes::Bytes;
use coretide_model::ConnId;
use coretide_shard::{Event, ListenerId};
use coretide_wire::api::ApiKey;
use coretide_wire::header::{RequestHeader, decode_response_header, encode_request_header};
use coretide_wire::{Reader, Writer};

use super::{Item, Phase, World};
use crate::client::{Answer, Slot};
use crate::judge::Verdict;
use crate::net::{Conn, Expected};

const LATENCY_LEAST_US: u64 = 20;
const LATENCY_MOST_US: u64 = 400;

/// How long an answer may take while nothing goes wrong.
const ANSWER_PATIENCE_US: u64 = 60_000_000;

/// How long a JoinGroup or a SyncGroup may take whatever goes wrong: all members' timeouts are 10 s, the waits of the first
/// rebalance are within that, and a member that goes silent between the two costs its session once more. The rest is for a slow
/// network.
const REBALANCE_PATIENCE_US: u64 = 45_000_000;

impl World {
    pub(super) fn dial(&mut self, client: usize, slot: Slot) {
        self.hang_up(client, slot);
        self.next_attempt += 1;
        let attempt = self.next_attempt;
        self.clients[client].slots.insert(slot, (attempt, None));
        self.after(LATENCY_LEAST_US, 2000, Item::Connect { client, slot, attempt });
    }

    pub(super) fn connect(&mut self, client: usize, slot: Slot, attempt: u64) -> Verdict {
        if self.clients[client].slots.get(&slot) != Some(&(attempt, None)) {
            return Ok(());
        }
        if !self.broker.is_up() {
            self.after(10_000, 100_000, Item::Gone { client, slot, attempt });
            return Ok(());
        }
        let id = self.next_conn;
        self.next_conn += 1;
        let shard = (id % self.broker.hosts.len() as u64) as usize;
        let conn = Conn::new(ConnId(id), client, slot, shard);
        self.conns.insert(id, conn);
        self.clients[client].slots.insert(slot, (attempt, Some(id)));
        let peer = SocketAddr::from(([10, 0, 0, client as u8], 10_000 + slot as u16));
        self.tell(shard, Event::Opened { conn: ConnId(id), listener: ListenerId(0), peer });
        self.with_client(client, |client, cx| client.on_open(cx, slot))
    }

    /// A client learns that its connection is gone.
    pub(super) fn gone(&mut self, client: usize, slot: Slot, attempt: u64) -> Verdict {
        if self.clients[client].slots.get(&slot).is_none_or(|&(current, _)| current != attempt) {
            return Ok(());
        }
        self.clients[client].slots.remove(&slot);
        self.with_client(client, |client, cx| {
            client.on_close(cx, slot);
            Ok(())
        })
    }

    /// The client closes.
    pub(super) fn hang_up(&mut self, client: usize, slot: Slot) {
        let Some(&(attempt, Some(id))) = self.clients[client].slots.get(&slot) else { return };
        self.drop_conn(id);
        self.after(1, 10, Item::Gone { client, slot, attempt });
    }

    /// Both ends lose the connection; the broker is told if it still lives.
    pub(super) fn break_conn(&mut self, id: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (client, slot) = (conn.client, conn.slot);
        self.drop_conn(id);
        if let Some(&(attempt, _)) = self.clients[client].slots.get(&slot) {
            self.after(1, 5000, Item::Gone { client, slot, attempt });
        }
    }

    fn drop_conn(&mut self, id: u64) {
        if let Some(conn) = self.conns.remove(&id) {
            self.tell(conn.shard, Event::Closed { conn: conn.id });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a command")]
    pub(super) fn send_request(
        &mut self,
        client: usize,
        slot: Slot,
        correlation: i32,
        key: ApiKey,
        version: i16,
        body: &Bytes,
        answered: bool,
    ) {
        let Some(&(_, Some(id))) = self.clients[client].slots.get(&slot) else { return };
        let mut frame = Writer::new();
        let client_id = Some(format!("client-{client}"));
        let header =
            RequestHeader { api_key: key.code(), api_version: version, correlation_id: correlation, client_id };
        encode_request_header(&mut frame, &header).expect("short names");
        frame.raw(body);
        // Broken already, but the client has not been told yet.
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.to_server.extend_from_slice(&(frame.len() as i32).to_be_bytes());
        conn.to_server.extend_from_slice(frame.as_slice());
        if let Some(host) = self.broker.hosts.get_mut(conn.shard) {
            host.memory.announced(id, answered);
        }
        if answered {
            conn.expected.push_back(Expected { correlation, key, version, sent_at_us: self.now_us });
        }
        self.deliver_to_server(id);
    }

    /// Bytes of a client that need not be requests.
    pub(super) fn send_raw(&mut self, client: usize, slot: Slot, bytes: &Bytes) {
        let Some(&(_, Some(id))) = self.clients[client].slots.get(&slot) else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.hostile = true;
        conn.to_server.extend_from_slice(bytes);
        self.deliver_to_server(id);
    }

    /// A client takes nothing more from a connection.
    pub(super) fn stop_reading(&mut self, client: usize, slot: Slot) {
        let Some(&(_, Some(id))) = self.clients[client].slots.get(&slot) else { return };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.unread = true;
        }
    }

    /// Schedules the next delivery to the broker.
    pub(super) fn deliver_to_server(&mut self, id: u64) {
        if let Some(conn) = self.conns.get_mut(&id)
            && !conn.to_server_due
            && !conn.paused
            && !conn.to_server.is_empty()
        {
            conn.to_server_due = true;
            let delay_us = self.delay_us();
            self.at(self.now_us + delay_us, Item::ToServer { conn: id });
        }
    }

    /// Schedules the next delivery to the client.
    pub(super) fn deliver_to_client(&mut self, id: u64) {
        if let Some(conn) = self.conns.get_mut(&id)
            && !conn.to_client_due
            && (!conn.unread || conn.closing)
        {
            conn.to_client_due = true;
            let delay_us = self.delay_us();
            self.at(self.now_us + delay_us, Item::ToClient { conn: id });
        }
    }

    pub(super) fn arrive_at_server(&mut self, id: u64) -> Verdict {
        if self.is_lost(id) {
            return Ok(());
        }
        let all = self.prng.chance(3, 4);
        let pick = self.prng.next_u64();
        let conn = self.conns.get_mut(&id).expect("checked above");
        conn.to_server_due = false;
        let waiting = conn.to_server.len();
        let take = if all || waiting == 0 { waiting } else { 1 + (pick % waiting as u64) as usize };
        conn.assembler.push(&conn.to_server.split_to(take));
        let (shard, conn_id) = (conn.shard, conn.id);
        let mut frames = Vec::new();
        let hostile = conn.hostile;
        let mut broken = None;
        loop {
            match conn.assembler.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = broken {
            if !hostile {
                return Err(format!("a client's frame: {error}"));
            }
            // The broker's shell closes what cannot be cut into frames.
            self.break_conn(id);
            return Ok(());
        }
        for bytes in frames {
            self.tell(shard, Event::Frame { conn: conn_id, bytes });
        }
        self.deliver_to_server(id);
        Ok(())
    }

    pub(super) fn arrive_at_client(&mut self, id: u64) -> Verdict {
        if self.is_lost(id) {
            return Ok(());
        }
        let all = self.prng.chance(3, 4);
        let pick = self.prng.next_u64();
        let conn = self.conns.get_mut(&id).expect("checked above");
        conn.to_client_due = false;
        let waiting = conn.to_client.len();
        let take = if all || waiting == 0 { waiting } else { 1 + (pick % waiting as u64) as usize };
        conn.arrived.unsplit(conn.to_client.split_to(take));
        let (shard, conn_id) = (conn.shard, conn.id);
        let more = !conn.to_client.is_empty();
        let closes = conn.closing && !more;
        if take > 0 {
            self.tell(shard, Event::Sent { conn: conn_id, bytes: take as u64 });
        }
        self.answers(id)?;
        if closes {
            self.break_conn(id);
        } else if more {
            self.deliver_to_client(id);
        }
        Ok(())
    }

    /// Everything that is on its way to the client arrives at once.
    pub(super) fn last_words(&mut self, id: u64) -> Verdict {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.vanished) else { return Ok(()) };
        let bytes = conn.to_client.split();
        conn.arrived.unsplit(bytes);
        self.answers(id)
    }

    /// Hands whole responses to the client; they must come in the order of the requests (W1).
    fn answers(&mut self, id: u64) -> Verdict {
        loop {
            let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
            if conn.hostile {
                conn.arrived.clear();
                return Ok(());
            }
            let Some(response) = conn.next_response()? else { return Ok(()) };
            let (client, slot) = (conn.client, conn.slot);
            let expected = conn.expected.pop_front().ok_or("W1: a response that nobody asked for")?;
            let mut reader = Reader::new(&response);
            let header = decode_response_header(&mut reader, expected.key.code(), expected.version);
            let correlation = header.map_err(|error| format!("W: {:?}: header: {error}", expected.key))?;
            if correlation != expected.correlation {
                let due = expected.correlation;
                return Err(format!("W1: {:?}: response {correlation} came where {due} was due", expected.key));
            }
            self.trace.note(self.now_us, b'a', id, &response);
            self.answers += 1;
            let body = response.slice(reader.position()..);
            let answer = Answer { slot, correlation, key: expected.key, version: expected.version, body };
            self.cover_answer(&answer)?;
            self.with_client(client, |client, cx| client.on_answer(cx, &answer))?;
        }
    }

    /// Requests that have waited too long: any although nothing goes wrong any more, those of a rebalance always.
    pub(super) fn overdue(&self) -> Option<String> {
        let (since, is_calm) = (self.phase_since_us, self.phase != Phase::Working);
        let late = |expected: &&Expected| {
            let waited_us = self.now_us - expected.sent_at_us;
            let is_of_rebalance = matches!(expected.key, ApiKey::JoinGroup | ApiKey::SyncGroup);
            (is_calm && self.now_us > expected.sent_at_us.max(since) + ANSWER_PATIENCE_US)
                || (is_of_rebalance && waited_us > REBALANCE_PATIENCE_US)
        };
        let first = |conn: &Conn| conn.expected.front().filter(late).map(|expected| (conn.client, *expected));
        let (client, expected) = self.conns.values().find_map(first)?;
        Some(format!("R11: client {client} waits for the answer to {:?} v{}", expected.key, expected.version))
    }

    /// True when nothing arrives on this connection: it is gone, or goes now.
    fn is_lost(&mut self, id: u64) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return true };
        if conn.vanished {
            (conn.to_server_due, conn.to_client_due) = (false, false);
            // The broker has closed it; nobody answers, but its kernel gives up in the end.
            if conn.closing {
                self.drop_conn(id);
            }
            return true;
        }
        let network = self.plan.network;
        if self.happens(network.reset_one_in) {
            self.cover(|coverage| coverage.note("fault", "connection reset"));
            self.break_conn(id);
            return true;
        }
        if self.happens(network.vanish_one_in) {
            self.cover(|coverage| coverage.note("fault", "connection vanished"));
            self.vanish(id);
            return true;
        }
        false
    }

    /// The connection goes silent. Its client notices after a while, the broker never does.
    fn vanish(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.vanished = true;
        (conn.to_server_due, conn.to_client_due) = (false, false);
        conn.expected.clear();
        let (client, slot) = (conn.client, conn.slot);
        if let Some(&(attempt, _)) = self.clients[client].slots.get(&slot) {
            self.clients[client].slots.insert(slot, (attempt, None));
            self.after(100_000, 3_000_000, Item::Gone { client, slot, attempt });
        }
    }

    fn delay_us(&mut self) -> u64 {
        let stalls = self.happens(self.plan.network.stall_one_in);
        if stalls {
            self.cover(|coverage| coverage.note("fault", "delivery stalled"));
        }
        let stall_us = if stalls { self.prng.below(3_000_000) } else { 0 };
        LATENCY_LEAST_US + self.prng.below(LATENCY_MOST_US - LATENCY_LEAST_US + 1) + stall_us
    }

    /// One of so many deliveries, while things go wrong.
    fn happens(&mut self, one_in: u64) -> bool {
        self.phase == Phase::Working && one_in > 0 && self.prng.chance(1, one_in)
    }
}
