//! The HTTP client of chat and attach: every route they use, as a typed method.
//!
//! Invariants:
//! - a request that stores something carries an `Idempotency-Key`, so it may be sent again;
//! - no connection is reused: a pooled one may have been closed by then, and on loopback a new one
//!   costs next to nothing;
//! - a call that may take long is given a [`Cancel`], which ends it from another thread.
//!
//! Elsewhere: what the answers look like (`wire`), the events of a stream (`event`), reading and
//! resuming streams (`stream`), trying again (`tries`).

pub mod backoff;
pub mod event;
pub mod records;
pub mod stream;
pub mod tries;
pub mod wire;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ulid::Ulid;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

use crate::base::host;
use crate::base::lock::lock;
use crate::base::stop::{self, Stop, StopSource};
use crate::client::event::PendingApproval;
use crate::client::stream::{Attaching, EventStream};
use crate::client::wire::{
    AgentList, Approved, Cancelled, CreatedSession, MessageList, Problem, Readiness, Reloaded,
    Session, SessionPage, ShownMessage,
};
use crate::domain::event::Decision;
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;

/// What a loopback server answers within, unless a turn has to end first.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// No server makes a caller wait longer for the end of a turn.
const TURN_LIMIT: Duration = Duration::from_secs(3600);
/// A server that sends nothing for so long, not even a keep-alive comment, has vanished.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// ureq's own default of 128 KiB twice is for downloads.
const BUFFER_BYTES: usize = 16 << 10;
/// A page of 1000 sessions with long titles stays below it.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Sessions that are asked for at a time.
const PAGE_LIMIT: usize = 200;

/// A server, and how to be let in.
#[derive(Clone)]
pub struct Client {
    locate: Arc<dyn Locate>,
    token: Option<String>,
}

/// What a server can do, as its answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// It keeps what this program relies on: keys, ids of events, and sessions that end.
    Current,
    /// It does not say that it does. It came before that (version 0.5), or something in front of it hides
    /// its `/readyz`: to take either for the other would be a loss only in one direction.
    Older,
}

/// Says where a server is. It is asked before each request: a server that was started again may be
/// elsewhere, and another program may be where it was.
pub trait Locate: Send + Sync {
    /// The address as `http://HOST:PORT`, without a `/` at the end.
    ///
    /// Errors: there is no server now.
    fn locate(&self) -> Result<String, NoServer>;

    /// A user is about to ask for something: a server that a client started may be started again.
    fn wake(&self) {}

    /// What a user should know of the server since this was last called.
    fn news(&self) -> Option<String> {
        None
    }
}

/// An address that stays.
impl Locate for String {
    fn locate(&self) -> Result<String, NoServer> {
        Ok(self.clone())
    }
}

/// That there is no server, and what a user can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoServer {
    /// Why.
    pub message: String,
    /// What helps.
    pub hint: String,
}

/// A server for one request.
struct Target {
    base_url: String,
    agent: Agent,
}

impl Client {
    /// A client of `base_url` (`http://HOST:PORT`, a trailing `/` is dropped).
    pub fn new(base_url: &str, token: Option<String>) -> Client {
        let base_url = base_url.trim_end_matches('/').to_owned();
        Client::of(Arc::new(base_url), token)
    }

    /// A client of the server that `locate` finds, wherever that is at the time.
    pub fn of(locate: Arc<dyn Locate>, token: Option<String>) -> Client {
        Client { locate, token }
    }

    /// Says that a user is about to ask for something: see [`Locate::wake`].
    pub fn wake(&self) {
        self.locate.wake();
    }

    /// What a user should know of the server since this was last called.
    pub fn news(&self) -> Option<String> {
        self.locate.news()
    }

