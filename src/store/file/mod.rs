//! Sessions in plain files, a folder for each: `docs/session-format.md`.
//!
//! Invariants:
//! - a session is in the list only once its first events are synced, and no longer from the moment
//!   its deletion begins: both are one rename;
//! - nothing is kept in memory for a session that is not open, but what lists show of some sessions
//!   of an older version;
//! - what `open` returns survives a power cut, also if the process that wrote it was killed before
//!   its sync.

mod busy;
mod error;
mod inflight;
mod keys;
mod layout;
mod line;
mod lines;
mod log;
mod read;
mod recover;
pub mod repair;
mod snapshot;
mod unsure;
pub mod v05;
mod walk;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::fs::{self, DirSync, File, Fs, Open};
use crate::domain::event::{Event, FORMAT, Record};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::state::{SessionState, Summary};
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;
use crate::store::{CreationKey, Limit, OpenSession, SessionStore, StoreError};

use self::busy::Busy;
use self::error::IoContext as _;
use self::inflight::Inflight;
use self::keys::Keys;
use self::layout::{Folder, Layout};
use self::log::Log;
use self::read::Place;
use self::snapshot::Fitting;
use self::unsure::Unsure;
use self::v05::Old;
use self::walk::{Source, Tail};

/// Sessions in files.
#[derive(Debug)]
pub struct FileStore {
    fs: Arc<dyn Fs>,
    layout: Layout,
    keys: Keys,
    /// Syncs the folder of all sessions.
    list_sync: DirSync,
    /// Whether the folder of all sessions is known to exist, safe from a power cut.
    has_folder: AtomicBool,
    /// Whose folders look like leftovers just now.
    busy: Busy,
    unsure: Unsure,
    /// What is known of sessions of an older version.
    older_known: v05::Known,
}

/// What a reading of a whole log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Good records.
    pub records: u64,
    /// Records among them without a checksum.
    pub unchecked: u64,
    /// Bytes of an interrupted append at the end, which the next opening mends.
    pub torn_bytes: u64,
}

impl FileStore {
    /// The sessions of the workspace at `root`; touches no file.
    pub fn new(fs: Arc<dyn Fs>, root: PathBuf) -> FileStore {
        FileStore::with_layout(fs, Layout::in_workspace(&root))
    }

    /// As [`new`](Self::new), with the sessions in a folder of their own.
    pub fn with_sessions_in(fs: Arc<dyn Fs>, root: &Path, sessions: PathBuf) -> FileStore {
        let layout = Layout {
            sessions,
            ..Layout::in_workspace(root)
        };
        FileStore::with_layout(fs, layout)
    }

    /// Removes what creations and deletions left that a crash interrupted. For the owner of the
    /// workspace, who may create and delete sessions meanwhile.
    pub fn finish_deletions(&self) -> Result<(), StoreError> {
        for name in self.names()? {
            if layout::is_trial(&name) {
                let trial = self.layout.trial();
                match self.fs.remove_file(&trial) {
                    // It was one of this process's own.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.doing("remove", &trial)?,
                }
            }
            // One in hand was named before it was listed: either it still is in hand, or it is done
            // and the name is gone.
            if layout::leftover_of(&name).is_some_and(|of| !self.is_in_hand(of)) {
                self.remove_folder(&self.layout.sessions.join(name))?;
            }
        }
        Ok(())
    }

    fn is_in_hand(&self, id: &str) -> bool {
        SessionId::parse(id).is_ok_and(|id| self.busy.has(&id))
    }

