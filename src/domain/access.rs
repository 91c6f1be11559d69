//! Who may talk to an agent through gateways, and what becomes of what they say: `spec.access`.

use std::time::Duration;

use serde::Serialize;

/// Who may talk to an agent through gateways.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessSpec {
    /// In a chat of two.
    pub dm: DmAccess,
    /// In a group.
    pub groups: GroupAccess,
    /// Who may answer approvals, beside those whom the owner admitted as such.
    pub approvers: Vec<IdPattern>,
    /// The one who asked for what needs approval may give it.
    pub requester_approves: bool,
}

impl AccessSpec {
    /// People whom the owner did not name may get in: what they write is a stranger's.
    pub fn lets_strangers_in(&self) -> bool {
        self.dm.policy == DmPolicy::Open || self.groups.policy != GroupPolicy::Disabled
    }
}

/// An identifier, or the beginning of some: `telegram:*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdPattern {
    /// This one.
    Exact(String),
    /// All that begin so.
    Prefix(String),
}

impl IdPattern {
    /// A trailing `*` stands for any ending. Another `*`, or no letter at all, is refused.
    pub fn parse(text: &str) -> Option<IdPattern> {
        let pattern = match text.strip_suffix('*') {
            Some(stem) => IdPattern::Prefix(stem.to_owned()),
            None => IdPattern::Exact(text.to_owned()),
        };
        let is_pattern = !text.is_empty() && !pattern.as_str().contains('*');
        is_pattern.then_some(pattern)
    }

    fn as_str(&self) -> &str {
        match self {
            IdPattern::Exact(text) | IdPattern::Prefix(text) => text,
        }
    }

    /// `id` is the identifier, or begins as it does.
    pub fn matches(&self, id: &str) -> bool {
        match self {
            IdPattern::Exact(one) => one == id,
            IdPattern::Prefix(start) => id.starts_with(start.as_str()),
        }
    }
}

/// Who may write to an agent in a chat of two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DmAccess {
    /// The rule.
    pub policy: DmPolicy,
    /// The senders who may.
    pub allowlist: Vec<IdPattern>,
}

/// The rule for chats of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DmPolicy {
    /// Everybody.
    Open,
    /// Nobody.
    Disabled,
    /// Those on the list.
    Allowlist,
    /// Those on the list; a stranger gets a code that the owner admits.
    #[default]
    Pairing,
}

impl DmPolicy {
    /// The words used in files.
    pub const WORDS: &[(&str, DmPolicy)] = &[
        ("open", DmPolicy::Open),
        ("disabled", DmPolicy::Disabled),
        ("allowlist", DmPolicy::Allowlist),
        ("pairing", DmPolicy::Pairing),
    ];
}

/// In which groups an agent takes part, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupAccess {
    /// The rule.
    pub policy: GroupPolicy,
    /// The groups, as `{channel}:{chat_id}`.
    pub allowlist: Vec<IdPattern>,
    /// A mention, or every message.
    pub activation: Activation,
    /// What programs say there.
    pub bots: BotRule,
    /// The rule for senders whom `sender_overrides` does not name.
    pub sender_default: SenderRule,
    /// The same for some senders; exact ones come before prefixes.
    pub sender_overrides: Vec<(IdPattern, SenderRule)>,
    /// How much of the talk that it does not answer it is shown later.
    pub context_buffer: ContextBuffer,
    /// Messages that come while it works.
    pub queue: QueueSpec,
}

/// The rule for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupPolicy {
    /// Every group.
    Open,
    /// No group.
    #[default]
    Disabled,
    /// Those on the list.
    Allowlist,
}

impl GroupPolicy {
    /// The words used in files.
    pub const WORDS: &[(&str, GroupPolicy)] = &[
        ("open", GroupPolicy::Open),
        ("disabled", GroupPolicy::Disabled),
        ("allowlist", GroupPolicy::Allowlist),
    ];
}

/// When an agent answers in a group: answering everything disturbs, and costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Being mentioned or replied to.
    #[default]
    Mention,
    /// Every message.
    Always,
}