    /// Whether the server takes requests now; waits at most `limit`.
    pub fn is_ready(&self, limit: Duration) -> bool {
        self.target(Some(limit))
            .and_then(|target| self.send(&target, Method::GET, "/readyz", None))
            .is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// What the server says of its state; waits at most `limit`.
    pub fn readiness(&self, limit: Duration) -> Result<Readiness, ClientError> {
        let target = self.target(Some(limit))?;
        let response = self.send(&target, Method::GET, "/readyz", None)?;
        // One that takes no requests says why in the same form.
        match response.status() {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => parsed(response),
            _ => parsed(checked(response)?),
        }
    }

    /// Whether a server of Duragent answers there, as far as its words tell; waits at most `limit`, twice.
    pub fn is_alive(&self, limit: Duration) -> bool {
        // One of before may have the second alone. Many a web site has a page for browsers at any path.
        let has_word = |text: &str| wire::plain_line(text).is_some();
        let has_agents = |text: &str| serde_json::from_str::<AgentList>(text).is_ok();
        self.answer_of("/livez", limit)
            .is_some_and(|text| has_word(&text))
            || self
                .answer_of("/api/v1/agents", limit)
                .is_some_and(|text| has_agents(&text))
    }

    /// What stands at `path`, if anything does.
    fn answer_of(&self, path: &str, limit: Duration) -> Option<String> {
        let target = self.target(Some(limit)).ok()?;
        let response = self.send(&target, Method::GET, path, None).ok()?;
        let is_there = response.status() == StatusCode::OK;
        is_there.then(|| read_text(response).ok())?
    }

    /// What the server can do. It is asked each time: behind an address there may be another one
    /// by now.
    pub fn generation(&self) -> Result<Generation, ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        let response = self.send(&target, Method::GET, "/readyz", None)?;
        let status = response.status();
        let text = read_text(response).map_err(ClientError::Unreachable)?;
        let known: Option<Readiness> = serde_json::from_str(&text).ok();
        if known.is_some_and(|readiness| readiness.workspace_hash.is_some()) {
            return Ok(Generation::Current);
        }
        // One that is overloaded, lets this client not in, or is behind a proxy that cannot reach it says
        // nothing of itself.
        let says_no = matches!(status.as_u16(), 401 | 403 | 407 | 421 | 429);
        if says_no || status.is_server_error() {
            let problem = Problem::from_answer(status.as_u16(), &text);
            return Err(ClientError::Refused {
                problem,
                retry_after: None,
            });
        }
        Ok(Generation::Older)
    }

    /// Says no for what an older server does otherwise; `what` completes "the server is older than this
    /// program: …".
    pub fn refuse_older(&self, what: &'static str) -> Result<(), ClientError> {
        match self.generation()? {
            Generation::Current => Ok(()),
            Generation::Older => Err(ClientError::Older(what)),
        }
    }

    /// What the server says of its build.
    pub fn version(&self) -> Result<Value, ClientError> {
        self.call(Method::GET, "/version", None)
    }

    /// All agents.
    pub fn agents(&self) -> Result<AgentList, ClientError> {
        self.call(Method::GET, "/api/v1/agents", None)
    }

