//! Which session is the open one of a gateway's chat, by agent and chat.
//!
//! The sessions themselves say whose chat they are: the index is read from them when the first chat
//! is asked for, and kept in memory from then on. What has ended since is found out by asking.
//!
//! Owned by: the engine, all threads. The lock is held over looking for a chat's session and beginning
//! it, so that no chat gets two; it is taken after that of a creation's key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::base::lock::lock;
use crate::base::shown::shown_by_name;
use crate::domain::chat::Chat;
use crate::domain::ids::SessionId;

/// Is told of what is written in sessions of chats, whoever caused it.
pub trait ChatListener: Send + Sync {
    /// Something was written in a session of a chat of `gateway`. Called on the thread that wrote it, which
    /// holds the session's log: it must not block, nor call the engine.
    fn is_new(&self, gateway: &str, session: &SessionId);
}

shown_by_name!(ChatListener);

/// See the [module](self); empty until the first chat is asked for.
#[derive(Debug, Default)]
pub(in crate::engine) struct ChatIndex(Mutex<Option<OpenChats>>);

/// The newest session of each chat of each agent.
#[derive(Debug, Default)]
pub(in crate::engine) struct OpenChats(HashMap<(String, Chat), SessionId>);

/// The index, for as long as nobody else may look or begin.
pub(in crate::engine) struct ChatLock<'a>(MutexGuard<'a, Option<OpenChats>>);

impl ChatIndex {
    pub(in crate::engine) fn lock(&self) -> ChatLock<'_> {
        ChatLock(lock(&self.0))
    }
}

impl ChatLock<'_> {
    /// What is known of all chats, by `read` where nobody has asked before.
    pub(in crate::engine) fn open<E>(
        &mut self,
        read: impl FnOnce() -> Result<OpenChats, E>,
    ) -> Result<&mut OpenChats, E> {
        Ok(match &mut *self.0 {
            Some(open) => open,
            none => none.insert(read()?),
        })
    }
}

impl OpenChats {
    pub(in crate::engine) fn get(&self, agent: &str, chat: &Chat) -> Option<&SessionId> {
        self.0.get(&(agent.to_owned(), chat.clone()))
    }

    /// Notes a session that is newer than any of its chat.
    pub(in crate::engine) fn note(&mut self, agent: &str, chat: Chat, id: SessionId) {
        self.0.insert((agent.to_owned(), chat), id);
    }

    /// Notes a session that is older than what is known of its chat.
    pub(in crate::engine) fn note_older(&mut self, agent: &str, chat: Chat, id: &SessionId) {
        let place = self.0.entry((agent.to_owned(), chat));
        place.or_insert_with(|| id.clone());
    }

    pub(in crate::engine) fn forget(&mut self, agent: &str, chat: &Chat) {
        self.0.remove(&(agent.to_owned(), chat.clone()));
    }
}
