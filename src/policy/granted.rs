//! What an `allow` is compared with, and what it never fits. Pure.
//!
//! Strict: the words as they are, and of what only the shell knows no more than a rule says.

use std::path::{Component, Path};

use super::call::{Context, FileUse, ToolUse};
use super::denied;
use super::glob::{Match, Symbol, escaped, letters, symbols};
use super::programs::{self, ALL, ProgramKind};
use super::rules::{RulePattern, Subject};
use super::shell::{Command, Flow, Piece, Redirection, Script, Word, loose};

/// The builtins that go to another folder.
const MOVING: [&str; 3] = ["cd", "pushd", "popd"];
/// Variables in small letters that bash or programs obey.
const OBEYED: [&str; 3] = ["auto_resume", "histchars", "_"];

/// The answer of an `allow` to one command of a script.
#[derive(Debug)]
pub(super) enum CommandGrant<'r> {
    /// This one allows it.
    By(&'r RulePattern),
    /// It does nothing that anybody outside of the script could notice.
    Unnoticed,
    /// None allows it.
    Nothing {
        /// Why none can.
        never: Option<String>,
        /// One that would, and why it does not count.
        missed: Option<(RulePattern, String)>,
    },
}

/// The rule that allows a call of a tool.
pub(super) fn of_tool<'r>(rules: &'r [RulePattern], tool: &ToolUse<'_>) -> Option<&'r RulePattern> {
    let texts = denied::tool_texts(tool);
    let mut subjects: Vec<Vec<Symbol>> = texts.iter().map(|text| symbols(text)).collect();
    if let Some(file) = tool.file {
        if file.writes && file.is_hidden() {
            subjects.clear();
        }
        subjects.extend(file_subjects(tool.name, file));
    }
    let fits = |pattern: &&RulePattern| {
        let covers = pattern.subject.covers(tool.subject);
        let glob = pattern.glob().filter(|_| covers);
        glob.is_some_and(|glob| subjects.iter().any(|one| glob.fits(one, Match::Surely)))
    };
    rules.iter().find(fits)
}

/// A call that is about a file, by its names. In a rule for writing the `.` that a part begins with must
/// be written out: from `.git` and the like programs take orders.
fn file_subjects(tool: &str, file: &FileUse) -> Vec<Vec<Symbol>> {
    let subject = |action: &str, name: &str| {
        let mut subject = letters(&format!("{tool}:{action}:{name}"));
        let inner = subject.len().saturating_sub(file.inner.chars().count() + 1);
        for at in inner.max(1)..subject.len() {
            let begins = matches!(subject[at - 1], Symbol::Letter('/' | ':'));
            if file.writes && begins && subject[at] == Symbol::Letter('.') {
                subject[at] = Symbol::Guarded('.');
            }
        }
        subject
    };
    let names = file.names();
    file.actions()
        .flat_map(|action| names.iter().map(move |name| (action, name)))
        .map(|(action, name)| subject(action, name))
        .collect()
}

/// The rule that allows a tool which nobody declared: one that names it and nothing else.
pub(super) fn of_found<'r>(
    rules: &'r [RulePattern],
    tool: &ToolUse<'_>,
) -> Option<&'r RulePattern> {
    let name = symbols(tool.name);
    rules.iter().find(|pattern| {
        let glob = pattern.glob().filter(|glob| glob.is_exact());
        let is_its_own = pattern.subject == Subject::Cli;
        is_its_own && glob.is_some_and(|glob| glob.fits(&name, Match::Surely))
    })
}

/// Why a loop must not set a variable, if so.
pub(super) fn steers(name: &str, context: &Context<'_>) -> Option<String> {
    let is_small = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    let is_obeyed = OBEYED.contains(&name) || name.ends_with("_proxy");
    let is_free = is_small && !is_obeyed && !(context.is_variable)(name);
    (!is_free).then(|| format!("the loop sets `{name}`, which may steer programs"))
}

/// Looks for a rule that allows a command; where there is none, for the reason, which the person
/// who is asked then reads.
pub(super) fn grant<'r>(
    rules: &'r [RulePattern],
    script: &Script,
    command: &Command,
    context: &Context<'_>,
) -> CommandGrant<'r> {
    let never = never(script, command);
    if never.is_none() && is_unnoticed(command, context) {
        return CommandGrant::Unnoticed;
    }
    let candidate = Candidate::of(script, command);
    match rules.iter().find(|pattern| candidate.fits(pattern)) {
        Some(pattern) if never.is_none() => CommandGrant::By(pattern),
        _ => CommandGrant::Nothing {
            missed: candidate.missed(rules, never.as_deref()),
            never,
        },
    }
}

