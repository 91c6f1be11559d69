//! A server on loopback that speaks the providers' true protocols, by script.
//!
//! ```ignore
//! let model = FakeModel::start();
//! model.reply(tool_call("date", "{}")).then(text("It is late."));
//! // … run the program with `base_url: {model.url()}` …
//! let asked = model.wait_for_requests(2);
//! assert_eq!(asked[0].last_message(), "what time is it?");
//! ```
//!
//! - It answers `/v1/chat/completions`, `/api/v1/chat/completions` (OpenRouter), `/v1/messages`
//!   (Anthropic), `/v1/responses` (OpenAI) and `/api/chat` (Ollama), each in its dialect: a script is the
//!   same for all of them. [`FakeModel::url`] has no path; the program adds the provider's usual one.
//! - It answers `/api/show` beside the script: see [`FakeModel::shows`].
//! - Each request takes the next step of the script, in the order of arrival; when there is none
//!   it answers `ok` (or what [`FakeModel::default_reply`] says), so load tests need no script.
//! - It checks on each request what the strictest provider insists on: roles alternate, each call
//!   has its result directly after it, no content is empty. A breach is answered with 400 and kept;
//!   dropping the `FakeModel` then panics, unless [`FakeModel::allow_violations`] was called.
//! - It notices a client that leaves in the middle of an answer: [`FakeModel::wait_for_disconnects`].

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod ollama;
mod responses;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a thread that waits looks whether its client has left.
const GLANCE: Duration = Duration::from_millis(5);

/// The server; it ends with its connections when it is dropped.
pub struct FakeModel {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<thread::JoinHandle<()>>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
    /// The same, byte for byte.
    pub text: String,
    /// Which connection it came on, from 0: equal numbers tell of keep-alive.
    pub connection: usize,
}

/// An answer of the script. Build it with [`text`], [`tool_call`], [`error`], … and the methods.
#[derive(Debug, Clone, Default)]
pub struct Step {
    parts: Vec<Part>,
    usage: Option<(u64, u64)>,
    finish: Option<&'static str>,
    split: Option<usize>,
    whole: bool,
    status: Option<Refusal>,
    raw: Option<(String, Vec<u8>)>,
    no_done: bool,
    hang_up: bool,
    cut_at_end: bool,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Thinking(String),
    Call {
        id: String,
        name: String,
        pieces: Vec<String>,
    },
    Comment(String),
    Error(u16, String),
    Wait(Duration),
    Stall,
    Cut,
}

#[derive(Debug, Clone)]
struct Refusal {
    status: u16,
    body: String,
    headers: Vec<(String, String)>,
}

/// Goes on with the script: `model.reply(a).then(b).then(c)`.
pub struct Script<'a>(&'a FakeModel);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    script: VecDeque<Step>,
    default_reply: Option<Step>,
    /// What `/api/show` says; `None` is what it says unasked.
    card: Option<Step>,
    shown: Vec<Asked>,
    offered: Option<Vec<String>>,
    page: Option<usize>,
    instead_of_list: Option<Step>,
    lists: Vec<Asked>,
    asked: Vec<Asked>,
    violations: Vec<String>,
    violations_allowed: bool,
    connections: usize,
    /// The open connections, to end them with the server.
    sockets: BTreeMap<usize, Arc<TcpStream>>,
    disconnects: usize,
    /// How many stalls may go on.
    released: usize,
    stalled: usize,
    streams: usize,
}

// --- the steps of a script ---

/// Says `words` in pieces of a word each.
pub fn text(words: &str) -> Step {
    pieces(&words.split_inclusive(' ').collect::<Vec<_>>())
}

/// Says exactly these pieces.
pub fn pieces(pieces: &[&str]) -> Step {
    let parts = pieces.iter().map(|piece| Part::Text((*piece).to_owned()));
    Step {
        parts: parts.collect(),
        ..Step::default()
    }
}

/// Calls a tool; `arguments` is a JSON text, sent in pieces of a few bytes.
pub fn tool_call(name: &str, arguments: &str) -> Step {
    Step::default().and_call(name, arguments)
}

/// Refuses with a status and the provider's usual error document.
pub fn error(status: u16, message: &str) -> Step {
    let body = json!({"error": {"type": "fake_error", "code": status, "message": message}});
    Step {
        status: Some(Refusal {
            status,
            body: body.to_string(),
            headers: Vec::new(),
        }),
        ..Step::default()
    }
}

