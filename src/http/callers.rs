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
use crate::domain::principal::Principal;
use crate::http::problem::HttpProblem;
use crate::http::requester::{Credential, Requester};
use crate::http::route::ApiRoute;

/// The last part of the type of these problems.
const KIND: &str = "tool-may-not";

/// Refuses what a program of a tool may not do, and tells who asks: the program itself where it is
/// seen to be one, else whoever `requester` says; `None` where nobody needed to be known.
///
/// Errors: 403.
pub(super) fn check(
    route: &ApiRoute,
    requester: Option<&Requester>,
    ends: impl FnOnce() -> Ends,
) -> Result<Option<Principal>, HttpProblem> {
    let Some(action) = GuardedAction::of(route) else {
        return Ok(requester.map(|requester| requester.principal.clone()));
    };
    action.judge(requester, || look(action, ends()))
}

/// Refuses programs of tools whatever only a program may do that this server did not start.
///
/// Errors: 403.
pub(super) fn refuse_programs(
    requester: Option<&Requester>,
    ends: impl FnOnce() -> Ends,
) -> Result<(), HttpProblem> {
    let action = GuardedAction::Rules;
    action.judge(requester, || look(action, ends())).map(drop)
}

/// A deed that is not for every program that may use the API.
#[derive(Debug, Clone, Copy)]
enum GuardedAction<'a> {
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

impl<'a> GuardedAction<'a> {
    fn of(route: &'a ApiRoute) -> Option<GuardedAction<'a>> {
        match route {
            ApiRoute::Approve(_)
            // It lets whoever has it in, from wherever.
            | ApiRoute::IssueTicket(_)
            | ApiRoute::RevokeGrants(..)
            | ApiRoute::ReloadAgents
            // Their codes let people in, and their programs on platforms.
            | ApiRoute::ListGateways
            | ApiRoute::GatewayLog(_)
            | ApiRoute::RestartGateway(_)
            | ApiRoute::ListPairings
            | ApiRoute::ApproveSender
            | ApiRoute::ShowOutbox
            | ApiRoute::ClearOutbox
            | ApiRoute::Shutdown => Some(GuardedAction::Rules),
            ApiRoute::PostMessage(id)
            | ApiRoute::Stream(id)
            | ApiRoute::BringFile(id)
            | ApiRoute::Cancel(id)
            | ApiRoute::Compact(id)
            | ApiRoute::ChangeSession(id)
            | ApiRoute::DeleteSession(id) => Some(GuardedAction::InSession(id)),
            ApiRoute::Home
            | ApiRoute::Livez
            | ApiRoute::Readyz
            | ApiRoute::Version
            | ApiRoute::ListAgents
            | ApiRoute::ShowAgent(_)
            | ApiRoute::ListSessions
            | ApiRoute::SearchSessions
            // It lets nothing run, and decides nothing; where it names a folder, its handler
            // refuses programs.
            | ApiRoute::CreateSession
            | ApiRoute::ShowSession(_)
            | ApiRoute::ListMessages(_)
            | ApiRoute::ListGrants(_)
            | ApiRoute::ShowContext(_)
            | ApiRoute::Events(_)
            | ApiRoute::FetchFile(..)
            | ApiRoute::Options(_) => None,
        }
    }

    fn judge(
        self,
        requester: Option<&Requester>,
        look: impl FnOnce() -> Behind,
    ) -> Result<Option<Principal>, HttpProblem> {
        let shows_token =
            requester.is_some_and(|requester| requester.credential == Credential::Token);
        let itself = || requester.map(|requester| requester.principal.clone());
        let refusal = match (look(), self) {
            (Behind::Other, _) => return Ok(itself()),
            (Behind::Unseen, _) if shows_token => return Ok(itself()),
            (Behind::Unseen, _) => {
                "it cannot be seen which program sends this, and it may be a tool's: set \
                 server.api_token, and send it"
            }
            (Behind::Tool(Some(session)), GuardedAction::InSession(id))
                if session == id.as_str() =>
            {
                return Ok(Some(Principal::Program(id.clone())));
            }
            (Behind::Tool(_), GuardedAction::InSession(_)) => {
                "a program that a tool has started may write in no session but the one that it \
                 runs for"
            }
            (Behind::Tool(_), GuardedAction::Rules) => {
                "a program that a tool has started may not decide, change rules, let others in or \
                 stop the server: that is for a program that this server did not start"
            }
        };
        Err(HttpProblem::new(403, refusal).with_kind(KIND))
    }
}

fn look(action: GuardedAction<'_>, ends: Ends) -> Behind {
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
    if !has_child && matches!(action, GuardedAction::InSession(_)) {
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
    use crate::domain::principal::Way;

    const ONE: &str = "session_01J0000000000000000000000A";
    const TWO: &str = "session_01J0000000000000000000000B";

    #[test]
    fn a_tool_writes_in_its_own_session_and_decides_nothing() {
        let id = SessionId::parse(ONE).unwrap();
        let (rules, session) = (GuardedAction::Rules, GuardedAction::InSession(&id));
        let tool = |session: &str| Behind::Tool(Some(session.to_owned()));
        let (account, token) = (Credential::Account, Credential::Token);
        let owner = Some(Principal::Owner);
        let program = Some(Principal::Program(id.clone()));
        let table = [
            (rules, account, Behind::Other, owner.clone()),
            (rules, account, tool(ONE), None),
            (rules, token, tool(ONE), None),
            (rules, token, Behind::Tool(None), None),
            (rules, account, Behind::Unseen, None),
            (rules, token, Behind::Unseen, owner.clone()),
            (session, account, Behind::Other, owner.clone()),
            (session, account, tool(ONE), program.clone()),
            (session, token, tool(ONE), program),
            (session, account, tool(TWO), None),
            (session, token, tool(TWO), None),
            (session, token, tool(""), None),
            (session, account, Behind::Tool(None), None),
            (session, account, Behind::Unseen, None),
            (session, token, Behind::Unseen, owner),
        ];
        for (action, credential, behind, expected) in table {
            let words = format!("{action:?} {credential:?} {behind:?}");
            let requester = Requester {
                principal: Principal::Owner,
                credential,
                way: Way::Local,
            };
            let judged = action.judge(Some(&requester), || behind);
            assert_eq!(judged.ok().flatten(), expected, "{words}");
        }
    }
}
