//! One session in use: its log and its live state, each behind a lock of its own.
//!
//! Locks are taken in this order: `log`, then `journal`, then `live`. `log` is held over write and
//! sync, by whoever appends, so the events of all come in one order; `live` is held for memory
//! work only, so a slow disk does not hold up tokens or readers.
//!
//! Invariant: what `live` holds is on disk. Only the holder of `log` changes the folded state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::base::lock::lock;
use crate::domain::event::{AssistantResponse, Event, FinishReason, Record, Status};
use crate::domain::history::Entry;
use crate::domain::hooks::{DoneCalls, Hooks};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::redact::Redactor;
use crate::domain::state::SessionState;
use crate::domain::step::{Step, next_step};
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;
use crate::engine::error::EngineError;
use crate::engine::events::{self, goes_on};
use crate::engine::grants::GrantKey;
use crate::engine::id_generator::IdGenerator;
use crate::engine::open::chats::ChatListener;
use crate::engine::open::idle::IdleQueue;
use crate::engine::open::keys::{MessageKey, MessageKeys};
use crate::engine::open::parking::{self, AwaitedWork, ParkedCalls};
use crate::engine::open::questions::Questions;
use crate::engine::space::{SpaceMonitor, Stalled};
use crate::engine::spending::ledger::Ledger;
use crate::engine::stored::read_records;
use crate::engine::watch::live::{Cut, Live, LiveGuard};
use crate::store::{
    AppendError, Epoch, Journal, NodeName, OpenSession, Partial, ReadLimit, SessionLog,
    SessionStore, Snapshot, StoreError,
};

/// A snapshot is taken after so many events …
const SNAPSHOT_EVENTS: u64 = 64;
/// … or so many bytes of log.
const SNAPSHOT_BYTES: u64 = 256 << 10;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Session {
    pub(in crate::engine) id: SessionId,
    pub(in crate::engine) parts: Arc<SessionParts>,
    log: Mutex<LogWriter>,
    journal: Mutex<Box<dyn Journal>>,
    live: Mutex<Live>,
    /// A sync of the journal failed: what was shown since may not survive a power cut.
    is_journal_bad: AtomicBool,
    /// The calls that the agent's guards look back at; read from the log when the first call needs it, and from
    /// then on only what is new. The worker's alone.
    done_calls: Mutex<Option<KnownCalls>>,
}

/// The calls that have succeeded, and up to which event they were looked for.
#[derive(Debug)]
struct KnownCalls {
    calls: DoneCalls,
    up_to: Seq,
}

/// The shared parts that every session works with.
#[derive(Debug)]
pub(in crate::engine) struct SessionParts {
    pub(in crate::engine) store: Arc<dyn SessionStore>,
    pub(in crate::engine) ids: Arc<IdGenerator>,
    pub(in crate::engine) redactor: Arc<Redactor>,
    pub(in crate::engine) ledger: Arc<Ledger>,
    pub(in crate::engine) idle: Arc<IdleQueue>,
    pub(in crate::engine) space: Arc<SpaceMonitor>,
    pub(in crate::engine) questions: Arc<Questions>,
    pub(in crate::engine) parked: Arc<ParkedCalls>,
    pub(in crate::engine) node: NodeName,
    pub(in crate::engine) grant_key: GrantKey,
    pub(in crate::engine) chat_listener: OnceLock<Arc<dyn ChatListener>>,
}

/// The way into the log, for the one who holds its lock.
#[derive(Debug)]
pub(in crate::engine) struct LogWriter {
    log: Box<dyn SessionLog>,
    /// What this node's claim of the session is worth.
    epoch: Epoch,
    /// Loaded when the first keyed message comes.
    keys: Option<MessageKeys>,
    snapshot_seq: Seq,
    snapshot_bytes: u64,
}

impl LogWriter {
    fn new(log: Box<dyn SessionLog>, epoch: Epoch, snapshot_seq: Seq) -> LogWriter {
        LogWriter {
            snapshot_bytes: log.len_bytes(),
            log,
            epoch,
            keys: None,
            snapshot_seq,
        }
    }
}