/// Sends nothing, until [`FakeModel::release`] or until the client leaves.
pub fn stall() -> Step {
    Step::default().and_stall()
}

/// Closes the connection without a byte of an answer, as with one that was idle for too long.
pub fn hang_up() -> Step {
    Step {
        hang_up: true,
        ..Step::default()
    }
}

/// Answers 200 with this document.
pub fn raw_document(document: Value) -> Step {
    Step {
        status: Some(Refusal {
            status: 200,
            body: document.to_string(),
            headers: Vec::new(),
        }),
        ..Step::default()
    }
}

/// Answers 200 with exactly these bytes and closes; with [`Step::split_every`] they come in chunks.
pub fn raw(content_type: &str, body: impl Into<Vec<u8>>) -> Step {
    Step {
        raw: Some((content_type.to_owned(), body.into())),
        ..Step::default()
    }
}

impl Step {
    /// Then says these words.
    pub fn and_text(mut self, words: &str) -> Step {
        self.parts.extend(text(words).parts);
        self
    }

    /// Then thinks, where the dialect can (blocks with a signature; `reasoning_details`).
    pub fn and_thinking(self, words: &str) -> Step {
        self.and(Part::Thinking(words.to_owned()))
    }

    /// Then calls a tool, too.
    pub fn and_call(self, name: &str, arguments: &str) -> Step {
        let number = self.calls().count() + 1;
        let pieces: Vec<String> = arguments
            .chars()
            .collect::<Vec<_>>()
            .chunks(5)
            .map(|piece| piece.iter().collect())
            .collect();
        self.and(Part::Call {
            // The connection's requests are told apart when it is sent.
            id: format!("call_{number}"),
            name: name.to_owned(),
            pieces,
        })
    }

    /// Then a comment line of the stream, as OpenRouter sends while it waits.
    pub fn and_comment(self, words: &str) -> Step {
        self.and(Part::Comment(words.to_owned()))
    }

    /// Then an error in the middle of the stream, and the end.
    pub fn and_error(self, status: u16, message: &str) -> Step {
        self.and(Part::Error(status, message.to_owned()))
    }

    /// Then rests.
    pub fn and_wait(self, time: Duration) -> Step {
        self.and(Part::Wait(time))
    }

    /// Then stands still until [`FakeModel::release`] or until the client leaves.
    pub fn and_stall(self) -> Step {
        self.and(Part::Stall)
    }

    /// Then closes the connection without the end of the answer.
    pub fn and_cut(self) -> Step {
        self.and(Part::Cut)
    }

    /// Breaks the connection after the last event, instead of ending the answer in good order.
    pub fn cut_at_end(mut self) -> Step {
        self.cut_at_end = true;
        self
    }

    /// Rests before each piece of text.
    pub fn each_after(mut self, time: Duration) -> Step {
        let parts = std::mem::take(&mut self.parts);
        for part in parts {
            if matches!(part, Part::Text(_)) {
                self.parts.push(Part::Wait(time));
            }
            self.parts.push(part);
        }
        self
    }

    /// Names the tokens of the prompt and of the answer (10 and 5 otherwise).
    pub fn usage(mut self, prompt_tokens: u64, completion_tokens: u64) -> Step {
        self.usage = Some((prompt_tokens, completion_tokens));
        self
    }

    /// Names another finish reason, in the words of the dialect.
    pub fn finish_reason(mut self, word: &'static str) -> Step {
        self.finish = Some(word);
        self
    }

    /// Writes the stream in pieces of `bytes`, wherever that cuts.
    pub fn split_every(mut self, bytes: usize) -> Step {
        self.split = Some(bytes);
        self
    }

    /// Answers with one JSON document instead of a stream.
    pub fn whole(mut self) -> Step {
        self.whole = true;
        self
    }

    /// Leaves out `[DONE]` (in Anthropic's dialect: `message_stop`).
    pub fn without_done(mut self) -> Step {
        self.no_done = true;
        self
    }

    /// Adds `Retry-After` to a refusal.
    pub fn retry_after(self, value: &str) -> Step {
        self.header("Retry-After", value)
    }

