//! One cancellable request at a time, over a connection that is kept.
//!
//! Invariants:
//! - after `cancel` every read returns, and whatever it returned counts as cancelled: a read
//!   that was shut down may look like a clean end;
//! - redirects are not followed, so that a key never leaves for another host.
//!
//! Elsewhere: what is said (`openai`, `anthropic`), trying again (`providers`, `retry`).

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::Response;
use ureq::{Agent, Body, BodyReader, Proxy};

use crate::base::sse;
use crate::base::stop::{self, Stop, StopSource};
use crate::domain::secret::Secret;
use crate::llm::dialect::{Answer, Decoder, Fault, error_text, shortened};
use crate::llm::{Cancel, LlmError, Sink, retry};

/// How much is read at once, and the size of either buffer of a connection.
const BUFFER_BYTES: usize = 16 << 10;
/// What is read of an error's body.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// What is read of an answer that is not streamed.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
/// What is read of an answer after its end, to use its connection again.
const REST_BYTES_MAX: u64 = 64 << 10;
/// Nothing can interrupt these two, so they are short.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection to whoever is called next.
pub(super) struct Line {
    agent: Agent,
    canceller: Arc<Canceller>,
    /// What follows the end of the last answer: a few bytes that must be read before the
    /// connection can be used again, and that the last reply did not wait for.
    rest: Option<BodyReader<'static>>,
    /// Whether an answer was received, so that the agent may hold a connection that the
    /// provider has closed in the meantime.
    used: bool,
    /// Whether the provider ends its answers so that their connection can be used again.
    keeps_alive: bool,
    buffer: Box<[u8]>,
}

/// A request, but for its connection.
pub(super) struct Post<'a> {
    pub(super) provider: &'static str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) key: Option<&'a Secret>,
    pub(super) body: &'a str,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) deadline: Option<Instant>,
}

/// The sink of a call, which remembers whether it was given anything.
pub(super) struct Handover<'a> {
    sink: &'a mut dyn Sink,
    begun: bool,
    unflushed: bool,
}

/// Ends the calls of a [`Line`].
pub(super) struct Canceller {
    agent: Agent,
    source: Mutex<StopSource>,
    stop: Stop,
}

impl Line {
    /// A line that gives up when no byte comes for `idle_timeout`.
    pub(super) fn new(idle_timeout: Duration) -> Line {
        let agent = agent(idle_timeout);
        let (source, stop) = stop::pair();
        Line {
            canceller: Arc::new(Canceller {
                agent: agent.clone(),
                source: Mutex::new(source),
                stop,
            }),
            agent,
            rest: None,
            used: false,
            keeps_alive: true,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
        }
    }

    /// What ends the calls of this line.
    pub(super) fn canceller(&self) -> &Arc<Canceller> {
        &self.canceller
    }

    /// Sends `post` and hands the text of its answer to `sink` as it comes.
    pub(super) fn call(
        &mut self,
        post: &Post<'_>,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
    ) -> Result<Answer, LlmError> {
        let result = self
            .exchange(post, decoder, sink)
            .map_err(|error| error.without(post.key));
        match self.canceller.is_cancelled() {
            true => Err(LlmError::Cancelled),
            false => result,
        }
    }

    fn exchange(
        &mut self,
        post: &Post<'_>,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
    ) -> Result<Answer, LlmError> {
        self.free_connection();
        let response = self.send(post)?;
        if !response.status().is_success() {
            return Err(status_error(post.provider, response));
        }
        if response.body().mime_type() == Some("application/json") {
            return whole(post.provider, response, decoder, sink);
        }
        let mut body = response.into_body().into_reader();
        self.stream(post.provider, &mut body, decoder, sink)?;
        self.rest = self.keeps_alive.then_some(body);
        self.used = true;
        decoder
            .finish()
            .map_err(|fault| fault.named(post.provider, sink.begun))
    }

