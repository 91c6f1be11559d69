//! The rules of an agent: those of its files, merged. Pure.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::glob::{Match, RuleGlob, symbols};
use crate::base::yaml::problem::{Problem, did_you_mean};
use crate::base::yaml::tree::{Document, NodeId};
use crate::domain::chat::Chat;
use crate::domain::secret::Secret;

/// The answer to a call that no rule names. From the mildest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It runs.
    Dangerous,
    /// A person is asked.
    Ask,
    /// It is refused.
    Restrict,
}

impl Mode {
    /// The words for them.
    pub const WORDS: &'static [(&'static str, Mode)] = &[
        ("dangerous", Mode::Dangerous),
        ("ask", Mode::Ask),
        ("restrict", Mode::Restrict),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Dangerous => "dangerous",
            Mode::Ask => "ask",
            Mode::Restrict => "restrict",
        }
    }
}

/// The kind of tool that a pattern is about, as it is written before its `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The shell.
    Bash,
    /// Tools that are part of Duragent, but for the shell.
    Builtin,
    /// Commands, declared or found.
    Cli,
    /// Tools of MCP servers.
    Mcp,
    /// All of them.
    Any,
}

impl Subject {
    const WORDS: &'static [(&'static str, Subject)] = &[
        ("bash", Subject::Bash),
        ("builtin", Subject::Builtin),
        ("cli", Subject::Cli),
        ("mcp", Subject::Mcp),
        ("*", Subject::Any),
    ];

    /// The kind that a word stands for.
    pub fn parse(word: &str) -> Option<Subject> {
        let found = Subject::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, subject)| *subject)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        let found = Subject::WORDS.iter().find(|(_, one)| *one == self);
        found.map_or("*", |(word, _)| word)
    }

    /// True if a pattern of this kind is about a call of kind `other`; one without a kind is about all.
    pub fn covers(self, other: Subject) -> bool {
        self == Subject::Any || self == other
    }
}

/// A policy file, as it was read.
#[derive(Debug)]
pub struct RuleFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its text and values, for the lines that messages name.
    pub document: Document,
}

/// Where something stands in a policy file.
#[derive(Debug, Clone)]
pub struct RulePlace {
    /// The file.
    pub source: Arc<RuleFile>,
    /// The value in it.
    pub node: NodeId,
}

impl RulePlace {
    /// The line, from 1 on. Costs a look through the file.
    pub fn line(&self) -> usize {
        self.source.document.locate(self.node).line
    }
}

/// `file:line`.
impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.path.display(), self.line())
    }
}

/// A rule of a list, and where it stands.
#[derive(Debug, Clone)]
pub struct RulePattern {
    /// The tools that it is about.
    pub subject: Subject,
    /// The calls among those.
    pub fits: Fits,
    /// As it is written; of a script its first line.
    pub text: String,
    /// Where.
    pub place: RulePlace,
}

/// How a rule is compared with a call.
#[derive(Debug, Clone)]
pub enum Fits {
    /// By a glob: `type:glob`.
    Glob(RuleGlob),
    /// One script of the shell, byte for byte: `exact: …`.
    Script(String),
}

impl RulePattern {
    /// The longest script that is allowed as it stands.
    pub const SCRIPT_BYTES_MAX: usize = 64 << 10;
    /// The longest glob: what a call is compared with costs its length and the glob's.
    const TEXT_CHARS_MAX: usize = 2_000;