    /// Adds a header to a refusal.
    pub fn header(mut self, name: &str, value: &str) -> Step {
        if let Some(refusal) = &mut self.status {
            refusal.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Replaces the body of a refusal.
    pub fn body(mut self, body: &str) -> Step {
        if let Some(refusal) = &mut self.status {
            refusal.body = body.to_owned();
        }
        self
    }

    fn and(mut self, part: Part) -> Step {
        self.parts.push(part);
        self
    }

    fn calls(&self) -> impl Iterator<Item = &Part> {
        self.parts
            .iter()
            .filter(|part| matches!(part, Part::Call { .. }))
    }
}

// --- the server, as a test sees it ---

impl FakeModel {
    /// Starts it on a free port.
    pub fn start() -> FakeModel {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &for_thread));
        FakeModel {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it is: `http://127.0.0.1:<port>`, a `base_url` for any provider.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a step to the script.
    pub fn reply(&self, step: Step) -> Script<'_> {
        self.shared.lock().script.push_back(step);
        Script(self)
    }

    /// Lists these models, by `GET …/models` and `GET /api/tags`; before, it has no list. Asking for a list takes
    /// no step of the script, and is no request of [`FakeModel::requests`].
    pub fn offers(&self, models: &[&str]) {
        let models = models.iter().map(|name| (*name).to_owned()).collect();
        self.shared.lock().offered = Some(models);
    }

    /// Lists so many models on a page, as Anthropic does.
    pub fn page(&self, models: usize) {
        self.shared.lock().page = Some(models);
    }

    /// Answers whoever asks for a list with this step, instead.
    pub fn answers_lists_with(&self, step: Step) {
        self.shared.lock().instead_of_list = Some(step);
    }

    /// Every request for a list so far.
    pub fn lists(&self) -> Vec<Asked> {
        self.shared.lock().lists.clone()
    }

    /// What it says when the script is empty.
    pub fn default_reply(&self, step: Step) {
        self.shared.lock().default_reply = Some(step);
    }

    /// What it says of its models to `/api/show`: a document, or a refusal.
    pub fn shows(&self, step: Step) {
        self.shared.lock().card = Some(step);
    }

    /// The questions that came to `/api/show`; they are not among the requests.
    pub fn asked_to_show(&self) -> Vec<Asked> {
        self.shared.lock().shown.clone()
    }

    /// Lets one stall go on: the current one, or the next one.
    pub fn release(&self) {
        self.shared.change(|state| state.released += 1);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// How many requests came so far.
    pub fn request_count(&self) -> usize {
        self.shared.lock().asked.len()
    }

    /// The requests, once there are `count`.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Asked> {
        self.wait("requests", |state| state.asked.len() >= count);
        self.requests()
    }

    /// Waits until `count` answers stand still at once.
    pub fn wait_for_stalls(&self, count: usize) {
        self.wait("stalls", |state| state.stalled >= count);
    }

    /// How many clients left before the end of their answer.
    pub fn disconnects(&self) -> usize {
        self.shared.lock().disconnects
    }

    /// Waits until so many clients have left.
    pub fn wait_for_disconnects(&self, count: usize) {
        self.wait("disconnects", |state| state.disconnects >= count);
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().sockets.len()
    }

    /// Waits until so many connections are open, and no more.
    pub fn wait_for_connections(&self, count: usize) {
        self.wait("connections", |state| state.sockets.len() == count);
    }

    /// Closes every connection, as providers do with those that are idle for long.
    pub fn close_connections(&self) {
        for socket in self.shared.lock().sockets.values() {
            drop(socket.shutdown(Shutdown::Both));
        }
        self.wait_for_connections(0);
    }

    /// How many answers are being written now.
    pub fn open_streams(&self) -> usize {
        self.shared.lock().streams
    }

    /// What requests did that no provider accepts.
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().violations.clone()
    }

    /// Keeps `drop` from panicking for them.
    pub fn allow_violations(&self) {
        self.shared.lock().violations_allowed = true;
    }

    fn wait(&self, what: &str, mut enough: impl FnMut(&State) -> bool) {
        let state = self.shared.lock();
        let (state, result) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !enough(state))
            .unwrap();
        assert!(
            !result.timed_out(),
            "waited in vain for {what}: {} requests, {} stalls, {} disconnects, violations {:?}",
            state.asked.len(),
            state.stalled,
            state.disconnects,
            state.violations
        );
    }
}

