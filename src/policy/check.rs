//! What in a policy does not do what its author may think. Pure.
//!
//! Elsewhere: what is no policy at all (`file`).

use super::glob::Glob;
use super::programs::{self, Known};
use super::rules::{Mode, Pattern, Rules, Subject, Tier};
use super::shell::Word;
use crate::base::yaml::problem::{Level, Problem, did_you_mean};

/// The tools that are part of Duragent, and their actions. A test compares.
pub const BUILTINS: &[(&str, &[&str])] = &[
    ("bash", &[]),
    ("memory", &["recall", "remember", "reflect", "update_world"]),
    ("reload_tools", &[]),
    ("session", &["list", "read"]),
    ("skill", &["read"]),
    ("web", &["fetch", "search"]),
];

/// Programs that the table does not name, and that write nothing.
const WRITE_NOTHING: &[&str] = &[
    "[", "cd", "command", "kill", "popd", "pushd", "test", "wait",
];
/// What `git` brings files with.
const GIT_WRITES: &[&str] = &[
    "am",
    "apply",
    "checkout",
    "cherry-pick",
    "clone",
    "merge",
    "mv",
    "pull",
    "rebase",
    "reset",
    "restore",
    "revert",
    "stash",
    "submodule",
    "switch",
    "worktree",
];

/// The rules that can never fit anything.
pub fn idle(tier: &Tier) -> Vec<Problem> {
    let deny = tier.deny.iter().map(|pattern| (pattern, why_idle(pattern)));
    let allow = tier.allow.iter().map(|pattern| {
        let why = why_idle(pattern).or_else(|| why_grants_nothing(pattern));
        (pattern, why)
    });
    let idle = deny
        .chain(allow)
        .filter_map(|(pattern, why)| Some((pattern, why?)));
    idle.map(|(pattern, (why, hint))| problem(pattern, format!("never fits: {why}"), hint))
        .collect()
}

/// The rules that forbid more than their author may think.
pub fn broad(tier: &Tier) -> Vec<Problem> {
    let is_broad = |pattern: &&Pattern| {
        let word = pattern
            .glob()
            .is_some_and(|glob| glob.is_plain_word() && glob.is_exact());
        pattern.subject == Subject::Bash && word
    };
    let remark = |pattern: &Pattern| {
        let why = "refuses every command in which a word begins so".to_owned();
        problem(
            pattern,
            why,
            Some(format!("`{} *` names the program alone", pattern.text)),
        )
    };
    tier.deny.iter().filter(is_broad).map(remark).collect()
}

/// What two rules allow together that neither says: files may be written, and a program does what
/// the files of the folder say.
pub fn free_hand(rules: &Rules) -> Option<String> {
    if rules.mode == Mode::Dangerous {
        return None;
    }
    let obeys = rules.allow.iter().find(|pattern| obeys_folder(pattern))?;
    let writes = rules.allow.iter().find(|pattern| may_write(pattern))?;
    if obeys.text == writes.text {
        let text = &obeys.text;
        return Some(format!(
            "`{text}` writes files of the folder, and does what they say: that allows any code"
        ));
    }
    Some(format!(
        "`{}` does what files of the folder say, and `{}` may write them: the two together allow any code",
        obeys.text, writes.text
    ))
}

/// Whether a rule allows a program that does what the files of the folder say.
pub fn obeys_folder(pattern: &Pattern) -> bool {
    let is_shell = Subject::Bash == pattern.subject || Subject::Any == pattern.subject;
    match first_word(pattern).filter(|_| is_shell).as_deref() {
        Some("") => true,
        Some(word) => {
            matches!(programs::known(word), Known::Guarded(program) if program.obeys_folder)
        }
        None => false,
    }
}

fn may_write(pattern: &Pattern) -> bool {
    match (pattern.subject, first_word(pattern).as_deref()) {
        (Subject::Cli, _) | (Subject::Bash | Subject::Any, Some("")) => true,
        (Subject::Bash | Subject::Any, Some(name)) => {
            may_write_files(name, &literal_words(pattern))
        }
        (Subject::Bash | Subject::Any | Subject::Builtin | Subject::Mcp, _) => false,
    }
}

