//! What Duragent has a gateway do.

use serde::{Deserialize, Serialize};

/// Something to do. One with a `request_id` is answered by an event that names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GatewayCommand {
    /// Send a text.
    SendMessage {
        /// Names the command.
        request_id: String,
        /// To whom.
        chat_id: String,
        /// Markdown.
        content: String,
        /// The message that is answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<String>,
        /// Buttons below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inline_keyboard: Option<InlineKeyboard>,
        /// The thread of the chat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread_id: Option<String>,
    },
    /// Send a file.
    SendMedia {
        /// Names the command.
        request_id: String,
        /// To whom.
        chat_id: String,
        /// The file.
        media: MediaPayload,
        /// A text with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
        /// The thread of the chat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread_id: Option<String>,
    },
    /// Show that somebody writes.
    SendTyping {
        /// To whom.
        chat_id: String,
        /// For so many seconds; 0 ends it.
        #[serde(default)]
        duration: u32,
        /// The thread of the chat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread_id: Option<String>,
    },
    /// Change a message that was sent. Its buttons go.
    EditMessage {
        /// Names the command.
        request_id: String,
        /// Whose.
        chat_id: String,
        /// Which.
        message_id: String,
        /// Markdown.
        content: String,
    },
    /// Take a message back.
    DeleteMessage {
        /// Names the command.
        request_id: String,
        /// Whose.
        chat_id: String,
        /// Which.
        message_id: String,
    },
    /// Tell who pressed a button what came of it.
    AnswerCallbackQuery {
        /// Names the command.
        request_id: String,
        /// The press.
        callback_query_id: String,
        /// A short text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// Answer with `pong`.
    Ping {
        /// Names the command.
        request_id: String,
    },
    /// End in good order.
    Shutdown,
}

impl GatewayCommand {
    /// The name of a command that is answered.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            GatewayCommand::SendMessage { request_id, .. }
            | GatewayCommand::SendMedia { request_id, .. }
            | GatewayCommand::EditMessage { request_id, .. }
            | GatewayCommand::DeleteMessage { request_id, .. }
            | GatewayCommand::AnswerCallbackQuery { request_id, .. }
            | GatewayCommand::Ping { request_id } => Some(request_id),
            GatewayCommand::SendTyping { .. } | GatewayCommand::Shutdown => None,
        }
    }
}

/// Buttons, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineKeyboard {
    /// The rows.
    pub rows: Vec<Vec<Button>>,
}

/// A button below a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    /// What a press brings back; at most 64 bytes.
    pub callback_data: String,
}

/// A file that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum MediaPayload {
    /// The gateway fetches it.
    Url {
        /// From where.
        url: String,
        /// Its media type.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
    },
    /// Here it is.
    Base64 {
        /// Its bytes.
        data: String,
        /// Its media type.
        mime_type: String,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filename: Option<String>,
    },
}
