//! People, and what they do: the updates that the bot gets.

use serde_json::{Map, Value, json};

use super::FakeTelegram;
use super::methods::without_reply;
use super::world::{Chat, ChatKind, Press, Sent, ShownMessage, Standing, World, unix_seconds};

/// Who speaks for an anonymous administrator. Source: the API's documentation of `sender_chat`.
const ANONYMOUS_ADMIN: i64 = 1_087_968_824;

/// Somebody with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The id of the chat of the bot and this person, too.
    pub id: i64,
    pub name: String,
    pub username: Option<String>,
    pub is_bot: bool,
}

impl Person {
    pub fn json(&self) -> Value {
        let mut json = json!({"id": self.id, "is_bot": self.is_bot, "first_name": self.name});
        if let Some(username) = &self.username {
            json["username"] = json!(username);
        }
        json
    }
}

/// A message that somebody is about to send.
#[must_use]
pub struct Draft<'a> {
    telegram: &'a FakeTelegram,
    chat: i64,
    from: Person,
    /// Of the message.
    fields: Map<String, Value>,
    /// Each with the part that it is about.
    marks: Vec<(Value, String)>,
    reply_to: Option<i64>,
    topic: Option<i64>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub update: i64,
    pub message: i64,
}

impl FakeTelegram {
    // --- who and where ---

    /// Somebody who has not written to the bot yet.
    pub fn person(&self, id: i64, name: &str) -> Person {
        self.account(id, name, false)
    }

    /// Another bot.
    pub fn other_bot(&self, id: i64, name: &str) -> Person {
        self.account(id, name, true)
    }

    fn account(&self, id: i64, name: &str, is_bot: bool) -> Person {
        let username = format!("{}_{id}", name.to_lowercase().replace(' ', "_"));
        self.change(|world| {
            let mut chat = Chat::new(id, ChatKind::Private, name);
            chat.standing = Standing::NeverStarted;
            chat.username = Some(username.clone());
            world.chats.entry(id).or_insert(chat);
        });
        Person {
            id,
            name: name.to_owned(),
            username: Some(username),
            is_bot,
        }
    }

    /// A small group with the bot in it; returns its id.
    pub fn group(&self, title: &str) -> i64 {
        self.add_chat(-4_000_001, ChatKind::Group, title)
    }

    pub fn supergroup(&self, title: &str) -> i64 {
        self.add_chat(-1_001_000_000_001, ChatKind::Supergroup, title)
    }

    pub fn channel(&self, title: &str) -> i64 {
        self.add_chat(-1_002_000_000_001, ChatKind::Channel, title)
    }

    /// A supergroup with topics of these names; returns its id and theirs.
    pub fn forum(&self, title: &str, topics: &[&str]) -> (i64, Vec<i64>) {
        let id = self.add_chat(-1_003_000_000_001, ChatKind::Forum, title);
        let owner = Person {
            id: 4_711,
            name: "Owner".to_owned(),
            username: None,
            is_bot: false,
        };
        let topics = topics.iter().map(|name| {
            self.change(|world| {
                let chat = world.chats.get_mut(&id).unwrap();
                let json = json!({"forum_topic_created": {"name": name, "icon_color": 7_322_096}});
                let message = ShownMessage {
                    json,
                    ..ShownMessage::default()
                };
                // The message that tells of the topic gives it its number; 1 is the general one.
                chat.next_message = chat.next_message.max(2);
                let shown = chat.show(message, &owner.json());
                let topic = shown.id;
                shown.json["message_thread_id"] = json!(topic);
                shown.json["is_topic_message"] = json!(true);
                chat.topics.insert(topic, (*name).to_owned());
                topic
            })
        });
        (id, topics.collect())
    }

    fn add_chat(&self, first: i64, kind: ChatKind, title: &str) -> i64 {
        self.change(|world| {
            let ids = (0..).map(|n| first - n);
            let id = ids.into_iter().find(|id| !world.chats.contains_key(id));
            let id = id.expect("there are ids without end");
            world.chats.insert(id, Chat::new(id, kind, title));
            id
        })
    }

    /// A topic is closed: nobody but administrators writes there.
    pub fn close_topic(&self, chat: i64, topic: i64) {
        self.change_chat(chat, |chat| chat.closed_topics.insert(topic));
    }

