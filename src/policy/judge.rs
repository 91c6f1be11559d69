//! What becomes of a call by an agent's rules. Pure.
//!
//! A shell's script is judged by its simple commands: each must pass, and the strictest of their
//! rulings is the script's. What forbids is compared generously (`denied`), what grants strictly
//! (`granted`).
//!
//! Invariant: a script that is allowed lies in the grammar of `shell`, and each of its commands was
//! compared with a rule; or the whole of it, byte for byte.

use std::fmt;

pub use super::call::{Context, FileUse, JudgedCall, ToolUse};
use super::denied::{self, Subjects};
use super::glob::{Match, escaped, letters};
use super::granted::{self, CommandGrant};
use super::programs;
use super::rules::{Mode, PolicyRules, RulePattern, Subject};
use super::shell::{self, Command, Script};

/// The builtin that reads what an agent was given to be read, and does nothing else: a test compares its
/// actions.
pub(super) const SKILL_READER: &str = "skill";
/// The builtin whose rules are for files: one for all of it would be more than anybody was asked about.
const FILES: &str = "file";
/// Why a rule of an agent's own does not count.
const CAPPED: &str = "the workspace's policy has an `allow`, and that does not reach so far";
/// Why a rule does not allow a tool that was found.
const NOT_BY_NAME: &str = "nobody declared the tool, and only its exact name in the workspace's policy \
     or in what you allowed for good allows it";

/// The answer to a call or a part of it. From the mildest to the strictest.
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

/// The answer to a call, with the reason for each part: of several the strictest holds.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The strictest of its parts.
    pub ruling: Ruling,
    /// A script's simple commands, or the call.
    pub parts: Vec<JudgedPart>,
}

/// One thing that was judged by itself.
#[derive(Debug, Clone)]
pub struct JudgedPart {
    /// A simple command, or the call.
    pub text: String,
    /// The answer, to this part alone.
    pub ruling: Ruling,
    /// Why.
    pub why: Why,
    /// The rule that would allow it, and why it does not count.
    pub missed: Option<(RulePattern, String)>,
}

/// Why something is ruled as it is.
#[derive(Debug, Clone)]
pub enum Why {
    /// A pattern of a `deny` fits this part of it.
    Denied(RulePattern, String),
    /// A pattern of a `deny` may fit, depending on what the shell makes of a word.
    PerhapsDenied(RulePattern),
    /// A pattern of an `allow` fits.
    Allowed(RulePattern),
    /// There is no policy, and this only reads.
    OnlyReads,
    /// It reads a skill's files, which the agent was given to be read.
    ReadsSkill,
    /// It reads a file, or writes one in the agent's own folder.
    UsualFile,
    /// Nothing outside of the script notices it.
    Unnoticed,
    /// The program is another than the one that was allowed.
    Changed,
    /// Nobody declared the tool, and no pattern names it.
    Found,
    /// No `allow` ever fits it, and so the mode decides.
    Never(Mode, String),
    /// No pattern fits, and so the mode decides.
    Unnamed(Mode),
}

impl Why {
    /// The pattern that decides, if one does.
    pub fn pattern(&self) -> Option<&RulePattern> {
        match self {
            Why::Denied(pattern, _) | Why::PerhapsDenied(pattern) | Why::Allowed(pattern) => {
                Some(pattern)
            }
            Why::OnlyReads
            | Why::ReadsSkill
            | Why::UsualFile
            | Why::Unnoticed
            | Why::Changed
            | Why::Found
            | Why::Never(..)
            | Why::Unnamed(_) => None,
        }
    }
}

/// Without the place of a pattern.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Denied(pattern, part) => write!(f, "deny `{}` fits `{part}`", pattern.text),
            Why::PerhapsDenied(pattern) => write!(f, "deny `{}` may fit", pattern.text),
            Why::Allowed(pattern) => write!(f, "allow `{}`", pattern.text),
            Why::Unnoticed => write!(f, "nothing outside of the script notices it"),
            Why::Changed => write!(f, "its program is another than the one that was allowed"),
            Why::OnlyReads => write!(f, "there is no policy, and it only reads"),
            Why::ReadsSkill => write!(
                f,
                "it reads the files of a skill, which no rule has to allow"
            ),
            Why::UsualFile => write!(
                f,
                "where people are asked, reading files and writing them in the agent's own folder \
                 needs no rule"
            ),
            Why::Found => write!(f, "nobody declared this tool"),
            Why::Never(mode, why) => write!(f, "{why}; mode `{}`", mode.as_str()),
            Why::Unnamed(mode) => write!(f, "no rule fits; mode `{}`", mode.as_str()),
        }
    }
}

/// Judges a call that is made nowhere in particular.
pub fn judge(rules: &PolicyRules, call: &JudgedCall<'_>) -> Judgement {
    judge_in(rules, call, &Context::default())
}

