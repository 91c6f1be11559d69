//! Lists, pipelines, compound and simple commands, redirections. Pure.

use super::words::is_assignment;
use super::{
    Command, Flow, Parsed, Parser, Pending, Piece, Redirection, Word, is_blank, is_meta, is_name,
};

/// The words that mean something of their own where a command begins.
const COMPOUND: [&str; 9] = [
    "{", "if", "while", "until", "for", "select", "case", "[[", "function",
];
/// Those that can't begin a command: one that does is no bash, or bash that was misread.
const MISPLACED: [&str; 11] = [
    "then", "elif", "else", "fi", "do", "done", "esac", "}", "!", "in", "]]",
];
/// The redirections, longest first.
const OPERATORS: [&str; 12] = [
    "<<<", "<<-", "<<", "<&", "<>", "<", "&>>", "&>", ">>", ">&", ">|", ">",
];

impl Parser<'_> {
    /// The whole text.
    pub(super) fn script(&mut self) -> Parsed<()> {
        self.nested(|parser| parser.list(&[]))?;
        match self.byte(0) {
            None if self.pending.is_empty() => Ok(()),
            None => self.fail("a here-document that does not end"),
            Some(_) => self.fail("something unexpected"),
        }
    }

    /// Commands up to one of `ends`, a `)`, a `;;` or the end.
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
                Some(b';' | b'&') => self.at += 1,
                Some(_) => return self.fail("something unexpected"),
            }
        }
    }

    fn is_list_end(&self, ends: &[&str]) -> bool {
        let is_clause_end = self.is_at(";;") || self.is_at(";&");
        let is_end = matches!(self.byte(0), None | Some(b')'));
        is_end || is_clause_end || ends.contains(&self.bare_word())
    }

    /// The unquoted word that stands here, as it is written; perhaps empty.
    fn bare_word(&self) -> &str {
        let rest = self.rest();
        let end = rest.bytes().position(is_meta);
        &rest[..end.unwrap_or(rest.len())]
    }

    fn take_bare_word(&mut self, word: &'static str) -> Parsed<()> {
        self.skip_newlines()?;
        match self.bare_word() == word {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => self.fail("something unexpected"),
        }
    }

    /// Goes over blanks, comments and line ends, and over the here-documents behind these.
    pub(super) fn skip_newlines(&mut self) -> Parsed<()> {
        loop {
            self.skip_blanks()?;
            if !self.take("\n") {
                return Ok(());
            }
            if self.pending_outside > 0 {
                return self.fail("a line's end in a word beside a here-document");
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
            if self.is_at("||") || !(self.take("|&") || self.take("|")) {
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
                    for option in ["-p", "--"] {
                        if self.bare_word() == option {
                            self.at += 2;
                            self.skip_blanks()?;
                        }
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn command(&mut self) -> Parsed<()> {
        self.skip_blanks()?;
        if self.bare_word() == "coproc" {
            return self.coproc();
        }
        match self.is_compound() {
            true => self.compound(),
            false => self.simple(),
        }
    }

    fn is_compound(&self) -> bool {
        self.is_at("(") || COMPOUND.contains(&self.bare_word())
    }

    /// A compound command and its redirections.
    fn compound(&mut self) -> Parsed<()> {
        let start = self.at;
        let word = self.bare_word().to_owned();
        self.nested(|parser| match word.as_str() {
            "" if parser.take("((") => {
                parser.arithmetic(false)?;
                parser.note_assignment(start);
                Ok(())
            }
            "" => {
                parser.expect("(")?;
                parser.list(&[])?;
                parser.expect(")")
            }
            "{" => parser.group(),
            "if" => parser.if_clause(),
            "while" | "until" => parser.while_loop(),
            "for" | "select" => parser.for_loop(),
            "case" => parser.case(),
            "[[" => parser.condition(),
            _ => parser.function(),
        })?;
        self.compound_redirections()
    }

    fn compound_redirections(&mut self) -> Parsed<()> {
        let start = self.at;
        let slot = self.slot();
        loop {
            self.skip_blanks()?;
            match self.redirection(slot)? {
                Some(redirection) => self.found[slot].redirections.push(redirection),
                None => break,
            }
        }
        let redirections = &self.found[slot].redirections;
        if redirections.iter().all(|one| one.flow == Flow::Harmless) {
            // Their targets are literal: nothing was found in them.
            self.found.truncate(slot);
        } else {
            self.found[slot].text = self.text[start..self.at].trim().to_owned();
        }
        Ok(())
    }

    /// A place for a command, before those that are found in its words.
    fn slot(&mut self) -> usize {
        self.found.push(Command::default());
        self.found.len() - 1
    }

    /// Notes that what stands between `start` and here sets a variable.
    fn note_assignment(&mut self, start: usize) {
        let text = &self.text[start..self.at];
        self.found.push(Command {
            assignments: vec![Word {
                raw: text.to_owned(),
                pieces: vec![Piece::Unknown],
            }],
            text: text.to_owned(),
            ..Command::default()
        });
    }

    fn group(&mut self) -> Parsed<()> {
        self.take_bare_word("{")?;
        self.list(&["}"])?;
        self.take_bare_word("}")
    }

    fn if_clause(&mut self) -> Parsed<()> {
        self.take_bare_word("if")?;
        loop {
            self.list(&["then"])?;
            self.take_bare_word("then")?;
            self.list(&["elif", "else", "fi"])?;
            match self.bare_word() {
                "elif" => self.at += 4,
                "else" => {
                    self.at += 4;
                    self.list(&["fi"])?;
                    return self.take_bare_word("fi");
                }
                _ => return self.take_bare_word("fi"),
            }
        }
    }

    fn while_loop(&mut self) -> Parsed<()> {
        self.at += 5;
        self.list(&["do"])?;
        self.loop_body()
    }

    fn loop_body(&mut self) -> Parsed<()> {
        self.take_bare_word("do")?;
        self.list(&["done"])?;
        self.take_bare_word("done")
    }

    fn for_loop(&mut self) -> Parsed<()> {
        let start = self.at;
        self.at += self.bare_word().len();
        self.skip_blanks()?;
        if self.take("((") {
            self.arithmetic(true)?;
        } else {
            self.plain_name()?;
            self.skip_newlines()?;
            if self.bare_word() == "in" {
                self.at += 2;
                self.words_of_loop()?;
            }
        }
        self.note_assignment(start);
        self.skip_blanks()?;
        if !self.is_at(";;") {
            self.take(";");
        }
        self.skip_newlines()?;
        match self.bare_word() {
            "{" => self.group(),
            _ => self.loop_body(),
        }
    }

    fn words_of_loop(&mut self) -> Parsed<()> {
        loop {
            self.skip_blanks()?;
            if self.word()?.is_none() {
                return Ok(());
            }
        }
    }

    /// The name of a variable or a function.
    fn plain_name(&mut self) -> Parsed<()> {
        let name = self.bare_word();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) {
            return self.fail("a name that is not understood");
        }
        self.at += name.len();
        Ok(())
    }

    fn case(&mut self) -> Parsed<()> {
        self.take_bare_word("case")?;
        self.skip_blanks()?;
        if self.word()?.is_none() {
            return self.fail("something unexpected");
        }
        self.take_bare_word("in")?;
        loop {
            self.skip_newlines()?;
            if self.bare_word() == "esac" {
                return self.take_bare_word("esac");
            }
            self.case_clause()?;
        }
    }

    fn case_clause(&mut self) -> Parsed<()> {
        self.take("(");
        loop {
            self.skip_blanks()?;
            if self.word()?.is_none() {
                return self.fail("something unexpected");
            }
            self.skip_blanks()?;
            if !self.take("|") {
                break;
            }
        }
        self.expect(")")?;
        self.list(&["esac"])?;
        if !(self.take(";;&") || self.take(";;") || self.take(";&")) && self.bare_word() != "esac" {
            return self.fail("something unexpected");
        }
        Ok(())
    }

    /// `[[ … ]]`. It is a command of that name to those who judge.
    fn condition(&mut self) -> Parsed<()> {
        let (start, slot) = (self.at, self.slot());
        let mut words = Vec::new();
        loop {
            self.skip_blanks_of_condition()?;
            let is_process = self.byte(1) == Some(b'(');
            if self.take("&&") || self.take("||") {
                continue;
            }
            match self.byte(0) {
                Some(b'(') => self.group_in_condition(words.last())?,
                Some(b')') => self.at += 1,
                Some(b'<' | b'>') if !is_process => self.at += 1,
                _ => {
                    let Some(word) = self.word()? else {
                        return self.fail("a condition that is not understood");
                    };
                    self.refuse_hidden_code(&word)?;
                    words.push(word);
                    if words.last().is_some_and(|word| word.raw == "]]") {
                        break;
                    }
                }
            }
        }
        self.found[slot].words = words;
        self.found[slot].text = self.text[start..self.at].to_owned();
        Ok(())
    }

    /// A `(` that groups. One of a pattern (`=~ (…)`, `== @(…)`) ends at its own `)`, and everything
    /// before that, a `]]` too, is the pattern's: such are refused.
    fn group_in_condition(&mut self, last: Option<&Word>) -> Parsed<()> {
        let before = self.text[..self.at].bytes().next_back();
        let is_apart = before.is_none_or(|byte| is_blank(byte) || matches!(byte, b'\n' | b'('));
        if !is_apart || last.is_some_and(|word| word.raw == "=~") {
            return self.fail("a parenthesis in a pattern");
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks_of_condition(&mut self) -> Parsed<()> {
        while self
            .byte(0)
            .is_some_and(|byte| is_blank(byte) || byte == b'\n')
        {
            if self.byte(0) == Some(b'\n') && !self.pending.is_empty() {
                return self.fail("a line's end in a condition beside a here-document");
            }
            self.at += 1;
        }
        match self.byte(0) {
            Some(b'#') => self.fail("a `#` in a condition"),
            _ => Ok(()),
        }
    }

    /// `[[ 'a[$(date)]' -eq 0 ]]` runs `date`, quotes or not.
    fn refuse_hidden_code(&self, word: &Word) -> Parsed<()> {
        let is_code = |piece: &Piece| match piece {
            Piece::Text(text) => text.contains(['$', '`']),
            Piece::Unknown => false,
        };
        match word.pieces.iter().any(is_code) {
            true => self.fail("a condition that may evaluate its words"),
            false => Ok(()),
        }
    }

    /// `function NAME [()] BODY`.
    fn function(&mut self) -> Parsed<()> {
        self.take_bare_word("function")?;
        self.skip_blanks()?;
        self.plain_name()?;
        self.skip_blanks()?;
        if self.is_at("(") && self.rest()[1..].trim_start().starts_with(')') {
            self.function_parentheses()?;
        }
        self.function_body()
    }

    fn function_parentheses(&mut self) -> Parsed<()> {
        self.expect("(")?;
        self.skip_blanks()?;
        self.expect(")")
    }

    fn function_body(&mut self) -> Parsed<()> {
        self.skip_newlines()?;
        match self.is_compound() {
            true => self.compound(),
            false => self.fail("a function without a body"),
        }
    }

    fn coproc(&mut self) -> Parsed<()> {
        let start = self.at;
        self.at += "coproc".len();
        self.note_assignment(start);
        self.skip_blanks()?;
        if self.is_compound() {
            return self.compound();
        }
        let before = self.at;
        if is_name(self.bare_word()) {
            self.at += self.bare_word().len();
            self.skip_blanks()?;
            if self.is_compound() {
                return self.compound();
            }
            self.at = before;
        }
        self.simple()
    }

    /// A simple command, or the definition of a function.
    fn simple(&mut self) -> Parsed<()> {
        if MISPLACED.contains(&self.bare_word()) {
            return self.fail("a word that cannot stand here");
        }
        let (start, slot) = (self.at, self.slot());
        let mut end = start;
        loop {
            self.skip_blanks()?;
            if let Some(redirection) = self.redirection(slot)? {
                self.found[slot].redirections.push(redirection);
            } else if let Some(word) = self.word()? {
                let command = &mut self.found[slot];
                match command.words.is_empty() && is_assignment(&word.raw) {
                    true => command.assignments.push(word),
                    false => command.words.push(word),
                }
            } else {
                break;
            }
            end = self.at;
        }
        if end == start {
            return self.fail("something unexpected");
        }
        if self.is_at("(") {
            return self.define(slot);
        }
        self.found[slot].text = self.text[start..end].to_owned();
        Ok(())
    }

    /// The rest of a function's definition, whose name was taken for a command.
    fn define(&mut self, slot: usize) -> Parsed<()> {
        let head = &self.found[slot];
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        let is_name = head.assignments.is_empty()
            && head.redirections.is_empty()
            && head.words.len() == 1
            && head.words[0].raw.bytes().all(is_plain);
        if !is_name {
            return self.fail("a parenthesis");
        }
        self.found.truncate(slot);
        self.function_parentheses()?;
        self.nested(Parser::function_body)
    }

    /// The redirection that stands here, of the command in `slot`.
    fn redirection(&mut self, slot: usize) -> Parsed<Option<Redirection>> {
        let prefix = self.descriptor()?;
        let Some(operator) = self.operator(prefix) else {
            return Ok(None);
        };
        let sets_variable = self.byte(0) == Some(b'{');
        self.at += prefix + operator.len();
        self.skip_blanks()?;
        let Some(target) = self.word()? else {
            return self.fail("a redirection to nowhere");
        };
        if matches!(operator, "<<" | "<<-") {
            self.expect_here_document(operator, &target, slot)?;
        }
        let flow = match sets_variable {
            true => Flow::Write,
            false => flow(operator, &target),
        };
        Ok(Some(Redirection {
            operator,
            target,
            flow,
        }))
    }

    /// How long the number or `{name}` is that a redirection here may begin with.
    fn descriptor(&self) -> Parsed<usize> {
        let rest = self.rest();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // Bash takes it for a word if it is too great a number; not for its leading zeros.
        if digits > 9 && rest[digits..].starts_with(['<', '>']) {
            return self.fail("a descriptor that is not understood");
        }
        let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        Ok(match name {
            Some((name, _)) if is_name(name) => name.len() + 2,
            _ => digits,
        })
    }

    fn operator(&self, prefix: usize) -> Option<&'static str> {
        let rest = &self.rest()[prefix..];
        let operator = OPERATORS.into_iter().find(|one| rest.starts_with(one))?;
        let is_process = matches!(operator, "<" | ">") && rest[1..].starts_with('(');
        // `2&>file` runs `2` in the background.
        let is_apart = operator.starts_with('&') && prefix > 0;
        (!is_process && !is_apart).then_some(operator)
    }

    fn expect_here_document(&mut self, operator: &str, word: &Word, slot: usize) -> Parsed<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.!-".contains(&byte);
        let delimiter = word.value().unwrap_or_default();
        if delimiter.is_empty() || !delimiter.bytes().all(is_plain) {
            return self.fail("an end of a here-document that is not understood");
        }
        self.pending.push(Pending {
            is_literal: delimiter != word.raw,
            delimiter,
            strips_tabs: operator == "<<-",
            command: slot,
            redirection: self.found[slot].redirections.len(),
        });
        Ok(())
    }

    /// The text of a here-document, which begins here.
    fn here_document(&mut self, here: &Pending) -> Parsed<()> {
        let start = self.at;
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return self.fail("a here-document that does not end");
            }
            let line = rest.split('\n').next().unwrap_or_default();
            let shown = match here.strips_tabs {
                true => line.trim_start_matches('\t'),
                false => line,
            };
            // Where a substitution ends in the same line, bash stops at the delimiter in front.
            let is_end = shown == here.delimiter;
            if !is_end && shown.starts_with(&here.delimiter) && shown.contains(')') {
                return self.fail("an end of a here-document that is not understood");
            }
            let line_start = self.at;
            self.at = self.text.len().min(self.at + line.len() + 1);
            if is_end {
                let text = self.text[start..line_start].to_owned();
                return self.keep_here_document(here, text);
            }
        }
    }

    fn keep_here_document(&mut self, here: &Pending, text: String) -> Parsed<()> {
        let mut target = Word {
            pieces: vec![Piece::Text(text.clone())],
            raw: text,
        };
        if !here.is_literal {
            // Bash joins the lines before it looks for the last one.
            if target.raw.contains("\\\n") {
                return self.fail("a line continued in a here-document");
            }
            if target.raw.contains(['$', '`']) {
                self.inner(&target.raw, |parser| parser.quoted_text())?;
                target.pieces = vec![Piece::Unknown];
            }
        }
        self.found[here.command].redirections[here.redirection].target = target;
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
        "<<" | "<<-" | "<<<" => Flow::Read,
        // What is opened may be a socket, as far as we know.
        "<" if value.is_none_or(is_socket) => Flow::Write,
        "<" => Flow::Read,
        ">" | ">>" | ">|" | ">&" | "&>" | "&>>" if value == Some("/dev/null") => Flow::Harmless,
        _ => Flow::Write,
    }
}
