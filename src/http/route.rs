//! The table of routes: method and path into an [`ApiRoute`] whose ids are parsed. Pure.
//!
//! Invariant: what a `Route` holds has been decoded and checked, so a handler never sees a raw
//! path.
//!
//! Elsewhere: who may use a route (`http::access`), what it does (`http::handlers`).

use std::borrow::Cow;

use crate::base::text::{self, percent_decode};
use crate::domain::files::FileKey;
use crate::domain::ids::{Seq, SessionId};
use crate::http::problem::HttpProblem;

/// The target of a request, with the ids in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiRoute {
    /// `GET /`
    Home,
    /// `GET /livez`
    Livez,
    /// `GET /readyz`
    Readyz,
    /// `GET /version`
    Version,
    /// `GET /api/v1/agents`
    ListAgents,
    /// `GET /api/v1/agents/{name}`
    ShowAgent(String),
    /// `GET /api/v1/sessions`
    ListSessions,
    /// `GET /api/v1/sessions/search`
    SearchSessions,
    /// `POST /api/v1/sessions`
    CreateSession,
    /// `GET /api/v1/sessions/{id}`
    ShowSession(SessionId),
    /// `PATCH /api/v1/sessions/{id}`
    ChangeSession(SessionId),
    /// `DELETE /api/v1/sessions/{id}`
    DeleteSession(SessionId),
    /// `GET /api/v1/sessions/{id}/messages`
    ListMessages(SessionId),
    /// `POST /api/v1/sessions/{id}/messages`
    PostMessage(SessionId),
    /// `POST /api/v1/sessions/{id}/stream`
    Stream(SessionId),
    /// `GET /api/v1/sessions/{id}/events`
    Events(SessionId),
    /// `POST /api/v1/sessions/{id}/files`
    BringFile(SessionId),
    /// `GET /api/v1/sessions/{id}/files/{file}`
    FetchFile(SessionId, FileKey),
    /// `POST /api/v1/sessions/{id}/ticket`
    IssueTicket(SessionId),
    /// `POST /api/v1/sessions/{id}/approve`
    Approve(SessionId),
    /// `GET /api/v1/sessions/{id}/grants`
    ListGrants(SessionId),
    /// `DELETE /api/v1/sessions/{id}/grants`, `DELETE /api/v1/sessions/{id}/grants/{number}`
    RevokeGrants(SessionId, Option<Seq>),
    /// `POST /api/v1/sessions/{id}/cancel`
    Cancel(SessionId),
    /// `GET /api/v1/sessions/{id}/context`
    ShowContext(SessionId),
    /// `POST /api/v1/sessions/{id}/compact`
    Compact(SessionId),
    /// `POST /api/admin/v1/reload-agents`
    ReloadAgents,
    /// `GET /api/admin/v1/gateways`
    ListGateways,
    /// `GET /api/admin/v1/gateways/{name}/logs`
    GatewayLog(String),
    /// `POST /api/admin/v1/gateways/{name}/restart`
    RestartGateway(String),
    /// `GET /api/admin/v1/gateways/pairings`
    ListPairings,
    /// `POST /api/admin/v1/gateways/approve`
    ApproveSender,
    /// `GET /api/admin/v1/gateways/outbox`
    ShowOutbox,
    /// `DELETE /api/admin/v1/gateways/outbox`
    ClearOutbox,
    /// `POST /api/admin/v1/shutdown`
    Shutdown,
    /// `OPTIONS` of any route that exists, with what it allows.
    Options(String),
}

/// The methods that some route has; `HEAD` goes where `GET` goes, and the server leaves the body
/// out of the answer.
const METHODS: [&str; 4] = ["GET", "POST", "PATCH", "DELETE"];

