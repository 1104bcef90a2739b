//! Peers that announce frames and do not send them, beside one that does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::reactor::Options;
use crate::wake::Doorbell;

const DEADLINE: Duration = Duration::from_secs(20);
const MEMORY_BYTES: usize = 8 << 20;

struct Bench {
    reactor: Reactor,
    address: SocketAddr,
    begun: Instant,
    /// Microseconds by which the reactor's clock runs ahead.
    ahead_us: u64,
    frames: usize,
    closed: Vec<CloseReason>,
}

impl Bench {
    fn new() -> Bench {
        let options = Options {
            frame_bytes_max: 100 << 20,
            frame_memory_bytes: MEMORY_BYTES,
            socket_buffers: (None, None),
            connections_max: 100,
        };
        let mut reactor = Reactor::new(options, Doorbell::new().expect("eventfd")).expect("a ring");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        reactor.listen(0, socket);
        Bench { reactor, address, begun: Instant::now(), ahead_us: 0, frames: 0, closed: Vec::new() }
    }

    /// Connects and sends the start of a frame.
    fn begin(&mut self, announced: usize, sent: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a listener");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        let open = self.reactor.connections();
        self.until(|bench| bench.reactor.connections() > open);
        stream.write_all(&(announced as i32).to_be_bytes()).expect("sent");
        stream.write_all(&vec![7; sent]).expect("sent");
        self.turn();
        stream
    }

    fn turn(&mut self) {
        let mut events = Vec::new();
        self.reactor.turn(Some(Duration::from_millis(1)), &mut events).expect("a healthy ring");
        if self.reactor.is_starved() {
            let now_us = self.begun.elapsed().as_micros() as u64 + self.ahead_us;
            self.reactor.relieve(now_us, &mut events);
        }
        for event in events {
            match event {
                Event::Accepted { stream, .. } => assert!(self.reactor.adopt(stream).is_some()),
                Event::Frame { .. } => self.frames += 1,
                Event::Closed { reason, .. } => self.closed.push(reason),
                _ => {}
            }
        }
    }

    fn until(&mut self, done: impl Fn(&Bench) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < end, "{} frames, closed {:?}", self.frames, self.closed);
            self.turn();
        }
    }
}

#[test]
fn frames_of_the_largest_size_that_never_come_hold_up_no_smaller_one() {
    let mut bench = Bench::new();
    let _liars: Vec<TcpStream> = (0..20).map(|_| bench.begin(100 << 20, 0)).collect();
    bench.until(|bench| bench.reactor.is_starved());
    let _honest = bench.begin(200 << 10, 200 << 10);
    bench.until(|bench| bench.frames == 1);
    assert_eq!(bench.closed, []);
}

#[test]
fn frames_that_never_come_are_closed_once_others_wait() {
    let mut bench = Bench::new();
    let mut liars: Vec<TcpStream> = (0..60).map(|_| bench.begin(200 << 10, 100)).collect();
    bench.until(|bench| bench.reactor.is_starved());
    let _honest = bench.begin(200 << 10, 200 << 10);
    (0..20).for_each(|_| bench.turn());
    assert_eq!((bench.frames, bench.closed.len()), (0, 0), "there is a time of grace");
    for _ in 0..20 {
        bench.ahead_us += FRAME_GRACE_US[0] / 2;
        (0..20).for_each(|_| bench.turn());
    }
    bench.until(|bench| bench.frames == 1);
    assert!(bench.closed.iter().all(|reason| *reason == CloseReason::SlowFrame), "{:?}", bench.closed);
    assert_eq!(liars[0].read(&mut [0]).ok(), Some(0), "the oldest liar is closed");
}

#[test]
fn nobody_is_closed_while_nobody_waits() {
    let mut bench = Bench::new();
    let mut slow = bench.begin(200 << 10, 100);
    for _ in 0..10 {
        bench.ahead_us += 10 * FRAME_GRACE_US[1];
        bench.turn();
    }
    slow.write_all(&vec![7; (200 << 10) - 100]).expect("sent");
    bench.until(|bench| bench.frames == 1);
    assert_eq!(bench.closed, []);
}

#[test]
fn halves_of_small_frames_are_limited_together() {
    let mut bench = Bench::new();
    let share = MEMORY_BYTES / BLOCKS_PART;
    let half = 60 << 10;
    let _liars: Vec<TcpStream> = (0..2 * share / half).map(|_| bench.begin(half + 100, half)).collect();
    bench.until(|bench| bench.reactor.is_starved());
    (0..50).for_each(|_| bench.turn());
    let held: usize = bench.reactor.relief.in_blocks;
    // One small receive per connection may come on top of the share, as the one that finds it spent.
    assert!(held <= share + 2 * share / half * 2 * BLOCK_MIN_BYTES, "{held}");
    for _ in 0..20 {
        bench.ahead_us += FRAME_GRACE_US[0] / 2;
        (0..20).for_each(|_| bench.turn());
    }
    let _honest = bench.begin(half, half);
    bench.until(|bench| bench.frames == 1);
    assert!(!bench.closed.is_empty());
}

#[test]
fn socket_buffers_are_what_was_asked_for() {
    use std::os::fd::AsRawFd;
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    crate::conn::prepare_socket(socket.as_raw_fd(), (Some(50_000), None));
    let size = |name: i32| {
        let (mut bytes, mut len) = (0i32, 4);
        // SAFETY: both pointers are to locals that outlive the call.
        let done = unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut bytes).cast(), &raw mut len)
        };
        assert_eq!(done, 0);
        bytes
    };
    assert_eq!(size(libc::SO_SNDBUF), 100_000, "Linux doubles it for its own needs");
    assert_ne!(size(libc::SO_RCVBUF), 100_000);
}
