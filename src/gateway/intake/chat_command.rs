//! Words in a chat that are for the program, not for the model. Pure.

use crate::domain::event::Decision;
use crate::domain::ids::Seq;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChatCommand {
    /// Somebody came; a link may have brought words along.
    Start {
        /// The words.
        payload: Option<String>,
    },
    /// What can be said here?
    Help,
    /// How does the conversation stand?
    Status,
    /// The turn is to stop.
    Stop,
    /// The conversation is to end.
    Reset,
    /// What is allowed for the conversation is to be said, or taken back.
    Grants(GrantsOrder),
    /// How much of the conversation does the model see?
    Context,
    /// The conversation is to be summarised.
    Compact {
        /// What the summary is to keep above all.
        keep: Option<String>,
    },
    /// A question is answered; `None` for an answer that there is not.
    Decide(Option<Decision>),
}

impl ChatCommand {
    /// As people write it.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            ChatCommand::Start { .. } => "/start",
            ChatCommand::Help => "/help",
            ChatCommand::Status => "/status",
            ChatCommand::Stop => "/stop",
            ChatCommand::Reset => "/reset",
            ChatCommand::Grants(_) => "/grants",
            ChatCommand::Context => "/context",
            ChatCommand::Compact { .. } => "/compact",
            ChatCommand::Decide(Some(Decision::Deny)) => "/deny",
            ChatCommand::Decide(_) => "/approve",
        }
    }
}

/// What is to be done about what is allowed for a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantsOrder {
    /// It is to be said.
    List,
    /// One of them is to be taken back, by its number, or all.
    Revoke(Option<Seq>),
    /// There is no such order.
    Other,
}

/// What a text that looks like a command is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spoken {
    /// A command of ours.
    Command(ChatCommand),
    /// A command of another bot, by name.
    ForAnother,
    /// No command of ours: words.
    Words,
}

/// What can be said, for who asks.
pub(super) const HELP: &str = "Write what you want, and I answer.\n\n\
    - `/status` says what I am doing\n\
    - `/stop` stops it\n\
    - `/reset` ends this conversation; your next message begins a new one\n\
    - `/grants` says what is allowed for this conversation; `/grants revoke` takes it back\n\
    - `/compact` has the older part of this conversation summarised; say behind it what is to be kept\n\
    - `/context` says how much of it I have in view\n\
    - `/approve` and `/deny` answer my question, if you may decide\n\
    - `/help` shows this";

/// The agent, as a platform has it.
#[derive(Debug, Clone, Copy)]
pub(super) enum OwnName<'a> {
    /// It has this name.
    Known(&'a str),
    /// Its name is not known, but whether it was called by it.
    Unknown {
        /// It was.
        is_called: bool,
    },
}

impl OwnName<'_> {
    fn is(self, called: &str) -> bool {
        match self {
            OwnName::Known(own) => own.trim_start_matches('@').eq_ignore_ascii_case(called),
            OwnName::Unknown { is_called } => is_called,
        }
    }
}

/// Reads a text.
pub(super) fn read(text: &str, own_name: OwnName<'_>) -> Spoken {
    let text = text.trim();
    let (word, rest) = text
        .split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim()));
    let Some(word) = word.strip_prefix('/') else {
        return Spoken::Words;
    };
    let (name, called) = match word.split_once('@') {
        Some((name, called)) => (name, Some(called)),
        None => (word, None),
    };
    let is_ours = called.is_none_or(|called| own_name.is(called));
    match command(name, rest) {
        _ if !is_ours => Spoken::ForAnother,
        Some(command) => Spoken::Command(command),
        None => Spoken::Words,
    }
}

