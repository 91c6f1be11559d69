//! Text that is held back while it may become a printed call (`tool_text`). Pure.
//!
//! Thinking is not: it passes, and what comes after it is looked at anew.

use crate::llm::tool_text::{self, THINK, THINK_END};

/// No call is longer; what is goes on as text.
const BYTES_MAX: usize = 64 << 10;

/// The text of a reply, on its way.
#[derive(Debug, Default)]
pub(super) struct HeldText {
    state: HeldState,
    /// What is held; while thinking passes, its last bytes.
    text: String,
    /// A second thinking is words.
    has_thought: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum HeldState {
    /// All passes.
    #[default]
    Open,
    /// What comes may become a call.
    Watching,
    /// Thinking passes.
    Thinking,
}

impl HeldText {
    /// Begins anew; `watches` says whether anything is ever held.
    pub(super) fn begin(&mut self, watches: bool) {
        self.text.clear();
        self.has_thought = false;
        self.state = match watches {
            true => HeldState::Watching,
            false => HeldState::Open,
        };
    }

    /// Nothing is held, whatever comes.
    pub(super) fn is_open(&self) -> bool {
        self.state == HeldState::Open
    }

    /// The bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        match self.state {
            HeldState::Watching => self.text.len(),
            HeldState::Open | HeldState::Thinking => 0,
        }
    }

    /// Takes the next piece; returns what passes.
    pub(super) fn take_in(&mut self, piece: &str) -> String {
        match self.state {
            HeldState::Open => piece.to_owned(),
            HeldState::Thinking => self.think(piece),
            HeldState::Watching => {
                self.text.push_str(piece);
                self.look()
            }
        }
    }

    /// What is held, which becomes nobody's but the caller's.
    pub(super) fn take(&mut self) -> String {
        let held = self.bytes() > 0;
        let text = std::mem::take(&mut self.text);
        self.state = HeldState::Open;
        if held { text } else { String::new() }
    }

    fn look(&mut self) -> String {
        let begun = self.text.trim_start();
        if begun.starts_with(THINK) {
            if std::mem::replace(&mut self.has_thought, true) {
                return self.take();
            }
            self.state = HeldState::Thinking;
            let text = std::mem::take(&mut self.text);
            return self.think(&text);
        }
        let may_think = !self.has_thought && THINK.starts_with(begun);
        let is_held = may_think || tool_text::may_become_call(&self.text);
        match is_held && self.text.len() <= BYTES_MAX {
            true => String::new(),
            false => self.take(),
        }
    }

    /// Passes thinking on, and watches what comes after it.
    fn think(&mut self, piece: &str) -> String {
        let known = self.text.len();
        self.text.push_str(piece);
        let Some(end) = self.text.find(THINK_END) else {
            // Enough to know the end by when the rest of it comes.
            let mut from = self.text.len().saturating_sub(THINK_END.len());
            while !self.text.is_char_boundary(from) {
                from += 1;
            }
            self.text.drain(..from);
            return piece.to_owned();
        };
        let behind = self.text.split_off(end + THINK_END.len());
        let mut passes = self.text.split_off(known.min(self.text.len()));
        self.text = behind;
        self.state = HeldState::Watching;
        passes.push_str(&self.look());
        passes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What passes of a text that comes in such pieces, and what is held at its end.
    fn pass(pieces: &[&str]) -> (String, String) {
        let mut held = HeldText::default();
        held.begin(true);
        let passed = pieces.iter().map(|piece| held.take_in(piece)).collect();
        (passed, held.take())
    }

    #[test]
    fn what_may_become_a_call_is_held_and_all_else_passes() {
        let strings = |passed: &str, held: &str| (passed.to_owned(), held.to_owned());
        assert_eq!(pass(&["Hel", "lo {"]), strings("Hello {", ""));
        assert_eq!(pass(&["{\"na", "me\":"]), strings("", "{\"name\":"));
        assert_eq!(pass(&["{\"na", "il\": 1}"]), strings("{\"nail\": 1}", ""));
        assert_eq!(
            pass(&["<thi", "nk>a", "</thi", "nk>\n<tool", "_call>{"]),
            strings("<think>a</think>", "\n<tool_call>{")
        );
        assert_eq!(
            pass(&["<think>ä</think>", "so"]),
            strings("<think>ä</think>so", "")
        );
        let long = format!("{{\"name\": \"{}", "x".repeat(BYTES_MAX));
        assert_eq!(pass(&[&long, "y"]), (format!("{long}y"), String::new()));
        // Only the first thinking is one, however many there are.
        let many = "<think></think>".repeat(200_000);
        assert_eq!(pass(&[&many]), (many.clone(), String::new()));
        let mut off = HeldText::default();
        assert_eq!(off.take_in("{\"name\""), "{\"name\"");
    }

    proptest! {
        /// Nothing is lost, nothing comes twice, and nothing changes places, however the text is cut.
        #[test]
        fn what_passes_and_what_is_held_are_the_text(
            pieces in prop::collection::vec("(<think>|</think>|<tool_call>|\\{\"name\"|[a-zäß\n{<\\[`]){0,3}", 0..12),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (passed, held) = pass(&pieces);
            prop_assert_eq!(passed + &held, pieces.concat());
        }
    }
}
