//! Jobs that go from state to state: what both of the store's large ones, start and check, are made of.
//! Must never touch: what the states are.

use crate::io::{Op, OpResult, Step};

/// What a state comes to.
pub(super) enum Next<S, T> {
    /// Operations, and the state that takes their results.
    Do(Vec<Op>, S),
    /// Another state at once.
    Go(S),
    /// The end.
    Done(T),
}

/// Goes on from `state` with the results of the last operations until others are wanted or the job is over; a list of no
/// operations is none. Returns the state to go on from with their results, if it is not over.
pub(super) fn drive<S, T, E>(
    mut state: S,
    mut results: Vec<OpResult>,
    mut advance: impl FnMut(S, Vec<OpResult>) -> Result<Next<S, T>, E>,
) -> (Option<S>, Step<Result<T, E>>) {
    loop {
        match advance(state, std::mem::take(&mut results)) {
            Ok(Next::Do(ops, next)) if !ops.is_empty() => return (Some(next), Step::Do(ops)),
            Ok(Next::Do(_, next) | Next::Go(next)) => state = next,
            Ok(Next::Done(output)) => return (None, Step::Done(Ok(output))),
            Err(error) => return (None, Step::Done(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_no_operations_is_not_handed_out() {
        let advance = |state: u32, _: Vec<OpResult>| -> Result<Next<u32, u32>, ()> {
            Ok(match state {
                0 => Next::Do(Vec::new(), 1),
                1 => Next::Do(vec![Op::Volume], 2),
                last => Next::Done(last),
            })
        };
        let (state, step) = drive(0, Vec::new(), advance);
        assert_eq!(state, Some(2));
        assert!(matches!(step, Step::Do(ops) if ops.len() == 1));
    }
}
