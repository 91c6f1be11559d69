//! Server-sent events: what a subscriber is shown, as bytes. Pure.
//!
//! Names of events and of their fields are the API (`docs/api.md`). JSON has no raw line breaks,
//! so the data of an event is one line, whatever text it holds.
//!
//! Source: WHATWG HTML, section "Server-sent events".

use std::io::Write as _;

use serde::Serialize;

use crate::domain::code::FailureCode;
use crate::engine::sessions::view::line_count;
use crate::engine::{FeedEvent, FeedItem};
use crate::http::wire::{MessageBody, SessionBody};

/// How long a client waits before it comes back, in milliseconds: a field of a stream's first event.
/// As a block of its own, some clients take it for an event without a name and without data.
const RETRY: &[u8] = b"retry: 1000\n";
/// Says that another client has sent this one away. It has no id: nothing of the session was shown.
pub const DETACHED: &[u8] = b"event: detached\ndata: {}\n\n";

/// What keeps a quiet stream alive through proxies. Without an empty line after it: that would end an
/// event, and some clients take it for one even where there was none.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n";

/// Which stream something is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `POST …/stream`: one message and the turn that answers it.
    Turn,
    /// `GET …/events`: everything.
    Session,
}

/// Appends an event, if it is for this audience.
pub fn push_event(out: &mut Vec<u8>, audience: Audience, item: &FeedItem) {
    if audience == Audience::Turn && !is_for_turn(&item.event) {
        return;
    }
    let name = name_of(&item.event);
    write!(out, "id: {}\nevent: {name}\ndata: ", item.id).expect(TAKES_ALL);
    push_data(out, &item.event);
    out.extend_from_slice(b"\n\n");
}

/// Appends the end of a stream whose turn waits, and goes on by itself. It has no id: nothing of the
/// session was shown.
pub fn push_turn_waits(out: &mut Vec<u8>, reason: &str) {
    out.extend_from_slice(b"event: error\ndata: ");
    let data = Object::new(out);
    data.field("message", reason)
        .field("code", FailureCode::TurnWaits.as_str())
        .end();
    out.extend_from_slice(b"\n\n");
}

/// Adds what the first event of a stream says beside, if `batch` begins with an event; whether it does.
/// A batch that begins with a comment has no event.
pub fn add_retry(batch: &mut Vec<u8>) -> bool {
    let has_event = batch.first().is_some_and(|byte| *byte != b':');
    if has_event {
        batch.splice(0..0, RETRY.iter().copied());
    }
    has_event
}

/// Appends a comment, which clients pass over; line breaks in it become spaces.
pub fn push_comment(out: &mut Vec<u8>, text: &str) {
    let line = text.replace(['\r', '\n'], " ");
    out.extend_from_slice(b": ");
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// Whether one who follows a message is shown this.
fn is_for_turn(event: &FeedEvent) -> bool {
    match event {
        FeedEvent::Start { .. }
        | FeedEvent::Token { .. }
        | FeedEvent::ToolCall(_)
        | FeedEvent::ToolResult { .. }
        | FeedEvent::ApprovalRequired { .. }
        | FeedEvent::Notice { .. }
        | FeedEvent::Done { .. }
        | FeedEvent::Cancelled
        | FeedEvent::Error { .. } => true,
        FeedEvent::Session { .. }
        | FeedEvent::UserMessage { .. }
        | FeedEvent::ApprovalDecision { .. }
        | FeedEvent::Message { .. }
        | FeedEvent::Status { .. }
        | FeedEvent::Rewind { .. }
        | FeedEvent::Gap { .. } => false,
    }
}

fn name_of(event: &FeedEvent) -> &'static str {
    match event {
        FeedEvent::Session { .. } => "session",
        FeedEvent::Start { .. } => "start",
        FeedEvent::UserMessage { .. } => "user_message",
        FeedEvent::Token { .. } => "token",
        FeedEvent::ToolCall(_) => "tool_call",
        FeedEvent::ToolResult { .. } => "tool_result",
        FeedEvent::ApprovalRequired { .. } => "approval_required",
        FeedEvent::ApprovalDecision { .. } => "approval_decision",
        FeedEvent::Notice { .. } => "notice",
        FeedEvent::Message { .. } => "message",
        FeedEvent::Done { .. } => "done",
        FeedEvent::Cancelled => "cancelled",
        FeedEvent::Error { .. } => "error",
        FeedEvent::Status { .. } => "status",
        FeedEvent::Rewind { .. } => "rewind",
        FeedEvent::Gap { .. } => "gap",
    }
}

