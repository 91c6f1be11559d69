//! Which simple commands a bash script may run. Pure.
//!
//! [`parse`] finds every simple command that bash could come to, wherever it stands: behind `&&`,
//! in a loop, a function, a substitution, a here-document. It knows bash's grammar, not a user's
//! habits: what it does not read with certainty as bash does is [`Unparseable`], never a guess.
//!
//! Invariant: a command that bash runs is in [`Script::commands`], or one that is says that it is
//! not known what it runs: its command word is no literal, or it is a program that runs others
//! (`judge`). What a variable's value does when it is *evaluated* is the exception, and needs an
//! assignment, which never passes unasked.
//!
//! Elsewhere: what is made of it (`judge`).
//! Source: the grammar in the Bash Reference Manual, and `parse.y` of bash 5.2.

mod grammar;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

/// The longest script that is read.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The deepest nesting: each level costs a few KiB of stack.
const DEPTH_MAX: usize = 24;

/// What a script consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// The simple commands, an outer one before those in its words.
    pub commands: Vec<Command>,
}

/// A simple command; without words when it only assigns or redirects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// `NAME=value` before the command, and what sets variables otherwise: `for`, `((…))`.
    pub assignments: Vec<Word>,
    /// The command word and its arguments.
    pub words: Vec<Word>,
    /// Where its input comes from and its output goes.
    pub redirections: Vec<Redirection>,
    /// As it is written.
    pub text: String,
}

/// A word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// As it is written.
    pub raw: String,
    /// What it stands for, quotes removed.
    pub pieces: Vec<Piece>,
}

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These characters.
    Text(String),
    /// What the shell makes of a variable, a substitution or a glob: anything, also several words.
    Unknown,
}

/// A redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirection {
    /// Its operator: `>`, `<<`.
    pub operator: &'static str,
    /// The file; for a here-document its text.
    pub target: Word,
    /// What it does.
    pub flow: Flow,
}

/// What a redirection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It gives the command something to read.
    Read,
    /// It may write a file, open a connection or set a variable.
    Write,
    /// It joins or closes descriptors, or throws output away.
    Harmless,
}

/// A script that cannot be read with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unparseable {
    /// What was met.
    pub why: &'static str,
    /// At which byte.
    pub at: usize,
}

impl fmt::Display for Unparseable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at + 1)
    }
}

/// Finds the simple commands of `text`.
///
/// Errors: no bash, or bash that is not understood here; more than 64 KiB or 24 levels.
pub fn parse(text: &str) -> Result<Script, Unparseable> {
    let mut parser = Parser::new(text, 0)?;
    parser.script()?;
    Ok(Script {
        commands: parser.found,
    })
}

/// Finds the simple commands in the substitutions of `text`, read as if it stood in double quotes.
pub fn parse_quoted(text: &str) -> Result<Script, Unparseable> {
    let mut parser = Parser::new(text, 0)?;
    parser.quoted_text()?;
    Ok(Script {
        commands: parser.found,
    })
}

impl Word {
    /// The characters it stands for; `None` when the shell decides.
    pub fn value(&self) -> Option<String> {
        let texts: Option<Vec<&str>> = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Unknown => None,
            })
            .collect();
        texts.map(|texts| texts.concat())
    }

    fn push(&mut self, letter: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(letter),
            Some(Piece::Unknown) | None => self.pieces.push(Piece::Text(letter.to_string())),
        }
    }

    fn push_unknown(&mut self) {
        if self.pieces.last() != Some(&Piece::Unknown) {
            self.pieces.push(Piece::Unknown);
        }
    }
}

type Parsed<T> = Result<T, Unparseable>;

/// A place in a script, and what was found before it.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    found: Vec<Command>,
    /// Here-documents whose text begins after the line.
    pending: Vec<Pending>,
    /// How many of them belong to lines around the substitution that is being read.
    pending_outside: usize,
}

/// A here-document whose text has not come yet.
struct Pending {
    delimiter: String,
    strips_tabs: bool,
    is_literal: bool,
    /// Whose it is.
    command: usize,
    redirection: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, depth: usize) -> Parsed<Parser<'a>> {
        let parser = Parser {
            text,
            at: 0,
            depth,
            found: Vec::new(),
            pending: Vec::new(),
            pending_outside: 0,
        };
        if text.len() > TEXT_BYTES_MAX {
            return parser.fail("too long a script");
        }
        if text.contains('\0') {
            return parser.fail("a NUL character");
        }
        if depth > DEPTH_MAX {
            return parser.fail("too deep");
        }
        Ok(parser)
    }

    fn fail<T>(&self, why: &'static str) -> Parsed<T> {
        Err(Unparseable { why, at: self.at })
    }

    /// The byte `ahead` of the place.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn is_at(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    /// Takes `text` if it stands here.
    fn take(&mut self, text: &str) -> bool {
        let stands = self.is_at(text);
        if stands {
            self.at += text.len();
        }
        stands
    }

    fn expect(&mut self, text: &'static str) -> Parsed<()> {
        match self.take(text) {
            true => Ok(()),
            false => self.fail("something unexpected"),
        }
    }

    /// Takes one character, which is known to be there.
    fn letter(&mut self) -> Parsed<char> {
        match self.rest().chars().next() {
            Some(letter) => {
                self.at += letter.len_utf8();
                Ok(letter)
            }
            None => self.fail("an unexpected end"),
        }
    }

    /// One level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail("too deep");
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Finds what a text within this one runs, such as that between backquotes.
    fn inner(
        &mut self,
        text: &str,
        read: impl FnOnce(&mut Parser<'_>) -> Parsed<()>,
    ) -> Parsed<()> {
        let at = self.at;
        let outer = |error: Unparseable| Unparseable { at, ..error };
        let mut parser = Parser::new(text, self.depth + 1).map_err(outer)?;
        read(&mut parser).map_err(outer)?;
        self.found.append(&mut parser.found);
        Ok(())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether an unquoted byte ends a word.
fn is_meta(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'\n' | b'|' | b'&' | b';' | b'(' | b')' | b'<' | b'>')
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
