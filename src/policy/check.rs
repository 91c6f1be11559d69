//! What in a policy does not do what its author may think. Pure.
//!
//! Elsewhere: what is no policy at all (`file`).

use super::denied;
use super::glob::{Match, RuleGlob, Symbol, symbols};
use super::judge::SKILL_READER;
use super::programs::{self, ProgramKind};
use super::rules::{Mode, PolicyRules, RulePattern, Subject, Tier};
use super::shell::Word;
use crate::base::yaml::problem::{Level, Problem, did_you_mean};
use crate::domain::spec::BUILTIN_TOOLS;

/// The tools that are part of Duragent, and their actions. A test compares.
pub const BUILTINS: &[(&str, &[&str])] = &[
    ("bash", &[]),
    ("file", &["read", "list", "search", "write", "edit"]),
    ("memory", &["recall", "remember", "reflect", "update_world"]),
    ("reload_tools", &[]),
    ("send_file", &[]),
    ("session", &["list", "read", "search"]),
    ("skill", &["read"]),
    ("web", &["fetch", "search"]),
];

/// What the arguments of a builtin begin with.
const JSON: &str = "{";
/// So many rules of a file are told of: each costs a look through it for its place.
const TOLD_MAX: usize = 50;
/// A longer glob is not looked into: no name is so long, and a stranger may have written it.
const LOOKED_AT_SYMBOLS: usize = 256;

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

/// The rules that can never fit anything: errors to whoever looks. Those that fit nothing in this
/// version are warnings.
pub fn idle(tier: &Tier) -> Vec<Problem> {
    let told = tier.notify.iter().flat_map(|notify| &notify.patterns);
    let plain = tier.deny.iter().chain(told.flatten());
    let plain = plain.map(|pattern| (pattern, why_idle(pattern)));
    let allow = tier.allow.iter().map(|pattern| {
        let why = why_idle(pattern).or_else(|| why_grants_nothing(pattern));
        (pattern, why)
    });
    let idle = plain
        .chain(allow)
        .filter_map(|(pattern, why)| Some((pattern, why?)));
    idle.map(|(pattern, (why, hint))| Problem {
        level: if is_of_later_version(pattern) {
            Level::Warning
        } else {
            Level::Error
        },
        ..problem(pattern, format!("never fits: {why}"), hint)
    })
    .chain(typeless(tier))
    .chain(odd(tier))
    .take(TOLD_MAX)
    .collect()
}

/// The denies that are written in a way in which commands and tools hardly ever are.
fn odd(tier: &Tier) -> impl Iterator<Item = Problem> {
    tier.deny.iter().filter_map(|pattern| {
        let (why, hint) = why_odd(pattern)?;
        Some(problem(pattern, why.to_owned(), hint))
    })
}

type OddRule = (&'static str, Option<String>);

fn why_odd(pattern: &RulePattern) -> Option<OddRule> {
    let glob = pattern.glob()?;
    let start = glob.literal_start();
    let is_about = |subject| pattern.subject == subject || pattern.subject == Subject::Any;
    if is_about(Subject::Builtin) && has_capital_host(&start) {
        let hint = "write the host in small letters, as it is asked".to_owned();
        return Some(("fits only an address that is spelt so", Some(hint)));
    }
    if !is_about(Subject::Bash) {
        return None;
    }
    if start.starts_with(['"', '\'', '^']) {
        let why = "fits only what begins with that very character";
        let hint = "a command is written without quotes, and a glob fits from its start";
        return Some((why, Some(hint.to_owned())));
    }
    if pattern.text.contains('\t') || pattern.text.ends_with('\n') {
        return Some(("fits only what holds that tab or line's end", None));
    }
    let hint = meant_builtin(pattern, glob, &start)?;
    Some(("is about commands of that name", Some(hint)))
}

fn has_capital_host(url: &str) -> bool {
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let host = rest.and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| host.contains(|one: char| one.is_ascii_uppercase()))
}

/// How the builtin is written that a pattern without a type may mean.
fn meant_builtin(pattern: &RulePattern, glob: &RuleGlob, start: &str) -> Option<String> {
    let (name, rest) = start.split_once(' ').unwrap_or((start, ""));
    let lower = name.to_ascii_lowercase();
    let (builtin, actions) = BUILTINS.iter().find(|(known, _)| *known == lower)?;
    let action = actions.iter().find(|action| rest.starts_with(**action));
    match action {
        _ if pattern.subject != Subject::Any => None,
        Some(action) => Some(format!("an action of the builtin is `{builtin}:{action}`")),
        None if *builtin == "bash" && rest.is_empty() && !glob.is_exact() => {
            Some("all that the shell runs is `bash:*`".to_owned())
        }
        None if name != lower => Some(format!("the builtin is `{builtin}`")),
        None => None,
    }
}

