//! The façade that every surface calls.

pub(in crate::engine) mod requests;

pub use crate::engine::watch::view;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::domain::event::{
    ApprovalKind, Decision, EndReason, Event, FORMAT, Record, SessionStart, Status, UserMessage,
};
use crate::domain::ids::{MessageId, Seq, SessionId, SourceId};
use crate::domain::message::is_blank;
use crate::domain::state::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;
use crate::engine::agent::Agent;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::events::{self, CANCELLED, Ending, goes_on};
use crate::engine::inner::{Inner, Parts};
use crate::engine::looks::{Due, Looks};
use crate::engine::open::session::{PAGE, Session, read_records};
use crate::engine::sessions::requests::{
    Accepted, Begin, Decided, ListQuery, NewMessage, Presence,
};
use crate::engine::turn::worker;
use crate::engine::turn::workers::{self, Workers};
use crate::engine::upkeep::recovery;
use crate::engine::upkeep::room::Parked;
use crate::engine::upkeep::timer::Timer;
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::feed::{Feed, FeedEvent, FeedItem};
use crate::engine::watch::live::{Interrupt, Live, Role};
use crate::engine::watch::subscription::{Seat, Subscription, cursor_now, feed_after};
use crate::engine::watch::view::{PendingApproval, SessionPage, SessionView, ShownMessage};
use crate::store::{CreationKey, Limit};

/// How long a cancelled worker may take to leave before its session is taken from it.
const CANCEL_PATIENCE: Duration = Duration::from_millis(200);

/// All sessions of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub(in crate::engine) inner: Arc<Inner>,
    pub(in crate::engine) workers: Arc<Workers>,
    tending: Arc<Mutex<Option<Tending>>>,
}

/// The timer, and the way to it that the rest of the engine has: the timer's thread ends when
/// nobody can ask it for anything.
#[derive(Debug)]
struct Tending {
    looks: Arc<Looks>,
    _timer: Timer<Due>,
}

impl Drop for Tending {
    fn drop(&mut self) {
        self.looks.end();
    }
}

impl Sessions {
    /// Starts the engine: its threads are `timer`, `reaper`, one for each session at work, and
    /// sometimes `sweep`.
    ///
    /// Errors: the system has no thread to give.
    pub fn start(parts: Parts) -> std::io::Result<Sessions> {
        let max_active = parts.settings.max_active;
        let inner = Arc::new(Inner::new(parts)?);
        let working = Arc::clone(&inner);
        let workers = Workers::new(
            max_active,
            Arc::new(move |session, generation| worker::work(&working, session, generation)),
        )?;
        let tended = Arc::clone(&inner);
        let workers = Arc::new(workers);
        let tending_workers = Arc::clone(&workers);
        let timer = Timer::start(move |due| {
            let next = match due {
                Due::Look(id) => {
                    tended.look_at(&id);
                    None
                }
                Due::Sweep => {
                    tended.start_sweep();
                    None
                }
                Due::Room => {
                    let next = recovery::look_for_room(&tended, &tending_workers);
                    next.map(|at| (at, Due::Room))
                }
                Due::Questions => {
                    let next = tended.look_at_questions(&tending_workers);
                    next.map(|at| (at, Due::Questions))
                }
            };
            tended.questions.look_if_missed();
            let missed = || Some((tended.room.missed_look()?, Due::Room));
            next.or_else(missed)
        })?;
        inner.looks.begin(timer.asked_tx());
        let tending = Tending {
            looks: Arc::clone(&inner.looks),
            _timer: timer,
        };
        Ok(Sessions {
            inner,
            workers,
            tending: Arc::new(Mutex::new(Some(tending))),
        })
    }

