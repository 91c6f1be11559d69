//! What one agent has spent, and what it is about to.
//!
//! Reading the logs takes no lock of any session. What is written meanwhile is noted, and counted at
//! the end if the reading had not seen it: each record counts once.
//!
//! The `reading` lock is held while logs are read, and is taken before all others; the `book` lock is
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
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    pages: Pages,
    /// Sessions with a message of this hour that will begin a turn, which has not begun.
    expected: HashSet<SessionId>,
}

/// How much is known.
#[derive(Debug, Default)]
enum Pages {
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
        let mut book = lock(&self.book);
        // Before anything is looked up: in a new hour no turn of the last one is expected any more.
        book.move_to(now);
        let is_new = begins_turn && !book.expected.contains(session);
        if let Pages::Read { tally, .. } = &book.pages {
            let turns = is_new.then(|| tally.turns_reached(limits, book.expected.len()));
            if let Some(reached) = tally.tokens_reached(limits).or(turns.flatten()) {
                return Err(reached);
            }
        }
        if is_new {
            book.expected.insert(session.clone());
        }
        Ok(Admitted {
            account: self,
            session: is_new.then(|| session.clone()),
        })
    }

    /// Whether the model may not be asked any more.
    pub(in crate::engine) fn tokens_reached(
        &self,
        limits: &LimitsSpec,
        now: Timestamp,
    ) -> Option<Reached> {
        lock(&self.book).tally(now)?.tokens_reached(limits)
    }

    pub(in crate::engine) fn forget(&self, session: &SessionId) {
        lock(&self.book).expected.remove(session);
    }

    /// Counts what was just written.
    pub(in crate::engine) fn note<'a>(
        &self,
        session: &SessionId,
        records: impl Iterator<Item = &'a Arc<Record>>,
    ) {
        let mut book = lock(&self.book);
        records.for_each(|record| book.note(session, record));
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
        lock(&self.book).pages = Pages::Reading(Vec::new());
        let read = read();
        let mut book = lock(&self.book);
        match read {
            Ok((tally, read_to)) => book.close(tally, read_to),
            Err(error) => {
                book.pages = Pages::Unread;
                return Err(error);
            }
        }
        Ok(())
    }

    fn is_read(&self) -> bool {
        matches!(lock(&self.book).pages, Pages::Read { .. })
    }
}

impl Book {
    /// Begins the windows of `now`, if what was spent is known.
    fn move_to(&mut self, now: Timestamp) {
        if let Pages::Read { tally, .. } = &mut self.pages
            && tally.move_to(now)
        {
            // A turn that waits for long, for its client perhaps, must not hold a place for ever.
            self.expected.clear();
        }
    }

    /// What was spent in the windows of `now`, if that is known.
    fn tally(&mut self, now: Timestamp) -> Option<&mut Tally> {
        self.move_to(now);
        match &mut self.pages {
            Pages::Read { tally, .. } => Some(tally),
            Pages::Unread | Pages::Reading(_) => None,
        }
    }

    fn note(&mut self, session: &SessionId, record: &Arc<Record>) {
        if ends_waiting(&record.event) {
            self.expected.remove(session);
        }
        match &mut self.pages {
            Pages::Unread => return,
            Pages::Reading(noted) => return noted.push((session.clone(), Arc::clone(record))),
            Pages::Read { read_to, .. } => {
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
        let read = Pages::Read { tally, read_to };
        if let Pages::Reading(noted) = std::mem::replace(&mut self.pages, read) {
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

/// Whether a session with such an event is no longer about to begin a turn.
pub(in crate::engine) fn ends_waiting(event: &Event) -> bool {
    matches!(
        event,
        Event::TurnStarted { .. } | Event::MessageDropped { .. } | Event::SessionEnd { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(limit_of_turns: u64) -> (SpendingAccount, LimitsSpec, Timestamp) {
        let now = Timestamp::parse("2026-05-01T10:30:00Z").unwrap();
        let account = SpendingAccount::default();
        lock(&account.book).close(Tally::new(now), HashMap::new());
        let limits = LimitsSpec {
            turns_per_hour: Some(limit_of_turns),
            tokens_per_day: None,
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
        let (account, limits, now) = book(1);
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
        lock(&account.book).note(&b, &turn_started(3));
        assert!(lock(&account.book).expected.is_empty());
        assert!(account.admit(&a, true, &limits, now).is_err());
    }

    #[test]
    fn what_is_written_while_logs_are_read_counts_once() {
        let (account, limits, now) = book(3);
        let [a, b] = [1, 2].map(|random| SessionId::mint(1, random));
        let mut book = lock(&account.book);
        book.pages = Pages::Reading(Vec::new());
        book.note(&a, &turn_started(2));
        book.note(&b, &turn_started(2));
        // The reading has seen the first of these.
        let mut tally = Tally::new(now);
        tally.note(&turn_started(2));
        book.close(tally, HashMap::from([(a.clone(), Seq(2))]));
        // It comes late.
        book.note(&a, &turn_started(2));
        drop(book);
        let last = account.admit(&a, true, &limits, now).unwrap();
        assert!(account.admit(&b, true, &limits, now).is_err());
        drop(last);
    }

    #[test]
    fn a_place_is_given_back_when_the_hour_is_over() {
        let (account, limits, now) = book(1);
        let [a, b] = [1, 2].map(|random| SessionId::mint(1, random));
        account.admit(&a, true, &limits, now).unwrap().keep();
        let later = |minutes: u64| Timestamp::from_micros(now.as_micros() + minutes * 60_000_000);
        assert!(account.admit(&b, true, &limits, later(29)).is_err());
        // It has not begun, and may wait for long.
        account.admit(&b, true, &limits, later(30)).unwrap().keep();
        assert!(account.admit(&a, true, &limits, later(30)).is_err());
    }
}
