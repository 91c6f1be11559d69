//! Sessions in memory, on a storage that several stores share and that fails where a test likes: what
//! an implementation is compared with, and what callers meet every failure of a storage by.
//!
//! Nothing survives the process. Everything else is promised as by a server that many nodes use:
//! claims, epochs and fencing. A lease counts as ended whenever somebody else claims.
//!
//! Owned by: whoever made it. One lock, which is held for memory work only.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::state::{SessionState, Summary};
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;
use crate::store::blobs::{BlobError, BlobId, Blobs};
use crate::store::documents::Documents;
use crate::store::error::StoreError;
use crate::store::sessions::{
    AppendError, Epoch, Journal, Listed, NodeName, OpenSession, Outline, PageQuery, Partial,
    PartialHead, ReadLimit, SessionLog, SessionStore, Snapshot, SummaryPage, SyncLater,
};
use crate::store::sim_documents::SimDocuments;

/// What several [`MemoryStore`]s share.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tables: Arc<Mutex<Tables>>,
    documents: SimDocuments,
}

#[derive(Debug, Default)]
struct Tables {
    sessions: BTreeMap<SessionId, SessionRow>,
}

#[derive(Debug)]
struct SessionRow {
    epoch: Epoch,
    records: Vec<Arc<Record>>,
    snapshot: Option<Snapshot>,
    partial: Option<Partial>,
    files: SimDocuments,
}

/// What a store is asked for, by the name of its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`SessionStore::create`].
    Create,
    /// [`SessionStore::claim`].
    Claim,
    /// [`SessionStore::open`], and what looks at a single session without its events.
    Open,
    /// [`SessionStore::records`], [`SessionStore::records_before`], [`SessionStore::find_message`].
    Read,
    /// [`SessionStore::summary`], [`SessionStore::list`], [`SessionStore::outlines`],
    /// [`SessionStore::page`].
    List,
    /// [`SessionStore::delete`].
    Delete,
    /// [`SessionLog::append`].
    Append,
    /// [`SessionLog::save_snapshot`], [`SessionStore::forget_snapshot`].
    Snapshot,
    /// All of [`Journal`].
    Journal,
    /// [`SessionStore::try_write`]. What is kept beside the sessions fails by its own plan.
    Trial,
}

/// What goes wrong with an operation.
#[derive(Debug)]
pub enum Injected {
    /// It is refused, and nothing is done.
    Refused(StoreError),
    /// It is done, and the answer is lost.
    AnswerLost(StoreError),
}

/// Says of each operation what goes wrong with it. It may block: the operation takes as long.
pub type OperationFaults = dyn Fn(Operation) -> Option<Injected> + Send + Sync;

/// One node's way to a [`MemoryStorage`].
#[derive(Clone)]
pub struct MemoryStore {
    storage: MemoryStorage,
    faults: Arc<OperationFaults>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("MemoryStore")
    }
}

impl MemoryStorage {
    /// A store on which nothing goes wrong.
    pub fn store(&self) -> MemoryStore {
        self.failing_store(|_| None)
    }

    /// A store on which what `faults` says goes wrong.
    pub fn failing_store(
        &self,
        faults: impl Fn(Operation) -> Option<Injected> + Send + Sync + 'static,
    ) -> MemoryStore {
        MemoryStore {
            storage: self.clone(),
            faults: Arc::new(faults),
        }
    }
}

impl MemoryStore {
    fn run<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let injected = (self.faults)(operation);
        if let Some(Injected::Refused(error)) = injected {
            return Err(error);
        }
        let done = work(&mut lock(&self.storage.tables))?;
        match injected {
            Some(Injected::AnswerLost(error) | Injected::Refused(error)) => Err(error),
            None => Ok(done),
        }
    }

    fn with_row<T>(
        &self,
        operation: Operation,
        id: &SessionId,
        work: impl FnOnce(&mut SessionRow) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(operation, |tables| work(tables.row(id)?))
    }

    /// Those older than `before`, newest first, of which `of` makes something.
    fn listed<T>(
        &self,
        before: Option<&SessionId>,
        of: impl Fn(&SessionId, &SessionRow) -> T,
    ) -> Result<Vec<T>, StoreError> {
        self.run(Operation::List, |tables| {
            let newest_first = tables.sessions.iter().rev();
            let older = newest_first.filter(|(id, _)| before.is_none_or(|before| *id < before));
            Ok(older.map(|(id, row)| of(id, row)).collect())
        })
    }
}

/// The files of a session, as long as there is one.
#[derive(Debug)]
struct MemoryFiles {
    tables: Arc<Mutex<Tables>>,
    id: SessionId,
}

impl MemoryFiles {
    fn of_session(&self) -> Option<SimDocuments> {
        let tables = lock(&self.tables);
        let row = tables.sessions.get(&self.id);
        row.map(|row| row.files.clone())
    }
}

