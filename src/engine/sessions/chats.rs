//! The sessions of gateways' chats: which one a chat has, and what is said, decided and ended there.
//!
//! What a platform delivers again does nothing: each of these finds in the log the key that it came
//! with.

use std::sync::{Arc, MutexGuard};

use crate::domain::access::{Overflow, QueueMode};
use crate::domain::chat::Chat;
use crate::domain::event::{Decision, Event, OwnTurn, Record, SaidBy, Status, UserMessage};
use crate::domain::ids::{Seq, SessionId, SourceId};
use crate::domain::principal::Principal;
use crate::domain::state::{Summary, Unseen};
use crate::engine::error::{EngineError, chain};
use crate::engine::open::chats::{ChatListener, KnownChats};
use crate::engine::open::keys::{MessageKey, MessageKeys};
use crate::engine::open::session::{LogWriter, Session};
use crate::engine::sessions::Sessions;
use crate::engine::sessions::approvals::decide_open;
use crate::engine::sessions::chat_requests::{
    KeySeen, MessageFate, MessageInChat, Placed, QueueRule, Replaced, StopInChat, TurnStart,
    WithdrawnBy,
};
use crate::engine::sessions::messages::Placement;
use crate::engine::sessions::requests::{Accepted, Decided, NewMessage};
use crate::engine::stored::read_records;
use crate::engine::watch::live::Live;
use crate::engine::watch::view::SessionView;
use crate::store::{ChatKey, Listed, PageQuery, ReadLimit, SessionFilter};

impl Sessions {
    /// Stores a message of a chat; on return it is on disk, and its turn runs on without a client. What its
    /// queue's rule withdraws is withdrawn in the same append.
    ///
    /// Errors: as of [`submit`](Sessions::submit). [`EngineError::KeyReused`] where its key is that of another
    /// message of the platform.
    pub fn say_in_chat(&self, id: &SessionId, said: MessageInChat) -> Result<Placed, EngineError> {
        let session = self.engine.open.get(id)?;
        let message = self.prepared(said.message)?;
        let allowance = self.allowance_of(&session)?;
        let mut log = session.log();
        if let Some(known) = self.repeated_message(&session, &mut log, &message)? {
            return Ok(placed_before(known));
        }
        let placement = said.queue.place(&session.live(), said.starts);
        let fate = placement.fate.clone();
        let (accepted, slot) =
            self.store_placed(&session, &mut log, message, allowance.as_ref(), placement)?;
        drop(log);
        match slot {
            Some(slot) => slot.start(),
            None if said.starts == TurnStart::Now => self.engine.workers.ensure(&session),
            None => {}
        }
        Ok(Placed { accepted, fate })
    }

    /// Stores a message in place of the one that the platform calls `gateway_message_id`, in one append, unless
    /// a call of the model may have contained that.
    ///
    /// Errors: as of [`say_in_chat`](Sessions::say_in_chat).
    pub fn replace_in_chat(
        &self,
        id: &SessionId,
        gateway_message_id: &str,
        said: MessageInChat,
    ) -> Result<Replaced, EngineError> {
        let session = self.engine.open.get(id)?;
        let message = self.prepared(said.message)?;
        let sender_id = message.sender_id(&self.engine.parts.redactor);
        let is_meant = |one: &UserMessage| {
            one.sender_id == sender_id
                && one.gateway_message_id.as_deref() == Some(gateway_message_id)
        };
        let mut log = session.log();
        if let Some(known) = self.repeated_message(&session, &mut log, &message)? {
            return Ok(Replaced::Replaced(placed_before(known)));
        }
        let placement = in_place(&session.live(), is_meant);
        let Some(placement) = placement else {
            return Ok(if self.has_message(&session, is_meant)? {
                Replaced::TooLate
            } else {
                Replaced::Unknown
            });
        };
        let fate = placement.fate.clone();
        // It takes no more than the one in whose place it stands.
        let (accepted, slot) = self.store_placed(&session, &mut log, message, None, placement)?;
        drop((log, slot));
        if said.starts == TurnStart::Now {
            self.engine.workers.ensure(&session);
        }
        Ok(Replaced::Replaced(Placed { accepted, fate }))
    }

