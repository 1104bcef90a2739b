//! One socket to one broker: versions negotiated at the start, requests sent and answers read in order.
//! Must never touch: which broker a request belongs to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coretide_model::ErrorCode;
use coretide_wire::header::decode_response_header;
use coretide_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use coretide_wire::{ApiKey, Message, Reader, encode_request};

use crate::error::ClientError;
use crate::request::Request;

/// The largest answer that is read.
pub const RESPONSE_MAX_BYTES: usize = 256 << 20;
/// How much of an answer is made room for before its bytes have come.
const READ_STEP_BYTES: usize = 1 << 20;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    address: String,
    client_id: String,
    stream: TcpStream,
    next_correlation_id: i32,
    versions: BTreeMap<i16, (i16, i16)>,
    expected: VecDeque<Expected>,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Expected {
    correlation_id: i32,
    api_key: i16,
    version: i16,
}

impl Connection {
    /// Connects to `address` (HOST:PORT), and asks which versions the broker serves.
    pub fn open(address: &str, client_id: &str, timeout: Duration) -> Result<Connection, ClientError> {
        let deadline = Instant::now() + timeout;
        let mut connection = Connection::open_raw(address, client_id, timeout)?;
        match connection.negotiate(ApiVersionsRequest::NEWEST, deadline) {
            // A broker that closes on a version it does not know is asked again in the oldest one.
            Err(ClientError::Lost { .. }) => {
                connection = Connection::open_raw(address, client_id, timeout)?;
                connection.negotiate(0, deadline)?;
            }
            other => other?,
        }
        Ok(connection)
    }

    fn open_raw(address: &str, client_id: &str, timeout: Duration) -> Result<Connection, ClientError> {
        let stream = connect(address, timeout)?;
        Ok(Connection {
            address: address.to_string(),
            client_id: client_id.to_string(),
            stream,
            next_correlation_id: 0,
            versions: BTreeMap::new(),
            expected: VecDeque::new(),
        })
    }

