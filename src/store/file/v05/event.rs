//! What a line of 0.5's log says. Pure.
//!
//! Its exact shape is not written down anywhere, so each plausible one is understood: fields beside
//! the type or in an object of their own, a reply's calls in it or as events of their own, texts as
//! they are or in parts.

use serde_json::Value;

use crate::domain::event::{Decision, EndReason, OnDisconnect, Usage};
use crate::domain::time::Timestamp;
use crate::store::file::v05::fields::{self, Fields};

/// An event of 0.5.
#[derive(Debug, Clone)]
pub(super) struct OldEvent {
    /// Its number, where it has one; there may be gaps.
    pub(super) seq: Option<u64>,
    /// When it was written.
    pub(super) at: Option<Timestamp>,
    /// Its type, as our files write such words.
    pub(super) name: String,
    /// What happened.
    pub(super) deed: OldDeed,
    /// The line, where it may be kept as it is. Not taken apart, which takes many times the memory.
    pub(super) raw: Option<String>,
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum OldDeed {
    Start(Box<Beginning>),
    User(OldMessage),
    Reply(Draft),
    Call(OldCall),
    Result(OldResult),
    Asked {
        call: String,
        command: String,
    },
    Decided {
        call: String,
        decision: Decision,
        by: Option<String>,
    },
    Silent(OldMessage),
    Error {
        code: String,
        message: String,
    },
    End(EndReason),
    /// A message, a reply, a call or a result of which nothing can be made.
    Unread,
    /// A type without a place in our log.
    Other,
    /// A result that was told before its place.
    Told,
}

/// The first event.
#[derive(Debug, Clone, Default)]
pub(super) struct Beginning {
    pub(super) agent: Option<String>,
    pub(super) on_disconnect: Option<OnDisconnect>,
    pub(super) gateway: Option<String>,
    pub(super) gateway_chat_id: Option<String>,
}

/// What a person said.
#[derive(Debug, Clone, Default)]
pub(super) struct OldMessage {
    pub(super) content: String,
    pub(super) sender_id: Option<String>,
    pub(super) sender_name: Option<String>,
    pub(super) source_id: Option<String>,
}

/// What the model said, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) text: String,
    pub(super) calls: Vec<OldCall>,
    pub(super) usage: Option<Usage>,
    pub(super) model: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) is_cut: bool,
}

/// A tool that it asked for.
#[derive(Debug, Clone)]
pub(super) struct OldCall {
    /// As it was written; empty if it was not.
    pub(super) id: String,
    pub(super) tool: String,
    pub(super) arguments: String,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub(super) struct OldResult {
    pub(super) id: String,
    pub(super) tool: Option<String>,
    pub(super) success: bool,
    pub(super) content: String,
    pub(super) duration_ms: Option<u64>,
}

const NAME_KEYS: &[&str] = &["type", "event_type", "kind", "event", "t"];
const INNER_KEYS: &[&str] = &["payload", "data", "event", "event_data", "body", "c"];
pub(super) const TIME_KEYS: &[&str] = &["timestamp", "ts", "time", "at", "created_at"];
const AGENT_KEYS: &[&str] = &["agent", "agent_name", "agent_id"];
const CALL_KEYS: &[&str] = &["call_id", "tool_call_id", "tool_use_id", "id"];
const CONTENT_KEYS: &[&str] = &["content", "text", "message", "parts", "output"];
const TOOL_KEYS: &[&str] = &["tool_name", "name", "tool"];
/// More in one reply were made to keep us busy: each is compared with what follows.
pub(super) const CALLS_MAX: usize = 128;

/// Whether an event that begins a log is one of 0.5: ours say the format there.
pub(super) fn begins_older(object: Fields) -> bool {
    flat(object).is_some_and(|(name, fields)| {
        !(word(&name) == "session_start" && fields.get("format").is_some_and(Value::is_u64))
    })
}

impl OldEvent {
    /// Reads the object of a line, from 1; `None` if it does not say what kind of event it is.
    pub(super) fn of(line: u64, object: Fields, text: &[u8]) -> Option<OldEvent> {
        let (name, fields) = flat(object)?;
        let name = word(&name);
        let deed = deed(&name, &fields);
        // Texts can be long, and have their place already.
        let is_told = matches!(
            deed,
            OldDeed::User(_)
                | OldDeed::Reply(_)
                | OldDeed::Call(_)
                | OldDeed::Result(_)
                | OldDeed::Silent(_)
        );
        Some(OldEvent {
            seq: fields.get("seq").and_then(Value::as_u64).or(Some(line)),
            at: fields::time(&fields, TIME_KEYS),
            deed,
            raw: (!is_told).then(|| fields::text_of(text).into_owned()),
            name,
        })
    }