    /// Has the turn begin that a message [waits for](TurnStart::Later); nothing where there is none.
    pub fn begin_turn(&self, id: &SessionId) -> Result<(), EngineError> {
        let session = self.engine.open.get(id)?;
        self.set_going(&session);
        Ok(())
    }

    /// Decides the open question, as somebody in a chat says. A repeated key decides nothing.
    ///
    /// Errors: as of [`approve`](Sessions::approve).
    pub fn decide_in_chat(
        &self,
        id: &SessionId,
        call_id: &str,
        decision: Decision,
        by: &Principal,
        key: Option<&SourceId>,
    ) -> Result<Decided, EngineError> {
        let cause = self.said_by(by, key)?;
        let session = self.engine.open.get(id)?;
        let mut log = session.log();
        if let Some(known) = said_before(&session, &mut log, &cause)? {
            return Ok(Decided { seq: known.seq });
        }
        self.engine.draining.refuse()?;
        let events = decide_open(&session, call_id, None, decision, cause)?;
        let Some(events) = events else {
            drop(log);
            return Err(self.why_not_pending(&session, call_id)?);
        };
        let records = session.commit(&mut log, events)?;
        drop(log);
        self.set_going(&session);
        let seq = records.first().map_or(Seq::ZERO, |record| record.seq);
        Ok(Decided { seq })
    }

    /// Ends the unfinished turn of a chat's session as [`cancel`](Sessions::cancel) does, and all that waits
    /// for one.
    ///
    /// Errors: as of [`cancel`](Sessions::cancel).
    pub fn cancel_in_chat(
        &self,
        id: &SessionId,
        by: &Principal,
        key: Option<&SourceId>,
    ) -> Result<StopInChat, EngineError> {
        let cause = self.said_by(by, key)?;
        let session = self.engine.open.get(id)?;
        if said_before(&session, &mut session.log(), &cause)?.is_some() {
            return Ok(StopInChat::Repeated);
        }
        Ok(if self.cancel_by(&session, cause)? {
            StopInChat::Stopped
        } else {
            StopInChat::NothingToStop
        })
    }