/// The rules that begin with what may be meant for a type and is none: they are about all types, and
/// fit only what holds that word.
fn typeless(tier: &Tier) -> impl Iterator<Item = Problem> {
    let all = tier.deny.iter().chain(&tier.allow);
    all.filter_map(|pattern| {
        let word = type_like(pattern)?;
        let remark = format!("is about calls of every type, as `{word}` is no type");
        let hint = if word.starts_with("http") {
            format!("what `web` fetches is `builtin:web:fetch:{}`", pattern.text)
        } else {
            "types are `bash`, `builtin`, `cli`, `mcp` and `*`".to_owned()
        };
        Some(problem(pattern, remark, Some(hint)))
    })
}

/// The word before a `:`, or before a `(` as others write it.
fn type_like(pattern: &RulePattern) -> Option<&str> {
    let (word, _) = pattern.text.split_once([':', '('])?;
    let is_word_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_word = !word.is_empty() && word.bytes().all(is_word_byte);
    let is_builtin = BUILTINS.iter().any(|(known, _)| *known == word);
    let is_untyped = pattern.subject == Subject::Any && pattern.glob().is_some();
    Some(word).filter(|_| is_word && !is_builtin && is_untyped)
}

/// One remark for each `allow` of an agent's own file that does not count, because the workspace's
/// does not reach so far.
pub fn capped(rules: &PolicyRules) -> Vec<Problem> {
    let remark = |pattern: &RulePattern| {
        let why = "allows nothing: the workspace's policy has an `allow`, and that does not reach \
                   so far";
        problem(
            pattern,
            why.to_owned(),
            Some("add it there, if it is meant".to_owned()),
        )
    };
    // Skills are read whatever the lists say.
    let told = rules.capped.iter().filter(|rule| !reads_skill(rule));
    told.take(TOLD_MAX).map(remark).collect()
}

fn reads_skill(pattern: &RulePattern) -> bool {
    let name = pattern.glob().and_then(RuleGlob::tool_name);
    let is_builtin = matches!(pattern.subject, Subject::Builtin | Subject::Any);
    is_builtin && name.as_deref() == Some(SKILL_READER)
}

/// The rules of a file for programs of which there is none: `tools` are all that there are.
pub fn homeless(tier: &Tier, tools: &[String]) -> Vec<Problem> {
    let told = tier.notify.iter().flat_map(|notify| &notify.patterns);
    let all = tier.deny.iter().chain(&tier.allow).chain(told.flatten());
    let named = all.filter(|pattern| pattern.subject == Subject::Cli);
    let homeless = named.filter_map(|pattern| {
        let glob = pattern
            .glob()
            .filter(|glob| !glob.literal_start().is_empty())?;
        let is_there = tools.iter().any(|tool| may_fit(glob, tool, &[], ""));
        (!is_there).then(|| {
            let name = glob.tool_name().unwrap_or_else(|| glob.literal_start());
            let message = "fits nothing: there is no such program among the tools".to_owned();
            problem(pattern, message, other_name(&name, tools))
        })
    });
    homeless.take(TOLD_MAX).collect()
}

/// What may be meant by the name of a program that there is not.
fn other_name(name: &str, tools: &[String]) -> Option<String> {
    if BUILTIN_TOOLS.contains(&name) {
        Some(format!("a builtin is `builtin:{name}`"))
    } else {
        did_you_mean(name, tools.iter().map(String::as_str))
    }
}

/// The rules that forbid more than their author may think.
pub fn broad(tier: &Tier) -> Vec<Problem> {
    let is_broad = |pattern: &&RulePattern| {
        let word = pattern
            .glob()
            .is_some_and(|glob| glob.is_plain_word() && glob.is_exact());
        pattern.subject == Subject::Bash && word
    };
    let remark = |pattern: &RulePattern| {
        let why = "refuses every command in which a word begins so".to_owned();
        problem(
            pattern,
            why,
            Some(format!("`{} *` names the program alone", pattern.text)),
        )
    };
    tier.deny.iter().filter(is_broad).map(remark).collect()
}

