//! The store's files as its parts work on them: their folders, and the log of a session, whoever
//! wrote it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::fs::{self, DirSync, File, Fs, Open};
use crate::domain::event::Record;
use crate::domain::ids::SessionId;
use crate::store::StoreError;
use crate::store::file::busy::Busy;
use crate::store::file::documents::FileDocuments;
use crate::store::file::error::IoContext as _;
use crate::store::file::format::{LogOrigin, judge};
use crate::store::file::index::SessionIndex;
use crate::store::file::layout::{Folder, Layout};
use crate::store::file::log;
use crate::store::file::stripes::Stripes;
use crate::store::file::synced::SyncedLogs;
use crate::store::file::unsure::Unsure;
use crate::store::file::v05::{self, Old};
use crate::store::file::walk::{LogSource, Tail};

/// Sessions in files.
#[derive(Debug)]
pub struct FileStore {
    pub(in crate::store::file) fs: Arc<dyn Fs>,
    pub(in crate::store::file) layout: Layout,
    pub(in crate::store::file) documents: Arc<FileDocuments>,
    /// Of one content one thread writes at a time, whichever session it is for.
    pub(in crate::store::file) blob_turns: Arc<Stripes>,
    /// Syncs the folder of all sessions.
    pub(in crate::store::file) list_sync: DirSync,
    /// Whether the folder of all sessions is known to exist, safe from a power cut.
    has_folder: AtomicBool,
    /// Whose folders look like leftovers just now.
    pub(in crate::store::file) busy: Busy,
    pub(in crate::store::file) unsure: Unsure,
    pub(in crate::store::file) synced: SyncedLogs,
    /// What is known of sessions of an older version.
    pub(in crate::store::file) older_known: v05::OldSummaries,
    pub(in crate::store::file) index: SessionIndex,
}

/// What a reading of a whole log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedLog {
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

    pub(in crate::store::file) fn is_in_hand(&self, id: &str) -> bool {
        SessionId::parse(id).is_ok_and(|id| self.busy.has(&id))
    }

    /// Removes a folder that may be gone already.
    pub(in crate::store::file) fn remove_folder(&self, path: &Path) -> Result<(), StoreError> {
        match self.fs.remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.doing("remove", path),
        }
    }

    /// Reads every record of a session and changes nothing.
    pub fn check(&self, id: &SessionId) -> Result<CheckedLog, StoreError> {
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
            Ok(CheckedLog {
                records,
                unchecked: walk.unchecked(),
                torn_bytes,
            })
        })
    }

    fn with_layout(fs: Arc<dyn Fs>, layout: Layout) -> FileStore {
        let documents = FileDocuments::of_process(Arc::clone(&fs), layout.documents.clone());
        FileStore {
            fs,
            documents: Arc::new(documents),
            blob_turns: Arc::default(),
            list_sync: DirSync::new(layout.sessions.clone()),
            has_folder: AtomicBool::new(false),
            busy: Busy::default(),
            unsure: Unsure::default(),
            synced: SyncedLogs::default(),
            older_known: v05::OldSummaries::default(),
            index: SessionIndex::default(),
            layout,
        }
    }

    pub(in crate::store::file) fn settle_folder(&self) -> Result<(), StoreError> {
        if self.has_folder.load(Ordering::Acquire) {
            return Ok(());
        }
        let sessions = &self.layout.sessions;
        fs::create_dirs(&*self.fs, sessions).doing("create", sessions)?;
        self.has_folder.store(true, Ordering::Release);
        Ok(())
    }

    /// Fills the folder of a session that is not in the list yet; it is synced on return. Returns how long
    /// the log is.
    pub(in crate::store::file) fn write_new(
        &self,
        folder: &Folder,
        records: &[Arc<Record>],
    ) -> io::Result<u64> {
        let mut lines = Vec::new();
        log::encode_all(records, &mut lines)?;
        self.fs.create_dir(folder.path())?;
        let mut file = self.fs.open(&folder.log(), Open::CreateNew)?;
        file.write_all(&lines)?;
        file.sync_data()?;
        self.fs.sync_dir(folder.path())?;
        Ok(lines.len() as u64)
    }

    /// Puts a filled folder into the list.
    pub(in crate::store::file) fn publish(
        &self,
        new: &Folder,
        id: &SessionId,
    ) -> Result<(), StoreError> {
        let folder = self.layout.session(id);
        let renamed = self.fs.rename(new.path(), folder.path());
        renamed.doing("create", folder.path())?;
        self.index.names_changed();
        let synced = self.list_sync.sync_change(&*self.fs);
        if synced.is_err() {
            // Nobody was told of the session: it should not turn up later.
            self.discard(&folder, id);
        }
        synced.doing("sync", &self.layout.sessions)
    }

    /// Removes a session whose creation failed, as far as that can still be done.
    pub(in crate::store::file) fn discard(&self, folder: &Folder, id: &SessionId) {
        let deleted = self.layout.deleted_session(id);
        let renamed = self.fs.rename(folder.path(), deleted.path());
        self.index.names_changed();
        if let Err(error) = renamed.and_then(|()| self.fs.remove_dir_all(deleted.path())) {
            ::log::debug!("{}: not removed: {error}", folder.path().display());
        }
    }

    /// Opens the log of a session; a missing one means that there is no such session.
    pub(in crate::store::file) fn open_log(
        &self,
        id: &SessionId,
        how: Open,
    ) -> Result<Box<dyn File>, StoreError> {
        let path = self.layout.session(id).log();
        match self.fs.open(&path, how) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(StoreError::NotFound(id.clone()))
            }
            other => other.doing("open", &path),
        }
    }

    /// Lets `work` read the log of a session: that of an older version as it is once it is taken over.
    pub(in crate::store::file) fn with_log<T>(
        &self,
        id: &SessionId,
        work: impl FnOnce(LogSource<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let source = LogSource::new(&*file, &path)?;
        match self.older(source, id)? {
            None => work(source),
            Some((old, _turn)) => {
                let image = old.image(id, self.older_settings(id)?, &path)?;
                work(LogSource::new(&image, &path)?)
            }
        }
    }

    pub(in crate::store::file) fn older_settings(
        &self,
        id: &SessionId,
    ) -> Result<v05::OldSettings, StoreError> {
        let folder = self.layout.session(id);
        v05::OldSettings::read(&*self.fs, &folder).doing("read", folder.path())
    }

    /// Looks whether an older version wrote a session.
    pub(in crate::store::file) fn look_older(
        &self,
        id: &SessionId,
    ) -> Result<Option<Old>, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let older = self.older(LogSource::new(&*file, &path)?, id)?;
        Ok(older.map(|(old, _turn)| old))
    }

    /// The log of an older version, and the turn to read it; `None` if it is one of this version.
    pub(in crate::store::file) fn older(
        &self,
        source: LogSource<'_>,
        id: &SessionId,
    ) -> Result<Option<(Old, v05::ReadingTurn<'_>)>, StoreError> {
        if judge(source, id)? == LogOrigin::Ours {
            return Ok(None);
        }
        let turn = self.older_known.turn(source.end);
        Ok(Old::read(source)?.map(|old| (old, turn)))
    }

    pub(in crate::store::file) fn names(&self) -> Result<Vec<String>, StoreError> {
        let sessions = &self.layout.sessions;
        match self.fs.list_dir(sessions) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other.doing("list", sessions),
        }
    }
}
