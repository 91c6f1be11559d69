//! What agents with limits have spent: read from the logs after the start, or when such an agent is
//! first used, and kept up to date as events are written.
//!
//! Reading takes no lock of any session. What is written meanwhile is noted, and counted at the end
//! if the reading had not seen it: each record counts once.
//!
//! An account's `reading` lock is held while logs are read, and is taken before all others; its
//! `book` lock is held for memory work only, and may be taken under a session's `log`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::spec::LimitsSpec;
use crate::domain::spend::{Reached, Tally, counts};
use crate::domain::time::Timestamp;
use crate::engine::agent::Agent;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::id_generator::IdGenerator;
use crate::engine::inner::Inner;
use crate::engine::open::session::{PAGE, Session};
use crate::engine::sessions::Sessions;

/// The accounts of agents with limits, by name.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ledger {
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

/// What one agent has spent.
#[derive(Debug, Default)]
struct Account {
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

impl Ledger {
    fn account(&self, agent: &str) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        match accounts.get(agent) {
            Some(account) => Arc::clone(account),
            None => Arc::clone(accounts.entry(agent.to_owned()).or_default()),
        }
    }

    /// Counts what was just written, before it is shown. `agent` is only asked for where something may count.
    pub(in crate::engine) fn note(
        &self,
        session: &SessionId,
        records: &[Arc<Record>],
        agent: impl FnOnce() -> String,
    ) {
        let is_about_spending =
            |record: &&Arc<Record>| counts(&record.event) || ends_waiting(&record.event);
        if !records.iter().any(|record| is_about_spending(&record)) {
            return;
        }
        let account = {
            let accounts = lock(&self.accounts);
            if accounts.is_empty() {
                return;
            }
            accounts.get(&agent()).cloned()
        };
        if let Some(account) = account {
            let mut book = lock(&account.book);
            for record in records.iter().filter(is_about_spending) {
                book.note(session, record);
            }
        }
    }

    /// Forgets that a session was to begin a turn.
    pub(in crate::engine) fn forget(&self, session: &SessionId) {
        let accounts: Vec<Arc<Account>> = lock(&self.accounts).values().cloned().collect();
        for account in accounts {
            account.forget(session);
        }
    }
}

impl Account {
    /// Refuses a message when a limit is reached. One that will begin a turn is counted from here on
    /// as if it had, until it has: of two at once only one gets the last.
    fn admit(
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
    fn tokens_reached(&self, limits: &LimitsSpec, now: Timestamp) -> Option<Reached> {
        lock(&self.book).tally(now)?.tokens_reached(limits)
    }

    fn forget(&self, session: &SessionId) {
        lock(&self.book).expected.remove(session);
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

/// An account, and what its agent may spend.
#[derive(Debug)]
pub(in crate::engine) struct Purse {
    account: Arc<Account>,
    agent: String,
    limits: LimitsSpec,
    ids: Arc<IdGenerator>,
}

impl Purse {
    /// Refuses a message for `session` when a limit is reached. The caller holds the session's `log`,
    /// so that its turn neither begins nor ends meanwhile.
    pub(in crate::engine) fn admit(&self, session: &Session) -> Result<Admitted<'_>, EngineError> {
        let begins_turn = session.live().state.turn.is_none();
        let now = self.ids.now();
        self.account
            .admit(&session.id, begins_turn, &self.limits, now)
            .map_err(|reached| self.error(reached, now))
    }

    /// Refuses to ask the model once more when the tokens are spent.
    pub(in crate::engine) fn refuse_call(&self) -> Result<(), EngineError> {
        let now = self.ids.now();
        match self.account.tokens_reached(&self.limits, now) {
            Some(reached) => Err(self.error(reached, now)),
            None => Ok(()),
        }
    }

    fn error(&self, reached: Reached, now: Timestamp) -> EngineError {
        EngineError::LimitReached {
            agent: self.agent.clone(),
            reached,
            retry_after: reached.opens_at.since(now),
        }
    }
}

/// A message that may be stored; dropping it gives its turn back.
#[derive(Debug)]
pub(in crate::engine) struct Admitted<'a> {
    account: &'a Account,
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

impl Sessions {
    /// Reads what these agents have spent, as far as they have limits, so that nobody who talks to
    /// them has to wait for that.
    pub fn read_spending<'a>(&self, agents: impl Iterator<Item = &'a str>) {
        for agent in agents.filter_map(|name| self.inner.agents.get(name)) {
            if let Err(error) = self.inner.purse(&agent) {
                // Tried again by whoever talks to it.
                let name = &agent.spec.name;
                log::debug!("what {name} has spent is not known: {}", chain(&error));
            }
        }
    }
}

impl Inner {
    /// What the agent of a session may spend; see [`Inner::purse`].
    pub(in crate::engine) fn purse_of(
        &self,
        session: &Session,
    ) -> Result<Option<Purse>, EngineError> {
        let name = session.live().state.summary.agent.clone();
        match self.agents.get(&name) {
            Some(agent) => self.purse(&agent),
            None => Ok(None),
        }
    }

    /// What an agent may spend, if it has limits. Reads the logs the first time, and waits while
    /// another reads them: the caller holds no lock.
    ///
    /// Errors: the sessions cannot be listed; the engine drains.
    pub(in crate::engine) fn purse(&self, agent: &Agent) -> Result<Option<Purse>, EngineError> {
        if agent.spec.limits == LimitsSpec::default() {
            return Ok(None);
        }
        let name = agent.spec.name.as_str();
        let account = self.ledger.account(name);
        if !account.is_read() {
            let _one_reads = lock(&account.reading);
            if !account.is_read() {
                self.read_account(name, &account)?;
            }
        }
        Ok(Some(Purse {
            account,
            agent: name.to_owned(),
            limits: agent.spec.limits,
            ids: Arc::clone(&self.ids),
        }))
    }

