//! Changing a text at one place, with its line ends and its mark of UTF-8 as they are. Pure.

use std::borrow::Cow;

use super::target::{FILE_BYTES_MAX, would_be_larger};
use crate::base::text::shortened;
use crate::tools::ToolRefusal;

/// A mark that some programs begin a text with.
const MARK: &str = "\u{feff}";
/// So many places are named.
const PLACES_TOLD: usize = 10;
/// So many are counted.
const PLACES_COUNTED: usize = 100;
/// So many lines are looked through for one that is like another.
const LINES_COMPARED: usize = 50_000;

/// A text that is to be changed.
pub(super) struct TextChange<'a> {
    pub(super) old: &'a str,
    pub(super) new: &'a str,
    /// At all places, and not at a single one.
    pub(super) all: bool,
}

impl TextChange<'_> {
    /// The text with the change, and at how many places.
    ///
    /// Errors: there is not the one place, or nothing would be another.
    pub(super) fn apply(&self, name: &str, text: &str) -> Result<(String, usize), ToolRefusal> {
        let (mark, body) = split_mark(text);
        // The model sees line ends as `\n`, whatever they are.
        let plain = unix(body);
        let old = unix(self.old);
        let new = unix(self.new);
        let old = old.strip_prefix(MARK).unwrap_or(&old);
        if old.is_empty() {
            return Err("`old` must hold the text that is to be replaced".into());
        }
        let count = self.count(name, &plain, old)?;
        if plain.len() + count * new.len() > FILE_BYTES_MAX + count * old.len() {
            return Err(would_be_larger(name));
        }
        let mut original = in_original(body);
        let mut changed = mark.to_owned();
        let mut end = 0;
        let (mut next_line, mut is_crlf) = (0, false);
        for (place, _) in plain.match_indices(old) {
            let start = original(place);
            if start >= next_line {
                (next_line, is_crlf) = line_end(body, start);
            }
            changed.push_str(&body[end..start]);
            changed.push_str(&with_line_ends(&new, is_crlf));
            end = original(place + old.len());
        }
        changed.push_str(&body[end..]);
        if changed == text {
            return Err("`old` and `new` are the same: nothing would change".into());
        }
        Ok((changed, count))
    }

    /// At how many places the change is to be made.
    fn count(&self, name: &str, text: &str, old: &str) -> Result<usize, ToolRefusal> {
        let found = overlapping(text, old);
        match found.as_slice() {
            [] => Err(not_found(name, text, old).into()),
            [_] => Ok(1),
            _ if self.all => Ok(text.matches(old).count()),
            several => {
                let count = match several.len() {
                    PLACES_COUNTED => format!("at least {PLACES_COUNTED}"),
                    count => count.to_string(),
                };
                let lines = several.iter().take(PLACES_TOLD);
                let lines: Vec<String> = lines.map(|at| line_at(text, *at).to_string()).collect();
                let more = if several.len() > PLACES_TOLD {
                    ", …"
                } else {
                    ""
                };
                Err(format!(
                    "`old` stands in {name} {count} times (lines {}{more}): give more of the text around \
                     the one that is meant, or `all: true`",
                    lines.join(", ")
                )
                .into())
            }
        }
    }
}

/// A whole new text in the manner of the one that it replaces: its line ends, if they are all alike, and
/// its mark.
pub(super) fn in_manner_of<'a>(before: &str, content: &'a str) -> Cow<'a, str> {
    let (mark, body) = split_mark(before);
    let pairs = body.matches("\r\n").count();
    let is_crlf = pairs > 0 && pairs == body.matches('\n').count();
    let is_foreign = is_crlf && !content.contains("\r\n");
    if !is_foreign && (mark.is_empty() || content.starts_with(MARK)) {
        return Cow::Borrowed(content);
    }
    let content = content.strip_prefix(MARK).unwrap_or(content);
    Cow::Owned(format!("{mark}{}", with_line_ends(content, is_foreign)))
}

fn split_mark(text: &str) -> (&str, &str) {
    let body = text.strip_prefix(MARK).unwrap_or(text);
    text.split_at(text.len() - body.len())
}

