//! What comes of a command.

use std::time::{Duration, Instant};

use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::gateway::delivery::bubble::{Bubble, BubbleContent, BubbleKey};
use crate::gateway::delivery::lane::{
    LaneDeed, LanePart, LaneSession, LaneTrouble, NextDeed, digest_of,
};
use crate::gateway::delivery::lane_store::{LaneId, PostedAnnouncement, SetAside};
use crate::gateway::delivery::sender::LaneSender;
use crate::gateway::delivery::sender::active::{ActiveLane, SentDeed};
use crate::gateway::delivery::sender::pace::{
    GIVE_UP_AFTER, RETRY_MIN, TYPING_EVERY, is_over, pause,
};
use crate::gateway::delivery::verdict::{SendVerdict, verdict};
use crate::gateway::delivery::wording::{self};
use crate::gateway::outlet::CommandOutcome;

/// Words that still grow are sent so often at most, wherever the platform has no limits of its own.
const GROWING_EVERY: Duration = Duration::from_secs(1);

impl LaneSender {
    /// A command has ended; whether the lane is still there.
    pub(super) fn ended(
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
            SendVerdict::Again { after, why } => {
                self.failed(id, lane, &what, &why);
                self.again(lane, after, now);
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
                let why = "the chat is said to have the id that it has";
                self.failed(id, lane, &what, why);
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

    pub(super) fn done(
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
    pub(super) fn save_part(&self, id: &LaneId, lane: &mut ActiveLane) -> bool {
        let first = lane.posted.front().filter(|_| lane.is_part_unsaved);
        let saved = first.map_or(Ok(()), |first| self.parts.lanes.note_part(id, first));
        match saved {
            Ok(()) => lane.is_part_unsaved = false,
            Err(error) => log::error!("what was said in a chat is not written down: {error}"),
        }
        !lane.is_part_unsaved
    }

    /// An announcement is said, or never will be.
    pub(super) fn forget_announcement(&mut self, id: &LaneId, lane: &mut ActiveLane, name: &str) {
        lane.is_part_unsaved = false;
        lane.posted.retain(|one| one.name != name);
        if let Err(error) = self.parts.lanes.remove(id, name) {
            log::error!("what was said in a chat may be said again after a restart: {error}");
            self.said.insert((id.clone(), name.to_owned()));
        }
    }

    /// A command did not go well, and is tried again, unless that has been done for long enough.
    pub(super) fn failed(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        what: &SentDeed,
        why: &str,
    ) {
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

    /// The platform does not take it, ever.
    pub(super) fn refused(
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
    pub(super) fn set_announcement_aside(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        why: &str,
    ) -> bool {
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
    pub(super) fn give_up(
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

    pub(super) fn keep_aside(&self, id: &LaneId, key: &str, aside: SetAside) -> bool {
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

    /// Tries again after the time that the platform says, neither at once nor never; else as usual.
    fn again(&mut self, lane: &mut ActiveLane, after: Option<Duration>, now: Instant) {
        let Some(after) = after else {
            return self.retry_later(lane, now);
        };
        let after = after.clamp(RETRY_MIN, GIVE_UP_AFTER);
        self.limiter.told_to_wait(&lane.chat.chat_id, after, now);
        lane.not_before = now.checked_add(after);
    }

    pub(super) fn retry_later(&self, lane: &mut ActiveLane, now: Instant) {
        lane.is_due = true;
        lane.tries += 1;
        lane.not_before = Some(now + pause(lane.tries));
    }
}

/// Has a lane rest until somebody says something there.
pub(super) fn rest(lane: &mut ActiveLane, since: Timestamp, why: &str) {
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
pub(super) fn note_done(
    seen: &mut LaneSession,
    next: NextDeed,
    message_id: Option<String>,
) -> bool {
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
pub(super) fn words_of(bubble: &Bubble) -> String {
    match &bubble.content {
        BubbleContent::Text { markdown, .. } | BubbleContent::Question { markdown, .. } => {
            markdown.clone()
        }
        BubbleContent::File(file) => wording::file_in_words(file),
    }
}
