//! What every part of the engine may use.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::domain::code::FailureCode;
use crate::domain::event::{Event, Record, Trigger};
use crate::domain::ids::{Seq, SessionId, SourceId};
use crate::domain::redact::Redactor;
use crate::domain::window::Limits;
use crate::engine::agent::Agents;
use crate::engine::error::{EngineError, chain};
use crate::engine::events::{self, Ending};
use crate::engine::id_generator::IdGenerator;
use crate::engine::looks::Looks;
use crate::engine::open::registry::Registry;
use crate::engine::open::session::{Kit, PAGE, Session};
use crate::engine::sessions::requests::NewMessage;
use crate::engine::spending::ledger::Ledger;
use crate::engine::turn::context_limits;
use crate::engine::turn::questions::Questions;
use crate::engine::turn::workers::Workers;
use crate::engine::upkeep::adoption::Strangers;
use crate::engine::upkeep::flusher::Flusher;
use crate::engine::upkeep::recovery::Recovery;
use crate::engine::upkeep::room::{Parked, Room};
use crate::engine::upkeep::sweep::{Lifetimes, Sweeper};
use crate::engine::watch::transcript;
use crate::engine::watch::view::ShownMessage;
use crate::llm::Models;
use crate::store::{Limit, SessionStore};

/// How many sessions may wait for a slot, for each slot.
const WAITING_PER_SLOT: usize = 4;
/// When a caller that was told to wait should come again.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Keyed creations of one key wait for one another; others rarely do.
const CREATION_LOCKS: usize = 64;

/// What the engine works with.
#[derive(Debug)]
pub struct Parts {
    /// Where sessions are kept.
    pub store: Arc<dyn SessionStore>,
    /// Who they belong to.
    pub agents: Arc<dyn Agents>,
    /// Who answers.
    pub models: Arc<dyn Models>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What must not come into a session.
    pub redactor: Arc<Redactor>,
    /// Its limits.
    pub settings: Settings,
}

/// The limits of the engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Turns at work at a time; more wait.
    pub max_active: usize,
    /// Below so much free space no new turn starts.
    pub min_free_bytes: u64,
    /// Whether the process before this one ended in good order.
    pub previous_stop_was_clean: bool,
    /// How long sessions are kept.
    pub lifetimes: Lifetimes,
}

/// What every part of the engine may use.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) agents: Arc<dyn Agents>,
    pub(super) models: Arc<dyn Models>,
    pub(super) ids: Arc<IdGenerator>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) registry: Registry,
    settings: Settings,
    creating: Vec<Mutex<()>>,
    is_draining: AtomicBool,
    pub(super) looks: Arc<Looks>,
    pub(super) flusher: Flusher,
    pub(super) ledger: Arc<Ledger>,
    pub(super) sweeper: Sweeper,
    pub(super) strangers: Strangers,
    pub(super) room: Arc<Room>,
    pub(super) questions: Arc<Questions>,
    /// What becomes of unfinished turns; unset until they are looked for.
    pub(super) recovery: OnceLock<Recovery>,
}

impl Inner {
    /// Errors: the system has no thread for the flusher.
    pub(super) fn new(parts: Parts) -> std::io::Result<Inner> {
        let looks = Arc::new(Looks::default());
        let room = Room::new(
            Arc::clone(&parts.store),
            Arc::clone(&looks),
            parts.settings.min_free_bytes,
        );
        Ok(Inner {
            room: Arc::new(room),
            questions: Arc::new(Questions::new(Arc::clone(&looks))),
            recovery: OnceLock::new(),
            looks,
            store: parts.store,
            agents: parts.agents,
            models: parts.models,
            ids: Arc::new(IdGenerator::new(parts.clock)),
            redactor: parts.redactor,
            registry: Registry::default(),
            settings: parts.settings,
            creating: (0..CREATION_LOCKS).map(|_| Mutex::default()).collect(),
            is_draining: AtomicBool::new(false),
            ledger: Arc::default(),
            sweeper: Sweeper::default(),
            strangers: Strangers::default(),
            flusher: Flusher::start()?,
        })
    }

