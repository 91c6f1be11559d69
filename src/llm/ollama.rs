//! The dialect of Ollama's own API. Pure.
//!
//! Through its interface in OpenAI's dialect a conversation that is longer than the window the server has set
//! is cut without a word. Here the window is asked for (`num_ctx`), and one that is too long is an error.
//!
//! Source: <https://github.com/ollama/ollama/blob/main/docs/api.md>.

mod body;
mod decoder;
mod show;

pub(super) use body::{OllamaBody, cut_prompt};
pub(super) use decoder::OllamaDecoder;
pub(super) use show::{ModelCard, ShowDecoder, show_body, show_url};

#[cfg(test)]
mod tests;