    fn read_account(&self, agent: &str, account: &Account) -> Result<(), EngineError> {
        lock(&account.book).pages = Pages::Reading(Vec::new());
        let read = self.read_all_spending(agent);
        let mut book = lock(&account.book);
        match read {
            Ok((tally, read_to)) => book.close(tally, read_to),
            Err(error) => {
                book.pages = Pages::Unread;
                return Err(error);
            }
        }
        Ok(())
    }

    /// What an agent has spent, and up to which event that was read in each of its sessions.
    fn read_all_spending(
        &self,
        agent: &str,
    ) -> Result<(Tally, HashMap<SessionId, Seq>), EngineError> {
        loop {
            let mut tally = Tally::new(self.ids.now());
            let mut read_to = HashMap::new();
            self.each_session(
                || self.is_draining(),
                |id| match self.read_spending(id, agent, &mut tally) {
                    Ok(Some(last)) => drop(read_to.insert(id.clone(), last)),
                    // Deleted in between.
                    Ok(None) | Err(EngineError::SessionNotFound(_)) => {}
                    Err(error) => {
                        let why = chain(&error);
                        log::warn!("what session {id} has spent is not known: {why}");
                    }
                },
            )?;
            self.refuse_when_draining()?;
            // What was read in a new hour was not counted.
            if !tally.clone().move_to(self.ids.now()) {
                return Ok((tally, read_to));
            }
        }
    }

    /// Counts what stands in a session's log, from its end back to where the day begins; returns its
    /// last event, or nothing if it is another agent's or was not used since.
    fn read_spending(
        &self,
        id: &SessionId,
        agent: &str,
        tally: &mut Tally,
    ) -> Result<Option<Seq>, EngineError> {
        // From its files, also when it is in use: what was noted before the reading began is there,
        // and need not be published yet.
        let summary = self.store.summary(id)?;
        if summary.agent != agent || summary.updated_at < tally.begin() {
            return Ok(None);
        }
        let last = summary.last_seq;
        let mut before = last.next();
        while before > Seq(1) {
            let page = self.store.records_before(id, before, PAGE)?;
            page.iter().for_each(|record| tally.note(record));
            match page.first() {
                Some(first) if first.timestamp >= tally.begin() => before = first.seq,
                Some(_) | None => break,
            }
        }
        Ok(Some(last))
    }
}

/// Whether a session with such an event is no longer about to begin a turn.
fn ends_waiting(event: &Event) -> bool {
    matches!(
        event,
        Event::TurnStarted { .. } | Event::MessageDropped { .. } | Event::SessionEnd { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::{Clock, FakeClock};
    use crate::domain::story;
    use crate::engine::testing::{Bench, agent, noon};

    fn book(limit_of_turns: u64) -> (Account, LimitsSpec, Timestamp) {
        let now = Timestamp::parse("2026-05-01T10:30:00Z").unwrap();
        let account = Account::default();
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

    /// An engine of two agents that may begin two turns an hour.
    fn two_agents(clock: Arc<dyn Clock>) -> Bench {
        let limited = |name| {
            let mut agent = agent(name);
            Arc::make_mut(&mut agent.spec).limits.turns_per_hour = Some(2);
            agent
        };
        Bench::with(|plan| {
            plan.clock = clock;
            plan.agents = vec![limited("ada"), limited("bob")];
        })
    }

    /// A session of `agent` with a turn, in the store alone.
    fn with_turn(bench: &Bench, agent: &str, at: Timestamp) {
        let id = bench.inner().ids.session_id();
        let mut start = story::start();
        if let Event::SessionStart(start) = &mut start {
            start.agent = agent.to_owned();
        }
        let turn = story::started(1, crate::domain::event::Trigger::Message);
        let store = &bench.inner().store;
        store.create(&id, at, &[start]).unwrap();
        let mut log = store.open(&id).unwrap().log;
        log.append(Seq(1), at, &[turn]).unwrap();
    }

    /// How many turns more an agent may begin.
    fn left(bench: &Bench, agent: &str) -> usize {
        let agent = bench.inner().agents.get(agent).unwrap();
        let purse = bench.inner().purse(&agent).unwrap().unwrap();
        let now = bench.inner().ids.now();
        let admits = |n: &u128| {
            let id = SessionId::mint(1, *n);
            purse
                .account
                .admit(&id, true, &purse.limits, now)
                .map(Admitted::keep)
                .is_ok()
        };
        (0..10).take_while(admits).count()
    }

    #[test]
    fn what_an_agent_spends_counts_for_no_other() {
        let bench = two_agents(Arc::new(FakeClock::at(noon())));
        let now = bench.inner().ids.now();
        for agent in ["ada", "ada", "bob", "carl"] {
            with_turn(&bench, agent, now);
        }
        assert_eq!((left(&bench, "ada"), left(&bench, "bob")), (0, 1));
    }

    /// A clock on which an hour begins after its first look.
    #[derive(Debug)]
    struct Strikes(std::sync::atomic::AtomicBool);

    impl Clock for Strikes {
        fn now(&self) -> std::time::SystemTime {
            let before = Duration::from_secs(1);
            match self.0.swap(true, std::sync::atomic::Ordering::SeqCst) {
                false => noon() - before,
                true => noon() + before,
            }
        }

        fn since_boot(&self) -> Duration {
            Duration::ZERO
        }

        fn boot(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn logs_are_read_again_when_an_hour_began_meanwhile() {
        let clock = Arc::new(Strikes(true.into()));
        let bench = two_agents(Arc::clone(&clock) as Arc<_>);
        with_turn(&bench, "ada", noon().into());
        clock.0.store(false, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(left(&bench, "ada"), 1);
    }
}
