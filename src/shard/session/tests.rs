//! Tests of sessions: frames, slots, the order of answers.

use super::*;
use proptest::prelude::*;

fn session() -> Session {
    Session::new(ConnId(1), ListenerId(0), "127.0.0.1:1".parse().unwrap(), 0)
}

fn response(number: u8) -> Response {
    Bytes::from(vec![number]).into()
}

fn sent(out: &mut Vec<Output>) -> Vec<u8> {
    let number = |output| match output {
        Output::Send { response, .. } => match &response.extents[0] {
            coretide_log::store::Extent::Hot(bytes) => bytes[0],
            other => panic!("{other:?}"),
        },
        Output::Close { .. } => u8::MAX,
        other => panic!("{other:?}"),
    };
    out.drain(..).map(number).collect()
}

/// Takes in frames of one byte; even ones overlap.
fn push(session: &mut Session, numbers: &[u8]) {
    for number in numbers {
        assert!(session.push(Bytes::from(vec![*number])));
    }
}

fn begin(session: &mut Session) -> Option<(u8, u64)> {
    let (frame, overlaps) = session.next(|frame| frame[0].is_multiple_of(2))?;
    Some((frame[0], session.begin(overlaps)))
}

#[test]
fn a_request_that_runs_alone_waits_for_all_before_it_and_holds_up_all_behind_it() {
    let mut session = session();
    push(&mut session, &[2, 4, 1, 6]);
    let (_, two) = begin(&mut session).unwrap();
    let (_, four) = begin(&mut session).unwrap();
    assert_eq!(begin(&mut session), None, "1 runs alone");
    session.answer(two, response(2));
    assert_eq!(begin(&mut session), None);
    session.answer(four, response(4));
    let (number, one) = begin(&mut session).unwrap();
    assert_eq!(number, 1);
    assert_eq!(begin(&mut session), None, "nothing runs beside 1");
    session.answer(one, response(1));
    assert_eq!(begin(&mut session).unwrap().0, 6);
}

#[test]
fn a_close_leaves_after_what_was_asked_before_it_and_drops_what_came_behind() {
    let mut session = session();
    push(&mut session, &[2, 4, 6, 8]);
    let places: Vec<u64> = (0..3).map(|_| begin(&mut session).unwrap().1).collect();
    session.close_at(places[1]);
    assert!(!session.push(Bytes::new()), "nothing more is taken in");
    assert_eq!((begin(&mut session), session.backlog_bytes()), (None, 0));
    assert!(session.is_closing() && session.wants_pause());
    assert_eq!(session.in_progress(), 2, "the one that closes is over");
    let mut out = Vec::new();
    session.drain(&mut out);
    assert!(out.is_empty());
    session.answer(places[2], response(6));
    session.answer(places[0], response(2));
    session.drain(&mut out);
    assert_eq!(sent(&mut out), [2, u8::MAX]);
    assert_eq!(session.in_progress(), 0);
}

#[test]
fn idle_is_who_has_nothing_waiting_nothing_in_progress_and_nothing_unsent() {
    let mut session = session();
    assert!(session.is_idle());
    push(&mut session, &[1]);
    assert!(!session.is_idle(), "a frame waits");
    let place = begin(&mut session).unwrap().1;
    assert!(!session.is_idle(), "a request is in progress");
    session.answer(place, response(1));
    session.drain(&mut Vec::new());
    assert_eq!((session.in_progress(), session.unsent_bytes()), (0, 1));
    assert!(!session.is_idle(), "the client has not taken its response");
    session.sent(1);
    assert!(session.is_idle());
}

#[test]
fn requests_that_wait_are_told_apart_from_those_that_do_not() {
    let mut session = session();
    push(&mut session, &[2, 4, 6]);
    let places: Vec<u64> = (0..3).map(|_| begin(&mut session).unwrap().1).collect();
    session.waits(places[0], ReqId(5));
    session.commits(places[1], ReqId(6));
    assert_eq!(session.waiting().collect::<Vec<_>>(), [ReqId(5), ReqId(6)]);
}

#[test]
fn what_is_answered_after_the_end_goes_nowhere() {
    let mut session = session();
    push(&mut session, &[2, 4, 6]);
    let places: Vec<u64> = (0..3).map(|_| begin(&mut session).unwrap().1).collect();
    session.waits(places[1], ReqId(7));
    let mut out = Vec::new();
    session.close_at(places[0]);
    session.drain(&mut out);
    assert_eq!(sent(&mut out), [u8::MAX]);
    session.answer(places[2], response(6));
    assert_eq!(session.drain(&mut out), 0);
    session.end(&mut out);
    assert!(out.is_empty(), "it is closed once");
    assert_eq!(session.waiting().collect::<Vec<_>>(), [ReqId(7)], "what still waits is to be abandoned");
}

#[test]
fn a_request_without_response_counts_until_it_is_over_but_holds_up_no_response() {
    let mut session = session();
    push(&mut session, &[2, 4, 1]);
    let (_, two) = begin(&mut session).unwrap();
    session.silence(two);
    let (_, four) = begin(&mut session).unwrap();
    session.answer(four, response(4));
    let mut out = Vec::new();
    session.drain(&mut out);
    assert_eq!(sent(&mut out), [4]);
    assert_eq!(begin(&mut session), None);
    session.finish_silent();
    assert_eq!(begin(&mut session).unwrap().0, 1);
}