impl ApiRoute {
    /// The session that it is about.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            ApiRoute::ShowSession(id)
            | ApiRoute::ChangeSession(id)
            | ApiRoute::DeleteSession(id)
            | ApiRoute::ListMessages(id)
            | ApiRoute::PostMessage(id)
            | ApiRoute::Stream(id)
            | ApiRoute::Events(id)
            | ApiRoute::BringFile(id)
            | ApiRoute::FetchFile(id, _)
            | ApiRoute::IssueTicket(id)
            | ApiRoute::Approve(id)
            | ApiRoute::ListGrants(id)
            | ApiRoute::RevokeGrants(id, _)
            | ApiRoute::ShowContext(id)
            | ApiRoute::Compact(id)
            | ApiRoute::Cancel(id) => Some(id),
            ApiRoute::Home
            | ApiRoute::Livez
            | ApiRoute::Readyz
            | ApiRoute::Version
            | ApiRoute::ListAgents
            | ApiRoute::ShowAgent(_)
            | ApiRoute::ListSessions
            | ApiRoute::SearchSessions
            | ApiRoute::CreateSession
            | ApiRoute::ReloadAgents
            | ApiRoute::ListGateways
            | ApiRoute::GatewayLog(_)
            | ApiRoute::RestartGateway(_)
            | ApiRoute::ListPairings
            | ApiRoute::ApproveSender
            | ApiRoute::ShowOutbox
            | ApiRoute::ClearOutbox
            | ApiRoute::Shutdown
            | ApiRoute::Options(_) => None,
        }
    }

    /// The route of a request; `path` is as it was sent, without the query, or `*` for the server as a
    /// whole.
    ///
    /// Errors, as what to answer: 400 for a bad escape, 404, 405 with `Allow`.
    pub fn parse(method: &str, path: &str) -> Result<ApiRoute, HttpProblem> {
        if path == "*" {
            return Ok(ApiRoute::Options(allow_value(&METHODS)));
        }
        let segments = segments_of(path)?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let method = if method == "HEAD" { "GET" } else { method };
        match find(method, &segments) {
            Some(route) => Ok(route),
            None => other_method(method, &segments),
        }
    }
}

/// The table of all routes. An id that is none of ours is no route.
fn find(method: &str, segments: &[&str]) -> Option<ApiRoute> {
    Some(match (method, segments) {
        ("GET", [""]) => ApiRoute::Home,
        ("GET", ["livez"]) => ApiRoute::Livez,
        ("GET", ["readyz"]) => ApiRoute::Readyz,
        ("GET", ["version"]) => ApiRoute::Version,
        ("GET", ["api", "v1", "agents"]) => ApiRoute::ListAgents,
        ("GET", ["api", "v1", "agents", name]) => ApiRoute::ShowAgent((*name).to_owned()),
        ("GET", ["api", "v1", "sessions"]) => ApiRoute::ListSessions,
        ("POST", ["api", "v1", "sessions"]) => ApiRoute::CreateSession,
        ("GET", ["api", "v1", "sessions", "search"]) => ApiRoute::SearchSessions,
        (_, ["api", "v1", "sessions", id, rest @ ..]) => {
            of_session(method, SessionId::parse(id).ok()?, rest)?
        }
        ("POST", ["api", "admin", "v1", "reload-agents"]) => ApiRoute::ReloadAgents,
        ("POST", ["api", "admin", "v1", "shutdown"]) => ApiRoute::Shutdown,
        (_, ["api", "admin", "v1", "gateways", rest @ ..]) => of_gateways(method, rest)?,
        _ => return None,
    })
}

fn of_gateways(method: &str, rest: &[&str]) -> Option<ApiRoute> {
    Some(match (method, rest) {
        ("GET", []) => ApiRoute::ListGateways,
        ("GET", ["pairings"]) => ApiRoute::ListPairings,
        ("POST", ["approve"]) => ApiRoute::ApproveSender,
        ("GET", ["outbox"]) => ApiRoute::ShowOutbox,
        ("DELETE", ["outbox"]) => ApiRoute::ClearOutbox,
        ("GET", [name, "logs"]) => ApiRoute::GatewayLog((*name).to_owned()),
        ("POST", [name, "restart"]) => ApiRoute::RestartGateway((*name).to_owned()),
        _ => return None,
    })
}

fn of_session(method: &str, id: SessionId, rest: &[&str]) -> Option<ApiRoute> {
    Some(match (method, rest) {
        ("GET", []) => ApiRoute::ShowSession(id),
        ("PATCH", []) => ApiRoute::ChangeSession(id),
        ("DELETE", []) => ApiRoute::DeleteSession(id),
        ("GET", ["messages"]) => ApiRoute::ListMessages(id),
        ("POST", ["messages"]) => ApiRoute::PostMessage(id),
        ("POST", ["stream"]) => ApiRoute::Stream(id),
        ("GET", ["events"]) => ApiRoute::Events(id),
        ("POST", ["files"]) => ApiRoute::BringFile(id),
        ("GET", ["files", key]) => ApiRoute::FetchFile(id, FileKey::parse(key)?),
        ("POST", ["ticket"]) => ApiRoute::IssueTicket(id),
        ("POST", ["approve"]) => ApiRoute::Approve(id),
        ("GET", ["grants"]) => ApiRoute::ListGrants(id),
        ("DELETE", ["grants"]) => ApiRoute::RevokeGrants(id, None),
        ("DELETE", ["grants", number]) => {
            ApiRoute::RevokeGrants(id, Some(Seq(number.parse().ok()?)))
        }
        ("POST", ["cancel"]) => ApiRoute::Cancel(id),
        ("GET", ["context"]) => ApiRoute::ShowContext(id),
        ("POST", ["compact"]) => ApiRoute::Compact(id),
        _ => return None,
    })
}