    /// Removes a folder that may be gone already.
    fn remove_folder(&self, path: &Path) -> Result<(), StoreError> {
        match self.fs.remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.doing("remove", path),
        }
    }

    /// Reads every record of a session and changes nothing.
    pub fn check(&self, id: &SessionId) -> Result<Checked, StoreError> {
        self.with_log(id, |source| {
            let mut walk = source.walk(0, None);
            let mut records = 0;
            while walk.next()?.is_some() {
                records += 1;
            }
            let torn_bytes = match walk.tail() {
                Tail::Torn => source.end - walk.good_end(),
                Tail::Clean | Tail::NoNewline => 0,
            };
            Ok(Checked {
                records,
                unchecked: walk.unchecked(),
                torn_bytes,
            })
        })
    }

    fn with_layout(fs: Arc<dyn Fs>, layout: Layout) -> FileStore {
        FileStore {
            fs,
            keys: Keys::new(layout.keys.clone()),
            list_sync: DirSync::new(layout.sessions.clone()),
            has_folder: AtomicBool::new(false),
            busy: Busy::default(),
            unsure: Unsure::default(),
            older_known: v05::Known::default(),
            layout,
        }
    }

    fn settle_folder(&self) -> Result<(), StoreError> {
        if self.has_folder.load(Ordering::Acquire) {
            return Ok(());
        }
        let sessions = &self.layout.sessions;
        fs::create_dirs(&*self.fs, sessions).doing("create", sessions)?;
        self.has_folder.store(true, Ordering::Release);
        Ok(())
    }

    /// Fills the folder of a session that is not in the list yet; it is synced on return.
    fn write_new(&self, folder: &Folder, at: Timestamp, events: &[Event]) -> io::Result<()> {
        let mut lines = Vec::new();
        log::encode_all(&log::records_of(events, Seq::ZERO, at), &mut lines)?;
        self.fs.create_dir(folder.path())?;
        let mut file = self.fs.open(&folder.log(), Open::CreateNew)?;
        file.write_all(&lines)?;
        file.sync_data()?;
        self.fs.sync_dir(folder.path())
    }

    /// Puts a filled folder into the list.
    fn publish(&self, new: &Folder, id: &SessionId) -> Result<(), StoreError> {
        let folder = self.layout.session(id);
        let renamed = self.fs.rename(new.path(), folder.path());
        renamed.doing("create", folder.path())?;
        let synced = self.list_sync.sync_change(&*self.fs);
        if synced.is_err() {
            // Nobody was told of the session: it should not turn up later.
            self.discard(&folder, id);
        }
        synced.doing("sync", &self.layout.sessions)
    }

    /// Removes a session whose creation failed, as far as that can still be done.
    fn discard(&self, folder: &Folder, id: &SessionId) {
        let deleted = self.layout.deleted_session(id);
        let renamed = self.fs.rename(folder.path(), deleted.path());
        if let Err(error) = renamed.and_then(|()| self.fs.remove_dir_all(deleted.path())) {
            ::log::debug!("{}: not removed: {error}", folder.path().display());
        }
    }

    /// Opens the log of a session; a missing one means that there is no such session.
    fn open_log(&self, id: &SessionId, how: Open) -> Result<Box<dyn File>, StoreError> {
        let path = self.layout.session(id).log();
        match self.fs.open(&path, how) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(StoreError::NotFound(id.clone()))
            }
            other => other.doing("open", &path),
        }
    }

    /// Lets `work` read the log of a session: that of an older version as it is once it is taken over.
    fn with_log<T>(
        &self,
        id: &SessionId,
        work: impl FnOnce(Source<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let source = Source::new(&*file, &path)?;
        match self.older(source, id)? {
            None => work(source),
            Some((old, _turn)) => {
                let image = old.image(id, self.older_settings(id)?, &path)?;
                work(Source::new(&image, &path)?)
            }
        }
    }

    fn older_settings(&self, id: &SessionId) -> Result<v05::Settings, StoreError> {
        let folder = self.layout.session(id);
        v05::Settings::read(&*self.fs, &folder).doing("read", folder.path())
    }

    /// Looks whether an older version wrote a session.
    fn look_older(&self, id: &SessionId) -> Result<Option<Old>, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let older = self.older(Source::new(&*file, &path)?, id)?;
        Ok(older.map(|(old, _turn)| old))
    }

    /// The log of an older version, and the turn to read it; `None` if it is one of this version.
    fn older(
        &self,
        source: Source<'_>,
        id: &SessionId,
    ) -> Result<Option<(Old, v05::Turn<'_>)>, StoreError> {
        if judge(source, id)? == Format::Ours {
            return Ok(None);
        }
        let turn = self.older_known.turn(source.end);
        Ok(Old::read(source)?.map(|old| (old, turn)))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let sessions = &self.layout.sessions;
        match self.fs.list_dir(sessions) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other.doing("list", sessions),
        }
    }
}

