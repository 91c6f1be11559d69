//! The client itself: every route that chat and attach use, as a typed method.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use ulid::Ulid;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

use crate::base::host;
use crate::base::tls;
use crate::client::EventStream;
use crate::client::cancel::CancelHandle;
use crate::client::error::ClientError;
use crate::client::locate::Locate;
use crate::domain::event::{Attachment, Decision};
use crate::domain::files::{AttachedFile, FILE_BYTES_MAX, FileKey, MediaType, plain_name};
use crate::domain::ids::{GatewayName, Seq, SessionId};
use crate::domain::search::FoundMessage;
use crate::domain::time::Timestamp;
use crate::wire::{
    self, AdmittedBody, AgentListBody, ApprovalBody, Approve, ApproveSender, CancelledBody,
    ClearedBody, Compact, ContextBody, DecidedBody, GatewayListBody, GatewayLogBody, GrantBody,
    GrantListBody, MessageBody, MessageListBody, NewSession, OutboxBody, PairingListBody,
    ProblemBody, ReadinessBody, RecordPageBody, ReloadBody, RestartedBody, Say, SearchBody,
    SessionBody, SessionListBody, VersionBody,
};

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
const GATEWAYS: &str = "/api/admin/v1/gateways";
/// Sessions that are asked for at a time.
const PAGE_LIMIT: usize = 200;

/// A server, and how to be let in.
#[derive(Clone)]
pub struct ApiClient {
    locate: Arc<dyn Locate>,
    token: Option<String>,
}

/// The age of a server, as far as it decides what may be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerGeneration {
    /// It keeps what this program relies on: keys, ids of events, and sessions that end.
    Current,
    /// It does not say that it does. It came before that (version 0.5), or something in front of it hides
    /// its `/readyz`: to take either for the other would be a loss only in one direction.
    Older,
}

/// The manner of attaching to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attaching {
    /// Number of past messages that are shown first.
    pub history: usize,
    /// It only looks on: its leaving pauses nothing.
    pub is_readonly: bool,
    /// It sends the others away.
    pub detaches_others: bool,
}

impl Attaching {
    /// Beside the others, after the last `history` messages.
    pub fn after(history: usize) -> Attaching {
        Attaching {
            history,
            is_readonly: false,
            detaches_others: false,
        }
    }
}

/// A server for one request.
struct Target {
    base_url: String,
    agent: Agent,
}

impl ApiClient {
    /// A client of `base_url` (`http://HOST:PORT`, a trailing `/` is dropped).
    pub fn new(base_url: &str, token: Option<String>) -> ApiClient {
        let base_url = base_url.trim_end_matches('/').to_owned();
        ApiClient::of(Arc::new(base_url), token)
    }

    /// A client of the server that `locate` finds, wherever that is at the time.
    pub fn of(locate: Arc<dyn Locate>, token: Option<String>) -> ApiClient {
        ApiClient { locate, token }
    }

    /// Says that a user is about to ask for something: see [`Locate::wake`].
    pub fn wake(&self) {
        self.locate.wake();
    }

    /// News of the server for the user: see [`Locate::news`].
    pub fn news(&self) -> Option<String> {
        self.locate.news()
    }

