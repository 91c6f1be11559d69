//! What a server tells of a session's log, and the end of sessions.

use serde::Deserialize;
use serde_json::Value;
use ureq::http::Method;

use crate::client::{CALL_LIMIT, Client, ClientError, checked, session_path, with_query};
use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};

/// A part of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    /// In order. Events that only a newer version knows are left out.
    pub records: Vec<Record>,
    /// Where the next part begins after; `None` at the end.
    pub next: Option<Seq>,
}

impl Client {
    /// The records after `after`, at most `limit`.
    pub fn records(
        &self,
        id: &SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<RecordPage, ClientError> {
        if after == Seq::ZERO {
            self.refuse_older("it does not give out what stands in a session's log")?;
        }
        #[derive(Deserialize)]
        struct Page {
            events: Vec<Value>,
            #[serde(default)]
            next: Option<Seq>,
        }
        let (after, limit) = (after.to_string(), limit.to_string());
        let query = [("after", after.as_str()), ("limit", limit.as_str())];
        let path = with_query(&session_path(id, "/events"), &query);
        let page: Page = self.call(Method::GET, &path, None)?;
        let records: Result<Vec<Record>, _> = page
            .events
            .iter()
            .map(|event| Record::parse(event.to_string().as_bytes()))
            .collect();
        let records = records.map_err(ClientError::NotOurs)?;
        // A page may also be cut for its size, which the answer does not say.
        let last = records.last().map(|record| record.seq);
        Ok(RecordPage {
            records,
            next: page.next.max(last),
        })
    }

    /// Ends a session and keeps its files.
    ///
    /// Errors: [`ClientError::Older`], of a server that knows no `keep` and would delete them.
    pub fn end_session(&self, id: &SessionId) -> Result<(), ClientError> {
        self.refuse_older("it would delete the session with all that was said in it")?;
        let target = self.target(Some(CALL_LIMIT))?;
        let path = with_query(&session_path(id, ""), &[("keep", "true")]);
        checked(self.send(&target, Method::DELETE, &path, None)?)?;
        Ok(())
    }
}
