//! What people say: stored, and answered in a turn.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::base::pool::NoThread;
use crate::domain::event::{Attachment, Event, OwnTurn, Record, Status, UserMessage};
use crate::domain::ids::{MessageId, Seq, SessionId, SourceId};
use crate::engine::error::{EngineError, chain};
use crate::engine::events::{self, goes_on};
use crate::engine::open::session::{LogWriter, Session};
use crate::engine::sessions::Sessions;
use crate::engine::sessions::chat_requests::{MessageFate, WithdrawnBy};
use crate::engine::sessions::requests::{Accepted, NewMessage, Overheard};
use crate::engine::spending::ledger::Allowance;
use crate::engine::turn::workers::ReservedSlot;
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
        let (accepted, slot) = self.store_message(&session, message)?;
        match slot {
            Some(slot) => slot.start(),
            None => self.engine.workers.ensure(&session),
        }
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
        let (followed, slot) = self.store_and_follow(&session, message)?;
        match slot {
            Some(slot) => slot.start(),
            None => self.set_going(&session),
        }
        Ok(followed)
    }

    /// As [`submit_and_follow`](Sessions::submit_and_follow), on a thread that works for the session then, if
    /// nobody does: so one thread does all that a turn needs. What came of it, `then` is told there, with
    /// `with`; it must not wait for what others do.
    ///
    /// Errors: gives `with` back, as there is no thread; nothing is stored.
    pub fn submit_and_follow_on_thread<W: Send + 'static>(
        &self,
        id: SessionId,
        message: NewMessage,
        with: W,
        then: impl FnOnce(W, Result<(Accepted, Subscription), EngineError>) + Send + 'static,
    ) -> Result<(), (W, NoThread)> {
        let sessions = self.clone();
        let workers = &self.engine.workers;
        workers.on_thread(id.clone(), with, move |with| {
            let session = match sessions.engine.open.get(&id) {
                Ok(session) => session,
                Err(error) => return then(with, Err(error)),
            };
            match sessions.store_and_follow(&session, message) {
                Err(error) => then(with, Err(error)),
                Ok((followed, slot)) => {
                    // The turn has begun, whatever becomes of the answer.
                    let told = catch_unwind(AssertUnwindSafe(|| then(with, Ok(followed))));
                    match slot {
                        Some(slot) => slot.work_here(),
                        None => sessions.set_going(&session),
                    }
                    told.unwrap_or_else(|panic| resume_unwind(panic));
                }
            }
        })
    }

    fn store_and_follow<'a>(
        &'a self,
        session: &'a Arc<Session>,
        message: NewMessage,
    ) -> Result<((Accepted, Subscription), Option<ReservedSlot<'a>>), EngineError> {
        let watcher = WatcherGuard::take(session, WatcherRole::Following);
        let (accepted, slot) = self.store_message(session, message)?;
        let asked = {
            let live = session.live();
            let open = live.state.approval();
            open.filter(|open| open.seq < accepted.seq)
                .map(PendingApproval::from)
        };
        let feed = Feed::of_message(accepted.seq);
        let subscription = watcher
            .show(&self.engine.parts.store, feed)
            .asked_before(asked);
        Ok(((accepted, subscription), slot))
    }

    /// Where nothing is in its way the turn begins with the message, in one append: what is returned
    /// then is the slot of its worker.
    fn store_message<'a>(
        &'a self,
        session: &'a Arc<Session>,
        mut message: NewMessage,
    ) -> Result<(Accepted, Option<ReservedSlot<'a>>), EngineError> {
        // Before it is compared with what was stored under its key.
        self.redact_message(&mut message)?;
        // Before the lock: it may read the logs of other sessions.
        let allowance = self.allowance_of(session)?;
        let mut log = session.log();
        if let Some(known) = self.repeated_message(session, &mut log, &message)? {
            return Ok((known, None));
        }
        let placement = Placement::usual();
        self.store_placed(session, &mut log, message, allowance.as_ref(), placement)
    }

    /// The message that came with the same key before.
    ///
    /// Errors: [`EngineError::KeyReused`] where that is another.
    pub(super) fn repeated_message(
        &self,
        session: &Session,
        log: &mut LogWriter,
        message: &NewMessage,
    ) -> Result<Option<Accepted>, EngineError> {
        let Some(key) = message.message_key(&self.engine.parts.redactor) else {
            return Ok(None);
        };
        let known = session.keyed_message(log, &key)?;
        known.map(|known| repeated(known, message)).transpose()
    }

    /// Stores a message that is not there yet as `placement` says, in one append.
    pub(super) fn store_placed<'a>(
        &'a self,
        session: &'a Arc<Session>,
        log: &mut LogWriter,
        message: NewMessage,
        allowance: Option<&Allowance>,
        placement: Placement,
    ) -> Result<(Accepted, Option<ReservedSlot<'a>>), EngineError> {
        self.refuse_new_turn(session)?;
        let is_taken = placement.is_taken();
        let begins_turn = placement.own_turn.is_some() || session.live().state.turn.is_none();
        let admitted = allowance.filter(|_| is_taken);
        let admitted = admitted.map(|allowance| allowance.admit(&session.id, begins_turn));
        let admitted = admitted.transpose()?;
        let workers = &self.engine.workers;
        let may_begin = is_taken && placement.may_begin;
        let slot = may_begin.then(|| workers.reserve(session, message.detached));
        let slot = slot.flatten();
        let message_id = self.engine.parts.ids.message_id();
        let stored = UserMessage {
            own_turn: placement.own_turn.filter(|_| is_taken),
            ..message.into_event(message_id.clone())
        };
        let is_paused = session.live().state.summary.status == Status::Paused;
        // A paused session goes on with what is said in it.
        let mut events: Vec<Event> = (is_taken && is_paused).then(goes_on).into_iter().collect();
        let message_at = events.len();
        events.push(Event::from(stored));
        events.extend(placement.withdrawals(&message_id));
        if slot.is_some() {
            events.push(events::turn_start(self.engine.parts.ids.turn_id()));
        }
        let records = session.commit(log, events)?;
        if let Some(admitted) = admitted {
            admitted.keep();
        }
        let accepted = Accepted {
            message_id,
            seq: records[message_at].seq,
            is_repeat: false,
        };
        Ok((accepted, slot))
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
        let redactor = &self.engine.parts.redactor;
        redactor.redact_some(&mut message.gateway_message_id);
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
    pub(super) fn allowance_of(&self, session: &Session) -> Result<Option<Allowance>, EngineError> {
        let name = session.live().state.summary.agent.clone();
        match self.engine.agents.get(&name) {
            Some(agent) => self.engine.parts.ledger.allowance(&agent),
            None => Ok(None),
        }
    }
}

