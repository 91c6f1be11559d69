//! Why a model gave no whole reply, and whether another try could help.

use std::time::Duration;

use crate::domain::code::FailureCode;
use crate::domain::spec::Provider;
use crate::llm::waits;

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
        /// Whether it said that another try helps.
        should_retry: Option<bool>,
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
        /// The HTTP status that it stands for, where it says one.
        status: Option<u16>,
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

/// Which limit it was that all of a reply has run into, its retries included.
pub(super) const WHOLE_REPLY: &str = "the whole reply";

/// Of an error that says nothing.
pub(super) const NO_WORDS: &str = "no reason given";

/// Words of those whose money or whose quota is at its end: unlike a limit of a minute, that does not pass.
///
/// Source: OpenAI (`insufficient_quota`), Anthropic ("credit balance is too low"), OpenRouter, DeepSeek.
const SPENT: &[&str] = &[
    "insufficient_quota",
    "exceeded your current quota",
    "billing",
    "credit balance",
    "insufficient credits",
    "insufficient balance",
];

/// What a status says may be otherwise in a while.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

fn says_spent(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    SPENT.iter().any(|one| words.contains(one))
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

    /// The answer broke off, as it may not the next time: what was handed over of it can be gone on with.
    pub fn breaks_off(&self) -> bool {
        match self {
            LlmError::MidStream { .. }
            | LlmError::Truncated { .. }
            | LlmError::Unreachable { .. } => self.is_retryable(),
            LlmError::Timeout { what, .. } => *what != WHOLE_REPLY,
            LlmError::Cancelled
            | LlmError::MissingKey { .. }
            | LlmError::NoAddress { .. }
            | LlmError::Status { .. }
            | LlmError::ContextOverflow { .. }
            | LlmError::Malformed { .. }
            | LlmError::Sink(_) => false,
        }
    }

    /// The same, which says that the provider asks for more patience than there is.
    pub(super) fn asking_for(mut self, wait: Duration) -> LlmError {
        if let LlmError::Status { hint, .. } = &mut self {
            let seconds = wait.as_secs_f64().ceil();
            *hint = Some(format!("it asks to wait {seconds} s, longer than we do"));
        }
        self
    }

    /// Another try could help, as long as nothing was handed over.
    pub fn is_retryable(&self) -> bool {
        match self {
            LlmError::Status {
                status,
                message,
                retry_after,
                should_retry,
                ..
            } => should_retry.unwrap_or_else(|| {
                is_passing(*status)
                    && (retry_after.is_some()
                        || !says_spent(message)
                        || waits::in_words(message).is_some())
            }),
            LlmError::MidStream { status, .. } => status.is_none_or(is_passing),
            LlmError::Truncated { .. }
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