    fn negotiate(&mut self, version: i16, deadline: Instant) -> Result<(), ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: if version >= 3 { "coretide".into() } else { String::new() },
            client_software_version: if version >= 3 { env!("CARGO_PKG_VERSION").into() } else { String::new() },
            ..ApiVersionsRequest::default()
        };
        self.send_as(&request, version)?;
        let frame = self.read_frame("ApiVersions", deadline)?;
        let mut reader = Reader::new(&frame);
        let expected = self.take_expected(&mut reader)?;
        let refused = frame.get(4..6) == Some(&(ErrorCode::UnsupportedVersion as i16).to_be_bytes());
        // A refusal comes in version 0 whatever was asked (KIP-511).
        let body_version = if refused { 0 } else { expected.version };
        let response = ApiVersionsResponse::decode(&mut reader, body_version)
            .map_err(|error| ClientError::decode(&self.address, error))?;
        if refused && version > 0 {
            let key = ApiKey::ApiVersions.code();
            let theirs = response.api_keys.iter().find(|api| api.api_key == key).map_or(0, |api| api.max_version);
            return self.negotiate(theirs.clamp(0, version - 1), deadline);
        }
        let what = || format!("asking {} for its API versions", self.address);
        ClientError::check(response.error_code, None, what)?;
        self.versions = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(())
    }

    /// Where it leads.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The versions that the broker advertises, by API key.
    pub fn advertised(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.versions
    }

    /// The version to send this request in: the newest that both sides speak.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let theirs = self.versions.get(&R::API.code()).copied();
        let (min, max) = theirs.unwrap_or((i16::MAX, i16::MIN));
        let version = R::NEWEST.min(max);
        if version < min.max(R::MIN_VERSION) {
            return Err(ClientError::Unsupported {
                address: self.address.clone(),
                api: R::API.name(),
                ours_min: R::MIN_VERSION,
                ours_max: R::NEWEST,
                theirs,
            });
        }
        Ok(version)
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, request: &R, timeout: Duration) -> Result<R::Response, ClientError> {
        self.send(request)?;
        self.receive::<R>(timeout)
    }

    /// Sends a request. Its answer is to be fetched with [`Connection::receive`], in the order of sending.
    pub fn send<R: Request>(&mut self, request: &R) -> Result<(), ClientError> {
        let version = self.version::<R>()?;
        self.send_as(request, version)
    }

    /// Sends a request that gets no answer (Produce with acks=0).
    pub fn send_unanswered<R: Request>(&mut self, request: &R) -> Result<(), ClientError> {
        self.send(request)?;
        self.expected.pop_back();
        Ok(())
    }

    fn send_as<M: Message>(&mut self, request: &M, version: i16) -> Result<(), ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = encode_request(request, version, correlation_id, Some(&self.client_id))?;
        self.stream.write_all(&frame).map_err(|error| self.lost(&error))?;
        let api_key = M::API_KEY.expect("requests have an API key");
        self.expected.push_back(Expected { correlation_id, api_key, version });
        Ok(())
    }

    /// Waits for the answer to the oldest request that has none yet.
    pub fn receive<R: Request>(&mut self, timeout: Duration) -> Result<R::Response, ClientError> {
        let frame = self.read_frame(R::API.name(), Instant::now() + timeout)?;
        let mut reader = Reader::new(&frame);
        let expected = self.take_expected(&mut reader)?;
        assert_eq!(expected.api_key, R::API.code(), "answers are fetched in the order of the requests");
        R::Response::decode(&mut reader, expected.version).map_err(|error| ClientError::decode(&self.address, error))
    }

    /// Matches a response's header with the oldest request.
    fn take_expected(&mut self, reader: &mut Reader<'_>) -> Result<Expected, ClientError> {
        let expected = self.expected.pop_front().expect("a response is read only after a request was sent");
        let correlation_id = decode_response_header(reader, expected.api_key, expected.version)
            .map_err(|error| ClientError::decode(&self.address, error))?;
        if correlation_id != expected.correlation_id {
            let reason = format!("answer {correlation_id} came where {} was due", expected.correlation_id);
            return Err(ClientError::Protocol { address: self.address.clone(), reason });
        }
        Ok(expected)
    }

    fn read_frame(&mut self, request: &'static str, deadline: Instant) -> Result<Bytes, ClientError> {
        let begun = Instant::now();
        let mut length = [0; 4];
        self.read_exact(&mut length, request, begun, deadline)?;
        let length = i32::from_be_bytes(length);
        let length = usize::try_from(length).ok().filter(|&length| length <= RESPONSE_MAX_BYTES).ok_or_else(|| {
            let reason = format!("a length of {length} bytes");
            ClientError::Protocol { address: self.address.clone(), reason }
        })?;
        let mut frame = Vec::new();
        while frame.len() < length {
            let from = frame.len();
            frame.resize(length.min(from + READ_STEP_BYTES), 0);
            self.read_exact(&mut frame[from..], request, begun, deadline)?;
        }
        Ok(Bytes::from(frame))
    }

    fn read_exact(
        &mut self,
        mut buffer: &mut [u8],
        request: &'static str,
        begun: Instant,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::Timeout { address: self.address.clone(), request, waited: begun.elapsed() });
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| self.lost(&error))?;
            match self.stream.read(buffer) {
                Ok(0) => {
                    let reason = format!("the broker closed it instead of answering {request}");
                    return Err(ClientError::Lost { address: self.address.clone(), reason });
                }
                Ok(read) => buffer = &mut buffer[read..],
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }

    fn lost(&self, error: &std::io::Error) -> ClientError {
        ClientError::Lost { address: self.address.clone(), reason: words(error) }
    }
}

/// A system error without Rust's decoration.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_string(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out".to_string(),
        _ => error.to_string(),
    }
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, ClientError> {
    let wrong = || ClientError::Address { address: address.to_string() };
    let (_, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    let failed = |reason: String| ClientError::Connect { address: address.to_string(), reason };
    let resolved: Vec<SocketAddr> = address.to_socket_addrs().map_err(|error| failed(error.to_string()))?.collect();
    let mut last = failed("the name has no address".to_string());
    for socket_address in resolved {
        match TcpStream::connect_timeout(&socket_address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|error| failed(words(&error)))?;
                stream.set_write_timeout(Some(timeout)).map_err(|error| failed(words(&error)))?;
                return Ok(stream);
            }
            Err(error) => last = failed(words(&error)),
        }
    }
    Err(last)
}
