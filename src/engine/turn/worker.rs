//! The worker's thread: the steps of one session's turn, until nothing is left to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use crate::base::thread::panic_text;
use crate::domain::code::FailureCode;
use crate::domain::event::{Event, Outcome, Record, Status, Trigger};
use crate::domain::step::{Step, next_step};
use crate::engine::agent::{Agent, Agents};
use crate::engine::draining::Draining;
use crate::engine::error::{EngineError, chain};
use crate::engine::events::{self, CANCELLED, Ending};
use crate::engine::open::session::Session;
use crate::engine::open::sessions::OpenSessions;
use crate::engine::turn::flusher::Flusher;
use crate::engine::turn::tool_run::canceller;
use crate::engine::watch::live::{Cut, Interrupt, Live, LiveGuard, RunningWorker, Work};
use crate::llm::{Cancel, Model, Models};
use crate::store::Journal;

/// How often a turn is tried again after an unclean stop.
const TRIES_MAX: u32 = 3;

/// Works for `session` as worker `generation` until nothing is left to do. A panic fails the
/// session's turn and nothing else.
pub(in crate::engine) fn work(parts: &WorkerParts, session: &Arc<Session>, generation: u64) {
    let mut worker = Worker::new(parts, session, generation);
    let end = catch_unwind(AssertUnwindSafe(|| worker.run()));
    worker.leave(end);
}

/// Why a worker leaves before its work is done.
pub(in crate::engine) enum Leave {
    /// Another has its place.
    Superseded,
    /// The session, or its turn, has ended meanwhile: there may be nothing left to do.
    Over,
    /// What happened could not be written down.
    Failed(EngineError),
}

impl From<EngineError> for Leave {
    fn from(error: EngineError) -> Leave {
        if matches!(error, EngineError::SessionEnded(_)) {
            Leave::Over
        } else {
            Leave::Failed(error)
        }
    }
}

pub(in crate::engine) struct Worker<'a> {
    pub(in crate::engine) parts: &'a WorkerParts,
    pub(in crate::engine) session: &'a Arc<Session>,
    generation: u64,
    /// Where the session's tools work, if that is not the agent's own folder; it never changes.
    pub(in crate::engine) workdir: Option<PathBuf>,
    /// Kept between the calls of a turn, and its connection with it.
    pub(in crate::engine) model: Option<Box<dyn Model>>,
    /// When the model was first asked for the reply in hand: what goes on with it has no time of its own.
    pub(in crate::engine) reply_since: Option<Instant>,
}

/// What every worker works with, beside what its session does.
#[derive(Debug)]
pub(in crate::engine) struct WorkerParts {
    pub(in crate::engine) agents: Arc<dyn Agents>,
    pub(in crate::engine) models: Arc<dyn Models>,
    pub(in crate::engine) sessions: Arc<OpenSessions>,
    pub(in crate::engine) flusher: Flusher,
    pub(in crate::engine) draining: Arc<Draining>,
    /// The most that a reply may hold; an agent may want less.
    pub(in crate::engine) reply_bytes: usize,
    /// How a turn is taken up that the process before this one left.
    pub(in crate::engine) resume_trigger: Trigger,
}

/// What a worker finds when it looks for work.
enum NextAction {
    /// Something to do.
    Step(Step),
    /// Nothing: the session has no worker from here on.
    Retired,
    /// The turn is to be cancelled.
    Cancelled,
    /// Nobody is there for whom to go on.
    NobodyThere,
    /// The session pauses, and somebody has come.
    SomebodyCame,
    /// Calls are parked, and their tools were not asked since the session was opened.
    AskTools,
}

