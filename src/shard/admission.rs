//! `max.connections` and `max.connections.per.ip`, exact over all shards: shard 0 counts, and who accepts a connection asks
//! it. Only while one of the limits is set: without them, connections cost no mail.
//!
//! ```text
//!   Opened ─► Mail::Admit ─► shard 0 counts ─► Mail::Admitted ─► requests begin, or Close
//!   Closed ─► Mail::Left  ─► shard 0
//!   limits set while connections are open ─► Mail::Present, all of this shard's connections at once
//! ```
//! Must never touch: what requests mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use coretide_model::config::broker::NetworkConfig;
use coretide_model::{ConnId, ShardId};

use crate::mail::{ConnectionLimit, Mail};
use crate::placement::CONTROLLER_SHARD;
use crate::session::Admission;
use crate::shard::Shard;

/// Kafka's "no limit".
const UNLIMITED: usize = i32::MAX as usize;

/// All counted connections, on shard 0; and whether this shard has its own counted.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    open: BTreeMap<(IpAddr, ShardId), usize>,
    total: usize,
    is_counting: bool,
}

impl Admissions {
    fn of(&self, ip: IpAddr) -> usize {
        self.open.range((ip, ShardId(0))..=(ip, ShardId(u16::MAX))).map(|(_, count)| count).sum()
    }

    fn admit(&mut self, from: ShardId, ip: IpAddr, network: &NetworkConfig) -> Option<ConnectionLimit> {
        if self.total >= network.max_connections {
            return Some(ConnectionLimit::All);
        }
        let address = ip.to_string();
        let overridden = network.max_connections_per_ip_overrides.iter().find(|(host, _)| *host == address);
        let per_ip = overridden.map_or(network.max_connections_per_ip, |(_, limit)| *limit);
        if per_ip < UNLIMITED && self.of(ip) >= per_ip {
            return Some(ConnectionLimit::PerIp);
        }
        self.count(from, ip);
        None
    }

    fn count(&mut self, from: ShardId, ip: IpAddr) {
        *self.open.entry((ip, from)).or_default() += 1;
        self.total += 1;
    }

    fn left(&mut self, from: ShardId, ip: IpAddr) {
        if let Some(count) = self.open.get_mut(&(ip, from)) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.open.remove(&(ip, from));
            }
        }
    }

    /// These and no others are open on that shard.
    fn replace(&mut self, from: ShardId, present: &[IpAddr]) {
        self.open.retain(|(_, shard), _| *shard != from);
        self.total = self.open.values().sum();
        present.iter().for_each(|ip| self.count(from, *ip));
    }
}

fn is_limited(network: &NetworkConfig) -> bool {
    let overrides = network.max_connections_per_ip_overrides.iter().map(|(_, limit)| *limit);
    overrides.chain([network.max_connections, network.max_connections_per_ip]).any(|limit| limit < UNLIMITED)
}

impl Shard {
    /// Begins or ends the counting of this shard's connections, as the limits say.
    pub(crate) fn follow_limits(&mut self) {
        let is_limited = is_limited(&self.image.broker().network);
        if std::mem::replace(&mut self.admissions.is_counting, is_limited) == is_limited {
            return;
        }
        let admission = if is_limited { Admission::Counted } else { Admission::Free };
        let mut present = Vec::new();
        for session in self.sessions.values_mut().filter(|session| session.admission != Admission::Asked) {
            session.admission = admission;
            present.extend(is_limited.then_some(session.peer.ip()));
        }
        self.send(CONTROLLER_SHARD, Mail::Present { present });
    }

    /// Asks for a new connection, if there is something to ask.
    pub(crate) fn ask_admission(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn).filter(|_| self.admissions.is_counting) else { return };
        session.admission = Admission::Asked;
        let ip = session.peer.ip();
        self.send(CONTROLLER_SHARD, Mail::Admit { conn, ip });
    }

    /// On shard 0: counts a connection or says why not.
    pub(crate) fn on_admit(&mut self, from: ShardId, conn: ConnId, ip: IpAddr) {
        let refusal = self.admissions.admit(from, ip, &self.image.broker().network);
        self.send(from, Mail::Admitted { conn, ip, refusal });
    }

    /// On shard 0: a counted connection is gone.
    pub(crate) fn on_left(&mut self, from: ShardId, ip: IpAddr) {
        self.admissions.left(from, ip);
    }

    /// On shard 0: a shard begins or ends its counting.
    pub(crate) fn on_present(&mut self, from: ShardId, present: &[IpAddr]) {
        self.admissions.replace(from, present);
    }

    /// Shard 0 has answered: the connection's requests begin, or it ends.
    pub(crate) fn on_admitted(&mut self, conn: ConnId, ip: IpAddr, refusal: Option<ConnectionLimit>) {
        match (self.sessions.get_mut(&conn), refusal) {
            (Some(session), None) => {
                session.admission = Admission::Counted;
                self.dirty.push(conn);
            }
            (Some(session), Some(limit)) => {
                session.admission = Admission::Free;
                match limit {
                    ConnectionLimit::All => self.metrics.connections_refused += 1,
                    ConnectionLimit::PerIp => self.metrics.connections_refused_per_ip += 1,
                }
                self.close_now(conn);
            }
            (None, None) => self.send(CONTROLLER_SHARD, Mail::Left { ip }),
            (None, Some(_)) => {}
        }
    }

    /// A connection is gone that shard 0 may have counted.
    pub(crate) fn note_left(&mut self, admission: Admission, ip: IpAddr) {
        if admission == Admission::Counted {
            self.send(CONTROLLER_SHARD, Mail::Left { ip });
        }
    }
}
