//! The end of questions that nobody answers in time.
//!
//! An agent may say how long that is (`spec.session.approval_timeout`). It counts from the time of asking
//! that stands in the log. How old a question is that this process has asked, the time since the boot
//! tells, which does not leap; of one that was found in a log, the [timeline](super::timeline) tells
//! what can be known.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::domain::event::{Event, Status};
use crate::domain::ids::SessionId;
use crate::engine::agent::Agents;
use crate::engine::draining::Draining;
use crate::engine::error::{EngineError, chain};
use crate::engine::events;
use crate::engine::id_generator::IdGenerator;
use crate::engine::open::questions::{Age, LOOK_EVERY, OpenQuestion, Questions};
use crate::engine::open::sessions::OpenSessions;
use crate::engine::turn::workers::Workers;
use crate::engine::upkeep::clock_watch::ClockWatch;
use crate::engine::upkeep::recovery::Recovery;
use crate::engine::upkeep::timeline::ClockReading;

/// When to look again where there was no room to write.
const REST: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct AnswerTimeouts {
    pub(in crate::engine) questions: Arc<Questions>,
    pub(in crate::engine) agents: Arc<dyn Agents>,
    pub(in crate::engine) sessions: Arc<OpenSessions>,
    pub(in crate::engine) workers: Arc<Workers>,
    pub(in crate::engine) ids: Arc<IdGenerator>,
    pub(in crate::engine) clock_watch: Arc<ClockWatch>,
    pub(in crate::engine) draining: Arc<Draining>,
    /// What becomes of unfinished turns; unset until they are looked for.
    pub(in crate::engine) recovery: Arc<OnceLock<Recovery>>,
}

impl AnswerTimeouts {
    /// Ends the questions that are due, and asks for the next look.
    pub(in crate::engine) fn look(&self) {
        let mut seen = None;
        let open = self.questions.all();
        let rests = open
            .iter()
            .filter_map(|(id, question)| self.look_at(id, question, &mut seen));
        if let Some(rest) = rests.min() {
            self.questions.look_after(rest);
        }
    }

    /// Ends a question if it is due; returns in how long to look at it again.
    fn look_at(
        &self,
        id: &SessionId,
        question: &OpenQuestion,
        seen: &mut Option<(ClockReading, Duration)>,
    ) -> Option<Duration> {
        let agent = self.agents.get(&question.agent)?;
        let limit = agent.spec.session.approval_timeout?;
        // What the process before this one asked is for the recovery to set going, which has it
        // looked at.
        let is_early = question.is_found && self.recovery.get().is_none();
        if is_early || self.draining.is_begun() {
            return None;
        }
        let ended = self.age(id, question, seen).and_then(|age| {
            let left = limit.saturating_sub(age);
            if left.is_zero() {
                self.end_unanswered(id, question)?;
            }
            Ok(Some(left).filter(|left| !left.is_zero()))
        });
        ended.unwrap_or_else(|error| self.look_after_failure(id, question, &error))
    }

    fn look_after_failure(
        &self,
        id: &SessionId,
        question: &OpenQuestion,
        error: &EngineError,
    ) -> Option<Duration> {
        if matches!(error, EngineError::SessionNotFound(_)) {
            self.questions.forget_one(id, question);
            return None;
        }
        if error.is_passing() {
            log::debug!("session {id} is asked on: {}", chain(error));
            return Some(REST);
        }
        log::warn!(
            "session {id}: nobody answered in time, which cannot be written down: {}",
            chain(error)
        );
        Some(LOOK_EVERY)
    }

    fn age(
        &self,
        id: &SessionId,
        question: &OpenQuestion,
        seen: &mut Option<(ClockReading, Duration)>,
    ) -> Result<Duration, EngineError> {
        let age = match question.age {
            Some(age) => age,
            None => {
                let (seen, since_boot) = match seen {
                    Some(seen) => seen,
                    None => seen.insert(self.clock_watch.look()?),
                };
                let age = Age {
                    was: seen.at().since(seen.trusted(question.asked_at)),
                    since_boot: *since_boot,
                };
                self.questions.learn_age(id, question, age);
                age
            }
        };
        let since_boot = self.ids.clock().since_boot();
        Ok(age.was + since_boot.saturating_sub(age.since_boot))
    }

    /// Denies what nobody has answered, unless somebody does so just now. The turn goes on; where the
    /// recovery leaves all turns waiting, it waits with them.
    fn end_unanswered(&self, id: &SessionId, question: &OpenQuestion) -> Result<(), EngineError> {
        let session = self.sessions.get(id)?;
        let is_left = question.is_found && self.recovery.get() == Some(&Recovery::LeaveWaiting);
        let (records, pauses) = session.decide(|live| {
            let asked_at = live.state.permission_asked_at();
            let open = live.state.approval();
            let open = open.filter(|_| asked_at == Some(question.asked_at));
            let is_active = live.state.summary.status == Status::Active;
            let pauses = is_left && is_active && live.attached() == 0;
            let mut events: Vec<Event> = Vec::new();
            if let Some(open) = open {
                events.extend(events::unanswered(&open.call_id));
                events.extend(pauses.then_some(Event::StatusChange {
                    from: Status::Active,
                    to: Status::Paused,
                }));
            }
            Ok((events, pauses))
        })?;
        if records.is_empty() {
            self.questions.forget_one(id, question);
        } else if !pauses && let Err(error) = self.workers.take_up(&session) {
            // It stands in the log, and the turn is as it was.
            log::warn!("session {id} stays as it is: {}", chain(&error));
        }
        Ok(())
    }
}