    /// Takes no more messages, lets replies in flight finish for at most `grace`, then parks
    /// them: they go on after the next start. On return all is on disk and all threads of the
    /// engine have ended, but for one that hangs where nothing can end it.
    pub fn stop(&self, grace: Duration) {
        /// What parking a turn may take: a write and a sync on a slow disk.
        const PARKING: Duration = Duration::from_secs(3);
        self.inner.drain();
        self.workers.clear_queue();
        if !self.workers.wait_idle(Instant::now() + grace) {
            for session in self.inner.registry.all() {
                workers::interrupt(&session, Interrupt::Shutdown);
            }
        }
        self.workers.stop(Instant::now() + PARKING);
        // A leap since the last look is seen now, or the next process could not tell it from time.
        if let Err(error) = self.inner.look_at_clock() {
            log::debug!("what the clock shows is not kept: {}", chain(&error));
        }
        drop(lock(&self.tending).take());
        self.inner.join_sweep();
        for session in self.inner.registry.all() {
            session.save_snapshot_if_free();
        }
    }

    /// Refuses new messages from here on.
    pub fn drain(&self) {
        self.inner.drain();
    }

    /// Whether nothing happens and nothing is due: no turn is at work or waits for a slot or for room,
    /// nobody watches a session, and no question will end by itself.
    pub fn is_at_rest(&self) -> bool {
        let is_watched = |session: &Arc<Session>| session.live().has_watchers();
        self.workers.are_idle()
            && self.inner.room.waiting().is_none()
            && !self.inner.questions.is_one_due()
            && !self.inner.registry.all().iter().any(is_watched)
    }

    /// Whether a turn is at work or waits for a slot.
    pub fn is_working(&self) -> bool {
        !self.workers.are_idle()
    }

    /// How many sessions can't be written until the process starts anew, because a write failed.
    pub fn read_only(&self) -> usize {
        self.inner.store.read_only()
    }

    /// Whether what comes can be stored, as far as can be told without writing.
    ///
    /// Errors: [`EngineError::DiskFull`] when too little space is left; the store's when it cannot
    /// tell.
    pub fn can_store(&self) -> Result<(), EngineError> {
        self.inner.room.refuse_when_full()
    }

    /// How many turns wait until something can be written or begun, and why the last of them does;
    /// `None` when there are none.
    pub fn waiting_for_room(&self) -> Option<(usize, String)> {
        self.inner.room.waiting()
    }

    /// Whether new messages are refused.
    pub fn is_draining(&self) -> bool {
        self.inner.is_draining()
    }

    /// Creates a session of `agent`; a repeated `key` returns the session it created before.
    pub fn create(&self, agent: &str, key: Option<&SourceId>) -> Result<SessionView, EngineError> {
        self.inner.refuse_when_draining()?;
        let agent = self.inner.agents.find(agent, EngineError::AgentNotFound)?;
        let Some(key) = key else {
            return self.create_new(&agent).map(|(view, _)| view);
        };
        let key = &self.inner.redacted_key(key.clone())?;
        let _one_at_a_time = self.inner.lock_creation(key);
        let now = self.inner.ids.now();
        if let Some(known) = self.inner.store.creation_key(key.as_str(), now)? {
            if known.agent != agent.spec.name.as_str() {
                return Err(EngineError::KeyReused);
            }
            return self.show(&known.session_id);
        }
        let (view, created_at) = self.create_new(&agent)?;
        let stored = CreationKey {
            agent: agent.spec.name.to_string(),
            session_id: view.id.clone(),
            created_at,
        };
        if let Err(error) = self.inner.store.put_creation_key(key.as_str(), &stored) {
            // Who is told that there is none, and asks again, would have two; unless the key is there
            // by now, which then leads to this one.
            let known = self.inner.store.creation_key(key.as_str(), now);
            if known.is_ok_and(|known| known.is_none())
                && let Err(error) = self.inner.delete_files(&view.id)
            {
                log::warn!("session {} stays: {}", view.id, chain(&error));
            }
            return Err(self.inner.room.explain(error.into()));
        }
        Ok(view)
    }

