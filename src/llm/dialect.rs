//! What the providers' dialects have in common: an answer is decoded event by event.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::sse::EventTooLong;
use crate::base::text;
use crate::domain::code::NoticeCode;
use crate::domain::event::{FinishReason, Usage};
use crate::domain::quirks::Quirks;
use crate::domain::spec::{ModelChoice, Provider};
use crate::llm::mend::Mending;
use crate::llm::{LlmError, RawToolCall, Sink};

/// Who is asked: what a dialect has to know beside the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedModel<'a> {
    /// The model, and how its agent wants it asked.
    pub(super) choice: &'a ModelChoice,
    /// The same as `provider/name`: whose data may be sent back.
    pub(super) label: &'a str,
    /// What that provider is known to want.
    pub(super) quirks: &'a Quirks,
    /// What it refused before.
    pub(super) mendings: &'a [Mending],
}

/// What asks to go on with a reply that broke off, where it cannot just stand at the end.
pub(super) const GO_ON: &str =
    "Your last message broke off. Go on exactly where it ends; repeat nothing of it.";

impl AskedModel<'_> {
    /// The reply is asked for piece by piece.
    pub(super) fn streams(&self) -> bool {
        self.quirks.streams && self.choice.settings.stream != Some(false)
    }

    /// The options that are left out, though the agent sets them.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &'static str> {
        let refused = self.quirks.refused.iter().copied();
        refused.chain(self.mendings.iter().filter_map(|one| one.left_out()))
    }
}

/// Turns the events of one answer into deltas and a reply. Pure.
pub(super) trait Decoder {
    /// Takes the data of the next event and hands its text to `sink`. `name` is the event's own, and empty where
    /// it has none: lines of ndjson are events, and so is an answer that comes as one document, which its shape
    /// tells apart.
    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault>;

    /// What is kept of the answer so far beside its text, roughly.
    fn kept_bytes(&self) -> usize;

    /// Whether the answer has said that it is over; events after that are not looked at.
    fn is_done(&self) -> bool;

    /// The answer, at the end of the body.
    ///
    /// Errors: [`AnswerFault::Truncated`] when it ended before its end.
    fn finish(&mut self) -> Result<DecodedReply, AnswerFault>;
}

/// A whole answer, its text aside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DecodedReply {
    pub(super) tool_calls: Vec<RawToolCall>,
    pub(super) usage: Option<Usage>,
    pub(super) finish_reason: FinishReason,
    pub(super) provider_data: Option<Value>,
    /// Calls, by their place in `tool_calls`, that were not whole when the reply ended: they must not run.
    pub(super) cut_calls: Vec<usize>,
    /// What a reader should know of it.
    pub(super) remarks: Vec<(NoticeCode, String)>,
}