/// A call of the model may last, and hundreds may at once. So what the other steps take of the stack
/// is not kept for them: they are functions of their own, in the program too (2 MB less of 500 streams).
impl<'a> Worker<'a> {
    /// Worker `generation` of `session`, which is this worker's already.
    pub(in crate::engine) fn new(
        parts: &'a WorkerParts,
        session: &'a Arc<Session>,
        generation: u64,
    ) -> Worker<'a> {
        Worker {
            parts,
            session,
            generation,
            workdir: session
                .live()
                .state
                .summary
                .workdir
                .as_ref()
                .map(PathBuf::from),
            model: None,
            reply_since: None,
        }
    }

    fn run(&mut self) -> Result<(), Leave> {
        loop {
            match self.advance_once() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // Somebody ended it while this was at work: the next look says what is left.
                Err(Leave::Over) => self.forget_journal()?,
                Err(leave) => return Err(leave),
            }
        }
    }

    /// Takes the next step; `false` when there is none.
    fn advance_once(&mut self) -> Result<bool, Leave> {
        match self.claim_step()? {
            None => return Ok(false),
            Some(Step::CallModel) => self.call_model()?,
            Some(step) => self.take(step)?,
        }
        Ok(true)
    }

    #[inline(never)]
    fn take(&mut self, step: Step) -> Result<(), Leave> {
        match step {
            Step::CallModel => self.call_model(),
            Step::Summarise => self.summarise(),
            Step::RunTools(calls) => self.advance(&calls),
            Step::EndTurn(outcome) => self.end_turn(ending(outcome)),
            // Nothing of these is ever claimed.
            Step::Idle | Step::AwaitOthers | Step::Paused => Ok(()),
        }
    }

    /// The end of the worker, by whatever way.
    #[inline(never)]
    fn leave(&mut self, end: std::thread::Result<Result<(), Leave>>) {
        match end {
            // That it is over never ends a worker: it looks once more.
            Ok(Ok(()) | Err(Leave::Superseded | Leave::Over)) => {}
            Ok(Err(Leave::Failed(error))) => self.give_up(&error),
            Err(panic) => {
                let words = panic_text(&*panic);
                log::error!("session {}: the worker panicked: {words}", self.session.id);
                self.reopen_after_panic();
            }
        }
        self.session.look_later();
    }

    /// The next thing to do; `None` when there is nothing, and this worker no longer has the
    /// session.
    #[inline(never)]
    fn claim_step(&mut self) -> Result<Option<Step>, Leave> {
        loop {
            match self.look()? {
                // Before it may pause: the tries of one that pauses each time count too.
                NextAction::Step(_) | NextAction::NobodyThere if self.live()?.is_left_over => {
                    self.resume_turn()?;
                }
                NextAction::Step(step) => return Ok(Some(step)),
                NextAction::Retired => return Ok(None),
                NextAction::Cancelled => self.cancel_turn()?,
                NextAction::NobodyThere => self.pause()?,
                NextAction::AskTools => self.ask_after_parked()?,
                NextAction::SomebodyCame => {
                    self.insist(|| Ok(self.session.wake_if_attended()?))?;
                }
            }
        }
    }

    /// To look and to retire is one step under the lock: whoever brings work afterwards finds
    /// that nobody works.
    fn look(&self) -> Result<NextAction, Leave> {
        let (mut live, interrupt) = self.mine()?;
        let step = next_step(&live.state);
        let found = match step {
            _ if interrupt == Some(Interrupt::Cancelled) => NextAction::Cancelled,
            Step::Paused if !live.wants_a_client() && !self.parts.draining.is_begun() => {
                NextAction::SomebodyCame
            }
            Step::Idle | Step::Paused => NextAction::Retired,
            _ if self.parts.draining.is_begun() => NextAction::Retired,
            Step::AwaitOthers | Step::RunTools(_) if live.has_unasked_calls => NextAction::AskTools,
            Step::AwaitOthers => NextAction::Retired,
            // Outside of turns somebody has asked for it, and need not wait for it.
            Step::Summarise if live.state.turn.is_none() && !live.state.is_asked() => {
                NextAction::Step(step)
            }
            Step::CallModel | Step::Summarise | Step::RunTools(_) if live.wants_a_client() => {
                NextAction::NobodyThere
            }
            Step::CallModel | Step::Summarise | Step::RunTools(_) | Step::EndTurn(_) => {
                NextAction::Step(step)
            }
        };
        if matches!(found, NextAction::Retired) {
            live.work = Work::None;
        }
        Ok(found)
    }

    /// The live state, while it is this worker's to work on, and whether it was asked to stop.
    fn mine(&self) -> Result<(LiveGuard<'_>, Option<Interrupt>), Leave> {
        let live = self.session.live();
        let interrupt = self.claim(&live)?.interrupt;
        Ok((live, interrupt))
    }

    /// The live state, while it is this worker's to work on.
    pub(in crate::engine) fn live(&self) -> Result<LiveGuard<'_>, Leave> {
        Ok(self.mine()?.0)
    }

    fn claim<'l>(&self, live: &'l Live) -> Result<&'l RunningWorker, Leave> {
        match &live.work {
            // Opened anew by somebody else, who has its files.
            _ if live.broken.is_some() => Err(Leave::Superseded),
            Work::RunningWorker(running) if running.generation == self.generation => Ok(running),
            Work::RunningWorker(_) | Work::Queued | Work::None => Err(Leave::Superseded),
        }
    }

    /// Why this worker was asked to stop, if it was.
    pub(in crate::engine) fn interrupt(&self) -> Result<Option<Interrupt>, Leave> {
        Ok(self.mine()?.1)
    }

    /// Says how what is done now can be ended from outside; `false` when it is to end already.
    pub(in crate::engine) fn allow_cancel(
        &self,
        cancel: Option<Arc<dyn Cancel>>,
    ) -> Result<bool, Leave> {
        let (mut live, interrupt) = self.mine()?;
        live.set_cancel(cancel);
        Ok(interrupt.is_none())
    }

    /// The journal, while the session is this worker's: nobody takes it away meanwhile.
    pub(in crate::engine) fn journal(&self) -> Result<MutexGuard<'_, Box<dyn Journal>>, Leave> {
        let journal = self.session.journal();
        drop(self.live()?);
        Ok(journal)
    }

    /// Forgets the text of a reply that the log has.
    pub(in crate::engine) fn clear_journal(&self) -> Result<(), Leave> {
        self.insist(|| Ok(self.journal()?.clear().map_err(EngineError::from)?))
    }

    /// Decides on the state as it is and writes what was decided, unless another has the session.
    /// Where there is no room it waits, and writes the same then: it may be all that is known of a
    /// deed that is done.
    pub(in crate::engine) fn write(
        &self,
        decision: impl FnOnce(&Live) -> Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, Leave> {
        let mut decision = Some(decision);
        let mut events = Vec::new();
        self.insist(|| {
            let mut log = self.session.log();
            {
                let (live, _) = self.mine()?;
                if let Some(decision) = decision.take() {
                    events = decision(&live);
                }
            }
            Ok(self.session.commit_kept(&mut log, &mut events)?)
        })
    }

    /// As [`write`](Worker::write), but it never waits: for what may as well be lost.
    pub(in crate::engine) fn write_now(
        &self,
        decision: impl FnOnce(&Live) -> Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, Leave> {
        let mut log = self.session.log();
        let events = {
            let (live, _) = self.mine()?;
            decision(&live)
        };
        Ok(self.session.commit(&mut log, events)?)
    }

    /// Tries until it succeeds, or fails for a reason that does not pass.
    pub(in crate::engine) fn insist<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Leave>,
    ) -> Result<T, Leave> {
        loop {
            match attempt() {
                Err(Leave::Failed(error)) if error.is_passing() => self.wait_for_room(error)?,
                other => return other,
            }
        }
    }

    /// Waits until there may be room, with no lock held.
    ///
    /// Errors: somebody cancels the turn, or the process is about to end; the turn then waits
    /// without a worker.
    #[inline(never)]
    pub(in crate::engine) fn wait_for_room(&self, error: EngineError) -> Result<(), Leave> {
        let error = self.session.parts.space.explain(error);
        let why = error.to_string();
        log::warn!(
            "session {}: the turn waits: {}",
            self.session.id,
            chain(&error)
        );
        let (cancel, cancel_rx) = canceller();
        let (before, is_asked_to_stop) = {
            let (mut live, interrupt) = self.mine()?;
            live.cut_watchers(Cut::Waits(why.clone()));
            (live.set_cancel(Some(cancel)), interrupt.is_some())
        };
        if is_asked_to_stop || self.parts.draining.is_begun() {
            return Err(Leave::Failed(error));
        }
        self.session
            .parts
            .space
            .wait(&self.session.id, why, &cancel_rx);
        let (mut live, interrupt) = self.mine()?;
        live.set_cancel(before);
        if interrupt.is_some() || self.parts.draining.is_begun() {
            return Err(Leave::Failed(error));
        }
        Ok(())
    }

    /// Takes a turn up that the process before this one left unfinished.
    fn resume_turn(&self) -> Result<(), Leave> {
        let is_last = was_tried_too_often(&*self.live()?);
        if is_last {
            let error = events::failure(
                FailureCode::TooManyTries,
                format!(
                    "the turn was given up after {TRIES_MAX} tries that the server did not survive"
                ),
            );
            return self.end_turn(Ending::failed(error));
        }
        let trigger = self.parts.resume_trigger;
        self.write(|live| next_try(live, trigger).into_iter().collect())?;
        Ok(())
    }

    /// Starts a turn if there is none: it may have begun with its message.
    pub(in crate::engine) fn start_turn(&self) -> Result<(), Leave> {
        if self.live()?.state.turn.is_some() {
            return Ok(());
        }
        let turn_id = self.session.parts.ids.turn_id();
        self.write(|_| vec![events::turn_start(turn_id)])?;
        Ok(())
    }

    /// The session's agent; without it the turn fails.
    pub(in crate::engine) fn agent(&self) -> Result<Option<Agent>, Leave> {
        let name = self.live()?.state.summary.agent.clone();
        match self.parts.agents.find(&name, EngineError::AgentGone) {
            Ok(agent) => Ok(Some(agent)),
            Err(gone) => {
                self.start_turn()?;
                let failure = events::failure(FailureCode::AgentGone, gone.to_string());
                self.end_turn(Ending::failed(failure))?;
                Ok(None)
            }
        }
    }

    pub(in crate::engine) fn end_turn(&self, ending: Ending) -> Result<(), Leave> {
        self.write(|live| events::turn_end(live, ending))?;
        Ok(())
    }

    /// Ends the turn because somebody said so.
    pub(in crate::engine) fn cancel_turn(&mut self) -> Result<(), Leave> {
        self.cancel_turn_after(None)
    }

    /// The same with what is to be written down first.
    pub(in crate::engine) fn cancel_turn_after(
        &mut self,
        first: Option<Event>,
    ) -> Result<(), Leave> {
        // What was cancelled cannot be called again.
        self.model = None;
        let turn_id = self.session.parts.ids.turn_id();
        self.write(|live| {
            let ending = Ending::cancelled(CANCELLED).said_by(live.cancel_cause());
            let ends = events::end_of_all(live, turn_id, ending);
            first.into_iter().chain(ends).collect()
        })?;
        self.live()?.end_cancel();
        self.clear_journal()
    }

    fn pause(&self) -> Result<(), Leave> {
        self.write(|live| {
            let pauses = live.wants_a_client().then_some(Event::StatusChange {
                from: Status::Active,
                to: Status::Paused,
            });
            pauses.into_iter().collect()
        })?;
        Ok(())
    }

    /// Throws the session away, opens it from its files and fails its turn.
    fn reopen_after_panic(&self) {
        let sessions = &self.parts.sessions;
        sessions.throw_away(self.session, "an internal error; connect again");
        let failed = sessions.get(&self.session.id).and_then(|session| {
            let error = events::failure(FailureCode::InternalError, "an internal error".to_owned());
            let turn_id = self.session.parts.ids.turn_id();
            session.live().is_left_over = false;
            // Messages too that no turn has begun to answer: they would lead to the same panic.
            session
                .decide(|live| Ok((events::end_of_all(live, turn_id, Ending::failed(error)), ())))
        });
        if let Err(error) = failed {
            log::error!("session {}: {}", self.session.id, chain(&error));
        }
    }

    /// Leaves the turn as it is, because what happens can't be written down. It is taken up again
    /// when somebody comes: from the files, which have the text that was shown of a reply.
    fn give_up(&self, error: &EngineError) {
        {
            // One that was deleted has no files to write to, which is no failure.
            let Ok(mut live) = self.live() else { return };
            log::error!(
                "session {}: the turn stops: {}",
                self.session.id,
                chain(error)
            );
            if live.is_read_only {
                // It stays in memory, to remember that until the process starts anew.
                live.work = Work::None;
                live.cut_watchers(Cut::Broken(error.to_string()));
                return;
            }
        }
        // It stays this worker's until it is broken off: another would write to its journal beside
        // those who open it anew.
        let (sessions, why) = (&self.parts.sessions, error.to_string());
        if error.is_passing() && !self.parts.draining.is_begun() {
            sessions.throw_away_stalled(self.session, &why);
        } else {
            sessions.throw_away(self.session, &why);
        }
    }
}

