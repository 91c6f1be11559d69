//! The files that a typed message brings: those named by `@path` in it, and one whose path is all that stands in a
//! line, as terminals paste what is dropped on them.

use std::path::{Path, PathBuf};

use crate::domain::files::{FileKind, MediaType};

/// A message, and the files that go with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TypedText {
    /// What is said.
    pub(super) content: String,
    /// Each once, in order.
    pub(super) files: Vec<PathBuf>,
}

/// Where a path begins that does not say so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) here: &'a Path,
    pub(super) home: Option<&'a Path>,
}

/// Reads a message as it was typed. An `@` before what is no file is what it is: people write to one another so.
pub(super) fn read(text: &str, places: Places<'_>) -> TypedText {
    let mut found = TypedText::default();
    let mut lines = Vec::new();
    for line in text.split('\n') {
        match pasted(line.trim(), places) {
            Some(path) => found.add(path),
            None => lines.push(found.read_line(line, places)),
        }
    }
    found.content = lines.join("\n");
    if !found.files.is_empty() {
        found.content = found.content.trim_matches('\n').to_owned();
    }
    found
}

impl TypedText {
    fn add(&mut self, path: PathBuf) {
        if !self.files.contains(&path) {
            self.files.push(path);
        }
    }

    /// Takes the files of a line; the line, with `@` for `\@`.
    fn read_line(&mut self, line: &str, places: Places<'_>) -> String {
        let mut said = String::with_capacity(line.len());
        let mut rest = line;
        let mut begins = true;
        while let Some(c) = rest.chars().next() {
            if begins && rest.starts_with("\\@") {
                rest = &rest[1..];
            } else if begins && c == '@' {
                self.files_at(&rest[1..], places);
            }
            let c = rest.chars().next().unwrap_or(c);
            begins = c.is_whitespace() || c == '(';
            said.push(c);
            rest = &rest[c.len_utf8()..];
        }
        said
    }

    /// Takes the file that what follows an `@` names.
    fn files_at(&mut self, rest: &str, places: Places<'_>) {
        let named = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => first_word(rest),
        };
        // What ends a sentence hardly ends a name.
        let bare = named.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
        let found = [named.as_str(), bare]
            .into_iter()
            .find_map(|name| places.file(name));
        found.into_iter().for_each(|path| self.add(path));
    }
}

impl Places<'_> {
    /// The regular file of that name, if there is one.
    fn file(self, name: &str) -> Option<PathBuf> {
        if name.is_empty() {
            return None;
        }
        let path = match (name.strip_prefix("~/"), self.home) {
            (Some(inner), Some(home)) => home.join(inner),
            (Some(_), None) | (None, _) => self.here.join(name),
        };
        path.is_file().then_some(path)
    }
}

/// Up to a blank that no `\` stands before.
fn first_word(text: &str) -> String {
    let mut word = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => word.extend(characters.next()),
            c if c.is_whitespace() => break,
            c => word.push(c),
        }
    }
    word
}

/// The file whose whole path a line is, if it is one that models are shown.
fn pasted(line: &str, places: Places<'_>) -> Option<PathBuf> {
    let unquoted = ['\'', '"'].iter().find_map(|quote| {
        let inner = line.strip_prefix(*quote)?;
        inner.strip_suffix(*quote)
    });
    let name = match (unquoted, line.strip_prefix("file://")) {
        (Some(inner), _) => inner.to_owned(),
        (None, Some(url)) => percent_decoded(url.strip_prefix("localhost").unwrap_or(url)),
        (None, None) => unescaped(line),
    };
    let is_whole = name.starts_with('/') || name.starts_with("~/");
    let media_type = MediaType::of_file(&name).filter(|_| is_whole)?;
    let is_shown = FileKind::of_type(media_type.as_str()) != FileKind::Other;
    places.file(&name).filter(|_| is_shown)
}

/// As a shell reads it: what a `\` stands before is itself.
fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(c) = characters.next() {
        plain.extend(if c == '\\' {
            characters.next()
        } else {
            Some(c)
        });
    }
    plain
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_named_by_an_at_or_pasted_alone_and_all_else_is_text() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        for name in ["cat.png", "a b.png", "notes.txt", "main.rs", "x.zip"] {
            fs::write(here.join(name), "x").unwrap();
        }
        fs::create_dir(here.join("dir")).unwrap();
        let place = here.to_str().unwrap();
        let places = Places {
            here,
            home: Some(here),
        };
        let whole = |name: &str| format!("{place}/{name}");
        for (text, content, files) in [
            ("what is @cat.png?", "what is @cat.png?", &["cat.png"][..]),
            (
                "@main.rs, (@~/cat.png) @main.rs",
                "@main.rs, (@~/cat.png) @main.rs",
                &["main.rs", "cat.png"],
            ),
            (
                "@\"a b.png\" or @a\\ b.png",
                "@\"a b.png\" or @a\\ b.png",
                &["a b.png"],
            ),
            (
                "@ann, mail me@cat.png \\@cat.png @dir @",
                "@ann, mail me@cat.png @cat.png @dir @",
                &[],
            ),
            (&whole("cat.png"), "", &["cat.png"]),
            (
                &format!("look\n'{}'\n", whole("a b.png")),
                "look",
                &["a b.png"],
            ),
            (&whole("a\\ b.png"), "", &["a b.png"]),
            (&format!("file://{}", whole("a%20b.png")), "", &["a b.png"]),
            (
                &format!("see {}", whole("cat.png")),
                &format!("see {}", whole("cat.png")),
                &[],
            ),
            (&whole("x.zip"), &whole("x.zip"), &[]),
            (&whole("missing.png"), &whole("missing.png"), &[]),
            ("cat.png", "cat.png", &[]),
            ("a\n\nb\n", "a\n\nb\n", &[]),
        ] {
            let expected = TypedText {
                content: content.to_owned(),
                files: files.iter().map(|name| here.join(name)).collect(),
            };
            assert_eq!(read(text, places), expected, "{text:?}");
        }
    }
}
