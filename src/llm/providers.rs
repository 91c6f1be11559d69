//! A model that is asked again and elsewhere, where its provider fails.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::base::text;
use crate::base::timer::TimerHandle;
use crate::domain::code::NoticeCode;
use crate::domain::event::FinishReason;
use crate::domain::message::Message;
use crate::domain::providers::Dialect;
use crate::domain::quirks::Quirks;
use crate::domain::secret::{Secret, is_secret_field};
use crate::domain::spec::{ModelChoice, ModelSpec, Provider};
use crate::llm::call::{Post, is_over};
use crate::llm::canceller::Canceller;
use crate::llm::connections::Connections;
use crate::llm::dialect::{AskedModel, DecodedReply, Decoder};
use crate::llm::handover::Handover;
use crate::llm::mend::{self, AskedAt, Learned, MENDINGS_MAX, Mending};
use crate::llm::ollama::{ModelCard, ShowDecoder};
use crate::llm::retry::AfterFailure;
use crate::llm::servers::Servers;
use crate::llm::settings::Destination;
use crate::llm::{
    Cancel, LlmError, Model, ModelReply, Models, OnOverflow, Request, Sink, ToolChoice, anthropic,
    echo, fitting, images, ollama, openai, overflow, responses, retry, tool_text,
};

pub use crate::llm::settings::ProviderSettings;

/// Of names that a model made up so much is told.
const TOLD_BYTES_MAX: usize = 200;

/// All providers, as the process was started with them.
#[derive(Debug, Clone)]
pub struct Providers {
    settings: Arc<ProviderSettings>,
    connections: Arc<Connections>,
    servers: Arc<Servers>,
    learned: Arc<Learned>,
}

impl Providers {
    /// From `settings`, which never change.
    pub fn new(settings: ProviderSettings) -> Providers {
        Providers {
            connections: Arc::new(Connections::new(settings.idle_timeout)),
            settings: Arc::new(settings),
            servers: Arc::default(),
            learned: Arc::default(),
        }
    }
}

impl Models for Providers {
    fn model(&self, spec: &ModelSpec) -> Box<dyn Model> {
        Box::new(ModelWithFallbacks {
            spec: Arc::new(spec.clone()),
            settings: Arc::clone(&self.settings),
            connections: Arc::clone(&self.connections),
            servers: Arc::clone(&self.servers),
            learned: Arc::clone(&self.learned),
            mendings: HashMap::new(),
            canceller: Arc::new(Canceller::new()),
            has_told_of_cut: false,
        })
    }

    fn window(&self, choice: &ModelChoice) -> Option<u64> {
        told_window(&self.settings, &self.servers, choice)
    }

    fn set_timer(&self, timer: &TimerHandle) {
        self.connections.set_timer(timer);
    }
}

/// What the model takes, as its provider has said.
fn told_window(
    settings: &ProviderSettings,
    servers: &Servers,
    choice: &ModelChoice,
) -> Option<u64> {
    let destination = settings.destination(choice).ok()?;
    servers.window(&place_of(choice, &destination))
}

/// What is learned of a model holds where it is asked so. What one agent sets, and the provider refuses or takes less
/// for, is nothing to another.
fn place_of(choice: &ModelChoice, destination: &Destination) -> AskedAt {
    // They show nothing of their values.
    let mut headers = DefaultHasher::new();
    let values = choice.settings.headers.values();
    values.for_each(|value| value.reveal().hash(&mut headers));
    let (settings, headers) = (&choice.settings, headers.finish());
    (
        destination.url.clone(),
        format!("{} {settings:?} {headers}", choice.name),
    )
}

/// A model and its fallbacks, for one turn.
#[derive(Debug)]
struct ModelWithFallbacks {
    spec: Arc<ModelSpec>,
    settings: Arc<ProviderSettings>,
    connections: Arc<Connections>,
    servers: Arc<Servers>,
    /// What was learned of all models, …
    learned: Arc<Learned>,
    /// … and how those of this turn are asked.
    mendings: HashMap<AskedAt, Vec<Mending>>,
    canceller: Arc<Canceller>,
    /// It was said in this turn that a server cuts what it is sent.
    has_told_of_cut: bool,
}