    /// A topic is gone.
    pub fn delete_topic(&self, chat: i64, topic: i64) {
        self.change_chat(chat, |chat| chat.topics.remove(&topic));
    }

    // --- what they write ---

    /// Begins a message.
    pub fn message(&self, chat: i64, from: &Person) -> Draft<'_> {
        Draft {
            telegram: self,
            chat,
            from: from.clone(),
            fields: Map::new(),
            marks: Vec::new(),
            reply_to: None,
            topic: None,
        }
    }

    /// Writes to the bot, in the chat of the two.
    pub fn says(&self, from: &Person, text: &str) -> Told {
        self.says_in(from.id, from, text)
    }

    pub fn says_in(&self, chat: i64, from: &Person, text: &str) -> Told {
        self.message(chat, from).text(text).send()
    }

    /// Sends photos as an album with a caption; returns what became of each.
    pub fn album(&self, chat: i64, from: &Person, photos: &[&[u8]], caption: &str) -> Vec<Told> {
        let group = json!(format!("album{}", self.now().as_nanos()));
        let drafts = photos.iter().enumerate().map(|(number, photo)| {
            let draft = self.message(chat, from).photo(photo);
            let draft = draft.field("media_group_id", group.clone());
            if number == 0 {
                draft.caption(caption)
            } else {
                draft
            }
        });
        let drafts: Vec<Draft<'_>> = drafts.collect();
        // They come together.
        self.change(|world| drafts.into_iter().map(|draft| draft.put(world)).collect())
    }

    /// Changes a message of somebody's.
    pub fn edits(&self, chat: i64, message: i64, text: &str) -> i64 {
        self.change(|world| {
            let shown = world.chats.get_mut(&chat).unwrap();
            let shown = shown.messages.get_mut(&message).unwrap();
            let name = if shown.json["caption"].is_string() {
                "caption"
            } else {
                "text"
            };
            shown.json[name] = json!(text);
            shown.json["edit_date"] = json!(unix_seconds());
            shown.text = text.to_owned();
            mark(&mut shown.json, name, text, &[]);
            let json = shown.json.clone();
            world.push_update(json!({"edited_message": json}))
        })
    }

    /// Presses the button of a message of the bot's that says so; returns the query's id.
    pub fn press(&self, chat: i64, message: i64, label: &str, from: &Person) -> String {
        let shown = self.shown(chat);
        let shown = shown.iter().find(|shown| shown.id == message);
        let shown = shown.expect("a message that is there");
        let found = shown.buttons.iter().find(|(found, _)| found == label);
        let (_, data) = found.unwrap_or_else(|| panic!("no {label} in {:?}", shown.labels()));
        self.press_data(chat, message, data, from)
    }

    /// Presses a button that may be gone: people see old messages, too.
    pub fn press_data(&self, chat: i64, message: i64, data: &str, from: &Person) -> String {
        self.change(|world| {
            let id = format!("43{:016}", world.presses.len());
            let at = world.clock.now();
            world.presses.insert(id.clone(), Press { at, answer: None });
            let shown = world.chats[&chat].messages.get(&message);
            let json = match shown.filter(|shown| !shown.is_deleted) {
                Some(shown) => shown.json.clone(),
                None => {
                    json!({"chat": world.chats[&chat].json(), "message_id": message, "date": 0})
                }
            };
            world.push_update(json!({"callback_query": {
                "id": id, "from": from.json(), "message": json,
                "chat_instance": format!("{chat}"), "data": data,
            }}));
            id
        })
    }

    /// How the bot answered a press, once it did.
    pub fn answer_to(&self, press: &str) -> Option<String> {
        self.shared.lock().presses[press].answer.clone()
    }

    pub fn wait_for_answer_to(&self, press: &str) -> String {
        self.wait("an answer to a press", |world| {
            world.presses[press].answer.clone()
        })
    }

    // --- what they do to the bot ---

    pub fn blocks(&self, person: &Person) {
        self.membership(person.id, person, Standing::Blocked, "member", "kicked");
    }

    pub fn unblocks(&self, person: &Person) {
        self.membership(person.id, person, Standing::Open, "kicked", "member");
    }

    /// The account is gone, which nobody tells.
    pub fn deactivates(&self, person: &Person) {
        self.stand(person.id, Standing::Deactivated);
    }

    pub fn kicks_bot(&self, chat: i64, by: &Person) {
        self.membership(chat, by, Standing::Kicked, "member", "kicked");
    }

    pub fn adds_bot(&self, chat: i64, by: &Person) {
        self.membership(chat, by, Standing::Open, "left", "member");
    }

    /// What the bot may do in a chat changes, which nobody tells.
    pub fn stand(&self, chat: i64, standing: Standing) {
        self.change_chat(chat, |chat| chat.standing = standing);
    }

    fn membership(&self, chat: i64, by: &Person, standing: Standing, old: &str, new: &str) {
        self.change(|world| {
            let member = |status| json!({"user": world.bot.json(), "status": status});
            let (old, new) = (member(old), member(new));
            let chat = world.chats.get_mut(&chat).unwrap();
            chat.standing = standing;
            let chat = chat.json();
            world.push_update(json!({"my_chat_member": {
                "chat": chat, "from": by.json(), "date": unix_seconds(),
                "old_chat_member": old, "new_chat_member": new,
            }}));
        });
    }

    /// A group becomes a supergroup, and both say so; returns the new id.
    pub fn migrates(&self, chat: i64) -> i64 {
        let new = self.migrates_silently(chat);
        self.change(|world| {
            let mut serve = |chat: i64, field: &str, other: i64| {
                let mut json = json!({});
                json[field] = json!(other);
                let message = ShownMessage {
                    json,
                    ..ShownMessage::default()
                };
                let admin = json!({"id": ANONYMOUS_ADMIN, "is_bot": true, "first_name": "Group"});
                let shown = world.chats.get_mut(&chat).unwrap().show(message, &admin);
                let json = shown.json.clone();
                world.push_update(json!({"message": json}));
            };
            serve(chat, "migrate_to_chat_id", new);
            serve(new, "migrate_from_chat_id", chat);
        });
        new
    }

    /// The same where only the answer to the next message tells.
    pub fn migrates_silently(&self, chat: i64) -> i64 {
        let title = self.shared.lock().chats[&chat].title.clone();
        let new = self.supergroup(&title);
        self.stand(chat, Standing::MigratedTo(new));
        new
    }

    /// An update of any shape, without its id; returns that.
    pub fn raw(&self, update: Value) -> i64 {
        self.change(|world| world.push_raw(update))
    }

    fn change_chat<T>(&self, chat: i64, change: impl FnOnce(&mut Chat) -> T) -> T {
        self.change(|world| change(world.chats.get_mut(&chat).unwrap()))
    }
}