fn unix(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

fn with_line_ends(text: &str, is_crlf: bool) -> Cow<'_, str> {
    if is_crlf {
        Cow::Owned(text.replace('\n', "\r\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Says where places of a text with `\n` alone are in the text that it was, asked in their order.
fn in_original(body: &str) -> impl FnMut(usize) -> usize {
    let mut pairs = body.match_indices("\r\n").map(|(at, _)| at).peekable();
    let mut before = 0;
    move |place| {
        while pairs.next_if(|at| at - before < place).is_some() {
            before += 1;
        }
        place + before
    }
}

/// Where the line behind the one at a place begins, and whether that one ends in `\r\n`, or the one before
/// it where that is the last.
fn line_end(body: &str, at: usize) -> (usize, bool) {
    let (before, behind) = body.split_at(at);
    let (end, next_line) = match behind.find('\n') {
        Some(end) => (Some(at + end), at + end + 1),
        None => (before.rfind('\n'), usize::MAX),
    };
    (
        next_line,
        end.is_some_and(|end| body[..end].ends_with('\r')),
    )
}

/// Where `old` begins, also within another that it overlaps: in `aaa` there are two of `aa`.
fn overlapping(text: &str, old: &str) -> Vec<usize> {
    let step = old.chars().next().map_or(1, char::len_utf8);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(old) {
        found.push(from + at);
        if found.len() == PLACES_COUNTED {
            break;
        }
        from += at + step;
    }
    found
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn not_found(name: &str, text: &str, old: &str) -> String {
    let wanted = old.lines().map(str::trim).find(|line| !line.is_empty());
    let nearest = wanted.and_then(|wanted| nearest(text, wanted));
    let hint = nearest.map_or_else(String::new, |(number, line)| {
        format!(
            ". The line that is nearest to it is line {number}:\n{}",
            shortened(line)
        )
    });
    format!("`old` stands in {name} 0 times{hint}")
}

/// The line that is most like another one, with its number.
fn nearest<'a>(text: &'a str, wanted: &str) -> Option<(usize, &'a str)> {
    let lines = text.lines().take(LINES_COMPARED).enumerate();
    let mut best: Option<(usize, usize, &str)> = None;
    for (at, line) in lines {
        let likeness = likeness(line.trim(), wanted);
        if likeness > best.map_or(0, |(likeness, ..)| likeness) {
            best = Some((likeness, at + 1, line));
        }
    }
    best.map(|(_, number, line)| (number, line))
}

/// How much of two lines is the same at their beginnings and ends, of a thousand parts.
fn likeness(one: &str, other: &str) -> usize {
    let [one, other] = [one, other].map(|line| shortened(line).as_bytes());
    let same = |(one, other): &(&u8, &u8)| one == other;
    let shorter = one.len().min(other.len());
    let start = one.iter().zip(other).take_while(same).count();
    let end = one.iter().rev().zip(other.iter().rev()).take_while(same);
    let end = end.count().min(shorter - start);
    (start + end) * 1000 / one.len().max(other.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changed(text: &str, old: &str, new: &str) -> Result<String, String> {
        let change = TextChange {
            old,
            new,
            all: false,
        };
        let changed = change.apply("x", text);
        changed
            .map(|(text, _)| text)
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn line_ends_and_marks_stay_whatever_the_model_writes() {
        for (text, old, new, expected) in [
            ("a\nb\nc\n", "b", "B", "a\nB\nc\n"),
            ("a\r\nb\r\nc\r\n", "a\nb\n", "A\nx\n", "A\r\nx\r\nc\r\n"),
            ("a\r\nb\r\nc", "c", "c\nd", "a\r\nb\r\nc\r\nd"),
            ("a\r\nb\r\nc\r\n", "a\r\nb", "A\r\nB", "A\r\nB\r\nc\r\n"),
            ("a\nb\n", "a\r\nb", "A\r\nB", "A\nB\n"),
            ("a\nb\r\nc\n", "b\nc", "x\ny", "a\nx\r\ny\n"),
            ("a\nb\r\nc\nd\n", "c\n", "x\ny\n", "a\nb\r\nx\ny\nd\n"),
            ("\u{feff}a\r\nb", "a", "x\ny", "\u{feff}x\r\ny\r\nb"),
            ("\u{feff}a\n", "\u{feff}a", "b", "\u{feff}b\n"),
            ("ä\r\nö\r\nü", "ö\nü", "o", "ä\r\no"),
            ("a\rb\n", "a\rb", "c", "c\n"),
        ] {
            assert_eq!(changed(text, old, new).as_deref(), Ok(expected), "{text:?}");
        }
        for (before, content, expected) in [
            ("a\r\nb\r\n", "x\ny\n", "x\r\ny\r\n"),
            ("a\r\nb\n", "x\ny\n", "x\ny\n"),
            ("a\r\nb\r\n", "x\r\ny\n", "x\r\ny\n"),
            ("\u{feff}a\n", "x\n", "\u{feff}x\n"),
            ("\u{feff}a\r\n", "\u{feff}x\n", "\u{feff}x\r\n"),
            ("a\n", "x\r\n", "x\r\n"),
            ("", "x\n", "x\n"),
        ] {
            assert_eq!(in_manner_of(before, content), expected, "{before:?}");
        }
    }

    #[test]
    fn what_is_not_there_once_is_counted_and_the_nearest_line_named() {
        let text = "fn one() {}\nfn two(x: u32) {}\n\nfn one() {}\naaa\n";
        for (old, part) in [
            ("fn one", "2 times (lines 1, 4): give more"),
            ("aa", "2 times (lines 5, 5)"),
            (
                "fn two(x: u64) {}",
                "0 times. The line that is nearest to it is line 2:\nfn two(x: u32) {}",
            ),
            ("\n\n  fn two(y", "is line 2:"),
            ("", "must hold the text"),
        ] {
            let refused = changed(text, old, "new").unwrap_err();
            assert!(refused.contains(part), "{old:?}: {refused}");
        }
        assert_eq!(
            changed("", "a", "b").unwrap_err(),
            "`old` stands in x 0 times"
        );
        assert!(changed("a", "a", "a").unwrap_err().contains("the same"));
        let many = "x\n".repeat(5_000);
        let refused = changed(&many, "x", "y").unwrap_err();
        assert!(refused.contains("at least 100 times"), "{refused}");
        let change = TextChange {
            old: "x",
            new: "y",
            all: true,
        };
        let (all, count) = change.apply("x", &many).unwrap();
        assert_eq!((all, count), ("y\n".repeat(5_000), 5_000));
    }

    #[test]
    fn what_would_be_too_large_is_not_made_and_a_long_line_is_looked_at_once() {
        let change = |new| TextChange {
            old: "x",
            new,
            all: true,
        };
        let many = "x".repeat(1 << 20);
        let refused = change("0123456789\n").apply("x", &many).unwrap_err();
        assert_eq!(refused.to_string(), "x would be larger than 10.0 MB");
        let (all, count) = change("0123456789").apply("x", &many).unwrap();
        assert_eq!((all.len(), count), (10 << 20, 1 << 20));
        let (all, _) = change("y\n").apply("x", "xx\r\nxx\nx").unwrap();
        assert_eq!(all, "y\r\ny\r\n\r\ny\ny\n\ny\n");
    }

    proptest! {
        #[test]
        fn a_change_is_that_of_the_plain_text(text in "(a|b|\n|\r\n){0,12}", old in "[ab\n]{1,3}", new in "[ab\n]{0,3}") {
            let plain = text.replace("\r\n", "\n");
            match changed(&text, &old, &new) {
                Ok(changed) => {
                    prop_assert_eq!(changed.replace("\r\n", "\n"), plain.replacen(&old, &new, 1).replace("\r\n", "\n"));
                }
                Err(_) => prop_assert!(overlapping(&plain, &old).len() != 1 || old == new),
            }
        }
    }
}
