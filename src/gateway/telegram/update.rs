//! What an update of the Bot API means in the words of the gateway protocol. Pure.
//!
//! Of an update no more is read than is needed, field by field: one of a kind that nobody knows is no fault,
//! and one that is damaged spoils no other.
//!
//! Source: <https://core.telegram.org/bots/api#update>, `#message`, `#messageentity`, `#chatmemberupdated`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::time::Timestamp;
use crate::gateway::protocol::{
    CallbackQuery, ChatSender, ChatType, MessageContent, MessageReceived, MessageRouting,
    QuotedMessage,
};

/// The kinds of updates that are asked for: without their names some would never come.
pub(super) const ALLOWED_UPDATES: [&str; 6] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
];

/// The topic that a group with topics always has; sends must not name it.
const GENERAL_TOPIC: i64 = 1;

/// The bot itself, as far as messages speak of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct BotUser {
    pub(super) id: i64,
    pub(super) username: String,
}

/// What an update says.
#[derive(Debug, PartialEq)]
pub(super) enum UpdateMeaning {
    Message(Box<UpdateMessage>),
    Press(Box<CallbackQuery>),
    Migrated {
        from: String,
        to: String,
    },
    State {
        chat_id: String,
        can_write: bool,
        why: String,
    },
    /// Nothing that concerns us.
    Nothing,
}

/// A message, with what stands in it by reference.
#[derive(Debug, PartialEq)]
pub(super) struct UpdateMessage {
    pub(super) message: MessageReceived,
    pub(super) files: Vec<UpdateFile>,
    /// Others with the same id belong to it.
    pub(super) album: Option<String>,
}

impl UpdateMessage {
    /// Makes another one of the same album a part of it.
    pub(super) fn absorb(&mut self, other: UpdateMessage) {
        self.files.extend(other.files);
        self.message.mentions_bot |= other.message.mentions_bot;
        self.message.reply_to_bot |= other.message.reply_to_bot;
        if let (
            MessageContent::Media { caption, .. },
            MessageContent::Media {
                caption: Some(more),
                ..
            },
        ) = (&mut self.message.content, other.message.content)
        {
            *caption = match caption.take() {
                Some(words) => Some(format!("{words}\n{more}")),
                None => Some(more),
            };
        }
    }
}

/// A file on Telegram's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UpdateFile {
    pub(super) file_id: String,
    pub(super) name: Option<String>,
    pub(super) mime: String,
    pub(super) bytes: Option<u64>,
    pub(super) is_voice: bool,
}

/// The number of an update; by it alone it can be confirmed.
/// An update as it came. Each is read for itself, so that one that cannot be read spoils no other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawUpdate {
    /// Its number; `None` for what has none.
    pub(super) id: Option<i64>,
    /// What it says; as a text where that is no JSON that we can read.
    pub(super) body: Value,
    /// Why it cannot be read.
    pub(super) fault: Option<String>,
}

#[derive(Deserialize)]
struct UpdateHead {
    update_id: Option<i64>,
}

impl RawUpdate {
    /// From its JSON, which may hold what is legal and yet cannot be read: half a character, too deep a nesting.
    pub(super) fn read(raw: &RawValue) -> RawUpdate {
        let text = raw.get();
        // It passes over all else without reading it.
        let head = serde_json::from_str::<UpdateHead>(text);
        let (body, fault) = match serde_json::from_str::<Value>(text) {
            Ok(body) => (body, None),
            Err(error) => (Value::String(text.to_owned()), Some(error.to_string())),
        };
        RawUpdate {
            id: head.ok().and_then(|head| head.update_id),
            body,
            fault,
        }
    }
}

impl UpdateMeaning {
    /// The chat that it is about.
    pub(super) fn chat_id(&self) -> Option<&str> {
        match self {
            UpdateMeaning::Message(said) => Some(&said.message.chat_id),
            UpdateMeaning::Press(press) => Some(&press.chat_id),
            UpdateMeaning::Migrated { from, .. } => Some(from),
            UpdateMeaning::State { chat_id, .. } => Some(chat_id),
            UpdateMeaning::Nothing => None,
        }
    }
}

/// What an update says to the bot `me`.
///
/// Errors: a field that each such update has is missing.
pub(super) fn meaning(update: &Value, me: &BotUser) -> Result<UpdateMeaning, serde_json::Error> {
    let part = |name: &str| update.get(name).filter(|part| !part.is_null());
    for (name, is_edited) in [
        ("message", false),
        ("channel_post", false),
        ("edited_message", true),
        ("edited_channel_post", true),
    ] {
        if let Some(message) = part(name) {
            return Ok(RawMessage::deserialize(message)?.meaning(me, is_edited));
        }
    }
    if let Some(press) = part("callback_query") {
        return Ok(RawPress::deserialize(press)?.meaning());
    }
    match part("my_chat_member") {
        Some(changed) => Ok(RawMembership::deserialize(changed)?.meaning()),
        None => Ok(UpdateMeaning::Nothing),
    }
}