impl Draft<'_> {
    /// What it says. Names and commands in it are marked, as Telegram does.
    pub fn text(self, text: &str) -> Self {
        self.field("text", json!(text))
    }

    pub fn caption(self, text: &str) -> Self {
        self.field("caption", json!(text))
    }

    /// Marks the first `part` of the text: `code`, `pre`, `bold`, …
    pub fn mark(mut self, kind: &str, part: &str) -> Self {
        self.marks.push((json!({"type": kind}), part.to_owned()));
        self
    }

    /// Names somebody who need not have a username.
    pub fn names(mut self, person: &Person, part: &str) -> Self {
        let mark = json!({"type": "text_mention", "user": person.json()});
        self.marks.push((mark, part.to_owned()));
        self
    }

    pub fn photo(self, bytes: &[u8]) -> Self {
        let id = self.store("photo.jpg", bytes);
        let size = |width: u64, id: &str| {
            json!({"file_id": id, "file_unique_id": format!("u{id}"), "width": width,
                   "height": width, "file_size": bytes.len()})
        };
        let small = self.store("small.jpg", b"small");
        self.field("photo", json!([size(90, &small), size(1280, &id)]))
    }

    pub fn document(self, name: &str, mime: &str, bytes: &[u8]) -> Self {
        let size = bytes.len() as u64;
        self.document_of_size(name, mime, bytes, size)
    }

    /// The same with another size than it has.
    pub fn document_of_size(self, name: &str, mime: &str, bytes: &[u8], size: u64) -> Self {
        let id = self
            .telegram
            .change(|world| world.store_file(name, bytes, size));
        self.field(
            "document",
            json!({"file_id": id, "file_unique_id": format!("u{id}"), "file_name": name,
                   "mime_type": mime, "file_size": size}),
        )
    }

    pub fn voice(self, bytes: &[u8]) -> Self {
        let id = self.store("voice.oga", bytes);
        self.field(
            "voice",
            json!({"file_id": id, "file_unique_id": format!("u{id}"), "duration": 3,
                   "mime_type": "audio/ogg", "file_size": bytes.len()}),
        )
    }

    pub fn sticker(self, emoji: &str) -> Self {
        self.field(
            "sticker",
            json!({"file_id": "CAAC", "file_unique_id": "uCAAC", "type": "regular", "width": 512,
                   "height": 512, "is_animated": false, "is_video": false, "emoji": emoji}),
        )
    }

    pub fn poll(self, question: &str) -> Self {
        let options = json!([{"text": "yes", "voter_count": 0}, {"text": "no", "voter_count": 0}]);
        self.field(
            "poll",
            json!({"id": "1", "question": question, "options": options, "total_voter_count": 0,
                   "is_closed": false, "is_anonymous": true, "type": "regular",
                   "allows_multiple_answers": false}),
        )
    }

    pub fn location(self, latitude: f64, longitude: f64) -> Self {
        self.field(
            "location",
            json!({"latitude": latitude, "longitude": longitude}),
        )
    }

    pub fn contact(self, name: &str, phone: &str) -> Self {
        self.field(
            "contact",
            json!({"first_name": name, "phone_number": phone}),
        )
    }

    pub fn game(self, title: &str) -> Self {
        self.field(
            "game",
            json!({"title": title, "description": title, "photo": []}),
        )
    }

    /// Any other field.
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    pub fn reply_to(mut self, message: i64) -> Self {
        self.reply_to = Some(message);
        self
    }

    /// Quotes a part of the message that it answers.
    pub fn quote(self, text: &str) -> Self {
        self.field(
            "quote",
            json!({"text": text, "position": 0, "is_manual": true}),
        )
    }

    pub fn forwarded_from(self, person: &Person) -> Self {
        let origin = json!({"type": "user", "date": unix_seconds(), "sender_user": person.json()});
        self.field("forward_origin", origin)
    }

    /// Of somebody who does not want to be found.
    pub fn forwarded_from_hidden(self, name: &str) -> Self {
        let origin =
            json!({"type": "hidden_user", "date": unix_seconds(), "sender_user_name": name});
        self.field("forward_origin", origin)
    }

    pub fn forwarded_from_channel(self, title: &str) -> Self {
        let chat = json!({"id": -1_009, "type": "channel", "title": title});
        let origin =
            json!({"type": "channel", "date": unix_seconds(), "chat": chat, "message_id": 5});
        self.field("forward_origin", origin)
    }

    /// In a topic of a forum.
    pub fn topic(mut self, topic: i64) -> Self {
        self.topic = Some(topic);
        self
    }

    /// As an administrator without a name.
    pub fn anonymous(mut self) -> Self {
        self.from = Person {
            id: ANONYMOUS_ADMIN,
            name: "Group".to_owned(),
            username: Some("GroupAnonymousBot".to_owned()),
            is_bot: true,
        };
        let chat = self.telegram.shared.lock().chats[&self.chat].json();
        self.field("sender_chat", chat)
    }

    /// Sends it.
    pub fn send(self) -> Told {
        let telegram = self.telegram;
        telegram.change(|world| self.put(world))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> String {
        let size = bytes.len() as u64;
        self.telegram
            .change(|world| world.store_file(name, bytes, size))
    }

    fn put(self, world: &mut World) -> Told {
        let now = world.clock.now();
        let chat = world
            .chats
            .get_mut(&self.chat)
            .expect("a chat that is there");
        if chat.standing == Standing::NeverStarted {
            chat.standing = Standing::Open;
        }
        let mut json = Value::Object(self.fields);
        let name = if json["caption"].is_string() {
            "caption"
        } else {
            "text"
        };
        let text = json[name].as_str().unwrap_or_default().to_owned();
        mark(&mut json, name, &text, &self.marks);
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        thread_of(chat, &mut json, self.topic, self.reply_to);
        let message = ShownMessage {
            text,
            reply_to: self.reply_to,
            topic: self.topic,
            at: now,
            file: None::<Sent>,
            json,
            ..ShownMessage::default()
        };
        let is_post = chat.kind == ChatKind::Channel;
        let from = if is_post {
            Value::Null
        } else {
            self.from.json()
        };
        let shown = chat.show(message, &from);
        let (id, json) = (shown.id, shown.json.clone());
        let kind = if is_post { "channel_post" } else { "message" };
        let mut update = json!({});
        update[kind] = json;
        Told {
            update: world.push_update(update),
            message: id,
        }
    }
}

