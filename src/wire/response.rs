//! Whole frames of requests and responses whose bodies are generated messages: length, header, body.
//! Must never touch: records on their way to a consumer (that is `fetch`).

use crate::error::EncodeError;
use crate::header::{RequestHeader, encode_request_header, encode_response_header};
use crate::message::Message;
use crate::writer::Writer;
use bytes::Bytes;

/// The bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// A response's frame, length included.
pub fn encode_response<M: Message>(message: &M, version: i16, correlation_id: i32) -> Result<Bytes, EncodeError> {
    let api_key = M::API_KEY.expect("responses have an API key");
    let mut w = Writer::new();
    w.i32(0);
    encode_response_header(&mut w, api_key, version, correlation_id);
    message.encode(&mut w, version)?;
    finish_frame(w)
}

/// A request's frame, length included.
pub fn encode_request<M: Message>(
    message: &M,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Bytes, EncodeError> {
    let api_key = M::API_KEY.expect("requests have an API key");
    let mut w = Writer::new();
    w.i32(0);
    let client_id = client_id.map(str::to_owned);
    encode_request_header(&mut w, &RequestHeader { api_key, api_version: version, correlation_id, client_id })?;
    message.encode(&mut w, version)?;
    finish_frame(w)
}

/// Fills in the length that was left open at the start.
fn finish_frame(mut w: Writer) -> Result<Bytes, EncodeError> {
    let length = w.len() - LENGTH_BYTES;
    w.patch_i32(0, i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?);
    Ok(w.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

    #[test]
    fn frames_start_with_the_length_of_what_follows() {
        let response = HeartbeatResponse { throttle_time_ms: 1, error_code: 27 };
        let frame = encode_response(&response, 4, 9).unwrap();
        assert_eq!(&frame[..], [0, 0, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 27, 0]);
        let frame = encode_request(&HeartbeatRequest::default(), 0, 7, Some("c")).unwrap();
        assert_eq!(&frame[..], b"\0\0\0\x13\0\x0c\0\0\0\0\0\x07\0\x01c\0\0\0\0\0\0\0\0");
    }
}