impl Script<'_> {
    /// Adds the next step.
    pub fn then(self, step: Step) -> Self {
        self.0.reply(step)
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // The connection wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        let state = self.shared.lock();
        for socket in state.sockets.values() {
            drop(socket.shutdown(Shutdown::Both));
        }
        if !state.violations_allowed && !thread::panicking() {
            assert!(
                state.violations.is_empty(),
                "no provider accepts what was asked: {:#?}",
                state.violations
            );
        }
    }
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name)?;
        Some(&found.1)
    }

    /// The messages, in the dialect of the request.
    pub fn messages(&self) -> &[Value] {
        let messages = self.body["messages"].as_array();
        let messages = messages.or_else(|| self.body["input"].as_array());
        messages.map_or(&[], Vec::as_slice)
    }

    /// A field of each message, where it is a text.
    pub fn each(&self, field: &str) -> Vec<&str> {
        let messages = self.messages().iter();
        messages.filter_map(|one| one[field].as_str()).collect()
    }

    /// The text of the last message.
    pub fn last_message(&self) -> String {
        self.messages().last().map(text_of).unwrap_or_default()
    }

    /// The system prompt.
    pub fn system(&self) -> String {
        match self.messages().first() {
            Some(first) if first["role"] == "system" => text_of(first),
            _ => ["system", "instructions"]
                .map(|key| text_of(&json!({"content": self.body[key]})))
                .concat(),
        }
    }
}

/// The text of a message's content, a string or blocks; of a result too.
fn text_of(message: &Value) -> String {
    if let Some(output) = message["output"].as_str() {
        return output.to_owned();
    }
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks
            .iter()
            .map(|block| match block["type"].as_str() {
                Some("tool_result") => text_of(block),
                _ => block["text"].as_str().unwrap_or_default().to_owned(),
            })
            .collect(),
        _ => String::new(),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed with the lock held must not hide its own message.
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

// --- connections ---

/// Why a connection is over.
enum Over {
    ClientLeft,
    Closed,
}

type Ongoing = Result<(), Over>;

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped() {
            return;
        }
        let Ok(stream) = stream.map(Arc::new) else {
            continue;
        };
        let connection = shared.change(|state| {
            let connection = state.connections;
            state.sockets.insert(connection, Arc::clone(&stream));
            state.connections += 1;
            connection
        });
        let shared = Arc::clone(shared);
        let serve = move || {
            serve(&stream, connection, &shared);
            shared.change(|state| state.sockets.remove(&connection));
        };
        thread::Builder::new()
            .name("fake-model".into())
            .stack_size(256 << 10)
            .spawn(serve)
            .unwrap();
    }
}

fn serve(stream: &TcpStream, connection: usize, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read_request(&mut reader, connection) {
        let (step, violation) = if asked.method == "GET" {
            (list(shared, &asked), None)
        } else {
            take_step(shared, &asked)
        };
        let step = match violation {
            Some(violation) => error(400, &violation),
            None => step,
        };
        shared.change(|state| state.streams += 1);
        let result = Answer {
            stream,
            shared,
            split: step.split,
        }
        .give(&step, &asked);
        shared.change(|state| {
            state.streams -= 1;
            if matches!(result, Err(Over::ClientLeft)) {
                state.disconnects += 1;
            }
        });
        if result.is_err() {
            return;
        }
    }
}

fn take_step(shared: &Shared, asked: &Asked) -> (Step, Option<String>) {
    if asked.path.ends_with("/api/show") {
        return shared.change(|state| {
            state.shown.push(asked.clone());
            let usual = || raw_document(ollama::card());
            (state.card.clone().unwrap_or_else(usual), None)
        });
    }
    let violation = check(asked).err();
    shared.change(|state| {
        state.asked.push(asked.clone());
        if let Some(violation) = &violation {
            state.violations.push(violation.clone());
            // The step stays for a request that deserves it.
            return (Step::default(), Some(violation.clone()));
        }
        let step = state.script.pop_front();
        let step = step.or_else(|| state.default_reply.clone());
        (step.unwrap_or_else(|| text("ok")), None)
    })
}

/// What it offers, in the form of whoever is asked so.
fn list(shared: &Shared, asked: &Asked) -> Step {
    let mut state = shared.lock();
    state.lists.push(asked.clone());
    if let Some(step) = &state.instead_of_list {
        return step.clone();
    }
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let Some(models) = &state.offered else {
        return error(404, "there is no list");
    };
    let body = if path.ends_with("/api/tags") {
        let models = models
            .iter()
            .map(|name| json!({"name": name, "model": name}));
        json!({"models": models.collect::<Vec<_>>()})
    } else if path.ends_with("/models") {
        let after = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("after_id="));
        let begin = models.iter().position(|name| Some(name.as_str()) == after);
        let rest = &models[begin.map_or(0, |at| at + 1)..];
        let page = &rest[..state.page.unwrap_or(rest.len()).min(rest.len())];
        let data: Vec<Value> = page.iter().map(|name| json!({"id": name})).collect();
        json!({
            "object": "list", "data": data, "has_more": page.len() < rest.len(),
            "last_id": page.last(),
        })
    } else {
        return error(404, "there is nothing");
    };
    raw("application/json", body.to_string())
}

