//! What a `deny` is compared with: all that a call may come to. Pure.
//!
//! Generous: quotes or none, base names, behind global options, what wrappers are given, scripts
//! within words, and of what is not in the grammar every word. It is a best effort: what a program
//! does with its input, or what is put together at run time, is not seen.

use serde_json::Value;
use url::Url;

use super::call::{FileUse, ToolUse};
use super::glob::{Extent, Match, RuleGlob, Symbol, letters, symbols};
use super::programs;
use super::rules::{RulePattern, Subject};
use super::shell::{self, Command, Piece, Word, loose};
use crate::base::words;

/// How deep scripts within words are looked into.
const INNER_MAX: usize = 3;
/// How many words are tried as the beginning of a command with options behind it.
const STARTS_MAX: usize = 8;
/// How many words of such a command are compared.
const WORDS_MAX: usize = 256;
/// How much of what fitted is told.
const TOLD_CHARS_MAX: usize = 200;

/// All that a call is compared with.
#[derive(Debug)]
pub(super) struct Subjects {
    subject: Subject,
    forms: Vec<Form>,
}

/// Something that a pattern is compared with.
#[derive(Debug)]
struct Form {
    symbols: Vec<Symbol>,
    extent: Extent,
}

impl Subjects {
    /// Of a call of another tool than the shell: its name, its action, its arguments.
    pub(super) fn of_tool(tool: &ToolUse<'_>) -> Subjects {
        let mut forms = tool_texts(tool);
        forms.push(format!("{} {}", tool.name, tool.arguments));
        forms.extend(command_lines(tool));
        forms.extend(address_asked(tool));
        Subjects {
            subject: tool.subject,
            forms: forms
                .iter()
                .map(|text| symbols(text))
                .chain(
                    tool.file
                        .into_iter()
                        .flat_map(|file| files(tool.name, file)),
                )
                .map(Form::whole)
                .collect(),
        }
    }

    /// Of a script as one text.
    pub(super) fn of_whole(text: &str) -> Subjects {
        Subjects::of_shell(vec![Form {
            symbols: symbols(text),
            // Told from a simple command, in which every part counts.
            extent: Extent::Start,
        }])
    }

    /// Of one command of a script.
    pub(super) fn of_command(command: &Command) -> Subjects {
        let mut forms = Vec::new();
        add_command(command, 0, &mut forms);
        Subjects::of_shell(forms)
    }

    /// Of a text that is not in the grammar.
    pub(super) fn of_phrases(text: &str) -> Subjects {
        let mut forms = Vec::new();
        add_phrases(text, 0, &mut forms);
        Subjects::of_shell(forms)
    }

    /// Of a script, and all that it runs.
    pub(super) fn of_script(text: &str) -> Subjects {
        let mut forms = Subjects::of_whole(text).forms;
        add_inner(text, 0, &mut forms);
        Subjects::of_shell(forms)
    }

    fn of_shell(forms: Vec<Form>) -> Subjects {
        Subjects {
            subject: Subject::Bash,
            forms,
        }
    }

    /// The first of `patterns` that fits, and what it fits.
    pub(super) fn find<'r>(
        &self,
        patterns: &'r [RulePattern],
        how: Match,
    ) -> Option<(&'r RulePattern, String)> {
        patterns
            .iter()
            .find_map(|pattern| Some((pattern, self.fitted(pattern, how)?)))
    }

    fn fitted(&self, pattern: &RulePattern, how: Match) -> Option<String> {
        if self.subject == Subject::Bash && names_shell(pattern) {
            return Some("bash".to_owned());
        }
        let glob = pattern
            .glob()
            .filter(|_| pattern.subject.covers(self.subject))?;
        let is_contained = self.subject == Subject::Bash && !glob.has_star() && !glob.is_empty();
        self.forms.iter().find_map(|form| {
            let extent = form.extent_for(glob, is_contained, how)?;
            let end = glob.find(&form.symbols, how, extent)?;
            Some(told(&form.symbols, glob, end, extent))
        })
    }
}

