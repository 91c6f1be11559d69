//! Who asks: on whose behalf something is done in a session.
//!
//! In a log nobody is named who is the server's owner: `session_start.owner`, `sender_id` of a
//! message and `by` of a decision are left out then, as in every log of before there were others.
//!
//! Invariant: no two principals have the same text, and none has the text of nobody.
//!
//! Elsewhere: how a request proves whose it is (`http::access`), what is refused to a program of a
//! tool (`http::callers`).

use std::fmt;

use crate::domain::ids::{SessionId, TokenName};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The server's owner: the account that runs it, and whoever shows its own token.
    Owner,
    /// Whoever shows the token of that name.
    Token(TokenName),
    /// A person on a messaging platform.
    Sender(GatewaySender),
    /// A program that a tool has started, and that acts in the session it runs for.
    Program(SessionId),
}

/// By which way somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a program of this machine, directly.
    Local,
    /// From another machine, or by a proxy, which may speak for one.
    Network,
}

/// A person as a gateway knows them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewaySender {
    gateway: String,
    id: String,
}

const OWNER: &str = "owner";
const TOKEN: &str = "token:";
const PROGRAM: &str = "program:";
const SENDER: &str = "sender:";

impl GatewaySender {
    /// The sender whom `gateway`, whose name has no colon, calls `id`; ids of several gateways need not
    /// differ.
    pub fn new(gateway: impl Into<String>, id: impl Into<String>) -> GatewaySender {
        GatewaySender {
            gateway: gateway.into(),
            id: id.into(),
        }
    }
}

impl Principal {
    /// Reads the text of one who can be let in by the API: the owner, or a token's holder.
    pub fn parse(text: &str) -> Option<Principal> {
        if text == OWNER {
            return Some(Principal::Owner);
        }
        let name = text.strip_prefix(TOKEN)?;
        TokenName::parse(name).ok().map(Principal::Token)
    }

    /// The server's owner sees every session, and alone may choose a folder of the machine for one.
    pub fn is_owner(&self) -> bool {
        *self == Principal::Owner
    }

    /// As `session_start.owner` of its sessions and `by` of its decisions; `None` for the server's
    /// owner.
    pub fn logged(&self) -> Option<String> {
        (!self.is_owner()).then(|| self.to_string())
    }

    /// As `sender_id` of its messages; `None` for the server's owner. A gateway's sender stands there
    /// by the platform's own id, since the session says whose chat it is.
    pub fn sender_id(&self) -> Option<String> {
        match self {
            Principal::Sender(sender) if !is_reserved(&sender.id) => Some(sender.id.clone()),
            Principal::Owner
            | Principal::Token(_)
            | Principal::Sender(_)
            | Principal::Program(_) => self.logged(),
        }
    }

    /// Each sees their own sessions, the server's owner all: for anybody else there is no session
    /// of that id. `owner` is [as logged](Principal::logged), `session` the session itself.
    pub fn may_see(&self, session: &SessionId, owner: Option<&str>) -> bool {
        match self {
            Principal::Owner => true,
            Principal::Program(own) => own == session,
            Principal::Token(_) | Principal::Sender(_) => self.logged().as_deref() == owner,
        }
    }
}

/// Whether a message of `sender_id` is of whoever the log calls `by`, in a session that is a chat of
/// `gateway`, if it is one.
pub fn has_said(by: Option<&str>, gateway: Option<&str>, sender_id: Option<&str>) -> bool {
    let as_sender = |by: &str| {
        let (gateway, id) = (gateway?, sender_id?);
        let named = by.strip_prefix(SENDER)?.strip_prefix(gateway)?;
        Some(named.strip_prefix(':')? == id && !is_reserved(id))
    };
    by == sender_id || by.and_then(as_sender).unwrap_or(false)
}

