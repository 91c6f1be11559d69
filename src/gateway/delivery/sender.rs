//! The thread that sends for a gateway: one command at a time to a chat, as soon as it may go.
//!
//! It is woken by news, looks at what the lanes concerned lack, and sends what is most urgent. With
//! nothing to send and nothing to wait for it sleeps for ever.
//!
//! Invariants:
//! - no message is sent to a chat before the ids of those before it are on disk, so that a crash
//!   repeats at most the one whose answer was lost;
//! - a chat of which nothing is under way takes no memory, and no session is kept open for it;
//! - no lock is held while the platform or the engine is asked for something.
//!
//! Elsewhere: what is to be seen (`renderer`), what is sent next (`lane`), what an answer means
//! (`verdict`).

mod active;
mod aging;
mod following;
mod hearing;
mod outcomes;
mod pace;
mod serving;
mod typing;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, at, never, select_biased};

use crate::base::random;
use crate::base::stop::Stop;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::chat::Chat;
use crate::engine::Sessions;
use crate::gateway::chat_names::ChatNames;
use crate::gateway::delivery::lane::LaneDocument;
use crate::gateway::delivery::lane_store::{LaneId, LaneStore, PostedAnnouncement};
use crate::gateway::delivery::limiter::SendLimiter;
use crate::gateway::delivery::news::{SenderHandle, SenderInbox, SenderNews};
use crate::gateway::delivery::outbox::OutboxError;
use crate::gateway::delivery::sender::active::ActiveLane;
use crate::gateway::delivery::sender::pace::pause;
use crate::gateway::health::GatewayHealth;
use crate::gateway::host::GatewayHost;
use crate::gateway::outlet::Outlet;
use crate::gateway::protocol::Capabilities;

/// When the server stops, answers are waited for so long: what they tell would be sent again.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// What the thread is made of.
pub struct SenderParts {
    /// The gateway's lanes.
    pub lanes: Arc<LaneStore>,
    /// The ids that its chats had.
    pub chat_names: Arc<ChatNames>,
    /// Its way to the platform.
    pub outlet: Box<dyn Outlet>,
    /// The sessions.
    pub sessions: Sessions,
    /// Who may decide in chats.
    pub host: Arc<dyn GatewayHost>,
    /// The side that has news.
    pub news: SenderHandle,
    /// The side that hears of them.
    pub inbox: SenderInbox,
    /// What is wrong with it.
    pub health: GatewayHealth,
    /// Ends it.
    pub stop: Stop,
}

impl fmt::Debug for SenderParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderParts")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

/// Starts the thread that sends for a gateway.
///
/// Errors: the system has no thread to give, or no random bits.
pub fn spawn_sender(name: impl Into<String>, parts: SenderParts) -> io::Result<Joined> {
    let sender = LaneSender::new(parts, Box::new(Instant::now))?;
    thread::spawn(name, STACK_WORK, move || sender.run())
}

/// See the [module](self).
pub(super) struct LaneSender {
    parts: SenderParts,
    now: Box<dyn Fn() -> Instant + Send>,
    /// Lanes with something under way.
    active: BTreeMap<LaneId, ActiveLane>,
    limiter: SendLimiter,
    /// The platform is not reached: until then nothing is sent at all.
    hold: Option<Instant>,
    failures: u32,
    /// What the platform could do when it was last ready.
    could: Cell<Option<Capabilities>>,
    /// Nothing can be sent, and what waits is looked at then for its age.
    look_at_age: Option<Instant>,
    /// It says that it sends files, and does not.
    has_no_media: bool,
    /// The same of changing messages.
    has_no_edit: bool,
    commands: u64,
    command_prefix: String,
    /// Announcements that were said, and could not be removed.
    said: BTreeSet<(LaneId, String)>,
    /// The lane that something is being done with, or was when the thread panicked.
    at_hand: Option<LaneId>,
    /// Lanes at which the thread panicked, and how often.
    fatal: BTreeMap<LaneId, u32>,
    panics: u32,
    /// Chats of which a thread may rest.
    resting: BTreeSet<String>,
    /// Something could not be read that may be readable soon.
    has_overlooked: Cell<bool>,
    /// When everything is looked at for that, and how often that was done in vain.
    look_again: Option<Instant>,
    looks: u32,
}

