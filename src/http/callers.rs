//! Tools do not answer their own questions: what a program that this server started may ask of it.
//!
//! A program of a tool runs as the owner, and could call the API as the owner does. So for what
//! decides, changes rules or speaks in a session it is looked up who holds the other end of the
//! connection. A program that descends from this server may write in the session that it runs for,
//! and nothing else.
//!
//! Without a token a program must be seen to be another one; a program can hide from the look-up.
//! With one it need not: it has shown what the owner gives to those whom it trusts.
//!
//! Elsewhere: who may use the API at all (`http::access`), how a holder is found
//! (`base::child::holder_of`).

use crate::base::accounts;
use crate::base::child::{self, Holder};
use crate::base::socket_owner::{self, Ends};
use crate::domain::ids::SessionId;
use crate::http::access::Caller;
use crate::http::problem::Problem;
use crate::http::route::Route;

/// The last part of the type of these problems.
const KIND: &str = "tool-may-not";

/// Refuses what a program of a tool may not do.
///
/// Errors: 403.
pub(super) fn check(route: &Route, caller: Caller, ends: Ends) -> Result<(), Problem> {
    match Deed::of(route) {
        Some(deed) => deed.judge(caller, || look(deed, ends)),
        None => Ok(()),
    }
}

/// What not everybody may do.
#[derive(Debug, Clone, Copy)]
enum Deed<'a> {
    /// Decides, changes by which rules is decided, or lets others in.
    Rules,
    /// Changes what becomes of a session.
    InSession(&'a SessionId),
}

/// Who is behind a request.
#[derive(Debug)]
enum Behind {
    /// A program that a tool started, for that session where it is known.
    Tool(Option<String>),
    /// No program of a tool.
    Other,
    /// It cannot be seen.
    Unseen,
}

impl<'a> Deed<'a> {
    fn of(route: &'a Route) -> Option<Deed<'a>> {
        match route {
            Route::Approve(_)
            // It lets whoever has it in, from wherever.
            | Route::IssueTicket(_)
            | Route::ReloadAgents
            | Route::Shutdown => Some(Deed::Rules),
            Route::PostMessage(id)
            | Route::Stream(id)
            | Route::Cancel(id)
            | Route::ChangeSession(id)
            | Route::DeleteSession(id) => Some(Deed::InSession(id)),
            Route::Home
            | Route::Livez
            | Route::Readyz
            | Route::Version
            | Route::ListAgents
            | Route::ShowAgent(_)
            | Route::ListSessions
            // It lets nothing run, and decides nothing.
            | Route::CreateSession
            | Route::ShowSession(_)
            | Route::ListMessages(_)
            | Route::Events(_)
            | Route::Options(_) => None,
        }
    }

    fn judge(self, caller: Caller, look: impl FnOnce() -> Behind) -> Result<(), Problem> {
        let refusal = match (look(), self) {
            (Behind::Other, _) => return Ok(()),
            (Behind::Unseen, _) if caller == Caller::Token => return Ok(()),
            (Behind::Unseen, _) => {
                "it cannot be seen which program sends this, and it may be a tool's: set \
                 server.api_token, and send it"
            }
            (Behind::Tool(Some(session)), Deed::InSession(id)) if session == id.as_str() => {
                return Ok(());
            }
            (Behind::Tool(_), Deed::InSession(_)) => {
                "a program that a tool has started may write in no session but the one that it \
                 runs for"
            }
            (Behind::Tool(_), Deed::Rules) => {
                "a program that a tool has started may not decide, change rules, let others in or \
                 stop the server: that is for a program that this server did not start"
            }
        };
        Err(Problem::new(403, refusal).with_kind(KIND))
    }
}

fn look(deed: Deed<'_>, ends: Ends) -> Behind {
    // Before the socket: without a child there is no program of a tool, and whoever holds the socket
    // after that held it before. One that is closed may have been that of a program that has ended.
    let has_child = child::has_any();
    let socket = match socket_owner::find(ends) {
        Ok(Some(socket)) => socket,
        // Of another machine, or closed.
        Ok(None) => return Behind::Unseen,
        Err(error) => {
            log::warn!("it is not known who sends requests: {error}");
            return Behind::Unseen;
        }
    };
    // Messages are many, and nothing in this server itself would send one.
    if !has_child && matches!(deed, Deed::InSession(_)) {
        return Behind::Other;
    }
    match child::holder_of(socket.inode) {
        Holder::Descendant { runs_for } => {
            Behind::Tool(runs_for.map(|session| session.to_string()))
        }
        Holder::Other => Behind::Other,
        Holder::Unseen { .. } if !has_child => Behind::Other,
        // The programs of tools run as we do, but for those that became somebody else.
        Holder::Unseen { may_descend: false } if socket.uid != accounts::own() => Behind::Other,
        Holder::Unseen { .. } => Behind::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "session_01J0000000000000000000000A";
    const TWO: &str = "session_01J0000000000000000000000B";

    #[test]
    fn a_tool_writes_in_its_own_session_and_decides_nothing() {
        let id = SessionId::parse(ONE).unwrap();
        let (rules, session) = (Deed::Rules, Deed::InSession(&id));
        let tool = |session: &str| Behind::Tool(Some(session.to_owned()));
        let table = [
            (rules, Caller::Local, Behind::Other, true),
            (rules, Caller::Local, tool(ONE), false),
            (rules, Caller::Token, tool(ONE), false),
            (rules, Caller::Token, Behind::Tool(None), false),
            (rules, Caller::Local, Behind::Unseen, false),
            (rules, Caller::Token, Behind::Unseen, true),
            (session, Caller::Local, Behind::Other, true),
            (session, Caller::Local, tool(ONE), true),
            (session, Caller::Token, tool(ONE), true),
            (session, Caller::Local, tool(TWO), false),
            (session, Caller::Token, tool(TWO), false),
            (session, Caller::Token, tool(""), false),
            (session, Caller::Local, Behind::Tool(None), false),
            (session, Caller::Local, Behind::Unseen, false),
            (session, Caller::Token, Behind::Unseen, true),
        ];
        for (deed, caller, behind, expected) in table {
            let words = format!("{deed:?} {caller:?} {behind:?}");
            let judged = deed.judge(caller, || behind);
            assert_eq!(judged.is_ok(), expected, "{words}: {judged:?}");
        }
    }
}
