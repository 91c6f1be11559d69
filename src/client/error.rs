//! Failures of calls, with the advice that a user gets.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::locate::NoServer;
use crate::wire::{ErrorEvent, ProblemBody};

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no server.
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// No answer, or only a part of one.
    #[error("cannot reach the server")]
    Unreachable(#[source] ureq::Error),
    /// The connection broke in the middle of a stream.
    #[error("the connection to the server was lost")]
    Lost(#[source] std::io::Error),
    /// The stream ended before what it was about did.
    #[error("the server closed the connection")]
    Closed,
    /// The server said no.
    #[error("{}", problem.message())]
    Refused {
        /// Its own words.
        problem: ProblemBody,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is none that a Duragent server gives.
    #[error("the answer does not come from a Duragent server")]
    NotOurs(#[source] serde_json::Error),
    /// The server's events are none that a Duragent server sends.
    #[error("the events do not come from a Duragent server: {0}")]
    NotEvents(String),
    /// The address or the token cannot stand in a request.
    #[error("the server's address or token cannot be used")]
    NotARequest(#[source] ureq::http::Error),
    /// The server came before this program, and would do something else than what is meant.
    #[error("the server is older than this program: {0}")]
    Older(&'static str),
    /// A file here that was to go with a message.
    #[error("cannot read {}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The same: no server takes it.
    #[error("{} is {what}", path.display())]
    NoFile {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Somebody here ended the call.
    #[error("cancelled")]
    Cancelled,
}

impl ClientError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// True where the same request, with the same key, may succeed a little later: the server is
    /// away, stops, or has too much to do.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::NoServer(_)
            | ClientError::Unreachable(_)
            | ClientError::Lost(_)
            | ClientError::Closed => true,
            ClientError::Refused { problem, .. } => problem.status == 503,
            ClientError::NotOurs(_)
            | ClientError::NotEvents(_)
            | ClientError::NotARequest(_)
            | ClientError::Older(_)
            | ClientError::File { .. }
            | ClientError::NoFile { .. }
            | ClientError::Cancelled => false,
        }
    }

    /// True where no server has heard of the request, so that nothing can have come of it.
    pub fn is_away(&self) -> bool {
        matches!(self, ClientError::NoServer(_) | ClientError::Unreachable(_))
    }

    /// The message with its causes, in one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }

    /// Advice for the user, for failures that have a cure.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ClientError::NoServer(none) => return Some(&none.hint),
            ClientError::Unreachable(_) => {
                return Some("see whether a server runs there: duragent serve status");
            }
            _ => {}
        }
        match self.status()? {
            401 => Some("give the server's token with --token or in DURAGENT_TOKEN"),
            403 => Some("the server takes strangers only with a token: set server.api_token there"),
            507 => Some("free some space on the server's disk"),
            _ => None,
        }
    }
}

/// Advice for the user about a turn that could not go on, for failures that have a cure.
pub fn hint_of(failure: &ErrorEvent) -> Option<&'static str> {
    // The server has the variables of the shell that started it, which may be long closed.
    (failure.code == "missing_key").then_some(
        "set it, and end the server that was started without it: duragent serve stop; \
         the next chat starts one that has it",
    )
}
