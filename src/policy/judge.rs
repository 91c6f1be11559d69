//! What becomes of a call by an agent's rules. Pure.
//!
//! A shell's script is judged by its simple commands: each must pass, and the strictest of their
//! rulings is the script's. What forbids is compared generously (base names, quotes or none, inside
//! of wrappers and of what they are given), what grants strictly (literal words, and never what
//! writes a file, sets a variable or runs other programs).

use std::fmt;

use super::glob::{Glob, Match, Symbol, escaped, symbols};
use super::lexer::{self, Command, Flow, Piece, Script, Word};
use super::programs::runs_others;
use super::rules::{Mode, Pattern, Rules, Subject};

/// How deep scripts within words are looked into for what is forbidden.
const INNER_MAX: usize = 3;

/// A call, as far as rules are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// A script for the shell; `None` when the arguments hold none.
    Shell(Option<&'a str>),
    /// Another tool.
    Tool(ToolUse<'a>),
}

/// A call of another tool than the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolUse<'a> {
    /// The tool's kind.
    pub subject: Subject,
    /// Its name.
    pub name: &'a str,
    /// Its arguments, JSON if the model was right.
    pub arguments: &'a str,
    /// Whether nobody declared it.
    pub is_found: bool,
    /// Whether its program is not the one that was allowed.
    pub is_changed: bool,
    /// Whether the call changes nothing.
    pub only_reads: bool,
}

/// What becomes of something. From the mildest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ruling {
    /// It runs.
    Allow,
    /// A person is asked.
    Ask,
    /// It is refused.
    Deny,
}

impl Ruling {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Ruling::Allow => "allow",
            Ruling::Ask => "ask",
            Ruling::Deny => "deny",
        }
    }
}

/// What becomes of a call, and why.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The strictest of its parts.
    pub ruling: Ruling,
    /// A script's simple commands, or the call.
    pub parts: Vec<Part>,
}

/// One thing that was judged by itself.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is.
    pub text: String,
    /// What becomes of it.
    pub ruling: Ruling,
    /// Why.
    pub why: Why,
}

/// Why something is ruled as it is.
#[derive(Debug, Clone)]
pub enum Why {
    /// A pattern of a `deny` fits.
    Denied(Pattern),
    /// A pattern of a `deny` may fit, depending on what the shell makes of a word.
    PerhapsDenied(Pattern),
    /// A pattern of an `allow` fits.
    Allowed(Pattern),
    /// There is no policy, and this only reads.
    OnlyReads,
    /// Nobody declared the tool, and no pattern names it.
    Found,
    /// Its program has another content than the one that was allowed, if any was.
    Changed,
    /// No `allow` ever fits it, and so the mode decides.
    Never(Mode, String),
    /// No pattern fits, and so the mode decides.
    Unnamed(Mode),
}

impl Why {
    /// The pattern that decides, if one does.
    pub fn pattern(&self) -> Option<&Pattern> {
        match self {
            Why::Denied(pattern) | Why::PerhapsDenied(pattern) | Why::Allowed(pattern) => {
                Some(pattern)
            }
            Why::OnlyReads | Why::Found | Why::Changed | Why::Never(..) | Why::Unnamed(_) => None,
        }
    }
}

/// Without the place of a pattern: for the model, which need not know where files lie.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Denied(pattern) => write!(f, "deny `{}`", pattern.text),
            Why::PerhapsDenied(pattern) => write!(f, "deny `{}` may fit", pattern.text),
            Why::Allowed(pattern) => write!(f, "allow `{}`", pattern.text),
            Why::OnlyReads => write!(f, "there is no policy, and it only reads"),
            Why::Found => write!(f, "nobody declared this tool"),
            Why::Changed => write!(f, "its program is not one that was allowed"),
            Why::Never(mode, why) => write!(f, "{why}; mode `{}`", mode.as_str()),
            Why::Unnamed(mode) => write!(f, "no rule fits; mode `{}`", mode.as_str()),
        }
    }
}

