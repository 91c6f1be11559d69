//! What each method does, and in which words it refuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::connection::Params;
use super::limits::TooFast;
use super::world::{Chat, ChatKind, ShownMessage, Standing, World, as_int, unix_seconds};
use super::{html, media, text_at};

const TEXT_UNITS_MAX: usize = 4096;
pub const CAPTION_UNITS_MAX: usize = 1024;
const BUTTON_BYTES_MAX: usize = 64;
const BUTTONS_MAX: usize = 100;
/// For so long a press can be answered.
const PRESS_AGE_MAX: Duration = Duration::from_secs(15);
const PRESS_ANSWER_MAX: usize = 200;
const ACTIONS: [&str; 11] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];

/// Why something is not done.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: u16,
    pub description: String,
    pub parameters: Value,
    /// A careful program would not have asked for it.
    pub is_fault: bool,
}

pub type Outcome = Result<Value, Refusal>;

/// As the world is.
pub fn refuse(code: u16, description: &str) -> Refusal {
    Refusal {
        code,
        description: description.to_owned(),
        parameters: Value::Null,
        is_fault: false,
    }
}

/// As the caller should have known.
pub fn fault(description: &str) -> Refusal {
    Refusal {
        is_fault: true,
        ..refuse(400, &format!("Bad Request: {description}"))
    }
}

pub fn too_many(seconds: u64) -> Refusal {
    Refusal {
        parameters: json!({"retry_after": seconds}),
        ..refuse(429, &format!("Too Many Requests: retry after {seconds}"))
    }
}

/// Carries a call out.
pub fn perform(world: &mut World, method: &str, params: &Params) -> Outcome {
    let outcome = dispatch(world, method, params);
    if let Err(refusal) = &outcome
        && refusal.is_fault
    {
        let params = Value::Object(params.fields.clone());
        world.fault(format!("{method}: {} for {params}", refusal.description));
    }
    outcome
}

fn dispatch(world: &mut World, method: &str, params: &Params) -> Outcome {
    match method.to_ascii_lowercase().as_str() {
        "getme" => Ok(me(world)),
        "setwebhook" => {
            world.webhook = params.text("url").filter(|url| !url.is_empty());
            Ok(json!(true))
        }
        "deletewebhook" => {
            world.webhook = None;
            if params.flag("drop_pending_updates") {
                world.updates.clear();
            }
            Ok(json!(true))
        }
        "getwebhookinfo" => Ok(json!({
            "url": world.webhook.clone().unwrap_or_default(),
            "has_custom_certificate": false,
            "pending_update_count": world.updates.len(),
        })),
        "sendmessage" => send_message(world, params),
        "editmessagetext" => edit_text(world, params),
        "editmessagereplymarkup" => edit_buttons(world, params),
        "deletemessage" => delete(world, params),
        "sendchataction" => show_action(world, params),
        "answercallbackquery" => answer_press(world, params),
        "getfile" => media::get_file(world, params),
        "sendphoto" => media::send(world, params, "photo"),
        "senddocument" => media::send(world, params, "document"),
        "sendaudio" => media::send(world, params, "audio"),
        "sendvideo" => media::send(world, params, "video"),
        "sendvoice" => media::send(world, params, "voice"),
        "sendanimation" => media::send(world, params, "animation"),
        "setmycommands" => set_commands(world, params),
        "getmycommands" => Ok(world.commands.clone()),
        "deletemycommands" => {
            world.commands = json!([]);
            Ok(json!(true))
        }
        "getchat" => {
            let chat = params.chat().and_then(|id| world.chat(id));
            let chat = chat.ok_or_else(|| refuse(400, "Bad Request: chat not found"))?;
            Ok(chat.json())
        }
        _ => Err(Refusal {
            is_fault: true,
            ..refuse(404, "Not Found: method not found")
        }),
    }
}

fn me(world: &World) -> Value {
    let mut me = world.bot.json();
    for (ability, has_it) in [
        ("can_join_groups", true),
        ("can_read_all_group_messages", false),
        ("supports_inline_queries", false),
        ("can_connect_to_business", false),
        ("has_main_web_app", false),
    ] {
        me[ability] = json!(has_it);
    }
    me
}

// --- messages ---

fn send_message(world: &mut World, params: &Params) -> Outcome {
    let text = read_text(params, "text", TEXT_UNITS_MAX)?;
    if text.text.is_empty() {
        return Err(fault("message text is empty"));
    }
    let json = json!({"text": text.text, "entities": text.entities});
    let message = ShownMessage {
        text: text.text,
        html: text.html,
        json,
        ..ShownMessage::default()
    };
    put(world, params, message)
}

