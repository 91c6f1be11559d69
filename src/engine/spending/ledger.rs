//! What agents with limits have spent: read from the logs after the start, or when such an agent is
//! first used, and kept up to date as events are written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::prices::{Price, Prices};
use crate::domain::spec::LimitsSpec;
use crate::domain::spend::{Reached, Tally, counts};
use crate::domain::time::Timestamp;
use crate::engine::agent::Agent;
use crate::engine::draining::Draining;
use crate::engine::error::{EngineError, chain};
use crate::engine::id_generator::IdGenerator;
use crate::engine::spending::account::{Admitted, SpendingAccount, ends_waiting};
use crate::engine::stored::{PAGE, each_outline};
use crate::store::{Outline, SessionStore};

/// The accounts of agents with limits, by name.
#[derive(Debug)]
pub(in crate::engine) struct Ledger {
    store: Arc<dyn SessionStore>,
    ids: Arc<IdGenerator>,
    draining: Arc<Draining>,
    /// What models cost.
    prices: Arc<Prices>,
    accounts: Mutex<HashMap<String, Arc<SpendingAccount>>>,
}

impl Ledger {
    /// No logs are read yet.
    pub(in crate::engine) fn new(
        store: Arc<dyn SessionStore>,
        ids: Arc<IdGenerator>,
        draining: Arc<Draining>,
        prices: Prices,
    ) -> Ledger {
        Ledger {
            store,
            ids,
            draining,
            prices: Arc::new(prices),
            accounts: Mutex::default(),
        }
    }

    /// What that model takes.
    pub(in crate::engine) fn price(&self, model: &str) -> Option<Price> {
        self.prices.of(model)
    }

    fn account(&self, agent: &str) -> Arc<SpendingAccount> {
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
            let records = records.iter().filter(is_about_spending);
            account.note(session, records);
        }
    }

    /// Forgets that a session was to begin a turn.
    pub(in crate::engine) fn forget(&self, session: &SessionId) {
        let accounts: Vec<Arc<SpendingAccount>> = lock(&self.accounts).values().cloned().collect();
        for account in accounts {
            account.forget(session);
        }
    }

    /// What an agent may spend, if it has limits. Reads the logs the first time, and waits while
    /// another reads them: the caller holds no lock.
    ///
    /// Errors: the sessions cannot be listed; the engine drains.
    pub(in crate::engine) fn allowance(
        &self,
        agent: &Agent,
    ) -> Result<Option<Allowance>, EngineError> {
        if !agent.spec.limits.counts_spending() {
            return Ok(None);
        }
        let name = agent.spec.name.as_str();
        let account = self.account(name);
        account.read_once(|| self.read_all_spending(name))?;
        Ok(Some(Allowance {
            account,
            agent: name.to_owned(),
            limits: agent.spec.limits,
            ids: Arc::clone(&self.ids),
        }))
    }

    /// What an agent has spent, and up to which event that was read in each of its sessions.
    fn read_all_spending(
        &self,
        agent: &str,
    ) -> Result<(Tally, HashMap<SessionId, Seq>), EngineError> {
        loop {
            let prices = Arc::clone(&self.prices);
            let mut tally = Tally::new(self.ids.now()).at_prices(prices);
            let mut read_to = HashMap::new();
            each_outline(
                &*self.store,
                || self.draining.is_begun(),
                |id, outline| match self.read_spending(id, outline, agent, &mut tally) {
                    Ok(Some(last)) => drop(read_to.insert(id.clone(), last)),
                    // Deleted in between.
                    Ok(None) | Err(EngineError::SessionNotFound(_)) => {}
                    Err(error) => {
                        let why = chain(&error);
                        log::warn!("what session {id} has spent is not known: {why}");
                    }
                },
            )?;
            self.draining.refuse()?;
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
        outline: Result<Outline, EngineError>,
        agent: &str,
        tally: &mut Tally,
    ) -> Result<Option<Seq>, EngineError> {
        let outline = outline?;
        if *outline.agent != *agent || outline.updated_at < tally.begin() {
            return Ok(None);
        }
        // From its files, also when it is in use: what was noted before the reading began is there,
        // and need not be published yet.
        let last = self.store.summary(id)?.last_seq;
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

/// An account, and what its agent may spend.
#[derive(Debug)]
pub(in crate::engine) struct Allowance {
    account: Arc<SpendingAccount>,
    agent: String,
    limits: LimitsSpec,
    ids: Arc<IdGenerator>,
}

impl Allowance {
    /// Refuses a message for `session` when a limit is reached. The caller holds the session's `log`,
    /// so that its turn neither begins nor ends meanwhile; `begins_turn` says that there is none.
    pub(in crate::engine) fn admit(
        &self,
        session: &SessionId,
        begins_turn: bool,
    ) -> Result<Admitted<'_>, EngineError> {
        let now = self.ids.now();
        self.account
            .admit(session, begins_turn, &self.limits, now)
            .map_err(|reached| self.error(reached, now))
    }

    /// Refuses to ask the model once more when what it may use in a day is spent.
    pub(in crate::engine) fn refuse_call(&self) -> Result<(), EngineError> {
        let now = self.ids.now();
        match self.account.day_reached(&self.limits, now) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::{Clock, FakeClock};
    use crate::domain::event::Event;
    use crate::domain::story;
    use crate::engine::spending::account::Admitted;
    use crate::engine::testing::{Bench, agent, noon};
    use crate::store::Epoch;

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
        let id = bench.engine().parts.ids.session_id();
        let mut start = story::start();
        if let Event::SessionStart(start) = &mut start {
            start.agent = agent.to_owned();
        }
        let turn = story::started(1, crate::domain::event::Trigger::Message);
        let store = &bench.engine().parts.store;
        store.create(&id, at, vec![start]).unwrap();
        let mut log = store.open(&id).unwrap().log;
        log.append(Epoch::ZERO, Seq(1), at, vec![turn]).unwrap();
    }

    /// How many turns more an agent may begin.
    fn left(bench: &Bench, agent: &str) -> usize {
        let agent = bench.engine().agents.get(agent).unwrap();
        let allowance = bench
            .engine()
            .parts
            .ledger
            .allowance(&agent)
            .unwrap()
            .unwrap();
        let now = bench.engine().parts.ids.now();
        let admits = |n: &u128| {
            let id = SessionId::mint(1, *n);
            allowance
                .account
                .admit(&id, true, &allowance.limits, now)
                .map(Admitted::keep)
                .is_ok()
        };
        (0..10).take_while(admits).count()
    }

    #[test]
    fn what_an_agent_spends_counts_for_no_other() {
        let bench = two_agents(Arc::new(FakeClock::at(noon())));
        let now = bench.engine().parts.ids.now();
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
            if self.0.swap(true, std::sync::atomic::Ordering::SeqCst) {
                noon() + before
            } else {
                noon() - before
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
