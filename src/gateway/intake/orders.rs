//! What a chat has the program do: its commands, and the buttons below its questions.

use crate::domain::event::{Decision, Status};
use crate::domain::ids::SessionId;
use crate::domain::message::MessageText;
use crate::engine::watch::view::SessionView;
use crate::engine::{ContextUse, EngineError, NewMessage, Overheard, StandingGrant, StopInChat};
use crate::gateway::delivery::{SenderNews, with_command};
use crate::gateway::incoming::{IntakeError, TakenIn};
use crate::gateway::intake::chat_command::{ChatCommand, GrantsOrder, HELP};
use crate::gateway::intake::desk::{Desk, Guest, of_engine, of_outbox};
use crate::gateway::intake::wording;
use crate::gateway::protocol::CallbackQuery;

const NO_CONVERSATION: &str = "There is no conversation yet.";
const NOT_OPEN: &str = "This question is not open any more.";
const NOT_ASKED: &str =
    "My question is only on its way to this chat: answer it once you have read it.";
const NOT_STORED: &str =
    "Your answer could not be stored. The owner finds out why in the server's log.";
const NOT_YOURS: &str = "Only those whom the owner named may decide this.";

/// Carries out what chats command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orders<'a> {
    pub(super) desk: &'a Desk,
}

impl Orders<'_> {
    /// Carries a command out.
    pub(super) fn carry_out(
        self,
        guest: &Guest,
        command: &ChatCommand,
    ) -> Result<TakenIn, IntakeError> {
        let session = self.desk.found_session(guest)?;
        let session = session.as_ref();
        let (said, is_done) = match command {
            ChatCommand::Start { .. } => return self.desk.announce(guest, wording::GREETING),
            ChatCommand::Help => return self.desk.announce(guest, HELP),
            ChatCommand::Status => return self.desk.announce(guest, status(guest, session)),
            ChatCommand::Stop => self.stop(guest, session)?,
            ChatCommand::Reset => self.reset(guest, session)?,
            ChatCommand::Grants(order) => self.grants(guest, session, *order)?,
            ChatCommand::Context => (Some(self.context(session)?), false),
            ChatCommand::Compact { keep } => (Some(self.compact(guest, session, keep)?), false),
            ChatCommand::Decide(decision) => self.answer(guest, session, *decision)?,
        };
        if let Some(said) = said {
            self.desk.announce(guest, said)?;
        }
        match session {
            Some(_) if is_done && *command == ChatCommand::Reset => Ok(TakenIn::Ended),
            Some(_) if is_done => Ok(TakenIn::Stored),
            // Delivered again, it must not do then what it did not do now.
            Some(session) => self.note(guest, session, command),
            None => Ok(TakenIn::Handled),
        }
    }

    /// Notes in the log a command that did nothing.
    fn note(
        self,
        guest: &Guest,
        session: &SessionView,
        command: &ChatCommand,
    ) -> Result<TakenIn, IntakeError> {
        let text = MessageText::parse(command.as_str());
        let text = text.map_err(|error| IntakeError::Unreadable(error.to_string()))?;
        let message = NewMessage {
            key: Some(guest.key.clone()),
            ..NewMessage::new(guest.principal(), text)
        };
        let noted = self
            .desk
            .sessions
            .overhear(&session.id, message, Overheard::Logged);
        noted.map_err(of_engine)?;
        Ok(TakenIn::Handled)
    }

    fn stop(
        self,
        guest: &Guest,
        session: Option<&SessionView>,
    ) -> Result<(Option<String>, bool), IntakeError> {
        let stopped = session.map(|session| {
            let by = guest.principal();
            self.desk
                .sessions
                .cancel_in_chat(&session.id, &by, Some(&guest.key))
        });
        match stopped {
            Some(Ok(StopInChat::Stopped | StopInChat::Repeated)) => Ok((None, true)),
            None | Some(Ok(StopInChat::NothingToStop) | Err(EngineError::SessionEnded(_))) => {
                Ok((Some("There is nothing to stop.".to_owned()), false))
            }
            Some(Err(error)) => Err(of_engine(error)),
        }
    }

    /// What the model has in view of the conversation, in words.
    fn context(self, session: Option<&SessionView>) -> Result<String, IntakeError> {
        let Some(session) = session else {
            return Ok(NO_CONVERSATION.to_owned());
        };
        let used = self.desk.sessions.context(&session.id).map_err(of_engine)?;
        let ContextUse {
            prompt,
            tools,
            summary,
            history,
            free,
        } = used;
        Ok(format!(
            "About {history} tokens of this conversation are in my view, and a summary of {summary}; beside them {prompt} \
             of my instructions and {tools} of my tools. Another {free} go in before older ones are summarised."
        ))
    }

    fn compact(
        self,
        guest: &Guest,
        session: Option<&SessionView>,
        keep: &Option<String>,
    ) -> Result<String, IntakeError> {
        /// What a person writes behind the command; more is a message.
        const KEEP_CHARS: usize = 500;
        let Some(session) = session else {
            return Ok(NO_CONVERSATION.to_owned());
        };
        let keep = keep
            .as_ref()
            .map(|text| text.chars().take(KEEP_CHARS).collect());
        let asked = self
            .desk
            .sessions
            .compact(&session.id, keep, &guest.principal());
        match asked {
            Ok(_) => Ok("I summarise the older part of our conversation.".to_owned()),
            Err(EngineError::NotSummarised(why)) => Ok(format!("I cannot summarise this: {why}.")),
            Err(error) => Err(of_engine(error)),
        }
    }

    fn reset(
        self,
        guest: &Guest,
        session: Option<&SessionView>,
    ) -> Result<(Option<String>, bool), IntakeError> {
        const NOTHING: &str = "There is no conversation to end. Your next message begins one.";
        const ENDED: &str = "This conversation has ended. Your next message begins a new one.";
        let ended = session.map(|session| {
            let by = guest.principal();
            self.desk
                .sessions
                .end_in_chat(&session.id, &by, Some(&guest.key))
        });
        match ended.transpose().map_err(of_engine)? {
            Some(_) => Ok((Some(ENDED.to_owned()), true)),
            None => Ok((Some(NOTHING.to_owned()), false)),
        }
    }

    /// Says what is allowed for the guest's session, or takes it back.
    fn grants(
        self,
        guest: &Guest,
        session: Option<&SessionView>,
        order: GrantsOrder,
    ) -> Result<(Option<String>, bool), IntakeError> {
        const NOTHING: &str = "Nothing is allowed for this conversation.";
        const USAGE: &str = "Write `/grants`, `/grants revoke` or `/grants revoke NUMBER`.";
        let said = |words: &str| Ok((Some(words.to_owned()), false));
        let Some(session) = session else {
            return said(NOTHING);
        };
        let sessions = &self.desk.sessions;
        match order {
            GrantsOrder::Other => said(USAGE),
            GrantsOrder::List => {
                let grants = sessions.grants(&session.id).map_err(of_engine)?;
                match grants.as_slice() {
                    [] => said(NOTHING),
                    // Commands and paths of whoever allowed them.
                    _ if !guest.is_approver() => said(NOT_YOURS),
                    grants => said(&listed(grants)),
                }
            }
            GrantsOrder::Revoke(_) if !guest.is_approver() => said(NOT_YOURS),
            GrantsOrder::Revoke(which) => {
                let by = guest.principal();
                let was_any = sessions.revoke_grants(&session.id, which, &by, Some(&guest.key));
                match was_any.map_err(of_engine)? {
                    true => Ok((Some("It is asked for again.".to_owned()), true)),
                    false => said(NOTHING),
                }
            }
        }
    }

    /// Answers the open question of the guest's session.
    fn answer(
        self,
        guest: &Guest,
        session: Option<&SessionView>,
        decision: Option<Decision>,
    ) -> Result<(Option<String>, bool), IntakeError> {
        const USAGE: &str = "Write `/approve`, `/approve session`, `/approve always` or `/deny`.";
        let refused = |why: &str| Ok((Some(why.to_owned()), false));
        // Which question is open is known only of a session that is looked at itself.
        let session = session.map(|session| self.desk.sessions.show(&session.id));
        let session = session.transpose().map_err(of_engine)?;
        let open = session.as_ref().and_then(|session| {
            let asked = session.pending_approval.as_ref()?;
            Some((session, &asked.call_id))
        });
        let Some((session, call_id)) = open else {
            return refused("No question is open.");
        };
        if !guest.may_decide(session) {
            return refused(NOT_YOURS);
        }
        let Some(decision) = decision else {
            return refused(USAGE);
        };
        if decision == Decision::AllowSession && !guest.is_approver() {
            return refused(NOT_YOURS);
        }
        // Somebody else may have answered the one that they have read, and another is open by now.
        let outbox = self.desk.outbox(&guest.gateway)?;
        let is_asked = outbox.has_asked(&guest.chat, &session.id, call_id);
        if !is_asked.map_err(of_outbox)? {
            return refused(NOT_ASKED);
        }
        match self.decide(guest, &session.id, call_id.as_str(), decision)? {
            AnswerFate::Decided => Ok((None, true)),
            AnswerFate::NotOpen => refused(NOT_OPEN),
            AnswerFate::Wrong(why) => refused(&why),
        }
    }

    /// Carries out a press. `guest` is who pressed, if the session has an agent that can be asked for its
    /// rules, and they may talk to it.
    pub(super) fn press(
        self,
        press: &CallbackQuery,
        guest: &Guest,
        session: &SessionView,
        call_id: &str,
        decision: Decision,
    ) -> Result<TakenIn, IntakeError> {
        let is_open = |session: &SessionView| {
            let asked = session.pending_approval.as_ref();
            asked.is_some_and(|asked| asked.call_id.as_str() == call_id)
        };
        let (told, taken) = if !is_open(session) {
            (NOT_OPEN.to_owned(), TakenIn::Handled)
        } else if !guest.may_decide(session)
            || (decision == Decision::AllowSession && !guest.is_approver())
        {
            (NOT_YOURS.to_owned(), TakenIn::Ignored)
        } else {
            match self.decide(guest, &session.id, call_id, decision)? {
                AnswerFate::Decided => (said_of(decision).to_owned(), TakenIn::Stored),
                AnswerFate::NotOpen => (NOT_OPEN.to_owned(), TakenIn::Handled),
                AnswerFate::Wrong(why) => (why, TakenIn::Handled),
            }
        };
        self.tell(guest, press, &told);
        Ok(taken)
    }

    fn tell(self, guest: &Guest, press: &CallbackQuery, told: &str) {
        let news = SenderNews::Pressed {
            callback_query_id: press.callback_query_id.clone(),
            text: Some(told.to_owned()),
        };
        self.desk.tell(&guest.gateway, news);
    }

    fn is_open(self, guest: &Guest, session: &SessionId) -> Result<bool, IntakeError> {
        let found = self.desk.found_session(guest)?;
        Ok(found.is_some_and(|found| found.id == *session))
    }

    fn decide(
        self,
        guest: &Guest,
        session: &SessionId,
        call_id: &str,
        decision: Decision,
    ) -> Result<AnswerFate, IntakeError> {
        let by = guest.principal();
        let decided =
            self.desk
                .sessions
                .decide_in_chat(session, call_id, decision, &by, Some(&guest.key));
        match decided {
            Ok(_) => Ok(AnswerFate::Decided),
            Err(
                EngineError::AlreadyAnswered
                | EngineError::WrongCall(_)
                | EngineError::WrongCommand
                | EngineError::NothingToApprove
                | EngineError::SessionEnded(_)
                | EngineError::SessionNotFound(_),
            ) => Ok(AnswerFate::NotOpen),
            Err(EngineError::Invalid(why)) => Ok(AnswerFate::Wrong(why)),
            // Nobody can go on with it before the next start: others would wait as long.
            Err(error @ EngineError::ReadOnly) if !self.is_open(guest, session)? => {
                log::warn!("session {session}: an answer is not stored: {error}");
                Ok(AnswerFate::Wrong(NOT_STORED.to_owned()))
            }
            Err(error) => Err(of_engine(error)),
        }
    }
}

