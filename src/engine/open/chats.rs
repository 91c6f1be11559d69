//! Which sessions a gateway's chat has with each agent: the open one, and the one that ended last, whose keys
//! are still known.
//!
//! The sessions themselves say whose chat they are: the index is read from them when the first chat
//! is asked for, and kept in memory from then on. What has ended since is found out by asking.
//!
//! Owned by: the engine, all threads. Its lock is held for memory work, but for the one time that it is
//! read. Whoever looks for a chat's session and begins one has the chat's own lock meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::base::shown::shown_by_name;
use crate::domain::chat::Chat;
use crate::domain::ids::SessionId;
use crate::engine::open::keys::MessageKeys;

/// So many ended sessions' keys are kept, as each message of their chats asks for them.
const ENDED_KEYS_MAX: usize = 32;

/// Is told of what is written in sessions of chats, whoever caused it.
pub trait ChatListener: Send + Sync {
    /// Something was written in a session of a chat of `gateway`. Called on the thread that wrote it, which
    /// holds the session's log: it must not block, nor call the engine.
    fn is_new(&self, gateway: &str, session: &SessionId);
}

shown_by_name!(ChatListener);

/// See the [module](self); empty until the first chat is asked for.
#[derive(Debug, Default)]
pub(in crate::engine) struct ChatIndex {
    known: Mutex<Option<KnownChats>>,
    /// Of those asked for last, in that order.
    ended_keys: Mutex<Vec<(SessionId, Arc<MessageKeys>)>>,
}

/// The sessions of each chat, with each agent.
#[derive(Debug, Default)]
pub(in crate::engine) struct KnownChats(HashMap<Chat, Vec<ChatSessions>>);

/// What a chat has with one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct ChatSessions {
    agent: String,
    /// The newest that has not ended, as far as is known.
    pub(in crate::engine) open: Option<SessionId>,
    /// The newest that has.
    pub(in crate::engine) ended: Option<SessionId>,
}

impl ChatSessions {
    fn none(agent: &str) -> ChatSessions {
        ChatSessions {
            agent: agent.to_owned(),
            open: None,
            ended: None,
        }
    }
}

impl ChatIndex {
    /// Looks at all chats, or changes what is known of them; by `read` where nobody has asked before.
    pub(in crate::engine) fn with<T, E>(
        &self,
        read: impl FnOnce() -> Result<KnownChats, E>,
        look: impl FnOnce(&mut KnownChats) -> T,
    ) -> Result<T, E> {
        let mut known = lock(&self.known);
        let known = match &mut *known {
            Some(known) => known,
            none => none.insert(read()?),
        };
        Ok(look(known))
    }

    /// The keys of an ended session, by `read` unless they are still known.
    pub(in crate::engine) fn ended_keys<E>(
        &self,
        id: &SessionId,
        read: impl FnOnce() -> Result<MessageKeys, E>,
    ) -> Result<Arc<MessageKeys>, E> {
        let known = {
            let mut kept = lock(&self.ended_keys);
            let at = kept.iter().position(|(one, _)| one == id);
            at.map(|at| kept.remove(at).1)
        };
        let keys = match known {
            Some(keys) => keys,
            None => Arc::new(read()?),
        };
        let mut kept = lock(&self.ended_keys);
        kept.truncate(ENDED_KEYS_MAX - 1);
        kept.insert(0, (id.clone(), Arc::clone(&keys)));
        Ok(keys)
    }
}

impl KnownChats {
    pub(in crate::engine) fn get(&self, agent: &str, chat: &Chat) -> Option<&ChatSessions> {
        let of_chat = self.0.get(chat)?;
        of_chat.iter().find(|one| one.agent == agent)
    }

    /// The open sessions of all threads of a chat.
    pub(in crate::engine) fn open_in(&self, gateway: &str, chat_id: &str) -> Vec<SessionId> {
        let found = self.0.iter();
        let found = found.filter(|(chat, _)| chat.whole() == (gateway, chat_id));
        let open = found.flat_map(|(_, sessions)| sessions.iter());
        open.filter_map(|one| one.open.clone()).collect()
    }

    /// Notes a session, unless a newer one is known.
    pub(in crate::engine) fn note(
        &mut self,
        agent: &str,
        chat: Chat,
        id: &SessionId,
        has_ended: bool,
    ) {
        let sessions = self.entry(agent, chat);
        let place = if has_ended {
            &mut sessions.ended
        } else {
            &mut sessions.open
        };
        // The ids of sessions are in the order of their beginnings.
        if place.as_ref().is_none_or(|known| known < id) {
            *place = Some(id.clone());
        }
    }

    /// Notes that a session has ended, or cannot be gone on with.
    pub(in crate::engine) fn note_end(&mut self, agent: &str, chat: &Chat, id: &SessionId) {
        let sessions = self.entry(agent, chat.clone());
        if sessions.open.take_if(|open| open == id).is_some() {
            sessions.ended = Some(id.clone());
        }
    }

    /// All threads of a chat have another chat's id from now on.
    pub(in crate::engine) fn rename(&mut self, gateway: &str, from: &str, to: &str) {
        let moved: Vec<Chat> = self
            .0
            .keys()
            .filter(|chat| chat.whole() == (gateway, from))
            .cloned()
            .collect();
        for chat in moved {
            let sessions = self.0.remove(&chat).unwrap_or_default();
            for one in sessions {
                let chat = Chat {
                    chat_id: to.to_owned(),
                    ..chat.clone()
                };
                for (id, has_ended) in [(one.open, false), (one.ended, true)] {
                    if let Some(id) = id {
                        self.note(&one.agent, chat.clone(), &id, has_ended);
                    }
                }
            }
        }
    }

    fn entry(&mut self, agent: &str, chat: Chat) -> &mut ChatSessions {
        let of_chat = self.0.entry(chat).or_default();
        let at = of_chat.iter().position(|one| one.agent == agent);
        let at = at.unwrap_or_else(|| {
            of_chat.reserve_exact(1);
            of_chat.push(ChatSessions::none(agent));
            of_chat.len() - 1
        });
        &mut of_chat[at]
    }
}
