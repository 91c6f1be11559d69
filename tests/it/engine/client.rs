//! A client as those of the API are: it keeps what it was shown, and comes back.

use std::sync::Mutex;

use super::*;

/// A client that puts the reply together from tokens, and remembers where it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) cursor: Cursor,
    text: String,
    pub(super) rewinds: usize,
}

impl Client {
    pub(super) fn take(&mut self, items: &[FeedItem]) {
        for item in items {
            self.cursor = item.id;
            match &item.event {
                FeedEvent::Token { content: text, .. } => self.text.push_str(text),
                FeedEvent::Rewind { bytes, .. } => {
                    self.rewinds += 1;
                    self.text.truncate(usize::try_from(*bytes).unwrap());
                }
                FeedEvent::Message { content, .. } => {
                    assert_eq!(
                        self.text, **content,
                        "a client has put together something else"
                    );
                    self.text.clear();
                }
                FeedEvent::Gap { .. } => panic!("events that were shown are gone"),
                _ => {}
            }
        }
    }

    /// Comes back to another server, and reads to the end of the turn.
    pub(super) fn read_on(&mut self, world: &World, id: &SessionId) {
        let begin = Begin::After(self.cursor);
        let mut back = world
            .sessions
            .subscribe(id, begin, Presence::default())
            .unwrap();
        self.take(&read_until(&mut back, is_done));
    }

    /// Reads until the reply it puts together is this.
    pub(super) fn read_until_said(&mut self, subscription: &mut Subscription, words: &str) {
        let before = self.text.clone();
        let is_enough = Mutex::new(before);
        let items = read_until(subscription, |event| {
            let mut text = is_enough.lock().unwrap();
            if let FeedEvent::Token { content: piece, .. } = event {
                text.push_str(piece);
            }
            *text == words
        });
        self.take(&items);
    }
}