/// What to say of a path that has no such method.
fn other_method(method: &str, segments: &[&str]) -> Result<ApiRoute, HttpProblem> {
    let known: Vec<&str> = METHODS
        .into_iter()
        .filter(|method| find(method, segments).is_some())
        .collect();
    if known.is_empty() {
        return Err(not_found(segments));
    }
    let allow = allow_value(&known);
    if method == "OPTIONS" {
        return Ok(ApiRoute::Options(allow));
    }
    Err(HttpProblem::new(405, format!("this path answers to {allow}")).with_header("Allow", allow))
}

fn allow_value(methods: &[&str]) -> String {
    let mut all = methods.to_vec();
    if let Some(at) = all.iter().position(|method| *method == "GET") {
        all.insert(at + 1, "HEAD");
    }
    all.push("OPTIONS");
    all.join(", ")
}

fn not_found(segments: &[&str]) -> HttpProblem {
    let detail = match segments {
        ["api", "v1", "sessions", id, ..] if SessionId::parse(id).is_err() => {
            format!("Session '{}' not found", text::shortened(id))
        }
        _ => "there is nothing at this path".to_owned(),
    };
    HttpProblem::new(404, detail)
}

/// The decoded segments of a path that begins with `/`.
fn segments_of(path: &str) -> Result<Vec<Cow<'_, str>>, HttpProblem> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/')
        .map(|segment| {
            percent_decode(segment).ok_or_else(|| {
                HttpProblem::new(400, "the path has a bad percent escape, or is not UTF-8")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "session_01J0000000000000000000000A";

    fn id() -> SessionId {
        SessionId::parse(ID).unwrap()
    }

    #[test]
    fn every_route_of_the_table_is_found() {
        for (method, path, want) in [
            ("GET", "/", ApiRoute::Home),
            ("GET", "/livez", ApiRoute::Livez),
            ("GET", "/readyz", ApiRoute::Readyz),
            ("GET", "/version", ApiRoute::Version),
            ("GET", "/api/v1/agents", ApiRoute::ListAgents),
            ("GET", "/api/v1/agents/x", ApiRoute::ShowAgent("x".into())),
            (
                "GET",
                "/api/v1/agents/%78%2Fy",
                ApiRoute::ShowAgent("x/y".into()),
            ),
            ("GET", "/api/v1/sessions", ApiRoute::ListSessions),
            ("HEAD", "/api/v1/sessions", ApiRoute::ListSessions),
            ("POST", "/api/v1/sessions", ApiRoute::CreateSession),
            ("GET", "/api/v1/sessions/{id}", ApiRoute::ShowSession(id())),
            (
                "GET",
                "/api/v1/%73essions/{id}",
                ApiRoute::ShowSession(id()),
            ),
            (
                "PATCH",
                "/api/v1/sessions/{id}",
                ApiRoute::ChangeSession(id()),
            ),
            (
                "DELETE",
                "/api/v1/sessions/{id}",
                ApiRoute::DeleteSession(id()),
            ),
            (
                "GET",
                "/api/v1/sessions/{id}/messages",
                ApiRoute::ListMessages(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/messages",
                ApiRoute::PostMessage(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/stream",
                ApiRoute::Stream(id()),
            ),
            (
                "GET",
                "/api/v1/sessions/{id}/events",
                ApiRoute::Events(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/ticket",
                ApiRoute::IssueTicket(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/approve",
                ApiRoute::Approve(id()),
            ),
            (
                "GET",
                "/api/v1/sessions/{id}/grants",
                ApiRoute::ListGrants(id()),
            ),
            (
                "DELETE",
                "/api/v1/sessions/{id}/grants",
                ApiRoute::RevokeGrants(id(), None),
            ),
            (
                "DELETE",
                "/api/v1/sessions/{id}/grants/7",
                ApiRoute::RevokeGrants(id(), Some(Seq(7))),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/cancel",
                ApiRoute::Cancel(id()),
            ),
            (
                "GET",
                "/api/v1/sessions/{id}/context",
                ApiRoute::ShowContext(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/compact",
                ApiRoute::Compact(id()),
            ),
            (
                "POST",
                "/api/admin/v1/reload-agents",
                ApiRoute::ReloadAgents,
            ),
            ("POST", "/api/admin/v1/shutdown", ApiRoute::Shutdown),
            ("GET", "/api/admin/v1/gateways", ApiRoute::ListGateways),
            (
                "GET",
                "/api/admin/v1/gateways/irc/logs",
                ApiRoute::GatewayLog("irc".into()),
            ),
            (
                "POST",
                "/api/admin/v1/gateways/irc/restart",
                ApiRoute::RestartGateway("irc".into()),
            ),
            (
                "GET",
                "/api/admin/v1/gateways/pairings",
                ApiRoute::ListPairings,
            ),
            (
                "POST",
                "/api/admin/v1/gateways/approve",
                ApiRoute::ApproveSender,
            ),
            ("GET", "/api/admin/v1/gateways/outbox", ApiRoute::ShowOutbox),
            (
                "DELETE",
                "/api/admin/v1/gateways/outbox",
                ApiRoute::ClearOutbox,
            ),
        ] {
            let path = path.replace("{id}", ID);
            assert_eq!(ApiRoute::parse(method, &path), Ok(want), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_there_is_404_and_a_bad_escape_400() {
        for (path, status) in [
            ("/x", 404),
            ("//", 404),
            ("/livez/", 404),
            ("/api/v1/sessions/", 404),
            ("/api/v1/sessions/../../etc/passwd", 404),
            ("/api/v1/sessions/%2e%2e", 404),
            ("/api/v1/sessions/session_1", 404),
            ("/api/v1/sessions/{id}/nothing", 404),
            ("/api/v1/sessions/{id}/messages/x", 404),
            ("/api/v1/sessions/{lower}", 404),
            ("/%", 400),
            ("/%4", 400),
            ("/%zz", 400),
            ("/%+1", 400),
            ("/%ff", 400),
        ] {
            let lower = format!("session_{}", ID["session_".len()..].to_lowercase());
            let path = path.replace("{id}", ID).replace("{lower}", &lower);
            let problem = ApiRoute::parse("GET", &path).unwrap_err();
            assert_eq!(problem.status(), status, "{path}");
        }
    }

    #[test]
    fn a_method_that_a_path_lacks_is_405_and_says_which_it_has() {
        for (method, path, allow) in [
            ("POST", "/livez", "GET, HEAD, OPTIONS"),
            ("PUT", "/api/v1/sessions", "GET, HEAD, POST, OPTIONS"),
            ("GET", "/api/v1/sessions/{id}/stream", "POST, OPTIONS"),
            ("get", "/api/v1/agents", "GET, HEAD, OPTIONS"),
            (
                "POST",
                "/api/v1/sessions/{id}",
                "GET, HEAD, PATCH, DELETE, OPTIONS",
            ),
        ] {
            let path = path.replace("{id}", ID);
            let problem = ApiRoute::parse(method, &path).unwrap_err();
            assert_eq!(problem.status(), 405, "{method} {path}");
            assert_eq!(problem.headers(), [("Allow", allow.to_owned())]);
            let options = ApiRoute::parse("OPTIONS", &path);
            assert_eq!(options, Ok(ApiRoute::Options(allow.to_owned())));
        }
    }

    #[test]
    fn the_server_as_a_whole_has_all_methods() {
        let all = ApiRoute::Options("GET, HEAD, POST, PATCH, DELETE, OPTIONS".to_owned());
        assert_eq!(ApiRoute::parse("OPTIONS", "*"), Ok(all));
        assert_eq!(ApiRoute::parse("OPTIONS", "/*").unwrap_err().status(), 404);
    }

    #[test]
    fn a_session_id_that_is_none_is_named() {
        let problem = ApiRoute::parse("GET", "/api/v1/sessions/nope/messages").unwrap_err();
        assert_eq!(problem.detail(), "Session 'nope' not found");
        let long = format!("/api/v1/sessions/{}", "x".repeat(5000));
        let problem = ApiRoute::parse("GET", &long).unwrap_err();
        assert!(problem.detail().len() < 200);
    }
}
