//! A chat of a gateway: where on a messaging platform a conversation stands.

/// A chat, or one thread of it: topics of a group are conversations of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chat {
    /// The gateway's name.
    pub gateway: String,
    /// The chat, by the platform's id.
    pub chat_id: String,
    /// The thread (Telegram: the topic) of the chat, where it has several.
    pub thread_id: Option<String>,
}

impl Chat {
    /// A chat without threads.
    pub fn new(gateway: impl Into<String>, chat_id: impl Into<String>) -> Chat {
        Chat {
            gateway: gateway.into(),
            chat_id: chat_id.into(),
            thread_id: None,
        }
    }

    /// The gateway and the chat, whichever of its threads this is.
    pub fn whole(&self) -> (&str, &str) {
        (&self.gateway, &self.chat_id)
    }

    /// The thread `thread_id` of this chat.
    #[must_use]
    pub fn in_thread(self, thread_id: impl Into<String>) -> Chat {
        Chat {
            thread_id: Some(thread_id.into()),
            ..self
        }
    }
}
