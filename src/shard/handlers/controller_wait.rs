//! A request that is answered with the controller's reply: all that change the cluster's state.
//! Must not touch: what is asked.

use super::{Handled, Head, Outcome, Request, Waiting};
use crate::mail::{Answer, Ask};
use crate::placement::CONTROLLER_SHARD;
use crate::shard::Shard;
use coretide_controller::{Command, Reply};

/// Parks the request, asks, and answers with what `respond` makes of the reply. There is no deadline: a change that was
/// taken up is finished, and a client that waits no longer closes its connection.
pub(crate) fn ask_controller(
    shard: &mut Shard,
    request: &Request,
    command: Command,
    respond: impl FnOnce(&Head, Reply) -> Handled + Send + 'static,
) -> Handled {
    let wait = ControllerWait { respond: Some(respond) };
    let id = shard.wait(request.head, None, Box::new(wait));
    shard.ask(CONTROLLER_SHARD, id, 0, Ask::Controller(command));
    Ok(Outcome::Later)
}

struct ControllerWait<F> {
    /// None once the reply has come.
    respond: Option<F>,
}

impl<F: FnOnce(&Head, Reply) -> Handled + Send> Waiting for ControllerWait<F> {
    fn on_answer(&mut self, _shard: &mut Shard, head: &Head, _place: u32, answer: Answer) -> Handled {
        match (answer, self.respond.take()) {
            (Answer::Controller(reply), Some(respond)) => respond(head, reply),
            _ => Ok(Outcome::Close),
        }
    }
}
