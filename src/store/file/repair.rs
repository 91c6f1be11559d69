//! Looking at all of a session's files, and mending a damaged log.
//!
//! The rule: **what can be read stays, byte for byte; an event that cannot be read is replaced by an
//! `error` event of its number** (`code: event_lost`), so that numbers have no gap and readers see
//! where something is missing. Lines that stand where no event is missing are left out. A lost
//! `session_start` is written again from the snapshot, or from what replies say of the agent. What
//! an interrupted append left at the end is cut as at every opening.
//!
//! Invariants:
//! - before anything is changed, the whole log is safe in `events.jsonl.damaged-<n>`;
//! - the log is replaced by one rename: whoever finds it finds the old one or the mended one.
//!
//! For the owner of the workspace, while nobody has the session open.

mod findings;
mod sort;
mod writer;

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::base::fs::{File, Fs, Open};
use crate::domain::event::{Event, FORMAT, OnDisconnect, Record, SessionStart};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::walk::Source;
use crate::store::file::{FileStore, inflight, refuse_newer, snapshot};
use crate::store::{SessionStore as _, StoreError};

use self::findings::Findings;
use self::writer::Writer;

/// The code of the event that stands where one was lost.
pub const EVENT_LOST: &str = "event_lost";

/// What a look at all of a session's files found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The log, as a user would find it.
    pub log: String,
    /// Good records.
    pub records: u64,
    /// Records among them without a checksum.
    pub unchecked: u64,
    /// Bytes at the end that an interrupted append left; the next opening cuts them.
    pub torn_bytes: u64,
    /// Where the log is damaged, in order; at most the first hundred places.
    pub damage: Vec<Damage>,
    /// How many places there are in all.
    pub damaged_places: u64,
    /// Numbers below the last record's that no line has.
    pub missing: u64,
    /// The snapshot.
    pub snapshot: SnapshotFit,
    /// A reply that was cut off, which the next opening takes up.
    pub in_flight: Option<Leftover>,
    /// Bytes that earlier repairs cut off the log's end and kept.
    pub kept_torn_bytes: u64,
}

/// A place of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The line, from 1; the one after the last where the end is what is wrong.
    pub line: u64,
    /// What is wrong there.
    pub why: String,
}

/// How a snapshot stands to its log. None does harm: it is a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotFit {
    /// It is of use.
    Fits,
    /// There is none.
    Missing,
    /// It is of no use; the reason.
    Unfit(String),
}

/// A reply that was in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Which one.
    pub message_id: MessageId,
    /// Bytes of its text.
    pub bytes: u64,
}

/// What mending has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The file that holds the log as it was.
    pub copy: String,
    /// Events that were lost, and are replaced.
    pub lost: u64,
    /// Bytes cut from the end.
    pub torn_bytes: u64,
}