    fn create_new(&self, agent: &Agent) -> Result<(SessionView, Timestamp), EngineError> {
        self.inner.room.refuse_when_full()?;
        let id = self.inner.ids.session_id();
        let at = self.inner.ids.now();
        let event = Event::SessionStart(SessionStart {
            format: FORMAT,
            agent: agent.spec.name.to_string(),
            on_disconnect: agent.spec.session.on_disconnect,
            gateway: None,
            gateway_chat_id: None,
        });
        let created = self
            .inner
            .store
            .create(&id, at, std::slice::from_ref(&event));
        created.map_err(|error| self.inner.room.explain(error.into()))?;
        if self.inner.is_ever_due(agent.spec.name.as_str()) {
            self.inner.sweep_later();
        }
        let mut live = Live::new(SessionState::new(Limits::none()));
        live.publish(&[Arc::new(Record {
            seq: Seq(1),
            timestamp: at,
            cont: false,
            event,
        })]);
        Ok((live.view(&id), at))
    }

    /// One page of sessions, newest first.
    pub fn list(&self, query: &ListQuery) -> Result<SessionPage, EngineError> {
        // Each list reads the whole folder: with a filter all names are taken at once.
        let names = match query.filters() {
            true => usize::MAX,
            false => query.limit.saturating_add(1),
        };
        let mut sessions: Vec<SessionView> = Vec::new();
        let ids = self.inner.store.list(query.cursor.as_ref(), names)?;
        // Fewer may be shown than were looked at; the next page begins after these all the same.
        let rest = ids.last().filter(|_| ids.len() == names).cloned();
        for id in ids {
            if sessions.len() == query.limit {
                let next_cursor = sessions.last().map(|view| view.id.clone());
                return Ok(SessionPage {
                    sessions,
                    next_cursor,
                });
            }
            match self.view(&id) {
                Ok(view) if query.wants(&view) => sessions.push(view),
                Ok(_) | Err(EngineError::SessionNotFound(_)) => {}
                // One damaged session must not hide the others.
                Err(error) => log::warn!("session {id} is not listed: {}", chain(&error)),
            }
        }
        Ok(SessionPage {
            sessions,
            next_cursor: rest,
        })
    }

    /// A session as a list shows it: without opening it.
    fn view(&self, id: &SessionId) -> Result<SessionView, EngineError> {
        if let Some(session) = self.inner.registry.get(id) {
            return Ok(session.live().view(id));
        }
        let summary = self.inner.store.summary(id)?;
        Ok(SessionView {
            id: id.clone(),
            status: summary.status,
            working: false,
            attached: 0,
            pending_approval: None,
            summary,
        })
    }

    /// One session.
    pub fn show(&self, id: &SessionId) -> Result<SessionView, EngineError> {
        let view = self.view(id)?;
        if view.summary.pending_call.is_none() || view.pending_approval.is_some() {
            return Ok(view);
        }
        // What is asked stands in the log alone.
        let session = self.inner.session(id)?;
        let view = session.live().view(id);
        Ok(view)
    }

    /// Changes a session's title or model; returns it as it then is.
    pub fn change(
        &self,
        id: &SessionId,
        title: Option<String>,
        model: Option<String>,
    ) -> Result<SessionView, EngineError> {
        let session = self.inner.session(id)?;
        if title.is_some() || model.is_some() {
            session.decide(|_| Ok((vec![Event::SessionChanged { title, model }], ())))?;
        }
        let view = session.live().view(id);
        Ok(view)
    }

    /// Ends a session and keeps its files.
    pub fn end(&self, id: &SessionId) -> Result<(), EngineError> {
        let session = self.inner.session(id)?;
        if session.live().state.is_over() {
            return Err(EngineError::SessionEnded(id.clone()));
        }
        self.cancel_turn(&session)?;
        session.decide(|live| {
            let turn_id = self.inner.ids.turn_id();
            let mut events = events::end_of_all(live, turn_id, Ending::cancelled(CANCELLED));
            events.push(Event::SessionEnd {
                reason: EndReason::Terminated,
            });
            Ok((events, ()))
        })?;
        // One that has begun since with a message which came in between.
        workers::interrupt(&session, Interrupt::Cancelled);
        Ok(())
    }

