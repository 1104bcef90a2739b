//! One connection: what it receives into, what it has to send, and which of its operations the kernel still holds.
//! Must never touch: rings; the reactor submits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bytes::{Buf, Bytes};

use crate::frames::FrameReader;
use crate::splice::{FilePart, Splicing};

/// Pieces of memory that one send names (far below the kernel's limit of 1,024).
pub const SEND_PIECES_MAX: usize = 64;
/// Bytes that one send names, so that progress is reported at least this often and little memory is held per call.
pub const SEND_BYTES_MAX: usize = 1 << 20;
/// How long a peer may take no byte of what is still to be sent before a close.
const DRAIN_TIMEOUT_MS: i32 = 10_000;

/// A piece of a response.
pub enum Part {
    /// From memory.
    Bytes(Bytes),
    /// From a file, without passing through user space.
    File(FilePart),
}

/// How far a close has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Nothing more is read; what is queued goes out first.
    Draining,
    /// Shut down; waits for the kernel to give back what it holds.
    Closing,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    PeerClosed,
    /// We were told to.
    Asked,
    /// The stream made no sense.
    BadFrame(crate::frames::FrameError),
    /// Its frame stayed incomplete while others waited for the memory.
    SlowFrame,
    /// The system reported an error number.
    Failed(i32),
}

/// The message that the kernel reads while a send is in flight. Boxed, so that its addresses stay.
struct Message {
    header: libc::msghdr,
    pieces: [libc::iovec; SEND_PIECES_MAX],
}

pub(crate) struct Conn {
    pub(crate) fd: OwnedFd,
    pub(crate) reader: FrameReader,
    /// What of an incomplete frame in its block counts against all of them.
    pub(crate) held_in_block: usize,
    pub(crate) receiving: bool,
    /// More had arrived than the last receive took.
    pub(crate) more_waits: bool,
    pub(crate) paused: bool,
    pub(crate) phase: Phase,
    pub(crate) reason: CloseReason,
    pub(crate) queue: VecDeque<Part>,
    pub(crate) sending: bool,
    /// On the list of connections with something to send.
    pub(crate) listed: bool,
    pub(crate) splicing: Option<Splicing>,
    message: Option<Box<Message>>,
}

impl Conn {
    pub(crate) fn new(fd: OwnedFd, frame_bytes_max: usize) -> Conn {
        Conn {
            fd,
            reader: FrameReader::new(frame_bytes_max),
            held_in_block: 0,
            receiving: false,
            more_waits: false,
            paused: false,
            phase: Phase::Open,
            reason: CloseReason::Asked,
            queue: VecDeque::new(),
            sending: false,
            listed: false,
            splicing: None,
            message: None,
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// True when a new receive may be submitted.
    pub(crate) fn may_receive(&self) -> bool {
        self.phase == Phase::Open && !self.receiving && !self.paused && !self.reader.is_starved()
    }

    /// True when the kernel holds nothing of this connection.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.receiving && !self.sending && self.splicing.is_none()
    }

    /// Gathers the memory pieces at the front of the queue into one message; `None` when there is none in front.
    pub(crate) fn gather(&mut self) -> Option<*const libc::msghdr> {
        let message = self.message.get_or_insert_with(|| {
            // SAFETY: all zeros is a valid msghdr and a valid iovec: no memory is named.
            unsafe { Box::new(std::mem::zeroed()) }
        });
        let (mut pieces, mut bytes) = (0, 0);
        for part in &self.queue {
            let Part::Bytes(part) = part else { break };
            if pieces == SEND_PIECES_MAX || bytes >= SEND_BYTES_MAX {
                break;
            }
            let len = part.len().min(SEND_BYTES_MAX - bytes);
            message.pieces[pieces] = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: len };
            pieces += 1;
            bytes += len;
        }
        if pieces == 0 {
            return None;
        }
        message.header.msg_iov = message.pieces.as_mut_ptr();
        message.header.msg_iovlen = pieces as _;
        Some(&raw const message.header)
    }

    /// True when a file follows what was just gathered, so the kernel may wait for more before it sends a packet.
    pub(crate) fn file_follows(&self) -> bool {
        self.queue.iter().take(SEND_PIECES_MAX).any(|part| matches!(part, Part::File(_)))
    }

    /// Drops `bytes` that were sent from the front of the queue.
    pub(crate) fn sent(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let Some(Part::Bytes(front)) = self.queue.front_mut() else { return };
            if front.len() > bytes {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.queue.pop_front();
        }
    }

    /// Stops both directions; operations in flight come back soon after.
    pub(crate) fn shut_down(&self) {
        // SAFETY: an open descriptor of ours; a peer that is gone already makes it fail, which is fine.
        unsafe { libc::shutdown(self.raw_fd(), libc::SHUT_RDWR) };
    }

    /// Limits how long the peer may take for what is queued.
    pub(crate) fn limit_drain(&self) {
        set_option(self.raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, DRAIN_TIMEOUT_MS);
    }
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) {
    // SAFETY: the option's value is one int that outlives the call.
    let done =
        unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as libc::socklen_t) };
    if done != 0 {
        tracing::debug!("socket option {name} was refused: {}", io::Error::last_os_error());
    }
}

/// Small responses leave at once; they are gathered per turn already.
pub(crate) fn prepare_socket(fd: RawFd, (send_bytes, receive_bytes): (Option<i32>, Option<i32>)) {
    for (name, bytes) in [(libc::SO_SNDBUF, send_bytes), (libc::SO_RCVBUF, receive_bytes)] {
        if let Some(bytes) = bytes {
            set_option(fd, libc::SOL_SOCKET, name, bytes);
        }
    }
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
}