fn command(name: &str, rest: &str) -> Option<ChatCommand> {
    Some(match name.to_ascii_lowercase().as_str() {
        "start" => ChatCommand::Start {
            payload: (!rest.is_empty()).then(|| rest.to_owned()),
        },
        "help" => ChatCommand::Help,
        "status" => ChatCommand::Status,
        "stop" => ChatCommand::Stop,
        "reset" => ChatCommand::Reset,
        "grants" => ChatCommand::Grants(grants_order(rest)),
        "context" => ChatCommand::Context,
        "compact" => ChatCommand::Compact {
            keep: (!rest.is_empty()).then(|| rest.to_owned()),
        },
        "approve" => ChatCommand::Decide(decision(rest)),
        "deny" => ChatCommand::Decide(Some(Decision::Deny)),
        _ => return None,
    })
}

fn grants_order(words: &str) -> GrantsOrder {
    let words: Vec<&str> = words.split_whitespace().collect();
    match words.as_slice() {
        [] => GrantsOrder::List,
        ["revoke"] | ["revoke", "all"] => GrantsOrder::Revoke(None),
        ["revoke", number] => match number.parse() {
            Ok(number) => GrantsOrder::Revoke(Some(Seq(number))),
            Err(_) => GrantsOrder::Other,
        },
        _ => GrantsOrder::Other,
    }
}

/// Which yes is meant.
fn decision(word: &str) -> Option<Decision> {
    Some(match word.to_ascii_lowercase().as_str() {
        "" | "once" => Decision::AllowOnce,
        "session" => Decision::AllowSession,
        "always" => Decision::AllowAlways,
        "retry" => Decision::Retry,
        "skip" => Decision::Skip,
        "worked" => Decision::Worked,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_first_word_of_a_text_and_ours_by_name_or_without_one() {
        use Spoken::{Command, ForAnother, Words};
        let start = |payload: Option<&str>| {
            Command(ChatCommand::Start {
                payload: payload.map(str::to_owned),
            })
        };
        let decide = |decision| Command(ChatCommand::Decide(decision));
        for (text, expected) in [
            ("/start", start(None)),
            ("/start  order-7 now ", start(Some("order-7 now"))),
            ("/help", Command(ChatCommand::Help)),
            ("/STATUS", Command(ChatCommand::Status)),
            (" /stop\n", Command(ChatCommand::Stop)),
            ("/stop please", Command(ChatCommand::Stop)),
            ("/stop@our_bot", Command(ChatCommand::Stop)),
            ("/stop@Our_Bot now", Command(ChatCommand::Stop)),
            ("/stop@other_bot", ForAnother),
            ("/dance@other_bot", ForAnother),
            ("/reset", Command(ChatCommand::Reset)),
            ("/approve", decide(Some(Decision::AllowOnce))),
            ("/approve session", decide(Some(Decision::AllowSession))),
            ("/grants", Command(ChatCommand::Grants(GrantsOrder::List))),
            (
                "/grants revoke 7",
                Command(ChatCommand::Grants(GrantsOrder::Revoke(Some(Seq(7))))),
            ),
            (
                "/grants revoke",
                Command(ChatCommand::Grants(GrantsOrder::Revoke(None))),
            ),
            (
                "/grants away",
                Command(ChatCommand::Grants(GrantsOrder::Other)),
            ),
            ("/approve always", decide(Some(Decision::AllowAlways))),
            ("/approve worked", decide(Some(Decision::Worked))),
            ("/approve everything", decide(None)),
            ("/deny", decide(Some(Decision::Deny))),
            ("/deny it", decide(Some(Decision::Deny))),
            ("/dance", Words),
            ("/stops", Words),
            ("please /stop", Words),
            ("/", Words),
            ("// stop", Words),
            ("", Words),
        ] {
            for own in ["our_bot", "@our_bot"] {
                assert_eq!(read(text, OwnName::Known(own)), expected, "{text:?}");
            }
        }
        let by_name = |is_called| read("/stop@our_bot", OwnName::Unknown { is_called });
        assert_eq!(by_name(false), ForAnother);
        assert_eq!(by_name(true), Command(ChatCommand::Stop));
    }
}
