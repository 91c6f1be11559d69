//! Questions that wait for a person, and the alarm for those that nobody answers in time.
//!
//! It rings when the first may be due, and never where none will be. What is done then:
//! `upkeep::unanswered`.
//!
//! Whether a call has run (`uncertain`) is asked for ever, and stands nowhere here: a denial is no answer to that.
//!
//! Invariant: every open question of a session that was opened since the start is `open` here, also
//! after its session has left the memory. The lock is taken last, and no call leaves this file while it is held.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::lock::lock;
use crate::base::timer::Alarm;
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;

/// The timer's clock stands still while the machine sleeps: with a question that will be due it looks at
/// least so often.
pub(in crate::engine) const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Questions {
    alarm: Alarm,
    open: Mutex<HashMap<SessionId, OpenQuestion>>,
}

/// A question as far as its end by itself is concerned.
#[derive(Debug, Clone)]
pub(in crate::engine) struct OpenQuestion {
    /// By the log; tells it from other questions of its session.
    pub(in crate::engine) asked_at: Timestamp,
    pub(in crate::engine) agent: String,
    /// It stood in the log when the session was opened: recovery sets it going, not its age.
    pub(in crate::engine) is_found: bool,
    /// `None` until the timer has looked.
    pub(in crate::engine) age: Option<Age>,
}

/// The age of a question at some time since the boot, from which its age now follows.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Age {
    pub(in crate::engine) was: Duration,
    pub(in crate::engine) since_boot: Duration,
}

impl Questions {
    /// `alarm` is to have those looked at that may be due.
    pub(in crate::engine) fn new(alarm: Alarm) -> Questions {
        Questions {
            alarm,
            open: Mutex::default(),
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
        let question = OpenQuestion {
            asked_at,
            agent,
            is_found: false,
            age: Some(Age {
                was: Duration::ZERO,
                since_boot,
            }),
        };
        lock(&self.open).insert(id.clone(), question);
        self.look_now();
    }

    /// A session was opened, and its log ends with a question.
    pub(in crate::engine) fn note_found(&self, id: &SessionId, asked_at: Timestamp, agent: String) {
        {
            let mut open = lock(&self.open);
            let known = open.get(id);
            if known.is_none_or(|known| known.asked_at != asked_at) {
                let question = OpenQuestion {
                    asked_at,
                    agent,
                    is_found: true,
                    age: None,
                };
                open.insert(id.clone(), question);
            }
        }
        self.look_now();
    }

    /// A session's question is answered, or its session is gone.
    pub(in crate::engine) fn forget(&self, id: &SessionId) {
        self.forget_if(id, |_| true);
    }

    /// As [`forget`](Questions::forget), unless something else is asked by now.
    pub(in crate::engine) fn forget_one(&self, id: &SessionId, question: &OpenQuestion) {
        self.forget_if(id, |open| open.asked_at == question.asked_at);
    }

    fn forget_if(&self, id: &SessionId, is_it: impl FnOnce(&OpenQuestion) -> bool) {
        let mut open = lock(&self.open);
        if open.get(id).is_some_and(is_it) {
            open.remove(id);
        }
        if open.is_empty() {
            open.shrink_to_fit();
        }
    }

    /// A question is open that ends by itself, as far as was looked.
    pub(in crate::engine) fn is_one_due(&self) -> bool {
        let open = lock(&self.open);
        !open.is_empty() && self.alarm.is_set()
    }

    /// Has the timer look, as what is open or how long it may be has changed.
    pub(in crate::engine) fn look_now(&self) {
        if !lock(&self.open).is_empty() {
            self.alarm.ring_within(Duration::ZERO);
        }
    }

    /// Has the timer look when the next of those that were just looked at may be due.
    pub(in crate::engine) fn look_after(&self, rest: Duration) {
        self.alarm.ring_within(rest.min(LOOK_EVERY));
    }

    /// What is open now.
    pub(in crate::engine) fn all(&self) -> Vec<(SessionId, OpenQuestion)> {
        let open = lock(&self.open);
        let open = open.iter();
        open.map(|(id, question)| (id.clone(), question.clone()))
            .collect()
    }

    pub(in crate::engine) fn learn_age(&self, id: &SessionId, question: &OpenQuestion, age: Age) {
        if let Some(open) = lock(&self.open).get_mut(id)
            && open.asked_at == question.asked_at
        {
            open.age = Some(age);
        }
    }
}
