//! Request and response headers.
//!
//! The client id is an int16 nullable string in every header version, and the header of an ApiVersions response is
//! always version 0, so that a client can read it before it knows anything about the broker (KIP-511).

use crate::error::DecodeError;
use crate::messages::api_key::ApiKey;
use crate::reader::Reader;
use crate::writer::Writer;

/// A request's header, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeaderView<'a> {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// The client's number for the request, to be returned.
    pub correlation_id: i32,
    /// Who the client says it is. Bytes that are not UTF-8 count as none: it is only a label.
    pub client_id: Option<&'a str>,
}

/// A request's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// The client's number for the request, to be returned.
    pub correlation_id: i32,
    /// Who the client says it is.
    pub client_id: Option<String>,
}

impl From<RequestHeaderView<'_>> for RequestHeader {
    fn from(view: RequestHeaderView<'_>) -> RequestHeader {
        RequestHeader {
            api_key: view.api_key,
            api_version: view.api_version,
            correlation_id: view.correlation_id,
            client_id: view.client_id.map(str::to_owned),
        }
    }
}

/// True when bodies (and request headers) of the version are flexible (KIP-482). False for unknown keys.
pub fn is_flexible(api_key: i16, version: i16) -> bool {
    ApiKey::from_code(api_key).is_some_and(|key| version >= key.flexible_from())
}

/// The version of a response's header: 1 (with a tag section) for flexible versions, but always 0 for ApiVersions.
pub fn response_header_version(api_key: i16, version: i16) -> i16 {
    i16::from(api_key != ApiKey::ApiVersions.code() && is_flexible(api_key, version))
}

/// Reads a request's header; the reader then stands at the body.
///
/// Of an ApiVersions request only the first eight bytes must be well formed when its version is newer than any we know:
/// it is to be answered whatever follows (KIP-511), and its header may have a form of its own.
pub fn decode_request_header_view<'a>(r: &mut Reader<'a>) -> Result<RequestHeaderView<'a>, DecodeError> {
    let (api_key, api_version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
    let mut header = RequestHeaderView { api_key, api_version, correlation_id, client_id: None };
    if api_key == ApiKey::ApiVersions.code() && api_version > ApiKey::ApiVersions.defined_versions().1 {
        return Ok(header);
    }
    let length = r.i16()?;
    if let Ok(length) = usize::try_from(length) {
        header.client_id = std::str::from_utf8(r.take(length)?).ok();
    }
    if is_flexible(api_key, api_version) {
        r.skip_tags()?;
    }
    Ok(header)
}

/// As [`decode_request_header_view`], but owned.
pub fn decode_request_header(r: &mut Reader<'_>) -> Result<RequestHeader, DecodeError> {
    decode_request_header_view(r).map(RequestHeader::from)
}

/// Writes a request's header.
pub fn encode_request_header(w: &mut Writer, header: &RequestHeader) -> Result<(), crate::error::EncodeError> {
    w.i16(header.api_key);
    w.i16(header.api_version);
    w.i32(header.correlation_id);
    w.nullable_string(false, header.client_id.as_deref())?;
    if is_flexible(header.api_key, header.api_version) {
        w.unsigned_varint(0);
    }
    Ok(())
}

/// Writes a response's header.
pub fn encode_response_header(w: &mut Writer, api_key: i16, version: i16, correlation_id: i32) {
    w.i32(correlation_id);
    if response_header_version(api_key, version) >= 1 {
        w.unsigned_varint(0);
    }
}

/// Reads a response's header and returns its correlation id; the reader then stands at the body.
pub fn decode_response_header(r: &mut Reader<'_>, api_key: i16, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = r.i32()?;
    if response_header_version(api_key, version) >= 1 {
        r.skip_tags()?;
    }
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_client_id_is_an_int16_string_in_flexible_headers_too() {
        let frame = Bytes::from_static(b"\x00\x03\x00\x0c\x00\x00\x00\x07\x00\x02ab\x01\x05\x01xBODY");
        let mut r = Reader::new(&frame);
        let header = decode_request_header(&mut r).unwrap();
        assert_eq!(
            header,
            RequestHeader { api_key: 3, api_version: 12, correlation_id: 7, client_id: Some("ab".into()) }
        );
        assert_eq!(r.take(4).unwrap(), b"BODY");
    }

    #[test]
    fn headers_survive_a_round_trip_in_both_forms() {
        for (api_key, api_version) in [(18, 0), (18, 3), (3, 8), (3, 9)] {
            for client_id in [None, Some(String::new()), Some("me".to_owned())] {
                let header = RequestHeader { api_key, api_version, correlation_id: -5, client_id };
                let mut w = Writer::new();
                encode_request_header(&mut w, &header).unwrap();
                let frame = w.into_bytes();
                let mut r = Reader::new(&frame);
                assert_eq!(decode_request_header(&mut r), Ok(header));
                assert_eq!(r.remaining(), 0);
            }
        }
    }

    #[test]
    fn an_api_versions_response_header_has_no_tags_at_any_version() {
        for version in 0..=5 {
            assert_eq!(response_header_version(18, version), 0);
        }
        assert_eq!((response_header_version(3, 8), response_header_version(3, 9)), (0, 1));
    }

    #[test]
    fn an_api_versions_request_from_the_future_needs_only_its_first_eight_bytes() {
        let frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 1, 0xff]);
        let header = decode_request_header(&mut Reader::new(&frame)).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (99, 1));
        let cut = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0]);
        assert!(decode_request_header(&mut Reader::new(&cut)).is_err());
    }

    #[test]
    fn a_client_id_that_is_not_text_is_no_reason_to_refuse() {
        let frame = Bytes::from_static(&[0, 3, 0, 0, 0, 0, 0, 1, 0, 2, 0xc3, 0x28]);
        assert_eq!(decode_request_header(&mut Reader::new(&frame)).unwrap().client_id, None);
    }
}