/// The patterns that fit the commands of a script and nothing else; `None` when no pattern can.
pub(super) fn patterns(script: &Script) -> Option<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for command in &script.commands {
        let candidate = Candidate::of(script, command);
        let is_unnoticed = is_unnoticed(command, &Context::default());
        if never(script, command).is_some() || candidate.exact.is_none() {
            return None;
        }
        let exact = candidate.exact.unwrap_or_default();
        let pattern = format!("bash:{}", escaped(&exact));
        if !is_unnoticed && !found.contains(&pattern) {
            found.push(pattern);
        }
    }
    let steers = |name: &str| steers(name, &Context::default()).is_some();
    (!found.is_empty() && !script.loops.iter().any(|one| steers(&one.name))).then_some(found)
}

/// The rule that names what a text that is not in the grammar begins with.
pub(super) fn missed_of_phrases(rules: &[RulePattern], text: &str) -> Option<RulePattern> {
    let phrases = loose::phrases(text);
    let words = &phrases.first()?.words;
    let form = denied::joined(words);
    rules
        .iter()
        .find(|pattern| would_fit(pattern, &form))
        .cloned()
}

fn would_fit(pattern: &RulePattern, form: &[Symbol]) -> bool {
    let glob = pattern
        .glob()
        .filter(|_| pattern.subject.covers(Subject::Bash));
    glob.is_some_and(|glob| glob.fits(form, Match::Loosely))
}

/// Why no rule may allow a command, if so.
fn never(script: &Script, command: &Command) -> Option<String> {
    let writes = |one: &&Redirection| one.flow == Flow::Write;
    if let Some(one) = command.redirections.iter().find(writes) {
        return Some(format!("it may write: `{} {}`", one.operator, one.written));
    }
    let steers = |name: &str, value: Option<String>| {
        !value.is_some_and(|value| programs::is_steerless(name, &value))
    };
    if let Some(one) = command
        .assignments
        .iter()
        .find(|one| steers(&one.name, one.value.value()))
    {
        return Some(format!("it sets the variable `{}`", one.name));
    }
    let words = programs::unwrapped(&command.words);
    let Some(program) = words.first().and_then(Word::value) else {
        let only_sets = command.redirections.is_empty() && !command.assignments.is_empty();
        return (!only_sets).then(|| "it redirects and runs nothing".to_owned());
    };
    let is_relative = program.contains('/') && !program.starts_with('/');
    if is_relative && script.commands.iter().any(moves) {
        return Some(format!("`{program}` is another program in another folder"));
    }
    if matches!(program.as_str(), "export" | "set") && is_setting(words) {
        return None;
    }
    programs::runs_others(words)
}

fn moves(command: &Command) -> bool {
    let program = programs::unwrapped(&command.words)
        .first()
        .and_then(Word::value);
    program.is_some_and(|program| MOVING.contains(&program.as_str()))
}

/// `export NAME=value` for variables that steer nothing; `set -e`, `set -euo pipefail`.
fn is_setting(words: &[Word]) -> bool {
    let values: Option<Vec<String>> = words.iter().map(Word::value).collect();
    let Some(values) = values.filter(|values| values.len() > 1) else {
        return false;
    };
    if values[0] == "export" {
        return values[1..].iter().all(|value| {
            value
                .split_once('=')
                .is_some_and(|(name, value)| programs::is_steerless(name, value))
        });
    }
    let letters = |value: &str| match value.strip_prefix(['-', '+']) {
        Some(letters) => !letters.is_empty() && letters.bytes().all(|one| b"euxo".contains(&one)),
        None => false,
    };
    let before = |at: usize| values[at - 1].ends_with('o') && letters(&values[at - 1]);
    (1..values.len()).all(|at| match values[at].as_str() {
        "pipefail" | "errexit" | "nounset" => before(at),
        value => letters(value) && (!value.ends_with('o') || at + 1 < values.len()),
    })
}

fn is_unnoticed(command: &Command, context: &Context<'_>) -> bool {
    if command
        .redirections
        .iter()
        .any(|one| one.flow != Flow::Harmless)
    {
        return false;
    }
    let values: Option<Vec<String>> = command.words.iter().map(Word::value).collect();
    let Some(values) = values else {
        return false;
    };
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match values.as_slice() {
        [] => !command.assignments.is_empty(),
        ["true" | "false" | ":", ..] => true,
        ["exit" | "break" | "continue"] => true,
        ["exit" | "break" | "continue", code] => is_number(code),
        ["export" | "set", ..] => is_setting(&command.words),
        ["cd", path] => stays_within(path, context.work),
        _ => false,
    }
}