/// Why a log was not mended.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Nothing of it is left that a session could go on from.
    #[error("{0} cannot be mended: its beginning is lost, and nothing says whose session it is")]
    NothingLeft(String),
    /// The mended log is not a good one; the copy of the old one is.
    #[error("the mended log is still damaged; {copy} holds it as it was")]
    StillDamaged {
        /// The copy.
        copy: String,
        /// What is wrong with it.
        source: StoreError,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Report {
    /// Whether the log can be read from beginning to end.
    pub fn is_whole(&self) -> bool {
        self.damaged_places == 0
    }
}

impl FileStore {
    /// Looks at all of a session's files and changes nothing. Damage is no error here.
    pub fn examine(&self, id: &SessionId) -> Result<Report, StoreError> {
        self.with_log(id, |source| {
            let findings = Findings::of(source)?;
            let folder = self.layout.session(id);
            let left = inflight::read(&*self.fs, &folder)?;
            Ok(Report {
                log: source.path.display().to_string(),
                records: findings.records,
                unchecked: findings.unchecked,
                torn_bytes: findings.torn_bytes(source),
                damaged_places: findings.damage.count,
                damage: findings.damage.named,
                missing: findings.missing,
                snapshot: snapshot::fit(&*self.fs, &folder, id, source.file),
                in_flight: left.map(|partial| Leftover {
                    message_id: partial.head.message_id,
                    bytes: partial.text.len() as u64,
                }),
                kept_torn_bytes: len_of(&*self.fs, &folder.torn()),
            })
        })
    }

    /// Mends the log of a session as the [module](self) says; `None` when there is nothing to mend.
    pub fn repair(&self, id: &SessionId) -> Result<Option<Mended>, RepairError> {
        let folder = self.layout.session(id);
        let path = folder.log();
        let log = self.open_log(id, Open::Read)?;
        let source = Source::new(&*log, &path)?;
        refuse_newer(source, id)?;
        let findings = Findings::of(source)?;
        if findings.is_good() {
            return Ok(None);
        }
        let start = match findings.has_start {
            true => None,
            false => Some(self.lost_start(id, &findings)?),
        };
        let number = self.copy_aside(&folder, source)?;
        if findings.damage.count > 0 {
            self.replace_log(&folder, source, findings.good_end(source), start, number)?;
        }
        let copy = folder.damaged(number).display().to_string();
        self.verify(id)
            .map_err(|source| RepairError::StillDamaged {
                copy: copy.clone(),
                source,
            })?;
        Ok(Some(Mended {
            copy,
            lost: findings.missing,
            torn_bytes: findings.torn_bytes(source),
        }))
    }

    /// Opens the session, which cuts what an interrupted append left, and reads all of it.
    fn verify(&self, id: &SessionId) -> Result<(), StoreError> {
        drop(self.open(id)?);
        self.summary(id)?;
        self.check(id).map(drop)
    }

    /// The first event of a session, as far as anything still tells of it.
    fn lost_start(&self, id: &SessionId, findings: &Findings) -> Result<Record, RepairError> {
        let folder = self.layout.session(id);
        let summary = snapshot::last_summary(&*self.fs, &folder, id);
        let (timestamp, start) = summary
            .map(start_in)
            .or_else(|| findings.agent.clone().map(start_with))
            .ok_or_else(|| RepairError::NothingLeft(folder.log().display().to_string()))?;
        Ok(Record {
            seq: Seq(1),
            timestamp,
            cont: false,
            event: Event::SessionStart(start),
        })
    }

    /// Copies the log to the first free name; returns its number. A file of such a name is a whole
    /// copy.
    fn copy_aside(&self, folder: &Folder, source: Source<'_>) -> Result<u32, StoreError> {
        let mut number = 1;
        while self
            .fs
            .exists(&folder.damaged(number))
            .doing("find", folder.path())?
        {
            number += 1;
        }
        self.put(folder, &folder.damaged(number), |file| {
            source.copy_to(file, 0).map(drop)
        })?;
        Ok(number)
    }

    /// Writes a file beside the log and gives it its name once all of it is safe.
    fn put(
        &self,
        folder: &Folder,
        target: &Path,
        write: impl FnOnce(&mut dyn File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = folder.mended();
        let mut file = self.fs.open(&path, Open::Empty).doing("create", &path)?;
        write(&mut *file).doing("write", &path)?;
        file.sync_data().doing("sync", &path)?;
        self.fs.rename(&path, target).doing("replace", target)?;
        self.fs.sync_dir(folder.path()).doing("sync", folder.path())
    }

    /// Writes the mended log and puts it in the place of the old one. From `good_end` on, the bytes
    /// are left as they are: opening cuts them.
    fn replace_log(
        &self,
        folder: &Folder,
        source: Source<'_>,
        good_end: u64,
        start: Option<Record>,
        number: u32,
    ) -> Result<(), StoreError> {
        let copy = format!("events.jsonl.damaged-{number}");
        self.put(folder, &folder.log(), |file| {
            Writer::new(file, start, copy).write_log(source, good_end)
        })?;
        // The snapshot counts what is lost; without it all is counted anew.
        match self.fs.remove_file(&folder.snapshot()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.doing("remove", &folder.snapshot())?,
        }
        self.fs.sync_dir(folder.path()).doing("sync", folder.path())
    }
}

fn start_in(summary: Summary) -> (Timestamp, SessionStart) {
    let start = SessionStart {
        format: FORMAT,
        agent: summary.agent,
        on_disconnect: summary.on_disconnect,
        gateway: summary.gateway,
        gateway_chat_id: summary.gateway_chat_id,
    };
    (summary.created_at, start)
}

/// Of an agent that spoke first at that time.
fn start_with((agent, at): (String, Timestamp)) -> (Timestamp, SessionStart) {
    let start = SessionStart {
        format: FORMAT,
        agent,
        on_disconnect: OnDisconnect::default(),
        gateway: None,
        gateway_chat_id: None,
    };
    (at, start)
}

/// The length of a file; 0 if there is none, or it cannot be told.
fn len_of(fs: &dyn Fs, path: &Path) -> u64 {
    let opened = fs.open(path, Open::Read);
    opened.and_then(|file| file.len()).unwrap_or(0)
}
