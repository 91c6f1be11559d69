//! Models: messages in, deltas out. No sessions in here.
//!
//! `providers` asks a provider and tries again or elsewhere (`retry`, after what `waits` reads of a refusal), at the address and with the
//! key that `settings` allows, as `domain::quirks` knows that it wants to be asked, and otherwise if it refuses (`mend`), a fallback with as much as it takes (`fitting`); `call` makes one request, over what `connections` lends it,
//! which `canceller` ends (`transport` is what it asks more of ureq's connections); the body of an answer
//! (`answer_body`) is split into events (`framing`) and its characters are joined (`halves`), and `openai`, `responses`, `anthropic` or `ollama`
//! decodes it (`dialect`) for the caller's sink (`handover`). `echo` needs none of that.
//! `catalogue` asks what models a provider has.

mod answer_body;
mod anthropic;
mod call;
mod canceller;
pub mod catalogue;
mod connections;
mod dialect;
mod echo;
mod error;
mod fitting;
mod framing;
mod halves;
mod handover;
mod held;
mod images;
mod json_end;
mod lenient;
mod likeness;
mod mend;
mod model;
mod ollama;
mod openai;
mod options;
mod overflow;
pub mod providers;
mod responses;
mod retry;
mod servers;
pub mod settings;
mod tool_text;
mod transport;
pub mod unsent;
mod user_content;
mod waits;

use serde_json::Value;

use crate::domain::providers::Dialect;

pub use error::{Cause, LlmError, SinkError};
pub use model::{
    AttachedFiles, Cancel, Model, ModelReply, Models, OnOverflow, RawToolCall, Request, Sink,
    ToolChoice, ToolDefinition,
};

/// The tools as a request in that dialect holds them.
pub fn tools_as_sent(dialect: Dialect, tools: &[ToolDefinition]) -> Value {
    let sent = match dialect {
        Dialect::Anthropic => serde_json::to_value(anthropic::tools(tools)),
        Dialect::Responses => serde_json::to_value(responses::tools(tools)),
        Dialect::OpenAi | Dialect::Ollama | Dialect::Echo => {
            serde_json::to_value(openai::tools(tools))
        }
    };
    sent.expect("texts and values have a form in JSON")
}
