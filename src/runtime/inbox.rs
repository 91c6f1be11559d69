//! What the main thread is asked for from outside, by signals and by clients.

use std::time::Instant;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, bounded, select_biased};

use crate::base::child;
use crate::base::signals::{Blocked, Received};
use crate::runtime::signals::StopRequests;

/// The reasons for which the main thread wakes.
pub(super) enum MainEvent {
    Stop,
    Reload,
    /// To see whether anybody needs it.
    Look,
}

/// Where the main thread waits.
pub(super) struct MainInbox {
    pub(super) stop_requests: StopRequests,
    asked_rx: Receiver<()>,
    hangup_rx: Receiver<()>,
}

impl MainInbox {
    /// Deals with signals from now on, those that are blocked among them: reaps what programs of
    /// tools left behind, and stops when the terminal is gone. Where there is none to lose, a hangup
    /// asks to reload.
    pub(super) fn open(signals: Blocked, has_terminal: bool) -> anyhow::Result<MainInbox> {
        let (stop_requests, asked_rx) = StopRequests::new();
        stop_requests.ask_on_signals()?;
        // One request is as good as many.
        let (hangup_tx, hangup_rx) = bounded(1);
        let at_hangup = (!has_terminal).then_some(hangup_tx);
        let stop = stop_requests.clone();
        child::adopt().context("cannot adopt what programs leave behind")?;
        let hear = move |received| match received {
            Received::Hangup => match &at_hangup {
                // Full: somebody has asked already.
                Some(hangup_tx) => drop(hangup_tx.try_send(())),
                None => stop.ask(),
            },
            Received::ChildEnded => child::reap(),
        };
        signals.listen(hear).context("cannot listen for signals")?;
        Ok(MainInbox {
            stop_requests,
            asked_rx,
            hangup_rx,
        })
    }

    /// Waits. An error of the channel means that nobody can ask any more: to stop is then as good as
    /// asked, and nothing else ever will be.
    pub(super) fn next(&self, looks: &Receiver<Instant>) -> MainEvent {
        select_biased! {
            recv(self.asked_rx) -> _ => MainEvent::Stop,
            recv(self.hangup_rx) -> hangup => {
                if hangup.is_err() {
                    self.asked_rx.recv().ok();
                    return MainEvent::Stop;
                }
                MainEvent::Reload
            }
            recv(looks) -> _ => MainEvent::Look,
        }
    }
}