fn push_data(out: &mut Vec<u8>, event: &FeedEvent) {
    let object = Object::new(out);
    match event {
        FeedEvent::Session { session, messages } => {
            return object.replaced(&Opening {
                session: SessionBody::whole(session),
                messages: messages.iter().map(MessageBody::from).collect(),
            });
        }
        FeedEvent::Start { message_id, seq } => {
            object.field("message_id", message_id).field("seq", seq)
        }
        FeedEvent::UserMessage { message, seq } => object
            .field("message_id", &message.message_id)
            .field("content", &message.content)
            .option("sender_name", message.sender_name.as_ref())
            .field("seq", seq),
        FeedEvent::Token {
            message_id,
            content,
        } => object
            .field("content", content)
            .field("message_id", &**message_id),
        FeedEvent::ToolCall(call) => object
            .field("call_id", &call.call_id)
            .field("name", &call.tool_name)
            .field("arguments", &call.arguments),
        FeedEvent::ToolResult { call_id, output } => object
            .field("call_id", call_id)
            .field("content", &output.content)
            .field("success", &output.success),
        FeedEvent::ApprovalRequired {
            call_id,
            command,
            commands,
            kind,
            exact,
        } => object
            .field("call_id", call_id)
            .field("command", command)
            .field("kind", kind)
            .field("commands", commands)
            .field("lines", &line_count(command))
            .field("exact", exact),
        FeedEvent::ApprovalDecision {
            call_id,
            decision,
            by,
        } => object
            .field("call_id", call_id)
            .field("decision", decision)
            .option("by", by.as_ref()),
        FeedEvent::Notice { code, message } => object.field("code", code).field("message", message),
        FeedEvent::Message {
            message_id,
            content,
            usage,
        } => object
            .field("message_id", message_id)
            .field("content", content)
            .option("usage", usage.as_ref()),
        FeedEvent::Done {
            message_id,
            usage,
            finish_reason,
        } => object
            .option("message_id", message_id.as_ref())
            .field("usage", usage)
            .field("finish_reason", finish_reason),
        FeedEvent::Cancelled => object,
        FeedEvent::Error { code, message } => object.field("message", message).field("code", code),
        FeedEvent::Status { from, to } => object.option("from", from.as_ref()).field("to", to),
        FeedEvent::Rewind { message_id, bytes } => object
            .option("message_id", message_id.as_ref())
            .field("bytes", bytes),
        FeedEvent::Gap { from_seq, to_seq } => {
            object.field("from_seq", from_seq).field("to_seq", to_seq)
        }
    }
    .end();
}

#[derive(Serialize)]
struct Opening<'a> {
    #[serde(flatten)]
    session: SessionBody<'a>,
    messages: Vec<MessageBody<'a>>,
}

const TAKES_ALL: &str = "a Vec takes every byte, and our values always serialise";

/// A JSON object, written field by field straight into a buffer: a token allocates nothing.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    fn new(out: &'o mut Vec<u8>) -> Object<'o> {
        Object {
            out,
            is_empty: true,
        }
    }

    /// `name` needs no escape.
    fn field(mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Object<'o> {
        let before = if self.is_empty { '{' } else { ',' };
        self.is_empty = false;
        write!(self.out, "{before}\"{name}\":").expect(TAKES_ALL);
        serde_json::to_writer(&mut *self.out, value).expect(TAKES_ALL);
        self
    }

    /// A field that is left out when it has no value.
    fn option(self, name: &'static str, value: Option<&impl Serialize>) -> Object<'o> {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    fn end(self) {
        let end: &[u8] = if self.is_empty { b"{}" } else { b"}" };
        self.out.extend_from_slice(end);
    }

    /// Another value in place of this object.
    fn replaced(self, value: &impl Serialize) {
        serde_json::to_writer(self.out, value).expect(TAKES_ALL);
    }
}

#[cfg(test)]
mod tests;
