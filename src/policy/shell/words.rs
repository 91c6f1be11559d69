//! Words: quotes, variables, `$( )`, globs, brace lists. Pure.

use super::{Parsed, Parser, Piece, Word, is_blank, is_meta, is_name};

/// The most words that brace lists of one word may become.
const BRACE_WORDS_MAX: usize = 256;
/// The most braces of one word.
const BRACES_MAX: usize = 16;

/// A word as it was read, before brace lists are expanded.
pub(super) struct RawWord {
    /// As it is written.
    pub(super) raw: String,
    units: Vec<Unit>,
}

/// A part of a word before brace lists are expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unit {
    /// A character that means what it does unquoted.
    Bare(char),
    /// A character that stands for itself.
    Quoted(char),
    /// Quotes, which make a word of nothing.
    Quotes,
    /// What only the shell knows.
    Unknown(Piece),
}

impl RawWord {
    /// `NAME=` or `NAME+=` in front, and where the value begins.
    fn assigned(&self) -> Option<(&str, usize)> {
        let (name, _) = self.raw.split_once('=')?;
        is_name(name.strip_suffix('+').unwrap_or(name)).then_some((name, name.len() + 1))
    }

    /// The assignment that it is in front of a command, which expands no list and no glob.
    pub(super) fn assignment(&self) -> Option<(String, Word)> {
        let (name, start) = self.assigned()?;
        let is_tilde = |unit: &Unit| *unit == Unit::Bare('~');
        let units = &self.units[start..];
        let mut value = plain(units);
        if units.iter().any(is_tilde) {
            value.pieces = vec![Piece::Within];
        }
        Some((name.to_owned(), value))
    }

    /// It stands for one word, which is as it was written but for quotes.
    pub(super) fn is_literal(&self) -> bool {
        let is_special = |unit: &Unit| match unit {
            Unit::Bare(letter) => "*?[]{}~".contains(*letter),
            Unit::Quoted(_) | Unit::Quotes => false,
            Unit::Unknown(_) => true,
        };
        matches!(self.raw.as_str(), "[" | "[[") || !self.units.iter().any(is_special)
    }

    /// The word without its quotes, if it is literal.
    pub(super) fn literal(&self) -> Word {
        plain(&self.units)
    }
}

/// The units as they stand, with nothing expanded.
fn plain(units: &[Unit]) -> Word {
    let mut word = Word::literal("");
    for unit in units {
        match unit {
            Unit::Bare(letter) | Unit::Quoted(letter) => word.push(*letter),
            Unit::Quotes => {}
            Unit::Unknown(piece) => word.pieces.push(piece.clone()),
        }
    }
    word
}