/// Whether a path leads nowhere but below the folder that a script starts in.
fn stays_within(path: &str, work: Option<&Path>) -> bool {
    let is_plain = !path.is_empty() && !path.starts_with(['-', '+', '~']);
    let path = Path::new(path);
    let below = match (path.is_absolute(), work) {
        (false, _) => Some(path),
        (true, Some(work)) => path.strip_prefix(work).ok(),
        (true, None) => None,
    };
    let is_down = |one: Component<'_>| matches!(one, Component::Normal(_) | Component::CurDir);
    is_plain && below.is_some_and(|path| path.components().all(is_down))
}

/// A command as rules are compared with it.
struct Candidate {
    /// The command word and its arguments, without wrappers that change nothing.
    words: Vec<Word>,
    /// As one text that bash reads only so. `None` if the script decides what a variable is.
    exact: Option<Vec<Symbol>>,
    /// What a pattern with a `*` may fit.
    open: Vec<Vec<Symbol>>,
    /// Why such a pattern does not fit.
    obstacle: Option<String>,
    /// The same without regard to what a `*` must not cover.
    lax: Vec<Symbol>,
}

impl Candidate {
    fn of(script: &Script, command: &Command) -> Candidate {
        let words = programs::unwrapped(&command.words);
        let wrappers = command.words.len() - words.len();
        let is_literal = |word: &Word| word.value().is_some();
        let reads: Vec<&Redirection> = command
            .redirections
            .iter()
            .filter(|one| one.flow == Flow::Read)
            .collect();
        let targets = reads.iter().map(|one| &one.target);
        let all_literal = words.iter().chain(targets).all(is_literal);
        let sets = |name: &String| {
            let is_loop = script.loops.iter().any(|one| one.name == *name);
            is_loop
                || script
                    .commands
                    .iter()
                    .any(|one| one.assignments.iter().any(|set| set.name == *name))
        };
        let written = command.written.get(wrappers..).unwrap_or_default();
        let exact = if all_literal {
            Some(with_reads(
                words
                    .iter()
                    .filter_map(Word::value)
                    .map(|text| shell_quoted(&text)),
                &reads,
                quoted,
            ))
        } else if command.variables.iter().any(sets) {
            None
        } else {
            Some(with_reads(written.iter().cloned(), &reads, as_written))
        };
        let guards = guards(words);
        let obstacle = obstacle(words, &guards);
        let mut open = vec![with_targets(guarded(words, &guards), &reads)];
        if all_literal {
            open.push(with_targets(guarded_quoted(words, &guards), &reads));
        }
        Candidate {
            words: words.to_vec(),
            exact,
            open: if has_loose_words(words) {
                Vec::new()
            } else {
                open
            },
            obstacle,
            lax: denied::joined(words),
        }
    }

    fn fits(&self, pattern: &RulePattern) -> bool {
        let glob = pattern
            .glob()
            .filter(|_| pattern.subject.covers(Subject::Bash));
        glob.is_some_and(|glob| {
            let is_exact = glob.is_exact()
                && self
                    .exact
                    .as_ref()
                    .is_some_and(|one| glob.fits(one, Match::Surely));
            is_exact || self.open.iter().any(|one| glob.fits(one, Match::Surely))
        })
    }

    /// A rule that would fit, and why it does not count.
    fn missed(&self, rules: &[RulePattern], never: Option<&str>) -> Option<(RulePattern, String)> {
        let pattern = rules.iter().find(|pattern| would_fit(pattern, &self.lax))?;
        let why = never.map(str::to_owned).or_else(|| self.obstacle.clone());
        let why = why.unwrap_or_else(|| {
            let name = self.words.first().and_then(Word::value).unwrap_or_default();
            format!("its blanks do not stand where the words of `{name}` part")
        });
        Some((pattern.clone(), why))
    }
}

/// Of each word how many bytes no `*` covers.
fn guards(words: &[Word]) -> Vec<usize> {
    let name = words.first().and_then(Word::value).unwrap_or_default();
    let mut guards = match programs::known(&name) {
        ProgramKind::Guarded(program) => program.written_out(words),
        ProgramKind::Harmless | ProgramKind::Runner | ProgramKind::Nothing => vec![0; words.len()],
    };
    if programs::writes_files(words) {
        guards[0] = ALL;
    }
    guards
}

