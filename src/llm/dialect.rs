//! What the providers' dialects have in common: an answer is decoded event by event.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::base::sse::EventTooLong;
use crate::domain::code::NoticeCode;
use crate::domain::event::{FinishReason, Usage};
use crate::domain::spec::{ModelChoice, Provider};
use crate::llm::quirks::Quirks;
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
}

/// What asks to go on with a reply that broke off, where it cannot just stand at the end.
pub(super) const GO_ON: &str =
    "Your last message broke off. Go on exactly where it ends; repeat nothing of it.";

/// Turns the events of one answer into deltas and a reply. Pure.
pub(super) trait Decoder {
    /// Takes the data of the next event and hands its text to `sink`. `name` is the event's own, and empty where
    /// it has none.
    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault>;

    /// Takes an answer that came as one JSON document instead of a stream.
    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault>;

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
                hint: None,
            },
            AnswerFault::Reported { message, .. } => LlmError::MidStream { provider, message },
            AnswerFault::Truncated => LlmError::Truncated { provider },
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

/// A text that lies in the bytes it was read from, unless it has escapes.
///
/// Servers differ: a list of parts is the text of its parts, as some write an answer; an object
/// is its JSON, as some write a call's arguments; a number is its digits, as some write ids.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let mut text = String::new();
        while let Some(part) = parts.next_element::<Value>()? {
            text.push_str(part["text"].as_str().unwrap_or_default());
        }
        Ok(Cow::Owned(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let object = Map::deserialize(MapAccessDeserializer::new(map))?;
        let text = serde_json::to_string(&object).map_err(A::Error::custom)?;
        Ok(Cow::Owned(text))
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

/// The first of a list, if it has one: where there is never a second, a list of each token's is much.
#[derive(Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> First<T> {
        First(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First<T>, D::Error> {
        deserializer.deserialize_any(FirstVisitor(PhantomData))
    }
}

struct FirstVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FirstVisitor<T> {
    type Value = First<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<First<T>, E> {
        Ok(First(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T>, A::Error> {
        let first = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(first))
    }
}

/// The words of an error document, of any provider: `error.message`, with what OpenRouter passes
/// on from behind it.
pub(super) fn error_text(document: &Value) -> Option<String> {
    let error = document.get("error").unwrap_or(document);
    let message = error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .filter(|text| !text.is_empty())?;
    match error.pointer("/metadata/raw").and_then(Value::as_str) {
        Some(raw) => Some(format!("{message}: {raw}")),
        None => Some(message.to_owned()),
    }
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
