//! What the script of a tool may name, should it be a file: rather too much than too little.

use std::env;
use std::path::{Component, Path, PathBuf};

use crate::base::words;

/// What stands between names in a script, also in one that is quoted in it.
const BETWEEN: [char; 15] = [
    ' ', '\t', '\r', '\n', '\'', '"', '`', '|', '&', ';', '<', '>', '(', ')', '=',
];
/// So many words are looked at. Who writes more is asked about what the first name.
const WORDS_MAX: usize = 2_000;

/// The names in a script, as globs where it has some. A variable of this process or of the agent's is
/// filled in, another one may be anything, and an argument is the model's.
pub(super) fn words_of(script: &str, home: &Path) -> impl Iterator<Item = String> {
    let script = without_outputs(script);
    let whole = words::split(&script).unwrap_or_else(|_| vec![script]);
    let pieces = whole.into_iter().flat_map(|word| {
        let pieces = word.split(BETWEEN).map(str::to_owned);
        pieces.chain([word.clone()]).collect::<Vec<_>>()
    });
    let named = pieces.filter_map(|word| filled_in(&word, home));
    let mut named: Vec<String> = named.take(WORDS_MAX).collect();
    named.dedup();
    named.into_iter()
}

/// The path of a name, without `.` and `..`: what is mounted has none.
pub(super) fn place(cwd: &Path, name: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in cwd.join(name).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// A script without the files that it only writes: what stands in them is no part of it.
fn without_outputs(script: &str) -> String {
    let mut kept = String::with_capacity(script.len());
    let mut rest = script;
    while let Some(letter) = rest.chars().next() {
        let output = rest.strip_prefix('>');
        if let Some(output) = output.filter(|output| !output.starts_with('(')) {
            let target = output.trim_start_matches(['>', '|', '&']);
            let target = target.trim_start_matches([' ', '\t']);
            rest = &target[word_length(target)..];
            kept.push(' ');
            continue;
        }
        let taken = match letter {
            '\'' | '"' | '\\' => quoted_length(rest),
            letter => letter.len_utf8(),
        };
        let (same, after) = rest.split_at(taken);
        kept.push_str(same);
        rest = after;
    }
    kept
}

/// The bytes of the word that a text begins with.
fn word_length(text: &str) -> usize {
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        at += match letter {
            '\'' | '"' | '\\' => quoted_length(&text[at..]),
            ' ' | '\t' | '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' => return at,
            letter => letter.len_utf8(),
        };
    }
    at
}

/// The bytes of what is quoted at the beginning of a text; all of it if it does not end.
fn quoted_length(text: &str) -> usize {
    let mut letters = text.char_indices();
    let quote = letters.next().map_or('\\', |(_, quote)| quote);
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            ('\\', _) => return at + letter.len_utf8(),
            ('"', '\\') => drop(letters.next()),
            (quote, letter) if quote == letter => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `None` for what names nothing.
fn filled_in(word: &str, home: &Path) -> Option<String> {
    let mut pieces = word.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    if let Some(rest) = text.strip_prefix("~/") {
        text = format!("{}/{rest}", env::var("HOME").ok()?);
    }
    let mut is_known = !text.is_empty();
    for piece in pieces {
        let (name, rest) = variable(piece);
        match (name, env::var(name)) {
            ("DURAGENT_AGENT_HOME", _) => text.push_str(&home.to_string_lossy()),
            (_, Ok(value)) => text.push_str(&value),
            (_, Err(_)) => text.push('*'),
        }
        is_known |= !rest.is_empty() || name == "DURAGENT_AGENT_HOME";
        text.push_str(rest);
    }
    (is_known && !text.is_empty()).then_some(text)
}

/// The name that begins what follows a `$`, and the rest.
fn variable(piece: &str) -> (&str, &str) {
    if let Some((name, rest)) = piece
        .strip_prefix('{')
        .and_then(|inner| inner.split_once('}'))
    {
        return (name, rest);
    }
    // `$@` and the like are arguments, and so is `$1`.
    if piece.starts_with(|first: char| "@*#?!-".contains(first) || first.is_ascii_digit()) {
        return piece.split_at(1);
    }
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let end = piece.find(|letter| !is_name(letter));
    piece.split_at(end.unwrap_or(piece.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_could_be_a_file_is_named() {
        for (script, name) in [
            ("a.sh | b", "a.sh"),
            ("cat<a.txt|sh", "a.txt"),
            ("x=run.sh; sh $x", "run.sh"),
            ("sh -c 'python3 x.py | y'", "x.py"),
            ("cat 'a b.txt' | y", "a b.txt"),
            ("\"$DURAGENT_AGENT_HOME\"/tools/x | y", "/a/ada/tools/x"),
            ("${DURAGENT_AGENT_HOME}/x | y", "/a/ada/x"),
            ("cat <<E\ndon't read.me\nE", "read.me"),
            ("ls *.rs", "*.rs"),
            ("for d in a; do $d/run; done", "*/run"),
            ("echo x > f; sh f", "f"),
            ("cat '>' f | sh", "f"),
            ("echo \\> f | sh", "f"),
            ("tee >(sh f)", "f"),
        ] {
            let named: Vec<String> = words_of(script, Path::new("/a/ada")).collect();
            assert!(named.iter().any(|one| one == name), "{script}: {named:?}");
        }
        let named: Vec<String> = words_of("sort \"$@\" | $x", Path::new("/a/ada")).collect();
        assert!(!named.iter().any(|one| one.starts_with('*')), "{named:?}");
        // What is only written may be another each time.
        for script in ["a >> f", "a >f|b", "a 2> 'f'; b", "a &>f", "a >| \"f\""] {
            let mut named = words_of(script, Path::new("/a/ada"));
            assert!(!named.any(|one| one == "f"), "{script}");
        }
    }

    #[test]
    fn a_place_has_no_dots() {
        assert_eq!(place(Path::new("/a/work"), "../x/./y"), Path::new("/a/x/y"));
        assert_eq!(place(Path::new("/a"), "/b"), Path::new("/b"));
    }
}