    /// Sessions, newest first, at most `limit`, read page by page.
    ///
    /// `filter` holds the query's other parts, e.g. `("agent", "x")`.
    pub fn sessions(
        &self,
        filter: &[(&str, &str)],
        limit: usize,
    ) -> Result<Vec<Session>, ClientError> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        while found.len() < limit {
            let size = (limit - found.len()).min(PAGE_LIMIT).to_string();
            let mut query = vec![("limit", size.as_str())];
            query.extend_from_slice(filter);
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let path = with_query("/api/v1/sessions", &query);
            let page: SessionPage = self.call(Method::GET, &path, None)?;
            let is_last = page.sessions.is_empty() || page.next_cursor.is_none();
            found.extend(page.sessions);
            if is_last {
                break;
            }
            cursor = page.next_cursor;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Starts a session with an agent.
    pub fn create_session(&self, agent: &str) -> Result<CreatedSession, ClientError> {
        let body = json!({ "agent": agent });
        self.call(Method::POST, "/api/v1/sessions", Some(&body))
    }

    /// One session, with what it is doing.
    pub fn session(&self, id: &SessionId) -> Result<Session, ClientError> {
        self.call(Method::GET, &session_path(id, ""), None)
    }

    /// The last `limit` messages, oldest first.
    pub fn messages(&self, id: &SessionId, limit: usize) -> Result<Vec<ShownMessage>, ClientError> {
        let limit = limit.to_string();
        let path = with_query(&session_path(id, "/messages"), &[("limit", &limit)]);
        let list: MessageList = self.call(Method::GET, &path, None)?;
        Ok(list.messages)
    }

    /// Stores a message and opens the stream of its turn. The same `key` again opens the same
    /// turn's stream again, and stores nothing; an older server would store it twice: see
    /// [`may_repeat`](Client::may_repeat).
    pub fn stream(
        &self,
        cancel: &Cancel,
        id: &SessionId,
        content: &str,
        key: &str,
    ) -> Result<EventStream, ClientError> {
        let body = json!({ "content": content });
        let path = session_path(id, "/stream");
        let headers = [("accept", "text/event-stream"), ("idempotency-key", key)];
        let target = cancel.register(self.target(None)?)?;
        let response = self.exchange(&target, Method::POST, &path, &headers, Some(&body))?;
        Ok(EventStream::new(checked(response)?, cancel.clone()))
    }

    /// Whether a message that was sent to a server of `first` may be sent again under its key. One
    /// that has an older server's sessions by now does not know of it.
    ///
    /// Errors: an older server, then or now, which has no keys; what keeps it from being asked.
    pub fn may_repeat(&self, first: Generation) -> Result<(), ClientError> {
        const WHAT: &str = "a message is sent to it once, and what came of this one is unknown";
        match first {
            Generation::Older => Err(ClientError::Older(WHAT)),
            Generation::Current => self.refuse_older(WHAT),
        }
    }

    /// Opens the events of a session: after `last_event_id`, or from its last messages on. `None` when the session has ended and nothing is left to show.
    pub fn events(
        &self,
        cancel: &Cancel,
        id: &SessionId,
        attaching: &Attaching,
        last_event_id: Option<&str>,
    ) -> Result<Option<EventStream>, ClientError> {
        let history = attaching.history.to_string();
        let mut query = vec![("history", history.as_str())];
        query.extend(attaching.is_readonly.then_some(("readonly", "true")));
        query.extend(
            attaching
                .detaches_others
                .then_some(("detach_others", "true")),
        );
        let path = with_query(&session_path(id, "/events"), &query);
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let target = cancel.register(self.target(None)?)?;
        let response = self.exchange(&target, Method::GET, &path, &headers, None)?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        Ok(Some(EventStream::new(checked(response)?, cancel.clone())))
    }

    /// Stops the running turn; returns whether there was one.
    pub fn cancel_turn(&self, cancel: &Cancel, id: &SessionId) -> Result<bool, ClientError> {
        let target = cancel.register(self.target(Some(CALL_LIMIT))?)?;
        let path = session_path(id, "/cancel");
        let response = checked(self.send(&target, Method::POST, &path, Some(&json!({})))?)?;
        let answer: Cancelled = parsed(response)?;
        Ok(answer.cancelled)
    }

    /// Answers an approval and waits until its turn ends or asks again; returns how it went on.
    pub fn approve(
        &self,
        cancel: &Cancel,
        id: &SessionId,
        asked: &PendingApproval,
        decision: Decision,
    ) -> Result<Approved, ClientError> {
        let body = json!({
            "call_id": asked.call_id,
            "command": asked.command,
            "decision": decision,
        });
        let target = cancel.register(self.target(Some(TURN_LIMIT))?)?;
        let path = session_path(id, "/approve");
        let response = checked(self.send(&target, Method::POST, &path, Some(&body))?)?;
        // The decision counts, whatever is said of it.
        Ok(parsed(response).unwrap_or_default())
    }

    /// Ends a session and deletes its files.
    pub fn delete_session(&self, id: &SessionId) -> Result<(), ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        checked(self.send(&target, Method::DELETE, &session_path(id, ""), None)?)?;
        Ok(())
    }

