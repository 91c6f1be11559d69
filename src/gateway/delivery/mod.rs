//! What chats see: rendered from the sessions' events, and sent until the platform confirms it.
//!
//! A **lane** is one thread of a chat of a gateway. Its document says up to which place of which session
//! the platform has confirmed everything, and which of its messages stand for what came after that. What
//! is to be seen is a row of [`Bubble`]s, made of the events behind that place; what is sent is the
//! difference between the two. An **announcement** is said to a chat without being in any
//! log; it is a document of its own until it is confirmed.

mod approvers;
mod bubble;
mod follower;
mod lane;
mod lane_store;
mod limiter;
mod news;
mod outbox;
mod renderer;
mod sender;
mod split;
#[cfg(test)]
mod testing;
mod verdict;
mod wording;

pub use bubble::{Bubble, BubbleButton, BubbleContent, BubbleKey};
pub use lane_store::{LaneStore, SetAside, WaitingChat};
pub use limiter::{LimitedChat, SendLimiter, SendUrgency};
pub use news::{ChatNews, SenderHandle, SenderInbox, SenderNews, sender_channel};
pub use outbox::{Announcement, Outbox, OutboxError, PressedButton};
pub use sender::{SenderParts, spawn_sender};
pub use split::split_markdown;
pub use wording::with_command;
