//! Front matter that is no YAML, made one. Pure.
//!
//! People write `description: Use this when: …`, which YAML refuses, and programs that read a line at
//! a time do not. So each line `key: text` at the margin is taken as it stands.
//!
//! Invariant: a key stands in the line in which it stood, so that what is said of it has its place.

use crate::base::yaml::tree::{Document, Value};

/// The keys whose texts are kept; of all others nothing is used.
const TEXTS: [&str; 3] = ["name", "description", "compatibility"];

/// A key and what belongs to it.
struct HeaderEntry<'a> {
    key: &'a str,
    /// What stands behind the colon.
    first: &'a str,
    /// Its lines, the first one among them.
    lines: Vec<&'a str>,
}

/// The front matter with its texts quoted where they are no YAML by themselves. The result is YAML
/// whatever `head` is; of a key that is given twice the first one stays.
pub(super) fn mended(head: &str) -> String {
    let mut entries: Vec<HeaderEntry<'_>> = Vec::new();
    let mut mended = String::new();
    for line in head.lines() {
        match (key_of(line), entries.last_mut()) {
            (Some((key, first)), _) => entries.push(HeaderEntry {
                key,
                first,
                lines: vec![line],
            }),
            (None, Some(entry)) => entry.lines.push(line),
            // The fence, and what stands before the first key.
            (None, None) => mended.push('\n'),
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for entry in &entries {
        let is_kept = TEXTS.contains(&entry.key) && !seen.contains(&entry.key);
        seen.extend(is_kept.then_some(entry.key));
        let text = if is_kept {
            entry.mended()
        } else {
            String::new()
        };
        mended.push_str(&text);
        let lines_left = entry.lines.len() - text.matches('\n').count();
        mended.extend(std::iter::repeat_n('\n', lines_left));
    }
    mended
}

impl HeaderEntry<'_> {
    fn mended(&self) -> String {
        let whole = self.lines.join("\n") + "\n";
        if is_text(&whole) {
            whole
        } else {
            format!("{}: '{}'\n", self.key, self.words().replace('\'', "''"))
        }
    }

    /// What it says, in one line.
    fn words(&self) -> String {
        let is_block = self.first.starts_with(['|', '>']) && self.first.len() <= 3;
        let first = (!is_block).then_some(self.first);
        let lines = first.into_iter().chain(self.lines[1..].iter().copied());
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        let words = words.join(" ");
        let unquoted = ['"', '\''].iter().find_map(|quote| {
            let inner = words.strip_prefix(*quote)?;
            inner.strip_suffix(*quote)
        });
        unquoted.unwrap_or(&words).to_owned()
    }
}

/// The key that a line begins with, and what stands behind its colon.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim_end();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_key = key.bytes().all(is_letter) && key.starts_with(|c: char| c.is_ascii_alphabetic());
    // `http://…` at the margin is no key; `description:Does …` is one that lacks a blank.
    let is_parted = value.is_empty() || value.starts_with(char::is_whitespace);
    (is_key && (is_parted || TEXTS.contains(&key))).then(|| (key, value.trim()))
}

/// Whether some lines are YAML of one key and one text.
fn is_text(lines: &str) -> bool {
    let Ok(document) = Document::parse(lines.to_owned()) else {
        return false;
    };
    match &document.root.value {
        Value::Map(entries) => entries.len() == 1 && matches!(entries[0].1.value, Value::Scalar(_)),
        Value::Scalar(_) | Value::List(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_are_no_yaml_are_quoted_in_their_lines() {
        for (head, expected) in [
            (
                "---\nname: a\ndescription: Use when: it's so\n",
                "\nname: a\ndescription: 'Use when: it''s so'\n",
            ),
            (
                "---\ndescription: Use when\n  the user says: a\nname: b\n",
                "\ndescription: 'Use when the user says: a'\n\nname: b\n",
            ),
            ("---\nname: \"a\" b\n", "\nname: '\"a\" b'\n"),
            (
                "---\ndescription: \"a \"b\" c\"\n",
                "\ndescription: 'a \"b\" c'\n",
            ),
            (
                "---\ndescription: |\nnot indented\nname: 'b'\n",
                "\ndescription: 'not indented'\n\nname: 'b'\n",
            ),
            (
                "---\nmetadata:\n  a: b: c\nlicense: x: y\nname: b\n",
                "\n\n\n\nname: b\n",
            ),
            ("---\nname: a\nname: b\n", "\nname: a\n\n"),
            ("---\ndescription:Does it\n", "\ndescription: 'Does it'\n"),
            ("---\n- a\nhttp://b\n", "\n\n\n"),
        ] {
            assert_eq!(mended(head), expected, "{head}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_becomes_yaml_of_as_many_lines(
            lines in prop::collection::vec("(name|description|x)?:? ?[ \"'#&*!|>\\[{%@`a:\u{7f}-]{0,12}", 0..8),
        ) {
            let head = format!("---\n{}", lines.join("\n"));
            let mended = mended(&head);
            prop_assert_eq!(mended.lines().count(), head.lines().count());
            prop_assert!(Document::parse(mended.clone()).is_ok(), "{}", mended);
        }
    }
}
