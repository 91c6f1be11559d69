//! How long sessions are kept, and the alarm for the sweep that ends and removes old ones.
//!
//! One is due an hour after the last as long as there is a session that a later one may end or
//! remove; without any, nothing ever wakes up.

use std::sync::Arc;
use std::time::Duration;

use crate::base::timer::Alarm;
use crate::engine::agent::Agents;

/// From one sweep to the next.
pub(in crate::engine) const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How long sessions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// One that lies idle for so long is ended; `None` never. An agent may say otherwise.
    pub idle: Option<Duration>,
    /// One that ended so long ago is removed with its files; `None` never.
    pub ended: Option<Duration>,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Ageing {
    agents: Arc<dyn Agents>,
    lifetimes: Lifetimes,
    alarm: Alarm,
}

impl Ageing {
    /// `alarm` is to start a sweep.
    pub(in crate::engine) fn new(
        agents: Arc<dyn Agents>,
        lifetimes: Lifetimes,
        alarm: Alarm,
    ) -> Ageing {
        Ageing {
            agents,
            lifetimes,
            alarm,
        }
    }

    /// How long a session of `agent` may lie idle; `None` for ever.
    pub(in crate::engine) fn idle_limit(&self, agent: &str) -> Option<Duration> {
        let own = self
            .agents
            .get(agent)
            .and_then(|agent| agent.spec.session.ttl_hours);
        match own {
            Some(0) => None,
            Some(hours) => Some(Duration::from_secs(hours.saturating_mul(3600))),
            None => self.lifetimes.idle,
        }
    }

    /// How long an ended session is kept; `None` for ever.
    pub(in crate::engine) fn ended_limit(&self) -> Option<Duration> {
        self.lifetimes.ended
    }

    /// Sessions of that agent may be due one day, so that a sweep is worth its while.
    pub(in crate::engine) fn is_ever_due(&self, agent: &str) -> bool {
        self.idle_limit(agent).is_some() || self.ended_limit().is_some()
    }

    /// Sees to it that a sweep comes, for a session that may be due one day.
    pub(in crate::engine) fn sweep_later(&self) {
        self.alarm.ring_within(SWEEP_EVERY);
    }

    /// Forgets what was asked for so far: a sweep begins, which sees to the next.
    pub(in crate::engine) fn begin_sweep(&self) {
        self.alarm.clear();
    }

    /// Whether a sweep is to come.
    #[cfg(test)]
    pub(in crate::engine) fn is_sweep_to_come(&self) -> bool {
        self.alarm.is_set()
    }
}
