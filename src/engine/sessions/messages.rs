//! What people say: stored, and answered in a turn.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::{Event, Record, Status, UserMessage};
use crate::domain::ids::{MessageId, Seq, SessionId, SourceId};
use crate::engine::error::{EngineError, chain};
use crate::engine::events::goes_on;
use crate::engine::open::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::{Accepted, NewMessage, Overheard};
use crate::engine::spending::ledger::Allowance;
use crate::engine::watch::feed::Feed;
use crate::engine::watch::live::WatcherRole;
use crate::engine::watch::subscription::{Subscription, WatcherGuard};
use crate::engine::watch::view::PendingApproval;

/// How many sessions may wait for a slot, for each slot.
const WAITING_PER_SLOT: usize = 4;
/// When a caller that was told to wait should come again.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Sessions {
    /// Stores a message; on return it is on disk. Its turn runs on without a client only if the
    /// message says so (`detached`).
    pub fn submit(&self, id: &SessionId, message: NewMessage) -> Result<Accepted, EngineError> {
        let session = self.engine.open.get(id)?;
        let accepted = self.store_message(&session, message)?;
        self.engine.workers.ensure(&session);
        Ok(accepted)
    }

    /// Stores a message and follows it: the subscription begins with `Start` and ends with the
    /// end of the turn that answers it. It counts as an attached client from before the message
    /// is stored.
    pub fn submit_and_follow(
        &self,
        id: &SessionId,
        message: NewMessage,
    ) -> Result<(Accepted, Subscription), EngineError> {
        let session = self.engine.open.get(id)?;
        let watcher = WatcherGuard::take(&session, WatcherRole::Following);
        let accepted = self.store_message(&session, message)?;
        let asked = {
            let live = session.live();
            let open = live.state.approval();
            open.filter(|open| open.seq < accepted.seq)
                .map(PendingApproval::from)
        };
        self.set_going(&session);
        let feed = Feed::of_message(accepted.seq);
        let subscription = watcher
            .show(&self.engine.parts.store, feed)
            .asked_before(asked);
        Ok((accepted, subscription))
    }

    fn store_message(
        &self,
        session: &Arc<Session>,
        mut message: NewMessage,
    ) -> Result<Accepted, EngineError> {
        // Before it is compared with what was stored under its key.
        self.redact_message(&mut message)?;
        // Before the lock: it may read the logs of other sessions.
        let allowance = self.allowance_of(session)?;
        let mut log = session.log();
        let key = message.message_key(&self.engine.parts.redactor);
        if let Some(key) = key
            && let Some(known) = session.keyed_message(&mut log, &key)?
        {
            return repeated(known, &message);
        }
        self.refuse_new_turn(session)?;
        let begins_turn = session.live().state.turn.is_none();
        let admitted = allowance.as_ref();
        let admitted = admitted.map(|allowance| allowance.admit(&session.id, begins_turn));
        let admitted = admitted.transpose()?;
        let message_id = self.engine.parts.ids.message_id();
        let events = message_events(session, message_id.clone(), message);
        let records = session.commit(&mut log, events)?;
        if let Some(admitted) = admitted {
            admitted.keep();
        }
        Ok(Accepted {
            message_id,
            seq: records.last().map_or(Seq::ZERO, |record| record.seq),
            is_repeat: false,
        })
    }

    /// Sees to it that somebody works for a session that somebody has come for, or has said
    /// something in: that is stored, and not to be called a failure when this is.
    pub(super) fn set_going(&self, session: &Arc<Session>) {
        match self.engine.workers.take_up(session) {
            // Somebody ended it a moment ago.
            Ok(()) | Err(EngineError::SessionEnded(_) | EngineError::SessionNotFound(_)) => {}
            Err(error) => log::warn!("session {} stays as it is: {}", session.id, chain(&error)),
        }
    }

    /// Stores talk; on return it is on disk, and the number of its record is known. A repeated key
    /// stores nothing. It wakes nobody, and does not count as asking: what the model is to see of
    /// it stands before the next message that does, as far as it is recent and not too much.
    pub fn overhear(
        &self,
        id: &SessionId,
        mut message: NewMessage,
        kept: Overheard,
    ) -> Result<Seq, EngineError> {
        self.redact_message(&mut message)?;
        let session = self.engine.open.get(id)?;
        let mut log = session.log();
        let key = message.message_key(&self.engine.parts.redactor);
        if let Some(key) = key
            && let Some(known) = session.keyed_message(&mut log, &key)?
        {
            return Ok(known.seq);
        }
        self.engine.draining.refuse()?;
        self.engine.parts.space.refuse_when_full()?;
        let event = match kept {
            Overheard::Shown => Event::from(UserMessage {
                passive: true,
                detached: false,
                ..message.into_event(self.engine.parts.ids.message_id())
            }),
            Overheard::Logged => Event::SilentMessage {
                content: message.content.into(),
                sender_id: message.from.sender_id().unwrap_or_default(),
                sender_name: message.sender_name,
                source_id: message.key,
            },
        };
        let records = session.commit(&mut log, vec![event])?;
        Ok(records.last().map_or(Seq::ZERO, |record| record.seq))
    }

    /// Covers the secrets of a message that is not stored yet, its key's among them.
    pub(super) fn redact_message(&self, message: &mut NewMessage) -> Result<(), EngineError> {
        message.content.redact(&self.engine.parts.redactor);
        let key = message.key.take();
        message.key = key.map(|key| self.redacted_key(key)).transpose()?;
        Ok(())
    }

    /// A caller's key as it is written and compared. It is the caller's own, and stands in files
    /// like any text.
    pub(super) fn redacted_key(&self, key: SourceId) -> Result<SourceId, EngineError> {
        match self.engine.parts.redactor.redact(key.as_str()) {
            Cow::Borrowed(_) => Ok(key),
            Cow::Owned(redacted) => Ok(SourceId::parse(&redacted)?),
        }
    }

    pub(super) fn refuse_new_turn(&self, session: &Session) -> Result<(), EngineError> {
        self.engine.draining.refuse()?;
        self.engine.parts.space.refuse_when_full()?;
        let agent = {
            let live = session.live();
            if live.state.is_over() {
                return Err(EngineError::SessionEnded(session.id.clone()));
            }
            live.state.summary.agent.clone()
        };
        self.engine.agents.find(&agent, EngineError::AgentGone)?;
        if self.engine.workers.waiting() >= self.engine.max_active.saturating_mul(WAITING_PER_SLOT)
        {
            return Err(EngineError::Busy {
                retry_after: BUSY_RETRY_AFTER,
            });
        }
        Ok(())
    }

    /// What the agent of a session may spend, if it has limits.
    fn allowance_of(&self, session: &Session) -> Result<Option<Allowance>, EngineError> {
        let name = session.live().state.summary.agent.clone();
        match self.engine.agents.get(&name) {
            Some(agent) => self.engine.parts.ledger.allowance(&agent),
            None => Ok(None),
        }
    }
}

/// The events that store a message; a paused session goes on with it.
fn message_events(session: &Session, message_id: MessageId, message: NewMessage) -> Vec<Event> {
    let is_paused = session.live().state.summary.status == Status::Paused;
    let stored = Event::from(message.into_event(message_id));
    is_paused
        .then(goes_on)
        .into_iter()
        .chain([stored])
        .collect()
}

/// The outcome of a message whose key was seen before.
fn repeated(known: Record, message: &NewMessage) -> Result<Accepted, EngineError> {
    let Event::UserMessage(stored) = known.event else {
        return Err(EngineError::KeyReused);
    };
    if stored.content != message.content.as_str() {
        return Err(EngineError::KeyReused);
    }
    Ok(Accepted {
        message_id: stored.message_id.clone(),
        seq: known.seq,
        is_repeat: true,
    })
}
