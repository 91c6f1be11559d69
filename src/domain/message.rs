//! The conversation as every model is given it, free of any provider's dialect.

use crate::domain::event::{Attachment, ToolCall, ToolOutput};
use crate::domain::ids::CallId;

/// One message to a model.
///
/// A list of them, made by [`conversation`](crate::domain::state::SessionState::conversation), is
/// one that the strictest provider accepts: it begins with a user's message, user and assistant
/// alternate, every call has its result right after the reply that made it, nothing is empty.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// What people said.
    User {
        /// The text; never empty, unless there are attachments.
        text: String,
        /// Files that came with it.
        attachments: Vec<Attachment>,
    },
    /// What the model said.
    Assistant(Reply),
    /// What a tool answered.
    Tool {
        /// The call that it answers.
        call_id: CallId,
        /// The tool.
        tool_name: String,
        /// The answer; its content is never empty.
        output: ToolOutput,
    },
}

/// A former reply of the model. It has a text, or calls, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its text; may be empty beside calls.
    pub text: String,
    /// The tools it asked for.
    pub tool_calls: Vec<ToolCall>,
    /// The model that made it, as `provider/name`.
    pub model: String,
    /// Opaque data for that provider and model only.
    pub provider_data: Option<serde_json::Value>,
}
