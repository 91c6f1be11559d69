//! The documents of a gateway's lanes: `outbox/<gateway>/<lane>/…`.
//!
//! `lane.json` says what the chat has; each `notice-….json` is an announcement that it lacks; each
//! `aside-….json` something that it never gets; `damaged-….json` a `lane.json` that could not be read. The last part of a lane's name is a digest: ids of
//! platforms are no names of files.
//!
//! Owned by: the gateway's sender and whoever takes messages in. The lock is held over reading and
//! writing a document, so that those of a lane come in one order; no other is taken meanwhile.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::base::digest;
use crate::base::lock::lock;
use crate::base::text;
use crate::domain::chat::Chat;
use crate::domain::ids::{CallId, GatewayName, MessageId, Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::gateway::delivery::lane::{LaneDocument, LaneSession};
use crate::gateway::delivery::news::{SenderHandle, SenderNews};
use crate::gateway::delivery::outbox::{Announcement, Outbox, OutboxError, PressedButton};
use crate::store::documents::{
    DocumentError, DocumentFolder, DocumentName, Documents, VersionedText,
};

/// Of what is set aside so much is kept: the rest is in the session's log.
const ASIDE_BYTES: usize = 4 << 10;
/// So much is kept aside for a gateway: the oldest goes.
pub(super) const ASIDE_MAX: usize = 1_000;
/// Another process reads at most for moments: a backup, `duragent gateway outbox`.
const TRIES: u32 = 20;

const LANE: &str = "lane.json";
const ANNOUNCEMENT: &str = "notice-";
const ASIDE: &str = "aside-";
const DAMAGED: &str = "damaged-";
const JSON: &str = ".json";

/// The lanes of a gateway on disk.
#[derive(Debug)]
pub struct LaneStore {
    gateway: GatewayName,
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    sender: SenderHandle,
    writing: Mutex<()>,
}

/// The last part of the name of a lane's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(String);

/// An announcement, as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnnouncementDocument {
    /// The chat.
    pub(super) chat_id: String,
    /// Its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thread_id: Option<String>,
    /// The words, in Markdown.
    pub(super) text: String,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<String>,
    /// When it was made.
    pub(super) at: Timestamp,
    /// So many of the messages that it becomes were sent.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub(super) parts: usize,
}

/// An announcement that its chat lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostedAnnouncement {
    /// Its document.
    pub(super) name: String,
    /// What it says.
    pub(super) said: AnnouncementDocument,
}

/// Something that a chat never gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The chat.
    pub chat_id: String,
    /// Its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// When it was given up.
    pub at: Timestamp,
    /// Of which session it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Behind which record of that its turn stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
    /// The beginning of its words.
    pub text: String,
    /// Why.
    pub why: String,
}

/// A chat that lacks something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingChat {
    /// The chat.
    pub chat: Chat,
    /// Sessions of which it may lack something.
    pub sessions: Vec<SessionId>,
    /// Announcements that it lacks.
    pub announcements: usize,
    /// Why nothing goes out now, and since when.
    pub trouble: Option<(Timestamp, String)>,
}

impl LaneId {
    /// Half of the digest: nobody gains by two chats with one lane.
    const DIGITS: usize = 32;

    /// That of a chat.
    pub(super) fn of(chat: &Chat) -> LaneId {
        let thread = chat.thread_id.as_deref().unwrap_or_default();
        let mut id = digest::sha256(format!("{}\0{thread}", chat.chat_id).as_bytes());
        id.truncate(LaneId::DIGITS);
        LaneId(id)
    }

    /// As it stands in names.
    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_one(name: &str) -> bool {
        name.len() == LaneId::DIGITS && name.bytes().all(|digit| digit.is_ascii_hexdigit())
    }
}

impl LaneStore {
    /// Those of `gateway`; `sender` is told what there is to send.
    pub fn new(
        gateway: GatewayName,
        documents: Arc<dyn Documents>,
        clock: Arc<dyn Clock>,
        sender: SenderHandle,
    ) -> LaneStore {
        LaneStore {
            gateway,
            documents,
            clock,
            sender,
            writing: Mutex::new(()),
        }
    }