    /// Ends a session and deletes its files.
    pub fn delete(&self, id: &SessionId) -> Result<(), EngineError> {
        match self.end(id) {
            Ok(()) | Err(EngineError::SessionEnded(_)) => {}
            // What cannot be read or written can still be deleted.
            Err(
                error @ (EngineError::Store(_) | EngineError::ReadOnly | EngineError::DiskFull(_)),
            ) => {
                log::warn!("session {id} is deleted as it is: {}", chain(&error));
            }
            Err(error) => return Err(error),
        }
        self.inner.delete_files(id)
    }

    /// The last `limit` messages (before `before`), oldest first.
    pub fn messages(
        &self,
        id: &SessionId,
        limit: usize,
        before: Option<&MessageId>,
    ) -> Result<Vec<ShownMessage>, EngineError> {
        let last = self.inner.last_published(id)?;
        let end = match before {
            None => last.next(),
            Some(message_id) => {
                let found = self.inner.store.find_message(id, message_id)?;
                let missing = || EngineError::MessageNotFound(message_id.to_string());
                found.ok_or_else(missing)?.seq
            }
        };
        self.inner.messages_before(id, end, limit)
    }

    /// Records after `after`, in order, at most `limit`.
    pub fn events(
        &self,
        id: &SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Record>, EngineError> {
        let last = self.inner.last_published(id)?;
        let limit = Limit {
            records: limit,
            bytes: PAGE.bytes,
        };
        let mut records = self.inner.store.records(id, after.next(), limit)?;
        records.retain(|record| record.seq <= last);
        Ok(records)
    }

    /// Stores a message; on return it is on disk. Its turn runs on without a client only if the
    /// message says so (`detached`).
    pub fn submit(&self, id: &SessionId, message: NewMessage) -> Result<Accepted, EngineError> {
        let session = self.inner.session(id)?;
        let accepted = self.store_message(&session, message)?;
        self.workers.ensure(&session);
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
        let session = self.inner.session(id)?;
        let seat = Seat::take(&session, Role::Following);
        let accepted = self.store_message(&session, message)?;
        let asked = {
            let live = session.live();
            let open = live.state.approval();
            open.filter(|open| open.seq < accepted.seq)
                .map(PendingApproval::from)
        };
        self.set_going(&session);
        let feed = Feed::of_message(accepted.seq);
        let subscription = seat.show(&self.inner.store, feed).asked_before(asked);
        Ok((accepted, subscription))
    }

    /// Attaches a subscriber to everything that happens in a session.
    pub fn subscribe(
        &self,
        id: &SessionId,
        begin: Begin,
        presence: Presence,
    ) -> Result<Subscription, EngineError> {
        let session = self.inner.session(id)?;
        let role = if presence.is_readonly {
            Role::Readonly
        } else {
            Role::Attached
        };
        let seat = Seat::take(&session, role);
        if presence.detaches_others {
            session.live().detach_others(seat.watcher());
        }
        if !presence.is_readonly && !session.live().state.is_over() {
            // What cannot be written can be read all the same.
            self.set_going(&session);
        }
        match begin {
            Begin::Now { history } => self.subscribe_now(&session, seat, history),
            Begin::After(cursor) => self.subscribe_after(&session, seat, cursor),
        }
    }

    /// Sees to it that somebody works for a session that somebody has come for, or has said
    /// something in: that is stored, and not to be called a failure when this is.
    fn set_going(&self, session: &Arc<Session>) {
        match recovery::take_up(&self.workers, session) {
            // Somebody ended it a moment ago.
            Ok(()) | Err(EngineError::SessionEnded(_) | EngineError::SessionNotFound(_)) => {}
            Err(error) => log::warn!("session {} stays as it is: {}", session.id, chain(&error)),
        }
    }

    fn subscribe_now(
        &self,
        session: &Arc<Session>,
        seat: Seat,
        history: usize,
    ) -> Result<Subscription, EngineError> {
        let (view, cursor) = {
            let live = session.live();
            (live.view(&session.id), cursor_now(&live))
        };
        let before = cursor.seq.next();
        let messages = self.inner.messages_before(&session.id, before, history)?;
        let mut feed = feed_after(&*self.inner.store, session, cursor)?;
        feed.is_over_if(view.summary.status == Status::Completed);
        let opening = FeedItem {
            id: cursor,
            event: FeedEvent::Session {
                session: Box::new(view),
                messages,
            },
        };
        Ok(seat
            .show(&self.inner.store, feed)
            .opening_with(vec![opening]))
    }

    fn subscribe_after(
        &self,
        session: &Arc<Session>,
        seat: Seat,
        cursor: Cursor,
    ) -> Result<Subscription, EngineError> {
        let (last, is_over) = {
            let live = session.live();
            (live.last_seq(), live.state.is_over())
        };
        if cursor.seq <= last {
            let feed = feed_after(&*self.inner.store, session, cursor)?;
            return Ok(seat.show(&self.inner.store, feed));
        }
        // It has seen what is no longer there.
        let mut feed = feed_after(&*self.inner.store, session, Cursor::after(last))?;
        feed.is_over_if(is_over);
        let gap = FeedEvent::Gap {
            from_seq: last.next(),
            to_seq: cursor.seq,
        };
        // Its end, too, is among what is not shown again.
        let end = is_over.then_some(FeedEvent::Status {
            from: None,
            to: Status::Completed,
        });
        let id = Cursor::after(last);
        let opening = [gap].into_iter().chain(end);
        let opening = opening.map(|event| FeedItem { id, event }).collect();
        Ok(seat.show(&self.inner.store, feed).opening_with(opening))
    }

    /// Decides the open question, and follows what comes of it until the turn ends or asks again:
    /// the subscription begins after the decision.
    pub fn approve(
        &self,
        id: &SessionId,
        call_id: &str,
        command: &str,
        decision: Decision,
        by: Option<String>,
    ) -> Result<(Decided, Subscription), EngineError> {
        self.inner.refuse_when_draining()?;
        let session = self.inner.session(id)?;
        let seat = Seat::take(&session, Role::Following);
        if session
            .live()
            .state
            .approval()
            .is_none_or(|open| open.call_id.as_str() != call_id)
        {
            return Err(self.inner.why_not_pending(&session, call_id)?);
        }
        let (records, ()) = session.decide(|live| {
            let open = live.state.approval();
            let open = open.filter(|open| open.call_id.as_str() == call_id);
            // Answered by another a moment ago.
            let open = open.ok_or(EngineError::AlreadyAnswered)?;
            if open.command != command {
                return Err(EngineError::WrongCommand);
            }
            let decision = decision_for(open.kind, decision)?;
            let call_id = open.call_id.clone();
            let event = Event::ApprovalDecision {
                call_id,
                decision,
                by,
            };
            Ok((vec![event], ()))
        })?;
        let seq = records.first().map_or(Seq::ZERO, |record| record.seq);
        self.set_going(&session);
        let subscription = seat.show(&self.inner.store, Feed::of_message(seq));
        Ok((Decided { seq }, subscription))
    }

    /// Stops the running turn within 250 ms; whether there was one. Blocks for so long at most.
    pub fn cancel(&self, id: &SessionId) -> Result<bool, EngineError> {
        let session = self.inner.session(id)?;
        if session.live().state.is_over() {
            return Err(EngineError::SessionEnded(id.clone()));
        }
        self.cancel_turn(&session)
    }

    /// Ends the unfinished turn, with the help of its worker if that answers in time.
    fn cancel_turn(&self, session: &Arc<Session>) -> Result<bool, EngineError> {
        let deadline = Instant::now() + CANCEL_PATIENCE;
        let seat = Seat::take(session, Role::Readonly);
        let is_unfinished = |live: &Live| live.state.turn.is_some() || live.state.is_asked();
        let (started, mut is_open) = {
            let live = session.live();
            (live.last_seq(), is_unfinished(&live))
        };
        if !is_open {
            return Ok(false);
        }
        if workers::interrupt(session, Interrupt::Cancelled) {
            while is_open && Instant::now() < deadline {
                seat.wait(deadline);
                is_open = !self.has_turn_ended(session, started)?;
            }
            if !is_open {
                return Ok(true);
            }
            // Nothing can hurry a name that is looked up, or a connection that is made.
            log::info!(
                "session {}: its worker does not answer and is left behind",
                session.id
            );
        }
        self.workers.take_away(session);
        // A worker that waited for room leaves the session to be opened anew.
        let session = &self.inner.session(&session.id)?;
        let turn_id = self.inner.ids.turn_id();
        let ended = session.decide(|live| {
            let ending = Ending::cancelled(CANCELLED);
            Ok((events::end_of_all(live, turn_id, ending), ()))
        });
        if let Err(error) = &ended
            && error.is_passing()
        {
            // The turn is as open as before, and goes on.
            session.park(Parked::Begun, &error.to_string());
        }
        ended?;
        // Messages may have come in between.
        self.workers.ensure(session);
        Ok(true)
    }

    /// Whether a turn has ended since event `after`.
    fn has_turn_ended(&self, session: &Session, after: Seq) -> Result<bool, EngineError> {
        let last = session.live().last_seq();
        let mut ended = false;
        read_records(
            &*self.inner.store,
            &session.id,
            after.next(),
            last,
            |record| ended |= matches!(record.event, Event::TurnEnded { .. }),
        )?;
        Ok(ended)
    }

    fn store_message(
        &self,
        session: &Arc<Session>,
        mut message: NewMessage,
    ) -> Result<Accepted, EngineError> {
        if is_blank(&message.content) {
            return Err(EngineError::Invalid("content must not be empty".to_owned()));
        }
        // Before it is compared with what was stored under its key.
        self.inner.redact_message(&mut message)?;
        // Before the lock: it may read the logs of other sessions.
        let purse = self.inner.purse_of(session)?;
        let mut log = session.log();
        if let Some(key) = &message.key
            && let Some(known) = session.keyed_message(&mut log, key)?
        {
            return repeated(known, &message);
        }
        self.inner.refuse_new_turn(session, &self.workers)?;
        let admitted = purse.as_ref().map(|purse| purse.admit(session));
        let admitted = admitted.transpose()?;
        let message_id = self.inner.ids.message_id();
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
}

/// The events that store a message; a paused session goes on with it.
fn message_events(session: &Session, message_id: MessageId, message: NewMessage) -> Vec<Event> {
    let is_paused = session.live().state.summary.status == Status::Paused;
    let stored = Event::UserMessage(UserMessage {
        message_id,
        content: message.content,
        sender_id: message.sender_id,
        sender_name: message.sender_name,
        source_id: message.key,
        detached: message.detached,
        passive: false,
        attachments: Vec::new(),
    });
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
    if stored.content != message.content {
        return Err(EngineError::KeyReused);
    }
    Ok(Accepted {
        message_id: stored.message_id,
        seq: known.seq,
        is_repeat: true,
    })
}

/// The decision in the words of what was asked.
fn decision_for(kind: ApprovalKind, decision: Decision) -> Result<Decision, EngineError> {
    match (kind, decision) {
        (ApprovalKind::Policy, Decision::AllowOnce | Decision::AllowAlways | Decision::Deny) => {
            Ok(decision)
        }
        (ApprovalKind::Uncertain, Decision::Retry | Decision::AllowOnce) => Ok(Decision::Retry),
        (ApprovalKind::Uncertain, Decision::Skip | Decision::Deny) => Ok(Decision::Skip),
        (ApprovalKind::Uncertain, Decision::Worked) => Ok(Decision::Worked),
        (ApprovalKind::Policy, Decision::Retry | Decision::Skip | Decision::Worked) => Err(
            EngineError::Invalid("decision must be allow_once, allow_always or deny".to_owned()),
        ),
        (ApprovalKind::Uncertain, Decision::AllowAlways) => Err(EngineError::Invalid(
            "decision must be retry, skip or worked".to_owned(),
        )),
    }
}