#[derive(Debug, Deserialize)]
struct RawChat {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
    title: Option<String>,
    username: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawUser {
    id: i64,
    #[serde(default)]
    is_bot: bool,
    #[serde(default)]
    first_name: String,
    last_name: Option<String>,
    username: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawMessage {
    message_id: i64,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    from: Option<RawUser>,
    sender_chat: Option<RawChat>,
    chat: RawChat,
    date: i64,
    forward_origin: Option<RawOrigin>,
    reply_to_message: Option<Box<RawAnswered>>,
    external_reply: Option<RawElsewhere>,
    quote: Option<RawQuote>,
    media_group_id: Option<String>,
    text: Option<String>,
    #[serde(default)]
    entities: Vec<RawEntity>,
    caption: Option<String>,
    #[serde(default)]
    caption_entities: Vec<RawEntity>,
    migrate_to_chat_id: Option<i64>,
    migrate_from_chat_id: Option<i64>,
    location: Option<RawLocation>,
    contact: Option<RawContact>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct RawAnswered {
    message_id: i64,
    from: Option<RawUser>,
    sender_chat: Option<RawChat>,
    text: Option<String>,
    caption: Option<String>,
    forum_topic_created: Option<Value>,
}

/// A message of another chat that is answered.
#[derive(Debug, Deserialize)]
struct RawElsewhere {
    origin: Option<RawOrigin>,
}

#[derive(Debug, Deserialize)]
struct RawQuote {
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RawOrigin {
    User {
        sender_user: RawUser,
    },
    HiddenUser {
        sender_user_name: String,
    },
    Chat {
        sender_chat: RawChat,
    },
    Channel {
        chat: RawChat,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct RawEntity {
    #[serde(rename = "type")]
    kind: String,
    /// In UTF-16 units.
    offset: usize,
    /// In UTF-16 units.
    length: usize,
    user: Option<RawUser>,
}

#[derive(Debug, Deserialize)]
struct RawLocation {
    latitude: f64,
    longitude: f64,
}

#[derive(Debug, Deserialize)]
struct RawContact {
    phone_number: String,
    first_name: String,
    last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawFile {
    file_id: String,
    file_name: Option<String>,
    mime_type: Option<String>,
    file_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct RawPress {
    id: String,
    from: RawUser,
    message: Option<RawPressed>,
    data: Option<String>,
}

/// The message of a button; of one that is too old no more is told.
#[derive(Debug, Deserialize)]
struct RawPressed {
    message_id: i64,
    chat: RawChat,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
}

#[derive(Debug, Deserialize)]
struct RawMembership {
    chat: RawChat,
    new_chat_member: RawMember,
}

#[derive(Debug, Deserialize)]
struct RawMember {
    status: String,
    #[serde(default)]
    can_send_messages: bool,
}

impl RawChat {
    fn chat_type(&self) -> ChatType {
        match self.kind.as_str() {
            "private" => ChatType::Dm,
            "channel" => ChatType::Channel,
            _ => ChatType::Group,
        }
    }

    fn shown(&self) -> String {
        let name = self.title.as_ref().or(self.username.as_ref());
        name.cloned().unwrap_or_else(|| self.id.to_string())
    }

    fn as_sender(&self) -> ChatSender {
        ChatSender {
            id: self.id.to_string(),
            username: self.username.clone(),
            display_name: self.title.clone(),
            is_bot: false,
        }
    }

    fn routing(&self, sender: &ChatSender, thread: Option<i64>) -> MessageRouting {
        let thread = thread.map(|id| ("thread_id".to_owned(), id.to_string()));
        MessageRouting {
            channel: "telegram".to_owned(),
            chat_type: self.chat_type(),
            chat_id: self.id.to_string(),
            sender_id: sender.id.clone(),
            more: thread.into_iter().collect(),
        }
    }
}

impl RawUser {
    fn shown(&self) -> String {
        full_name(&self.first_name, self.last_name.as_deref())
    }

    fn as_sender(&self) -> ChatSender {
        ChatSender {
            id: self.id.to_string(),
            username: self.username.clone(),
            display_name: Some(self.shown()),
            is_bot: self.is_bot,
        }
    }
}

impl RawMessage {
    fn meaning(self, me: &BotUser, is_edited: bool) -> UpdateMeaning {
        if let Some(to) = self.migrate_to_chat_id {
            return migrated(self.chat.id, to);
        }
        if let Some(from) = self.migrate_from_chat_id {
            return migrated(from, self.chat.id);
        }
        let file = self.file();
        let Some((content, kind)) = self.content(file.is_some()) else {
            return UpdateMeaning::Nothing;
        };
        let (sender, is_verified) = self.sender();
        let thread = topic(self.message_thread_id, self.is_topic_message);
        let mut metadata = json!({"bot_username": me.username});
        if let Some(kind) = kind {
            metadata["kind"] = json!(kind);
        }
        if !is_verified {
            metadata["verified"] = json!(false);
        }
        let answered = self.answered();
        let date = u64::try_from(self.date).unwrap_or_default();
        let message = MessageReceived {
            message_id: self.message_id.to_string(),
            chat_id: self.chat.id.to_string(),
            routing: self.chat.routing(&sender, thread),
            sender,
            content,
            reply_to: answered.map(|answered| answered.message_id.to_string()),
            mentions_bot: self.mentions(me),
            reply_to_bot: answered.is_some_and(|one| one.is_by(me)),
            timestamp: Some(Timestamp::from_micros(date.saturating_mul(1_000_000)).to_string()),
            metadata: Some(metadata),
            edited: is_edited,
            forwarded_from: self.forward_origin.as_ref().map(RawOrigin::shown),
            quoted: self.quoted(),
        };
        UpdateMeaning::Message(Box::new(UpdateMessage {
            message,
            files: file.into_iter().collect(),
            album: self.media_group_id.filter(|_| !is_edited),
        }))
    }

    /// Who wrote it, and whether that proves anything.
    fn sender(&self) -> (ChatSender, bool) {
        match (&self.sender_chat, &self.from) {
            // A group's administrators who do not show themselves, or a channel: any of several people.
            (Some(chat), _) => (chat.as_sender(), false),
            (None, Some(user)) => (user.as_sender(), true),
            (None, None) => (self.chat.as_sender(), false),
        }
    }

    /// The words that it answers, here or in another chat.
    fn quoted(&self) -> Option<QuotedMessage> {
        if let Some(answered) = self.answered() {
            return answered.quoted(self.quote.as_ref());
        }
        let elsewhere = self.external_reply.as_ref()?;
        Some(QuotedMessage {
            sender: elsewhere.origin.as_ref().map(RawOrigin::shown),
            text: self.quote.as_ref()?.text.clone(),
        })
    }

    /// The message that it answers; the first one of a topic is answered by all of them.
    fn answered(&self) -> Option<&RawAnswered> {
        let answered = self.reply_to_message.as_deref()?;
        answered.forum_topic_created.is_none().then_some(answered)
    }

    /// What was said, and the platform's word for what cannot be read; `None` for what nobody said.
    fn content(&self, has_file: bool) -> Option<(MessageContent, Option<&'static str>)> {
        if let Some(text) = &self.text {
            let text = text.clone();
            return Some((MessageContent::Text { text }, None));
        }
        if let Some(place) = &self.location {
            let content = MessageContent::Location {
                latitude: place.latitude,
                longitude: place.longitude,
            };
            return Some((content, Some("location")));
        }
        if let Some(contact) = &self.contact {
            let content = MessageContent::Contact {
                name: full_name(&contact.first_name, contact.last_name.as_deref()),
                phone: contact.phone_number.clone(),
            };
            return Some((content, Some("contact")));
        }
        let has = |kind: &&str| self.more.contains_key(*kind);
        if let Some(kind) = FILES.iter().map(|(kind, _)| *kind).find(has) {
            let content = MessageContent::Media {
                media_type: kind.to_owned(),
                url: None,
                caption: self.caption.clone(),
            };
            return Some((content, (!has_file).then_some(kind)));
        }
        let kind = UNREADABLE.into_iter().find(has)?;
        Some((MessageContent::Unknown, Some(kind)))
    }

    fn file(&self) -> Option<UpdateFile> {
        FILES.iter().find_map(|(kind, mime)| {
            let found = self.more.get(*kind)?;
            // Of a photo there are several sizes, the largest one last.
            let found = found.as_array().map_or(Some(found), |sizes| sizes.last())?;
            let file = RawFile::deserialize(found).ok()?;
            Some(UpdateFile {
                file_id: file.file_id,
                name: file.file_name,
                mime: file.mime_type.unwrap_or_else(|| (*mime).to_owned()),
                bytes: file.file_size,
                is_voice: *kind == "voice",
            })
        })
    }

    /// Calls the bot by its name. What stands in code is no entity of these kinds.
    fn mentions(&self, me: &BotUser) -> bool {
        let (words, entities) = match &self.text {
            Some(text) => (text, &self.entities),
            None => match &self.caption {
                Some(caption) => (caption, &self.caption_entities),
                None => return false,
            },
        };
        let units: Vec<u16> = words.encode_utf16().collect();
        entities.iter().any(|entity| entity.is_of(me, &units))
    }
}

/// The kinds of messages that are a file, with the media type of those that do not say it.
const FILES: [(&str, &str); 7] = [
    ("photo", "image/jpeg"),
    // It is a document too, for programs of before there were animations.
    ("animation", "video/mp4"),
    ("document", "application/octet-stream"),
    ("voice", "audio/ogg"),
    ("audio", "audio/mpeg"),
    ("video", "video/mp4"),
    ("video_note", "video/mp4"),
];

/// The kinds of messages in which there is nothing to read.
const UNREADABLE: [&str; 11] = [
    "sticker",
    "poll",
    "game",
    "dice",
    "venue",
    "story",
    "invoice",
    "live_photo",
    "paid_media",
    "checklist",
    "rich_message",
];

impl RawEntity {
    fn is_of(&self, me: &BotUser, units: &[u16]) -> bool {
        if self.kind == "text_mention" {
            return self.user.as_ref().is_some_and(|user| user.id == me.id);
        }
        let end = self.offset.checked_add(self.length);
        let words = end.and_then(|end| units.get(self.offset..end));
        let words = String::from_utf16_lossy(words.unwrap_or_default());
        let name = match self.kind.as_str() {
            "mention" => words.strip_prefix('@'),
            "bot_command" => words.split_once('@').map(|(_, name)| name),
            _ => None,
        };
        name.is_some_and(|name| name.eq_ignore_ascii_case(&me.username))
    }
}

impl RawAnswered {
    fn is_by(&self, me: &BotUser) -> bool {
        self.from.as_ref().is_some_and(|user| user.id == me.id)
    }

    fn quoted(&self, quote: Option<&RawQuote>) -> Option<QuotedMessage> {
        let chosen = quote.map(|quote| &quote.text);
        let text = chosen.or(self.text.as_ref()).or(self.caption.as_ref())?;
        let by_chat = self.sender_chat.as_ref().map(RawChat::shown);
        Some(QuotedMessage {
            sender: by_chat.or_else(|| self.from.as_ref().map(RawUser::shown)),
            text: text.clone(),
        })
    }
}

impl RawOrigin {
    fn shown(&self) -> String {
        match self {
            RawOrigin::User { sender_user } => sender_user.shown(),
            RawOrigin::HiddenUser { sender_user_name } => sender_user_name.clone(),
            RawOrigin::Chat { sender_chat: chat } | RawOrigin::Channel { chat } => chat.shown(),
            RawOrigin::Unknown => "somebody".to_owned(),
        }
    }
}

impl RawPress {
    fn meaning(self) -> UpdateMeaning {
        let (Some(below), Some(data)) = (self.message, self.data) else {
            return UpdateMeaning::Nothing;
        };
        let sender = self.from.as_sender();
        let thread = topic(below.message_thread_id, below.is_topic_message);
        UpdateMeaning::Press(Box::new(CallbackQuery {
            callback_query_id: self.id,
            chat_id: below.chat.id.to_string(),
            routing: Some(below.chat.routing(&sender, thread)),
            sender,
            message_id: below.message_id.to_string(),
            data,
        }))
    }
}

impl RawMembership {
    fn meaning(self) -> UpdateMeaning {
        let is_dm = self.chat.chat_type() == ChatType::Dm;
        let member = &self.new_chat_member;
        let (can_write, why) = match member.status.as_str() {
            "kicked" if is_dm => (false, "the person has blocked the bot"),
            "kicked" | "left" => (false, "the bot is not in the group any more"),
            "restricted" if !member.can_send_messages => {
                (false, "the bot may not write in the group")
            }
            _ => (true, ""),
        };
        UpdateMeaning::State {
            chat_id: self.chat.id.to_string(),
            can_write,
            why: why.to_owned(),
        }
    }
}

/// The topic of a group that has some: in others a plain reply bears a number of a thread that is none.
fn topic(thread_id: Option<i64>, is_topic_message: bool) -> Option<i64> {
    thread_id.filter(|id| is_topic_message && *id != GENERAL_TOPIC)
}

fn full_name(first: &str, last: Option<&str>) -> String {
    match last {
        Some(last) => format!("{first} {last}"),
        None => first.to_owned(),
    }
}

fn migrated(from: i64, to: i64) -> UpdateMeaning {
    UpdateMeaning::Migrated {
        from: from.to_string(),
        to: to.to_string(),
    }
}

#[cfg(test)]
mod tests;