/// The pattern can forbid something of the shell: a command in it, or all of it.
pub(super) fn forbids_shell(pattern: &RulePattern) -> bool {
    match pattern.subject {
        Subject::Bash | Subject::Any => true,
        Subject::Builtin => names_shell(pattern),
        Subject::Cli | Subject::Mcp => false,
    }
}

/// Whether a pattern means the shell as a tool: it is listed as a builtin, and may be forbidden as one.
/// A `*:` that names it otherwise than by its very name is about commands.
fn names_shell(pattern: &RulePattern) -> bool {
    pattern.glob().is_some_and(|glob| match pattern.subject {
        Subject::Builtin => is_shell(glob),
        Subject::Any => is_shell(glob) && glob.is_exact(),
        Subject::Bash | Subject::Cli | Subject::Mcp => false,
    })
}

/// A pattern for a builtin names the shell: by its name, or with whatever arguments.
pub(super) fn is_shell(glob: &RuleGlob) -> bool {
    let fits = |text: &str| glob.fits(&symbols(text), Match::Loosely);
    fits("bash") || fits("bash ")
}

impl Form {
    fn whole(symbols: Vec<Symbol>) -> Form {
        Form {
            symbols,
            extent: Extent::Whole,
        }
    }

    /// Where a glob may fit it. A pattern of the shell without a `*` fits what contains it, as
    /// existing policies mean it.
    fn extent_for(&self, glob: &RuleGlob, is_contained: bool, how: Match) -> Option<Extent> {
        let is_whole_script = self.extent == Extent::Start;
        match (is_contained, self.extent) {
            // One that names several commands is looked for in all of them.
            (true, Extent::Start) if glob.literal_start().contains([';', '|', '&', '\n']) => {
                Some(Extent::Inside)
            }
            _ if is_whole_script => Some(Extent::Whole),
            // What is unknown may be the command, and is not taken for an argument.
            (true, Extent::Whole) if how == Match::Perhaps => Some(Extent::Start),
            (true, Extent::Later) => Some(Extent::LaterStart),
            (true, Extent::Whole | Extent::FromAnyWord) if glob.is_plain_word() => {
                Some(Extent::InsideWord)
            }
            (true, Extent::Whole | Extent::FromAnyWord) => Some(Extent::Inside),
            (_, extent) => Some(extent),
        }
    }
}

/// The part of a subject that a glob fits, to whole words.
fn told(subject: &[Symbol], glob: &RuleGlob, end: usize, extent: Extent) -> String {
    let letter = |symbol: &Symbol| match symbol {
        Symbol::Letter(letter) | Symbol::Guarded(letter) => *letter,
        Symbol::Border => ' ',
        Symbol::Unknown => '…',
    };
    let is_part = matches!(extent, Extent::Inside | Extent::InsideWord);
    let start = if is_part {
        end.saturating_sub(glob.least_symbols())
    } else {
        0
    };
    let is_border = |symbol: &Symbol| *symbol == Symbol::Border;
    let start = subject[..start]
        .iter()
        .rposition(is_border)
        .map_or(0, |at| at + 1);
    let end = subject[end..]
        .iter()
        .position(is_border)
        .map_or(subject.len(), |at| end + at);
    subject[start..end]
        .iter()
        .take(TOLD_CHARS_MAX)
        .map(letter)
        .collect()
}

/// The texts of a call of a tool: `web`, `web:fetch`, `web:fetch:https://…`, and with its arguments:
/// JSON without blanks, its keys sorted, and anything else as it is.
pub(super) fn tool_texts(tool: &ToolUse<'_>) -> Vec<String> {
    let name = tool.name;
    let mut texts = vec![name.to_owned()];
    let Ok(arguments) = serde_json::from_str::<Value>(tool.arguments) else {
        texts.push(format!("{name} {}", tool.arguments));
        return texts;
    };
    texts.push(format!("{name} {arguments}"));
    let text = |key: &str| arguments.get(key).and_then(|value| value.as_str());
    if let Some(file) = tool.file {
        texts.extend(file.actions().map(|action| format!("{name}:{action}")));
    } else if let Some(action) = text("action") {
        texts.push(format!("{name}:{action}"));
        if let Some(value) = tool.value_key.and_then(text) {
            texts.push(format!("{name}:{action}:{value}"));
        }
    } else if let Some(value) = tool.value_key.and_then(text) {
        texts.push(format!("{name}:{value}"));
    }
    texts
}