/// What came of an answer to a question.
enum AnswerFate {
    Decided,
    NotOpen,
    Wrong(String),
}

/// What is said of a press whose question is not known.
pub(super) const UNKNOWN_QUESTION: &str = NOT_OPEN;
/// What is said of a press of somebody who may not even talk.
pub(super) const NOT_ADMITTED: &str = NOT_YOURS;

fn said_of(decision: Decision) -> &'static str {
    match decision {
        Decision::AllowOnce => "Allowed once",
        Decision::AllowSession => "Allowed for this session",
        Decision::AllowAlways => "Allowed always",
        Decision::Deny => "Denied",
        Decision::Retry => "It is run again",
        Decision::Skip => "It is left as it is",
        Decision::Worked => "It is taken as done",
    }
}

fn listed(grants: &[StandingGrant]) -> String {
    let line = |one: &StandingGrant| {
        format!(
            "{}: {} (until {})",
            one.seq,
            one.grant.rule.replace('\n', "⏎"),
            one.grant.until
        )
    };
    let lines: Vec<String> = grants.iter().map(line).collect();
    with_command("This is allowed for this conversation:", &lines.join("\n"))
}

fn status(guest: &Guest, session: Option<&SessionView>) -> String {
    let agent = &guest.agent;
    let Some(session) = session else {
        return format!(
            "I am `{agent}`. There is no conversation yet; your next message begins one."
        );
    };
    let state = if session.summary.pending_call.is_some() {
        "I wait for a decision on my question."
    } else if session.working {
        "I am at work."
    } else if session.status == Status::Paused {
        "I have paused, and go on with your next message."
    } else {
        "I wait for your next message."
    };
    let model = session.summary.model.as_ref();
    let model = model.map_or(String::new(), |model| format!(" on `{model}`"));
    format!(
        "I am `{agent}`{model}. {state}\n\nSession `{}`, {} messages so far.",
        session.id.short(),
        session.summary.message_count
    )
}
