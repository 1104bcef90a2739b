//! How commands end: errors with their exit codes.
//! Must never touch: how errors are printed.

use coretide_client::ClientError;
use coretide_model::ErrorCode;

/// The broker or the cluster refused or failed, or a check found damage.
pub const FAILED: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// No broker could be reached.
pub const UNREACHABLE: u8 = 3;
/// What was named does not exist.
pub const NOT_FOUND: u8 = 4;
/// It exists already, or is in a state that forbids this.
pub const CONFLICT: u8 = 5;
/// The time was over before what was asked for was complete.
pub const INCOMPLETE: u8 = 6;

/// It was measured, and may not be believed.
pub const INVALID: u8 = 7;

/// The exit codes, for `--help`.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  the broker refused or failed; a check found damage
  2  wrong usage: unknown flags, values out of range, unreadable input
  3  no broker could be reached
  4  the topic, group or partition does not exist
  5  it exists already, or its state forbids this
  6  the time was over before everything was done
  7  it was measured, but the measurement is INVALID";

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// From the client. The text, if any, is added to its words.
    Client(ClientError, Option<String>),
    /// The arguments or the input make no sense.
    Usage(String),
    /// Something that was named does not exist.
    NotFound(String),
    /// Not everything was done in time.
    Incomplete(String),
    /// The broker did not start or ended badly.
    Serve(String),
    /// A measurement may not be believed.
    Invalid(String),
    /// A file or stream of ours failed.
    Io(String),
    /// A check found damage.
    Damaged(String),
    /// Nobody reads our output any more.
    OutputClosed,
}

impl CliError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Client(error, _) => client_exit_code(error),
            CliError::Usage(_) => USAGE,
            CliError::NotFound(_) => NOT_FOUND,
            CliError::Incomplete(_) => INCOMPLETE,
            CliError::Invalid(_) => INVALID,
            CliError::Serve(_) | CliError::Io(_) | CliError::Damaged(_) => FAILED,
            CliError::OutputClosed => 0,
        }
    }

    /// Kafka's name of the error, if a broker gave one.
    pub fn kafka_name(&self) -> Option<&'static str> {
        match self {
            CliError::Client(error, _) => error.code().map(ErrorCode::name),
            _ => None,
        }
    }

    /// Adds advice to an error of the client's.
    pub fn advise(self, advice: Option<String>) -> CliError {
        match self {
            CliError::Client(error, None) => CliError::Client(error, advice),
            other => other,
        }
    }
}

fn client_exit_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Address { .. } | ClientError::Usage(_) | ClientError::Encode(_) => USAGE,
        ClientError::Connect { .. } => UNREACHABLE,
        ClientError::Timeout { .. } => INCOMPLETE,
        ClientError::GaveUp { last, .. } if last.is_connection() => UNREACHABLE,
        ClientError::GaveUp { .. } => INCOMPLETE,
        _ => match error.code() {
            Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::GroupIdNotFound) => {
                NOT_FOUND
            }
            Some(ErrorCode::TopicAlreadyExists | ErrorCode::NonEmptyGroup) => CONFLICT,
            Some(ErrorCode::InvalidConfig | ErrorCode::InvalidTopicException | ErrorCode::InvalidPartitions) => USAGE,
            _ => FAILED,
        },
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        let advice = match &error {
            ClientError::Address { .. } | ClientError::Connect { .. } => {
                Some("name another one with --bootstrap HOST:PORT or CORETIDE_BOOTSTRAP".to_string())
            }
            _ => None,
        };
        CliError::Client(error, advice)
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CliError::Client(error, None) => error.fmt(f),
            CliError::Client(error, Some(advice)) => write!(f, "{error}\n  {advice}"),
            CliError::Usage(text)
            | CliError::NotFound(text)
            | CliError::Incomplete(text)
            | CliError::Serve(text)
            | CliError::Invalid(text)
            | CliError::Io(text)
            | CliError::Damaged(text) => f.write_str(text),
            CliError::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_code() {
        let broker = |code| {
            CliError::from(ClientError::Broker { what: String::new(), code: code as i16, message: None }).exit_code()
        };
        assert_eq!(broker(ErrorCode::UnknownTopicOrPartition), 4);
        assert_eq!(broker(ErrorCode::GroupIdNotFound), 4);
        assert_eq!(broker(ErrorCode::TopicAlreadyExists), 5);
        assert_eq!(broker(ErrorCode::InvalidConfig), 2);
        assert_eq!(broker(ErrorCode::MessageTooLarge), 1);
        let connect = ClientError::Connect { address: "a:1".into(), reason: "refused".into() };
        let gave_up =
            ClientError::GaveUp { waited: std::time::Duration::from_secs(1), last: Box::new(connect.clone()) };
        assert_eq!(CliError::from(gave_up).exit_code(), 3);
        let connect = CliError::from(connect);
        assert_eq!(connect.exit_code(), 3);
        assert!(connect.to_string().contains("CORETIDE_BOOTSTRAP"), "{connect}");
        assert_eq!(CliError::Incomplete(String::new()).exit_code(), 6);
    }
}