impl SessionStore for FileStore {
    fn create(&self, id: &SessionId, at: Timestamp, events: &[Event]) -> Result<(), StoreError> {
        self.settle_folder()?;
        let _in_hand = self.busy.take(id);
        let new = self.layout.new_session(id);
        let written = self.write_new(&new, at, events);
        let created = written
            .doing("create", new.path())
            .and_then(|()| self.publish(&new, id));
        if created.is_err() {
            self.discard(&new, id);
        }
        created
    }

    fn is_older(&self, id: &SessionId) -> Result<bool, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let source = Source::new(&*file, &path)?;
        let is_known = self.older_known.get(id, source.end).is_some();
        Ok(is_known || judge(source, id)? == Format::PerhapsOlder && Old::is(source)?)
    }

    fn take_over(&self, id: &SessionId, at: Timestamp) -> Result<bool, StoreError> {
        self.take_over_older(id, at)
    }

    fn open(&self, id: &SessionId) -> Result<OpenSession, StoreError> {
        if let Some(why) = self.unsure.why(id) {
            return Err(StoreError::ReadOnly(why));
        }
        let fs = &self.fs;
        let folder = self.layout.session(id);
        let mut file = self.open_log(id, Open::Append)?;
        if self
            .older(Source::new(&*file, &folder.log())?, id)?
            .is_some()
        {
            return Err(StoreError::Older(id.clone()));
        }
        let fitting = snapshot::load(&**fs, &folder, id, &*file);
        let covered = fitting.as_ref().map_or(Place::START, |found| found.covered);
        let recovered = recover::recover(&**fs, &folder, &mut *file, covered);
        if let Err(error @ StoreError::Io { action: "sync", .. }) = &recovered {
            self.unsure.note(id, &error.to_string());
        }
        let end = recovered?;
        fs.sync_dir(folder.path()).doing("sync", folder.path())?;
        let listed = self.list_sync.settle(&**fs);
        listed.doing("sync", &self.layout.sessions)?;
        let partial = inflight::read(&**fs, &folder)?;
        let log = Log::new(
            Arc::clone(fs),
            folder.clone(),
            id.clone(),
            file,
            end,
            self.unsure.clone(),
        );
        Ok(OpenSession {
            log: Box::new(log),
            journal: Box::new(Inflight::new(Arc::clone(fs), folder)),
            snapshot: fitting.map(|found| found.snapshot),
            last_seq: Seq(end.seq.0 - 1),
            partial,
        })
    }

    fn records(&self, id: &SessionId, from: Seq, limit: Limit) -> Result<Vec<Record>, StoreError> {
        self.with_log(id, |source| source.page(from, limit))
    }

    fn records_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: Limit,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_log(id, |source| source.page_before(before, limit))
    }

    fn find_message(
        &self,
        id: &SessionId,
        message_id: &MessageId,
    ) -> Result<Option<Record>, StoreError> {
        let minted = Timestamp::from_micros(message_id.timestamp_ms().saturating_mul(1000));
        self.with_log(id, |source| source.find_message(message_id, minted))
    }

    fn summary(&self, id: &SessionId) -> Result<Summary, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let folder = self.layout.session(id);
        let path = folder.log();
        let source = Source::new(&*file, &path)?;
        if let Some(known) = self.older_known.get(id, source.end) {
            return Ok(known);
        }
        let Some((old, _turn)) = self.older(source, id)? else {
            let fitting = snapshot::load(&*self.fs, &folder, id, source.file);
            return summary_of(source, fitting);
        };
        let summary = old.summary(id, self.older_settings(id)?, &path)?;
        self.older_known.put(id, source.end, &summary);
        Ok(summary)
    }

    fn forget_snapshot(&self, id: &SessionId) -> Result<(), StoreError> {
        let path = self.layout.session(id).snapshot();
        match self.fs.remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.doing("remove", &path),
        }
    }

    fn list(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let mut names = self.names()?;
        // Names sort by time, so that only those of the page are parsed.
        names.sort();
        names.reverse();
        let is_older = |name: &&String| before.is_none_or(|id| name.as_str() < id.as_str());
        let older = names.iter().filter(is_older);
        let ids = older.filter_map(|name| SessionId::parse(name).ok());
        Ok(ids.take(limit).collect())
    }

    fn contains(&self, id: &SessionId) -> Result<bool, StoreError> {
        let folder = self.layout.session(id);
        self.fs.exists(folder.path()).doing("find", folder.path())
    }

    fn delete(&self, id: &SessionId) -> Result<(), StoreError> {
        self.older_known.forget(id);
        let _in_hand = self.busy.take(id);
        let (folder, deleted) = (self.layout.session(id), self.layout.deleted_session(id));
        match self.fs.rename(folder.path(), deleted.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::NotFound(id.clone()));
            }
            other => other.doing("delete", folder.path())?,
        }
        let synced = self.list_sync.sync_change(&*self.fs);
        synced.doing("sync", &self.layout.sessions)?;
        self.remove_folder(deleted.path())
    }

    fn creation_key(&self, key: &str, now: Timestamp) -> Result<Option<CreationKey>, StoreError> {
        self.keys.get(&*self.fs, key, now)
    }

    fn put_creation_key(&self, key: &str, value: &CreationKey) -> Result<(), StoreError> {
        self.keys.put(&*self.fs, key, value)
    }

    fn clock_seen(&self) -> Result<Option<String>, StoreError> {
        /// Ours has some hundred.
        const BYTES_MAX: u64 = 4096;
        let path = &self.layout.clock;
        match fs::read_file(&*self.fs, path, BYTES_MAX) {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("read", path),
        }
    }

    fn put_clock_seen(&self, text: &str) -> Result<(), StoreError> {
        // Beside the folder of the sessions, which is made with it.
        self.settle_folder()?;
        let path = &self.layout.clock;
        fs::replace_file(&*self.fs, path, text.as_bytes()).doing("write", path)
    }

    fn read_only(&self) -> usize {
        self.unsure.count()
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        let sessions = &self.layout.sessions;
        self.settle_folder()?;
        self.fs.free_bytes(sessions).doing("measure", sessions)
    }

    fn try_write(&self, bytes: usize) -> Result<(), StoreError> {
        self.settle_folder()?;
        let trial = self.layout.trial();
        let written = self.fs.open(&trial, Open::Empty).and_then(|mut file| {
            // Not zeros, of which some file systems store nothing.
            file.write_all(&vec![b'x'; bytes])?;
            file.sync_data()
        });
        let removed = self.fs.remove_file(&trial);
        written.and(removed).doing("write", &trial)
    }
}

