//! Server-sent events: what a subscriber is shown, as bytes. Pure.
//!
//! Names of events and of their fields are the API (`docs/api.md`). JSON has no raw line breaks,
//! so the data of an event is one line, whatever text it holds.
//!
//! Source: WHATWG HTML, section "Server-sent events".

use std::io::Write as _;

use serde::Serialize;

use crate::domain::event::{ApprovalKind, Decision, FinishReason, Usage};
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::engine::{FeedEvent, FeedItem};
use crate::http::wire::{MessageBody, SessionBody};

/// What a stream begins with: how long a client waits before it comes back, in milliseconds.
pub const RETRY: &[u8] = b"retry: 1000\n\n";
/// What keeps a quiet stream alive through proxies.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

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
    match &item.event {
        FeedEvent::Session { session, messages } => {
            let data = Opening {
                session: SessionBody::whole(session),
                messages: messages.iter().map(MessageBody::from).collect(),
            };
            push(out, "session", item, &data);
        }
        FeedEvent::Start { message_id, seq } => {
            push(
                out,
                "start",
                item,
                &Start {
                    message_id,
                    seq: *seq,
                },
            );
        }
        FeedEvent::UserMessage { message, seq } => {
            let data = UserMessage {
                message_id: &message.message_id,
                content: &message.content,
                sender_name: message.sender_name.as_deref(),
                seq: *seq,
            };
            push(out, "user_message", item, &data);
        }
        FeedEvent::Token(content) => push(out, "token", item, &Token { content }),
        FeedEvent::ToolCall(call) => {
            let data = ToolCall {
                call_id: &call.call_id,
                name: &call.tool_name,
                arguments: &call.arguments,
            };
            push(out, "tool_call", item, &data);
        }
        FeedEvent::ToolResult { call_id, output } => {
            let data = ToolResult {
                call_id,
                content: &output.content,
                success: output.success,
            };
            push(out, "tool_result", item, &data);
        }
        FeedEvent::ApprovalRequired {
            call_id,
            command,
            kind,
        } => {
            let data = ApprovalRequired {
                call_id,
                command,
                kind: *kind,
            };
            push(out, "approval_required", item, &data);
        }
        FeedEvent::ApprovalDecision {
            call_id,
            decision,
            by,
        } => {
            let data = ApprovalDecision {
                call_id,
                decision: *decision,
                by: by.as_deref(),
            };
            push(out, "approval_decision", item, &data);
        }
        FeedEvent::Notice { code, message } => {
            push(out, "notice", item, &Words { code, message });
        }
        FeedEvent::Message {
            message_id,
            content,
            usage,
        } => {
            let data = Message {
                message_id,
                content,
                usage: *usage,
            };
            push(out, "message", item, &data);
        }
        FeedEvent::Done {
            message_id,
            usage,
            finish_reason,
        } => {
            let data = Done {
                message_id: message_id.as_ref(),
                usage: *usage,
                finish_reason: *finish_reason,
            };
            push(out, "done", item, &data);
        }
        FeedEvent::Cancelled => push(out, "cancelled", item, &Nothing {}),
        FeedEvent::Error { code, message } => {
            push(out, "error", item, &Failure { message, code });
        }
        FeedEvent::Status { from, to } => {
            let data = StatusChange {
                from: from.map(|status| status.as_str()),
                to: to.as_str(),
            };
            push(out, "status", item, &data);
        }
        FeedEvent::Rewind { message_id, bytes } => {
            let data = Rewind {
                message_id,
                bytes: *bytes,
            };
            push(out, "rewind", item, &data);
        }
        FeedEvent::Gap { from_seq, to_seq } => {
            let data = Gap {
                from_seq: *from_seq,
                to_seq: *to_seq,
            };
            push(out, "gap", item, &data);
        }
    }
}

/// Appends a comment, which clients pass over; line breaks in it become spaces.
pub fn push_comment(out: &mut Vec<u8>, text: &str) {
    let line = text.replace(['\r', '\n'], " ");
    out.extend_from_slice(b": ");
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Whether one who follows a message is shown this.
fn is_for_turn(event: &FeedEvent) -> bool {
    match event {
        FeedEvent::Start { .. }
        | FeedEvent::Token(_)
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

/// The data goes straight into `out`: a token costs no allocation of its own.
fn push(out: &mut Vec<u8>, name: &str, item: &FeedItem, data: &impl Serialize) {
    write!(out, "id: {}\nevent: {name}\ndata: ", item.id).expect("a Vec takes every byte");
    serde_json::to_writer(&mut *out, data).expect("texts and numbers always serialise");
    out.extend_from_slice(b"\n\n");
}

#[derive(Serialize)]
struct Opening<'a> {
    #[serde(flatten)]
    session: SessionBody<'a>,
    messages: Vec<MessageBody<'a>>,
}

#[derive(Serialize)]
struct Start<'a> {
    message_id: &'a MessageId,
    seq: Seq,
}

#[derive(Serialize)]
struct UserMessage<'a> {
    message_id: &'a MessageId,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_name: Option<&'a str>,
    seq: Seq,
}

#[derive(Serialize)]
struct Token<'a> {
    content: &'a str,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    call_id: &'a CallId,
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ToolResult<'a> {
    call_id: &'a CallId,
    content: &'a str,
    success: bool,
}

#[derive(Serialize)]
struct ApprovalRequired<'a> {
    call_id: &'a CallId,
    command: &'a str,
    kind: ApprovalKind,
}

#[derive(Serialize)]
struct ApprovalDecision<'a> {
    call_id: &'a CallId,
    decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

#[derive(Serialize)]
struct Words<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    message_id: &'a MessageId,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Done<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a MessageId>,
    usage: Usage,
    finish_reason: FinishReason,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Failure<'a> {
    message: &'a str,
    code: &'a str,
}

#[derive(Serialize)]
struct StatusChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    to: &'static str,
}

#[derive(Serialize)]
struct Rewind<'a> {
    message_id: &'a MessageId,
    bytes: u64,
}

#[derive(Serialize)]
struct Gap {
    from_seq: Seq,
    to_seq: Seq,
}

#[cfg(test)]
mod tests;
