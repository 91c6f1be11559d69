//! How a gateway carries commands out.

use std::time::Duration;

use crate::base::shown::shown_by_name;
use crate::gateway::protocol::{Capabilities, FailedCommand, GatewayCommand};

/// One gateway's way to its platform, owned by the thread that sends for it.
pub trait Outlet: Send {
    /// What the platform can do; of a program that is not ready, nothing.
    fn capabilities(&self) -> Capabilities;

    /// It takes commands now.
    fn is_ready(&self) -> bool;

    /// It is told the thread of a chat in each command. Else only the message that is answered tells the
    /// platform where an answer belongs.
    fn knows_threads(&self) -> bool {
        false
    }

    /// More than one person is in a chat, as far as its id says.
    fn is_group(&self, chat_id: &str) -> bool {
        let _ = chat_id;
        false
    }

    /// How much the platform takes; `None` where it says so itself.
    fn rates(&self) -> Option<RateLimits>;

    /// The messages that a text in Markdown becomes: each within the platform's limit and whole by itself, code
    /// blocks closed and begun again.
    ///
    /// Of a longer text that begins the same, all pieces but the last are the same. There is at least one.
    fn render(&self, markdown: &str) -> Vec<RenderedPiece>;

    /// Carries a command out, whose `content` is that of a piece. Blocks for as long as the platform may take
    /// to answer, which is bounded. Where the platform cannot read the content, `plain` is sent instead.
    fn perform(&mut self, command: &GatewayCommand, plain: Option<&str>) -> Performed;
}

shown_by_name!(Outlet);

/// One message of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedPiece {
    /// As it is sent: in the platform's own form.
    pub content: String,
    /// The same without any form, where that is another text.
    pub plain: Option<String>,
}

impl RenderedPiece {
    /// What people read of it.
    pub fn plain_text(&self) -> &str {
        self.plain.as_deref().unwrap_or(&self.content)
    }
}

/// What is known of a command after it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Performed {
    /// How it ended.
    Ended(CommandOutcome),
    /// The answer comes later, as news of the sender.
    Waiting,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It is done.
    Done {
        /// The message that was sent.
        message_id: Option<String>,
    },
    /// It was refused, or failed.
    Refused(FailedCommand),
    /// It was never sent: to try again repeats nothing.
    NotSent,
    /// It was sent, and no answer came: it may be done, and to try again may repeat it, once.
    Unanswered,
}

/// How much a platform takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Between two commands to a chat, once its burst is used up.
    pub chat_every: Duration,
    /// So many to a chat at once.
    pub chat_burst: u32,
    /// So many a minute to a group, edits counted.
    pub group_per_minute: u32,
    /// So many a second to all chats.
    pub all_per_second: u32,
}
