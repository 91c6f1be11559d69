//! What there is, read without opening anything.

use std::sync::Arc;

use crate::domain::event::Record;
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::principal::Principal;
use crate::domain::ranking::WordQuery;
use crate::domain::search::{FoundMessage, MessageSearch};
use crate::domain::state::Summary;
use crate::domain::transcript::{self, ShownMessage};
use crate::engine::error::{EngineError, chain};
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::{ListQuery, SearchQuery};
use crate::engine::stored::PAGE;
use crate::engine::watch::view::{SessionPage, SessionView};
use crate::store::{Listed, PageQuery, ReadLimit, search};

impl Sessions {
    /// One page of sessions, newest first.
    pub fn list(&self, query: &ListQuery) -> Result<SessionPage, EngineError> {
        let mut sessions: Vec<SessionView> = Vec::new();
        let mut before = query.cursor.clone();
        loop {
            let page = self.engine.parts.store.page(&PageQuery {
                before,
                limit: query.limit.saturating_sub(sessions.len()),
                filter: query.of_stored(),
            })?;
            for Listed { id, found } in page.sessions {
                match found {
                    Ok(summary) => sessions.push(self.view_of(&id, Arc::unwrap_or_clone(summary))),
                    // One damaged session must not hide the others.
                    Err(error) => log::warn!("session {id} is not listed: {}", chain(&error)),
                }
            }
            sessions.retain(|view| query.wants(view));
            before = page.next;
            if before.is_none() || sessions.len() >= query.limit {
                return Ok(SessionPage {
                    sessions,
                    next_cursor: before,
                });
            }
        }
    }

    /// Messages that fit a query best, of the sessions that are there for `by`, and of one agent alone where
    /// it is named; until `goes_on` says no.
    pub fn search(
        &self,
        query: &SearchQuery,
        by: &Principal,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Vec<FoundMessage>, EngineError> {
        let words = WordQuery::new(&query.text);
        let is_agent = |summary: &Summary| {
            query
                .agent
                .as_ref()
                .is_none_or(|name| summary.agent == *name)
        };
        let mut found = search::search(
            &*self.engine.parts.store,
            &MessageSearch {
                query: &words,
                since: query.since,
                limit: query.limit,
                asking: None,
                sees: &|id, summary| by.may_see(id, summary.owner.as_deref()) && is_agent(summary),
                goes_on,
            },
        )?;
        // What is being written is not there yet.
        found.retain(|message| {
            let open = self.engine.open.in_use(&message.session_id);
            open.is_none_or(|session| message.seq <= session.live().last_seq())
        });
        Ok(found)
    }

    /// Refuses one whom a session is not there for, as if there were none of that id.
    pub fn refuse_unseen(&self, id: &SessionId, asker: &Principal) -> Result<(), EngineError> {
        if asker.is_owner() {
            return Ok(());
        }
        let owner = self.view(id)?.summary.owner;
        if !asker.may_see(id, owner.as_deref()) {
            return Err(EngineError::SessionNotFound(id.clone()));
        }
        Ok(())
    }

    /// A session as a list shows it: without opening it.
    pub(super) fn view(&self, id: &SessionId) -> Result<SessionView, EngineError> {
        match self.engine.open.in_use(id) {
            Some(session) => Ok(session.live().view(id)),
            None => Ok(self.view_of(id, self.engine.parts.store.summary(id)?)),
        }
    }

    /// The same of a session that was just found so in the store.
    fn view_of(&self, id: &SessionId, summary: Summary) -> SessionView {
        match self.engine.open.in_use(id) {
            Some(session) => session.live().view(id),
            None => SessionView::new(id, summary, false, 0),
        }
    }

    /// One session.
    pub fn show(&self, id: &SessionId) -> Result<SessionView, EngineError> {
        let view = self.view(id)?;
        if view.summary.pending_call.is_none() || view.pending_approval.is_some() {
            return Ok(view);
        }
        // What is asked stands in the log alone.
        let session = self.engine.open.get(id)?;
        let view = session.live().view(id);
        Ok(view)
    }

    /// The last `limit` messages (before `before`), oldest first.
    pub fn messages(
        &self,
        id: &SessionId,
        limit: usize,
        before: Option<&MessageId>,
    ) -> Result<Vec<ShownMessage>, EngineError> {
        let last = self.engine.open.last_published(id)?;
        let end = match before {
            None => last.next(),
            Some(message_id) => {
                let found = self.engine.parts.store.find_message(id, message_id)?;
                let missing = || EngineError::MessageNotFound(message_id.to_string());
                found.ok_or_else(missing)?.seq
            }
        };
        self.messages_before(id, end, limit)
    }

    /// Records after `after`, in order, at most `limit`.
    pub fn events(
        &self,
        id: &SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Record>, EngineError> {
        let last = self.engine.open.last_published(id)?;
        let limit = ReadLimit {
            records: limit,
            bytes: PAGE.bytes,
        };
        let mut records = self.engine.parts.store.records(id, after.next(), limit)?;
        records.retain(|record| record.seq <= last);
        Ok(records)
    }

    /// The last `limit` messages that stand before event `end`.
    pub(super) fn messages_before(
        &self,
        id: &SessionId,
        end: Seq,
        limit: usize,
    ) -> Result<Vec<ShownMessage>, EngineError> {
        /// As a rule a turn has two messages and four records; one with tools has more.
        const RECORDS_MIN: usize = 128;
        let mut said = Vec::new();
        let mut before = end;
        while limit > 0 && before > Seq(1) {
            // One more than wanted: the first may be the end of a reply that begins before.
            let missing = (limit + 1).saturating_sub(transcript::least_messages(&said));
            if missing == 0 {
                break;
            }
            let page_limit = ReadLimit {
                records: (2 * missing).max(RECORDS_MIN),
                bytes: PAGE.bytes,
            };
            let store = &self.engine.parts.store;
            let mut page = store.said_before(id, before, page_limit)?;
            page.said.append(&mut said);
            said = page.said;
            before = page.first.unwrap_or(Seq(1));
        }
        let mut shown = transcript::messages(said);
        Ok(shown.split_off(shown.len().saturating_sub(limit)))
    }
}