    /// A message of a state file's conversation.
    pub(super) fn of_message(message: &Fields, at: Option<Timestamp>) -> Option<OldEvent> {
        let role = fields::text(message, &["role"])?;
        let deed = match role.as_str() {
            "user" | "assistant" => of_role(&role, message),
            _ => return None,
        };
        Some(OldEvent {
            seq: None,
            at,
            name: role,
            deed,
            raw: None,
        })
    }

    /// Whether it is a part of the conversation.
    pub(super) fn is_talk(&self) -> bool {
        match &self.deed {
            OldDeed::User(_)
            | OldDeed::Reply(_)
            | OldDeed::Call(_)
            | OldDeed::Result(_)
            | OldDeed::Unread
            | OldDeed::Told => true,
            OldDeed::Start(_)
            | OldDeed::Asked { .. }
            | OldDeed::Decided { .. }
            | OldDeed::Silent(_)
            | OldDeed::Error { .. }
            | OldDeed::End(_)
            | OldDeed::Other => false,
        }
    }
}

/// The type of an event, and its fields out of whatever object they lie in.
pub(super) fn flat(mut object: Fields) -> Option<(String, Fields)> {
    let mut name = fields::text(&object, NAME_KEYS);
    if let Some(key) = place_of_fields(&object)
        && let Some(Value::Object(within)) = object.remove(key)
    {
        // `{"type":"event","payload":{"type":"user_message"}}`
        let inner = fields::text(&within, NAME_KEYS);
        let is_envelope = name.as_deref().is_some_and(|name| !is_known(&word(name)))
            && inner.as_deref().is_some_and(|inner| is_known(&word(inner)));
        name = if is_envelope { inner } else { name.or(inner) };
        spread(&mut object, within);
    }
    if name.is_none() {
        let key = key_as_type(&object)?;
        if let Some(Value::Object(within)) = object.remove(&key) {
            spread(&mut object, within);
        }
        name = Some(key);
    }
    Some((name?, object))
}

/// Under which key the fields of an event lie, where they have an object of their own.
fn place_of_fields(object: &Fields) -> Option<&'static str> {
    let found = INNER_KEYS
        .iter()
        .find(|key| object.get(**key).is_some_and(Value::is_object));
    // A text may be an object, too, and a result any.
    let is_place = || {
        let within = fields::inner(object, &["content"])?;
        let mut keys = CONTENT_KEYS.iter().chain(AGENT_KEYS).chain(CALL_KEYS);
        let has_type = fields::text(within, NAME_KEYS).is_some();
        (!has_type && keys.any(|key| within.contains_key(*key))).then_some("content")
    };
    found.copied().or_else(is_place)
}

/// The type of `{"user_message": {…}}` is the key: one that is known, or the only one with an object.
fn key_as_type(object: &Fields) -> Option<String> {
    let mut keys = object.iter().filter(|(_, value)| value.is_object());
    let known = keys.clone().find(|(key, _)| is_known(&word(key)));
    let only = || keys.next().filter(|_| keys.next().is_none());
    known.or_else(only).map(|(key, _)| key.clone())
}

/// Lays the fields of an inner object beside those around it, whose number and time stand.
fn spread(object: &mut Fields, within: Fields) {
    for (key, value) in within {
        let is_heads = key == "seq" || TIME_KEYS.contains(&key.as_str()) || key == "type";
        if !(is_heads && object.contains_key(&key)) {
            object.insert(key, value);
        }
    }
}

/// A type's name as our files write it: `UserMessage` is `user_message`. Of a long one the beginning.
fn word(name: &str) -> String {
    const CHARS_MAX: usize = 48;
    let mut word = String::new();
    let mut is_after_small = false;
    for c in name.chars().take(CHARS_MAX) {
        match c {
            'A'..='Z' if is_after_small => word.extend(['_', c.to_ascii_lowercase()]),
            'A'..='Z' => word.push(c.to_ascii_lowercase()),
            'a'..='z' | '0'..='9' | '_' => word.push(c),
            _ => word.push('_'),
        }
        is_after_small = c.is_ascii_lowercase();
    }
    word
}

fn is_known(word: &str) -> bool {
    !matches!(deed(word, &Fields::new()), OldDeed::Other)
}

