//! One request, or one stream of events, as a client sees it that trusts nobody: raw names, ids
//! and data, and a deadline for everything.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body, BodyReader};

use crate::base::sse::{EventTooLong, Parser, SseEvent};
use crate::torture::ledger::SeenEvent;

/// A server that is alive answers, or says something on a stream, within this.
const DEADLINE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 16 << 10;

/// An answer, or how it failed to come: a kill explains [`Fetched::Lost`], and nothing explains
/// [`Fetched::Hung`].
#[derive(Debug)]
pub(super) enum Fetched<T> {
    /// An answer.
    Answer(T),
    /// The connection was refused or broke, as it does when a server is killed.
    Lost,
    /// Nothing came for too long.
    Hung,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct WholeAnswer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// A request, which may be sent again as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpRequest<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
}

/// Sends a request and reads the whole answer.
pub(super) fn ask(server: SocketAddr, ask: HttpRequest<'_>) -> Fetched<WholeAnswer> {
    match send(server, ask) {
        Ok(response) => read_answer(response),
        Err(error) => failed(&error),
    }
}

/// Opens a stream of events; any other answer is read whole.
pub(super) fn open(
    server: SocketAddr,
    ask: HttpRequest<'_>,
) -> Fetched<Result<Events, WholeAnswer>> {
    let response = match send(server, ask) {
        Ok(response) => response,
        Err(error) => return failed(&error),
    };
    if response.status() == 200 {
        return Fetched::Answer(Ok(Events {
            body: response.into_body().into_reader(),
            parser: Parser::default(),
            ready: VecDeque::new(),
        }));
    }
    match read_answer(response) {
        Fetched::Answer(answer) => Fetched::Answer(Err(answer)),
        Fetched::Lost => Fetched::Lost,
        Fetched::Hung => Fetched::Hung,
    }
}

/// An open stream.
pub(super) struct Events {
    body: BodyReader<'static>,
    parser: Parser,
    ready: VecDeque<SeenEvent>,
}

impl Events {
    /// The next event; an empty answer when only a comment came.
    ///
    /// [`Fetched::Lost`] also stands for the end of the stream.
    pub(super) fn next(&mut self) -> Fetched<Option<SeenEvent>> {
        const READ_BYTES: usize = 4096;
        if let Some(seen) = self.ready.pop_front() {
            return Fetched::Answer(Some(seen));
        }
        let mut buffer = [0; READ_BYTES];
        match self.body.read(&mut buffer) {
            Ok(0) => Fetched::Lost,
            Ok(read) => self.feed(&buffer[..read]),
            Err(error) if is_timeout(&error) => Fetched::Hung,
            Err(_) => Fetched::Lost,
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Fetched<Option<SeenEvent>> {
        let ready = &mut self.ready;
        let fed: Result<(), EventTooLong> = self.parser.feed(bytes, |event| {
            ready.push_back(seen(event));
            Ok(())
        });
        match fed {
            Ok(()) => Fetched::Answer(self.ready.pop_front()),
            Err(EventTooLong) => Fetched::Lost,
        }
    }
}

fn seen(event: SseEvent<'_>) -> SeenEvent {
    SeenEvent {
        id: String::from_utf8_lossy(event.id).into_owned(),
        name: String::from_utf8_lossy(event.name).into_owned(),
        // Data that is no JSON lacks every field, which the check tells.
        data: serde_json::from_slice(event.data).unwrap_or_default(),
    }
}

fn send(server: SocketAddr, ask: HttpRequest<'_>) -> Result<Response<Body>, ureq::Error> {
    let method = Method::from_bytes(ask.method.as_bytes()).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{server}{}", ask.path));
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let agent = agent();
    match ask.body {
        None => agent.run(request.body(())?),
        Some(json) => {
            let request = request.header("content-type", "application/json");
            agent.run(request.body(json.to_string())?)
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .accept_encoding("identity")
        .proxy(None)
        .timeout_connect(Some(DEADLINE))
        .timeout_per_read(Some(DEADLINE))
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .build()
        .new_agent()
}

fn read_answer(response: Response<Body>) -> Fetched<WholeAnswer> {
    let status = response.status().as_u16();
    match response.into_body().read_to_string() {
        Ok(text) => Fetched::Answer(WholeAnswer {
            status,
            body: serde_json::from_str(&text).unwrap_or_default(),
        }),
        Err(error) => failed(&error),
    }
}

fn failed<T>(error: &ureq::Error) -> Fetched<T> {
    match error {
        ureq::Error::Timeout(_) => Fetched::Hung,
        ureq::Error::Io(error) if is_timeout(error) => Fetched::Hung,
        _ => Fetched::Lost,
    }
}

/// A timeout inside a body arrives as an I/O error.
fn is_timeout(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(ureq::Error::Timeout(_)))
        || matches!(
            error.kind(),
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock
        )
}
