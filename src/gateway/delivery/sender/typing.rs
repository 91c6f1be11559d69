//! Shows that an agent is at work.

use std::time::Instant;

use crate::domain::ids::SessionId;
use crate::gateway::delivery::follower::ChatFollower;
use crate::gateway::delivery::lane_store::LaneId;
use crate::gateway::delivery::sender::LaneSender;
use crate::gateway::delivery::sender::pace::TYPING_EVERY;
use crate::gateway::outlet::{CommandOutcome, Performed};
use crate::gateway::protocol::GatewayCommand;

/// For so many seconds it is shown.
const TYPING_SECONDS: u32 = 5;

impl LaneSender {
    pub(super) fn show_typing(&mut self, now: Instant) {
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

    pub(super) fn type_in(&mut self, id: &LaneId, session: &SessionId, begins: bool, now: Instant) {
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

pub(super) fn is_typing_due(known: Option<&Option<Instant>>, now: Instant) -> bool {
    match known {
        None => true,
        Some(due) => due.is_some_and(|due| due <= now),
    }
}
