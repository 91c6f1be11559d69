//! Where sessions are kept: the traits that the engine uses, and what their parts mean.
//!
//! A session has one owner at a time. [`claim`](SessionStore::claim) makes a node the owner and gives
//! it an epoch; an append of an older epoch is [`StoreError::Fenced`], whoever sends it. A lease
//! decides when somebody may claim, the epoch whether a write counts. A store that only one process
//! can use at a time, as the one of files, has no other epoch than the first.
//!
//! What each function promises is tested by the [conformance suite](crate::store::conformance), which
//! takes any implementation.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::shown::shown_by_name;
use crate::domain::event::{Event, Record, RecordHead, Status};
use crate::domain::ids::{MessageId, Seq, SessionId, TurnId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::domain::transcript::Said;
use crate::domain::window::Marks;
use crate::store::blobs::Blobs;
use crate::store::documents::Documents;
use crate::store::error::StoreError;

/// Sessions on durable storage, shared by all threads.
pub trait SessionStore: Send + Sync {
    /// Creates a session with its first events, and returns them as records. They, and the session's
    /// place in the list, survive a power cut then.
    ///
    /// Errors: any, one for an id that is taken; the new session does not exist then, now or later.
    fn create(
        &self,
        id: &SessionId,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, StoreError>;

    /// Makes `node` the owner of a session. From the return on nothing of an older epoch is stored.
    ///
    /// The owner may claim again, and a node that was started again may claim what it had.
    ///
    /// Errors: [`StoreError::NotFound`].
    fn claim(&self, id: &SessionId, node: &NodeName) -> Result<Epoch, StoreError>;

    /// What tells the session from a copy that somebody puts in its place; empty where nothing does. It stays
    /// the same across restarts.
    fn identity(&self, _id: &SessionId) -> String {
        String::new()
    }

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

    /// Opens a session for appending, after repairing what an interrupted append left. The caller
    /// has claimed it, and sees to it that at most one [`OpenSession`] of an id exists at a time.
    ///
    /// Errors: [`StoreError::NotFound`], [`StoreError::Damaged`], [`StoreError::NewerFormat`],
    /// [`StoreError::ReadOnly`], [`StoreError::Io`]; [`StoreError::Older`] for one that was not
    /// [taken over](SessionStore::take_over).
    fn open(&self, id: &SessionId) -> Result<OpenSession, StoreError>;

    /// Reads records from `from` on, in order, until `limit` is reached or the log ends.
    fn records(
        &self,
        id: &SessionId,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError>;

    /// Reads the records just before `before`, in ascending order, as many as `limit` allows.
    fn records_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError>;

    /// What was said in the records just before `before`, in ascending order, of as many as `limit`
    /// allows. What a conversation does not show is not looked at further than its checksum.
    fn said_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: ReadLimit,
    ) -> Result<SaidPage, StoreError> {
        let records = self.records_before(id, before, limit)?;
        Ok(SaidPage {
            first: records.first().map(|record| record.seq),
            said: records.iter().filter_map(Said::of).collect(),
        })
    }

    /// Hands the lines of a log over from the first on, until `each` says that it is enough. Nobody has
    /// compared them with their checksums, and one whose head cannot be read is left out: for looking
    /// through much, where what is used of it is read again.
    fn each_line(&self, id: &SessionId, each: &mut EachLine<'_>) -> Result<(), StoreError> {
        const PAGE: ReadLimit = ReadLimit {
            records: 512,
            bytes: 512 << 10,
        };
        let mut from = Seq(1);
        loop {
            let page = self.records(id, from, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            from = last.seq.next();
            for record in &page {
                let json = serde_json::to_vec(record).unwrap_or_default();
                if let Ok(head) = RecordHead::parse(&json)
                    && each(&head, &json).is_break()
                {
                    return Ok(());
                }
            }
        }
    }

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

    /// Up to `limit` ids smaller (older) than `before`, newest first. Reads no session.
    fn list(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError>;

    /// What upkeep decides by, of up to `limit` sessions older than `before`, newest first. A session
    /// whose last outline still holds is not read; one that cannot be read is among them, with the
    /// reason.
    ///
    /// Fewer than `limit` are returned only where no more follow.
    fn outlines(
        &self,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Listed<Outline>>, StoreError>;

    /// One page of the sessions that a query asks for, newest first, as they stand now. One that
    /// cannot be read is on it whatever the filter, with the reason: damage hides nothing.
    fn page(&self, query: &PageQuery) -> Result<SummaryPage, StoreError>;

    /// Whether a session of that id exists.
    fn contains(&self, id: &SessionId) -> Result<bool, StoreError>;

    /// Deletes a session and all that was stored with it. A crash in the middle does not undo it.
    fn delete(&self, id: &SessionId) -> Result<(), StoreError>;

    /// The files that belong to a session: what came with its messages, and what was sent with its
    /// replies. They are deleted with it. Of a session that does not exist there are none, and none
    /// can be put.
    fn files(&self, id: &SessionId) -> Arc<dyn Blobs>;

    /// The documents on the same storage: the keys of session creation, and what else goes with the
    /// sessions when they move.
    fn documents(&self) -> Arc<dyn Documents>;

    /// Removes what creations and deletions left that a crash interrupted. For the owner of the
    /// sessions, who may create and delete some meanwhile.
    fn finish_deletions(&self) -> Result<(), StoreError>;

    /// How many sessions can't be written as long as the process lives: [`StoreError::ReadOnly`].
    fn read_only(&self) -> usize;

    /// Bytes that can still be written where sessions are kept, as far as the system tells.
    fn free_bytes(&self) -> Result<u64, StoreError>;

    /// Writes so many bytes where sessions are kept, syncs and removes them: what a quota or a
    /// read-only disk forbids, nothing else tells.
    fn try_write(&self, bytes: usize) -> Result<(), StoreError>;
}

shown_by_name!(SessionStore);

/// Takes a line of a log as it lies on the disk, and says whether it wants more.
pub type EachLine<'a> = dyn FnMut(&RecordHead<'_>, &[u8]) -> ControlFlow<()> + 'a;

/// Which process works on sessions, where several may.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// A node of that name, which no other node bears.
    pub fn new(name: &str) -> NodeName {
        NodeName(name.into())
    }

    /// The only one, where nobody shares the storage.
    pub fn only() -> NodeName {
        NodeName::new("local")
    }
}

/// Which claim of a session an append belongs to; a later claim has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// That of a store without other owners.
    pub const ZERO: Epoch = Epoch(0);
}

/// A session of a list, and what was found of it.
#[derive(Debug)]
pub struct Listed<T> {
    /// Which session.
    pub id: SessionId,
    /// What was asked for, or why it cannot be read. Never [`StoreError::NotFound`]: one that is
    /// deleted meanwhile is left out.
    pub found: Result<T, StoreError>,
}

/// The part of a [`Summary`] that upkeep decides by. It takes so little memory that all sessions'
/// may be looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The agent.
    pub agent: Arc<str>,
    /// The time of the last event.
    pub updated_at: Timestamp,
    /// As in the summary: never [`Status::Running`].
    pub status: Status,
    /// A turn is unfinished, or a message waits for one: the session is to be taken up.
    pub unfinished: bool,
}

impl Outline {
    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.status == Status::Completed
    }
}

