//! One cancellable request at a time, over a connection that may be used again.
//!
//! Invariants:
//! - after `cancel` every read returns, and whatever it returned counts as cancelled: a read
//!   that was shut down may look like a clean end;
//! - redirects are not followed, so that a key never leaves for another host.
//!
//! Elsewhere: what is said (`openai`, `anthropic`), trying again (`providers`, `retry`), who may use
//! a connection (`connections`).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant, SystemTime};

use ureq::config::Config;
use ureq::http::Response;
use ureq::{Agent, Body, BodyReader, Proxy};

use crate::base::thread;
use crate::base::tls::Roots;
use crate::domain::secret::Secret;
use crate::domain::spec::Provider;
use crate::llm::answer_body::AnswerBody;
use crate::llm::canceller::Canceller;
use crate::llm::dialect::{AnswerFault, DecodedReply, Decoder, error_text};
use crate::llm::error::{NO_WORDS, WHOLE_REPLY};
use crate::llm::handover::Handover;
use crate::llm::transport::{Haste, RESOLVE_MAX};
use crate::llm::{Cause, LlmError, transport, waits};

/// How much of an answer is read at once, to begin with: tokens come in dozens of bytes, and each of
/// a thousand streams has this buffer …
const READ_BYTES: usize = 512;
/// … and at most, once an answer has filled it: what a connection takes in.
const READ_BYTES_MAX: usize = INPUT_BYTES;
/// What a connection takes in at once, and so the longest head of an answer.
const INPUT_BYTES: usize = 8 << 10;
/// What a connection sends at once at least, and so the longest head of a request …
const OUTPUT_BYTES: usize = 4 << 10;
/// … and at most: for a long conversation, which takes more memory than this anyway.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// In how many pieces a request goes out rather than over a new connection.
const PIECES_MAX: usize = 4;
/// A stream that took so many reads may take many more; a short answer is over by then.
const LASTS_FROM: u32 = 3;
/// What is read of an error's body.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// What is passed on of a provider's words.
const WORDS_CHARS_MAX: usize = 500;
/// What is read of an answer to a GET.
const GOT_BYTES_MAX: u64 = 8 << 20;
/// How often something is read of an answer after its end, to use its connection again …
const REST_READS_MAX: usize = 4;
/// … and how long after the end: it has come by then, or costs more than a new connection.
const REST_TIME_MAX: Duration = Duration::from_millis(100);
/// Nothing can interrupt it, so it is short.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection to one provider, made by the first request over it.
pub(super) struct Connection {
    agent: Agent,
    haste: Haste,
    /// What it sends at once.
    output_bytes: usize,
    /// What follows the end of the last answer: a few bytes that must be read before the
    /// connection can be used again, and that the last reply did not wait for.
    rest: Option<AnswerRest>,
    /// Whether an answer was received, so that the agent may hold a connection that the
    /// provider has closed in the meantime.
    used: bool,
    /// Whether nothing of the last answer can be taken for one of the next.
    can_be_kept: bool,
}

struct AnswerRest {
    body: Box<BodyReader<'static>>,
    since: Instant,
}

/// A request, but for its connection.
pub(super) struct Post<'a> {
    pub(super) provider: &'a Provider,
    pub(super) url: &'a str,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) key: Option<&'a Secret>,
    /// What a provider may have quoted, and no error shows.
    pub(super) hidden: Vec<&'a Secret>,
    /// As long as the conversation: held until it is sent, and no longer.
    pub(super) body: Vec<u8>,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) roots: &'a Roots,
    pub(super) deadline: Option<Instant>,
    /// The answer is asked for as a whole: until it is made nothing comes.
    pub(super) is_whole: bool,
}

impl Post<'_> {
    /// What must be sent in few pieces: the body, and the head in one.
    pub(super) fn bytes(&self) -> usize {
        self.body.len().max(self.head_bytes())
    }

    /// About how long the head is.
    pub(super) fn head_bytes(&self) -> usize {
        const REST: usize = 512;
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.len() + 4);
        self.url.len() + headers.sum::<usize>() + REST
    }
}