fn read_request(reader: &mut BufReader<&TcpStream>, connection: usize) -> Option<Asked> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut head = line.split(' ').map(str::to_owned);
    let (method, path) = (head.next()?, head.next()?);
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        text: String::from_utf8_lossy(&body).into_owned(),
        connection,
    })
}

/// One answer on its way.
struct Answer<'a> {
    stream: &'a TcpStream,
    shared: &'a Shared,
    split: Option<usize>,
}

impl Answer<'_> {
    fn give(&self, step: &Step, asked: &Asked) -> Ongoing {
        if step.hang_up {
            return Err(Over::Closed);
        }
        if let Some(refusal) = &step.status {
            return self.refuse(refusal);
        }
        if let Some((content_type, body)) = &step.raw {
            if step.split.is_some() {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                self.write(head.as_bytes())?;
                self.chunk(body)?;
                return self.write(b"0\r\n\r\n");
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n"
            );
            self.write(head.as_bytes())?;
            self.write(body)?;
            return Err(Over::Closed);
        }
        let dialect = Dialect::of(&asked.path);
        let number = self.shared.lock().asked.len();
        if step.whole {
            let body = dialect.whole(step, number).to_string();
            return self.document(200, &body, "");
        }
        let content_type = match dialect {
            Dialect::Ollama => "application/x-ndjson",
            Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => "text/event-stream",
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        self.write(head.as_bytes())?;
        self.stream(step, &dialect, number)?;
        if step.cut_at_end {
            return Err(Over::Closed);
        }
        self.write(b"0\r\n\r\n")
    }

    fn refuse(&self, refusal: &Refusal) -> Ongoing {
        let headers = refusal.headers.iter();
        let headers: String = headers
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        self.document(refusal.status, &refusal.body, &headers)
    }

    fn document(&self, status: u16, body: &str, headers: &str) -> Ongoing {
        let length = body.len();
        self.write(
            format!(
                "HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        )
    }

    fn stream(&self, step: &Step, dialect: &Dialect, number: usize) -> Ongoing {
        self.events(&dialect.begin(step))?;
        let mut index = 0;
        for (at, part) in step.parts.iter().enumerate() {
            match part {
                Part::Wait(time) => self.rest(*time)?,
                Part::Stall => self.stall()?,
                Part::Cut => return Err(Over::Closed),
                Part::Comment(_) if matches!(dialect, Dialect::Ollama) => {}
                Part::Comment(words) => self.chunk(format!(": {words}\n\n").as_bytes())?,
                Part::Error(status, message) => {
                    return self.events(&[dialect.error(*status, message)]);
                }
                Part::Text(_) | Part::Thinking(_) | Part::Call { .. } => {
                    self.events(&match dialect {
                        Dialect::Responses => responses::part(step, at, number),
                        _ => dialect.part(part, index, number),
                    })?;
                    // OpenAI numbers the calls, Anthropic all blocks.
                    let counts = matches!(
                        (dialect, part),
                        (Dialect::Anthropic, _) | (_, Part::Call { .. })
                    );
                    index += usize::from(counts);
                }
            }
        }
        self.events(&dialect.end(step, number))
    }

    fn events(&self, events: &[String]) -> Ongoing {
        for event in events {
            self.chunk(event.as_bytes())?;
        }
        Ok(())
    }

    /// Writes a piece of the stream, in pieces of its own if the step says so.
    fn chunk(&self, bytes: &[u8]) -> Ongoing {
        for piece in bytes.chunks(self.split.unwrap_or(bytes.len()).max(1)) {
            let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
            self.write(&framed)?;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Ongoing {
        let mut stream = self.stream;
        stream.write_all(bytes).map_err(|_| Over::ClientLeft)
    }

    fn rest(&self, time: Duration) -> Ongoing {
        let end = Instant::now() + time;
        self.wait_until(|| Instant::now() >= end)
    }

    fn stall(&self) -> Ongoing {
        self.shared.change(|state| state.stalled += 1);
        let result = self.wait_until(|| {
            let mut state = self.shared.lock();
            let released = state.released > 0;
            state.released -= usize::from(released);
            released
        });
        self.shared.change(|state| state.stalled -= 1);
        result
    }

    /// Waits, with an eye on the client.
    fn wait_until(&self, mut over: impl FnMut() -> bool) -> Ongoing {
        while !over() {
            if self.shared.is_stopped() {
                return Err(Over::Closed);
            }
            if self.client_left() {
                return Err(Over::ClientLeft);
            }
        }
        Ok(())
    }

    /// Looks for a moment; a client that waits sends nothing.
    fn client_left(&self) -> bool {
        self.stream.set_read_timeout(Some(GLANCE)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
        match peeked {
            Ok(0) => true,
            Ok(_) => {
                thread::sleep(GLANCE);
                false
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

// --- dialects ---

enum Dialect {
    OpenAi,
    Anthropic,
    Responses,
    Ollama,
}

impl Dialect {
    fn of(path: &str) -> Dialect {
        if path.ends_with("/messages") {
            Dialect::Anthropic
        } else if path.ends_with("/responses") {
            Dialect::Responses
        } else if path.ends_with("/api/chat") {
            Dialect::Ollama
        } else {
            Dialect::OpenAi
        }
    }

    /// The events before the first part.
    fn begin(&self, step: &Step) -> Vec<String> {
        let (prompt_tokens, _) = step.usage.unwrap_or(USAGE);
        match self {
            Dialect::OpenAi => vec![chunk(json!({"role": "assistant", "content": ""}), None)],
            Dialect::Anthropic => vec![
                event(json!({"type": "message_start", "message": {
                    "id": "msg_1", "type": "message", "role": "assistant", "content": [],
                    "usage": {"input_tokens": prompt_tokens, "output_tokens": 1},
                }})),
                event(json!({"type": "ping"})),
            ],
            Dialect::Responses => responses::begin(),
            Dialect::Ollama => Vec::new(),
        }
    }

    /// The events of the part that is the `index`th of the answer to request `number`.
    fn part(&self, part: &Part, index: usize, number: usize) -> Vec<String> {
        match (self, part) {
            (Dialect::OpenAi, Part::Text(text)) => vec![chunk(json!({"content": text}), None)],
            (Dialect::OpenAi, Part::Thinking(text)) => vec![chunk(
                json!({"content": "", "reasoning": text, "reasoning_details": [
                    {"type": "reasoning.text", "index": 0, "text": text},
                ]}),
                None,
            )],
            (Dialect::OpenAi, Part::Call { id, name, pieces }) => {
                let call = |call: Value| chunk(json!({"tool_calls": [call]}), None);
                let mut events = vec![call(json!({
                    "index": index, "id": format!("{id}_{number}"), "type": "function",
                    "function": {"name": name, "arguments": ""},
                }))];
                events.extend(
                    pieces.iter().map(|piece| {
                        call(json!({"index": index, "function": {"arguments": piece}}))
                    }),
                );
                events
            }
            (Dialect::Anthropic, Part::Text(text)) => block(
                index,
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": text})],
            ),
            (Dialect::Anthropic, Part::Thinking(text)) => block(
                index,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": text}),
                    json!({"type": "signature_delta", "signature": "signed"}),
                ],
            ),
            (Dialect::Anthropic, Part::Call { id, name, pieces }) => block(
                index,
                json!({
                    "type": "tool_use", "id": format!("{id}_{number}"), "name": name, "input": {},
                }),
                pieces
                    .iter()
                    .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                    .collect(),
            ),
            (Dialect::Ollama, part) => ollama::part(part),
            // Needs to know what stands around it: see `stream`.
            (Dialect::Responses, _) => Vec::new(),
            (_, Part::Comment(_) | Part::Error(..) | Part::Wait(_) | Part::Stall | Part::Cut) => {
                Vec::new()
            }
        }
    }

    /// The events after the last part.
    fn end(&self, step: &Step, number: usize) -> Vec<String> {
        let (prompt_tokens, completion_tokens) = step.usage.unwrap_or(USAGE);
        let reason = self.finish_reason(step);
        let mut events = match self {
            Dialect::OpenAi => vec![
                chunk(json!({}), Some(reason)),
                event(
                    json!({"object": "chat.completion.chunk", "choices": [], "usage": {
                        "prompt_tokens": prompt_tokens,
                        "completion_tokens": completion_tokens,
                        "total_tokens": prompt_tokens + completion_tokens,
                    }}),
                ),
                "data: [DONE]\n\n".to_owned(),
            ],
            Dialect::Anthropic => vec![
                event(json!({
                    "type": "message_delta",
                    "delta": {"stop_reason": reason, "stop_sequence": null},
                    "usage": {"output_tokens": completion_tokens},
                })),
                event(json!({"type": "message_stop"})),
            ],
            Dialect::Responses => responses::end(step, number),
            Dialect::Ollama => ollama::end(step),
        };
        if step.no_done {
            events.pop();
        }
        events
    }

    fn error(&self, status: u16, message: &str) -> String {
        match self {
            Dialect::OpenAi => event(json!({
                "error": {"code": status, "message": message},
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            })),
            Dialect::Anthropic => {
                let kind = match status {
                    529 => "overloaded_error",
                    429 => "rate_limit_error",
                    _ => "api_error",
                };
                event(json!({"type": "error", "error": {"type": kind, "message": message}}))
            }
            Dialect::Responses => responses::error(status, message),
            Dialect::Ollama => ollama::error(message),
        }
    }

    fn finish_reason(&self, step: &Step) -> &'static str {
        let calls = step.calls().next().is_some();
        step.finish.unwrap_or(match (self, calls) {
            (Dialect::OpenAi, false) => "stop",
            (Dialect::OpenAi, true) => "tool_calls",
            (Dialect::Anthropic, false) => "end_turn",
            (Dialect::Anthropic, true) => "tool_use",
            (Dialect::Responses | Dialect::Ollama, _) => "stop",
        })
    }

    /// The same answer as one document.
    fn whole(&self, step: &Step, number: usize) -> Value {
        let (prompt_tokens, completion_tokens) = step.usage.unwrap_or(USAGE);
        let mut text = String::new();
        let mut calls = Vec::new();
        for part in &step.parts {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Call { id, name, pieces } => {
                    calls.push((format!("{id}_{number}"), name, pieces.concat()));
                }
                Part::Thinking(_)
                | Part::Comment(_)
                | Part::Error(..)
                | Part::Wait(_)
                | Part::Stall
                | Part::Cut => {}
            }
        }
        let reason = self.finish_reason(step);
        match self {
            Dialect::OpenAi => {
                let calls: Vec<Value> = calls
                    .iter()
                    .map(|(id, name, arguments)| {
                        json!({"id": id, "type": "function",
                               "function": {"name": name, "arguments": arguments}})
                    })
                    .collect();
                json!({
                    "object": "chat.completion",
                    "choices": [{
                        "index": 0,
                        "message": {"role": "assistant", "content": text, "tool_calls": calls},
                        "finish_reason": reason,
                    }],
                    "usage": {
                        "prompt_tokens": prompt_tokens,
                        "completion_tokens": completion_tokens,
                        "total_tokens": prompt_tokens + completion_tokens,
                    },
                })
            }
            Dialect::Anthropic => {
                let mut content = vec![json!({"type": "text", "text": text})];
                content.extend(calls.iter().map(|(id, name, arguments)| {
                    let input: Value = serde_json::from_str(arguments).unwrap();
                    json!({"type": "tool_use", "id": id, "name": name, "input": input})
                }));
                json!({
                    "type": "message", "role": "assistant", "content": content,
                    "stop_reason": reason,
                    "usage": {"input_tokens": prompt_tokens, "output_tokens": completion_tokens},
                })
            }
            Dialect::Responses => responses::whole(step, number),
            Dialect::Ollama => ollama::whole(step),
        }
    }
}

const USAGE: (u64, u64) = (10, 5);

fn event(data: Value) -> String {
    match data["type"].as_str() {
        Some(kind) => format!("event: {kind}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

fn chunk(delta: Value, finish_reason: Option<&str>) -> String {
    event(json!({
        "id": "gen-1", "object": "chat.completion.chunk", "model": "fake",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }))
}

fn block(index: usize, block: Value, deltas: Vec<Value>) -> Vec<String> {
    let mut events = vec![event(
        json!({"type": "content_block_start", "index": index, "content_block": block}),
    )];
    events.extend(deltas.into_iter().map(|delta| {
        event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }));
    events.push(event(json!({"type": "content_block_stop", "index": index})));
    events
}

// --- what every request must be ---

/// Checks a request as the strictest provider does.
fn check(asked: &Asked) -> Result<(), String> {
    if asked.body["model"].as_str().is_none_or(str::is_empty) {
        return Err("no model is named".into());
    }
    match Dialect::of(&asked.path) {
        Dialect::OpenAi => check_openai(asked),
        Dialect::Anthropic => check_anthropic(asked),
        Dialect::Responses => responses::check(asked),
        Dialect::Ollama => ollama::check(asked),
    }
}

fn check_openai(asked: &Asked) -> Result<(), String> {
    let mut open = BTreeSet::new();
    let mut last = "";
    let messages = asked.messages();
    let system = usize::from(messages.first().is_some_and(|one| one["role"] == "system"));
    if messages.len() == system {
        return Err("there are no messages".into());
    }
    for (number, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        let calls = message["tool_calls"].as_array();
        let parts = message["content"].as_array();
        let has_file = parts.is_some_and(|parts| parts.iter().any(|part| part["type"] != "text"));
        let says_nothing = text_of(message).trim().is_empty() && !has_file;
        if says_nothing && calls.is_none_or(Vec::is_empty) {
            return Err(format!("message {number} ({role}) is empty"));
        }
        let fits = match role {
            "system" => number == 0,
            "user" => last != "user" && open.is_empty(),
            "assistant" => !matches!(last, "" | "system" | "assistant") && open.is_empty(),
            "tool" => open.remove(message["tool_call_id"].as_str().unwrap_or_default()),
            _ => false,
        };
        if !fits {
            return Err(format!(
                "message {number} ({role}) cannot follow {last:?} with open calls {open:?}"
            ));
        }
        for call in calls.into_iter().flatten() {
            let name = call["function"]["name"].as_str().unwrap_or_default();
            check_call(call["id"].as_str().unwrap_or_default(), name, &mut open)?;
            if !call["function"]["arguments"].is_string() {
                return Err(format!("the arguments of {name} are no text"));
            }
        }
        last = role;
    }
    nothing_open(&open)
}

fn check_anthropic(asked: &Asked) -> Result<(), String> {
    if !asked.body["max_tokens"].is_u64() {
        return Err("max_tokens is missing".into());
    }
    if asked.header("anthropic-version").is_none() {
        return Err("anthropic-version is missing".into());
    }
    let mut open = BTreeSet::new();
    let mut expected = "user";
    for (number, message) in asked.messages().iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role != expected {
            return Err(format!("message {number} is of {role}, not of {expected}"));
        }
        let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        if blocks.is_empty() {
            return Err(format!("message {number} ({role}) is empty"));
        }
        for block in blocks {
            check_block(block, role, &mut open)?;
        }
        if role == "user" {
            nothing_open(&open)?;
            expected = "assistant";
        } else {
            expected = "user";
        }
    }
    let last = asked.messages().last().ok_or("there are no messages")?;
    let text = text_of(last);
    if last["role"] == "assistant" && text.trim_end() != text {
        return Err("the last message ends in a blank".into());
    }
    nothing_open(&open)
}

fn check_block(block: &Value, role: &str, open: &mut BTreeSet<String>) -> Result<(), String> {
    let text = |key: &str| block[key].as_str().unwrap_or_default();
    match text("type") {
        "text" if text("text").trim().is_empty() => Err("a block of text is blank".into()),
        // A model may say something after it has called.
        "text" if role == "user" && !open.is_empty() => {
            Err(format!("text before the results of {open:?}"))
        }
        "tool_use" if !block["input"].is_object() => Err("an input is no object".into()),
        "tool_use" => check_call(text("id"), text("name"), open),
        "tool_result" if text_of(block).trim().is_empty() => Err("a result is empty".into()),
        "tool_result" if !open.remove(text("tool_use_id")) => {
            Err(format!("a result of no call: {}", text("tool_use_id")))
        }
        "image" | "document" if !open.is_empty() => {
            Err(format!("a file before the results of {open:?}"))
        }
        "image" | "document" if !block["source"]["data"].is_string() => {
            Err("a file without its bytes".into())
        }
        "text" | "tool_result" | "thinking" | "redacted_thinking" | "image" | "document" => Ok(()),
        other => Err(format!("a block of type {other:?}")),
    }
}

fn check_call(id: &str, name: &str, open: &mut BTreeSet<String>) -> Result<(), String> {
    let legal = |text: &str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if !legal(id) || !legal(name) {
        return Err(format!("a call with the id {id:?} of the tool {name:?}"));
    }
    if open.insert(id.to_owned()) {
        Ok(())
    } else {
        Err(format!("two calls have the id {id}"))
    }
}

fn nothing_open(open: &BTreeSet<String>) -> Result<(), String> {
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("calls without results: {open:?}"))
    }
}
