//! What a lane is sent next, and sending it.

use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::base::random;
use crate::domain::event::{Attachment, Decision};
use crate::domain::files::FileKey;
use crate::domain::ids::{CallId, SessionId};
use crate::engine::EngineError;
use crate::gateway::delivery::bubble::BubbleKey;
use crate::gateway::delivery::follower::ChatFollower;
use crate::gateway::delivery::lane::{LaneDeed, LanePlatform, NextDeed};
use crate::gateway::delivery::lane_store::{LaneId, PostedAnnouncement};
use crate::gateway::delivery::limiter::{LimitedChat, SendUrgency};
use crate::gateway::delivery::sender::LaneSender;
use crate::gateway::delivery::sender::active::{ActiveLane, SentCommand, SentDeed};
use crate::gateway::outlet::Performed;
use crate::gateway::protocol::{Capabilities, GatewayCommand, MediaPayload};

/// What is at work is shown once it has lasted so long: a message for what is over at once is one too many.
const WORK_SHOWN_AFTER: Duration = Duration::from_millis(700);

/// A program that has not answered by then is told again. If it answers after all, that counts.
pub(super) const ANSWER_AFTER: Duration = Duration::from_secs(30);

/// What a platform may be able to do that was not ready so far: what it may still change is not taken for done.
const COULD_BE: Capabilities = Capabilities {
    media: true,
    edit: true,
    delete: false,
    typing: false,
    reply: true,
    inline_keyboard: true,
};

impl LaneSender {
    /// Does what is most urgent, if anything may be done now; whether there was something.
    pub(super) fn serve_next(&mut self) -> bool {
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

    pub(super) fn may_send(&self, now: Instant) -> bool {
        self.parts.outlet.is_ready() && self.hold.is_none_or(|hold| hold <= now)
    }

    /// Does one thing for a lane; whether the lane is still there.
    pub(super) fn serve(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) -> bool {
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
            let urgency = urgency(lane, &next, now);
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
    pub(super) fn is_announcement_next(&self, lane: &ActiveLane) -> bool {
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
    pub(super) fn may_go(&self, lane: &mut ActiveLane, urgency: SendUrgency, now: Instant) -> bool {
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

    pub(super) fn limited<'c>(&self, chat_id: &'c str) -> LimitedChat<'c> {
        LimitedChat {
            chat_id,
            is_group: self.parts.outlet.is_group(chat_id),
        }
    }

    pub(super) fn next_deed(&self, lane: &ActiveLane, session: &SessionId) -> Option<NextDeed> {
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
    pub(super) fn can(&self) -> Capabilities {
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
    pub(super) fn settle(&self, lane: &mut ActiveLane) {
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
    pub(super) fn save(&self, id: &LaneId, lane: &mut ActiveLane) -> bool {
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

    /// Does what is next for a session; whether the lane is still there.
    pub(super) fn act(
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
            LaneDeed::SendFile(file) => {
                let Some(media) = self.media_or_note(id, lane, session, &next, &file) else {
                    return true;
                };
                GatewayCommand::SendMedia {
                    request_id,
                    chat_id,
                    media,
                    caption: file.caption,
                    thread_id,
                }
            }
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

    /// A file of a session, to be sent; else it is noted that there is none, or that it is tried again.
    fn media_or_note(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        session: &SessionId,
        next: &NextDeed,
        file: &Attachment,
    ) -> Option<MediaPayload> {
        match self.media(session, file) {
            Ok(Some(media)) => return Some(media),
            Ok(None) => {
                if let Some(seen) = lane.has.session(session) {
                    seen.sent_mut(next.key).is_frozen = true;
                    lane.is_unsaved = true;
                }
            }
            Err(error) => {
                let what = SentDeed::Bubble(session.clone(), next.clone());
                self.failed(id, lane, &what, &format!("a file cannot be read: {error}"));
                self.retry_later(lane, (self.now)());
            }
        }
        None
    }

    /// A file of a session, to be sent; `None` where it is not there.
    pub(super) fn media(
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
    pub(super) fn announce(&mut self, id: &LaneId, lane: &mut ActiveLane, now: Instant) -> bool {
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

    pub(super) fn say(
        &mut self,
        id: &LaneId,
        lane: &mut ActiveLane,
        first: &PostedAnnouncement,
    ) -> bool {
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
    pub(super) fn perform(
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

    pub(super) fn request_id(&mut self) -> String {
        self.commands += 1;
        format!("{}-{}", self.command_prefix, self.commands)
    }

    pub(super) fn prepare(
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

/// How urgent what is next is. What is at work is shown once that has lasted.
fn urgency(lane: &mut ActiveLane, next: &NextDeed, now: Instant) -> SendUrgency {
    if next.is_urgent {
        return SendUrgency::Waited;
    }
    if matches!(next.deed, LaneDeed::Send { .. }) {
        let seen = lane.at_work.filter(|(key, _)| *key == next.key);
        let (_, since) = *lane.at_work.insert(seen.unwrap_or((next.key, now)));
        lane.patient_until = lane.patient_until.max(Some(since + WORK_SHOWN_AFTER));
    }
    SendUrgency::Growing
}

/// What a button brings back: nobody guesses it.
pub(super) fn handle() -> io::Result<String> {
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
