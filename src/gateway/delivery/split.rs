//! A long text in Markdown as several, for platforms that take Markdown, but only so much of it. Pure.
//!
//! Invariants:
//! - each piece has at most what is asked for and more than whitespace, and together they are the text, but
//!   for the whitespace at the cuts and the marks that close a block of code and begin it again;
//! - of a text that goes on, all pieces but the last stay as they are: where one ends depends on the text up to
//!   the first character too many.

/// A longer mark of a block of code is text.
const FENCE_MAX: usize = 8;

/// A longer line at its beginning is not said again.
const FENCE_LINE_MAX: usize = 24;

/// The pieces of a text, each of at most `most`, where a character counts as `size` says: in characters,
/// in bytes, in units of UTF-16. `most` is at least 64.
///
/// A piece ends at a paragraph if that leaves it half full, else at a line, else at a word, else
/// between two characters.
pub fn split_markdown(markdown: &str, most: usize, size: fn(char) -> usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = markdown;
    let mut open: Option<Fence<'_>> = None;
    loop {
        let head = open.map_or_else(String::new, |fence| format!("{}\n", fence.line));
        let used = head.chars().map(size).sum::<usize>();
        let Some(end) = cut(rest, most.saturating_sub(used), size) else {
            let is_text = !rest.trim().is_empty();
            if is_text {
                pieces.push(head + rest);
            }
            return pieces;
        };
        open = fence_after(&rest[..end], open);
        let text = rest[..end].trim_end();
        let close = open.map_or_else(String::new, |fence| format!("\n{}", fence.mark));
        if !text.is_empty() {
            pieces.push(head + text + &close);
        }
        rest = match open {
            Some(_) => rest[end..].strip_prefix('\n').unwrap_or(&rest[end..]),
            None => rest[end..].trim_start(),
        };
    }
}

/// A block of code that is open.
#[derive(Debug, Clone, Copy)]
struct Fence<'a> {
    /// The line that began it.
    line: &'a str,
    /// Its mark alone.
    mark: &'a str,
}

/// Where the first piece of a text ends that is too long; there is room to close a block of code.
fn cut(text: &str, most: usize, size: fn(char) -> usize) -> Option<usize> {
    let room = most.saturating_sub(FENCE_MAX + 1).max(1);
    let mut used = 0;
    // The best cuts: in the middle of a word, behind one, at a line, at a paragraph.
    let mut cuts = [0; 4];
    let mut is_line_empty = false;
    for (index, c) in text.char_indices() {
        used += size(c);
        if used > most {
            let best = cuts.iter().rposition(|cut| *cut > 0);
            let first = text.chars().next().map_or(0, char::len_utf8);
            return Some(best.map_or(first, |best| cuts[best]));
        }
        if used <= room {
            cuts[0] = index + c.len_utf8();
        }
        if used <= room && used > room / 2 && c.is_whitespace() {
            cuts[1] = index;
            if c == '\n' {
                cuts[if is_line_empty { 3 } else { 2 }] = index;
            }
        }
        is_line_empty = c == '\n' || (is_line_empty && c.is_whitespace());
    }
    None
}

/// The block of code that is open behind a text, if one was open before it or not.
fn fence_after<'a>(text: &'a str, before: Option<Fence<'a>>) -> Option<Fence<'a>> {
    text.lines().fold(before, |open, line| {
        let bare = line.trim();
        let mark = bare
            .chars()
            .next()
            .filter(|c| "`~".contains(*c))
            .unwrap_or(' ');
        let length = bare.len() - bare.trim_start_matches(mark).len();
        if !(3..=FENCE_MAX).contains(&length) || mark == ' ' {
            return open;
        }
        let mark_alone = &bare[..length];
        let is_short = bare.len() <= FENCE_LINE_MAX;
        let fence = Fence {
            line: if is_short { bare } else { mark_alone },
            mark: mark_alone,
        };
        match open {
            Some(known) if bare.len() == length && fence.mark.starts_with(known.mark) => None,
            Some(known) => Some(known),
            None if mark == '`' && bare[length..].contains('`') => None,
            None => Some(fence),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(markdown: &str, most: usize) -> Vec<String> {
        split_markdown(markdown, most, |_| 1)
    }

    #[test]
    fn a_text_is_cut_where_that_is_seen_least() {
        let a = |times: usize| "a".repeat(times);
        assert_eq!(split(&a(64), 64), [a(64)]);
        assert_eq!(
            split(&format!("{}\n\n{}\n{}", a(40), a(8), a(40)), 64)[0],
            a(40)
        );
        assert_eq!(
            split(&format!("{}\n\n{}\n{}", a(10), a(35), a(40)), 64)[0],
            format!("{}\n\n{}", a(10), a(35))
        );
        assert_eq!(
            split(&format!("{} {} b", a(20), a(25)).repeat(2), 64)[0],
            format!("{} {}", a(20), a(25))
        );
        assert_eq!(split(&a(100), 64), [a(55), a(45)]);
        assert!(split(" \n", 64).is_empty());
        assert_eq!(
            split_markdown(&"é".repeat(40), 64, char::len_utf8)[0],
            "é".repeat(27)
        );
    }

    #[test]
    fn a_block_of_code_is_closed_and_begun_again() {
        let line = "x".repeat(30);
        assert_eq!(
            split(
                &format!("```py\n{line}\n\n    {line}\n{line}\n```\nend"),
                64
            ),
            [
                format!("```py\n{line}\n```"),
                format!("```py\n    {line}\n```"),
                format!("```py\n{line}\n```\nend"),
            ]
        );
        assert_eq!(
            split(&format!("~~~\n```\n~~~\n{line}\n{line}"), 64)[0],
            format!("~~~\n```\n~~~\n{line}")
        );
    }

    proptest! {
        #[test]
        fn pieces_fit_and_hold_the_text_and_stay_while_it_grows(
            parts in prop::collection::vec("[a-z]{1,20}|[ \n]{1,3}|\n```\n|\n```rust\n|\n~~~~\n|`q|[é漢😀]", 0..60),
        ) {
            let markdown = parts.concat();
            let mut before: Vec<String> = Vec::new();
            for (end, _) in markdown.char_indices().chain([(markdown.len(), ' ')]) {
                let now = split(&markdown[..end], 64);
                let settled = before.len().saturating_sub(1);
                prop_assert_eq!(&before[..settled], &now[..settled]);
                before = now;
            }
            prop_assert!(before.iter().all(|piece| piece.chars().count() <= 64));
            let letters = |text: &str| text.replace("rust", "").matches(char::is_alphabetic).collect::<String>();
            prop_assert_eq!(letters(&before.concat()), letters(&markdown));
        }
    }
}
