//! The ring: one thread, one loop, one `io_uring_enter` per turn.

#![allow(unsafe_code)]

use super::journal::Journal;
use super::{put_response, read_request};
use coretide_stdx::aligned::AlignedBuf;
use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, opcode, types};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

const RING_ENTRIES: u32 = 1024;
/// Room for what one connection has sent and we have not taken; grows to a larger frame.
const INPUT_BYTES: usize = 1 << 20;
/// The most that one commit gathers.
const COMMIT_BYTES: usize = 32 << 20;
const FRAME_MAX_BYTES: usize = 8 << 20;
/// Each commit begins with a block's header, as a real one does.
const COMMIT_HEADER_BYTES: usize = 64;

/// What a completion is of, in the upper half of its user data; the lower half is the connection.
#[derive(Clone, Copy)]
enum Kind {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Write = 4,
}

const fn user_data(kind: Kind, connection: usize) -> u64 {
    (kind as u64) << 32 | connection as u64
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// What the kernel is sending, and how far it got.
    sending: Vec<u8>,
    sent: usize,
    /// What goes next.
    waiting: Vec<u8>,
    /// A receive is in flight: the kernel may write into `input`.
    receiving: bool,
    /// No receive is in flight, because the commit was full.
    stalled: bool,
    gone: bool,
}

/// What one commit holds: bytes for the journal and the answers that wait for it.
struct Commit {
    bytes: AlignedBuf,
    answers: Vec<u8>,
    /// (connection, bytes of the answer), in the order of `answers`.
    receivers: Vec<(usize, usize)>,
}

impl Commit {
    fn new() -> Commit {
        let mut commit =
            Commit { bytes: AlignedBuf::with_capacity(COMMIT_BYTES), answers: Vec::new(), receivers: Vec::new() };
        commit.clear();
        commit
    }

    fn clear(&mut self) {
        self.bytes.set_len(COMMIT_HEADER_BYTES);
        self.answers.clear();
        self.receivers.clear();
    }
}

/// The server.
pub struct Server {
    ring: IoUring,
    listener: TcpListener,
    journal: Journal,
    /// Connections by number; numbers are not reused.
    connections: Vec<Option<Box<Connection>>>,
    gathering: Commit,
    writing: Commit,
    in_flight: bool,
    next_offset: i64,
}

