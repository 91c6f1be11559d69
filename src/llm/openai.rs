//! The dialect of OpenAI's chat completions, which most servers speak. Pure.
//!
//! Servers differ in what they leave out: ids and indices of tool calls, `[DONE]`, the usage,
//! the stream itself. What can be understood is taken.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>,
//! <https://openrouter.ai/docs/api-reference/streaming>.

mod body;
mod calls;
mod decoder;

pub(super) use body::{ChatBody, OpenAiTool, arguments, tools};
pub(super) use calls::plain_arguments;
pub(super) use decoder::ChatDecoder;

#[cfg(test)]
mod tests;