fn deed(name: &str, fields: &Fields) -> OldDeed {
    match name {
        "session_start" | "session_started" | "session_created" => {
            OldDeed::Start(Box::new(beginning(fields)))
        }
        "user_message" | "user" | "user_input" => of_role("user", fields),
        "assistant_message" | "assistant_response" | "assistant" | "agent_message"
        | "agent_response" => of_role("assistant", fields),
        "message" => {
            let within = fields::inner(fields, &["message"]);
            let role = fields::text(fields, &["role"]);
            let role = role.or_else(|| fields::text(within?, &["role"]));
            of_role(role.as_deref().unwrap_or_default(), fields)
        }
        "tool_call" | "tool_use" | "tool_called" => {
            call(fields).map_or(OldDeed::Unread, OldDeed::Call)
        }
        "tool_result" | "tool_output" | "tool_response" => {
            result(fields).map_or(OldDeed::Unread, OldDeed::Result)
        }
        "approval_required" | "approval_requested" | "approval_request" => OldDeed::Asked {
            call: fields::text(fields, CALL_KEYS).unwrap_or_default(),
            command: fields::text(fields, &["command", "tool_name", "tool"]).unwrap_or_default(),
        },
        "approval_decision" | "approval_decided" | "approval_response" => decided(fields),
        "silent_message" => said(fields).map_or(OldDeed::Unread, OldDeed::Silent),
        "error" => OldDeed::Error {
            code: fields::text(fields, &["code"]).unwrap_or_else(|| "error".to_owned()),
            message: fields::text(fields, &["message", "error", "content", "reason"])
                .unwrap_or_default(),
        },
        "session_end" | "session_ended" | "session_closed" => OldDeed::End(end_reason(fields)),
        _ => OldDeed::Other,
    }
}

fn of_role(role: &str, fields: &Fields) -> OldDeed {
    match role {
        "user" => said(fields).map_or(OldDeed::Unread, OldDeed::User),
        "assistant" => draft(fields).map_or(OldDeed::Unread, OldDeed::Reply),
        "tool" => result(fields).map_or(OldDeed::Unread, OldDeed::Result),
        _ => OldDeed::Other,
    }
}

fn beginning(fields: &Fields) -> Beginning {
    let config = fields::inner(fields, &["config"]).unwrap_or(fields);
    let find = |keys: &[&str]| fields::text(fields, keys).or_else(|| fields::text(config, keys));
    Beginning {
        agent: agent(fields).or_else(|| agent(config)),
        on_disconnect: find(&["on_disconnect"]).as_deref().and_then(on_disconnect),
        gateway: find(&["gateway"]).map(fields::short),
        gateway_chat_id: find(&["gateway_chat_id", "chat_id"]).map(fields::short),
    }
}

/// The agent's name, also out of an object about it.
pub(super) fn agent(fields: &Fields) -> Option<String> {
    let within = || fields::text(fields::inner(fields, &["agent"])?, &["name", "id"]);
    fields::text(fields, AGENT_KEYS)
        .or_else(within)
        .map(fields::short)
}

/// What a session does when its last client leaves.
pub(super) fn on_disconnect(text: &str) -> Option<OnDisconnect> {
    match text.to_ascii_lowercase().as_str() {
        "pause" => Some(OnDisconnect::Pause),
        "continue" => Some(OnDisconnect::Continue),
        _ => None,
    }
}

fn said(fields: &Fields) -> Option<OldMessage> {
    let (content, _) = spoken(fields::any(fields, CONTENT_KEYS)?)?;
    let sender = fields::inner(fields, &["sender", "user", "from"]);
    let of_sender = |keys: &[&str]| fields::text(sender?, keys);
    Some(OldMessage {
        content,
        sender_id: fields::text(fields, &["sender_id", "user_id"])
            .or_else(|| of_sender(&["id", "sender_id"])),
        sender_name: fields::text(fields, &["sender_name", "user_name", "username"])
            .or_else(|| of_sender(&["name", "display_name", "username"])),
        source_id: fields::text(fields, &["source_id", "idempotency_key"]),
    })
}

fn draft(fields: &Fields) -> Option<Draft> {
    let within = fields::inner(fields, &["message"]).unwrap_or(fields);
    let listed = fields::any(fields, &["tool_calls", "calls"])
        .or_else(|| fields::any(within, &["tool_calls"]));
    let listed = listed.and_then(Value::as_array);
    let words = fields::any(fields, CONTENT_KEYS).map(spoken);
    if words.is_none() && listed.is_none() {
        // With calls as events of their own, a reply may well have no text.
        let is_empty = CONTENT_KEYS.iter().any(|key| fields.contains_key(*key));
        return is_empty.then(Draft::default);
    }
    let (text, mut calls) = match words {
        Some(words) => words.or_else(|| listed.map(|_| Default::default()))?,
        None => Default::default(),
    };
    let objects = listed.into_iter().flatten().filter_map(Value::as_object);
    calls.extend(objects.filter_map(call));
    if calls.len() > CALLS_MAX {
        return None;
    }
    let finish = fields::text(fields, &["finish_reason", "stop_reason"]).unwrap_or_default();
    Some(Draft {
        text,
        calls,
        usage: fields::usage(fields),
        model: fields::text(fields, &["model"]),
        agent: agent(fields),
        is_cut: matches!(finish.as_str(), "length" | "max_tokens"),
    })
}

