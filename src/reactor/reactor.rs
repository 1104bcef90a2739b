//! The loop's engine: connections, hot file writes and wake-ups on one ring. The caller takes events, decides, and gives
//! operations; [`Reactor::turn`] hands them to the kernel with the one system call that also sleeps, but for writes to files,
//! which [`Reactor::start_writes`] hands over before.
//! Must never touch: what frames, files and letters mean; clocks.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use io_uring::{cqueue, opcode, types};

use crate::conn::{CloseReason, Conn, Part, Phase, prepare_socket};
use crate::error::SetupError;
use crate::frames::{BLOCK_MIN_BYTES, FrameMemory};
use crate::fs::FileError;
use crate::hotfile::FileTask;
use crate::relief::Relief;
use crate::ring::{Completion, Kind, Ring, tag};
use crate::slab::{Key, Slab};
use crate::splice::Pipes;
use crate::wake::Doorbell;

/// The first try of a receive is skipped when the socket was empty a moment ago.
const RECVSEND_POLL_FIRST: u16 = 1;
/// Connections that one thread serves, however many descriptors there are.
pub const CONNECTIONS_MAX: usize = 50_000;

/// What the caller decides about a reactor.
#[derive(Clone, Debug)]
pub struct Options {
    /// Frames above this are refused and their connection is closed.
    pub frame_bytes_max: usize,
    /// Bytes of large frames in memory at once; when they are spent, sockets are not read.
    pub frame_memory_bytes: usize,
    /// The kernel's buffers of each connection, for sending and receiving; none: the system decides.
    pub socket_buffers: (Option<i32>, Option<i32>),
    /// Connections at once, [`CONNECTIONS_MAX`] at most; more are closed at once.
    pub connections_max: usize,
}

/// What happened since the last turn.
#[derive(Debug)]
pub enum Event {
    /// A connection came in on `listener`; nothing is read from it before [`Reactor::adopt`].
    Accepted { listener: u8, stream: OwnedFd, peer: SocketAddr },
    /// Accepting is refused for now (no descriptors); it goes on at the next [`Reactor::resume_accept`].
    AcceptPaused { listener: u8, errno: i32 },
    /// A whole frame, without its length.
    Frame { conn: u64, bytes: Bytes },
    /// Bytes that the kernel has taken for sending.
    Sent { conn: u64, bytes: u64 },
    /// The connection is gone; nothing more comes of it.
    Closed { conn: u64, reason: CloseReason },
    /// A file write or sync came back.
    FileDone { id: u64, result: Result<(), FileError> },
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Operations submitted.
    pub submitted: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent from memory.
    pub sent_bytes: u64,
    /// Bytes sent by splice.
    pub spliced_bytes: u64,
    /// Bytes moved inside user space because a frame outgrew its receive block.
    pub moved_bytes: u64,
    /// Messages to other rings.
    pub pokes: u64,
    /// Connections closed for a stream that is no frames: HTTP, TLS, lengths above the limit.
    pub bad_frames: u64,
    /// Connections closed because their frame stayed incomplete while others waited for the memory.
    pub slow_frames: u64,
    /// Connections refused because there were [`Options::connections_max`].
    pub refused: u64,
}

struct Listening {
    listener: u8,
    socket: TcpListener,
    armed: bool,
    paused: bool,
}

/// The hot ring of one thread.
pub struct Reactor {
    pub(crate) ring: Ring,
    options: Options,
    bell: Arc<Doorbell>,
    bell_value: Box<u64>,
    bell_armed: bool,
    listening: Vec<Listening>,
    pub(crate) conns: Slab<Conn>,
    pub(crate) memory: FrameMemory,
    pub(crate) relief: Relief,
    /// Connections whose next receive is submitted at the next turn.
    pub(crate) rearm: Vec<Key>,
    /// Connections with something to send.
    pub(crate) to_send: Vec<Key>,
    /// No receive is submitted while this is set.
    pub(crate) reading_paused: bool,
    pub(crate) files: Slab<FileTask>,
    /// Writes that [`Reactor::start_writes`] has not handed over yet.
    pub(crate) writes_queued: bool,
    pub(crate) pipes: Pipes,
    /// Connections that wait for a pipe, oldest first.
    pub(crate) wants_pipe: VecDeque<Key>,
    completions: Vec<Completion>,
    pub(crate) stats: Stats,
}

