//! What an agent's folder may say without its owner's trust, and what the owner granted. Pure.
//!
//! A folder is made of parts: a rule of its policy, a variable that it wants, a program. Most of what
//! its files say needs no trust and is no part. The tables [`AGENT_PARTS`] and [`POLICY_PARTS`] say
//! which values are; a new key of a later version is one more line there.
//!
//! Invariants:
//! - a part is known by what it says: changed, it is another part, which waits;
//! - no value of a variable is in a part: texts are as they are written.
//!
//! Elsewhere: where grants are kept, and how files are read with them (`trust`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::ids::AgentName;

/// The nature of a part: it decides how it is shown to the owner, and in which words it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A pattern of an `allow`.
    Rule,
    /// A pattern of a `deny`. It counts always, and is kept so that it is missed when it goes.
    Deny,
    /// A policy's `mode`.
    Mode,
    /// Who is told of calls.
    Notify,
    /// A variable of the environment.
    Variable,
    /// A file that lies elsewhere.
    File,
    /// A tool's program, with its files.
    Program,
    /// A server of the Model Context Protocol.
    Mcp,
    /// Where a model is asked.
    Address,
    /// Who may talk to it, and the like.
    Setting,
}

impl Kind {
    /// One of it, and several.
    fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Kind::Rule | Kind::Deny => ("rule", "rules"),
            Kind::Mode => ("mode", "modes"),
            Kind::Notify => ("notification", "notifications"),
            Kind::Variable => ("variable", "variables"),
            Kind::File => ("file", "files"),
            Kind::Program => ("program", "programs"),
            Kind::Mcp => ("MCP server", "MCP servers"),
            Kind::Address => ("address", "addresses"),
            Kind::Setting => ("setting", "settings"),
        }
    }
}

/// Which values of a file are parts.
#[derive(Debug)]
pub struct Row {
    /// The keys that lead there: `spec.tools[].env`.
    pub path: &'static str,
    /// The kind of part that a value there makes.
    pub kind: Kind,
    /// When it counts without trust.
    pub counts: Counts,
    /// How the file is read as long as it does not count.
    pub waiting: Waiting,
}

/// When a value counts without trust.
#[derive(Debug, Clone, Copy)]
pub enum Counts {
    /// Not at all.
    Never,
    /// In any case: it is listed only so that it is missed when it goes.
    Always,
    /// Unless what stands at this key of it, or with "" the value itself, is this word.
    Unless(&'static str, &'static str),
    /// When what stands at this key of it is this word, or nothing does.
    Saying(&'static str, &'static str),
    /// When it is an address that the program or the owner knows.
    AtKnownAddress,
    /// When no address stands in it.
    NamingNoAddress,
}

/// How a file is read without a value that waits for trust.
#[derive(Debug, Clone, Copy)]
pub enum Waiting {
    /// It is read as if it were not there.
    LeftOut,
    /// Only these keys of it are read.
    Reduced(&'static [&'static str]),
    /// The file cannot be used: without the value it would mean something else.
    Refused,
}

const fn row(path: &'static str, kind: Kind, counts: Counts) -> Row {
    Row {
        path,
        kind,
        counts,
        waiting: Waiting::LeftOut,
    }
}

const fn address(path: &'static str) -> Row {
    Row {
        waiting: Waiting::Refused,
        ..row(path, Kind::Address, Counts::AtKnownAddress)
    }
}

const fn named(path: &'static str) -> Row {
    row(path, Kind::Setting, Counts::NamingNoAddress)
}

/// The parts of an `agent.yaml`. Its variables and the programs of its tools are parts too.
pub const AGENT_PARTS: &[Row] = &[
    address("spec.model.base_url"),
    address("spec.model.fallbacks[].base_url"),
    // Some providers can be told to fetch, to call or to ask elsewhere.
    named("spec.model.headers"),
    named("spec.model.fallbacks[].headers"),
    named("spec.model.extra_body"),
    named("spec.model.fallbacks[].extra_body"),
    row(
        "spec.access.dm.policy",
        Kind::Setting,
        Counts::Unless("", "open"),
    ),
    row("spec.access.dm.allowlist", Kind::Setting, Counts::Never),
    // Whom a group lets in hangs on all of its keys.
    row(
        "spec.access.groups",
        Kind::Setting,
        Counts::Saying("policy", "disabled"),
    ),
    row("spec.access.approvers", Kind::Setting, Counts::Never),
    row(
        "spec.access.requester_approves",
        Kind::Setting,
        Counts::Never,
    ),
    Row {
        // It is listed by its name.
        waiting: Waiting::Reduced(&["type", "name"]),
        ..row("spec.tools[]", Kind::Mcp, Counts::Unless("type", "mcp"))
    },
    row("spec.tools[].env", Kind::Setting, Counts::Never),
    // Where its tools would also write what it is made of, and where rules of a policy would hold.
    row("spec.tools_cwd", Kind::Setting, Counts::Unless("", "agent")),
];