impl Blobs for MemoryFiles {
    fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        let missing = || BlobError::Io {
            action: "write",
            location: self.id.to_string(),
            source: io::ErrorKind::NotFound.into(),
        };
        self.of_session().ok_or_else(missing)?.put(bytes)
    }

    fn size(&self, id: &BlobId) -> Result<Option<u64>, BlobError> {
        self.of_session().map_or(Ok(None), |files| files.size(id))
    }

    fn read(&self, id: &BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        let files = self.of_session();
        files.map_or(Ok(None), |files| Blobs::read(&files, id))
    }

    fn list(&self, after: Option<&BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobError> {
        let files = self.of_session();
        files.map_or(Ok(Vec::new()), |files| Blobs::list(&files, after, limit))
    }

    fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        let files = self.of_session();
        files.map_or(Ok(()), |files| Blobs::delete(&files, id))
    }
}

impl Tables {
    fn row(&mut self, id: &SessionId) -> Result<&mut SessionRow, StoreError> {
        let missing = || StoreError::NotFound(id.clone());
        self.sessions.get_mut(id).ok_or_else(missing)
    }
}

impl SessionRow {
    fn last_seq(&self) -> Seq {
        self.records.last().map_or(Seq::ZERO, |record| record.seq)
    }

    fn summary(&self) -> Summary {
        let mut summary = SessionState::new(Limits::none()).summary;
        self.records.iter().for_each(|record| summary.apply(record));
        summary
    }

    /// As many of `records` as `limit` allows, and at least one.
    fn page<'r>(
        records: impl Iterator<Item = &'r Arc<Record>>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError> {
        let mut page: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for record in records.take(limit.records) {
            bytes += encoded_bytes(record)?;
            if bytes > limit.bytes && !page.is_empty() {
                break;
            }
            page.push((**record).clone());
        }
        Ok(page)
    }
}

fn encoded_bytes(record: &Record) -> Result<usize, StoreError> {
    let json = serde_json::to_vec(record);
    json.map(|json| json.len()).map_err(|error| StoreError::Io {
        action: "write",
        target: "an event".to_owned(),
        source: io::Error::from(error),
    })
}

/// The records that `events` become in one append after `last`.
fn records_of(events: &[Event], last: Seq, at: Timestamp) -> Result<Vec<Arc<Record>>, StoreError> {
    let numbered = (last.0 + 1..).zip(events);
    let records = numbered.map(|(seq, event)| {
        let record = Record {
            seq: Seq(seq),
            timestamp: at,
            cont: seq > last.0 + 1,
            event: event.clone(),
        };
        encoded_bytes(&record).map(|_| Arc::new(record))
    });
    records.collect()
}

impl SessionStore for MemoryStore {
    fn create(
        &self,
        id: &SessionId,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.run(Operation::Create, |tables| {
            let records = records_of(&events, Seq::ZERO, at)?;
            if tables.sessions.contains_key(id) {
                return Err(StoreError::Io {
                    action: "create",
                    target: id.to_string(),
                    source: io::ErrorKind::AlreadyExists.into(),
                });
            }
            let row = SessionRow {
                epoch: Epoch::ZERO,
                records: records.clone(),
                snapshot: None,
                partial: None,
                files: SimDocuments::new(),
            };
            tables.sessions.insert(id.clone(), row);
            Ok(records)
        })
    }

    fn claim(&self, id: &SessionId, _node: &NodeName) -> Result<Epoch, StoreError> {
        self.with_row(Operation::Claim, id, |row| {
            row.epoch.0 += 1;
            Ok(row.epoch)
        })
    }

    fn is_older(&self, id: &SessionId) -> Result<bool, StoreError> {
        self.with_row(Operation::Open, id, |_| Ok(false))
    }

    fn take_over(&self, id: &SessionId, _at: Timestamp) -> Result<bool, StoreError> {
        self.with_row(Operation::Open, id, |_| Ok(false))
    }

    fn open(&self, id: &SessionId) -> Result<OpenSession, StoreError> {
        self.with_row(Operation::Open, id, |row| {
            Ok(OpenSession {
                log: Box::new(MemoryLog {
                    store: self.clone(),
                    id: id.clone(),
                    bytes: 0,
                }),
                journal: Box::new(MemoryJournal {
                    store: self.clone(),
                    id: id.clone(),
                    has_begun: false,
                }),
                snapshot: row.snapshot.clone(),
                last_seq: row.last_seq(),
                partial: row.partial.clone(),
            })
        })
    }

    fn records(
        &self,
        id: &SessionId,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_row(Operation::Read, id, |row| {
            let records = row.records.iter().filter(|record| record.seq >= from);
            SessionRow::page(records, limit)
        })
    }

