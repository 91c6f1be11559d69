//! A lane with something under way, and the commands that were sent for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::domain::chat::Chat;
use crate::domain::ids::SessionId;
use crate::gateway::delivery::bubble::BubbleKey;
use crate::gateway::delivery::follower::ChatFollower;
use crate::gateway::delivery::lane::{LaneDocument, NextDeed};
use crate::gateway::delivery::lane_store::PostedAnnouncement;
use crate::gateway::outlet::CommandOutcome;

/// The answers to so many attempts at something are waited for after that.
const LATE_MAX: usize = 16;

/// A lane with something under way.
#[derive(Debug)]
pub(super) struct ActiveLane {
    pub(super) chat: Chat,
    pub(super) has: LaneDocument,
    pub(super) is_unsaved: bool,
    /// Sessions of which the document is to say nothing any more.
    pub(super) finished: Vec<SessionId>,
    pub(super) posted: VecDeque<PostedAnnouncement>,
    /// How many messages of the first announcement were sent is not on disk.
    pub(super) is_part_unsaved: bool,
    pub(super) followed: Vec<ChatFollower>,
    pub(super) sent: Option<SentCommand>,
    /// Attempts that were not answered in time, oldest first.
    pub(super) late: VecDeque<SentCommand>,
    /// A session could not be followed, and is to be tried again then; how often that went wrong.
    pub(super) blind_until: Option<Instant>,
    pub(super) blind_tries: u32,
    /// Something may be to be sent.
    pub(super) is_due: bool,
    pub(super) is_urgent: bool,
    /// Nobody has looked for what waits here since there was news.
    pub(super) is_new: bool,
    /// Nothing is sent before.
    pub(super) not_before: Option<Instant>,
    /// Nothing that is patient is sent before.
    pub(super) patient_until: Option<Instant>,
    /// A bubble that says no more than what is at work, and since when.
    pub(super) at_work: Option<(BubbleKey, Instant)>,
    pub(super) tries: u32,
    pub(super) turn: u64,
    /// When it is to be shown again that an agent is at work; not before there is news of one that is not.
    pub(super) typing: BTreeMap<SessionId, Option<Instant>>,
}

/// A command whose answer comes later.
#[derive(Debug)]
pub(super) struct SentCommand {
    pub(super) request_id: String,
    pub(super) what: SentDeed,
    pub(super) deadline: Instant,
}

/// What a command was for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SentDeed {
    Bubble(SessionId, NextDeed),
    /// An announcement, by its document; whether it was the last message of it.
    Announcement {
        name: String,
        is_last: bool,
    },
}

impl SentDeed {
    /// Both are for the same message, whatever it was to say.
    pub(super) fn is_like(&self, other: &SentDeed) -> bool {
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
    pub(super) fn new(
        chat: Chat,
        has: LaneDocument,
        posted: Vec<PostedAnnouncement>,
    ) -> ActiveLane {
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
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.sent.is_some() {
            return None;
        }
        let patient = self.patient_until.filter(|_| !self.is_urgent);
        let due = self.not_before.max(patient).unwrap_or(now);
        let due = self.is_due.then_some(due);
        [due, self.blind_until].into_iter().flatten().min()
    }

    /// Whatever it waited for, it is looked at now.
    pub(super) fn look_at_once(&mut self) {
        self.is_due = true;
        self.not_before = None;
        self.tries = 0;
    }

    pub(super) fn waits_for(&self, request_id: &str) -> bool {
        let mut all = self.sent.iter().chain(&self.late);
        all.any(|sent| sent.request_id == request_id)
    }

    /// What a command was for that has ended so, unless that is of no use any more.
    pub(super) fn take_sent(
        &mut self,
        request_id: &str,
        outcome: &CommandOutcome,
    ) -> Option<SentDeed> {
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
    pub(super) fn is_idle(&self) -> bool {
        self.followed.is_empty()
            && self.posted.is_empty()
            && self.sent.is_none()
            && !self.is_unsaved
            && !self.is_due
            && self.blind_until.is_none()
    }

    /// There may be something to do, as far as can be told at a glance.
    pub(super) fn has_something(&self) -> bool {
        let has = &self.has;
        let is_quiet = self.followed.is_empty() && self.posted.is_empty() && !self.is_unsaved;
        !is_quiet || has.resting.is_some() || has.failing.is_some()
    }

    pub(super) fn follower(&self, session: &SessionId) -> Option<&ChatFollower> {
        let mut followed = self.followed.iter();
        followed.find(|one| one.session() == session)
    }
}