/// The parts of a policy in an agent's folder.
pub const POLICY_PARTS: &[Row] = &[
    row("deny[]", Kind::Deny, Counts::Always),
    row("mode", Kind::Mode, Counts::Unless("", "dangerous")),
    row("allow[]", Kind::Rule, Counts::Never),
    row("notify", Kind::Notify, Counts::Never),
];

impl Row {
    /// A value counts without trust. `line` is all of it, and `word` what stands at a key of it, or
    /// with "" the value itself, as without any variable.
    pub fn counts_always(
        &self,
        line: &str,
        word: &dyn Fn(&str) -> Option<String>,
        is_known_address: &dyn Fn(&str) -> bool,
    ) -> bool {
        match self.counts {
            Counts::Never => false,
            Counts::Always => true,
            Counts::Unless(key, exception) => word(key).is_none_or(|word| word != exception),
            Counts::Saying(key, rule) => word(key).is_none_or(|word| word == rule),
            Counts::AtKnownAddress => word("").is_none_or(|url| is_known_address(&url)),
            // As browsers read them: the slashes may be others, or missing.
            Counts::NamingNoAddress => {
                let line = line.to_ascii_lowercase();
                let marks = ["//", "\\\\", "http:", "https:", "ws:", "wss:"];
                !marks.iter().any(|mark| line.contains(mark))
            }
        }
    }
}

/// Something of a folder that needs trust, or is missed when it goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// Its nature.
    pub kind: Kind,
    /// Where it stands: a file, and a key where there are several; of a program, its tool.
    pub place: String,
    /// The value, as it is written; of a program, its command and the sha256 of its files. Changed,
    /// it is another part.
    pub content: String,
}

/// For the list that an owner reads before the yes.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part {
            kind,
            place,
            content,
        } = self;
        match kind {
            Kind::Rule => write!(f, "may without asking: {content} ({place})"),
            Kind::Deny => write!(f, "may not: {content} ({place})"),
            Kind::Mode => write!(f, "what no rule names: mode {content} ({place})"),
            Kind::Notify => write!(f, "others are told of its calls: {content} ({place})"),
            Kind::Variable => write!(f, "is given the variable {content} ({place})"),
            Kind::File => write!(f, "its prompt has a file from elsewhere: {content}"),
            Kind::Program => write!(f, "the tool {place} is that of your policies: {content}"),
            Kind::Mcp => write!(f, "starts the MCP server: {content} ({place})"),
            Kind::Address => write!(f, "sends what is said to {content} ({place})"),
            Kind::Setting => write!(f, "sets {place}: {content}"),
        }
    }
}

/// A part, and whether it counts only with trust.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Brought {
    /// The part.
    pub part: Part,
    /// `false` for one that counts anyway.
    pub needs_trust: bool,
}

/// An owner's yes to a folder: by part, so that something new in it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// Nothing: nobody was asked about it, or it is another folder.
    Nothing,
    /// These parts.
    Parts(BTreeSet<Part>),
    /// Whatever it brings.
    Everything,
}

impl Granted {
    /// The part is among those granted, word for word.
    pub fn counts(&self, part: &Part) -> bool {
        match self {
            Granted::Nothing => false,
            Granted::Parts(parts) => parts.contains(part),
            Granted::Everything => true,
        }
    }

    /// The grant as far as it holds where a folder, or a file of it, brings `now`: a rule was
    /// granted beside every `deny` that stood in its file and in that mode, so none of the file
    /// counts without them.
    #[must_use]
    pub fn within(self, now: &[Brought]) -> Granted {
        let Granted::Parts(mut parts) = self else {
            return self;
        };
        let there: BTreeSet<&Part> = now.iter().map(|one| &one.part).collect();
        let rules = parts.iter().filter(|part| part.kind == Kind::Rule);
        let mut looser: BTreeSet<String> = rules.map(|part| part.place.clone()).collect();
        looser.retain(|file| {
            let of_file = |part: &&Part| part.kind == Kind::Deny && part.place == *file;
            let misses_deny = parts
                .iter()
                .filter(of_file)
                .any(|part| !there.contains(part));
            let was = mode_strictness(parts.iter(), file);
            let is = mode_strictness(there.iter().copied(), file);
            misses_deny || is < was
        });
        parts.retain(|part| part.kind != Kind::Rule || !looser.contains(&part.place));
        Granted::Parts(parts)
    }

