//! The part of bash in which it is certain what a script runs. Pure.
//!
//! [`parse`] reads a small, closed grammar (`grammar`, `words`): lists, pipes, groups, subshells,
//! `if`, `while`, `until`, `for`, `$( )`, and simple commands whose command word is literal. All
//! else is [`Outside`], not guessed at: who adds a construct here must know all that bash makes of
//! it. [`loose`] reads any text, and is only good for finding what is forbidden.
//!
//! Invariant: of a script that [`parse`] reads, bash runs no command that is not in
//! [`Script::commands`], with these words; but for what the commands themselves run (`programs`),
//! and for what a variable steers that the script sets ([`Command::assignments`],
//! [`Script::loops`]): both are the judge's.
//!
//! Elsewhere: what is made of it (`judge`).
//! Source: the grammar in the Bash Reference Manual, and `parse.y` of bash 5.2.

mod grammar;
pub mod loose;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

/// The longest script that is read.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The deepest nesting: each level costs a few KiB of stack.
const DEPTH_MAX: usize = 24;

/// A script as far as it matters who runs in it: commands in whatever order and condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// The simple commands, an outer one before those in its words.
    pub commands: Vec<Command>,
    /// Its `for` loops, for the variables that they set.
    pub loops: Vec<Loop>,
}

/// The head of a `for` loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// The variable that it sets.
    pub name: String,
    /// As it is written, to the end of its words.
    pub text: String,
}

/// A simple command; without words when it only assigns or redirects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// `NAME=value` before the command.
    pub assignments: Vec<Assignment>,
    /// The command word, which is literal, and its arguments. Brace lists are expanded.
    pub words: Vec<Word>,
    /// The same as they are written.
    pub written: Vec<String>,
    /// Where its input comes from and its output goes.
    pub redirections: Vec<Redirection>,
    /// The names of the variables in it, those in its substitutions too.
    pub variables: Vec<String>,
    /// As it is written.
    pub text: String,
}

/// `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable; with a `+` behind it for `+=`.
    pub name: String,
    /// The value, as a word.
    pub value: Word,
}

/// A word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// Its text, quotes removed, as far as it is certain.
    pub pieces: Vec<Piece>,
}

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These characters.
    Text(String),
    /// Something that only the shell knows, and that stays within the word (in double quotes), or
    /// becomes several words that begin alike (a glob).
    Within,
    /// Something that only the shell knows, and that may become several words: `$x` without quotes.
    Splitting,
    /// Somebody's home, `~` at the beginning of a word: a path, or itself.
    Home,
}

/// A redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirection {
    /// Its operator: `>`, `<<`.
    pub operator: &'static str,
    /// The file; for a here-document its text.
    pub target: Word,
    /// As the target is written.
    pub written: String,
    /// How far it can do harm.
    pub flow: Flow,
}

/// The direction of a redirection: what writes is judged, the rest is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It gives the command something to read.
    Read,
    /// It may write a file or open a connection.
    Write,
    /// It joins or closes descriptors, or throws output away.
    Harmless,
}

/// A script that is not in the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// The reason, for the person who is asked.
    pub why: &'static str,
    /// At which byte.
    pub at: usize,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at + 1)
    }
}

/// Finds the simple commands of `text`.
///
/// Errors: it is not in the grammar, or has more than 64 KiB or 24 levels.
pub fn parse(text: &str) -> Result<Script, Outside> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        substitutions: 0,
        script: Script::default(),
        variables: Vec::new(),
        pending: Vec::new(),
    };
    parser.whole()?;
    Ok(parser.script)
}

impl Word {
    /// A literal word.
    pub fn literal(text: impl Into<String>) -> Word {
        Word {
            pieces: vec![Piece::Text(text.into())],
        }
    }

    /// The characters it stands for; `None` when the shell decides.
    pub fn value(&self) -> Option<String> {
        let texts: Option<Vec<&str>> = self.pieces.iter().map(Piece::text).collect();
        texts.map(|texts| texts.concat())
    }

    /// The literal text that it begins with.
    pub fn start(&self) -> &str {
        self.pieces.first().and_then(Piece::text).unwrap_or("")
    }

    fn push(&mut self, letter: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(letter),
            _ => self.pieces.push(Piece::Text(letter.to_string())),
        }
    }
}

impl Piece {
    fn text(&self) -> Option<&str> {
        match self {
            Piece::Text(text) => Some(text),
            Piece::Within | Piece::Splitting | Piece::Home => None,
        }
    }
}

type Parsed<T> = Result<T, Outside>;

/// A place in a script, and what was found before it.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// In how many `$( )` the place is.
    substitutions: usize,
    script: Script,
    /// The names of the variables that were met.
    variables: Vec<String>,
    /// Here-documents whose text begins after the line.
    pending: Vec<HereDocument>,
}

/// A here-document whose text has not come yet.
struct HereDocument {
    delimiter: String,
    is_literal: bool,
    /// Whose it is.
    command: usize,
    redirection: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, why: &'static str) -> Parsed<T> {
        Err(Outside { why, at: self.at })
    }

    /// The byte `ahead` of the place.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes `text` if it stands here.
    fn take(&mut self, text: &str) -> bool {
        let stands = self.rest().starts_with(text);
        if stands {
            self.at += text.len();
        }
        stands
    }

    fn expect(&mut self, text: &'static str) -> Parsed<()> {
        if self.take(text) {
            return Ok(());
        }
        self.fail("something unexpected")
    }

    /// Takes a character.
    fn letter(&mut self) -> Parsed<char> {
        match self.rest().chars().next() {
            Some(letter) => {
                self.at += letter.len_utf8();
                Ok(letter)
            }
            None => self.fail("something that does not end"),
        }
    }

    /// Reads something one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return self.fail("too deep");
        }
        self.depth += 1;
        let found = read(self)?;
        self.depth -= 1;
        Ok(found)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a byte ends an unquoted word.
fn is_meta(byte: u8) -> bool {
    is_blank(byte) || b"\n;&|()<>".contains(&byte)
}

/// Whether a text names a variable.
fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    starts
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