impl Activation {
    /// The words used in files.
    pub const WORDS: &[(&str, Activation)] = &[
        ("mention", Activation::Mention),
        ("always", Activation::Always),
    ];
}

/// Whether an agent hears what other programs say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BotRule {
    /// It does not: two that answer one another would never end.
    #[default]
    Ignore,
    /// It does, and answers a few times before a person has to say something.
    Allow,
}

impl BotRule {
    /// The words used in files.
    pub const WORDS: &[(&str, BotRule)] = &[("ignore", BotRule::Ignore), ("allow", BotRule::Allow)];
}

/// How far a sender's messages in a group get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SenderRule {
    /// The model sees them and answers.
    #[default]
    Allow,
    /// The model sees them; no answer.
    Passive,
    /// They are logged only.
    Silent,
    /// Nothing is kept.
    Block,
}

impl SenderRule {
    /// The words used in files.
    pub const WORDS: &[(&str, SenderRule)] = &[
        ("allow", SenderRule::Allow),
        ("passive", SenderRule::Passive),
        ("silent", SenderRule::Silent),
        ("block", SenderRule::Block),
    ];
}

/// How much of a group's talk that the agent does not answer is kept for its next answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextBuffer {
    /// Shown to the model, or for the record only.
    pub mode: BufferMode,
    /// The most messages.
    pub max_messages: u64,
    /// The oldest message.
    pub max_age_hours: u64,
}

impl Default for ContextBuffer {
    fn default() -> ContextBuffer {
        ContextBuffer {
            mode: BufferMode::Silent,
            max_messages: 100,
            max_age_hours: 24,
        }
    }
}

/// Who gets to see the talk that the agent does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BufferMode {
    /// It is logged only.
    #[default]
    Silent,
    /// The model sees it.
    Passive,
}

impl BufferMode {
    /// The words used in files.
    pub const WORDS: &[(&str, BufferMode)] = &[
        ("silent", BufferMode::Silent),
        ("passive", BufferMode::Passive),
    ];
}

/// The queue of messages that come while the agent works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// How waiting messages are taken up.
    pub mode: QueueMode,
    /// The most that wait.
    pub max_pending: u64,
    /// The rule for one beyond `max_pending`.
    pub overflow: Overflow,
    /// The answer to the sender of a rejected one.
    pub reject_message: Option<String>,
    /// How long a quick succession of messages is waited out; `None` for not at all.
    pub debounce: Option<Duration>,
}

impl Default for QueueSpec {
    fn default() -> QueueSpec {
        QueueSpec {
            mode: QueueMode::Batch,
            max_pending: 10,
            overflow: Overflow::DropOld,
            reject_message: None,
            debounce: Some(Duration::from_millis(1500)),
        }
    }
}

/// How waiting messages are taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueMode {
    /// Together, at the next call of the model.
    #[default]
    Batch,
    /// One turn each.
    Sequential,
    /// Not at all: only an idle agent takes messages.
    Drop,
}

impl QueueMode {
    /// The words used in files.
    pub const WORDS: &[(&str, QueueMode)] = &[
        ("batch", QueueMode::Batch),
        ("sequential", QueueMode::Sequential),
        ("drop", QueueMode::Drop),
    ];
}

/// Which message goes when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest waiting one goes.
    #[default]
    DropOld,
    /// It goes itself.
    DropNew,
    /// It goes, and its sender is told.
    Reject,
}

impl Overflow {
    /// The words used in files.
    pub const WORDS: &[(&str, Overflow)] = &[
        ("drop_old", Overflow::DropOld),
        ("drop_new", Overflow::DropNew),
        ("reject", Overflow::Reject),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_an_identifier_or_its_beginning() {
        let exact = IdPattern::parse("42").unwrap();
        assert!(exact.matches("42") && !exact.matches("421"));
        let prefix = IdPattern::parse("tg:*").unwrap();
        assert!(prefix.matches("tg:1") && !prefix.matches("irc:1"));
        assert!(IdPattern::parse("*").unwrap().matches("anyone"));
        for refused in ["", "a*b", "**", "*a"] {
            assert_eq!(IdPattern::parse(refused), None, "{refused}");
        }
    }
}