/// Judges a call.
pub fn judge(rules: &Rules, call: &Call<'_>) -> Judgement {
    let parts = match *call {
        Call::Shell(script) => judge_shell(rules, script),
        Call::Tool(tool) => vec![judge_tool(rules, &tool)],
    };
    let strictest = parts.iter().map(|part| part.ruling).max();
    Judgement {
        ruling: strictest.unwrap_or(Ruling::Ask),
        parts,
    }
}

/// The simple commands of a script, as it writes them; all of it where they cannot be told apart.
pub fn simple_commands(script: &str) -> Vec<String> {
    match lexer::parse(script) {
        Ok(parsed) if !parsed.commands.is_empty() => {
            let commands = parsed.commands.into_iter();
            commands.map(|command| command.text.to_string()).collect()
        }
        Ok(_) | Err(_) => vec![script.trim().to_owned()],
    }
}

/// Whether one of `patterns` fits the call, or a part of it: for who is told of calls.
pub fn concerns(patterns: &[Pattern], call: &Call<'_>) -> bool {
    match *call {
        Call::Shell(script) => {
            let text = script.unwrap_or_default();
            let mut subjects = vec![whole(text)];
            if let Ok(script) = lexer::parse(text) {
                subjects.extend(script.commands.iter().flat_map(forbidden_forms));
            }
            fitting(patterns, Subject::Bash, &subjects, Match::Loosely).is_some()
        }
        Call::Tool(tool) => {
            let forms = tool_forms(&tool);
            fitting(patterns, tool.subject, &forms, Match::Loosely).is_some()
        }
    }
}

/// What "allow always" adds for a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Literal {
    /// The patterns, each once.
    pub patterns: Vec<String>,
    /// What is asked for again all the same, and why.
    pub refused: Vec<String>,
}

/// The patterns that "allow always" adds for a call: each fits what was asked for, and nothing else.
pub fn literal_patterns(call: &Call<'_>) -> Literal {
    let mut literal = Literal::default();
    match *call {
        Call::Shell(script) => match lexer::parse(script.unwrap_or_default()) {
            Ok(script) => {
                for command in &script.commands {
                    literal.add(command);
                }
            }
            Err(why) => {
                let refused = format!("the command is asked for each time: {why}");
                literal.refused.push(refused);
            }
        },
        Call::Tool(tool) => {
            let name: Vec<Symbol> = tool.name.chars().map(Symbol::Letter).collect();
            let pattern = format!("{}:{}", tool.subject.as_str(), escaped(&name));
            literal.patterns.push(pattern);
        }
    }
    literal
}

impl Literal {
    fn add(&mut self, command: &Command) {
        if let Some(why) = never_allowed(command) {
            let text = &command.text;
            self.refused
                .push(format!("`{text}` is asked for each time: {why}"));
            return;
        }
        let pattern = format!("bash:{}", escaped(&granted_form(command, true)));
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
    }
}

fn judge_tool(rules: &Rules, tool: &ToolUse<'_>) -> Part {
    let text = format!("{} {}", tool.name, tool.arguments);
    let text = text.trim_end().to_owned();
    if let Some(pattern) = fitting(&rules.deny, tool.subject, &tool_forms(tool), Match::Loosely) {
        return part(text, Ruling::Deny, Why::Denied(pattern.clone()));
    }
    if tool.is_changed {
        let ruling = match rules.mode {
            Mode::Restrict => Ruling::Deny,
            Mode::Ask | Mode::Dangerous => Ruling::Ask,
        };
        return part(text, ruling, Why::Changed);
    }
    if tool.is_found {
        return judge_found(rules, tool, text);
    }
    // Of the ways to write the arguments down, the one that a pattern is written for.
    let with_arguments = whole(&format!("{} {}", tool.name, normal(tool.arguments)));
    let granted = [whole(tool.name), with_arguments];
    if let Some(pattern) = fitting(&rules.allow, tool.subject, &granted, Match::Surely) {
        return part(text, Ruling::Allow, Why::Allowed(pattern.clone()));
    }
    if rules.allows_reading_builtins && tool.only_reads && tool.subject == Subject::Builtin {
        return part(text, Ruling::Allow, Why::OnlyReads);
    }
    by_mode(rules, text, None)
}

