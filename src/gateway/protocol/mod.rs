//! The gateway protocol: what Duragent and a gateway say to one another.
//!
//! A gateway that is a program reads commands from its standard input and writes events to its standard
//! output, one JSON object a line. One that is built in is spoken with in the same words, by function.
//!
//! Strictly out, leniently in: programs written for earlier versions work unchanged. Fields beyond those
//! that they know are left out where there is nothing to say, and skipped by who does not know them.
//!
//! Elsewhere: who starts such a program (`gateway::plugin`), how commands are carried out
//! ([`outlet`](crate::gateway::outlet)), what becomes of messages ([`incoming`](crate::gateway::incoming)).

mod command;
mod event;
mod lenient;

pub use command::{Button, GatewayCommand, InlineKeyboard, MediaPayload};
pub use event::{
    AuthMethod, CallbackQuery, ChatSender, ChatType, FailedCommand, GatewayEvent, MessageContent,
    MessageReceived, MessageRouting, QuotedMessage,
};

/// The version that this program speaks.
pub const PROTOCOL_VERSION: &str = "v1alpha1";

/// The longest line.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a gateway says that it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// It sends files.
    pub media: bool,
    /// It changes messages that were sent.
    pub edit: bool,
    /// It takes messages back.
    pub delete: bool,
    /// It shows that somebody writes.
    pub typing: bool,
    /// It shows which message is answered.
    pub reply: bool,
    /// It shows buttons below a message.
    pub inline_keyboard: bool,
}

impl Capabilities {
    /// From the words of `ready`; unknown ones say nothing.
    pub fn of_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Capabilities {
        let mut found = Capabilities::default();
        for word in words {
            match word {
                "media" => found.media = true,
                "edit" => found.edit = true,
                "delete" => found.delete = true,
                "typing" => found.typing = true,
                "reply" => found.reply = true,
                "inline_keyboard" => found.inline_keyboard = true,
                _ => {}
            }
        }
        found
    }
}

/// The words of [`FailedCommand::code`] that gateways use; others are possible.
pub mod error_codes {
    /// There is no such chat.
    pub const CHAT_NOT_FOUND: &str = "chat_not_found";
    /// There is no such message.
    pub const MESSAGE_NOT_FOUND: &str = "message_not_found";
    /// The platform wants fewer messages.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// The platform does not let the gateway do that.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// The platform failed.
    pub const PLATFORM_ERROR: &str = "platform_error";
    /// The command makes no sense.
    pub const INVALID_REQUEST: &str = "invalid_request";
    /// The platform is not reached.
    pub const NOT_CONNECTED: &str = "not_connected";
    /// The gateway cannot do that at all.
    pub const NOT_IMPLEMENTED: &str = "not_implemented";
}

#[cfg(test)]
mod tests;
