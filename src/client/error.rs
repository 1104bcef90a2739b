//! What can go wrong between a client and its brokers, in words that say what to do.
//! Must never touch: the command line's flags and exit codes.

use std::time::Duration;

use coretide_model::ErrorCode;
use coretide_wire::{DecodeError, EncodeError};

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No address to begin with, or one that is not HOST:PORT.
    #[error("'{address}' is not a broker address: HOST:PORT is expected, as in 127.0.0.1:9092")]
    Address { address: String },
    /// No connection came about. Nothing was sent.
    #[error("could not connect to {address}: {reason}; is the broker running there?")]
    Connect { address: String, reason: String },
    /// The connection ended after a request was sent: it may or may not have had its effect.
    #[error("the connection to {address} was lost: {reason}")]
    Lost { address: String, reason: String },
    /// No answer in time: the request may or may not have had its effect.
    #[error("{address} did not answer {request} within {} ms; it may be overloaded, or waiting for something", waited.as_millis())]
    Timeout { address: String, request: &'static str, waited: Duration },
    /// The broker serves no version of the API that this client speaks.
    #[error("{address} serves {api} {}, this client needs {ours_min} to {ours_max}", theirs_text(theirs))]
    Unsupported { address: String, api: &'static str, ours_min: i16, ours_max: i16, theirs: Option<(i16, i16)> },
    /// The broker's bytes make no sense.
    #[error("{address} sent something that is not a Kafka answer: {reason}; is this the port of a Kafka listener?")]
    Protocol { address: String, reason: String },
    /// A request that cannot be written, for example because a name is too long.
    #[error("the request cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The broker refused.
    #[error("{what}: {}", broker_text(*code, message.as_deref()))]
    Broker { what: String, code: i16, message: Option<String> },
    /// Retrying did not help in time.
    #[error("gave up after {} ms: {last}", waited.as_millis())]
    GaveUp { waited: Duration, last: Box<ClientError> },
    /// A batch from the broker that is damaged.
    #[error("{topic}-{partition} holds a damaged batch at offset {offset}: {reason}")]
    Damaged { topic: String, partition: i32, offset: i64, reason: String },
    /// A call that makes no sense, for example a partition that the topic does not have.
    #[error("{0}")]
    Usage(String),
}

fn theirs_text(theirs: &Option<(i16, i16)>) -> String {
    match theirs {
        Some((min, max)) => format!("in versions {min} to {max}"),
        None => "in no version".to_string(),
    }
}

fn broker_text(code: i16, message: Option<&str>) -> String {
    let known = ErrorCode::from_code(code);
    let name = known.map_or_else(|| format!("error {code}"), |code| code.name().to_string());
    let advice = known.and_then(advice);
    match (message.filter(|message| !message.is_empty()), advice) {
        (Some(message), Some(advice)) => format!("{message} ({name}); {advice}"),
        (Some(message), None) => format!("{message} ({name})"),
        (None, Some(advice)) => format!("{name}; {advice}"),
        (None, None) => name,
    }
}

/// What to do about the errors that people meet most.
fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => "create the topic first, or check its name",
        ErrorCode::TopicAlreadyExists => "choose another name, or alter the existing topic",
        ErrorCode::MessageTooLarge => "send smaller records, or raise the topic's max.message.bytes",
        ErrorCode::NonEmptyGroup => "stop the group's members first",
        ErrorCode::OffsetOutOfRange => "the offset was deleted or never existed; begin at another one",
        ErrorCode::InvalidReplicationFactor => "ask for at most as many replicas as there are brokers",
        ErrorCode::NotEnoughReplicas => "too few replicas are in sync for the topic's min.insync.replicas",
        ErrorCode::InvalidTimestamp => "the record's timestamp lies too far from the broker's clock",
        ErrorCode::IllegalSaslState | ErrorCode::SaslAuthenticationFailed => "this listener asks for a login",
        _ => return None,
    })
}

impl ClientError {
    /// A refusal by the broker, unless `code` is 0.
    pub fn check(code: i16, message: Option<String>, what: impl FnOnce() -> String) -> Result<(), ClientError> {
        if code == ErrorCode::None as i16 {
            return Ok(());
        }
        Err(ClientError::Broker { what: what(), code, message })
    }

    pub(crate) fn decode(address: &str, error: DecodeError) -> ClientError {
        ClientError::Protocol { address: address.to_string(), reason: error.to_string() }
    }

    /// The broker's error code, if it was the broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } => ErrorCode::from_code(*code),
            ClientError::GaveUp { last, .. } => last.code(),
            _ => None,
        }
    }

    /// True when the broker was not reached, or not any more.
    pub fn is_connection(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Lost { .. } | ClientError::Timeout { .. } => true,
            ClientError::GaveUp { last, .. } => last.is_connection(),
            _ => false,
        }
    }

    /// True when the request certainly had no effect and may be sent again.
    pub fn is_retriable_always(&self) -> bool {
        match self {
            ClientError::Connect { .. } => true,
            ClientError::Broker { .. } => self.code().is_some_and(ErrorCode::is_retriable),
            _ => false,
        }
    }

    /// True when a request that may safely be repeated is worth repeating.
    pub fn is_retriable(&self) -> bool {
        self.is_retriable_always() || matches!(self, ClientError::Lost { .. } | ClientError::Timeout { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let refused =
            ClientError::Connect { address: "127.0.0.1:9092".into(), reason: "connection refused".into() }.to_string();
        assert_eq!(refused, "could not connect to 127.0.0.1:9092: connection refused; is the broker running there?");
        let broker = |code, message: Option<&str>| {
            ClientError::Broker { what: "topic 'a'".into(), code, message: message.map(str::to_string) }.to_string()
        };
        assert_eq!(broker(3, None), "topic 'a': UNKNOWN_TOPIC_OR_PARTITION; create the topic first, or check its name");
        assert_eq!(broker(40, Some("bad value")), "topic 'a': bad value (INVALID_CONFIG)");
        assert_eq!(broker(9999, None), "topic 'a': error 9999");
    }

    #[test]
    fn what_may_be_repeated_is_told_apart() {
        let lost = ClientError::Lost { address: "a".into(), reason: "b".into() };
        assert!(lost.is_retriable() && !lost.is_retriable_always() && lost.is_connection());
        let not_leader = ClientError::Broker { what: String::new(), code: 6, message: None };
        assert!(not_leader.is_retriable_always() && !not_leader.is_connection());
        let gave_up = ClientError::GaveUp { waited: Duration::from_secs(1), last: Box::new(not_leader) };
        assert_eq!((gave_up.code(), gave_up.is_retriable()), (Some(ErrorCode::NotLeaderOrFollower), false));
    }
}
