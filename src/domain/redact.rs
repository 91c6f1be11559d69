//! Covers secrets in texts. Pure.
//!
//! Every occurrence of a secret's value becomes `[redacted:NAME]`. Occurrences that overlap are
//! covered together, under the name of the longest, so that no part of any of them is left.
//!
//! Invariant: where a text is cut into pieces never changes the result. At each place it is decided
//! which secret begins there, if any, once the text goes on far enough to tell; nothing else counts.
//!
//! Elsewhere: which variables hold secrets (`domain::secret`); which texts of an event are looked
//! through (`event`).

mod event;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Shorter values are words like `none` or `local`, which stand in every other text.
pub const SECRET_BYTES_MIN: usize = 8;

/// Knows the secrets. The default one knows none.
#[derive(Default)]
pub struct Redactor {
    /// Those that begin with the same byte stand together, the longest of them first.
    patterns: Vec<Pattern>,
    /// Where in `patterns` those of a first byte stand: `starts[byte]..starts[byte + 1]`. Empty
    /// when there are no secrets.
    starts: Vec<usize>,
    /// A bit for every pair of bytes that a secret begins with: nearly all places of a text are
    /// dismissed by it.
    pairs: Vec<u64>,
    /// A bit for every byte that one begins with: nearly all places need no other look.
    firsts: [u64; 4],
}

/// A text to look for.
struct Pattern {
    text: Box<str>,
    /// `[redacted:NAME]`
    cover: Box<str>,
}

impl Redactor {
    /// From names and values. The space around a value does not count, and what then has less than
    /// [`SECRET_BYTES_MIN`] bytes is left out. Of two names with one value the first in the
    /// alphabet is shown.
    ///
    /// A value is also found as it stands inside a JSON string, with its quotes and line ends
    /// escaped.
    pub fn new(secrets: impl IntoIterator<Item = (String, String)>) -> Redactor {
        let mut secrets: Vec<(String, String)> = secrets.into_iter().collect();
        secrets.sort();
        let mut patterns: Vec<Pattern> = Vec::new();
        for (name, value) in &secrets {
            let value = value.trim();
            if value.len() < SECRET_BYTES_MIN {
                continue;
            }
            for text in [value, escaped(value).as_str()] {
                if !patterns.iter().any(|known| *known.text == *text) {
                    patterns.push(Pattern {
                        text: text.into(),
                        cover: format!("[redacted:{name}]").into(),
                    });
                }
            }
        }
        Redactor::of(patterns)
    }

    fn of(mut patterns: Vec<Pattern>) -> Redactor {
        if patterns.is_empty() {
            return Redactor::default();
        }
        patterns.sort_by_key(|pattern| (pattern.first(), usize::MAX - pattern.text.len()));
        let starts = (0..=usize::from(u8::MAX) + 1)
            .map(|byte| patterns.partition_point(|pattern| usize::from(pattern.first()) < byte))
            .collect();
        let mut pairs = vec![0; PAIRS / 64];
        let mut firsts = [0; 4];
        for pattern in &patterns {
            let (word, bit) = pair_bit(pattern.bytes());
            pairs[word] |= bit;
            firsts[usize::from(pattern.first() / 64)] |= 1 << (pattern.first() % 64);
        }
        Redactor {
            patterns,
            starts,
            pairs,
            firsts,
        }
    }

