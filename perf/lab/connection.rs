//! One socket that never blocks: frames out, frames in, and what each answer belongs to.
//! Must never touch: what the frames mean.

use bytes::Bytes;
use coretide_wire::header::decode_response_header;
use coretide_wire::{Message, Reader, encode_request};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::admin::FRAME_MAX_BYTES;
use crate::lab::sys::Interest;

const CLIENT_ID: &str = "coretide-bench";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The size of the buffer that reads go through.
pub const SCRATCH_BYTES: usize = 256 << 10;
/// A length and a correlation id.
const FRAME_HEAD_BYTES: usize = 4;

/// A request that waits for its answer, with what it carries.
#[derive(Debug)]
pub struct Sent<T> {
    /// When it was handed to the socket, in the engine's nanoseconds.
    pub sent_ns: u64,
    /// The version it was sent in.
    pub version: i16,
    /// What it carries.
    pub what: T,
    correlation_id: i32,
    api_key: i16,
}

/// A connection to one broker.
#[derive(Debug)]
pub struct Connection<T> {
    stream: TcpStream,
    output: VecDeque<Bytes>,
    output_at: usize,
    head: Vec<u8>,
    frame: Vec<u8>,
    frame_bytes: Option<usize>,
    frames: VecDeque<Bytes>,
    waiting: VecDeque<Sent<T>>,
    next_correlation_id: i32,
}