/// One more try of a turn that the process before this one left; nothing if there is none, or if
/// it was tried too often.
pub(in crate::engine) fn next_try(live: &Live, trigger: Trigger) -> Option<Event> {
    let turn = live.state.turn.as_ref();
    let tried = turn.filter(|_| live.is_left_over && !was_tried_too_often(live));
    tried.map(|turn| Event::TurnStarted {
        turn_id: turn.id.clone(),
        trigger,
    })
}

/// Whether the unfinished turn has ended too many processes.
fn was_tried_too_often(live: &Live) -> bool {
    let turn = live.state.turn.as_ref();
    turn.is_some_and(|turn| turn.tries >= TRIES_MAX)
}

/// The end that a turn has come to by itself.
fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Completed => Ending::completed(),
        Outcome::Cancelled => Ending::cancelled(CANCELLED),
        Outcome::Failed => Ending::failed(events::failure(
            FailureCode::ProviderError,
            "the model's provider failed".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::domain::event::EndReason;
    use crate::domain::story::{self, user};
    use crate::engine::testing::{Bench, agent};
    use crate::engine::watch::live::WatcherRole;

    /// The story's turn 1 with message 1, unfinished.
    fn begun() -> [Event; 2] {
        [user(1, "hi"), story::started(1, Trigger::Message)]
    }

    /// The same, and its one call is parked.
    fn parked() -> [Event; 5] {
        let [message, start] = begun();
        let asking = story::reply(11, 3, "").asking(&[1]).event();
        [message, start, asking, story::runs(1), story::parks(1)]
    }

    fn told(found: &NextAction) -> String {
        match found {
            NextAction::Step(step) => format!("{step:?}"),
            NextAction::Retired => "retired".to_owned(),
            NextAction::Cancelled => "cancelled".to_owned(),
            NextAction::NobodyThere => "nobody there".to_owned(),
            NextAction::SomebodyCame => "somebody came".to_owned(),
            NextAction::AskTools => "ask tools".to_owned(),
        }
    }

    fn look(worker: &Worker<'_>) -> String {
        worker
            .look()
            .map_or("superseded".to_owned(), |found| told(&found))
    }

    /// An engine whose sessions wait for clients.
    fn pausing() -> Bench {
        Bench::with(|plan| {
            let mut ada = agent("ada");
            let spec = Arc::make_mut(&mut ada.spec);
            spec.session.on_disconnect = crate::domain::event::OnDisconnect::Pause;
            plan.agents = vec![ada];
        })
    }

    #[test]
    fn what_a_worker_finds_depends_on_the_session_its_clients_and_the_process() {
        for (events, is_attended, is_draining, expected) in [
            (vec![], true, false, "retired"),
            (vec![], true, true, "retired"),
            (begun().to_vec(), true, false, "CallModel"),
            (begun().to_vec(), false, false, "nobody there"),
            (begun().to_vec(), true, true, "retired"),
            (begun().to_vec(), false, true, "retired"),
            (
                [&begun()[..], &[story::pauses()]].concat(),
                true,
                false,
                "somebody came",
            ),
            (
                [&begun()[..], &[story::pauses()]].concat(),
                false,
                false,
                "retired",
            ),
            (parked().to_vec(), false, false, "retired"),
            // It would go on for nobody: a process that ends takes nothing up.
            (
                [&begun()[..], &[story::pauses()]].concat(),
                true,
                true,
                "retired",
            ),
        ] {
            let bench = pausing();
            let session = bench.session(events.clone());
            let worker = bench.worker(&session);
            if is_attended {
                session.live().watch(WatcherRole::Attached);
            }
            if is_draining {
                bench.sessions.drain();
            }
            let found = look(&worker);
            assert_eq!(found, expected, "{events:?} {is_attended} {is_draining}");
            let is_working = session.live().is_working();
            assert_eq!(is_working, expected != "retired", "{events:?}");
        }
    }

    #[test]
    fn tools_are_asked_after_parked_calls_once_and_not_by_a_process_that_ends() {
        for is_draining in [false, true] {
            let bench = pausing();
            let session = bench.session(parked());
            session.live().has_unasked_calls = true;
            assert!(Session::needs_worker(&session.live()));
            let mut worker = bench.worker(&session);
            if is_draining {
                bench.sessions.drain();
                assert_eq!(look(&worker), "retired");
                continue;
            }
            assert_eq!(look(&worker), "ask tools");
            // There is no such tool: whoever does the work brings the result.
            assert!(worker.run().is_ok());
            assert!(!session.live().is_working());
            assert!(!Session::needs_worker(&session.live()));
            assert!(session.live().state.summary.is_parked());
        }
    }

    /// Whether a worker can do anything at all to its session.
    fn is_superseded(worker: &Worker<'_>) -> [bool; 5] {
        fn refused<T>(result: Result<T, Leave>) -> bool {
            matches!(result, Err(Leave::Superseded))
        }
        [
            refused(worker.look()),
            refused(worker.live().map(drop)),
            refused(worker.journal().map(drop)),
            refused(worker.allow_cancel(None)),
            refused(worker.write(|_| vec![story::notice()])),
        ]
    }

    #[test]
    fn a_worker_whose_session_was_taken_from_it_does_nothing_more() {
        type Take = fn(&mut Live);
        let taken: [(&str, Take); 4] = [
            ("given to nobody", |live| live.work = Work::None),
            ("in the queue", |live| live.work = Work::Queued),
            ("given to the next", |live| {
                live.work = Work::RunningWorker(RunningWorker::new(7));
            }),
            ("opened anew", |live| live.break_off("in a test")),
        ];
        for (how, take) in taken {
            let bench = Bench::new();
            let session = bench.session(begun());
            let worker = bench.worker(&session);
            assert_eq!(is_superseded(&worker), [false; 5]);
            let written = bench.events(&session.id);
            take(&mut session.live());
            assert_eq!(is_superseded(&worker), [true; 5], "{how}");
            assert_eq!(bench.events(&session.id), written, "{how}");
        }
    }

    #[test]
    fn a_cancel_ends_the_turn_and_leaves_the_next_one_alone() {
        for events in [vec![], vec![user(1, "hi")], begun().to_vec()] {
            let bench = Bench::new();
            let session = bench.session(events.clone());
            let mut worker = bench.worker(&session);
            crate::engine::turn::workers::interrupt(&session, Interrupt::Cancelled);
            assert_eq!(look(&worker), "cancelled");
            assert!(worker.cancel_turn().is_ok());
            assert!(!session.live().state.summary.unfinished);
            // Also where no event told of the end, as nothing was unfinished.
            assert!(matches!(worker.interrupt(), Ok(None)), "{events:?}");
            session.decide(|_| Ok((vec![user(2, "more")], ()))).unwrap();
            assert_eq!(look(&worker), "CallModel", "{events:?}");
        }
    }

    #[test]
    fn a_worker_whose_session_ends_under_it_leaves_without_a_word() {
        let bench = Bench::new();
        for begun in [vec![user(1, "hi")], begun().to_vec()] {
            let session = bench.session(begun);
            let mut worker = bench.worker(&session);
            assert_eq!(look(&worker), "CallModel");
            let end = |live: &Live| {
                let turn_id = bench.engine().parts.ids.turn_id();
                let mut events = events::end_of_all(live, turn_id, Ending::cancelled(CANCELLED));
                events.push(Event::session_end(EndReason::Terminated));
                Ok((events, ()))
            };
            session.decide(end).unwrap();
            assert!(matches!(worker.call_model(), Err(Leave::Over)));
            assert!(worker.run().is_ok());
            assert!(!session.live().is_working());
            assert!(session.live().in_flight.is_none());
            // It was not given up, which would be told as a failure.
            assert!(session.live().broken.is_none());
            assert!(bench.engine().open.in_use(&session.id).is_some());
        }
    }

    #[test]
    fn a_shutdown_is_not_forgotten_with_a_turn() {
        let bench = Bench::new();
        let session = bench.session(begun());
        let worker = bench.worker(&session);
        crate::engine::turn::workers::interrupt(&session, Interrupt::Shutdown);
        assert!(worker.end_turn(Ending::completed()).is_ok());
        assert!(matches!(worker.interrupt(), Ok(Some(Interrupt::Shutdown))));
    }

    #[test]
    fn a_turn_pauses_only_while_nobody_is_there() {
        for is_attended in [false, true] {
            let bench = pausing();
            let session = bench.session(begun());
            let worker = bench.worker(&session);
            assert_eq!(look(&worker), "nobody there");
            // Somebody comes between the look and the deed.
            if is_attended {
                session.live().watch(WatcherRole::Attached);
            }
            assert!(worker.pause().is_ok());
            let status = session.live().state.summary.status;
            assert_eq!(status == Status::Paused, !is_attended);
        }
    }

    #[test]
    fn only_a_turn_that_was_left_over_is_tried_again_and_three_times_at_most() {
        let tries = |n: usize| vec![story::started(1, Trigger::Resume); n];
        for (events, is_left_over, is_tried) in [
            (vec![], true, false),
            (begun().to_vec(), false, false),
            (begun().to_vec(), true, true),
            ([begun().to_vec(), tries(2)].concat(), true, true),
            ([begun().to_vec(), tries(2)].concat(), false, false),
            ([begun().to_vec(), tries(3)].concat(), true, false),
        ] {
            let bench = Bench::new();
            let session = bench.session(events.clone());
            session.live().is_left_over = is_left_over;
            let next = next_try(&session.live(), Trigger::Resume);
            assert_eq!(next.is_some(), is_tried, "{events:?} {is_left_over}");
        }
    }

    #[test]
    fn a_turn_that_was_tried_too_often_is_given_up() {
        let bench = Bench::new();
        let tries = vec![story::started(1, Trigger::Resume); 3];
        let session = bench.session([begun().to_vec(), tries].concat());
        session.live().is_left_over = true;
        let mut worker = bench.worker(&session);
        assert!(worker.run().is_ok());
        let events = bench.events(&session.id);
        let Some(Event::TurnEnded { outcome, error, .. }) = events.last() else {
            panic!("{events:?}");
        };
        let code = error.as_ref().map(|error| error.code.as_str());
        assert_eq!((*outcome, code), (Outcome::Failed, Some("too_many_tries")));
    }

    #[test]
    fn what_can_be_written_no_more_stays_in_memory_and_everything_else_is_opened_anew() {
        for is_read_only in [true, false] {
            let bench = Bench::new();
            let session = bench.session(begun());
            let worker = bench.worker(&session);
            session.live().is_read_only = is_read_only;
            worker.give_up(&EngineError::ReadOnly);
            let is_here = bench.engine().open.in_use(&session.id).is_some();
            assert_eq!(is_here, is_read_only);
            assert_eq!(session.live().broken.is_some(), !is_read_only);
            assert_eq!(session.live().is_working(), !is_read_only);
        }
    }

    #[test]
    fn a_turn_that_waits_for_room_goes_on_though_its_worker_could_not_leave_for_long() {
        let bench = Bench::new();
        let session = bench.session(begun());
        let worker = bench.worker(&session);
        let space = &bench.engine().parts.space;
        std::thread::scope(|scope| {
            // Somebody writes to a slow disk.
            let log = session.log();
            scope.spawn(move || worker.give_up(&EngineError::DiskFull(None)));
            // For longer than it takes until there is a look for room, if one was asked for.
            let held_until = Instant::now() + Duration::from_millis(400);
            while Instant::now() < held_until {
                assert_eq!(space.stalled(&session.id), None, "it is still here");
                std::thread::yield_now();
            }
            drop(log);
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        let is_over = |event: &Event| matches!(event, Event::TurnEnded { .. });
        while !bench.events(&session.id).iter().any(is_over) {
            assert!(Instant::now() < deadline, "nobody takes it up");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_turn_of_an_agent_that_is_gone_fails_and_says_so() {
        let bench = Bench::new();
        let session = bench.session([user(1, "hi")]);
        session.live().state.summary.agent = "bob".to_owned();
        let mut worker = bench.worker(&session);
        assert!(worker.run().is_ok());
        let events = bench.events(&session.id);
        let Some(Event::TurnEnded { error, .. }) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(error.as_ref().unwrap().code, "agent_gone");
    }

    #[test]
    fn a_session_that_is_over_has_no_worker() {
        let bench = Bench::new();
        let end = Event::session_end(EndReason::Completed);
        let session = bench.session([user(1, "hi"), end]);
        assert!(!Session::needs_worker(&session.live()));
        let mut worker = bench.worker(&session);
        assert!(worker.run().is_ok());
        assert!(!session.live().is_working());
    }
}
