//! What one agent has spent, and what it is about to.
//!
//! Reading the logs takes no lock of any session. What is written meanwhile is noted, and counted at
//! the end if the reading had not seen it: each record counts once.
//!
//! The `reading` lock is held while logs are read, and is taken before all others; the `state` lock is
//! held for memory work only, and may be taken under a session's `log`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::spec::LimitsSpec;
use crate::domain::spend::{Reached, Tally};
use crate::domain::time::Timestamp;
use crate::engine::error::EngineError;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::engine) struct SpendingAccount {
    /// Held by whoever reads the logs.
    reading: Mutex<()>,
    state: Mutex<AccountState>,
}

#[derive(Debug, Default)]
struct AccountState {
    logs: LogReading,
    /// Sessions with a message of this hour that will begin a turn, which has not begun.
    expected: HashSet<SessionId>,
}

/// How much of the logs is known.
#[derive(Debug, Default)]
enum LogReading {
    /// Nothing.
    #[default]
    Unread,
    /// The logs are being read; this was written meanwhile.
    Reading(Vec<(SessionId, Arc<Record>)>),
    /// All.
    Read {
        tally: Tally,
        /// Up to which event the logs were read, of sessions that nothing was noted of since.
        read_to: HashMap<SessionId, Seq>,
    },
}

impl SpendingAccount {
    /// Refuses a message when a limit is reached. One that will begin a turn is counted from here on
    /// as if it had, until it has: of two at once only one gets the last.
    pub(in crate::engine) fn admit(
        &self,
        session: &SessionId,
        begins_turn: bool,
        limits: &LimitsSpec,
        now: Timestamp,
    ) -> Result<Admitted<'_>, Reached> {
        let mut state = lock(&self.state);
        // Before anything is looked up: in a new hour no turn of the last one is expected any more.
        state.move_to(now);
        let is_new = begins_turn && !state.expected.contains(session);
        if let LogReading::Read { tally, .. } = &state.logs {
            let turns = is_new.then(|| tally.turns_reached(limits, state.expected.len()));
            if let Some(reached) = tally.day_reached(limits).or(turns.flatten()) {
                return Err(reached);
            }
        }
        if is_new {
            state.expected.insert(session.clone());
        }
        Ok(Admitted {
            account: self,
            session: is_new.then(|| session.clone()),
        })
    }

    /// The limit because of which the model may not be asked any more, if one is reached.
    pub(in crate::engine) fn day_reached(
        &self,
        limits: &LimitsSpec,
        now: Timestamp,
    ) -> Option<Reached> {
        lock(&self.state).tally(now)?.day_reached(limits)
    }

    pub(in crate::engine) fn forget(&self, session: &SessionId) {
        lock(&self.state).expected.remove(session);
    }

    /// Counts what was just written.
    pub(in crate::engine) fn note<'a>(
        &self,
        session: &SessionId,
        records: impl Iterator<Item = &'a Arc<Record>>,
    ) {
        let mut state = lock(&self.state);
        records.for_each(|record| state.note(session, record));
    }

    /// Has `read` say what the logs hold, unless somebody did before; waits while another does.
    ///
    /// Errors: those of `read`; nothing is known then.
    pub(in crate::engine) fn read_once(
        &self,
        read: impl FnOnce() -> Result<(Tally, HashMap<SessionId, Seq>), EngineError>,
    ) -> Result<(), EngineError> {
        if self.is_read() {
            return Ok(());
        }
        let _one_reads = lock(&self.reading);
        if self.is_read() {
            return Ok(());
        }
        lock(&self.state).logs = LogReading::Reading(Vec::new());
        let read = read();
        let mut state = lock(&self.state);
        match read {
            Ok((tally, read_to)) => state.close(tally, read_to),
            Err(error) => {
                state.logs = LogReading::Unread;
                return Err(error);
            }
        }
        Ok(())
    }

    fn is_read(&self) -> bool {
        matches!(lock(&self.state).logs, LogReading::Read { .. })
    }
}

impl AccountState {
    /// Begins the windows of `now`, if what was spent is known.
    fn move_to(&mut self, now: Timestamp) {
        if let LogReading::Read { tally, .. } = &mut self.logs
            && tally.move_to(now)
        {
            // A turn that waits for long, for its client perhaps, must not hold a place for ever.
            self.expected.clear();
        }
    }

    /// What was spent in the windows of `now`, if that is known.
    fn tally(&mut self, now: Timestamp) -> Option<&mut Tally> {
        self.move_to(now);
        match &mut self.logs {
            LogReading::Read { tally, .. } => Some(tally),
            LogReading::Unread | LogReading::Reading(_) => None,
        }
    }