impl Connection {
    /// One for a first request of `body_bytes`, which gives up when no byte comes for
    /// `idle_timeout`.
    pub(super) fn new(
        roots: &Roots,
        idle_timeout: Duration,
        body_bytes: usize,
        proxy: Option<&Proxy>,
    ) -> Connection {
        let haste = Haste::default();
        let output_bytes = body_bytes.next_power_of_two();
        let output_bytes = output_bytes.clamp(OUTPUT_BYTES, OUTPUT_BYTES_MAX);
        Connection {
            agent: transport::agent(
                config(idle_timeout, output_bytes, proxy.cloned()),
                roots.connector(),
                &haste,
            ),
            haste,
            output_bytes,
            rest: None,
            used: false,
            can_be_kept: false,
        }
    }

    /// A request of `bytes` needs a few pieces at most, and its head one.
    pub(super) fn fits(&self, bytes: usize, head_bytes: usize) -> bool {
        head_bytes <= self.output_bytes
            && bytes.min(OUTPUT_BYTES_MAX) <= self.output_bytes * PIECES_MAX
    }

    /// The next request may go over it.
    pub(super) fn can_be_kept(&self) -> bool {
        self.can_be_kept
    }

    /// Sends `post` and hands the text of its answer to `sink` as it comes.
    pub(super) fn call(
        &mut self,
        post: Post<'_>,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
        canceller: &Canceller,
    ) -> Result<DecodedReply, LlmError> {
        let hidden = post.hidden.clone();
        self.can_be_kept = false;
        canceller.aim(Some(self.agent.clone()));
        let result = self
            .exchange(post, decoder, sink, canceller)
            .map_err(|error| error.or_overflow(sink.has_begun()).presentable(&hidden));
        canceller.aim(None);
        if canceller.is_cancelled() {
            Err(LlmError::Cancelled)
        } else {
            result
        }
    }

    fn exchange(
        &mut self,
        post: Post<'_>,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
        canceller: &Canceller,
    ) -> Result<DecodedReply, LlmError> {
        let provider = post.provider;
        let mut source = self.ask(post, canceller)?;
        let mut body = AnswerBody::default();
        let read = read(provider, &mut source, &mut body, decoder, sink, canceller);
        let broken = match read {
            // Whether the answer was whole by then is for its decoder to say.
            Err(error @ (LlmError::Timeout { .. } | LlmError::Unreachable { .. })) => Some(error),
            read => read.map(|()| None)?,
        };
        if sink.is_over() {
            return Ok(DecodedReply::cut());
        }
        let reply = body.end(decoder, sink);
        sink.flush_new()?;
        let is_whole = broken.is_none();
        let reply = reply.map_err(|fault| match (fault, broken) {
            (AnswerFault::Truncated, Some(error)) => error,
            (fault, _) => fault.named(provider, sink.has_begun()),
        })?;
        if sink.is_over() {
            return Ok(DecodedReply::cut());
        }
        self.can_be_kept = is_whole;
        self.rest = (is_whole && decoder.is_done()).then(|| AnswerRest {
            body: source,
            since: Instant::now(),
        });
        Ok(reply)
    }

    /// Sends `post` and receives the head of its answer. Apart, so that a stream that lasts does
    /// not keep what this takes of the stack.
    #[inline(never)]
    fn ask(
        &mut self,
        post: Post<'_>,
        canceller: &Canceller,
    ) -> Result<Box<BodyReader<'static>>, LlmError> {
        if let Some(rest) = self.rest.take() {
            self.read_rest(rest);
        }
        let provider = post.provider;
        let response = self.send(&post, canceller)?;
        self.used = true;
        if !response.status().is_success() {
            let error = status_error(provider, response);
            self.can_be_kept = true;
            return Err(error);
        }
        // What its head says it is, is often wrong.
        Ok(Box::new(response.into_body().into_reader()))
    }

    /// Reads what the last answer left, as far as it is there, so that its connection can be used
    /// again. Whatever goes wrong costs the connection and nothing else.
    fn read_rest(&self, mut rest: AnswerRest) {
        let left = REST_TIME_MAX.saturating_sub(rest.since.elapsed());
        self.haste.set(Some(left));
        for _ in 0..REST_READS_MAX {
            match rest.body.read(&mut [0; READ_BYTES]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    log::debug!("a model's connection is not used again: {error}");
                    break;
                }
            }
        }
        // Before the next request: closes the connection, unless it has come to the end.
        drop(rest);
        self.haste.set(None);
    }

    fn send(&self, post: &Post<'_>, canceller: &Canceller) -> Result<Response<Body>, LlmError> {
        let result = self.send_once(post, canceller)?;
        // ureq leaves this to us. The provider has not begun to answer, so nothing is lost.
        let result = match result {
            Err(error) if self.used && is_closed(&error) && !canceller.is_cancelled() => {
                log::debug!("{} closed an idle connection", post.provider);
                self.send_once(post, canceller)?
            }
            result => result,
        };
        result.map_err(|error| connection_error(post.provider, error))
    }

    fn send_once(
        &self,
        post: &Post<'_>,
        canceller: &Canceller,
    ) -> Result<Result<Response<Body>, ureq::Error>, LlmError> {
        if canceller.is_cancelled() {
            return Err(LlmError::Cancelled);
        }
        let left = time_left(post.provider, post.deadline)?;
        let mut config = self.agent.post(post.url).config().timeout_global(left);
        if post.is_whole {
            config = config.timeout_per_read(left);
        }
        let accept = match post.is_whole {
            true => "application/json",
            false => "text/event-stream",
        };
        let mut request = config
            .build()
            .content_type("application/json")
            .header("accept", accept);
        for (name, value) in &post.headers {
            request = request.header(name, value);
        }
        Ok(request.send(&post.body[..]))
    }
}