    /// True when the server takes requests now; waits at most `limit`.
    pub fn is_ready(&self, limit: Duration) -> bool {
        self.target(Some(limit))
            .and_then(|target| self.send(&target, Method::GET, "/readyz", None))
            .is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// Asks a server for its state, whether it takes requests or says why not; waits at most `limit`.
    pub fn readiness(&self, limit: Duration) -> Result<ReadinessBody, ClientError> {
        let target = self.target(Some(limit))?;
        let response = self.send(&target, Method::GET, "/readyz", None)?;
        // One that takes no requests says why in the same form.
        match response.status() {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => parsed(response),
            _ => parsed(checked(response)?),
        }
    }

    /// True when a server of Duragent answers there, as far as its words tell; waits at most `limit`, twice.
    pub fn is_alive(&self, limit: Duration) -> bool {
        // One of before may have the second alone. Many a web site has a page for browsers at any path.
        let has_word = |text: &str| wire::plain_line(text).is_some();
        let has_agents = |text: &str| serde_json::from_str::<AgentListBody>(text).is_ok();
        self.answer_of("/livez", limit)
            .is_some_and(|text| has_word(&text))
            || self
                .answer_of("/api/v1/agents", limit)
                .is_some_and(|text| has_agents(&text))
    }

    /// The text at `path`; `None` without a 200.
    fn answer_of(&self, path: &str, limit: Duration) -> Option<String> {
        let target = self.target(Some(limit)).ok()?;
        let response = self.send(&target, Method::GET, path, None).ok()?;
        let is_there = response.status() == StatusCode::OK;
        is_there.then(|| read_text(response).ok())?
    }

    /// The age of the server. It is asked each time: behind an address there may be another one
    /// by now.
    pub fn generation(&self) -> Result<ServerGeneration, ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        let response = self.send(&target, Method::GET, "/readyz", None)?;
        let status = response.status();
        let text = read_text(response).map_err(ClientError::Unreachable)?;
        let known: Option<ReadinessBody> = serde_json::from_str(&text).ok();
        if known.is_some_and(|readiness| readiness.workspace_hash.is_some()) {
            return Ok(ServerGeneration::Current);
        }
        // One that is overloaded, lets this client not in, or is behind a proxy that cannot reach it says
        // nothing of itself.
        let says_no = matches!(status.as_u16(), 401 | 403 | 407 | 421 | 429);
        if says_no || status.is_server_error() {
            let problem = ProblemBody::from_answer(status.as_u16(), &text);
            return Err(ClientError::Refused {
                problem,
                retry_after: None,
            });
        }
        Ok(ServerGeneration::Older)
    }

    /// Says no for what an older server does otherwise; `what` completes "the server is older than this
    /// program: …".
    pub fn refuse_older(&self, what: &'static str) -> Result<(), ClientError> {
        match self.generation()? {
            ServerGeneration::Current => Ok(()),
            ServerGeneration::Older => Err(ClientError::Older(what)),
        }
    }

    /// The build of the server.
    pub fn version(&self) -> Result<VersionBody, ClientError> {
        self.call(Method::GET, "/version", None)
    }

    /// All agents.
    pub fn agents(&self) -> Result<AgentListBody, ClientError> {
        self.call(Method::GET, "/api/v1/agents", None)
    }