/// A call that is about a file, by whatever name it has.
fn files(tool: &str, file: &FileUse) -> Vec<Vec<Symbol>> {
    let names = [file.names(), file.written.clone()].concat();
    let of_action = |action| {
        let names = names.iter();
        names.map(move |name| letters(&format!("{tool}:{action}:{name}")))
    };
    file.actions().flat_map(of_action).collect()
}

/// A call with an address, as far as it is one that says whom is asked: `HTTP://me@Host.:80/x` asks
/// `http://host/x`.
fn address_asked(tool: &ToolUse<'_>) -> Option<String> {
    let arguments = serde_json::from_str::<Value>(tool.arguments).ok()?;
    let text = |key: &str| arguments.get(key)?.as_str();
    let mut url = Url::parse(tool.value_key.and_then(text)?).ok()?;
    let host = url.host_str()?.trim_end_matches('.').to_owned();
    url.set_host(Some(&host)).ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(format!("{}:{}:{url}", tool.name, text("action")?))
}

/// A call of a program as a person would type it, its name and its arguments: as they are written, and
/// as the program is given them.
fn command_lines(tool: &ToolUse<'_>) -> Vec<String> {
    let arguments = serde_json::from_str::<Value>(tool.arguments).ok();
    let arguments = arguments.filter(|_| tool.subject == Subject::Cli);
    let mut lines = Vec::new();
    match arguments.as_ref().and_then(|given| given.get("args")) {
        Some(Value::String(text)) => {
            lines.push(text.clone());
            lines.extend(words::split(text).map(|words| words.join(" ")));
        }
        Some(Value::Array(list)) => {
            let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            lines.push(words.join(" "));
        }
        _ => {}
    }
    let name = tool.name;
    lines.iter().map(|line| format!("{name} {line}")).collect()
}

fn add_command(command: &Command, depth: usize, forms: &mut Vec<Form>) {
    forms.push(Form::whole(symbols(&command.text)));
    add_words(&command.words, forms);
    if !command.redirections.is_empty() {
        let mut form = joined(&command.words);
        for one in &command.redirections {
            form.push(Symbol::Border);
            form.extend(one.operator.chars().map(Symbol::Letter));
            form.push(Symbol::Border);
            form.extend(word_symbols(&one.target));
        }
        forms.push(Form::whole(form));
    }
    let is_computed = |one: &shell::Assignment| programs::is_number(&one.name);
    if programs::may_compute(&command.words) || command.assignments.iter().any(is_computed) {
        forms.push(Form::whole(vec![Symbol::Unknown]));
    }
    let is_runner = programs::may_run_others(&command.words);
    if is_runner {
        add_later(&command.words, forms);
    }
    let values = command.assignments.iter().map(|one| &one.value);
    let targets = command.redirections.iter().map(|one| &one.target);
    for word in values.chain(&command.words).chain(targets) {
        add_word(word, is_runner, depth, forms);
    }
    if is_runner && command.words.len() > 2 {
        // As `eval` and `ssh` take them: one script.
        let texts: Vec<String> = command.words[1..].iter().map(text_of).collect();
        add_inner(&texts.join(" "), depth + 1, forms);
    }
}

/// The words, also with the bare name of the program, and without options in front.
fn add_words(words: &[Word], forms: &mut Vec<Form>) {
    forms.push(Form::whole(joined(words)));
    let Some((first, rest)) = words.split_first() else {
        return;
    };
    let name = first.value().unwrap_or_default();
    let base = programs::base_name(&name);
    if base != name {
        let renamed = [&[Word::literal(base)], rest].concat();
        forms.push(Form::whole(joined(&renamed)));
        add_without_options(&renamed, forms);
    }
    add_without_options(words, forms);
}