/// Shows a message of the bot's, if it may come now.
pub fn put(world: &mut World, params: &Params, mut message: ShownMessage) -> Outcome {
    let now = world.clock.now();
    let bot = world.bot.json();
    let buttons = read_buttons(params)?;
    let chat = writable(world, params)?;
    message.topic = topic_of(chat, params)?;
    message.reply_to = replied_to(chat, params)?;
    let (id, is_group) = (chat.id, chat.is_group());
    count(world, id, is_group)?;
    message.is_bots = true;
    message.at = now;
    set_buttons(&mut message, buttons);
    let chat = world.chats.get_mut(&id).expect("found above");
    if let Some(topic) = message.topic {
        message.json["message_thread_id"] = json!(topic);
        message.json["is_topic_message"] = json!(true);
    }
    if let Some(replied) = message.reply_to.and_then(|id| chat.messages.get(&id)) {
        message.json["reply_to_message"] = without_reply(&replied.json);
    }
    let shown = chat.show(message, &bot).json.clone();
    // A message ends what it was announced by.
    world.set_typing(id, false);
    Ok(shown)
}

fn edit_text(world: &mut World, params: &Params) -> Outcome {
    let text = read_text(params, "text", TEXT_UNITS_MAX)?;
    if text.text.is_empty() {
        return Err(fault("message text is empty"));
    }
    let buttons = read_buttons(params)?;
    edit(world, params, |message| {
        message.text = text.text.clone();
        message.html = text.html.clone();
        message.json["text"] = json!(text.text);
        message.json["entities"] = text.entities.clone();
        set_buttons(message, buttons);
    })
}

fn edit_buttons(world: &mut World, params: &Params) -> Outcome {
    let buttons = read_buttons(params)?;
    edit(world, params, |message| set_buttons(message, buttons))
}

/// Changes a message of the bot's, if it may be changed now.
fn edit(world: &mut World, params: &Params, change: impl FnOnce(&mut ShownMessage)) -> Outcome {
    let now = world.clock.now();
    let chat = writable(world, params)?;
    let (chat_id, is_group) = (chat.id, chat.is_group());
    let found = params
        .int("message_id")
        .and_then(|id| chat.messages.get(&id));
    let message = found.filter(|message| !message.is_deleted);
    let message = message.ok_or_else(|| refuse(400, "Bad Request: message to edit not found"))?;
    if !message.is_bots {
        return Err(fault("message can't be edited"));
    }
    let before = message.clone();
    let mut after = message.clone();
    change(&mut after);
    let looks = |message: &ShownMessage| {
        let entities = message.json["entities"].clone();
        (message.text.clone(), entities, message.buttons.clone())
    };
    if looks(&before) == looks(&after) {
        return Err(refuse(
            400,
            "Bad Request: message is not modified: specified new message content and reply markup \
             are exactly the same as a current content and reply markup of the message",
        ));
    }
    count(world, chat_id, is_group)?;
    after.edits.push((now, after.text.clone()));
    after.json["edit_date"] = json!(unix_seconds());
    let json = after.json.clone();
    let chat = world.chats.get_mut(&chat_id).expect("found above");
    chat.messages.insert(after.id, after);
    Ok(json)
}

fn delete(world: &mut World, params: &Params) -> Outcome {
    let chat = writable(world, params)?;
    let found = params
        .int("message_id")
        .and_then(|id| chat.messages.get_mut(&id));
    match found {
        Some(message) if !message.is_deleted => message.is_deleted = true,
        _ => return Err(refuse(400, "Bad Request: message to delete not found")),
    }
    Ok(json!(true))
}

/// The message without the one that it answers: the API goes no deeper.
pub fn without_reply(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(fields) = message.as_object_mut() {
        fields.remove("reply_to_message");
    }
    message
}

// --- what every message has ---