    /// Ends a chat's session as [`end`](Sessions::end) does; whether it had not ended before. The next message of
    /// the chat begins another.
    ///
    /// Errors: as of [`end`](Sessions::end), but for one that has ended.
    pub fn end_in_chat(
        &self,
        id: &SessionId,
        by: &Principal,
        key: Option<&SourceId>,
    ) -> Result<bool, EngineError> {
        let cause = self.said_by(by, key)?;
        match self.end_by(id, cause) {
            Ok(()) => Ok(true),
            Err(EngineError::SessionEnded(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether what `from` said with `key` was there before, in the open session of a chat or in the one that
    /// ended last. `gateway_message_id` is the platform's id, if it is a message that is to be stored.
    ///
    /// Errors: the store's. What cannot be read at all is passed over.
    pub fn knows_key(
        &self,
        agent: &str,
        chat: &Chat,
        from: &Principal,
        key: &SourceId,
        gateway_message_id: Option<&str>,
    ) -> Result<KeySeen, EngineError> {
        let key = self.redacted_key(key.clone())?;
        let redactor = &self.engine.parts.redactor;
        let names = [from.sender_id(), from.logged()];
        let keys = names.map(|mut name| {
            redactor.redact_some(&mut name);
            MessageKey::new(name, key.clone())
        });
        let found = self.with_chats(|chats| chats.get(agent, chat))?;
        let in_open = found.open().map(|id| self.find_key(&id, &keys));
        let record = match in_open.map(passed_over).transpose()?.flatten() {
            Some(record) => Some(record),
            None => {
                let in_ended = found.ended().map(|id| self.find_key_of_ended(&id, &keys));
                in_ended.map(passed_over).transpose()?.flatten()
            }
        };
        Ok(match record.map(|record| record.event) {
            None => KeySeen::No,
            Some(Event::UserMessage(known))
                if known.gateway_message_id.is_some()
                    && known.gateway_message_id.as_deref() != gateway_message_id =>
            {
                KeySeen::OfAnother
            }
            Some(_) => KeySeen::Repeated,
        })
    }

    fn find_key(&self, id: &SessionId, keys: &[MessageKey]) -> Result<Option<Record>, EngineError> {
        let session = self.engine.open.get(id)?;
        let mut log = session.log();
        session.keyed_record(&mut log, keys)
    }

    fn find_key_of_ended(
        &self,
        id: &SessionId,
        keys: &[MessageKey],
    ) -> Result<Option<Record>, EngineError> {
        const ONE: ReadLimit = ReadLimit {
            records: 1,
            bytes: 0,
        };
        let store = &*self.engine.parts.store;
        let known = self.engine.chats.ended_keys(id, || {
            let summary = store.summary(id)?;
            let mut known = MessageKeys::default();
            read_records(store, id, summary.keys_from(), summary.last_seq, |record| {
                known.learn(record);
            })?;
            Ok::<_, EngineError>(known)
        })?;
        let Some(seq) = keys.iter().find_map(|key| known.get(key)) else {
            return Ok(None);
        };
        Ok(store.records(id, seq, ONE)?.into_iter().next())
    }

    /// The sessions of a gateway's chat, all of its threads, are those of the chat `to` from now on.
    ///
    /// Errors: the store's, if it may go well later; those that were moved stay so.
    pub fn move_chat(&self, gateway: &str, from: &str, to: &str) -> Result<(), EngineError> {
        let filter = SessionFilter {
            chat: Some(ChatKey {
                gateway: gateway.to_owned(),
                chat_id: from.to_owned(),
            }),
            ..SessionFilter::default()
        };
        self.each_of_chats(filter, |id, summary, chat| {
            let has_ended = summary.status == Status::Completed;
            if !has_ended && let Err(error) = self.move_session(id, from, to) {
                if error.is_passing() {
                    return Err(error);
                }
                log::warn!(
                    "session {id} stays in the chat {from} of {gateway}: {}",
                    chain(&error)
                );
            }
            let moved = Chat {
                chat_id: to.to_owned(),
                ..chat.clone()
            };
            self.with_chats(|chats| {
                chats.forget(&summary.agent, chat);
                chats.note(&summary.agent, &moved, id, has_ended);
            })
        })
    }

    fn move_session(&self, id: &SessionId, from: &str, to: &str) -> Result<(), EngineError> {
        let session = self.engine.open.get(id)?;
        session.decide(|live| {
            let is_there = live.state.summary.gateway_chat_id.as_deref() == Some(from);
            let moves = is_there && !live.state.is_over();
            let event = moves.then(|| Event::SessionChanged {
                title: None,
                model: None,
                gateway_chat_id: Some(to.to_owned()),
            });
            Ok((event.into_iter().collect(), ()))
        })?;
        Ok(())
    }

    /// The open session of `agent` in a gateway's chat.
    pub fn find_by_chat(
        &self,
        agent: &str,
        chat: &Chat,
    ) -> Result<Option<SessionView>, EngineError> {
        let _one_at_a_time = self.lock_chat(agent, chat);
        self.find_open(agent, chat)
    }

    /// Says who is told of what is written in sessions of chats, from now on; only the first one counts.
    pub fn set_chat_listener(&self, listener: Arc<dyn ChatListener>) {
        if self.engine.parts.chat_listener.set(listener).is_err() {
            log::debug!("somebody listens to chats already");
        }
    }

    pub(super) fn lock_chat(&self, agent: &str, chat: &Chat) -> MutexGuard<'_, ()> {
        let thread = chat.thread_id.as_deref().unwrap_or_default();
        let (gateway, chat_id) = chat.whole();
        let key = [agent, gateway, chat_id, thread].join("\n");
        self.engine.chat_locks.lock(&key)
    }

    /// The open session of a chat, whose lock the caller holds. One that nobody can go on with is passed over,
    /// or its chat would be dumb for ever.
    pub(super) fn find_open(
        &self,
        agent: &str,
        chat: &Chat,
    ) -> Result<Option<SessionView>, EngineError> {
        let Some(id) = self.with_chats(|chats| chats.get(agent, chat))?.open() else {
            return Ok(None);
        };
        match self.engine.open.get(&id) {
            Ok(session) => {
                let live = session.live();
                let summary = &live.state.summary;
                let is_theirs = summary.agent == agent && summary.chat().as_ref() == Some(chat);
                if is_theirs && !live.state.is_over() && !live.is_read_only {
                    return Ok(Some(live.view(&id)));
                }
            }
            Err(EngineError::SessionNotFound(_)) => {}
            Err(error) if error.is_for_good() => {
                log::warn!(
                    "session {id} cannot be gone on with, and its chat begins another: {}",
                    chain(&error)
                );
            }
            Err(error) => return Err(error),
        }
        self.with_chats(|chats| chats.note_end(agent, chat, &id))?;
        Ok(None)
    }

    pub(super) fn with_chats<T>(
        &self,
        look: impl FnOnce(&mut KnownChats) -> T,
    ) -> Result<T, EngineError> {
        self.engine.chats.with(|| self.read_chats(), look)
    }

    fn read_chats(&self) -> Result<KnownChats, EngineError> {
        let mut chats = KnownChats::default();
        self.each_of_chats(SessionFilter::default(), |id, summary, chat| {
            let has_ended = summary.status == Status::Completed;
            chats.note(&summary.agent, chat, id, has_ended);
            Ok(())
        })?;
        Ok(chats)
    }

    /// Looks at the sessions of chats that pass, newest first.
    fn each_of_chats(
        &self,
        filter: SessionFilter,
        mut look: impl FnMut(&SessionId, &Summary, &Chat) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        /// So many at a time, so that none are in memory but those of chats.
        const PAGE: usize = 256;
        let mut query = PageQuery {
            before: None,
            limit: PAGE,
            filter,
        };
        loop {
            let page = self.engine.parts.store.page(&query)?;
            for Listed { id, found } in page.sessions {
                match found {
                    // What somebody unknown wrote of a chat does not make it that chat's.
                    Ok(_) if self.engine.open.is_foreign(&id) => {}
                    Ok(summary) => {
                        if let Some(chat) = summary.chat() {
                            look(&id, &summary, &chat)?;
                        }
                    }
                    Err(error) => log::warn!("session {id} is no chat's: {}", chain(&error)),
                }
            }
            query.before = page.next;
            if query.before.is_none() {
                return Ok(());
            }
        }
    }

    /// The message as it may be compared and stored, for a turn that runs on without a client.
    fn prepared(&self, message: NewMessage) -> Result<NewMessage, EngineError> {
        let mut message = NewMessage {
            detached: true,
            ..message
        };
        self.redact_message(&mut message)?;
        Ok(message)
    }

    pub(super) fn said_by(
        &self,
        by: &Principal,
        key: Option<&SourceId>,
    ) -> Result<SaidBy, EngineError> {
        let mut by = by.logged();
        self.engine.parts.redactor.redact_some(&mut by);
        let key = key.map(|key| self.redacted_key(key.clone()));
        Ok(SaidBy {
            by,
            source_id: key.transpose()?,
        })
    }

    /// Whether one of the last messages of a session is `meant`.
    fn has_message(
        &self,
        session: &Session,
        is_meant: impl Fn(&UserMessage) -> bool,
    ) -> Result<bool, EngineError> {
        let (from, last) = {
            let live = session.live();
            (live.state.summary.keys_from(), live.last_seq())
        };
        let mut is_there = false;
        read_records(
            &*self.engine.parts.store,
            &session.id,
            from,
            last,
            |record| {
                is_there |= matches!(&record.event, Event::UserMessage(one) if is_meant(one));
            },
        )?;
        Ok(is_there)
    }
}

impl QueueRule {
    /// What becomes of a message that comes now, and of those that wait.
    fn place(&self, live: &Live, starts: TurnStart) -> Placement {
        let state = &live.state;
        let is_begun = state.turn.is_some() || !state.held.is_empty();
        let is_idle = !is_begun && !state.is_asked();
        let joins = starts == TurnStart::Joins;
        let placement = |fate| Placement {
            own_turn: match self.mode {
                QueueMode::Sequential if joins => Some(OwnTurn::Joins),
                QueueMode::Sequential => Some(OwnTurn::Begins),
                QueueMode::Batch | QueueMode::Drop => None,
            },
            fate,
            why: WithdrawnBy::Full,
            may_begin: starts == TurnStart::Now,
        };
        let withdrawn = |why| placement(MessageFate::Withdrawn(why));
        let takes = |in_place_of| placement(MessageFate::Taken { in_place_of });
        if self.mode == QueueMode::Drop && !is_idle && (is_begun || !joins) {
            return withdrawn(WithdrawnBy::Busy);
        }
        let waiting = live.uncalled();
        let max = usize::try_from(self.max_pending).unwrap_or(usize::MAX);
        let too_many = waiting.len().saturating_add(1).saturating_sub(max);
        if is_idle || too_many == 0 {
            return takes(Vec::new());
        }
        match self.overflow {
            Overflow::DropOld if too_many <= waiting.len() => {
                let oldest = waiting.iter().take(too_many);
                takes(oldest.map(|one| one.message.message_id.clone()).collect())
            }
            Overflow::DropOld | Overflow::DropNew => withdrawn(WithdrawnBy::Full),
            Overflow::Reject => withdrawn(WithdrawnBy::Rejected),
        }
    }
}

/// The place of a message that no call of the model has contained, for one that is to stand there.
fn in_place(live: &Live, is_meant: impl Fn(&UserMessage) -> bool) -> Option<Placement> {
    let uncalled = live.uncalled();
    let old = uncalled.into_iter().rfind(|one| is_meant(&one.message))?;
    let has_old = |group: &Vec<Unseen>| group.iter().any(|one| one.seq == old.seq);
    let is_of_same = |group: &Vec<Unseen>| {
        let last = group.last();
        last.is_some_and(|last| last.message.sender_id == old.message.sender_id)
    };
    // Where the sender has several turns to come, only the last one's messages can be joined.
    let last_of_sender = live.state.held.iter().rfind(|group| is_of_same(group));
    let joins = last_of_sender.is_none_or(has_old);
    Some(Placement {
        own_turn: old.message.own_turn.map(|_| {
            if joins {
                OwnTurn::Joins
            } else {
                OwnTurn::Begins
            }
        }),
        fate: MessageFate::Taken {
            in_place_of: vec![old.message.message_id.clone()],
        },
        why: WithdrawnBy::Edited,
        may_begin: false,
    })
}

fn placed_before(accepted: Accepted) -> Placed {
    Placed {
        accepted,
        fate: MessageFate::Taken {
            in_place_of: Vec::new(),
        },
    }
}

/// The record of what was said with the same key before; nothing without one.
fn said_before(
    session: &Session,
    log: &mut LogWriter,
    cause: &SaidBy,
) -> Result<Option<Record>, EngineError> {
    let Some(key) = &cause.source_id else {
        return Ok(None);
    };
    let key = MessageKey::new(cause.by.clone(), key.clone());
    session.keyed_message(log, &key)
}

/// Nothing of a session that cannot be read, or is not there any more.
fn passed_over<T>(found: Result<Option<T>, EngineError>) -> Result<Option<T>, EngineError> {
    match found {
        Err(error) if error.is_for_good() || matches!(error, EngineError::SessionNotFound(_)) => {
            Ok(None)
        }
        found => found,
    }
}

#[cfg(test)]
mod tests;
