//! What the operator should read in the log: decided where it is known, printed by the shell.
//! Must never touch: where and how it is printed.

use std::fmt;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is refused or about to be.
    Warning,
    /// Something is lost until somebody acts.
    Error,
}

/// One line for the log. Said once for each change of state, never for each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// What happened to what, and what to do about it.
    pub text: String,
}

impl Notice {
    /// Good to know.
    pub fn info(text: impl Into<String>) -> Notice {
        Notice { severity: Severity::Info, text: text.into() }
    }

    /// Something is refused or about to be.
    pub fn warning(text: impl Into<String>) -> Notice {
        Notice { severity: Severity::Warning, text: text.into() }
    }

    /// Something is lost until somebody acts.
    pub fn error(text: impl Into<String>) -> Notice {
        Notice { severity: Severity::Error, text: text.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
