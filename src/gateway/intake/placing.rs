//! Puts what was said into a session.

use std::time::Duration;

use crate::domain::access::{Overflow, QueueMode, QueueSpec};
use crate::domain::event::Attachment;
use crate::domain::ids::SessionId;
use crate::domain::message::MessageText;
use crate::engine::{
    EngineError, MessageInChat, NewMessage, Overheard, Placed, QueueRule, Replaced, TurnStart,
};
use crate::gateway::incoming::{IntakeError, TakenIn};
use crate::gateway::intake::debounce::Debounce;
use crate::gateway::intake::desk::{Desk, EngineOrIntake, Guest, of_engine};
use crate::gateway::intake::wording;

/// A session may end between being found and being written in, again and again.
const TRIES: usize = 4;

/// Puts what was said into a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placing<'a> {
    pub(super) desk: &'a Desk,
    pub(super) debounce: &'a Debounce,
}

/// Words of somebody, as they go into a session.
#[derive(Debug, Clone)]
pub(super) struct SpokenWords {
    /// The text that the model reads.
    pub(super) text: String,
    /// Files that are in the session already.
    pub(super) attachments: Vec<Attachment>,
    /// The name by which the model knows the speaker, where there are several.
    pub(super) sender_name: Option<String>,
}

impl Placing<'_> {
    /// Has the agent answer.
    pub(super) fn ask(
        self,
        guest: &Guest,
        words: &SpokenWords,
        queue: &ChatQueue,
    ) -> Result<TakenIn, IntakeError> {
        let say = |session: &SessionId, message| {
            let said = self.said(session, guest, message, queue);
            let placed = self.desk.sessions.say_in_chat(session, said)?;
            self.wait_out(session, guest, &placed, queue);
            Ok(placed)
        };
        match self.place(guest, words, say) {
            Ok(placed) => Ok(taken(&placed)),
            Err(error) => self.explain(guest, error),
        }
    }

    /// Has new words stand in the place of others, or beside them when those were read already.
    pub(super) fn replace(
        self,
        guest: &Guest,
        session: &SessionId,
        words: &SpokenWords,
        queue: &ChatQueue,
    ) -> Result<TakenIn, IntakeError> {
        let message_id = guest.message_id.as_deref().unwrap_or_default();
        let said = self.said(session, guest, message(guest, words)?, queue);
        match self
            .desk
            .sessions
            .replace_in_chat(session, message_id, said)
        {
            Ok(Replaced::Replaced(placed)) => {
                self.wait_out(session, guest, &placed, queue);
                Ok(taken(&placed))
            }
            Ok(Replaced::TooLate) => {
                let later = SpokenWords {
                    text: wording::edited(&words.text),
                    ..words.clone()
                };
                let said = message(guest, &later)?;
                let heard = self.desk.sessions.overhear(session, said, Overheard::Shown);
                heard.map_err(of_engine)?;
                Ok(TakenIn::Stored)
            }
            Ok(Replaced::Unknown) => Ok(TakenIn::Ignored),
            Err(EngineError::SessionEnded(_) | EngineError::SessionNotFound(_)) => {
                Ok(TakenIn::Ignored)
            }
            Err(error) => Err(of_engine(error)),
        }
    }

    fn said(
        self,
        session: &SessionId,
        guest: &Guest,
        message: NewMessage,
        queue: &ChatQueue,
    ) -> MessageInChat {
        MessageInChat {
            message,
            queue: queue.rule,
            starts: match queue.debounce {
                None => TurnStart::Now,
                Some(_) if self.debounce.goes_on(session, &guest.id) => TurnStart::Joins,
                Some(_) => TurnStart::Later,
            },
        }
    }

    fn wait_out(self, session: &SessionId, guest: &Guest, placed: &Placed, queue: &ChatQueue) {
        if let (Some(window), false) = (queue.debounce, placed.accepted.is_repeat) {
            self.debounce.wait(session, &guest.id, window);
        }
    }

    /// Keeps talk that nobody has to answer.
    pub(super) fn overhear(
        self,
        guest: &Guest,
        words: &SpokenWords,
        kept: Overheard,
    ) -> Result<TakenIn, IntakeError> {
        let hear =
            |session: &SessionId, message| self.desk.sessions.overhear(session, message, kept);
        let heard = self.place(guest, words, hear);
        match heard {
            Ok(_) => Ok(TakenIn::Stored),
            // Nobody waits for an answer.
            Err(EngineOrIntake::Engine(error)) => Err(of_engine(error)),
            Err(EngineOrIntake::Intake(error)) => Err(error),
        }
    }

    /// Stores a message by `store` in the guest's session.
    fn place<T>(
        self,
        guest: &Guest,
        words: &SpokenWords,
        store: impl Fn(&SessionId, NewMessage) -> Result<T, EngineError>,
    ) -> Result<T, EngineOrIntake> {
        for _ in 0..TRIES {
            let session = self.desk.session(guest)?.id;
            match store(&session, message(guest, words)?) {
                // Somebody ended it a moment ago. The files went with it: all of it must come again.
                Err(EngineError::SessionEnded(_) | EngineError::SessionNotFound(_))
                    if words.attachments.is_empty() => {}
                stored => return Ok(stored?),
            }
        }
        let why = "the sessions of this chat end one after the other".to_owned();
        Err(IntakeError::Later(why).into())
    }

    /// Says to the guest why they get no answer, where waiting does not help and they can be told.
    fn explain(self, guest: &Guest, error: EngineOrIntake) -> Result<TakenIn, IntakeError> {
        let error = match error {
            EngineOrIntake::Engine(error) => error,
            EngineOrIntake::Intake(error) => return Err(error),
        };
        match &error {
            EngineError::LimitReached { retry_after, .. } => {
                let wait = wording::in_a_while(retry_after.as_secs());
                let said = format!("What this agent may spend is spent. Try again in {wait}.");
                self.desk.announce(guest, said)
            }
            EngineError::AgentNotFound(_)
            | EngineError::AgentGone(_)
            | EngineError::AgentBroken { .. } => {
                log::warn!("{} is not answered: {error}", guest.key);
                let said =
                    "This agent cannot be used now. Its owner finds out why in the server's log.";
                self.desk.announce(guest, said)
            }
            _ => {
                let error = of_engine(error);
                if let IntakeError::Unreadable(_) = error {
                    let said = "Your message could not be stored. The owner finds out why in the server's log.";
                    self.desk.announce(guest, said)?;
                }
                Err(error)
            }
        }
    }
}