impl Session {
    /// Opens a session: what the last snapshot and the log after it say.
    ///
    /// A reply that was being streamed when the process died becomes a part of the log.
    pub(in crate::engine) fn open(
        parts: &Arc<SessionParts>,
        id: &SessionId,
        limits: impl FnOnce(&str) -> Limits,
    ) -> Result<Session, EngineError> {
        let epoch = parts.store.claim(id, &parts.node)?;
        let OpenSession {
            log,
            journal,
            snapshot,
            last_seq,
            partial,
        } = parts.store.open(id)?;
        let snapshot_seq = snapshot
            .as_ref()
            .map_or(Seq::ZERO, |snapshot| snapshot.summary.last_seq);
        let state = replay(&*parts.store, id, snapshot, last_seq, limits)?;
        let session = Session {
            id: id.clone(),
            parts: Arc::clone(parts),
            log: Mutex::new(LogWriter::new(log, epoch, snapshot_seq)),
            journal: Mutex::new(journal),
            live: Mutex::new(Live::new(state)),
            is_journal_bad: AtomicBool::new(false),
            done_calls: Mutex::default(),
        };
        if let Some(partial) = partial {
            session.keep_partial(partial)?;
        }
        {
            let mut live = session.live();
            // One that pauses was taken up, and counted, before it paused.
            live.is_left_over = live.state.turn.is_some() && Session::needs_worker(&live);
            let has_parked_calls = live.state.parked_calls().next().is_some();
            live.has_unasked_calls = has_parked_calls;
        }
        Ok(session)
    }

