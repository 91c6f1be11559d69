//! Server-sent events: what a subscriber is shown, as bytes. Pure.
//!
//! Elsewhere: names and data of events (`wire`), the sending of the bytes (`http::jobs`).
//!
//! Source: WHATWG HTML, section "Server-sent events".

use serde::Serialize;

use crate::domain::code::FailureCode;
use crate::domain::event::Status;
use crate::domain::ids::MessageId;
use crate::engine::sessions::view::line_count;
use crate::engine::{FeedEvent, FeedItem};
use crate::http::wire::whole_session;
use crate::wire::{
    ApprovalBody, AttachedEvent, DecisionEvent, DoneEvent, ErrorEvent, GapEvent, MessageBody,
    MessageEvent, NoticeEvent, RewindEvent, SessionEvent, StartEvent, StatusEvent, TokenEvent,
    ToolCallEvent, ToolResultEvent, UserMessageEvent,
};

/// How long a client waits before it comes back, in milliseconds: a field of a stream's first event.
/// As a block of its own, some clients take it for an event without a name and without data.
const RETRY: &[u8] = b"retry: 1000\n";
/// What keeps a quiet stream alive through proxies. Without an empty line after it: that would end an
/// event, and some clients take it for one even where there was none.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n";

/// The kind of stream that something is written for.
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
    let Some(event) = shown(&item.event) else {
        return;
    };
    out.extend_from_slice(b"id: ");
    item.id.push_to(out);
    out.push(b'\n');
    push_named(out, &event);
}

/// Appends the end of a stream whose turn waits, and goes on by itself. It has no id: nothing of the
/// session was shown.
pub fn push_turn_waits(out: &mut Vec<u8>, reason: &str) {
    let waits = ErrorEvent {
        message: reason,
        code: FailureCode::TurnWaits.as_str(),
    };
    push_named(out, &SessionEvent::Error(waits));
}

/// Appends that another client has sent this one away. It has no id: nothing of the session was shown.
pub fn push_detached(out: &mut Vec<u8>) {
    push_named::<&str>(out, &SessionEvent::Detached);
}

/// JSON has no raw line breaks, so the data of an event is one line, whatever text it holds.
fn push_named<S: Serialize + AsRef<str>>(out: &mut Vec<u8>, event: &SessionEvent<S>) {
    for part in ["event: ", event.name(), "\ndata: "] {
        out.extend_from_slice(part.as_bytes());
    }
    event.write_data(out);
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

/// True of what one who follows a message is shown: the turn, and not the session around it.
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
        | FeedEvent::Dropped { .. }
        | FeedEvent::ApprovalDecision { .. }
        | FeedEvent::Message { .. }
        | FeedEvent::Status { .. }
        | FeedEvent::Rewind { .. }
        | FeedEvent::Gap { .. } => false,
    }
}

/// The event as it is written; `None` for one that HTTP does not tell. Nothing of it is copied: a token
/// allocates nothing.
fn shown(event: &FeedEvent) -> Option<SessionEvent<&str>> {
    Some(match event {
        FeedEvent::Dropped { .. } => return None,
        FeedEvent::Session { session, messages } => {
            SessionEvent::Session(Box::new(AttachedEvent {
                session: whole_session(session),
                messages: messages.iter().map(MessageBody::from).collect(),
            }))
        }
        FeedEvent::Start { message_id, seq } => SessionEvent::Start(StartEvent {
            message_id: message_id.as_str(),
            seq: *seq,
        }),
        FeedEvent::UserMessage { message, seq } => SessionEvent::UserMessage(UserMessageEvent {
            message_id: message.message_id.as_str(),
            content: &message.content,
            sender_name: message.sender_name.as_deref(),
            attachments: message.attachments.clone(),
            seq: *seq,
        }),
        FeedEvent::Token {
            message_id,
            content,
        } => SessionEvent::Token(TokenEvent {
            content,
            message_id: message_id.as_str(),
        }),
        FeedEvent::ToolCall(call) => SessionEvent::ToolCall(ToolCallEvent {
            call_id: call.call_id.as_str(),
            name: &call.tool_name,
            arguments: &call.arguments,
        }),
        FeedEvent::ToolResult {
            call_id,
            output,
            attachments,
        } => SessionEvent::ToolResult(ToolResultEvent {
            call_id: call_id.as_str(),
            content: &output.content,
            success: output.success,
            attachments: attachments.clone(),
        }),
        FeedEvent::ApprovalRequired {
            call_id,
            command,
            commands,
            kind,
            exact,
            session_rules,
            requester_id: _,
        } => SessionEvent::ApprovalRequired(ApprovalBody {
            call_id: call_id.as_str(),
            command,
            kind: *kind,
            commands: commands.iter().map(String::as_str).collect(),
            lines: line_count(command),
            exact: *exact,
            session_rules: session_rules.iter().map(String::as_str).collect(),
        }),
        FeedEvent::ApprovalDecision {
            call_id,
            decision,
            by,
        } => SessionEvent::ApprovalDecision(DecisionEvent {
            call_id: call_id.as_str(),
            decision: decision.as_str(),
            by: by.as_deref(),
        }),
        FeedEvent::Notice { code, message } => SessionEvent::Notice(NoticeEvent { code, message }),
        FeedEvent::Message {
            message_id,
            content,
            usage,
            attachments,
        } => SessionEvent::Message(MessageEvent {
            message_id: message_id.as_str(),
            content,
            usage: *usage,
            attachments: attachments.clone(),
        }),
        FeedEvent::Done {
            message_id,
            usage,
            finish_reason,
        } => SessionEvent::Done(DoneEvent {
            message_id: message_id.as_ref().map(MessageId::as_str),
            usage: Some(*usage),
            finish_reason: Some(finish_reason.as_str()),
        }),
        FeedEvent::Cancelled => SessionEvent::Cancelled,
        FeedEvent::Error { code, message } => SessionEvent::Error(ErrorEvent { message, code }),
        FeedEvent::Status { from, to } => SessionEvent::Status(StatusEvent {
            from: from.map(Status::as_str),
            to: to.as_str(),
        }),
        FeedEvent::Rewind { message_id, bytes } => SessionEvent::Rewind(RewindEvent {
            message_id: message_id.as_ref().map(MessageId::as_str),
            bytes: *bytes,
        }),
        FeedEvent::Gap { from_seq, to_seq } => SessionEvent::Gap(GapEvent {
            from_seq: *from_seq,
            to_seq: *to_seq,
        }),
    })
}

#[cfg(test)]
mod tests;
