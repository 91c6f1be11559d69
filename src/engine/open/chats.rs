//! Which sessions a gateway's chat has with each agent: the open one, and the one that ended last, whose keys
//! are still known.
//!
//! The sessions themselves say whose chat they are: the index is read from them when the first chat
//! is asked for, and kept in memory from then on. What has ended since is found out by asking.
//!
//! Owned by: the engine, all threads. Its lock is held for memory work, but for the one time that it is
//! read. Whoever looks for a chat's session and begins one has the chat's own lock meanwhile.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
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

/// The sessions of each chat with each agent. A chat is known by a number that is made of it, in a tenth of
/// its memory: two that had the same would only begin sessions anew, as each says whose it is.
#[derive(Debug, Default)]
pub(in crate::engine) struct KnownChats {
    by_chat: HashMap<u128, ChatSessions>,
    sums: [RandomState; 2],
}

/// What a chat has with one agent; both as numbers, 0 for none.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine) struct ChatSessions {
    open: u128,
    ended: u128,
}

impl ChatSessions {
    /// The newest that has not ended, as far as is known.
    pub(in crate::engine) fn open(self) -> Option<SessionId> {
        (self.open != 0).then(|| SessionId::from_bits(self.open))
    }

    /// The newest that has.
    pub(in crate::engine) fn ended(self) -> Option<SessionId> {
        (self.ended != 0).then(|| SessionId::from_bits(self.ended))
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
    pub(in crate::engine) fn get(&self, agent: &str, chat: &Chat) -> ChatSessions {
        let found = self.by_chat.get(&self.number_of(agent, chat));
        found.copied().unwrap_or_default()
    }

    /// Notes a session, unless a newer one is known.
    pub(in crate::engine) fn note(
        &mut self,
        agent: &str,
        chat: &Chat,
        id: &SessionId,
        has_ended: bool,
    ) {
        let number = self.number_of(agent, chat);
        let sessions = self.by_chat.entry(number).or_default();
        let place = if has_ended {
            &mut sessions.ended
        } else {
            &mut sessions.open
        };
        // The ids of sessions are in the order of their beginnings.
        *place = id.to_bits().max(*place);
    }

    /// Notes that a session has ended, or cannot be gone on with.
    pub(in crate::engine) fn note_end(&mut self, agent: &str, chat: &Chat, id: &SessionId) {
        let number = self.number_of(agent, chat);
        let sessions = self.by_chat.entry(number).or_default();
        if sessions.open == id.to_bits() {
            *sessions = ChatSessions {
                open: 0,
                ended: sessions.open,
            };
        }
    }

    /// Forgets what a chat had: it has another id.
    pub(in crate::engine) fn forget(&mut self, agent: &str, chat: &Chat) {
        self.by_chat.remove(&self.number_of(agent, chat));
    }

    fn number_of(&self, agent: &str, chat: &Chat) -> u128 {
        let [high, low] = &self.sums;
        let sum = |sums: &RandomState| u128::from(sums.hash_one((agent, chat)));
        sum(high) << 64 | sum(low)
    }
}
