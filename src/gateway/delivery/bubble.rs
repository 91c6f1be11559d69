//! A message as a chat is to see it. Pure.

use std::fmt;

use crate::domain::event::{Attachment, Decision};
use crate::domain::ids::{CallId, Seq};

/// What a chat is to see of one thing that a turn says; a long one is several messages of the platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Bubble {
    /// The same whenever the same events are rendered.
    pub key: BubbleKey,
    /// The platform's message that it answers.
    pub reply_to: Option<String>,
    /// What it says by now.
    pub content: BubbleContent,
    /// Its words do not change any more; a line on what is at work may still come and go.
    pub is_final: bool,
}

impl Bubble {
    /// It says all that it is to say now.
    pub fn is_whole(&self) -> bool {
        self.is_final || matches!(self.content, BubbleContent::Question { .. })
    }
}

/// Names a bubble in its session: its turn, and its place in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BubbleKey {
    /// The record behind which its turn stands: the end of the turn before, or where rendering began.
    pub turn: Seq,
    /// From 1.
    pub place: u32,
}

impl BubbleKey {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<BubbleKey> {
        let (turn, place) = text.split_once('.')?;
        Some(BubbleKey {
            turn: Seq(turn.parse().ok()?),
            place: place.parse().ok()?,
        })
    }
}

impl fmt::Display for BubbleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.turn, self.place)
    }
}

/// What a bubble says.
#[derive(Debug, Clone, PartialEq)]
pub enum BubbleContent {
    /// Words, in Markdown.
    Text {
        /// The words.
        markdown: String,
        /// A line below them on what is at work, as long as it is.
        working: Option<String>,
    },
    /// A question to a person, until somebody has decided.
    Question {
        /// The words, in Markdown.
        markdown: String,
        /// The call that waits.
        call_id: CallId,
        /// The answers that there are; none once it is decided.
        answers: Vec<BubbleButton>,
    },
    /// A file of the session.
    File(Attachment),
}

/// An answer that can be given by a button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BubbleButton {
    /// What stands on it.
    pub text: String,
    /// What it decides.
    pub decision: Decision,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_a_round_trip() {
        let key = BubbleKey {
            turn: Seq(17),
            place: 2,
        };
        assert_eq!(BubbleKey::parse(&key.to_string()), Some(key));
        for text in ["", "17", "17.", ".2", "a.b", "17.2.3"] {
            assert_eq!(BubbleKey::parse(text), None, "{text:?}");
        }
    }
}