/// What is written with a message.
pub(super) struct Placement {
    /// Whether it has a turn to itself.
    pub(super) own_turn: Option<OwnTurn>,
    /// What is withdrawn with it: others, or itself.
    pub(super) fate: MessageFate,
    /// Why others are.
    pub(super) why: WithdrawnBy,
    /// Its turn may begin at once.
    pub(super) may_begin: bool,
}

impl Placement {
    /// It is seen by the next call of the model, and nothing else changes.
    fn usual() -> Placement {
        Placement {
            own_turn: None,
            fate: MessageFate::Taken {
                in_place_of: Vec::new(),
            },
            why: WithdrawnBy::Full,
            may_begin: true,
        }
    }

    fn is_taken(&self) -> bool {
        matches!(self.fate, MessageFate::Taken { .. })
    }

    fn withdrawals(self, own: &MessageId) -> Vec<Event> {
        let (withdrawn, why) = match self.fate {
            MessageFate::Taken { in_place_of } => (in_place_of, self.why),
            MessageFate::Withdrawn(why) => (vec![own.clone()], why),
        };
        let events = withdrawn
            .into_iter()
            .map(|message_id| Event::MessageDropped {
                message_id,
                reason: why.as_str().to_owned(),
            });
        events.collect()
    }
}

/// The outcome of a message whose key was seen before.
fn repeated(known: Record, message: &NewMessage) -> Result<Accepted, EngineError> {
    let Event::UserMessage(stored) = known.event else {
        return Err(EngineError::KeyReused);
    };
    // What a platform delivers again may come in other words, as its files do not; by its number it is
    // known.
    let is_same = match (&stored.gateway_message_id, &message.gateway_message_id) {
        (Some(known), Some(one)) => known == one,
        (Some(_), None) | (None, _) => {
            let digests =
                |files: &[Attachment]| Vec::from_iter(files.iter().map(|file| file.sha256.clone()));
            stored.content == message.content.as_str()
                && digests(&stored.attachments) == digests(&message.attachments)
        }
    };
    if !is_same {
        return Err(EngineError::KeyReused);
    }
    Ok(Accepted {
        message_id: stored.message_id.clone(),
        seq: known.seq,
        is_repeat: true,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use rustix::io::Errno;

    use super::*;
    use crate::base::fs::FaultFs;
    use crate::domain::event::OnDisconnect;
    use crate::domain::message::MessageText;
    use crate::domain::principal::Principal;
    use crate::engine::testing::{Bench, agent, says};
    use crate::engine::watch::live::{RunningWorker, Work};

    fn message(detached: bool) -> NewMessage {
        NewMessage {
            detached,
            ..NewMessage::new(Principal::Owner, MessageText::parse("hi").unwrap())
        }
    }

    /// Until the workers that there are have left.
    fn settle(bench: &Bench) {
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(bench.engine().workers.wait_idle(deadline), "still at work");
    }

    /// The log after the first event: of each append its events' types.
    fn appends(bench: &Bench, id: &SessionId) -> Vec<Vec<String>> {
        let mut appends: Vec<Vec<String>> = Vec::new();
        for record in bench.sessions.events(id, Seq(1), 1_000).unwrap() {
            let kind = serde_json::to_value(&record.event).unwrap()["type"].take();
            let kind = kind.as_str().unwrap().to_owned();
            match appends.last_mut() {
                Some(last) if record.cont => last.push(kind),
                _ => appends.push(vec![kind]),
            }
        }
        appends
    }

    #[test]
    fn a_turn_that_nothing_keeps_waiting_takes_two_appends() {
        let bench = Bench::new();
        let id = bench.new_session();
        for n in [0, 1] {
            let accepted = bench.sessions.submit(&id, message(false)).unwrap();
            // The message's number, not that of the turn.
            assert_eq!(accepted.seq, Seq(2 + 4 * n));
            settle(&bench);
        }
        let turn = [
            vec!["user_message", "turn_started"],
            vec!["assistant_response", "turn_ended"],
        ];
        assert_eq!(appends(&bench, &id), [turn.clone(), turn].concat());
    }

    #[test]
    fn a_message_to_a_session_at_work_begins_no_turn() {
        let bench = Bench::new();
        let session = bench.session([]);
        session.live().work = Work::RunningWorker(RunningWorker::new(1_000));
        bench.sessions.submit(&session.id, message(false)).unwrap();
        assert_eq!(appends(&bench, &session.id), [["user_message"]]);
    }

    #[test]
    fn a_message_that_must_wait_for_a_slot_begins_no_turn_before() {
        let bench = Bench::new();
        let (go_tx, go_rx) = crossbeam_channel::bounded::<()>(0);
        let sessions: Vec<_> = (0..5).map(|_| bench.new_session()).collect();
        for id in &sessions {
            let go_rx = go_rx.clone();
            bench.model.then(move |_, sink| {
                go_rx.recv().ok();
                says(sink, "ok")
            });
            bench.sessions.submit(id, message(false)).unwrap();
        }
        assert_eq!(bench.engine().workers.waiting(), 1);
        assert_eq!(appends(&bench, &sessions[4]), [["user_message"]]);
        drop(go_tx);
        settle(&bench);
        let appends = appends(&bench, &sessions[4]);
        assert_eq!(
            appends[1..3].concat(),
            ["turn_started", "assistant_response", "turn_ended"]
        );
    }

    #[test]
    fn a_turn_that_would_pause_at_once_is_not_begun() {
        for (detached, first) in [
            (false, &["user_message"][..]),
            (true, &["user_message", "turn_started"]),
        ] {
            let bench = Bench::with(|plan| {
                let mut ada = agent("ada");
                let spec = Arc::make_mut(&mut ada.spec);
                spec.session.on_disconnect = OnDisconnect::Pause;
                plan.agents = vec![ada];
            });
            let id = bench.new_session();
            bench.sessions.submit(&id, message(detached)).unwrap();
            settle(&bench);
            assert_eq!(appends(&bench, &id)[0], first);
        }
    }

    #[test]
    fn a_slot_whose_session_was_taken_away_begins_nothing_and_takes_it_from_nobody() {
        let bench = Bench::new();
        let session = bench.session([]);
        let workers = &bench.engine().workers;
        let slot = workers.reserve(&session, false).unwrap();
        workers.take_away(&session);
        assert!(workers.are_idle());
        session.live().work = Work::Queued;
        slot.start();
        workers.stop(Instant::now() + Duration::from_secs(20));
        assert!(matches!(session.live().work, Work::Queued));
    }

    #[test]
    fn a_session_is_looked_at_again_after_a_slot_that_came_to_nothing() {
        let bench = Bench::new();
        let session = bench.session([]);
        let slot = bench.engine().workers.reserve(&session, false).unwrap();
        bench.engine().open.let_go_if_idle(&session.id);
        assert!(!session.live().is_look_due, "it is at work");
        drop(slot);
        assert!(session.live().is_look_due);
    }

    #[test]
    fn a_message_that_could_not_be_stored_leaves_its_slot_and_the_session_free() {
        let full_from = Arc::new(AtomicU64::new(u64::MAX));
        let bench = Bench::with(|plan| {
            let disk = Arc::clone(&plan.fs);
            plan.fs = Arc::new(FaultFs::full_from(disk, Errno::IO, Arc::clone(&full_from)));
        });
        let id = bench.new_session();
        full_from.store(0, Ordering::SeqCst);
        // More often than there are slots.
        for _ in 0..5 {
            bench.sessions.submit(&id, message(false)).unwrap_err();
        }
        assert!(bench.engine().workers.are_idle());
        full_from.store(u64::MAX, Ordering::SeqCst);
        bench.sessions.submit(&id, message(false)).unwrap();
        settle(&bench);
        assert_eq!(appends(&bench, &id).len(), 2);
    }
}
