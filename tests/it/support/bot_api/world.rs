//! All that Telegram knows: chats and what they show, updates that wait, calls that came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::connection::Params;
use super::limits::Limits;
use super::methods::{Refusal, refuse};
use super::people::Person;
use super::trouble::Planned;
use super::{TOKEN_SECRET, Trouble};

/// The kinds of updates that come only to one who names them.
const ON_REQUEST: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];
/// How long "typing…" shows.
const TYPING: Duration = Duration::from_secs(5);

pub struct World {
    pub clock: Clock,
    pub bot: Person,
    pub is_revoked: bool,
    pub has_rival: bool,
    pub webhook: Option<String>,
    pub limits: Limits,
    pub troubles: Vec<Planned>,
    pub chats: BTreeMap<i64, Chat>,
    /// With their ids.
    pub updates: VecDeque<(i64, Value)>,
    pub next_update: i64,
    /// Counts polls, so that each knows whether it is the newest.
    pub newest_poll: u64,
    /// The kinds of updates that come; `None` before anybody said so.
    allowed: Option<Vec<String>>,
    pub calls: Vec<Call>,
    pub faults: Vec<String>,
    pub are_faults_allowed: bool,
    /// By their ids.
    pub presses: BTreeMap<String, Press>,
    /// By their ids.
    pub files: BTreeMap<String, StoredFile>,
    /// What the bot can be told, as it said so last.
    pub commands: Value,
    /// The open connections, to end them with the server.
    pub sockets: BTreeMap<usize, Arc<TcpStream>>,
}

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// By the clock of the world.
    pub at: Duration,
    /// By the system's.
    pub came: Instant,
    pub method: String,
    pub params: Value,
    pub files: Vec<Sent>,
    /// What the caller was told, if anything.
    pub status: Option<u16>,
    /// The answer; of one that was lost, what it would have been.
    pub answer: Value,
}

impl Call {
    /// The chat that it is about.
    pub fn chat(&self) -> Option<i64> {
        as_int(&self.params["chat_id"])
    }

    /// What it says.
    pub fn text(&self) -> &str {
        super::text_at(&self.params, "text")
    }

    /// Whether it did what it says, told or not.
    pub fn took_effect(&self) -> bool {
        self.answer["ok"] == true
    }
}