impl Model for ModelWithFallbacks {
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<ModelReply, LlmError> {
        let deadline = request.timeout.map(|timeout| Instant::now() + timeout);
        let mut sink = Handover::new(sink, request.reply_bytes);
        let spec = Arc::clone(&self.spec);
        let mut result = if request.on_overflow == OnOverflow::HasFallen {
            let provider = spec.main.provider.clone();
            let message = "nothing can be left out of it".to_owned();
            Err(LlmError::ContextOverflow { provider, message })
        } else {
            self.ask_patiently(&spec.main, request, deadline, &mut sink)
        };
        for choice in &spec.fallbacks {
            let may_fall_back = !sink.has_begun() && !is_over(deadline);
            let error = match result {
                Err(error)
                    if may_fall_back && retry::is_for_fallback(&error, request.on_overflow) =>
                {
                    error
                }
                result => return result,
            };
            let label = choice.label();
            let shorter = fitting::fitting(
                request,
                choice,
                told_window(&self.settings, &self.servers, choice),
            );
            let how = match &shorter {
                Some(shorter) => format!(
                    ", with the latest {} of {} messages",
                    shorter.messages.len(),
                    request.messages.len()
                ),
                None => String::new(),
            };
            let words = format!("{error}; asking {label} instead{how}");
            sink.notice(NoticeCode::Fallback, words);
            let request = shorter.as_ref().unwrap_or(request);
            result = self.ask_patiently(choice, request, deadline, &mut sink);
            if result.is_ok() || sink.has_begun() {
                sink.notice(NoticeCode::Fallback, format!("answered by {label}"));
            }
        }
        result
    }

    fn canceller(&self) -> Arc<dyn Cancel> {
        Arc::clone(&self.canceller) as Arc<dyn Cancel>
    }
}

impl ModelWithFallbacks {
    /// Asks one model, more than once if need be.
    fn ask_patiently(
        &mut self,
        choice: &ModelChoice,
        request: &Request,
        deadline: Option<Instant>,
        sink: &mut Handover<'_>,
    ) -> Result<ModelReply, LlmError> {
        let mut tries = 0;
        let mut first_failed = None;
        loop {
            let error = match self.ask(choice, request, deadline, sink) {
                Err(error) if !sink.has_begun() => error,
                result => return result,
            };
            tries += 1;
            let now = Instant::now();
            let since_first = now - *first_failed.get_or_insert(now);
            let left = deadline.map(|end| end.saturating_duration_since(now));
            let first = self.settings.first_retry_delay;
            let dice = fastrand::f64();
            let delay = match retry::after_failure(tries, since_first, &error, first, left, dice) {
                AfterFailure::Wait(delay) => delay,
                AfterFailure::GiveUp => return Err(error),
                AfterFailure::TooLong(asked) => {
                    let error = error.asking_for(asked);
                    // With a fallback the notice of that says it.
                    if self.spec.fallbacks.last().is_none_or(|last| last == choice) {
                        sink.notice(NoticeCode::Retry, format!("{error}; it is not asked again"));
                    }
                    return Err(error);
                }
            };
            let seconds = delay.as_secs_f64();
            let words = format!("{error}; trying again in {seconds:.1} s");
            sink.notice(NoticeCode::Retry, words);
            self.canceller.pause(delay)?;
        }
    }

