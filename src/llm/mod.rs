//! Models: messages in, deltas out. No sessions in here.
//!
//! `providers` asks a provider and tries again or elsewhere (`retry`), at the address and with the
//! key that `settings` allows; `call` makes one request,
//! which `canceller` ends; `base::sse` splits its answer into events, and `openai` or `anthropic`
//! decodes them (`dialect`) for the caller's sink (`handover`). `echo` needs none of that.

mod anthropic;
mod call;
mod canceller;
mod dialect;
mod echo;
mod handover;
mod openai;
mod overflow;
pub mod providers;
mod retry;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::base::shown::shown_by_name;
use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{FinishReason, ToolCall, Usage};
use crate::domain::message::Message;
use crate::domain::providers::Dialect;
use crate::domain::spec::{ModelSpec, Provider};

/// Makes models: the providers' addresses and keys, as the process was started with them.
pub trait Models: Send + Sync {
    /// The model that `spec` describes, with its fallbacks. Costs next to nothing and does no
    /// I/O; a missing key is only said when the model is called.
    fn model(&self, spec: &ModelSpec) -> Box<dyn Model>;
}

shown_by_name!(Models);

/// A model, for one turn of one session: its connection is kept between the turn's calls.
pub trait Model: Send {
    /// Asks the model and hands what it says to `sink` as it comes. Blocks until the reply is
    /// whole, failed, or cancelled; retries and fallbacks happen inside, and only as long as
    /// nothing was handed over.
    ///
    /// Errors: [`LlmError`]; what was handed over before an error stands.
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<Reply, LlmError>;

    /// Ends a running call from any thread within milliseconds, and every later one at once.
    fn canceller(&self) -> Arc<dyn Cancel>;
}

shown_by_name!(Model);

/// The way to end a call from another thread.
pub trait Cancel: Send + Sync {
    /// Ends it: the call returns [`LlmError::Cancelled`]. Never blocks.
    fn cancel(&self);
}

shown_by_name!(Cancel);

/// What a call hands over while it runs.
pub trait Sink {
    /// A piece of the reply's text, never empty.
    fn text(&mut self, text: &str);

    /// Called after the pieces that arrived together (one read of the socket): the moment to
    /// store and show them. An error ends the call with [`LlmError::Sink`].
    fn flush(&mut self) -> Result<(), String>;

    /// Something that a reader should know: a retry, a fallback.
    fn notice(&mut self, code: NoticeCode, message: String);
}

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The system prompt; may be empty.
    pub system: String,
    /// The conversation; see [`Message`].
    pub messages: Vec<Message>,
    /// The tools that it may call.
    pub tools: Vec<ToolDefinition>,
    /// Whether it may call them now.
    pub tool_choice: ToolChoice,
    /// How long the whole reply may take, retries included.
    pub timeout: Option<Duration>,
}

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub parameters: Value,
}

/// The tools as a request in that dialect holds them.
pub fn tools_as_sent(dialect: Dialect, tools: &[ToolDefinition]) -> Value {
    let sent = match dialect {
        Dialect::Anthropic => serde_json::to_value(anthropic::tools(tools)),
        Dialect::OpenAi | Dialect::Echo => serde_json::to_value(openai::tools(tools)),
    };
    sent.expect("texts and values have a form in JSON")
}

/// Whether a model may call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It must answer in words.
    None,
}

/// A whole reply. Its text is what the sink was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The model that answered, as `provider/name`.
    pub model: String,
    /// The tools it asks for; their arguments are JSON texts.
    pub tool_calls: Vec<RawToolCall>,
    /// Tokens.
    pub usage: Option<Usage>,
    /// `Stop`, `ToolCalls` or `Length`.
    pub finish_reason: FinishReason,
    /// Opaque, for the same provider and model only.
    pub provider_data: Option<Value>,
}

/// A tool call with whatever id the provider gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawToolCall {
    /// The provider's id; may be empty, or used before.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments; `{}` when the model gave none.
    pub arguments: String,
}

impl RawToolCall {
    /// The call under an id of ours or the provider's.
    pub fn named(self, call_id: crate::domain::ids::CallId) -> ToolCall {
        ToolCall {
            call_id,
            tool_name: self.name,
            arguments: self.arguments,
        }
    }
}

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
    /// What came could not be stored.
    #[error("cannot store the reply: {0}")]
    Sink(String),
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

    /// Whether another try could help, before anything was handed over.
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