impl LaneSender {
    /// `now` shows a time that only rises.
    ///
    /// Errors: the system has no random bits.
    pub(super) fn new(
        parts: SenderParts,
        now: Box<dyn Fn() -> Instant + Send>,
    ) -> io::Result<LaneSender> {
        /// Answers to another process's commands are none of ours.
        const DIGITS: usize = 8;
        let mut command_prefix = random::secret()?;
        command_prefix.truncate(DIGITS);
        Ok(LaneSender {
            limiter: SendLimiter::new(parts.outlet.rates()),
            parts,
            now,
            active: BTreeMap::new(),
            hold: None,
            failures: 0,
            could: Cell::new(None),
            look_at_age: None,
            has_no_media: false,
            has_no_edit: false,
            commands: 0,
            command_prefix,
            said: BTreeSet::new(),
            at_hand: None,
            fatal: BTreeMap::new(),
            panics: 0,
            resting: BTreeSet::new(),
            has_overlooked: Cell::new(false),
            look_again: None,
            looks: 0,
        })
    }

    fn run(mut self) {
        while !self.run_until_panic(|sender| {
            sender.look_at_everything();
            while sender.work_and_wait() {}
            sender.finish(Instant::now() + LAST_ANSWERS);
        }) {
            // A fault that comes at once each time must not take a whole processor.
            let stop = self.parts.stop.channel();
            if stop.recv_timeout(pause(self.panics)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Does something, and survives a panic: what was at hand is read from the disk again, once, and left
    /// alone where it has a second one. Whether there was none.
    pub(super) fn run_until_panic(&mut self, deed: impl FnOnce(&mut Self)) -> bool {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| deed(self))) else {
            return true;
        };
        let words = thread::panic_text(&*panic);
        log::error!("what sends to chats has panicked, and goes on: {words}");
        self.panics += 1;
        if let Some(id) = self.at_hand.take() {
            *self.fatal.entry(id).or_default() += 1;
        }
        let trouble = format!("a fault of duragent while it sent to a chat: {words}");
        self.parts.health.set_trouble(Some(trouble));
        false
    }

    /// Nothing is done with that lane any more.
    fn is_left_alone(&self, id: &LaneId) -> bool {
        self.fatal.get(id).is_some_and(|panics| *panics > 1)
    }

    /// Does what can be done, and waits for more; whether there is to be more.
    fn work_and_wait(&mut self) -> bool {
        let due = self.work().map_or_else(never, at);
        select_biased! {
            recv(self.parts.stop.channel()) -> _ => return false,
            recv(self.parts.inbox.news_rx) -> news => match news {
                Ok(news) => self.hear(news),
                Err(_) => return false,
            },
            recv(due) -> _ => {}
        }
        true
    }

    /// Writes down what the platform has: it would be sent again after the next start.
    pub(super) fn finish(&mut self, deadline: Instant) {
        while self.active.values().any(|lane| lane.sent.is_some()) {
            match self.parts.inbox.news_rx.recv_deadline(deadline) {
                Ok(news @ (SenderNews::Ended { .. } | SenderNews::Ready(false))) => self.hear(news),
                // All of it is found again, or comes again.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for (id, mut lane) in std::mem::take(&mut self.active) {
            self.save(&id, &mut lane);
        }
    }

    /// Does what can be done now; returns when there is more to do.
    pub(super) fn work(&mut self) -> Option<Instant> {
        loop {
            self.hear_all();
            if self.parts.stop.is_stopped() {
                return None;
            }
            self.look_at_what_was_overlooked();
            self.tend_what_waits();
            if !self.serve_next() {
                return self.next_due();
            }
        }
    }

    /// Looks for lanes whose chats lack something.
    pub(super) fn look_at_everything(&mut self) {
        let ids = match self.parts.lanes.ids() {
            Ok(ids) => ids,
            Err(error) => return self.overlook("what chats lack is not known", &error),
        };
        for id in ids {
            self.at_hand = Some(id.clone());
            let lane = match self.active.remove(&id) {
                Some(mut lane) => {
                    self.read_again(&id, &mut lane);
                    Ok(Some(lane))
                }
                None => self.activate(&id, None),
            };
            match lane {
                Ok(Some(mut lane)) => {
                    self.follow_all(&mut lane);
                    lane.is_due &= lane.has_something();
                    self.keep(id, lane);
                }
                Ok(None) => {}
                Err(error) => self.overlook("what a chat lacks is not known", &error),
            }
        }
        self.at_hand = None;
    }

    /// Something cannot be read. What may be readable soon is looked for again.
    fn overlook(&self, what: &str, error: &OutboxError) {
        log::error!("{what}: {error}");
        if !error.is_for_good() {
            self.has_overlooked.set(true);
        }
    }

    fn look_at_what_was_overlooked(&mut self) {
        let now = (self.now)();
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
            self.look_at_everything();
            if !self.has_overlooked.get() {
                self.looks = 0;
            }
        }
        if self.has_overlooked.take() && self.look_again.is_none() {
            self.looks += 1;
            self.look_again = Some(now + pause(self.looks));
        }
    }

    /// Nothing is under way anywhere.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let has_news = !self.parts.inbox.news_rx.is_empty() || self.has_overlooked.get();
        self.active.is_empty() && !has_news && self.look_again.is_none()
    }