/// The chat of a call, if the bot may write there.
fn writable<'w>(world: &'w mut World, params: &Params) -> Result<&'w mut Chat, Refusal> {
    let id = params.chat().ok_or_else(|| fault("chat_id is empty"))?;
    let chat = world.chats.get_mut(&id);
    let chat = chat.ok_or_else(|| refuse(400, "Bad Request: chat not found"))?;
    let is_group = chat.kind == ChatKind::Group;
    match chat.standing {
        Standing::Open => Ok(chat),
        Standing::NeverStarted => Err(refuse(
            403,
            "Forbidden: bot can't initiate conversation with a user",
        )),
        Standing::Blocked => Err(refuse(403, "Forbidden: bot was blocked by the user")),
        Standing::Deactivated => Err(refuse(403, "Forbidden: user is deactivated")),
        Standing::Kicked if is_group => {
            Err(refuse(403, "Forbidden: bot was kicked from the group chat"))
        }
        Standing::Kicked => Err(refuse(
            403,
            "Forbidden: bot was kicked from the supergroup chat",
        )),
        Standing::Muted => Err(refuse(
            400,
            "Bad Request: not enough rights to send text messages to the chat",
        )),
        Standing::MigratedTo(new) => Err(Refusal {
            parameters: json!({"migrate_to_chat_id": new}),
            ..refuse(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
            )
        }),
    }
}

/// The topic that a message goes to. The general one has the number 1, and must not be named.
fn topic_of(chat: &Chat, params: &Params) -> Result<Option<i64>, Refusal> {
    let Some(topic) = params.int("message_thread_id") else {
        return Ok(None);
    };
    let is_there = chat.kind == ChatKind::Forum && chat.topics.contains_key(&topic);
    match topic {
        0 => Ok(None),
        1 => Err(fault("message thread not found")),
        topic if chat.closed_topics.contains(&topic) => {
            Err(refuse(400, "Bad Request: TOPIC_CLOSED"))
        }
        topic if is_there => Ok(Some(topic)),
        // A topic may have been deleted; where there are none, nothing is to be named.
        _ if chat.kind == ChatKind::Forum => {
            Err(refuse(400, "Bad Request: message thread not found"))
        }
        _ => Err(fault("message thread not found")),
    }
}

fn replied_to(chat: &Chat, params: &Params) -> Result<Option<i64>, Refusal> {
    let reply = params.json("reply_parameters");
    let old = params.int("reply_to_message_id");
    let Some(id) = reply
        .as_ref()
        .and_then(|reply| as_int(&reply["message_id"]))
        .or(old)
    else {
        return Ok(None);
    };
    let is_there = chat
        .messages
        .get(&id)
        .is_some_and(|message| !message.is_deleted);
    let may_be_gone = reply.is_some_and(|reply| reply["allow_sending_without_reply"] == true)
        || params.flag("allow_sending_without_reply");
    match (is_there, may_be_gone) {
        (true, _) => Ok(Some(id)),
        (false, true) => Ok(None),
        (false, false) => Err(refuse(400, "Bad Request: message to be replied not found")),
    }
}

/// Counts a message or an edit, if it may come now.
fn count(world: &mut World, chat: i64, is_group: bool) -> Result<(), Refusal> {
    let now = world.clock.now();
    match world.limits.count(chat, is_group, now) {
        Ok(()) => Ok(()),
        Err(TooFast::Wait(seconds)) => Err(too_many(seconds)),
        Err(TooFast::Early(early, seconds)) => {
            world.fault(format!("{early:?} too early in {chat} after a 429"));
            Err(too_many(seconds))
        }
    }
}

/// A text with its looks.
pub struct Text {
    pub text: String,
    pub html: String,
    pub entities: Value,
}

/// The text of a call, which may be so long when its tags are taken away.
pub fn read_text(params: &Params, name: &str, units_max: usize) -> Result<Text, Refusal> {
    let given = params.text(name).unwrap_or_default();
    let mode = params.text("parse_mode").unwrap_or_default();
    let text = match mode.to_ascii_lowercase().as_str() {
        "" => Text {
            text: given.trim().to_owned(),
            html: String::new(),
            entities: params.json("entities").unwrap_or(json!([])),
        },
        "html" => {
            let parsed = html::check(&given).map_err(|(_, message)| fault(&message))?;
            Text {
                text: parsed.text.trim().to_owned(),
                entities: entities_of(&parsed),
                html: given,
            }
        }
        _ => return Err(fault("unsupported parse_mode")),
    };
    if text.text.encode_utf16().count() > units_max {
        return Err(fault(match name {
            "caption" => "message caption is too long",
            _ => "message is too long",
        }));
    }
    Ok(text)
}

/// As the API tells them; blanks at the beginning of a text are taken away.
fn entities_of(parsed: &html::Parsed) -> Value {
    let units = |text: &str| text.encode_utf16().count();
    let gone = units(&parsed.text) - units(parsed.text.trim_start());
    let entities = parsed.entities.iter().map(|entity| {
        let mut json = json!({"type": entity.kind, "length": entity.length});
        json["offset"] = json!(entity.offset.saturating_sub(gone));
        match entity.kind {
            "text_link" => json["url"] = json!(entity.argument),
            "pre" => json["language"] = json!(entity.argument),
            _ => {}
        }
        json
    });
    json!(entities.collect::<Vec<_>>())
}

