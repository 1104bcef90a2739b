//! Bytes from a file to a socket without passing through user space: file to pipe on a worker of the ring, pipe to
//! socket by a splice that does not block. Pipes are pooled.
//! Must never touch: which bytes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::{opcode, types};

use crate::conn::{CloseReason, Part, Phase};
use crate::reactor::{Event, Reactor};
use crate::ring::{Completion, Kind, tag};
use crate::slab::Key;

/// Pipes of one thread; a transfer that finds none waits for one.
pub const PIPES_MAX: usize = 32;
/// Bytes that a pipe is asked to hold. The system gives an unprivileged user 64 MiB of pipes in all.
const PIPE_BYTES: i32 = 512 * 1024;

/// A range of a file that is open for reading through the page cache.
#[derive(Clone)]
pub struct FilePart {
    /// The file; stays open until the range is sent.
    pub file: Arc<File>,
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub len: u32,
}

pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    pub(crate) bytes: u32,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let mut ends = [0 as RawFd; 2];
        // SAFETY: two valid places for descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors are new and nobody else owns them.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: plain integers. A refusal leaves the default size of 64 KiB, which only means more rounds.
        let grown = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        let bytes = if grown > 0 { grown as u32 } else { 64 * 1024 };
        Ok(Pipe { read, write, bytes })
    }

    pub(crate) fn write_end(&self) -> RawFd {
        self.write.as_raw_fd()
    }

    /// Moves up to `len` bytes to `socket` without blocking; `more`: other bytes follow at once.
    pub(crate) fn drain_to(&self, socket: RawFd, len: u32, more: bool) -> io::Result<u32> {
        let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
        let null = std::ptr::null_mut();
        // SAFETY: open descriptors, no offsets.
        let moved = unsafe { libc::splice(self.read.as_raw_fd(), null, socket, null, len as usize, flags) };
        if moved < 0 { Err(io::Error::last_os_error()) } else { Ok(moved as u32) }
    }
}

/// The pipes of one thread.
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    made: usize,
}

impl Pipes {
    pub(crate) const fn new() -> Pipes {
        Pipes { free: Vec::new(), made: 0 }
    }

    /// A pipe, if one is free or may still be made.
    pub(crate) fn take(&mut self) -> io::Result<Option<Pipe>> {
        if let Some(pipe) = self.free.pop() {
            return Ok(Some(pipe));
        }
        if self.made >= PIPES_MAX {
            return Ok(None);
        }
        let pipe = Pipe::new()?;
        self.made += 1;
        Ok(Some(pipe))
    }

    /// Takes back an empty pipe.
    pub(crate) fn put(&mut self, pipe: Pipe) {
        self.free.push(pipe);
    }

    /// Closes a pipe that may still hold bytes.
    pub(crate) fn discard(&mut self, pipe: Pipe) {
        drop(pipe);
        self.made -= 1;
    }
}

/// A file range on its way to a socket.
pub(crate) struct Splicing {
    pub(crate) pipe: Pipe,
    pub(crate) part: FilePart,
    /// Bytes in the pipe.
    pub(crate) filled: u32,
    /// The kernel holds a splice into the pipe, or a poll of the socket.
    pub(crate) in_flight: bool,
}