/// A tool that nobody declared runs unasked only by its very name.
fn judge_found(rules: &Rules, tool: &ToolUse<'_>, text: String) -> Part {
    let name = whole(tool.name);
    let names_it = |pattern: &&Pattern| {
        let is_its_own = pattern.subject == Subject::Cli && pattern.glob.is_exact();
        is_its_own && name.fits(&pattern.glob, Match::Surely)
    };
    match (rules.allow_found.iter().find(names_it), rules.mode) {
        (Some(pattern), _) => part(text, Ruling::Allow, Why::Allowed(pattern.clone())),
        (None, Mode::Restrict) => part(text, Ruling::Deny, Why::Found),
        (None, Mode::Ask | Mode::Dangerous) => part(text, Ruling::Ask, Why::Found),
    }
}

fn tool_forms(tool: &ToolUse<'_>) -> Vec<Form> {
    vec![
        whole(tool.name),
        whole(&format!("{} {}", tool.name, tool.arguments)),
        whole(&format!("{} {}", tool.name, normal(tool.arguments))),
    ]
}

/// JSON without blanks, its keys sorted; anything else as it is.
fn normal(arguments: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(arguments) {
        Ok(value) => value.to_string(),
        Err(_) => arguments.to_owned(),
    }
}

fn judge_shell(rules: &Rules, script: Option<&str>) -> Vec<Part> {
    let text = script.unwrap_or_default();
    let all = [whole(text)];
    if let Some(pattern) = fitting(&rules.deny, Subject::Bash, &all, Match::Loosely) {
        return vec![part(
            text.to_owned(),
            Ruling::Deny,
            Why::Denied(pattern.clone()),
        )];
    }
    let parsed = match script {
        Some(script) => lexer::parse(script).map_err(|error| error.to_string()),
        None => Err("the arguments hold no command".to_owned()),
    };
    match parsed {
        Err(why) => vec![judge_unparsed(rules, text, &why)],
        Ok(Script { commands }) if commands.is_empty() => {
            vec![by_mode(rules, text.to_owned(), None)]
        }
        Ok(Script { commands }) => commands
            .iter()
            .map(|command| judge_command(rules, command))
            .collect(),
    }
}

/// What could be anything could be what is forbidden.
fn judge_unparsed(rules: &Rules, text: &str, why: &str) -> Part {
    let anything = [Form::Whole(vec![Symbol::Unknown])];
    if let Some(pattern) = fitting(&rules.deny, Subject::Bash, &anything, Match::Perhaps)
        && rules.mode == Mode::Dangerous
    {
        return part(
            text.to_owned(),
            Ruling::Ask,
            Why::PerhapsDenied(pattern.clone()),
        );
    }
    by_mode(
        rules,
        text.to_owned(),
        Some(format!("it is not understood: {why}")),
    )
}

fn judge_command(rules: &Rules, command: &Command) -> Part {
    let text = command.text.clone();
    let forms = forbidden_forms(command);
    if let Some(pattern) = fitting(&rules.deny, Subject::Bash, &forms, Match::Loosely) {
        return part(text, Ruling::Deny, Why::Denied(pattern.clone()));
    }
    if let Some(pattern) = fitting(&rules.deny, Subject::Bash, &forms, Match::Perhaps) {
        let ruling = match rules.mode {
            Mode::Restrict => Ruling::Deny,
            Mode::Ask | Mode::Dangerous => Ruling::Ask,
        };
        return part(text, ruling, Why::PerhapsDenied(pattern.clone()));
    }
    let never = never_allowed(command);
    match granting(rules, command) {
        Some(pattern) if never.is_none() => {
            part(text, Ruling::Allow, Why::Allowed(pattern.clone()))
        }
        _ => by_mode(rules, text, never),
    }
}