    /// Has the server read the agents again.
    pub fn reload_agents(&self) -> Result<Reloaded, ClientError> {
        let path = "/api/admin/v1/reload-agents";
        self.call(Method::POST, path, Some(&json!({})))
    }

    /// Asks the server to finish what it does and exit.
    pub fn shutdown(&self) -> Result<(), ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        let path = "/api/admin/v1/shutdown";
        checked(self.send(&target, Method::POST, path, Some(&json!({})))?)?;
        Ok(())
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        parsed(checked(self.send(&target, method, path, body)?)?)
    }

    /// One request with a key of its own.
    fn send(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Body>, ClientError> {
        let key = new_key();
        let keyed = [("idempotency-key", key.as_str())];
        let headers: &[_] = if method == Method::POST { &keyed } else { &[] };
        self.exchange(target, method, path, headers, body)
    }

    fn exchange(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response<Body>, ClientError> {
        let Target { base_url, agent } = target;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base_url}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = match body {
            None => agent.run(request.body(()).map_err(ClientError::NotARequest)?),
            Some(json) => {
                request = request.header("content-type", "application/json");
                let request = request.body(json.to_string());
                agent.run(request.map_err(ClientError::NotARequest)?)
            }
        };
        answer.map_err(ClientError::Unreachable)
    }

    /// The server, for one request. `limit` bounds all of it; without one, only silence is bounded.
    fn target(&self, limit: Option<Duration>) -> Result<Target, ClientError> {
        let base_url = self.locate.locate()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .accept_encoding("identity")
            .user_agent(concat!("duragent/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(RESOLVE_LIMIT))
            .timeout_connect(Some(CONNECT_LIMIT))
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES);
        config = match limit {
            Some(limit) => config.timeout_global(Some(limit)),
            None => config.timeout_per_read(Some(SILENCE_LIMIT)),
        };
        if is_loopback(&base_url) {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Target { base_url, agent })
    }
}

impl std::fmt::Debug for Client {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("at", &self.locate.locate())
            .finish_non_exhaustive()
    }
}

/// Ends the call that it was given to, from any thread, and every later one.
#[derive(Debug, Clone)]
pub struct Cancel(std::sync::Arc<CancelState>);

#[derive(Debug)]
struct CancelState {
    source: Mutex<StopSource>,
    stop: Stop,
    /// The agent of the call in progress.
    agent: Mutex<Option<Agent>>,
}

impl Default for Cancel {
    fn default() -> Cancel {
        let (source, stop) = stop::pair();
        Cancel(std::sync::Arc::new(CancelState {
            source: Mutex::new(source),
            stop,
            agent: Mutex::new(None),
        }))
    }
}

impl Cancel {
    /// Ends the call.
    pub fn cancel(&self) {
        // The signal first: whoever is woken by the shutdown below must find the reason.
        lock(&self.0.source).stop();
        if let Some(agent) = lock(&self.0.agent).take() {
            agent.shutdown();
        }
    }

