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

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam_channel::{RecvTimeoutError, at, never, select_biased};

use crate::base::random;
use crate::base::stop::Stop;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::access::AccessSpec;
use crate::domain::chat::Chat;
use crate::domain::event::{Attachment, Decision, Event};
use crate::domain::files::FileKey;
use crate::domain::ids::{AgentName, CallId, Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::engine::{EngineError, Sessions};
use crate::gateway::chat_names::ChatNames;
use crate::gateway::delivery::bubble::{Bubble, BubbleContent, BubbleKey};
use crate::gateway::delivery::follower::{ChatFollower, Following};
use crate::gateway::delivery::lane::{
    LaneDeed, LaneDocument, LanePart, LanePlatform, LaneSession, LaneTrouble, NextDeed, digest_of,
};
use crate::gateway::delivery::lane_store::{LaneId, LaneStore, PostedAnnouncement, SetAside};
use crate::gateway::delivery::limiter::{LimitedChat, SendLimiter, SendUrgency};
use crate::gateway::delivery::news::{SenderHandle, SenderInbox, SenderNews};
use crate::gateway::delivery::outbox::OutboxError;
use crate::gateway::delivery::verdict::{SendVerdict, verdict};
use crate::gateway::delivery::wording::{self, AnswerWay};
use crate::gateway::health::GatewayHealth;
use crate::gateway::host::GatewayHost;
use crate::gateway::outlet::{CommandOutcome, Outlet, Performed};
use crate::gateway::protocol::{Capabilities, GatewayCommand, MediaPayload};

/// What is at work is shown once it has lasted so long: a message for what is over at once is one too many.
const WORK_SHOWN_AFTER: Duration = Duration::from_millis(700);
/// Words that still grow are sent so often at most, wherever the platform has no limits of its own.
const GROWING_EVERY: Duration = Duration::from_secs(1);
/// Whoever is shown that somebody writes is shown it again after so long.
const TYPING_EVERY: Duration = Duration::from_secs(4);
/// For so many seconds it is shown.
const TYPING_SECONDS: u32 = 5;
/// A program that has not answered by then is told again. If it answers after all, that counts.
const ANSWER_AFTER: Duration = Duration::from_secs(30);
/// The answers to so many attempts at something are waited for after that.
const LATE_MAX: usize = 16;
/// After a failure, and twice as long after each further one …
const RETRY_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// What did not get through in so long is set aside.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// What a platform may be able to do that was not ready so far: what it may still change is not taken for done.
const COULD_BE: Capabilities = Capabilities {
    media: true,
    edit: true,
    delete: false,
    typing: false,
    reply: true,
    inline_keyboard: true,
};
/// When the server stops, answers are waited for so long: what they tell would be sent again.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How often what cannot be sent is looked at for what has waited that long.
const LOOK_AT_REST: Duration = Duration::from_secs(3600);

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

/// A lane with something under way.
#[derive(Debug)]
struct ActiveLane {
    chat: Chat,
    has: LaneDocument,
    is_unsaved: bool,
    /// Sessions of which the document is to say nothing any more.
    finished: Vec<SessionId>,
    posted: VecDeque<PostedAnnouncement>,
    /// How many messages of the first announcement were sent is not on disk.
    is_part_unsaved: bool,
    followed: Vec<ChatFollower>,
    sent: Option<SentCommand>,
    /// Attempts that were not answered in time, oldest first.
    late: VecDeque<SentCommand>,
    /// A session could not be followed, and is to be tried again then; how often that went wrong.
    blind_until: Option<Instant>,
    blind_tries: u32,
    /// Something may be to be sent.
    is_due: bool,
    is_urgent: bool,
    /// Nobody has looked for what waits here since there was news.
    is_new: bool,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// Nothing that is patient is sent before.
    patient_until: Option<Instant>,
    /// A bubble that says no more than what is at work, and since when.
    at_work: Option<(BubbleKey, Instant)>,
    tries: u32,
    turn: u64,
    /// When it is to be shown again that an agent is at work; not before there is news of one that is not.
    typing: BTreeMap<SessionId, Option<Instant>>,
}

/// A command whose answer comes later.
#[derive(Debug)]
struct SentCommand {
    request_id: String,
    what: SentDeed,
    deadline: Instant,
}

/// What a command was for.
#[derive(Debug, Clone, PartialEq)]
enum SentDeed {
    Bubble(SessionId, NextDeed),
    /// An announcement, by its document; whether it was the last message of it.
    Announcement {
        name: String,
        is_last: bool,
    },
}

impl SentDeed {
    /// Both are for the same message, whatever it was to say.
    fn is_like(&self, other: &SentDeed) -> bool {
        match (self, other) {
            (SentDeed::Bubble(session, next), SentDeed::Bubble(other, of)) => {
                session == other && next.key == of.key
            }
            (SentDeed::Announcement { name, .. }, SentDeed::Announcement { name: other, .. }) => {
                name == other
            }
            (SentDeed::Bubble(..), SentDeed::Announcement { .. })
            | (SentDeed::Announcement { .. }, SentDeed::Bubble(..)) => false,
        }
    }
}

impl ActiveLane {
    fn new(chat: Chat, has: LaneDocument, posted: Vec<PostedAnnouncement>) -> ActiveLane {
        ActiveLane {
            chat,
            has,
            is_unsaved: false,
            finished: Vec::new(),
            posted: posted.into(),
            is_part_unsaved: false,
            followed: Vec::new(),
            sent: None,
            late: VecDeque::new(),
            blind_until: None,
            blind_tries: 0,
            is_due: true,
            is_urgent: true,
            is_new: true,
            not_before: None,
            patient_until: None,
            at_work: None,
            tries: 0,
            turn: 0,
            typing: BTreeMap::new(),
        }
    }

    /// When it is to be looked at; `None` for not before there is news.
    fn due(&self, now: Instant) -> Option<Instant> {
        if self.sent.is_some() {
            return None;
        }
        let patient = self.patient_until.filter(|_| !self.is_urgent);
        let due = self.not_before.max(patient).unwrap_or(now);
        let due = self.is_due.then_some(due);
        [due, self.blind_until].into_iter().flatten().min()
    }

    /// Whatever it waited for, it is looked at now.
    fn look_at_once(&mut self) {
        self.is_due = true;
        self.not_before = None;
        self.tries = 0;
    }

    fn waits_for(&self, request_id: &str) -> bool {
        let mut all = self.sent.iter().chain(&self.late);
        all.any(|sent| sent.request_id == request_id)
    }

    /// What a command was for that has ended so, unless that is of no use any more.
    fn take_sent(&mut self, request_id: &str, outcome: &CommandOutcome) -> Option<SentDeed> {
        let is_it = |sent: &SentCommand| sent.request_id == request_id;
        if self.sent.as_ref().is_some_and(is_it) {
            let sent = self.sent.take()?;
            let what = sent.what.clone();
            if *outcome == CommandOutcome::Unanswered {
                self.late.push_back(sent);
                let surplus = self.late.len().saturating_sub(LATE_MAX);
                self.late.drain(..surplus);
            }
            return Some(what);
        }
        let late = self.late.iter().position(is_it)?;
        let late = self.late.remove(late)?;
        if self.sent.is_some() && !matches!(outcome, CommandOutcome::Done { .. }) {
            // What was tried since may go well.
            return None;
        }
        // Done is done: the answer to what was tried since is nobody's.
        self.sent.take_if(|sent| sent.what.is_like(&late.what));
        Some(late.what)
    }

    /// Nothing is under way.
    fn is_idle(&self) -> bool {
        self.followed.is_empty()
            && self.posted.is_empty()
            && self.sent.is_none()
            && !self.is_unsaved
            && !self.is_due
            && self.blind_until.is_none()
    }

    /// There may be something to do, as far as can be told at a glance.
    fn has_something(&self) -> bool {
        let has = &self.has;
        let is_quiet = self.followed.is_empty() && self.posted.is_empty() && !self.is_unsaved;
        !is_quiet || has.resting.is_some() || has.failing.is_some()
    }

    fn follower(&self, session: &SessionId) -> Option<&ChatFollower> {
        let mut followed = self.followed.iter();
        followed.find(|one| one.session() == session)
    }
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

    fn hear_all(&mut self) {
        while let Ok(news) = self.parts.inbox.news_rx.try_recv() {
            self.hear(news);
        }
        if self.parts.inbox.has_missed() {
            self.look_at_everything();
        }
    }

    fn hear(&mut self, news: SenderNews) {
        match news {
            SenderNews::Changed(session) => self.changed(&session),
            SenderNews::Posted(chat) => self.posted(&chat),
            SenderNews::IsBack(chat) => self.is_back(&chat),
            SenderNews::Rests { chat_id, why } => self.rests(&chat_id, &why),
            SenderNews::Moved { from, to } => self.moved(&from, &to),
            SenderNews::Ended {
                request_id,
                outcome,
            } => self.answered(&request_id, outcome),
            SenderNews::Pressed {
                callback_query_id,
                text,
            } => self.answer_press(callback_query_id, text),
            SenderNews::Ready(is_ready) => self.ready(is_ready),
        }
    }

    fn changed(&mut self, session: &SessionId) {
        let Some(chat) = self.chat_of(session) else {
            return;
        };
        self.with_lane(&chat, |sender, lane| {
            if lane.follower(session).is_none() {
                sender.follow_from_news(lane, session);
            }
            sender.pull(lane, session);
        });
    }

    /// The chat of a session, if it is one of this gateway's.
    fn chat_of(&self, session: &SessionId) -> Option<Chat> {
        let summary = match self.parts.sessions.show(session) {
            Ok(view) => view.summary,
            Err(error) => {
                log::debug!("session {session} is not shown in its chat: {error}");
                if error.is_passing() {
                    self.has_overlooked.set(true);
                }
                return None;
            }
        };
        let gateway = summary.gateway?;
        (gateway == self.parts.lanes.gateway().as_str()).then_some(Chat {
            gateway,
            chat_id: summary.gateway_chat_id?,
            thread_id: summary.gateway_thread_id,
        })
    }

    fn posted(&mut self, chat: &Chat) {
        let id = LaneId::of(chat);
        let known = self.active.get(&id).map(|lane| lane.posted.len());
        self.with_lane(chat, |sender, lane| {
            // A lane that was just read has it.
            if known.is_some() {
                sender.read_again(&id, lane);
            }
            lane.is_due = true;
            lane.is_urgent = true;
            lane.is_new = true;
        });
    }

    /// Learns what others have written down of a lane since it was read.
    fn read_again(&mut self, id: &LaneId, lane: &mut ActiveLane) {
        match self.load(id) {
            Ok((has, posted)) => {
                let before = std::mem::replace(&mut lane.posted, posted.into());
                for one in &mut lane.posted {
                    let known = before.iter().find(|known| known.name == one.name);
                    let parts = known.map_or(0, |known| known.said.parts);
                    one.said.parts = one.said.parts.max(parts);
                }
                for seen in has.into_iter().flat_map(|has| has.sessions) {
                    let is_known = lane.has.session(&seen.session).is_some();
                    if !is_known && !lane.finished.contains(&seen.session) {
                        lane.has.sessions.push(seen);
                    }
                }
            }
            Err(error) => self.overlook("what a chat lacks is not known", &error),
        }
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

    /// A chat may be written to again, with all its threads.
    fn is_back(&mut self, chat: &Chat) {
        if !self.resting.remove(&chat.chat_id) {
            return;
        }
        let ids = match self.parts.lanes.ids() {
            Ok(ids) => ids,
            Err(error) => {
                self.resting.insert(chat.chat_id.clone());
                return self.overlook("what a chat lacks is not known", &error);
            }
        };
        let active = self.active.keys().cloned();
        for id in ids.into_iter().chain(active).collect::<BTreeSet<_>>() {
            let lane = match self.active.remove(&id) {
                Some(lane) => Ok(Some(lane)),
                None => self.activate(&id, None),
            };
            match lane {
                Ok(Some(mut lane)) => {
                    if lane.chat.chat_id == chat.chat_id {
                        self.wake(&id, &mut lane);
                    }
                    lane.is_due &= lane.has_something();
                    self.keep(id, lane);
                }
                Ok(None) => {}
                Err(error) => {
                    self.resting.insert(chat.chat_id.clone());
                    self.overlook("what a chat lacks is not known", &error);
                }
            }
        }
    }

    fn wake(&mut self, id: &LaneId, lane: &mut ActiveLane) {
        if lane.has.resting.take().is_some() {
            lane.is_unsaved = true;
            lane.look_at_once();
            self.follow_all(lane);
            self.save(id, lane);
        }
    }

    fn rests(&mut self, chat_id: &str, why: &str) {
        let since = self.parts.lanes.now();
        let of_chat = |lane: &&mut ActiveLane| lane.chat.chat_id == chat_id;
        for lane in self.active.values_mut().filter(of_chat) {
            rest(lane, since, why);
            self.resting.insert(chat_id.to_owned());
        }
    }

    fn moved(&mut self, from: &str, to: &str) {
        if from == to {
            return;
        }
        let of_chat = |lane: &ActiveLane| lane.chat.chat_id == from;
        let ids = self.active.iter().filter(|(_, lane)| of_chat(lane));
        let ids: Vec<LaneId> = ids.map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(mut lane) = self.active.remove(&id) {
                // What is not on disk yet would be sent again.
                self.save(&id, &mut lane);
            }
        }
        let gateway = self.parts.lanes.gateway();
        if let Err(error) = self.parts.chat_names.note(gateway, from, to) {
            log::error!("what is said of chat {from} does not hold for {to}: {error}");
        }
        let gateway = gateway.as_str();
        if let Err(error) = self.parts.sessions.move_chat(gateway, from, to) {
            log::error!("sessions of chat {from} are not moved to {to}: {error}");
        }
        match self.parts.lanes.move_chat(from, to) {
            Ok(chats) => {
                for chat in chats {
                    self.with_lane(&chat, |sender, lane| {
                        // It may have been at work under that id already.
                        sender.read_again(&LaneId::of(&chat), lane);
                        lane.look_at_once();
                        sender.follow_all(lane);
                    });
                }
            }
            Err(error) => {
                let what = format!("what waits for chat {from} is not moved to {to}");
                self.overlook(&what, &error);
            }
        }
    }

    fn ready(&mut self, is_ready: bool) {
        if is_ready {
            // What is under way was sent to the program that is ready: it may be that before this is heard.
            self.hold = None;
            self.failures = 0;
            // Another version of a program may be able to do more.
            self.has_no_media = false;
            self.has_no_edit = false;
            for (id, mut lane) in std::mem::take(&mut self.active) {
                lane.look_at_once();
                // How a question can be answered hangs on what the program can do.
                lane.followed.clear();
                self.follow_all(&mut lane);
                self.active.insert(id, lane);
            }
        } else {
            // It has ended: nobody answers that any more.
            let unanswered: Vec<String> = self
                .active
                .values()
                .filter_map(|lane| Some(lane.sent.as_ref()?.request_id.clone()))
                .collect();
            for request_id in unanswered {
                self.answered(&request_id, CommandOutcome::Unanswered);
            }
            for lane in self.active.values_mut() {
                lane.late.clear();
            }
        }
    }

    fn answer_press(&mut self, callback_query_id: String, text: Option<String>) {
        let command = GatewayCommand::AnswerCallbackQuery {
            request_id: self.request_id(),
            callback_query_id,
            text,
        };
        // One that is too old to be answered has done all the same what it was pressed for.
        if let Performed::Ended(CommandOutcome::Refused(failed)) =
            self.parts.outlet.perform(&command, None)
        {
            log::debug!("the press of a button is not answered: {}", failed.message);
        }
    }

    fn answered(&mut self, request_id: &str, outcome: CommandOutcome) {
        let mut lanes = self.active.iter();
        let lane = lanes.find(|(_, lane)| lane.waits_for(request_id));
        let Some(id) = lane.map(|(id, _)| id.clone()) else {
            return;
        };
        if let Some(mut lane) = self.active.remove(&id) {
            let what = lane.take_sent(request_id, &outcome);
            self.at_hand = Some(id.clone());
            if what.is_none_or(|what| self.ended(&id, &mut lane, what, outcome)) {
                self.keep(id, lane);
            }
            self.at_hand = None;
        }
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

    /// Follows the sessions of which a chat may lack something.
    fn follow_all(&self, lane: &mut ActiveLane) {
        if lane.has.resting.is_some() {
            self.look_later(lane);
        } else {
            self.follow_sessions(lane);
        }
    }

    fn follow_sessions(&self, lane: &mut ActiveLane) {
        let sessions = lane.has.sessions.iter();
        for session in sessions.map(|one| one.session.clone()).collect::<Vec<_>>() {
            if lane.follower(&session).is_none() {
                self.follow(lane, &session);
            }
            self.pull(lane, &session);
        }
    }

    /// Follows a session of which there is news; one that the lane does not know, from its last turn on.
    fn follow_from_news(&mut self, lane: &mut ActiveLane, session: &SessionId) {
        if lane.has.resting.is_some() {
            return;
        }
        if lane.has.session(session).is_none() {
            // Who takes messages in may have written it down.
            self.read_again(&LaneId::of(&lane.chat), lane);
        }
        if lane.has.session(session).is_none() {
            match self.last_turn(session) {
                Ok(seen) => {
                    let new = LaneSession::new(session.clone(), seen);
                    lane.has.sessions.push(new);
                    lane.is_unsaved = true;
                }
                Err(error) => {
                    self.has_overlooked.set(error.is_passing());
                    return log::warn!("session {session} is not shown: {error}");
                }
            }
        }
        self.follow(lane, session);
    }

    /// The end of the turn before the one that the last record belongs to.
    fn last_turn(&self, session: &SessionId) -> Result<Seq, EngineError> {
        /// A history is not told again in a chat: this is no more than one long turn.
        const BACK: u64 = 64;
        let last = self.parts.sessions.show(session)?.summary.last_seq;
        let from = Seq(last.0.saturating_sub(BACK));
        let records = self.parts.sessions.events(session, from, BACK as usize)?;
        let mut before = records.iter().rev().filter(|record| record.seq < last);
        let end = before.find(|record| matches!(record.event, Event::TurnEnded { .. }));
        let begin = end.map(|record| record.seq);
        Ok(begin.unwrap_or(if from == Seq(0) {
            Seq(1)
        } else {
            Seq(last.0 - 1)
        }))
    }

    fn follow(&self, lane: &mut ActiveLane, session: &SessionId) {
        let Some(seen) = lane.has.session(session) else {
            return;
        };
        match self.follower(seen) {
            Ok(Some(follower)) => {
                lane.blind_tries = 0;
                lane.followed.push(follower);
            }
            Ok(None) => {}
            Err(EngineError::SessionNotFound(_)) => {
                lane.has.sessions.retain(|one| one.session != *session);
                lane.finished.push(session.clone());
                lane.is_unsaved = true;
            }
            Err(error) => self.lose_sight(lane, session, &error),
        }
    }

    /// A session cannot be followed now. One that can be soon is tried again.
    fn lose_sight(&self, lane: &mut ActiveLane, session: &SessionId, error: &EngineError) {
        log::warn!("session {session} is not shown in its chat for now: {error}");
        if !error.is_for_good() {
            lane.blind_tries += 1;
            lane.blind_until = Some((self.now)() + pause(lane.blind_tries));
        }
    }

    /// Follows a session, unless its chat has all of it.
    fn follower(&self, seen: &LaneSession) -> Result<Option<ChatFollower>, EngineError> {
        let view = self.parts.sessions.show(&seen.session)?;
        if view.summary.last_seq <= seen.seen && seen.asked.is_empty() {
            return Ok(None);
        }
        let agent = AgentName::parse(&view.summary.agent).ok();
        let access = agent
            .as_ref()
            .and_then(|agent| self.parts.host.access(agent));
        let way = agent.map_or(AnswerWay::OwnerOnly, |agent| {
            self.way(&agent, access.as_deref())
        });
        let reject_message = access.and_then(|access| access.groups.queue.reject_message.clone());
        let news = &self.parts.news;
        let sessions = &self.parts.sessions;
        ChatFollower::begin(sessions, seen, way, reject_message, news).map(Some)
    }

    /// How questions of an agent are answered in chats.
    fn way(&self, agent: &AgentName, access: Option<&AccessSpec>) -> AnswerWay {
        let by_file = access.is_some_and(|it| !it.approvers.is_empty() || it.requester_approves);
        if !by_file && !self.parts.host.has_approvers(agent) {
            AnswerWay::OwnerOnly
        } else if self.parts.outlet.capabilities().inline_keyboard {
            AnswerWay::Buttons
        } else {
            AnswerWay::Commands
        }
    }

    /// Takes what there is to show of a session.
    fn pull(&self, lane: &mut ActiveLane, session: &SessionId) {
        let Some(place) = lane
            .followed
            .iter()
            .position(|one| one.session() == session)
        else {
            return;
        };
        // An agent that was not at work may be now.
        if lane.typing.get(session) == Some(&None) {
            lane.typing.remove(session);
        }
        lane.is_new = true;
        let follower = &mut lane.followed[place];
        match follower.pull() {
            Ok(Following::On) => {
                lane.is_due = true;
                let seen = lane.has.sessions.iter().find(|one| one.session == *session);
                lane.is_urgent |= seen.is_some_and(|seen| follower.is_urgent(seen));
            }
            Ok(Following::Lost) => {
                // Thrown out of memory, or sent away: what its log says is shown from the beginning.
                lane.followed.remove(place);
                self.follow(lane, session);
                let follower = lane.followed.last_mut();
                if let Some(follower) = follower.filter(|it| it.session() == session)
                    && let Err(error) = follower.pull()
                {
                    lane.followed.pop();
                    self.lose_sight(lane, session, &error);
                }
                lane.is_due = true;
            }
            Err(error) => {
                lane.followed.remove(place);
                self.lose_sight(lane, session, &error);
            }
        }
    }

    /// Does what is most urgent, if anything may be done now; whether there was something.
    fn serve_next(&mut self) -> bool {
        let now = (self.now)();
        self.expire(now);
        self.show_typing(now);
        if !self.may_send(now) {
            return false;
        }
        let due = self.active.iter().filter(|(_, lane)| {
            let due = lane.due(now);
            due.is_some_and(|due| due <= now)
        });
        let first = due.min_by_key(|(_, lane)| (!lane.is_urgent, lane.turn));
        let Some(id) = first.map(|(id, _)| id.clone()) else {
            return false;
        };
        if let Some(mut lane) = self.active.remove(&id) {
            self.commands += 1;
            lane.turn = self.commands;
            self.at_hand = Some(id.clone());
            if self.serve(&id, &mut lane, now) {
                self.keep(id, lane);
            }
            self.at_hand = None;
        }
        true
    }

    /// While nothing can be sent, what waits is told, and what has waited for too long is set aside.
    fn tend_what_waits(&mut self) {
        if self.is_reached() {
            self.look_at_age = None;
            return;
        }
        let now = (self.now)();
        let is_time = self.look_at_age.take_if(|at| *at <= now).is_some();
        let is_to_look = |lane: &ActiveLane| lane.sent.is_none() && (is_time || lane.is_new);
        let lanes = self.active.iter().filter(|(_, lane)| is_to_look(lane));
        let ids: Vec<LaneId> = lanes.map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(mut lane) = self.active.remove(&id) {
                lane.is_new = false;
                self.at_hand = Some(id.clone());
                if lane.has.resting.is_none() {
                    self.tell_of(&id, &mut lane);
                }
                if is_time {
                    self.grow_old(&id, &mut lane, now);
                }
                self.keep(id, lane);
            }
        }
        self.at_hand = None;
        if self.look_at_age.is_none() && !self.active.is_empty() {
            self.look_at_age = Some(now + LOOK_AT_REST);
        }
    }

    /// The platform is reached, as far as is known.
    fn is_reached(&self) -> bool {
        self.parts.outlet.is_ready() && self.hold.is_none()
    }

    /// Writes down that a chat lacks something, for those who ask.
    fn tell_of(&self, id: &LaneId, lane: &mut ActiveLane) {
        if lane.has.failing.is_none() && self.lacks_whole(lane) {
            let why = if self.parts.outlet.is_ready() {
                "the platform is not reached"
            } else {
                "the gateway is not ready"
            };
            lane.has.failing = Some(LaneTrouble {
                since: self.parts.lanes.now(),
                why: why.to_owned(),
            });
            lane.is_unsaved = true;
        }
        self.save(id, lane);
    }

    /// Something is to be sent that does not wait for others.
    fn lacks_whole(&self, lane: &ActiveLane) -> bool {
        let sessions = lane.has.sessions.iter();
        let mut next = sessions.filter_map(|one| self.next_deed(lane, &one.session));
        !lane.posted.is_empty() || next.any(|next| next.is_urgent)
    }

    /// Sets aside what a lane lacks for too long.
    fn grow_old(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) {
        if lane.has.resting.is_some() {
            self.rest_on(id, lane, now);
        } else if let Some(trouble) = lane.has.failing.clone() {
            self.set_old_announcements_aside(id, lane, &trouble.why);
            self.age(id, lane, &trouble);
            lane.has.failing = self.lacks_whole(lane).then_some(trouble);
            lane.is_unsaved = true;
            self.save(id, lane);
        }
    }

    fn may_send(&self, now: Instant) -> bool {
        self.parts.outlet.is_ready() && self.hold.is_none_or(|hold| hold <= now)
    }

    /// Commands that were never answered.
    fn expire(&mut self, now: Instant) {
        let is_late = |lane: &ActiveLane| {
            let sent = lane.sent.as_ref().filter(|sent| sent.deadline <= now);
            sent.map(|sent| sent.request_id.clone())
        };
        let late: Vec<String> = self.active.values().filter_map(is_late).collect();
        for request_id in late {
            self.answered(&request_id, CommandOutcome::Unanswered);
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

    /// Does one thing for a lane; whether the lane is still there.
    fn serve(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) -> bool {
        if lane.blind_until.is_some_and(|until| until <= now) {
            lane.blind_until = None;
            self.follow_all(lane);
        }
        let sessions = lane.has.sessions.iter();
        let sessions: Vec<SessionId> = sessions.map(|one| one.session.clone()).collect();
        for session in &sessions {
            if lane.follower(session).is_some_and(ChatFollower::can_go_on) {
                self.pull(lane, session);
            }
        }
        self.settle(lane);
        if !self.save(id, lane) {
            self.retry_later(lane, now);
            return true;
        }
        if lane.has.resting.is_some() {
            self.rest_on(id, lane, now);
            return true;
        }
        if self.is_announcement_next(lane) {
            return self.announce(id, lane, now);
        }
        for session in &sessions {
            let Some(next) = self.next_deed(lane, session) else {
                continue;
            };
            let urgency = if next.is_urgent {
                SendUrgency::Waited
            } else {
                SendUrgency::Growing
            };
            if matches!(next.deed, LaneDeed::Send { .. }) && !next.is_urgent {
                let seen = lane.at_work.filter(|(key, _)| *key == next.key);
                let (_, since) = *lane.at_work.insert(seen.unwrap_or((next.key, now)));
                lane.patient_until = lane.patient_until.max(Some(since + WORK_SHOWN_AFTER));
            }
            return !self.may_go(lane, urgency, now) || self.act(id, lane, session, next);
        }
        if !lane.posted.is_empty() {
            return self.announce(id, lane, now);
        }
        lane.is_urgent = false;
        lane.is_due = false;
        self.let_go(lane);
        if lane.followed.is_empty() && lane.has.failing.take().is_some() {
            lane.is_unsaved = true;
            lane.is_due = true;
        }
        true
    }

    /// An announcement is next, and no turn that had ended before it was made.
    fn is_announcement_next(&self, lane: &ActiveLane) -> bool {
        let Some(first) = lane.posted.front() else {
            return false;
        };
        let is_older = |follower: &ChatFollower| {
            let end = follower.renderer().first_end()?.end;
            let ended_at = self.written_at(follower.session(), end)?;
            (ended_at <= first.said.at).then_some(())
        };
        !lane.followed.iter().any(|one| is_older(one).is_some())
    }

    /// Whether a message may go now; if not, the lane is looked at when it may.
    fn may_go(&self, lane: &mut ActiveLane, urgency: SendUrgency, now: Instant) -> bool {
        let chat = self.limited(&lane.chat.chat_id);
        let limited = self.limiter.not_before(chat, urgency, now);
        match urgency {
            SendUrgency::Waited => lane.not_before = lane.not_before.max(limited),
            SendUrgency::Growing => {
                lane.patient_until = lane.patient_until.max(limited);
                lane.is_urgent = false;
            }
        }
        lane.due(now).is_some_and(|due| due <= now)
    }

    fn limited<'c>(&self, chat_id: &'c str) -> LimitedChat<'c> {
        LimitedChat {
            chat_id,
            is_group: self.parts.outlet.is_group(chat_id),
        }
    }

    fn next_deed(&self, lane: &ActiveLane, session: &SessionId) -> Option<NextDeed> {
        let mut sessions = lane.has.sessions.iter();
        let seen = sessions.find(|one| one.session == *session)?;
        let outlet = &self.parts.outlet;
        let platform = LanePlatform {
            can: self.can(),
            knows_threads: outlet.knows_threads(),
            render: &|markdown| outlet.render(markdown),
        };
        lane.follower(session)?.next_deed(seen, &platform)
    }

    /// What the platform can do, as far as it keeps its word.
    fn can(&self) -> Capabilities {
        let outlet = &self.parts.outlet;
        let now = outlet.is_ready().then(|| outlet.capabilities());
        // One that has ended meanwhile can do nothing.
        if outlet.is_ready() && now.is_some() {
            self.could.set(now);
        }
        let can = self.could.get().unwrap_or(COULD_BE);
        Capabilities {
            media: can.media && !self.has_no_media,
            edit: can.edit && !self.has_no_edit,
            ..can
        }
    }

    /// Notes which turns the chat has all of, and which sessions.
    fn settle(&self, lane: &mut ActiveLane) {
        let outlet = &self.parts.outlet;
        let platform = LanePlatform {
            can: self.can(),
            knows_threads: outlet.knows_threads(),
            render: &|markdown| outlet.render(markdown),
        };
        let mut over = Vec::new();
        for follower in &mut lane.followed {
            let Some(seen) = lane.has.session(follower.session()) else {
                continue;
            };
            lane.is_unsaved |= follower.settle(seen, &platform);
            if follower.is_over() {
                over.push(follower.session().clone());
            }
        }
        if !over.is_empty() {
            lane.has.sessions.retain(|one| !over.contains(&one.session));
            lane.followed.retain(|one| !over.contains(one.session()));
            lane.finished.extend(over);
            lane.is_unsaved = true;
        }
    }

    /// Writes down what the chat has, if that is not on disk; whether it is now.
    fn save(&self, id: &LaneId, lane: &mut ActiveLane) -> bool {
        if !lane.is_unsaved {
            return true;
        }
        match self.parts.lanes.save(id, &lane.has, &lane.finished) {
            Ok(has) => {
                lane.has = has;
                lane.finished.clear();
                lane.is_unsaved = false;
                true
            }
            Err(error) => {
                log::error!(
                    "what a chat has is not written down, so it gets no more for now: {error}"
                );
                false
            }
        }
    }

    /// Lets sessions go of which nothing is under way.
    fn let_go(&self, lane: &mut ActiveLane) {
        let mut kept = Vec::new();
        for mut follower in std::mem::take(&mut lane.followed) {
            let session = follower.session().clone();
            if !self.is_over_for_now(lane, &follower) {
                kept.push(follower);
                continue;
            }
            if let Some(seen) = lane.has.session(&session)
                && follower.settle_at_rest(seen)
            {
                lane.is_unsaved = true;
                lane.is_due = true;
            }
            lane.typing.remove(&session);
        }
        lane.followed = kept;
    }

    fn is_over_for_now(&self, lane: &ActiveLane, follower: &ChatFollower) -> bool {
        let renderer = follower.renderer();
        let is_waiting = !follower.is_up_to_date()
            || renderer.first_end().is_some()
            || self.next_deed(lane, follower.session()).is_some();
        let works = renderer.has_turn() && !renderer.is_asked() && !self.is_parked(follower);
        !is_waiting && !works
    }

    fn is_parked(&self, follower: &ChatFollower) -> bool {
        let view = self.parts.sessions.show(follower.session());
        view.is_ok_and(|view| view.summary.is_parked())
    }

    /// Does what is next for a session; whether the lane is still there.
    fn act(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        session: &SessionId,
        next: NextDeed,
    ) -> bool {
        let request_id = self.request_id();
        let chat_id = lane.chat.chat_id.clone();
        let thread_id = lane.chat.thread_id.clone();
        let mut plain = None;
        let command = match next.deed.clone() {
            LaneDeed::Prepare { call_id, answers } => {
                self.prepare(lane, session, next.key, &call_id, &answers);
                return true;
            }
            LaneDeed::SetAside { why } => {
                if !self.give_up(id, lane, session, next.key, &why) {
                    self.retry_later(lane, (self.now)());
                }
                return true;
            }
            LaneDeed::Send {
                piece,
                reply_to,
                buttons,
            } => {
                plain = piece.plain;
                GatewayCommand::SendMessage {
                    request_id,
                    chat_id,
                    content: piece.content,
                    reply_to,
                    inline_keyboard: buttons,
                    thread_id,
                }
            }
            LaneDeed::SendFile(file) => match self.media(session, &file) {
                Ok(Some(media)) => GatewayCommand::SendMedia {
                    request_id,
                    chat_id,
                    media,
                    caption: file.caption,
                    thread_id,
                },
                Ok(None) => {
                    if let Some(seen) = lane.has.session(session) {
                        seen.sent_mut(next.key).is_frozen = true;
                        lane.is_unsaved = true;
                    }
                    return true;
                }
                Err(error) => {
                    let what = SentDeed::Bubble(session.clone(), next);
                    self.failed(id, lane, &what, &format!("a file cannot be read: {error}"));
                    self.retry_later(lane, (self.now)());
                    return true;
                }
            },
            LaneDeed::Edit {
                message_id, piece, ..
            } => {
                plain = piece.plain;
                GatewayCommand::EditMessage {
                    request_id,
                    chat_id,
                    message_id,
                    content: piece.content,
                }
            }
            LaneDeed::Delete { message_id } => GatewayCommand::DeleteMessage {
                request_id,
                chat_id,
                message_id,
            },
        };
        let what = SentDeed::Bubble(session.clone(), next);
        self.perform(id, lane, what, &command, plain.as_deref())
    }

    /// A file of a session, to be sent; `None` where it is not there.
    fn media(
        &self,
        session: &SessionId,
        file: &Attachment,
    ) -> Result<Option<MediaPayload>, EngineError> {
        let Some(key) = FileKey::parse(&file.file) else {
            return Ok(None);
        };
        let bytes = match self.parts.sessions.read_file(session, &key) {
            Err(EngineError::NoSuchFile(_)) => return Ok(None),
            bytes => bytes?,
        };
        Ok(Some(MediaPayload::Base64 {
            data: BASE64.encode(bytes),
            mime_type: file.mime.clone(),
            filename: Some(file.label().into_owned()),
        }))
    }

    /// Says the first announcement, if it may go now; whether the lane is still there.
    fn announce(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) -> bool {
        let first = lane.posted.front().cloned();
        match first.filter(|_| self.may_go(lane, SendUrgency::Waited, now)) {
            Some(_) if !self.save_part(id, lane) => {
                self.retry_later(lane, now);
                true
            }
            Some(first) => self.say(id, lane, &first),
            None => true,
        }
    }

    fn say(&mut self, id: &LaneId, lane: &mut ActiveLane, first: &PostedAnnouncement) -> bool {
        let PostedAnnouncement { name, said } = first;
        let pieces = self.parts.outlet.render(&said.text);
        let part = said.parts.min(pieces.len().saturating_sub(1));
        let is_last = part + 1 >= pieces.len();
        let Some(piece) = pieces.into_iter().nth(part) else {
            self.forget_announcement(id, lane, name);
            return true;
        };
        let command = GatewayCommand::SendMessage {
            request_id: self.request_id(),
            chat_id: lane.chat.chat_id.clone(),
            content: piece.content,
            reply_to: said.reply_to.clone(),
            inline_keyboard: None,
            thread_id: lane.chat.thread_id.clone(),
        };
        let name = name.to_owned();
        let what = SentDeed::Announcement { name, is_last };
        self.perform(id, lane, what, &command, piece.plain.as_deref())
    }

    /// Gives a command; whether the lane is still there.
    fn perform(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        what: SentDeed,
        command: &GatewayCommand,
        plain: Option<&str>,
    ) -> bool {
        let chat = self.limited(&lane.chat.chat_id);
        self.limiter.count(chat, (self.now)());
        match self.parts.outlet.perform(command, plain) {
            Performed::Ended(outcome) => self.ended(id, lane, what, outcome),
            Performed::Waiting => {
                lane.sent = Some(SentCommand {
                    request_id: command.request_id().unwrap_or_default().to_owned(),
                    what,
                    deadline: (self.now)() + ANSWER_AFTER,
                });
                true
            }
        }
    }

    fn request_id(&mut self) -> String {
        self.commands += 1;
        format!("{}-{}", self.command_prefix, self.commands)
    }
}

/// What becomes of commands.
impl LaneSender {
    /// A command has ended; whether the lane is still there.
    fn ended(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        what: SentDeed,
        outcome: CommandOutcome,
    ) -> bool {
        let now = (self.now)();
        lane.is_due = true;
        lane.is_urgent = true;
        lane.patient_until = Some(now + GROWING_EVERY);
        for due in lane.typing.values_mut().flatten() {
            *due = (*due).max(now + TYPING_EVERY);
        }
        let verdict = verdict(outcome);
        if !matches!(verdict, SendVerdict::Unreached { .. }) {
            self.failures = 0;
            self.hold = None;
        }
        match verdict {
            SendVerdict::Done { message_id } => self.done(id, lane, what, message_id),
            SendVerdict::Again {
                after: Some(after),
                why,
            } => {
                // Neither at once nor never, whatever it says.
                let after = after.clamp(RETRY_MIN, GIVE_UP_AFTER);
                self.failed(id, lane, &what, &why);
                self.limiter.told_to_wait(&lane.chat.chat_id, after, now);
                lane.not_before = now.checked_add(after);
            }
            SendVerdict::Again { after: None, why } => {
                self.failed(id, lane, &what, &why);
                self.retry_later(lane, now);
            }
            SendVerdict::Unreached { why } => {
                self.failed(id, lane, &what, &why);
                self.failures += 1;
                self.hold = Some(now + pause(self.failures));
                self.retry_later(lane, now);
            }
            SendVerdict::Refused { is_unknown, why } => {
                self.refused(id, lane, what, is_unknown, &why);
            }
            SendVerdict::Rests { why } => {
                rest(lane, self.parts.lanes.now(), &why);
                self.resting.insert(lane.chat.chat_id.clone());
                self.look_later(lane);
            }
            SendVerdict::Moved { to } if to == lane.chat.chat_id => {
                self.failed(
                    id,
                    lane,
                    &what,
                    "the chat is said to have the id that it has",
                );
                self.retry_later(lane, now);
            }
            SendVerdict::Moved { to } => {
                let from = lane.chat.chat_id.clone();
                log::info!("chat {from} is chat {to} now");
                self.save(id, lane);
                self.moved(&from, &to);
                return false;
            }
        }
        // At once: others may be served before this lane, and a crash would repeat what was sent.
        self.settle(lane);
        self.save(id, lane);
        true
    }

    fn done(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        what: SentDeed,
        message_id: Option<String>,
    ) {
        lane.tries = 0;
        lane.not_before = None;
        lane.late.retain(|late| !late.what.is_like(&what));
        if lane.has.failing.take().is_some() {
            lane.is_unsaved = true;
        }
        match what {
            SentDeed::Announcement {
                is_last: false,
                name,
            } => {
                if let Some(one) = lane.posted.iter_mut().find(|one| one.name == name) {
                    one.said.parts += 1;
                    lane.is_part_unsaved = true;
                    self.save_part(id, lane);
                }
            }
            SentDeed::Announcement { name, .. } => self.forget_announcement(id, lane, &name),
            SentDeed::Bubble(session, next) => {
                if let Some(seen) = lane.has.session(&session) {
                    lane.is_unsaved |= note_done(seen, next, message_id);
                }
            }
        }
    }

    /// Writes down how much of the first announcement was said; whether it is now.
    fn save_part(&self, id: &LaneId, lane: &mut ActiveLane) -> bool {
        let first = lane.posted.front().filter(|_| lane.is_part_unsaved);
        let saved = first.map_or(Ok(()), |first| self.parts.lanes.note_part(id, first));
        match saved {
            Ok(()) => lane.is_part_unsaved = false,
            Err(error) => log::error!("what was said in a chat is not written down: {error}"),
        }
        !lane.is_part_unsaved
    }

    /// An announcement is said, or never will be.
    fn forget_announcement(&mut self, id: &LaneId, lane: &mut ActiveLane, name: &str) {
        lane.is_part_unsaved = false;
        lane.posted.retain(|one| one.name != name);
        if let Err(error) = self.parts.lanes.remove(id, name) {
            log::error!("what was said in a chat may be said again after a restart: {error}");
            self.said.insert((id.clone(), name.to_owned()));
        }
    }

    /// A command did not go well, and is tried again, unless that has been done for long enough.
    fn failed(&mut self, id: &LaneId, lane: &mut ActiveLane, what: &SentDeed, why: &str) {
        let now = self.parts.lanes.now();
        let chat_id = &lane.chat.chat_id;
        log::debug!("chat {chat_id} did not get something, which is tried again: {why}");
        if lane.has.failing.is_none() {
            lane.has.failing = Some(LaneTrouble {
                since: now,
                why: why.to_owned(),
            });
            lane.is_unsaved = true;
        }
        match what {
            SentDeed::Announcement { .. } => {
                let is_old = |one: &PostedAnnouncement| is_over(one.said.at, now);
                if lane.posted.front().is_some_and(is_old) {
                    self.set_announcement_aside(id, lane, why);
                }
            }
            SentDeed::Bubble(session, next) => {
                let since = lane
                    .has
                    .failing
                    .as_ref()
                    .map_or(now, |failing| failing.since);
                if is_over(self.waits_since(lane, session, next.key, since), now) {
                    self.give_up(id, lane, session, next.key, why);
                }
            }
        }
    }

    /// Since when a bubble waits for the platform: the end of its turn, or of one that has none `since`.
    fn waits_since(
        &self,
        lane: &ActiveLane,
        session: &SessionId,
        key: BubbleKey,
        since: Timestamp,
    ) -> Timestamp {
        let end = lane.follower(session).and_then(|one| one.end_of(key));
        let ended_at = end.and_then(|end| self.written_at(session, end));
        ended_at.unwrap_or(since)
    }

    /// When a record was written.
    fn written_at(&self, session: &SessionId, seq: Seq) -> Option<Timestamp> {
        let before = Seq(seq.0.saturating_sub(1));
        let records = self.parts.sessions.events(session, before, 1).ok()?;
        records.first().map(|record| record.timestamp)
    }

    /// The platform does not take it, ever.
    fn refused(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        what: SentDeed,
        is_unknown: bool,
        why: &str,
    ) {
        lane.late.retain(|late| !late.what.is_like(&what));
        let (session, next) = match what {
            SentDeed::Announcement { .. } => {
                if !self.set_announcement_aside(id, lane, why) {
                    self.retry_later(lane, (self.now)());
                }
                return;
            }
            SentDeed::Bubble(session, next) => (session, next),
        };
        let Some(seen) = lane.has.session(&session) else {
            return;
        };
        let sent = seen.sent_mut(next.key);
        match next.deed {
            LaneDeed::Edit { part, .. } => {
                log::info!("a message cannot be changed, so its words are sent anew: {why}");
                self.has_no_edit |= is_unknown;
                sent.is_frozen = true;
                sent.parts.truncate(part);
            }
            LaneDeed::Delete { .. } => {
                sent.parts.pop();
            }
            LaneDeed::SendFile(_) if is_unknown => self.has_no_media = true,
            LaneDeed::SendFile(_) => {
                log::info!("a file cannot be sent, so it is told of: {why}");
                sent.is_frozen = true;
            }
            LaneDeed::Send { .. } => sent.refused = Some(why.to_owned()),
            LaneDeed::Prepare { .. } | LaneDeed::SetAside { .. } => {}
        }
        lane.is_unsaved = true;
    }

    /// Keeps the first announcement aside; whether it is.
    fn set_announcement_aside(&mut self, id: &LaneId, lane: &mut ActiveLane, why: &str) -> bool {
        let Some(first) = lane.posted.front() else {
            return false;
        };
        let aside = SetAside {
            chat_id: lane.chat.chat_id.clone(),
            thread_id: lane.chat.thread_id.clone(),
            at: self.parts.lanes.now(),
            session: None,
            after: None,
            text: first.said.text.clone(),
            why: why.to_owned(),
        };
        let key = first.name.clone();
        let is_kept = self.keep_aside(id, &key, aside);
        if is_kept {
            self.forget_announcement(id, lane, &key);
        }
        is_kept
    }

    /// Keeps a bubble aside, which the chat never gets; whether it is.
    fn give_up(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        session: &SessionId,
        key: BubbleKey,
        why: &str,
    ) -> bool {
        let follower = lane.follower(session);
        let Some(bubble) = follower.and_then(|follower| follower.bubble(key)) else {
            return false;
        };
        let aside = SetAside {
            chat_id: lane.chat.chat_id.clone(),
            thread_id: lane.chat.thread_id.clone(),
            at: self.parts.lanes.now(),
            session: Some(session.clone()),
            after: Some(key.turn),
            text: words_of(bubble),
            why: why.to_owned(),
        };
        if !self.keep_aside(id, &format!("{session} {key}"), aside) {
            return false;
        }
        if let Some(seen) = lane.has.session(session) {
            seen.sent_mut(key).is_aside = true;
            lane.has.failing = None;
            lane.is_unsaved = true;
        }
        true
    }

    fn keep_aside(&self, id: &LaneId, key: &str, aside: SetAside) -> bool {
        let chat_id = aside.chat_id.clone();
        let why = aside.why.clone();
        match self.parts.lanes.set_aside(id, key, aside) {
            Ok(()) => {
                log::warn!("chat {chat_id} did not get something, which is set aside: {why}");
                true
            }
            Err(error) => {
                log::error!("what chat {chat_id} did not get cannot be set aside: {error}");
                false
            }
        }
    }

    fn retry_later(&self, lane: &mut ActiveLane, now: Instant) {
        lane.is_due = true;
        lane.tries += 1;
        lane.not_before = Some(now + pause(lane.tries));
    }

    /// A lane that rests: what has waited for too long is set aside all the same.
    fn rest_on(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) {
        let Some(resting) = lane.has.resting.clone() else {
            return;
        };
        lane.followed.clear();
        lane.typing.clear();
        self.set_old_announcements_aside(id, lane, &resting.why);
        if is_over(resting.since, self.parts.lanes.now()) {
            self.follow_sessions(lane);
            self.age(id, lane, &resting);
            lane.followed.clear();
        }
        let lacks = |seen: &LaneSession| self.lacks_something(seen);
        lane.is_due = !lane.posted.is_empty() || lane.has.sessions.iter().any(lacks);
        lane.not_before = Some(now + LOOK_AT_REST);
        if lane.posted.is_empty() && lane.has.sessions.is_empty() {
            // Nothing is to be remembered of it: who sends there again learns it again.
            lane.has.resting = None;
            lane.is_unsaved = true;
        }
        lane.is_unsaved &= !self.save(id, lane);
    }

    fn lacks_something(&self, seen: &LaneSession) -> bool {
        let view = self.parts.sessions.show(&seen.session);
        view.is_ok_and(|view| view.summary.last_seq > seen.seen)
    }

    fn set_old_announcements_aside(&mut self, id: &LaneId, lane: &mut ActiveLane, why: &str) {
        let today = self.parts.lanes.now();
        let is_old = |one: &PostedAnnouncement| is_over(one.said.at, today);
        while lane.posted.front().is_some_and(is_old) && self.set_announcement_aside(id, lane, why)
        {
        }
    }

    /// Sets aside what a lane lacks for too long of the sessions that it follows.
    fn age(&mut self, id: &LaneId, lane: &mut ActiveLane, trouble: &LaneTrouble) {
        let today = self.parts.lanes.now();
        let followed = lane.followed.iter();
        let sessions: Vec<SessionId> = followed.map(|one| one.session().clone()).collect();
        for session in sessions {
            while let Some(next) = self.next_deed(lane, &session) {
                let since = self.waits_since(lane, &session, next.key, trouble.since);
                let bubble = lane.follower(&session).and_then(|it| it.bubble(next.key));
                if !bubble.is_some_and(Bubble::is_whole)
                    || !is_over(since, today)
                    || !self.give_up(id, lane, &session, next.key, &trouble.why)
                {
                    break;
                }
            }
        }
        self.settle(lane);
    }

    /// Has a lane that rests be looked at when something of it may be old enough.
    fn look_later(&self, lane: &mut ActiveLane) {
        lane.is_due = true;
    }

    fn prepare(
        &self,
        lane: &mut ActiveLane,
        session: &SessionId,
        key: BubbleKey,
        call_id: &CallId,
        answers: &[Decision],
    ) {
        let Some(seen) = lane.has.session(session) else {
            return;
        };
        let sent = seen.sent_mut(key);
        match answers
            .iter()
            .map(|answer| Ok((handle()?, *answer)))
            .collect::<io::Result<_>>()
        {
            Ok(handles) => sent.handles = handles,
            Err(error) => {
                log::error!("a question is shown without buttons: {error}");
                sent.refused = Some("no buttons can be made".to_owned());
            }
        }
        sent.call_id = Some(call_id.clone());
        lane.is_unsaved = true;
    }
}

/// Shows that an agent is at work.
impl LaneSender {
    fn show_typing(&mut self, now: Instant) {
        for lane in self.active.values_mut() {
            let followed = lane.followed.iter().map(ChatFollower::session);
            lane.typing
                .retain(|session, _| followed.clone().any(|one| one == session));
        }
        if !self.parts.outlet.capabilities().typing || !self.may_send(now) {
            return;
        }
        let mut due = Vec::new();
        for (id, lane) in &mut self.active {
            for follower in &lane.followed {
                let renderer = follower.renderer();
                let session = follower.session();
                if !renderer.has_turn() || renderer.is_asked() {
                    if lane.typing.remove(session).flatten().is_some() {
                        due.push((id.clone(), session.clone(), false));
                    }
                } else if is_typing_due(lane.typing.get(session), now) {
                    due.push((id.clone(), session.clone(), true));
                }
            }
        }
        for (id, session, begins) in due {
            self.type_in(&id, &session, begins, now);
        }
    }

    fn type_in(&mut self, id: &LaneId, session: &SessionId, begins: bool, now: Instant) {
        let Some(lane) = self.active.get_mut(id) else {
            return;
        };
        if begins {
            let view = self.parts.sessions.show(session);
            let works = view.is_ok_and(|view| view.working && !view.summary.is_parked());
            let again = works.then_some(now + TYPING_EVERY);
            lane.typing.insert(session.clone(), again);
            if !works {
                return;
            }
        }
        let command = GatewayCommand::SendTyping {
            chat_id: lane.chat.chat_id.clone(),
            duration: if begins { TYPING_SECONDS } else { 0 },
            thread_id: lane.chat.thread_id.clone(),
        };
        // Nobody misses it.
        if let Performed::Ended(CommandOutcome::Refused(failed)) =
            self.parts.outlet.perform(&command, None)
        {
            log::debug!("nobody sees that an agent is at work: {}", failed.message);
        }
    }
}

fn is_typing_due(known: Option<&Option<Instant>>, now: Instant) -> bool {
    match known {
        None => true,
        Some(due) => due.is_some_and(|due| due <= now),
    }
}

/// Has a lane rest until somebody says something there.
fn rest(lane: &mut ActiveLane, since: Timestamp, why: &str) {
    lane.has.resting = Some(LaneTrouble {
        since,
        why: why.to_owned(),
    });
    lane.has.failing = None;
    lane.is_unsaved = true;
    lane.is_due = true;
    lane.not_before = None;
}

/// Notes what a chat has got; whether that is to be written down before it gets more.
fn note_done(seen: &mut LaneSession, next: NextDeed, message_id: Option<String>) -> bool {
    let sent = seen.sent_mut(next.key);
    match next.deed {
        LaneDeed::Send { piece, .. } => sent.parts.push(LanePart {
            message_id,
            digest: Some(digest_of(&piece.content)),
        }),
        LaneDeed::SendFile(_) => sent.parts.push(LanePart {
            message_id,
            digest: None,
        }),
        LaneDeed::Edit { part, piece, .. } => {
            if let Some(part) = sent.parts.get_mut(part) {
                part.digest = Some(digest_of(&piece.content));
            }
            // A question is changed when it is decided: its buttons are gone.
            let had_handles = !sent.handles.is_empty();
            sent.handles.clear();
            return had_handles;
        }
        LaneDeed::Delete { .. } => {
            sent.parts.pop();
        }
        LaneDeed::Prepare { .. } | LaneDeed::SetAside { .. } => {}
    }
    true
}

/// The words of a bubble that is set aside.
fn words_of(bubble: &Bubble) -> String {
    match &bubble.content {
        BubbleContent::Text { markdown, .. } | BubbleContent::Question { markdown, .. } => {
            markdown.clone()
        }
        BubbleContent::File(file) => wording::file_in_words(file),
    }
}

/// What a button brings back: nobody guesses it.
fn handle() -> io::Result<String> {
    /// So many letters of 26: 56 bits.
    const LETTERS: usize = 12;
    let secret = random::secret()?;
    let bytes = secret.as_bytes().chunks_exact(2).take(LETTERS);
    let letter = |pair: &[u8]| {
        let digits = str::from_utf8(pair).ok();
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        char::from(b'a' + byte.unwrap_or_default() % 26)
    };
    Ok(bytes.map(letter).collect())
}

/// How long to wait after so many failures.
fn pause(failures: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY_MAX)
}

/// What waits since then has waited for too long.
fn is_over(since: Timestamp, now: Timestamp) -> bool {
    now.since(since) >= GIVE_UP_AFTER
}

#[cfg(test)]
mod tests;