/// The buttons of a call, and how the API tells them.
fn read_buttons(params: &Params) -> Result<(Vec<(String, String)>, Value), Refusal> {
    let Some(markup) = params.json("reply_markup") else {
        return Ok((Vec::new(), Value::Null));
    };
    let Some(rows) = markup["inline_keyboard"].as_array() else {
        return Err(fault("object expected as reply markup"));
    };
    let mut buttons = Vec::new();
    for row in rows {
        let row = row.as_array();
        for button in row.ok_or_else(|| fault("can't parse inline keyboard button"))? {
            let (label, data) = (text_at(button, "text"), text_at(button, "callback_data"));
            if label.is_empty() {
                return Err(fault("inline keyboard button text must be non-empty"));
            }
            let is_link = button["url"].is_string();
            if !is_link && !(1..=BUTTON_BYTES_MAX).contains(&data.len()) {
                return Err(fault("BUTTON_DATA_INVALID"));
            }
            buttons.push((label.to_owned(), data.to_owned()));
        }
    }
    if buttons.len() > BUTTONS_MAX {
        return Err(fault("reply markup is too long"));
    }
    Ok((buttons, markup))
}

/// A call without buttons takes those away that there were.
fn set_buttons(message: &mut ShownMessage, (buttons, markup): (Vec<(String, String)>, Value)) {
    message.json["reply_markup"] = markup;
    if buttons.is_empty()
        && let Some(fields) = message.json.as_object_mut()
    {
        fields.remove("reply_markup");
    }
    message.buttons = buttons;
}

// --- the rest ---

fn show_action(world: &mut World, params: &Params) -> Outcome {
    let action = params.text("action").unwrap_or_default();
    if !ACTIONS.contains(&action.as_str()) {
        return Err(fault("wrong parameter action in request"));
    }
    let chat = writable(world, params)?;
    // Here alone the general topic may be named.
    if params.int("message_thread_id") != Some(1) {
        topic_of(chat, params)?;
    }
    let id = chat.id;
    world.set_typing(id, true);
    Ok(json!(true))
}

fn answer_press(world: &mut World, params: &Params) -> Outcome {
    let text = params.text("text").unwrap_or_default();
    if text.chars().count() > PRESS_ANSWER_MAX {
        return Err(fault("MESSAGE_TOO_LONG"));
    }
    let now = world.clock.now();
    let id = params.text("callback_query_id").unwrap_or_default();
    let press = world.presses.get_mut(&id);
    match press.filter(|press| now <= press.at + PRESS_AGE_MAX) {
        Some(press) => press.answer = Some(text),
        None => {
            return Err(refuse(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            ));
        }
    }
    Ok(json!(true))
}

fn set_commands(world: &mut World, params: &Params) -> Outcome {
    let commands = params.list("commands").unwrap_or_default();
    let is_name = |name: &str| {
        let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (1..=32).contains(&name.len()) && name.chars().all(is_of_name)
    };
    for command in &commands {
        if !is_name(text_at(command, "command")) {
            return Err(fault("BOT_COMMAND_INVALID"));
        }
        if !(1..=256).contains(&text_at(command, "description").chars().count()) {
            return Err(fault("BOT_COMMAND_DESCRIPTION_INVALID"));
        }
    }
    if commands.len() > 100 {
        return Err(fault("BOT_COMMANDS_TOO_MUCH"));
    }
    world.commands = json!(commands);
    Ok(json!(true))
}

impl Params {
    pub fn int(&self, name: &str) -> Option<i64> {
        as_int(self.fields.get(name)?)
    }

    pub fn text(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        let value = self.fields.get(name);
        value.is_some_and(|value| *value == true || *value == "true")
    }

    /// A value of JSON, which in a form comes as a text.
    pub fn json(&self, name: &str) -> Option<Value> {
        match self.fields.get(name)? {
            Value::String(text) => serde_json::from_str(text).ok(),
            Value::Null => None,
            other => Some(other.clone()),
        }
    }

    pub fn list(&self, name: &str) -> Option<Vec<Value>> {
        self.json(name)?.as_array().cloned()
    }

    /// The chat that it is about.
    pub fn chat(&self) -> Option<i64> {
        self.int("chat_id")
    }
}
