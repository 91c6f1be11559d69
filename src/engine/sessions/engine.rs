//! Builds the parts of an engine, and ties what is due later to the timer.
//!
//! Each part gets what it needs and no more, so they are built in this order: what needs nothing,
//! the sessions, their workers, and last what is done without being asked.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};

use crate::base::timer::{Alarm, TimerHandle};
use crate::domain::event::Trigger;
use crate::engine::agent::Agents;
use crate::engine::draining::Draining;
use crate::engine::id_generator::IdGenerator;
use crate::engine::open::ageing::Ageing;
use crate::engine::open::chats::ChatIndex;
use crate::engine::open::idle::IdleQueue;
use crate::engine::open::parking::ParkedCalls;
use crate::engine::open::questions::Questions;
use crate::engine::open::session::SessionParts;
use crate::engine::open::sessions::OpenSessions;
use crate::engine::sessions::creation_locks::CreationLocks;
use crate::engine::sessions::parts::{EngineSettings, Parts};
use crate::engine::space::SpaceMonitor;
use crate::engine::spending::ledger::Ledger;
use crate::engine::turn::flusher::Flusher;
use crate::engine::turn::worker::{self, WorkerParts};
use crate::engine::turn::workers::Workers;
use crate::engine::upkeep::clock_watch::ClockWatch;
use crate::engine::upkeep::recovery::Recoverer;
use crate::engine::upkeep::sweep::Sweeper;
use crate::engine::upkeep::unanswered::AnswerTimeouts;
use crate::engine::workdir::WorkdirRules;
use crate::store::{CreationKeys, NodeName};

/// A running engine, as the façade uses it.
#[derive(Debug)]
pub(in crate::engine) struct Engine {
    pub(in crate::engine) parts: Arc<SessionParts>,
    pub(in crate::engine) agents: Arc<dyn Agents>,
    pub(in crate::engine) open: Arc<OpenSessions>,
    pub(in crate::engine) workers: Arc<Workers>,
    #[cfg(test)]
    pub(in crate::engine) worker_parts: Arc<WorkerParts>,
    pub(in crate::engine) upkeep: Upkeep,
    pub(in crate::engine) timer: TimerHandle,
    pub(in crate::engine) draining: Arc<Draining>,
    pub(in crate::engine) creation_locks: CreationLocks,
    pub(in crate::engine) creation_keys: CreationKeys,
    pub(in crate::engine) chats: ChatIndex,
    /// One chat's session is looked for and begun at a time; taken after the lock of a creation's key.
    pub(in crate::engine) chat_locks: CreationLocks,
    pub(in crate::engine) workdirs: WorkdirRules,
    /// Turns at work at a time.
    pub(in crate::engine) max_active: usize,
    /// Files that are being taken just now.
    pub(in crate::engine) files_taken: AtomicUsize,
}

/// What is done without being asked.
#[derive(Debug)]
pub(in crate::engine) struct Upkeep {
    pub(in crate::engine) ageing: Arc<Ageing>,
    pub(in crate::engine) clock_watch: Arc<ClockWatch>,
    pub(in crate::engine) sweeper: Arc<Sweeper>,
    pub(in crate::engine) recoverer: Arc<Recoverer>,
    pub(in crate::engine) answer_timeouts: Arc<AnswerTimeouts>,
}

impl Engine {
    /// Errors: the system has no thread for the flusher.
    pub(in crate::engine) fn new(from: Parts, timer: &TimerHandle) -> io::Result<Engine> {
        let alarms = Alarms::new(timer);
        let draining = Arc::default();
        let ageing = Arc::new(Ageing::new(
            Arc::clone(&from.agents),
            from.settings.lifetimes,
            alarms.sweep.clone(),
        ));
        let parts = Arc::new(session_parts(&from, &draining, &alarms));
        let open = Arc::new(OpenSessions::new(
            Arc::clone(&parts),
            Arc::clone(&from.agents),
            Arc::clone(&ageing),
        ));
        let worker_parts = Arc::new(WorkerParts {
            agents: Arc::clone(&from.agents),
            models: from.models,
            sessions: Arc::clone(&open),
            flusher: Flusher::start()?,
            draining: Arc::clone(&draining),
            reply_bytes: from.settings.reply_bytes,
            resume_trigger: resume_trigger(&from.settings),
        });
        let works_with = Arc::clone(&worker_parts);
        let workers = Arc::new(Workers::new(
            from.settings.max_active,
            Arc::new(move |session, generation| worker::work(&works_with, session, generation)),
        ));
        let engine = Engine {
            upkeep: Upkeep::new(&parts, &worker_parts, &workers, ageing),
            parts,
            agents: from.agents,
            open,
            workers,
            #[cfg(test)]
            worker_parts,
            timer: timer.clone(),
            draining,
            creation_locks: CreationLocks::new(),
            creation_keys: CreationKeys::new(from.store.documents()),
            chats: ChatIndex::default(),
            chat_locks: CreationLocks::new(),
            workdirs: from.settings.workdirs,
            max_active: from.settings.max_active,
            files_taken: AtomicUsize::new(0),
        };
        alarms.set_jobs(&engine);
        Ok(engine)
    }
}