/// What the first line says of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// It is one of this version. A first line that cannot be read is reported only by whoever has
    /// to read it.
    Ours,
    /// The other lines tell whether it is one of an older version.
    PerhapsOlder,
}

/// Looks whose a log is, and refuses one of a newer version.
fn judge(source: Source<'_>, id: &SessionId) -> Result<Format, StoreError> {
    let mut lines = lines::Lines::new(source.file, 0, source.end);
    let mut is_first = true;
    while let Some(raw) = lines.next().doing("read", source.path)? {
        if raw.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match line::decode(raw.bytes).map(|found| found.record) {
            Ok(Record {
                event: Event::SessionStart(start),
                ..
            }) if start.format > FORMAT => {
                return Err(StoreError::NewerFormat {
                    id: id.clone(),
                    format: start.format,
                });
            }
            Ok(Record { seq, event, .. }) if event != Event::Unknown => {
                if seq == Seq(1) || !is_first {
                    return Ok(Format::Ours);
                }
            }
            Ok(_) | Err(_) => {}
        }
        match v05::look(raw.bytes) {
            v05::Look::Event => return Ok(Format::PerhapsOlder),
            v05::Look::Foreign => return Ok(Format::Ours),
            // The next one tells whose damage it is.
            v05::Look::Unreadable => is_first = false,
        }
    }
    Ok(Format::Ours)
}

fn summary_of(source: Source<'_>, fitting: Option<Fitting>) -> Result<Summary, StoreError> {
    let (covered, mut summary) = match fitting {
        Some(found) => (found.covered, found.snapshot.summary),
        None => (Place::START, SessionState::new(Limits::none()).summary),
    };
    let mut walk = source.walk(covered.offset, Some(covered.seq));
    while let Some(found) = walk.next()? {
        summary.apply(&found.record);
    }
    if summary.last_seq == Seq::ZERO {
        return Err(source.damaged(0, "it holds no event".to_owned()));
    }
    Ok(summary)
}

#[cfg(test)]
mod testing;