/// Reads from the file when no bytes are in the pipe, else moves what is there; ends the part when it is through.
impl Reactor {
    pub(crate) fn begin_splice(&mut self, key: Key, events: &mut Vec<Event>) {
        let pipe = match self.pipes.take() {
            Ok(Some(pipe)) => pipe,
            Ok(None) => {
                self.wants_pipe.push_back(key);
                return;
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EMFILE);
                self.begin_close(key, CloseReason::Failed(errno), events);
                return;
            }
        };
        let Some(conn) = self.conns.get_mut(key) else { return self.pipes.put(pipe) };
        let Some(Part::File(part)) = conn.queue.pop_front() else { return self.pipes.put(pipe) };
        conn.splicing = Some(Splicing { pipe, part, filled: 0, in_flight: false });
        self.fill_pipe(key, events);
    }

    fn fill_pipe(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(splicing) = &mut conn.splicing else { return };
        splicing.in_flight = true;
        let len = splicing.part.len.min(splicing.pipe.bytes);
        let from = types::Fd(splicing.part.file.as_raw_fd());
        let entry = opcode::Splice::new(from, splicing.part.at as i64, types::Fd(splicing.pipe.write_end()), -1, len)
            .flags(libc::SPLICE_F_MOVE)
            .build()
            .user_data(tag(Kind::SpliceIn, key));
        // SAFETY: names no memory; file and pipe stay open in the connection's slot until the completion.
        if unsafe { self.ring.push(&entry) }.is_err() {
            splicing.in_flight = false;
            self.end_splice(key, Some(libc::EIO), events);
        }
    }

    pub(crate) fn on_splice(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let Some((key, conn)) = self.conns.at_mut(completion.index) else { return };
        debug_assert!(completion.is_for(key), "slots outlive their operations");
        let Some(splicing) = &mut conn.splicing else { return };
        splicing.in_flight = false;
        if conn.phase == Phase::Closing {
            return self.end_splice(key, None, events);
        }
        if completion.kind == Kind::SpliceIn {
            match completion.result {
                // The file is shorter than promised: the response cannot be finished.
                0 => return self.end_splice(key, Some(libc::EIO), events),
                failed if failed < 0 => return self.end_splice(key, Some(-failed), events),
                moved => {
                    splicing.filled = moved as u32;
                    splicing.part.at += moved as u64;
                    splicing.part.len -= moved as u32;
                }
            }
        }
        self.drain_pipe(key, events);
    }

    fn drain_pipe(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let fd = conn.raw_fd();
        let more_queued = !conn.queue.is_empty();
        let Some(splicing) = &mut conn.splicing else { return };
        while splicing.filled > 0 {
            let more = more_queued || splicing.part.len > 0;
            match splicing.pipe.drain_to(fd, splicing.filled, more) {
                Ok(moved) => {
                    splicing.filled -= moved;
                    self.stats.spliced_bytes += u64::from(moved);
                    events.push(Event::Sent { conn: key.to_u64(), bytes: u64::from(moved) });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.await_writable(key, events),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    return self.end_splice(key, Some(errno), events);
                }
            }
        }
        if splicing.part.len > 0 {
            self.fill_pipe(key, events);
        } else {
            self.end_splice(key, None, events);
        }
    }

    fn await_writable(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let fd = types::Fd(conn.raw_fd());
        let Some(splicing) = &mut conn.splicing else { return };
        splicing.in_flight = true;
        let entry = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build().user_data(tag(Kind::Writable, key));
        // SAFETY: names no memory; the socket stays open in the connection's slot until the completion.
        if unsafe { self.ring.push(&entry) }.is_err() {
            splicing.in_flight = false;
            self.end_splice(key, Some(libc::EIO), events);
        }
    }

    /// Ends the transfer; `failed`: the connection cannot go on, since a part of a response is missing.
    fn end_splice(&mut self, key: Key, failed: Option<i32>, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(splicing) = conn.splicing.take() else { return };
        if splicing.filled == 0 && failed.is_none() {
            self.pipes.put(splicing.pipe);
        } else {
            self.pipes.discard(splicing.pipe);
        }
        if !conn.listed {
            conn.listed = true;
            self.to_send.push(key);
        }
        if let Some(errno) = failed {
            self.begin_close(key, CloseReason::Failed(errno), events);
        } else {
            self.finish_if_quiet(key, events);
        }
        while let Some(next) = self.wants_pipe.pop_front() {
            if let Some(conn) = self.conns.get_mut(next) {
                if !conn.listed {
                    conn.listed = true;
                    self.to_send.push(next);
                }
                break;
            }
        }
    }
}