/// Judges a call.
pub fn judge_in(rules: &PolicyRules, call: &JudgedCall<'_>, context: &Context<'_>) -> Judgement {
    let parts = match *call {
        JudgedCall::Shell(script) => judge_shell(rules, script, context),
        JudgedCall::Tool(tool) => vec![judge_tool(rules, &tool)],
    };
    let strictest = parts.iter().map(|part| part.ruling).max();
    Judgement {
        ruling: strictest.unwrap_or(Ruling::Ask),
        parts,
    }
}

/// True if one of `patterns` fits the call, or a part of it: for who is told of calls.
pub fn concerns(patterns: &[RulePattern], call: &JudgedCall<'_>) -> bool {
    let subjects = match *call {
        JudgedCall::Shell(script) => Subjects::of_script(script.unwrap_or_default()),
        JudgedCall::Tool(tool) => Subjects::of_tool(&tool),
    };
    subjects.find(patterns, Match::Loosely).is_some()
}

/// The simple commands of a script, for showing a person what will run. Of a script that is not in
/// the grammar, what looks like commands.
pub fn simple_commands(script: &str) -> Vec<String> {
    match shell::parse(script) {
        Ok(script) => script.commands.into_iter().map(|one| one.text).collect(),
        Err(_) => shell::loose::phrases(script)
            .into_iter()
            .map(|one| one.text)
            .collect(),
    }
}

/// The rules that "allow always" adds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiteralRules {
    /// The patterns, each once.
    pub patterns: Vec<String>,
    /// A script that no pattern covers: allowed as it stands.
    pub exact: Option<String>,
    /// The parts that no rule can allow, which are asked for again, and why.
    pub refused: Vec<String>,
}

/// The `deny` that forbids to do this to a file, if one does: for who comes upon files one by one.
pub fn forbidding<'r>(
    rules: &'r PolicyRules,
    tool: &str,
    file: &FileUse,
) -> Option<&'r RulePattern> {
    if rules.deny.is_empty() {
        return None;
    }
    let tool = ToolUse {
        subject: Subject::Builtin,
        name: tool,
        arguments: "{}",
        is_found: false,
        only_reads: !file.writes,
        is_changed: false,
        value_key: None,
        file: Some(file),
    };
    let found = Subjects::of_tool(&tool).find(&rules.deny, Match::Loosely);
    found.map(|(pattern, _)| pattern)
}

/// The rules that "allow always" adds for a call: each fits what was asked for, and nothing else.
pub fn literal_patterns(call: &JudgedCall<'_>) -> LiteralRules {
    match *call {
        JudgedCall::Shell(Some(script)) => literal_of_script(script),
        JudgedCall::Shell(None) => LiteralRules {
            refused: vec!["the arguments hold no command".to_owned()],
            ..LiteralRules::default()
        },
        JudgedCall::Tool(tool) => {
            let text = match tool.file {
                // From another folder on a shorter path would be another file.
                Some(file) => format!("{}:{}:{}", tool.name, file.deed(), file.path()),
                None if tool.subject == Subject::Builtin && tool.name == FILES => {
                    return LiteralRules {
                        refused: vec!["the file cannot be told".to_owned()],
                        ..LiteralRules::default()
                    };
                }
                None => tool.name.to_owned(),
            };
            let pattern = format!("{}:{}", tool.subject.as_str(), escaped(&letters(&text)));
            LiteralRules {
                patterns: vec![pattern],
                ..LiteralRules::default()
            }
        }
    }
}

/// The most rules that one question allows for a session.
const SESSION_RULES_MAX: usize = 16;

/// The rules that "for this session" adds for a call: of a script those of its simple commands, of a file that is
/// written all below its folder. Nothing is allowed so that no pattern covers.
pub fn session_rules(call: &JudgedCall<'_>) -> Vec<String> {
    let rules = match call {
        JudgedCall::Shell(_) => literal_patterns(call).patterns,
        JudgedCall::Tool(tool) => {
            // From `.git` and the like programs take orders: each such file is asked about.
            let written = tool.file.filter(|file| file.writes && !file.is_hidden());
            let rule = written.and_then(|file| below_folder(tool, file));
            rule.into_iter().collect()
        }
    };
    if rules.len() > SESSION_RULES_MAX {
        return Vec::new();
    }
    rules
}

/// The whole path is named: from another folder a shorter one would be another.
fn below_folder(tool: &ToolUse<'_>, file: &FileUse) -> Option<String> {
    let path = file.path();
    let (folder, _) = path
        .rsplit_once('/')
        .filter(|(folder, _)| !folder.is_empty())?;
    let text = format!("{}:{}:{folder}/", tool.name, file.deed());
    Some(format!(
        "{}:{}*",
        tool.subject.as_str(),
        escaped(&letters(&text))
    ))
}

