//! What a gateway tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient;

/// Something that happened on the platform, or what came of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GatewayEvent {
    /// It takes commands from now on.
    Ready {
        /// What it calls itself.
        gateway: String,
        /// The version of the protocol that it speaks; many programs say their own.
        #[serde(default, deserialize_with = "lenient::or_default")]
        version: String,
        /// What it can do, in words.
        #[serde(default, deserialize_with = "lenient::or_default")]
        capabilities: Vec<String>,
    },
    /// Somebody said something.
    MessageReceived(Box<MessageReceived>),
    /// Somebody pressed a button.
    CallbackQuery(Box<CallbackQuery>),
    /// A command is done.
    CommandOk {
        /// Which.
        request_id: String,
        /// The message that was sent.
        #[serde(
            default,
            deserialize_with = "lenient::optional_text",
            skip_serializing_if = "Option::is_none"
        )]
        message_id: Option<String>,
    },
    /// A command failed.
    CommandError(FailedCommand),
    /// The answer to `ping`.
    Pong {
        /// Which.
        request_id: String,
        /// How long it runs.
        #[serde(default, deserialize_with = "lenient::or_default")]
        uptime_seconds: u64,
        /// It reaches its platform, as far as it knows.
        #[serde(default, deserialize_with = "lenient::or_default")]
        connected: bool,
    },
    /// Trouble that is no command's.
    Error {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
        /// It ends because of it.
        #[serde(default, deserialize_with = "lenient::or_default")]
        fatal: bool,
    },
    /// A person must let it in.
    AuthRequired {
        /// How.
        method: AuthMethod,
    },
    /// Somebody did.
    AuthSuccess,
    /// It ends.
    Shutdown {
        /// Why.
        #[serde(default, deserialize_with = "lenient::or_default")]
        reason: String,
    },
    /// A chat has another id from now on.
    ChatMigrated {
        /// Until now.
        #[serde(deserialize_with = "lenient::text")]
        from: String,
        /// From now on.
        #[serde(deserialize_with = "lenient::text")]
        to: String,
    },
    /// Somebody has blocked the gateway, put it out of a group, or let it in again.
    ChatState {
        /// The chat.
        #[serde(deserialize_with = "lenient::text")]
        chat_id: String,
        /// Whether it may be written to.
        can_write: bool,
        /// A sentence for people.
        #[serde(default, deserialize_with = "lenient::or_default")]
        why: String,
    },
    /// One of a later version.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl GatewayEvent {
    /// Reads a line.
    ///
    /// Errors: it is no JSON, or a field that must be there is missing.
    pub fn parse(line: &str) -> Result<GatewayEvent, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// A command that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCommand {
    /// Which.
    pub request_id: String,
    /// One of the [known words](super::error_codes), or another.
    pub code: String,
    /// The platform's words.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub message: String,
    /// Not before so many seconds; else it may stand in the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The chat has this id now.
    #[serde(
        default,
        deserialize_with = "lenient::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub migrate_to: Option<String>,
}

/// A message of a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageReceived {
    /// Its id; those of several chats may be the same.
    #[serde(deserialize_with = "lenient::text")]
    pub message_id: String,
    /// Where.
    #[serde(deserialize_with = "lenient::text")]
    pub chat_id: String,
    /// By whom.
    pub sender: ChatSender,
    /// What.
    pub content: MessageContent,
    /// By what it finds its agent.
    pub routing: MessageRouting,
    /// The message that it answers.
    #[serde(
        default,
        deserialize_with = "lenient::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub reply_to: Option<String>,
    /// The agent is called by its name.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub mentions_bot: bool,
    /// It answers a message of the agent's.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub reply_to_bot: bool,
    /// When it was written.
    #[serde(
        default,
        deserialize_with = "lenient::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub timestamp: Option<String>,
    /// Whatever else the gateway knows. `verified: false` says that the sender's id proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// It takes the place of the message of that id.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "is_false"
    )]
    pub edited: bool,
    /// Whose words it passes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_from: Option<String>,
    /// The words that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<QuotedMessage>,
}

impl MessageReceived {
    /// The thread of the chat, where it has several.
    pub fn thread_id(&self) -> Option<&str> {
        self.routing.more.get("thread_id").map(String::as_str)
    }

    /// The sender is who the id says, as far as the gateway knows.
    pub fn is_verified(&self) -> bool {
        let said = self.metadata.as_ref();
        let said = said.and_then(|metadata| metadata.get("verified")?.as_bool());
        said != Some(false)
    }
}

/// Words that a message answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotedMessage {
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The words.
    pub text: String,
}

/// A button that was pressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallbackQuery {
    /// Names the press.
    #[serde(deserialize_with = "lenient::text")]
    pub callback_query_id: String,
    /// Where.
    #[serde(deserialize_with = "lenient::text")]
    pub chat_id: String,
    /// By whom.
    pub sender: ChatSender,
    /// Below which message.
    #[serde(deserialize_with = "lenient::text")]
    pub message_id: String,
    /// What the button brings back.
    pub data: String,
    /// By what it finds its agent, where the gateway says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<MessageRouting>,
}

/// Somebody on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatSender {
    /// The platform's own id.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// The name by which others call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The name that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// It is a program.
    #[serde(
        default,
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "is_false"
    )]
    pub is_bot: bool,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageContent {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A file.
    Media {
        /// The platform's word for its kind.
        #[serde(default, deserialize_with = "lenient::or_default")]
        media_type: String,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// Words with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
    },
    /// A place.
    Location {
        /// In degrees.
        latitude: f64,
        /// In degrees.
        longitude: f64,
    },
    /// Somebody's number.
    Contact {
        /// Whose.
        name: String,
        /// The number.
        #[serde(deserialize_with = "lenient::text")]
        phone: String,
    },
    /// Anything else.
    #[serde(other)]
    Unknown,
}

impl MessageContent {
    /// The words in it.
    pub fn words(&self) -> Option<&str> {
        match self {
            MessageContent::Text { text } => Some(text),
            MessageContent::Media { caption, .. } => caption.as_deref(),
            MessageContent::Location { .. }
            | MessageContent::Contact { .. }
            | MessageContent::Unknown => None,
        }
    }
}

/// By what a message finds its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRouting {
    /// The platform.
    pub channel: String,
    /// The kind of chat.
    pub chat_type: ChatType,
    /// The chat.
    #[serde(deserialize_with = "lenient::text")]
    pub chat_id: String,
    /// The sender.
    #[serde(deserialize_with = "lenient::text")]
    pub sender_id: String,
    /// Whatever else routes may name; `thread_id` is the thread of the chat.
    #[serde(flatten, deserialize_with = "lenient::texts")]
    pub more: BTreeMap<String, String>,
}

/// The kind of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatType {
    /// Of two.
    Dm,
    /// Of several.
    Group,
    /// Of many who read.
    Channel,
}

impl ChatType {
    /// The word used in routes.
    pub fn as_str(self) -> &'static str {
        match self {
            ChatType::Dm => "dm",
            ChatType::Group => "group",
            ChatType::Channel => "channel",
        }
    }
}

/// How a person lets a gateway in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum AuthMethod {
    /// By a picture for their telephone.
    QrCode {
        /// What the picture says.
        qr_data: String,
        /// The picture in letters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        qr_ascii: Option<String>,
        /// Seconds that it holds.
        expires_in: u64,
    },
    /// By a code.
    PairCode {
        /// The code.
        code: String,
        /// Seconds that it holds.
        expires_in: u64,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}