/// Says that two rules together allow any code, though neither does: by one files may be written,
/// and by the other a program does what the files of the folder say.
///
/// `has_file`: of an agent that may write files in its own folder without a rule.
pub fn free_hand(rules: &PolicyRules, has_file: bool) -> Option<String> {
    if rules.mode == Mode::Dangerous {
        return None;
    }
    let obeys = rules.allow.iter().find(|pattern| obeys_folder(pattern))?;
    let unasked = "builtin:file:write:*";
    let is_usual = has_file && rules.mode == Mode::Ask;
    let mut writing = rules.allow.iter().filter(|pattern| may_write(pattern));
    let writes = writing.next().map(|pattern| pattern.text.as_str());
    let writes = writes.or(is_usual.then_some(unasked))?;
    if obeys.text == writes {
        let text = &obeys.text;
        return Some(format!(
            "`{text}` writes files of the folder, and does what they say: that allows any code"
        ));
    }
    Some(format!(
        "`{}` does what files of the folder say, and `{writes}` may write them: the two together allow any code",
        obeys.text
    ))
}

/// The rule allows a program that does what the files of the folder say (`make`, `npm`): whoever
/// may write there decides what it does.
pub fn obeys_folder(pattern: &RulePattern) -> bool {
    let is_shell = Subject::Bash == pattern.subject || Subject::Any == pattern.subject;
    match first_word(pattern).filter(|_| is_shell).as_deref() {
        Some("") => true,
        Some(word) => {
            matches!(programs::known(word), ProgramKind::Guarded(program) if program.obeys_folder)
        }
        None => false,
    }
}

fn may_write(pattern: &RulePattern) -> bool {
    match (pattern.subject, first_word(pattern).as_deref()) {
        (Subject::Cli, _) | (Subject::Bash | Subject::Any, Some("")) => true,
        (Subject::Bash | Subject::Any, Some(name)) => {
            may_write_files(name, &literal_words(pattern))
        }
        (Subject::Builtin, Some("")) => true,
        (Subject::Builtin, Some(name)) => {
            let mut writing = ["file", "file:write", "file:edit"].iter();
            writing
                .any(|one| name == *one || name.starts_with(&format!("{one}:")) && *one != "file")
        }
        (Subject::Bash | Subject::Any | Subject::Builtin | Subject::Mcp, _) => false,
    }
}

fn may_write_files(name: &str, words: &[Word]) -> bool {
    match programs::known(name) {
        ProgramKind::Harmless => false,
        ProgramKind::Runner => false,
        ProgramKind::Nothing => !WRITE_NOTHING.contains(&name),
        ProgramKind::Guarded(program) if program.names[0] == "git" => {
            let subcommand = words.get(1).map(Word::start);
            subcommand.is_none_or(|word| word.is_empty() || GIT_WRITES.contains(&word))
        }
        ProgramKind::Guarded(program) => {
            program.written_out(words).iter().any(|length| *length > 0)
        }
    }
}

/// The program that a pattern names; empty where it may be any.
fn first_word(pattern: &RulePattern) -> Option<String> {
    let start = pattern.glob()?.literal_start();
    Some(start.split(' ').next().unwrap_or_default().to_owned())
}

fn literal_words(pattern: &RulePattern) -> Vec<Word> {
    let start = pattern
        .glob()
        .map(RuleGlob::literal_start)
        .unwrap_or_default();
    start.split(' ').map(Word::literal).collect()
}

type IdleReason = (String, Option<String>);

/// Why a pattern fits no call of any kind.
fn why_idle(pattern: &RulePattern) -> Option<IdleReason> {
    let glob = pattern.glob()?;
    if glob.is_empty() {
        return Some(("it is empty".to_owned(), None));
    }
    match pattern.subject {
        Subject::Builtin => why_no_builtin(glob),
        // `web:ftch` is about a builtin, as it is written.
        Subject::Any if is_action_of_builtin(glob) => why_no_builtin(glob),
        Subject::Any | Subject::Bash | Subject::Cli | Subject::Mcp => None,
    }
}

fn is_action_of_builtin(glob: &RuleGlob) -> bool {
    let start = glob.literal_start();
    let name = start.split_once(':').map(|(name, _)| name);
    name.is_some_and(|name| BUILTINS.iter().any(|(known, _)| *known == name))
}

