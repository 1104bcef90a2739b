//! InitProducerId (key 22): ids for idempotent producers (KIP-98, KIP-360). Ids come in blocks from the controller; a block
//! belongs to one shard and one life of the process, so that no id is given twice (I6).

use std::collections::VecDeque;

use coretide_controller as controller;
use coretide_model::ErrorCode;
use coretide_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Handled, Head, Outcome, Request, Waiting};
use crate::mail::{Answer, Ask};
use crate::placement::CONTROLLER_SHARD;
use crate::shard::Shard;

/// This shard's block, and who waits for the next one.
#[derive(Default)]
pub(crate) struct ProducerIds {
    next: i64,
    end: i64,
    asked: bool,
    waiting: VecDeque<Head>,
}

impl ProducerIds {
    fn take(&mut self) -> Option<i64> {
        if self.next >= self.end {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: InitProducerIdRequest = request.decode()?;
    let both_or_none = (asked.producer_id == -1) == (asked.producer_epoch == -1);
    if !both_or_none || asked.transactional_id.as_deref() == Some("") {
        return request.answer(&refused(ErrorCode::InvalidRequest));
    }
    if asked.transactional_id.is_some() {
        // There is no transaction coordinator, and clients do not retry this.
        return request.answer(&refused(ErrorCode::TransactionalIdAuthorizationFailed));
    }
    if shard.producer_ids.waiting.is_empty()
        && let Some(id) = shard.producer_ids.take()
    {
        return request.answer(&given(id));
    }
    shard.producer_ids.waiting.push_back(request.head);
    ask_for_block(shard);
    Ok(Outcome::Later)
}

fn given(producer_id: i64) -> InitProducerIdResponse {
    InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
}

/// One request stands for all that wait.
fn ask_for_block(shard: &mut Shard) {
    if std::mem::replace(&mut shard.producer_ids.asked, true) {
        return;
    }
    let id = shard.wait_for_itself(Box::new(BlockWait));
    shard.ask(CONTROLLER_SHARD, id, 0, Ask::Controller(controller::Command::AllocateProducerIds));
}

struct BlockWait;

impl Waiting for BlockWait {
    fn on_answer(&mut self, shard: &mut Shard, _head: &Head, _place: u32, answer: Answer) -> Handled {
        shard.producer_ids.asked = false;
        let block = match answer {
            Answer::Controller(controller::Reply::AllocateProducerIds(block)) => block.ok(),
            _ => None,
        };
        if let Some(block) = &block {
            (shard.producer_ids.next, shard.producer_ids.end) = (block.first, block.first + block.count);
        }
        while let Some(head) = shard.producer_ids.waiting.pop_front() {
            let response = match shard.producer_ids.take() {
                Some(id) => given(id),
                None if block.is_none() => refused(ErrorCode::CoordinatorNotAvailable),
                None => {
                    shard.producer_ids.waiting.push_front(head);
                    ask_for_block(shard);
                    break;
                }
            };
            let handled = head.encode(&response);
            shard.finish(&head, handled);
        }
        Ok(Outcome::Silent)
    }
}