    pub(in crate::engine) fn live(&self) -> LiveGuard<'_> {
        LiveGuard::new(&self.live)
    }

    pub(in crate::engine) fn log(&self) -> MutexGuard<'_, LogWriter> {
        lock(&self.log)
    }

    /// Nobody holds a lock of it, the caller neither.
    #[cfg(test)]
    pub(in crate::engine) fn is_unlocked(&self) -> bool {
        self.log.try_lock().is_ok() && self.live.try_lock().is_ok()
    }

    /// Nobody holds the lock of its state, the caller neither.
    #[cfg(test)]
    pub(in crate::engine) fn is_readable(&self) -> bool {
        self.live.try_lock().is_ok()
    }

    pub(in crate::engine) fn journal(&self) -> MutexGuard<'_, Box<dyn Journal>> {
        lock(&self.journal)
    }

    /// Looks at the calls that have succeeded so far, as far as guards compare them.
    ///
    /// Errors: the log cannot be read.
    pub(in crate::engine) fn with_done_calls<T>(
        &self,
        hooks: &Hooks,
        look: impl FnOnce(&DoneCalls) -> T,
    ) -> Result<T, EngineError> {
        let last = self.live().last_seq();
        // Nobody waits for a log to be read.
        let kept = lock(&self.done_calls).take();
        let mut known = match kept {
            Some(known) if known.calls.is_for(hooks) => known,
            Some(_) | None => KnownCalls {
                calls: DoneCalls::new(hooks),
                up_to: Seq::ZERO,
            },
        };
        let (store, from) = (&*self.parts.store, known.up_to.next());
        read_records(store, &self.id, from, last, |record| {
            known.calls.see(&record.event);
            known.up_to = record.seq;
        })?;
        let seen = look(&known.calls);
        *lock(&self.done_calls) = Some(known);
        Ok(seen)
    }

    /// Notes that a sync of the journal failed: nothing more may rely on it.
    pub(in crate::engine) fn distrust_journal(&self) {
        self.is_journal_bad.store(true, Ordering::Release);
    }

    /// The journal can't be relied on any more; a reply that needs it fails with its next text.
    pub(in crate::engine) fn is_journal_bad(&self) -> bool {
        self.is_journal_bad.load(Ordering::Acquire)
    }

    /// Covers the secrets in events, writes them, syncs them, folds them in and shows them; in this
    /// order.
    ///
    /// Errors: the store's. The first event is refused as [`EngineError::SessionEnded`] or as
    /// [`EngineError::Invalid`] when it cannot happen now, and as [`EngineError::SessionNotFound`] once
    /// the session is deleted.
    pub(in crate::engine) fn commit(
        &self,
        log: &mut LogWriter,
        mut events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, EngineError> {
        self.commit_kept(log, &mut events)
    }

    /// As [`commit`](Session::commit), for one who tries again with the same events.
    pub(in crate::engine) fn commit_kept(
        &self,
        log: &mut LogWriter,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, EngineError> {
        for event in &mut *events {
            self.parts.redactor.redact_event(event);
        }
        let Some(first) = events.first() else {
            return Ok(Vec::new());
        };
        let expected_last = {
            let live = self.live();
            if live.is_deleted {
                return Err(EngineError::SessionNotFound(self.id.clone()));
            }
            if live.broken.is_some() {
                return Err(EngineError::ReadOnly);
            }
            if live.state.is_over() {
                return Err(EngineError::SessionEnded(self.id.clone()));
            }
            let allowed = live.state.allows(first);
            allowed.map_err(|illegal| EngineError::Invalid(illegal.to_string()))?;
            live.last_seq()
        };
        let appended = self.append(log, expected_last, std::mem::take(events));
        let records = appended.map_err(|failed| {
            *events = failed.events;
            self.note_failure(&failed.error);
            self.parts.space.explain(failed.error.into())
        })?;
        if let Some(keys) = &mut log.keys {
            records.iter().for_each(|record| keys.learn(record));
        }
        // Who sees the end of a turn, and says more, finds it counted.
        let agent = || self.live().state.summary.agent.clone();
        self.parts.ledger.note(&self.id, &records, agent);
        self.publish(&records);
        self.snapshot_when_due(log);
        Ok(records)
    }

    /// Appends; where the storage did not answer, it finds out what became of that.
    fn append(
        &self,
        log: &mut LogWriter,
        expected_last: Seq,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, AppendError> {
        let at = self.parts.ids.now();
        let lost = match log.log.append(log.epoch, expected_last, at, events) {
            Err(failed) if matches!(failed.error, StoreError::Unknown(_)) => failed,
            answered => return answered,
        };
        match self.find_out(log, expected_last, at, &lost.events) {
            Ok(Some(records)) => Ok(records),
            Ok(None) => log.log.append(log.epoch, expected_last, at, lost.events),
            Err(error @ (StoreError::Fenced(_) | StoreError::NotFound(_))) => {
                Err(AppendError { error, ..lost })
            }
            Err(error) => {
                log::debug!("session {}: nor can it be looked up: {error}", self.id);
                Err(lost)
            }
        }
    }

    /// The records of an append whose answer was lost; `None` if it was not stored, and never will
    /// be: the claim keeps it out from here on.
    ///
    /// Errors: the store's, and it may be stored or not; [`StoreError::Fenced`] if somebody else has
    /// written.
    fn find_out(
        &self,
        log: &mut LogWriter,
        expected_last: Seq,
        at: Timestamp,
        events: &[Event],
    ) -> Result<Option<Vec<Arc<Record>>>, StoreError> {
        const ALL: ReadLimit = ReadLimit {
            records: usize::MAX,
            bytes: usize::MAX,
        };
        let store = &*self.parts.store;
        log.epoch = store.claim(&self.id, &self.parts.node)?;
        let found = store.records(&self.id, expected_last.next(), ALL)?;
        let is_ours = found.iter().all(|record| record.timestamp == at)
            && found.iter().map(|record| &record.event).eq(events);
        if found.is_empty() {
            Ok(None)
        } else if is_ours {
            Ok(Some(found.into_iter().map(Arc::new).collect()))
        } else {
            Err(StoreError::Fenced(self.id.clone()))
        }
    }

    /// Notes what an append has shown of the session: that it can't be written any more, or that
    /// what is in memory of it may not be what is stored.
    fn note_failure(&self, error: &StoreError) {
        match error {
            StoreError::ReadOnly(_) => self.live().is_read_only = true,
            StoreError::Fenced(_) | StoreError::Conflict { .. } => {
                let (_journal, mut live) = self.live_without_news();
                live.lose("another node has the session by now; connect again");
            }
            StoreError::Unknown(why) => {
                // Whoever opens it anew finds what is stored, and goes on from there. At once: a
                // look that finds it here still would be its last.
                let (_journal, mut live) = self.live_without_news();
                self.parts
                    .space
                    .stall(&self.id, Stalled::Begun, why.clone());
                live.lose("the storage did not answer; connect again");
            }
            StoreError::NotFound(_)
            | StoreError::Damaged { .. }
            | StoreError::OlderDamaged { .. }
            | StoreError::Older(_)
            | StoreError::NewerFormat { .. }
            | StoreError::Full
            | StoreError::Io { .. } => {}
        }
    }

    /// The live state while no worker shows text, which is done under the journal's lock: what was
    /// shown so far, whoever opens the session anew reads. The caller holds `log`.
    fn live_without_news(&self) -> (MutexGuard<'_, Box<dyn Journal>>, LiveGuard<'_>) {
        let journal = self.journal();
        (journal, self.live())
    }

    /// Who listens to chats, and the gateway of the one that this session is for.
    fn chat_to_tell(&self, live: &Live) -> Option<(&dyn ChatListener, String)> {
        let listener = self.parts.chat_listener.get()?;
        let gateway = live.state.summary.gateway.clone()?;
        Some((&**listener, gateway))
    }

    /// Folds in and shows what is on disk. The caller holds `log`.
    fn publish(&self, records: &[Arc<Record>]) {
        let mut live = self.live();
        let before = live.state.permission_asked_at();
        let was_parked = live.state.is_parked();
        let awaited = AwaitedWork::of(&self.id, &live.state);
        live.publish(records);
        let asked_at = live.state.permission_asked_at();
        let is_parked = live.state.is_parked();
        let chat_to_tell = self.chat_to_tell(&live);
        let agent = (before != asked_at).then(|| live.state.summary.agent.clone());
        drop(live);
        if let Some((listener, gateway)) = chat_to_tell {
            listener.is_new(&gateway, &self.id);
        }
        if was_parked != is_parked {
            self.parts.parked.note(&self.id, is_parked);
        }
        let given_up = awaited
            .into_iter()
            .filter(|work| parking::gives_up(records, &work.call.call_id));
        self.parts.parked.give_up(given_up);
        let Some(agent) = agent else { return };
        if before.is_some() {
            self.parts.questions.forget(&self.id);
        }
        if let Some(asked_at) = asked_at {
            let since_boot = self.parts.ids.clock().since_boot();
            let questions = &self.parts.questions;
            questions.note_asked(&self.id, asked_at, agent, since_boot);
        }
    }

    /// Ends everything, as the session is no more. The caller holds `log`.
    pub(in crate::engine) fn delete_live(&self) {
        let mut live = self.live();
        live.delete();
        // Some are left where their end could not be written.
        let awaited = AwaitedWork::of(&self.id, &live.state);
        drop(live);
        self.parts.parked.give_up(awaited.into_iter());
    }

    /// Decides on the state as it is and writes what was decided, as one step: nobody writes in
    /// between.
    pub(in crate::engine) fn decide<T>(
        &self,
        decision: impl FnOnce(&Live) -> Result<(Vec<Event>, T), EngineError>,
    ) -> Result<(Vec<Arc<Record>>, T), EngineError> {
        let mut log = self.log();
        let (events, answer) = decision(&self.live())?;
        Ok((self.commit(&mut log, events)?, answer))
    }

    /// The message that came with `key` before.
    pub(in crate::engine) fn keyed_message(
        &self,
        log: &mut LogWriter,
        key: &MessageKey,
    ) -> Result<Option<Record>, EngineError> {
        let keys = match &mut log.keys {
            Some(keys) => keys,
            None => log.keys.insert(self.load_keys()?),
        };
        let Some(seq) = keys.get(key) else {
            return Ok(None);
        };
        let one = ReadLimit {
            records: 1,
            bytes: 0,
        };
        Ok(self
            .parts
            .store
            .records(&self.id, seq, one)?
            .into_iter()
            .next())
    }

    /// As [`keyed_message`](Session::keyed_message), under any of the names of who chose the key.
    pub(in crate::engine) fn keyed_record(
        &self,
        log: &mut LogWriter,
        keys: &[MessageKey],
    ) -> Result<Option<Record>, EngineError> {
        for key in keys {
            if let Some(known) = self.keyed_message(log, key)? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    fn load_keys(&self) -> Result<MessageKeys, EngineError> {
        let (from, last) = {
            let live = self.live();
            (live.state.summary.keys_from(), live.last_seq())
        };
        let mut keys = MessageKeys::default();
        read_records(&*self.parts.store, &self.id, from, last, |record| {
            keys.learn(record);
        })?;
        Ok(keys)
    }

    /// Says of a session that nobody works for that there is work.
    pub(in crate::engine) fn needs_worker(live: &Live) -> bool {
        match next_step(&live.state) {
            Step::CallModel | Step::Summarise | Step::RunTools(_) | Step::EndTurn(_) => {
                can_write(live)
            }
            // Tools that are asked may know that what was waited for is there.
            Step::AwaitOthers => live.has_unasked_calls && can_write(live),
            Step::Idle | Step::Paused => false,
        }
    }

    /// Has the session looked after, whom nobody works for although there is work, and sends those
    /// who watch away with the reason.
    pub(in crate::engine) fn stall(&self, how: Stalled, why: &str) {
        self.live().cut_watchers(Cut::Waits(why.to_owned()));
        self.parts.space.stall(&self.id, how, why.to_owned());
    }

    /// Asks for a look at the session when it may have become idle, unless one is due already.
    pub(in crate::engine) fn look_later(&self) {
        let mut live = self.live();
        if !live.is_look_due {
            live.is_look_due = true;
            self.parts.idle.add(&self.id);
        }
    }

    /// Lets a watcher go.
    pub(in crate::engine) fn unwatch(&self, watcher: u64) {
        let is_idle = {
            let mut live = self.live();
            live.unwatch(watcher);
            !live.has_watchers()
        };
        if is_idle {
            self.look_later();
        }
    }

    /// Lets a paused session go on if somebody is there; whether it had paused.
    pub(in crate::engine) fn wake_if_attended(&self) -> Result<bool, EngineError> {
        let is_paused =
            |live: &Live| live.state.summary.status == Status::Paused && !live.wants_a_client();
        if !is_paused(&self.live()) {
            return Ok(false);
        }
        let (records, ()) = self.decide(|live| {
            let events = is_paused(live).then(goes_on);
            Ok((events.into_iter().collect(), ()))
        })?;
        Ok(!records.is_empty())
    }

    fn snapshot_when_due(&self, log: &mut LogWriter) {
        let events = self.live().last_seq().0 - log.snapshot_seq.0;
        let bytes = log.log.len_bytes().saturating_sub(log.snapshot_bytes);
        if events >= SNAPSHOT_EVENTS || bytes >= SNAPSHOT_BYTES {
            self.save_snapshot(log);
        }
    }

    /// Saves a snapshot if there is anything new.
    pub(in crate::engine) fn save_snapshot(&self, log: &mut LogWriter) {
        let snapshot = {
            let live = self.live();
            Snapshot {
                summary: live.state.summary.clone(),
                window_seq: live.state.history.window_seq(),
                marks: live.state.history.marks(),
            }
        };
        if snapshot.summary.last_seq == log.snapshot_seq {
            return;
        }
        // Tried again only when as much has been written once more.
        log.snapshot_seq = snapshot.summary.last_seq;
        log.snapshot_bytes = log.log.len_bytes();
        if let Err(error) = log.log.save_snapshot(&snapshot) {
            log::debug!("session {}: no snapshot: {error}", self.id);
        }
    }

    /// Saves a snapshot unless somebody writes just now, who may hang.
    pub(in crate::engine) fn save_snapshot_if_free(&self) {
        if let Ok(mut log) = self.log.try_lock() {
            self.save_snapshot(&mut log);
        }
    }

    /// Writes down what had come of a reply when the process died.
    fn keep_partial(&self, partial: Partial) -> Result<(), EngineError> {
        let mut log = self.log();
        let event = {
            let live = self.live();
            interrupted_reply(&live.state, partial)
        };
        self.commit(&mut log, event.into_iter().collect())?;
        Ok(self.journal().clear()?)
    }
}

fn can_write(live: &Live) -> bool {
    live.broken.is_none() && !live.is_read_only
}

/// The part of a reply that the log lacks, if there is one.
fn interrupted_reply(state: &SessionState, partial: Partial) -> Option<Event> {
    let turn = state.turn.as_ref()?;
    let is_open = turn.id == partial.head.turn_id && !turn.has_open_calls();
    if !is_open || partial.text.is_empty() || has_reply(state, &partial.head.message_id) {
        return None;
    }
    let continues = events::continued(state);
    Some(Event::from(AssistantResponse {
        turn_id: partial.head.turn_id,
        message_id: partial.head.message_id,
        agent: state.summary.agent.clone(),
        model: partial.head.model,
        input_seq: partial.head.input_seq,
        content: Arc::new(partial.text),
        tool_calls: Vec::new(),
        usage: None,
        finish_reason: FinishReason::Interrupted,
        continues,
        provider_data: None,
        attachments: Vec::new(),
    }))
}

fn has_reply(state: &SessionState, message_id: &MessageId) -> bool {
    state.history.entries().any(|entry| match entry {
        Entry::Assistant(reply) => reply.message_id == *message_id,
        Entry::User(_) | Entry::Tool { .. } => false,
    })
}

fn replay(
    store: &dyn SessionStore,
    id: &SessionId,
    snapshot: Option<Snapshot>,
    last_seq: Seq,
    limits: impl FnOnce(&str) -> Limits,
) -> Result<SessionState, EngineError> {
    if let Some(Snapshot {
        summary,
        window_seq,
        marks,
    }) = snapshot
    {
        let limits = limits(&summary.agent);
        let mut state = SessionState::at_window(summary, window_seq, marks, limits);
        if let Some(seq) = marks.summary_seq {
            read_records(store, id, seq, seq, |record| state.recall(record))?;
        }
        read_records(store, id, window_seq, last_seq, |record| {
            state.apply(record)
        })?;
        return Ok(state);
    }
    // Whose limits count, the first record says.
    let (mut state, mut limits) = (None, Some(limits));
    read_records(store, id, Seq(1), last_seq, |record| {
        let state = state.get_or_insert_with(|| {
            let agent = if let Event::SessionStart(start) = &record.event {
                &start.agent
            } else {
                ""
            };
            SessionState::new(
                limits
                    .take()
                    .map_or_else(Limits::none, |limits| limits(agent)),
            )
        });
        state.apply(record);
    })?;
    Ok(state.unwrap_or_else(|| SessionState::new(Limits::none())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::fs::Fs as _;
    use crate::domain::story::{self, records_of, tight, walk};
    use crate::engine::testing::Bench;

    /// Opens a session beside whatever is in memory, with limits that it runs into.
    fn open(bench: &Bench, id: &SessionId) -> Session {
        Session::open(&bench.engine().parts, id, |_| tight(300)).unwrap()
    }

    #[test]
    fn who_still_holds_a_deleted_session_finds_that_it_is_gone() {
        let bench = Bench::new();
        let session = bench.session([]);
        bench.engine().open.delete(&session.id).unwrap();
        let refused = session.decide(|_| Ok((vec![story::user(1, "hi")], ())));
        assert!(matches!(refused, Err(EngineError::SessionNotFound(_))));
        // It may be there again from its files after any other end.
        let other = bench.session([]);
        bench.engine().open.throw_away(&other, "in a test");
        let refused = other.decide(|_| Ok((vec![story::user(1, "hi")], ())));
        assert!(matches!(refused, Err(EngineError::ReadOnly)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_session_opened_from_any_snapshot_or_none_is_what_it_was_in_memory(
            choices in proptest::collection::vec(any::<u8>(), 0..150),
            snapshots in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let bench = Bench::new();
            let records = records_of(&walk(&choices));
            let id = bench.engine().parts.ids.session_id();
            let (first, rest) = records.split_first().unwrap();
            let now = bench.engine().parts.ids.now();
            bench.engine().parts.store.create(&id, now, vec![first.event.clone()]).unwrap();
            let session = open(&bench, &id);
            let moments: Vec<usize> = snapshots.iter().map(|one| one.index(records.len())).collect();
            for (n, record) in rest.iter().enumerate() {
                session.decide(|_| Ok((vec![record.event.clone()], ()))).unwrap();
                if moments.contains(&n) {
                    session.save_snapshot(&mut session.log());
                }
            }
            let expected = session.live().state.clone();
            drop(session);
            let from_snapshot = open(&bench, &id).live().state.clone();
            prop_assert_eq!(&from_snapshot, &expected);
            let snapshot = format!("/workspace/sessions/{id}/state.yaml");
            bench.disk.remove_file(snapshot.as_ref()).ok();
            let from_log = open(&bench, &id).live().state.clone();
            prop_assert_eq!(&from_log, &expected);
        }
    }
}