fn granting<'r>(rules: &'r Rules, command: &Command) -> Option<&'r Pattern> {
    let forms = match is_literal(command) {
        true => vec![granted_form(command, false), granted_form(command, true)],
        false => vec![granted_form(command, true)],
    };
    // What the shell makes of a variable may be an option: only its very text was allowed.
    let may_fit = |pattern: &&Pattern| is_literal(command) || pattern.glob.is_exact();
    let patterns = rules.allow.iter().filter(may_fit);
    patterns
        .filter(|pattern| pattern.subject.covers(Subject::Bash))
        .find(|pattern| {
            forms
                .iter()
                .any(|form| pattern.glob.fits(form, Match::Surely))
        })
}

fn by_mode(rules: &Rules, text: String, never: Option<String>) -> Part {
    let ruling = match rules.mode {
        Mode::Dangerous => Ruling::Allow,
        Mode::Ask => Ruling::Ask,
        Mode::Restrict => Ruling::Deny,
    };
    let why = match (never, ruling) {
        (Some(why), Ruling::Ask | Ruling::Deny) => Why::Never(rules.mode, why),
        _ => Why::Unnamed(rules.mode),
    };
    part(text, ruling, why)
}

fn part(text: String, ruling: Ruling, why: Why) -> Part {
    Part { text, ruling, why }
}

/// The first of `patterns` that fits one of the `forms` of a call.
fn fitting<'r>(
    patterns: &'r [Pattern],
    subject: Subject,
    forms: &[Form],
    how: Match,
) -> Option<&'r Pattern> {
    patterns.iter().find(|pattern| {
        let covers = pattern.subject.covers(subject);
        // The shell is listed as a builtin, and may be forbidden as one.
        let forbids_shell = how != Match::Surely
            && subject == Subject::Bash
            && pattern.subject == Subject::Builtin
            && pattern.glob.fits(&symbols("bash"), how);
        forbids_shell || (covers && forms.iter().any(|form| form.fits(&pattern.glob, how)))
    })
}

/// Why no `allow` may fit a command, if so.
fn never_allowed(command: &Command) -> Option<String> {
    let writes = |one: &&lexer::Redirection| one.flow == Flow::Write;
    if let Some(one) = command.redirections.iter().find(writes) {
        return Some(format!(
            "it may write: `{} {}`",
            one.operator, one.target.raw
        ));
    }
    if !command.assignments.is_empty() {
        return Some("it sets a variable".to_owned());
    }
    match command.words.first() {
        None => Some("it redirects and runs nothing".to_owned()),
        Some(word) if word.value().is_none() => Some("what it runs is not literal".to_owned()),
        Some(_) => runs_others(&command.words),
    }
}

/// Its words, and what it is given to read.
fn granted_words(command: &Command) -> impl Iterator<Item = (Option<&'static str>, &Word)> {
    let reads = |one: &&lexer::Redirection| one.flow == Flow::Read;
    let redirections = command.redirections.iter().filter(reads);
    let words = command.words.iter().map(|word| (None, word));
    words.chain(redirections.map(|one| (Some(one.operator), &one.target)))
}

fn is_literal(command: &Command) -> bool {
    granted_words(command).all(|(_, word)| word.value().is_some())
}

/// What an `allow` is compared with: the words, and what is read from, divided by borders. `quoted`
/// is a text that bash reads only so; without it, the quotes of literal words are left out.
fn granted_form(command: &Command, quoted: bool) -> Vec<Symbol> {
    let mut form = Vec::new();
    for (operator, word) in granted_words(command) {
        if !form.is_empty() {
            form.push(Symbol::Border);
        }
        if let Some(operator) = operator {
            form.extend(operator.chars().map(Symbol::Letter));
            form.push(Symbol::Border);
        }
        let text = match word.value() {
            Some(value) if quoted => shell_quoted(&value),
            Some(value) => value,
            None => word.raw.clone(),
        };
        form.extend(text.chars().map(Symbol::Letter));
    }
    form
}

/// As the shell must be given it to be taken literally.
fn shell_quoted(value: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_@%+=:,./-".contains(letter);
    match !value.is_empty() && value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\'', "'\\''")),
    }
}

/// Something that a pattern is compared with.
enum Form {
    /// It must fit all of it.
    Whole(Vec<Symbol>),
    /// It must fit what begins with a later word.
    Rest(Vec<Symbol>),
}