/// Whether a platform's id reads like another principal's text, or like nobody's.
fn is_reserved(id: &str) -> bool {
    let is_text_of_one = [TOKEN, PROGRAM, SENDER]
        .iter()
        .any(|kind| id.starts_with(kind));
    id.is_empty() || id == OWNER || is_text_of_one
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Owner => f.write_str(OWNER),
            Principal::Token(name) => write!(f, "{TOKEN}{name}"),
            Principal::Program(session) => write!(f, "{PROGRAM}{session}"),
            Principal::Sender(sender) => write!(f, "{SENDER}{sender}"),
        }
    }
}

impl fmt::Display for GatewaySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.gateway, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> Principal {
        Principal::Token(TokenName::parse(name).unwrap())
    }

    fn sender(gateway: &str, id: &str) -> Principal {
        Principal::Sender(GatewaySender::new(gateway, id))
    }

    #[test]
    fn the_owner_is_the_one_whom_no_log_names() {
        assert_eq!(Principal::Owner.logged(), None);
        assert_eq!(Principal::Owner.sender_id(), None);
        for (other, logged, sender_id) in [
            (token("alice"), "token:alice", "token:alice"),
            (sender("telegram", "42"), "sender:telegram:42", "42"),
            // Somebody's nick must not make a token's holder of them.
            (
                sender("irc", "token:alice"),
                "sender:irc:token:alice",
                "sender:irc:token:alice",
            ),
            (
                sender("irc", "sender:irc:token:alice"),
                "sender:irc:sender:irc:token:alice",
                "sender:irc:sender:irc:token:alice",
            ),
            (sender("irc", ""), "sender:irc:", "sender:irc:"),
        ] {
            assert_eq!(other.logged().as_deref(), Some(logged));
            assert_eq!(other.sender_id().as_deref(), Some(sender_id));
        }
    }

    #[test]
    fn what_somebody_has_said_is_told_from_what_others_have() {
        let by = |text| Some(text);
        for (by, gateway, sender_id, want) in [
            (None, None, None, true),
            (None, Some("irc"), None, true),
            (None, Some("irc"), Some("42"), false),
            (by("token:alice"), None, Some("token:alice"), true),
            (by("token:alice"), None, None, false),
            (by("sender:irc:42"), Some("irc"), Some("42"), true),
            (by("sender:irc:42"), Some("irc"), Some("4"), false),
            (by("sender:irc:42"), Some("irc"), None, false),
            (by("sender:irc:42"), Some("tg"), Some("42"), false),
            (by("sender:irc:42"), None, Some("42"), false),
            // Whose nick reads like a token's holder is another one than that.
            (
                by("sender:irc:token:a"),
                Some("irc"),
                Some("token:a"),
                false,
            ),
            (
                by("sender:irc:token:a"),
                Some("irc"),
                Some("sender:irc:token:a"),
                true,
            ),
        ] {
            assert_eq!(
                has_said(by, gateway, sender_id),
                want,
                "{by:?} {sender_id:?}"
            );
        }
    }

    #[test]
    fn only_those_are_read_who_can_be_let_in() {
        for known in [Principal::Owner, token("alice")] {
            assert_eq!(Principal::parse(&known.to_string()), Some(known));
        }
        for text in [
            "",
            "Owner",
            "token:",
            "token:a b",
            "sender:irc:x",
            "program:x",
        ] {
            assert_eq!(Principal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_sees_their_own_and_the_owner_sees_all() {
        let (one, two) = (SessionId::mint(1, 1), SessionId::mint(2, 2));
        let alice = Some("token:alice");
        for (who, session, owner, want) in [
            (Principal::Owner, &one, None, true),
            (Principal::Owner, &one, alice, true),
            (token("alice"), &one, alice, true),
            (token("alice"), &one, Some("token:bob"), false),
            // A session of before there were others.
            (token("alice"), &one, None, false),
            (Principal::Program(one.clone()), &one, None, true),
            (Principal::Program(one.clone()), &two, None, false),
        ] {
            assert_eq!(who.may_see(session, owner), want, "{who} {owner:?}");
        }
    }
}
