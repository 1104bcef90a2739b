//! A client that asks for everything there is, often for what cannot be: it finds out whether each request gets an answer of its
//! form, and never the error that says the broker does not know what happened.

pub(super) mod data;
pub(super) mod groups;
pub(super) mod topics;

use std::collections::BTreeMap;

use bytes::Bytes;
use coretide_stdx::prng::Prng;
use coretide_wire::Message;
use coretide_wire::api::ApiKey;
use coretide_wire::messages::init_producer_id::InitProducerIdResponse;
use coretide_wire::messages::join_group::JoinGroupResponse;

use super::worker::{Links, Worker};
use super::{Answer, Command, Cx, Shared, Slot, error_codes};
use crate::judge::Verdict;

const NEXT: u32 = 1;

/// The topic that is the prober's own, as far as it exists.
pub(super) const TOPIC: &str = "probe";
/// The group that is the prober's own.
pub(super) const GROUP: &str = "probe-group";

/// A request, encoded.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub key: ApiKey,
    pub version: i16,
    pub body: Bytes,
}

impl Probe {
    pub fn new<M: Message>(key: ApiKey, version: i16, request: &M) -> Probe {
        let body = request.to_bytes(version).expect("probes fill in only what the version has");
        Probe { key, version, body }
    }
}

/// What earlier answers taught.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    pub producer: Option<(i64, i16)>,
    pub member: String,
    pub generation: i32,
    pub wall_ms: i64,
}

/// Any request.
pub(super) fn any_probe(prng: &mut Prng, learned: &Learned) -> Probe {
    match prng.below(3) {
        0 => topics::probe(prng),
        1 => data::probe(prng, learned),
        _ => groups::probe(prng, learned),
    }
}

/// The client.
#[derive(Debug, Default)]
pub struct Prober {
    learned: Learned,
    in_flight: BTreeMap<i32, Probe>,
    pause_ms: u64,
}

impl Prober {
    /// Asks about every `pause_ms`.
    pub fn new(pause_ms: u64) -> Prober {
        Prober { pause_ms, ..Prober::default() }
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        if cx.shared.winding_down || self.in_flight.len() >= 4 {
            return;
        }
        self.learned.wall_ms = cx.wall_ms;
        let probe = any_probe(cx.prng, &self.learned);
        *cx.next_correlation += 1;
        let (correlation, key, version) = (*cx.next_correlation, probe.key, probe.version);
        let body = probe.body.clone();
        // Of Produce only acks=0 goes unanswered, and no probe has that.
        cx.commands.push(Command::Send { slot: 0, correlation, key, version, body, answered: true });
        self.in_flight.insert(correlation, probe);
    }
}

impl Worker for Prober {
    fn name(&self) -> String {
        format!("prober {:?}", self.in_flight.values().map(|probe| probe.key).collect::<Vec<_>>())
    }

    fn connected(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        cx.timer(1, NEXT);
        Ok(())
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let probe = self.in_flight.remove(&answer.correlation).ok_or("an answer to nothing")?;
        let codes = error_codes(answer)?;
        if codes.contains(&-1) {
            return Err(format!(
                "W: {:?} v{} is answered with UNKNOWN_SERVER_ERROR: {probe:?}",
                answer.key, answer.version
            ));
        }
        match answer.key {
            ApiKey::InitProducerId => {
                let response: InitProducerIdResponse = answer.read()?;
                if response.error_code == 0 {
                    self.learned.producer = Some((response.producer_id, response.producer_epoch));
                }
            }
            ApiKey::JoinGroup => {
                let response: JoinGroupResponse = answer.read()?;
                self.learned.member = response.member_id.clone();
                self.learned.generation = response.generation_id;
            }
            _ => {}
        }
        cx.timer(self.pause_ms, NEXT);
        Ok(())
    }

    fn lost(&mut self, _: &mut Cx<'_>, _: Slot) {
        self.in_flight.clear();
    }

    fn due(&mut self, cx: &mut Cx<'_>, links: Links, timer: u32) -> Verdict {
        if timer == NEXT && links.is_open(0) {
            for _ in 0..1 + cx.prng.below(3) {
                self.ask(cx);
            }
        }
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        self.in_flight.is_empty()
    }
}
