//! The outcome of a turn, read from its events, for one who waits for it. Pure.

use std::sync::Arc;

use crate::domain::event::{Attachment, Usage};
use crate::domain::ids::MessageId;
use crate::engine::FeedEvent;
use crate::engine::sessions::view::PendingApproval;
use crate::wire::NoticeBody;

/// A turn has hardly more notices; of one that has, the first ones.
const NOTICES_MAX: usize = 32;

/// Reads the events of a turn until its outcome is known.
#[derive(Debug, Default)]
pub struct TurnReader {
    reply: Option<FinalMessage>,
    asked: Option<PendingApproval>,
    notices: Vec<NoticeBody>,
    end: Option<TurnEnd>,
}

/// The last finished message of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalMessage {
    /// Its identifier.
    pub message_id: MessageId,
    /// Its text.
    pub content: Arc<String>,
    /// The files that went with the messages of the turn.
    pub attachments: Vec<Attachment>,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// With an answer.
    Done {
        /// Tokens of the whole turn.
        usage: Usage,
    },
    /// Somebody stopped it.
    Cancelled,
    /// It could not go on.
    Failed {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
}

impl TurnReader {
    /// Takes the next event.
    pub fn take(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Message {
                message_id,
                content,
                usage: _,
                attachments,
            } => {
                let earlier = self.reply.take().map(|reply| reply.attachments);
                self.reply = Some(FinalMessage {
                    message_id,
                    content,
                    attachments: earlier.into_iter().flatten().chain(attachments).collect(),
                });
            }
            FeedEvent::ApprovalRequired {
                call_id,
                command,
                commands,
                kind,
                exact,
                session_rules,
                requester_id,
            } => {
                self.asked = Some(PendingApproval {
                    call_id,
                    command,
                    commands,
                    kind,
                    exact,
                    session_rules,
                    requester_id,
                });
            }
            FeedEvent::ApprovalDecision { .. } => self.asked = None,
            FeedEvent::ToolResult { call_id, .. } => {
                self.asked.take_if(|asked| asked.call_id == call_id);
            }
            FeedEvent::Done { usage, .. } => self.end = Some(TurnEnd::Done { usage }),
            FeedEvent::Cancelled => self.end = Some(TurnEnd::Cancelled),
            FeedEvent::Error { code, message } => {
                self.end = Some(TurnEnd::Failed { code, message });
            }
            FeedEvent::Notice { code, message } if self.notices.len() < NOTICES_MAX => {
                self.notices.push(NoticeBody { code, message });
            }
            FeedEvent::Notice { .. }
            | FeedEvent::Session { .. }
            | FeedEvent::Start { .. }
            | FeedEvent::UserMessage { .. }
            | FeedEvent::Dropped { .. }
            | FeedEvent::Token { .. }
            | FeedEvent::ToolCall(_)
            | FeedEvent::Status { .. }
            | FeedEvent::Rewind { .. }
            | FeedEvent::Gap { .. } => {}
        }
    }

    /// The end of the turn, once it has come.
    pub fn end(&self) -> Option<&TurnEnd> {
        self.end.as_ref()
    }

    /// The last message of the model.
    pub fn reply(&self) -> Option<&FinalMessage> {
        self.reply.as_ref()
    }

    /// What it got over, and why it may say nothing.
    pub fn notices(&self) -> &[NoticeBody] {
        &self.notices
    }

    /// The last question, as long as the events show no answer to it. One who follows a message
    /// is not shown decisions: whether the question is still open, the session knows.
    pub fn asked(&self) -> Option<&PendingApproval> {
        self.asked.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{ApprovalKind, FinishReason, ToolOutput};
    use crate::domain::ids::CallId;

    fn message(number: u128, content: &str) -> FeedEvent {
        FeedEvent::Message {
            message_id: MessageId::mint(1, number),
            content: Arc::new(content.to_owned()),
            usage: None,
            attachments: Vec::new(),
        }
    }

    fn question(call: &str) -> FeedEvent {
        FeedEvent::ApprovalRequired {
            call_id: CallId::parse(call).unwrap(),
            command: "ls".to_owned(),
            commands: vec!["ls".to_owned()],
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            requester_id: None,
        }
    }

    fn result(call: &str) -> FeedEvent {
        FeedEvent::ToolResult {
            call_id: CallId::parse(call).unwrap(),
            output: ToolOutput {
                success: true,
                content: "x".to_owned(),
            },
            attachments: Vec::new(),
        }
    }

    fn read(events: impl IntoIterator<Item = FeedEvent>) -> TurnReader {
        let mut reader = TurnReader::default();
        events.into_iter().for_each(|event| reader.take(event));
        reader
    }

    #[test]
    fn the_answer_is_the_last_message_and_the_cost_that_of_the_turn() {
        let usage = Usage::new(3, 4);
        let done = FeedEvent::Done {
            message_id: Some(MessageId::mint(1, 2)),
            usage,
            finish_reason: FinishReason::Stop,
        };
        let reader = read([
            message(1, "let me see"),
            result("c"),
            message(2, "42"),
            done,
        ]);
        assert_eq!(reader.end(), Some(&TurnEnd::Done { usage }));
        let want = FinalMessage {
            message_id: MessageId::mint(1, 2),
            content: Arc::new("42".to_owned()),
            attachments: Vec::new(),
        };
        assert_eq!(reader.reply(), Some(&want));
    }

    #[test]
    fn a_question_is_open_until_its_call_has_a_result() {
        let open = |reader: TurnReader| reader.asked().map(|asked| asked.call_id.to_string());
        assert_eq!(open(read([question("c1")])), Some("c1".to_owned()));
        assert_eq!(
            open(read([question("c1"), result("c0")])),
            Some("c1".to_owned())
        );
        assert_eq!(open(read([question("c1"), result("c1")])), None);
        assert_eq!(
            open(read([question("c1"), result("c1"), question("c2")])),
            Some("c2".to_owned())
        );
    }

    #[test]
    fn a_failure_keeps_its_words() {
        let reader = read([FeedEvent::Error {
            code: "provider_timeout".into(),
            message: "too long".into(),
        }]);
        let want = TurnEnd::Failed {
            code: "provider_timeout".into(),
            message: "too long".into(),
        };
        assert_eq!(reader.end(), Some(&want));
    }
}
