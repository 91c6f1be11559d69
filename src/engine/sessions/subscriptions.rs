//! Subscribers: where each begins, and who counts as attached.

use std::sync::Arc;

use crate::domain::event::Status;
use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::open::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::{Begin, Presence};
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::feed::{FeedEvent, FeedItem};
use crate::engine::watch::live::WatcherRole;
use crate::engine::watch::subscription::{Subscription, WatcherGuard, cursor_now, feed_after};

impl Sessions {
    /// Attaches a subscriber to everything that happens in a session.
    pub fn subscribe(
        &self,
        id: &SessionId,
        begin: Begin,
        presence: Presence,
    ) -> Result<Subscription, EngineError> {
        let session = self.engine.open.get(id)?;
        let role = if presence.is_readonly {
            WatcherRole::Readonly
        } else {
            WatcherRole::Attached
        };
        let watcher = WatcherGuard::take(&session, role);
        if presence.detaches_others {
            session.live().detach_others(watcher.id());
        }
        if !presence.is_readonly && !session.live().state.is_over() {
            // What cannot be written can be read all the same.
            self.set_going(&session);
        }
        match begin {
            Begin::Now { history } => self.subscribe_now(&session, watcher, history),
            Begin::After(cursor) => self.subscribe_after(&session, watcher, cursor),
        }
    }

    fn subscribe_now(
        &self,
        session: &Arc<Session>,
        watcher: WatcherGuard,
        history: usize,
    ) -> Result<Subscription, EngineError> {
        let (view, cursor) = {
            let live = session.live();
            (live.view(&session.id), cursor_now(&live))
        };
        let before = cursor.seq.next();
        let messages = self.messages_before(&session.id, before, history)?;
        let mut feed = feed_after(&*self.engine.parts.store, session, cursor)?;
        feed.is_over_if(view.summary.status == Status::Completed);
        let opening = FeedItem {
            id: cursor,
            event: FeedEvent::Session {
                session: Box::new(view),
                messages,
            },
        };
        Ok(watcher
            .show(&self.engine.parts.store, feed)
            .opening_with(vec![opening]))
    }

    fn subscribe_after(
        &self,
        session: &Arc<Session>,
        watcher: WatcherGuard,
        cursor: Cursor,
    ) -> Result<Subscription, EngineError> {
        let (last, is_over) = {
            let live = session.live();
            (live.last_seq(), live.state.is_over())
        };
        if cursor.seq <= last {
            let feed = feed_after(&*self.engine.parts.store, session, cursor)?;
            return Ok(watcher.show(&self.engine.parts.store, feed));
        }
        // It has seen what is no longer there.
        let mut feed = feed_after(&*self.engine.parts.store, session, Cursor::after(last))?;
        feed.is_over_if(is_over);
        let gap = FeedEvent::Gap {
            from_seq: last.next(),
            to_seq: cursor.seq,
        };
        // Its end, too, is among what is not shown again.
        let end = is_over.then_some(FeedEvent::Status {
            from: None,
            to: Status::Completed,
        });
        let id = Cursor::after(last);
        let opening = [gap].into_iter().chain(end);
        let opening = opening.map(|event| FeedItem { id, event }).collect();
        Ok(watcher
            .show(&self.engine.parts.store, feed)
            .opening_with(opening))
    }
}
