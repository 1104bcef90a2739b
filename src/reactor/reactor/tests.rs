//! The ring on real sockets and files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

use coretide_stdx::aligned::{AlignedBuf, BLOCK_BYTES};

use super::*;
use crate::frames::FrameError;
use crate::hotfile::HotFile;
use crate::splice::FilePart;

const DEADLINE: Duration = Duration::from_secs(20);

struct Bench {
    reactor: Reactor,
    address: SocketAddr,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_memory(1 << 30)
    }

    fn with_memory(frame_memory_bytes: usize) -> Bench {
        let bell = Doorbell::new().expect("eventfd");
        let options = Options {
            frame_bytes_max: 8 << 20,
            frame_memory_bytes,
            socket_buffers: (None, None),
            connections_max: 100,
        };
        let mut reactor = Reactor::new(options, bell).expect("a ring");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        reactor.listen(3, socket);
        Bench { reactor, address, events: Vec::new() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a listener");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_nodelay(true).expect("nodelay");
        stream
    }

    /// Turns until `done` accepts the events so far.
    fn until(&mut self, mut done: impl FnMut(&mut Reactor, &mut Vec<Event>) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(&mut self.reactor, &mut self.events) {
            assert!(Instant::now() < end, "nothing more came; so far {:?}", self.events);
            self.reactor.turn(Some(Duration::from_millis(100)), &mut self.events).expect("a healthy ring");
        }
    }

    fn accept(&mut self) -> u64 {
        let mut conn = None;
        self.until(|reactor, events| {
            let first = events.iter().position(|event| matches!(event, Event::Accepted { .. }));
            if let Some(Event::Accepted { listener, stream, .. }) = first.map(|at| events.remove(at)) {
                assert_eq!(listener, 3);
                conn = reactor.adopt(stream);
            }
            conn.is_some()
        });
        conn.expect("just seen")
    }

    fn closed(&mut self) -> (u64, CloseReason) {
        let mut found = None;
        self.until(|_, events| {
            found = events.iter().find_map(|event| match event {
                Event::Closed { conn, reason } => Some((*conn, reason.clone())),
                _ => None,
            });
            found.is_some()
        });
        found.expect("just seen")
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes(), body].concat()
}

/// Answers each frame with itself, until `frames` were answered.
fn echo(bench: &mut Bench, frames: usize) {
    let mut answered = 0;
    bench.until(|reactor, events| {
        for event in events.drain(..) {
            if let Event::Frame { conn, bytes } = event {
                let head = Bytes::copy_from_slice(&(bytes.len() as i32).to_be_bytes());
                reactor.send(conn, [Part::Bytes(head), Part::Bytes(bytes)]);
                answered += 1;
            }
        }
        answered == frames
    });
    bench.reactor.turn(Some(Duration::ZERO), &mut bench.events).expect("a healthy ring");
}

#[test]
fn pipelined_frames_of_all_sizes_are_echoed_in_order() {
    let mut bench = Bench::new();
    let stream = bench.connect();
    bench.accept();
    let sizes = [1usize, 100, 5_000, 70_000, 3_000_000, 16, 65_532, 65_533, 0, 300_000, 20];
    let mut writer = stream.try_clone().expect("a second handle");
    let client = std::thread::spawn(move || {
        for (n, &size) in sizes.iter().enumerate() {
            writer.write_all(&frame(&vec![n as u8; size])).expect("the server reads");
        }
    });
    let reading = std::thread::spawn(move || {
        let mut stream = stream;
        for (n, &size) in sizes.iter().enumerate() {
            let mut got = vec![0; size + 4];
            stream.read_exact(&mut got).expect("the server answers");
            assert_eq!(got, frame(&vec![n as u8; size]));
        }
    });
    echo(&mut bench, sizes.len());
    let end = Instant::now() + DEADLINE;
    while !reading.is_finished() && Instant::now() < end {
        bench.reactor.turn(Some(Duration::from_millis(10)), &mut bench.events).expect("a healthy ring");
    }
    client.join().expect("all written");
    reading.join().expect("all read");
    assert!(bench.reactor.stats().moved_bytes < 200_000, "{:?}", bench.reactor.stats());
}

#[test]
fn a_slow_reader_gets_everything_and_progress_is_reported() {
    let mut bench = Bench::new();
    let mut stream = bench.connect();
    let conn = bench.accept();
    let total = 9 * SEND_TEST_BYTES;
    let parts: Vec<Part> = (0..9u8).map(|n| Part::Bytes(Bytes::from(vec![n; SEND_TEST_BYTES]))).collect();
    bench.reactor.send(conn, parts);
    let mut reported = 0;
    let reading = std::thread::spawn(move || {
        let mut got = vec![0; 100_000];
        let mut all = Vec::new();
        while all.len() < total {
            let n = stream.read(&mut got).expect("the server sends");
            all.extend_from_slice(&got[..n]);
        }
        all
    });
    bench.until(|_, events| {
        for event in events.drain(..) {
            if let Event::Sent { bytes, .. } = event {
                reported += bytes as usize;
            }
        }
        reported == total
    });
    let all = reading.join().expect("all read");
    assert!((0..9).all(|n| all[n * SEND_TEST_BYTES..(n + 1) * SEND_TEST_BYTES].iter().all(|&b| b == n as u8)));
}

