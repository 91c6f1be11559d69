//! The dialect of OpenAI's Responses: the only one in which its newer models call tools. Pure.
//!
//! Nothing is kept there (`store: false`): each request brings the conversation, with what the model thought
//! as the encrypted items that it gave, each before the item that followed it.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses>,
//! <https://platform.openai.com/docs/api-reference/responses-streaming>.

mod body;
mod decoder;
mod models;

pub(super) use body::{ResponsesBody, tools};
pub(super) use decoder::ResponsesDecoder;
pub(super) use models::is_asked_here;

#[cfg(test)]
mod tests;