    /// Reads `type:glob`.
    ///
    /// Errors: why not, after "the pattern".
    pub fn parse(text: &str, place: RulePlace) -> Result<RulePattern, &'static str> {
        let (subject, glob) = split(text)?;
        Ok(RulePattern {
            subject,
            fits: Fits::Glob(glob),
            text: text.to_owned(),
            place,
        })
    }

    /// A rule that allows `script` as it stands.
    pub fn exact(script: String, place: RulePlace) -> RulePattern {
        let first = script.trim().lines().next().unwrap_or_default();
        let more = if script.trim() == first { "" } else { " …" };
        RulePattern {
            subject: Subject::Bash,
            text: format!("exact: {first}{more}"),
            fits: Fits::Script(script),
            place,
        }
    }

    /// Tells a pattern from a mistake, without keeping it.
    ///
    /// Errors: as [`parse`](Self::parse).
    pub fn check(text: &str) -> Result<(), &'static str> {
        split(text).map(drop)
    }

    /// The glob, unless it is a script.
    pub fn glob(&self) -> Option<&RuleGlob> {
        match &self.fits {
            Fits::Glob(glob) => Some(glob),
            Fits::Script(_) => None,
        }
    }

    /// True if it certainly fits whatever `other` fits.
    pub fn covers(&self, other: &RulePattern) -> bool {
        let (outer, inner) = match (&self.fits, &other.fits) {
            (Fits::Glob(outer), Fits::Glob(inner)) => (outer, inner),
            (Fits::Script(one), Fits::Script(other)) => return one == other,
            (Fits::Glob(_), Fits::Script(_)) | (Fits::Script(_), Fits::Glob(_)) => return false,
        };
        // The bare name of a tool fits all its calls.
        let is_of_tool = || {
            let is_tool = !matches!(other.subject, Subject::Bash | Subject::Any);
            let name = inner.tool_name().filter(|_| is_tool);
            name.is_some_and(|name| outer.fits(&symbols(&name), Match::Surely))
        };
        self.subject.covers(other.subject)
            && (outer.fits(&inner.symbols(), Match::Surely) || is_of_tool())
    }

    /// True if it allows a script as it stands. A line's end at its end counts for nothing, because
    /// YAML's `|` adds one.
    pub fn is_script(&self, text: &str) -> bool {
        let plain = |text: &str| -> String {
            let shorter = text.strip_suffix('\n').unwrap_or(text);
            // Behind a backslash it is no line's end.
            if shorter.ends_with('\\') {
                text
            } else {
                shorter
            }
            .to_owned()
        };
        match &self.fits {
            Fits::Glob(_) => false,
            Fits::Script(script) => plain(script) == plain(text),
        }
    }
}

/// A pattern without a type is about all of them; a type without a pattern is none.
fn split(text: &str) -> Result<(Subject, RuleGlob), &'static str> {
    if text.chars().count() > RulePattern::TEXT_CHARS_MAX {
        return Err("is longer than 2,000 characters");
    }
    let typed = text
        .split_once(':')
        .and_then(|(word, glob)| Some((Subject::parse(word)?, glob)));
    let (subject, glob) = match typed {
        Some(typed) => typed,
        None if is_mistyped(text) => {
            return Err("must begin with `bash:`, `builtin:`, `cli:`, `mcp:` or `*:`");
        }
        None => (Subject::Any, text),
    };
    Ok((subject, RuleGlob::parse(glob)?))
}

/// True if a text begins with what is nearly a type. As a rule for everything it would be none.
fn is_mistyped(text: &str) -> bool {
    let types = Subject::WORDS
        .iter()
        .map(|(word, _)| *word)
        .filter(|word| word.len() > 1);
    // `bash` alone is the shell.
    let is_type_alone = |word: &str| {
        word.eq_ignore_ascii_case(text.trim()) && text.trim() != Subject::Bash.as_str()
    };
    let mut all = types.clone();
    all.any(is_type_alone) || is_nearly_typed(text, types)
}

/// Near to a type before a `:`, or one before what others write there: `bash(rm *)`.
fn is_nearly_typed(text: &str, types: impl Iterator<Item = &'static str> + Clone) -> bool {
    let parted = |marks: &[char]| text.split_once(marks).map(|(word, _)| word.trim());
    let mut all = types.clone();
    parted(&['(', '=', ';', ',', '\u{ff1a}'])
        .is_some_and(|word| all.any(|one| one.eq_ignore_ascii_case(word)))
        || parted(&[':']).is_some_and(|word| did_you_mean(word, types).is_some())
}

/// `file:line: pattern`.
impl fmt::Display for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// The rules of one policy file.
#[derive(Debug, Clone, Default)]
pub struct Tier {
    /// Its `mode`, and where it stands.
    pub mode: Option<(Mode, RulePlace)>,
    /// Its `deny`.
    pub deny: Vec<RulePattern>,
    /// Its `allow`.
    pub allow: Vec<RulePattern>,
    /// Its `notify`, when it is enabled.
    pub notify: Option<Notify>,
    /// Lines in it that do something else than somebody may think: errors to whoever looks at the
    /// file. It is used all the same.
    pub remarks: Vec<Problem>,
}

/// Who is told of calls.
#[derive(Debug, Clone)]
pub struct Notify {
    /// When.
    pub on: Vec<Occasion>,
    /// Of which; `None` for all.
    pub patterns: Option<Vec<RulePattern>>,
    /// How.
    pub deliveries: Vec<Delivery>,
}

/// When somebody is told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// It begins.
    Call,
    /// A person is asked about it.
    Approval,
    /// A schedule failed. There are none yet.
    FailedSchedule,
}

impl Occasion {
    /// The words used in files.
    pub const WORDS: &[(&str, Occasion)] = &[
        ("call", Occasion::Call),
        ("approval", Occasion::Approval),
        ("failed_schedule", Occasion::FailedSchedule),
    ];

    /// The usual one.
    pub(super) fn is_call(&self) -> bool {
        *self == Occasion::Call
    }
}

