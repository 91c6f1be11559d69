//! Why a model gave no whole reply, and whether another try could help.

use std::time::Duration;

use crate::domain::code::FailureCode;
use crate::domain::spec::Provider;

/// Why there is no (whole) reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// Somebody cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// A key that the provider needs is not set.
    #[error("{provider} needs a key: {remedy}")]
    MissingKey {
        /// The provider.
        provider: Provider,
        /// What is to be set where.
        remedy: String,
    },
    /// Nobody has said where the provider answers.
    #[error("{provider} has no address: {why}")]
    NoAddress {
        /// The provider.
        provider: Provider,
        /// What is to be set, or what is wrong with the address.
        why: String,
    },
    /// The provider answered with an error.
    #[error("{provider} answered {status}: {message}{}", after_semicolon(hint))]
    Status {
        /// The provider.
        provider: Provider,
        /// The HTTP status.
        status: u16,
        /// The provider's own words, without keys.
        message: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
        /// What may help.
        hint: Option<String>,
    },
    /// The conversation is too long for the model.
    #[error("{provider} finds the conversation too long: {message}")]
    ContextOverflow {
        /// The provider.
        provider: Provider,
        /// The provider's own words, without keys.
        message: String,
    },
    /// The provider reported an error in the middle of its answer.
    #[error("{provider} failed in the middle of its answer: {message}")]
    MidStream {
        /// The provider.
        provider: Provider,
        /// The provider's own words, without keys.
        message: String,
    },
    /// The answer ended before its end.
    #[error("{provider}'s answer was cut off")]
    Truncated {
        /// The provider.
        provider: Provider,
    },
    /// The provider could not be reached, or the connection broke.
    #[error("cannot reach {provider}: {message}{}", after_semicolon(hint))]
    Unreachable {
        /// The provider.
        provider: Provider,
        /// What the system said.
        message: String,
        /// Why, as far as that says.
        cause: Cause,
        /// What may help.
        hint: Option<String>,
    },
    /// Nothing came for too long, or the whole took too long.
    #[error("{provider} took too long: {what}")]
    Timeout {
        /// The provider.
        provider: Provider,
        /// Which limit it was.
        what: &'static str,
    },
    /// The answer is not what the provider's interface promises.
    #[error("{provider} sent something unreadable: {message}")]
    Malformed {
        /// The provider.
        provider: Provider,
        /// What is wrong with it.
        message: String,
    },
    /// The sink refused a part of the answer: it could not be stored, so it was not shown either.
    #[error("cannot store the reply: {0}")]
    Sink(#[from] SinkError),
}

/// Why whoever takes a reply takes no more of it. A text and no enum, as the call that ends by it
/// only passes it on: what is to be done about it, the sink itself knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(String);

impl From<String> for SinkError {
    fn from(text: String) -> SinkError {
        SinkError(text)
    }
}

impl From<&str> for SinkError {
    fn from(text: &str) -> SinkError {
        SinkError(text.to_owned())
    }
}

/// Why somebody could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens there.
    Refused,
    /// The name is nobody's.
    NoHost,
    /// Anything else.
    Other,
}

fn after_semicolon(hint: &Option<String>) -> String {
    hint.as_ref()
        .map_or(String::new(), |hint| format!("; {hint}"))
}

impl LlmError {
    /// A stable word for logs and clients.
    pub fn code(&self) -> FailureCode {
        match self {
            // No failure: whoever cancelled it knows.
            LlmError::Cancelled => FailureCode::Failed,
            LlmError::MissingKey { .. } => FailureCode::MissingKey,
            LlmError::NoAddress { .. }
            | LlmError::Status { .. }
            | LlmError::MidStream { .. }
            | LlmError::Truncated { .. }
            | LlmError::Malformed { .. } => FailureCode::ProviderError,
            LlmError::ContextOverflow { .. } => FailureCode::ContextOverflow,
            LlmError::Unreachable { .. } => FailureCode::ProviderUnreachable,
            LlmError::Timeout { .. } => FailureCode::ProviderTimeout,
            LlmError::Sink(_) => FailureCode::StorageError,
        }
    }

    /// Nothing speaks the interface at that address.
    pub(super) fn is_unknown_path(&self) -> bool {
        matches!(
            self,
            LlmError::Status {
                status: 404 | 405 | 501,
                ..
            }
        )
    }

    /// Another try could help, as long as nothing was handed over.
    pub fn is_retryable(&self) -> bool {
        match self {
            LlmError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            LlmError::MidStream { .. }
            | LlmError::Truncated { .. }
            | LlmError::Unreachable { .. }
            | LlmError::Timeout { .. } => true,
            LlmError::Cancelled
            | LlmError::MissingKey { .. }
            | LlmError::NoAddress { .. }
            | LlmError::ContextOverflow { .. }
            | LlmError::Malformed { .. }
            | LlmError::Sink(_) => false,
        }
    }
}