    /// Sessions, newest first, at most `limit`, read page by page.
    ///
    /// `filter` holds the query's other parts, e.g. `("agent", "x")`.
    pub fn sessions(
        &self,
        filter: &[(&str, &str)],
        limit: usize,
    ) -> Result<Vec<SessionBody>, ClientError> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        while found.len() < limit {
            let size = (limit - found.len()).min(PAGE_LIMIT).to_string();
            let mut query = vec![("limit", size.as_str())];
            query.extend_from_slice(filter);
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let path = with_query("/api/v1/sessions", &query);
            let page: SessionListBody = self.call(Method::GET, &path, None)?;
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

    /// The messages that fit best; `query` holds all parts of what is looked for.
    pub fn search(&self, query: &[(&str, &str)]) -> Result<Vec<FoundMessage>, ClientError> {
        self.refuse_older("it does not give out what stands in its logs")?;
        let path = with_query("/api/v1/sessions/search", query);
        let found: SearchBody = self.call(Method::GET, &path, None)?;
        Ok(found.messages)
    }

    /// Starts a session with an agent.
    pub fn create_session(&self, agent: &str) -> Result<SessionBody, ClientError> {
        let workdir = None;
        let body = json(&NewSession { agent, workdir });
        self.call(Method::POST, "/api/v1/sessions", Some(body))
    }

    /// One session, with what it is doing.
    pub fn session(&self, id: &SessionId) -> Result<SessionBody, ClientError> {
        self.call(Method::GET, &session_path(id, ""), None)
    }

    /// The last `limit` messages, oldest first.
    pub fn messages(&self, id: &SessionId, limit: usize) -> Result<Vec<MessageBody>, ClientError> {
        let limit = limit.to_string();
        let path = with_query(&session_path(id, "/messages"), &[("limit", &limit)]);
        let list: MessageListBody = self.call(Method::GET, &path, None)?;
        Ok(list.messages)
    }

    /// Stores a message and opens the stream of its turn. The same `key` again opens the same
    /// turn's stream again, and stores nothing; an older server would store it twice: see
    /// [`may_repeat`](ApiClient::may_repeat).
    pub fn stream(
        &self,
        cancel: &CancelHandle,
        id: &SessionId,
        content: &str,
        files: &[Attachment],
        key: &str,
    ) -> Result<EventStream, ClientError> {
        let file = |kept: &Attachment| {
            Some(AttachedFile {
                file: FileKey::parse(&kept.file)?,
                name: kept.name.clone(),
            })
        };
        let body = json(&Say {
            content,
            attachments: files.iter().filter_map(file).collect(),
        });
        let path = session_path(id, "/stream");
        let headers = [("accept", "text/event-stream"), ("idempotency-key", key)];
        let target = self.cancellable(cancel, None)?;
        let response = self.exchange(
            &target,
            Method::POST,
            &path,
            &headers,
            Some((JSON, body.into_bytes())),
        )?;
        Ok(EventStream::new(checked(response)?, cancel.clone()))
    }

    /// Brings a file of this machine to a session, for a message to name.
    ///
    /// Errors: one that cannot be read, is empty or too large; [`ClientError::Older`].
    pub fn add_file(
        &self,
        cancel: &CancelHandle,
        id: &SessionId,
        path: &Path,
    ) -> Result<Attachment, ClientError> {
        let bytes = read_file(path)?;
        self.refuse_older("it takes no files")?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let media_type =
            MediaType::of_file(&name).unwrap_or_else(|| match str::from_utf8(&bytes) {
                Ok(text) if !text.contains('\0') => MediaType::TEXT,
                Ok(_) | Err(_) => MediaType::UNKNOWN,
            });
        let target = self.cancellable(cancel, Some(CALL_LIMIT))?;
        let body = Some((media_type.as_str(), bytes));
        let path = session_path(id, "/files");
        let response = self.exchange(&target, Method::POST, &path, &[], body)?;
        let kept: Attachment = parsed(checked(response)?)?;
        Ok(Attachment {
            name: plain_name(&name),
            ..kept
        })
    }

    /// Whether a message that was sent to a server of `first` may be sent again under its key. One
    /// that has an older server's sessions by now does not know of it.
    ///
    /// Errors: an older server, then or now, which has no keys; what keeps it from being asked.
    pub fn may_repeat(&self, first: ServerGeneration) -> Result<(), ClientError> {
        const WHAT: &str = "a message is sent to it once, and what came of this one is unknown";
        match first {
            ServerGeneration::Older => Err(ClientError::Older(WHAT)),
            ServerGeneration::Current => self.refuse_older(WHAT),
        }
    }

    /// Opens the events of a session: after `last_event_id`, or from its last messages on. `None` when the session has ended and nothing is left to show.
    pub fn events(
        &self,
        cancel: &CancelHandle,
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
        let target = self.cancellable(cancel, None)?;
        let response = self.exchange(&target, Method::GET, &path, &headers, None)?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        Ok(Some(EventStream::new(checked(response)?, cancel.clone())))
    }

    /// Stops the running turn; returns whether there was one.
    pub fn cancel_turn(&self, cancel: &CancelHandle, id: &SessionId) -> Result<bool, ClientError> {
        let target = self.cancellable(cancel, Some(CALL_LIMIT))?;
        let path = session_path(id, "/cancel");
        let response =
            checked(self.send(&target, Method::POST, &path, Some(NO_FIELDS.to_owned()))?)?;
        let answer: CancelledBody = parsed(response)?;
        Ok(answer.cancelled)
    }

    /// Has the conversation summarised; what comes of it, the session's events tell.
    pub fn compact(
        &self,
        cancel: &CancelHandle,
        id: &SessionId,
        keep: Option<&str>,
    ) -> Result<(), ClientError> {
        let target = self.cancellable(cancel, Some(CALL_LIMIT))?;
        let path = session_path(id, "/compact");
        checked(self.send(&target, Method::POST, &path, Some(json(&Compact { keep })))?)?;
        Ok(())
    }

    /// What the next call of the session's model would take.
    pub fn context(
        &self,
        cancel: &CancelHandle,
        id: &SessionId,
    ) -> Result<ContextBody, ClientError> {
        let target = self.cancellable(cancel, Some(CALL_LIMIT))?;
        let path = session_path(id, "/context");
        parsed(checked(self.send(&target, Method::GET, &path, None)?)?)
    }

    /// Answers an approval and waits until its turn ends or asks again; returns how it went on.
    pub fn approve(
        &self,
        cancel: &CancelHandle,
        id: &SessionId,
        asked: &ApprovalBody,
        decision: Decision,
    ) -> Result<DecidedBody, ClientError> {
        let body = json(&Approve {
            call_id: &asked.call_id,
            command: &asked.command,
            decision,
        });
        let target = self.cancellable(cancel, Some(TURN_LIMIT))?;
        let path = session_path(id, "/approve");
        let response = checked(self.send(&target, Method::POST, &path, Some(body))?)?;
        // The decision counts, whatever is said of it.
        Ok(parsed(response).unwrap_or_default())
    }

    /// What is allowed for a session.
    pub fn grants(&self, id: &SessionId) -> Result<Vec<GrantBody>, ClientError> {
        let path = session_path(id, "/grants");
        let list: GrantListBody = self.call(Method::GET, &path, None)?;
        Ok(list.grants)
    }

    /// Takes one of them back, or all.
    pub fn revoke_grants(&self, id: &SessionId, which: Option<Seq>) -> Result<(), ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        let one = which.map_or(String::new(), |seq| format!("/{seq}"));
        let path = session_path(id, &format!("/grants{one}"));
        checked(self.send(&target, Method::DELETE, &path, None)?)?;
        Ok(())
    }

