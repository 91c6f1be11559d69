//! What wakes the thread that sends for a gateway.
//!
//! News tell where to look, and hold nothing that is not on disk or comes again: where the channel is
//! full they may be left out, and the thread then looks at everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};

use crate::domain::chat::Chat;
use crate::domain::ids::SessionId;
use crate::engine::ChatListener;
use crate::gateway::outlet::CommandOutcome;

/// A burst of 500 messages with their turns' beginnings.
const NEWS_MAX: usize = 1024;
/// A sender looks at its news after each command, which a platform answers within less.
const ROOM_WITHIN: Duration = Duration::from_secs(30);

/// Something that the sender of a gateway may have to do something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderNews {
    /// Something was written in a session of a chat, or there is more of a reply.
    Changed(SessionId),
    /// An announcement to a chat is on disk.
    Posted(Chat),
    /// Something came from a chat: it may be written to again.
    IsBack(Chat),
    /// A chat must not be written to for now.
    Rests {
        /// The chat's id.
        chat_id: String,
        /// Why, in words.
        why: String,
    },
    /// A chat has another id.
    Moved {
        /// Until now.
        from: String,
        /// From now on.
        to: String,
    },
    /// A command has ended that was waited for.
    Ended {
        /// Which.
        request_id: String,
        /// How.
        outcome: CommandOutcome,
    },
    /// Who pressed a button is to be told something.
    Pressed {
        /// The press.
        callback_query_id: String,
        /// A short text.
        text: Option<String>,
    },
    /// The gateway takes commands from now on, or does not any more: commands that were waited for are
    /// unanswered.
    Ready(bool),
}

impl SenderNews {
    /// Who looks at everything finds it, too.
    fn is_on_disk(&self) -> bool {
        match self {
            SenderNews::Changed(_) | SenderNews::Posted(_) => true,
            SenderNews::IsBack(_)
            | SenderNews::Rests { .. }
            | SenderNews::Moved { .. }
            | SenderNews::Ended { .. }
            | SenderNews::Pressed { .. }
            | SenderNews::Ready(_) => false,
        }
    }
}

/// The side that has news. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SenderHandle {
    news_tx: Sender<SenderNews>,
    has_missed: Arc<AtomicBool>,
}

/// The side that sends.
#[derive(Debug)]
pub struct SenderInbox {
    /// What is new.
    pub news_rx: Receiver<SenderNews>,
    has_missed: Arc<AtomicBool>,
}

/// Both sides.
pub fn sender_channel() -> (SenderHandle, SenderInbox) {
    let (news_tx, news_rx) = bounded(NEWS_MAX);
    let has_missed = Arc::new(AtomicBool::new(false));
    let handle = SenderHandle {
        news_tx,
        has_missed: Arc::clone(&has_missed),
    };
    (
        handle,
        SenderInbox {
            news_rx,
            has_missed,
        },
    )
}

impl SenderHandle {
    /// Tells something. What is on disk is never waited with: where there is no room for it the sender will
    /// look at everything. The rest waits for room, unless the sender does nothing for very long.
    pub fn tell(&self, news: SenderNews) {
        let missed = if news.is_on_disk() {
            let sent = self.news_tx.try_send(news);
            sent.err().map(TrySendError::into_inner)
        } else {
            let sent = self.news_tx.send_timeout(news, ROOM_WITHIN);
            sent.err().map(SendTimeoutError::into_inner)
        };
        if let Some(news) = missed {
            self.has_missed.store(true, Ordering::Release);
            // A sender that has made room before it could see that must not sleep over it.
            self.news_tx.try_send(news).ok();
        }
    }
}

impl SenderInbox {
    /// Whether news were left out since this was last asked.
    pub fn has_missed(&self) -> bool {
        self.has_missed.swap(false, Ordering::AcqRel)
    }
}

/// Passes on to each gateway's sender what is new in sessions of its chats.
#[derive(Debug, Default)]
pub struct ChatNews(BTreeMap<String, SenderHandle>);

impl ChatNews {
    /// For these gateways, by name.
    pub fn new(senders: impl IntoIterator<Item = (String, SenderHandle)>) -> ChatNews {
        ChatNews(senders.into_iter().collect())
    }
}

impl ChatListener for ChatNews {
    fn is_new(&self, gateway: &str, session: &SessionId) {
        if let Some(sender) = self.0.get(gateway) {
            sender.tell(SenderNews::Changed(session.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_without_room_are_left_out_and_that_is_told_once() {
        let (handle, inbox) = sender_channel();
        let posted = SenderNews::Posted(Chat::new("irc", "#a"));
        for _ in 0..NEWS_MAX {
            handle.tell(posted.clone());
        }
        assert!(!inbox.has_missed());
        handle.tell(posted);
        assert!(inbox.has_missed());
        assert!(!inbox.has_missed());
        assert_eq!(inbox.news_rx.try_iter().count(), NEWS_MAX);
    }

    #[test]
    fn each_gateway_hears_of_its_own_chats() {
        let (irc, irc_inbox) = sender_channel();
        let news = ChatNews::new([("irc".to_owned(), irc)]);
        let session = SessionId::mint(1, 1);
        news.is_new("telegram", &session);
        news.is_new("irc", &session);
        let heard: Vec<_> = irc_inbox.news_rx.try_iter().collect();
        assert_eq!(heard, [SenderNews::Changed(session)]);
    }
}