/// What becomes of messages to be answered while the agent is at work.
#[derive(Debug, Clone)]
pub(super) struct ChatQueue {
    pub(super) rule: QueueRule,
    pub(super) debounce: Option<Duration>,
}

impl ChatQueue {
    /// In a chat of two: what somebody adds belongs to what they said, and none of it gets lost.
    pub(super) fn of_two() -> ChatQueue {
        ChatQueue {
            rule: QueueRule {
                mode: QueueMode::Batch,
                max_pending: u64::MAX,
                overflow: Overflow::DropOld,
            },
            debounce: None,
        }
    }

    /// In a group.
    pub(super) fn of_group(spec: &QueueSpec) -> ChatQueue {
        ChatQueue {
            rule: QueueRule {
                mode: spec.mode,
                max_pending: spec.max_pending,
                overflow: spec.overflow,
            },
            debounce: spec.debounce,
        }
    }
}

fn taken(placed: &Placed) -> TakenIn {
    match placed.accepted.is_repeat {
        true => TakenIn::Repeated,
        false => TakenIn::Stored,
    }
}

fn message(guest: &Guest, words: &SpokenWords) -> Result<NewMessage, IntakeError> {
    let text = match words.attachments.is_empty() {
        true => MessageText::parse(words.text.as_str())
            .map_err(|error| IntakeError::Unreadable(error.to_string()))?,
        false => MessageText::beside_files(words.text.as_str()),
    };
    Ok(NewMessage {
        sender_name: words.sender_name.clone(),
        attachments: words.attachments.clone(),
        key: Some(guest.key.clone()),
        detached: true,
        is_unverified: !guest.is_verified,
        gateway_message_id: guest.message_id.clone(),
        ..NewMessage::new(guest.principal(), text)
    })
}
