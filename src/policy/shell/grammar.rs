//! Lists, pipelines, compound and simple commands, redirections. Pure.

use super::words::RawWord;
use super::{
    Assignment, Command, Flow, HereDocument, Loop, Parsed, Parser, Redirection, TEXT_BYTES_MAX,
    Word, is_meta, is_name,
};

/// Words that mean something of their own where a command begins, and are not in the grammar.
const RESERVED: [&str; 17] = [
    "case", "select", "function", "coproc", "[[", "]]", "then", "elif", "else", "fi", "do", "done",
    "esac", "}", "in", "!", "time",
];
/// The redirections, longest first.
const OPERATORS: [&str; 11] = [
    "<<<", "<<", "<&", "<>", "<", "&>>", "&>", ">>", ">&", ">|", ">",
];

impl Parser<'_> {
    /// The whole text.
    pub(super) fn whole(&mut self) -> Parsed<()> {
        // What bash does with the others is its own affair, and some it uses itself.
        let is_odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
        if let Some(at) = self.text.find(is_odd) {
            self.at = at;
            return self.fail("a control character");
        }
        if self.text.len() > TEXT_BYTES_MAX {
            return self.fail("too long a script");
        }
        self.nested(|parser| parser.list(&[]))?;
        match self.byte(0) {
            None if self.pending.is_empty() => Ok(()),
            None => self.fail("a here-document that does not end"),
            Some(_) => self.fail("something unexpected"),
        }
    }

    /// Commands up to one of `ends`, a `)` or the end.
    pub(super) fn list(&mut self, ends: &[&str]) -> Parsed<()> {
        loop {
            self.skip_newlines()?;
            if self.is_list_end(ends) {
                return Ok(());
            }
            self.and_or()?;
            self.skip_blanks()?;
            match self.byte(0) {
                None | Some(b'\n') => {}
                // A compound command may stand right before the word that ends another.
                Some(_) if self.is_list_end(ends) => {}
                Some(b';') if self.byte(1) != Some(b';') => self.at += 1,
                Some(b'&') => return self.fail("a command in the background"),
                Some(_) => return self.fail("something unexpected"),
            }
        }
    }

    fn is_list_end(&self, ends: &[&str]) -> bool {
        matches!(self.byte(0), None | Some(b')')) || ends.contains(&self.bare_word())
    }

    /// The word that stands here, as it is written; perhaps empty.
    fn bare_word(&self) -> &str {
        let rest = self.rest();
        let end = rest.bytes().position(is_meta);
        &rest[..end.unwrap_or(rest.len())]
    }

    fn take_bare_word(&mut self, word: &'static str) -> Parsed<()> {
        self.skip_newlines()?;
        if self.bare_word() != word {
            return self.fail("something unexpected");
        }
        self.at += word.len();
        Ok(())
    }

    /// Goes over blanks, comments and line ends, and over the here-documents behind these.
    fn skip_newlines(&mut self) -> Parsed<()> {
        loop {
            self.skip_blanks()?;
            if !self.take("\n") {
                return Ok(());
            }
            for here in std::mem::take(&mut self.pending) {
                self.here_document(&here)?;
            }
        }
    }

    fn and_or(&mut self) -> Parsed<()> {
        loop {
            self.pipeline()?;
            self.skip_blanks()?;
            if !self.take("&&") && !self.take("||") {
                return Ok(());
            }
            self.skip_newlines()?;
        }
    }

    fn pipeline(&mut self) -> Parsed<()> {
        self.pipeline_start()?;
        loop {
            self.command()?;
            self.skip_blanks()?;
            if self.rest().starts_with("||") || !(self.take("|&") || self.take("|")) {
                return Ok(());
            }
            self.skip_newlines()?;
        }
    }

    /// `!` and `time`.
    fn pipeline_start(&mut self) -> Parsed<()> {
        loop {
            self.skip_blanks()?;
            match self.bare_word() {
                "!" => self.at += 1,
                "time" => {
                    self.at += 4;
                    self.skip_blanks()?;
                    if self.bare_word() == "-p" {
                        self.at += 2;
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn command(&mut self) -> Parsed<()> {
        self.skip_blanks()?;
        match self.bare_word() {
            "" if self.rest().starts_with("((") => return self.fail("arithmetic"),
            "" if self.rest().starts_with('(') => self.nested(Parser::subshell)?,
            "{" => self.nested(|parser| parser.block("{", "}"))?,
            "if" => self.nested(Parser::if_clause)?,
            "while" => self.nested(|parser| parser.loop_over("while"))?,
            "until" => self.nested(|parser| parser.loop_over("until"))?,
            "for" => self.nested(Parser::for_loop)?,
            word if RESERVED.contains(&word) => {
                return self.fail("a construct, or a word that cannot stand here");
            }
            _ => return self.simple(),
        }
        self.redirections_of_compound()
    }

    fn redirections_of_compound(&mut self) -> Parsed<()> {
        self.skip_blanks()?;
        let start = self.at;
        let slot = self.slot();
        while self.redirection(slot)? {
            self.skip_blanks()?;
        }
        let command = &mut self.script.commands[slot];
        let is_harmless = |one: &Redirection| one.flow == Flow::Harmless;
        if command.redirections.iter().all(is_harmless) {
            // Their targets are literal: nothing was found in them.
            self.script.commands.truncate(slot);
        } else {
            command.text = self.text[start..self.at].trim().to_owned();
        }
        Ok(())
    }

    /// A place for a command, before those that are found in its words.
    fn slot(&mut self) -> usize {
        self.script.commands.push(Command::default());
        self.script.commands.len() - 1
    }

    fn subshell(&mut self) -> Parsed<()> {
        self.expect("(")?;
        self.list(&[])?;
        self.expect(")")
    }

    /// Commands between two words.
    fn block(&mut self, start: &'static str, end: &'static str) -> Parsed<()> {
        self.take_bare_word(start)?;
        self.list(&[end])?;
        self.take_bare_word(end)
    }

    fn if_clause(&mut self) -> Parsed<()> {
        self.take_bare_word("if")?;
        loop {
            self.list(&["then"])?;
            self.take_bare_word("then")?;
            self.list(&["elif", "else", "fi"])?;
            match self.bare_word() {
                "elif" => self.at += 4,
                "else" => return self.block("else", "fi"),
                _ => return self.take_bare_word("fi"),
            }
        }
    }

    fn loop_over(&mut self, word: &'static str) -> Parsed<()> {
        self.take_bare_word(word)?;
        self.list(&["do"])?;
        self.block("do", "done")
    }

    /// `for NAME in WORDS; do … done`.
    fn for_loop(&mut self) -> Parsed<()> {
        let start = self.at;
        self.at += "for".len();
        self.skip_blanks()?;
        let name = self.bare_word().to_owned();
        if !is_name(&name) {
            return self.fail("a loop of another kind");
        }
        self.at += name.len();
        self.skip_blanks()?;
        if self.bare_word() != "in" {
            return self.fail("a loop over the arguments of the script");
        }
        self.at += "in".len();
        self.skip_blanks()?;
        while let Some(raw) = self.raw_word()? {
            self.expanded(&raw)?;
            self.skip_blanks()?;
        }
        let text = self.text[start..self.at].trim_end().to_owned();
        self.script.loops.push(Loop { name, text });
        if !(self.take(";") || self.byte(0) == Some(b'\n')) {
            return self.fail("something unexpected");
        }
        self.block("do", "done")
    }

    fn simple(&mut self) -> Parsed<()> {
        let (start, slot, variables) = (self.at, self.slot(), self.variables.len());
        let mut end = start;
        while self.redirection(slot)? || self.word_of(slot)? {
            end = self.at;
            self.skip_blanks()?;
        }
        if end == start || self.byte(0) == Some(b'(') {
            return self.fail("something unexpected");
        }
        let command = &mut self.script.commands[slot];
        command.text = self.text[start..end].to_owned();
        command.variables = self.variables[variables..].to_vec();
        Ok(())
    }

    /// Takes a word of the command in `slot`; `false` when there is none.
    fn word_of(&mut self, slot: usize) -> Parsed<bool> {
        let Some(raw) = self.raw_word()? else {
            return Ok(false);
        };
        let is_first = self.script.commands[slot].words.is_empty();
        let assignment = raw.assignment().filter(|_| is_first);
        let words = match (&assignment, is_first) {
            (Some(_), _) => Vec::new(),
            (None, true) if !raw.is_literal() => return self.fail("what it runs is not literal"),
            (None, true) => vec![raw.literal()],
            (None, false) => self.expanded(&raw)?,
        };
        let command = &mut self.script.commands[slot];
        match assignment {
            Some((name, value)) => command.assignments.push(Assignment { name, value }),
            None => command.written.push(raw.raw),
        }
        command.words.extend(words);
        Ok(true)
    }

    /// Takes a redirection of the command in `slot`; `false` when there is none.
    fn redirection(&mut self, slot: usize) -> Parsed<bool> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let behind = &self.rest()[digits..];
        if behind.starts_with("<(") || behind.starts_with(">(") {
            return self.fail("a process in a word");
        }
        // `2&>file` runs `2` in the background.
        let is_apart = |one: &str| one.starts_with('&') && digits > 0;
        let is_operator = |one: &&str| behind.starts_with(*one) && !is_apart(one);
        let Some(operator) = OPERATORS.into_iter().find(is_operator) else {
            return Ok(false);
        };
        // Bash takes too great a number for a word.
        if digits > 2 {
            return self.fail("a descriptor that is not understood");
        }
        self.at += digits + operator.len();
        self.skip_blanks()?;
        let Some(raw) = self.raw_word()? else {
            return self.fail("a redirection to nowhere");
        };
        let target = self.target(&raw, operator, slot)?;
        let flow = flow(operator, &target);
        let written = raw.raw;
        self.script.commands[slot].redirections.push(Redirection {
            operator,
            target,
            written,
            flow,
        });
        Ok(true)
    }

    fn target(&mut self, raw: &RawWord, operator: &str, slot: usize) -> Parsed<Word> {
        if operator == "<<" {
            self.expect_here_document(raw, slot)?;
            return Ok(raw.literal());
        }
        let mut words = self.expanded(raw)?;
        match (words.pop(), words.is_empty()) {
            (Some(word), true) => Ok(word),
            _ => self.fail("a redirection to several files"),
        }
    }

    fn expect_here_document(&mut self, raw: &RawWord, slot: usize) -> Parsed<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let delimiter = raw.literal().value().unwrap_or_default();
        if delimiter.is_empty() || !delimiter.bytes().all(is_plain) {
            return self.fail("an end of a here-document that is not understood");
        }
        self.pending.push(HereDocument {
            is_literal: delimiter != raw.raw,
            delimiter,
            command: slot,
            redirection: self.script.commands[slot].redirections.len(),
        });
        Ok(())
    }

    /// The text of a here-document, which begins here.
    fn here_document(&mut self, here: &HereDocument) -> Parsed<()> {
        let start = self.at;
        loop {
            let Some(length) = self.rest().find('\n').or(self.last_line()) else {
                return self.fail("a here-document that does not end");
            };
            let (line_start, line) = (self.at, &self.rest()[..length]);
            self.at = self.text.len().min(line_start + length + 1);
            if line == here.delimiter {
                return self.keep_here_document(here, &self.text[start..line_start]);
            }
            // Bash ends one there where a substitution ends in the same line.
            if self.substitutions > 0 && line.starts_with(&here.delimiter) {
                return self.fail("an end of a here-document that is not understood");
            }
        }
    }

    /// How long the last line is, which no line end follows.
    fn last_line(&self) -> Option<usize> {
        Some(self.rest().len()).filter(|length| *length > 0)
    }

    fn keep_here_document(&mut self, here: &HereDocument, text: &str) -> Parsed<()> {
        if !here.is_literal && text.contains(['$', '`', '\\']) {
            return self.fail("a here-document with expansions");
        }
        let redirection = &mut self.script.commands[here.command].redirections[here.redirection];
        redirection.target = Word::literal(text);
        redirection.written = text.to_owned();
        Ok(())
    }
}

fn flow(operator: &str, target: &Word) -> Flow {
    let value = target.value();
    let value = value.as_deref();
    let is_socket = |path: &str| {
        let path = path.replace("//", "/");
        path.starts_with("/dev/tcp") || path.starts_with("/dev/udp")
    };
    let joins = value.is_some_and(|word| {
        let digits = word.strip_suffix('-').unwrap_or(word);
        !word.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    match operator {
        "<&" | ">&" if joins => Flow::Harmless,
        "<<" | "<<<" => Flow::Read,
        // What is opened may be a socket, as far as we know.
        "<" if value.is_none_or(is_socket) => Flow::Write,
        "<" => Flow::Read,
        ">" | ">>" | ">|" | ">&" | "&>" | "&>>" if value == Some("/dev/null") => Flow::Harmless,
        _ => Flow::Write,
    }
}