impl Upkeep {
    fn new(
        parts: &Arc<SessionParts>,
        with: &WorkerParts,
        workers: &Arc<Workers>,
        ageing: Arc<Ageing>,
    ) -> Upkeep {
        let clock_watch = Arc::new(ClockWatch {
            store: Arc::clone(&parts.store),
            ids: Arc::clone(&parts.ids),
            draining: Arc::clone(&with.draining),
        });
        let recovery = Arc::new(OnceLock::new());
        Upkeep {
            sweeper: Arc::new(Sweeper {
                store: Arc::clone(&parts.store),
                ids: Arc::clone(&parts.ids),
                sessions: Arc::clone(&with.sessions),
                ageing: Arc::clone(&ageing),
                clock_watch: Arc::clone(&clock_watch),
                draining: Arc::clone(&with.draining),
                thread: Mutex::default(),
            }),
            recoverer: Arc::new(Recoverer {
                store: Arc::clone(&parts.store),
                sessions: Arc::clone(&with.sessions),
                workers: Arc::clone(workers),
                questions: Arc::clone(&parts.questions),
                space: Arc::clone(&parts.space),
                mode: Arc::clone(&recovery),
                resume_trigger: with.resume_trigger,
            }),
            answer_timeouts: Arc::new(AnswerTimeouts {
                questions: Arc::clone(&parts.questions),
                agents: Arc::clone(&with.agents),
                sessions: Arc::clone(&with.sessions),
                workers: Arc::clone(workers),
                ids: Arc::clone(&parts.ids),
                clock_watch: Arc::clone(&clock_watch),
                draining: Arc::clone(&with.draining),
                recovery,
            }),
            ageing,
            clock_watch,
        }
    }
}

/// What the timer is asked for; whoever asks knows nothing of what is done then.
struct Alarms {
    idle: Alarm,
    rest: Alarm,
    parked: Alarm,
    sweep: Alarm,
    space: Alarm,
    questions: Alarm,
}

impl Alarms {
    fn new(timer: &TimerHandle) -> Alarms {
        Alarms {
            idle: timer.alarm(),
            rest: timer.alarm(),
            parked: timer.alarm(),
            sweep: timer.alarm(),
            space: timer.alarm(),
            questions: timer.alarm(),
        }
    }

    fn set_jobs(&self, engine: &Engine) {
        let open = Arc::clone(&engine.open);
        self.idle.set_job(move || open.let_idle_go());
        let idle = Arc::clone(&engine.parts.idle);
        self.rest.set_job(move || idle.give_back_memory());
        engine.parts.idle.note_start();
        let (parts, agents) = (Arc::clone(&engine.parts), Arc::clone(&engine.agents));
        self.parked
            .set_job(move || parts.parked.tell_given_up(&*agents));
        let sweeper = Arc::clone(&engine.upkeep.sweeper);
        self.sweep.set_job(move || sweeper.start());
        let recoverer = Arc::clone(&engine.upkeep.recoverer);
        self.space.set_job(move || recoverer.look_for_room());
        let timeouts = Arc::clone(&engine.upkeep.answer_timeouts);
        self.questions.set_job(move || timeouts.look());
    }
}

fn session_parts(from: &Parts, draining: &Arc<Draining>, alarms: &Alarms) -> SessionParts {
    let ids = Arc::new(IdGenerator::new(Arc::clone(&from.clock)));
    SessionParts {
        idle: Arc::new(IdleQueue::new(alarms.idle.clone(), alarms.rest.clone())),
        questions: Arc::new(Questions::new(alarms.questions.clone())),
        parked: Arc::new(ParkedCalls::new(alarms.parked.clone())),
        space: Arc::new(SpaceMonitor::new(
            Arc::clone(&from.store),
            alarms.space.clone(),
            from.settings.min_free_bytes,
        )),
        ledger: Arc::new(Ledger::new(
            Arc::clone(&from.store),
            Arc::clone(&ids),
            Arc::clone(draining),
            from.settings.prices.clone(),
        )),
        ids,
        store: Arc::clone(&from.store),
        redactor: Arc::clone(&from.redactor),
        node: NodeName::only(),
        grant_key: from.settings.grant_key.clone(),
        chat_listener: OnceLock::new(),
    }
}

/// How a turn is taken up that the process before this one left.
fn resume_trigger(settings: &EngineSettings) -> Trigger {
    if settings.previous_stop_was_clean {
        Trigger::Restart
    } else {
        Trigger::Resume
    }
}