impl Reactor {
    /// A ring for the calling thread, which must be the one that uses it. Whoever rings `bell` wakes it.
    pub fn new(options: Options, bell: Arc<Doorbell>) -> Result<Reactor, SetupError> {
        let ring = Ring::new()?;
        bell.set_ring(ring.fd());
        Ok(Reactor {
            ring,
            memory: FrameMemory::new(options.frame_memory_bytes),
            relief: Relief::new(options.frame_memory_bytes),
            options,
            bell,
            bell_value: Box::new(0),
            bell_armed: false,
            listening: Vec::new(),
            conns: Slab::new(),
            rearm: Vec::new(),
            to_send: Vec::new(),
            reading_paused: false,
            files: Slab::new(),
            writes_queued: false,
            pipes: Pipes::new(),
            wants_pipe: VecDeque::new(),
            completions: Vec::new(),
            stats: Stats::default(),
        })
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats { enters: self.ring.enters, submitted: self.ring.submitted, ..self.stats }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Bytes of large frames in memory.
    pub fn frame_memory_in_use(&self) -> usize {
        self.memory.in_use()
    }

    /// Accepts connections from the next turn on.
    pub fn listen(&mut self, listener: u8, socket: TcpListener) {
        self.listening.push(Listening { listener, socket, armed: false, paused: false });
    }

    /// Closes all listening sockets.
    pub fn stop_listening(&mut self) {
        for listening in self.listening.drain(..) {
            // SAFETY: an open socket of ours; this ends the accept in flight.
            unsafe { libc::shutdown(listening.socket.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }

    /// Goes on accepting after [`Event::AcceptPaused`].
    pub fn resume_accept(&mut self) {
        self.listening.iter_mut().for_each(|listening| listening.paused = false);
    }

    /// Serves a connection from the next turn on; returns its name, which is never used again. `None`: there are too
    /// many, and the connection is closed.
    pub fn adopt(&mut self, stream: OwnedFd) -> Option<u64> {
        if self.conns.len() >= self.options.connections_max.min(CONNECTIONS_MAX) {
            self.stats.refused += 1;
            return None;
        }
        prepare_socket(stream.as_raw_fd(), self.options.socket_buffers);
        let key = self.conns.insert(Conn::new(stream, self.options.frame_bytes_max));
        self.rearm.push(key);
        Some(key.to_u64())
    }

    /// Queues pieces of a response; they leave at the next turn, together with all others of the connection.
    pub fn send(&mut self, conn: u64, parts: impl IntoIterator<Item = Part>) {
        let key = Key::from_u64(conn);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase != Phase::Open {
            return;
        }
        let empty = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.is_empty(),
            Part::File(part) => part.len == 0,
        };
        conn.queue.extend(parts.into_iter().filter(|part| !empty(part)));
        if !conn.listed && !conn.queue.is_empty() {
            conn.listed = true;
            self.to_send.push(key);
        }
    }

    /// Closes a connection after what is queued has been sent. [`Event::Closed`] follows.
    pub fn close(&mut self, conn: u64) {
        let key = Key::from_u64(conn);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase != Phase::Open {
            return;
        }
        conn.phase = Phase::Draining;
        conn.reason = CloseReason::Asked;
        conn.limit_drain();
        if !conn.listed {
            conn.listed = true;
            self.to_send.push(key);
        }
    }

    /// Closes a connection at once, whatever is still to be sent. [`Event::Closed`] follows with the next turn.
    pub fn abort(&mut self, conn: u64) {
        let key = Key::from_u64(conn);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Closing {
            return;
        }
        conn.phase = Phase::Draining;
        conn.shut_down();
        if !conn.sending && conn.splicing.is_none() {
            conn.queue.clear();
        }
        if !conn.listed {
            conn.listed = true;
            self.to_send.push(key);
        }
    }

    /// Reads no more from this connection once what is in flight has come.
    pub fn pause(&mut self, conn: u64) {
        if let Some(conn) = self.conns.get_mut(Key::from_u64(conn)) {
            conn.paused = true;
        }
    }

    /// Reads again.
    pub fn resume(&mut self, conn: u64) {
        let key = Key::from_u64(conn);
        if let Some(conn) = self.conns.get_mut(key)
            && std::mem::take(&mut conn.paused)
        {
            self.rearm.push(key);
        }
    }

    /// Reads from no connection at all while `paused`.
    pub fn pause_all(&mut self, paused: bool) {
        self.reading_paused = paused;
    }

    /// Sends a wake-up to the thread behind `bell` through its ring, with the next turn.
    pub fn poke(&mut self, bell: &Doorbell) {
        self.stats.pokes += 1;
        let ring = bell.ring_fd();
        if ring < 0 {
            bell.force();
            return;
        }
        let woken = tag(Kind::Ignore, Key { index: 0, generation: 0 });
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, woken, None)
            .build()
            .flags(io_uring::squeue::Flags::SKIP_SUCCESS)
            .user_data(tag(Kind::Poke, Key { index: 0, generation: 0 }));
        // SAFETY: names no memory; rings stay open until all threads have ended.
        if let Err(error) = unsafe { self.ring.push(&entry) } {
            tracing::warn!("a neighbour was woken by eventfd: {error}");
            bell.force();
        }
    }

    /// Hands queued writes to the kernel at once. It keeps what goes to a disk back until it has done all that it was handed
    /// together with it, and each send of a response takes microseconds.
    pub fn start_writes(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.writes_queued) { self.ring.submit() } else { Ok(()) }
    }

    /// One turn: submits what is due, sleeps up to `wait` (`None`: until something happens), and adds what happened to
    /// `events`. An error means that the ring itself is broken.
    pub fn turn(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.submit_due(events)?;
        let wait = if events.is_empty() { wait } else { Some(Duration::ZERO) };
        self.ring.enter(wait)?;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        for completion in completions.drain(..) {
            self.complete(completion, events)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn submit_due(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.bell_armed {
            self.arm_bell()?;
        }
        for at in 0..self.listening.len() {
            if !self.listening[at].armed && !self.listening[at].paused {
                self.arm_accept(at);
            }
        }
        let mut due = std::mem::take(&mut self.to_send);
        for key in due.drain(..) {
            self.advance_sending(key, events)?;
        }
        // What was listed meanwhile stays listed.
        due.append(&mut self.to_send);
        self.to_send = due;
        self.feed_starved();
        if self.reading_paused {
            return Ok(());
        }
        let mut rearm = std::mem::take(&mut self.rearm);
        for key in rearm.drain(..) {
            self.arm_receive(key)?;
        }
        self.rearm = rearm;
        Ok(())
    }

    fn arm_bell(&mut self) -> io::Result<()> {
        let target = (&raw mut *self.bell_value).cast::<u8>();
        let fd = types::Fd(self.bell.event().as_raw_fd());
        let entry =
            opcode::Read::new(fd, target, 8).build().user_data(tag(Kind::Wake, Key { index: 0, generation: 0 }));
        // SAFETY: `bell_value` is boxed and lives as long as the reactor, whose drop waits for the read.
        unsafe { self.ring.push(&entry) }?;
        self.bell_armed = true;
        Ok(())
    }

    fn arm_accept(&mut self, at: usize) {
        let listening = &mut self.listening[at];
        listening.armed = true;
        let entry = opcode::AcceptMulti::new(types::Fd(listening.socket.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(tag(Kind::Accept, Key { index: u32::from(listening.listener), generation: 0 }));
        // SAFETY: names no memory; the kernel holds its own reference to the socket.
        if let Err(error) = unsafe { self.ring.push(&entry) } {
            tracing::error!("accepting could not be submitted: {error}");
            self.listening[at].armed = false;
        }
    }

    fn arm_receive(&mut self, key: Key) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        if !conn.may_receive() {
            return Ok(());
        }
        conn.receiving = true;
        let first = if conn.more_waits { 0 } else { RECVSEND_POLL_FIRST };
        let fd = types::Fd(conn.raw_fd());
        // The rest of a large frame comes back as one completion; the kernel itself waits for its pieces.
        let within_large = conn.reader.is_within_large();
        let flags = if within_large { libc::MSG_WAITALL } else { 0 };
        let spare = conn.reader.spare();
        // With little left for blocks, none takes more at once than every connection may hold.
        let most = if within_large || !self.relief.is_tight() { usize::MAX } else { BLOCK_MIN_BYTES };
        let len = spare.len().min(most);
        let entry = opcode::Recv::new(fd, spare.as_mut_ptr().cast(), len as u32)
            .ioprio(first)
            .flags(flags)
            .build()
            .user_data(tag(Kind::Recv, key));
        // SAFETY: the reader leaves its spare memory where it is until `advance`, and the connection's slot is kept until
        // the receive is back.
        unsafe { self.ring.push(&entry) }
    }

    fn complete(&mut self, completion: Completion, events: &mut Vec<Event>) -> io::Result<()> {
        match completion.kind {
            Kind::Ignore => {}
            Kind::Wake => self.bell_armed = false,
            Kind::Poke => tracing::warn!("waking a neighbour failed: {}", errno_error(completion.result)),
            Kind::Accept => self.on_accept(completion, events),
            Kind::Recv => self.on_receive(completion, events),
            Kind::Send => self.on_sent(completion, events),
            Kind::FileWrite | Kind::FileSync => self.on_file(completion, events)?,
            Kind::SpliceIn | Kind::Writable => self.on_splice(completion, events),
        }
        Ok(())
    }

    fn on_accept(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let listener = completion.index as u8;
        if !cqueue::more(completion.flags)
            && let Some(listening) = self.listening.iter_mut().find(|listening| listening.listener == listener)
        {
            // Without descriptors or memory it would fail again at once: then the caller says when to go on.
            listening.paused = matches!(-completion.result, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM);
            listening.armed = false;
            if listening.paused {
                events.push(Event::AcceptPaused { listener, errno: -completion.result });
            }
        }
        if completion.result < 0 {
            return;
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let stream = unsafe { OwnedFd::from_raw_fd(completion.result as RawFd) };
        let stream = TcpStream::from(stream);
        // A peer that has gone again has no address, and nothing to say either.
        if let Ok(peer) = stream.peer_addr() {
            events.push(Event::Accepted { listener, stream: stream.into(), peer });
        }
    }

    fn on_receive(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let Some((key, conn)) = self.conns.at_mut(completion.index) else { return };
        debug_assert!(completion.is_for(key), "slots outlive their operations");
        conn.receiving = false;
        conn.more_waits = cqueue::sock_nonempty(completion.flags);
        match completion.result {
            0 => self.begin_close(key, CloseReason::PeerClosed, events),
            failed if failed < 0 && matches!(-failed, libc::EINTR | libc::EAGAIN) => self.rearm.push(key),
            failed if failed < 0 => self.begin_close(key, CloseReason::Failed(-failed), events),
            received => {
                self.stats.received_bytes += received as u64;
                let (conn_id, moved) = (key.to_u64(), conn.reader.moved_bytes);
                let open = conn.phase == Phase::Open;
                let whole = |bytes| {
                    if open {
                        events.push(Event::Frame { conn: conn_id, bytes });
                    }
                };
                // SAFETY: the kernel has written this many bytes to the memory that `spare` named.
                let cut = unsafe { conn.reader.advance(received as usize, &self.memory, whole) };
                self.stats.moved_bytes += conn.reader.moved_bytes - moved;
                let starved = conn.reader.is_starved();
                match cut {
                    Err(error) => {
                        self.stats.bad_frames += 1;
                        self.begin_close(key, CloseReason::BadFrame(error), events);
                    }
                    Ok(()) if !open => self.finish_if_quiet(key, events),
                    Ok(()) if starved => self.starve(key),
                    Ok(()) if self.note_block(key) => self.rearm.push(key),
                    Ok(()) => {}
                }
            }
        }
    }

    /// Submits the next piece of what a connection has to send, or ends it when it is drained.
    pub(crate) fn advance_sending(&mut self, key: Key, events: &mut Vec<Event>) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        conn.listed = false;
        if conn.sending || conn.splicing.is_some() || conn.phase == Phase::Closing {
            return Ok(());
        }
        if matches!(conn.queue.front(), Some(Part::File(_))) {
            self.begin_splice(key, events);
            return Ok(());
        }
        let Some(message) = conn.gather() else {
            if conn.phase == Phase::Draining {
                self.begin_close(key, CloseReason::Asked, events);
            }
            return Ok(());
        };
        conn.sending = true;
        // The kernel itself goes on after a partial send; a file that follows shares the last packet.
        let more = if conn.file_follows() { libc::MSG_MORE } else { 0 };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | more;
        let entry = opcode::SendMsg::new(types::Fd(conn.raw_fd()), message)
            .flags(flags as u32)
            .build()
            .user_data(tag(Kind::Send, key));
        // SAFETY: the message is boxed, and it names bytes of queue entries that are only dropped when the send is back;
        // the slot is kept until then.
        unsafe { self.ring.push(&entry) }
    }

    fn on_sent(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let Some((key, conn)) = self.conns.at_mut(completion.index) else { return };
        debug_assert!(completion.is_for(key), "slots outlive their operations");
        conn.sending = false;
        if completion.result < 0 {
            if !matches!(-completion.result, libc::EINTR | libc::EAGAIN) {
                self.begin_close(key, CloseReason::Failed(-completion.result), events);
                return;
            }
        } else {
            let bytes = completion.result as u64;
            self.stats.sent_bytes += bytes;
            conn.sent(completion.result as usize);
            events.push(Event::Sent { conn: key.to_u64(), bytes });
        }
        if conn.phase == Phase::Closing {
            self.finish_if_quiet(key, events);
        } else if (!conn.queue.is_empty() || conn.phase == Phase::Draining) && !conn.listed {
            conn.listed = true;
            self.to_send.push(key);
        }
    }

    /// Ends a connection at once; what the kernel still holds comes back first.
    pub(crate) fn begin_close(&mut self, key: Key, reason: CloseReason, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase != Phase::Closing {
            // A close that we asked for stays one, whatever the peer does meanwhile.
            if conn.phase == Phase::Open {
                conn.reason = reason;
            }
            conn.phase = Phase::Closing;
            conn.shut_down();
        }
        self.finish_if_quiet(key, events);
    }

    pub(crate) fn finish_if_quiet(&mut self, key: Key, events: &mut Vec<Event>) {
        let quiet = self.conns.get_mut(key).is_some_and(|conn| conn.phase == Phase::Closing && conn.is_quiet());
        if quiet && let Some(conn) = self.conns.remove(key) {
            self.forget_block(&conn);
            events.push(Event::Closed { conn: key.to_u64(), reason: conn.reason });
        }
    }
}

/// The error behind a negative result.
pub(crate) fn errno_error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}

impl Drop for Reactor {
    /// Takes back all memory that the kernel may still write to. What does not come back in time is leaked, which is
    /// better than memory that changes after it was freed.
    fn drop(&mut self) {
        self.stop_listening();
        self.bell.force();
        for key in self.conns.keys() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.phase = Phase::Closing;
                conn.shut_down();
            }
        }
        let mut events = Vec::new();
        for _ in 0..DROP_ROUNDS {
            for key in self.conns.keys() {
                self.finish_if_quiet(key, &mut events);
            }
            if self.conns.len() == 0 && self.files.len() == 0 && !self.bell_armed {
                return;
            }
            let _ = self.ring.enter(Some(DROP_WAIT));
            let mut completions = Vec::new();
            self.ring.reap(&mut completions);
            for completion in completions {
                let _ = self.complete(completion, &mut events);
            }
        }
        tracing::warn!("{} connections and {} file operations never came back", self.conns.len(), self.files.len());
        std::mem::forget(std::mem::replace(&mut self.conns, Slab::new()));
        std::mem::forget(std::mem::replace(&mut self.files, Slab::new()));
        std::mem::forget(std::mem::take(&mut self.bell_value));
    }
}

/// How often, and how long each time, a dropped reactor waits for the kernel.
const DROP_ROUNDS: u32 = 100;
const DROP_WAIT: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