/// `git push` of `git -C . push`: of an option that may take a value, both with it and without.
fn add_without_options(words: &[Word], forms: &mut Vec<Form>) {
    let words = &words[..words.len().min(WORDS_MAX)];
    for kept in [1, 2] {
        let is_option = |at: usize| {
            words
                .get(at)
                .is_some_and(|word| word.start().starts_with(['-', '+']))
        };
        let mut at = kept;
        let mut forms_left = STARTS_MAX;
        while is_option(at) && forms_left > 0 {
            at += 1;
            for behind in [at, at + 1] {
                if !is_option(behind) && behind <= words.len() {
                    let words = [&words[..kept], &words[behind..]].concat();
                    forms.push(Form::whole(joined(&words)));
                }
            }
            at += usize::from(is_option(at + 1) && !is_option(at));
            forms_left -= 1;
        }
        if is_option(at) {
            // What stands behind so many is not looked for: it may be anything.
            let mut form = joined(&words[..kept]);
            form.extend([Symbol::Border, Symbol::Unknown]);
            forms.push(Form::whole(form));
        }
    }
}

/// What a program that is given a command may run.
fn add_later(words: &[Word], forms: &mut Vec<Form>) {
    let mut symbols = joined(words);
    if programs::appends_words(words) {
        symbols.extend([Symbol::Border, Symbol::Unknown]);
    }
    forms.push(Form {
        symbols,
        extent: Extent::Later,
    });
    for start in 1..words.len().min(STARTS_MAX) {
        add_without_options(&words[start..], forms);
    }
}

/// What a word may run when it is evaluated: a script for a shell, or substitutions in quotes.
fn add_word(word: &Word, is_script: bool, depth: usize, forms: &mut Vec<Form>) {
    let text = text_of(word);
    let is_inner = text.contains("$(") || text.contains('`');
    if depth < INNER_MAX && (is_inner || (is_script && loose::may_hold_commands(&text))) {
        add_inner(&text, depth + 1, forms);
    }
}

/// A script within a word.
fn add_inner(text: &str, depth: usize, forms: &mut Vec<Form>) {
    if depth > INNER_MAX {
        return;
    }
    match shell::parse(text) {
        Ok(script) => script
            .commands
            .iter()
            .for_each(|one| add_command(one, depth, forms)),
        Err(_) => add_phrases(text, depth, forms),
    }
}

fn add_phrases(text: &str, depth: usize, forms: &mut Vec<Form>) {
    for phrase in loose::phrases(text) {
        forms.push(Form::whole(symbols(&phrase.text)));
        let mut symbols = joined(&phrase.words);
        if phrase
            .words
            .iter()
            .any(|word| programs::appends_words(std::slice::from_ref(word)))
        {
            symbols.extend([Symbol::Border, Symbol::Unknown]);
        }
        forms.push(Form {
            symbols,
            extent: Extent::FromAnyWord,
        });
        for start in 0..phrase.words.len().min(STARTS_MAX) {
            add_without_options(&phrase.words[start..], forms);
        }
        for word in &phrase.words {
            let inner = text_of(word);
            if depth < INNER_MAX && inner.len() < text.len() && loose::may_hold_commands(&inner) {
                add_phrases(&inner, depth + 1, forms);
            }
        }
    }
}

fn text_of(word: &Word) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Within | Piece::Splitting | Piece::Home => "${_}".to_owned(),
    };
    word.pieces.iter().map(piece).collect()
}

pub(super) fn joined(words: &[Word]) -> Vec<Symbol> {
    let mut form = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            form.push(Symbol::Border);
        }
        form.extend(word_symbols(word));
    }
    form
}

pub(super) fn word_symbols(word: &Word) -> Vec<Symbol> {
    let mut found = Vec::new();
    for piece in &word.pieces {
        match piece {
            Piece::Text(text) => found.extend(text.chars().map(Symbol::Letter)),
            Piece::Within | Piece::Splitting | Piece::Home => found.push(Symbol::Unknown),
        }
    }
    found
}