    /// The text without secrets.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.finds_any(text) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        self.cover(text, &mut None, true, &mut out);
        Cow::Owned(out)
    }

    /// Covers the secrets of a text in place.
    pub fn redact_in(&self, text: &mut String) {
        if let Cow::Owned(covered) = self.redact(text) {
            *text = covered;
        }
    }

    /// A secret stands in the text: a look that copies nothing, and for opaque data that covering
    /// would break.
    pub fn finds_any(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        !self.patterns.is_empty()
            && (0..bytes.len()).any(|at| {
                self.may_begin_with(bytes[at])
                    && matches!(self.look(bytes, at, true), FoundSecret::One(_))
            })
    }

    /// Moves `text` to `out` as far as it is known what begins there; returns where the rest
    /// begins. `open` are covered bytes at the beginning of `text`, and then of the rest.
    fn cover(
        &self,
        text: &str,
        open: &mut Option<OpenMatch>,
        is_end: bool,
        out: &mut String,
    ) -> usize {
        let bytes = text.as_bytes();
        let mut clean_from = 0;
        let mut at = 0;
        loop {
            if let Some(closed) = open.take_if(|open| open.end <= at) {
                out.push_str(&self.patterns[closed.pattern].cover);
                clean_from = closed.end;
            }
            if open.is_none() {
                let next = bytes[at..]
                    .iter()
                    .position(|byte| self.may_begin_with(*byte));
                at = next.map_or(bytes.len(), |next| at + next);
            }
            if at == bytes.len() {
                break;
            }
            match self.look(bytes, at, is_end) {
                FoundSecret::Nothing => {}
                FoundSecret::One(pattern) => {
                    if open.is_none() {
                        out.push_str(&text[clean_from..at]);
                    }
                    self.widen(open, pattern, at);
                }
                FoundSecret::Perhaps => {
                    match open {
                        Some(open) => open.end -= at,
                        None => out.push_str(&text[clean_from..at]),
                    }
                    return at;
                }
            }
            at += 1;
        }
        out.push_str(&text[clean_from..]);
        bytes.len()
    }

    /// Covers `pattern`, which begins at `at`, too.
    fn widen(&self, open: &mut Option<OpenMatch>, pattern: usize, at: usize) {
        let bytes = |pattern: usize| self.patterns[pattern].text.len();
        let end = at + bytes(pattern);
        match open {
            Some(open) => {
                open.end = open.end.max(end);
                if bytes(pattern) > bytes(open.pattern) {
                    open.pattern = pattern;
                }
            }
            None => *open = Some(OpenMatch { end, pattern }),
        }
    }

    /// What begins at `at`, which is no end. With `is_end` nothing comes after the text.
    fn look(&self, bytes: &[u8], at: usize, is_end: bool) -> FoundSecret {
        let rest = &bytes[at..];
        if self.patterns.is_empty() || (rest.len() > 1 && !self.begins_one(rest)) {
            return FoundSecret::Nothing;
        }
        let first = usize::from(rest[0]);
        for pattern in self.starts[first]..self.starts[first + 1] {
            let wanted = self.patterns[pattern].bytes();
            if rest.starts_with(wanted) {
                return FoundSecret::One(pattern);
            }
            if !is_end && wanted.starts_with(rest) {
                return FoundSecret::Perhaps;
            }
        }
        FoundSecret::Nothing
    }

    fn may_begin_with(&self, byte: u8) -> bool {
        self.firsts[usize::from(byte / 64)] & (1 << (byte % 64)) != 0
    }

    fn begins_one(&self, bytes: &[u8]) -> bool {
        let (word, bit) = pair_bit(bytes);
        self.pairs[word] & bit != 0
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let covers = self.patterns.iter().map(|pattern| &pattern.cover);
        f.debug_set().entries(covers).finish()
    }
}

/// Covers secrets in a text that comes in pieces. It holds back only what could be the beginning of
/// a secret.
#[derive(Debug)]
pub struct Stream {
    redactor: Arc<Redactor>,
    held: String,
    open: Option<OpenMatch>,
}

impl Stream {
    /// Nothing has come yet.
    pub fn new(redactor: Arc<Redactor>) -> Stream {
        Stream {
            redactor,
            held: String::new(),
            open: None,
        }
    }

    /// Takes the next piece, and adds to `out` what can be shown by now.
    pub fn push(&mut self, text: &str, out: &mut String) {
        if self.held.is_empty() {
            let rest = self.redactor.cover(text, &mut self.open, false, out);
            self.held.push_str(&text[rest..]);
            return;
        }
        self.held.push_str(text);
        let rest = self.redactor.cover(&self.held, &mut self.open, false, out);
        self.held.drain(..rest);
    }

    /// Adds what was held back: the text is at its end.
    pub fn finish(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        self.redactor.cover(&held, &mut self.open, true, out);
    }

    /// Forgets what was held back, because it will be said again. A secret that came whole is shown
    /// as covered.
    pub fn break_off(&mut self, out: &mut String) {
        self.held.clear();
        if let Some(open) = self.open.take() {
            out.push_str(&self.redactor.patterns[open.pattern].cover);
        }
    }
}

/// Bytes that are covered, though it is not known yet how far.
#[derive(Debug, Clone, Copy)]
struct OpenMatch {
    /// Where they end, so far.
    end: usize,
    /// The longest secret among them.
    pattern: usize,
}

/// What begins at a place of a text.
enum FoundSecret {
    /// No secret.
    Nothing,
    /// This one, and no longer one.
    One(usize),
    /// As far as the text goes, the beginning of one.
    Perhaps,
}

impl Pattern {
    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn first(&self) -> u8 {
        self.bytes()[0]
    }
}

/// How many pairs of bytes there are.
const PAIRS: usize = 1 << 16;

/// Where the bit of the first two bytes stands.
fn pair_bit(bytes: &[u8]) -> (usize, u64) {
    let pair = usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    (pair / 64, 1 << (pair % 64))
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests;