impl Server {
    /// Sets the ring up.
    pub fn new(listener: TcpListener, journal: Journal) -> Result<Server, String> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .build(RING_ENTRIES)
            .map_err(|e| format!("io_uring: {e}"))?;
        let (gathering, writing) = (Commit::new(), Commit::new());
        let connections = Vec::new();
        Ok(Server { ring, listener, journal, connections, gathering, writing, in_flight: false, next_offset: 0 })
    }

    /// Serves until the process is killed.
    pub fn serve(mut self) -> Result<(), String> {
        self.accept();
        let mut completions: Vec<(u64, i32)> = Vec::new();
        loop {
            self.ring.submit_and_wait(1).map_err(|e| format!("io_uring_enter: {e}"))?;
            completions.extend(self.ring.completion().map(|c: cqueue::Entry| (c.user_data(), c.result())));
            for (data, result) in completions.drain(..) {
                self.complete(data, result)?;
            }
            self.commit();
        }
    }

    fn complete(&mut self, data: u64, result: i32) -> Result<(), String> {
        let connection = (data & 0xffff_ffff) as usize;
        match data >> 32 {
            kind if kind == Kind::Accept as u64 => self.accepted(result),
            kind if kind == Kind::Receive as u64 => self.received(connection, result),
            kind if kind == Kind::Send as u64 => self.sent(connection, result),
            _ => return self.written(result),
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry) {
        loop {
            // SAFETY: every buffer an entry points to lives in a boxed connection or in a commit until its completion.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                return;
            }
            self.ring.submit().expect("a full submission queue can be submitted");
        }
    }

    fn accept(&mut self) {
        let listener = types::Fd(self.listener.as_raw_fd());
        let entry = opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut());
        self.push(entry.build().user_data(user_data(Kind::Accept, 0)));
    }

    fn accepted(&mut self, result: i32) {
        self.accept();
        if result < 0 {
            return;
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let stream = unsafe { TcpStream::from_raw_fd(result) };
        let _ = stream.set_nodelay(true);
        self.connections.push(Some(Box::new(Connection {
            stream,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            sending: Vec::new(),
            sent: 0,
            waiting: Vec::new(),
            receiving: false,
            stalled: false,
            gone: false,
        })));
        self.receive(self.connections.len() - 1);
    }

    fn receive(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        if connection.start == connection.end {
            (connection.start, connection.end) = (0, 0);
        } else if connection.input.len() - connection.end < INPUT_BYTES / 2 {
            connection.input.copy_within(connection.start..connection.end, 0);
            connection.end -= connection.start;
            connection.start = 0;
        }
        if connection.end == connection.input.len() {
            connection.input.resize(FRAME_MAX_BYTES + 4, 0);
        }
        connection.receiving = true;
        let room = &mut connection.input[connection.end..];
        let entry = opcode::Recv::new(types::Fd(connection.stream.as_raw_fd()), room.as_mut_ptr(), room.len() as u32);
        self.push(entry.build().user_data(user_data(Kind::Receive, number)));
    }

    fn received(&mut self, number: usize, result: i32) {
        let Some(connection) = &mut self.connections[number] else { return };
        connection.receiving = false;
        if result <= 0 {
            connection.gone = true;
            self.drop_if_idle(number);
            return;
        }
        connection.end += result as usize;
        self.gather(number);
    }

    /// Moves the connection's whole frames into the commit that is gathering.
    fn gather(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        let commit = &mut self.gathering;
        loop {
            let filled = &connection.input[connection.start..connection.end];
            let Some(length) = filled.get(..4) else { break };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if length > FRAME_MAX_BYTES {
                connection.gone = true;
                break;
            }
            let Some(frame) = filled.get(4..4 + length) else { break };
            if commit.bytes.len() + length > commit.bytes.capacity() {
                connection.stalled = true;
                return;
            }
            let Some(asked) = read_request(frame) else {
                connection.gone = true;
                break;
            };
            commit.bytes.extend_from_slice(frame);
            let before = commit.answers.len();
            put_response(&mut commit.answers, &asked, self.next_offset);
            commit.receivers.push((number, commit.answers.len() - before));
            self.next_offset += 1;
            connection.start += 4 + length;
        }
        if connection.gone {
            self.drop_if_idle(number);
        } else {
            self.receive(number);
        }
    }

    /// Starts the next commit if there is one and none is in flight.
    fn commit(&mut self) {
        if self.in_flight || self.gathering.receivers.is_empty() {
            return;
        }
        std::mem::swap(&mut self.gathering, &mut self.writing);
        let bytes = &mut self.writing.bytes;
        bytes.pad_to_block();
        let at = self.journal.take_place(bytes.len() as u64);
        let slice = bytes.as_slice();
        let entry = opcode::Write::new(types::Fd(self.journal.fd()), slice.as_ptr(), slice.len() as u32)
            .offset(at)
            .rw_flags(self.journal.write_flags());
        self.push(entry.build().user_data(user_data(Kind::Write, 0)));
        self.in_flight = true;
        for number in 0..self.connections.len() {
            if let Some(connection) = &mut self.connections[number]
                && connection.stalled
            {
                connection.stalled = false;
                self.gather(number);
            }
        }
    }

    fn written(&mut self, result: i32) -> Result<(), String> {
        if result != self.writing.bytes.len() as i32 {
            return Err(format!("journal: wrote {result} of {} bytes", self.writing.bytes.len()));
        }
        self.in_flight = false;
        let mut from = 0;
        let mut touched: Vec<usize> = Vec::new();
        for &(number, bytes) in &self.writing.receivers {
            if let Some(connection) = &mut self.connections[number] {
                if connection.waiting.is_empty() && connection.sending.is_empty() {
                    touched.push(number);
                }
                connection.waiting.extend_from_slice(&self.writing.answers[from..from + bytes]);
            }
            from += bytes;
        }
        self.writing.clear();
        for number in touched {
            self.send(number);
        }
        Ok(())
    }

    fn send(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        if connection.sent == connection.sending.len() {
            connection.sending.clear();
            connection.sent = 0;
            std::mem::swap(&mut connection.sending, &mut connection.waiting);
        }
        let rest = &connection.sending[connection.sent..];
        let fd = types::Fd(connection.stream.as_raw_fd());
        let entry = opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32).flags(libc::MSG_NOSIGNAL);
        self.push(entry.build().user_data(user_data(Kind::Send, number)));
    }

    fn sent(&mut self, number: usize, result: i32) {
        let Some(connection) = &mut self.connections[number] else { return };
        if result <= 0 {
            connection.gone = true;
            connection.sending.clear();
            connection.sent = 0;
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
            self.drop_if_idle(number);
            return;
        }
        connection.sent += result as usize;
        if connection.sent < connection.sending.len() || !connection.waiting.is_empty() {
            self.send(number);
        } else {
            connection.sending.clear();
            connection.sent = 0;
            self.drop_if_idle(number);
        }
    }

    /// Lets a connection go when it has ended and the kernel holds none of its buffers.
    fn drop_if_idle(&mut self, number: usize) {
        if self.connections[number].as_ref().is_some_and(|c| c.gone && !c.receiving && c.sending.is_empty()) {
            self.connections[number] = None;
        }
    }
}