    /// The records after `after`, at most `limit`; `next` is their end, whatever the server says: a page
    /// may also be cut for its size.
    ///
    /// Errors: [`ClientError::Older`], of a server that gives out no records.
    pub fn records(
        &self,
        id: &SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<RecordPageBody, ClientError> {
        if after == Seq::ZERO {
            self.refuse_older("it does not give out what stands in a session's log")?;
        }
        let (after, limit) = (after.to_string(), limit.to_string());
        let query = [("after", after.as_str()), ("limit", limit.as_str())];
        let path = with_query(&session_path(id, "/events"), &query);
        let page: RecordPageBody = self.call(Method::GET, &path, None)?;
        let last = page.events.last().map(|record| record.seq);
        Ok(RecordPageBody {
            next: page.next.max(last),
            ..page
        })
    }

    /// Ends a session and keeps its files.
    ///
    /// Errors: [`ClientError::Older`], of a server that knows no `keep` and would delete them.
    pub fn end_session(&self, id: &SessionId) -> Result<(), ClientError> {
        self.refuse_older("it would delete the session with all that was said in it")?;
        let target = self.target(Some(CALL_LIMIT))?;
        let path = with_query(&session_path(id, ""), &[("keep", "true")]);
        checked(self.send(&target, Method::DELETE, &path, None)?)?;
        Ok(())
    }

    /// Ends a session and deletes its files.
    pub fn delete_session(&self, id: &SessionId) -> Result<(), ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        checked(self.send(&target, Method::DELETE, &session_path(id, ""), None)?)?;
        Ok(())
    }

    /// Has the server read the agents again.
    pub fn reload_agents(&self) -> Result<ReloadBody, ClientError> {
        let path = "/api/admin/v1/reload-agents";
        self.call(Method::POST, path, Some(NO_FIELDS.to_owned()))
    }

    /// How the gateways are.
    pub fn gateways(&self) -> Result<GatewayListBody, ClientError> {
        self.call(Method::GET, GATEWAYS, None)
    }

