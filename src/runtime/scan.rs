//! What is looked for once the server answers: the thread `scan`.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::base::plural::{agreeing, counted};
use crate::base::stop::Stop;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::spec::LimitsSpec;
use crate::engine::{Recovery, Sessions};
use crate::http::front;
use crate::runtime::core::Core;
use crate::workspace::arrivals::Arrivals;

/// Looks for what the process before this one left unfinished, and for sessions that are due, while
/// the server answers already.
pub(super) fn start(
    core: Core,
    recovery: Recovery,
    workspace: PathBuf,
    stop: Stop,
) -> anyhow::Result<Joined> {
    let Core {
        store,
        sessions,
        agents,
        arrivals,
        remarks,
        ..
    } = core;
    thread::spawn("scan", STACK_WORK, move || {
        // First: what came from elsewhere must not be taken up.
        adopt(&sessions, arrivals, &stop);
        if let Err(error) = store.finish_deletions() {
            log::warn!("leftovers of deleted sessions stay: {error}");
        }
        match sessions.recover(recovery, || stop.is_stopped()) {
            Ok(0) => {}
            Ok(unfinished) => log::info!("{} found", counted(unfinished, "unfinished turn")),
            Err(error) => log::error!("unfinished turns are not found: {error}"),
        }
        remarks.look();
        let mut limited = agents.list();
        limited.retain(|agent| agent.limits != LimitsSpec::default());
        sessions.read_spending(limited.iter().map(|agent| agent.name.as_str()));
        // After the recovery: a turn that was just taken up is at work, and not idle.
        if let Err(error) = sessions.sweep(|| stop.is_stopped()) {
            log::warn!("idle sessions are not swept: {error}");
        }
        // Last: nobody waits for it.
        match front::remove_leftovers(Some(&workspace)) {
            0 => {}
            gone => log::info!(
                "{} of servers that were killed {} removed",
                counted(gone, "folder"),
                agreeing(gone, "is", "are")
            ),
        }
    })
    .context("cannot start the scan for unfinished turns")
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