/// A text, and the calls among its parts.
fn spoken(value: &Value) -> Option<(String, Vec<OldCall>)> {
    match value {
        Value::String(text) => Some((text.clone(), Vec::new())),
        Value::Array(parts) => Some(of_parts(parts)),
        Value::Object(fields) => spoken(fields::any(fields, CONTENT_KEYS)?),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn of_parts(parts: &[Value]) -> (String, Vec<OldCall>) {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for part in parts {
        let Value::Object(fields) = part else {
            texts.extend(part.as_str().map(str::to_owned));
            continue;
        };
        let kind = fields::text(fields, &["type"]).unwrap_or_default();
        match kind.as_str() {
            "tool_use" | "tool_call" => calls.extend(call(fields)),
            _ => match fields::any(fields, &["text", "content"]).and_then(Value::as_str) {
                Some(text) => texts.push(text.to_owned()),
                None => texts.push(format!("[{} left out]", word(&kind))),
            },
        }
    }
    (texts.join("\n"), calls)
}

fn call(fields: &Fields) -> Option<OldCall> {
    let within = &["function", "call", "tool_call", "tool"];
    let within = fields::inner(fields, within).unwrap_or(fields);
    let arguments = &["arguments", "args", "input", "parameters"];
    let arguments = fields::any(fields, arguments).or_else(|| fields::any(within, arguments));
    Some(OldCall {
        id: fields::text(fields, CALL_KEYS)
            .or_else(|| fields::text(within, CALL_KEYS))
            .unwrap_or_default(),
        tool: fields::text(fields, TOOL_KEYS).or_else(|| fields::text(within, TOOL_KEYS))?,
        arguments: match arguments {
            Some(Value::String(text)) if !text.trim().is_empty() => text.clone(),
            None | Some(Value::String(_) | Value::Null) => "{}".to_owned(),
            Some(value) => value.to_string(),
        },
    })
}

fn result(fields: &Fields) -> Option<OldResult> {
    let within = fields::inner(fields, &["result", "output", "message"]).unwrap_or(fields);
    let text = |keys: &[&str]| fields::text(fields, keys).or_else(|| fields::text(within, keys));
    let flag = |keys: &[&str]| {
        let found = fields::any(within, keys).or_else(|| fields::any(fields, keys));
        found.and_then(Value::as_bool)
    };
    let failed = flag(&["is_error"]).unwrap_or(false);
    Some(OldResult {
        id: text(CALL_KEYS).unwrap_or_default(),
        tool: text(TOOL_KEYS)
            .or_else(|| fields::text(fields::inner(fields, &["tool"])?, TOOL_KEYS)),
        success: flag(&["success", "ok"]).unwrap_or(!failed),
        content: result_text(fields, within)?,
        duration_ms: fields::any(fields, &["duration_ms"]).and_then(Value::as_u64),
    })
}

/// What a result says; one without a text is shown as it is.
fn result_text(fields: &Fields, within: &Fields) -> Option<String> {
    if let Some(text) = fields::any(fields, &["result"]).and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let content = fields::any(within, &["content", "output", "text", "error", "result"])
        .or_else(|| fields::any(fields, &["content", "error", "output", "result"]))?;
    Some(spoken(content).map_or_else(|| content.to_string(), |(text, _)| text))
}

fn decided(fields: &Fields) -> OldDeed {
    let word = match fields::any(fields, &["decision", "approved", "outcome", "status"]) {
        Some(Value::Bool(true)) => "allow".to_owned(),
        Some(Value::String(text)) => self::word(text),
        _ => String::new(),
    };
    let decision = match word.as_str() {
        "allow_always" | "always" | "approve_always" => Decision::AllowAlways,
        "allow_once" | "allow" | "allowed" | "approve" | "approved" | "yes" | "once" => {
            Decision::AllowOnce
        }
        _ => Decision::Deny,
    };
    OldDeed::Decided {
        call: fields::text(fields, CALL_KEYS).unwrap_or_default(),
        decision,
        by: fields::text(fields, &["by", "decided_by", "sender_id"]),
    }
}

fn end_reason(fields: &Fields) -> EndReason {
    match fields::text(fields, &["reason", "status"])
        .map(|text| word(&text))
        .as_deref()
    {
        Some("terminated" | "cancelled" | "deleted") => EndReason::Terminated,
        Some("timeout" | "expired") => EndReason::Timeout,
        Some("error" | "failed") => EndReason::Error,
        _ => EndReason::Completed,
    }
}
