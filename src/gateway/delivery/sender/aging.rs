//! What waits for too long, and chats that rest.

use std::time::{Duration, Instant};

use crate::domain::ids::{Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::gateway::delivery::bubble::{Bubble, BubbleKey};
use crate::gateway::delivery::lane::{LaneSession, LaneTrouble};
use crate::gateway::delivery::lane_store::{LaneId, PostedAnnouncement};
use crate::gateway::delivery::sender::LaneSender;
use crate::gateway::delivery::sender::active::ActiveLane;
use crate::gateway::delivery::sender::pace::is_over;
use crate::gateway::outlet::CommandOutcome;

/// How often what cannot be sent is looked at for what has waited that long.
pub(super) const LOOK_AT_REST: Duration = Duration::from_secs(3600);

impl LaneSender {
    /// While nothing can be sent, what waits is told, and what has waited for too long is set aside.
    pub(super) fn tend_what_waits(&mut self) {
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
    pub(super) fn is_reached(&self) -> bool {
        self.parts.outlet.is_ready() && self.hold.is_none()
    }

    /// Writes down that a chat lacks something, for those who ask.
    pub(super) fn tell_of(&self, id: &LaneId, lane: &mut ActiveLane) {
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
    pub(super) fn lacks_whole(&self, lane: &ActiveLane) -> bool {
        let sessions = lane.has.sessions.iter();
        let mut next = sessions.filter_map(|one| self.next_deed(lane, &one.session));
        !lane.posted.is_empty() || next.any(|next| next.is_urgent)
    }

    /// Sets aside what a lane lacks for too long.
    pub(super) fn grow_old(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) {
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

    /// Commands that were never answered.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_late = |lane: &ActiveLane| {
            let sent = lane.sent.as_ref().filter(|sent| sent.deadline <= now);
            sent.map(|sent| sent.request_id.clone())
        };
        let late: Vec<String> = self.active.values().filter_map(is_late).collect();
        for request_id in late {
            self.answered(&request_id, CommandOutcome::Unanswered);
        }
    }

    /// Since when a bubble waits for the platform: the end of its turn, or of one that has none `since`.
    pub(super) fn waits_since(
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
    pub(super) fn written_at(&self, session: &SessionId, seq: Seq) -> Option<Timestamp> {
        let before = Seq(seq.0.saturating_sub(1));
        let records = self.parts.sessions.events(session, before, 1).ok()?;
        records.first().map(|record| record.timestamp)
    }

    /// A lane that rests: what has waited for too long is set aside all the same.
    pub(super) fn rest_on(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) {
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

    pub(super) fn set_old_announcements_aside(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        why: &str,
    ) {
        let today = self.parts.lanes.now();
        let is_old = |one: &PostedAnnouncement| is_over(one.said.at, today);
        while lane.posted.front().is_some_and(is_old) && self.set_announcement_aside(id, lane, why)
        {
        }
    }

    /// Sets aside what a lane lacks for too long of the sessions that it follows.
    pub(super) fn age(&mut self, id: &LaneId, lane: &mut ActiveLane, trouble: &LaneTrouble) {
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
    pub(super) fn look_later(&self, lane: &mut ActiveLane) {
        lane.is_due = true;
    }
}