/// Decodes an answer up to its end, as far as it says where that is.
fn read(
    provider: &Provider,
    source: &mut impl Read,
    body: &mut AnswerBody,
    decoder: &mut dyn Decoder,
    sink: &mut Handover<'_>,
    canceller: &Canceller,
) -> Result<(), LlmError> {
    let mut buffer = vec![0; READ_BYTES];
    let mut reads = 0;
    while !decoder.is_done() {
        let count = read_some(provider, source, &mut buffer)?;
        reads += 1;
        if reads == LASTS_FROM {
            // To ask took ten times the stack that this takes, for as long as it may last.
            thread::give_back_stack();
        }
        if canceller.is_cancelled() {
            return Err(LlmError::Cancelled);
        }
        if count == 0 {
            return Ok(());
        }
        let fed = body.feed(&buffer[..count], decoder, sink);
        // What came before a fault stands, and is stored with what is known of the fault.
        sink.flush_new()?;
        fed.map_err(|fault| fault.named(provider, sink.has_begun()))?;
        if sink.is_over() {
            return Ok(());
        }
        if count == buffer.len() && count < READ_BYTES_MAX {
            buffer.resize(2 * count, 0);
        }
    }
    Ok(())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl LlmError {
    /// The same, short and without what is `hidden`, which a provider may have quoted.
    fn presentable(mut self, hidden: &[&Secret]) -> LlmError {
        let words = match &mut self {
            LlmError::Status { message, .. }
            | LlmError::ContextOverflow { message, .. }
            | LlmError::MidStream { message, .. }
            | LlmError::Unreachable { message, .. }
            | LlmError::Malformed { message, .. } => message,
            LlmError::Cancelled
            | LlmError::MissingKey { .. }
            | LlmError::NoAddress { .. }
            | LlmError::Truncated { .. }
            | LlmError::Timeout { .. }
            | LlmError::Sink(_) => return self,
        };
        // In this order: half a key is a secret, too.
        for secret in hidden {
            *words = secret.hide_in(words);
        }
        if let Some((end, _)) = words.char_indices().nth(WORDS_CHARS_MAX) {
            words.truncate(end);
        }
        self
    }
}

/// The time until `deadline`; without one none is set.
///
/// Errors: [`LlmError::Timeout`] when it is over.
pub(super) fn time_left(
    provider: &Provider,
    deadline: Option<Instant>,
) -> Result<Option<Duration>, LlmError> {
    let Some(deadline) = deadline else {
        return Ok(None);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(LlmError::Timeout {
            provider: provider.clone(),
            what: WHOLE_REPLY,
        })
    } else {
        Ok(Some(left))
    }
}

/// `deadline` has passed; without one it never does.
pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// What a provider answers to a GET of `asked`, over a connection that nobody uses again.
pub(super) fn get(asked: &Post<'_>) -> Result<Vec<u8>, LlmError> {
    let answer = || {
        let left = time_left(asked.provider, asked.deadline)?;
        let config = config(CONNECT_MAX, OUTPUT_BYTES, asked.proxy.cloned());
        let agent = transport::agent(config, asked.roots.connector(), &Haste::default());
        let request = agent.get(asked.url).config().timeout_global(left).build();
        let mut request = request.header("accept", "application/json");
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        let response = request
            .call()
            .map_err(|error| connection_error(asked.provider, error))?;
        if !response.status().is_success() {
            return Err(status_error(asked.provider, response));
        }
        let body = response.into_body().into_with_config();
        let body = body.limit(GOT_BYTES_MAX).read_to_vec();
        body.map_err(|error| connection_error(asked.provider, error))
    };
    answer().map_err(|error| error.presentable(&asked.hidden))
}

fn config(idle_timeout: Duration, output_bytes: usize, proxy: Option<Proxy>) -> Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("duragent/", env!("CARGO_PKG_VERSION")))
        // A compressing proxy would hold tokens back.
        .accept_encoding("identity")
        .max_redirects(0)
        .proxy(proxy)
        .timeout_resolve(Some(RESOLVE_MAX))
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_per_read(Some(idle_timeout))
        .timeout_per_write(Some(idle_timeout))
        .input_buffer_size(INPUT_BYTES)
        .output_buffer_size(output_bytes)
        .max_response_header_size(INPUT_BYTES)
        .max_idle_connections(1)
        // Whoever keeps the connection says for how long.
        .max_idle_age(Duration::MAX)
        .build()
}