/// How somebody is told of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A line in the log.
    Log,
    /// JSON to an address, which may hold a secret.
    Webhook(Secret),
    /// A message in a chat of a gateway.
    Chat(Chat),
}

/// The files of an agent, as they were read; `None` for one that does not exist.
#[derive(Debug, Clone, Default)]
pub struct Tiers {
    /// The workspace's.
    pub workspace: Option<Tier>,
    /// The agent's.
    pub agent: Option<Tier>,
    /// The user's additions to it, of earlier versions.
    pub local: Option<Tier>,
    /// The owner's own, which "allow always" adds to.
    pub own: Option<Tier>,
}

/// The rules of an agent.
#[derive(Debug, Clone)]
pub struct PolicyRules {
    /// The answer to what no rule names.
    pub mode: Mode,
    /// Where the mode is set, if it is.
    pub mode_place: Option<RulePlace>,
    /// Refused in every mode, before any `allow` is looked at.
    pub deny: Vec<RulePattern>,
    /// Run unasked, unless a `deny` fits as well.
    pub allow: Vec<RulePattern>,
    /// Those of `allow` that may name a tool nobody declared.
    pub allow_found: Vec<RulePattern>,
    /// Patterns that an agent's own file allows and that do not count, because the workspace's
    /// `allow` does not reach so far.
    pub capped: Vec<RulePattern>,
    /// True if builtins that only read run unasked.
    pub allows_reading_builtins: bool,
    /// Who is told, by each file.
    pub notify: Vec<Notify>,
    /// Those of all its files.
    pub remarks: Vec<Problem>,
}

impl PolicyRules {
    /// The same with rules that a person has allowed for a session. A deny still wins, and no mode changes.
    pub(super) fn with_granted(&self, granted: &[String]) -> PolicyRules {
        let mut rules = self.clone();
        if let Ok(document) = Document::parse(String::new()) {
            let path = PathBuf::from("what is allowed for this session");
            let place = RulePlace {
                source: Arc::new(RuleFile { path, document }),
                node: NodeId::ROOT,
            };
            let parsed = granted
                .iter()
                .filter_map(|text| RulePattern::parse(text, place.clone()).ok());
            rules.allow.extend(parsed);
        }
        rules
    }
}

impl Tiers {
    /// All of them merged.
    pub fn merged(self) -> PolicyRules {
        let (mode, mode_place) = self.mode();
        let is_bare = self.workspace.is_none() && self.agent.is_none();
        let sets = |tier: &Option<Tier>| tier.as_ref().is_some_and(|tier| tier.mode.is_some());
        let sets_mode = sets(&self.local) || sets(&self.own);
        let workspace = self.workspace.unwrap_or_default();
        let agent = self.agent.unwrap_or_default();
        let local = self.local.unwrap_or_default();
        let own = self.own.unwrap_or_default();
        // Within what the workspace allows, an agent's own list adds nothing.
        let (agents, beyond) = if workspace.allow.is_empty() {
            (agent.allow, Vec::new())
        } else {
            (Vec::new(), agent.allow)
        };
        let allow_found = [workspace.allow, local.allow, own.allow].concat();
        let is_beyond = |rule: &RulePattern| !allow_found.iter().any(|one| one.covers(rule));
        let capped = beyond.into_iter().filter(is_beyond).collect();
        let remarks = [workspace.remarks, agent.remarks, local.remarks, own.remarks];
        let notify = [workspace.notify, agent.notify, local.notify, own.notify];
        PolicyRules {
            mode,
            mode_place,
            deny: [workspace.deny, agent.deny, local.deny, own.deny].concat(),
            allow: [allow_found.clone(), agents].concat(),
            allow_found,
            capped,
            // What "allow always" writes beside nothing takes nothing away.
            allows_reading_builtins: is_bare && !sets_mode,
            notify: notify.into_iter().flatten().collect(),
            remarks: remarks.concat(),
        }
    }

    /// The strictest mode that one of them sets. A workspace's policy without one asks, so that
    /// an agent that was downloaded cannot set `dangerous` behind its back.
    fn mode(&self) -> (Mode, Option<RulePlace>) {
        let of = |tier: &Option<Tier>| {
            let mode = tier.as_ref()?.mode.clone();
            mode.map(|(mode, place)| (mode, Some(place)))
        };
        let workspace = match (&self.workspace, of(&self.workspace)) {
            (Some(_), None) => Some((Mode::Ask, None)),
            (_, mode) => mode,
        };
        let modes = [of(&self.own), of(&self.local), of(&self.agent), workspace];
        let strictest = modes.into_iter().flatten().max_by_key(|(mode, _)| *mode);
        strictest.unwrap_or((Mode::Ask, None))
    }
}
