//! The conversation as every model is given it, free of any provider's dialect.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::domain::event::{AssistantResponse, Attachment, ToolCall, ToolOutput, UserMessage};
use crate::domain::ids::CallId;
use crate::domain::redact::Redactor;

/// One message to a model.
///
/// A list of them, made by [`conversation`](crate::domain::state::SessionState::conversation), is
/// one that the strictest provider accepts: it begins with a user's message, user and assistant
/// alternate, every call has its result right after the reply that made it, nothing is empty.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Messages of people that no reply came between, in one: providers want roles to alternate.
    User {
        /// The text; never empty, unless there are attachments.
        text: Words,
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
    pub text: Words,
    /// The tools it asked for.
    pub tool_calls: Vec<ToolCall>,
    /// The event, if it holds what a provider wants back.
    pub event: Option<Arc<AssistantResponse>>,
}

impl Reply {
    /// Opaque data for the model `label` (`provider/name`), if it is the one that made it: any other
    /// refuses it.
    pub fn provider_data(&self, label: &str) -> Option<&Value> {
        let event = self.event.as_ref()?;
        event
            .provider_data
            .as_ref()
            .filter(|_| event.model == label)
    }
}

/// A text. As a rule it is that of an event, and shared with it: a conversation is long, and is
/// made for every call.
#[derive(Clone)]
pub enum Words {
    /// That of a person's message.
    Said(Arc<UserMessage>),
    /// That of a reply.
    Replied(Arc<AssistantResponse>),
    /// One that was put together.
    Made(String),
}

/// A message's text with something in it beside blanks, which providers want; of a message that brings
/// files any text, as they say something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MessageText(String);

/// Why a text says nothing to a model: it is empty, or blanks alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("content must not be empty")]
pub struct BlankText;

impl MessageText {
    /// Takes a text as it is, blanks around it too.
    pub fn parse(text: impl Into<String>) -> Result<MessageText, BlankText> {
        let text = text.into();
        if is_blank(&text) {
            return Err(BlankText);
        }
        Ok(MessageText(text))
    }

    /// The text of a message that brings files; it may be empty.
    pub fn beside_files(text: impl Into<String>) -> MessageText {
        MessageText(text.into())
    }

    /// Covers the secrets in it. A cover is no blank.
    pub fn redact(&mut self, redactor: &Redactor) {
        redactor.redact_in(&mut self.0);
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<MessageText> for String {
    fn from(text: MessageText) -> String {
        text.0
    }
}

/// A text of blanks, or none: providers refuse such. Looks no further than it must.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

impl Words {
    /// Adds text. An event's own stays as it is.
    pub fn push_str(&mut self, more: &str) {
        match self {
            Words::Made(text) => text.push_str(more),
            Words::Said(_) | Words::Replied(_) => {
                *self = Words::Made([&**self, more].concat());
            }
        }
    }
}

impl Deref for Words {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Words::Said(message) => &message.content,
            Words::Replied(reply) => &reply.content,
            Words::Made(text) => text,
        }
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Words {
        Words::Made(text.to_owned())
    }
}

impl PartialEq<str> for Words {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Words) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::story;

    #[test]
    fn a_message_says_something_and_goes_on_doing_so_when_its_secrets_are_covered() {
        for blank in ["", " ", "\n\t\u{a0}"] {
            assert_eq!(MessageText::parse(blank), Err(BlankText), "{blank:?}");
        }
        let mut text = MessageText::parse(" the-secret-of-all ").unwrap();
        let secret = [("KEY".to_owned(), "the-secret-of-all".to_owned())];
        text.redact(&Redactor::new(secret));
        assert_eq!(text.as_str(), " [redacted:KEY] ");
        assert!(MessageText::parse(text).is_ok());
    }

    #[test]
    fn what_is_added_to_the_text_of_an_event_stays_out_of_the_event() {
        let said = Arc::new(story::user_message(1, "one"));
        let mut words = Words::Said(Arc::clone(&said));
        words.push_str(" two");
        words.push_str(" three");
        assert_eq!(words, *"one two three");
        assert_eq!(said.content, "one");
    }
}