fn literal_of_script(text: &str) -> LiteralRules {
    let mut literal = LiteralRules::default();
    if text.len() > RulePattern::SCRIPT_BYTES_MAX || text.trim().is_empty() {
        literal
            .refused
            .push("a script of this length is asked for each time".to_owned());
        return literal;
    }
    let found = shell::parse(text)
        .ok()
        .and_then(|script| granted::patterns(&script));
    match found.filter(|patterns| patterns.iter().all(|one| RulePattern::check(one).is_ok())) {
        Some(patterns) => literal.patterns = patterns,
        None => literal.exact = Some(text.to_owned()),
    }
    literal
}

fn judge_tool(rules: &PolicyRules, tool: &ToolUse<'_>) -> JudgedPart {
    let text = match tool.file {
        Some(file) => format!("{} {file}", tool.name),
        None => format!("{} {}", tool.name, tool.arguments),
    };
    let text = text.trim_end().to_owned();
    let subjects = Subjects::of_tool(tool);
    if let Some((pattern, fitted)) = subjects.find(&rules.deny, Match::Loosely) {
        return part(text, Ruling::Deny, Why::Denied(pattern.clone(), fitted));
    }
    if tool.is_found {
        return judge_found(rules, tool, text);
    }
    let granting = granted::of_tool(&rules.allow, tool);
    let is_known_reader =
        rules.allows_reading_builtins && tool.only_reads && tool.subject == Subject::Builtin;
    let reads_a_skill = tool.subject == Subject::Builtin && tool.name == SKILL_READER;
    let is_usual = rules.mode == Mode::Ask && tool.file.is_some_and(FileUse::is_usual);
    match granting {
        Some(_) if tool.is_changed => part(text, Ruling::Ask, Why::Changed),
        Some(pattern) => part(text, Ruling::Allow, Why::Allowed(pattern.clone())),
        None if reads_a_skill => part(text, Ruling::Allow, Why::ReadsSkill),
        None if is_usual => part(text, Ruling::Allow, Why::UsualFile),
        None if is_known_reader => part(text, Ruling::Allow, Why::OnlyReads),
        None if tool.is_changed && rules.mode == Mode::Dangerous => {
            part(text, Ruling::Ask, Why::Changed)
        }
        None => JudgedPart {
            missed: missed_of_tool(&rules.capped, tool, CAPPED),
            ..by_mode(rules, text, None)
        },
    }
}

/// The one of `rules` that fits a call, and why it does not count.
fn missed_of_tool(
    rules: &[RulePattern],
    tool: &ToolUse<'_>,
    why: &str,
) -> Option<(RulePattern, String)> {
    let pattern = granted::of_tool(rules, tool)?;
    Some((pattern.clone(), why.to_owned()))
}

/// A tool that nobody declared runs unasked only by its very name.
fn judge_found(rules: &PolicyRules, tool: &ToolUse<'_>, text: String) -> JudgedPart {
    let granting = granted::of_found(&rules.allow_found, tool);
    match (granting, rules.mode) {
        (Some(_), _) if tool.is_changed => part(text, Ruling::Ask, Why::Changed),
        (Some(pattern), _) => part(text, Ruling::Allow, Why::Allowed(pattern.clone())),
        (None, mode) => {
            let ruling = match mode {
                Mode::Restrict => Ruling::Deny,
                Mode::Ask | Mode::Dangerous => Ruling::Ask,
            };
            let missed = missed_of_tool(&rules.allow, tool, NOT_BY_NAME);
            JudgedPart {
                missed: missed.or_else(|| missed_of_tool(&rules.capped, tool, CAPPED)),
                ..part(text, ruling, Why::Found)
            }
        }
    }
}

fn judge_shell(
    rules: &PolicyRules,
    script: Option<&str>,
    context: &Context<'_>,
) -> Vec<JudgedPart> {
    let Some(text) = script else {
        let why = "the arguments hold no command".to_owned();
        return vec![judge_unread(rules, "", why)];
    };
    if let Some((pattern, fitted)) = Subjects::of_whole(text).find(&rules.deny, Match::Loosely) {
        let why = Why::Denied(pattern.clone(), fitted);
        return vec![part(text.to_owned(), Ruling::Deny, why)];
    }
    let mut parts = match shell::parse(text) {
        Ok(script) => judge_script(rules, &script, context),
        Err(outside) => vec![judge_outside(rules, text, outside)],
    };
    if parts.is_empty() {
        parts.push(by_mode(rules, text.to_owned(), None));
    }
    let is_forbidden =
        |part: &JudgedPart| matches!(part.why, Why::Denied(..) | Why::PerhapsDenied(_));
    let of_script = |rules: &[RulePattern]| rules.iter().find(|one| one.is_script(text)).cloned();
    match of_script(&rules.allow) {
        Some(pattern) if !parts.iter().any(is_forbidden) => {
            let why = Why::Allowed(pattern);
            vec![part(text.to_owned(), Ruling::Allow, why)]
        }
        _ => {
            let capped = of_script(&rules.capped);
            if let Some((part, pattern)) = parts.first_mut().zip(capped) {
                part.missed.get_or_insert((pattern, CAPPED.to_owned()));
            }
            parts
        }
    }
}