fn obstacle(words: &[Word], guards: &[usize]) -> Option<String> {
    let name = words.first().and_then(Word::value)?;
    if guards.first() == Some(&ALL) {
        return Some(format!(
            "`{name}` writes a file, and must be named: no `*` stands for it"
        ));
    }
    if let Some((word, guard)) = words.iter().zip(guards).find(|(_, guard)| **guard > 0) {
        let text = word.value().unwrap_or_else(|| format!("{}…", word.start()));
        let text: String = text.chars().take((*guard).min(80)).collect();
        return Some(format!(
            "`{text}` makes `{name}` do more, and must be written out: no `*` covers it"
        ));
    }
    has_loose_words(words).then(|| {
        format!("what the shell makes of a word may be more words, or an option of `{name}`")
    })
}

/// Whether the shell may make something else of a word than the rest of an argument.
fn has_loose_words(words: &[Word]) -> bool {
    if programs::is_harmless(words) {
        return false;
    }
    let mut plain_words = 0;
    for word in words.iter().skip(1) {
        match word.value() {
            Some(text) => plain_words += usize::from(!text.starts_with('-')),
            None if is_bound(word, plain_words) => plain_words += 1,
            None => return true,
        }
    }
    false
}

/// Whether a word that the shell makes stays one argument, no option and no subcommand. Where a
/// subcommand may stand, behind less than two words, it must be a path or a text.
fn is_bound(word: &Word, plain_words: usize) -> bool {
    if word.pieces.contains(&Piece::Splitting) {
        return false;
    }
    if word.pieces.first() == Some(&Piece::Home) {
        return true;
    }
    let start = word.start();
    let begins_plainly = |letter: char| letter.is_alphanumeric() || "_./#".contains(letter);
    let is_told = match plain_words {
        0 => start.contains('/'),
        1 => start.contains(['/', ' ', ':']),
        _ => true,
    };
    start.starts_with(begins_plainly) && is_told
}

/// The words, in which what must be written out is marked.
fn guarded(words: &[Word], guards: &[usize]) -> Vec<Symbol> {
    let mut form = Vec::new();
    for (index, (word, guard)) in words.iter().zip(guards).enumerate() {
        if index > 0 {
            form.push(Symbol::Border);
        }
        let mut left = *guard;
        for symbol in denied::word_symbols(word) {
            form.push(match symbol {
                Symbol::Letter(letter) if left > 0 => Symbol::Guarded(letter),
                // No pattern has this letter.
                Symbol::Unknown if *guard == ALL => Symbol::Guarded('\0'),
                symbol => symbol,
            });
            left = left.saturating_sub(1);
        }
    }
    form
}

/// The same with quotes where a word needs them.
fn guarded_quoted(words: &[Word], guards: &[usize]) -> Vec<Symbol> {
    let mut form = Vec::new();
    for (index, (word, guard)) in words.iter().zip(guards).enumerate() {
        if index > 0 {
            form.push(Symbol::Border);
        }
        let text = shell_quoted(&word.value().unwrap_or_default());
        let symbol = |letter| {
            if *guard > 0 {
                Symbol::Guarded(letter)
            } else {
                Symbol::Letter(letter)
            }
        };
        form.extend(text.chars().map(symbol));
    }
    form
}

fn quoted(one: &Redirection) -> String {
    shell_quoted(&one.target.value().unwrap_or_default())
}

fn as_written(one: &Redirection) -> String {
    one.written.clone()
}

/// Words and what is read, divided by borders.
fn with_reads(
    words: impl Iterator<Item = String>,
    reads: &[&Redirection],
    text: fn(&Redirection) -> String,
) -> Vec<Symbol> {
    let reads = reads
        .iter()
        .flat_map(|one| [one.operator.to_owned(), text(one)]);
    let mut form = Vec::new();
    for (index, word) in words.chain(reads).enumerate() {
        if index > 0 {
            form.push(Symbol::Border);
        }
        form.extend(word.chars().map(Symbol::Letter));
    }
    form
}

fn with_targets(mut form: Vec<Symbol>, reads: &[&Redirection]) -> Vec<Symbol> {
    for one in reads {
        form.push(Symbol::Border);
        form.extend(one.operator.chars().map(Symbol::Letter));
        form.push(Symbol::Border);
        form.extend(denied::word_symbols(&one.target));
    }
    form
}

/// As the shell must be given it to be taken literally.
fn shell_quoted(value: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_@%+=:,./-".contains(letter);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}