impl From<&Summary> for Outline {
    fn from(summary: &Summary) -> Outline {
        Outline {
            agent: summary.agent.as_str().into(),
            updated_at: summary.updated_at,
            status: summary.status,
            unfinished: summary.is_unfinished(),
        }
    }
}

/// Which page of which sessions.
#[derive(Debug, Clone, Default)]
pub struct PageQuery {
    /// Only those older than this one, where the page before ended.
    pub before: Option<SessionId>,
    /// At most so many.
    pub limit: usize,
    /// Only those that pass.
    pub filter: SessionFilter,
}

/// Which sessions a page is to hold; all that is `None` lets every session pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only those of this agent.
    pub agent: Option<String>,
    /// Only those that stand so, by their summary.
    pub status: Option<Status>,
    /// Only those of this chat.
    pub chat: Option<ChatKey>,
    /// Only those that this one began, as the log names them.
    pub owner: Option<String>,
}

/// A chat on a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatKey {
    /// The gateway.
    pub gateway: String,
    /// The chat there.
    pub chat_id: String,
}

impl SessionFilter {
    /// Whether every session passes.
    pub fn is_open(&self) -> bool {
        *self == SessionFilter::default()
    }

    /// Whether a session passes.
    pub fn passes(&self, summary: &Summary) -> bool {
        let is_chat = |chat: &ChatKey| {
            summary.gateway.as_ref() == Some(&chat.gateway)
                && summary.gateway_chat_id.as_ref() == Some(&chat.chat_id)
        };
        self.agent
            .as_ref()
            .is_none_or(|agent| summary.agent == *agent)
            && self.status.is_none_or(|status| summary.status == status)
            && self.chat.as_ref().is_none_or(is_chat)
            && (self.owner.is_none() || self.owner == summary.owner)
    }
}

/// A page of a list.
#[derive(Debug, Default)]
pub struct SummaryPage {
    /// Newest first. There may be fewer than asked for, even none, and more to follow: a store looks
    /// at some hundred sessions at a time, so that whoever searches many can stop in between.
    pub sessions: Vec<Listed<Arc<Summary>>>,
    /// The [`before`](PageQuery::before) of the next page, if one may follow; an empty page may
    /// have one too.
    pub next: Option<SessionId>,
}

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
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes of the log.
    pub bytes: usize,
}

/// A piece of a conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SaidPage {
    /// The first record that was looked at; `None` if there is none.
    pub first: Option<Seq>,
    /// What the records say.
    pub said: Vec<Said>,
}

/// The log of a session, for its one writer.
pub trait SessionLog: Send {
    /// Appends `events` in one piece as the records after `expected_last`, and returns them once
    /// they are synced.
    ///
    /// Errors, with the events: [`StoreError::Conflict`] when the log does not end at
    /// `expected_last`; [`StoreError::Fenced`] when the session was claimed since `epoch`;
    /// [`StoreError::Full`] when nothing was stored for want of space. With these nothing was stored.
    /// [`StoreError::Unknown`] when the answer was lost: who claims the session again, and reads it,
    /// knows. [`StoreError::ReadOnly`] when nobody can know whether the events were stored, now or at
    /// an earlier append: nothing more can be appended as long as the process lives.
    fn append(
        &mut self,
        epoch: Epoch,
        expected_last: Seq,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, AppendError>;

    /// Replaces the snapshot. A failure costs time at the next opening, nothing else.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Bytes of the log.
    fn len_bytes(&self) -> u64;
}

shown_by_name!(SessionLog);

/// An append that failed, with its events for whoever tries again.
#[derive(Debug, thiserror::Error)]
#[error("the events are not stored")]
pub struct AppendError {
    /// Why.
    #[source]
    pub error: StoreError,
    /// What was to be appended, as it was.
    pub events: Vec<Event>,
}

impl From<AppendError> for StoreError {
    fn from(failed: AppendError) -> StoreError {
        failed.error
    }
}

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

/// A state to begin a later opening from, instead of the whole log.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The summary as of its `last_seq`.
    pub summary: Summary,
    /// From which record on the window of the next model call is folded.
    pub window_seq: Seq,
    /// How that window stands.
    pub marks: Marks,
}