/// Says in which thread a message is, as Telegram does: in a forum each message of a topic answers the
/// one that began it; in a supergroup without topics a reply has the number of what it answers.
fn thread_of(chat: &Chat, json: &mut Value, topic: Option<i64>, reply_to: Option<i64>) {
    let answered = reply_to.or(topic).and_then(|id| chat.messages.get(&id));
    if let Some(answered) = answered {
        json["reply_to_message"] = without_reply(&answered.json);
    }
    match (chat.kind, topic, reply_to) {
        (ChatKind::Forum, Some(topic), _) => {
            json["message_thread_id"] = json!(topic);
            json["is_topic_message"] = json!(true);
        }
        (ChatKind::Forum | ChatKind::Supergroup, None, Some(root)) => {
            json["message_thread_id"] = json!(root);
        }
        _ => {}
    }
}

/// Marks what a text has: what the test says, and names and commands outside of code.
fn mark(json: &mut Value, name: &str, text: &str, marks: &[(Value, String)]) {
    let mut entities = Vec::new();
    let mut taken = Vec::new();
    for (entity, part) in marks {
        let begin = text.find(part.as_str()).expect("a part of the text");
        taken.push(begin..begin + part.len());
        entities.push(placed(text, begin, part, entity.clone()));
    }
    for (begin, word) in words(text) {
        let is_taken = taken.iter().any(|range| range.contains(&begin));
        let kind = kind_of(word);
        if let Some(kind) = kind.filter(|_| !is_taken) {
            entities.push(placed(text, begin, word, json!({"type": kind})));
        }
    }
    entities.sort_by_key(|entity| entity["offset"].as_u64());
    let field = if name == "caption" {
        "caption_entities"
    } else {
        "entities"
    };
    if entities.is_empty() {
        json[field] = Value::Null;
    } else {
        json[field] = json!(entities);
    }
    if json[field].is_null()
        && let Some(fields) = json.as_object_mut()
    {
        fields.remove(field);
    }
}