fn status_error(provider: &Provider, response: Response<Body>) -> LlmError {
    let status = response.status().as_u16();
    let (head, body) = response.into_parts();
    let body = error_body(body);
    LlmError::Status {
        provider: provider.clone(),
        status,
        retry_after: waits::asked_for(status, &head.headers, &body, SystemTime::now()),
        should_retry: waits::should_retry(&head.headers),
        message: words_of(&body),
        hint: None,
    }
}

/// What an error says.
fn error_body(body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = body
        .into_reader()
        .take(ERROR_BYTES_MAX)
        .read_to_end(&mut bytes)
    {
        log::debug!("an error's body broke off: {error}");
    }
    bytes
}

/// The words of an error, all of them: they are shortened once the key is out of them.
fn words_of(body: &[u8]) -> String {
    let words = serde_json::from_slice(body)
        .ok()
        .and_then(|document| error_text(&document));
    let text = words.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    if text.is_empty() {
        NO_WORDS.into()
    } else {
        text
    }
}

/// Whether the provider closed the connection, as it does with one that was idle for long.
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

/// Reads what is there. A connection that breaks is an end like any other: whether the answer
/// was whole by then is for its decoder to say.
fn read_some(
    provider: &Provider,
    body: &mut impl Read,
    buffer: &mut [u8],
) -> Result<usize, LlmError> {
    loop {
        let error = match body.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // ureq hides its own errors, such as a timeout, in those of the system.
            Err(error) => error.downcast().unwrap_or_else(ureq::Error::Io),
        };
        return if is_closed(&error) {
            Ok(0)
        } else {
            Err(connection_error(provider, error))
        };
    }
}

fn connection_error(provider: &Provider, error: ureq::Error) -> LlmError {
    use ureq::Timeout;
    let what = match &error {
        ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => "nothing came or went",
        ureq::Error::Timeout(Timeout::Global) => WHOLE_REPLY,
        ureq::Error::BodyExceedsLimit(_) => {
            return LlmError::Malformed {
                provider: provider.clone(),
                message: "an answer of more than 8 MiB".into(),
            };
        }
        _ => {
            return LlmError::Unreachable {
                provider: provider.clone(),
                message: match &error {
                    // Its words would show the address, in which a password may stand.
                    ureq::Error::BadUri(_) => "its address cannot be used".to_owned(),
                    error => error.to_string(),
                },
                cause: cause_of(&error),
                hint: None,
            };
        }
    };
    LlmError::Timeout {
        provider: provider.clone(),
        what,
    }
}

fn cause_of(error: &ureq::Error) -> Cause {
    match error {
        ureq::Error::HostNotFound | ureq::Error::Timeout(ureq::Timeout::Resolve) => Cause::NoHost,
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => Cause::Refused,
        ureq::Error::Io(error) if is_lookup_failure(error) => Cause::NoHost,
        _ => Cause::Other,
    }
}

/// Whether the system's resolver failed: the library has no kind of its own for that, only words.
fn is_lookup_failure(error: &io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address")
}