fn judge_script(rules: &PolicyRules, script: &Script, context: &Context<'_>) -> Vec<JudgedPart> {
    let commands = script.commands.iter();
    let mut parts: Vec<JudgedPart> = commands
        .map(|command| judge_command(rules, script, command, context))
        .collect();
    for one in &script.loops {
        if programs::is_number(&one.name) {
            let why = format!("the loop computes `{}`", one.name);
            parts.push(judge_unread(rules, &one.text, why));
        } else if let Some(why) = granted::steers(&one.name, context) {
            parts.push(by_mode(rules, one.text.clone(), Some(why)));
        }
    }
    // What nobody notices is no reason to start a shell.
    if parts.iter().all(|part| matches!(part.why, Why::Unnoticed)) {
        for part in &mut parts {
            *part = by_mode(rules, std::mem::take(&mut part.text), None);
        }
    }
    parts
}

/// A script that is not in the grammar: all that it may run is looked for what is forbidden.
fn judge_outside(rules: &PolicyRules, text: &str, outside: shell::Outside) -> JudgedPart {
    let subjects = Subjects::of_phrases(text);
    if let Some((pattern, fitted)) = subjects.find(&rules.deny, Match::Loosely) {
        let why = Why::Denied(pattern.clone(), fitted);
        return part(text.to_owned(), Ruling::Deny, why);
    }
    let why = format!("the script holds {outside}");
    let mut judged = judge_unread(rules, text, why.clone());
    let missed = granted::missed_of_phrases(&rules.allow, text)
        .or_else(|| granted::missed_of_phrases(&rules.capped, text));
    judged.missed = missed.map(|pattern| (pattern, why));
    judged
}

/// What could be anything could be what is forbidden.
fn judge_unread(rules: &PolicyRules, text: &str, why: String) -> JudgedPart {
    let forbids = rules
        .deny
        .iter()
        .find(|pattern| denied::forbids_shell(pattern));
    match forbids {
        Some(pattern) if rules.mode == Mode::Dangerous => {
            let why = Why::PerhapsDenied(pattern.clone());
            part(text.to_owned(), Ruling::Ask, why)
        }
        _ => by_mode(rules, text.to_owned(), Some(why)),
    }
}

fn judge_command(
    rules: &PolicyRules,
    script: &Script,
    command: &Command,
    context: &Context<'_>,
) -> JudgedPart {
    let text = command.text.clone();
    let subjects = Subjects::of_command(command);
    if let Some((pattern, fitted)) = subjects.find(&rules.deny, Match::Loosely) {
        return part(text, Ruling::Deny, Why::Denied(pattern.clone(), fitted));
    }
    if let Some((pattern, _)) = subjects.find(&rules.deny, Match::Perhaps) {
        let ruling = match rules.mode {
            Mode::Restrict => Ruling::Deny,
            Mode::Ask | Mode::Dangerous => Ruling::Ask,
        };
        return part(text, ruling, Why::PerhapsDenied(pattern.clone()));
    }
    match granted::grant(&rules.allow, script, command, context) {
        CommandGrant::By(pattern) => part(text, Ruling::Allow, Why::Allowed(pattern.clone())),
        CommandGrant::Unnoticed => part(text, Ruling::Allow, Why::Unnoticed),
        CommandGrant::Nothing { never, missed } => JudgedPart {
            missed: missed.or_else(|| missed_capped(&rules.capped, script, command, context)),
            ..by_mode(rules, text, never)
        },
    }
}

/// The rule of the agent's own that would allow a command, and why it does not count.
fn missed_capped(
    capped: &[RulePattern],
    script: &Script,
    command: &Command,
    context: &Context<'_>,
) -> Option<(RulePattern, String)> {
    match granted::grant(capped, script, command, context) {
        CommandGrant::By(pattern) => Some((pattern.clone(), CAPPED.to_owned())),
        CommandGrant::Nothing { missed, .. } => missed,
        CommandGrant::Unnoticed => None,
    }
}

fn by_mode(rules: &PolicyRules, text: String, never: Option<String>) -> JudgedPart {
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

fn part(text: String, ruling: Ruling, why: Why) -> JudgedPart {
    JudgedPart {
        text,
        ruling,
        why,
        missed: None,
    }
}

#[cfg(test)]
mod tests;
