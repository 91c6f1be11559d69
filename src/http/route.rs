//! The table of routes: method and path into a [`Route`] whose ids are parsed. Pure.
//!
//! Invariant: what a `Route` holds has been decoded and checked, so a handler never sees a raw
//! path.
//!
//! Elsewhere: who may use a route (`http::access`), what it does (`http::handlers`).

use std::borrow::Cow;

use crate::base::text::{self, percent_decode};
use crate::domain::ids::SessionId;
use crate::http::problem::Problem;

/// The target of a request, with the ids in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
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
    /// `POST /api/v1/sessions/{id}/ticket`
    IssueTicket(SessionId),
    /// `POST /api/v1/sessions/{id}/approve`
    Approve(SessionId),
    /// `POST /api/v1/sessions/{id}/cancel`
    Cancel(SessionId),
    /// `POST /api/admin/v1/reload-agents`
    ReloadAgents,
    /// `POST /api/admin/v1/shutdown`
    Shutdown,
    /// `OPTIONS` of any route that exists, with what it allows.
    Options(String),
}

/// The methods that some route has; `HEAD` goes where `GET` goes, and the server leaves the body
/// out of the answer.
const METHODS: [&str; 4] = ["GET", "POST", "PATCH", "DELETE"];

impl Route {
    /// The session that it is about.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Route::ShowSession(id)
            | Route::ChangeSession(id)
            | Route::DeleteSession(id)
            | Route::ListMessages(id)
            | Route::PostMessage(id)
            | Route::Stream(id)
            | Route::Events(id)
            | Route::IssueTicket(id)
            | Route::Approve(id)
            | Route::Cancel(id) => Some(id),
            Route::Home
            | Route::Livez
            | Route::Readyz
            | Route::Version
            | Route::ListAgents
            | Route::ShowAgent(_)
            | Route::ListSessions
            | Route::CreateSession
            | Route::ReloadAgents
            | Route::Shutdown
            | Route::Options(_) => None,
        }
    }

    /// The route of a request; `path` is as it was sent, without the query, or `*` for the server as a
    /// whole.
    ///
    /// Errors, as what to answer: 400 for a bad escape, 404, 405 with `Allow`.
    pub fn parse(method: &str, path: &str) -> Result<Route, Problem> {
        if path == "*" {
            return Ok(Route::Options(allow_value(&METHODS)));
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
fn find(method: &str, segments: &[&str]) -> Option<Route> {
    Some(match (method, segments) {
        ("GET", [""]) => Route::Home,
        ("GET", ["livez"]) => Route::Livez,
        ("GET", ["readyz"]) => Route::Readyz,
        ("GET", ["version"]) => Route::Version,
        ("GET", ["api", "v1", "agents"]) => Route::ListAgents,
        ("GET", ["api", "v1", "agents", name]) => Route::ShowAgent((*name).to_owned()),
        ("GET", ["api", "v1", "sessions"]) => Route::ListSessions,
        ("POST", ["api", "v1", "sessions"]) => Route::CreateSession,
        (_, ["api", "v1", "sessions", id, rest @ ..]) => {
            of_session(method, SessionId::parse(id).ok()?, rest)?
        }
        ("POST", ["api", "admin", "v1", "reload-agents"]) => Route::ReloadAgents,
        ("POST", ["api", "admin", "v1", "shutdown"]) => Route::Shutdown,
        _ => return None,
    })
}

fn of_session(method: &str, id: SessionId, rest: &[&str]) -> Option<Route> {
    Some(match (method, rest) {
        ("GET", []) => Route::ShowSession(id),
        ("PATCH", []) => Route::ChangeSession(id),
        ("DELETE", []) => Route::DeleteSession(id),
        ("GET", ["messages"]) => Route::ListMessages(id),
        ("POST", ["messages"]) => Route::PostMessage(id),
        ("POST", ["stream"]) => Route::Stream(id),
        ("GET", ["events"]) => Route::Events(id),
        ("POST", ["ticket"]) => Route::IssueTicket(id),
        ("POST", ["approve"]) => Route::Approve(id),
        ("POST", ["cancel"]) => Route::Cancel(id),
        _ => return None,
    })
}

/// What to say of a path that has no such method.
fn other_method(method: &str, segments: &[&str]) -> Result<Route, Problem> {
    let known: Vec<&str> = METHODS
        .into_iter()
        .filter(|method| find(method, segments).is_some())
        .collect();
    if known.is_empty() {
        return Err(not_found(segments));
    }
    let allow = allow_value(&known);
    if method == "OPTIONS" {
        return Ok(Route::Options(allow));
    }
    Err(Problem::new(405, format!("this path answers to {allow}")).with_header("Allow", allow))
}

fn allow_value(methods: &[&str]) -> String {
    let mut all = methods.to_vec();
    if let Some(at) = all.iter().position(|method| *method == "GET") {
        all.insert(at + 1, "HEAD");
    }
    all.push("OPTIONS");
    all.join(", ")
}

fn not_found(segments: &[&str]) -> Problem {
    let detail = match segments {
        ["api", "v1", "sessions", id, ..] if SessionId::parse(id).is_err() => {
            format!("Session '{}' not found", text::shortened(id))
        }
        _ => "there is nothing at this path".to_owned(),
    };
    Problem::new(404, detail)
}

/// The decoded segments of a path that begins with `/`.
fn segments_of(path: &str) -> Result<Vec<Cow<'_, str>>, Problem> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/')
        .map(|segment| {
            percent_decode(segment).ok_or_else(|| {
                Problem::new(400, "the path has a bad percent escape, or is not UTF-8")
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
            ("GET", "/", Route::Home),
            ("GET", "/livez", Route::Livez),
            ("GET", "/readyz", Route::Readyz),
            ("GET", "/version", Route::Version),
            ("GET", "/api/v1/agents", Route::ListAgents),
            ("GET", "/api/v1/agents/x", Route::ShowAgent("x".into())),
            (
                "GET",
                "/api/v1/agents/%78%2Fy",
                Route::ShowAgent("x/y".into()),
            ),
            ("GET", "/api/v1/sessions", Route::ListSessions),
            ("HEAD", "/api/v1/sessions", Route::ListSessions),
            ("POST", "/api/v1/sessions", Route::CreateSession),
            ("GET", "/api/v1/sessions/{id}", Route::ShowSession(id())),
            ("GET", "/api/v1/%73essions/{id}", Route::ShowSession(id())),
            ("PATCH", "/api/v1/sessions/{id}", Route::ChangeSession(id())),
            (
                "DELETE",
                "/api/v1/sessions/{id}",
                Route::DeleteSession(id()),
            ),
            (
                "GET",
                "/api/v1/sessions/{id}/messages",
                Route::ListMessages(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/messages",
                Route::PostMessage(id()),
            ),
            ("POST", "/api/v1/sessions/{id}/stream", Route::Stream(id())),
            ("GET", "/api/v1/sessions/{id}/events", Route::Events(id())),
            (
                "POST",
                "/api/v1/sessions/{id}/ticket",
                Route::IssueTicket(id()),
            ),
            (
                "POST",
                "/api/v1/sessions/{id}/approve",
                Route::Approve(id()),
            ),
            ("POST", "/api/v1/sessions/{id}/cancel", Route::Cancel(id())),
            ("POST", "/api/admin/v1/reload-agents", Route::ReloadAgents),
            ("POST", "/api/admin/v1/shutdown", Route::Shutdown),
        ] {
            let path = path.replace("{id}", ID);
            assert_eq!(Route::parse(method, &path), Ok(want), "{method} {path}");
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
            let problem = Route::parse("GET", &path).unwrap_err();
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
            let problem = Route::parse(method, &path).unwrap_err();
            assert_eq!(problem.status(), 405, "{method} {path}");
            assert_eq!(problem.headers(), [("Allow", allow.to_owned())]);
            let options = Route::parse("OPTIONS", &path);
            assert_eq!(options, Ok(Route::Options(allow.to_owned())));
        }
    }

    #[test]
    fn the_server_as_a_whole_has_all_methods() {
        let all = Route::Options("GET, HEAD, POST, PATCH, DELETE, OPTIONS".to_owned());
        assert_eq!(Route::parse("OPTIONS", "*"), Ok(all));
        assert_eq!(Route::parse("OPTIONS", "/*").unwrap_err().status(), 404);
    }

    #[test]
    fn a_session_id_that_is_none_is_named() {
        let problem = Route::parse("GET", "/api/v1/sessions/nope/messages").unwrap_err();
        assert_eq!(problem.detail(), "Session 'nope' not found");
        let long = format!("/api/v1/sessions/{}", "x".repeat(5000));
        let problem = Route::parse("GET", &long).unwrap_err();
        assert!(problem.detail().len() < 200);
    }
}