    fn note(&mut self, session: &SessionId, record: &Arc<Record>) {
        if ends_waiting(&record.event) {
            self.expected.remove(session);
        }
        match &mut self.logs {
            LogReading::Unread => return,
            LogReading::Reading(noted) => return noted.push((session.clone(), Arc::clone(record))),
            LogReading::Read { read_to, .. } => {
                if read_to.get(session).is_some_and(|last| record.seq <= *last) {
                    return;
                }
                // Whatever comes after it was not read either.
                read_to.remove(session);
            }
        }
        if let Some(tally) = self.tally(record.timestamp) {
            tally.note(record);
        }
    }

    /// Ends the reading: what was written meanwhile comes after what was read.
    fn close(&mut self, tally: Tally, read_to: HashMap<SessionId, Seq>) {
        let read = LogReading::Read { tally, read_to };
        if let LogReading::Reading(noted) = std::mem::replace(&mut self.logs, read) {
            for (session, record) in noted {
                self.note(&session, &record);
            }
        }
    }
}

/// A message that may be stored; dropping it gives its turn back.
#[derive(Debug)]
pub(in crate::engine) struct Admitted<'a> {
    account: &'a SpendingAccount,
    session: Option<SessionId>,
}

impl Admitted<'_> {
    /// The message is stored.
    pub(in crate::engine) fn keep(mut self) {
        self.session = None;
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            self.account.forget(session);
        }
    }
}

/// With such an event a session is no longer about to begin a turn.
pub(in crate::engine) fn ends_waiting(event: &Event) -> bool {
    matches!(
        event,
        Event::TurnStarted { .. } | Event::MessageDropped { .. } | Event::SessionEnd { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limit_of_turns: u64) -> (SpendingAccount, LimitsSpec, Timestamp) {
        let now = Timestamp::parse("2026-05-01T10:30:00Z").unwrap();
        let account = SpendingAccount::default();
        lock(&account.state).close(Tally::new(now), HashMap::new());
        let limits = LimitsSpec {
            turns_per_hour: Some(limit_of_turns),
            tokens_per_day: None,
            reply_bytes: None,
            cost_per_day: None,
        };
        (account, limits, now)
    }

    fn turn_started(seq: u64) -> Arc<Record> {
        let line = format!(
            r#"{{"seq":{seq},"timestamp":"2026-05-01T10:30:00Z","type":"turn_started","turn_id":"turn_01J0000000000000000000000A","trigger":"message"}}"#
        );
        Arc::new(Record::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn the_last_turn_is_given_once_until_it_is_given_back() {
        let (account, limits, now) = account(1);
        let [a, b] = [1, 2].map(|random| SessionId::mint(1, random));
        let first = account.admit(&a, true, &limits, now).unwrap();
        assert!(account.admit(&b, true, &limits, now).is_err());
        // It joins the turn that is sure to begin, or one that has.
        account.admit(&a, true, &limits, now).unwrap().keep();
        account.admit(&b, false, &limits, now).unwrap().keep();
        drop(first);
        account.admit(&b, true, &limits, now).unwrap().keep();
        assert!(account.admit(&a, true, &limits, now).is_err());
        // Begun, it counts by itself.
        lock(&account.state).note(&b, &turn_started(3));
        assert!(lock(&account.state).expected.is_empty());
        assert!(account.admit(&a, true, &limits, now).is_err());
    }

    #[test]
    fn what_is_written_while_logs_are_read_counts_once() {
        let (account, limits, now) = account(3);
        let [a, b] = [1, 2].map(|random| SessionId::mint(1, random));
        let mut state = lock(&account.state);
        state.logs = LogReading::Reading(Vec::new());
        state.note(&a, &turn_started(2));
        state.note(&b, &turn_started(2));
        // The reading has seen the first of these.
        let mut tally = Tally::new(now);
        tally.note(&turn_started(2));
        state.close(tally, HashMap::from([(a.clone(), Seq(2))]));
        // It comes late.
        state.note(&a, &turn_started(2));
        drop(state);
        let last = account.admit(&a, true, &limits, now).unwrap();
        assert!(account.admit(&b, true, &limits, now).is_err());
        drop(last);
    }

    #[test]
    fn a_place_is_given_back_when_the_hour_is_over() {
        let (account, limits, now) = account(1);
        let [a, b] = [1, 2].map(|random| SessionId::mint(1, random));
        account.admit(&a, true, &limits, now).unwrap().keep();
        let later = |minutes: u64| Timestamp::from_micros(now.as_micros() + minutes * 60_000_000);
        assert!(account.admit(&b, true, &limits, later(29)).is_err());
        // It has not begun, and may wait for long.
        account.admit(&b, true, &limits, later(30)).unwrap().keep();
        assert!(account.admit(&a, true, &limits, later(30)).is_err());
    }
}
