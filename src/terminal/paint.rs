//! Colours, where they are wanted.

use std::env;
use std::io::IsTerminal;

/// Colours, or none: for a file, and where the user wants none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    coloured: bool,
}

/// The kind of a line, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// What was said.
    Plain,
    /// What happens beside the conversation.
    Dim,
    /// Who speaks.
    Bold,
    /// What went wrong.
    Alarm,
    /// What waits for an answer.
    Question,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set to something.
    ///
    /// Source: <https://no-color.org>.
    pub fn for_stream(stream: &impl IsTerminal) -> Paint {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint {
            coloured: stream.is_terminal() && !refused,
        }
    }

    /// No colours.
    pub const PLAIN: Paint = Paint { coloured: false };

    /// The text in the colour of its tone.
    pub fn apply(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Dim => "2",
            Tone::Bold => "1",
            Tone::Alarm => "31",
            Tone::Question => "33",
        };
        if self.coloured {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
