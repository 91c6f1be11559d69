//! Questions that wait for a person, and the end of those that nobody answers in time.
//!
//! An agent may say how long that is (`spec.session.approval_timeout`). It counts from the time of asking
//! that stands in the log. How old a question is that this process has asked, the time since the boot
//! tells, which does not leap; of one that was found in a log, the [timeline](super::timeline) tells
//! what can be known. The timer looks when the first is due, and never where none will be.
//!
//! Whether a call has run (`uncertain`) is asked for ever: a denial is no answer to that.
//!
//! Invariant: every open question of a session that was opened since the start is `open` here, also
//! after its session has left the memory. The lock is taken last, and no call leaves this file while it is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::domain::event::{Event, Status};
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::events;
use crate::engine::inner::Inner;
use crate::engine::looks::{Due, Looks};
use crate::engine::sessions::Sessions;
use crate::engine::turn::workers::Workers;
use crate::engine::upkeep::recovery::{self, Recovery};
use crate::engine::upkeep::timeline::Seen;

/// The timer's clock stands still while the machine sleeps: with a question that will be due it looks at
/// least so often.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// When to look again where there was no room to write.
const REST: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Questions {
    looks: Arc<Looks>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    open: HashMap<SessionId, Question>,
    /// Whether the timer is asked to look now.
    is_look_due: bool,
    /// Whether it could not be asked.
    is_look_missed: bool,
    /// When it looks beside that.
    next_look: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Question {
    /// By the log; tells it from other questions of its session.
    asked_at: Timestamp,
    agent: String,
    /// Whether it stood in the log when the session was opened.
    is_found: bool,
    /// `None` until the timer has looked.
    age: Option<Age>,
}

/// How old a question was at some time since the boot.
#[derive(Debug, Clone, Copy)]
struct Age {
    was: Duration,
    since_boot: Duration,
}

impl Questions {
    pub(in crate::engine) fn new(looks: Arc<Looks>) -> Questions {
        Questions {
            looks,
            known: Mutex::default(),
        }
    }

    /// A question was asked just now, at `since_boot`.
    pub(in crate::engine) fn note_asked(
        &self,
        id: &SessionId,
        asked_at: Timestamp,
        agent: String,
        since_boot: Duration,
    ) {
        let question = Question {
            asked_at,
            agent,
            is_found: false,
            age: Some(Age {
                was: Duration::ZERO,
                since_boot,
            }),
        };
        lock(&self.known).open.insert(id.clone(), question);
        self.look_now();
    }

    /// A session was opened, and its log ends with a question.
    pub(in crate::engine) fn note_found(&self, id: &SessionId, asked_at: Timestamp, agent: String) {
        {
            let mut known = lock(&self.known);
            let open = known.open.get(id);
            if open.is_none_or(|open| open.asked_at != asked_at) {
                let question = Question {
                    asked_at,
                    agent,
                    is_found: true,
                    age: None,
                };
                known.open.insert(id.clone(), question);
            }
        }
        self.look_now();
    }

    /// A session's question is answered, or its session is gone.
    pub(in crate::engine) fn forget(&self, id: &SessionId) {
        let mut known = lock(&self.known);
        known.open.remove(id);
        if known.open.is_empty() {
            known.open.shrink_to_fit();
        }
    }

    /// As [`forget`](Questions::forget), unless something else is asked by now.
    fn forget_one(&self, id: &SessionId, question: &Question) {
        let is_it = |open: &Question| open.asked_at == question.asked_at;
        if lock(&self.known).open.get(id).is_some_and(is_it) {
            self.forget(id);
        }
    }

    /// Whether a question is open that ends by itself, as far as was looked.
    pub(in crate::engine) fn is_one_due(&self) -> bool {
        let known = lock(&self.known);
        !known.open.is_empty() && (known.next_look.is_some() || known.is_look_due)
    }

    /// Has the timer look. In a burst it may not be told; see [`look_if_missed`](Questions::look_if_missed).
    pub(in crate::engine) fn look_now(&self) {
        let mut known = lock(&self.known);
        if !known.is_look_due && !known.open.is_empty() {
            known.is_look_due = self.looks.ask_for(Duration::ZERO, Due::Questions);
            known.is_look_missed = !known.is_look_due;
        }
    }

    /// Has the timer look if it could not be told: it has come to what it was told before.
    pub(in crate::engine) fn look_if_missed(&self) {
        if lock(&self.known).is_look_missed {
            self.look_now();
        }
    }

    fn begin_look(&self) -> Vec<(SessionId, Question)> {
        let mut known = lock(&self.known);
        known.is_look_due = false;
        let now = Instant::now();
        known.next_look.take_if(|at| *at <= now);
        let open = known.open.iter();
        open.map(|(id, question)| (id.clone(), question.clone()))
            .collect()
    }

    /// When the timer is to look again, unless it does so before.
    fn look_after(&self, rest: Duration) -> Option<Instant> {
        let at = Instant::now() + rest.min(LOOK_EVERY);
        let mut known = lock(&self.known);
        if known.next_look.is_some_and(|next| next <= at) {
            return None;
        }
        known.next_look = Some(at);
        Some(at)
    }

    fn learn_age(&self, id: &SessionId, question: &Question, age: Age) {
        if let Some(open) = lock(&self.known).open.get_mut(id)
            && open.asked_at == question.asked_at
        {
            open.age = Some(age);
        }
    }
}

impl Sessions {
    /// Agents were loaded anew: how long they wait for an answer may have changed, which counts for
    /// questions that are open.
    pub fn agents_changed(&self) {
        self.inner.questions.look_now();
    }
}

impl Inner {
    /// Ends the questions that are due; returns when to look again.
    pub(in crate::engine) fn look_at_questions(&self, workers: &Workers) -> Option<Instant> {
        let open = self.questions.begin_look();
        let mut seen = None;
        let rests = open
            .iter()
            .filter_map(|(id, question)| self.look_at_question(workers, id, question, &mut seen));
        self.questions.look_after(rests.min()?)
    }

    /// Ends a question if it is due; returns in how long to look at it again.
    fn look_at_question(
        &self,
        workers: &Workers,
        id: &SessionId,
        question: &Question,
        seen: &mut Option<Seen>,
    ) -> Option<Duration> {
        let agent = self.agents.get(&question.agent)?;
        let limit = agent.spec.session.approval_timeout?;
        // What the process before this one asked is for the recovery to set going, which has it
        // looked at.
        let is_early = question.is_found && self.recovery.get().is_none();
        if is_early || self.is_draining() {
            return None;
        }
        let ended = self.age(id, question, seen).and_then(|age| {
            let left = limit.saturating_sub(age);
            if left.is_zero() {
                self.end_unanswered(workers, id, question)?;
            }
            Ok(Some(left).filter(|left| !left.is_zero()))
        });
        ended.unwrap_or_else(|error| self.look_after_failure(id, question, &error))
    }

    fn look_after_failure(
        &self,
        id: &SessionId,
        question: &Question,
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
        question: &Question,
        seen: &mut Option<Seen>,
    ) -> Result<Duration, EngineError> {
        let age = match question.age {
            Some(age) => age,
            None => {
                let seen = match seen {
                    Some(seen) => seen,
                    None => seen.insert(self.look_at_clock()?),
                };
                let age = Age {
                    was: seen.at().since(seen.trusted(question.asked_at)),
                    since_boot: self.ids.clock().since_boot(),
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
    fn end_unanswered(
        &self,
        workers: &Workers,
        id: &SessionId,
        question: &Question,
    ) -> Result<(), EngineError> {
        let session = self.session(id)?;
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
        } else if !pauses && let Err(error) = recovery::take_up(workers, &session) {
            // It stands in the log, and the turn is as it was.
            log::warn!("session {id} stays as it is: {}", chain(&error));
        }
        Ok(())
    }
}