#[test]
fn ready_responses_wait_for_more_appends_than_they_are_but_not_for_long() {
    let mut session = session();
    push(&mut session, &[2, 4, 6, 8, 10]);
    let places: Vec<u64> = (0..5).map(|_| begin(&mut session).unwrap().1).collect();
    for place in &places {
        session.commits(*place, ReqId(*place));
    }
    assert!(!session.holds(0), "nothing is ready");
    session.answer(places[0], response(2));
    assert!(session.holds(1000));
    assert!(session.holds(1000 + RESPONSE_HOLD_US - 1));
    assert!(!session.holds(1000 + RESPONSE_HOLD_US), "long enough");
    session.answer(places[2], response(6));
    assert!(session.holds(1001), "it is not at the head");
    session.answer(places[1], response(4));
    assert!(!session.holds(1002), "three are ready, two are open");
    let mut out = Vec::new();
    session.drain(&mut out);
    assert_eq!(sent(&mut out), [2, 4, 6]);
    session.answer(places[3], response(8));
    assert!(!session.holds(5000), "one is ready, one is open");
}

#[test]
fn ready_responses_do_not_wait_for_a_long_poll() {
    let mut session = session();
    push(&mut session, &[2, 4, 6]);
    let places: Vec<u64> = (0..3).map(|_| begin(&mut session).unwrap().1).collect();
    session.waits(places[1], ReqId(1));
    session.waits(places[2], ReqId(2));
    session.answer(places[0], response(2));
    assert!(!session.holds(0));
}

#[test]
fn unread_responses_and_waiting_frames_stop_the_reading_and_their_going_resumes_it() {
    let mut session = session();
    push(&mut session, &[1]);
    let place = begin(&mut session).unwrap().1;
    assert!(!session.wants_pause());
    push(&mut session, &[3; BACKLOG_FRAMES_MAX - 1]);
    assert!(!session.wants_pause());
    push(&mut session, &[3]);
    assert!(session.wants_pause());
    let large = Response { bytes: UNSENT_BYTES_MAX + 1, ..response(1) };
    assert_eq!(large.held_bytes(), 1);
    session.answer(place, large);
    session.drain(&mut Vec::new());
    assert_eq!(begin(&mut session), None, "a slow reader's requests wait");
    assert_eq!(session.sent(UNSENT_BYTES_MAX), 0);
    assert_eq!(session.unsent_bytes(), 1);
    assert_eq!(session.sent(5), 1, "memory is free when the response has left whole");
    assert!(begin(&mut session).is_some());
}

#[test]
fn what_the_kernel_took_counts_for_the_oldest_responses_only() {
    let mut session = session();
    push(&mut session, &[2, 4, 6]);
    let places: Vec<u64> = (0..3).map(|_| begin(&mut session).unwrap().1).collect();
    for place in places {
        session.answer(place, Response { bytes: 10, ..response(1) });
    }
    session.drain(&mut Vec::new());
    assert_eq!((session.sent(15), session.unsent_bytes(), session.held_bytes()), (1, 15, 2));
    assert_eq!((session.sent(5), session.unsent_bytes(), session.held_bytes()), (1, 10, 1));
    assert_eq!((session.sent(10), session.unsent_bytes(), session.held_bytes()), (1, 0, 0));
}

#[test]
fn as_many_unread_bytes_as_are_allowed_hold_up_no_request() {
    let mut session = session();
    push(&mut session, &[1, 3]);
    let place = begin(&mut session).unwrap().1;
    session.answer(place, Response { bytes: UNSENT_BYTES_MAX, ..response(1) });
    session.drain(&mut Vec::new());
    assert!(begin(&mut session).is_some());
}

#[test]
fn what_was_stopped_is_read_again_only_when_much_less_waits() {
    let mut frames = session();
    frames.paused = true;
    push(&mut frames, &[1; BACKLOG_FRAMES_MAX / 4]);
    assert!(frames.wants_pause());
    begin(&mut frames).unwrap();
    assert!(!frames.wants_pause());

    let mut bytes = session();
    bytes.paused = true;
    assert!(bytes.push(Bytes::from(vec![0; BACKLOG_BYTES_MAX / 2 - 1])));
    assert!(!bytes.wants_pause());
    push(&mut bytes, &[1]);
    assert!(bytes.wants_pause());

    let mut unsent = session();
    unsent.paused = true;
    push(&mut unsent, &[1]);
    let place = begin(&mut unsent).unwrap().1;
    unsent.answer(place, Response { bytes: UNSENT_BYTES_MAX / 2, ..response(1) });
    unsent.drain(&mut Vec::new());
    assert!(unsent.wants_pause());
    unsent.sent(1);
    assert!(!unsent.wants_pause());
}

#[test]
fn requests_in_progress_are_limited() {
    let mut session = session();
    push(&mut session, &vec![2; REQUESTS_IN_PROGRESS_MAX as usize + 5]);
    let begun = std::iter::from_fn(|| begin(&mut session)).count();
    assert_eq!(begun, REQUESTS_IN_PROGRESS_MAX as usize);
}

proptest! {
    /// W5: whatever the order of the answers, responses leave in the order of the requests, each once.
    #[test]
    fn w5_responses_leave_in_the_order_of_requests(order in Just((0u8..20).collect::<Vec<_>>()).prop_shuffle()) {
        let mut session = session();
        push(&mut session, &(0u8..20).map(|n| n * 2).collect::<Vec<_>>());
        let places: Vec<u64> = (0..20).map(|_| begin(&mut session).unwrap().1).collect();
        let (mut out, mut all) = (Vec::new(), Vec::new());
        for number in order {
            session.answer(places[number as usize], response(number));
            session.drain(&mut out);
            all.extend(sent(&mut out));
        }
        prop_assert_eq!(all, (0u8..20).collect::<Vec<_>>());
        prop_assert_eq!(session.in_progress(), 0);
    }
}