fn may_write_files(name: &str, words: &[Word]) -> bool {
    match programs::known(name) {
        Known::Harmless => false,
        Known::Runner => false,
        Known::Nothing => !WRITE_NOTHING.contains(&name),
        Known::Guarded(program) if program.names[0] == "git" => {
            let subcommand = words.get(1).map(Word::start);
            subcommand.is_none_or(|word| word.is_empty() || GIT_WRITES.contains(&word))
        }
        Known::Guarded(program) => program.written_out(words).iter().any(|length| *length > 0),
    }
}

/// The program that a pattern names; empty where it may be any.
fn first_word(pattern: &Pattern) -> Option<String> {
    let start = pattern.glob()?.literal_start();
    Some(start.split(' ').next().unwrap_or_default().to_owned())
}

fn literal_words(pattern: &Pattern) -> Vec<Word> {
    let start = pattern.glob().map(Glob::literal_start).unwrap_or_default();
    start.split(' ').map(Word::literal).collect()
}

type Reason = (String, Option<String>);

/// Why a pattern fits no call of any kind.
fn why_idle(pattern: &Pattern) -> Option<Reason> {
    let glob = pattern.glob()?;
    if glob.is_empty() {
        return Some(("it is empty".to_owned(), None));
    }
    let start = glob.literal_start();
    let (name, action) = start.split_once(':').unwrap_or((&start, ""));
    let is_whole = glob.is_exact() || start.contains([':', ' ']);
    if pattern.subject != Subject::Builtin || !is_whole {
        return None;
    }
    let name = name.split(' ').next().unwrap_or_default();
    let known = BUILTINS.iter().find(|(known, _)| *known == name);
    let Some((_, actions)) = known else {
        let hint = did_you_mean(name, BUILTINS.iter().map(|(known, _)| *known));
        return Some((format!("there is no tool `{name}`"), hint));
    };
    let ends = glob.is_exact() || action.contains(':');
    let action = action.split(':').next().unwrap_or_default();
    let is_known = action.is_empty() || !ends || actions.contains(&action);
    let hint = did_you_mean(action, actions.iter().copied());
    (!is_known).then(|| (format!("`{name}` has no action `{action}`"), hint))
}

/// Why a pattern of an `allow` fits no call.
fn why_grants_nothing(pattern: &Pattern) -> Option<Reason> {
    let glob = pattern.glob()?;
    let start = glob.literal_start();
    match pattern.subject {
        Subject::Builtin if start == "bash" && glob.is_exact() => {
            let hint = "allow its commands: `bash:git status`".to_owned();
            Some((
                "the shell is no tool that can be allowed as a whole".to_owned(),
                Some(hint),
            ))
        }
        Subject::Bash => why_no_command(glob, &start),
        Subject::Builtin | Subject::Cli | Subject::Mcp | Subject::Any => None,
    }
}

fn why_no_command(glob: &Glob, start: &str) -> Option<Reason> {
    if [" && ", " || ", " | ", "; "]
        .iter()
        .any(|operator| start.contains(operator))
    {
        let hint = "write a rule for each command, or the script with `exact`".to_owned();
        return Some(("it is compared with one command".to_owned(), Some(hint)));
    }
    let words: Vec<Word> = start.split(' ').map(Word::literal).collect();
    let first = words.first().and_then(Word::value).unwrap_or_default();
    let is_whole = glob.is_exact() || words.len() > 1;
    if !is_whole {
        return None;
    }
    if first
        .split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && !name.contains(['/', '-']))
    {
        return Some((
            "no rule allows a command that sets a variable".to_owned(),
            None,
        ));
    }
    let is_runner = matches!(programs::known(&first), Known::Runner);
    let is_asked = first == "command" && words.len() > 1 && words[1].start().starts_with('-');
    (is_runner && !is_asked).then(|| {
        (
            format!("no rule allows `{first}`, which runs what it is given"),
            None,
        )
    })
}

fn problem(pattern: &Pattern, message: String, hint: Option<String>) -> Problem {
    let source = &pattern.place.source;
    Problem {
        level: Level::Warning,
        file: source.path.clone(),
        position: Some(source.document.locate(pattern.place.node)),
        message: format!("`{}` {message}", pattern.text),
        hint,
    }
}
