//! What the names of OpenAI's models tell. Pure.
//!
//! Source: OpenAI's pages on its models, November 2025.

use crate::domain::quirks::THINKING_GPTS;

/// Of those that think, those that do not, or are to be had in chat completions alone.
const OTHERS: &[&str] = &["gpt-5-chat", "gpt-5-search", "o1-mini", "o1-preview"];
/// Beginnings of the names of those that never think: they refuse to encrypt what they thought.
const PLAIN: &[&str] = &["gpt-3", "gpt-4", "chatgpt", "gpt-5-chat"];

/// OpenAI's own model of that name is asked by Responses. From gpt-5.4 on those that think call no tools in chat
/// completions when they are told how much to think, from 5.6 on none at all; some of the older ones are not there
/// either.
pub(in crate::llm) fn is_asked_here(name: &str) -> bool {
    begins(name, THINKING_GPTS) && !begins(name, OTHERS)
}

/// The model may be asked for what it thought.
pub(super) fn may_think(name: &str) -> bool {
    !begins(name, PLAIN)
}

fn begins(name: &str, beginnings: &[&str]) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    beginnings.iter().any(|one| name.starts_with(one))
}