    fn ask(
        &mut self,
        choice: &ModelChoice,
        request: &Request,
        deadline: Option<Instant>,
        sink: &mut Handover<'_>,
    ) -> Result<ModelReply, LlmError> {
        // What a failed try held went with it.
        sink.begin_try(false);
        if choice.provider == Provider::ECHO {
            return echo::call(choice, request, deadline, &self.canceller, sink);
        }
        let settings = Arc::clone(&self.settings);
        let servers = Arc::clone(&self.servers);
        let destination = settings.destination(choice)?;
        let key = settings.key(choice, &destination)?;
        let by_chat = settings.by_chat(choice, &destination);
        let by_responses = settings.by_responses(choice, &destination);
        let (url, name) = (&destination.url, &choice.name);
        let mut asked_at = |at: &Destination, sink: &mut Handover<'_>| {
            self.ask_as_taken(choice, request, deadline, at, key.sent(), sink)
        };
        let answer = match (by_chat, by_responses) {
            (Some(by_chat), _) if servers.lacks_responses(url, name) => asked_at(&by_chat, sink),
            (Some(by_chat), _) => match asked_at(&destination, sink) {
                Err(error) if error.is_unknown_path() => {
                    let answer = asked_at(&by_chat, sink);
                    // Else it may be the model that nobody knows there.
                    if answer.is_ok() {
                        servers.keep_lack_of_responses(url, name);
                    }
                    answer
                }
                answer => answer,
            },
            (None, None) => asked_at(&destination, sink),
            (None, Some(newer)) if servers.is_by_responses(url, name) => asked_at(&newer, sink),
            (None, Some(newer)) => {
                let refused = asked_at(&destination, sink);
                let mut asked_newer = |sink: &mut Handover<'_>| {
                    let answer = asked_at(&newer, sink);
                    if answer.is_ok() || sink.has_begun() {
                        servers.keep_by_responses(url, name);
                    }
                    answer
                };
                by_responses_if_told(refused, sink, &mut asked_newer)
            }
        };
        if let Err(LlmError::ContextOverflow { message, .. }) = &answer
            && let Some(tokens) = overflow::limit_in(message)
        {
            servers.keep_window(place_of(choice, &destination), tokens);
        }
        if matches!(answer, Err(LlmError::Cancelled)) {
            // What came is kept; what fails otherwise is asked for again.
            let held = sink.take_held();
            sink.release(&held)?;
        }
        let mut answer =
            answer.map_err(|error| settings.with_hint(error, choice, &destination, &key))?;
        let from_text = take_printed_calls(&mut answer, request, sink)?;
        for (code, words) in remarks_on(&answer, request, sink.has_begun()) {
            sink.notice(code, words);
        }
        Ok(ModelReply {
            model: choice.label(),
            tool_calls: answer.tool_calls,
            usage: answer.usage,
            finish_reason: answer.finish_reason,
            provider_data: answer.provider_data,
            is_cut: sink.is_over(),
            from_text,
            cut_calls: answer.cut_calls,
        })
    }

    /// Asks in the form that the provider takes: where it says what it refuses, once more without that.
    fn ask_as_taken(
        &mut self,
        choice: &ModelChoice,
        request: &Request,
        deadline: Option<Instant>,
        destination: &Destination,
        key: Option<&Secret>,
        sink: &mut Handover<'_>,
    ) -> Result<DecodedReply, LlmError> {
        let card = match destination.dialect {
            Dialect::Ollama => self.card(choice, destination, key, deadline, sink)?,
            Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic | Dialect::Echo => {
                ModelCard::default()
            }
        };
        let mut seeing = choice.clone();
        seeing.settings.input = seeing.settings.input.or_else(|| card.input());
        let place = place_of(choice, destination);
        let mendings = self.mendings.entry(place.clone());
        let mendings = mendings.or_insert_with(|| self.learned.of(&place));
        let known = mendings.len();
        let mut refused: Option<(usize, LlmError)> = None;
        loop {
            let mut quirks = choice.quirks(destination.is_own);
            mendings.iter().for_each(|one| quirks.mend(*one));
            let (body, mut decoder) = ask(&seeing, destination, request, &quirks, mendings, &card)?;
            let body_bytes = body.len();
            if let Some((bytes, error)) = refused.take() {
                let last = mendings.last().copied();
                // Each other mending makes it longer or shorter: this one changed nothing.
                if bytes == body_bytes && last != Some(Mending::NineLetters) {
                    mendings.pop();
                    return Err(error);
                }
                let how = last.map(|one| one.to_string()).unwrap_or_default();
                let words = format!("{error}; asking again {how}");
                sink.notice(NoticeCode::RequestAdjusted, words);
            }
            sink.begin_try(takes_printed_calls(choice, destination, request));
            let post = Post {
                body,
                deadline,
                is_whole: !quirks.streams || choice.settings.stream == Some(false),
                ..destination.post(choice, key)
            };
            let answer = self
                .connections
                .call(post, &mut *decoder, sink, &self.canceller);
            let error = match answer {
                Ok(answer) => {
                    if destination.dialect == Dialect::Ollama
                        && let Some(words) = ollama::cut_prompt(request, answer.usage)
                        && !std::mem::replace(&mut self.has_told_of_cut, true)
                    {
                        sink.notice(NoticeCode::PromptCut, words);
                    }
                    if !mendings.is_empty() {
                        self.learned.keep(&place, mendings);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let is_free = !sink.has_begun() && mendings.len() < known + MENDINGS_MAX;
            let mending = mend::mending(&error).filter(|one| is_free && !mendings.contains(one));
            let Some(mending) = mending else {
                return Err(error);
            };
            mendings.push(mending);
            refused = Some((body_bytes, error));
        }
    }

    /// What the server says of the model: nothing, if it does not answer that. Says once what it lacks.
    fn card(
        &self,
        choice: &ModelChoice,
        destination: &Destination,
        key: Option<&Secret>,
        deadline: Option<Instant>,
        sink: &mut Handover<'_>,
    ) -> Result<ModelCard, LlmError> {
        let (url, name) = (ollama::show_url(&destination.url), &choice.name);
        if let Some(card) = self.servers.card(&url, name) {
            return Ok(card);
        }
        let question = Post {
            url: &url,
            body: ollama::show_body(name),
            deadline,
            ..destination.post(choice, key)
        };
        let mut decoder = ShowDecoder::default();
        let answer = self
            .connections
            .call(question, &mut decoder, sink, &self.canceller);
        match (answer, decoder.card) {
            (Ok(_), Some(card)) => {
                if card.lacks("tools") {
                    let words = format!("{} calls no tools: it is told of none", choice.label());
                    sink.notice(NoticeCode::RequestAdjusted, words);
                }
                self.servers.keep_card(&url, name, Some(card.clone()));
                Ok(card)
            }
            // Nobody would answer the request itself either.
            (
                Err(
                    error @ (LlmError::Cancelled
                    | LlmError::Unreachable { .. }
                    | LlmError::Timeout { .. }
                    | LlmError::Sink(_)),
                ),
                _,
            ) => Err(error),
            (Ok(_) | Err(_), _) => {
                self.servers.keep_card(&url, name, None);
                Ok(ModelCard::default())
            }
        }
    }
}

/// The answer, or that of the newer interface, where a refusal says that the model is to be had there alone.
fn by_responses_if_told<T>(
    answer: Result<T, LlmError>,
    sink: &mut Handover<'_>,
    asked_newer: &mut dyn FnMut(&mut Handover<'_>) -> Result<T, LlmError>,
) -> Result<T, LlmError> {
    let error = match answer {
        Err(error) if !sink.has_begun() && mend::wants_responses(&error) => error,
        answer => return answer,
    };
    let words = format!("{error}; asking by /responses");
    sink.notice(NoticeCode::RequestAdjusted, words);
    match asked_newer(sink) {
        // Nobody knows it there either.
        Err(second) if second.is_unknown_path() => Err(error),
        answer => answer,
    }
}

/// What is sent in the dialect of `destination`, and what reads the answer.
///
/// Errors: [`LlmError::ContextOverflow`], where that is known beforehand.
pub(super) fn ask(
    choice: &ModelChoice,
    destination: &Destination,
    request: &Request,
    quirks: &Quirks,
    mendings: &[Mending],
    card: &ModelCard,
) -> Result<(Vec<u8>, Box<dyn Decoder>), LlmError> {
    let label = choice.label();
    let asked = AskedModel {
        choice,
        label: &label,
        quirks,
        mendings,
    };
    let too_long = |message| LlmError::ContextOverflow {
        provider: choice.provider.clone(),
        message,
    };
    Ok(match destination.dialect {
        Dialect::Anthropic => (
            json(request, &anthropic::MessagesBody::new(request, &asked)),
            Box::new(anthropic::MessagesDecoder::default()),
        ),
        Dialect::Responses => (
            json(request, &responses::ResponsesBody::new(request, &asked)),
            Box::new(responses::ResponsesDecoder::default()),
        ),
        Dialect::Ollama => {
            let body = ollama::OllamaBody::new(request, &asked, card).map_err(too_long)?;
            let decoder = ollama::OllamaDecoder::default();
            (json(request, &body), Box::new(decoder))
        }
        Dialect::OpenAi | Dialect::Echo => (
            json(request, &openai::ChatBody::new(request, &asked)),
            Box::new(openai::ChatDecoder::default()),
        ),
    })
}

/// Whether what the model prints is to be looked at.
fn takes_printed_calls(choice: &ModelChoice, destination: &Destination, request: &Request) -> bool {
    let usual = || choice.quirks(destination.is_own).prints_calls;
    let may_call = !request.tools.is_empty() && request.tool_choice == ToolChoice::Auto;
    // What goes on is half of a text.
    let may_call = may_call && !request.goes_on();
    may_call && choice.settings.tool_text.unwrap_or_else(usual)
}

/// Makes calls of a text that is nothing else; returns whether it was.
fn take_printed_calls(
    answer: &mut DecodedReply,
    request: &Request,
    sink: &mut Handover<'_>,
) -> Result<bool, LlmError> {
    let text = sink.take_held();
    let is_whole = answer.tool_calls.is_empty() && answer.finish_reason != FinishReason::Length;
    let calls = is_whole.then(|| tool_text::calls_unless_quoted(&text, request));
    let Some(calls) = calls.flatten().filter(|_| !sink.is_over()) else {
        sink.release(&text)?;
        return Ok(false);
    };
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    let words = format!(
        "the model printed its call of {} as text; it is taken as one",
        names.join(", ")
    );
    sink.notice(NoticeCode::ToolCallFromText, words);
    answer.tool_calls = calls;
    answer.finish_reason = FinishReason::ToolCalls;
    Ok(true)
}

/// What a reader should know of an answer: beside its own remarks why there is nothing to read, or why nothing is
/// done.
fn remarks_on(
    answer: &DecodedReply,
    request: &Request,
    has_text: bool,
) -> Vec<(NoticeCode, String)> {
    let mut remarks = answer.remarks.clone();
    let calls = &answer.tool_calls;
    let are_ignored = request.tool_choice == ToolChoice::None && !calls.is_empty();
    if are_ignored {
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        let names = names.join(", ");
        let names = text::start(&names, TOLD_BYTES_MAX);
        remarks.push((
            NoticeCode::CallsIgnored,
            format!("the model called {names} though it was told to answer in words: nothing runs"),
        ));
    }
    let is_empty = !has_text && (calls.is_empty() || are_ignored);
    // One that goes on may have been whole already.
    if is_empty && answer.remarks.is_empty() && !request.goes_on() {
        let why = match (answer.finish_reason, answer.usage) {
            (FinishReason::Length, _) => "all that it may say at once went into its thinking",
            (_, Some(usage)) if usage.reasoning_tokens > 0 => "it thought, and said nothing",
            (..) => "it ended its reply without a word",
        };
        remarks.push((
            NoticeCode::EmptyReply,
            format!("the model said nothing: {why}"),
        ));
    }
    remarks
}

/// The body of `request` as it is sent.
fn json(request: &Request, body: &impl Serialize) -> Vec<u8> {
    // Once, and hardly too much: a vector that grows holds a long conversation twice.
    let mut json = Vec::with_capacity(approximate_bytes(request));
    serde_json::to_writer(&mut json, body).expect("strings, numbers and JSON are JSON");
    json
}

/// About how long the body is: its texts, and what JSON needs around them.
fn approximate_bytes(request: &Request) -> usize {
    const FRAME: usize = 64;
    const HEAD: usize = 512;
    let texts = request.messages.iter().map(|message| match message {
        Message::User { text, attachments } => text.len() + images::approximate_bytes(attachments),
        Message::Assistant(reply) => reply.text.len(),
        Message::Tool { output, .. } => output.content.len(),
    });
    let texts: usize = texts.map(|bytes| bytes + bytes / 16 + FRAME).sum();
    HEAD + request.system.len() + texts
}

impl Destination {
    /// A request for a whole answer, without a body, as `choice` may make it there.
    pub(super) fn post<'a>(&'a self, choice: &'a ModelChoice, key: Option<&'a Secret>) -> Post<'a> {
        Post {
            provider: &choice.provider,
            url: &self.url,
            headers: headers(choice, self, key),
            key,
            hidden: hidden(choice, self, key),
            body: Vec::new(),
            proxy: self.proxy.as_ref(),
            roots: &self.roots,
            deadline: None,
            is_whole: true,
        }
    }
}

/// What no error shows of a request.
fn hidden<'a>(
    choice: &'a ModelChoice,
    destination: &'a Destination,
    key: Option<&'a Secret>,
) -> Vec<&'a Secret> {
    let headers = choice.settings.headers.iter();
    let headers = headers.filter(|(name, _)| is_secret_field(name));
    let headers = headers.map(|(_, value)| value);
    key.into_iter()
        .chain(&destination.hidden)
        .chain(headers)
        .collect()
}

/// The headers of a request: of one name the last counts, which the owner's file has.
fn headers(
    choice: &ModelChoice,
    destination: &Destination,
    key: Option<&Secret>,
) -> BTreeMap<String, String> {
    let known = choice.provider.known();
    let is_anthropic = destination.dialect == Dialect::Anthropic;
    let mut usual = Vec::new();
    if let Some(key) = key {
        let named = known.and_then(|known| known.key_header);
        let named = if is_anthropic {
            Some("x-api-key")
        } else {
            named
        };
        usual.push(match named {
            Some(name) => (name, key.reveal().to_owned()),
            None => ("authorization", format!("Bearer {}", key.reveal())),
        });
    }
    if is_anthropic {
        usual.push(("anthropic-version", "2023-06-01".to_owned()));
    }
    let told = known.into_iter().flat_map(|known| known.headers);
    usual.extend(told.map(|(name, text)| (*name, (*text).to_owned())));
    let usual = usual
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let agents = choice.settings.headers.iter();
    let owners = destination
        .headers
        .iter()
        .map(|(name, value)| (name, value));
    let said = agents.chain(owners);
    let said = said.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    usual.chain(said).collect()
}
