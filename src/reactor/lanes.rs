//! Mail between threads: one bounded single-producer lane per ordered pair, so that order between two ends is kept.
//! Nothing is ever refused or dropped: what does not fit waits with the sender, who learns of it and stops reading its
//! sockets, so that what waits is bounded by what one turn can make.
//! Must never touch: what a letter says.

use std::collections::VecDeque;
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::wake::Doorbell;

/// Letters that one lane holds before the sender has to keep them.
pub const LANE_LETTERS: usize = 1024;

struct Outgoing<T> {
    lane: Producer<T>,
    waiting: VecDeque<T>,
    posted: bool,
    /// One of what was posted cannot wait.
    urgent: bool,
}

/// One thread's ends of all lanes.
pub struct Mailbox<T> {
    outgoing: Vec<Option<Outgoing<T>>>,
    incoming: Vec<Option<Consumer<T>>>,
    /// Senders whose lane was full when it was emptied: they may sleep on letters that wait.
    relieved: Vec<bool>,
    bells: Vec<Arc<Doorbell>>,
}

/// The mailboxes of as many threads as there are doorbells.
pub fn mailboxes<T>(bells: &[Arc<Doorbell>]) -> Vec<Mailbox<T>> {
    let ends = bells.len();
    let empty = || Mailbox {
        outgoing: (0..ends).map(|_| None).collect(),
        incoming: (0..ends).map(|_| None).collect(),
        relieved: vec![false; ends],
        bells: bells.to_vec(),
    };
    let mut boxes: Vec<Mailbox<T>> = (0..ends).map(|_| empty()).collect();
    for from in 0..ends {
        for to in (0..ends).filter(|&to| to != from) {
            let (lane, consumer) = RingBuffer::new(LANE_LETTERS);
            boxes[from].outgoing[to] = Some(Outgoing { lane, waiting: VecDeque::new(), posted: false, urgent: false });
            boxes[to].incoming[from] = Some(consumer);
        }
    }
    boxes
}

impl<T> Mailbox<T> {
    /// Sends. The target is woken by [`Mailbox::flush`]; for a `patient` letter only if it sleeps for longer.
    pub fn post(&mut self, to: usize, letter: T, patient: bool) {
        let outgoing = self.outgoing[to].as_mut().expect("nobody has a lane to itself");
        outgoing.posted = true;
        outgoing.urgent |= !patient;
        if outgoing.waiting.is_empty() {
            if let Err(rtrb::PushError::Full(letter)) = outgoing.lane.push(letter) {
                outgoing.waiting.push_back(letter);
            }
        } else {
            outgoing.waiting.push_back(letter);
        }
    }

    /// Moves what waited into its lanes and calls `wake` with each target that got something and sleeps. Returns true
    /// while letters still wait for room: then the caller takes in nothing new.
    pub fn flush(&mut self, mut wake: impl FnMut(&Doorbell)) -> bool {
        let mut blocked = false;
        for (to, outgoing) in self.outgoing.iter_mut().enumerate() {
            let Some(outgoing) = outgoing else { continue };
            while let Some(letter) = outgoing.waiting.pop_front() {
                if let Err(rtrb::PushError::Full(letter)) = outgoing.lane.push(letter) {
                    outgoing.waiting.push_front(letter);
                    break;
                }
                (outgoing.posted, outgoing.urgent) = (true, true);
            }
            blocked |= !outgoing.waiting.is_empty();
            let posted = std::mem::take(&mut outgoing.posted);
            let urgent = std::mem::take(&mut outgoing.urgent) | std::mem::take(&mut self.relieved[to]);
            let bell = &self.bells[to];
            if (urgent && bell.must_wake()) || (posted && !urgent && bell.must_wake_for_patient()) {
                wake(bell);
            }
        }
        blocked
    }

    /// Takes in what has arrived, sender by sender, each sender's letters in their order.
    pub fn receive(&mut self, mut letter: impl FnMut(usize, T)) -> usize {
        let mut count = 0;
        for (from, lane) in self.incoming.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            // Only what is there now: a sender that keeps sending must not keep us from the rest of the turn.
            let arrived = lane.slots();
            self.relieved[from] |= arrived == LANE_LETTERS;
            for _ in 0..arrived {
                let Ok(next) = lane.pop() else { break };
                letter(from, next);
                count += 1;
            }
        }
        count
    }

    /// True when something has arrived, or when what waits to be sent has room now.
    pub fn has_mail(&self) -> bool {
        let can_send = |outgoing: &Outgoing<T>| !outgoing.waiting.is_empty() && !outgoing.lane.is_full();
        self.incoming.iter().flatten().any(|lane| !lane.is_empty()) || self.outgoing.iter().flatten().any(can_send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_keep_their_order_and_none_is_dropped_when_a_lane_is_full() {
        let bells = [Doorbell::new().expect("eventfd"), Doorbell::new().expect("eventfd")];
        let mut boxes = mailboxes::<usize>(&bells);
        let (mut b, mut a) = (boxes.pop().expect("two"), boxes.pop().expect("two"));
        let total = LANE_LETTERS * 2 + 3;
        (0..total).for_each(|n| a.post(1, n, false));
        assert!(a.flush(|_| ()));
        let mut got = Vec::new();
        while got.len() < total {
            assert!(b.has_mail());
            b.receive(|from, n| {
                assert_eq!(from, 0);
                got.push(n);
            });
            a.flush(|_| ());
        }
        assert!(!a.flush(|_| ()));
        assert_eq!(got, (0..total).collect::<Vec<_>>());
    }

    #[test]
    fn a_sender_that_sleeps_on_waiting_letters_is_woken_when_its_lane_is_emptied() {
        let bells = [Doorbell::new().expect("eventfd"), Doorbell::new().expect("eventfd")];
        let mut boxes = mailboxes::<usize>(&bells);
        (0..=LANE_LETTERS).for_each(|n| boxes[0].post(1, n, false));
        assert!(boxes[0].flush(|_| ()));
        bells[0].announce_sleep();
        assert!(!boxes[0].has_mail());
        boxes[1].receive(|_, _| ());
        assert!(boxes[0].has_mail());
        let mut woken = 0;
        boxes[1].flush(|_| woken += 1);
        assert_eq!(woken, 1);
    }

    #[test]
    fn a_sleeping_target_is_woken_once() {
        let bells = [Doorbell::new().expect("eventfd"), Doorbell::new().expect("eventfd")];
        let mut boxes = mailboxes::<u8>(&bells);
        bells[1].announce_sleep();
        boxes[0].post(1, 1, false);
        boxes[0].post(1, 2, true);
        let mut woken = 0;
        boxes[0].flush(|_| woken += 1);
        boxes[0].post(1, 3, false);
        boxes[0].flush(|_| woken += 1);
        assert_eq!(woken, 1);
    }

    #[test]
    fn patient_letters_leave_a_target_alone_that_wakes_by_itself() {
        let bells = [Doorbell::new().expect("eventfd"), Doorbell::new().expect("eventfd")];
        let mut boxes = mailboxes::<u8>(&bells);
        let mut woken = 0;
        bells[1].announce_doze();
        boxes[0].post(1, 1, true);
        boxes[0].flush(|_| woken += 1);
        assert_eq!(woken, 0);
        boxes[0].post(1, 2, false);
        boxes[0].flush(|_| woken += 1);
        assert_eq!(woken, 1);
        bells[1].announce_sleep();
        boxes[0].post(1, 3, true);
        boxes[0].flush(|_| woken += 1);
        assert_eq!(woken, 2);
    }
}