const SEND_TEST_BYTES: usize = 700_000;

#[test]
fn many_small_responses_of_a_turn_leave_together() {
    let mut bench = Bench::new();
    let mut stream = bench.connect();
    let conn = bench.accept();
    let before = bench.reactor.stats().submitted;
    for n in 0..50u8 {
        bench.reactor.send(conn, [Part::Bytes(Bytes::from(vec![n; 4]))]);
    }
    bench.until(|_, events| events.iter().any(|event| matches!(event, Event::Sent { bytes: 200, .. })));
    assert!(bench.reactor.stats().submitted - before < 5);
    let mut got = [0; 200];
    stream.read_exact(&mut got).expect("the server sends");
    assert_eq!((got[0], got[199]), (0, 49));
}

#[test]
fn closing_sends_what_is_queued_first_and_bad_lengths_close_at_once() {
    let mut bench = Bench::new();
    let mut stream = bench.connect();
    let conn = bench.accept();
    bench.reactor.send(conn, [Part::Bytes(Bytes::from_static(b"last words"))]);
    bench.reactor.close(conn);
    assert_eq!(bench.closed(), (conn, CloseReason::Asked));
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("an orderly end");
    assert_eq!(got, "last words");

    bench.events.clear();
    let mut stream = bench.connect();
    let next = bench.accept();
    assert_ne!(next, conn);
    stream.write_all(&(-5i32).to_be_bytes()).expect("sent");
    assert_eq!(bench.closed(), (next, CloseReason::BadFrame(FrameError::Negative(-5))));
    assert_eq!(bench.reactor.connections(), 0);
}

#[test]
fn a_peer_that_goes_is_reported_once_even_with_a_send_in_flight() {
    let mut bench = Bench::new();
    let stream = bench.connect();
    let conn = bench.accept();
    bench.reactor.send(conn, [Part::Bytes(Bytes::from(vec![1; 20 << 20]))]);
    bench.reactor.turn(Some(Duration::ZERO), &mut bench.events).expect("a healthy ring");
    drop(stream);
    let (gone, reason) = bench.closed();
    assert_eq!(gone, conn);
    assert_ne!(reason, CloseReason::Asked);
    assert_eq!(bench.events.iter().filter(|event| matches!(event, Event::Closed { .. })).count(), 1);
    bench.reactor.send(conn, [Part::Bytes(Bytes::from_static(b"to nobody"))]);
    bench.reactor.close(conn);
}

#[test]
fn paused_connections_are_not_read_until_resumed() {
    let mut bench = Bench::new();
    let mut stream = bench.connect();
    let conn = bench.accept();
    bench.reactor.pause(conn);
    bench.reactor.turn(Some(Duration::ZERO), &mut bench.events).expect("a healthy ring");
    stream.write_all(&frame(b"hello")).expect("sent");
    bench.reactor.turn(Some(Duration::from_millis(50)), &mut bench.events).expect("a healthy ring");
    assert!(bench.events.is_empty());
    bench.reactor.resume(conn);
    bench.until(|_, events| events.iter().any(|event| matches!(event, Event::Frame { .. })));
}

#[test]
fn large_frames_beyond_the_memory_wait_for_each_other() {
    let mut bench = Bench::with_memory(3 << 20);
    let streams: Vec<TcpStream> = (0..4).map(|_| bench.connect()).collect();
    (0..4).for_each(|_| {
        bench.accept();
    });
    let writers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| std::thread::spawn(move || stream.write_all(&frame(&vec![7; 2 << 20])).map(|()| stream)))
        .collect();
    let mut got = 0;
    let mut most = 0;
    bench.until(|reactor, events| {
        most = most.max(reactor.frame_memory_in_use());
        got += events.drain(..).filter(|event| matches!(event, Event::Frame { .. })).count();
        got == 4
    });
    writers.into_iter().for_each(|writer| drop(writer.join().expect("joined").expect("sent")));
    assert!(most <= (2 << 20) + BLOCK_BYTES, "{most}");
}

