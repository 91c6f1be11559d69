//! What a subscriber is shown, made from records and from text in flight. Pure.
//!
//! One record gives a fixed row of events, numbered from 1 ([`Cursor::part`]): of a reply the text
//! that was not shown yet, its tool calls, and the finished message. So a cursor means the same
//! after a lost connection and after a restart, when all is made from the log alone.

use std::sync::Arc;

use crate::base::text;
use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{
    ApprovalKind, AssistantResponse, Attachment, Decision, Event, Failure, FinishReason, Outcome,
    Record, Status, ToolCall, ToolOutput, Usage, UserMessage,
};
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::domain::transcript::ShownMessage;
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::view::SessionView;
use crate::engine::watch::view::commands_of;

/// An event and the cursor after it.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedItem {
    /// Where a subscriber that has seen this event stands.
    pub id: Cursor,
    /// The event.
    pub event: FeedEvent,
}

/// Something to show.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedEvent {
    /// The session as it stands, to one who comes new.
    Session {
        /// The session.
        session: Box<SessionView>,
        /// Its last messages, oldest first.
        messages: Vec<ShownMessage>,
    },
    /// The subscriber's own message is on disk.
    Start {
        /// The message.
        message_id: MessageId,
        /// Its record.
        seq: Seq,
    },
    /// A person said something.
    UserMessage {
        /// The message.
        message: Arc<UserMessage>,
        /// Its record.
        seq: Seq,
    },
    /// A message was withdrawn, and no model sees it.
    Dropped {
        /// The message.
        message_id: MessageId,
        /// The rule, in words.
        reason: String,
    },
    /// A piece of a reply's text.
    Token {
        /// The message that it is a piece of.
        message_id: Arc<MessageId>,
        /// The piece.
        content: String,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// A tool has answered.
    ToolResult {
        /// The call.
        call_id: CallId,
        /// The answer.
        output: ToolOutput,
        /// Files that it hands out; the next finished message has them too.
        attachments: Vec<Attachment>,
    },
    /// A person is asked.
    ApprovalRequired {
        /// The call.
        call_id: CallId,
        /// The text that would run, byte for byte: an answer must repeat it.
        command: String,
        /// The simple commands of that.
        commands: Vec<String>,
        /// Whether it may run, or whether it has.
        kind: ApprovalKind,
        /// "Allow always" would allow this text alone, and nothing like it.
        exact: bool,
        /// The rules that "for this session" would add.
        session_rules: Vec<String>,
        /// Whose message led to it; `None` for the server's owner.
        requester_id: Option<String>,
    },
    /// A person has answered.
    ApprovalDecision {
        /// The call.
        call_id: CallId,
        /// The answer.
        decision: Decision,
        /// Whose it is.
        by: Option<String>,
    },
    /// Something recoverable.
    Notice {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// A finished message of the model.
    Message {
        /// The message.
        message_id: MessageId,
        /// Its whole text.
        content: Arc<String>,
        /// Tokens of its model call, as the provider counts them.
        usage: Option<Usage>,
        /// Files that go with it.
        attachments: Vec<Attachment>,
    },
    /// The turn ended with an answer.
    Done {
        /// The last message of the turn.
        message_id: Option<MessageId>,
        /// Tokens of all model calls of the turn.
        usage: Usage,
        /// Why the last reply ended.
        finish_reason: FinishReason,
    },
    /// The turn was cancelled.
    Cancelled,
    /// The turn failed.
    Error {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// The session pauses, goes on, or is over.
    Status {
        /// Until now.
        from: Option<Status>,
        /// From now on.
        to: Status,
    },
    /// After a power cut: forget the reply's text beyond so many bytes.
    Rewind {
        /// The reply; `None` for one of which nothing was kept, its id neither.
        message_id: Option<MessageId>,
        /// So many bytes stay of the whole message, former parts of a continued one included.
        bytes: u64,
    },
    /// Events that were asked for are gone.
    Gap {
        /// The first of them.
        from_seq: Seq,
        /// The last of them.
        to_seq: Seq,
    },
}

impl FeedEvent {
    /// The last event of a turn: who follows a message waits for nothing more.
    pub fn ends_turn(&self) -> bool {
        matches!(
            self,
            FeedEvent::Done { .. } | FeedEvent::Cancelled | FeedEvent::Error { .. }
        )
    }
}

/// Makes the events of one subscriber.
#[derive(Debug)]
pub struct Feed {
    /// Up to where it was shown everything.
    cursor: Cursor,
    /// Whose message it follows; `None` for everything.
    own: Option<Seq>,
    /// The reply that is or was last in flight: the id that readers know it by, and the text of
    /// the parts that the log already has.
    reply: Option<ShownReply>,
    /// The last reply of the turn that the log has, for the end of the turn.
    finished: Option<(MessageId, FinishReason)>,
    is_over: bool,
}

#[derive(Debug, Clone)]
struct ShownReply {
    message_id: MessageId,
    earlier_text: Arc<String>,
}

/// A subscriber takes at most so much of a reply's text at a time: the lock is held for microseconds,
/// and a slow one holds little of a long reply.
pub(in crate::engine) const PIECE_BYTES: usize = 64 << 10;

impl Feed {
    /// Everything after `cursor`.
    pub fn after(cursor: Cursor) -> Feed {
        Feed {
            cursor,
            own: None,
            reply: None,
            finished: None,
            is_over: false,
        }
    }

    /// The message `own` and the turn that answers it, and nothing else.
    pub fn of_message(own: Seq) -> Feed {
        Feed {
            own: Some(own),
            ..Feed::after(Cursor::after(Seq(own.0.saturating_sub(1))))
        }
    }

    /// Where the subscriber stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The record that it wants next.
    pub fn next_seq(&self) -> Seq {
        // A record of which only a part was shown is wanted again.
        match self.cursor.part {
            Some(_) => self.cursor.seq,
            None => self.cursor.seq.next(),
        }
    }

    /// Bytes of the reply in flight that were shown.
    pub fn shown_bytes(&self) -> u64 {
        self.cursor.bytes.unwrap_or(0)
    }

    /// Nothing more will come: the session, or the turn that is followed, has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Says that the session was over before this subscriber came.
    pub fn is_over_if(&mut self, over: bool) {
        self.is_over |= over;
    }

    /// Text of a reply to a call that contained the events up to `input_seq` is for this
    /// subscriber.
    pub fn wants_reply(&self, input_seq: Seq) -> bool {
        self.own.is_none_or(|own| input_seq >= own)
    }

    /// Learns from a record that the subscriber has seen, so that what follows makes sense.
    pub fn remember(&mut self, record: &Record) {
        if let Event::AssistantResponse(reply) = &record.event {
            self.take_reply(reply);
        }
        if matches!(record.event, Event::TurnEnded { .. }) {
            self.finished = None;
        }
    }

    /// Says that a reply is in flight: ids carry byte counts from here on.
    pub fn reply_in_flight(&mut self, input_seq: Seq) {
        if self.wants_reply(input_seq) && self.cursor.bytes.is_none() {
            self.cursor.bytes = Some(0);
        }
    }

    /// Shows the next piece of the text in flight.
    pub fn push_text(
        &mut self,
        message_id: Arc<MessageId>,
        content: String,
        out: &mut Vec<FeedItem>,
    ) {
        if content.is_empty() {
            return;
        }
        let shown = self.shown_bytes() + content.len() as u64;
        self.cursor.bytes = Some(shown);
        out.push(FeedItem {
            id: self.cursor,
            event: FeedEvent::Token {
                message_id,
                content,
            },
        });
    }

    /// Shows the next record, which must be [`next_seq`](Feed::next_seq). Of a reply with more than
    /// `piece_bytes` of text that were not shown, it shows so much, as if it were in flight; whether all
    /// of the record was shown.
    pub fn push_record(
        &mut self,
        record: &Record,
        piece_bytes: usize,
        out: &mut Vec<FeedItem>,
    ) -> bool {
        if let Some(reply) = self.long_reply(record, piece_bytes) {
            let rest = self.unshown(reply);
            let piece = text::start(rest, piece_bytes).to_owned();
            self.push_text(Arc::new(reply_id(reply)), piece, out);
            return false;
        }
        let skip = if record.seq == self.cursor.seq {
            self.cursor.part.unwrap_or(0)
        } else {
            0
        };
        let row = self.row(record);
        let last = row.len();
        let bytes = self.cursor.bytes.filter(|_| !ends_reply(&record.event));
        for (at, event) in row.into_iter().enumerate() {
            let Some(event) = event else { continue };
            let part = at as u32 + 1;
            if part <= skip {
                continue;
            }
            let id = Cursor {
                seq: record.seq,
                part: (at + 1 < last).then_some(part),
                bytes,
            };
            out.push(FeedItem { id, event });
        }
        self.cursor = Cursor {
            seq: record.seq,
            part: None,
            bytes,
        };
        true
    }

    /// The reply of a record whose text is too long to be shown at once.
    fn long_reply<'r>(
        &self,
        record: &'r Record,
        piece_bytes: usize,
    ) -> Option<&'r AssistantResponse> {
        let is_begun = record.seq == self.cursor.seq;
        let reply = record.event.as_reply().filter(|_| !is_begun)?;
        let is_long = self.unshown(reply).len() > piece_bytes;
        (is_long && self.wants_reply(reply.input_seq)).then_some(reply)
    }

    /// The text of a reply beyond what was shown.
    fn unshown<'r>(&self, reply: &'r AssistantResponse) -> &'r str {
        let shown = usize::try_from(self.shown_bytes()).unwrap_or(usize::MAX);
        reply.content.get(shown..).unwrap_or_default()
    }

    /// The row of events that a record gives; `None` keeps the place of one that is not shown.
    fn row(&mut self, record: &Record) -> Vec<Option<FeedEvent>> {
        let is_own = self.own == Some(record.seq);
        let shows_all = self.own.is_none();
        let one = |event| vec![Some(event)];
        match &record.event {
            Event::UserMessage(message) if is_own => one(FeedEvent::Start {
                message_id: message.message_id.clone(),
                seq: record.seq,
            }),
            Event::UserMessage(message) if shows_all => one(FeedEvent::UserMessage {
                message: Arc::clone(message),
                seq: record.seq,
            }),
            Event::MessageDropped { message_id, reason } if shows_all => one(FeedEvent::Dropped {
                message_id: message_id.clone(),
                reason: reason.clone(),
            }),
            Event::AssistantResponse(reply) if self.wants_reply(reply.input_seq) => {
                self.reply_row(reply)
            }
            Event::ToolResult {
                call_id,
                result,
                attachments,
                ..
            } if self.wants_results() => one(FeedEvent::ToolResult {
                call_id: call_id.clone(),
                output: result.clone(),
                attachments: attachments.clone(),
            }),
            Event::ToolsSkipped { call_ids, reason } if self.wants_results() => call_ids
                .iter()
                .map(|call_id| {
                    Some(FeedEvent::ToolResult {
                        call_id: call_id.clone(),
                        output: ToolOutput {
                            success: false,
                            content: reason.clone(),
                        },
                        attachments: Vec::new(),
                    })
                })
                .collect(),
            Event::ApprovalRequired {
                call_id,
                command,
                commands,
                kind,
                exact,
                session_rules,
                requester_id,
            } => one(FeedEvent::ApprovalRequired {
                call_id: call_id.clone(),
                command: command.clone(),
                commands: commands_of(command, commands),
                kind: *kind,
                exact: *exact,
                session_rules: session_rules.clone(),
                requester_id: requester_id.clone(),
            }),
            Event::ApprovalDecision {
                call_id,
                decision,
                by,
                ..
            } if shows_all => one(FeedEvent::ApprovalDecision {
                call_id: call_id.clone(),
                decision: *decision,
                by: by.clone(),
            }),
            Event::StatusChange { from, to } if shows_all => one(FeedEvent::Status {
                from: Some(*from),
                to: *to,
            }),
            Event::TurnStarted { .. } => vec![self.lost_text()],
            Event::TurnEnded {
                outcome,
                error,
                usage,
                ..
            } => {
                self.is_over |= !shows_all;
                let lost = self.lost_text();
                let end = match outcome {
                    Outcome::Completed => self.done(usage.unwrap_or_default()),
                    Outcome::Cancelled => FeedEvent::Cancelled,
                    Outcome::Failed => failed(error.as_ref()),
                };
                self.finished = None;
                vec![lost, Some(end)]
            }
            Event::Error { code, message } => one(FeedEvent::Notice {
                code: code.clone(),
                message: message.clone(),
            }),
            // Of one that failed an event of its own tells.
            Event::ContextSummary(summary) if summary.text.is_some() => one(FeedEvent::Notice {
                code: NoticeCode::Summarised.as_str().to_owned(),
                message:
                    "a summary of the older part of the conversation goes to the model from here on"
                        .to_owned(),
            }),
            Event::SessionEnd { .. } => {
                self.is_over = true;
                let end = if shows_all {
                    FeedEvent::Status {
                        from: None,
                        to: Status::Completed,
                    }
                } else {
                    FeedEvent::Error {
                        code: FailureCode::SessionEnded.as_str().to_owned(),
                        message: "the session has ended".to_owned(),
                    }
                };
                vec![self.lost_text(), Some(end)]
            }
            Event::SessionStart(_)
            | Event::UserMessage(_)
            | Event::AssistantResponse(_)
            | Event::ToolResult { .. }
            | Event::ToolsSkipped { .. }
            | Event::ApprovalDecision { .. }
            | Event::Grant(_)
            | Event::GrantRevoked { .. }
            | Event::StatusChange { .. }
            | Event::MessageDropped { .. }
            | Event::ToolStarted { .. }
            | Event::ToolParked { .. }
            | Event::SilentMessage { .. }
            | Event::SessionChanged { .. }
            | Event::ContextSummary(_)
            | Event::CompactRequested { .. }
            | Event::SessionAdopted {}
            | Event::Unknown => Vec::new(),
        }
    }

    /// One who follows a message sees results only of calls made in answer to it.
    fn wants_results(&self) -> bool {
        self.own.is_none() || self.reply.is_some()
    }

    fn reply_row(&mut self, reply: &AssistantResponse) -> Vec<Option<FeedEvent>> {
        let rest = self.rest_of(reply);
        self.take_reply(reply);
        match reply.finish_reason {
            FinishReason::Interrupted => vec![rest],
            FinishReason::Stop
            | FinishReason::ToolCalls
            | FinishReason::Length
            | FinishReason::Cancelled
            | FinishReason::Error => {
                let calls = reply.tool_calls.iter();
                let calls = calls.map(|call| Some(FeedEvent::ToolCall(call.clone())));
                let message = self.whole_message(reply);
                std::iter::once(rest)
                    .chain(calls)
                    .chain([message])
                    .collect()
            }
        }
    }

    /// The text of a reply that was not shown, or how far to go back.
    fn rest_of(&self, reply: &AssistantResponse) -> Option<FeedEvent> {
        let shown = usize::try_from(self.shown_bytes()).unwrap_or(usize::MAX);
        if shown > reply.content.len() {
            let earlier = self
                .part_before(reply)
                .map_or(0, |part| part.earlier_text.len());
            return Some(FeedEvent::Rewind {
                message_id: Some(reply_id(reply)),
                bytes: (earlier + reply.content.len()) as u64,
            });
        }
        let rest = self.unshown(reply);
        (!rest.is_empty()).then(|| FeedEvent::Token {
            message_id: Arc::new(reply_id(reply)),
            content: rest.to_owned(),
        })
    }

    fn take_reply(&mut self, reply: &AssistantResponse) {
        let message_id = reply_id(reply);
        let text = match self.part_before(reply) {
            Some(part) => Arc::new(format!("{}{}", part.earlier_text, reply.content)),
            None => Arc::clone(&reply.content),
        };
        self.finished = Some((message_id.clone(), reply.finish_reason));
        self.reply = Some(ShownReply {
            message_id,
            earlier_text: text,
        });
    }

    /// What was shown of the message that `reply` goes on with.
    fn part_before(&self, reply: &AssistantResponse) -> Option<&ShownReply> {
        let continued = reply.continues.as_ref()?;
        let shown = self.reply.as_ref();
        shown.filter(|part| part.message_id == *continued)
    }

    /// Takes back what was shown of a reply that was in flight when the power went, and that the
    /// log does not have.
    fn lost_text(&self) -> Option<FeedEvent> {
        if self.shown_bytes() == 0 {
            return None;
        }
        let was_cut = matches!(self.finished, Some((_, FinishReason::Interrupted)));
        let kept = self.reply.as_ref().filter(|_| was_cut);
        Some(FeedEvent::Rewind {
            message_id: kept.map(|part| part.message_id.clone()),
            bytes: kept.map_or(0, |part| part.earlier_text.len() as u64),
        })
    }

    fn whole_message(&self, reply: &AssistantResponse) -> Option<FeedEvent> {
        let shown = self.reply.as_ref()?;
        let is_empty = shown.earlier_text.is_empty()
            && reply.tool_calls.is_empty()
            && reply.attachments.is_empty();
        (!is_empty).then(|| FeedEvent::Message {
            message_id: shown.message_id.clone(),
            content: Arc::clone(&shown.earlier_text),
            usage: reply.usage,
            attachments: reply.attachments.clone(),
        })
    }

    fn done(&self, usage: Usage) -> FeedEvent {
        let finished = self.finished.clone();
        FeedEvent::Done {
            finish_reason: finished
                .as_ref()
                .map_or(FinishReason::Stop, |(_, why)| *why),
            message_id: finished.map(|(id, _)| id),
            usage,
        }
    }
}

/// After such an event no reply is in flight: it is in the log, or it is lost.
pub(in crate::engine) fn ends_reply(event: &Event) -> bool {
    matches!(
        event,
        Event::AssistantResponse(_)
            | Event::TurnStarted { .. }
            | Event::TurnEnded { .. }
            | Event::SessionEnd { .. }
    )
}

fn failed(error: Option<&Failure>) -> FeedEvent {
    FeedEvent::Error {
        code: error
            .map_or(FailureCode::Failed.as_str(), |error| &error.code)
            .to_owned(),
        message: error
            .map_or("the turn failed", |error| &error.message)
            .to_owned(),
    }
}

/// The id that readers know a reply by: of a continued one, that of its first part.
pub(in crate::engine) fn reply_id(reply: &AssistantResponse) -> MessageId {
    reply
        .continues
        .clone()
        .unwrap_or_else(|| reply.message_id.clone())
}

#[cfg(test)]
mod tests;