impl<T> Connection<T> {
    /// Connects to HOST:PORT.
    pub fn open(address: &str) -> Result<Connection<T>, String> {
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let mut last = format!("{address}: the name has no address");
        for resolved in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    stream.set_nonblocking(true).map_err(failed)?;
                    return Ok(Connection::new(stream));
                }
                Err(error) => last = failed(error),
            }
        }
        Err(last)
    }

    fn new(stream: TcpStream) -> Connection<T> {
        Connection {
            stream,
            output: VecDeque::new(),
            output_at: 0,
            head: Vec::with_capacity(FRAME_HEAD_BYTES),
            frame: Vec::new(),
            frame_bytes: None,
            frames: VecDeque::new(),
            waiting: VecDeque::new(),
            next_correlation_id: 0,
        }
    }

    /// What to wait for.
    pub fn interest(&self) -> Interest {
        Interest { fd: self.fd(), write: !self.output.is_empty() }
    }

    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Requests that wait for an answer.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// True if everything that was sent has left.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// When the oldest request that waits was sent.
    pub fn oldest_sent_ns(&self) -> Option<u64> {
        self.waiting.front().map(|sent| sent.sent_ns)
    }

    /// Queues a request and writes what the socket takes at once.
    pub fn send<M: Message>(&mut self, request: &M, version: i16, now_ns: u64, what: T) -> Result<(), String> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = encode_request(request, version, correlation_id, Some(CLIENT_ID)).map_err(|e| e.to_string())?;
        let api_key = M::API_KEY.expect("requests have an API key");
        self.waiting.push_back(Sent { sent_ns: now_ns, version, what, correlation_id, api_key });
        self.output.push_back(frame);
        self.write()
    }

    /// Takes back the newest request: it gets no answer (Produce with acks=0).
    pub fn forget_newest(&mut self) -> Option<Sent<T>> {
        self.waiting.pop_back()
    }

    /// Writes what the socket takes.
    pub fn write(&mut self) -> Result<(), String> {
        while let Some(frame) = self.output.front() {
            match self.stream.write(&frame[self.output_at..]) {
                Ok(written) => {
                    self.output_at += written;
                    if self.output_at == frame.len() {
                        self.output.pop_front();
                        self.output_at = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Reads what has come; frames are then taken with [`Connection::next_answer`].
    pub fn read(&mut self, scratch: &mut [u8]) -> Result<(), String> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err("the broker closed the connection".to_string()),
                Ok(count) => {
                    self.take_in(&scratch[..count])?;
                    if count < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let Some(length) = self.frame_bytes else {
                let taken = bytes.len().min(FRAME_HEAD_BYTES - self.head.len());
                self.head.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                if let Ok(head) = <[u8; FRAME_HEAD_BYTES]>::try_from(&self.head[..]) {
                    let length = usize::try_from(i32::from_be_bytes(head)).unwrap_or(usize::MAX);
                    if !(4..=FRAME_MAX_BYTES).contains(&length) {
                        return Err(format!("an answer of {length} bytes: this is no Kafka broker"));
                    }
                    self.head.clear();
                    self.frame_bytes = Some(length);
                    self.frame = Vec::with_capacity(length.min(SCRATCH_BYTES));
                }
                continue;
            };
            let taken = bytes.len().min(length - self.frame.len());
            self.frame.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.frame.len() == length {
                self.frames.push_back(Bytes::from(std::mem::take(&mut self.frame)));
                self.frame_bytes = None;
            }
        }
        Ok(())
    }

    /// The next whole answer: the request it belongs to, and the message in it.
    pub fn next_answer<M: Message>(&mut self) -> Option<Result<(Sent<T>, M), String>> {
        let frame = self.frames.pop_front()?;
        let Some(sent) = self.waiting.pop_front() else {
            return Some(Err("an answer came that nobody asked for".to_string()));
        };
        let mut reader = Reader::new(&frame);
        let read = decode_response_header(&mut reader, sent.api_key, sent.version).map_err(|e| e.to_string());
        let read = read.and_then(|correlation_id| match correlation_id == sent.correlation_id {
            true => M::decode(&mut reader, sent.version).map_err(|e| e.to_string()),
            false => Err(format!("answer {correlation_id} came where {} was due", sent.correlation_id)),
        });
        match read {
            Ok(message) => Some(Ok((sent, message))),
            Err(error) => {
                self.waiting.push_front(sent);
                Some(Err(error))
            }
        }
    }

    /// Ends the connection; what has no answer comes back, oldest first.
    pub fn close(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().map(|sent| sent.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coretide_wire::encode_response;
    use coretide_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
    use std::net::TcpListener;

    fn pair() -> (Connection<u32>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection::open(&listener.local_addr().unwrap().to_string()).unwrap();
        (connection, listener.accept().unwrap().0)
    }

    fn read_some(connection: &mut Connection<u32>) -> Result<(), String> {
        crate::lab::sys::wait(&[connection.interest()], Duration::from_secs(10), &mut Vec::new()).unwrap();
        connection.read(&mut [0; 7])
    }

    #[test]
    fn answers_find_their_requests_however_they_are_cut() {
        let (mut connection, mut broker) = pair();
        for n in 0..2 {
            connection.send(&HeartbeatRequest::default(), 4, 100 + n, n as u32).unwrap();
        }
        assert_eq!((connection.in_flight(), connection.is_flushed()), (2, true));
        let mut bytes = Vec::new();
        for n in 0..2 {
            let answer = HeartbeatResponse { throttle_time_ms: 0, error_code: n as i16 };
            bytes.extend_from_slice(&encode_response(&answer, 4, n).unwrap());
        }
        let mut answers = Vec::new();
        for byte in bytes {
            broker.write_all(&[byte]).unwrap();
            read_some(&mut connection).unwrap();
            while let Some(answer) = connection.next_answer::<HeartbeatResponse>() {
                let (sent, message) = answer.unwrap();
                answers.push((sent.what, sent.sent_ns, message.error_code));
            }
        }
        assert_eq!(answers, [(0, 100, 0), (1, 101, 1)]);
    }

    #[test]
    fn a_closed_connection_gives_back_what_it_carried() {
        let (mut connection, broker) = pair();
        connection.send(&HeartbeatRequest::default(), 4, 0, 7).unwrap();
        drop(broker);
        while read_some(&mut connection).is_ok() {}
        assert_eq!(connection.close().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn what_is_no_kafka_is_said_to_be_none() {
        let (mut connection, mut broker) = pair();
        broker.write_all(b"HTTP/1.1 400").unwrap();
        assert!(read_some(&mut connection).unwrap_err().contains("no Kafka broker"));
    }
}
