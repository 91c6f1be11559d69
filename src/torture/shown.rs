//! What whoever watches a session from its beginning is shown: once made from the log, once put
//! together from the events of a stream. Pure.
//!
//! Where one token ends and the next begins is left to the server, so text is compared whole.

use crate::domain::event::{Event, FinishReason, Outcome, Record};
use crate::torture::BrokenPromise;
use crate::torture::ledger::SeenEvent;

/// Something shown, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownItem {
    /// A message of a person: its identifier and text.
    UserMessage(String, String),
    /// A finished message of the model: its identifier and text, which tokens have spelt out.
    Message(String, String),
    /// The end of a turn, and text that tokens have spelt out since the last message.
    TurnEnd(&'static str, String),
    /// A new status.
    Status(String),
    /// A notice, by its code.
    Notice(String),
}

/// All that a watcher has seen, in a form in which log and stream can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchedStream {
    /// All but tokens, in order.
    pub shown: Vec<ShownItem>,
    /// Tokens since the last of them that ends text.
    pub text: String,
}

/// All that a log must have shown.
pub fn from_log(records: &[Record]) -> WatchedStream {
    let mut watched = WatchedStream::default();
    for record in records {
        match &record.event {
            Event::UserMessage(message) => watched.shown.push(ShownItem::UserMessage(
                message.message_id.to_string(),
                message.content.clone(),
            )),
            Event::AssistantResponse(reply) => {
                watched.text.push_str(&reply.content);
                let is_shown = reply.finish_reason != FinishReason::Interrupted
                    && !(watched.text.is_empty() && reply.tool_calls.is_empty());
                if is_shown {
                    let id = reply.continues.as_ref().unwrap_or(&reply.message_id);
                    let text = std::mem::take(&mut watched.text);
                    watched.shown.push(ShownItem::Message(id.to_string(), text));
                }
            }
            Event::TurnEnded { outcome, .. } => {
                let name = match outcome {
                    Outcome::Completed => "done",
                    Outcome::Cancelled => "cancelled",
                    Outcome::Failed => "error",
                };
                let text = std::mem::take(&mut watched.text);
                watched.shown.push(ShownItem::TurnEnd(name, text));
            }
            Event::StatusChange { to, .. } => {
                watched
                    .shown
                    .push(ShownItem::Status(to.as_str().to_owned()));
            }
            Event::SessionEnd { .. } => watched
                .shown
                .push(ShownItem::Status("completed".to_owned())),
            Event::Error { code, .. } => watched.shown.push(ShownItem::Notice(code.clone())),
            _ => {}
        }
    }
    watched
}

/// Puts the events of a stream together, over all its connections.
///
/// Errors: what no stream may contain after mere kills.
pub fn from_stream(seen: &[SeenEvent]) -> Result<WatchedStream, BrokenPromise> {
    let mut watched = WatchedStream::default();
    let mut last = None;
    for event in seen {
        let place = place_of(&event.id).ok_or_else(|| format!("the id {:?}", event.id))?;
        if last.is_some_and(|last| place <= last) {
            return Err(format!("event {} came twice or out of order", event.id).into());
        }
        last = Some(place);
        watched.take(event)?;
    }
    Ok(watched)
}

impl WatchedStream {
    fn take(&mut self, event: &SeenEvent) -> Result<(), BrokenPromise> {
        let word = |field: &str| {
            let value = event.data.get(field).and_then(|value| value.as_str());
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("event {} has no {field}", event.id))
        };
        match event.name.as_str() {
            "token" => self.text.push_str(&word("content")?),
            "user_message" => {
                let shown = ShownItem::UserMessage(word("message_id")?, word("content")?);
                self.shown.push(shown);
            }
            "message" => self.take_message(word("message_id")?, &word("content")?)?,
            "done" => self.end_turn("done"),
            "cancelled" => self.end_turn("cancelled"),
            "error" if is_waiting(event) => {}
            "error" => self.end_turn("error"),
            "status" => self.shown.push(ShownItem::Status(word("to")?)),
            "notice" => self.shown.push(ShownItem::Notice(word("code")?)),
            other => return Err(format!("a {other} event, id {}", event.id).into()),
        }
        Ok(())
    }

    fn take_message(&mut self, id: String, content: &str) -> Result<(), BrokenPromise> {
        let spelt = std::mem::take(&mut self.text);
        if spelt != content {
            return Err(format!("tokens spelt {spelt:?}, and message {id} is {content:?}").into());
        }
        self.shown.push(ShownItem::Message(id, spelt));
        Ok(())
    }

    fn end_turn(&mut self, name: &'static str) {
        let text = std::mem::take(&mut self.text);
        self.shown.push(ShownItem::TurnEnd(name, text));
    }
}

/// Whether an `error` says that a turn waits for room on the disk: its stream ends there, and the turn
/// goes on later.
pub fn is_waiting(event: &SeenEvent) -> bool {
    event.data.get("code").and_then(|code| code.as_str()) == Some("turn_waits")
}

/// An id `SEQ[.PART][+BYTES]` in an order in which they only rise.
pub fn place_of(id: &str) -> Option<(u64, u64, u64)> {
    let (rest, bytes) = id.split_once('+').unwrap_or((id, "0"));
    let (seq, part) = match rest.split_once('.') {
        Some((seq, part)) => (seq, part.parse().ok()?),
        None => (rest, u64::MAX),
    };
    Some((seq.parse().ok()?, part, bytes.parse().ok()?))
}