    /// What a gateway's program said lately beside the protocol.
    pub fn gateway_log(&self, name: &GatewayName) -> Result<GatewayLogBody, ClientError> {
        let path = format!("{GATEWAYS}/{name}/logs");
        self.call(Method::GET, &path, None)
    }

    /// Has a gateway's program ended and started anew.
    pub fn restart_gateway(&self, name: &GatewayName) -> Result<RestartedBody, ClientError> {
        let path = format!("{GATEWAYS}/{name}/restart");
        self.call(Method::POST, &path, Some(NO_FIELDS.to_owned()))
    }

    /// The strangers who wait to be let in by gateways.
    pub fn pairings(&self) -> Result<PairingListBody, ClientError> {
        self.call(Method::GET, &format!("{GATEWAYS}/pairings"), None)
    }

    /// Lets a stranger in.
    pub fn approve_sender(&self, code: &str, approver: bool) -> Result<AdmittedBody, ClientError> {
        let body = json(&ApproveSender { code, approver });
        self.call(Method::POST, &format!("{GATEWAYS}/approve"), Some(body))
    }

    /// What the chats of gateways lack, and what they never get.
    pub fn outbox(&self) -> Result<OutboxBody, ClientError> {
        self.call(Method::GET, &format!("{GATEWAYS}/outbox"), None)
    }

    /// Forgets what chats never get.
    pub fn clear_outbox(&self) -> Result<ClearedBody, ClientError> {
        self.call(Method::DELETE, &format!("{GATEWAYS}/outbox"), None)
    }

    /// Asks the server to finish what it does and exit.
    pub fn shutdown(&self) -> Result<(), ClientError> {
        let target = self.target(Some(CALL_LIMIT))?;
        let path = "/api/admin/v1/shutdown";
        checked(self.send(&target, Method::POST, path, Some(NO_FIELDS.to_owned()))?)?;
        Ok(())
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
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
        body: Option<String>,
    ) -> Result<Response<Body>, ClientError> {
        let key = new_key();
        let keyed = [("idempotency-key", key.as_str())];
        let headers: &[_] = if method == Method::POST { &keyed } else { &[] };
        let body = body.map(|json| (JSON, json.into_bytes()));
        self.exchange(target, method, path, headers, body)
    }

    fn exchange(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, Vec<u8>)>,
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
            Some((media_type, body)) => {
                request = request.header("content-type", media_type);
                let request = request.body(body);
                agent.run(request.map_err(ClientError::NotARequest)?)
            }
        };
        answer.map_err(ClientError::Unreachable)
    }

    /// The server, for one request that `cancel` ends.
    fn cancellable(
        &self,
        cancel: &CancelHandle,
        limit: Option<Duration>,
    ) -> Result<Target, ClientError> {
        let target = self.target(limit)?;
        cancel.register(&target.agent)?;
        Ok(target)
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
        let agent = tls::agent(config.build());
        Ok(Target { base_url, agent })
    }
}

impl std::fmt::Debug for ApiClient {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient")
            .field("at", &self.locate.locate())
            .finish_non_exhaustive()
    }
}

/// The type of what is sent, unless it is a file.
const JSON: &str = "application/json";
/// The body of a request that says all by its route.
const NO_FIELDS: &str = "{}";

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts and words always serialise")
}

/// The bytes of a file that a server may take.
fn read_file(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::File {
        path: path.to_owned(),
        source,
    };
    let no_file = |what| ClientError::NoFile {
        path: path.to_owned(),
        what,
    };
    // A pipe would be waited for as it is opened.
    if !path.metadata().map_err(failed)?.is_file() {
        let source = io::Error::new(ErrorKind::InvalidInput, "it is no regular file");
        return Err(failed(source));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let limit = FILE_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() {
        0 => Err(no_file("empty")),
        1..=FILE_BYTES_MAX => Ok(bytes),
        _ => Err(no_file("larger than 10 MiB")),
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
        problem: ProblemBody::from_answer(status.as_u16(), &text),
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
        let client = ApiClient::new("http://x/", Some("secret".to_owned()));
        assert!(!format!("{client:?}").contains("secret"));
        assert!(format!("{client:?}").contains("http://x\""));
    }
}