impl Parser<'_> {
    /// Takes a word; `None` when there is none here.
    pub(super) fn raw_word(&mut self) -> Parsed<Option<RawWord>> {
        let start = self.at;
        let mut units = Vec::new();
        while let Some(byte) = self.byte(0).filter(|byte| !is_meta(*byte)) {
            self.unit(byte, &mut units)?;
        }
        let raw = self.text[start..self.at].to_owned();
        if raw.contains('\n') && !self.pending.is_empty() {
            return self.fail("a line's end in a word beside a here-document");
        }
        if raw.starts_with('{') && matches!(self.byte(0), Some(b'<' | b'>')) {
            return self.fail("a redirection that sets a variable");
        }
        Ok((self.at > start).then_some(RawWord { raw, units }))
    }

    fn unit(&mut self, byte: u8, units: &mut Vec<Unit>) -> Parsed<()> {
        match byte {
            b'\\' => {
                self.at += 1;
                match self.letter()? {
                    // It would join what stands on both sides.
                    '\n' => return self.fail("a line continued within a word"),
                    letter => units.push(Unit::Quoted(letter)),
                }
            }
            b'\'' => self.single_quoted(units)?,
            b'"' => self.double_quoted(units)?,
            b'$' => self.dollar(Piece::Splitting, units)?,
            b'`' => return self.fail("backquotes"),
            _ => units.push(Unit::Bare(self.letter()?)),
        }
        Ok(())
    }

    fn single_quoted(&mut self, units: &mut Vec<Unit>) -> Parsed<()> {
        self.at += 1;
        units.push(Unit::Quotes);
        loop {
            match self.letter()? {
                '\'' => return Ok(()),
                letter => units.push(Unit::Quoted(letter)),
            }
        }
    }

    fn double_quoted(&mut self, units: &mut Vec<Unit>) -> Parsed<()> {
        self.at += 1;
        units.push(Unit::Quotes);
        loop {
            match self.byte(0) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'$') => self.dollar(Piece::Within, units)?,
                Some(b'`') => return self.fail("backquotes"),
                Some(b'\\') => self.escaped_in_quotes(units)?,
                _ => units.push(Unit::Quoted(self.letter()?)),
            }
        }
    }

    fn escaped_in_quotes(&mut self, units: &mut Vec<Unit>) -> Parsed<()> {
        self.at += 1;
        match self.byte(0) {
            Some(b'\n') => return self.fail("a line continued within a word"),
            Some(b'$' | b'`' | b'"' | b'\\') => units.push(Unit::Quoted(self.letter()?)),
            _ => units.push(Unit::Quoted('\\')),
        }
        Ok(())
    }

    /// `$NAME`, `${NAME}`, `$?`, `$( )`, or a `$` that is one. `unknown` is what a value is here.
    fn dollar(&mut self, unknown: Piece, units: &mut Vec<Unit>) -> Parsed<()> {
        self.at += 1;
        match self.byte(0) {
            Some(b'(') if self.byte(1) == Some(b'(') => return self.fail("arithmetic"),
            Some(b'(') => {
                let before = (self.script.commands.len(), self.script.loops.len());
                self.substitution()?;
                if let Some(text) = self.printed(before).filter(|_| unknown == Piece::Within) {
                    units.extend(text.chars().map(Unit::Quoted));
                    return Ok(());
                }
            }
            Some(b'{') => {
                self.at += 1;
                self.name()?;
                if !self.take("}") {
                    return self.fail("an expansion that does more than name a variable");
                }
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => self.name()?,
            Some(b'?') => self.at += 1,
            Some(b'0'..=b'9' | b'@' | b'*' | b'#' | b'-' | b'$' | b'!' | b'[' | b'\\') => {
                return self.fail("a special parameter");
            }
            Some(b'\'' | b'"') if unknown == Piece::Splitting => {
                return self.fail("`$` before a quote");
            }
            _ => {
                units.push(Unit::Quoted('$'));
                return Ok(());
            }
        }
        units.push(Unit::Unknown(unknown));
        Ok(())
    }

    /// Takes the name of a variable, and notes it.
    fn name(&mut self) -> Parsed<()> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = self.rest().bytes().take_while(is_part).count();
        let name = &self.rest()[..length];
        if !is_name(name) {
            return self.fail("an expansion that does more than name a variable");
        }
        self.at += length;
        self.variables.push(name.to_owned());
        Ok(())
    }

    /// The commands of `$( )`.
    fn substitution(&mut self) -> Parsed<()> {
        if !self.pending.is_empty() {
            return self.fail("a substitution beside a here-document");
        }
        self.at += 1;
        self.substitutions += 1;
        self.nested(|parser| parser.list(&[]))?;
        self.substitutions -= 1;
        self.expect(")")?;
        if !self.pending.is_empty() {
            return self.fail("a here-document that does not end in its substitution");
        }
        Ok(())
    }

    /// What a substitution prints, if it is `cat` of a here-document alone: how many a long message
    /// is given to `git commit`. `before` counts the commands and loops before it.
    fn printed(&self, (commands, loops): (usize, usize)) -> Option<String> {
        let [command] = &self.script.commands[commands..] else {
            return None;
        };
        let [text] = command.redirections.as_slice() else {
            return None;
        };
        let is_once = self.script.loops.len() == loops && command.assignments.is_empty();
        let is_cat = is_once && command.words == [Word::literal("cat")] && text.operator == "<<";
        let text = text.target.value().filter(|_| is_cat)?;
        Some(text.trim_end_matches('\n').to_owned())
    }

    /// The words that a word becomes.
    pub(super) fn expanded(&self, raw: &RawWord) -> Parsed<Vec<Word>> {
        // Alone it is the name of a program, or its last argument.
        if matches!(raw.raw.as_str(), "[" | "]" | "[[" | "]]") {
            return Ok(vec![raw.literal()]);
        }
        let braces = raw.units.iter().filter(|unit| **unit == Unit::Bare('{'));
        let is_short = braces.count() <= BRACES_MAX;
        let Some(lists) = is_short.then(|| brace_words(&raw.units)).flatten() else {
            return self.fail("a brace list that is not understood");
        };
        let mut words = Vec::new();
        for units in lists.iter().filter(|units| !units.is_empty()) {
            match with_globs(units) {
                Some(word) => words.push(word),
                None => return self.fail("what may be a subscript"),
            }
        }
        Ok(words)
    }

    /// Goes over blanks, continued lines and comments.
    pub(super) fn skip_blanks(&mut self) -> Parsed<()> {
        loop {
            match self.byte(0) {
                Some(byte) if is_blank(byte) => self.at += 1,
                Some(b'\\') if self.byte(1) == Some(b'\n') => self.skip_continuation()?,
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return Ok(()),
            }
        }
    }

    fn skip_continuation(&mut self) -> Parsed<()> {
        let before = self.text[..self.at].bytes().next_back();
        let after = self.byte(2);
        // Behind an operator it may join two of them, in a word two parts, and a `#` after it is
        // in one of bash's versions no comment.
        let is_apart = before.is_none_or(is_blank) && after.is_none_or(|byte| byte != b'#');
        if !is_apart || !self.pending.is_empty() {
            return self.fail("a line that is continued");
        }
        self.at += 2;
        Ok(())
    }
}