#[test]
fn another_ring_and_an_eventfd_wake_a_sleeper() {
    let mut bench = Bench::new();
    let bell = Arc::clone(&bench.reactor.bell);
    let other = std::thread::spawn(move || {
        let own = Doorbell::new().expect("eventfd");
        let options =
            Options { frame_bytes_max: 1, frame_memory_bytes: 1, socket_buffers: (None, None), connections_max: 100 };
        let mut reactor = Reactor::new(options, own).expect("a ring");
        reactor.poke(&bell);
        reactor.turn(Some(Duration::ZERO), &mut Vec::new()).expect("a healthy ring");
        bell
    });
    let start = Instant::now();
    bench.reactor.turn(Some(DEADLINE), &mut bench.events).expect("a healthy ring");
    let bell = other.join().expect("joined");
    bell.force();
    bench.reactor.turn(Some(DEADLINE), &mut bench.events).expect("a healthy ring");
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn files_are_written_durably_synced_and_spliced_to_a_socket() {
    let dir = crate::folder_on_a_real_disk();
    let direct = crate::probe::takes_direct_io(dir.path()).is_ok();
    let mut bench = Bench::new();
    let file = HotFile::open(dir.path(), "j/0", direct).expect("a file");
    let blocks = 600;
    let mut buffer = AlignedBuf::with_capacity(blocks * BLOCK_BYTES);
    for n in 0..blocks {
        buffer.extend_from_slice(&[n as u8; BLOCK_BYTES]);
    }
    let bytes = buffer.freeze();
    bench.reactor.write(1, &file, 0, bytes.clone(), true).expect("submitted");
    bench.reactor.write(2, &file, BLOCK_BYTES as u64, bytes.slice(..BLOCK_BYTES), false).expect("submitted");
    bench.reactor.sync(3, &file).expect("submitted");
    let mut done = BTreeMap::new();
    bench.until(|_, events| {
        for event in events.drain(..) {
            if let Event::FileDone { id, result } = event {
                done.insert(id, result.is_ok());
            }
        }
        done.len() == 3
    });
    assert!(done.values().all(|&ok| ok));

    let mut stream = bench.connect();
    let conn = bench.accept();
    let readable = Arc::new(File::open(dir.path().join("j/0")).expect("written"));
    let len = (blocks * BLOCK_BYTES) as u32;
    let part = |at, len| Part::File(FilePart { file: Arc::clone(&readable), at, len });
    let parts = [Part::Bytes(Bytes::from_static(b"head")), part(4096 * 3, len - 4096 * 3), part(10, 20)];
    bench.reactor.send(conn, parts.into_iter().chain([Part::Bytes(Bytes::from_static(b"tail"))]));
    let wanted = 4 + len as usize - 4096 * 3 + 20 + 4;
    let reading = std::thread::spawn(move || {
        let mut all = vec![0; wanted];
        stream.read_exact(&mut all).map(|()| all)
    });
    let end = Instant::now() + DEADLINE;
    while !reading.is_finished() && Instant::now() < end {
        bench.reactor.turn(Some(Duration::from_millis(10)), &mut bench.events).expect("a healthy ring");
    }
    let all = reading.join().expect("joined").expect("all bytes came");
    assert_eq!(&all[..4], b"head");
    assert!(all[4..wanted - 24] == bytes[4096 * 3..]);
    assert_eq!(&all[wanted - 4..], b"tail");
    assert_eq!(bench.reactor.stats().spliced_bytes, wanted as u64 - 8);
}

#[test]
fn writes_start_before_the_turn_and_nothing_else_enters_the_kernel_for_them() {
    let dir = crate::folder_on_a_real_disk();
    let mut bench = Bench::new();
    let file = HotFile::open(dir.path(), "j/0", false).expect("a file");
    let entered = bench.reactor.stats().enters;
    bench.reactor.start_writes().expect("a healthy ring");
    assert_eq!(bench.reactor.stats().enters, entered, "there is none");
    bench.reactor.write(1, &file, 0, bytes::Bytes::from_static(b"abc"), false).expect("queued");
    assert_eq!(std::fs::metadata(dir.path().join("j/0")).expect("it was made").len(), 0, "only queued");
    bench.reactor.start_writes().expect("a healthy ring");
    bench.reactor.start_writes().expect("a healthy ring");
    assert_eq!(bench.reactor.stats().enters, entered + 1, "handed over once");
    let start = Instant::now();
    while std::fs::read(dir.path().join("j/0")).expect("readable") != b"abc" {
        assert!(start.elapsed() < DEADLINE, "no turn was needed");
    }
    bench.until(|_, events| events.iter().any(|event| matches!(event, Event::FileDone { id: 1, result: Ok(()) })));
}

#[test]
fn a_write_to_a_file_that_cannot_be_written_reports_its_errno() {
    let mut bench = Bench::new();
    let file = HotFile { file: File::open("/proc/self/maps").expect("readable"), path: "maps".into(), direct: false };
    bench.reactor.write(9, &Arc::new(file), 0, Bytes::from_static(b"x"), false).expect("submitted");
    let mut errno = None;
    bench.until(|_, events| {
        errno = events.iter().find_map(|event| match event {
            Event::FileDone { id: 9, result } => Some(result.clone().expect_err("read-only").errno),
            _ => None,
        });
        errno.is_some()
    });
    assert_eq!(errno, Some(libc::EBADF));
}

#[test]
fn dropping_with_everything_in_flight_leaks_nothing() {
    let mut bench = Bench::new();
    let streams: Vec<TcpStream> = (0..10).map(|_| bench.connect()).collect();
    for _ in 0..10 {
        let conn = bench.accept();
        bench.reactor.send(conn, [Part::Bytes(Bytes::from(vec![1; 20 << 20]))]);
    }
    bench.reactor.turn(Some(Duration::ZERO), &mut bench.events).expect("a healthy ring");
    let start = Instant::now();
    drop(bench);
    assert!(start.elapsed() < Duration::from_secs(2), "everything came back: {:?}", start.elapsed());
    drop(streams);
}