fn why_no_builtin(glob: &RuleGlob) -> Option<IdleReason> {
    // The shell is no call with arguments as JSON.
    let mut others = BUILTINS.iter().filter(|(name, _)| *name != "bash");
    if denied::is_shell(glob) || others.any(|(name, actions)| may_fit(glob, name, actions, JSON)) {
        return None;
    }
    let Some(name) = glob.tool_name() else {
        let start = glob.literal_start();
        let hint = did_you_mean(&start, BUILTINS.iter().map(|(known, _)| *known));
        return Some(("no tool is called so".to_owned(), hint));
    };
    let Some((_, actions)) = BUILTINS.iter().find(|(known, _)| *known == name) else {
        let hint = did_you_mean(&name, BUILTINS.iter().map(|(known, _)| *known));
        let yet = if BUILTIN_TOOLS.contains(&&*name) {
            " yet"
        } else {
            ""
        };
        return Some((format!("there is no tool `{name}`{yet}"), hint));
    };
    let rest = glob.behind(name.chars().count() + 1);
    let action = rest.split([':', ' ', '*', '?']).next().unwrap_or_default();
    let is_action = actions.contains(&action);
    let hint = match name.as_str() {
        "bash" => Some(format!("a command is `bash:{rest}`")),
        _ if is_action => Some(format!(
            "`{name}:{action}` is all of it, `{name}:{action}:…` what it is about"
        )),
        _ => did_you_mean(action, actions.iter().copied()),
    };
    let why = match action {
        _ if is_action => format!("no call of `{name}` is written so"),
        "" if !actions.is_empty() => format!("no call of `{name}` is written so"),
        "" => format!("`{name}` has no actions"),
        action => format!("`{name}` has no action `{action}`"),
    };
    Some((why, hint))
}

/// Whether a glob may fit a call of a tool with these actions, as calls are compared: by the name, the
/// name and the arguments, which begin with `arguments`, the name and the action, and with what is
/// acted on.
fn may_fit(glob: &RuleGlob, name: &str, actions: &[&str], arguments: &str) -> bool {
    if glob.least_symbols() > LOOKED_AT_SYMBOLS {
        return true;
    }
    let followed = |text: String| {
        let mut subject = symbols(&text);
        subject.push(Symbol::Unknown);
        subject
    };
    let acting = actions.iter().flat_map(|action| {
        [
            symbols(&format!("{name}:{action}")),
            followed(format!("{name}:{action}:")),
        ]
    });
    let plain = [
        symbols(name),
        symbols(&format!("{name} ")),
        followed(format!("{name} {arguments}")),
    ];
    let mut all = plain.into_iter().chain(acting);
    all.any(|subject| glob.fits(&subject, Match::Perhaps))
}

/// Whether a pattern names a builtin that is known and that this version does not have.
fn is_of_later_version(pattern: &RulePattern) -> bool {
    let is_here = |name: &str| BUILTINS.iter().any(|(known, _)| *known == name);
    let mut later = BUILTIN_TOOLS.iter().filter(|name| !is_here(name));
    let glob = pattern
        .glob()
        .filter(|_| pattern.subject == Subject::Builtin);
    glob.is_some_and(|glob| {
        later
            .any(|name| may_fit(glob, name, &[], JSON) || glob.tool_name().as_deref() == Some(name))
    })
}

/// Why a pattern of an `allow` fits no call.
fn why_grants_nothing(pattern: &RulePattern) -> Option<IdleReason> {
    let glob = pattern.glob()?;
    let start = glob.literal_start();
    match pattern.subject {
        Subject::Builtin | Subject::Any
            if start.trim_end() == "bash"
                && (glob.is_exact() || pattern.subject == Subject::Builtin) =>
        {
            let hint = "allow its commands: `bash:git status`".to_owned();
            Some((
                "the shell is no tool that can be allowed as a whole".to_owned(),
                Some(hint),
            ))
        }
        Subject::Bash => why_no_command(glob, &start),
        Subject::Cli
            if start
                .split_once(' ')
                .is_some_and(|(_, rest)| is_typed(rest)) =>
        {
            let hint = "allow the program: its arguments are JSON".to_owned();
            Some(("no call of a program is written so".to_owned(), Some(hint)))
        }
        Subject::Builtin | Subject::Cli | Subject::Mcp | Subject::Any => None,
    }
}

/// Whether arguments are as a person types them, and not the JSON of a call.
fn is_typed(arguments: &str) -> bool {
    !arguments.is_empty() && !arguments.starts_with('{')
}

fn why_no_command(glob: &RuleGlob, start: &str) -> Option<IdleReason> {
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
    let is_runner = matches!(programs::known(&first), ProgramKind::Runner);
    let is_asked = first == "command" && words.len() > 1 && words[1].start().starts_with('-');
    (is_runner && !is_asked).then(|| {
        (
            format!("no rule allows `{first}`, which runs what it is given"),
            None,
        )
    })
}

fn problem(pattern: &RulePattern, message: String, hint: Option<String>) -> Problem {
    let source = &pattern.place.source;
    Problem {
        level: Level::Warning,
        file: source.path.clone(),
        position: Some(source.document.locate(pattern.place.node)),
        message: format!("`{}` {message}", pattern.text),
        hint,
    }
}