    fn records_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_row(Operation::Read, id, |row| {
            let records = row.records.iter().rev();
            let earlier = records.filter(|record| record.seq < before);
            let mut page = SessionRow::page(earlier, limit)?;
            page.reverse();
            Ok(page)
        })
    }

    fn find_message(
        &self,
        id: &SessionId,
        message_id: &MessageId,
    ) -> Result<Option<Record>, StoreError> {
        self.with_row(Operation::Read, id, |row| {
            let is_it = |record: &&Arc<Record>| match &record.event {
                Event::UserMessage(message) => message.message_id == *message_id,
                Event::AssistantResponse(reply) => reply.message_id == *message_id,
                _ => false,
            };
            Ok(row
                .records
                .iter()
                .find(is_it)
                .map(|record| (**record).clone()))
        })
    }

    fn summary(&self, id: &SessionId) -> Result<Summary, StoreError> {
        self.with_row(Operation::List, id, |row| Ok(row.summary()))
    }

    fn forget_snapshot(&self, id: &SessionId) -> Result<(), StoreError> {
        self.with_row(Operation::Snapshot, id, |row| {
            row.snapshot = None;
            Ok(())
        })
    }

    fn list(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let mut ids = self.listed(before, |id, _| id.clone())?;
        ids.truncate(limit);
        Ok(ids)
    }

    fn outlines(
        &self,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Listed<Outline>>, StoreError> {
        let mut outlines = self.listed(before, |id, row| Listed {
            id: id.clone(),
            found: Ok(Outline::from(&row.summary())),
        })?;
        outlines.truncate(limit);
        Ok(outlines)
    }

    fn page(&self, query: &PageQuery) -> Result<SummaryPage, StoreError> {
        let all = self.listed(query.before.as_ref(), |id, row| (id.clone(), row.summary()))?;
        let passing = all
            .into_iter()
            .filter(|(_, summary)| query.filter.passes(summary));
        let mut sessions: Vec<Listed<Arc<Summary>>> = passing
            .take(query.limit.saturating_add(1))
            .map(|(id, summary)| Listed {
                id,
                found: Ok(Arc::new(summary)),
            })
            .collect();
        let has_more = sessions.len() > query.limit;
        sessions.truncate(query.limit);
        let next = sessions
            .last()
            .filter(|_| has_more)
            .map(|last| last.id.clone());
        Ok(SummaryPage { sessions, next })
    }

    fn contains(&self, id: &SessionId) -> Result<bool, StoreError> {
        self.run(Operation::Open, |tables| {
            Ok(tables.sessions.contains_key(id))
        })
    }

    fn delete(&self, id: &SessionId) -> Result<(), StoreError> {
        self.run(Operation::Delete, |tables| {
            tables.row(id)?;
            tables.sessions.remove(id);
            Ok(())
        })
    }

    fn files(&self, id: &SessionId) -> Arc<dyn Blobs> {
        Arc::new(MemoryFiles {
            tables: Arc::clone(&self.storage.tables),
            id: id.clone(),
        })
    }

    fn documents(&self) -> Arc<dyn Documents> {
        Arc::new(self.storage.documents.clone())
    }

    fn finish_deletions(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read_only(&self) -> usize {
        0
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        Ok(u64::MAX)
    }

    fn try_write(&self, _bytes: usize) -> Result<(), StoreError> {
        self.run(Operation::Trial, |_| Ok(()))
    }
}

#[derive(Debug)]
struct MemoryLog {
    store: MemoryStore,
    id: SessionId,
    /// Of what was appended since the opening.
    bytes: u64,
}

impl SessionLog for MemoryLog {
    fn append(
        &mut self,
        epoch: Epoch,
        expected_last: Seq,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, AppendError> {
        let stored = self.store.with_row(Operation::Append, &self.id, |row| {
            if row.epoch != epoch {
                return Err(StoreError::Fenced(self.id.clone()));
            }
            let actual = row.last_seq();
            if actual != expected_last {
                return Err(StoreError::Conflict {
                    expected: expected_last,
                    actual,
                });
            }
            let records = records_of(&events, expected_last, at)?;
            row.records.extend(records.iter().cloned());
            Ok(records)
        });
        let records = stored.map_err(|error| AppendError { error, events })?;
        for record in &records {
            self.bytes += encoded_bytes(record).unwrap_or(0) as u64;
        }
        Ok(records)
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.store.with_row(Operation::Snapshot, &self.id, |row| {
            row.snapshot = Some(snapshot.clone());
            Ok(())
        })
    }

    fn len_bytes(&self) -> u64 {
        self.bytes
    }
}

#[derive(Debug)]
struct MemoryJournal {
    store: MemoryStore,
    id: SessionId,
    has_begun: bool,
}

impl Journal for MemoryJournal {
    fn begin(&mut self, head: &PartialHead) -> Result<(), StoreError> {
        self.has_begun = false;
        self.store.with_row(Operation::Journal, &self.id, |row| {
            row.partial = Some(Partial {
                head: head.clone(),
                text: String::new(),
            });
            Ok(())
        })?;
        self.has_begun = true;
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), StoreError> {
        let has_begun = self.has_begun;
        self.store.with_row(Operation::Journal, &self.id, |row| {
            let partial = row.partial.as_mut().filter(|_| has_begun);
            let partial = partial.ok_or_else(|| StoreError::Io {
                action: "write",
                target: "the journal".to_owned(),
                source: io::Error::other("no reply was begun"),
            })?;
            partial.text.push_str(text);
            Ok(())
        })
    }

    fn sync_later(&mut self) -> SyncLater {
        let store = self.store.clone();
        Box::new(move || store.run(Operation::Journal, |_| Ok(())))
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.has_begun = false;
        self.store.with_row(Operation::Journal, &self.id, |row| {
            row.partial = None;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
