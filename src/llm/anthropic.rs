//! The dialect of Anthropic's Messages. Pure.
//!
//! Three marks tell Anthropic to keep what stands before them: on the system prompt, on the last
//! tool, and on the last message. The next call repeats all of it and finds it in the cache.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>,
//! <https://docs.anthropic.com/en/api/messages-streaming>.

mod body;
mod decoder;

pub(super) use body::{MessagesBody, tools};
pub(super) use decoder::MessagesDecoder;

#[cfg(test)]
mod tests;