/// With its place in units of UTF-16.
fn placed(text: &str, begin: usize, part: &str, mut entity: Value) -> Value {
    entity["offset"] = json!(text[..begin].encode_utf16().count());
    entity["length"] = json!(part.encode_utf16().count());
    entity
}

/// What may be a name or a command, with its place: it begins after no letter.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '/');
    let begins = text.char_indices().filter(move |(at, c)| {
        let before = text[..*at].chars().next_back();
        matches!(c, '@' | '/') && before.is_none_or(|before| !is_of_word(before))
    });
    begins.map(move |(at, _)| {
        let end = text[at..].find(|c: char| !is_of_word(c));
        (at, &text[at..end.map_or(text.len(), |end| at + end)])
    })
}

fn kind_of(word: &str) -> Option<&'static str> {
    let is_name =
        |name: &str| name.len() >= 3 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(name) = word.strip_prefix('@') {
        return is_name(name).then_some("mention");
    }
    let (command, bot) = word
        .strip_prefix('/')?
        .split_once('@')
        .map_or((word.strip_prefix('/')?, None), |(command, bot)| {
            (command, Some(bot))
        });
    let is_command = !command.is_empty()
        && command
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_')
        && bot.is_none_or(is_name);
    is_command.then_some("bot_command")
}

#[test]
fn the_kit_marks_names_and_commands_in_units_of_utf_16() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    telegram
        .message(ann.id, &ann)
        .text("\u{1f600} hi @ada_bot, a@b.c: /stop@ada_bot `@ada_bot`")
        .mark("code", "`@ada_bot`")
        .send();
    let shown = telegram.shown(ann.id);
    let entities = shown[0].json["entities"].clone();
    assert_eq!(
        entities,
        json!([
            {"type": "mention", "offset": 6, "length": 8},
            {"type": "bot_command", "offset": 23, "length": 13},
            {"type": "code", "offset": 37, "length": 10},
        ])
    );
}
