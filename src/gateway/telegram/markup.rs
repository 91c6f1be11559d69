//! What a model writes, as Telegram takes it: Markdown in, messages of Telegram's HTML out. Pure.
//!
//! ```text
//! Markdown ─ reading ─► blocks of styled runs ─ cutting ─► places ─ writing ─► HTML, and plain text
//! ```
//!
//! Markdown is CommonMark with tables, task lists and strikethrough. Telegram has no headings (bold), no
//! lists (`•`, numbers), no rules (a line), no tables (aligned, in a monospaced block) and no pictures in a
//! text (links). Lines stay lines. Links that it does not take stand behind their text, and HTML that means
//! nothing to it is shown as it was written: nothing is left out but marks and the titles of links.
//!
//! Invariants:
//! - Telegram takes each piece: it has at most the units asked for, no more bytes and
//!   pieces of style than Telegram reads, only tags that there are, closed in order, none where it may not stand, and
//!   something to be seen;
//! - the pieces' texts, one after another, are the text, whitespace at the cuts aside;
//! - of a text that goes on, where it was cut stays: what is decided about the end of a piece depends
//!   on the text up to the first character too many. A piece that is not the last one changes only where
//!   markup that began in it is closed, or a link's address told, behind it;
//! - the time is linear in the text, whatever it holds.

mod cutting;
mod reading;
mod tags;
mod text;
mod writing;

use crate::gateway::outlet::RenderedPiece;

/// The units of UTF-16 that a message may have, once its tags are read.
pub const MESSAGE_UNITS_MAX: usize = 4096;

/// The same for what stands under a picture or a file.
pub const CAPTION_UNITS_MAX: usize = 1024;

/// The messages that a text becomes, each of at most `units_max` units of UTF-16. None if there is nothing to be
/// seen in it. The content of a piece is for `parse_mode: HTML`.
///
/// A piece ends at a paragraph if that leaves it half full, else at a line, else at a word, else between
/// two characters as people count them.
pub fn pieces(markdown: &str, units_max: usize) -> Vec<RenderedPiece> {
    let text = reading::read(markdown);
    cutting::cuts(&text, units_max)
        .into_iter()
        .map(|(from, to)| writing::write(&text, from, to, units_max))
        .filter(|piece| piece.plain_text().chars().any(is_seen))
        .collect()
}

/// Telegram refuses a message of which nothing is to be seen.
fn is_seen(c: char) -> bool {
    let has_no_width = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{3164}'
    );
    !c.is_whitespace() && !c.is_control() && !has_no_width
}

#[cfg(test)]
mod tests;
