//! A raw connection of an attacker: any bytes out, frames in, and what became of it in words.
//! Must never touch: what is right.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use coretide_wire::header::decode_response_header;
use coretide_wire::{Message, Reader, encode_request};

/// How long an answer that must come may take: the machine may stand still for minutes while others measure.
pub const PATIENCE: Duration = Duration::from_secs(400);

/// One socket.
pub struct Peer {
    pub stream: TcpStream,
    correlation_id: i32,
}

/// What came instead of a whole frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The broker closed the connection.
    Closed,
    /// Nothing came in time.
    Silent,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Ended::Closed { "the connection was closed" } else { "no answer came" })
    }
}

impl Peer {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Peer, String> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        Ok(Peer { stream, correlation_id: 0 })
    }

    /// Sends bytes as they are; false when the connection is closed.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends what fits into the socket now. `None`: the connection is closed.
    pub fn send_some(&mut self, bytes: &[u8]) -> Option<usize> {
        self.stream.set_nonblocking(true).ok()?;
        let sent = self.stream.write(bytes);
        self.stream.set_nonblocking(false).ok()?;
        match sent {
            Ok(sent) => Some(sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    /// Sends a request; false when the connection is closed.
    pub fn send<M: Message>(&mut self, request: &M, version: i16) -> Result<bool, String> {
        self.correlation_id += 1;
        let frame = encode_request(request, version, self.correlation_id, Some("attacker"));
        Ok(self.send_raw(&frame.map_err(|error| error.to_string())?))
    }

    /// Sends a request and waits for its answer.
    pub fn call<M: Message, R: Message>(&mut self, request: &M, version: i16) -> Result<Result<R, Ended>, String> {
        if !self.send(request, version)? {
            return Ok(Err(Ended::Closed));
        }
        self.answer(version)
    }

    /// The next frame as the answer of that type.
    pub fn answer<R: Message>(&mut self, version: i16) -> Result<Result<R, Ended>, String> {
        let frame = match self.frame(PATIENCE) {
            Ok(frame) => frame,
            Err(ended) => return Ok(Err(ended)),
        };
        let mut reader = Reader::new(&frame);
        let key = R::API_KEY.ok_or("not a response")?;
        decode_response_header(&mut reader, key, version).map_err(|error| format!("a bad header: {error}"))?;
        R::decode(&mut reader, version).map(Ok).map_err(|error| format!("a bad answer: {error}"))
    }

    /// The next frame without its length.
    pub fn frame(&mut self, patience: Duration) -> Result<Bytes, Ended> {
        let deadline = Instant::now() + patience;
        let mut length = [0; 4];
        self.fill(&mut length, deadline)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.fill(&mut frame, deadline)?;
        Ok(Bytes::from(frame))
    }

    fn fill(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Result<(), Ended> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return Err(Ended::Silent);
            }
            match self.stream.read(buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Ended::Silent);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended::Closed),
            }
        }
        Ok(())
    }

    /// Reads and throws away what has arrived.
    pub fn drain(&mut self) {
        let mut buffer = [0; 65536];
        if self.stream.set_nonblocking(true).is_ok() {
            while matches!(self.stream.read(&mut buffer), Ok(read) if read > 0) {}
        }
        // A socket that cannot be set back is closed, which the next call says.
        let _ = self.stream.set_nonblocking(false);
    }

    /// Waits until the broker closes the connection, whatever it sends before; false when it does not.
    pub fn is_closed(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut byte = [0; 4096];
        loop {
            match self.fill(&mut byte, deadline) {
                Ok(()) => {}
                Err(ended) => return ended == Ended::Closed,
            }
        }
    }
}

/// A frame with its length in front.
pub fn framed(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 4);
    out.put_u32(body.len() as u32);
    out.put_slice(body);
    out.freeze()
}

/// A request header without a client id; of version 2 when `flexible`.
pub fn header(api_key: i16, version: i16, flexible: bool) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i16(api_key);
    out.put_i16(version);
    out.put_i32(7);
    out.put_i16(-1);
    if flexible {
        out.put_u8(0);
    }
    out
}

/// An unsigned varint.
pub fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