    /// The gateway whose lanes these are.
    pub(super) fn gateway(&self) -> &GatewayName {
        &self.gateway
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// All lanes that are on disk.
    pub(super) fn ids(&self) -> Result<Vec<LaneId>, OutboxError> {
        let found = self.documents.list(&self.folder()?)?;
        // A person may have put something else there.
        let ids = found.into_iter().filter(|name| LaneId::is_one(name));
        Ok(ids.map(LaneId).collect())
    }

    /// A lane, with the announcements that its chat lacks, oldest first.
    pub(super) fn load(
        &self,
        id: &LaneId,
    ) -> Result<(Option<LaneDocument>, Vec<PostedAnnouncement>), OutboxError> {
        let _writing = self.lock();
        let lane = self.read_lane(id)?.map(|(lane, _)| lane);
        let mut posted = Vec::new();
        for name in self.names(id, ANNOUNCEMENT)? {
            match self.read(&self.name(id, &name)?) {
                Ok(Some((said, _))) => posted.push(PostedAnnouncement { name, said }),
                Ok(None) => {}
                // The others can be said all the same.
                Err(error) => log::warn!("an announcement is not said: {error}"),
            }
        }
        posted.sort_by_key(|one| one.said.at);
        Ok((lane, posted))
    }

    /// Writes down what a chat has. What the document says of sessions that `mine` does not know stays,
    /// but for those that are `finished`. Returns what is on disk now.
    pub(super) fn save(
        &self,
        id: &LaneId,
        mine: &LaneDocument,
        finished: &[SessionId],
    ) -> Result<LaneDocument, OutboxError> {
        let _writing = self.lock();
        let name = self.name(id, LANE)?;
        let before = self.read_lane(id)?;
        let mut lane = mine.clone();
        let there = before.iter().flat_map(|(before, _)| &before.sessions);
        let is_new = |one: &&LaneSession| {
            let mut known = mine.sessions.iter().map(|known| &known.session);
            !known.any(|known| *known == one.session) && !finished.contains(&one.session)
        };
        lane.sessions.extend(there.filter(is_new).cloned());
        match before {
            Some(_) if lane.is_empty() => again_if_busy(|| self.documents.delete(&name))?,
            None if lane.is_empty() => {}
            Some((before, _)) if before == lane => {}
            Some((_, text)) => self.write(&name, Some(&text), &lane)?,
            None => self.write(&name, None, &lane)?,
        }
        Ok(lane)
    }

    /// Writes down how much of an announcement was said.
    pub(super) fn note_part(
        &self,
        id: &LaneId,
        posted: &PostedAnnouncement,
    ) -> Result<(), OutboxError> {
        let _writing = self.lock();
        let name = self.name(id, &posted.name)?;
        let before = self.read::<AnnouncementDocument>(&name)?;
        self.write(&name, before.as_ref().map(|(_, text)| text), &posted.said)
    }

    /// An announcement was heard, or is given up.
    pub(super) fn remove(&self, id: &LaneId, name: &str) -> Result<(), OutboxError> {
        let _writing = self.lock();
        let name = self.name(id, name)?;
        Ok(again_if_busy(|| self.documents.delete(&name))?)
    }

    /// Keeps what a chat never gets, under a name that `key` gives: the same is kept once.
    pub(super) fn set_aside(
        &self,
        id: &LaneId,
        key: &str,
        aside: SetAside,
    ) -> Result<(), OutboxError> {
        let name = self.name(id, &named_by(ASIDE, key))?;
        let text = text::start(&aside.text, ASIDE_BYTES).to_owned();
        // In the place of whatever is there: a chat does not wait for it to be readable.
        {
            let _writing = self.lock();
            self.replace(&name, &SetAside { text, ..aside })?;
        }
        if let Err(error) = self.thin_out_aside() {
            log::warn!("more is kept aside than was meant to be: {error}");
        }
        Ok(())
    }

    /// Forgets the oldest of what is aside where there is too much, and a tenth of it at once: all of it is
    /// read for that.
    fn thin_out_aside(&self) -> Result<(), OutboxError> {
        let mut all = Vec::new();
        for id in self.ids()? {
            let names = self.names(&id, ASIDE)?.into_iter();
            all.extend(names.map(|name| (id.clone(), name)));
        }
        if all.len() <= ASIDE_MAX {
            return Ok(());
        }
        let surplus = all.len() - (ASIDE_MAX - ASIDE_MAX / 10);
        // What cannot be read goes first.
        all.sort_by_cached_key(|(id, name)| {
            let name = self.name(id, name).ok()?;
            let (aside, _) = self.read::<SetAside>(&name).ok()??;
            Some(aside.at)
        });
        log::warn!("the {surplus} oldest things that chats did not get are forgotten");
        all[..surplus]
            .iter()
            .try_for_each(|(id, name)| self.remove(id, name))
    }

    /// Moves what is on disk of a chat, with all its threads, to the id that it has now; returns the chats.
    pub(super) fn move_chat(&self, from: &str, to: &str) -> Result<Vec<Chat>, OutboxError> {
        let mut moved = Vec::new();
        for id in self.ids()? {
            let (lane, posted) = match self.load(&id) {
                // It is another chat's, as far as anybody can tell.
                Err(error) if error.is_for_good() => {
                    log::warn!("a lane of the outbox is left where it is: {error}");
                    continue;
                }
                found => found?,
            };
            let first = posted.first().map(|one| &one.said);
            let (chat_id, thread_id) = match (&lane, first) {
                (Some(lane), _) => (&lane.chat_id, &lane.thread_id),
                (None, Some(said)) => (&said.chat_id, &said.thread_id),
                (None, None) => continue,
            };
            if chat_id != from {
                continue;
            }
            let chat = Chat {
                gateway: self.gateway.to_string(),
                chat_id: to.to_owned(),
                thread_id: thread_id.clone(),
            };
            self.move_lane(&id, lane, posted, &chat)?;
            moved.push(chat);
        }
        Ok(moved)
    }

    /// First all of it stands in its new place, then none in its old one: a crash repeats the move.
    fn move_lane(
        &self,
        id: &LaneId,
        lane: Option<LaneDocument>,
        posted: Vec<PostedAnnouncement>,
        chat: &Chat,
    ) -> Result<(), OutboxError> {
        let target = LaneId::of(chat);
        if let Some(lane) = lane {
            let lane = LaneDocument {
                chat_id: chat.chat_id.clone(),
                ..lane
            };
            self.save(&target, &lane, &[])?;
        }
        for one in posted {
            let said = AnnouncementDocument {
                chat_id: chat.chat_id.clone(),
                ..one.said
            };
            let _writing = self.lock();
            let name = self.name(&target, &one.name)?;
            let before = self.read::<AnnouncementDocument>(&name)?;
            self.write(&name, before.as_ref().map(|(_, text)| text), &said)?;
        }
        let _writing = self.lock();
        for name in self.names(id, ASIDE)? {
            if let Some((aside, _)) = self.read::<SetAside>(&self.name(id, &name)?)? {
                let name = self.name(&target, &name)?;
                let before = self.read::<SetAside>(&name)?;
                self.write(&name, before.as_ref().map(|(_, text)| text), &aside)?;
            }
        }
        let folder = self.folder()?.folder(&id.0)?;
        Ok(self.documents.delete_folder(&folder)?)
    }

    /// The chats that lack something. What cannot be read is left out, with a warning.
    ///
    /// Errors: nothing can be listed.
    pub fn waiting(&self) -> Result<Vec<WaitingChat>, OutboxError> {
        let mut waiting = Vec::new();
        for id in self.ids()? {
            match self.load(&id) {
                Ok((lane, posted)) => waiting.extend(self.waiting_chat(lane, &posted)),
                Err(error) => log::warn!("a lane of the outbox is not shown: {error}"),
            }
        }
        Ok(waiting)
    }

    fn waiting_chat(
        &self,
        lane: Option<LaneDocument>,
        posted: &[PostedAnnouncement],
    ) -> Option<WaitingChat> {
        let first = posted.first().map(|one| &one.said);
        let chat_id = lane.as_ref().map(|lane| &lane.chat_id);
        let chat_id = chat_id.or(first.map(|said| &said.chat_id))?.clone();
        let thread_id = match &lane {
            Some(lane) => lane.thread_id.clone(),
            None => first.and_then(|said| said.thread_id.clone()),
        };
        let lane = lane.unwrap_or_else(|| LaneDocument::new(&Chat::new("", "")));
        let trouble = lane.resting.or(lane.failing);
        let is_begun = |one: &LaneSession| one.bubbles.iter().any(|sent| !sent.is_aside);
        let has_begun = |one: &&LaneSession| is_begun(one) || trouble.is_some();
        let sessions = lane.sessions.iter().filter(has_begun);
        let waiting = WaitingChat {
            chat: Chat {
                gateway: self.gateway.to_string(),
                chat_id,
                thread_id,
            },
            sessions: sessions.map(|one| one.session.clone()).collect(),
            announcements: posted.len(),
            trouble: trouble.map(|trouble| (trouble.since, trouble.why)),
        };
        let lacks_nothing = waiting.sessions.is_empty() && posted.is_empty();
        (!lacks_nothing || waiting.trouble.is_some()).then_some(waiting)
    }

    /// What chats of the gateway never get, oldest first.
    ///
    /// Errors: it cannot be read.
    pub fn aside(&self) -> Result<Vec<SetAside>, OutboxError> {
        let mut found = Vec::new();
        for id in self.ids()? {
            for name in self.names(&id, ASIDE)? {
                match self.read::<SetAside>(&self.name(&id, &name)?) {
                    Err(error) if error.is_for_good() => {
                        log::warn!("something that was set aside is not shown: {error}");
                    }
                    aside => found.extend(aside?.map(|(aside, _)| aside)),
                }
            }
        }
        found.sort_by_key(|aside| aside.at);
        Ok(found)
    }

    /// Forgets what chats of the gateway never get; returns how much that was.
    ///
    /// Errors: not all of it is forgotten.
    pub fn clear_aside(&self) -> Result<usize, OutboxError> {
        let mut cleared = 0;
        for id in self.ids()? {
            for name in self.names(&id, ASIDE)? {
                self.remove(&id, &name)?;
                cleared += 1;
            }
        }
        Ok(cleared)
    }

    /// The documents of a lane.
    #[cfg(test)]
    pub(super) fn all_names(&self, id: &LaneId) -> Vec<String> {
        self.names(id, "").unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        lock(&self.writing)
    }

    fn folder(&self) -> Result<DocumentFolder, DocumentError> {
        DocumentFolder::parse(format!("outbox/{}", self.gateway))
    }

    fn name(&self, id: &LaneId, name: &str) -> Result<DocumentName, DocumentError> {
        self.folder()?.folder(&id.0)?.document(name)
    }

    /// What a chat has of its sessions.
    fn sessions_of(&self, chat: &Chat) -> Result<Vec<LaneSession>, OutboxError> {
        let _writing = self.lock();
        let lane = self.read_lane(&LaneId::of(chat))?.map(|(lane, _)| lane);
        Ok(lane.map(|lane| lane.sessions).unwrap_or_default())
    }

    /// The documents of a lane whose names begin like that.
    fn names(&self, id: &LaneId, begin: &str) -> Result<Vec<String>, DocumentError> {
        let mut names = self.documents.list(&self.folder()?.folder(&id.0)?)?;
        names.retain(|name| name.starts_with(begin) && name.ends_with(JSON));
        Ok(names)
    }

    /// What a chat has. What is damaged is kept beside it, and the chat begins anew: it is not dumb for ever.
    fn read_lane(&self, id: &LaneId) -> Result<Option<(LaneDocument, VersionedText)>, OutboxError> {
        let name = self.name(id, LANE)?;
        let error = match self.read::<LaneDocument>(&name) {
            Err(error) if error.is_for_good() => error,
            read => return read,
        };
        if let Ok(Some(there)) = again_if_busy(|| self.documents.read(&name)) {
            let aside = self.name(id, &named_by(DAMAGED, &there.text))?;
            again_if_busy(|| self.documents.replace(&aside, &there.text))?;
            let aside = self.documents.location(&aside);
            log::warn!(
                "what a chat has is begun anew, and what was there is kept in {aside}: {error}"
            );
        } else {
            log::warn!("what a chat has is begun anew, and what was there is gone: {error}");
        }
        again_if_busy(|| self.documents.delete(&name))?;
        Ok(None)
    }

    fn read<T: DeserializeOwned>(
        &self,
        name: &DocumentName,
    ) -> Result<Option<(T, VersionedText)>, OutboxError> {
        let Some(text) = again_if_busy(|| self.documents.read(name))? else {
            return Ok(None);
        };
        let damaged = |error: serde_json::Error| {
            OutboxError::Damaged(format!("{} ({error})", self.documents.location(name)))
        };
        let read = serde_json::from_str(&text.text).map_err(damaged)?;
        Ok(Some((read, text)))
    }

    /// Puts a document in the place of whatever is there.
    fn replace(&self, name: &DocumentName, document: &impl Serialize) -> Result<(), OutboxError> {
        let text = serde_json::to_string(document);
        let text = text.map_err(|error| OutboxError::Damaged(error.to_string()))?;
        Ok(again_if_busy(|| self.documents.replace(name, &text))?)
    }

    fn write(
        &self,
        name: &DocumentName,
        before: Option<&VersionedText>,
        document: &impl Serialize,
    ) -> Result<(), OutboxError> {
        let text = serde_json::to_string(document);
        let text = text.map_err(|error| OutboxError::Damaged(error.to_string()))?;
        let expected = before.map(|before| &before.version);
        again_if_busy(|| self.documents.put_if(name, expected, &text))?;
        Ok(())
    }
}

impl Outbox for LaneStore {
    fn open_session(&self, chat: &Chat, session: &SessionId, from: Seq) -> Result<(), OutboxError> {
        let id = LaneId::of(chat);
        let name = self.name(&id, LANE)?;
        let _writing = self.lock();
        let before = self.read_lane(&id)?;
        let (mut lane, text) = match before {
            Some((lane, text)) => (lane, Some(text)),
            None => (LaneDocument::new(chat), None),
        };
        if lane.session(session).is_some() {
            return Ok(());
        }
        lane.sessions.push(LaneSession::new(session.clone(), from));
        self.write(&name, text.as_ref(), &lane)
    }