/// What brace lists make of a word; `None` where it is not certain.
fn brace_words(units: &[Unit]) -> Option<Vec<Vec<Unit>>> {
    let is = |at: usize, letter: char| units.get(at) == Some(&Unit::Bare(letter));
    let Some(open) = (0..units.len()).find(|at| is(*at, '{')) else {
        return Some(vec![units.to_vec()]);
    };
    let is_list = |at: usize| is(at, ',') || (is(at, '.') && is(at + 1, '.'));
    // Without these there is no list, wherever braces stand.
    if !(open..units.len()).any(is_list) {
        return Some(vec![units.to_vec()]);
    }
    let (close, commas) = braced(units, open)?;
    // Bash takes no `}` for the end before it met a `,` or `..`: `{a},b}` is `a}` and `b`.
    let is_no_list = commas.is_empty() && !(open..close).any(is_list);
    if is_no_list && (close..units.len()).any(|at| is(at, ',')) {
        return None;
    }
    let items = if commas.is_empty() {
        numbers(&units[open + 1..close])?
    } else {
        items(units, open, close, &commas)?
    };
    let rests = brace_words(&units[close + 1..])?;
    if items.len() * rests.len() > BRACE_WORDS_MAX {
        return None;
    }
    let one = |item: &Vec<Unit>, rest: &Vec<Unit>| [&units[..open], item, rest].concat();
    let words = items
        .iter()
        .flat_map(|item| rests.iter().map(move |rest| one(item, rest)));
    Some(words.collect())
}