impl Form {
    fn fits(&self, glob: &Glob, how: Match) -> bool {
        match self {
            Form::Whole(symbols) => glob.fits(symbols, how),
            Form::Rest(symbols) => glob.fits_rest(symbols, how),
        }
    }
}

fn whole(text: &str) -> Form {
    Form::Whole(symbols(text))
}

/// All that a `deny` is compared with.
fn forbidden_forms(command: &Command) -> Vec<Form> {
    let mut forms = Vec::new();
    add_forbidden_forms(command, 0, &mut forms);
    forms
}

fn add_forbidden_forms(command: &Command, depth: usize, forms: &mut Vec<Form>) {
    forms.push(whole(&command.text));
    add_forms_of_words(&command.words, forms);
    if !command.redirections.is_empty() {
        let mut form = joined(&command.words);
        for one in &command.redirections {
            form.push(Symbol::Border);
            form.extend(one.operator.chars().map(Symbol::Letter));
            form.push(Symbol::Border);
            form.extend(word_symbols(&one.target));
        }
        forms.push(Form::Whole(form));
    }
    let first = command.words.first();
    let is_open = first.is_some_and(|word| word.value().is_none());
    let runs_others = is_open || runs_others(&command.words).is_some();
    if runs_others {
        forms.push(Form::Rest(joined(&command.words)));
    }
    if depth < INNER_MAX {
        let input = command.redirections.iter().map(|one| &one.target);
        let words = command.assignments.iter().chain(&command.words);
        let mut inner: Vec<Command> = words
            .chain(input)
            .flat_map(|word| inner_commands(word, runs_others))
            .collect();
        if runs_others {
            inner.extend(inner_commands(&as_one(&command.words), true));
        }
        for one in inner {
            add_forbidden_forms(&one, depth + 1, forms);
        }
    }
}

/// The arguments as `eval` and `ssh` take them: one script.
fn as_one(words: &[Word]) -> Word {
    let mut one = Word::default();
    for word in words.iter().skip(1) {
        one.pieces.extend(word.pieces.iter().cloned());
        one.pieces.push(Piece::Text(" ".to_owned()));
    }
    one
}

/// The words, also with the bare name of the program.
fn add_forms_of_words(words: &[Word], forms: &mut Vec<Form>) {
    let Some((first, rest)) = words.split_first() else {
        return;
    };
    forms.push(Form::Whole(joined(words)));
    let first = word_symbols(first);
    // What only the shell knows may hold the last slash.
    let starts_name = |symbol: &Symbol| matches!(symbol, Symbol::Letter('/') | Symbol::Unknown);
    if let Some(at) = first.iter().rposition(starts_name) {
        let is_slash = first[at] == Symbol::Letter('/');
        let mut form = first[at + usize::from(is_slash)..].to_vec();
        if !rest.is_empty() {
            form.push(Symbol::Border);
            form.extend(joined(rest));
        }
        forms.push(Form::Whole(form));
    }
}

/// What a word may run when it is evaluated: a script for a shell, or substitutions in quotes.
fn inner_commands(word: &Word, is_script: bool) -> Vec<Command> {
    let text: String = word
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Unknown => "${_}",
        })
        .collect();
    let mut found = Vec::new();
    // A single word is known already, with those behind it.
    let has_words = text.contains([' ', '\t', '\n', ';', '&', '|']);
    if is_script
        && has_words
        && let Ok(script) = lexer::parse(&text)
    {
        found.extend(script.commands);
    }
    if text.contains(['$', '`'])
        && let Ok(script) = lexer::parse_quoted(&text)
    {
        found.extend(script.commands);
    }
    found
}

fn joined(words: &[Word]) -> Vec<Symbol> {
    let mut form = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            form.push(Symbol::Border);
        }
        form.extend(word_symbols(word));
    }
    form
}

fn word_symbols(word: &Word) -> Vec<Symbol> {
    let mut found = Vec::new();
    for piece in &word.pieces {
        match piece {
            Piece::Text(text) => found.extend(text.chars().map(Symbol::Letter)),
            Piece::Unknown => found.push(Symbol::Unknown),
        }
    }
    found
}

#[cfg(test)]
mod tests;