    /// Waits for news; whether there were some.
    #[cfg(test)]
    pub(super) fn hear_within(&mut self, time: Duration) -> bool {
        let news = self.parts.inbox.news_rx.recv_timeout(time);
        let is_some = news.is_ok();
        if let Ok(news) = news {
            self.hear(news);
        }
        is_some
    }

    /// A lane as it is on disk, but for what was said already.
    fn load(
        &mut self,
        id: &LaneId,
    ) -> Result<(Option<LaneDocument>, Vec<PostedAnnouncement>), OutboxError> {
        let (has, mut posted) = self.parts.lanes.load(id)?;
        posted.retain(|one| {
            let said = (id.clone(), one.name.clone());
            if !self.said.contains(&said) {
                return true;
            }
            if self.parts.lanes.remove(id, &one.name).is_ok() {
                self.said.remove(&said);
            }
            false
        });
        Ok((has, posted))
    }

    /// Has something done with the lane of a chat, which is read if nothing was under way there.
    fn with_lane(&mut self, chat: &Chat, deed: impl FnOnce(&mut Self, &mut ActiveLane)) {
        let id = LaneId::of(chat);
        self.at_hand = Some(id.clone());
        let lane = match self.active.remove(&id) {
            Some(lane) => Ok(Some(lane)),
            None => self.activate(&id, Some(chat)),
        };
        match lane {
            Ok(Some(mut lane)) => {
                deed(self, &mut lane);
                self.keep(id, lane);
            }
            Ok(None) => {}
            Err(error) => {
                let what = format!("what chat {} lacks is not known", chat.chat_id);
                self.overlook(&what, &error);
            }
        }
        self.at_hand = None;
    }

    /// A lane as it is on disk; of a chat that is known, even if nothing is there.
    fn activate(
        &mut self,
        id: &LaneId,
        chat: Option<&Chat>,
    ) -> Result<Option<ActiveLane>, OutboxError> {
        if self.is_left_alone(id) {
            return Ok(None);
        }
        let (has, posted) = self.load(id)?;
        let said = posted.first().map(|first| &first.said);
        let there = match (chat, &has, said) {
            (Some(chat), _, _) => chat.clone(),
            (None, Some(has), _) => self.chat(&has.chat_id, has.thread_id.as_ref()),
            (None, None, Some(said)) => self.chat(&said.chat_id, said.thread_id.as_ref()),
            (None, None, None) => return Ok(None),
        };
        let has = has.unwrap_or_else(|| LaneDocument::new(&there));
        if has.resting.is_some() {
            self.resting.insert(there.chat_id.clone());
        }
        Ok(Some(ActiveLane::new(there, has, posted)))
    }

    fn chat(&self, chat_id: &str, thread_id: Option<&String>) -> Chat {
        Chat {
            gateway: self.parts.lanes.gateway().to_string(),
            chat_id: chat_id.to_owned(),
            thread_id: thread_id.cloned(),
        }
    }

    fn keep(&mut self, id: LaneId, lane: ActiveLane) {
        if !lane.is_idle() {
            self.active.insert(id, lane);
        }
    }

    /// When there is something to do without news.
    fn next_due(&self) -> Option<Instant> {
        let now = (self.now)();
        let answers = self
            .active
            .values()
            .filter_map(|lane| Some(lane.sent.as_ref()?.deadline));
        let is_ready = self.parts.outlet.is_ready();
        let lanes = self.active.values().filter(|_| is_ready);
        let lanes = lanes.filter_map(|lane| {
            let due = lane.due(now)?;
            Some(self.hold.map_or(due, |hold| due.max(hold)))
        });
        let can_type = is_ready && self.parts.outlet.capabilities().typing;
        let typing = self.active.values().filter(|_| can_type);
        let typing = typing.flat_map(|lane| lane.typing.values().flatten().copied());
        let typing = typing.map(|due| self.hold.map_or(due, |hold| due.max(hold)));
        let dues = answers.chain(lanes).chain(typing);
        dues.chain(self.look_again).chain(self.look_at_age).min()
    }
}

#[cfg(test)]
mod tests;
