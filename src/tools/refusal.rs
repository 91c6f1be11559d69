//! Why a tool has no answer, in words for the model.

use crate::domain::event::ToolOutput;

/// Why a tool has no answer. The text goes to the model in place of one: it says what to do
/// otherwise, and names no paths or causes that only the owner may know (those are logged).
/// A text and no enum, as nothing branches on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolRefusal(String);

impl From<String> for ToolRefusal {
    fn from(text: String) -> ToolRefusal {
        ToolRefusal(text)
    }
}

impl From<&str> for ToolRefusal {
    fn from(text: &str) -> ToolRefusal {
        ToolRefusal(text.to_owned())
    }
}

impl From<ToolRefusal> for ToolOutput {
    fn from(refusal: ToolRefusal) -> ToolOutput {
        ToolOutput {
            success: false,
            content: refusal.0,
        }
    }
}