    /// The parts of `now`, which is all that a folder brings, that wait for trust.
    pub fn waiting(&self, now: &[Brought]) -> Vec<Part> {
        let granted = self.clone().within(now);
        let is_waiting = |one: &&Brought| one.needs_trust && !granted.counts(&one.part);
        let waiting = now.iter().filter(is_waiting);
        waiting.map(|one| one.part.clone()).collect()
    }
}

/// How strict the mode of a policy is. What is no mode, and may be a variable, is the mildest.
fn mode_strictness<'p>(mut parts: impl Iterator<Item = &'p Part>, file: &str) -> u8 {
    let mode = parts.find(|part| part.kind == Kind::Mode && part.place == file);
    match mode.map_or("ask", |mode| mode.content.as_str()) {
        "restrict" => 2,
        "ask" => 1,
        _ => 0,
    }
}

/// The version of the record that is written.
pub const RECORD_VERSION: u32 = 1;

/// The owner's record of a workspace, as it is kept outside of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// Which form it has: [`RECORD_VERSION`].
    pub version: u32,
    /// The workspace, as its real path. In another one it grants nothing.
    pub workspace: PathBuf,
    /// By agent.
    #[serde(default)]
    pub agents: BTreeMap<AgentName, Grant>,
}

/// The parts of one agent's folder that its owner said yes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Which folder was meant: another one of the same name is another agent.
    pub folder: String,
    /// Those that count; of others of the folder nothing is known here.
    #[serde(default)]
    pub parts: BTreeSet<Part>,
}

impl GrantRecord {
    /// That of a workspace in which nothing was granted yet.
    pub fn new(workspace: PathBuf) -> GrantRecord {
        GrantRecord {
            version: RECORD_VERSION,
            workspace,
            agents: BTreeMap::new(),
        }
    }

    /// The grant for the agent in that folder; nothing for one of the same name elsewhere.
    pub fn granted(&self, name: &AgentName, folder: &str) -> Granted {
        match self.agents.get(name) {
            Some(grant) if grant.folder == folder => Granted::Parts(grant.parts.clone()),
            Some(_) | None => Granted::Nothing,
        }
    }

    /// Grants these parts too. Returns whether the agent had no grant for that folder before.
    pub fn add(&mut self, name: &AgentName, folder: &str, parts: &[Part]) -> bool {
        let is_other = self.granted(name, folder) == Granted::Nothing;
        if is_other {
            let grant = Grant {
                folder: folder.to_owned(),
                parts: BTreeSet::new(),
            };
            self.agents.insert(name.clone(), grant);
        }
        if let Some(grant) = self.agents.get_mut(name) {
            grant.parts.extend(parts.iter().cloned());
        }
        is_other
    }

    /// Grants exactly these parts. Returns as [`add`](Self::add) does.
    pub fn set(&mut self, name: &AgentName, folder: &str, parts: &[Part]) -> bool {
        let is_other = self.add(name, folder, &[]);
        if let Some(grant) = self.agents.get_mut(name) {
            grant.parts = BTreeSet::new();
            grant.parts.extend(parts.iter().cloned());
        }
        is_other
    }
}

/// Says that an agent brings what does not count, and what can be done; `None` when all counts.
pub fn said_of(agent: &str, waiting: &[Part]) -> Option<String> {
    let counted = counted(waiting);
    let verb = match waiting.len() {
        0 => return None,
        1 => "does",
        _ => "do",
    };
    let mend = mend(agent);
    Some(format!(
        "{agent} brings {counted} that {verb} not count: {mend}"
    ))
}

/// The command with which an owner lets it count, for the end of a remark.
pub fn mend(agent: &str) -> String {
    format!("`duragent agent trust {agent}`")
}

/// `2 rules, 1 mode and 1 program`.
pub fn counted(parts: &[Part]) -> String {
    let mut numbers: BTreeMap<Kind, usize> = BTreeMap::new();
    for part in parts {
        *numbers.entry(part.kind).or_default() += 1;
    }
    let words: Vec<String> = numbers
        .into_iter()
        .map(|(kind, number)| {
            let (one, several) = kind.nouns();
            format!("{number} {}", if number == 1 { one } else { several })
        })
        .collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
