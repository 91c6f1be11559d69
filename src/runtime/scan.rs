//! What is looked for once the server answers: the thread `scan`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::agents::AgentDirectory;
use crate::base::plural::{agreeing, counted};
use crate::base::stop::Stop;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::engine::{Recovery, Sessions};
use crate::http::front;
use crate::runtime::core::Core;
use crate::store::SessionStore;
use crate::workspace::arrivals::Arrivals;
use crate::workspace::remarks::Remarks;

/// Looks for what the process before this one left unfinished, and for sessions that are due, while
/// the server answers already.
pub(super) fn start(
    core: Core,
    recovery: Recovery,
    workspace: PathBuf,
    stop: Stop,
) -> anyhow::Result<Joined> {
    let scan = Scan {
        store: core.store,
        sessions: core.sessions,
        agents: core.agents,
        remarks: core.remarks,
        recovery,
        workspace,
        stop,
    };
    let arrivals = core.arrivals;
    thread::spawn("scan", STACK_WORK, move || scan.run(arrivals))
        .context("cannot start the scan for unfinished turns")
}

struct Scan {
    store: Arc<dyn SessionStore>,
    sessions: Sessions,
    agents: Arc<AgentDirectory>,
    remarks: Arc<Remarks>,
    recovery: Recovery,
    workspace: PathBuf,
    stop: Stop,
}

impl Scan {
    fn run(&self, arrivals: Arrivals) {
        // First: what came from elsewhere must not be taken up.
        adopt(&self.sessions, arrivals, &self.stop);
        if let Err(error) = self.store.finish_deletions() {
            log::warn!("leftovers of deleted sessions stay: {error}");
        }
        let recovered = self
            .sessions
            .recover(self.recovery, || self.stop.is_stopped());
        match recovered {
            Ok(0) => {}
            Ok(unfinished) => log::info!("{} found", counted(unfinished, "unfinished turn")),
            Err(error) => log::error!("unfinished turns are not found: {error}"),
        }
        self.remarks.look();
        let mut limited = self.agents.list();
        limited.retain(|agent| agent.limits.counts_spending());
        let limited = limited.iter().map(|agent| agent.name.as_str());
        self.sessions.read_spending(limited);
        // After the recovery: a turn that was just taken up is at work, and not idle.
        if let Err(error) = self.sessions.sweep(|| self.stop.is_stopped()) {
            log::warn!("idle sessions are not swept: {error}");
        }
        // Last: nobody waits for it.
        match front::remove_leftovers(Some(&self.workspace)) {
            0 => {}
            gone => log::info!(
                "{} of servers that were killed {} removed",
                counted(gone, "folder"),
                agreeing(gone, "is", "are")
            ),
        }
    }
}

/// Sees to it that nothing goes on by itself that this account did not begin.
fn adopt(sessions: &Sessions, arrivals: Arrivals, stop: &Stop) {
    let strangers = arrivals.strangers().len();
    if strangers > 0 {
        log::info!(
            "{} {} here before this account first served {}: what is unfinished in {} waits for a \
             message",
            counted(strangers, "session"),
            agreeing(strangers, "was", "were"),
            agreeing(strangers, "it", "them"),
            agreeing(strangers, "it", "them")
        );
    }
    arrivals.note_left(sessions.adopt_all(|| stop.is_stopped()));
}