    fn post(&self, chat: &Chat, announcement: Announcement) -> Result<(), OutboxError> {
        let at = self.now();
        let key = announcement.key.map(|key| key.to_string());
        let key = key.unwrap_or_else(|| {
            // Unlike any other that waits: it need not be told again which one it was.
            MessageId::mint(at.as_millis(), u128::from(fastrand::u64(..))).to_string()
        });
        let id = LaneId::of(chat);
        let said = AnnouncementDocument {
            chat_id: chat.chat_id.clone(),
            thread_id: chat.thread_id.clone(),
            text: announcement.markdown,
            reply_to: announcement.reply_to,
            at,
            parts: 0,
        };
        let name = self.name(&id, &named_by(ANNOUNCEMENT, &key))?;
        {
            let _writing = self.lock();
            if self.read::<AnnouncementDocument>(&name)?.is_none() {
                self.write(&name, None, &said)?;
            }
        }
        self.sender.tell(SenderNews::Posted(chat.clone()));
        Ok(())
    }

    fn question(
        &self,
        chat: &Chat,
        message_id: &str,
        callback_data: &str,
    ) -> Result<Option<PressedButton>, OutboxError> {
        let pressed = self.sessions_of(chat)?;
        let pressed = pressed.iter().find_map(|one| {
            let sent = one.bubbles.iter().find_map(|sent| {
                let decision = sent.handles.get(callback_data)?;
                let mut ids = sent.parts.iter().map(|part| part.message_id.as_deref());
                // The press may be faster than the note that it was sent.
                let is_it = sent.parts.is_empty() || ids.any(|id| id == Some(message_id));
                is_it.then_some((sent, *decision))
            });
            let (sent, decision) = sent?;
            Some(PressedButton {
                session: one.session.clone(),
                call_id: sent.call_id.clone()?,
                decision,
            })
        });
        Ok(pressed)
    }

    fn has_asked(
        &self,
        chat: &Chat,
        session: &SessionId,
        call_id: &CallId,
    ) -> Result<bool, OutboxError> {
        let sessions = self.sessions_of(chat)?.into_iter();
        let mut sent = sessions
            .filter(|one| one.session == *session)
            .flat_map(|one| one.bubbles);
        Ok(sent.any(|sent| sent.call_id.as_ref() == Some(call_id)))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none_of_them(parts: &usize) -> bool {
    *parts == 0
}

/// The name of a document that stands for `key`, which may be anything.
fn named_by(begin: &str, key: &str) -> String {
    const DIGITS: usize = 32;
    let digest = digest::sha256(key.as_bytes());
    format!("{begin}{}{JSON}", &digest[..DIGITS])
}

/// Does it again while another process writes.
fn again_if_busy<T>(
    mut operation: impl FnMut() -> Result<T, DocumentError>,
) -> Result<T, DocumentError> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
    for _ in 1..TRIES {
        match operation() {
            Err(DocumentError::Busy(_)) => std::thread::sleep(PAUSE),
            ended => return ended,
        }
    }
    operation()
}
