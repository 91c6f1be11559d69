//! The keys of what was said last in a session, decisions and stops among it: a repeated one stores nothing.
//!
//! Everybody chooses keys of their own: two senders may choose the same one.

use std::collections::{HashMap, VecDeque};

use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SourceId};
use crate::domain::state::KEYED_MESSAGES;

/// A key and who chose it, both as the log has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::engine) struct MessageKey {
    /// `None` for the server's owner.
    sender_id: Option<String>,
    key: SourceId,
}

impl MessageKey {
    /// The key of whoever the log calls `sender_id`.
    pub(in crate::engine) fn new(sender_id: Option<String>, key: SourceId) -> MessageKey {
        MessageKey { sender_id, key }
    }

    fn logged(record: &Record) -> Option<MessageKey> {
        let (sender_id, key) = if let Event::UserMessage(message) = &record.event {
            (message.sender_id.clone(), message.source_id.clone())
        } else if let Event::SilentMessage {
            sender_id,
            source_id,
            ..
        } = &record.event
        {
            let sender_id = Some(sender_id.clone()).filter(|id| !id.is_empty());
            (sender_id, source_id.clone())
        } else if let Event::ApprovalDecision { by, source_id, .. } = &record.event {
            (by.clone(), source_id.clone())
        } else if let Event::TurnEnded { cause, .. }
        | Event::SessionEnd { cause, .. }
        | Event::GrantRevoked { cause, .. } = &record.event
        {
            (cause.by.clone(), cause.source_id.clone())
        } else {
            return None;
        };
        key.map(|key| MessageKey { sender_id, key })
    }
}

/// Keys and the records they belong to, oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct MessageKeys {
    by_key: HashMap<MessageKey, Seq>,
    order: VecDeque<MessageKey>,
}

impl MessageKeys {
    /// The record of the message that came with that key.
    pub(in crate::engine) fn get(&self, key: &MessageKey) -> Option<Seq> {
        self.by_key.get(key).copied()
    }

    /// Learns the key of a record, if it has one.
    pub(in crate::engine) fn learn(&mut self, record: &Record) {
        let Some(key) = MessageKey::logged(record) else {
            return;
        };
        if self.by_key.insert(key.clone(), record.seq).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() as u64 > KEYED_MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::UserMessage;
    use crate::domain::story::{log, notice, record, user, user_message};

    fn key(n: u64) -> MessageKey {
        MessageKey {
            sender_id: None,
            key: source_id(n),
        }
    }

    fn source_id(n: u64) -> SourceId {
        SourceId::parse(&format!("key-{n}")).unwrap()
    }

    fn keyed(seq: u64) -> Record {
        let message = UserMessage {
            source_id: Some(source_id(seq)),
            ..user_message(seq, "hi")
        };
        record(seq, Event::from(message))
    }

    #[test]
    fn the_keys_of_the_last_thousand_keyed_messages_are_known() {
        let mut keys = MessageKeys::default();
        (1..=KEYED_MESSAGES + 5).for_each(|seq| keys.learn(&keyed(seq)));
        assert_eq!(keys.get(&key(5)), None);
        assert_eq!(keys.get(&key(6)), Some(Seq(6)));
        assert_eq!(keys.get(&key(1005)), Some(Seq(1005)));
        assert_eq!(keys.by_key.len(), keys.order.len());
    }

    #[test]
    fn two_senders_may_choose_the_same_key() {
        let said_by = |seq, sender_id: Option<&str>| {
            let message = UserMessage {
                sender_id: sender_id.map(str::to_owned),
                source_id: Some(source_id(1)),
                ..user_message(seq, "hi")
            };
            record(seq, Event::from(message))
        };
        let mut keys = MessageKeys::default();
        keys.learn(&said_by(2, None));
        keys.learn(&said_by(3, Some("token:alice")));
        let of = |sender_id: Option<&str>| {
            keys.get(&MessageKey {
                sender_id: sender_id.map(str::to_owned),
                key: source_id(1),
            })
        };
        assert_eq!(of(None), Some(Seq(2)));
        assert_eq!(of(Some("token:alice")), Some(Seq(3)));
        assert_eq!(of(Some("token:bob")), None);
    }

    #[test]
    fn a_record_without_a_key_teaches_nothing() {
        let mut keys = MessageKeys::default();
        let records = log([user(1, "hi"), notice()]);
        records.iter().for_each(|record| keys.learn(record));
        assert!(keys.by_key.is_empty());
    }
}