/// Where a brace ends, and the commas that part what stands in it.
fn braced(units: &[Unit], open: usize) -> Option<(usize, Vec<usize>)> {
    let mut depth = 0;
    let mut commas = Vec::new();
    for (at, unit) in units.iter().enumerate().skip(open) {
        match unit {
            Unit::Bare('{') => depth += 1,
            Unit::Bare('}') if depth == 1 => return Some((at, commas)),
            Unit::Bare('}') => depth -= 1,
            Unit::Bare(',') if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    None
}

fn items(units: &[Unit], open: usize, close: usize, commas: &[usize]) -> Option<Vec<Vec<Unit>>> {
    let starts = std::iter::once(open).chain(commas.iter().copied());
    let ends = commas.iter().copied().chain(std::iter::once(close));
    let mut found = Vec::new();
    for (start, end) in starts.zip(ends) {
        found.extend(brace_words(&units[start + 1..end])?);
    }
    Some(found)
}

/// `1..9`; braces without a list stand for themselves, and are the only item.
fn numbers(inside: &[Unit]) -> Option<Vec<Vec<Unit>>> {
    let bare = |unit: &Unit| match unit {
        Unit::Bare(letter) => Some(*letter),
        Unit::Quoted(_) | Unit::Quotes | Unit::Unknown(_) => None,
    };
    let text: Option<String> = inside.iter().map(bare).collect();
    let Some((first, last)) = text.as_deref().and_then(|text| text.split_once("..")) else {
        let is_plain = inside.iter().all(|unit| *unit != Unit::Bare('{'));
        let itself = [&[Unit::Bare('{')], inside, &[Unit::Bare('}')]].concat();
        return is_plain.then(|| vec![itself]);
    };
    // Others are filled with zeros, or count backwards.
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|one| one.to_string() == text)
    };
    let (first, last) = (number(first)?, number(last)?);
    let is_short = first <= last && usize::from(last - first) < BRACE_WORDS_MAX;
    let word = |number: u16| number.to_string().chars().map(Unit::Quoted).collect();
    is_short.then(|| (first..=last).map(word).collect())
}

/// A word with its globs and tildes; `None` for what bash may take for a subscript.
fn with_globs(units: &[Unit]) -> Option<Word> {
    let mut word = Word::default();
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        let before = at.checked_sub(1).map(|before| &units[before]);
        match unit {
            Unit::Bare('~') if before.is_none() => {
                word.pieces.push(Piece::Home);
                at += user_name(&units[at + 1..]);
            }
            Unit::Bare('~') if matches!(before, Some(Unit::Bare('=' | ':'))) => {
                word.pieces.push(Piece::Within);
            }
            Unit::Bare('*' | '?') => word.pieces.push(Piece::Within),
            Unit::Bare('[') => match bracket(&units[at..]) {
                Some(length) => {
                    word.pieces.push(Piece::Within);
                    at += length;
                }
                None if is_identifier(&units[..at]) => return None,
                None => word.push('['),
            },
            Unit::Bare(letter) | Unit::Quoted(letter) => word.push(*letter),
            Unit::Quotes if word.pieces.is_empty() => word.pieces.push(Piece::Text(String::new())),
            Unit::Quotes => {}
            Unit::Unknown(piece) => word.pieces.push(piece.clone()),
        }
        at += 1;
    }
    Some(word)
}

/// How long the name behind a tilde is.
fn user_name(units: &[Unit]) -> usize {
    units
        .iter()
        .take_while(|unit| **unit != Unit::Bare('/'))
        .count()
}

/// How far the `]` is that ends a bracket.
fn bracket(units: &[Unit]) -> Option<usize> {
    let end = |unit: &Unit| *unit == Unit::Bare(']');
    units.iter().skip(2).position(end).map(|at| at + 2)
}

fn is_identifier(units: &[Unit]) -> bool {
    let letter = |unit: &Unit| match unit {
        Unit::Bare(letter) => Some(*letter),
        Unit::Quoted(_) | Unit::Quotes | Unit::Unknown(_) => None,
    };
    let text: Option<String> = units.iter().map(letter).collect();
    text.is_some_and(|text| is_name(&text))
}
