//! Follows the sessions of a lane: what is to be seen of them.

use std::sync::Arc;

use crate::domain::access::AccessSpec;
use crate::domain::event::Event;
use crate::domain::ids::{AgentName, Seq, SessionId};
use crate::engine::EngineError;
use crate::gateway::delivery::approvers::Approvers;
use crate::gateway::delivery::follower::{ChatFollower, Following};
use crate::gateway::delivery::lane::LaneSession;
use crate::gateway::delivery::lane_store::LaneId;
use crate::gateway::delivery::sender::LaneSender;
use crate::gateway::delivery::sender::active::ActiveLane;
use crate::gateway::delivery::sender::pace::pause;
use crate::gateway::delivery::wording::AnswerWay;

impl LaneSender {
    /// Follows the sessions of which a chat may lack something.
    pub(super) fn follow_all(&self, lane: &mut ActiveLane) {
        if lane.has.resting.is_some() {
            self.look_later(lane);
        } else {
            self.follow_sessions(lane);
        }
    }

    pub(super) fn follow_sessions(&self, lane: &mut ActiveLane) {
        let sessions = lane.has.sessions.iter();
        for session in sessions.map(|one| one.session.clone()).collect::<Vec<_>>() {
            if lane.follower(&session).is_none() {
                self.follow(lane, &session);
            }
            self.pull(lane, &session);
        }
    }

    /// Follows a session of which there is news; one that the lane does not know, from its last turn on.
    pub(super) fn follow_from_news(&mut self, lane: &mut ActiveLane, session: &SessionId) {
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
    pub(super) fn last_turn(&self, session: &SessionId) -> Result<Seq, EngineError> {
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

    pub(super) fn follow(&self, lane: &mut ActiveLane, session: &SessionId) {
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
    pub(super) fn lose_sight(
        &self,
        lane: &mut ActiveLane,
        session: &SessionId,
        error: &EngineError,
    ) {
        log::warn!("session {session} is not shown in its chat for now: {error}");
        if !error.is_for_good() {
            lane.blind_tries += 1;
            lane.blind_until = Some((self.now)() + pause(lane.blind_tries));
        }
    }

    /// Follows a session, unless its chat has all of it.
    pub(super) fn follower(&self, seen: &LaneSession) -> Result<Option<ChatFollower>, EngineError> {
        let view = self.parts.sessions.show(&seen.session)?;
        if view.summary.last_seq <= seen.seen && seen.asked.is_empty() {
            return Ok(None);
        }
        let agent = AgentName::parse(&view.summary.agent).ok();
        let access = agent
            .as_ref()
            .and_then(|agent| self.parts.host.access(agent));
        let way = agent.as_ref().map_or(AnswerWay::OwnerOnly, |agent| {
            self.way(agent, access.as_deref())
        });
        let approvers = agent.map(|agent| Approvers {
            host: Arc::clone(&self.parts.host),
            agent,
            gateway: self.parts.lanes.gateway().clone(),
        });
        let reject_message = access.and_then(|access| access.groups.queue.reject_message.clone());
        let news = &self.parts.news;
        let sessions = &self.parts.sessions;
        ChatFollower::begin(sessions, seen, way, approvers, reject_message, news).map(Some)
    }

    /// How questions of an agent are answered in chats.
    pub(super) fn way(&self, agent: &AgentName, access: Option<&AccessSpec>) -> AnswerWay {
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
    pub(super) fn pull(&self, lane: &mut ActiveLane, session: &SessionId) {
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

    /// Lets sessions go of which nothing is under way.
    pub(super) fn let_go(&self, lane: &mut ActiveLane) {
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

    pub(super) fn is_over_for_now(&self, lane: &ActiveLane, follower: &ChatFollower) -> bool {
        let renderer = follower.renderer();
        let is_waiting = !follower.is_up_to_date()
            || renderer.first_end().is_some()
            || self.next_deed(lane, follower.session()).is_some();
        let works = renderer.has_turn() && !renderer.is_asked() && !self.is_parked(follower);
        !is_waiting && !works
    }

    pub(super) fn is_parked(&self, follower: &ChatFollower) -> bool {
        let view = self.parts.sessions.show(follower.session());
        view.is_ok_and(|view| view.summary.is_parked())
    }

    pub(super) fn lacks_something(&self, seen: &LaneSession) -> bool {
        let view = self.parts.sessions.show(&seen.session);
        view.is_ok_and(|view| view.summary.last_seq > seen.seen)
    }
}
