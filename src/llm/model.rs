//! The traits of models, and what is asked and answered through them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::base::shown::shown_by_name;
use crate::base::timer::TimerHandle;
use crate::domain::code::NoticeCode;
use crate::domain::event::{Attachment, FinishReason, ToolCall, Usage};
use crate::domain::ids::CallId;
use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, ModelSpec};
use crate::domain::state::CONTINUE_INSTRUCTION;
use crate::llm::error::{LlmError, SinkError};

/// Makes models: the providers' addresses and keys, as the process was started with them.
pub trait Models: Send + Sync {
    /// The model that `spec` describes, with its fallbacks. Costs next to nothing and does no
    /// I/O; a missing key is only said when the model is called.
    fn model(&self, spec: &ModelSpec) -> Box<dyn Model>;

    /// How many tokens the model takes, its answer included, where its provider has said so since the start.
    fn window(&self, _choice: &ModelChoice) -> Option<u64> {
        None
    }

    /// Gives them a timer, by which to end what they keep between turns.
    fn set_timer(&self, _timer: &TimerHandle) {}
}

shown_by_name!(Models);

/// A model, for one turn of one session.
pub trait Model: Send {
    /// Asks the model and hands what it says to `sink` as it comes. Blocks until the reply is
    /// whole, failed, or cancelled; retries and fallbacks happen inside, and only as long as
    /// nothing was handed over.
    ///
    /// Errors: [`LlmError`]; what was handed over before an error stands.
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<ModelReply, LlmError>;

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

/// Takes a reply piece by piece while the call runs: so text can be stored and shown before it is whole.
pub trait Sink {
    /// A piece of the reply's text, never empty.
    fn text(&mut self, text: &str);

    /// Called after the pieces that arrived together (one read of the socket): the moment to
    /// store and show them. An error ends the call with [`LlmError::Sink`].
    fn flush(&mut self) -> Result<(), SinkError>;

    /// Something that a reader should know: a retry, a fallback.
    fn notice(&mut self, code: NoticeCode, message: String);
}

/// One call of a model, in no provider's dialect.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The system prompt; may be empty.
    pub system: String,
    /// The conversation; see [`Message`].
    pub messages: Vec<Message>,
    /// The tools that it may call.
    pub tools: Vec<ToolDefinition>,
    /// `None` forbids calls and leaves the tools in the request, whose beginning providers keep in caches.
    pub tool_choice: ToolChoice,
    /// How long the whole reply may take, retries included.
    pub timeout: Option<Duration>,
    /// The most that the reply may hold, all together; `None` for any length.
    pub reply_bytes: Option<usize>,
    /// The tokens of a window that holds any call of the session, with its answer; `None` for no limit of ours.
    pub window_tokens: Option<u64>,
    /// What tells the calls of one conversation from others, for providers that keep its beginning by that.
    pub cache_key: Option<String>,
    /// The files that its messages name; `None` where there are none to be had.
    pub files: Option<Arc<dyn AttachedFiles>>,
    /// What follows if it is too long for the model.
    pub on_overflow: OnOverflow,
}

impl Request {
    /// It asks to go on with a reply that was cut off.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.messages.last(), Some(Message::User { text, .. }) if *text == *CONTINUE_INSTRUCTION)
    }
}

/// What follows when a model finds a conversation too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverflow {
    /// It is told, as less of the conversation may fit.
    #[default]
    Tell,
    /// The next model is asked: there was less of it already.
    FallBack,
    /// The next model is asked at once: the first has said that this is too long, and there is nothing to leave out.
    HasFallen,
}

/// The files of a conversation.
pub trait AttachedFiles: Send + Sync {
    /// The bytes of a file; `None` if it is not there any more.
    fn read(&self, file: &Attachment) -> Option<Vec<u8>>;

    /// The text of a file, as much of it as a model is shown; `None` where it has none.
    fn text(&self, file: &Attachment) -> Option<String>;
}

shown_by_name!(AttachedFiles);

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// The model decides by this when to call it.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub parameters: Value,
}

/// Leave to call tools.
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
pub struct ModelReply {
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
    /// It was ended when it held [`Request::reply_bytes`]; nothing but text is left of it then.
    pub is_cut: bool,
    /// Calls, by their place in `tool_calls`, that were not whole when it ended: they must not run.
    pub cut_calls: Vec<usize>,
    /// Its calls were printed as text.
    pub from_text: bool,
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
    /// The memory that it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        size_of::<RawToolCall>() + self.id.len() + self.name.len() + self.arguments.len()
    }

    /// The call under an id of ours or the provider's.
    pub fn named(self, call_id: CallId) -> ToolCall {
        ToolCall {
            call_id,
            tool_name: self.name,
            arguments: self.arguments,
            source: None,
        }
    }
}