    /// Reads what the last answer left, so that its connection can be used again.
    fn free_connection(&mut self) {
        let Some(rest) = self.rest.take() else {
            return;
        };
        // Whatever goes wrong costs the connection and nothing else.
        if let Err(error) = io::copy(&mut rest.take(REST_BYTES_MAX), &mut io::sink()) {
            log::debug!("a model's connection is not used again: {error}");
            // It may have taken the idle limit to find out: once is enough.
            self.keeps_alive = false;
        }
    }

    fn send(&self, post: &Post<'_>) -> Result<Response<Body>, LlmError> {
        let result = self.send_once(post)?;
        // ureq leaves this to us. The provider has not begun to answer, so nothing is lost.
        let result = match result {
            Err(error) if self.used && is_closed(&error) && !self.canceller.is_cancelled() => {
                log::debug!("{} closed an idle connection", post.provider);
                self.send_once(post)?
            }
            result => result,
        };
        result.map_err(|error| connection_error(post.provider, error))
    }

    fn send_once(&self, post: &Post<'_>) -> Result<Result<Response<Body>, ureq::Error>, LlmError> {
        if self.canceller.is_cancelled() {
            return Err(LlmError::Cancelled);
        }
        let left = time_left(post.provider, post.deadline)?;
        let mut request = self
            .agent
            .post(post.url)
            .config()
            .proxy(post.proxy.cloned())
            .timeout_global(left)
            .build()
            .content_type("application/json")
            .header("accept", "text/event-stream");
        for (name, value) in post.headers {
            request = request.header(*name, value);
        }
        Ok(request.send(post.body))
    }

