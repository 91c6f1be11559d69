//! The keys of a session's last messages: a repeated one stores nothing.

use std::collections::{HashMap, VecDeque};

use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SourceId};
use crate::domain::state::KEYED_MESSAGES;

/// Keys and the records they belong to, oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct MessageKeys {
    by_key: HashMap<SourceId, Seq>,
    order: VecDeque<SourceId>,
}

impl MessageKeys {
    /// The record of the message that came with that key.
    pub(in crate::engine) fn get(&self, key: &SourceId) -> Option<Seq> {
        self.by_key.get(key).copied()
    }

    /// Learns the key of a record, if it has one.
    pub(in crate::engine) fn learn(&mut self, record: &Record) {
        let found = if let Event::UserMessage(message) = &record.event {
            message.source_id.as_ref()
        } else if let Event::SilentMessage { source_id, .. } = &record.event {
            source_id.as_ref()
        } else {
            None
        };
        let Some(key) = found else {
            return;
        };
        if self.by_key.insert(key.clone(), record.seq).is_none() {
            self.order.push_back(key.clone());
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

    fn key(n: u64) -> SourceId {
        SourceId::parse(&format!("key-{n}")).unwrap()
    }

    fn keyed(seq: u64) -> Record {
        let message = UserMessage {
            source_id: Some(key(seq)),
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
    fn a_record_without_a_key_teaches_nothing() {
        let mut keys = MessageKeys::default();
        let records = log([user(1, "hi"), notice()]);
        records.iter().for_each(|record| keys.learn(record));
        assert!(keys.by_key.is_empty());
    }
}
