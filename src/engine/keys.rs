//! The keys of a session's last messages: a repeated one stores nothing.

use std::collections::{HashMap, VecDeque};

use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SourceId};
use crate::domain::state::KEYED_MESSAGES;

/// Keys and the records they belong to, oldest first.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_key: HashMap<SourceId, Seq>,
    order: VecDeque<SourceId>,
}

impl Keys {
    /// The record of the message that came with that key.
    pub(super) fn get(&self, key: &SourceId) -> Option<Seq> {
        self.by_key.get(key).copied()
    }

    /// Learns the key of a record, if it has one.
    pub(super) fn learn(&mut self, record: &Record) {
        let Event::UserMessage(message) = &record.event else {
            return;
        };
        let Some(key) = &message.source_id else {
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