impl DecodedReply {
    /// What is left beside the text of one that was too long. No call of it runs, as the last may be
    /// half of one; nor would half of its thinking be taken back.
    pub(super) fn cut() -> DecodedReply {
        DecodedReply {
            tool_calls: Vec::new(),
            usage: None,
            finish_reason: FinishReason::Length,
            provider_data: None,
            cut_calls: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

/// A flaw of an answer, whoever it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AnswerFault {
    /// The provider reported an error; `status` is the HTTP status that it stands for.
    Reported {
        status: Option<u16>,
        message: String,
    },
    /// It ended before its end.
    Truncated,
    /// It came to its end, and there was nothing in it; perhaps some words that say why.
    Empty(String),
    /// It is not what the interface promises.
    Malformed(String),
}

impl AnswerFault {
    /// The same with the provider's name. `begun` says whether a part of the answer was handed
    /// over: until then a reported error is as good as a status.
    pub(super) fn named(self, provider: &Provider, begun: bool) -> LlmError {
        let provider = provider.clone();
        match self {
            AnswerFault::Reported {
                status: Some(status),
                message,
            } if !begun => LlmError::Status {
                provider,
                status,
                message,
                retry_after: None,
                should_retry: None,
                hint: None,
            },
            AnswerFault::Reported { status, message } => LlmError::MidStream {
                provider,
                status,
                message,
            },
            AnswerFault::Truncated => LlmError::Truncated { provider },
            AnswerFault::Empty(words) => LlmError::MidStream {
                status: None,
                provider,
                message: match words.as_str() {
                    "" => "there was nothing in it".to_owned(),
                    words => format!("there was nothing in it but {words}"),
                },
            },
            AnswerFault::Malformed(message) => LlmError::Malformed { provider, message },
        }
    }
}

impl From<EventTooLong> for AnswerFault {
    fn from(_: EventTooLong) -> AnswerFault {
        AnswerFault::Malformed("an event of more than 8 MiB".into())
    }
}

impl From<serde_json::Error> for AnswerFault {
    fn from(error: serde_json::Error) -> AnswerFault {
        AnswerFault::Malformed(error.to_string())
    }
}

/// No answer has so many calls, or blocks of another kind: one with more sends without end.
pub(super) const PARTS_MAX: usize = 1_000;

/// Errors: there are more `parts` of a kind than any answer has.
pub(super) fn bounded(parts: usize) -> Result<(), AnswerFault> {
    match parts {
        0..=PARTS_MAX => Ok(()),
        _ => Err(AnswerFault::Malformed(format!(
            "an answer of more than {PARTS_MAX} calls or blocks"
        ))),
    }
}

/// The memory that a document takes, roughly: far more than its text, where that is all brackets.
pub(super) fn memory_of(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(memory_of).sum(),
        Value::Object(members) => memory_of_members(members),
    };
    size_of::<Value>() + inside
}

/// The same of an object's members.
pub(super) fn memory_of_members(members: &Map<String, Value>) -> usize {
    let member =
        |(name, value): (&String, &Value)| size_of::<String>() + name.len() + memory_of(value);
    members.iter().map(member).sum()
}

/// Reads an event of a stream; `None` for one that says nothing.
///
/// Errors: one that says what went wrong; half an object, as something of the answer is lost with it.
pub(super) fn event_in<'a, T: Deserialize<'a>>(
    name: &[u8],
    data: &'a [u8],
) -> Result<Option<T>, AnswerFault> {
    let data = data.trim_ascii();
    let whole = || serde_json::from_slice::<Value>(data);
    match data.first() {
        _ if name == b"error" => Err(match whole() {
            Ok(document) => fault_in(&document).unwrap_or_else(|| reported(&document)),
            Err(_) => AnswerFault::Reported {
                status: None,
                message: String::from_utf8_lossy(data).into_owned(),
            },
        }),
        Some(b'{') => Ok(Some(serde_json::from_slice(data)?)),
        Some(b'[') => whole()
            .ok()
            .and_then(|list| fault_in(&list))
            .map_or(Ok(None), Err),
        _ => Ok(None),
    }
}

/// What a document says that went wrong, in whatever shape, if it says so.
pub(super) fn fault_in(document: &Value) -> Option<AnswerFault> {
    if let Value::Array(list) = document {
        return fault_in(list.first().filter(|first| first.is_object())?);
    }
    let inner = [document.get("error"), document.pointer("/x_groq/error")];
    if let Some(error) = inner
        .into_iter()
        .flatten()
        .find(|error| says_something(error))
    {
        // `true` stands beside the words.
        return Some(reported(if error.is_boolean() { document } else { error }));
    }
    let is_named = ["object", "type", "status"]
        .iter()
        .any(|key| document[*key] == "error");
    let is_told = ["detail", "errors"]
        .iter()
        .any(|key| document.get(*key).is_some_and(says_something));
    let is_failure =
        is_named || is_told || error_text(document).is_some() && status_in(document).is_some();
    is_failure.then(|| reported(document))
}

/// It is more than a place for an error.
pub(super) fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64().is_none_or(|number| number > 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// An error in the provider's words, and the status that it stands for.
pub(super) fn reported(error: &Value) -> AnswerFault {
    let text = error_text(error).unwrap_or_else(|| error.to_string());
    let kind = error["type"]
        .as_str()
        .filter(|kind| !matches!(*kind, "" | "error"));
    AnswerFault::Reported {
        status: status_in(error),
        message: match kind {
            Some(kind) => format!("{kind}: {text}"),
            None => text,
        },
    }
}

/// The status that an error stands for: a number in one of these places, or a word that all know.
fn status_in(error: &Value) -> Option<u16> {
    let told = ["code", "status_code", "status", "type"].map(|key| &error[key]);
    let number = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
        let number = u16::try_from(number).ok()?;
        (400..600).contains(&number).then_some(number)
    };
    let words = || told.iter().filter_map(|value| status_of(value.as_str()?));
    told.iter()
        .find_map(|value| number(value))
        .or_else(|| words().next())
}

fn status_of(word: &str) -> Option<u16> {
    Some(match word {
        "invalid_request_error" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" => 400,
        "authentication_error" | "UNAUTHENTICATED" | "invalid_api_key" => 401,
        "billing_error" => 402,
        "permission_error" | "PERMISSION_DENIED" => 403,
        "not_found_error" | "NOT_FOUND" => 404,
        "request_too_large" => 413,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "insufficient_quota"
        | "RESOURCE_EXHAUSTED" => 429,
        "api_error" | "server_error" | "internal_server_error" | "INTERNAL" => 500,
        "UNAVAILABLE" | "service_unavailable" => 503,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

/// The words of an error document, of any provider, with what OpenRouter passes on from behind it.
pub(super) fn error_text(document: &Value) -> Option<String> {
    let error = match document {
        Value::Array(list) => return error_text(list.first().filter(|one| !one.is_array())?),
        document => document
            .get("error")
            .filter(|error| says_something(error))
            .unwrap_or(document),
    };
    let error = if error.is_boolean() { document } else { error };
    let told = ["message", "detail", "msg", "errors"].map(|key| &error[key]);
    let message = std::iter::once(error)
        .chain(told)
        .find_map(|value| match value {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Array(list) => list
                .first()
                .filter(|one| !one.is_array())
                .and_then(error_text),
            Value::Object(_) if !std::ptr::eq(value, error) => error_text(value),
            _ => None,
        })?;
    // Servers that check a request field by field say which.
    let message = match &error["loc"] {
        Value::Array(path) if !path.is_empty() => {
            let path = path.iter().map(|step| match step {
                Value::String(name) => name.clone(),
                other => other.to_string(),
            });
            format!("{}: {message}", path.collect::<Vec<_>>().join("."))
        }
        _ => message,
    };
    // That it is too long some say by the code alone.
    let code = error["code"].as_str();
    let code = code.filter(|code| code.starts_with("context_") && !message.contains(code));
    let message = match code {
        Some(code) => format!("{code}: {message}"),
        None => message,
    };
    // llama.cpp's place for what the model takes.
    let message = match error["n_ctx"].as_u64() {
        Some(tokens) => format!("{message} (n_ctx: {tokens})"),
        None => message,
    };
    match error.pointer("/metadata/raw").and_then(Value::as_str) {
        Some(raw) => Some(format!("{message}: {raw}")),
        None => Some(message),
    }
}

/// What a reader is told of a reply that ended as `word` says, if that is not the usual end.
///
/// `says_nothing`: neither text nor a call came of it. `has_reasoning`: but thoughts.
pub(super) fn remark_on(
    word: &str,
    says_nothing: bool,
    has_reasoning: bool,
) -> Option<(NoticeCode, String)> {
    let ended = match word {
        "" => String::new(),
        word => format!(" (`{}`)", text::start(word, 64)),
    };
    Some(match word.to_ascii_lowercase().as_str() {
        "content_filter" | "safety" | "prohibited_content" | "blocklist" | "recitation"
        | "spii" | "sensitive" | "image_safety" => (
            NoticeCode::Filtered,
            format!("the provider's filter ended the reply{ended}"),
        ),
        "refusal" => (
            NoticeCode::Refused,
            format!("the model refused to answer{ended}"),
        ),
        "malformed_function_call" | "malformed_tool_call" => (
            NoticeCode::MalformedCall,
            format!("the model called a tool in a form that its provider cannot read{ended}"),
        ),
        _ if !says_nothing => return None,
        word if is_length(word) && has_reasoning => (
            NoticeCode::EmptyReply,
            format!(
                "the model spent its limit of tokens on reasoning and has said nothing{ended}: `max_output_tokens` may be higher, or its effort lower"
            ),
        ),
        _ if has_reasoning => (
            NoticeCode::EmptyReply,
            format!("the model has thought and said nothing{ended}"),
        ),
        _ => (
            NoticeCode::EmptyReply,
            format!("the model has said nothing{ended}"),
        ),
    })
}

/// A reply ended for that reason has reached a limit.
pub(super) fn is_length(word: &str) -> bool {
    matches!(
        word,
        "length"
            | "max_tokens"
            | "MAX_TOKENS"
            | "max_output_tokens"
            | "model_length"
            | CONTEXT_EXCEEDED
    )
}

/// The end of a reply for which the window had no room.
pub(super) const CONTEXT_EXCEEDED: &str = "model_context_window_exceeded";

/// The calls, by their place, that a reply which reached its limit has left unfinished.
pub(super) fn cut_calls(calls: &[RawToolCall]) -> Vec<usize> {
    let is_object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).is_ok();
    // Of a last call without arguments nobody knows whether they were to come.
    let is_cut = |(at, call): (usize, &RawToolCall)| {
        let is_last = at + 1 == calls.len();
        !is_object(&call.arguments) || is_last && call.arguments == "{}"
    };
    let places = calls.iter().enumerate().filter(|one| is_cut(*one));
    places.map(|(at, _)| at).collect()
}

/// A tool's name as every provider takes it back: a model may have called one that cannot exist.
pub(super) fn legal_tool_name(name: &str) -> Cow<'_, str> {
    const BYTES_MAX: usize = 64;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= BYTES_MAX && name.chars().all(legal) {
        return Cow::Borrowed(name);
    }
    let name: String = name
        .chars()
        .take(BYTES_MAX)
        .map(|c| if legal(c) { c } else { '_' })
        .collect();
    if name.is_empty() {
        return Cow::Borrowed("unknown");
    }
    Cow::Owned(name)
}

/// A call's arguments as an object, which strict providers insist on; a model may have written
/// anything, and is shown what it wrote.
pub(super) fn arguments_object(text: &str) -> Map<String, Value> {
    let other = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => return object,
        Ok(Value::Null) => return Map::new(),
        Ok(other) => other,
        Err(_) if text.trim().is_empty() => return Map::new(),
        Err(_) => Value::String(text.to_owned()),
    };
    let mut object = Map::new();
    object.insert("arguments".to_owned(), other);
    object
}

#[cfg(test)]
pub(super) mod testing;