    /// Decodes a streamed answer up to its end, as far as it says where that is.
    fn stream(
        &mut self,
        provider: &'static str,
        body: &mut impl Read,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
    ) -> Result<(), LlmError> {
        let mut events = sse::Parser::default();
        while !decoder.is_done() {
            let count = match body.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.map_err(|error| body_error(provider, error))?,
            };
            if self.canceller.is_cancelled() {
                return Err(LlmError::Cancelled);
            }
            if count == 0 {
                return Ok(());
            }
            let fed = events.feed(&self.buffer[..count], |event| {
                if decoder.is_done() {
                    return Ok(());
                }
                decoder.event(event.data, sink)
            });
            // What came before a fault stands, and is stored with what is known of the fault.
            sink.flush_new()?;
            fed.map_err(|fault: Fault| fault.named(provider, sink.begun))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl<'a> Handover<'a> {
    /// Nothing was handed over yet.
    pub(super) fn new(sink: &'a mut dyn Sink) -> Handover<'a> {
        Handover {
            sink,
            begun: false,
            unflushed: false,
        }
    }

    /// Whether a part of the answer was handed over: then nothing can be tried again.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Ends a batch, unless nothing came in it.
    pub(super) fn flush_new(&mut self) -> Result<(), LlmError> {
        match std::mem::take(&mut self.unflushed) {
            true => self.sink.flush().map_err(LlmError::Sink),
            false => Ok(()),
        }
    }
}

impl Sink for Handover<'_> {
    fn text(&mut self, text: &str) {
        self.begun = true;
        self.unflushed = true;
        self.sink.text(text);
    }

    fn flush(&mut self) -> Result<(), String> {
        self.unflushed = false;
        self.sink.flush()
    }

    fn notice(&mut self, code: &'static str, message: String) {
        self.sink.notice(code, message);
    }
}

impl Canceller {
    /// Whether somebody cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Waits for `limit`, or until somebody cancels.
    pub(super) fn pause(&self, limit: Duration) -> Result<(), LlmError> {
        match self.stop.wait(limit) {
            true => Err(LlmError::Cancelled),
            false => Ok(()),
        }
    }
}

impl Cancel for Canceller {
    fn cancel(&self) {
        // The flag first: the read that wakes up looks at it.
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.stop();
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl LlmError {
    /// The same without `key`, which a provider may have quoted.
    fn without(mut self, key: Option<&Secret>) -> LlmError {
        let words = match &mut self {
            LlmError::Status { message, .. }
            | LlmError::MidStream { message, .. }
            | LlmError::Unreachable { message, .. }
            | LlmError::Malformed { message, .. } => message,
            LlmError::Cancelled
            | LlmError::MissingKey { .. }
            | LlmError::Truncated { .. }
            | LlmError::Timeout { .. }
            | LlmError::Sink(_) => return self,
        };
        if let Some(key) = key {
            *words = words.replace(key.reveal(), "[redacted]");
        }
        self
    }
}

/// What is left until `deadline`.
///
/// Errors: [`LlmError::Timeout`] when that is nothing.
pub(super) fn time_left(
    provider: &'static str,
    deadline: Option<Instant>,
) -> Result<Option<Duration>, LlmError> {
    let Some(deadline) = deadline else {
        return Ok(None);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(LlmError::Timeout {
            provider,
            what: WHOLE_REPLY,
        }),
        false => Ok(Some(left)),
    }
}

/// Whether `deadline` has passed.
pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

const WHOLE_REPLY: &str = "the whole reply";

fn agent(idle_timeout: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("duragent/", env!("CARGO_PKG_VERSION")))
        // A compressing proxy would hold tokens back.
        .accept_encoding("identity")
        .max_redirects(0)
        .proxy(None)
        .timeout_resolve(Some(RESOLVE_MAX))
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_per_read(Some(idle_timeout))
        .timeout_per_write(Some(idle_timeout))
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_response_header_size(BUFFER_BYTES)
        .max_idle_connections(2)
        .build()
        .new_agent()
}

fn whole(
    provider: &'static str,
    response: Response<Body>,
    decoder: &mut dyn Decoder,
    sink: &mut Handover<'_>,
) -> Result<Answer, LlmError> {
    let body = response
        .into_body()
        .into_with_config()
        .limit(WHOLE_BYTES_MAX)
        .read_to_vec()
        .map_err(|error| connection_error(provider, error))?;
    let decoded = decoder.whole(&body, sink);
    sink.flush_new()?;
    decoded
        .and_then(|()| decoder.finish())
        .map_err(|fault| fault.named(provider, sink.begun))
}

fn status_error(provider: &'static str, response: Response<Body>) -> LlmError {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry::parse_retry_after(value, SystemTime::now()));
    LlmError::Status {
        provider,
        status,
        message: error_body(response.into_body()),
        retry_after,
    }
}

/// The words of an error, or what came of them.
fn error_body(body: Body) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = body
        .into_reader()
        .take(ERROR_BYTES_MAX)
        .read_to_end(&mut bytes)
    {
        log::debug!("an error's body broke off: {error}");
    }
    let words = serde_json::from_slice(&bytes)
        .ok()
        .and_then(|document| error_text(&document));
    let text = words.unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned());
    match text.is_empty() {
        true => "no reason given".into(),
        false => shortened(&text).to_owned(),
    }
}

/// Whether the connection was closed, as a provider does with one that was idle for long.
fn is_closed(error: &ureq::Error) -> bool {
    let ureq::Error::Io(error) = error else {
        return false;
    };
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// ureq hides a timeout inside a body in an `io::Error`.
fn body_error(provider: &'static str, error: io::Error) -> LlmError {
    match error.downcast::<ureq::Error>() {
        Ok(ureq::Error::Io(error)) => broken_off(provider, &error),
        Ok(error) => connection_error(provider, error),
        Err(error) => broken_off(provider, &error),
    }
}

fn broken_off(provider: &'static str, error: &io::Error) -> LlmError {
    match error.kind() {
        ErrorKind::UnexpectedEof => LlmError::Truncated { provider },
        _ => LlmError::Unreachable {
            provider,
            message: error.to_string(),
        },
    }
}

fn connection_error(provider: &'static str, error: ureq::Error) -> LlmError {
    use ureq::Timeout;
    let what = match &error {
        ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => "nothing came or went",
        ureq::Error::Timeout(Timeout::Global) => WHOLE_REPLY,
        ureq::Error::BodyExceedsLimit(_) => {
            return LlmError::Malformed {
                provider,
                message: "an answer of more than 8 MiB".into(),
            };
        }
        error => {
            return LlmError::Unreachable {
                provider,
                message: error.to_string(),
            };
        }
    };
    LlmError::Timeout { provider, what }
}