    /// Takes no more work.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.room.close();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    pub(super) fn lifetimes(&self) -> Lifetimes {
        self.settings.lifetimes
    }

    /// How a turn is taken up that the process before this one left.
    pub(super) fn resume_trigger(&self) -> Trigger {
        if self.settings.previous_stop_was_clean {
            Trigger::Restart
        } else {
            Trigger::Resume
        }
    }

    pub(super) fn session(&self, id: &SessionId) -> Result<Arc<Session>, EngineError> {
        self.registry.get_or_open(id, || {
            let session = self.open_session(id);
            let session = session.map_err(|error| self.room.explain(error))?;
            if self.room.parked(id) == Some(Parked::Begun) {
                // It waited, and nothing has died of it: not one more try.
                session.live().is_left_over = false;
            }
            self.note_question(&session);
            session.look_later();
            Ok(session)
        })
    }

    /// Notes what a person was asked in a session that was just opened.
    fn note_question(&self, session: &Session) {
        let live = session.live();
        let asked_at = live.state.permission_asked_at();
        let agent = asked_at.map(|_| live.state.summary.agent.clone());
        drop(live);
        if let (Some(asked_at), Some(agent)) = (asked_at, agent) {
            self.questions.note_found(&session.id, asked_at, agent);
        }
    }

    /// What a session works with.
    pub(super) fn kit(&self) -> Kit {
        Kit {
            store: Arc::clone(&self.store),
            ids: Arc::clone(&self.ids),
            looks: Arc::clone(&self.looks),
            redactor: Arc::clone(&self.redactor),
            ledger: Arc::clone(&self.ledger),
            room: Arc::clone(&self.room),
            questions: Arc::clone(&self.questions),
        }
    }

    /// A caller's key as it is written and compared. It is the caller's own, and stands in files
    /// like any text.
    pub(super) fn redacted_key(&self, key: SourceId) -> Result<SourceId, EngineError> {
        match self.redactor.redact(key.as_str()) {
            Cow::Borrowed(_) => Ok(key),
            Cow::Owned(redacted) => Ok(SourceId::parse(&redacted)?),
        }
    }

    /// Covers the secrets of a message that is not stored yet, its key's among them.
    pub(super) fn redact_message(&self, message: &mut NewMessage) -> Result<(), EngineError> {
        self.redactor.redact_in(&mut message.content);
        let key = message.key.take();
        message.key = key.map(|key| self.redacted_key(key)).transpose()?;
        Ok(())
    }

    /// Hands over the id of each session that is stored, newest first, until `is_stopped`.
    pub(super) fn each_session(
        &self,
        is_stopped: impl Fn() -> bool,
        mut each: impl FnMut(&SessionId),
    ) -> Result<(), EngineError> {
        // All names at once: each list reads the whole folder.
        for id in self.store.list(None, usize::MAX)? {
            if is_stopped() {
                return Ok(());
            }
            each(&id);
        }
        Ok(())
    }

    /// Deletes a session's files, whoever looks at it still.
    pub(super) fn delete_files(&self, id: &SessionId) -> Result<(), EngineError> {
        self.ledger.forget(id);
        self.questions.forget(id);
        let Some(session) = self.registry.get(id) else {
            self.room.forget(id);
            return Ok(self.store.delete(id)?);
        };
        let _nobody_writes = session.log();
        session.live().delete();
        self.room.forget(id);
        // It stays in its place until its files are gone: nobody opens them anew meanwhile.
        let deleted = self.store.delete(id);
        self.registry.remove(&session);
        Ok(deleted?)
    }

    pub(super) fn limits(&self, agent: &str) -> Limits {
        let found = self.agents.get(agent);
        found.map_or_else(Limits::none, |agent| context_limits::limits(&agent))
    }

    pub(super) fn refuse_when_draining(&self) -> Result<(), EngineError> {
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        Ok(())
    }

    pub(super) fn refuse_new_turn(
        &self,
        session: &Session,
        workers: &Workers,
    ) -> Result<(), EngineError> {
        self.refuse_when_draining()?;
        self.room.refuse_when_full()?;
        let agent = {
            let live = session.live();
            if live.state.is_over() {
                return Err(EngineError::SessionEnded(session.id.clone()));
            }
            live.state.summary.agent.clone()
        };
        self.agents.find(&agent, EngineError::AgentGone)?;
        if workers.waiting() >= self.settings.max_active.saturating_mul(WAITING_PER_SLOT) {
            return Err(EngineError::Busy {
                retry_after: BUSY_RETRY_AFTER,
            });
        }
        Ok(())
    }

    pub(super) fn lock_creation(&self, key: &SourceId) -> MutexGuard<'_, ()> {
        let sum = key.as_str().bytes().fold(0usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        lock(&self.creating[sum % CREATION_LOCKS])
    }

    /// The last event that anybody may be shown.
    pub(super) fn last_published(&self, id: &SessionId) -> Result<Seq, EngineError> {
        if let Some(session) = self.registry.get(id) {
            return Ok(session.live().last_seq());
        }
        let stored = self.store.summary(id)?.last_seq;
        // Opened meanwhile: what was read may not be synced yet.
        let opened = self.registry.get(id);
        Ok(opened.map_or(stored, |session| session.live().last_seq()))
    }

    /// The last `limit` messages that stand before event `end`.
    pub(super) fn messages_before(
        &self,
        id: &SessionId,
        end: Seq,
        limit: usize,
    ) -> Result<Vec<ShownMessage>, EngineError> {
        let mut records: Vec<Record> = Vec::new();
        let mut before = end;
        loop {
            let mut shown = transcript::messages(&records);
            // One more than wanted: the first may be the end of a reply that begins before.
            if shown.len() > limit || before <= Seq(1) {
                let surplus = shown.len().saturating_sub(limit);
                return Ok(shown.split_off(surplus));
            }
            let mut page = self.store.records_before(id, before, PAGE)?;
            let Some(first) = page.first() else {
                before = Seq(1);
                continue;
            };
            before = first.seq;
            page.retain(transcript::is_about_messages);
            page.append(&mut records);
            records = page;
        }
    }

    /// Why a call cannot be decided.
    pub(super) fn why_not_pending(
        &self,
        session: &Session,
        call_id: &str,
    ) -> Result<EngineError, EngineError> {
        /// How far back an answer is looked for.
        const BACK: Limit = Limit {
            records: 2000,
            bytes: 2 << 20,
        };
        let (last, is_asked) = {
            let live = session.live();
            (live.last_seq(), live.state.approval().is_some())
        };
        let records = self.store.records_before(&session.id, last.next(), BACK)?;
        let was_asked = records.iter().any(|record| {
            matches!(&record.event, Event::ApprovalRequired { call_id: asked, .. }
                if asked.as_str() == call_id)
        });
        Ok(match (was_asked, is_asked) {
            (true, _) => EngineError::AlreadyAnswered,
            (false, true) => EngineError::WrongCall(call_id.to_owned()),
            (false, false) => EngineError::NothingToApprove,
        })
    }

    /// Writes an idle session down and lets it go. One in use is left alone: its worker and its
    /// watchers ask for another look when they leave.
    pub(super) fn look_at(&self, id: &SessionId) {
        let Some(session) = self.registry.get(id) else {
            return;
        };
        session.live().is_look_due = false;
        if session.live().is_working() {
            return;
        }
        session.save_snapshot(&mut session.log());
        if session.live().has_watchers() || session.live().is_read_only {
            return;
        }
        drop(session);
        let is_gone = self.registry.forget_if(id, |session| {
            let live = session.live();
            !live.is_working() && !live.has_watchers() && !live.is_read_only
        });
        // Somebody has it in hand just now.
        if !is_gone && let Some(session) = self.registry.get(id) {
            session.look_later();
        }
    }

    /// Gives up what is in memory of a session: who uses it next opens it from its files. Those who
    /// watch it are told `reason`.
    pub(super) fn throw_away(&self, session: &Session, reason: &str) {
        let _nobody_writes = session.log();
        // First, so that those who are sent away and come back find the new one.
        self.registry.remove(session);
        session.live().break_off(reason);
    }

    /// Throws a session away whose worker panicked, opens it from its files and fails its turn.
    pub(super) fn reopen_after_panic(&self, session: &Arc<Session>) {
        self.throw_away(session, "an internal error; connect again");
        let failed = self.session(&session.id).and_then(|session| {
            let error = events::failure(FailureCode::InternalError, "an internal error".to_owned());
            let turn_id = self.ids.turn_id();
            session.live().is_left_over = false;
            // Messages too that no turn has begun to answer: they would lead to the same panic.
            session
                .decide(|live| Ok((events::end_of_all(live, turn_id, Ending::failed(error)), ())))
        });
        if let Err(error) = failed {
            log::error!("session {}: {}", session.id, chain(&error));
        }
    }
}
