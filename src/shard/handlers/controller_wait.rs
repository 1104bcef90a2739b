//! A request that is answered with the controller's reply: all that change the cluster's state.
//! Must not touch: what is asked.

use super::{Handled, Head, Outcome, Request, Waiting};
use crate::mail::{Answer, Ask};
use crate::placement::CONTROLLER_SHARD;
use crate::shard::Shard;
use coretide_controller::{Command, CommandError, Reply};

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

/// How many items of a reply were refused because the cluster has all that it may have.
fn over_limit(reply: &Reply) -> usize {
    fn count<T>(results: &[Result<T, CommandError>]) -> usize {
        results.iter().filter(|result| matches!(result, Err(CommandError::LimitReached(_)))).count()
    }
    match reply {
        Reply::CreateTopics(results) => count(results),
        Reply::AutoCreate(results) | Reply::CreatePartitions(results) => count(results),
        _ => 0,
    }
}

struct ControllerWait<F> {
    /// None once the reply has come.
    respond: Option<F>,
}

impl<F: FnOnce(&Head, Reply) -> Handled + Send> Waiting for ControllerWait<F> {
    fn on_answer(&mut self, shard: &mut Shard, head: &Head, _place: u32, answer: Answer) -> Handled {
        if let Answer::Controller(reply) = &answer {
            shard.metrics.topics_refused += over_limit(reply) as u64;
        }
        match (answer, self.respond.take()) {
            (Answer::Controller(reply), Some(respond)) => respond(head, reply),
            _ => Ok(Outcome::Close),
        }
    }
}