    /// Whether it was ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.stop.is_stopped()
    }

    /// Waits for the end, at most `limit`; returns whether it came.
    pub fn wait(&self, limit: Duration) -> bool {
        self.0.stop.wait(limit)
    }

    fn register(&self, target: Target) -> Result<Target, ClientError> {
        let mut slot = lock(&self.0.agent);
        if self.is_cancelled() {
            return Err(ClientError::Cancelled);
        }
        *slot = Some(target.agent.clone());
        Ok(target)
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no server.
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// No answer, or only a part of one.
    #[error("cannot reach the server")]
    Unreachable(#[source] ureq::Error),
    /// The connection broke in the middle of a stream.
    #[error("the connection to the server was lost")]
    Lost(#[source] std::io::Error),
    /// The stream ended before what it was about did.
    #[error("the server closed the connection")]
    Closed,
    /// The server said no.
    #[error("{}", problem.message())]
    Refused {
        /// What it said.
        problem: Problem,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is none that a Duragent server gives.
    #[error("the answer does not come from a Duragent server")]
    NotOurs(#[source] serde_json::Error),
    /// The server's events are none that a Duragent server sends.
    #[error("the events do not come from a Duragent server: {0}")]
    NotEvents(String),
    /// The address or the token cannot stand in a request.
    #[error("the server's address or token cannot be used")]
    NotARequest(#[source] ureq::http::Error),
    /// The server came before this program, and would do something else than what is meant.
    #[error("the server is older than this program: {0}")]
    Older(&'static str),
    /// Somebody here ended the call.
    #[error("cancelled")]
    Cancelled,
}

impl ClientError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// Whether the same request, with the same key, may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::NoServer(_)
            | ClientError::Unreachable(_)
            | ClientError::Lost(_)
            | ClientError::Closed => true,
            ClientError::Refused { problem, .. } => problem.status == 503,
            ClientError::NotOurs(_)
            | ClientError::NotEvents(_)
            | ClientError::NotARequest(_)
            | ClientError::Older(_)
            | ClientError::Cancelled => false,
        }
    }

    /// Whether no server was there to hear of it.
    pub fn is_away(&self) -> bool {
        matches!(self, ClientError::NoServer(_) | ClientError::Unreachable(_))
    }

    /// The message with its causes, in one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }

    /// What a user can do about it, when that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ClientError::NoServer(none) => return Some(&none.hint),
            ClientError::Unreachable(_) => {
                return Some("see whether a server runs there: duragent serve status");
            }
            _ => {}
        }
        match self.status()? {
            401 => Some("give the server's token with --token or in DURAGENT_TOKEN"),
            403 => Some("the server takes strangers only with a token: set server.api_token there"),
            507 => Some("free some space on the server's disk"),
            _ => None,
        }
    }
}

/// A key that no other request has.
pub fn new_key() -> String {
    let now = Timestamp::from(SystemTime::now());
    Ulid::from_parts(now.as_millis(), fastrand::u128(..)).to_string()
}

/// Passes a good answer on and turns any other into an error.
fn checked(response: Response<Body>) -> Result<Response<Body>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    // A body that cannot be read leaves the status, which says enough.
    let text = read_text(response).unwrap_or_default();
    Err(ClientError::Refused {
        problem: Problem::from_answer(status.as_u16(), &text),
        retry_after,
    })
}

fn parsed<T: DeserializeOwned>(response: Response<Body>) -> Result<T, ClientError> {
    let text = read_text(response).map_err(ClientError::Unreachable)?;
    serde_json::from_str(&text).map_err(ClientError::NotOurs)
}

fn read_text(response: Response<Body>) -> Result<String, ureq::Error> {
    response
        .into_body()
        .into_with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
}

fn session_path(id: &SessionId, rest: &str) -> String {
    format!("/api/v1/sessions/{id}{rest}")
}

/// `path?name=value&…`, with the values percent-encoded.
fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut full = path.to_owned();
    for (place, (name, value)) in query.iter().enumerate() {
        full.push(if place == 0 { '?' } else { '&' });
        full.push_str(name);
        full.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    full.push(char::from(byte));
                }
                other => full.push_str(&format!("%{other:02X}")),
            }
        }
    }
    full
}

/// Whether a URL leads to this machine: such a request must not go through a proxy.
fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host::is_loopback(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://localhost:1/x", true),
            ("http://LOCALHOST", true),
            ("http://[::1]:8080", true),
            ("http://localhost.example.com", false),
            ("https://example.com:8080", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }

    #[test]
    fn values_of_a_query_cannot_add_to_it() {
        let path = with_query("/s", &[("agent", "a&b=c d"), ("limit", "5")]);
        assert_eq!(path, "/s?agent=a%26b%3Dc%20d&limit=5");
    }

    #[test]
    fn the_token_stays_out_of_debug_output() {
        let client = Client::new("http://x/", Some("secret".to_owned()));
        assert!(!format!("{client:?}").contains("secret"));
        assert!(format!("{client:?}").contains("http://x\""));
    }
}
