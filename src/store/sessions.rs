//! Where sessions are kept: the traits that the engine uses, and what their parts mean.

use std::sync::Arc;

use crate::base::shown::shown_by_name;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{MessageId, Seq, SessionId, TurnId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::domain::window::Marks;
use crate::store::documents::Documents;
use crate::store::error::StoreError;

/// Sessions on durable storage, shared by all threads.
pub trait SessionStore: Send + Sync {
    /// Creates a session with its first events. On return they, and the session's place in the
    /// list, survive a power cut.
    fn create(&self, id: &SessionId, at: Timestamp, events: &[Event]) -> Result<(), StoreError>;

    /// Whether an older version wrote the session, and it is as that version left it.
    ///
    /// Reading makes no difference: each function that reads gives its events as they are once it
    /// is taken over.
    fn is_older(&self, id: &SessionId) -> Result<bool, StoreError>;

    /// Makes a session that an older version wrote one of this version's, adopted at `at`; `false`
    /// if it is one already. What it was stays beside it. As with [`open`](SessionStore::open), the
    /// caller sees to it that nobody else has it in hand.
    ///
    /// Errors: as of [`open`](SessionStore::open), and [`StoreError::OlderDamaged`].
    fn take_over(&self, id: &SessionId, at: Timestamp) -> Result<bool, StoreError>;

    /// Opens a session for appending, after repairing what an interrupted append left. At most
    /// one [`OpenSession`] of an id exists at a time; the caller sees to that.
    ///
    /// Errors: [`StoreError::NotFound`], [`StoreError::Damaged`], [`StoreError::NewerFormat`],
    /// [`StoreError::ReadOnly`], [`StoreError::Io`]; [`StoreError::Older`] for one that was not
    /// [taken over](SessionStore::take_over).
    fn open(&self, id: &SessionId) -> Result<OpenSession, StoreError>;

    /// Reads records from `from` on, in order, until `limit` is reached or the log ends.
    fn records(&self, id: &SessionId, from: Seq, limit: Limit) -> Result<Vec<Record>, StoreError>;

    /// Reads the records just before `before`, in ascending order, as many as `limit` allows.
    fn records_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: Limit,
    ) -> Result<Vec<Record>, StoreError>;

    /// The record of the user message or (part of the) reply with that id.
    fn find_message(
        &self,
        id: &SessionId,
        message_id: &MessageId,
    ) -> Result<Option<Record>, StoreError>;

    /// The summary of a session, brought up to the end of its log; without opening it.
    fn summary(&self, id: &SessionId) -> Result<Summary, StoreError>;

    /// Forgets what was noted of a session to open it quickly: it will be read from its log.
    fn forget_snapshot(&self, id: &SessionId) -> Result<(), StoreError>;

    /// Up to `limit` ids smaller (older) than `before`, newest first.
    fn list(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError>;

    /// Whether a session of that id exists.
    fn contains(&self, id: &SessionId) -> Result<bool, StoreError>;

    /// Deletes a session and all its files, in a way that a crash in the middle does not undo.
    fn delete(&self, id: &SessionId) -> Result<(), StoreError>;

    /// The documents on the same storage: the keys of session creation, and what else goes with the
    /// sessions when they move.
    fn documents(&self) -> Arc<dyn Documents>;

    /// How many sessions can't be written as long as the process lives: [`StoreError::ReadOnly`].
    fn read_only(&self) -> usize;

    /// Bytes that can still be written where sessions are kept, as far as the system tells.
    fn free_bytes(&self) -> Result<u64, StoreError>;

    /// Writes so many bytes where sessions are kept, syncs and removes them: what a quota or a
    /// read-only disk forbids, nothing else tells.
    fn try_write(&self, bytes: usize) -> Result<(), StoreError>;
}

shown_by_name!(SessionStore);

/// A session opened for writing.
#[derive(Debug)]
pub struct OpenSession {
    /// Its log.
    pub log: Box<dyn SessionLog>,
    /// The journal of the reply in flight.
    pub journal: Box<dyn Journal>,
    /// The last snapshot that fits the log.
    pub snapshot: Option<Snapshot>,
    /// The last record of the log.
    pub last_seq: Seq,
    /// A reply that was being streamed when the process ended. One whose `message_id` the log
    /// has is not among them: the caller checks that while replaying.
    pub partial: Option<Partial>,
}

/// How much a read may return. At least one record is returned, however large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Records.
    pub records: usize,
    /// Bytes of the log.
    pub bytes: usize,
}

/// The log of a session, for its one writer.
pub trait SessionLog: Send {
    /// Appends `events` in one piece as the records after `expected_last`, and returns them once
    /// they are synced.
    ///
    /// Errors: [`StoreError::Conflict`] when the log does not end at `expected_last`;
    /// [`StoreError::Full`] when nothing was stored for want of space; [`StoreError::ReadOnly`]
    /// when it is unknown whether the events were stored, now or at an earlier append: nothing
    /// more can be appended as long as the process lives.
    fn append(
        &mut self,
        expected_last: Seq,
        at: Timestamp,
        events: &[Event],
    ) -> Result<Vec<Arc<Record>>, StoreError>;

    /// Replaces the snapshot. A failure costs time at the next opening, nothing else.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Bytes of the log.
    fn len_bytes(&self) -> u64;
}

shown_by_name!(SessionLog);

/// The text of the reply in flight, written before any client sees it.
pub trait Journal: Send {
    /// Begins a reply; what was there is forgotten.
    fn begin(&mut self, head: &PartialHead) -> Result<(), StoreError>;

    /// Adds text, in a way that survives the death of the process (not a power cut).
    fn push(&mut self, text: &str) -> Result<(), StoreError>;

    /// What makes that which was pushed until now survive a power cut. It may take long, and may
    /// run on another thread while more is pushed.
    fn sync_later(&mut self) -> SyncLater;

    /// Forgets the reply, once the log has it.
    fn clear(&mut self) -> Result<(), StoreError>;
}

shown_by_name!(Journal);

/// A sync that is still to be done.
pub type SyncLater = Box<dyn FnOnce() -> Result<(), StoreError> + Send>;

/// Which reply is in flight.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartialHead {
    /// Its turn.
    pub turn_id: TurnId,
    /// Its identifier.
    pub message_id: MessageId,
    /// The last event that its call contained.
    pub input_seq: Seq,
    /// The model that was asked, as `provider/name`; empty in what older versions wrote.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
}

/// A reply that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Which reply.
    pub head: PartialHead,
    /// What had come of it.
    pub text: String,
}

/// What a later opening starts from instead of the whole log.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The summary as of its `last_seq`.
    pub summary: Summary,
    /// From which record on the window of the next model call is folded.
    pub window_seq: Seq,
    /// How that window stands.
    pub marks: Marks,
}
