//! What the thread hears: of sessions, of chats, of the platform's answers.

use std::collections::BTreeSet;

use crate::domain::chat::Chat;
use crate::domain::ids::SessionId;
use crate::gateway::delivery::lane_store::LaneId;
use crate::gateway::delivery::news::SenderNews;
use crate::gateway::delivery::sender::LaneSender;
use crate::gateway::delivery::sender::active::ActiveLane;
use crate::gateway::delivery::sender::outcomes::rest;
use crate::gateway::outlet::{CommandOutcome, Performed};
use crate::gateway::protocol::GatewayCommand;

impl LaneSender {
    pub(super) fn hear_all(&mut self) {
        while let Ok(news) = self.parts.inbox.news_rx.try_recv() {
            self.hear(news);
        }
        if self.parts.inbox.has_missed() {
            self.look_at_everything();
        }
    }

    pub(super) fn hear(&mut self, news: SenderNews) {
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

    pub(super) fn changed(&mut self, session: &SessionId) {
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
    pub(super) fn chat_of(&self, session: &SessionId) -> Option<Chat> {
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

    pub(super) fn posted(&mut self, chat: &Chat) {
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
    pub(super) fn read_again(&mut self, id: &LaneId, lane: &mut ActiveLane) {
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

    /// A chat may be written to again, with all its threads.
    pub(super) fn is_back(&mut self, chat: &Chat) {
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

    pub(super) fn wake(&mut self, id: &LaneId, lane: &mut ActiveLane) {
        if lane.has.resting.take().is_some() {
            lane.is_unsaved = true;
            lane.look_at_once();
            self.follow_all(lane);
            self.save(id, lane);
        }
    }

    pub(super) fn rests(&mut self, chat_id: &str, why: &str) {
        let since = self.parts.lanes.now();
        let of_chat = |lane: &&mut ActiveLane| lane.chat.chat_id == chat_id;
        for lane in self.active.values_mut().filter(of_chat) {
            rest(lane, since, why);
            self.resting.insert(chat_id.to_owned());
        }
    }

    pub(super) fn moved(&mut self, from: &str, to: &str) {
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

    pub(super) fn ready(&mut self, is_ready: bool) {
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

    pub(super) fn answer_press(&mut self, callback_query_id: String, text: Option<String>) {
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

    pub(super) fn answered(&mut self, request_id: &str, outcome: CommandOutcome) {
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
}
