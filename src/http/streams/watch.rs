//! Waiting for news of a session, for the client's leaving, for the stop and for a moment, all at
//! once.

use std::convert::Infallible;
use std::task::Waker;
use std::time::Instant;

use crossbeam_channel::{Receiver, TryRecvError, select_biased};

use crate::base::stop::Stop;
use crate::engine::sessions::view::PendingApproval;
use crate::engine::{EngineError, FeedItem, Flow, NewsKind, Subscription};

/// A subscription with all that can end the watching of it.
#[derive(Debug)]
pub(in crate::http) struct SessionWatch {
    subscription: Subscription,
    gone: Receiver<Infallible>,
    stop: Stop,
    /// The engine will not wake us any more: what can be pulled now is the last of it.
    is_closed: bool,
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum WatchWake {
    /// There may be something to pull.
    News,
    /// The client has left.
    Gone,
    /// The moment has come.
    Late,
    /// The server is about to end.
    Stopped,
}

impl SessionWatch {
    pub(in crate::http) fn new(
        subscription: Subscription,
        gone: Receiver<Infallible>,
        stop: &Stop,
    ) -> SessionWatch {
        SessionWatch {
            subscription,
            gone,
            stop: stop.clone(),
            is_closed: false,
        }
    }

    /// Leaves a turn that goes on without anybody.
    pub(in crate::http) fn let_it_run_on(&self) {
        self.subscription.let_it_run_on();
    }

    /// Moves what is to be shown now into `items`.
    pub(in crate::http) fn pull(&mut self, items: &mut Vec<FeedItem>) -> Result<Flow, EngineError> {
        let flow = self.subscription.pull(items)?;
        // Waiting for a closed channel would be a loop that never rests.
        let is_last = self.is_closed && flow == Flow::Open;
        Ok(if is_last { Flow::Over } else { flow })
    }

    /// The same from memory alone; `None` when the log must be read.
    pub(in crate::http) fn pull_at_hand(&mut self, items: &mut Vec<FeedItem>) -> Option<Flow> {
        self.subscription.pull_at_hand(items)
    }

    /// Has `waker` called when there may be something to pull, for such news or greater: nothing can be
    /// waited for here then.
    pub(in crate::http) fn wake_by(&mut self, waker: Waker, least: NewsKind) {
        self.subscription.wake_by(waker, least);
    }

    /// What a person is asked now.
    pub(in crate::http) fn open_question(&self) -> Option<PendingApproval> {
        self.subscription.open_question()
    }

    /// Makes ready to wait here again.
    pub(in crate::http) fn wake_by_channel(&mut self) {
        self.subscription.wake_by_channel();
    }

    /// Waits until `moment` at most; a stop or a gone client is noticed before any news.
    pub(in crate::http) fn wait_until(&mut self, moment: Instant) -> WatchWake {
        let left = moment.saturating_duration_since(Instant::now());
        select_biased! {
            recv(self.stop.channel()) -> _ => WatchWake::Stopped,
            recv(self.gone) -> _ => WatchWake::Gone,
            recv(self.subscription.wake()) -> woken => {
                self.is_closed |= woken.is_err();
                WatchWake::News
            }
            default(left) => WatchWake::Late,
        }
    }

    /// Like a wait for something that is there already.
    pub(in crate::http) fn look(&self) -> WatchWake {
        if self.stop.is_stopped() {
            return WatchWake::Stopped;
        }
        match self.gone.try_recv() {
            Err(TryRecvError::Disconnected) => WatchWake::Gone,
            Err(TryRecvError::Empty) => WatchWake::News,
            Ok(never) => match never {},
        }
    }
}