/// A file as the bot sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The name of the part.
    pub field: String,
    pub name: String,
    pub mime: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct StoredFile {
    pub path: String,
    /// What it is said to have.
    pub size: u64,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Press {
    pub at: Duration,
    /// The answer, once there is one.
    pub answer: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatKind {
    Private,
    Group,
    Supergroup,
    Forum,
    Channel,
}

/// Whether the bot may write to a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// Nobody has written to the bot yet.
    NeverStarted,
    Blocked,
    Deactivated,
    Kicked,
    /// It may read only.
    Muted,
    MigratedTo(i64),
}

#[derive(Debug, Clone)]
pub struct Chat {
    pub id: i64,
    pub kind: ChatKind,
    pub title: String,
    pub standing: Standing,
    pub username: Option<String>,
    /// With their names.
    pub topics: BTreeMap<i64, String>,
    pub closed_topics: BTreeSet<i64>,
    pub messages: BTreeMap<i64, ShownMessage>,
    pub next_message: i64,
    pub typing_until: Duration,
}

/// A message as a person sees it.
#[derive(Debug, Clone, Default)]
pub struct ShownMessage {
    pub id: i64,
    pub is_bots: bool,
    /// Its text, or the caption of its file.
    pub text: String,
    /// As it was sent, with its tags; empty where it came as plain text.
    pub html: String,
    /// What each button says, and the data behind it.
    pub buttons: Vec<(String, String)>,
    pub reply_to: Option<i64>,
    pub topic: Option<i64>,
    pub at: Duration,
    /// When it was edited, and to what.
    pub edits: Vec<(Duration, String)>,
    pub file: Option<Sent>,
    pub is_deleted: bool,
    /// As the API tells it.
    pub json: Value,
}

impl ShownMessage {
    /// What the buttons say.
    pub fn labels(&self) -> Vec<&str> {
        self.buttons
            .iter()
            .map(|(label, _)| label.as_str())
            .collect()
    }
}

/// Time as the world has it.
#[derive(Debug)]
pub struct Clock {
    /// Since when it goes as fast as it does.
    since: Instant,
    /// What it showed then.
    shown: Duration,
    factor: f64,
}

impl Clock {
    fn new() -> Clock {
        Clock {
            since: Instant::now(),
            shown: Duration::ZERO,
            factor: 1.0,
        }
    }

    pub fn now(&self) -> Duration {
        self.shown + self.since.elapsed().mul_f64(self.factor)
    }

    pub fn advance(&mut self, time: Duration) {
        self.shown += time;
    }

    pub fn speed(&mut self, factor: f64) {
        self.shown = self.now();
        self.since = Instant::now();
        self.factor = factor;
    }
}

impl World {
    pub fn of_bot(id: i64, username: &str) -> World {
        World {
            clock: Clock::new(),
            bot: Person {
                id,
                name: "Ada".to_owned(),
                username: Some(username.to_owned()),
                is_bot: true,
            },
            is_revoked: false,
            has_rival: false,
            webhook: None,
            limits: Limits::new(),
            troubles: Vec::new(),
            chats: BTreeMap::new(),
            updates: VecDeque::new(),
            next_update: 700_000_001,
            newest_poll: 0,
            allowed: None,
            calls: Vec::new(),
            faults: Vec::new(),
            are_faults_allowed: false,
            presses: BTreeMap::new(),
            files: BTreeMap::new(),
            commands: json!([]),
            sockets: BTreeMap::new(),
        }
    }

    pub fn token(&self) -> String {
        format!("{}:{TOKEN_SECRET}", self.bot.id)
    }

    pub fn chat(&self, id: i64) -> Option<&Chat> {
        self.chats.get(&id)
    }

    pub fn is_typing(&self, chat: i64) -> bool {
        let chat = self.chats.get(&chat);
        chat.is_some_and(|chat| self.clock.now() < chat.typing_until)
    }

    /// "typing…" shows for its time, or ends.
    pub fn set_typing(&mut self, chat: i64, is_typing: bool) {
        let now = self.clock.now();
        if let Some(chat) = self.chats.get_mut(&chat) {
            chat.typing_until = if is_typing { now + TYPING } else { now };
        }
    }

    pub fn check_token(&self, token: &str) -> Result<(), Refusal> {
        if token == self.token() && !self.is_revoked {
            Ok(())
        } else if token.contains(':') {
            Err(refuse(401, "Unauthorized"))
        } else {
            Err(refuse(404, "Not Found"))
        }
    }

    pub fn file_at(&self, path: &str) -> Option<Vec<u8>> {
        let found = self.files.values().find(|file| file.path == path)?;
        Some(found.bytes.clone())
    }

    // --- updates ---

    /// Has an update wait, if it is of a kind that is wanted; returns its id.
    pub fn push_update(&mut self, mut update: Value) -> i64 {
        let kind = update.as_object().and_then(|update| update.keys().next());
        let is_wanted = kind.is_none_or(|kind| match &self.allowed {
            Some(allowed) if !allowed.is_empty() => allowed.contains(kind),
            _ => !ON_REQUEST.contains(&kind.as_str()),
        });
        let id = self.next_update;
        if is_wanted {
            update["update_id"] = json!(id);
            self.updates.push_back((id, update));
            self.next_update += 1;
        }
        id
    }

    /// The same whatever it is.
    pub fn push_raw(&mut self, mut update: Value) -> i64 {
        let id = self.next_update;
        self.next_update += 1;
        if update.is_object() {
            update["update_id"] = json!(id);
        }
        self.updates.push_back((id, update));
        id
    }

    pub fn allow_updates(&mut self, kinds: &[Value]) {
        let kinds = kinds.iter().filter_map(Value::as_str);
        self.allowed = Some(kinds.map(str::to_owned).collect());
    }

    // --- calls ---

    pub fn plan(&mut self, method: &str, chat: Option<i64>, times: usize, trouble: Trouble) {
        let planned = Planned::new(method, chat, times, trouble);
        self.troubles.push(planned);
    }

    /// Keeps a call; returns its number and how it is to fail.
    pub fn begin_call(&mut self, method: &str, params: &Params) -> (usize, Option<Trouble>) {
        self.calls.push(Call {
            at: self.clock.now(),
            came: Instant::now(),
            method: method.to_owned(),
            params: Value::Object(params.fields.clone()),
            files: params.files.clone(),
            status: None,
            answer: Value::Null,
        });
        let mut planned = self.troubles.iter_mut();
        let trouble = planned.find_map(|planned| planned.take(method, params.chat()));
        (self.calls.len() - 1, trouble)
    }

    pub fn end_call(&mut self, number: usize, status: Option<u16>, answer: &Value) {
        let call = &mut self.calls[number];
        call.status = status;
        call.answer = answer.clone();
    }

    /// 429 for so long, as far as the call is about a chat.
    pub fn flood(&mut self, params: &Params, seconds: u64) -> Refusal {
        let now = self.clock.now();
        if let Some(chat) = params.chat() {
            self.limits.block(chat, now, seconds);
        }
        super::methods::too_many(seconds)
    }

    pub fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// What there is, for one who looks why a test fails.
    pub fn told(&self) -> String {
        let mut told = String::new();
        for call in self.calls.iter().filter(|call| call.method != "getUpdates") {
            let Call {
                at,
                method,
                params,
                status,
                answer,
                ..
            } = call;
            told += &format!("{at:?} {method} {params} -> {status:?} {answer}\n");
        }
        let polls = self.calls.iter().filter(|call| call.method == "getUpdates");
        told += &format!("{} polls\n", polls.count());
        for (_, update) in &self.updates {
            told += &format!("waits: {update}\n");
        }
        for fault in &self.faults {
            told += &format!("fault: {fault}\n");
        }
        told
    }
}

impl Chat {
    pub fn new(id: i64, kind: ChatKind, title: &str) -> Chat {
        Chat {
            id,
            kind,
            title: title.to_owned(),
            standing: Standing::Open,
            username: None,
            topics: BTreeMap::new(),
            closed_topics: BTreeSet::new(),
            messages: BTreeMap::new(),
            // Ids of one chat are those of another, too.
            next_message: 1,
            typing_until: Duration::ZERO,
        }
    }

    pub fn is_group(&self) -> bool {
        !matches!(self.kind, ChatKind::Private)
    }

    /// The messages that were not deleted.
    pub fn shown(&self) -> impl Iterator<Item = &ShownMessage> {
        self.messages.values().filter(|message| !message.is_deleted)
    }

    /// As the API tells it.
    pub fn json(&self) -> Value {
        let kind = match self.kind {
            ChatKind::Private => "private",
            ChatKind::Group => "group",
            ChatKind::Supergroup | ChatKind::Forum => "supergroup",
            ChatKind::Channel => "channel",
        };
        let name = match self.kind {
            ChatKind::Private => "first_name",
            _ => "title",
        };
        let mut json = json!({"id": self.id, "type": kind});
        json[name] = json!(self.title);
        if let Some(username) = &self.username {
            json["username"] = json!(username);
        }
        if self.kind == ChatKind::Forum {
            json["is_forum"] = json!(true);
        }
        json
    }

    /// Shows a message, which gets its id; `json` lacks what every message has.
    pub fn show(&mut self, mut message: ShownMessage, from: &Value) -> &mut ShownMessage {
        let id = self.next_message;
        self.next_message += 1;
        message.id = id;
        let json = &mut message.json;
        json["message_id"] = json!(id);
        json["chat"] = self.json();
        json["date"] = json!(unix_seconds());
        if !from.is_null() {
            json["from"] = from.clone();
        }
        self.messages.entry(id).or_insert(message)
    }
}

pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A number, or a text that is one.
pub fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}
