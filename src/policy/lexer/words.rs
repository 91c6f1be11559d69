//! Words: quotes, expansions, and the commands in them. Pure.

use super::{Parsed, Parser, Piece, Word, is_blank, is_meta, is_name};

/// Where an expansion stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    /// In a word.
    Plain,
    /// In double quotes, or what is read like them: arithmetic, here-documents.
    Quotes,
}

impl Parser<'_> {
    /// The word that stands here; `None` when there is none.
    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        let start = self.at;
        let mut word = Word::default();
        let mut is_pattern = false;
        while let Some(byte) = self.byte(0) {
            match byte {
                b'(' if is_assignment_start(&self.text[start..self.at]) => {
                    self.array(&mut word)?;
                }
                b'<' | b'>' if self.byte(1) == Some(b'(') => {
                    self.at += 2;
                    self.substitution()?;
                    word.push_unknown();
                }
                _ if is_meta(byte) => break,
                b'{' | b'[' => {
                    self.refuse_subscript(start)?;
                    is_pattern = true;
                    word.push(self.letter()?);
                }
                _ => self.part(byte, &mut word)?,
            }
        }
        if self.at == start {
            return Ok(None);
        }
        word.raw = self.text[start..self.at].to_owned();
        // Several words, or another one: which of its letters stay is not ours to know.
        if is_pattern && !matches!(word.raw.as_str(), "{}" | "{" | "[" | "[[") {
            word.pieces = vec![Piece::Unknown];
        }
        self.refuse_newline_in(&word.raw)?;
        Ok(Some(word))
    }

    /// The text of a here-document would begin in the middle of the word.
    fn refuse_newline_in(&self, raw: &str) -> Parsed<()> {
        match !self.pending.is_empty() && raw.contains('\n') {
            true => self.fail("a line's end in a word beside a here-document"),
            false => Ok(()),
        }
    }

    /// One part of a word: a character, a quoted text, an expansion.
    fn part(&mut self, byte: u8, word: &mut Word) -> Parsed<()> {
        match byte {
            b'\\' => self.escaped(word)?,
            b'\'' => self.single_quoted(word)?,
            b'"' => self.double_quoted(word)?,
            b'$' => self.dollar(Around::Plain, word)?,
            b'`' => self.backquoted(Around::Plain, word)?,
            b'*' | b'?' | b'~' => {
                self.at += 1;
                word.push_unknown();
            }
            _ => word.push(self.letter()?),
        }
        Ok(())
    }

    /// An empty quoted text is a word too, and one that can be told from none.
    fn begin_text(word: &mut Word) {
        if word.pieces.is_empty() {
            word.pieces.push(Piece::Text(String::new()));
        }
    }

    fn escaped(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        match self.byte(0) {
            // It would join the letters on both sides, also those of an operator.
            Some(b'\n') => self.fail("a line continued within a word"),
            _ => {
                word.push(self.letter()?);
                Ok(())
            }
        }
    }

    fn single_quoted(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        Self::begin_text(word);
        loop {
            match self.letter()? {
                '\'' => return Ok(()),
                letter => word.push(letter),
            }
        }
    }

    fn double_quoted(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        Self::begin_text(word);
        loop {
            match self.byte(0) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(byte) => self.quoted_part(byte, word)?,
                None => return self.fail("a quote that is not closed"),
            }
        }
    }

    /// A here-document's text, or what else is read like a text in double quotes.
    pub(super) fn quoted_text(&mut self) -> Parsed<()> {
        let mut word = Word::default();
        while let Some(byte) = self.byte(0) {
            self.quoted_part(byte, &mut word)?;
        }
        Ok(())
    }

    fn quoted_part(&mut self, byte: u8, word: &mut Word) -> Parsed<()> {
        match byte {
            b'\\' => {
                self.at += 1;
                match self.byte(0) {
                    Some(b'\n') => self.at += 1,
                    Some(b'$' | b'`' | b'"' | b'\\') => word.push(self.letter()?),
                    _ => word.push('\\'),
                }
            }
            b'$' => self.dollar(Around::Quotes, word)?,
            b'`' => self.backquoted(Around::Quotes, word)?,
            _ => word.push(self.letter()?),
        }
        Ok(())
    }

    fn dollar(&mut self, around: Around, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        match self.byte(0) {
            Some(b'(') => self.parenthesis(word)?,
            Some(b'{') => self.parameter(around, word)?,
            Some(b'[') => return self.fail("old arithmetic, `$[`"),
            Some(b'\\') if self.byte(1) == Some(b'\n') => {
                return self.fail("a line continued within a word");
            }
            Some(b'\'') if around == Around::Plain => self.ansi_quoted(word)?,
            // Translated, if there is a translation.
            Some(b'"') if around == Around::Plain => {
                self.double_quoted(word)?;
                word.push_unknown();
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                while self
                    .byte(0)
                    .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
                {
                    self.at += 1;
                }
                word.push_unknown();
            }
            Some(b'0'..=b'9' | b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!') => {
                self.at += 1;
                word.push_unknown();
            }
            _ => word.push('$'),
        }
        Ok(())
    }

    /// `$(…)` and `$((…))`.
    fn parenthesis(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        word.push_unknown();
        match self.take("(") {
            true => self.arithmetic(false),
            false => self.substitution(),
        }
    }

    /// The commands up to the `)` that ends a substitution.
    fn substitution(&mut self) -> Parsed<()> {
        let outside = std::mem::replace(&mut self.pending_outside, self.pending.len());
        self.nested(|parser| parser.list(&[]))?;
        self.expect(")")?;
        if self.pending.len() != self.pending_outside {
            return self.fail("a here-document that does not end in its substitution");
        }
        self.pending_outside = outside;
        Ok(())
    }

    /// The rest of `((…))`, from the second parenthesis on.
    ///
    /// What bash takes for two nested subshells instead is refused: a first `)` on the same level
    /// that no second one follows. So are quotes, which bash removes before it evaluates.
    pub(super) fn arithmetic(&mut self, has_semicolons: bool) -> Parsed<()> {
        self.nested(|parser| {
            let mut open = 0;
            let mut word = Word::default();
            loop {
                match parser.byte(0) {
                    Some(b')') if open == 0 => break,
                    Some(b'(') => open += 1,
                    Some(b')') => open -= 1,
                    Some(b'$') => {
                        parser.dollar(Around::Quotes, &mut word)?;
                        continue;
                    }
                    Some(b'`') => {
                        parser.backquoted(Around::Quotes, &mut word)?;
                        continue;
                    }
                    Some(b';') if has_semicolons => {}
                    Some(b'\n') if !parser.pending.is_empty() => {
                        return parser.fail("a line's end in a word beside a here-document");
                    }
                    Some(byte) if is_arithmetic(byte) => {}
                    _ => return parser.fail("arithmetic that is not understood"),
                }
                parser.at += 1;
            }
            parser.at += 1;
            match parser.take(")") {
                true => Ok(()),
                false => parser.fail("arithmetic, or nested subshells"),
            }
        })
    }

    /// `${…}`.
    fn parameter(&mut self, around: Around, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        word.push_unknown();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_@*#?$-".contains(&byte);
        if !self.byte(0).is_some_and(is_name) {
            return self.fail("an expansion that is not understood");
        }
        // Else `${$(…)}` would be `$(` to us and nothing to bash.
        self.at += 1;
        self.nested(|parser| {
            let mut inside = Word::default();
            loop {
                match parser.byte(0) {
                    Some(b'}') => break,
                    Some(byte) => parser.parameter_part(byte, around, &mut inside)?,
                    None => return parser.fail("an expansion that is not closed"),
                }
            }
            parser.at += 1;
            Ok(())
        })
    }

    fn parameter_part(&mut self, byte: u8, around: Around, word: &mut Word) -> Parsed<()> {
        let next = self.byte(1);
        match (byte, around) {
            // Whether they quote depends on what stands before them.
            (b'\'' | b'"', Around::Quotes) => self.fail("quotes in a quoted expansion"),
            (b'\'', Around::Plain) => self.single_quoted(word),
            (b'"', Around::Plain) => self.double_quoted(word),
            (b'$', _) if matches!(next, Some(b'\'' | b'"')) => self.fail("a quote in an expansion"),
            (b'$', _) => self.dollar(around, word),
            (b'`', _) => self.backquoted(around, word),
            (b'{', _) => self.fail("a brace in an expansion"),
            (b'<' | b'>', _) if next == Some(b'(') => self.fail("a process in an expansion"),
            // `${x@P}` runs what the value says.
            (b'@', _) if next.is_some_and(|byte| byte.is_ascii_alphabetic()) => {
                self.fail("a transformation of a value")
            }
            (b'\\', _) if next == Some(b'\n') => self.fail("a line continued within a word"),
            (b'\\', _) => {
                self.at += 1;
                self.letter().map(drop)
            }
            _ => self.letter().map(drop),
        }
    }

    fn backquoted(&mut self, around: Around, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        word.push_unknown();
        let mut script = String::new();
        loop {
            match self.letter()? {
                '`' => break,
                '\\' => match self.letter()? {
                    letter @ ('$' | '`' | '\\') => script.push(letter),
                    '"' if around == Around::Quotes => {
                        return self.fail("an escaped quote between backquotes");
                    }
                    letter => script.extend(['\\', letter]),
                },
                letter => script.push(letter),
            }
        }
        self.refuse_newline_in(&script)?;
        self.inner(&script, |parser| parser.script())
    }

    /// `$'…'`.
    fn ansi_quoted(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        Self::begin_text(word);
        loop {
            match self.letter()? {
                '\'' => return Ok(()),
                '\\' => {
                    let letter = self.ansi_escape()?;
                    word.push(letter);
                }
                letter => word.push(letter),
            }
        }
    }

    fn ansi_escape(&mut self) -> Parsed<char> {
        Ok(match self.letter()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'e' | 'E' => '\u{1b}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            letter @ ('\\' | '\'' | '"' | '?') => letter,
            'x' => self.code(16, 2)?,
            'u' => self.code(16, 4)?,
            'U' => self.code(16, 8)?,
            '0'..='7' => {
                self.at -= 1;
                self.code(8, 3)?
            }
            _ => return self.fail("an escape that is not understood"),
        })
    }

    /// A character by its number. Only ASCII: what other numbers stand for depends on the locale.
    fn code(&mut self, radix: u32, digits_max: usize) -> Parsed<char> {
        let mut code = 0;
        let mut digits = 0;
        while let Some(digit) = self
            .byte(0)
            .and_then(|byte| char::from(byte).to_digit(radix))
            && digits < digits_max
        {
            code = code * radix + digit;
            digits += 1;
            self.at += 1;
        }
        match char::from_u32(code) {
            Some(letter) if digits > 0 && (1..128).contains(&code) => Ok(letter),
            _ => self.fail("an escape that is not understood"),
        }
    }

    /// The words of `NAME=(…)`.
    fn array(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        word.push_unknown();
        self.nested(|parser| {
            loop {
                parser.skip_newlines()?;
                match parser.byte(0) {
                    Some(b')') => break,
                    // Its subscript may hold anything.
                    Some(b'[') => return parser.fail("a subscript in an array"),
                    _ => {}
                }
                if parser.word()?.is_none() {
                    return parser.fail("an array that is not understood");
                }
            }
            parser.at += 1;
            Ok(())
        })
    }

    /// A subscript may hold blanks, `#` and `;`, if bash takes it for one.
    fn refuse_subscript(&self, word_start: usize) -> Parsed<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@*$.,:+-".contains(&byte);
        let inside = self.rest().bytes().skip(1).find(|byte| !is_plain(*byte));
        let is_subscript = self.is_at("[") && is_name(&self.text[word_start..self.at]);
        match is_subscript && inside != Some(b']') {
            true => self.fail("a subscript that is not understood"),
            false => Ok(()),
        }
    }

    /// Goes over blanks, continued lines and comments.
    pub(super) fn skip_blanks(&mut self) -> Parsed<()> {
        loop {
            match self.byte(0) {
                Some(byte) if is_blank(byte) => self.at += 1,
                Some(b'\\') if self.byte(1) == Some(b'\n') => self.skip_continuation()?,
                Some(b'#') => match self.rest().find('\n') {
                    Some(length) => self.at += length,
                    None => self.at = self.text.len(),
                },
                _ => return Ok(()),
            }
        }
    }

    fn skip_continuation(&mut self) -> Parsed<()> {
        let before = self.text[..self.at].bytes().next_back();
        // Behind an operator it may join two of them, in a word two parts.
        let is_apart = before.is_none_or(|byte| is_blank(byte) || byte == b'\n');
        if !is_apart || !self.pending.is_empty() {
            return self.fail("a line that is continued");
        }
        self.at += 2;
        Ok(())
    }
}

/// Whether what was read of a word is `NAME=` or `NAME+=`.
fn is_assignment_start(raw: &str) -> bool {
    raw.strip_suffix('=')
        .is_some_and(|name| is_name(name.strip_suffix('+').unwrap_or(name)))
}

fn is_arithmetic(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_ \t\n+-*/%<>=!&|^~?:,[].".contains(&byte)
}

/// Whether a word in front of a command assigns.
pub(super) fn is_assignment(raw: &str) -> bool {
    let end = raw.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = raw.split_at(end.unwrap_or(raw.len()));
    let rest = match (rest.strip_prefix('['), rest.find(']')) {
        (Some(_), Some(close)) => &rest[close + 1..],
        _ => rest,
    };
    is_name(name) && rest.strip_prefix('+').unwrap_or(rest).starts_with('=')
}
