//! Makes text from models, tools and other people harmless for a terminal.
//!
//! Such text may carry escape sequences that move the cursor, rewrite what was shown, set the
//! clipboard or make the terminal type for the user, and marks that reverse the order of what
//! is read.

/// Removes escape sequences and control characters from a text that comes in pieces; only `\n`
/// and `\t` stay. Where a piece ends never changes the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaner(EscapeState);

/// The sequence that the last character was part of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum EscapeState {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`: up to a byte from `@` to `~`.
    Control,
    /// After `ESC ]` and its like: up to BEL or ST.
    String,
    /// After an ESC inside such a string, which `\` makes its end.
    StringEscape,
}

impl Cleaner {
    /// The harmless part of the next piece.
    pub fn push(&mut self, piece: &str) -> String {
        piece.chars().filter(|c| self.keeps(*c)).collect()
    }

    fn keeps(&mut self, c: char) -> bool {
        let is_newline = c == '\n';
        // A line's end also ends a sequence, so that an unfinished one cannot hide all that
        // follows.
        self.0 = match (self.0, c) {
            (_, '\n') => EscapeState::Text,
            (EscapeState::Text | EscapeState::Escape | EscapeState::Control, '\u{1b}') => {
                EscapeState::Escape
            }
            (EscapeState::Text, '\u{9b}') => EscapeState::Control,
            (EscapeState::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => EscapeState::String,
            (EscapeState::Text, other) => return other == '\t' || !is_unsafe(other),
            (EscapeState::Escape, '[') => EscapeState::Control,
            (EscapeState::Escape, ']' | 'P' | 'X' | '^' | '_') => EscapeState::String,
            (EscapeState::Escape, ' '..='/') => EscapeState::Escape,
            (EscapeState::Escape, _) => EscapeState::Text,
            (EscapeState::Control, ' '..='?') => EscapeState::Control,
            (EscapeState::Control, _) => EscapeState::Text,
            (EscapeState::String, '\u{7}' | '\u{9c}') => EscapeState::Text,
            (EscapeState::String | EscapeState::StringEscape, '\u{1b}') => {
                EscapeState::StringEscape
            }
            (EscapeState::String, _) => EscapeState::String,
            (EscapeState::StringEscape, '\\') => EscapeState::Text,
            (EscapeState::StringEscape, _) => EscapeState::String,
        };
        is_newline
    }
}

/// A whole text without anything that a terminal would obey.
pub fn clean(text: &str) -> String {
    Cleaner::default().push(text)
}

/// A text in one line, at most `width_max` columns wide: white space is joined, the rest is cut.
pub fn one_line(text: &str, width_max: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    super::table::cut(&clean(&words.join(" ")), width_max)
}

/// Control characters, and the marks that change the direction of reading.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_and_controls_go_and_text_stays() {
        for (text, expected) in [
            ("a\tb\nc", "a\tb\nc"),
            ("äöü 日本 👩‍💻", "äöü 日本 👩‍💻"),
            ("a\u{1b}[31mred\u{1b}[0m", "ared"),
            ("a\u{1b}[1;2Hb", "ab"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            ("a\u{1b}]52;c;ZXZpbA==\u{1b}\\b", "ab"),
            ("a\u{1b}Pq#0\u{1b}\\b", "ab"),
            ("a\u{1b}(Bb", "ab"),
            ("a\u{1b}cb", "ab"),
            ("a\u{9b}31mb", "ab"),
            ("a\u{9d}0;x\u{9c}b", "ab"),
            ("rm -rf /\recho ok", "rm -rf /echo ok"),
            ("a\u{8}\u{7f}\u{0}b", "ab"),
            ("a\u{202e}b\u{2066}c", "abc"),
            ("a\u{1b}]never ended\nb", "a\nb"),
            ("a\u{1b}\u{1b}[31mb", "ab"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line("a\n b\t\u{1b}[1mc", 80), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    proptest! {
        #[test]
        fn any_split_cleans_alike_and_leaves_nothing_unsafe(
            parts in prop::collection::vec("[a\u{1b}\\[\\]0;m\u{7}\\\\\u{9b}\u{9c}P\n\t(]{0,6}", 0..8),
        ) {
            let mut cleaner = Cleaner::default();
            let pieces: String = parts.iter().map(|part| cleaner.push(part)).collect();
            prop_assert_eq!(&pieces, &clean(&parts.concat()));
            prop_assert!(pieces.chars().all(|c| c == '\n' || c == '\t' || !is_unsafe(c)));
        }
    }
}
