//! Any text as if it were a script, for finding what is forbidden. Pure.
//!
//! Quotes are removed as bash would, and everything that could part two commands does. What is
//! found is more than would run, and of odd scripts perhaps less: good for a `deny`, and for showing
//! a person what may run, never for an `allow`.

use super::{Piece, Word, is_blank, is_name};

/// Words that follow one another, as far as they may be one command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Phrase {
    /// The words.
    pub words: Vec<Word>,
    /// As they are written.
    pub text: String,
}

/// The phrases of a text.
pub fn phrases(text: &str) -> Vec<Phrase> {
    let mut reader = LooseReader {
        text,
        at: 0,
        found: Vec::new(),
        phrase: Phrase::default(),
        word: None,
        start: 0,
    };
    reader.read();
    reader.found
}

struct LooseReader<'a> {
    text: &'a str,
    at: usize,
    found: Vec<Phrase>,
    phrase: Phrase,
    word: Option<Word>,
    /// Where the phrase begins.
    start: usize,
}

impl LooseReader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn read(&mut self) {
        loop {
            let before = self.at;
            let Some(letter) = self.next() else {
                break self.end_phrase(before);
            };
            match letter {
                ' ' | '\t' => self.end_word(),
                '\n' | ';' | '&' | '|' | '(' | ')' | '`' => self.end_phrase(before),
                '<' | '>' => self.operator(letter),
                '{' | '}' if self.word.is_none() && self.is_at_border() => self.end_phrase(before),
                '\\' => self.escaped(),
                '\'' => self.quoted_until('\''),
                '"' => self.double_quoted(),
                '$' => self.dollar(),
                '*' | '?' | '~' => self.word().pieces.push(Piece::Splitting),
                letter => self.word().push(letter),
            }
        }
    }

    fn is_at_border(&self) -> bool {
        self.peek().is_none_or(|letter| {
            !letter.is_ascii() || letter.is_ascii_whitespace() || letter == ';'
        })
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn end_word(&mut self) {
        self.phrase.words.extend(self.word.take());
    }

    fn end_phrase(&mut self, end: usize) {
        self.end_word();
        let mut phrase = std::mem::take(&mut self.phrase);
        phrase.text = self.text[self.start..end].trim().to_owned();
        if !phrase.words.is_empty() {
            self.found.push(phrase);
        }
        self.start = self.at;
    }

    /// An operator of a redirection, a word by itself.
    fn operator(&mut self, first: char) {
        self.end_word();
        self.word().push(first);
        let mut last = first;
        while let Some(letter @ ('<' | '>')) = self.peek() {
            self.at += 1;
            self.word().push(letter);
            last = letter;
        }
        // In `2>&1` and `>|` they part no commands.
        match (last, self.peek()) {
            (_, Some(letter @ '&')) | ('>', Some(letter @ '|')) => {
                self.at += 1;
                self.word().push(letter);
            }
            _ => {}
        }
        self.end_word();
    }

    fn escaped(&mut self) {
        match self.next() {
            // A line goes on.
            Some('\n') => {}
            Some(letter) => self.word().push(letter),
            None => self.word().push('\\'),
        }
    }

    fn quoted_until(&mut self, end: char) {
        self.word().pieces.push(Piece::Text(String::new()));
        while let Some(letter) = self.next().filter(|letter| *letter != end) {
            self.word().push(letter);
        }
    }

    fn double_quoted(&mut self) {
        self.word().pieces.push(Piece::Text(String::new()));
        while let Some(letter) = self.next() {
            match (letter, self.peek()) {
                ('"', _) => return,
                ('\\', Some('\n')) => self.at += 1,
                ('\\', Some(escaped @ ('$' | '`' | '"' | '\\'))) => {
                    self.at += 1;
                    self.word().push(escaped);
                }
                // What is substituted stays in the text, which is looked into by itself.
                (letter, _) => self.word().push(letter),
            }
        }
    }

    fn dollar(&mut self) {
        match self.peek() {
            Some('\'') => {
                self.at += 1;
                self.ansi_quoted();
            }
            Some('"') => {}
            // The parenthesis parts commands.
            Some('(') => self.word().pieces.push(Piece::Splitting),
            Some('{') => {
                let rest = &self.text[self.at + 1..];
                // Of others, the words within are looked at too.
                let name = rest.split_once('}').map(|(name, _)| name);
                let is_plain = |name: &&str| is_name(name);
                self.at += name.filter(is_plain).map_or(1, |name| name.len() + 2);
                self.word().pieces.push(Piece::Splitting);
            }
            Some(letter) if letter.is_ascii_alphanumeric() || letter == '_' => {
                let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                let rest = &self.text[self.at..];
                self.at += rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
                self.word().pieces.push(Piece::Splitting);
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.at += 1;
                self.word().pieces.push(Piece::Splitting);
            }
            _ => self.word().push('$'),
        }
    }

    /// `$'…'`.
    fn ansi_quoted(&mut self) {
        self.word().pieces.push(Piece::Text(String::new()));
        while let Some(letter) = self.next().filter(|letter| *letter != '\'') {
            let letter = match letter {
                '\\' => self.ansi_escape(),
                letter => letter,
            };
            self.word().push(letter);
        }
    }

    fn ansi_escape(&mut self) -> char {
        match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('e' | 'E') => '\u{1b}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some('x') => self.code(16, 2),
            Some('u') => self.code(16, 4),
            Some('U') => self.code(16, 8),
            Some('0'..='7') => {
                self.at -= 1;
                self.code(8, 3)
            }
            Some(letter) => letter,
            None => '\\',
        }
    }

    fn code(&mut self, radix: u32, digits_max: usize) -> char {
        let mut code = 0;
        for _ in 0..digits_max {
            let Some(digit) = self.peek().and_then(|letter| letter.to_digit(radix)) else {
                break;
            };
            code = code * radix + digit;
            self.at += 1;
        }
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

/// The word may be several to the shell, or hold something that it would run.
pub fn may_hold_commands(text: &str) -> bool {
    text.contains(|letter: char| {
        letter.is_ascii() && (is_blank(letter as u8) || "\n;&|()`$'\"\\<>{".contains(letter))
    })
}
